//! Writes that ask for more: conditions, the disk, and computing the new value from the old one.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use super::boundary::{self, Out, invalid};
use super::failure::guarded;
use super::results::*;
use super::types::*;
use super::values::{item_of, outcome};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::lock::Held;
use crate::options::Ttl;
use crate::store::{Counted, Expect, Item, Mark, Stored, Update, Write};

/// The options of a write, with the copy of the lock in them.
pub(super) struct Asked<'a> {
    flags: u32,
    ttl: Ttl,
    expect: Expect,
    held: Option<Held>,
    sync: bool,
    owner: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    /// # Safety
    /// NULL, or a struct of the size that it says, whose lock is NULL or readable, and whose owner
    /// is NULL or readable while `'a` lasts.
    pub(super) unsafe fn of(options: *const holdfast_write_options) -> Result<Asked<'a>> {
        let mut copy = MaybeUninit::uninit();
        let none = holdfast_write_options::default();
        let asked = match options.is_null() {
            true => &none,
            // SAFETY: as demanded of the caller.
            false => unsafe { boundary::versioned(options, &mut copy, "options")? },
        };
        if asked.reserved != 0 {
            return Err(invalid("options.reserved must be 0"));
        }
        Ok(Asked {
            flags: asked.flags,
            ttl: boundary::ttl(asked.ttl_ms)?,
            expect: expect(asked)?,
            // SAFETY: as demanded of the caller.
            held: unsafe { boundary::held(asked.lock)? },
            sync: sync(asked.write_flags)?,
            // SAFETY: as demanded of the caller.
            owner: unsafe { boundary::optional_owner(asked.owner, asked.owner_len)? },
        })
    }

    pub(super) fn write(&self) -> Write<'_> {
        Write {
            flags: self.flags,
            ttl: self.ttl,
            expect: self.expect,
            held: self.held.as_ref(),
            sync: self.sync,
            owner: self.owner,
            ..Write::default()
        }
    }
}

fn expect(asked: &holdfast_write_options) -> Result<Expect> {
    let expect = match asked.expect {
        HOLDFAST_EXPECT_ANY => Expect::Any,
        HOLDFAST_EXPECT_ABSENT => Expect::Absent,
        HOLDFAST_EXPECT_PRESENT => Expect::Present,
        HOLDFAST_EXPECT_VERSION => return Ok(Expect::Version(asked.expected)),
        other => {
            return Err(Error::Unsupported(format!(
                "options.expect is {other}, which this version of the library does not know"
            )));
        }
    };
    // Else a caller that forgets `expect` would write over what it meant to compare.
    match asked.expected {
        0 => Ok(expect),
        _ => Err(invalid("options.expected is for HOLDFAST_EXPECT_VERSION, else it must be 0")),
    }
}

fn sync(write_flags: u32) -> Result<bool> {
    match write_flags & !HOLDFAST_WRITE_SYNC {
        0 => Ok(write_flags & HOLDFAST_WRITE_SYNC != 0),
        unknown => Err(Error::Unsupported(format!(
            "write_flags has {unknown:#x}, which this version of the library does not know"
        ))),
    }
}

/// Stores a value as the options say: holdfast_set(), holdfast_add(), holdfast_replace() and
/// holdfast_cas() in one, and on the disk if asked.
///
/// Parameters
/// - `key`, `key_len`, `value`, `value_len`: as for holdfast_set().
/// - `options`: see holdfast_write_options; NULL = as holdfast_set() with the default lifetime.
/// - `version`: the version stored, or the one that is there; may be NULL.
///
/// Results
/// - HOLDFAST_OK: stored, `version` is the new one.
/// - HOLDFAST_EXISTS: HOLDFAST_EXPECT_ABSENT and there is a value, or HOLDFAST_EXPECT_VERSION and
///   it has another version: `version` is that one.
/// - HOLDFAST_MISSING: one was expected and there is none.
/// - HOLDFAST_LOST: the lock is no longer held.
/// - The failures of holdfast_set(); HOLDFAST_E_DAMAGED when nobody can say whether there is one.
///
/// May block as holdfast_set() does, with HOLDFAST_WRITE_SYNC for the disk. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_write(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    options: *const holdfast_write_options,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key and value, NULL or valid options and version, by the
        // rules of the header.
        let (store, key, value, asked, version) = unsafe {
            let store = boundary::store(store)?;
            let (key, value) = (boundary::key(key, key_len)?, boundary::value(value, value_len)?);
            (store, key, value, Asked::of(options)?, Out::optional(version, "version")?)
        };
        Ok(outcome(store.write(key, value, &asked.write())?, &version))
    })
}

