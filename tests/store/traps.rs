//! Mistakes seen in other stores, each with a test that it is not made here, and the rules by
//! which space is given back.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::{Acquired, Error, Expect, Options, Store, Stored, Sync, Ttl, Wait};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{CutDisk, HandClock, content, dir, memory_dir, open, small};

/// 64 KiB segments, so that they come and go; only the syncs that the test asks for.
fn tiny(clock: &Arc<HandClock>) -> Options {
    Options {
        create: true,
        thread: false,
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(100_000),
        sync: Some(Sync::None),
        clock: Some(clock.clone()),
        ..Options::default()
    }
}

fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).unwrap_or_else(|e| panic!("{e}")).map(|_| value)
}

fn set(store: &Store, key: &[u8], value: &[u8], ttl: Ttl) -> u64 {
    match store.set(key, value, 0, ttl) {
        Ok(Stored::Done(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn rebuilt(path: &Path, options: &Options) -> Store {
    std::fs::remove_file(path.join("meta")).expect("meta");
    open(path, options)
}

/// Sweeps until nothing more comes of it.
fn sweep(store: &Store) {
    for _ in 0..6 {
        store.expire(u64::MAX).expect("expire");
        store.sync().expect("sync");
    }
}

/// Ends the present segment by filling it.
fn roll(store: &Store) {
    for _ in 0..9 {
        set(store, b"filler", &content(1, 8_000), Ttl::Millis(1));
    }
}

#[test]
fn keys_whose_places_in_the_index_look_alike_never_get_each_others_values() {
    let dir = memory_dir();
    let options = Options { max_bytes: Some(64 << 20), thread: false, ..small() };
    let store = open(dir.path(), &options);
    // 14 bits of a hash in a slot: among so many keys thousands share them within a bucket.
    for i in 0..60_000u32 {
        set(&store, &i.to_le_bytes(), &i.to_be_bytes(), Ttl::Never);
    }
    for i in 0..120_000u32 {
        let expected = (i < 60_000).then(|| i.to_be_bytes().to_vec());
        assert_eq!(get(&store, &i.to_le_bytes()), expected);
    }
    drop(store);
    let store = rebuilt(dir.path(), &options);
    for i in 0..120_000u32 {
        let expected = (i < 60_000).then(|| i.to_be_bytes().to_vec());
        assert_eq!(get(&store, &i.to_le_bytes()), expected);
    }
}

#[test]
fn whatever_files_a_death_leaves_no_empty_store_is_opened_over_an_old_one() {
    let names = ["super", "data", "index", "meta", "lock"];
    for missing in 0..32u32 {
        let dir = memory_dir();
        let options = Options { thread: false, ..small() };
        set(&open(dir.path(), &options), b"k", b"v", Ttl::Never);
        for (i, name) in names.iter().enumerate() {
            let path = dir.path().join(name);
            match missing >> i & 1 {
                0 => {}
                // What a rename that was cut short leaves.
                _ if missing.is_multiple_of(3) => {
                    std::fs::rename(&path, dir.path().join(format!("{name}.new"))).unwrap()
                }
                _ => std::fs::remove_file(&path).unwrap(),
            }
        }
        let (has_super, has_data) = (missing & 1 == 0, missing & 2 == 0);
        match Store::open(dir.path(), &options) {
            Ok(store) if has_super && has_data => {
                assert_eq!(get(&store, b"k").as_deref(), Some(&b"v"[..]), "{missing:05b}")
            }
            Ok(store) => {
                assert!(!has_super && !has_data, "{missing:05b}: opened as an empty store");
                assert_eq!(get(&store, b"k"), None);
            }
            Err(e) => {
                assert!(has_super != has_data, "{missing:05b}: {e}");
                let name = if has_super { "data" } else { "super" };
                let text = e.to_string();
                assert!(text.contains(&dir.path().join(name).display().to_string()), "{text}");
                assert!(has_data == dir.path().join("data").exists(), "data was touched");
            }
        }
    }
}

#[test]
fn a_torn_tail_loses_only_itself_and_what_is_written_after_it_stays() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let store = open(dir.path(), &options);
    for i in 0..50u32 {
        set(&store, &i.to_le_bytes(), &content(i as u64, 300), Ttl::Never);
    }
    set(&store, b"the torn one", &content(99, 3_000), Ttl::Never);
    drop(store);
    let path = dir.path().join("data");
    let bytes = std::fs::read(&path).unwrap();
    let tail = content(99, 3_000);
    let at = bytes.windows(64).position(|w| *w == tail[1_000..1_064]).expect("its middle");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 2_100], at as u64).unwrap();
    for round in 0..3u32 {
        let store = rebuilt(dir.path(), &options);
        for i in 0..50 + round * 50 {
            assert_eq!(get(&store, &i.to_le_bytes()), Some(content(i as u64, 300)), "key {i}");
        }
        assert_eq!(get(&store, b"the torn one"), None);
        for i in 50 + round * 50..100 + round * 50 {
            set(&store, &i.to_le_bytes(), &content(i as u64, 300), Ttl::Never);
        }
    }
}

#[test]
fn lifetimes_survive_restarts_and_rebuilds() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let store = open(dir.path(), &options);
    set(&store, b"short", b"v", Ttl::Millis(5_000));
    set(&store, b"touched", b"v", Ttl::Millis(1_000));
    store.touch(b"touched", Ttl::Millis(60_000), None).unwrap();
    let ends = |store: &Store, key: &[u8]| store.exists(key).unwrap().map(|item| item.expires_ms);
    let (short, touched) = (ends(&store, b"short"), ends(&store, b"touched"));
    drop(store);
    let store = open(dir.path(), &options);
    assert_eq!((ends(&store, b"short"), ends(&store, b"touched")), (short, touched));
    drop(store);
    let store = rebuilt(dir.path(), &options);
    assert_eq!((ends(&store, b"short"), ends(&store, b"touched")), (short, touched));
    clock.pass(5_000);
    assert!(get(&store, b"short").is_none() && get(&store, b"touched").is_some());
    drop(store);
    clock.pass(60_000);
    let store = rebuilt(dir.path(), &options);
    assert!(get(&store, b"short").is_none() && get(&store, b"touched").is_none());
}

