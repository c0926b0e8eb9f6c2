//! What is said to a server and what it says back, in four dialects.
//!
//! A dialect turns numbers of keys into request bytes and the first bytes of a buffer into one
//! [`Answer`], or says that they are not whole yet, or that they are none of its answers. It knows
//! no sockets and no requests that are under way. Called by the connections and by the handshake.

mod binary;
mod meta;
mod resp;
mod text;

use super::limits::MAX_LINE_BYTES;
use super::options::Login;
use super::values::Values;

pub(super) use binary::tag;

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Protocol {
    /// memcached's text commands
    Text,
    /// memcached's meta commands
    Meta,
    /// memcached's binary protocol
    Binary,
    /// RESP2, as Redis speaks it
    Resp,
}

/// One whole answer, or one part of the answer to a request with several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Value {
        key: Option<&'a [u8]>,
        data: &'a [u8],
    },
    Miss {
        key: Option<&'a [u8]>,
    },
    Stored,
    /// No more values for this request.
    End,
    /// This many values or misses follow.
    Array(usize),
    /// The server lives, and says what it is when it says so.
    Alive(&'a [u8]),
    /// The server does not do it. `passing`: it is out of something, and may do it the next time.
    Refused {
        text: &'a [u8],
        passing: bool,
    },
}

/// An item, where it belongs, and how many bytes it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) item: Item<'a>,
    /// The tag that the request carried, in the dialect that has one.
    pub(super) tag: Option<u32>,
    pub(super) used: usize,
}

/// An answer, none yet, or the reason why these bytes are not one.
pub(super) type Parsed<'a> = Result<Option<Answer<'a>>, &'static str>;

/// How the answers to a read follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value or a miss for each key.
    Each,
    /// First the number of keys, then a value or a miss for each.
    Counted,
    /// Only the values that there are, then the end. A refusal ends it as well, or not.
    Ended { by_refusal: bool },
}

impl Protocol {
    /// What `--protocol` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Meta => "meta",
            Self::Binary => "binary",
            Self::Resp => "resp",
        }
    }

    /// Appends a read of these keys.
    pub(super) fn put_get(self, out: &mut Vec<u8>, values: &Values, keys: &[u64]) {
        match self {
            Self::Text => text::put_get(out, values, keys),
            Self::Meta => meta::put_get(out, values, keys),
            Self::Binary => binary::put_get(out, values, keys),
            Self::Resp => resp::put_get(out, values, keys),
        }
    }

    /// Appends a set of the key to its value of this generation, for `ttl` seconds.
    pub(super) fn put_set(
        self,
        out: &mut Vec<u8>,
        values: &Values,
        (key, generation): (u64, u64),
        ttl: u32,
    ) {
        match self {
            Self::Text => text::put_set(out, values, (key, generation), ttl),
            Self::Meta => meta::put_set(out, values, (key, generation), ttl),
            Self::Binary => binary::put_set(out, values, (key, generation), ttl),
            Self::Resp => resp::put_set(out, values, (key, generation), ttl),
        }
    }

    /// How a read of so many keys is answered.
    pub(super) fn shape(self, keys: usize) -> Shape {
        match (self, keys) {
            (Self::Text, _) => Shape::Ended { by_refusal: true },
            (Self::Meta | Self::Binary, 1) => Shape::Each,
            (Self::Meta | Self::Binary, _) => Shape::Ended { by_refusal: false },
            (Self::Resp, 1) => Shape::Each,
            (Self::Resp, _) => Shape::Counted,
        }
    }

    /// The answer at the front of `bytes`; a value of more than `most` bytes is none.
    pub(super) fn parse(self, bytes: &[u8], most: usize) -> Parsed<'_> {
        match self {
            Self::Text => text::parse(bytes, most),
            Self::Meta => meta::parse(bytes, most),
            Self::Binary => binary::parse(bytes, most),
            Self::Resp => resp::parse(bytes, most),
        }
    }

    /// Asks whether the server is alive and speaks this.
    pub(super) fn put_alive(self, out: &mut Vec<u8>) {
        match self {
            Self::Text => out.extend_from_slice(b"version\r\n"),
            Self::Meta => out.extend_from_slice(b"mn\r\n"),
            Self::Binary => binary::put_version(out),
            Self::Resp => out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
        }
    }

    /// Says who we are; the answer is that it is stored.
    pub(super) fn put_login(self, out: &mut Vec<u8>, login: &Login) {
        match self {
            Self::Text | Self::Meta => text::put_login(out, login),
            Self::Binary => binary::put_login(out, login),
            Self::Resp => resp::put_login(out, login),
        }
    }
}

