//! The sweep, and power that fails: segments fill, what is needed is copied out of them, they are
//! emptied, synced, zeroed, synced and used again, and a cut keeps any part of what was not synced.
//! See `src/store/sweep/`, `src/store/recover.rs`, `shadow` in `src/store/ops.rs`, and what
//! `src/FORMAT.md` says of copies, tombstones and eviction.
//!
//! There is one key: records of other keys only fill segments. Steps are whole operations, because
//! a cut sees of an operation what reached the disk, and that may be any part of it. What a segment
//! held before it was used again is remembered as long as the disk may still have it.
//!
//! Promised: after a cut the key has a value, or none, that it had at the last sync or since; in a
//! cache a value may be gone, but not be back once somebody was told that it is not there.

use crate::rules::{Named, Rules};
use crate::search::{Model, Step, Who};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    Tombstones,
    Shadows,
    FirstRound,
    SecondRound,
    CopyWins,
    Horizon,
    ExpiredStays,
    EvictionNoted,
    MoveNoted,
    AbsentBuried,
    FoundCopies,
}

/// Every rule, in words.
pub const RULES: &[Named<Rule>] = &[
    (Rule::Tombstones, "a tombstone stays while an older segment is not free"),
    (Rule::Shadows, "what has expired goes only when nothing it shadows could come back"),
    (Rule::FirstRound, "a drained segment is zeroed after a sync"),
    (Rule::CopyWins, "at equal numbers the later copy wins"),
    (Rule::Horizon, "after a rebuild time alone drops nothing until the longest loser has ended"),
    (Rule::ExpiredStays, "a winner that has expired stays in the index of a rebuild"),
    (
        Rule::SecondRound,
        "a zeroed segment is used again, and its notes forgotten, after another sync",
    ),
    (Rule::EvictionNoted, "a segment notes until when what was evicted from it could come back"),
    (Rule::MoveNoted, "in a cache also of what was moved, which may be evicted elsewhere"),
    (Rule::AbsentBuried, "until then a delete of nothing leaves a tombstone"),
];

/// The sizes of a search, and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Power {
    pub rules: Rules,
    /// A cache, in which what lives may be dropped.
    pub evicts: bool,
    pub puts: u8,
    pub deletes: u8,
    pub touches: u8,
    pub sweeps: u8,
    pub ticks: u8,
    pub cuts: u8,
}

const SEGMENTS: usize = 4;
/// Records of a segment.
const ROOM: usize = 2;
/// States of the key between two syncs, at most.
const STATES: usize = 6;
/// In place of a moment: never, for ever.
const EVER: u8 = 99;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Record {
    /// 0 = there is none.
    seq: u8,
    copy: u8,
    tombstone: bool,
    /// Until when it lives, and what the disk may have in place of that (else the same).
    ends: u8,
    ended: u8,
    shadows: u8,
    /// Its shadow is only assumed.
    assumes: bool,
    synced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Free,
    /// A lane's: 0 for writes, 1 for what is moved.
    Active(u8),
    Sealed,
    /// On the way to being free; was there a sync since?
    Drained(bool),
    Zeroed(bool),
}

/// One incarnation of a segment. What is zeroed has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Life {
    begun: bool,
    activation: u8,
    records: [Record; ROOM],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Segment {
    kind: Kind,
    now: Life,
    /// The header that the disk has, if it may still be another than that of `now`.
    before: Option<Life>,
    evicted_until: u8,
    /// The last number issued before the first of that.
    evicted_from: u8,
}

/// A state that the key was in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Had {
    /// 0 = none.
    seq: u8,
    ends: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    segments: [Segment; SEGMENTS],
    /// Segment and place that the index names.
    slot: Option<(u8, u8)>,
    seq: u8,
    now: u8,
    /// Of the last rebuild.
    horizon: u8,
    horizon_seq: u8,
    /// The state at the last sync, and those since.
    had: [Had; STATES],
    /// So many of them.
    states: u8,
    left: [u8; 6],
    wrong: Option<&'static str>,
}

const PUT: usize = 0;
const DELETE: usize = 1;
const TOUCH: usize = 2;
const SWEEP: usize = 3;
const TICK: usize = 4;
const CUT: usize = 5;

impl Power {
    fn keeps(&self, rule: Rule) -> bool {
        self.rules.keeps(rule as u32)
    }
}

impl Model for Power {
    type State = State;

