//! What concerns everything in the store: its options, and flushing it.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use super::boundary::{self, VersionedOut, invalid};
use super::failure::guarded;
use super::results::*;
use super::types::*;
use crate::error::Result;
use crate::options::{Config, ConfigChange, Sync};

/// Reads the options of the store that are in force now.
///
/// Parameters: `out`: the caller's, with `struct_size` set; the rest is written on HOLDFAST_OK.
///
/// Results: HOLDFAST_OK. Never blocks. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_config_get(
    store: *mut holdfast_store,
    out: *mut holdfast_config,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle and a struct of the size it says, by the rules of the header.
        let (store, out) =
            unsafe { (boundary::store(store)?, VersionedOut::required(out, "out")?) };
        let config = store.config()?;
        out.set(|| c_config(&config));
        Ok(HOLDFAST_OK)
    })
}

/// Changes options of the store while it is in use, for all who have it open or will open it.
///
/// Parameters
/// - `change`: what to change, with `struct_size` set; start with all else 0, which leaves each
///   option as it is. The pending fields are not looked at: a max_bytes or max_processes that the
///   store has now takes back one that waits.
/// - `out`: all options after the change, with `struct_size` set; may be NULL, and may be `change`.
///
/// max_bytes can only grow. It and max_processes take force when the store is next opened by a
/// process that finds it open nowhere: until then they stand in the pending fields; that opening
/// takes as long as a rebuild after a power loss. All else is obeyed by every process at once;
/// the thread that syncs sees a new interval within a second. Values that are there keep their
/// lifetimes, and stay although they are longer than a new max_value_bytes.
///
/// Results
/// - HOLDFAST_OK: changed, on the disk whatever the mode. If the mode is not HOLDFAST_SYNC_NONE
///   now, everything acknowledged before is on the disk as well.
/// - HOLDFAST_E_INVALID: out of bounds, or less max_bytes than now; nothing was changed.
/// - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO: the file that says what the store is could not be
///   replaced. HOLDFAST_E_SYNC, HOLDFAST_E_BUSY.
///
/// Waits for the disk. Any thread; two changes at the same time come one after the other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_config_set(
    store: *mut holdfast_store,
    change: *const holdfast_config,
    out: *mut holdfast_config,
) -> c_int {
    guarded(|| {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: a live handle and structs of the sizes they say, by the rules of the header.
        let (store, change, out) = unsafe {
            let store = boundary::store(store)?;
            let change = rust_change(boundary::versioned(change, &mut copy, "change")?)?;
            (store, change, VersionedOut::optional(out, "out")?)
        };
        let config = store.set_config(&change)?;
        out.set(|| c_config(&config));
        Ok(HOLDFAST_OK)
    })
}

fn rust_change(asked: &holdfast_config) -> Result<ConfigChange> {
    let number = |value: u64| Some(value).filter(|v| *v != 0);
    let lifetime = |name: &str, ms: i64| match ms {
        0 => Ok(None),
        HOLDFAST_TTL_NEVER => Ok(Some(0)),
        1.. => Ok(Some(ms as u64)),
        _ => Err(invalid(format!("change.{name} is {ms}; it is > 0, 0 (as it is) or -1 (none)"))),
    };
    Ok(ConfigChange {
        sync: boundary::sync_mode(asked.sync, "change.sync")?,
        compress: switch(asked.compress, "change.compress")?,
        evict: switch(asked.evict, "change.evict")?,
        sync_interval_ms: number(asked.sync_interval_ms),
        default_ttl_ms: lifetime("default_ttl_ms", asked.default_ttl_ms)?,
        max_ttl_ms: lifetime("max_ttl_ms", asked.max_ttl_ms)?,
        max_value_bytes: number(asked.max_value_bytes),
        max_bytes: number(asked.max_bytes),
        max_processes: Some(asked.max_processes).filter(|n| *n != 0),
    })
}

fn switch(asked: u32, name: &str) -> Result<Option<bool>> {
    match asked {
        0 => Ok(None),
        1 => Ok(Some(false)),
        2 => Ok(Some(true)),
        other => Err(invalid(format!("{name} is {other}; it is 0 (as it is), 1 (off) or 2 (on)"))),
    }
}

fn c_config(config: &Config) -> holdfast_config {
    let lifetime = |ms: u64| match ms {
        0 => HOLDFAST_TTL_NEVER,
        ms => i64::try_from(ms).unwrap_or(i64::MAX),
    };
    holdfast_config {
        struct_size: size_of::<holdfast_config>(),
        sync: match config.sync {
            Sync::None => HOLDFAST_SYNC_NONE,
            Sync::Periodic => HOLDFAST_SYNC_PERIODIC,
            Sync::Always => HOLDFAST_SYNC_ALWAYS,
        },
        max_processes: config.max_processes,
        sync_interval_ms: config.sync_interval_ms,
        max_bytes: config.max_bytes,
        max_value_bytes: config.max_value_bytes,
        default_ttl_ms: lifetime(config.default_ttl_ms),
        max_ttl_ms: lifetime(config.max_ttl_ms),
        pending_max_bytes: config.pending_max_bytes,
        pending_max_processes: config.pending_max_processes,
        compress: 1 + config.compress as u32,
        evict: 1 + config.evict as u32,
        reserved: 0,
    }
}

/// Makes everything that was stored before vanish, at once or after a while. Session locks stay.
///
/// Parameters: `delay_ms`: 0 = now; else milliseconds from now on, after which everything that is
/// there then vanishes. A later call replaces one that waits; 0 takes its place too.
///
/// Results
/// - HOLDFAST_OK: done, or planned; on the disk whatever the mode.
/// - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO: the file that says so could not be replaced; nothing was
///   flushed. HOLDFAST_E_SYNC; HOLDFAST_E_BUSY: another process is stopped in the middle of a write.
///
/// What a write at the same time leaves is gone or there, and whole. Writers wait meanwhile, for
/// the disk; readers do not. A process that dies in here has flushed everything or nothing. The
/// space comes back by and by. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_flush(store: *mut holdfast_store, delay_ms: i64) -> c_int {
    guarded(|| {
        // SAFETY: a live handle, by the rules of the header.
        let store = unsafe { boundary::store(store)? };
        let at_ms = match delay_ms {
            0 => None,
            1.. => Some(store.now_ms()?.saturating_add(delay_ms as u64)),
            _ => return Err(invalid(format!("delay_ms is {delay_ms}; it is 0 (now) or more"))),
        };
        store.flush(at_ms)?;
        Ok(HOLDFAST_OK)
    })
}
