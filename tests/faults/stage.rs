//! The stores that the fault tests begin with, and what has to be true of one after a fault.
//!
//! A store is made once in each state and copied for each case; a copy is believed like the
//! original, because `meta` gets the inodes of its new siblings. A look is made by processes that
//! never saw the fault: one while the process that met it stands still, one when it is gone.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::{Acquired, Error, Options, Store, Stored, Sync, Ttl, Wait};
use holdfast_tests::memory_dir;
use holdfast_tests::process::{self, Ended};

use crate::memory::content;

pub const KEY: &[u8] = b"the key";
pub const KEYS: u32 = 24;
pub const LONG: Duration = Duration::from_secs(20);

/// In which state the store is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Nothing,
    Closed,
    /// All its processes were killed.
    Deaths,
    /// Only what a power loss leaves for certain.
    PowerLoss,
}

/// What is seen of the store afterwards if the act succeeded; if it failed, this or what was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    Same,
    /// The key has this value.
    Written(Vec<u8>),
    Deleted,
    Flushed,
    /// There was nothing before.
    Empty,
    /// Whatever became of the key, the others are as they were.
    Others,
}

pub fn options() -> Options {
    Options {
        create: true,
        thread: false,
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(100_000),
        max_processes: Some(8),
        operation_timeout: Duration::from_millis(300),
        open_timeout: Duration::from_millis(600),
        sync: Some(Sync::None),
        ..Options::default()
    }
}

pub fn value(i: u32) -> Vec<u8> {
    content(i as u64, if i == 7 { 70_000 } else { 100 + i as usize * 67 })
}

pub fn old() -> Vec<u8> {
    content(1_000, 300)
}

/// A directory with a store of its own in it, `s`, and room for others beside it.
pub struct Stage(tempfile::TempDir);

impl Stage {
    pub fn new() -> Stage {
        let stage = Stage(memory_dir());
        private_dir(&stage.store());
        stage
    }

    /// In the given state, with the sync mode that it keeps.
    pub fn made(from: From, sync: Sync) -> Stage {
        Stage::of(from, sync, options())
    }

    pub fn of(from: From, sync: Sync, options: Options) -> Stage {
        let stage = Stage::new();
        if from == From::Nothing {
            return stage;
        }
        let child = process::fork(|| {
            let options = Options { sync: Some(sync), ..options };
            let store = Store::open(stage.store(), &options).expect("made");
            for i in 0..KEYS {
                assert!(store.set(&i.to_le_bytes(), &value(i), i, Ttl::Never).is_ok());
            }
            assert!(store.set(KEY, &old(), 0, Ttl::Never).is_ok());
            store.sync().expect("synced");
            if from == From::Deaths {
                assert!(matches!(store.lock(KEY, 1, &Wait::default()), Ok(Acquired::Held(_))));
                process::die();
            }
        });
        let ended = child.wait(LONG);
        assert!(matches!(ended, Ended::Exit(0) | Ended::Signal(libc::SIGKILL)), "{ended:?}");
        if from == From::PowerLoss {
            for name in ["index", "meta"] {
                std::fs::remove_file(stage.store().join(name)).expect("removed");
            }
        }
        stage
    }

