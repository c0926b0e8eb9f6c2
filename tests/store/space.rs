//! Space: what is alive is moved, what is dead is given back, what is bounded stays bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::{Disk, Error, Expect, FileKind, Options, Store, Stored, Sync, Ttl};
use holdfast_tests::{HandClock, Rng, content, dir, memory_dir, open, seed, size};

const RECORD: u64 = 1024 + 128;

fn options(mib: u64, thread: bool) -> Options {
    Options { create: true, max_bytes: Some(mib << 20), thread, ..Options::default() }
}

fn key(i: u64) -> Vec<u8> {
    format!("key {i:012}").into_bytes()
}

fn set(store: &Store, i: u64, turn: u64) {
    let done = store.set(&key(i), &content(i ^ turn << 32, 1000), turn as u32, Ttl::Never);
    assert!(matches!(done, Ok(Stored::Done(_))), "key {i}, turn {turn}: {done:?}");
}

fn del(store: &Store, i: u64) {
    assert!(store.delete(&key(i), None, None).is_ok(), "key {i}");
}

fn check(store: &Store, i: u64, turn: u64) {
    let mut value = Vec::new();
    let item = store.get(&key(i), &mut value).expect("get").expect("the key is there");
    assert_eq!(item.flags as u64, turn, "key {i}");
    assert!(value == content(i ^ turn << 32, 1000), "key {i}: another value");
}

/// Opens the store as after a power loss that took everything but the log.
fn rebuilt(path: &std::path::Path, options: &Options) -> Store {
    std::fs::remove_file(path.join("meta")).expect("meta was there");
    open(path, options)
}

fn overwrite_at_random(thread: bool) {
    let (mib, turns) = (16, size("HOLDFAST_SPACE_TURNS", 12));
    let seed = seed("overwrite at random");
    let (dir, options) = (memory_dir(), options(mib, thread));
    let store = open(dir.path(), &options);
    let keys = (mib << 20) * 80 / 100 / RECORD;
    let mut last = vec![0; keys as usize];
    (0..keys).for_each(|i| set(&store, i, 0));
    let mut rng = Rng::new(seed);
    for n in 0..keys * turns {
        let i = rng.below(keys);
        set(&store, i, 1 + n);
        last[i as usize] = 1 + n;
    }
    let stats = store.stats().expect("stats");
    assert_eq!((stats.refused_full, stats.keys), (0, keys));
    let share = stats.moved_bytes as f64 / stats.written_bytes as f64;
    println!("80 % alive, thread {thread}: moved {share:.2} bytes for each that was written");
    assert!(share < 5.0, "{share:.2} bytes are moved for each that is written");
    assert!(stats.data_bytes <= mib << 20);
    last.iter().enumerate().for_each(|(i, turn)| check(&store, i as u64, *turn));
    drop(store);
    let store = rebuilt(dir.path(), &options);
    last.iter().enumerate().for_each(|(i, turn)| check(&store, i as u64, *turn));
}

#[test]
fn at_80_percent_alive_everything_can_be_overwritten_for_ever() {
    overwrite_at_random(true);
}

#[test]
fn and_without_a_thread() {
    overwrite_at_random(false);
}

#[test]
fn a_full_store_refuses_new_values_and_takes_new_versions_of_old_ones() {
    let (dir, options) = (memory_dir(), options(8, false));
    let store = open(dir.path(), &options);
    let mut keys = 0;
    while store.set(&key(keys), &content(keys, 1000), 0, Ttl::Never).is_ok() {
        keys += 1;
    }
    let share = keys * RECORD * 100 / (8 << 20);
    assert!(share >= 70, "full with {share} % of its bytes alive");
    let error =
        store.set(&key(keys), &content(1, 1000), 0, Ttl::Never).expect_err("full").to_string();
    assert!(error.contains("alive") && error.contains("max_bytes"), "{error}");
    for turn in 1..20 {
        (0..keys).for_each(|i| set(&store, i, turn));
    }
    (0..keys).for_each(|i| check(&store, i, 19));
    // Deletes need no room, and make some.
    (0..keys).for_each(|i| {
        assert!(matches!(store.delete(&key(i), None, None), Ok(Stored::Done(_))), "key {i}")
    });
    std::thread::sleep(Duration::from_millis(150));
    (0..keys).for_each(|i| set(&store, i, 20));
    drop(store);
    let store = rebuilt(dir.path(), &options);
    (0..keys).for_each(|i| check(&store, i, 20));
}

