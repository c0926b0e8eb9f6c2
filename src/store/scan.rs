//! Going over what is stored: page by page with a cursor, and a page of a range in key order.
//!
//! The order of a scan is the order of the keys' hashes, which no write, sweep or growth changes.
//! So a cursor is a hash: everything below it is done. The top 22 bits of the hash are known from
//! stripe and slot alone:
//!
//! ```text
//! 63      56 55         42 41                  0
//! | stripe 8 | tag 14     | in the record only  |
//! ```
//!
//! A page takes the slots of one stripe whose tags are next, sorts them, and reads the records of
//! each tag in the order of their whole hashes. It takes no latch and keeps nothing anywhere but
//! in private memory, so it costs writers nothing, and an abandoned scan costs nobody anything.
//!
//! A key keeps its slot as long as it is there and the stripe's table stays. So one look at all
//! slots under one table word finds every key that was there all the time, and once. If the table
//! word changes, the stripe is begun anew from the cursor.

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::atomic::Ordering;

use super::look::{self, Look};
use super::stripe::Stripe;
use super::{Item, Store};
use crate::arena::{Arena, Count};
use crate::error::{Error, Result};
use crate::index::{BELOW_TAG, Slot, TAGS, Table};
use crate::key::Key;
use crate::limits::{HEAD_BYTES, LINE, PAGE_DEFAULT, RANGE_MAX, READ_RETRIES, SCAN_LOOKS, STRIPES};
use crate::log;
use crate::log::record::{OWNER, TOMBSTONE};
use crate::sys::map::Scratch;
use crate::sys::words::fence;

/// The cursor of a scan that has seen everything. One that begins is 0.
pub const SCAN_DONE: u64 = u64::MAX;

/// How many records are asked for ahead of the one that is read: the memory answers about so many
/// at a time.
const AHEAD: usize = 12;
/// How many of them the disk is asked for at once, where they are not in memory.
const DISK_AHEAD: usize = 64;
/// Bytes of the disk that are read at once then: whoever looks at all keys soon wants the neighbours.
const READ_AROUND: u64 = 128 << 10;
/// A look at a stripe's slots takes at least this part of the tags, so that a scan looks at each
/// slot at most so many times.
const LOOKS_PER_STRIPE: u64 = 16;
/// So many slots passed over cost about as much as one record read.
const SLOTS_PER_LOOK: u64 = 64;

/// Says whether an entry is wanted.
pub type Filter<'a> = dyn Fn(&[u8], &Item) -> bool + 'a;

/// What a page of a scan gives.
#[derive(Clone, Copy, Default)]
pub struct Scan<'a> {
    /// Only keys that begin with these bytes; the others are read, but not given.
    pub prefix: &'a [u8],
    /// Only entries for which it says true. Asked before the value is read, and again after; it
    /// may call the store.
    pub filter: Option<&'a Filter<'a>>,
    /// Entries in a page at most; 0 = 1000.
    pub limit: u64,
    /// Read the values too.
    pub values: bool,
}

/// What a page of a range gives: the keys of [`from`](Range::from) to [`to`](Range::to), in the
/// order of their bytes.
#[derive(Clone, Copy)]
pub struct Range<'a> {
    /// Where it begins.
    pub from: Bound<&'a [u8]>,
    /// Where it ends.
    pub to: Bound<&'a [u8]>,
    /// Of these only keys that begin with these bytes.
    pub prefix: &'a [u8],
    /// Entries in the page at most; 0 = 1000, at most 10,000.
    pub limit: u64,
    /// The last keys first.
    pub reverse: bool,
    /// Read the values too.
    pub values: bool,
}

impl Default for Range<'_> {
    fn default() -> Self {
        let all = Bound::Unbounded;
        Range { from: all, to: all, prefix: &[], limit: 0, reverse: false, values: false }
    }
}

