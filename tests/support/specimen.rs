//! A small store that has one of everything, what may be read from it, and everything that can be done with it.
//!
//! For tests that damage such a store. They know each value that each key ever had, so whatever is read is right, an
//! older value of that key, nothing, refused, or wrong; only the last of these fails by itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdfast::{
    Acquired, Entry, Error, Mark, Options, Range, SCAN_DONE, Scan, Store, Stored, Ttl, Wait, Write,
};

use crate::{signature, signed};

/// The longest of its values: it fills three segments.
const LONGEST: usize = 131_000;
const OWNERS: [&[u8]; 3] = [b"anna", b"bert", b"carl"];
const COUNTER: &[u8] = b"#counter";
const EMPTY: &[u8] = b"empty";

pub fn options() -> Options {
    Options {
        create: true,
        thread: false,
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(1 << 17),
        max_processes: Some(8),
        operation_timeout: Duration::from_millis(100),
        open_timeout: Duration::from_millis(500),
        compress: Some(true),
        ..Options::default()
    }
}

/// What reading a key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Right,
    /// An error.
    Refused,
    /// Nothing, where there is a value.
    Missing,
    /// What this key had before, or had when it had not ended.
    Older,
}

/// The values of a key.
#[derive(Clone, Default)]
struct Want {
    now: Option<u64>,
    ever: Vec<u64>,
}

/// What each key of the specimen has and ever had.
#[derive(Clone, Default)]
pub struct Wants(BTreeMap<Vec<u8>, Want>);

impl Wants {
    /// The keys that were ever used, ended ones among them.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// Has it a value?
    pub fn has(&self, key: &[u8]) -> bool {
        key == COUNTER || key == EMPTY || self.0.get(key).is_some_and(|want| want.now.is_some())
    }

    /// What a value, or none, that was read is; a panic if it was never this key's.
    pub fn judge(&self, key: &[u8], found: Option<&[u8]>) -> Seen {
        let Some(value) = found else {
            return if self.has(key) { Seen::Missing } else { Seen::Right };
        };
        let wrong = || -> ! {
            let begin = &value[..value.len().min(40)];
            panic!("{} has a wrong value of {} bytes: {begin:?}", shown(key), value.len())
        };
        if key == COUNTER || key == EMPTY {
            let fine = match key {
                EMPTY => value.is_empty(),
                _ => value == b"41" || value == b"42",
            };
            return if fine { Seen::Right } else { wrong() };
        }
        let Some(want) = self.0.get(key) else { panic!("{} was never stored", shown(key)) };
        let whole = value.strip_suffix(b"more").unwrap_or(value);
        match signature(key, whole) {
            Some(number) if want.now == Some(number) => Seen::Right,
            Some(number) if want.ever.contains(&number) => Seen::Older,
            _ => wrong(),
        }
    }

    fn judge_read(&self, key: &[u8], found: Result<Option<&[u8]>, &Error>) -> Seen {
        found.map_or(Seen::Refused, |found| self.judge(key, found))
    }
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Fills a store, and notes what is then in it; without a store it only notes.
pub struct Maker<'a> {
    store: Option<&'a Store>,
    wants: Wants,
    number: u64,
}

