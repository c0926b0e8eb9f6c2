//! Emptied segments on their way to being free, and free ones on their way back to the filesystem.

use super::{evict, pin, sync, target};
use crate::arena::{Arena, segment as row, word};
use crate::log::segment::{self, BODY, DRAINED, FREE, SWEEPING, State, ZEROED};
use crate::log::space::{self, BARE};
use crate::sys::clock;

/// Free segments keep their disk space for so many intervals, in case they are needed again.
const KEEP_INTERVALS: u64 = 60;
/// And go back so many at a time.
const AT_A_TIME: usize = 64;

/// Moves drained segments on as far as finished rounds allow; gives how many wait for a round.
pub(in crate::store) fn advance(arena: &Arena) -> u64 {
    let (mut waiting, mut freed) = (0, 0);
    for number in 0..arena.geometry.segments {
        let state = segment::state(arena, number);
        if !matches!(state.kind(), DRAINED | ZEROED) {
            continue;
        }
        let at = arena.geometry.segment(number);
        if !sync::is_done(arena, round_of(arena, at)) {
            waiting += 1;
            continue;
        }
        let count = segment::run_length(arena, number);
        if state.kind() == DRAINED {
            // In this order: what is drained before the look for a pin is in no later copy.
            waiting += (!pin::keeps(arena, number) && zero(arena, number, state)) as u64;
        } else if let Some(n) = free(arena, number, state, count) {
            freed += n;
        }
    }
    if waiting > 0 {
        arena.meta.store(word::DIRTY, 1);
    }
    if freed > 0 {
        arena.meta.add(word::FREE_SEGMENTS, freed);
        evict::lower(arena);
    }
    waiting
}

/// Takes the magic away. One process at a time: the claim excludes the others and heals like a
/// sweep.
pub(in crate::store) fn zero(arena: &Arena, number: u64, state: State) -> bool {
    let count = segment::run_length(arena, number);
    let mine = state.to(SWEEPING, arena.peers.slot());
    if !segment::change(arena, number, state, mine) {
        return false;
    }
    for part in number..number + count {
        // After a death in `free` a body may be somebody else's by now.
        let is_ours = part == number || is_body_of(arena, part, number);
        // A store to a place without disk space could end this process.
        if is_ours && !segment::is_blank(arena, part) {
            arena.data.store(segment::start(arena, part), 0);
        }
    }
    let at = arena.geometry.segment(number);
    arena.meta.store(at + row::ROUND, sync::next_round(arena));
    segment::change(arena, number, mine, mine.to(ZEROED, 0));
    true
}

/// The round that a segment waits for. One that nobody can have noted, because it is not the next
/// one yet, comes from damage and would never be over: it becomes the next.
fn round_of(arena: &Arena, row_at: u64) -> u64 {
    let noted = arena.meta.load(row_at + row::ROUND);
    let next = sync::next_round(arena);
    if noted > next {
        arena.meta.store(row_at + row::ROUND, next);
    }
    noted.min(next)
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
    let freed_state = |segment: u64, now: State| {
        now.to(FREE, if space::is_bare(arena, segment) { BARE } else { 0 })
    };
    let mut freed = 1;
    for body in (number + 1)..number + count {
        let now = segment::state(arena, body);
        // Freed before by somebody who died, and perhaps already part of another run.
        if now.kind() == BODY && segment::header(arena, body).is_none() {
            freed += segment::change(arena, body, now, freed_state(body, now)) as u64;
        }
    }
    segment::set_extent(arena, number, 0, 0);
    arena.meta.store(arena.geometry.segment(number) + row::EVICTED_UNTIL, 0);
    segment::change(arena, number, mine, freed_state(number, mine));
    if number < arena.meta.load(word::FREE_HINT) {
        arena.meta.store(word::FREE_HINT, number);
    }
    Some(freed)
}

/// After a peak: free segments that were not needed for a while go back to the filesystem, some at
/// a time. True: there may be more to do.
pub(in crate::store) fn give_back(arena: &Arena) -> bool {
    let keep = 2 * target(arena);
    let now = clock::mono_ms();
    let since = arena.meta.load(word::PLENTY_SINCE_MS);
    if space::free(arena) <= keep {
        arena.meta.store(word::PLENTY_SINCE_MS, 0);
        return false;
    }
    let there = backed(arena).count() as u64;
    if there <= keep {
        return false;
    }
    if since == 0 || since > now {
        arena.meta.store(word::PLENTY_SINCE_MS, now);
        return true;
    }
    if now - since >= KEEP_INTERVALS * arena.sync_interval_ms() {
        let highest = backed(arena).rev().take(AT_A_TIME.min((there - keep) as usize));
        let gone = highest.filter(|number| space::make_bare(arena, *number));
        // None, where the filesystem makes no holes: then there is nothing to stay for.
        return gone.count() > 0;
    }
    true
}

/// All of them but one, which the sweep may need when the disk is full, at once.
pub(super) fn give_all_back(arena: &Arena) {
    for number in backed(arena).skip(1) {
        space::make_bare(arena, number);
    }
}

fn backed(arena: &Arena) -> impl DoubleEndedIterator<Item = u64> + '_ {
    (0..arena.geometry.segments).filter(|number| {
        let state = segment::state(arena, *number);
        state.kind() == FREE && state.arg() != BARE && !space::is_bare(arena, *number)
    })
}
