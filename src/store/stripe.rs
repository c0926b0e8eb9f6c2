//! A stripe under its latch: the only place where the index changes.
//!
//! A change is one step of three stores that a successor can finish or drop: the redo is armed,
//! the record becomes whole, the slot is stored. Whoever takes the latch, free or stolen, looks at
//! the redo first.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::owner::{self, Standing};
use super::{flush, growth, life, state};
use crate::arena::{Arena, Count, stripe, word};
use crate::error::{Error, Result};
use crate::index::{self, Slot, Table};
use crate::key::Key;
use crate::limits::{FLUSH_TRIES, GROWTH_TRIES, HEAD_BYTES, LINE, STRIPES};
use crate::log::{self, Lane, record, segment, space};
use crate::sys::latch::{self, Taken};
use crate::sys::map::Scratch;
use crate::sys::words;

/// The redo's lane when the record is a run of whole segments.
const NO_LANE: u64 = 0x7f;
const ARMED: u64 = 1;
/// Of the redo's record word: an offset in `data`, then the process slot of who armed it.
const RECORD_BITS: u32 = 40;
/// How often a reader looks whether a change is over before it asks whether its process lives.
const HALF_DONE_SPINS: u32 = 64;
/// Whoever may have other latches waits no longer for a further one.
const BESIDE: Duration = Duration::from_millis(2);

pub(super) struct Stripe<'a> {
    arena: &'a Arena,
    number: u64,
    at: u64,
    table: Cell<Table>,
    /// Its table calls for another one, which whoever lets go of it sees to.
    calls: Cell<bool>,
}

/// What the index has for a key.
pub(super) enum Found {
    Absent,
    Present(Current),
    /// Its record is there, but not as it was written.
    Damaged {
        slot_at: u64,
    },
}

/// The record that the index names for a key.
#[derive(Clone, Copy)]
pub(super) struct Current {
    pub(super) slot_at: u64,
    pub(super) slot: Slot,
    pub(super) header: record::Header,
    /// Unix ms, 0 = never.
    pub(super) expires_ms: u64,
    pub(super) standing: Standing,
}

impl Current {
    /// Is it the key's value? An error if nobody can say.
    #[inline]
    pub(super) fn is_alive(&self, arena: &Arena, now_ms: u64) -> Result<bool> {
        life::of(arena, &self.header, self.expires_ms, || self.standing, || now_ms).is_value(arena)
    }

    pub(super) fn lines(&self) -> u64 {
        self.header.lines as u64
    }
}

/// A change that is about to be made.
pub(super) struct Change {
    pub(super) slot_at: u64,
    pub(super) new_slot: u64,
    pub(super) record_at: u64,
    pub(super) seq: u64,
    /// `None` for a run.
    pub(super) lane: Option<u64>,
}

impl<'a> Stripe<'a> {
    /// Latches a hash's stripe to change it: no flush comes between a look and the change.
    // Always, and so the next two: a stripe passed back would go through memory.
    #[inline(always)]
    pub(super) fn latch(arena: &'a Arena, hash: u64) -> Result<Stripe<'a>> {
        for _ in 0..FLUSH_TRIES {
            let stripe = Stripe::latch_number(arena, index::stripe_of(hash))?;
            if !flush::is_due(arena) {
                return Ok(stripe);
            }
            drop(stripe);
            flush::settle(arena)?;
        }
        Err(arena.busy("a change of everything", None))
    }

    #[inline(always)]
    pub(super) fn latch_number(arena: &'a Arena, number: u64) -> Result<Stripe<'a>> {
        let cell = arena.meta.cell(arena.geometry.stripe(number) + stripe::LATCH);
        if !latch::try_acquire(cell, arena.peers.slot()) {
            contend(arena, cell)?;
        }
        Stripe::latched(arena, number)
    }

    /// The same for who waits no longer than this.
    pub(super) fn latch_within(
        arena: &'a Arena,
        number: u64,
        limit: Duration,
    ) -> Result<Option<Stripe<'a>>> {
        let cell = arena.meta.cell(arena.geometry.stripe(number) + stripe::LATCH);
        let taken = latch::acquire(cell, &arena.peers, limit);
        taken.map(|_| Stripe::latched(arena, number)).transpose()
    }

    /// Asks for the memory where a search for this hash begins: a hint.
    #[inline(always)]
    pub(super) fn prefetch(arena: &Arena, hash: u64) {
        if let Some(table) = Table::of(arena, index::stripe_of(hash)) {
            table.prefetch(&arena.index, hash);
        }
    }

    /// Asks for the record that the index has for it, once that is there: all of it if its value is
    /// wanted too.
    #[inline(always)]
    pub(super) fn prefetch_record(arena: &Arena, hash: u64, value: bool) {
        let Some(table) = Table::of(arena, index::stripe_of(hash)) else { return };
        table.candidates(&arena.index, hash, |_, slot| {
            arena.data.prefetch(slot.offset(), if value { slot.fetch_bytes() } else { HEAD_BYTES });
            Some(())
        });
    }

    /// Is a change of this hash's stripe under way, or was it when its process died?
    pub(super) fn is_half_done(arena: &Arena, hash: u64) -> bool {
        let at = arena.geometry.stripe(index::stripe_of(hash));
        arena.meta.load(at + stripe::REDO) & ARMED != 0
    }

    /// Did a process die in the middle of changing this key, and has nobody seen to it yet? The
    /// next taker of the latch finishes or drops the change, so until then what the index says
    /// is not for good.
    #[inline(always)]
    pub(super) fn is_left(arena: &Arena, hash: u64) -> bool {
        Stripe::is_half_done(arena, hash) && is_left_half_done(arena, hash)
    }

    /// Sees to what a dead process left half done of this key, for who may have latched another
    /// stripe and a lock. Whoever has this latch sees to it first of all, and may want next what
    /// the caller has: so not the latch is waited for, but that it is done.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_key(arena: &Arena, hash: u64) -> Result<()> {
        let (number, begun) = (index::stripe_of(hash), Instant::now());
        while Stripe::is_left(arena, hash) {
            if Stripe::latch_within(arena, number, BESIDE)?.is_some() {
                break;
            }
            if begun.elapsed() >= arena.operation_timeout {
                let cell = arena.meta.cell(arena.geometry.stripe(number) + stripe::LATCH);
                return Err(arena.busy("a part of the index", latch::owner(cell)));
            }
        }
        Ok(())
    }

