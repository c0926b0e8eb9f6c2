//! What these tests share: a store in a private directory, its clock, an executor, and answers in
//! short.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::backend::Backend;
use holdfast::{Clock, Options, Store};
use holdfastd::auth::Users;
use holdfastd::command::{Command, Dialect, Get, Mode, Reply, Set};
use holdfastd::command::{Expiry, Found};
use holdfastd::conversation::Talk;
use holdfastd::execute::{Client, Executor, Room, Server};
use holdfastd::protocol::{Codec, Spoken};
use holdfastd::settings::Settings;
use holdfastd::stats::Traffic;

/// A clock that stands still until it is moved.
pub struct HandClock(AtomicU64);

/// Where it starts, unix milliseconds.
pub const START_MS: u64 = 1_790_000_000_000;

impl HandClock {
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn boot_ms(&self) -> u64 {
        60_000 + self.0.load(Ordering::SeqCst)
    }
    fn wall_ms(&self) -> u64 {
        START_MS + self.0.load(Ordering::SeqCst)
    }
}

/// A server of which nothing is but what the executor asks.
pub struct Around;

impl Server for Around {
    fn set_verbosity(&self, _level: u32) {}
    fn reload(&self) -> bool {
        true
    }
    fn shut_down(&self, _gracefully: bool) {}
    fn move_clock(&self, _seconds: i64) {}
    fn traffic(&self) -> Traffic {
        Traffic { curr_connections: 3, accepting_conns: true, ..Traffic::default() }
    }
    fn connections(&self) -> Vec<(String, String)> {
        vec![("7:state".into(), "conn_parse_cmd".into())]
    }
}

pub struct World {
    pub store: Store,
    pub clock: Arc<HandClock>,
    pub settings: Arc<Settings>,
    pub executor: Executor,
    _dir: tempfile::TempDir,
}

pub fn options() -> Options {
    Options { create: true, defer_sync: true, max_bytes: Some(32 << 20), ..Options::default() }
}

impl World {
    pub fn new() -> World {
        World::with(Settings::default(), options())
    }

    pub fn with(settings: Settings, options: Options) -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let clock = Arc::new(HandClock(AtomicU64::new(0)));
        let options = Options { clock: Some(clock.clone()), ..options };
        let store = Store::open(dir.path(), &options).unwrap();
        let settings = Arc::new(settings);
        let executor = executor(&store, &settings);
        World { store, clock, settings, executor, _dir: dir }
    }

    pub fn client(&self) -> Client {
        self.executor.client(0, "")
    }

    /// A connection that must say who it is: `anna` with the password `secret`.
    pub fn stranger(&self) -> Client {
        self.executor.set_users(Some(Users::parse(b"anna:secret\n").unwrap()));
        self.executor.client(0, "10.0.0.1:5")
    }

    /// A connection's talk.
    pub fn talk(&self) -> Talk {
        let executor = Arc::new(executor(&self.store, &self.settings));
        let client = executor.client(0, "");
        Talk::new(executor, client, Codec::new(Spoken::Any), 64)
    }

    /// Is there a value, as others see it?
    pub fn has(&self, key: &[u8]) -> bool {
        self.store.exists(key).unwrap().is_some()
    }

    pub fn value(&self, key: &[u8]) -> String {
        let mut value = Vec::new();
        match self.store.get(key, &mut value).unwrap() {
            Some(_) => String::from_utf8(value).unwrap(),
            None => "-".into(),
        }
    }

    pub fn version(&self, key: &[u8]) -> u64 {
        self.store.exists(key).unwrap().unwrap().version
    }

    pub fn ttl_ms(&self, key: &[u8]) -> u64 {
        let item = self.store.exists(key).unwrap().unwrap();
        match item.expires_ms {
            0 => 0,
            at => at - self.store.now_ms().unwrap(),
        }
    }

    pub fn says(&self, client: &mut Client, command: Command) -> String {
        says(&self.executor, client, command)
    }

    pub fn set(&self, client: &mut Client, key: &str, value: &str, expiry: Expiry) -> String {
        self.store_as(client, key, value, expiry, Mode::Set)
    }

    pub fn store_as(
        &self,
        client: &mut Client,
        key: &str,
        value: &str,
        expiry: Expiry,
        mode: Mode,
    ) -> String {
        let set = Set::new(key.as_bytes(), value.as_bytes(), 5, expiry, mode);
        self.says(client, Command::Set(set))
    }

    pub fn get(&self, client: &mut Client, key: &str) -> String {
        self.says(client, Command::Get(Get { untold: false, ..Get::new(key.as_bytes()) }))
    }
}

/// As a server that starts on this store makes it.
pub fn executor(store: &Store, settings: &Arc<Settings>) -> Executor {
    let store: Arc<dyn Backend> = Arc::new(store.clone());
    Executor::new(store, settings.clone(), Arc::new(Around), 2).unwrap()
}

pub fn says(executor: &Executor, client: &mut Client, command: Command) -> String {
    let mut room = Room::default();
    short(&executor.run(client, &command, Dialect::Text, &mut room))
}

/// An answer in short: `value flags ttl`, and `W`, `X`, `Z` as the meta dialect has them.
fn short(reply: &Reply) -> String {
    match reply {
        Reply::Found(Found { value, flags, ttl_s, won, stale, taken, size, .. }) => {
            let ttl = ttl_s.map_or("-".into(), |ttl| ttl.to_string());
            let mark = |yes: bool, name| if yes { name } else { "" };
            let (won, stale) = (mark(*won, " W"), mark(*stale, " X"));
            let value = match (value.len() as u64) < *size {
                true => format!("({size})"),
                false => String::from_utf8_lossy(value).into_owned(),
            };
            format!("'{value}' {flags} {ttl}{won}{stale}{}", mark(*taken, " Z"))
        }
        Reply::Stored { version: 0, .. } => "stored, over".into(),
        Reply::Stored { .. } => "stored".into(),
        Reply::Counted { number, version, ttl_s } => {
            let ttl = ttl_s.map_or("-".into(), |ttl| ttl.to_string());
            format!("{number} {ttl}{}", if *version == 0 { ", over" } else { "" })
        }
        Reply::Failed(failure) => format!("{failure:?}"),
        Reply::Version(text) => text.to_string(),
        other => format!("{other:?}").to_lowercase(),
    }
}
