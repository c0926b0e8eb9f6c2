//! Hash to location: a table of 64-byte buckets, cut into stripes by the top bits of the hash.
//!
//! The only mutation is one store of one slot, made under the stripe's latch by the room `store`;
//! this room finds slots and makes their words. It never reads a record: a slot whose tag matches
//! is a candidate, and the caller compares the whole key.
//!
//! A slot (8 bytes):
//!
//! ```text
//! 63        50 49                    16 15      10 9           2 1        0
//! | tag 14    | offset 34 (x 64 bytes) | class 6  | incarnation | frequency |
//! ```
//!
//! 0 is a slot that ends a search; 1 is one that was emptied in a bucket that others overflowed.
//! Of the hash, bits 56-63 choose the stripe, 42-55 are the tag, 0-31 the place in the table.

mod growth;

pub(crate) use growth::{are_apart, find_gap};

use std::ops::Range;

use crate::arena::{Arena, stripe};
use crate::limits::{BUCKET_SLOTS, LINE, PROBE_BUCKETS, PROBE_NEXT, STRIPES};
use crate::sys::map::Map;
use growth::{CODE_MAX, CODE_MIN, size, word};

/// Ends a search.
pub(crate) const EMPTY: u64 = 0;
/// Empty, but the search goes on behind it.
pub(crate) const VACATED: u64 = 1;

const FREQUENCY: u64 = 3;

/// Bits of a hash below those that a slot and its stripe tell by themselves.
pub(crate) const BELOW_TAG: u32 = 42;
const TAG_BITS: u32 = 14;
/// How many different tags there are.
pub(crate) const TAGS: u64 = 1 << TAG_BITS;

/// One word of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u64);

impl Slot {
    pub(crate) fn new(hash: u64, offset: u64, lines: u64, incarnation: u32) -> Slot {
        let class = lines.min(63);
        Slot(
            tag(hash) << 50
                | (offset / LINE) << 16
                | class << 10
                | (incarnation as u64 & 0xff) << 2,
        )
    }

    /// Where the record is, bytes into `data`; 0 = nowhere.
    #[inline]
    pub(crate) fn offset(self) -> u64 {
        ((self.0 >> 16) & ((1 << 34) - 1)) * LINE
    }

    /// Bytes worth fetching at once.
    #[inline]
    pub(crate) fn fetch_bytes(self) -> u64 {
        (self.0 >> 10 & 63) * LINE
    }

    #[inline]
    fn tag_bits(self) -> u64 {
        self.0 >> (64 - TAG_BITS)
    }

    #[inline]
    pub(crate) fn has_tag(self, wanted: u64) -> bool {
        self.tag_bits() == wanted && self.offset() != 0
    }

    /// May it name the record of a key with this hash?
    pub(crate) fn is_for(self, hash: u64) -> bool {
        self.has_tag(tag(hash))
    }

    /// Equal but for the frequency bits, which readers change.
    #[inline]
    pub(crate) fn same_place(self, other: Slot) -> bool {
        (self.0 ^ other.0) & !FREQUENCY == 0
    }

    /// How often it was read, as far as anybody noted: 0 to 3.
    #[inline]
    pub(crate) fn frequency(self) -> u64 {
        self.0 & FREQUENCY
    }

    /// Read so often.
    #[inline]
    pub(crate) fn with_frequency(self, times: u64) -> Slot {
        Slot(self.0 & !FREQUENCY | times.min(FREQUENCY))
    }

    /// Read as often as another, as far as anybody noted.
    pub(crate) fn with_frequency_of(self, other: Slot) -> Slot {
        Slot(self.0 & !FREQUENCY | other.0 & FREQUENCY)
    }

    /// The mark that a rebuild leaves on a slot that stands for a deletion.
    pub(crate) fn marked(self, mark: bool) -> Slot {
        Slot(self.0 & !FREQUENCY | if mark { FREQUENCY } else { 0 })
    }

    pub(crate) fn is_marked(self) -> bool {
        self.0 & FREQUENCY == FREQUENCY && self.offset() != 0
    }
}

#[inline]
fn tag(hash: u64) -> u64 {
    hash >> BELOW_TAG & (TAGS - 1)
}

/// The stripe of a hash.
#[inline]
pub(crate) fn stripe_of(hash: u64) -> u64 {
    hash >> 56
}

/// A stripe's table as its word described it at one moment.
///
/// Its number of buckets is one of those that `growth` names. A key's home is the bucket at its place in
/// the order of the hash's low half, so that a larger table keeps the order of a smaller one.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    at: u64,
    buckets: u64,
    /// The word itself: if it changes, a search that missed must start over.
    pub(crate) word: u64,
}