/// One key and what is known of its value, as they were at one moment of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Version, flags, lifetime, length.
    pub item: Item,
    /// The value, if it was asked for.
    pub value: Option<&'a [u8]>,
}

/// What a page came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Entries given.
    pub given: u64,
    /// Records that are not what was written, passed over. Their keys cannot be told.
    pub damaged: u64,
    /// The caller ended it.
    pub stopped: bool,
    /// Of a range: there are more keys behind (or, in reverse, before) this one, the last of the
    /// page.
    pub next: Option<Vec<u8>>,
}

/// Takes the entries of a page, one by one; `Break` ends the page behind this entry. Nothing is
/// held while it runs, so it may call the store.
pub type Visit<'a> = dyn FnMut(&Entry) -> ControlFlow<()> + 'a;

impl Store {
    /// Gives a page of all keys, in an order that says nothing, and moves the cursor behind them.
    ///
    /// `cursor` is 0 at the beginning and [`SCAN_DONE`] at the end; every value between is a place
    /// in the scan, for the life of the store, in any process, whatever happened since. Divided by
    /// 2^64 it is the share that is done. After an error it stands behind the last entry given.
    ///
    /// A key that is there from the beginning of a scan to its end is given exactly once, whatever
    /// is written, deleted, swept or grown meanwhile. One that comes or goes meanwhile may be given
    /// or not. What is given is whole, checked and belongs to its key; of a key that is
    /// overwritten it is one of its values.
    ///
    /// A page ends after `limit` entries, or after looking at that many or 10,000 records, so it
    /// may be empty while more follow. It takes no latch, but for records that are overwritten
    /// again and again while they are read. It looks at the slots of a 256th of the index, 0.1 ms
    /// in a store of ten million keys, so pages of a hundred entries or more are cheaper an entry.
    /// Memory: 8 bytes for each of these slots, and one value.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// use std::ops::ControlFlow;
    /// for n in 0..100 {
    ///     store.set(format!("user:{n}").as_bytes(), b"here", 0, Ttl::Never)?;
    /// }
    /// let (mut cursor, mut seen) = (0, 0);
    /// while cursor != SCAN_DONE {
    ///     let page = Scan { prefix: b"user:", limit: 30, values: true, ..Scan::default() };
    ///     store.scan(&mut cursor, &page, &mut |entry| {
    ///         assert_eq!(entry.value, Some(&b"here"[..]));
    ///         seen += 1;
    ///         ControlFlow::Continue(())
    ///     })?;
    /// }
    /// assert_eq!(seen, 100);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn scan(&self, cursor: &mut u64, scan: &Scan, visit: &mut Visit) -> Result<Page> {
        page(self.arena()?, cursor, scan, visit)
    }

    /// Gives a page of a range of keys, in the order of their bytes.
    ///
    /// The store keeps no order of keys: each page is one pass over *all* keys, however small the
    /// range, some tenths of a second for a million of them, and keeps `limit` keys in memory
    /// meanwhile. Take large pages of few ranges; to go over everything take [`Store::scan`]. The
    /// next page begins behind [`Page::next`].
    ///
    /// What holds for the keys of a scan holds for those of a page. With `values` each is read
    /// after the pass, so a key that went meanwhile is left out, and the page is shorter.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// use std::ops::{Bound, ControlFlow};
    /// for key in [&b"a1"[..], b"b1", b"b2", b"b3", b"c1"] {
    ///     store.set(key, b"", 0, Ttl::Never)?;
    /// }
    /// let (mut keys, mut from) = (Vec::new(), None);
    /// loop {
    ///     let from_here = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    ///     let range = Range { from: from_here, prefix: b"b", limit: 2, ..Range::default() };
    ///     let page = store.range(&range, &mut |entry| {
    ///         keys.push(entry.key.to_vec());
    ///         ControlFlow::Continue(())
    ///     })?;
    ///     from = page.next;
    ///     if from.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(keys, [b"b1", b"b2", b"b3"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn range(&self, range: &Range, visit: &mut Visit) -> Result<Page> {
        range_page(self.arena()?, range, visit)
    }

    /// Counts the keys that begin with `prefix`, by one pass over all keys; a key that comes or
    /// goes meanwhile is counted or not. ([`Store::stats`] has the number of all keys at once.)
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"user:1", b"", 0, Ttl::Never)?;
    /// store.set(b"user:2", b"", 0, Ttl::Never)?;
    /// store.set(b"other", b"", 0, Ttl::Never)?;
    /// assert_eq!(store.count_keys(b"user:")?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_keys(&self, prefix: &[u8]) -> Result<u64> {
        let all = Scan { prefix, limit: u64::MAX, ..Scan::default() };
        Ok(self.scan(&mut 0, &all, &mut |_| ControlFlow::Continue(()))?.given)
    }
}

