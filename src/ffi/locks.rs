//! Session locks: take, renew, give back, list; and the opening of a session in one call.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use super::boundary::{self, Out, VersionedOut, invalid};
use super::buffer::Lent;
use super::failure::guarded;
use super::results::*;
use super::types::*;
use super::values;
use crate::backend::Backend;
use crate::error::Result;
use crate::limits::{LOCK_BUCKETS, LOCK_WAYS};
use crate::lock::{Acquired, Held, Holder, LockInfo, Wait};

/// Takes the session lock of a key, waiting as `wait` says. See 5.
///
/// Parameters
/// - `key`, `key_len`: 1 to 1024 bytes. There need not be a value.
/// - `cookie`: names the owner within this process. With the cookie that holds the lock already the
///   call succeeds at once and gives the same lock; nothing is counted and the lease is not
///   renewed.
/// - `wait`: how long, with which lease, and who may stop it. Not NULL, not kept.
/// - `lock`: where the lock goes; all zero is written for the other outcomes.
/// - `holder`: who has it, written for HOLDFAST_HELD, HOLDFAST_STOPPED and HOLDFAST_CROWDED; may be
///   NULL.
///
/// Results
/// - HOLDFAST_OK: it is yours; pass `lock` to the writes that it is to protect.
/// - HOLDFAST_HELD: timeout_ms is over. HOLDFAST_STOPPED: the callback said so. HOLDFAST_CROWDED:
///   max_waiters wait already.
/// - HOLDFAST_E_TOO_MANY: the table of locks or of waiters is full. HOLDFAST_E_BUSY, HOLDFAST_E_IO,
///   HOLDFAST_E_DAMAGED. You do not have the lock, and `lock` is as it was.
///
/// Blocks up to timeout_ms, asleep in the kernel; wakes at once when the lock comes free or its
/// holder dies. Any thread; the lock is the process's, not the thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_lock_acquire(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    cookie: u64,
    wait: *const holdfast_wait,
    lock: *mut holdfast_lock,
    holder: *mut holdfast_holder,
) -> c_int {
    guarded(|| {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: live handle, readable key, structs of the size they say, NULL where allowed, by
        // the rules of the header.
        let (store, key, wait, lock, holder) = unsafe {
            let store = boundary::store(store)?;
            let key = boundary::key(key, key_len)?;
            let wait = boundary::versioned(wait, &mut copy, "wait")?;
            let lock = Out::required(lock, "lock")?;
            (store, key, wait, lock, VersionedOut::optional(holder, "holder")?)
        };
        let (result, _) = acquire(store, key, cookie, wait, &lock, &holder)?;
        Ok(result)
    })
}

/// Takes a lock and reports the outcome to C.
#[inline]
fn acquire(
    store: &dyn Backend,
    key: &[u8],
    cookie: u64,
    asked: &holdfast_wait,
    lock: &Out<holdfast_lock>,
    holder: &VersionedOut<holdfast_holder>,
) -> Result<(c_int, Option<Held>)> {
    if asked.reserved != 0 {
        return Err(invalid("wait.reserved must be 0"));
    }
    let timeout = match asked.timeout_ms {
        -1 => None,
        0.. => Some(Duration::from_millis(asked.timeout_ms as u64)),
        ms => return Err(invalid(format!("wait.timeout_ms is {ms}; it is >= 0, or -1"))),
    };
    let (stop, context) = (asked.stop, asked.stop_context);
    // SAFETY: a function that takes this context and returns, by the rules of the header.
    let ask = || stop.is_some_and(|stop| unsafe { stop(context) != 0 });
    let wait = Wait {
        timeout,
        lease: boundary::lease(asked.lease_ms)?,
        max_waiters: asked.max_waiters,
        stop: if stop.is_some() { Some(&ask) } else { None },
        polls: false,
    };
    let refused = |result: c_int, by: Holder| {
        lock.set(holdfast_lock::default());
        holder.set(|| holdfast_holder {
            struct_size: size_of::<holdfast_holder>(),
            pid: by.pid,
            age_ms: by.age_ms,
            waiters: by.waiters,
            reserved: 0,
        });
        Ok((result, None))
    };
    match store.lock(key, cookie, &wait)? {
        Acquired::TimedOut(by) => refused(HOLDFAST_HELD, by),
        Acquired::Stopped(by) => refused(HOLDFAST_STOPPED, by),
        Acquired::Crowded(by) => refused(HOLDFAST_CROWDED, by),
        Acquired::Held(held) => {
            let Held { fence, cookie, place } = held;
            lock.set(holdfast_lock { fence, cookie, place, reserved: 0 });
            Ok((HOLDFAST_OK, Some(held)))
        }
    }
}

