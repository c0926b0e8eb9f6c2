//! The write path: a stripe's latch, its redo, a lane, a record, a slot, and processes that die at
//! any step of it. See `src/store/stripe.rs`, `src/store/ops.rs` (`write`), `src/log/lane.rs`,
//! `src/sys/latch.rs`, and the claim of a process slot in `src/store/attach.rs`.
//!
//! There is one lane, and its segment has room for every record: rolls are left out. A key has one
//! slot for life. The slot of a deleted key is 0 in the store; here it goes on naming the tombstone,
//! so that the check can tell one absence from another, and no step looks at that.
//!
//! Promised: who begins to read finds nothing older than what was acknowledged or read before; a
//! write that a reader found not done, after its writer's death, is never done; a rebuild from the
//! log finds the same at any moment; nobody waits for ever.

use crate::rules::{Named, Rules};
use crate::search::{Model, Step, Who};

/// What the write path is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    ArmedFirst,
    FlagLast,
    HealsAlways,
    LaneFirst,
    ThiefZeroes,
    ComparesNumber,
    KeepsRedo,
    RecordNamed,
    TakesByte,
    ClaimHeals,
    LanesBeforeStripes,
    ClaimSettles,
    ClaimSaid,
    ReaderSettles,
    AsksFirst,
    WriterNamed,
    BorrowIsNoLife,
}

/// Every rule, in words.
pub const RULES: &[Named<Rule>] = &[
    (Rule::ArmedFirst, "the redo is armed before the record is whole"),
    (Rule::FlagLast, "the redo's flag is stored after what it stands for"),
    (Rule::HealsAlways, "whoever takes a stripe looks at its redo, also if the latch was free"),
    (Rule::LaneFirst, "a healer takes the redo's lane before it looks at the record"),
    (Rule::ThiefZeroes, "a thief of a lane zeroes the first word at the tail"),
    (Rule::ComparesNumber, "a healer compares the record's number with the redo's"),
    (Rule::KeepsRedo, "a healer that does not get the lane leaves the redo armed"),
    (Rule::RecordNamed, "the redo names the record apart from the slot's new word"),
    (Rule::TakesByte, "a thief holds the dead owner's byte while it takes the latch"),
    (Rule::ClaimHeals, "who claims a process slot first heals what bears its number"),
    (Rule::LanesBeforeStripes, "and the lanes before the stripes"),
    (Rule::ClaimSettles, "and what its number armed, whoever has that latch now"),
    (Rule::ClaimSaid, "it says so before it takes the byte, until all that is healed"),
    (Rule::ReaderSettles, "a reader settles what a dead writer left armed for its key"),
    (Rule::AsksFirst, "it looks at the redo before it looks at the slot"),
    (Rule::WriterNamed, "the redo says who armed it, which need not be who has the latch"),
    (Rule::BorrowIsNoLife, "a byte that a thief holds for a moment is no sign of life"),
];

/// How many keys, how many processes at most.
const KEYS: usize = 2;
const PROCESSES: usize = 3;
const RECORDS: usize = 5;
const NOBODY: u8 = 0;

/// What is done, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct WritePath {
    pub rules: Rules,
    /// The stripe of each key.
    pub stripe_of: [u8; KEYS],
    /// Writes of each process; who has none never dies of one.
    pub writes: [u8; PROCESSES],
    pub reads: [u8; PROCESSES],
    /// Every write of the first key is a delete.
    pub deletes: bool,
    pub deaths: u8,
}

/// What a process is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Idle,
    Dead,
    // A slot is claimed: its byte is held, and what bears its number is healed.
    ClaimLane,
    ClaimStripe(u8),
    ClaimFree,
    // The stripe's latch, and healing under it.
    Latch,
    Steal { prey: u8 },
    Look,
    HealLane,
    HealLaneSteal { prey: u8 },
    HealZero,
    HealRecord,
    HealDisarm,
    HealDone,
    GiveUp,
    // A write.
    Lane,
    LaneSteal { prey: u8 },
    LaneZero,
    Number,
    Body,
    Arm,
    ArmFlag,
    Whole,
    Tail,
    LaneFree,
    Publish,
    Disarm,
    Release,
    // A read.
    AskRedo,
    AskLife { writer: u8 },
    AskClaim { writer: u8 },
    Load,
    Judge,
    LoadLatched,
    ReleaseRead,
}

