//! Each verb, by its rules, in one process.

use std::time::{Duration, Instant};

use holdfast::{
    Acquired, BatchItem, Counted, Error, Expect, Item, Mark, Options, Store, Stored, Sync, Ttl,
    Update, Wait, Write,
};
use holdfast_tests::{HandClock, dir, open, plain, small};

fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).unwrap().map(|_| value)
}

fn put(store: &Store, key: &[u8], value: &[u8], expect: Expect) -> Stored {
    store.put(key, value, 0, Ttl::Never, expect, None).unwrap()
}

/// A long value is read and computed without a latch. What was to be kept was reported as kept, and
/// what was missing as missing, to a caller whose lease somebody had broken meanwhile.
#[test]
fn an_update_that_keeps_a_long_value_says_that_the_lock_is_lost() {
    let dir = dir();
    let store = open(dir.path(), &small());
    store.set(b"k", &[7; 300_000], 0, Ttl::Never).unwrap();
    let lease = Wait { lease: Some(Duration::from_millis(1)), ..Wait::default() };
    let Acquired::Held(mine) = store.lock(b"k", 1, &lease).unwrap() else { panic!("it is free") };
    let steal = || match store.lock(b"k", 2, &Wait::default()) {
        Ok(Acquired::Held(_)) => {}
        other => panic!("a lease that is over: {other:?}"),
    };
    let done = store.update(b"k", Some(&mine), false, &mut |present| {
        assert_eq!(present.map(|(value, _)| value.len()), Some(300_000));
        std::thread::scope(|scope| scope.spawn(steal).join()).expect("no panic");
        Update::Keep
    });
    assert_eq!(done.unwrap(), Stored::Lost);
}

#[test]
fn values_of_every_size_come_back_exactly() {
    let dir = dir();
    let options = Options { max_bytes: Some(64 << 20), max_value_bytes: Some(5 << 20), ..small() };
    let store = open(dir.path(), &options);
    let sizes = [0, 1, 7, 8, 63, 64, 65, 1000, 65_000, 262_000, 270_000, 1 << 20, 5 << 20];
    for (i, size) in sizes.into_iter().enumerate() {
        let key = vec![b'k'; 1 + i * 83];
        let value: Vec<u8> = (0..size).map(|n| (n * 31 + i) as u8).collect();
        let Stored::Done(version) = store.set(&key, &value, 77, Ttl::Never).unwrap() else {
            panic!("not stored")
        };
        let mut read = Vec::new();
        let item = store.get(&key, &mut read).unwrap().expect("present");
        assert!(read == value, "value of {size} bytes differs");
        assert_eq!((item.version, item.flags, item.value_len), (version, 77, size as u64));
    }
    let too_large = store.set(b"k", &vec![0; (5 << 20) + 1], 0, Ttl::Never).unwrap_err();
    assert!(too_large.to_string().contains("at most 5242880"), "{too_large}");
    assert!(store.get(&[], &mut Vec::new()).is_err());
    assert!(store.get(&[0; 1025], &mut Vec::new()).is_err());
    assert!(store.get(&[0; 1024], &mut Vec::new()).unwrap().is_none());
}

#[test]
fn the_largest_value_and_the_longest_key_come_back_also_after_a_rebuild() {
    let dir = dir();
    let options =
        Options { max_bytes: Some(512 << 20), max_value_bytes: Some(64 << 20), ..small() };
    let key = [b'k'; 1024];
    let value: Vec<u8> = (0..64u32 << 20).map(|n| (n ^ n >> 8) as u8).collect();
    for rebuild in [false, true] {
        let store = open(dir.path(), &options);
        if !rebuild {
            assert!(store.set(&key, &value[1..], 1, Ttl::Never).is_ok());
            assert!(store.set(&key, &value, 2, Ttl::Never).is_ok());
        }
        let mut read = Vec::new();
        assert_eq!(store.get(&key, &mut read).unwrap().expect("present").flags, 2);
        assert!(read == value, "64 MiB came back otherwise");
        drop(store);
        std::fs::remove_file(dir.path().join("meta")).unwrap();
    }
}

