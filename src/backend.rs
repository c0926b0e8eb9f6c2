//! The seam between those who keep sessions and the engine that keeps them.
//!
//! The C ABI and everything above it see only [`Backend`] and [`open`]. The local store is one
//! engine; an address with a scheme names another.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lock::{Acquired, Held, Holder, LockInfo, Wait};
use crate::options::{Config, ConfigChange, Options, Ttl};
use crate::store::{
    BackedUp, BatchItem, Compute, Condition, Counted, Each, Item, Page, Progress, Range,
    Reclaimable, RepairOptions, Repaired, Restored, Scan, Soon, Stats, Store, Stored, Verified,
    Visit, Write,
};

/// The outcome of opening a session: its lock, and what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The lock is the caller's; the value, if there is one, was read.
    Open(Held, Option<Item>),
    /// See [`Acquired::TimedOut`].
    TimedOut(Holder),
    /// See [`Acquired::Stopped`].
    Stopped(Holder),
    /// See [`Acquired::Crowded`].
    Crowded(Holder),
}

/// What closing a session does before it gives the lock back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Stores the value.
    Write {
        /// The new value.
        value: &'a [u8],
        /// The caller's own bits.
        flags: u32,
        /// Its lifetime.
        ttl: Ttl,
    },
    /// Gives what is stored a new lifetime.
    Touch(Ttl),
    /// Nothing.
    Nothing,
}

