//! The verbs on one value.

use std::ffi::{c_int, c_void};

use super::boundary::{self, Lent, Out, VersionedOut, guarded};
use super::results::*;
use super::types::*;
use crate::error::Result;
use crate::store::{Expect, Item, Store, Stored};

/// Reads a value.
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
        let found = store.get(key, &mut value)?;
        read(store, found, &mut value, &item)
    })
}

/// Reads a value and gives it a new lifetime.
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
        let found = store.get_touch(key, boundary::ttl(ttl_ms)?, &mut value)?;
        read(store, found, &mut value, &item)
    })
}

/// Looks whether there is a value, without reading it.
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
        match store.exists(key)? {
            None => Ok(HOLDFAST_MISSING),
            Some(found) => {
                describe(store, &found, &item)?;
                Ok(HOLDFAST_OK)
            }
        }
    })
}

/// The answer to a read: what was found is shown.
#[inline]
pub(super) fn read(
    store: &Store,
    found: Option<Item>,
    value: &mut Lent,
    item: &VersionedOut<holdfast_item>,
) -> Result<c_int> {
    let Some(found) = found else { return Ok(HOLDFAST_MISSING) };
    describe(store, &found, item)?;
    value.show();
    Ok(HOLDFAST_OK)
}

#[inline]
fn describe(store: &Store, found: &Item, item: &VersionedOut<holdfast_item>) -> Result<()> {
    if item.is_wanted() {
        let ttl_ms = match found.expires_ms {
            0 => HOLDFAST_TTL_NEVER,
            at => at.saturating_sub(store.now_ms()?) as i64,
        };
        item.set(holdfast_item {
            struct_size: size_of::<holdfast_item>(),
            version: found.version,
            ttl_ms,
            value_len: found.value_len,
            flags: found.flags,
            reserved: 0,
        });
    }
    Ok(())
}

/// Stores a value, whatever was there.
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

/// Stores a value if there is none.
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

/// Stores a value if there is one.
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

/// Stores a value if the present one has the version `expected`.
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
        let stored = store.put(key, value, flags, ttl, expect, held.as_ref())?;
        Ok(outcome(stored, &version))
    })
}

#[inline]
fn outcome(stored: Stored, version: &Out<u64>) -> c_int {
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

/// Gives a value a new lifetime.
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

/// Deletes a value if it has the version `expected`.
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
