//! From what was said to a [`Config`]: each value checked by its kind, then what belongs together. All
//! mistakes are told at once. Called by the door of this room.

use std::cell::RefCell;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use holdfast::Sync;

use super::kind::{boolean, octal, size, span};
use super::listen::{self, Common};
use super::option::{OPTIONS, find};
use super::*;

/// The checked configuration.
pub(super) fn config(sources: &Sources, said: Said) -> Result<Config, Problems> {
    let Said { values, notes, mut problems } = said;
    for given in values.values() {
        if !given.option.kind.allows(&given.text) {
            problems.push(not_allowed(given));
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let told = Told {
        sources,
        values: &values,
        notes: RefCell::new(notes),
        problems: RefCell::new(vec![]),
    };
    let access = told.access();
    let inherits = told.inherits();
    let tls = told.tls();
    let endpoints = if inherits { vec![] } else { told.endpoints(&access) };
    let config = Config {
        endpoints,
        inherits,
        serving: told.serving(),
        tls,
        store: told.store(),
        sessions: Sessions {
            prefix: told.text("session-prefix").unwrap_or_default().into(),
            locks: told.text("session-locks") == Some("lock"),
        },
        http: told.http(&access),
        detail: told.detail(),
        log: told.log(),
        process: told.process(),
        access,
        notes: told.notes.into_inner(),
        values: OPTIONS.iter().filter_map(|option| values.get(option.name).cloned()).collect(),
    };
    match told.problems.into_inner() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(Problems(problems)),
    }
}

fn not_allowed(given: &Given) -> Problem {
    let Given { option, text, origin } = given;
    // The flag or variable names the option already, if it is not one of memcached's letters.
    let message = format!("{} is {text:?}; it must be {}", option.key(), option.kind.allowed());
    Problem::new(origin, message)
}

/// Values that are allowed each for itself.
struct Told<'a> {
    sources: &'a Sources<'a>,
    values: &'a BTreeMap<&'static str, Given>,
    notes: RefCell<Vec<Note>>,
    problems: RefCell<Vec<Problem>>,
}

