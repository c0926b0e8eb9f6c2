//! Owners: a name that many values carry, and that ends them all in one step.
//!
//! What was ended is gone in every process, after every death, power cut and rebuild, and nobody
//! who worked on it before can bring it back; what is written afterwards lives.

use std::path::Path;
use std::time::Duration;

use holdfast::{Acquired, Error, Expect, Held, Options, Store, Stored, Sync, Ttl, Wait, Write};
use holdfast_tests::killing::now_ns;
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{
    CutDisk, HandClock, Luck, Rng, content, dir, memory_dir, open, plain, seed, size, small,
};

const LONG: Duration = Duration::from_secs(60);
const ANNA: &[u8] = b"anna";

fn done(stored: holdfast::Result<Stored>) -> u64 {
    match stored {
        Ok(Stored::Done(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn of<'a>(owner: &'a [u8], ttl: Ttl) -> Write<'a> {
    Write { owner: Some(owner), ttl, ..Write::default() }
}

fn login(store: &Store, key: &[u8]) -> u64 {
    done(store.write(key, b"anna's", &of(ANNA, Ttl::Millis(3_600_000))))
}

fn lock(store: &Store, key: &[u8]) -> Held {
    match store.lock(key, 1, &Wait::default()).expect("lock") {
        Acquired::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

fn has(store: &Store, key: &[u8]) -> bool {
    store.exists(key).expect("exists").is_some()
}

fn read(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).expect("get").map(|_| value)
}

fn keys_of(store: &Store, owner: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut each = |key: &[u8]| {
        keys.push(key.to_vec());
        true
    };
    let count = store.owner_keys(owner, &mut each).expect("owner_keys");
    assert_eq!(count, keys.len() as u64);
    keys.sort();
    keys
}

fn elsewhere(work: impl FnOnce()) {
    assert_eq!(process::fork(work).wait(LONG), Ended::Exit(0));
}

/// A store made of the log alone.
fn from_the_log(path: &Path, options: &Options) -> (tempfile::TempDir, Store) {
    let copy = memory_dir();
    for name in ["super", "data"] {
        std::fs::copy(path.join(name), copy.path().join(name)).expect("a copy");
    }
    let store = open(copy.path(), options);
    (copy, store)
}

fn sweep(store: &Store) {
    for _ in 0..3 {
        store.expire(u64::MAX).expect("expire");
        store.sync().expect("sync");
    }
}

#[test]
fn an_owner_is_shown_with_its_keys_and_ended_in_every_process() {
    let dir = dir();
    let store = open(dir.path(), &small());
    for key in [&b"laptop"[..], b"phone", b"tablet"] {
        login(&store, key);
    }
    done(store.write(b"bob's", b"..", &of(b"bob", Ttl::Never)));
    // A key that is named like an owner is another thing.
    done(store.set(ANNA, b"a value", 7, Ttl::Never));
    let long = [b'n'; 255];
    done(store.write(&[b'k'; 1024], &content(1, 3_000), &of(&long, Ttl::Never)));
    assert_eq!(store.stats().unwrap().keys, 6);
    let all = [b"laptop".to_vec(), b"phone".to_vec(), b"tablet".to_vec()];
    let as_it_was = |store: &Store| {
        assert_eq!(keys_of(store, ANNA), all);
        assert_eq!(store.owner_keys(ANNA, &mut |_| false).unwrap(), 1, "and no more if told so");
        assert_eq!(store.owner_of(b"phone").unwrap().as_deref(), Some(ANNA));
        assert_eq!(store.owner_of(ANNA).unwrap(), None);
        assert_eq!(store.owner_of(b"nobody's").unwrap(), None);
        assert_eq!(read(store, b"phone").as_deref(), Some(&b"anna's"[..]));
        assert_eq!(read(store, &[b'k'; 1024]), Some(content(1, 3_000)));
        assert_eq!(store.owner_of(&[b'k'; 1024]).unwrap().as_deref(), Some(&long[..]));
        assert_eq!(store.stats().unwrap().keys, 6);
    };
    as_it_was(&store);
    elsewhere(|| as_it_was(&store));
    as_it_was(&from_the_log(dir.path(), &small()).1);
    let version = store.exists(b"phone").unwrap().unwrap().version;
    elsewhere(|| assert!(store.end_owner(ANNA).unwrap()));
    let as_it_is = |store: &Store| {
        for key in &all {
            assert_eq!(read(store, key), None);
            assert!(!has(store, key));
            assert_eq!(store.touch(key, Ttl::Never, None).unwrap(), Stored::Missing);
            assert_eq!(store.delete(key, None, None).unwrap(), Stored::Missing);
            assert_eq!(store.replace(key, b"x", 0, Ttl::Never).unwrap(), Stored::Missing);
            assert_eq!(store.append(key, b"x", None, false).unwrap(), Stored::Missing);
            assert_eq!(store.owner_of(key).unwrap(), None);
            assert_eq!(store.set_owner(key, b"bob", None).unwrap(), Stored::Missing);
        }
        assert_eq!(store.cas(b"phone", b"x", 0, Ttl::Never, version).unwrap(), Stored::Missing);
        assert!(keys_of(store, ANNA).is_empty());
        assert_eq!(read(store, ANNA).as_deref(), Some(&b"a value"[..]));
        assert_eq!(keys_of(store, b"bob"), [b"bob's".to_vec()]);
    };
    as_it_is(&store);
    elsewhere(|| as_it_is(&store));
    as_it_is(&from_the_log(dir.path(), &small()).1);
    sweep(&store);
    as_it_is(&store);
    // Whoever logs in again lives; what is written without a name is nobody's.
    login(&store, b"laptop");
    done(store.set(b"phone", b"anonymous", 0, Ttl::Never));
    assert_eq!(keys_of(&store, ANNA), [b"laptop".to_vec()]);
    assert_eq!(store.owner_of(b"phone").unwrap(), None);
    assert!(store.end_owner(ANNA).unwrap());
    assert!(!has(&store, b"laptop") && has(&store, b"phone"));
    assert!(!store.end_owner(b"never heard of").unwrap());
    let refused = store.end_owner(&[0; 256]).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
    assert!(store.write(b"k", b"v", &of(b"", Ttl::Never)).is_err());
}

#[test]
fn every_verb_on_a_live_value_leaves_it_its_owner() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut value = Vec::new();
    type Verb = fn(&Store);
    let verbs: [(&str, Verb); 9] = [
        ("set", |s| assert!(done(s.set(b"k", b"new", 1, Ttl::Never)) > 0)),
        ("large set", |s| assert!(done(s.set(b"k", &content(3, 400_000), 1, Ttl::Never)) > 0)),
        ("replace", |s| assert!(done(s.replace(b"k", b"new", 1, Ttl::Never)) > 0)),
        ("cas", |s| {
            let version = s.exists(b"k").unwrap().unwrap().version;
            done(s.cas(b"k", b"new", 1, Ttl::Never, version));
        }),
        ("append", |s| assert!(done(s.append(b"k", b"more", None, false)) > 0)),
        ("update", |s| {
            let update = |_: Option<(&[u8], &holdfast::Item)>| plain(b"computed".to_vec(), 0, None);
            done(s.update(b"k", None, false, &mut { update }));
        }),
        ("touch longer", |s| assert!(done(s.touch(b"k", Ttl::Never, None)) > 0)),
        ("touch shorter", |s| assert!(done(s.touch(b"k", Ttl::Millis(60_000), None)) > 0)),
        ("get_touch", |s| {
            s.get_touch(b"k", Ttl::Millis(90_000_000), &mut Vec::new()).unwrap().unwrap();
        }),
    ];
    for (name, verb) in verbs {
        for len in [100, 300_000] {
            done(store.write(b"k", &content(1, len), &of(ANNA, Ttl::Millis(3_600_000))));
            verb(&store);
            let owner = store.owner_of(b"k").unwrap();
            assert_eq!(owner.as_deref(), Some(ANNA), "{name} of {len} bytes");
            assert!(store.get(b"k", &mut value).unwrap().is_some());
            store.end_owner(ANNA).unwrap();
            assert!(!has(&store, b"k"), "{name} of {len} bytes");
        }
    }
    // Deleted is deleted, and the next one is nobody's.
    login(&store, b"k");
    done(store.delete(b"k", None, None));
    done(store.add(b"k", b"v", 0, Ttl::Never));
    assert_eq!(store.owner_of(b"k").unwrap(), None);
}

#[test]
fn an_owner_is_given_without_a_change_of_the_value() {
    let dir = dir();
    let store = open(dir.path(), &small());
    for len in [0, 2_000, 500_000] {
        store.put(b"k", &content(9, len), 77, Ttl::Millis(50_000), Expect::Any, None).unwrap();
        let before = store.exists(b"k").unwrap().unwrap();
        let version = done(store.set_owner(b"k", ANNA, None));
        let after = store.exists(b"k").unwrap().unwrap();
        assert_eq!((after.flags, after.expires_ms), (77, before.expires_ms));
        assert!(after.version == version && version > before.version);
        assert_eq!(read(&store, b"k"), Some(content(9, len)));
        assert_eq!(store.owner_of(b"k").unwrap().as_deref(), Some(ANNA));
        done(store.set_owner(b"k", b"bob", None));
        store.end_owner(ANNA).unwrap();
        assert_eq!(keys_of(&store, b"bob"), [b"k".to_vec()]);
        store.end_owner(b"bob").unwrap();
        assert!(!has(&store, b"k"));
    }
    assert_eq!(store.set_owner(b"nothing", ANNA, None).unwrap(), Stored::Missing);
}

#[test]
fn who_began_before_the_end_cannot_bring_it_back() {
    let dir = dir();
    let store = open(dir.path(), &small());
    login(&store, b"s");
    let before = lock(&store, b"s");
    let started = lock(&store, b"fresh");
    elsewhere(|| {
        store.end_owner(ANNA).unwrap();
        sweep(&store);
    });
    // Long enough for a sweep that does not look at locks to lose sight of it.
    sweep(&store);
    let with = |held| Write { held: Some(held), ..of(ANNA, Ttl::Never) };
    let plain = Write { owner: None, ..with(&before) };
    assert_eq!(store.write(b"s", b"mine", &plain).unwrap(), Stored::Lost);
    assert_eq!(store.write(b"s", b"mine", &with(&before)).unwrap(), Stored::Lost);
    assert_eq!(store.touch(b"s", Ttl::Never, Some(&before)).unwrap(), Stored::Missing);
    assert_eq!(store.append(b"s", b"x", Some(&before), false).unwrap(), Stored::Missing);
    assert_eq!(store.set_owner(b"s", ANNA, Some(&before)).unwrap(), Stored::Missing);
    // A login that began before the end names the owner: it is too late as well.
    assert_eq!(store.write(b"fresh", b"mine", &with(&started)).unwrap(), Stored::Lost);
    assert!(!has(&store, b"s") && !has(&store, b"fresh") && keys_of(&store, ANNA).is_empty());
    // What has nothing to do with the owner goes on.
    let free = Write { owner: None, ..with(&started) };
    done(store.write(b"fresh", b"nobody's", &free));
    assert!(store.unlock(b"s", &before).unwrap() && store.unlock(b"fresh", &started).unwrap());
    // A lock taken afterwards is as good as any.
    let after = lock(&store, b"s");
    done(store.write(b"s", b"new", &with(&after)));
    assert_eq!(keys_of(&store, ANNA), [b"s".to_vec()]);
}

#[test]
fn an_owner_lives_as_long_as_its_values() {
    let (dir, clock) = (memory_dir(), HandClock::new());
    let options = Options {
        clock: Some(clock.clone()),
        thread: false,
        max_ttl: Some(Duration::from_secs(1_000_000)),
        ..small()
    };
    let store = open(dir.path(), &options);
    done(store.write(b"short", b"1", &of(ANNA, Ttl::Millis(10_000))));
    done(store.write(b"long", b"2", &of(ANNA, Ttl::Millis(500_000))));
    done(store.write(b"touched", b"3", &of(ANNA, Ttl::Millis(20_000))));
    for step in 0..40 {
        clock.pass(15_000);
        done(store.touch(b"touched", Ttl::Millis(20_000), None));
        sweep(&store);
        assert_eq!(has(&store, b"long"), (step + 1) * 15_000 < 500_000, "step {step}");
        assert!(!has(&store, b"short"));
        if step % 7 == 0 {
            let (_copy, log) = from_the_log(dir.path(), &options);
            assert_eq!(keys_of(&store, ANNA), keys_of(&log, ANNA));
        }
    }
    done(store.touch(b"touched", Ttl::Never, None));
    clock.pass(999_000_000);
    assert!(has(&store, b"touched"), "the longest lifetime that there is");
    clock.pass(2_000_000);
    assert!(!has(&store, b"touched"));
    sweep(&store);
    // Nothing is left of an owner without values.
    clock.pass(200_000_000);
    for _ in 0..3 {
        sweep(&store);
        clock.pass(70_000);
    }
    assert_eq!(store.stats().unwrap().live_bytes, 0);
}

/// Requests of one user's sessions in several processes, while another process ends the user now
/// and then. Every value names the moment when its login began; what a request writes it read
/// under its lock.
#[test]
fn whoever_is_ended_is_out_whatever_runs_at_the_time() {
    const SESSIONS: u64 = 6;
    let turns = size("HOLDFAST_ENDS", 20);
    let (mut ended, mut alive) = (0, 0);
    for turn in 0..turns {
        let dir = memory_dir();
        let options = Options { thread: false, ..small() };
        let store = open(dir.path(), &options);
        let children: Vec<_> = (0..4u64)
            .map(|me| process::fork(|| work_as_a_user(&store, Rng::new(turn << 8 | me), SESSIONS)))
            .collect();
        std::thread::sleep(Duration::from_millis(10));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(5));
            let called = now_ns();
            store.end_owner(ANNA).expect("end");
            for i in 0..SESSIONS {
                if let Some(value) = read(&store, &session(i)) {
                    let login = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
                    assert!(login > called, "a login from before the end");
                    alive += 1;
                } else {
                    ended += 1;
                }
            }
        }
        let called = now_ns();
        store.end_owner(ANNA).expect("end");
        std::thread::sleep(Duration::from_millis(5));
        for child in children {
            child.signal(libc::SIGKILL);
            child.wait(LONG);
        }
        let check = |store: &Store, what: &str| {
            for i in 0..SESSIONS {
                let Some(value) = read(store, &session(i)) else { continue };
                let login = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
                assert!(login > called, "{what}: session {i} is back");
            }
        };
        check(&store, "at once");
        sweep(&store);
        check(&store, "after a sweep");
        check(&from_the_log(dir.path(), &options).1, "after a rebuild");
        drop(store);
        let store = open(dir.path(), &options);
        check(&store, "after reopening");
        login(&store, &session(0));
        assert!(has(&store, &session(0)));
    }
    println!("{ended} looks found nothing, {alive} a login after the end");
}

