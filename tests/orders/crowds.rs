//! Scenes of five threads, which nobody can explore to their end.
//!
//! What they would catch: what takes more than three threads, or several operations of each, such as a
//! queue at a session lock, and a table that is outgrown by several at once.

use holdfast::Store;

use crate::scenes::{
    Scene, count_locked, find_neighbours, get, increment, neighbour, one_of, said, set,
};
use crate::stage;

/// Reads a number again and again: it only grows.
fn watch(store: &Store) -> String {
    let seen: Vec<u64> = (0..4).map(|_| get(store, "k").parse().unwrap_or(u64::MAX)).collect();
    if seen.is_sorted() && seen[3] <= 8 { "done".into() } else { format!("{seen:?}") }
}

/// Comes, goes and comes again, next to others in one bucket that becomes too small.
fn come_and_go(store: &Store, which: usize) -> String {
    let key = neighbour(which);
    let first = set(store, &key, "one") + " " + &get(store, &key);
    let second = said(store.delete(key.as_bytes(), None, None)) + " " + &get(store, &key);
    format!("{first} {second} {} {}", set(store, &key, "two"), get(store, &key))
}

pub const CROWDS: &[Scene] = &[
    Scene {
        name: "counters",
        preemptions: 0,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "0")),
        parts: &[
            |store| increment(store) + &increment(store),
            |store| increment(store) + &increment(store),
            |store| increment(store) + &increment(store),
            |store| increment(store) + &increment(store),
            watch,
        ],
        judge: |store, said| {
            said[..4].iter().for_each(|one| one_of("who counts", one, &["donedone"]));
            one_of("who watches", &said[4], &["done"]);
            one_of("afterwards", &get(store, "k"), &["8"]);
        },
    },
    Scene {
        name: "lockers",
        preemptions: 0,
        plays: 0,
        options: stage::options,
        prepare: |store| drop(set(store, "k", "0")),
        parts: &[
            |store| count_locked(store, 1) + &count_locked(store, 1),
            |store| count_locked(store, 2) + &count_locked(store, 2),
            |store| count_locked(store, 3) + &count_locked(store, 3),
            |store| count_locked(store, 4) + &count_locked(store, 4),
            watch,
        ],
        judge: |store, said| {
            said[..4].iter().for_each(|one| one_of("who counts", one, &["donedone"]));
            one_of("who watches", &said[4], &["done"]);
            one_of("afterwards", &get(store, "k"), &["8"]);
            assert!(store.locks(10).expect("a list").is_empty(), "a lock is left");
        },
    },
    Scene {
        name: "crowded",
        preemptions: 0,
        plays: 0,
        options: stage::options,
        prepare: |store| {
            find_neighbours(store, 9);
            (0..5).for_each(|i| drop(set(store, &neighbour(i), "old")));
        },
        parts: &[
            |store| come_and_go(store, 5),
            |store| come_and_go(store, 6),
            |store| come_and_go(store, 7),
            |store| come_and_go(store, 8),
            |store| (0..5).map(|i| get(store, &neighbour(i))).collect(),
        ],
        judge: |store, said| {
            for one in &said[..4] {
                one_of("who comes and goes", one, &["done one done none done two"]);
            }
            one_of("the reader", &said[4], &["oldoldoldoldold"]);
            (0..5).for_each(|i| one_of("afterwards", &get(store, &neighbour(i)), &["old"]));
            (5..9).for_each(|i| one_of("afterwards", &get(store, &neighbour(i)), &["two"]));
        },
    },
];
