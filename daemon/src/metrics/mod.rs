//! The page that Prometheus reads: memcached_exporter's families under their own names, so that
//! dashboards made for it work here, our own `holdfast_*`, and the usual `process_*`.
//!
//! Numbers in, text out; it asks nobody and keeps nothing. The admin port calls it. No label is ever a
//! key, and none has more values than there are dialects, kinds of requests or classes of sizes.

mod memcached;
mod own;
mod process;
pub mod text;

use std::time::Duration;

pub use text::Style;

/// Names and values of a group of statistics, as `stats` tells them.
pub type Pairs = Vec<(String, String)>;

/// How long requests of one kind took, in one dialect.
#[derive(Debug, Clone)]
pub struct Latency {
    /// `get`, `set`, ...
    pub op: &'static str,
    /// `text`, `meta`, `binary`.
    pub dialect: &'static str,
    /// The end of each bucket and how many requests fell into it alone; the last has no end.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// All of them together.
    pub sum: Duration,
}

/// What the loops count beside what memcached's statistics have names for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetNumbers {
    /// Writes to connections.
    pub writes: u64,
    /// Commits, each for everybody who was waiting.
    pub commits: u64,
    /// Connections that were ended by a deadline.
    pub timed_out: u64,
    /// Connections that were ended by a fault in this program.
    pub panicked: u64,
    /// Connections that the kernel could not give us.
    pub accept_failed: u64,
}

/// Everything that is known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// `stats`.
    pub general: Pairs,
    /// `stats settings`.
    pub settings: Pairs,
    /// `stats items`.
    pub items: Pairs,
    /// `stats slabs`.
    pub slabs: Pairs,
    /// The store's own, if it is open.
    pub store: Option<holdfast::Stats>,
    /// Of each dialect and kind of request.
    pub latencies: Vec<Latency>,
    /// The loops'.
    pub net: NetNumbers,
}

/// The page.
pub fn page(numbers: &Numbers, ready: bool, style: Style) -> String {
    let mut page = text::Page::new(style);
    memcached::families(&mut page, numbers);
    own::families(&mut page, numbers, ready);
    process::families(&mut page, numbers);
    page.finish()
}

fn look_up<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