fn session(i: u64) -> Vec<u8> {
    format!("session {i}").into_bytes()
}

/// A request takes the lock, reads, and writes what it read, or logs in if there is nothing: that
/// moment, after it got the lock, is what it stores. Some requests work without the lock.
fn work_as_a_user(store: &Store, mut rng: Rng, sessions: u64) {
    loop {
        let key = session(rng.below(sessions));
        let locked = rng.below(4) != 0;
        let held = locked.then(|| lock(store, &key));
        let began = now_ns();
        let mut value = Vec::new();
        let known = store.get(&key, &mut value).expect("get");
        match known {
            // With a lock, all that it read is written back whatever happened meanwhile.
            Some(_) if locked => {
                let how = Write { held: held.as_ref(), ttl: Ttl::Never, ..Write::default() };
                store.write(&key, &value, &how).expect("write");
            }
            Some(item) => {
                let expect = Expect::Version(item.version);
                let how = Write { expect, ttl: Ttl::Never, ..Write::default() };
                store.write(&key, &value, &how).expect("write");
            }
            None if !locked => {}
            None => {
                value = began.to_le_bytes().to_vec();
                let how = Write { held: held.as_ref(), ..of(ANNA, Ttl::Never) };
                store.write(&key, &value, &how).expect("write");
            }
        }
        if let Some(held) = held {
            store.unlock(&key, &held).expect("unlock");
        }
    }
}

