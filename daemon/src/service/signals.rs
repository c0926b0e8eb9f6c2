//! Signals, as orders: stop, stop at once, read everything again. SIGPIPE needs no care: Rust's
//! programs ignore it from their start on.

use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use super::ServiceError;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Let the connections finish, then end (SIGTERM, SIGINT, and SIGUSR1 as for memcached).
    Stop,
    /// End now: the second of them.
    StopNow,
    /// Read configuration, passwords and certificates again (SIGHUP).
    Reload,
}

/// Listens to signals until it is dropped.
pub struct Listening {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Calls `obey` with each order, on a thread of its own.
pub fn listen(mut obey: impl FnMut(Order) + Send + 'static) -> Result<Listening, ServiceError> {
    let signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP]);
    let mut signals = signals.map_err(ServiceError::Signals)?;
    let handle = signals.handle();
    let run = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            obey(match signal {
                SIGHUP => Order::Reload,
                _ if stopping => Order::StopNow,
                _ => {
                    stopping = true;
                    Order::Stop
                }
            });
        }
    };
    let thread = thread::Builder::new().name("holdfast-signal".into()).spawn(run);
    Ok(Listening { handle, thread: Some(thread.map_err(ServiceError::Signals)?) })
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // Whoever drops this while obeying is that thread itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