impl<'a> Maker<'a> {
    pub fn new(store: Option<&'a Store>) -> Maker<'a> {
        Maker { store, wants: Wants::default(), number: 0 }
    }

    fn set(&mut self, key: &[u8], len: usize, how: Write) {
        self.number += 1;
        let want = self.wants.0.entry(key.to_vec()).or_default();
        want.now = Some(self.number);
        want.ever.push(self.number);
        if let Some(store) = self.store {
            let stored = store.write(key, &signed(key, self.number, len), &how);
            assert!(matches!(stored, Ok(Stored::Done(_))), "{}: {stored:?}", shown(key));
        }
    }

    fn ends(&mut self, keys: impl Fn(&[u8]) -> bool) {
        self.wants.0.iter_mut().filter(|(key, _)| keys(key)).for_each(|(_, want)| want.now = None);
    }

    fn delete(&mut self, key: &[u8]) {
        self.ends(|other| other == key);
        self.store.map(|store| store.delete(key, None, None).expect("deleted"));
    }

    /// The first half of its life; a copy of its files at this moment makes stale pages.
    pub fn youth(&mut self) {
        for i in 0..6 {
            self.set(format!("flushed {i}").as_bytes(), 300, Write::default());
        }
        self.ends(|_| true);
        if let Some(store) = self.store {
            store.flush(None).expect("flushed");
        }
        for i in 0..12 {
            self.set(format!("small {i}").as_bytes(), 16 + 23 * i, Write::default());
        }
        for i in 0..8 {
            self.set(format!("rewritten {i}").as_bytes(), 900, Write::default());
            self.set(format!("deleted {i}").as_bytes(), 500, Write::default());
        }
        for i in 0..70 {
            self.set(format!("filler {i}").as_bytes(), 2_000, Write::default());
        }
    }

    /// The other half.
    pub fn age(&mut self) {
        let plain = Write::default();
        for i in (0..70).filter(|i| i % 8 != 0) {
            self.delete(format!("filler {i}").as_bytes());
        }
        // Copies of what is left in the segments of the fillers.
        self.store.map(|store| store.compact().expect("compacted"));
        for i in 0..8 {
            let key = format!("rewritten {i}").into_bytes();
            self.set(&key, 700, plain);
            self.set(&key, 800, plain);
            self.delete(format!("deleted {i}").as_bytes());
        }
        for i in 0..10 {
            self.set(format!("middle {i}").as_bytes(), 400 * (i + 1), plain);
        }
        for (name, owner) in [("phone", 0), ("laptop", 0), ("tablet", 1), ("gone", 2), ("lost", 2)]
        {
            self.set(name.as_bytes(), 600, Write { owner: Some(OWNERS[owner]), ..plain });
        }
        self.ends(|key| key == b"gone" || key == b"lost");
        self.set(b"marked", 200, Write { mark: Mark::Stale, flags: 7, ..plain });
        self.set(b"versioned", 200, Write { version: Some(77), ..plain });
        self.set(b"until tomorrow", 300, Write { ttl: Ttl::Millis(86_400_000), ..plain });
        self.set(b"touched", 300, Write { ttl: Ttl::Millis(100_000), ..plain });
        self.set(b"fleeting", 300, Write { ttl: Ttl::Millis(1), ..plain });
        self.ends(|key| key == b"fleeting");
        self.set(b"longest", LONGEST, plain);
        let Some(store) = self.store else { return };
        store.end_owner(OWNERS[2]).expect("ended");
        store.touch(b"touched", Ttl::Never, None).expect("touched");
        store.set(EMPTY, b"", 0, Ttl::Never).expect("stored");
        store.set(COUNTER, b"41", 0, Ttl::Never).expect("stored");
    }

    pub fn wants(mut self) -> Wants {
        for key in [EMPTY, COUNTER] {
            self.wants.0.insert(key.to_vec(), Want::default());
        }
        self.wants
    }
}

/// How long the longest operation took, and which it was.
#[derive(Default)]
pub struct Watch {
    pub longest: Duration,
    pub which: &'static str,
}

impl Watch {
    fn time<T>(&mut self, which: &'static str, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        if begun.elapsed() > self.longest {
            (self.longest, self.which) = (begun.elapsed(), which);
        }
        done
    }
}

/// Reads every key; what became of each, in their order.
pub fn get_all(store: &Store, wants: &Wants, watch: &mut Watch) -> Vec<Seen> {
    get_some(store, wants, watch, |_, _| true)
}

/// The same for some keys; what is not read counts as right.
pub fn get_some(
    store: &Store,
    wants: &Wants,
    watch: &mut Watch,
    reads: impl Fn(usize, &[u8]) -> bool,
) -> Vec<Seen> {
    let mut value = Vec::new();
    let get = |(i, key): (usize, &[u8])| {
        if !reads(i, key) {
            return Seen::Right;
        }
        let found = watch.time("get", || store.get(key, &mut value));
        wants.judge_read(key, found.as_ref().map(|item| item.map(|_| &value[..])))
    };
    wants.keys().enumerate().map(get).collect()
}

