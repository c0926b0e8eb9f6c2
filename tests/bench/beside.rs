//! This store beside LMDB: one run, rounds in turn, medians, every answer checked, and a target for
//! each case.
//!
//! Both stores lie on the same filesystem, hold the same keys (32 bytes without an order, as session
//! ids are) and values of 1 KB, and are asked by one thread. LMDB does not sync and writes through
//! its map (its fastest settings), and has a transaction for each operation; ours never syncs by
//! itself either. A read ends with the value in memory of the caller's own in both; only ours
//! checks a checksum. Where processes write, they are started anew, and all begin at one signal.
//!
//! Arguments: `--keys 1000000`, `--ops 200000` (in a round), `--rounds 7`, `--live 50` (percent of our
//! store that is alive), `--millis 1000` (of each round of processes), `--memory` (on tmpfs) or
//! `--on DIRECTORY`; `--cpu` for times of the processor, in the cases of one process, where the machine
//! is busy otherwise.

use std::fmt::Display;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};
use holdfast::{Acquired, Options, Store, Stored, Sync, Ttl, Wait, Write};
use holdfast_tests::measure::{Args, is_signed, key, median, now, per_op, sign};
use holdfast_tests::{Rng, dir, dir_in, memory_dir, open};

const VALUE_BYTES: usize = 1024;
const USER_BYTES: u64 = 32 + VALUE_BYTES as u64;
/// Header, key and value, in whole lines.
const RECORD_BYTES: u64 = (64 + USER_BYTES).div_ceil(64) * 64;
const LIFE: Ttl = Ttl::Millis(3_600_000);
/// Keys of the stores that are on the disk after each write.
const DURABLE_KEYS: u64 = 1000;
/// The smallest size of a store, bytes.
const SMALL: u64 = 64 << 20;

/// What is asked of both.
trait Contestant {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool;
    fn set(&self, key: &[u8], value: &[u8]);
    fn sync(&self);
}

struct Ours(Store);

impl Ours {
    fn open(path: &Path, sync: Sync, max_bytes: u64) -> Ours {
        let options = Options {
            create: true,
            max_bytes: Some(max_bytes),
            sync: Some(sync),
            ..Options::default()
        };
        Ours(open(path, &options))
    }
}

impl Contestant for Ours {
    #[inline]
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get(key, out).expect("get").is_some()
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.set(key, value, 0, LIFE).expect("set");
    }

    fn sync(&self) {
        self.0.sync().expect("sync");
    }
}

struct Lmdb<'e> {
    env: &'e Env,
    table: Database<'e, Bytes, Bytes>,
}

fn lmdb_env(path: &Path, sync: Sync, max_bytes: u64) -> Env {
    let mut options = EnvOpenOptions::new();
    options.map_size(max_bytes as usize);
    if sync != Sync::Always {
        // SAFETY: the directory is this run's own and goes away with it; nothing in it is ever
        // expected to outlive the machine.
        unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP) };
    }
    // SAFETY: only LMDB, in processes of this run, touches what is in this directory.
    unsafe { options.open(path) }.expect("opening LMDB")
}

impl<'e> Lmdb<'e> {
    fn new(env: &'e Env) -> Lmdb<'e> {
        let txn = env.write_txn().expect("a transaction");
        let made = env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        Lmdb { env, table: made.expect("the table").unwrap_commit() }
    }
}

impl Contestant for Lmdb<'_> {
    #[inline]
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let txn = self.env.read_txn().expect("a transaction");
        out.clear();
        let found = self.table.get(&txn, key).expect("get");
        found.inspect(|value| out.extend_from_slice(value)).is_some()
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        let mut txn = self.env.write_txn().expect("a transaction");
        self.table.put(&mut txn, key, value).expect("put");
        txn.commit().expect("commit");
    }

    fn sync(&self) {
        self.env.force_sync().expect("sync");
    }
}

fn get_checked(store: &impl Contestant, i: u64, out: &mut Vec<u8>) {
    assert!(store.get(black_box(&key(i)), out), "key {i} is gone");
    assert!(is_signed(out, i, VALUE_BYTES), "another value under key {i}");
}

fn set_signed(store: &impl Contestant, i: u64, value: &mut [u8]) {
    sign(value, i);
    store.set(black_box(&key(i)), value);
}

