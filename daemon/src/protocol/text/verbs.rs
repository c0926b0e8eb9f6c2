//! The text verbs whose request is one line, or a line and a block of data. Called by the dialect's
//! parser with a line that is there as a whole; the verbs for people who run a memcached are in
//! `admin`. Which words of a line count, and in which order its faults are found, is memcached's.

use super::{Form, admin};
use crate::command::{Command, Count, Delete, Expiry, Mode, Set};
use crate::protocol::lines::{self, BAD_FORMAT, Block, Words};
use crate::protocol::{Form as AnyForm, Limits, Parsed, number};

/// A lifetime that is no number.
pub const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
const DELETE_USAGE: &[u8] =
    b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";

/// The first words of a line, how many there are, and the last.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    words: [&'a [u8]; Request::KEPT],
    /// Words of the line, its verb included.
    pub count: usize,
    last: &'a [u8],
    /// Everything behind the verb.
    pub arguments: &'a [u8],
    /// Bytes of the line with its end.
    pub used: usize,
}

impl<'a> Request<'a> {
    /// No verb has more words that mean something.
    const KEPT: usize = 8;

    fn new(line: &'a [u8], used: usize) -> Request<'a> {
        let mut request =
            Request { words: [b""; Request::KEPT], count: 0, last: b"", arguments: b"", used };
        let mut words = Words(line);
        while let Some(word) = words.next() {
            if request.count == 0 {
                request.arguments = words.rest();
            }
            if let Some(place) = request.words.get_mut(request.count) {
                *place = word;
            }
            request.last = word;
            request.count += 1;
        }
        request
    }

    /// The word of this number, the verb being 0; empty if there is none, which no word is.
    pub fn word(&self, at: usize) -> &'a [u8] {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// Is the last word `noreply`?
    pub fn quiet(&self) -> bool {
        self.count > 1 && self.last == b"noreply"
    }

    /// A refusal that `noreply` silences.
    pub fn refused(&self, answer: &'static [u8]) -> Parsed<'a> {
        lines::refused(self.used, self.or_nothing(answer))
    }

    /// A request that is answered with one line.
    pub fn asks(&self, command: Command<'a>) -> Parsed<'a> {
        self.asks_as(command, Form::Line { quiet: self.quiet() })
    }

    /// A request with an answer of its own.
    pub fn asks_as(&self, command: Command<'a>, form: Form) -> Parsed<'a> {
        Parsed::Request { used: self.used, command, form: AnyForm::Text(form) }
    }

    fn or_nothing(&self, answer: &'static [u8]) -> &'static [u8] {
        if self.quiet() { b"" } else { answer }
    }
}

/// Parses a line. `remains` is set when a bad block of data leaves a part of its last line behind.
pub fn parse<'a>(
    line: &'a [u8],
    used: usize,
    input: &'a [u8],
    limits: &Limits,
    remains: &mut bool,
) -> Parsed<'a> {
    let request = Request::new(line, used);
    let mode = match request.word(0) {
        b"set" | b"cas" => Mode::Set,
        b"add" => Mode::Add,
        b"replace" => Mode::Replace,
        b"append" => Mode::Append,
        b"prepend" => Mode::Prepend,
        _ => return one_line(&request, limits),
    };
    store(&request, mode, input, limits, remains)
}

/// `set <key> <flags> <exptime> <bytes> [noreply]`, and `cas` with a version before `noreply`.
fn store<'a>(
    request: &Request<'a>,
    mode: Mode,
    input: &'a [u8],
    limits: &Limits,
    remains: &mut bool,
) -> Parsed<'a> {
    let Some(length) = lines::length(request.word(4)) else {
        return lines::refused_for_good(request.used, BAD_FORMAT);
    };
    let refused =
        |answer| lines::refused_with_block(request.used, length, request.or_nothing(answer));
    let Some(mut set) = set(request, mode) else { return refused(BAD_FORMAT) };
    if length > limits.value_max {
        return refused(lines::TOO_LARGE);
    }
    match lines::block(input, request.used, length) {
        Block::Incomplete { wanted } => Parsed::Incomplete { wanted },
        Block::Bad { used, remains: left } => {
            *remains = left;
            lines::refused(used, request.or_nothing(lines::BAD_CHUNK))
        }
        Block::Whole { value, used } => {
            set.value = value;
            let form = Form::Line { quiet: request.quiet() };
            Parsed::Request { used, command: Command::Set(set), form: AnyForm::Text(form) }
        }
    }
}

/// The request without its value.
fn set<'a>(request: &Request<'a>, mode: Mode) -> Option<Set<'a>> {
    let key = request.word(1);
    if !lines::is_key(key) {
        return None;
    }
    let flags = number::unsigned32(request.word(2))?;
    let expiry = Expiry::of_seconds(number::signed(request.word(3))?);
    let mut set = Set::new(key, b"", flags, expiry, mode);
    if request.word(0) == b"cas" {
        set.compare = Some(number::unsigned(request.word(5))?);
    }
    Some(set)
}

