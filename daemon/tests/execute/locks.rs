//! Session locks: connections among each other, and with those who have the store open themselves.

use std::time::{Duration, Instant};

use holdfast::{Acquired, Expect, Held, Stored, Ttl, Wait};
use holdfastd::command::{Command, Count, Delete, Expiry, Get, Mode, Set};
use holdfastd::execute::Client;
use holdfastd::settings::{SessionLocks, Settings};

use crate::world::{World, options};

const SESSION: &str = "memc.sess.key.abc";
const LOCK: &str = "memc.sess.key.lock.abc";
/// No connection has this number.
const COOKIE: u64 = u64::MAX;

fn add(world: &World, client: &mut Client, expiry: Expiry) -> String {
    world.store_as(client, LOCK, "1", expiry, Mode::Add)
}

fn delete(world: &World, client: &mut Client, key: &str) -> String {
    world.says(client, Command::Delete(Delete::new(key.as_bytes())))
}

fn attempt(world: &World) -> Option<Held> {
    let wait = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
    match world.store.lock(SESSION.as_bytes(), COOKIE, &wait).unwrap() {
        Acquired::Held(held) => Some(held),
        _ => None,
    }
}

#[test]
fn one_connection_has_a_lock_until_it_gives_it_back() {
    let world = World::new();
    let (mut first, mut second) = (world.client(), world.client());
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "stored");
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "notstored", "a lock is a lock");
    assert_eq!(add(&world, &mut second, Expiry::In(31_000)), "notstored");
    assert_eq!(delete(&world, &mut second, LOCK), "missing");
    assert_eq!(delete(&world, &mut first, LOCK), "deleted");
    assert_eq!(delete(&world, &mut first, LOCK), "missing");
    assert_eq!(add(&world, &mut second, Expiry::Default), "stored");
    assert_eq!(add(&world, &mut first, Expiry::Default), "notstored");
    assert!(!world.has(LOCK.as_bytes()), "a lock is no value");
}

#[test]
fn the_wire_and_those_with_the_store_in_process_exclude_each_other() {
    let world = World::new();
    let mut client = world.client();
    assert_eq!(add(&world, &mut client, Expiry::In(31_000)), "stored");
    assert_eq!(attempt(&world), None);
    assert_eq!(delete(&world, &mut client, LOCK), "deleted");
    let held = attempt(&world).unwrap();
    assert_eq!(add(&world, &mut client, Expiry::In(31_000)), "notstored");
    assert_eq!(delete(&world, &mut client, LOCK), "missing");
    assert!(world.store.unlock(SESSION.as_bytes(), &held).unwrap());
    assert_eq!(add(&world, &mut client, Expiry::In(31_000)), "stored");
}

#[test]
fn the_end_of_a_connection_frees_its_locks_at_once() {
    let world = World::new();
    let mut next = world.client();
    for _ in 0..3 {
        let mut client = world.client();
        assert_eq!(add(&world, &mut client, Expiry::In(3_600_000)), "stored");
        assert_eq!(add(&world, &mut next, Expiry::In(1000)), "notstored");
        drop(client);
        assert_eq!(add(&world, &mut next, Expiry::In(1000)), "stored");
        assert_eq!(delete(&world, &mut next, LOCK), "deleted");
    }
}

#[test]
fn those_who_wait_in_line_and_those_who_poll_take_turns() {
    let world = World::new();
    let (mut first, mut second) = (world.client(), world.client());
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "stored");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let wait = Wait { timeout: Some(Duration::from_secs(20)), ..Wait::default() };
            match world.store.lock(SESSION.as_bytes(), COOKIE, &wait).unwrap() {
                Acquired::Held(held) => held,
                other => panic!("{other:?}"),
            }
        });
        let begun = Instant::now();
        while world.store.stats().unwrap().lock_waiters == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(add(&world, &mut second, Expiry::In(31_000)), "notstored");
        assert_eq!(delete(&world, &mut first, LOCK), "deleted");
        assert_eq!(add(&world, &mut second, Expiry::In(31_000)), "stored", "it came again");
        assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "notstored");
        assert_eq!(delete(&world, &mut second, LOCK), "deleted");
        assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "notstored", "the line's turn");
        let held = waiter.join().unwrap();
        assert!(world.store.unlock(SESSION.as_bytes(), &held).unwrap());
    });
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "stored");
}

