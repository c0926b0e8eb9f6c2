//! Reads that take nothing: a reader copies word by word and then looks whether what it copied was
//! still there, while others overwrite, delete, move and recycle, and the table grows. See
//! `src/store/ops.rs` (`look_in`, `judge`, `take`) and `src/store/growth.rs`.
//!
//! A place is a segment with room for one record. It is used again as soon as no slot names it,
//! which in the store takes two syncs: a reader can be slow. All who change are one process here,
//! because latches keep them apart; the write path has a model of its own.
//!
//! Promised: what is read is whole, of this key, and was its value at some moment of the read; a miss
//! is one only if the key was absent at some moment of the read. The last holds as long as a slot's
//! incarnation does not wrap within the read: whoever sleeps through 256 recyclings of a place, and
//! wakes while another key's record is there, between two of its own key's, may miss it.

use crate::rules::{Named, Rules};
use crate::search::{Model, Step, Who};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    SlotAgain,
    OtherAgain,
    TableAgain,
    FirstAgain,
    /// The record's number is loaded again. Nothing here needs that, nor the next but one.
    NumberAgain,
    Checked,
    /// A writer zeroes the first word before it writes the others.
    ZeroFirst,
    FirstLast,
}

/// Every rule that is needed, in words.
pub const RULES: &[Named<Rule>] = &[
    (Rule::SlotAgain, "the slot is loaded again after the copy"),
    (Rule::OtherAgain, "also when the record turns out to be of another key"),
    (Rule::TableAgain, "the stripe's table word is loaded again before anything is believed"),
    (Rule::FirstAgain, "the record's first word is loaded again"),
    (Rule::Checked, "the copy is compared with its checksums"),
    (Rule::FirstLast, "a writer stores the first word after the others"),
];

/// How much may be the same again after a place was recycled. In the store the incarnation in a slot
/// has 8 bits and the salt in a record 32, so the second is for a reader that sleeps through 256
/// recyclings, and the third for one that is unlucky beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wraps {
    Nothing,
    Incarnations,
    SaltsToo,
}

#[derive(Clone, Copy, Debug)]
pub struct Reads {
    pub rules: Rules,
    pub wraps: Wraps,
    /// How often each thing happens at most.
    pub writes: u8,
    pub deletes: u8,
    pub others: u8,
    pub moves: u8,
    pub growths: u8,
}

const PLACES: usize = 2;
/// The key that is read, and the one that comes to lie in its way.
const MINE: usize = 0;
const OTHER: usize = 1;
/// The number of the other key's records.
const STRANGE: u8 = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Place {
    incarnation: u8,
    /// The salt, if the record is whole.
    first: u8,
    number: u8,
    key: u8,
    value: [u8; 2],
}

