//! Check, backup, restore, repair: under load, on a full disk, with deaths on the way.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{
    Error, FileKind, Finding, Item, Options, RepairOptions, Repaired, Store, Stored, Ttl, Verified,
};
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{Mount, Rng, content, dir, memory_dir, open, seed, size, small};

const LONG: Duration = Duration::from_secs(60);

fn set(store: &Store, key: &[u8], value: &[u8], ttl: Ttl) -> u64 {
    match store.set(key, value, 5, ttl) {
        Ok(Stored::Done(version)) => version,
        other => panic!("set: {other:?}"),
    }
}

fn get(store: &Store, key: &[u8]) -> Option<(Vec<u8>, Item)> {
    let mut value = Vec::new();
    store.get(key, &mut value).unwrap_or_else(|e| panic!("get: {e}")).map(|item| (value, item))
}

fn verify(store: &Store) -> Verified {
    let report = store.verify(&mut |_, _| true).expect("verify");
    assert!(report.complete);
    report
}

fn healthy(store: &Store) -> Verified {
    let report = verify(store);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report
}

fn store_and_place() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = dir();
    let (store, copy) = (dir.path().join("store"), dir.path().join("copy"));
    std::fs::create_dir(&store).expect("mkdir");
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    (dir, store, copy)
}

/// Changes bytes of a file in place.
fn spoil(path: &Path, at: u64, change: impl FnOnce(&mut [u8; 8])) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("the file");
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).expect("inside the file");
    change(&mut bytes);
    file.write_all_at(&bytes, at).expect("written");
}

fn flip(path: &Path, at: u64) {
    spoil(path, at, |bytes| bytes[3] ^= 0x10);
}

/// Where these bytes are in a file; the last place, if there are several.
fn place_of(path: &Path, bytes: &[u8]) -> u64 {
    let all = std::fs::read(path).expect("the file");
    let mut found = None;
    let mut from = 0;
    while let Some(at) = all[from..].windows(bytes.len()).position(|w| w == bytes) {
        found = Some(from + at);
        from += at + 1;
    }
    found.expect("it is there") as u64
}

/// The first byte of the record of a key.
fn record_of(path: &Path, key: &[u8]) -> u64 {
    place_of(&path.join("data"), key) - 64
}

fn key(i: u32) -> Vec<u8> {
    format!("a key of its own, number {i:06}").into_bytes()
}

fn value(i: u32) -> Vec<u8> {
    content(i as u64, if i == 7 { 70_000 } else { 100 + i as usize * 7 })
}

fn filled(path: &Path, keys: u32) -> Store {
    let options = Options { max_bytes: Some(1 << 20), max_value_bytes: Some(100_000), ..small() };
    let store = open(path, &options);
    for i in 0..keys {
        set(&store, &key(i), &value(i), Ttl::Never);
    }
    store
}

fn whole_but(store: &Store, keys: u32, but: &[u32]) {
    for i in (0..keys).filter(|i| !but.contains(i)) {
        let found = get(store, &key(i)).unwrap_or_else(|| panic!("key {i} is gone"));
        assert!(found.0 == value(i) && found.1.flags == 5, "key {i} is another");
    }
}

const KEYS: u32 = 150;

#[test]
fn a_check_of_a_healthy_store_counts_it_and_finds_nothing() {
    let dir = memory_dir();
    let store = filled(dir.path(), KEYS);
    for i in 0..10 {
        set(&store, &key(i), &value(i), Ttl::Never);
        store.delete(&key(100 + i), None, None).expect("delete");
        set(&store, &key(1000 + i), b"fleeting", Ttl::Millis(1));
    }
    std::thread::sleep(Duration::from_millis(5));
    let report = healthy(&store);
    assert_eq!(report.live.count, KEYS as u64 - 10);
    assert_eq!((report.expired.count, report.tombstones.count, report.dead.count), (10, 10, 20));
    assert_eq!(report.records.count, KEYS as u64 + 30);
    assert_eq!((report.keys, report.keys_counted), (KEYS as u64, KEYS as u64));
    assert_eq!(report.live.bytes + report.expired.bytes, report.live_bytes_counted);
    assert!(report.reachability_checked);
    let mut calls = 0;
    let stopped = store.verify(&mut |_, _| {
        calls += 1;
        calls < 3
    });
    assert!(!stopped.expect("verify").complete);
}

/// Words of `meta` that tests damage (see arena.rs of the library).
const META_SEQ: u64 = 0x200;
const META_LANE_TAIL: u64 = 8;

