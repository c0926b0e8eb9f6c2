//! The classic text dialect: `get`, `set` and their kin, as memcached 1.6.45 speaks it (protocol.txt,
//! "Commands"). It turns bytes into commands and replies into bytes, and remembers no more than
//! where in a line it stands; it never allocates to parse, and holds no bytes of a request.
//!
//! Most verbs are parsed a whole line at a time (`verbs`, `admin`). The lines of keys (`get`, `gets`,
//! `gat`, `gats`) may be of any length, so they are taken key by key as they arrive, each a request of
//! its own; the form of the last one says that `END` follows. The protocol's door (`super`) calls.

mod admin;
mod encode;
#[cfg(test)]
mod tests;
mod verbs;

use memchr::{memchr, memchr2};

use super::lines::{self, Line};
use super::{Form as AnyForm, Limits, Parsed, number};
use crate::command::{Command, Expiry, Get, Reply};
use crate::limits::{KEY_MAX, LINE_MAX};

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A key of a line of keys.
    Value {
        /// The version is shown.
        versions: bool,
        /// No key follows: `END` does.
        last: bool,
    },
    /// One line that the reply alone decides.
    Line {
        /// The client said `noreply`.
        quiet: bool,
    },
    /// `STAT` lines.
    Stats,
    /// The counts of `stats detail dump`.
    Prefixes,
    /// The answer to `stats reset`.
    Reset,
    /// The answer to `shutdown`.
    Shutdown,
    /// The lines of a listing.
    Dump(Dump),
}

/// How the entries of a listing look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// `lru_crawler metadump`: everything that is known.
    Facts {
        /// The size classes wanted, a bit for each; `None` = all.
        classes: Option<u64>,
    },
    /// `lru_crawler mgdump`: requests that would read them.
    Requests {
        /// As above.
        classes: Option<u64>,
    },
    /// `stats cachedump`.
    Items,
}

/// What the keys of the present line have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keys {
    versions: bool,
    touch: Option<Expiry>,
    /// None was taken yet.
    first: bool,
}

/// Where in a line the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At its beginning.
    Start,
    /// Among its keys.
    Keys(Keys),
    /// In what is left of a line of keys that came to grief.
    PassOver,
    /// In what is left of the line where a block of data should have ended.
    Remains,
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Text {
    place: Place,
}

impl Default for Text {
    fn default() -> Text {
        Text::new()
    }
}

impl Text {
    /// At the beginning of a line.
    pub fn new() -> Text {
        Text { place: Place::Start }
    }

    /// Is the parser in the middle of a line?
    pub fn in_keys(&self) -> bool {
        self.place != Place::Start
    }

    /// The line that the next byte stands in is what remains behind a bad block of data: it is
    /// answered as a line that nobody knows, and never run.
    pub fn expect_remains(&mut self) {
        self.place = Place::Remains;
    }