#[test]
fn the_lock_of_a_dead_process_or_of_an_expired_session_blocks_nobody() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &tiny(&clock));
    let child = process::fork(|| {
        assert!(matches!(store.lock(b"s", 1, &Wait::default()), Ok(Acquired::Held(_))));
        process::die();
    });
    assert_eq!(child.wait(Duration::from_secs(10)), Ended::Signal(libc::SIGKILL));
    let once = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
    let Acquired::Held(held) = store.lock(b"s", 1, &once).unwrap() else { panic!("blocked") };
    let fenced = |ttl, expect| store.put(b"s", b"v", 0, ttl, expect, Some(&held)).unwrap();
    assert!(matches!(fenced(Ttl::Millis(10), Expect::Absent), Stored::Done(_)));
    clock.pass(10);
    assert_eq!(store.touch(b"s", Ttl::Never, Some(&held)).unwrap(), Stored::Missing);
    assert_eq!(fenced(Ttl::Never, Expect::Present), Stored::Missing);
    assert!(matches!(fenced(Ttl::Never, Expect::Absent), Stored::Done(_)));
}

/// An old version with a long life, then `newer`, then time and sweeps: nothing comes back.
fn nothing_comes_back(name: &str, newer: impl Fn(&Store)) {
    for older in [Ttl::Never, Ttl::Millis(500_000)] {
        let dir = memory_dir();
        let clock = HandClock::new();
        let options = tiny(&clock);
        let store = open(dir.path(), &options);
        set(&store, b"k", b"old", older);
        // Something that stays keeps the old version's segment where it is.
        set(&store, b"stays", b"v", Ttl::Never);
        roll(&store);
        newer(&store);
        roll(&store);
        clock.pass(10_000);
        sweep(&store);
        assert_eq!(get(&store, b"k"), None, "{name}");
        drop(store);
        let store = rebuilt(dir.path(), &options);
        assert_eq!(get(&store, b"k"), None, "{name}: back after a rebuild");
        sweep(&store);
        roll(&store);
        sweep(&store);
        drop(store);
        let store = rebuilt(dir.path(), &options);
        assert_eq!(get(&store, b"k"), None, "{name}: back after two rebuilds");
        assert!(get(&store, b"stays").is_some());
    }
}

