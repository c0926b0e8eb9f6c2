//! A process that forks while another of its threads is in the process's very first open.
//! `holdfast-forker DIR inside|SPINS`
//!
//! A handler of its own, which runs at the beginning of the fork, lets the thread go. With `inside`
//! it waits until the thread is in the middle of making the store: the library's own handlers come
//! too late for this fork then. Else the fork goes on after so many turns of a loop, which is while
//! the thread gets ready.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Disk, FileKind, Options, Store, Stored, Ttl};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{open, small};

/// What the handler does when it has let the thread go.
const INSIDE: u64 = u64::MAX;
static SPINS: AtomicU64 = AtomicU64::new(0);

static IS_READY: AtomicBool = AtomicBool::new(false);
static GO: AtomicBool = AtomicBool::new(false);
static IS_INSIDE: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);

/// No longer than a C library that keeps its handlers locked all the time makes it.
fn wait_for(what: &AtomicBool) {
    let begun = Instant::now();
    while !what.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(2) {
        std::hint::spin_loop();
    }
}

extern "C" fn before_fork() {
    GO.store(true, Ordering::SeqCst);
    match SPINS.load(Ordering::SeqCst) {
        INSIDE => wait_for(&IS_INSIDE),
        spins => (0..spins).for_each(|_| std::hint::spin_loop()),
    }
}

/// Where the thread stays until the fork is over.
struct Slow;

impl Disk for Slow {
    fn may_grow(&self, _: FileKind, _: u64) -> std::io::Result<()> {
        IS_INSIDE.store(true, Ordering::SeqCst);
        wait_for(&FORKED);
        Ok(())
    }
}

fn use_store(store: &Store, key: &[u8]) {
    assert!(matches!(store.set(key, b"v", 0, Ttl::Never), Ok(Stored::Done(_))));
    assert!(store.get(key, &mut Vec::new()).expect("get").is_some());
}

/// How many descriptors this process has of the file by which others see that it lives.
fn lives(path: &Path) -> usize {
    let ours = path.join("lock").canonicalize().expect("the lock file");
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc");
    open.filter(|fd| {
        let link = fd.as_ref().map(|fd| std::fs::read_link(fd.path()));
        matches!(link, Ok(Ok(link)) if link == ours)
    })
    .count()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = Path::new(&args[1]);
    let spins = args[2].parse().unwrap_or(INSIDE);
    SPINS.store(spins, Ordering::SeqCst);
    let disk = (spins == INSIDE).then(|| Arc::new(Slow) as Arc<dyn Disk>);
    // SAFETY: the handler touches atomics of this process alone.
    unsafe { libc::pthread_atfork(Some(before_fork), None, None) };
    let store = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let options = Options { disk, ..small() };
            IS_READY.store(true, Ordering::SeqCst);
            wait_for(&GO);
            open(path, &options)
        });
        wait_for(&IS_READY);
        let child = process::fork(|| {
            let store = open(path, &small());
            use_store(&store, b"child");
            assert_eq!(lives(path), 2, "descriptors of the parent's are still open");
        });
        FORKED.store(true, Ordering::SeqCst);
        let store = opener.join().expect("opened");
        let ended = child.wait(Duration::from_secs(5));
        assert_eq!(ended, Ended::Exit(0));
        store
    });
    use_store(&store, b"parent");
    assert!(store.exists(b"child").expect("exists").is_some());
    // A fork like any other, after all that.
    let child = process::fork(|| use_store(&store, b"child"));
    assert_eq!(child.wait(Duration::from_secs(5)), Ended::Exit(0));
    use_store(&store, b"parent");
}