    /// Parses what is at the beginning of `input`, which is not empty.
    pub fn parse<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        match self.place {
            Place::Start => self.start(input, limits),
            Place::Keys(keys) => self.key(input, keys),
            Place::PassOver => self.pass_over(input),
            Place::Remains => self.remains(input),
        }
    }

    /// Appends the bytes of an answer.
    pub fn encode(&mut self, form: &Form, reply: &Reply, out: &mut Vec<u8>) {
        if !encode::encode(*form, reply, out) && self.place != Place::Start {
            self.place = Place::PassOver;
        }
    }

    fn start<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        match preamble(input) {
            Some(Preamble::Foreign) => return lines::refused_for_good(input.len(), b""),
            Some(Preamble::Undecided) => return incomplete(input),
            None => {}
        }
        if input.first() == Some(&b' ') {
            let spaces = input.iter().position(|byte| *byte != b' ');
            return Parsed::Skipped { used: spaces.unwrap_or(input.len()) };
        }
        if let Some((keys, used)) = key_verb(input) {
            return match keys.touch {
                None => self.keys(input, used, keys),
                Some(_) => self.keys_to_touch(input, used, keys),
            };
        }
        match lines::line(input) {
            Line::Incomplete => incomplete(input),
            Line::TooLong => lines::refused_for_good(input.len(), b""),
            Line::Whole { line, used } => {
                let mut remains = false;
                let parsed = verbs::parse(line, used, input, limits, &mut remains);
                if remains {
                    self.expect_remains();
                }
                parsed
            }
        }
    }

    /// A line of keys begins, its first key `used` bytes into `input`.
    fn keys<'a>(&mut self, input: &'a [u8], used: usize, keys: Keys) -> Parsed<'a> {
        let (_, rest) = input.split_at(used);
        let parsed = self.key(rest, keys);
        shifted(parsed, used)
    }

    /// `gat`: before the keys stands their new lifetime.
    fn keys_to_touch<'a>(&mut self, input: &'a [u8], used: usize, mut keys: Keys) -> Parsed<'a> {
        let (_, rest) = input.split_at(used);
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let (_, rest) = rest.split_at(spaces);
        let end = memchr2(b' ', b'\n', rest);
        if spaces > LINE_MAX {
            return lines::refused_for_good(input.len(), b"");
        }
        if end.unwrap_or(rest.len()) > KEY_MAX {
            return self.no_lifetime(used + spaces);
        }
        let Some(end) = end else { return incomplete(input) };
        let (word, behind) = rest.split_at(end);
        let used = used + spaces + end;
        if behind.first() == Some(&b'\n') {
            return lines::refused(used + 1, lines::BAD_FORMAT);
        }
        match number::signed(word) {
            Some(seconds) => {
                keys.touch = Some(Expiry::of_seconds(seconds));
                self.keys(input, used, keys)
            }
            None => self.no_lifetime(used),
        }
    }

    fn no_lifetime<'a>(&mut self, used: usize) -> Parsed<'a> {
        self.place = Place::PassOver;
        lines::refused(used, verbs::BAD_EXPTIME)
    }

    /// The next key of a line of keys, or its end.
    fn key<'a>(&mut self, input: &'a [u8], keys: Keys) -> Parsed<'a> {
        let spaces = input.iter().take_while(|byte| **byte == b' ').count();
        let (_, rest) = input.split_at(spaces);
        let parsed = match next_key(rest) {
            Key::Incomplete if spaces > LINE_MAX => {
                self.place = Place::Keys(keys);
                return Parsed::Skipped { used: spaces };
            }
            Key::Incomplete => return incomplete(input),
            Key::End { used } => {
                self.place = Place::Start;
                lines::refused(used, if keys.first { lines::BAD_FORMAT } else { encode::END })
            }
            Key::TooLong => {
                self.place = Place::PassOver;
                let used = rest.len().min(KEY_MAX);
                let answer = lines::BAD_FORMAT;
                Parsed::Refused { used, skip: 0, answer, retract: true, close: false }
            }
            Key::Whole { key, used, last } => {
                self.place = match last {
                    true => Place::Start,
                    false => Place::Keys(Keys { first: false, ..keys }),
                };
                let form = Form::Value { versions: keys.versions, last };
                let command = Command::Get(Get { touch: keys.touch, ..Get::new(key) });
                Parsed::Request { used, command, form: AnyForm::Text(form) }
            }
        };
        shifted(parsed, spaces)
    }

    fn pass_over<'a>(&mut self, input: &'a [u8]) -> Parsed<'a> {
        match memchr(b'\n', input) {
            None => Parsed::Skipped { used: input.len() },
            Some(end) => {
                self.place = Place::Start;
                Parsed::Skipped { used: end + 1 }
            }
        }
    }

    fn remains<'a>(&mut self, input: &'a [u8]) -> Parsed<'a> {
        match lines::line(input) {
            Line::Incomplete => incomplete(input),
            Line::TooLong => lines::refused_for_good(input.len(), b""),
            Line::Whole { used, .. } => {
                self.place = Place::Start;
                lines::refused(used, lines::UNKNOWN)
            }
        }
    }
}

/// One more byte may tell more.
fn incomplete<'a>(input: &[u8]) -> Parsed<'a> {
    Parsed::Incomplete { wanted: input.len() + 1 }
}

