//! What a request packet looks like, and which shape each opcode demands. Only lengths are judged
//! here, no byte of a body is looked at; [`Binary`](super::Binary) is the caller.
//!
//! ```text
//!  0 magic    1 opcode    2 key length (2)    4 extras length    5 data type    6 unused (2)
//!  8 body length (4)     12 opaque (4)       16 CAS (8)         24 extras, key, value
//! ```

use super::answer::{Answer, Status};

/// Bytes of a header.
pub const HEADER_LEN: usize = 24;

/// The first 24 bytes of a request, as numbers. Data type and the two unused bytes are not looked
/// at: memcached takes any, and so must who replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which verb.
    pub opcode: u8,
    /// Bytes of the key.
    pub key_len: u16,
    /// Bytes of the extras.
    pub extras_len: u8,
    /// Bytes of extras, key and value together.
    pub body_len: u32,
    /// Goes back with the answer as it came.
    pub opaque: [u8; 4],
    /// The version to compare with; 0 = none.
    pub cas: u64,
}

impl Header {
    /// Takes the bytes apart. The magic byte was looked at before.
    #[inline]
    pub fn read(bytes: &[u8; HEADER_LEN]) -> Header {
        let [_magic, opcode, k0, k1, extras_len, _type, _, _, rest @ ..] = *bytes;
        let [b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = rest;
        Header {
            opcode,
            key_len: u16::from_be_bytes([k0, k1]),
            extras_len,
            body_len: u32::from_be_bytes([b0, b1, b2, b3]),
            opaque: [o0, o1, o2, o3],
            cas: u64::from_be_bytes(cas),
        }
    }

    /// Bytes of the value; `None` when key and extras alone are more than the whole body.
    #[inline]
    pub fn value_len(&self) -> Option<u64> {
        u64::from(self.body_len)
            .checked_sub(u64::from(self.key_len))?
            .checked_sub(u64::from(self.extras_len))
    }

    /// The version to compare with, if there is one.
    #[inline]
    pub fn compare(&self) -> Option<u64> {
        (self.cas != 0).then_some(self.cas)
    }

    /// An answer to this packet that needs nobody to execute it.
    pub fn answer(&self, status: Status, body: &'static str) -> Answer {
        Answer { opcode: self.opcode, opaque: self.opaque, status, body }
    }
}

/// What a packet asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the protocol")]
pub enum Verb {
    Get,
    GetAndTouch,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Increment,
    Decrement,
    Touch,
    Flush,
    Stat,
    Verbosity,
    Version,
    Noop,
    Quit,
    Mechanisms,
    Authenticate,
    Step,
}

/// What stands behind an opcode's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opcode {
    /// What is to be done.
    pub verb: Verb,
    /// The expected outcome is not answered: a miss of a read, the success of everything else.
    pub quiet: bool,
    /// The answer repeats the key.
    pub with_key: bool,
}

impl Opcode {
    /// The numbers of memcached's `protocol_binary.h`, and 0x1b of the protocol's description.
    #[inline]
    pub fn of(code: u8) -> Option<Opcode> {
        let plain = |verb| Opcode { verb, quiet: false, with_key: false };
        let quiet = |verb| Opcode { verb, quiet: true, with_key: false };
        Some(match code {
            0x00 => plain(Verb::Get),
            0x01 => plain(Verb::Set),
            0x02 => plain(Verb::Add),
            0x03 => plain(Verb::Replace),
            0x04 => plain(Verb::Delete),
            0x05 => plain(Verb::Increment),
            0x06 => plain(Verb::Decrement),
            0x07 => plain(Verb::Quit),
            0x08 => plain(Verb::Flush),
            0x09 => quiet(Verb::Get),
            0x0a => plain(Verb::Noop),
            0x0b => plain(Verb::Version),
            0x0c => Opcode { with_key: true, ..plain(Verb::Get) },
            0x0d => Opcode { with_key: true, ..quiet(Verb::Get) },
            0x0e => plain(Verb::Append),
            0x0f => plain(Verb::Prepend),
            0x10 => plain(Verb::Stat),
            0x11 => quiet(Verb::Set),
            0x12 => quiet(Verb::Add),
            0x13 => quiet(Verb::Replace),
            0x14 => quiet(Verb::Delete),
            0x15 => quiet(Verb::Increment),
            0x16 => quiet(Verb::Decrement),
            0x17 => quiet(Verb::Quit),
            0x18 => quiet(Verb::Flush),
            0x19 => quiet(Verb::Append),
            0x1a => quiet(Verb::Prepend),
            0x1b => plain(Verb::Verbosity),
            0x1c => plain(Verb::Touch),
            0x1d => plain(Verb::GetAndTouch),
            0x1e => quiet(Verb::GetAndTouch),
            0x20 => plain(Verb::Mechanisms),
            0x21 => plain(Verb::Authenticate),
            0x22 => plain(Verb::Step),
            0x23 => Opcode { with_key: true, ..plain(Verb::GetAndTouch) },
            0x24 => Opcode { with_key: true, ..quiet(Verb::GetAndTouch) },
            _ => return None,
        })
    }
}

/// Does a packet have a key?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Never,
    Always,
    Perhaps,
}

impl Verb {
    /// Is this one of the three that say who is there?
    #[inline]
    pub fn is_sasl(self) -> bool {
        matches!(self, Verb::Mechanisms | Verb::Authenticate | Verb::Step)
    }

    /// Is this about the value of one key?
    #[inline]
    pub fn has_value(self) -> bool {
        matches!(self.shape().1, Key::Always) && !self.is_sasl()
    }

    /// Has a packet with these lengths the shape that the verb demands, to the byte?
    #[inline]
    pub fn fits(self, header: &Header, value_len: u64) -> bool {
        let (extras, key, value) = self.shape();
        let optional = self == Verb::Flush && header.extras_len == 0;
        let key_fits = match key {
            Key::Never => header.key_len == 0,
            Key::Always => header.key_len > 0,
            Key::Perhaps => true,
        };
        (header.extras_len == extras || optional) && key_fits && (value || value_len == 0)
    }

    /// Bytes of extras, key, and whether a value may follow.
    #[inline]
    fn shape(self) -> (u8, Key, bool) {
        match self {
            Verb::Get | Verb::Delete => (0, Key::Always, false),
            // Flags and lifetime.
            Verb::Set | Verb::Add | Verb::Replace => (8, Key::Always, true),
            Verb::Append | Verb::Prepend => (0, Key::Always, true),
            // Difference, first number, lifetime.
            Verb::Increment | Verb::Decrement => (20, Key::Always, false),
            // The lifetime.
            Verb::Touch | Verb::GetAndTouch => (4, Key::Always, false),
            // When; may be left out.
            Verb::Flush => (4, Key::Never, false),
            // How much.
            Verb::Verbosity => (4, Key::Never, false),
            Verb::Stat => (0, Key::Perhaps, false),
            Verb::Version | Verb::Noop | Verb::Quit | Verb::Mechanisms => (0, Key::Never, false),
            // The key names the mechanism, the value is its message.
            Verb::Authenticate | Verb::Step => (0, Key::Always, true),
        }
    }
}
