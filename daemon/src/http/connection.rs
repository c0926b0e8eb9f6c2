//! One connection of the admin port: heads in, pages out, one after the other, all within deadlines.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::pages::{self, Answer};
use super::request::{self, Head, Request};
use crate::limits::{HTTP_DEADLINE_S, HTTP_HEAD_MAX, HTTP_REQUESTS_MAX};

const DEADLINE: Duration = Duration::from_secs(HTTP_DEADLINE_S);
/// How often a waiting connection looks whether somebody else wants its place.
const LOOK: Duration = Duration::from_millis(100);
/// So much is read, and for so long, after a refusal: a socket closed over unread bytes would take the
/// answer with it.
const LINGER_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_millis(500);

/// Serves a connection until its end.
pub(super) fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let loopback = stream.local_addr()?.ip().to_canonical().is_loopback();
    let mut arrived = Vec::new();
    for _ in 0..HTTP_REQUESTS_MAX {
        let (answer, head_only, goes_on) = match next(&mut stream, &mut arrived, shared)? {
            Next::Ended => return Ok(()),
            Next::Refused(status) => (pages::refusal(status), false, false),
            Next::Request(request) => {
                let hosts = &shared.settings.hosts;
                let answer = match request::is_known(request.host.as_deref(), loopback, hosts) {
                    true => pages::answer(&request, shared),
                    false => pages::refusal(421),
                };
                (answer, request.head_only, request.keep_alive)
            }
        };
        let goes_on = goes_on && !shared.ending.load(Ordering::Acquire);
        send(&mut stream, &answer, head_only, goes_on)?;
        if !goes_on {
            break;
        }
    }
    linger(&mut stream)
}

enum Next {
    Request(Request),
    Refused(u16),
    Ended,
}

/// The next request. Its bytes, and those of the ones behind it, are kept in `arrived`.
fn next(stream: &mut TcpStream, arrived: &mut Vec<u8>, shared: &Shared) -> io::Result<Next> {
    let until = Instant::now() + DEADLINE;
    loop {
        if !arrived.is_empty() {
            match request::parse(arrived) {
                Head::Whole(request, used) => {
                    arrived.drain(..used);
                    return Ok(Next::Request(request));
                }
                Head::Refused(status) => return Ok(Next::Refused(status)),
                Head::Incomplete => {}
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Nobody who said nothing is told that it took too long.
            return Ok(if arrived.is_empty() { Next::Ended } else { Next::Refused(408) });
        }
        if arrived.is_empty() && is_unwanted(shared) {
            return Ok(Next::Ended);
        }
        match read(stream, arrived, left.min(LOOK)) {
            Ok(0) => return Ok(Next::Ended),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Is another connection waiting for a place, or the server ending?
fn is_unwanted(shared: &Shared) -> bool {
    shared.ending.load(Ordering::Acquire) || shared.waiting.load(Ordering::Acquire)
}

fn read(stream: &mut TcpStream, arrived: &mut Vec<u8>, wait: Duration) -> io::Result<usize> {
    stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
    let mut chunk = [0; 2048];
    // Never more than a head and a chunk are kept.
    debug_assert!(arrived.len() <= HTTP_HEAD_MAX + chunk.len());
    let count = stream.read(&mut chunk)?;
    arrived.extend_from_slice(chunk.get(..count).unwrap_or_default());
    Ok(count)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn send(stream: &mut TcpStream, answer: &Answer, head_only: bool, goes_on: bool) -> io::Result<()> {
    let mut bytes = pages::head(answer, goes_on).into_bytes();
    if !head_only {
        bytes.extend_from_slice(&answer.body);
    }
    let until = Instant::now() + DEADLINE;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let until = Instant::now() + LINGER;
    let (mut chunk, mut bytes) = ([0; 4096], 0);
    while bytes < LINGER_BYTES && Instant::now() < until {
        stream.set_read_timeout(Some(LOOK))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes += count,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
