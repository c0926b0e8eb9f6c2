//! Fault points: every store to shared memory is one, and every change of the directory. Without
//! the feature `faults` they are nothing.
//!
//! With it, a test arms the process to end, as by SIGKILL, just before its n-th store. Stepping n
//! from 1 until the operation completes leaves the image of a death at every step.

#[cfg(feature = "faults")]
mod armed {
    use std::sync::atomic::{AtomicU64, Ordering};

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

    /// The process ends just before its `n`-th store from now on; `u64::MAX` disarms.
    pub fn arm(n: u64) {
        LEFT.store(n, Ordering::Relaxed);
    }

    /// How many stores are left; tells a test how many an operation made.
    pub fn left() -> u64 {
        LEFT.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn step() {
        if LEFT.load(Ordering::Relaxed) == u64::MAX {
            return;
        }
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: kill and pause have no memory obligations; the process ends here.
            unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
        }
    }
}

#[cfg(feature = "faults")]
pub use armed::*;

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn step() {}
