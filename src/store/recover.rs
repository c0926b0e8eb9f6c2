//! Making `index` and `meta` anew from `data`, when nobody else has the store open.
//!
//! Every segment with a valid header is walked; per key the highest number wins, at equal numbers
//! the later copy; a tombstone that wins deletes. Nothing is appended to a segment found here.
//! The result replaces the old files by rename, so a death in between starts over.

use std::cmp::Ordering;

use super::life;
use super::stripe::Stripe;
use super::sweep;
use crate::arena::{Arena, meta_magic, segment as row, stripe, word};
use crate::error::{Error, Result};
use crate::index::{self, Slot};
use crate::limits::{LINE, SEQ_STEP, STRIPES};
use crate::log::record::{Header, OWNER, TOMBSTONE};
use crate::log::segment::{self, BODY, FREE, SEALED, State};
use crate::log::space::{self, BARE};
use crate::log::{self, Walk, Walked};
use crate::sys::map::Scratch;

/// What a rebuild found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) newest_seq: u64,
    pub(super) newest_ms: u64,
    /// Unix ms until which time alone must not drop anything.
    pub(super) horizon_ms: u64,
    /// Records of owners, which are no keys.
    owners: u64,
    pub(super) damaged: u64,
}

/// Fills an arena whose index and meta are all zeros.
pub(super) fn rebuild(arena: &Arena) -> Result<Recovered> {
    arena.meta.store(word::INDEX_BYTES, index::NEW_BYTES);
    index::lay_out(&arena.meta, |which| arena.geometry.stripe(which));
    let mut found = Recovered::default();
    let mut value = Vec::new();
    let mut number = 0;
    while number < arena.geometry.segments {
        // Its own, if nobody asked yet, and what comes while it is looked at.
        segment::read_ahead(arena, number);
        segment::read_ahead(arena, number + 1);
        number += recover_segment(arena, number, &mut found, &mut value)?;
    }
    // A new store has none.
    if found.newest_seq != 0 {
        let slots = (0..STRIPES).map(|which| settle(arena, which)).sum::<Result<u64>>()?;
        arena.meta.store(word::KEYS, slots.saturating_sub(found.owners));
    }
    space::recount_free(arena);
    arena.meta.store(word::RECOVERY_HORIZON, found.horizon_ms);
    Ok(found)
}

/// Recovers the segment, or the run that starts here; gives the number of segments looked at.
fn recover_segment(
    arena: &Arena,
    number: u64,
    found: &mut Recovered,
    value: &mut Vec<u8>,
) -> Result<u64> {
    let set = |segment: u64, kind: u8| {
        let incarnation = segment::last_incarnation(arena, segment);
        // Whether a free one has disk space behind it nobody knows.
        let state = State::new(kind, if kind == FREE { BARE } else { 0 }, incarnation);
        arena.meta.store(arena.geometry.segment(segment) + row::STATE, state.0);
    };
    set(number, FREE);
    let Some(header) = segment::header(arena, number) else { return Ok(1) };
    // Even if nothing in it counts it comes free by the sweep alone, which takes the header away,
    // durably, before anybody writes here: else what a cut left of a record could be made whole by
    // the next cut, with bytes of a record that was being written in its place.
    set(number, SEALED);
    let at = arena.geometry.segment(number);
    arena.meta.store(at + row::ACTIVATION_SEQ, header.activation_seq);
    let run = header.head_of();
    if header.body_of().is_some() || run.is_some_and(|run| !is_run(arena, number, run)) {
        return Ok(1);
    }
    // The seq of the activation counts too: fences may have been drawn after the last record.
    found.newest_seq = found.newest_seq.max(header.activation_seq);
    found.newest_ms = found.newest_ms.max(header.activated_ms);
    let mut walk = Walk::new(arena, number, &header, arena.data.usable());
    let (mut any, mut used) = (false, LINE);
    while let Some(walked) = walk.next() {
        if life::is_flushed(arena, walked.header.seq) {
            found.newest_seq = found.newest_seq.max(walked.header.seq);
            continue;
        }
        // The expiry is outside the header's checksum: a torn write may have left it behind alone.
        if walked.header.expires_ms().is_none() || !walk.value_holds(&walked, value)? {
            found.damaged += 1;
            continue;
        }
        any = true;
        used = (walk.at() - segment::start(arena, number)).min(arena.geometry.segment_bytes);
        found.newest_seq = found.newest_seq.max(walked.header.seq);
        let key = walk.key().to_vec();
        insert(arena, &walked, &key, header.incarnation, found)?;
        if run.is_some() {
            break;
        }
    }
    let count = run.unwrap_or(1);
    if any {
        segment::set_extent(arena, number, run.unwrap_or(0), used / LINE - 1);
        for body in (number + 1)..number + count {
            set(body, BODY);
        }
    }
    Ok(if any { count } else { 1 })
}

/// Do all bodies of a run name its head?
fn is_run(arena: &Arena, head: u64, count: u64) -> bool {
    count > 0
        && head.checked_add(count).is_some_and(|end| end <= arena.geometry.segments)
        && ((head + 1)..head + count)
            .all(|body| segment::header(arena, body).and_then(|h| h.body_of()) == Some(head))
}

