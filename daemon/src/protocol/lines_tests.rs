//! What holds for both dialects of lines: however a stream of bytes is cut, it comes to the same
//! requests and answers; nothing in it panics, stands still, or runs a byte of a value. The driver
//! here plays the conversation's part; the dialects' own tests use it for their tables.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use super::{Codec, Form, Limits, Parsed};
use crate::command::{Command, Entry, Failure, Found, Listing, Reply};

pub const VALUE_MAX: u64 = 4096;
pub const LIMITS: Limits = Limits { value_max: VALUE_MAX, test_commands: true, passwords: false };

/// A connection's codec, and what came of the bytes that it was fed.
pub struct Driver {
    codec: Codec,
    input: Vec<u8>,
    wanted: usize,
    skip: u64,
    /// Requests, and answers that were known already, in a form for people.
    pub events: Vec<String>,
    /// Did the codec want the connection's end?
    pub closed: bool,
    /// What every request is answered with.
    pub reply: Reply<'static>,
    /// All answers.
    pub output: Vec<u8>,
}

impl Driver {
    pub fn new() -> Driver {
        Driver {
            codec: Codec::Unknown,
            input: Vec::new(),
            wanted: 1,
            skip: 0,
            events: Vec::new(),
            closed: false,
            reply: Reply::Missing,
            output: Vec::new(),
        }
    }

    /// What comes of all of `input` at once.
    pub fn run(input: &[u8]) -> Driver {
        let mut driver = Driver::new();
        driver.feed(input);
        driver
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        // Every turn takes a byte or ends the loop.
        for _ in 0..=self.input.len() {
            let here = usize::try_from(self.skip).unwrap().min(self.input.len());
            self.input.drain(..here);
            self.skip -= here as u64;
            if here > 0 {
                self.wanted = 1;
            }
            if self.closed || self.input.is_empty() || self.input.len() < self.wanted {
                return;
            }
            self.step();
        }
        panic!("the parser stands still");
    }

    fn step(&mut self) {
        let mut decoded = Vec::new();
        self.wanted = 1;
        let used = match self.codec.parse(&self.input, &mut decoded, &LIMITS) {
            Parsed::Incomplete { wanted } => {
                assert!(wanted > self.input.len(), "it has all that it wants");
                self.wanted = wanted;
                return;
            }
            Parsed::Skipped { used } => used,
            Parsed::Answered { .. } => panic!("only packets are answered so"),
            Parsed::Refused { used, skip, answer, retract, close } => {
                self.skip = skip;
                self.closed = close;
                let answer = String::from_utf8_lossy(answer);
                if !answer.is_empty() {
                    self.events.push(format!(
                        "{}{}",
                        if retract { "!" } else { "" },
                        answer.trim()
                    ));
                }
                assert!(answer.is_empty() || answer.ends_with("\r\n"));
                used
            }
            Parsed::Request { used, command, form } => {
                let bits = match form {
                    Form::Text(form) => format!("{form:?}"),
                    _ => String::new(),
                };
                self.events.push(format!("{} {bits}", show(&command)).trim().to_string());
                self.codec.encode(&form, &self.reply, &mut self.output);
                used
            }
        };
        assert!(used > 0 && used <= self.input.len(), "it took {used} of {}", self.input.len());
        self.input.drain(..used);
    }
}

