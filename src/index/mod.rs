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

use std::ops::Range;

use crate::arena::{Arena, stripe};
use crate::limits::{BUCKET_SLOTS, LINE, PROBE_BUCKETS, STRIPES};
use crate::sys::map::Map;

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
#[derive(Clone, Copy)]
pub(crate) struct Table {
    at: u64,
    mask: u64,
    /// The word itself: if it changes, a search that missed must start over.
    pub(crate) word: u64,
}

impl Table {
    /// The word of a table of `buckets` (a power of two) at byte `at` of the index.
    pub(crate) fn word_for(at: u64, buckets: u64) -> u64 {
        (at / 64) << 24 | (buckets.trailing_zeros() as u64) << 16
    }

    #[inline]
    pub(crate) fn of(arena: &Arena, which: u64) -> Option<Table> {
        Table::read(&arena.meta, &arena.index, arena.geometry.stripe(which))
    }

    /// `None` if the word leads outside the index: it is damaged.
    #[inline]
    pub(crate) fn read(meta: &Map, index: &Map, stripe_at: u64) -> Option<Table> {
        let word = meta.load(stripe_at + stripe::TABLE);
        let (at, log2) = ((word >> 24) * 64, word >> 16 & 0xff);
        if log2 > 34 || !index.contains(at, 64 << log2) {
            return None;
        }
        Some(Table { at, mask: (1 << log2) - 1, word })
    }

    #[inline]
    fn bucket(&self, hash: u64, i: u64) -> u64 {
        self.at + ((hash.wrapping_add(i)) & self.mask) * 64
    }

    /// Asks for the bucket where a search for this hash begins.
    #[inline]
    pub(crate) fn prefetch(&self, index: &Map, hash: u64) {
        index.prefetch(self.bucket(hash, 0), LINE);
    }

    /// Byte offsets of all slots, for walks.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u64> + use<> {
        let at = self.at;
        (0..(self.mask + 1) * BUCKET_SLOTS).map(move |i| at + i * 8)
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> u64 {
        (self.mask + 1) * BUCKET_SLOTS
    }

    /// Calls `found` with each occupied slot that has one of these tags: its place in the index and
    /// its tag.
    #[inline]
    pub(crate) fn tagged(&self, index: &Map, tags: Range<u64>, mut found: impl FnMut(u64, u64)) {
        let many = tags.end - tags.start;
        for bucket in (0..=self.mask).map(|i| self.at + i * LINE) {
            for (s, word) in index.line(bucket).into_iter().enumerate() {
                let slot = Slot(word);
                if slot.tag_bits().wrapping_sub(tags.start) < many && slot.offset() != 0 {
                    found(bucket + s as u64 * 8, slot.tag_bits());
                }
            }
        }
    }

    /// Calls `found` with each candidate (its place in the index and its word) until it says stop.
    #[inline]
    pub(crate) fn candidates<T>(
        &self,
        index: &Map,
        hash: u64,
        mut found: impl FnMut(u64, Slot) -> Option<T>,
    ) -> Option<T> {
        let wanted = tag(hash);
        for i in 0..PROBE_BUCKETS {
            let at = self.bucket(hash, i);
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
        (0..PROBE_BUCKETS).find_map(|i| {
            let at = self.bucket(hash, i);
            let free = index.line(at).iter().position(|w| *w == EMPTY || *w == VACATED)?;
            Some(at + free as u64 * 8)
        })
    }

    /// What to write into an occupied slot to empty it: searches may have to go on behind it.
    pub(crate) fn emptied(index: &Map, slot_at: u64) -> u64 {
        if index.line(slot_at & !63).contains(&EMPTY) { EMPTY } else { VACATED }
    }
}

/// Writes the table words of a new index.
pub(crate) fn lay_out(meta: &Map, stripe_at: impl Fn(u64) -> u64, buckets: u64) {
    for which in 0..STRIPES {
        meta.store(
            stripe_at(which) + stripe::TABLE,
            Table::word_for(which * buckets * 64, buckets),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(map: &Map, buckets: u64) -> Table {
        let meta = Map::heap(64);
        meta.store(stripe::TABLE, Table::word_for(0, buckets));
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
    }

    #[test]
    fn a_table_word_that_leads_outside_is_no_table() {
        let (meta, index) = (Map::heap(64), Map::heap(1024));
        for bad in [Table::word_for(64, 16), 40 << 16, u64::MAX] {
            meta.store(stripe::TABLE, bad);
            assert!(Table::read(&meta, &index, 0).is_none());
        }
    }

    #[test]
    fn keys_that_overflow_their_bucket_are_found_while_neighbours_come_and_go() {
        let map = Map::heap(16 * 64);
        let table = table(&map, 16);
        let hash = |i: u64| (i + 1) << 42 | 14; // same home bucket, near the end: wraps
        let mut places = Vec::new();
        for i in 0..64 {
            let at = table.vacancy(&map, hash(i)).unwrap();
            map.store(at, Slot::new(hash(i), (i + 1) * 64, 1, 0).0);
            places.push(at);
        }
        assert_eq!(table.vacancy(&map, hash(64)), None, "eight full buckets are full");
        for i in (0..64).step_by(2) {
            map.store(places[i as usize], Table::emptied(&map, places[i as usize]));
        }
        for i in 0..64u64 {
            let found = find(&table, &map, hash(i), (i + 1) * 64);
            assert_eq!(found.is_some(), i % 2 == 1, "key {i}");
        }
        assert!(table.vacancy(&map, hash(64)).is_some());
    }
}
