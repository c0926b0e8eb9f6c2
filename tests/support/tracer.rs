//! A child whose system calls this thread watches, and one of which it makes fail.
//!
//! By ptrace, so that calls are reached that no interposed library would see: those that go to the
//! kernel directly. The child says by SIGSTOP when the part begins and ends in which calls count, and
//! where it wants to stand still while others look at what it left. Only x86-64 is written here.

use std::collections::HashMap;

use crate::process::{Ended, Pid, fork};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is not made, and fails with this number.
    Error(i32),
    /// It is made, and fails all the same: what `close` does.
    ErrorAfter(i32),
    /// It transfers half of what it was to.
    Short,
}

/// Calls that are one to a test.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    number: i64,
    /// Which of them, by the arguments.
    fits: fn(&[u64; 6]) -> bool,
    pub faults: &'static [How],
}

/// The `nth` call of a kind fails (counted from 1), and if it lasts all later ones of it.
#[derive(Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    pub nth: u64,
    pub how: How,
    pub lasting: bool,
}

use How::{Error as E, ErrorAfter, Short};

const ALL: fn(&[u64; 6]) -> bool = |_| true;
const CREATES: fn(&[u64; 6]) -> bool = |a| a[2] as i32 & libc::O_CREAT != 0;
const OPENS: fn(&[u64; 6]) -> bool = |a| a[2] as i32 & libc::O_CREAT == 0;
const MAPS_A_FILE: fn(&[u64; 6]) -> bool = |a| a[3] as i32 & libc::MAP_ANONYMOUS == 0;
const MAPS_A_STACK: fn(&[u64; 6]) -> bool = |a| a[3] as i32 & libc::MAP_STACK != 0;

const fn kind(name: &'static str, number: i64, faults: &'static [How]) -> Kind {
    Kind { name, number, fits: ALL, faults }
}

/// All calls that the library makes and that can fail, each with what it can fail with.
pub const KINDS: &[Kind] = &[
    Kind {
        fits: OPENS,
        ..kind(
            "open",
            libc::SYS_openat,
            &[
                E(libc::EIO),
                E(libc::EMFILE),
                E(libc::ENOMEM),
                E(libc::EACCES),
                E(libc::EROFS),
                E(libc::EINTR),
            ],
        )
    },
    Kind {
        fits: CREATES,
        ..kind(
            "create",
            libc::SYS_openat,
            &[
                E(libc::EIO),
                E(libc::ENOSPC),
                E(libc::EDQUOT),
                E(libc::EMFILE),
                E(libc::EROFS),
                E(libc::EACCES),
                E(libc::ENOMEM),
            ],
        )
    },
    kind("read", libc::SYS_read, &[E(libc::EIO), E(libc::EINTR), Short]),
    kind("pread", libc::SYS_pread64, &[E(libc::EIO), E(libc::EINTR), Short]),
    kind("write", libc::SYS_write, WRITES),
    kind("pwrite", libc::SYS_pwrite64, WRITES),
    kind("fallocate", libc::SYS_fallocate, WRITE_ERRORS),
    kind("ftruncate", libc::SYS_ftruncate, &[E(libc::EIO), E(libc::EINTR), E(libc::EROFS)]),
    kind("fdatasync", libc::SYS_fdatasync, SYNCS),
    kind("fsync", libc::SYS_fsync, SYNCS),
    kind("renameat", libc::SYS_renameat, NAMES),
    kind("rename", libc::SYS_rename, NAMES),
    kind("unlinkat", libc::SYS_unlinkat, &[E(libc::EIO), E(libc::EROFS), E(libc::EACCES)]),
    kind("mkdirat", libc::SYS_mkdirat, NAMES),
    kind("mkdir", libc::SYS_mkdir, NAMES),
    kind("fchmod", libc::SYS_fchmod, &[E(libc::EIO), E(libc::EROFS), E(libc::EPERM)]),
    kind("chmod", libc::SYS_chmod, &[E(libc::EIO), E(libc::EROFS), E(libc::EPERM)]),
    kind("fchown", libc::SYS_fchown, &[E(libc::EIO), E(libc::EDQUOT), E(libc::EPERM)]),
    kind("chown", libc::SYS_chown, &[E(libc::EIO), E(libc::EDQUOT), E(libc::EPERM)]),
    Kind {
        fits: MAPS_A_FILE,
        ..kind("mmap", libc::SYS_mmap, &[E(libc::ENOMEM), E(libc::EACCES), E(libc::ENODEV)])
    },
    Kind { fits: MAPS_A_STACK, ..kind("mmap of a stack", libc::SYS_mmap, &[E(libc::ENOMEM)]) },
    kind("munmap", libc::SYS_munmap, &[E(libc::ENOMEM)]),
    kind("madvise", libc::SYS_madvise, &[E(libc::ENOMEM), E(libc::EFAULT), E(libc::EIO)]),
    kind("mincore", libc::SYS_mincore, &[E(libc::ENOMEM), E(libc::EAGAIN)]),
    kind("fadvise", libc::SYS_fadvise64, &[E(libc::EIO)]),
    kind("fcntl", libc::SYS_fcntl, &[E(libc::ENOLCK), E(libc::ENOMEM), E(libc::EINTR)]),
    kind("fstat", libc::SYS_fstat, &[E(libc::EIO), E(libc::ENOMEM)]),
    kind("newfstatat", libc::SYS_newfstatat, LOOKS),
    kind("statx", libc::SYS_statx, LOOKS),
    kind("stat", libc::SYS_stat, LOOKS),
    kind("fstatfs", libc::SYS_fstatfs, &[E(libc::EIO), E(libc::ENOMEM), E(libc::EINTR)]),
    kind("readlink", libc::SYS_readlink, LOOKS),
    kind("getdents", libc::SYS_getdents64, &[E(libc::EIO), E(libc::ENOMEM)]),
    kind("copy_file_range", libc::SYS_copy_file_range, WRITE_ERRORS),
    kind("getrandom", libc::SYS_getrandom, &[E(libc::EINTR), E(libc::EIO), Short]),
    kind("futex", libc::SYS_futex, &[E(libc::EINTR), E(libc::EAGAIN), E(libc::ENOMEM)]),
    kind("clone3", libc::SYS_clone3, &[E(libc::EAGAIN), E(libc::ENOMEM)]),
    kind("close", libc::SYS_close, &[ErrorAfter(libc::EIO), ErrorAfter(libc::EINTR)]),
    kind("ioctl", libc::SYS_ioctl, &[E(libc::ENOTTY), E(libc::EIO)]),
];

