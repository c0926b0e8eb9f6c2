//! Session locks at their limits: as many as there may be, as many who wait as may, and waits that are
//! ended by the one who waits.
//!
//! It would catch a table of locks that is full for good, a key that takes over a living lock's entry,
//! and a waiter that stays in line when it has gone. What it cannot show: as many who wait as there are
//! tickets (4,096), and crowds, which `processes.rs` and `histories.rs` have.

use std::cell::Cell;
use std::time::{Duration, Instant};

use holdfast::{Acquired, Error, Held, Store, Wait};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{memory_dir, open, small};

const TRY: Wait =
    Wait { timeout: Some(Duration::ZERO), lease: None, max_waiters: 0, stop: None, polls: false };
const LONG: Duration = Duration::from_secs(20);

fn held(store: &Store, key: &[u8]) -> Held {
    match store.lock(key, 1, &TRY).unwrap() {
        Acquired::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// Locks keys until one finds no place in the table; gives the locks and that key.
fn fill(store: &Store) -> (Vec<(String, Held)>, String) {
    let mut all = Vec::new();
    loop {
        let key = format!("key {}", all.len());
        match store.lock(key.as_bytes(), 1, &TRY) {
            Ok(Acquired::Held(held)) => all.push((key, held)),
            Err(Error::TooMany(_)) => return (all, key),
            other => panic!("{other:?}"),
        }
        assert!(all.len() <= 2048 * 7, "the table has no end");
    }
}

#[test]
fn one_lock_too_many_is_an_error_and_takes_nobody_elses_place() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let (all, refused) = fill(&store);
    assert!(all.len() >= 7, "so many have room in any case");
    assert_eq!(store.locks(100_000).unwrap().len(), all.len());
    assert_eq!(store.locks(3).unwrap().len(), 3);
    for (key, lock) in &all {
        assert_eq!(held(&store, key.as_bytes()), *lock, "re-entered");
        assert!(matches!(store.lock(key.as_bytes(), 2, &TRY).unwrap(), Acquired::TimedOut(_)));
        assert!(store.unlock(key.as_bytes(), lock).unwrap());
    }
    assert!(store.locks(1).unwrap().is_empty());
    held(&store, refused.as_bytes());
}

#[test]
fn what_the_dead_held_makes_room_when_it_is_needed() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let held_by_the_dead = process::shared(1);
    let child = process::fork(|| {
        let (all, _) = fill(&open(dir.path(), &small()));
        held_by_the_dead[0].store(all.len() as u64, std::sync::atomic::Ordering::SeqCst);
        process::die();
    });
    assert_eq!(child.wait(LONG), Ended::Signal(libc::SIGKILL));
    let count = held_by_the_dead[0].load(std::sync::atomic::Ordering::SeqCst);
    let listed = store.locks(100_000).unwrap();
    assert!(
        count >= 7 && listed.len() as u64 == count && listed.iter().all(|lock| !lock.owner_alive)
    );
    // Other keys first, in the buckets that the dead one's fill.
    for n in 0..1000 {
        held(&store, format!("other {n}").as_bytes());
    }
    held(&store, format!("key {count}").as_bytes());
}

#[test]
fn who_would_be_one_waiter_too_many_is_told_so_and_who_has_enough_leaves_the_line() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let mine = held(&store, b"s");
    let waiters = || store.stats().unwrap().lock_waiters;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| store.lock(b"s", 2, &Wait::default()).unwrap());
        while waiters() < 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let crowded = store.lock(b"s", 3, &Wait { max_waiters: 1, ..Wait::default() }).unwrap();
        let Acquired::Crowded(holder) = crowded else { panic!("{crowded:?}") };
        assert_eq!((holder.pid, holder.waiters), (std::process::id() as u64, 1));
        // There is room for a second one, who asks again and again whether it has to go.
        let (asked, begun) = (Cell::new(0), Instant::now());
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == 5
        };
        let wait = Wait { max_waiters: 2, stop: Some(&stop), ..Wait::default() };
        let stopped = store.lock(b"s", 3, &wait).unwrap();
        assert!(matches!(stopped, Acquired::Stopped(holder) if holder.waiters >= 1), "{stopped:?}");
        assert!(asked.get() == 5 && begun.elapsed() < LONG);
        assert_eq!(waiters(), 1, "the one that left is not in line any more");
        assert!(store.unlock(b"s", &mine).unwrap());
        let Acquired::Held(theirs) = first.join().unwrap() else { panic!("the first was there") };
        assert!(store.unlock(b"s", &theirs).unwrap());
    });
    assert_eq!((waiters(), store.locks(1).unwrap().len()), (0, 0));
    held(&store, b"s");
}
