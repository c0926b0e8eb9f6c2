//! The store: open, close, one short method per verb.
//!
//! A process attaches to a directory once, however often it opens it. After a fork the child
//! attaches itself anew at its first operation; it never has its parent's locks.

mod alone;
mod attach;
mod care;
mod commit;
mod config;
mod files;
mod flush;
mod flusher;
mod growth;
mod life;
mod look;
mod many;
mod ops;
mod owner;
mod pack;
mod recover;
mod scan;
mod state;
mod stats;
mod stripe;
mod superblock;
mod sweep;
mod sync;
mod touch;
mod update;
mod write;

use std::path::Path;
use std::sync::{Arc, Weak};

use crate::arena::{Arena, Count};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::limits::SWEEP_RECORDS;
use crate::lock::{self, Acquired, Held, LockInfo, Wait};
use crate::options::{Options, Sync, Ttl};
use crate::sys::dir::Dir;
use crate::sys::fork::{self, Kept};
use crate::sys::peers::AttachGuard;
pub use care::{
    Amount, BackedUp, Finding, Progress, Reclaimable, RepairOptions, Repaired, Restored, Verified,
};
use flusher::Flusher;
pub use many::{BatchItem, Each, Soon};
use ops::Doomed;
pub use scan::{Entry, Filter, Page, Range, SCAN_DONE, Scan, Visit};
pub use stats::{Condition, Stats};
use stripe::Stripe;
pub use update::{Compute, Counted, Update, number};
pub use write::{Expect, Mark, Write};

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Done; the version now stored (of a touch: the version touched).
    Done(u64),
    /// There is a value, of this version, that the caller did not expect.
    Exists(u64),
    /// There is no value.
    Missing,
    /// The caller's lock is no longer held: nothing was written.
    Lost,
}

/// What is known of a value beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Changes with every write and never repeats, unless its writer gave it ([`Write::version`]).
    pub version: u64,
    /// The caller's own 32 bits.
    pub flags: u32,
    /// Unix milliseconds of store time; 0 = never.
    pub expires_ms: u64,
    /// Bytes.
    pub value_len: u64,
    /// What its writer marked it as.
    pub mark: Mark,
}

/// One process's attachment to a store.
struct Attachment {
    arena: Arc<Arena>,
    flusher: Arc<Flusher>,
    /// What its first opener asked for.
    asked: Options,
}

/// A store. Any number of threads may use one value; clones share the attachment.
///
/// ```
/// use holdfast::{Acquired, Options, Store, Ttl, Wait, Write};
/// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
/// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
/// # let path = dir.path();
///
/// // `path` is a directory of mode 0700.
/// let store = Store::open(path, &Options { create: true, ..Options::default() })?;
///
/// // One request at a time works on this session; it ends with its process at the latest.
/// let Acquired::Held(lock) = store.lock(b"session 42", 1, &Wait::default())? else {
///     panic!("no limit was set for the wait");
/// };
/// let mut value = Vec::new();
/// store.get(b"session 42", &mut value)?;
/// value.extend_from_slice(b"one more visit; ");
/// let mine = Write { ttl: Ttl::Millis(1_440_000), held: Some(&lock), ..Write::default() };
/// store.write(b"session 42", &value, &mine)?;
/// store.unlock(b"session 42", &lock)?;
/// # Ok::<(), holdfast::Error>(())
/// ```
#[derive(Clone)]
pub struct Store {
    attached: Arc<Attachment>,
    /// See [`Options::defer_sync`].
    defer_sync: bool,
}

/// Device and inode of a directory.
type Identity = (u64, u64);

/// What this process is attached to.
static REGISTRY: Kept<Vec<(Identity, Weak<Attachment>)>> = Kept::new();