/// What one long-lived key in each segment used to hold for ever.
#[test]
fn one_live_record_does_not_keep_its_segment() {
    let (dir, options) = (memory_dir(), options(16, false));
    let store = open(dir.path(), &options);
    for i in 0..10_000 {
        let long = i % 60 == 0;
        store.set(&key(i), &content(i, 1000), 0, Ttl::Never).expect("set");
        if !long {
            store.delete(&key(i), None, None).expect("delete");
        }
    }
    let before = store.stats().expect("stats");
    let given_back = store.compact().expect("compact");
    let stats = store.stats().expect("stats");
    assert!(given_back >= (before.segments - before.segments_free) / 2 * stats.segment_bytes);
    let used = (stats.segments - stats.segments_free) * stats.segment_bytes;
    assert!(used <= stats.live_bytes * 2 + 4 * stats.segment_bytes, "{used} bytes: {stats:?}");
    for i in (0..10_000).step_by(60) {
        assert!(store.exists(&key(i)).expect("exists").is_some(), "key {i}");
    }
}

#[test]
fn after_a_peak_the_disk_gets_its_space_back() {
    let (dir, options) = (dir(), options(64, false));
    let store = open(dir.path(), &options);
    (0..40_000).for_each(|i| set(&store, i, 0));
    store.sync().expect("sync");
    let full = store.stats().expect("stats").disk_bytes;
    (100..40_000).for_each(|i| del(&store, i));
    store.compact().expect("compact");
    let after = store.stats().expect("stats");
    assert!(after.disk_bytes < full / 4, "{} of {full} bytes on disk", after.disk_bytes);
    (0..100).for_each(|i| check(&store, i, 0));
    // And it is taken again.
    (0..40_000).for_each(|i| set(&store, i, 1));
    (0..40_000).for_each(|i| check(&store, i, 1));
}

#[test]
fn it_gets_it_back_by_itself_too() {
    let options = Options {
        sync: Some(Sync::Periodic),
        sync_interval: Some(Duration::from_millis(20)),
        ..options(64, true)
    };
    let dir = dir();
    let store = open(dir.path(), &options);
    (0..40_000).for_each(|i| set(&store, i, 0));
    store.sync().expect("sync");
    let full = store.stats().expect("stats").disk_bytes;
    // Something stays in each segment; then nothing happens any more.
    (0..40_000u64).filter(|i| !i.is_multiple_of(100)).for_each(|i| del(&store, i));
    let begun = std::time::Instant::now();
    let mut now = full;
    // What a store keeps at hand is a fifth of one as small as this.
    while now >= full / 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{now} of {full} bytes still on disk; {:?}",
            store.stats()
        );
        std::thread::sleep(Duration::from_millis(50));
        now = store.stats().expect("stats").disk_bytes;
    }
    (0..40_000).step_by(100).for_each(|i| check(&store, i, 0));
}

/// A filesystem that somebody else has filled.
#[derive(Default)]
struct Filled(AtomicBool);

