//! Every byte of every file of a small store, damaged: one bit, zero, all ones; and pages that were swapped, went
//! back in time or became zeros; files cut short and files with something behind their end.
//!
//! It would catch a wrong value, another key's value, a crash, a read outside of a file, an operation without an end,
//! and damage to a value that nobody reports. The store is used as it is after the death of its processes (index and
//! meta are believed), as after a power loss (both are made anew), and while it is open and the damage comes under
//! its eyes. What it cannot show: two damages that fit each other; bytes that change while they are read (that is
//! `scribble.rs`); and damage to the index that leads to an older record of the same key, which is whole: that is
//! counted and printed.
//!
//! `HOLDFAST_DAMAGE` is how many places, or `all`: every byte with each of the three patterns, in about half an hour
//! with `CARGO_PROFILE_DEV_OPT_LEVEL=2`.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Acquired, Store, Wait};
use holdfast_tests::layout::{current, records};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::specimen::{
    Maker, Seen, Wants, Watch, change_all, get_all, get_some, look_all, options, verify,
};
use holdfast_tests::{Rng, memory_dir, open, seed};

const NAMES: [&str; 4] = ["super", "data", "index", "meta"];
const DATA: usize = 1;
const SEGMENT: usize = 64 << 10;
const PAGE: usize = 4096;
/// No single operation may take longer (it may wait 100 ms for a latch).
const HANG: Duration = Duration::from_secs(1);
const STUCK: Duration = Duration::from_secs(20);
/// Where `meta` names the inode of `index`, see arena.rs of the library.
const INDEX_INODE: u64 = 0x38;

/// How the store is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All its processes died; index and meta are believed.
    Died,
    /// Index and meta are gone.
    Rebuilt,
    /// It is open while the damage is done, and then used in every way.
    Open,
    /// It is open, and only read; the damage is taken back again.
    Glance,
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Byte { at: usize, new: u8 },
    Word { at: usize, new: u64 },
    Swapped { one: usize, other: usize },
    Stale { page: usize },
    Zeroed { page: usize },
    Cut { to: usize },
    Grown { by: usize },
}

#[derive(Debug, Clone, Copy)]
struct Case {
    mode: Mode,
    file: usize,
    harm: Harm,
}

impl Case {
    /// The bytes that change, for damage that leaves the length as it is.
    fn changes(&self, files: &Files) -> Vec<(usize, Vec<u8>)> {
        let bytes = &files.now[self.file];
        let page =
            |from: &[u8], n: usize| from[n * PAGE..((n + 1) * PAGE).min(from.len())].to_vec();
        match self.harm {
            Harm::Byte { at, new } => vec![(at, vec![new])],
            Harm::Word { at, new } => vec![(at, new.to_le_bytes().to_vec())],
            Harm::Swapped { one, other } => {
                vec![(one * PAGE, page(bytes, other)), (other * PAGE, page(bytes, one))]
            }
            Harm::Stale { page: n } => vec![(n * PAGE, page(&files.young[self.file], n))],
            Harm::Zeroed { page: n } => vec![(n * PAGE, vec![0; PAGE])],
            Harm::Cut { .. } | Harm::Grown { .. } => Vec::new(),
        }
    }

    fn inflict(&self, files: &Files) {
        let file = files.file(self.file);
        for (at, new) in self.changes(files) {
            file.write_all_at(&new, at as u64).expect("damaged");
        }
        let len = files.now[self.file].len();
        match self.harm {
            Harm::Cut { to } => file.set_len(to as u64).expect("cut"),
            Harm::Grown { by } => {
                let garbage = holdfast_tests::content(by as u64, by);
                file.write_all_at(&garbage, len as u64).expect("grown");
            }
            _ => {}
        }
    }
}

/// Bytes of a file, and the key whose record has them.
type Piece = (std::ops::Range<usize>, Vec<u8>);

/// The files as they were, at the end and in the middle of the specimen's life.
struct Files {
    dir: PathBuf,
    now: Vec<Vec<u8>>,
    young: Vec<Vec<u8>>,
    /// For each line of `data` the keys whose current record has bytes in it.
    owners: HashMap<usize, Vec<Piece>>,
    wants: Wants,
}

