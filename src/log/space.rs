//! Free segments: who may take how many, with disk space behind them, and how they come back.

use super::segment::{
    ACTIVE, BODY, FREE, Header, KIND_BODY, KIND_HEAD, KIND_PLAIN, MOVED, RUN, SEALED, SWEEPING,
    State, capacity, change, end, of, salt_of, set_extent, start, state,
};
use crate::arena::{Arena, segment as row, word};
use crate::error::{Error, Result};
use crate::limits::{LINE, LIVE_PARTS, RESERVE, RUN_TRIES};
use crate::sys::disk::{self, FileKind};

/// Writes the header of a segment's new incarnation; its magic word last.
fn begin(arena: &Arena, segment: u64, incarnation: u32, kind: u8, run: u64) {
    // Drawn for it alone: which segment is the younger is known of any two.
    let seq = arena.next_seq();
    let header = Header {
        incarnation,
        kind,
        salt: salt_of(&arena.hash, &arena.secret, segment, incarnation, seq),
        activation_seq: seq,
        run,
        activated_ms: arena.now_ms(),
    };
    let at = start(arena, segment);
    arena.data.store(at, 0);
    let words = header.words(&arena.secret);
    for (i, word) in words.iter().enumerate().skip(1) {
        arena.data.store(at + i as u64 * 8, *word);
    }
    arena.data.store(at, words[0]);
    let row_at = arena.geometry.segment(segment);
    // What deaths left in the count was never alive here.
    let left = arena.meta.swap(row_at + row::LIVE, 0);
    arena.meta.add(word::LIVE_LINES, left.wrapping_neg());
    arena.meta.store(row_at + row::NEXT_LOOK_MS, 0);
    arena.meta.store(row_at + row::EXTENT, 0);
    arena.meta.store(row_at + row::EVICTED_UNTIL, 0);
    arena.meta.store(row_at + row::ACTIVATION_SEQ, seq);
}

/// The argument of FREE for a segment whose disk space was given back.
pub(crate) const BARE: u32 = 1;

/// Gives the file blocks for a segment, so that no store to it can fail.
fn back_with_blocks(arena: &Arena, segment: u64, was: State) -> Result<()> {
    if has_blocks(arena, segment, was) {
        return Ok(());
    }
    let (from, to) = (start(arena, segment), end(arena, segment));
    let have = arena.data.usable().min(from);
    disk::grow(&*arena.disk, FileKind::Data, &arena.data, have, to)
        .map_err(|e| Error::io(format!("growing {}", arena.dir.join("data").display()), e))?;
    arena.meta.max(word::DATA_BYTES, to);
    Ok(())
}

/// Can it be written to without asking the filesystem?
fn has_blocks(arena: &Arena, segment: u64, state: State) -> bool {
    let (from, to) = (start(arena, segment), end(arena, segment));
    state.arg() != BARE && arena.data.contains(from, to - from)
}

/// Free segments that can be written to however full the disk is.
pub(crate) fn free_with_blocks(arena: &Arena) -> u64 {
    let there = (0..arena.geometry.segments).filter(|segment| {
        let state = state(arena, *segment);
        state.kind() == FREE && has_blocks(arena, *segment, state)
    });
    there.count() as u64
}

