//! Giving space back: what has expired leaves the index, what still lives is moved together, and
//! segments with nothing in them become free.
//!
//! - `visit` walks one segment and decides about each record in it: drop it, keep it, or append it
//!   again elsewhere with its number and the next copy number.
//! - `choose` says which segment is next: the one with the least in it, or the oldest.
//! - `evict` is for caches: when too much is alive, what nobody reads is dropped.
//! - `free` takes emptied segments through two rounds of sync: once what replaced their contents is
//!   durable the magic is zeroed, and once that is durable they are free. Otherwise a power loss
//!   could find them again and bring back what was deleted.
//!
//! Nothing is dropped that still shadows an older version elsewhere in the log: it is appended
//! again as a tombstone, until nothing older is left.
//!
//! Who works: the maintenance thread, ahead of need; a writer that finds little free, by a share of
//! what it wrote; and a writer that finds nothing free, until there is room or nothing to gain.
//! Each holds a segment only by its state, so a death leaves a segment that anybody begins again.

mod choose;
mod evict;
mod free;
#[cfg(test)]
mod tests;
mod visit;

use std::time::{Duration, Instant};

use super::care::pin;
use super::sync;
use crate::arena::{Arena, Count, segment as row, word};
use crate::error::{Error, Result};
use crate::limits::{HELP_LINES, RESERVE, SWEEP_RECORDS};
use crate::log::segment::{self, SEALED, SWEEPING};
use crate::log::space;
use crate::sys::{clock, latch};
use choose::Age;
use visit::{Budget, Outcome, Task};

pub(super) use evict::{begin as begin_to_evict, horizon as evict_horizon, is_kept, note_copy};
pub(super) use free::{advance, give_back, zero};

/// After a vain attempt to make room the next ones fail at once for this long.
const NO_ROOM_MS: u64 = 100;
/// After a vain search for a segment worth emptying nobody searches for this long.
const NO_VICTIM_MS: u64 = 10;
/// A segment is emptied ahead of need if at least one part of so many is dead.
const WORTH_PARTS: u64 = 8;
/// Segments that are emptied at a time when there is no need.
const TIDY_STEPS: u32 = 16;
/// In need: one part of so many.
const NEED_PARTS: u64 = 32;
/// So many segments go because they are the oldest, in one search for room, if enough waits for that.
const AGED_MOST: u32 = 8;
/// A cache in need moves so many segments with nothing won before it drops something.
const MOVES_IN_VAIN: u32 = 4;

/// Which segments a lap looks at.
#[derive(Clone, Copy, PartialEq)]
enum Lap {
    /// Those whose hints promise something.
    Hinted,
    /// All: deaths may have left hints behind.
    All,
}

/// What a lap came to.
#[derive(Default)]
struct Gain {
    expired: u64,
    drained: u64,
    /// Lines that only wait for something older to go.
    waiting: u64,
}

/// Free segments below which the maintenance thread sweeps.
fn target(arena: &Arena) -> u64 {
    RESERVE + (arena.geometry.segments / 32).max(1)
}

/// Free segments below which writers help.
fn low(arena: &Arena) -> u64 {
    RESERVE + (arena.geometry.segments / 64).max(1)
}

/// Drops what has expired, looking at about `budget` records; gives the number of keys dropped.
pub(super) fn expire(arena: &Arena, budget: u64) -> Result<u64> {
    Ok(lap(arena, budget, Lap::Hinted, || false)?.expired)
}

/// Drops all that has expired, wherever the hints promise something, until it is time to stop.
pub(super) fn expire_until(arena: &Arena, stop: impl Fn() -> bool) -> Result<()> {
    lap(arena, u64::MAX, Lap::Hinted, stop).map(drop)
}

/// Looks at segment after segment from where the last lap ended.
fn lap(arena: &Arena, budget: u64, which: Lap, enough: impl Fn() -> bool) -> Result<Gain> {
    let now = arena.now_ms();
    let age = Age::of(arena);
    let (mut gain, mut seen) = (Gain::default(), 0);
    let count = arena.geometry.segments;
    let start = arena.meta.load(word::SWEEP_CURSOR) % count;
    for i in 0..count {
        let number = (start + i) % count;
        if seen >= budget || enough() {
            arena.meta.store(word::SWEEP_CURSOR, number);
            break;
        }
        if which == Lap::Hinted && !is_promising(arena, number, now, &age) {
            continue;
        }
        if let Some(outcome) = visit::visit(arena, number, Task::Reap, &age, Budget::ALL)? {
            seen += outcome.records;
            gain.expired += outcome.expired;
            gain.drained += outcome.drained as u64;
            gain.waiting += outcome.waiting_lines;
        }
    }
    advance(arena);
    Ok(gain)
}