const WRITE_ERRORS: &[How] = &[E(libc::EIO), E(libc::ENOSPC), E(libc::EDQUOT), E(libc::EINTR)];
const WRITES: &[How] = &[E(libc::EIO), E(libc::ENOSPC), E(libc::EDQUOT), E(libc::EINTR), Short];
const SYNCS: &[How] = &[E(libc::EIO), E(libc::ENOSPC), E(libc::EDQUOT), E(libc::EINTR)];
const NAMES: &[How] =
    &[E(libc::EIO), E(libc::ENOSPC), E(libc::EDQUOT), E(libc::EROFS), E(libc::EACCES)];
const LOOKS: &[How] = &[E(libc::EIO), E(libc::EACCES), E(libc::ENOMEM), E(libc::EINTR)];

/// A child under watch, see [`start`].
pub struct Traced {
    main: i32,
    /// Each thread and child of it, and the end of the call that it is in, if that matters.
    tasks: HashMap<i32, Option<Option<i32>>>,
    fault: Option<Fault>,
    counts: bool,
    seen: u64,
    /// How often the fault was made.
    pub fired: u64,
    /// How many calls of each kind counted.
    pub calls: Vec<u64>,
    ended: Option<Ended>,
}

/// Where the child stands still: see [`Traced::run`].
pub fn stand_still() {
    // SAFETY: no memory involved; the one who watches lets this process go on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Starts `work` in a child that ends by SIGALRM after `seconds`. Between its first and its second
/// [`stand_still`] its calls count.
pub fn start(fault: Option<Fault>, seconds: u32, work: impl FnOnce()) -> Traced {
    let child = fork(|| {
        // SAFETY: asks to be watched by its parent, which is the thread that waits for it below.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::alarm(seconds);
        }
        stand_still();
        work()
    });
    let mut traced = Traced {
        main: child.0,
        tasks: HashMap::from([(child.0, None)]),
        fault,
        counts: false,
        seen: 0,
        fired: 0,
        calls: vec![0; KINDS.len()],
        ended: None,
    };
    assert!(traced.run(), "the child ended at once");
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK;
    // SAFETY: the child is stopped and ours; no memory is passed.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child.0, 0, options) };
    assert!(traced.go() && traced.run(), "the child ended before it began: {:?}", traced.ended);
    traced
}

impl Traced {
    /// The calls that count begin, and are watched until the child stands still again; false if it
    /// ended instead.
    pub fn step(&mut self) -> bool {
        self.counts = true;
        let alive = self.go() && self.run();
        self.counts = false;
        alive
    }

