//! Owners: a name that many values carry, and that ends them all in one step.
//!
//! An owner has a record of its own in the same log and index, of another kind than values and
//! without a value. A value that has an owner carries its name, and the version that the owner's
//! record had when the value was written: it is alive only while that very version is there. So to
//! end an owner is one ordinary durable write of its record, for which all its values are too old.
//!
//! The owner's record lives longer than its values: it is written or touched first. Two stripes
//! never nest, so it is looked at without a latch where the stripe of a value is latched.
//!
//! Who took a session lock before an end must not bring back what was ended. So the record says
//! whether it began with an end: a write with an older fence is refused then, and the sweep keeps
//! what was ended in sight while somebody has its lock. A lock may be taken, and a value read with
//! it, while the record has its number but is not published yet. So an end takes two records: the
//! first ends everything, the second has a number that is above the fence of whoever may still have
//! seen something alive. Whoever needs that number and finds only the first writes the second.

use super::commit;
use super::life::{self, Life};
use super::look::{self, Known, Look};
use super::ops::{self, Seen};
use super::pack::Packed;
use super::stripe::{Found, Stripe};
use super::sweep::Wanted;
use super::write::{Expect, Write};
use super::{Store, Stored, flusher, sync};
use crate::arena::{Arena, word};
use crate::error::{Error, Result, push};
use crate::index::{Slot, Table};
use crate::key::Key;
use crate::limits::{LINE, OWNER_TRIES, READ_RETRIES, STRIPES, TIME_MAX};
use crate::lock::Held;
use crate::log;
use crate::log::record::{Header, OWNER, TOMBSTONE};
use crate::sys::map::Scratch;

/// Flags of an owner's record. This version of it began with an end.
const ENDED: u32 = 1;
/// It is the first of the two records of an end: nothing is ever tied to it.
const ENDING: u32 = 2;
/// So long after an end a lock from before it is still known for one.
const END_IS_KNOWN_MS: u64 = 24 * 3600 * 1000;
/// An owner outlives its values by this part of their lifetime, so that it is seldom touched.
const AHEAD: u64 = 8;

/// How a value stands with its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has none.
    Unowned,
    Owned {
        /// The owner's record is the one that the value was written under.
        valid: bool,
        /// The version of the owner's record if that began with an end, else 0.
        ended: u64,
        /// Only the first record of that end is there.
        ending: bool,
        /// When the owner's record expires, unix ms, 0 = never.
        until_ms: u64,
        /// Somebody is changing it, or died in that.
        half_done: bool,
    },
    /// The owner's record is damaged, or changed faster than it could be read.
    Unknown { damaged: bool },
}

impl Standing {
    /// Of an owner without a record.
    const GONE: Standing =
        Standing::Owned { valid: false, ended: 0, ending: false, until_ms: 0, half_done: false };

    #[inline]
    pub(super) fn is_owned(&self) -> bool {
        *self != Standing::Unowned
    }

    /// Does a lock with this fence come from before the end of the value?
    pub(super) fn was_ended_after(&self, fence: u64) -> bool {
        matches!(self, Standing::Owned { valid: false, ended, .. } if fence < *ended)
    }

    /// Is the number of the value's end yet to come?
    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Standing::Owned { ending: true, .. })
    }

    /// Does the owner surely live at least as long as that (0 = for ever)?
    pub(super) fn covers(&self, expires_ms: u64) -> bool {
        match *self {
            Standing::Owned { until_ms, half_done, .. } => {
                !half_done && is_covered(until_ms, expires_ms)
            }
            _ => true,
        }
    }
}

fn is_covered(until_ms: u64, expires_ms: u64) -> bool {
    until_ms == 0 || (expires_ms != 0 && expires_ms <= until_ms)
}

/// How the value of this record stands; `names` are the record's, checked.
#[inline(always)]
pub(super) fn standing(arena: &Arena, header: &Header, names: &[u8]) -> Standing {
    if header.owner_len == 0 { Standing::Unowned } else { look_up(arena, header, names) }
}

#[cold]
#[inline(never)]
fn look_up(arena: &Arena, header: &Header, names: &[u8]) -> Standing {
    let name = names.get(header.key_len as usize..).unwrap_or_default();
    let key = Key::of_owner(name, &arena.hash);
    // Before the record: if it changes in between it is seen changed.
    let half_done = key.as_ref().is_ok_and(|key| Stripe::is_half_done(arena, key.hash));
    match key.and_then(|key| record_of(arena, &key)) {
        Ok(Some(record)) => Standing::Owned {
            valid: record.seq == header.word7,
            ended: if record.ended { record.seq } else { 0 },
            ending: record.ending,
            until_ms: record.until_ms,
            half_done,
        },
        Ok(None) => Standing::GONE,
        Err(error) => Standing::Unknown { damaged: !matches!(error, Error::Busy(_)) },
    }
}

