//! Pins: whoever reads the whole log keeps its segments from being freed meanwhile.
//!
//! ```text
//!  word 0   identity of the owner, 0 = not in use; bit 63: broken, the owner has to begin anew
//!  word 1   segments below this one are no longer needed; bit 63: it gives way at once
//! ```
//!
//! A pin holds back one thing: that a drained segment's magic is zeroed. Who zeroes has seen
//! the segment drained *before* it looks for pins, and who pins draws a number afterwards: so
//! whatever is zeroed in spite of a pin was superseded by records up to that number.

use std::time::Duration;

use crate::arena::{Arena, segment as row, word};
use crate::limits::PINS;
use crate::log::segment::{self, DRAINED};
use crate::store::{sweep, sync};

const BROKEN: u64 = 1 << 63;
const AT_ONCE: u64 = 1 << 63;
/// So long a writer without room waits for a copy to pass by, ms.
pub(in crate::store) const PATIENCE: u32 = 300;

/// What happens when writers need the room that a pin holds back.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Gives {
    /// It is broken.
    AtOnce,
    /// It lets go of what was copied, and is broken if that takes too long.
    Soon,
}

/// A hold on all segments; gone with the value, or with its process.
pub(super) struct Pin<'a> {
    arena: &'a Arena,
    at: u64,
    gives: Gives,
}

fn rows() -> impl Iterator<Item = u64> {
    (0..PINS).map(|i| word::PINS + i * 16)
}

/// The owner of a row, if there is one that can still run.
fn owner(arena: &Arena, at: u64) -> Option<u64> {
    let owner = arena.meta.load(at);
    if owner != 0 && arena.is_gone(owner & !BROKEN) {
        let _ = arena.meta.cas(at, owner, 0);
        return None;
    }
    Some(owner).filter(|owner| *owner != 0)
}

impl<'a> Pin<'a> {
    /// `None` if as many as there may be are at work already.
    pub(super) fn take(arena: &'a Arena, gives: Gives) -> Option<Pin<'a>> {
        let me = arena.identity();
        let at =
            rows().find(|at| owner(arena, *at).is_none() && arena.meta.cas(*at, 0, me).is_ok())?;
        let pin = Pin { arena, at, gives };
        pin.pass(0);
        Some(pin)
    }

    /// Does it still hold?
    pub(super) fn holds(&self) -> bool {
        self.arena.meta.load(self.at) == self.arena.identity()
    }

    /// Segments below this one may go.
    pub(super) fn pass(&self, segment: u64) {
        let flag = if self.gives == Gives::AtOnce { AT_ONCE } else { 0 };
        self.arena.meta.store(self.at + 8, segment | flag);
    }

    /// This one may go too, if nobody else needs it: its owner sees to that.
    pub(super) fn release(&self, segment: u64) {
        let (arena, state) = (self.arena, segment::state(self.arena, segment));
        let round = arena.meta.load(arena.geometry.segment(segment) + row::ROUND);
        if state.kind() == DRAINED
            && sync::is_done(arena, round)
            && !rows().any(|at| at != self.at && keeps_row(arena, at, segment))
        {
            sweep::zero(arena, segment, state);
            arena.meta.store(word::DIRTY, 1);
        }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let me = self.arena.identity();
        for mine in [me, me | BROKEN] {
            let _ = self.arena.meta.cas(self.at, mine, 0);
        }
        // What waited for us goes on with the next round.
        self.arena.meta.store(word::DIRTY, 1);
    }
}

fn keeps_row(arena: &Arena, at: u64, segment: u64) -> bool {
    arena.meta.load(at) != 0
        && owner(arena, at).is_some_and(|owner| owner & BROKEN == 0)
        && arena.meta.load(at + 8) & !AT_ONCE <= segment
}

/// Is this segment, which the caller has seen drained, still needed by somebody?
pub(in crate::store) fn keeps(arena: &Arena, segment: u64) -> bool {
    rows().any(|at| keeps_row(arena, at, segment))
}

/// Does anybody hold segments back?
pub(in crate::store) fn is_any(arena: &Arena) -> bool {
    keeps(arena, u64::MAX)
}

/// Writers need the room. False: none of it is held back. Else who holds it was given one of
/// `patience` milliseconds, or holds it no longer.
pub(in crate::store) fn give_way(arena: &Arena, patience: &mut u32) -> bool {
    let held_back =
        |number: u64| segment::state(arena, number).kind() == DRAINED && keeps(arena, number);
    if !(0..arena.geometry.segments).any(held_back) {
        return false;
    }
    let mut waits = false;
    for at in rows().filter(|at| keeps_row(arena, *at, u64::MAX)) {
        let owner = arena.meta.load(at);
        if *patience > 0 && arena.meta.load(at + 8) & AT_ONCE == 0 {
            waits = true;
        } else if owner != 0 {
            let _ = arena.meta.cas(at, owner, owner | BROKEN);
        }
    }
    if waits {
        *patience -= 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