/// A slot names a place (plus one) and its incarnation.
type Slot = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Changing {
    Nothing,
    /// A record of this key and number goes to this place; so many of its words are stored.
    Record {
        key: u8,
        number: u8,
        place: u8,
        step: u8,
    },
    Growth {
        step: u8,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Reader {
    step: u8,
    table: u8,
    slot: Slot,
    copy: Place,
    /// The numbers that its key had since the read began; bit 0 = none.
    had: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; PLACES],
    /// The table's word: how often it was replaced. It is in one of two regions.
    table: u8,
    slots: [[Slot; 2]; 2],
    changing: Changing,
    left: [u8; 5],
    numbers: u8,
    reader: Reader,
    wrong: Option<&'static str>,
}

impl Reads {
    fn keeps(&self, rule: Rule) -> bool {
        self.rules.keeps(rule as u32)
    }

    fn salt(&self, place: &Place) -> u8 {
        if self.wraps == Wraps::SaltsToo { 1 } else { 1 + place.incarnation }
    }

    fn slot(&self, state: &State, place: u8) -> Slot {
        let incarnation = state.places[place as usize].incarnation;
        (place + 1, if self.wraps == Wraps::Nothing { incarnation } else { 0 })
    }
}

/// What may happen, in the order of `State::left`.
const WRITE: usize = 0;
const DELETE: usize = 1;
const STRANGER: usize = 2;
const MOVE: usize = 3;
const GROW: usize = 4;

const DONE: u8 = 30;

impl Model for Reads {
    type State = State;

    /// The key has its first value, and the read may begin.
    fn start(&self) -> State {
        let mut state = State {
            places: [Place::default(); PLACES],
            table: 0,
            slots: [[(0, 0); 2]; 2],
            changing: Changing::Nothing,
            left: [self.writes, self.deletes, self.others, self.moves, self.growths],
            numbers: 1,
            reader: Reader { had: 1 << 1, ..Reader::default() },
            wrong: None,
        };
        let first = self.salt(&state.places[0]);
        state.places[0] = Place { first, number: 1, value: [1, 1], ..Place::default() };
        state.slots[0][MINE] = self.slot(&state, 0);
        state
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut go = |who, what, change: &dyn Fn(&mut State)| {
            let mut to = state.clone();
            change(&mut to);
            next.push((Step(Who::Process(who), what), to));
        };
        if state.reader.step != DONE {
            self.change(state, &mut |what, change| go(0, what, change));
            self.read(state, &mut |what, change| go(1, what, change));
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        state.wrong
    }

    fn is_over(&self, state: &State) -> bool {
        state.reader.step == DONE
    }

    fn show(&self, state: &State) -> String {
        let place = |p: &Place| {
            let key = ["mine", "other"][p.key as usize];
            format!("{key} {}:{}:{}{}", p.first, p.number, p.value[0], p.value[1])
        };
        format!(
            "[{}] [{}] table {} slots {:?} | reader at {} has [{}]",
            place(&state.places[0]),
            place(&state.places[1]),
            state.table,
            state.slots[state.table as usize % 2],
            state.reader.step,
            place(&state.reader.copy)
        )
    }
}

type Go<'a> = dyn FnMut(&'static str, &dyn Fn(&mut State)) + 'a;

impl Reads {
    fn change(&self, state: &State, go: &mut Go) {
        match state.changing {
            Changing::Nothing => self.begin(state, go),
            Changing::Record { key, number, place, step } => {
                self.write(key, number, place, step, go);
            }
            Changing::Growth { step } => self.grow(state, step, go),
        }
    }

    fn begin(&self, state: &State, go: &mut Go) {
        let region = state.table as usize % 2;
        let slots = state.slots[region];
        let free = (0..PLACES as u8).find(|p| slots.iter().all(|slot| slot.0 != p + 1));
        let mine = slots[MINE];
        let mut record = |which: usize, what, key: usize, number: u8| {
            let (Some(place), true) = (free, state.left[which] > 0) else { return };
            go(what, &|to| {
                to.left[which] -= 1;
                to.numbers += (which == WRITE) as u8;
                to.places[place as usize].incarnation += (self.wraps != Wraps::SaltsToo) as u8;
                let key = key as u8;
                to.changing = Changing::Record { key, number, place, step: 0 };
            });
        };
        record(WRITE, "recycles a place, for a write", MINE, state.numbers + 1);
        record(STRANGER, "recycles a place, for another key", OTHER, STRANGE);
        if mine.0 != 0 {
            let number = state.places[mine.0 as usize - 1].number;
            record(MOVE, "recycles a place, to move the key there", MINE, number);
        }
        if mine.0 != 0 && state.left[DELETE] > 0 {
            go("deletes the key", &|to| {
                to.left[DELETE] -= 1;
                to.slots[region][MINE] = (0, 0);
                to.reader.had |= 1;
            });
        }
        if slots[OTHER].0 != 0 {
            go("deletes the other key", &|to| to.slots[region][OTHER] = (0, 0));
        }
        if state.left[GROW] > 0 {
            go("fills a new table", &|to| {
                to.left[GROW] -= 1;
                to.slots[1 - region] = slots;
                to.changing = Changing::Growth { step: 0 };
            });
        }
    }

    fn write(&self, key: u8, number: u8, place: u8, step: u8, go: &mut Go) {
        let what = ["", "stores the number", "stores the key", "stores half of the value"];
        let what = match step {
            0 if self.keeps(Rule::ZeroFirst) => "zeroes the first word",
            0 if !self.keeps(Rule::FirstLast) => "stores the first word",
            0 => "leaves the first word",
            4 => "stores the rest of the value",
            5 => "stores the first word",
            6 => "stores the slot",
            _ => what[step as usize],
        };
        go(what, &|to| {
            let salt = self.salt(&to.places[place as usize]);
            let at = &mut to.places[place as usize];
            match step {
                0 if !self.keeps(Rule::FirstLast) => at.first = salt,
                0 if self.keeps(Rule::ZeroFirst) => at.first = 0,
                0 => {}
                1 => at.number = number,
                2 => at.key = key,
                3 => at.value[0] = number,
                4 => at.value[1] = number,
                5 => at.first = salt,
                _ => {
                    let region = to.table as usize % 2;
                    to.slots[region][key as usize] = self.slot(to, place);
                    if key == MINE as u8 {
                        to.reader.had |= 1 << number;
                    }
                }
            }
            to.changing = match step {
                6 => Changing::Nothing,
                _ => Changing::Record { key, number, place, step: step + 1 },
            };
        });
    }

    fn grow(&self, state: &State, step: u8, go: &mut Go) {
        let old = 1 - state.table as usize % 2;
        match step {
            0 => go("stores the table's word", &|to| {
                to.table += 1;
                to.changing = Changing::Growth { step: 1 };
            }),
            // The region is used for another stripe, whose slots lead anywhere.
            _ => {
                go("leaves the old table as it is", &|to| to.changing = Changing::Nothing);
                go("empties the old table", &|to| {
                    to.slots[old] = [(0, 0); 2];
                    to.changing = Changing::Nothing;
                });
                let strange = state.slots[state.table as usize % 2][OTHER];
                go("fills the old table with others' slots", &|to| {
                    to.slots[old] = [strange; 2];
                    to.changing = Changing::Nothing;
                });
            }
        }
    }

    fn read(&self, state: &State, go: &mut Go) {
        let reader = &state.reader;
        let place = (reader.slot.0 as usize).saturating_sub(1);
        let now = state.slots[reader.table as usize % 2][MINE];
        let next = |what, go: &mut Go, change: &dyn Fn(&mut Reader)| {
            go(what, &|to| {
                to.reader.step += 1;
                change(&mut to.reader);
            });
        };
        match reader.step {
            0 => next("loads the table's word", go, &|r| r.table = state.table),
            1 => next("loads the slot", go, &|r| {
                r.slot = now;
                r.step = if now.0 == 0 { 20 } else { 2 };
            }),
            2 => next("copies the first word", go, &|r| r.copy.first = state.places[place].first),
            3 => next("copies the number", go, &|r| r.copy.number = state.places[place].number),
            4 => next("copies the key", go, &|r| r.copy.key = state.places[place].key),
            5 => next("copies half of the value", go, &|r| {
                r.copy.value[0] = state.places[place].value[0];
            }),
            6 => next("copies the rest of the value", go, &|r| {
                r.copy.value[1] = state.places[place].value[1];
            }),
            7 => next("loads the slot again", go, &|r| {
                let asks = match r.copy.key as usize {
                    OTHER => self.keeps(Rule::OtherAgain),
                    _ => self.keeps(Rule::SlotAgain),
                };
                if asks && r.slot != now {
                    r.start_over();
                } else if r.copy.key as usize == OTHER {
                    r.step = 20;
                }
            }),
            8 => next("loads the first word again", go, &|r| {
                if self.keeps(Rule::FirstAgain) && r.copy.first != state.places[place].first {
                    r.start_over();
                }
            }),
            9 => next("loads the number again", go, &|r| {
                if self.keeps(Rule::NumberAgain) && r.copy.number != state.places[place].number {
                    r.start_over();
                }
            }),
            // From here on a hit, from 20 on a miss.
            10 | 20 => next("loads the table's word again", go, &|r| {
                if self.keeps(Rule::TableAgain) && r.table != state.table {
                    r.start_over();
                }
            }),
            _ => go("judges what it copied", &|to| self.judge(to)),
        }
    }

    fn judge(&self, to: &mut State) {
        let reader = to.reader;
        let copy = &reader.copy;
        let torn = copy.value != [copy.number; 2] && self.keeps(Rule::Checked);
        // A first word of zero says that nothing is there, checksums or not.
        if reader.step == 11 && (torn || copy.first == 0) {
            // An error, which is no wrong answer; but nobody gets one as long as nothing wraps.
            if self.wraps == Wraps::Nothing {
                to.wrong = Some("what is there is taken for damaged");
            }
        } else if reader.step == 21 && reader.had & 1 == 0 {
            to.wrong = Some("a key that was never absent is missed");
        } else if reader.step == 11 && copy.value[0] != copy.value[1] {
            to.wrong = Some("half of one value and half of another are read as one");
        } else if reader.step == 11 && copy.value[0] == STRANGE {
            to.wrong = Some("another key's value is read");
        } else if reader.step == 11 && reader.had & 1 << copy.value[0] == 0 {
            to.wrong = Some("a value is read that the key did not have during the read");
        }
        to.reader = Reader { step: DONE, ..Reader::default() };
        // What others would do next is nothing to this read.
        if to.wrong.is_none() {
            *to = State { reader: to.reader, ..self.start() };
        }
    }
}

impl Reader {
    fn start_over(&mut self) {
        *self = Reader { had: self.had, ..Reader::default() };
    }
}
