//! Open, close, and what concerns the store as a whole.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::boundary::{self, Out, invalid};
use super::buffer;
use super::failure::guarded;
use super::results::*;
use super::types::*;
use crate::backend;
use crate::error::{Error, Result};
use crate::key::HashKind;
use crate::options::Options;

const FLAGS: u32 = HOLDFAST_CREATE
    | HOLDFAST_GROUP
    | HOLDFAST_FORCE_FILESYSTEM
    | HOLDFAST_NO_THREAD
    | HOLDFAST_SIPHASH
    | HOLDFAST_COMPRESS;

/// Sets `struct_size` and makes everything else 0, which is the default of each field.
/// NULL is allowed and does nothing. Never fails, never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_options_init(options: *mut holdfast_options) {
    guarded(|| {
        // SAFETY: writable by the rules of the header.
        unsafe { Out::optional(options, "options")? }.set(holdfast_options {
            struct_size: size_of::<holdfast_options>(),
            flags: 0,
            sync: HOLDFAST_SYNC_DEFAULT,
            sync_interval_ms: 0,
            max_bytes: 0,
            max_value_bytes: 0,
            default_ttl_ms: 0,
            max_ttl_ms: 0,
            operation_timeout_ms: 0,
            open_timeout_ms: 0,
            max_processes: 0,
            reserved: 0,
        });
        Ok(HOLDFAST_OK)
    });
}

/// Opens the store in the directory `address`.
///
/// Parameters
/// - `address`: path of the directory, absolute or relative to the present working directory (which
///   may change later), or such a path after "file://"; a string of less than 4096 bytes. Not kept.
/// - `options`: NULL for the defaults. Not kept.
/// - `store`: where the handle goes; NULL is written there first, so that it is NULL after a
///   failure.
///
/// Opening a store that this process has open already, under whatever path, gives a handle of its
/// own on the same attachment; the options of the first opening stay in force then.
///
/// Results
/// - HOLDFAST_OK.
/// - HOLDFAST_E_NO_STORE: the directory does not exist, or holds no store and HOLDFAST_CREATE was
///   not given.
/// - HOLDFAST_E_REFUSED: owner, group, mode, a symbolic link, the filesystem, another kernel.
/// - HOLDFAST_E_FORMAT, HOLDFAST_E_DAMAGED: what is there is no store, is of a newer format, or is
///   incomplete. It is left as it is: no empty store is ever made over an old one.
/// - HOLDFAST_E_BUSY: another process creates or rebuilds it for longer than open_timeout_ms.
/// - HOLDFAST_E_TOO_MANY: max_processes have it open, or this process has 256 stores open.
/// - HOLDFAST_E_NO_SPACE, HOLDFAST_E_READ_ONLY, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_IO.
/// - HOLDFAST_E_UNSUPPORTED: a flag or a field of a newer version, or an address with a scheme of
///   which this version has no engine.
///
/// The handle is the caller's until holdfast_close(). May block, see 6. Any thread; threads that
/// open at the same time do so one after the other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_open(
    address: *const c_char,
    options: *const holdfast_options,
    store: *mut *mut holdfast_store,
) -> c_int {
    guarded(|| {
        // SAFETY: a place for a pointer, by the rules of the header.
        let out = unsafe { Out::required(store, "store")? };
        out.set(std::ptr::null_mut());
        // SAFETY: a string, by the rules of the header.
        let address = unsafe { boundary::address(address)? };
        let (options, flags) = match options.is_null() {
            true => (Options::default(), 0),
            false => {
                let mut copy = MaybeUninit::uninit();
                // SAFETY: a struct of the size it says, by the rules of the header.
                let options = unsafe { boundary::versioned(options, &mut copy, "options")? };
                (rust_options(options)?, options.flags)
            }
        };
        if flags & HOLDFAST_GROUP != 0 {
            demand_group(address)?;
        }
        let store = backend::open(OsStr::from_bytes(address.to_bytes()), &options)?;
        out.set(Box::into_raw(Box::new(holdfast_store { store })));
        Ok(HOLDFAST_OK)
    })
}

/// The store takes its shape from the directory: a group store needs one made for a group. A
/// directory that is not there is left to the opening, which says how to make it.
fn demand_group(address: &CStr) -> Result<()> {
    let bytes = address.to_bytes();
    let path = Path::new(OsStr::from_bytes(bytes.strip_prefix(b"file://").unwrap_or(bytes)));
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() && found.mode() & 0o2070 != 0o2070 => Err(Error::Refused {
            path: path.into(),
            why: format!(
                "has mode {:04o}, and a group store was asked for; chgrp it to the group, then: \
                 chmod 2770 {}",
                found.mode() & 0o7777,
                path.display()
            ),
        }),
        _ => Ok(()),
    }
}

