//! Death before every single store to shared memory, one after the other, for each operation.
//!
//! A child dies before its n-th store; its parent, attached all the while, goes on at once: on
//! another key, on the same key, with the key's lock. What it finds is old or new, and the log alone
//! (a copy without index and meta) says the same as the index. Then other children take over
//! the dead one's process slot and heal what it left, dying in it themselves.

use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::{
    Acquired, BatchItem, ConfigChange, Counted, Expect, Held, Options, Store, Stored, Sync, Ttl,
    Update, Wait, Write, fault,
};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{HandClock, Rng, content, memory_dir, open, seed, size};

const KEY: &[u8] = b"the key";
const LONG: Duration = Duration::from_secs(20);

/// What is seen of the key: value and end of life.
type Seen = Option<(Vec<u8>, u64)>;

struct Scene {
    path: std::path::PathBuf,
    clock: Arc<HandClock>,
    options: Options,
    store: Option<Store>,
    /// How many small keys there are that must stay.
    crowd: Cell<u64>,
    /// How many died with the growth latch.
    growing: Cell<u64>,
}

impl Scene {
    fn new() -> (tempfile::TempDir, Scene) {
        Scene::of(1 << 20, false)
    }

    fn of(max_bytes: u64, evict: bool) -> (tempfile::TempDir, Scene) {
        let (dir, clock) = (memory_dir(), HandClock::new());
        let options = Options {
            create: true,
            thread: false,
            max_bytes: Some(max_bytes),
            max_value_bytes: Some(100_000),
            max_processes: Some(4),
            evict: Some(evict),
            sync: Some(Sync::None),
            clock: Some(clock.clone()),
            ..Options::default()
        };
        let path = dir.path().to_path_buf();
        let store = Some(open(&path, &options));
        (dir, Scene { path, clock, options, store, crowd: Cell::new(0), growing: Cell::new(0) })
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    /// Is what is seen what it has to be? In a cache it may have been evicted.
    fn is(&self, seen: &Seen, expected: &Seen) -> bool {
        seen == expected || (seen.is_none() && self.options.evict == Some(true))
    }
}

fn one_of_many(i: u64) -> Vec<u8> {
    format!("one of many {i}").into_bytes()
}

fn slots(store: &Store) -> u64 {
    store.stats().expect("stats").index_slots
}

fn see(store: &Store) -> Seen {
    let mut value = Vec::new();
    let item = store.get(KEY, &mut value).expect("get");
    item.map(|item| (value, item.expires_ms))
}

fn set(store: &Store, key: &[u8], value: &[u8], ttl: Ttl) {
    assert!(matches!(store.set(key, value, 1, ttl).expect("set"), Stored::Done(_)));
}

fn lock(store: &Store, cookie: u64) -> Held {
    let wait = Wait { timeout: Some(Duration::from_secs(2)), ..Wait::default() };
    match store.lock(KEY, cookie, &wait).expect("lock") {
        Acquired::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// An operation, what goes before it in the parent, and what in the child that is to die in it.
struct Act {
    name: &'static str,
    before: fn(&Scene),
    child: fn(&Store) -> Option<Held>,
    act: fn(&Store, Option<Held>),
}

const NOTHING: fn(&Store) -> Option<Held> = |_| None;

fn acts() -> Vec<Act> {
    let old = |scene: &Scene| set(scene.store(), KEY, &content(1, 300), Ttl::Millis(500_000_000));
    vec![
        Act {
            name: "put of a new key",
            before: |scene| assert!(scene.store().delete(KEY, None, None).is_ok()),
            child: NOTHING,
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
        },
        Act {
            name: "overwrite",
            before: old,
            child: NOTHING,
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
        },
        Act {
            name: "delete",
            before: old,
            child: NOTHING,
            act: |store, _| assert!(store.delete(KEY, None, None).is_ok()),
        },
        Act {
            name: "touch to a longer life",
            before: old,
            child: NOTHING,
            act: |store, _| assert!(store.touch(KEY, Ttl::Never, None).is_ok()),
        },
        Act {
            name: "touch to a shorter life",
            before: old,
            child: NOTHING,
            act: |store, _| assert!(store.touch(KEY, Ttl::Millis(90_000_000), None).is_ok()),
        },
        Act {
            name: "increment",
            before: |scene| set(scene.store(), KEY, b"41", Ttl::Millis(500_000_000)),
            child: NOTHING,
            act: |store, _| {
                let counted = store.increment(KEY, 1, None, &Write::default()).expect("increment");
                assert!(matches!(counted, Counted::Done { value: 42, .. }), "{counted:?}");
            },
        },
        Act {
            name: "append",
            before: old,
            child: NOTHING,
            act: |store, _| {
                let stored = store.append(KEY, &content(2, 200), None, false).expect("append");
                assert!(matches!(stored, Stored::Done(_)), "{stored:?}");
            },
        },
        Act {
            name: "append that makes a value fill segments",
            before: old,
            child: NOTHING,
            act: |store, _| {
                let stored = store.append(KEY, &content(2, 70_000), None, false).expect("append");
                assert!(matches!(stored, Stored::Done(_)), "{stored:?}");
            },
        },
        Act {
            name: "update that deletes",
            before: old,
            child: NOTHING,
            act: |store, _| {
                let stored = store.update(KEY, None, false, &mut |_| Update::Delete);
                assert!(matches!(stored, Ok(Stored::Done(_))), "{stored:?}");
            },
        },
        Act {
            name: "batch",
            before: old,
            child: NOTHING,
            act: |store, _| {
                let (value, how) = (content(2, 200), Write { ttl: Ttl::Never, ..Write::default() });
                let items = [&b"beside"[..], KEY, b"behind"].map(|key| {
                    let ttl = if key == KEY { Ttl::Never } else { Ttl::Millis(1_000) };
                    BatchItem { key, value: &value, how: Write { ttl, ..how } }
                });
                let outcomes = store.set_many(&items).expect("set_many");
                let done = |outcome: &_| matches!(outcome, Ok(Stored::Done(_)));
                assert!(outcomes.iter().all(done), "{outcomes:?}");
            },
        },
        Act {
            name: "lock",
            before: old,
            child: NOTHING,
            act: |store, _| assert!(lock(store, 1).fence > 0),
        },
        Act {
            name: "fenced write and unlock",
            before: old,
            child: |store| Some(lock(store, 1)),
            act: |store, held| {
                let (value, held) = (content(2, 100), held.expect("locked"));
                let any = Expect::Any;
                let stored = store.put(KEY, &value, 0, Ttl::Never, any, Some(&held)).expect("put");
                assert!(matches!(stored, Stored::Done(_)));
                assert!(store.unlock(KEY, &held).expect("unlock"));
            },
        },
        Act {
            name: "change of the options",
            before: old,
            child: NOTHING,
            act: |store, _| {
                let other = match store.config().expect("config").sync {
                    Sync::None => Sync::Periodic,
                    _ => Sync::None,
                };
                let change = ConfigChange { sync: Some(other), ..ConfigChange::default() };
                assert_eq!(store.set_config(&change).expect("changed").sync, other);
            },
        },
        Act {
            name: "flush",
            before: old,
            child: NOTHING,
            act: |store, _| store.flush(None).expect("flush"),
        },
        Act {
            name: "planned flush that is due",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                let at = scene.store().now_ms().expect("now") + 1;
                scene.store().flush(Some(at)).expect("planned");
                scene.clock.pass(2);
            },
            child: NOTHING,
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
        },
        Act {
            name: "write with a new owner",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Millis(500_000_000));
                assert!(scene.store().end_owner(b"anna").is_ok());
            },
            child: NOTHING,
            act: |store, _| {
                let owner = format!("owner {}", store.now_ms().expect("now"));
                let how = Write { owner: Some(owner.as_bytes()), ..Write::default() };
                let stored = store.write(KEY, &content(2, 200), &how).expect("write");
                assert!(matches!(stored, Stored::Done(_)));
            },
        },
        Act {
            name: "write that keeps its owner, which lives longer then",
            before: |scene| {
                let (owner, ttl) = (Some(&b"anna"[..]), Ttl::Millis(500_000_000));
                let how = Write { owner, ttl, ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
            },
            child: NOTHING,
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
        },
        Act {
            name: "end of an owner",
            before: |scene| {
                let how = Write { owner: Some(b"anna"), ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
            },
            child: NOTHING,
            act: |store, _| assert!(store.end_owner(b"anna").is_ok()),
        },
        Act {
            name: "write after an end whose process died in the middle of it",
            before: |scene| {
                let how = Write { owner: Some(b"anna"), ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
                let store = scene.store();
                for n in 1.. {
                    let child = process::fork(|| {
                        store.exists(b"attached").expect("exists");
                        fault::arm(n);
                        store.end_owner(b"anna").expect("end");
                        fault::arm(u64::MAX);
                    });
                    child.wait(LONG);
                    if see(store).is_none() {
                        break;
                    }
                }
            },
            child: |store| Some(lock(store, 1)),
            act: |store, held| {
                let held = held.expect("locked");
                let owner = Some(&b"anna"[..]);
                let how = Write { owner, held: Some(&held), ttl: Ttl::Never, ..Write::default() };
                // Whoever finds half an end finishes it, and is too late itself then.
                let first = store.write(KEY, &content(2, 200), &how).expect("write");
                assert!(store.unlock(KEY, &held).expect("unlock"));
                if first == Stored::Lost {
                    let held = lock(store, 1);
                    let how = Write { held: Some(&held), ..how };
                    let second = store.write(KEY, &content(2, 200), &how).expect("write");
                    assert!(matches!(second, Stored::Done(_)), "{second:?}");
                }
            },
        },
        Act {
            name: "roll to a new segment",
            before: old,
            child: |store| {
                // Fill a segment up to the last few KB.
                let free = || store.stats().expect("stats").segments_free;
                let begin = free();
                while free() == begin {
                    set(store, b"filler", &content(3, 15_360), Ttl::Millis(1));
                }
                (0..3).for_each(|_| set(store, b"filler", &content(3, 15_360), Ttl::Millis(1)));
                None
            },
            act: |store, _| set(store, KEY, &content(2, 4_000), Ttl::Never),
        },
        Act {
            name: "value that fills segments",
            before: old,
            child: NOTHING,
            act: |store, _| set(store, KEY, &content(2, 70_000), Ttl::Never),
        },
        Act {
            name: "overwrite of a value that fills segments, and their return",
            before: |scene| {
                // The new value of the last turn may fill the lanes; only the run matters.
                set(scene.store(), KEY, &content(1, 70_000), Ttl::Millis(500_000_000));
            },
            child: NOTHING,
            act: |store, _| {
                set(store, KEY, &content(2, 100), Ttl::Millis(600_000_000));
                for _ in 0..3 {
                    store.expire(u64::MAX).expect("expire");
                    store.sync().expect("sync");
                }
            },
        },
        Act {
            name: "sweep that frees segments",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                for i in 0..40u32 {
                    set(scene.store(), &i.to_le_bytes(), &content(4, 4_000), Ttl::Millis(1_000));
                }
                scene.clock.pass(2_000);
            },
            child: NOTHING,
            act: |store, _| {
                for _ in 0..3 {
                    store.expire(u64::MAX).expect("expire");
                    store.sync().expect("sync");
                }
            },
        },
        Act {
            name: "compaction, which moves what is alive",
            before: |scene| {
                // In each segment some that live among many that do not.
                for _ in 0..16 {
                    let i = scene.crowd.get();
                    set(scene.store(), &one_of_many(i), b"", Ttl::Never);
                    scene.crowd.set(i + 1);
                    set(scene.store(), KEY, &content(1, 300), Ttl::Millis(500_000_000));
                    set(scene.store(), b"filler", &content(i, 9_000), Ttl::Never);
                }
            },
            child: NOTHING,
            act: |store, _| assert!(store.compact().expect("compact") > 0),
        },
        Act {
            name: "growth of the index",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                // As many as make one table grow: others are then about to.
                let before = slots(scene.store());
                while scene.crowd.get() < 1_500 || slots(scene.store()) == before {
                    let i = scene.crowd.get();
                    set(scene.store(), &one_of_many(i), b"", Ttl::Never);
                    scene.crowd.set(i + 1);
                }
            },
            child: NOTHING,
            act: |store, _| {
                // Other keys each time, so that they meet other tables.
                let name = store.exists(KEY).expect("exists").expect("there").version;
                let (before, mut i) = (slots(store), 0);
                while slots(store) == before {
                    let key = [name.to_le_bytes(), (i as u64).to_le_bytes()].concat();
                    set(store, &key, b"", Ttl::Millis(10_000));
                    i += 1;
                }
                set(store, KEY, &content(2, 200), Ttl::Never);
            },
        },
        Act {
            name: "write into a full store, which makes room",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                let mut i = 0u32;
                while scene
                    .store()
                    .set(&i.to_le_bytes(), &content(4, 9_000), 0, Ttl::Millis(100))
                    .is_ok()
                {
                    i += 1;
                }
                scene.clock.pass(2_000);
                std::thread::sleep(Duration::from_millis(110));
            },
            child: NOTHING,
            act: |store, _| {
                for i in 0..8u32 {
                    set(store, &(i | 1 << 30).to_le_bytes(), &content(4, 9_000), Ttl::Millis(100));
                }
            },
        },
        Act {
            name: "write into a full cache, which evicts",
            before: |scene| {
                let evicted = || scene.store().stats().expect("stats").evicted;
                let begin = evicted();
                for i in 0..2_000u32 {
                    // Small ones and such that fill segments; some are read, and moved therefore.
                    let (key, len) = (i.to_le_bytes(), if i % 4 == 0 { 9_000 } else { 1_500 });
                    set(scene.store(), &key, &content(i.into(), len), Ttl::Never);
                    if i % 3 == 0 {
                        scene.store().get(&key, &mut Vec::new()).expect("get");
                    }
                    if i > 20 && evicted() > begin + 5 {
                        break;
                    }
                }
                assert!(evicted() > begin + 5, "nothing was evicted");
                set(scene.store(), KEY, &content(1, 300), Ttl::Millis(500_000_000));
            },
            child: NOTHING,
            act: |store, _| {
                for i in 0..24u32 {
                    let len = if i % 4 == 0 { 9_000 } else { 1_500 };
                    set(store, &(i | 1 << 30).to_le_bytes(), &content(i.into(), len), Ttl::Never);
                }
                set(store, KEY, &content(2, 200), Ttl::Never);
            },
        },
    ]
}

