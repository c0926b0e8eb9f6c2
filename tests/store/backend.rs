//! What every engine behind the seam must do, driven by its address: the local store is the one
//! that there is.

use std::time::Duration;

use holdfast::backend::{self, Backend, Change, Session};
use holdfast::{BatchItem, Counted, Error, Held, Item, Soon, Stored, Ttl, Wait, Write};
use holdfast_tests::{dir, plain, small};

const KEY: &[u8] = b"session";

fn at_once() -> Wait<'static> {
    Wait { timeout: Some(Duration::ZERO), ..Wait::default() }
}

fn opened(engine: &dyn Backend, cookie: u64, value: &mut Vec<u8>) -> Held {
    match engine.open_session(KEY, cookie, &at_once(), value).expect("open") {
        Session::Open(held, item) => {
            assert_eq!(item.map_or(0, |i| i.value_len), value.len() as u64);
            held
        }
        other => panic!("not opened: {other:?}"),
    }
}

#[test]
fn a_session_is_opened_changed_and_closed_by_one_owner_at_a_time() {
    let dir = dir();
    let engine = backend::open(dir.path(), &small()).expect("a directory is an address");
    let mut value = Vec::new();
    let write = |value| Change::Write { value, flags: 0, ttl: Ttl::Millis(60_000) };

    let first = opened(&*engine, 1, &mut value);
    assert!(value.is_empty(), "a new session has no value");
    let other = engine.open_session(KEY, 2, &at_once(), &mut value).expect("open");
    assert!(matches!(other, Session::TimedOut(_)), "{other:?}");
    assert!(matches!(engine.close_session(KEY, &first, write(b"one")).unwrap(), Stored::Done(_)));
    assert_eq!(engine.close_session(KEY, &first, write(b"late")).unwrap(), Stored::Lost);

    let second = opened(&*engine, 2, &mut value);
    assert_eq!(value, b"one", "a late close wrote, or nothing was written");
    let longer = Change::Touch(Ttl::Millis(600_000));
    assert!(matches!(engine.close_session(KEY, &second, longer).unwrap(), Stored::Done(_)));
    let left = engine.exists(KEY).unwrap().expect("touched").expires_ms - engine.now_ms().unwrap();
    assert!(left > 60_000, "{left} ms left");

    let third = opened(&*engine, 3, &mut value);
    assert!(matches!(engine.close_session(KEY, &third, Change::Nothing), Ok(Stored::Done(_))));
    assert_eq!(engine.close_session(KEY, &third, Change::Nothing).unwrap(), Stored::Lost);
    assert!(engine.locks(10).unwrap().is_empty());
}

#[test]
fn an_address_names_a_directory_or_says_that_there_is_no_such_engine_yet() {
    let dir = dir();
    let address = format!("file://{}", dir.path().display());
    let engine = backend::open(&address, &small()).expect("a directory with its scheme");
    engine.sync().unwrap();
    match backend::open("redis://127.0.0.1/", &small()) {
        Err(Error::Unsupported(why)) => assert!(why.contains("redis"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn every_verb_is_to_be_had_through_the_seam() {
    let dir = dir();
    let engine = backend::open(dir.path(), &small()).expect("a directory is an address");
    let how = Write { ttl: Ttl::Never, ..Write::default() };
    let items = [b"a", b"b"].map(|key| BatchItem { key, value: b"1", how });
    let stored = engine.set_many(&items).expect("set_many");
    assert!(stored.iter().all(|stored| matches!(stored, Ok(Stored::Done(_)))));
    let counted = |counted| match counted {
        Ok(Counted::Done { value, .. }) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(counted(engine.increment(b"a", 9, None, &how)), 10);
    assert_eq!(counted(engine.decrement(b"b", 9, None, &how)), 0);
    engine.append(b"a", b"!", None, false).expect("append");
    engine.prepend(b"a", b"= ", None, false).expect("prepend");
    let durable = Write { sync: true, ..how };
    engine.write(b"c", b"old", &durable).expect("write");
    let mut grow = |present: Option<(&[u8], &Item)>| {
        let value = [present.expect("there").0, b"er"].concat();
        plain(value, 0, None)
    };
    engine.update(b"c", None, false, &mut grow).expect("update");
    assert!(!engine.sync_is_always(), "the default is once a second");
    let soon = [&b"c"[..], b"", b"none"].map(|key| Soon { key, value: key == b"c" });
    engine.prefetch(&soon);
    let mut found = Vec::new();
    let mut note = |index, value: holdfast::Result<Option<(&Item, &[u8])>>| {
        found.push((index, value.expect("readable").map(|(_, bytes)| bytes.to_vec())));
    };
    engine.get_many(&[b"c", b"a", b"none", b"b"], &mut note).expect("get_many");
    let expected = [Some(&b"older"[..]), Some(b"= 10!"), None, Some(b"0")];
    let expected: Vec<_> =
        expected.iter().map(|bytes| bytes.map(<[u8]>::to_vec)).enumerate().collect();
    assert_eq!(found, expected);
}
