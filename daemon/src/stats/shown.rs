//! `stats settings`: names and order are memcached's. What cannot be set here has the value that
//! describes how this server behaves.

use super::{Facts, Lines, Panel, line, yes_no};

/// Of a memcached's storage, which is not here.
const BEFORE_CRAWLER: &[(&str, &str)] = &[
    ("hashpower_init", "0"),
    ("slab_reassign", "no"),
    ("slab_automove", "0"),
    ("slab_automove_ratio", "0.00"),
    ("slab_automove_window", "0"),
];
const CRAWLER: &[(&str, &str)] = &[
    ("lru_crawler", "no"),
    ("lru_crawler_sleep", "0"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
];
const LRU: &[(&str, &str)] = &[
    ("lru_maintainer_thread", "no"),
    ("lru_segmented", "no"),
    ("hot_lru_pct", "0"),
    ("warm_lru_pct", "0"),
    ("hot_max_factor", "0.00"),
    ("warm_max_factor", "0.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "0"),
];
const BUFFERS: &[(&str, &str)] = &[
    ("watcher_logbuf_size", "0"),
    ("worker_logbuf_size", "0"),
    ("read_buf_mem_limit", "0"),
    ("track_sizes", "no"),
    ("inline_ascii_response", "no"),
];
const EXTERNAL: &[(&str, &str)] = &[
    ("ext_item_size", "0"),
    ("ext_item_age", "0"),
    ("ext_low_ttl", "0"),
    ("ext_recache_rate", "0"),
    ("ext_wbuf_size", "0"),
    ("ext_compact_under", "0"),
    ("ext_drop_under", "0"),
    ("ext_max_sleep", "0"),
    ("ext_max_frag", "0.00"),
    ("slab_automove_freeratio", "0.000"),
    ("ext_drop_unread", "no"),
];

/// A text, or what memcached shows in place of none.
fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

pub(super) fn show(panel: &Panel, facts: &Facts, lines: &mut Lines) -> holdfast::Result<()> {
    let store = panel.store(facts)?;
    let (settings, shown) = (facts.settings, &facts.settings.shown);
    fn all(lines: &mut Lines, fixed: &[(&str, &str)]) {
        lines.extend(fixed.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    }
    line(lines, "maxbytes", store.max_bytes);
    line(lines, "maxconns", shown.max_connections);
    line(lines, "tcpport", shown.tcp_port);
    line(lines, "udpport", 0);
    line(lines, "inter", or(&shown.inter, "NULL"));
    line(lines, "verbosity", settings.verbosity());
    line(lines, "oldest", 0);
    line(lines, "evictions", if store.evict { "on" } else { "off" });
    line(lines, "domain_socket", or(&shown.domain_socket, "NULL"));
    line(lines, "umask", format!("{:o}", shown.socket_mode));
    line(lines, "shutdown_command", yes_no(settings.may_shutdown));
    line(lines, "growth_factor", "2.00");
    line(lines, "chunk_size", 64);
    line(lines, "num_threads", shown.threads);
    line(lines, "num_threads_per_udp", 0);
    line(lines, "stat_key_prefix", char::from(settings.prefix_delimiter));
    line(lines, "detail_enabled", yes_no(settings.detail()));
    line(lines, "reqs_per_event", shown.requests_per_turn);
    line(lines, "cas_enabled", "yes");
    line(lines, "tcp_backlog", shown.backlog);
    line(lines, "binding_protocol", &shown.binding_protocol);
    line(lines, "auth_enabled_sasl", yes_no(shown.auth_sasl));
    line(lines, "auth_enabled_ascii", yes_no(shown.auth_ascii));
    line(lines, "item_size_max", settings.value_max());
    line(lines, "maxconns_fast", yes_no(shown.maxconns_fast));
    all(lines, BEFORE_CRAWLER);
    line(lines, "slab_chunk_max", settings.value_max());
    all(lines, CRAWLER);
    line(lines, "flush_enabled", yes_no(settings.may_flush()));
    line(lines, "dump_enabled", yes_no(settings.may_dump()));
    let hash = match store.hash {
        holdfast::HashKind::Rapid => "rapid",
        holdfast::HashKind::Sip13 => "sip13",
    };
    line(lines, "hash_algorithm", hash);
    all(lines, LRU);
    line(lines, "idle_timeout", shown.idle_timeout_s);
    all(lines, BUFFERS);
    all(lines, EXTERNAL);
    line(lines, "ssl_enabled", yes_no(shown.tls));
    line(lines, "ssl_chain_cert", or(&shown.tls_chain, "(null)"));
    line(lines, "ssl_key", or(&shown.tls_key, "(null)"));
    line(lines, "ssl_verify_mode", u8::from(!shown.tls_ca.is_empty()));
    line(lines, "ssl_keyformat", 1);
    line(lines, "ssl_ciphers", "NULL");
    line(lines, "ssl_ca_cert", or(&shown.tls_ca, "NULL"));
    line(lines, "ssl_wbuf_size", 0);
    line(lines, "ssl_session_cache", "no");
    line(lines, "ssl_kernel_tls", "no");
    line(lines, "ssl_min_version", &shown.tls_min_version);
    line(lines, "num_napi_ids", "(null)");
    line(lines, "memory_file", or(&shown.store, "(null)"));
    Ok(())
}
