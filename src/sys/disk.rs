//! What reaches the disk, behind a seam: a test can watch, delay or fail every sync and allocation.

use std::fs::File;

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
