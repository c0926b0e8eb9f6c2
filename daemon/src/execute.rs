//! Command and store -> reply: the only room that names both.
//!
//! An [`Executor`] is shared by all loops and locks nothing on its way. A [`Client`] is what it knows
//! of one connection: is it known, which session locks does it hold. It never sees a socket or a
//! byte of a dialect, and it does not wait: a write in a store that syncs always is only published
//! here, and [`Client::take_unsynced`] tells the conversation to keep its answer back until it is on
//! the disk. Called by the conversation, with a [`Room`] for what a reply borrows.

mod change;
mod failure;
mod locks;
mod read;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use holdfast::backend::Backend;
use holdfast::{Held, Soon, Ttl};

use crate::auth::{Attempt, Gate, Peer, Standing, Users};
use crate::command::{Command, Dialect, Entry, Expiry, Failure, Listing, Reply};
use crate::counters::{Block, Count, Counters, Op, Snapshot};
use crate::limits::READ_AHEAD;
use crate::protocol::{Limits, Seen};
use crate::recency::Recency;
use crate::sessions::Locks;
use crate::settings::Settings;
use crate::stats::{Facts, Lines, Panel, Prefixed, Traffic};
use failure::Log;

/// What the executor asks of the server around it.
pub trait Server: Send + Sync {
    /// More or less is to be logged.
    fn set_verbosity(&self, level: u32);
    /// Certificates and passwords are to be read again; false if that failed.
    fn reload(&self) -> bool;
    /// The server is to end.
    fn shut_down(&self, gracefully: bool);
    /// A test moves the clock.
    fn move_clock(&self, seconds: i64);
    /// What passes through the sockets.
    fn traffic(&self) -> Traffic;
    /// The connections, as `stats conns` shows them.
    fn connections(&self) -> Vec<(String, String)>;
}

/// What a request needs for its time.
#[derive(Default)]
pub struct Room {
    /// The value that was read.
    pub value: Vec<u8>,
    /// Statistics.
    pub stats: Vec<(String, String)>,
    /// Words.
    pub text: String,
}

/// What all connections share.
struct Shared {
    store: Arc<dyn Backend>,
    settings: Arc<Settings>,
    server: Arc<dyn Server>,
    counters: Counters,
    recency: Recency,
    panel: Panel,
    log: Log,
    clients: AtomicU64,
    /// Those who may talk; `None` = everybody.
    users: ArcSwapOption<Users>,
    gate: Gate,
}

/// Executes commands on a store.
pub struct Executor {
    shared: Arc<Shared>,
}

/// A connection, as the executor sees it.
pub struct Client {
    shared: Arc<Shared>,
    block: Arc<Block>,
    locks: Locks,
    peer: Peer,
    standing: Standing,
    wrote: bool,
    /// When the last request ended: the next one's time counts from here.
    last: Instant,
}

/// A lifetime, with the moments that have passed sorted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Lives(Ttl),
    Over,
}

/// What became of a request; only a failure of the store is an error.
type Outcome<'a> = Result<Reply<'a>, holdfast::Error>;

impl Executor {
    /// For a store that is open with deferred syncs, and so many loops.
    pub fn new(
        store: Arc<dyn Backend>,
        settings: Arc<Settings>,
        server: Arc<dyn Server>,
        threads: usize,
    ) -> holdfast::Result<Executor> {
        let now_s = store.now_ms()? / 1000;
        let shared = Shared {
            counters: Counters::new(threads),
            recency: Recency::new(now_s),
            panel: Panel::new(),
            log: Log::new(),
            clients: AtomicU64::new(1),
            users: ArcSwapOption::empty(),
            gate: Gate::new(),
            store,
            settings,
            server,
        };
        let executor = Executor { shared: Arc::new(shared) };
        executor.look_again()?;
        Ok(executor)
    }

    /// Those who may talk, from now on; `None` = everybody. Connections that are known stay so.
    pub fn set_users(&self, users: Option<Users>) {
        self.shared.users.store(users.map(Arc::new));
    }

