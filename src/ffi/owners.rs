//! Owners: a name that many values carry, and that ends them all in one step.

use std::ffi::{c_int, c_void};

use super::boundary::{self, Out, invalid};
use super::buffer::Lent;
use super::failure::guarded;
use super::results::*;
use super::types::*;
use super::values::outcome;

/// Gives a value that is there an owner, or another one. Bytes, flags and lifetime stay; the version
/// is new. (A value can be written with its owner at once: see holdfast_write_options.)
///
/// Every other change of a value leaves it its owner; a value that is made where there was none
/// has none.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `owner`, `owner_len`: the name, 1 to 255 bytes, any bytes: "user:42". It is no key: a value
///   under the same bytes is another thing.
/// - `lock`: as for holdfast_set().
/// - `version`: the version stored; may be NULL.
///
/// Results: HOLDFAST_OK; HOLDFAST_MISSING: there is no value; HOLDFAST_LOST: the lock is no longer
/// held, or the owner was ended since it was taken. The failures of holdfast_set(). May block as
/// holdfast_set() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_set_owner(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    owner: *const c_void,
    owner_len: usize,
    lock: *const holdfast_lock,
    version: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key and name, NULL or a lock and a number, by the rules of
        // the header.
        let (store, key, owner, held, version) = unsafe {
            let store = boundary::store(store)?;
            let (key, owner) = (boundary::key(key, key_len)?, boundary::owner(owner, owner_len)?);
            (store, key, owner, boundary::held(lock)?, Out::optional(version, "version")?)
        };
        Ok(outcome(store.set_owner(key, owner, held.as_ref())?, &version))
    })
}

/// Reads the name of a value's owner.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes.
/// - `owner`: a buffer, see holdfast_buffer.
///
/// Results: HOLDFAST_OK: the name is in `owner`; HOLDFAST_MISSING: there is no value, or it has no
/// owner. HOLDFAST_E_DAMAGED, HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY. May block as
/// holdfast_set() does, but not for the disk. Any thread, with a buffer of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_owner_of(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    owner: *mut holdfast_buffer,
) -> c_int {
    guarded(|| {
        // SAFETY: the library's buffer, live handle, readable key, by the rules of the header.
        let (mut buffer, store, key) = unsafe {
            let buffer = Lent::take(owner)?;
            (buffer, boundary::store(store)?, boundary::key(key, key_len)?)
        };
        let Some(name) = store.owner_of(key)? else { return Ok(HOLDFAST_MISSING) };
        buffer.extend_from_slice(&name);
        buffer.show();
        Ok(HOLDFAST_OK)
    })
}

/// Gives the keys of all values of an owner to a callback.
///
/// It looks at every record of the store, about a microsecond each: for a page that somebody asks
/// for, not for each request. A key that is there from the beginning of the call to its end is
/// given exactly once; one that comes or goes meanwhile may be given or not.
///
/// Parameters
/// - `owner`, `owner_len`: 1 to 255 bytes.
/// - `each`, `context`: called with each key; another result than 0 ends it.
/// - `count`: how many were given; may be NULL.
///
/// Results: HOLDFAST_OK: all were given, perhaps none; HOLDFAST_STOPPED: `each` ended it.
/// HOLDFAST_E_DAMAGED: a record cannot be read, so nobody knows whether it is one; those before it
/// were given. HOLDFAST_E_BUSY, HOLDFAST_E_IO. Takes no lock and holds nobody up. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_owner_keys(
    store: *mut holdfast_store,
    owner: *const c_void,
    owner_len: usize,
    each: holdfast_owned_key_fn,
    context: *mut c_void,
    count: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable name, NULL or a number, by the rules of the header.
        let (store, owner, count) = unsafe {
            let (store, owner) = (boundary::store(store)?, boundary::owner(owner, owner_len)?);
            (store, owner, Out::optional(count, "count")?)
        };
        let each = each.ok_or_else(|| invalid("each is NULL"))?;
        let mut stopped = false;
        let given = store.owner_keys(owner, &mut |key| {
            // SAFETY: the caller's function, with its own context and bytes that stay for the call.
            stopped = unsafe { each(context, key.as_ptr().cast(), key.len()) } != 0;
            !stopped
        })?;
        count.set(given);
        Ok(if stopped { HOLDFAST_STOPPED } else { HOLDFAST_OK })
    })
}

/// Ends an owner: "log out everywhere". Every value that it has is gone for all processes, at once
/// and for good, in one step, however many they are.
///
/// Whoever holds a session lock from before the end can no longer write to what was ended, nor
/// write anything for this owner: those writes report HOLDFAST_LOST. (A day after the end, or
/// max_ttl_ms if that is less, such a lock may count as any other.) What is written for the owner
/// by a request that began afterwards lives.
///
/// Parameters: `owner`, `owner_len`: 1 to 255 bytes.
///
/// Results
/// - HOLDFAST_OK: ended; on the disk whatever the mode.
/// - HOLDFAST_MISSING: the same, and nothing was known of this owner.
/// - HOLDFAST_E_FULL, HOLDFAST_E_NO_SPACE, HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO: it may
///   have been ended for those who look now, and need not survive a power loss. Call it again.
///
/// It works in a full store. The space of the values comes back when it is needed, or when they
/// would have expired. Waits for the disk. Any thread. A process that dies in here has ended
/// everything or nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_end_owner(
    store: *mut holdfast_store,
    owner: *const c_void,
    owner_len: usize,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle and readable name, by the rules of the header.
        let (store, owner) =
            unsafe { (boundary::store(store)?, boundary::owner(owner, owner_len)?) };
        Ok(if store.end_owner(owner)? { HOLDFAST_OK } else { HOLDFAST_MISSING })
    })
}
