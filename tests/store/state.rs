//! What concerns everything in a store: options that change while it is in use, and flushes.
//!
//! Whatever is acknowledged in one process is the truth in all others at once, and on the disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::{
    Acquired, ConfigChange, Disk, Error, Expect, FileKind, Item, Options, Stats, Store, Stored,
    Sync, Ttl, Wait, Write,
};
use holdfast_tests::killing::now_ns;
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{HandClock, Rng, content, dir, memory_dir, open, seed, size, small};

const LONG: Duration = Duration::from_secs(60);

fn set(store: &Store, key: &[u8], value: &[u8]) -> u64 {
    match store.set(key, value, 0, Ttl::Never).expect("set") {
        Stored::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

fn has(store: &Store, key: &[u8]) -> bool {
    store.exists(key).expect("exists").is_some()
}

fn read(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).expect("get").map(|_| value)
}

/// Does the work in another process, attached in its own name.
fn elsewhere(work: impl FnOnce()) {
    assert_eq!(process::fork(work).wait(LONG), Ended::Exit(0));
}

/// A store made of the log alone.
fn from_the_log(path: &Path, options: &Options) -> (tempfile::TempDir, Store) {
    let copy = memory_dir();
    for name in ["super", "data"] {
        std::fs::copy(path.join(name), copy.path().join(name)).expect("a copy");
    }
    let store = open(copy.path(), options);
    (copy, store)
}

#[test]
fn an_option_changed_here_is_obeyed_there_and_after_reopening() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let config = store.config().unwrap();
    assert_eq!((config.sync, config.max_value_bytes), (Sync::Periodic, 1 << 20));
    set(&store, b"long", &content(1, 5_000));
    let (mut asks, tells) = process::pipe();
    let (hears, mut says) = process::pipe();
    let child = process::fork(|| {
        use std::io::{Read, Write};
        let mut line = [0];
        let (mut hears, mut tells) = (&hears, &tells);
        assert!(has(&store, b"long"));
        tells.write_all(b"r").unwrap();
        hears.read_exact(&mut line).unwrap();
        let long = store.set(b"k", &content(2, 4_001), 0, Ttl::Never);
        assert!(matches!(long, Err(Error::TooLarge { max: 4_000, .. })), "{long:?}");
        assert_eq!(read(&store, b"long").map(|v| v.len()), Some(5_000), "what is there stays");
        let before = store.stats().unwrap().sync_rounds;
        store.set(b"k", b"v", 0, Ttl::Default).unwrap();
        assert!(store.stats().unwrap().sync_rounds > before, "every write is synced now");
        let item = store.exists(b"k").unwrap().expect("just set");
        let left = item.expires_ms - store.now_ms().unwrap();
        assert!((1..=3_000).contains(&left), "{left} ms left");
        store.touch(b"k", Ttl::Never, None).unwrap();
        let item = store.exists(b"k").unwrap().expect("touched");
        assert!(item.expires_ms != 0, "no lifetime is without an end now");
    });
    {
        use std::io::{Read, Write};
        asks.read_exact(&mut [0]).unwrap();
        let change = ConfigChange {
            sync: Some(Sync::Always),
            default_ttl_ms: Some(3_000),
            max_ttl_ms: Some(10_000),
            max_value_bytes: Some(4_000),
            ..ConfigChange::default()
        };
        let new = store.set_config(&change).unwrap();
        assert_eq!(new, store.config().unwrap());
        says.write_all(b"g").unwrap();
    }
    assert_eq!(child.wait(LONG), Ended::Exit(0));
    let config = store.config().unwrap();
    drop(store);
    let again = open(dir.path(), &Options::default());
    assert_eq!(again.config().unwrap(), config);
    drop(again);
    std::fs::remove_file(dir.path().join("meta")).unwrap();
    let again = open(dir.path(), &Options::default());
    assert_eq!(again.config().unwrap(), config, "after a rebuild");
    assert!(!again.stats().unwrap().options_differ);
}