#[test]
fn an_expired_newer_version_does_not_bring_back_the_old_one() {
    nothing_comes_back("set", |store| {
        drop(set(store, b"k", b"new", Ttl::Millis(1_000)).to_string())
    });
    nothing_comes_back("touch", |store| {
        assert!(matches!(store.touch(b"k", Ttl::Millis(1_000), None), Ok(Stored::Done(_))));
    });
    nothing_comes_back("delete", |store| {
        assert!(matches!(store.delete(b"k", None, None), Ok(Stored::Done(_))));
    });
    nothing_comes_back("delete, set", |store| {
        store.delete(b"k", None, None).unwrap();
        roll(store);
        set(store, b"k", b"new", Ttl::Millis(1_000));
    });
    nothing_comes_back("large", |store| {
        set(store, b"k", &content(5, 70_000), Ttl::Millis(1_000));
    });
}

#[test]
fn a_full_store_can_be_emptied_key_by_key_also_after_many_rebuilds() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let mut store = open(dir.path(), &options);
    let mut keys = 0u32;
    while store
        .set(&keys.to_le_bytes(), b"a small one that takes two lines, ever", 0, Ttl::Never)
        .is_ok()
    {
        keys += 1;
    }
    for round in 0..8 {
        drop(store);
        store = rebuilt(dir.path(), &options);
        assert_eq!(
            store
                .delete(&(round as u32).to_le_bytes(), None, None)
                .map(|s| matches!(s, Stored::Done(_)))
                .ok(),
            Some(true)
        );
    }
    // Not in the order of the log, so that no segment is dead before nearly all are.
    for i in 0..keys {
        let key = (i.wrapping_mul(7_919) % keys).to_le_bytes();
        match store.delete(&key, None, None) {
            Ok(Stored::Done(_) | Stored::Missing) => {}
            other => panic!("delete {i} of {keys}: {other:?}"),
        }
    }
    for i in 0..keys {
        assert_eq!(store.delete(&i.to_le_bytes(), None, None).unwrap(), Stored::Missing);
    }
    drop(store);
    let store = rebuilt(dir.path(), &options);
    assert!((0..keys).all(|i| get(&store, &i.to_le_bytes()).is_none()), "deleted, and back");
    for i in 0..keys / 2 {
        if store.set(&i.to_le_bytes(), &content(3, 40), 0, Ttl::Never).is_err() {
            std::thread::sleep(Duration::from_millis(110));
            set(&store, &i.to_le_bytes(), &content(3, 40), Ttl::Never);
        }
    }
}

#[test]
fn tombstones_of_two_lanes_do_not_hold_each_others_segments_for_ever() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let store = open(dir.path(), &options);
    // Two processes, so two lanes where the machine has two processors, turn about.
    for round in 0..12u32 {
        let turn = |who: u32| {
            for i in 0..40u32 {
                let key = (round << 16 | who << 8 | i).to_le_bytes();
                set(&store, &key, &content(1, 600), Ttl::Never);
                assert!(matches!(store.delete(&key, None, None), Ok(Stored::Done(_))));
            }
        };
        turn(0);
        let child = process::fork(|| turn(1));
        assert_eq!(child.wait(Duration::from_secs(20)), Ended::Exit(0), "round {round}");
    }
    let room = 8 * 7 * 8_000;
    for stored in 0..room / 8_000u32 {
        set(&store, &(stored | 1 << 30).to_le_bytes(), &content(2, 8_000), Ttl::Never);
    }
}