impl Files {
    /// Made by a process that dies with a lock in its hands and another waiting for it.
    fn new(dir: &Path) -> Files {
        let read =
            || NAMES.iter().map(|name| std::fs::read(dir.join(name)).expect("read")).collect();
        let (young, done) = (process::shared(1), process::shared(1));
        let child = process::fork(|| {
            let store = open(dir, &options());
            let mut maker = Maker::new(Some(&store));
            maker.youth();
            young[0].store(1, Ordering::SeqCst);
            while young[0].load(Ordering::SeqCst) == 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            maker.age();
            let wait = Wait::default();
            assert!(matches!(store.lock(b"small 2", 1, &wait), Ok(Acquired::Held(_))));
            std::thread::scope(|scope| {
                scope.spawn(|| store.lock(b"small 2", 2, &Wait::default()));
                std::thread::sleep(Duration::from_millis(30));
                done[0].store(1, Ordering::SeqCst);
                process::die();
            });
        });
        let begun = Instant::now();
        while young[0].load(Ordering::SeqCst) == 0 && begun.elapsed() < STUCK {
            std::thread::sleep(Duration::from_millis(1));
        }
        let young_files: Vec<Vec<u8>> = read();
        young[0].store(2, Ordering::SeqCst);
        assert_eq!((child.wait(STUCK), done[0].load(Ordering::SeqCst)), (Ended::Signal(9), 1));
        let mut maker = Maker::new(None);
        maker.youth();
        maker.age();
        let now: Vec<Vec<u8>> = read();
        let mut young = young_files;
        young.iter_mut().zip(&now).for_each(|(young, now)| young.resize(now.len(), 0));
        let owners = HashMap::new();
        let mut files = Files { dir: dir.into(), now, young, owners, wants: maker.wants() };
        files.note_owners();
        files
    }

    fn note_owners(&mut self) {
        let all = records(&self.now[DATA], SEGMENT);
        let counts = |what: fn(&holdfast_tests::layout::Record) -> bool| {
            all.iter().filter(|r| what(r)).count()
        };
        println!(
            "{} records, {} tombstones, {} of owners, {} copies; {:?} bytes",
            all.len(),
            counts(|r| r.is_tombstone),
            counts(|r| r.is_owner),
            counts(|r| r.copy != 0),
            self.now.iter().map(Vec::len).collect::<Vec<_>>()
        );
        for record in current(&all).filter(|r| !r.is_owner && self.wants.has(&r.key)) {
            for piece in &record.pieces {
                for line in piece.start / 64..=(piece.end - 1) / 64 {
                    let whose = (piece.clone(), record.key.clone());
                    self.owners.entry(line).or_default().push(whose);
                }
            }
        }
    }

    /// The key whose value or header this byte of `data` is part of.
    fn key_at(&self, at: usize) -> Option<&[u8]> {
        let here = self.owners.get(&(at / 64))?;
        here.iter().find(|(range, _)| range.contains(&at)).map(|(_, key)| key.as_slice())
    }

