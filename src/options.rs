//! How a store is made and opened; checked once.
//!
//! Size, lifetimes, hash and sync mode belong to the *store*: its creator sets them, and a later
//! opener that asks for something else is told so in the statistics, not obeyed.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::key::HashKind;
use crate::limits::*;
use crate::sys::clock::Clock;
use crate::sys::disk::Disk;

/// When writes reach the disk. Death of processes loses nothing in any mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Never on purpose: a power loss may lose everything since the last explicit sync.
    None,
    /// By one thread, `sync_interval` after a write at the latest: that much may be lost.
    #[default]
    Periodic,
    /// Before each write is acknowledged, one `fdatasync` for all that wait. (Except through a
    /// handle with [`Options::defer_sync`].)
    Always,
}

impl Sync {
    /// The mode of a number in `super` or `meta`.
    #[inline]
    pub(crate) fn from_number(number: u64) -> Option<Sync> {
        match number {
            0 => Some(Sync::None),
            1 => Some(Sync::Periodic),
            2 => Some(Sync::Always),
            _ => None,
        }
    }
}

/// What an opener asks for.
#[derive(Clone)]
pub struct Options {
    /// Make the store if there is none (never the directory).
    pub create: bool,
    /// Open even on a filesystem that is not known to be coherent.
    pub force_filesystem: bool,
    /// Start the thread that syncs in periodic mode when it is needed. Without it, the operation
    /// that finds a sync due does it, and nothing is synced while no operation comes.
    pub thread: bool,
    /// How long an operation may wait for a latch whose owner is stopped.
    pub operation_timeout: Duration,
    /// How long an open may wait for another process that creates or recovers the store.
    pub open_timeout: Duration,
    /// Asked of the store; `None` takes what it has, or the default when it is created.
    pub sync: Option<Sync>,
    /// See [`Sync::Periodic`]; default one second.
    pub sync_interval: Option<Duration>,
    /// Cap of the data on disk, bytes; default 1 GiB.
    pub max_bytes: Option<u64>,
    /// Longest value, bytes; default 1 MiB, at most 64 MiB.
    pub max_value_bytes: Option<u64>,
    /// Lifetime of what is stored with [`Ttl::Default`]; default: for ever.
    pub default_ttl: Option<Duration>,
    /// No lifetime is longer than this; default: no bound.
    pub max_ttl: Option<Duration>,
    /// How many processes may be attached at once; default 512.
    pub max_processes: Option<u32>,
    /// How keys are hashed.
    pub hash: Option<HashKind>,
    /// Compress values (LZ4) where that saves space: less disk and page cache for some time of the
    /// processor's. Default: no. Values are read whatever the setting was when they were written.
    pub compress: Option<bool>,
    /// What a full store does with a new value: drop old ones that nobody reads (`true`), as a cache
    /// does, or refuse it (`false`, the default), so that no session is lost.
    pub evict: Option<bool>,
    /// Of this handle alone: a change that is to be on the disk when its call returns
    /// ([`Sync::Always`], or `sync` in a write) is there only when a later [`Store::sync`] returned,
    /// and until then nobody may be told that it is done. For a server that cannot wait in each
    /// call, and answers many at once after one sync.
    ///
    /// [`Store::sync`]: crate::Store::sync
    pub defer_sync: bool,
    /// A test's clock in place of the machine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// A test's disk in place of the operating system's.
    pub disk: Option<Arc<dyn Disk>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: false,
            force_filesystem: false,
            thread: true,
            operation_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(30),
            sync: None,
            sync_interval: None,
            max_bytes: None,
            max_value_bytes: None,
            default_ttl: None,
            max_ttl: None,
            max_processes: None,
            hash: None,
            compress: None,
            evict: None,
            defer_sync: false,
            clock: None,
            disk: None,
        }
    }
}

/// How long a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// The store's default lifetime.
    Default,
    /// Until it is deleted (or the store's maximum lifetime).
    Never,
    /// Milliseconds from now.
    Millis(u64),
}

impl Ttl {
    /// Milliseconds that a value lives in a store with this default and maximum; 0 = for ever.
    #[inline]
    pub(crate) fn lifetime_ms(self, default_ms: u64, max_ms: u64) -> u64 {
        let asked = match self {
            Ttl::Default => default_ms,
            Ttl::Never => 0,
            Ttl::Millis(ms) => ms.clamp(1, TIME_MAX),
        };
        match (asked, max_ms) {
            (asked, 0) => asked,
            (0, max) => max,
            (asked, max) => asked.min(max),
        }
    }
}