/// A request in one line; what is as usual is left out.
fn show(command: &Command) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut shown = match command {
        Command::Get(get) => format!("get {}", text(get.key)),
        Command::Set(set) => format!("{:?} {}={}", set.mode, text(set.key), text(set.value)),
        Command::Delete(delete) => format!("delete {}", text(delete.key)),
        Command::Count(count) => format!("count {} by {}", text(count.key), count.delta),
        Command::Touch { key, expiry } => format!("touch {} {expiry:?}", text(key)),
        Command::Describe { key } => format!("describe {}", text(key)),
        Command::Stats(group) => format!("stats {:?}", text(group)),
        other => format!("{other:?}"),
    };
    let mut also = |name: &str, is_so: bool, value: String| {
        if is_so {
            shown.push_str(&format!(" {name}{value}"));
        }
    };
    match command {
        Command::Get(get) => {
            also("value", get.value, String::new());
            also("unseen", get.unseen, String::new());
            also("touch=", get.touch.is_some(), format!("{:?}", get.touch));
            also("vivify=", get.vivify.is_some(), format!("{:?}", get.vivify));
            also("below=", get.recache_below_s.is_some(), format!("{:?}", get.recache_below_s));
            also("version=", get.version.is_some(), format!("{:?}", get.version));
        }
        Command::Set(set) => {
            also("flags=", set.flags != 0, set.flags.to_string());
            also("", true, format!("{:?}", set.expiry));
            also("compare=", set.compare.is_some(), format!("{:?}", set.compare));
            also("invalidate", set.invalidate, String::new());
            also("version=", set.version.is_some(), format!("{:?}", set.version));
            also("vivify=", set.vivify.is_some(), format!("{:?}", set.vivify));
        }
        Command::Delete(delete) => {
            also("compare=", delete.compare.is_some(), format!("{:?}", delete.compare));
            also("invalidate", delete.invalidate, String::new());
            also("expiry=", delete.expiry.is_some(), format!("{:?}", delete.expiry));
            also("version=", delete.version.is_some(), format!("{:?}", delete.version));
            also("only_value", delete.only_value, String::new());
        }
        Command::Count(count) => {
            also("down", count.down, String::new());
            also("initial=", count.initial.is_some(), format!("{:?}", count.initial));
            also("expiry=", count.expiry.is_some(), format!("{:?}", count.expiry));
            also("compare=", count.compare.is_some(), format!("{:?}", count.compare));
            also("version=", count.version.is_some(), format!("{:?}", count.version));
        }
        _ => {}
    }
    shown
}

/// Checks that `input` comes to these events, whole, and cut in two everywhere, and byte by byte.
/// `<end>` as the last says that the connection ends.
pub fn check(input: &[u8], expected: &[&str]) {
    let whole = outcome(&[input]);
    assert_eq!(whole, expected, "{:?}", String::from_utf8_lossy(input));
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(outcome(&bytes), expected, "byte by byte: {:?}", String::from_utf8_lossy(input));
    for at in 0..input.len() {
        let (head, tail) = input.split_at(at);
        let cut = outcome(&[head, tail]);
        assert_eq!(cut, expected, "cut at {at}: {:?}", String::from_utf8_lossy(input));
    }
}

fn outcome(parts: &[&[u8]]) -> Vec<String> {
    let mut driver = Driver::new();
    for part in parts {
        driver.feed(part);
    }
    if driver.closed {
        driver.events.push("<end>".to_string());
    }
    driver.events
}

/// A value that was read.
pub const FOUND: Found = Found {
    key: b"k",
    value: b"ab",
    size: 2,
    flags: 5,
    version: 77,
    ttl_s: Some(9),
    read_before: true,
    idle_s: 3,
    won: false,
    stale: false,
    taken: false,
};
/// An entry whose key cannot stand in a line.
pub const ENTRY: Entry = Entry {
    key: b"a b\n",
    expires_s: Some(99),
    idle_s: 1,
    seen_s: 50,
    version: 7,
    read_before: true,
    class: 3,
    size: 66,
};

/// One of each reply.
pub fn every_reply() -> Vec<Reply<'static>> {
    let mut replies = vec![
        Reply::Found(FOUND),
        Reply::Missing,
        Reply::Stored { version: 0, size: 0 },
        Reply::NotStored,
        Reply::Exists,
        Reply::Deleted,
        Reply::Touched,
        Reply::Counted { number: 0, version: 0, ttl_s: None },
        Reply::NotANumber,
        Reply::Ok,
        Reply::Noop,
        Reply::Version("1"),
        Reply::Stats(&[]),
        Reply::Described(ENTRY),
        Reply::Listing(Listing::default()),
        Reply::Listed(ENTRY),
        Reply::ListEnd,
        Reply::Welcome,
        Reply::Unwelcome,
        Reply::WhoAreYou,
        Reply::Bye,
    ];
    replies.extend(
        [
            Failure::TooLarge,
            Failure::Full,
            Failure::Damaged,
            Failure::LockLost,
            Failure::Busy,
            Failure::NotWritable,
            Failure::Forbidden("no"),
            Failure::Conflict("no"),
            Failure::Internal,
        ]
        .map(Reply::Failed),
    );
    replies
}