#[test]
fn conditions_are_kept() {
    let dir = dir();
    let store = open(dir.path(), &small());
    assert_eq!(put(&store, b"a", b"0", Expect::Present), Stored::Missing);
    let Stored::Done(v1) = put(&store, b"a", b"1", Expect::Absent) else { panic!() };
    assert_eq!(put(&store, b"a", b"2", Expect::Absent), Stored::Exists(v1));
    let Stored::Done(v2) = put(&store, b"a", b"3", Expect::Version(v1)) else { panic!() };
    assert!(v2 > v1);
    assert_eq!(put(&store, b"a", b"4", Expect::Version(v1)), Stored::Exists(v2));
    assert_eq!(put(&store, b"b", b"4", Expect::Version(v1)), Stored::Missing);
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"3"[..]));
    assert_eq!(store.delete(b"a", Some(v1), None).unwrap(), Stored::Exists(v2));
    assert!(matches!(store.delete(b"a", Some(v2), None).unwrap(), Stored::Done(_)));
    assert_eq!(store.delete(b"a", None, None).unwrap(), Stored::Missing);
    assert_eq!(get(&store, b"a"), None);
    let Stored::Done(v3) = put(&store, b"a", b"5", Expect::Absent) else { panic!() };
    assert!(v3 > v2, "versions never repeat");
}

#[test]
fn expired_data_counts_as_absent_for_every_verb() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    let fresh = |key: &[u8]| {
        store.set(key, b"old", 0, Ttl::Millis(100)).unwrap();
    };
    for key in [&b"add"[..], b"replace", b"cas", b"touch", b"delete", b"get"] {
        fresh(key);
    }
    let version = store.exists(b"cas").unwrap().unwrap().version;
    clock.pass(99);
    assert!(get(&store, b"get").is_some());
    clock.pass(1);
    assert!(get(&store, b"get").is_none() && store.exists(b"get").unwrap().is_none());
    assert_eq!(put(&store, b"replace", b"x", Expect::Present), Stored::Missing);
    assert_eq!(put(&store, b"cas", b"x", Expect::Version(version)), Stored::Missing);
    assert_eq!(store.touch(b"touch", Ttl::Never, None).unwrap(), Stored::Missing);
    assert_eq!(store.delete(b"delete", None, None).unwrap(), Stored::Missing);
    assert!(matches!(put(&store, b"add", b"x", Expect::Absent), Stored::Done(_)));
    assert_eq!(store.expire(0).unwrap(), 5);
    assert_eq!(store.stats().unwrap().keys, 1);
}

#[test]
fn a_touch_moves_the_end_both_ways() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    store.set(b"k", b"v", 5, Ttl::Millis(1000)).unwrap();
    let version = store.exists(b"k").unwrap().unwrap().version;
    assert_eq!(store.touch(b"k", Ttl::Millis(5000), None).unwrap(), Stored::Done(version));
    clock.pass(4000);
    let mut value = Vec::new();
    assert!(store.get_touch(b"k", Ttl::Millis(100), &mut value).unwrap().is_some());
    assert_eq!(value, b"v");
    assert_eq!(store.exists(b"k").unwrap().unwrap().flags, 5);
    clock.pass(100);
    assert!(get(&store, b"k").is_none(), "shortened to 100 ms");
}

#[test]
fn a_lock_has_one_owner_and_fences_the_others() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let try_once = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
    let Acquired::Held(mine) = store.lock(b"s", 1, &try_once).unwrap() else { panic!() };
    let Acquired::Held(again) = store.lock(b"s", 1, &try_once).unwrap() else { panic!() };
    assert_eq!(mine, again, "re-entered");
    assert!(matches!(store.lock(b"s", 2, &try_once).unwrap(), Acquired::TimedOut(h)
        if h.pid == std::process::id() as u64));
    let fenced = |held| store.put(b"s", b"v", 0, Ttl::Never, Expect::Any, Some(held)).unwrap();
    assert!(matches!(fenced(&mine), Stored::Done(_)));
    assert!(store.unlock(b"s", &mine).unwrap() && !store.unlock(b"s", &mine).unwrap());
    assert_eq!(fenced(&mine), Stored::Lost);
    let Acquired::Held(other) = store.lock(b"s", 2, &try_once).unwrap() else { panic!() };
    assert!(other.fence > mine.fence);
    assert_eq!(fenced(&mine), Stored::Lost);
    assert_eq!(store.touch(b"s", Ttl::Never, Some(&mine)).unwrap(), Stored::Lost);
    assert_eq!(store.delete(b"s", None, Some(&mine)).unwrap(), Stored::Lost);
    assert_eq!(store.locks(10).unwrap().len(), 1);
}

