//! The verbs on one value.

use std::ffi::{c_int, c_void};

use super::boundary::{self, Out, VersionedOut};
use super::buffer::Lent;
use super::failure::guarded;
use super::results::*;
use super::types::*;
use crate::backend::Backend;
use crate::error::Result;
use crate::store::{Expect, Item, Stored, Write};

/// Reads a value.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `value`: a buffer, see holdfast_buffer; grown if the value does not fit.
/// - `item`: version, lifetime, flags; NULL if not wanted. Leaving it out saves a look at the clock
///   for values that have a lifetime.
///
/// Results
/// - HOLDFAST_OK: the value is in `value`, the rest in `item`.
/// - HOLDFAST_MISSING: no such key, or it has expired. `value->len` is 0, `item` as before.
/// - HOLDFAST_E_DAMAGED, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_BUSY, HOLDFAST_E_IO. `value->len` is 0.
///
/// Takes no lock and never waits in the ordinary case, see 6. Any thread, with a buffer of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_get(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *mut holdfast_buffer,
    item: *mut holdfast_item,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key, the library's buffer, a struct of the size it says or
        // NULL, by the rules of the header.
        let (mut value, store, key, item) = unsafe {
            let value = Lent::take(value)?;
            let store = boundary::store(store)?;
            (value, store, boundary::key(key, key_len)?, VersionedOut::optional(item, "item")?)
        };
        let found = store.get(key, &mut value);
        read(store, found, &mut value, &item)
    })
}

/// Reads a value and gives it a new lifetime: holdfast_get() and then holdfast_touch() without a
/// lock.
///
/// Parameters: as for both. `item` has the version that was read and the lifetime given: a lifetime
/// that became shorter has also made a new version, see holdfast_touch(). A write of somebody else
/// between the two is touched and not undone.
///
/// Results: those of both. HOLDFAST_OK: read and touched. HOLDFAST_MISSING: neither.
/// May block as a write does. Any thread, with a buffer of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_get_touch(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    ttl_ms: i64,
    value: *mut holdfast_buffer,
    item: *mut holdfast_item,
) -> c_int {
    guarded(|| {
        // SAFETY: as in `holdfast_get`.
        let (mut value, store, key, item) = unsafe {
            let value = Lent::take(value)?;
            let store = boundary::store(store)?;
            (value, store, boundary::key(key, key_len)?, VersionedOut::optional(item, "item")?)
        };
        let found = store.get_touch(key, boundary::ttl(ttl_ms)?, &mut value);
        read(store, found, &mut value, &item)
    })
}

/// Looks whether there is a value, without reading it.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `item`: version, lifetime, flags and length; NULL if not wanted.
///
/// Results: HOLDFAST_OK, `item` is written; HOLDFAST_MISSING; HOLDFAST_E_DAMAGED, HOLDFAST_E_BUSY,
/// HOLDFAST_E_IO. Damage in the bytes of the value is only found by reading it.
/// Waits as holdfast_get() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_exists(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    item: *mut holdfast_item,
) -> c_int {
    guarded(|| {
        // SAFETY: as in `holdfast_get`.
        let (store, key, item) = unsafe {
            let store = boundary::store(store)?;
            (store, boundary::key(key, key_len)?, VersionedOut::optional(item, "item")?)
        };
        let found = store.exists(key);
        match &found {
            Ok(Some(found)) => describe(store, found, &item),
            Ok(None) => Ok(HOLDFAST_MISSING),
            Err(_) => found.map(|_| HOLDFAST_OK),
        }
    })
}

/// The answer to a read: what was found is shown.
#[inline]
pub(super) fn read(
    store: &dyn Backend,
    found: Result<Option<Item>>,
    value: &mut Lent,
    item: &VersionedOut<holdfast_item>,
) -> Result<c_int> {
    // By reference: moving it costs more than all else here.
    match &found {
        Ok(Some(found)) => {
            let result = describe(store, found, item)?;
            value.show();
            Ok(result)
        }
        Ok(None) => Ok(HOLDFAST_MISSING),
        Err(_) => found.map(|_| HOLDFAST_OK),
    }
}

#[inline]
fn describe(
    store: &dyn Backend,
    found: &Item,
    item: &VersionedOut<holdfast_item>,
) -> Result<c_int> {
    if item.is_wanted() {
        let ttl_ms = left(store, found)?;
        item.set(|| shown(found, ttl_ms));
    }
    Ok(HOLDFAST_OK)
}