    /// Until it stands still again, with nothing watched; false if it ended instead.
    pub fn go_on(&mut self) -> bool {
        self.go() && self.run()
    }

    /// Lets it go on to its end.
    pub fn finish(mut self) -> Ended {
        while self.ended.is_none() {
            self.go();
            self.run();
        }
        self.ended.expect("just seen")
    }

    fn go(&mut self) -> bool {
        self.ended.is_none() && self.resume(self.main, 0)
    }

    fn resume(&self, task: i32, signal: i32) -> bool {
        // With several tasks some are in the middle of a call when the others stand still.
        let watched = self.counts || self.tasks.len() > 1;
        let request = if watched { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
        // SAFETY: a stopped task of ours; the data is a signal number.
        unsafe { libc::ptrace(request, task, 0, signal as libc::c_long) == 0 }
    }

    /// Until the child stands still; false: it ended. Its threads and children go on meanwhile.
    fn run(&mut self) -> bool {
        while self.ended.is_none() {
            let mut status = 0;
            let flags = libc::__WALL | libc::__WNOTHREAD;
            // SAFETY: writes one integer of ours.
            let task = unsafe { libc::waitpid(-1, &mut status, flags) };
            assert!(task > 0, "waiting: {}", std::io::Error::last_os_error());
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.tasks.remove(&task);
                if task == self.main {
                    self.ended = Some(match libc::WIFSIGNALED(status) {
                        true if libc::WTERMSIG(status) == libc::SIGALRM => Ended::Stuck,
                        true => Ended::Signal(libc::WTERMSIG(status)),
                        false => Ended::Exit(libc::WEXITSTATUS(status)),
                    });
                    self.tasks.keys().for_each(|task| Pid(*task).signal(libc::SIGKILL));
                }
                continue;
            }
            let (signal, new) = (libc::WSTOPSIG(status), !self.tasks.contains_key(&task));
            if new {
                self.tasks.insert(task, None);
            }
            match signal {
                libc::SIGSTOP if task == self.main => return true,
                // So every new thread and child begins.
                libc::SIGSTOP if new => self.resume(task, 0),
                _ if signal == libc::SIGTRAP | 0x80 => {
                    self.call(task);
                    self.resume(task, 0)
                }
                // An event of ptrace.
                libc::SIGTRAP => self.resume(task, 0),
                _ => self.resume(task, signal),
            };
        }
        false
    }

    /// A task begins or ends a call.
    fn call(&mut self, task: i32) {
        // SAFETY: all-zero is valid; the kernel fills it in for a stopped task of ours.
        let mut now: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, task, 0, &mut now) };
        // Between begin and end the kernel has -ENOSYS there; a task may be stopped in a call that
        // began before anything counted.
        let begins = now.rax as i64 == -(libc::ENOSYS as i64);
        let inside = self.tasks.get(&task).copied().flatten();
        match inside {
            Some(result) if !begins || result.is_some() => {
                self.tasks.insert(task, None);
                let Some(number) = result else { return };
                now.rax = -(number as i64) as u64;
            }
            _ if !begins => return,
            _ => {
                let change = self.begins(&mut now);
                self.tasks.insert(task, Some(change));
            }
        }
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_SETREGS, task, 0, &now) };
    }

    /// Gives what the call is to fail with, if it is the one.
    fn begins(&mut self, now: &mut libc::user_regs_struct) -> Option<i32> {
        let arguments = [now.rdi, now.rsi, now.rdx, now.r10, now.r8, now.r9];
        let is = |kind: &Kind| kind.number == now.orig_rax as i64 && (kind.fits)(&arguments);
        if let Some(which) = KINDS.iter().position(is) {
            self.calls[which] += 1;
        }
        let fault = self.fault.filter(|fault| self.counts && is(&fault.kind))?;
        self.seen += 1;
        if self.seen != fault.nth && !(fault.lasting && self.seen > fault.nth) {
            return None;
        }
        self.fired += 1;
        match fault.how {
            How::Error(number) => {
                now.orig_rax = u64::MAX;
                Some(number)
            }
            How::ErrorAfter(number) => Some(number),
            How::Short => {
                let length = match now.orig_rax as i64 {
                    libc::SYS_getrandom => &mut now.rsi,
                    libc::SYS_copy_file_range => &mut now.r8,
                    _ => &mut now.rdx,
                };
                *length = (*length / 2).max(1);
                None
            }
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.tasks.keys().for_each(|task| Pid(*task).signal(libc::SIGKILL));
            while self.ended.is_none() && self.run() {
                self.go();
            }
        }
    }
}