/// Everything that looks at a store and changes nothing.
pub fn look_all(store: &Store, wants: &Wants, watch: &mut Watch) {
    for key in wants.0.keys() {
        if let Ok(Some(item)) = watch.time("exists", || store.exists(key)) {
            assert!(item.value_len <= 1 << 26, "{item:?}");
        }
        let _ = watch.time("owner_of", || store.owner_of(key));
    }
    let keys: Vec<&[u8]> = wants.keys().collect();
    let many = watch.time("get_many", || {
        store.get_many(&keys, &mut |i, found| {
            let found = found.map(|found| found.map(|(_, bytes)| bytes));
            wants.judge_read(keys[i], found.as_ref().map(|bytes| *bytes));
        })
    });
    assert!(many.is_ok());
    let mut right = |entry: &Entry| {
        wants.judge(entry.key, entry.value);
        ControlFlow::Continue(())
    };
    let (mut cursor, mut pages) = (0, 0);
    let page = Scan { limit: 13, values: true, ..Scan::default() };
    while cursor != SCAN_DONE
        && watch.time("scan", || store.scan(&mut cursor, &page, &mut right)).is_ok()
    {
        pages += 1;
        assert!(pages <= 4600, "a scan without an end");
    }
    let _ = watch
        .time("range", || store.range(&Range { values: true, ..Range::default() }, &mut right));
    for owner in OWNERS {
        let known = |key: &[u8]| assert!(wants.0.contains_key(key), "{} is nobody's", shown(key));
        let _ = watch.time("owner_keys", || {
            store.owner_keys(owner, &mut |key| {
                known(key);
                true
            })
        });
    }
    let _ = watch.time("count_keys", || store.count_keys(b"small"));
    let _ = watch.time("stats", || store.stats());
    let _ = watch.time("condition", || store.condition());
    let _ = watch.time("locks", || store.locks(100));
    let _ = watch.time("reclaimable", || store.reclaimable(true));
}

/// The check; whether it found anything. An error is a finding too.
pub fn verify(store: &Store, watch: &mut Watch) -> bool {
    let report = watch.time("verify", || store.verify(&mut |_, _| true));
    report.map_or(true, |report| report.findings_total > 0)
}

/// Everything that changes a store, with a look at what was written.
pub fn change_all(store: &Store, wants: &Wants, watch: &mut Watch) {
    let mut wants = wants.clone();
    let mut value = Vec::new();
    let acquired = watch.time("lock", || {
        store.lock(
            b"small 3",
            9,
            &Wait { timeout: Some(Duration::from_millis(20)), ..Wait::default() },
        )
    });
    let held = match acquired {
        Ok(Acquired::Held(held)) => Some(held),
        _ => None,
    };
    let write = Write { held: held.as_ref(), ..Write::default() };
    for (i, (key, len)) in [
        (&b"small 3"[..], 100),
        (b"rewritten 3", 900),
        (b"deleted 2", 4_000),
        (b"new", 500),
        (b"longest", LONGEST - 7),
    ]
    .into_iter()
    .enumerate()
    {
        let number = 1_000 + i as u64;
        let how = if key == b"small 3" { write } else { Write::default() };
        let bytes = signed(key, number, len);
        let stored = watch.time("write", || store.write(key, &bytes, &how));
        let want = wants.0.entry(key.to_vec()).or_default();
        want.ever.push(number);
        if matches!(stored, Ok(Stored::Done(_))) {
            want.now = Some(number);
        }
    }
    if let Some(held) = &held {
        let _ = watch.time("renew", || store.renew(b"small 3", held, None));
        let _ = watch.time("unlock", || store.unlock(b"small 3", held));
    }
    let _ = watch.time("append", || store.append(b"small 5", b"more", None, false));
    let _ = watch.time("increment", || store.increment(COUNTER, 1, None, &Write::default()));
    let _ = watch.time("touch", || store.touch(b"small 6", Ttl::Millis(80_000_000), None));
    let _ = watch.time("delete", || store.delete(b"small 7", None, None));
    let _ = watch.time("set_owner", || store.set_owner(b"small 8", b"anna", None));
    let _ = watch.time("end_owner", || store.end_owner(b"bert"));
    let _ = watch.time("expire", || store.expire(0));
    let _ = watch.time("compact", || store.compact());
    let _ = watch.time("sync", || store.sync());
    for key in wants.0.keys() {
        let found = watch.time("get", || store.get(key, &mut value));
        wants.judge_read(key, found.as_ref().map(|item| item.map(|_| &value[..])));
    }
}
