//! Power cuts, by chance: images of what a disk may hold, opened somewhere else, against what was
//! promised.
//!
//! What of each sector that was not synced reached the disk is drawn (support/disk.rs). The oracle
//! keeps every state that a key was ever in, with its version, and which of them the last sync
//! covers: nothing older than that may come back. Some images become the store that goes on, so that
//! cuts follow cuts: what is gone in one stays gone. Values of different keys are often alike, so
//! that what is left of one can look like another. Half of the time the store that is rebuilt is
//! lost again before anything is written.
//!
//! In a cache any value may be missing at any time, because it was evicted, and may be there again
//! after a cut, until it is replaced or somebody was told that it is not there by a delete.
//!
//! It would catch a sync too few, a rebuild that believes too much or too little, and what the sweep
//! drops too early. It shows nothing of creation and changes of `super` (power_steps.rs), and does
//! rarely what takes several things to come together (power_cases.rs).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{
    BatchItem, ConfigChange, Disk, Error, FileKind, Options, Store, Stored, Sync, Ttl, Update,
    Write,
};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{
    CutDisk, HandClock, Images, Luck, Rng, content, dir, memory_dir, open, plain, seed, size, small,
};

/// Keys of a store that keeps what it has, and of a cache, in which not all of them find room.
const KEYS: u64 = 30;
const KEYS_OF_A_CACHE: u64 = 300;

/// A state that a key was in.
#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    /// Tag and length of the value; `None` = no value.
    value: Option<(u64, usize)>,
    version: u64,
    expires_ms: u64,
}

const ABSENT: State = State { value: None, version: 0, expires_ms: 0 };

struct World {
    _dir: tempfile::TempDir,
    path: PathBuf,
    options: Options,
    clock: Arc<HandClock>,
    disk: Arc<CutDisk>,
    store: Option<Store>,
    history: HashMap<u64, Vec<State>>,
    /// Per key: the state that the last sync covers.
    durable: HashMap<u64, usize>,
    /// Per key: the state that the last flush left, which is durable in every mode.
    flushed: HashMap<u64, usize>,
    keys: u64,
    /// Keys that were missing and should not have been in a store that keeps what it has.
    evicted: u64,
    full: u64,
    images: Images,
}

fn key(which: u64) -> Vec<u8> {
    let mut key = format!("key {which}").into_bytes();
    key.resize(8 + which as usize % 100 * 9, b'.');
    key
}