#[test]
fn no_byte_of_a_value_is_run() {
    let value = "flush_all\r\nmd k\r\n";
    for verb in ["set", "add", "replace", "append", "prepend", "cas"] {
        for head in [
            "k 0 0 17",
            "k 0 0 17 1",
            "k 0 0 17 noreply",
            "k x 0 17",
            "k 0 x 17",
            "k -1 0 17",
            "k 4294967296 0 17",
            "k 0 9223372036854775808 17",
            "k 0 0",
            "k 0 0 x",
            "k 0 0 -1",
            "k 0 0 0x11",
            "k 0 0 4294967313",
            "k 0 0 99999999999999999999",
            "k",
            "",
            "k 0 0 17x",
            "k 0 0 1e1",
            "k 0 0 4097",
            "k 0 0 2147483646",
        ] {
            let long_key = format!("{} 0 0 17", "k".repeat(251));
            for head in [head, long_key.as_str()] {
                nothing_runs(&format!("{verb} {head}\r\n{value}"));
            }
        }
    }
    for head in [
        "k 17 v v",
        "k 17 Z",
        "k 17 Mx",
        "k 17 T",
        "k 17 b",
        "k",
        "",
        "k x",
        "k -1",
        "k 4294967313",
        "k 4097",
        "k 2147483646",
        "k S17",
    ] {
        nothing_runs(&format!("ms {head}\r\n{value}"));
    }
}

fn nothing_runs(stream: &str) {
    let driver = Driver::run(stream.as_bytes());
    for event in &driver.events {
        assert!(!event.starts_with("Flush") && !event.starts_with("delete"), "{stream:?}: {event}");
    }
}

#[test]
fn strangers_are_sent_away_before_they_are_heard() {
    for preamble in [
        "GET / HTTP/1.1\r\n",
        "POST /x",
        "PUT ",
        "HEAD ",
        "OPTIONS * HTTP/1.1",
        "CONNECT h:1",
        "DELETE /k",
        "PATCH ",
        "TRACE ",
        "Host: localhost",
        "SSH-2.0-x",
        "PRI * HTTP/2.0\r\n",
        "\x16\x03\x01",
    ] {
        check(preamble.as_bytes(), &["<end>"]);
        check(format!("{preamble}\r\nflush_all\r\n").as_bytes(), &["<end>"]);
        let late = format!("\r\n  {preamble}\r\nflush_all\r\n");
        check(late.as_bytes(), &["CLIENT_ERROR bad command line format", "<end>"]);
    }
    check(b"foo / HTTP/1.0\r\nflush_all\r\n", &["<end>"]);
    check(b"\x16\x04abc\r\n", &["ERROR"]);
    check(b"GETX a\r\n", &["ERROR"]);
    check(b"*1\r\n", &["ERROR"]);
}

/// Pieces that real requests are made of, and some that they should not be made of.
const PIECES: [&[u8]; 44] = [
    b"get ",
    b"gets ",
    b"gat ",
    b"set ",
    b"cas ",
    b"append ",
    b"mg ",
    b"ms ",
    b"md ",
    b"ma ",
    b"me ",
    b"mn",
    b"incr ",
    b"delete ",
    b"touch ",
    b"flush_all ",
    b"stats ",
    b"lru_crawler metadump ",
    b"k ",
    b"key2 ",
    b"0 ",
    b"1 ",
    b"2 ",
    b"5 ",
    b"4097 ",
    b"-1 ",
    b"noreply",
    b"all",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"   ",
    b"q ",
    b"v k O1 ",
    b"b ",
    b"T30 ",
    b"MA ",
    b"x\r\n",
    b"ab\r\n",
    b"hello\r\n",
    b"\0",
];

#[test]
fn random_bytes_come_to_the_same_however_they_are_cut() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for round in 0..6000 {
        let mut stream = Vec::new();
        for _ in 0..random(30) {
            match random(12) {
                0 => stream.extend((0..random(20)).map(|_| random(256).to_le_bytes()[0])),
                1 => stream.resize(stream.len() + random(300), b'a'),
                2 if round % 50 == 0 => stream.resize(stream.len() + random(3000), b' '),
                _ => stream.extend_from_slice(PIECES[random(PIECES.len())]),
            }
        }
        // The binary dialect has its own tests.
        if stream.first() == Some(&super::binary::REQUEST) {
            continue;
        }
        let whole = outcome(&[&stream]);
        let mut parts = Vec::new();
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((1 + random(40)).min(rest.len()));
            parts.push(head);
            rest = tail;
        }
        assert_eq!(outcome(&parts), whole, "{:?}", String::from_utf8_lossy(&stream));
    }
}
