//! The server's pulse: a thread that looks once a second at what others may have done to the store,
//! and says so in the log and to `around`, from where readiness and the main thread have it. It
//! changes nothing. Started and ended by the server.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use holdfast::backend::Backend;

use super::around::Around;
use crate::execute::Executor;
use crate::limits::{BEAT, BEATS_ASTRAY};

/// The thread; it ends when this is dropped.
pub(super) struct Beat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Beat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts it.
pub(super) fn start(
    executor: Arc<Executor>,
    store: Arc<dyn Backend>,
    around: Arc<Around>,
) -> io::Result<Beat> {
    let (stop, stopped) = bounded::<()>(0);
    let watch = Pulse { executor, store, around, differed: false, astray: 0 };
    let thread =
        thread::Builder::new().name("holdfast-beat".into()).spawn(move || watch.run(&stopped))?;
    Ok(Beat { stop: Some(stop), thread: Some(thread) })
}

struct Pulse {
    executor: Arc<Executor>,
    store: Arc<dyn Backend>,
    around: Arc<Around>,
    /// Was it said already that the store has other options?
    differed: bool,
    /// Beats since the store was where it belongs.
    astray: u32,
}

impl Pulse {
    fn run(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.executor.look_again() {
                tracing::debug!(%error, "the store's options could not be read");
            }
            match self.store.condition() {
                Ok(condition) => self.look(condition),
                Err(error) => tracing::debug!(%error, "the store could not be looked at"),
            }
        }
    }

    fn look(&mut self, found: holdfast::Condition) {
        if found.options_differ && !self.differed {
            tracing::warn!(
                "the store was made with other options than were asked for now; its own hold"
            );
        }
        self.differed = found.options_differ;
        if found.sync_failed {
            self.around.synced(false);
        }
        if found.in_place {
            self.astray = 0;
        } else {
            self.astray = self.astray.saturating_add(1);
        }
        if self.astray == 1 {
            tracing::error!("the store's directory was moved, removed or replaced");
        }
        // Whoever moves it back at once finds us here.
        self.around.went_astray(self.astray > 0, self.astray >= BEATS_ASTRAY);
    }
}