fn fill(store: &impl Contestant, keys: u64) -> f64 {
    let mut value = vec![7; VALUE_BYTES];
    per_op(keys, || (0..keys).for_each(|i| set_signed(store, i, &mut value)))
}

/// How much of what, where.
struct Size {
    keys: u64,
    ops: u64,
    rounds: usize,
    millis: u64,
    /// Of ours and of theirs.
    max_bytes: [u64; 2],
}

/// The times of one case, ours and theirs, a pair for each round.
#[derive(Default)]
struct Times(Vec<(f64, f64)>);

impl Times {
    fn ours(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.0).collect())
    }

    fn theirs(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.1).collect())
    }

    /// Of rounds, not of medians: what disturbed the machine disturbed both sides of a round.
    fn ratio(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.1 / pair.0).collect())
    }
}

/// One line of the table. A case that has a target says whether it was reached.
fn row(case: &str, ours: impl Display, theirs: impl Display, ratio: &str, target: Target) {
    let (wanted, reached) = match target {
        Target::None => (String::new(), ""),
        Target::Is(wanted, true) => (wanted, "yes"),
        Target::Is(wanted, false) => (wanted, "NO"),
    };
    println!("{case:<40} {ours:>13} {theirs:>13} {ratio:>8}  {wanted:<22} {reached}");
}

enum Target {
    None,
    Is(String, bool),
}

fn ns(time: f64) -> String {
    format!("{time:.0} ns")
}

fn rate(per_s: f64) -> String {
    format!("{:.0} k/s", per_s / 1e3)
}

fn fold(ratio: f64) -> String {
    format!("{ratio:.2} x")
}

fn faster_than(ns: f64, times: f64, measured: &Times) -> Target {
    let reached = measured.ours() <= ns && measured.ratio() >= times;
    Target::Is(format!("<= {ns} ns, >= {times} x"), reached)
}

/// Reads and writes of random keys, one thread.
fn single(ours: &Ours, lmdb: &Lmdb, size: &Size) {
    let mut cases: [Times; 5] = Default::default();
    for round in 0..size.rounds {
        // What the last round left to be written back is not this one's to wait for.
        ours.sync();
        lmdb.sync();
        let seed = round as u64;
        let gets = [gets(ours, size, seed), gets(lmdb, size, seed)];
        let sets = in_turn(round, || sets(ours, size, seed), || sets(lmdb, size, seed));
        let cycle = cycles(&ours.0, size, |_| 5);
        let mut rng = Rng::new(seed);
        let spread = cycles(&ours.0, size, |_| rng.below(size.keys));
        let nothing = nothing(size, seed);
        if round > 0 || size.rounds == 1 {
            cases[0].0.push((gets[0], gets[1]));
            cases[1].0.push(sets);
            cases[2].0.push((cycle, f64::NAN));
            cases[3].0.push((spread, f64::NAN));
            cases[4].0.push((nothing, nothing));
        }
    }
    let [get, set, cycle, spread, nothing] = cases;
    row("(a random line of memory)", ns(random_line(size)), "", "", Target::None);
    row("(making a key, in each case)", ns(nothing.ours()), ns(nothing.theirs()), "", Target::None);
    let target = faster_than(450.0, 3.0, &get);
    row("get, random keys", ns(get.ours()), ns(get.theirs()), &fold(get.ratio()), target);
    let target = faster_than(750.0, 8.0, &set);
    row("set, random keys", ns(set.ours()), ns(set.theirs()), &fold(set.ratio()), target);
    for (name, case) in [("one key", cycle), ("random keys", spread)] {
        let target = Target::Is("<= 900 ns".into(), case.ours() <= 900.0);
        row(&format!("lock + get + set + unlock, {name}"), ns(case.ours()), "-", "", target);
    }
}

/// Neither is always the one that runs on what the other left in the caches.
fn in_turn(round: usize, ours: impl FnOnce() -> f64, theirs: impl FnOnce() -> f64) -> (f64, f64) {
    if round.is_multiple_of(2) {
        let first = ours();
        (first, theirs())
    } else {
        let first = theirs();
        (ours(), first)
    }
}

fn gets(store: &impl Contestant, size: &Size, seed: u64) -> f64 {
    let (mut rng, mut out) = (Rng::new(seed), Vec::with_capacity(VALUE_BYTES));
    per_op(size.ops, || {
        (0..size.ops).for_each(|_| get_checked(store, rng.below(size.keys), &mut out));
    })
}