/// Where a hash is in a scan. The last two share a place, because the one behind is the end.
fn place_of(hash: u64) -> u64 {
    hash.min(SCAN_DONE - 1)
}

/// The place behind all hashes with these top bits.
fn behind(top: u64) -> u64 {
    if top + 1 < STRIPES * TAGS { (top + 1) << BELOW_TAG } else { SCAN_DONE }
}

fn page(arena: &Arena, cursor: &mut u64, scan: &Scan, visit: &mut Visit) -> Result<Page> {
    let mut pass = Pass {
        arena,
        scan,
        limit: if scan.limit == 0 { PAGE_DEFAULT } else { scan.limit },
        work: 0,
        page: Page::default(),
        keys: None,
        slots: Vec::new(),
        group: Vec::new(),
        scratch: Scratch::new(),
        key_len: 0,
        value: Vec::new(),
        last: (0, Vec::new()),
    };
    let mut vain = 0;
    while *cursor != SCAN_DONE && !pass.is_over() {
        let before = *cursor;
        pass.look(cursor, visit)?;
        vain = if *cursor == before { vain + 1 } else { 0 };
        if vain > READ_RETRIES {
            return Err(Error::Busy(format!(
                "a part of the index moved {vain} times while a scan looked at it; go on from the \
                 same cursor"
            )));
        }
    }
    arena.count_many(Count::DamagedReads, pass.page.damaged);
    Ok(pass.page)
}

/// A page in the making.
struct Pass<'a> {
    arena: &'a Arena,
    scan: &'a Scan<'a>,
    limit: u64,
    /// Records looked at, and what is worth as much.
    work: u64,
    page: Page,
    /// Keys in a stripe, as the last look let guess.
    keys: Option<u64>,
    /// Tag and place of each slot that is next, in one word, so that sorting is cheap.
    slots: Vec<u64>,
    /// Hash and place of each slot with the tag that is read.
    group: Vec<(u64, u64)>,
    /// Header and key last read.
    scratch: Scratch,
    key_len: usize,
    value: Vec<u8>,
    /// Hash and key last given where several keys have one tag: one that moves to another slot
    /// meanwhile is not given again.
    last: (u64, Vec<u8>),
}

/// What is behind a slot.
enum Seen {
    /// A record of this hash; its key is in the scratch, its value, if wanted, in `value`.
    Entry(u64, Item),
    /// Nothing that is alive and wanted.
    Nothing,
    Damaged,
}

/// How far the keys of one tag were given.
#[derive(PartialEq)]
enum Given {
    All,
    /// The page ended before the last of them.
    Some,
    /// The table was replaced: what is left must be looked up again.
    Moved,
}

/// Tag and place of a slot in one word.
const PLACE_BITS: u32 = 64 - TAGS.trailing_zeros();

