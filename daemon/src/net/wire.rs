//! What lies between a socket and a conversation's bytes: nothing, or TLS. Called by `connection`.

use std::io;

use super::socket::{Moved, Socket};
#[cfg(feature = "tls")]
use super::tls::Secured;

/// A socket, plain or with TLS.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Secured(Box<Secured>),
}

/// What a read brought.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    /// There may be more to read.
    pub more: bool,
    /// The peer sends nothing any more.
    pub ended: bool,
}

impl Wire {
    pub fn socket(&self) -> &Socket {
        match self {
            Wire::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.socket(),
        }
    }

    /// Reads into the free capacity of `into`. On edges, a read that did not fill the room says that
    /// the socket is empty; `hung` says that the peer's end is behind the bytes, of which no edge
    /// will tell.
    pub fn fill(&mut self, into: &mut Vec<u8>, hung: bool) -> io::Result<Filled> {
        match self {
            Wire::Plain(socket) => {
                let room = into.capacity() - into.len();
                Ok(match socket.receive(into)? {
                    Moved::Bytes(0) => Filled { more: false, ended: true },
                    Moved::Bytes(bytes) => Filled { more: bytes == room || hung, ended: false },
                    Moved::Blocked => Filled::default(),
                })
            }
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.fill(into),
        }
    }

    /// Sends what it can; gives how many of the bytes are taken over.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(_) if bytes.is_empty() => Ok(0),
            Wire::Plain(socket) => match socket.send(bytes)? {
                Moved::Bytes(sent) => Ok(sent),
                Moved::Blocked => Ok(0),
            },
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.send(bytes),
        }
    }

    /// Are bytes waiting that were taken over and are not sent?
    pub fn is_full(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.is_full(),
        }
    }

    /// Has it been agreed how to talk?
    pub fn is_open(&self) -> bool {
        match self {
            Wire::Plain(_) => true,
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.is_open(),
        }
    }

    /// Says goodbye where the wire has a word for it.
    pub fn say_goodbye(&mut self) {
        match self {
            Wire::Plain(_) => {}
            #[cfg(feature = "tls")]
            Wire::Secured(secured) => secured.say_goodbye(),
        }
    }
}
