//! A peer that writes where it likes: one process maps the store's files and stores random words and bytes at random
//! places and at those that matter most, while two processes, each with two threads that read and one that writes,
//! go on using the store.
//!
//! It would catch a crash, an access outside of a mapping, an operation that does not come back, and a value under a
//! key that it was never written for. Errors, misses and lost values are what such a peer may cause. What it cannot
//! show: that locks exclude each other meanwhile (they need not), and a peer that makes checksums fit; reads outside
//! of private memory show under the address sanitizer (`tests/fuzz/scribble.py`).
//!
//! `HOLDFAST_SCRIBBLE_SECONDS` says how long. What is written where follows the seed, what meets it does not.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{
    Acquired, ConfigChange, Disk, Entry, FileKind, Options, Range, Scan, Store, Sync, Ttl, Wait,
    Write,
};
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{Rng, memory_dir, open, seed, signature, signed, size};

const ROUND: Duration = Duration::from_millis(400);
/// An operation may wait so long for a latch, and may meet a few that are stuck. `HANG` leaves time for a machine
/// that is busy otherwise: a loop without an end takes longer on any.
const TIMEOUT: Duration = Duration::from_millis(50);
const HANG: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_secs(30);
const KEYS: u64 = 64;
const PROCESSES: u64 = 8;
const THREADS: usize = 6;

fn options(round: u64) -> Options {
    Options {
        create: true,
        max_bytes: Some(2 << 20),
        max_value_bytes: Some(1 << 17),
        max_processes: Some(PROCESSES as u32),
        operation_timeout: TIMEOUT,
        open_timeout: Duration::from_millis(300),
        sync: Some([Sync::Periodic, Sync::None, Sync::Always][round as usize % 3]),
        sync_interval: Some(Duration::from_millis(20)),
        thread: round % 4 != 3,
        evict: Some(round % 5 >= 3),
        compress: Some(round.is_multiple_of(2)),
        ..Options::default()
    }
}

/// A file of the store, mapped as any peer could map it.
struct Mapped {
    bytes: &'static [AtomicU8],
}

impl Mapped {
    fn new(path: &Path) -> Mapped {
        let file = File::options().read(true).write(true).open(path).expect("a file of the store");
        let len = file.metadata().expect("its length").len() as usize;
        // SAFETY: a new shared mapping of `len` bytes, never unmapped; atomics of one byte may lie anywhere, and
        // nobody shortens the file.
        let bytes = unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsRawFd::as_raw_fd(&file),
                0,
            );
            assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            std::slice::from_raw_parts(at as *const AtomicU8, len)
        };
        Mapped { bytes }
    }

    fn words(&self) -> u64 {
        self.bytes.len() as u64 / 8
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.bytes.len() as u64);
        // SAFETY: aligned, because mappings begin on a page, and inside of the mapping.
        unsafe { &*(self.bytes.as_ptr().add(at as usize) as *const AtomicU64) }
    }
}

/// Where the parts of `meta` are (see arena.rs of the library): their first byte, how many there are, how long each
/// is, and how much of it is in use.
struct Part(u64, u64, u64, u64);

fn parts() -> Vec<Part> {
    let slots = 0x1000;
    let stripes = slots + PROCESSES * 256;
    let lanes = stripes + 256 * 64;
    let buckets = lanes + 9 * 64;
    let entries = buckets + 2048 * 64;
    let tickets = entries + 2048 * 7 * 128;
    let segments = tickets + 4096 * 64;
    vec![
        Part(0, 1, 0x700, 0x700),
        Part(0, 1, 0x1000, 0x1000),
        Part(slots, PROCESSES, 256, 64),
        Part(stripes, 256, 64, 64),
        Part(stripes, 256, 64, 64),
        Part(lanes, 9, 64, 16),
        Part(buckets, 2048, 64, 64),
        Part(entries, 2048 * 7, 128, 96),
        Part(tickets, 8, 64, 32),
        Part(segments, 32, 64, 64),
        Part(segments, 32, 64, 64),
    ]
}

/// The peer.
struct Scribbler {
    data: Mapped,
    index: Mapped,
    meta: Mapped,
    parts: Vec<Part>,
    rng: Rng,
}

impl Scribbler {
    fn new(dir: &Path, seed: u64) -> Scribbler {
        let file = |name: &str| Mapped::new(&dir.join(name));
        Scribbler {
            data: file("data"),
            index: file("index"),
            meta: file("meta"),
            parts: parts(),
            rng: Rng::new(seed),
        }
    }

