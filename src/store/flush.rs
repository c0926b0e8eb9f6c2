//! Flush: everything that was stored before is gone, at once or at a time.
//!
//! A flush is a number: a record with this number or an older one is a miss in every verb, dead for
//! the sweep and ignored by a rebuild. The number is drawn when nobody is in the middle of a change:
//! a mark in `meta` stops new ones, then each stripe is latched once, so that whoever began
//! before has ended. So no change can have seen what is flushed and come to be after it.
//! Writers wait while `super` reaches the disk; readers never do.
//!
//! The word FLUSH_AT: 0 nothing is planned; 1, with the process slot of who does it above 48 bits, a
//! flush has begun: changes wait, reads see what was; 2 a planned one is being carried out: changes
//! wait, reads see nothing; else when it is due. A reader that finds a flush begun by a process that
//! is dead sees to it before it answers: nothing that was read vanishes later without a flush.

use super::state::Sole;
use super::stripe::Stripe;
use super::{Store, flusher};
use crate::arena::{Arena, word};
use crate::error::Result;
use crate::limits::{STRIPES, TIME_MAX};

const BEGUN: u64 = 1;
const DUE: u64 = 2;
/// Above all times, and below the process slot of who began.
const SLOT_BITS: u32 = 48;
const _: () = assert!(TIME_MAX < 1 << SLOT_BITS);

fn is_begun(flush_at: u64) -> bool {
    flush_at & ((1 << SLOT_BITS) - 1) == BEGUN
}

impl Store {
    /// Makes everything that was stored before vanish, in one durable step whatever the mode:
    /// now, or at a moment of store time ([`Store::now_ms`]), unix milliseconds. A later call
    /// replaces one that waits; session locks stay. The space comes back by and by.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"before", b"1", 0, Ttl::Never)?;
    /// store.flush(None)?;
    /// store.set(b"after", b"2", 0, Ttl::Never)?;
    /// assert!(store.exists(b"before")?.is_none() && store.exists(b"after")?.is_some());
    ///
    /// store.flush(Some(store.now_ms()? + 3_600_000))?;
    /// assert!(store.exists(b"after")?.is_some(), "for an hour");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn flush(&self, at_ms: Option<u64>) -> Result<()> {
        let arena = self.arena()?;
        arena.check_sync()?;
        let mut sole = Sole::latch(arena)?;
        match at_ms {
            Some(at) if at > arena.now_ms() => plan(&mut sole, at)?,
            _ => begin(&mut sole)?,
        }
        drop(sole);
        flusher::changed(&self.attached.arena, &self.attached.flusher)
    }
}

fn plan(sole: &mut Sole, at_ms: u64) -> Result<()> {
    sole.change(|it| it.flush_at_ms = at_ms.clamp(DUE + 1, TIME_MAX))
}

fn begin(sole: &mut Sole) -> Result<()> {
    // One that is due hides everything already, and stays as it is.
    if !is_due(sole.arena) {
        let me = (sole.arena.peers.slot() as u64) << SLOT_BITS;
        sole.arena.meta.store(word::FLUSH_AT, BEGUN | me);
    }
    complete(sole)
}

/// Draws the number and makes it count. The caller has stopped new changes; if this fails, what
/// was planned is planned again.
fn complete(sole: &mut Sole) -> Result<()> {
    let planned = sole.now().flush_at_ms;
    let done = draw(sole.arena).and_then(|seq| {
        sole.change(|it| {
            it.flush_seq = seq;
            it.flush_at_ms = 0;
        })
    });
    if done.is_err() && sole.now().flush_at_ms == planned {
        sole.arena.meta.store(word::FLUSH_AT, planned);
    }
    done
}

/// A number that is above all that was begun before the mark and below all that comes after.
fn draw(arena: &Arena) -> Result<u64> {
    for number in 0..STRIPES {
        drop(Stripe::latch_number(arena, number)?);
    }
    Ok(arena.next_seq())
}

/// Must a change wait for a flush?
#[inline]
pub(super) fn is_due(arena: &Arena) -> bool {
    let at = arena.meta.load(word::FLUSH_AT);
    at != 0 && (is_begun(at) || is_over(at, &|| arena.now_ms()))
}

/// Does everything count as flushed although the flush has no number yet?
#[cold]
#[inline(never)]
pub(super) fn is_over(flush_at: u64, now_ms: &dyn Fn() -> u64) -> bool {
    !is_begun(flush_at) && (flush_at == DUE || flush_at <= now_ms())
}

/// A flush that has begun and hides nothing yet, for a reader before it looks; 0 = there is none.
#[inline(always)]
pub(super) fn under_way(arena: &Arena) -> u64 {
    let at = arena.meta.load(word::FLUSH_AT);
    if at != 0 && is_begun(at) { at } else { 0 }
}

/// The same reader after its look, with no latch in hand: is what it saw not for good, because the
/// process of that flush is dead, or because it is complete by now? Then it is to look again.
#[cold]
#[inline(never)]
pub(super) fn is_left(arena: &Arena, begun: u64) -> Result<bool> {
    let who = (begun >> SLOT_BITS) as u32;
    let lives = || {
        (who as u64) >= arena.geometry.slots || (arena.peers.alive(who) && !arena.is_claimed(who))
    };
    if lives() && arena.meta.load(word::FLUSH_AT) == begun {
        return Ok(false);
    }
    // What its dead owner made durable counts from now on, what it only began is dropped.
    Sole::latch(arena).map(|_| true)
}

/// The same at once, for who is about to look at much.
pub(super) fn see_to_left(arena: &Arena) -> Result<()> {
    match under_way(arena) {
        0 => Ok(()),
        begun => is_left(arena, begun).map(drop),
    }
}

/// Carries out what is due. Called with no latch of the store's in hand.
#[cold]
#[inline(never)]
pub(super) fn settle(arena: &Arena) -> Result<()> {
    let mut sole = Sole::latch(arena)?;
    if is_due(arena) {
        // For those too whose clock is a tick behind.
        arena.meta.store(word::FLUSH_AT, DUE);
        complete(&mut sole)?;
    }
    Ok(())
}
