//! Reaching the disk: rounds of `fdatasync`, each of which commits everybody's writes.
//!
//! A write is durable when a round that began after it was published has ended. Rounds are
//! numbered; whoever finds no round under way leads one, and waits for nobody longer than a sync
//! usually takes: no role is exclusive, so a stopped leader stops nobody.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::arena::{Arena, Count, word};
use crate::error::{Error, Result};
use crate::sys::disk::FileKind;
use crate::sys::{clock, futex};

/// The round that will cover everything published until now.
pub(super) fn next_round(arena: &Arena) -> u64 {
    arena.meta.load(word::ROUND_STARTED) + 1
}

pub(super) fn is_done(arena: &Arena, round: u64) -> bool {
    arena.meta.load(word::ROUND_DONE) >= round
}

/// Runs one round. A failed sync is final: the kernel may forget what it could not write.
pub(super) fn round(arena: &Arena) -> Result<()> {
    arena.check_sync()?;
    let number = arena.meta.add(word::ROUND_STARTED, 1) + 1;
    let Some(file) = arena.data.file() else { return Ok(()) };
    let done = arena.disk.sync(FileKind::Data, file);
    let outcome = match done {
        Ok(()) => {
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
    let cell = arena.meta.cell(word::SYNC_FUTEX);
    cell.fetch_add(1, Ordering::Release);
    futex::wake(cell, i32::MAX);
    outcome
}

/// Returns when everything published before the call is on the disk.
pub(super) fn wait_durable(arena: &Arena) -> Result<()> {
    let mine = next_round(arena);
    let mut usual = Duration::from_millis(4);
    loop {
        if is_done(arena, mine) {
            return Ok(());
        }
        arena.check_sync()?;
        let cell = arena.meta.cell(word::SYNC_FUTEX);
        let seen = cell.load(Ordering::Acquire);
        let leader = arena.meta.load(word::SYNC_LEADER);
        if leader == 0 && arena.meta.cas(word::SYNC_LEADER, 0, arena.identity()).is_ok() {
            // Nobody's round can cover us but one that begins now (or began since).
            let done = if is_done(arena, mine) { Ok(()) } else { round(arena) };
            arena.meta.store(word::SYNC_LEADER, 0);
            let cell = arena.meta.cell(word::SYNC_FUTEX);
            cell.fetch_add(1, Ordering::Release);
            futex::wake(cell, i32::MAX);
            done?;
            continue;
        }
        if is_done(arena, mine) {
            return Ok(());
        }
        let asleep = Instant::now();
        futex::wait(cell, seen, usual);
        if asleep.elapsed() >= usual {
            // The leader takes longer than syncs do: do not depend on it.
            let _ = arena.meta.cas(word::SYNC_LEADER, leader, 0);
            usual = (usual * 2).min(Duration::from_secs(1));
        }
    }
}
