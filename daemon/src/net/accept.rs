//! Accepting: the first loop's work for its listeners. Holds the limit of connections, chooses the
//! loop for each new one, and rests when the kernel has no descriptors or no memory to give. Called
//! by `event_loop` of the first loop only.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::event_loop::LISTENERS;
use super::listen::Listener;
use super::running::Shared;
use super::socket::{Moved, Socket};
use crate::limits::{ACCEPTS_PER_TURN, LISTENERS_MAX, READ_BUFFER};

/// How long no one is accepted after the kernel had no descriptor or no memory.
const REST: Duration = Duration::from_millis(50);

/// Errors of who was waiting, not of the listener: he is gone again, his network is, or a filter does
/// not want him (accept(2), "Error handling"). The next one may be well.
const GONE: [Errno; 11] = [
    Errno::INTR,
    Errno::CONNABORTED,
    Errno::PERM,
    Errno::PROTO,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::NONET,
    Errno::NOPROTOOPT,
    Errno::OPNOTSUPP,
];

/// A connection on its way to its loop.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub socket: Socket,
    pub listener: usize,
    pub peer: Option<SocketAddr>,
    pub tls: bool,
}

/// The listeners and what keeps them from accepting.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// Of each listener: may somebody be waiting? Edges tell only of those who come.
    waiting: Vec<bool>,
    /// The listener that is first in the next turn.
    first: usize,
    /// Given up when there are no descriptors, to tell one who waits so; see `turn_away`.
    spare: Option<OwnedFd>,
    rests_until: Option<Instant>,
    next_loop: usize,
}

/// What one try came to.
enum Tried {
    Newcomer(usize, Newcomer),
    Refused,
    Nobody,
    Pause,
}

impl Acceptor {
    pub fn new(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Acceptor> {
        if listeners.len() > LISTENERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many listeners"));
        }
        for (number, listener) in listeners.iter().enumerate() {
            listener.register(registry, Token(LISTENERS + number))?;
        }
        let waiting = vec![true; listeners.len()];
        let spare = spare();
        Ok(Acceptor { listeners, waiting, first: 0, spare, rests_until: None, next_loop: 0 })
    }

    /// Somebody came to a listener.
    pub fn somebody_came(&mut self, number: usize) {
        if let Some(waiting) = self.waiting.get_mut(number) {
            *waiting = true;
        }
    }

    fn nobody_waits(&mut self, number: usize) {
        if let Some(waiting) = self.waiting.get_mut(number) {
            *waiting = false;
        }
    }

    /// How long until it has to be called although nobody comes; `None`: that long.
    pub fn due_in(&self, now: Instant, shared: &Shared) -> Option<Duration> {
        match self.rests_until {
            Some(until) => Some(until.saturating_duration_since(now)),
            None if shared.full.load(SeqCst) => None,
            None => self.waiting.contains(&true).then_some(Duration::ZERO),
        }
    }

    /// Looks at every listener once more: its last edge may not have been seen yet.
    pub fn look_again(&mut self) {
        self.waiting.fill(true);
    }

    /// Is there something to do for a turn?
    pub fn wants_turn(&self, now: Instant, shared: &Shared) -> bool {
        let freed = shared.full.load(SeqCst) && !is_full(shared);
        freed || self.due_in(now, shared) == Some(Duration::ZERO)
    }