    /// Sees to what a dead process left half done in this stripe, for who looks at all of it.
    pub(super) fn settle(arena: &Arena, number: u64) -> Result<()> {
        flush::see_to_left(arena)?;
        let redo = Redo::read(arena, number);
        match redo.is_armed() && redo.is_of_the_dead(arena) {
            true => Stripe::latch_number(arena, number).map(drop),
            false => Ok(()),
        }
    }

    /// The latch is ours: finish or drop what the last owner left, then look at the table.
    #[inline(always)]
    fn latched(arena: &'a Arena, number: u64) -> Result<Stripe<'a>> {
        let at = arena.geometry.stripe(number);
        let Some(table) = Table::read(&arena.meta, &arena.index, at) else {
            return Err(no_table(arena, at));
        };
        let (table, calls) = (Cell::new(table), Cell::new(false));
        let stripe = Stripe { arena, number, at, table, calls };
        if arena.meta.load(at + stripe::REDO) & ARMED != 0 {
            stripe.heal()?;
        }
        Ok(stripe)
    }

    pub(super) fn arena(&self) -> &'a Arena {
        self.arena
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn table(&self) -> Table {
        self.table.get()
    }

    /// Looks a key up; what it finds cannot go away while the latch is held.
    #[inline]
    pub(super) fn find(&self, key: &Key) -> Found {
        self.find_with(key, &mut Scratch::new())
    }

    /// The same; the record's header and names stay in `scratch`.
    #[inline(never)]
    pub(super) fn find_with(&self, key: &Key, scratch: &mut Scratch) -> Found {
        let arena = self.arena;
        self.table()
            .candidates(&arena.index, key.hash, |slot_at, slot| {
                let at = slot.offset();
                let header = log::read_header(arena, at, key.bytes.len(), scratch)?;
                if !log::is_of(&header, scratch, key) {
                    return None;
                }
                let holds = header.plausible(log::room_at(arena, at))
                    && (header.owner_len == 0 || log::read_names(arena, at, &header, scratch))
                    && header.checks(scratch.bytes());
                Some(match header.expires_ms() {
                    Some(expires_ms) if holds => {
                        let standing = match header.owner_len {
                            0 => Standing::Unowned,
                            _ => owner::standing(arena, &header, &scratch.bytes()[LINE as usize..]),
                        };
                        Found::Present(Current { slot_at, slot, header, expires_ms, standing })
                    }
                    _ => Found::Damaged { slot_at },
                })
            })
            .unwrap_or(Found::Absent)
    }

    /// The slot that names the record at this offset.
    pub(super) fn slot_of(&self, hash: u64, offset: u64) -> Option<(u64, Slot)> {
        self.table().candidates(&self.arena.index, hash, |at, slot| {
            (slot.offset() == offset).then_some((at, slot))
        })
    }

    /// A slot for a new key, in a larger table if need be.
    pub(super) fn vacancy(&self, hash: u64) -> Result<u64> {
        let index = &self.arena.index;
        for _ in 0..GROWTH_TRIES {
            let Some(slot_at) = self.table().vacancy(index, hash) else {
                growth::make_way(self)?;
                continue;
            };
            if index.load(slot_at) != index::EMPTY && self.table().is_long_way(index, hash) {
                self.store(stripe::LONG_WAYS, self.load(stripe::LONG_WAYS).wrapping_add(1));
            }
            return Ok(slot_at);
        }
        Err(growth::full(self.arena))
    }

    pub(super) fn arm(&self, change: &Change) {
        let meta = &self.arena.meta;
        meta.store(self.at + stripe::REDO_SLOT, change.new_slot);
        let writer = (self.arena.peers.slot() as u64) << RECORD_BITS;
        meta.store(self.at + stripe::REDO_RECORD, change.record_at | writer);
        meta.store(self.at + stripe::REDO_SEQ, change.seq);
        let lane = change.lane.unwrap_or(NO_LANE);
        meta.store(self.at + stripe::REDO, ARMED | lane << 1 | (change.slot_at / 8) << 16);
    }

    /// The record is whole: the index names it.
    pub(super) fn publish(&self, change: &Change) {
        self.arena.index.store(change.slot_at, change.new_slot);
    }

    /// Nothing is left for a successor to finish.
    pub(super) fn disarm(&self) {
        self.arena.meta.store(self.at + stripe::REDO, 0);
    }

    /// Empties a slot without a record that says so: only for what time alone may drop.
    pub(super) fn drop_slot(&self, slot_at: u64) {
        self.forget_slot(slot_at);
        self.arena.meta.add(word::KEYS, 1u64.wrapping_neg());
    }

    /// The same for what is not counted: records of owners, and what was flushed.
    pub(super) fn forget_slot(&self, slot_at: u64) {
        self.arena.index.store(slot_at, Table::emptied(&self.arena.index, slot_at));
        self.count(-1);
    }

    fn load(&self, word: u64) -> u64 {
        self.arena.meta.load(self.at + word)
    }

    fn store(&self, word: u64, value: u64) {
        self.arena.meta.store(self.at + word, value);
    }

    /// Slots came into use, or went out of it. The table calls for another one now and then, not at
    /// each key, so that not everybody begins with it.
    #[inline]
    pub(super) fn count(&self, change: i64) {
        if change == 0 {
            return;
        }
        let (used, table) = (self.load(stripe::USED).wrapping_add_signed(change), self.table());
        self.store(stripe::USED, used);
        if change > 0 && (table.is_crowded(used) || table.is_worn(self.load(stripe::LONG_WAYS))) {
            self.calls.set(used.is_multiple_of((table.len() / 64).max(1)));
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.table().is_crowded(self.load(stripe::USED))
    }

    /// All of it is in another table now: one store moves it there.
    pub(super) fn replace_table(&self, new: Table, used: u64) {
        self.store(stripe::TABLE, new.word);
        self.store(stripe::USED, used);
        self.store(stripe::LONG_WAYS, 0);
        self.table.set(new);
    }

    /// Finishes or drops the change that a dead owner was making. Every step can be repeated.
    #[cold]
    fn heal(&self) -> Result<()> {
        let (arena, at) = (self.arena, self.at);
        let redo = Redo::read(arena, self.number);
        let (slot_at, new_slot, record_at) = (redo.slot_at(), redo.new_slot, redo.record_at());
        let seq = arena.meta.load(at + stripe::REDO_SEQ);
        // The lane first: only then is it settled whether the record is part of the log.
        let _lane = match redo.lane() {
            NO_LANE => None,
            lane if lane < arena.geometry.all_lanes() => Some(Lane::acquire_number(arena, lane)?),
            _ => None,
        };
        // A table never changes while a redo is armed, so the slot is in it, or the word is damaged.
        if self.table().place().contains(&slot_at)
            && let Some(header) = log::is_whole(arena, record_at, seq)?
        {
            let uses = |slot: u64| (Slot(slot).offset() != 0) as i64;
            self.count(uses(new_slot) - uses(arena.index.load(slot_at)));
            arena.index.store(slot_at, new_slot);
            if header.is(record::RUN) {
                let first = segment::of(arena, record_at);
                space::publish_run(arena, first, segment::run_length(arena, first));
            }
        }
        arena.meta.store(at + stripe::REDO, 0);
        arena.count(Count::Healed);
        Ok(())
    }
}

/// What a stripe's redo says.
struct Redo {
    word: u64,
    new_slot: u64,
    record: u64,
}

impl Redo {
    fn read(arena: &Arena, number: u64) -> Redo {
        let at = arena.geometry.stripe(number);
        let load = |word| arena.meta.load(at + word);
        // The word first: when it is armed and its process dead, the others stand still.
        let word = load(stripe::REDO);
        Redo { word, new_slot: load(stripe::REDO_SLOT), record: load(stripe::REDO_RECORD) }
    }

    fn is_armed(&self) -> bool {
        self.word & ARMED != 0
    }

    fn lane(&self) -> u64 {
        self.word >> 1 & 0x7f
    }

    fn slot_at(&self) -> u64 {
        (self.word >> 16) * 8
    }

    fn record_at(&self) -> u64 {
        self.record & ((1 << RECORD_BITS) - 1)
    }

    /// The process slot of who armed it; what is no slot comes from damage.
    fn writer(&self) -> u32 {
        (self.record >> RECORD_BITS) as u32
    }

    /// Or may be: who claims a dead one's slot has its byte for a moment before it has healed.
    fn is_of_the_dead(&self, arena: &Arena) -> bool {
        let writer = self.writer();
        (writer as u64) < arena.geometry.slots
            && (!arena.peers.alive(writer) || arena.is_claimed(writer))
    }

    /// May it change what is known of a key with this hash?
    fn concerns(&self, arena: &Arena, hash: u64) -> bool {
        let old = arena.index.contains(self.slot_at(), 8).then(|| arena.index.load(self.slot_at()));
        Slot(self.new_slot).is_for(hash) || old.is_some_and(|old| Slot(old).is_for(hash))
    }
}

/// A change of a living process is left to it: whoever reads what was there before it was first.
/// One that is over when this returns is seen by the look that follows.
#[cold]
fn is_left_half_done(arena: &Arena, hash: u64) -> bool {
    for _ in 0..HALF_DONE_SPINS {
        words::pause();
        if !Stripe::is_half_done(arena, hash) {
            return false;
        }
    }
    let redo = Redo::read(arena, index::stripe_of(hash));
    redo.is_armed() && redo.concerns(arena, hash) && redo.is_of_the_dead(arena)
}

/// The stripe at `at` of `meta`, which is latched, has no table that could be: it is let go of.
#[cold]
fn no_table(arena: &Arena, at: u64) -> Error {
    latch::release(arena.meta.cell(at + stripe::LATCH));
    Error::Damaged(arena.dir.join("meta").display().to_string())
}

/// Waits for a stripe's latch.
#[cold]
fn contend(arena: &Arena, cell: &words::Cell) -> Result<()> {
    if COMPUTING.get() {
        return Err(Error::Invalid(
            "the function of an update called the store: it must only compute".into(),
        ));
    }
    let taken = latch::acquire(cell, &arena.peers, arena.operation_timeout)
        .ok_or_else(|| arena.busy("a part of the index", latch::owner(cell)))?;
    if taken == Taken::Stolen {
        arena.count(Count::LatchStolen);
    }
    Ok(())
}

thread_local! {
    /// This thread has a stripe's latch and runs a caller's function under it.
    static COMPUTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a caller's function under a latch, so that its attempt to take another one is noticed.
pub(super) fn computing<T>(work: impl FnOnce() -> T) -> T {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            COMPUTING.set(false);
        }
    }
    COMPUTING.set(true);
    let _over = Over;
    work()
}

/// Lets go of the latch, however the work under it ends.
impl Drop for Stripe<'_> {
    #[inline]
    fn drop(&mut self) {
        latch::release(self.arena.meta.cell(self.at + stripe::LATCH));
        if self.calls.get() {
            growth::relieve(self.arena, self.number);
        }
    }
}

