//! Waiting in line for a lock.

use std::time::Duration;

use super::table::{Bucket, Entry, Ticket};
use super::{Acquired, Wait};
use crate::arena::{Arena, Count, Timed, locks};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::limits::LOCK_WAYS;
use crate::sys::{clock, futex};

/// The first waiter looks this often.
const HEAD_SLICE: Duration = Duration::from_millis(10);
/// The others ask their stop callback this often, and look the less often the more are before them:
/// hundreds who all looked would keep each other from it.
const SLICE: Duration = Duration::from_millis(40);
/// Slices between two looks, at most.
const LOOK_SLICES: u32 = 50;

/// A queued waiter: leaves the queue, and passes on what was reserved for it, however it ends.
struct Queued<'a> {
    arena: &'a Arena,
    ticket: Ticket,
    place: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Ok(bucket) = Bucket::latch(self.arena, self.place / LOCK_WAYS) else {
            return self.ticket.free(self.arena);
        };
        let entry = bucket.entry(self.place % LOCK_WAYS);
        let number = self.ticket.number(self.arena);
        let ours = self.ticket.waits_for(self.arena, self.place);
        self.ticket.free(self.arena);
        if !ours {
            return;
        }
        let waiters = bucket.get(entry, locks::WAITERS);
        bucket.set(entry, locks::WAITERS, waiters.saturating_sub(1));
        if bucket.get(entry, locks::OWNER) == 0
            && (bucket.get(entry, locks::RESERVED_FOR) == number || waiters <= 1)
        {
            bucket.pass_on(entry);
        }
    }
}

#[cold]
pub(super) fn queue(
    bucket: Bucket,
    entry: Entry,
    key: &Key,
    cookie: u64,
    wait: &Wait,
) -> Result<Acquired> {
    let arena = bucket.arena;
    let holder = bucket.holder(entry);
    if wait.timeout == Some(Duration::ZERO) {
        // Whoever only tries never sees the holder for a lease's length, so it goes by the clock.
        if bucket.lease_is_over(entry) && bucket.lowest_ticket(entry).is_none() {
            arena.count(Count::LockBroken);
            return Ok(Acquired::Held(bucket.take(entry, cookie, wait.lease)));
        }
        if wait.polls {
            if let Some(held) = bucket.take_polled(entry, cookie, wait.lease) {
                return Ok(Acquired::Held(held));
            }
            bucket.note_poll(entry);
        }
        return Ok(Acquired::TimedOut(holder));
    }
    if wait.max_waiters > 0 && holder.waiters >= wait.max_waiters {
        return Ok(Acquired::Crowded(holder));
    }
    let ticket = Ticket::claim(arena)?;
    let begun = clock::mono();
    let number = bucket.get(entry, locks::NEXT_TICKET);
    bucket.set(entry, locks::NEXT_TICKET, number.wrapping_add(1));
    arena.meta.store(ticket.at(arena) + locks::TICKET_NUMBER, number);
    arena.meta.store(ticket.at(arena) + locks::TICKET_ENTRY, entry.place + 1);
    let waiters = bucket.get(entry, locks::WAITERS);
    bucket.set(entry, locks::WAITERS, waiters.wrapping_add(1));
    let queued = Queued { arena, ticket, place: entry.place };
    arena.count(Count::LockWaited);
    drop(bucket);
    let ended = wait_in_line(queued, key, cookie, wait);
    // However it ended: those who gave up waited the longest.
    arena.count_time(Timed::LockWait, clock::mono().saturating_sub(begun));
    ended
}

/// What a waiter has seen of the holder: a lease is over when that stays the same for its length.
struct Seen {
    fence: u64,
    renewed: u64,
    /// Of the monotonic clock.
    since: Duration,
}