struct Times {
    other_key: Duration,
    same_key: Duration,
    lock: Duration,
}

fn timed<T>(longest: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    *longest = begun.elapsed().max(*longest);
    done
}

/// A store made of the log alone.
fn open_log(scene: &Scene) -> (tempfile::TempDir, Store) {
    let copy = memory_dir();
    for name in ["super", "data"] {
        std::fs::copy(scene.path.join(name), copy.path().join(name)).expect("a copy");
    }
    let store = open(copy.path(), &scene.options);
    (copy, store)
}

/// Did somebody die while a table grew? (See arena.rs.)
fn is_growth_latched(scene: &Scene) -> bool {
    let meta = std::fs::File::open(scene.path.join("meta")).expect("meta");
    let mut latch = [0; 4];
    meta.read_exact_at(&mut latch, 0x588).expect("the latch");
    latch != [0; 4]
}

/// Runs the operation in a child that dies before its n-th store. `None`: it did not die; then it
/// tells how many stores were made.
fn run(scene: &Scene, act: &Act, n: u64) -> Option<u64> {
    use std::io::Read;
    let (mut from, to) = process::pipe();
    let child = process::fork(|| {
        let held = (act.child)(scene.store());
        scene.store().exists(b"attached").expect("exists");
        fault::arm(n);
        (act.act)(scene.store(), held);
        let left = fault::left();
        fault::arm(u64::MAX);
        use std::io::Write;
        (&to).write_all(&(n - left).to_le_bytes()).expect("the pipe");
    });
    drop(to);
    match child.wait(LONG) {
        Ended::Signal(libc::SIGKILL) => None,
        Ended::Exit(0) => {
            let mut stores = [0; 8];
            from.read_exact(&mut stores).expect("the number of stores");
            Some(u64::from_le_bytes(stores))
        }
        other => panic!("{}: n = {n}: {other:?}", act.name),
    }
}

