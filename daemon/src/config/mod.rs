//! How the server is to run: flags, environment, files and defaults, brought together and checked once.
//!
//! Pure: it opens nothing and changes nothing; the arguments, the environment and a way to read files
//! come in through [`Sources`], a [`Config`] or a list of mistakes goes out. `main` calls it at the
//! start and again at a reload. Flags win over the environment, that over a memcached.conf, that over
//! the configuration file, that over the defaults; each value knows who said it.

pub mod kind;
pub mod listen;
pub mod option;
pub mod origin;
pub mod show;

mod build;
mod file;
mod flags;
mod memcached;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use listen::{At, Endpoint, Protocol};
pub use origin::{Given, Note, Origin, Problem, Problems};

use crate::limits::CONFIG_FILE_MAX;
use flags::Special;
use option::OPTIONS;

/// Where everything comes from.
pub struct Sources<'a> {
    /// Without the program's name.
    pub args: Vec<OsString>,
    /// All variables.
    pub env: Vec<(OsString, OsString)>,
    /// The text of a file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The addresses of a host name; none if it has none.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// Processors.
    pub processors: usize,
    /// This process, for sockets that the service manager opened.
    pub pid: u32,
}

impl Sources<'static> {
    /// Those of this process.
    pub fn of_process() -> Sources<'static> {
        Sources {
            args: std::env::args_os().skip(1).collect(),
            env: std::env::vars_os().collect(),
            read_file: &read_file,
            resolve: &resolve,
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            pid: std::process::id(),
        }
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(CONFIG_FILE_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > CONFIG_FILE_MAX {
        true => Err(io::Error::other(format!("is longer than {CONFIG_FILE_MAX} bytes"))),
        false => Ok(text),
    }
}

fn resolve(name: &str) -> Vec<IpAddr> {
    let addresses = (name, 0).to_socket_addrs();
    addresses.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// What is asked of the program.
#[derive(Debug)]
pub enum Asked {
    /// To serve.
    Serve(Box<Config>),
    /// To print this text and end well.
    Print(String),
}

/// How the server is to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens. Empty if all sockets are inherited.
    pub endpoints: Vec<Endpoint>,
    /// Sockets come from the service manager, in place of endpoints.
    pub inherits: bool,
    /// Connections and turns.
    pub serving: Serving,
    /// Who may do what.
    pub access: Access,
    /// TLS, if it is spoken anywhere.
    pub tls: Option<Tls>,
    /// The store.
    pub store: StoreConfig,
    /// Sessions.
    pub sessions: Sessions,
    /// The admin port, if there is one.
    pub http: Option<Http>,
    /// `stats detail`.
    pub detail: Detail,
    /// The log.
    pub log: Log,
    /// The process.
    pub process: Process,
    /// What the log should say once there is one.
    pub notes: Vec<Note>,
    /// Each option that has a value, in the table's order.
    pub values: Vec<Given>,
}

/// Connections and turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// Connections that may wait to be taken.
    pub backlog: u32,
    /// Connections at once.
    pub connections: usize,
    /// Connections above the limit are told so and closed, instead of waiting.
    pub maxconns_fast: bool,
    /// After so much silence a connection is closed.
    pub idle_timeout: Option<Duration>,
    /// Requests of one connection before others have their turn.
    pub requests_per_turn: u32,
    /// Event loops.
    pub threads: usize,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Names and passwords; `None` = nobody is asked.
    pub auth_file: Option<PathBuf>,
    /// They were asked for with `-S`, as statistics show it.
    pub sasl: bool,
    /// Listening in public without passwords was allowed.
    pub public: bool,
    /// `shutdown` works.
    pub shutdown: bool,
    /// `flush_all` works.
    pub flush: bool,
    /// Keys may be listed.
    pub dump: bool,
    /// Tests may move the clock.
    pub test_commands: bool,
}

/// Are clients asked for certificates?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// No.
    None,
    /// Those who show one must show a good one.
    Request,
    /// Yes.
    Require,
}

/// TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate with its chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Whose client certificates are good.
    pub ca: Option<PathBuf>,
    /// Are they asked for?
    pub verify: Verify,
    /// Is 1.2 spoken, or only 1.3?
    pub tls12: bool,
}

/// The store: what is `None` is left as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of holdfast::Options")]
pub struct StoreConfig {
    pub dir: PathBuf,
    pub sync: Option<holdfast::Sync>,
    pub sync_interval: Option<Duration>,
    pub max_bytes: Option<u64>,
    pub max_value_bytes: Option<u64>,
    pub evict: Option<bool>,
    pub default_ttl: Option<Duration>,
    pub max_ttl: Option<Duration>,
}

impl StoreConfig {
    /// As the library takes it. The store is made if there is none.
    pub fn options(&self) -> holdfast::Options {
        holdfast::Options {
            create: true,
            sync: self.sync,
            sync_interval: self.sync_interval,
            max_bytes: self.max_bytes,
            max_value_bytes: self.max_value_bytes,
            evict: self.evict,
            default_ttl: self.default_ttl,
            max_ttl: self.max_ttl,
            ..holdfast::Options::default()
        }
    }
}

/// Sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Keys that begin so are sessions.
    pub prefix: String,
    /// Are their lock keys the store's own session locks?
    pub locks: bool,
}

/// The admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where.
    pub address: SocketAddr,
    /// Was it asked for? Then it is an error when it is taken.
    pub asked: bool,
    /// Names that it may be asked by, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Are there CPU profiles?
    pub profiling: bool,
}