    /// A word that is likely to do harm where `old` is.
    fn value(&mut self, old: u64) -> u64 {
        let random = self.rng.next();
        match self.rng.below(10) {
            0 => 0,
            1 => u64::MAX,
            2 => random % 9,
            3 => old ^ 1 << (random % 64),
            4 => old.wrapping_add(1),
            5 => old.wrapping_sub(1),
            6 => i64::MAX as u64 + random % 2,
            // Latches of living processes, with and without waiters.
            7 => (random % 9) | (random & 1) << 31 | old >> 32 << 32,
            8 => random >> (random % 64),
            _ => random,
        }
    }

    fn put(&mut self, which: u8, at: u64) {
        let old = self.map(which).word(at).load(Ordering::Relaxed);
        let new = self.value(old);
        self.map(which).word(at).store(new, Ordering::Relaxed);
    }

    fn map(&self, which: u8) -> &Mapped {
        [&self.data, &self.index, &self.meta][which as usize]
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0 => {
                let which = self.rng.below(3) as u8;
                let at = self.rng.below(self.map(which).bytes.len() as u64);
                let new = self.rng.next() as u8;
                self.map(which).bytes[at as usize].store(new, Ordering::Relaxed);
            }
            1 => {
                let which = self.rng.below(3) as u8;
                let at = self.rng.below(self.map(which).words()) * 8;
                self.put(which, at);
            }
            2 | 3 => self.slot(),
            4 => {
                // Segment headers.
                let segment = self.rng.below(self.data.bytes.len() as u64 >> 16) << 16;
                let at = segment + self.rng.below(6) * 8;
                self.put(0, at);
            }
            5 | 6 => {
                // Words of records, which begin on a line.
                let at = self.rng.below(self.data.words() / 8) * 64 + self.rng.below(8) * 8;
                if self.data.word(at & !63).load(Ordering::Relaxed) != 0 {
                    self.put(0, at);
                }
            }
            7 => self.redo(),
            _ => {
                let n = self.rng.below(self.parts.len() as u64) as usize;
                let Part(first, count, stride, used) = self.parts[n];
                let at = first + self.rng.below(count) * stride + self.rng.below(used / 8) * 8;
                self.put(2, at);
            }
        }
    }

    /// A slot of the index: another's word, another place, or anything.
    fn slot(&mut self) {
        let at = self.rng.below(self.index.words()) * 8;
        let other = self.rng.below(self.index.words()) * 8;
        let word = match self.rng.below(3) {
            0 => self.index.word(other).load(Ordering::Relaxed),
            1 => {
                let lines = self.data.bytes.len() as u64 / 64;
                let tag = self.index.word(at).load(Ordering::Relaxed) >> 50;
                tag << 50 | self.rng.below(lines) << 16 | self.rng.next() & 0xffff
            }
            _ => self.rng.next(),
        };
        self.index.word(at).store(word, Ordering::Relaxed);
    }

    /// A change that a dead process seems to have left half done.
    fn redo(&mut self) {
        let stripe = 0x1000 + PROCESSES * 256 + self.rng.below(256) * 64;
        let place = self.rng.below(self.index.words());
        let record = self.rng.below(self.data.words() / 8) * 64;
        let writer = self.rng.below(PROCESSES);
        let words = [
            self.rng.next(),
            record | writer << 40,
            self.data.word(record + 8).load(Ordering::Relaxed),
        ];
        for (i, word) in words.into_iter().enumerate() {
            self.meta.word(stripe + 24 + i as u64 * 8).store(word, Ordering::Relaxed);
        }
        let lane = [0x7f, self.rng.below(9)][self.rng.below(2) as usize];
        self.meta.word(stripe + 16).store(1 | lane << 1 | place << 16, Ordering::Relaxed);
    }
}

/// One thread that uses the store.
struct User<'a> {
    store: Store,
    rng: Rng,
    value: Vec<u8>,
    number: u64,
    /// What it is at, for whoever finds it stuck.
    at: &'a AtomicU64,
    done: &'a AtomicU64,
}

const VERBS: [&str; 25] = [
    "get",
    "exists",
    "get_many",
    "scan",
    "range",
    "owner_of",
    "owner_keys",
    "verify",
    "stats",
    "locks",
    "write",
    "append",
    "increment",
    "touch",
    "delete",
    "lock",
    "set_owner",
    "end_owner",
    "expire",
    "compact",
    "sync",
    "flush",
    "set_config",
    "open",
    "backup",
];

fn key(n: u64) -> Vec<u8> {
    format!("{:0>1$}", n, 1 + (n % 40) as usize).into_bytes()
}

