//! Several values in one call.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use super::boundary::{self, invalid};
use super::failure::{failed, guarded};
use super::results::*;
use super::types::*;
use super::values::item_of;
use super::writes::Asked;
use crate::error::{Error, Result};
use crate::store::{BatchItem, Stored};

/// Is this an array of `count` elements of `size` bytes that could exist?
fn check_array<T>(pointer: *const T, count: usize, size: usize, what: &str) -> Result<()> {
    boundary::check(pointer, what)?;
    match count.checked_mul(size) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(invalid(format!("{count} of {what}: nothing is that long"))),
    }
}

fn room_for<T>(count: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(count)
        .map_err(|_| Error::no_memory(count as u64 * size_of::<T>() as u64))?;
    Ok(room)
}

/// Reads several values; faster than as many calls of holdfast_get() when they are not in the
/// processor's cache. Each is a read of its own: others may write between them.
///
/// Parameters
/// - `keys`, `count`: an array of keys of 1 to 1024 bytes each; a key may be in it twice. `keys` may
///   be NULL when `count` is 0.
/// - `found`: called once for each key, in their order, on this thread; see holdfast_found_fn.
/// - `context`: passed to `found`, otherwise untouched.
///
/// Results: HOLDFAST_OK: `found` was called for each, whatever became of it. A failure means that
/// it was called for none. Waits as holdfast_get() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_get_many(
    store: *mut holdfast_store,
    keys: *const holdfast_key,
    count: usize,
    found: holdfast_found_fn,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle by the rules of the header.
        let store = unsafe { boundary::store(store)? };
        let Some(found) = found else { return Err(invalid("found is NULL")) };
        if count == 0 {
            return Ok(HOLDFAST_OK);
        }
        check_array(keys, count, size_of::<holdfast_key>(), "keys")?;
        let mut slices = room_for(count)?;
        for i in 0..count {
            // SAFETY: an array of that many readable keys, by the rules of the header.
            slices.push(unsafe {
                let key = keys.add(i).read();
                boundary::key(key.data, key.len)?
            });
        }
        store.get_many(&slices, &mut |index, value| {
            let shown = value.and_then(|value| match value {
                Some((item, bytes)) => Ok(Some((item_of(store, item)?, bytes))),
                None => Ok(None),
            });
            let none = (std::ptr::null(), 0, std::ptr::null());
            let (result, (bytes, len, item)) = match &shown {
                Ok(Some((item, bytes))) => {
                    (HOLDFAST_OK, (bytes.as_ptr().cast(), bytes.len(), &raw const *item))
                }
                Ok(None) => (HOLDFAST_MISSING, none),
                Err(_) => (shown.map_or_else(failed, |_| HOLDFAST_OK), none),
            };
            // SAFETY: the caller's own function, called as its type says.
            unsafe { found(context, index, result, bytes, len, item) };
        })?;
        Ok(HOLDFAST_OK)
    })
}

/// Stores several values, in their order. Each is a write of its own, which succeeds or fails for
/// itself: others may see some of them stored and some not yet. In HOLDFAST_SYNC_ALWAYS, or with
/// HOLDFAST_WRITE_SYNC in the options of any of them, one wait for the disk makes all of them
/// durable.
///
/// Parameters
/// - `items`, `count`: an array; every `struct_size` is set, and the same. `items` may be NULL when
///   `count` is 0. `result` and `version` of each are written: what holdfast_write() would have
///   returned and written; of one that failed, `version` is 0. holdfast_last_error() has the
///   sentence of the last one that failed.
///
/// Results: HOLDFAST_OK: every item has its result. A failure means that nothing was done. May
/// block as holdfast_write() does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_set_many(
    store: *mut holdfast_store,
    items: *mut holdfast_batch_item,
    count: usize,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle by the rules of the header.
        let store = unsafe { boundary::store(store)? };
        if count == 0 {
            return Ok(HOLDFAST_OK);
        }
        boundary::check(items, "items")?;
        // SAFETY: the first field of the first item, by the rules of the header.
        let stride = unsafe { (items as *const usize).read() };
        check_array(items, count, stride, "items")?;
        let place = |i: usize| items.wrapping_byte_add(i * stride);
        let mut asked = room_for(count)?;
        for i in 0..count {
            boundary::check(place(i), "items")?;
            // SAFETY: as above, in an array of that many items of the size that the first one says.
            let size = unsafe { (place(i) as *const usize).read() };
            if size != stride {
                return Err(invalid("every struct_size in items must be the same"));
            }
            let mut copy = MaybeUninit::uninit();
            // SAFETY: a struct of that size with readable key, value and options, by the rules of
            // the header.
            asked.push(unsafe {
                let item = boundary::versioned(place(i), &mut copy, "items")?;
                if item.reserved != 0 {
                    return Err(invalid("items.reserved must be 0"));
                }
                let key = boundary::key(item.key, item.key_len)?;
                let value = boundary::value(item.value, item.value_len)?;
                (key, value, Asked::of(item.options)?)
            });
        }
        let mut batch = room_for(count)?;
        for (key, value, asked) in &asked {
            batch.push(BatchItem { key, value, how: asked.write() });
        }
        for (i, outcome) in store.set_many(&batch)?.into_iter().enumerate() {
            let (result, version) = match outcome {
                Ok(Stored::Done(version)) => (HOLDFAST_OK, version),
                Ok(Stored::Exists(version)) => (HOLDFAST_EXISTS, version),
                Ok(Stored::Missing) => (HOLDFAST_MISSING, 0),
                Ok(Stored::Lost) => (HOLDFAST_LOST, 0),
                Err(error) => (failed(error), 0),
            };
            let item = place(i);
            // SAFETY: writable by the rules of the header; aligned, as `versioned` checked.
            unsafe {
                (&raw mut (*item).version).write(version);
                (&raw mut (*item).result).write(result);
            }
        }
        Ok(HOLDFAST_OK)
    })
}