/// Others attach, take the dead one's slot and heal; some die in that.
fn attach_others(scene: &Scene, rng: &mut Rng) {
    for turn in 0..6 {
        let n = if turn < 3 { 1 + rng.below(100) } else { u64::MAX };
        let child = process::fork(|| {
            fault::arm(n);
            set(scene.store(), b"somebody else's", b"value", Ttl::Millis(1_000));
        });
        let ended = child.wait(LONG);
        assert!(matches!(ended, Ended::Exit(0) | Ended::Signal(libc::SIGKILL)), "{ended:?}");
    }
}

/// The same at another time: a life of so many milliseconds from then on.
fn later(seen: Seen, now_ms: u64) -> Seen {
    seen.map(|(value, life)| (value, if life == 0 { 0 } else { now_ms + life }))
}

fn step(scene: &Scene, act: &Act, n: u64, new: &Seen, rng: &mut Rng, times: &mut Times) -> bool {
    (act.before)(scene);
    let store = scene.store();
    let old = see(store);
    let new = &later(new.clone(), store.now_ms().expect("now"));
    let died = run(scene, act, n).is_none();
    scene.growing.set(scene.growing.get() + is_growth_latched(scene) as u64);
    let at = || format!("{}: death before store {n}", act.name);
    let short = |seen: &Seen| seen.as_ref().map(|(v, e)| (v.len(), *e));
    let is_one = |seen: &Seen, what: &str| {
        assert!(
            scene.is(seen, &old) || seen == new,
            "{}: {what}: {:?}; old {:?}, new {:?}",
            at(),
            short(seen),
            short(&old),
            short(new)
        );
    };
    if n.is_multiple_of(3) {
        is_one(&see(&open_log(scene).1), "the log says");
    }
    timed(&mut times.other_key, || set(store, b"other key", b"value", Ttl::Millis(1_000)));
    let at_once = see(store);
    is_one(&at_once, "read at once");
    for i in 0..scene.crowd.get() {
        let there = store.exists(&one_of_many(i)).expect("exists");
        assert!(there.is_some(), "{}: key {i} of many is missing", at());
    }
    timed(&mut times.same_key, || store.delete(KEY, Some(1), None).expect("delete"));
    if act.name.starts_with("end of") {
        // A change of the value, to which it changes nothing, settles what became of its owner.
        store.touch(KEY, Ttl::Never, None).expect("touch");
    }
    let settled = see(store);
    is_one(&settled, "after the next change");
    // What somebody has read since the death is what it came to: it does not change by itself.
    let stays = scene.is(&settled, &at_once);
    assert!(stays, "{}: {:?} was read as {:?}", at(), short(&settled), short(&at_once));
    let held = timed(&mut times.lock, || lock(store, 9));
    assert!(store.unlock(KEY, &held).expect("unlock"));
    attach_others(scene, rng);
    let still = see(store);
    assert!(scene.is(&still, &settled), "{}: {:?} was {:?}", at(), short(&still), short(&settled));
    // What is given back is used again, and whoever uses it keeps it.
    let filler = |i: u32| (i | 1 << 20).to_le_bytes();
    let stored = |i: &u32| {
        store.set(&filler(*i), &content(*i as u64, 15_000), 0, Ttl::Millis(50_000)).is_ok()
    };
    let most = if act.name.contains("segments") { 60 } else { 8 };
    let fillers: Vec<u32> = (0..most).take_while(stored).collect();
    let sweep = || {
        for _ in 0..3 {
            store.expire(u64::MAX).expect("expire");
            store.sync().expect("sync");
        }
    };
    sweep();
    let copied = (n % 3 == 1 || act.name.contains("return")).then(|| open_log(scene));
    let log = copied.as_ref().map(|(_dir, log)| log);
    for (i, from) in fillers.iter().flat_map(|i| [(*i, Some(store)), (*i, log)]) {
        let Some(from) = from else { continue };
        let mut value = Vec::new();
        let there = from.get(&filler(i), &mut value).unwrap_or_else(|e| panic!("{}: {e}", at()));
        let is_whole = there.is_some() && value == content(i as u64, 15_000);
        let evicted = there.is_none() && scene.options.evict == Some(true);
        assert!(is_whole || evicted, "{}: {there:?}", at());
    }
    scene.clock.pass(100_000);
    sweep();
    let still = see(store);
    assert!(scene.is(&still, &settled), "{}: {:?} was {:?}", at(), short(&still), short(&settled));
    if n % 3 == 1 {
        // What was evicted may still be in the log; what is alive is there as it is.
        let log = see(&open_log(scene).1);
        let same = log == still || (still.is_none() && scene.is(&log, &settled));
        assert!(same, "{}: log {:?}, index {:?}", at(), short(&log), short(&settled));
    }
    died
}

