//! One connection: its socket, the batch of requests under way on it, and what is half sent or half
//! received. Buffers exist only while something is half done. Called by the worker that owns it.

use super::batch::{Batch, Rules};
use super::fault::Fault;
use super::limits::KEPT_BYTES;
use super::socket::Socket;
use super::tally::Tally;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};

/// A connection that sends one batch, and the next when all of it is answered.
pub(super) struct Connection {
    socket: Socket,
    token: Token,
    pub(super) batch: Batch,
    /// The beginning of an answer whose rest has not come.
    partial: Vec<u8>,
    /// The rest of a batch that the socket did not take at once.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// When something was last sent or received, in nanoseconds of the phase.
    moved_at: u64,
}

impl Connection {
    pub(super) fn new(
        mut socket: Socket,
        number: usize,
        token: Token,
        to: &Registry,
    ) -> io::Result<Self> {
        to.register(&mut socket, token, Interest::READABLE)?;
        let batch = Batch::new(number);
        let (partial, unsent) = (Vec::new(), Vec::new());
        Ok(Self { socket, token, batch, partial, unsent, unsent_at: 0, moved_at: 0 })
    }

    /// Whether everything is sent and answered.
    pub(super) fn is_free(&self) -> bool {
        self.batch.waiting() == 0 && self.unsent.is_empty()
    }

    /// For how long nothing has moved while something is awaited.
    pub(super) fn stalled_for(&self, now: u64) -> Option<u64> {
        (!self.is_free()).then(|| now.saturating_sub(self.moved_at))
    }

    /// Sends the batch; what the socket does not take now goes when it can.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        now: u64,
        registry: &Registry,
    ) -> Result<(), Fault> {
        self.batch.sent(now);
        self.moved_at = now;
        let taken = self.write(bytes)?;
        if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            self.unsent.extend_from_slice(rest);
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.socket, self.token, both)?;
        }
        Ok(())
    }

    /// The socket takes more again.
    pub(super) fn send_rest(&mut self, now: u64, registry: &Registry) -> Result<(), Fault> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.unsent_at += self.write(unsent.get(self.unsent_at..).unwrap_or_default())?;
        self.moved_at = now;
        if self.unsent_at < unsent.len() {
            self.unsent = unsent;
            return Ok(());
        }
        self.unsent_at = 0;
        registry.reregister(&mut self.socket, self.token, Interest::READABLE)?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(some) => taken += some,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => break,
                    // What the server said before it closed is still to be read, and says more.
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Ok(bytes.len()),
                    _ => return Err(self.failed(error)),
                },
            }
        }
        Ok(taken)
    }

    /// Reads what is there and takes the answers. `to_the_end`: the server has closed its side.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        to_the_end: bool,
        (rules, tally): (&Rules, &mut Tally),
        clock: impl Fn() -> u64,
    ) -> Result<(), Fault> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(came) => {
                    self.moved_at = clock();
                    tally.bytes_received += came as u64;
                    self.take(buffer.get(..came).unwrap_or_default(), rules, tally)?;
                    // A short read has emptied the socket: what comes later is a new event.
                    if came < buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::ConnectionReset => return Err(self.closed()),
                    _ => return Err(self.failed(error)),
                },
            }
        }
    }

    fn take(&mut self, bytes: &[u8], rules: &Rules, tally: &mut Tally) -> Result<(), Fault> {
        if self.partial.is_empty() {
            let used = self.batch.take_all(bytes, rules, tally, self.moved_at)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        self.partial.extend_from_slice(bytes);
        let used = self.batch.take_all(&self.partial, rules, tally, self.moved_at)?;
        self.partial.drain(..used);
        if self.partial.is_empty() && self.partial.capacity() > KEPT_BYTES {
            self.partial = Vec::new();
        }
        Ok(())
    }

    fn closed(&self) -> Fault {
        Fault::Closed {
            connection: self.batch.connection(),
            answered: self.batch.answered(),
            waiting: self.batch.waiting(),
        }
    }

    fn failed(&self, error: io::Error) -> Fault {
        Fault::Io { connection: self.batch.connection(), error }
    }
}
