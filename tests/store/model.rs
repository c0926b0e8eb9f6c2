//! Random operations against an obvious oracle: a hash map, a clock and a list of locks.
//!
//! The store is reopened, rebuilt from its log alone, and killed on the way. For a death the
//! process forks a successor, which inherits the oracle, and dies; built with the feature `faults`
//! it dies *inside* an operation, whose outcome is then old or new.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast::{
    Acquired, ConfigChange, Entry, Error, Expect, Held, Item, Options, Range, SCAN_DONE, Scan,
    Store, Stored, Sync, Ttl, Wait,
};
use holdfast_tests::process::{self, Link};
use holdfast_tests::{HandClock, Rng, content, memory_dir, open, seed, size};

const KEYS: usize = 40;
const COOKIES: u64 = 3;

/// What is stored under a key. Expired ones stay until something replaces them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    tag: u64,
    len: usize,
    flags: u32,
    version: u64,
    expires_ms: u64,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Put {
        key: usize,
        tag: u64,
        len: usize,
        flags: u32,
        ttl: Ttl,
        expect: Wish,
        fenced: bool,
    },
    Touch {
        key: usize,
        ttl: Ttl,
        fenced: bool,
    },
    GetTouch {
        key: usize,
        ttl: Ttl,
    },
    Delete {
        key: usize,
        right: Option<bool>,
        fenced: bool,
    },
    Get {
        key: usize,
    },
    Exists {
        key: usize,
    },
    /// All keys in pages of this size.
    Scan {
        limit: u64,
        values: bool,
    },
    Range {
        limit: u64,
        reverse: bool,
        values: bool,
    },
    Expire {
        budget: u64,
    },
    Lock {
        key: usize,
        cookie: u64,
    },
    Unlock {
        key: usize,
    },
    Sync,
    Flush {
        delay_ms: u64,
    },
    Config {
        default_ms: u64,
        max_ms: u64,
    },
    Pass {
        ms: u64,
    },
    SetWall {
        ahead_ms: u64,
    },
    Reopen,
    Rebuild,
}

/// An expectation before the versions are known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Any,
    Absent,
    Present,
    Right,
    Wrong,
}

struct World {
    path: PathBuf,
    options: Options,
    clock: Arc<HandClock>,
    store: Option<Store>,
    rng: Rng,
    values: HashMap<usize, Known>,
    locks: HashMap<usize, (u64, Held)>,
    /// Locks that were lost or given back: no write may pass with them.
    stale: HashMap<usize, Held>,
    highest: u64,
    /// When everything will be gone.
    flush_at: Option<u64>,
    default_ms: u64,
    max_ms: u64,
    max_value: usize,
    counts: Counts,
}

#[derive(Default, Debug)]
struct Counts {
    steps: u64,
    full: u64,
    reopened: u64,
    rebuilt: u64,
    killed: u64,
    killed_inside: u64,
}

fn key(which: usize) -> Vec<u8> {
    let len = [1, 8, 31, 64, 250, 1000][which % 6];
    let mut key = vec![b'a' + which as u8 % 26; len];
    key[0] = which as u8;
    key
}