/// What it is doing it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum For {
    Write,
    Read,
    Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    why: For,
    key: u8,
    seq: u8,
    /// The record it read: its place plus one.
    saw: u8,
    /// What its read must not fall behind, and the dead writers' numbers when it began.
    floor: u8,
    orphans: u16,
    writes: u8,
    reads: u8,
}

/// A life byte: held by its process, borrowed by a thief (its number plus two), or free.
const FREE: u8 = 0;
const LIFE: u8 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Stripe {
    owner: u8,
    armed: bool,
    /// Which slot, and its new word: the record's place plus one.
    key: u8,
    slot: u8,
    record: u8,
    seq: u8,
    /// Who armed it.
    writer: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    key: u8,
    seq: u8,
    whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    processes: [Process; PROCESSES],
    bytes: [u8; PROCESSES],
    /// Somebody is about to claim the slot, or has not healed all that bears its number.
    claimed: [bool; PROCESSES],
    stripes: [Stripe; 2],
    lane: u8,
    tail: u8,
    log: [Record; RECORDS],
    slots: [u8; KEYS],
    seq: u8,
    deaths: u8,
    /// Of each key: the highest number that was acknowledged or read.
    floor: [u8; KEYS],
    /// Numbers whose writers died before they acknowledged them, and those found not done since.
    orphans: [u16; KEYS],
    never: u16,
    wrong: Option<&'static str>,
}

impl WritePath {
    fn keeps(&self, rule: Rule) -> bool {
        self.rules.keeps(rule as u32)
    }

    fn is_delete(&self, key: u8) -> bool {
        self.deletes && key == 0
    }
}

impl Model for WritePath {
    type State = State;

    fn start(&self) -> State {
        let idle = |who: usize| Process {
            at: At::Idle,
            why: For::Write,
            key: 0,
            seq: 0,
            saw: 0,
            floor: 0,
            orphans: 0,
            writes: self.writes[who],
            reads: self.reads[who],
        };
        State {
            processes: std::array::from_fn(idle),
            bytes: [LIFE; PROCESSES],
            claimed: [false; PROCESSES],
            stripes: [Stripe::default(); 2],
            lane: NOBODY,
            tail: 0,
            log: [Record::default(); RECORDS],
            slots: [0; KEYS],
            seq: 0,
            deaths: self.deaths,
            floor: [0; KEYS],
            orphans: [0; KEYS],
            never: 0,
            wrong: None,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        for who in 0..PROCESSES {
            let mut go = |what, change: &dyn Fn(&mut State)| {
                let mut to = state.clone();
                change(&mut to);
                next.push((Step(Who::Process(who as u8), what), to));
            };
            self.step(state, who, &mut go);
            if state.deaths > 0 && !matches!(state.processes[who].at, At::Idle | At::Dead) {
                go("dies", &|to| to.die(who));
            }
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        state.wrong.or_else(|| state.rebuilt_wrong())
    }

    fn is_over(&self, state: &State) -> bool {
        state.processes.iter().all(|process| match process.at {
            At::Idle => process.writes == 0 && process.reads == 0,
            At::Dead => process.writes == 0 && process.reads == 0,
            _ => false,
        })
    }

    fn show(&self, state: &State) -> String {
        let at: Vec<String> = state.processes.iter().map(|p| format!("{:?}", p.at)).collect();
        let stripe = |s: &Stripe| match s.armed {
            true => format!("{}+redo({},{})", s.owner, s.record, s.seq),
            false => format!("{}", s.owner),
        };
        let log: Vec<String> = state
            .log
            .iter()
            .filter(|record| record.seq != 0)
            .map(|r| {
                format!("{}{}{}", ["a", "b"][r.key as usize], r.seq, if r.whole { "" } else { "?" })
            })
            .collect();
        format!(
            "{} | stripes {} {} lane {} tail {} | {} | slots {:?} bytes {:?}",
            at.join(" "),
            stripe(&state.stripes[0]),
            stripe(&state.stripes[1]),
            state.lane,
            state.tail,
            log.join(" "),
            state.slots,
            state.bytes
        )
    }
}

/// Adds a step: what it is called, and what it changes.
type Go<'a> = dyn FnMut(&'static str, &dyn Fn(&mut State)) + 'a;

impl WritePath {
    fn step(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        match me.at {
            At::Idle => self.begin(state, who, go),
            At::Dead => self.claim(state, who, go),
            At::ClaimLane | At::ClaimStripe(_) | At::ClaimFree => self.claim_heals(state, who, go),
            At::Latch | At::Steal { .. } => self.latch(state, who, go),
            At::Look
            | At::HealLane
            | At::HealLaneSteal { .. }
            | At::HealZero
            | At::HealRecord
            | At::HealDisarm
            | At::HealDone
            | At::GiveUp => self.heal(state, who, go),
            At::AskRedo
            | At::AskLife { .. }
            | At::AskClaim { .. }
            | At::Load
            | At::Judge
            | At::LoadLatched
            | At::ReleaseRead => self.read(state, who, go),
            _ => self.write(state, who, go),
        }
    }

