//! The n-th allocation fails, once and for good: an error code, and nothing is left held.
//!
//! Of allocations whose size follows from what a caller passes or from the size of the store, all may
//! fail; the small ones of constant size (an error's text, a handle) end the process if they do, as they
//! do in every Rust library: SECURITY.md says so. It would catch an abort where a code is promised, a
//! latch that is left held, and a value that is lost. Failing mappings are among the system calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdfast::{Error, Options, Result, Store, Sync, Ttl};
use holdfast_tests::process::{self, Ended};

use crate::abi::{C, functions};
use crate::acts::{self, Act};
use crate::stage::{After, From, KEY, LONG, Stage, check_alone, look, options, works};

/// No allocation of constant size is as large.
const SIZED: usize = 16 << 10;
const NO_MEMORY: i32 = -10;

/// The system's, with one failure to come while it is armed.
struct Failing;

static ARMED: AtomicBool = AtomicBool::new(false);
static LASTING: AtomicBool = AtomicBool::new(false);
static LEFT: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Failing = Failing;

fn fails(size: usize) -> bool {
    if !ARMED.load(Ordering::Relaxed) || size < SIZED {
        return false;
    }
    let left = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    let fails = match left {
        Ok(left) => left == 1,
        Err(_) => LASTING.load(Ordering::Relaxed),
    };
    FAILED.fetch_add(fails as u64, Ordering::Relaxed);
    fails
}

// SAFETY: passes on to the system's allocator, or gives no memory.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations.
        if fails(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match fails(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's obligations.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match fails(size) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's obligations.
            false => unsafe { System.realloc(old, layout, size) },
        }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations.
        unsafe { System.dealloc(old, layout) }
    }
}

/// The tests' own memory is to be had.
pub fn content(tag: u64, len: usize) -> Vec<u8> {
    let armed = ARMED.swap(false, Ordering::Relaxed);
    let bytes = holdfast_tests::content(tag, len);
    ARMED.store(armed, Ordering::Relaxed);
    bytes
}

/// Runs `work` with the n-th allocation failing; gives how many failed.
fn with_failure<R>(n: u64, lasting: bool, work: impl FnOnce() -> R) -> (R, u64) {
    LEFT.store(n, Ordering::Relaxed);
    LASTING.store(lasting, Ordering::Relaxed);
    FAILED.store(0, Ordering::Relaxed);
    ARMED.store(true, Ordering::Relaxed);
    let result = work();
    ARMED.store(false, Ordering::Relaxed);
    (result, FAILED.load(Ordering::Relaxed))
}

/// Many segments, so that what grows with them is large.
fn wide() -> Options {
    Options { max_bytes: Some(2 << 30), max_value_bytes: Some(1 << 20), ..options() }
}

fn large(store: &Store) -> Vec<u8> {
    let value = content(6, 500_000);
    store.set(b"large", &value, 0, Ttl::Never).expect("set");
    value
}

/// What grows with the caller's wishes.
fn more_acts() -> Vec<Act> {
    let plain = || Act { beside: false, ..acts::PLAIN };
    vec![
        Act {
            name: "get of a large value",
            open: |path| {
                let store = Store::open(path, &options()).expect("opened");
                large(&store);
                Some(store)
            },
            act: |store, _| {
                let store = store.as_ref().expect("open");
                store.get(b"large", &mut Vec::new()).map(|item| assert!(item.is_some()))?;
                store.append(b"large", b"more", None, false)?;
                let (mut each, mut bad) = (0, None);
                store.get_many(&[&b"large"[..]; 3], &mut |_, found| match found {
                    Ok(_) => each += 1,
                    Err(e) => bad = Some(e.to_string()),
                })?;
                match bad {
                    Some(why) => Err(Error::NoMemory(format!("/s: {why}"))),
                    None => Ok(()),
                }
            },
            ..plain()
        },
        Act {
            name: "set_many of many",
            act: |store, _| {
                let how = holdfast::Write { ttl: Ttl::Never, ..Default::default() };
                let item = holdfast::BatchItem { key: b"one of them", value: b"v", how };
                let items = [item; 3_000];
                store.as_ref().expect("open").set_many(&items).map(drop)
            },
            ..plain()
        },
        Act {
            name: "a page of many keys in order",
            open: |path| {
                let store = Store::open(path, &options()).expect("opened");
                for i in 0..3_000u32 {
                    store.set(&(i | 1 << 23).to_le_bytes(), b"v", 0, Ttl::Never).expect("set");
                }
                Some(store)
            },
            act: |store, _| {
                let store = store.as_ref().expect("open");
                let go_on = std::ops::ControlFlow::Continue(());
                let range = holdfast::Range { limit: 10_000, ..Default::default() };
                store.range(&range, &mut |_| go_on)?;
                store.verify(&mut |_, _| true)?;
                store.locks(100_000).map(drop)
            },
            ..plain()
        },
    ]
}

