//! One segment: each record in it is dropped, kept, or appended again elsewhere.

use std::cell::OnceCell;

use super::choose::{self, Age};
use super::{count_expired, evict, sync, unless_pinned};
use crate::arena::{Arena, Count, segment as row, word};
use crate::error::{Error, Result};
use crate::index::Slot;
use crate::key::{Key, Kind};
use crate::lock;
use crate::log::record::{
    self, ASSUMES, COMPRESSED, ENDED_MS, FOR_EVER, Header, OWNER, RUN, TOMBSTONE,
};
use crate::log::segment::{self, ACTIVE, DRAINED, SEALED, SWEEPING};
use crate::log::space::Need;
use crate::log::{self, Lane, Walk, Walked};
use crate::store::life::{self, Life};
use crate::store::owner;
use crate::store::stripe::{Change, Stripe};

/// A lane's segment in which nothing is alive is ended after this long, so that it can be freed.
const RETIRE_MS: u64 = 60_000;
/// If what only shadows was more than one part of so many of a segment, or half of what is not alive
/// there, older ones must go.
const SHADOW_PARTS: u64 = 20;

/// What a visit is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Task {
    /// What has expired leaves the index; the rest is counted.
    Reap,
    /// Nothing stays: what is needed is appended again elsewhere.
    Empty,
    /// The same, but what nobody reads is not needed.
    Evict,
}

impl Task {
    /// Is the segment to be empty at the end?
    fn empties(self) -> bool {
        self != Task::Reap
    }
}

/// How far one visit that empties a segment goes.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// Lines looked at.
    pub(super) lines: u64,
}

impl Budget {
    /// To the end.
    pub(super) const ALL: Budget = Budget { lines: u64::MAX };
}

/// What a visit came to.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) expired: u64,
    pub(super) records: u64,
    /// Records that are still needed here.
    stay: u64,
    live_lines: u64,
    /// Lines of what stays, or was appended again, only because it shadows.
    shadow_lines: u64,
    /// Something waits for older segments to go.
    waits: bool,
    /// Lines of it.
    pub(super) waiting_lines: u64,
    /// When the next record here may be dropped; `None` = not by time.
    next_look_ms: Option<u64>,
    /// The walk came to the end of the segment.
    pub(super) ended: bool,
    /// There was no room for what had to be moved.
    pub(super) no_room: bool,
    /// Nothing is left: it is on its way to being free.
    pub(super) drained: bool,
}

/// Visits one segment; `None` if it is not to be had now.
pub(super) fn visit(
    arena: &Arena,
    number: u64,
    task: Task,
    age: &Age,
    budget: Budget,
) -> Result<Option<Outcome>> {
    let state = segment::state(arena, number);
    match state.kind() {
        ACTIVE if task == Task::Reap => {
            let mut visit = Visit::new(arena, number, task, age);
            let Some(outcome) = unless_pinned(visit.walk(Budget::ALL).map(Some))? else {
                return Ok(None);
            };
            count_expired(arena, outcome.expired);
            let old = segment::header(arena, number)
                .is_some_and(|h| h.activated_ms.saturating_add(RETIRE_MS) < arena.now_ms());
            if old && outcome.records > 0 && outcome.live_lines == 0 {
                choose::retire(arena, number)?;
            }
            Ok(Some(outcome))
        }
        SEALED => {
            let mine = state.to(SWEEPING, arena.peers.slot());
            if !segment::change(arena, number, state, mine) {
                return Ok(None);
            }
            let at = arena.geometry.segment(number);
            let hint = segment::live_hint(arena, number);
            // Before the walk, so that an earlier end that comes meanwhile is seen the next time.
            arena.meta.store(at + row::NEXT_LOOK_MS, u64::MAX);
            // A run is never moved.
            let task = match task {
                Task::Empty if choose::is_run(arena, number) => Task::Reap,
                task => task,
            };
            let mut visit = Visit::new(arena, number, task, age);
            let mut outcome = unless_pinned(visit.walk(budget).map(Some));
            match &mut outcome {
                Ok(Some(done)) if done.ended && done.stay == 0 => {
                    done.drained = true;
                    arena.meta.store(at + row::ROUND, sync::next_round(arena));
                    segment::change(arena, number, mine, mine.to(DRAINED, 0));
                    arena.meta.store(word::DIRTY, 1);
                    arena.count(Count::Drained);
                }
                done => {
                    match done {
                        Ok(Some(done)) => remember(arena, number, task, done, hint, age),
                        // Not looked at to the end: to be looked at again.
                        _ => arena.meta.store(at + row::NEXT_LOOK_MS, 0),
                    }
                    segment::change(arena, number, mine, mine.to(SEALED, 0));
                }
            }
            if let Ok(Some(done)) = &outcome {
                count_expired(arena, done.expired);
                let over = segment::used_lines(arena, number).saturating_sub(hint);
                let much = done.shadow_lines > segment::capacity(arena) / SHADOW_PARTS;
                if task.empties() && (much || 2 * done.shadow_lines > over.max(1)) {
                    arena.meta.store(word::AGE_PRESSURE, 1);
                }
            }
            outcome
        }
        _ => Ok(None),
    }
}

