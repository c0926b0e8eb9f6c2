//! The general statistics. Names and order are memcached's; what it counts and there is nothing of
//! here is 0.

use std::time::Duration;

use holdfast::{HashKind, Stats, Sync};

use super::{Facts, Lines, Panel, line};
use crate::counters::Count;

/// Of the process's time, seconds and microseconds: spent in user space, and in the kernel.
fn rusage() -> [String; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have anything in it, field 3 is first; 14 and 15 are wanted
    // (proc_pid_stat(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1);
    [11, 12].map(|field| {
        let ticks: u64 =
            fields.split_ascii_whitespace().nth(field).and_then(|t| t.parse().ok()).unwrap_or(0);
        let micros = ticks % ticks_a_second * 1_000_000 / ticks_a_second;
        format!("{}.{micros:06}", ticks / ticks_a_second)
    })
}

/// Counters between which nothing else stands, in memcached's order.
const COMMANDS: &[Count] = &[
    Count::CmdGet,
    Count::CmdSet,
    Count::CmdFlush,
    Count::CmdTouch,
    Count::CmdMeta,
    Count::GetHits,
    Count::GetMisses,
];
const OUTCOMES: &[Count] = &[
    Count::DeleteMisses,
    Count::DeleteHits,
    Count::IncrMisses,
    Count::IncrHits,
    Count::DecrMisses,
    Count::DecrHits,
    Count::CasMisses,
    Count::CasHits,
    Count::CasBadval,
    Count::TouchHits,
    Count::TouchMisses,
    Count::StoreTooLarge,
    Count::StoreNoMemory,
    Count::AuthCmds,
    Count::AuthErrors,
];
/// Counted by a memcached, and nothing that this server does.
const NOTHING_BEFORE_ITEMS: &[&str] = &[
    "hash_is_expanding",
    "slab_reassign_rescues",
    "slab_reassign_chunk_rescues",
    "slab_reassign_evictions_nomem",
    "slab_reassign_inline_reclaim",
    "slab_reassign_busy_items",
    "slab_reassign_busy_deletes",
    "slab_reassign_running",
    "slabs_moved",
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "malloc_fails",
    "log_worker_dropped",
    "log_worker_written",
    "log_watcher_skipped",
    "log_watcher_sent",
    "log_watchers",
    "unexpected_napi_ids",
    "round_robin_fallback",
];
const NOTHING_BEHIND: &[&str] = &[
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "lru_bumps_dropped",
];
/// File descriptors that are no connections, about: log, store, listeners, wakers.
const RESERVED_FDS: u64 = 20;

pub(super) fn show(panel: &Panel, facts: &Facts, lines: &mut Lines) -> holdfast::Result<()> {
    let store = panel.store(facts)?;
    let counted = facts.counters.snapshot();
    let traffic = (facts.traffic)();
    let shown = &facts.settings.shown;
    let mut add = |name: &str, value: &dyn std::fmt::Display| line(lines, name, value);
    add("pid", &std::process::id());
    add("uptime", &panel.started.elapsed().as_secs());
    add("time", &(facts.store.now_ms()? / 1000));
    add("version", &facts.settings.version);
    add("libevent", &"none");
    add("pointer_size", &usize::BITS);
    let [user, system] = rusage();
    add("rusage_user", &user);
    add("rusage_system", &system);
    add("max_connections", &shown.max_connections);
    add("curr_connections", &traffic.curr_connections);
    add("total_connections", &traffic.total_connections);
    add("rejected_connections", &traffic.rejected_connections);
    add("connection_structures", &traffic.connection_structures);
    add("response_obj_oom", &0);
    add("response_obj_count", &traffic.buffers);
    add("response_obj_bytes", &traffic.buffer_bytes);
    add("read_buf_count", &traffic.buffers);
    add("read_buf_bytes", &traffic.buffer_bytes);
    add("read_buf_bytes_free", &0);
    add("read_buf_oom", &0);
    add("reserved_fds", &RESERVED_FDS);
    for count in COMMANDS {
        add(count.name(), &counted.get(*count));
    }
    // The store does not tell these misses from others.
    add("get_expired", &0);
    add("get_flushed", &0);
    for count in OUTCOMES {
        add(count.name(), &counted.get(*count));
    }
    add("idle_kicks", &traffic.idle_kicks);
    add("bytes_read", &traffic.bytes_read);
    add("bytes_written", &traffic.bytes_written);
    add("limit_maxbytes", &store.max_bytes);
    add("accepting_conns", &u8::from(traffic.accepting_conns));
    add("listen_disabled_num", &traffic.listen_disabled_num);
    add("time_in_listen_disabled_us", &traffic.time_in_listen_disabled_us);
    add("threads", &shown.threads);
    add("conn_yields", &traffic.conn_yields);
    add("hash_power_level", &store.index_slots.checked_ilog2().unwrap_or(0));
    add("hash_bytes", &store.index_bytes);
    for name in NOTHING_BEFORE_ITEMS {
        add(name, &0);
    }
    add("bytes", &store.live_bytes);
    add("curr_items", &store.keys);
    add("total_items", &counted.get(Count::TotalItems));
    add("slab_global_page_pool", &0);
    add("expired_unfetched", &0);
    add("evicted_unfetched", &0);
    add("evicted_active", &0);
    add("evictions", &store.evicted);
    add("reclaimed", &store.expired);
    for name in NOTHING_BEHIND {
        add(name, &0);
    }
    for count in [
        Count::BadRequests,
        Count::Failures,
        Count::LocksTaken,
        Count::LocksDenied,
        Count::LocksLost,
    ] {
        add(count.name(), &counted.get(count));
    }
    own(&store, lines);
    Ok(())
}