/// All places (and some behind: another turn may have more to do) if there are few, else the first, the last and some between.
fn places(total: u64, rng: &mut Rng) -> Vec<u64> {
    let most = size("HOLDFAST_STEPS", 150);
    if total <= most {
        return (1..=total * 2).collect();
    }
    let (edge, between) = (most / 3, most / 3);
    let mut places: Vec<u64> = (1..=edge).chain(total - edge..=total + edge / 2).collect();
    places.extend((0..between).map(|_| edge + rng.below(total - 2 * edge)));
    places
}

fn play(act: &Act) {
    let mut rng = Rng::new(seed(act.name));
    let max_bytes = if act.name.contains("growth") { 8 << 20 } else { 1 << 20 };
    let (_dir, scene) = Scene::of(max_bytes, act.name.contains("evicts"));
    (act.before)(&scene);
    let begun_ms = scene.store().now_ms().expect("now");
    let total = run(&scene, act, u64::MAX - 1).expect("completes");
    let new = see(scene.store());
    let new = new.map(|(value, expires)| (value, expires.saturating_sub(begun_ms)));
    let mut times =
        Times { other_key: Duration::ZERO, same_key: Duration::ZERO, lock: Duration::ZERO };
    let places = places(total, &mut rng);
    let deaths =
        places.iter().filter(|n| step(&scene, act, **n, &new, &mut rng, &mut times)).count();
    let growing = scene.growing.get();
    println!(
        "{}: {total} stores, {deaths} deaths, {growing} while a table grew; longest: other key {:?}, same key {:?}, lock {:?}",
        act.name, times.other_key, times.same_key, times.lock
    );
    assert!(growing > 0 || !act.name.contains("growth"), "nobody died in a growth");
    assert!(times.same_key < Duration::from_millis(500) && times.lock < Duration::from_millis(500));
}