/// The line at the front without its end, and the bytes that it took.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, &'static str> {
    let searched = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes);
    let Some(at) = memchr::memchr(b'\n', searched) else {
        let overlong = bytes.len() >= MAX_LINE_BYTES;
        return if overlong { Err("a line without an end") } else { Ok(None) };
    };
    match searched.get(..at).and_then(|line| line.strip_suffix(b"\r")) {
        Some(line) => Ok(Some((line, at + 1))),
        None => Err("a line that does not end in CR LF"),
    }
}

/// `length` bytes from `at` on, and the CR LF behind them.
fn block(bytes: &[u8], at: usize, length: usize) -> Result<Option<(&[u8], usize)>, &'static str> {
    let end = at + length;
    let Some(data) = bytes.get(at..end) else { return Ok(None) };
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((data, end + 2))),
        Some(_) => Err("a value that is longer than its length says"),
        None if bytes.get(end).is_some_and(|&byte| byte != b'\r') => {
            Err("a value that is longer than its length says")
        }
        None => Ok(None),
    }
}

/// A length in decimal, at most `most`.
fn length(digits: &[u8], most: usize) -> Result<usize, &'static str> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
    match number {
        Some(number) if number <= most => Ok(number),
        Some(_) => Err("a value that is longer than what was set"),
        None => Err("no length where one belongs"),
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of the test's own"
)]
mod tests {
    use super::*;

    /// What a server sends, fed byte by byte: no prefix of an answer is an answer or an error.
    #[track_caller]
    pub(super) fn cut_everywhere(protocol: Protocol, whole: &[u8], expected: Item<'_>) {
        for cut in 0..whole.len() {
            let came = protocol.parse(&whole[..cut], 1024);
            assert_eq!(came, Ok(None), "{cut} bytes of {:?}", whole.escape_ascii().to_string());
        }
        let followed = [whole, b"next"].concat();
        let answer = protocol.parse(&followed, 1024).unwrap().unwrap();
        assert_eq!((answer.item, answer.used), (expected, whole.len()));
    }

    #[track_caller]
    pub(super) fn not_an_answer(protocol: Protocol, bytes: &[u8]) {
        let came = protocol.parse(bytes, 1024);
        assert!(came.is_err(), "{:?} was taken: {came:?}", bytes.escape_ascii().to_string());
    }

    #[test]
    fn endless_lines_are_not_collected() {
        let endless = vec![b'x'; MAX_LINE_BYTES];
        for protocol in [Protocol::Text, Protocol::Meta, Protocol::Resp] {
            not_an_answer(protocol, &endless);
            not_an_answer(protocol, b"END\n");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut dice = super::super::pick::Dice::new(3);
        for round in 0..20_000u32 {
            let length = round as usize % 40;
            let alphabet = b"VALUE k01EN$*+-:\r\n\x81\x00\xff 9";
            let bytes: Vec<u8> = (0..length)
                .map(|_| alphabet[(dice.fraction() * alphabet.len() as f64) as usize])
                .collect();
            for protocol in [Protocol::Text, Protocol::Meta, Protocol::Binary, Protocol::Resp] {
                if let Ok(Some(answer)) = protocol.parse(&bytes, 1024) {
                    assert!(answer.used > 0 && answer.used <= bytes.len());
                }
            }
        }
    }
}
