//! The verbs on one key, each as short as its rules.

use std::sync::atomic::{Ordering, fence};

use super::owner::{self, Tie};
use super::pack::{self, Packed};
use super::stripe::{Change, Current, Found, Stripe};
use super::sweep::{self, Wanted};
use super::update::{self, Update};
use super::write::{check_version, version_with_owner};
use super::{Expect, Item, Mark, Stored, Write, flush, life};
use crate::arena::{Arena, Count, word};
use crate::error::{Error, Result, collect};
use crate::index::{Slot, Table, stripe_of};
use crate::key::{Key, Kind};
use crate::limits::{LINE, OWNER_TRIES, READ_RETRIES, ROOM_TRIES};
use crate::lock::{self, Held};
use crate::log::record::{self, ASSUMES, COMPRESSED, GIVEN, Header, OWNER, RUN, TOMBSTONE};
use crate::log::segment::{self, Need};
use crate::log::{self, Lane, Run};
use crate::options::Ttl;
use crate::sys::map::Scratch;

/// What one look without a latch came to.
pub(super) enum Look {
    Hit(Item),
    Miss,
    Damaged,
    /// Something moved while it was read.
    Again,
}

pub(super) fn damaged(arena: &Arena) -> Error {
    arena.count(Count::DamagedReads);
    Error::Damaged(format!(
        "a record in {} does not match its checksum; this key's value cannot be given",
        arena.dir.join("data").display()
    ))
}

/// Reads a value into `out` (which is cleared), taking no latch, and counts that.
#[inline]
pub(super) fn get(arena: &Arena, key: &Key, out: &mut Vec<u8>) -> Result<Option<Item>> {
    arena.count(Count::Gets);
    read_and(arena, key, out, |_| arena.count(Count::Hits))
}

/// A value that was read, with what only the store knows of it.
pub(super) struct Known {
    pub(super) item: Item,
    /// The record's number. Two records never share it, but two values may share a version that
    /// their writers gave.
    pub(super) seq: u64,
    /// The version, if its writer gave it.
    pub(super) given: Option<u64>,
}

/// Reads a value into `out` (which is cleared), taking no latch.
pub(super) fn read(arena: &Arena, key: &Key, out: &mut Vec<u8>) -> Result<Option<Known>> {
    let mut header = Header::default();
    let item = read_and(arena, key, out, |scratch| header = Header::decode(scratch.bytes()))?;
    let given = header.is(GIVEN).then(|| header.version());
    Ok(item.map(|item| Known { item, seq: header.seq, given }))
}

/// The same; `hit` gets the record when there is one. (Not by the caller: to look at the answer
/// costs a pass through memory.)
#[inline(always)]
fn read_and(
    arena: &Arena,
    key: &Key,
    out: &mut Vec<u8>,
    mut hit: impl FnMut(&mut Scratch),
) -> Result<Option<Item>> {
    for attempt in 0..=READ_RETRIES {
        // Whoever is overtaken again and again reads where nobody can overtake.
        let _still = match attempt {
            READ_RETRIES => Some(Stripe::latch(arena, key.hash)?),
            _ => None,
        };
        let begun = flush::under_way(arena);
        let mut scratch = Scratch::new();
        match look_in(arena, key, Some(out), &mut scratch)? {
            Look::Hit(_)
                if begun != 0 && attempt < READ_RETRIES && flush::is_left(arena, begun)? => {}
            Look::Hit(item) => {
                hit(&mut scratch);
                return Ok(Some(item));
            }
            Look::Miss => {
                out.clear();
                return Ok(None);
            }
            Look::Damaged => {
                out.clear();
                return Err(damaged(arena));
            }
            Look::Again => {}
        }
    }
    Err(damaged(arena))
}

/// Looks at an item without its value.
pub(super) fn exists(arena: &Arena, key: &Key) -> Result<Option<Item>> {
    for attempt in 0..=READ_RETRIES {
        let _still = match attempt {
            READ_RETRIES => Some(Stripe::latch(arena, key.hash)?),
            _ => None,
        };
        let begun = flush::under_way(arena);
        match look(arena, key, None)? {
            Look::Hit(_)
                if begun != 0 && attempt < READ_RETRIES && flush::is_left(arena, begun)? => {}
            Look::Hit(item) => return Ok(Some(item)),
            Look::Miss => return Ok(None),
            Look::Damaged => return Err(damaged(arena)),
            Look::Again => {}
        }
    }
    Err(damaged(arena))
}

