//! The check of a store that is in use. It changes nothing.
//!
//! Three passes: every segment with its records and their values; every slot of the index; then
//! the records that no slot names, each of which must have a reason: something newer of its key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::pin::{Gives, Pin};
use super::{
    Amount, Finding, Findings, Look, Meter, Progress, expiry_now, is_alive, is_named, look, room,
    source, value_holds,
};
use crate::arena::{Arena, lane, segment as row, word};
use crate::error::{Error, Result, collect, push};
use crate::index::{self, Slot, Table};
use crate::limits::{LINE, STRIPES, SUSPECTS};
use crate::log::record::{Header, TOMBSTONE};
use crate::log::segment::{self, ACTIVE, BODY, FREE, SEALED, State, ZEROED};
use crate::log::{self, Image, Seen, Source};
use crate::store::stripe::Stripe;
use crate::store::superblock::Superblock;
use crate::sys::disk::FileKind;
use crate::sys::map::Scratch;

const REPAIR: &str = "end all processes of this store, then repair it";
/// How often the reasons of records without a slot are looked for while writers need the room.
const PASSES: u32 = 8;
/// Slots whose records are fetched ahead.
const AHEAD: usize = 16;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verified {
    /// False: it was ended by the caller, and the numbers are those until then.
    pub complete: bool,
    /// Whether every record was found to be current, or to have a newer one. It is not looked for
    /// when writers need the room that the check holds back, or too much else is at work.
    pub reachability_checked: bool,
    /// Segments of the store.
    pub segments: u64,
    /// Those that hold nothing.
    pub segments_free: u64,
    /// All records in the log.
    pub records: Amount,
    /// Those that can be read by their key.
    pub live: Amount,
    /// Current ones whose lifetime is over, or that were flushed.
    pub expired: Amount,
    /// Records that say that a key is gone.
    pub tombstones: Amount,
    /// Replaced, deleted or dropped ones.
    pub dead: Amount,
    /// Of the dead: those that do not hold. A power loss leaves such; no key leads to them.
    pub debris: Amount,
    /// Slots of the index that are in use.
    pub keys: u64,
    /// What the counter says of them. It may be a little off after deaths of processes.
    pub keys_counted: u64,
    /// What the counter says of the bytes of current records.
    pub live_bytes_counted: u64,
    /// What is wrong, the first 1000.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub findings_total: u64,
}

/// A whole record that no slot names.
struct Suspect {
    at: u64,
    seq: u64,
    copy: u8,
    segment: u64,
    incarnation: u32,
}

struct Check<'a, 'b, 'c> {
    arena: &'a Arena,
    source: Source<'a>,
    image: Image,
    room: Vec<u8>,
    begun_seq: u64,
    newest_seq: u64,
    suspects: HashMap<u64, Suspect>,
    forgotten: u64,
    found: Findings,
    report: Verified,
    meter: Meter<'b, 'c>,
}

pub(super) fn verify(arena: &Arena, progress: &mut Progress) -> Result<Verified> {
    let source = source(arena)?;
    let used = (0..arena.geometry.segments)
        .filter(|s| !matches!(segment::state(arena, *s).kind(), FREE | ZEROED))
        .count() as u64;
    let total = used * source.segment_bytes + arena.index.usable();
    let mut check = Check {
        image: Image::new(&source)?,
        arena,
        source,
        room: room(&source)?,
        begun_seq: arena.next_seq(),
        newest_seq: 0,
        suspects: HashMap::new(),
        forgotten: 0,
        found: Findings::default(),
        report: Verified { segments: arena.geometry.segments, ..Verified::default() },
        meter: Meter { done: 0, total, tell: progress },
    };
    check.superblock()?;
    let complete = check.segments()? && check.slots()? && check.unnamed()?;
    check.words();
    let about = |at| (arena.meta.load(at) as i64).max(0) as u64;
    Ok(Verified {
        complete,
        keys_counted: about(word::KEYS),
        live_bytes_counted: about(word::LIVE_LINES).saturating_mul(LINE),
        findings_total: check.found.total,
        findings: check.found.list,
        ..check.report
    })
}

