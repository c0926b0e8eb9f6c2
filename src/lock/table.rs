//! The shared table: buckets of entries, each changed under its bucket's latch, and the tickets of those
//! who wait.

use super::{Held, Holder};
use crate::arena::{Arena, Count, locks, word};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::limits::{LOCK_BUCKETS, LOCK_WAYS, TICKETS};
use crate::sys::latch::{self, Taken};
use crate::sys::{clock, futex};
use std::time::Duration;

/// How long the one whose turn it is may take to come.
const RESERVATION_MS: u64 = 20;
/// How long the lock is left to those who poll: each of them comes in this time.
const POLLS_MS: u64 = 200;
/// Whoever was refused longer ago has given up.
const POLLED_MAX_MS: u64 = 2 * POLLS_MS;
/// In place of a ticket's number: reserved for those who poll.
const POLLERS: u64 = u64::MAX;

/// A bucket whose latch this thread holds.
pub(crate) struct Bucket<'a> {
    pub(super) arena: &'a Arena,
    at: u64,
}

/// An entry of a latched bucket.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) name_at: u64,
    pub(super) at: u64,
    pub(super) place: u64,
}

fn name_of(key: &Key) -> u64 {
    key.hash.max(1)
}

impl<'a> Bucket<'a> {
    #[inline]
    pub(super) fn latch(arena: &'a Arena, number: u64) -> Result<Bucket<'a>> {
        let at = arena.geometry.lock_bucket(number);
        let cell = arena.meta.cell(at + locks::LATCH);
        match latch::acquire(cell, &arena.peers, arena.operation_timeout) {
            Some(taken) => {
                if taken == Taken::Stolen {
                    arena.count(Count::LatchStolen);
                }
                Ok(Bucket { arena, at })
            }
            None => Err(arena.busy("the table of session locks", latch::owner(cell))),
        }
    }

    #[inline]
    pub(super) fn of(arena: &'a Arena, key: &Key) -> Result<Bucket<'a>> {
        Bucket::latch(arena, key.hash >> 24 & (LOCK_BUCKETS - 1))
    }

    pub(super) fn number(&self) -> u64 {
        (self.at - self.arena.geometry.lock_bucket(0)) / locks::BUCKET_BYTES
    }

    pub(super) fn entry(&self, way: u64) -> Entry {
        let place = self.number() * LOCK_WAYS + way;
        Entry {
            name_at: self.at + locks::NAMES + way * 8,
            at: self.arena.geometry.lock_entry(place),
            place,
        }
    }

    pub(super) fn get(&self, entry: Entry, field: u64) -> u64 {
        self.arena.meta.load(entry.at + field)
    }

    pub(super) fn set(&self, entry: Entry, field: u64, value: u64) {
        self.arena.meta.store(entry.at + field, value)
    }

    #[inline]
    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
        let line = self.arena.meta.line(self.at);
        let way = (0..LOCK_WAYS).find(|way| line[1 + *way as usize] == name_of(key))?;
        let entry = self.entry(way);
        (self.get(entry, locks::SECOND_HASH) == self.arena.hash.second(key.bytes)).then_some(entry)
    }

    /// A new entry that nobody owns yet.
    pub(super) fn create(&self, key: &Key) -> Result<Entry> {
        let line = self.arena.meta.line(self.at);
        let way = (0..LOCK_WAYS)
            .find(|way| line[1 + *way as usize] == 0 || self.is_left_behind(self.entry(*way)))
            .ok_or_else(|| {
                Error::TooMany("too many session locks are held at the same time".into())
            })?;
        let entry = self.entry(way);
        self.set(entry, locks::OWNER, 0);
        self.set(entry, locks::WAITERS, 0);
        self.set(entry, locks::NEXT_TICKET, 1);
        self.set(entry, locks::RESERVED_FOR, 0);
        self.set(entry, locks::POLLED, 0);
        self.set(entry, locks::SECOND_HASH, self.arena.hash.second(key.bytes));
        self.arena.meta.store(entry.name_at, name_of(key));
        Ok(entry)
    }

    /// Its owner is gone and nobody waits for it.
    pub(super) fn is_left_behind(&self, entry: Entry) -> bool {
        let owner = self.get(entry, locks::OWNER);
        (owner == 0 || self.arena.is_gone(owner)) && self.lowest_ticket(entry).is_none()
    }

    pub(super) fn owned_by(&self, entry: Entry, cookie: u64) -> bool {
        self.get(entry, locks::OWNER) == self.arena.identity()
            && self.get(entry, locks::COOKIE) == cookie
    }

    /// Nobody has it, or whoever has it is dead.
    pub(super) fn is_free(&self, entry: Entry) -> bool {
        let owner = self.get(entry, locks::OWNER);
        owner == 0 || self.arena.is_gone(owner)
    }

    /// By the clock: has the holder had it for its lease, since it took or renewed it?
    pub(super) fn lease_is_over(&self, entry: Entry) -> bool {
        let lease = self.get(entry, locks::LEASE_MS);
        let since = self.get(entry, locks::SINCE_MS).max(self.get(entry, locks::RENEWED));
        lease != 0 && clock::mono_ms().saturating_sub(since) >= lease
    }

    pub(super) fn holder(&self, entry: Entry) -> Holder {
        Holder {
            pid: self.arena.pid_of(self.get(entry, locks::OWNER)),
            age_ms: clock::mono_ms().saturating_sub(self.get(entry, locks::SINCE_MS)),
            waiters: self.get(entry, locks::WAITERS) as u32,
        }
    }

    /// Makes the caller the owner; the owner word last, so that a death leaves no half owner.
    #[inline(always)]
    pub(super) fn take(&self, entry: Entry, cookie: u64, lease: Option<Duration>) -> Held {
        let fence = self.arena.next_seq();
        if self.get(entry, locks::OWNER) != 0 {
            self.set(entry, locks::OWNER, 0);
        }
        self.set(entry, locks::COOKIE, cookie);
        self.set(entry, locks::FENCE, fence);
        self.set(entry, locks::LEASE_MS, lease.map_or(0, |l| l.as_millis().max(1) as u64));
        self.set(entry, locks::RENEWED, 0);
        self.set(entry, locks::SINCE_MS, clock::mono_ms());
        self.set(entry, locks::RESERVED_FOR, 0);
        self.set(entry, locks::OWNER, self.arena.identity());
        self.arena.count(Count::LockAcquired);
        Held { fence, cookie, place: entry.place }
    }

    #[inline]
    pub(super) fn held_at(&self, key: &Key, held: &Held) -> Option<Entry> {
        let way = held.place.checked_sub(self.number() * LOCK_WAYS).filter(|w| *w < LOCK_WAYS)?;
        let entry = self.entry(way);
        (held.fence != 0
            && self.arena.meta.load(entry.name_at) == name_of(key)
            && self.get(entry, locks::FENCE) == held.fence
            && self.get(entry, locks::OWNER) == self.arena.identity())
        .then_some(entry)
    }

    /// Passes the lock on: to the lowest living ticket, or the entry goes.
    #[inline]
    pub(super) fn pass_on(&self, entry: Entry) {
        self.set(entry, locks::OWNER, 0);
        if self.get(entry, locks::WAITERS) != 0
            && let Some(ticket) = self.lowest_ticket(entry)
        {
            return match self.is_for_pollers(entry) {
                true => self.reserve_for_pollers(entry),
                false => self.reserve_for(entry, ticket),
            };
        }
        self.arena.meta.store(entry.name_at, 0);
    }

    /// Somebody who polls was refused, and can still be there.
    #[cold]
    pub(super) fn note_poll(&self, entry: Entry) {
        let had_it = self.get(entry, locks::POLLED) & 1;
        self.set(entry, locks::POLLED, clock::mono_ms() << 1 | had_it);
    }

    /// Is it the turn of those who poll? Whoever is asking takes note that it was.
    #[cold]
    pub(super) fn is_for_pollers(&self, entry: Entry) -> bool {
        let polled = self.get(entry, locks::POLLED);
        if polled & 1 != 0 {
            self.set(entry, locks::POLLED, polled & !1);
            return false;
        }
        self.set(entry, locks::POLLED, 0);
        polled != 0 && clock::mono_ms().saturating_sub(polled >> 1) <= POLLED_MAX_MS
    }

    /// The first in line looks by itself when the time is up.
    #[cold]
    pub(super) fn reserve_for_pollers(&self, entry: Entry) {
        self.set(entry, locks::RESERVED_UNTIL_MS, clock::mono_ms() + POLLS_MS);
        self.set(entry, locks::RESERVED_FOR, POLLERS);
    }

    /// Takes what is reserved for those who poll.
    #[cold]
    pub(super) fn take_polled(
        &self,
        entry: Entry,
        cookie: u64,
        lease: Option<Duration>,
    ) -> Option<Held> {
        if !self.is_free(entry) || self.get(entry, locks::RESERVED_FOR) != POLLERS {
            return None;
        }
        self.set(entry, locks::POLLED, self.get(entry, locks::POLLED) | 1);
        Some(self.take(entry, cookie, lease))
    }

    #[cold]
    pub(super) fn reserve_for(&self, entry: Entry, ticket: Ticket) {
        self.set(entry, locks::RESERVED_UNTIL_MS, clock::mono_ms() + RESERVATION_MS);
        self.set(entry, locks::RESERVED_FOR, ticket.number(self.arena));
        ticket.wake(self.arena);
    }

    /// The living ticket with the lowest number; the dead met on the way are removed.
    pub(super) fn lowest_ticket(&self, entry: Entry) -> Option<Ticket> {
        self.lowest_ticket_above(entry, 0)
    }

    pub(super) fn lowest_ticket_above(&self, entry: Entry, above: u64) -> Option<Ticket> {
        loop {
            let mut count = 0;
            let mut lowest: Option<(u64, Ticket)> = None;
            for ticket in self.tickets(entry) {
                count += 1;
                let number = ticket.number(self.arena);
                if number > above && lowest.is_none_or(|(low, _)| number < low) {
                    lowest = Some((number, ticket));
                }
            }
            self.set(entry, locks::WAITERS, count);
            let (_, lowest) = lowest?;
            if self.arena.is_gone(lowest.owner(self.arena)) {
                lowest.free(self.arena);
                continue;
            }
            return Some(lowest);
        }
    }

    pub(super) fn tickets(&self, entry: Entry) -> impl Iterator<Item = Ticket> {
        let arena = self.arena;
        Ticket::all(arena).filter(move |ticket| ticket.waits_for(arena, entry.place))
    }

    pub(super) fn tickets_before(&self, entry: Entry, number: u64) -> u32 {
        self.tickets(entry).filter(|ticket| ticket.number(self.arena) < number).count() as u32
    }
}

impl Drop for Bucket<'_> {
    fn drop(&mut self) {
        latch::release(self.arena.meta.cell(self.at + locks::LATCH));
    }
}

