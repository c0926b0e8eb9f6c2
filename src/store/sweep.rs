//! Giving space back: expired values leave the index, segments with nothing alive become free.
//!
//! A segment is freed in two rounds of sync: once what replaced its contents is durable its magic
//! is zeroed, and once that is durable it is free. Otherwise a power loss could find it again and
//! bring back what was deleted. Nothing is dropped that still shadows an older version elsewhere
//! in the log (ENGINE rules 1 to 3).
//!
//! Two segments can hold each other: each has a tombstone that the other's age keeps. So when room
//! is short, what only shadows is *carried*: appended again as a tombstone with the same number
//! and the next copy number, in a segment younger than all that it may shadow.

use std::time::{Duration, Instant};

use super::stripe::Stripe;
use super::sync;
use crate::arena::{Arena, Count, segment as row, word};
use crate::error::{Error, Result};
use crate::limits::{LANES, LINE, RESERVE};
use crate::log::record::{self, FOR_EVER, TOMBSTONE};
use crate::log::segment::{
    self, ACTIVE, BODY, DRAINED, FREE, Need, SEALED, SWEEPING, State, ZEROED,
};
use crate::log::{Lane, Walk, Walked};
use crate::sys::{clock, latch};

/// An idle lane's segment is ended after this long, so that its contents can be given back.
const RETIRE_MS: u64 = 60_000;
/// After a vain attempt to make room the next ones fail at once for this long.
const NO_ROOM_MS: u64 = 100;

/// What a walk over one segment came to.
#[derive(Default)]
struct Outcome {
    expired: u64,
    records: u64,
    survivors: u64,
    /// Survivors that somebody can still read.
    live: u64,
    live_lines: u64,
    /// Lines that the other survivors take as tombstones.
    shadow_lines: u64,
    /// When the next record here may be dropped; `None` = not by time.
    next_look_ms: Option<u64>,
    /// The oldest activation among the other segments.
    oldest_other: u64,
}

/// Which segments a lap looks at.
#[derive(Clone, Copy, PartialEq)]
enum Lap {
    /// Those whose hints promise something.
    Hinted,
    /// All, and what only shadows is carried: deaths may have left hints behind, and segments may
    /// hold each other.
    All,
}

/// What a lap came to.
#[derive(Default)]
struct Gain {
    expired: u64,
    drained: u64,
}

/// Drops what has expired, looking at about `budget` records; gives the number of keys dropped.
pub(super) fn expire(arena: &Arena, budget: u64) -> Result<u64> {
    Ok(lap(arena, budget, Lap::Hinted)?.expired)
}

fn lap(arena: &Arena, budget: u64, which: Lap) -> Result<Gain> {
    let now = arena.now_ms();
    if now < arena.meta.load(word::HOLD_RECLAIM_UNTIL) {
        return Ok(Gain::default());
    }
    let age = Age::of(arena);
    let (mut gain, mut seen) = (Gain::default(), 0);
    let count = arena.geometry.segments;
    let start = arena.meta.load(word::SWEEP_CURSOR) % count;
    for i in 0..count {
        let number = (start + i) % count;
        if seen >= budget {
            arena.meta.store(word::SWEEP_CURSOR, number);
            break;
        }
        if let Some(outcome) = visit(arena, number, now, which, &age)? {
            seen += outcome.records;
            gain.expired += outcome.expired;
            gain.drained += (outcome.survivors == 0) as u64;
        }
    }
    arena.count_many(Count::Expired, gain.expired);
    advance(arena);
    Ok(gain)
}

