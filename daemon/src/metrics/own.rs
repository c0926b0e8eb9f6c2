//! Our own families: how long requests take, what the store holds and does (with all processes that
//! have it open), the session locks, and what the loops do beside memcached's counters.

use std::time::Duration;

use holdfast::Stats;

use super::Numbers;
use super::text::Page;
use super::text::Type::{self, Counter, Gauge, Histogram};

type Row = (&'static str, Type, fn(&Stats) -> u64, &'static str);

#[rustfmt::skip]
const STORE: &[Row] = &[
    ("holdfast_store_keys", Gauge, |s| s.keys, "Values in the store."),
    ("holdfast_store_max_bytes", Gauge, |s| s.max_bytes, "Cap of the data on disk."),
    ("holdfast_store_live_bytes", Gauge, |s| s.live_bytes, "Bytes of values that are alive."),
    ("holdfast_store_file_bytes", Gauge, |s| s.data_bytes, "Length of the data."),
    ("holdfast_store_free_bytes", Gauge, |s| s.segments_free.saturating_mul(s.segment_bytes), "Bytes of segments that are free."),
    ("holdfast_store_dead_bytes", Gauge, dead_bytes, "Bytes of values that are over and whose space was not taken back yet."),
    ("holdfast_store_disk_bytes", Gauge, |s| s.disk_bytes, "Bytes that all files take on disk."),
    ("holdfast_store_index_bytes", Gauge, |s| s.index_bytes, "Length of the index."),
    ("holdfast_store_processes", Gauge, |s| s.processes, "Processes that have the store open."),
    ("holdfast_store_processes_max", Gauge, |s| s.max_processes, "Processes that may have it open."),
    ("holdfast_store_not_persistent", Gauge, |s| u64::from(s.not_persistent), "Is the store in memory only?"),
    ("holdfast_store_options_differ", Gauge, |s| u64::from(s.options_differ), "Was this server told other options than the store has?"),
    ("holdfast_store_hits_total", Counter, |s| s.hits, "Reads of values that were there, by all processes."),
    ("holdfast_store_expired_total", Counter, |s| s.expired, "Values that expired."),
    ("holdfast_store_evicted_total", Counter, |s| s.evicted, "Values that were dropped for want of space before they had expired."),
    ("holdfast_store_refused_full_total", Counter, |s| s.refused_full, "Writes that were refused because the store was full."),
    ("holdfast_store_written_bytes_total", Counter, |s| s.written_bytes, "Bytes of records that were written."),
    ("holdfast_store_moved_bytes_total", Counter, |s| s.moved_bytes, "Bytes of records that were moved to give space back."),
    ("holdfast_compactions_total", Counter, |s| s.segments_emptied, "Segments that were emptied to give space back."),
    ("holdfast_checksum_errors_total", Counter, |s| s.damaged_reads, "Reads that met bytes that were not what was written."),
    ("holdfast_recovered_records_total", Counter, |s| s.healed, "Places that were put right after a process had died."),
    ("holdfast_latches_stolen_total", Counter, |s| s.latch_stolen, "Latches that were taken from processes that had died."),
    ("holdfast_sync_rounds_total", Counter, |s| s.sync_rounds, "Times that everything written was brought to the disk."),
    ("holdfast_locks_held", Gauge, |s| s.locks_held, "Session locks that are held."),
    ("holdfast_lock_waiters", Gauge, |s| s.lock_waiters, "Who waits for a session lock."),
    ("holdfast_locks_acquired_total", Counter, |s| s.lock_acquired, "Session locks that were taken."),
    ("holdfast_lock_waits_total", Counter, |s| s.lock_waited, "Session locks that had to be waited for."),
    ("holdfast_lock_timeouts_total", Counter, |s| s.lock_timeouts, "Waits for session locks that came to nothing."),
    ("holdfast_locks_broken_total", Counter, |s| s.lock_broken, "Session locks that were taken from owners that had died or whose time was over."),
];

type Times = (&'static str, fn(&Stats) -> &holdfast::Histogram, &'static str);

#[rustfmt::skip]
const TIMES: &[Times] = &[
    ("holdfast_lock_wait_seconds", |s| &s.lock_waits, "How long those waited in line who did not get a session lock at once, by all processes."),
    ("holdfast_fsync_seconds", |s| &s.syncs, "How long it took to bring everything written to the disk, by all processes."),
];

fn dead_bytes(stats: &Stats) -> u64 {
    let free = stats.segments_free.saturating_mul(stats.segment_bytes);
    stats.data_bytes.saturating_sub(stats.live_bytes).saturating_sub(free)
}

/// All of them.
pub(super) fn families(page: &mut Page, numbers: &Numbers, ready: bool) {
    page.family("holdfast_build_info", Gauge, "The version of the server.", |samples| {
        samples.add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    });
    page.single("holdfast_ready", Gauge, "Does the server answer as it should?", u8::from(ready));
    let help = "How long requests took, from their first byte at hand to their answer.";
    page.family("holdfast_request_duration_seconds", Histogram, help, |samples| {
        for latency in &numbers.latencies {
            let labels = [("op", latency.op), ("dialect", latency.dialect)];
            samples.buckets(&labels, seconds(&latency.buckets), latency.sum.as_secs_f64());
        }
    });
    if let Some(store) = &numbers.store {
        of_store(page, store);
    }
    let net = &numbers.net;
    for (family, value, help) in [
        ("holdfast_writes_total", net.writes, "Writes to connections."),
        ("holdfast_commits_total", net.commits, "Waits for the disk, each for all that waited."),
        ("holdfast_connections_timed_out_total", net.timed_out, "Connections that took too long."),
        (
            "holdfast_connections_failed_total",
            net.panicked,
            "Connections that met a fault of ours.",
        ),
        ("holdfast_accept_errors_total", net.accept_failed, "Connections that could not be taken."),
    ] {
        page.single(family, Counter, help, value);
    }
}

fn seconds(
    buckets: &[(Option<Duration>, u64)],
) -> impl Iterator<Item = (Option<f64>, u64)> + use<'_> {
    buckets.iter().map(|(end, count)| (end.map(|end| end.as_secs_f64()), *count))
}

fn of_store(page: &mut Page, store: &Stats) {
    for (family, what, value, help) in STORE {
        page.single(family, *what, help, value(store));
    }
    let help = "What was asked of the store, by all processes.";
    page.family("holdfast_store_operations_total", Counter, help, |samples| {
        for (op, count) in [
            ("get", store.gets),
            ("set", store.sets),
            ("delete", store.deletes),
            ("touch", store.touches),
        ] {
            samples.add(&[("op", op)], count);
        }
    });
    let help = "Bytes of the store's files that are in memory.";
    page.family("holdfast_store_resident_bytes", Gauge, help, |samples| {
        for (file, bytes) in [
            ("data", store.data_resident_bytes),
            ("index", store.index_resident_bytes),
            ("meta", store.meta_resident_bytes),
        ] {
            samples.add(&[("file", file)], bytes);
        }
    });
    for (family, times, help) in TIMES {
        page.family(family, Histogram, help, |samples| {
            let times = times(store);
            samples.buckets(&[], seconds(&times.buckets), times.sum.as_secs_f64());
        });
    }
    if store.last_sync_age_ms != u64::MAX {
        let age = Duration::from_millis(store.last_sync_age_ms).as_secs_f64();
        let help = "Seconds since everything written was on the disk.";
        page.single("holdfast_last_sync_age_seconds", Gauge, help, age);
    }
}