#[test]
fn an_end_survives_a_power_cut_in_every_mode() {
    let mut rng = Rng::new(seed("ends and cuts"));
    for sync in [Sync::None, Sync::Periodic, Sync::Always] {
        let (dir, disk) = (memory_dir(), CutDisk::new());
        let options = Options {
            sync: Some(sync),
            sync_interval: Some(Duration::from_secs(3600)),
            thread: false,
            disk: Some(disk.clone()),
            ..small()
        };
        let store = open(dir.path(), &options);
        let mut all = Vec::new();
        for turn in 0..40u64 {
            for i in 0..rng.below(8) {
                let key = format!("{turn} {i}").into_bytes();
                let value = content(i, rng.below(3_000) as usize);
                // Under the value that is ended may lie one that nobody ends.
                if rng.one_in(3) {
                    done(store.set(&key, b"older, without an owner", 0, Ttl::Never));
                }
                done(store.write(&key, &value, &of(ANNA, Ttl::Never)));
                all.push(key);
            }
            if rng.one_in(3) {
                sweep(&store);
            }
            store.end_owner(ANNA).unwrap();
            for _ in 0..rng.below(3) {
                done(store.set(b"something else", &content(turn, 900), 0, Ttl::Millis(1)));
            }
            if rng.one_in(3) {
                sweep(&store);
            }
            let image = memory_dir();
            let luck = *rng.pick(&[Luck::Nothing, Luck::Everything, Luck::Some(2)]);
            let derived = rng.one_in(3);
            disk.cut(dir.path(), image.path(), &mut rng, luck, derived);
            let options = Options { disk: None, ..options.clone() };
            let after = open(image.path(), &options);
            for key in &all {
                // The cut may have brought back what lay under a value that never was durable;
                // never the value itself, nor anything once a sync covered it.
                let value = read(&after, key);
                let old = value.as_deref() == Some(b"older, without an owner");
                assert!(value.is_none() || (old && sync == Sync::None), "{sync:?} {luck:?} {turn}");
            }
            assert!(keys_of(&after, ANNA).is_empty());
        }
    }
}

