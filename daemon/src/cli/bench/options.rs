//! The options of `holdfast bench`, and the one check that turns them into a [`Load`].
//!
//! Nothing behind this file sees an option that it would have to doubt. It opens nothing.

use super::address::Address;
use super::limits::*;
use super::values::{self, MIN_VALUE_BYTES};
use super::wire::Protocol;
use clap::builder::ValueParser;
use std::str::FromStr;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  holdfast bench 127.0.0.1:11211
  holdfast bench unix:/run/memcached.sock --protocol meta --pipeline 16 --duration 30s --json
  holdfast bench 127.0.0.1:11211 --rate 20000 --distribution zipf:0.99 --cpu 1
  holdfast bench --compare memcached=127.0.0.1:11211@PID holdfast=127.0.0.1:11212@PID

An answer that is not the right one ends the run: the exit code is 1, and no figures are printed.";

/// What can be asked for on the command line. Of an option that is given twice the last one counts,
/// so that scripts can add to a list of their own.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// [name=]host:port[@pid] or [name=]unix:/path[@pid]; several with --compare
    #[arg(required = true, value_name = "ADDRESS")]
    pub(super) addresses: Vec<Address>,
    /// Measure the same load on several addresses in turn, and compare them with the first
    #[arg(long)]
    pub(super) compare: bool,
    /// Rounds of a comparison
    #[arg(long, default_value_t = 5, requires = "compare")]
    pub(super) rounds: usize,
    /// What is spoken
    #[arg(long, value_enum, default_value_t = Protocol::Text)]
    protocol: Protocol,
    /// Percentage of reads; the rest are sets
    #[arg(long, default_value_t = 90.0, value_name = "PERCENT")]
    gets: f64,
    /// How many keys there are
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes of a key
    #[arg(long, default_value_t = 24, value_name = "BYTES")]
    key_size: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    value_size: usize,
    /// Connections that send requests
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Further connections that stay open and send nothing
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Requests that a connection sends in one write before it waits for all their answers
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Keys of one read: `get k1 k2 ..`, quiet mg + mn, getkq + noop, MGET
    #[arg(long, default_value_t = 1, value_name = "KEYS")]
    multi: usize,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How long to measure [default: 10s]
    #[arg(long, value_parser = duration(), conflicts_with = "requests")]
    duration: Option<Duration>,
    /// How many requests to measure, instead of a duration
    #[arg(long)]
    requests: Option<u64>,
    /// How long to load the server before it is measured
    #[arg(long, default_value = "1s", value_parser = duration())]
    warm_up: Duration,
    /// Do not set all keys first; they are there from an earlier run with the same sizes
    #[arg(long)]
    no_fill: bool,
    /// Requests per second, each due at its time whether or not earlier ones are answered; latency
    /// counts from when it was due
    #[arg(long, value_name = "PER SECOND")]
    rate: Option<f64>,
    /// How keys are picked: uniform, or zipf:S with S > 0
    #[arg(long, default_value = "uniform")]
    distribution: Distribution,
    /// CPUs for the generator's threads, one after the other: 1 or 0,2-3
    #[arg(long, value_name = "LIST")]
    cpu: Option<CpuList>,
    /// Where the sequence of keys begins; the same seed sends the same requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lifetime of what is set, in seconds; 0 is for ever
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    ttl: u32,
    /// A miss is counted instead of being an error
    #[arg(long)]
    allow_misses: bool,
    /// Name for the server's authentication
    #[arg(long)]
    user: Option<String>,
    /// Password for it; better in the environment, where the process list does not show it
    #[arg(long, env = "HOLDFAST_BENCH_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// The server's process, to report its CPU time; the same as @pid behind the address
    #[arg(long, value_name = "PID", conflicts_with = "compare")]
    server_pid: Option<u32>,
    /// How long an answer may take before the run is given up
    #[arg(long, default_value = "10s", value_parser = duration())]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// How long the measurement goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Length {
    For(Duration),
    Requests(u64),
}

/// How keys are picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Distribution {
    Uniform,
    Zipf(f64),
}

/// The processors of a `--cpu` list, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CpuList(pub(super) Vec<usize>);

/// Who the server is told that we are.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// One load, checked: the same for every address of a comparison.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    /// Share of reads, 0 to 1.
    pub(super) gets: f64,
    pub(super) keys: u64,
    pub(super) key_size: usize,
    pub(super) value_size: usize,
    pub(super) connections: usize,
    pub(super) idle: usize,
    pub(super) pipeline: usize,
    pub(super) multi: usize,
    pub(super) threads: usize,
    pub(super) length: Length,
    pub(super) warm_up: Duration,
    pub(super) fill: bool,
    pub(super) rate: Option<f64>,
    pub(super) distribution: Distribution,
    pub(super) cpus: Vec<usize>,
    pub(super) seed: u64,
    pub(super) ttl: u32,
    pub(super) allow_misses: bool,
    pub(super) login: Option<Login>,
    pub(super) timeout: Duration,
}

