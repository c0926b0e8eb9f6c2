//! Larger tables: what sizes there are, where in the file they find room, how they are filled.
//!
//! The file `index` has no list of what is free: a place is free if no stripe's table word names
//! it. Who makes a table larger (one at a time, the room `store` sees to that) takes the first gap
//! between the tables that is wide enough, fills it, and stores the table word. A death before that
//! store leaves nothing behind; after it the old place is a gap, for another stripe's next table.
//! Each stripe leaves about what the others need, so the gaps stay at an eighth of the tables. They
//! are not given back to the filesystem: a reader that was on its way there would read a hole, and
//! that ends a process when the filesystem is a full tmpfs. As it is, such a reader finds strangers
//! or nothing, and then sees that the table word has changed.

use std::ops::Range;

use super::{EMPTY, Slot, Table, tag};
use crate::error::Result;
use crate::limits::{LINE, PROBE_NEXT};
use crate::sys::map::Map;

/// The codes of the smallest and the largest size; a word of zeros names no table.
pub(super) const CODE_MIN: u64 = 3;
pub(super) const CODE_MAX: u64 = 4 * 32;
/// How far ahead of its use a record is fetched, buckets.
const AHEAD: u64 = 4;

/// The number of buckets that a code stands for: four to seven times a power of two.
#[inline]
pub(super) fn size(code: u64) -> u64 {
    ((4 + (code & 3)) << (code >> 2)) >> 2
}

/// The code that is so many steps larger. From 4 on tables grow to 5, 6, 8, 10, 12, 16, ...: by a
/// third at most, so that none is ever much too large, and by a quarter on average, so that a key
/// moves less than five times on its way to any number of keys.
fn larger(code: u64, steps: u64) -> Option<u64> {
    (code..=CODE_MAX)
        .filter(|c| *c == code || (c & 3 != 3 && size(*c) > size(*c - 1)))
        .nth(steps as usize)
}

/// The word of a table: offset in buckets 40 | code of its size 8 | count of changes 16.
pub(super) fn word(at: u64, code: u64, changes: u64) -> u64 {
    (at / LINE) << 24 | code << 16 | changes & 0xffff
}

/// The first gap of so many bytes between the tables, or the place behind them.
pub(crate) fn find_gap(tables: &[Table], bytes: u64) -> u64 {
    let mut end = 0;
    for place in in_order(tables) {
        if place.start.saturating_sub(end) >= bytes {
            break;
        }
        end = end.max(place.end);
    }
    end
}

/// Does every table have its place for itself?
pub(crate) fn are_apart(tables: &[Table]) -> bool {
    in_order(tables).is_sorted_by(|a, b| a.end <= b.start)
}

fn in_order(tables: &[Table]) -> Vec<Range<u64>> {
    let mut places: Vec<_> = tables.iter().map(Table::place).collect();
    places.sort_unstable_by_key(|place| place.start);
    places
}

impl Table {
    /// Is it time for a larger one? Beyond this searches get long, and soon some key has no room.
    #[inline]
    pub(crate) fn is_crowded(&self, used: u64) -> bool {
        used >= self.len() * 13 / 16
    }

    fn code(&self) -> u64 {
        self.word >> 16 & 0xff
    }

    /// The table that is so many sizes larger and takes this one's place once its word is stored;
    /// `place` finds it one of so many bytes. `None`: there is no such size.
    pub(crate) fn successor(
        &self,
        steps: u64,
        place: impl FnOnce(u64) -> Result<u64>,
    ) -> Result<Option<Table>> {
        let Some(code) = larger(self.code(), steps) else { return Ok(None) };
        let at = place(size(code) * LINE)?;
        Ok(Some(Table { at, buckets: size(code), word: word(at, code, self.word + 1) }))
    }

    /// Calls `each` with the slots in use and their buckets until it says stop, and `soon` with
    /// each some time before that.
    pub(crate) fn walk(
        &self,
        index: &Map,
        soon: impl Fn(Slot),
        mut each: impl FnMut(u64, Slot) -> Option<()>,
    ) -> Option<()> {
        let used = |bucket| {
            let line = index.line(self.at + bucket * LINE);
            line.into_iter().map(Slot).filter(|slot| slot.offset() != 0)
        };
        for bucket in 0..self.buckets + AHEAD {
            if bucket < self.buckets {
                used(bucket).for_each(&soon);
            }
            if let Some(bucket) = bucket.checked_sub(AHEAD) {
                for slot in used(bucket) {
                    each(bucket, slot)?;
                }
            }
        }
        Some(())
    }

