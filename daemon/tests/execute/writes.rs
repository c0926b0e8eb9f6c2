//! Set, add, replace, compare, append, prepend, delete, touch, count, with every lifetime.

use holdfast::{Mark, Options, Sync, Ttl};
use holdfastd::command::{Command, Count, Delete, Expiry, Get, Mode, Set};

use crate::world::{START_MS, World, executor, options, says};

const PAST: [Expiry; 3] = [Expiry::Past, Expiry::At(2_678_400_000), Expiry::At(START_MS)];

#[test]
fn each_way_to_store_demands_what_its_name_says() {
    let world = World::new();
    let mut client = world.client();
    for (mode, absent, present, value) in [
        (Mode::Set, "stored", "stored", "new"),
        (Mode::Add, "stored", "notstored", "old"),
        (Mode::Replace, "notstored", "stored", "new"),
        (Mode::Append, "notstored", "stored", "oldnew"),
        (Mode::Prepend, "notstored", "stored", "newold"),
    ] {
        let mut store = |key: &str| world.store_as(&mut client, key, "new", Expiry::Default, mode);
        assert_eq!(store(&format!("absent {mode:?}")), absent, "{mode:?}");
        let key = format!("present {mode:?}");
        world.store.set(key.as_bytes(), b"old", 7, Ttl::Millis(60_000)).unwrap();
        assert_eq!(store(&key), present, "{mode:?}");
        assert_eq!(world.value(key.as_bytes()), value, "{mode:?}");
        let stays = matches!(mode, Mode::Append | Mode::Prepend | Mode::Add);
        let (flags, ttl) = if stays { (7, 60_000) } else { (5, 0) };
        let item = world.store.exists(key.as_bytes()).unwrap().unwrap();
        assert_eq!((item.flags, world.ttl_ms(key.as_bytes())), (flags, ttl), "{mode:?}");
    }
}

#[test]
fn lifetimes_are_counted_from_now_or_given_as_a_moment() {
    let world = World::new();
    let mut client = world.client();
    for (expiry, ttl_ms) in [
        (Expiry::Default, 0),
        (Expiry::In(1), 1),
        (Expiry::In(1500), 1500),
        (Expiry::At(START_MS + 7000), 7000),
    ] {
        assert_eq!(world.set(&mut client, "k", "v", expiry), "stored");
        assert_eq!(world.ttl_ms(b"k"), ttl_ms);
        world.store.set(b"t", b"v", 0, Ttl::Millis(9)).unwrap();
        let touch = Command::Touch { key: b"t", expiry };
        assert_eq!(world.says(&mut client, touch), "touched");
        assert_eq!(world.ttl_ms(b"t"), ttl_ms);
        let counted = Count { initial: Some((4, expiry)), ..Count::new(b"n", 1, false) };
        world.store.delete(b"n", None, None).unwrap();
        let shown = if ttl_ms == 0 { "4 -".into() } else { format!("4 {}", ttl_ms.div_ceil(1000)) };
        assert_eq!(world.says(&mut client, Command::Count(counted)), shown);
        assert_eq!(world.ttl_ms(b"n"), ttl_ms);
    }
    world.clock.pass(60_000);
    assert!(!world.has(b"k") && !world.has(b"t") && !world.has(b"n"));
}

#[test]
fn what_is_over_at_once_takes_what_was_there_and_is_never_written() {
    let world = World::new();
    let mut client = world.client();
    for past in PAST {
        let sets = || world.store.stats().unwrap().sets;
        let put = || world.store.set(b"k", b"old", 0, Ttl::Never).unwrap();
        let before = sets();
        for (mode, absent) in
            [(Mode::Set, "stored, over"), (Mode::Add, "stored, over"), (Mode::Replace, "notstored")]
        {
            assert_eq!(world.store_as(&mut client, "k", "v", past, mode), absent, "{mode:?}");
        }
        assert_eq!(sets(), before);
        put();
        assert_eq!(world.store_as(&mut client, "k", "v", past, Mode::Add), "notstored");
        assert_eq!(world.value(b"k"), "old");
        assert_eq!(world.store_as(&mut client, "k", "v", past, Mode::Append), "stored");
        assert_eq!(world.value(b"k"), "oldv", "its lifetime stays");
        for mode in [Mode::Set, Mode::Replace] {
            put();
            assert_eq!(world.store_as(&mut client, "k", "v", past, mode), "stored, over");
            assert!(!world.has(b"k"));
        }
        put();
        let version = world.version(b"k");
        let mut compared = |version| {
            let set = Set::new(b"k", b"v", 0, past, Mode::Set);
            world.says(&mut client, Command::Set(Set { compare: Some(version), ..set }))
        };
        assert_eq!(compared(version + 1), "exists");
        assert!(world.has(b"k"));
        assert_eq!(compared(version), "stored, over");
        assert!(!world.has(b"k"));
        assert_eq!(compared(version), "missing");
    }
}

