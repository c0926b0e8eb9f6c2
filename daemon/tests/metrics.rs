//! The page for Prometheus, read by a parser that forgives nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use holdfastd::metrics::{Latency, NetNumbers, Numbers, Pairs, Style, page};

fn pairs(text: &str) -> Pairs {
    let pair = |line: &str| {
        let (name, value) = line.trim().split_once(' ').unwrap();
        (name.to_string(), value.to_string())
    };
    text.trim().lines().map(pair).collect()
}

/// A server that has counted something of everything.
fn numbers() -> Numbers {
    let general = "pid 1\nuptime 7\ntime 1700000007\nversion 1.6.45-\"x\\y\nrusage_user 1.500000\n\
            rusage_system 0.250000\ncurr_connections 3\ntotal_connections 9\nrejected_connections 1\n\
            cmd_get 5\ncmd_set 20\ncmd_flush 1\nget_hits 3\nget_misses 2\ndelete_hits 1\n\
            delete_misses 0\nincr_hits 1\nincr_misses 1\ndecr_hits 1\ndecr_misses 1\ncas_hits 4\n\
            cas_misses 2\ncas_badval 1\ntouch_hits 2\ntouch_misses 2\nstore_too_large 0\n\
            store_no_memory 0\nbytes_read 100\nbytes_written 200\nlimit_maxbytes 1073741824\n\
            accepting_conns 1\nlisten_disabled_num 0\nconn_yields 0\nbytes 4096\ncurr_items 2\n\
            total_items 20\nevictions 0\nreclaimed 0\nlru_crawler_starts 1\ndirect_reclaims 0\n\
            crawler_items_checked 0\ncrawler_reclaimed 0\nmoves_to_cold 0\nmoves_to_warm 0\n\
            moves_within_lru 0\ntotal_malloced 8192";
    let settings = "maxconns 1024\nlru_crawler yes\nlru_crawler_sleep 100\nlru_crawler_tocrawl 0\n\
            lru_maintainer_thread no\nhot_lru_pct 20\nwarm_lru_pct 40\nhot_max_factor 0.20\n\
            warm_max_factor 2.00\ninter 127.0.0.1";
    let items = [
        "number",
        "age",
        "crawler_reclaimed",
        "evicted",
        "evicted_nonzero",
        "evicted_time",
        "evicted_unfetched",
        "expired_unfetched",
        "outofmemory",
        "reclaimed",
        "tailrepairs",
        "moves_to_cold",
        "moves_to_warm",
        "moves_within_lru",
        "number_hot",
        "number_warm",
        "number_cold",
        "number_temp",
        "age_hot",
        "age_warm",
        "hits_to_hot",
        "hits_to_warm",
        "hits_to_cold",
        "hits_to_temp",
    ];
    let slabs = [
        "chunk_size",
        "chunks_per_page",
        "total_pages",
        "total_chunks",
        "used_chunks",
        "free_chunks",
        "free_chunks_end",
        "mem_requested",
        "get_hits",
        "cmd_set",
        "delete_hits",
        "incr_hits",
        "decr_hits",
        "cas_hits",
        "cas_badval",
        "touch_hits",
    ];
    let each = |prefix: &str, names: &[&str]| -> Pairs {
        let of = |class: u32| {
            names.iter().map(move |name| (format!("{prefix}{class}:{name}"), "9".to_string()))
        };
        of(2).chain(of(11)).collect()
    };
    let mut of_slabs = each("", &slabs);
    of_slabs.extend(pairs("active_slabs 2\ntotal_malloced 8192"));
    Numbers {
        general: pairs(general),
        settings: pairs(settings),
        items: each("items:", &items),
        slabs: of_slabs,
        store: Some(store_stats()),
        latencies: ["text", "meta"]
            .map(|dialect| Latency {
                op: "get",
                dialect,
                buckets: vec![
                    (Some(Duration::from_nanos(256)), 2),
                    (Some(Duration::from_micros(1)), 3),
                    (None, 1),
                ],
                sum: Duration::from_micros(10),
            })
            .to_vec(),
        net: NetNumbers { writes: 7, ..NetNumbers::default() },
    }
}

/// How long somebody waited in vain for a session lock.
const WAITED: Duration = Duration::from_millis(20);

/// Of a real store, because only the library makes them: with one wait for a session lock and one sync.
fn store_stats() -> holdfast::Stats {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = holdfast::Options { create: true, thread: false, ..holdfast::Options::default() };
    let store = holdfast::Store::open(dir.path(), &options).unwrap();
    let lock = |cookie, timeout| {
        let wait = holdfast::Wait { timeout: Some(timeout), ..holdfast::Wait::default() };
        matches!(store.lock(b"s", cookie, &wait).unwrap(), holdfast::Acquired::Held(_))
    };
    assert!(lock(1, Duration::ZERO) && !lock(2, WAITED));
    store.set(b"k", b"v", 0, holdfast::Ttl::Never).unwrap();
    store.sync().unwrap();
    store.stats().unwrap()
}

