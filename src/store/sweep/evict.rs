//! Eviction, for stores that are caches: old values that nobody reads go before new ones are refused.
//!
//! Two queues, after S3-FIFO (Yang et al., SOSP '23): what was written lately, and what was moved by
//! the sweep because somebody had read it. A tenth of what is alive is to be in the first. The
//! oldest segment of the queue that is too long is emptied: what was read since it came here is
//! moved to the end of the second queue, the rest is dropped. So one pass over many keys (a scan)
//! never pushes out what is read again and again.
//!
//! What is evicted leaves no record, but its old one may come back after a power loss until its
//! segment is durably free. Until then whoever writes a key that seems to be new assumes an older
//! version of it, and whoever deletes an absent key leaves a tombstone: the *horizon* says how long.

use super::visit::{self, Budget, Outcome, Task};
use super::{Age, choose};
use crate::arena::{Arena, segment as row, word};
use crate::error::Result;
use crate::log::segment::{self, SEALED};

/// One part of so many of what is alive is to be what was written lately.
const FRESH_PARTS: u64 = 10;
/// The end of a life that has none, unix ms.
const NEVER: u64 = (1 << 48) - 1;

/// Is so much alive that something has to go before long?
pub(super) fn is_crowded(arena: &Arena) -> bool {
    arena.evicts() && !segment::has_room_for(arena, 2 * segment::capacity(arena))
}

/// Evicts from the oldest segment, or a part of it; `None` if there is none to be had.
pub(super) fn evict(arena: &Arena, budget: Budget) -> Result<Option<Outcome>> {
    match next(arena)? {
        Some(number) => visit::visit(arena, number, Task::Evict, &Age::later(), budget),
        None => Ok(None),
    }
}

/// The oldest segment of the queue that is too long.
fn next(arena: &Arena) -> Result<Option<u64>> {
    // Of each queue: lines alive, and its oldest segment with the number of its activation.
    let mut queues = [(0, None::<(u64, u64)>); 2];
    for number in 0..arena.geometry.segments {
        let state = segment::state(arena, number);
        let (live, oldest) = &mut queues[segment::has_moved(arena, number) as usize];
        *live += choose::alive(arena, number);
        if state.kind() == SEALED {
            let seq = arena.meta.load(arena.geometry.segment(number) + row::ACTIVATION_SEQ);
            *oldest = Some(oldest.map_or((seq, number), |old| old.min((seq, number))));
        }
    }
    let [(fresh, fresh_oldest), (moved, moved_oldest)] = queues;
    let long = if fresh * FRESH_PARTS > fresh + moved { fresh_oldest } else { moved_oldest };
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

/// Notes that a value with this end of life is about to be dropped from a segment.
pub(super) fn raise(arena: &Arena, number: u64, expires_ms: u64) {
    let until = if expires_ms == 0 { NEVER } else { expires_ms.min(NEVER) };
    let at = arena.geometry.segment(number) + row::EVICTED_UNTIL;
    if arena.meta.load(at) >= until {
        return;
    }
    arena.meta.max(at, until);
    loop {
        let seen = arena.meta.load(word::EVICT_HORIZON);
        // The count makes sure that whoever lowers the horizon looks at the segments again.
        let raised = counted(seen, until.max(seen & NEVER));
        if arena.meta.cas(word::EVICT_HORIZON, seen, raised).is_ok() {
            return;
        }
    }
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