#[test]
fn an_operation_can_die_before_each_of_its_stores() {
    let only = std::env::var("HOLDFAST_ACT").unwrap_or_default();
    for act in acts().iter().filter(|act| act.name.contains(&only)) {
        play(act);
    }
}

/// Dies before the n-th store of `work`; gives true while it does.
fn dies(path: &Path, n: u64, work: impl FnOnce(&Path)) -> bool {
    let child = process::fork(|| {
        fault::arm(n);
        work(path);
        fault::arm(u64::MAX);
    });
    match child.wait(LONG) {
        Ended::Signal(libc::SIGKILL) => true,
        Ended::Exit(0) => false,
        other => panic!("n = {n}: {other:?}"),
    }
}

#[test]
fn creation_can_die_before_each_of_its_stores() {
    let (_dir, scene) = Scene::new();
    let mut n = 0;
    loop {
        n += 1;
        let dir = memory_dir();
        let died = dies(dir.path(), n, |path| drop(open(path, &scene.options)));
        let store = open(dir.path(), &scene.options);
        set(&store, KEY, b"v", Ttl::Never);
        assert_eq!(see(&store), Some((b"v".to_vec(), 0)), "n = {n}");
        if !died {
            break;
        }
        // The words of the table of stripes are one like the other.
        n += if n > 60 { 7 } else { 0 };
    }
    println!("creation: {n} stores");
}

