//! Under a stripe's latch: a record is made, written, and named by the index. There is no other way
//! into the log.

use super::owner::Tie;
use super::pack::Packed;
use super::stripe::{Change, Current, Found, Stripe};
use super::{life, sweep};
use crate::arena::{Arena, Count, word};
use crate::error::Result;
use crate::index::{Slot, Table};
use crate::key::{Key, Kind};
use crate::log::record::{self, ASSUMES, Header, OWNER, TOMBSTONE};
use crate::log::segment;
use crate::log::space::{self, Need};
use crate::log::{Lane, Run};
use crate::options::Ttl;

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

/// Gives a record a later end, where it lies.
#[inline(always)]
pub(super) fn lengthen(arena: &Arena, current: &Current, expires_ms: u64) {
    let at = current.slot.offset() + record::EXPIRY_AT;
    arena.data.store(at, record::expiry_word(expires_ms, current.header.seq));
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
    if !deletes && lines > before && !space::has_room_for(arena, lines - before) {
        return Err(space::too_much_alive(arena));
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
    let gone = match found {
        Found::Present(current) if !life::is_flushed(arena, current.header.seq) => {
            Some((current.slot.offset(), current.lines()))
        }
        _ => None,
    };
    let counted = gone.is_some() || matches!(found, Found::Damaged { .. });
    if counted == deletes && !header.is(OWNER) {
        arena.meta.add(word::KEYS, if deletes { 1u64.wrapping_neg() } else { 1 });
    }
    stripe.count(!deletes as i64 - !matches!(found, Found::Absent) as i64);
    let new = (!deletes).then_some((change.record_at, header.lines as u64));
    segment::account(arena, new, gone);
}
