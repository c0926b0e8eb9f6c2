//! One connected socket, TCP or unix, as the loop uses it: never blocks, never raises SIGPIPE.
//! Called by `wire`, `connection` and `accept`.

use std::io;
#[cfg(feature = "tls")]
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
#[cfg(feature = "tls")]
use rustix::net::SendAncillaryBuffer;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

/// A socket that does not block.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// What a try to move bytes came to; failures of the connection are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many; 0 of a read is the peer's end.
    Bytes(usize),
    /// None now.
    Blocked,
}

fn moved(result: Result<usize, Errno>) -> io::Result<Option<Moved>> {
    match result {
        Ok(bytes) => Ok(Some(Moved::Bytes(bytes))),
        Err(Errno::AGAIN) => Ok(Some(Moved::Blocked)),
        Err(Errno::INTR) => Ok(None),
        // The kernel has no memory for this now: as if the peer took nothing, and the deadline for
        // those who take nothing holds.
        Err(Errno::NOBUFS | Errno::NOMEM) => Ok(Some(Moved::Blocked)),
        Err(error) => Err(error.into()),
    }
}

impl Socket {
    /// Takes a connected socket that was made non-blocking.
    pub fn new(socket: OwnedFd) -> Socket {
        Socket(socket)
    }

    /// The descriptor's number, for statistics.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Reads once, into the free capacity of `into`; there must be some.
    pub fn receive(&self, into: &mut Vec<u8>) -> io::Result<Moved> {
        debug_assert!(into.capacity() > into.len());
        loop {
            let result = rustix::net::recv(&self.0, spare_capacity(into), RecvFlags::empty());
            if let Some(moved) = moved(result.map(|(bytes, _)| bytes))? {
                return Ok(moved);
            }
        }
    }

    /// Reads once, into memory that somebody else keeps.
    #[cfg(feature = "tls")]
    pub fn receive_into(&self, into: &mut [u8]) -> io::Result<Moved> {
        loop {
            let result = rustix::net::recv(&self.0, &mut *into, RecvFlags::empty());
            if let Some(moved) = moved(result.map(|(bytes, _)| bytes))? {
                return Ok(moved);
            }
        }
    }

    /// Writes once.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Moved> {
        loop {
            if let Some(moved) = moved(rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL))? {
                return Ok(moved);
            }
        }
    }

    /// Writes several pieces with one call.
    #[cfg(feature = "tls")]
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<Moved> {
        loop {
            let mut nothing = SendAncillaryBuffer::default();
            let sent = rustix::net::sendmsg(&self.0, pieces, &mut nothing, SendFlags::NOSIGNAL);
            if let Some(moved) = moved(sent)? {
                return Ok(moved);
            }
        }
    }

    /// Tells the peer that nothing more comes.
    pub fn end_sending(&self) {
        // A peer that is gone already needs no end.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, Interest::READABLE)
    }

    /// Asks to be told also when there is room for output, or not any more. Asking tells at once
    /// what is so already.
    pub fn watch_room(&self, registry: &Registry, token: Token, room: bool) -> io::Result<()> {
        let interest = match room {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        registry.reregister(&mut SourceFd(&self.0.as_raw_fd()), token, interest)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
