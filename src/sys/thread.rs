//! A background thread inside somebody else's process: no signals, a small stack.
//!
//! Made by the C library and not by the standard library, which enters each of its threads in a list
//! under a lock: in the child of a fork that came while another thread was being entered, every new
//! thread would wait for that lock for ever. The C library puts its own locks in order at a fork.

use std::ffi::{CStr, c_void};
use std::io;
use std::panic::AssertUnwindSafe;

const STACK_BYTES: usize = 256 << 10;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that was started; let go of, it runs on by itself.
pub(crate) struct Started(libc::pthread_t);

// SAFETY: a name for a thread, which any thread may use; the C library synchronises what it means.
unsafe impl Send for Started {}

impl Started {
    /// Waits for its end.
    pub(crate) fn join(self) {
        // SAFETY: neither joined nor detached before: both take the value.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
        std::mem::forget(self);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Starts a thread that receives no signal of the host's.
pub(crate) fn spawn_quiet(
    name: &'static CStr,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<Started> {
    let named = move || {
        // SAFETY: the kernel copies the name. It is for those who look; without it all works.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
        run();
    };
    let work: *mut Work = Box::into_raw(Box::new(Box::new(named)));
    // SAFETY: plain signal-mask calls on local sets; the new thread inherits the full mask and this
    // thread's own is put back. The attributes are local and freed; the work goes to the thread, or
    // is taken back if there is none.
    let (failed, thread) = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, STACK_BYTES);
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let mut thread: libc::pthread_t = std::mem::zeroed();
        let failed = libc::pthread_create(&mut thread, &attributes, begin, work.cast());
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        libc::pthread_attr_destroy(&mut attributes);
        (failed, thread)
    };
    if failed == 0 {
        return Ok(Started(thread));
    }
    // SAFETY: no thread came to have it.
    drop(unsafe { Box::from_raw(work) });
    Err(io::Error::from_raw_os_error(failed))
}

extern "C" fn begin(work: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn_quiet` made it of a box and gave it to this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // A panic was reported by the hook; nothing depends on the end of the thread.
    let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
    std::ptr::null_mut()
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_runs_with_its_name_and_without_signals_and_a_panic_ends_only_it() {
        let (say, heard) = mpsc::channel();
        let thread = spawn_quiet(c"by name", move || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            say.send(status).unwrap();
        });
        thread.unwrap().join();
        let status = heard.recv().unwrap();
        assert!(status.contains("by name"), "{status}");
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        let blocked = u64::from_str_radix(blocked, 16).unwrap();
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGCHLD, libc::SIGALRM] {
            assert!(blocked >> (signal - 1) & 1 == 1, "signal {signal}: {blocked:x}");
        }
        spawn_quiet(c"panics", || panic!("on purpose")).unwrap().join();
        let (say, heard) = mpsc::channel();
        drop(spawn_quiet(c"let go of", move || say.send(7).unwrap()).unwrap());
        assert_eq!(heard.recv(), Ok(7));
    }
}
