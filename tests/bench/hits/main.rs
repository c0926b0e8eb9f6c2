//! How good a cache the store is when it may evict: the share of requests that miss, beside exact
//! LRU, S3-FIFO (both simulated) and memcached (the real one, if it is installed).
//!
//! An object that is not found is set. The first third of each trace fills the caches and does not
//! count. Every cache has the same number of bytes, three ways:
//!
//! - *bytes*: keys and values alone fill the whole budget; no store can do that. LRU and S3-FIFO.
//! - *alive*: as many bytes as this store had alive at most, each object with what it costs here
//!   (header and padding included): how good the choice is of what to keep, whatever keeping costs.
//! - as the user sees it: `max_bytes` for this store, `-m` for memcached. Its smallest unit is a MiB for
//!   each class of sizes, so that it takes more than it was given where that is little: the last
//!   column says how much it took.
//!
//! Arguments: `--objects 500000`, `--requests 2000000`, `--only PART` (traces whose line contains
//! it), `--no-memcached`.

mod memcached;
mod policy;
mod trace;

use std::sync::Arc;

use holdfast::{Options, Store, Sync, Ttl};
use holdfast_tests::measure::{Args, is_signed, key, sign};
use holdfast_tests::{HandClock, memory_dir, open};

use memcached::Memcached;
use policy::{Lru, Policy, S3Fifo, play};
use trace::{Sizes, Trace};

const KEY_BYTES: u64 = 32;
const LINE: u64 = 64;
/// The least that a cache of this comparison has, MiB.
const LEAST_MIB: u64 = 4;

/// The store as a cache, with a clock that follows the trace.
struct Ours {
    store: Store,
    clock: Arc<HandClock>,
    sizes: Sizes,
    now_ms: u32,
    requests: u64,
    most_alive: u64,
    value: Vec<u8>,
    out: Vec<u8>,
}

impl Ours {
    fn new(path: &std::path::Path, max_bytes: u64, sizes: Sizes) -> Ours {
        let clock = HandClock::new();
        let options = Options {
            create: true,
            evict: Some(true),
            max_bytes: Some(max_bytes),
            max_value_bytes: Some(1 << 16),
            sync: Some(Sync::None),
            clock: Some(clock.clone()),
            ..Options::default()
        };
        let (value, out) = (vec![7; 1 << 16], Vec::new());
        let store = open(path, &options);
        Ours { store, clock, sizes, now_ms: 0, requests: 0, most_alive: 0, value, out }
    }
}

impl Policy for &mut Ours {
    fn get(&mut self, id: u32, now_ms: u32) -> bool {
        self.clock.pass((now_ms - self.now_ms) as u64);
        self.now_ms = now_ms;
        self.requests += 1;
        if self.requests.is_multiple_of(1 << 14) {
            self.most_alive = self.store.stats().expect("stats").live_bytes.max(self.most_alive);
        }
        let hit = self.store.get(&key(id as u64), &mut self.out).expect("get").is_some();
        assert!(!hit || is_signed(&self.out, id as u64, self.sizes.of(id)), "object {id}");
        hit
    }

    fn set(&mut self, id: u32, until_ms: u32) {
        let value = &mut self.value[..self.sizes.of(id)];
        sign(value, id as u64);
        let ttl = match until_ms {
            u32::MAX => Ttl::Never,
            until => Ttl::Millis((until - self.now_ms) as u64),
        };
        self.store.set(&key(id as u64), value, 0, ttl).expect("a store that evicts has room");
    }
}

/// What an object costs where nothing but its bytes counts.
fn bytes(sizes: Sizes) -> impl Fn(u32) -> u64 {
    move |id| KEY_BYTES + sizes.of(id) as u64
}

/// What it costs here: header, key and value in whole lines.
fn lines(sizes: Sizes) -> impl Fn(u32) -> u64 {
    move |id| (64 + KEY_BYTES + sizes.of(id) as u64).next_multiple_of(LINE)
}

