//! Which segment is next.

use std::cell::OnceCell;

use crate::arena::{Arena, segment as row, word};
use crate::error::{Result, collect};
use crate::limits::LINE;
use crate::log::record::Header;
use crate::log::segment::{self, ACTIVE, BODY, FREE, RUN, SEALED};
use crate::log::{self, Lane};
use crate::sys::map::Scratch;

/// How old the log is: its two oldest segments at one moment. Looked up when it is first asked for.
pub(super) struct Age {
    known: OnceCell<Known>,
}

struct Known {
    /// Records with later numbers may shadow what was not looked at.
    until: u64,
    oldest: [(u64, u64); 2],
    /// Values that fill segments, by the hash of the only key that each can have anything of:
    /// {hash, activation, segment}. They are never moved, and other keys need not wait for them.
    runs: Vec<(u64, u64, u64)>,
}

impl Age {
    pub(super) fn later() -> Age {
        Age { known: OnceCell::new() }
    }

    pub(super) fn of(arena: &Arena) -> Age {
        let age = Age::later();
        age.known(arena);
        age
    }

    /// Bodies hold no records.
    fn known(&self, arena: &Arena) -> &Known {
        self.known.get_or_init(|| {
            let until = arena.meta.load(word::SEQ);
            let mut oldest = [(u64::MAX, u64::MAX); 2];
            let mut runs = Vec::new();
            for number in 0..arena.geometry.segments {
                let kind = segment::state(arena, number).kind();
                if matches!(kind, FREE | BODY) {
                    continue;
                }
                let seq = arena.meta.load(arena.geometry.segment(number) + row::ACTIVATION_SEQ);
                if kind != RUN
                    && segment::is_run(arena, number)
                    && let Some(hash) = hash_of_run(arena, number)
                {
                    runs.push((hash, seq, number));
                    continue;
                }
                if seq < oldest[0].0 {
                    oldest = [(seq, number), oldest[0]];
                } else if seq < oldest[1].0 {
                    oldest[1] = (seq, number);
                }
            }
            runs.sort_unstable();
            Known { until, oldest, runs }
        })
    }

    fn beside(known: &Known, number: u64) -> u64 {
        let [first, second] = known.oldest;
        if first.1 == number { second.0 } else { first.0 }
    }

    /// The oldest activation among the other segments, as seen before; all if it was not looked at.
    pub(super) fn oldest_beside(&self, number: u64) -> u64 {
        self.known.get().map_or(u64::MAX, |known| Age::beside(known, number))
    }

    /// Does nothing of this record's key lie in any other segment that was begun before `than`?
    pub(super) fn is_oldest(&self, arena: &Arena, number: u64, header: &Header, than: u64) -> bool {
        let (known, seq) = (self.known(arena), header.seq);
        let of_key = known.runs.partition_point(|(hash, ..)| *hash < header.hash);
        let mut own_runs = known.runs[of_key..].iter().take_while(|run| run.0 == header.hash);
        seq <= known.until
            && Age::beside(known, number) >= than
            && own_runs.all(|(_, activation, run)| *run == number || *activation >= than)
    }
}

/// `None`: its record cannot be read; whatever it may be of has to wait for it.
fn hash_of_run(arena: &Arena, number: u64) -> Option<u64> {
    let at = segment::start(arena, number) + LINE;
    log::read_checked(arena, at, &mut Scratch::new()).map(|header| header.hash)
}

/// Is it the head of a value that has its segments, or its one segment, for itself?
pub(super) fn is_run(arena: &Arena, number: u64) -> bool {
    segment::is_run(arena, number)
        || segment::header(arena, number).is_some_and(|header| header.head_of().is_some())
}

/// Can what is in it be moved: a sealed segment that is no run?
pub(super) fn is_movable(arena: &Arena, number: u64) -> bool {
    number < arena.geometry.segments
        && segment::state(arena, number).kind() == SEALED
        && !is_run(arena, number)
}

