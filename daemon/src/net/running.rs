//! The loops as a whole: started together, told together to stop. Called by `server` and tests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Poll, Waker};

use super::accept::Acceptor;
use super::counters::Counters;
use super::event_loop::{EventLoop, Message, WAKER};
use super::{Config, Connected, Host, Listener, Totals, commit};

/// Where a loop is told things.
#[derive(Debug)]
struct Mailbox {
    sender: Sender<Message>,
    waker: Waker,
}

/// What the loops, the committer and those who watch have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub config: Config,
    pub counters: Counters,
    /// The first loop does not accept: all connections are taken. Whoever ends one wakes it.
    pub full: AtomicBool,
    /// Threads that have ended: all at the end, none before.
    ended: AtomicUsize,
    mailboxes: Vec<Mailbox>,
}

impl Shared {
    pub fn loops(&self) -> usize {
        self.mailboxes.len()
    }

    /// Tells a loop. One that has ended needs to know nothing any more.
    pub fn send(&self, thread: usize, message: Message) {
        if let Some(mailbox) = self.mailboxes.get(thread)
            && mailbox.sender.send(message).is_ok()
        {
            let _ = mailbox.waker.wake();
        }
    }

    /// A connection of this loop has ended.
    pub fn connection_ended(&self, thread: usize) {
        if let Some(one) = self.counters.loops.get(thread) {
            one.current.fetch_sub(1, SeqCst);
        }
        self.counters.current.fetch_sub(1, SeqCst);
        if self.full.load(SeqCst)
            && let Some(first) = self.mailboxes.first()
        {
            let _ = first.waker.wake();
        }
    }

    /// Held by a thread for as long as it runs.
    pub fn alive(&self) -> Alive<'_> {
        Alive(&self.ended)
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for thread in 0..self.loops() {
            self.send(thread, message());
        }
    }
}

/// A thread that runs; also one that panics has ended.
pub(super) struct Alive<'a>(&'a AtomicUsize);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The loops, before they run.
pub struct Loops;

/// One loop's parts that are made before its thread.
struct Parts {
    poll: Poll,
    inbox: Receiver<Message>,
}

impl Loops {
    /// Starts the loops, and their committer. The number of a listener is its place in `listeners`.
    pub fn start<H: Host>(
        config: Config,
        listeners: Vec<Listener>,
        host: Arc<H>,
    ) -> io::Result<Running> {
        if listeners.iter().any(Listener::is_tls) && !config.has_tls() {
            let what = "a listener is to talk TLS, and there are no certificates";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut parts = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..config.threads.max(1) {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            // What is in it: connections on their way, of which there are not more than are allowed
            // at all, one answer of the committer, and what the owner says.
            let (sender, inbox) = unbounded();
            mailboxes.push(Mailbox { sender, waker });
            parts.push(Parts { poll, inbox });
        }
        let shared = Arc::new(Shared {
            counters: Counters::new(mailboxes.len()),
            config,
            full: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            mailboxes,
        });
        let mut acceptor = match parts.first() {
            Some(first) => Some(Acceptor::new(listeners, first.poll.registry())?),
            None => None,
        };
        shared.counters.accepting.store(true, SeqCst);
        let (committer, thread) = commit::start(shared.clone(), host.clone())?;
        let mut running = Running { watch: Watch(shared), threads: vec![thread] };
        for (number, Parts { poll, inbox }) in parts.into_iter().enumerate() {
            let (shared, host) = (running.watch.0.clone(), host.clone());
            let (committer, acceptor) = (committer.clone(), acceptor.take());
            let thread = std::thread::Builder::new()
                .name(format!("holdfast-net-{number}"))
                // Made where it runs: conversations need not be able to change threads.
                .spawn(move || {
                    EventLoop::new(number, poll, inbox, shared, host, committer, acceptor).run();
                });
            match thread {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.stop();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

/// Loops that run; dropped, they run on.
#[derive(Debug)]
#[must_use]
pub struct Running {
    watch: Watch,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Takes those who are in the listeners' queues already, then listens no more. Returns at once.
    pub fn stop_accepting(&self) {
        self.watch.0.send(0, Message::StopAccepting { done: None });
    }

    /// Lets every connection finish what it asked, and ends it then; those who are not finished after
    /// `within` are ended as they are. Accepting ends too. Returns when no connection is left; false
    /// if some had to be ended.
    pub fn drain(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        // Those who are still taken in are with their loops before these begin to drain.
        let (done, taken_in) = crossbeam_channel::bounded(1);
        self.watch.0.send(0, Message::StopAccepting { done: Some(done) });
        let _ = taken_in.recv_deadline(deadline);
        let (gone, all_gone) = crossbeam_channel::bounded(self.watch.0.loops());
        self.watch.0.tell_all(|| Message::Drain { deadline, gone: gone.clone() });
        drop(gone);
        let mut in_time = true;
        // Each loop answers once, or is gone; a loop that hangs in a conversation is not waited for.
        let last = deadline + Duration::from_secs(1);
        for _ in 0..self.watch.0.loops() {
            match all_gone.recv_deadline(last) {
                Ok(finished) => in_time &= finished,
                Err(_) => return false,
            }
        }
        in_time
    }

    /// Ends everything at once. Returns at once; see [`Running::joined`].
    pub fn stop(&self) {
        self.watch.0.tell_all(|| Message::Stop);
    }

    /// Waits until all threads have ended, after [`Running::stop`]; false if one of them panicked.
    pub fn joined(self) -> bool {
        let mut well = true;
        for thread in self.threads {
            well &= thread.join().is_ok();
        }
        well
    }

    /// The counters.
    pub fn stats(&self) -> Totals {
        self.watch.totals()
    }

    /// For whoever is to see the counters while the loops run.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

/// Sees the counters and the connections, from any thread, without making a loop wait; also from
/// within a conversation.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// The counters.
    pub fn totals(&self) -> Totals {
        self.0.counters.totals()
    }

    /// Do all threads run? For whoever tells a supervisor that this process is well.
    pub fn is_well(&self) -> bool {
        self.0.ended.load(SeqCst) == 0
    }

    /// What is known of the connections, of `max` at most.
    pub fn connections(&self, max: usize) -> Vec<Connected> {
        self.0.counters.connected(max)
    }
}
