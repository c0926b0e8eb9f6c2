//! The meta dialect: two letters, a key and flags, as memcached 1.6.45 speaks it (protocol.txt, "Meta
//! Commands"). Bytes to commands and replies to bytes; it keeps nothing between calls and allocates
//! only for a key that travels in base64. The protocol's door (`super`) calls it for lines that
//! begin with a meta verb.
//!
//! The answer repeats flags in the order in which the request gave them. So the form of an answer
//! is the request's own flags, borrowed, and they are walked once more when it is written.

mod encode;
mod flags;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lines::{self, BAD_FORMAT, Block, Line, Words};
use super::{Form as AnyForm, Limits, Parsed};
use crate::command::{Command, Count, Delete, Get, Mode, Set};
use crate::limits::{KEY_MAX, META_WORDS_MAX};
pub use encode::encode;
use flags::Flags;

const TOO_MANY: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const BAD_COUNT_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";
/// What memcached says of every fault in the flags of `ma`.
const BAD_COUNT_FLAGS: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Set,
    Delete,
    Count,
    Describe,
    Noop,
}

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form<'a> {
    verb: Verb,
    /// As it stood in the line, perhaps in base64.
    key: &'a [u8],
    /// As they stood in the line.
    flags: &'a [u8],
    /// Bytes of the block of data.
    size: u64,
    /// `q`: the answer that is expected is not sent.
    quiet: bool,
    /// `v`: the value is wanted.
    value: bool,
    /// `b`: the key is in base64.
    base64: bool,
}

impl Form<'_> {
    /// What outlives the request's bytes. Answers of many pages are the text dialect's; here the
    /// echoes are lost.
    pub fn kept(&self) -> Form<'static> {
        Form { key: b"", flags: b"", ..*self }
    }
}

/// Does a meta verb stand at the beginning of `input`?
pub fn is_meta(input: &[u8]) -> bool {
    matches!(input, [b'm', b'g' | b's' | b'd' | b'a' | b'n' | b'e', b' ' | b'\r' | b'\n', ..])
}

/// Parses the request at the beginning of `input`, which [`is_meta`]. A key in base64 is put into
/// `decoded`. `remains` is set when a bad block of data leaves a part of its last line behind.
pub fn parse<'a>(
    input: &'a [u8],
    decoded: &'a mut Vec<u8>,
    limits: &Limits,
    remains: &mut bool,
) -> Parsed<'a> {
    let (line, used) = match lines::line(input) {
        Line::Incomplete => return Parsed::Incomplete { wanted: input.len() + 1 },
        Line::TooLong => return lines::refused_for_good(input.len(), b""),
        Line::Whole { line, used } => (line, used),
    };
    let mut words = Words(line);
    let verb = match words.next() {
        Some(b"mg") => Verb::Get,
        Some(b"ms") => Verb::Set,
        Some(b"md") => Verb::Delete,
        Some(b"ma") => Verb::Count,
        Some(b"me") => Verb::Describe,
        // Whatever else stands in its line was never looked at.
        Some(b"mn") => return noop(used),
        _ => return lines::unknown(used),
    };
    let key = words.next().unwrap_or_default();
    if verb == Verb::Set {
        let Some(length) = words.next().and_then(lines::length) else {
            return lines::refused_for_good(used, BAD_FORMAT);
        };
        let head = Head { verb, key, flags: words.rest(), size: length, used };
        return store(&head, input, decoded, limits, remains);
    }
    let head = Head { verb, key, flags: words.rest(), size: 0, used };
    match head.read(decoded) {
        Ok((key, flags)) => one_line(&head, key, &flags),
        Err(answer) => lines::refused(used, answer),
    }
}

/// A line as it is before its flags were looked at.
struct Head<'a> {
    verb: Verb,
    key: &'a [u8],
    flags: &'a [u8],
    size: u64,
    used: usize,
}

impl<'a> Head<'a> {
    /// Words before the flags.
    fn fixed_words(&self) -> usize {
        if self.verb == Verb::Set { 3 } else { 2 }
    }

