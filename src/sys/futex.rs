//! Waiting in the kernel on a 32-bit word that several processes share.

use std::time::Duration;

use super::words::{self, Cell};
use super::{clock, fault};

/// Sleeps while `*word == seen`, at most `limit`. Returns for any reason: look again.
pub(crate) fn wait(word: &Cell, seen: u32, limit: Duration) {
    if words::sleep(limit) {
        return;
    }
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

/// The same for those who wait for different things at one word: a waker names them by `kinds`.
pub(crate) fn wait_for(word: &Cell, seen: u32, limit: Duration, kinds: u32) {
    if words::sleep(limit) {
        return;
    }
    // For this call the kernel wants the moment, not the time until then.
    let until = clock::mono() + limit.min(Duration::from_secs(3600));
    let until = libc::timespec {
        tv_sec: until.as_secs() as libc::time_t,
        tv_nsec: until.subsec_nanos() as libc::c_long,
    };
    // SAFETY: as in `wait`; there is no second word.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            seen,
            &until,
            std::ptr::null::<u32>(),
            kinds,
        );
    }
}

/// Wakes up to `count` of those who wait for one of these kinds.
pub(crate) fn wake_those(word: &Cell, count: i32, kinds: u32) {
    fault::unfailing_step();
    let (no_time, no_word) = (std::ptr::null::<libc::timespec>(), std::ptr::null::<u32>());
    // SAFETY: as in `wait`.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_BITSET,
            count,
            no_time,
            no_word,
            kinds,
        );
    }
}

/// Wakes up to `count` sleepers.
pub(crate) fn wake(word: &Cell, count: i32) {
    fault::unfailing_step();
    // SAFETY: as in `wait`.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count);
    }
}