impl Check<'_, '_, '_> {
    fn superblock(&mut self) -> Result<()> {
        for (copy, found) in Superblock::copies(&self.arena.dir)?.into_iter().enumerate() {
            if found.is_err() {
                self.found.add(Finding {
                    file: FileKind::Super,
                    offset: copy as u64 * 4096,
                    segment: None,
                    what: format!("copy {} of 2 does not match its checksum", copy + 1),
                    consequence: "none as long as the other copy is whole; without either the \
                                  store cannot be opened",
                    remedy: REPAIR,
                });
            }
        }
        Ok(())
    }

    /// Control words that have a rule of their own.
    fn words(&mut self) {
        let meta = &self.arena.meta;
        let seq = meta.load(word::SEQ);
        if self.newest_seq > seq {
            self.found.add(Finding {
                file: FileKind::Meta,
                offset: word::SEQ,
                segment: None,
                what: format!(
                    "the next version is lower than {}, which is stored",
                    self.newest_seq
                ),
                consequence: "versions and fences are issued twice, and a rebuild takes older \
                              values for newer ones",
                remedy: REPAIR,
            });
        }
        for number in 0..self.arena.geometry.all_lanes() {
            let at = self.arena.geometry.lane(number) + lane::TAIL;
            if !(0..4).any(|_| is_tail(self.arena, number, meta.load(at))) {
                self.found.add(Finding {
                    file: FileKind::Meta,
                    offset: at,
                    segment: None,
                    what: format!("the tail of lane {number} is not in a segment of this lane"),
                    consequence: "the lane goes on in a new segment; the rest of its old one is \
                                  not used until that is swept",
                    remedy: "none is needed",
                });
            }
        }
    }

    fn data(&mut self, at: u64, what: String, consequence: &'static str) {
        let segment = Some(segment::of(self.arena, at));
        let file = FileKind::Data;
        self.found.add(Finding { file, offset: at, segment, what, consequence, remedy: REPAIR });
    }

    fn segments(&mut self) -> Result<bool> {
        for number in 0..self.arena.geometry.segments {
            match look(self.arena, &self.source, &mut self.image, number) {
                Ok(Look::Free) => {
                    self.report.segments_free += 1;
                    continue;
                }
                Ok(Look::Records { state, header, end }) => self.records(state, &header, end)?,
                Ok(Look::Part | Look::Blank) => {}
                Ok(Look::Bad) => self.data(
                    segment::start(self.arena, number),
                    format!("the header of segment {number} does not match its checksum"),
                    "its records can be read now, but a rebuild (after a power loss) would lose \
                     them; its space is not given back",
                ),
                Err(e) => self.data(
                    segment::start(self.arena, number),
                    format!("segment {number} cannot be read: {e}"),
                    "reading a value in it may end the process with SIGBUS",
                ),
            }
            if !self.meter.add(self.source.segment_bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn records(&mut self, state: State, which: &segment::Header, end: u64) -> Result<()> {
        let now = self.arena.now_ms();
        let mut at = segment::start(self.arena, segment::of(self.arena, end - 1)) + LINE;
        while let Some(seen) = self.image.next(which, at, end) {
            at = self.image.after(&seen);
            self.newest_seq = self.newest_seq.max(seen.header.seq);
            self.report.records.add(&seen.header);
            self.explain(&seen.header);
            self.judge(&seen, state, now)?;
            if which.head_of().is_some() {
                break;
            }
        }
        Ok(())
    }

    fn judge(&mut self, seen: &Seen, state: State, now: u64) -> Result<()> {
        let header = &seen.header;
        if header.is(TOMBSTONE) {
            self.report.tombstones.add(header);
            return Ok(());
        }
        let holds = match value_holds(&self.source, &self.image, seen, &mut self.room) {
            Ok(holds) => holds,
            Err(e) => {
                self.data(
                    seen.at,
                    format!("a value cannot be read: {e}"),
                    "reading it may end the process with SIGBUS",
                );
                return Ok(());
            }
        };
        if is_named(self.arena, header.hash, seen.at) {
            let life = header.expires_ms();
            let life = life.or_else(|| expiry_now(self.arena, seen.at, header.seq));
            return match life.filter(|_| holds) {
                Some(expires_ms) => {
                    self.current(seen, expires_ms, now);
                    Ok(())
                }
                None => self.doubt(seen, now),
            };
        }
        self.report.dead.add(header);
        let life = header.expires_ms().filter(|_| holds);
        match life {
            None => self.report.debris.add(header),
            Some(expires_ms) if is_alive(self.arena, seen.at, header, expires_ms, now) => {
                self.suspect(seen, state)
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn current(&mut self, seen: &Seen, expires_ms: u64, now: u64) {
        let header = &seen.header;
        match is_alive(self.arena, seen.at, header, expires_ms, now) {
            true => self.report.live.add(header),
            false => self.report.expired.add(header),
        }
    }

    /// Again, where nobody can change it.
    fn doubt(&mut self, seen: &Seen, now: u64) -> Result<()> {
        let (arena, header) = (self.arena, &seen.header);
        let Some(stripe) = latch(arena, header.hash)? else { return Ok(()) };
        if stripe.slot_of(header.hash, seen.at).is_none() {
            self.report.dead.add(header);
            return Ok(());
        }
        let life = expiry_now(arena, seen.at, header.seq);
        let whole = log::is_whole(arena, seen.at, header.seq)?;
        match life {
            Some(expires_ms) if whole.is_some() => self.current(seen, expires_ms, now),
            _ => {
                let what = match whole {
                    Some(_) => "the expiry of a record does not match its check",
                    None => "a value does not match its checksum",
                };
                let key_len = header.key_len;
                self.data(
                    seen.at,
                    format!("{what} (key of {key_len} bytes, value of {})", header.value_len),
                    "this key cannot be read; writing or deleting it mends it",
                );
            }
        }
        Ok(())
    }

    /// A record without a slot: was it replaced?
    fn suspect(&mut self, seen: &Seen, state: State) {
        let header = &seen.header;
        let settled = matches!(state.kind(), ACTIVE | SEALED) && header.seq <= self.begun_seq;
        if !settled || is_replaced(self.arena, header) {
            return;
        }
        let known = match self.suspects.try_reserve(1) {
            Ok(()) => self.suspects.len(),
            Err(_) => SUSPECTS,
        };
        let suspect = Suspect {
            at: seen.at,
            seq: header.seq,
            copy: header.copy,
            segment: segment::of(self.arena, seen.at),
            incarnation: state.incarnation(),
        };
        match self.suspects.entry(header.hash) {
            Entry::Occupied(mut older) if is_newer(header, older.get()) => {
                older.insert(suspect);
            }
            Entry::Vacant(place) if known < SUSPECTS => {
                place.insert(suspect);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(_) => self.forgotten += 1,
        }
    }

    /// A record of any kind explains why an older one of its key has no slot.
    fn explain(&mut self, header: &Header) {
        if self.suspects.get(&header.hash).is_some_and(|older| is_newer(header, older)) {
            self.suspects.remove(&header.hash);
        }
    }

    fn slots(&mut self) -> Result<bool> {
        let share = self.arena.index.usable() / STRIPES;
        for stripe in 0..STRIPES {
            self.stripe(stripe)?;
            if !self.meter.add(share) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn stripe(&mut self, number: u64) -> Result<()> {
        let arena = self.arena;
        let Some(table) = Table::of(arena, number) else {
            self.index(
                arena.geometry.stripe(number),
                FileKind::Meta,
                format!("the place of stripe {number} is outside the index"),
            );
            return Ok(());
        };
        let mut wrong = Vec::new();
        let mut hashes = Vec::new();
        let mut batch: Vec<(u64, Slot)> = Vec::with_capacity(AHEAD);
        let mut slots = table.slots().peekable();
        while slots.peek().is_some() {
            batch.clear();
            while batch.len() < AHEAD
                && let Some(at) = slots.next()
            {
                let slot = Slot(arena.index.load(at));
                if slot.offset() != 0 {
                    arena.data.prefetch(slot.offset(), 2 * LINE);
                    batch.push((at, slot));
                }
            }
            for (at, slot) in &batch {
                match target(arena, number, &table, *at, *slot) {
                    Ok(hash) => push(&mut hashes, hash)?,
                    Err(_) => push(&mut wrong, *at)?,
                }
            }
        }
        self.report.keys += (hashes.len() + wrong.len()) as u64;
        hashes.sort_unstable();
        let is_twice_there = |w: &&[u64]| w[0] == w[1];
        let count = hashes.windows(2).filter(is_twice_there).count();
        let twice = collect(count, hashes.windows(2).filter(is_twice_there).map(|w| w[0]))?;
        if wrong.is_empty() && twice.is_empty() {
            return Ok(());
        }
        // Again, where nobody can change it.
        let stripe = Stripe::latch_number(arena, number)?;
        if stripe.table().word != table.word {
            // It grew meanwhile: its slots are elsewhere.
            wrong = collect(stripe.table().len() as usize, stripe.table().slots())?;
        }
        for at in wrong {
            let slot = Slot(arena.index.load(at));
            if slot.offset() == 0 {
                continue;
            }
            if let Err(why) = target(arena, number, &stripe.table(), at, slot) {
                why.tell(self, at, slot);
            }
        }
        for hash in twice {
            if is_twice(arena, &stripe.table(), hash) {
                self.index(
                    arena.geometry.stripe(number),
                    FileKind::Index,
                    format!("two slots of stripe {number} lead to the same key"),
                );
            }
        }
        Ok(())
    }

    fn index(&mut self, offset: u64, file: FileKind, what: String) {
        self.found.add(Finding {
            file,
            offset,
            segment: None,
            what,
            consequence: "keys are missing or cannot be read; the log has them",
            remedy: REPAIR,
        });
    }

    /// What is left without a reason: once more through the log for one, which is not given back
    /// meanwhile; if writers need the room, some times.
    fn unnamed(&mut self) -> Result<bool> {
        let mut settled = false;
        for _ in 0..PASSES {
            let Some(pin) = Pin::take(self.arena, Gives::AtOnce) else { break };
            // Now that nothing goes: what has no slot at this moment has its reason in the log.
            let mut failure = None;
            self.suspects.retain(|hash, suspect| {
                is_lost(self.arena, *hash, suspect).unwrap_or_else(|e| {
                    failure = Some(e);
                    true
                })
            });
            failure.map_or(Ok(()), Err)?;
            if !self.suspects.is_empty() && !self.explain_all(&pin)? {
                return Ok(false);
            }
            settled = self.suspects.is_empty() || pin.holds();
            if settled {
                break;
            }
        }
        self.report.reachability_checked = settled && self.forgotten == 0;
        if settled {
            let count = self.suspects.len();
            let mut lost = collect(count, self.suspects.drain().map(|(_, s)| s.at))?;
            lost.sort_unstable();
            for at in lost {
                self.data(
                    at,
                    "no slot of the index leads to a record that was never replaced".into(),
                    "this key is missing now, and comes back when the index is rebuilt",
                );
            }
        }
        self.meter.done = self.meter.total;
        Ok(true)
    }

    fn explain_all(&mut self, pin: &Pin) -> Result<bool> {
        for number in 0..self.arena.geometry.segments {
            if !pin.holds() || self.suspects.is_empty() {
                break;
            }
            let seen = look(self.arena, &self.source, &mut self.image, number);
            let Ok(Look::Records { header, end, .. }) = seen else { continue };
            let mut at = number * self.source.segment_bytes + LINE;
            while let Some(seen) = self.image.next(&header, at, end) {
                at = self.image.after(&seen);
                self.explain(&seen.header);
            }
            if !self.meter.add(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_newer(header: &Header, than: &Suspect) -> bool {
    let later = header.copy.wrapping_sub(than.copy) as i8 > 0;
    header.seq > than.seq || (header.seq == than.seq && later)
}

/// Is this lane's tail word 0, or in a segment that the lane appends to?
fn is_tail(arena: &Arena, number: u64, tail: u64) -> bool {
    let segment = segment::of(arena, tail.wrapping_sub(1));
    tail == 0
        || (tail.is_multiple_of(LINE) && segment < arena.geometry.segments && {
            let state = segment::state(arena, segment);
            state.kind() == ACTIVE && state.arg() as u64 == number
        })
}

/// Does the index lead to a record of this key, as new as this one or newer?
fn is_replaced(arena: &Arena, old: &Header) -> bool {
    let mut scratch = Scratch::new();
    Table::of(arena, index::stripe_of(old.hash)).is_some_and(|table| {
        let newer = |_: u64, slot: Slot| {
            let header = log::read_header(arena, slot.offset(), 0, &mut scratch)?;
            (header.hash == old.hash && header.seq >= old.seq).then_some(())
        };
        table.candidates(&arena.index, old.hash, newer).is_some()
    })
}

/// `None` if the stripe itself is damaged, which is found when its slots are looked at.
fn latch(arena: &Arena, hash: u64) -> Result<Option<Stripe<'_>>> {
    match Stripe::latch(arena, hash) {
        Err(Error::Damaged(_)) => Ok(None),
        other => other.map(Some),
    }
}

/// Under the latch: has this record really no slot, and nothing in its place, and is it there?
fn is_lost(arena: &Arena, hash: u64, suspect: &Suspect) -> Result<bool> {
    let Some(stripe) = latch(arena, hash)? else { return Ok(false) };
    if stripe.slot_of(hash, suspect.at).is_some() {
        return Ok(false);
    }
    let Some(header) = log::is_whole(arena, suspect.at, suspect.seq)? else { return Ok(false) };
    let state = segment::state(arena, suspect.segment);
    // What is evicted leaves no record.
    let row_at = arena.geometry.segment(suspect.segment);
    if arena.meta.load(row_at + row::EVICTED_UNTIL) != 0 {
        return Ok(false);
    }
    let alive = expiry_now(arena, suspect.at, suspect.seq)
        .is_some_and(|expires_ms| is_alive(arena, suspect.at, &header, expires_ms, arena.now_ms()));
    Ok(alive
        && state.incarnation() == suspect.incarnation
        && matches!(state.kind(), ACTIVE | SEALED)
        && !is_replaced(arena, &header))
}

/// What is wrong with a slot.
enum Wrong {
    Outside,
    NotInUse,
    NoRecord,
    NotWhole,
    NotItsRecord,
    Tombstone,
    NoExpiry,
    NotFound,
}

impl Wrong {
    fn tell(self, check: &mut Check, slot_at: u64, slot: Slot) {
        let at = slot.offset();
        let index = |check: &mut Check, what: &str| {
            check.index(slot_at, FileKind::Index, format!("a slot {what} (data, byte {at:#x})"))
        };
        match self {
            Wrong::Outside => index(check, "leads outside data"),
            Wrong::NotInUse => index(check, "leads to a segment that is not in use"),
            Wrong::NotItsRecord => index(check, "leads to a record that is another's"),
            Wrong::Tombstone => index(check, "leads to a deletion"),
            Wrong::NotFound => index(check, "is not where a search for its key looks"),
            Wrong::NoRecord => index(check, "leads to no record, or to one without its beginning"),
            Wrong::NotWhole => check.data(
                at,
                "the header or key of a current record does not match its checksum".into(),
                "this key cannot be read; writing it mends it",
            ),
            // Said already when its value was looked at.
            Wrong::NoExpiry => {}
        }
    }
}

/// The hash of the key that a slot leads to, if it leads to one as it must.
fn target(
    arena: &Arena,
    stripe: u64,
    table: &Table,
    slot_at: u64,
    slot: Slot,
) -> std::result::Result<u64, Wrong> {
    let at = slot.offset();
    if !arena.data.contains(at, LINE) {
        return Err(Wrong::Outside);
    }
    // Inside data, so it is one of the segments.
    let number = segment::of(arena, at);
    let state = segment::state(arena, number);
    if matches!(state.kind(), FREE | ZEROED | BODY) {
        return Err(Wrong::NotInUse);
    }
    let mut scratch = Scratch::new();
    let Some(header) = log::read_checked(arena, at, &mut scratch) else {
        let begins = (arena.data.load(at) >> 32) as u32 == segment::salt(arena, number);
        return Err(if begins { Wrong::NotWhole } else { Wrong::NoRecord });
    };
    let right = Slot::new(header.hash, at, header.lines as u64, state.incarnation());
    if header.salt != segment::salt(arena, number)
        || !right.same_place(slot)
        || index::stripe_of(header.hash) != stripe
    {
        return Err(Wrong::NotItsRecord);
    }
    if header.is(TOMBSTONE) {
        return Err(Wrong::Tombstone);
    }
    expiry_now(arena, at, header.seq).ok_or(Wrong::NoExpiry)?;
    let here = |other: u64, _: Slot| (other == slot_at).then_some(());
    table.candidates(&arena.index, header.hash, here).ok_or(Wrong::NotFound)?;
    Ok(header.hash)
}

/// Do two slots lead to one key of this hash?
fn is_twice(arena: &Arena, table: &Table, hash: u64) -> bool {
    let mut scratch = Scratch::new();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let same = |_: u64, slot: Slot| {
        let header = log::read_checked(arena, slot.offset(), &mut scratch)?;
        let key = scratch.bytes()[LINE as usize..].to_vec();
        let again = header.hash == hash && keys.contains(&key);
        keys.push(key);
        again.then_some(())
    };
    table.candidates(&arena.index, hash, same).is_some()
}