/// Lines that are alive in a segment, as far as anybody knows.
pub(super) fn alive(arena: &Arena, number: u64) -> u64 {
    (segment::live_hint(arena, number) as i64).max(0) as u64
}

/// The segment to empty: the one with the least alive if at least `least` lines of it are dead, or
/// the oldest if what only shadows waits for it to go.
pub(super) fn victim(arena: &Arena, least: u64) -> Option<u64> {
    if arena.meta.load(word::AGE_PRESSURE) != 0 {
        arena.meta.store(word::AGE_PRESSURE, 0);
        if let Some(number) = oldest(arena) {
            return Some(number);
        }
    }
    let mut best = None;
    // At equal gain the highest: what is moved goes to the low end.
    for number in (0..arena.geometry.segments).rev() {
        if segment::state(arena, number).kind() != SEALED {
            continue;
        }
        // An end that stayed empty because nothing fitted is no gain. No record takes more than
        // a quarter: what is shorter was cut off.
        let used = segment::used_lines(arena, number).max(segment::capacity(arena) / 4 * 3);
        let dead = used.saturating_sub(alive(arena, number));
        // Whether it can be moved is asked last: that looks into the segment itself.
        if dead >= least && best.is_none_or(|(most, _)| dead > most) && is_movable(arena, number) {
            best = Some((dead, number));
        }
    }
    best.map(|(_, number)| number)
}

/// The segment that was begun first, if it can be moved. One that a lane still fills is ended, and
/// is the next time's.
fn oldest(arena: &Arena) -> Option<u64> {
    let number = (0..arena.geometry.segments)
        .filter(|number| matches!(segment::state(arena, *number).kind(), ACTIVE | SEALED | RUN))
        .filter(|number| !segment::is_run(arena, *number))
        .min_by_key(|number| {
            arena.meta.load(arena.geometry.segment(*number) + row::ACTIVATION_SEQ)
        })?;
    // Whether it could be ended shows in its state.
    let _ = retire(arena, number);
    is_movable(arena, number).then_some(number)
}

/// Ends a segment that a lane still fills, so that it can be swept; true if it was one. What comes
/// to the lane meanwhile goes into the next.
pub(super) fn retire(arena: &Arena, number: u64) -> Result<bool> {
    let state = segment::state(arena, number);
    if state.kind() != ACTIVE || state.arg() as u64 >= arena.geometry.all_lanes() {
        return Ok(false);
    }
    let lane = Lane::acquire_number(arena, state.arg() as u64)?;
    let here = lane.segment() == Some(number);
    if here {
        lane.retire();
    }
    Ok(here)
}

/// Ends the segments of all lanes in which at least `least` of the lines written are not alive.
pub(super) fn retire_the_dead(arena: &Arena, least: u64) {
    for number in 0..arena.geometry.all_lanes() {
        // One that a stopped process has is left for later.
        let Ok(lane) = Lane::acquire_number(arena, number) else { continue };
        let Some(segment) = lane.segment() else { continue };
        let written = lane.offset().saturating_sub(segment::start(arena, segment)) / LINE;
        if written.saturating_sub(alive(arena, segment) + 1) >= least {
            lane.retire();
        }
    }
}

/// The adjacent segments that are emptied with the least work for a value that fills `count`.
pub(super) fn window(arena: &Arena, count: u64) -> Result<Option<u64>> {
    let cost = |number: u64| match segment::state(arena, number).kind() {
        FREE => Some(0),
        ACTIVE => Some(segment::capacity(arena)),
        SEALED if is_movable(arena, number) => Some(alive(arena, number)),
        _ => None,
    };
    let segments = arena.geometry.segments;
    let costs = collect(segments as usize, (0..segments).map(cost))?;
    let cheapest = costs
        .windows(count as usize)
        .enumerate()
        .filter_map(|(first, window)| {
            let sum = window.iter().copied().sum::<Option<u64>>()?;
            // At equal cost the highest: what is moved goes to the low end.
            (sum > 0).then_some((sum, u64::MAX - first as u64))
        })
        .min()
        .map(|(_, first)| u64::MAX - first);
    Ok(cheapest)
}
