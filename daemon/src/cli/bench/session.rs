//! One server under load: connect, fill, warm up, measure.
//!
//! A session owns the connections and one worker per thread; each phase runs the workers on threads
//! of their own and ends when all of them have. CPU times are read around the measurement alone. It
//! prints nothing but the progress bar. Called by the command, once per run or round.

use super::address::Address;
use super::batch::Rules;
use super::fault::hint;
use super::machine;
use super::options::{Length, Load};
use super::progress::Progress;
use super::socket::{Socket, Target};
use super::tally::Tally;
use super::values::Values;
use super::worker::{Goal, Phase, Worker};
use anyhow::{Context, bail};
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server with all connections open.
pub(super) struct Session<'a> {
    address: &'a Address,
    load: Arc<Load>,
    workers: Vec<Worker>,
    idle: Vec<Socket>,
    /// What the server says it is, where the protocol tells.
    pub(super) version: String,
    interrupted: &'a AtomicBool,
}

/// What a measurement has found.
pub(super) struct Measured {
    pub(super) tally: Tally,
    pub(super) generator_cpu: Duration,
    pub(super) server_cpu: Option<Duration>,
    /// Connections of `--idle` that the server has closed.
    pub(super) idle_closed: usize,
}

impl<'a> Session<'a> {
    pub(super) fn open(
        address: &'a Address,
        load: &Load,
        interrupted: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        Self::connect(address, load, interrupted).with_context(|| address.name.clone())
    }

    fn connect(
        address: &'a Address,
        load: &Load,
        interrupted: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        if let Some(pid) = address.pid {
            machine::cpu_of(pid)?;
        }
        // Two files per thread, and some for the process itself.
        machine::allow_files(load.connections + load.idle + 2 * load.threads + 32)?;
        let target = Target::resolve(&address.place)?;
        let (first, version) = target.connect(load, true)?;
        let whole = load.connections + load.idle;
        let mut sockets = vec![first];
        for number in 1..whole {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted while connecting");
            }
            let counted = || format!("connection {} of {whole}", number + 1);
            sockets.push(target.connect(load, false).with_context(counted)?.0);
        }
        let idle = sockets.split_off(load.connections);
        let load = Arc::new(load.clone());
        let workers = workers(&load, sockets)?;
        Ok(Self { address, load, workers, idle, version, interrupted })
    }

    /// Sets every key; false when it was interrupted.
    pub(super) fn fill(&mut self) -> anyhow::Result<bool> {
        let (keys, threads) = (self.load.keys, self.load.threads as u64);
        let share = |number: u64| keys * number / threads;
        let goal = |thread: usize| {
            let thread = thread as u64;
            Goal::Fill(share(thread)..share(thread + 1))
        };
        let bar = Progress::counting("fill", keys);
        let tally = self.phase(goal, &bar).context("while all keys were set")?;
        if let Some(text) = tally.first_refusal {
            bail!(
                "{}: the server refused {} of {keys} sets before the measurement: {text}{}",
                self.address.name,
                tally.refused,
                hint(text.as_bytes())
            );
        }
        Ok(tally.elapsed > Duration::ZERO && self.goes_on())
    }

    /// Loads the server without measuring; false when it was interrupted.
    pub(super) fn warm_up(&mut self) -> anyhow::Result<bool> {
        let length = self.load.warm_up;
        if !length.is_zero() {
            let bar = Progress::lasting("warm-up", length);
            self.phase(|_| Goal::For(length), &bar).context("during the warm-up")?;
        }
        Ok(self.goes_on())
    }

    /// Measures until the time or the number of requests is reached, or it is interrupted.
    pub(super) fn measure(&mut self) -> anyhow::Result<Measured> {
        let threads = self.load.threads as u64;
        let length = self.load.length;
        let goal = |thread: usize| match length {
            Length::For(length) => Goal::For(length),
            Length::Requests(whole) => {
                let extra = u64::from((thread as u64) < whole % threads);
                Goal::Requests(whole / threads + extra)
            }
        };
        let bar = match length {
            Length::For(length) => Progress::lasting("measure", length),
            Length::Requests(whole) => Progress::counting("measure", whole),
        };
        let (server_before, own_before) = (self.server_cpu()?, machine::own_cpu());
        let tally = self.phase(goal, &bar)?;
        let generator_cpu = machine::own_cpu().saturating_sub(own_before);
        let server_after = self.server_cpu()?;
        let server_cpu = server_after.zip(server_before).map(|(a, b)| a.saturating_sub(b));
        Ok(Measured { tally, generator_cpu, server_cpu, idle_closed: self.idle_closed() })
    }

    fn goes_on(&self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
    }

    fn server_cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.address.pid.map(machine::cpu_of).transpose()
    }

    /// Runs all workers to the end of a phase and adds up what they counted.
    fn phase(&mut self, goal: impl Fn(usize) -> Goal, bar: &Progress) -> anyhow::Result<Tally> {
        let (failed, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let phase = Phase {
            start: Instant::now(),
            interrupted: self.interrupted,
            failed: &failed,
            progress: &done,
        };
        let cpus = &self.load.cpus;
        let results: Vec<anyhow::Result<Tally>> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .enumerate()
                .map(|(number, worker)| {
                    let cpu = cpus.get(number % cpus.len().max(1)).copied();
                    let (goal, phase) = (goal(number), &phase);
                    scope.spawn(move || on_its_cpu(worker, cpu, goal, phase))
                })
                .collect();
            while bar.is_shown() && threads.iter().any(|thread| !thread.is_finished()) {
                bar.show(&done);
            }
            let ended = |_| Err(anyhow::anyhow!("a thread of the generator panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(ended)).collect()
        });
        let mut whole = Tally::new();
        for tally in results {
            whole.add(tally.with_context(|| self.address.name.clone())?);
        }
        Ok(whole)
    }

    /// Nothing is expected on idle connections: an end is all that can be read there.
    fn idle_closed(&mut self) -> usize {
        let ended = |socket: &mut Socket| match socket.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        self.idle.iter_mut().map(ended).filter(|&ended| ended).count()
    }
}

/// Deals the connections to one worker per thread.
fn workers(load: &Arc<Load>, sockets: Vec<Socket>) -> anyhow::Result<Vec<Worker>> {
    let rules = Arc::new(Rules {
        protocol: load.protocol,
        values: Values::new(load.key_size, load.value_size),
        allow_misses: load.allow_misses,
    });
    let mut dealt: Vec<Vec<(usize, Socket)>> = Vec::new();
    dealt.resize_with(load.threads, Vec::new);
    for (number, socket) in sockets.into_iter().enumerate() {
        if let Some(hand) = dealt.get_mut(number % load.threads) {
            hand.push((number + 1, socket));
        }
    }
    let make = |(number, hand)| Worker::new(number, rules.clone(), load.clone(), hand);
    dealt
        .into_iter()
        .enumerate()
        .map(make)
        .collect::<Result<_, _>>()
        .context("the generator's event loop")
}

fn on_its_cpu(
    worker: &mut Worker,
    cpu: Option<usize>,
    goal: Goal,
    phase: &Phase<'_>,
) -> anyhow::Result<Tally> {
    let done = cpu.map_or(Ok(()), machine::stay_on);
    let done = done.and_then(|()| Ok(worker.run(goal, phase)?));
    if done.is_err() {
        phase.failed.store(true, Ordering::Relaxed);
    }
    done
}