/// Do a segment's hints promise that something can be dropped?
fn is_promising(arena: &Arena, number: u64, now: u64, age: &Age) -> bool {
    let at = arena.geometry.segment(number);
    if segment::state(arena, number).kind() != SEALED {
        return true;
    }
    let waits_for = arena.meta.load(at + row::OLDEST_SEEN);
    arena.meta.load(at + row::NEXT_LOOK_MS) <= now
        // Negative: changes overtook the walk that counted.
        || segment::live_hint(arena, number) as i64 <= 0
        || (waits_for != u64::MAX
            && waits_for != age.oldest_beside(number)
            && arena.meta.load(at + row::EVICTED_UNTIL) == 0)
}

/// What one step of emptying came to.
#[derive(PartialEq)]
enum Step {
    /// A segment has nothing left in it.
    Drained,
    /// Some of it is done.
    Begun,
    /// No segment is worth it, or none can be emptied now.
    Nothing,
}

/// Dead lines for which a segment is emptied, if one part of so many is enough.
fn least(arena: &Arena, parts: u64) -> u64 {
    (segment::capacity(arena) / parts).max(1)
}

/// Empties the next segment, or a part of it, if at least one part of `parts` of it is dead.
fn step(arena: &Arena, parts: u64, budget: Budget) -> Result<Step> {
    let least = least(arena, parts);
    let begun = arena.meta.load(word::VICTIM).checked_sub(1);
    if arena.evicts() && begun.is_some_and(|begun| begun & evict::BEGUN != 0) {
        return evict_step(arena, budget);
    }
    let next = begun
        .filter(|number| choose::is_movable(arena, *number))
        .or_else(|| choose::victim(arena, least));
    let Some(number) = next else { return Ok(Step::Nothing) };
    let done = empty(arena, number, budget)?;
    let rest = matches!(&done, Some(outcome) if !outcome.ended && !outcome.no_room);
    arena.meta.store(word::VICTIM, if rest { number + 1 } else { 0 });
    Ok(match done {
        Some(outcome) if outcome.drained => Step::Drained,
        // To the end, and something could not be moved: the next time it would be the same.
        Some(outcome) if outcome.no_room || outcome.ended => Step::Nothing,
        Some(_) => Step::Begun,
        None => Step::Begun,
    })
}

/// Moves what is needed out of one segment.
fn empty(arena: &Arena, number: u64, budget: Budget) -> Result<Option<Outcome>> {
    visit::visit(arena, number, Task::Empty, &Age::later(), budget)
}

/// Work ahead of need, until enough is free or nothing is to be gained or it is time to stop. One
/// process at a time does this.
pub(super) fn tend(arena: &Arena, stop: impl Fn() -> bool) -> Result<()> {
    let Some(_alone) = Alone::at_once(arena, word::SWEEP_LATCH) else { return Ok(()) };
    while !stop() {
        let waiting = advance(arena);
        let free = space::free(arena);
        let crowded = evict::is_crowded(arena);
        if free >= target(arena) && !crowded {
            break;
        }
        // What is pinned would not come free.
        let useful = free + waiting < target(arena) && !pin::is_any(arena);
        let begun = match crowded {
            true => evict_step(arena, Budget::ALL)?,
            false if useful => ahead(arena, Budget::ALL)?,
            false => Step::Nothing,
        };
        match begun {
            // Several at once share the rounds that they wait for.
            Step::Drained if free > low(arena) && waiting < free / 2 => {}
            Step::Begun => {}
            _ if advance(arena) > 0 => sync::round(arena)?,
            _ => break,
        }
    }
    Ok(())
}

/// After a peak a little may be alive in each of many segments: some of them are emptied, although
/// there is room, so that the disk gets its space back. False: it is not so.
pub(super) fn tidy(arena: &Arena) -> Result<bool> {
    let live = (arena.meta.load(word::LIVE_LINES) as i64).max(0) as u64;
    let used = arena.geometry.segments - space::free(arena);
    if used <= 2 * (live / segment::capacity(arena) + target(arena)) || pin::is_any(arena) {
        return Ok(false);
    }
    let Some(_alone) = Alone::at_once(arena, word::SWEEP_LATCH) else { return Ok(false) };
    let mut any = false;
    for _ in 0..TIDY_STEPS {
        // Half of it at least: what is moved is never more than what is given back.
        any |= step(arena, 2, Budget::ALL)? == Step::Drained;
    }
    Ok(any)
}

/// One step before room is needed: a cache drops something rather than move nearly everything.
fn ahead(arena: &Arena, budget: Budget) -> Result<Step> {
    match step(arena, WORTH_PARTS, budget)? {
        Step::Nothing if arena.evicts() => evict_step(arena, budget),
        other => Ok(other),
    }
}

