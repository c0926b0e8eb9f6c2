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

use std::time::Duration;

use crate::arena::{Arena, Count, Timed, locks, word};
use crate::error::{Error, Result, push};
use crate::key::Key;
use crate::limits::{LOCK_BUCKETS, LOCK_WAYS, TICKETS};
use crate::sys::latch::{self, Taken};
use crate::sys::{clock, futex};

/// How long the one whose turn it is may take to come.
const RESERVATION_MS: u64 = 20;
/// How long the lock is left to those who poll: each of them comes in this time.
const POLLS_MS: u64 = 200;
/// Whoever was refused longer ago has given up.
const POLLED_MAX_MS: u64 = 2 * POLLS_MS;
/// In place of a ticket's number: reserved for those who poll.
const POLLERS: u64 = u64::MAX;
/// The first waiter looks this often.
const HEAD_SLICE: Duration = Duration::from_millis(10);
/// The others ask their stop callback this often, and look the less often the more are before them:
/// hundreds who all looked would keep each other from it.
const SLICE: Duration = Duration::from_millis(40);
/// Slices between two looks, at most.
const LOOK_SLICES: u32 = 50;

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

/// A bucket whose latch this thread holds.
pub(crate) struct Bucket<'a> {
    arena: &'a Arena,
    at: u64,
}

/// An entry of a latched bucket.
#[derive(Clone, Copy)]
struct Entry {
    name_at: u64,
    at: u64,
    place: u64,
}

fn name_of(key: &Key) -> u64 {
    key.hash.max(1)
}