/// A family as the page declares it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads a page and accepts nothing that is not in the format: HELP, then TYPE, then samples of that
/// family alone; each family once, each sample once; names and labels well formed.
fn read_metrics(text: &str, open: bool) -> BTreeMap<String, Family> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(text.ends_with('\n'));
    assert_eq!(text.ends_with("# EOF\n"), open);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    let mut helped = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && help.len() > 5, "{line}");
            helped = name.into();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "TYPE follows HELP");
            let kinds = ["counter", "gauge", "histogram", "unknown"];
            assert!(kinds.contains(&kind) && (open || kind != "unknown"), "{line}");
            let family = Family { kind: kind.into(), samples: vec![] };
            assert!(families.insert(name.into(), family).is_none(), "{name} is there twice");
            current = name.into();
            continue;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "{line}");
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_string()), "{series} is there twice");
        let value: f64 = value.parse().unwrap();
        let (name, labels) = match series.split_once('{') {
            None => (series, BTreeMap::new()),
            Some((name, labels)) => (name, read_labels(labels.strip_suffix('}').unwrap())),
        };
        assert!(is_name(name) && labels.keys().all(|label| is_name(label)), "{line}");
        let family = families.get_mut(&current).expect("samples follow TYPE");
        let suffix = name.strip_prefix(current.as_str()).expect("samples are of their family");
        let allowed: &[&str] = match (family.kind.as_str(), open) {
            ("counter", true) => &["_total"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}");
        assert!(!open || family.kind != "unknown" || !name.ends_with("_total"));
        assert!(family.kind == "gauge" || value >= 0.0, "{line}");
        family.samples.push((suffix.into(), labels, value));
    }
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has no samples");
        if family.kind == "histogram" {
            check_histogram(family);
        }
    }
    families
}

fn read_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap();
        let (mut value, mut end) = (String::new(), None);
        let mut chars = rest.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    end = Some(i);
                    break;
                }
                '\\' => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    other => panic!("\\{other} is no escape"),
                },
                c => value.push(c),
            }
        }
        assert!(labels.insert(name.to_string(), value).is_none(), "label {name} twice");
        text = rest[end.expect("a closing quote") + 1..].trim_start_matches(',');
    }
    labels
}

fn check_histogram(family: &Family) {
    type Labels = Vec<(String, String)>;
    let mut by_labels: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut rest = labels.clone();
        let end = rest.remove("le");
        let key: Vec<_> = rest.into_iter().collect();
        match suffix.as_str() {
            "_bucket" => {
                let end = match end.unwrap().as_str() {
                    "+Inf" => f64::INFINITY,
                    text => text.parse().unwrap(),
                };
                by_labels.entry(key).or_default().push((end, *value));
            }
            "_count" => drop(counts.insert(key, *value)),
            _ => assert!(end.is_none()),
        }
    }
    for (key, buckets) in by_labels {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        let last = buckets.last().unwrap();
        assert!(last.0.is_infinite() && Some(&last.1) == counts.get(&key));
    }
}

/// What memcached_exporter 0.16 gives of a memcached (its metrics.md), without its proxy.
const EXPORTER: &str = "accepting_conns commands_total connections_listener_disabled_total \
    connections_total connections_yielded_total connections_rejected_total current_bytes \
    current_connections current_items direct_reclaims_total items_evicted_total \
    items_reclaimed_total items_total item_too_large_total item_no_memory_total limit_bytes \
    lru_crawler_enabled lru_crawler_hot_max_factor lru_crawler_hot_percent \
    lru_crawler_items_checked_total lru_crawler_maintainer_thread lru_crawler_moves_to_cold_total \
    lru_crawler_moves_to_warm_total lru_crawler_moves_within_lru_total lru_crawler_reclaimed_total \
    lru_crawler_sleep lru_crawler_starts_total lru_crawler_to_crawl lru_crawler_warm_max_factor \
    lru_crawler_warm_percent malloced_bytes max_connections read_bytes_total slab_chunk_size_bytes \
    slab_chunks_free slab_chunks_free_end slab_chunks_per_page slab_chunks_used slab_cold_items \
    slab_commands_total slab_current_chunks slab_current_items slab_current_pages \
    slab_hot_age_seconds slab_hot_items slab_items_age_seconds slab_items_crawler_reclaimed_total \
    slab_items_evicted_nonzero_total slab_items_evicted_time_seconds slab_items_evicted_total \
    slab_items_evicted_unfetched_total slab_items_expired_unfetched_total slab_items_moves_to_cold \
    slab_items_moves_to_warm slab_items_moves_within_lru slab_items_outofmemory_total \
    slab_items_reclaimed_total slab_items_tailrepairs_total slab_lru_hits_total \
    slab_mem_requested_bytes slab_temporary_items slab_warm_age_seconds slab_warm_items time_seconds up \
    uptime_seconds version written_bytes_total process_user_cpu_seconds_total \
    process_system_cpu_seconds_total process_cpu_seconds_total process_max_fds process_open_fds \
    process_resident_memory_bytes process_start_time_seconds process_virtual_memory_bytes";