#[test]
fn a_lock_whose_lease_is_over_goes_to_the_next_and_its_old_owner_writes_nothing() {
    let world = World::new();
    let (mut slow, mut next) = (world.client(), world.client());
    world.store.set(SESSION.as_bytes(), b"before", 0, Ttl::Never).unwrap();
    assert_eq!(add(&world, &mut slow, Expiry::In(700)), "stored");
    assert_eq!(add(&world, &mut next, Expiry::In(60_000)), "notstored");
    std::thread::sleep(Duration::from_millis(750));
    assert_eq!(add(&world, &mut next, Expiry::In(60_000)), "stored");
    assert_eq!(world.set(&mut next, SESSION, "next", Expiry::Default), "stored");
    let key = SESSION.as_bytes();
    let set = |mode| Command::Set(Set::new(key, b"late", 0, Expiry::Default, mode));
    for command in [
        set(Mode::Set),
        set(Mode::Replace),
        set(Mode::Append),
        Command::Touch { key, expiry: Expiry::In(5) },
        Command::Touch { key, expiry: Expiry::Past },
        Command::Get(Get { touch: Some(Expiry::Past), ..Get::new(key) }),
        Command::Get(Get { touch: Some(Expiry::In(5)), ..Get::new(key) }),
        Command::Count(Count::new(key, 1, false)),
        Command::Delete(Delete::new(key)),
        Command::Delete(Delete { invalidate: true, ..Delete::new(key) }),
    ] {
        assert_eq!(world.says(&mut slow, command), "LockLost", "{command:?}");
    }
    assert_eq!((world.value(key).as_str(), world.ttl_ms(key)), ("next", 0));
    assert_eq!(world.get(&mut slow, SESSION), "'next' 5 -", "reading is free");
    assert_eq!(world.get(&mut slow, LOCK), "missing");
    assert_eq!(add(&world, &mut slow, Expiry::In(100)), "notstored");
    assert_eq!(world.set(&mut slow, SESSION, "late", Expiry::Default), "LockLost");
    assert_eq!(delete(&world, &mut slow, LOCK), "missing");
    assert_eq!(delete(&world, &mut next, LOCK), "deleted");
    assert_eq!(add(&world, &mut slow, Expiry::In(60_000)), "stored");
    assert_eq!(world.set(&mut slow, SESSION, "again", Expiry::Default), "stored");
}

#[test]
fn a_lock_that_was_lost_meanwhile_can_be_taken_anew_without_giving_it_back() {
    let world = World::new();
    let (mut slow, mut next) = (world.client(), world.client());
    assert_eq!(add(&world, &mut slow, Expiry::In(50)), "stored");
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(add(&world, &mut next, Expiry::In(60_000)), "stored");
    drop(next);
    assert_eq!(add(&world, &mut slow, Expiry::In(60_000)), "stored");
    assert_eq!(world.set(&mut slow, SESSION, "mine", Expiry::Default), "stored");
    // A request that died on a connection that lives on: its lease ends for the same connection too.
    assert_eq!(world.says(&mut slow, touch(Expiry::In(700))), "touched");
    assert_eq!(add(&world, &mut slow, Expiry::In(700)), "notstored");
    std::thread::sleep(Duration::from_millis(750));
    assert_eq!(add(&world, &mut slow, Expiry::In(60_000)), "stored");
    assert_eq!(add(&world, &mut slow, Expiry::In(60_000)), "notstored");
}

