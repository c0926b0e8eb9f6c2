//! Read, compute, write as one step: `update`, and the verbs that are made of it.
//!
//! Nearly always the step is taken under the stripe's latch. What takes long (values that fill
//! whole segments, compressed ones) is read, computed and written without it, and begun anew
//! when the value changed meanwhile; some other writer has then succeeded.

use std::time::Instant;

use super::commit;
use super::look::{self, Known};
use super::ops::{self, Doomed, Seen};
use super::pack::{self, Packed};
use super::stripe::{Found, Stripe, computing};
use super::sweep::Wanted;
use super::write::{Expect, Mark, Write, check_version};
use super::{Item, Store, Stored};
use crate::arena::{Arena, Count};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lock::Held;
use crate::log::Run;
use crate::log::record::{COMPRESSED, RUN};
use crate::options::Ttl;

/// What is to become of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It stays as it is, or absent.
    Keep,
    /// There is this value from now on.
    Write {
        /// Its bytes.
        value: Vec<u8>,
        /// The caller's own 32 bits.
        flags: u32,
        /// A new lifetime; `None` keeps the moment at which the present value ends. Where there is
        /// none it stands for the store's default lifetime.
        ttl: Option<Ttl>,
        /// What it is marked as.
        mark: Mark,
        /// See [`Write::version`].
        version: Option<u64>,
    },
    /// There is none from now on.
    Delete,
}

/// The outcome of an increment or a decrement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Done.
    Done {
        /// The number after it.
        value: u64,
        /// The version now stored.
        version: u64,
    },
    /// The value, of this version, is no number. It stays.
    NotANumber(u64),
    /// See [`Stored::Exists`].
    Exists(u64),
    /// There is no value, and none was to be made.
    Missing,
    /// See [`Stored::Lost`].
    Lost,
}

/// What a caller computes of a value (its bytes, and what is known of it), if there is one.
pub type Compute<'a> = dyn FnMut(Option<(&[u8], &Item)>) -> Update + 'a;

/// The same within the store.
type ComputeKnown<'a> = dyn FnMut(Option<(&[u8], &Known)>) -> Update + 'a;

/// The outcome, and whether anything was written.
type Updated = (Stored, bool);

/// Longest decimal number of 64 bits.
const DIGITS_MAX: usize = 20;

/// Reads, computes and writes one value as one step.
pub(super) fn update(
    arena: &Arena,
    key: &Key,
    held: Option<&Held>,
    compute: &mut Compute,
) -> Result<Updated> {
    arena.check_sync()?;
    let done =
        match ops::with_room(arena, Wanted::LITTLE, || near(arena, key, held, compute, false)) {
            // A delete needs no room.
            Err(Error::Full(_) | Error::NoSpace(_)) => near(arena, key, held, compute, true),
            done => done,
        };
    match done? {
        Some(updated) => Ok(updated),
        None => far(arena, key, held, &mut |present| {
            compute(present.map(|(value, known)| (value, &known.item)))
        }),
    }
}