fn judge(key: &[u8], value: &[u8]) {
    let mut whole = value;
    while let Some(before) = whole.strip_suffix(b"more") {
        whole = before;
    }
    if signature(key, whole).is_none() && !(key == b"#" && value.len() <= 20) {
        let begin = &value[..value.len().min(40)];
        panic!("{} has a wrong value of {} bytes: {begin:?}", key.escape_ascii(), value.len());
    }
}

impl User<'_> {
    fn get(&mut self, key: &[u8]) {
        if let Ok(Some(_)) = self.store.get(key, &mut self.value) {
            judge(key, &self.value);
        }
    }

    fn write(&mut self, key: &[u8], how: &Write) {
        self.number += 1;
        let len = match self.rng.below(40) {
            0 => 100_000,
            1 => 20_000,
            2..10 => 3_000,
            _ => 8 + self.rng.below(500) as usize,
        };
        let stored = self.store.write(key, &signed(key, self.number, len), how);
        assert!(!matches!(stored, Err(holdfast::Error::Panic(_))), "{stored:?}");
    }

    fn verb(&mut self, verb: usize, path: &Path, round: u64) {
        let key = key(self.rng.below(KEYS));
        let mut right = |entry: &Entry| {
            entry.value.into_iter().for_each(|value| judge(entry.key, value));
            ControlFlow::Continue(())
        };
        let store = self.store.clone();
        match VERBS[verb] {
            "get" => self.get(&key),
            "exists" => drop(store.exists(&key)),
            "get_many" => {
                let keys: Vec<Vec<u8>> =
                    (0..20).map(|_| crate::key(self.rng.below(KEYS))).collect();
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let _ = store.get_many(&keys, &mut |i, found| {
                    found.into_iter().flatten().for_each(|(_, value)| judge(keys[i], value));
                });
            }
            "scan" => {
                let mut cursor = self.rng.next();
                let scan = Scan { limit: 40, values: true, ..Scan::default() };
                let _ = store.scan(&mut cursor, &scan, &mut right);
            }
            "range" => drop(store.range(&Range { values: true, ..Range::default() }, &mut right)),
            "owner_of" => drop(store.owner_of(&key)),
            "owner_keys" => drop(store.owner_keys(b"anna", &mut |_| true)),
            "verify" => drop(store.verify(&mut |_, _| true)),
            "stats" => drop((store.stats(), store.condition(), store.reclaimable(true))),
            "locks" => drop(store.locks(50)),
            "write" => {
                let owner = (self.rng.one_in(5)).then_some(&b"anna"[..]);
                let ttl =
                    if self.rng.one_in(4) { Ttl::Millis(self.rng.below(50)) } else { Ttl::Never };
                self.write(&key, &Write { owner, ttl, ..Write::default() });
            }
            "append" => drop(store.append(&key, b"more", None, false)),
            "increment" => drop(store.increment(b"#", 1, Some(7), &Write::default())),
            "touch" => drop(store.touch(&key, Ttl::Millis(self.rng.below(10_000)), None)),
            "delete" => drop(store.delete(&key, None, None)),
            "lock" => {
                let wait = Wait { timeout: Some(Duration::from_millis(10)), ..Wait::default() };
                if let Ok(Acquired::Held(held)) = store.lock(&key, self.rng.below(3), &wait) {
                    self.write(&key, &Write { held: Some(&held), ..Write::default() });
                    let _ = store.renew(&key, &held, Some(TIMEOUT));
                    let _ = store.unlock(&key, &held);
                }
            }
            "set_owner" => drop(store.set_owner(&key, b"anna", None)),
            "end_owner" => drop(store.end_owner(b"anna")),
            "expire" => drop(store.expire(0)),
            "compact" => drop(store.compact()),
            "sync" => drop(store.sync()),
            "flush" => drop(store.flush(None)),
            "set_config" => {
                let compress = Some(self.rng.one_in(2));
                drop(store.set_config(&ConfigChange { compress, ..ConfigChange::default() }));
            }
            "backup" => {
                // Beside the store's files: it goes with them.
                let copy = path.join(format!("copy {}", self.number));
                drop(store.backup(&copy, true, &mut |_, _| true));
                let _ = std::fs::remove_dir_all(copy);
            }
            // Only with the last handle of the process gone this attaches anew.
            _ => drop(Store::open(path, &options(round))),
        }
    }

    fn run(&mut self, verbs: &[usize], path: &Path, round: u64, stop: &AtomicU64) {
        while stop.load(Ordering::Relaxed) == 0 {
            let verb = match self.rng.below(3) {
                0 => *self.rng.pick(verbs),
                _ => verbs[0],
            };
            self.at.store(verb as u64 + 1, Ordering::Relaxed);
            let begun = Instant::now();
            self.verb(verb, path, round);
            let took = begun.elapsed();
            assert!(took < HANG, "{} took {took:?}", VERBS[verb]);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.at.store(0, Ordering::Relaxed);
    }
}

