//! Moving bytes: listeners, event loops, connections. Knows nothing of requests, replies or the
//! store; a [`Conversation`] does the talking, one for each connection.
//!
//! N threads with one loop each ([`Loops::start`]). The first one owns the listeners and hands each
//! new connection to the loop that has the fewest; there it stays. A loop has one buffer for what
//! arrives and one for what is answered, shared by all its connections: a connection owns memory
//! only while a request of it is unfinished or an answer is unsent. What a turn answered goes out
//! with one write. Of those that are ready together a loop first reads a little from each, lets the
//! host foresee what they are about, then gives them their turns, and sends what they answered: so
//! they wait for memory together, and who waits for many of them is woken once. Answers that have to
//! wait for the disk are parked until one thread, the committer, has made everything durable that was
//! waiting, for all loops at once.

mod accept;
mod buffers;
mod commit;
mod connection;
mod counters;
mod desk;
mod event_loop;
mod listen;
mod running;
mod socket;
mod sweep;
#[cfg(feature = "tls")]
pub mod tls;
mod unix;
mod wire;

use std::time::Duration;

use crate::limits::{HELD_HIGH, HELD_MAX};

pub use counters::{Connected, State, Totals};
pub use listen::{ListenError, Listener};
pub use running::{Loops, Running, Watch};

/// How the loops are set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Loops, a thread each; at least 1.
    pub threads: usize,
    /// Connections that are open at once; as many as there are descriptors for, a few aside.
    pub max_connections: usize,
    /// Who comes when all connections are taken is told this and let go. `None`: he waits in the
    /// listener's queue until a connection ends.
    pub refusal: Option<&'static [u8]>,
    /// A connection on which nothing comes or goes for so long is closed; `None`: never.
    pub idle: Option<Duration>,
    /// A request that is not whole after so long ends its connection. What arrives gains time: a
    /// second for each 64 KiB, so that a big value may come over a slow line.
    pub partial: Duration,
    /// Who is not known after so long, from the beginning of the connection on, is let go.
    pub unknown: Duration,
    /// A peer that takes nothing of an answer for so long is let go.
    pub write: Duration,
    /// A TLS handshake that is not done after so long ends its connection.
    pub handshake: Duration,
    /// Longest request, bytes: a conversation that wants more is ended.
    pub request_max: usize,
    /// Bytes of unfinished requests and unsent answers that all connections may hold together. Above
    /// it, whoever holds something and does not move for a second is let go.
    pub held_max: usize,
    /// Above it, whoever needs more is let go at once, unless he alone is the reason.
    pub held_high: usize,
    /// What TLS listeners show.
    #[cfg(feature = "tls")]
    pub tls: Option<std::sync::Arc<tls::Tls>>,
}

impl Config {
    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            threads: 4,
            max_connections: 1024,
            refusal: None,
            idle: None,
            partial: Duration::from_secs(300),
            unknown: Duration::from_secs(10),
            write: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            request_max: 1 << 30,
            held_max: HELD_MAX,
            held_high: HELD_HIGH,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Who talks on one connection: takes bytes, gives bytes, does no I/O on the socket.
pub trait Conversation {
    /// What [`Conversation::hint`] gives, for [`Host::foresee`], whatever it means there.
    type Hint<'a>: Copy + Default;

    /// Takes what it can of `input`, everything that arrived and was not used yet, and appends its
    /// answers to `out`. Called when bytes arrived, and again as [`Next`] says.
    fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Advance;

    /// The peer sends nothing more. What is unfinished stays unfinished; answers that are due are
    /// still sent.
    fn ended(&mut self) {}

    /// It is over: nothing more is said or heard. Told before the peer can see the end of the
    /// connection, which may take a while longer to be gone.
    fn over(&mut self) {}

    /// What the next [`Conversation::advance`] with this input will look for first, as far as that can
    /// be told at a glance.
    fn hint<'a>(&self, input: &'a [u8]) -> Option<Self::Hint<'a>> {
        let _ = input;
        None
    }

    /// Is the peer known, as far as it must be? Those who are not have little time and little room.
    fn is_known(&self) -> bool;

    /// A number of the request that is not at its end although what has come of it is used: a body
    /// that is thrown away, a line that is taken word by word. It has as much time as one that is
    /// kept until it is whole. Each has another number.
    fn under_way(&self) -> Option<u64> {
        None
    }
}

/// What a step of a conversation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// How it goes on.
    pub next: Next,
}

/// How a conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With more bytes: another call pays when at least `wanted` are there, unused ones included.
    Read {
        /// Bytes; more than what is left of the input now.
        wanted: usize,
    },
    /// With what is there already: its turn is over, or there is enough output for now.
    Again,
    /// When what was written is on the disk: output from `from` on (a position in `out`) is to be
    /// kept back until then, and thrown away, with the connection, if the disk fails.
    Commit {
        /// Position in `out`.
        from: usize,
    },
    /// Not at all: the connection ends when its output is sent.
    Close,
}

/// Makes a conversation for each connection, and is asked for what the loops do not know themselves.
pub trait Host: Send + Sync + 'static {
    /// One connection's.
    type Talk: Conversation;

    /// A connection came in on the listener of this number, on the loop of this number. `peer` is its
    /// address for people, empty for unix sockets.
    fn greet(&self, listener: usize, thread: usize, peer: &str) -> Self::Talk;

    /// Conversations that gave these hints have their turns next, one after the other.
    fn foresee(&self, hints: &[<Self::Talk as Conversation>::Hint<'_>]) {
        let _ = hints;
    }

    /// Returns when everything that was written before is on the disk; false if that failed. May
    /// block; called on a thread of its own.
    fn commit(&self) -> bool;
}
