//! Has this process been forked since? A page that the kernel empties in every child tells.
//!
//! The child of a fork shares its parent's mappings but must never act with its parent's identity.
//! `generation` costs one load. The handler of `pthread_atfork` closes the parent's lock
//! descriptors in the child at once, because an OFD lock lives as long as any copy of its
//! descriptor: a child that kept one would keep its dead parent "alive".
//!
//! A fork may come while other threads of the process are here for the first time, and its child has
//! none of them. So nobody waits for anybody: each step can be taken by several, and again by a
//! child. What it may find:
//!
//! - Nothing was begun, or a page was mapped that nobody knows of: it begins by itself.
//! - The page is known, the handlers are not registered: it registers them.
//! - They are, and nobody noted it: it registers them again. A thread counts how many of a fork's
//!   handlers it is in, so they work once however often they are registered.
//! - They were registered after this fork had begun, and did not run for it: what a handler would
//!   have done is done by the first who sees the page empty, before anything else.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::peers;
use crate::error::{Error, Result};

static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// The generation of this process, or of its parent while the page is empty.
static LAST: AtomicU64 = AtomicU64::new(1);
static REGISTERED: AtomicBool = AtomicBool::new(false);
/// Forks between here and the first process that came too early for the handlers.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// In the page: somebody puts this child in order.
const RENEWING: u64 = u64::MAX;

thread_local! {
    /// How many handlers of the fork that this thread makes have begun and not ended.
    static FORKING: Cell<u32> = const { Cell::new(0) };
}

/// A number that differs between a process and its children. [`prepare`] ran before.
#[inline]
pub(crate) fn generation() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return LAST.load(Ordering::Relaxed);
    }
    // SAFETY: `map_page` stored a pointer to a mapped page that is never unmapped.
    let page = unsafe { &*page };
    match page.load(Ordering::Acquire) {
        0 | RENEWING => renew(page),
        seen => seen,
    }
}

/// In a child for which no handler ran. A fork of a child in the middle of this leaves the page
/// empty again, so there is always somebody to wait for.
#[cold]
fn renew(page: &AtomicU64) -> u64 {
    loop {
        match page.compare_exchange(0, RENEWING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                MISSED.fetch_add(1, Ordering::AcqRel);
                peers::after_fork_in_child();
                let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
                page.store(next, Ordering::Release);
                return next;
            }
            Err(RENEWING) => std::thread::yield_now(),
            Err(seen) => return seen,
        }
    }
}

/// A number that differs between a process and a child of which no handler knew: what threads of
/// the parent were changing may be half changed in that child for ever. [`generation`] ran before.
pub(crate) fn missed() -> u64 {
    MISSED.load(Ordering::Acquire)
}

/// Before anything else in a process, and in a child: nothing happens before the first open.
pub(crate) fn prepare() -> Result<()> {
    if !REGISTERED.load(Ordering::Acquire) {
        if PAGE.load(Ordering::Acquire).is_null() {
            map_page();
        }
        register()?;
        REGISTERED.store(true, Ordering::Release);
    }
    generation();
    Ok(())
}

/// Without the page (a kernel before 4.14) the handlers alone tell of forks.
fn map_page() {
    // SAFETY: an anonymous mapping of our own, unmapped only if nobody else came to know of it;
    // it is large and aligned enough for one word, and no byte of it is anything but zero.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return;
        }
        let word = page.cast::<AtomicU64>();
        let empties = libc::madvise(page, 4096, libc::MADV_WIPEONFORK) == 0;
        // Empty means a fork, also one that came since the page was mapped.
        (*word).store(LAST.load(Ordering::Relaxed), Ordering::Relaxed);
        let (none, order) = (std::ptr::null_mut(), (Ordering::AcqRel, Ordering::Relaxed));
        if !empties || PAGE.compare_exchange(none, word, order.0, order.1).is_err() {
            libc::munmap(page, 4096);
        }
    }
}

fn register() -> Result<()> {
    // SAFETY: the handlers are functions of this library, which has no other obligations here.
    match unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) } {
        0 => Ok(()),
        code => {
            let error = io::Error::from_raw_os_error(code);
            Err(Error::io("registering what a fork has to do", error))
        }
    }
}