impl Args {
    /// The addresses and the load that these options mean, or the first thing that makes no sense.
    pub(super) fn checked(&self) -> Result<(Vec<Address>, Load), String> {
        let addresses = self.checked_addresses()?;
        let load = Load {
            protocol: self.protocol,
            gets: percentage(self.gets)?,
            keys: within("--keys", self.keys, 1, MAX_KEYS)?,
            key_size: self.checked_key_size()?,
            value_size: within("--value-size", self.value_size, MIN_VALUE_BYTES, MAX_VALUE_BYTES)?,
            connections: within("--connections", self.connections, 1, MAX_CONNECTIONS)?,
            idle: within("--idle", self.idle, 0, MAX_CONNECTIONS)?,
            pipeline: within("--pipeline", self.pipeline, 1, MAX_PIPELINE)?,
            multi: within("--multi", self.multi, 1, MAX_MULTI)?,
            threads: within("--threads", self.threads, 1, MAX_THREADS)?,
            length: self.checked_length()?,
            warm_up: self.warm_up,
            fill: !self.no_fill,
            rate: self.rate.map(checked_rate).transpose()?,
            distribution: self.distribution,
            cpus: self.cpu.as_ref().map(|list| list.0.clone()).unwrap_or_default(),
            seed: self.seed,
            ttl: within("--ttl", self.ttl, 0, MAX_TTL_SECONDS)?,
            allow_misses: self.allow_misses,
            login: self.checked_login()?,
            timeout: self.timeout,
        };
        load.check_together()?;
        Ok((addresses, load))
    }

    fn checked_addresses(&self) -> Result<Vec<Address>, String> {
        let mut addresses = self.addresses.clone();
        match (self.compare, addresses.len()) {
            (true, 2..=MAX_ADDRESSES) => {}
            (true, _) => return Err(format!("--compare needs 2 to {MAX_ADDRESSES} addresses")),
            (false, 1) => {}
            (false, _) => return Err("several addresses need --compare".into()),
        }
        within("--rounds", self.rounds, 1, MAX_ROUNDS)?;
        if let (Some(pid), Some(address)) = (self.server_pid, addresses.first_mut()) {
            if address.pid.is_some_and(|other| other != pid) {
                return Err("--server-pid and the address name two processes".into());
            }
            address.pid = Some(pid);
        }
        Ok(addresses)
    }

    fn checked_key_size(&self) -> Result<usize, String> {
        within("--key-size", self.key_size, values::min_key_bytes(self.keys), MAX_KEY_BYTES)
    }

    fn checked_length(&self) -> Result<Length, String> {
        match (self.requests, self.duration) {
            (Some(0), _) => Err("--requests 0 measures nothing".into()),
            (Some(requests), _) => Ok(Length::Requests(requests)),
            (None, Some(Duration::ZERO)) => Err("--duration 0s measures nothing".into()),
            (None, length) => Ok(Length::For(length.unwrap_or(Duration::from_secs(10)))),
        }
    }

    fn checked_login(&self) -> Result<Option<Login>, String> {
        let short = |what: &str, text: &str| match text.len() {
            0..=250 if !text.contains(['\r', '\n', '\0']) => Ok(()),
            _ => Err(format!("{what}: at most 250 bytes in one line")),
        };
        match (&self.user, &self.password) {
            (None, None) => Ok(None),
            (Some(_), None) => Err("--user needs --password".into()),
            (None, Some(_)) if self.protocol != Protocol::Resp => {
                Err("--password needs --user with this protocol".into())
            }
            (user, Some(password)) => {
                let user = user.clone().unwrap_or_default();
                short("--user", &user)?;
                short("--password", password)?;
                Ok(Some(Login { user, password: password.clone() }))
            }
        }
    }
}