/// The same, seen from `by` bytes before.
fn shifted<'a>(parsed: Parsed<'a>, by: usize) -> Parsed<'a> {
    match parsed {
        Parsed::Incomplete { wanted } => Parsed::Incomplete { wanted: wanted + by },
        Parsed::Request { used, command, form } => {
            Parsed::Request { used: used + by, command, form }
        }
        Parsed::Refused { used, skip, answer, retract, close } => {
            Parsed::Refused { used: used + by, skip, answer, retract, close }
        }
        Parsed::Answered { used, skip, answer, close } => {
            Parsed::Answered { used: used + by, skip, answer, close }
        }
        Parsed::Skipped { used } => Parsed::Skipped { used: used + by },
    }
}

/// What a connection may begin a line with that is no client of ours.
enum Preamble {
    /// Another protocol, for sure.
    Foreign,
    /// The next byte will tell.
    Undecided,
}

/// Browsers and other programs that a page or a redirect can make talk to this port are sent away
/// before a line of theirs is run. No verb of ours begins with what is looked for here.
fn preamble(input: &[u8]) -> Option<Preamble> {
    const FOREIGN: [&[u8]; 12] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"OPTIONS ",
        b"CONNECT ",
        b"DELETE ",
        b"PATCH ",
        b"TRACE ",
        b"PRI * HTTP/2",
        b"Host:",
        b"SSH-",
    ];
    match input {
        [b'a'..=b'z' | b' ', ..] => None,
        // A TLS client's first record.
        [0x16, 0x03, ..] => Some(Preamble::Foreign),
        [0x16] => Some(Preamble::Undecided),
        _ => FOREIGN.iter().any(|word| input.starts_with(word)).then_some(Preamble::Foreign),
    }
}

/// The verb of a line of keys, and its bytes, one space included. For those that touch the lifetime
/// is still to be read.
fn key_verb(input: &[u8]) -> Option<(Keys, usize)> {
    let (versions, touches, used) = match input {
        [b'g', b'e', b't', b' ', ..] => (false, false, 4),
        [b'g', b'e', b't', b's', b' ', ..] => (true, false, 5),
        [b'g', b'a', b't', b' ', ..] => (false, true, 4),
        [b'g', b'a', b't', b's', b' ', ..] => (true, true, 5),
        _ => return None,
    };
    Some((Keys { versions, touch: touches.then_some(Expiry::Default), first: true }, used))
}

/// What stands next in a line of keys.
enum Key<'a> {
    Incomplete,
    /// Nothing.
    End {
        used: usize,
    },
    TooLong,
    Whole {
        key: &'a [u8],
        used: usize,
        last: bool,
    },
}

/// The key at the beginning of `input`. Behind a key and its spaces one byte more is waited for,
/// since it says whether this was the last.
fn next_key(input: &[u8]) -> Key<'_> {
    match end_of_line(input) {
        End::Yes { used } => return Key::End { used },
        End::Perhaps => return Key::Incomplete,
        End::No => {}
    }
    // A key, a CR and the LF.
    let reach = input.len().min(KEY_MAX + 2);
    let Some(at) = memchr2(b' ', b'\n', &input[..reach]) else {
        let could_end = matches!(input.get(KEY_MAX..), None | Some([] | [b'\r']));
        return if could_end { Key::Incomplete } else { Key::TooLong };
    };
    let (word, behind) = input.split_at(at);
    let ends = behind.first() == Some(&b'\n');
    let key = if ends { word.strip_suffix(b"\r").unwrap_or(word) } else { word };
    if !lines::is_key(key) {
        return Key::TooLong;
    }
    let spaces = behind.iter().take_while(|byte| **byte == b' ').count();
    let (_, behind) = behind.split_at(spaces);
    let used = at + spaces;
    match end_of_line(behind) {
        End::Yes { used: end } => Key::Whole { key, used: used + end, last: true },
        // Waiting is for a byte, not for as many spaces as somebody likes to send.
        End::Perhaps if spaces <= LINE_MAX => Key::Incomplete,
        End::Perhaps => Key::Whole { key, used, last: false },
        End::No => Key::Whole { key, used, last: false },
    }
}

/// Does a line end here?
enum End {
    Yes { used: usize },
    Perhaps,
    No,
}

fn end_of_line(input: &[u8]) -> End {
    match input {
        [b'\n', ..] => End::Yes { used: 1 },
        [b'\r', b'\n', ..] => End::Yes { used: 2 },
        [] | [b'\r'] => End::Perhaps,
        _ => End::No,
    }
}