    fn begin(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        for key in 0..KEYS as u8 {
            if me.writes > 0 {
                go(["begins to write a", "begins to write b"][key as usize], &|to| {
                    let me = &mut to.processes[who];
                    (me.at, me.why, me.key) = (At::Latch, For::Write, key);
                    me.writes -= 1;
                });
            }
            if me.reads > 0 {
                go(["begins to read a", "begins to read b"][key as usize], &|to| {
                    let (floor, orphans) = (to.floor[key as usize], to.orphans[key as usize]);
                    let me = &mut to.processes[who];
                    let asks = self.keeps(Rule::ReaderSettles) && self.keeps(Rule::AsksFirst);
                    me.at = if asks { At::AskRedo } else { At::Load };
                    (me.why, me.key, me.floor, me.orphans) = (For::Read, key, floor, orphans);
                    me.reads -= 1;
                });
            }
        }
    }

    /// A new process takes the number of one that died. It can wait, so it need not.
    fn claim(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        if state.bytes[who] != FREE || (me.writes == 0 && me.reads == 0) {
            return;
        }
        go("a new process claims the slot", &|to| {
            to.bytes[who] = LIFE;
            to.claimed[who] = self.keeps(Rule::ClaimSaid) && self.keeps(Rule::ClaimHeals);
            let lanes_first = self.keeps(Rule::LanesBeforeStripes);
            to.processes[who].at = match self.keeps(Rule::ClaimHeals) {
                true if lanes_first => At::ClaimLane,
                true => At::ClaimStripe(0),
                false => At::Idle,
            };
            if to.processes[who].at != At::Idle {
                to.processes[who].why = For::Claim;
            }
        });
    }

    fn claim_heals(&self, state: &State, who: usize, go: &mut Go) {
        let mine = who as u8 + 1;
        let lanes_first = self.keeps(Rule::LanesBeforeStripes);
        match state.processes[who].at {
            At::ClaimLane => go("heals the lane if it bears its number", &|to| {
                if to.lane == mine {
                    to.zero_tail(self);
                    to.lane = NOBODY;
                }
                match lanes_first {
                    true => to.processes[who].at = At::ClaimStripe(0),
                    false => to.begin_life(who),
                }
            }),
            At::ClaimStripe(2) => go("has healed the stripes", &|to| match lanes_first {
                true => to.begin_life(who),
                false => to.processes[who].at = At::ClaimLane,
            }),
            At::ClaimStripe(number) => {
                let stripe = &state.stripes[number as usize];
                let armed = stripe.armed && stripe.writer == mine;
                if stripe.owner == mine {
                    go("takes up a stripe that bears its number", &|to| {
                        to.processes[who].key = number;
                        to.processes[who].at = At::Look;
                    });
                } else if armed && self.keeps(Rule::ClaimSettles) {
                    go("finds a redo that its number armed", &|to| {
                        to.processes[who].key = number;
                        to.processes[who].at = At::Latch;
                    });
                } else {
                    go("passes a stripe", &|to| {
                        to.processes[who].at = At::ClaimStripe(number + 1);
                    });
                }
            }
            At::ClaimFree => go("lets go of the stripe", &|to| {
                let number = to.processes[who].key;
                to.stripes[number as usize].owner = NOBODY;
                to.processes[who].at = At::ClaimStripe(number + 1);
            }),
            _ => unreachable!("only claims come here"),
        }
    }

