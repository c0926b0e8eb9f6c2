//! Who is alive: each attached process holds a byte of the file `lock` for life.
//!
//! The kernel lets go of an OFD lock when the last copy of its descriptor is closed, so "byte free"
//! means "can never run again": across PID namespaces, without reuse trouble, at the instant of
//! death. Byte 0 is held shared by everyone attached and exclusively by whoever creates, recovers
//! or closes for good; byte `1 + slot` belongs to process slot `slot`.
//!
//! A life is an exclusive lock. A thief takes a dead owner's byte as a shared one: that keeps a new
//! process from claiming it, and nobody takes it for a sign of life.
//!
//! OFD locks do not exclude the threads of one process from each other, and locks taken through
//! one descriptor never conflict with each other, so probes and thefts use a second descriptor and
//! an in-process mutex.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::fork;
use super::gate::Gate;
use crate::error::{Error, Result};

/// Held while a store is attached or detached, and over every fork.
static ATTACH: Gate = Gate::new();
/// Held while a dead owner's byte is borrowed or descriptors are given up, and over every fork.
static THEFT: Gate = Gate::new();

/// Stores that one process can have attached at once.
const ATTACHED: usize = 256;

/// The two descriptors of one attached store, where the fork handler finds them without a lock.
struct Descriptors {
    life: AtomicI32,
    probe: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
    used: AtomicU32,
}

static TABLE: [Descriptors; ATTACHED] = [const {
    Descriptors {
        life: AtomicI32::new(-1),
        probe: AtomicI32::new(-1),
        dev: AtomicU64::new(0),
        ino: AtomicU64::new(0),
        used: AtomicU32::new(0),
    }
}; ATTACHED];

pub(super) fn before_fork() {
    ATTACH.close();
    THEFT.close();
}

pub(super) fn after_fork_in_parent() {
    THEFT.open();
    ATTACH.open();
}

/// In a child: gives up the parent's descriptors, so that the parent's death stays visible; those too
/// that a thread which is not here was about to note.
pub(super) fn after_fork_in_child() {
    THEFT.open_in_child();
    ATTACH.open_in_child();
    for entry in &TABLE {
        if entry.used.load(Ordering::Relaxed) != 0 {
            entry.close();
        }
    }
}

/// While this lives, no other thread attaches or detaches a store, and none forks.
pub(crate) struct AttachGuard(());

impl AttachGuard {
    pub(crate) fn new() -> AttachGuard {
        ATTACH.close();
        AttachGuard(())
    }
}

impl Drop for AttachGuard {
    fn drop(&mut self) {
        ATTACH.open();
    }
}

fn identity(fd: RawFd) -> io::Result<(u64, u64)> {
    // SAFETY: a stat buffer of our own; any descriptor number is allowed.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    match unsafe { libc::fstat(fd, &mut stat) } {
        0 => Ok((stat.st_dev, stat.st_ino)),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Descriptors {
    /// One that cannot be looked at is ours until the kernel says that it is closed: if it stayed
    /// open, its locks would keep everybody out.
    fn ours(&self, fd: RawFd) -> bool {
        let known = (self.dev.load(Ordering::Relaxed), self.ino.load(Ordering::Relaxed));
        fd >= 0
            && match identity(fd) {
                Ok(found) => found == known,
                Err(e) => e.raw_os_error() != Some(libc::EBADF),
            }
    }

    /// Closes both, unless the host process closed them before and reused the numbers.
    fn close(&self) {
        for cell in [&self.life, &self.probe] {
            let fd = cell.swap(-1, Ordering::AcqRel);
            if self.ours(fd) {
                // SAFETY: the descriptor refers to our lock file and nobody else's handle owns it.
                unsafe { libc::close(fd) };
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Shared,
    Exclusive,
    None,
}

fn flock(byte: u64, kind: Kind) -> libc::flock {
    // SAFETY: all-zero is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = match kind {
        Kind::Shared => libc::F_RDLCK as i16,
        Kind::Exclusive => libc::F_WRLCK as i16,
        Kind::None => libc::F_UNLCK as i16,
    };
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = byte as libc::off_t;
    lock.l_len = 1;
    lock
}

/// Takes, changes or frees an OFD lock without waiting: false when somebody else is in the way.
fn set(fd: RawFd, byte: u64, kind: Kind) -> io::Result<bool> {
    let lock = flock(byte, kind);
    loop {
        // SAFETY: passes one `flock` that lives through the call.
        if unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &lock) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) | Some(libc::EACCES) => return Ok(false),
            Some(libc::EINTR) => continue,
            _ => return Err(error),
        }
    }
}

