//! A client of the daemon that asks anything, at random, and notes what it asked and was told.
//!
//! It speaks memcached's text protocol and the meta dialect by turns on one connection, the binary one on
//! another (each new connection is of one kind or the other), and now and then sends several requests before
//! it reads the first answer. When the connection breaks,
//! what was not answered stays so, and it connects anew. What the daemon answers is taken word by
//! word: an answer that the verb does not have ends the test from here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Rng;
use crate::clients::{Habits, some_verb};
use crate::history::{Answer, Asked, Content, Page, Verb};
use crate::wire_binary::{self, Packet};

/// Nothing takes longer, a restart of the server included.
const STUCK: Duration = Duration::from_secs(30);

pub struct WireClient<'a> {
    socket: &'a Path,
    connection: Option<BufReader<UnixStream>>,
    binary: bool,
    page: &'a Page,
    keys: &'a [String],
    rng: Rng,
    habits: Habits,
    number: u64,
    values: u64,
    versions: Vec<u64>,
    /// Connections that ended.
    pub breaks: u64,
    /// Answers in the binary dialect.
    pub packets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Text,
    Meta,
    /// With the number of the packet.
    Binary(u32),
}

/// A request: what is noted of it, what is sent, and how it is answered.
struct Request {
    key: usize,
    verb: Verb,
    bytes: Vec<u8>,
    dialect: Dialect,
}

/// A line of an answer, in words.
struct Words(Vec<String>);

impl Words {
    fn at(&self, place: usize) -> &str {
        self.0.get(place).map_or("", String::as_str)
    }

    fn number(&self, place: usize) -> u64 {
        self.at(place).parse().unwrap_or_else(|_| panic!("answered {:?}", self.0))
    }

    /// The number behind a flag of the meta dialect.
    fn flag(&self, letter: char) -> u64 {
        let value = self.0.iter().skip(1).find_map(|word| word.strip_prefix(letter));
        value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("answered {:?}", self.0))
    }
}

