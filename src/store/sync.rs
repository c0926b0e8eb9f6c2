//! Reaching the disk: rounds of `fdatasync`, each of which commits everybody's writes.
//!
//! A write is durable when a round that began after it was published has ended. Rounds are
//! numbered; whoever finds no round under way leads one, and waits for nobody longer than a sync
//! usually takes: no role is exclusive, so a stopped leader stops nobody.
//!
//! When a round ends, those whom it made durable are woken together, and one of those who came too
//! late for it, to lead the next. That one would begin while the first are on their way back with
//! their next writes, and from then on two groups would take turns, each in half of the rounds. So
//! it lets as many arrive as were here before, for a part of the time that a sync takes at most.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::arena::{Arena, Count, Timed, word};
use crate::error::{Error, Result};
use crate::sys::disk::FileKind;
use crate::sys::{clock, futex, words};

/// Nobody waits longer for the others' writes.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// How long a waiter depends on a leader, if it is not known how long syncs take.
const PATIENCE: Duration = Duration::from_millis(4);
/// It depends on all leaders together for so many times that.
const LEADERS: u32 = 4;

/// The round that will cover everything published until now.
pub(super) fn next_round(arena: &Arena) -> u64 {
    // Before the number is looked at: a round that began unseen may not have seen it either.
    words::fence(Ordering::SeqCst);
    arena.meta.load(word::ROUND_STARTED).saturating_add(1)
}

/// A round that nobody can have begun yet is not over, whatever the word says: that is damage.
pub(super) fn is_done(arena: &Arena, round: u64) -> bool {
    let done = arena.meta.load(word::ROUND_DONE);
    done >= round && done <= arena.meta.load(word::ROUND_STARTED)
}

/// Runs one round. A failed sync is final: the kernel may forget what it could not write.
pub(super) fn round(arena: &Arena) -> Result<()> {
    let (number, outcome) = run(arena)?;
    announce(arena, number, outcome.is_err());
    outcome
}

/// The round itself: its number, and how it ended. Within a process one after the other, see
/// [`Syncing`](crate::sys::disk::Syncing): what one of them is told, the next one knows.
fn run(arena: &Arena) -> Result<(u64, Result<()>)> {
    match arena.data.file() {
        Some(file) => arena.syncing.alone(file, |file| run_alone(arena, Some(file))),
        None => run_alone(arena, None),
    }
}

fn run_alone(arena: &Arena, file: Option<&File>) -> Result<(u64, Result<()>)> {
    arena.check_sync()?;
    let arrived = arena.meta.load(word::SYNC_ARRIVED);
    let then = arena.meta.swap(word::SYNC_ARRIVED_THEN, arrived);
    arena.meta.store(word::SYNC_COVERED, arrived.wrapping_sub(then));
    let number = arena.meta.add(word::ROUND_STARTED, 1).wrapping_add(1);
    // Whoever does not see that this round has begun: what he published before is seen from here on.
    words::fence(Ordering::SeqCst);
    let Some(file) = file else { return Ok((number, Ok(()))) };
    let begun = clock::mono();
    let done = arena.disk.sync(FileKind::Data, file);
    let took = clock::mono().saturating_sub(begun);
    arena.meta.store(word::SYNC_TOOK_NS, took.as_nanos() as u64);
    // A disk that fails often took its time before it said so.
    arena.count_time(Timed::SyncRound, took);
    let outcome = match done {
        Ok(()) => {
            let done = arena.meta.load(word::ROUND_DONE);
            if done > arena.meta.load(word::ROUND_STARTED) {
                let _ = arena.meta.cas(word::ROUND_DONE, done, 0);
            }
            arena.meta.max(word::ROUND_DONE, number);
            arena.meta.store(word::LAST_SYNC_MS, clock::mono_ms());
            arena.count(Count::SyncRounds);
            Ok(())
        }
        Err(e) => {
            arena.meta.store(word::SYNC_FAILED, 1);
            Err(Error::SyncFailed(format!(
                "syncing {}: {e}; writes are refused until the store is opened anew, because what \
                 was to be synced may not be on the disk",
                arena.dir.join("data").display()
            )))
        }
    };
    Ok((number, outcome))
}

/// What those who wait for this round have in common at the futex.
fn kind(round: u64) -> u32 {
    1 << (round % 32)
}

/// Tells those who wait for a round (or for the one before, whose leader may have stopped) that it
/// is over, and one who waits for the next one to lead it.
fn announce(arena: &Arena, number: u64, failed: bool) {
    let cell = arena.meta.cell(word::SYNC_FUTEX);
    cell.fetch_add(1, Ordering::Release);
    let over = kind(number) | kind(number.wrapping_sub(1));
    futex::wake_those(cell, i32::MAX, if failed { u32::MAX } else { over });
    futex::wake_those(cell, 1, kind(number.wrapping_add(1)));
}

