//! One thread of the generator: its connections in one event loop.
//!
//! A worker runs phases (fill, warm-up, measurement) to their end one after the other and keeps its
//! connections between them. Requests of a batch are written into one buffer that all its
//! connections share. It prints nothing. Called by the session, which owns the threads.

use super::batch::Rules;
use super::connection::Connection;
use super::fault::Fault;
use super::limits::{EVENTS, FILL_BATCH_BYTES, LOOK_EVERY, READ_BYTES};
use super::options::Load;
use super::pace::{Pace, Schedule};
use super::pick::{Dice, Picker};
use super::socket::Socket;
use super::tally::{Kind, Tally};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIMER: Token = Token(usize::MAX);

/// What a phase does.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// Sets each of these keys once.
    Fill(Range<u64>),
    For(Duration),
    Requests(u64),
}

/// What the threads of a phase share.
pub(super) struct Phase<'a> {
    pub(super) start: Instant,
    /// Somebody wants the run to end.
    pub(super) interrupted: &'a AtomicBool,
    /// Another thread has found a fault: nothing that is still measured will be reported.
    pub(super) failed: &'a AtomicBool,
    /// Requests that are answered, for the progress bar.
    pub(super) progress: &'a AtomicU64,
}

impl Phase<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What one thread is doing in a phase.
struct Work {
    pace: Pace,
    /// The keys that remain to be set, when it is the fill.
    fill: Option<Range<u64>>,
    depth: usize,
    tally: Tally,
}

/// One thread's connections, and what it needs to make their requests.
pub(super) struct Worker {
    rules: Arc<Rules>,
    load: Arc<Load>,
    number: usize,
    poll: Poll,
    timer: OwnedFd,
    /// Which intended start the timer is set to.
    rings_at: Option<u64>,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    dice: Dice,
    picker: Picker,
    generation: u64,
    requests: Vec<u8>,
    answers: Vec<u8>,
}