#[test]
fn a_damaged_owner_is_an_error_and_never_another_answer() {
    let dir = dir();
    let options = Options { thread: false, ..small() };
    let store = open(dir.path(), &options);
    let name = b"an owner whose name is found in the file";
    done(store.write(b"k", b"value of k", &of(name, Ttl::Never)));
    done(store.set(b"other", b"v", 0, Ttl::Never));
    let data = std::fs::read(dir.path().join("data")).unwrap();
    // The owner's own record begins with its name; the value's has the key before it.
    let at: Vec<usize> = (0..data.len() - name.len())
        .step_by(64)
        .filter(|at| data[at + 64..].starts_with(name))
        .collect();
    assert_eq!(at.len(), 1);
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(dir.path().join("data")).unwrap();
    for byte in [1, 9, 17, 18, 25, 33, 41, 46, 49, 64, 70] {
        let place = at[0] + byte;
        file.write_all_at(&[data[place] ^ 0x10], place as u64).unwrap();
        let mut value = Vec::new();
        let damaged = |r: holdfast::Result<bool>| matches!(r, Err(Error::Damaged(_)));
        for _ in 0..2 {
            let found = store.get(b"k", &mut value).map(|item| item.is_some());
            assert!(damaged(found), "byte {byte}: get");
            assert!(damaged(store.exists(b"k").map(|item| item.is_some())), "byte {byte}: exists");
            assert!(damaged(store.set(b"k", b"", 0, Ttl::Never).map(|_| true)), "byte {byte}: set");
            assert!(damaged(store.touch(b"k", Ttl::Never, None).map(|_| true)), "byte {byte}");
            assert!(damaged(store.owner_keys(name, &mut |_| true).map(|_| true)), "byte {byte}");
        }
        assert_eq!(store.owner_of(b"k").unwrap().as_deref(), Some(&name[..]));
        assert!(has(&store, b"other"));
        file.write_all_at(&[data[place]], place as u64).unwrap();
        assert!(has(&store, b"k"), "byte {byte}: mended");
    }
    file.write_all_at(&[data[at[0] + 64] ^ 1], at[0] as u64 + 64).unwrap();
    assert!(store.exists(b"k").is_err());
    store.end_owner(name).unwrap();
    assert!(!has(&store, b"k"), "ended, which wrote the record anew");
    done(store.write(b"k", b"again", &of(name, Ttl::Never)));
    assert_eq!(read(&store, b"k").as_deref(), Some(&b"again"[..]));
}