fn evict_step(arena: &Arena, budget: Budget) -> Result<Step> {
    Ok(match evict::evict(arena, budget)? {
        Some(outcome) if outcome.drained => Step::Drained,
        Some(outcome) if outcome.no_room => Step::Nothing,
        Some(_) => Step::Begun,
        None => Step::Nothing,
    })
}

/// A writer's share of the work, after a write of so many lines.
#[inline]
pub(super) fn help(arena: &Arena, lines: u64) -> Result<()> {
    match space::free(arena) < low(arena) || evict::is_crowded(arena) {
        true => help_now(arena, lines),
        false => Ok(()),
    }
}

#[cold]
fn help_now(arena: &Arena, lines: u64) -> Result<()> {
    let now = clock::mono_ms();
    if arena.is_put_off(word::NO_VICTIM_UNTIL_MS, now, NO_VICTIM_MS) {
        return Ok(());
    }
    let budget = Budget { lines: HELP_LINES.max(8 * lines) };
    let done = match evict::is_crowded(arena) {
        true => evict_step(arena, budget)?,
        false => ahead(arena, budget)?,
    };
    match done {
        Step::Begun => {}
        Step::Drained => {
            advance(arena);
        }
        Step::Nothing => arena.meta.store(word::NO_VICTIM_UNTIL_MS, now + NO_VICTIM_MS),
    }
    Ok(())
}

/// What a write that found the store full was about to take.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Adjacent free segments.
    pub(super) segments: u64,
    /// Lines more than were alive before, at most.
    pub(super) lines: u64,
    /// The disk is full: only what has disk space already is of use.
    pub(super) with_blocks: bool,
}

impl Wanted {
    /// For who does not know before: a value of some kilobytes.
    pub(super) const LITTLE: Wanted = Wanted { segments: 1, lines: 64, with_blocks: false };

    /// The word that says until when it is no use to look for room of this kind again.
    fn vain_until(self) -> u64 {
        if self.lines == 0 { word::NO_ROOM_UNTIL_MS } else { word::NO_LIFE_UNTIL_MS }
    }

    /// Are so many free, side by side or not?
    fn is_free(self, arena: &Arena) -> bool {
        space::free(arena) >= RESERVE + self.segments
            && (!self.with_blocks || space::free_with_blocks(arena) > self.segments)
    }

    fn is_there(self, arena: &Arena) -> bool {
        self.is_free(arena)
            && (self.segments == 1 || space::has_run(arena, self.segments))
            && space::has_room_for(arena, self.lines)
    }
}

/// Called when the store is full: gives back all that can be, until what is wanted is there. False:
/// nothing came of it. One process at a time does this; the others wait for what it finds.
pub(super) fn make_room(arena: &Arena, mut wanted: Wanted) -> Result<bool> {
    let enough_free = Wanted { lines: 0, ..wanted };
    // It is not for what is alive that it was refused; it may replace as much.
    if !enough_free.is_there(arena) {
        wanted.lines = 0;
    }
    if was_vain(arena, wanted) {
        return Ok(false);
    }
    let Some(_alone) = Alone::wait(arena, word::ROOM_LATCH) else { return Ok(false) };
    if give_room(arena, wanted)? {
        return Ok(true);
    }
    arena.meta.store(word::NO_ROOM_LIVE, arena.meta.load(word::LIVE_LINES));
    arena.meta.store(wanted.vain_until(), clock::mono_ms() + NO_ROOM_MS);
    Ok(false)
}

/// Was the same in vain a moment ago, and has nothing ended since that would be worth a look?
fn was_vain(arena: &Arena, wanted: Wanted) -> bool {
    let live = arena.meta.load(word::LIVE_LINES) as i64;
    let then = arena.meta.load(word::NO_ROOM_LIVE) as i64;
    arena.is_put_off(wanted.vain_until(), clock::mono_ms(), NO_ROOM_MS)
        && live.saturating_add(segment::capacity(arena) as i64) > then
}