    /// Which stripe a process is at: that of its key, or the one that its claim came to.
    fn stripe(&self, process: &Process) -> usize {
        match process.why {
            For::Claim => process.key as usize,
            _ => self.stripe_of[process.key as usize] as usize,
        }
    }

    fn latch(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        let which = self.stripe(me);
        let owner = state.stripes[which].owner;
        match me.at {
            At::Latch if owner == NOBODY => go("takes the stripe", &|to| {
                to.stripes[which].owner = who as u8 + 1;
                to.processes[who].at = match self.keeps(Rule::HealsAlways) {
                    true => At::Look,
                    false => to.processes[who].work(),
                };
            }),
            At::Latch => self.prey(state, who, owner, At::Steal { prey: owner - 1 }, go),
            At::Steal { prey } => go("exchanges the stripe's owner", &|to| {
                to.give_byte(who, prey);
                let stolen = to.stripes[which].owner == prey + 1;
                if stolen {
                    to.stripes[which].owner = who as u8 + 1;
                }
                to.processes[who].at = if stolen { At::Look } else { At::Latch };
            }),
            _ => unreachable!("only latches come here"),
        }
    }

    /// Finds the owner of a latch dead, and begins to take it from it.
    fn prey(&self, state: &State, who: usize, owner: u8, then: At, go: &mut Go) {
        let prey = owner as usize - 1;
        if state.bytes[prey] == FREE && prey != who {
            go("finds its owner's byte free", &|to| {
                if self.keeps(Rule::TakesByte) {
                    to.bytes[prey] = who as u8 + 2;
                }
                to.processes[who].at = then;
            });
        }
    }

    fn heal(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        let which = self.stripe(me);
        let at = |to: &mut State, at: At| to.processes[who].at = at;
        match me.at {
            At::Look if !state.stripes[which].armed => go("finds no redo", &|to| {
                let work = to.processes[who].work();
                to.processes[who].at = work;
            }),
            At::Look if self.keeps(Rule::LaneFirst) => {
                go("finds a redo", &|to| at(to, At::HealLane));
            }
            At::Look => go("finds a redo", &|to| at(to, At::HealRecord)),
            At::HealLane if state.lane == NOBODY => go("takes the redo's lane", &|to| {
                to.lane = who as u8 + 1;
                at(to, At::HealRecord);
            }),
            At::HealLane => {
                let owner = state.lane;
                self.prey(state, who, owner, At::HealLaneSteal { prey: owner - 1 }, go);
                if state.bytes[owner as usize - 1] == LIFE && me.why != For::Claim {
                    go("does not get the lane in time", &|to| {
                        if !self.keeps(Rule::KeepsRedo) {
                            to.stripes[which].armed = false;
                        }
                        at(to, At::GiveUp);
                    });
                }
            }
            At::HealLaneSteal { prey } => go("exchanges the lane's owner", &|to| {
                to.give_byte(who, prey);
                let stolen = to.lane == prey + 1;
                if stolen {
                    to.lane = who as u8 + 1;
                }
                at(to, if stolen { At::HealZero } else { At::HealLane });
            }),
            At::HealZero => go("zeroes the word at the tail", &|to| {
                to.zero_tail(self);
                at(to, At::HealRecord);
            }),
            At::HealRecord => go("looks at the redo's record", &|to| {
                let redo = to.stripes[which];
                let found = match self.keeps(Rule::RecordNamed) || !self.is_delete(redo.key) {
                    true => to.log[redo.record as usize],
                    // A delete's new word is 0, which names no record.
                    false => Record::default(),
                };
                if found.whole && (found.seq == redo.seq || !self.keeps(Rule::ComparesNumber)) {
                    to.slots[redo.key as usize] = redo.slot;
                }
                at(to, At::HealDisarm);
            }),
            At::HealDisarm => go("disarms the redo", &|to| {
                to.stripes[which].armed = false;
                at(to, At::HealDone);
            }),
            At::HealDone => go("lets go of the lane", &|to| {
                if to.lane == who as u8 + 1 {
                    to.lane = NOBODY;
                }
                let work = to.processes[who].work();
                at(to, work);
            }),
            At::GiveUp => go("lets go of the stripe: busy", &|to| {
                to.stripes[which].owner = NOBODY;
                to.processes[who].rest();
            }),
            _ => unreachable!("only healers come here"),
        }
    }

