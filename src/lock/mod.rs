//! Session locks: one owner per key, first come first served, freed by the death of the owner.
//!
//! An entry of the shared table exists only while its lock is held or waited for; it is found,
//! created, changed and reused only under the latch of its bucket. Every change leaves the entry
//! valid at each step, so a bucket whose latch is stolen needs no repair.
//!
//! A lock has a *fence*, a number never used twice: a write passes only while the entry bears the
//! writer's fence, so whoever lost the lock (its lease was broken while it was stopped) cannot
//! write any more. It has a *cookie*: the same owner re-enters and gets the same fence.
//!
//! Waiting is in the kernel, on a word of the waiter's own *ticket*. A release reserves the lock
//! for the lowest living ticket and wakes only that one. Sleeps are sliced: a waiter looks itself
//! whether the holder died, whether those before it died, and whether it was asked to stop.
//!
//! Those who cannot wait *poll*: they try, and come again. A queue that never empties would keep
//! them out for ever, so while some of them come, every second release leaves the lock to them for
//! a moment, and the queue goes on when none has come by its end.

mod queue;
mod table;

use std::time::Duration;

use crate::arena::{Arena, locks, word};
use crate::error::{Result, push};
use crate::key::Key;
use crate::limits::{LOCK_BUCKETS, LOCK_WAYS};
use crate::sys::{clock, latch};
use queue::queue;
pub(crate) use table::Bucket;
use table::Ticket;

/// How to wait for a lock.
#[derive(Clone, Copy, Default)]
pub struct Wait<'a> {
    /// `None` = as long as it takes; zero = only try.
    pub timeout: Option<Duration>,
    /// Others may take the lock from a living holder that has had it, without a renewal, for this
    /// long: the first who waits, or who only tries when nobody waits; `None` = never.
    pub lease: Option<Duration>,
    /// Fail at once when this many wait already; 0 = no limit.
    pub max_waiters: u32,
    /// Asked at least every 50 ms; true ends the wait.
    pub stop: Option<&'a dyn Fn() -> bool>,
    /// Of one who only tries: he comes again within 200 ms, until he has it, and is not to be kept
    /// out by those who wait in line.
    pub polls: bool,
}

/// A lock that its owner holds, as far as it knows: each write checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The number that fences writes.
    pub fence: u64,
    /// The owner's own choice.
    pub cookie: u64,
    pub(crate) place: u64,
}

/// Who has a lock, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holder {
    /// Process id in the holder's own PID namespace.
    pub pid: u64,
    /// Milliseconds since it took the lock.
    pub age_ms: u64,
    /// How many wait.
    pub waiters: u32,
}

/// The outcome of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// It is the caller's.
    Held(Held),
    /// The time was up.
    TimedOut(Holder),
    /// The stop callback said so.
    Stopped(Holder),
    /// Too many wait already.
    Crowded(Holder),
}

/// A line of the list of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockInfo {
    /// Hash of the key; the key itself is not kept.
    pub key_hash: u64,
    /// Who has it and since when.
    pub holder: Holder,
    /// Lease, milliseconds; 0 = none.
    pub lease_ms: u64,
    /// See [`Held::fence`].
    pub fence: u64,
    /// Can the holder still run?
    pub owner_alive: bool,
}

/// Takes the lock of a key, waiting as `wait` says.
#[inline]
pub(crate) fn acquire(arena: &Arena, key: &Key, cookie: u64, wait: &Wait) -> Result<Acquired> {
    let bucket = Bucket::of(arena, key)?;
    let entry = match bucket.find(key) {
        None => bucket.create(key)?,
        Some(entry) => {
            if bucket.owned_by(entry, cookie) {
                let fence = bucket.get(entry, locks::FENCE);
                return Ok(Acquired::Held(Held { fence, cookie, place: entry.place }));
            }
            if !bucket.is_free(entry) || bucket.lowest_ticket(entry).is_some() {
                return queue(bucket, entry, key, cookie, wait);
            }
            entry
        }
    };
    Ok(Acquired::Held(bucket.take(entry, cookie, wait.lease)))
}

/// Gives a lock back. False: it was not the caller's any more.
pub(crate) fn release(arena: &Arena, key: &Key, held: &Held) -> Result<bool> {
    let bucket = Bucket::of(arena, key)?;
    let Some(entry) = bucket.held_at(key, held) else { return Ok(false) };
    bucket.pass_on(entry);
    Ok(true)
}

