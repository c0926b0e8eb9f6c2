//! Is a history linearizable: is there one order of its operations that explains all answers, in
//! which each happens between its question and its answer?
//!
//! Judged for each key by itself, which is as good as judging all at once (Herlihy and Wing 1990,
//! locality). The search is Wing and Gong's (1993): try each operation that nothing undone precedes;
//! what was tried before, the same operations done and the same state, is not tried again (Lowe 2017).
//! Versions, which only grow, leave it little choice.
//!
//! An operation without an answer happened or not, and not after its end. In a cache a value may
//! vanish at any moment, and stays away until somebody writes.
//!
//! It cannot show: that several keys change together (a flush is judged for each key), and what
//! nobody looked at.

use std::collections::HashSet;
use std::fmt::Write;

use crate::history::{Answer, Content, Op, Verb};

/// What a key is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    pub value: Option<Content>,
    /// 0: nobody was told.
    pub version: u64,
    /// The newest version known of: later ones are above it.
    floor: u64,
    /// The fence of who has the session lock, 0 = nobody.
    lock: u64,
    leased: bool,
    /// The newest fence.
    fence: u64,
}

impl State {
    /// Written anew.
    fn wrote(self, content: Content, version: u64) -> Option<State> {
        let floor = self.above(version)?;
        Some(State { value: Some(content), version, floor, ..self })
    }

    fn gone(self, version: u64) -> Option<State> {
        let floor = self.above(version)?;
        Some(State { value: None, version: 0, floor, ..self })
    }

    /// The floor under what comes after this version; `None` if that was to be newer than it is.
    fn above(self, version: u64) -> Option<u64> {
        match version {
            0 => Some(self.floor),
            _ => (version > self.floor).then_some(version),
        }
    }

    /// Somebody sees the value with this version.
    fn seen(self, version: u64) -> Option<State> {
        match (self.version, version) {
            (_, 0) => Some(self),
            (0, _) => Some(State { version, floor: self.above(version)?, ..self }),
            (known, _) => (known == version).then_some(self),
        }
    }

    /// The states that an operation may leave, if it can have had its answer in this one.
    fn after(self, op: &Op) -> Vec<State> {
        let fence = op.asked.fence;
        let verb = op.asked.verb;
        match (verb, op.answer) {
            (Verb::Release, _) => {
                let free = State { lock: 0, leased: false, ..self };
                return (self.lock == fence).then_some(free).into_iter().collect();
            }
            (_, Some(Answer::Refused | Answer::TimedOut)) => return vec![self],
            (Verb::Lock { .. } | Verb::Unlock, _) => return self.locked(op).into_iter().collect(),
            (_, Some(Answer::Lost)) if fence != 0 && self.lock != fence => return vec![self],
            (_, Some(Answer::Lost)) => return Vec::new(),
            _ if fence != 0 && self.lock != fence => return Vec::new(),
            _ => {}
        }
        if verb == Verb::Touch {
            return self.touched(op.answer);
        }
        match op.answer {
            Some(answer) => self.answered(verb, answer).into_iter().collect(),
            None => self.unanswered(verb).into_iter().collect(),
        }
    }

    fn locked(self, op: &Op) -> Option<State> {
        let mine = self.lock == op.asked.fence;
        match (op.asked.verb, op.answer) {
            (Verb::Lock { leased }, Some(Answer::Held(fence))) => ((self.lock == 0 || self.leased)
                && fence > self.fence)
                .then_some(State { lock: fence, leased, fence, ..self }),
            // Who died waiting may have had it; it was free again at once.
            (Verb::Lock { .. }, _) => {
                self.leased.then_some(State { lock: 0, leased: false, ..self })
            }
            (_, Some(Answer::Unlocked(false))) => (!mine).then_some(self),
            _ => mine.then_some(State { lock: 0, leased: false, ..self }),
        }
    }

