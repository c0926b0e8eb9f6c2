//! The table of all options: each has one name, which is its long flag (`--max-bytes`), its line in
//! the file (`max_bytes = ...`) and its environment variable (`HOLDFAST_MAX_BYTES`). Flags, help, file,
//! environment, the example file and `--check-config` are all made from it; nobody else lists options.

use super::kind::Kind;

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Its long flag without the dashes.
    pub name: &'static str,
    /// memcached's letter for it, when that takes the same values.
    pub short: Option<char>,
    /// What may be written.
    pub kind: Kind,
    /// What holds when nobody says anything; empty = what `unset` says.
    pub default: &'static str,
    /// What it means when it has no value; empty when it always has one.
    pub unset: &'static str,
    /// A value for the example file, where there is no default.
    pub example: &'static str,
    /// What it does: one sentence, lower case, no full stop.
    pub help: &'static str,
    /// Under which heading it stands.
    pub group: &'static str,
    /// Does a second mention add to the first?
    pub many: bool,
    /// Left out of help and example: for tests of the server alone.
    pub hidden: bool,
}

impl Opt {
    /// Its name in the file.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("HOLDFAST_{}", self.key().to_uppercase())
    }
}

/// The option of this name.
pub fn find(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name)
}

const BASE: Opt = Opt {
    name: "",
    short: None,
    kind: Kind::Bool,
    default: "",
    unset: "",
    example: "",
    help: "",
    group: "",
    many: false,
    hidden: false,
};

const LISTEN: &str = "Listening";
const SAFETY: &str = "Who may do what";
const STORE: &str = "The store";
const SESSIONS: &str = "Sessions";
const ADMIN: &str = "Watching";
const PROCESS: &str = "The process";

const OWN: &str = "the store's own holds";
// A hundred years as they are counted where time spans are written: of 365.25 days.
const YEARS_S: u64 = 100 * 31_557_600;
const DAY_S: u64 = 86_400;

const fn flag(name: &'static str, group: &'static str, help: &'static str) -> Opt {
    Opt { name, group, help, kind: Kind::Bool, default: "false", ..BASE }
}

