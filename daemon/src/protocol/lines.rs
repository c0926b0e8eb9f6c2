//! What the two dialects of lines share: where a line ends, its words, the block of data behind it,
//! and the lines that say why a request failed. It knows no verb, holds nothing between calls, and
//! allocates nothing; `text` and `meta` call it.
//!
//! One rule stands over all of it: *no byte of a block of data is ever run as a command*. Where the
//! length of a block is known it is thrown away whole when its line is refused; where it cannot be
//! known, the connection ends behind the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

use super::Parsed;
use super::number;
use crate::command::{Failure, Reply};
use crate::limits::{KEY_MAX, LINE_MAX};

/// The line is not of the form that its verb has.
pub const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
/// The block of data does not end where its length says.
pub const BAD_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
/// Nobody knows this verb.
pub const UNKNOWN: &[u8] = b"ERROR\r\n";
/// The value is longer than the store takes.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
/// What is stored is no number.
pub const NOT_A_NUMBER: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";

/// The longest block that a line may announce; what is announced as longer is no length at all
/// (memcached takes 2^31 - 3, and wraps around somewhere above in its older versions).
const BLOCK_MAX: u64 = (1 << 31) - 3;
/// The end of a block.
const CRLF: &[u8] = b"\r\n";

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it is there.
    Whole {
        /// Without its end.
        line: &'a [u8],
        /// With its end, bytes.
        used: usize,
    },
    /// Its end is not there yet.
    Incomplete,
    /// It has more bytes than any line may have.
    TooLong,
}

/// The line at the beginning of `input`; LF ends it, and a CR before that belongs to the end.
pub fn line(input: &[u8]) -> Line<'_> {
    let reach = input.len().min(LINE_MAX + 1);
    match memchr(b'\n', &input[..reach]) {
        Some(end) => {
            let line = &input[..end];
            Line::Whole { line: line.strip_suffix(b"\r").unwrap_or(line), used: end + 1 }
        }
        None if input.len() > LINE_MAX => Line::TooLong,
        None => Line::Incomplete,
    }
}

/// The words of a line, one by one: whatever stands between spaces.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// What is behind the words taken so far.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| *byte != b' ')?;
        let (_, rest) = self.0.split_at(start);
        let (word, rest) = rest.split_at(memchr(b' ', rest).unwrap_or(rest.len()));
        self.0 = rest;
        Some(word)
    }
}

/// Can this be a key on the wire? Spaces and line ends cannot be in a word.
pub fn is_key(word: &[u8]) -> bool {
    (1..=KEY_MAX).contains(&word.len())
}

/// The length of a block, as its line announces it.
pub fn length(word: &[u8]) -> Option<u64> {
    number::unsigned(word).filter(|length| *length <= BLOCK_MAX)
}

/// A block of data, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// All of it is there.
    Whole {
        /// The data.
        value: &'a [u8],
        /// Bytes of line and block, with the ends of both.
        used: usize,
    },
    /// Another look pays when at least so many bytes are there.
    Incomplete {
        /// Bytes.
        wanted: usize,
    },
    /// It does not end where it should.
    Bad {
        /// Bytes of line and block, and of what stands where the block should end.
        used: usize,
        /// The line in which the block should have ended goes on behind them.
        remains: bool,
    },
}

/// The block of `length` bytes behind the first `line` bytes of `input`.
pub fn block(input: &[u8], line: usize, length: u64) -> Block<'_> {
    let Some(used) = usize::try_from(length).ok().and_then(|length| line.checked_add(length + 2))
    else {
        return Block::Incomplete { wanted: usize::MAX };
    };
    let Some(behind) = input.get(line..used) else { return Block::Incomplete { wanted: used } };
    match behind.strip_suffix(CRLF) {
        Some(value) => Block::Whole { value, used },
        None => Block::Bad { used, remains: !behind.ends_with(b"\n") },
    }
}

/// A refusal behind which the next line stands.
pub fn refused<'a>(used: usize, answer: &'static [u8]) -> Parsed<'a> {
    Parsed::Refused { used, skip: 0, answer, retract: false, close: false }
}

/// A refusal of a line behind which a block of `length` bytes stands.
pub fn refused_with_block<'a>(used: usize, length: u64, answer: &'static [u8]) -> Parsed<'a> {
    Parsed::Refused { used, skip: length + 2, answer, retract: false, close: false }
}

/// A refusal that ends the connection: nobody knows where the next command begins.
pub fn refused_for_good<'a>(used: usize, answer: &'static [u8]) -> Parsed<'a> {
    Parsed::Refused { used, skip: 0, answer, retract: false, close: true }
}

