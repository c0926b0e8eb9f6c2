//! What reaches the disk, behind a seam: a test can watch, delay or fail every sync and allocation.

use std::cell::UnsafeCell;
use std::fs::File;

use super::gate::Gate;
use super::map::Map;

/// The files of a store, for messages and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Identity and options.
    Super,
    /// The log: the only truth.
    Data,
    /// Derived: hash to location.
    Index,
    /// Derived: everything else that is shared.
    Meta,
}

impl FileKind {
    /// Its name in the store's directory.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::Super => "super",
            FileKind::Data => "data",
            FileKind::Index => "index",
            FileKind::Meta => "meta",
        }
    }
}

/// The seam: the real disk is [`RealDisk`].
pub trait Disk: Send + Sync {
    /// Makes all that was written to the file so far, by anybody, survive a power loss.
    fn sync(&self, kind: FileKind, file: &File) -> std::io::Result<()> {
        let _ = kind;
        file.sync_data()
    }

    /// Asked before a file is given `len` bytes of disk space.
    fn may_grow(&self, kind: FileKind, len: u64) -> std::io::Result<()> {
        let _ = (kind, len);
        Ok(())
    }
}

/// The operating system's own.
pub struct RealDisk;

impl Disk for RealDisk {}

/// The way of one process to sync one file, one sync at a time.
///
/// The kernel says once to each open file description that it lost a page. Of two syncs at once
/// through the same one, one alone is told, and the other may return first, with a success that
/// covers the lost page. Other processes have descriptions of their own and are told themselves;
/// the child of a fork has its parent's, until [`Syncing::renew`] gives it another.
pub(crate) struct Syncing {
    gate: Gate,
    own: UnsafeCell<Option<File>>,
}

// SAFETY: the file is used with the gate closed, and replaced with it closed, or in the child of a
// fork in which no thread has come here yet.
unsafe impl Sync for Syncing {}

struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Syncing {
    pub(crate) const fn new() -> Syncing {
        Syncing { gate: Gate::new(), own: UnsafeCell::new(None) }
    }

    /// Runs `work` while no other thread is in here, with the file of this process's own if it has
    /// one, else with the one that was mapped. What the work makes of an error is seen by whoever
    /// comes next.
    pub(crate) fn alone<R>(&self, mapped: &File, work: impl FnOnce(&File) -> R) -> R {
        self.gate.close();
        let _opens = Opens(&self.gate);
        // SAFETY: the gate is closed, and who replaces the file waits for it.
        let own = unsafe { &*self.own.get() };
        work(own.as_ref().unwrap_or(mapped))
    }

    /// A description of this process's own. The caller has the attach guard, and if the process was
    /// `forked`, no thread of it has got past an attach since.
    pub(crate) fn renew(&self, file: File, forked: bool) {
        if forked {
            // Whoever was in here is not in this process.
            self.gate.open_in_child();
        }
        self.gate.close();
        let _opens = Opens(&self.gate);
        // SAFETY: the gate is closed.
        unsafe { *self.own.get() = Some(file) };
    }
}

/// Grows a mapped file with disk space behind every byte, and makes `[from, len)` safe to store to.
pub(crate) fn grow(
    disk: &dyn Disk,
    kind: FileKind,
    map: &Map,
    from: u64,
    len: u64,
) -> std::io::Result<()> {
    disk.may_grow(kind, len)?;
    map.grow(from, len)?;
    map.populate(from, len - from)
}