#[test]
fn touch_read_and_count_with_a_moment_that_has_passed_end_the_value() {
    let world = World::new();
    let mut client = world.client();
    for past in PAST {
        let put = || world.store.set(b"k", b"17", 5, Ttl::Never).unwrap();
        put();
        assert_eq!(world.says(&mut client, Command::Touch { key: b"k", expiry: past }), "touched");
        assert!(!world.has(b"k"));
        assert_eq!(world.says(&mut client, Command::Touch { key: b"k", expiry: past }), "missing");
        let get = Command::Get(Get { touch: Some(past), ..Get::new(b"k") });
        assert_eq!(world.says(&mut client, get), "missing");
        put();
        assert_eq!(world.says(&mut client, get), "'17' 5 0");
        assert!(!world.has(b"k"));
        let count = Count { expiry: Some(past), ..Count::new(b"k", 3, false) };
        put();
        assert_eq!(world.says(&mut client, Command::Count(count)), "20 0, over");
        assert!(!world.has(b"k"));
        let made = Count { initial: Some((9, past)), ..Count::new(b"k", 3, false) };
        assert_eq!(world.says(&mut client, Command::Count(made)), "9 0, over");
        let add = Set { vivify: Some(past), ..Set::new(b"k", b"v", 0, past, Mode::Append) };
        assert_eq!(world.says(&mut client, Command::Set(add)), "stored, over");
        let delete = Delete { invalidate: true, expiry: Some(past), ..Delete::new(b"k") };
        assert!(!world.has(b"k"));
        put();
        assert_eq!(world.says(&mut client, Command::Delete(delete)), "deleted");
        assert!(!world.has(b"k"));
    }
}

#[test]
fn append_makes_what_is_missing_if_it_is_asked_to() {
    let world = World::new();
    let mut client = world.client();
    let set = Set::new(b"k", b"ab", 3, Expiry::Default, Mode::Append);
    let set = Set { vivify: Some(Expiry::In(5000)), ..set };
    assert_eq!(world.says(&mut client, Command::Set(set)), "stored");
    assert_eq!((world.value(b"k").as_str(), world.ttl_ms(b"k")), ("ab", 5000));
    assert_eq!(world.says(&mut client, Command::Set(set)), "stored");
    assert_eq!(world.value(b"k"), "abab");
    let version = world.version(b"k");
    let compared = Set { compare: Some(version + 1), ..set };
    assert_eq!(world.says(&mut client, Command::Set(compared)), "exists");
    let compared = Set { compare: Some(version), ..set };
    assert_eq!(world.says(&mut client, Command::Set(compared)), "stored");
    assert_eq!(world.value(b"k"), "ababab");
}

#[test]
fn a_comparison_finds_the_version_and_a_writer_may_give_one() {
    let world = World::new();
    let mut client = world.client();
    let set = Set::new(b"k", b"v", 0, Expiry::Default, Mode::Set);
    for mode in [Mode::Set, Mode::Replace] {
        let compared = Set { compare: Some(7), mode, ..set };
        assert_eq!(world.says(&mut client, Command::Set(compared)), "missing");
    }
    let given = Set { version: Some(7), ..set };
    assert_eq!(world.says(&mut client, Command::Set(given)), "stored");
    assert_eq!(world.version(b"k"), 7);
    let next = Set { compare: Some(7), version: Some(8), value: b"w", ..set };
    assert_eq!(world.says(&mut client, Command::Set(next)), "stored");
    assert_eq!(world.says(&mut client, Command::Set(next)), "exists");
    assert_eq!((world.version(b"k"), world.value(b"k").as_str()), (8, "w"));
    // What found nothing to compare with is no add.
    let add = Set { compare: Some(8), mode: Mode::Add, ..set };
    assert_eq!(world.says(&mut client, Command::Set(add)), "notstored");
    // No version at all.
    let zero = Set { version: Some(0), ..set };
    assert_eq!(world.says(&mut client, Command::Set(zero)), "stored");
    assert!(world.version(b"k") > 8);
    let append = Set { version: Some(99), mode: Mode::Append, ..set };
    assert_eq!(world.says(&mut client, Command::Set(append)), "stored");
    assert_eq!(world.version(b"k"), 99);
    let wrong = Delete { compare: Some(98), ..Delete::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Delete(wrong)), "exists");
    let right = Delete { compare: Some(99), ..wrong };
    assert_eq!(world.says(&mut client, Command::Delete(right)), "deleted");
    assert_eq!(world.says(&mut client, Command::Delete(right)), "missing");
}