fn touch(expiry: Expiry) -> Command<'static> {
    Command::Touch { key: LOCK.as_bytes(), expiry }
}

#[test]
fn a_touch_renews_a_lock_and_other_verbs_find_no_value() {
    let world = World::new();
    let (mut owner, mut other) = (world.client(), world.client());
    assert_eq!(world.says(&mut owner, touch(Expiry::In(5))), "missing");
    assert_eq!(add(&world, &mut owner, Expiry::In(900)), "stored");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(world.says(&mut owner, touch(Expiry::In(900))), "touched");
        assert_eq!(add(&world, &mut other, Expiry::In(900)), "notstored");
    }
    assert_eq!(world.get(&mut owner, LOCK), "'1' 0 1");
    assert_eq!(world.get(&mut other, LOCK), "missing");
    for mode in [Mode::Set, Mode::Replace, Mode::Append, Mode::Prepend] {
        let said = world.store_as(&mut other, LOCK, "1", Expiry::Default, mode);
        assert_eq!(said, "notstored", "{mode:?}");
    }
    let count = Command::Count(Count::new(LOCK.as_bytes(), 1, false));
    assert_eq!(world.says(&mut other, count), "missing");
    assert_eq!(world.says(&mut other, Command::Describe { key: LOCK.as_bytes() }), "missing");
    let vivify = Get { vivify: Some(Expiry::In(5000)), ..Get::new(LOCK.as_bytes()) };
    assert_eq!(world.says(&mut other, Command::Get(vivify)), "missing");
    assert!(!world.has(LOCK.as_bytes()));
    assert_eq!(world.says(&mut owner, touch(Expiry::Past)), "touched");
    assert_eq!(add(&world, &mut other, Expiry::Past), "stored");
    assert_eq!(add(&world, &mut owner, Expiry::In(300)), "stored", "that one was over at once");
}

#[test]
fn writes_without_the_lock_pass_as_they_do_in_memcached() {
    let world = World::new();
    let (mut owner, mut other) = (world.client(), world.client());
    assert_eq!(add(&world, &mut owner, Expiry::In(60_000)), "stored");
    assert_eq!(world.set(&mut other, SESSION, "other", Expiry::Default), "stored");
    assert_eq!(world.set(&mut owner, SESSION, "owner", Expiry::Default), "stored");
    let in_process = world.store.put(SESSION.as_bytes(), b"x", 0, Ttl::Never, Expect::Any, None);
    assert!(matches!(in_process, Ok(Stored::Done(_))));
}

#[test]
fn a_connection_has_so_many_locks_and_no_more() {
    let world = World::new();
    let mut client = world.client();
    let mut lock = |n: usize| {
        let key = format!("memc.sess.key.lock.{n}");
        world.store_as(&mut client, &key, "1", Expiry::In(60_000), Mode::Add)
    };
    for n in 0..holdfastd::limits::LOCKS_PER_CONNECTION {
        assert_eq!(lock(n), "stored");
    }
    assert_eq!(lock(1000), "Busy");
    assert_eq!(lock(0), "notstored");
    drop(client);
    assert_eq!(world.store.stats().unwrap().locks_held, 0);
}

#[test]
fn behind_a_proxy_they_are_keys_like_others() {
    let mut settings = Settings::default();
    settings.session_locks = SessionLocks::Expiry;
    let world = World::with(settings, options());
    let (mut first, mut second) = (world.client(), world.client());
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "stored");
    assert!(world.has(LOCK.as_bytes()));
    assert_eq!(add(&world, &mut second, Expiry::In(31_000)), "notstored");
    assert!(attempt(&world).is_some());
    assert_eq!(delete(&world, &mut second, LOCK), "deleted");
    assert_eq!(add(&world, &mut second, Expiry::In(31_000)), "stored");
    drop(second);
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "notstored");
    world.clock.pass(31_000);
    assert_eq!(add(&world, &mut first, Expiry::In(31_000)), "stored");
}
