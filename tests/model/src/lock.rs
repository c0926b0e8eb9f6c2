//! Session locks: an entry with an owner and a fence, tickets in order, a reservation for whoever is
//! next, holders and waiters that die, and a holder that is stopped until its lease is broken. See
//! `src/lock/`.
//!
//! There is one key. Each process takes its lock once, writes under it and gives it back; some give
//! up waiting. A clock is a step that may come at any time: the end of a slice, of a reservation, of
//! a lease. So nothing here depends on how long anything takes. Those who poll are left out.
//!
//! Promised: nobody writes whose lock is another's; nobody is overtaken who lives, waits, and did
//! not let its turn pass; whatever happened, everybody can still come to an end.

use crate::rules::{Named, Rules};
use crate::search::{Model, Step, Who};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    FenceCompared,
    FenceFresh,
    LatchedWrite,
    NewcomerQueues,
    Reserved,
    HolderProbed,
    DeadSkipped,
    TurnPasses,
    Slices,
}

/// Every rule, in words.
pub const RULES: &[Named<Rule>] = &[
    (Rule::FenceCompared, "a write compares its fence with the entry's"),
    (
        Rule::FenceFresh,
        "a fence is a number that was never issued before, not a count of the entry's",
    ),
    (Rule::LatchedWrite, "a fenced write keeps the latch from the comparison to the write"),
    (Rule::NewcomerQueues, "a newcomer queues while there is a ticket"),
    (Rule::Reserved, "a release reserves the lock for the lowest living ticket"),
    (Rule::HolderProbed, "the first in line looks whether the holder lives"),
    (Rule::DeadSkipped, "the first in line is the lowest ticket of somebody alive"),
    (Rule::TurnPasses, "a reservation that nobody comes for passes to the next"),
    (Rule::Slices, "waiters sleep in slices and look by themselves"),
];

const PROCESSES: usize = 3;
const NOBODY: u8 = 0;

#[derive(Clone, Copy, Debug)]
pub struct Locks {
    pub rules: Rules,
    pub deaths: u8,
    /// Leases that may be broken, and waiters that may give up.
    pub leases: u8,
    pub leavers: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Idle,
    /// In line, about to look; asleep.
    Look,
    Sleep,
    /// Under the latch: everything is stored but the owner.
    Take,
    Held,
    /// Compared its fence, and is about to write.
    Write,
    Written,
    /// Under the latch: the owner is gone, nobody has been told.
    PassOn,
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    fence: u8,
    /// Its place in line; 0 = none.
    ticket: u8,
    woken: bool,
    /// It did not come in time when the lock was reserved for it.
    late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    processes: [Process; PROCESSES],
    latch: u8,
    /// The entry: is there one, whose is it, for which ticket is it kept, and until when.
    there: bool,
    owner: u8,
    fence: u8,
    reserved: u8,
    over: bool,
    waiters: u8,
    tickets: u8,
    seq: u8,
    left: [u8; 3],
    wrong: Option<&'static str>,
}

const DEATH: usize = 0;
const LEASE: usize = 1;
const LEAVE: usize = 2;

impl Locks {
    fn keeps(&self, rule: Rule) -> bool {
        self.rules.keeps(rule as u32)
    }
}

impl Model for Locks {
    type State = State;

