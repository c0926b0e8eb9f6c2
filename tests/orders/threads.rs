//! Many threads of one process on one store, at everything it can do, for the thread sanitizer.
//!
//! `threads.py` builds it with the sanitizer and counts the reports; it runs without one too. It
//! checks values all the while: whoever is alone with a key must find what he wrote, what several
//! write is whole and of its key, and sums are exact.
//!
//!     holdfast-threads SECONDS THREADS     everything
//!     holdfast-threads race                a data race on purpose: is the sanitizer there?
//!
//! What it would catch: something of the library's own memory that two threads touch without order,
//! and, at the speed of the machine, wrong answers. What it cannot show: orders between words of the
//! mapping, which are atomics, so that no access to them is a race (for that the explorers); what
//! the processor here never does; several processes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use holdfast::{
    Acquired, BatchItem, ConfigChange, Counted, Error, Options, Result, Scan, Store, Stored, Sync,
    Ttl, Update, Wait, Write,
};

#[allow(dead_code, reason = "others use the rest of it")]
#[path = "../support/random.rs"]
mod random;
use random::Rng;

const OWN_KEYS: u64 = 40;
const STAYING_KEYS: u64 = 200;
const LONGEST: u64 = 3000;

/// What all threads know.
struct Play {
    path: PathBuf,
    over: AtomicBool,
    operations: AtomicU64,
    /// What was added to the number without a lock, and under one.
    added: AtomicU64,
    counted: AtomicU64,
}

impl Play {
    fn goes_on(&self) -> bool {
        self.operations.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }
}

fn options() -> Options {
    Options {
        create: true,
        max_bytes: Some(32 << 20),
        sync: Some(Sync::Periodic),
        sync_interval: Some(Duration::from_millis(20)),
        operation_timeout: Duration::from_secs(60),
        ..Options::default()
    }
}

/// A value that says whose it is and which; its length follows from that.
fn value(key: &str, number: u64) -> Vec<u8> {
    let head = format!("{key}={number};");
    let mut length = Rng::new(number);
    let len = head.len() + length.below(LONGEST) as usize;
    head.bytes().cycle().take(len).collect()
}

fn number_in(key: &str, bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let number = text.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
    let number = number.and_then(|rest| rest.split(';').next()).and_then(|n| n.parse().ok());
    let number = number.unwrap_or_else(|| panic!("{key}: foreign bytes {text:.60}"));
    assert!(bytes == value(key, number), "{key}: torn");
    number
}

fn expect_done(stored: Stored) {
    assert!(matches!(stored, Stored::Done(_)), "{stored:?}");
}

/// Alone with some keys: what it finds is what it left.
fn alone(play: &Play, store: &Store, me: u64) -> Result<()> {
    let mut rng = Rng::new(me);
    let (mut known, mut found) = (vec![0; OWN_KEYS as usize], Vec::new());
    for number in 1.. {
        let i = rng.below(OWN_KEYS);
        let key = format!("own-{me}-{i}");
        let known = &mut known[i as usize];
        let item = store.get(key.as_bytes(), &mut found)?;
        let there = item.map_or(0, |_| number_in(&key, &found));
        assert_eq!(there, *known, "{key}");
        let bytes = value(&key, number);
        let version = item.map_or(0, |item| item.version);
        match (rng.below(8), *known) {
            (0, 0) => expect_done(store.add(key.as_bytes(), &bytes, 0, Ttl::Never)?),
            (0, _) => {
                expect_done(store.delete(key.as_bytes(), Some(version), None)?);
                *known = 0;
                continue;
            }
            (1, 1..) => expect_done(store.cas(key.as_bytes(), &bytes, 0, Ttl::Never, version)?),
            (2, 1..) => expect_done(store.replace(key.as_bytes(), &bytes, 0, Ttl::Never)?),
            (3, 1..) => {
                let ttl = Ttl::Millis(1_000_000 + number * 1000);
                expect_done(store.touch(key.as_bytes(), ttl, None)?);
                continue;
            }
            (4, 1..) => {
                let write = |_: Option<_>| Update::Write {
                    value: bytes.clone(),
                    flags: 0,
                    ttl: Some(Ttl::Never),
                    mark: holdfast::Mark::None,
                    version: None,
                };
                expect_done(
                    store.update(key.as_bytes(), None, false, &mut |p| write(p.map(|_| ())))?,
                );
            }
            (5, _) => {
                let item = BatchItem { key: key.as_bytes(), value: &bytes, how: Write::default() };
                store.set_many(&[item])?.into_iter().try_for_each(|one| one.map(expect_done))?;
            }
            _ => expect_done(store.set(key.as_bytes(), &bytes, 0, Ttl::Never)?),
        }
        *known = number;
        if !play.goes_on() {
            break;
        }
    }
    Ok(())
}

