//! Set and delete, each as short as its rules, and what all that writes goes through: the fence of a
//! lock, and room.

use super::commit::{bury, end_in_place, end_of, fill};
use super::look::damaged;
use super::owner::{self, Tie};
use super::pack::Packed;
use super::stripe::{Current, Found, Stripe};
use super::sweep::{self, Wanted};
use super::write::{check_version, version_with_owner};
use super::{Expect, Stored, Write, life};
use crate::arena::{Arena, Count};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::limits::{LINE, OWNER_TRIES, ROOM_TRIES};
use crate::lock::{self, Held};
use crate::log::record::{self, Header};
use crate::log::{Lane, Run};
use crate::sys::map::Scratch;

/// Refused before anything is done; the store's limit is for values as their writers know them.
#[inline(always)]
pub(super) fn check_length(arena: &Arena, len: usize) -> Result<()> {
    let (len, max) = (len as u64, arena.max_value_bytes());
    if len > max { Err(Error::TooLarge { len, max }) } else { Ok(()) }
}

/// Stores a value, if `expect` and the lock agree.
pub(super) fn put(arena: &Arena, key: &Key, value: &[u8], how: &Write) -> Result<Stored> {
    check_length(arena, value.len())?;
    check_version(how.version)?;
    arena.check_sync()?;
    // It is on its way while the value's checksum is made.
    Stripe::prefetch(arena, key.hash);
    let packed = Packed::new(arena.compresses(), value).said(how.mark, how.version);
    let done = put_packed(arena, key, &packed, how, None);
    if let Ok(Stored::Done(_)) = done {
        arena.count(Count::Sets);
    }
    done
}

/// What a writer saw of the present value: its record, and its lifetime, which has no part in that.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) seq: u64,
    pub(super) expires_ms: u64,
    /// The new value takes it over to the millisecond.
    pub(super) keeps: bool,
}

/// The same for bytes as they will lie there; what was `seen` must still be there.
#[inline(always)]
pub(super) fn put_packed(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    how: &Write,
    seen: Option<Seen>,
) -> Result<Stored> {
    let mut tie = None;
    if let Some(name) = how.owner {
        if packed.given != 0 {
            return Err(version_with_owner());
        }
        let expires_ms = match seen {
            Some(Seen { expires_ms, keeps: true, .. }) => expires_ms,
            _ => end_of(arena, how.ttl, arena.now_ms()),
        };
        tie = match owner::tie(arena, name, expires_ms, how.held)? {
            None => return Ok(Stored::Lost),
            tie => tie,
        };
    }
    for _ in 0..OWNER_TRIES {
        match put_tied(arena, key, packed, how, seen, tie.as_ref())? {
            Once::Stored(stored) => return Ok(stored),
            Once::Untied => tie = None,
            Once::Ending(name) => owner::finish(arena, &name)?,
            Once::Owned(it) => tie = owner::cover(arena, &it.name, it.seq, it.expires_ms)?,
        }
    }
    Err(owner::busy())
}

/// What one try came to. The rare outcomes are kept small by a box: this goes through memory.
enum Once {
    Stored(Stored),
    /// The present value has this owner, which the new one keeps: it must live as long.
    Owned(Box<Needed>),
    /// There is no owner to keep.
    Untied,
    /// The value's owner is being ended, and the lock's age is to be judged by that.
    Ending(Box<[u8]>),
}

/// An owner that must live until then.
pub(super) struct Needed {
    pub(super) name: Vec<u8>,
    pub(super) seq: u64,
    pub(super) expires_ms: u64,
}

#[cold]
pub(super) fn needed(name: Vec<u8>, seq: u64, expires_ms: u64) -> Box<Needed> {
    Box::new(Needed { name, seq, expires_ms })
}

#[inline(always)]
fn put_tied(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    how: &Write,
    seen: Option<Seen>,
    tie: Option<&Tie>,
) -> Result<Once> {
    let names_len = key.bytes.len() + tie.map_or(0, |tie| tie.name.len());
    let segments = Run::segments(arena, names_len, packed.bytes().len() as u64);
    let lines = record::lines(names_len, packed.bytes().len() as u64);
    with_room(arena, Wanted { segments: segments.unwrap_or(1), lines, with_blocks: false }, || {
        let run = match segments {
            Some(count) => Some(Run::write(arena, count, names_len, packed.bytes())?),
            None => None,
        };
        put_once(arena, key, packed, run, how, seen, tie)
    })
}

