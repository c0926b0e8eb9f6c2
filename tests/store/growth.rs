//! The index grows from a bucket for each stripe to millions of keys, under readers and writers,
//! in the face of deaths, full disks and damage: no key that is stored is ever missing.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Disk, Error, FileKind, Options, Store, Stored, Sync, Ttl};
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{Rng, dir, memory_dir, open, seed, size};

const LONG: Duration = Duration::from_secs(600);
/// Of a new index: a bucket for each stripe.
const NEW_SLOTS: u64 = 256 * 8;

fn options(keys: u64) -> Options {
    Options {
        create: true,
        thread: false,
        sync: Some(Sync::None),
        max_bytes: Some(keys * 512 + (16 << 20)),
        max_value_bytes: Some(1000),
        max_processes: Some(8),
        ..Options::default()
    }
}

/// A value that proves itself: the key's number, a turn, and both mixed.
fn value(number: u64, turn: u64) -> [u8; 24] {
    let mixed = (number ^ turn.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 24];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip([number, turn, mixed]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn set(store: &Store, number: u64, turn: u64) {
    let stored = store.set(&number.to_le_bytes(), &value(number, turn), 0, Ttl::Never);
    assert!(matches!(stored, Ok(Stored::Done(_))), "key {number}: {stored:?}");
}

fn check(store: &Store, number: u64, out: &mut Vec<u8>) {
    let there = store.get(&number.to_le_bytes(), out).unwrap_or_else(|e| panic!("{number}: {e}"));
    assert!(there.is_some(), "key {number} is missing");
    let turn = u64::from_le_bytes(out[8..16].try_into().expect("8 bytes"));
    assert!(*out == value(number, turn), "key {number} has another value: {out:?}");
}

fn slots(store: &Store) -> u64 {
    store.stats().expect("stats").index_slots
}

/// Of the two writers' numbers one is even and one odd.
const FIRST: usize = 0;
const SECOND: usize = 1;
const STOP: usize = 2;
const READS: usize = 3;
const LONGEST: usize = 4;

/// Writes new keys, and old ones again, until there are `keys`.
fn write(
    store: &Store,
    words: &[AtomicU64],
    who: usize,
    keys: u64,
    mut each: impl FnMut(u64, u64),
) {
    let mut rng = Rng::new(who as u64);
    let mut out = Vec::new();
    for i in 0..keys {
        let begun = Instant::now();
        set(store, i * 2 + who as u64, i);
        each(i, begun.elapsed().as_nanos() as u64);
        words[who].store(i + 1, Ordering::Release);
        match rng.below(16) {
            0 => set(store, rng.below(i + 1) * 2 + who as u64, i),
            1 => {
                // One that comes and goes, for slots that are emptied and taken again.
                let fleeting = (u64::MAX - who as u64).to_le_bytes();
                store.set(&fleeting, b"", 0, Ttl::Never).expect("set");
                store.delete(&fleeting, None, None).expect("delete");
            }
            2 => check(store, rng.below(i + 1) * 2 + who as u64, &mut out),
            _ => {}
        }
    }
}

/// Reads what the writers say is there, until told to stop.
fn read(store: &Store, words: &[AtomicU64]) {
    let (mut rng, mut out, mut reads) = (Rng::new(3), Vec::new(), 0);
    while words[STOP].load(Ordering::Acquire) == 0 {
        let who = rng.below(2);
        let stored = words[who as usize].load(Ordering::Acquire);
        if stored == 0 {
            continue;
        }
        let newest = rng.below(stored.min(100)) + 1;
        let i = if rng.one_in(4) { stored - newest } else { rng.below(stored) };
        if rng.one_in(8) {
            let there = store.exists(&(i * 2 + who).to_le_bytes()).expect("exists");
            assert!(there.is_some(), "key {} is missing", i * 2 + who);
        } else {
            check(store, i * 2 + who, &mut out);
        }
        reads += 1;
        words[READS].store(reads, Ordering::Relaxed);
    }
}

fn print(what: &str, mut ns: Vec<u32>) {
    ns.sort_unstable();
    let at = |part: f64| ns[((ns.len() as f64 * part) as usize).min(ns.len() - 1)] as f64 / 1e3;
    println!(
        "{what}: n {}, p50 {} us, p99 {} us, p99.9 {} us, max {} us",
        ns.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn resident_mib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find(|l| l.starts_with(name)).map(str::to_owned);
    ["VmRSS", "RssFile", "RssShmem", "RssAnon"].iter().filter_map(|n| line(n)).collect::<String>()
}

#[test]
fn from_nothing_to_a_million_keys_under_readers_and_writers_none_is_ever_missing() {
    let keys = size("HOLDFAST_GROWTH_KEYS", 1_000_000);
    let dir = dir();
    let store = open(dir.path(), &options(keys));
    assert_eq!(slots(&store), NEW_SLOTS);
    let words = process::shared_words(8);
    let reader = process::fork(|| read(&store, words));
    let writer = process::fork(|| {
        write(&store, words, SECOND, keys / 2, |_, ns| {
            words[LONGEST].fetch_max(ns, Ordering::Relaxed);
        })
    });
    let begun = Instant::now();
    let (mut took, mut worst, mut grown, mut before) = (Vec::new(), 0.0f64, 0, NEW_SLOTS);
    write(&store, words, FIRST, keys / 2, |i, ns| {
        took.push(ns.min(u32::MAX as u64) as u32);
        if i % (keys / 200).max(1) == 0 {
            let stats = store.stats().expect("stats");
            grown += (stats.index_slots > before) as u64;
            before = stats.index_slots;
            if stats.keys >= 50_000 {
                worst = worst.max(stats.index_bytes as f64 / stats.keys as f64);
            }
        }
    });
    let written = begun.elapsed();
    assert_eq!(writer.wait(LONG), Ended::Exit(0));
    words[STOP].store(1, Ordering::Release);
    assert_eq!(reader.wait(LONG), Ended::Exit(0));
    let reads = words[READS].load(Ordering::Relaxed);
    assert!(reads > keys / 100 && grown > 20, "{reads} reads, growth seen {grown} times");
    let mut out = Vec::new();
    (0..keys).for_each(|number| check(&store, number, &mut out));
    let stats = store.stats().expect("stats");
    let a_key = stats.index_bytes as f64 / keys as f64;
    println!(
        "{keys} keys by two writers: the first in {written:?}, {reads} reads meanwhile; index {} \
         bytes, {a_key:.2} a key, {worst:.2} at worst; longest put of the other writer {} us",
        stats.index_bytes,
        words[LONGEST].load(Ordering::Relaxed) / 1000
    );
    print("puts of new keys", took);
    println!("{}", resident_mib());
    assert_eq!(stats.keys, keys);
    assert!(keys < 50_000 || (a_key <= 16.0 && worst <= 16.0), "{a_key} or {worst} bytes a key");
    drop(store);
    // The grown file is believed, and what is made anew has grown as well.
    for remove in [None, Some("index")] {
        if let Some(name) = remove {
            std::fs::remove_file(dir.path().join(name)).expect("a file to remove");
        }
        let begun = Instant::now();
        let store = open(dir.path(), &options(keys));
        println!("opened with {remove:?} removed: {:?}", begun.elapsed());
        (0..keys).for_each(|number| check(&store, number, &mut out));
        assert_eq!(store.stats().expect("stats").keys, keys);
    }
}

/// So many keys each writer has room for, however long a busy machine lets it run.
const MOST_EACH: u64 = 600_000;

/// A writer that goes on from where the last one of its number was killed.
fn put_until_killed(store: &Store, words: &[AtomicU64], who: usize) -> Pid {
    process::fork(|| {
        for i in words[who].load(Ordering::Acquire)..MOST_EACH {
            set(store, i * 2 + who as u64, i);
            words[who].store(i + 1, Ordering::Release);
        }
        std::thread::sleep(LONG);
    })
}

#[test]
fn deaths_while_it_grows_lose_no_key_and_block_nobody() {
    let mut rng = Rng::new(seed("growth under kills"));
    let kills = size("HOLDFAST_KILLS", 300);
    let (mut done, mut stolen, mut total) = (0, 0, 0);
    // Small tables grow most often: so it begins anew now and then.
    while done < kills {
        let dir = memory_dir();
        let mut store = open(dir.path(), &options(400_000));
        let words = process::shared_words(2);
        let mut writers = [0, 1].map(|who| put_until_killed(&store, words, who));
        let mut out = Vec::new();
        for turn in 0..50 {
            std::thread::sleep(Duration::from_micros(rng.below(6_000)));
            let victim = rng.below(2) as usize;
            let everybody = turn % 16 == 15;
            for (who, writer) in writers.iter().enumerate() {
                if everybody || who == victim {
                    writer.signal(libc::SIGKILL);
                    assert_eq!(writer.wait(LONG), Ended::Signal(libc::SIGKILL));
                    done += 1;
                }
            }
            if everybody {
                drop(store);
                store = open(dir.path(), &options(400_000));
            } else {
                // Who lives is not stuck.
                let other = 1 - victim;
                let (begun, before) = (Instant::now(), words[other].load(Ordering::Acquire));
                while before < MOST_EACH && words[other].load(Ordering::Acquire) == before {
                    assert!(begun.elapsed() < Duration::from_secs(20), "writer {other} is stuck");
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            let stored = words[victim].load(Ordering::Acquire);
            for i in
                (0..200).map(|_| rng.below(stored + 1)).chain(stored.saturating_sub(20)..stored)
            {
                if i < stored {
                    check(&store, i * 2 + victim as u64, &mut out);
                }
            }
            for (who, writer) in writers.iter_mut().enumerate() {
                if everybody || who == victim {
                    *writer = put_until_killed(&store, words, who);
                }
            }
        }
        for writer in writers {
            writer.signal(libc::SIGKILL);
            writer.wait(LONG);
        }
        for (who, stored) in words.iter().enumerate() {
            let stored = stored.load(Ordering::Acquire);
            (0..stored).for_each(|i| check(&store, i * 2 + who as u64, &mut out));
            total += stored;
        }
        let stats = store.stats().expect("stats");
        stolen += stats.latch_stolen;
        assert!(stats.index_slots > NEW_SLOTS);
    }
    println!("{done} kills over {total} new keys, {stolen} latches stolen");
}

/// A disk that gives the index no more room, when told so.
#[derive(Default)]
struct TightDisk {
    full: AtomicBool,
    refused: AtomicU64,
}

impl Disk for TightDisk {
    fn may_grow(&self, kind: FileKind, _len: u64) -> std::io::Result<()> {
        if kind == FileKind::Index && self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

#[test]
fn a_full_disk_stops_the_index_from_growing_and_nothing_else() {
    let dir = memory_dir();
    let disk = Arc::new(TightDisk::default());
    let store = open(dir.path(), &Options { disk: Some(disk.clone()), ..options(100_000) });
    disk.full.store(true, Ordering::SeqCst);
    let key = |i: u64| i.to_le_bytes();
    let mut out = Vec::new();
    let mut keys = 0;
    let refused = loop {
        match store.set(&key(keys), &value(keys, 0), 0, Ttl::Never) {
            Ok(_) => keys += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, Error::NoSpace(_)) && refused.to_string().contains("index"));
    // A table of eight that has seven asks for more, and goes on without.
    let refusals = disk.refused.load(Ordering::SeqCst);
    println!("{keys} keys, {refusals} refusals, then: {refused}");
    assert!(keys > 100 && refusals > 1 && slots(&store) == NEW_SLOTS);
    // All that is there can be read, written and deleted; a slot that comes free is taken.
    (0..keys).for_each(|i| check(&store, i, &mut out));
    (0..keys).for_each(|i| set(&store, i, 1));
    for i in 0..keys {
        assert!(matches!(store.delete(&key(i), None, None), Ok(Stored::Done(_))));
        set(&store, i, 2);
    }
    disk.full.store(false, Ordering::SeqCst);
    (0..20_000).for_each(|i| set(&store, i, 3));
    (0..20_000).for_each(|i| check(&store, i, &mut out));
    assert!(slots(&store) >= 20_000);
}

/// Where a stripe's table word is in `meta` (see arena.rs).
fn table_word(which: u64) -> u64 {
    0x1000 + 8 * 256 + which * 64 + 8
}

fn meta(path: &Path) -> std::fs::File {
    std::fs::File::options().read(true).write(true).open(path.join("meta")).expect("meta")
}

fn word_of(file: &std::fs::File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).expect("a word");
    u64::from_le_bytes(bytes)
}

#[test]
fn damaged_table_words_are_noticed_at_the_next_open_and_are_errors_until_then() {
    const KEYS: u64 = 10_000;
    let dir = memory_dir();
    let mut store = open(dir.path(), &options(KEYS));
    (0..KEYS).for_each(|i| set(&store, i, 0));
    let mut out = Vec::new();
    // Of stripe 3: outside, of no size, over the place of the last one. (A word that leads to a gap is not
    // noticed: the keys of that stripe are missing until a rebuild.)
    let words = (4..256).map(|which| word_of(&meta(dir.path()), table_word(which)));
    let other = words.max().expect("a table");
    for bad in [u64::MAX, other | 1 << 60, 0, other & !0xff_0000, other, other - (1 << 24)] {
        drop(store);
        meta(dir.path()).write_all_at(&bad.to_le_bytes(), table_word(3)).expect("damaged");
        store = open(dir.path(), &options(KEYS));
        (0..KEYS).for_each(|i| check(&store, i, &mut out));
    }
    // While it is open.
    for which in 0..256 {
        meta(dir.path()).write_all_at(&u64::MAX.to_le_bytes(), table_word(which)).expect("damaged");
    }
    for i in 0..100u64 {
        let key = i.to_le_bytes();
        assert!(matches!(store.get(&key, &mut out), Err(Error::Damaged(_))));
        assert!(matches!(store.set(&key, b"", 0, Ttl::Never), Err(Error::Damaged(_))));
        assert!(matches!(store.delete(&key, None, None), Err(Error::Damaged(_))));
    }
    store.stats().expect("stats");
    store.expire(u64::MAX).ok();
    drop(store);
    let store = open(dir.path(), &options(KEYS));
    (0..KEYS).for_each(|i| check(&store, i, &mut out));
    // One damaged word keeps the others from growing, because nobody knows whose place is free.
    meta(dir.path()).write_all_at(&u64::MAX.to_le_bytes(), table_word(3)).expect("damaged");
    let before: Vec<u64> = (0..256).map(|w| word_of(&meta(dir.path()), table_word(w))).collect();
    let refused = (KEYS..10 * KEYS)
        .filter(|i| match store.set(&i.to_le_bytes(), &value(*i, 0), 0, Ttl::Never) {
            Ok(_) => false,
            Err(Error::Damaged(_)) => true,
            Err(e) => panic!("{e}"),
        })
        .count();
    assert!(refused > 0);
    let after: Vec<u64> = (0..256).map(|w| word_of(&meta(dir.path()), table_word(w))).collect();
    assert!(before == after);
    drop(store);
    let store = open(dir.path(), &options(KEYS));
    (0..KEYS).for_each(|i| check(&store, i, &mut out));
}

#[test]
fn a_damaged_record_stays_damaged_and_is_no_miss_while_the_index_grows() {
    const DAMAGED: u64 = 60;
    let dir = memory_dir();
    let store = open(dir.path(), &options(100_000));
    let name = |i: u64| format!("damaged {i:04}");
    for i in 0..DAMAGED {
        store.set(name(i).as_bytes(), b"value", 0, Ttl::Never).expect("set");
    }
    let path = dir.path().join("data");
    let data = std::fs::read(&path).expect("data");
    let file = std::fs::File::options().write(true).open(&path).expect("data");
    for i in 0..DAMAGED {
        let name = name(i);
        let key = data.windows(name.len()).position(|w| w == name.as_bytes()).expect("the key");
        let record = (key - 64) as u64;
        // The hash gone, changed in its middle or in the bits that tell the stripe; the checksum;
        // everything.
        match i % 5 {
            0 => file.write_all_at(&[0; 8], record + 24),
            1 => file.write_all_at(&[data[key - 64 + 27] ^ 0x80], record + 27),
            2 => file.write_all_at(&[data[key - 64 + 31] ^ 1], record + 31),
            3 => file.write_all_at(&[data[key - 64 + 32] ^ 1], record + 32),
            _ => file.write_all_at(&[0xff; 64], record),
        }
        .expect("damaged");
    }
    let mut out = Vec::new();
    let mut grown = 0;
    let mut before = slots(&store);
    for number in 0..60_000 {
        set(&store, number, 0);
        if number % 500 != 0 {
            continue;
        }
        let now = slots(&store);
        grown += (now > before) as u64;
        before = now;
        for i in 0..DAMAGED {
            let got = store.get(name(i).as_bytes(), &mut out);
            assert!(matches!(got, Err(Error::Damaged(_))), "{}: {got:?}", name(i));
        }
    }
    assert!(grown > 20, "{grown}");
    (0..60_000).for_each(|number| check(&store, number, &mut out));
}
