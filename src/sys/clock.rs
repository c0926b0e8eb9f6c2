//! Time, behind a seam so that tests can move it.
//!
//! `boot_ms` runs on while the machine sleeps and never goes back: lifetimes are counted on it.
//! `mono_ms` is for waits. `wall_ms` is looked at only when a store is opened first after a boot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::words;

/// A clock that a test moves by hand.
pub trait Clock: Send + Sync {
    /// Milliseconds since the boot of the machine, also while it slept.
    fn boot_ms(&self) -> u64;
    /// Milliseconds since 1970 by the wall clock.
    fn wall_ms(&self) -> u64;
}

/// The machine's clocks, or a test's.
pub(crate) struct Time {
    test: Option<Arc<dyn Clock>>,
    /// Boot time minus coarse monotonic time, and when it was taken: it changes only in a suspend.
    asleep_ms: AtomicU64,
    taken_ms: AtomicU64,
}

fn now(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that is ours. It cannot fail for the clocks used here.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now
}

fn read(clock: libc::clockid_t) -> u64 {
    let now = now(clock);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// The monotonic clock to the nanosecond, for moments that the kernel is told.
pub(crate) fn mono() -> Duration {
    if let Some(moment) = words::now() {
        return moment;
    }
    let now = now(libc::CLOCK_MONOTONIC);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Milliseconds of the monotonic clock at the kernel's tick (1 to 10 ms): 4 ns instead of 22.
#[inline]
pub(crate) fn mono_ms() -> u64 {
    match words::now() {
        Some(moment) => moment.as_millis() as u64,
        None => read(libc::CLOCK_MONOTONIC_COARSE),
    }
}

impl Time {
    pub(crate) fn new(test: Option<Arc<dyn Clock>>) -> Time {
        Time { test, asleep_ms: AtomicU64::new(0), taken_ms: AtomicU64::new(u64::MAX) }
    }

    #[inline]
    pub(crate) fn boot_ms(&self) -> u64 {
        if let Some(test) = &self.test {
            return test.boot_ms();
        }
        let mono = mono_ms();
        if mono.wrapping_sub(self.taken_ms.load(Ordering::Relaxed)) > 1000 {
            self.asleep_ms.store(
                read(libc::CLOCK_BOOTTIME).saturating_sub(read(libc::CLOCK_MONOTONIC)),
                Ordering::Relaxed,
            );
            self.taken_ms.store(mono, Ordering::Relaxed);
        }
        mono + self.asleep_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        match &self.test {
            Some(test) => test.wall_ms(),
            None => read(libc::CLOCK_REALTIME),
        }
    }
}