fn sets(store: &impl Contestant, size: &Size, seed: u64) -> f64 {
    let (mut rng, mut value) = (Rng::new(!seed), vec![7; VALUE_BYTES]);
    per_op(size.ops, || {
        (0..size.ops).for_each(|_| set_signed(store, rng.below(size.keys), &mut value));
    })
}

/// What this machine takes for one line of memory that no cache has, among as many as the values
/// are: what no store can do without.
fn random_line(size: &Size) -> f64 {
    // Zeros would be one page for all.
    let memory = vec![2u64; (size.keys * USER_BYTES / 8) as usize];
    let (mut rng, mut at) = (Rng::new(9), 0);
    per_op(size.ops, || {
        for _ in 0..size.ops {
            // The next place depends on what was read at the last.
            at = ((rng.next() | memory[at]) % memory.len() as u64) as usize;
        }
        black_box(at);
    })
}

/// What the loops cost by themselves.
fn nothing(size: &Size, seed: u64) -> f64 {
    let mut rng = Rng::new(seed);
    per_op(size.ops, || {
        (0..size.ops).for_each(|_| {
            black_box(key(rng.below(size.keys)));
        });
    })
}

/// One request of a site: the session is locked, read, written, unlocked.
fn cycles(store: &Store, size: &Size, mut choose: impl FnMut(u64) -> u64) -> f64 {
    let (mut out, wait) = (Vec::new(), Wait::default());
    per_op(size.ops, || {
        for n in 0..size.ops {
            let i = choose(n);
            let key = black_box(key(i));
            let Acquired::Held(held) = store.lock(&key, 1, &wait).expect("lock") else {
                panic!("nobody else locks");
            };
            store.get(&key, &mut out).expect("get").expect("present");
            assert!(is_signed(&out, i, VALUE_BYTES), "another value under key {i}");
            out[100] = n as u8;
            let write = Write { ttl: LIFE, held: Some(&held), ..Write::default() };
            let stored = store.write(&key, &out, &write).expect("write");
            assert!(matches!(stored, Stored::Done(_)));
            assert!(store.unlock(&key, &held).expect("unlock"));
        }
    })
}

/// What a store takes for what was just put into it.
fn space(ours: &Store, lmdb: &Env, keys: u64) {
    let stats = ours.stats().expect("stats");
    assert_eq!(stats.keys, keys, "keys after the fill");
    let index = stats.index_bytes as f64 / keys as f64;
    let target = Target::Is("<= 16".into(), index <= 16.0);
    row("index, bytes a key", format!("{index:.1}"), "-", "", target);
    let over = |bytes: u64| (bytes as f64 / (keys * USER_BYTES) as f64 - 1.0) * 100.0;
    let used = over((stats.segments - stats.segments_free) * stats.segment_bytes);
    let pages = (lmdb.info().last_page_number as u64 + 1) * 4096;
    let target = Target::Is("<= +12 %".into(), used <= 12.0);
    let theirs = format!("{:+.1} %", over(pages));
    row("space over keys and values", format!("{used:+.1} %"), theirs, "", target);
}

/// Which store a process writes to.
#[derive(Clone, Copy)]
enum Whose {
    Ours,
    Lmdb,
}

/// Processes write random keys for a while, all at once; writes a second of all together.
fn writers(path: &Path, whose: Whose, sync: Sync, count: usize, size: &Size) -> f64 {
    let mut children: Vec<Child> = (0..count)
        .map(|n| {
            let (name, sync) = (whose as u8, if sync == Sync::Always { "always" } else { "none" });
            Command::new(std::env::current_exe().expect("own path"))
                .args(["--writer", path.to_str().expect("utf-8"), "--whose", &name.to_string()])
                .args(["--sync", sync, "--seed", &n.to_string(), "--keys", &size.keys.to_string()])
                .args(["--max", &size.max_bytes[whose as usize].to_string()])
                .args(["--millis", &size.millis.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a writer")
        })
        .collect();
    let mut said: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().expect("piped")))
        .collect();
    let mut hear = |n: usize| {
        let mut line = String::new();
        said[n].read_line(&mut line).expect("a line from a writer");
        line.trim().to_owned()
    };
    (0..count).for_each(|n| assert_eq!(hear(n), "ready", "writer {n}"));
    for child in &mut children {
        child.stdin.take().expect("piped").write_all(b"go\n").expect("a writer that listens");
    }
    let sum = (0..count).map(|n| hear(n).parse::<f64>().expect("a rate")).sum();
    children.iter_mut().for_each(|child| assert!(child.wait().expect("its end").success()));
    sum
}