    /// A connection on the loop of this number, from this address (empty: this machine). It is known
    /// at once if there are no passwords.
    pub fn client(&self, thread: usize, peer: &str) -> Client {
        let standing = match self.shared.users.load().is_some() {
            true => Standing::unknown(),
            false => Standing::unasked(),
        };
        Client {
            block: self.shared.counters.block(thread),
            locks: Locks::new(self.shared.clients.fetch_add(1, Ordering::Relaxed)),
            shared: Arc::clone(&self.shared),
            peer: Peer::of(peer),
            standing,
            wrote: false,
            last: Instant::now(),
        }
    }

    /// Options of the store that others may have changed meanwhile; to be called about once a
    /// second.
    pub fn look_again(&self) -> holdfast::Result<()> {
        let config = self.shared.store.config()?;
        self.shared.settings.set_value_max(config.max_value_bytes);
        self.shared.settings.set_evicts(config.evict);
        Ok(())
    }

    /// What parsers may believe now.
    pub fn limits(&self) -> Limits {
        let settings = &self.shared.settings;
        Limits {
            value_max: settings.value_max(),
            test_commands: settings.test_commands,
            passwords: self.shared.users.load().is_some(),
        }
    }

    /// What was counted since the last reset.
    pub fn counted(&self) -> Snapshot {
        self.shared.counters.snapshot()
    }

    /// A group of statistics by its name, as clients see it; `None`: there is no such group.
    pub fn stats(&self, group: &str) -> Option<Vec<(String, String)>> {
        let mut lines = Vec::new();
        match self.shared.lines(group.as_bytes(), &mut lines) {
            Ok(true) => Some(lines),
            Ok(false) => None,
            Err(error) => {
                self.shared.log.failed(&error);
                None
            }
        }
    }

    /// Says that these keys are asked for soon, so that they wait for memory together. A hint.
    pub fn foresee(&self, keys: &[Seen]) {
        for seen in keys {
            // What is no key is left to its request.
            if let Ok(hash) = self.shared.store.key_hash(seen.key) {
                self.shared.recency.expect(hash);
            }
        }
        for some in keys.chunks(READ_AHEAD) {
            let mut soon = [Soon::default(); READ_AHEAD];
            for (soon, seen) in soon.iter_mut().zip(some) {
                *soon = Soon { key: seen.key, value: seen.reads };
            }
            self.shared.store.prefetch(soon.get(..some.len()).unwrap_or_default());
        }
    }

    /// Executes one request.
    pub fn run<'a>(
        &self,
        client: &mut Client,
        command: &Command<'a>,
        dialect: Dialect,
        room: &'a mut Room,
    ) -> Reply<'a> {
        let (op, outcome) = match client.is_known() || is_for_all(command, dialect) {
            true => self.shared.execute(client, command, room),
            false => (Op::Other, Ok(Reply::WhoAreYou)),
        };
        let reply = outcome.unwrap_or_else(|error| self.shared.failed(client, &error));
        if dialect == Dialect::Meta && op != Op::Other {
            client.block.count(Count::CmdMeta);
        }
        let now = Instant::now();
        client.block.took(dialect, op, now.saturating_duration_since(client.last));
        client.last = now;
        reply
    }

    /// A page of a listing: true if more follow.
    pub fn page(
        &self,
        listing: &mut Listing,
        each: &mut dyn FnMut(&Entry),
    ) -> Result<bool, Failure> {
        if !self.shared.settings.may_dump() {
            return Err(Failure::Forbidden(failure::NO_DUMP));
        }
        self.shared.page(listing, each).map_err(|error| self.shared.log.failed(&error))
    }
}

/// What may be asked by those who have not said who they are.
fn is_for_all(command: &Command, dialect: Dialect) -> bool {
    match command {
        Command::Authenticate { .. } | Command::Quit => true,
        Command::Version => dialect == Dialect::Binary,
        _ => false,
    }
}

