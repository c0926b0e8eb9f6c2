//! Reads: get in all its forms, what is known of a key, listings.
//!
//! The rules of winning, stale and taken are those of memcached's meta get (protocol.txt, "Meta
//! Get"): who makes a placeholder wins; of those who read a stale value, or one with less than the
//! given time to live, the first wins; whoever reads after somebody has won is told so.

use std::ops::ControlFlow;

use holdfast::{Expect, Item, Mark, SCAN_DONE, Scan, Stored, Write};

use super::{Client, Life, Outcome, Room, Shared, ttl_s};
use crate::command::{Entry, Expiry, Found, Get, Listing, Reply};
use crate::counters::{ClassCount, Count, class_of};
use crate::limits::{LIST_PAGE, VALUE_ROOM_KEPT, VIVIFY_TRIES};
use crate::stats::{Prefixed, record_bytes};

fn is_stale(item: &Item) -> bool {
    matches!(item.mark, Mark::Stale | Mark::StalePending)
}

fn is_pending(item: &Item) -> bool {
    matches!(item.mark, Mark::Pending | Mark::StalePending)
}

/// What a touch on the way of a read came to.
enum Touched {
    Lives(Item),
    Over,
    Lost,
}

impl Shared {
    pub(super) fn get<'a>(
        &self,
        client: &mut Client,
        get: &Get<'a>,
        room: &'a mut Room,
    ) -> Outcome<'a> {
        if let Some(id) = self.settings.lock_of(get.key) {
            return Ok(self.get_lock(client, get.key, id));
        }
        // One that gives a new lifetime counts as a touch, as memcached has it.
        let is_touch = get.touch.is_some();
        client.block.count(if is_touch { Count::CmdTouch } else { Count::CmdGet });
        if room.value.capacity() > VALUE_ROOM_KEPT {
            room.value = Vec::new();
        }
        // Both wait for memory: they had better do so together.
        let hash = self.store.key_hash(get.key)?;
        self.recency.expect(hash);
        for _ in 0..VIVIFY_TRIES {
            room.value.clear();
            let item = match get.value {
                true => self.store.get(get.key, &mut room.value)?,
                false => self.store.exists(get.key)?,
            };
            if let Some(item) = item {
                return self.found(client, get, hash, item, &room.value);
            }
            let made = match get.vivify {
                None => Some(Reply::Missing),
                // A lifetime for what is read counts for what is made, too.
                Some(expiry) => self.vivify(client, get, hash, get.touch.unwrap_or(expiry))?,
            };
            if let Some(reply) = made {
                client.block.count(if is_touch { Count::TouchMisses } else { Count::GetMisses });
                self.count_prefix(get.key, Prefixed::Miss);
                return Ok(reply);
            }
        }
        Err(holdfast::Error::Busy("others made and deleted this value again and again".into()))
    }

    /// Makes an empty placeholder, whose maker wins; `None` if there is a value meanwhile.
    fn vivify<'a>(
        &self,
        client: &mut Client,
        get: &Get<'a>,
        hash: u64,
        expiry: Expiry,
    ) -> Result<Option<Reply<'a>>, holdfast::Error> {
        let mut found = Found {
            key: get.key,
            value: &[],
            size: 0,
            flags: 0,
            version: 0,
            ttl_s: Some(0),
            read_before: false,
            idle_s: 0,
            won: true,
            stale: false,
            taken: false,
        };
        let Life::Lives(ttl) = self.life(expiry)? else { return Ok(Some(Reply::Found(found))) };
        let held = client.held(get.key);
        let how = Write {
            ttl,
            expect: Expect::Absent,
            held: held.as_ref(),
            mark: Mark::Pending,
            version: get.version.filter(|version| *version != 0),
            ..Write::default()
        };
        match self.store.write(get.key, &[], &how)? {
            Stored::Done(version) => {
                client.wrote = true;
                client.block.count(Count::TotalItems);
                let now_ms = self.store.now_ms()?;
                // A reader may have been faster: it is the one then.
                if !get.unseen {
                    self.recency.read(hash, version, now_ms / 1000);
                }
                found.won = self.recency.take_token(hash, version, now_ms / 1000);
                found.taken = !found.won;
                found.version = version;
                found.ttl_s = match self.store.exists(get.key)? {
                    Some(item) => ttl_s(item.expires_ms, now_ms),
                    None => Some(0),
                };
                Ok(Some(Reply::Found(found)))
            }
            Stored::Lost => Ok(Some(self.lost(client))),
            Stored::Exists(_) | Stored::Missing => Ok(None),
        }
    }

    fn found<'a>(
        &self,
        client: &mut Client,
        get: &Get<'a>,
        hash: u64,
        item: Item,
        value: &'a [u8],
    ) -> Outcome<'a> {
        if get.touch.is_none() {
            client.block.count(Count::GetHits);
            client.block.count_class(ClassCount::GetHits, record_bytes(get.key, item.value_len));
        }
        self.count_prefix(get.key, Prefixed::Hit);
        let now_ms = self.store.now_ms()?;
        let now_s = now_ms / 1000;
        let seen = match get.unseen {
            true => self.recency.look(hash, item.version, now_s),
            false => self.recency.read(hash, item.version, now_s),
        };
        let ttl = ttl_s(item.expires_ms, now_ms);
        // The time that it had before this request gave it a new one.
        let is_due =
            matches!((get.recache_below_s, ttl), (Some(below), Some(left)) if left < below);
        let wants = is_stale(&item) || is_pending(&item) || is_due;
        let won = wants
            && !get.untold
            && !seen.token_sent
            && self.recency.take_token(hash, item.version, now_s);
        let mut found = Found {
            key: get.key,
            value,
            size: item.value_len,
            flags: item.flags,
            version: item.version,
            ttl_s: ttl,
            read_before: seen.read,
            idle_s: seen.idle_s,
            won,
            stale: is_stale(&item),
            taken: seen.token_sent || (wants && !won),
        };
        if let Some(expiry) = get.touch {
            match self.touch_found(client, get.key, &item, expiry)? {
                Touched::Lost => return Ok(self.lost(client)),
                Touched::Over => found.ttl_s = Some(0),
                Touched::Lives(item) => {
                    found.version = item.version;
                    // The clock went on meanwhile: from before, a second more than given would be left.
                    found.ttl_s = ttl_s(item.expires_ms, self.store.now_ms()?);
                }
            }
        }
        Ok(Reply::Found(found))
    }

    /// Gives what was just read a new lifetime.
    fn touch_found(
        &self,
        client: &mut Client,
        key: &[u8],
        item: &Item,
        expiry: Expiry,
    ) -> Result<Touched, holdfast::Error> {
        client.block.count(Count::TouchHits);
        let held = client.held(key);
        let Life::Lives(ttl) = self.life(expiry)? else {
            // What came meanwhile was not read and stays.
            let stored = self.store.delete(key, Some(item.version), held.as_ref())?;
            client.wrote |= matches!(stored, Stored::Done(_));
            return Ok(if stored == Stored::Lost { Touched::Lost } else { Touched::Over });
        };
        match self.store.touch(key, ttl, held.as_ref())? {
            Stored::Done(_) => {}
            Stored::Lost => return Ok(Touched::Lost),
            Stored::Exists(_) | Stored::Missing => return Ok(Touched::Over),
        }
        client.wrote = true;
        // The store says when it ends: lifetimes have a default and a maximum.
        let Some(now) = self.store.exists(key)? else { return Ok(Touched::Over) };
        self.renamed(key, item.version, now.version)?;
        Ok(Touched::Lives(now))
    }

    /// What is known of a value goes along when a touch has given it another version.
    pub(super) fn renamed(&self, key: &[u8], from: u64, to: u64) -> holdfast::Result<()> {
        if from != to {
            self.recency.carry(self.store.key_hash(key)?, from, to, self.now_s()?);
        }
        Ok(())
    }

    pub(super) fn describe<'a>(&self, key: &'a [u8]) -> Outcome<'a> {
        let lock = self.settings.lock_of(key).is_some();
        Ok(match self.store.exists(key)? {
            Some(item) if !lock => {
                Reply::Described(self.entry(key, &item, self.store.now_ms()? / 1000)?)
            }
            _ => Reply::Missing,
        })
    }

    fn entry<'a>(&self, key: &'a [u8], item: &Item, now_s: u64) -> holdfast::Result<Entry<'a>> {
        let seen = self.recency.look(self.store.key_hash(key)?, item.version, now_s);
        let size = record_bytes(key, item.value_len);
        Ok(Entry {
            key,
            // Rounded as the present is: their difference is what was given.
            expires_s: (item.expires_ms != 0).then_some(item.expires_ms / 1000),
            idle_s: seen.idle_s,
            seen_s: now_s.saturating_sub(seen.idle_s),
            version: item.version,
            read_before: seen.read,
            class: class_of(size),
            size,
        })
    }

    /// A page of a listing: true if more follow.
    pub(super) fn page(
        &self,
        listing: &mut Listing,
        each: &mut dyn FnMut(&Entry),
    ) -> holdfast::Result<bool> {
        if listing.left == Some(0) || listing.cursor == SCAN_DONE {
            return Ok(false);
        }
        let now_s = self.now_s()?;
        let left = listing.left.unwrap_or(u64::MAX);
        let class = listing.class;
        let limit = if class.is_some() { LIST_PAGE } else { left.min(LIST_PAGE) };
        // What is not wanted is passed over here: with the store's filter a page would look at ten
        // times as many records, and others wait while it does.
        let scan = Scan { limit, ..Scan::default() };
        let (mut failed, mut given) = (None, 0);
        self.store.scan(&mut listing.cursor, &scan, &mut |entry| {
            match self.entry(entry.key, &entry.item, now_s) {
                Ok(entry) if class.is_none_or(|class| class == entry.class) => {
                    each(&entry);
                    given += 1;
                }
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if given == left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        listing.left = listing.left.map(|left| left.saturating_sub(given));
        Ok(listing.cursor != SCAN_DONE && listing.left != Some(0))
    }
}
