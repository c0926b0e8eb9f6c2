//! Replies to packets. Every answer is one packet, but statistics are many and what a quiet request
//! expects is none; nothing is decided here but how a [`Reply`] looks.

use super::packet::{HEADER_LEN, Opcode, Verb};
use crate::command::{Failure, Found, Reply};

/// The first byte of every answer.
const RESPONSE: u8 = 0x81;

/// What an answer says in its header, with the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the protocol")]
pub enum Status {
    Ok,
    NotFound,
    Exists,
    TooLarge,
    Invalid,
    NotStored,
    NotANumber,
    AuthError,
    AuthContinue,
    UnknownCommand,
    OutOfMemory,
    Internal,
    Busy,
    Temporary,
}

impl Status {
    /// Its number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Status::Ok => 0x00,
            Status::NotFound => 0x01,
            Status::Exists => 0x02,
            Status::TooLarge => 0x03,
            Status::Invalid => 0x04,
            Status::NotStored => 0x05,
            Status::NotANumber => 0x06,
            Status::AuthError => 0x20,
            Status::AuthContinue => 0x21,
            Status::UnknownCommand => 0x81,
            Status::OutOfMemory => 0x82,
            Status::Internal => 0x84,
            Status::Busy => 0x85,
            Status::Temporary => 0x86,
        }
    }

    /// The words that memcached sends with it, for people.
    pub fn text(self) -> &'static str {
        match self {
            Status::Ok | Status::AuthContinue => "",
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::Invalid => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NotANumber => "Non-numeric server-side value for incr or decr",
            Status::AuthError => "Auth failure.",
            Status::UnknownCommand => "Unknown command",
            Status::OutOfMemory => "Out of memory",
            Status::Internal => "Internal error",
            Status::Busy => "Busy",
            Status::Temporary => "Temporary failure",
        }
    }
}

/// How the answer to a packet is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form<'a> {
    /// The opcode's number, which the answer repeats.
    pub(super) code: u8,
    /// What stands behind it.
    pub(super) opcode: Opcode,
    /// Goes back as it came.
    pub(super) opaque: [u8; 4],
    /// What the answer repeats even when nothing was found; empty if it does not.
    pub(super) key: &'a [u8],
}

impl Form<'_> {
    /// What outlives the request's bytes. No answer of many pages repeats a key.
    pub fn kept(&self) -> Form<'static> {
        Form { code: self.code, opcode: self.opcode, opaque: self.opaque, key: &[] }
    }
}

/// An answer that is known without executing anything: a packet was refused, or is a step of saying
/// who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub(super) opcode: u8,
    pub(super) opaque: [u8; 4],
    pub(super) status: Status,
    pub(super) body: &'static str,
}

impl Answer {
    /// Appends its packet to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let to = To { code: self.opcode, opaque: self.opaque };
        to.write(self.status, Parts { value: self.body.as_bytes(), ..Parts::default() }, out);
    }
}

/// Whose answer it is.
#[derive(Clone, Copy)]
struct To {
    code: u8,
    opaque: [u8; 4],
}

