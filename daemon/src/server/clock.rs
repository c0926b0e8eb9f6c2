//! The clock of a server that tests move: the machine's, and so many seconds more or less.

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The machine's clocks, moved.
#[derive(Debug, Default)]
pub(super) struct TestClock {
    moved_ms: AtomicI64,
}

impl TestClock {
    /// By so many seconds more.
    pub(super) fn move_by(&self, seconds: i64) {
        self.moved_ms.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
    }

    fn read(&self, clock: ClockId) -> u64 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        let now = tv_sec.saturating_mul(1000).saturating_add(tv_nsec / 1_000_000);
        u64::try_from(now.saturating_add(self.moved_ms.load(Ordering::Relaxed))).unwrap_or(0)
    }
}

impl holdfast::Clock for TestClock {
    fn boot_ms(&self) -> u64 {
        self.read(ClockId::Boottime)
    }

    fn wall_ms(&self) -> u64 {
        self.read(ClockId::Realtime)
    }
}