impl Pass<'_> {
    fn is_full(&self) -> bool {
        self.page.stopped || self.page.given >= self.limit
    }

    fn is_over(&self) -> bool {
        self.is_full() || self.work >= SCAN_LOOKS.max(self.limit)
    }

    /// Was this table replaced? Asked after what was seen in it, before that is believed.
    #[inline]
    fn has_moved(&self, which: u64, table: &Table) -> bool {
        fence(Ordering::Acquire);
        Table::of(self.arena, which).is_none_or(|now| now.word != table.word)
    }

    /// One look at the slots of the cursor's stripe: gives what is next there and moves on.
    fn look(&mut self, cursor: &mut u64, visit: &mut Visit) -> Result<()> {
        let arena = self.arena;
        let (which, from) = ((*cursor >> BELOW_TAG) / TAGS, (*cursor >> BELOW_TAG) % TAGS);
        Stripe::settle(arena, which)?;
        let Some(table) = Table::of(arena, which) else {
            return Err(Error::Damaged(arena.dir.join("meta").display().to_string()));
        };
        // Somewhat more tags than are likely to be enough.
        let wanted = self.limit.saturating_sub(self.page.given).saturating_mul(TAGS + TAGS / 4);
        let many = (wanted / self.keys.unwrap_or(table.len()).max(1)).max(TAGS / LOOKS_PER_STRIPE);
        let to = from.saturating_add(many).min(TAGS);
        self.slots.clear();
        let room = table.len() as usize;
        self.slots.try_reserve(room).map_err(|_| Error::no_memory(8 * room as u64))?;
        table.tagged(&arena.index, from..to, |place, tag| {
            self.slots.push((tag << PLACE_BITS) | (place / 8));
        });
        self.keys = Some(self.slots.len() as u64 * TAGS / (to - from));
        self.work += table.len() / SLOTS_PER_LOOK;
        if self.has_moved(which, &table) {
            return Ok(());
        }
        self.slots.sort_unstable();
        (0..AHEAD).for_each(|i| self.fetch(i));
        let mut at = 0;
        while at < self.slots.len() {
            let tag = self.slots[at] >> PLACE_BITS;
            let rest = self.slots[at..].iter();
            let end = at + rest.take_while(|slot| *slot >> PLACE_BITS == tag).count();
            let given = self.give(which * TAGS + tag, at..end, &table, cursor, visit)?;
            if given != Given::All || self.is_over() {
                return Ok(());
            }
            at = end;
        }
        *cursor = behind(which * TAGS + to - 1);
        Ok(())
    }

    fn place(&self, i: usize) -> u64 {
        (self.slots[i] & ((1 << PLACE_BITS) - 1)) * 8
    }

    /// Asks for the record behind a slot that is read soon. Now and then one stands for those that come
    /// with it: if it is not in memory, the disk is asked for them and their neighbours.
    #[inline]
    fn fetch(&self, i: usize) {
        if i >= self.slots.len() {
            return;
        }
        let (data, slot) = (&self.arena.data, self.slot(i));
        data.prefetch(
            slot.offset(),
            if self.scan.values { slot.fetch_bytes() } else { HEAD_BYTES },
        );
        if i.is_multiple_of(DISK_AHEAD) && data.is_cold(slot.offset()) {
            let soon = (i..self.slots.len()).take(DISK_AHEAD).map(|i| self.slot(i).offset());
            soon.filter(|at| data.is_cold(*at))
                .for_each(|at| data.read_ahead(at / READ_AROUND * READ_AROUND, READ_AROUND));
        }
    }

    fn slot(&self, i: usize) -> Slot {
        Slot(self.arena.index.load(self.place(i)))
    }

    /// Gives the keys with the hash bits `top` from the cursor on, in the order of their hashes.
    #[inline]
    fn give(
        &mut self,
        top: u64,
        slots: std::ops::Range<usize>,
        table: &Table,
        cursor: &mut u64,
        visit: &mut Visit,
    ) -> Result<Given> {
        let alone = slots.len() == 1;
        let mut damaged = 0;
        self.group.clear();
        for i in slots {
            self.fetch(i + AHEAD);
            let place = self.place(i);
            if alone {
                self.group.push((0, place));
                break;
            }
            match self.read(place, top, false)? {
                Seen::Entry(hash, _) => self.group.push((hash, place)),
                Seen::Nothing => {}
                Seen::Damaged => damaged += 1,
            }
        }
        self.group.sort_unstable();
        for k in 0..self.group.len() {
            let (expected, place) = self.group[k];
            // Two keys of one hash share a place in the order: no page ends between them.
            let is_twin = |k: usize| match (self.group.get(k.wrapping_sub(1)), self.group.get(k)) {
                (Some(a), Some(b)) => place_of(a.0) == place_of(b.0),
                _ => false,
            };
            if self.page.stopped || self.is_full() && !is_twin(k) {
                return Ok(Given::Some);
            }
            let twin_follows = is_twin(k + 1);
            let seen = self.read_wanted(place, top)?;
            if self.has_moved(top / TAGS, table) {
                return Ok(Given::Moved);
            }
            let (hash, item) = match seen {
                Seen::Entry(hash, item) => (hash, item),
                Seen::Nothing => continue,
                Seen::Damaged => {
                    damaged += 1;
                    continue;
                }
            };
            if place_of(hash) < *cursor {
                continue;
            }
            let key = &self.scratch.bytes()[LINE as usize..][..self.key_len];
            if !alone {
                // Another hash came into this slot: it belongs to a key that was not there before.
                if hash != expected || (self.last.0 == hash && self.last.1 == key) {
                    continue;
                }
                self.last.0 = hash;
                self.last.1.clear();
                self.last.1.extend_from_slice(key);
            }
            *cursor = place_of(hash) + !twin_follows as u64;
            self.page.given += 1;
            let value = self.scan.values.then_some(self.value.as_slice());
            self.page.stopped = visit(&Entry { key, item, value }).is_break();
        }
        self.page.damaged += damaged;
        *cursor = behind(top);
        Ok(Given::All)
    }

    /// Reads what is behind a slot, its value only if prefix and filter want it.
    #[inline]
    fn read_wanted(&mut self, place: u64, top: u64) -> Result<Seen> {
        let sifted = !self.scan.prefix.is_empty() || self.scan.filter.is_some();
        let mut with_value = self.scan.values && !sifted;
        loop {
            let seen = self.read(place, top, with_value)?;
            let Seen::Entry(_, item) = &seen else { return Ok(seen) };
            if sifted {
                let key = &self.scratch.bytes()[LINE as usize..][..self.key_len];
                let filter = self.scan.filter;
                if !key.starts_with(self.scan.prefix) || filter.is_some_and(|f| !f(key, item)) {
                    return Ok(Seen::Nothing);
                }
            }
            if with_value == self.scan.values {
                return Ok(seen);
            }
            // What comes now may be a later write: it is sifted too.
            with_value = true;
        }
    }

    #[inline]
    fn read(&mut self, place: u64, top: u64, with_value: bool) -> Result<Seen> {
        self.work += 1;
        for _ in 0..READ_RETRIES {
            if let Some(seen) = self.read_once(place, top, with_value)? {
                return Ok(seen);
            }
        }
        // Whoever is overtaken again and again reads where nobody can overtake.
        let _still = Stripe::latch_number(self.arena, top / TAGS)?;
        Ok(self.read_once(place, top, with_value)?.unwrap_or(Seen::Damaged))
    }

    /// One look at what is behind a slot; `None` if it moved meanwhile.
    #[inline]
    fn read_once(&mut self, place: u64, top: u64, with_value: bool) -> Result<Option<Seen>> {
        let arena = self.arena;
        let slot = Slot(arena.index.load(place));
        if !slot.has_tag(top % TAGS) {
            return Ok(Some(Seen::Nothing));
        }
        let unmoved = || {
            fence(Ordering::Acquire);
            slot.same_place(Slot(arena.index.load(place)))
        };
        let header = log::read_checked(arena, slot.offset(), &mut self.scratch)
            .filter(|header| header.hash >> BELOW_TAG == top && !header.is(TOMBSTONE));
        let Some(header) = header else { return Ok(unmoved().then_some(Seen::Damaged)) };
        if header.is(OWNER) {
            return Ok(unmoved().then_some(Seen::Nothing));
        }
        let out = with_value.then_some(&mut self.value);
        Ok(match look::take(arena, place, slot, header, &mut self.scratch, out) {
            Ok(Look::Hit(item)) => {
                self.key_len = header.key_len as usize;
                Some(Seen::Entry(header.hash, item))
            }
            Ok(Look::Miss) => Some(Seen::Nothing),
            // Or the record of its owner is.
            Ok(Look::Damaged) | Err(Error::Damaged(_)) => Some(Seen::Damaged),
            Ok(Look::Again) => None,
            Err(error) => return Err(error),
        })
    }
}

