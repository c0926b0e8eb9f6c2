//! Processes made by fork, watched, stopped and killed; only ever those that were made here.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A process made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(pub i32);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
    /// It did not, and was killed.
    Stuck,
}

impl Pid {
    pub fn signal(self, signal: i32) {
        assert!(self.0 > 1);
        // SAFETY: no memory involved; the process is a child that was not waited for yet, so the
        // number is still its own.
        unsafe { libc::kill(self.0, signal) };
    }

    /// How it ended, if it did.
    pub fn ended(self) -> Option<Ended> {
        let mut status = 0;
        // SAFETY: writes one integer of ours.
        match unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } {
            0 => None,
            -1 => panic!("waiting for {}: {}", self.0, std::io::Error::last_os_error()),
            _ if libc::WIFSIGNALED(status) => Some(Ended::Signal(libc::WTERMSIG(status))),
            _ => Some(Ended::Exit(libc::WEXITSTATUS(status))),
        }
    }

    /// Waits until it ends; after `limit` it is killed.
    pub fn wait(self, limit: Duration) -> Ended {
        let start = Instant::now();
        loop {
            match self.ended() {
                Some(ended) => return ended,
                None if start.elapsed() > limit => {
                    self.signal(libc::SIGKILL);
                    self.reap();
                    return Ended::Stuck;
                }
                None if start.elapsed() < Duration::from_millis(2) => std::thread::yield_now(),
                None => std::thread::sleep(Duration::from_micros(300)),
            }
        }
    }
}

impl Pid {
    /// Waits until it ends, or so long.
    pub fn wait_a_while(self, limit: Duration) -> Option<Ended> {
        let start = Instant::now();
        while start.elapsed() < limit {
            let mut status = 0;
            // SAFETY: writes one integer of ours.
            match unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } {
                0 => std::thread::sleep(Duration::from_millis(1)),
                -1 => panic!("waiting for {}: {}", self.0, std::io::Error::last_os_error()),
                _ if libc::WIFSIGNALED(status) => {
                    return Some(Ended::Signal(libc::WTERMSIG(status)));
                }
                _ => return Some(Ended::Exit(libc::WEXITSTATUS(status))),
            }
        }
        None
    }

    /// Waits for one that is about to end, if it is ours to wait for.
    fn reap(self) {
        // SAFETY: the status is not asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

/// Returns as soon as one of these has ended, or after `limit`, which is in milliseconds at least.
pub fn until_one_ends(these: &[Pid], limit: Duration) {
    // SAFETY: makes a descriptor that belongs to nobody else, of a process that was not waited for.
    let open = |pid: &Pid| unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.0, 0) as i32;
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    let ends: Vec<OwnedFd> = these.iter().map(open).collect();
    let watch =
        |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut watched: Vec<libc::pollfd> = ends.iter().map(watch).collect();
    // SAFETY: the list is as long as said. Whatever ends the wait, the caller looks for himself.
    unsafe {
        libc::poll(watched.as_mut_ptr(), watched.len() as u64, limit.as_millis() as i32);
    }
}

/// Ends this very process as the kernel would end it.
pub fn die() -> ! {
    // SAFETY: no memory involved; nothing runs after the first call.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Panics of children go straight to stderr. Set once and before any fork: a lock of the hook
/// that another thread held at the fork would be held in the child for ever.
fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match IS_CHILD.load(Ordering::SeqCst) {
            true => {
                write_raw(2, format!("{info}\n").as_bytes());
            }
            false => usual(info),
        }));
    });
}

/// Runs `work` in a child, which ends with 0, or with 101 after a panic (written to stderr).
pub fn fork(work: impl FnOnce()) -> Pid {
    prepare();
    // SAFETY: the child runs on with a copy of this thread alone. The allocator and the library
    // are fit for that; the child prints nothing through locks that another thread may have held.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // A test that fails leaves nobody behind.
            // SAFETY: sets one attribute of this process.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            IS_CHILD.store(true, Ordering::SeqCst);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        pid => Pid(pid),
    }
}

/// Writes to a descriptor by one call, without any lock or buffer; false if it cannot.
pub fn write_raw(fd: i32, bytes: &[u8]) -> bool {
    // SAFETY: passes a live slice.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) == bytes.len() as isize }
}

/// Words that this process and those that it forks share, for as long as the test runs.
pub fn shared_words(count: usize) -> &'static [AtomicU64] {
    // SAFETY: a new anonymous mapping of zeros, never unmapped, of the size that the slice says.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            count * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        std::slice::from_raw_parts(at as *const AtomicU64, count)
    }
}

/// A pipe: what is written to the second end comes out of the first.
pub fn pipe() -> (std::fs::File, std::fs::File) {
    let mut ends = [0; 2];
    // SAFETY: writes two integers of ours; the descriptors are new and belong to nobody else.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "pipe");
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    }
}

/// `count` numbers that this process shares with its children to come; they stay to its end.
pub fn shared(count: usize) -> &'static [AtomicU64] {
    // SAFETY: a new mapping of zeros, which is a valid array of atomics, never unmapped.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            count * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        std::slice::from_raw_parts(at.cast(), count)
    }
}

/// The one that runs at present in a chain of processes, see [`chain`].
pub struct Link {
    out: std::fs::File,
}

impl Link {
    /// A successor takes over with a copy of everything; returns in the successor, after this
    /// process has run `last` and died.
    pub fn succeed(&mut self, last: impl FnOnce()) {
        // SAFETY: cannot fail.
        let before = unsafe { libc::getpid() };
        // SAFETY: as in `fork`; both sides go on in this same code.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: neither can fail. A process is given a new parent after its files are
                // closed: from then on nothing of the old one is left.
                unsafe {
                    let _ = self.out.write_all(format!("p{}\n", libc::getpid()).as_bytes());
                    while libc::getppid() == before {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
            }
            _ => {
                last();
                die()
            }
        }
    }
}

/// Runs `work` in a child that may hand over to successors and die on the way. Panics here if
/// work panics there, if no link of the chain reaches the end, or after `limit`.
pub fn chain(limit: Duration, work: impl FnOnce(&mut Link) -> String) {
    // SAFETY: sets one attribute of this process: orphans of the chain become its children.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let (mut from, out) = pipe();
    let first = fork(|| {
        let mut link = Link { out };
        let run = std::panic::AssertUnwindSafe(|| {
            let report = work(&mut link);
            let _ = link.out.write_all(format!("done {report}\n").as_bytes());
        });
        if std::panic::catch_unwind(run).is_err() {
            // SAFETY: ends the process; the parent sees a chain without an end.
            unsafe { libc::_exit(101) };
        }
    });
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hear = heard.clone();
    let watch = std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut part) {
            hear.lock().expect("no panic above").extend_from_slice(&part[..n]);
        }
    });
    let start = Instant::now();
    while !watch.is_finished() && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stuck = !watch.is_finished();
    let text = String::from_utf8_lossy(&heard.lock().expect("as above")).into_owned();
    let links = text.lines().filter_map(|l| l.strip_prefix('p')?.parse().ok()).map(Pid);
    let links: Vec<Pid> = std::iter::once(first).chain(links).collect();
    if stuck {
        links[links.len() - 1].signal(libc::SIGKILL);
    }
    for link in links {
        link.reap();
    }
    assert!(!stuck, "no end after {limit:?}");
    text.lines().filter(|line| !line.starts_with('p')).for_each(|line| println!("{line}"));
    assert!(text.lines().any(|l| l.starts_with("done")), "a link of the chain failed, see above");
}