/// Counts for each prefix of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// Ends the prefix.
    pub delimiter: u8,
    /// From the start on?
    pub on: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// By who reads standard error.
    Auto,
    /// For eyes.
    Pretty,
    /// For machines.
    Json,
    /// For journald, with fields.
    Journald,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error` to `trace`.
    pub level: &'static str,
    /// How it looks.
    pub format: Format,
    /// Levels by module, from $HOLDFAST_LOG; wins over the level.
    pub filter: Option<String>,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// In the background.
    pub daemon: bool,
    /// Where its id is written.
    pub pidfile: Option<PathBuf>,
    /// As whom it runs, when started as root.
    pub user: Option<String>,
    /// May core files be written?
    pub core_files: bool,
    /// Is memory kept from being paged out?
    pub lock_memory: bool,
    /// Where the ports that were bound are written, from $MEMCACHED_PORT_FILENAME.
    pub port_file: Option<PathBuf>,
}

impl Config {
    /// Everything said, brought together.
    pub fn from_sources(sources: &Sources) -> Result<Asked, Problems> {
        let flags = flags::read(sources.args.clone(), None)?;
        match flags.special {
            Some(Special::Help) => return Ok(Asked::Print(flags::help())),
            Some(Special::Version) => {
                return Ok(Asked::Print(format!("{}\n", show::version_line())));
            }
            Some(Special::License) => return Ok(Asked::Print(show::license())),
            Some(Special::Check) | None => {}
        }
        let check = flags.special == Some(Special::Check);
        let said = gather(sources, flags)?;
        let config = build::config(sources, said)?;
        match check {
            true => Ok(Asked::Print(show::effective(&config))),
            false => Ok(Asked::Serve(Box::new(config))),
        }
    }

    /// The options that another configuration says otherwise, for reloads.
    pub fn differing(&self, other: &Config) -> Vec<&'static str> {
        let text = |config: &Config, name| {
            let given = config.values.iter().find(|given| given.option.name == name);
            given.map(|given| given.text.clone())
        };
        let names = OPTIONS.iter().map(|option| option.name);
        names.filter(|name| text(self, *name) != text(other, *name)).collect()
    }

    /// May this address be listened on? For sockets that were opened by somebody else.
    pub fn may_listen_on(&self, address: SocketAddr) -> bool {
        listen::is_local(address.ip()) || self.access.auth_file.is_some() || self.access.public
    }
}

/// All that was said, each option once.
struct Said {
    values: BTreeMap<&'static str, Given>,
    notes: Vec<Note>,
    problems: Vec<Problem>,
}

/// Reads all sources and lets the higher ones win.
fn gather(sources: &Sources, flags: flags::Flags) -> Result<Said, Problems> {
    let mut said = Said { values: BTreeMap::new(), notes: vec![], problems: vec![] };
    let defaults = OPTIONS.iter().filter(|option| !option.default.is_empty());
    said.hear(
        defaults
            .map(|option| Given { option, text: option.default.into(), origin: Origin::Default })
            .collect(),
    );
    if let Some(path) =
        flags.config.or_else(|| variable(sources, "HOLDFAST_CONFIG").map(Into::into))
    {
        let text = text_of(sources, &path)?;
        let (given, problems) = file::read(&path, &text);
        said.hear(given);
        said.problems.extend(problems);
    }
    if let Some(path) = flags.memcached_conf {
        let meant = memcached::conf(&path, &text_of(sources, &path)?);
        said.understand(meant);
    }
    let meant = environment(sources);
    said.understand(meant);
    said.understand(flags.meant);
    Ok(said)
}

impl Said {
    /// One source: higher than all before it. Within it the last mention wins, or adds.
    fn hear(&mut self, given: Vec<Given>) {
        let mut fresh: BTreeMap<&'static str, Given> = BTreeMap::new();
        for one in given {
            match fresh.get_mut(one.option.name) {
                Some(other) if one.option.many => {
                    other.text = format!("{},{}", other.text, one.text);
                }
                _ => {
                    fresh.insert(one.option.name, one);
                }
            }
        }
        self.values.extend(fresh);
    }

    fn understand(&mut self, meant: memcached::Meant) {
        self.hear(meant.given);
        self.notes.extend(meant.notes);
        self.problems.extend(meant.problems);
    }
}

fn text_of(sources: &Sources, path: &Path) -> Result<String, Problem> {
    (sources.read_file)(&sources.cwd.join(path))
        .map_err(|error| Problem::new(path.display(), format!("cannot be read: {error}")))
}

/// A variable that has a value.
fn variable(sources: &Sources, name: &str) -> Option<OsString> {
    let found = sources.env.iter().find(|(variable, _)| variable == name);
    found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
}

/// Variables that are no options.
const OTHER_VARIABLES: [&str; 3] = ["HOLDFAST_CONFIG", "HOLDFAST_LOG", crate::service::CHILD];

fn environment(sources: &Sources) -> memcached::Meant {
    let mut meant = memcached::Meant::default();
    for (name, value) in &sources.env {
        let Some(name) = name.to_str().filter(|name| name.starts_with("HOLDFAST_")) else {
            continue;
        };
        if value.is_empty() || OTHER_VARIABLES.contains(&name) {
            continue;
        }
        let Some(option) = OPTIONS.iter().find(|option| option.variable() == name) else {
            meant.notes.push(Note::warning(format!("{name} is no variable of this server")));
            continue;
        };
        let origin = Origin::Environment(name.into());
        match value.to_str() {
            Some(text) => meant.given.push(Given { option, text: text.into(), origin }),
            None => meant.problems.push(Problem::new(origin, "is not UTF-8")),
        }
    }
    meant
}
