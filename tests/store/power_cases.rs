//! Power cuts, one by one: what thinking about the log says could go wrong, made to happen.
//!
//! Each case writes with a purpose, chooses which sectors reached the disk, opens what is left and,
//! mostly, cuts again. It would catch a rebuild that leaves behind what a later cut can complete, a
//! segment that is used again too early, and a shadow that is dropped too soon. It shows nothing of
//! combinations: those are drawn in power.rs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast::{Options, Store, Stored, Sync, Ttl, Write};
use holdfast_tests::{CutDisk, HandClock, Images, Luck, Rng, content, memory_dir, open};

/// A store with what it was synced to.
struct World {
    dir: tempfile::TempDir,
    disk: Arc<CutDisk>,
    options: Options,
    clock: Arc<HandClock>,
    store: Store,
}

impl World {
    fn new(sync: Sync, evict: bool) -> World {
        let (dir, disk, clock) = (memory_dir(), CutDisk::new(), HandClock::new());
        let options = Options {
            create: true,
            thread: false,
            sync: Some(sync),
            sync_interval: Some(Duration::from_secs(3600)),
            max_bytes: Some(1 << 20),
            max_value_bytes: Some(1 << 17),
            max_processes: Some(4),
            evict: Some(evict),
            clock: Some(clock.clone()),
            disk: Some(disk.clone()),
            ..Options::default()
        };
        let store = open(dir.path(), &options);
        World { dir, disk, options, clock, store }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What is left, opened, becomes the store; whatever is in it counts as on the disk.
    fn after(self, data: Vec<u8>) -> World {
        let mut images = Images::default();
        images.hold(&std::fs::read(self.path().join("super")).expect("super"), data);
        let dir = images.give();
        let disk = CutDisk::with_data(dir.path());
        let options = Options { disk: Some(disk.clone()), ..self.options.clone() };
        let store = open(dir.path(), &options);
        World { dir, disk, options, clock: self.clock.clone(), store }
    }

    /// The same, of which only what was synced is left.
    fn after_the_last_sync(self) -> World {
        let data = self.disk.data(self.path(), &mut Rng::new(1), Luck::Nothing);
        self.after(data)
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Ttl) {
        assert!(matches!(self.store.set(key, value, 0, ttl), Ok(Stored::Done(_))));
    }

    fn delete(&self, key: &[u8]) {
        assert!(matches!(self.store.delete(key, None, None), Ok(Stored::Done(_))));
    }

    /// The value, whole, or what can be shown of it.
    fn get(&self, key: &[u8]) -> Option<String> {
        let mut value = Vec::new();
        let item = self.store.get(key, &mut value).expect("get");
        item.map(|_| match value.len() {
            0..100 => String::from_utf8_lossy(&value).into(),
            len => format!("{len} bytes"),
        })
    }

    /// Notes a moment, and the places that changed since the one before.
    fn look(&self) -> Vec<u64> {
        self.disk.places(self.disk.look(self.path()))
    }

    /// Everything that has expired goes, and its segments come free.
    fn sweep(&self) {
        for _ in 0..4 {
            self.store.expire(u64::MAX).expect("expire");
            self.store.sync().expect("sync");
        }
    }
}

/// The first cut leaves the beginning of a record that was never acknowledged, the store that is
/// opened says that there is none, and then the same place is written with the same bytes behind
/// that beginning. The second cut leaves those and not the new beginning: what was shown as gone
/// would be there again, and a tombstone would take what was kept.
#[test]
fn what_a_cut_left_of_a_record_is_not_completed_by_the_next() {
    let long = |first: u8| [vec![first; 8], vec![b'.'; 992]].concat();
    let (one, other) = (long(b'1'), long(b'2'));
    type Act<'a> = &'a dyn Fn(&World, &[u8]);
    let large: Act = &|world, key| world.set(key, &content(1, 100_000), Ttl::Never);
    let plain: Act = &|world, key| world.set(key, &content(1, 3_000), Ttl::Never);
    let delete: Act = &|world, key| world.delete(key);
    let tail: Act = &|world, key| world.set(key, b"", Ttl::Never);
    let cases = [
        ("a value that fills segments", large, large, 64 << 10),
        ("a value", plain, plain, 512),
        ("a tombstone", delete, tail, 512),
    ];
    for (what, first, second, beginning) in cases {
        for old in [None, Some("old")] {
            if old.is_none() && what == "a tombstone" {
                continue;
            }
            let world = World::new(Sync::Always, false);
            if let Some(old) = old {
                world.set(&one, old.as_bytes(), Ttl::Never);
            }
            // A store that was rebuilt begins new segments.
            let world = world.after_the_last_sync();
            world.disk.look(world.path());
            let deferred = Options { defer_sync: true, ..world.options.clone() };
            let world = World { store: open(world.path(), &deferred), ..world };
            first(&world, &one);
            let head = world.look()[0];
            let begins = move |place: u64| (head..head + beginning).contains(&place);
            let left = world.disk.data_where(world.path(), |_, place| begins(place));
            let world = world.after(left);
            assert_eq!(world.get(&one).as_deref(), old, "{what}: after the first cut");
            let deferred = Options { defer_sync: true, ..world.options.clone() };
            let world = World { store: open(world.path(), &deferred), ..world };
            second(&world, &other);
            let left = world.disk.data_where(world.path(), |_, place| !begins(place));
            let world = world.after(left);
            assert_eq!(world.get(&one).as_deref(), old, "{what}: after the second cut");
        }
    }
}

/// A deleted value's tombstone is lost in a cut and what was written after it is not, so the value
/// lost against something that did not know of it. When that expires nothing tells it from a key
/// that was never there: but for the horizon the segment would come free, and the next cut bring
/// back what was deleted and overwritten.
#[test]
fn what_lost_in_a_rebuild_stays_lost_when_the_winner_has_expired() {
    for writes_again in [false, true] {
        let (key, short) = (b"the key", Ttl::Millis(1_000));
        let world = World::new(Sync::None, false);
        world.set(key, b"first", Ttl::Never);
        world.set(b"a neighbour, so that the segment stays", b"", Ttl::Never);
        world.store.sync().expect("sync");
        let world = world.after_the_last_sync();
        // Up to the end of a sector, so that the tombstone has one for itself.
        world.set(b"pad 0", &content(1, 888), short);
        world.look();
        world.delete(key);
        let lost = world.look();
        assert_eq!(lost.len(), 1, "a sector");
        world.set(b"pad 1", &content(1, 888), short);
        world.set(key, b"second", short);
        let left = world.disk.data_where(world.path(), |_, place| !lost.contains(&place));
        let world = world.after(left);
        assert_eq!(world.get(key).as_deref(), Some("second"));
        if writes_again {
            world.clock.pass(1_001);
            world.set(key, b"third", short);
        }
        // Longer than a segment without anything alive in it is written to.
        world.clock.pass(70_000);
        world.sweep();
        assert_eq!(world.get(key), None, "expired");
        let world = world.after_the_last_sync();
        assert_eq!(world.get(key), None, "written again: {writes_again}");
    }
}

/// What was evicted leaves no record, so a delete has to say that it is gone until its segment
/// cannot come back: until the second round, when the disk has the segment's end.
#[test]
fn an_evicted_value_does_not_come_back_when_its_segment_came_free() {
    let key = |which: u64| format!("key {which}").into_bytes();
    let there = |world: &World, which: &u64| world.store.exists(&key(*which)).unwrap().is_some();
    let mut world = World::new(Sync::Always, true);
    let mut deletes = 0;
    for which in 0..1_000 {
        let stored = world.store.set(&key(which), &content(which, 3_000), 0, Ttl::Never);
        assert!(matches!(stored, Ok(Stored::Done(_)) | Err(holdfast::Error::Full(_))));
        if which < 150 || which % 10 != 0 {
            continue;
        }
        // Everything evicted is on its way; each look moves it on, and none of them syncs.
        for _ in 0..which % 3 {
            world.store.expire(1).expect("expire");
        }
        let synced = world.disk.data(world.path(), &mut Rng::new(1), Luck::Nothing);
        let mut images = Images::default();
        let superblock = std::fs::read(world.path().join("super")).expect("super");
        images.hold(&superblock, synced);
        let options = Options { disk: None, ..world.options.clone() };
        let image = open(images.path(), &options);
        let mut evicted = (0..which)
            .filter(|which| !there(&world, which) && image.exists(&key(*which)).unwrap().is_some());
        let Some(gone) = evicted.next() else { continue };
        drop(evicted);
        drop(image);
        assert_eq!(world.store.delete(&key(gone), None, None).unwrap(), Stored::Missing);
        deletes += 1;
        world = world.after_the_last_sync();
        assert!(!there(&world, &gone), "key {gone} came back after {which}");
    }
    assert!(deletes > 10, "{deletes}: nothing that was evicted could come back");
    println!("{deletes} deletes of what was evicted");
}

/// A backup that takes long keeps the first record of a value, while the sweep moves the value so
/// often that the number of its copy, of eight bits, goes half way round. A cut then must not take
/// the first for the last: that one has the life that a touch was told it has.
#[test]
fn a_value_that_was_moved_very_often_is_the_last_of_its_copies() {
    let key = b"the key";
    for times in [1, 126, 127, 128, 129, 130, 254, 255, 256, 257] {
        let world = World::new(Sync::Always, false);
        // One that lives in each segment, so that the backup has something to say of it.
        for i in 0..36u64 {
            world.set(&i.to_le_bytes(), b"", if i % 4 == 0 { Ttl::Never } else { Ttl::Millis(1) });
            world.set(b"filler", &content(i, 15_000), Ttl::Millis(1));
        }
        world.set(key, b"value", Ttl::Millis(10_000));
        world.clock.pass(100);
        let (target, store, mut calls) = (memory_dir(), world.store.clone(), 0);
        let moved = || world.store.stats().expect("stats").moved_bytes;
        let report = store.backup(target.path().join("copy"), false, &mut |_, _| {
            calls += 1;
            if calls != 8 {
                return true;
            }
            // What lies below is copied, and is used again and again.
            for _ in 0..times {
                let before = moved();
                world.store.compact().expect("compact");
                assert!(moved() > before, "nothing was moved");
            }
            let touched = world.store.touch(key, Ttl::Never, None);
            assert!(matches!(touched, Ok(Stored::Done(_))), "{touched:?}");
            let left = world.disk.data(world.path(), &mut Rng::new(1), Luck::Nothing);
            let mut images = Images::default();
            images.hold(&std::fs::read(world.path().join("super")).unwrap(), left);
            let after = open(images.path(), &Options { disk: None, ..world.options.clone() });
            let item = after.exists(key).expect("exists").expect("there");
            assert_eq!(item.expires_ms, 0, "after {times} moves: the life before the touch");
            true
        });
        assert!(calls >= 8, "{report:?}");
    }
}

/// What was written durably is there, whatever else is not: in each mode, at each place in a batch.
#[test]
fn a_touch_in_place_survives_with_the_write_that_asked_for_the_disk() {
    for sync in [Sync::None, Sync::Periodic] {
        let world = World::new(sync, false);
        world.set(b"touched", b"v", Ttl::Millis(5_000));
        world.store.sync().expect("sync");
        assert!(world.store.touch(b"touched", Ttl::Never, None).is_ok());
        let how = Write { sync: true, ..Write::default() };
        assert!(matches!(world.store.write(b"other", b"", &how), Ok(Stored::Done(_))));
        let world = world.after_the_last_sync();
        world.clock.pass(6_000);
        assert!(world.get(b"touched").is_some(), "{sync:?}");
    }
}