/// One look: slot, copy, then slot, record and table again; only then are the copies judged.
#[inline(always)]
pub(super) fn look(arena: &Arena, key: &Key, out: Option<&mut Vec<u8>>) -> Result<Look> {
    look_in(arena, key, out, &mut Scratch::new())
}

/// The same; the header of a hit stays in `scratch`, but for its checksum and expiry.
#[inline(always)]
fn look_in(
    arena: &Arena,
    key: &Key,
    mut out: Option<&mut Vec<u8>>,
    scratch: &mut Scratch,
) -> Result<Look> {
    // What a dead process left half done comes first: nothing that was read changes later without
    // somebody who changes it. Asked after the look it could have been settled in between.
    if Stripe::is_left(arena, key.hash) {
        Stripe::latch_number(arena, stripe_of(key.hash)).map(drop)?;
    }
    let Some(table) = Table::of(arena, stripe_of(key.hash)) else {
        return Err(Error::Damaged(arena.dir.join("meta").display().to_string()));
    };
    let mut bad = false;
    let found = table.candidates(&arena.index, key.hash, |slot_at, slot| {
        match judge(arena, key, slot_at, slot, scratch, out.as_deref_mut()) {
            Ok(Judged::Other) => None,
            Ok(Judged::Bad) => {
                bad = true;
                None
            }
            Ok(Judged::Moved) => Some(Ok(Look::Again)),
            Ok(Judged::Mine(look)) => Some(Ok(look)),
            Err(e) => Some(Err(e)),
        }
    });
    fence(Ordering::Acquire);
    let moved = !table.is_still(arena, stripe_of(key.hash));
    match found {
        Some(Err(e)) => Err(e),
        _ if moved => Ok(Look::Again),
        Some(Ok(look)) => Ok(look),
        None if bad => Ok(Look::Damaged),
        None => Ok(Look::Miss),
    }
}

enum Judged {
    /// Another key.
    Other,
    /// A record that is not whole: it may have been this key's.
    Bad,
    /// The slot changed meanwhile.
    Moved,
    Mine(Look),
}

#[inline(always)]
fn judge(
    arena: &Arena,
    key: &Key,
    slot_at: u64,
    slot: Slot,
    scratch: &mut Scratch,
    out: Option<&mut Vec<u8>>,
) -> Result<Judged> {
    let at = slot.offset();
    if out.is_some() {
        arena.data.prefetch(at, slot.fetch_bytes());
    }
    let unmoved = || {
        fence(Ordering::Acquire);
        slot.same_place(Slot(arena.index.load(slot_at)))
    };
    let Some(header) = log::read_header(arena, at, key.bytes.len(), scratch) else {
        return Ok(if unmoved() { Judged::Bad } else { Judged::Moved });
    };
    if !log::is_of(&header, scratch, key) {
        let whole = is_whole_header(arena, at, scratch);
        // A place that was left may be another key's by now, and this key's record elsewhere.
        return Ok(match unmoved() {
            true if whole => Judged::Other,
            true => Judged::Bad,
            false => Judged::Moved,
        });
    }
    let holds = header.plausible(log::room_at(arena, at))
        && (header.owner_len == 0 || log::read_names(arena, at, &header, scratch))
        && header.checks(scratch.bytes())
        && !header.is(TOMBSTONE);
    if !holds {
        return Ok(if unmoved() { Judged::Bad } else { Judged::Moved });
    }
    let reads = out.is_some();
    Ok(match take(arena, slot_at, slot, header, scratch, out)? {
        Look::Again => Judged::Moved,
        Look::Hit(item) if reads && arena.evicts() => {
            note_read(arena, slot_at, slot);
            Judged::Mine(Look::Hit(item))
        }
        look => Judged::Mine(look),
    })
}

/// For the eviction: a value that is read stays longer. Lost if the slot changed meanwhile.
#[inline(always)]
fn note_read(arena: &Arena, slot_at: u64, slot: Slot) {
    let noted = slot.with_frequency(slot.frequency() + 1);
    if noted != slot {
        let _ = arena.index.cas(slot_at, slot.0, noted.0);
    }
}