/// What C is told of a value.
pub(super) fn item_of(store: &dyn Backend, found: &Item) -> Result<holdfast_item> {
    Ok(shown(found, left(store, found)?))
}

#[inline]
fn left(store: &dyn Backend, found: &Item) -> Result<i64> {
    Ok(match found.expires_ms {
        0 => HOLDFAST_TTL_NEVER,
        at => at.saturating_sub(store.now_ms()?) as i64,
    })
}

#[inline(always)]
fn shown(found: &Item, ttl_ms: i64) -> holdfast_item {
    holdfast_item {
        struct_size: size_of::<holdfast_item>(),
        version: found.version,
        ttl_ms,
        value_len: found.value_len,
        flags: found.flags,
        reserved: 0,
    }
}

/// Stores a value, whatever was there.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `value`, `value_len`: 0 to max_value_bytes of the store; `value` may be NULL when `value_len`
///   is 0. An empty value is a value: it is found again.
/// - `flags`: 32 bits of yours, given back by reads.
/// - `ttl_ms`: lifetime in milliseconds, HOLDFAST_TTL_DEFAULT or HOLDFAST_TTL_NEVER. The store's
///   max_ttl_ms shortens what is longer.
/// - `lock`: NULL, or a lock of this key: nothing is written unless it is still held. A lock that
///   is all zero is never held.
/// - `version`: the version stored; may be NULL.
///
/// Results
/// - HOLDFAST_OK: stored; `version` is written. In HOLDFAST_SYNC_ALWAYS it is on the disk.
/// - HOLDFAST_LOST: the lock is no longer held. Nothing was written.
/// - HOLDFAST_E_TOO_LARGE: longer than max_value_bytes.
/// - HOLDFAST_E_FULL: no room even after what has expired was dropped; HOLDFAST_E_NO_SPACE: the
///   filesystem is full before max_bytes is reached. The old value stays.
/// - HOLDFAST_E_SYNC: the disk failed once; writes are refused until all have reopened the store.
/// - HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_READ_ONLY, HOLDFAST_E_NO_MEMORY.
///
/// After HOLDFAST_E_SYNC or HOLDFAST_E_IO in HOLDFAST_SYNC_ALWAYS, others may see the new value
/// although nobody can say whether it survives a power loss. After any other failure nothing
/// changed. May block, see 6. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_set(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    flags: u32,
    ttl_ms: i64,
    lock: *const holdfast_lock,
    version: *mut u64,
) -> c_int {
    // SAFETY: as demanded of the caller.
    unsafe {
        let value = (value, value_len, flags, ttl_ms);
        put(store, (key, key_len), value, Expect::Any, lock, version)
    }
}

/// Stores a value if there is none; what has expired counts as none.
///
/// Parameters: as for holdfast_set().
///
/// Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_EXISTS: there is a value,
/// `version` is the version that it has. The failures of holdfast_set(), and HOLDFAST_E_DAMAGED
/// when nobody can say whether there is one. May block as holdfast_set() does. Any thread. Of
/// several at the same time, exactly one succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_add(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    flags: u32,
    ttl_ms: i64,
    version: *mut u64,
) -> c_int {
    // SAFETY: as demanded of the caller.
    unsafe {
        let value = (value, value_len, flags, ttl_ms);
        put(store, (key, key_len), value, Expect::Absent, std::ptr::null(), version)
    }
}

/// Stores a value if there is one already; what has expired counts as none.
///
/// Parameters: as for holdfast_set().
///
/// Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_MISSING: there is none to
/// replace. The failures of holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_set()
/// does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_replace(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    flags: u32,
    ttl_ms: i64,
    version: *mut u64,
) -> c_int {
    // SAFETY: as demanded of the caller.
    unsafe {
        let value = (value, value_len, flags, ttl_ms);
        put(store, (key, key_len), value, Expect::Present, std::ptr::null(), version)
    }
}