impl Disk for Filled {
    fn may_grow(&self, _: FileKind, _: u64) -> std::io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
            false => Ok(()),
        }
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_sweep_costs_nothing_that_is_stored() {
    let (dir, disk) = (memory_dir(), Arc::new(Filled::default()));
    let options = Options { disk: Some(disk.clone()), ..options(16, false) };
    let store = open(dir.path(), &options);
    let keys = (16 << 20) * 60 / 100 / RECORD;
    (0..keys).for_each(|i| set(&store, i, 0));
    // All that was free is the filesystem's again, and somebody takes it.
    store.compact().expect("compact");
    disk.0.store(true, Ordering::SeqCst);
    let mut turns = vec![0; keys as usize];
    let mut rng = Rng::new(seed("a disk that fills up"));
    let mut refused = 0;
    for n in 1..4 * keys {
        let i = rng.below(keys);
        match store.set(&key(i), &content(i ^ n << 32, 1000), n as u32, Ttl::Never) {
            Ok(Stored::Done(_)) => turns[i as usize] = n,
            Err(Error::NoSpace(_) | Error::Full(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
        if n.is_multiple_of(1000) {
            store.expire(u64::MAX).expect("expire");
            let _ = store.compact();
        }
    }
    assert!(refused > 0, "the disk was never full");
    turns.iter().enumerate().for_each(|(i, turn)| check(&store, i as u64, *turn));
    (0..keys / 2).for_each(|i| del(&store, i));
    disk.0.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(150));
    (0..keys / 2).for_each(|i| set(&store, i, 7));
    drop(store);
    let store = rebuilt(dir.path(), &options);
    (0..keys / 2).for_each(|i| check(&store, i, 7));
    (keys / 2..keys).for_each(|i| check(&store, i, turns[i as usize]));
}

#[test]
fn room_for_a_large_value_is_made_between_small_ones() {
    let (dir, options) = (memory_dir(), options(16, false));
    let store = open(dir.path(), &options);
    let keys = (16 << 20) * 70 / 100 / RECORD;
    (0..keys).for_each(|i| set(&store, i, 0));
    // Dead ones everywhere: plenty of room, but nowhere side by side.
    let mut rng = Rng::new(seed("room for a large value"));
    let gone: Vec<u64> = (0..keys).filter(|_| rng.one_in(2)).collect();
    gone.iter().for_each(|i| del(&store, *i));
    let large = content(77, 1 << 20);
    for n in 0..4u64 {
        store.set(&n.to_le_bytes(), &large, 0, Ttl::Never).expect("a value of 1 MiB");
    }
    let mut value = Vec::new();
    for n in 0..4u64 {
        store.get(&n.to_le_bytes(), &mut value).expect("get").expect("there");
        assert!(value == large);
    }
    (0..keys).filter(|i| !gone.contains(i)).for_each(|i| check(&store, i, 0));
}

#[test]
fn a_cache_drops_what_nobody_reads() {
    let (dir, options) = (memory_dir(), Options { evict: Some(true), ..options(16, false) });
    let store = open(dir.path(), &options);
    let (mut value, mut missed) = (Vec::new(), 0);
    for i in 0..100_000 {
        set(&store, i, 0);
        // A hundred keys are read all the time.
        if store.get(&key(i % 100), &mut value).expect("get").is_none() {
            missed += 1;
            set(&store, i % 100, 0);
        }
    }
    let stats = store.stats().expect("stats");
    assert_eq!(stats.refused_full, 0);
    assert!(stats.evicted > 50_000 && stats.evicted < 100_000, "{}", stats.evicted);
    assert!(missed < 20, "{missed} reads of hot keys missed");
    let alive = (0..100_000).filter(|i| store.exists(&key(*i)).expect("exists").is_some()).count();
    assert!(alive as u64 * RECORD * 100 / (16 << 20) > 70, "only {alive} keys are left");
}

/// An evicted version must not come back after a power loss, when its key was deleted or has ended.
#[test]
fn what_was_evicted_shadows_nothing_and_comes_back_never() {
    let clock = HandClock::new();
    let options = Options {
        evict: Some(true),
        sync: Some(Sync::Periodic),
        clock: Some(clock.clone()),
        ..options(8, false)
    };
    let dir = memory_dir();
    let store = open(dir.path(), &options);
    let filler = |from: u64, count: u64| (from..from + count).for_each(|i| set(&store, i, 0));
    let mut rng = Rng::new(seed("what was evicted"));
    let mut gone = Vec::new();
    for round in 0..40u64 {
        let first = 1_000_000 + round * 100;
        for i in first..first + 100 {
            store.set(&key(i), &content(i, 1000), 7, Ttl::Millis(50_000_000)).expect("set");
        }
        filler(round * 5_000, 3_000 + rng.below(2_000));
        for i in first..first + 100 {
            // Evicted by now, most of them; each is deleted or written anew with a short life.
            if rng.one_in(2) {
                store.delete(&key(i), None, None).expect("delete");
            } else {
                let done = store.put(&key(i), b"short", 8, Ttl::Millis(10), Expect::Any, None);
                assert!(matches!(done, Ok(Stored::Done(_))));
            }
            gone.push(i);
        }
        clock.pass(1_000);
        filler(round * 5_000 + 2_500_000, 200);
    }
    store.sync().expect("sync");
    drop(store);
    let store = rebuilt(dir.path(), &options);
    for i in gone {
        assert!(store.exists(&key(i)).expect("exists").is_none(), "key {i} is back");
    }
}