impl Told<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        debug_assert!(find(name).is_some(), "{name}");
        self.values.get(name).map(|given| given.text.as_str())
    }

    fn origin(&self, name: &str) -> &Origin {
        self.values.get(name).map_or(&Origin::Default, |given| &given.origin)
    }

    /// Did anybody say it?
    fn said(&self, name: &str) -> bool {
        *self.origin(name) != Origin::Default
    }

    /// Did anybody say something else than the default, as the example file does?
    fn differs(&self, name: &str) -> bool {
        find(name).is_some_and(|option| self.text(name).unwrap_or_default() != option.default)
    }

    fn is(&self, name: &str) -> bool {
        self.text(name).and_then(boolean).unwrap_or_default()
    }

    fn number<T: TryFrom<u64> + Default>(&self, name: &str) -> T {
        let number = self.text(name).and_then(|text| text.parse::<u64>().ok());
        number.and_then(|number| T::try_from(number).ok()).unwrap_or_default()
    }

    fn span(&self, name: &str) -> Option<Duration> {
        self.text(name).and_then(span)
    }

    fn absolute(&self, path: &str) -> PathBuf {
        self.sources.cwd.join(path)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|path| self.absolute(path))
    }

    fn wrong(&self, place: impl std::fmt::Display, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::new(place, message));
    }

    fn warn(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(Note::warning(text));
    }

    fn serving(&self) -> Serving {
        let threads = match self.text("threads") {
            Some("auto") | None => self.sources.processors.clamp(1, kind::THREADS_MAX),
            _ => self.number("threads"),
        };
        Serving {
            backlog: self.number("listen-backlog"),
            connections: self.number("conn-limit"),
            maxconns_fast: self.is("maxconns-fast"),
            idle_timeout: self.span("idle-timeout").filter(|span| !span.is_zero()),
            requests_per_turn: self.number("max-reqs-per-event"),
            threads,
        }
    }

    fn access(&self) -> Access {
        let sasl = self.is("enable-sasl");
        let mut auth_file = self.path("auth-file");
        if sasl && auth_file.is_none() {
            auth_file = variable(self.sources, "MEMCACHED_SASL_PWDB")
                .map(|path| self.sources.cwd.join(path));
        }
        if sasl && auth_file.is_none() {
            self.wrong(
                self.origin("enable-sasl"),
                "where are the passwords? Name their file with -Y FILE, or in $MEMCACHED_SASL_PWDB",
            );
        }
        if sasl && self.text("protocol") == Some("ascii") {
            self.wrong(
                self.origin("enable-sasl"),
                "SASL belongs to the binary protocol, which -B ascii switches off; -Y FILE alone \
                 protects text",
            );
        }
        Access {
            auth_file,
            sasl,
            public: self.is("allow-public"),
            shutdown: self.is("enable-shutdown"),
            flush: !self.is("disable-flush-all"),
            dump: !self.is("disable-dumping"),
            test_commands: self.is("test-commands"),
        }
    }

    fn tls(&self) -> Option<Tls> {
        if !self.is("enable-ssl") {
            for name in ["tls-cert", "tls-key", "tls-ca"] {
                if self.said(name) {
                    self.warn(format!("{}: without -Z there is no TLS", self.origin(name)));
                }
            }
            return None;
        }
        if !cfg!(feature = "tls") {
            self.wrong(self.origin("enable-ssl"), "this server was built without TLS");
        }
        let Some(cert) = self.path("tls-cert") else {
            let message = "TLS needs a certificate: --tls-cert FILE, or -o ssl_chain_cert=FILE";
            self.wrong(self.origin("enable-ssl"), message);
            return None;
        };
        let verify = match self.text("tls-verify") {
            Some("request") => Verify::Request,
            Some("require") => Verify::Require,
            _ => Verify::None,
        };
        let ca = self.path("tls-ca");
        if verify != Verify::None && ca.is_none() {
            let message = "client certificates need somebody who vouches for them: --tls-ca FILE";
            self.wrong(self.origin("tls-verify"), message);
        }
        let key = self.path("tls-key").unwrap_or_else(|| cert.clone());
        Some(Tls { cert, key, ca, verify, tls12: self.text("tls-min-version") != Some("1.3") })
    }

    /// Are there sockets that the service manager opened for this very process?
    fn inherits(&self) -> bool {
        let own = self.sources.pid.to_string();
        let is = |name, test: &dyn Fn(&str) -> bool| {
            variable(self.sources, name)
                .and_then(|v| v.into_string().ok())
                .is_some_and(|v| test(&v))
        };
        let inherits = is("LISTEN_PID", &|pid| pid == own) && is("LISTEN_FDS", &|n| n != "0");
        if inherits && ["listen", "port", "unix-socket"].iter().any(|name| self.differs(name)) {
            self.warn("the service manager's sockets are used, in place of listen and port");
        }
        inherits
    }

    fn endpoints(&self, access: &Access) -> Vec<Endpoint> {
        let port = match self.text("port") {
            Some("-1") => Some(0),
            text => text.and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        };
        let common = Common {
            port,
            mode: self.text("unix-mask").and_then(octal).unwrap_or(0o600),
            tls: self.is("enable-ssl"),
            protocol: self.text("protocol").and_then(Protocol::parse).unwrap_or(Protocol::Auto),
            resolve: self.sources.resolve,
            absolute: &|path| self.absolute(path),
        };
        let (place, list) = match self.text("unix-socket") {
            Some(path) => {
                if self.differs("listen") || self.differs("port") {
                    self.warn(
                        "beside a unix socket, listen and port do not count; to have both, put \
                         unix:PATH into listen",
                    );
                }
                (self.origin("unix-socket"), format!("unix:{path}"))
            }
            None => (self.origin("listen"), self.text("listen").unwrap_or_default().to_string()),
        };
        let endpoints = match listen::endpoints(&list, &common) {
            // The numbers of a store that only processes beside this one use are worth a server.
            Ok(endpoints) if endpoints.is_empty() && !self.asks_for_http() => {
                self.wrong(
                    self.origin("port"),
                    "there is nothing to listen on: no port, no socket",
                );
                endpoints
            }
            Ok(endpoints) => endpoints,
            Err(message) => {
                self.wrong(place, message);
                vec![]
            }
        };
        self.public(place, &endpoints, access);
        endpoints
    }

    /// Nobody listens in public by accident.
    fn public(&self, place: &Origin, endpoints: &[Endpoint], access: &Access) {
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_local()) {
            let At::Tcp(address) = &endpoint.at else { continue };
            if access.auth_file.is_none() && !access.public {
                self.wrong(
                    place,
                    format!(
                        "other machines can reach {address}, and nobody is asked for a password: \
                         name a password file with -Y FILE, or say --allow-public"
                    ),
                );
            }
            if !endpoint.tls {
                self.warn(format!(
                    "what goes through {address} can be read on its way: there is no TLS (-Z)"
                ));
            }
        }
    }

    fn store(&self) -> StoreConfig {
        StoreConfig {
            dir: self.path("store").unwrap_or_default(),
            sync: self.text("sync").map(|sync| match sync {
                "none" => Sync::None,
                "always" => Sync::Always,
                _ => Sync::Periodic,
            }),
            sync_interval: self.span("sync-interval"),
            max_bytes: self.text("max-bytes").and_then(size),
            max_value_bytes: self.text("max-value").and_then(size),
            evict: self.text("evict").and_then(boolean),
            default_ttl: self.span("default-ttl"),
            max_ttl: self.span("max-ttl"),
        }
    }

    /// Did somebody say where the admin port is to be?
    fn asks_for_http(&self) -> bool {
        self.differs("http-listen") && self.text("http-listen") != Some("off")
    }

    fn http(&self, access: &Access) -> Option<Http> {
        let text = self.text("http-listen").filter(|text| *text != "off")?;
        let asked = self.asks_for_http();
        let found = match text.parse() {
            Ok(address) => Some(address),
            Err(_) => self.named(text),
        };
        let Some(address) = found else {
            let allowed = kind::Kind::AddressOrOff.allowed();
            let message = format!("http_listen is {text:?}; it must be {allowed}");
            self.wrong(self.origin("http-listen"), message);
            return None;
        };
        let profiling = self.is("profiling");
        if profiling && !cfg!(feature = "profiling") {
            self.wrong(self.origin("profiling"), "this server was built without profiles");
        }
        if !listen::is_local(address.ip()) {
            if profiling && !access.public {
                let message = "other machines could start profiles; say --allow-public if they may";
                self.wrong(self.origin("profiling"), message);
            }
            self.warn(format!("whoever reaches {address} can read the metrics"));
        }
        let hosts = self.text("http-host").unwrap_or_default().split(',');
        let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_ascii_lowercase).collect();
        Some(Http { address, asked, hosts, profiling })
    }

    /// `localhost:9150` and the like.
    fn named(&self, text: &str) -> Option<SocketAddr> {
        let (host, port) = text.rsplit_once(':')?;
        let ip = (self.sources.resolve)(host).into_iter().next()?;
        (ip, port.parse().ok()?).to_socket_addrs().ok()?.next()
    }

    fn detail(&self) -> Detail {
        let text = self.text("prefix-delimiter").unwrap_or(":");
        // As for memcached, naming it switches it on; the example file's default does not.
        let on = text != ":" || matches!(self.origin("prefix-delimiter"), Origin::Flag(_));
        Detail { delimiter: text.bytes().next().unwrap_or(b':'), on }
    }

    fn log(&self) -> Log {
        let levels = ["error", "warn", "info", "debug", "trace"];
        let named = levels.into_iter().find(|level| self.text("log-level") == Some(level));
        let verbose = match self.number::<u8>("verbose") {
            0 => None,
            1 => Some("debug"),
            _ => Some("trace"),
        };
        // The one that was said closer to the command line; -v among equals.
        let rank = |name| match self.origin(name) {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::MemcachedConf(..) => 2,
            Origin::Environment(_) => 3,
            Origin::Flag(_) => 4,
        };
        let verbose = verbose.filter(|_| rank("verbose") >= rank("log-level"));
        Log {
            level: verbose.or(named).unwrap_or("info"),
            format: match self.text("log-format") {
                Some("pretty") => Format::Pretty,
                Some("json") => Format::Json,
                Some("journald") => Format::Journald,
                _ => Format::Auto,
            },
            filter: variable(self.sources, "HOLDFAST_LOG").and_then(|text| text.into_string().ok()),
        }
    }

    fn process(&self) -> Process {
        Process {
            daemon: self.is("daemon"),
            pidfile: self.path("pidfile"),
            user: self.text("user").map(str::to_string),
            core_files: self.is("enable-coredumps"),
            lock_memory: self.is("lock-memory"),
            port_file: variable(self.sources, "MEMCACHED_PORT_FILENAME")
                .map(|path| self.sources.cwd.join(path)),
        }
    }
}