/// Lets through who has no lock to show, or shows one that is still its own; `None` for who lost
/// it. What it gives is to be kept to the end of the write: nobody takes the lock meanwhile.
#[inline(always)]
pub(super) fn pass_fence<'a>(
    arena: &'a Arena,
    key: &Key,
    held: Option<&Held>,
) -> Result<Option<Option<lock::Bucket<'a>>>> {
    match held {
        None => Ok(Some(None)),
        Some(held) => Ok(lock::confirm(arena, key, held)?.map(Some)),
    }
}

fn put_once(
    arena: &Arena,
    key: &Key,
    packed: &Packed,
    run: Option<Run>,
    how: &Write,
    seen: Option<Seen>,
    tie: Option<&Tie>,
) -> Result<Once> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, how.held)? else {
        return Ok(Once::Stored(Stored::Lost));
    };
    let now = arena.now_ms();
    // All at once: one wait after the other takes longer.
    Stripe::prefetch_record(arena, key.hash, false);
    if run.is_none() {
        Lane::prefetch(arena, record::lines(key.bytes.len(), packed.bytes().len() as u64));
    }
    let mut scratch = Scratch::new();
    let found = stripe.find_with(key, &mut scratch);
    let live = match &found {
        Found::Present(current) if current.is_alive(arena, now)? => Some(*current),
        Found::Damaged { .. } if how.expect != Expect::Any => return Err(damaged(arena)),
        _ => None,
    };
    if let Some(refused) = how.expect.refuses(live.map(|current| current.header.version())) {
        return Ok(Once::Stored(refused));
    }
    if let (Some(held), Found::Present(current)) = (how.held, &found)
        && may_be_late(arena, current, held)
    {
        return Ok(match current.standing.is_ending() {
            true => Once::Ending(owner_in(&current.header, &mut scratch).into()),
            false => Once::Stored(Stored::Lost),
        });
    }
    let mut expires_ms = end_of(arena, how.ttl, now);
    if let (Some(seen), Some(current)) = (seen, live) {
        if (seen.seq, seen.expires_ms) != (current.header.seq, current.expires_ms) {
            return Ok(Once::Stored(Stored::Exists(current.header.version())));
        }
        expires_ms = if seen.keeps { seen.expires_ms } else { expires_ms };
    }
    if let Some(instead) = retie(how, live.as_ref(), tie, expires_ms, &mut scratch) {
        // It is a tie that is missing, and what is tied has no version of its own.
        return if packed.given != 0 { Err(version_with_owner()) } else { Ok(instead) };
    }
    let flags = how.flags;
    let version = fill(arena, &stripe, key, packed, run, flags, expires_ms, &found, now, tie)?;
    Ok(Once::Stored(Stored::Done(version)))
}

/// Was a lock taken before what is there was ended by its owner? If the end is under way that is
/// to be settled first.
#[inline(always)]
pub(super) fn may_be_late(arena: &Arena, current: &Current, held: &Held) -> bool {
    let standing = &current.standing;
    standing.is_owned()
        && (standing.is_ending() || standing.was_ended_after(held.fence))
        && !life::is_flushed(arena, current.header.seq)
}

/// The name of the owner of the record that was read.
#[cold]
pub(super) fn owner_in(header: &Header, scratch: &mut Scratch) -> Vec<u8> {
    scratch.bytes()[LINE as usize + header.key_len as usize..].to_vec()
}

/// Is the new value tied to another owner than it has to be, or to one that ends before it?
#[inline(always)]
fn retie(
    how: &Write,
    live: Option<&Current>,
    tie: Option<&Tie>,
    expires_ms: u64,
    scratch: &mut Scratch,
) -> Option<Once> {
    let keeps = match live {
        Some(current) if how.owner.is_none() && current.standing.is_owned() => {
            Some(&current.header)
        }
        _ => None,
    };
    let tied = |tie: &Tie| Once::Owned(needed(tie.name.clone(), tie.seq, expires_ms));
    match (keeps, tie) {
        (None, None) => None,
        (None, Some(_)) if how.owner.is_none() => Some(Once::Untied),
        (None, Some(tie)) => (!tie.covers(expires_ms)).then(|| tied(tie)),
        (Some(header), tie) => {
            let names = &scratch.bytes()[LINE as usize..];
            match tie.filter(|tie| tie.is_of(header, names)) {
                Some(tie) => (!tie.covers(expires_ms)).then(|| tied(tie)),
                None => {
                    let (name, seq) = (owner_in(header, scratch), header.word7);
                    Some(Once::Owned(needed(name, seq, expires_ms)))
                }
            }
        }
    }
}