/// Several at a few keys: what they read is whole, and numbers only grow where they are counted.
fn together(play: &Play, store: &Store, me: u64) -> Result<()> {
    let (mut rng, mut found) = (Rng::new(me), Vec::new());
    while play.goes_on() {
        let key = format!("shared-{}", rng.below(6));
        match rng.below(7) {
            0 => expect_done(store.set(
                key.as_bytes(),
                &value(&key, rng.next() >> 40),
                0,
                Ttl::Millis(50),
            )?),
            1 => drop(store.delete(key.as_bytes(), None, None)?),
            2 => {
                let one = store.increment(b"added", 1, Some(1), &Write::default())?;
                assert!(matches!(one, Counted::Done { .. }), "{one:?}");
                play.added.fetch_add(1, Ordering::Relaxed);
            }
            3 => count_locked(play, store, me, &mut found)?,
            4 => {
                let keys: Vec<_> = (0..6).map(|i| format!("shared-{i}")).collect();
                let bytes: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
                store.get_many(&bytes, &mut |i, got| {
                    if let Ok(Some((_, bytes))) = got {
                        number_in(&keys[i], bytes);
                    }
                })?;
            }
            _ => {
                if store.get(key.as_bytes(), &mut found)?.is_some() {
                    number_in(&key, &found);
                }
            }
        }
    }
    Ok(())
}

fn count_locked(play: &Play, store: &Store, me: u64, found: &mut Vec<u8>) -> Result<()> {
    let wait = Wait { timeout: Some(Duration::from_secs(60)), ..Wait::default() };
    let Acquired::Held(held) = store.lock(b"counted", me, &wait)? else { panic!("no lock") };
    let before = match store.get(b"counted", found)? {
        Some(_) => number_in("counted", found),
        None => 0,
    };
    let how = Write { held: Some(&held), ttl: Ttl::Never, ..Write::default() };
    expect_done(store.write(b"counted", &value("counted", before + 1), &how)?);
    assert!(store.unlock(b"counted", &held)?, "the lock was lost");
    play.counted.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Goes over all keys: those that stay are there, once.
fn scan(play: &Play, store: &Store, _: u64) -> Result<()> {
    while play.goes_on() {
        let (mut cursor, mut staying) = (0, Vec::new());
        while cursor != holdfast::SCAN_DONE {
            let page = Scan { prefix: b"stay-", values: true, limit: 50, ..Scan::default() };
            store.scan(&mut cursor, &page, &mut |entry| {
                let key = String::from_utf8_lossy(entry.key).into_owned();
                number_in(&key, entry.value.unwrap_or_default());
                staying.push(key);
                ControlFlow::Continue(())
            })?;
        }
        let given = staying.len();
        staying.sort();
        staying.dedup();
        assert_eq!((given as u64, staying.len() as u64), (STAYING_KEYS, STAYING_KEYS));
    }
    Ok(())
}

/// Owners, given and ended: what had one is gone with it.
fn own(play: &Play, store: &Store, me: u64) -> Result<()> {
    let owner = format!("owner-{me}");
    let how = Write { owner: Some(owner.as_bytes()), ..Write::default() };
    for number in 0.. {
        let key = format!("owned-{me}-{}", number % 5);
        expect_done(store.write(key.as_bytes(), &value(&key, number), &how)?);
        let mut keys = 0;
        store.owner_keys(owner.as_bytes(), &mut |_| {
            keys += 1;
            true
        })?;
        assert!(keys >= 1, "{key} has an owner");
        if number % 5 == 4 {
            store.end_owner(owner.as_bytes())?;
            assert!(store.exists(key.as_bytes())?.is_none(), "{key}: its owner was ended");
        }
        if !play.goes_on() {
            break;
        }
    }
    Ok(())
}

/// What is done to a whole store, while the others are at it.
fn tend(play: &Play, store: &Store, me: u64) -> Result<()> {
    let mut rng = Rng::new(me);
    while play.goes_on() {
        match rng.below(8) {
            0 => drop(store.expire(100)?),
            1 => drop(store.compact()?),
            2 => drop(store.verify(&mut |_, _| true)?),
            3 => drop((store.stats()?, store.condition()?, store.locks(10)?)),
            4 => {
                let millis = Some(10 + rng.below(30));
                store.set_config(&ConfigChange {
                    sync_interval_ms: millis,
                    ..ConfigChange::default()
                })?;
            }
            5 => {
                let to = play.path.join(format!("backup-{me}"));
                match store.backup(&to, true, &mut |_, _| true) {
                    // It gives way to writers that need the room.
                    Ok(_) | Err(Error::Busy(_)) => {}
                    Err(e) => return Err(e),
                }
                let _ = std::fs::remove_dir_all(&to);
            }
            6 => drop(store.trim_memory()?),
            _ => store.sync()?,
        }
    }
    Ok(())
}

/// Opens and closes: this store, which others have open, and one that nobody has.
fn come_and_go(play: &Play, store: &Store, me: u64) -> Result<()> {
    let elsewhere = private_dir(&play.path.join(format!("alone-{me}")));
    let mut found = Vec::new();
    while play.goes_on() {
        let again = Store::open(play.path.join("store"), &options())?;
        assert!(again.get(b"stay-0", &mut found)?.is_some());
        number_in("stay-0", &found);
        drop(again);
        let small = Options { max_bytes: Some(8 << 20), ..options() };
        let own = Store::open(&elsewhere, &small)?;
        let before = own.get(b"k", &mut found)?.map_or(0, |_| number_in("k", &found));
        expect_done(own.set(b"k", &value("k", before + 1), 0, Ttl::Never)?);
        if before % 3 == 2 {
            own.flush(None)?;
            assert!(own.exists(b"k")?.is_none(), "it was flushed");
        }
        drop(own);
        let _ = store.now_ms()?;
    }
    Ok(())
}

fn private_dir(path: &Path) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).expect("a directory");
    path.to_path_buf()
}