    /// A longer life leaves the version as it is, a shorter one is written anew.
    fn touched(self, answer: Option<Answer>) -> Vec<State> {
        let anew = State { version: 0, ..self };
        match (answer, self.value) {
            (Some(Answer::Missing), None) => vec![self],
            (None, Some(_)) => vec![anew],
            (Some(Answer::Done(0)), Some(_)) => vec![self, anew],
            (Some(Answer::Done(version)), Some(_)) if self.version == version => vec![self],
            (Some(Answer::Done(version)), Some(_)) => anew.seen(version).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn answered(self, verb: Verb, answer: Answer) -> Option<State> {
        match (verb, answer, self.value) {
            (Verb::Get, Answer::Value(version, found), Some(value)) => {
                self.seen(version).filter(|_| found == value)
            }
            (Verb::Exists, Answer::There { version, flags, len }, Some(value)) => {
                self.seen(version).filter(|_| (flags, len) == (value.flags, value.len))
            }
            (Verb::Set(new), Answer::Done(version), _)
            | (Verb::Add(new), Answer::Done(version), None)
            | (Verb::Replace(new), Answer::Done(version), Some(_)) => self.wrote(new, version),
            (Verb::Cas(new, expected), Answer::Done(version), Some(_)) => {
                self.seen(expected)?.wrote(new, version)
            }
            (Verb::Add(_), Answer::Exists(version), Some(_)) => self.seen(version),
            (
                Verb::Cas(_, expected) | Verb::DeleteVersion(expected),
                Answer::Exists(version),
                Some(_),
            ) => self.seen(version).filter(|now| now.version == 0 || now.version != expected),
            (Verb::Delete, Answer::Done(version), Some(_)) => self.gone(version),
            (Verb::DeleteVersion(expected), Answer::Done(version), Some(_)) => {
                self.seen(expected)?.gone(version)
            }
            (Verb::Flush, Answer::Done(_), _) => self.gone(0),
            (Verb::Append(token, len), Answer::Done(version), Some(value)) => {
                self.wrote(value.then(token, len), version)
            }
            (Verb::Increment { .. }, Answer::Counted { value, version }, _) => self
                .incremented(verb, version)
                .filter(|now| now.value.and_then(Content::counts) == Some(value)),
            (Verb::Increment { .. }, Answer::NotANumber(version), Some(value)) => {
                self.seen(version).filter(|_| value.counts().is_none())
            }
            (Verb::Increment { initial: Some(_), .. }, Answer::Missing, _) => None,
            (Verb::Set(_) | Verb::Add(_) | Verb::Flush, Answer::Missing, _) => None,
            (_, Answer::Missing, None) => Some(self),
            _ => None,
        }
    }

    fn incremented(self, verb: Verb, version: u64) -> Option<State> {
        let Verb::Increment { by, initial, flags } = verb else { return None };
        let new = match self.value {
            None => Content::number(initial?, flags),
            Some(value) => Content::number(value.counts()?.wrapping_add(by), value.flags),
        };
        self.wrote(new, version)
    }

    /// What it did if it did anything; nobody heard of the version.
    fn unanswered(self, verb: Verb) -> Option<State> {
        match verb {
            Verb::Get | Verb::Exists => None,
            Verb::Increment { .. } => self.incremented(verb, 0),
            _ => self.answered(verb, Answer::Done(0)),
        }
    }
}

/// A place in the search.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    /// One bit for each operation.
    done: Vec<u64>,
    state: State,
}

impl Place {
    fn has(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }
}

/// The states in which a history of one key, sorted by its beginnings, can end if it began in one
/// of `initial`; with `all` every one, else the first that is found. None: it is not linearizable.
pub fn ends(ops: &[Op], initial: &[State], cache: bool, all: bool) -> Vec<State> {
    let done = vec![0; ops.len().div_ceil(64).max(1)];
    let mut open: Vec<Place> =
        initial.iter().map(|state| Place { done: done.clone(), state: *state }).collect();
    let mut tried: HashSet<Place> = HashSet::new();
    let mut found = HashSet::new();
    while let Some(place) = open.pop() {
        if !tried.insert(place.clone()) {
            continue;
        }
        assert!(tried.len() < 3_000_000, "a history of {} operations is too entangled", ops.len());
        if (0..ops.len()).all(|at| place.has(at) || ops[at].answer.is_none()) {
            found.insert(place.state);
            if !all {
                break;
            }
        }
        let mut next = possible(ops, &place);
        // The one that ended first is tried first: it lies on top.
        next.sort_by_key(|at| std::cmp::Reverse(ops[*at].end));
        for at in next {
            let mut done = place.done.clone();
            done[at / 64] |= 1 << (at % 64);
            let may_vanish = cache && place.state.value.is_some();
            let vanished = may_vanish.then(|| place.state.gone(0)).flatten();
            for before in [Some(place.state), vanished].into_iter().flatten() {
                let states = before.after(&ops[at]);
                open.extend(states.into_iter().map(|state| Place { done: done.clone(), state }));
            }
        }
    }
    found.into_iter().collect()
}

/// The operations that can be the next: no other that must be done ended before they began, and
/// they had not ended when the last one began that is done.
fn possible(ops: &[Op], place: &Place) -> Vec<usize> {
    let (mut now, mut first_end) = (0, u64::MAX);
    for (at, op) in ops.iter().enumerate() {
        // Nothing that began later is done: its turn comes after that of the one that ended.
        if op.begin > first_end {
            break;
        }
        match place.has(at) {
            true => now = op.begin,
            false if op.answer.is_some() => first_end = first_end.min(op.end),
            false => {}
        }
    }
    let candidates = ops.iter().enumerate().take_while(|(_, op)| op.begin <= first_end);
    candidates.filter(|(at, op)| !place.has(*at) && op.end >= now).map(|(at, _)| at).collect()
}

/// Judges all that was done to one key, from nothing on: its shortest part that nobody can explain.
pub fn judge(mut ops: Vec<Op>, cache: bool) -> Result<(), String> {
    ops.sort_by_key(|op| op.begin);
    match ends(&ops, &[State::default()], cache, false).is_empty() {
        false => Ok(()),
        true => Err(shown(&shortest(&ops, cache))),
    }
}

/// What is left of a history that nobody can explain, and the states in which that can begin.
struct Witness {
    ops: Vec<Op>,
    initial: Vec<State>,
}

/// Each step leaves out what cannot have been the cause: what began after the first contradiction,
/// what was over before the last quiet moment from which it still is one, and what only looked.
fn shortest(ops: &[Op], cache: bool) -> Witness {
    let fails = |ops: &[Op], initial: &[State]| ends(ops, initial, cache, false).is_empty();
    let nothing = [State::default()];
    let mut moments: Vec<u64> =
        ops.iter().filter(|op| op.answer.is_some()).map(|o| o.end).collect();
    moments.sort_unstable();
    let first = moments.partition_point(|at| !fails(&until(ops, *at), &nothing));
    let ops = until(ops, moments[first.min(moments.len() - 1)]);
    let quiet = |at: &usize| ops[..*at].iter().all(|op| op.end < ops[*at].begin);
    let mut witness = Witness { initial: nothing.to_vec(), ops: ops.clone() };
    for at in (1..ops.len()).filter(quiet).rev() {
        let initial = ends(&ops[..at], &nothing, cache, true);
        if fails(&ops[at..], &initial) {
            witness = Witness { ops: ops[at..].to_vec(), initial };
            break;
        }
    }
    let mut at = 0;
    while at < witness.ops.len() {
        let mut fewer = witness.ops.clone();
        let op = fewer.remove(at);
        let looks = op.answer.as_ref().is_some_and(Answer::changes_nothing);
        match looks && fails(&fewer, &witness.initial) {
            true => witness.ops = fewer,
            false => at += 1,
        }
    }
    witness
}

/// The history as it was known at a moment.
fn until(ops: &[Op], moment: u64) -> Vec<Op> {
    let begun = ops.iter().filter(|op| op.begin <= moment);
    begun
        .map(|op| match op.end > moment {
            true => Op { answer: None, end: op.end.max(moment), ..*op },
            false => *op,
        })
        .collect()
}

fn shown(witness: &Witness) -> String {
    let (ops, initial) = (&witness.ops, &witness.initial);
    let start = ops.first().map_or(0, |op| op.begin);
    let micros = |at: u64| match at {
        u64::MAX => "      ever".to_string(),
        at => format!("{:10.3}", at.saturating_sub(start) as f64 / 1000.0),
    };
    let mut text = format!("no order of these {} operations explains their answers", ops.len());
    for state in initial {
        let _ = write!(text, "\n  before: {state:?}");
    }
    for op in ops {
        let _ = write!(text, "\n  {} to {} us  {op}", micros(op.begin), micros(op.end));
    }
    text
}