impl<'a> WireClient<'a> {
    pub fn new(
        socket: &'a Path,
        page: &'a Page,
        keys: &'a [String],
        habits: Habits,
        (number, seed): (usize, u64),
    ) -> WireClient<'a> {
        WireClient {
            socket,
            connection: None,
            binary: false,
            page,
            keys,
            rng: Rng::new(seed ^ (number as u64) << 32),
            habits,
            number: number as u64 + 1,
            values: 0,
            versions: vec![0; keys.len()],
            breaks: 0,
            packets: 0,
        }
    }

    /// Asks once, or several things at once. False when there is no server and `over` says that
    /// none is to be waited for.
    pub fn act(&mut self, over: &dyn Fn() -> bool) -> bool {
        if self.connection.is_none() && !self.connect(over) {
            return false;
        }
        let done = match self.rng.below(64) {
            0 => {
                // The next one is of another kind, perhaps.
                self.connection = None;
                return true;
            }
            1..5 if self.binary => self.get_all_binary(),
            1..5 => self.get_all(),
            5..9 => self.ask_several(),
            9 if self.habits.flushes => self.flush(),
            _ => {
                let request = self.some_request();
                self.exchange(vec![request])
            }
        };
        if done.is_err() {
            self.connection = None;
            self.breaks += 1;
        }
        true
    }

    fn connect(&mut self, over: &dyn Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !over() {
            if let Ok(connection) = UnixStream::connect(self.socket) {
                self.binary = self.rng.one_in(3);
                connection.set_read_timeout(Some(STUCK)).expect("a timeout");
                self.connection = Some(BufReader::new(connection));
                return true;
            }
            assert!(begun.elapsed() < STUCK, "no server for {STUCK:?}");
            std::thread::sleep(Duration::from_micros(300));
        }
        false
    }

    fn some_request(&mut self) -> Request {
        let key = self.rng.below(self.keys.len() as u64) as usize;
        self.values += 1;
        let token = self.number << 32 | self.values;
        let version = self.versions[key];
        let (mut verb, value) = some_verb(&mut self.rng, token, version, self.habits.longest);
        // A number that is made by counting has no flags over the wire.
        if let Verb::Increment { flags, .. } = &mut verb {
            *flags = 0;
        }
        if self.binary {
            return self.binary_request(key, verb, &value);
        }
        let only_meta = matches!(
            verb,
            Verb::Exists | Verb::DeleteVersion(_) | Verb::Increment { initial: Some(_), .. }
        );
        let meta = only_meta || (self.rng.one_in(2) && verb != Verb::Touch);
        let (name, len) = (&self.keys[key], value.len());
        let mut bytes = match meta {
            true => meta_line(name, verb, len),
            false => text_line(name, verb, len, *self.rng.pick(&[0, 3600])),
        }
        .into_bytes();
        let stores = |verb| {
            matches!(verb, Verb::Set(_) | Verb::Add(_) | Verb::Replace(_) | Verb::Cas(..))
                || matches!(verb, Verb::Append(..))
        };
        if stores(verb) {
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\n");
        }
        let dialect = if meta { Dialect::Meta } else { Dialect::Text };
        Request { key, verb, bytes, dialect }
    }

    fn binary_request(&mut self, key: usize, verb: Verb, value: &[u8]) -> Request {
        // It has no verb that only looks whether there is something.
        let verb = if verb == Verb::Exists { Verb::Get } else { verb };
        let stores = matches!(verb, Verb::Set(_) | Verb::Add(_) | Verb::Replace(_) | Verb::Cas(..))
            || matches!(verb, Verb::Append(..));
        let value = if stores { value } else { b"" };
        let (seconds, number) = (*self.rng.pick(&[0, 3600]), self.values as u32);
        let bytes = wire_binary::request(&self.keys[key], verb, value, seconds, number);
        Request { key, verb, bytes, dialect: Dialect::Binary(number) }
    }

    /// Requests that are all sent before the first answer is read.
    fn ask_several(&mut self) -> io::Result<()> {
        let requests = (0..2 + self.rng.below(3)).map(|_| self.some_request()).collect();
        self.exchange(requests)
    }

    fn exchange(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let note = |it: &Request| self.page.ask(Asked { key: it.key, verb: it.verb, fence: 0 });
        let lines: Vec<usize> = requests.iter().map(note).collect();
        let sent: Vec<u8> = requests.iter().flat_map(|it| it.bytes.iter().copied()).collect();
        self.send(&sent)?;
        for (line, request) in lines.into_iter().zip(requests) {
            let answer = match request.dialect {
                Dialect::Meta => self.meta_answer(request.verb)?,
                Dialect::Text => self.text_answer(request.verb)?,
                Dialect::Binary(number) => self.packet(number)?.answer(request.verb),
            };
            self.page.answer(line, answer);
            if let Answer::Done(version) | Answer::Value(version, _) = answer
                && version != 0
            {
                self.versions[request.key] = version;
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.as_mut().expect("connected").get_mut().write_all(bytes)
    }

    /// The answer to the packet of this number.
    fn packet(&mut self, number: u32) -> io::Result<Packet> {
        let packet = Packet::read(self.connection.as_mut().expect("connected"))?;
        assert_eq!(packet.number, number, "the answer to another packet");
        self.packets += 1;
        Ok(packet)
    }

    fn words(&mut self) -> io::Result<Words> {
        let mut line = Vec::new();
        self.connection.as_mut().expect("connected").read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let line = String::from_utf8_lossy(line);
        Ok(Words(line.split(' ').map(str::to_string).collect()))
    }

    /// A block of data and the end of its line.
    fn block(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize + 2];
        self.connection.as_mut().expect("connected").read_exact(&mut bytes)?;
        assert_eq!(&bytes[len as usize..], b"\r\n", "behind a block of {len} bytes");
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    fn value(&mut self, len: u64, flags: u64, version: u64) -> io::Result<Answer> {
        let content = Content::of(&self.block(len)?, flags as u32);
        Ok(Answer::Value(version, content.unwrap_or_else(|wrong| panic!("{version}: {wrong}"))))
    }

    fn text_answer(&mut self, verb: Verb) -> io::Result<Answer> {
        let words = self.words()?;
        Ok(match (words.at(0), verb) {
            ("VALUE", Verb::Get) => {
                let value = self.value(words.number(3), words.number(2), words.number(4))?;
                assert_eq!(self.words()?.at(0), "END");
                value
            }
            ("END", Verb::Get) => Answer::Missing,
            ("STORED", Verb::Set(_) | Verb::Add(_) | Verb::Replace(_))
            | ("STORED", Verb::Cas(..) | Verb::Append(..))
            | ("DELETED", Verb::Delete)
            | ("TOUCHED", Verb::Touch) => Answer::Done(0),
            ("NOT_STORED", Verb::Add(_)) | ("EXISTS", Verb::Cas(..)) => Answer::Exists(0),
            ("NOT_STORED", Verb::Replace(_) | Verb::Append(..))
            | ("NOT_FOUND", Verb::Cas(..) | Verb::Delete)
            | ("NOT_FOUND", Verb::Touch | Verb::Increment { .. }) => Answer::Missing,
            ("CLIENT_ERROR", Verb::Increment { .. }) => Answer::NotANumber(0),
            (_, Verb::Increment { .. }) if words.0.len() == 1 => {
                Answer::Counted { value: words.number(0), version: 0 }
            }
            _ => no_room(&words),
        })
    }

    fn meta_answer(&mut self, verb: Verb) -> io::Result<Answer> {
        let words = self.words()?;
        Ok(match (words.at(0), verb) {
            ("VA", Verb::Get) => self.value(words.number(1), words.flag('f'), words.flag('c'))?,
            ("VA", Verb::Increment { .. }) => {
                let digits = String::from_utf8(self.block(words.number(1))?).expect("digits");
                Answer::Counted {
                    value: digits.parse().unwrap_or_else(|_| panic!("counted {digits:?}")),
                    version: words.flag('c'),
                }
            }
            ("HD", Verb::Exists) => Answer::There {
                version: words.flag('c'),
                flags: words.flag('f') as u32,
                len: words.flag('s'),
            },
            ("HD", Verb::Delete | Verb::DeleteVersion(_)) => Answer::Done(0),
            ("HD", _) => Answer::Done(words.flag('c')),
            ("EN", Verb::Get | Verb::Exists)
            | ("NF", Verb::Cas(..) | Verb::Delete | Verb::DeleteVersion(_))
            | ("NF", Verb::Increment { .. })
            | ("NS", Verb::Replace(_) | Verb::Append(..)) => Answer::Missing,
            ("NS", Verb::Add(_)) | ("EX", Verb::Cas(..) | Verb::DeleteVersion(_)) => {
                Answer::Exists(0)
            }
            ("CLIENT_ERROR", Verb::Increment { .. }) => Answer::NotANumber(0),
            _ => no_room(&words),
        })
    }

    /// All keys by one line.
    fn get_all(&mut self) -> io::Result<()> {
        let note = |key| self.page.ask(Asked { key, verb: Verb::Get, fence: 0 });
        let lines: Vec<usize> = (0..self.keys.len()).map(note).collect();
        self.send(format!("gets {}\r\n", self.keys.join(" ")).as_bytes())?;
        let mut answers = vec![Answer::Missing; self.keys.len()];
        loop {
            let words = self.words()?;
            if words.at(0) == "END" {
                break;
            }
            let key = self.keys.iter().position(|key| key == words.at(1));
            let key = key.unwrap_or_else(|| panic!("answered {:?}", words.0));
            answers[key] = self.value(words.number(3), words.number(2), words.number(4))?;
        }
        lines.into_iter().zip(answers).for_each(|(line, answer)| self.page.answer(line, answer));
        Ok(())
    }

    /// All keys by silent gets in one piece.
    fn get_all_binary(&mut self) -> io::Result<()> {
        let note = |key| self.page.ask(Asked { key, verb: Verb::Get, fence: 0 });
        let lines: Vec<usize> = (0..self.keys.len()).map(note).collect();
        self.send(&wire_binary::get_all(self.keys))?;
        let mut answers = vec![Answer::Missing; self.keys.len()];
        let mut least = 0;
        loop {
            let packet = Packet::read(self.connection.as_mut().expect("connected"))?;
            self.packets += 1;
            assert!(packet.number >= least, "answers out of order");
            least = packet.number + 1;
            match answers.get_mut(packet.number as usize) {
                Some(answer) => *answer = packet.found(),
                None => break,
            }
        }
        lines.into_iter().zip(answers).for_each(|(line, answer)| self.page.answer(line, answer));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let note = |key| self.page.ask(Asked { key, verb: Verb::Flush, fence: 0 });
        let lines: Vec<usize> = (0..self.keys.len()).map(note).collect();
        if self.binary {
            self.send(&wire_binary::flush(0))?;
            assert_eq!(self.packet(0)?.answer(Verb::Flush), Answer::Done(0));
        } else {
            self.send(b"flush_all\r\n")?;
            assert_eq!(self.words()?.at(0), "OK");
        }
        lines.into_iter().for_each(|line| self.page.answer(line, Answer::Done(0)));
        Ok(())
    }
}

fn text_line(key: &str, verb: Verb, len: usize, seconds: u64) -> String {
    match verb {
        Verb::Get => format!("gets {key}\r\n"),
        Verb::Set(it) => format!("set {key} {} 0 {len}\r\n", it.flags),
        Verb::Add(it) => format!("add {key} {} 0 {len}\r\n", it.flags),
        Verb::Replace(it) => format!("replace {key} {} 0 {len}\r\n", it.flags),
        Verb::Cas(it, version) => format!("cas {key} {} 0 {len} {version}\r\n", it.flags),
        Verb::Append(..) => format!("append {key} 0 0 {len}\r\n"),
        Verb::Delete => format!("delete {key}\r\n"),
        Verb::Touch => format!("touch {key} {seconds}\r\n"),
        Verb::Increment { by, .. } => format!("incr {key} {by}\r\n"),
        other => panic!("{other:?} in the text protocol"),
    }
}

fn meta_line(key: &str, verb: Verb, len: usize) -> String {
    match verb {
        Verb::Get => format!("mg {key} v c f\r\n"),
        Verb::Exists => format!("mg {key} c f s\r\n"),
        Verb::Set(it) => format!("ms {key} {len} c F{}\r\n", it.flags),
        Verb::Add(it) => format!("ms {key} {len} c ME F{}\r\n", it.flags),
        Verb::Replace(it) => format!("ms {key} {len} c MR F{}\r\n", it.flags),
        Verb::Cas(it, version) => format!("ms {key} {len} c C{version} F{}\r\n", it.flags),
        Verb::Append(..) => format!("ms {key} {len} c MA\r\n"),
        Verb::Delete => format!("md {key}\r\n"),
        Verb::DeleteVersion(version) => format!("md {key} C{version}\r\n"),
        Verb::Increment { by, initial: Some(initial), .. } => {
            format!("ma {key} v c D{by} N0 J{initial}\r\n")
        }
        Verb::Increment { by, .. } => format!("ma {key} v c D{by}\r\n"),
        other => panic!("{other:?} in the meta dialect"),
    }
}

/// The one failure that says that nothing happened.
fn no_room(words: &Words) -> Answer {
    let line = words.0.join(" ");
    assert!(line.starts_with("SERVER_ERROR out of memory"), "answered {line:?}");
    Answer::Refused
}
