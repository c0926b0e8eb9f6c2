//! Waiting in the kernel on a 32-bit word that several processes share.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::fault;

/// Sleeps while `*word == seen`, at most `limit`. Returns for any reason: look again.
pub(crate) fn wait(word: &AtomicU32, seen: u32, limit: Duration) {
    let limit = libc::timespec {
        tv_sec: limit.as_secs().min(3600) as libc::time_t,
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the word outlives the call; the kernel only compares it. Not FUTEX_PRIVATE: the
    // word lies in a shared mapping.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &limit);
    }
}

/// Wakes up to `count` sleepers.
pub(crate) fn wake(word: &AtomicU32, count: i32) {
    fault::step();
    // SAFETY: as in `wait`.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count);
    }
}