/// A waiter's place in the shared table of waiters.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) fn all(arena: &Arena) -> impl Iterator<Item = Ticket> {
        (0..arena.meta.load(word::TICKETS_HIGH).min(TICKETS)).map(Ticket)
    }

    pub(super) fn at(self, arena: &Arena) -> u64 {
        arena.geometry.ticket(self.0)
    }

    /// Claims a free one; freed lowest first, so that scans stay short.
    pub(super) fn claim(arena: &Arena) -> Result<Ticket> {
        for ticket in (0..TICKETS).map(Ticket) {
            let at = ticket.at(arena);
            let owner = arena.meta.load(at + locks::TICKET_OWNER);
            if owner == 0 && arena.meta.cas(at + locks::TICKET_OWNER, 0, arena.identity()).is_ok() {
                arena.meta.store(at + locks::TICKET_ENTRY, 0);
                arena.meta.max(word::TICKETS_HIGH, ticket.0 + 1);
                return Ok(ticket);
            }
        }
        Err(Error::TooMany(format!("{TICKETS} processes and threads wait for session locks")))
    }

    pub(super) fn free(self, arena: &Arena) {
        arena.meta.store(self.at(arena) + locks::TICKET_ENTRY, 0);
        arena.meta.store(self.at(arena) + locks::TICKET_OWNER, 0);
    }

    pub(super) fn owner(self, arena: &Arena) -> u64 {
        arena.meta.load(self.at(arena) + locks::TICKET_OWNER)
    }

    pub(super) fn number(self, arena: &Arena) -> u64 {
        arena.meta.load(self.at(arena) + locks::TICKET_NUMBER)
    }

    pub(super) fn waits_for(self, arena: &Arena, place: u64) -> bool {
        arena.meta.load(self.at(arena) + locks::TICKET_ENTRY) == place + 1
    }

    pub(super) fn wake(self, arena: &Arena) {
        let cell = arena.meta.cell(self.at(arena) + locks::TICKET_FUTEX);
        cell.fetch_add(1, std::sync::atomic::Ordering::Release);
        futex::wake(cell, 1);
    }
}