/// Sweeps one segment if there may be something to gain.
fn visit(arena: &Arena, number: u64, now: u64, which: Lap, age: &Age) -> Result<Option<Outcome>> {
    let state = segment::state(arena, number);
    let at = arena.geometry.segment(number);
    match state.kind() {
        ACTIVE => {
            let Some(outcome) = walk(arena, number, now, age, None)? else { return Ok(None) };
            let over = outcome.live == 0
                && outcome.records > 0
                && retire(arena, number, state.arg(), now, which)?;
            // An end is a step forward; what is in the segment counts once it is sealed.
            Ok(Some(Outcome { survivors: !over as u64, ..outcome }))
        }
        SEALED => {
            let hint = segment::live_hint(arena, number);
            let promising = arena.meta.load(at + row::NEXT_LOOK_MS) <= now
                // Negative: changes overtook the walk that counted.
                || hint as i64 <= 0
                || arena.meta.load(at + row::OLDEST_SEEN) != age.oldest_beside(number);
            if which == Lap::Hinted && !promising {
                return Ok(None);
            }
            let mine = state.to(SWEEPING, arena.peers.slot());
            if !segment::change(arena, number, state, mine) {
                return Ok(None);
            }
            // Before the walk, so that an earlier end that comes meanwhile is seen the next time.
            arena.meta.store(at + row::NEXT_LOOK_MS, u64::MAX);
            let mut outcome = walk(arena, number, now, age, None);
            if let Ok(Some(walked)) = &outcome
                && which == Lap::All
                && is_worth_carrying(arena, number, walked)
            {
                let expired = walked.expired;
                outcome = match walk(arena, number, now, age, Some(Carry)) {
                    Ok(Some(o)) => Ok(Some(Outcome { expired: expired + o.expired, ..o })),
                    // No room even for that: it stays as it was.
                    Err(Error::Full(_)) => Ok(None),
                    other => other,
                };
            }
            let drained = matches!(&outcome, Ok(Some(o)) if o.survivors == 0);
            if let Ok(Some(outcome)) = &outcome {
                // Added, not stored: what changed meanwhile counts too. A hint that comes out too
                // low brings the sweep here again, one too high would keep it away.
                arena.meta.add(at + row::LIVE, outcome.live_lines.wrapping_sub(hint));
                if let Some(next) = outcome.next_look_ms {
                    arena.meta.min(at + row::NEXT_LOOK_MS, next);
                }
                arena.meta.store(at + row::OLDEST_SEEN, outcome.oldest_other);
            }
            if drained {
                arena.meta.store(at + row::ROUND, sync::next_round(arena));
                segment::change(arena, number, mine, mine.to(DRAINED, 0));
                arena.meta.store(word::DIRTY, 1);
            } else {
                segment::change(arena, number, mine, mine.to(SEALED, 0));
            }
            outcome
        }
        _ => Ok(None),
    }
}

/// Ends a lane's segment in which nothing is alive, once it is old or the room is needed. What
/// comes into it meanwhile is none the worse for it.
fn retire(arena: &Arena, number: u64, lane: u32, now: u64, which: Lap) -> Result<bool> {
    let old =
        segment::header(arena, number).is_some_and(|header| header.activated_ms + RETIRE_MS < now);
    if !(old || which == Lap::All) || lane as u64 >= LANES.min(arena.geometry.lanes) {
        return Ok(false);
    }
    let lane = Lane::acquire_number(arena, lane as u64)?;
    let here = lane.is_in(number);
    if here {
        lane.retire();
    }
    Ok(here)
}

/// Does a segment come free, with room gained or an old one gone, if what only shadows leaves it?
fn is_worth_carrying(arena: &Arena, number: u64, outcome: &Outcome) -> bool {
    let own = arena.meta.load(arena.geometry.segment(number) + row::ACTIVATION_SEQ);
    outcome.live == 0
        && outcome.survivors > 0
        && outcome.shadow_lines > 0
        && (outcome.shadow_lines * LINE <= arena.geometry.segment_bytes / 2
            || own < outcome.oldest_other)
}

/// Asks a walk to append what only shadows anew, so that nothing is left here.
#[derive(Clone, Copy)]
struct Carry;

/// Walks a segment: expired keys leave the index, the rest is counted.
fn walk(
    arena: &Arena,
    number: u64,
    now: u64,
    age: &Age,
    carry: Option<Carry>,
) -> Result<Option<Outcome>> {
    let mut outcome = Outcome::default();
    let Some(header) = segment::header(arena, number) else {
        // Zeroed by a sweep that died: nothing is in it. Anything else is damage, and damage is
        // never a reason to give space back.
        outcome.survivors = (!segment::is_blank(arena, number)) as u64;
        outcome.live = outcome.survivors;
        return Ok(Some(outcome));
    };
    outcome.oldest_other = age.oldest_beside(number);
    let mut walk = Walk::new(arena, number, &header, arena.data.usable());
    while let Some(record) = walk.next() {
        outcome.records += 1;
        let key = if carry.is_some() { walk.key().to_vec() } else { Vec::new() };
        weigh(arena, &record, now, age, carry.map(|_| &key[..]), &mut outcome)?;
        if header.head_of().is_some() {
            break;
        }
    }
    Ok(Some(outcome))
}

/// How old the log is: its two oldest segments at one moment, for rule 1.
struct Age {
    /// Records with later numbers may shadow what was not looked at.
    known_until: u64,
    oldest: [(u64, u64); 2],
}

impl Age {
    /// Bodies hold no records.
    fn of(arena: &Arena) -> Age {
        let known_until = arena.meta.load(word::SEQ);
        let mut oldest = [(u64::MAX, u64::MAX); 2];
        for number in 0..arena.geometry.segments {
            if matches!(segment::state(arena, number).kind(), FREE | BODY) {
                continue;
            }
            let seq = arena.meta.load(arena.geometry.segment(number) + row::ACTIVATION_SEQ);
            if seq < oldest[0].0 {
                oldest = [(seq, number), oldest[0]];
            } else if seq < oldest[1].0 {
                oldest[1] = (seq, number);
            }
        }
        Age { known_until, oldest }
    }