fn give_room(arena: &Arena, wanted: Wanted) -> Result<bool> {
    let enough = || wanted.is_there(arena);
    let deadline = Instant::now() + arena.operation_timeout;
    let mut patience = pin::PATIENCE;
    let mut which = Lap::Hinted;
    let (mut most_free, mut in_vain, mut aged, mut retired) = (0, 0, 0, false);
    for _ in 0..8 * arena.geometry.segments {
        space::recount_free(arena);
        if space::free(arena) > most_free {
            (most_free, in_vain) = (space::free(arena), 0);
        }
        if enough() {
            return Ok(true);
        }
        // Whoever copies the log begins anew.
        if free_drained(arena)? || pin::give_way(arena, &mut patience) {
            continue;
        }
        let scarce = !wanted.is_free(arena);
        // What only shadows is moved too, again and again as long as something older stays: a cache
        // has something better to do.
        let may_move = scarce && !(arena.evicts() && in_vain >= MOVES_IN_VAIN);
        if may_move && step(arena, NEED_PARTS, Budget::ALL)? != Step::Nothing {
            in_vain += 1;
            continue;
        }
        // Of a cache something goes; what has expired first, as far as that is found soon.
        let crowded = !space::has_room_for(arena, wanted.lines);
        if arena.evicts() && (scarce || crowded) {
            let gain = lap(arena, SWEEP_RECORDS, Lap::Hinted, enough)?;
            if gain.drained > 0 || enough() || evict_step(arena, Budget::ALL)? != Step::Nothing {
                continue;
            }
        }
        // Enough is free, but not side by side.
        if !scarce && wanted.segments > 1 && clear_window(arena, wanted.segments)? {
            continue;
        }
        let gain = lap(arena, u64::MAX, which, enough)?;
        if gain.expired > 0 || gain.drained > 0 || enough() {
            continue;
        }
        let used = arena.geometry.segments - space::free(arena);
        // Somebody else has one in hand: it may be the one that comes free.
        if is_any_swept(arena) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        // All of it is read once in a search, however large it is.
        if which == Lap::Hinted && aged == 0 && !retired {
            which = Lap::All;
        } else if aged < AGED_MOST && gain.waiting >= used * least(arena, NEED_PARTS) {
            arena.meta.store(word::AGE_PRESSURE, 1);
            (aged, which) = (aged + 1, Lap::Hinted);
        } else if !retired {
            // What lanes still fill was left alone, and may be all there is.
            choose::retire_the_dead(arena, least(arena, NEED_PARTS));
            (retired, which) = (true, Lap::Hinted);
        } else {
            break;
        }
    }
    Ok(enough())
}

/// Empties adjacent segments for a value that fills them; false if there are none such.
fn clear_window(arena: &Arena, count: u64) -> Result<bool> {
    let Some(first) = choose::window(arena, count)? else { return Ok(false) };
    let mut any = false;
    for number in first..first + count {
        choose::retire(arena, number)?;
        any |= empty(arena, number, Budget::ALL)?.is_some_and(|outcome| outcome.drained);
    }
    Ok(any)
}

/// Empties every segment with something dead in it and gives all free disk space back; gives the
/// bytes that are no longer in use.
pub(super) fn compact(arena: &Arena) -> Result<u64> {
    let before = space::free(arena);
    for _ in 0..arena.geometry.segments {
        if lap(arena, u64::MAX, Lap::All, || false)?.drained == 0 {
            break;
        }
    }
    for number in 0..arena.geometry.segments {
        choose::retire(arena, number)?;
    }
    for _ in 0..2 * arena.geometry.segments {
        match step(arena, NEED_PARTS, Budget::ALL)? {
            Step::Nothing if !free_drained(arena)? => break,
            Step::Drained if space::free(arena) < RESERVE => {
                free_drained(arena)?;
            }
            _ => {}
        }
    }
    for _ in 0..arena.geometry.segments {
        if !free_drained(arena)? {
            break;
        }
    }
    space::recount_free(arena);
    free::give_all_back(arena);
    Ok(space::free(arena).saturating_sub(before) * arena.geometry.segment_bytes)
}

/// Runs the rounds that drained segments wait for; false if there were none.
fn free_drained(arena: &Arena) -> Result<bool> {
    let mut any = false;
    for _ in 0..2 {
        if advance(arena) > 0 {
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

/// The one who does something that one process does at a time.
struct Alone<'a> {
    arena: &'a Arena,
    at: u64,
}

impl<'a> Alone<'a> {
    fn wait(arena: &'a Arena, at: u64) -> Option<Alone<'a>> {
        Alone::within(arena, at, arena.operation_timeout)
    }

    /// `None` if a living process is at it.
    fn at_once(arena: &'a Arena, at: u64) -> Option<Alone<'a>> {
        Alone::within(arena, at, Duration::from_millis(2))
    }

    fn within(arena: &'a Arena, at: u64, limit: Duration) -> Option<Alone<'a>> {
        latch::acquire(arena.meta.cell(at), &arena.peers, limit).map(|_| Alone { arena, at })
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        latch::release(self.arena.meta.cell(self.at));
    }
}

/// A segment that a stopped process pins is left for later.
fn unless_pinned<T>(done: Result<Option<T>>) -> Result<Option<T>> {
    match done {
        Err(Error::Busy(_)) => Ok(None),
        other => other,
    }
}

fn count_expired(arena: &Arena, expired: u64) {
    if expired > 0 {
        arena.count_many(Count::Expired, expired);
    }
}
