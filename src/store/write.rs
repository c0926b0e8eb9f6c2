//! Writes of whole values: what a caller can ask of one, and the verbs that are short for it.

use super::{Store, Stored, ops};
use crate::error::{Error, Result};
use crate::lock::Held;
use crate::log::record::{PENDING, STALE};
use crate::options::Ttl;

/// What a write demands of the present value; expired data counts as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: *set*.
    Any,
    /// That there is none: *add*.
    Absent,
    /// That there is one: *replace*.
    Present,
    /// That it is this version: *cas*.
    Version(u64),
}

impl Expect {
    /// The outcome of a write that is refused because of the version that is there, if any.
    #[inline]
    pub(super) fn refuses(self, present: Option<u64>) -> Option<Stored> {
        match (self, present) {
            (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => None,
            (Expect::Version(expected), Some(present)) if expected == present => None,
            (Expect::Present | Expect::Version(_), None) => Some(Stored::Missing),
            (Expect::Absent | Expect::Version(_), Some(present)) => Some(Stored::Exists(present)),
        }
    }
}

/// What a writer marks a value as. The store keeps the mark with the value and shows it, and that
/// is all: what it means is between its users. The next write says anew what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mark {
    /// A value like any other.
    #[default]
    None,
    /// Out of date, and better than none while nobody has made a new one.
    Stale,
    /// Somebody is making a new value, and others need not. There may be none to show yet.
    Pending,
    /// Out of date, and somebody is making a new one.
    StalePending,
}

impl Mark {
    /// The mark in the flags of a record.
    #[inline]
    pub(super) fn of(flags: u8) -> Mark {
        match (flags & STALE != 0, flags & PENDING != 0) {
            (false, false) => Mark::None,
            (true, false) => Mark::Stale,
            (false, true) => Mark::Pending,
            (true, true) => Mark::StalePending,
        }
    }

    /// The flags of a record with this mark.
    #[inline]
    pub(super) fn flags(self) -> u8 {
        match self {
            Mark::None => 0,
            Mark::Stale => STALE,
            Mark::Pending => PENDING,
            Mark::StalePending => STALE | PENDING,
        }
    }
}

/// A version that a caller gives must be one.
#[inline]
pub(super) fn check_version(version: Option<u64>) -> Result<()> {
    match version {
        Some(0) => Err(Error::Invalid("a version that is given must not be 0".into())),
        _ => Ok(()),
    }
}

/// A value with an owner was to have a version of its writer's choice.
#[cold]
pub(super) fn version_with_owner() -> Error {
    Error::Invalid(
        "a value with an owner cannot have a version that is given: write it without one".into(),
    )
}

/// How to write a value. The default: whatever is there, with the store's default lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The caller's own 32 bits, given back by reads.
    pub flags: u32,
    /// How long the value lives.
    pub ttl: Ttl,
    /// What must be there for the write to happen.
    pub expect: Expect,
    /// The key's session lock: nothing is written unless it is still the caller's.
    pub held: Option<&'a Held>,
    /// On the disk when the call returns, whatever the store's mode. (After a touch or a delete
    /// [`Store::sync`] does the same.)
    pub sync: bool,
    /// The name of the value's owner, 1 to 255 bytes, see [`Store::end_owner`]. `None` leaves a
    /// present value its owner, and gives a new one none.
    pub owner: Option<&'a [u8]>,
    /// What the value is marked as.
    pub mark: Mark,
    /// The version that the value is to have, not 0: for who keeps several stores alike, or counts
    /// versions himself. He sees to it that it tells apart what is to be told apart. `None`: one
    /// that was never issued before. A value with an owner, a present one that is kept too, cannot
    /// be given a version: [`Error::Invalid`].
    pub version: Option<u64>,
}

impl Default for Write<'_> {
    fn default() -> Self {
        Write {
            flags: 0,
            ttl: Ttl::Default,
            expect: Expect::Any,
            held: None,
            sync: false,
            owner: None,
            mark: Mark::None,
            version: None,
        }
    }
}

impl Store {
    /// Stores a value as `how` says.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// // On the disk when this returns, although the store syncs once a second only.
    /// let durable = Write { ttl: Ttl::Never, sync: true, ..Write::default() };
    /// assert!(matches!(store.write(b"order 7", b"paid", &durable)?, Stored::Done(_)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write(&self, key: &[u8], value: &[u8], how: &Write) -> Result<Stored> {
        let arena = self.arena()?;
        let stored = ops::put(arena, &self.key(arena, key)?, value, how)?;
        self.acknowledge(arena, stored, how.sync)
    }

    /// [`Store::write`] with everything but `sync` spelt out.
    pub fn put(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u32,
        ttl: Ttl,
        expect: Expect,
        held: Option<&Held>,
    ) -> Result<Stored> {
        self.write(key, value, &Write { flags, ttl, expect, held, ..Write::default() })
    }

    /// Stores a value whatever was there: [`Store::put`] with [`Expect::Any`] and no lock.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// assert!(matches!(store.set(b"k", b"v", 0, Ttl::Millis(60_000))?, Stored::Done(_)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set(&self, key: &[u8], value: &[u8], flags: u32, ttl: Ttl) -> Result<Stored> {
        self.put(key, value, flags, ttl, Expect::Any, None)
    }

    /// Stores a value if there is none.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// assert!(matches!(store.add(b"k", b"first", 0, Ttl::Never)?, Stored::Done(_)));
    /// assert!(matches!(store.add(b"k", b"second", 0, Ttl::Never)?, Stored::Exists(_)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add(&self, key: &[u8], value: &[u8], flags: u32, ttl: Ttl) -> Result<Stored> {
        self.put(key, value, flags, ttl, Expect::Absent, None)
    }

    /// Stores a value if there is one already.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// assert_eq!(store.replace(b"k", b"v", 0, Ttl::Never)?, Stored::Missing);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn replace(&self, key: &[u8], value: &[u8], flags: u32, ttl: Ttl) -> Result<Stored> {
        self.put(key, value, flags, ttl, Expect::Present, None)
    }

    /// Stores a value if the present one has the version `expected`: nobody wrote since it was
    /// read.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let Stored::Done(first) = store.set(b"k", b"1", 0, Ttl::Never)? else { unreachable!() };
    /// let Stored::Done(second) = store.cas(b"k", b"2", 0, Ttl::Never, first)? else { unreachable!() };
    /// assert_eq!(store.cas(b"k", b"3", 0, Ttl::Never, first)?, Stored::Exists(second));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cas(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u32,
        ttl: Ttl,
        expected: u64,
    ) -> Result<Stored> {
        self.put(key, value, flags, ttl, Expect::Version(expected), None)
    }
}
