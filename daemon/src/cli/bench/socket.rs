//! Connecting: sockets of both kinds, and the first words on them.
//!
//! Connections are made one after the other and wait for the server, which thereby never has more
//! of them to accept than it can. Name and password are sent on each; whether the server is alive
//! and speaks the protocol is asked on the first. After that they never block. Called by the
//! session.

use super::address::Place;
use super::fault::{hint, shown};
use super::limits::GREETING_BYTES;
use super::options::Load;
use super::wire::{Item, Protocol};
use anyhow::{Context, anyhow, bail};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// A connection that does not block.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A place, resolved.
pub(super) enum Target {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Target {
    pub(super) fn resolve(place: &Place) -> anyhow::Result<Self> {
        match place {
            Place::Unix(path) => Ok(Self::Unix(path.clone())),
            Place::Tcp(name) => {
                let found =
                    name.to_socket_addrs().with_context(|| format!("{name} is not known"))?;
                let addresses: Vec<SocketAddr> = found.collect();
                if addresses.is_empty() {
                    bail!("{name} has no address");
                }
                Ok(Self::Tcp(addresses))
            }
        }
    }

    /// Connects, and logs in where there is a login; the `first` connection asks whether the server
    /// is alive, and returns what it says it is.
    pub(super) fn connect(&self, load: &Load, first: bool) -> anyhow::Result<(Socket, String)> {
        match self {
            Self::Tcp(addresses) => {
                let mut stream = connect_to_any(addresses, load.timeout)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(load.timeout))?;
                let version = greet(&mut stream, load, first)?;
                stream.set_nonblocking(true)?;
                Ok((Socket::Tcp(TcpStream::from_std(stream)), version))
            }
            Self::Unix(path) => {
                let mut stream = std::os::unix::net::UnixStream::connect(path)
                    .map_err(|error| explained(error, load.timeout))?;
                stream.set_read_timeout(Some(load.timeout))?;
                let version = greet(&mut stream, load, first)?;
                stream.set_nonblocking(true)?;
                Ok((Socket::Unix(UnixStream::from_std(stream)), version))
            }
        }
    }
}

fn connect_to_any(addresses: &[SocketAddr], wait: Duration) -> anyhow::Result<std::net::TcpStream> {
    let mut last = anyhow!("no address");
    for address in addresses {
        match std::net::TcpStream::connect_timeout(address, wait) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = explained(error, wait),
        }
    }
    Err(last)
}

fn explained(error: io::Error, wait: Duration) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => anyhow!("nobody listens there"),
        io::ErrorKind::NotFound => anyhow!("there is no such socket"),
        io::ErrorKind::TimedOut => anyhow!("no connection within {wait:?}"),
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("this machine has no more ports for connections to there")
        }
        _ => anyhow!(error),
    }
}

fn greet<S: Read + Write>(stream: &mut S, load: &Load, first: bool) -> anyhow::Result<String> {
    let mut request = Vec::new();
    if let Some(login) = &load.login {
        load.protocol.put_login(&mut request, login);
        exchange(stream, load, &request, "name and password", |item| {
            (item == Item::Stored).then(String::new)
        })?;
        request.clear();
    }
    if !first {
        return Ok(String::new());
    }
    load.protocol.put_alive(&mut request);
    let version = |item: Item<'_>| match item {
        Item::Alive(version) => Some(String::from_utf8_lossy(version).into_owned()),
        _ => None,
    };
    if load.protocol != Protocol::Meta {
        return exchange(stream, load, &request, "the first request", version);
    }
    // Meta has no word for the version; the text command is there wherever meta is.
    exchange(stream, load, &request, "the first request", |item| {
        (item == Item::End).then(String::new)
    })?;
    request.clear();
    Protocol::Text.put_alive(&mut request);
    exchange(stream, load, &request, "the question for its version", version)
}

/// Sends a request and reads one answer, which is short.
fn exchange<S: Read + Write>(
    stream: &mut S,
    load: &Load,
    request: &[u8],
    what: &str,
    wanted: impl Fn(Item<'_>) -> Option<String>,
) -> anyhow::Result<String> {
    let protocol = load.protocol.name();
    let mut answer = [0; GREETING_BYTES];
    let mut have = 0;
    match stream.write_all(request) {
        // What the server said before it closed is still to be read, and says more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent.with_context(|| format!("sending {what}"))?,
    }
    while have < answer.len() {
        let free = answer.get_mut(have..).unwrap_or_default();
        let came = stream.read(free).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => {
                anyhow!("the server closed the connection at {what}: does it speak {protocol}?")
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                anyhow!("no answer to {what} within {:?}: does it speak {protocol}?", load.timeout)
            }
            _ => anyhow!(
                "the server ended the connection at {what} ({error}): does it speak {protocol}?"
            ),
        })?;
        if came == 0 {
            bail!("the server closed the connection at {what}: does it speak {protocol}?");
        }
        have += came;
        if let Some(text) = understood(answer.get(..have).unwrap_or_default(), load, what, &wanted)?
        {
            return Ok(text);
        }
    }
    bail!("the server does not speak {protocol}: it answered {what} with more than {have} bytes")
}

/// The wanted answer, none yet, or why it will not be that.
fn understood(
    bytes: &[u8],
    load: &Load,
    what: &str,
    wanted: impl Fn(Item<'_>) -> Option<String>,
) -> anyhow::Result<Option<String>> {
    let protocol = load.protocol.name();
    let item = match load.protocol.parse(bytes, GREETING_BYTES) {
        Ok(None) => return Ok(None),
        Ok(Some(answer)) => answer.item,
        Err(reason) => bail!(
            "the server does not speak {protocol}: it answered {what} with {} ({reason})",
            shown(bytes)
        ),
    };
    match (wanted(item), item) {
        (Some(text), _) => Ok(Some(text)),
        (None, Item::Refused { text, .. }) => {
            bail!("the server refuses {what}: {}{}", shown(text), hint(text))
        }
        (None, _) => bail!("the answer to {what} is another's: {}", shown(bytes)),
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Socket {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(to, token, interest),
            Self::Unix(stream) => stream.register(to, token, interest),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(to, token, interest),
            Self::Unix(stream) => stream.reregister(to, token, interest),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(from),
            Self::Unix(stream) => stream.deregister(from),
        }
    }
}