#[test]
fn versions_and_fences_are_never_issued_twice() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let mut last = 0;
    let mut next = |version: u64| {
        assert!(version > last, "{version} after {last}");
        last = version;
    };
    for round in 0..12 {
        let store = open(dir.path(), &options);
        for _ in 0..5 {
            let Acquired::Held(held) = store.lock(b"l", 1, &Wait::default()).unwrap() else {
                panic!()
            };
            next(held.fence);
            assert!(store.unlock(b"l", &held).unwrap());
            if round % 3 != 0 {
                next(set(&store, b"k", b"v", Ttl::Millis(1)));
            }
        }
        drop(store);
        match round % 4 {
            0 => std::fs::remove_file(dir.path().join("meta")).unwrap(),
            1 => std::fs::remove_file(dir.path().join("index")).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_clock_that_leapt_ahead_destroys_nothing_at_once() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let options = tiny(&clock);
    let store = open(dir.path(), &options);
    set(&store, b"k", b"v", Ttl::Millis(3_600_000));
    let right = store.now_ms().unwrap();
    drop(store);
    clock.set_wall(right + 10 * 24 * 3_600_000);
    let store = rebuilt(dir.path(), &options);
    assert_eq!(get(&store, b"k"), None, "by that clock it is over");
    assert_eq!(store.expire(u64::MAX).unwrap(), 0, "nothing is destroyed on its word");
    drop(store);
    clock.set_wall(right);
    let store = rebuilt(dir.path(), &options);
    assert_eq!(get(&store, b"k").as_deref(), Some(&b"v"[..]), "the clock is right again");
}

/// What a reboot does to a store that was closed cleanly: another boot id in meta.
fn reboot(path: &Path, change: impl Fn(&std::fs::File)) {
    let meta = std::fs::File::options().read(true).write(true).open(path.join("meta")).unwrap();
    let mut id = [0; 8];
    meta.read_exact_at(&mut id, 0x10).unwrap();
    id[0] ^= 1;
    meta.write_all_at(&id, 0x10).unwrap();
    change(&meta);
}

#[test]
fn after_a_clean_close_and_a_reboot_no_old_uptime_is_believed() {
    let (dir, clock, disk) = (memory_dir(), HandClock::new(), CutDisk::new());
    let options = Options {
        sync: Some(Sync::Periodic),
        sync_interval: Some(Duration::from_millis(20)),
        disk: Some(disk.clone()),
        ..tiny(&clock)
    };
    let store = open(dir.path(), &options);
    let mut keys = 0u32;
    while store.set(&keys.to_le_bytes(), &content(1, 4_000), 0, Ttl::Millis(1_000)).is_ok() {
        keys += 1;
    }
    drop(store);
    let far = (1u64 << 50).to_le_bytes();
    reboot(dir.path(), |meta| {
        // Written on a machine that had been up for long (see arena.rs): the end of the pause
        // after a vain search for room, and the time of the last sync.
        meta.write_all_at(&far, 0x080).unwrap();
        meta.write_all_at(&far, 0x2d0).unwrap();
    });
    clock.pass(700_000);
    let store = open(dir.path(), &options);
    assert_eq!(store.stats().unwrap().keys, keys as u64, "trusted, not rebuilt");
    for i in 0..keys {
        set(&store, &i.to_le_bytes(), &content(2, 4_000), Ttl::Millis(1_000));
    }
    std::thread::sleep(Duration::from_millis(60));
    let syncs = disk.syncs();
    set(&store, b"one more", b"v", Ttl::Never);
    assert!(disk.syncs() > syncs, "a sync was due and did not come");
}

/// Says that a sync of the data began, and never ends it.
struct Hangs(i32);

impl holdfast::Disk for Hangs {
    fn sync(&self, kind: holdfast::FileKind, _: &std::fs::File) -> std::io::Result<()> {
        if kind != holdfast::FileKind::Data {
            return Ok(());
        }
        process::write_raw(self.0, b"s");
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

#[test]
fn what_a_process_was_syncing_when_it_died_is_synced_by_another() {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    let (dir, disk) = (dir(), CutDisk::new());
    let options = Options { sync_interval: Some(Duration::from_millis(300)), ..small() };
    let (mut heard, tell) = process::pipe();
    // Made before the child, which opens it for itself.
    drop(open(dir.path(), &options));
    let child = process::fork(|| {
        let disk = Arc::new(Hangs(tell.as_raw_fd()));
        let store = open(dir.path(), &Options { disk: Some(disk), ..options.clone() });
        set(&store, b"child", b"v", Ttl::Never);
        process::write_raw(tell.as_raw_fd(), b"w");
        std::thread::sleep(Duration::from_secs(5));
        process::die();
    });
    drop(tell);
    let mut said = [0; 2];
    heard.read_exact(&mut said[..1]).unwrap();
    // Written before the child's thread looks, and looked at later by ours, so that it is the child
    // that syncs this too.
    std::thread::sleep(Duration::from_millis(120));
    let store = open(dir.path(), &Options { disk: Some(disk.clone()), ..options });
    set(&store, b"k", b"v", Ttl::Never);
    heard.read_exact(&mut said[1..]).unwrap();
    assert_eq!(said, *b"ws");
    let before = disk.syncs();
    child.signal(libc::SIGKILL);
    assert_eq!(child.wait(Duration::from_secs(10)), Ended::Signal(libc::SIGKILL));
    let begun = Instant::now();
    while disk.syncs() == before {
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody synced it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A worker that is killed leaves changes that nobody has synced; the next one may only read.
#[test]
fn what_the_dead_wrote_is_synced_also_by_one_who_only_reads() {
    let dir = memory_dir();
    let options = Options { sync_interval: Some(Duration::from_millis(100)), ..small() };
    let child = process::fork(|| {
        set(&open(dir.path(), &options), b"k", b"v", Ttl::Never);
        process::die();
    });
    assert_eq!(child.wait(Duration::from_secs(10)), Ended::Signal(libc::SIGKILL));
    let disk = CutDisk::new();
    let store = open(dir.path(), &Options { disk: Some(disk.clone()), ..options.clone() });
    assert_eq!(get(&store, b"k").as_deref(), Some(&b"v"[..]));
    let begun = Instant::now();
    while disk.syncs() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody synced it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Found by the power cuts: the expiry is outside the header's checksum. Where a record is written
/// over an older one of the same key, a torn sector can hold all of the new header but the expiry;
/// the rebuild took it for whole, and the key could not be read at all.
#[test]
fn a_record_whose_expiry_was_torn_off_loses_to_the_one_before() {
    let dir = dir();
    let newer = b"the newer value, long enough to be found";
    {
        let store = open(dir.path(), &small());
        set(&store, b"k", b"older", Ttl::Millis(1_000_000));
        set(&store, b"k", newer, Ttl::Millis(2_000_000));
    }
    let path = dir.path().join("data");
    let data = std::fs::read(&path).unwrap();
    let value_at = data.windows(newer.len()).position(|w| w == newer).expect("in the log");
    let expiry_at = (value_at - 72 + 40) as u64;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&data[40..48], expiry_at).unwrap();
    let store = rebuilt(dir.path(), &small());
    assert_eq!(get(&store, b"k").as_deref(), Some(&b"older"[..]));
}

/// Deletions are kept until nothing older is left anywhere. A value that fills segments is never
/// moved, so one that lives on would keep all of them for ever: it has one key, and only the
/// deletions of that key have to wait for it.
#[test]
fn a_large_value_that_lives_on_does_not_fill_the_store_with_deletions() {
    let dir = memory_dir();
    let options = Options { thread: false, ..tiny(&HandClock::new()) };
    let store = open(dir.path(), &options);
    let large = content(7, 40_000);
    set(&store, b"large", &large, Ttl::Never);
    set(&store, b"large and gone", &large, Ttl::Never);
    assert!(matches!(store.delete(b"large and gone", None, None), Ok(Stored::Done(_))));
    for i in 0..20_000u32 {
        set(&store, &i.to_le_bytes(), b"soon deleted", Ttl::Never);
        let deleted = store.delete(&i.to_le_bytes(), None, None);
        assert!(matches!(deleted, Ok(Stored::Done(_))), "{i}: {deleted:?}");
    }
    drop(store);
    let store = rebuilt(dir.path(), &options);
    assert!(get(&store, b"large").as_deref() == Some(&large[..]));
    let gone = |key: &[u8]| get(&store, key).is_none();
    assert!(gone(b"large and gone") && (0..20_000u32).all(|i| gone(&i.to_le_bytes())));
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let dir = dir();
    drop(open(dir.path(), &small()));
    let path = dir.path().join("super");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0x18] = 9;
    let crc = crc(&bytes[..0x1f8]) as u64;
    bytes[0x1f8..0x200].copy_from_slice(&crc.to_le_bytes());
    let copy = bytes[..4096].to_vec();
    bytes[4096..8192].copy_from_slice(&copy);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let Err(Error::Format { path: named, why }) = Store::open(dir.path(), &small()) else {
        panic!("opened, or another error")
    };
    assert!(named.ends_with("super") && why.contains("9.1") && why.contains("1.1"), "{why}");
}

/// CRC-32C, bit by bit: the slow and obvious one.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ *byte as u32, |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78))
    })
}