extern "C" fn before() {
    if FORKING.replace(FORKING.get() + 1) == 0 {
        peers::before_fork();
    }
}

/// Gives how many handlers of this fork are left after the one that ends; `None` if none of them
/// ran before it: the C library took them up in between.
fn end_of_handler() -> Option<u32> {
    let left = FORKING.get().checked_sub(1)?;
    FORKING.set(left);
    Some(left)
}

extern "C" fn parent() {
    if end_of_handler() == Some(0) {
        peers::after_fork_in_parent();
    }
}

extern "C" fn child() {
    match end_of_handler() {
        Some(0) => {}
        Some(_) => return,
        None => drop(MISSED.fetch_add(1, Ordering::AcqRel)),
    }
    peers::after_fork_in_child();
    let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: as in `generation`.
        unsafe { (*page).store(next, Ordering::Release) };
    }
}

/// Something of the process that is changed under the attach guard alone. A child of which no
/// handler knew may have a copy of it in the middle of a change: it never looks at that one, and
/// begins anew.
pub(crate) struct Kept<T>(AtomicPtr<(u64, T)>);

impl<T: Default + Send> Kept<T> {
    pub(crate) const fn new() -> Kept<T> {
        Kept(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Lends it for the time of `work`.
    pub(crate) fn with<R>(
        &self,
        _guard: &mut peers::AttachGuard,
        work: impl FnOnce(&mut T) -> R,
    ) -> R {
        let mut at = self.0.load(Ordering::Acquire);
        // SAFETY: a box that is never freed; its number is written before it is known.
        if at.is_null() || unsafe { (*at).0 } != missed() {
            at = Box::into_raw(Box::new((missed(), T::default())));
            self.0.store(at, Ordering::Release);
        }
        // SAFETY: as above. The guard is this process's one, borrowed for this call, so nobody else
        // is in here, no caller of ours either.
        work(unsafe { &mut (*at).1 })
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use peers::AttachGuard;

    /// What a child says by its exit code.
    fn ask_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child is fit to allocate, and ends without running what is its parent's.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(if work() { 7 } else { 1 }),
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
                }
            }
        }
    }

    #[test]
    fn handlers_that_are_registered_several_times_work_once() {
        prepare().unwrap();
        register().unwrap();
        register().unwrap();
        for _ in 0..3 {
            let before = generation();
            let child_is_new = || {
                let new = generation() == before + 1;
                drop(AttachGuard::new());
                new && generation() == before + 1 && FORKING.get() == 0
            };
            assert!(ask_child(child_is_new));
            assert!(ask_child(|| ask_child(|| generation() == before + 2)));
            drop(AttachGuard::new());
            assert_eq!((generation(), FORKING.get()), (before, 0));
        }
    }

    #[test]
    fn a_child_of_which_no_handler_knew_is_put_in_order_at_its_first_look() {
        static KEPT: Kept<u64> = Kept::new();
        prepare().unwrap();
        KEPT.with(&mut AttachGuard::new(), |kept| *kept = 5);
        let (before, missed_before) = (generation(), missed());
        let child_recovers = || {
            // As such a child begins: the gate closed by a thread that is not here.
            std::mem::forget(AttachGuard::new());
            // SAFETY: as in `generation`; this child is one thread.
            unsafe { (*PAGE.load(Ordering::Acquire)).store(0, Ordering::Release) };
            let new = generation() > before;
            let begins_anew = KEPT.with(&mut AttachGuard::new(), |kept| *kept == 0);
            new && begins_anew && missed() == missed_before + 1
        };
        assert!(ask_child(child_recovers));
        // The C library may run the later handlers of a fork alone.
        assert!(ask_child(|| {
            std::mem::forget(AttachGuard::new());
            child();
            drop(AttachGuard::new());
            generation() == before + 2 && missed() == missed_before + 1 && FORKING.get() == 0
        }));
        assert_eq!(KEPT.with(&mut AttachGuard::new(), |kept| *kept), 5);
    }
}