impl Load {
    /// Values that are fine alone and too much together.
    fn check_together(&self) -> Result<(), String> {
        if self.timeout.is_zero() {
            return Err("--timeout 0s waits for nothing".into());
        }
        if self.threads > self.connections {
            return Err(format!(
                "--threads {} for --connections {}: a thread without a connection does nothing",
                self.threads, self.connections
            ));
        }
        let request = self.key_size + self.value_size + 128;
        let batch = request.saturating_mul(self.pipeline).saturating_mul(self.multi);
        if batch > MAX_BATCH_BYTES {
            return Err(format!(
                "--pipeline x --multi x --value-size is {} MiB for one batch, more than {} MiB",
                batch >> 20,
                MAX_BATCH_BYTES >> 20
            ));
        }
        let sets = request.saturating_mul(self.pipeline).saturating_mul(self.connections);
        if sets > MAX_BATCHES_BYTES {
            return Err(format!(
                "--connections x --pipeline x --value-size is more than {} GiB",
                MAX_BATCHES_BYTES >> 30
            ));
        }
        Ok(())
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let exponent = text.strip_prefix("zipf:").and_then(|s| s.parse::<f64>().ok());
        match exponent {
            Some(s) if s > 0.0 && s <= 10.0 => Ok(Self::Zipf(s)),
            _ => Err("expected uniform, or zipf:S with S above 0 and at most 10".into()),
        }
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| match digits.parse::<usize>() {
                Ok(cpu) if cpu < rustix::thread::CpuSet::MAX_CPU => Ok(cpu),
                _ => Err(format!("`{digits}` is not a CPU")),
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` runs backwards"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

fn duration() -> ValueParser {
    ValueParser::new(|text: &str| match humantime::parse_duration(text) {
        Ok(length) if length <= Duration::from_secs(24 * 3600) => Ok(length),
        Ok(_) => Err("longer than a day".to_owned()),
        Err(error) => Err(format!("{error} (10s, 500ms, 2m)")),
    })
}

fn within<T: PartialOrd + std::fmt::Display>(
    option: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, String> {
    if (&least..=&most).contains(&&value) {
        return Ok(value);
    }
    Err(format!("{option} {value}: expected {least} to {most}"))
}

fn percentage(gets: f64) -> Result<f64, String> {
    within("--gets", gets, 0.0, 100.0).map(|percent| percent / 100.0)
}

fn checked_rate(rate: f64) -> Result<f64, String> {
    if rate.is_finite() && (0.001..=1e9).contains(&rate) {
        return Ok(rate);
    }
    Err(format!("--rate {rate}: expected requests per second, 0.001 to 1e9"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    /// The load that a command line means.
    pub(in super::super) fn load(line: &str) -> Result<Load, String> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        only.args.checked().map(|(_, load)| load)
    }

    #[track_caller]
    fn refused(line: &str, because: &str) {
        let error = load(line).err().unwrap_or_else(|| panic!("{line:?} was taken"));
        assert!(error.contains(because), "{line:?} said {error:?}");
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        refused("h:1 --gets 101", "--gets 101");
        refused("h:1 --gets nan", "--gets");
        refused("h:1 --keys 0", "--keys 0");
        refused("h:1 --key-size 5", "--key-size 5");
        refused("h:1 --key-size 251", "250");
        refused("h:1 --value-size 23", "--value-size 23: expected 24");
        refused("h:1 --connections 0", "--connections 0");
        refused("h:1 --pipeline 0", "--pipeline 0");
        refused("h:1 --threads 3 --connections 2", "a thread without a connection");
        refused("h:1 --duration 0s", "measures nothing");
        refused("h:1 --duration 5", "duration");
        refused("h:1 --requests 0", "measures nothing");
        refused("h:1 --requests 5 --duration 1s", "cannot be used with");
        refused("h:1 --rate 0", "--rate 0");
        refused("h:1 --rate inf", "--rate inf");
        refused("h:1 --distribution zipf:0", "zipf:S");
        refused("h:1 --distribution pareto", "zipf:S");
        refused("h:1 --cpu 3-1", "runs backwards");
        refused("h:1 --cpu x", "not a CPU");
        refused("h:1 --user u", "--user needs --password");
        refused("h:1 --password p", "needs --user");
        refused("h:1 h:2", "--compare");
        refused("--compare h:1", "--compare needs");
        refused("h:1 --rounds 3", "--compare");
        refused("h:1@3 --server-pid 4", "two processes");
        refused("h:1 --ttl 2592001", "--ttl 2592001");
        refused("h:1 --timeout 0s", "waits for nothing");
        refused("h:1 --value-size 67108864 --pipeline 64", "one batch");
        refused("h:1 --value-size 1048576 --pipeline 16 --connections 10000", "GiB");
        refused("h", "host:port");
    }

    #[test]
    fn options_mean_what_they_say() {
        let load = load(
            "h:1 --cpu 1 --requests 6 --cpu 0,2-3 --distribution zipf:0.9 --requests 7 --gets 50",
        )
        .unwrap();
        assert_eq!(load.cpus, [0, 2, 3]);
        assert_eq!(load.distribution, Distribution::Zipf(0.9));
        assert_eq!(load.length, Length::Requests(7));
        assert!((load.gets - 0.5).abs() < 1e-9 && load.fill && load.login.is_none());
        let password_alone = super::tests::load("h:1 --protocol resp --password p").unwrap();
        assert_eq!(
            password_alone.login.map(|l| (l.user, l.password)),
            Some(("".into(), "p".into()))
        );
    }
}