    /// Takes over what `old` has, in a place that is nobody's yet; `hash_of` reads the hash from
    /// the record that a slot names. Gives the number of slots in use; `None`: some key found no
    /// room. The caller holds the stripe, so that `old` stands still.
    pub(crate) fn take_over(
        &self,
        old: &Table,
        index: &Map,
        soon: impl Fn(Slot),
        mut hash_of: impl FnMut(Slot) -> Option<u64>,
    ) -> Option<u64> {
        self.slots().for_each(|slot_at| index.store(slot_at, EMPTY));
        let mut used = 0;
        old.walk(index, soon, |bucket, slot| {
            if let Some(hash) = hash_of(slot).filter(|hash| old.may_have(bucket, slot, *hash)) {
                index.store(self.vacancy(index, hash)?, slot.0);
                used += 1;
                return Some(());
            }
            // Whose record it was is not to be known any more: all who may ask for it find it
            // damaged, as before.
            for home in self.homes_like(&old.homes_of(index, bucket, slot), old) {
                if !self.reaches(index, home, slot) {
                    index.store(self.vacancy_from(index, home)?, slot.0);
                    used += 1;
                }
            }
            Some(())
        })?;
        Some(used)
    }

    /// Could a key with this hash have this slot in this bucket?
    fn may_have(&self, bucket: u64, slot: Slot, hash: u64) -> bool {
        let at = self.at + bucket * LINE;
        slot.has_tag(tag(hash)) && self.probe(self.home(hash)).any(|probed| probed == at)
    }

    /// The homes of the keys that may be in this bucket with this slot: those from which a search
    /// comes to it.
    fn homes_of(&self, index: &Map, bucket: u64, slot: Slot) -> Vec<u64> {
        (0..=PROBE_NEXT.min(self.buckets - 1))
            .map(|back| (bucket + self.buckets - back) % self.buckets)
            .filter(|home| self.reaches(index, *home, slot))
            .collect()
    }