#[test]
fn waiters_come_in_the_order_of_their_asking() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let Acquired::Held(first) = store.lock(b"s", 0, &Wait::default()).unwrap() else { panic!() };
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 1..=8 {
            let (store, order) = (&store, &order);
            scope.spawn(move || {
                let Acquired::Held(held) = store.lock(b"s", n, &Wait::default()).unwrap() else {
                    panic!("not held")
                };
                order.lock().unwrap().push(n);
                store.unlock(b"s", &held).unwrap();
            });
            while store.stats().unwrap().lock_waiters < n {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        store.unlock(b"s", &first).unwrap();
    });
    assert_eq!(*order.lock().unwrap(), (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_lease_is_broken_only_after_its_length() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let lease = Wait { lease: Some(Duration::from_millis(150)), ..Wait::default() };
    let Acquired::Held(old) = store.lock(b"s", 1, &lease).unwrap() else { panic!() };
    let begun = std::time::Instant::now();
    let Acquired::Held(new) = store.lock(b"s", 2, &lease).unwrap() else { panic!() };
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let put = |held| store.put(b"s", b"v", 0, Ttl::Never, Expect::Any, Some(held)).unwrap();
    assert_eq!(put(&old), Stored::Lost);
    assert!(matches!(put(&new), Stored::Done(_)));
    assert!(!store.renew(b"s", &old, None).unwrap() && store.renew(b"s", &new, None).unwrap());
}

#[test]
fn who_only_tries_gets_a_lock_whose_lease_is_over() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let ms = Duration::from_millis;
    let lease = Wait { timeout: Some(ms(0)), lease: Some(ms(1000)), ..Wait::default() };
    let attempt = |cookie| store.lock(b"s", cookie, &lease).unwrap();
    let Acquired::Held(old) = attempt(1) else { panic!() };
    assert!(matches!(attempt(2), Acquired::TimedOut(_)));
    std::thread::sleep(ms(600));
    assert!(store.renew(b"s", &old, Some(ms(1000))).unwrap());
    std::thread::sleep(ms(600));
    assert!(matches!(attempt(2), Acquired::TimedOut(_)), "the lease began anew");
    std::thread::sleep(ms(600));
    assert!(matches!(attempt(2), Acquired::Held(_)));
    assert!(!store.unlock(b"s", &old).unwrap());
}

#[test]
fn those_who_poll_and_those_who_wait_take_turns() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    let dir = dir();
    let store = open(dir.path(), &small());
    let ms = Duration::from_millis;
    let (over, waited, polled) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        // Without the turns the line never empties, and whoever polls never has the lock.
        for cookie in 1..4 {
            let (store, over, waited) = (&store, &over, &waited);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let got = store.lock(b"s", cookie, &Wait::default()).unwrap();
                    let Acquired::Held(held) = got else { panic!("{got:?}") };
                    std::thread::sleep(ms(2));
                    waited.fetch_add(1, Ordering::Relaxed);
                    assert!(store.unlock(b"s", &held).unwrap());
                }
            });
        }
        for cookie in 4..6 {
            let (store, over, polled) = (&store, &over, &polled);
            scope.spawn(move || {
                let poll = Wait { timeout: Some(ms(0)), polls: true, ..Wait::default() };
                while !over.load(Ordering::Relaxed) {
                    if let Acquired::Held(held) = store.lock(b"s", cookie, &poll).unwrap() {
                        std::thread::sleep(ms(2));
                        polled.fetch_add(1, Ordering::Relaxed);
                        assert!(store.unlock(b"s", &held).unwrap());
                    }
                    std::thread::sleep(ms(20));
                }
            });
        }
        let both = || waited.load(Ordering::Relaxed).min(polled.load(Ordering::Relaxed));
        while both() < 20 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(ms(10));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (waited, polled) = (waited.into_inner(), polled.into_inner());
    assert!(waited >= 20 && polled >= 20, "{waited} in line, {polled} by polling");
    assert_eq!(store.stats().unwrap().locks_held, 0);
}