impl Shared {
    fn execute<'a>(
        &self,
        client: &mut Client,
        command: &Command<'a>,
        room: &'a mut Room,
    ) -> (Op, Outcome<'a>) {
        match *command {
            Command::Get(ref get) => (Op::Get, self.get(client, get, room)),
            Command::Set(ref set) => (Op::Set, self.set(client, set)),
            Command::Delete(ref delete) => (Op::Delete, self.delete(client, delete)),
            Command::Count(ref count) => (Op::Count, self.count(client, count)),
            Command::Touch { key, expiry } => (Op::Touch, self.touch(client, key, expiry)),
            Command::Describe { key } => (Op::Other, self.describe(key)),
            Command::List(listing) => (
                Op::Other,
                Ok(match self.settings.may_dump() {
                    true => Reply::Listing(listing),
                    false => Reply::Failed(Failure::Forbidden(failure::NO_DUMP)),
                }),
            ),
            Command::Flush { at } => (Op::Other, self.flush(client, at)),
            Command::Stats(group) => (Op::Other, self.show(group, room)),
            _ => (Op::Other, Ok(self.serve(client, command, room))),
        }
    }

    /// What concerns the server and not the store.
    fn serve<'a>(
        &self,
        client: &mut Client,
        command: &Command<'a>,
        room: &'a mut Room,
    ) -> Reply<'a> {
        match *command {
            Command::Noop => Reply::Noop,
            Command::Quit => Reply::Bye,
            Command::Version => {
                room.text.clone_from(&self.settings.version);
                Reply::Version(&room.text)
            }
            Command::ResetStats => {
                self.counters.reset();
                self.panel.reset();
                Reply::Ok
            }
            Command::Verbosity(level) => {
                self.settings.set_verbosity(level);
                self.server.set_verbosity(level);
                Reply::Ok
            }
            Command::Authenticate { user, password } => self.authenticate(client, user, password),
            Command::Shutdown { gracefully } if self.settings.may_shutdown => {
                self.server.shut_down(gracefully);
                Reply::Bye
            }
            Command::Shutdown { .. } => Reply::Failed(Failure::Forbidden(failure::NO_SHUTDOWN)),
            Command::Reload if self.server.reload() => Reply::Ok,
            Command::Reload => Reply::Failed(Failure::Internal),
            Command::MoveClock(seconds) if self.settings.test_commands => {
                self.server.move_clock(seconds);
                Reply::Ok
            }
            Command::MoveClock(_) => Reply::Failed(Failure::Forbidden(failure::NO_TEST)),
            // What only tunes a memcached. The others were executed before.
            _ => Reply::Ok,
        }
    }

    fn authenticate(&self, client: &mut Client, user: &[u8], password: &[u8]) -> Reply<'static> {
        client.block.count(Count::AuthCmds);
        let users = self.users.load();
        let Some(users) = &*users else {
            client.standing = Standing::unasked();
            return Reply::Welcome;
        };
        let who = (user, password);
        match client.standing.attempt(users, &self.gate, client.peer, who, Instant::now()) {
            Attempt::Welcome => Reply::Welcome,
            Attempt::Unwelcome | Attempt::TooSoon(_) => {
                client.block.count(Count::AuthErrors);
                Reply::Unwelcome
            }
        }
    }

    fn flush<'a>(&self, client: &mut Client, at: Option<Expiry>) -> Outcome<'a> {
        if !self.settings.may_flush() {
            return Ok(Reply::Failed(Failure::Forbidden(failure::NO_FLUSH)));
        }
        client.block.count(Count::CmdFlush);
        let at_ms = match at {
            None | Some(Expiry::Default | Expiry::Past) => None,
            Some(Expiry::In(ms)) => Some(self.store.now_ms()?.saturating_add(ms)),
            Some(Expiry::At(ms)) => Some(ms),
        };
        self.store.flush(at_ms)?;
        Ok(Reply::Ok)
    }

    /// Makes the lines of a group of statistics; false: there is no such group.
    fn lines(&self, group: &[u8], lines: &mut Lines) -> holdfast::Result<bool> {
        let now_s = self.now_s()?;
        let facts = Facts {
            store: &*self.store,
            settings: &self.settings,
            counters: &self.counters,
            traffic: &|| self.server.traffic(),
            connections: &|| self.server.connections(),
            idle_s: &|hash, version| self.recency.look(hash, version, now_s).idle_s,
        };
        self.panel.show(group, &facts, lines)
    }

    fn show<'a>(&self, group: &[u8], room: &'a mut Room) -> Outcome<'a> {
        match group {
            b"detail on" => self.settings.set_detail(true),
            b"detail off" => self.settings.set_detail(false),
            b"detail dump" if !self.settings.may_dump() => {
                return Ok(Reply::Failed(Failure::Forbidden(failure::NO_DUMP)));
            }
            _ => {
                room.stats.clear();
                return Ok(match self.lines(group, &mut room.stats)? {
                    true => Reply::Stats(&room.stats),
                    false => Reply::Missing,
                });
            }
        }
        Ok(Reply::Ok)
    }

    #[inline]
    fn count_prefix(&self, key: &[u8], what: Prefixed) {
        if self.settings.detail() {
            self.panel.count_prefix(key, self.settings.prefix_delimiter, what);
        }
    }

    /// A lifetime as the store wants it.
    #[inline]
    fn life(&self, expiry: Expiry) -> holdfast::Result<Life> {
        Ok(match expiry {
            Expiry::Default => Life::Lives(Ttl::Default),
            Expiry::In(ms) => Life::Lives(Ttl::Millis(ms)),
            Expiry::Past => Life::Over,
            Expiry::At(ms) => match ms.checked_sub(self.store.now_ms()?) {
                None | Some(0) => Life::Over,
                Some(left) => Life::Lives(Ttl::Millis(left)),
            },
        })
    }

    fn now_s(&self) -> holdfast::Result<u64> {
        Ok(self.store.now_ms()? / 1000)
    }
}