    fn write(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        let (which, mine) = (self.stripe(me), who as u8 + 1);
        let armed_first = self.keeps(Rule::ArmedFirst);
        let at = |to: &mut State, at: At| to.processes[who].at = at;
        match me.at {
            At::Lane if state.lane == NOBODY => go("takes the lane", &|to| {
                to.lane = mine;
                at(to, At::Number);
            }),
            At::Lane => {
                self.prey(state, who, state.lane, At::LaneSteal { prey: state.lane - 1 }, go)
            }
            At::LaneSteal { prey } => go("exchanges the lane's owner", &|to| {
                to.give_byte(who, prey);
                let stolen = to.lane == prey + 1;
                if stolen {
                    to.lane = mine;
                }
                at(to, if stolen { At::LaneZero } else { At::Lane });
            }),
            At::LaneZero => go("zeroes the word at the tail", &|to| {
                to.zero_tail(self);
                at(to, At::Number);
            }),
            At::Number => go("draws a number", &|to| {
                to.seq += 1;
                to.processes[who].seq = to.seq;
                at(to, At::Body);
            }),
            At::Body => go("writes all but the first word", &|to| {
                let me = to.processes[who];
                to.log[to.tail as usize] = Record { key: me.key, seq: me.seq, whole: false };
                at(to, if armed_first { At::Arm } else { At::Whole });
            }),
            At::Arm => go("stores the redo's words", &|to| {
                let (me, tail) = (to.processes[who], to.tail);
                let redo = &mut to.stripes[which];
                if self.keeps(Rule::FlagLast) {
                    (redo.slot, redo.record, redo.seq) = (tail + 1, tail, me.seq);
                    redo.writer = mine;
                } else {
                    (redo.armed, redo.key) = (true, me.key);
                }
                at(to, At::ArmFlag);
            }),
            At::ArmFlag => go("arms the redo", &|to| {
                let (me, tail) = (to.processes[who], to.tail);
                let redo = &mut to.stripes[which];
                (redo.armed, redo.key) = (true, me.key);
                (redo.slot, redo.record, redo.seq) = (tail + 1, tail, me.seq);
                redo.writer = mine;
                at(to, if armed_first { At::Whole } else { At::Tail });
            }),
            At::Whole => go("stores the first word", &|to| {
                to.log[to.tail as usize].whole = true;
                at(to, if armed_first { At::Tail } else { At::Arm });
            }),
            At::Tail => go("moves the tail", &|to| {
                to.processes[who].saw = to.tail + 1;
                to.tail += 1;
                at(to, At::LaneFree);
            }),
            At::LaneFree => go("lets go of the lane", &|to| {
                to.lane = NOBODY;
                at(to, At::Publish);
            }),
            At::Publish => go("stores the slot", &|to| {
                let me = to.processes[who];
                to.slots[me.key as usize] = me.saw;
                at(to, At::Disarm);
            }),
            At::Disarm => go("disarms the redo", &|to| {
                to.stripes[which].armed = false;
                at(to, At::Release);
            }),
            At::Release => go("lets go of the stripe: acknowledged", &|to| {
                let me = to.processes[who];
                to.stripes[which].owner = NOBODY;
                let floor = &mut to.floor[me.key as usize];
                *floor = me.seq.max(*floor);
                to.processes[who].rest();
            }),
            _ => unreachable!("only writers come here"),
        }
    }