#[test]
fn a_full_store_can_still_end_an_owner() {
    let dir = memory_dir();
    let options = Options { max_bytes: Some(2 << 20), max_value_bytes: Some(1 << 16), ..small() };
    let store = open(dir.path(), &options);
    let keys: Vec<_> = (0..1_000u64)
        .map(|i| i.to_le_bytes())
        .take_while(|key| store.write(key, &content(1, 8_000), &of(ANNA, Ttl::Never)).is_ok())
        .collect();
    assert!(keys.len() > 100);
    assert!(store.end_owner(ANNA).unwrap());
    assert!(keys.iter().all(|key| !has(&store, key)));
    // And what it had is room for others.
    for i in 0..keys.len() as u64 * 8 / 10 {
        let key = [b"new".to_vec(), i.to_le_bytes().to_vec()].concat();
        let stored = store.set(&key, &content(2, 8_000), 0, Ttl::Never);
        let stats = store.stats().unwrap();
        assert!(stored.is_ok(), "{i} of {}: {stored:?}; {stats:?}", keys.len());
    }
}

/// Owners have places in the index too: its tables grow, the sweep moves everything, a backup takes it
/// along, and each value still has its owner.
#[test]
fn ten_thousand_owners_stay_with_their_values_while_all_of_it_moves() {
    let (dir, options) = (memory_dir(), Options { max_bytes: Some(64 << 20), ..small() });
    let store = open(dir.path(), &options);
    let name = |i: u32| format!("owner {i}").into_bytes();
    let key = |i: u32| format!("value {i}").into_bytes();
    for turn in 0..3 {
        for i in 0..20_000 {
            done(store.write(&key(i), &content(turn, 900), &of(&name(i / 2), Ttl::Never)));
        }
    }
    store.compact().expect("compact");
    for i in (0..20_000).step_by(4) {
        store.end_owner(&name(i / 2)).expect("end");
    }
    store.compact().expect("compact");
    let copy = dir.path().with_extension("backup");
    let report = store.verify(&mut |_, _| true).expect("verify");
    assert_eq!(report.findings_total, 0, "{report:#?}");
    store.backup(&copy, false, &mut |_, _| true).expect("backup");
    let check = |store: &Store| {
        for i in 0..20_000 {
            assert_eq!(has(store, &key(i)), i / 2 % 2 == 1, "value {i}");
        }
    };
    check(&store);
    check(&open(&copy, &Options::default()));
    std::fs::remove_dir_all(&copy).expect("the copy goes");
}