impl Table {
    #[inline]
    pub(crate) fn of(arena: &Arena, which: u64) -> Option<Table> {
        Table::read(&arena.meta, &arena.index, arena.geometry.stripe(which))
    }

    /// Has the stripe this table yet? Else what was found in it, or not found, says nothing.
    #[inline]
    pub(crate) fn is_still(&self, arena: &Arena, which: u64) -> bool {
        arena.meta.load(arena.geometry.stripe(which) + stripe::TABLE) == self.word
    }

    /// `None` if the word leads outside the index: it is damaged.
    #[inline]
    pub(crate) fn read(meta: &Map, index: &Map, stripe_at: u64) -> Option<Table> {
        let word = meta.load(stripe_at + stripe::TABLE);
        let (at, code) = ((word >> 24) * LINE, word >> 16 & 0xff);
        if !(CODE_MIN..=CODE_MAX).contains(&code) || !index.contains(at, size(code) * LINE) {
            return None;
        }
        Some(Table { at, buckets: size(code), word })
    }

    /// Where its buckets are in the index, bytes.
    pub(crate) fn place(&self) -> Range<u64> {
        self.at..self.at + self.buckets * LINE
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> u64 {
        self.buckets * BUCKET_SLOTS
    }

    /// Asks for the bucket where a search for this hash begins.
    #[inline]
    pub(crate) fn prefetch(&self, index: &Map, hash: u64) {
        index.prefetch(self.at + self.home(hash) * LINE, LINE);
    }

    /// Byte offsets of all slots, for walks.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u64> + use<> {
        self.place().step_by(8)
    }

    #[inline]
    fn home(&self, hash: u64) -> u64 {
        ((hash & 0xffff_ffff) * self.buckets) >> 32
    }

    /// Byte offsets of the buckets that a key with this home may be in. The steps widen, so that
    /// keys of neighbouring homes soon part ways: bucket by bucket, a table of 5,000 would have a
    /// neighbourhood without room at two thirds of its load.
    #[inline(always)]
    fn probe(self, home: u64) -> impl Iterator<Item = u64> {
        let widen = (self.buckets > PROBE_NEXT) as u64;
        let mut next = home;
        (0..PROBE_BUCKETS.min(self.buckets)).map(move |i| {
            let at = self.at + next * LINE;
            next += 1 + i * widen;
            if next >= self.buckets {
                next -= self.buckets;
            }
            at
        })
    }

    /// Calls `found` with each occupied slot that has one of these tags: its place in the index and
    /// its tag.
    #[inline]
    pub(crate) fn tagged(&self, index: &Map, tags: Range<u64>, mut found: impl FnMut(u64, u64)) {
        let many = tags.end - tags.start;
        for bucket in self.place().step_by(LINE as usize) {
            for (s, word) in index.line(bucket).into_iter().enumerate() {
                let slot = Slot(word);
                if slot.tag_bits().wrapping_sub(tags.start) < many && slot.offset() != 0 {
                    found(bucket + s as u64 * 8, slot.tag_bits());
                }
            }
        }
    }

    /// Calls `found` with each candidate (its place in the index and its word) until it says stop.
    #[inline(always)]
    pub(crate) fn candidates<T>(
        &self,
        index: &Map,
        hash: u64,
        mut found: impl FnMut(u64, Slot) -> Option<T>,
    ) -> Option<T> {
        let wanted = tag(hash);
        for at in self.probe(self.home(hash)) {
            let line = index.line(at);
            for (s, word) in line.into_iter().enumerate() {
                let slot = Slot(word);
                if slot.has_tag(wanted)
                    && let Some(done) = found(at + s as u64 * 8, slot)
                {
                    return Some(done);
                }
            }
            if line.contains(&EMPTY) {
                return None;
            }
        }
        None
    }

    /// A free slot for a hash; `None` if all the buckets that it may be in are full.
    pub(crate) fn vacancy(&self, index: &Map, hash: u64) -> Option<u64> {
        self.vacancy_from(index, self.home(hash))
    }

    fn vacancy_from(&self, index: &Map, home: u64) -> Option<u64> {
        self.probe(home).find_map(|at| {
            let free = index.line(at).iter().position(|w| *w == EMPTY || *w == VACATED)?;
            Some(at + free as u64 * 8)
        })
    }

