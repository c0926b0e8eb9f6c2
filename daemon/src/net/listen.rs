//! Listeners: sockets that are bound and listen before the loops start, so that what is wrong with
//! them is an error of the start. Made by `server`, owned by the first loop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{SocketAddrAny, SocketAddrUnix};
use socket2::{Domain, SockRef, Socket, Type};
use thiserror::Error;

use super::unix::{self, Place};

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process has the address.
    #[error("another process listens on {0} already")]
    Taken(String),
    /// The path of a unix socket belongs to a file.
    #[error("{0} is there and is not a socket; it is left alone")]
    NotASocket(PathBuf),
    /// The path of a unix socket does not fit into an address.
    #[error("the path of the socket {0} is longer than the system allows")]
    TooLong(PathBuf),
    /// An inherited descriptor is not what it should be.
    #[error("the inherited descriptor {0} is not a listening stream socket")]
    NotListening(i32),
    /// The system says no.
    #[error("cannot listen on {address}: {what}: {error}")]
    System {
        /// Where.
        address: String,
        /// The step that failed.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// The file of a unix socket, if it is ours to remove; goes before the socket does.
    place: Option<Place>,
    socket: OwnedFd,
    address: String,
    bound: Option<SocketAddr>,
    name: String,
    tls: bool,
}

impl Listener {
    /// Listens on a TCP address; port 0 is any that is free, see [`Listener::bound`]. An IPv6 address
    /// takes IPv6 only: who wants both asks for both.
    pub fn tcp(address: SocketAddr, backlog: u32) -> Result<Listener, ListenError> {
        let failed = |what| move |error: io::Error| refused(address.to_string(), what, error);
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, None).map_err(failed("socket"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
        }
        // A restart need not wait for the connections of the one before to be forgotten.
        socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
        socket.bind(&address.into()).map_err(failed("bind"))?;
        socket.listen(backlog_of(backlog)).map_err(failed("listen"))?;
        let listener = Listener::of(socket.into());
        listener.map_err(failed("options"))
    }

    /// Listens on a unix socket with exactly this mode, whatever the umask, and at no moment with a
    /// wider one. A socket file on which nobody listens is replaced; anything else that is there is
    /// an error. The file goes when the listener does, if it is still this listener's.
    pub fn unix(path: &Path, mode: u32, backlog: u32) -> Result<Listener, ListenError> {
        let (socket, place) = unix::listen(path, mode, backlog_of(backlog))?;
        let mut listener = Listener::of(socket)
            .map_err(|error| refused(path.display().to_string(), "options", error))?;
        listener.address = path.display().to_string();
        listener.place = Some(place);
        Ok(listener)
    }

    /// Takes over a socket that somebody else has bound and listens on, such as systemd.
    pub fn inherited(socket: OwnedFd) -> Result<Listener, ListenError> {
        let number = socket.as_raw_fd();
        let is_stream = rustix::net::sockopt::socket_type(&socket)
            .is_ok_and(|kind| kind == rustix::net::SocketType::STREAM);
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        if !is_stream || !listens {
            return Err(ListenError::NotListening(number));
        }
        Listener::of(socket)
            .map_err(|error| refused(format!("descriptor {number}"), "options", error))
    }

    fn of(socket: OwnedFd) -> io::Result<Listener> {
        let options = SockRef::from(&socket);
        options.set_nonblocking(true)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        let here = rustix::net::getsockname(&socket)?;
        let bound = SocketAddr::try_from(here.clone()).ok();
        if bound.is_some() {
            // Connections have what their listener has (tcp(7)): no calls for each of them.
            options.set_tcp_nodelay(true)?;
            options.set_keepalive(true)?;
        }
        let address = match bound {
            Some(bound) => bound.to_string(),
            None => path_of(here),
        };
        Ok(Listener { socket, address, bound, name: String::new(), tls: false, place: None })
    }

    /// The same with a name for people.
    pub fn named(self, name: impl Into<String>) -> Listener {
        Listener { name: name.into(), ..self }
    }

    /// The same with TLS.
    pub fn secured(self) -> Listener {
        Listener { tls: true, ..self }
    }

    /// Where it listens, for people: address and port, or path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens, if that is TCP.
    pub fn bound(&self) -> Option<SocketAddr> {
        self.bound
    }

    /// Its name; may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does it talk TLS?
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }
}

pub(super) fn refused(address: String, what: &'static str, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        _ => ListenError::System { address, what, error },
    }
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

fn path_of(address: SocketAddrAny) -> String {
    let unix = SocketAddrUnix::try_from(address).ok();
    let path = unix.as_ref().and_then(|unix| unix.path_bytes());
    path.map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    use super::*;

    fn any_port(ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), 0)
    }

    #[test]
    fn port_0_is_reported_as_the_port_it_became() {
        let listener = Listener::tcp(any_port(Ipv4Addr::LOCALHOST), 16).unwrap();
        let bound = listener.bound().unwrap();
        assert_ne!(bound.port(), 0);
        assert_eq!(listener.address(), bound.to_string());
    }

    #[test]
    fn an_address_that_somebody_has_is_a_clear_error() {
        let first = Listener::tcp(any_port(Ipv4Addr::LOCALHOST), 16).unwrap();
        let address = first.bound().unwrap();
        let error = Listener::tcp(address, 16).unwrap_err();
        assert_eq!(error.to_string(), format!("another process listens on {address} already"));
    }

    #[test]
    fn an_ipv6_address_leaves_the_same_ipv4_port_free() {
        let Ok(six) = Listener::tcp(any_port(Ipv6Addr::UNSPECIFIED), 16) else {
            eprintln!("skipped: no IPv6 here");
            return;
        };
        let port = six.bound().unwrap().port();
        Listener::tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), 16).unwrap();
    }

    #[test]
    fn connections_have_the_listeners_options() {
        let listener = Listener::tcp(any_port(Ipv4Addr::LOCALHOST), 16).unwrap();
        let _client = std::net::TcpStream::connect(listener.bound().unwrap()).unwrap();
        let accepted = rustix::net::accept(listener.socket()).unwrap();
        let options = SockRef::from(&accepted);
        assert!(options.tcp_nodelay().unwrap());
        assert!(options.keepalive().unwrap());
    }

    #[test]
    fn only_a_listening_stream_socket_can_be_inherited() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Listener::inherited(udp.into()), Err(ListenError::NotListening(_))));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Listener::inherited(file.into()), Err(ListenError::NotListening(_))));
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener::inherited(tcp.into()).unwrap();
        assert_eq!(listener.bound(), Some(address));
    }
}