impl World {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn draw(&mut self) -> Op {
        let rng = &mut self.rng;
        let key = rng.below(KEYS as u64) as usize;
        let ttl = match rng.below(5) {
            0 => Ttl::Never,
            1 => Ttl::Millis(1 + rng.below(300)),
            2 => Ttl::Millis(1 + rng.below(5_000)),
            3 => Ttl::Millis(60_000 + rng.below(600_000)),
            _ => Ttl::Default,
        };
        let fenced = rng.one_in(4);
        match rng.below(1000) {
            0..350 => {
                let len = match rng.below(100) {
                    0..60 => rng.below(300) as usize,
                    60..90 => rng.below(6_000) as usize,
                    90..97 => rng.below(30_000) as usize,
                    _ => rng.below(self.max_value as u64 + 1) as usize,
                };
                let expect = match rng.below(8) {
                    0 => Wish::Absent,
                    1 => Wish::Present,
                    2 => Wish::Right,
                    3 => Wish::Wrong,
                    _ => Wish::Any,
                };
                let (tag, flags) = (rng.next(), rng.next() as u32);
                Op::Put { key, tag, len, flags, ttl, expect, fenced }
            }
            350..440 => Op::Touch { key, ttl, fenced },
            440..480 => Op::GetTouch { key, ttl },
            480..600 => {
                let right = match rng.below(4) {
                    0 => Some(true),
                    1 => Some(false),
                    _ => None,
                };
                Op::Delete { key, right, fenced }
            }
            600..750 => Op::Get { key },
            750..790 => Op::Exists { key },
            790..795 => Op::Scan { limit: 1 + rng.below(60), values: rng.one_in(2) },
            795..800 => {
                let (reverse, values) = (rng.one_in(2), rng.one_in(2));
                Op::Range { limit: 1 + rng.below(60), reverse, values }
            }
            800..830 => Op::Expire { budget: rng.below(200) },
            830..890 => Op::Lock { key, cookie: rng.below(COOKIES) },
            890..930 => Op::Unlock { key },
            930..936 => Op::Sync,
            936..938 => Op::Flush { delay_ms: *rng.pick(&[0, 0, 500, 60_000]) },
            938..940 => Op::Config {
                default_ms: *rng.pick(&[0, 300, 90_000]),
                max_ms: *rng.pick(&[0, 0, 50_000]),
            },
            940..985 => Op::Pass { ms: *rng.pick(&[1, 20, 300, 2_000, 30_000, 100_000, 700_000]) },
            985..987 => Op::SetWall { ahead_ms: *rng.pick(&[0, 5_000, 3_600_000, 200_000_000]) },
            987..997 => Op::Reopen,
            _ => Op::Rebuild,
        }
    }

    fn present(&self, key: usize) -> Option<Known> {
        let now = self.store().now_ms().expect("the time");
        if self.flush_is_due() {
            return None;
        }
        let known = self.values.get(&key)?;
        (known.expires_ms == 0 || known.expires_ms > now).then_some(*known)
    }

    fn expires(&self, ttl: Ttl) -> u64 {
        let asked = match ttl {
            Ttl::Millis(ms) => ms,
            Ttl::Never => 0,
            Ttl::Default => self.default_ms,
        };
        let lives = match (asked, self.max_ms) {
            (asked, 0) => asked,
            (0, max) => max,
            (asked, max) => asked.min(max),
        };
        if lives == 0 { 0 } else { self.store().now_ms().expect("the time") + lives }
    }

    fn flush(&mut self, delay_ms: u64) {
        let at = self.store().now_ms().expect("the time") + delay_ms;
        self.store().flush(Some(at)).expect("flush");
        self.flush_at = (delay_ms > 0).then_some(at);
        if delay_ms == 0 {
            self.values.clear();
            self.verify_all();
        }
    }

    fn flush_is_due(&self) -> bool {
        let now = self.store().now_ms().expect("the time");
        self.flush_at.is_some_and(|at| at <= now)
    }

    /// A planned flush comes with the first change after its time; reads see it before.
    fn settle(&mut self) {
        if self.flush_is_due() {
            self.verify_all();
            self.flush_at = None;
            self.values.clear();
            let nothing = self.store().touch(b"nothing", Ttl::Never, None).expect("touch");
            assert_eq!(nothing, Stored::Missing);
        }
    }

    fn configure(&mut self, default_ms: u64, max_ms: u64) {
        let (default_ttl_ms, max_ttl_ms) = (Some(default_ms), Some(max_ms));
        let change = ConfigChange { default_ttl_ms, max_ttl_ms, ..ConfigChange::default() };
        let new = self.store().set_config(&change).expect("set_config");
        assert_eq!((new.default_ttl_ms, new.max_ttl_ms), (default_ms, max_ms));
        (self.default_ms, self.max_ms) = (default_ms, max_ms);
    }

    fn new_version(&mut self, version: u64) -> u64 {
        assert!(version > self.highest, "version {version} after {}", self.highest);
        self.highest = version;
        version
    }

    /// A lock to write with: the one held, else a stale one; and whether it is good.
    fn fence(&self, key: usize, fenced: bool) -> (Option<Held>, bool) {
        match (fenced, self.locks.get(&key), self.stale.get(&key)) {
            (true, Some((_, held)), _) => (Some(*held), true),
            (true, None, Some(stale)) => (Some(*stale), false),
            _ => (None, true),
        }
    }

