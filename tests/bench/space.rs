//! What giving space back costs: a store at a steady share of live data, overwritten again and
//! again at random. Prints how much the sweep moved, and how long single writes and reads took.
//!
//! Arguments: `--mib 256`, `--live 80` (percent of the store), `--turns 8` (how often everything is
//! overwritten), `--memory` (on tmpfs), `--no-thread`, `--sync none|periodic|always`, `--pace N`
//! (writes a second, 0 = as fast as it goes).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Options, Store, Sync, Ttl};
use holdfast_tests::measure::Args;
use holdfast_tests::{Rng, content, dir, memory_dir, open};

const KEY_BYTES: u64 = 32;
const VALUE_BYTES: usize = 1024;
/// Header, key and value, in whole lines.
const RECORD_BYTES: u64 = (64 + KEY_BYTES + VALUE_BYTES as u64).div_ceil(64) * 64;

fn key(i: u64) -> [u8; KEY_BYTES as usize] {
    let mut key = [b'k'; KEY_BYTES as usize];
    key[..20].copy_from_slice(format!("{i:020}").as_bytes());
    key
}

fn line(what: &str, mut times: Vec<u32>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{what:<10} p50 {:>8.1}  p99 {:>8.1}  p99.9 {:>8.1}  p99.99 {:>8.1}  max {:>9.1} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
}

fn read_all_the_time(store: &Store, keys: u64, stop: &AtomicBool) -> Vec<u32> {
    let (mut rng, mut out, mut times) = (Rng::new(7), Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let found = store.get(&key(rng.below(keys)), &mut out).expect("get");
        times.push(begun.elapsed().as_nanos().min(u32::MAX as u128) as u32);
        assert!(found.is_some() && out.len() == VALUE_BYTES, "a key is gone");
        // A site reads now and then; this leaves the processor to those who write.
        std::thread::sleep(Duration::from_micros(200));
    }
    times
}

fn main() {
    let args = Args::of_process();
    let (mib, live) = (args.number("--mib", 256), args.number("--live", 80));
    let (turns, pace) = (args.number("--turns", 8), args.number("--pace", 0));
    let directory = if args.has("--memory") { memory_dir() } else { dir() };
    let store = open(
        directory.path(),
        &Options {
            create: true,
            max_bytes: Some(mib << 20),
            thread: !args.has("--no-thread"),
            sync: Some(match args.text("--sync") {
                Some("none") => Sync::None,
                Some("always") => Sync::Always,
                _ => Sync::Periodic,
            }),
            ..Options::default()
        },
    );
    let keys = (mib << 20) * live / 100 / RECORD_BYTES;
    let mut versions = HashMap::new();
    let mut write = |i: u64, turn: u64| {
        let value = content(i + turn, VALUE_BYTES);
        let begun = Instant::now();
        store.set(&key(i), &value, turn as u32, Ttl::Never).expect("set");
        versions.insert(i, turn);
        begun.elapsed().as_nanos().min(u32::MAX as u128) as u32
    };
    for i in 0..keys {
        write(i, 0);
    }
    let filled = store.stats().expect("stats");
    let used = (filled.segments - filled.segments_free) * filled.segment_bytes;
    println!(
        "{mib} MiB, {keys} keys of {KEY_BYTES} + {VALUE_BYTES} bytes: {live} % alive; filled: used \
         segments over keys and values {:+.1} %, index {:.1} bytes a key",
        (used as f64 / (keys * (KEY_BYTES + VALUE_BYTES as u64)) as f64 - 1.0) * 100.0,
        filled.index_bytes as f64 / keys as f64,
    );
    let stop = AtomicBool::new(false);
    let mut rng = Rng::new(42);
    let (mut writes, begun) = (Vec::new(), Instant::now());
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_all_the_time(&store, keys, &stop));
        for n in 0..keys * turns {
            writes.push(write(rng.below(keys), 1 + n / keys));
            if pace > 0 {
                let due = begun + Duration::from_secs_f64(n as f64 / pace as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("the reader")
    });
    let took = begun.elapsed().as_secs_f64();
    let after = store.stats().expect("stats");
    let (written, moved) =
        (after.written_bytes - filled.written_bytes, after.moved_bytes - filled.moved_bytes);
    println!(
        "{:.0} writes/s; written {} MiB, moved {} MiB: write amplification {:.2}; {} segments emptied",
        writes.len() as f64 / took,
        written >> 20,
        moved >> 20,
        (written + moved) as f64 / written as f64,
        after.segments_emptied - filled.segments_emptied,
    );
    line("set", writes);
    line("get beside", reads);
    let mut out = Vec::new();
    for (i, turn) in &versions {
        let item = store.get(&key(*i), &mut out).expect("get").expect("every key is there");
        assert_eq!(item.flags as u64, *turn, "key {i} is not the last one written");
        assert_eq!(out, content(i + turn, VALUE_BYTES), "key {i}");
    }
    println!("all {} values are the last ones written", versions.len());
}