#[test]
fn a_line_goes_on_when_nobody_comes_back_who_polled() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let poll = Wait { timeout: Some(Duration::ZERO), polls: true, ..Wait::default() };
    let Acquired::Held(held) = store.lock(b"s", 1, &Wait::default()).unwrap() else { panic!() };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let got = store.lock(b"s", 2, &Wait::default()).unwrap();
            matches!(got, Acquired::Held(_))
        });
        while store.stats().unwrap().lock_waiters == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(store.lock(b"s", 3, &poll).unwrap(), Acquired::TimedOut(_)));
        let begun = std::time::Instant::now();
        assert!(store.unlock(b"s", &held).unwrap());
        assert!(waiter.join().unwrap());
        let took = begun.elapsed();
        assert!((Duration::from_millis(150)..Duration::from_secs(5)).contains(&took), "{took:?}");
    });
}

#[test]
fn everything_is_there_after_a_reopen() {
    let dir = dir();
    let mut versions = Vec::new();
    for round in 0..3 {
        let store = open(dir.path(), &small());
        for (i, version) in versions.iter().enumerate() {
            let key = format!("key{i}");
            assert_eq!(store.exists(key.as_bytes()).unwrap().unwrap().version, *version);
        }
        for i in 0..100 {
            let key = format!("key{}", round * 100 + i);
            let Stored::Done(v) = store.set(key.as_bytes(), b"value", 0, Ttl::Never).unwrap()
            else {
                panic!()
            };
            versions.push(v);
        }
    }
}

#[test]
fn a_rebuild_from_the_log_alone_finds_the_same() {
    let dir = dir();
    let options = Options { max_value_bytes: Some(1 << 20), ..small() };
    let big = vec![9; 700_000];
    {
        let store = open(dir.path(), &options);
        for i in 0..500u32 {
            store.set(&i.to_le_bytes(), &i.to_le_bytes(), i, Ttl::Never).unwrap();
        }
        for i in 0..250u32 {
            store.set(&i.to_le_bytes(), b"second", i, Ttl::Never).unwrap();
        }
        for i in 0..100u32 {
            store.delete(&i.to_le_bytes(), None, None).unwrap();
        }
        store.set(b"big", &big, 1, Ttl::Never).unwrap();
    }
    std::fs::remove_file(dir.path().join("meta")).unwrap();
    let store = open(dir.path(), &options);
    for i in 0..500u32 {
        let expected = match i {
            0..100 => None,
            100..250 => Some(b"second".to_vec()),
            _ => Some(i.to_le_bytes().to_vec()),
        };
        assert_eq!(get(&store, &i.to_le_bytes()), expected, "key {i}");
    }
    assert!(get(&store, b"big").unwrap() == big);
    assert_eq!(store.stats().unwrap().keys, 401);
}

#[test]
fn a_full_store_refuses_keeps_what_it_has_and_recovers() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    let value = vec![1; 10_000];
    let mut stored = 0u32;
    let refused = loop {
        match store.set(&stored.to_le_bytes(), &value, 0, Ttl::Millis(60_000)) {
            Ok(_) => stored += 1,
            Err(e) => break e,
        }
    };
    assert!(refused.to_string().contains("full"), "{refused}");
    assert!(stored as usize * 10_000 > 10 << 20, "only {stored} fit");
    for i in 0..stored {
        assert!(get(&store, &i.to_le_bytes()).is_some(), "key {i}");
    }
    assert!(matches!(store.delete(&0u32.to_le_bytes(), None, None).unwrap(), Stored::Done(_)));
    clock.pass(60_001);
    std::thread::sleep(Duration::from_millis(150));
    for i in 0..stored {
        store.set(&i.to_be_bytes(), &value, 0, Ttl::Millis(60_000)).unwrap();
    }
}