/// Heals everything that bears the number of a dead slot: lanes, stripes, segments, locks.
pub(super) fn heal_dead(arena: &Arena, dead: impl Fn(u32) -> bool + Copy) -> Result<()> {
    for lane in 0..arena.geometry.all_lanes() {
        let cell = arena.meta.cell(arena.geometry.lane(lane));
        if latch::owner(cell).is_some_and(dead) {
            Lane::heal_dead(arena, lane);
            latch::release(cell);
        }
    }
    for number in 0..STRIPES {
        let at = arena.geometry.stripe(number);
        let cell = arena.meta.cell(at + stripe::LATCH);
        if latch::owner(cell).is_some_and(dead) {
            drop(Stripe::latched(arena, number)?);
            continue;
        }
        // Somebody else has the latch and is at it, or could not end it. Whoever bears the number
        // from now on must not be taken for the one who armed this.
        let redo = Redo::read(arena, number);
        if redo.is_armed() && dead(redo.writer()) {
            match Stripe::latch_number(arena, number) {
                Err(Error::Busy(_)) => {}
                healed => drop(healed?),
            }
        }
    }
    space::heal(arena, dead);
    // What these guard needs no healing: it can be begun anew.
    for at in [word::ROOM_LATCH, word::SWEEP_LATCH, word::GROWTH_LATCH] {
        let cell = arena.meta.cell(at);
        if latch::owner(cell).is_some_and(dead) {
            latch::release(cell);
        }
    }
    crate::lock::heal(arena, dead);
    state::heal(arena, dead)
}
