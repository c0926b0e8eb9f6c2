//! Random operations against an obvious oracle: a hash map, a clock and a list of locks.
//!
//! The store is reopened, rebuilt from its log alone, and killed on the way. For a death the
//! process forks a successor, which inherits the oracle, and dies; built with the feature `faults`
//! it dies *inside* an operation, whose outcome is then old or new.

use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use holdfast::{
    Acquired, BatchItem, ConfigChange, Counted, Entry, Error, Expect, Held, Item, Mark, Options,
    Range, SCAN_DONE, Scan, Store, Stored, Sync, Ttl, Update, Wait, Write,
};
use holdfast_tests::process::{self, Link};
use holdfast_tests::{HandClock, Rng, content, memory_dir, open, seed, size};

const KEYS: usize = 40;
const COOKIES: u64 = 3;
const OWNERS: [&[u8]; 3] = [b"anna", b"bob", &[b'c'; 200]];
/// Keys of crowds.
const CROWD: u64 = 3000;

/// What is stored under a key. Expired ones stay until something replaces them.
#[derive(Clone, PartialEq)]
struct Known {
    value: Rc<Vec<u8>>,
    flags: u32,
    version: u64,
    expires_ms: u64,
    said: Said,
    owner: Option<usize>,
    /// Its owner was ended: it is no value any more.
    ended: bool,
    /// A number drawn right after that, while it was the last end of its owner.
    end: u64,
}

impl Known {
    /// One without an owner.
    fn new(value: Rc<Vec<u8>>, flags: u32, expires_ms: u64) -> Known {
        let (said, owner) = (Said::default(), None);
        Known { value, flags, version: 0, expires_ms, said, owner, ended: false, end: 0 }
    }

    /// The same with an owner, under a new version.
    fn with_owner(self, owner: usize) -> Known {
        let said = Said { version: None, ..self.said };
        Known { owner: Some(owner), said, ..self }
    }

    /// A version that its writer gives, and an owner: that cannot be.
    fn is_refused(&self) -> bool {
        self.said.version.is_some() && self.owner.is_some()
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Known { value, flags, version, expires_ms, said, owner, ended, .. } = self;
        let first = &value[..value.len().min(8)];
        write!(f, "{} bytes {first:x?}, {flags:x}, {version}, {expires_ms}", value.len())?;
        write!(f, ", {said:?}, of {owner:?}, ended {ended}")
    }
}

/// What a writer says of a value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Said {
    mark: Mark,
    version: Option<u64>,
}

impl Said {
    /// Mostly nothing; versions that repeat, and any.
    fn draw(rng: &mut Rng) -> Said {
        let marks = [Mark::None, Mark::None, Mark::Stale, Mark::Pending, Mark::StalePending];
        let version = match rng.below(12) {
            0 => Some(1 + rng.below(3)),
            1 => Some(rng.next().max(1)),
            _ => None,
        };
        Said { mark: *rng.pick(&marks), version }
    }
}

/// A value to be written: its bytes follow from it.
#[derive(Debug, Clone, Copy)]
struct Content {
    tag: u64,
    len: usize,
}

