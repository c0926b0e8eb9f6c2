//! What several threads do to one store at once, and which of their answers some order explains.
//!
//! A scene has at most three parts, so that it can be explored to its end. Whoever judges comes when
//! all parts have ended, and what he reads must be there for good. What the explorers would catch with
//! them, and what they cannot show, stands in their files.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use holdfast::{Acquired, Counted, Disk, FileKind, Options, Store, Stored, Ttl, Wait, Write};

use crate::stage;

/// What a thread does; it says what it saw.
pub type Part = fn(&Store) -> String;

pub struct Scene {
    pub name: &'static str,
    /// How often, in one play, a thread may be stopped that could go on.
    pub preemptions: u64,
    /// So many plays of those that there are; 0 = all.
    pub plays: u64,
    pub options: fn() -> Options,
    pub prepare: fn(&Store),
    pub parts: &'static [Part],
    /// Panics if no order explains what the parts saw, and what is there now.
    pub judge: fn(&Store, &[String]),
}

thread_local! {
    /// Keys of one stripe, whose names depend on the store's secret.
    static BESIDE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub fn find_neighbours(store: &Store, count: usize) {
    let stripe = |name: &str| store.key_hash(name.as_bytes()).expect("a hash") >> 56;
    let names = (0..).map(|i| format!("k{i}")).filter(|name| stripe(name) == stripe("k0"));
    BESIDE.set(names.take(count).collect());
}

pub fn neighbour(i: usize) -> String {
    BESIDE.with_borrow(|names| names[i].clone())
}

pub fn get(store: &Store, key: &str) -> String {
    let mut value = Vec::new();
    match store.get(key.as_bytes(), &mut value) {
        Ok(Some(_)) => String::from_utf8_lossy(&value).into_owned(),
        Ok(None) => "none".into(),
        Err(e) => format!("error: {e}"),
    }
}

fn get_twice(store: &Store, key: &str) -> String {
    format!("{} {}", get(store, key), get(store, key))
}

pub fn set(store: &Store, key: &str, value: &str) -> String {
    said(store.set(key.as_bytes(), value.as_bytes(), 0, Ttl::Never))
}

pub fn said(stored: holdfast::Result<Stored>) -> String {
    match stored {
        Ok(Stored::Done(_)) => "done".into(),
        Ok(other) => format!("{other:?}"),
        Err(e) => format!("error: {e}"),
    }
}

pub fn one_of(what: &str, saw: &str, allowed: &[&str]) {
    assert!(allowed.contains(&saw), "{what}: \"{saw}\" is explained by no order ({allowed:?})");
}

/// Counts one up without a lock.
pub fn increment(store: &Store) -> String {
    match store.increment(b"k", 1, None, &Write::default()) {
        Ok(Counted::Done { .. }) => "done".into(),
        other => format!("{other:?}"),
    }
}

/// Counts one up under the key's session lock.
pub fn count_locked(store: &Store, cookie: u64) -> String {
    let held = match store.lock(b"k", cookie, &Wait::default()) {
        Ok(Acquired::Held(held)) => held,
        other => return format!("{other:?}"),
    };
    let Ok(before) = get(store, "k").parse::<u64>() else { return "no number".into() };
    let how = Write { ttl: Ttl::Never, held: Some(&held), ..Write::default() };
    let wrote = said(store.write(b"k", (before + 1).to_string().as_bytes(), &how));
    match store.unlock(b"k", &held) {
        Ok(true) => wrote,
        other => format!("unlock: {other:?}"),
    }
}

/// The first segment has `k` and nothing else that lives, and the second has room for a tombstone
/// of `k` and for nothing behind it.
fn leave_room_for_a_tombstone(store: &Store) {
    const LEAST: u64 = 2;
    let all = store.stats().expect("numbers").segment_bytes / 64 - 1;
    let fill = |lines: u64| drop(set(store, "f", &"f".repeat(lines as usize * 64 - 72)));
    set(store, "k", "old");
    let (piece, mut used) = (all / 8, LEAST);
    while used + piece <= all {
        fill(piece);
        used += piece;
    }
    used = 0;
    while used + piece <= all - 2 * LEAST {
        fill(piece);
        used += piece;
    }
    fill(all - LEAST - used);
}

fn free_segments(store: &Store) -> holdfast::Result<()> {
    for _ in 0..2 {
        store.expire(u64::MAX)?;
        store.sync()?;
    }
    store.expire(u64::MAX).map(drop)
}

const NOTHING: fn(&Store) = |_| {};

pub const SCENES: &[Scene] = &[
    Scene {
        name: "overwritten",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "old")),
        parts: &[|store| set(store, "k", "new"), |store| get_twice(store, "k")],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done"]);
            one_of("the reader", &said[1], &["old old", "old new", "new new"]);
            one_of("afterwards", &get(store, "k"), &["new"]);
        },
    },
    Scene {
        name: "deleted",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "old")),
        parts: &[|store| said(store.delete(b"k", None, None)), |store| get_twice(store, "k")],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done"]);
            one_of("the reader", &said[1], &["old old", "old none", "none none"]);
            one_of("afterwards", &get(store, "k"), &["none"]);
        },
    },
    Scene {
        name: "made",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: NOTHING,
        parts: &[|store| set(store, "k", "new"), |store| get_twice(store, "k")],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done"]);
            one_of("the reader", &said[1], &["none none", "none new", "new new"]);
            one_of("afterwards", &get(store, "k"), &["new"]);
        },
    },
    // The seventh key of a stripe that has one bucket.
    Scene {
        name: "grown",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: |store| {
            find_neighbours(store, 7);
            (0..6).for_each(|i| drop(set(store, &neighbour(i), "old")));
        },
        parts: &[
            |store| set(store, &neighbour(6), "new"),
            |store| format!("{} {}", get(store, &neighbour(6)), get(store, &neighbour(0))),
        ],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done"]);
            one_of("the reader", &said[1], &["none old", "new old"]);
            (0..6).for_each(|i| one_of("afterwards", &get(store, &neighbour(i)), &["old"]));
            one_of("afterwards", &get(store, &neighbour(6)), &["new"]);
        },
    },
    Scene {
        name: "counted",
        preemptions: 3,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "0")),
        parts: &[increment, increment],
        judge: |store, said| {
            said.iter().for_each(|one| one_of("who counts", one, &["done"]));
            one_of("afterwards", &get(store, "k"), &["2"]);
        },
    },
    Scene {
        name: "neighbours",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: |store| find_neighbours(store, 2),
        parts: &[
            |store| set(store, &neighbour(0), "mine"),
            |store| set(store, &neighbour(1), "other"),
        ],
        judge: |store, said| {
            said.iter().for_each(|one| one_of("a writer", one, &["done"]));
            one_of("afterwards", &get(store, &neighbour(0)), &["mine"]);
            one_of("afterwards", &get(store, &neighbour(1)), &["other"]);
        },
    },
    Scene {
        name: "locked",
        preemptions: 2,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "0")),
        parts: &[|store| count_locked(store, 1), |store| count_locked(store, 2)],
        judge: |store, said| {
            said.iter().for_each(|one| one_of("who counts", one, &["done"]));
            one_of("afterwards", &get(store, "k"), &["2"]);
        },
    },
    Scene {
        name: "touched",
        preemptions: 9,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(store.set(b"k", b"value", 0, Ttl::Millis(1 << 30))),
        parts: &[
            |store| said(store.touch(b"k", Ttl::Millis(1 << 31), None)),
            |store| get_twice(store, "k"),
        ],
        judge: |store, said| {
            one_of("who touches", &said[0], &["done"]);
            one_of("the reader", &said[1], &["value value"]);
            one_of("afterwards", &get(store, "k"), &["value"]);
        },
    },
    Scene {
        name: "raced",
        preemptions: 1,
        plays: 0,
        options: stage::options,
        prepare: NOTHING,
        parts: &[
            |store| set(store, "k", "one"),
            |store| set(store, "k", "two"),
            |store| get_twice(store, "k"),
        ],
        judge: |store, said| {
            said[..2].iter().for_each(|one| one_of("a writer", one, &["done"]));
            let after = get(store, "k");
            one_of("afterwards", &after, &["one", "two"]);
            let first = if after == "one" { "two" } else { "one" };
            let all = ["none", first, &after];
            let in_order = (0..3).flat_map(|i| (i..3).map(move |j| (i, j)));
            let pairs: Vec<_> = in_order.map(|(i, j)| format!("{} {}", all[i], all[j])).collect();
            let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
            one_of("the reader", &said[2], &pairs);
        },
    },
    // The record of another key comes to lie where a slow reader is at.
    Scene {
        name: "reused",
        preemptions: 3,
        plays: 3000,
        options: stage::options,
        prepare: leave_room_for_a_tombstone,
        parts: &[
            |store| {
                let deleted = said(store.delete(b"k", None, None));
                free_segments(store).map_or_else(|e| format!("error: {e}"), |()| deleted)
                    + " "
                    + &set(store, "j", "new")
            },
            |store| get_twice(store, "k"),
        ],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done done"]);
            one_of("the reader", &said[1], &["old old", "old none", "none none"]);
            one_of("afterwards", &get(store, "k"), &["none"]);
            one_of("afterwards", &get(store, "j"), &["new"]);
        },
    },
    // A cache notes in the slot that a value was read.
    Scene {
        name: "cached",
        preemptions: 2,
        plays: 0,
        options: || Options { evict: Some(true), ..stage::options() },
        prepare: |store| drop(set(store, "k", "old")),
        parts: &[
            |store| said(store.delete(b"k", None, None)) + " " + &set(store, "k", "new"),
            |store| get_twice(store, "k"),
        ],
        judge: |store, said| {
            one_of("the writer", &said[0], &["done done"]);
            let pairs = ["old old", "old none", "old new", "none none", "none new", "new new"];
            one_of("the reader", &said[1], &pairs);
            one_of("afterwards", &get(store, "k"), &["new"]);
        },
    },
];

