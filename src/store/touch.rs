//! New lifetimes: longer in place, shorter by a new record.

use super::commit::{end_of, fill, lengthen};
use super::look::{Known, damaged, read_current};
use super::ops::{Needed, needed, owner_in, pass_fence, with_room};
use super::pack::Packed;
use super::stripe::{Current, Found, Stripe};
use super::sweep::Wanted;
use super::update::{self, Update};
use super::{Stored, owner};
use crate::arena::{Arena, Count};
use crate::error::{Result, collect};
use crate::key::Key;
use crate::limits::OWNER_TRIES;
use crate::lock::Held;
use crate::log::record::RUN;
use crate::options::Ttl;
use crate::sys::map::Scratch;

/// Gives a value a new lifetime. Longer is one store in place; shorter is a new record, because an
/// older copy with the longer life may still lie in the log.
pub(super) fn touch(arena: &Arena, key: &Key, ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
    arena.check_sync()?;
    let stored = match touch_once(arena, key, ttl, held, false)? {
        Touched::Stored(stored) => stored,
        other => touch_at_length(arena, key, ttl, held, other)?,
    };
    if let Stored::Done(_) = stored {
        arena.count(Count::Touches);
    }
    Ok(stored)
}

/// A touch that needs more than one store in place.
#[cold]
#[inline(never)]
fn touch_at_length(
    arena: &Arena,
    key: &Key,
    ttl: Ttl,
    held: Option<&Held>,
    mut touched: Touched,
) -> Result<Stored> {
    for _ in 0..OWNER_TRIES {
        let Touched::Owned(it) = &touched else { break };
        owner::cover(arena, &it.name, it.seq, it.expires_ms)?;
        touched = touch_once(arena, key, ttl, held, false)?;
    }
    if let Touched::Shorten = touched {
        touched = with_room(arena, Wanted::LITTLE, || touch_once(arena, key, ttl, held, true))?;
    }
    match touched {
        Touched::Stored(stored) => Ok(stored),
        Touched::Shorten => shorten_far(arena, key, ttl, held),
        Touched::Owned(_) => Err(owner::busy()),
    }
}

enum Touched {
    Stored(Stored),
    /// The lifetime would become shorter: the value has to be written again.
    Shorten,
    /// The value's owner must live as long first.
    Owned(Box<Needed>),
}

fn touch_once(
    arena: &Arena,
    key: &Key,
    ttl: Ttl,
    held: Option<&Held>,
    may_write: bool,
) -> Result<Touched> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, held)? else {
        return Ok(Touched::Stored(Stored::Lost));
    };
    let now = arena.now_ms();
    let mut scratch = Scratch::new();
    let found = stripe.find_with(key, &mut scratch);
    let current = match &found {
        Found::Present(current) if current.is_alive(arena, now)? => current,
        Found::Damaged { .. } => return Err(damaged(arena)),
        _ => return Ok(Touched::Stored(Stored::Missing)),
    };
    let expires_ms = end_of(arena, ttl, now);
    let mut version = current.header.version();
    let shorter = expires_ms != 0 && (current.expires_ms == 0 || expires_ms < current.expires_ms);
    if shorter {
        if !may_write || current.header.is(RUN) || current.standing.is_owned() {
            return Ok(Touched::Shorten);
        }
        version = shorten(arena, &stripe, key, &found, current, expires_ms, now)?;
    } else if expires_ms != current.expires_ms || current.standing.is_owned() {
        if !current.standing.covers(expires_ms) {
            let name = owner_in(&current.header, &mut scratch);
            return Ok(Touched::Owned(needed(name, current.header.word7, expires_ms)));
        }
        lengthen(arena, current, expires_ms);
    }
    Ok(Touched::Stored(Stored::Done(version)))
}

/// Writes a value again, as it lies there, with an earlier end; gives its version, a new one unless
/// its writer gave it.
#[cold]
fn shorten(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    found: &Found,
    current: &Current,
    expires_ms: u64,
    now_ms: u64,
) -> Result<u64> {
    let mut stored = Vec::new();
    read_current(arena, current, &mut stored)?;
    let packed = Packed::again(&stored, &current.header);
    let flags = current.header.user_flags;
    fill(arena, stripe, key, &packed, None, flags, expires_ms, found, now_ms, None)
}

/// The same for a value that fills whole segments, which takes too long under a latch.
fn shorten_far(arena: &Arena, key: &Key, ttl: Ttl, held: Option<&Held>) -> Result<Stored> {
    let mut no_memory = None;
    let done = update::far(arena, key, held, &mut |present| {
        let Some((value, Known { item, given, .. })) = present else { return Update::Keep };
        match collect(value.len(), value.iter().copied()) {
            Ok(value) => Update::Write {
                value,
                flags: item.flags,
                ttl: Some(ttl),
                mark: item.mark,
                version: *given,
            },
            Err(error) => {
                no_memory = Some(error);
                Update::Keep
            }
        }
    });
    no_memory.map_or(Ok(()), Err)?;
    done.map(|(stored, _)| stored)
}