/// Takes what is behind a slot, once its header was found to hold (it and its names are in
/// `scratch`): its value, if wanted, and what is known of it. Copies, then looks whether anything
/// moved; only then are the copies judged.
#[inline(always)]
pub(super) fn take(
    arena: &Arena,
    slot_at: u64,
    slot: Slot,
    mut header: Header,
    scratch: &mut Scratch,
    out: Option<&mut Vec<u8>>,
) -> Result<Look> {
    let at = slot.offset();
    let unmoved = || {
        fence(Ordering::Acquire);
        slot.same_place(Slot(arena.index.load(slot_at)))
    };
    // A touch may store this word while bytes are copied: only a load of its own is whole.
    header.expiry = arena.data.load(at + record::EXPIRY_AT);
    let mut value_len = header.value_len as u64;
    let mut value_holds = true;
    if let Some(out) = out {
        out.clear();
        value_holds = log::read_value(arena, at, &header, out)?;
        // The first two words again: a record that began to be overwritten shows here.
        let first = header.first_word();
        if !unmoved() || arena.data.load(at) != first || arena.data.load(at + 8) != header.seq {
            return Ok(Look::Again);
        }
        value_holds = value_holds && record::value_crc(out) == header.value_crc;
        if header.is(COMPRESSED) {
            value_holds = value_holds && pack::unpack(out)?;
            value_len = out.len() as u64;
        }
    } else {
        if header.is(COMPRESSED) {
            let claimed = log::first_word(arena, at, &header);
            let original = claimed.and_then(|word| pack::original_len(word, value_len));
            value_holds = original.is_some();
            value_len = original.unwrap_or_default();
        }
        if !unmoved() {
            return Ok(Look::Again);
        }
    }
    let Some(expires_ms) = header.expires_ms().filter(|_| value_holds) else {
        return Ok(Look::Damaged);
    };
    let standing = || owner::standing(arena, &header, &scratch.bytes()[LINE as usize..]);
    let life = life::of(arena, &header, expires_ms, standing, || arena.now_ms());
    if !life.is_value(arena)? {
        return Ok(Look::Miss);
    }
    Ok(Look::Hit(item(&header, value_len, expires_ms)))
}

fn is_whole_header(arena: &Arena, at: u64, scratch: &mut Scratch) -> bool {
    log::read_checked(arena, at, scratch).is_some()
}

pub(super) fn item(header: &Header, value_len: u64, expires_ms: u64) -> Item {
    Item {
        version: header.version(),
        flags: header.user_flags,
        expires_ms,
        value_len,
        mark: Mark::of(header.flags),
    }
}

/// Refused before anything is done; the store's limit is for values as their writers know them.
#[inline(always)]
pub(super) fn check_length(arena: &Arena, len: usize) -> Result<()> {
    let (len, max) = (len as u64, arena.max_value_bytes());
    if len > max { Err(Error::TooLarge { len, max }) } else { Ok(()) }
}

/// Stores a value, if `expect` and the lock agree.
pub(super) fn put(arena: &Arena, key: &Key, value: &[u8], how: &Write) -> Result<Stored> {
    check_length(arena, value.len())?;
    check_version(how.version)?;
    arena.check_sync()?;
    let packed = Packed::new(arena.compresses(), value).said(how.mark, how.version);
    let done = put_packed(arena, key, &packed, how, None);
    if let Ok(Stored::Done(_)) = done {
        arena.count(Count::Sets);
    }
    done
}

/// Reads the stored bytes of a record under its stripe's latch, checked.
pub(super) fn read_current(arena: &Arena, current: &Current, out: &mut Vec<u8>) -> Result<()> {
    let read = log::read_value(arena, current.slot.offset(), &current.header, out)?;
    match read && record::value_crc(out) == current.header.value_crc {
        true => Ok(()),
        false => Err(damaged(arena)),
    }
}

/// What a writer saw of the present value: its record, and its lifetime, which has no part in that.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) seq: u64,
    pub(super) expires_ms: u64,
    /// The new value takes it over to the millisecond.
    pub(super) keeps: bool,
}

/// The same for bytes as they will lie there; what was `seen` must still be there.
#[inline(always)]
pub(super) fn put_packed(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    how: &Write,
    seen: Option<Seen>,
) -> Result<Stored> {
    let mut tie = None;
    if let Some(name) = how.owner {
        if packed.given != 0 {
            return Err(version_with_owner());
        }
        let expires_ms = match seen {
            Some(Seen { expires_ms, keeps: true, .. }) => expires_ms,
            _ => end_of(arena, how.ttl, arena.now_ms()),
        };
        tie = match owner::tie(arena, name, expires_ms, how.held)? {
            None => return Ok(Stored::Lost),
            tie => tie,
        };
    }
    for _ in 0..OWNER_TRIES {
        match put_tied(arena, key, packed, how, seen, tie.as_ref())? {
            Once::Stored(stored) => return Ok(stored),
            Once::Untied => tie = None,
            Once::Ending(name) => owner::finish(arena, &name)?,
            Once::Owned(it) => tie = owner::cover(arena, &it.name, it.seq, it.expires_ms)?,
        }
    }
    Err(owner::busy())
}

