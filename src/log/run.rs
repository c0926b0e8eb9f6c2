//! Values too large for a segment of their own: a run of adjacent whole segments.
//!
//! The head has the only record; the value goes on behind the header line of each body, so that
//! no byte of a value ever lies where a segment header is looked for. The whole run is written
//! before the stripe's latch is taken, but for the first words of its record.

use super::record::{ENCODED_MAX, Header, RUN, lines, value_offset};
use super::{segment, space};
use crate::arena::Arena;
use crate::error::Result;
use crate::limits::LINE;

/// A run that this process fills.
pub(crate) struct Run<'a> {
    arena: &'a Arena,
    first: u64,
    count: u64,
    published: bool,
}

/// The pieces of a run's value: place in `data`, range in the value.
pub(super) fn pieces(
    segment_bytes: u64,
    at: u64,
    names_len: usize,
    value_len: u64,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut place = at + value_offset(names_len);
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= value_len {
            return None;
        }
        let room = segment_bytes - place % segment_bytes;
        let len = room.min(value_len - done);
        let piece = (place, done as usize..(done + len) as usize);
        done += len;
        place += room + LINE;
        Some(piece)
    })
}

pub(super) fn read_value(
    arena: &Arena,
    at: u64,
    header: &Header,
    out: &mut Vec<u8>,
) -> Result<bool> {
    let (names_len, len) = (header.names_len(), header.value_len as u64);
    for (place, range) in pieces(arena.geometry.segment_bytes, at, names_len, len) {
        if !arena.data.contains(place, range.len() as u64) {
            return Ok(false);
        }
        arena.data.append_to(place, range.len(), out)?;
    }
    Ok(true)
}

impl<'a> Run<'a> {
    /// Segments that a record of this size fills; `None` if it is kept among others.
    pub(crate) fn segments(arena: &Arena, names_len: usize, value_len: u64) -> Option<u64> {
        let large = lines(names_len, value_len) * LINE > arena.geometry.segment_bytes / 4;
        let room = arena.geometry.segment_bytes - LINE;
        large.then(|| (value_offset(names_len) + value_len).div_ceil(room))
    }

    /// Segments that the record with this header fills.
    pub(crate) fn length(segment_bytes: u64, header: &Header) -> u64 {
        let len = value_offset(header.names_len()) + header.value_len as u64;
        len.div_ceil(segment_bytes - LINE)
    }

    /// Takes segments and writes the value into them.
    pub(crate) fn write(
        arena: &'a Arena,
        count: u64,
        names_len: usize,
        value: &[u8],
    ) -> Result<Run<'a>> {
        let first = space::take_run(arena, count)?;
        let run = Run { arena, first, count, published: false };
        arena.data.store(run.offset(), 0);
        let segment_bytes = arena.geometry.segment_bytes;
        for (place, range) in pieces(segment_bytes, run.offset(), names_len, value.len() as u64) {
            arena.data.write(place, &value[range]);
        }
        Ok(run)
    }

    pub(crate) fn offset(&self) -> u64 {
        segment::start(self.arena, self.first) + LINE
    }

    pub(crate) fn salt(&self) -> u32 {
        segment::salt(self.arena, self.first)
    }

    pub(crate) fn incarnation(&self) -> u32 {
        segment::state(self.arena, self.first).incarnation()
    }

    /// Writes header and names but for the first word, which it gives back.
    pub(crate) fn write_header(&self, header: &mut Header, names: &[u8]) -> u64 {
        header.flags |= RUN;
        let mut room = [0; ENCODED_MAX];
        let (first, rest) = header.encode(names, &mut room);
        self.arena.data.write(self.offset() + 8, rest);
        first
    }

    /// Makes the record whole.
    pub(crate) fn commit(&self, first: u64) {
        self.arena.data.store(self.offset(), first);
    }

    /// The index names it: it is no longer this process's own.
    pub(crate) fn publish(mut self) {
        self.published = true;
        space::publish_run(self.arena, self.first, self.count);
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if !self.published && !std::thread::panicking() {
            space::drop_run(self.arena, self.first, self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_value_and_spare_every_segment_header() {
        let segment = 4096;
        for len in [0, 1, 4000, 4096, 10_000, 12_288] {
            let all: Vec<_> = pieces(segment, segment + 64, 5, len).collect();
            let mut next = 0;
            for (place, range) in &all {
                assert_eq!(range.start, next);
                assert!(place % segment >= 64, "a header line is overwritten");
                assert!(place % segment + range.len() as u64 <= segment);
                next = range.end;
            }
            assert_eq!(next as u64, len);
        }
    }
}