/// The answer to a line that no verb is in. memcached has one line for those that are too short for
/// any verb (`used` counts the end), and another for the rest.
pub fn unknown<'a>(used: usize) -> Parsed<'a> {
    refused(used, if used < 4 { BAD_FORMAT } else { UNKNOWN })
}

/// The line for what could not be done.
fn failure(failure: Failure, out: &mut Vec<u8>) {
    let text: &[u8] = match failure {
        Failure::TooLarge => TOO_LARGE,
        Failure::Full => b"SERVER_ERROR out of memory storing object\r\n",
        Failure::Damaged => b"SERVER_ERROR the stored value is damaged\r\n",
        Failure::LockLost => b"SERVER_ERROR the session lock was lost, nothing was written\r\n",
        Failure::Busy => b"SERVER_ERROR busy, try again\r\n",
        Failure::NotWritable => b"SERVER_ERROR the store cannot be written at present\r\n",
        Failure::Internal => b"SERVER_ERROR internal error\r\n",
        Failure::Forbidden(why) | Failure::Conflict(why) => {
            out.extend_from_slice(b"CLIENT_ERROR ");
            out.extend_from_slice(why.as_bytes());
            CRLF
        }
    };
    out.extend_from_slice(text);
}

/// The line for answers that look the same in both dialects and whatever was asked.
pub fn encode_other(reply: &Reply, out: &mut Vec<u8>) {
    let text: &[u8] = match reply {
        Reply::Failed(why) => return failure(*why, out),
        Reply::NotANumber => NOT_A_NUMBER,
        Reply::Welcome => b"STORED\r\n",
        Reply::Unwelcome => b"CLIENT_ERROR authentication failure\r\n",
        Reply::WhoAreYou => b"CLIENT_ERROR unauthenticated\r\n",
        Reply::Bye => b"",
        // No verb has this answer; who waits for one gets one.
        _ => b"SERVER_ERROR unexpected answer\r\n",
    };
    out.extend_from_slice(text);
}

/// Appends bytes in base64.
pub fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    // Four for each three that were begun.
    out.resize(from + bytes.len().div_ceil(3) * 4, b'=');
    // The room is exact, so there is always enough of it.
    let written = STANDARD.encode_slice(bytes, &mut out[from..]).unwrap_or(0);
    out.truncate(from + written);
}

/// Appends a number.
pub fn put_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_lf_and_have_a_maximum() {
        assert_eq!(line(b""), Line::Incomplete);
        assert_eq!(line(b"a\r"), Line::Incomplete);
        assert_eq!(line(b"a\r\nb\n"), Line::Whole { line: b"a", used: 3 });
        assert_eq!(line(b"a\nb"), Line::Whole { line: b"a", used: 2 });
        assert_eq!(line(b"\n"), Line::Whole { line: b"", used: 1 });
        let mut long = vec![b'a'; LINE_MAX];
        assert_eq!(line(&long), Line::Incomplete);
        long.push(b'\n');
        assert!(matches!(line(&long), Line::Whole { .. }));
        long[LINE_MAX] = b'a';
        assert_eq!(line(&long), Line::TooLong);
        long.push(b'\n');
        assert_eq!(line(&long), Line::TooLong);
    }

    #[test]
    fn words_stand_between_spaces() {
        let mut words = Words(b"  a bc   d ");
        assert_eq!(words.next(), Some(&b"a"[..]));
        assert_eq!(words.rest(), b" bc   d ");
        assert_eq!(words.next(), Some(&b"bc"[..]));
        assert_eq!(words.next(), Some(&b"d"[..]));
        assert_eq!(words.next(), None);
    }

    #[test]
    fn blocks_end_where_they_should() {
        assert_eq!(block(b"l\nab\r\nx", 2, 2), Block::Whole { value: b"ab", used: 6 });
        assert_eq!(block(b"l\nab\r", 2, 2), Block::Incomplete { wanted: 6 });
        assert_eq!(block(b"l\nabcd", 2, 2), Block::Bad { used: 6, remains: true });
        assert_eq!(block(b"l\nab\n\n", 2, 2), Block::Bad { used: 6, remains: false });
        assert_eq!(length(b"2147483645"), Some(BLOCK_MAX));
        assert_eq!(length(b"2147483646"), None);
        assert_eq!(length(b"4294967297"), None);
        assert_eq!(length(b"-1"), None);
        assert_eq!(length(b"1.0"), None);
    }
}