/// Everything that an engine does; the verbs of [`Store`], with the same meaning.
#[allow(missing_docs, reason = "each verb is documented at Store")]
pub trait Backend: Send + Sync {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Result<Option<Item>>;
    fn get_touch(&self, key: &[u8], ttl: Ttl, out: &mut Vec<u8>) -> Result<Option<Item>>;
    fn exists(&self, key: &[u8]) -> Result<Option<Item>>;
    fn write(&self, key: &[u8], value: &[u8], how: &Write) -> Result<Stored>;
    fn update(
        &self,
        key: &[u8],
        held: Option<&Held>,
        sync: bool,
        compute: &mut Compute,
    ) -> Result<Stored>;
    fn increment(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted>;
    fn decrement(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted>;
    fn append(&self, key: &[u8], bytes: &[u8], held: Option<&Held>, sync: bool) -> Result<Stored>;
    fn prepend(&self, key: &[u8], bytes: &[u8], held: Option<&Held>, sync: bool) -> Result<Stored>;
    fn get_many(&self, keys: &[&[u8]], each: &mut Each) -> Result<()>;
    fn set_many(&self, items: &[BatchItem]) -> Result<Vec<Result<Stored>>>;
    /// Nothing, where there is nothing to be fetched ahead.
    fn prefetch(&self, keys: &[Soon]) {
        let _ = keys;
    }
    fn touch(&self, key: &[u8], ttl: Ttl, held: Option<&Held>) -> Result<Stored>;
    fn delete(&self, key: &[u8], expected: Option<u64>, held: Option<&Held>) -> Result<Stored>;
    fn scan(&self, cursor: &mut u64, scan: &Scan, visit: &mut Visit) -> Result<Page>;
    fn range(&self, range: &Range, visit: &mut Visit) -> Result<Page>;
    fn count_keys(&self, prefix: &[u8]) -> Result<u64>;
    fn expire(&self, max_records: u64) -> Result<u64>;
    fn compact(&self) -> Result<u64>;
    fn lock(&self, key: &[u8], cookie: u64, wait: &Wait) -> Result<Acquired>;
    fn renew(&self, key: &[u8], held: &Held, lease: Option<Duration>) -> Result<bool>;
    fn unlock(&self, key: &[u8], held: &Held) -> Result<bool>;
    fn locks(&self, limit: usize) -> Result<Vec<LockInfo>>;
    fn key_hash(&self, key: &[u8]) -> Result<u64>;
    fn now_ms(&self) -> Result<u64>;
    fn sync(&self) -> Result<()>;
    fn sync_is_always(&self) -> bool;
    fn stats(&self) -> Result<Stats>;
    fn condition(&self) -> Result<Condition>;
    fn config(&self) -> Result<Config>;
    fn set_config(&self, change: &ConfigChange) -> Result<Config>;
    fn flush(&self, at_ms: Option<u64>) -> Result<()>;
    fn set_owner(&self, key: &[u8], owner: &[u8], held: Option<&Held>) -> Result<Stored>;
    fn owner_of(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    fn owner_keys(&self, owner: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<u64>;
    fn end_owner(&self, owner: &[u8]) -> Result<bool>;
    fn trim_memory(&self) -> Result<u64>;
    fn verify(&self, progress: &mut Progress) -> Result<Verified>;
    fn backup(&self, to: &Path, verify: bool, progress: &mut Progress) -> Result<BackedUp>;
    fn reclaimable(&self, exact: bool) -> Result<Reclaimable>;

    /// Takes the lock and reads the value: one round trip where the engine is far away.
    fn open_session(
        &self,
        key: &[u8],
        cookie: u64,
        wait: &Wait,
        out: &mut Vec<u8>,
    ) -> Result<Session> {
        let held = match self.lock(key, cookie, wait)? {
            Acquired::Held(held) => held,
            Acquired::TimedOut(holder) => return Ok(Session::TimedOut(holder)),
            Acquired::Stopped(holder) => return Ok(Session::Stopped(holder)),
            Acquired::Crowded(holder) => return Ok(Session::Crowded(holder)),
        };
        match self.get(key, out) {
            Ok(item) => Ok(Session::Open(held, item)),
            Err(error) => {
                // The caller learns of no lock, so it must not keep one.
                let _ = self.unlock(key, &held);
                Err(error)
            }
        }
    }

    /// Writes or touches under the lock, then gives it back: one round trip where far away.
    fn close_session(&self, key: &[u8], held: &Held, change: Change) -> Result<Stored> {
        let done = match change {
            Change::Write { value, flags, ttl } => {
                self.write(key, value, &Write { flags, ttl, held: Some(held), ..Write::default() })
            }
            Change::Touch(ttl) => self.touch(key, ttl, Some(held)),
            Change::Nothing => Ok(Stored::Done(0)),
        };
        let had_it = self.unlock(key, held)?;
        match done {
            Ok(Stored::Done(_)) if !had_it => Ok(Stored::Lost),
            other => other,
        }
    }
}

impl Backend for Store {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Result<Option<Item>> {
        Store::get(self, key, out)
    }
    fn get_touch(&self, key: &[u8], ttl: Ttl, out: &mut Vec<u8>) -> Result<Option<Item>> {
        Store::get_touch(self, key, ttl, out)
    }
    fn exists(&self, key: &[u8]) -> Result<Option<Item>> {
        Store::exists(self, key)
    }
    fn write(&self, key: &[u8], value: &[u8], how: &Write) -> Result<Stored> {
        Store::write(self, key, value, how)
    }
    fn update(
        &self,
        key: &[u8],
        held: Option<&Held>,
        sync: bool,
        compute: &mut Compute,
    ) -> Result<Stored> {
        Store::update(self, key, held, sync, compute)
    }
    fn increment(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted> {
        Store::increment(self, key, delta, initial, how)
    }
    fn decrement(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted> {
        Store::decrement(self, key, delta, initial, how)
    }
    fn append(&self, key: &[u8], bytes: &[u8], held: Option<&Held>, sync: bool) -> Result<Stored> {
        Store::append(self, key, bytes, held, sync)
    }
    fn prepend(&self, key: &[u8], bytes: &[u8], held: Option<&Held>, sync: bool) -> Result<Stored> {
        Store::prepend(self, key, bytes, held, sync)
    }
    fn get_many(&self, keys: &[&[u8]], each: &mut Each) -> Result<()> {
        Store::get_many(self, keys, each)
    }
    fn set_many(&self, items: &[BatchItem]) -> Result<Vec<Result<Stored>>> {
        Store::set_many(self, items)
    }
    fn prefetch(&self, keys: &[Soon]) {
        Store::prefetch(self, keys);
    }
    fn touch(&self, key: &[u8], ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
        Store::touch(self, key, ttl, held)
    }
    fn delete(&self, key: &[u8], expected: Option<u64>, held: Option<&Held>) -> Result<Stored> {
        Store::delete(self, key, expected, held)
    }
    fn scan(&self, cursor: &mut u64, scan: &Scan, visit: &mut Visit) -> Result<Page> {
        Store::scan(self, cursor, scan, visit)
    }
    fn range(&self, range: &Range, visit: &mut Visit) -> Result<Page> {
        Store::range(self, range, visit)
    }
    fn count_keys(&self, prefix: &[u8]) -> Result<u64> {
        Store::count_keys(self, prefix)
    }
    fn expire(&self, max_records: u64) -> Result<u64> {
        Store::expire(self, max_records)
    }
    fn compact(&self) -> Result<u64> {
        Store::compact(self)
    }
    fn lock(&self, key: &[u8], cookie: u64, wait: &Wait) -> Result<Acquired> {
        Store::lock(self, key, cookie, wait)
    }
    fn renew(&self, key: &[u8], held: &Held, lease: Option<Duration>) -> Result<bool> {
        Store::renew(self, key, held, lease)
    }
    fn unlock(&self, key: &[u8], held: &Held) -> Result<bool> {
        Store::unlock(self, key, held)
    }
    fn locks(&self, limit: usize) -> Result<Vec<LockInfo>> {
        Store::locks(self, limit)
    }
    fn key_hash(&self, key: &[u8]) -> Result<u64> {
        Store::key_hash(self, key)
    }
    fn now_ms(&self) -> Result<u64> {
        Store::now_ms(self)
    }
    fn sync(&self) -> Result<()> {
        Store::sync(self)
    }
    fn sync_is_always(&self) -> bool {
        Store::sync_is_always(self)
    }
    fn stats(&self) -> Result<Stats> {
        Store::stats(self)
    }
    fn condition(&self) -> Result<Condition> {
        Store::condition(self)
    }
    fn config(&self) -> Result<Config> {
        Store::config(self)
    }
    fn set_config(&self, change: &ConfigChange) -> Result<Config> {
        Store::set_config(self, change)
    }
    fn flush(&self, at_ms: Option<u64>) -> Result<()> {
        Store::flush(self, at_ms)
    }
    fn set_owner(&self, key: &[u8], owner: &[u8], held: Option<&Held>) -> Result<Stored> {
        Store::set_owner(self, key, owner, held)
    }
    fn owner_of(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Store::owner_of(self, key)
    }
    fn owner_keys(&self, owner: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<u64> {
        Store::owner_keys(self, owner, each)
    }
    fn end_owner(&self, owner: &[u8]) -> Result<bool> {
        Store::end_owner(self, owner)
    }
    fn trim_memory(&self) -> Result<u64> {
        Store::trim_memory(self)
    }
    fn verify(&self, progress: &mut Progress) -> Result<Verified> {
        Store::verify(self, progress)
    }
    fn backup(&self, to: &Path, verify: bool, progress: &mut Progress) -> Result<BackedUp> {
        Store::backup(self, to, verify, progress)
    }
    fn reclaimable(&self, exact: bool) -> Result<Reclaimable> {
        Store::reclaimable(self, exact)
    }
}

/// The directory that an address names. One with a scheme (`redis://host`) names an engine that
/// this version does not have yet, and says so.
fn directory(address: &OsStr) -> Result<&Path> {
    match address.to_str().and_then(|text| text.split_once("://")) {
        Some(("file", path)) => Ok(Path::new(path)),
        Some((scheme, _)) => Err(Error::Unsupported(format!(
            "{scheme}:// addresses are not supported by this version ({}); give a directory",
            env!("CARGO_PKG_VERSION")
        ))),
        None => Ok(Path::new(address)),
    }
}

/// Opens a store by its address.
pub fn open(address: impl AsRef<OsStr>, options: &Options) -> Result<Box<dyn Backend>> {
    Ok(Box::new(Store::open(directory(address.as_ref())?, options)?))
}

/// [`Store::repair`] by address.
pub fn repair(
    address: impl AsRef<OsStr>,
    options: &RepairOptions,
    progress: &mut Progress,
) -> Result<Repaired> {
    Store::repair(directory(address.as_ref())?, options, progress)
}

/// [`Store::restore`] by addresses.
pub fn restore(
    from: impl AsRef<OsStr>,
    to: impl AsRef<OsStr>,
    progress: &mut Progress,
) -> Result<Restored> {
    Store::restore(directory(from.as_ref())?, directory(to.as_ref())?, progress)
}