impl Store {
    /// Opens the store in a directory; see [`Options`] for what happens if there is none.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Store> {
        options.config()?;
        fork::prepare()?;
        let path = std::path::absolute(path.as_ref())
            .map_err(|e| Error::io(format!("finding {}", path.as_ref().display()), e))?;
        let identity = Dir::open(&path, options.force_filesystem)?.identity()?;
        // Dropped after the guard: letting go of the last use of an attachment takes it too.
        let known;
        let mut one_at_a_time = AttachGuard::new();
        known = REGISTRY.with(&mut one_at_a_time, |registry| {
            registry.retain(|(_, weak)| weak.strong_count() > 0);
            let here = registry.iter().filter(|(id, _)| *id == identity);
            here.filter_map(|(_, weak)| weak.upgrade()).collect::<Vec<_>>()
        });
        if let Some(attached) = known.iter().find(|attached| attached.is_in_place()) {
            attached.renew_after_fork()?;
            return Ok(Store { attached: attached.clone(), defer_sync: options.defer_sync });
        }
        let arena = attach::attach(&path, options)?;
        let attached = Arc::new(Attachment {
            asked: options.clone(),
            flusher: Arc::new(Flusher::new(options.thread)),
            arena: Arc::new(arena),
        });
        flusher::look_after(&attached.arena, &attached.flusher);
        REGISTRY.with(&mut one_at_a_time, |registry| {
            registry.push((identity, Arc::downgrade(&attached)));
        });
        Ok(Store { attached, defer_sync: options.defer_sync })
    }

    /// The attachment, made this process's own after a fork.
    #[inline]
    fn arena(&self) -> Result<&Arena> {
        let arena = &self.attached.arena;
        if !arena.peers.is_mine() {
            self.ready()?;
        }
        Ok(arena)
    }

    #[cold]
    fn ready(&self) -> Result<()> {
        let _one_at_a_time = AttachGuard::new();
        self.attached.renew_after_fork()
    }

    #[inline(always)]
    fn key<'a>(&self, arena: &Arena, key: &'a [u8]) -> Result<Key<'a>> {
        Key::new(key, &arena.hash)
    }

    /// After a change: it counts as acknowledged when this returns. With `sync` it is on the disk
    /// then, whatever the mode, unless that is the caller's to see to.
    #[inline]
    fn acknowledge(&self, arena: &Arena, stored: Stored, sync: bool) -> Result<Stored> {
        if let Stored::Done(_) = stored {
            self.changed(arena, sync)?;
        }
        Ok(stored)
    }

    /// The same for whatever was written.
    #[inline]
    fn changed(&self, arena: &Arena, sync: bool) -> Result<()> {
        if !self.defer_sync && (sync || arena.sync_mode() == Sync::Always) {
            sync::wait_durable(arena)?;
        }
        flusher::changed(&self.attached.arena, &self.attached.flusher)
    }

    /// Reads a value into `out`, whose memory is reused; `None` if there is none.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"value", 7, Ttl::Never)?;
    /// let mut value = Vec::new();
    /// let item = store.get(b"k", &mut value)?.expect("just set");
    /// assert_eq!((value.as_slice(), item.flags), (&b"value"[..], 7));
    /// assert!(store.get(b"other", &mut value)?.is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Result<Option<Item>> {
        let arena = self.arena()?;
        look::get(arena, &self.key(arena, key)?, out)
    }

    /// Reads a value and gives it a new lifetime.
    pub fn get_touch(&self, key: &[u8], ttl: Ttl, out: &mut Vec<u8>) -> Result<Option<Item>> {
        let arena = self.arena()?;
        arena.count(Count::Gets);
        let Some(read) = look::read(arena, &self.key(arena, key)?, out)? else { return Ok(None) };
        arena.count(Count::Hits);
        let mut item = read.item;
        match self.touch(key, ttl, None)? {
            Stored::Done(version) if version == item.version && read.given.is_none() => {}
            // Written anew with a shorter life, or by somebody else, perhaps with the version that
            // he gave before: say what is there now.
            Stored::Done(_) => return self.get(key, out),
            _ => {
                out.clear();
                return Ok(None);
            }
        }
        item.expires_ms = match arena.lifetime_ms(ttl) {
            0 => 0,
            lifetime => arena.now_ms() + lifetime,
        };
        Ok(Some(item))
    }

    /// Looks whether there is a value, without reading it.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"four", 0, Ttl::Never)?;
    /// assert_eq!(store.exists(b"k")?.expect("just set").value_len, 4);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn exists(&self, key: &[u8]) -> Result<Option<Item>> {
        let arena = self.arena()?;
        look::exists(arena, &self.key(arena, key)?)
    }

    /// Gives a value a new lifetime.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"v", 0, Ttl::Millis(1_000))?;
    /// assert!(matches!(store.touch(b"k", Ttl::Millis(60_000), None)?, Stored::Done(_)));
    /// assert_eq!(store.touch(b"other", Ttl::Never, None)?, Stored::Missing);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn touch(&self, key: &[u8], ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
        let arena = self.arena()?;
        let stored = touch::touch(arena, &self.key(arena, key)?, ttl, held)?;
        self.acknowledge(arena, stored, false)
    }

    /// Deletes a value, if it has the version `expected`.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"v", 0, Ttl::Never)?;
    /// assert!(matches!(store.delete(b"k", None, None)?, Stored::Done(_)));
    /// assert_eq!(store.delete(b"k", None, None)?, Stored::Missing);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn delete(&self, key: &[u8], expected: Option<u64>, held: Option<&Held>) -> Result<Stored> {
        let arena = self.arena()?;
        let which = expected.map_or(Doomed::Any, Doomed::Version);
        let (stored, wrote) = ops::delete(arena, &self.key(arena, key)?, which, held)?;
        if wrote {
            self.changed(arena, false)?;
        }
        Ok(stored)
    }

    /// Drops expired values, looking at about `max_records` records (0 = a default); gives their
    /// number. Space comes back without it too; this is for those who want it now.
    pub fn expire(&self, max_records: u64) -> Result<u64> {
        let arena = self.arena()?;
        let budget = if max_records == 0 { SWEEP_RECORDS } else { max_records };
        let expired = sweep::expire(arena, budget)?;
        flusher::changed(&self.attached.arena, &self.attached.flusher)?;
        Ok(expired)
    }

    /// Moves what is alive together, wherever something dead lies between, and gives all free disk
    /// space back to the filesystem; gives the bytes that are no longer in use. Space comes back
    /// without it too; this is for after a peak, and takes as long as copying the store.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// for number in 0..2000 {
    ///     store.set(b"k", &[1; 1000], number, Ttl::Never)?;
    /// }
    /// assert!(store.compact()? > 1_000_000);
    /// assert_eq!(store.exists(b"k")?.expect("it lives").flags, 1999);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn compact(&self) -> Result<u64> {
        let arena = self.arena()?;
        arena.check_sync()?;
        let given_back = sweep::compact(arena)?;
        flusher::changed(&self.attached.arena, &self.attached.flusher)?;
        Ok(given_back)
    }

    /// Takes a key's session lock. `cookie` names the owner within this process.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// use std::time::Duration;
    /// let Acquired::Held(mine) = store.lock(b"s", 1, &Wait::default())? else { unreachable!() };
    /// let at_once = Wait { timeout: Some(Duration::ZERO), ..Wait::default() };
    /// assert!(matches!(store.lock(b"s", 2, &at_once)?, Acquired::TimedOut(_)));
    /// assert!(store.unlock(b"s", &mine)?);
    /// assert!(matches!(store.lock(b"s", 2, &at_once)?, Acquired::Held(_)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock(&self, key: &[u8], cookie: u64, wait: &Wait) -> Result<Acquired> {
        let arena = self.arena()?;
        self.check_life(arena)?;
        let key = self.key(arena, key)?;
        // Whoever locks a key reads its value next, and that is two waits for memory away.
        Stripe::prefetch(arena, key.hash);
        let acquired = lock::acquire(arena, &key, cookie, wait);
        Stripe::prefetch_record(arena, key.hash, true);
        acquired
    }

    /// A host may close all descriptors, ours too: then our life byte is gone and we attach anew. And
    /// somebody may have put another store in the place of this one: what is locked here, nobody
    /// there would know of. Looked at once a second at most.
    #[inline]
    fn check_life(&self, arena: &Arena) -> Result<()> {
        if !self.attached.flusher.life_is_due() {
            return Ok(());
        }
        if !arena.peers.intact() {
            let _one_at_a_time = AttachGuard::new();
            if !arena.peers.intact() {
                attach::reattach(arena)?;
            }
        }
        files::look_around(arena);
        self.arena().map(drop)
    }

    /// Starts the lease of a lock over; false if it is lost.
    pub fn renew(
        &self,
        key: &[u8],
        held: &Held,
        lease: Option<std::time::Duration>,
    ) -> Result<bool> {
        let arena = self.arena()?;
        lock::renew(arena, &self.key(arena, key)?, held, lease)
    }

    /// Gives a lock back; false if it was lost before.
    pub fn unlock(&self, key: &[u8], held: &Held) -> Result<bool> {
        let arena = self.arena()?;
        lock::release(arena, &self.key(arena, key)?, held)
    }

    /// Up to `limit` session locks that are held.
    pub fn locks(&self, limit: usize) -> Result<Vec<LockInfo>> {
        lock::list(self.arena()?, limit)
    }

    /// The hash under which [`Store::locks`] shows a key.
    pub fn key_hash(&self, key: &[u8]) -> Result<u64> {
        let arena = self.arena()?;
        Ok(self.key(arena, key)?.hash.max(1))
    }

    /// Is each change to be on the disk before anybody is told of it? As the store is set now; for
    /// who looks after that himself, see [`Options::defer_sync`].
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// let options = Options { sync: Some(Sync::Always), defer_sync: true, ..options };
    /// let store = Store::open(dir.path(), &options)?;
    /// for request in [b"first", b"other"] {
    ///     store.set(request, b"done", 0, Ttl::Never)?;
    /// }
    /// if store.sync_is_always() {
    ///     store.sync()?;
    /// }
    /// // Only now are both answered.
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sync_is_always(&self) -> bool {
        self.attached.arena.sync_mode() == Sync::Always
    }

    /// Returns when everything that was changed before, through any handle, is on the disk, whatever
    /// the mode.
    pub fn sync(&self) -> Result<()> {
        sync::wait_durable(self.arena()?)
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Result<Stats> {
        stats::stats(self.arena()?, &self.attached.asked)
    }

    /// Is everything as it should be? Unlike [`Store::stats`] it counts nothing, so it costs the same
    /// in a large store.
    pub fn condition(&self) -> Result<Condition> {
        let arena = match self.attached.arena.peers.is_of_this_process() {
            // In doubt or not: this is how to ask.
            true => &self.attached.arena,
            false => self.arena()?,
        };
        Ok(stats::condition(arena, &self.attached.asked))
    }

    /// Lets go of the memory in which old values are kept: their pages leave this process, and, where
    /// no other process has them mapped, the page cache too. Gives about how many bytes of the data
    /// are no longer in memory.
    ///
    /// Nothing is lost, and what is read later comes back from the page cache or the disk, at its
    /// speed. So this is for a process that goes idle, or one that has just read everything, as a
    /// scan with values does. What was written since the last [`Store::sync`] stays in the page
    /// cache, and so does all of a store on a tmpfs. Index and control words stay, and so do the
    /// segments that are written to. It takes some 10 ms for each 100 MB that leave memory.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", &[7; 100_000], 0, Ttl::Never)?;
    /// store.sync()?;
    /// let before = store.stats()?.data_resident_bytes;
    /// store.trim_memory()?;
    /// assert!(store.stats()?.data_resident_bytes <= before);
    /// assert!(store.get(b"k", &mut Vec::new())?.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn trim_memory(&self) -> Result<u64> {
        stats::trim_memory(self.arena()?)
    }

    /// When the store's clock says it is, unix milliseconds.
    pub fn now_ms(&self) -> Result<u64> {
        Ok(self.arena()?.now_ms())
    }
}

impl Attachment {
    /// In the child of a fork: attaches it in its own name. Else, in doubt about the directory: looks
    /// again. The caller has the attach guard.
    fn renew_after_fork(&self) -> Result<()> {
        let peers = &self.arena.peers;
        if peers.is_mine() {
            return Ok(());
        }
        let is_child = !peers.is_of_this_process();
        if !is_child && !peers.is_detached() {
            return files::settle_doubt(&self.arena);
        }
        attach::reattach(&self.arena)?;
        if is_child {
            self.flusher.forget();
        }
        Ok(())
    }

    /// Is the directory that we are attached to still the one at its path?
    fn is_in_place(&self) -> bool {
        files::lost(&self.arena).is_none()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // A child that never used the store has nothing of its own to close.
        if self.arena.peers.is_of_this_process() {
            self.flusher.stop();
            let _one_at_a_time = AttachGuard::new();
            stats::detached(&self.arena);
            // Best effort: without the mark the next opener after a reboot rebuilds.
            let _ = alone::close_cleanly(&self.arena);
        }
    }
}
