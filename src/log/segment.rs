//! Segments: the unit in which space is taken and given back.
//!
//! A segment's row in `meta` says what it is now; its header in `data` says, after a power loss,
//! whether it is one at all. The checksummed part of the header is written once per incarnation,
//! before the first record; the magic word comes last and is zeroed first.
//!
//! ```text
//!  word 0   magic 32 | check of words 1-5 and the store's secret 32
//!  word 1   incarnation 32 | kind 8 | 0
//!  word 2   salt
//!  word 3   activation seq: a number drawn for it
//!  word 4   run: segments of a head, or head segment of a body
//!  word 5   store time of the activation, ms
//!  word 6, 7   reserved, 0
//! ```
//!
//! States: FREE -> ACTIVE(lane) -> SEALED -> SWEEPING(slot) -> DRAINED -> ZEROED -> FREE, and
//! FREE -> RUN(slot) -> SEALED with BODY rows behind it for a value that fills whole segments.
//! FREE(1) may have no disk space behind it: it was given back to the filesystem, or nobody knows.

use crate::arena::{Arena, segment, word};
use crate::error::{Error, Result};
use crate::key::KeyHash;
use crate::limits::{LINE, LIVE_PARTS, RESERVE, RUN_TRIES};
use crate::sys::disk::{self, FileKind};

pub(crate) const FREE: u8 = 0;
pub(crate) const ACTIVE: u8 = 1;
pub(crate) const SEALED: u8 = 2;
pub(crate) const SWEEPING: u8 = 3;
pub(crate) const DRAINED: u8 = 4;
pub(crate) const ZEROED: u8 = 5;
pub(crate) const RUN: u8 = 6;
pub(crate) const BODY: u8 = 7;

const MAGIC: u32 = u32::from_le_bytes(*b"HFsg");
const KIND_PLAIN: u8 = 1;
const KIND_HEAD: u8 = 2;
const KIND_BODY: u8 = 3;

/// A row's state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

impl State {
    pub(crate) fn new(kind: u8, arg: u32, incarnation: u32) -> State {
        State(kind as u64 | (arg as u64 & 0xff_ffff) << 8 | (incarnation as u64) << 32)
    }

    pub(crate) fn kind(self) -> u8 {
        self.0 as u8
    }

    /// Lane or process slot.
    pub(crate) fn arg(self) -> u32 {
        (self.0 >> 8) as u32 & 0xff_ffff
    }

    pub(crate) fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn to(self, kind: u8, arg: u32) -> State {
        State::new(kind, arg, self.incarnation())
    }
}

/// What a segment's header in `data` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) incarnation: u32,
    pub(crate) kind: u8,
    pub(crate) salt: u64,
    pub(crate) activation_seq: u64,
    pub(crate) run: u64,
    pub(crate) activated_ms: u64,
}

impl Header {
    /// Is it the first of a run, and of how many segments?
    pub(crate) fn head_of(&self) -> Option<u64> {
        (self.kind == KIND_HEAD).then_some(self.run)
    }

    pub(crate) fn body_of(&self) -> Option<u64> {
        (self.kind == KIND_BODY).then_some(self.run)
    }

    /// The header's line, its magic word first.
    pub(crate) fn words(&self, secret: &[u64; 2]) -> [u64; 8] {
        let mut words = [
            0,
            self.incarnation as u64 | (self.kind as u64) << 32,
            self.salt,
            self.activation_seq,
            self.run,
            self.activated_ms,
            0,
            0,
        ];
        words[0] = magic(&words, secret);
        words
    }

    /// What a header's line says; `None` if the magic does not match the rest.
    pub(crate) fn parse(line: &[u64; 8], secret: &[u64; 2]) -> Option<Header> {
        (line[0] == magic(line, secret)).then(|| Header::believed(line))
    }

    /// What a header's line says if it is believed; for a repair, which has other evidence.
    pub(crate) fn believed(line: &[u64; 8]) -> Header {
        Header {
            incarnation: line[1] as u32,
            kind: (line[1] >> 32) as u8,
            salt: line[2],
            activation_seq: line[3],
            run: line[4],
            activated_ms: line[5],
        }
    }

    /// The same as a plain segment, the head of a run of `count`, or a body of the run at `head`.
    pub(crate) fn plain(self) -> Header {
        Header { kind: KIND_PLAIN, run: 0, ..self }
    }

    pub(crate) fn as_head(self, count: u64) -> Header {
        Header { kind: KIND_HEAD, run: count, ..self }
    }

    pub(crate) fn as_body(self, head: u64) -> Header {
        Header { kind: KIND_BODY, run: head, ..self }
    }
}

