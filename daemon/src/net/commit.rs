//! The committer: one thread that makes durable what all loops are waiting for. While one commit
//! runs, everything that asks meanwhile is collected and goes into the next one, so that a hundred
//! connections cost the disk no more than one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Host;
use super::event_loop::Message;
use super::running::Shared;

/// A loop asks for everything that it wrote up to its batch of this number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub thread: usize,
    pub batch: u64,
}

/// Starts the thread. It ends when all senders are gone.
pub(super) fn start<H: Host>(
    shared: Arc<Shared>,
    host: Arc<H>,
) -> io::Result<(Sender<Asked>, JoinHandle<()>)> {
    // A loop asks once a turn at most, and no connection asks again before it was answered: there
    // are never more requests than connections.
    let (sender, receiver) = unbounded();
    let thread = std::thread::Builder::new()
        .name("holdfast-commit".into())
        .spawn(move || run(&shared, &*host, &receiver))?;
    Ok((sender, thread))
}

fn run<H: Host>(shared: &Shared, host: &H, asked: &Receiver<Asked>) {
    let _alive = shared.alive();
    let mut newest: Vec<Option<u64>> = vec![None; shared.loops()];
    while let Ok(first) = asked.recv() {
        note(&mut newest, first);
        for further in asked.try_iter().take(shared.config.max_connections) {
            note(&mut newest, further);
        }
        // A fault in the store must not leave the connections waiting for ever.
        let done = catch_unwind(AssertUnwindSafe(|| host.commit())).unwrap_or(false);
        shared.counters.commits.fetch_add(1, Relaxed);
        for (thread, batch) in newest.iter_mut().enumerate() {
            if let Some(batch) = batch.take() {
                shared.send(thread, Message::Committed { batch, done });
            }
        }
    }
}

/// A loop's batches come in order, so the last one stands for all before it.
fn note(newest: &mut [Option<u64>], asked: Asked) {
    if let Some(batch) = newest.get_mut(asked.thread) {
        *batch = Some(asked.batch);
    }
}