/// What one try came to. The rare outcomes are kept small by a box: this goes through memory.
enum Once {
    Stored(Stored),
    /// The present value has this owner, which the new one keeps: it must live as long.
    Owned(Box<Needed>),
    /// There is no owner to keep.
    Untied,
    /// The value's owner is being ended, and the lock's age is to be judged by that.
    Ending(Box<[u8]>),
}

/// An owner that must live until then.
struct Needed {
    name: Vec<u8>,
    seq: u64,
    expires_ms: u64,
}

#[cold]
fn needed(name: Vec<u8>, seq: u64, expires_ms: u64) -> Box<Needed> {
    Box::new(Needed { name, seq, expires_ms })
}

#[inline(always)]
fn put_tied(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    how: &Write,
    seen: Option<Seen>,
    tie: Option<&Tie>,
) -> Result<Once> {
    let names_len = key.bytes.len() + tie.map_or(0, |tie| tie.name.len());
    let segments = Run::segments(arena, names_len, packed.bytes().len() as u64);
    let lines = record::lines(names_len, packed.bytes().len() as u64);
    with_room(arena, Wanted { segments: segments.unwrap_or(1), lines }, || {
        let run = match segments {
            Some(count) => Some(Run::write(arena, count, names_len, packed.bytes())?),
            None => None,
        };
        put_once(arena, key, packed, run, how, seen, tie)
    })
}

/// Lets through who has no lock to show, or shows one that is still its own; `None` for who lost
/// it. What it gives is to be kept to the end of the write: nobody takes the lock meanwhile.
#[inline(always)]
pub(super) fn pass_fence<'a>(
    arena: &'a Arena,
    key: &Key,
    held: Option<&Held>,
) -> Result<Option<Option<lock::Bucket<'a>>>> {
    match held {
        None => Ok(Some(None)),
        Some(held) => Ok(lock::confirm(arena, key, held)?.map(Some)),
    }
}

fn put_once(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    run: Option<Run>,
    how: &Write,
    seen: Option<Seen>,
    tie: Option<&Tie>,
) -> Result<Once> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, how.held)? else {
        return Ok(Once::Stored(Stored::Lost));
    };
    let now = arena.now_ms();
    let mut scratch = Scratch::new();
    let found = stripe.find_with(key, &mut scratch);
    let live = match &found {
        Found::Present(current) if current.is_alive(arena, now)? => Some(*current),
        Found::Damaged { .. } if how.expect != Expect::Any => return Err(damaged(arena)),
        _ => None,
    };
    if let Some(refused) = how.expect.refuses(live.map(|current| current.header.version())) {
        return Ok(Once::Stored(refused));
    }
    if let (Some(held), Found::Present(current)) = (how.held, &found)
        && may_be_late(arena, current, held)
    {
        return Ok(match current.standing.is_ending() {
            true => Once::Ending(owner_in(&current.header, &mut scratch).into()),
            false => Once::Stored(Stored::Lost),
        });
    }
    let mut expires_ms = end_of(arena, how.ttl, now);
    if let (Some(seen), Some(current)) = (seen, live) {
        if (seen.seq, seen.expires_ms) != (current.header.seq, current.expires_ms) {
            return Ok(Once::Stored(Stored::Exists(current.header.version())));
        }
        expires_ms = if seen.keeps { seen.expires_ms } else { expires_ms };
    }
    if let Some(instead) = retie(how, live.as_ref(), tie, expires_ms, &mut scratch) {
        // It is a tie that is missing, and what is tied has no version of its own.
        return if packed.given != 0 { Err(version_with_owner()) } else { Ok(instead) };
    }
    let flags = how.flags;
    let version = fill(arena, &stripe, key, packed, run, flags, expires_ms, &found, now, tie)?;
    Ok(Once::Stored(Stored::Done(version)))
}

/// Was a lock taken before what is there was ended by its owner? If the end is under way that is
/// to be settled first.
#[inline(always)]
pub(super) fn may_be_late(arena: &Arena, current: &Current, held: &Held) -> bool {
    let standing = &current.standing;
    standing.is_owned()
        && (standing.is_ending() || standing.was_ended_after(held.fence))
        && !life::is_flushed(arena, current.header.seq)
}

/// The name of the owner of the record that was read.
#[cold]
fn owner_in(header: &Header, scratch: &mut Scratch) -> Vec<u8> {
    scratch.bytes()[LINE as usize + header.key_len as usize..].to_vec()
}