    /// A full store may refuse what needs room, and nothing else.
    fn allow_full<T>(&mut self, result: holdfast::Result<T>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(Error::Full(_)) => {
                self.counts.full += 1;
                None
            }
            Err(e) => panic!("{e}"),
        }
    }

    /// What the operation leads to if it works: the value after it.
    fn after(&self, op: Op) -> (usize, Option<Known>) {
        match op {
            Op::Put { key, tag, len, flags, ttl, .. } => {
                let expires_ms = self.expires(ttl);
                (key, Some(Known { tag, len, flags, version: 0, expires_ms }))
            }
            Op::Touch { key, ttl, .. } | Op::GetTouch { key, ttl } => {
                let expires_ms = self.expires(ttl);
                (key, self.present(key).map(|known| Known { expires_ms, ..known }))
            }
            Op::Delete { key, .. } => (key, None),
            Op::Get { key } | Op::Exists { key } => (key, self.present(key)),
            _ => (0, self.present(0)),
        }
    }

    fn put(&mut self, op: Op) {
        let Op::Put { key: which, tag, len, flags, ttl, expect, fenced } = op else { return };
        let present = self.present(which);
        let (held, good) = self.fence(which, fenced);
        let expect = match (expect, present) {
            (Wish::Any, _) => Expect::Any,
            (Wish::Absent, _) => Expect::Absent,
            (Wish::Present, _) => Expect::Present,
            (Wish::Right, Some(known)) => Expect::Version(known.version),
            (Wish::Right | Wish::Wrong, _) => Expect::Version(self.highest / 2 + 1),
        };
        let value = content(tag, len);
        let result = self.store().put(&key(which), &value, flags, ttl, expect, held.as_ref());
        let Some(stored) = self.allow_full(result) else { return };
        let allowed = match (good, expect, present) {
            (false, ..) => Err(Stored::Lost),
            (_, Expect::Any, _) | (_, Expect::Absent, None) | (_, Expect::Present, Some(_)) => {
                Ok(())
            }
            (_, Expect::Absent, Some(known)) => Err(Stored::Exists(known.version)),
            (_, Expect::Present | Expect::Version(_), None) => Err(Stored::Missing),
            (_, Expect::Version(asked), Some(known)) if asked == known.version => Ok(()),
            (_, Expect::Version(_), Some(known)) => Err(Stored::Exists(known.version)),
        };
        match (allowed, stored) {
            (Ok(()), Stored::Done(version)) => {
                let version = self.new_version(version);
                let expires_ms = self.expires(ttl);
                self.values.insert(which, Known { tag, len, flags, version, expires_ms });
            }
            (Ok(()), other) => panic!("not stored: {other:?}"),
            (Err(outcome), stored) => assert_eq!(stored, outcome),
        }
    }

    /// A touch keeps the version, but for a shorter life, which is a new record.
    fn touched(&mut self, which: usize, known: Known, expires_ms: u64) {
        let item = self.store().exists(&key(which)).expect("exists").expect("just touched");
        assert_eq!(item.expires_ms, expires_ms);
        let shorter = expires_ms != 0 && (known.expires_ms == 0 || expires_ms < known.expires_ms);
        let version = if shorter { self.new_version(item.version) } else { known.version };
        assert_eq!(item.version, version);
        self.values.insert(which, Known { version, expires_ms, ..known });
    }

    fn check_item(known: Known, item: Item) {
        let found = (item.version, item.flags, item.expires_ms, item.value_len);
        assert_eq!(found, (known.version, known.flags, known.expires_ms, known.len as u64));
    }

    fn get(&self, which: usize) {
        let mut value = Vec::new();
        let item = self.store().get(&key(which), &mut value).expect("get");
        let known = self.present(which);
        assert_eq!(item.is_some(), known.is_some(), "{known:?} expected, {item:?} found");
        if let (Some(known), Some(item)) = (known, item) {
            World::check_item(known, item);
            assert!(value == content(known.tag, known.len), "another value");
        }
    }

    fn verify_all(&self) {
        (0..KEYS).for_each(|which| self.get(which));
    }

    /// What an entry shows must be known; gives which key it is.
    fn check_entry(&self, entry: &Entry, values: bool) -> usize {
        let which = entry.key[0] as usize;
        assert_eq!(entry.key, key(which));
        let known = self.present(which).unwrap_or_else(|| panic!("{entry:?} is not there"));
        World::check_item(known, entry.item);
        let wanted = values.then(|| content(known.tag, known.len));
        assert!(entry.value == wanted.as_deref(), "another value");
        which
    }

    fn all_present(&self) -> Vec<usize> {
        (0..KEYS).filter(|which| self.present(*which).is_some()).collect()
    }

    fn scan(&self, limit: u64, values: bool) {
        let (mut cursor, mut seen) = (0, Vec::new());
        let page = Scan { limit, values, ..Scan::default() };
        while cursor != SCAN_DONE {
            let page = self.store().scan(&mut cursor, &page, &mut |entry| {
                seen.push(self.check_entry(entry, values));
                ControlFlow::Continue(())
            });
            assert_eq!(page.expect("scan").damaged, 0);
        }
        seen.sort();
        assert_eq!(seen, self.all_present());
    }

    fn range(&self, limit: u64, reverse: bool, values: bool) {
        let mut seen = Vec::new();
        let range = Range { limit, reverse, values, ..Range::default() };
        let page = self.store().range(&range, &mut |entry| {
            seen.push(self.check_entry(entry, values));
            ControlFlow::Continue(())
        });
        let mut wanted = self.all_present();
        wanted.sort_by_key(|which| key(*which));
        if reverse {
            wanted.reverse();
        }
        let more = wanted.len() > limit as usize;
        wanted.truncate(limit as usize);
        assert_eq!((seen, page.expect("range").next.is_some()), (wanted, more));
    }

    fn open_again(&mut self) {
        self.store = None;
        self.stale.extend(self.locks.drain().map(|(key, (_, held))| (key, held)));
        self.store = Some(open(&self.path, &self.options));
        self.verify_all();
    }

    fn apply(&mut self, op: Op) {
        self.settle();
        match op {
            Op::Put { .. } => self.put(op),
            Op::Touch { key: which, ttl, fenced } => {
                let (held, good) = self.fence(which, fenced);
                let present = self.present(which);
                let result = self.store().touch(&key(which), ttl, held.as_ref());
                let Some(stored) = self.allow_full(result) else { return };
                match (good, present) {
                    (false, _) => assert_eq!(stored, Stored::Lost),
                    (_, None) => assert_eq!(stored, Stored::Missing),
                    (_, Some(known)) => {
                        assert!(matches!(stored, Stored::Done(_)), "{stored:?}");
                        self.touched(which, known, self.expires(ttl));
                    }
                }
            }
            Op::GetTouch { key: which, ttl } => {
                let present = self.present(which);
                let mut value = Vec::new();
                let result = self.store().get_touch(&key(which), ttl, &mut value);
                let Some(item) = self.allow_full(result) else { return };
                assert_eq!(item.is_some(), present.is_some());
                if let Some(known) = present {
                    assert!(value == content(known.tag, known.len));
                    self.touched(which, known, self.expires(ttl));
                }
            }
            Op::Delete { key: which, right, fenced } => {
                let (held, good) = self.fence(which, fenced);
                let present = self.present(which);
                let wrong = self.highest / 2 + 1;
                let expected =
                    right.map(|r| present.filter(|_| r).map_or(wrong, |known| known.version));
                let stored =
                    self.store().delete(&key(which), expected, held.as_ref()).expect("delete");
                match (good, present) {
                    (false, _) => assert_eq!(stored, Stored::Lost),
                    (_, None) => assert_eq!(stored, Stored::Missing),
                    (_, Some(known)) if expected.is_some_and(|e| e != known.version) => {
                        assert_eq!(stored, Stored::Exists(known.version))
                    }
                    _ => {
                        let Stored::Done(version) = stored else { panic!("{stored:?}") };
                        self.new_version(version);
                        self.values.remove(&which);
                    }
                }
            }
            Op::Get { key } => self.get(key),
            Op::Exists { key: which } => {
                let item = self.store().exists(&key(which)).expect("exists");
                let known = self.present(which);
                assert_eq!(item.is_some(), known.is_some());
                if let (Some(known), Some(item)) = (known, item) {
                    World::check_item(known, item);
                }
            }
            Op::Scan { limit, values } => self.scan(limit, values),
            Op::Range { limit, reverse, values } => self.range(limit, reverse, values),
            Op::Expire { budget } => drop(self.store().expire(budget).expect("expire")),
            Op::Lock { key: which, cookie } => self.lock(which, cookie),
            Op::Unlock { key: which } => {
                if let Some(stale) = self.stale.get(&which) {
                    assert!(!self.store().unlock(&key(which), stale).expect("unlock"));
                }
                if let Some((_, held)) = self.locks.remove(&which) {
                    assert!(self.store().unlock(&key(which), &held).expect("unlock"));
                    self.stale.insert(which, held);
                }
            }
            Op::Sync => self.store().sync().expect("sync"),
            Op::Flush { delay_ms } => self.flush(delay_ms),
            Op::Config { default_ms, max_ms } => self.configure(default_ms, max_ms),
            Op::Pass { ms } => self.clock.pass(ms),
            Op::SetWall { ahead_ms } => {
                self.clock.set_wall(self.store().now_ms().expect("the time") + ahead_ms);
            }
            Op::Reopen => {
                self.counts.reopened += 1;
                self.open_again();
            }
            Op::Rebuild => {
                self.counts.rebuilt += 1;
                self.store = None;
                let which = if self.rng.one_in(2) { "meta" } else { "index" };
                std::fs::remove_file(self.path.join(which)).expect("a file to remove");
                self.open_again();
            }
        }
    }

    fn lock(&mut self, which: usize, cookie: u64) {
        let try_once = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
        let acquired = self.store().lock(&key(which), cookie, &try_once).expect("lock");
        match (self.locks.get(&which).copied(), acquired) {
            (None, Acquired::Held(held)) => {
                self.new_version(held.fence);
                self.locks.insert(which, (cookie, held));
            }
            (Some((owner, held)), Acquired::Held(again)) => {
                assert_eq!((owner, held), (cookie, again), "re-entered");
            }
            (Some((owner, _)), Acquired::TimedOut(_)) => assert_ne!(owner, cookie),
            (expected, found) => panic!("{found:?} where {expected:?} has it"),
        }
    }

    /// After a death inside `op`: old or new, and the oracle takes over which.
    fn adopt(&mut self, op: Op, old: Option<Known>, new: (usize, Option<Known>)) {
        let (which, new) = new;
        // A rebuild may have come at a later time than the death.
        let now = self.store().now_ms().expect("the time");
        let gone = self.flush_is_due();
        let alive = |known: &Known| !gone && (known.expires_ms == 0 || known.expires_ms > now);
        let (old, new) = (old.filter(alive), new.filter(alive));
        let mut value = Vec::new();
        let found = self.store().get(&key(which), &mut value).expect("get");
        let is = |known: Option<Known>| match (known, found) {
            (None, None) => true,
            (Some(known), Some(item)) => {
                known.flags == item.flags
                    && known.expires_ms == item.expires_ms
                    && value == content(known.tag, known.len)
            }
            _ => false,
        };
        assert!(is(old) || is(new), "{found:?} after {op:?}; it was {old:?}, would be {new:?}");
        match found {
            None if self.present(which).is_some() => drop(self.values.remove(&which)),
            None => {}
            Some(item) => {
                let known = if is(old) { old } else { new }.expect("found");
                self.highest = self.highest.max(item.version);
                self.values.insert(which, Known { version: item.version, ..known });
            }
        }
    }

    /// After a death inside a flush: all or nothing. A plan is made anew, because nothing tells
    /// whether it was made.
    fn adopt_flush(&mut self, delay_ms: u64) {
        if delay_ms > 0 {
            return self.flush(delay_ms);
        }
        let there = |which| self.store().exists(&key(which)).expect("exists").is_some();
        if !(0..KEYS).any(there) {
            self.values.clear();
        }
    }

    /// Dies, between two operations or inside one; the successor goes on.
    fn crash(&mut self, link: &mut Link) {
        self.counts.killed += 1;
        let op = self.draw();
        let inside = cfg!(feature = "faults")
            && !matches!(op, Op::Pass { .. } | Op::SetWall { .. } | Op::Rebuild | Op::Reopen);
        let new = self.after(op);
        let old = self.present(new.0);
        let steps = 1 + self.rng.below(60);
        link.succeed(|| {
            if inside {
                arm(steps);
                // SAFETY of the story: whatever happens in here happens to a process that dies.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.apply(op)));
            }
        });
        self.store = None;
        self.stale.extend(self.locks.drain().map(|(key, (_, held))| (key, held)));
        if self.rng.one_in(8) {
            let _ = std::fs::remove_file(self.path.join("meta"));
        }
        self.store = Some(open(&self.path, &self.options));
        if inside {
            self.counts.killed_inside += 1;
            match op {
                Op::Flush { delay_ms } => self.adopt_flush(delay_ms),
                Op::Config { default_ms, max_ms } => self.configure(default_ms, max_ms),
                _ => self.adopt(op, old, new),
            }
        }
        self.verify_all();
    }

    /// When all is deleted or expired the whole store can be filled again: nothing leaks.
    fn all_space_comes_back(&mut self) {
        for which in 0..KEYS {
            let _ = self.store().delete(&key(which), None, None).expect("delete");
        }
        for _ in 0..4 {
            self.clock.pass(1_000_000);
            self.store().expire(u64::MAX).expect("expire");
            self.store().sync().expect("sync");
        }
        let stats = self.store().stats().expect("stats");
        // One part in eight is the sweep's to work with.
        let room = (stats.segments - 6) * (stats.segment_bytes - 20_000) / 8 * 7;
        let value = content(7, 8_000);
        let mut stored = 0;
        while stored < room {
            let key = format!("filler {stored}");
            match self.store().set(key.as_bytes(), &value, 0, Ttl::Never) {
                Ok(_) => stored += value.len() as u64,
                Err(e) => panic!("after {stored} of {room} bytes: {e}; {stats:?}"),
            }
        }
    }
}

