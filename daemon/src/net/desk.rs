//! What a loop's connections have in common: its two buffers, its counters, the time. A connection
//! has it for its turn. Made by `event_loop`, used by `connection`.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::Config;
use super::counters::{LoopCounters, raise};
use super::running::Shared;
use super::wire::Filled;
use crate::limits::{
    ANSWERS_KEPT, OUTPUT_HIGH, OUTPUT_KEPT, READ_AHEAD, READ_AHEAD_BYTES, READ_BUFFER,
};

/// What a turn usually has to say fits.
const OUTPUT_BUFFER: usize = 2 * OUTPUT_HIGH;

/// What was read for a connection before its turn.
pub(super) struct Slot {
    pub bytes: Vec<u8>,
    pub filled: io::Result<Filled>,
    /// What its turn had to say, until it is sent; else empty.
    pub answer: Vec<u8>,
}

/// What a loop's connections share: the buffers, and what is so in this turn.
pub(super) struct Desk {
    pub shared: Arc<Shared>,
    pub thread: usize,
    pub now: Instant,
    /// Whoever has nothing to do any more is ended.
    pub draining: bool,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    pub slots: Vec<Slot>,
    /// Bytes of requests and answers since answers were sent last.
    pub moved: usize,
}

impl Desk {
    pub fn new(shared: Arc<Shared>, thread: usize) -> Desk {
        Desk {
            shared,
            thread,
            now: Instant::now(),
            draining: false,
            input: Vec::with_capacity(READ_BUFFER),
            output: Vec::with_capacity(OUTPUT_BUFFER),
            slots: std::iter::repeat_with(|| Slot {
                bytes: Vec::with_capacity(READ_AHEAD_BYTES),
                filled: Ok(Filled::default()),
                answer: Vec::new(),
            })
            .take(READ_AHEAD)
            .collect(),
            moved: 0,
        }
    }

    /// The input of this turn is what is in a slot; called again, it is not any more.
    pub fn swap_input(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            mem::swap(&mut self.input, &mut slot.bytes);
        }
    }

    /// Puts the output of this turn into its slot, to be sent a little later; false if it is to be
    /// sent at once.
    pub fn keep_answer(&mut self, slot: usize) -> bool {
        let small = !self.output.is_empty() && self.output.len() <= ANSWERS_KEPT;
        let Some(slot) = self.slots.get_mut(slot).filter(|_| small) else { return false };
        mem::swap(&mut self.output, &mut slot.answer);
        true
    }

    /// The output is what was kept in a slot.
    pub fn take_answer(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            mem::swap(&mut self.output, &mut slot.answer);
        }
    }

    /// Have those whose answers are kept waited long enough?
    pub fn is_full(&self) -> bool {
        self.moved >= ANSWERS_KEPT
    }

    /// What the read said that filled a slot; asked once.
    pub fn filled(&mut self, slot: usize) -> io::Result<Filled> {
        match self.slots.get_mut(slot) {
            Some(slot) => mem::replace(&mut slot.filled, Ok(Filled::default())),
            None => Ok(Filled::default()),
        }
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub fn count(&self, count: impl FnOnce(&LoopCounters)) {
        if let Some(counters) = self.shared.counters.loops.get(self.thread) {
            count(counters);
        }
    }

    /// Counts a write.
    pub fn counted(&self, taken: io::Result<usize>) -> io::Result<usize> {
        self.count(|counters| {
            raise(&counters.writes, 1);
            raise(&counters.sent, *taken.as_ref().unwrap_or(&0) as u64);
        });
        taken
    }

    /// After a turn: the output buffer is there, empty, and not kept at the size of a big answer.
    pub fn tidy(&mut self) {
        self.output.clear();
        if self.output.capacity() > OUTPUT_KEPT || self.output.capacity() == 0 {
            self.output = Vec::with_capacity(OUTPUT_BUFFER);
        }
    }
}
