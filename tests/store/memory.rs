//! Memory: what is in it is reported, and let go of without a change of what is stored.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use holdfast::{Options, SCAN_DONE, Scan, Stats, Store, Sync, Ttl};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Rng, content, dir, open};

fn options() -> Options {
    Options {
        create: true,
        max_bytes: Some(96 << 20),
        sync: Some(Sync::None),
        ..Options::default()
    }
}

fn key(i: u64) -> Vec<u8> {
    format!("key {i}").into_bytes()
}

fn value(i: u64) -> Vec<u8> {
    content(i, 1_500 + (i % 1_000) as usize)
}

fn fill(store: &Store, keys: u64) {
    for i in 0..keys {
        store.set(&key(i), &value(i), 0, Ttl::Never).expect("set");
    }
    store.sync().expect("sync");
}

/// Reads every value, which brings all of them into memory.
fn read_all(store: &Store, keys: u64) {
    let (mut cursor, mut seen) = (0, 0);
    while cursor != SCAN_DONE {
        let all = Scan { values: true, limit: u64::MAX, ..Scan::default() };
        let page = store.scan(&mut cursor, &all, &mut |entry| {
            let i = std::str::from_utf8(&entry.key[4..]).unwrap().parse().unwrap();
            assert!(entry.value == Some(&value(i)), "another value");
            ControlFlow::Continue(())
        });
        seen += page.expect("scan").given;
    }
    assert_eq!(seen, keys);
}

/// Bytes of files that this process has mapped and in memory.
fn own_file_pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    statm.split(' ').nth(2).expect("shared pages").parse::<u64>().expect("a number") * 4096
}

fn stats(store: &Store) -> Stats {
    let stats = store.stats().expect("stats");
    assert!(stats.data_resident_bytes <= stats.data_bytes);
    assert!(stats.index_resident_bytes <= stats.index_bytes.next_multiple_of(4096));
    assert!(stats.meta_resident_bytes <= stats.meta_bytes && stats.meta_resident_bytes > 0);
    stats
}

/// One after the other: what is in memory is counted for the whole machine.
static IN_TURN: Mutex<()> = Mutex::new(());

/// One test, in one process of its own: what others have mapped would count too.
#[test]
fn memory_is_let_go_of_and_nothing_is_lost() {
    let _turn = IN_TURN.lock().unwrap_or_else(|e| e.into_inner());
    let child = process::fork(|| {
        let dir = dir();
        let store = open(dir.path(), &options());
        fill(&store, 20_000);
        read_all(&store, 20_000);
        let full = stats(&store);
        let data = full.live_bytes;
        assert!(full.data_resident_bytes > data * 9 / 10, "{full:?}");
        assert!(full.index_resident_bytes > 0);
        let (rss, begun) = (own_file_pages(), Instant::now());
        let gone = store.trim_memory().expect("trim");
        let took = begun.elapsed();
        let after = stats(&store);
        let left = own_file_pages();
        process::write_raw(
            1,
            format!(
                "data {data}: let go of {gone} in {took:?}; resident {} -> {}, mapped {rss} -> {left}\n",
                full.data_resident_bytes, after.data_resident_bytes
            )
            .as_bytes(),
        );
        assert!(left + data * 8 / 10 < rss, "{left} of {rss} bytes are still mapped");
        if !after.not_persistent {
            assert!(gone > data * 8 / 10, "{gone} of {data} left memory");
            assert!(after.data_resident_bytes < full.data_resident_bytes / 4, "{after:?}");
        }
        read_all(&store, 20_000);
        assert!(stats(&store).data_resident_bytes > data * 9 / 10, "it comes back when it is read");
    });
    assert_eq!(child.wait(Duration::from_secs(120)), Ended::Exit(0));
}

#[test]
fn memory_can_be_let_go_of_while_others_write_and_read() {
    let _turn = IN_TURN.lock().unwrap_or_else(|e| e.into_inner());
    const KEYS: u64 = 3_000;
    const TRIMS: u64 = 10;
    let dir = dir();
    let store = open(dir.path(), &options());
    fill(&store, KEYS);
    let path = dir.path();
    let other = process::fork(|| {
        let store = open(path, &options());
        let mut rng = Rng::new(1);
        for _ in 0..10_000 {
            let i = rng.below(KEYS);
            if rng.one_in(2) {
                store.set(&key(i), &value(i), 0, Ttl::Never).expect("set");
            } else {
                let mut read = Vec::new();
                store.get(&key(i), &mut read).expect("get").expect("stored");
                assert!(read == value(i), "another value");
            }
            if rng.one_in(1_000) {
                store.sync().expect("sync");
            }
        }
    });
    // Each after one more pass of the reader's, so that it reads on in the middle of the next.
    let (passes, trims) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            while trims.load(Relaxed) < TRIMS {
                read_all(&store, KEYS);
                passes.fetch_add(1, Relaxed);
            }
        });
        let mut seen = 0;
        for _ in 0..TRIMS {
            while passes.load(Relaxed) == seen && !reader.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            seen = passes.load(Relaxed);
            store.trim_memory().expect("trim");
            trims.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(other.wait(Duration::from_secs(120)), Ended::Exit(0));
    read_all(&store, KEYS);
}