    /// The oldest activation among the other segments.
    fn oldest_beside(&self, number: u64) -> u64 {
        let [first, second] = self.oldest;
        if first.1 == number { second.0 } else { first.0 }
    }
}

/// Decides about one record, under its stripe's latch. With a key, what only shadows is carried.
fn weigh(
    arena: &Arena,
    met: &Walked,
    now: u64,
    age: &Age,
    carry: Option<&[u8]>,
    outcome: &mut Outcome,
) -> Result<()> {
    let header = &met.header;
    let lines = header.lines as u64;
    let mut stay = |until_ms: Option<u64>| {
        outcome.survivors += 1;
        if let Some(until) = until_ms {
            let next = outcome.next_look_ms.unwrap_or(u64::MAX);
            outcome.next_look_ms = Some(next.min(until));
        }
    };
    let shadow_ms = match header.shadows_until {
        FOR_EVER => u64::MAX,
        s => s as u64 * 1000,
    };
    let shadow_ms = match arena.meta.load(word::RECOVERY_HORIZON) {
        horizon if horizon > now && header.seq <= arena.meta.load(word::RECOVERY_HORIZON_SEQ) => {
            shadow_ms.max(horizon)
        }
        _ => shadow_ms,
    };
    // Rule 1: nothing older than this record lies anywhere else in the log.
    let droppable =
        now > shadow_ms || (header.seq <= age.known_until && outcome.oldest_other >= header.seq);
    let by_time = (shadow_ms != u64::MAX).then(|| shadow_ms + 1);
    if header.is(TOMBSTONE) {
        match carry {
            _ if droppable => {}
            Some(key) => append_again(arena, header, key)?,
            None => {
                stay(by_time);
                outcome.shadow_lines += lines;
            }
        }
        return Ok(());
    }
    let stripe = Stripe::latch(arena, header.hash)?;
    let Some((slot_at, _)) = stripe.slot_of(header.hash, met.at) else { return Ok(()) };
    // The word itself: a touch may have changed it since the walk read it.
    let word = arena.data.load(met.at + record::EXPIRY_AT);
    match record::expiry_ms(word, header.seq) {
        Some(at) if at != 0 && at <= now => {
            if !droppable && carry.is_none() {
                outcome.live_lines += lines;
                outcome.shadow_lines += record::lines(header.key_len as usize, 0);
                stay(by_time);
                return Ok(());
            }
            if let Some(key) = carry.filter(|_| !droppable) {
                append_again(arena, header, key)?;
            }
            stripe.drop_slot(slot_at);
            segment::account(arena, met.at, lines, false);
            outcome.expired += 1;
        }
        at => {
            outcome.live_lines += lines;
            stay(at.filter(|at| *at != 0));
            outcome.live += 1;
        }
    }
    Ok(())
}

/// Writes a tombstone in place of a record that only shadows, with its number.
fn append_again(arena: &Arena, old: &record::Header, key: &[u8]) -> Result<()> {
    let lines = record::lines(key.len(), 0);
    let mut lane = Lane::acquire(arena)?;
    lane.reserve(lines, Need::Sweep)?;
    let mut header = record::Header {
        salt: lane.salt(),
        lines: lines as u32,
        seq: old.seq,
        key_len: key.len() as u16,
        flags: TOMBSTONE,
        // Never 0 again, which would not be a copy.
        copy: old.copy.checked_add(1).unwrap_or(1),
        hash: old.hash,
        value_crc: record::value_crc(&[]),
        expiry: record::expiry_word(0, old.seq),
        shadows_until: old.shadows_until,
        ..record::Header::default()
    };
    let first = lane.write(&mut header, key, &[]);
    lane.commit(first, lines);
    Ok(())
}

