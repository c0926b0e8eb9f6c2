//! The server: store, executor, loops and listeners brought together, for the time that it runs.
//!
//! [`Server::start`] takes everything from outside, listeners and store included, so that a test
//! serves on a free port and ends the server like any other value. The process around it (flags,
//! signals, users, the service manager) is `main`'s.

mod around;
mod beat;
mod clock;
mod numbers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use holdfast::Store;
use holdfast::backend::Backend;

use around::Around;
pub use around::Order;
use clock::TestClock;

use crate::auth::{AuthError, Users};
#[cfg(feature = "tls")]
use crate::config::Verify;
use crate::config::{At, Config, Endpoint, Protocol};
use crate::conversation::Talk;
use crate::execute::Executor;
use crate::http;
use crate::limits::{BESIDE_VALUE_MAX, STORE_WAIT, VALUE_HIGH};
use crate::log::Levels;
use crate::net::{self, Host, Listener, Loops, Running};
use crate::protocol::{Codec, Seen, Spoken};
use crate::settings::{SessionLocks, Settings, Shown};

/// What connections above the limit are told, whatever they speak: memcached's own line.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Why there is no server. The sentences of the rooms below say what and where.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is the error of the room that it names")]
pub enum StartError {
    #[error("the store cannot be opened")]
    Store(#[from] holdfast::Error),
    #[error(transparent)]
    Users(#[from] AuthError),
    #[error(transparent)]
    Listen(#[from] net::ListenError),
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] net::tls::TlsError),
    #[error("the admin port {0} cannot be opened: {1}")]
    Http(SocketAddr, io::Error),
    #[error("the loops cannot be started: {0}")]
    Loops(io::Error),
}

/// An open store, with the clock that tests of it move.
pub struct Opened {
    store: Arc<dyn Backend>,
    clock: Option<Arc<TestClock>>,
}

/// Opens the store that a configuration names. Its syncs are the loops' committer's.
pub fn open(config: &Config) -> Result<Opened, StartError> {
    let clock = config.access.test_commands.then(|| Arc::new(TestClock::default()));
    let options = holdfast::Options {
        defer_sync: true,
        operation_timeout: STORE_WAIT,
        clock: clock.clone().map(|clock| clock as Arc<dyn holdfast::Clock>),
        ..config.store.options()
    };
    Ok(Opened { store: Arc::new(Store::open(&config.store.dir, &options)?), clock })
}

/// Where a configuration says to listen, opened: its TCP addresses.
pub fn tcp_listeners(config: &Config) -> Result<Vec<(Listener, Protocol)>, net::ListenError> {
    let mut open = Vec::new();
    for endpoint in &config.endpoints {
        if let At::Tcp(address) = &endpoint.at {
            let listener = Listener::tcp(*address, config.serving.backlog)?;
            open.push(named(listener, endpoint));
        }
    }
    Ok(open)
}

/// The same: its unix sockets. They belong to the user who opens them.
pub fn unix_listeners(config: &Config) -> Result<Vec<(Listener, Protocol)>, net::ListenError> {
    let mut open = Vec::new();
    for endpoint in &config.endpoints {
        if let At::Unix(path, mode) = &endpoint.at {
            let listener = Listener::unix(path, *mode, config.serving.backlog)?;
            open.push(named(listener, endpoint));
        }
    }
    Ok(open)
}

fn named(listener: Listener, endpoint: &Endpoint) -> (Listener, Protocol) {
    let listener = listener.named(endpoint.tag.clone().unwrap_or_default());
    (if endpoint.tls { listener.secured() } else { listener }, endpoint.protocol)
}

/// A server that runs. It ends when it is dropped, at once; see [`Server::drain`] for the other way.
pub struct Server {
    around: Arc<Around>,
    running: Option<Running>,
    http: Option<http::Server>,
    bound: Vec<SocketAddr>,
    orders: Receiver<Order>,
    /// Only to be dropped with it.
    _beat: beat::Beat,
}

impl Server {
    /// Serves `opened` on `listeners`, and its numbers on `admin_socket` or where the configuration
    /// says. `levels`: the log's, if there is one.
    pub fn start(
        config: &Config,
        opened: Opened,
        listeners: Vec<(Listener, Protocol)>,
        admin_socket: Option<TcpListener>,
        levels: Option<Levels>,
    ) -> Result<Server, StartError> {
        let users = config.access.auth_file.as_deref().map(Users::load).transpose()?;
        let bound: Vec<_> = listeners.iter().filter_map(|(one, _)| one.bound()).collect();
        let (listeners, spoken): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let net = net_config(config)?;
        #[cfg(feature = "tls")]
        let tls = net.tls.clone();
        let (sender, orders) = bounded(around::ORDERS_MAX);
        let auth_file = config.access.auth_file.clone();
        let around = Arc::new(Around::new(auth_file, levels, opened.clock, sender));
        #[cfg(feature = "tls")]
        around.set_tls(tls);
        let settings = Arc::new(settings(config, &bound));
        let threads = config.serving.threads;
        let asked: Arc<dyn crate::execute::Server> = around.clone();
        let executor = Arc::new(Executor::new(opened.store.clone(), settings, asked, threads)?);
        executor.set_users(users);
        around.set_executor(Arc::downgrade(&executor));
        let hall = Arc::new(Hall {
            executor: executor.clone(),
            store: opened.store.clone(),
            around: around.clone(),
            spoken: spoken.into_iter().map(spoken_as).collect(),
            per_turn: config.serving.requests_per_turn,
        });
        let running = Loops::start(net, listeners, hall).map_err(StartError::Loops)?;
        around.set_watch(running.watch());
        let source = numbers::Facts::new(executor.clone(), opened.store.clone(), around.clone());
        let http = admin(config, admin_socket, source)?;
        let beat =
            beat::start(executor, opened.store, around.clone()).map_err(StartError::Loops)?;
        Ok(Server { around, running: Some(running), http, bound, orders, _beat: beat })
    }