#[test]
fn options_change_while_others_write() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let workers: Vec<_> = (0..3u64)
        .map(|me| {
            process::fork(|| {
                let begun = std::time::Instant::now();
                let mut i = 0u64;
                while begun.elapsed() < Duration::from_millis(1_500) {
                    i += 1;
                    let key = [me.to_le_bytes(), (i % 64).to_le_bytes()].concat();
                    match store.set(&key, &content(i, 3_000), 0, Ttl::Default) {
                        Ok(Stored::Done(_)) => assert!(has(&store, &key)),
                        Err(Error::TooLarge { max: 1_000, .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut rng = Rng::new(seed("options change"));
    for _ in 0..60 {
        let change = ConfigChange {
            sync: Some(*rng.pick(&[Sync::None, Sync::Periodic, Sync::Always])),
            sync_interval_ms: Some(1 + rng.below(2_000)),
            default_ttl_ms: Some(60_000 + rng.below(100)),
            max_value_bytes: Some(*rng.pick(&[1_000, 100_000])),
            ..ConfigChange::default()
        };
        let new = store.set_config(&change).unwrap();
        assert_eq!(Some(new.sync), change.sync);
        assert_eq!(store.config().unwrap(), new);
        std::thread::sleep(Duration::from_millis(20));
    }
    for worker in workers {
        assert_eq!(worker.wait(LONG), Ended::Exit(0));
    }
}

/// A flush and a changed option replace `super`. An opener that had opened the old file, and looked
/// at it a moment later, found a file without a name and said that the store was not to be trusted.
#[test]
fn a_store_can_be_opened_while_its_description_is_replaced() {
    let opens = size("HOLDFAST_OPENS", 2_000);
    let dir = memory_dir();
    drop(open(dir.path(), &small()));
    let over = process::shared(1);
    let flusher = process::fork(|| {
        let store = open(dir.path(), &Options::default());
        while over[0].load(Ordering::SeqCst) == 0 {
            store.flush(None).expect("a flush");
        }
    });
    for _ in 0..opens {
        assert!(!has(&open(dir.path(), &Options::default()), b"anything"));
    }
    over[0].store(1, Ordering::SeqCst);
    assert_eq!(flusher.wait(LONG), Ended::Exit(0));
}

#[test]
fn a_shorter_interval_is_kept_by_a_thread_that_sleeps() {
    let dir = dir();
    let options = Options { sync_interval: Some(Duration::from_secs(60)), ..small() };
    let store = open(dir.path(), &options);
    set(&store, b"k", b"v");
    std::thread::sleep(Duration::from_millis(100));
    let soon = ConfigChange { sync_interval_ms: Some(50), ..ConfigChange::default() };
    store.set_config(&soon).unwrap();
    set(&store, b"k", b"w");
    let rounds = store.stats().unwrap().sync_rounds;
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(store.stats().unwrap().sync_rounds > rounds, "it slept on");
}

fn fill(store: &Store, name: &str) -> Vec<Vec<u8>> {
    let key = |i: u64| format!("{name} {i}").into_bytes();
    (0..1_000_000)
        .map(key)
        .take_while(|key| match store.set(key, &content(key.len() as u64, 9_000), 0, Ttl::Never) {
            Ok(stored) => matches!(stored, Stored::Done(_)),
            Err(Error::Full(_)) => false,
            Err(e) => panic!("{e}"),
        })
        .collect()
}

#[test]
fn a_store_grows_when_it_is_next_opened_and_never_shrinks() {
    let dir = dir();
    let options = Options {
        create: true,
        max_bytes: Some(2 << 20),
        max_value_bytes: Some(100_000),
        max_processes: Some(3),
        ..Options::default()
    };
    let store = open(dir.path(), &options);
    let before = fill(&store, "before");
    let less = ConfigChange { max_bytes: Some(1 << 20), ..ConfigChange::default() };
    let refused = store.set_config(&less).unwrap_err();
    assert!(refused.to_string().contains("only grows"), "{refused}");
    let more = ConfigChange {
        max_bytes: Some(9 << 20),
        max_processes: Some(40),
        ..ConfigChange::default()
    };
    let waits = store.set_config(&more).unwrap();
    assert_eq!((waits.max_bytes, waits.max_processes), (2 << 20, 3));
    assert_eq!((waits.pending_max_bytes, waits.pending_max_processes), (9 << 20, 40));
    assert!(matches!(store.set(b"more", &content(1, 90_000), 0, Ttl::Never), Err(Error::Full(_))));
    elsewhere(|| assert_eq!(store.config().unwrap().max_bytes, 2 << 20, "not while it is open"));
    let segment_bytes = store.stats().unwrap().segment_bytes;
    drop(store);

    let store = open(dir.path(), &Options::default());
    let config = store.config().unwrap();
    assert_eq!((config.max_bytes, config.max_processes), (9 << 20, 40));
    assert_eq!((config.pending_max_bytes, config.pending_max_processes), (0, 0));
    assert_eq!(store.stats().unwrap().segment_bytes, segment_bytes);
    let after = fill(&store, "after");
    assert!(after.len() > 3 * before.len(), "{} and {}", after.len(), before.len());
    let check = |store: &Store| {
        for key in before.iter().chain(&after) {
            assert!(read(store, key) == Some(content(key.len() as u64, 9_000)));
        }
    };
    check(&store);
    check(&from_the_log(dir.path(), &options).1);
    elsewhere(|| check(&store));
    drop(store);
    check(&open(dir.path(), &Options::default()));
}

/// A disk on which `super` finds no room, or cannot be synced, while the test says so.
#[derive(Default)]
struct Refusing {
    room: AtomicBool,
    sync: AtomicBool,
}

impl Disk for Refusing {
    fn sync(&self, kind: FileKind, file: &File) -> io::Result<()> {
        if kind == FileKind::Super && self.sync.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        file.sync_data()
    }
    fn may_grow(&self, kind: FileKind, _len: u64) -> io::Result<()> {
        match kind == FileKind::Super && self.room.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            false => Ok(()),
        }
    }
}

#[test]
fn a_full_or_failing_disk_changes_nothing() {
    let (dir, clock, disk) = (dir(), HandClock::new(), Arc::new(Refusing::default()));
    let options = Options { clock: Some(clock.clone()), disk: Some(disk.clone()), ..small() };
    let store = open(dir.path(), &options);
    set(&store, b"k", b"v");
    store.flush(Some(store.now_ms().unwrap() + 60_000)).unwrap();
    let config = store.config().unwrap();
    let change = ConfigChange { default_ttl_ms: Some(5), ..ConfigChange::default() };
    for refusal in [&disk.room, &disk.sync] {
        refusal.store(true, Ordering::SeqCst);
        let failed = store.flush(None).unwrap_err();
        let right = match std::ptr::eq(refusal, &disk.room) {
            true => matches!(failed, Error::NoSpace(_)),
            false => matches!(failed, Error::Io { .. }),
        };
        assert!(right, "{failed:?}");
        assert!(store.set_config(&change).is_err());
        assert!(store.flush(Some(store.now_ms().unwrap() + 1)).is_err());
        assert_eq!(store.config().unwrap(), config);
        assert_eq!(read(&store, b"k").as_deref(), Some(&b"v"[..]));
        set(&store, b"k", b"v");
        assert!(!dir.path().join("super.new").exists(), "nothing is left lying about");
        refusal.store(false, Ordering::SeqCst);
    }
    elsewhere(|| assert!(has(&store, b"k")));
    assert!(has(&from_the_log(dir.path(), &options).1, b"k"));
    // The one that was planned is still to come, and nothing is written past it.
    clock.pass(60_001);
    disk.room.store(true, Ordering::SeqCst);
    assert!(!has(&store, b"k"));
    assert!(matches!(store.set(b"k", b"w", 0, Ttl::Never), Err(Error::NoSpace(_))));
    assert!(!has(&store, b"k"));
    disk.room.store(false, Ordering::SeqCst);
    set(&store, b"k", b"w");
    assert_eq!(read(&store, b"k").as_deref(), Some(&b"w"[..]));
}

#[test]
fn after_a_flush_every_verb_finds_nothing() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let version = set(&store, b"k", b"v");
    for i in 0..50u32 {
        set(&store, &i.to_le_bytes(), &content(i as u64, 2_000));
    }
    set(&store, b"large", &content(1, 400_000));
    elsewhere(|| store.flush(None).unwrap());
    let gone = |store: &Store| {
        assert_eq!(read(store, b"k"), None);
        assert!(!has(store, b"k") && !has(store, b"large"));
        assert_eq!(store.touch(b"k", Ttl::Never, None).unwrap(), Stored::Missing);
        assert_eq!(store.delete(b"k", None, None).unwrap(), Stored::Missing);
        assert_eq!(store.replace(b"k", b"x", 0, Ttl::Never).unwrap(), Stored::Missing);
        assert_eq!(store.cas(b"k", b"x", 0, Ttl::Never, version).unwrap(), Stored::Missing);
        let mut value = Vec::new();
        assert_eq!(store.get_touch(b"k", Ttl::Never, &mut value).unwrap(), None);
        let stats = store.stats().unwrap();
        assert_eq!((stats.keys, stats.live_bytes), (0, 0));
    };
    gone(&store);
    elsewhere(|| gone(&store));
    gone(&from_the_log(dir.path(), &small()).1);
    let Stored::Done(new) = store.add(b"k", b"w", 0, Ttl::Never).unwrap() else { panic!() };
    assert!(new > version);
    assert_eq!(store.stats().unwrap().keys, 1);
    drop(store);
    let store = open(dir.path(), &small());
    assert_eq!(read(&store, b"k").as_deref(), Some(&b"w"[..]));
    store.delete(b"k", None, None).unwrap();
    gone(&store);
    assert_eq!(store.stats().unwrap().keys, 0);
}

#[test]
fn a_flush_leaves_session_locks_alone() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let Acquired::Held(held) = store.lock(b"s", 1, &Wait::default()).unwrap() else { panic!() };
    store.flush(None).unwrap();
    let how = Write { held: Some(&held), ..Write::default() };
    assert!(matches!(store.write(b"s", b"v", &how).unwrap(), Stored::Done(_)));
    assert!(has(&store, b"s") && store.unlock(b"s", &held).unwrap());
}

#[test]
fn a_full_store_is_empty_after_a_flush_and_can_be_filled_again() {
    let dir = memory_dir();
    let options = Options { max_bytes: Some(4 << 20), max_value_bytes: Some(1 << 16), ..small() };
    let store = open(dir.path(), &options);
    let first = fill(&store, "first");
    for turn in 0..5 {
        store.flush(None).unwrap();
        let again = fill(&store, "again");
        let (_copy, log) = from_the_log(dir.path(), &options);
        for from in [&store, &log] {
            for key in &again {
                assert!(read(from, key) == Some(content(key.len() as u64, 9_000)));
            }
            assert!(first.iter().all(|key| !has(from, key)));
        }
        let enough = again.len() * 10 >= first.len() * 9;
        assert!(enough, "turn {turn}: {} of {}", again.len(), first.len());
        assert_eq!(store.stats().unwrap().keys, again.len() as u64);
    }
}

#[test]
fn space_comes_back_after_a_flush_without_any_call() {
    let dir = memory_dir();
    let interval = Some(Duration::from_millis(50));
    let options = Options { max_bytes: Some(64 << 20), sync_interval: interval, ..small() };
    let store = open(dir.path(), &options);
    for i in 0..150_000u64 {
        set(&store, &i.to_le_bytes(), b"a small value");
    }
    store.flush(None).unwrap();
    let begun = std::time::Instant::now();
    // All but what the lanes are in.
    let enough = |stats: Stats| stats.segments_free + 6 >= stats.segments;
    while !enough(store.stats().unwrap()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", store.stats().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("150,000 records were swept out in {:?}", begun.elapsed());
}

#[test]
fn a_planned_flush_comes_at_its_time_whoever_is_there() {
    let (dir, clock) = (dir(), HandClock::new());
    let options = Options { clock: Some(clock.clone()), thread: false, ..small() };
    let store = open(dir.path(), &options);
    let at = |ms: u64| store.now_ms().unwrap() + ms;
    set(&store, b"old", b"1");
    store.flush(Some(at(10_000))).unwrap();
    // A later call replaces one that waits.
    store.flush(Some(at(20_000))).unwrap();
    clock.pass(15_000);
    assert!(has(&store, b"old"));
    set(&store, b"before", b"2");
    clock.pass(5_000);
    assert!(!has(&store, b"old") && !has(&store, b"before"));
    assert_eq!(store.stats().unwrap().keys, 0);
    assert_eq!(store.touch(b"old", Ttl::Never, None).unwrap(), Stored::Missing);
    set(&store, b"after", b"3");
    elsewhere(|| assert!(!has(&store, b"before") && has(&store, b"after")));

    // Now takes the place of later.
    store.flush(Some(at(1_000))).unwrap();
    store.flush(None).unwrap();
    set(&store, b"stays", b"4");
    clock.pass(2_000);
    assert!(has(&store, b"stays") && !has(&store, b"after"));

    // A plan outlives everybody, and index and meta.
    drop(store);
    for remove in [None, Some("meta")] {
        let store = open(dir.path(), &options);
        store.flush(Some(store.now_ms().unwrap() + 1_000)).unwrap();
        set(&store, b"waits", b"5");
        drop(store);
        if let Some(name) = remove {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        let store = open(dir.path(), &options);
        assert!(has(&store, b"waits"), "{remove:?}");
        clock.pass(1_000);
        assert!(!has(&store, b"waits"), "{remove:?}");
        set(&store, b"later", b"6");
        assert!(has(&store, b"later") && !has(&store, b"waits"));
    }
}

#[test]
fn planned_flushes_come_once_and_in_time_between_processes() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let at = store.now_ms().unwrap() + 400;
    store.flush(Some(at)).unwrap();
    let children: Vec<_> = (0..4u64)
        .map(|me| {
            process::fork(|| {
                let mut last = None;
                for i in 0.. {
                    let (key, now) = (format!("{me} {i}"), store.now_ms().unwrap());
                    set(&store, key.as_bytes(), b"v");
                    std::thread::sleep(Duration::from_micros(200));
                    if store.now_ms().unwrap() < at {
                        last = Some(key.clone());
                    }
                    if now < at {
                        continue;
                    }
                    assert!(has(&store, key.as_bytes()), "written after it");
                    assert!(!has(&store, last.expect("there was time").as_bytes()));
                    return;
                }
            })
        })
        .collect();
    for child in children {
        assert_eq!(child.wait(LONG), Ended::Exit(0));
    }
}

/// What a writer did: a key that nobody else ever writes.
struct Event {
    key: Vec<u8>,
    begun_ns: u64,
    ended_ns: u64,
}

/// Writers write keys of their own once, and chains: a value that was added, and values put in its
/// place by cas, each of which names the version that was added. A flush cuts between what was
/// before its call and what comes after its return; no chain reaches over it.
#[test]
fn a_flush_cuts_between_before_and_after_among_writers() {
    let turns = size("HOLDFAST_FLUSHES", 30);
    let mut seen = [0u64; 3];
    for turn in 0..turns {
        let dir = memory_dir();
        let store = open(dir.path(), &Options { thread: false, ..small() });
        let events: Vec<_> = (0..4).map(|_| tempfile::tempfile().expect("a file")).collect();
        let children: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(me, file)| process::fork(|| write_for_a_while(&store, me as u64, file)))
            .collect();
        std::thread::sleep(Duration::from_millis(8 + turn % 7));
        let last = set(&store, b"last before the flush", b"v");
        let begun_ns = now_ns();
        store.flush(None).unwrap();
        let ended_ns = now_ns();
        for child in children {
            assert_eq!(child.wait(LONG), Ended::Exit(0));
        }
        let copy = Options { thread: false, ..small() };
        let (_copy, log) = from_the_log(dir.path(), &copy);
        for event in events.iter().flat_map(events_in) {
            let there = has(&store, &event.key);
            assert_eq!(there, has(&log, &event.key), "the log says otherwise");
            if event.ended_ns < begun_ns {
                assert!(!there, "acknowledged before the flush, and there after it");
                seen[0] += 1;
            } else if event.begun_ns > ended_ns {
                assert!(there, "begun after the flush, and gone");
                seen[1] += 1;
            } else {
                seen[2] += 1;
            }
        }
        for chain in 0..CHAINS {
            let mut value = Vec::new();
            let item = store.get(format!("chain {chain}").as_bytes(), &mut value).expect("get");
            let Some(item) = item else { continue };
            assert!(root_of(&item, &value) > last, "a chain from before goes on after it");
        }
    }
    println!("{} before, {} after, {} at the same time", seen[0], seen[1], seen[2]);
    assert!(seen[0] > 100 && seen[1] > 100, "too little happened");
}

const CHAINS: u64 = 3;

fn write_for_a_while(store: &Store, me: u64, out: &File) {
    let begun = std::time::Instant::now();
    let (mut lines, mut rng) = (Vec::new(), Rng::new(me ^ now_ns()));
    for i in 0u64.. {
        if begun.elapsed() > Duration::from_millis(25) {
            break;
        }
        let key = [me.to_le_bytes(), i.to_le_bytes()].concat();
        let begun_ns = now_ns();
        set(store, &key, b"once");
        let ended_ns = now_ns();
        lines.extend(key);
        lines.extend(begun_ns.to_le_bytes());
        lines.extend(ended_ns.to_le_bytes());
        let chain = format!("chain {}", rng.below(CHAINS));
        let mut value = Vec::new();
        let expect = match store.get(chain.as_bytes(), &mut value).expect("get") {
            Some(item) => {
                value = root_of(&item, &value).to_le_bytes().to_vec();
                Expect::Version(item.version)
            }
            None => Expect::Absent,
        };
        let how = Write { expect, ttl: Ttl::Never, ..Write::default() };
        store.write(chain.as_bytes(), &value, &how).expect("write");
    }
    out.write_all_at(&lines, 0).expect("the file");
}

/// The version that a chain began with.
fn root_of(item: &Item, value: &[u8]) -> u64 {
    value.try_into().map_or(item.version, u64::from_le_bytes)
}

fn events_in(file: &File) -> Vec<Event> {
    let mut bytes = vec![0; file.metadata().expect("a length").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("what was written");
    let number = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("8 bytes"));
    bytes
        .chunks_exact(32)
        .map(|line| Event {
            key: line[..16].to_vec(),
            begun_ns: number(&line[16..24]),
            ended_ns: number(&line[24..]),
        })
        .collect()
}

#[test]
fn flushes_of_processes_that_are_killed_are_whole_or_nothing() {
    let mut rng = Rng::new(seed("killed flushes"));
    let dir = memory_dir();
    let store = open(dir.path(), &Options { thread: false, ..small() });
    let mut flushed = 0;
    for turn in 0..size("HOLDFAST_KILLED_FLUSHES", 60) {
        let keys: Vec<_> = (0..40u64).map(|i| (turn << 32 | i).to_le_bytes()).collect();
        for key in &keys {
            set(&store, key, b"v");
        }
        let child = process::fork(|| {
            loop {
                store.flush(None).expect("flush");
            }
        });
        let wait = Duration::from_micros(rng.below(3_000));
        std::thread::sleep(wait);
        child.signal(libc::SIGKILL);
        child.wait(LONG);
        let there = |store: &Store| keys.iter().filter(|key| has(store, *key)).count();
        let left = there(&store);
        let next = (1u64 << 63 | turn).to_le_bytes();
        set(&store, &next, b"v");
        // Whoever looked first has settled it.
        let settled = there(&store);
        assert!(settled == left && (left == 0 || left == 40), "{left}, then {settled}");
        flushed += (settled == 0) as u64;
        assert!(has(&store, &next));
        let copy = Options { thread: false, ..small() };
        let (_copy, log) = from_the_log(dir.path(), &copy);
        assert_eq!((there(&log), has(&log, &next)), (settled, true));
    }
    println!("{flushed} of them came to pass");
}

#[test]
fn versions_go_on_after_flushes_and_rebuilds() {
    let dir = memory_dir();
    let mut store = open(dir.path(), &small());
    let mut versions: HashMap<u64, u64> = HashMap::new();
    let mut highest = 0;
    for turn in 0..20 {
        let version = set(&store, b"k", b"v");
        assert!(version > highest && versions.insert(version, turn).is_none());
        highest = version;
        store.flush(None).unwrap();
        if turn % 3 == 0 {
            drop(store);
            std::fs::remove_file(dir.path().join("meta")).unwrap();
            store = open(dir.path(), &small());
        }
        assert!(!has(&store, b"k"));
    }
}

#[test]
fn a_store_that_was_moved_away_says_so_and_one_that_came_back_does_not() {
    let dir = dir();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    std::fs::create_dir(&here).expect("a directory");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&here, private).expect("its mode");
    let store = open(&here, &small());
    let is_well = || {
        let found = store.condition().expect("it is open");
        assert!(!found.sync_failed && !found.options_differ);
        found.in_place
    };
    assert!(is_well());
    std::fs::rename(&here, &there).expect("moved");
    assert!(!is_well());
    std::fs::rename(&there, &here).expect("moved back");
    assert!(is_well());
}