/// Starts the lease over. False: the lock is lost.
pub(crate) fn renew(
    arena: &Arena,
    key: &Key,
    held: &Held,
    lease: Option<Duration>,
) -> Result<bool> {
    let bucket = Bucket::of(arena, key)?;
    let Some(entry) = bucket.held_at(key, held) else { return Ok(false) };
    bucket.set(entry, locks::LEASE_MS, lease.map_or(0, |l| l.as_millis().max(1) as u64));
    // When, and another number each time: waiters look whether it changes.
    let renewed = bucket.get(entry, locks::RENEWED);
    bucket.set(entry, locks::RENEWED, clock::mono_ms().max(renewed.saturating_add(1)));
    Ok(true)
}

/// Is the lock still the caller's? If so nobody can take it while the answer lives.
#[inline]
pub(crate) fn confirm<'a>(arena: &'a Arena, key: &Key, held: &Held) -> Result<Option<Bucket<'a>>> {
    let bucket = Bucket::of(arena, key)?;
    Ok(bucket.held_at(key, held).is_some().then_some(bucket))
}

/// Does anybody have the lock of this key?
pub(crate) fn is_held(arena: &Arena, key: &Key) -> Result<bool> {
    let bucket = Bucket::of(arena, key)?;
    Ok(bucket.find(key).is_some_and(|entry| !bucket.is_free(entry)))
}

/// Up to `limit` locks that are held now.
pub(crate) fn list(arena: &Arena, limit: usize) -> Result<Vec<LockInfo>> {
    let mut found = Vec::new();
    for number in 0..LOCK_BUCKETS {
        let names = arena.meta.line(arena.geometry.lock_bucket(number));
        if names[1..].iter().all(|name| *name == 0) {
            continue;
        }
        let bucket = Bucket::latch(arena, number)?;
        for way in 0..LOCK_WAYS {
            let entry = bucket.entry(way);
            let (name, owner) = (arena.meta.load(entry.name_at), bucket.get(entry, locks::OWNER));
            if name == 0 || owner == 0 {
                continue;
            }
            if found.len() == limit {
                return Ok(found);
            }
            let info = LockInfo {
                key_hash: name,
                holder: bucket.holder(entry),
                lease_ms: bucket.get(entry, locks::LEASE_MS),
                fence: bucket.get(entry, locks::FENCE),
                owner_alive: !arena.is_gone(owner),
            };
            push(&mut found, info)?;
        }
    }
    Ok(found)
}

/// How many the living hold and how many of them wait, for statistics; no latch is taken. What the
/// dead left stays in the table until somebody needs it.
pub(crate) fn census(arena: &Arena) -> (u64, u64) {
    let is_held = |place: &u64| {
        let bucket = arena.geometry.lock_bucket(place / LOCK_WAYS);
        arena.meta.load(bucket + locks::NAMES + place % LOCK_WAYS * 8) != 0
            && !arena.is_gone(arena.meta.load(arena.geometry.lock_entry(*place) + locks::OWNER))
    };
    let waits = |ticket: &Ticket| {
        arena.meta.load(ticket.at(arena) + locks::TICKET_ENTRY) != 0
            && !arena.is_gone(ticket.owner(arena))
    };
    let held = (0..LOCK_BUCKETS * LOCK_WAYS).filter(is_held).count();
    (held as u64, Ticket::all(arena).filter(waits).count() as u64)
}

/// Before a process slot is used again: nothing in the table bears its old owner's number.
pub(crate) fn heal(arena: &Arena, dead: impl Fn(u32) -> bool) {
    for number in 0..LOCK_BUCKETS {
        let cell = arena.meta.cell(arena.geometry.lock_bucket(number) + locks::LATCH);
        if latch::owner(cell).is_some_and(&dead) {
            latch::release(cell);
        }
    }
    for ticket in Ticket::all(arena) {
        if (ticket.owner(arena) & 0xffff).checked_sub(1).is_some_and(|s| dead(s as u32)) {
            ticket.free(arena);
        }
    }
}

/// Nobody is attached but the caller: nobody holds or waits.
pub(crate) fn forget_all(arena: &Arena) {
    for number in 0..LOCK_BUCKETS {
        let at = arena.geometry.lock_bucket(number);
        for word in 0..=LOCK_WAYS {
            arena.meta.store(at + word * 8, 0);
        }
    }
    for ticket in Ticket::all(arena) {
        ticket.free(arena);
    }
    arena.meta.store(word::TICKETS_HIGH, 0);
}
