//! Lanes: the places where records are appended, each under a latch, each in one segment.
//!
//! A lane's position is one word, the absolute offset of its tail. A record is written behind the
//! tail with its first word zero; storing that word makes it whole, moving the tail makes it part
//! of the log. So a death leaves at most one record behind the tail, and a thief zeroes its first
//! word.

use std::time::Duration;

use super::record::{ENCODED, ENCODED_MAX, Header, value_offset};
use super::segment::{self, ACTIVE, SEALED};
use super::space::{self, Need};
use crate::arena::{Arena, Count, lane};
use crate::error::{Error, Result};
use crate::limits::{LINE, WRITE_AHEAD_LINES};
use crate::sys::latch::{self, Taken};

/// A lane that this thread holds.
pub(crate) struct Lane<'a> {
    arena: &'a Arena,
    number: u64,
    tail: u64,
}

impl<'a> Lane<'a> {
    /// Takes this process's lane, or another if that one is busy.
    pub(crate) fn acquire(arena: &'a Arena) -> Result<Lane<'a>> {
        let (me, lanes) = (arena.peers.slot(), arena.geometry.lanes);
        for i in 0..lanes {
            let number = (me as u64 + i) % lanes;
            if latch::try_acquire(arena.meta.cell(arena.geometry.lane(number)), me) {
                return Ok(Lane::taken(arena, number, Taken::Free));
            }
        }
        Lane::acquire_number(arena, me as u64 % lanes)
    }

    /// Asks for the memory that this process's next record of so many lines will be written to.
    #[inline]
    pub(crate) fn prefetch(arena: &Arena, lines: u64) {
        let row = arena.geometry.lane(arena.peers.slot() as u64 % arena.geometry.lanes);
        let bytes = lines.min(WRITE_AHEAD_LINES) * LINE;
        arena.data.prefetch_to_write(arena.meta.load(row + lane::TAIL), bytes);
    }

    /// Takes one lane, waiting for it.
    pub(crate) fn acquire_number(arena: &'a Arena, number: u64) -> Result<Lane<'a>> {
        let cell = arena.meta.cell(arena.geometry.lane(number) + lane::LATCH);
        let short = arena.operation_timeout.min(Duration::from_millis(20));
        let mut waited = Duration::ZERO;
        loop {
            if let Some(taken) = latch::acquire(cell, &arena.peers, short) {
                return Ok(Lane::taken(arena, number, taken));
            }
            waited += short;
            if waited >= arena.operation_timeout {
                return Err(arena.busy("the end of the log", latch::owner(cell)));
            }
        }
    }

    fn taken(arena: &'a Arena, number: u64, how: Taken) -> Lane<'a> {
        let mut lane = Lane { arena, number, tail: 0 };
        if how == Taken::Stolen {
            arena.count(Count::LatchStolen);
            lane.heal();
        }
        lane.tail = lane.position();
        lane
    }

    fn row(&self) -> u64 {
        self.arena.geometry.lane(self.number)
    }

    /// The tail, or 0 if the lane has no segment (or its word is damaged: then it takes a new one).
    fn position(&self) -> u64 {
        let tail = self.arena.meta.load(self.row() + lane::TAIL);
        // A full segment's tail is the start of the next: look at the line before it.
        let segment = segment::of(self.arena, tail.wrapping_sub(1));
        let fits = tail != 0
            && tail.is_multiple_of(LINE)
            && segment < self.arena.geometry.segments
            && self
                .arena
                .data
                .contains(segment::start(self.arena, segment), self.arena.geometry.segment_bytes)
            && self.owns(segment);
        if fits { tail } else { 0 }
    }

    fn owns(&self, segment: u64) -> bool {
        let state = segment::state(self.arena, segment);
        state.kind() == ACTIVE && state.arg() as u64 == self.number
    }

    /// After a death: no whole record behind the tail, no second segment of this lane.
    fn heal(&mut self) {
        let arena = self.arena;
        let tail = self.position();
        let mine = if tail == 0 { u64::MAX } else { segment::of(arena, tail - 1) };
        if tail != 0 && tail < segment::end(arena, mine) {
            arena.data.store(tail, 0);
        }
        for segment in (0..arena.geometry.segments).filter(|s| *s != mine) {
            if self.owns(segment) {
                let now = segment::state(arena, segment);
                segment::change(arena, segment, now, now.to(SEALED, 0));
            }
        }
    }

    /// Heals and lets go of a lane that bears the number of a dead process's slot.
    pub(crate) fn heal_dead(arena: &'a Arena, number: u64) {
        Lane { arena, number, tail: 0 }.heal();
    }

    /// Makes room for a record of so many lines, in a new segment if need be.
    pub(crate) fn reserve(&mut self, lines: u64, need: Need) -> Result<()> {
        // The sweep goes by what it reads: never more than a segment, whatever that says.
        if lines > segment::capacity(self.arena) {
            let path = self.arena.dir.join("data");
            return Err(Error::Damaged(format!("{}: a record of {lines} lines", path.display())));
        }
        if self.tail != 0 && need.may_append(self.arena) {
            let end = segment::end(self.arena, segment::of(self.arena, self.tail - 1));
            if self.tail + lines * LINE <= end {
                return Ok(());
            }
        }
        let next = space::activate(self.arena, self.number as u32, need)?;
        self.arena.rolled.store(true, std::sync::atomic::Ordering::Relaxed);
        let old = self.tail;
        self.move_to(segment::start(self.arena, next) + LINE);
        if old != 0 {
            self.seal(old);
        }
        Ok(())
    }

    /// Ends the segment that is written up to `tail`.
    fn seal(&self, tail: u64) {
        let segment = segment::of(self.arena, tail - 1);
        let now = segment::state(self.arena, segment);
        if self.owns(segment) {
            let lines = (tail - segment::start(self.arena, segment)) / LINE - 1;
            segment::set_extent(self.arena, segment, 0, lines);
            segment::change(self.arena, segment, now, now.to(SEALED, 0));
        }
    }

    fn move_to(&mut self, tail: u64) {
        self.arena.meta.store(self.row() + lane::TAIL, tail);
        self.tail = tail;
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Where the next record starts.
    pub(crate) fn offset(&self) -> u64 {
        self.tail
    }

    pub(crate) fn salt(&self) -> u32 {
        segment::salt(self.arena, segment::of(self.arena, self.tail))
    }

    pub(crate) fn incarnation(&self) -> u32 {
        segment::state(self.arena, segment::of(self.arena, self.tail)).incarnation()
    }

    /// Writes all of a record but its first word, which it gives back.
    pub(crate) fn write(&self, header: &mut Header, names: &[u8], value: &[u8]) -> u64 {
        self.arena.data.store(self.tail, 0);
        let first = match LINE as usize + names.len() <= ENCODED {
            true => self.write_header(header, names, &mut [0; ENCODED]),
            false => self.write_header(header, names, &mut [0; ENCODED_MAX]),
        };
        self.arena.data.write(self.tail + value_offset(names.len()), value);
        first
    }

    #[inline(always)]
    fn write_header<const N: usize>(
        &self,
        header: &mut Header,
        names: &[u8],
        room: &mut [u8; N],
    ) -> u64 {
        let (first, rest) = header.encode(names, room);
        self.arena.data.write(self.tail + 8, rest);
        first
    }

    /// The segment that it fills.
    pub(crate) fn segment(&self) -> Option<u64> {
        (self.tail != 0).then(|| segment::of(self.arena, self.tail - 1))
    }

    /// Makes the record whole and part of the log, and lets go of the lane.
    pub(crate) fn commit(mut self, first: u64, lines: u64) {
        let at = self.tail;
        self.arena.data.store(at, first);
        self.move_to(at + lines * LINE);
    }

    /// Ends the lane's segment, so that it can be swept.
    pub(crate) fn retire(mut self) {
        let tail = self.tail;
        if tail != 0 {
            self.move_to(0);
            self.seal(tail);
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.heal();
        }
        latch::release(self.arena.meta.cell(self.row() + lane::LATCH));
    }
}