    fn start(&self) -> State {
        let free = Segment {
            kind: Kind::Free,
            now: Life::default(),
            before: None,
            evicted_until: 0,
            evicted_from: 0,
        };
        State {
            segments: [free; SEGMENTS],
            slot: None,
            seq: 0,
            now: 1,
            horizon: 0,
            horizon_seq: 0,
            had: [Had::default(); STATES],
            states: 1,
            left: [self.puts, self.deletes, self.touches, self.sweeps, self.ticks, self.cuts],
            wrong: None,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut go = |what, change: &dyn Fn(&mut State) -> bool| {
            let mut to = state.clone();
            if change(&mut to) && to != *state {
                next.push((Step(Who::World, what), to));
            }
        };
        if state.left[PUT] > 0 {
            go("puts a value that never ends", &|to| self.put(to, EVER));
            go("puts a value that ends soon", &|to| self.put(to, to.now + 1));
        }
        if state.left[DELETE] > 0 {
            go("deletes", &|to| self.delete(to));
        }
        if state.left[TOUCH] > 0 {
            go("lets the value live for ever", &|to| self.touch(to));
        }
        if state.left[TICK] > 0 {
            go("time passes", &|to| {
                to.left[TICK] -= 1;
                to.now += 1;
                true
            });
        }
        go("syncs", &|to| to.sync());
        for number in 0..SEGMENTS {
            go(ENDS[number], &|to| to.seal(number));
            if state.left[SWEEP] > 0 {
                go(EMPTIES[number], &|to| self.sweep(to, number, false));
                if self.evicts {
                    go(EVICTS[number], &|to| self.sweep(to, number, true));
                }
            }
            go(ZEROES[number], &|to| self.zero(to, number));
            go(FREES[number], &|to| self.free(to, number));
        }
        if state.left[CUT] > 0 {
            self.cuts(state, next);
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        let seen = state.current().filter(|record| record.lives(state.now)).map_or(0, |r| r.seq);
        let last = state.last();
        let promised = if last.ends > state.now { last.seq } else { 0 };
        let differs = seen != promised && !(self.evicts && seen == 0);
        state.wrong.or(differs.then_some("the index does not say what was written last"))
    }

    /// Nothing has to end here: whoever is out of steps is done.
    fn is_over(&self, _: &State) -> bool {
        true
    }

    fn show(&self, state: &State) -> String {
        let moment = |m: u8| if m == EVER { "-".to_string() } else { m.to_string() };
        let record = |r: &Record| match r.seq {
            0 => String::new(),
            _ => format!(
                " {}{}.{}<{} {}{}",
                if r.tombstone { "T" } else { "v" },
                r.seq,
                r.copy,
                moment(r.ends),
                moment(r.shadows),
                if r.synced { "" } else { "?" }
            ),
        };
        let segments: Vec<String> = state
            .segments
            .iter()
            .map(|s| {
                let records: String = s.now.records.iter().map(record).collect();
                let before = if s.before.is_some() { " (was)" } else { "" };
                format!("{:?}@{}{records}{before}", s.kind, s.now.activation)
            })
            .collect();
        format!("[{}] slot {:?} now {}", segments.join(" | "), state.slot, state.now)
    }
}

const ENDS: [&str; SEGMENTS] =
    ["ends segment 0", "ends segment 1", "ends segment 2", "ends segment 3"];
const EMPTIES: [&str; SEGMENTS] =
    ["empties segment 0", "empties segment 1", "empties segment 2", "empties segment 3"];
const EVICTS: [&str; SEGMENTS] =
    ["evicts segment 0", "evicts segment 1", "evicts segment 2", "evicts segment 3"];
const ZEROES: [&str; SEGMENTS] =
    ["zeroes segment 0", "zeroes segment 1", "zeroes segment 2", "zeroes segment 3"];
const FREES: [&str; SEGMENTS] =
    ["frees segment 0", "frees segment 1", "frees segment 2", "frees segment 3"];

impl Record {
    fn lives(&self, now: u8) -> bool {
        self.seq != 0 && !self.tombstone && self.ends > now
    }
}

/// What the verbs do.
impl Power {
    fn put(&self, to: &mut State, ends: u8) -> bool {
        let (shadows, assumes) = self.shadow(to);
        to.seq += 1;
        let record =
            Record { seq: to.seq, ends, ended: ends, shadows, assumes, ..Record::default() };
        let Some(place) = to.append(0, record) else { return false };
        to.slot = Some(place);
        to.note_state(Had { seq: to.seq, ends });
        to.left[PUT] -= 1;
        true
    }

    fn delete(&self, to: &mut State) -> bool {
        to.left[DELETE] -= 1;
        let there = to.current().is_some_and(|current| current.lives(to.now));
        let may_come_back = to.slot.is_none() && to.evict_horizon() > to.now;
        let buries = may_come_back && self.keeps(Rule::AbsentBuried);
        if !there && !buries {
            // Somebody is told that there is nothing, at once: nothing has to be synced for that.
            if to.states == 1 {
                to.settle(Had::default());
            }
            return true;
        }
        let (shadows, assumes) = self.shadow(to);
        to.seq += 1;
        let tombstone = true;
        let record = Record { seq: to.seq, tombstone, shadows, assumes, ..Record::default() };
        to.slot = match to.append(0, record) {
            Some(_) => None,
            None => return false,
        };
        to.note_state(Had::default());
        true
    }

    fn touch(&self, to: &mut State) -> bool {
        let (Some((number, place)), Some(current)) = (to.slot, to.current()) else { return false };
        if !current.lives(to.now) || current.ends == EVER {
            return false;
        }
        to.segments[number as usize].now.records[place as usize].ends = EVER;
        to.note_state(Had { seq: current.seq, ends: EVER });
        to.left[TOUCH] -= 1;
        true
    }

    /// Until when what is older than a new record could come back; is that only assumed?
    fn shadow(&self, to: &State) -> (u8, bool) {
        if !self.keeps(Rule::Shadows) {
            return (0, false);
        }
        let horizon = if to.horizon > to.now { to.horizon } else { 0 };
        match to.current() {
            Some(current) => (current.ends.max(current.shadows).max(horizon), false),
            None if to.evict_horizon() > to.now => (to.evict_horizon().max(horizon), horizon == 0),
            None => (horizon, false),
        }
    }
}

/// What the sweep does.
impl Power {
    fn sweep(&self, to: &mut State, number: usize, evicts: bool) -> bool {
        if to.segments[number].kind != Kind::Sealed {
            return false;
        }
        to.left[SWEEP] -= 1;
        for place in 0..ROOM {
            let record = to.segments[number].now.records[place];
            let named = to.slot == Some((number as u8, place as u8));
            if record.seq == 0 || !(record.tombstone || named) {
                continue;
            }
            if !evicts && record.lives(to.now) {
                if self.evicts && self.keeps(Rule::MoveNoted) {
                    self.note(to, number, record.ends);
                }
                let copy = Record { copy: record.copy + 1, synced: false, ..record };
                let copy = Record { ended: copy.ends, ..copy };
                let Some(place) = to.append(1, copy) else { return false };
                to.slot = Some(place);
                continue;
            }
            if !self.is_droppable(to, number, &record) {
                let copy = record.copy + 1;
                let (shadows, seq) = (self.shadows_until(to, &record), record.seq);
                let tombstone = Record { seq, copy, tombstone: true, shadows, ..Record::default() };
                if to.append(1, tombstone).is_none() {
                    return false;
                }
            }
            if record.lives(to.now) {
                self.note(to, number, record.ends);
            }
            if named {
                to.slot = None;
            }
        }
        to.segments[number].kind = Kind::Drained(false);
        true
    }

    /// Something was evicted from a segment, or moved from it and may be evicted where it is now.
    fn note(&self, to: &mut State, number: usize, ends: u8) {
        let seq = to.seq;
        let segment = &mut to.segments[number];
        if self.keeps(Rule::EvictionNoted) {
            if segment.evicted_until == 0 {
                segment.evicted_from = seq;
            }
            segment.evicted_until = segment.evicted_until.max(ends);
        }
    }

    fn shadows_until(&self, to: &State, record: &Record) -> u8 {
        if record.assumes && record.seq <= to.settled_until() { 0 } else { record.shadows }
    }

    fn is_droppable(&self, to: &State, number: usize, record: &Record) -> bool {
        let rebuilt = record.seq <= to.horizon_seq && to.horizon > to.now;
        let horizon = if rebuilt { to.horizon } else { 0 };
        let by_time = to.now > self.shadows_until(to, record).max(horizon);
        // The oldest segments are those whose activation lies below the record's number.
        let others = || to.segments.iter().enumerate().filter(|(other, _)| *other != number);
        let is_oldest = others()
            .all(|(_, other)| other.kind == Kind::Free || other.now.activation >= record.seq);
        let found_copies = record.copy != 0
            && rebuilt
            && self.keeps(Rule::FoundCopies)
            && others().any(|(_, other)| other.evicted_from == 0 && other.evicted_until > to.now);
        by_time
            || (is_oldest && !found_copies)
            || (record.tombstone && !self.keeps(Rule::Tombstones))
    }

    fn zero(&self, to: &mut State, number: usize) -> bool {
        let segment = &mut to.segments[number];
        let Kind::Drained(synced) = segment.kind else { return false };
        if !synced && self.keeps(Rule::FirstRound) {
            return false;
        }
        segment.kind = Kind::Zeroed(false);
        if segment.before.is_none() {
            segment.before = Some(segment.now);
        }
        segment.now = Life { activation: segment.now.activation, ..Life::default() };
        true
    }

    fn free(&self, to: &mut State, number: usize) -> bool {
        let segment = &mut to.segments[number];
        let Kind::Zeroed(synced) = segment.kind else { return false };
        if !synced && self.keeps(Rule::SecondRound) {
            return false;
        }
        segment.kind = Kind::Free;
        segment.now = Life::default();
        (segment.evicted_until, segment.evicted_from) = (0, 0);
        true
    }
}

impl State {
    fn last(&self) -> Had {
        self.had[self.states as usize - 1]
    }

    fn note_state(&mut self, had: Had) {
        self.had[self.states as usize] = had;
        self.states += 1;
    }

    /// Only this one may be found from now on.
    fn settle(&mut self, had: Had) {
        (self.had, self.states) = ([Had::default(); STATES], 1);
        self.had[0] = had;
    }

    fn current(&self) -> Option<Record> {
        let (number, place) = self.slot?;
        Some(self.segments[number as usize].now.records[place as usize])
    }

    fn evict_horizon(&self) -> u8 {
        self.segments.iter().map(|segment| segment.evicted_until).max().unwrap_or(0)
    }

    /// Whatever was evicted before a record with a number up to this one is durably gone.
    fn settled_until(&self) -> u8 {
        let noted = self.segments.iter().filter(|segment| segment.evicted_until != 0);
        noted.map(|segment| segment.evicted_from).fold(self.seq, u8::min)
    }

    /// Appends to a lane, in a new segment if need be.
    fn append(&mut self, lane: u8, record: Record) -> Option<(u8, u8)> {
        let active = |s: &Segment| s.kind == Kind::Active(lane);
        let number = match self.segments.iter().position(active) {
            Some(number) if self.segments[number].now.records[ROOM - 1].seq == 0 => number,
            full => {
                let number = self.segments.iter().position(|s| s.kind == Kind::Free)?;
                if let Some(full) = full {
                    self.segments[full].kind = Kind::Sealed;
                }
                // The last number issued before: a new record's was drawn already.
                let activation = self.seq - (lane == 0) as u8;
                let segment = &mut self.segments[number];
                segment.kind = Kind::Active(lane);
                segment.now = Life { begun: true, activation, records: Default::default() };
                if segment.before.is_none() {
                    segment.before = Some(Life::default());
                }
                number
            }
        };
        let records = &mut self.segments[number].now.records;
        let place = records.iter().position(|r| r.seq == 0).expect("room in it");
        records[place] = record;
        Some((number as u8, place as u8))
    }

    fn seal(&mut self, number: usize) -> bool {
        let is_active = matches!(self.segments[number].kind, Kind::Active(_));
        if is_active {
            self.segments[number].kind = Kind::Sealed;
        }
        is_active
    }

    fn sync(&mut self) -> bool {
        for segment in &mut self.segments {
            segment.before = None;
            for record in segment.now.records.iter_mut().filter(|record| record.seq != 0) {
                (record.synced, record.ended) = (true, record.ends);
            }
            segment.kind = match segment.kind {
                Kind::Drained(_) => Kind::Drained(true),
                Kind::Zeroed(_) => Kind::Zeroed(true),
                other => other,
            };
        }
        let last = self.last();
        self.settle(last);
        true
    }
}

/// What a cut leaves, and what a rebuild makes of it.
impl Power {
    fn cuts(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut images: Vec<[Life; SEGMENTS]> = vec![[Life::default(); SEGMENTS]];
        for (number, segment) in state.segments.iter().enumerate() {
            let lives = images_of(segment);
            images = images
                .iter()
                .flat_map(|image| {
                    lives.iter().map(move |life| {
                        let mut image = *image;
                        image[number] = *life;
                        image
                    })
                })
                .collect();
        }
        for image in images {
            let mut to = state.clone();
            to.left[CUT] -= 1;
            self.rebuild(&mut to, image);
            next.push((Step(Who::World, "the power fails, and the log is walked"), to));
        }
    }

    fn rebuild(&self, to: &mut State, image: [Life; SEGMENTS]) {
        (to.slot, to.horizon, to.horizon_seq) = (None, 0, to.seq);
        let mut winner: Option<(u8, u8)> = None;
        let at = |(number, place): (u8, u8)| image[number as usize].records[place as usize];
        let mut lost: Vec<(u8, u8)> = Vec::new();
        for (number, life) in image.iter().enumerate() {
            let any = life.begun && life.records.iter().any(|record| record.seq != 0);
            to.segments[number] = Segment {
                kind: if any { Kind::Sealed } else { Kind::Free },
                now: if any { *life } else { Life::default() },
                before: None,
                evicted_until: 0,
                evicted_from: 0,
            };
            if !any {
                continue;
            }
            for place in (0..ROOM).filter(|place| life.records[*place].seq != 0) {
                let met = (number as u8, place as u8);
                let Some(rival) = winner else {
                    winner = Some(met);
                    continue;
                };
                let (new, old) = (at(met), at(rival));
                let copy = |r: Record| if self.keeps(Rule::CopyWins) { r.copy } else { 0 };
                let wins = (new.seq, copy(new)) > (old.seq, copy(old));
                lost.push(if wins { rival } else { met });
                winner = Some(if wins { met } else { rival });
            }
        }
        let won = winner.map(at);
        for loser in lost {
            let record = at(loser);
            if !record.tombstone {
                if self.keeps(Rule::Horizon) {
                    to.horizon = to.horizon.max(record.ends);
                }
                if won.is_some_and(|won| won.seq == record.seq) {
                    let noted = &mut to.segments[loser.0 as usize].evicted_until;
                    *noted = record.ends.max(*noted);
                }
            }
        }
        to.slot = winner.filter(|_| won.is_some_and(|won| !won.tombstone));
        if won.is_some_and(|won| !won.lives(to.now)) && !self.keeps(Rule::ExpiredStays) {
            to.slot = None;
        }
        self.judge(to);
    }

    /// Is what was found what the key had at the last sync, or since?
    fn judge(&self, to: &mut State) {
        let found = to.current().filter(|record| record.lives(to.now));
        let found = found.map_or(Had::default(), |r| Had { seq: r.seq, ends: r.ends });
        let now = to.now;
        let seen = |had: &Had| if had.ends > now { had.seq } else { 0 };
        let may_be_gone = found.seq == 0 && self.evicts;
        if !to.had[..to.states as usize].iter().any(|had| seen(had) == found.seq) && !may_be_gone {
            to.wrong = Some(match found.seq {
                0 => "what was synced is lost",
                _ => "what was deleted, overwritten or expired is back",
            });
        }
        to.settle(found);
    }
}

/// What the disk may have of a segment: any header since the last sync, and with it any part of
/// what was written under it and not synced.
fn images_of(segment: &Segment) -> Vec<Life> {
    let mut images = parts_of(&segment.now, &Life::default());
    if let Some(before) = &segment.before {
        images.extend(parts_of(before, &segment.now));
    }
    images.sort_unstable();
    images.dedup();
    images
}

/// Of one incarnation, some of whose places may have been written anew by the next.
fn parts_of(life: &Life, next: &Life) -> Vec<Life> {
    let mut parts = vec![*life];
    for place in 0..ROOM {
        let record = life.records[place];
        if record.seq == 0 {
            continue;
        }
        let mut more = Vec::new();
        for part in &parts {
            let with = |record: Record| {
                let mut part = *part;
                part.records[place] = record;
                part
            };
            more.push(with(Record { synced: true, ended: record.ends, ..record }));
            more.push(with(Record { synced: true, ends: record.ended, ..record }));
            if next.records[place].seq != 0 || !record.synced {
                more.push(with(Record::default()));
            }
        }
        parts = more;
    }
    parts
}