impl Worker {
    /// A worker with the connections that have these numbers.
    pub(super) fn new(
        number: usize,
        rules: Arc<Rules>,
        load: Arc<Load>,
        sockets: Vec<(usize, Socket)>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let connections = sockets
            .into_iter()
            .enumerate()
            .map(|(at, (name, socket))| Connection::new(socket, name, Token(at), registry))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            dice: Dice::new(load.seed.wrapping_add((number as u64) << 32)),
            picker: Picker::new(load.distribution, load.keys),
            // Generations of two threads never meet; 0 is the fill's.
            generation: (number as u64) << 48,
            requests: Vec::new(),
            answers: vec![0; READ_BYTES],
            free: VecDeque::with_capacity(connections.len()),
            rules,
            load,
            number,
            poll,
            timer,
            rings_at: None,
            connections,
        })
    }

    /// Runs one phase to its end, all answers included.
    pub(super) fn run(&mut self, goal: Goal, phase: &Phase<'_>) -> Result<Tally, Fault> {
        let mut work = self.work(goal);
        let mut events = Events::with_capacity(EVENTS);
        let (mut next_look, mut reported) = (0, 0);
        self.rings_at = None;
        self.free.clear();
        self.free.extend(0..self.connections.len());
        self.start_due(&mut work, phase)?;
        while !phase.failed.load(Ordering::Relaxed) {
            let now = phase.now();
            if phase.interrupted.load(Ordering::Relaxed) {
                work.pace.stop(now);
            }
            if self.free.len() == self.connections.len() && work.pace.over(now) {
                break;
            }
            if now >= next_look {
                self.find_overdue(now)?;
                next_look = now + nanoseconds(LOOK_EVERY);
            }
            self.wait(&mut events, &work, now)?;
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.serve(event, &mut work, phase)?;
            }
            self.start_due(&mut work, phase)?;
            phase.progress.fetch_add(work.tally.requests() - reported, Ordering::Relaxed);
            reported = work.tally.requests();
        }
        work.tally.elapsed = phase.start.elapsed();
        work.tally.not_started = work.pace.not_started();
        Ok(work.tally)
    }

    fn work(&self, goal: Goal) -> Work {
        let schedule = |rate| Schedule::new(rate, self.number, self.load.threads);
        let open = self.load.rate.map(schedule);
        let tally = Tally::new();
        let depth = self.load.pipeline;
        match goal {
            Goal::For(length) => {
                Work { pace: Pace::lasting(length, open), fill: None, depth, tally }
            }
            Goal::Requests(count) => {
                Work { pace: Pace::counting(count, open), fill: None, depth, tally }
            }
            Goal::Fill(keys) => {
                let pace = Pace::counting(keys.end - keys.start, None);
                let depth = (FILL_BATCH_BYTES / self.load.value_size).clamp(1, 64);
                Work { pace, fill: Some(keys), depth, tally }
            }
        }
    }

    /// Waits for a socket, or for the next intended start when there is a connection free for it.
    fn wait(&mut self, events: &mut Events, work: &Work, now: u64) -> Result<(), Fault> {
        let awaited = !self.free.is_empty() && !work.pace.over(now);
        if let Some(next) = work.pace.next().filter(|_| awaited) {
            let left = Duration::from_nanos(next.saturating_sub(now).max(1));
            if self.rings_at != Some(next) {
                self.ring_in(left)?;
                self.rings_at = Some(next);
            }
        }
        match self.poll.poll(events, Some(LOOK_EVERY)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The poll's own timeout has milliseconds, which is more than most latencies.
    fn ring_in(&self, left: Duration) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let timer = Itimerspec { it_interval: once, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }

    fn serve(
        &mut self,
        event: &mio::event::Event,
        work: &mut Work,
        phase: &Phase<'_>,
    ) -> Result<(), Fault> {
        let Token(at) = event.token();
        let Some(connection) = self.connections.get_mut(at) else { return Ok(()) };
        let was_free = connection.is_free();
        if event.is_writable() {
            connection.send_rest(phase.now(), self.poll.registry())?;
        }
        let ended = event.is_read_closed() || event.is_error();
        if event.is_readable() || ended {
            let checks = (&*self.rules, &mut work.tally);
            connection.receive(&mut self.answers, ended, checks, || phase.now())?;
        }
        if !was_free && connection.is_free() {
            self.free.push_back(at);
            self.start_due(work, phase)?;
        }
        Ok(())
    }

    /// Gives free connections the requests whose time has come.
    fn start_due(&mut self, work: &mut Work, phase: &Phase<'_>) -> Result<(), Fault> {
        while let Some(&at) = self.free.front() {
            let count = work.pace.due(phase.now(), work.depth);
            if count == 0 {
                break;
            }
            self.free.pop_front();
            self.begin(at, count, work, phase)?;
        }
        Ok(())
    }

    /// Writes `count` requests and sends them on one connection.
    fn begin(
        &mut self,
        at: usize,
        count: usize,
        work: &mut Work,
        phase: &Phase<'_>,
    ) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(at) else { return Ok(()) };
        let (protocol, values) = (self.rules.protocol, &self.rules.values);
        let (dice, picker) = (&mut self.dice, &self.picker);
        let batch = &mut connection.batch;
        self.requests.clear();
        batch.clear();
        for _ in 0..count {
            let intended = work.pace.start();
            let set = match &mut work.fill {
                Some(keys) => keys.next().map(|key| (key, 0)),
                None if dice.fraction() < self.load.gets => None,
                None => {
                    self.generation += 1;
                    Some((picker.pick(dice), self.generation))
                }
            };
            if let Some(set) = set {
                batch.add(Kind::Set, std::iter::once(set.0), intended);
                protocol.put_set(&mut self.requests, values, set, self.load.ttl);
            } else {
                let keys = (0..self.load.multi).map(|_| picker.pick(dice));
                let keys = batch.add(Kind::Get, keys, intended);
                protocol.put_get(&mut self.requests, values, keys);
            }
        }
        work.tally.bytes_sent += self.requests.len() as u64;
        connection.send(&self.requests, phase.now(), self.poll.registry())
    }

    fn find_overdue(&self, now: u64) -> Result<(), Fault> {
        let limit = nanoseconds(self.load.timeout);
        for connection in &self.connections {
            if let Some(waited) = connection.stalled_for(now).filter(|&waited| waited > limit) {
                return Err(Fault::Overdue {
                    connection: connection.batch.connection(),
                    waited: Duration::from_millis(waited / 1_000_000),
                    request: connection.batch.describe(&self.rules),
                });
            }
        }
        Ok(())
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
