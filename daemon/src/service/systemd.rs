//! The service manager: what it is told, and the sockets it hands over. Without one, all of this does
//! nothing.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::ServiceError;
use crate::limits::ENDPOINTS_MAX;

/// However short the watchdog's time is.
const PERIOD_LEAST: Duration = Duration::from_millis(10);

/// A socket that was opened for us.
#[derive(Debug)]
pub enum Inherited {
    /// TCP, with its name in the unit (FileDescriptorName=).
    Tcp(String, TcpListener),
    /// A unix socket, with its name.
    Unix(String, UnixListener),
}

/// The sockets that were opened for this process, in their order. Call it once, before any thread runs.
pub fn inherited() -> Result<Vec<Inherited>, ServiceError> {
    // Asked for by itself: names of sockets that are another process's are a mistake to the next call.
    if sd_notify::listen_fds().map_err(ServiceError::Sockets)?.len() == 0 {
        return Ok(vec![]);
    }
    let named = sd_notify::listen_fds_with_names().map_err(ServiceError::Sockets)?;
    let names: Vec<String> = named.map(|(_, name)| name).collect();
    if names.len() > ENDPOINTS_MAX {
        let text = format!("there are more than {ENDPOINTS_MAX}");
        return Err(ServiceError::Sockets(io::Error::other(text)));
    }
    let mut sockets = ListenFd::from_env();
    let take = |(i, name): (usize, String)| {
        // Each kind refuses the other's sockets, and everything that does not listen.
        if let Ok(Some(socket)) = sockets.take_tcp_listener(i) {
            return Ok(Inherited::Tcp(name, socket));
        }
        match sockets.take_unix_listener(i) {
            Ok(Some(socket)) => Ok(Inherited::Unix(name, socket)),
            Ok(None) => Err(io::Error::other(format!("{name} is not there"))),
            Err(error) => Err(io::Error::other(format!("{name}: {error}"))),
        }
    };
    names
        .into_iter()
        .enumerate()
        .map(take)
        .collect::<io::Result<_>>()
        .map_err(ServiceError::Sockets)
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// The server serves (after a start, and after a reload).
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The server reads its configuration again; [`ready`] says when it is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// The server ends.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Pings the service manager's watchdog, until it is dropped.
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts pinging, if somebody watches: twice in its time, and only while `healthy` says so.
pub fn watchdog(healthy: impl Fn() -> bool + Send + 'static) -> Option<Watchdog> {
    let period = (sd_notify::watchdog_enabled()? / 2).max(PERIOD_LEAST);
    let (stop, stopped) = bounded::<()>(0);
    let run = move || {
        while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            if healthy() {
                tell(&[NotifyState::Watchdog]);
            }
        }
    };
    let thread = thread::Builder::new().name("holdfast-watch".into()).spawn(run).ok()?;
    Some(Watchdog { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The end of the channel ends the thread's wait.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
