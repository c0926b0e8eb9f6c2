//! The session locks that a connection holds.
//!
//! `add` of the key of a lock takes the store's own lock of that session, so that workers on the
//! wire and workers with the store in their own process exclude each other. The owner is the
//! connection; the lease is the expiry that it gave. A lock that was lost stays listed until it is
//! given back or taken anew, so that none of the connection's late writes passes unfenced. Nothing
//! here waits: clients poll. Called by the executor.
//!
//! Those who wait in line, in their own process, and those who poll take turns; the store sees to it.

use std::time::{Duration, Instant};

use holdfast::backend::Backend;
use holdfast::{Acquired, Held, Result, Wait};

use crate::limits::LOCKS_PER_CONNECTION;

/// One lock, as far as its owner knows.
struct Lock {
    session: Box<[u8]>,
    held: Held,
    taken: Instant,
    lease: Option<Duration>,
}

impl Lock {
    /// Of its lease; `None` = it has none.
    fn left(&self) -> Option<Duration> {
        self.lease.map(|lease| lease.saturating_sub(self.taken.elapsed()))
    }

    fn is_over(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

/// The outcome of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is the connection's, under this fence.
    Taken(u64),
    /// Somebody has it; perhaps this connection.
    Denied,
    /// The connection has as many as it may.
    TooMany,
}

/// The locks of one connection.
pub(crate) struct Locks {
    /// The owner's name in the store's table.
    cookie: u64,
    held: Vec<Lock>,
}

impl Locks {
    pub(crate) fn new(cookie: u64) -> Locks {
        Locks { cookie, held: Vec::new() }
    }

    fn place(&self, session: &[u8]) -> Option<usize> {
        self.held.iter().position(|lock| *lock.session == *session)
    }

    /// The lock under which this connection writes a key, if it took one.
    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> Option<Held> {
        if self.held.is_empty() {
            return None;
        }
        self.place(key).map(|place| self.held[place].held)
    }

    /// The lock of a session, if this connection has it and nobody may have taken it meanwhile: its
    /// fence, and what is left of its lease.
    pub(crate) fn look(&self, session: &[u8]) -> Option<(u64, Option<Duration>)> {
        let lock = self.held.get(self.place(session)?).filter(|lock| !lock.is_over())?;
        Some((lock.held.fence, lock.left()))
    }

    /// Tries to take the lock of a session.
    pub(crate) fn take(
        &mut self,
        store: &dyn Backend,
        session: &[u8],
        lease: Option<Duration>,
    ) -> Result<Asked> {
        let place = self.place(session);
        if place.is_none() && self.held.len() >= LOCKS_PER_CONNECTION {
            return Ok(Asked::TooMany);
        }
        let wait = Wait { timeout: Some(Duration::ZERO), lease, polls: true, ..Wait::default() };
        let Acquired::Held(held) = store.lock(session, self.cookie, &wait)? else {
            return Ok(Asked::Denied);
        };
        let lock = Lock { session: session.into(), held, taken: Instant::now(), lease };
        match place.and_then(|place| self.held.get_mut(place)) {
            None => self.held.push(lock),
            // The store gives an owner the lock that it has once more: this one is not lost.
            Some(mine) if mine.held.fence == held.fence => {
                // Its own request ended without giving it back, and nobody else came.
                if !mine.is_over() || !store.renew(session, &held, lease)? {
                    return Ok(Asked::Denied);
                }
                *mine = lock;
            }
            Some(lost) => *lost = lock,
        }
        Ok(Asked::Taken(held.fence))
    }

    /// Gives a lock back; false if it was not this connection's any more.
    pub(crate) fn give_back(&mut self, store: &dyn Backend, session: &[u8]) -> Result<bool> {
        let Some(place) = self.place(session) else { return Ok(false) };
        let lock = self.held.swap_remove(place);
        store.unlock(session, &lock.held)
    }

    /// Starts its lease over; false if it is not this connection's any more.
    pub(crate) fn renew(
        &mut self,
        store: &dyn Backend,
        session: &[u8],
        lease: Option<Duration>,
    ) -> Result<bool> {
        let Some(place) = self.place(session) else { return Ok(false) };
        let mine = &mut self.held[place];
        let renewed = store.renew(session, &mine.held, lease)?;
        if renewed {
            (mine.taken, mine.lease) = (Instant::now(), lease);
        }
        Ok(renewed)
    }

    /// The connection ends: whoever comes next need not wait for any lease.
    pub(crate) fn give_all_back(&mut self, store: &dyn Backend) {
        for lock in self.held.drain(..) {
            // If it fails the process's own end or the lease frees it.
            let _ = store.unlock(&lock.session, &lock.held);
        }
    }
}