/// Adds to a number, as one step: of many at the same time none is lost. A number is a value of 1
/// to 20 decimal digits, up to UINT64_MAX; spaces behind it do not count. The sum wraps around
/// after UINT64_MAX. Flags and the end of its life stay.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `delta`: what to add.
/// - `initial`: a number to be stored, instead of adding, if there is no value; NULL = none is
///   made.
/// - `options`: flags and lifetime for a number that is made; condition, lock and
///   HOLDFAST_WRITE_SYNC. NULL = none of it.
/// - `number`: the number after it; may be NULL.
/// - `version`: the version stored, or the one that is there; may be NULL.
///
/// Results: HOLDFAST_OK: `number` and `version` are written. HOLDFAST_NOT_A_NUMBER: the value is
/// none and stays, `version` is its version. HOLDFAST_MISSING: there is no value, and none was to
/// be made or it was expected. HOLDFAST_EXISTS, HOLDFAST_LOST: as for holdfast_write(). The failures
/// of holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_write() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_increment(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    delta: u64,
    initial: *const u64,
    options: *const holdfast_write_options,
    number: *mut u64,
    version: *mut u64,
) -> c_int {
    let verb = |store: &dyn Backend, key: &[u8], initial, how: &Write| {
        store.increment(key, delta, initial, how)
    };
    // SAFETY: as demanded of the caller.
    unsafe { count(store, (key, key_len), initial, options, (number, version), verb) }
}

/// Takes from a number, as one step; it stops at 0. Else as holdfast_increment(). (Unlike memcached
/// no spaces are left behind a number that became shorter.)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_decrement(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    delta: u64,
    initial: *const u64,
    options: *const holdfast_write_options,
    number: *mut u64,
    version: *mut u64,
) -> c_int {
    let verb = |store: &dyn Backend, key: &[u8], initial, how: &Write| {
        store.decrement(key, delta, initial, how)
    };
    // SAFETY: as demanded of the caller.
    unsafe { count(store, (key, key_len), initial, options, (number, version), verb) }
}

/// The one way of both.
///
/// # Safety
/// A live handle; a readable key; all else NULL or valid.
unsafe fn count(
    store: *mut holdfast_store,
    (key, key_len): (*const c_void, usize),
    initial: *const u64,
    options: *const holdfast_write_options,
    (number, version): (*mut u64, *mut u64),
    verb: impl Fn(&dyn Backend, &[u8], Option<u64>, &Write) -> Result<Counted>,
) -> c_int {
    guarded(|| {
        // SAFETY: as demanded of the caller.
        let (store, key, initial, asked, number, version) = unsafe {
            let store = boundary::store(store)?;
            let key = boundary::key(key, key_len)?;
            let initial = match initial.is_null() {
                true => None,
                false => {
                    boundary::check(initial, "initial")?;
                    Some(initial.read())
                }
            };
            let number = Out::optional(number, "number")?;
            (store, key, initial, Asked::of(options)?, number, Out::optional(version, "version")?)
        };
        Ok(match verb(store, key, initial, &asked.write())? {
            Counted::Done { value, version: now } => {
                number.set(value);
                outcome(Stored::Done(now), &version)
            }
            Counted::NotANumber(present) => {
                version.set(present);
                HOLDFAST_NOT_A_NUMBER
            }
            Counted::Exists(present) => outcome(Stored::Exists(present), &version),
            Counted::Missing => HOLDFAST_MISSING,
            Counted::Lost => HOLDFAST_LOST,
        })
    })
}

/// Adds bytes at the end of a value, as one step. Flags and the end of its life stay.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `bytes`, `len`: what to add; `bytes` may be NULL when `len` is 0.
/// - `lock`: as for holdfast_set().
/// - `write_flags`: HOLDFAST_WRITE_SYNC or 0.
/// - `version`: the version stored; may be NULL.
///
/// Results: HOLDFAST_OK; HOLDFAST_MISSING: there is no value, and none was made; HOLDFAST_LOST: the
/// lock is no longer held. HOLDFAST_E_TOO_LARGE: it would be longer than max_value_bytes; the other
/// failures of holdfast_set(), and HOLDFAST_E_DAMAGED. After each of these it is as it was. May
/// block as holdfast_write() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_append(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    bytes: *const c_void,
    len: usize,
    lock: *const holdfast_lock,
    write_flags: u32,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key and bytes, NULL or valid lock and version, by the
        // rules of the header.
        let (store, key, bytes, held, version) = unsafe {
            let store = boundary::store(store)?;
            let (key, bytes) = (boundary::key(key, key_len)?, boundary::value(bytes, len)?);
            (store, key, bytes, boundary::held(lock)?, Out::optional(version, "version")?)
        };
        Ok(outcome(store.append(key, bytes, held.as_ref(), sync(write_flags)?)?, &version))
    })
}