/// An owner's record.
#[derive(Clone, Copy)]
struct Record {
    seq: u64,
    ended: bool,
    ending: bool,
    until_ms: u64,
}

/// What is known of an owner; no latch is taken, because one may be held.
fn record_of(arena: &Arena, key: &Key) -> Result<Option<Record>> {
    for _ in 0..OWNER_TRIES {
        match look::look(arena, key, None)? {
            Look::Hit(item) => {
                return Ok(Some(Record {
                    seq: item.version,
                    ended: item.flags & ENDED != 0,
                    ending: item.flags & ENDING != 0,
                    until_ms: item.expires_ms,
                }));
            }
            Look::Miss => return Ok(None),
            Look::Damaged => return Err(damaged(arena)),
            Look::Again => std::thread::yield_now(),
        }
    }
    Err(busy())
}

#[cold]
pub(super) fn damaged(arena: &Arena) -> Error {
    Error::Damaged(format!(
        "the record of an owner in {} does not match its checksum, so nobody can say whether its \
         values are alive; end that owner, which writes the record anew",
        arena.dir.join("data").display()
    ))
}

#[cold]
pub(super) fn busy() -> Error {
    Error::Busy("the owner of this key's value changes too fast; try again".into())
}

/// What ties a value to its owner.
pub(super) struct Tie {
    pub(super) name: Vec<u8>,
    /// The version of the owner's record.
    pub(super) seq: u64,
    until_ms: u64,
}

impl Tie {
    /// Is this how a record is tied?
    pub(super) fn is_of(&self, header: &Header, names: &[u8]) -> bool {
        header.word7 == self.seq && names.get(header.key_len as usize..) == Some(&self.name)
    }

    /// Does the owner live at least as long as that (0 = for ever)?
    pub(super) fn covers(&self, expires_ms: u64) -> bool {
        is_covered(self.until_ms, expires_ms)
    }
}

/// Until when an owner is to live if one of its values ends then.
fn ahead_of(arena: &Arena, expires_ms: u64) -> u64 {
    match expires_ms {
        0 => 0,
        at => (at + at.saturating_sub(arena.now_ms()) / AHEAD + 1000).min(TIME_MAX),
    }
}

/// Ties a value that ends then to an owner, which is made if it is not there; `None`: the lock is
/// from before the owner's end.
pub(super) fn tie(
    arena: &Arena,
    name: &[u8],
    expires_ms: u64,
    held: Option<&Held>,
) -> Result<Option<Tie>> {
    let key = Key::of_owner(name, &arena.hash)?;
    for _ in 0..OWNER_TRIES {
        let Some(record) = record_of(arena, &key)? else {
            write(arena, &key, Expect::Absent, 0, ahead_of(arena, expires_ms))?;
            continue;
        };
        if record.ending {
            finish(arena, name)?;
            continue;
        }
        if record.ended && held.is_some_and(|held| held.fence < record.seq) {
            return Ok(None);
        }
        if let Some(tie) = cover(arena, name, record.seq, expires_ms)? {
            return Ok(Some(tie));
        }
    }
    Err(busy())
}

/// An end that a dead process left half done comes before all that is acknowledged later.
fn settle(arena: &Arena, key: &Key) -> Result<()> {
    match Stripe::is_half_done(arena, key.hash) {
        true => Stripe::latch(arena, key.hash).map(drop),
        false => Ok(()),
    }
}

/// Makes an owner's record of this version live at least as long as that; `None` if it is gone.
pub(super) fn cover(arena: &Arena, name: &[u8], seq: u64, expires_ms: u64) -> Result<Option<Tie>> {
    let key = Key::of_owner(name, &arena.hash)?;
    let tie = |until_ms| Some(Tie { name: name.to_vec(), seq, until_ms });
    settle(arena, &key)?;
    match record_of(arena, &key)? {
        Some(record) if record.seq != seq => return Ok(None),
        Some(record) if is_covered(record.until_ms, expires_ms) => return Ok(tie(record.until_ms)),
        Some(_) => {}
        None => return Ok(None),
    }
    let stripe = Stripe::latch(arena, key.hash)?;
    let Found::Present(current) = stripe.find(&key) else { return Ok(None) };
    if current.header.seq != seq || !current.is_alive(arena, arena.now_ms())? {
        return Ok(None);
    }
    let mut until_ms = current.expires_ms;
    if !is_covered(until_ms, expires_ms) {
        until_ms = ahead_of(arena, expires_ms);
        commit::lengthen(arena, &current, until_ms);
    }
    Ok(tie(until_ms))
}