/// Starts the lease of a lock over, for work that takes long.
///
/// Parameters: the `key` and the `lock` as they were acquired; `lease_ms`: the new lease in
/// milliseconds, 0 = none.
///
/// Results: HOLDFAST_OK; HOLDFAST_LOST: it is no longer held, and was not taken back.
/// HOLDFAST_E_BUSY. Does not wait in the ordinary case. Any thread of the process that has the
/// lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_lock_renew(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    lock: *const holdfast_lock,
    lease_ms: i64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key and lock, by the rules of the header.
        let (store, key, held) = unsafe {
            (boundary::store(store)?, boundary::key(key, key_len)?, boundary::held(lock)?)
        };
        let held = held.ok_or_else(|| invalid("lock is NULL"))?;
        let renewed = store.renew(key, &held, boundary::lease(lease_ms)?)?;
        Ok(if renewed { HOLDFAST_OK } else { HOLDFAST_LOST })
    })
}

/// Gives a lock back: the first of those that wait is woken.
///
/// Parameters: the `key` and the `lock` as they were acquired. `*lock` is made all zero, on
/// HOLDFAST_LOST too.
///
/// Results: HOLDFAST_OK; HOLDFAST_LOST: it was lost before (lease broken, released already, or
/// taken by the parent of this process): somebody else may have it now, and keeps it.
/// HOLDFAST_E_BUSY: it is still held, and `*lock` is as it was. Does not wait in the ordinary case.
/// Any thread of the process that has the lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_lock_release(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    lock: *mut holdfast_lock,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable key, a lock to read and write, by the rules of the header.
        let (store, key, held, out) = unsafe {
            let store = boundary::store(store)?;
            let key = boundary::key(key, key_len)?;
            (store, key, boundary::held(lock)?, Out::required(lock, "lock")?)
        };
        let held = held.ok_or_else(|| invalid("lock is NULL"))?;
        let ours = store.unlock(key, &held)?;
        out.set(holdfast_lock::default());
        Ok(if ours { HOLDFAST_OK } else { HOLDFAST_LOST })
    })
}

/// Gives the lock of a session back if the value cannot be read, also by a panic.
struct Opening<'a> {
    store: &'a dyn Backend,
    key: &'a [u8],
    held: Option<Held>,
    lock: Out<holdfast_lock>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held {
            // The failure to read is what the caller hears of. If this fails too, the lock goes
            // with the process.
            let _ = self.store.unlock(self.key, &held);
            self.lock.set(holdfast_lock::default());
        }
    }
}

