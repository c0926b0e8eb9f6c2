//! Has this process been forked since? A page that the kernel empties in every child tells.
//!
//! The child of a fork shares its parent's mappings but must never act with its parent's identity.
//! `generation` costs one load. The handler of `pthread_atfork` closes the parent's lock
//! descriptors in the child at once, because an OFD lock lives as long as any copy of its
//! descriptor: a child that kept one would keep its dead parent "alive".

use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
static LAST: AtomicU64 = AtomicU64::new(0);
static PREPARED: Once = Once::new();

/// A number that differs between a process and its children. [`prepare`] ran before.
#[inline]
pub(crate) fn generation() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return LAST.load(Ordering::Relaxed);
    }
    // SAFETY: `prepare` stored a pointer to a mapped page that is never unmapped.
    let seen = unsafe { (*page).load(Ordering::Acquire) };
    if seen != 0 { seen } else { renew() }
}

#[cold]
fn renew() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
    // SAFETY: as in `generation`.
    match unsafe { (*page).compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) } {
        Ok(_) => next,
        Err(other) => other,
    }
}

/// Once per process, at the first open: nothing happens before that.
pub(crate) fn prepare() {
    PREPARED.call_once(|| {
        // SAFETY: an anonymous mapping of our own, never unmapped; the advice and the handler
        // registration have no other obligations.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if page != libc::MAP_FAILED && libc::madvise(page, 4096, libc::MADV_WIPEONFORK) == 0 {
                PAGE.store(page as *mut AtomicU64, Ordering::Release);
            }
            LAST.store(1, Ordering::Relaxed);
            libc::pthread_atfork(Some(before), Some(parent), Some(child));
        }
        generation();
    });
}

extern "C" fn before() {
    super::peers::before_fork();
}

extern "C" fn parent() {
    super::peers::after_fork_in_parent();
}

extern "C" fn child() {
    if PAGE.load(Ordering::Acquire).is_null() {
        LAST.fetch_add(1, Ordering::AcqRel);
    }
    super::peers::after_fork_in_child();
}