    fn read(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        let which = self.stripe(me);
        let then = if self.keeps(Rule::AsksFirst) { At::Load } else { At::Judge };
        let at = |to: &mut State, at: At| to.processes[who].at = at;
        match me.at {
            At::AskRedo => {
                let stripe = &state.stripes[which];
                let writer =
                    if self.keeps(Rule::WriterNamed) { stripe.writer } else { stripe.owner };
                match stripe.armed && stripe.key == me.key {
                    true if writer == NOBODY => {
                        go("finds its key's redo armed", &|to| at(to, At::Latch))
                    }
                    true => go("finds its key's redo armed", &|to| {
                        at(to, At::AskLife { writer: writer - 1 });
                    }),
                    false => go("finds nothing to settle", &|to| at(to, then)),
                }
            }
            At::AskLife { writer } => {
                let byte = state.bytes[writer as usize];
                match byte == LIFE || byte != FREE && !self.keeps(Rule::BorrowIsNoLife) {
                    true => go("finds its writer alive", &|to| at(to, At::AskClaim { writer })),
                    false => go("finds its writer dead", &|to| at(to, At::Latch)),
                }
            }
            At::AskClaim { writer } if state.claimed[writer as usize] => {
                go("finds its writer's slot claimed anew", &|to| at(to, At::Latch));
            }
            At::AskClaim { .. } => go("leaves it to its writer", &|to| at(to, then)),
            At::Load => go("loads the slot", &|to| {
                to.processes[who].saw = to.slots[to.processes[who].key as usize];
                let asks = self.keeps(Rule::ReaderSettles) && !self.keeps(Rule::AsksFirst);
                at(to, if asks { At::AskRedo } else { At::Judge });
            }),
            At::Judge => go("gives what it read", &|to| to.answer(who)),
            At::LoadLatched => go("loads the slot under the latch", &|to| {
                to.processes[who].saw = to.slots[to.processes[who].key as usize];
                at(to, At::ReleaseRead);
            }),
            At::ReleaseRead => go("lets go of the stripe, gives what it read", &|to| {
                to.stripes[which].owner = NOBODY;
                to.answer(who);
            }),
            _ => unreachable!("only readers come here"),
        }
    }
}

impl Process {
    /// What it took the stripe for.
    fn work(&self) -> At {
        match self.why {
            For::Write => At::Lane,
            For::Read => At::LoadLatched,
            For::Claim => At::ClaimFree,
        }
    }

    /// Forgets what it did, so that states that differ in nothing else are one.
    fn rest(&mut self) {
        *self = Process {
            at: At::Idle,
            why: For::Write,
            key: 0,
            seq: 0,
            saw: 0,
            floor: 0,
            orphans: 0,
            ..*self
        };
    }
}

impl State {
    /// A claim is over: the process is one like any other.
    fn begin_life(&mut self, who: usize) {
        self.claimed[who] = false;
        self.processes[who].rest();
    }

    fn die(&mut self, who: usize) {
        let me = self.processes[who];
        if me.why == For::Write && me.seq != 0 {
            self.orphans[me.key as usize] |= 1 << me.seq;
        }
        self.processes[who].rest();
        self.processes[who].at = At::Dead;
        self.bytes[who] = FREE;
        for byte in &mut self.bytes {
            if *byte == who as u8 + 2 {
                *byte = FREE;
            }
        }
        self.deaths -= 1;
    }

    fn give_byte(&mut self, who: usize, prey: u8) {
        if self.bytes[prey as usize] == who as u8 + 2 {
            self.bytes[prey as usize] = FREE;
        }
    }

    fn zero_tail(&mut self, model: &WritePath) {
        if model.keeps(Rule::ThiefZeroes) {
            self.log[self.tail as usize] = Record::default();
        }
    }

    /// A read ends: with what its slot names, judged by what was promised when it began.
    fn answer(&mut self, who: usize) {
        let me = self.processes[who];
        let key = me.key as usize;
        let record = match me.saw {
            0 => Record { key: me.key, seq: 0, whole: true },
            place => self.log[place as usize - 1],
        };
        if !record.whole || record.key != me.key {
            self.wrong = Some("a slot names a record that is not there");
        } else if record.seq < me.floor {
            self.wrong = Some("what was acknowledged or read is gone");
        } else if self.never & 1 << record.seq != 0 {
            self.wrong = Some("a write appears that was read as not done");
        }
        self.floor[key] = self.floor[key].max(record.seq);
        let above = u16::MAX.checked_shl(record.seq as u32 + 1).unwrap_or(0);
        self.never |= me.orphans & above;
        self.processes[who].rest();
    }

    /// What a rebuild would find wrong now: everybody dies, and only the log is left.
    fn rebuilt_wrong(&self) -> Option<&'static str> {
        for key in 0..KEYS {
            let records = self.log.iter().filter(|record| record.whole && record.seq != 0);
            let winner =
                records.filter(|r| r.key as usize == key).map(|r| r.seq).max().unwrap_or(0);
            if winner < self.floor[key] {
                return Some("a rebuild loses what was acknowledged or read");
            }
            if self.never & 1 << winner != 0 {
                return Some("a rebuild brings a write that was read as not done");
            }
        }
        None
    }
}
