//! The admin port: /metrics, /health, /ready and, when asked for, CPU profiles, for people, Prometheus
//! and those who start and stop servers. It reads and never changes anything; no page shows a key, a
//! value or a name of a user.
//!
//! Blocking threads, eight at most, each with one connection: the port is for a handful of clients,
//! and must answer while the event loops do not. Whoever is slow is cut off after five seconds, and an
//! idle connection goes when another one waits.

mod connection;
mod pages;
mod request;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use socket2::SockRef;

use crate::limits::HTTP_AT_ONCE;
use crate::metrics::Numbers;

/// Why the server is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A word for machines: `draining`, `store`, `sync`, `full`.
    pub code: &'static str,
    /// A sentence for people.
    pub text: String,
}

/// Who knows the numbers.
pub trait Source: Send + Sync + 'static {
    /// Everything that is counted, now.
    fn numbers(&self) -> Numbers;

    /// What keeps the server from answering as it should; nothing when it is ready.
    fn ready(&self) -> Vec<Reason>;
}

/// How the port behaves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Names that it may be asked by, lower case, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Are there CPU profiles?
    pub profiling: bool,
}

/// What all connections share.
struct Shared {
    source: Box<dyn Source>,
    settings: Settings,
    ending: AtomicBool,
    /// A connection waits for a token.
    waiting: AtomicBool,
    /// A token for each connection that there may be.
    free: (Sender<()>, Receiver<()>),
}

/// The running port. It ends when this is dropped.
pub struct Server {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves an open socket.
    pub fn start(
        listener: TcpListener,
        settings: Settings,
        source: impl Source,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        // One that was inherited may be anything.
        listener.set_nonblocking(false)?;
        let listener = Arc::new(listener);
        let free = bounded(HTTP_AT_ONCE);
        for _ in 0..HTTP_AT_ONCE {
            // As many as the channel holds.
            let _ = free.0.try_send(());
        }
        let shared = Arc::new(Shared {
            source: Box::new(source),
            settings,
            ending: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            free,
        });
        let (theirs, sockets) = (Arc::clone(&shared), Arc::clone(&listener));
        let thread = thread::Builder::new()
            .name("holdfast-http".into())
            .spawn(move || accept(&sockets, &theirs))?;
        Ok(Server { shared, listener, address, thread: Some(thread) })
    }

    /// Opens a socket at this address and serves it.
    pub fn open(
        address: SocketAddr,
        settings: Settings,
        source: impl Source,
    ) -> io::Result<Server> {
        Server::start(TcpListener::bind(address)?, settings, source)
    }

    /// The same, as the start does it: a taken address that nobody asked for is only a warning, because
    /// it is the default of every server on this machine.
    pub fn open_if_free(
        address: SocketAddr,
        asked: bool,
        settings: Settings,
        source: impl Source,
    ) -> io::Result<Option<Server>> {
        match Server::open(address, settings, source) {
            Ok(server) => Ok(Some(server)),
            Err(error) if asked => Err(error),
            Err(error) => {
                tracing::warn!(%address, %error, "there is no admin port; --http-listen names another");
                Ok(None)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // Wakes the thread that accepts; connections end by themselves, within their deadlines.
        let _ = SockRef::from(&*self.listener).shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives a connection's token back, however its thread ends.
struct Token(Arc<Shared>);

impl Drop for Token {
    fn drop(&mut self) {
        let _ = self.0.free.0.try_send(());
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ending.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                let Some(token) = token(shared) else { return };
                spawn(stream, token);
            }
            Err(_) if shared.ending.load(Ordering::Acquire) => {}
            Err(error) => {
                tracing::debug!(%error, "the admin port could not take a connection");
                // Mostly a lack of descriptors, which passes.
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Waits for a token; `None` when the server ends.
fn token(shared: &Arc<Shared>) -> Option<Token> {
    shared.waiting.store(true, Ordering::Release);
    while !shared.ending.load(Ordering::Acquire) {
        if shared.free.1.recv_timeout(Duration::from_millis(100)).is_ok() {
            shared.waiting.store(false, Ordering::Release);
            return Some(Token(Arc::clone(shared)));
        }
    }
    None
}

fn spawn(stream: TcpStream, token: Token) {
    let run = move || {
        if let Err(error) = connection::serve(stream, &token.0) {
            tracing::trace!(%error, "a connection of the admin port ended early");
        }
    };
    if let Err(error) = thread::Builder::new().name("holdfast-http-c".into()).spawn(run) {
        tracing::debug!(%error, "the admin port could not start a thread");
    }
}