fn rust_options(asked: &holdfast_options) -> Result<Options> {
    let unknown = asked.flags & !FLAGS;
    if unknown != 0 {
        return Err(Error::Unsupported(format!(
            "options.flags has {unknown:#x}, which this version of the library does not know"
        )));
    }
    if asked.reserved != 0 {
        return Err(invalid("options.reserved must be 0"));
    }
    let has = |flag| asked.flags & flag != 0;
    let number = |value: u64| Some(value).filter(|v| *v != 0);
    let duration = |ms: u64| number(ms).map(Duration::from_millis);
    let lifetime = |name: &str, ms: i64| match ms {
        0 | HOLDFAST_TTL_NEVER => Ok(None),
        1.. => Ok(Some(Duration::from_millis(ms as u64))),
        _ => Err(invalid(format!("options.{name} is {ms}; it is > 0, or 0 or -1 for none"))),
    };
    let defaults = Options::default();
    Ok(Options {
        create: has(HOLDFAST_CREATE),
        force_filesystem: has(HOLDFAST_FORCE_FILESYSTEM),
        thread: !has(HOLDFAST_NO_THREAD),
        hash: has(HOLDFAST_SIPHASH).then_some(HashKind::Sip13),
        compress: has(HOLDFAST_COMPRESS).then_some(true),
        evict: has(HOLDFAST_EVICT).then_some(true),
        sync: boundary::sync_mode(asked.sync, "options.sync")?,
        sync_interval: duration(asked.sync_interval_ms),
        max_bytes: number(asked.max_bytes),
        max_value_bytes: number(asked.max_value_bytes),
        default_ttl: lifetime("default_ttl_ms", asked.default_ttl_ms)?,
        max_ttl: lifetime("max_ttl_ms", asked.max_ttl_ms)?,
        max_processes: Some(asked.max_processes).filter(|n| *n != 0),
        operation_timeout: duration(asked.operation_timeout_ms)
            .unwrap_or(defaults.operation_timeout),
        open_timeout: duration(asked.open_timeout_ms).unwrap_or(defaults.open_timeout),
        ..defaults
    })
}

/// Closes a handle and frees it. NULL is allowed and does nothing.
///
/// The last handle that this process has of a store ends the attachment: session locks that the
/// process still holds are free for others. If no other process has the store open, everything is
/// synced, so that the next start needs no rebuild even after a reboot. A process that ends without
/// this call loses nothing either; only that rebuild may be due.
///
/// No thread may be in a call with this handle or use it afterwards. May block for the disk. In the
/// child of a fork it concerns the child alone. Reports nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_close(store: *mut holdfast_store) {
    guarded(|| {
        if !store.is_null() {
            // SAFETY: from `holdfast_open`, closed once and used by nobody any more, by the rules
            // of the header.
            drop(unsafe { Box::from_raw(store) });
        }
        Ok(HOLDFAST_OK)
    });
}

/// Frees the memory of a buffer and makes it all zero, ready to be used again.
///
/// NULL and a buffer that is all zero are allowed. The buffer itself stays the caller's. Needs no
/// open store; never blocks. One that is plainly no buffer of the library is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_buffer_free(buffer: *mut holdfast_buffer) {
    guarded(|| {
        if !buffer.is_null() {
            // SAFETY: a buffer of the library that no call uses, by the rules of the header.
            unsafe { buffer::free(buffer)? };
        }
        Ok(HOLDFAST_OK)
    });
}

/// Drops expired values now. Nobody has to call this: a process that writes does it in the
/// background, and a full store does it before it refuses anything. It is for who wants the number,
/// or the space at a certain time.
///
/// Parameters
/// - `max_records`: look at about so many records and stop; 0 = 4096. Call again to go on.
/// - `expired`: how many were dropped; may be NULL.
///
/// Results: HOLDFAST_OK; HOLDFAST_E_BUSY; HOLDFAST_E_IO; HOLDFAST_E_SYNC.
/// May block as a write does. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_expire(
    store: *mut holdfast_store,
    max_records: u64,
    expired: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle, and NULL or a place for a number, by the rules of the header.
        let (store, out) = unsafe { (boundary::store(store)?, Out::optional(expired, "expired")?) };
        out.set(store.expire(max_records)?);
        Ok(HOLDFAST_OK)
    })
}

/// Moves everything that is alive together, wherever something dead lies between, and gives all free
/// disk space back to the filesystem. Nobody has to call this: space comes back in the background and
/// before a write would be refused. It is for after a peak, or before a copy of the files.
///
/// Parameters: `given_back`: bytes of the data that are no longer in use; may be NULL.
///
/// Results: HOLDFAST_OK; HOLDFAST_E_SYNC, HOLDFAST_E_IO; HOLDFAST_E_BUSY.
/// Takes as long as copying what is alive, and waits for the disk; others read and write meanwhile. A
/// process that dies in here leaves nothing undone that matters. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_compact(
    store: *mut holdfast_store,
    given_back: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle, and NULL or a place for a number, by the rules of the header.
        let (store, out) =
            unsafe { (boundary::store(store)?, Out::optional(given_back, "given_back")?) };
        out.set(store.compact()?);
        Ok(HOLDFAST_OK)
    })
}

/// Returns when everything that was acknowledged before, by any process, is on the disk. For
/// HOLDFAST_SYNC_NONE, or before something that must not be ahead of the store.
///
/// Results: HOLDFAST_OK; HOLDFAST_E_SYNC, HOLDFAST_E_IO: the disk failed, see HOLDFAST_E_SYNC.
/// Blocks for the disk; callers at the same time share one fdatasync. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_sync(store: *mut holdfast_store) -> c_int {
    guarded(|| {
        // SAFETY: a live handle by the rules of the header.
        unsafe { boundary::store(store)? }.sync()?;
        Ok(HOLDFAST_OK)
    })
}