    fn start(&self) -> State {
        let idle = Process { at: At::Idle, fence: 0, ticket: 0, woken: false, late: false };
        State {
            processes: [idle; PROCESSES],
            latch: NOBODY,
            there: false,
            owner: NOBODY,
            fence: 0,
            reserved: 0,
            over: false,
            waiters: 0,
            tickets: 0,
            seq: 0,
            left: [self.deaths, self.leases, self.leavers],
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
            let at = state.processes[who].at;
            if state.left[DEATH] > 0 && !matches!(at, At::Idle | At::Done | At::Dead) {
                go("dies", &|to| {
                    to.left[DEATH] -= 1;
                    to.processes[who].at = At::Dead;
                });
            }
            let free = state.latch == NOBODY || !state.lives(state.latch);
            let mine = state.latch == who as u8 + 1;
            if mine {
                self.latched(state, who, &mut go);
            } else if free || matches!(at, At::Sleep | At::Write | At::Written) {
                self.step(state, who, &mut go);
            }
        }
        if state.reserved != 0 && !state.over && self.keeps(Rule::TurnPasses) {
            let mut to = state.clone();
            to.over = true;
            if let Some(late) = to.processes.iter_mut().find(|p| p.ticket == state.reserved) {
                late.late = true;
            }
            next.push((Step(Who::World, "the reservation's time is over"), to));
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        state.wrong
    }

    fn is_over(&self, state: &State) -> bool {
        state.processes.iter().all(|process| matches!(process.at, At::Done | At::Dead))
    }

    fn show(&self, state: &State) -> String {
        let process = |p: &Process| format!("{:?}#{}", p.at, p.ticket);
        let at: Vec<String> = state.processes.iter().map(process).collect();
        format!(
            "{} | owner {} fence {} reserved {}{} latch {}",
            at.join(" "),
            state.owner,
            state.fence,
            state.reserved,
            if state.over { " (over)" } else { "" },
            state.latch
        )
    }
}

type Go<'a> = dyn FnMut(&'static str, &dyn Fn(&mut State)) + 'a;

impl Locks {
    /// What begins without the latch, and ends without it or keeps it.
    fn step(&self, state: &State, who: usize, go: &mut Go) {
        let me = &state.processes[who];
        match me.at {
            At::Idle => go("asks for the lock", &|to| self.ask(to, who)),
            At::Look => {
                go("looks whether it is its turn", &|to| self.look(to, who, false));
                if state.left[LEASE] > 0 && state.owner != NOBODY {
                    go("finds the lease over", &|to| self.look(to, who, true));
                }
                if state.left[LEAVE] > 0 {
                    go("gives up waiting", &|to| self.leave(to, who));
                }
            }
            At::Sleep if me.woken => go("is woken", &|to| {
                to.processes[who].woken = false;
                to.processes[who].at = At::Look;
            }),
            At::Sleep if self.keeps(Rule::Slices) => {
                go("ends its slice", &|to| to.processes[who].at = At::Look);
            }
            At::Held => go("compares its fence", &|to| {
                let passes = to.is_held_by(who) || !self.keeps(Rule::FenceCompared);
                to.latch = match passes && self.keeps(Rule::LatchedWrite) {
                    true => who as u8 + 1,
                    false => NOBODY,
                };
                to.processes[who].at = if passes { At::Write } else { At::Done };
            }),
            At::Write => go("writes", &|to| to.write(who)),
            At::Written if state.latch == NOBODY || !state.lives(state.latch) => {
                go("begins to give the lock back", &|to| {
                    to.latch = NOBODY;
                    to.processes[who].at = At::Done;
                    if to.is_held_by(who) {
                        (to.latch, to.owner) = (who as u8 + 1, NOBODY);
                        to.processes[who].at = At::PassOn;
                    }
                });
            }
            _ => {}
        }
    }

    /// What goes on under the latch.
    fn latched(&self, state: &State, who: usize, go: &mut Go) {
        match state.processes[who].at {
            At::Take => go("stores itself as the owner", &|to| {
                to.owner = who as u8 + 1;
                to.latch = NOBODY;
                (to.processes[who].at, to.processes[who].ticket) = (At::Held, 0);
            }),
            At::Write => go("writes, and lets go of the latch", &|to| {
                to.write(who);
                to.latch = NOBODY;
            }),
            At::PassOn => go("passes the lock on", &|to| {
                self.pass_on(to);
                to.latch = NOBODY;
                to.processes[who].at = At::Done;
            }),
            _ => {}
        }
    }

    fn ask(&self, to: &mut State, who: usize) {
        to.latch = NOBODY;
        if !to.there {
            (to.there, to.owner, to.reserved, to.waiters, to.tickets) = (true, NOBODY, 0, 0, 0);
            if !self.keeps(Rule::FenceFresh) {
                to.fence = 0;
            }
            return self.take(to, who);
        }
        let free = to.owner == NOBODY || !to.lives(to.owner);
        if free && (self.lowest(to, 0).is_none() || !self.keeps(Rule::NewcomerQueues)) {
            return self.take(to, who);
        }
        to.tickets += 1;
        to.waiters += 1;
        (to.processes[who].at, to.processes[who].ticket) = (At::Look, to.tickets);
    }