/// A process of [`writers`].
fn writer(path: &Path, args: &Args) {
    let max_bytes = args.number("--max", 0);
    let sync = if args.text("--sync") == Some("always") { Sync::Always } else { Sync::None };
    if args.number("--whose", 0) == Whose::Ours as u64 {
        write_for_a_while(&Ours::open(path, sync, max_bytes), args);
    } else {
        let env = lmdb_env(path, sync, max_bytes);
        write_for_a_while(&Lmdb::new(&env), args);
    }
}

fn write_for_a_while(store: &impl Contestant, args: &Args) {
    let (keys, seed) = (args.number("--keys", 0), args.number("--seed", 0));
    let mut rng = Rng::new(0x5eed + seed);
    let (mut value, mut out) = (vec![7; VALUE_BYTES], Vec::new());
    get_checked(store, rng.below(keys), &mut out);
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).expect("the signal");
    let (begun, limit) = (Instant::now(), Duration::from_millis(args.number("--millis", 0)));
    let (mut count, mut last) = (0u64, 0);
    while begun.elapsed() < limit {
        // The clock is asked once in a while: it costs a share of a write.
        for _ in 0..8 {
            last = rng.below(keys);
            set_signed(store, last, &mut value);
            count += 1;
        }
    }
    println!("{}", count as f64 / begun.elapsed().as_secs_f64());
    get_checked(store, last, &mut out);
}

/// One process that writes, and several at the same time; median rates of ours and theirs.
fn race(at: [&Path; 2], sync: Sync, many: usize, size: &Size) -> [Times; 2] {
    let mut rates: [Times; 2] = Default::default();
    for round in 0..size.rounds.div_ceil(2) {
        for (rate, count) in rates.iter_mut().zip([1, many]) {
            rate.0.push(in_turn(
                round,
                || writers(at[0], Whose::Ours, sync, count, size),
                || writers(at[1], Whose::Lmdb, sync, count, size),
            ));
        }
    }
    rates
}

fn processes(at: [&Path; 2], size: &Size) {
    let [one, two] = race(at, Sync::None, 2, size);
    let ahead = |times: &Times| 1.0 / times.ratio();
    row("1 process writes", rate(one.ours()), rate(one.theirs()), &fold(ahead(&one)), Target::None);
    let target = Target::Is(">= 8 x".into(), ahead(&two) >= 8.0);
    row("2 processes write", rate(two.ours()), rate(two.theirs()), &fold(ahead(&two)), target);
    scaling("  two over one", &one, &two, |_| Target::None);
}

fn scaling(case: &str, one: &Times, many: &Times, target: impl Fn(f64) -> Target) {
    let pick = |side: fn(&(f64, f64)) -> f64| {
        median(one.0.iter().zip(&many.0).map(|(one, many)| side(many) / side(one)).collect())
    };
    let ours = pick(|pair| pair.0);
    row(case, fold(ours), fold(pick(|pair| pair.1)), "", target(ours));
}

/// Each write is on the disk before it is acknowledged; one sync may do for many.
fn durable(base: &Path, size: &Size) {
    let (ours, theirs) = (inside(base, "always"), inside(base, "lmdb-always"));
    let keys = DURABLE_KEYS.min(size.keys);
    let size = &Size { keys, max_bytes: [SMALL; 2], ..*size };
    fill(&Ours::open(&ours, Sync::Always, SMALL), keys);
    let env = lmdb_env(&theirs, Sync::None, SMALL);
    fill(&Lmdb::new(&env), keys);
    env.prepare_for_closing().wait();
    let [one, eight] = race([&ours, &theirs], Sync::Always, 8, size);
    each_waited(&ours, size);
    let plain = |rate: f64| format!("{rate:.0} /s");
    for (name, case) in [("1 process", &one), ("8 processes", &eight)] {
        let (ours, theirs) = (plain(case.ours()), plain(case.theirs()));
        row(&format!("sync=always, {name}"), ours, theirs, &fold(1.0 / case.ratio()), Target::None);
    }
    scaling("  eight over one", &one, &eight, |ratio| Target::Is(">= 4 x".into(), ratio >= 4.0));
}