type Role = fn(&Play, &Store, u64) -> Result<()>;
const ROLES: [Role; 8] = [alone, together, scan, own, tend, come_and_go, together, alone];

fn play(seconds: u64, threads: u64) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let store = Store::open(private_dir(&dir.path().join("store")), &options()).expect("a store");
    for i in 0..STAYING_KEYS {
        let key = format!("stay-{i}");
        expect_done(store.set(key.as_bytes(), &value(&key, i), 0, Ttl::Never).expect("room"));
    }
    let play = Arc::new(Play {
        path: dir.path().to_path_buf(),
        over: AtomicBool::new(false),
        operations: AtomicU64::new(0),
        added: AtomicU64::new(0),
        counted: AtomicU64::new(0),
    });
    let begin = |me: u64| {
        let (play, store) = (play.clone(), store.clone());
        let role = ROLES[me as usize % ROLES.len()];
        std::thread::spawn(move || {
            if let Err(e) = role(&play, &store, me) {
                panic!("thread {me}: {e}");
            }
        })
    };
    let threads: Vec<_> = (0..threads).map(begin).collect();
    std::thread::sleep(Duration::from_secs(seconds));
    play.over.store(true, Ordering::Relaxed);
    let failed = threads.into_iter().map(|thread| thread.join()).filter(|end| end.is_err()).count();
    let mut found = Vec::new();
    let added =
        store.get(b"added", &mut found).expect("readable").map(|_| holdfast::number(&found));
    assert_eq!(
        added.flatten().unwrap_or(0),
        play.added.load(Ordering::Relaxed),
        "numbers added up"
    );
    let counted = store.get(b"counted", &mut found).expect("readable");
    let counted = counted.map_or(0, |_| number_in("counted", &found));
    assert_eq!(counted, play.counted.load(Ordering::Relaxed), "numbers counted under a lock");
    println!(
        "{} operations, {added:?} added, {counted} counted",
        play.operations.load(Ordering::Relaxed)
    );
    assert_eq!(failed, 0, "threads that found something wrong");
}

/// Two threads, one word, no order.
fn race() {
    struct Word(std::cell::UnsafeCell<u64>);
    // SAFETY: none: this is the mistake that the sanitizer has to see.
    unsafe impl std::marker::Sync for Word {}
    let word = Arc::new(Word(std::cell::UnsafeCell::new(0)));
    let begin = |_| {
        let word = word.clone();
        std::thread::spawn(move || {
            for _ in 0..10_000 {
                // SAFETY: as above.
                unsafe { *word.0.get() += 1 };
            }
        })
    };
    let threads: Vec<_> = (0..2).map(begin).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["race"] => race(),
        [seconds, threads] => {
            play(seconds.parse().expect("seconds"), threads.parse().expect("threads"));
        }
        _ => panic!("holdfast-threads SECONDS THREADS, or race"),
    }
}
