//! Deletes, marks, touches, and counting.

use holdfast::{Error, Item, Mark, Stored, Update, number};

use super::{Client, Life, Outcome, Shared, ttl_s};
use crate::command::{Count as Counting, Delete, Expiry, Reply};
use crate::counters::{ClassCount, Count};
use crate::stats::{Prefixed, record_bytes};

/// Bytes of the longest number.
const DIGITS_MAX: u64 = 20;

/// A number that was counted, before it is known what the store made of it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Counted { number: u64, is_new: bool, expires_ms: u64 },
    Missing,
    Exists,
    NotANumber,
}

impl Shared {
    pub(super) fn delete<'a>(&self, client: &mut Client, delete: &Delete<'a>) -> Outcome<'a> {
        if let Some(id) = self.settings.lock_of(delete.key) {
            return self.delete_lock(client, id);
        }
        self.count_prefix(delete.key, Prefixed::Delete);
        let stored = if delete.invalidate || delete.only_value {
            self.mark(client, delete)?
        } else {
            let held = client.held(delete.key);
            self.store.delete(delete.key, delete.compare, held.as_ref())?
        };
        client.block.count(match stored {
            Stored::Done(_) => Count::DeleteHits,
            _ => Count::DeleteMisses,
        });
        Ok(match stored {
            Stored::Done(_) => {
                client.wrote = true;
                Reply::Deleted
            }
            Stored::Missing => {
                // A cache notes that what it dropped is not to come back.
                client.wrote |= self.settings.evicts();
                Reply::Missing
            }
            Stored::Exists(_) => Reply::Exists,
            Stored::Lost => self.lost(client),
        })
    }

    /// The item stays: it loses its value, or is marked stale under a new version, so that the next
    /// reader wins.
    fn mark(&self, client: &Client, delete: &Delete) -> Result<Stored, Error> {
        let life = match delete.expiry.filter(|_| delete.invalidate) {
            Some(expiry) => Some(self.life(expiry)?),
            None => None,
        };
        let version = delete.version.filter(|version| *version != 0);
        let held = client.held(delete.key);
        let mut refused = None;
        let stored = self.store.update(delete.key, held.as_ref(), false, &mut |present| {
            refused = None;
            let Some((value, item)) = present else { return Update::Keep };
            if delete.compare.is_some_and(|asked| asked != item.version) {
                refused = Some(Stored::Exists(item.version));
                return Update::Keep;
            }
            let ttl = match life {
                Some(Life::Over) => return Update::Delete,
                Some(Life::Lives(ttl)) => Some(ttl),
                None => None,
            };
            let (value, flags) = match delete.only_value {
                true => (Vec::new(), 0),
                false => (value.to_vec(), item.flags),
            };
            let mark = if delete.invalidate { Mark::Stale } else { Mark::None };
            Update::Write { value, flags, ttl, mark, version }
        })?;
        Ok(match (stored, refused) {
            (Stored::Done(_), Some(refused)) => refused,
            (stored, _) => stored,
        })
    }

    pub(super) fn touch<'a>(&self, client: &mut Client, key: &[u8], expiry: Expiry) -> Outcome<'a> {
        if let Some(id) = self.settings.lock_of(key) {
            return self.touch_lock(client, id, expiry);
        }
        client.block.count(Count::CmdTouch);
        let held = client.held(key);
        let stored = match self.life(expiry)? {
            Life::Over => self.store.delete(key, None, held.as_ref())?,
            Life::Lives(ttl) => self.store.touch(key, ttl, held.as_ref())?,
        };
        client.block.count(match stored {
            Stored::Done(_) => Count::TouchHits,
            _ => Count::TouchMisses,
        });
        Ok(match stored {
            Stored::Done(_) => {
                client.wrote = true;
                Reply::Touched
            }
            Stored::Lost => self.lost(client),
            Stored::Missing | Stored::Exists(_) => Reply::Missing,
        })
    }

    pub(super) fn count<'a>(&self, client: &mut Client, count: &Counting<'a>) -> Outcome<'a> {
        if self.settings.lock_of(count.key).is_some() {
            return Ok(Reply::Missing);
        }
        let initial = match count.initial {
            // A lifetime for what is counted counts for what is made, too.
            Some((number, expiry)) => Some((number, self.life(count.expiry.unwrap_or(expiry))?)),
            None => None,
        };
        let life = match count.expiry {
            Some(expiry) => Some(self.life(expiry)?),
            None => None,
        };
        let held = client.held(count.key);
        let mut step = Step::Missing;
        let stored = self.store.update(count.key, held.as_ref(), false, &mut |present| {
            let (next, update) = counted(count, initial, life, present);
            step = next;
            update
        })?;
        if stored == Stored::Lost {
            return Ok(self.lost(client));
        }
        self.note_counted(client, count, step);
        match step {
            Step::Missing => Ok(Reply::Missing),
            Step::Exists => Ok(Reply::Exists),
            Step::NotANumber => Ok(Reply::NotANumber),
            Step::Counted { number, is_new, expires_ms } => {
                client.wrote = true;
                let over = matches!(
                    (is_new, initial, life),
                    (true, Some((_, Life::Over)), _) | (false, _, Some(Life::Over))
                );
                let version = match stored {
                    Stored::Done(version) if !over => version,
                    _ => return Ok(Reply::Counted { number, version: 0, ttl_s: Some(0) }),
                };
                // The store says when a new lifetime ends: it has a default and a maximum.
                let expires_ms = match is_new || life.is_some() {
                    true => self.store.exists(count.key)?.map_or(0, |item| item.expires_ms),
                    false => expires_ms,
                };
                let ttl_s = ttl_s(expires_ms, self.store.now_ms()?);
                Ok(Reply::Counted { number, version, ttl_s })
            }
        }
    }

    fn note_counted(&self, client: &Client, count: &Counting, step: Step) {
        let (hit, miss, class) = match count.down {
            true => (Count::DecrHits, Count::DecrMisses, ClassCount::DecrHits),
            false => (Count::IncrHits, Count::IncrMisses, ClassCount::IncrHits),
        };
        match step {
            Step::Counted { is_new: true, .. } => {
                client.block.count(miss);
                client.block.count(Count::TotalItems);
            }
            Step::Counted { .. } => {
                client.block.count(hit);
                client.block.count_class(class, record_bytes(count.key, DIGITS_MAX));
            }
            Step::Missing => client.block.count(miss),
            Step::Exists => client.block.count(Count::CasBadval),
            Step::NotANumber => {}
        }
    }
}