/// Writes the second record of an end if only the first is there.
#[cold]
pub(super) fn finish(arena: &Arena, name: &[u8]) -> Result<()> {
    let key = Key::of_owner(name, &arena.hash)?;
    if let Some(Record { seq, ending: true, until_ms, .. }) = record_of(arena, &key)? {
        // If somebody else does it at the same time it is done.
        write(arena, &key, Expect::Version(seq), ENDED, until_ms)?;
    }
    Ok(())
}

/// Writes an owner's record.
fn write(arena: &Arena, key: &Key, expect: Expect, flags: u32, until_ms: u64) -> Result<Stored> {
    let empty = Packed::new(false, b"");
    ops::with_room(arena, Wanted::LITTLE, || {
        let stripe = Stripe::latch(arena, key.hash)?;
        let now = arena.now_ms();
        let found = stripe.find(key);
        let live = match &found {
            Found::Present(current) if current.is_alive(arena, now)? => Some(current.header.seq),
            Found::Damaged { .. } if expect != Expect::Any => return Err(damaged(arena)),
            _ => None,
        };
        if let Some(refused) = expect.refuses(live) {
            return Ok(refused);
        }
        let seq =
            commit::fill(arena, &stripe, key, &empty, None, flags, until_ms, &found, now, None)?;
        Ok(Stored::Done(seq))
    })
}

impl Store {
    /// Gives a value that is there an owner, or another one; bytes, flags, mark and lifetime stay, the
    /// version is new. `Missing`: there is no value. `Lost`: the lock is not held any more, or the
    /// owner was ended since it was taken.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"session 1", b"anonymous so far", 0, Ttl::Never)?;
    /// store.set_owner(b"session 1", b"user:42", None)?;
    /// assert_eq!(store.owner_of(b"session 1")?.as_deref(), Some(&b"user:42"[..]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_owner(&self, key: &[u8], owner: &[u8], held: Option<&Held>) -> Result<Stored> {
        let arena = self.arena()?;
        let stored = give(arena, &self.key(arena, key)?, owner, held)?;
        self.acknowledge(arena, stored, false)
    }

    /// The owner of a value; `None` if there is no value or it has none.
    pub fn owner_of(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let arena = self.arena()?;
        let key = self.key(arena, key)?;
        let stripe = Stripe::latch(arena, key.hash)?;
        let mut scratch = Scratch::new();
        match stripe.find_with(&key, &mut scratch) {
            Found::Present(current) => {
                // With a damaged owner it is the name that is needed to mend it.
                let unknown = matches!(current.standing, Standing::Unknown { .. });
                let alive = unknown || current.is_alive(arena, arena.now_ms())?;
                Ok((alive && current.standing.is_owned())
                    .then(|| owner_in(&current.header, scratch.bytes()).to_vec()))
            }
            Found::Damaged { .. } => Err(look::damaged(arena)),
            Found::Absent => Ok(None),
        }
    }

    /// Calls `each` with the key of every value of an owner until it says false; gives how many
    /// there were. It looks at every record of the store: for a page that somebody asks for, not
    /// for each request. A key that is there from the beginning to the end is given exactly once.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let of_anna = Write { owner: Some(b"anna"), ..Write::default() };
    /// store.write(b"laptop", b"..", &of_anna)?;
    /// store.write(b"phone", b"..", &of_anna)?;
    /// let mut devices = Vec::new();
    /// store.owner_keys(b"anna", &mut |key| {
    ///     devices.push(key.to_vec());
    ///     true
    /// })?;
    /// devices.sort();
    /// assert_eq!(devices, [b"laptop".to_vec(), b"phone".to_vec()]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn owner_keys(&self, owner: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<u64> {
        let arena = self.arena()?;
        let key = Key::of_owner(owner, &arena.hash)?;
        let Some(record) = record_of(arena, &key)? else { return Ok(0) };
        let mut count = 0;
        for which in 0..STRIPES {
            for key in keys_in(arena, which, owner, record.seq)? {
                count += 1;
                if !each(&key) {
                    return Ok(count);
                }
            }
        }
        Ok(count)
    }

    /// Ends an owner: every value that it has is gone, at once and for good, in one durable step
    /// whatever the mode and however many they are. A session lock taken before can no longer
    /// write to what was ended, nor write for this owner; what is written for it afterwards lives.
    /// False: the owner had nothing.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let of_anna = Write { owner: Some(b"anna"), ..Write::default() };
    /// store.write(b"laptop", b"..", &of_anna)?;
    /// store.write(b"phone", b"..", &of_anna)?;
    /// assert!(store.end_owner(b"anna")?);
    /// assert!(store.exists(b"laptop")?.is_none() && store.exists(b"phone")?.is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn end_owner(&self, owner: &[u8]) -> Result<bool> {
        let arena = self.arena()?;
        arena.check_sync()?;
        let key = Key::of_owner(owner, &arena.hash)?;
        let had = record_of(arena, &key).map_or(true, |record| record.is_some());
        end(arena, owner)?;
        sync::wait_durable(arena)?;
        // A search for room would find some now.
        for vain_until in [word::NO_ROOM_UNTIL_MS, word::NO_LIFE_UNTIL_MS] {
            arena.meta.store(vain_until, 0);
        }
        flusher::changed(&self.attached.arena, &self.attached.flusher)?;
        Ok(had)
    }
}