/// Runs an operation; when it finds the store full, makes room and runs it again.
pub(super) fn with_room<T>(
    arena: &Arena,
    wanted: Wanted,
    mut operation: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut done = operation();
    for _ in 0..ROOM_TRIES {
        let wanted = match &done {
            Err(Error::Full(_)) => wanted,
            Err(Error::NoSpace(_)) => Wanted { with_blocks: true, ..wanted },
            _ => {
                // What was to be done is done: what helping meets is for others to say.
                let _ = sweep::help(arena, wanted.lines);
                return done;
            }
        };
        // What was made may be taken by somebody else before the next try.
        let made = sweep::make_room(arena, wanted)?;
        done = operation();
        if !made {
            break;
        }
    }
    if matches!(done, Err(Error::Full(_))) {
        arena.count(Count::RefusedFull);
    }
    done
}

/// Which value is to be deleted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Doomed {
    Any,
    Version(u64),
    /// The one with this number, which was read.
    Seq(u64),
}

impl Doomed {
    fn is(self, header: &Header) -> bool {
        match self {
            Doomed::Any => true,
            Doomed::Version(version) => version == header.version(),
            Doomed::Seq(seq) => seq == header.seq,
        }
    }
}

/// Deletes a key, if it is there, is the one that is meant and the lock agrees; says too whether
/// anything was written.
pub(super) fn delete(
    arena: &Arena,
    key: &Key,
    which: Doomed,
    held: Option<&Held>,
) -> Result<(Stored, bool)> {
    arena.check_sync()?;
    let done =
        match with_room(arena, Wanted::LITTLE, || delete_once(arena, key, which, held, false)) {
            Err(Error::Full(_) | Error::NoSpace(_)) => delete_once(arena, key, which, held, true),
            done => done,
        };
    if let Ok((Stored::Done(_), _)) = done {
        arena.count(Count::Deletes);
    }
    done
}

/// With no room for a tombstone (`in_place`) the record becomes its own: its life ends now, by one
/// store. It stays in the index as long as a tombstone would stay in the log.
fn delete_once(
    arena: &Arena,
    key: &Key,
    which: Doomed,
    held: Option<&Held>,
    in_place: bool,
) -> Result<(Stored, bool)> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = pass_fence(arena, key, held)? else {
        return Ok((Stored::Lost, false));
    };
    let now = arena.now_ms();
    let found = stripe.find(key);
    match &found {
        Found::Present(current) if current.is_alive(arena, now)? => {
            if !which.is(&current.header) {
                return Ok((Stored::Exists(current.header.version()), false));
            }
            if in_place {
                end_in_place(arena, current);
                return Ok((Stored::Done(arena.next_seq()), true));
            }
        }
        Found::Damaged { .. } if which == Doomed::Any => {}
        Found::Damaged { .. } => return Err(damaged(arena)),
        _ => return Ok((Stored::Missing, bury_evicted(arena, &stripe, key, &found, now)?)),
    }
    Ok((Stored::Done(bury(arena, &stripe, key, &found, now)?), true))
}

/// Somebody is told that there is nothing, and is to be right: what was evicted may come back after
/// a power loss if nothing says that it is gone. Gives whether that had to be written.
pub(super) fn bury_evicted(
    arena: &Arena,
    stripe: &Stripe,
    key: &Key,
    found: &Found,
    now_ms: u64,
) -> Result<bool> {
    let may_come_back = matches!(found, Found::Absent) && sweep::evict_horizon(arena) > now_ms;
    if may_come_back {
        bury(arena, stripe, key, found, now_ms)?;
    }
    Ok(may_come_back)
}

/// Writes a tombstone whatever is there: for a repair, which takes the record away.
pub(super) fn bury_key(arena: &Arena, key: &Key) -> Result<()> {
    with_room(arena, Wanted::LITTLE, || {
        let stripe = Stripe::latch(arena, key.hash)?;
        bury(arena, &stripe, key, &stripe.find(key), arena.now_ms()).map(drop)
    })
}