const fn value(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Opt {
    Opt { name, kind, default, help, ..BASE }
}

const fn unset(
    name: &'static str,
    kind: Kind,
    unset: &'static str,
    example: &'static str,
    help: &'static str,
) -> Opt {
    Opt { name, kind, unset, example, help, ..BASE }
}

const fn at(option: Opt, short: char, group: &'static str) -> Opt {
    Opt { short: Some(short), group, ..option }
}

const fn of(option: Opt, group: &'static str) -> Opt {
    Opt { group, ..option }
}

const fn many(option: Opt) -> Opt {
    Opt { many: true, ..option }
}

/// All of them, in the order in which help and example show them.
#[rustfmt::skip]
pub const OPTIONS: &[Opt] = &[
    at(value("port", Kind::Port, "11211", "TCP port of the addresses that name none; 0 is no TCP, -1 any free one"), 'p', LISTEN),
    many(at(value("listen", Kind::Addresses, "127.0.0.1", "addresses, separated by commas: host, host:port, [v6]:port, unix:/path, * for all; before it notls:, proto[ascii|binary|auto]:, tag[name]:"), 'l', LISTEN)),
    at(unset("unix-socket", Kind::Path, "no socket", "/run/holdfast/memcached.sock", "listen on this unix socket, and on no TCP port"), 's', LISTEN),
    at(value("unix-mask", Kind::Octal, "600", "permission bits of unix sockets, octal"), 'a', LISTEN),
    at(value("listen-backlog", Kind::Number(1, 65_535), "1024", "connections that may wait to be taken"), 'b', LISTEN),
    at(value("conn-limit", Kind::Number(1, 1_000_000), "1024", "connections at once"), 'c', LISTEN),
    of(Opt { default: "true", ..flag("maxconns-fast", LISTEN, "tell connections above the limit so and close them, instead of letting them wait") }, LISTEN),
    of(value("idle-timeout", Kind::Span { least_ms: 0, most_s: DAY_S * 30 }, "0", "close connections that say nothing for so long; 0 is never"), LISTEN),
    at(value("protocol", Kind::Choice(&["auto", "ascii", "binary"]), "auto", "dialects that are spoken; auto goes by the first byte"), 'B', LISTEN),
    at(value("max-reqs-per-event", Kind::Number(1, 10_000), "64", "requests of one connection before others have their turn"), 'R', LISTEN),
    at(value("threads", Kind::Threads, "auto", "event loops; auto is one for each processor"), 't', LISTEN),

    at(unset("auth-file", Kind::Path, "nobody is asked", "/etc/holdfast/users", "file of name:password lines; who is not in it gets nothing, in any dialect"), 'Y', SAFETY),
    at(flag("enable-sasl", SAFETY, "names and passwords are demanded, those of --auth-file or of $MEMCACHED_SASL_PWDB"), 'S', SAFETY),
    flag("allow-public", SAFETY, "listen where other machines can reach it although nobody is asked for a password"),
    at(flag("enable-ssl", SAFETY, "TLS on all TCP addresses but those with notls:"), 'Z', SAFETY),
    of(unset("tls-cert", Kind::Path, "no certificate", "/etc/holdfast/cert.pem", "certificate with its chain, PEM"), SAFETY),
    of(unset("tls-key", Kind::Path, "in the file of --tls-cert", "/etc/holdfast/key.pem", "private key, PEM, not encrypted"), SAFETY),
    of(unset("tls-ca", Kind::Path, "no client certificates", "/etc/holdfast/clients-ca.pem", "whose client certificates are good, PEM"), SAFETY),
    of(value("tls-verify", Kind::Choice(&["none", "request", "require"]), "none", "are clients asked for certificates?"), SAFETY),
    of(value("tls-min-version", Kind::Choice(&["1.2", "1.3"]), "1.2", "oldest TLS that is spoken"), SAFETY),
    at(flag("enable-shutdown", SAFETY, "the command shutdown ends the server"), 'A', SAFETY),
    at(flag("disable-flush-all", SAFETY, "the command flush_all is refused"), 'F', SAFETY),
    at(flag("disable-dumping", SAFETY, "commands that list keys are refused"), 'X', SAFETY),

    of(value("store", Kind::Path, "/var/lib/holdfast/www-data", "directory of the store"), STORE),
    of(unset("sync", Kind::Choice(&["none", "periodic", "always"]), OWN, "periodic", "when writes reach the disk"), STORE),
    of(unset("sync-interval", Kind::Span { least_ms: 1, most_s: DAY_S }, OWN, "1s", "what a power loss may cost with sync periodic"), STORE),
    of(unset("max-bytes", Kind::Size(1 << 20, 1 << 40), OWN, "1GiB", "cap of the data on disk"), STORE),
    of(unset("max-value", Kind::Size(1024, 64 << 20), OWN, "1MiB", "longest value"), STORE),
    of(unset("evict", Kind::Bool, OWN, "false", "a full store drops old values that nobody reads, instead of refusing new ones"), STORE),
    of(unset("default-ttl", Kind::Span { least_ms: 0, most_s: YEARS_S }, OWN, "24m", "lifetime of what is stored without one; 0 is for ever"), STORE),
    of(unset("max-ttl", Kind::Span { least_ms: 0, most_s: YEARS_S }, OWN, "30days", "no lifetime is longer; 0 is no bound"), STORE),

    of(value("session-prefix", Kind::Text(200), "memc.sess.key.", "keys that begin so are sessions: <prefix>lock.<id> is the lock of <prefix><id>"), SESSIONS),
    of(value("session-locks", Kind::Choice(&["lock", "expiry"]), "lock", "lock: they exclude processes that have the store open themselves, and end with the connection; expiry: plain keys, for proxies that share connections"), SESSIONS),

    of(value("http-listen", Kind::AddressOrOff, "127.0.0.1:9150", "address of /metrics, /health and /ready, or off"), ADMIN),
    of(unset("http-host", Kind::Names, "addresses and localhost only", "cache1.example.org", "names that a loopback --http-listen may be asked by"), ADMIN),
    flag("profiling", ADMIN, "CPU profiles at /debug/pprof/profile"),
    at(value("prefix-delimiter", Kind::Letter, ":", "what ends the prefix of a key in `stats detail`; saying it switches that on"), 'D', ADMIN),
    of(value("log-level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info", "how much is logged"), ADMIN),
    of(value("log-format", Kind::Choice(&["auto", "pretty", "json", "journald"]), "auto", "auto: journald under systemd, pretty on a terminal, json else"), ADMIN),
    at(value("verbose", Kind::Number(0, 3), "0", "-v logs debug, -vv trace, as if it were said with --log-level"), 'v', ADMIN),

    at(flag("daemon", PROCESS, "run in the background, once it serves"), 'd', PROCESS),
    at(unset("pidfile", Kind::Path, "none", "/run/holdfast/holdfastd.pid", "write the process id here"), 'P', PROCESS),
    at(unset("user", Kind::Text(256), "as root: the owner of the store", "holdfast", "run as this user, when started as root"), 'u', PROCESS),
    at(flag("enable-coredumps", PROCESS, "let the system write core files, with the values that are in memory"), 'r', PROCESS),
    at(flag("lock-memory", PROCESS, "keep all memory from being paged out"), 'k', PROCESS),
    Opt { hidden: true, ..flag("test-commands", PROCESS, "a text command moves the clock; for tests of the server") },
];