    pub fn store(&self) -> PathBuf {
        self.beside("s")
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn copy(&self) -> Stage {
        let new = Stage::new();
        for entry in std::fs::read_dir(self.0.path()).expect("listed").flatten() {
            if entry.path().is_dir() {
                copy_store(&entry.path(), &new.beside(&entry.file_name().to_string_lossy()));
            }
        }
        new
    }
}

pub fn private_dir(path: &Path) {
    std::fs::create_dir_all(path).expect("made");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("chmod");
}

/// A copy that is believed: see arena.rs for the words.
pub fn copy_store(from: &Path, to: &Path) {
    private_dir(to);
    for entry in std::fs::read_dir(from).expect("listed").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
    let Ok(meta) = std::fs::File::options().write(true).open(to.join("meta")) else { return };
    for (name, at) in [("data", 0x30), ("index", 0x38), ("lock", 0xa0), ("meta", 0xa8)] {
        if let Ok(file) = std::fs::metadata(to.join(name)) {
            meta.write_all_at(&file.ino().to_le_bytes(), at).expect("written");
        }
    }
}

/// What is there is what must be; `done`: the act said that it succeeded.
pub fn look(store: &Store, after: &After, done: bool) {
    let mut seen = Vec::new();
    let mut there = |key: &[u8]| match store.get(key, &mut seen) {
        Ok(item) => item.map(|_| seen.clone()),
        Err(e) => panic!("get {key:?}: {e}"),
    };
    let values: Vec<_> = (0..KEYS).map(|i| there(&i.to_le_bytes())).collect();
    let of_key = there(KEY);
    let whole = || values.iter().enumerate().all(|(i, seen)| *seen == Some(value(i as u32)));
    let gone = || values.iter().all(Option::is_none) && of_key.is_none();
    let (old, new) = match after {
        After::Same => (whole(), whole() && of_key == Some(old())),
        After::Written(new) => {
            (whole() && of_key == Some(old()), whole() && of_key.as_ref() == Some(new))
        }
        After::Deleted => (whole() && of_key == Some(old()), whole() && of_key.is_none()),
        After::Flushed => (whole() && of_key == Some(old()), gone()),
        After::Empty => (gone(), gone()),
        After::Others => (whole(), whole()),
    };
    let which = match (whole(), gone()) {
        (true, _) => "every value",
        (_, true) => "nothing",
        _ => "not every value",
    };
    let of_key = of_key.map(|bytes| bytes.len());
    assert!(
        new || (!done && old),
        "{after:?} done={done}: {which} is there, {of_key:?} of the key"
    );
}

/// Nothing is held that should not be: writes in most stripes, a lock, an option.
pub fn works(store: &Store, keys: u32, sync_failed: bool) {
    let refused = |e: &Error| sync_failed && matches!(e, Error::SyncFailed(_));
    for i in 0..keys {
        let key = (i | 1 << 24).to_le_bytes();
        match store.set(&key, b"works", 0, Ttl::Never) {
            Ok(Stored::Done(_)) => {}
            Err(e) if refused(&e) => break,
            other => panic!("set {i}: {other:?}"),
        }
        let gone = store.delete(&key, None, None);
        assert!(matches!(gone, Ok(Stored::Done(_))), "delete {i}: {gone:?}");
    }
    let wait = Wait { timeout: Some(Duration::from_millis(300)), ..Wait::default() };
    match store.lock(b"another key", 77, &wait) {
        Ok(Acquired::Held(held)) => assert!(store.unlock(b"another key", &held).expect("unlock")),
        other => panic!("lock: {other:?}"),
    }
    assert!(store.stats().is_ok());
    match store.sync() {
        Ok(()) => assert!(!sync_failed || !store.condition().expect("asked").sync_failed),
        Err(e) => assert!(refused(&e), "sync: {e}"),
    }
}

/// In a new process while others may be there: values, and that nothing is stuck.
pub fn check_beside(path: &Path, after: &After, done: bool, sync_failed: bool) -> Ended {
    process::fork(|| {
        let options = Options { create: false, ..options() };
        let store = Store::open(path, &options).unwrap_or_else(|e| panic!("open beside: {e}"));
        look(&store, after, done);
        works(&store, 40, sync_failed);
    })
    .wait(LONG)
}

thread_local! {
    static FREE: &'static AtomicU64 = &process::shared_words(1)[0];
}

/// How many segments were free at the end of this thread's last [`check_alone`].
pub fn free_at_the_end() -> u64 {
    FREE.with(|word| word.swap(0, Ordering::SeqCst))
}

/// In a new process when nobody else is there: all of it, and that its space is accounted for.
pub fn check_alone(path: &Path, after: &After, done: bool) -> Ended {
    free_at_the_end();
    process::fork(|| {
        let options = Options { create: false, ..options() };
        let store = Store::open(path, &options).unwrap_or_else(|e| panic!("open alone: {e}"));
        look(&store, after, done);
        let report = store.verify(&mut |_, _| true).expect("verify");
        assert!(report.complete && report.findings.is_empty(), "{report:#?}");
        works(&store, 250, false);
        assert!(!store.condition().expect("asked").sync_failed);
        store.flush(None).expect("flushed");
        store.compact().expect("compacted");
        let stats = store.stats().expect("stats");
        // A segment for each lane, and one that waits for the next round. Who knows how many there were
        // without a fault compares.
        let free = stats.segments_free;
        FREE.with(|word| word.store(free, Ordering::SeqCst));
        assert!(free + 5 >= stats.segments, "{free} of {} segments are free", stats.segments);
    })
    .wait(LONG)
}

/// An error says what and where.
pub fn must_be_clear(error: &Error, path: &Path) {
    let text = error.to_string();
    let place = path.parent().expect("beside others").display().to_string();
    let named = text.contains(&place) || text.contains("/proc/");
    // What has no place: the registry of forks, random bytes.
    let elsewhere = ["registering", "random", "finding"].iter().any(|w| text.contains(w));
    assert!(named || elsewhere, "the error does not say where: {text:?}");
    assert!(!text.contains(" 0 bytes"), "{text}");
}