/// The step under the stripe's latch; `None` if it would take too long there.
fn near(
    arena: &Arena,
    key: &Key,
    held: Option<&Held>,
    compute: &mut Compute,
    in_place: bool,
) -> Result<Option<Updated>> {
    let stripe = Stripe::latch(arena, key.hash)?;
    let Some(_fence) = ops::pass_fence(arena, key, held)? else {
        return Ok(Some((Stored::Lost, false)));
    };
    let now = arena.now_ms();
    let found = stripe.find(key);
    let live = match &found {
        Found::Present(current) if current.is_alive(arena, now)? => Some(current),
        Found::Damaged { .. } => return Err(look::damaged(arena)),
        _ => None,
    };
    if let (Some(held), Found::Present(current)) = (held, &found)
        && ops::may_be_late(arena, current, held)
    {
        return Ok(None);
    }
    let is_long = |len: u64| pack::is_tried(arena.compresses(), len);
    let mut value = Vec::new();
    let item = match live {
        Some(current) => {
            let len = current.header.value_len as u64;
            let owned = current.standing.is_owned();
            if owned || current.header.is(RUN | COMPRESSED) || is_long(len) {
                return Ok(None);
            }
            look::read_current(arena, current, &mut value)?;
            Some(look::item(&current.header, len, current.expires_ms))
        }
        None => None,
    };
    let step = computing(|| compute(item.as_ref().map(|item| (&value[..], item))));
    match (step, live) {
        (Update::Keep, Some(current)) => Ok(Some((Stored::Done(current.header.version()), false))),
        (Update::Keep, None) => Ok(Some((Stored::Missing, false))),
        (Update::Delete, None) => {
            let wrote = ops::bury_evicted(arena, &stripe, key, &found, now)?;
            Ok(Some((Stored::Missing, wrote)))
        }
        (Update::Delete, Some(current)) => {
            let seq = if in_place {
                commit::end_in_place(arena, current);
                arena.next_seq()
            } else {
                commit::bury(arena, &stripe, key, &found, now)?
            };
            arena.count(Count::Deletes);
            Ok(Some((Stored::Done(seq), true)))
        }
        (Update::Write { value, flags, ttl, mark, version }, live) => {
            ops::check_length(arena, value.len())?;
            check_version(version)?;
            let len = value.len() as u64;
            if is_long(len) || Run::segments(arena, key.bytes.len(), len).is_some() {
                return Ok(None);
            }
            let expires_ms = match (ttl, live) {
                (None, Some(current)) => current.expires_ms,
                (ttl, _) => commit::end_of(arena, ttl.unwrap_or(Ttl::Default), now),
            };
            let packed = Packed::new(false, &value).said(mark, version);
            let version = commit::fill(
                arena, &stripe, key, &packed, None, flags, expires_ms, &found, now, None,
            )?;
            arena.count(Count::Sets);
            Ok(Some((Stored::Done(version), true)))
        }
    }
}

/// The same without the latch, as often as others come between.
pub(super) fn far(
    arena: &Arena,
    key: &Key,
    held: Option<&Held>,
    compute: &mut ComputeKnown,
) -> Result<Updated> {
    let begun = Instant::now();
    let mut old = Vec::new();
    loop {
        let known = look::read(arena, key, &mut old)?;
        let step = compute(known.as_ref().map(|known| (&old[..], known)));
        let stored = match (step, &known) {
            (Update::Keep, known) => {
                // Nothing is written, and whoever lost his lock is to learn that all the same.
                let kept =
                    known.as_ref().map_or(Stored::Missing, |it| Stored::Done(it.item.version));
                let holds = ops::pass_fence(arena, key, held)?.is_some();
                return Ok((if holds { kept } else { Stored::Lost }, false));
            }
            (Update::Delete, known) => {
                // No record has the number 0: what came meanwhile stays, and is looked at.
                let which = Doomed::Seq(known.as_ref().map_or(0, |known| known.seq));
                match ops::delete(arena, key, which, held)? {
                    (Stored::Missing, wrote) if known.is_none() => {
                        return Ok((Stored::Missing, wrote));
                    }
                    (stored, _) => stored,
                }
            }
            (Update::Write { value, flags, ttl, mark, version }, known) => {
                ops::check_length(arena, value.len())?;
                check_version(version)?;
                let how = Write {
                    flags,
                    ttl: ttl.unwrap_or(Ttl::Default),
                    expect: known.as_ref().map_or(Expect::Absent, |_| Expect::Present),
                    held,
                    ..Write::default()
                };
                let seen = |known: &Known| Seen {
                    seq: known.seq,
                    expires_ms: known.item.expires_ms,
                    keeps: ttl.is_none(),
                };
                let packed = Packed::new(arena.compresses(), &value).said(mark, version);
                ops::put_packed(arena, key, &packed, &how, known.as_ref().map(seen))?
            }
        };
        match stored {
            Stored::Done(_) => return Ok((stored, true)),
            Stored::Lost => return Ok((stored, false)),
            Stored::Exists(_) | Stored::Missing => {}
        }
        if begun.elapsed() >= arena.operation_timeout {
            return Err(Error::Busy(format!(
                "others changed this key's value again and again for {} ms; try again, or let one \
                 at a time work on it with a session lock",
                arena.operation_timeout.as_millis()
            )));
        }
    }
}