    /// What to write into an occupied slot to empty it: searches may have to go on behind it.
    pub(crate) fn emptied(index: &Map, slot_at: u64) -> u64 {
        if index.line(slot_at & !63).contains(&EMPTY) { EMPTY } else { VACATED }
    }
}

/// Bytes of a new index.
pub(crate) const NEW_BYTES: u64 = STRIPES * LINE;

/// Writes the table words of a new index: a bucket for each stripe.
pub(crate) fn lay_out(meta: &Map, stripe_at: impl Fn(u64) -> u64) {
    for which in 0..STRIPES {
        let word = word(which * size(CODE_MIN) * LINE, CODE_MIN, 0);
        meta.store(stripe_at(which) + stripe::TABLE, word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(map: &Map, code: u64) -> Table {
        let meta = Map::heap(64);
        meta.store(stripe::TABLE, word(0, code, 0));
        Table::read(&meta, map, 0).unwrap()
    }

    fn find(table: &Table, map: &Map, hash: u64, offset: u64) -> Option<u64> {
        table.candidates(map, hash, |at, slot| (slot.offset() == offset).then_some(at))
    }

    #[test]
    fn a_slot_says_what_was_put_in() {
        let slot = Slot::new(u64::MAX, (1 << 40) - 64, 17, 0x1ff);
        assert_eq!((slot.offset(), slot.fetch_bytes()), ((1 << 40) - 64, 17 * 64));
        assert!(slot.same_place(Slot(slot.0 | 1)) && !slot.same_place(Slot(slot.0 ^ 4)));
        assert!(slot.marked(true).is_marked() && !slot.marked(true).marked(false).is_marked());
        let (hash, at) = (0x0123_4567_89ab_cdef, 0x1_2345 * LINE);
        let slot = Slot::new(hash, at, 100, 0x1ff);
        assert_eq!(slot.0, 0x2344_0001_2345_fffc);
        assert_eq!((slot.fetch_bytes(), stripe_of(hash)), (63 * LINE, 0x01));
        assert!(slot.is_for(hash) && slot.is_for(hash ^ 1 << 41) && !slot.is_for(hash ^ 1 << 42));
        assert!(!slot.is_for(hash ^ 1 << 55) && slot.is_for(hash ^ 1 << 56));
        assert!(!Slot::new(hash, 0, 1, 1).is_for(hash), "a slot without a record is for nobody");
        assert!(!Slot::new(hash, 0, 1, 1).marked(true).is_marked());
    }

    #[test]
    fn a_slot_counts_to_three_and_keeps_the_rest() {
        let slot = Slot::new(7 << 42, 64, 1, 1);
        let counts = [0, 1, 2, 3, 9].map(|times| slot.with_frequency(times).frequency());
        assert_eq!(counts, [0, 1, 2, 3, 3]);
        assert!(slot.with_frequency(3).same_place(slot));
        let other = Slot::new(9 << 42, 128, 1, 1).with_frequency(2);
        assert_eq!(slot.with_frequency(1).with_frequency_of(other), slot.with_frequency(2));
        assert!(!slot.with_frequency(2).is_marked() && slot.with_frequency(3).is_marked());
    }

    #[test]
    fn a_table_word_that_leads_outside_is_no_table() {
        let (meta, index) = (Map::heap(64), Map::heap(1024));
        for bad in [0, word(64, 16, 0), word(0, CODE_MAX + 1, 0), word(1 << 45, 0, 0), u64::MAX] {
            meta.store(stripe::TABLE, bad);
            assert!(Table::read(&meta, &index, 0).is_none());
        }
    }

    #[test]
    fn keys_that_overflow_their_bucket_are_found_while_neighbours_come_and_go() {
        let map = Map::heap(16 * 64);
        let table = table(&map, 16);
        let hash = |i: u64| (i + 1) << 42 | 0xf000_0000; // same home bucket, the last: wraps
        let mut places = Vec::new();
        for i in 0..96 {
            let at = table.vacancy(&map, hash(i)).unwrap();
            map.store(at, Slot::new(hash(i), (i + 1) * 64, 1, 0).0);
            places.push(at);
        }
        assert_eq!(table.vacancy(&map, hash(96)), None, "twelve full buckets are full");
        for i in (0..96).step_by(2) {
            map.store(places[i as usize], Table::emptied(&map, places[i as usize]));
        }
        for i in 0..96u64 {
            let found = find(&table, &map, hash(i), (i + 1) * 64);
            assert_eq!(found.is_some(), i % 2 == 1, "key {i}");
        }
        assert!(table.vacancy(&map, hash(96)).is_some());
    }
}