/// A cache gives up what nobody reads. Not owners, while they have values; nor what was ended while
/// somebody works on it, however large it is.
#[test]
fn a_cache_keeps_owners_and_what_was_ended_under_a_lock() {
    let dir = memory_dir();
    let options = Options {
        max_bytes: Some(4 << 20),
        max_value_bytes: Some(200_000),
        evict: Some(true),
        ..small()
    };
    let store = open(dir.path(), &options);
    done(store.write(b"read", b"often", &of(ANNA, Ttl::Never)));
    for (key, len) in [(&b"small"[..], 100), (b"large", 150_000)] {
        done(store.write(key, &content(1, len), &of(b"bob", Ttl::Never)));
    }
    let held = [lock(&store, b"small"), lock(&store, b"large")];
    store.end_owner(b"bob").unwrap();
    for i in 0..20_000u64 {
        assert!(has(&store, b"read") && read(&store, b"read").is_some(), "after {i}");
        done(store.set(&i.to_le_bytes(), &content(i, 1_000), 0, Ttl::Never));
    }
    assert!(store.stats().unwrap().evicted > 10_000);
    for (key, held) in [&b"small"[..], b"large"].into_iter().zip(&held) {
        let how = Write { held: Some(held), ..Write::default() };
        assert_eq!(store.write(key, b"back", &how).unwrap(), Stored::Lost);
        assert!(store.unlock(key, held).unwrap());
    }
    assert_eq!(keys_of(&store, ANNA), [b"read".to_vec()]);
    assert_eq!(store.verify(&mut |_, _| true).unwrap().findings_total, 0);
}
