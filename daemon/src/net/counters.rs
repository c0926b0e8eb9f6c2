//! What is counted about connections, and what is known of each. Written by the loops with relaxed
//! atomics, read by whoever asks, at any time and from any thread: nothing here makes a loop wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

/// One loop's counters, on cache lines of their own: loops count without disturbing each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct LoopCounters {
    /// Connections that were handed to this loop and have not ended.
    pub current: AtomicUsize,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub yielded: AtomicU64,
    pub writes: AtomicU64,
    pub timed_out: AtomicU64,
    pub panicked: AtomicU64,
    /// By the connection's place in the loop. Locked when a connection comes or goes.
    pub connected: Mutex<Vec<Option<Arc<Record>>>>,
}

/// Counts in what one loop alone writes: without a lock on the bus.
#[inline]
pub(super) fn raise(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Counters {
    pub loops: Vec<LoopCounters>,
    /// Of all loops; the limit is held against this.
    pub current: AtomicUsize,
    /// Bytes of unfinished requests and unsent answers, of all connections.
    pub held: AtomicUsize,
    pub total: AtomicU64,
    pub rejected: AtomicU64,
    pub accept_failed: AtomicU64,
    pub listen_disabled: AtomicU64,
    pub accepting: AtomicBool,
    pub commits: AtomicU64,
    pub begun: Instant,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that are open.
    pub current: u64,
    /// Connections that ever were.
    pub total: u64,
    /// Connections that were let go at once because all were taken.
    pub rejected: u64,
    /// Connections that the kernel could not give us.
    pub accept_failed: u64,
    /// Times that the listeners were not listened to, for want of connections or of descriptors.
    pub listen_disabled: u64,
    /// Are new connections taken now?
    pub accepting: bool,
    /// Bytes of unfinished requests and unsent answers that are held now.
    pub held: u64,
    /// Bytes of requests.
    pub received: u64,
    /// Bytes of answers.
    pub sent: u64,
    /// Times that a connection with more to do had to let others have their turn.
    pub yielded: u64,
    /// Writes to connections.
    pub writes: u64,
    /// Connections that were ended by a deadline.
    pub timed_out: u64,
    /// Connections that were ended by a fault in this program.
    pub panicked: u64,
    /// Commits, each for everybody who was waiting.
    pub commits: u64,
}

impl Counters {
    pub fn new(loops: usize) -> Counters {
        Counters {
            loops: (0..loops).map(|_| LoopCounters::default()).collect(),
            current: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            accept_failed: AtomicU64::new(0),
            listen_disabled: AtomicU64::new(0),
            accepting: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    pub fn totals(&self) -> Totals {
        let sum = |of: fn(&LoopCounters) -> &AtomicU64| -> u64 {
            self.loops.iter().map(|one| of(one).load(Relaxed)).sum()
        };
        Totals {
            current: self.current.load(Relaxed) as u64,
            held: self.held.load(Relaxed) as u64,
            total: self.total.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            accept_failed: self.accept_failed.load(Relaxed),
            listen_disabled: self.listen_disabled.load(Relaxed),
            accepting: self.accepting.load(Relaxed),
            received: sum(|one| &one.received),
            sent: sum(|one| &one.sent),
            yielded: sum(|one| &one.yielded),
            writes: sum(|one| &one.writes),
            timed_out: sum(|one| &one.timed_out),
            panicked: sum(|one| &one.panicked),
            commits: self.commits.load(Relaxed),
        }
    }

    /// At most `max` connections, as they are now.
    pub fn connected(&self, max: usize) -> Vec<Connected> {
        let now = self.millis(Instant::now());
        let mut all = Vec::new();
        for (thread, one) in self.loops.iter().enumerate() {
            let connected = one.connected.lock();
            let left = max - all.len();
            all.extend(connected.iter().flatten().take(left).map(|record| Connected {
                number: record.number,
                thread,
                listener: record.listener,
                peer: record.peer,
                state: State::of(record.state.load(Relaxed)),
                idle_s: now.saturating_sub(record.asked.load(Relaxed)) / 1000,
            }));
        }
        all
    }

    /// Milliseconds since the counters began.
    pub fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for a request.
    Reading,
    /// Waits for the rest of a request.
    Partial,
    /// Has answers that the peer does not take.
    Writing,
    /// Waits for the disk.
    Committing,
    /// Agrees on how to talk.
    Handshake,
    /// Ends.
    Closing,
}

impl State {
    const ALL: [State; 6] = [
        State::Reading,
        State::Partial,
        State::Writing,
        State::Committing,
        State::Handshake,
        State::Closing,
    ];

    fn of(number: u8) -> State {
        State::ALL.get(usize::from(number)).copied().unwrap_or(State::Closing)
    }
}

/// One connection's facts, shared between its loop and those who ask.
#[derive(Debug)]
pub(super) struct Record {
    pub number: i32,
    pub listener: usize,
    pub peer: Option<SocketAddr>,
    state: AtomicU8,
    asked: AtomicU64,
}

impl Record {
    pub fn new(number: i32, listener: usize, peer: Option<SocketAddr>, now: u64) -> Record {
        let state = AtomicU8::new(State::Reading as u8);
        Record { number, listener, peer, state, asked: AtomicU64::new(now) }
    }

    pub fn is(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    pub fn asked(&self, now: u64) {
        self.asked.store(now, Relaxed);
    }
}

/// What is known of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Its descriptor.
    pub number: i32,
    /// The loop that it lives on.
    pub thread: usize,
    /// The number of the listener that it came in by.
    pub listener: usize,
    /// Who is on the other side; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// What it is doing.
    pub state: State,
    /// Whole seconds since it asked something, or since it came.
    pub idle_s: u64,
}