impl World {
    fn new(sync: Sync, max_bytes: u64, evict: bool) -> World {
        let keys = if evict { KEYS_OF_A_CACHE } else { KEYS };
        let (dir, clock, disk) = (memory_dir(), HandClock::new(), CutDisk::new());
        let options = Options {
            create: true,
            thread: false,
            sync: Some(sync),
            // Only the syncs that the test asks for.
            sync_interval: Some(Duration::from_secs(3600)),
            max_bytes: Some(max_bytes),
            max_value_bytes: Some(max_bytes / 8),
            max_processes: Some(4),
            evict: Some(evict),
            clock: Some(clock.clone()),
            disk: Some(disk.clone()),
            ..Options::default()
        };
        let path = dir.path().to_path_buf();
        let store = Some(open(&path, &options));
        let history = (0..keys).map(|k| (k, vec![ABSENT])).collect();
        let durable = (0..keys).map(|k| (k, 0)).collect();
        let flushed = (0..keys).map(|k| (k, 0)).collect();
        World {
            _dir: dir,
            path,
            options,
            clock,
            disk,
            store,
            history,
            durable,
            flushed,
            keys,
            evicted: 0,
            full: 0,
            images: Images::default(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn now(&self) -> u64 {
        self.store().now_ms().expect("now")
    }

    fn last(&self, which: u64) -> State {
        *self.history[&which].last().expect("never empty")
    }

    fn is_always(&self) -> bool {
        self.options.sync == Some(Sync::Always)
    }

    fn evicts(&self) -> bool {
        self.options.evict == Some(true)
    }

    /// All that is done by now survives.
    fn all_durable(&mut self) {
        for (key, states) in &self.history {
            self.durable.insert(*key, states.len() - 1);
        }
    }

    /// All that was there is gone, durably.
    fn all_gone(&mut self) {
        for (key, states) in &mut self.history {
            states.push(ABSENT);
            self.flushed.insert(*key, states.len() - 1);
            self.durable.insert(*key, states.len() - 1);
        }
    }

    fn change(&mut self, which: u64, state: State) {
        self.history.get_mut(&which).expect("a key").push(state);
        if self.is_always() {
            self.durable.insert(which, self.history[&which].len() - 1);
        }
    }

    /// Writes a value in one of the ways that there are: which keys, outcomes, and states then.
    fn write(
        &self,
        rng: &mut Rng,
        which: u64,
        state: State,
        how: &Write,
        present: bool,
    ) -> Vec<(u64, holdfast::Result<Stored>, State)> {
        let (tag, len) = state.value.expect("a value");
        let value = content(tag, len);
        match rng.below(6) {
            0 => {
                let places: Vec<u64> = (0..3).map(|i| (which + i) % self.keys).collect();
                let names: Vec<Vec<u8>> = places.iter().map(|which| key(*which)).collect();
                let items: Vec<BatchItem> =
                    names.iter().map(|key| BatchItem { key, value: &value, how: *how }).collect();
                let outcomes = self.store().set_many(&items).expect("set_many");
                places.into_iter().zip(outcomes).map(|(n, stored)| (n, stored, state)).collect()
            }
            1 => {
                let step = plain(value, 0, None);
                let mut expires_ms = 0;
                let stored = self.store().update(&key(which), None, how.sync, &mut |seen| {
                    assert!(seen.is_some() == present || (present && self.evicts()));
                    expires_ms = seen.map_or(0, |_| self.last(which).expires_ms);
                    step.clone()
                });
                vec![(which, stored, State { expires_ms, ..state })]
            }
            // Nothing more: the same value in another record.
            2 if present => {
                let stored = self.store().append(&key(which), b"", None, how.sync);
                vec![(which, stored, self.last(which))]
            }
            _ => vec![(which, self.store().write(&key(which), &value, how), state)],
        }
    }

    /// Deletes, in one of the two ways that there are.
    fn delete(&self, rng: &mut Rng, which: u64) -> holdfast::Result<Stored> {
        match rng.below(3) {
            0 => self.store().update(&key(which), None, false, &mut |_| Update::Delete),
            _ => self.store().delete(&key(which), None, None),
        }
    }

    /// One random operation.
    fn act(&mut self, rng: &mut Rng) {
        let which = rng.below(self.keys);
        let now = self.now();
        let syncs = self.disk.syncs();
        let ttl = match rng.below(4) {
            0 => Ttl::Never,
            1 => Ttl::Millis(1 + rng.below(500)),
            _ => Ttl::Millis(1 + rng.below(100_000)),
        };
        let expires_ms = match ttl {
            Ttl::Millis(ms) => now + ms,
            _ => 0,
        };
        let last = self.last(which);
        let present = last.value.is_some() && (last.expires_ms == 0 || last.expires_ms > now);
        let mut changes = Vec::new();
        let mut asked = false;
        match rng.below(100) {
            0..55 => {
                let len = match rng.below(40) {
                    0 => rng.below(self.options.max_value_bytes.expect("set") + 1),
                    1..8 => rng.below(12_000),
                    8..30 if self.evicts() => rng.below(12_000),
                    _ => rng.below(1_500),
                };
                let (tag, len) = match rng.one_in(2) {
                    true => (rng.next(), len as usize),
                    false => (0, *rng.pick(&[600, 2_000, 9_000])),
                };
                asked = rng.one_in(12);
                let how = Write { ttl, sync: asked, ..Write::default() };
                let state = State { value: Some((tag, len)), version: 0, expires_ms };
                for (which, stored, state) in self.write(rng, which, state, &how, present) {
                    match stored {
                        Ok(Stored::Done(version)) => {
                            changes.push((which, State { version, ..state }));
                        }
                        Err(Error::Full(_)) => self.full += 1,
                        Ok(Stored::Missing) if self.evicts() => self.evicted += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            55..70 => match self.delete(rng, which) {
                Ok(Stored::Done(_)) if present => changes.push((which, ABSENT)),
                Ok(Stored::Missing) if !present => {}
                Ok(Stored::Missing) if self.evicts() => {
                    self.evicted += 1;
                    changes.push((which, ABSENT));
                }
                // Nothing says durably that what may have been evicted is gone.
                Err(Error::Full(_)) if self.evicts() => self.full += 1,
                other => panic!("{other:?}"),
            },
            70..76 if self.evicts() => {
                for n in 0..20 {
                    let which = (which + n) % self.keys;
                    let found = self.check(which, self.store(), "read");
                    self.evicted += (found != self.last(which)) as u64;
                }
            }
            70..82 => match self.store().touch(&key(which), ttl, None) {
                Ok(Stored::Done(version)) if present => {
                    changes.push((which, State { expires_ms, version, ..last }));
                }
                Ok(Stored::Missing) if !present => {}
                Ok(Stored::Missing) if self.evicts() => self.evicted += 1,
                Err(Error::Full(_)) => self.full += 1,
                other => panic!("{other:?}"),
            },
            82..88 => drop(self.store().expire(u64::MAX).expect("expire")),
            88..93 => self.clock.pass(*rng.pick(&[10, 300, 3_000, 60_000, 200_000])),
            93..97 => self.store().sync().expect("sync"),
            97 => {
                self.store().flush(None).expect("flush");
                self.all_gone();
            }
            _ => {
                self.store = None;
                self.store = Some(open(&self.path, &self.options));
            }
        }
        // Whatever sync came in this operation covers all that was done before it.
        if self.disk.syncs() != syncs {
            self.all_durable();
        }
        asked = asked && !changes.is_empty();
        for (which, state) in changes {
            self.change(which, state);
        }
        if asked {
            self.all_durable();
        }
    }

    /// Is what an image gives for a key allowed? Gives the state found.
    fn check(&self, which: u64, image: &Store, what: &str) -> State {
        let mut value = Vec::new();
        let found = match image.get(&key(which), &mut value) {
            Ok(found) => found,
            Err(e) => panic!("{what}: key {which}: {e}"),
        };
        let now = image.now_ms().expect("now");
        let states = &self.history[&which];
        if self.evicts() && found.is_none() {
            return ABSENT;
        }
        let from = match self.options.sync {
            Some(Sync::None) => self.flushed[&which],
            _ => self.durable[&which],
        };
        let fits = |state: &State| match (state.value, found) {
            (None, None) => true,
            (Some(_), None) => state.expires_ms != 0 && state.expires_ms <= now,
            (Some((tag, len)), Some(item)) => {
                (item.version, item.expires_ms) == (state.version, state.expires_ms)
                    && value == content(tag, len)
            }
            (None, Some(_)) => false,
        };
        match states[from..].iter().find(|state| fits(state)) {
            Some(state) => *state,
            None => panic!(
                "{what}: key {which}: {found:?} at {now}; allowed {:?}, before that {:?}",
                &states[from..],
                &states[from.saturating_sub(4)..from]
            ),
        }
    }

    /// The power is cut: opens what is left and looks at every key. With `go_on` that becomes
    /// the store.
    fn cut(&mut self, rng: &mut Rng, go_on: bool, what: &str) {
        let now = self.disk.moments() + 1;
        let luck = match rng.below(20) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2..4 => Luck::Some(20),
            4..10 => Luck::Some(2),
            10..14 => Luck::Until(rng.below(now + 1)),
            14..16 => Luck::Pieces(8),
            16..18 => Luck::Pieces(512),
            _ => Luck::Pieces(4096),
        };
        // Index and meta of before the cut are large, and never to be believed.
        let derived = rng.one_in(32);
        if derived {
            self.images = Images::default();
            self.disk.cut(&self.path, self.images.path(), rng, luck, true);
        } else {
            let superblock = std::fs::read(self.path.join("super")).expect("super");
            self.images.hold(&superblock, self.disk.data(&self.path, rng, luck));
        }
        let what = format!("{what}, {luck:?}, index and meta {derived}");
        let options =
            Options { create: false, disk: Some(Arc::new(Unwatched)), ..self.options.clone() };
        let look = |world: &World| {
            let image = match Store::open(world.images.path(), &options) {
                Ok(store) => store,
                Err(e) => panic!("{what}: {e}"),
            };
            let found = (0..world.keys).map(|k| world.check(k, &image, &what)).collect();
            (image, found)
        };
        let (mut image, found): (Store, Vec<State>) = look(self);
        if rng.one_in(8) {
            // Lost again with nothing written but what a rebuild writes.
            drop(image);
            self.images.forget_derived();
            let (again, same) = look(self);
            assert!(same == found, "{what}: not the same when it is opened once more");
            image = again;
        }
        if !go_on && rng.one_in(8) {
            match image.set(b"usable", b"", 0, Ttl::Millis(1)) {
                Ok(Stored::Done(_)) | Err(Error::Full(_)) => {}
                other => panic!("{what}: not usable: {other:?}"),
            }
            self.images.used();
        }
        drop(image);
        if go_on || derived {
            let dir = self.images.give();
            if go_on {
                self.go_on(dir, found);
            }
        }
    }

    fn go_on(&mut self, dir: tempfile::TempDir, found: Vec<State>) {
        self.store = None;
        self.disk = CutDisk::with_data(dir.path());
        self.options =
            Options { create: false, disk: Some(self.disk.clone()), ..self.options.clone() };
        self.path = dir.path().to_path_buf();
        self.store = Some(open(&self.path, &self.options));
        self._dir = dir;
        self.history = (0..self.keys).map(|k| (k, vec![found[k as usize]])).collect();
        self.durable = (0..self.keys).map(|k| (k, 0)).collect();
        self.flushed = (0..self.keys).map(|k| (k, 0)).collect();
    }
}

/// Of an image nothing is kept.
struct Unwatched;

impl Disk for Unwatched {
    fn sync(&self, _: FileKind, _: &std::fs::File) -> std::io::Result<()> {
        Ok(())
    }
}

/// Images for every change.
const IMAGES: u64 = 40_000;
/// So many cuts for one image that becomes the store.
const GENERATION: u64 = 90;

/// One world and its cuts; what it counts is added to `counted`.
fn play_alone(seed: u64, sync: Sync, evict: bool, images: u64, counted: &[AtomicU64]) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(sync, 1 << 20, evict);
    let mut acts = 0;
    for image in 0..images {
        for act in 0..rng.below(3) {
            if act > 0 {
                world.disk.look(&world.path);
            }
            world.act(&mut rng);
            acts += 1;
        }
        let go_on = rng.one_in(GENERATION);
        world.cut(&mut rng, go_on, &format!("HOLDFAST_SEED={seed} image {image}"));
    }
    for (count, what) in counted.iter().zip([acts, images, world.full, world.evicted]) {
        count.fetch_add(what, Ordering::SeqCst);
    }
}

/// Shares the images among as many processes as there are processors. With HOLDFAST_SEED there is
/// one, which does what the one did that failed.
fn play(name: &str, sync: Sync, evict: bool, images: u64) {
    let seed = seed(name);
    let begun = Instant::now();
    let counted = process::shared_words(4);
    let asked = std::env::var("HOLDFAST_SEED").is_ok();
    let processes =
        if asked { 1 } else { std::thread::available_parallelism().map_or(1, |n| n.get()) };
    let children: Vec<_> = (0..processes as u64)
        .map(|i| {
            let images = images.div_ceil(processes as u64);
            process::fork(|| play_alone(seed + i, sync, evict, images, counted))
        })
        .collect();
    for child in children {
        assert_eq!(child.wait(Duration::from_secs(48 * 3600)), Ended::Exit(0), "see above");
    }
    let count = |i: usize| counted[i].load(Ordering::SeqCst);
    let (acts, images, full, evicted) = (count(0), count(1), count(2), count(3));
    println!(
        "{name}: {acts} operations, {images} images in {:.1} s, {full} refused (full), {evicted} evicted",
        begun.elapsed().as_secs_f64()
    );
    assert!(evicted > images / 100 || !evict || images < 1_000, "nothing was evicted");
}

fn images() -> u64 {
    size("HOLDFAST_IMAGES", IMAGES)
}

#[test]
fn with_sync_always_everything_acknowledged_survives_a_cut() {
    play("power always", Sync::Always, false, images() * 3 / 16);
}

#[test]
fn with_sync_periodic_what_a_sync_covered_survives_and_nothing_older_comes_back() {
    play("power periodic", Sync::Periodic, false, images() * 5 / 16);
}

#[test]
fn with_sync_none_the_store_opens_and_every_value_is_whole() {
    play("power none", Sync::None, false, images() * 2 / 16);
}

#[test]
fn in_a_cache_with_sync_always_nothing_that_was_replaced_or_deleted_comes_back() {
    play("power always, cache", Sync::Always, true, images() * 2 / 16);
}

#[test]
fn in_a_cache_with_sync_periodic_nothing_older_than_the_last_sync_comes_back() {
    play("power periodic, cache", Sync::Periodic, true, images() * 4 / 16);
}

#[test]
fn one_write_then_silence_then_a_cut_after_the_interval_and_it_is_there() {
    let (dir, image, disk) = (dir(), dir(), CutDisk::new());
    let options = Options {
        sync_interval: Some(Duration::from_millis(100)),
        disk: Some(disk.clone()),
        ..small()
    };
    let store = open(dir.path(), &options);
    store.set(b"k", b"alone", 0, Ttl::Never).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    disk.cut(dir.path(), image.path(), &mut Rng::new(1), Luck::Nothing, false);
    let after = open(image.path(), &Options::default());
    let mut value = Vec::new();
    assert!(after.get(b"k", &mut value).unwrap().is_some() && value == b"alone");
}

/// Notes how long syncs took.
struct Timed {
    disk: Arc<CutDisk>,
    longest_ns: AtomicU64,
}

impl Disk for Timed {
    fn sync(&self, kind: FileKind, file: &std::fs::File) -> std::io::Result<()> {
        let begun = Instant::now();
        let done = self.disk.sync(kind, file);
        self.longest_ns.fetch_max(begun.elapsed().as_nanos() as u64, Ordering::SeqCst);
        done
    }
}

/// Acknowledged longer ago than the interval and a sync: it is there, at any instant among writes.
#[test]
fn periodic_mode_loses_no_more_than_the_interval_and_one_sync() {
    const INTERVAL: Duration = Duration::from_millis(50);
    let mut rng = Rng::new(seed("bound"));
    let (dir, disk) = (memory_dir(), CutDisk::new());
    let timed = Arc::new(Timed { disk: disk.clone(), longest_ns: AtomicU64::new(0) });
    let options = Options {
        sync: Some(Sync::Periodic),
        sync_interval: Some(INTERVAL),
        disk: Some(timed.clone()),
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(1 << 17),
        ..small()
    };
    let store = open(dir.path(), &options);
    let mut done: Vec<Vec<(Instant, u64)>> = vec![vec![(Instant::now(), 0)]; 7];
    let (mut late, mut widest, mut images) = (Duration::ZERO, Duration::ZERO, Images::default());
    for image in 0..size("HOLDFAST_BOUNDS", 60) {
        let until = Instant::now() + Duration::from_micros(rng.below(60_000));
        while Instant::now() < until {
            let which = rng.below(done.len() as u64) as usize;
            let next = done[which][done[which].len() - 1].1 + 1;
            let begun = Instant::now();
            let stored = store.set(&[which as u8], &next.to_le_bytes(), 0, Ttl::Never);
            match stored {
                Ok(Stored::Done(_)) => done[which].push((Instant::now(), next)),
                other => panic!("{other:?}"),
            }
            // No write takes so long by itself: nobody was run, nor was who syncs.
            late = late.max(begun.elapsed());
        }
        let cut = Instant::now();
        let data = disk.data(dir.path(), &mut rng, Luck::Nothing);
        late = late.max(cut.elapsed());
        images.hold(&std::fs::read(dir.path().join("super")).expect("super"), data);
        let after = open(images.path(), &Options { disk: Some(Arc::new(Unwatched)), ..small() });
        let sync = Duration::from_nanos(timed.longest_ns.load(Ordering::SeqCst));
        let bound = INTERVAL.mul_f64(1.1) + sync + 4 * late;
        for (which, done) in done.iter().enumerate() {
            let safe = done.iter().rev().find(|(at, _)| *at + bound <= cut).map_or(0, |it| it.1);
            let mut value = Vec::new();
            let there = after.get(&[which as u8], &mut value).expect("get");
            let found = there.map_or(0, |_| u64::from_le_bytes(value[..].try_into().expect("8")));
            assert!(found >= safe, "image {image}: {found}, but {safe} was older than {bound:?}");
            let lost = done.iter().find(|(_, number)| *number == found + 1);
            widest = widest
                .max(lost.map_or(Duration::ZERO, |(at, _)| cut.saturating_duration_since(*at)));
        }
    }
    println!("the oldest write that was lost was acknowledged {widest:?} before the cut");
}

/// One write in a store that syncs never: it asked for the disk, so it is there.
#[test]
fn a_durable_write_survives_a_cut_in_any_mode_and_brings_those_before_it() {
    for sync in [Sync::None, Sync::Periodic] {
        let (dir, disk) = (dir(), CutDisk::new());
        let options = Options {
            sync: Some(sync),
            thread: false,
            sync_interval: Some(Duration::from_secs(3600)),
            disk: Some(disk.clone()),
            ..small()
        };
        let store = open(dir.path(), &options);
        let how = Write { ttl: Ttl::Never, sync: true, ..Write::default() };
        let survives = |what: &str, key: &[u8], expected: &[u8]| {
            let image = holdfast_tests::dir();
            disk.cut(dir.path(), image.path(), &mut Rng::new(1), Luck::Nothing, false);
            let after = open(image.path(), &Options::default());
            let mut value = Vec::new();
            let found = after.get(key, &mut value).unwrap();
            assert!(found.is_some() && value == expected, "{sync:?}: {what}: {value:?}");
        };
        store.set(b"before", b"1", 0, Ttl::Never).unwrap();
        store.write(b"durable", b"2", &how).unwrap();
        survives("write", b"durable", b"2");
        survives("what came before it", b"before", b"1");
        store.increment(b"durable", 40, None, &how).unwrap();
        survives("increment", b"durable", b"42");
        store.append(b"durable", b"!", None, true).unwrap();
        survives("append", b"durable", b"42!");
        store.prepend(b"durable", b"=", None, true).unwrap();
        survives("prepend", b"durable", b"=42!");
        let other = plain(b"other".to_vec(), 0, None);
        store.update(b"durable", None, true, &mut |_| other.clone()).unwrap();
        survives("update", b"durable", b"other");
        let batch = [b"first".as_slice(), b"second"].map(|key| BatchItem {
            key,
            value: b"of a batch",
            how: Write { sync: key == b"first", ..how },
        });
        let syncs = disk.syncs();
        store.set_many(&batch).unwrap();
        assert_eq!(disk.syncs(), syncs + 1, "one sync for all");
        survives("batch", b"second", b"of a batch");
        store.set(b"durable", b"not asked", 0, Ttl::Never).unwrap();
        survives("nothing newer", b"durable", b"other");
    }
}

/// A disk that takes its time.
struct SlowDisk;

impl Disk for SlowDisk {
    fn sync(&self, _: FileKind, _: &std::fs::File) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    }
}

/// Writers that wait for the disk wait for the same sync. They once took the lead from one another
/// and ran a sync each, all at the same time.
#[test]
fn processes_that_write_at_the_same_time_share_their_syncs() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 40;
    let dir = dir();
    let disk: Option<Arc<dyn Disk>> = Some(Arc::new(SlowDisk));
    let options = Options { sync: Some(Sync::Always), disk, ..small() };
    let store = open(dir.path(), &options);
    let rounds = || store.stats().unwrap().sync_rounds;
    let mut shared = Vec::new();
    // Where everybody has to wait for a processor, one time of several is to go well.
    while shared.len() < 5 && !shared.iter().any(|syncs| *syncs * 5 <= WRITERS * EACH) {
        let before = rounds();
        let write = |writer: u64| {
            for i in 0..EACH {
                let key = (writer << 32 | i).to_le_bytes();
                assert!(matches!(store.set(&key, b"v", 0, Ttl::Never), Ok(Stored::Done(_))));
            }
        };
        let children: Vec<_> = (0..WRITERS).map(|me| process::fork(|| write(me))).collect();
        for child in children {
            assert_eq!(child.wait(Duration::from_secs(60)), Ended::Exit(0));
        }
        shared.push(rounds() - before);
    }
    let best = *shared.iter().min().expect("one");
    println!("{} writes in {shared:?} syncs", WRITERS * EACH);
    assert!(best * 5 <= WRITERS * EACH, "{shared:?} syncs for {} writes", WRITERS * EACH);
}

#[test]
fn a_failed_sync_is_never_forgotten_until_the_store_is_opened_anew() {
    for sync in [Sync::Always, Sync::Periodic, Sync::None] {
        let (dir, disk) = (dir(), CutDisk::new());
        let options = Options {
            sync: Some(sync),
            thread: false,
            sync_interval: Some(Duration::from_secs(3600)),
            disk: Some(disk.clone()),
            ..small()
        };
        let store = open(dir.path(), &options);
        store.set(b"before", b"1", 0, Ttl::Never).unwrap();
        disk.fail_once();
        let failed = match sync {
            Sync::Always => store.set(b"during", b"2", 0, Ttl::Never).map(drop),
            _ => store.sync(),
        };
        assert!(matches!(failed, Err(Error::SyncFailed(_))), "{sync:?}: {failed:?}");
        let refused = |r: holdfast::Result<Stored>| matches!(r, Err(Error::SyncFailed(_)));
        assert!(refused(store.set(b"after", b"3", 0, Ttl::Never)));
        assert!(refused(store.delete(b"before", None, None)));
        assert!(refused(store.touch(b"before", Ttl::Never, None)));
        assert!(matches!(store.sync(), Err(Error::SyncFailed(_))));
        let mut value = Vec::new();
        assert!(store.get(b"before", &mut value).unwrap().is_some(), "reading goes on");
        drop(store);
        let store = open(dir.path(), &options);
        assert!(store.get(b"before", &mut value).unwrap().is_some());
        assert!(matches!(store.set(b"after", b"3", 0, Ttl::Never), Ok(Stored::Done(_))));
        store.sync().unwrap();
    }
}

/// Of several handles of one store in one process some may defer their syncs.
#[test]
fn a_handle_that_defers_syncs_waits_for_none_until_it_is_told_to() {
    let (dir, disk) = (dir(), CutDisk::new());
    let options = Options { thread: false, disk: Some(disk.clone()), ..small() };
    let options = Options { sync: Some(Sync::Always), ..options };
    let waiting = open(dir.path(), &options);
    let deferring = open(dir.path(), &Options { defer_sync: true, ..options.clone() });
    assert!(waiting.sync_is_always() && deferring.clone().sync_is_always());
    let syncs_of = |work: &dyn Fn(&Store) -> bool, store: &Store| {
        let before = disk.syncs();
        assert!(work(store));
        disk.syncs() - before
    };
    let is_done = |stored: holdfast::Result<Stored>| matches!(stored, Ok(Stored::Done(_)));
    let sync = Write { sync: true, ..Write::default() };
    let item = |key| BatchItem { key, value: b"1", how: sync };
    let changes: [&dyn Fn(&Store) -> bool; 6] = [
        &|s| is_done(s.set(b"k", b"1", 0, Ttl::Millis(60_000))),
        &|s| is_done(s.write(b"k", b"1", &sync)),
        &|s| is_done(s.touch(b"k", Ttl::Never, None)),
        &|s| s.increment(b"k", 1, None, &sync).is_ok(),
        &|s| s.set_many(&[item(b"a"), item(b"b")]).is_ok_and(|all| all.into_iter().all(is_done)),
        &|s| [b"a", b"b"].into_iter().any(|key| is_done(s.delete(key, None, None))),
    ];
    for change in changes {
        assert_eq!(syncs_of(change, &waiting), 1);
        assert_eq!(syncs_of(change, &deferring.clone()), 0);
        assert_eq!(syncs_of(&|s| s.sync().is_ok(), &deferring), 1);
    }
    let change = ConfigChange { sync: Some(Sync::None), ..ConfigChange::default() };
    waiting.set_config(&change).unwrap();
    assert!(!deferring.sync_is_always(), "what is in force, not what was asked for");
    assert_eq!(syncs_of(&|s| is_done(s.write(b"k", b"2", &sync)), &waiting), 1);
    assert_eq!(syncs_of(&|s| is_done(s.write(b"k", b"2", &sync)), &deferring), 0);
}

/// A sync that returns covers each write that was published before: a cut right after it keeps
/// them, whatever of the later ones reached the disk. One that fails says so.
#[test]
fn a_deferred_write_is_durable_when_the_sync_after_it_returned() {
    let mut rng = Rng::new(seed("deferred"));
    for turn in 0..20 {
        let (dir, cut, disk) = (dir(), memory_dir(), CutDisk::new());
        let options = Options { thread: false, disk: Some(disk.clone()), ..small() };
        let options = Options { sync: Some(Sync::Always), defer_sync: true, ..options };
        let store = open(dir.path(), &options);
        let keys: Vec<_> = (0..50u32).map(|i| format!("key {i}").into_bytes()).collect();
        let set = |value: &[u8]| {
            for key in &keys {
                assert!(matches!(store.set(key, value, 0, Ttl::Never), Ok(Stored::Done(_))));
            }
        };
        set(b"first");
        store.sync().unwrap();
        set(b"later");
        disk.cut(dir.path(), cut.path(), &mut rng, Luck::Some(3), turn % 2 == 0);
        let after = open(cut.path(), &Options::default());
        for key in &keys {
            let mut value = Vec::new();
            assert!(after.get(key, &mut value).unwrap().is_some(), "turn {turn}");
            assert!(value == b"first" || value == b"later");
        }
        disk.fail_once();
        assert!(matches!(store.sync(), Err(Error::SyncFailed(_))));
        assert!(matches!(store.sync(), Err(Error::SyncFailed(_))), "nothing is durable any more");
        assert!(matches!(store.set(b"k", b"", 0, Ttl::Never), Err(Error::SyncFailed(_))));
    }
}

/// What is said of an evicted value by a delete is as durable as any other answer.
#[test]
fn a_delete_of_what_was_evicted_is_durable_like_any_other() {
    type Delete = fn(&Store, &[u8]) -> holdfast::Result<Stored>;
    let ways: [Delete; 3] = [
        |store, key| store.delete(key, None, None),
        |store, key| store.delete(key, Some(1), None),
        |store, key| store.update(key, None, false, &mut |_| Update::Delete),
    ];
    let is_there = |store: &Store, which| store.exists(&key(which)).unwrap().is_some();
    for (way, sync) in ways.into_iter().flat_map(|way| [(way, Sync::Always), (way, Sync::None)]) {
        let (dir, disk) = (memory_dir(), CutDisk::new());
        let options = Options { thread: false, disk: Some(disk.clone()), ..small() };
        let max = (Some(1 << 20), Some(1 << 17));
        let options =
            Options { max_bytes: max.0, max_value_bytes: max.1, evict: Some(true), ..options };
        let store = open(dir.path(), &Options { sync: Some(sync), ..options.clone() });
        let after_a_cut = || {
            let cut = memory_dir();
            disk.cut(dir.path(), cut.path(), &mut Rng::new(1), Luck::Nothing, false);
            let image = open(cut.path(), &Options { disk: None, ..options.clone() });
            (0..400).filter(|which| is_there(&image, *which)).collect::<Vec<u64>>()
        };
        let mut evicted = Vec::new();
        for which in 0..400 {
            let stored = store.set(&key(which), &content(which, 6_000), 0, Ttl::Never);
            assert!(matches!(stored, Ok(Stored::Done(_)) | Err(Error::Full(_))), "{stored:?}");
            if which > 100 && which % 5 == 0 {
                let missing = |which: &u64| !is_there(&store, *which);
                evicted = after_a_cut().into_iter().filter(missing).collect();
                if !evicted.is_empty() {
                    break;
                }
            }
        }
        assert!(!evicted.is_empty(), "{sync:?}: nothing that was evicted could come back");
        evicted.truncate(5);
        for deleted in evicted {
            assert_eq!(way(&store, &key(deleted)).unwrap(), Stored::Missing);
            if sync == Sync::None {
                store.sync().unwrap();
            }
            assert!(!after_a_cut().contains(&deleted), "{sync:?}: key {deleted} came back");
        }
    }
}