    /// The key as bytes, and the flags; or the line that refuses them.
    fn read(&self, decoded: &'a mut Vec<u8>) -> Result<(&'a [u8], Flags), &'static [u8]> {
        if !lines::is_key(self.key) {
            return Err(BAD_FORMAT);
        }
        if self.fixed_words() + Words(self.flags).count() > META_WORDS_MAX {
            return Err(TOO_MANY);
        }
        let flags = Flags::read(self.flags).map_err(|answer| match self.verb {
            Verb::Count if answer != flags::OPAQUE_TOO_LONG => BAD_COUNT_FLAGS,
            _ => answer,
        })?;
        if !flags.has(b'b') {
            return Ok((self.key, flags));
        }
        decoded.clear();
        match STANDARD.decode_vec(self.key, decoded) {
            Ok(()) if (1..=KEY_MAX).contains(&decoded.len()) => Ok((decoded, flags)),
            _ if self.verb == Verb::Describe => Err(BAD_FORMAT),
            _ => Err(BAD_KEY),
        }
    }

    fn form(&self, flags: &Flags) -> Form<'a> {
        Form {
            verb: self.verb,
            key: self.key,
            flags: self.flags,
            size: self.size,
            quiet: flags.has(b'q'),
            value: flags.has(b'v'),
            base64: flags.has(b'b'),
        }
    }

    fn asks(&self, flags: &Flags, used: usize, command: Command<'a>) -> Parsed<'a> {
        Parsed::Request { used, command, form: AnyForm::Meta(self.form(flags)) }
    }
}

fn noop<'a>(used: usize) -> Parsed<'a> {
    let head = Head { verb: Verb::Noop, key: b"", flags: b"", size: 0, used };
    head.asks(&Flags::default(), used, Command::Noop)
}

fn one_line<'a>(head: &Head<'a>, key: &'a [u8], flags: &Flags) -> Parsed<'a> {
    let command = match head.verb {
        Verb::Delete => Command::Delete(Delete {
            key,
            compare: flags.compare,
            invalidate: flags.has(b'I'),
            expiry: flags.expiry,
            version: flags.version,
            only_value: flags.has(b'x'),
        }),
        Verb::Count => match count(key, flags) {
            Some(count) => Command::Count(count),
            None => return lines::refused(head.used, BAD_COUNT_MODE),
        },
        Verb::Describe => Command::Describe { key },
        Verb::Get | Verb::Set | Verb::Noop => Command::Get(Get {
            key,
            value: flags.has(b'v'),
            touch: flags.expiry,
            vivify: flags.vivify,
            recache_below_s: flags.recache_below_s,
            version: flags.version,
            unseen: flags.has(b'u'),
            untold: false,
        }),
    };
    head.asks(flags, head.used, command)
}

fn count<'a>(key: &'a [u8], flags: &Flags) -> Option<Count<'a>> {
    let down = match flags.mode {
        None | Some(b'I' | b'+') => false,
        Some(b'D' | b'-') => true,
        Some(_) => return None,
    };
    Some(Count {
        key,
        delta: flags.delta.unwrap_or(1),
        down,
        initial: flags.vivify.map(|expiry| (flags.initial.unwrap_or(0), expiry)),
        expiry: flags.expiry,
        // Here, and nowhere else, memcached takes version 0 for none.
        compare: flags.compare.filter(|version| *version != 0),
        version: flags.version,
    })
}

fn store<'a>(
    head: &Head<'a>,
    input: &'a [u8],
    decoded: &'a mut Vec<u8>,
    limits: &Limits,
    remains: &mut bool,
) -> Parsed<'a> {
    let refused = |answer| lines::refused_with_block(head.used, head.size, answer);
    let (key, flags) = match head.read(decoded) {
        Ok(read) => read,
        Err(answer) => return refused(answer),
    };
    let Some(mut set) = set(key, &flags) else { return refused(BAD_SET_MODE) };
    if head.size > limits.value_max {
        return refused(lines::TOO_LARGE);
    }
    match lines::block(input, head.used, head.size) {
        Block::Incomplete { wanted } => Parsed::Incomplete { wanted },
        Block::Bad { used, remains: left } => {
            *remains = left;
            lines::refused(used, lines::BAD_CHUNK)
        }
        Block::Whole { value, used } => {
            set.value = value;
            head.asks(&flags, used, Command::Set(set))
        }
    }
}

/// The request without its value.
fn set<'a>(key: &'a [u8], flags: &Flags) -> Option<Set<'a>> {
    let mode = match flags.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return None,
    };
    let grows = matches!(mode, Mode::Append | Mode::Prepend);
    // A version to compare with makes a plain set, and a replace, what `cas` is.
    let mode = match (mode, flags.compare) {
        (Mode::Replace, Some(_)) => Mode::Set,
        _ => mode,
    };
    let compare = flags.compare.filter(|_| mode != Mode::Add);
    Some(Set {
        key,
        value: b"",
        flags: flags.client.unwrap_or(0),
        expiry: flags.expiry.unwrap_or(crate::command::Expiry::Default),
        mode,
        compare,
        invalidate: flags.has(b'I') && mode == Mode::Set && compare.is_some(),
        version: flags.version,
        vivify: flags.vivify.filter(|_| grows),
    })
}