/// Leaves the hints by which the next lap knows whether to come here again.
fn remember(arena: &Arena, number: u64, task: Task, done: &Outcome, hint: u64, age: &Age) {
    let at = arena.geometry.segment(number);
    if task.empties() && !done.ended {
        arena.meta.store(at + row::NEXT_LOOK_MS, 0);
        return;
    }
    // Added, not stored: what changed meanwhile counts too. A hint that comes out too low brings
    // the sweep here again, one too high would keep it away.
    let correction = done.live_lines.wrapping_sub(hint);
    arena.meta.add(at + row::LIVE, correction);
    arena.meta.add(word::LIVE_LINES, correction);
    if let Some(next) = done.next_look_ms {
        arena.meta.min(at + row::NEXT_LOOK_MS, next);
    }
    if arena.meta.load(at + row::EVICTED_UNTIL) == 0 {
        let waits_for = if done.waits { age.oldest_beside(number) } else { u64::MAX };
        arena.meta.store(at + row::OLDEST_SEEN, waits_for);
    }
}

/// What is to become of a record.
enum Fate {
    Alive,
    /// Nobody can read it any more.
    Over,
    /// The same, but who has its lock from before an end must find that it was ended.
    InSight,
}

/// A visit under way.
struct Visit<'a> {
    arena: &'a Arena,
    number: u64,
    task: Task,
    age: &'a Age,
    now: u64,
    /// The clock may be wrong: until then nothing is dropped on its word; 0 = it is trusted.
    doubt_until: u64,
    settled_until: OnceCell<u64>,
    /// Do other segments have copies that a rebuild found?
    found_copies: OnceCell<bool>,
    outcome: Outcome,
    /// Key and owner of the record looked at.
    names: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Visit<'a> {
    fn new(arena: &'a Arena, number: u64, task: Task, age: &'a Age) -> Visit<'a> {
        let (now, hold) = (arena.now_ms(), arena.meta.load(word::HOLD_RECLAIM_UNTIL));
        Visit {
            arena,
            number,
            task,
            age,
            now,
            doubt_until: if hold > now { hold } else { 0 },
            settled_until: OnceCell::new(),
            found_copies: OnceCell::new(),
            outcome: Outcome::default(),
            names: Vec::new(),
            value: Vec::new(),
        }
    }

    fn walk(&mut self, budget: Budget) -> Result<Outcome> {
        let (arena, number) = (self.arena, self.number);
        let Some(header) = segment::header(arena, number) else {
            // Zeroed by a sweep that died: nothing is in it. Anything else is damage, and damage
            // is never a reason to give space back.
            self.outcome.ended = true;
            if !segment::is_blank(arena, number) {
                self.outcome.stay = 1;
                self.outcome.live_lines = segment::capacity(arena);
            }
            return Ok(std::mem::take(&mut self.outcome));
        };
        segment::read_ahead(arena, number);
        let mut walk = Walk::new(arena, number, &header, arena.data.usable());
        if self.task.empties() {
            walk.skip_to(segment::swept_to(arena, number));
        }
        let (mut lines, mut next) = (0, walk.next());
        while let Some(record) = next {
            self.outcome.records += 1;
            self.names.clear();
            self.names.extend_from_slice(walk.names());
            // One ahead, so that where the index has it is on its way while this one is weighed.
            next = if header.head_of().is_some() { None } else { walk.next() };
            if let Some(next) = &next {
                Stripe::prefetch(arena, next.header.hash);
            }
            match self.weigh(&record) {
                Ok(()) => {}
                // What was moved is moved; the rest waits for room.
                Err(Error::Full(_) | Error::NoSpace(_)) if self.task.empties() => {
                    self.outcome.no_room = true;
                    segment::set_swept_to(arena, number, record.at);
                    return Ok(std::mem::take(&mut self.outcome));
                }
                Err(other) => return Err(other),
            }
            lines += record.header.lines as u64;
            if let Some(next) = &next
                && self.task.empties()
                && lines >= budget.lines
            {
                segment::set_swept_to(arena, number, next.at);
                return Ok(std::mem::take(&mut self.outcome));
            }
        }
        self.outcome.ended = true;
        segment::set_swept_to(arena, number, 0);
        Ok(std::mem::take(&mut self.outcome))
    }

    fn stays(&mut self, until_ms: Option<u64>) {
        self.outcome.stay += 1;
        if let Some(until) = until_ms {
            let next = self.outcome.next_look_ms.unwrap_or(u64::MAX);
            self.outcome.next_look_ms = Some(next.min(until));
        }
    }

    fn settled_until(&self) -> u64 {
        *self.settled_until.get_or_init(|| evict::settled_until(self.arena))
    }

    /// Until when dropping this record could bring an older version back, unix seconds as records
    /// have them.
    fn shadows_until(&self, header: &Header) -> u32 {
        if header.hides_its_source() {
            FOR_EVER
        } else if header.is(ASSUMES) && header.seq <= self.settled_until() {
            0
        } else {
            header.shadows_until
        }
    }

    /// The same in unix ms.
    fn shadows_until_ms(&self, header: &Header) -> u64 {
        let own = match self.shadows_until(header) {
            FOR_EVER => u64::MAX,
            s => s as u64 * 1000,
        };
        own.max(self.recovery_horizon(header))
    }

    /// Until when what lost against this record in a rebuild could come back, unix ms; 0 = not at all.
    fn recovery_horizon(&self, header: &Header) -> u64 {
        let meta = &self.arena.meta;
        let horizon = meta.load(word::RECOVERY_HORIZON);
        let lies_ahead = horizon > self.now;
        if lies_ahead && header.seq <= meta.load(word::RECOVERY_HORIZON_SEQ) { horizon } else { 0 }
    }

    /// Decides about one record, under its stripe's latch.
    fn weigh(&mut self, met: &Walked) -> Result<()> {
        let (arena, header) = (self.arena, &met.header);
        let flushed = life::is_flushed(arena, header.seq);
        if header.is(TOMBSTONE) {
            // What a flush took along with it needs no shadow.
            return if flushed { Ok(()) } else { self.weigh_shadow(met, None) };
        }
        let stripe = Stripe::latch(arena, header.hash)?;
        let Some((slot_at, slot)) = stripe.slot_of(header.hash, met.at) else { return Ok(()) };
        if flushed {
            stripe.forget_slot(slot_at);
            return Ok(());
        }
        // The word itself: a touch may have changed it since the walk read it.
        let word = arena.data.load(met.at + record::EXPIRY_AT);
        let at = record::expiry_ms(word, header.seq);
        let fate = at.map_or(Ok(Fate::Alive), |at| self.fate(header, at))?;
        match fate {
            Fate::Over => {
                let header = Header { expiry: word, ..met.header };
                self.weigh_shadow(&Walked { header, ..*met }, Some((&stripe, slot_at)))
            }
            Fate::InSight if self.task != Task::Reap || header.is(RUN) => {
                match self.keep_in_sight(&stripe, slot_at, met, word) {
                    Err(Error::Full(_) | Error::NoSpace(_)) if self.task == Task::Reap => {
                        self.outcome.live_lines += header.lines as u64;
                        self.stays(None);
                        Ok(())
                    }
                    done => done,
                }
            }
            _ if self.task == Task::Reap => {
                self.outcome.live_lines += header.lines as u64;
                self.stays(at.filter(|at| *at != 0).map(|at| at.max(self.doubt_until)));
                Ok(())
            }
            Fate::Alive if self.task != Task::Empty && !header.is(OWNER) => {
                self.weigh_reads(&stripe, slot_at, slot, met, word, at.unwrap_or(0))
            }
            _ => self.move_live(&stripe, slot_at, slot.frequency(), met, word),
        }
    }

    /// What is to become of a record that the index names.
    fn fate(&self, header: &Header, expires_ms: u64) -> Result<Fate> {
        let arena = self.arena;
        if self.doubt_until != 0 {
            return Ok(if expires_ms == ENDED_MS { Fate::Over } else { Fate::Alive });
        }
        let standing = || owner::standing(arena, header, &self.names);
        let life = life::of(arena, header, expires_ms, standing, || self.now);
        if life != Life::Over || header.owner_len == 0 {
            return Ok(if life == Life::Over { Fate::Over } else { Fate::Alive });
        }
        let bytes = &self.names[..header.key_len as usize];
        let key = Key { bytes, hash: header.hash, kind: Kind::Value };
        Ok(if lock::is_held(arena, &key)? { Fate::InSight } else { Fate::Over })
    }

    /// A live record of a store that is a cache: was it read since it came here?
    fn weigh_reads(
        &mut self,
        stripe: &Stripe,
        slot_at: u64,
        slot: Slot,
        met: &Walked,
        word: u64,
        expires_ms: u64,
    ) -> Result<()> {
        let (arena, header) = (self.arena, &met.header);
        let reads = slot.frequency();
        if reads > 0 {
            // In the second queue each round costs a read; who comes into it begins anew.
            let left = if segment::has_moved(arena, self.number) { reads - 1 } else { 0 };
            if !header.is(RUN) {
                return self.move_live(stripe, slot_at, left, met, word);
            }
            let _ = arena.index.cas(slot_at, slot.0, slot.with_frequency(reads - 1).0);
            self.outcome.live_lines += header.lines as u64;
            self.stays(None);
            return Ok(());
        }
        if !self.is_droppable(header) {
            self.append_tombstone(header)?;
        }
        evict::raise(arena, self.number, expires_ms);
        stripe.drop_slot(slot_at);
        segment::account(arena, None, Some((met.at, header.lines as u64)));
        arena.count(Count::Evicted);
        Ok(())
    }

    /// Rule 1, or time: nothing older than this record can come back, nor what it was copied from.
    fn is_droppable(&self, header: &Header) -> bool {
        (self.now > self.shadows_until_ms(header) && self.doubt_until == 0)
            || (self.age.is_oldest(self.arena, self.number, header, self.oldest_beside(header))
                && !self.hides_found_copies(header))
    }

    /// Activation of the oldest segment that may lie beside this record when it goes. A version with
    /// an older number was copied before this one was written. But what a copy was made from has the
    /// same number, and may lie in whatever was begun before the copy's own segment: if the copy
    /// was ended in place it may be alive there.
    fn oldest_beside(&self, header: &Header) -> u64 {
        if !header.hides_its_source() {
            return header.seq;
        }
        let at = self.arena.geometry.segment(self.number);
        header.seq.max(self.arena.meta.load(at + row::ACTIVATION_SEQ).saturating_add(1))
    }

    /// May this record be why a copy that a rebuild found is not what its key has? What was evicted
    /// from where nobody knows any more then, so what stands for it stays as long as such copies do.
    fn hides_found_copies(&self, header: &Header) -> bool {
        let found = || evict::found_copies(self.arena, self.number, self.now);
        header.copy != 0
            && self.recovery_horizon(header) != 0
            && *self.found_copies.get_or_init(found)
    }

    /// A record that nobody can read any more: it goes if nothing older could come back, else a
    /// tombstone has to stand for it. `indexed`: it still has a slot.
    fn weigh_shadow(&mut self, met: &Walked, indexed: Option<(&Stripe, u64)>) -> Result<()> {
        let header = &met.header;
        let until = self.shadows_until_ms(header);
        let lines = record::lines(header.key_len as usize, 0);
        if !self.is_droppable(header) {
            self.outcome.shadow_lines += lines;
            if self.task == Task::Reap {
                self.outcome.waits = true;
                self.outcome.waiting_lines += header.lines as u64;
                if indexed.is_some() {
                    self.outcome.live_lines += header.lines as u64;
                }
                self.stays((until != u64::MAX).then(|| (until + 1).max(self.doubt_until)));
                return Ok(());
            }
            self.append_tombstone(header)?;
        }
        if let Some((stripe, slot_at)) = indexed {
            segment::account(self.arena, None, Some((met.at, header.lines as u64)));
            if header.is(OWNER) {
                stripe.forget_slot(slot_at);
            } else {
                stripe.drop_slot(slot_at);
                self.outcome.expired += 1;
            }
        }
        Ok(())
    }

    /// The lane for what is moved, with room in it. What is moved is in a younger segment than all
    /// that it may shadow.
    fn lane(&self, lines: u64) -> Result<Lane<'a>> {
        let mut lane = Lane::acquire_number(self.arena, self.arena.geometry.survivor_lane())?;
        lane.reserve(lines, Need::Sweep)?;
        self.arena.count_many(Count::MovedLines, lines);
        Ok(lane)
    }

    /// Writes a tombstone in place of a record that only shadows, with its number. What was ended in
    /// place gets the number of a delete, so that it is newer than every segment that hides behind it.
    fn append_tombstone(&mut self, old: &Header) -> Result<()> {
        let key = &self.names[..old.key_len as usize];
        let lines = record::lines(key.len(), 0);
        let lane = self.lane(lines)?;
        let (seq, copy) = match old.hides_its_source() {
            true => (self.arena.next_seq(), 0),
            false => (old.seq, record::next_copy(old.copy)),
        };
        let mut header = Header {
            salt: lane.salt(),
            lines: lines as u32,
            owner_len: 0,
            word7: 0,
            flags: TOMBSTONE | old.flags & OWNER,
            seq,
            copy,
            value_len: 0,
            value_crc: record::value_crc(&[]),
            expiry: record::expiry_word(0, seq),
            user_flags: 0,
            shadows_until: self.shadows_until(old),
            ..*old
        };
        let first = lane.write(&mut header, key, &[]);
        lane.commit(first, lines);
        Ok(())
    }

    /// Appends a live record again, with its number, and lets the index name the new place. A value
    /// that does not match its checksum is moved as it is: it still says that it is damaged.
    fn move_live(
        &mut self,
        stripe: &Stripe,
        slot_at: u64,
        reads: u64,
        met: &Walked,
        expiry: u64,
    ) -> Result<()> {
        let arena = self.arena;
        self.value.clear();
        if !log::read_value(arena, met.at, &met.header, &mut self.value)? {
            // Leads outside the file; it cannot be moved, and not be dropped either.
            self.outcome.live_lines += met.header.lines as u64;
            self.stays(None);
            return Ok(());
        }
        self.replace(stripe, slot_at, reads, met, Header { expiry, ..met.header })
    }

    /// What was ended but must still be found so needs its names and nothing else.
    fn keep_in_sight(
        &mut self,
        stripe: &Stripe,
        slot_at: u64,
        met: &Walked,
        word: u64,
    ) -> Result<()> {
        self.value.clear();
        let header = Header {
            flags: met.header.flags & !(RUN | COMPRESSED),
            lines: record::lines(met.header.names_len(), 0) as u32,
            value_len: 0,
            value_crc: record::value_crc(&[]),
            expiry: word,
            ..met.header
        };
        self.replace(stripe, slot_at, 0, met, header)
    }

    /// Appends a record in place of another, with its number, and lets the index name it.
    fn replace(
        &mut self,
        stripe: &Stripe,
        slot_at: u64,
        reads: u64,
        met: &Walked,
        header: Header,
    ) -> Result<()> {
        let (arena, lines) = (self.arena, header.lines as u64);
        let lane = self.lane(lines)?;
        if arena.evicts() {
            // The copy may be evicted before this segment is free.
            let expires_ms = record::expiry_ms(header.expiry, header.seq).unwrap_or(0);
            evict::raise(arena, self.number, expires_ms);
        }
        let mut header =
            Header { salt: lane.salt(), copy: record::next_copy(met.header.copy), ..header };
        let first = lane.write(&mut header, &self.names, &self.value);
        let new = Slot::new(header.hash, lane.offset(), lines, lane.incarnation());
        let change = Change {
            slot_at,
            new_slot: new.with_frequency(reads).0,
            record_at: lane.offset(),
            seq: header.seq,
            lane: Some(lane.number()),
        };
        stripe.arm(&change);
        lane.commit(first, lines);
        stripe.publish(&change);
        stripe.disarm();
        let old = (met.at, met.header.lines as u64);
        segment::account(arena, Some((change.record_at, lines)), Some(old));
        Ok(())
    }
}