/// In a child: a panic of any thread ends it, the library's own threads included.
fn panics_end_this_process() {
    std::panic::set_hook(Box::new(|info| {
        process::write_raw(2, format!("{info}\n").as_bytes());
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(101) }
    }));
}

/// Two readers and a writer on one store.
fn use_it(path: &Path, seed: u64, round: u64, shared: &'static [AtomicU64], first: usize) {
    panics_end_this_process();
    // On a busy machine the peer may be there first.
    let Ok(store) = Store::open(path, &options(round)) else { return };
    let stop = &shared[0];
    std::thread::scope(|scope| {
        for thread in first..first + 3 {
            let mut user = User {
                store: store.clone(),
                rng: Rng::new(seed ^ (round << 8 | thread as u64) << 32),
                value: Vec::new(),
                number: (thread as u64) << 40,
                at: &shared[1 + thread],
                done: &shared[1 + THREADS],
            };
            scope.spawn(move || {
                let verbs: Vec<usize> =
                    if thread % 3 == 2 { (10..VERBS.len()).collect() } else { (0..10).collect() };
                user.run(&verbs, path, round, stop);
            });
        }
    });
}

/// Waits for a child; what it was at if it is stuck.
fn ended(child: Pid, shared: &[AtomicU64]) -> Option<String> {
    let ended = child.wait(STUCK);
    let at = |word: &AtomicU64| match word.load(Ordering::Relaxed) {
        0 => "nothing",
        verb => VERBS[verb as usize - 1],
    };
    let at: Vec<&str> = shared[1..1 + THREADS].iter().map(at).collect();
    (ended != Ended::Exit(0)).then(|| format!("{ended:?}, its threads at {at:?}"))
}

/// After the peer has gone: what it left is opened, believed and rebuilt, and used.
fn afterwards(path: &Path, seed: u64, round: u64, shared: &'static [AtomicU64]) {
    panics_end_this_process();
    for rebuilt in [false, true] {
        if rebuilt {
            let _ = std::fs::remove_file(path.join("meta"));
        }
        let Ok(store) = Store::open(path, &options(round)) else { continue };
        let (at, done) = (&shared[1], &shared[1 + THREADS]);
        let mut user =
            User { store, rng: Rng::new(seed), value: Vec::new(), number: 1 << 60, at, done };
        for i in 0..KEYS {
            user.get(&key(i));
        }
        for (verb, name) in VERBS.iter().enumerate() {
            user.at.store(verb as u64 + 1, Ordering::Relaxed);
            let begun = Instant::now();
            user.verb(verb, path, round);
            let took = begun.elapsed();
            assert!(took < HANG, "{name} took {took:?} afterwards");
        }
    }
}

