//! A private copy of one segment, read through the file, and what it holds.
//!
//! Made for those who read the whole log at their leisure: the check, the backup, the repair. A
//! medium that cannot be read gives an error here, where a load from the mapping would end the
//! process. Nothing in the copy moves, so it needs no latch; but what it shows may have changed
//! since, so whoever finds something wrong looks again at the store itself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::record::{ENCODED_MAX, Header, RUN, value_offset};
use super::{run, segment};
use crate::error::{Error, Result};
use crate::limits::LINE;

/// The log of a store, attached or not.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) segment_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) secret: [u64; 2],
}

/// One segment's bytes.
pub(crate) struct Image {
    number: u64,
    bytes: Vec<u8>,
}

/// A record in an image whose header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where it is in `data`.
    pub(crate) at: u64,
    pub(crate) header: Header,
}

impl Image {
    pub(crate) fn new(source: &Source) -> Result<Image> {
        let len = source.segment_bytes;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len as usize).map_err(|_| Error::no_memory(len))?;
        bytes.resize(len as usize, 0);
        Ok(Image { number: 0, bytes })
    }

    /// Reads a segment; what lies behind the end of the file reads as zeros.
    pub(crate) fn read(&mut self, source: &Source, number: u64) -> io::Result<()> {
        self.number = number;
        let from = number * source.segment_bytes;
        let mut got = 0;
        while got < self.bytes.len() {
            match source.file.read_at(&mut self.bytes[got..], from + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.bytes[got..].fill(0);
        Ok(())
    }

    fn start(&self) -> u64 {
        self.number * self.bytes.len() as u64
    }

    pub(crate) fn end(&self) -> u64 {
        self.start() + self.bytes.len() as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of `data` that lie in this image.
    pub(crate) fn range(&self, at: u64, len: u64) -> &[u8] {
        let from = (at - self.start()) as usize;
        &self.bytes[from..(from + len as usize).min(self.bytes.len())]
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.range(at, 8).try_into().unwrap_or_default())
    }

    pub(crate) fn set_word(&mut self, at: u64, value: u64) {
        let from = (at - self.start()) as usize;
        self.bytes[from..from + 8].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn set_bytes(&mut self, at: u64, bytes: &[u8]) {
        let from = (at - self.start()) as usize;
        if let Some(room) = self.bytes.get_mut(from..from + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    /// The words of the segment's header line, whatever they are worth.
    pub(crate) fn header_words(&self) -> [u64; 8] {
        std::array::from_fn(|i| self.word(self.start() + i as u64 * 8))
    }

    /// Makes the head of a run a segment of its own.
    pub(crate) fn plain_header(&mut self, which: &segment::Header, secret: &[u64; 2]) {
        for (i, word) in which.plain().words(secret).into_iter().enumerate() {
            self.set_word(self.start() + i as u64 * 8, word);
        }
    }

    pub(crate) fn header(&self, secret: &[u64; 2]) -> Option<segment::Header> {
        segment::Header::parse(&self.header_words(), secret)
    }

    /// Forgets everything from a place on.
    pub(crate) fn cut(&mut self, from: u64) {
        if from < self.end() {
            let start = self.start();
            self.bytes[from.saturating_sub(start) as usize..].fill(0);
        }
    }

    /// The record at a line, whatever its salt; `None` if its header does not hold.
    pub(crate) fn record_at(&self, at: u64) -> Option<Seen> {
        let header = Header::decode(self.range(at, LINE));
        if header.lines == 0 || !header.plausible(self.end() - at) {
            return None;
        }
        let len = LINE as usize + header.names_len();
        let mut room = [0; ENCODED_MAX];
        let own = room.get_mut(..len)?;
        own.copy_from_slice(self.range(at, len as u64).get(..len)?);
        header.checks(own).then_some(Seen { at, header })
    }

    /// The next record from `at` on that a segment with this header may have.
    pub(crate) fn next(&self, which: &segment::Header, mut at: u64, end: u64) -> Option<Seen> {
        while at + LINE <= end.min(self.end()) {
            let first = self.word(at);
            if (first >> 32) as u32 == which.salt as u32
                && let Some(seen) = self.record_at(at)
                && (seen.header.seq > which.activation_seq || seen.header.copy != 0)
            {
                return Some(seen);
            }
            at += LINE;
        }
        None
    }

    /// Where the walk goes on behind a record.
    pub(crate) fn after(&self, seen: &Seen) -> u64 {
        (seen.at + seen.header.lines as u64 * LINE).min(self.end())
    }

    /// All records up to `end`, as [`super::Walk`] would meet them.
    pub(crate) fn records<'a>(
        &'a self,
        which: &'a segment::Header,
        end: u64,
    ) -> impl Iterator<Item = Seen> + 'a {
        let mut at = self.start() + LINE;
        std::iter::from_fn(move || {
            let seen = self.next(which, at, end)?;
            at = self.after(&seen);
            Some(seen)
        })
    }

    pub(crate) fn key(&self, seen: &Seen) -> &[u8] {
        self.range(seen.at + LINE, seen.header.key_len as u64)
    }

    /// What of a record's value lies in this image (of a run only its beginning).
    fn value(&self, seen: &Seen) -> &[u8] {
        let from = seen.at + value_offset(seen.header.names_len());
        if from >= self.end() {
            return &[];
        }
        self.range(from, seen.header.value_len as u64)
    }

    /// Does the value hold? Of a run `body` is called with the place and length in `data` of each
    /// piece behind the first and feeds its bytes to the sum; false: it cannot be read.
    pub(crate) fn value_holds(
        &self,
        seen: &Seen,
        body: impl FnMut(Range<u64>, &mut Sum) -> bool,
    ) -> bool {
        if !seen.header.is(RUN) {
            return super::record::value_crc(self.value(seen)) == seen.header.value_crc;
        }
        let mut sum = Sum::new();
        sum.add(self.value(seen));
        let (names_len, len) = (seen.header.names_len(), seen.header.value_len as u64);
        let mut body = body;
        run::pieces(self.bytes.len() as u64, seen.at, names_len, len)
            .skip_while(|(place, _)| *place < self.end())
            .all(|(place, range)| body(place..place + range.len() as u64, &mut sum))
            && sum.value() == seen.header.value_crc
    }
}

/// The checksum of a value that comes in pieces.
pub(crate) struct Sum(crc_fast::Digest);

impl Sum {
    pub(crate) fn new() -> Sum {
        Sum(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}