impl<'a> Bucket<'a> {
    #[inline]
    fn latch(arena: &'a Arena, number: u64) -> Result<Bucket<'a>> {
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
    fn of(arena: &'a Arena, key: &Key) -> Result<Bucket<'a>> {
        Bucket::latch(arena, key.hash >> 24 & (LOCK_BUCKETS - 1))
    }

    fn number(&self) -> u64 {
        (self.at - self.arena.geometry.lock_bucket(0)) / locks::BUCKET_BYTES
    }

    fn entry(&self, way: u64) -> Entry {
        let place = self.number() * LOCK_WAYS + way;
        Entry {
            name_at: self.at + locks::NAMES + way * 8,
            at: self.arena.geometry.lock_entry(place),
            place,
        }
    }

    fn get(&self, entry: Entry, field: u64) -> u64 {
        self.arena.meta.load(entry.at + field)
    }

    fn set(&self, entry: Entry, field: u64, value: u64) {
        self.arena.meta.store(entry.at + field, value)
    }

    #[inline]
    fn find(&self, key: &Key) -> Option<Entry> {
        let line = self.arena.meta.line(self.at);
        let way = (0..LOCK_WAYS).find(|way| line[1 + *way as usize] == name_of(key))?;
        let entry = self.entry(way);
        (self.get(entry, locks::SECOND_HASH) == self.arena.hash.second(key.bytes)).then_some(entry)
    }

    /// A new entry that nobody owns yet.
    fn create(&self, key: &Key) -> Result<Entry> {
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
    fn is_left_behind(&self, entry: Entry) -> bool {
        let owner = self.get(entry, locks::OWNER);
        (owner == 0 || self.arena.is_gone(owner)) && self.lowest_ticket(entry).is_none()
    }

    fn owned_by(&self, entry: Entry, cookie: u64) -> bool {
        self.get(entry, locks::OWNER) == self.arena.identity()
            && self.get(entry, locks::COOKIE) == cookie
    }

    /// Nobody has it, or whoever has it is dead.
    fn is_free(&self, entry: Entry) -> bool {
        let owner = self.get(entry, locks::OWNER);
        owner == 0 || self.arena.is_gone(owner)
    }

    /// By the clock: has the holder had it for its lease, since it took or renewed it?
    fn lease_is_over(&self, entry: Entry) -> bool {
        let lease = self.get(entry, locks::LEASE_MS);
        let since = self.get(entry, locks::SINCE_MS).max(self.get(entry, locks::RENEWED));
        lease != 0 && clock::mono_ms().saturating_sub(since) >= lease
    }

    fn holder(&self, entry: Entry) -> Holder {
        Holder {
            pid: self.arena.pid_of(self.get(entry, locks::OWNER)),
            age_ms: clock::mono_ms().saturating_sub(self.get(entry, locks::SINCE_MS)),
            waiters: self.get(entry, locks::WAITERS) as u32,
        }
    }

    /// Makes the caller the owner; the owner word last, so that a death leaves no half owner.
    #[inline(always)]
    fn take(&self, entry: Entry, cookie: u64, lease: Option<Duration>) -> Held {
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
    fn held_at(&self, key: &Key, held: &Held) -> Option<Entry> {
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
    fn pass_on(&self, entry: Entry) {
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
    fn note_poll(&self, entry: Entry) {
        let had_it = self.get(entry, locks::POLLED) & 1;
        self.set(entry, locks::POLLED, clock::mono_ms() << 1 | had_it);
    }

    /// Is it the turn of those who poll? Whoever is asking takes note that it was.
    #[cold]
    fn is_for_pollers(&self, entry: Entry) -> bool {
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
    fn reserve_for_pollers(&self, entry: Entry) {
        self.set(entry, locks::RESERVED_UNTIL_MS, clock::mono_ms() + POLLS_MS);
        self.set(entry, locks::RESERVED_FOR, POLLERS);
    }

    /// Takes what is reserved for those who poll.
    #[cold]
    fn take_polled(&self, entry: Entry, cookie: u64, lease: Option<Duration>) -> Option<Held> {
        if !self.is_free(entry) || self.get(entry, locks::RESERVED_FOR) != POLLERS {
            return None;
        }
        self.set(entry, locks::POLLED, self.get(entry, locks::POLLED) | 1);
        Some(self.take(entry, cookie, lease))
    }

    #[cold]
    fn reserve_for(&self, entry: Entry, ticket: Ticket) {
        self.set(entry, locks::RESERVED_UNTIL_MS, clock::mono_ms() + RESERVATION_MS);
        self.set(entry, locks::RESERVED_FOR, ticket.number(self.arena));
        ticket.wake(self.arena);
    }

    /// The living ticket with the lowest number; the dead met on the way are removed.
    fn lowest_ticket(&self, entry: Entry) -> Option<Ticket> {
        self.lowest_ticket_above(entry, 0)
    }

    fn lowest_ticket_above(&self, entry: Entry, above: u64) -> Option<Ticket> {
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

    fn tickets(&self, entry: Entry) -> impl Iterator<Item = Ticket> {
        let arena = self.arena;
        Ticket::all(arena).filter(move |ticket| ticket.waits_for(arena, entry.place))
    }

    fn tickets_before(&self, entry: Entry, number: u64) -> u32 {
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
struct Ticket(u64);

impl Ticket {
    fn all(arena: &Arena) -> impl Iterator<Item = Ticket> {
        (0..arena.meta.load(word::TICKETS_HIGH).min(TICKETS)).map(Ticket)
    }

    fn at(self, arena: &Arena) -> u64 {
        arena.geometry.ticket(self.0)
    }

    /// Claims a free one; freed lowest first, so that scans stay short.
    fn claim(arena: &Arena) -> Result<Ticket> {
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

    fn free(self, arena: &Arena) {
        arena.meta.store(self.at(arena) + locks::TICKET_ENTRY, 0);
        arena.meta.store(self.at(arena) + locks::TICKET_OWNER, 0);
    }

    fn owner(self, arena: &Arena) -> u64 {
        arena.meta.load(self.at(arena) + locks::TICKET_OWNER)
    }

    fn number(self, arena: &Arena) -> u64 {
        arena.meta.load(self.at(arena) + locks::TICKET_NUMBER)
    }

    fn waits_for(self, arena: &Arena, place: u64) -> bool {
        arena.meta.load(self.at(arena) + locks::TICKET_ENTRY) == place + 1
    }

    fn wake(self, arena: &Arena) {
        let cell = arena.meta.cell(self.at(arena) + locks::TICKET_FUTEX);
        cell.fetch_add(1, std::sync::atomic::Ordering::Release);
        futex::wake(cell, 1);
    }
}

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

#[cold]
fn queue(bucket: Bucket, entry: Entry, key: &Key, cookie: u64, wait: &Wait) -> Result<Acquired> {
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