/// Moves drained segments on as far as finished rounds allow. True: some still wait for a round.
pub(super) fn advance(arena: &Arena) -> bool {
    let mut waiting = false;
    let mut freed = 0;
    for number in 0..arena.geometry.segments {
        let state = segment::state(arena, number);
        if !matches!(state.kind(), DRAINED | ZEROED) {
            continue;
        }
        let at = arena.geometry.segment(number);
        if !sync::is_done(arena, arena.meta.load(at + row::ROUND)) {
            waiting = true;
            continue;
        }
        let count = segment::run_length(arena, number);
        if state.kind() == DRAINED {
            // One process at a time: the claim excludes the others and heals like a sweep.
            let mine = state.to(SWEEPING, arena.peers.slot());
            if segment::change(arena, number, state, mine) {
                for part in number..number + count {
                    // After a death in `free` a body may be somebody else's by now.
                    let mine = part == number || is_body_of(arena, part, number);
                    if mine && arena.data.contains(segment::start(arena, part), 8) {
                        arena.data.store(segment::start(arena, part), 0);
                    }
                }
                arena.meta.store(at + row::ROUND, sync::next_round(arena));
                segment::change(arena, number, mine, mine.to(ZEROED, 0));
                waiting = true;
            }
        } else if let Some(n) = free(arena, number, state, count) {
            freed += n;
        }
    }
    if waiting {
        arena.meta.store(word::DIRTY, 1);
    }
    if freed > 0 {
        arena.meta.add(word::FREE_SEGMENTS, freed);
    }
    waiting
}

fn is_body_of(arena: &Arena, segment: u64, head: u64) -> bool {
    segment::state(arena, segment).kind() == BODY
        && segment::header(arena, segment).is_some_and(|header| header.body_of() == Some(head))
}

/// Gives a segment, or a run as a unit, back. The claim keeps others out; a death in here leaves
/// a segment with a zeroed magic that is swept again.
fn free(arena: &Arena, number: u64, state: State, count: u64) -> Option<u64> {
    let mine = state.to(SWEEPING, arena.peers.slot());
    if !segment::change(arena, number, state, mine) {
        return None;
    }
    let mut freed = 1;
    for body in (number + 1)..number + count {
        let now = segment::state(arena, body);
        // Freed before by somebody who died, and perhaps already part of another run.
        if now.kind() == BODY && segment::header(arena, body).is_none() {
            freed += segment::change(arena, body, now, now.to(FREE, 0)) as u64;
        }
    }
    arena.meta.store(arena.geometry.segment(number) + row::RUN, 0);
    segment::change(arena, number, mine, mine.to(FREE, 0));
    if number < arena.meta.load(word::FREE_HINT) {
        arena.meta.store(word::FREE_HINT, number);
    }
    Some(freed)
}

/// Called when the store is full: gives back all that can be, until a value that takes `wanted`
/// segments finds room. False: nothing came of it.
///
/// One lap frees what depends on nothing. A segment that is held only because an older one was
/// there follows in the next lap, so laps go on while they gain. One process at a time does this;
/// the others wait for what it finds.
pub(super) fn make_room(arena: &Arena, wanted: u64) -> Result<bool> {
    if clock::mono_ms() < arena.meta.load(word::NO_ROOM_UNTIL_MS) {
        return Ok(false);
    }
    let Some(_alone) = Alone::wait(arena) else { return Ok(false) };
    let enough = || segment::free(arena) >= RESERVE + wanted;
    let deadline = Instant::now() + arena.operation_timeout;
    let mut which = Lap::Hinted;
    for _ in 0..2 * arena.geometry.segments {
        if enough() {
            return Ok(true);
        }
        let gain = lap(arena, u64::MAX, which)?;
        let moved = free_drained(arena)?;
        segment::recount_free(arena);
        if gain.drained > 0 || moved {
            continue;
        }
        // Somebody else has one in hand: it may be the one that comes free.
        if is_any_swept(arena) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        match which {
            Lap::Hinted => which = Lap::All,
            Lap::All => break,
        }
    }
    if enough() {
        return Ok(true);
    }
    arena.meta.store(word::NO_ROOM_UNTIL_MS, clock::mono_ms() + NO_ROOM_MS);
    Ok(false)
}

/// Runs the rounds that drained segments wait for; false if there were none.
fn free_drained(arena: &Arena) -> Result<bool> {
    let mut any = false;
    for _ in 0..2 {
        if advance(arena) {
            any = true;
            sync::round(arena)?;
        }
    }
    advance(arena);
    Ok(any)
}

/// Is a living process at one? What a dead one was at may be begun anew.
fn is_any_swept(arena: &Arena) -> bool {
    (0..arena.geometry.segments).any(|number| {
        let state = segment::state(arena, number);
        state.kind() == SWEEPING
            && !arena
                .peers
                .steal(state.arg(), || segment::change(arena, number, state, state.to(SEALED, 0)))
    })
}

/// The one who makes room.
struct Alone<'a>(&'a Arena);

impl<'a> Alone<'a> {
    fn wait(arena: &'a Arena) -> Option<Alone<'a>> {
        latch::acquire(arena.meta.cell(word::ROOM_LATCH), &arena.peers, arena.operation_timeout)
            .map(|_| Alone(arena))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        latch::release(self.0.meta.cell(word::ROOM_LATCH));
    }
}
