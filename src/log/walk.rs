//! Walking a segment record by record, after a power loss or to give space back.

use super::record::{self, Header};
use super::{read_checked, read_value, room_at, segment};
use crate::arena::Arena;
use crate::error::Result;
use crate::limits::{HEAD_BYTES, LINE};
use crate::sys::map::Scratch;

/// A record that was met.
pub(crate) struct Walked {
    pub(crate) at: u64,
    pub(crate) header: Header,
}

/// A walk over one segment from its first record to `end`.
///
/// A record counts if its salt is the segment's, its number lies above the segment's activation
/// (unless it is a copy) and its header holds. Where that fails the walk goes on line by line: the salt is secret and
/// new in each incarnation, so neither stale bytes nor a value can pass for a record.
pub(crate) struct Walk<'a> {
    arena: &'a Arena,
    at: u64,
    end: u64,
    salt: u32,
    activation_seq: u64,
    scratch: Scratch,
    key_len: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        arena: &'a Arena,
        which: u64,
        header: &segment::Header,
        end: u64,
    ) -> Walk<'a> {
        Walk {
            arena,
            at: segment::start(arena, which) + LINE,
            end: end.min(segment::end(arena, which)),
            salt: header.salt as u32,
            activation_seq: header.activation_seq,
            scratch: Scratch::new(),
            key_len: 0,
        }
    }

    /// Goes on from a place that an earlier walk came to; one outside the segment is no such place.
    pub(crate) fn skip_to(&mut self, at: u64) {
        if at.is_multiple_of(LINE) && (self.at..self.end).contains(&at) {
            self.at = at;
        }
    }

    /// Where the next record is looked for.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next record whose header holds.
    pub(crate) fn next(&mut self) -> Option<Walked> {
        while self.at + LINE <= self.end {
            let at = self.at;
            let first = self.arena.data.load(at);
            if (first >> 32) as u32 == self.salt
                && first as u32 != 0
                && let Some(header) = read_checked(self.arena, at, &mut self.scratch)
                && (header.seq > self.activation_seq || header.copy != 0)
                && header.salt == self.salt
            {
                self.key_len = header.key_len as usize;
                let lines = header.lines as u64;
                let bytes = (lines * LINE).min(room_at(self.arena, at).max(LINE));
                self.at += bytes;
                // The next record, and the one behind it if that is as long as this.
                self.arena.data.prefetch(self.at, HEAD_BYTES);
                self.arena.data.prefetch(self.at + bytes, HEAD_BYTES);
                return Some(Walked { at, header });
            }
            self.at += LINE;
        }
        None
    }

    /// The key of the record just met.
    pub(crate) fn key(&mut self) -> &[u8] {
        &self.scratch.bytes()[LINE as usize..][..self.key_len]
    }

    /// The names of the record just met: its key, then its owner.
    pub(crate) fn names(&mut self) -> &[u8] {
        &self.scratch.bytes()[LINE as usize..]
    }

    /// Does the value of a record hold too?
    pub(crate) fn value_holds(&self, walked: &Walked, room: &mut Vec<u8>) -> Result<bool> {
        room.clear();
        Ok(read_value(self.arena, walked.at, &walked.header, room)?
            && record::value_crc(room) == walked.header.value_crc)
    }
}