/// A key of a range page, ordered as the page is.
struct Kept {
    key: Vec<u8>,
    item: Item,
    reverse: bool,
}

impl Kept {
    fn order(&self, key: &[u8]) -> Order {
        let order = self.key.as_slice().cmp(key);
        if self.reverse { order.reverse() } else { order }
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Kept) -> Order {
        self.order(&other.key)
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Kept) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept {}

/// One pass over all keys; a heap keeps those that come first.
fn range_page(arena: &Arena, range: &Range, visit: &mut Visit) -> Result<Page> {
    let limit = match range.limit {
        0 => PAGE_DEFAULT as usize,
        limit @ 1..=RANGE_MAX => limit as usize,
        limit => {
            return Err(Error::Invalid(format!(
                "a page of a range has at most {RANGE_MAX} entries, {limit} were asked for; take \
                 the next ones from where the page ends"
            )));
        }
    };
    let mut kept: BinaryHeap<Kept> = BinaryHeap::new();
    let (mut more, mut no_memory) = (false, false);
    let all = Scan { prefix: range.prefix, limit: u64::MAX, ..Scan::default() };
    let found = page(arena, &mut 0, &all, &mut |entry| {
        if (range.from, range.to).contains(entry.key) {
            let is_full = kept.len() == limit;
            more |= is_full;
            if !is_full || kept.peek().is_some_and(|last| last.order(entry.key).is_gt()) {
                if is_full {
                    kept.pop();
                }
                if kept.try_reserve(1).is_err() {
                    no_memory = true;
                    return ControlFlow::Break(());
                }
                let (key, item) = (entry.key.to_vec(), entry.item);
                kept.push(Kept { key, item, reverse: range.reverse });
            }
        }
        ControlFlow::Continue(())
    })?;
    if no_memory {
        return Err(Error::no_memory((kept.len() * size_of::<Kept>()) as u64));
    }
    let mut page = Page { damaged: found.damaged, ..Page::default() };
    let mut value = Vec::new();
    let mut kept = kept.into_sorted_vec().into_iter().peekable();
    while let Some(Kept { key, mut item, .. }) = kept.next() {
        let mut is_there = true;
        if range.values {
            match look::read(arena, &Key::new(&key, &arena.hash)?, &mut value) {
                Ok(Some(now)) => item = now.item,
                Ok(None) => is_there = false,
                Err(Error::Damaged(_)) => {
                    page.damaged += 1;
                    is_there = false;
                }
                Err(error) => return Err(error),
            }
        }
        if is_there {
            page.given += 1;
            let value = range.values.then_some(value.as_slice());
            page.stopped = visit(&Entry { key: &key, item, value }).is_break();
        }
        if page.stopped || kept.peek().is_none() {
            page.next = (more || kept.peek().is_some()).then_some(key);
            break;
        }
    }
    Ok(page)
}