/// Does somebody else's descriptor hold the byte for life? Only then would a shared lock be refused.
fn held(fd: RawFd, byte: u64) -> io::Result<bool> {
    let mut lock = flock(byte, Kind::Shared);
    // SAFETY: as in `set`; the kernel writes the answer into it.
    if unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type != libc::F_UNLCK as i16)
}

/// In a generation: what lies at the store's path may no longer be what this process has open.
const DOUBTED: u64 = 1 << 63;
/// The same process gave up its life to begin another, and has not got it yet.
const DETACHED: u64 = 1 << 62;

/// This process among the others that have the store attached.
pub(crate) struct Peers {
    entry: usize,
    slot: AtomicU32,
    generation: AtomicU64,
}

impl Peers {
    /// Takes over two descriptors of the file `lock`, opened apart from each other; `shown` is its
    /// path, for messages.
    pub(crate) fn new(life: File, probe: File, shown: &Path) -> Result<Peers> {
        fork::prepare()?;
        let (dev, ino) = identity(life.as_raw_fd())
            .map_err(|e| Error::io(format!("looking at {}", shown.display()), e))?;
        for (entry, cell) in TABLE.iter().enumerate() {
            if cell.used.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                cell.dev.store(dev, Ordering::Relaxed);
                cell.ino.store(ino, Ordering::Relaxed);
                cell.life.store(life.into_raw_fd(), Ordering::Relaxed);
                cell.probe.store(probe.into_raw_fd(), Ordering::Relaxed);
                cell.used.store(1, Ordering::Release);
                return Ok(Peers {
                    entry,
                    slot: AtomicU32::new(u32::MAX),
                    generation: AtomicU64::new(fork::generation()),
                });
            }
        }
        Err(Error::TooMany(format!("this process already has {ATTACHED} stores open")))
    }

    fn life(&self) -> RawFd {
        TABLE[self.entry].life.load(Ordering::Acquire)
    }

    fn probe(&self) -> RawFd {
        TABLE[self.entry].probe.load(Ordering::Acquire)
    }

    /// This process's slot.
    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Is this still the process that attached (and not a child of it)?
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        self.generation.load(Ordering::Relaxed) == fork::generation()
    }

    /// The same, in doubt or not.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.generation.load(Ordering::Relaxed) & !(DOUBTED | DETACHED) == fork::generation()
    }

    /// Has this process no life until it attaches anew?
    pub(crate) fn is_detached(&self) -> bool {
        self.generation.load(Ordering::Relaxed) & DETACHED != 0
    }

    /// From now on every operation looks first whether the store is where it was.
    pub(crate) fn doubt(&self) {
        self.generation.fetch_or(DOUBTED, Ordering::AcqRel);
    }

    /// Device and inode of the file `lock` that this process holds.
    pub(crate) fn lock_identity(&self) -> (u64, u64) {
        let entry = &TABLE[self.entry];
        (entry.dev.load(Ordering::Relaxed), entry.ino.load(Ordering::Relaxed))
    }

    /// In a child, or after the host closed them: fresh descriptors in place of the old ones; a slot
    /// is to be claimed next, and [`Peers::settle`] ends the matter. Until then every operation comes
    /// here again. False: they are of another file.
    pub(crate) fn renew(&self, life: File, probe: File) -> io::Result<bool> {
        let entry = &TABLE[self.entry];
        for file in [&life, &probe] {
            if identity(file.as_raw_fd())? != self.lock_identity() {
                return Ok(false);
            }
        }
        match self.is_of_this_process() {
            // Threads that are in the middle of something keep the number that they began with.
            true => drop(self.generation.fetch_or(DETACHED, Ordering::AcqRel)),
            false => self.slot.store(u32::MAX, Ordering::Release),
        }
        entry.close();
        entry.life.store(life.into_raw_fd(), Ordering::Release);
        entry.probe.store(probe.into_raw_fd(), Ordering::Release);
        Ok(true)
    }

    /// The slot is claimed, or the doubt is over: this process is the one that attached.
    pub(crate) fn settle(&self) {
        self.generation.store(fork::generation(), Ordering::Release);
    }

    /// Are our descriptors and our life byte still ours? (A host may close descriptors wholesale.)
    pub(crate) fn intact(&self) -> bool {
        let entry = &TABLE[self.entry];
        entry.ours(self.life())
            && entry.ours(self.probe())
            // What cannot be asked is no reason to give up the life that there is.
            && held(self.probe(), 1 + self.slot() as u64).unwrap_or(true)
    }

    /// Is nobody else attached? Then nobody can attach until [`Peers::share`].
    pub(crate) fn try_alone(&self) -> io::Result<bool> {
        set(self.life(), 0, Kind::Exclusive)
    }

    /// Joins those attached; from alone it is a downgrade without a gap. False: somebody is alone.
    pub(crate) fn try_share(&self) -> io::Result<bool> {
        set(self.life(), 0, Kind::Shared)
    }

    /// Who is alone needs no slot of its own to take latches.
    pub(crate) fn assume_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Release);
    }

    /// Lets go of byte 0.
    pub(crate) fn leave(&self) -> io::Result<()> {
        set(self.life(), 0, Kind::None).map(drop)
    }

    /// Claims a free slot, looking from `hint` on. `seen` is asked before each look at a slot, and
    /// what it gave is told to `about` before an attempt is made.
    pub(crate) fn claim(
        &self,
        hint: u32,
        slots: u32,
        seen: impl Fn(u32) -> u64,
        about: impl Fn(u32, u64),
    ) -> io::Result<Option<u32>> {
        for i in 0..slots {
            let slot = (hint.wrapping_add(i)) % slots;
            let before = seen(slot);
            if held(self.probe(), 1 + slot as u64)? {
                continue;
            }
            about(slot, before);
            if set(self.life(), 1 + slot as u64, Kind::Exclusive)? {
                self.slot.store(slot, Ordering::Release);
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Can the process of this slot still run? A doubt counts as yes.
    pub(crate) fn alive(&self, slot: u32) -> bool {
        slot == self.slot() || held(self.probe(), 1 + slot as u64).unwrap_or(true)
    }

    /// If the owner of `slot` is dead, runs `take` while no new process can claim that slot.
    pub(crate) fn steal(&self, slot: u32, take: impl FnOnce() -> bool) -> bool {
        if slot == self.slot() {
            return false;
        }
        THEFT.close();
        let byte = 1 + slot as u64;
        let taken = set(self.probe(), byte, Kind::Shared).unwrap_or(false) && {
            let taken = take();
            let _ = set(self.probe(), byte, Kind::None);
            taken
        };
        THEFT.open();
        taken
    }
}

impl Drop for Peers {
    /// Not while the process forks: the kernel copies the descriptors first and the memory after
    /// them, so the child would have descriptors, with their locks, that its table does not name.
    fn drop(&mut self) {
        THEFT.close();
        let entry = &TABLE[self.entry];
        entry.close();
        entry.used.store(0, Ordering::Release);
        THEFT.open();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn peers(path: &std::path::Path) -> Peers {
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(path);
        Peers::new(open().unwrap(), open().unwrap(), path).unwrap()
    }

    #[test]
    fn a_slot_is_held_until_its_process_lets_go() {
        let dir = std::env::temp_dir().join(format!("holdfast-peers-{}", std::process::id()));
        let (a, b) = (peers(&dir), peers(&dir));
        assert_eq!(a.claim(3, 8, |_| 0, |_, _| {}).unwrap(), Some(3));
        assert_eq!(b.claim(3, 8, |_| 0, |_, _| {}).unwrap(), Some(4));
        assert!(b.alive(3) && a.alive(4) && !a.alive(5));
        assert!(a.intact());
        assert!(!b.steal(3, || true), "the living are not robbed");
        drop(a);
        assert!(!b.alive(3));
        let c = peers(&dir);
        let (mut alive, mut claimed) = (true, None);
        assert!(b.steal(3, || {
            alive = c.alive(3);
            claimed = c.claim(3, 4, |_| 0, |_, _| {}).unwrap();
            true
        }));
        assert!(!alive, "who takes what a dead process left is not that process");
        assert_eq!(claimed, Some(0), "its slot is nobody's meanwhile");
        std::fs::remove_file(dir).unwrap();
    }

    #[test]
    fn alone_means_that_nobody_shares() {
        let dir = std::env::temp_dir().join(format!("holdfast-alone-{}", std::process::id()));
        let (a, b) = (peers(&dir), peers(&dir));
        assert!(a.try_alone().unwrap() && !b.try_share().unwrap());
        assert!(a.try_share().unwrap() && b.try_share().unwrap() && !a.try_alone().unwrap());
        drop(b);
        assert!(a.try_alone().unwrap());
        std::fs::remove_file(dir).unwrap();
    }
}