    fn file(&self, which: usize) -> File {
        let path = self.dir.join(NAMES[which]);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        file.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Makes all files as they were; only pages that differ are written.
    fn restore(&self) {
        for which in 0..NAMES.len() {
            let (file, bytes) = (self.file(which), &self.now[which]);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            file.set_permissions(mode).expect("chmod");
            file.set_len(bytes.len() as u64).expect("the old length");
            let mut is = vec![0; bytes.len()];
            file.read_exact_at(&mut is, 0).expect("read");
            for (n, (was, is)) in bytes.chunks(PAGE).zip(is.chunks(PAGE)).enumerate() {
                if was != is {
                    file.write_all_at(was, (n * PAGE) as u64).expect("restored");
                }
            }
        }
        // A rebuild makes new files: meta is to believe the index that is there now.
        let inode = self.file(2).metadata().expect("index").ino();
        self.file(3).write_all_at(&inode.to_le_bytes(), INDEX_INODE).expect("restored");
    }
}

/// What is counted over all cases.
#[derive(Clone, Copy)]
enum Count {
    Case,
    Shut,
    /// Bytes of a current value or its header, with the index there: what reading it came to.
    Right,
    Refused,
    Missing,
    Older,
    /// The same in a store that was rebuilt, for all keys.
    RebuiltMissing,
    RebuiltOlder,
    /// An older value for any other damage.
    OtherOlder,
    /// A read was refused and the check found nothing.
    Unseen,
    /// The case that is being played, and one that was slow.
    Current,
    Slow,
    Last,
}

struct Tally(&'static [AtomicU64]);

impl Tally {
    fn add(&self, what: Count, n: usize) {
        self.0[what as usize].fetch_add(n as u64, Ordering::SeqCst);
    }

    fn get(&self, what: Count) -> u64 {
        self.0[what as usize].load(Ordering::SeqCst)
    }

    fn note(&self, case: &Case, files: &Files, seen: &[Seen]) {
        let count = |what| seen.iter().filter(|seen| **seen == what).count();
        if case.mode == Mode::Rebuilt {
            self.add(Count::RebuiltMissing, count(Seen::Missing));
            self.add(Count::RebuiltOlder, count(Seen::Older));
            return;
        }
        let hit = match case.harm {
            Harm::Byte { at, .. } if case.file == DATA => files.key_at(at),
            _ => None,
        };
        let place = hit.and_then(|hit| files.wants.keys().position(|key| key == hit));
        let Some(place) = place else { return self.add(Count::OtherOlder, count(Seen::Older)) };
        self.add(
            match seen[place] {
                Seen::Right => Count::Right,
                Seen::Refused => Count::Refused,
                Seen::Missing => Count::Missing,
                Seen::Older => Count::Older,
            },
            1,
        );
        let others =
            seen.iter().enumerate().filter(|(i, seen)| *i != place && **seen != Seen::Right);
        assert_eq!(
            others.count(),
            0,
            "a byte of {:?} harmed another key",
            hit.map(String::from_utf8_lossy)
        );
    }
}

/// One case from restored files to the end of its use.
fn play(case: &Case, files: &Files, tally: &Tally, watch: &mut Watch) {
    files.restore();
    if case.mode == Mode::Rebuilt {
        for name in ["index", "meta"] {
            std::fs::remove_file(files.dir.join(name)).expect("removed");
        }
    }
    let mut store = None;
    if case.mode == Mode::Open {
        store = Some(open(&files.dir, &options()));
    }
    case.inflict(files);
    let begun = Instant::now();
    let opened = match store {
        Some(store) => Ok(store),
        None => Store::open(&files.dir, &options()),
    };
    if begun.elapsed() > watch.longest {
        (watch.longest, watch.which) = (begun.elapsed(), "open");
    }
    let store = match opened {
        Ok(store) => store,
        Err(e) => {
            tally.add(Count::Shut, 1);
            let text = e.to_string();
            assert!(text.contains(&files.dir.display().to_string()), "names no file: {text}");
            return;
        }
    };
    let seen = get_all(&store, &files.wants, watch);
    tally.note(case, files, &seen);
    if !verify(&store, watch) && seen.contains(&Seen::Refused) {
        tally.add(Count::Unseen, 1);
    }
    look_all(&store, &files.wants, watch);
    change_all(&store, &files.wants, watch);
}

/// Plays the cases of [`Mode::Glance`] from one on, in one open store.
fn glance(cases: &[Case], from: usize, files: &Files, tally: &Tally) {
    files.restore();
    let store = open(&files.dir, &options());
    get_all(&store, &files.wants, &mut Watch::default());
    let live: Vec<Vec<u8>> =
        (0..4).map(|f| std::fs::read(files.dir.join(NAMES[f])).expect("read")).collect();
    let handles: Vec<File> = (0..4).map(|f| files.file(f)).collect();
    for (i, case) in cases.iter().enumerate().skip(from) {
        tally.0[Count::Current as usize].store(i as u64, Ordering::SeqCst);
        let mut watch = Watch::default();
        let changes = case.changes(files);
        let file = &handles[case.file];
        changes.iter().for_each(|(at, new)| file.write_all_at(new, *at as u64).expect("damaged"));
        let hit = match case.harm {
            Harm::Byte { at, .. } if case.file == DATA => files.key_at(at),
            _ => None,
        };
        // All keys where any could be harmed, but long values now and then only.
        let reads = |n: usize, key: &[u8]| match case.file {
            DATA => hit == Some(key) || n == i % files.wants.keys().count(),
            _ => i % 16 == 0 || key != b"longest",
        };
        let seen = get_some(&store, &files.wants, &mut watch, reads);
        tally.note(case, files, &seen);
        if i % 16 == 0 {
            look_all(&store, &files.wants, &mut watch);
        }
        for (at, new) in &changes {
            file.write_all_at(&live[case.file][*at..*at + new.len()], *at as u64).expect("healed");
        }
        // What readers did on the word of a damaged latch or redo goes too.
        if case.file >= 2 && (i % 16 == 0 || seen.iter().any(|seen| *seen != Seen::Right)) {
            for which in [2, 3] {
                handles[which].write_all_at(&live[which], 0).expect("restored");
            }
        }
        tally.add(Count::Case, 1);
        tally.add(Count::Slow, (watch.longest > HANG) as usize);
    }
    std::mem::forget(store);
}

/// Plays all cases in children; what went wrong in which of them.
fn run(cases: &[Case], files: &Files, tally: &Tally) -> Vec<String> {
    let (mut next, mut failures) = (0, Vec::new());
    while next < cases.len() && failures.len() < 20 {
        let current = &tally.0[Count::Current as usize];
        current.store(next as u64, Ordering::SeqCst);
        let child = process::fork(|| {
            if cases[next].mode == Mode::Glance {
                return glance(cases, next, files, tally);
            }
            for (i, case) in cases.iter().enumerate().skip(next) {
                current.store(i as u64, Ordering::SeqCst);
                // A machine that is busy otherwise is slow once.
                for last in [false, false, true] {
                    let mut watch = Watch::default();
                    play(case, files, tally, &mut watch);
                    assert!(
                        watch.longest < HANG || !last,
                        "{} took {:?}",
                        watch.which,
                        watch.longest
                    );
                    if watch.longest < HANG {
                        break;
                    }
                }
                tally.add(Count::Case, 1);
            }
        });
        let mut seen = next as u64;
        let ended = loop {
            let ended = child.wait_a_while(STUCK);
            let at = current.load(Ordering::SeqCst);
            match ended {
                Some(ended) => break ended,
                None if at == seen => break child.wait(Duration::ZERO),
                None => seen = at,
            }
        };
        if ended == Ended::Exit(0) {
            break;
        }
        let at = current.load(Ordering::SeqCst) as usize;
        failures.push(format!("{:?} of {}: {ended:?}", cases[at], NAMES[cases[at].file]));
        next = at + 1;
    }
    failures
}

/// The three patterns for a byte; the flipped bit differs from place to place and from run to run.
fn patterns(was: u8, at: usize, turn: u64) -> impl Iterator<Item = u8> {
    let flipped = was ^ 1 << ((at as u64 + turn) % 8);
    [flipped, 0, 0xff].into_iter().filter(move |new| *new != was)
}

/// Is anything known to be near this byte? In long stretches of zeros one byte of each line stands for all, and for
/// uses that take long, one of each line in the middle of a value.
fn is_dense(files: &Files, file: usize, at: usize, long: bool) -> bool {
    let bytes = &files.now[file];
    let around = &bytes[at.saturating_sub(64) & !63..((at & !63) + 128).min(bytes.len())];
    let empty = around.iter().all(|byte| *byte == 0);
    let inside = long && file == DATA && {
        let (before, behind) = (files.key_at(at.saturating_sub(192)), files.key_at(at + 64));
        before.is_some() && before == files.key_at(at) && behind == before
    };
    !(empty || inside) || at % 64 == 21
}

fn byte_cases(files: &Files, most: Option<usize>, rng: &mut Rng) -> Vec<Case> {
    let turn = rng.next();
    let mut cases = Vec::new();
    for mode in [Mode::Died, Mode::Rebuilt, Mode::Open, Mode::Glance] {
        for file in 0..4 {
            let senseless =
                mode == Mode::Rebuilt && file > DATA || mode == Mode::Glance && file == 0;
            if senseless {
                continue;
            }
            let dense = |at: &usize| is_dense(files, file, *at, mode != Mode::Glance);
            let mut places: Vec<usize> = (0..files.now[file].len()).filter(dense).collect();
            if let Some(most) = most {
                let most = if mode == Mode::Glance { 8 * most } else { most };
                places = (0..most.min(places.len())).map(|_| *rng.pick(&places)).collect();
            }
            for at in places {
                let was = files.now[file][at];
                let mut new: Vec<u8> = patterns(was, at, turn).collect();
                if most.is_some() {
                    new = vec![*rng.pick(&new)];
                }
                cases.extend(new.into_iter().map(|new| Case {
                    mode,
                    file,
                    harm: Harm::Byte { at, new },
                }));
            }
        }
    }
    cases
}

/// Words at the ends of what numbers there are: what is added to them, or taken away, goes beyond.
fn word_cases(files: &Files, most: Option<usize>, rng: &mut Rng) -> Vec<Case> {
    const ENDS: [u64; 4] = [u64::MAX, i64::MAX as u64, 1 << 63, u32::MAX as u64];
    let mut cases = Vec::new();
    for mode in [Mode::Died, Mode::Open] {
        for file in 1..4 {
            let words = (0..files.now[file].len()).step_by(8);
            // A word of each line that is known to be in use, and all words near the beginning.
            let mut places: Vec<usize> =
                words.filter(|at| is_dense(files, file, *at | 5, true) || *at < 0x800).collect();
            if let Some(most) = most {
                places = (0..most).map(|_| *rng.pick(&places)).collect();
            }
            let harm = |at, rng: &mut Rng| Harm::Word { at, new: *rng.pick(&ENDS) };
            cases.extend(places.iter().map(|at| Case { mode, file, harm: harm(*at, rng) }));
        }
    }
    cases
}

fn page_cases(files: &Files, most: Option<usize>, rng: &mut Rng) -> Vec<Case> {
    let mut cases = Vec::new();
    for file in 0..4 {
        let len = files.now[file].len();
        let pages = len / PAGE;
        let mut harms = Vec::new();
        for page in 0..pages {
            let other = rng.below(pages as u64) as usize;
            harms.push(Harm::Zeroed { page });
            harms.push(Harm::Stale { page });
            harms.extend(
                [(page + 1) % pages, other].map(|other| Harm::Swapped { one: page, other }),
            );
        }
        let lengths = (0..len).step_by(512).map(|to| Harm::Cut { to });
        let closed = lengths.chain((0..40).map(|i| Harm::Grown { by: 1 << (i % 17) | i }));
        let closed: Vec<Harm> = closed.collect();
        for mode in [Mode::Died, Mode::Rebuilt, Mode::Open] {
            if mode == Mode::Rebuilt && file > DATA {
                continue;
            }
            // A file that is cut while it is mapped ends its processes: that is known and documented.
            let mut all = harms.clone();
            if mode != Mode::Open {
                all.extend(&closed);
            }
            if let Some(most) = most {
                all = (0..most).map(|_| *rng.pick(&all)).collect();
            }
            cases.extend(all.into_iter().map(|harm| Case { mode, file, harm }));
        }
    }
    cases
}

fn check(what: &str, cases: &[Case], files: &Files) {
    println!("{what}: {} cases", cases.len());
    let tally = Tally(process::shared(Count::Last as usize));
    let begun = Instant::now();
    let mut failures = Vec::new();
    for mode in [Mode::Died, Mode::Rebuilt, Mode::Open, Mode::Glance] {
        let of_mode: Vec<Case> = cases.iter().filter(|case| case.mode == mode).copied().collect();
        let before = (tally.get(Count::Case), Instant::now());
        failures.extend(run(&of_mode, files, &tally));
        println!(
            "{what}, {mode:?}: {} cases in {:?}",
            tally.get(Count::Case) - before.0,
            before.1.elapsed()
        );
    }
    let [shut, right, refused, missing, older] =
        [Count::Shut, Count::Right, Count::Refused, Count::Missing, Count::Older]
            .map(|c| tally.get(c));
    println!(
        "{what}: {} cases in {:?}; {shut} did not open; bytes of current values: {refused} reported, {missing} \
         missing, {older} older, {right} without effect; after a rebuild {} missing and {} older, else {} older; \
         {} refused reads that the check did not see, {} slow",
        tally.get(Count::Case),
        begun.elapsed(),
        tally.get(Count::RebuiltMissing),
        tally.get(Count::RebuiltOlder),
        tally.get(Count::OtherOlder),
        tally.get(Count::Unseen),
        tally.get(Count::Slow),
    );
    assert!(failures.is_empty(), "{failures:#?}");
    // One in ten thousand may pass for something else.
    assert!((missing + older) * 10_000 <= refused, "{missing} missing, {older} older of {refused}");
    assert_eq!(tally.get(Count::Unseen), 0, "refused, and the check says nothing");
}

/// `None` = all.
fn asked(usual: usize) -> Option<usize> {
    let asked = std::env::var("HOLDFAST_DAMAGE").ok();
    let most = match asked.as_deref() {
        Some("all") => None,
        Some(number) => Some(number.parse().expect("HOLDFAST_DAMAGE is a number or `all`")),
        None => Some(usual),
    };
    println!("HOLDFAST_DAMAGE={}", most.map_or("all".into(), |most| most.to_string()));
    most
}

#[test]
fn a_byte_damaged_anywhere_is_reported_or_harmless() {
    let (mut rng, most) = (Rng::new(seed("every byte")), asked(25));
    let dir = memory_dir();
    let files = Files::new(dir.path());
    check("bytes", &byte_cases(&files, most, &mut rng), &files);
}

#[test]
fn a_word_at_the_end_of_its_numbers_overflows_nothing() {
    let (mut rng, most) = (Rng::new(seed("words")), asked(20));
    let dir = memory_dir();
    let files = Files::new(dir.path());
    check("words", &word_cases(&files, most, &mut rng), &files);
}

#[test]
fn pages_swapped_stale_or_zeroed_and_files_cut_or_grown_give_no_wrong_value() {
    let (mut rng, most) = (Rng::new(seed("pages")), asked(12));
    let dir = memory_dir();
    let files = Files::new(dir.path());
    check("pages", &page_cases(&files, most, &mut rng), &files);
}
