//! Stores: set, add, replace, compare-and-swap, append, prepend, and the meta dialect's store of a
//! value that came too late.
//!
//! A value whose lifetime is over at once is never written, so nobody can read it, not for a
//! moment: what it would have replaced goes.

use holdfast::{Error, Expect, Held, Item, Mark, Stored, Update, Write};

use super::{Client, Life, Outcome, Shared};
use crate::command::{Mode, Reply, Set};
use crate::counters::{ClassCount, Count};
use crate::stats::{Prefixed, record_bytes};

/// Both parts as one, if there is memory for it.
fn joined(first: &[u8], second: &[u8]) -> Result<Vec<u8>, Error> {
    let len = first.len().saturating_add(second.len());
    let mut both = Vec::new();
    both.try_reserve_exact(len).map_err(|_| Error::no_memory(len as u64))?;
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    Ok(both)
}

impl Shared {
    pub(super) fn set<'a>(&self, client: &mut Client, set: &Set<'a>) -> Outcome<'a> {
        if let Some(id) = self.settings.lock_of(set.key) {
            return self.set_lock(client, set, id);
        }
        client.block.count(Count::CmdSet);
        self.count_prefix(set.key, Prefixed::Set);
        let bytes = record_bytes(set.key, set.value.len() as u64);
        client.block.count_class(ClassCount::CmdSet, bytes);
        let held = client.held(set.key);
        let compare = match set.mode {
            // An add that finds something to compare with has failed already.
            Mode::Add => None,
            _ => set.compare,
        };
        let reply = match (set.mode, compare) {
            (Mode::Append | Mode::Prepend, _) => self.extend(set, held.as_ref())?,
            (_, Some(version)) if set.invalidate => self.set_late(set, version, held.as_ref())?,
            _ => self.set_whole(set, compare, held.as_ref())?,
        };
        if compare.is_some() {
            self.count_compared(client, &reply, bytes);
        }
        match reply {
            Some(Reply::Stored { .. }) => {
                client.wrote = true;
                client.block.count(Count::TotalItems);
            }
            None => return Ok(self.lost(client)),
            Some(_) => {}
        }
        Ok(reply.unwrap_or(Reply::NotStored))
    }

    fn count_compared(&self, client: &Client, reply: &Option<Reply>, bytes: u64) {
        match reply {
            Some(Reply::Stored { .. }) => {
                client.block.count(Count::CasHits);
                client.block.count_class(ClassCount::CasHits, bytes);
            }
            Some(Reply::Exists) => {
                client.block.count(Count::CasBadval);
                client.block.count_class(ClassCount::CasBadval, bytes);
            }
            Some(Reply::Missing) => client.block.count(Count::CasMisses),
            _ => {}
        }
    }

    /// The value takes the place of what is there; `None`: the lock is lost.
    fn set_whole(
        &self,
        set: &Set,
        compare: Option<u64>,
        held: Option<&Held>,
    ) -> Result<Option<Reply<'static>>, Error> {
        let expect = match (set.mode, compare) {
            (Mode::Add, _) => Expect::Absent,
            (_, Some(version)) => Expect::Version(version),
            (Mode::Replace, None) => Expect::Present,
            (_, None) => Expect::Any,
        };
        let stored = match self.life(set.expiry)? {
            Life::Over => self.end(set.key, expect, held)?,
            Life::Lives(ttl) => {
                let version = set.version.filter(|version| *version != 0);
                let how =
                    Write { flags: set.flags, ttl, expect, held, version, ..Write::default() };
                let stored = self.store.write(set.key, set.value, &how)?;
                if let Stored::Done(version) = stored {
                    self.note_stored(set, version)?;
                }
                stored
            }
        };
        Ok(match (stored, expect) {
            (Stored::Done(version), _) => {
                Some(Reply::Stored { version, size: set.value.len() as u64 })
            }
            (Stored::Exists(_), Expect::Absent) => Some(Reply::NotStored),
            (Stored::Exists(_), _) => Some(Reply::Exists),
            (Stored::Missing, Expect::Version(_)) => Some(Reply::Missing),
            (Stored::Missing, _) => Some(Reply::NotStored),
            (Stored::Lost, _) => None,
        })
    }

    /// A write of what is over at once: as if it had been stored and had expired.
    fn end(&self, key: &[u8], expect: Expect, held: Option<&Held>) -> Result<Stored, Error> {
        let stored = match expect {
            Expect::Absent => match self.store.exists(key)? {
                Some(item) => Stored::Exists(item.version),
                None => Stored::Done(0),
            },
            Expect::Version(version) => self.store.delete(key, Some(version), held)?,
            Expect::Any | Expect::Present => self.store.delete(key, None, held)?,
        };
        Ok(match (stored, expect) {
            (Stored::Done(_), _) | (Stored::Missing, Expect::Any) => Stored::Done(0),
            (other, _) => other,
        })
    }

    fn note_stored(&self, set: &Set, version: u64) -> Result<(), Error> {
        let hash = self.store.key_hash(set.key)?;
        self.recency.stored(hash, version, set.version == Some(version), self.now_s()?);
        Ok(())
    }

    /// Append and prepend.
    fn extend(&self, set: &Set, held: Option<&Held>) -> Result<Option<Reply<'static>>, Error> {
        let vivify = match set.vivify {
            Some(expiry) => Some(self.life(expiry)?),
            None => None,
        };
        let version = set.version.filter(|version| *version != 0);
        let mark = Mark::None;
        let (mut refused, mut failed, mut size) = (None, None, set.value.len() as u64);
        let stored = self.store.update(set.key, held, false, &mut |present| {
            (refused, failed) = (None, None);
            match (present, vivify) {
                (Some((_, item)), _) if set.compare.is_some_and(|asked| asked != item.version) => {
                    refused = Some(Reply::Exists);
                    Update::Keep
                }
                (Some((value, item)), _) => {
                    let both = match set.mode {
                        Mode::Append => joined(value, set.value),
                        _ => joined(set.value, value),
                    };
                    match both {
                        Ok(value) => {
                            size = value.len() as u64;
                            Update::Write { value, flags: item.flags, ttl: None, mark, version }
                        }
                        Err(error) => {
                            failed = Some(error);
                            Update::Keep
                        }
                    }
                }
                (None, Some(Life::Lives(ttl))) => Update::Write {
                    value: set.value.to_vec(),
                    flags: set.flags,
                    ttl: Some(ttl),
                    mark,
                    version,
                },
                (None, Some(Life::Over)) => {
                    refused = Some(Reply::Stored { version: 0, size });
                    Update::Keep
                }
                (None, None) => {
                    refused = Some(Reply::NotStored);
                    Update::Keep
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.written(set, size, stored, refused)
    }

    /// A value that was made of a version that may be gone: if the present one is newer it is
    /// stored all the same, as stale, and lives as long as the present one would have.
    fn set_late(
        &self,
        set: &Set,
        compare: u64,
        held: Option<&Held>,
    ) -> Result<Option<Reply<'static>>, Error> {
        let life = self.life(set.expiry)?;
        let version = set.version.filter(|version| *version != 0);
        let size = set.value.len() as u64;
        let (mut refused, mut outdated) = (None, None);
        let stored = self.store.update(set.key, held, false, &mut |present| {
            (refused, outdated) = (None, None);
            let write = |ttl, mark| Update::Write {
                value: set.value.to_vec(),
                flags: set.flags,
                ttl,
                mark,
                version,
            };
            match (present, life) {
                (None, _) => {
                    refused = Some(Reply::Missing);
                    Update::Keep
                }
                (Some((_, Item { version, .. })), Life::Lives(ttl)) if *version == compare => {
                    write(Some(ttl), Mark::None)
                }
                (Some((_, Item { version, .. })), Life::Over) if *version == compare => {
                    refused = Some(Reply::Stored { version: 0, size });
                    Update::Delete
                }
                (Some((_, item)), _) if item.version > compare => {
                    outdated = Some(item.version);
                    write(None, Mark::Stale)
                }
                (Some(_), _) => {
                    refused = Some(Reply::Exists);
                    Update::Keep
                }
            }
        })?;
        let reply = self.written(set, size, stored, refused)?;
        if let (Some(from), Some(Reply::Stored { version, .. })) = (outdated, reply) {
            // Who has won already need not be followed by a second.
            self.renamed(set.key, from, version)?;
        }
        Ok(reply)
    }

    /// What an update came to, unless its computation refused it.
    fn written(
        &self,
        set: &Set,
        size: u64,
        stored: Stored,
        refused: Option<Reply<'static>>,
    ) -> Result<Option<Reply<'static>>, Error> {
        match (stored, refused) {
            (Stored::Lost, _) => Ok(None),
            (_, Some(reply)) => Ok(Some(reply)),
            (Stored::Done(version), None) => {
                self.note_stored(set, version)?;
                Ok(Some(Reply::Stored { version, size }))
            }
            (Stored::Exists(_) | Stored::Missing, None) => Ok(Some(Reply::NotStored)),
        }
    }
}