#[test]
fn metrics_are_well_formed_in_both_formats_and_complete() {
    let numbers = numbers();
    let text = page(&numbers, true, Style::Plain);
    let families = read_metrics(&text, false);
    for name in EXPORTER.split_whitespace() {
        assert!(families.contains_key(&format!("memcached_{name}")), "memcached_{name} is missing");
    }
    for name in [
        "holdfast_request_duration_seconds",
        "holdfast_store_keys",
        "holdfast_locks_held",
        "holdfast_lock_waiters",
        "holdfast_build_info",
        "holdfast_store_dead_bytes",
        "holdfast_sync_rounds_total",
        "holdfast_writes_total",
        "holdfast_checksum_errors_total",
        "process_cpu_seconds_total",
    ] {
        assert!(families.contains_key(name), "{name} is missing");
    }
    let value = |family: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let found = families[family].samples.iter().find(|sample| sample.1 == labels);
        found.unwrap_or_else(|| panic!("{family} {labels:?}")).2
    };
    let commands = |command, status| {
        value("memcached_commands_total", &[("command", command), ("status", status)])
    };
    assert_eq!(commands("set", "hit"), 13.0, "stores that were no cas");
    assert_eq!((commands("get", "hit"), commands("get", "miss")), (3.0, 2.0));
    assert_eq!((commands("cas", "badval"), commands("flush", "hit")), (1.0, 1.0));
    assert_eq!(value("memcached_version", &[("version", "1.6.45-\"x\\y")]), 1.0);
    assert_eq!(value("memcached_lru_crawler_enabled", &[]), 1.0);
    assert_eq!(value("memcached_lru_crawler_maintainer_thread", &[]), 0.0);
    assert_eq!(value("memcached_slab_current_items", &[("slab", "11")]), 9.0);
    assert_eq!(value("memcached_process_user_cpu_seconds_total", &[]), 1.5);
    assert_eq!(value("process_cpu_seconds_total", &[]), 1.75);
    assert_eq!(value("process_start_time_seconds", &[]), 1_700_000_000.0);
    assert!(
        value("process_open_fds", &[]) > 3.0 && value("process_resident_memory_bytes", &[]) > 1e6
    );
    let open = page(&numbers, true, Style::Open);
    let in_open = read_metrics(&open, true);
    assert_eq!(in_open.len(), families.len());
    assert_eq!(in_open["memcached_commands"].kind, "counter");
    promtool(&text);
}

#[test]
fn what_the_store_timed_is_told_in_buckets() {
    let numbers = numbers();
    let families = read_metrics(&page(&numbers, true, Style::Plain), false);
    let store = numbers.store.unwrap();
    for (name, times) in
        [("holdfast_lock_wait_seconds", store.lock_waits), ("holdfast_fsync_seconds", store.syncs)]
    {
        let family = &families[name];
        assert_eq!(family.kind, "histogram");
        let value = |suffix: &str, le: Option<&str>| {
            let is = |sample: &&(String, BTreeMap<String, String>, f64)| {
                sample.0 == suffix && sample.1.get("le").map(String::as_str) == le
            };
            family.samples.iter().find(is).unwrap_or_else(|| panic!("{name}{suffix} {le:?}")).2
        };
        assert!(times.count() > 0, "{name}");
        assert_eq!(value("_count", None).to_string(), times.count().to_string());
        assert_eq!(value("_sum", None), times.sum.as_secs_f64());
        let mut below = 0;
        for (end, count) in times.buckets {
            below += count;
            let end = end.map_or("+Inf".to_string(), |end| end.as_secs_f64().to_string());
            assert_eq!(value("_bucket", Some(&end)).to_string(), below.to_string(), "{name} {end}");
        }
        assert_eq!(family.samples.len(), times.buckets.len() + 2, "nothing else");
    }
    // In no bucket that ends before he did.
    assert!(store.lock_waits.count() == 1 && store.lock_waits.sum >= WAITED);
    let early = store.lock_waits.buckets.iter().filter(|b| b.0.is_some_and(|end| end < WAITED));
    assert_eq!(early.map(|b| b.1).sum::<u64>(), 0);
}

/// Prometheus' own opinion, where it is installed.
fn promtool(text: &str) {
    let command = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = command else {
        eprintln!("SKIPPED: promtool is not installed, only our own parser has read the metrics");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // 3 is its code for opinions on names, which are memcached_exporter's.
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_empty_server_has_a_page_as_well() {
    let families = read_metrics(&page(&Numbers::default(), false, Style::Plain), false);
    assert_eq!(families["memcached_up"].samples[0].2, 0.0);
    assert_eq!(families["holdfast_ready"].samples[0].2, 0.0);
    assert!(!families.contains_key("holdfast_fsync_seconds"), "there is no store that syncs");
}