/// The options that belong to the store and are the same for all who have it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When writes reach the disk.
    pub sync: Sync,
    /// What a power loss may cost in [`Sync::Periodic`].
    pub sync_interval_ms: u64,
    /// Cap of the data on disk.
    pub max_bytes: u64,
    /// Longest value.
    pub max_value_bytes: u64,
    /// Lifetime of what is stored with [`Ttl::Default`]; 0 = for ever.
    pub default_ttl_ms: u64,
    /// No lifetime is longer than this; 0 = no bound.
    pub max_ttl_ms: u64,
    /// How many processes may be attached at once.
    pub max_processes: u32,
    /// How keys are hashed.
    pub hash: HashKind,
    /// Are values compressed when they are written?
    pub compress: bool,
    /// Are old values that nobody reads dropped when the store is full?
    pub evict: bool,
    /// The `max_bytes` that the store gets from its next opener who is alone; 0 = none waits.
    pub pending_max_bytes: u64,
    /// The `max_processes` that waits in the same way; 0 = none waits.
    pub pending_max_processes: u32,
}

/// Options of a store to change while it is in use; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigChange {
    /// When writes reach the disk.
    pub sync: Option<Sync>,
    /// Compress values that are written from now on?
    pub compress: Option<bool>,
    /// Drop old values that nobody reads when the store is full?
    pub evict: Option<bool>,
    /// At most a day.
    pub sync_interval_ms: Option<u64>,
    /// 0 = for ever. Values that are there keep their lifetimes.
    pub default_ttl_ms: Option<u64>,
    /// 0 = no bound. Values that are there keep their lifetimes.
    pub max_ttl_ms: Option<u64>,
    /// At most an eighth of `max_bytes`. Longer values that are there stay.
    pub max_value_bytes: Option<u64>,
    /// Only more than now. Waits for an opener who is alone.
    pub max_bytes: Option<u64>,
    /// Waits for an opener who is alone.
    pub max_processes: Option<u32>,
}

fn millis(duration: Duration) -> u64 {
    (duration.as_millis() as u64).clamp(1, TIME_MAX)
}

impl Options {
    /// What a new store would be.
    pub(crate) fn config(&self) -> Result<Config> {
        let max_value_bytes = self.max_value_bytes.unwrap_or(VALUE_DEFAULT);
        if max_value_bytes > VALUE_MAX {
            return Err(Error::Invalid(format!(
                "max_value_bytes is {max_value_bytes}, the most is {VALUE_MAX} (64 MiB)"
            )));
        }
        let low = MAX_BYTES_LOW.max(VALUES_IN_STORE * max_value_bytes);
        let max_bytes = self.max_bytes.unwrap_or(MAX_BYTES_DEFAULT.max(low));
        if !(low..=MAX_BYTES_HIGH).contains(&max_bytes) {
            return Err(Error::Invalid(format!(
                "max_bytes is {max_bytes}; with values of up to {max_value_bytes} bytes it must be \
                 {low} to {MAX_BYTES_HIGH}"
            )));
        }
        let max_processes = self.max_processes.unwrap_or(PROCESSES_DEFAULT);
        if !(1..=PROCESSES_MAX).contains(&max_processes) {
            return Err(Error::Invalid(format!(
                "max_processes is {max_processes}, it must be 1 to {PROCESSES_MAX}"
            )));
        }
        Ok(Config {
            sync: self.sync.unwrap_or_default(),
            sync_interval_ms: self.sync_interval.map_or(1000, millis),
            max_bytes,
            max_value_bytes,
            default_ttl_ms: self.default_ttl.map_or(0, millis),
            max_ttl_ms: self.max_ttl.map_or(0, millis),
            max_processes,
            hash: self.hash.unwrap_or_default(),
            compress: self.compress.unwrap_or_default(),
            evict: self.evict.unwrap_or_default(),
            pending_max_bytes: 0,
            pending_max_processes: 0,
        })
    }

    /// Does the opener ask for anything that this store is not?
    pub(crate) fn differs(&self, has: &Config) -> bool {
        fn other<T: PartialEq>(asked: Option<T>, has: T) -> bool {
            asked.is_some_and(|asked| asked != has)
        }
        other(self.sync, has.sync)
            || other(self.sync_interval.map(millis), has.sync_interval_ms)
            || other(self.max_bytes, has.max_bytes)
            || other(self.max_value_bytes, has.max_value_bytes)
            || other(self.default_ttl.map(millis), has.default_ttl_ms)
            || other(self.max_ttl.map(millis), has.max_ttl_ms)
            || other(self.max_processes, has.max_processes)
            || other(self.hash, has.hash)
            || other(self.compress, has.compress)
            || other(self.evict, has.evict)
    }
}