fn one_line<'a>(request: &Request<'a>, limits: &Limits) -> Parsed<'a> {
    match request.word(0) {
        b"get" | b"gets" | b"gat" | b"gats" => request.refused(BAD_FORMAT),
        b"delete" => delete(request),
        b"touch" => touch(request),
        b"incr" => count(request, false),
        b"decr" => count(request, true),
        b"" => lines::unknown(request.used),
        // What follows these two was never looked at.
        b"version" => request.asks_as(Command::Version, Form::Line { quiet: false }),
        b"quit" => request.asks_as(Command::Quit, Form::Line { quiet: false }),
        b"flush_all" => flush(request),
        _ => admin::parse(request, limits).unwrap_or_else(|| nobodys(request)),
    }
}

/// A line without a verb of ours; a line of HTTP ends the connection, as in memcached.
fn nobodys<'a>(request: &Request<'a>) -> Parsed<'a> {
    match request.count > 1 && request.last.starts_with(b"HTTP/") {
        true => lines::refused_for_good(request.used, b""),
        false => lines::unknown(request.used),
    }
}

/// `delete <key> [0] [noreply]`: the 0 is an old delay that some PHP clients still send.
fn delete<'a>(request: &Request<'a>) -> Parsed<'a> {
    let key = request.word(1);
    match (request.count, request.word(2)) {
        (0 | 1, _) => return lines::refused(request.used, BAD_FORMAT),
        (2, _) | (3, b"0" | b"noreply") => {}
        (4, b"0") if request.quiet() => {}
        (3 | 4, _) => return request.refused(DELETE_USAGE),
        _ => return request.refused(lines::UNKNOWN),
    }
    match lines::is_key(key) {
        true => request.asks(Command::Delete(Delete::new(key))),
        false => request.refused(BAD_FORMAT),
    }
}

/// `touch <key> <exptime> [noreply]`.
fn touch<'a>(request: &Request<'a>) -> Parsed<'a> {
    let key = request.word(1);
    if request.count < 3 || !lines::is_key(key) {
        return request.refused(BAD_FORMAT);
    }
    match number::signed(request.word(2)) {
        Some(seconds) => request.asks(Command::Touch { key, expiry: Expiry::of_seconds(seconds) }),
        None => request.refused(BAD_EXPTIME),
    }
}

/// `incr <key> <delta> [noreply]`, and `decr`.
fn count<'a>(request: &Request<'a>, down: bool) -> Parsed<'a> {
    let key = request.word(1);
    if request.count < 3 || !lines::is_key(key) {
        return request.refused(BAD_FORMAT);
    }
    match number::unsigned(request.word(2)) {
        Some(delta) => request.asks(Command::Count(Count::new(key, delta, down))),
        None => request.refused(BAD_DELTA),
    }
}

/// `flush_all [delay] [noreply]`; a delay of 0 or less is none.
fn flush<'a>(request: &Request<'a>) -> Parsed<'a> {
    let bare = if request.quiet() { 2 } else { 1 };
    if request.count == bare {
        return request.asks(Command::Flush { at: None });
    }
    match number::signed(request.word(1)) {
        Some(seconds @ 1..) => {
            request.asks(Command::Flush { at: Some(Expiry::of_seconds(seconds)) })
        }
        Some(_) => request.asks(Command::Flush { at: None }),
        None => request.refused(BAD_EXPTIME),
    }
}
