//! Packets are made here, and judged in the modules: what they come to, what answers look like, and
//! what hostile bytes do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod hostile;
mod requests;

use super::*;

const LIMITS: Limits = Limits { value_max: 4096, test_commands: false, passwords: true };
const OPAQUE: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

/// A request, with lengths that are true until they are changed.
#[derive(Clone)]
struct Packet {
    opcode: u8,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    cas: u64,
    lengths: (u16, u8, u32),
}

impl Packet {
    fn new(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Packet {
        let body = extras.len() + key.len() + value.len();
        Packet {
            opcode,
            extras: extras.to_vec(),
            key: key.to_vec(),
            value: value.to_vec(),
            cas: 0,
            lengths: (
                u16::try_from(key.len()).unwrap(),
                u8::try_from(extras.len()).unwrap(),
                u32::try_from(body).unwrap(),
            ),
        }
    }

    fn cas(self, cas: u64) -> Packet {
        Packet { cas, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let (key_len, extras_len, body_len) = self.lengths;
        let mut bytes = vec![REQUEST, self.opcode];
        bytes.extend(key_len.to_be_bytes());
        bytes.extend([extras_len, 0, 0, 0]);
        bytes.extend(body_len.to_be_bytes());
        bytes.extend(OPAQUE);
        bytes.extend(self.cas.to_be_bytes());
        bytes.extend([&self.extras[..], &self.key, &self.value].concat());
        bytes
    }
}

fn bytes(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    Packet::new(opcode, extras, key, value).bytes()
}

/// The extras of set and its like.
fn storing(flags: u32, lifetime: u32) -> Vec<u8> {
    [flags.to_be_bytes(), lifetime.to_be_bytes()].concat()
}

/// The extras of increment and decrement.
fn counting(delta: u64, first: u64, lifetime: u32) -> Vec<u8> {
    [&delta.to_be_bytes()[..], &first.to_be_bytes(), &lifetime.to_be_bytes()].concat()
}

/// An answer's packet.
fn response(opcode: u8, status: u16, cas: u64, parts: [&[u8]; 3]) -> Vec<u8> {
    let [extras, key, value] = parts;
    let mut bytes = Packet::new(opcode, extras, key, value).cas(cas).bytes();
    bytes[0] = 0x81;
    bytes[6..8].copy_from_slice(&status.to_be_bytes());
    bytes
}

fn error(opcode: u8, status: u16, words: &str) -> Vec<u8> {
    response(opcode, status, 0, [b"", b"", words.as_bytes()])
}

fn attempt(opcode: u8, mechanism: &[u8], message: &[u8]) -> Vec<u8> {
    bytes(opcode, b"", mechanism, message)
}