#[test]
fn a_check_finds_each_damage_where_it_is() {
    type Plant = Box<dyn Fn(&Path)>;
    let data = |change: fn(&Path) -> u64| -> Plant {
        Box::new(move |path: &Path| flip(&path.join("data"), change(path)))
    };
    let cases: Vec<(&str, FileKind, Plant)> = vec![
        ("a value", FileKind::Data, data(|p| place_of(&p.join("data"), &value(20)[..40]))),
        ("a large value", FileKind::Data, data(|p| place_of(&p.join("data"), &value(7)[69_900..]))),
        ("a key", FileKind::Data, data(|p| record_of(p, &key(20)) + 64)),
        ("the first word of a record", FileKind::Data, data(|p| record_of(p, &key(20)))),
        ("a version", FileKind::Data, data(|p| record_of(p, &key(20)) + 8)),
        ("lengths", FileKind::Data, data(|p| record_of(p, &key(20)) + 16)),
        ("a hash", FileKind::Data, data(|p| record_of(p, &key(20)) + 24)),
        ("checksums", FileKind::Data, data(|p| record_of(p, &key(20)) + 32)),
        ("an expiry", FileKind::Data, data(|p| record_of(p, &key(20)) + 40)),
        ("flags", FileKind::Data, data(|p| record_of(p, &key(20)) + 48)),
        ("a segment's magic", FileKind::Data, data(|_| 0)),
        ("a segment's incarnation", FileKind::Data, data(|_| 8)),
        ("a segment's activation", FileKind::Data, data(|_| 24)),
        ("the first copy of super", FileKind::Super, Box::new(|p| flip(&p.join("super"), 0x40))),
        ("the second copy", FileKind::Super, Box::new(|p| flip(&p.join("super"), 0x1040))),
        ("a slot's place", FileKind::Index, Box::new(|p| spoil_slot(p, 24))),
        ("a slot's tag", FileKind::Index, Box::new(|p| spoil_slot(p, 55))),
        ("a slot's incarnation", FileKind::Index, Box::new(|p| spoil_slot(p, 4))),
        (
            "a slot emptied",
            FileKind::Data,
            Box::new(|p| {
                let (at, _) = some_slot(p);
                spoil(&p.join("index"), at, |bytes| *bytes = [0; 8]);
            }),
        ),
        (
            "the version counter",
            FileKind::Meta,
            Box::new(|p| {
                spoil(&p.join("meta"), META_SEQ, |bytes| *bytes = 5u64.to_le_bytes());
            }),
        ),
        (
            "a stripe's place",
            FileKind::Meta,
            Box::new(|p| {
                spoil(&p.join("meta"), stripe_at() + 8, |bytes| *bytes = [0xff; 8]);
            }),
        ),
        (
            "a lane's tail",
            FileKind::Meta,
            Box::new(|p| {
                let at = stripe_at() + 256 * 64 + META_LANE_TAIL;
                spoil(&p.join("meta"), at, |bytes| bytes[0] ^= 4);
            }),
        ),
    ];
    for (name, file, plant) in cases {
        let dir = memory_dir();
        let store = filled(dir.path(), KEYS);
        store.delete(&key(3), None, None).expect("delete");
        healthy(&store);
        plant(dir.path());
        let report = verify(&store);
        let found = |f: &Finding| f.file == file && !f.what.is_empty() && !f.remedy.is_empty();
        assert!(report.findings.iter().any(found), "{name}: {:#?}", report.findings);
        assert!(report.findings_total < 40, "{name}: {}", report.findings_total);
        // Whoever closes it would write through the damage.
        std::mem::forget(store);
    }
}

/// Where the stripes begin in `meta` of a store made by `filled`.
fn stripe_at() -> u64 {
    0x1000 + 512 * 256
}

/// A slot that is in use.
fn some_slot(path: &Path) -> (u64, u64) {
    let index = std::fs::read(path.join("index")).expect("index");
    let words = index.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("8")));
    let used: Vec<(u64, u64)> =
        words.enumerate().filter(|(_, w)| *w > 1).map(|(i, w)| (i as u64 * 8, w)).collect();
    used[used.len() / 2]
}

fn spoil_slot(path: &Path, bit: u32) {
    let (at, word) = some_slot(path);
    spoil(&path.join("index"), at, |bytes| *bytes = (word ^ 1 << bit).to_le_bytes());
}

struct Worker(Child);

impl Worker {
    fn spawn(path: &Path, number: u64, life: u64, reader: &str) -> Worker {
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast-worker"))
            .arg(if number < 3 { "writer" } else { reader })
            .arg(path)
            .args([number.to_string(), life.to_string()])
            .stdout(Stdio::null())
            .spawn();
        Worker(child.expect("a worker"))
    }