fn number(counted: Counted) -> u64 {
    match counted {
        Counted::Done { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

/// Version, flags and end of life.
fn known(store: &Store, key: &[u8]) -> (u64, u32, u64) {
    let item = store.exists(key).unwrap().expect("present");
    (item.version, item.flags, item.expires_ms)
}

#[test]
fn numbers_wrap_upwards_and_stop_at_zero() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    let how = Write { flags: 3, ttl: Ttl::Millis(5_000), ..Write::default() };
    let add = |delta| store.increment(b"n", delta, None, &how).unwrap();
    let take = |delta| store.decrement(b"n", delta, None, &how).unwrap();
    assert_eq!(add(1), Counted::Missing);
    assert_eq!(number(store.increment(b"n", 5, Some(10), &how).unwrap()), 10, "made, not added");
    let (version, flags, end) = known(&store, b"n");
    assert_eq!((flags, end), (3, store.now_ms().unwrap() + 5_000));
    clock.pass(1_000);
    let Counted::Done { value: 14, version: next } = add(4) else { panic!() };
    assert!(next > version);
    assert_eq!(known(&store, b"n"), (next, 3, end), "flags and end of life stay");
    assert_eq!(number(take(15)), 0);
    assert_eq!(get(&store, b"n").unwrap(), b"0", "no spaces behind it");
    store.set(b"n", b"18446744073709551615  ", 0, Ttl::Never).unwrap();
    assert_eq!(number(add(3)), 2);
    assert_eq!(number(take(0)), 2);
    for not in [&b""[..], b"1.5", b"-3", b"99999999999999999999", b"ten"] {
        let Stored::Done(version) = store.set(b"n", not, 0, Ttl::Never).unwrap() else { panic!() };
        assert_eq!(add(1), Counted::NotANumber(version));
        assert_eq!(take(1), Counted::NotANumber(version));
        assert_eq!(get(&store, b"n").as_deref(), Some(not));
    }
    let version = known(&store, b"n").0;
    let only =
        |expect| store.increment(b"n", 1, Some(7), &Write { expect, ..Write::default() }).unwrap();
    assert_eq!(only(Expect::Version(version - 1)), Counted::Exists(version));
    assert_eq!(only(Expect::Absent), Counted::Exists(version));
    store.set(b"n", b"7", 0, Ttl::Millis(10)).unwrap();
    assert_eq!(number(only(Expect::Present)), 8);
    clock.pass(10);
    assert_eq!(only(Expect::Present), Counted::Missing, "expired");
    assert_eq!(number(only(Expect::Absent)), 7);
}

#[test]
fn bytes_are_added_at_both_ends_and_all_else_stays() {
    let dir = dir();
    let options = Options { max_value_bytes: Some(1 << 20), ..small() };
    let store = open(dir.path(), &options);
    assert_eq!(store.append(b"k", b"x", None, false).unwrap(), Stored::Missing);
    assert_eq!(store.prepend(b"k", b"x", None, false).unwrap(), Stored::Missing);
    store.set(b"k", b"", 9, Ttl::Millis(90_000)).unwrap();
    let before = known(&store, b"k");
    let mut expected = Vec::new();
    // Over the size from which a value fills whole segments.
    for i in 0..12u8 {
        let piece = vec![i; 30_000];
        let Stored::Done(version) = store.append(b"k", &piece, None, false).unwrap() else {
            panic!()
        };
        store.prepend(b"k", &[i, i], None, false).unwrap();
        expected = [&[i, i][..], &expected, &piece].concat();
        let now = known(&store, b"k");
        assert!(now.0 > version && version > before.0);
        assert_eq!((now.1, now.2), (before.1, before.2));
    }
    assert!(get(&store, b"k").unwrap() == expected);
    let much = vec![0; (1 << 20) - expected.len() + 1];
    assert!(matches!(store.append(b"k", &much, None, false), Err(Error::TooLarge { .. })));
    assert!(matches!(store.append(b"k", &[0; 1 << 21], None, false), Err(Error::TooLarge { .. })));
    assert!(get(&store, b"k").unwrap() == expected);
}

#[test]
fn an_update_keeps_writes_or_deletes_as_it_computes() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    let write = |value: &[u8], ttl| plain(value.to_vec(), 4, ttl);
    let run = |update: Update| store.update(b"k", None, false, &mut |_| update.clone()).unwrap();
    assert_eq!(run(Update::Keep), Stored::Missing);
    assert_eq!(run(Update::Delete), Stored::Missing);
    let Stored::Done(v1) = run(write(b"1", None)) else { panic!() };
    assert_eq!(known(&store, b"k"), (v1, 4, 0), "the default lifetime: for ever");
    assert_eq!(run(Update::Keep), Stored::Done(v1));
    let Stored::Done(v2) = run(write(b"2", Some(Ttl::Millis(50)))) else { panic!() };
    let end = store.now_ms().unwrap() + 50;
    clock.pass(20);
    let seen = store.update(b"k", None, false, &mut |present| {
        let (value, item) = present.expect("alive");
        assert_eq!(value, b"2");
        assert_eq!(
            *item,
            Item { version: v2, flags: 4, expires_ms: end, value_len: 1, mark: Mark::None }
        );
        write(b"3", None)
    });
    assert!(matches!(seen, Ok(Stored::Done(_))));
    assert_eq!(known(&store, b"k").2, end);
    clock.pass(30);
    store
        .update(b"k", None, false, &mut |present| {
            assert!(present.is_none(), "expired");
            Update::Keep
        })
        .unwrap();
    run(write(b"4", None));
    let (version, ..) = known(&store, b"k");
    let Stored::Done(gone) = run(Update::Delete) else { panic!() };
    assert!(gone > version && get(&store, b"k").is_none());

    let stale = {
        let Acquired::Held(held) = store.lock(b"k", 1, &Wait::default()).unwrap() else { panic!() };
        let done = store.update(b"k", Some(&held), false, &mut |_| write(b"5", None)).unwrap();
        assert!(matches!(done, Stored::Done(_)));
        assert!(matches!(store.append(b"k", b"6", Some(&held), false).unwrap(), Stored::Done(_)));
        assert!(store.unlock(b"k", &held).unwrap());
        held
    };
    let late = store.update(b"k", Some(&stale), false, &mut |_| Update::Delete).unwrap();
    assert_eq!(late, Stored::Lost);
    assert_eq!(store.append(b"k", b"7", Some(&stale), false).unwrap(), Stored::Lost);
    let how = Write { held: Some(&stale), ..Write::default() };
    assert_eq!(store.increment(b"k", 1, None, &how).unwrap(), Counted::Lost);
    assert_eq!(get(&store, b"k").unwrap(), b"56");
}

#[test]
fn an_update_that_calls_the_store_is_told_so_and_blocks_nobody() {
    let dir = dir();
    let store = open(dir.path(), &small());
    store.set(b"k", b"1", 0, Ttl::Never).unwrap();
    let begun = Instant::now();
    let stored = store.update(b"k", None, false, &mut |_| {
        let error = store.set(b"k", b"2", 0, Ttl::Never).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        Update::Keep
    });
    assert!(matches!(stored, Ok(Stored::Done(_))));
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.update(b"k", None, false, &mut |_| panic!("in the middle"));
    }));
    assert!(panics.is_err());
    store.set(b"k", b"3", 0, Ttl::Never).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(get(&store, b"k").unwrap(), b"3");
}