#[test]
fn a_rebuild_or_an_open_after_deaths_can_die_before_each_of_its_stores() {
    for remove in ["meta", "index", "nothing"] {
        let (_dir, mut scene) = Scene::new();
        let store = scene.store();
        for i in 0..60u32 {
            set(store, &i.to_le_bytes(), &content(i as u64, 500), Ttl::Never);
        }
        for i in 0..20u32 {
            store.delete(&i.to_le_bytes(), None, None).expect("delete");
        }
        set(store, KEY, &content(5, 70_000), Ttl::Never);
        let mut version = store.exists(KEY).expect("exists").expect("there").version;
        let mut n = 0;
        let mut died = true;
        while died {
            n += if n > 150 { 11 } else { 1 };
            scene.store = None;
            if remove == "nothing" {
                // Somebody died with a change under way.
                dies(&scene.path, 40 + n % 60, |path| {
                    let store = open(path, &scene.options);
                    set(&store, b"under way", &content(n, 200), Ttl::Never);
                });
            } else {
                std::fs::remove_file(scene.path.join(remove)).expect("a file to remove");
            }
            died = dies(&scene.path, n, |path| drop(open(path, &scene.options)));
            scene.store = Some(open(&scene.path, &scene.options));
            let store = scene.store();
            for i in 0..60u32 {
                let mut value = Vec::new();
                let there = store.get(&i.to_le_bytes(), &mut value).expect("get").is_some();
                assert_eq!(there, i >= 20, "{remove} removed, n = {n}, key {i}");
                assert!(!there || value == content(i as u64, 500));
            }
            assert_eq!(see(store), Some((content(5, 70_000), 0)), "{remove} removed, n = {n}");
            let Stored::Done(next) = store.set(b"number", b"", 0, Ttl::Never).expect("set") else {
                panic!()
            };
            assert!(next > version, "a version was issued twice");
            version = next;
        }
        println!("open with {remove} removed: {n} stores");
    }
}
