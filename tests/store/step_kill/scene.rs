//! The scene of a step-kill: a small store, a process that stays attached to it all the while, a
//! key to watch, and processes beside it that have a part in what is killed.
//!
//! It holds no checks of its own, only what all of them need; see `step.rs` for those.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Acquired, Held, LockInfo, Options, Store, Stored, Sync, Ttl, Verified, Wait};
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{HandClock, content, memory_dir, open};

pub const KEY: &[u8] = b"the key";
pub const LONG: Duration = Duration::from_secs(20);

/// What is seen of the key: value and end of life.
pub type Seen = Option<(Vec<u8>, u64)>;

pub struct Scene {
    pub path: PathBuf,
    pub clock: Arc<HandClock>,
    pub options: Options,
    pub store: Option<Store>,
    /// How many small keys there are that must stay.
    pub crowd: Cell<u64>,
    /// How many died with the growth latch.
    pub growing: Cell<u64>,
    /// How far the step is, for those beside it: see [`Scene::reach`].
    stage: &'static AtomicU64,
    beside: RefCell<Vec<Pid>>,
}

/// The one that was to die is gone.
pub const GONE: u64 = 2;
/// Somebody else had the key's lock after that.
pub const LOCKED_SINCE: u64 = 3;

impl Scene {
    pub fn new() -> (tempfile::TempDir, Scene) {
        Scene::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> (tempfile::TempDir, Scene) {
        let (dir, clock) = (memory_dir(), HandClock::new());
        let mut options = Options {
            create: true,
            thread: false,
            max_bytes: Some(1 << 20),
            max_value_bytes: Some(100_000),
            max_processes: Some(4),
            evict: Some(false),
            sync: Some(Sync::None),
            clock: Some(clock.clone()),
            ..Options::default()
        };
        change(&mut options);
        let path = dir.path().to_path_buf();
        let store = Some(open(&path, &options));
        let (crowd, growing) = (Cell::new(0), Cell::new(0));
        let (stage, beside) = (&process::shared(1)[0], RefCell::new(Vec::new()));
        (dir, Scene { path, clock, options, store, crowd, growing, stage, beside })
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    pub fn is_cache(&self) -> bool {
        self.options.evict == Some(true)
    }

    /// Is what is seen what it has to be? In a cache it may have been evicted.
    pub fn is(&self, seen: &Seen, expected: &Seen) -> bool {
        seen == expected || (seen.is_none() && self.is_cache())
    }

    /// Starts a process that plays its part while others die and heal, and has to end well.
    pub fn beside(&self, part: impl FnOnce()) {
        self.beside.borrow_mut().push(process::fork(part));
    }

    /// Says how far the step is; it only goes on.
    pub fn reach(&self, stage: u64) {
        self.stage.fetch_max(stage, Ordering::SeqCst);
    }

    pub fn wait_for(&self, stage: u64) {
        eventually("the next stage", || self.stage.load(Ordering::SeqCst) >= stage);
    }

    /// Has nobody but the one that dies a part in it?
    pub fn is_alone(&self) -> bool {
        self.beside.borrow().is_empty()
    }

    /// Nobody beside was held up for good by the death, and each saw what it had to see.
    pub fn end_beside(&self, at: &dyn Fn() -> String) {
        self.reach(u64::MAX);
        for pid in self.beside.borrow_mut().drain(..) {
            let ended = pid.wait(LONG);
            assert_eq!(ended, Ended::Exit(0), "{}: one beside it", at());
        }
        self.stage.store(0, Ordering::SeqCst);
    }

    /// The key's lock, as others see it.
    pub fn lock_info(&self) -> Option<LockInfo> {
        let hash = self.store().key_hash(KEY).expect("hash");
        let all = self.store().locks(100).expect("locks");
        all.into_iter().find(|info| info.key_hash == hash)
    }

    /// The key has its first value, which ends some day.
    pub fn old(&self) {
        set(self.store(), KEY, &content(1, 300), Ttl::Millis(500_000_000));
    }
}

/// Drops what has expired and lets what came free be used again.
pub fn sweep(store: &Store) {
    for _ in 0..3 {
        store.expire(u64::MAX).expect("expire");
        store.sync().expect("sync");
    }
}

/// Waits for what others do.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what} did not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn one_of_many(i: u64) -> Vec<u8> {
    format!("one of many {i}").into_bytes()
}

pub fn slots(store: &Store) -> u64 {
    store.stats().expect("stats").index_slots
}

pub fn see(store: &Store) -> Seen {
    let mut value = Vec::new();
    let item = store.get(KEY, &mut value).expect("get");
    item.map(|item| (value, item.expires_ms))
}

/// For messages.
pub fn short(seen: &Seen) -> Option<(usize, u64)> {
    seen.as_ref().map(|(value, expires)| (value.len(), *expires))
}

pub fn set(store: &Store, key: &[u8], value: &[u8], ttl: Ttl) {
    assert!(matches!(store.set(key, value, 1, ttl).expect("set"), Stored::Done(_)));
}

/// Asks for the key's lock, which a living holder is to give back within two seconds.
pub fn lock(store: &Store, cookie: u64) -> Held {
    lock_with(store, cookie, Wait::default())
}

pub fn lock_with(store: &Store, cookie: u64, wait: Wait) -> Held {
    let wait = Wait { timeout: Some(Duration::from_secs(2)), ..wait };
    match store.lock(KEY, cookie, &wait).expect("lock") {
        Acquired::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

pub fn lock_and_unlock(scene: &Scene) {
    let held = lock(scene.store(), 9);
    scene.reach(LOCKED_SINCE);
    assert!(scene.store().unlock(KEY, &held).expect("unlock"));
}

pub fn done(stored: holdfast::Result<Stored>) {
    assert!(matches!(stored, Ok(Stored::Done(_))), "{stored:?}");
}

/// The checker of the structure has nothing to say.
pub fn healthy(store: &Store, at: &dyn Fn() -> String) -> Verified {
    let report = store.verify(&mut |_, _| true).expect("verify");
    assert!(report.findings.is_empty(), "{}: {:#?}", at(), report.findings);
    report
}