/// Whoever took a segment for what is new leaves one with blocks to the sweep: on a full disk it
/// could move nothing else, and what is deleted would make no room.
fn leave_one_with_blocks(arena: &Arena, taken: u64) -> Result<()> {
    let mut refused = None;
    for segment in (taken + 1..arena.geometry.segments).chain(0..taken) {
        let was = state(arena, segment);
        if was.kind() != FREE || (refused.is_some() && !has_blocks(arena, segment, was)) {
            continue;
        }
        match back_with_blocks(arena, segment, was) {
            Ok(()) => {
                // Fails if somebody took it meanwhile, who leaves another one.
                change(arena, segment, was, was.to(FREE, 0));
                return Ok(());
            }
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Makes the segments that will be taken next ready to be written: blocks behind them and pages in
/// this process. It changes no byte, so it needs no claim; a failure shows at the real need.
pub(crate) fn prepare(arena: &Arena, ahead: usize) {
    let count = arena.geometry.segments;
    let hint = arena.meta.load(word::FREE_HINT) % count;
    let next = (hint..count).filter(|s| state(arena, *s).kind() == FREE).take(ahead);
    for segment in next {
        let (from, to) = (start(arena, segment), end(arena, segment));
        let was = state(arena, segment);
        if was.kind() != FREE || back_with_blocks(arena, segment, was).is_err() {
            return;
        }
        if was.arg() == BARE {
            // Fails if somebody took it meanwhile, who gave it blocks too.
            change(arena, segment, was, was.to(FREE, 0));
        } else if arena.data.populate(from, to - from).is_err() {
            return;
        }
    }
}

/// Is there no disk space behind it, as far as anybody knows? The header of one that was in use
/// has words that are not zero.
pub(crate) fn is_bare(arena: &Arena, segment: u64) -> bool {
    let at = start(arena, segment);
    !arena.data.contains(at, LINE) || arena.data.line(at) == [0; 8]
}

/// Gives the disk space of a free segment back to the filesystem, and the memory; false if it is
/// in use, or not to be had. A death in here leaves it to the sweep.
pub(crate) fn make_bare(arena: &Arena, segment: u64) -> bool {
    let was = state(arena, segment);
    if was.kind() != FREE || was.arg() == BARE || count_out(arena, 1, Need::Value).is_err() {
        return false;
    }
    let mine = was.to(SWEEPING, arena.peers.slot());
    let mut done = false;
    if change(arena, segment, was, mine) {
        let (from, to) = (start(arena, segment), end(arena, segment));
        done = arena.data.contains(from, to - from) && arena.data.punch(from, to - from).is_ok();
        change(arena, segment, mine, mine.to(FREE, if done { BARE } else { 0 }));
    }
    arena.meta.add(word::FREE_SEGMENTS, 1);
    done
}

/// Lines that may be alive: the rest is what the sweep works with.
fn live_limit(arena: &Arena) -> u64 {
    (arena.geometry.segments - RESERVE) * capacity(arena) / LIVE_PARTS * (LIVE_PARTS - 1)
}

/// May so many lines more be alive?
#[inline]
pub(crate) fn has_room_for(arena: &Arena, more: u64) -> bool {
    let live = arena.meta.load(word::LIVE_LINES) as i64;
    live.saturating_add(more as i64) <= live_limit(arena) as i64
}

/// The error for a value that would be one too many.
#[cold]
pub(crate) fn too_much_alive(arena: &Arena) -> Error {
    Error::Full(format!(
        "{} bytes of {} are alive and {} may be; sessions that expire make room, or let the store \
         grow (max_bytes)",
        arena.meta.load(word::LIVE_LINES).saturating_mul(LINE),
        arena.dir.path().display(),
        live_limit(arena) * LINE,
    ))
}

/// How many segments are free, as counted.
pub(crate) fn free(arena: &Arena) -> u64 {
    (arena.meta.load(word::FREE_SEGMENTS) as i64).clamp(0, arena.geometry.segments as i64) as u64
}

fn full(arena: &Arena) -> Error {
    Error::Full(format!(
        "{} of {} bytes of {} are in use and none can be given back yet; sessions that expire make \
         room, or create a larger store (max_bytes)",
        (arena.geometry.segments - free(arena)) * arena.geometry.segment_bytes,
        arena.geometry.data_bytes(),
        arena.dir.path().display()
    ))
}

/// Who asks for space: the less there is, the fewer may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A new value.
    Value,
    /// A tombstone; with no room for one a delete can still end a record's life in place.
    Tombstone,
    /// The sweep, without which nothing would ever come back.
    Sweep,
}

impl Need {
    /// Free segments that it must leave to the others.
    fn leaves(self) -> u64 {
        match self {
            Need::Value => RESERVE,
            Need::Tombstone => RESERVE / 2,
            Need::Sweep => 0,
        }
    }

    /// May it go on in a segment that was begun? One from the reserve is for those it is kept for.
    pub(crate) fn may_append(self, arena: &Arena) -> bool {
        arena.meta.load(word::FREE_SEGMENTS) as i64 >= self.leaves() as i64
    }
}

/// Counts segments out of the free ones, if enough are left; counted first, taken then, so that
/// several at once do not take more than there may be.
fn count_out(arena: &Arena, count: u64, need: Need) -> Result<()> {
    let free = arena.meta.add(word::FREE_SEGMENTS, count.wrapping_neg()) as i64;
    if free >= (count + need.leaves()) as i64 {
        return Ok(());
    }
    arena.meta.add(word::FREE_SEGMENTS, count);
    Err(full(arena))
}

/// Takes a free segment for a lane.
pub(crate) fn activate(arena: &Arena, lane: u32, need: Need) -> Result<u64> {
    count_out(arena, 1, need)?;
    let taken = activate_counted(arena, lane, need);
    if taken.is_err() {
        arena.meta.add(word::FREE_SEGMENTS, 1);
    }
    taken
}

fn activate_counted(arena: &Arena, lane: u32, need: Need) -> Result<u64> {
    let count = arena.geometry.segments;
    let hint = match lane as u64 == arena.geometry.survivor_lane() {
        // What has lived long gathers at the low end, away from the runs.
        true => 0,
        false => arena.meta.load(word::FREE_HINT) % count,
    };
    let mut refused = None;
    for segment in (hint..count).chain(0..hint) {
        let was = state(arena, segment);
        if was.kind() != FREE || (refused.is_some() && !has_blocks(arena, segment, was)) {
            continue;
        }
        let now = State::new(ACTIVE, lane, was.incarnation().wrapping_add(1));
        if !change(arena, segment, was, now) {
            continue;
        }
        if let Err(error) = back_with_blocks(arena, segment, was) {
            change(arena, segment, now, was);
            refused = Some(error);
            continue;
        }
        if need != Need::Sweep
            && let Err(error) = leave_one_with_blocks(arena, segment)
        {
            change(arena, segment, now, was.to(FREE, 0));
            return Err(error);
        }
        if hint != 0 || segment == 0 {
            arena.meta.store(word::FREE_HINT, segment + 1);
        }
        begin(arena, segment, now.incarnation(), KIND_PLAIN, 0);
        if lane as u64 == arena.geometry.survivor_lane() {
            let at = arena.geometry.segment(segment) + row::EXTENT;
            arena.meta.store(at, MOVED);
        }
        return Ok(segment);
    }
    Err(refused.unwrap_or_else(|| full(arena)))
}

/// Takes `count` adjacent free segments for one value; they are this process's until published.
pub(crate) fn take_run(arena: &Arena, count: u64) -> Result<u64> {
    count_out(arena, count, Need::Value)?;
    let taken = take_run_counted(arena, count);
    if taken.is_err() {
        arena.meta.add(word::FREE_SEGMENTS, count);
    }
    taken
}

fn take_run_counted(arena: &Arena, count: u64) -> Result<u64> {
    for _ in 0..RUN_TRIES {
        let Some(first) = find_run(arena, count) else { break };
        if claim_run(arena, first, count)? {
            if let Err(error) = leave_one_with_blocks(arena, first) {
                give_back(arena, first, count);
                return Err(error);
            }
            for segment in (first + 1)..first + count {
                begin(arena, segment, state(arena, segment).incarnation(), KIND_BODY, first);
            }
            begin(arena, first, state(arena, first).incarnation(), KIND_HEAD, count);
            set_extent(arena, first, count, 0);
            return Ok(first);
        }
    }
    Err(Error::Full(format!(
        "no {count} adjacent segments of {} bytes are free for a value of this size",
        arena.geometry.segment_bytes
    )))
}

/// Adjacent free segments: the highest that the file has, away from what has lived long, else the
/// lowest that it has not.
fn find_run(arena: &Arena, count: u64) -> Option<u64> {
    let segments = arena.geometry.segments;
    let inside = of(arena, arena.data.usable()).min(segments);
    let mut adjacent = 0;
    for segment in (0..inside).rev() {
        adjacent = if state(arena, segment).kind() == FREE { adjacent + 1 } else { 0 };
        if adjacent == count {
            return Some(segment);
        }
    }
    adjacent = 0;
    for segment in inside.saturating_sub(count)..segments {
        adjacent = if state(arena, segment).kind() == FREE { adjacent + 1 } else { 0 };
        if adjacent == count {
            return Some(segment + 1 - count);
        }
    }
    None
}

/// Are there adjacent free segments for a value that fills so many?
pub(crate) fn has_run(arena: &Arena, count: u64) -> bool {
    find_run(arena, count).is_some()
}

/// Makes these segments this process's own; false if somebody else was faster.
fn claim_run(arena: &Arena, first: u64, count: u64) -> Result<bool> {
    let me = arena.peers.slot();
    for segment in first..first + count {
        let was = state(arena, segment);
        let now = State::new(RUN, me, was.incarnation().wrapping_add(1));
        if was.kind() != FREE || !change(arena, segment, was, now) {
            give_back(arena, first, segment - first);
            return Ok(false);
        }
        if let Err(error) = back_with_blocks(arena, segment, was) {
            give_back(arena, first, segment + 1 - first);
            return Err(error);
        }
    }
    Ok(true)
}

fn give_back(arena: &Arena, first: u64, count: u64) {
    for segment in first..first + count {
        let now = state(arena, segment);
        change(arena, segment, now, now.to(FREE, BARE));
    }
}

/// Gives back a run that was never published: nothing whole was ever in it.
pub(crate) fn drop_run(arena: &Arena, first: u64, count: u64) {
    give_back(arena, first, count);
    arena.meta.add(word::FREE_SEGMENTS, count);
}

/// A run's record is in the index: its segments now live and die like any other's.
pub(crate) fn publish_run(arena: &Arena, first: u64, count: u64) {
    for segment in (first + 1)..first + count {
        let now = state(arena, segment);
        if now.kind() == RUN {
            change(arena, segment, now, now.to(BODY, 0));
        }
    }
    let now = state(arena, first);
    if now.kind() == RUN {
        change(arena, first, now, now.to(SEALED, 0));
    }
}

/// Ends what a dead process began: half-swept segments are whole, unpublished runs are free.
pub(crate) fn heal(arena: &Arena, dead: impl Fn(u32) -> bool) {
    let mut freed = 0;
    for segment in 0..arena.geometry.segments {
        let now = state(arena, segment);
        match now.kind() {
            SWEEPING if dead(now.arg()) => {
                change(arena, segment, now, now.to(SEALED, 0));
            }
            RUN if dead(now.arg()) && change(arena, segment, now, now.to(FREE, BARE)) => freed += 1,
            _ => {}
        }
    }
    if freed > 0 {
        recount_free(arena);
    }
}

/// The number of free segments, counted anew: deaths may have left the counter behind.
pub(crate) fn recount_free(arena: &Arena) {
    let free =
        (0..arena.geometry.segments).filter(|s| state(arena, *s).kind() == FREE).count() as u64;
    arena.meta.store(word::FREE_SEGMENTS, free);
}
