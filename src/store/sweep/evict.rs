//! Eviction, for stores that are caches: old values that nobody reads go before new ones are refused.
//!
//! Two queues, after S3-FIFO (Yang et al., SOSP '23): what was written lately, and what was moved by
//! the sweep because somebody had read it. A tenth of what is alive is to be in the first. The
//! oldest segment of the queue that is too long is emptied: what was read since it came here is
//! moved to the end of the second queue, the rest is dropped. So one pass over many keys (a scan)
//! never pushes out what is read again and again. What replaces a value of the second queue, or one
//! that was read, goes to the second queue at once.
//!
//! What is evicted leaves no record, but its old one may come back after a power loss until its
//! segment is durably free. Until then whoever writes a key that seems to be new assumes an older
//! version of it, and whoever deletes an absent key leaves a tombstone: the *horizon* says how long.
//! Such an assumption ends when every segment from which something was evicted before the write is
//! free: so in a cache that evicts all the time, what is evicted leaves no tombstones.

use super::visit::{self, Budget, Outcome, Task};
use super::{Age, choose};
use crate::arena::{Arena, segment as row, word};
use crate::error::Result;
use crate::index::Slot;
use crate::log::segment::{self, FREE, SEALED};
use crate::log::space;

/// One part of so many of what is alive is to be what was written lately.
const FRESH_PARTS: u64 = 10;
/// In `word::VICTIM`: the eviction began it, and ends it. Whoever moved the rest instead would take
/// to the second queue what nobody reads.
pub(super) const BEGUN: u64 = 1 << 62;
/// The end of a life that has none, unix ms.
const NEVER: u64 = (1 << 48) - 1;

/// Is so much alive that something has to go before long?
pub(super) fn is_crowded(arena: &Arena) -> bool {
    arena.evicts() && !space::has_room_for(arena, 2 * segment::capacity(arena))
}

/// Has this value earned its place in the second queue? Then so has what replaces it: a session that
/// is written at each visit would else begin anew each time, and push out what was just written.
pub(in crate::store) fn is_kept(arena: &Arena, old: Slot) -> bool {
    old.frequency() > 0 || segment::has_moved(arena, segment::of(arena, old.offset()))
}

/// Evicts from the oldest segment, or a part of it; `None` if there is none to be had.
pub(super) fn evict(arena: &Arena, budget: Budget) -> Result<Option<Outcome>> {
    let begun = arena.meta.load(word::VICTIM).checked_sub(1);
    let begun = begun.map(|begun| begun & !BEGUN).filter(|at| choose::is_movable(arena, *at));
    let Some(number) = begun.map_or_else(|| next(arena), |at| Ok(Some(at)))? else {
        return Ok(None);
    };
    let done = visit::visit(arena, number, Task::Evict, &Age::later(), budget)?;
    let rest = done.as_ref().is_some_and(|outcome| !outcome.ended && !outcome.no_room);
    arena.meta.store(word::VICTIM, if rest { (number | BEGUN) + 1 } else { 0 });
    Ok(done)
}