/// What counting takes for a number: up to 20 digits, at most 2^64 - 1. White space behind it, which
/// memcached leaves there, does not count.
///
/// ```
/// assert_eq!(holdfast::number(b"7  "), Some(7));
/// assert_eq!(holdfast::number(b"7 apples"), None);
/// ```
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.trim_ascii_end();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn joined(first: &[u8], second: &[u8]) -> Result<Vec<u8>> {
    let (mut both, len) = (Vec::new(), first.len() + second.len());
    both.try_reserve_exact(len).map_err(|_| Error::no_memory(len as u64))?;
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    Ok(both)
}

impl Store {
    /// Reads a value, computes what is to become of it, and does that, as one step: nobody else's
    /// write comes between. `Done` has the version that is there afterwards (of a delete: its own),
    /// `Missing` says that there was nothing and is nothing. With a lock it happens only while the
    /// lock is the caller's; with `sync` what was written is on the disk when the call returns.
    ///
    /// `compute` gets the present value, if there is one. It must only compute: it may run more
    /// than once, and mostly runs while other writers of a 256th of the keys wait. What it needs to
    /// tell its caller (a sum that would overflow, say) it notes, and keeps the value. It must not
    /// call the store, which would wait for itself: where that is noticed it is [`Error::Invalid`],
    /// else it ends after the operation timeout.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"tags", b"red", 0, Ttl::Never)?;
    /// store.update(b"tags", None, false, &mut |present| match present {
    ///     Some((tags, item)) => {
    ///         let value = [tags, b",blue"].concat();
    ///         let (mark, version) = (Mark::None, None);
    ///         Update::Write { value, flags: item.flags, ttl: None, mark, version }
    ///     }
    ///     None => Update::Keep,
    /// })?;
    /// let mut value = Vec::new();
    /// store.get(b"tags", &mut value)?;
    /// assert_eq!(value, b"red,blue");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn update(
        &self,
        key: &[u8],
        held: Option<&Held>,
        sync: bool,
        compute: &mut Compute,
    ) -> Result<Stored> {
        let arena = self.arena()?;
        match update(arena, &self.key(arena, key)?, held, compute)? {
            (stored, true) => self.changed(arena, sync).map(|()| stored),
            (stored, false) => Ok(stored),
        }
    }

    /// Adds to a decimal number of 64 bits, which wraps around at its end. Flags and lifetime stay;
    /// mark and version are what `how` says. With `initial`, a number that is missing is made, with
    /// this value and as `how` says.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let how = Write { ttl: Ttl::Millis(60_000), ..Write::default() };
    /// assert_eq!(store.increment(b"hits", 1, None, &how)?, Counted::Missing);
    /// assert!(matches!(store.increment(b"hits", 1, Some(1), &how)?, Counted::Done { value: 1, .. }));
    /// assert!(matches!(store.increment(b"hits", 5, None, &how)?, Counted::Done { value: 6, .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn increment(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted> {
        self.count(key, initial, how, |number| number.wrapping_add(delta))
    }

    /// Takes from a decimal number of 64 bits, down to 0 at the least; else as
    /// [`Store::increment`]. (The number becomes shorter: no spaces are left behind it.)
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"stock", b"10", 0, Ttl::Never)?;
    /// let how = Write::default();
    /// assert!(matches!(store.decrement(b"stock", 1, None, &how)?, Counted::Done { value: 9, .. }));
    /// assert!(matches!(store.decrement(b"stock", 99, None, &how)?, Counted::Done { value: 0, .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn decrement(
        &self,
        key: &[u8],
        delta: u64,
        initial: Option<u64>,
        how: &Write,
    ) -> Result<Counted> {
        self.count(key, initial, how, |number| number.saturating_sub(delta))
    }

    fn count(
        &self,
        key: &[u8],
        initial: Option<u64>,
        how: &Write,
        next: impl Fn(u64) -> u64,
    ) -> Result<Counted> {
        if how.owner.is_some() {
            return Err(Error::Invalid(
                "counting leaves a value the owner that it has; give it one with set_owner".into(),
            ));
        }
        // What the last run of the computation came to, with the version still to be filled in.
        let mut counted = Counted::Lost;
        let stored = self.update(key, how.held, how.sync, &mut |present| {
            let version = present.map(|(_, item)| item.version);
            let write = |value: u64, flags: u32, ttl: Option<Ttl>| Update::Write {
                value: value.to_string().into_bytes(),
                flags,
                ttl,
                mark: how.mark,
                version: how.version,
            };
            let (outcome, step) = match (how.expect.refuses(version), present, initial) {
                (Some(Stored::Exists(version)), ..) => (Counted::Exists(version), Update::Keep),
                (Some(_), ..) | (None, None, None) => (Counted::Missing, Update::Keep),
                (None, None, Some(value)) => {
                    (Counted::Done { value, version: 0 }, write(value, how.flags, Some(how.ttl)))
                }
                (None, Some((bytes, item)), _) => match number(bytes).map(&next) {
                    Some(value) => {
                        (Counted::Done { value, version: 0 }, write(value, item.flags, None))
                    }
                    None => (Counted::NotANumber(item.version), Update::Keep),
                },
            };
            counted = outcome;
            step
        })?;
        Ok(match (counted, stored) {
            (_, Stored::Lost) => Counted::Lost,
            (Counted::Done { value, .. }, Stored::Done(version)) => {
                Counted::Done { value, version }
            }
            (counted, _) => counted,
        })
    }

    /// Adds bytes at the end of a value; flags and lifetime stay, a mark does not. There must be one.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// assert_eq!(store.append(b"log", b"one;", None, false)?, Stored::Missing);
    /// store.set(b"log", b"one;", 0, Ttl::Never)?;
    /// store.append(b"log", b"two;", None, false)?;
    /// store.prepend(b"log", b"zero;", None, false)?;
    /// let mut value = Vec::new();
    /// store.get(b"log", &mut value)?;
    /// assert_eq!(value, b"zero;one;two;");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn append(
        &self,
        key: &[u8],
        bytes: &[u8],
        held: Option<&Held>,
        sync: bool,
    ) -> Result<Stored> {
        self.extend(key, held, sync, bytes.len(), |present| joined(present, bytes))
    }

    /// Adds bytes at the beginning of a value; else as [`Store::append`].
    pub fn prepend(
        &self,
        key: &[u8],
        bytes: &[u8],
        held: Option<&Held>,
        sync: bool,
    ) -> Result<Stored> {
        self.extend(key, held, sync, bytes.len(), |present| joined(bytes, present))
    }

    fn extend(
        &self,
        key: &[u8],
        held: Option<&Held>,
        sync: bool,
        by: usize,
        make: impl Fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Stored> {
        ops::check_length(self.arena()?, by)?;
        let mut failed = None;
        let stored = self.update(key, held, sync, &mut |present| {
            let Some((bytes, item)) = present else { return Update::Keep };
            match make(bytes) {
                Ok(value) => {
                    let (mark, version) = (Mark::None, None);
                    Update::Write { value, flags: item.flags, ttl: None, mark, version }
                }
                Err(error) => {
                    failed = Some(error);
                    Update::Keep
                }
            }
        })?;
        failed.map_or(Ok(stored), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_is_up_to_20_digits_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"007  "), Some(7));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for no in
            [&b""[..], b" ", b"-1", b"+1", b" 1", b"1x", b"18446744073709551616", b"1\0", b"\xff"]
        {
            assert_eq!(number(no), None, "{no:?}");
        }
        assert_eq!(number(b"000000000000000000001"), None, "21 digits");
    }
}