fn play(seed: u64, round: u64) -> (u64, u64, Option<String>) {
    let dir = memory_dir();
    let shared = process::shared(3 + THREADS);
    let filler = process::fork(|| {
        let store = open(dir.path(), &options(round));
        for i in 0..KEYS {
            store
                .set(&key(i), &signed(&key(i), 1, 300 + i as usize * 20), 0, Ttl::Never)
                .expect("stored");
        }
    });
    assert_eq!(filler.wait(STUCK), Ended::Exit(0), "nobody scribbles yet");
    let users =
        [0, 3].map(|first| process::fork(|| use_it(dir.path(), seed, round, shared, first)));
    let scribbler = process::fork(|| {
        std::thread::sleep(Duration::from_millis(30));
        let mut scribbler = Scribbler::new(dir.path(), seed ^ round);
        let burst = [1, 10, 100, 10_000][(round % 4) as usize];
        while shared[0].load(Ordering::Relaxed) == 0 {
            (0..burst).for_each(|_| scribbler.step());
            shared[2 + THREADS].fetch_add(burst, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    std::thread::sleep(ROUND);
    shared[0].store(1, Ordering::SeqCst);
    assert_eq!(scribbler.wait(STUCK), Ended::Exit(0));
    let mut failed = users.map(|user| ended(user, shared)).into_iter().flatten().next();
    if failed.is_none() {
        let last = process::fork(|| afterwards(dir.path(), seed, round, shared));
        failed = ended(last, shared).map(|how| format!("afterwards: {how}"));
    }
    let count = |word: usize| shared[word].load(Ordering::SeqCst);
    (count(1 + THREADS), count(2 + THREADS), failed)
}

/// A disk whose every sync is the moment at which the peer strikes.
struct Struck<F>(F);

impl<F: Fn() + Send + std::marker::Sync> Disk for Struck<F> {
    fn sync(&self, kind: FileKind, _: &File) -> std::io::Result<()> {
        if kind == FileKind::Data {
            self.0();
        }
        Ok(())
    }
}

/// Words of `meta` and of a segment's row, see arena.rs of the library.
const ROUND_STARTED: u64 = 0x240;
const SYNC_ARRIVED: u64 = 0x2d8;
const ROW_ROUND: u64 = 24;

/// The segments' rows of a store with these options.
fn rows() -> impl Iterator<Item = u64> {
    let Part(first, count, stride, _) = parts().pop().expect("the last part");
    (0..count).map(move |n| first + n * stride)
}

/// Runs it in a child that is given so long.
fn comes_back(work: impl FnOnce()) {
    let child = process::fork(|| {
        panics_end_this_process();
        work()
    });
    assert_eq!(child.wait(STUCK), Ended::Exit(0));
}

/// Who waits for a round by its number, and is thrown back in the numbers while another leads, waited for ever: no
/// later round had a number so high.
#[test]
fn a_sync_ends_though_the_numbers_of_rounds_go_back() {
    let dir = memory_dir();
    comes_back(|| {
        open(dir.path(), &options(1)).set(b"k", b"v", 0, Ttl::Never).expect("stored");
        let path = dir.path().join("meta");
        let syncs = std::sync::Arc::new(AtomicU64::new(0));
        let count = syncs.clone();
        let strike = move || {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                let meta = Mapped::new(&path);
                meta.word(ROUND_STARTED).store(1 << 60, Ordering::SeqCst);
                // Until the other has noted the number that it waits for, and not longer: it soon leads.
                let arrived = meta.word(SYNC_ARRIVED).load(Ordering::SeqCst);
                let begun = Instant::now();
                while meta.word(SYNC_ARRIVED).load(Ordering::SeqCst) == arrived
                    && begun.elapsed() < STUCK
                {
                    std::hint::spin_loop();
                }
                meta.word(ROUND_STARTED).store(5, Ordering::SeqCst);
            }
        };
        let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(Struck(strike));
        let store = open(dir.path(), &Options { disk: Some(disk), thread: false, ..options(1) });
        std::thread::scope(|scope| {
            scope.spawn(|| store.sync());
            while syncs.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(50));
            store.sync().expect("synced");
        });
    });
}

/// A segment that waits for a round that never comes kept a compaction going for ever.
#[test]
fn a_compaction_ends_though_segments_wait_for_rounds_that_never_come() {
    let dir = memory_dir();
    comes_back(|| {
        let store = open(dir.path(), &options(1));
        for i in 0..400 {
            store
                .set(&key(i % 40), &signed(&key(i % 40), i, 3_000), 0, Ttl::Never)
                .expect("stored");
        }
        drop(store);
        let path = dir.path().join("meta");
        let strikes = AtomicU64::new(0);
        let strike = move || {
            if strikes.fetch_add(1, Ordering::SeqCst) < 100 {
                let meta = Mapped::new(&path);
                rows().for_each(|row| {
                    meta.word(row + ROW_ROUND).store(u64::MAX / 2, Ordering::SeqCst)
                });
            }
        };
        let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(Struck(strike));
        let store = open(dir.path(), &Options { disk: Some(disk), thread: false, ..options(1) });
        let before = store.stats().expect("statistics").segments_free;
        // The first is struck, one of the next gives the space back.
        for _ in 0..4 {
            store.compact().expect("compacted");
        }
        assert!(store.stats().expect("statistics").segments_free > before);
    });
}

#[test]
fn a_peer_that_scribbles_causes_errors_and_misses_and_nothing_worse() {
    let seed = seed("scribble");
    let seconds = size("HOLDFAST_SCRIBBLE_SECONDS", 10);
    let begun = Instant::now();
    let (mut rounds, mut operations, mut stores, mut failures) = (0, 0, 0, Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds) && failures.len() < 10 {
        let (used, scribbled, failed) = play(seed, rounds);
        (rounds, operations, stores) = (rounds + 1, operations + used, stores + scribbled);
        failures.extend(failed.map(|how| format!("round {}: {how}", rounds - 1)));
    }
    println!("{rounds} rounds: {operations} operations among {stores} stores of the peer");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(operations > 10 * rounds, "hardly anything was done");
}