/// The version does not tell of a touch: an update that was computed meanwhile must not undo it.
#[test]
fn an_update_of_a_large_value_keeps_the_lifetime_that_it_was_given_meanwhile() {
    let dir = dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    store.set(b"k", &[1; 200_000], 0, Ttl::Millis(1_000)).unwrap();
    let mut runs = 0;
    store
        .update(b"k", None, false, &mut |present| {
            runs += 1;
            if runs == 1 {
                // As somebody else would, who does not wait for a latch here either.
                store.touch(b"k", Ttl::Millis(60_000), None).unwrap();
            }
            let value = [present.expect("there").0, &[2; 10]].concat();
            plain(value, 0, None)
        })
        .unwrap();
    assert_eq!(runs, 2);
    let (_, _, end) = known(&store, b"k");
    assert_eq!(end, store.now_ms().unwrap() + 60_000);
    assert_eq!(store.exists(b"k").unwrap().unwrap().value_len, 200_010);
}

#[test]
fn an_update_deletes_in_a_full_store() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut stored = 0u32;
    while store.set(&stored.to_le_bytes(), &[1; 10_000], 0, Ttl::Never).is_ok() {
        stored += 1;
    }
    let grown = store.append(&0u32.to_le_bytes(), &[2; 60_000], None, false);
    assert!(matches!(grown, Err(Error::Full(_))), "{grown:?}");
    for i in 0..stored {
        let done = store.update(&i.to_le_bytes(), None, false, &mut |_| Update::Delete);
        assert!(matches!(done, Ok(Stored::Done(_))), "key {i}: {done:?}");
    }
    assert_eq!(store.stats().unwrap().keys, 0);
}

fn text(len: usize) -> Vec<u8> {
    (0..).flat_map(|n| format!("user|i:{};", n % 997).into_bytes()).take(len).collect()
}