fn wait_in_line(queued: Queued, key: &Key, cookie: u64, wait: &Wait) -> Result<Acquired> {
    let arena = queued.arena;
    let started = clock::mono();
    let mut seen = Seen { fence: 0, renewed: 0, since: started };
    let cell = arena.meta.cell(queued.ticket.at(arena) + locks::TICKET_FUTEX);
    let (mut heard, mut look_at, mut slice) = (None, started, HEAD_SLICE);
    loop {
        let word = cell.load(std::sync::atomic::Ordering::Acquire);
        let now = clock::mono();
        let stop = wait.stop.is_some_and(|stop| stop());
        let over = wait.timeout.is_some_and(|limit| now.saturating_sub(started) >= limit);
        if stop || over || heard != Some(word) || now >= look_at {
            heard = Some(word);
            let bucket = Bucket::of(arena, key)?;
            let entry = bucket.entry(queued.place % LOCK_WAYS);
            if bucket.find(key).map(|found| found.place) != Some(entry.place) {
                return Err(Error::Damaged("the table of session locks".into()));
            }
            match turn(&bucket, entry, &queued, &mut seen) {
                Turn::Take { broken } => {
                    let waiters = bucket.get(entry, locks::WAITERS);
                    bucket.set(entry, locks::WAITERS, waiters.saturating_sub(1));
                    if broken {
                        arena.count(Count::LockBroken);
                    }
                    let held = bucket.take(entry, cookie, wait.lease);
                    arena.meta.store(queued.ticket.at(arena) + locks::TICKET_ENTRY, 0);
                    drop(bucket);
                    return Ok(Acquired::Held(held));
                }
                Turn::Wait { ahead } => {
                    slice = if ahead == 0 { HEAD_SLICE } else { SLICE };
                    look_at = now + slice * (1 + ahead / 4).min(LOOK_SLICES);
                }
            }
            if stop {
                return Ok(Acquired::Stopped(bucket.holder(entry)));
            }
            if over {
                arena.count(Count::LockTimeouts);
                return Ok(Acquired::TimedOut(bucket.holder(entry)));
            }
        }
        let mut limit = look_at.saturating_sub(now);
        if wait.stop.is_some() {
            limit = limit.min(slice);
        }
        if let Some(timeout) = wait.timeout {
            limit = limit.min(timeout.saturating_sub(now.saturating_sub(started)));
        }
        futex::wait(cell, word, limit.max(Duration::from_millis(1)));
    }
}

enum Turn {
    Take {
        broken: bool,
    },
    /// So many are before.
    Wait {
        ahead: u32,
    },
}

/// Is it this waiter's turn? Called under the bucket's latch.
fn turn(bucket: &Bucket, entry: Entry, queued: &Queued, seen: &mut Seen) -> Turn {
    let arena = bucket.arena;
    let mine = queued.ticket.number(arena);
    // Removes the dead before the first that lives.
    bucket.lowest_ticket(entry);
    let ahead = bucket.tickets_before(entry, mine);
    let first = ahead == 0;
    // Only the first looks whether the owner lives: it is the one who would take over.
    let owner = bucket.get(entry, locks::OWNER);
    if owner == 0 || (first && arena.is_gone(owner)) {
        let reserved = bucket.get(entry, locks::RESERVED_FOR);
        let free_for_all = reserved == 0 || owner != 0;
        if reserved == mine || (free_for_all && first) {
            return Turn::Take { broken: false };
        }
        let late = clock::mono_ms() > bucket.get(entry, locks::RESERVED_UNTIL_MS);
        if free_for_all || !late {
            return Turn::Wait { ahead };
        }
        // Whoever it was reserved for did not come: the next in line, or the first again.
        let next = bucket
            .lowest_ticket_above(entry, reserved)
            .or_else(|| bucket.lowest_ticket_above(entry, 0));
        return match next {
            Some(ticket) if ticket.number(arena) == mine => Turn::Take { broken: false },
            Some(ticket) => {
                bucket.reserve_for(entry, ticket);
                Turn::Wait { ahead }
            }
            None => Turn::Take { broken: false },
        };
    }
    let (fence, renewed) = (bucket.get(entry, locks::FENCE), bucket.get(entry, locks::RENEWED));
    if (fence, renewed) != (seen.fence, seen.renewed) {
        *seen = Seen { fence, renewed, since: clock::mono() };
    }
    let lease = bucket.get(entry, locks::LEASE_MS);
    let over =
        lease != 0 && clock::mono().saturating_sub(seen.since) >= Duration::from_millis(lease);
    if over && first { Turn::Take { broken: true } } else { Turn::Wait { ahead } }
}