    /// Accepts a bounded number, and gives each to `seat` with the number of its loop.
    pub fn turn(&mut self, now: Instant, shared: &Shared, seat: &mut dyn FnMut(usize, Newcomer)) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        if shared.full.load(SeqCst) && !is_full(shared) {
            shared.full.store(false, SeqCst);
        }
        if shared.full.load(SeqCst) {
            return;
        }
        shared.counters.accepting.store(true, Relaxed);
        let mut left = ACCEPTS_PER_TURN;
        let count = self.listeners.len();
        for number in (self.first..count).chain(0..self.first.min(count)) {
            while left > 0 && self.waiting.get(number) == Some(&true) {
                left -= 1;
                match self.accept(number, shared) {
                    Tried::Newcomer(thread, newcomer) => seat(thread, newcomer),
                    Tried::Refused => {}
                    Tried::Nobody => self.nobody_waits(number),
                    Tried::Pause => {
                        shared.counters.accepting.store(false, Relaxed);
                        shared.counters.listen_disabled.fetch_add(1, Relaxed);
                        if !shared.full.load(SeqCst) {
                            self.rests_until = Some(now + REST);
                        }
                        return;
                    }
                }
            }
        }
        self.first = (self.first + 1) % count.max(1);
    }

    fn accept(&mut self, number: usize, shared: &Shared) -> Tried {
        let Some(listener) = self.listeners.get(number) else { return Tried::Nobody };
        let refusal = shared.config.refusal;
        if refusal.is_none() && is_full(shared) {
            shared.full.store(true, SeqCst);
            // The last one may have ended before it could see that it is waited for.
            if is_full(shared) {
                return Tried::Pause;
            }
            shared.full.store(false, SeqCst);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::acceptfrom_with(listener.socket(), flags) {
            Ok((socket, _)) if is_full(shared) => {
                shared.counters.rejected.fetch_add(1, Relaxed);
                refuse(Socket::new(socket), refusal);
                Tried::Refused
            }
            Ok((socket, peer)) => {
                let newcomer = Newcomer {
                    socket: Socket::new(socket),
                    listener: number,
                    peer: peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map(plain),
                    tls: listener.is_tls(),
                };
                Tried::Newcomer(self.admit(shared), newcomer)
            }
            Err(Errno::AGAIN) => Tried::Nobody,
            Err(Errno::MFILE | Errno::NFILE) => {
                shared.counters.accept_failed.fetch_add(1, Relaxed);
                self.turn_away(number, shared);
                Tried::Pause
            }
            Err(Errno::NOBUFS | Errno::NOMEM) => {
                shared.counters.accept_failed.fetch_add(1, Relaxed);
                Tried::Pause
            }
            Err(error) => {
                shared.counters.accept_failed.fetch_add(1, Relaxed);
                match GONE.contains(&error) {
                    true => Tried::Refused,
                    false => Tried::Pause,
                }
            }
        }
    }

    /// Counts one more, on the loop that has the fewest; among equals, they take turns.
    fn admit(&mut self, shared: &Shared) -> usize {
        let loops = &shared.counters.loops;
        let order = (self.next_loop..loops.len()).chain(0..self.next_loop.min(loops.len()));
        let thread = order
            .min_by_key(|thread| loops.get(*thread).map(|one| one.current.load(Relaxed)))
            .unwrap_or(0);
        self.next_loop = thread + 1;
        if let Some(one) = loops.get(thread) {
            one.current.fetch_add(1, SeqCst);
        }
        shared.counters.current.fetch_add(1, SeqCst);
        shared.counters.total.fetch_add(1, Relaxed);
        thread
    }

    /// There is no descriptor for who is waiting. With the spare one he can be told, if there is
    /// something to tell; else he waits in the queue until there is.
    fn turn_away(&mut self, number: usize, shared: &Shared) {
        let (Some(listener), Some(refusal)) = (self.listeners.get(number), shared.config.refusal)
        else {
            return;
        };
        for _ in 0..ACCEPTS_PER_TURN {
            if self.spare.take().is_none() {
                break;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let accepted = rustix::net::accept_with(listener.socket(), flags);
            let somebody = accepted.is_ok();
            if let Ok(socket) = accepted {
                shared.counters.rejected.fetch_add(1, Relaxed);
                refuse(Socket::new(socket), Some(refusal));
            }
            self.spare = spare();
            if !somebody {
                break;
            }
        }
        if self.spare.is_none() {
            self.spare = spare();
        }
    }
}

fn is_full(shared: &Shared) -> bool {
    shared.counters.current.load(SeqCst) >= shared.config.max_connections
}

/// An inherited socket may serve both IPs; its IPv4 peers are shown as what they are.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn spare() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

/// Tells one that he cannot stay. What he may have sent already is taken off the socket: a close with
/// unread bytes is a reset, which can overtake the answer.
fn refuse(socket: Socket, answer: Option<&'static [u8]>) {
    let sent = socket.send(answer.unwrap_or_default());
    if let Ok(Moved::Bytes(_)) = sent {
        socket.end_sending();
        let _ = socket.receive(&mut Vec::with_capacity(READ_BUFFER / 4));
    }
}