/// Whole seconds of life that are left of a value, begun ones included; `None` = for ever.
fn ttl_s(expires_ms: u64, now_ms: u64) -> Option<u64> {
    (expires_ms != 0).then(|| expires_ms.saturating_sub(now_ms).div_ceil(1000))
}

impl Client {
    /// Does the server know who this is, as far as it must?
    pub fn is_known(&self) -> bool {
        self.standing.is_known()
    }

    /// It is gone: what it held is free.
    pub fn leave(&mut self) {
        self.locks.give_all_back(&*self.shared.store);
    }

    /// Was something written that is to be on the disk before it is answered? Asked once.
    pub fn take_unsynced(&mut self) -> bool {
        std::mem::take(&mut self.wrote) && self.shared.store.sync_is_always()
    }

    /// A request that no codec could make a command of was answered.
    pub fn refused(&mut self) {
        self.block.count(Count::BadRequests);
    }

    /// A turn begins: the time of its first request counts from here.
    pub fn begin(&mut self, now: Instant) {
        self.last = now;
    }

    /// When the last request of this turn ended, or the turn began.
    pub fn ended(&self) -> Instant {
        self.last
    }

    /// The lock under which this connection writes a key, if it took one.
    #[inline]
    fn held(&self, key: &[u8]) -> Option<Held> {
        self.locks.of(key)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How long a session lock may be kept from others; `None` = until it is given back.
fn lease(life: Life) -> Option<Duration> {
    match life {
        Life::Lives(Ttl::Millis(ms)) => Some(Duration::from_millis(ms)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Get;

    #[test]
    fn a_second_that_has_begun_is_left() {
        assert_eq!(ttl_s(0, 5), None);
        assert_eq!(ttl_s(60_000, 0), Some(60));
        assert_eq!(ttl_s(60_000, 1), Some(60));
        assert_eq!(ttl_s(60_000, 59_999), Some(1));
        assert_eq!(ttl_s(60_000, 60_001), Some(0));
    }

    #[test]
    fn strangers_may_say_who_they_are_and_go() {
        let get = Command::Get(Get::new(b"k"));
        assert!(!is_for_all(&get, Dialect::Binary) && !is_for_all(&Command::Noop, Dialect::Text));
        assert!(is_for_all(&Command::Version, Dialect::Binary));
        assert!(!is_for_all(&Command::Version, Dialect::Text));
        assert!(is_for_all(&Command::Quit, Dialect::Text));
    }
}