/// Is the new value tied to another owner than it has to be, or to one that ends before it?
#[inline(always)]
fn retie(
    how: &Write,
    live: Option<&Current>,
    tie: Option<&Tie>,
    expires_ms: u64,
    scratch: &mut Scratch,
) -> Option<Once> {
    let keeps = match live {
        Some(current) if how.owner.is_none() && current.standing.is_owned() => {
            Some(&current.header)
        }
        _ => None,
    };
    let tied = |tie: &Tie| Once::Owned(needed(tie.name.clone(), tie.seq, expires_ms));
    match (keeps, tie) {
        (None, None) => None,
        (None, Some(_)) if how.owner.is_none() => Some(Once::Untied),
        (None, Some(tie)) => (!tie.covers(expires_ms)).then(|| tied(tie)),
        (Some(header), tie) => {
            let names = &scratch.bytes()[LINE as usize..];
            match tie.filter(|tie| tie.is_of(header, names)) {
                Some(tie) => (!tie.covers(expires_ms)).then(|| tied(tie)),
                None => {
                    let (name, seq) = (owner_in(header, scratch), header.word7);
                    Some(Once::Owned(needed(name, seq, expires_ms)))
                }
            }
        }
    }
}

/// When a lifetime given now ends, unix ms, 0 = never.
#[inline(always)]
pub(super) fn end_of(arena: &Arena, ttl: Ttl, now_ms: u64) -> u64 {
    match arena.lifetime_ms(ttl) {
        0 => 0,
        lifetime => now_ms + lifetime,
    }
}

/// Writes a value under the stripe's latch; gives its version.
#[expect(clippy::too_many_arguments, reason = "what a record is made of")]
#[inline(always)]
pub(super) fn fill(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    packed: &Packed,
    run: Option<Run>,
    user_flags: u32,
    expires_ms: u64,
    found: &Found,
    now_ms: u64,
    tie: Option<&Tie>,
) -> Result<u64> {
    let value = packed.bytes();
    let kind = if key.kind == Kind::Owner { OWNER } else { 0 };
    let (shadows_until, assumes) = shadow(arena, found, now_ms);
    let mut header = Header {
        key_len: key.bytes.len() as u16,
        flags: packed.flags | kind | assumes,
        value_len: value.len() as u32,
        hash: key.hash,
        value_crc: packed.crc,
        lines: record::lines(key.bytes.len(), value.len() as u64) as u32,
        user_flags,
        shadows_until,
        word7: packed.given,
        ..Header::default()
    };
    let Some(tie) = tie else {
        let seq = write(arena, stripe, key, key.bytes, value, header, expires_ms, found, run)?;
        return Ok(if packed.given != 0 { packed.given } else { seq });
    };
    let names = [key.bytes, &tie.name].concat();
    header.owner_len = tie.name.len() as u8;
    header.word7 = tie.seq;
    header.lines = record::lines(names.len(), value.len() as u64) as u32;
    write(arena, stripe, key, &names, value, header, expires_ms, found, run)
}

/// Writes a tombstone under the stripe's latch; gives its number.
pub(super) fn bury(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    found: &Found,
    now_ms: u64,
) -> Result<u64> {
    let (shadows_until, assumes) = shadow(arena, found, now_ms);
    let header = Header {
        key_len: key.bytes.len() as u16,
        flags: TOMBSTONE | assumes,
        hash: key.hash,
        value_crc: record::value_crc(&[]),
        lines: record::lines(key.bytes.len(), 0) as u32,
        shadows_until,
        ..Header::default()
    };
    write(arena, stripe, key, key.bytes, &[], header, 0, found, None)
}

/// The same whatever is there: for a repair, which takes the record away.
pub(super) fn bury_key(arena: &Arena, key: &Key) -> Result<()> {
    with_room(arena, Wanted::LITTLE, || {
        let stripe = Stripe::latch(arena, key.hash)?;
        bury(arena, &stripe, key, &stripe.find(key), arena.now_ms()).map(drop)
    })
}

/// Ends the life of a record where it lies, by one store, for who has no room for a tombstone.
pub(super) fn end_in_place(arena: &Arena, current: &Current) {
    let ended = record::expiry_word(record::ENDED_MS, current.header.seq);
    arena.data.store(current.slot.offset() + record::EXPIRY_AT, ended);
    segment::look_again(arena, current.slot.offset());
}