impl Config {
    /// The options after a change. What needs the store to itself waits in the pending fields.
    pub(crate) fn changed(&self, change: &ConfigChange) -> Result<Config> {
        let mut new = *self;
        new.sync = change.sync.unwrap_or(new.sync);
        new.compress = change.compress.unwrap_or(new.compress);
        new.evict = change.evict.unwrap_or(new.evict);
        if let Some(ms) = change.sync_interval_ms {
            within("sync_interval_ms", ms, 1, SYNC_INTERVAL_MAX_MS)?;
            new.sync_interval_ms = ms;
        }
        for (name, asked, field) in [
            ("default_ttl_ms", change.default_ttl_ms, &mut new.default_ttl_ms),
            ("max_ttl_ms", change.max_ttl_ms, &mut new.max_ttl_ms),
        ] {
            let Some(ms) = asked else { continue };
            within(name, ms, 0, TIME_MAX)?;
            *field = ms;
        }
        if let Some(bytes) = change.max_value_bytes {
            within("max_value_bytes", bytes, 0, VALUE_MAX)?;
            let most = self.max_bytes / VALUES_IN_STORE;
            if bytes > most {
                return Err(Error::Invalid(format!(
                    "max_value_bytes is to be {bytes}; a store of {} bytes takes values of up to \
                     {most}: let max_bytes grow first",
                    self.max_bytes
                )));
            }
            new.max_value_bytes = bytes;
        }
        if let Some(bytes) = change.max_bytes {
            if bytes < self.max_bytes {
                return Err(Error::Invalid(format!(
                    "max_bytes is {} and is to be {bytes}: a store only grows; to have a smaller \
                     one, create it beside this one and copy the values over",
                    self.max_bytes
                )));
            }
            within("max_bytes", bytes, MAX_BYTES_LOW, MAX_BYTES_HIGH)?;
            new.pending_max_bytes = if bytes == self.max_bytes { 0 } else { bytes };
        }
        if let Some(processes) = change.max_processes {
            within("max_processes", processes as u64, 1, PROCESSES_MAX as u64)?;
            new.pending_max_processes = if processes == self.max_processes { 0 } else { processes };
        }
        Ok(new)
    }

    /// What waits, come into force; `None` if nothing waits.
    pub(crate) fn settled(&self) -> Option<Config> {
        let or = |new: u64, old: u64| if new == 0 { old } else { new };
        let new = Config {
            max_bytes: or(self.pending_max_bytes, self.max_bytes),
            max_processes: or(self.pending_max_processes as u64, self.max_processes as u64) as u32,
            pending_max_bytes: 0,
            pending_max_processes: 0,
            ..*self
        };
        (new != *self).then_some(new)
    }
}

fn within(name: &str, asked: u64, low: u64, high: u64) -> Result<()> {
    match (low..=high).contains(&asked) {
        true => Ok(()),
        false => {
            Err(Error::Invalid(format!("{name} is to be {asked}; it must be {low} to {high}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_refused_with_their_bounds() {
        let bad = |o: Options| o.config().unwrap_err().to_string();
        assert!(bad(Options { max_bytes: Some(1), ..Options::default() }).contains("8388608"));
        let big = Options { max_value_bytes: Some(65 << 20), ..Options::default() };
        assert!(bad(big).contains("64 MiB"));
        assert!(Options::default().config().is_ok());
    }

    #[test]
    fn lifetimes_respect_default_and_maximum() {
        let options = Options {
            default_ttl: Some(Duration::from_secs(10)),
            max_ttl: Some(Duration::from_secs(20)),
            ..Options::default()
        };
        let config = options.config().unwrap();
        let lifetime = |ttl: Ttl| ttl.lifetime_ms(config.default_ttl_ms, config.max_ttl_ms);
        assert_eq!(lifetime(Ttl::Default), 10_000);
        assert_eq!(lifetime(Ttl::Never), 20_000);
        assert_eq!(lifetime(Ttl::Millis(30_000)), 20_000);
        assert_eq!(lifetime(Ttl::Millis(5)), 5);
    }

    #[test]
    fn a_change_is_checked_and_what_needs_the_store_alone_waits() {
        let config = Options { max_bytes: Some(16 << 20), ..Options::default() }.config().unwrap();
        let refused = |change: ConfigChange| config.changed(&change).unwrap_err().to_string();
        let less = ConfigChange { max_bytes: Some(8 << 20), ..Default::default() };
        assert!(refused(less).contains("only grows"));
        let long = ConfigChange { max_value_bytes: Some(3 << 20), ..Default::default() };
        assert!(refused(long).contains("2097152"));
        let never = ConfigChange { sync_interval_ms: Some(0), ..Default::default() };
        assert!(refused(never).contains("1 to 86400000"));
        let more = ConfigChange { max_bytes: Some(32 << 20), ..Default::default() };
        let waits = config.changed(&more).unwrap();
        assert_eq!((waits.max_bytes, waits.pending_max_bytes), (16 << 20, 32 << 20));
        assert_eq!(
            waits.settled().map(|c| (c.max_bytes, c.pending_max_bytes)),
            Some((32 << 20, 0))
        );
        assert_eq!(config.settled(), None);
    }
}