    /// Killed while it works: one that ended by itself had found something wrong, and has said what.
    fn kill(mut self) {
        let ended = self.0.try_wait().expect("looked at");
        assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_check_beside_writers_that_are_killed_finds_nothing() {
    let mut rng = Rng::new(seed("check under load"));
    let seconds = size("HOLDFAST_CARE_SECONDS", 6);
    // So small that it is swept all the time; so large that it never is; and one that evicts.
    for (max_bytes, evict) in [(24 << 20, false), (256 << 20, false), (9 << 20, true)] {
        let dir = dir();
        let options = Options { max_bytes: Some(max_bytes), evict: Some(evict), ..small() };
        let store = open(dir.path(), &options);
        let reader = if evict { "cache-reader" } else { "reader" };
        let mut workers: Vec<Worker> =
            (0..4).map(|n| Worker::spawn(dir.path(), n, 1, reader)).collect();
        let (begun, mut checks, mut kills, mut records) = (Instant::now(), 0, 0, 0);
        let mut unreached = 0;
        while checks < 9 || begun.elapsed() < Duration::from_secs(seconds) {
            if checks % 3 == 2 {
                let which = rng.below(4);
                kills += 1;
                // First: two lives at once would write to the same keys.
                workers.remove(which as usize).kill();
                let next = Worker::spawn(dir.path(), which, 1 + kills, reader);
                workers.insert(which as usize, next);
            }
            let report = healthy(&store);
            (checks, records) = (checks + 1, records + report.records.count);
            unreached += !report.reachability_checked as u64;
        }
        workers.into_iter().for_each(Worker::kill);
        let last = healthy(&store);
        println!(
            "{max_bytes} bytes: {checks} checks of {records} records, {kills} kills, {unreached} \
             without the last pass"
        );
        assert!(last.reachability_checked && records > 1000);
        assert!(kills > 1 && checks > unreached);
    }
}

/// What the writers of the backup tests have acknowledged (even) and begun (odd), per writer.
struct Pairs {
    begun: &'static [AtomicU64],
    done: &'static [AtomicU64],
    children: Vec<Pid>,
}

const PAIRS: u64 = 3;

impl Pairs {
    /// Writers that write one number after the other to several keys, in an order that a consistent
    /// copy shows.
    fn start(path: &Path, options: &Options, value_len: usize) -> Pairs {
        let (begun, done) = (process::shared(PAIRS as usize), process::shared(PAIRS as usize));
        let children = (0..PAIRS)
            .map(|w| {
                process::fork(|| {
                    let store = open(path, options);
                    for i in 1u64.. {
                        begun[w as usize].store(i, Ordering::SeqCst);
                        write_pair(&store, w, i, value_len);
                        done[w as usize].store(i, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Pairs { begun, done, children }
    }

    fn stop(self) {
        for child in &self.children {
            child.signal(libc::SIGKILL);
        }
        for child in &self.children {
            assert_eq!(child.wait(LONG), Ended::Signal(libc::SIGKILL), "a writer failed");
        }
    }

    fn read(words: &[AtomicU64]) -> Vec<u64> {
        words.iter().map(|w| w.load(Ordering::SeqCst)).collect()
    }
}

fn pair_key(writer: u64, name: &str) -> Vec<u8> {
    format!("writer {writer} {name}").into_bytes()
}

fn numbered(i: u64, len: usize) -> Vec<u8> {
    [&i.to_le_bytes()[..], &content(i, len)].concat()
}

/// Sets "new i", "first", "second", deletes "new i", sets "third". Retries when the store is full.
fn write_pair(store: &Store, w: u64, i: u64, len: usize) {
    let put = |key: &[u8], len: usize| loop {
        match store.set(key, &numbered(i, len), 5, Ttl::Never) {
            Ok(_) => return,
            Err(Error::Full(_)) => std::thread::sleep(Duration::from_millis(1)),
            Err(e) => panic!("{e}"),
        }
    };
    put(&pair_key(w, &format!("new {i}")), len);
    put(&pair_key(w, "first"), len);
    put(&pair_key(w, "second"), len / 3);
    assert!(matches!(
        store.delete(&pair_key(w, &format!("new {i}")), None, None),
        Ok(Stored::Done(_))
    ));
    put(&pair_key(w, "third"), 20);
}

/// Is this what the writers had made at one moment between those two?
fn is_one_moment(copy: &Store, before: &[u64], after: &[u64], len: usize) {
    for w in 0..PAIRS {
        let counted = |name: &str, len: usize| {
            let Some((value, _)) = get(copy, &pair_key(w, name)) else { return 0 };
            let i = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
            assert!(value == numbered(i, len), "writer {w}: {name} is not whole");
            i
        };
        let first = counted("first", len);
        let (second, third) = (counted("second", len / 3), counted("third", 20));
        let says = format!("writer {w}: {first} {second} {third}, {before:?} to {after:?}");
        assert!(first == second || first == second + 1, "{says}");
        assert!(second == third || second == third + 1, "{says}");
        assert!(third >= before[w as usize] && first <= after[w as usize], "{says}");
        for i in third.saturating_sub(20)..first + 3 {
            let there = counted(&format!("new {i}"), len) != 0;
            let must = i == first && second < i;
            let may = must || i == third + 1;
            assert!(!must || there, "{says}: new {i} is missing");
            assert!(may || !there, "{says}: new {i} is there");
        }
    }
}

#[test]
fn a_backup_beside_writers_is_the_store_at_one_moment() {
    let turns = size("HOLDFAST_BACKUPS", 6);
    let (_dir, path, place) = store_and_place();
    let options = Options { max_bytes: Some(64 << 20), ..small() };
    let store = open(&path, &options);
    let ttls = [Ttl::Never, Ttl::Millis(3_600_000), Ttl::Millis(999_999_999)];
    let put = |i: u32| {
        let len = if i.is_multiple_of(50) { 300_000 } else { 50 + i as usize * 9 };
        store.set(&key(i), &content(i as u64, len), i, ttls[i as usize % 3]).expect("set");
        if i.is_multiple_of(7) {
            store.delete(&key(i), None, None).expect("delete");
        }
    };
    (0..300).for_each(put);
    let seen = |store: &Store| (0..300).map(|i| get(store, &key(i))).collect::<Vec<_>>();
    let pairs = Pairs::start(&path, &options, 4_000);
    let mut restarts = 0;
    for turn in 0..turns {
        let copy = place.with_extension(turn.to_string());
        (0..300).step_by(50).for_each(put);
        let was = seen(&store);
        let before = Pairs::read(pairs.done);
        let made = store.backup(&copy, turn % 2 == 0, &mut |_, _| true).expect("backup");
        let after = Pairs::read(pairs.begun);
        assert!(made.complete && made.damaged == 0 && made.verified == (turn % 2 == 0));
        restarts += made.restarts;
        let from = match turn % 3 {
            0 => {
                let restored = copy.with_extension("restored");
                let done = Store::restore(&copy, &restored, &mut |_, _| true).expect("restore");
                assert_eq!((done.complete, done.version), (true, made.version));
                restored
            }
            _ => copy.clone(),
        };
        let opened = open(&from, &Options::default());
        is_one_moment(&opened, &before, &after, 4_000);
        assert!(seen(&opened) == was, "values, flags, lifetimes and versions are as they were");
        let report = healthy(&opened);
        assert!(report.records.count > 260, "{report:?}");
        // It is a store like any other, and gives out no number of the old one's.
        let version = set(&opened, b"more", b"v", Ttl::Never);
        assert!(version > made.version + (1 << 48));
        drop(opened);
        for done in [copy.clone(), from] {
            let _ = std::fs::remove_dir_all(done);
        }
        healthy(&store);
    }
    let done = Pairs::read(pairs.done);
    pairs.stop();
    println!("{turns} backups beside {done:?} turns of the writers, {restarts} begun anew");
    assert!(done.iter().all(|n| *n > 20));
}

#[test]
fn a_backup_of_a_full_store_gives_way_to_writers_and_is_consistent_when_it_succeeds() {
    let (_dir, path, place) = store_and_place();
    let options = Options { max_bytes: Some(16 << 20), ..small() };
    let store = open(&path, &options);
    let mut filler = 0u32;
    while store.stats().expect("stats").segments_free > 14 {
        set(&store, &key(filler), &content(filler as u64, 6_000), Ttl::Never);
        filler += 1;
    }
    let pairs = Pairs::start(&path, &options, 9_000);
    let (mut made, mut refused, mut restarts) = (0, 0, 0);
    for turn in 0..size("HOLDFAST_BACKUPS", 6) {
        let copy = place.with_extension(turn.to_string());
        let before = Pairs::read(pairs.done);
        // Slower at times than writers can wait.
        let slow = if turn % 3 == 0 { 20 } else { 0 };
        let done = store.backup(&copy, false, &mut |_, _| {
            std::thread::sleep(Duration::from_millis(slow));
            true
        });
        match done {
            Ok(done) => {
                let after = Pairs::read(pairs.begun);
                (made, restarts) = (made + 1, restarts + done.restarts);
                let opened = open(&copy, &Options::default());
                is_one_moment(&opened, &before, &after, 9_000);
                (0..filler).for_each(|i| assert!(get(&opened, &key(i)).is_some(), "filler {i}"));
                healthy(&opened);
            }
            Err(e @ Error::Full(_)) => {
                refused += 1;
                assert!(e.to_string().contains("writers needed the room"), "{e}");
                assert!(!copy.exists(), "nothing is left of it");
            }
            Err(e) => panic!("{e}"),
        }
        let _ = std::fs::remove_dir_all(&copy);
    }
    let done = Pairs::read(pairs.done);
    pairs.stop();
    healthy(&store);
    println!("{made} made, {refused} refused, {restarts} begun anew, beside {done:?} turns");
    assert!(made > 0 && done.iter().all(|n| *n > 20));
}

#[test]
fn a_backup_goes_nowhere_but_to_an_empty_or_new_directory() {
    let (_dir, path, place) = store_and_place();
    let store = filled(&path, 5);
    let backup = |to: &Path| store.backup(to, true, &mut |_, _| true);
    let refused = |to: &Path, words: &str| {
        let text = backup(to).expect_err("refused").to_string();
        assert!(text.contains(words), "{text}");
    };
    refused(&path, "inside the directory");
    refused(&path.join("below"), "inside the directory");
    refused(&path.join("below/../further"), "inside the directory");
    let link = place.with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link.join("below"), "inside the directory");
    refused(&place.join("no/parent"), "No such file");
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&place, "chmod 0700");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(place.join("mine"), b"precious").unwrap();
    refused(&place, "is not empty");
    assert_eq!(std::fs::read(place.join("mine")).unwrap(), b"precious");
    std::fs::remove_file(place.join("mine")).unwrap();
    assert!(backup(&place).unwrap().complete);
    refused(&place, "is not empty");
    // Ended by the caller: nothing is left.
    let other = place.with_extension("other");
    let stopped = store.backup(&other, false, &mut |_, _| false).unwrap();
    assert!(!stopped.complete && !other.exists());
    assert_eq!(std::fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
    // And a store is restored over nothing.
    let text = Store::restore(&place, &path, &mut |_, _| true).expect_err("a store").to_string();
    assert!(text.contains("is not empty"), "{text}");
    let text = Store::restore(&path, &other, &mut |_, _| true).expect_err("no backup").to_string();
    assert!(text.contains("cp -a") && !other.exists(), "{text}");
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let (_dir, path, place) = store_and_place();
    let store = filled(&path, KEYS);
    store.backup(&place, true, &mut |_, _| true).unwrap();
    let to = place.with_extension("restored");
    let names = ["data", "backup"];
    for name in names {
        let bytes = std::fs::read(place.join(name)).unwrap();
        for turn in 0..20u64 {
            flip(&place.join(name), (bytes.len() as u64 / 20 * turn) & !7);
            let file = std::fs::File::options().write(true).open(place.join(name)).unwrap();
            let done = Store::restore(&place, &to, &mut |_, _| true);
            let changed = std::fs::read(place.join(name)).unwrap() != bytes;
            let hole = name == "data" && done.is_ok();
            assert!(
                changed && (hole || matches!(done, Err(Error::Damaged(_)))),
                "{name}: {done:?}"
            );
            if hole {
                // Where nothing was, nothing is read.
                whole_but(&open(&to, &Options::default()), KEYS, &[]);
                std::fs::remove_dir_all(&to).unwrap();
            }
            assert!(!to.exists());
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
    for name in ["data", "backup", "super"] {
        let bytes = std::fs::read(place.join(name)).unwrap();
        std::fs::remove_file(place.join(name)).unwrap();
        assert!(Store::restore(&place, &to, &mut |_, _| true).is_err() && !to.exists());
        std::fs::write(place.join(name), bytes).unwrap();
        std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(Store::restore(&place, &to, &mut |_, _| true).unwrap().complete);
    whole_but(&open(&to, &Options::default()), KEYS, &[]);
}

#[test]
fn a_full_disk_ends_a_backup_and_leaves_nothing_of_it() {
    let Some(mount) = Mount::new(120) else { return };
    let dir = dir();
    let store = filled(dir.path(), KEYS);
    let to = mount.path().join("copy");
    let error = store.backup(&to, false, &mut |_, _| true).expect_err("too small");
    assert!(matches!(error, Error::NoSpace(_)), "{error}");
    assert!(error.to_string().contains(&to.display().to_string()) && !to.exists(), "{error}");
    mount.remount("size=20000k");
    assert!(store.backup(&to, true, &mut |_, _| true).unwrap().verified);
    whole_but(&open(&to, &Options { force_filesystem: true, ..Options::default() }), KEYS, &[]);
}

#[test]
fn a_record_that_is_damaged_is_not_in_a_backup_nor_is_an_older_one_in_its_place() {
    for large in [false, true] {
        let (_dir, path, place) = store_and_place();
        let store = filled(&path, KEYS);
        let newer = content(999, if large { 80_000 } else { 500 });
        set(&store, &key(20), &newer, Ttl::Never);
        flip(&path.join("data"), place_of(&path.join("data"), &newer[400..460]));
        let made = store.backup(&place, true, &mut |_, _| true).unwrap();
        assert_eq!(made.damaged, 1);
        let copy = open(&place, &Options::default());
        assert!(get(&copy, &key(20)).is_none());
        whole_but(&copy, KEYS, &[20]);
        healthy(&copy);
    }
}

#[test]
fn what_can_be_given_back_is_told_exactly_or_roughly() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    for i in 0..2000u32 {
        set(&store, &key(i), &content(i as u64, 1_900), Ttl::Never);
    }
    for i in 0..1000u32 {
        set(&store, &key(i), &content(i as u64, 10), Ttl::Millis(if i < 300 { 1 } else { 99_999 }));
    }
    std::thread::sleep(Duration::from_millis(5));
    let (exact, quick) = (store.reclaimable(true).unwrap(), store.reclaimable(false).unwrap());
    assert!(exact.exact && !quick.exact);
    assert_eq!((exact.live.count, exact.expired.count, exact.dead.count), (1700, 300, 1000));
    assert_eq!(quick.live.bytes, exact.live.bytes + exact.expired.bytes);
    let segments = exact.segments_used + exact.segments_free;
    assert_eq!(segments, store.stats().unwrap().segments);
    assert_eq!(exact.by_share.iter().sum::<u64>(), exact.segments_used);
    let dead = exact.dead.bytes + exact.expired.bytes;
    for found in [exact, quick] {
        assert!(found.bytes.abs_diff(dead) < 6 * found.segment_bytes, "{found:?}");
    }
}

fn repair(path: &Path, dry_run: bool) -> Repaired {
    let options = RepairOptions { dry_run, ..RepairOptions::default() };
    let report = Store::repair(path, &options, &mut |_, _| true).expect("repair");
    assert!(report.complete);
    report
}

fn files(path: &Path) -> Vec<Vec<u8>> {
    ["super", "data"].iter().map(|name| std::fs::read(path.join(name)).expect("a file")).collect()
}

/// One thing to damage, in the files of a store that nobody has open.
struct Harm {
    name: &'static str,
    plant: Box<dyn Fn(&Path)>,
    /// Keys whose value is lost with it.
    lost: &'static [u32],
    /// Nothing tells of it once index and meta are gone.
    derived: bool,
}

fn harms() -> Vec<Harm> {
    let data = |name, lost, at: fn(&Path) -> u64| Harm {
        name,
        plant: Box::new(move |path: &Path| flip(&path.join("data"), at(path))),
        lost,
        derived: false,
    };
    let other =
        |name, plant: fn(&Path)| Harm { name, plant: Box::new(plant), lost: &[], derived: false };
    let derived = |name, plant| Harm { derived: true, ..other(name, plant) };
    vec![
        data("a value", &[20], |p| place_of(&p.join("data"), &value(20)[..40])),
        data("a large value", &[7], |p| place_of(&p.join("data"), &value(7)[69_900..])),
        data("a key", &[20], |p| record_of(p, &key(20)) + 64),
        data("the length of a record", &[20], |p| record_of(p, &key(20))),
        data("the salt of a record", &[20], |p| record_of(p, &key(20)) + 4),
        data("a version", &[20], |p| record_of(p, &key(20)) + 8),
        data("a hash", &[20], |p| record_of(p, &key(20)) + 24),
        data("an expiry", &[20], |p| record_of(p, &key(20)) + 40),
        data("flags", &[20], |p| record_of(p, &key(20)) + 48),
        data("the last record", &[149], |p| record_of(p, &key(149)) + 48),
        data("a segment's magic", &[], |p| segment_of(p, 20)),
        data("a segment's incarnation", &[], |p| segment_of(p, 20) + 8),
        data("a segment's salt", &[], |p| segment_of(p, 20) + 16),
        data("a segment's activation", &[], |p| segment_of(p, 20) + 24),
        data("the magic of a run", &[], |p| segment_of(p, 7)),
        data("the salt of a run", &[], |p| segment_of(p, 7) + 16),
        data("the length of a run", &[], |p| segment_of(p, 7) + 32),
        data("the header of a part of a run", &[], |p| segment_of(p, 7) + 65_536 + 16),
        other("all of a segment's header", |p| {
            for word in 0..8 {
                spoil(&p.join("data"), segment_of(p, 20) + word * 8, |b| *b = [0x5a; 8]);
            }
        }),
        other("the first copy of super", |p| flip(&p.join("super"), 0x48)),
        other("the second copy of super", |p| flip(&p.join("super"), 0x1048)),
        derived("a slot", |p| spoil_slot(p, 24)),
        derived("the version counter", |p| spoil(&p.join("meta"), META_SEQ, |b| *b = [0; 8])),
        derived("a stripe", |p| spoil(&p.join("meta"), stripe_at() + 8, |b| *b = [0xff; 8])),
    ]
}

fn segment_of(path: &Path, i: u32) -> u64 {
    record_of(path, &key(i)) & !65_535
}

#[test]
fn repair_mends_what_can_be_mended_and_leaves_the_rest_alone() {
    for harm in harms() {
        for log_only in [false, true] {
            let at = format!("{}, log alone: {log_only}", harm.name);
            let dir = memory_dir();
            let path = dir.path();
            let store = open(
                path,
                &Options { max_bytes: Some(1 << 20), max_value_bytes: Some(100_000), ..small() },
            );
            // An older value of a key that is going to be lost.
            for i in harm.lost {
                set(&store, &key(*i), b"older", Ttl::Never);
            }
            drop(store);
            let store = filled(path, KEYS);
            store.delete(&key(100), None, None).expect("delete");
            drop(store);
            let before = files(path);
            assert_eq!(repair(path, false), healthy_repair(), "{at}: nothing to do");
            assert!(files(path) == before, "{at}");
            (harm.plant)(path);
            if log_only {
                std::fs::remove_file(path.join("meta")).unwrap();
            }
            let damaged = files(path);
            let would = repair(path, true);
            assert!(files(path) == damaged, "{at}: a dry run changes nothing");
            let did = repair(path, false);
            let mut same = did.clone();
            same.dropped_file = None;
            assert_eq!(same, would, "{at}");
            // What is derived may be made anew without a word.
            assert!(!did.findings.is_empty() || (harm.derived && did.rebuilt), "{at}");
            assert_eq!(did.pieces_dropped, harm.lost.len() as u64, "{at}: {did:#?}");
            assert_eq!(did.dropped_file.is_some(), did.pieces_dropped > 0, "{at}");
            if let Some(file) = &did.dropped_file {
                check_side_file(file, &damaged[1], &did);
            }
            assert!(did.rebuilt || did.super_rewritten, "{at}");
            let store = open(path, &Options::default());
            let but: Vec<u32> = harm.lost.iter().copied().chain([100]).collect();
            whole_but(&store, KEYS, &but);
            assert!(get(&store, &key(100)).is_none(), "{at}: what was deleted came back");
            for lost in harm.lost {
                let now = get(&store, &key(*lost)).map(|(value, _)| value);
                // With the index it is known that the key had a newer value, if its name is.
                let hidden = !log_only && did.keys_deleted > 0;
                assert!(!hidden || now.is_none(), "{at}: an older value came back");
                assert!(now.is_none() || now.as_deref() == Some(b"older"), "{at}");
            }
            healthy(&store);
            let version = set(&store, b"next", b"v", Ttl::Never);
            assert!(version > 0, "{at}");
            drop(store);
            assert_eq!(repair(path, false), healthy_repair(), "{at}: twice");
        }
    }
}

/// What a repair of a store says in which nothing is wrong.
fn healthy_repair() -> Repaired {
    let dir = memory_dir();
    drop(filled(dir.path(), 1));
    repair(dir.path(), false)
}

/// The side file has every dropped piece as it was.
fn check_side_file(file: &Path, data: &[u8], did: &Repaired) {
    let bytes = std::fs::read(file).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    assert_eq!(&bytes[..8], b"HFdrop\x01\0");
    let (mut at, mut len) = (32, 0);
    for _ in 0..word(24) {
        let (place, size) = (word(at), word(at + 8));
        assert!(bytes[at + 24..at + 24 + size] == data[place..place + size]);
        (at, len) = (at + 24 + size, len + size);
    }
    assert_eq!(
        (at, len as u64, word(24) as u64),
        (bytes.len(), did.bytes_dropped, did.pieces_dropped)
    );
    assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn repair_hides_the_older_value_of_a_key_whose_newer_one_is_lost() {
    for place in [13, 40, 48, 200] {
        let dir = memory_dir();
        let store = filled(dir.path(), KEYS);
        set(&store, &key(20), &content(77, 900), Ttl::Never);
        drop(store);
        flip(&dir.path().join("data"), record_of(dir.path(), &key(20)) + place);
        let did = repair(dir.path(), false);
        let store = open(dir.path(), &Options::default());
        // A damaged length of the key: nobody knows whose record it was.
        assert_eq!(did.keys_deleted, (place != 13) as u64, "{place}: {did:#?}");
        assert_eq!(get(&store, &key(20)).is_none(), place != 13, "{place}");
        whole_but(&store, KEYS, &[20]);
    }
}

#[test]
fn what_was_deleted_stays_deleted_when_headers_are_mended() {
    let mut rng = Rng::new(seed("ghosts"));
    for turn in 0..size("HOLDFAST_GHOSTS", 12) {
        let dir = memory_dir();
        let path = dir.path();
        let store = filled(path, 40);
        for i in 0..3_000u32 {
            let key = format!("ghost {}", rng.below(60)).into_bytes();
            match rng.one_in(3) {
                true => drop(store.delete(&key, None, None).expect("delete")),
                false => drop(set(&store, &key, &content(i as u64, 700), Ttl::Never)),
            }
        }
        let ghosts = |store: &Store| {
            let key = |i: u64| format!("ghost {i}").into_bytes();
            (0..60).map(|i| get(store, &key(i))).collect::<Vec<_>>()
        };
        let before = ghosts(&store);
        drop(store);
        let segments = std::fs::metadata(path.join("data")).unwrap().len() / 65_536;
        let (mut harmed, word) = (0, turn % 4);
        for segment in 0..segments {
            let mut head = [0; 8];
            let file = std::fs::File::open(path.join("data")).unwrap();
            file.read_exact_at(&mut head, segment * 65_536).unwrap();
            // One that was given back has no magic, and stays as it is.
            if head != [0; 8] {
                harmed += 1;
                flip(&path.join("data"), segment * 65_536 + word * 8);
            }
        }
        if turn % 8 < 4 {
            std::fs::remove_file(path.join("index")).unwrap();
        }
        let did = repair(path, false);
        assert_eq!(did.pieces_dropped, 0, "{did:#?}");
        let store = open(path, &Options::default());
        assert!(ghosts(&store) == before, "turn {turn}: {harmed} headers, {did:#?}");
        whole_but(&store, 40, &[]);
        healthy(&store);
    }
}

#[test]
fn repair_wants_the_store_for_itself_and_says_who_has_it() {
    let dir = memory_dir();
    let store = filled(dir.path(), 5);
    let refused = || {
        let options = RepairOptions::default();
        let done = Store::repair(dir.path(), &options, &mut |_, _| true);
        done.expect_err("somebody has it open").to_string()
    };
    let (mut from, to) = process::pipe();
    let child = process::fork(|| {
        get(&store, &key(1));
        process::write_raw(std::os::fd::AsRawFd::as_raw_fd(&to), b"x");
        std::thread::sleep(LONG);
    });
    std::io::Read::read_exact(&mut from, &mut [0]).unwrap();
    let text = refused();
    let me = std::process::id();
    assert!(text.contains(&child.0.to_string()) && text.contains(&me.to_string()), "{text}");
    drop(store);
    assert!(refused().contains(&format!("process {};", child.0)));
    child.signal(libc::SIGKILL);
    assert_eq!(child.wait(LONG), Ended::Signal(libc::SIGKILL));
    assert!(repair(dir.path(), false).findings.is_empty());
    let nowhere = dir.path().join("nowhere");
    let error = Store::repair(&nowhere, &RepairOptions::default(), &mut |_, _| true);
    assert!(matches!(error, Err(Error::NoStore { .. })), "{error:?}");
}

/// Runs `work` in a child that dies before its n-th store or change of a directory; false: it ended.
#[cfg(feature = "faults")]
fn dies(n: u64, work: impl FnOnce()) -> bool {
    let child = process::fork(|| {
        holdfast::fault::arm(n);
        work();
        holdfast::fault::arm(u64::MAX);
    });
    match child.wait(LONG) {
        Ended::Signal(libc::SIGKILL) => true,
        Ended::Exit(0) => false,
        other => panic!("n = {n}: {other:?}"),
    }
}

#[cfg(feature = "faults")]
#[test]
fn a_backup_can_die_at_each_step_and_holds_nobody_up() {
    let (_dir, path, place) = store_and_place();
    let store = filled(&path, KEYS);
    let (mut n, mut died, mut complete) = (0, true, 0);
    while died {
        n += 1;
        died = dies(n, || {
            get(&store, &key(1));
            let made = store.backup(&place, true, &mut |_, _| true).expect("backup");
            assert!(made.verified);
        });
        let create = place.join("data").exists();
        match Store::open(&place, &Options { create, ..Options::default() }) {
            Ok(copy) => {
                complete += 1;
                whole_but(&copy, KEYS, &[]);
                healthy(&copy);
            }
            // Not even an empty store is made of what a death left.
            Err(e) => assert!(!place.join("super").exists(), "n = {n}: {e}"),
        }
        let begun = place.join("data").exists() && !place.join("super").exists();
        let restored = place.with_extension("restored");
        let whole = Store::restore(&place, &restored, &mut |_, _| true).is_ok();
        assert!(!begun || !whole, "n = {n}: a copy without super was restored");
        for done in [&place, &restored] {
            let _ = std::fs::remove_dir_all(done);
        }
        // Its hold on the log died with it: all of the space comes round.
        for i in 0..60u32 {
            set(&store, &key(i % 3), &content(i as u64, 15_000), Ttl::Never);
        }
        for i in 0..3 {
            set(&store, &key(i), &value(i), Ttl::Never);
        }
    }
    healthy(&store);
    println!("backup: {n} steps, {complete} complete");
    assert!(n > 10 && (1..n).contains(&complete));
}

#[cfg(feature = "faults")]
#[test]
fn a_repair_can_die_at_each_step_and_is_run_again() {
    for log_only in [false, true] {
        let mut rng = Rng::new(seed("repair"));
        let (mut n, mut died, mut turns) = (0, true, 0);
        while died {
            n += if n > 60 { 1 + rng.below(400) } else { 1 };
            turns += 1;
            let dir = memory_dir();
            let path = dir.path();
            let store = filled(path, KEYS);
            set(&store, &key(20), &content(77, 900), Ttl::Never);
            drop(store);
            flip(&path.join("data"), record_of(path, &key(20)) + 200);
            flip(&path.join("data"), record_of(path, &key(30)) + 48);
            flip(&path.join("data"), segment_of(path, 40) + 16);
            flip(&path.join("super"), 0x48);
            spoil(&path.join("meta"), META_SEQ, |bytes| *bytes = [0; 8]);
            if log_only {
                std::fs::remove_file(path.join("meta")).unwrap();
            }
            died = dies(n, || drop(repair(path, false)));
            repair(path, false);
            let store = open(path, &Options::default());
            whole_but(&store, KEYS, &[20, 30]);
            assert!(get(&store, &key(30)).is_none());
            let older = get(&store, &key(20)).map(|(older, _)| older);
            let may = log_only && older.as_deref() == Some(&value(20));
            assert!(older.is_none() || may, "n = {n}: an older value came back");
            healthy(&store);
            drop(store);
            assert!(repair(path, false).findings.is_empty());
        }
        println!("repair, log alone {log_only}: {n} steps, {turns} deaths");
        assert!(n > 50);
    }
}

#[test]
fn an_owner_that_was_ended_does_not_come_back_with_a_repair_or_a_backup() {
    for (log_only, backup) in [(false, false), (true, false), (false, true)] {
        let (_dir, path, place) = store_and_place();
        let store = filled(&path, 20);
        let long_name = "a key so long that it does not fit into the small room ".repeat(12);
        for key in [b"session 1".as_slice(), long_name.as_bytes()] {
            set(&store, key, b"of the owner", Ttl::Never);
            let tied = store.set_owner(key, b"user:anna", None);
            assert!(matches!(tied, Ok(Stored::Done(_))), "{tied:?}");
        }
        set(&store, b"session 2", b"of another", Ttl::Never);
        store.set_owner(b"session 2", b"user:bea", None).expect("tied");
        assert!(store.end_owner(b"user:anna").expect("ended"));
        let there = |store: &Store, key: &[u8]| get(store, key).is_some();
        assert!(!there(&store, b"session 1") && there(&store, b"session 2"));
        healthy(&store);
        // The newest record of the owner, and one of its values.
        flip(&path.join("data"), record_of(&path, b"user:anna") + 48);
        if !log_only {
            let at = record_of(&path, long_name.as_bytes()) + 64 + long_name.len() as u64;
            flip(&path.join("data"), at + 16);
        }
        let from = if backup {
            let made = store.backup(&place, true, &mut |_, _| true).expect("backup");
            assert!(made.complete);
            place
        } else {
            drop(store);
            if log_only {
                std::fs::remove_file(path.join("index")).unwrap();
            }
            assert!(repair(&path, false).pieces_dropped >= 1);
            path
        };
        let store = open(&from, &Options::default());
        let now = ["session 1", &long_name].map(|key| there(&store, key.as_bytes()));
        assert_eq!(now, [false, false], "log only {log_only}, backup {backup}");
        assert!(there(&store, b"session 2"));
        whole_but(&store, 20, &[]);
        set(&store, b"session 1", b"new", Ttl::Never);
        store.set_owner(b"session 1", b"user:anna", None).expect("tied");
        assert!(there(&store, b"session 1"), "a new login lives");
        healthy(&store);
    }
}

#[test]
fn a_lost_value_that_had_expired_hides_what_it_hid() {
    let dir = memory_dir();
    let store = filled(dir.path(), 20);
    set(&store, &key(3), &content(88, 700), Ttl::Millis(1));
    std::thread::sleep(Duration::from_millis(5));
    drop(store);
    flip(&dir.path().join("data"), record_of(dir.path(), &key(3)) + 300);
    assert_eq!(repair(dir.path(), false).keys_deleted, 1);
    let store = open(dir.path(), &Options::default());
    assert!(get(&store, &key(3)).is_none(), "the value before came back");
    whole_but(&store, 20, &[3]);
}