/// The oldest segment of the queue that is too long.
fn next(arena: &Arena) -> Result<Option<u64>> {
    // Of each queue: lines alive, and its oldest segment with the number of its activation.
    let mut queues = [(0, None::<(u64, u64)>); 2];
    for number in 0..arena.geometry.segments {
        let state = segment::state(arena, number);
        let (live, oldest) = &mut queues[segment::has_moved(arena, number) as usize];
        *live = choose::alive(arena, number).saturating_add(*live);
        if state.kind() == SEALED {
            let seq = arena.meta.load(arena.geometry.segment(number) + row::ACTIVATION_SEQ);
            *oldest = Some(oldest.map_or((seq, number), |old| old.min((seq, number))));
        }
    }
    let [(fresh, fresh_oldest), (moved, moved_oldest)] = queues;
    let is_long = fresh.saturating_mul(FRESH_PARTS) > fresh.saturating_add(moved);
    let long = if is_long { fresh_oldest } else { moved_oldest };
    if let Some((_, number)) = long.or(fresh_oldest).or(moved_oldest) {
        return Ok(Some(number));
    }
    // All is in segments that are still written to.
    for number in 0..arena.geometry.segments {
        if choose::retire(arena, number)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Until when what was evicted could come back, unix ms; 0 = it cannot.
#[inline]
pub(in crate::store) fn horizon(arena: &Arena) -> u64 {
    match arena.meta.load(word::EVICT_HORIZON) & NEVER {
        NEVER => u64::MAX,
        until => until,
    }
}

/// Notes for every segment that something may have been moved out of it: from now on what was moved
/// may be evicted. Called when a store becomes a cache.
pub(in crate::store) fn begin(arena: &Arena) {
    for number in 0..arena.geometry.segments {
        if segment::state(arena, number).kind() != FREE {
            raise(arena, number, 0);
        }
    }
}

/// Notes that a value with this end of life is about to be dropped or moved from a segment.
pub(super) fn raise(arena: &Arena, number: u64, expires_ms: u64) {
    let until = if expires_ms == 0 { NEVER } else { expires_ms.min(NEVER) };
    let at = arena.geometry.segment(number) + row::EVICTED_UNTIL;
    let before = arena.meta.load(at);
    if before == 0 {
        let begun_at = arena.geometry.segment(number) + row::OLDEST_SEEN;
        arena.meta.store(begun_at, arena.meta.load(word::SEQ));
    }
    if before < until {
        arena.meta.max(at, until);
    }
    loop {
        let seen = arena.meta.load(word::EVICT_HORIZON);
        // Not known from the row: who noted that may have died before it came here, or be on the way.
        if before >= until && seen & NEVER >= until {
            return;
        }
        // The count makes sure that whoever lowers the horizon looks at the segments again.
        let raised = counted(seen, until.max(seen & NEVER));
        if arena.meta.cas(word::EVICT_HORIZON, seen, raised).is_ok() {
            return;
        }
    }
}

/// Notes, in a rebuild, that a segment has a value of which there is a later copy, or a tombstone
/// with a later copy number: it may be alive where it lies, and was perhaps evicted, nobody knows
/// when. No number was issued in this `meta` yet, so that counts as before all of them.
pub(in crate::store) fn note_copy(arena: &Arena, number: u64, expires_ms: u64) {
    if arena.evicts() {
        return raise(arena, number, expires_ms);
    }
    let until = if expires_ms == 0 { NEVER } else { expires_ms.min(NEVER) };
    arena.meta.max(arena.geometry.segment(number) + row::EVICTED_UNTIL, until);
}

/// Are such copies in any other segment, and alive?
pub(super) fn found_copies(arena: &Arena, beside: u64, now_ms: u64) -> bool {
    (0..arena.geometry.segments).filter(|number| *number != beside).any(|number| {
        let at = arena.geometry.segment(number);
        let begun = arena.meta.load(at + row::OLDEST_SEEN);
        begun == 0 && arena.meta.load(at + row::EVICTED_UNTIL) > now_ms
    })
}

/// Whatever was evicted before a record with a number up to this one is durably gone.
pub(super) fn settled_until(arena: &Arena) -> u64 {
    let now = arena.meta.load(word::SEQ);
    (0..arena.geometry.segments)
        .map(|number| arena.geometry.segment(number))
        .filter(|at| arena.meta.load(at + row::EVICTED_UNTIL) != 0)
        .map(|at| arena.meta.load(at + row::OLDEST_SEEN))
        .fold(now, u64::min)
}

/// Lowers the horizon to what the segments say, after some became free.
pub(super) fn lower(arena: &Arena) {
    let seen = arena.meta.load(word::EVICT_HORIZON);
    if seen & NEVER == 0 {
        return;
    }
    let most = (0..arena.geometry.segments)
        .map(|number| arena.meta.load(arena.geometry.segment(number) + row::EVICTED_UNTIL))
        .max()
        .unwrap_or(0);
    // Raised meanwhile: it is lowered the next time.
    let _ = arena.meta.cas(word::EVICT_HORIZON, seen, counted(seen, most & NEVER));
}

fn counted(before: u64, until: u64) -> u64 {
    ((before >> 48).wrapping_add(1) << 48) | until
}