#[test]
fn a_value_that_comes_too_late_is_stored_as_stale() {
    let world = World::new();
    let mut client = world.client();
    world.store.set(b"k", b"old", 0, Ttl::Millis(30_000)).unwrap();
    let old = world.version(b"k");
    let mark = Delete { invalidate: true, ..Delete::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Delete(mark)), "deleted");
    let stale = world.version(b"k");
    assert!(stale > old);
    let set = Set::new(b"k", b"new", 1, Expiry::In(90_000), Mode::Set);
    let late = Set { compare: Some(old), invalidate: true, ..set };
    assert_eq!(world.says(&mut client, Command::Set(late)), "stored");
    let item = world.store.exists(b"k").unwrap().unwrap();
    assert_eq!((item.mark, world.ttl_ms(b"k")), (Mark::Stale, 30_000));
    // In time: as any other.
    let right = Set { compare: Some(item.version), ..late };
    assert_eq!(world.says(&mut client, Command::Set(right)), "stored");
    let item = world.store.exists(b"k").unwrap().unwrap();
    assert_eq!((item.mark, world.ttl_ms(b"k")), (Mark::None, 90_000));
    let future = Set { compare: Some(u64::MAX), ..late };
    assert_eq!(world.says(&mut client, Command::Set(future)), "exists");
    let over = Set { compare: Some(item.version), expiry: Expiry::Past, ..late };
    assert_eq!(world.says(&mut client, Command::Set(over)), "stored, over");
    assert_eq!(world.says(&mut client, Command::Set(over)), "missing");
}

#[test]
fn a_delete_can_leave_the_item() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "value", Expiry::In(20_000));
    let marked = Delete {
        invalidate: true,
        expiry: Some(Expiry::In(3000)),
        version: Some(44),
        ..Delete::new(b"k")
    };
    let wrong = Delete { compare: Some(1), ..marked };
    assert_eq!(world.says(&mut client, Command::Delete(wrong)), "exists");
    assert_eq!(world.says(&mut client, Command::Delete(marked)), "deleted");
    assert_eq!((world.value(b"k").as_str(), world.version(b"k")), ("value", 44));
    assert_eq!(world.ttl_ms(b"k"), 3000);
    let emptied = Delete { only_value: true, ..Delete::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Delete(emptied)), "deleted");
    assert_eq!(world.get(&mut client, "k"), "'' 0 3");
    assert_eq!(world.says(&mut client, Command::Delete(Delete::new(b"k"))), "deleted");
    for missing in [Delete::new(b"k"), marked, emptied] {
        assert_eq!(world.says(&mut client, Command::Delete(missing)), "missing");
    }
}

#[test]
fn counting_wraps_up_stops_at_0_and_refuses_what_is_no_number() {
    let world = World::new();
    let mut client = world.client();
    let up = |delta| Count::new(b"n", delta, false);
    let down = |delta| Count::new(b"n", delta, true);
    let mut count = |count| world.says(&mut client, Command::Count(count));
    assert_eq!(count(up(1)), "missing");
    assert_eq!(count(Count { initial: Some((10, Expiry::In(5000))), ..up(1) }), "10 5");
    assert_eq!(count(Count { initial: Some((99, Expiry::Default)), ..up(1) }), "11 5");
    assert_eq!(count(down(3)), "8 5");
    assert_eq!(world.value(b"n"), "8", "no spaces are left");
    assert_eq!(count(down(9)), "0 5");
    assert_eq!(count(up(u64::MAX)), "18446744073709551615 5");
    assert_eq!(count(up(2)), "1 5");
    assert_eq!(count(Count { expiry: Some(Expiry::In(8000)), ..up(1) }), "2 8");
    let version = world.version(b"n");
    assert_eq!(count(Count { compare: Some(version + 1), ..up(1) }), "exists");
    assert_eq!(count(Count { compare: Some(version), version: Some(5), ..up(1) }), "3 8");
    assert_eq!(world.version(b"n"), 5);
    world.store.set(b"n", b"ten", 0, Ttl::Never).unwrap();
    assert_eq!(count(up(1)), "notanumber");
    world.store.set(b"n", b"7  ", 9, Ttl::Never).unwrap();
    assert_eq!(count(up(1)), "8 -");
    assert_eq!(world.store.exists(b"n").unwrap().unwrap().flags, 9);
}