/// How long syncs take, as far as anybody knows.
fn usual(arena: &Arena) -> Duration {
    Duration::from_nanos(arena.meta.load(word::SYNC_TOOK_NS)).min(Duration::from_secs(1))
}

/// Returns when everything published before the call is on the disk.
pub(super) fn wait_durable(arena: &Arena) -> Result<()> {
    let mine = next_round(arena);
    // Names this wait, so that nobody gives up a lead that another has taken over.
    let me = arena.meta.add(word::SYNC_ARRIVED, 1).wrapping_add(1);
    let mut patience = PATIENCE.max(2 * usual(arena));
    let (begun, most) = (clock::mono(), LEADERS * patience);
    loop {
        let cell = arena.meta.cell(word::SYNC_FUTEX);
        let seen = cell.load(Ordering::Acquire);
        // First: of two rounds under way at once the kernel tells one alone that a page was lost.
        arena.check_sync()?;
        if is_done(arena, mine) {
            return Ok(());
        }
        let leader = arena.meta.load(word::SYNC_LEADER);
        if leader != 0 {
            let asleep = clock::mono();
            futex::wait_for(cell, seen, patience, kind(mine));
            // A leader that takes longer than syncs do is not depended on, nor are many one after the
            // other: if the numbers of rounds are damaged none of theirs is ever this one.
            let now = clock::mono();
            let soon = now.saturating_sub(asleep) < patience && now.saturating_sub(begun) < most;
            if soon || is_done(arena, mine) {
                continue;
            }
            patience = (patience * 2).min(Duration::from_secs(1));
        }
        if arena.meta.cas(word::SYNC_LEADER, leader, me).is_ok() {
            // A round that began after the call covers it, whatever its number.
            lead(arena, me, mine)?;
            return arena.check_sync();
        }
    }
}

/// Runs the round that covers `mine`, if nobody did since, and gives up the lead.
fn lead(arena: &Arena, me: u64, mine: u64) -> Result<()> {
    let resign = || {
        let _ = arena.meta.cas(word::SYNC_LEADER, me, 0);
    };
    if is_done(arena, mine) {
        resign();
        announce(arena, mine, false);
        return Ok(());
    }
    gather(arena);
    let ended = run(arena);
    resign();
    let (number, outcome) = ended?;
    announce(arena, number, outcome.is_err());
    outcome
}

/// Lets those whom the last round released come back with their next writes, while they do. The
/// words are hints: whatever they say, the wait is short.
fn gather(arena: &Arena) {
    let before = arena.meta.load(word::SYNC_ARRIVED_THEN);
    let arrived = || arena.meta.load(word::SYNC_ARRIVED).wrapping_sub(before);
    let limit = (usual(arena) / 2).min(GATHER_MAX);
    let (begun, mut seen) = (clock::mono(), arrived());
    let mut last = begun;
    // Who leads is of the released, or came too late for them.
    let expected = seen.saturating_add(arena.meta.load(word::SYNC_COVERED)).saturating_sub(1);
    while seen < expected {
        std::thread::yield_now();
        let (now, then) = (clock::mono(), seen);
        seen = arrived();
        last = if seen > then { now } else { last };
        if now.saturating_sub(begun) >= limit || now.saturating_sub(last) >= limit / 2 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::options::{Options, Sync, Ttl};
    use crate::store::Store;
    use crate::sys::disk::Disk;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Disk for Counted {
        fn sync(&self, kind: FileKind, file: &File) -> std::io::Result<()> {
            self.0.fetch_add((kind == FileKind::Data) as u64, Ordering::SeqCst);
            file.sync_data()
        }
    }

    /// The word by which waiters know that their round is over says so of all rounds to come.
    #[test]
    fn a_round_that_nobody_began_covers_nothing() -> Result<()> {
        let private = PermissionsExt::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir().expect("a directory");
        let disk = Arc::new(Counted::default());
        let options = Options {
            create: true,
            thread: false,
            sync: Some(Sync::Always),
            max_bytes: Some(8 << 20),
            disk: Some(disk.clone()),
            ..Options::default()
        };
        let store = Store::open(dir.path(), &options)?;
        let arena = store.arena()?;
        for damaged in [u64::MAX, arena.meta.load(word::ROUND_STARTED) + 1_000_000] {
            arena.meta.store(word::ROUND_DONE, damaged);
            for _ in 0..2 {
                let before = disk.0.load(Ordering::SeqCst);
                store.set(b"key", b"value", 0, Ttl::Never)?;
                assert!(disk.0.load(Ordering::SeqCst) > before, "{damaged}: nothing was synced");
            }
            assert!(arena.meta.load(word::ROUND_DONE) < damaged, "the damage stays");
        }
        Ok(())
    }
}