/// As memcached shows lengths of time.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The store's own numbers, which all who have it open share.
fn own(store: &Stats, lines: &mut Lines) {
    let mut add = |name: &str, value: u64| line(lines, format!("store_{name}"), value);
    add("data_bytes", store.data_bytes);
    add("data_resident_bytes", store.data_resident_bytes);
    add("index_bytes", store.index_bytes);
    add("index_resident_bytes", store.index_resident_bytes);
    add("meta_bytes", store.meta_bytes);
    add("meta_resident_bytes", store.meta_resident_bytes);
    add("disk_bytes", store.disk_bytes);
    add("max_value_bytes", store.max_value_bytes);
    add("segments", store.segments);
    add("segments_free", store.segments_free);
    add("segments_emptied", store.segments_emptied);
    add("written_bytes", store.written_bytes);
    add("moved_bytes", store.moved_bytes);
    add("gets", store.gets);
    add("hits", store.hits);
    add("sets", store.sets);
    add("deletes", store.deletes);
    add("touches", store.touches);
    add("expired", store.expired);
    add("evicted", store.evicted);
    add("refused_full", store.refused_full);
    add("damaged_reads", store.damaged_reads);
    add("lock_acquired", store.lock_acquired);
    add("lock_waited", store.lock_waited);
    add("lock_waited_us", micros(store.lock_waits.sum));
    add("lock_timeouts", store.lock_timeouts);
    add("lock_broken", store.lock_broken);
    add("locks_held", store.locks_held);
    add("lock_waiters", store.lock_waiters);
    add("latch_stolen", store.latch_stolen);
    add("healed", store.healed);
    add("processes", store.processes);
    add("max_processes", store.max_processes);
    add("sync_rounds", store.sync_rounds);
    add("sync_us", micros(store.syncs.sum));
    add("sync_interval_ms", store.sync_interval_ms);
    if store.last_sync_age_ms != u64::MAX {
        add("last_sync_age_ms", store.last_sync_age_ms);
    }
    add("default_ttl_ms", store.default_ttl_ms);
    add("max_ttl_ms", store.max_ttl_ms);
    for (name, yes) in [
        ("compress", store.compress),
        ("evict", store.evict),
        ("not_persistent", store.not_persistent),
        ("options_differ", store.options_differ),
    ] {
        add(name, u64::from(yes));
    }
    let sync = match store.sync {
        Sync::None => "none",
        Sync::Periodic => "periodic",
        Sync::Always => "always",
    };
    let hash = match store.hash {
        HashKind::Rapid => "rapid",
        HashKind::Sip13 => "sip13",
    };
    line(lines, "store_sync", sync);
    line(lines, "store_hash", hash);
    line(lines, "store_format", format!("{}.{}", store.format_major, store.format_minor));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_spent() {
        let begun = std::time::Instant::now();
        let mut sum = 0u64;
        // Two ticks of the kernel's count.
        while begun.elapsed().as_millis() < 30 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let [user, system] = rusage();
        let spent = |text: &str| text.parse::<f64>().unwrap_or(-1.0);
        assert!(spent(&user) + spent(&system) > 0.0, "{user} {system}");
    }
}