impl Content {
    /// Noise, text that can be compressed, or a number.
    fn bytes(self) -> Vec<u8> {
        match self.tag % 8 {
            0 => (self.tag >> 16).to_string().into_bytes(),
            1 | 2 => {
                let words = (0u64..).map(|n| (n * n + self.tag) % 97);
                words.flat_map(|n| format!("n|i:{n};").into_bytes()).take(self.len).collect()
            }
            _ => content(self.tag, self.len),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Put {
        key: usize,
        new: Content,
        flags: u32,
        ttl: Ttl,
        expect: Wish,
        fenced: bool,
        sync: bool,
        owner: Option<usize>,
        said: Said,
    },
    SetOwner {
        key: usize,
        owner: usize,
        fenced: bool,
    },
    EndOwner {
        owner: usize,
    },
    OwnerKeys {
        owner: usize,
    },
    Update {
        key: usize,
        new: Option<Content>,
        ttl: Option<Ttl>,
        fenced: bool,
        sync: bool,
        said: Said,
    },
    Count {
        key: usize,
        up: bool,
        delta: u64,
        initial: Option<u64>,
        ttl: Ttl,
        fenced: bool,
        said: Said,
    },
    Extend {
        key: usize,
        front: bool,
        new: Content,
        fenced: bool,
        sync: bool,
    },
    Batch {
        first: usize,
        count: usize,
        new: Content,
        ttl: Ttl,
        expect: Wish,
        sync: bool,
    },
    GetMany {
        first: usize,
        count: usize,
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
    Scan {
        limit: u64,
        values: bool,
    },
    Range {
        limit: u64,
        reverse: bool,
        values: bool,
    },
    Exists {
        key: usize,
    },
    Expire {
        budget: u64,
    },
    /// Many small keys at once, more than the index has room for.
    Crowd {
        first: u64,
        count: u64,
        ttl_ms: u64,
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

/// Is a lock older than an end?
#[derive(Debug, Clone, Copy, PartialEq)]
enum Late {
    No,
    Yes,
    /// The end is so long ago that it may be forgotten.
    Perhaps,
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
    /// An owner's last end: a number above all locks from before, and until when it is known for
    /// sure.
    ends: HashMap<usize, (u64, u64)>,
    /// When each key of a crowd expires.
    crowd: HashMap<u64, u64>,
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
    late: u64,
    grown: u64,
}

fn key(which: usize) -> Vec<u8> {
    let len = [1, 8, 31, 64, 250, 1000][which % 6];
    let mut key = vec![b'a' + which as u8 % 26; len];
    key[0] = which as u8;
    key
}

fn one_of_crowd(i: u64) -> Vec<u8> {
    format!("crowd {i}").into_bytes()
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
        let (fenced, sync) = (rng.one_in(4), rng.one_in(20));
        let len = match rng.below(100) {
            0..60 => rng.below(300) as usize,
            60..90 => rng.below(6_000) as usize,
            90..97 => rng.below(30_000) as usize,
            _ => rng.below(self.max_value as u64 + 1) as usize,
        };
        let new = Content { tag: rng.next(), len };
        let said = Said::draw(rng);
        let expect = match rng.below(8) {
            0 => Wish::Absent,
            1 => Wish::Present,
            2 => Wish::Right,
            3 => Wish::Wrong,
            _ => Wish::Any,
        };
        match rng.below(1000) {
            0..220 => {
                let owner = rng.one_in(4).then(|| rng.below(3) as usize);
                let flags = rng.next() as u32;
                Op::Put { key, new, flags, ttl, expect, fenced, sync, owner, said }
            }
            220..260 => {
                let (new, ttl) = (Some(new).filter(|_| !rng.one_in(4)), Some(ttl));
                Op::Update { key, new, ttl: ttl.filter(|_| rng.one_in(2)), fenced, sync, said }
            }
            260..300 => {
                let delta = *rng.pick(&[0, 1, 10, u64::MAX / 2, u64::MAX]);
                let initial = Some(rng.next()).filter(|_| rng.one_in(2));
                Op::Count { key, up: rng.one_in(2), delta, initial, ttl, fenced, said }
            }
            300..330 => Op::Extend { key, front: rng.one_in(2), new, fenced, sync },
            330..340 => {
                let (count, new) = (1 + rng.below(6) as usize, Content { len: len % 9_000, ..new });
                Op::Batch { first: key, count, new, ttl, expect, sync }
            }
            340..350 => Op::GetMany { first: key, count: rng.below(KEYS as u64 + 1) as usize },
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
            800..815 => Op::Expire { budget: rng.below(200) },
            815..820 => Op::EndOwner { owner: rng.below(3) as usize },
            820..826 => Op::SetOwner { key, owner: rng.below(3) as usize, fenced },
            826..830 => Op::OwnerKeys { owner: rng.below(3) as usize },
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
            987..996 => Op::Reopen,
            996..997 => Op::Crowd {
                first: rng.below(CROWD),
                count: 200 + rng.below(1_000),
                ttl_ms: 1_000 + rng.below(100_000),
            },
            _ => Op::Rebuild,
        }
    }

    fn present(&self, key: usize) -> Option<Known> {
        let now = self.store().now_ms().expect("the time");
        if self.flush_is_due() {
            return None;
        }
        let known = self.values.get(&key)?;
        let alive = !known.ended && (known.expires_ms == 0 || known.expires_ms > now);
        alive.then(|| known.clone())
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
            self.forget_all();
            self.verify_all();
        }
    }

    /// Flushed: owners too, and their ends.
    fn forget_all(&mut self) {
        self.values.clear();
        self.crowd.clear();
        self.ends.clear();
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
            self.forget_all();
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
            Op::Put { key, new, flags, ttl, owner, said, .. } => {
                let known = Known::new(Rc::new(new.bytes()), flags, self.expires(ttl));
                let owner = owner.or_else(|| self.present(key)?.owner);
                (key, Some(Known { owner, said, ..known }))
            }
            Op::SetOwner { key, owner, .. } => {
                (key, self.present(key).map(|known| known.with_owner(owner)))
            }
            Op::Update { key, new, ttl, said, .. } => (key, self.updated(key, new, ttl, said)),
            Op::Count { key, up, delta, initial, ttl, said, .. } => {
                (key, self.counted(key, up, delta, initial, ttl, said).0)
            }
            Op::Extend { key, front, new, .. } => (key, self.extended(key, front, new)),
            Op::Batch { first, new, ttl, .. } => {
                let known = Known::new(Rc::new(new.bytes()), 5, self.expires(ttl));
                let owner = self.present(first).and_then(|known| known.owner);
                (first, Some(Known { owner, ..known }))
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

    fn expect(&self, wish: Wish, which: usize) -> Expect {
        match (wish, self.present(which)) {
            (Wish::Any, _) => Expect::Any,
            (Wish::Absent, _) => Expect::Absent,
            (Wish::Present, _) => Expect::Present,
            (Wish::Right, Some(known)) => Expect::Version(known.version),
            (Wish::Right | Wish::Wrong, _) => Expect::Version(self.highest / 2 + 1),
        }
    }

    /// A write of a whole value came to this.
    fn wrote(
        &mut self,
        which: usize,
        held: Option<Held>,
        good: bool,
        expect: Expect,
        stored: Stored,
        mut new: Known,
    ) {
        let (present, named) = (self.present(which), new.owner);
        let late = self.is_late(which, named, held);
        let allowed = match (good, expect, &present) {
            (false, ..) => Err(Stored::Lost),
            // Whoever names an owner that was ended is told so first.
            _ if self.is_late(KEYS, named, held) == Late::Yes => Err(Stored::Lost),
            _ if named.is_some() && late == Late::Perhaps && stored == Stored::Lost => return,
            (_, Expect::Any, _) | (_, Expect::Absent, None) | (_, Expect::Present, Some(_)) => {
                Ok(())
            }
            (_, Expect::Absent, Some(known)) => Err(Stored::Exists(known.version)),
            (_, Expect::Present | Expect::Version(_), None) => Err(Stored::Missing),
            (_, Expect::Version(asked), Some(known)) if asked == known.version => Ok(()),
            (_, Expect::Version(_), Some(known)) => Err(Stored::Exists(known.version)),
        };
        let allowed = match (allowed, late, stored) {
            (Ok(()), Late::Yes, _) | (Ok(()), Late::Perhaps, Stored::Lost) => Err(Stored::Lost),
            (allowed, ..) => allowed,
        };
        match (allowed, stored) {
            (Ok(()), Stored::Done(version)) => {
                new.owner = named.or_else(|| present?.owner);
                assert!(!new.is_refused(), "{new:?}");
                self.becomes(which, version, Some(new));
            }
            (Ok(()), other) => panic!("not stored: {other:?}"),
            (Err(outcome), stored) => {
                self.counts.late += (good && outcome == Stored::Lost) as u64;
                assert_eq!(stored, outcome);
            }
        }
    }

    /// A change with a new version, or the one given.
    fn becomes(&mut self, which: usize, version: u64, after: Option<Known>) {
        match after.as_ref().and_then(|known| known.said.version) {
            Some(given) => assert_eq!(version, given),
            None => drop(self.new_version(version)),
        }
        match after {
            Some(known) => drop(self.values.insert(which, Known { version, ..known })),
            None => drop(self.values.remove(&which)),
        }
    }

    fn put(&mut self, op: Op) {
        let Op::Put { key: which, new, flags, ttl, expect, fenced, sync, owner, said } = op else {
            return;
        };
        let (held, good) = self.fence(which, fenced);
        let expect = self.expect(expect, which);
        let name = owner.map(|o| OWNERS[o]);
        let Said { mark, version } = said;
        let how =
            Write { flags, ttl, expect, held: held.as_ref(), sync, owner: name, mark, version };
        let value = Rc::new(new.bytes());
        let result = self.store().write(&key(which), &value, &how);
        if let Err(Error::Invalid(_)) = result {
            let keeps = self.present(which).is_some_and(|known| known.owner.is_some());
            return assert!(version.is_some() && (owner.is_some() || (good && keeps)));
        }
        let Some(stored) = self.allow_full(result) else { return };
        let new = Known { owner, said, ..Known::new(value, flags, self.expires(ttl)) };
        self.wrote(which, held, good, expect, stored, new);
    }

    /// What an update makes of a value: other bytes behind the first few of the old ones, or none.
    fn updated(
        &self,
        which: usize,
        new: Option<Content>,
        ttl: Option<Ttl>,
        said: Said,
    ) -> Option<Known> {
        let present = self.present(which);
        let old: &[u8] = present.as_ref().map_or(&[], |known| &known.value);
        let value = Rc::new([&old[..old.len().min(5)], &new?.bytes()].concat());
        let flags = present.as_ref().map_or(1, |known| known.flags.wrapping_add(1));
        let expires_ms = match (ttl, &present) {
            (None, Some(known)) => known.expires_ms,
            (ttl, _) => self.expires(ttl.unwrap_or(Ttl::Default)),
        };
        let owner = present.and_then(|known| known.owner);
        Some(Known { owner, said, ..Known::new(value, flags, expires_ms) })
    }

    fn update(&mut self, op: Op) {
        let Op::Update { key: which, new, ttl, fenced, sync, said } = op else { return };
        let (held, good) = self.fence(which, fenced);
        let late = self.is_late(which, None, held);
        let (present, after) = (self.present(which), self.updated(which, new, ttl, said));
        let result = self.store().update(&key(which), held.as_ref(), sync, &mut |seen| {
            assert_eq!(seen.is_some(), present.is_some());
            if let (Some((value, item)), Some(known)) = (seen, &present) {
                World::check_item(known, *item);
                assert!(*value == **known.value, "another value");
            }
            match &after {
                Some(known) => {
                    let value = known.value.to_vec();
                    let Said { mark, version } = said;
                    Update::Write { value, flags: known.flags, ttl, mark, version }
                }
                None => Update::Delete,
            }
        });
        match result {
            Err(Error::TooLarge { len, .. }) => {
                assert!(len == after.expect("a value").value.len() as u64);
                assert!(len > self.max_value as u64);
            }
            Err(Error::Invalid(_)) => assert!(good && after.expect("a value").is_refused()),
            result => match self.allow_full(result) {
                None => assert!(after.is_some(), "a delete needs no room"),
                Some(stored) if !good => assert_eq!(stored, Stored::Lost),
                Some(Stored::Lost) => assert!(late != Late::No && after.is_some()),
                Some(Stored::Done(_)) if late == Late::Yes => panic!("brought back"),
                Some(Stored::Missing) => assert!(present.is_none() && after.is_none()),
                Some(Stored::Done(version)) => {
                    assert!(after.as_ref().is_none_or(|known| !known.is_refused()));
                    self.becomes(which, version, after);
                }
                Some(other) => panic!("{other:?}"),
            },
        }
    }

    /// What counting makes of a value, and the number.
    fn counted(
        &self,
        which: usize,
        up: bool,
        delta: u64,
        initial: Option<u64>,
        ttl: Ttl,
        said: Said,
    ) -> (Option<Known>, Option<u64>) {
        let present = self.present(which);
        let number = match &present {
            None => initial,
            Some(known) => {
                let text = std::str::from_utf8(&known.value).ok();
                let digits = |text: &&str| !text.starts_with('+') && text.len() <= 20;
                let old = text.filter(digits).and_then(|text| text.parse::<u64>().ok());
                old.map(|n| if up { n.wrapping_add(delta) } else { n.saturating_sub(delta) })
            }
        };
        let Some(number) = number else { return (present, None) };
        let value = Rc::new(number.to_string().into_bytes());
        let known = match present {
            Some(known) => Known { value, said, ..known },
            None => Known { said, ..Known::new(value, 9, self.expires(ttl)) },
        };
        (Some(known), Some(number))
    }

    fn count(&mut self, op: Op) {
        let Op::Count { key: which, up, delta, initial, ttl, fenced, said } = op else { return };
        let (held, good) = self.fence(which, fenced);
        let late = self.is_late(which, None, held);
        let (after, number) = self.counted(which, up, delta, initial, ttl, said);
        let Said { mark, version } = said;
        let held = held.as_ref();
        let how = Write { flags: 9, ttl, held, mark, version, ..Write::default() };
        let result = match up {
            true => self.store().increment(&key(which), delta, initial, &how),
            false => self.store().decrement(&key(which), delta, initial, &how),
        };
        if let Err(Error::Invalid(_)) = result {
            return assert!(good && number.is_some() && after.expect("a value").is_refused());
        }
        let Some(counted) = self.allow_full(result) else { return };
        match (counted, number) {
            (Counted::Lost, _) => assert!(!good || (late != Late::No && number.is_some())),
            (Counted::Done { .. }, _) if late == Late::Yes => panic!("brought back"),
            (Counted::Done { value, version }, Some(number)) if good => {
                assert_eq!(value, number);
                assert!(after.as_ref().is_none_or(|known| !known.is_refused()));
                self.becomes(which, version, after);
            }
            (Counted::NotANumber(version), None) => {
                assert_eq!(version, after.expect("a value").version)
            }
            (Counted::Missing, None) => assert!(after.is_none()),
            other => panic!("{other:?}"),
        }
    }

    fn extended(&self, which: usize, front: bool, new: Content) -> Option<Known> {
        let known = self.present(which)?;
        let (old, bytes) = (&known.value[..], &new.bytes()[..]);
        let value = Rc::new(if front { [bytes, old].concat() } else { [old, bytes].concat() });
        Some(Known { value, said: Said::default(), ..known })
    }

    fn extend(&mut self, op: Op) {
        let Op::Extend { key: which, front, new, fenced, sync } = op else { return };
        let (held, good) = self.fence(which, fenced);
        let after = self.extended(which, front, new);
        let (name, bytes) = (key(which), new.bytes());
        let result = match front {
            true => self.store().prepend(&name, &bytes, held.as_ref(), sync),
            false => self.store().append(&name, &bytes, held.as_ref(), sync),
        };
        if let Err(Error::TooLarge { len, .. }) = result {
            return assert!(len > self.max_value as u64);
        }
        let Some(stored) = self.allow_full(result) else { return };
        match (stored, after) {
            (Stored::Lost, _) => assert!(!good),
            (Stored::Missing, None) => {}
            (Stored::Done(version), Some(known)) if good => {
                self.becomes(which, version, Some(known));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Some neighbours get the same value, one item after the other; what one does the next sees.
    fn batch(&mut self, op: Op) {
        let Op::Batch { first, count, new, ttl, expect, sync } = op else { return };
        // The last is the first again.
        let places: Vec<usize> =
            (0..count).map(|i| (first + i) % KEYS).chain(Some(first)).collect();
        let names: Vec<Vec<u8>> = places.iter().map(|which| key(*which)).collect();
        let expects: Vec<Expect> = places.iter().map(|which| self.expect(expect, *which)).collect();
        let value = Rc::new(new.bytes());
        let items: Vec<BatchItem> = names
            .iter()
            .zip(&expects)
            .map(|(key, expect)| {
                let how = Write { flags: 5, ttl, expect: *expect, sync, ..Write::default() };
                BatchItem { key, value: &value, how }
            })
            .collect();
        let outcomes = self.store().set_many(&items).expect("set_many");
        assert_eq!(outcomes.len(), places.len());
        let expires_ms = self.expires(ttl);
        for ((which, expect), outcome) in places.into_iter().zip(expects).zip(outcomes) {
            let Some(stored) = self.allow_full(outcome) else { continue };
            let new = Known::new(value.clone(), 5, expires_ms);
            self.wrote(which, None, true, expect, stored, new);
        }
    }

    fn get_many(&self, first: usize, count: usize) {
        let names: Vec<Vec<u8>> = (first..first + count).map(|which| key(which % KEYS)).collect();
        let names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
        let mut next = 0;
        let mut each = |index: usize, found: holdfast::Result<Option<(&Item, &[u8])>>| {
            assert_eq!(index, next, "in their order");
            next += 1;
            let known = self.present((first + index) % KEYS);
            match (known, found.expect("get_many")) {
                (Some(known), Some((item, value))) => {
                    World::check_item(&known, *item);
                    assert!(*value == **known.value, "another value");
                }
                (None, None) => {}
                other => panic!("{other:?}"),
            }
        };
        self.store().get_many(&names, &mut each).expect("get_many");
        assert_eq!(next, count);
    }

    /// Is a lock from before the end of the owner that is named, or of the value that was there?
    fn is_late(&self, which: usize, named: Option<usize>, held: Option<Held>) -> Late {
        let Some(held) = held else { return Late::No };
        let now = self.store().now_ms().expect("the time");
        let late = |owner: Option<usize>| {
            let Some((end, until)) = owner.and_then(|o| self.ends.get(&o)) else { return Late::No };
            match held.fence > *end {
                true => Late::No,
                false if now >= *until => Late::Perhaps,
                false => Late::Yes,
            }
        };
        let dead = self.values.get(&which).filter(|known| known.ended);
        // What had expired by itself, or was ended before, may have been swept before the lock was
        // taken; if it was not, it is judged by the last end.
        let expired = dead.is_some_and(|d| d.expires_ms != 0 && d.expires_ms <= now)
            || dead.is_some_and(|d| held.fence > d.end);
        match (late(named), late(dead.and_then(|d| d.owner))) {
            (Late::Yes, _) => Late::Yes,
            (_, Late::Yes) if !expired => Late::Yes,
            (Late::No, Late::No) => Late::No,
            _ => Late::Perhaps,
        }
    }

    fn end_owner(&mut self, owner: usize) {
        let result = self.store().end_owner(OWNERS[owner]);
        if self.allow_full(result).is_none() {
            // Begun or not: all of it or nothing.
            if self.left_of(owner) == 0 {
                self.ended(owner, 0);
            }
            return;
        }
        let known_ms = if self.max_ms == 0 { 24 * 3600 * 1000 } else { self.max_ms };
        self.ended(owner, self.store().now_ms().expect("the time") + known_ms);
        self.verify_all();
    }

    /// How many of an owner's values are there: all or none.
    fn left_of(&self, owner: usize) -> usize {
        let theirs = |w: &usize| self.present(*w).is_some_and(|known| known.owner == Some(owner));
        let there = |w: &usize| self.store().exists(&key(*w)).expect("exists").is_some();
        let theirs: Vec<_> = (0..KEYS).filter(theirs).collect();
        let left = theirs.iter().filter(|w| there(w)).count();
        assert!(left == 0 || left == theirs.len(), "{left} of {}", theirs.len());
        left
    }

    /// From now on only locks that are taken later may write for this owner.
    fn ended(&mut self, owner: usize, until: u64) {
        // A lock's fence is a number above all that were drawn before.
        let wait = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
        let locked = self.store().lock(b"marker", 1, &wait).expect("lock");
        let Acquired::Held(held) = locked else { panic!("{locked:?}") };
        assert!(self.store().unlock(b"marker", &held).expect("unlock"));
        let end = self.new_version(held.fence);
        for known in self.values.values_mut().filter(|known| known.owner == Some(owner)) {
            if !known.ended {
                (known.ended, known.end) = (true, end);
            }
        }
        self.ends.insert(owner, (end, until));
    }

    fn owner_keys(&mut self, owner: usize) {
        let mut found = Vec::new();
        let mut each = |key: &[u8]| {
            found.push(key.to_vec());
            true
        };
        self.store().owner_keys(OWNERS[owner], &mut each).expect("owner_keys");
        let theirs = |w: &usize| self.present(*w).is_some_and(|known| known.owner == Some(owner));
        let mut expected: Vec<_> = (0..KEYS).filter(theirs).map(key).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        for which in 0..KEYS {
            let name = self.present(which).and_then(|known| known.owner).map(|o| OWNERS[o]);
            assert_eq!(self.store().owner_of(&key(which)).expect("owner_of").as_deref(), name);
        }
    }

    /// A touch keeps the version, but for a shorter life, which is a new record.
    fn touched(&mut self, which: usize, known: Known, expires_ms: u64) {
        let item = self.store().exists(&key(which)).expect("exists").expect("just touched");
        assert_eq!(item.expires_ms, expires_ms);
        let shorter = expires_ms != 0 && (known.expires_ms == 0 || expires_ms < known.expires_ms);
        let is_new = shorter && known.said.version.is_none();
        let version = if is_new { self.new_version(item.version) } else { known.version };
        assert_eq!(item.version, version);
        self.values.insert(which, Known { version, expires_ms, ..known });
    }

    fn check_item(known: &Known, item: Item) {
        let found = (item.version, item.flags, item.expires_ms, item.value_len, item.mark);
        let len = known.value.len() as u64;
        let expected = (known.version, known.flags, known.expires_ms, len, known.said.mark);
        assert_eq!(found, expected);
    }

    fn get(&self, which: usize) {
        let mut value = Vec::new();
        let item = self.store().get(&key(which), &mut value).expect("get");
        let known = self.present(which);
        assert_eq!(item.is_some(), known.is_some(), "{known:?} expected, {item:?} found");
        if let (Some(known), Some(item)) = (known, item) {
            World::check_item(&known, item);
            assert!(value == *known.value, "another value");
        }
    }

    fn verify_all(&self) {
        (0..KEYS).for_each(|which| self.get(which));
        self.verify_crowd();
    }

    fn verify_crowd(&self) {
        for i in self.crowd.keys() {
            let item = self.store().exists(&one_of_crowd(*i)).expect("exists");
            assert_eq!(item.map(|item| item.expires_ms), self.present_in_crowd(*i), "crowd {i}");
        }
    }

    /// When a key of a crowd expires, if it is there.
    fn present_in_crowd(&self, i: u64) -> Option<u64> {
        let now = self.store().now_ms().expect("the time");
        self.crowd.get(&i).copied().filter(|at| *at > now && !self.flush_is_due())
    }

    fn gather(&mut self, first: u64, count: u64, ttl_ms: u64) {
        let slots = |world: &World| world.store().stats().expect("stats").index_slots;
        let before = slots(self);
        for i in (first..first + count).map(|i| i % CROWD) {
            let expires_ms = self.expires(Ttl::Millis(ttl_ms));
            let result = self.store().set(&one_of_crowd(i), b"", 0, Ttl::Millis(ttl_ms));
            match self.allow_full(result) {
                Some(Stored::Done(version)) => drop(self.new_version(version)),
                Some(other) => panic!("{other:?}"),
                None => break,
            }
            self.crowd.insert(i, expires_ms);
        }
        self.counts.grown += (slots(self) > before) as u64;
        self.verify_crowd();
    }

    /// What an entry shows must be known; gives which key it is.
    fn check_entry(&self, entry: &Entry, values: bool) -> usize {
        let which = entry.key[0] as usize;
        assert_eq!(entry.key, key(which));
        let known = self.present(which).unwrap_or_else(|| panic!("{entry:?} is not there"));
        World::check_item(&known, entry.item);
        let wanted = values.then_some(known.value.as_slice());
        assert!(entry.value == wanted, "another value");
        which
    }

    fn all_present(&self) -> Vec<usize> {
        (0..KEYS).filter(|which| self.present(*which).is_some()).collect()
    }

    fn scan(&self, limit: u64, values: bool) {
        let (mut cursor, mut seen, mut crowd) = (0, Vec::new(), 0);
        let page = Scan { limit, values, ..Scan::default() };
        while cursor != SCAN_DONE {
            let page = self.store().scan(&mut cursor, &page, &mut |entry| {
                match entry.key.strip_prefix(b"crowd ") {
                    Some(_) => crowd += 1,
                    None => seen.push(self.check_entry(entry, values)),
                }
                ControlFlow::Continue(())
            });
            assert_eq!(page.expect("scan").damaged, 0);
        }
        seen.sort();
        let all_of_crowd = self.crowd.keys().filter(|i| self.present_in_crowd(**i).is_some());
        assert_eq!((seen, crowd), (self.all_present(), all_of_crowd.count()));
    }

    fn range(&self, limit: u64, reverse: bool, values: bool) {
        let mut seen = Vec::new();
        // Behind these are the crowds.
        let to = Bound::Excluded(&[KEYS as u8][..]);
        let range = Range { to, limit, reverse, values, ..Range::default() };
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
            Op::Update { .. } => self.update(op),
            Op::Count { .. } => self.count(op),
            Op::Extend { .. } => self.extend(op),
            Op::Batch { .. } => self.batch(op),
            Op::GetMany { first, count } => self.get_many(first, count),
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
                    assert!(value == *known.value);
                    self.touched(which, known, self.expires(ttl));
                }
            }
            Op::Delete { key: which, right, fenced } => {
                let (held, good) = self.fence(which, fenced);
                let present = self.present(which);
                let wrong = self.highest / 2 + 1;
                let expected =
                    right.map(|r| present.as_ref().filter(|_| r).map_or(wrong, |it| it.version));
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
                    World::check_item(&known, item);
                }
            }
            Op::Crowd { first, count, ttl_ms } => self.gather(first, count, ttl_ms),
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
            Op::EndOwner { owner } => self.end_owner(owner),
            Op::OwnerKeys { owner } => self.owner_keys(owner),
            Op::SetOwner { key: which, owner, fenced } => {
                let (held, good) = self.fence(which, fenced);
                let late = self.is_late(which, Some(owner), held);
                let present = self.present(which);
                let result = self.store().set_owner(&key(which), OWNERS[owner], held.as_ref());
                let Some(stored) = self.allow_full(result) else { return };
                match (good, present, late, stored) {
                    (_, None, _, stored) => assert_eq!(stored, Stored::Missing),
                    (false, ..) | (_, _, Late::Yes, _) => assert_eq!(stored, Stored::Lost),
                    (_, _, Late::Perhaps, Stored::Lost) => {}
                    (_, Some(known), _, Stored::Done(version)) => {
                        let version = self.new_version(version);
                        let known = Known { version, ..known.with_owner(owner) };
                        self.values.insert(which, known);
                    }
                    other => panic!("{other:?}"),
                }
            }
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
        let owner = self.store().owner_of(&key(which)).expect("owner_of");
        let is = |known: &Option<Known>| match (known, found) {
            (None, None) => true,
            (Some(known), Some(item)) => {
                known.owner.map(|o| OWNERS[o]) == owner.as_deref()
                    && known.flags == item.flags
                    && known.said.mark == item.mark
                    && known.said.version.is_none_or(|given| given == item.version)
                    && known.expires_ms == item.expires_ms
                    && value == *known.value
            }
            _ => false,
        };
        assert!(is(&old) || is(&new), "{found:?} after {op:?}; it was {old:?}, would be {new:?}");
        match found {
            None if self.present(which).is_some() => drop(self.values.remove(&which)),
            None => {}
            Some(item) => {
                let known = if is(&old) { old } else { new }.expect("found");
                if known.said.version.is_none() {
                    self.highest = self.highest.max(item.version);
                }
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
        let there = |key: Vec<u8>| self.store().exists(&key).expect("exists").is_some();
        let crowd = || self.crowd.keys().map(|i| one_of_crowd(*i));
        if !(0..KEYS).map(key).chain(crowd()).any(there) {
            self.values.clear();
            self.crowd.clear();
        }
        // Flushed with the rest, or not.
        self.ends.values_mut().for_each(|(_, known_until)| *known_until = 0);
    }

    /// After a death inside an end: all of it or nothing. If nothing is to be seen it is ended now.
    fn adopt_end(&mut self, owner: usize) {
        if self.left_of(owner) == 0 {
            self.end_owner(owner);
        }
    }

    /// Dies, between two operations or inside one; the successor goes on.
    fn crash(&mut self, link: &mut Link) {
        self.counts.killed += 1;
        let op = self.draw();
        let inside = cfg!(feature = "faults")
            && !matches!(
                op,
                Op::Pass { .. } | Op::SetWall { .. } | Op::Crowd { .. } | Op::Rebuild | Op::Reopen
            );
        // Of several only the first may be under way.
        let op = match op {
            Op::Batch { first, new, ttl, expect, sync, .. } => {
                Op::Batch { first, count: 0, new, ttl, expect, sync }
            }
            op => op,
        };
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
                Op::EndOwner { owner } => self.adopt_end(owner),
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

fn play(name: &str, seed: u64, steps: u64, max_bytes: u64, sync: Sync, compress: bool) {
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
            compress: Some(compress),
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
            crowd: HashMap::new(),
            highest: 0,
            ends: HashMap::new(),
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
        assert!(steps < 10_000 || world.counts.grown > 0, "the index never had to grow");
        world.all_space_comes_back();
        format!("{name}: {:?}", world.counts)
    });
}

#[test]
fn a_store_of_1_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 4 / 10;
    play("1 MiB", seed("model 1 MiB"), steps, 1 << 20, Sync::Periodic, false);
}

#[test]
fn a_store_of_2_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 3 / 10;
    play("2 MiB", seed("model 2 MiB"), steps, 2 << 20, Sync::None, true);
}

#[test]
fn a_store_of_16_mib_agrees_with_the_oracle() {
    let steps = size("HOLDFAST_MODEL_STEPS", 100_000) * 3 / 10;
    play("16 MiB", seed("model 16 MiB"), steps, 16 << 20, Sync::Always, false);
}
