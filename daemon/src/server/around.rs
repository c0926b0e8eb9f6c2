//! What the executor asks of the server around it: who may talk, how the sockets do, and what it
//! orders on behalf of a client.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam_channel::Sender;

use super::clock::TestClock;
use crate::auth::Users;
use crate::execute::{self, Executor};
use crate::limits::SHOWN_CONNECTIONS_MAX;
use crate::log::Levels;
#[cfg(feature = "tls")]
use crate::net::tls::Tls;
use crate::net::{Connected, State, Watch};
use crate::stats::Traffic;

/// Orders that wait for the process at most; what clients repeat beyond that is one order.
pub(super) const ORDERS_MAX: usize = 16;

/// What a client asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// To end, after everybody finished what was asked.
    Stop,
    /// To end.
    StopNow,
}

/// See the module's first lines.
pub(super) struct Around {
    /// The file of those who may talk.
    auth_file: Option<PathBuf>,
    levels: Option<Levels>,
    clock: Option<Arc<TestClock>>,
    orders: Sender<Order>,
    /// It has this in turn, and outlives no server.
    executor: OnceLock<Weak<Executor>>,
    watch: OnceLock<Watch>,
    #[cfg(feature = "tls")]
    tls: OnceLock<Arc<Tls>>,
    /// It ends soon.
    pub(super) draining: AtomicBool,
    sync_failed: AtomicBool,
    /// What lies at the store's path is another directory, or none.
    astray: AtomicBool,
    /// For so long that it will not come back.
    lost: AtomicBool,
}

impl Around {
    pub(super) fn new(
        auth_file: Option<PathBuf>,
        levels: Option<Levels>,
        clock: Option<Arc<TestClock>>,
        orders: Sender<Order>,
    ) -> Around {
        Around {
            auth_file,
            levels,
            clock,
            orders,
            executor: OnceLock::new(),
            watch: OnceLock::new(),
            #[cfg(feature = "tls")]
            tls: OnceLock::new(),
            draining: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
            astray: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// It exists only after this.
    pub(super) fn set_executor(&self, executor: Weak<Executor>) {
        let _ = self.executor.set(executor);
    }

    /// The loops exist only after the executor that they serve.
    pub(super) fn set_watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.get()
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&self, tls: Option<Arc<Tls>>) {
        if let Some(tls) = tls {
            let _ = self.tls.set(tls);
        }
    }

    /// How the last sync of the loops' ended.
    pub(super) fn synced(&self, well: bool) {
        self.sync_failed.store(!well, Ordering::Relaxed);
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Relaxed)
    }

    /// Is the store not where it belongs, and for good?
    pub(super) fn went_astray(&self, astray: bool, lost: bool) {
        self.astray.store(astray, Ordering::Relaxed);
        self.lost.store(lost, Ordering::Relaxed);
    }

    pub(super) fn is_astray(&self) -> bool {
        self.astray.load(Ordering::Relaxed)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Reads passwords and certificates again. What cannot be read stays as it was.
    pub(super) fn reload_files(&self) -> bool {
        let mut well = true;
        if let Some(path) = &self.auth_file {
            match (Users::load(path), self.executor.get().and_then(Weak::upgrade)) {
                (Ok(users), Some(executor)) => executor.set_users(Some(users)),
                (Ok(_), None) => {}
                (Err(error), _) => {
                    tracing::error!(%error, "the passwords stay as they were");
                    well = false;
                }
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.get()
            && let Err(error) = tls.reload()
        {
            tracing::error!(%error, "the certificates stay as they were");
            well = false;
        }
        well
    }
}

impl execute::Server for Around {
    fn set_verbosity(&self, level: u32) {
        if let Some(levels) = &self.levels {
            levels.verbosity(level);
        }
    }

    fn reload(&self) -> bool {
        self.reload_files()
    }

    fn shut_down(&self, gracefully: bool) {
        // A full queue has the same order in it already.
        let _ = self.orders.try_send(if gracefully { Order::Stop } else { Order::StopNow });
    }

    fn move_clock(&self, seconds: i64) {
        if let Some(clock) = &self.clock {
            clock.move_by(seconds);
        }
    }

    fn traffic(&self) -> Traffic {
        let Some(watch) = self.watch.get() else { return Traffic::default() };
        let totals = watch.totals();
        Traffic {
            curr_connections: totals.current,
            total_connections: totals.total,
            rejected_connections: totals.rejected,
            connection_structures: totals.current,
            accepting_conns: totals.accepting,
            listen_disabled_num: totals.listen_disabled,
            bytes_read: totals.received,
            bytes_written: totals.sent,
            conn_yields: totals.yielded,
            idle_kicks: totals.timed_out,
            buffer_bytes: totals.held,
            ..Traffic::default()
        }
    }

    fn connections(&self) -> Vec<(String, String)> {
        let Some(watch) = self.watch.get() else { return Vec::new() };
        watch.connections(SHOWN_CONNECTIONS_MAX).iter().flat_map(lines_of).collect()
    }
}

/// As memcached's `stats conns` shows a connection.
fn lines_of(one: &Connected) -> [(String, String); 3] {
    let address = match one.peer {
        Some(peer) => format!("tcp:{peer}"),
        None => "unix:".to_owned(),
    };
    let line = |name: &str, value: String| (format!("{}:{name}", one.number), value);
    [
        line("addr", address),
        line("state", state_name(one.state).to_owned()),
        line("secs_since_last_cmd", one.idle_s.to_string()),
    ]
}

/// memcached's names for what a connection does; those that it has no name for are ours.
fn state_name(state: State) -> &'static str {
    match state {
        State::Reading => "conn_read",
        State::Partial => "conn_nread",
        State::Writing => "conn_mwrite",
        State::Committing => "conn_commit",
        State::Handshake => "conn_handshake",
        State::Closing => "conn_closing",
    }
}
