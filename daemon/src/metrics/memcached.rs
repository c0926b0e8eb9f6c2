//! The families of memcached_exporter (its metrics.md, version 0.16), computed as it does: from the
//! names of `stats`, `stats settings`, `stats items` and `stats slabs`. A name that is not there gives
//! no sample; families of its external storage and its proxy, which memcached has only with those, do
//! not exist here.

use std::collections::BTreeSet;

use super::text::Type::{self, Counter, Gauge};
use super::text::{Page, Samples};
use super::{Numbers, Pairs, look_up};

/// Family, type, name among the statistics, help.
type Row = (&'static str, Type, &'static str, &'static str);

#[rustfmt::skip]
const GENERAL: &[Row] = &[
    ("memcached_uptime_seconds", Counter, "uptime", "Seconds since the server started."),
    ("memcached_time_seconds", Gauge, "time", "The server's clock, unix seconds."),
    ("memcached_current_bytes", Gauge, "bytes", "Bytes that items take now."),
    ("memcached_limit_bytes", Gauge, "limit_maxbytes", "Bytes that may be used for items."),
    ("memcached_current_items", Gauge, "curr_items", "Items that are stored now."),
    ("memcached_items_total", Counter, "total_items", "Items that were stored since the start."),
    ("memcached_read_bytes_total", Counter, "bytes_read", "Bytes read from clients."),
    ("memcached_written_bytes_total", Counter, "bytes_written", "Bytes sent to clients."),
    ("memcached_current_connections", Gauge, "curr_connections", "Connections that are open."),
    ("memcached_connections_total", Counter, "total_connections", "Connections that were opened since the start."),
    ("memcached_connections_rejected_total", Counter, "rejected_connections", "Connections that were refused because there were too many."),
    ("memcached_connections_yielded_total", Counter, "conn_yields", "Times that a connection had to let others have their turn."),
    ("memcached_connections_listener_disabled_total", Counter, "listen_disabled_num", "Times that no more connections were taken."),
    ("memcached_items_evicted_total", Counter, "evictions", "Items that were dropped before they had expired, for want of space."),
    ("memcached_items_reclaimed_total", Counter, "reclaimed", "Expired items whose space was taken back."),
    ("memcached_item_too_large_total", Counter, "store_too_large", "Items that were refused because of their size."),
    ("memcached_item_no_memory_total", Counter, "store_no_memory", "Items that were refused for want of space."),
    ("memcached_direct_reclaims_total", Counter, "direct_reclaims", "Times that a request had to make space itself."),
    ("memcached_lru_crawler_starts_total", Counter, "lru_crawler_starts", "Times that the search for expired items began."),
    ("memcached_lru_crawler_items_checked_total", Counter, "crawler_items_checked", "Items that were looked at for expiry."),
    ("memcached_lru_crawler_reclaimed_total", Counter, "crawler_reclaimed", "Items that were found expired."),
    ("memcached_lru_crawler_moves_to_cold_total", Counter, "moves_to_cold", "Items that moved to the cold list."),
    ("memcached_lru_crawler_moves_to_warm_total", Counter, "moves_to_warm", "Items that moved to the warm list."),
    ("memcached_lru_crawler_moves_within_lru_total", Counter, "moves_within_lru", "Items that moved within a list."),
    ("memcached_malloced_bytes", Gauge, "total_malloced", "Bytes that were set aside for items."),
    ("memcached_accepting_conns", Gauge, "accepting_conns", "Are new connections taken?"),
    // The name of the same in later versions of the exporter.
    ("memcached_accepting_connections", Gauge, "accepting_conns", "Are new connections taken?"),
];

#[rustfmt::skip]
const SETTINGS: &[Row] = &[
    ("memcached_max_connections", Gauge, "maxconns", "Connections that may be open at once."),
    ("memcached_lru_crawler_enabled", Gauge, "lru_crawler", "Are expired items searched for?"),
    ("memcached_lru_crawler_sleep", Gauge, "lru_crawler_sleep", "Microseconds between two looks."),
    ("memcached_lru_crawler_to_crawl", Gauge, "lru_crawler_tocrawl", "Items that are looked at in one go."),
    ("memcached_lru_crawler_maintainer_thread", Gauge, "lru_maintainer_thread", "Does a thread of its own do this?"),
    ("memcached_lru_crawler_hot_percent", Gauge, "hot_lru_pct", "Share of the hot list."),
    ("memcached_lru_crawler_warm_percent", Gauge, "warm_lru_pct", "Share of the warm list."),
    ("memcached_lru_crawler_hot_max_factor", Gauge, "hot_max_factor", "How much younger the hot list is than the cold one."),
    ("memcached_lru_crawler_warm_max_factor", Gauge, "warm_max_factor", "How much younger the warm list is than the cold one."),
];

#[rustfmt::skip]
const ITEMS: &[Row] = &[
    ("memcached_slab_current_items", Gauge, "number", "Items of this class of sizes."),
    ("memcached_slab_items_age_seconds", Gauge, "age", "Age of the oldest item of the class."),
    ("memcached_slab_items_crawler_reclaimed_total", Counter, "crawler_reclaimed", "Items of the class that were found expired."),
    ("memcached_slab_items_evicted_total", Counter, "evicted", "Items of the class that were dropped before they had expired."),
    ("memcached_slab_items_evicted_nonzero_total", Counter, "evicted_nonzero", "Of those, the ones that had an expiry time."),
    ("memcached_slab_items_evicted_time_seconds", Counter, "evicted_time", "How long the last one dropped had not been read."),
    ("memcached_slab_items_evicted_unfetched_total", Counter, "evicted_unfetched", "Items of the class that were dropped and never read."),
    ("memcached_slab_items_expired_unfetched_total", Counter, "expired_unfetched", "Items of the class that expired and were never read."),
    ("memcached_slab_items_outofmemory_total", Counter, "outofmemory", "Items of the class that there was no space for."),
    ("memcached_slab_items_reclaimed_total", Counter, "reclaimed", "Expired items of the class whose space was taken back."),
    ("memcached_slab_items_tailrepairs_total", Counter, "tailrepairs", "Repairs of the class."),
    ("memcached_slab_items_moves_to_cold", Counter, "moves_to_cold", "Items of the class that moved to the cold list."),
    ("memcached_slab_items_moves_to_warm", Counter, "moves_to_warm", "Items of the class that moved to the warm list."),
    ("memcached_slab_items_moves_within_lru", Counter, "moves_within_lru", "Items of the class that moved within a list."),
    ("memcached_slab_hot_items", Gauge, "number_hot", "Items of the class in the hot list."),
    ("memcached_slab_warm_items", Gauge, "number_warm", "Items of the class in the warm list."),
    ("memcached_slab_cold_items", Gauge, "number_cold", "Items of the class in the cold list."),
    ("memcached_slab_temporary_items", Gauge, "number_temp", "Items of the class with short lives."),
    ("memcached_slab_hot_age_seconds", Gauge, "age_hot", "Age of the oldest item in the hot list."),
    ("memcached_slab_warm_age_seconds", Gauge, "age_warm", "Age of the oldest item in the warm list."),
];

#[rustfmt::skip]
const SLABS: &[Row] = &[
    ("memcached_slab_chunk_size_bytes", Gauge, "chunk_size", "Bytes of the largest item of the class."),
    ("memcached_slab_chunks_per_page", Gauge, "chunks_per_page", "Items of the class in a page."),
    ("memcached_slab_current_pages", Gauge, "total_pages", "Pages of the class."),
    ("memcached_slab_current_chunks", Gauge, "total_chunks", "Places for items of the class."),
    ("memcached_slab_chunks_used", Gauge, "used_chunks", "Places that are taken."),
    ("memcached_slab_chunks_free", Gauge, "free_chunks", "Places that are free."),
    ("memcached_slab_chunks_free_end", Gauge, "free_chunks_end", "Free places at the end of the last page."),
    ("memcached_slab_mem_requested_bytes", Gauge, "mem_requested", "Bytes that items of the class take."),
];

const OPS: [&str; 6] = ["get", "delete", "incr", "decr", "cas", "touch"];

/// All of them.
pub(super) fn families(page: &mut Page, numbers: &Numbers) {
    let general = &numbers.general;
    page.single("memcached_up", Gauge, "Could the server be asked?", u8::from(!general.is_empty()));
    if let Some(version) = look_up(general, "version") {
        page.family("memcached_version", Gauge, "The version of the server.", |samples| {
            samples.add(&[("version", version)], 1);
        });
    }
    rows(page, GENERAL, general);
    for (family, name, help) in [
        ("memcached_process_user_cpu_seconds_total", "rusage_user", "CPU time in this program."),
        ("memcached_process_system_cpu_seconds_total", "rusage_system", "CPU time in the kernel."),
    ] {
        if let Some(seconds) = look_up(general, name).and_then(timeval) {
            page.single(family, Counter, help, seconds);
        }
    }
    let help = "Requests by command and outcome.";
    page.family("memcached_commands_total", Counter, help, |samples| commands(samples, general));
    rows(page, SETTINGS, &numbers.settings);
    let items = classes(&numbers.items, Some("items"));
    of_classes(page, ITEMS, &items);
    page.family("memcached_slab_lru_hits_total", Counter, "Hits by list.", |samples| {
        for (class, pairs) in &items {
            for (name, list) in
                [("hot", "hot"), ("warm", "warm"), ("cold", "cold"), ("temp", "temporary")]
            {
                if let Some(value) = number(pairs, &format!("hits_to_{name}")) {
                    samples.add(&[("slab", class), ("lru", list)], value);
                }
            }
        }
    });
    let slabs = classes(&numbers.slabs, None);
    of_classes(page, SLABS, &slabs);
    let help = "Requests by class of sizes, command and outcome.";
    page.family("memcached_slab_commands_total", Counter, help, |samples| {
        for (class, pairs) in &slabs {
            slab_commands(samples, class, pairs);
        }
    });
}

fn rows(page: &mut Page, rows: &[Row], pairs: &Pairs) {
    for (family, what, name, help) in rows {
        if let Some(value) = number(pairs, name) {
            page.single(family, *what, help, value);
        }
    }
}

fn of_classes(page: &mut Page, rows: &[Row], classes: &[(String, Pairs)]) {
    for (family, what, name, help) in rows {
        page.family(family, *what, help, |samples| {
            for (class, pairs) in classes {
                if let Some(value) = number(pairs, name) {
                    samples.add(&[("slab", class)], value);
                }
            }
        });
    }
}

fn commands(samples: &mut Samples, pairs: &Pairs) {
    for op in OPS {
        for (name, status) in [("hits", "hit"), ("misses", "miss")] {
            if let Some(value) = number(pairs, &format!("{op}_{name}")) {
                samples.add(&[("command", op), ("status", status)], value);
            }
        }
    }
    if let Some(value) = number(pairs, "cas_badval") {
        samples.add(&[("command", "cas"), ("status", "badval")], value);
    }
    if let Some(value) = number(pairs, "cmd_flush") {
        samples.add(&[("command", "flush"), ("status", "hit")], value);
    }
    // memcached counts a compare-and-store among the stores as well. The numbers are read a little
    // apart, so what is left can look like less than nothing.
    let parts = ["cmd_set", "cas_misses", "cas_hits", "cas_badval"].map(|name| number(pairs, name));
    if let [Some(set), Some(misses), Some(hits), Some(badval)] = parts {
        samples
            .add(&[("command", "set"), ("status", "hit")], (set - misses - hits - badval).max(0.0));
    }
}

fn slab_commands(samples: &mut Samples, class: &str, pairs: &Pairs) {
    for op in OPS {
        if let Some(value) = number(pairs, &format!("{op}_hits")) {
            samples.add(&[("slab", class), ("command", op), ("status", "hit")], value);
        }
    }
    let (set, hits, badval) =
        (number(pairs, "cmd_set"), number(pairs, "cas_hits"), number(pairs, "cas_badval"));
    if let Some(badval) = badval {
        samples.add(&[("slab", class), ("command", "cas"), ("status", "badval")], badval);
    }
    if let (Some(set), Some(hits), Some(badval)) = (set, hits, badval) {
        samples.add(
            &[("slab", class), ("command", "set"), ("status", "hit")],
            (set - hits - badval).max(0.0),
        );
    }
}

/// The statistics of each class: `items:3:number` and `3:chunk_size`.
fn classes(pairs: &Pairs, prefix: Option<&str>) -> Vec<(String, Pairs)> {
    let split = |name: &str| -> Option<(u32, String)> {
        let rest = match prefix {
            Some(prefix) => name.strip_prefix(prefix)?.strip_prefix(':')?,
            None => name,
        };
        let (class, name) = rest.split_once(':')?;
        Some((class.parse().ok()?, name.to_string()))
    };
    let named: Vec<_> = pairs
        .iter()
        .filter_map(|(name, value)| split(name).map(|(class, name)| (class, name, value.clone())))
        .collect();
    let classes: BTreeSet<u32> = named.iter().map(|(class, ..)| *class).collect();
    let of = |class: u32| {
        let own = named.iter().filter(|row| row.0 == class);
        own.map(|(_, name, value)| (name.clone(), value.clone())).collect()
    };
    classes.into_iter().map(|class| (class.to_string(), of(class))).collect()
}

/// A number, or yes and no as 1 and 0. Counts above 2^53 lose their last digits, as in Prometheus.
fn number(pairs: &Pairs, name: &str) -> Option<f64> {
    match look_up(pairs, name)? {
        "yes" => Some(1.0),
        "no" => Some(0.0),
        text => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// Seconds, from memcached's seconds and microseconds.
fn timeval(text: &str) -> Option<f64> {
    let (seconds, micros) = text.split_once('.')?;
    let (seconds, micros): (u32, u32) = (seconds.parse().ok()?, micros.parse().ok()?);
    Some(f64::from(seconds) + f64::from(micros) / 1e6)
}