/// Takes the session lock of a key and reads its value, in one call: the beginning of a request.
///
/// Parameters: as for holdfast_lock_acquire() and holdfast_get(). The stop callback must leave
/// `value` alone.
///
/// Results
/// - HOLDFAST_OK: locked; the value is in `value`, the rest in `item`.
/// - HOLDFAST_MISSING: locked; there is no value. `value->len` is 0, `item` as before.
/// - HOLDFAST_HELD, HOLDFAST_STOPPED, HOLDFAST_CROWDED: not locked; `lock` is all zero, `holder` is
///   written, `value->len` is 0.
/// - The failures of both: not locked. A lock that was taken, or that the cookie had before, has
///   been released, and `lock` is all zero then.
///
/// Blocks as holdfast_lock_acquire() does. Any thread, with a buffer of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_session_open(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
    cookie: u64,
    wait: *const holdfast_wait,
    value: *mut holdfast_buffer,
    item: *mut holdfast_item,
    lock: *mut holdfast_lock,
    holder: *mut holdfast_holder,
) -> c_int {
    guarded(|| {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: live handle, readable key, the library's buffer, structs of the size they say,
        // NULL where allowed, by the rules of the header.
        let (store, key, wait, item, lock, holder) = unsafe {
            Lent::empty(value)?;
            let store = boundary::store(store)?;
            let key = boundary::key(key, key_len)?;
            let wait = boundary::versioned(wait, &mut copy, "wait")?;
            let item = VersionedOut::optional(item, "item")?;
            let lock = Out::required(lock, "lock")?;
            (store, key, wait, item, lock, VersionedOut::optional(holder, "holder")?)
        };
        let (result, held) = acquire(store, key, cookie, wait, &lock, &holder)?;
        if held.is_none() {
            return Ok(result);
        }
        let mut opening = Opening { store, key, held, lock };
        // SAFETY: as above; the buffer was left alone while the lock was waited for.
        let mut value = unsafe { Lent::take(value)? };
        let found = store.get(key, &mut value);
        let result = values::read(store, found, &mut value, &item)?;
        opening.held = None;
        Ok(result)
    })
}

/// Lists session locks that are held, for people and for status pages.
///
/// Parameters
/// - `out`, `capacity`: an array of the caller's and its number of elements. Set
///   `out[0].struct_size`; the others are filled in. NULL is allowed when `capacity` is 0.
/// - `count`: how many were written. `capacity` of them: there may be more (`locks_held` in the
///   statistics counts them).
///
/// Results: HOLDFAST_OK; HOLDFAST_E_BUSY. Nothing is written then. The list is not one moment:
/// locks come and go while it is made. It latches each part of the table for some nanoseconds; a
/// few microseconds to a millisecond in all. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_locks(
    store: *mut holdfast_store,
    out: *mut holdfast_lock_info,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, a place for a number, an array of that many structs of the size
        // that the first says, by the rules of the header.
        let (store, count, out) = unsafe {
            let store = boundary::store(store)?;
            let count = Out::required(count, "count")?;
            let out = match capacity {
                0 => None,
                _ => Some(VersionedOut::required(out, "out")?),
            };
            (store, count, out)
        };
        let Some(out) = out else {
            count.set(0);
            return Ok(HOLDFAST_OK);
        };
        if !out.stride().is_multiple_of(align_of::<holdfast_lock_info>()) {
            return Err(invalid("holdfast_lock_info.struct_size is no size of a struct"));
        }
        // There are not more locks than this, whatever the caller has room for.
        let most = capacity.min((LOCK_BUCKETS * LOCK_WAYS) as usize);
        let found = store.locks(most)?;
        for (index, info) in found.iter().enumerate() {
            // SAFETY: `index` is below `capacity`.
            unsafe { out.set_at(index, c_lock_info(info)) };
        }
        count.set(found.len());
        Ok(HOLDFAST_OK)
    })
}

fn c_lock_info(info: &LockInfo) -> holdfast_lock_info {
    holdfast_lock_info {
        struct_size: size_of::<holdfast_lock_info>(),
        key_hash: info.key_hash,
        pid: info.holder.pid,
        age_ms: info.holder.age_ms,
        lease_ms: i64::try_from(info.lease_ms).unwrap_or(i64::MAX),
        fence: info.fence,
        waiters: info.holder.waiters,
        owner_alive: info.owner_alive as u32,
    }
}

/// The hash under which holdfast_locks() shows a key. Differs from store to store.
///
/// Results: never 0 but after a failure, which holdfast_last_error() explains (a key of no valid
/// length, a NULL). Never blocks. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_key_hash(
    store: *mut holdfast_store,
    key: *const c_void,
    key_len: usize,
) -> u64 {
    let mut hash = 0;
    guarded(|| {
        // SAFETY: live handle, readable key, by the rules of the header.
        let (store, key) = unsafe { (boundary::store(store)?, boundary::key(key, key_len)?) };
        hash = store.key_hash(key)?;
        Ok(HOLDFAST_OK)
    });
    hash
}