/// Until when an older version of this key could come back if the new record were dropped; and the
/// flag that says so if that is only assumed.
fn shadow(arena: &Arena, found: &Found, now_ms: u64) -> (u32, u8) {
    let horizon = arena.meta.load(word::RECOVERY_HORIZON);
    let own = match found {
        // One that was evicted may have been there.
        Found::Absent => match sweep::evict_horizon(arena) {
            until if until <= now_ms => 0,
            until if horizon <= now_ms => return (record::shadow_of_moment(until), ASSUMES),
            until => record::shadow_of_moment(until),
        },
        Found::Present(current) if life::is_flushed(arena, current.header.seq) => 0,
        Found::Present(current) if current.header.hides_its_source() => record::FOR_EVER,
        Found::Present(current) => {
            record::shadow_of(current.expires_ms).max(current.header.shadows_until)
        }
        Found::Damaged { .. } => record::FOR_EVER,
    };
    (if horizon > now_ms { own.max(record::shadow_of_moment(horizon)) } else { own }, 0)
}

/// The one way into the log and the index. A tombstone empties the slot, all else fills it.
#[expect(clippy::too_many_arguments, reason = "one path for every kind of write")]
fn write(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    names: &[u8],
    value: &[u8],
    mut header: Header,
    expires_ms: u64,
    found: &Found,
    run: Option<Run>,
) -> Result<u64> {
    let lines = header.lines as u64;
    let deletes = header.is(TOMBSTONE);
    let before = match found {
        Found::Present(current) => current.lines(),
        _ => 0,
    };
    if !deletes && lines > before && !segment::has_room_for(arena, lines - before) {
        return Err(segment::too_much_alive(arena));
    }
    let slot_at = match found {
        Found::Present(Current { slot_at, .. }) | Found::Damaged { slot_at } => *slot_at,
        Found::Absent => stripe.vacancy(key.hash)?,
    };
    let mut change = Change { slot_at, new_slot: 0, record_at: 0, seq: 0, lane: None };
    let mut number = |header: &mut Header| {
        change.seq = arena.next_seq();
        header.seq = change.seq;
        header.expiry = record::expiry_word(expires_ms, change.seq);
    };
    if let Some(run) = &run {
        number(&mut header);
        header.salt = run.salt();
        let first = run.write_header(&mut header, names);
        change.record_at = run.offset();
        change.new_slot = Slot::new(key.hash, run.offset(), lines, run.incarnation()).0;
        stripe.arm(&change);
        run.commit(first);
    } else {
        let mut lane = match found {
            Found::Present(old)
                if !deletes && arena.evicts() && sweep::is_kept(arena, old.slot) =>
            {
                Lane::acquire_number(arena, arena.geometry.survivor_lane())?
            }
            _ => Lane::acquire(arena)?,
        };
        // What makes others vanish finds room when values do not.
        let ends = deletes || header.is(OWNER);
        lane.reserve(lines, if ends { Need::Tombstone } else { Need::Value })?;
        number(&mut header);
        header.salt = lane.salt();
        let first = lane.write(&mut header, names, value);
        change.record_at = lane.offset();
        change.lane = Some(lane.number());
        change.new_slot = match deletes {
            true => Table::emptied(&arena.index, slot_at),
            false => {
                let new = Slot::new(key.hash, lane.offset(), lines, lane.incarnation());
                match found {
                    Found::Present(old) => new.with_frequency_of(old.slot).0,
                    _ => new.0,
                }
            }
        };
        stripe.arm(&change);
        lane.commit(first, lines);
    }
    stripe.publish(&change);
    if let Some(run) = run {
        // Before the redo goes: else a death here leaves a run that the index names and that
        // is freed as its dead owner's own.
        run.publish();
    }
    stripe.disarm();
    arena.count_many(Count::WrittenLines, lines);
    account(arena, stripe, found, &change, &header);
    Ok(change.seq)
}

fn account(arena: &Arena, stripe: &Stripe, found: &Found, change: &Change, header: &Header) {
    let deletes = header.is(TOMBSTONE);
    // What was flushed counts no more.
    let counted = match found {
        Found::Present(current) if !life::is_flushed(arena, current.header.seq) => {
            segment::account(arena, current.slot.offset(), current.lines(), false);
            true
        }
        Found::Damaged { .. } => true,
        _ => false,
    };
    if counted == deletes && !header.is(OWNER) {
        arena.meta.add(word::KEYS, if deletes { 1u64.wrapping_neg() } else { 1 });
    }
    stripe.count(!deletes as i64 - !matches!(found, Found::Absent) as i64);
    if !deletes {
        segment::account(arena, change.record_at, header.lines as u64, true);
    }
}

