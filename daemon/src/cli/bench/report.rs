//! What a measurement says, as a table for people or as one JSON object. Called by the command and
//! by the comparison.

use super::address::Address;
use super::options::{Distribution, Length, Load};
use super::session::Measured;
use super::tally::Percentiles;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// The load, as results have to name it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Terms {
    protocol: &'static str,
    gets_percent: f64,
    keys: u64,
    key_size: usize,
    value_size: usize,
    connections: usize,
    idle: usize,
    pipeline: usize,
    multi: usize,
    threads: usize,
    duration_seconds: Option<f64>,
    requests: Option<u64>,
    warm_up_seconds: f64,
    rate: Option<f64>,
    distribution: String,
    seed: u64,
    ttl_seconds: u32,
}

/// One measurement of one server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) name: String,
    address: String,
    server_version: Option<String>,
    interrupted: bool,
    seconds: f64,
    requests: u64,
    pub(super) requests_per_second: f64,
    hits: u64,
    misses: u64,
    /// Requests that the server refused for want of something.
    pub(super) errors: u64,
    first_error: Option<String>,
    /// Requests of a fixed rate that no connection was free for until the end.
    not_started: u64,
    idle_closed: usize,
    bytes_received: u64,
    bytes_sent: u64,
    pub(super) latency_us: Latency,
    pub(super) cpu: Cpu,
}

/// Latencies of all requests and of each kind.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Latency {
    pub(super) all: Percentiles,
    gets: Percentiles,
    sets: Percentiles,
}

/// CPU times of the measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cpu {
    generator_us_per_request: f64,
    /// Of its threads' time; near 1 the generator is the limit, not the server.
    generator_busy: f64,
    pub(super) server_us_per_request: Option<f64>,
    /// Processors that the server kept busy.
    server_busy: Option<f64>,
}

impl Terms {
    pub(super) fn of(load: &Load) -> Self {
        let (duration_seconds, requests) = match load.length {
            Length::For(length) => (Some(length.as_secs_f64()), None),
            Length::Requests(count) => (None, Some(count)),
        };
        Self {
            protocol: load.protocol.name(),
            gets_percent: load.gets * 100.0,
            keys: load.keys,
            key_size: load.key_size,
            value_size: load.value_size,
            connections: load.connections,
            idle: load.idle,
            pipeline: load.pipeline,
            multi: load.multi,
            threads: load.threads,
            duration_seconds,
            requests,
            warm_up_seconds: load.warm_up.as_secs_f64(),
            rate: load.rate,
            distribution: match load.distribution {
                Distribution::Uniform => "uniform".into(),
                Distribution::Zipf(exponent) => format!("zipf:{exponent}"),
            },
            seed: load.seed,
            ttl_seconds: load.ttl,
        }
    }

    /// The load in one line.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{}, {} % gets, {} keys ({}), values of {} bytes, {} connections",
            self.protocol,
            self.gets_percent,
            self.keys,
            self.distribution,
            self.value_size,
            self.connections
        );
        let mut also = |holds: bool, text: String| {
            if holds {
                line.push_str(", ");
                line.push_str(&text);
            }
        };
        also(self.idle > 0, format!("{} idle", self.idle));
        also(self.pipeline > 1, format!("pipeline {}", self.pipeline));
        also(self.multi > 1, format!("{} keys per get", self.multi));
        also(self.threads > 1, format!("{} threads", self.threads));
        also(self.rate.is_some(), format!("{} per second", self.rate.unwrap_or_default()));
        line
    }
}