    /// The TCP addresses that it listens on.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Where the admin port is, if there is one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(http::Server::address)
    }

    /// What clients order that is the process's to do.
    pub fn orders(&self) -> &Receiver<Order> {
        &self.orders
    }

    /// Reads passwords and certificates again; what is wrong stays as it was, and is said in the log.
    pub fn reload(&self) -> bool {
        self.around.reload_files()
    }

    /// Tells from any thread whether this server is worth going on: all its threads run, and its
    /// store is the one that others would open.
    pub fn health(&self) -> impl Fn() -> bool + Send + 'static {
        let around = self.around.clone();
        move || around.watch().is_some_and(net::Watch::is_well) && !around.is_lost()
    }

    /// Takes nobody new, lets everybody finish what was asked, and ends; false if some had to be ended
    /// after `within`.
    pub fn drain(&mut self, within: Duration) -> bool {
        self.around.draining.store(true, Ordering::Relaxed);
        self.running.as_ref().is_none_or(|running| running.drain(within))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.joined();
        }
    }
}

/// Greets connections.
struct Hall {
    executor: Arc<Executor>,
    store: Arc<dyn Backend>,
    around: Arc<Around>,
    /// By listener.
    spoken: Vec<Spoken>,
    per_turn: u32,
}

impl Host for Hall {
    type Talk = Talk;

    fn greet(&self, listener: usize, thread: usize, peer: &str) -> Talk {
        let spoken = self.spoken.get(listener).copied().unwrap_or_default();
        let client = self.executor.client(thread, peer);
        Talk::new(self.executor.clone(), client, Codec::new(spoken), self.per_turn)
    }

    fn foresee(&self, hints: &[Seen]) {
        self.executor.foresee(hints);
    }

    fn commit(&self) -> bool {
        let done = self.store.sync();
        if let Err(error) = &done {
            tracing::error!(%error, "what was written is not on the disk; clients are not answered");
        }
        self.around.synced(done.is_ok());
        done.is_ok()
    }
}

fn spoken_as(protocol: Protocol) -> Spoken {
    match protocol {
        Protocol::Auto => Spoken::Any,
        Protocol::Ascii => Spoken::Lines,
        Protocol::Binary => Spoken::Binary,
    }
}

fn net_config(config: &Config) -> Result<net::Config, StartError> {
    // The longest value of any store, because the option may change while the server runs; the line
    // before it, and what of the next request came along.
    let value = usize::try_from(VALUE_HIGH).unwrap_or(usize::MAX);
    Ok(net::Config {
        threads: config.serving.threads,
        max_connections: config.serving.connections,
        refusal: config.serving.maxconns_fast.then_some(TOO_MANY),
        idle: config.serving.idle_timeout,
        request_max: value.saturating_add(BESIDE_VALUE_MAX),
        #[cfg(feature = "tls")]
        tls: match &config.tls {
            Some(tls) => Some(Arc::new(net::tls::Tls::load(files(tls))?)),
            None => None,
        },
        ..net::Config::default()
    })
}

