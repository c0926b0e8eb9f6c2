//! Requests for the keys of session locks, see `sessions`. What is not add, delete, touch or get finds
//! nothing there and stores nothing: a lock is no value.

use super::{Client, Life, Outcome, Shared, lease};
use crate::command::{Expiry, Failure, Found, Mode, Reply, Set};
use crate::counters::Count;
use crate::sessions::Asked;

/// What clients store under a lock's key, so what its owner reads there.
const LOCK_VALUE: &[u8] = b"1";

impl Shared {
    /// The key of the session whose lock has the key `prefix lock. id`.
    fn session(&self, id: &[u8]) -> Vec<u8> {
        [&self.settings.session_prefix, id].concat()
    }

    pub(super) fn set_lock(&self, client: &mut Client, set: &Set, id: &[u8]) -> Outcome<'static> {
        client.block.count(Count::CmdSet);
        if set.mode != Mode::Add {
            return Ok(Reply::NotStored);
        }
        let (session, life) = (self.session(id), self.life(set.expiry)?);
        Ok(match client.locks.take(&*self.store, &session, lease(life))? {
            Asked::Taken(fence) => {
                client.block.count(Count::LocksTaken);
                if life == Life::Over {
                    client.locks.give_back(&*self.store, &session)?;
                }
                Reply::Stored { version: fence, size: set.value.len() as u64 }
            }
            Asked::Denied => {
                client.block.count(Count::LocksDenied);
                Reply::NotStored
            }
            Asked::TooMany => {
                client.block.count(Count::LocksDenied);
                Reply::Failed(Failure::Busy)
            }
        })
    }

    pub(super) fn delete_lock(&self, client: &mut Client, id: &[u8]) -> Outcome<'static> {
        let had_it = client.locks.give_back(&*self.store, &self.session(id))?;
        client.block.count(if had_it { Count::DeleteHits } else { Count::DeleteMisses });
        Ok(if had_it { Reply::Deleted } else { Reply::Missing })
    }

    pub(super) fn touch_lock(
        &self,
        client: &mut Client,
        id: &[u8],
        expiry: Expiry,
    ) -> Outcome<'static> {
        let (session, life) = (self.session(id), self.life(expiry)?);
        client.block.count(Count::CmdTouch);
        let had_it = match life {
            Life::Over => client.locks.give_back(&*self.store, &session)?,
            life => client.locks.renew(&*self.store, &session, lease(life))?,
        };
        client.block.count(if had_it { Count::TouchHits } else { Count::TouchMisses });
        Ok(if had_it { Reply::Touched } else { Reply::Missing })
    }

    /// Its owner finds what it stored, until its lease ends; others find nothing.
    pub(super) fn get_lock<'a>(&self, client: &Client, key: &'a [u8], id: &[u8]) -> Reply<'a> {
        client.block.count(Count::CmdGet);
        let Some((fence, left)) = client.locks.look(&self.session(id)) else {
            client.block.count(Count::GetMisses);
            return Reply::Missing;
        };
        client.block.count(Count::GetHits);
        Reply::Found(Found {
            key,
            value: LOCK_VALUE,
            size: LOCK_VALUE.len() as u64,
            flags: 0,
            version: fence,
            ttl_s: left.map(|left| left.as_secs().saturating_add(1)),
            read_before: false,
            idle_s: 0,
            won: false,
            stale: false,
            taken: false,
        })
    }
}
