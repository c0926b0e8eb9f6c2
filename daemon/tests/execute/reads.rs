//! Get in all its forms: who wins, what is stale, what was read when. And who may talk at all.

use holdfast::Ttl;
use holdfastd::command::{Command, Delete, Dialect, Expiry, Get, Mode, Reply, Set};
use holdfastd::execute::Room;

use crate::world::{World, executor, says};

#[test]
fn a_read_gives_the_value_or_what_is_known_of_it() {
    let world = World::new();
    let mut client = world.client();
    assert_eq!(world.get(&mut client, "k"), "missing");
    world.set(&mut client, "k", "value", Expiry::In(1500));
    assert_eq!(world.get(&mut client, "k"), "'value' 5 2");
    let head = Get { value: false, ..Get::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Get(head)), "'(5)' 5 2");
    let touched = Get { touch: Some(Expiry::In(60_000)), untold: false, ..Get::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Get(touched)), "'value' 5 60");
    let shortened = Get { touch: Some(Expiry::In(10_000)), untold: false, ..Get::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Get(shortened)), "'value' 5 10");
    assert_eq!(world.ttl_ms(b"k"), 10_000);
    let ever = Get { touch: Some(Expiry::Default), untold: false, ..Get::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Get(ever)), "'value' 5 -");
    world.clock.pass(100_000);
    assert_eq!(world.get(&mut client, "k"), "'value' 5 -");
}

#[test]
fn what_others_wrote_is_read_at_once() {
    let world = World::new();
    let mut client = world.client();
    for n in 0..100 {
        world.store.set(b"k", n.to_string().as_bytes(), n, Ttl::Never).unwrap();
        assert_eq!(world.get(&mut client, "k"), format!("'{n}' {n} -"));
    }
}

#[test]
fn the_maker_of_a_placeholder_wins_and_the_others_wait() {
    let world = World::new();
    let (mut first, mut second) = (world.client(), world.client());
    let get =
        Command::Get(Get { vivify: Some(Expiry::In(30_000)), untold: false, ..Get::new(b"k") });
    assert_eq!(world.says(&mut first, get), "'' 0 30 W");
    assert_eq!(world.says(&mut second, get), "'' 0 30 Z");
    assert_eq!(world.says(&mut first, get), "'' 0 30 Z");
    assert_eq!(world.get(&mut second, "k"), "'' 0 30 Z");
    assert_eq!(known_of(&world, b"k"), (true, 0), "its maker has read it");
    world.set(&mut first, "k", "made", Expiry::Default);
    assert_eq!(world.says(&mut second, get), "'made' 5 -");
    // With a version of its maker's choice; over at once.
    let given =
        Get { vivify: Some(Expiry::In(5000)), version: Some(77), untold: false, ..Get::new(b"g") };
    assert_eq!(world.says(&mut first, Command::Get(given)), "'' 0 5 W");
    assert_eq!(world.version(b"g"), 77);
    let over = Get { vivify: Some(Expiry::Past), untold: false, ..Get::new(b"o") };
    assert_eq!(world.says(&mut first, Command::Get(over)), "'' 0 0 W");
    assert!(!world.has(b"o"));
}

#[test]
fn a_placeholder_whose_winner_is_forgotten_has_another() {
    let world = World::new();
    let get =
        Command::Get(Get { vivify: Some(Expiry::In(30_000)), untold: false, ..Get::new(b"k") });
    assert_eq!(world.says(&mut world.client(), get), "'' 0 30 W");
    let next = executor(&world.store, &world.settings);
    let mut client = next.client(0, "");
    assert_eq!(says(&next, &mut client, get), "'' 0 30 W");
    assert_eq!(says(&next, &mut client, get), "'' 0 30 Z");
}

#[test]
fn one_reader_of_a_stale_value_wins() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "old", Expiry::In(60_000));
    let stale = Command::Delete(Delete {
        invalidate: true,
        expiry: Some(Expiry::In(30_000)),
        ..Delete::new(b"k")
    });
    for _ in 0..2 {
        assert_eq!(world.says(&mut client, stale), "deleted");
        assert_eq!(world.get(&mut client, "k"), "'old' 5 30 W X");
        assert_eq!(world.get(&mut client, "k"), "'old' 5 30 X Z");
    }
    // The winner comes too late, because somebody marks it again meanwhile.
    let won = world.version(b"k");
    assert_eq!(world.says(&mut client, stale), "deleted");
    assert_eq!(world.get(&mut client, "k"), "'old' 5 30 W X");
    let set = Set::new(b"k", b"late", 5, Expiry::Default, Mode::Set);
    let late = Set { compare: Some(won), invalidate: true, ..set };
    assert_eq!(world.says(&mut client, Command::Set(late)), "stored");
    assert_eq!(world.get(&mut client, "k"), "'late' 5 30 X Z", "the second winner is at work");
    let right = Set { compare: Some(world.version(b"k")), ..late };
    assert_eq!(world.says(&mut client, Command::Set(right)), "stored");
    assert_eq!(world.get(&mut client, "k"), "'late' 5 -");
}