#[cfg(feature = "faults")]
fn arm(n: u64) {
    holdfast::fault::arm(n);
}

#[cfg(not(feature = "faults"))]
fn arm(_: u64) {}

fn play(name: &str, seed: u64, steps: u64, max_bytes: u64, sync: Sync) {
    let dir = memory_dir();
    process::chain(Duration::from_secs(600), |link| {
        let clock = HandClock::new();
        let max_value = (max_bytes / 8).min(300_000);
        let options = Options {
            create: true,
            thread: false,
            max_bytes: Some(max_bytes),
            max_value_bytes: Some(max_value),
            sync: Some(sync),
            clock: Some(clock.clone()),
            ..Options::default()
        };
        let mut world = World {
            path: dir.path().into(),
            store: Some(open(dir.path(), &options)),
            options,
            clock,
            rng: Rng::new(seed),
            values: HashMap::new(),
            locks: HashMap::new(),
            stale: HashMap::new(),
            highest: 0,
            flush_at: None,
            default_ms: 0,
            max_ms: 0,
            max_value: max_value as usize,
            counts: Counts::default(),
        };
        while world.counts.steps < steps {
            world.counts.steps += 1;
            if world.rng.one_in(150) {
                world.crash(link);
                continue;
            }
            let op = world.draw();
            let step = world.counts.steps;
            let run = std::panic::AssertUnwindSafe(|| world.apply(op));
            if std::panic::catch_unwind(run).is_err() {
                panic!("{name}: HOLDFAST_SEED={seed} step {step}: {op:?}");
            }
        }
        world.all_space_comes_back();
        format!("{name}: {:?}", world.counts)
    });
}

#[test]
fn a_store_of_1_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 4 / 10;
    play("1 MiB", seed("model 1 MiB"), steps, 1 << 20, Sync::Periodic);
}

#[test]
fn a_store_of_2_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 3 / 10;
    play("2 MiB", seed("model 2 MiB"), steps, 2 << 20, Sync::None);
}

#[test]
fn a_store_of_16_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 3 / 10;
    play("16 MiB", seed("model 16 MiB"), steps, 16 << 20, Sync::Always);
}
