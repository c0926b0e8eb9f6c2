//! Fault points: every store to shared memory is one, and every change of the directory. Without
//! the feature `faults` they are nothing.
//!
//! With it, a test arms the process to end, as by SIGKILL, just before its n-th store (or to stop
//! there for good, so that somebody else ends it). Stepping n from 1 until the operation
//! completes leaves the image of a death at every step. Or it arms a
//! panic there instead: what an assertion that does not hold would do. Or it looks at the files
//! before each store of its own thread, for what a power cut would leave there.
//!
//! A test can also make this process's library one of another format, older or newer.

#[cfg(feature = "faults")]
mod armed {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU16, AtomicU64, Ordering};

    /// What a test that watches is told of.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Step {
        /// A store to shared memory or a change of the directory is about to be made.
        Change,
        /// The directory was synced.
        DirectorySynced,
    }

    thread_local! {
        static WATCH: Cell<Option<fn(Step)>> = const { Cell::new(None) };
    }

    /// Calls this at each step of this thread from now on; `None` ends that. Gives what was called
    /// before.
    pub fn watch(look: Option<fn(Step)>) -> Option<fn(Step)> {
        WATCH.replace(look)
    }

    pub(crate) fn directory_synced() {
        if let Some(look) = WATCH.get() {
            look(Step::DirectorySynced);
        }
    }

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);
    static PANICS: AtomicBool = AtomicBool::new(false);
    static SIGNAL: AtomicI32 = AtomicI32::new(libc::SIGKILL);

    /// The process ends just before its `n`-th store from now on; `u64::MAX` disarms.
    pub fn arm(n: u64) {
        PANICS.store(false, Ordering::Relaxed);
        LEFT.store(n, Ordering::Relaxed);
    }

    /// The same, but it panics. (A panic that would come while a latch is given back is left out:
    /// nothing there can fail.)
    pub fn arm_panic(n: u64) {
        PANICS.store(true, Ordering::Relaxed);
        LEFT.store(n, Ordering::Relaxed);
    }

    /// What the process gets at that store: a signal, or 0 for nothing, and then it stays there.
    pub fn die_by(signal: i32) {
        SIGNAL.store(signal, Ordering::Relaxed);
    }

    /// How many stores are left; tells a test how many an operation made.
    pub fn left() -> u64 {
        LEFT.load(Ordering::Relaxed)
    }

    static MINOR: AtomicU16 = AtomicU16::new(u16::MAX);
    static LAYOUT: AtomicU8 = AtomicU8::new(u8::MAX);

    /// From now on this process writes that minor version, and takes a `meta` of that layout alone
    /// for one of its own. Before it opens a store.
    pub fn pretend(minor: u16, layout: u8) {
        MINOR.store(minor, Ordering::Relaxed);
        LAYOUT.store(layout, Ordering::Relaxed);
    }

    pub(crate) fn minor(real: u16) -> u16 {
        Some(MINOR.load(Ordering::Relaxed)).filter(|minor| *minor != u16::MAX).unwrap_or(real)
    }

    /// The magic of `meta`, whose seventh byte is its layout.
    pub(crate) fn magic(real: u64) -> u64 {
        match LAYOUT.load(Ordering::Relaxed) {
            u8::MAX => real,
            layout => real & !(0xff << 48) | (layout as u64) << 48,
        }
    }

    #[inline]
    pub(crate) fn step() {
        if PANICS.load(Ordering::Relaxed) && LEFT.load(Ordering::Relaxed) != u64::MAX {
            if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
                arm(u64::MAX);
                panic!("injected by a test");
            }
            return;
        }
        unfailing_step();
    }

    /// A step of code in which nothing can panic.
    #[inline]
    pub(crate) fn unfailing_step() {
        if let Some(look) = WATCH.get() {
            look(Step::Change);
        }
        if LEFT.load(Ordering::Relaxed) == u64::MAX || PANICS.load(Ordering::Relaxed) {
            return;
        }
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: kill and pause have no memory obligations; the process ends here.
            unsafe {
                libc::kill(libc::getpid(), SIGNAL.load(Ordering::Relaxed));
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

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn unfailing_step() {}

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn directory_synced() {}

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn minor(real: u16) -> u16 {
    real
}

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn magic(real: u64) -> u64 {
    real
}