#[test]
fn one_reader_of_what_ends_soon_wins() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "v", Expiry::In(30_000));
    let get = Command::Get(Get { recache_below_s: Some(30), untold: false, ..Get::new(b"k") });
    assert_eq!(world.says(&mut client, get), "'v' 5 30", "30 is not below 30");
    world.clock.pass(1000);
    assert_eq!(world.get(&mut client, "k"), "'v' 5 29");
    assert_eq!(world.says(&mut client, get), "'v' 5 29 W");
    assert_eq!(world.says(&mut client, get), "'v' 5 29 Z");
    assert_eq!(world.get(&mut client, "k"), "'v' 5 29 Z");
    // A shorter life makes a new version of the same value; its winner stays.
    let touched = Get { touch: Some(Expiry::In(5000)), untold: false, ..Get::new(b"k") };
    assert_eq!(world.says(&mut client, Command::Get(touched)), "'v' 5 5 Z");
    assert_eq!(world.says(&mut client, get), "'v' 5 5 Z");
    world.set(&mut client, "k", "w", Expiry::Default);
    assert_eq!(world.says(&mut client, get), "'w' 5 -", "what never ends needs no winner");
}

#[test]
fn of_all_who_ask_at_once_one_wins() {
    let world = World::new();
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let world = &world;
                scope.spawn(move || {
                    let mut client = world.executor.client(thread % 2, "");
                    (0..300)
                        .filter(|n| {
                            let key = format!("key {n}");
                            let get = Get::new(key.as_bytes());
                            let get = Get { vivify: Some(Expiry::In(60_000)), ..get };
                            world.says(&mut client, Command::Get(get)).ends_with('W')
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 300);
}

fn known_of(world: &World, key: &[u8]) -> (bool, u64) {
    let (mut client, mut room) = (world.client(), Room::default());
    let command = Command::Get(Get::new(key));
    match world.executor.run(&mut client, &command, Dialect::Meta, &mut room) {
        Reply::Found(found) => (found.read_before, found.idle_s),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_known_whether_and_when_a_value_was_read() {
    let world = World::new();
    let mut client = world.client();
    world.set(&mut client, "k", "v", Expiry::Default);
    world.clock.pass(7000);
    assert_eq!(known_of(&world, b"k"), (false, 7));
    world.clock.pass(3000);
    assert_eq!(known_of(&world, b"k"), (true, 3));
    world.clock.pass(2000);
    let unseen = Command::Get(Get { unseen: true, ..Get::new(b"k") });
    assert_eq!(world.says(&mut client, unseen), "'v' 5 -");
    world.clock.pass(2000);
    assert_eq!(known_of(&world, b"k"), (true, 4));
    let mut room = Room::default();
    let describe = Command::Describe { key: b"k" };
    let reply = world.executor.run(&mut client, &describe, Dialect::Meta, &mut room);
    let Reply::Described(entry) = reply else { panic!("{reply:?}") };
    assert_eq!((entry.idle_s, entry.read_before, entry.expires_s), (0, true, None));
    assert_eq!((entry.size, entry.class, entry.version), (128, 2, world.version(b"k")));
    world.set(&mut client, "k", "w", Expiry::Default);
    assert_eq!(known_of(&world, b"k"), (false, 0));
    world.clock.pass(999);
    world.set(&mut client, "k", "w", Expiry::In(30_000));
    let mut room = Room::default();
    let reply = world.executor.run(&mut client, &describe, Dialect::Meta, &mut room);
    let Reply::Described(entry) = reply else { panic!("{reply:?}") };
    assert_eq!(entry.expires_s, Some(entry.seen_s + 30));
    assert_eq!(world.says(&mut client, Command::Describe { key: b"other" }), "missing");
}

#[test]
fn who_must_say_who_he_is_is_heard_only_then() {
    let world = World::new();
    world.store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    assert!(world.client().is_known() && !world.executor.limits().passwords);
    let mut client = world.stranger();
    assert!(!client.is_known() && world.executor.limits().passwords);
    let say = |password: &'static [u8]| Command::Authenticate { user: b"anna", password };
    assert_eq!(world.get(&mut client, "k"), "whoareyou");
    assert_eq!(world.says(&mut client, Command::Flush { at: None }), "whoareyou");
    assert_eq!(world.says(&mut client, Command::Stats(b"")), "whoareyou");
    assert_eq!(world.says(&mut client, say(b"wrong")), "unwelcome");
    assert_eq!(world.get(&mut client, "k"), "whoareyou");
    assert_eq!(world.says(&mut client, say(b"secret")), "welcome");
    assert!(client.is_known());
    assert_eq!(world.get(&mut client, "k"), "'v' 0 -");
    assert_eq!(world.says(&mut client, say(b"")), "unwelcome");
    assert!(!client.is_known());
    assert_eq!(world.get(&mut client, "k"), "whoareyou");
    assert_eq!(world.says(&mut client, Command::Quit), "bye");
    world.executor.set_users(None);
    assert_eq!(world.says(&mut client, say(b"")), "welcome", "everybody is");
}

#[test]
fn the_server_is_asked_for_what_only_it_can_do() {
    let world = World::new();
    let mut client = world.client();
    for (command, answer) in [
        (Command::Noop, "noop"),
        (Command::Quit, "bye"),
        (Command::Version, concat!("1.6.45-holdfast-", env!("CARGO_PKG_VERSION"))),
        (Command::Verbosity(2), "ok"),
        (Command::Tune, "ok"),
        (Command::Reload, "ok"),
        (Command::Shutdown { gracefully: true }, "Forbidden(\"shutdown not enabled\")"),
        (Command::MoveClock(5), "Forbidden(\"debugtime not enabled\")"),
    ] {
        assert_eq!(world.says(&mut client, command), answer);
    }
    assert_eq!(world.settings.verbosity(), 2);
}