fn must_be_no_memory(outcome: &Result<()>) {
    if let Err(error) = outcome {
        assert_eq!(error.code(), NO_MEMORY, "{error}");
    }
}

fn act_without_memory(act: &Act, stage: &Stage, n: u64, lasting: bool) -> u64 {
    let met = &process::shared_words(1)[0];
    let path = stage.store();
    let child = process::fork(|| {
        let mut store = (act.open)(&path);
        let (outcome, failed) = with_failure(n, lasting, || (act.act)(&mut store, &path));
        met.store(failed, Ordering::SeqCst);
        must_be_no_memory(&outcome);
        let store = store.unwrap_or_else(|| Store::open(&path, &options()).expect("opened"));
        look(&store, &(act.after)(), outcome.is_ok());
        works(&store, 30, false);
    });
    let ended = child.wait(LONG);
    assert_eq!(ended, Ended::Exit(0), "{}: allocation {n} lasting={lasting}", act.name);
    if act.name == "repair" {
        let again = process::fork(|| (act.act)(&mut None, &path).expect("repaired"));
        assert_eq!(again.wait(LONG), Ended::Exit(0), "it cannot be repaired any more");
    }
    assert_eq!(check_alone(&path, &(act.after)(), false), Ended::Exit(0), "{}: {n}", act.name);
    met.load(Ordering::SeqCst)
}

#[test]
fn without_memory_there_is_an_error_and_nothing_is_lost_or_held() {
    let only = std::env::var("HOLDFAST_FAULTS_ACT").unwrap_or_default();
    let mut cases = 0;
    let acts = acts::all().into_iter().chain(more_acts());
    // A store as wide as this one does not grow by that, and the child of a fork is not this process.
    let apart = |act: &Act| ["limits that grow", "fork"].iter().any(|it| act.name.contains(it));
    for act in acts.filter(|act| act.name.contains(&only) && !apart(act)) {
        let template = Stage::of(act.from, act.sync, wide());
        for lasting in [false, true] {
            let mut n = 1;
            while act_without_memory(&act, &template.copy(), n, lasting) > 0 {
                (n, cases) = (n + 1, cases + 1);
            }
            println!("{:42} {:3} allocations failed, lasting={lasting}", act.name, n - 1);
        }
    }
    println!("{cases} failed allocations");
}

#[test]
fn each_exported_function_gives_a_code_when_there_is_no_memory() {
    let template = Stage::of(From::Closed, Sync::None, wide());
    let made = process::fork(|| {
        let store = Store::open(template.store(), &options()).expect("opened");
        store.set(KEY, &content(8, 300_000), 0, Ttl::Never).expect("set");
        store.backup(template.beside("copy"), false, &mut |_, _| true).expect("made");
    });
    assert_eq!(made.wait(LONG), Ended::Exit(0));
    for function in functions() {
        for lasting in [false, true] {
            let met = &process::shared_words(1)[0];
            for n in 1.. {
                let stage = template.copy();
                let _ = std::fs::remove_dir_all(stage.beside("copy"))
                    .map_err(|e| assert!(function.name != "backup", "{e}"));
                if function.name == "restore" {
                    crate::stage::copy_store(&template.beside("copy"), &stage.beside("copy"));
                }
                let child = process::fork(|| {
                    let mut c = C::new(&stage.store(), 100_000);
                    if !function.closed {
                        assert_eq!(c.open(), 0);
                    }
                    let (result, failed) = with_failure(n, lasting, || (function.call)(&mut c));
                    met.store(failed, Ordering::SeqCst);
                    assert!(result >= 0 || result == NO_MEMORY, "{result}");
                    if c.store.is_null() {
                        assert_eq!(c.open(), 0);
                    }
                    c.unlock();
                    let store = Store::open(stage.store(), &options()).expect("opened");
                    if function.after != After::Flushed {
                        look(&store, &After::Others, true);
                    }
                    works(&store, 30, false);
                    drop(store);
                    c.close();
                });
                let ended = child.wait(LONG);
                assert_eq!(ended, Ended::Exit(0), "{}: allocation {n}", function.name);
                if met.load(Ordering::SeqCst) == 0 {
                    println!(
                        "{:16} {:3} allocations failed, lasting={lasting}",
                        function.name,
                        n - 1
                    );
                    break;
                }
            }
        }
    }
}