/// Runs an operation; when it finds the store full, makes room and runs it again.
pub(super) fn with_room<T>(
    arena: &Arena,
    wanted: Wanted,
    mut operation: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut done = operation();
    for _ in 0..ROOM_TRIES {
        if !matches!(done, Err(Error::Full(_))) {
            // What was to be done is done: what helping meets is for others to say.
            let _ = sweep::help(arena, wanted.lines);
            return done;
        }
        // What was made may be taken by somebody else before the next try.
        let made = sweep::make_room(arena, wanted)?;
        done = operation();
        if !made {
            break;
        }
    }
    if matches!(done, Err(Error::Full(_))) {
        arena.count(Count::RefusedFull);
    }
    done
}

/// Which value is to be deleted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Doomed {
    Any,
    Version(u64),
    /// The one with this number, which was read.
    Seq(u64),
}

impl Doomed {
    fn is(self, header: &Header) -> bool {
        match self {
            Doomed::Any => true,
            Doomed::Version(version) => version == header.version(),
            Doomed::Seq(seq) => seq == header.seq,
        }
    }
}

/// Deletes a key, if it is there, is the one that is meant and the lock agrees; says too whether
/// anything was written.
pub(super) fn delete(
    arena: &Arena,
    key: &Key,
    which: Doomed,
    held: Option<&Held>,
) -> Result<(Stored, bool)> {
    arena.check_sync()?;
    let done =
        match with_room(arena, Wanted::LITTLE, || delete_once(arena, key, which, held, false)) {
            Err(Error::Full(_) | Error::NoSpace(_)) => delete_once(arena, key, which, held, true),
            done => done,
        };
    if let Ok((Stored::Done(_), _)) = done {
        arena.count(Count::Deletes);
    }
    done
}

/// With no room for a tombstone (`in_place`) the record becomes its own: its life ends now, by one
/// store. It stays in the index as long as a tombstone would stay in the log.
fn delete_once(
    arena: &Arena,
    key: &Key,
    which: Doomed,
    held: Option<&Held>,
    in_place: bool,
) -> Result<(Stored, bool)> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, held)? else {
        return Ok((Stored::Lost, false));
    };
    let now = arena.now_ms();
    let found = stripe.find(key);
    match &found {
        Found::Present(current) if current.is_alive(arena, now)? => {
            if !which.is(&current.header) {
                return Ok((Stored::Exists(current.header.version()), false));
            }
            if in_place {
                end_in_place(arena, current);
                return Ok((Stored::Done(arena.next_seq()), true));
            }
        }
        Found::Damaged { .. } if which == Doomed::Any => {}
        Found::Damaged { .. } => return Err(damaged(arena)),
        _ => return Ok((Stored::Missing, bury_evicted(arena, &stripe, key, &found, now)?)),
    }
    Ok((Stored::Done(bury(arena, &stripe, key, &found, now)?), true))
}

/// Somebody is told that there is nothing, and is to be right: what was evicted may come back after
/// a power loss if nothing says that it is gone. Gives whether that had to be written.
pub(super) fn bury_evicted(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    found: &Found,
    now_ms: u64,
) -> Result<bool> {
    let may_come_back = matches!(found, Found::Absent) && sweep::evict_horizon(arena) > now_ms;
    if may_come_back {
        bury(arena, stripe, key, found, now_ms)?;
    }
    Ok(may_come_back)
}

/// Gives a value a new lifetime. Longer is one store in place; shorter is a new record, because an
/// older copy with the longer life may still lie in the log.
pub(super) fn touch(arena: &Arena, key: &Key, ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
    arena.check_sync()?;
    let stored = match touch_once(arena, key, ttl, held, false)? {
        Touched::Stored(stored) => stored,
        other => touch_at_length(arena, key, ttl, held, other)?,
    };
    if let Stored::Done(_) = stored {
        arena.count(Count::Touches);
    }
    Ok(stored)
}

/// A touch that needs more than one store in place.
#[cold]
#[inline(never)]
fn touch_at_length(
    arena: &Arena,
    key: &Key,
    ttl: Ttl,
    held: Option<&Held>,
    mut touched: Touched,
) -> Result<Stored> {
    for _ in 0..OWNER_TRIES {
        let Touched::Owned(it) = &touched else { break };
        owner::cover(arena, &it.name, it.seq, it.expires_ms)?;
        touched = touch_once(arena, key, ttl, held, false)?;
    }
    if let Touched::Shorten = touched {
        touched = with_room(arena, Wanted::LITTLE, || touch_once(arena, key, ttl, held, true))?;
    }
    match touched {
        Touched::Stored(stored) => Ok(stored),
        Touched::Shorten => shorten_far(arena, key, ttl, held),
        Touched::Owned(_) => Err(owner::busy()),
    }
}