/// One computation of a count.
fn counted(
    count: &Counting,
    initial: Option<(u64, Life)>,
    life: Option<Life>,
    present: Option<(&[u8], &Item)>,
) -> (Step, Update) {
    let version = count.version.filter(|version| *version != 0);
    let write = |number: u64, flags, ttl| Update::Write {
        value: itoa::Buffer::new().format(number).as_bytes().to_vec(),
        flags,
        ttl,
        mark: Mark::None,
        version,
    };
    match (present, initial) {
        (None, None) => (Step::Missing, Update::Keep),
        (None, Some((number, life))) => {
            let step = Step::Counted { number, is_new: true, expires_ms: 0 };
            match life {
                Life::Lives(ttl) => (step, write(number, 0, Some(ttl))),
                Life::Over => (step, Update::Keep),
            }
        }
        (Some((_, item)), _) if count.compare.is_some_and(|asked| asked != item.version) => {
            (Step::Exists, Update::Keep)
        }
        (Some((bytes, item)), _) => {
            let Some(present) = number(bytes) else {
                return (Step::NotANumber, Update::Keep);
            };
            let number = match count.down {
                true => present.saturating_sub(count.delta),
                false => present.wrapping_add(count.delta),
            };
            let step = Step::Counted { number, is_new: false, expires_ms: item.expires_ms };
            match life {
                None => (step, write(number, item.flags, None)),
                Some(Life::Lives(ttl)) => (step, write(number, item.flags, Some(ttl))),
                Some(Life::Over) => (step, Update::Delete),
            }
        }
    }
}
