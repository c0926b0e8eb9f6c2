//! Several keys in one call: reads that wait for memory together, writes that wait for the disk
//! together. Each key is a step of its own; nothing makes a group of them one.

use super::stripe::Stripe;
use super::write::Write;
use super::{Item, Store, Stored, ops};
use crate::arena::Arena;
use crate::error::{Error, Result, collect};
use crate::limits::READ_AHEAD;

/// One write of several, see [`Store::set_many`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// Where to.
    pub key: &'a [u8],
    /// What.
    pub value: &'a [u8],
    /// How. One item with `sync` makes all of them durable before the call returns.
    pub how: Write<'a>,
}

/// A key that something is done with soon, for [`Store::prefetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Soon<'a> {
    /// Where.
    pub key: &'a [u8],
    /// Are the bytes of its value wanted? Who overwrites it needs to know it only by its head.
    pub value: bool,
}

/// Called with the place of a key among those asked for and what was found there. The bytes are
/// there for the time of the call.
pub type Each<'a> = dyn FnMut(usize, Result<Option<(&Item, &[u8])>>) + 'a;

impl Store {
    /// Says that these keys are read or changed soon: the memory that this will want is asked for,
    /// and nothing waits for it. A hint, worth giving for two keys or more when it does not follow
    /// at once; [`Store::get_many`] gives it by itself. What is no key is passed over.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.prefetch(&[b"a", b"b"].map(|key| Soon { key, value: true }));
    /// let mut value = Vec::new();
    /// for key in [b"a", b"b"] {
    ///     assert!(store.get(key, &mut value)?.is_none());
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn prefetch(&self, keys: &[Soon]) {
        // A child of a fork attaches itself with its first read.
        if self.attached.arena.peers.is_mine() {
            let arena = &self.attached.arena;
            keys.chunks(READ_AHEAD).for_each(|some| fetch(arena, some.iter().copied()));
        }
    }

    /// Reads several values, one after the other and each as [`Store::get`] does: `each` is called
    /// once for every key, in their order. A key that fails stops none of the others.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"b", b"2", 0, Ttl::Never)?;
    /// let mut found = Vec::new();
    /// store.get_many(&[b"a", b"b"], &mut |i, value| {
    ///     if let Ok(Some((_, bytes))) = value {
    ///         found.push((i, bytes.to_vec()));
    ///     }
    /// })?;
    /// assert_eq!(found, [(1, b"2".to_vec())]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_many(&self, keys: &[&[u8]], each: &mut Each) -> Result<()> {
        let arena = self.arena()?;
        let mut value = Vec::new();
        for (n, some) in keys.chunks(READ_AHEAD).enumerate() {
            fetch(arena, some.iter().map(|key| Soon { key, value: true }));
            for (i, key) in some.iter().enumerate() {
                let found =
                    self.key(arena, key).and_then(|key| super::look::get(arena, &key, &mut value));
                each(
                    n * READ_AHEAD + i,
                    match &found {
                        Ok(found) => Ok(found.as_ref().map(|item| (item, &value[..]))),
                        Err(_) => found.map(|_| None),
                    },
                );
            }
        }
        Ok(())
    }

    /// Writes several values in their order, each as [`Store::write`] does, and gives the outcome
    /// of each: one that fails stops none of the others. With [`crate::Sync::Always`], or `sync` in any
    /// of them, one sync to the disk makes all of them durable. A failure of the call means that
    /// nothing was done.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let how = Write { expect: Expect::Absent, ..Write::default() };
    /// let first = BatchItem { key: b"a", value: b"1", how };
    /// let again = BatchItem { value: b"2", ..first };
    /// let done = store.set_many(&[first, again])?;
    /// assert!(matches!(done[..], [Ok(Stored::Done(_)), Ok(Stored::Exists(_))]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_many(&self, items: &[BatchItem]) -> Result<Vec<Result<Stored>>> {
        let arena = self.arena()?;
        let write =
            |item: &BatchItem| ops::put(arena, &self.key(arena, item.key)?, item.value, &item.how);
        let mut outcomes = collect(items.len(), items.iter().map(write))?;
        let is_done = |outcome: &Result<Stored>| matches!(outcome, Ok(Stored::Done(_)));
        if let Some(Ok(done)) = outcomes.iter().find(|outcome| is_done(outcome)) {
            let sync = items.iter().any(|item| item.how.sync);
            if let Err(failed) = self.acknowledge(arena, *done, sync) {
                // Nobody can say what a power loss would leave of them.
                for outcome in outcomes.iter_mut().filter(|outcome| is_done(outcome)) {
                    *outcome = Err(Error::SyncFailed(failed.to_string()));
                }
            }
        }
        Ok(outcomes)
    }
}

/// Asks for the memory that these keys will want: first for where the index has them, then, while
/// that is on its way for the later ones, for the records of the earlier ones. Hints only; a key
/// that is no key is left to its verb.
fn fetch<'a>(arena: &Arena, keys: impl ExactSizeIterator<Item = Soon<'a>>) {
    let (mut hashes, count) = ([(0, false); READ_AHEAD], keys.len());
    for (hash, soon) in hashes.iter_mut().zip(keys) {
        *hash = (arena.hash.first(soon.key), soon.value);
        Stripe::prefetch(arena, hash.0);
    }
    for (hash, value) in &hashes[..count.min(READ_AHEAD)] {
        Stripe::prefetch_record(arena, *hash, *value);
    }
}