/// One line of the table.
fn compare(trace: &Trace, share: &str, mib: u64, memcached: bool) {
    let (ids, sizes, budget) = (trace.ids, trace.sizes, mib << 20);
    let dir = memory_dir();
    let mut store = Ours::new(dir.path(), budget, sizes);
    let ours = play(trace, &mut store).misses();
    let alive = store.most_alive;
    drop(store);
    let alike = play(trace, Lru::new(ids, alive, lines(sizes))).misses();
    let fifo = play(trace, S3Fifo::new(ids, alive, lines(sizes))).misses();
    let scores = [
        ours,
        alike,
        fifo,
        play(trace, Lru::new(ids, budget, bytes(sizes))).misses(),
        play(trace, S3Fifo::new(ids, budget, bytes(sizes))).misses(),
    ];
    print!("{:<18} {:<5} {share:>5} {mib:>5}", trace.name, sizes.name());
    scores.iter().for_each(|misses| print!(" {misses:>9.2}"));
    let theirs = memcached.then(|| Memcached::start(mib).play(trace));
    match &theirs {
        Some((score, _)) => print!(" {:>9.2}", score.misses()),
        None => print!(" {:>9}", "-"),
    }
    print!(" {:>+7.2} {:>+7.2} {:>7.0} %", ours - alike, ours - fifo, percent(alive, budget));
    println!(" {:>9}", theirs.map_or("-".into(), |(_, bytes)| (bytes >> 20).to_string()));
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64 * 100.0
}

fn heading(of: [&str; 14]) {
    print!("{:<18} {:<5} {:>5} {:>5}", of[0], of[1], of[2], of[3]);
    of[4..10].iter().for_each(|name| print!(" {name:>9}"));
    println!(" {:>7} {:>7} {:>9} {:>9}", of[10], of[11], of[12], of[13]);
}

fn main() {
    let args = Args::of_process();
    let objects = args.number("--objects", 500_000) as u32;
    let requests = args.number("--requests", 2_000_000) as usize;
    let only = args.text("--only").unwrap_or_default();
    let memcached = memcached::version().filter(|_| !args.has("--no-memcached"));
    println!("{objects} objects, {requests} requests; misses in percent");
    println!("memcached: {}", memcached.as_deref().unwrap_or("not compared"));
    heading([
        "",
        "",
        "of",
        "",
        "",
        "alive:",
        "",
        "bytes:",
        "",
        "",
        "- LRU",
        "- S3F.",
        "alive at",
        "memcached",
    ]);
    heading([
        "trace",
        "size",
        "all",
        "MiB",
        "holdfast",
        "LRU",
        "S3-FIFO",
        "LRU",
        "S3-FIFO",
        "memcached",
        "alive",
        "alive",
        "most",
        "took MiB",
    ]);
    for sizes in [Sizes::Same(1024), Sizes::Mixed(100, 8192)] {
        let all: u64 = (0..objects).map(bytes(sizes)).sum();
        let mib = |percent: u64| ((all * percent / 100) >> 20).max(LEAST_MIB);
        let line = |trace: &Trace, percent: u64| {
            let share = format!("{percent} %");
            if format!("{} {}", trace.name, sizes.name()).contains(only) {
                compare(trace, &share, mib(percent), memcached.is_some());
            }
        };
        for a in [0.8, 0.99, 1.2] {
            let trace = trace::zipf(a, objects, requests, sizes);
            line(&trace, 1);
            line(&trace, 10);
        }
        let trace = trace::zipf_with_scan(0.99, objects, requests, sizes);
        line(&trace, 1);
        line(&trace, 10);
        for percent in [1, 10] {
            // Half as much again as the whole cache could hold.
            let objects = (objects as u64 * (mib(percent) << 20) * 3 / 2 / all) as u32;
            line(&trace::looped(objects, requests, sizes), percent);
        }
        let trace = trace::sessions((requests / 20) as u32, sizes);
        line(&trace, 2);
        line(&trace, 5);
    }
}