#[test]
fn nobody_loses_a_count_or_an_appended_byte() {
    let world = World::new();
    world.store.set(b"n", b"0", 0, Ttl::Never).unwrap();
    world.store.set(b"a", b"", 0, Ttl::Never).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let mut client = world.executor.client(thread % 2, "");
                for _ in 0..500 {
                    world.says(&mut client, Command::Count(Count::new(b"n", 1, false)));
                    world.store_as(&mut client, "a", "x", Expiry::Default, Mode::Append);
                }
            });
        }
    });
    assert_eq!((world.value(b"n").as_str(), world.value(b"a").len()), ("2000", 2000));
}

#[test]
fn a_flush_is_now_or_later_or_forbidden() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "v", Expiry::Default);
    assert_eq!(world.says(&mut client, Command::Flush { at: Some(Expiry::In(2000)) }), "ok");
    world.clock.pass(1999);
    assert!(world.has(b"k"));
    world.clock.pass(1);
    assert!(!world.has(b"k"));
    for at in [None, Some(Expiry::Default), Some(Expiry::Past), Some(Expiry::At(5000))] {
        world.set(&mut client, "k", "v", Expiry::Default);
        assert_eq!(world.says(&mut client, Command::Flush { at }), "ok");
        assert!(!world.has(b"k"), "{at:?}");
    }
    world.set(&mut client, "k", "v", Expiry::Default);
    world.settings.set_may_flush(false);
    let refused = world.says(&mut client, Command::Flush { at: None });
    assert_eq!(refused, "Forbidden(\"flush_all not allowed\")");
    assert!(world.has(b"k"));
}

#[test]
fn failures_say_what_they_are_and_the_old_value_stays() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "old", Expiry::Default);
    let long = "x".repeat((1 << 20) + 1);
    for mode in [Mode::Set, Mode::Append] {
        let said = world.store_as(&mut client, "k", &long, Expiry::Default, mode);
        assert_eq!(said, "TooLarge", "{mode:?}");
    }
    assert_eq!(world.value(b"k"), "old");
    let value = "y".repeat(1 << 20);
    let full = (0..64)
        .find(|n| world.set(&mut client, &format!("fill {n}"), &value, Expiry::Default) == "Full");
    assert!(full.is_some());
    assert_eq!(world.value(b"k"), "old");
    assert_eq!(world.says(&mut client, Command::Delete(Delete::new(b"fill 1"))), "deleted");
    world.store.set(b"owned", b"v", 0, Ttl::Never).unwrap();
    world.store.set_owner(b"owned", b"anna", None).unwrap();
    let given = Set { version: Some(9), ..Set::new(b"owned", b"w", 0, Expiry::Default, Mode::Set) };
    assert!(world.says(&mut client, Command::Set(given)).starts_with("Conflict"));
    assert_eq!(world.value(b"owned"), "v");
}

#[test]
fn what_was_written_is_told_when_it_must_be_on_the_disk() {
    let always = Options { sync: Some(Sync::Always), ..options() };
    let world = World::with(Default::default(), always);
    let mut client = world.client();
    world.set(&mut client, "k", "1", Expiry::Default);
    assert!(client.take_unsynced() && !client.take_unsynced());
    world.get(&mut client, "k");
    world.store_as(&mut client, "k", "1", Expiry::Default, Mode::Add);
    world.says(&mut client, Command::Delete(Delete::new(b"other")));
    assert!(!client.take_unsynced(), "nothing was written");
    for command in [
        Command::Count(Count::new(b"k", 1, false)),
        Command::Touch { key: b"k", expiry: Expiry::In(9000) },
        Command::Get(Get { touch: Some(Expiry::In(5000)), ..Get::new(b"k") }),
        Command::Get(Get { vivify: Some(Expiry::In(5000)), ..Get::new(b"new") }),
        Command::Delete(Delete { invalidate: true, ..Delete::new(b"k") }),
        Command::Delete(Delete::new(b"k")),
    ] {
        world.says(&mut client, command);
        assert!(client.take_unsynced(), "{command:?}");
    }
    let lazy = World::new();
    let other = executor(&lazy.store, &lazy.settings);
    let mut client = other.client(0, "");
    let set = Set::new(b"k", b"v", 0, Expiry::Default, Mode::Set);
    assert_eq!(says(&other, &mut client, Command::Set(set)), "stored");
    assert!(!client.take_unsynced());
}
