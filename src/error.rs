//! What can go wrong: one enum, one stable number each, one sentence each.
//!
//! Outcomes (missing, exists, held) are not failures and are not here.

use std::io;
use std::path::PathBuf;

/// A failure. The sentence says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that no store could accept.
    #[error("{0}")]
    Invalid(String),
    /// The value is longer than this store takes.
    #[error(
        "value of {len} bytes is too large: this store takes at most {max} bytes (max_value_bytes)"
    )]
    TooLarge {
        /// Bytes asked for.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// No room within the size cap.
    #[error("the store is full: {0}")]
    Full(String),
    /// There is no store, and none was to be created.
    #[error("{path}: {why}", path = .path.display())]
    NoStore {
        /// Directory or file looked for.
        path: PathBuf,
        /// What is missing, and the command that makes it.
        why: String,
    },
    /// Owner, mode, kind of filesystem or kernel forbid the use.
    #[error("{path}: {why}", path = .path.display())]
    Refused {
        /// What was looked at.
        path: PathBuf,
        /// Why, and the command that mends it.
        why: String,
    },
    /// Not a store, or one of a newer format.
    #[error("{path}: {why}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what this library knows.
        why: String,
    },
    /// Bytes that are not what was written.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// Operation and path.
        what: String,
        /// Reason of the operating system.
        source: io::Error,
    },
    /// A latch stayed held: its owner is stopped, not dead.
    #[error("{0}")]
    Busy(String),
    /// The host process is out of memory, or the kernel.
    #[error("out of memory: {0}")]
    NoMemory(String),
    /// The filesystem is full.
    #[error(
        "{0}: no space left on the filesystem; free some, then try again (what is stored is intact)"
    )]
    NoSpace(String),
    /// A panic was caught at the C boundary.
    #[error("internal error (please report it): {0}")]
    Panic(String),
    /// Not to be had in this build or on this system.
    #[error("{0}")]
    Unsupported(String),
    /// A table of fixed size is full.
    #[error("{0}")]
    TooMany(String),
    /// The filesystem is mounted read-only.
    #[error("{0}: the filesystem is read-only")]
    ReadOnly(String),
    /// An earlier sync failed: what it covered may not be on the disk.
    #[error("{0}")]
    SyncFailed(String),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The C code of this failure; numbers are never reused.
    pub fn code(&self) -> i32 {
        match self {
            Error::Invalid(_) => -1,
            Error::TooLarge { .. } => -2,
            Error::Full(_) => -3,
            Error::NoStore { .. } => -4,
            Error::Refused { .. } => -5,
            Error::Format { .. } => -6,
            Error::Damaged(_) => -7,
            Error::Io { .. } => -8,
            Error::Busy(_) => -9,
            Error::NoMemory(_) => -10,
            Error::NoSpace(_) => -11,
            Error::Panic(_) => -12,
            Error::Unsupported(_) => -13,
            Error::TooMany(_) => -14,
            Error::ReadOnly(_) => -15,
            Error::SyncFailed(_) => -16,
        }
    }

    /// So much memory was asked for in vain.
    pub fn no_memory(bytes: u64) -> Error {
        Error::NoMemory(format!("{bytes} bytes were not to be had"))
    }

    /// An operating system failure, sorted into the codes that a caller may want to tell apart.
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        let (what, source) = (what.into(), source.into());
        if source.kind() == io::ErrorKind::OutOfMemory {
            return Error::NoMemory(what);
        }
        match source.raw_os_error() {
            Some(libc::ENOSPC) | Some(libc::EDQUOT) => Error::NoSpace(what),
            Some(libc::EROFS) => Error::ReadOnly(what),
            _ => Error::Io { what, source },
        }
    }
}

// Lists whose length follows from what a caller passes or from the size of a store: without memory
// for them there is an error, where the standard library's own ways would end the host process.

/// Room for so many more.
pub(crate) fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<()> {
    list.try_reserve(more).map_err(|_| Error::no_memory(more as u64 * size_of::<T>() as u64))
}

/// One more.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) -> Result<()> {
    if list.len() == list.capacity() {
        reserve(list, 1)?;
    }
    list.push(item);
    Ok(())
}

/// All of them, of which there are `count` at most.
pub(crate) fn collect<T>(count: usize, items: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut list = Vec::new();
    reserve(&mut list, count)?;
    list.extend(items.take(count));
    Ok(list)
}