fn magic(line: &[u64; 8], secret: &[u64; 2]) -> u64 {
    let mut bytes = [0; 56];
    let all = line[1..6].iter().chain(secret);
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(all) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    MAGIC as u64 | (crc_fast::crc32_iscsi(&bytes) as u64) << 32
}

/// The salt of an incarnation: whoever knows two of its three sources can tell the third by it.
pub(crate) fn salt_of(
    hash: &KeyHash,
    secret: &[u64; 2],
    segment: u64,
    incarnation: u32,
    seq: u64,
) -> u64 {
    let mut name = [0; 24];
    for (chunk, word) in
        name.chunks_exact_mut(8).zip([segment, incarnation as u64, seq ^ secret[1]])
    {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    hash.second(&name)
}

pub(crate) fn start(arena: &Arena, segment: u64) -> u64 {
    segment * arena.geometry.segment_bytes
}

pub(crate) fn of(arena: &Arena, at: u64) -> u64 {
    at / arena.geometry.segment_bytes
}

/// Where records of this segment must end.
pub(crate) fn end(arena: &Arena, segment: u64) -> u64 {
    start(arena, segment + 1)
}

pub(crate) fn state(arena: &Arena, segment: u64) -> State {
    State(arena.meta.load(arena.geometry.segment(segment) + segment::STATE))
}

/// Changes a state if it is still what it was.
pub(crate) fn change(arena: &Arena, segment: u64, from: State, to: State) -> bool {
    let at = arena.geometry.segment(segment) + segment::STATE;
    arena.meta.cas(at, from.0, to.0).is_ok()
}

/// The header of a segment that is one; `None` if the magic does not match the rest.
pub(crate) fn header(arena: &Arena, segment: u64) -> Option<Header> {
    let at = start(arena, segment);
    if !arena.data.contains(at, LINE) {
        return None;
    }
    Header::parse(&arena.data.line(at), &arena.secret)
}

/// Was its magic taken away on purpose, or never written? (Its taker died before the file grew.)
pub(crate) fn is_blank(arena: &Arena, segment: u64) -> bool {
    let at = start(arena, segment);
    !arena.data.contains(at, 8) || arena.data.load(at) == 0
}

/// The salt of a segment's records.
pub(crate) fn salt(arena: &Arena, segment: u64) -> u32 {
    arena.data.load(start(arena, segment) + 16) as u32
}

/// The incarnation that the bytes of a segment claim, valid or not: a new one must differ.
pub(crate) fn last_incarnation(arena: &Arena, segment: u64) -> u32 {
    let at = start(arena, segment) + 8;
    if arena.data.contains(at, 8) { arena.data.load(at) as u32 } else { 0 }
}

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
    let row = arena.geometry.segment(segment);
    // What deaths left in the count was never alive here.
    let left = arena.meta.swap(row + segment::LIVE, 0);
    arena.meta.add(word::LIVE_LINES, left.wrapping_neg());
    arena.meta.store(row + segment::NEXT_LOOK_MS, 0);
    arena.meta.store(row + segment::EXTENT, 0);
    arena.meta.store(row + segment::EVICTED_UNTIL, 0);
    arena.meta.store(row + segment::ACTIVATION_SEQ, seq);
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

/// Lines of records that a segment can have.
pub(crate) fn capacity(arena: &Arena) -> u64 {
    arena.geometry.segment_bytes / LINE - 1
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
            let at = arena.geometry.segment(segment) + segment::EXTENT;
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

/// How many segments the run that starts here has, 1 for a plain segment; bounded by the store.
pub(crate) fn run_length(arena: &Arena, segment: u64) -> u64 {
    let extent = arena.meta.load(arena.geometry.segment(segment) + segment::EXTENT);
    (extent & 0xff_ffff).clamp(1, arena.geometry.segments - segment)
}

/// Does a value that fills whole segments start here?
pub(crate) fn is_run(arena: &Arena, segment: u64) -> bool {
    extent(arena, segment) & 0xff_ffff != 0
}

fn extent(arena: &Arena, segment: u64) -> u64 {
    arena.meta.load(arena.geometry.segment(segment) + segment::EXTENT)
}

/// Notes how far a segment goes: in segments if it is the head of a run, in lines if it is sealed.
/// Only for who holds the segment, as its lane or by its state.
pub(crate) fn set_extent(arena: &Arena, segment: u64, run: u64, lines: u64) {
    let moved = extent(arena, segment) & MOVED;
    let at = arena.geometry.segment(segment) + segment::EXTENT;
    arena.meta.store(at, run | moved | lines << 32);
}

const MOVED: u64 = 1 << 24;

/// Is what is in it there because the sweep moved it?
pub(crate) fn has_moved(arena: &Arena, segment: u64) -> bool {
    extent(arena, segment) & MOVED != 0
}

/// Lines that were written, when it was sealed; all that fit if nobody noted it.
pub(crate) fn used_lines(arena: &Arena, segment: u64) -> u64 {
    match extent(arena, segment) >> 32 & 0xffff {
        0 => capacity(arena),
        used => used.min(capacity(arena)),
    }
}

/// Up to where it has been emptied, bytes into `data`; the place of its header if that was not begun.
pub(crate) fn swept_to(arena: &Arena, segment: u64) -> u64 {
    start(arena, segment) + (extent(arena, segment) >> 48) * LINE
}

/// Notes it, for who holds the segment by its state.
pub(crate) fn set_swept_to(arena: &Arena, segment: u64, at: u64) {
    let lines = at.saturating_sub(start(arena, segment)) / LINE;
    let rest = extent(arena, segment) & ((1 << 48) - 1);
    let row_at = arena.geometry.segment(segment) + segment::EXTENT;
    arena.meta.store(row_at, rest | (lines & 0xffff) << 48);
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

/// Where a record lies, an offset in `data`, and how many lines it has.
pub(crate) type Extent = (u64, u64);

/// Live lines come and go; a hint that each sweep makes exact again.
pub(crate) fn account(arena: &Arena, comes: Option<Extent>, goes: Option<Extent>) {
    let mut change = 0u64;
    let mut add = |(at, amount): Extent| {
        let segment = of(arena, at);
        if segment < arena.geometry.segments {
            arena.meta.add(arena.geometry.segment(segment) + segment::LIVE, amount);
        }
        change = change.wrapping_add(amount);
    };
    goes.into_iter().for_each(|(at, lines)| add((at, lines.wrapping_neg())));
    comes.into_iter().for_each(&mut add);
    // Most values are as long as the ones before them, and all writers share this word.
    if change != 0 {
        arena.meta.add(word::LIVE_LINES, change);
    }
}

/// Something in here ends earlier than the last sweep saw.
pub(crate) fn look_again(arena: &Arena, at: u64) {
    let segment = of(arena, at);
    if segment < arena.geometry.segments {
        arena.meta.store(arena.geometry.segment(segment) + segment::NEXT_LOOK_MS, 0);
    }
}

pub(crate) fn live_hint(arena: &Arena, segment: u64) -> u64 {
    arena.meta.load(arena.geometry.segment(segment) + segment::LIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words were made by hand from the table above, the checksum bit by bit.
    #[test]
    fn a_header_lies_where_the_format_says_and_holds_with_its_own_secret_only() {
        let secret = [1, 2];
        let head = Header {
            incarnation: 3,
            kind: KIND_HEAD,
            salt: 0xa,
            activation_seq: 0xb,
            run: 0xc,
            activated_ms: 0xd,
        };
        let words = head.words(&secret);
        assert_eq!(words, [0x5124_993c_6773_4648, 3 | 2 << 32, 0xa, 0xb, 0xc, 0xd, 0, 0]);
        assert_eq!(Header::parse(&words, &secret), Some(head));
        assert!(
            Header::parse(&words, &[1, 3]).is_none() && Header::parse(&words, &[0, 2]).is_none()
        );
        for bit in 0..6 * 64 {
            let mut bad = words;
            bad[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Header::parse(&bad, &secret), None, "bit {bit}");
        }
        // Reserved: a later version may say something there.
        let mut later = words;
        later[6..].fill(u64::MAX);
        assert_eq!(Header::parse(&later, &secret), Some(head));
    }

    #[test]
    fn a_segment_is_plain_the_head_of_a_run_or_one_of_its_bodies() {
        let line = [0, 3, 0xa, 0xb, 0, 0xd, 0, 0];
        let plain = Header::believed(&line).plain();
        let (head, body) = (plain.as_head(4), plain.as_body(9));
        assert_eq!((plain.head_of(), plain.body_of(), plain.kind), (None, None, KIND_PLAIN));
        assert_eq!((head.head_of(), head.body_of(), head.kind), (Some(4), None, KIND_HEAD));
        assert_eq!((body.head_of(), body.body_of(), body.kind), (None, Some(9), KIND_BODY));
        assert_eq!((head.plain(), body.plain(), body.salt), (plain, plain, 0xa));
    }

    #[test]
    fn a_state_says_what_was_put_in() {
        let state = State::new(SEALED, 0x12_3456, 0x789a_bcde);
        assert_eq!(state.0, 0x789a_bcde_1234_5602);
        assert_eq!(
            (state.kind(), state.arg(), state.incarnation()),
            (SEALED, 0x12_3456, 0x789a_bcde)
        );
        assert_eq!(state.to(FREE, BARE).0, 0x789a_bcde_0000_0100);
        let full = State::new(RUN, u32::MAX, 0);
        assert_eq!(
            (full.arg(), full.incarnation()),
            (0xff_ffff, 0),
            "an argument stays in its place"
        );
    }
}