enum Touched {
    Stored(Stored),
    /// The lifetime would become shorter: the value has to be written again.
    Shorten,
    /// The value's owner must live as long first.
    Owned(Box<Needed>),
}

fn touch_once(
    arena: &Arena,
    key: &Key,
    ttl: Ttl,
    held: Option<&Held>,
    may_write: bool,
) -> Result<Touched> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, held)? else {
        return Ok(Touched::Stored(Stored::Lost));
    };
    let now = arena.now_ms();
    let mut scratch = Scratch::new();
    let found = stripe.find_with(key, &mut scratch);
    let current = match &found {
        Found::Present(current) if current.is_alive(arena, now)? => current,
        Found::Damaged { .. } => return Err(damaged(arena)),
        _ => return Ok(Touched::Stored(Stored::Missing)),
    };
    let expires_ms = end_of(arena, ttl, now);
    let mut version = current.header.version();
    let shorter = expires_ms != 0 && (current.expires_ms == 0 || expires_ms < current.expires_ms);
    if shorter {
        if !may_write || current.header.is(RUN) || current.standing.is_owned() {
            return Ok(Touched::Shorten);
        }
        version = shorten(arena, &stripe, key, &found, current, expires_ms, now)?;
    } else if expires_ms != current.expires_ms || current.standing.is_owned() {
        if !current.standing.covers(expires_ms) {
            let name = owner_in(&current.header, &mut scratch);
            return Ok(Touched::Owned(needed(name, current.header.word7, expires_ms)));
        }
        lengthen(arena, current, expires_ms);
    }
    Ok(Touched::Stored(Stored::Done(version)))
}

/// Gives a record a later end, where it lies.
#[inline(always)]
pub(super) fn lengthen(arena: &Arena, current: &Current, expires_ms: u64) {
    let at = current.slot.offset() + record::EXPIRY_AT;
    arena.data.store(at, record::expiry_word(expires_ms, current.header.seq));
}

/// Writes a value again, as it lies there, with an earlier end; gives its version, a new one unless
/// its writer gave it.
#[cold]
fn shorten(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    found: &Found,
    current: &Current,
    expires_ms: u64,
    now_ms: u64,
) -> Result<u64> {
    let mut stored = Vec::new();
    read_current(arena, current, &mut stored)?;
    let packed = Packed::again(&stored, &current.header);
    let flags = current.header.user_flags;
    fill(arena, stripe, key, &packed, None, flags, expires_ms, found, now_ms, None)
}

/// The same for a value that fills whole segments, which takes too long under a latch.
fn shorten_far(arena: &Arena, key: &Key, ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
    let mut no_memory = None;
    let done = update::far(arena, key, held, &mut |present| {
        let Some((value, Known { item, given, .. })) = present else { return Update::Keep };
        match collect(value.len(), value.iter().copied()) {
            Ok(value) => Update::Write {
                value,
                flags: item.flags,
                ttl: Some(ttl),
                mark: item.mark,
                version: *given,
            },
            Err(error) => {
                no_memory = Some(error);
                Update::Keep
            }
        }
    });
    no_memory.map_or(Ok(()), Err)?;
    done.map(|(stored, _)| stored)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::options::{Options, Sync};
    use crate::store::Store;

    /// A reader is slow, its key's record is moved meanwhile, and another key's record comes to lie
    /// in the old place: the key is not missing.
    #[test]
    fn another_keys_record_is_believed_only_while_the_slot_names_it() -> Result<()> {
        let private = PermissionsExt::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir().expect("a directory");
        let options = Options {
            create: true,
            thread: false,
            sync: Some(Sync::None),
            max_bytes: Some(8 << 20),
            ..Options::default()
        };
        let store = Store::open(dir.path(), &options)?;
        let arena = store.arena()?;
        let slot_of = |name: &[u8]| -> Result<(u64, Slot)> {
            store.set(name, b"value", 0, Ttl::Never)?;
            let key = store.key(arena, name)?;
            match Stripe::latch(arena, key.hash)?.find(&key) {
                Found::Present(current) => Ok((current.slot_at, current.slot)),
                _ => panic!("it was just written"),
            }
        };
        let (mine, other) = (slot_of(b"mine")?, slot_of(b"other")?);
        let key = store.key(arena, b"mine")?;
        let judged =
            |slot_at| judge(arena, &key, slot_at, other.1, &mut Scratch::new(), Some(&mut vec![]));
        assert!(matches!(judged(mine.0)?, Judged::Moved), "the slot names another place by now");
        assert!(matches!(judged(other.0)?, Judged::Other), "the slot still names it");
        Ok(())
    }
}