/// What a process dies in.
pub fn write_new(store: &Store) {
    drop(set(store, &neighbour(0), "new"));
}

thread_local! {
    /// What whoever synced last could see of the key.
    static ON_DISK: RefCell<String> = const { RefCell::new(String::new()) };
    /// The store, for its disk; it stays open, as it is its own disk's.
    static STORE: Cell<Option<&'static Store>> = const { Cell::new(None) };
}

/// A disk that gets what its syncer sees.
struct Sees;

impl Disk for Sees {
    fn sync(&self, kind: FileKind, _: &std::fs::File) -> std::io::Result<()> {
        if let (FileKind::Data, Some(store)) = (kind, STORE.get()) {
            let seen = get(store, "k");
            ON_DISK.set(seen);
        }
        Ok(())
    }
}

/// Whoever is told that his write is on the disk finds it there.
pub const DURABLE: Scene = Scene {
    name: "durable",
    preemptions: 2,
    plays: 0,
    options: || Options { disk: Some(Arc::new(Sees)), ..stage::options() },
    prepare: |store| {
        drop(set(store, "k", "old"));
        STORE.set(Some(Box::leak(Box::new(store.clone()))));
    },
    parts: &[
        |store| {
            let how = Write { ttl: Ttl::Never, sync: true, ..Write::default() };
            said(store.write(b"k", b"new", &how)) + " " + &ON_DISK.with_borrow(String::clone)
        },
        |store| format!("{:?}", store.sync().is_ok()),
    ],
    judge: |_, said| {
        one_of("the writer", &said[0], &["done new"]);
        one_of("who syncs", &said[1], &["true"]);
    },
};

/// A process died while it wrote "new": it happened or it did not, for everybody and for good.
pub const LEFT: Scene = Scene {
    name: "left",
    preemptions: 3,
    plays: 0,
    options: stage::options,
    prepare: |store| {
        find_neighbours(store, 2);
        drop(set(store, &neighbour(0), "old"));
    },
    parts: &[
        |store| get_twice(store, &neighbour(0)),
        |store| set(store, &neighbour(1), "other") + " " + &get(store, &neighbour(0)),
    ],
    judge: |store, said| {
        let after = get(store, &neighbour(0));
        one_of("afterwards", &after, &["old", "new"]);
        one_of("the reader", &said[0], &[&format!("{after} {after}")]);
        one_of("the writer", &said[1], &[&format!("done {after}")]);
        one_of("afterwards", &get(store, &neighbour(1)), &["other"]);
    },
};