/// Puts a record into the index if it wins.
fn insert(
    arena: &Arena,
    walked: &Walked,
    key: &[u8],
    incarnation: u32,
    found: &mut Recovered,
) -> Result<()> {
    let header = &walked.header;
    let stripe = Stripe::latch(arena, header.hash)?;
    let mut scratch = Scratch::new();
    let rival = stripe.table().candidates(&arena.index, header.hash, |slot_at, slot| {
        let other = log::read_header(arena, slot.offset(), key.len(), &mut scratch)?;
        (other.hash == header.hash
            && other.key_len as usize == key.len()
            && other.is(OWNER) == header.is(OWNER)
            && &scratch.bytes()[LINE as usize..] == key)
            .then_some((slot_at, slot, other))
    });
    let slot = Slot::new(header.hash, walked.at, header.lines as u64, incarnation);
    let slot = slot.marked(header.is(TOMBSTONE));
    let owns = |header: &Header| (header.is(OWNER) && !header.is(TOMBSTONE)) as u64;
    match rival {
        None => {
            arena.index.store(stripe.vacancy(header.hash)?, slot.0);
            stripe.count(1);
        }
        Some((slot_at, old, other)) => {
            let newer = match header.seq == other.seq {
                true => is_later_copy(arena, (header, walked.at), (&other, old.offset())),
                false => header.seq > other.seq,
            };
            let (loser, at) = if newer { (other, old.offset()) } else { (*header, walked.at) };
            if !loser.is(TOMBSTONE) {
                let until = match loser.expires_ms() {
                    Some(0) | None => u64::MAX,
                    Some(ms) => ms,
                };
                found.horizon_ms = found.horizon_ms.max(until);
                if header.seq == other.seq {
                    let expires_ms = loser.expires_ms().unwrap_or(0);
                    sweep::note_copy(arena, segment::of(arena, at), expires_ms);
                }
            }
            if !newer {
                return Ok(());
            }
            found.owners = found.owners.saturating_sub(owns(&other));
            if !other.is(TOMBSTONE) {
                segment::account(arena, None, Some((old.offset(), other.lines as u64)));
            }
            arena.index.store(slot_at, slot.0);
        }
    }
    if !header.is(TOMBSTONE) {
        segment::account(arena, Some((walked.at, header.lines as u64)), None);
    }
    found.owners += owns(header);
    Ok(())
}

/// Of two records with one number: is the first the later copy? Each was made in a segment that was
/// begun after that of the copy before it, so the segments tell, however often the copy number went
/// round meanwhile. It tells if both were begun at one number, which was drawn for none of them.
fn is_later_copy(arena: &Arena, one: (&Header, u64), other: (&Header, u64)) -> bool {
    let begun = |(_, at): (&Header, u64)| {
        segment::header(arena, segment::of(arena, at)).map_or(0, |header| header.activation_seq)
    };
    match (one.0.copy, other.0.copy) {
        (0, _) => false,
        (_, 0) => true,
        (copy, than) => match begun(one).cmp(&begun(other)) {
            Ordering::Equal => copy.wrapping_sub(than) as i8 > 0,
            order => order == Ordering::Greater,
        },
    }
}

/// Tombstones have won what they could win: their slots go. Gives the number of keys left.
fn settle(arena: &Arena, which: u64) -> Result<u64> {
    let stripe = Stripe::latch_number(arena, which)?;
    let mut keys = 0;
    for slot_at in stripe.table().slots() {
        let slot = Slot(arena.index.load(slot_at));
        if slot.is_marked() {
            stripe.forget_slot(slot_at);
        } else if slot.offset() != 0 {
            keys += 1;
        }
    }
    Ok(keys)
}

/// Writes the words that every later opener compares.
pub(super) fn sign(arena: &Arena, id: [u64; 2], inodes: [u64; 2]) {
    arena.meta.store(word::STORE_ID, id[0]);
    arena.meta.store(word::STORE_ID + 8, id[1]);
    arena.meta.store(word::DATA_INODE, inodes[0]);
    arena.meta.store(word::INDEX_INODE, inodes[1]);
    arena.meta.store(word::DATA_BYTES, arena.data.usable());
    arena.meta.store(word::MAGIC, meta_magic());
}

/// The first number that is surely new after a rebuild.
pub(super) fn next_base(arena: &Arena, seen: u64, base: u64) -> Result<u64> {
    seen.max(base).checked_add(SEQ_STEP).ok_or_else(|| {
        Error::Damaged(format!(
            "{}: version numbers have run out; dump the store and load it anew",
            arena.dir.join("data").display()
        ))
    })
}

/// After all processes died on this boot: what they left half done is finished or dropped.
pub(super) fn heal_all(arena: &Arena) -> Result<()> {
    super::stripe::heal_dead(arena, |_| true)?;
    for which in 0..STRIPES {
        // A redo can be armed under a free latch if its owner could not wait for the lane.
        let at = arena.geometry.stripe(which);
        if arena.meta.load(at + stripe::REDO) != 0 {
            drop(Stripe::latch_number(arena, which)?);
        }
    }
    crate::lock::forget_all(arena);
    arena.meta.store(word::SYNC_LEADER, 0);
    arena.meta.store(word::FLUSHER, 0);
    space::recount_free(arena);
    Ok(())
}

/// Bytes of records in a rebuilt or healed store count as not yet on the disk.
pub(super) fn mark_dirty(arena: &Arena) {
    arena.meta.store(word::DIRTY, 1);
}