/// Ends everything of an owner; durable with the next sync.
pub(super) fn end(arena: &Arena, owner: &[u8]) -> Result<()> {
    let key = Key::of_owner(owner, &arena.hash)?;
    let known_ms = match arena.lifetime_ms(crate::options::Ttl::Never) {
        0 => END_IS_KNOWN_MS,
        max => END_IS_KNOWN_MS.min(max),
    };
    write(arena, &key, Expect::Any, ENDED | ENDING, arena.now_ms() + known_ms)?;
    finish(arena, owner)
}

fn owner_in<'a>(header: &Header, record: &'a [u8]) -> &'a [u8] {
    record.get(LINE as usize + header.key_len as usize..).unwrap_or_default()
}

/// Writes a value again, as it is, with an owner.
fn give(arena: &Arena, key: &Key, owner: &[u8], held: Option<&Held>) -> Result<Stored> {
    arena.check_sync()?;
    let mut value = Vec::new();
    for _ in 0..OWNER_TRIES {
        let Some(Known { item, seq, .. }) = look::read(arena, key, &mut value)? else {
            return Ok(Stored::Missing);
        };
        let how = Write {
            flags: item.flags,
            expect: Expect::Present,
            held,
            owner: Some(owner),
            ..Write::default()
        };
        let packed = Packed::new(arena.compresses(), &value).said(item.mark, None);
        let seen = Seen { seq, expires_ms: item.expires_ms, keeps: true };
        match ops::put_packed(arena, key, &packed, &how, Some(seen))? {
            // Written or touched meanwhile.
            Stored::Exists(_) => continue,
            other => return Ok(other),
        }
    }
    Err(busy())
}

/// The keys in one stripe that an owner of this version has.
fn keys_in(arena: &Arena, which: u64, owner: &[u8], seq: u64) -> Result<Vec<Vec<u8>>> {
    let unreadable = || Error::Damaged(arena.dir.join("meta").display().to_string());
    Stripe::settle(arena, which)?;
    for _ in 0..READ_RETRIES {
        let table = Table::of(arena, which).ok_or_else(unreadable)?;
        let mut keys = Vec::new();
        for slot_at in table.slots() {
            if let Some(key) = key_at(arena, slot_at, owner, seq)? {
                push(&mut keys, key)?;
            }
        }
        if Table::of(arena, which).is_some_and(|now| now.word == table.word) {
            return Ok(keys);
        }
    }
    Err(busy())
}

/// The key of the record that a slot names, if it is this owner's and alive.
fn key_at(arena: &Arena, slot_at: u64, owner: &[u8], seq: u64) -> Result<Option<Vec<u8>>> {
    let mut scratch = Scratch::new();
    for _ in 0..OWNER_TRIES {
        let slot = Slot(arena.index.load(slot_at));
        if slot.offset() == 0 {
            return Ok(None);
        }
        let header = log::read_checked(arena, slot.offset(), &mut scratch);
        crate::sys::words::fence(std::sync::atomic::Ordering::Acquire);
        if !slot.same_place(Slot(arena.index.load(slot_at))) {
            continue;
        }
        let Some(header) = header else { return Err(look::damaged(arena)) };
        let theirs = !header.is(TOMBSTONE | OWNER)
            && header.word7 == seq
            && owner_in(&header, scratch.bytes()) == owner;
        if !theirs {
            return Ok(None);
        }
        // By a load of its own: a touch may have stored it while bytes were copied.
        let word = arena.data.load(slot.offset() + log::record::EXPIRY_AT);
        let expires_ms = log::record::expiry_ms(word, header.seq);
        let expires_ms = expires_ms.ok_or_else(|| look::damaged(arena))?;
        // The owner was looked at before.
        let alive = life::of(arena, &header, expires_ms, || Standing::Unowned, || arena.now_ms());
        return Ok((alive == Life::Alive)
            .then(|| scratch.bytes()[LINE as usize..][..header.key_len as usize].to_vec()));
    }
    Err(busy())
}