#[test]
fn a_store_that_compresses_gives_back_what_was_written() {
    let dir = dir();
    let options = Options {
        max_bytes: Some(64 << 20),
        max_value_bytes: Some(5 << 20),
        compress: Some(true),
        ..small()
    };
    let store = open(dir.path(), &options);
    assert!(store.stats().unwrap().compress);
    let sizes = [0, 1, 511, 512, 1000, 65_000, 262_000, 1 << 20, 5 << 20];
    let key = |size: usize| format!("key {size}").into_bytes();
    for size in sizes {
        store.set(&key(size), &text(size), 77, Ttl::Millis(3_600_000)).unwrap();
    }
    let live = store.stats().unwrap().live_bytes;
    assert!(live < 3 << 20, "{live} bytes for 6.5 MiB of text");
    let too_large = store.set(b"k", &text((5 << 20) + 1), 0, Ttl::Never);
    assert!(matches!(too_large, Err(Error::TooLarge { .. })), "{too_large:?}");
    let check = |store: &Store| {
        for size in sizes {
            assert!(get(store, &key(size)).unwrap() == text(size), "{size} bytes");
            assert_eq!(store.exists(&key(size)).unwrap().unwrap().value_len, size as u64);
        }
    };
    check(&store);
    for size in sizes {
        // A shorter life is a new record of the same bytes.
        store.touch(&key(size), Ttl::Millis(1_800_000), None).unwrap();
    }
    check(&store);
    for size in &sizes[..7] {
        store.append(&key(*size), b"and more", None, false).unwrap();
        let value = get(&store, &key(*size)).unwrap();
        assert!(value == [&text(*size)[..], b"and more"].concat(), "{size} bytes appended to");
        store.set(&key(*size), &text(*size), 77, Ttl::Never).unwrap();
    }
    drop(store);
    // Whoever opens it with another wish reads the same; after a rebuild too.
    let other = Options { compress: Some(false), ..options };
    let store = open(dir.path(), &other);
    assert!(store.stats().unwrap().options_differ);
    check(&store);
    drop(store);
    std::fs::remove_file(dir.path().join("meta")).unwrap();
    check(&open(dir.path(), &other));
}

#[test]
fn several_values_are_written_and_read_each_for_itself() {
    let dir = dir();
    let store = open(dir.path(), &Options { sync: Some(Sync::None), ..small() });
    let how = Write { flags: 2, ttl: Ttl::Never, ..Write::default() };
    let keys: Vec<Vec<u8>> = (0..100u32).map(|i| format!("key {i}").into_bytes()).collect();
    let much = vec![0; (1 << 20) + 1];
    let mut items: Vec<BatchItem> =
        keys.iter().map(|key| BatchItem { key, value: &key[4..], how }).collect();
    items[3].value = &much;
    items[4].key = b"";
    items[5].how.expect = Expect::Present;
    let rounds = || store.stats().unwrap().sync_rounds;
    let before = rounds();
    let outcomes = store.set_many(&items).unwrap();
    assert_eq!(rounds(), before, "nobody asked for the disk");
    let mut last = 0;
    for (i, outcome) in outcomes.into_iter().enumerate() {
        match (i, outcome) {
            (3, Err(Error::TooLarge { .. })) | (4, Err(Error::Invalid(_))) => {}
            (5, Ok(Stored::Missing)) => {}
            (_, Ok(Stored::Done(version))) if version > last => last = version,
            (_, other) => panic!("item {i}: {other:?}"),
        }
    }
    items[50].how.sync = true;
    assert_eq!(store.set_many(&items).unwrap().len(), 100);
    assert_eq!(rounds(), before + 1, "one round for all");

    let mut asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    asked.extend([&b""[..], b"key 7", b"nothing"]);
    let mut calls = 0;
    store
        .get_many(&asked, &mut |i, found| {
            assert_eq!(i, calls, "in their order");
            calls += 1;
            match (i, found) {
                (3 | 4 | 5 | 102, Ok(None)) | (100, Err(Error::Invalid(_))) => {}
                (_, Ok(Some((item, bytes)))) => {
                    assert_eq!((bytes, item.flags), (&asked[i][4..], 2));
                    assert_eq!(item.value_len, bytes.len() as u64);
                }
                (_, other) => panic!("key {i}: {other:?}"),
            }
        })
        .unwrap();
    assert_eq!(calls, 103);
    assert_eq!(store.stats().unwrap().gets, 102);
}