/// What an answer carries.
#[derive(Default)]
struct Parts<'a> {
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl To {
    /// Appends one packet. What does not fit the header's fields cannot be said: that is answered as
    /// an internal error.
    #[inline]
    fn write(self, status: Status, parts: Parts, out: &mut Vec<u8>) {
        match self.header(status, &parts) {
            Some(header) => {
                let Parts { extras, key, value, .. } = parts;
                out.reserve(header.len() + extras.len() + key.len() + value.len());
                out.extend_from_slice(&header);
                out.extend_from_slice(extras);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            None => self.refuse(Status::Internal, out),
        }
    }

    /// Appends an error with its words.
    #[cold]
    fn refuse(self, status: Status, out: &mut Vec<u8>) {
        self.write(status, Parts { value: status.text().as_bytes(), ..Parts::default() }, out);
    }

    #[inline]
    fn header(self, status: Status, parts: &Parts) -> Option<[u8; HEADER_LEN]> {
        let [k0, k1] = u16::try_from(parts.key.len()).ok()?.to_be_bytes();
        let extras = u8::try_from(parts.extras.len()).ok()?;
        let [s0, s1] = status.code().to_be_bytes();
        let body =
            parts.extras.len().checked_add(parts.key.len())?.checked_add(parts.value.len())?;
        let [b0, b1, b2, b3] = u32::try_from(body).ok()?.to_be_bytes();
        let [o0, o1, o2, o3] = self.opaque;
        let [c0, c1, c2, c3, c4, c5, c6, c7] = parts.cas.to_be_bytes();
        Some([
            RESPONSE, self.code, k0, k1, extras, 0, s0, s1, //
            b0, b1, b2, b3, o0, o1, o2, o3, //
            c0, c1, c2, c3, c4, c5, c6, c7,
        ])
    }
}

/// Appends the answer to a request of this form.
pub fn encode(form: &Form, reply: &Reply, out: &mut Vec<u8>) {
    let to = To { code: form.code, opaque: form.opaque };
    let done = |cas: u64, value: &[u8], out: &mut Vec<u8>| {
        if !form.opcode.quiet {
            to.write(Status::Ok, Parts { cas, value, ..Parts::default() }, out);
        }
    };
    match reply {
        Reply::Found(found) => read(to, form, found, out),
        Reply::Missing => missing(to, form, out),
        Reply::Stored { version, .. } => done(*version, b"", out),
        Reply::Counted { number, version, .. } => done(*version, &number.to_be_bytes(), out),
        Reply::Deleted | Reply::Touched | Reply::Ok | Reply::Noop | Reply::Bye => done(0, b"", out),
        Reply::Version(version) => done(0, version.as_bytes(), out),
        Reply::Welcome => done(0, b"Authenticated", out),
        Reply::Stats(stats) => counters(to, stats, out),
        Reply::NotStored => to.refuse(not_stored(form.opcode.verb), out),
        Reply::Exists => to.refuse(Status::Exists, out),
        Reply::NotANumber => to.refuse(Status::NotANumber, out),
        Reply::Unwelcome | Reply::WhoAreYou => to.refuse(Status::AuthError, out),
        Reply::Failed(failure) => failed(to, *failure, out),
        // Nothing in this dialect asks for them.
        Reply::Described(_) | Reply::Listing(_) | Reply::Listed(_) | Reply::ListEnd => {
            to.refuse(Status::Internal, out);
        }
    }
}

/// A value that was read, or touched: a quiet reader wants exactly this.
#[inline]
fn read(to: To, form: &Form, found: &Found, out: &mut Vec<u8>) {
    let extras = &found.flags.to_be_bytes();
    let parts = Parts { cas: found.version, extras, key: form.key, value: found.value };
    to.write(Status::Ok, parts, out);
}

/// Nothing there. A quiet reader hears nothing, one who asked for the key gets it in place of the
/// words; append and prepend have their own status for it.
fn missing(to: To, form: &Form, out: &mut Vec<u8>) {
    match form.opcode.verb {
        Verb::Get | Verb::GetAndTouch if form.opcode.quiet => {}
        Verb::Get | Verb::GetAndTouch if form.opcode.with_key => {
            to.write(Status::NotFound, Parts { key: form.key, ..Parts::default() }, out);
        }
        Verb::Append | Verb::Prepend => to.refuse(Status::NotStored, out),
        _ => to.refuse(Status::NotFound, out),
    }
}

/// What add and replace demand is said in words of its own: there is one, there is none.
fn not_stored(verb: Verb) -> Status {
    match verb {
        Verb::Add => Status::Exists,
        Verb::Replace => Status::NotFound,
        _ => Status::NotStored,
    }
}

/// A packet for each, and an empty one to say that it was the last.
fn counters(to: To, stats: &[(String, String)], out: &mut Vec<u8>) {
    for (name, value) in stats {
        let parts = Parts { key: name.as_bytes(), value: value.as_bytes(), ..Parts::default() };
        // A name without bytes would be taken for the end.
        if !name.is_empty() {
            to.write(Status::Ok, parts, out);
        }
    }
    to.write(Status::Ok, Parts::default(), out);
}

fn failed(to: To, failure: Failure, out: &mut Vec<u8>) {
    let say = |status: Status, words: &'static str, out: &mut Vec<u8>| {
        to.write(status, Parts { value: words.as_bytes(), ..Parts::default() }, out);
    };
    match failure {
        Failure::TooLarge => to.refuse(Status::TooLarge, out),
        Failure::Full => to.refuse(Status::OutOfMemory, out),
        Failure::Busy => to.refuse(Status::Busy, out),
        Failure::NotWritable => to.refuse(Status::Temporary, out),
        // A client that lost its lock is told what it would be told had its compare failed to hold:
        // the write did not happen, and repeating it does not help.
        Failure::LockLost => to.refuse(Status::NotStored, out),
        Failure::Damaged | Failure::Internal => to.refuse(Status::Internal, out),
        // What memcached answers to a flush that -F forbids.
        Failure::Forbidden(words) => say(Status::AuthError, words, out),
        Failure::Conflict(words) => say(Status::Invalid, words, out),
    }
}