/// A round of eight commits eight writes at most: nobody was answered before it.
fn each_waited(path: &Path, size: &Size) {
    let counts = || {
        let stats = Ours::open(path, Sync::Always, SMALL).0.stats().expect("stats");
        (stats.sets, stats.sync_rounds)
    };
    let before = counts();
    writers(path, Whose::Ours, Sync::Always, 8, size);
    let after = counts();
    let (sets, rounds) = (after.0 - before.0, after.1 - before.1);
    assert!(sets <= 8 * rounds, "{sets} durable writes of eight processes in {rounds} rounds");
    let shared = sets as f64 / rounds as f64;
    row("  writes that share a sync", format!("{shared:.1}"), "1", "", Target::None);
}

/// After a power loss `meta` says nothing that can be used: everything is read again.
fn rebuild(path: &Path, size: &Size) {
    let open = || Ours::open(path, Sync::None, size.max_bytes[0]);
    let version = |store: &Ours| match store.0.set(b"version", &[0], 0, LIFE).expect("set") {
        Stored::Done(version) => version,
        other => panic!("a plain set is done, not {other:?}"),
    };
    let (mut rates, mut out) = (Vec::new(), Vec::new());
    let mut last = version(&open());
    for round in 0..size.rounds.div_ceil(2) {
        std::fs::rename(path.join("meta"), path.join("meta.lost")).expect("rename");
        let begun = now();
        let store = open();
        let took = (now() - begun).as_secs_f64();
        get_checked(&store, round as u64 % size.keys, &mut out);
        let stats = store.0.stats().expect("stats");
        assert_eq!(stats.keys, size.keys + 1, "keys after the rebuild");
        // Versions leap in a rebuild; without a leap there was none.
        let next = version(&store);
        assert!(next > last + (1 << 32), "opened without a rebuild");
        last = next;
        rates.push(stats.data_bytes as f64 / took / 1e9);
    }
    let rate = median(rates);
    let target = Target::Is(">= 1 GB/s".into(), rate >= 1.0);
    row("rebuild after a power loss, cached", format!("{rate:.2} GB/s"), "-", "", target);
}

fn inside(base: &Path, name: &str) -> PathBuf {
    let path = base.join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
    path
}

fn main() {
    let args = Args::of_process();
    if let Some(path) = args.text("--writer") {
        return writer(path.as_ref(), &args);
    }
    let (keys, live) = (args.number("--keys", 1_000_000), args.number("--live", 50));
    let size = Size {
        keys,
        ops: args.number("--ops", 200_000),
        rounds: args.number("--rounds", 7).max(1) as usize,
        millis: args.number("--millis", 1000),
        // Pages that LMDB fills in no order are two thirds full.
        max_bytes: [
            SMALL.max(keys * RECORD_BYTES * 100 / live.clamp(1, 80)),
            (SMALL + keys * USER_BYTES * 4).next_multiple_of(1 << 20),
        ],
    };
    let base = match args.text("--on") {
        Some(parent) => dir_in(parent),
        None if args.has("--memory") => memory_dir(),
        None => dir(),
    };
    let (at_ours, at_lmdb) = (inside(base.path(), "ours"), inside(base.path(), "lmdb"));
    let ours = Ours::open(&at_ours, Sync::None, size.max_bytes[0]);
    let env = lmdb_env(&at_lmdb, Sync::None, size.max_bytes[1]);
    let lmdb = Lmdb::new(&env);
    println!("{keys} keys of {USER_BYTES} bytes with their values; {live} % of our store alive");
    row("", "holdfast", "LMDB", "ratio", Target::None);
    let filled = (fill(&ours, keys), fill(&lmdb, keys));
    let ratio = fold(filled.1 / filled.0);
    row("fill", ns(filled.0), ns(filled.1), &ratio, Target::None);
    space(&ours.0, &env, keys);
    single(&ours, &lmdb, &size);
    processes([&at_ours, &at_lmdb], &size);
    let not_persistent = ours.0.stats().expect("stats").not_persistent;
    drop(ours);
    env.prepare_for_closing().wait();
    rebuild(&at_ours, &size);
    if not_persistent {
        println!("sync=always is not measured: {} is in memory", base.path().display());
    } else {
        durable(base.path(), &size);
    }
}