/// Stores a value if the present one has the version `expected`: nobody wrote since it was read.
///
/// Parameters: as for holdfast_set(); `expected` is the `version` of a holdfast_item or of an
/// earlier store. 0 is the version of nothing.
///
/// Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_EXISTS: another version is
/// there, `version` is that one. HOLDFAST_MISSING: there is no value. The failures of
/// holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_set() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_cas(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    flags: u32,
    ttl_ms: i64,
    expected: u64,
    version: *mut u64,
) -> c_int {
    // SAFETY: as demanded of the caller.
    unsafe {
        let value = (value, value_len, flags, ttl_ms);
        put(store, (key, key_len), value, Expect::Version(expected), std::ptr::null(), version)
    }
}

/// The one way of all stores.
///
/// # Safety
/// A live handle; readable key and value; lock and version NULL or valid.
#[inline]
unsafe fn put(
    store: *mut holdfast_store,
    (key, key_len): (*const c_void, usize),
    (value, value_len, flags, ttl_ms): (*const c_void, usize, u32, i64),
    expect: Expect,
    lock: *const holdfast_lock,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as demanded of the caller.
        let (store, key, value, held, version) = unsafe {
            let store = boundary::store(store)?;
            let key = boundary::key(key, key_len)?;
            let value = boundary::value(value, value_len)?;
            (store, key, value, boundary::held(lock)?, Out::optional(version, "version")?)
        };
        let ttl = boundary::ttl(ttl_ms)?;
        let how = Write { flags, ttl, expect, held: held.as_ref(), ..Write::default() };
        Ok(outcome(store.write(key, value, &how)?, &version))
    })
}

#[inline]
pub(super) fn outcome(stored: Stored, version: &Out<u64>) -> c_int {
    match stored {
        Stored::Done(now) => {
            version.set(now);
            HOLDFAST_OK
        }
        Stored::Exists(present) => {
            version.set(present);
            HOLDFAST_EXISTS
        }
        Stored::Missing => HOLDFAST_MISSING,
        Stored::Lost => HOLDFAST_LOST,
    }
}

/// Gives a value a new lifetime, counted from now. Bytes, flags and, unless the lifetime becomes
/// shorter, the version stay.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `ttl_ms`: as for holdfast_set().
/// - `lock`: as for holdfast_set().
///
/// Results: HOLDFAST_OK; HOLDFAST_MISSING: nothing there, nothing was made; HOLDFAST_LOST: the lock
/// is no longer held, nothing was changed. Longer lifetimes need no room; a shorter one may fail as
/// holdfast_set() may. HOLDFAST_E_DAMAGED, HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO. May
/// block as holdfast_set() does; about ten times cheaper. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_touch(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    ttl_ms: i64,
    lock: *const holdfast_lock,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key, NULL or a lock, by the rules of the header.
        let (store, key, held) = unsafe {
            (boundary::store(store)?, boundary::key(key, key_len)?, boundary::held(lock)?)
        };
        let stored = store.touch(key, boundary::ttl(ttl_ms)?, held.as_ref())?;
        Ok(outcome(stored, &Out::nowhere()))
    })
}

/// Deletes a value.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `lock`: as for holdfast_set(). Deleting does not release it.
///
/// Results: HOLDFAST_OK: deleted; HOLDFAST_MISSING: there was none; HOLDFAST_LOST: the lock is no
/// longer held, nothing was deleted. It works in a full store, and deletes a damaged value too.
/// HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_SPACE.
/// May block as holdfast_set() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_delete(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    lock: *const holdfast_lock,
) -> c_int {
    guarded(|| {
        // SAFETY: as in `holdfast_touch`.
        let (store, key, held) = unsafe {
            (boundary::store(store)?, boundary::key(key, key_len)?, boundary::held(lock)?)
        };
        Ok(outcome(store.delete(key, None, held.as_ref())?, &Out::nowhere()))
    })
}

/// Deletes a value if it has the version `expected`: nobody wrote since it was read.
///
/// Parameters: `key`, `key_len`: 1 to 1024 bytes; `expected` as for holdfast_cas().
///
/// Results: HOLDFAST_OK: deleted; HOLDFAST_MISSING: there was none; HOLDFAST_EXISTS: another
/// version is there and stays. Failures as for holdfast_delete(), and HOLDFAST_E_DAMAGED. May block
/// as holdfast_set() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_delete_version(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    expected: u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key, by the rules of the header.
        let (store, key) = unsafe { (boundary::store(store)?, boundary::key(key, key_len)?) };
        Ok(outcome(store.delete(key, Some(expected), None)?, &Out::nowhere()))
    })
}