    /// The homes here of keys that had those homes in `old`.
    fn homes_like(&self, homes: &[u64], old: &Table) -> Vec<u64> {
        let least = |home: u64| (home << 32).div_ceil(old.buckets);
        let mut all: Vec<u64> = homes
            .iter()
            .flat_map(|home| self.home(least(*home))..=self.home(least(home + 1) - 1))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Does a search from this home meet the slot?
    fn reaches(&self, index: &Map, home: u64, slot: Slot) -> bool {
        for at in self.probe(home) {
            let line = index.line(at);
            if line.iter().any(|word| slot.same_place(Slot(*word))) {
                return true;
            }
            if line.contains(&EMPTY) {
                return false;
            }
        }
        false
    }

    /// Does a search for this hash, found nowhere, go all the way? Slots that were emptied in full
    /// buckets end no search, so a table in which keys come and go wears out.
    pub(crate) fn is_long_way(&self, index: &Map, hash: u64) -> bool {
        self.probe(self.home(hash)).all(|at| !index.line(at).contains(&EMPTY))
    }

    /// Is it time to make it anew after so many of those?
    pub(crate) fn is_worn(&self, long_ways: u64) -> bool {
        long_ways >= self.len() / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::stripe;

    /// Hashes of one stripe, spread over its table.
    fn hash(i: u64) -> u64 {
        let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29) & !(0xff << 56) | 5 << 56
    }

    fn offset(i: u64) -> u64 {
        (i + 1) * 64
    }

    fn table(index: &Map, at: u64, code: u64) -> Table {
        let meta = Map::heap(64);
        meta.store(stripe::TABLE, word(at, code, 7));
        Table::read(&meta, index, 0).unwrap()
    }

    fn next(table: &Table, steps: u64, at: u64) -> Table {
        table.successor(steps, |_| Ok(at)).unwrap().unwrap()
    }

    fn is_found(table: &Table, index: &Map, i: u64) -> bool {
        let is_it = |_, slot: Slot| (slot.offset() == offset(i)).then_some(());
        table.candidates(index, hash(i), is_it).is_some()
    }

    /// Puts keys in until no more find room; gives their number.
    fn fill(table: &Table, index: &Map) -> u64 {
        for i in 0.. {
            let Some(at) = table.vacancy(index, hash(i)) else { return i };
            // Frequency bits of all kinds.
            index.store(at, Slot::new(hash(i), offset(i), 1, 0).0 | i & 3);
        }
        0
    }

    #[test]
    fn sizes_grow_by_a_third_at_most_and_words_name_them() {
        let sizes: Vec<u64> = (0..14).map(|steps| size(larger(CODE_MIN, steps).unwrap())).collect();
        assert_eq!(sizes, [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40]);
        assert_eq!((size(CODE_MAX), larger(CODE_MAX, 1)), (1 << 32, None));
        let index = Map::heap(64 << 10);
        let table = table(&index, 64, larger(CODE_MIN, 5).unwrap());
        assert_eq!((table.place(), table.len()), (64..64 + 6 * 64, 48));
        let next = next(&table, 1, 1024);
        assert_eq!(next.place(), 1024..1024 + 8 * 64);
        let again = super::tests::next(&next, 0, 64);
        assert_eq!((again.place(), again.len()), (64..64 + 8 * 64, 64));
        assert!(again.word & 0xffff != table.word & 0xffff && next.word != again.word);
        assert!(!table.is_crowded(38) && table.is_crowded(39));
    }

    #[test]
    fn every_key_moves_at_every_size_and_keeps_its_frequency() {
        let index = Map::heap(256 << 10);
        for code in (0..14).map(|steps| larger(CODE_MIN, steps).unwrap()) {
            let old = table(&index, 0, code);
            old.slots().for_each(|at| index.store(at, EMPTY));
            let keys = fill(&old, &index);
            let by_offset = |slot: Slot| Some(hash(slot.offset() / 64 - 1));
            // With keys this even the first size does; with others a later one.
            let moved = (1..4).find_map(|steps| {
                let new = next(&old, steps, old.place().end);
                Some((new, new.take_over(&old, &index, |_| {}, by_offset)?))
            });
            let (new, used) = moved.unwrap();
            assert_eq!(used, keys);
            for i in 0..keys {
                assert!(is_found(&old, &index, i) && is_found(&new, &index, i), "{code} {i}");
                let same = Slot::new(hash(i), offset(i), 1, 0).0 | i & 3;
                assert!(new.slots().any(|at| index.load(at) == same));
            }
            assert!(keys >= old.len() * 3 / 4, "{keys} keys in {}", old.len());
        }
    }

    #[test]
    fn a_slot_whose_hash_is_lost_stays_where_its_key_looks_for_it_over_many_growths() {
        let index = Map::heap(1 << 20);
        for unreadable in [|_: Slot| None, |slot: Slot| Some(slot.0 << 20)] {
            let mut old = table(&index, 0, larger(CODE_MIN, 3).unwrap());
            old.slots().for_each(|at| index.store(at, EMPTY));
            for i in 0..20 {
                let at = old.vacancy(&index, hash(i)).unwrap();
                index.store(at, Slot::new(hash(i), offset(i), 1, 0).0);
            }
            let lost = |slot: Slot| (slot.offset() / 64).is_multiple_of(5);
            let hash_of = |slot: Slot| match lost(slot) {
                true => unreadable(slot),
                false => Some(hash(slot.offset() / 64 - 1)),
            };
            for turn in 0..12 {
                // To and fro.
                let at = if turn % 2 == 0 { 512 << 10 } else { 0 };
                let new = next(&old, 1, at);
                let used = new.take_over(&old, &index, |_| {}, hash_of).unwrap();
                assert!((0..20).all(|i| is_found(&new, &index, i)), "growth {turn}");
                assert!(used >= 20 && used <= 20 + new.len() / 2, "{used} slots");
                old = new;
            }
        }
    }

    #[test]
    fn a_table_in_which_keys_come_and_go_wears_out_and_is_as_new_when_made_anew() {
        let index = Map::heap(256 << 10);
        let old = table(&index, 0, larger(CODE_MIN, 17).unwrap());
        let keys = old.len() * 3 / 4;
        for i in 0..keys * 20 {
            if let Some(gone) = i.checked_sub(keys) {
                let is_it = |at, slot: Slot| (slot.offset() == offset(gone)).then_some(at);
                let at = old.candidates(&index, hash(gone), is_it).unwrap();
                index.store(at, Table::emptied(&index, at));
            }
            let at = old.vacancy(&index, hash(i)).unwrap();
            index.store(at, Slot::new(hash(i), offset(i), 1, 0).0);
        }
        let long = |table: &Table| {
            (0..1000).filter(|i| table.is_long_way(&index, hash(1 << 40 | *i))).count()
        };
        let new = next(&old, 0, 128 << 10);
        new.take_over(&old, &index, |_| {}, |slot| Some(hash(slot.offset() / 64 - 1))).unwrap();
        assert!(long(&old) > 500 && long(&new) < 20, "{} and {}", long(&old), long(&new));
    }

    #[test]
    fn a_walk_announces_each_slot_before_it_comes() {
        let index = Map::heap(64 << 10);
        let old = table(&index, 0, larger(CODE_MIN, 9).unwrap());
        let keys = fill(&old, &index);
        let (soon, mut met) = (std::cell::Cell::new(0), 0);
        let announced = |_| soon.set(soon.get() + 1);
        let done = old.walk(&index, announced, |_, _| {
            met += 1;
            (soon.get() >= met).then_some(())
        });
        assert!(done.is_some());
        assert_eq!((soon.get(), met), (keys, keys));
    }

    #[test]
    fn gaps_are_found_and_tables_that_overlap_are_noticed() {
        let index = Map::heap(64 << 10);
        let at = |at, steps| table(&index, at, larger(CODE_MIN, steps).unwrap());
        // 4 buckets at 0, 2 at 512, 1 at 1024.
        let mut tables = vec![at(1024, 0), at(0, 3), at(512, 1)];
        assert_eq!(find_gap(&tables, 256), 256);
        assert_eq!(find_gap(&tables, 384), 640);
        assert_eq!(find_gap(&tables, 385), 1088);
        assert_eq!(find_gap(&[], 64), 0);
        assert!(are_apart(&tables));
        tables.push(at(192, 1));
        assert!(!are_apart(&tables));
    }
}
