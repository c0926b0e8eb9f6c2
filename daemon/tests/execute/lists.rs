//! Listings.

use std::collections::HashSet;

use holdfast::Ttl;
use holdfastd::command::{Command, Failure, Listing};
use holdfastd::net::{Conversation, Next};

use crate::world::World;

fn list(world: &World, mut listing: Listing) -> Vec<(Vec<u8>, u8)> {
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let before = seen.len();
        let more = world
            .executor
            .page(&mut listing, &mut |entry| seen.push((entry.key.to_vec(), entry.class)))
            .unwrap();
        assert!(seen.len() - before <= 1000);
        if !more {
            return seen;
        }
    }
    panic!("no end");
}

#[test]
fn a_list_has_every_key_once() {
    let world = World::new();
    for n in 0..5000u32 {
        let value = vec![b'x'; if n % 10 == 0 { 2000 } else { 5 }];
        world.store.set(format!("key {n}").as_bytes(), &value, 0, Ttl::Never).unwrap();
    }
    let all = list(&world, Listing::default());
    assert_eq!(all.len(), 5000);
    assert_eq!(all.iter().map(|(key, _)| key).collect::<HashSet<_>>().len(), 5000);
    let some = list(&world, Listing { left: Some(1234), ..Listing::default() });
    assert_eq!(some.len(), 1234);
    assert!(list(&world, Listing { left: Some(0), ..Listing::default() }).is_empty());
    let large = all.iter().map(|(_, class)| *class).max();
    let of_class = list(&world, Listing { class: large, ..Listing::default() });
    assert_eq!(of_class.len(), 500);
    let few = Listing { class: large, left: Some(7), ..Listing::default() };
    assert_eq!(list(&world, few).len(), 7);
}

#[test]
fn a_page_is_little_work_also_when_nothing_in_it_is_wanted() {
    let world = World::new();
    for n in 0..5000u32 {
        world.store.set(format!("key {n}").as_bytes(), b"small", 0, Ttl::Never).unwrap();
    }
    let mut listing = Listing { class: Some(40), ..Listing::default() };
    let more = world.executor.page(&mut listing, &mut |_| panic!("no value is so large")).unwrap();
    assert!(more, "a part of the store, not all of it");
    let mut talk = world.talk();
    let mut out = Vec::new();
    let asked = b"lru_crawler metadump all\r\nmn\r\n";
    let first = talk.advance(asked, &mut out);
    assert_eq!((first.used, first.next), (asked.len() - 4, Next::Again));
    let lines = |out: &[u8]| out.iter().filter(|byte| **byte == b'\n').count();
    assert!((1..=1000).contains(&lines(&out)), "a page is a turn");
    for _ in 0..10 {
        talk.advance(&asked[first.used..], &mut out);
        if out.ends_with(b"END\r\nMN\r\n") {
            break;
        }
        out.drain(..out.len().saturating_sub(100));
    }
    assert!(out.ends_with(b"END\r\nMN\r\n"), "to its end");
}

#[test]
fn a_body_that_is_thrown_away_and_a_line_of_keys_are_under_way() {
    let world = World::new();
    let mut talk = world.talk();
    let mut out = Vec::new();
    assert_eq!(talk.under_way(), None);
    let too_large = format!("set k 0 0 {}\r\nbegin", 40 << 20);
    talk.advance(too_large.as_bytes(), &mut out);
    let first = talk.under_way();
    assert!(first.is_some());
    talk.advance(b"more of it", &mut out);
    assert_eq!(talk.under_way(), first, "it is the same request");
    let mut talk = world.talk();
    talk.advance(b"get a b ", &mut out);
    let line = talk.under_way();
    assert!(line.is_some());
    talk.advance(b"c d ", &mut out);
    assert_eq!(talk.under_way(), line);
    talk.advance(b"e\r\n", &mut out);
    assert_eq!(talk.under_way(), None);
    talk.advance(b"get a b ", &mut out);
    assert!(talk.under_way().is_some() && talk.under_way() != line, "each has another number");
}

#[test]
fn an_empty_store_has_an_empty_list_and_lists_can_be_forbidden() {
    let world = World::new();
    assert!(list(&world, Listing::default()).is_empty());
    let mut client = world.client();
    let command = Command::List(Listing::default());
    assert!(world.says(&mut client, command).starts_with("listing"));
    world.settings.set_may_dump(false);
    assert_eq!(world.says(&mut client, command), "Forbidden(\"metadump not allowed\")");
    let refused = world.executor.page(&mut Listing::default(), &mut |_| {});
    assert_eq!(refused, Err(Failure::Forbidden("metadump not allowed")));
}