/// Adds bytes at the beginning of a value; else as holdfast_append().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_prepend(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    bytes: *const c_void,
    len: usize,
    lock: *const holdfast_lock,
    write_flags: u32,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as in `holdfast_append`.
        let (store, key, bytes, held, version) = unsafe {
            let store = boundary::store(store)?;
            let (key, bytes) = (boundary::key(key, key_len)?, boundary::value(bytes, len)?);
            (store, key, bytes, boundary::held(lock)?, Out::optional(version, "version")?)
        };
        Ok(outcome(store.prepend(key, bytes, held.as_ref(), sync(write_flags)?)?, &version))
    })
}

/// Reads a value, has a function compute what is to become of it, and does that, as one step:
/// nobody else's write comes between.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `lock`: as for holdfast_set().
/// - `write_flags`: HOLDFAST_WRITE_SYNC or 0.
/// - `compute`: see holdfast_update_fn for what it may do; `context` is passed to it, otherwise
///   untouched.
/// - `version`: the version that is there afterwards (of a delete: its own); may be NULL.
///
/// Results
/// - HOLDFAST_OK: kept, stored or deleted, as computed.
/// - HOLDFAST_MISSING: there was no value and is none.
/// - HOLDFAST_LOST: the lock is no longer held; nothing was changed.
/// - HOLDFAST_E_INVALID: the function returned none of HOLDFAST_UPDATE_..., or a value, a lifetime or
///   a field that makes no sense, or it called the library; HOLDFAST_E_TOO_LARGE: its value is
///   longer than max_value_bytes. Nothing was changed.
/// - HOLDFAST_E_BUSY: also when others change a large or compressed value again and again for
///   operation_timeout_ms.
/// - The other failures of holdfast_set(), and HOLDFAST_E_DAMAGED.
///
/// May block as holdfast_write() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_update(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    lock: *const holdfast_lock,
    write_flags: u32,
    compute: holdfast_update_fn,
    context: *mut c_void,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as in `holdfast_append`.
        let (store, key, held, version) = unsafe {
            let (store, key) = (boundary::store(store)?, boundary::key(key, key_len)?);
            (store, key, boundary::held(lock)?, Out::optional(version, "version")?)
        };
        let Some(compute) = compute else { return Err(invalid("compute is NULL")) };
        let mut failed = None;
        let stored = store.update(key, held.as_ref(), sync(write_flags)?, &mut |present| {
            // SAFETY: the caller's own function, called as its type says.
            let step = unsafe { computed(store, present, compute, context) };
            let (step, error) = match step {
                Ok(step) => (step, None),
                Err(error) => (Update::Keep, Some(error)),
            };
            failed = error;
            step
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(outcome(stored, &version)),
        }
    })
}

/// One call of the caller's function; what it gives is copied at once.
///
/// # Safety
/// `compute` is a function of that type, and gives a value that is readable when it returns.
unsafe fn computed(
    store: &dyn Backend,
    present: Option<(&[u8], &Item)>,
    compute: unsafe extern "C" fn(
        *mut c_void,
        *const c_void,
        usize,
        *const holdfast_item,
        *mut holdfast_change,
    ) -> c_int,
    context: *mut c_void,
) -> Result<Update> {
    let mut change = holdfast_change {
        struct_size: size_of::<holdfast_change>(),
        value: std::ptr::null(),
        value_len: 0,
        ttl_ms: HOLDFAST_TTL_KEEP,
        flags: present.map_or(0, |(_, item)| item.flags),
        reserved: 0,
    };
    let asked = match present {
        // SAFETY: as demanded of the caller; all pointers are to memory of this frame or of the
        // caller of it.
        None => unsafe { compute(context, std::ptr::null(), 0, std::ptr::null(), &mut change) },
        Some((value, item)) => {
            let item = item_of(store, item)?;
            // SAFETY: as above.
            unsafe { compute(context, value.as_ptr().cast(), value.len(), &item, &mut change) }
        }
    };
    match asked {
        HOLDFAST_UPDATE_KEEP => Ok(Update::Keep),
        HOLDFAST_UPDATE_DELETE => Ok(Update::Delete),
        HOLDFAST_UPDATE_WRITE => {
            if change.reserved != 0 {
                return Err(invalid("change.reserved must be 0"));
            }
            // SAFETY: as demanded of the caller.
            let bytes = unsafe { boundary::value(change.value, change.value_len)? };
            let mut value = Vec::new();
            value
                .try_reserve_exact(bytes.len())
                .map_err(|_| Error::no_memory(bytes.len() as u64))?;
            value.extend_from_slice(bytes);
            let ttl = match change.ttl_ms {
                HOLDFAST_TTL_KEEP => None,
                other => Some(boundary::ttl(other)?),
            };
            let (mark, version) = (Mark::None, None);
            Ok(Update::Write { value, flags: change.flags, ttl, mark, version })
        }
        other => Err(invalid(format!(
            "the function of an update returned {other}, which is none of HOLDFAST_UPDATE_..."
        ))),
    }
}
