//! How long session locks are waited for and syncs take: each is in the bucket of its length, whoever
//! it was and however it ended.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Acquired, Disk, FileKind, Histogram, Options, Store, Ttl, Wait};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{dir, open, small};

fn waits(store: &Store) -> Histogram {
    store.stats().unwrap().lock_waits
}

fn syncs(store: &Store) -> Histogram {
    store.stats().unwrap().syncs
}

fn lock(store: &Store, cookie: u64, timeout: Option<Duration>) -> Acquired {
    store.lock(b"s", cookie, &Wait { timeout, ..Wait::default() }).unwrap()
}

/// What came between two looks at a histogram, if it was one alone: its length, which has to be in
/// the bucket that was raised.
fn the_one_between(before: &Histogram, after: &Histogram) -> Duration {
    assert_eq!(after.count(), before.count() + 1);
    let took = after.sum - before.sum;
    let pairs = before.buckets.iter().zip(&after.buckets);
    let raised = pairs.filter(|(before, after)| before.1 != after.1).count();
    let bucket = (0..after.buckets.len())
        .find(|n| after.buckets[*n].1 == before.buckets[*n].1 + 1)
        .expect("a bucket with one more");
    assert_eq!(raised, 1, "no other bucket changed");
    let begin = bucket.checked_sub(1).and_then(|n| after.buckets[n].0);
    let end = after.buckets[bucket].0;
    assert!(begin.is_none_or(|begin| took > begin), "{took:?} is not behind {begin:?}");
    assert!(end.is_none_or(|end| took <= end), "{took:?} is not before {end:?}");
    took
}

#[test]
fn a_wait_for_a_session_lock_is_in_the_bucket_of_its_length() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let none = waits(&store);
    assert_eq!((none.count(), none.sum), (0, Duration::ZERO));
    assert_eq!(none.buckets[0].0, Some(Duration::from_millis(1)));
    let mut before = none;
    for hold in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(70)] {
        let Acquired::Held(held) = lock(&store, 1, None) else { panic!("not free") };
        let (held_on, waited) = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let begun = Instant::now();
                let Acquired::Held(held) = lock(&store, 2, None) else { panic!("not taken") };
                let waited = begun.elapsed();
                store.unlock(b"s", &held).unwrap();
                waited
            });
            while store.stats().unwrap().lock_waiters == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let begun = Instant::now();
            std::thread::sleep(hold);
            let slept = begun.elapsed();
            store.unlock(b"s", &held).unwrap();
            (slept, waiter.join().unwrap())
        });
        let after = waits(&store);
        let took = the_one_between(&before, &after);
        assert!(took >= held_on && took <= waited, "{took:?} of {held_on:?} to {waited:?}");
        before = after;
    }
}

#[test]
fn a_wait_that_came_to_nothing_counts_like_any_other() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let Acquired::Held(_held) = lock(&store, 1, None) else { panic!("not free") };
    let before = waits(&store);
    let timeout = Duration::from_millis(40);
    assert!(matches!(lock(&store, 2, Some(timeout)), Acquired::TimedOut(_)));
    let timed_out = waits(&store);
    assert!(the_one_between(&before, &timed_out) >= timeout);
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) > 0;
    let wait = Wait { stop: Some(&stop), ..Wait::default() };
    assert!(matches!(store.lock(b"s", 2, &wait).unwrap(), Acquired::Stopped(_)));
    the_one_between(&timed_out, &waits(&store));
    assert_eq!(store.stats().unwrap().lock_waited, 2);
}

#[test]
fn nobody_waits_who_gets_a_lock_at_once_or_only_tries() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let Acquired::Held(held) = lock(&store, 1, None) else { panic!("not free") };
    assert_eq!(lock(&store, 1, None), Acquired::Held(held), "its own again");
    assert!(matches!(lock(&store, 2, Some(Duration::ZERO)), Acquired::TimedOut(_)));
    assert_eq!(waits(&store).count(), 0);
}

#[test]
fn waits_of_other_processes_are_there_and_stay_when_they_and_we_are_gone() {
    let dir = dir();
    let options = Options { thread: false, ..small() };
    let store = open(dir.path(), &options);
    let Acquired::Held(_held) = lock(&store, 1, None) else { panic!("not free") };
    let before = waits(&store);
    let timeout = Duration::from_millis(20);
    let child = process::fork(|| {
        let store = open(dir.path(), &options);
        assert!(matches!(lock(&store, 2, Some(timeout)), Acquired::TimedOut(_)));
    });
    assert_eq!(child.wait(Duration::from_secs(60)), Ended::Exit(0));
    let after = waits(&store);
    assert!(the_one_between(&before, &after) >= timeout);
    drop(store);
    assert_eq!(waits(&open(dir.path(), &options)), after);
}

/// A disk whose syncs take this long, and fail when they are told to.
#[derive(Default)]
struct Slow {
    fails: AtomicBool,
}

const SYNC: Duration = Duration::from_millis(12);

impl Disk for Slow {
    fn sync(&self, kind: FileKind, _: &std::fs::File) -> io::Result<()> {
        if kind != FileKind::Data {
            return Ok(());
        }
        std::thread::sleep(SYNC);
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => Ok(()),
        }
    }
}

#[test]
fn a_sync_is_in_the_bucket_of_its_length_also_one_that_fails() {
    let (dir, disk) = (dir(), Arc::new(Slow::default()));
    let options = Options { thread: false, disk: Some(disk.clone()), ..small() };
    let store = open(dir.path(), &options);
    assert_eq!(syncs(&store).buckets[0].0, Some(Duration::from_micros(64)));
    let sync = || {
        store.set(b"k", b"v", 0, Ttl::Never).unwrap();
        let before = syncs(&store);
        let begun = Instant::now();
        let done = store.sync();
        let waited = begun.elapsed();
        let took = the_one_between(&before, &syncs(&store));
        assert!(took >= SYNC && took <= waited, "{took:?} of {waited:?}");
        done
    };
    sync().unwrap();
    sync().unwrap();
    disk.fails.store(true, Ordering::SeqCst);
    assert!(sync().is_err());
    let stats = store.stats().unwrap();
    assert_eq!(stats.syncs.count(), stats.sync_rounds + 1, "the one that failed");
}