#[cfg(feature = "tls")]
fn files(tls: &crate::config::Tls) -> net::tls::Files {
    use net::tls::ClientCertificates;
    net::tls::Files {
        chain: tls.cert.clone(),
        key: tls.key.clone(),
        authorities: tls.ca.clone(),
        clients: match tls.verify {
            Verify::None => ClientCertificates::NotAsked,
            Verify::Request => ClientCertificates::Checked,
            Verify::Require => ClientCertificates::Required,
        },
        only_1_3: !tls.tls12,
    }
}

/// What the executor is told of the configuration.
fn settings(config: &Config, bound: &[SocketAddr]) -> Settings {
    let sockets: Vec<_> = config.endpoints.iter().filter_map(unix_path).collect();
    let shown = Shown {
        max_connections: config.serving.connections as u64,
        tcp_port: bound.first().map_or(0, SocketAddr::port),
        inter: bound.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>().join(","),
        domain_socket: sockets.first().map(|(path, _)| path.clone()).unwrap_or_default(),
        socket_mode: sockets.first().map_or(0, |(_, mode)| *mode),
        threads: config.serving.threads as u64,
        backlog: u64::from(config.serving.backlog),
        binding_protocol: match config.endpoints.first().map(|one| one.protocol) {
            Some(Protocol::Ascii) => "ascii".into(),
            Some(Protocol::Binary) => "binary".into(),
            _ => "auto-negotiate".into(),
        },
        requests_per_turn: u64::from(config.serving.requests_per_turn),
        idle_timeout_s: config.serving.idle_timeout.map_or(0, |idle| idle.as_secs()),
        maxconns_fast: config.serving.maxconns_fast,
        auth_sasl: config.access.auth_file.is_some(),
        auth_ascii: config.access.auth_file.is_some(),
        tls: config.tls.is_some(),
        tls_chain: path_of(config.tls.as_ref().map(|tls| &tls.cert)),
        tls_key: path_of(config.tls.as_ref().map(|tls| &tls.key)),
        tls_ca: path_of(config.tls.as_ref().and_then(|tls| tls.ca.as_ref())),
        tls_min_version: match &config.tls {
            Some(tls) if !tls.tls12 => "tlsv1.3".into(),
            _ => "tlsv1.2".into(),
        },
        store: config.store.dir.display().to_string(),
    };
    let mut settings = Settings::default();
    settings.session_prefix = config.sessions.prefix.clone().into_bytes();
    settings.session_locks = match config.sessions.locks {
        true => SessionLocks::Lock,
        false => SessionLocks::Expiry,
    };
    settings.may_shutdown = config.access.shutdown;
    settings.test_commands = config.access.test_commands;
    settings.shown = shown;
    settings.set_detail(config.detail.on);
    settings.prefix_delimiter = config.detail.delimiter;
    settings.set_may_flush(config.access.flush);
    settings.set_may_dump(config.access.dump);
    settings
}

fn unix_path(endpoint: &Endpoint) -> Option<(String, u32)> {
    match &endpoint.at {
        At::Unix(path, mode) => Some((path.display().to_string(), *mode)),
        At::Tcp(_) => None,
    }
}

fn path_of(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// The admin port: on the socket that the service manager opened for it, or where it was asked for.
fn admin(
    config: &Config,
    socket: Option<TcpListener>,
    source: numbers::Facts,
) -> Result<Option<http::Server>, StartError> {
    let (hosts, profiling) = match &config.http {
        Some(asked) => (asked.hosts.clone(), asked.profiling),
        None => (Vec::new(), false),
    };
    let settings = http::Settings { hosts, profiling };
    match (socket, &config.http) {
        (Some(socket), _) => {
            let address = socket.local_addr().map_err(StartError::Loops)?;
            let server = http::Server::start(socket, settings, source);
            server.map(Some).map_err(|error| StartError::Http(address, error))
        }
        (None, Some(asked)) => {
            http::Server::open_if_free(asked.address, asked.asked, settings, source)
                .map_err(|error| StartError::Http(asked.address, error))
        }
        (None, None) => Ok(None),
    }
}
