//! Versions, names, the last sentence, statistics.

use std::ffi::{c_char, c_int};

use super::boundary::{self, Out, VersionedOut};
use super::failure::{self, guarded};
use super::results::*;
use super::types::*;
use crate::options::Sync;
use crate::store::Stats;

/// The HOLDFAST_ABI_VERSION of the library that is loaded.
///
/// A program compiled against an older header works with a newer library of the same number. One
/// that needs functions of a newer header finds out by the linker. Never blocks, never fails.
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_abi_version() -> c_int {
    HOLDFAST_ABI_VERSION
}

/// The version of the library that is loaded, as "0.1.0". Static: never free it.
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The name of a result, as "HOLDFAST_E_FULL"; "HOLDFAST_UNKNOWN" for a number that this library
/// does not return. Static: never free it. For people; programs compare the numbers.
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_result_name(result: c_int) -> *const c_char {
    name(result).as_ptr()
}

/// A sentence about the last failure (negative result) of a call by this thread: what, where, and
/// where possible the command that mends it. In UTF-8 but for paths, which are given as well as
/// UTF-8 can; without a newline; at most 2047 bytes.
///
/// Never NULL; empty if nothing failed yet. Outcomes and successes leave it alone, so look at it
/// only after a negative result. The memory is the thread's own: valid until its next call of this
/// library, at most until the thread ends; never free it. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_last_error() -> *const c_char {
    failure::sentence()
}

/// Reads counters and sizes of the store, over all processes.
///
/// Parameters: `out`: the caller's, with `struct_size` set; the rest is written on HOLDFAST_OK.
///
/// Results: HOLDFAST_OK. It asks after each process slot, counts the locks and samples which pages
/// are in memory, up to a few milliseconds in all: for a status page, not for each request. Waits for nobody. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_stats_get(
    store: *mut holdfast_store,
    out: *mut holdfast_stats,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle and a struct of the size it says, by the rules of the header.
        let (store, out) =
            unsafe { (boundary::store(store)?, VersionedOut::required(out, "out")?) };
        let stats = store.stats()?;
        out.set(|| c_stats(&stats));
        Ok(HOLDFAST_OK)
    })
}

fn c_stats(stats: &Stats) -> holdfast_stats {
    let lifetime = |ms: u64| match ms {
        0 => HOLDFAST_TTL_NEVER,
        ms => i64::try_from(ms).unwrap_or(i64::MAX),
    };
    holdfast_stats {
        struct_size: size_of::<holdfast_stats>(),
        keys: stats.keys,
        live_bytes: stats.live_bytes,
        data_bytes: stats.data_bytes,
        max_bytes: stats.max_bytes,
        max_value_bytes: stats.max_value_bytes,
        index_bytes: stats.index_bytes,
        index_slots: stats.index_slots,
        segment_bytes: stats.segment_bytes,
        segments: stats.segments,
        segments_free: stats.segments_free,
        gets: stats.gets,
        hits: stats.hits,
        sets: stats.sets,
        deletes: stats.deletes,
        touches: stats.touches,
        expired: stats.expired,
        refused_full: stats.refused_full,
        damaged_reads: stats.damaged_reads,
        lock_acquired: stats.lock_acquired,
        lock_waited: stats.lock_waited,
        lock_timeouts: stats.lock_timeouts,
        lock_broken: stats.lock_broken,
        latch_stolen: stats.latch_stolen,
        healed: stats.healed,
        sync_rounds: stats.sync_rounds,
        sync: match stats.sync {
            Sync::None => HOLDFAST_SYNC_NONE,
            Sync::Periodic => HOLDFAST_SYNC_PERIODIC,
            Sync::Always => HOLDFAST_SYNC_ALWAYS,
        } as u64,
        sync_interval_ms: stats.sync_interval_ms,
        format_major: stats.format_major,
        format_minor: stats.format_minor,
        processes: stats.processes,
        max_processes: stats.max_processes,
        locks_held: stats.locks_held,
        lock_waiters: stats.lock_waiters,
        last_sync_age_ms: stats.last_sync_age_ms,
        not_persistent: stats.not_persistent as u64,
        options_differ: stats.options_differ as u64,
        default_ttl_ms: lifetime(stats.default_ttl_ms),
        max_ttl_ms: lifetime(stats.max_ttl_ms),
        compress: stats.compress as u64,
        disk_bytes: stats.disk_bytes,
        written_bytes: stats.written_bytes,
        moved_bytes: stats.moved_bytes,
        segments_emptied: stats.segments_emptied,
        evict: stats.evict as u64,
        evicted: stats.evicted,
        meta_bytes: stats.meta_bytes,
        data_resident_bytes: stats.data_resident_bytes,
        index_resident_bytes: stats.index_resident_bytes,
        meta_resident_bytes: stats.meta_resident_bytes,
    }
}

/// Lets go of the memory in which old values are kept: their pages leave this process, and, where
/// no other process has them mapped, the page cache too.
///
/// Nothing is lost, and what is read later comes back from the page cache or the disk, at its
/// speed. So this is for a process that goes idle, or one that has just read everything, as
/// holdfast_scan() with values does. What was written since the last holdfast_sync() stays in the
/// page cache, and so does all of a store on a tmpfs. Index and control words stay, and so do the
/// segments that are written to.
///
/// Parameters: `bytes`: about how many bytes of the data are no longer in memory; may be NULL. It
/// is 0 while other processes have the same pages mapped, although this one has let go of them.
///
/// Results: HOLDFAST_OK; HOLDFAST_E_IO. It takes some 10 ms for each 100 MB that leave memory, and
/// holds up nobody. Any thread, also while others read and write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_trim_memory(
    store: *mut holdfast_store,
    bytes: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle and an integer or NULL, by the rules of the header.
        let (store, bytes) = unsafe { (boundary::store(store)?, Out::optional(bytes, "bytes")?) };
        bytes.set(store.trim_memory()?);
        Ok(HOLDFAST_OK)
    })
}

/// For tests of programs that embed the library: the next `calls` calls of this thread that can
/// fail do so with HOLDFAST_E_PANIC.
///
/// cbindgen:ignore
#[cfg(feature = "faults")]
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_test_panic(calls: c_int) {
    failure::hook::arm(calls.max(0) as u32);
}

/// For tests of programs that embed the library: the process gets `signal` just before its `n`-th
/// store to shared memory from now on, and goes no further; with 0 it only stops there. An `n` of
/// UINT64_MAX disarms.
///
/// Returns how many stores were left of the `n` before, which tells how many were made since.
///
/// cbindgen:ignore
#[cfg(feature = "faults")]
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_test_die(n: u64, signal: c_int) -> u64 {
    let left = crate::sys::fault::left();
    crate::sys::fault::die_by(signal);
    crate::sys::fault::arm(n);
    left
}