impl Report {
    pub(super) fn new(
        address: &Address,
        version: &str,
        load: &Load,
        measured: Measured,
        interrupted: bool,
    ) -> Self {
        let tally = measured.tally;
        let seconds = tally.elapsed.as_secs_f64();
        let requests = tally.requests();
        let each = |time: Duration| per(time.as_secs_f64() * 1e6, requests as f64);
        let busy = |time: Duration| per(time.as_secs_f64(), seconds);
        Self {
            name: address.name.clone(),
            address: address.place.to_string(),
            server_version: (!version.is_empty()).then(|| version.to_owned()),
            interrupted,
            seconds,
            requests,
            requests_per_second: per(requests as f64, seconds),
            hits: tally.hits,
            misses: tally.misses,
            errors: tally.refused,
            not_started: tally.not_started,
            idle_closed: measured.idle_closed,
            bytes_received: tally.bytes_received,
            bytes_sent: tally.bytes_sent,
            latency_us: Latency { all: tally.all(), gets: tally.gets(), sets: tally.sets() },
            cpu: Cpu {
                generator_us_per_request: each(measured.generator_cpu),
                generator_busy: busy(measured.generator_cpu) / load.threads as f64,
                server_us_per_request: measured.server_cpu.map(each),
                server_busy: measured.server_cpu.map(busy),
            },
            first_error: tally.first_refusal,
        }
    }

    /// The table for people.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let version = self.server_version.as_deref().unwrap_or("version not told");
        let stopped = if self.interrupted { ", interrupted" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{} ({version}), {:.2} s{stopped}", self.name, self.seconds);
        self.rows(&mut out);
        self.latencies(&mut out);
        out
    }

    fn rows(&self, out: &mut String) {
        let mut row = |name: &str, text: String| {
            let _ = writeln!(out, "  {name:<14} {text}");
        };
        row("requests", format!("{}, {:.0} per second", self.requests, self.requests_per_second));
        row("keys read", format!("{} hits, {} misses", self.hits, self.misses));
        let megabytes = |bytes: u64| per(bytes as f64 / 1e6, self.seconds);
        row(
            "bytes",
            format!(
                "{:.1} MB/s received, {:.1} MB/s sent",
                megabytes(self.bytes_received),
                megabytes(self.bytes_sent)
            ),
        );
        row("errors", self.errors_in_words());
        let cpu = &self.cpu;
        row(
            "generator CPU",
            format!(
                "{:.2} us per request, {:.0} % of its threads",
                cpu.generator_us_per_request,
                cpu.generator_busy * 100.0
            ),
        );
        if let Some((each, busy)) = cpu.server_us_per_request.zip(cpu.server_busy) {
            row("server CPU", format!("{each:.2} us per request, {busy:.2} processors"));
        }
    }

    fn errors_in_words(&self) -> String {
        let mut text = self.errors.to_string();
        if let Some(first) = &self.first_error {
            let _ = write!(text, ", the first: {first}");
        }
        if self.not_started > 0 {
            let _ = write!(text, "; {} requests were due and not started", self.not_started);
        }
        if self.idle_closed > 0 {
            let _ = write!(text, "; {} idle connections were closed", self.idle_closed);
        }
        text
    }

    fn latencies(&self, out: &mut String) {
        let heads = ["count", "p50", "p90", "p99", "p99.9", "max"];
        let line = |name: &str, cells: [String; 6]| {
            cells.iter().fold(format!("  {name:<14}"), |line, cell| format!("{line} {cell:>11}"))
        };
        let _ = writeln!(out, "{}", line("latency, us", heads.map(str::to_owned)));
        let kinds = [
            ("all", self.latency_us.all),
            ("gets", self.latency_us.gets),
            ("sets", self.latency_us.sets),
        ];
        for (name, p) in kinds.into_iter().filter(|(_, p)| p.count > 0) {
            let numbers = [p.p50, p.p90, p.p99, p.p99_9, p.max].map(|us| format!("{us:.1}"));
            let [p50, p90, p99, p99_9, max] = numbers;
            let cells = [p.count.to_string(), p50, p90, p99, p99_9, max];
            let _ = writeln!(out, "{}", line(name, cells));
        }
    }
}

/// A quotient that is 0 when there is nothing to divide by.
pub(super) fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}
