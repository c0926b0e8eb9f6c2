//! A background thread inside somebody else's process: no signals, a small stack.

use std::io;
use std::thread::JoinHandle;

/// Starts a thread that receives no signal of the host's.
pub(crate) fn spawn_quiet(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // SAFETY: plain signal-mask calls on local sets; the new thread inherits the full mask and
    // this thread's own is put back.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let started =
            std::thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        started
    }
}
