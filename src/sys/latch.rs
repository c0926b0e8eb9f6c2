//! Mutual exclusion for a few hundred nanoseconds, between processes any of which may die.
//!
//! A latch is a 32-bit cell: the owner's process slot plus one in the low bits, a waiters bit on
//! top. Nothing is known about a holder but its slot; whether it can still run is for
//! [`Peers`](super::peers::Peers) to say. The lock order is stripe, then lock bucket, then lane.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::peers::Peers;
use super::words::{Cell, pause};
use super::{clock, fault, futex};
use crate::limits::LATCH_SPINS;

const WAITERS: u32 = 1 << 31;
/// Longer than a living owner needs, if it runs.
const FIRST_SLEEP: Duration = Duration::from_micros(50);
const PROBED_SLEEP: Duration = Duration::from_millis(1);

/// How a latch was come by.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Taken {
    /// It was free.
    Free,
    /// Its owner died with it: what it guards may be half done.
    Stolen,
}

/// The slot that holds the latch, if any.
pub(crate) fn owner(cell: &Cell) -> Option<u32> {
    (cell.load(Ordering::Acquire) & !WAITERS).checked_sub(1)
}

/// Takes the latch if it is free right now.
#[inline]
pub(crate) fn try_acquire(cell: &Cell, me: u32) -> bool {
    fault::unfailing_step();
    cell.compare_exchange(0, me + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Takes the latch; `None` after `limit`: its owner lives and does not let go.
#[inline]
pub(crate) fn acquire(cell: &Cell, peers: &Peers, limit: Duration) -> Option<Taken> {
    if try_acquire(cell, peers.slot()) { Some(Taken::Free) } else { contend(cell, peers, limit) }
}

#[cold]
fn contend(cell: &Cell, peers: &Peers, limit: Duration) -> Option<Taken> {
    let me = peers.slot();
    let start = clock::mono();
    let mut watched = None;
    loop {
        for _ in 0..LATCH_SPINS {
            let seen = cell.load(Ordering::Relaxed);
            // With other sleepers about, the bit stays set so that the release wakes them too.
            if seen & !WAITERS == 0 {
                fault::unfailing_step();
                let mine = (me + 1) | (seen & WAITERS);
                if cell.compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Some(Taken::Free);
                }
            }
            pause();
        }
        let seen = cell.load(Ordering::Relaxed);
        // Probed only if it is the one from before the last sleep: a probe takes a lock of the
        // kernel's that all others who probe want too.
        let owner = (seen & !WAITERS).checked_sub(1);
        let sleep = if watched == owner { PROBED_SLEEP } else { FIRST_SLEEP };
        let suspect = owner.filter(|_| watched == owner);
        watched = owner;
        if let Some(slot) = suspect
            && peers.steal(slot, || {
                fault::unfailing_step();
                let mine = (me + 1) | (seen & WAITERS);
                cell.compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed).is_ok()
            })
        {
            return Some(Taken::Stolen);
        }
        if clock::mono().saturating_sub(start) >= limit {
            return None;
        }
        let seen = cell.load(Ordering::Relaxed);
        if seen & !WAITERS != 0
            && (seen & WAITERS != 0
                || cell
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok())
        {
            futex::wait(cell, seen | WAITERS, sleep);
        }
    }
}

/// Lets go; the caller holds the latch.
///
/// A load and a store instead of one exchange: half the cost, and a waiter that sets its bit
/// between the two sleeps its millisecond out instead of being woken.
#[inline]
pub(crate) fn release(cell: &Cell) {
    fault::unfailing_step();
    let waited_for = cell.load(Ordering::Relaxed) & WAITERS != 0;
    cell.store(0, Ordering::Release);
    if waited_for {
        futex::wake(cell, 1);
    }
}
