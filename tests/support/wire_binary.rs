//! The binary dialect for a client of the daemon: a verb as a packet, and an answer's packet as what the verb
//! came to. Called by `wire`, which notes both; an answer that the verb does not have, or that belongs to
//! another packet, ends the test from here.

use std::io::{self, Read};

use crate::history::{Answer, Content, Verb};

const HEADER: usize = 24;
/// What is not there is not made.
const DO_NOT_CREATE: u32 = u32::MAX;
const GET: u8 = 0x00;
const FLUSH: u8 = 0x08;
const NOOP: u8 = 0x0a;
/// A get that is silent when there is nothing.
const GET_QUIET: u8 = 0x09;

/// The packet of a verb, with a number that its answer has to bear.
pub fn request(key: &str, verb: Verb, value: &[u8], seconds: u32, number: u32) -> Vec<u8> {
    let stored = |flags: u32| [flags.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    let (code, extras, compare) = match verb {
        Verb::Get => (GET, Vec::new(), 0),
        Verb::Set(it) => (0x01, stored(it.flags), 0),
        Verb::Add(it) => (0x02, stored(it.flags), 0),
        Verb::Replace(it) => (0x03, stored(it.flags), 0),
        Verb::Cas(it, version) => (0x01, stored(it.flags), version),
        Verb::Append(..) => (0x0e, Vec::new(), 0),
        Verb::Delete => (0x04, Vec::new(), 0),
        Verb::DeleteVersion(version) => (0x04, Vec::new(), version),
        Verb::Touch => (0x1c, seconds.to_be_bytes().to_vec(), 0),
        Verb::Increment { by, initial, .. } => {
            let made = initial.map_or(DO_NOT_CREATE, |_| 0).to_be_bytes();
            let numbers = [by.to_be_bytes(), initial.unwrap_or(0).to_be_bytes()].concat();
            (0x05, [&numbers[..], &made[..]].concat(), 0)
        }
        other => panic!("{other:?} in the binary protocol"),
    };
    packet(code, &extras, key, value, compare, number)
}

/// All keys by silent gets, and a word behind them that is answered.
pub fn get_all(keys: &[String]) -> Vec<u8> {
    let gets = (0..).zip(keys).flat_map(|(n, key)| packet(GET_QUIET, b"", key, b"", 0, n));
    gets.chain(packet(NOOP, b"", "", b"", 0, keys.len() as u32)).collect()
}

pub fn flush(number: u32) -> Vec<u8> {
    packet(FLUSH, b"", "", b"", 0, number)
}

fn packet(code: u8, extras: &[u8], key: &str, value: &[u8], compare: u64, number: u32) -> Vec<u8> {
    let body = [extras, key.as_bytes(), value].concat();
    let mut bytes = vec![0x80, code];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.extend(compare.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// An answer's packet.
pub struct Packet {
    pub number: u32,
    status: u16,
    version: u64,
    extras: Vec<u8>,
    value: Vec<u8>,
}

impl Packet {
    pub fn read(from: &mut impl Read) -> io::Result<Packet> {
        let mut head = [0; HEADER];
        from.read_exact(&mut head)?;
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(head[0], 0x81, "answered {head:?}");
        let mut body = vec![0; word(8) as usize];
        from.read_exact(&mut body)?;
        let extras = usize::from(head[4]);
        let key = usize::from(u16::from_be_bytes([head[2], head[3]]));
        Ok(Packet {
            number: word(12),
            status: u16::from_be_bytes([head[6], head[7]]),
            version: u64::from(word(16)) << 32 | u64::from(word(20)),
            value: body.split_off(extras + key),
            extras: body[..extras].to_vec(),
        })
    }

    /// What the verb came to.
    pub fn answer(&self, verb: Verb) -> Answer {
        match (self.status, verb) {
            (0, Verb::Get) => self.found(),
            (0, Verb::Set(_) | Verb::Add(_) | Verb::Replace(_) | Verb::Cas(..))
            | (0, Verb::Append(..)) => {
                assert_ne!(self.version, 0, "stored without a version");
                Answer::Done(self.version)
            }
            (0, Verb::Delete | Verb::DeleteVersion(_) | Verb::Touch | Verb::Flush) => {
                Answer::Done(0)
            }
            (0, Verb::Increment { .. }) => {
                let number = self.value.as_slice().try_into().expect("a number of 8 bytes");
                Answer::Counted { value: u64::from_be_bytes(number), version: self.version }
            }
            (1, Verb::Get | Verb::Replace(_) | Verb::Cas(..) | Verb::Touch)
            | (1, Verb::Delete | Verb::DeleteVersion(_) | Verb::Increment { .. })
            | (5, Verb::Append(..)) => Answer::Missing,
            (2, Verb::Add(_) | Verb::Cas(..) | Verb::DeleteVersion(_)) => Answer::Exists(0),
            (6, Verb::Increment { .. }) => Answer::NotANumber(0),
            // The one failure that says that nothing happened.
            (0x82, _) => Answer::Refused,
            (status, _) => panic!("{verb:?} was answered with {status:#x} {:?}", self.said()),
        }
    }

    /// The answer to a get that found something.
    pub fn found(&self) -> Answer {
        let flags = self.extras.as_slice().try_into().expect("four bytes of flags");
        let content = Content::of(&self.value, u32::from_be_bytes(flags));
        Answer::Value(self.version, content.unwrap_or_else(|no| panic!("{}: {no}", self.version)))
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}
