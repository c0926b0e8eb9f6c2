//! A lock between the threads of one process that a fork may interrupt.
//!
//! Ordinary mutexes keep their waiters in tables of their own; in the child of a fork those tables
//! may be locked by threads that do not exist there. This one is a single word, and the child just
//! opens it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::futex;
use super::words::Cell;

const OPEN: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and somebody sleeps on it.
const AWAITED: u32 = 2;

pub(crate) struct Gate(Cell);

impl Gate {
    pub(crate) const fn new() -> Gate {
        Gate(Cell::new(OPEN))
    }

    pub(crate) fn close(&self) {
        if self.0.compare_exchange(OPEN, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        while self.0.swap(AWAITED, Ordering::Acquire) != OPEN {
            futex::wait(&self.0, AWAITED, Duration::from_secs(1));
        }
    }

    /// The caller closed it.
    pub(crate) fn open(&self) {
        if self.0.swap(OPEN, Ordering::Release) == AWAITED {
            futex::wake(&self.0, 1);
        }
    }

    /// In the child of a fork: whoever else waited or held is not here.
    pub(crate) fn open_in_child(&self) {
        self.0.store(OPEN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let gate = Gate::new();
        let count = std::cell::UnsafeCell::new(0u64);
        struct Shared<'a>(&'a std::cell::UnsafeCell<u64>);
        // SAFETY: every access below is made with the gate closed.
        unsafe impl Sync for Shared<'_> {}
        let shared = Shared(&count);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (gate, shared) = (&gate, &shared);
                scope.spawn(move || {
                    for _ in 0..500 {
                        gate.close();
                        // SAFETY: the gate is closed, so this thread alone is here.
                        unsafe { *shared.0.get() += 1 };
                        gate.open();
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 2000);
    }
}