    /// Everything but the owner's word, which makes it the owner.
    fn take(&self, to: &mut State, who: usize) {
        let mine = to.processes[who].ticket;
        let overtaken = |p: &Process| {
            matches!(p.at, At::Look | At::Sleep) && !p.late && (mine == 0 || p.ticket < mine)
        };
        if to.processes.iter().any(|p| p.ticket != mine && overtaken(p)) {
            to.wrong = Some("somebody is overtaken");
        }
        to.fence = match self.keeps(Rule::FenceFresh) {
            true => to.seq + 1,
            false => to.fence + 1,
        };
        to.seq += 1;
        (to.owner, to.reserved, to.over) = (NOBODY, 0, false);
        to.latch = who as u8 + 1;
        (to.processes[who].at, to.processes[who].fence) = (At::Take, to.fence);
    }

    /// The lowest ticket above a number; the dead met on the way are removed.
    fn lowest(&self, to: &mut State, above: u8) -> Option<u8> {
        loop {
            let waiting = |p: &&Process| p.ticket != 0;
            to.waiters = to.processes.iter().filter(waiting).count() as u8;
            let queue = (0..PROCESSES).filter(|who| to.processes[*who].ticket > above);
            let lowest = queue.min_by_key(|who| to.processes[*who].ticket)?;
            if to.processes[lowest].at != At::Dead || !self.keeps(Rule::DeadSkipped) {
                return Some(lowest as u8);
            }
            to.processes[lowest].ticket = 0;
        }
    }

    fn look(&self, to: &mut State, who: usize, lease_is_over: bool) {
        to.latch = NOBODY;
        to.processes[who].at = At::Sleep;
        let mine = to.processes[who].ticket;
        let first = self.lowest(to, 0) == Some(who as u8);
        let gone = to.owner != NOBODY && !to.lives(to.owner) && self.keeps(Rule::HolderProbed);
        if to.owner == NOBODY || (first && gone) {
            let for_all = to.reserved == 0 || to.owner != NOBODY;
            if to.reserved == mine || (for_all && first) || !self.keeps(Rule::Reserved) {
                return self.take_in_line(to, who);
            }
            if for_all || !to.over {
                return;
            }
            let next = self.lowest(to, to.reserved).or_else(|| self.lowest(to, 0));
            match next {
                Some(next) if next != who as u8 => to.reserve_for(next),
                _ => self.take_in_line(to, who),
            }
        } else if lease_is_over && first {
            to.left[LEASE] -= 1;
            self.take_in_line(to, who);
        }
    }

    fn take_in_line(&self, to: &mut State, who: usize) {
        to.waiters = to.waiters.saturating_sub(1);
        self.take(to, who);
    }

    fn leave(&self, to: &mut State, who: usize) {
        to.latch = NOBODY;
        to.left[LEAVE] -= 1;
        let (mine, waiters) = (to.processes[who].ticket, to.waiters);
        (to.processes[who].at, to.processes[who].ticket) = (At::Done, 0);
        to.waiters = waiters.saturating_sub(1);
        if to.owner == NOBODY && (to.reserved == mine || waiters <= 1) {
            self.pass_on(to);
        }
    }

    fn pass_on(&self, to: &mut State) {
        to.owner = NOBODY;
        match if to.waiters != 0 { self.lowest(to, 0) } else { None } {
            Some(next) => to.reserve_for(next),
            None => to.there = false,
        }
    }
}

impl State {
    fn lives(&self, owner: u8) -> bool {
        self.processes[owner as usize - 1].at != At::Dead
    }

    /// As an entry tells it: by the fence. Threads of one process have one owner's word.
    fn is_held_by(&self, who: usize) -> bool {
        self.there && self.owner != NOBODY && self.fence == self.processes[who].fence
    }

    fn reserve_for(&mut self, next: u8) {
        let next = &mut self.processes[next as usize];
        next.woken = true;
        (self.reserved, self.over) = (next.ticket, false);
    }

    fn write(&mut self, who: usize) {
        if self.owner != who as u8 + 1 {
            self.wrong = Some("somebody writes whose lock is another's");
        }
        self.processes[who].at = At::Written;
    }
}
