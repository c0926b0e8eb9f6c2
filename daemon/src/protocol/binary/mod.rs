//! The binary dialect: packets with a header that says every length. The parser believes no length
//! before it is checked, allocates nothing, and keeps nothing between packets but whether a step of
//! SASL is due; [`Codec`](super::Codec) calls it.
//!
//! The order of the checks: magic, lengths against each other, opcode, shape, length of the value.
//! All of them need the header only, so that no body is waited for that would be refused.

mod answer;
mod packet;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Form, Status};
use packet::{HEADER_LEN, Header, Opcode, Verb};

use super::{Limits, Parsed};
use crate::command::{Command, Count, Delete, Expiry, Get, Mode, Reply, Set};
use crate::limits::{KEY_MAX, SKIPPED_BODY_MAX, UNKNOWN_BODY_MAX};

/// The first byte of every request.
pub const REQUEST: u8 = 0x80;
/// The mechanisms with which a client can say who it is.
const MECHANISMS: &str = "PLAIN";
/// The lifetime that says: what is not there is not made.
const DO_NOT_CREATE: u32 = u32::MAX;

/// The codec of one connection.
#[derive(Debug, Default)]
pub struct Binary {
    /// The mechanism was named without a message: it is to follow.
    step_due: bool,
}

impl Binary {
    /// Of a new connection.
    pub fn new() -> Binary {
        Binary::default()
    }

    /// Parses the packet at the beginning of `input`, which is not empty.
    #[inline]
    pub fn parse<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parsed<'a> {
        if input.first() != Some(&REQUEST) {
            return out_of_step(input.len());
        }
        let Some((head, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Parsed::Incomplete { wanted: HEADER_LEN };
        };
        let header = Header::read(head);
        let opcode = match check(&header, limits) {
            Ok(opcode) => opcode,
            Err(refusal) => return refusal.of(&header),
        };
        // A body of this length was accepted, so the sum is far from any end.
        let body_len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
        let whole = HEADER_LEN.saturating_add(body_len);
        let Some((extras, key, value)) = rest.get(..body_len).and_then(|body| split(&header, body))
        else {
            return Parsed::Incomplete { wanted: whole };
        };
        if opcode.verb.is_sasl() {
            return self.sasl(&header, opcode, key, value, whole);
        }
        match command(&header, opcode.verb, extras, key, value) {
            Some(command) => {
                Parsed::Request { used: whole, command, form: form(&header, opcode, key) }
            }
            None => Refusal::end(Status::Invalid).of(&header),
        }
    }

    /// Appends the answer to a request of this form.
    #[inline]
    pub fn encode(&mut self, form: &Form, reply: &Reply, out: &mut Vec<u8>) {
        answer::encode(form, reply, out);
    }

    /// Says who is there, or how it can be said. Everything that is not a well-formed message of the
    /// one mechanism is an attempt of nobody, which fails like every other: whoever counts failures
    /// counts it too, and whoever was known before is not known any more.
    fn sasl<'a>(
        &mut self,
        header: &Header,
        opcode: Opcode,
        mechanism: &[u8],
        message: &'a [u8],
        used: usize,
    ) -> Parsed<'a> {
        let answered = |answer: Answer| Parsed::Answered { used, skip: 0, answer, close: false };
        let due = std::mem::take(&mut self.step_due);
        let plain = mechanism.eq_ignore_ascii_case(MECHANISMS.as_bytes());
        let named = match opcode.verb {
            Verb::Mechanisms => {
                self.step_due = due;
                return answered(header.answer(Status::Ok, MECHANISMS));
            }
            Verb::Authenticate if plain && message.is_empty() => {
                self.step_due = true;
                return answered(header.answer(Status::AuthContinue, ""));
            }
            Verb::Authenticate if plain => plain_message(message),
            Verb::Step if plain && due => plain_message(message),
            _ => None,
        };
        let (user, password) = named.unwrap_or((b"", b""));
        let command = Command::Authenticate { user, password };
        Parsed::Request { used, command, form: form(header, opcode, b"") }
    }
}

/// The key of the packet at the beginning of `input`, without a judgement of it, whether its value is
/// read, and the bytes of the whole packet; `None` if it is of a kind that reads and writes no single value.
pub(super) fn glance(input: &[u8]) -> Option<(&[u8], bool, usize)> {
    let (head, body) = input.split_first_chunk::<HEADER_LEN>()?;
    let header = Header::read(head);
    let verb = Opcode::of(header.opcode)?.verb;
    if !verb.has_value() && verb != Verb::Noop {
        return None;
    }
    let reads = !matches!(verb, Verb::Set | Verb::Add | Verb::Replace | Verb::Delete | Verb::Touch);
    let (_, behind) = body.split_at_checked(usize::from(header.extras_len))?;
    let (key, _) = behind.split_at_checked(usize::from(header.key_len))?;
    Some((key, reads, usize::try_from(header.body_len).ok()?.checked_add(HEADER_LEN)?))
}

/// The message of PLAIN (RFC 4616): whom to act as, who, password, with NULs between them. Nobody
/// acts as somebody else here.
fn plain_message(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = message.split(|byte| *byte == 0);
    let (act_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !user.is_empty();
    (whole && (act_as.is_empty() || act_as == user)).then_some((user, password))
}

/// Why a packet is not taken.
struct Refusal {
    status: Status,
    /// The whole body is thrown away, and the connection goes on.
    skips: bool,
}

impl Refusal {
    /// The connection ends: what follows may be anything.
    fn end(status: Status) -> Refusal {
        Refusal { status, skips: false }
    }

    /// The connection goes on behind the body, unless that is unbearably long.
    fn skip(status: Status, header: &Header) -> Refusal {
        Refusal { status, skips: u64::from(header.body_len) <= SKIPPED_BODY_MAX }
    }

    #[cold]
    fn of<'a>(self, header: &Header) -> Parsed<'a> {
        let answer = header.answer(self.status, self.status.text());
        let skip = if self.skips { u64::from(header.body_len) } else { 0 };
        Parsed::Answered { used: HEADER_LEN, skip, answer, close: !self.skips }
    }
}

/// Judges a packet by its header.
#[inline]
fn check(header: &Header, limits: &Limits) -> Result<Opcode, Refusal> {
    let Some(value_len) = header.value_len() else {
        return Err(Refusal::end(Status::Invalid));
    };
    let opcode = match Opcode::of(header.opcode) {
        Some(opcode) if limits.passwords || !opcode.verb.is_sasl() => opcode,
        _ => return Err(Refusal::skip(Status::UnknownCommand, header)),
    };
    if usize::from(header.key_len) > KEY_MAX || !opcode.verb.fits(header, value_len) {
        return Err(Refusal::end(Status::Invalid));
    }
    if opcode.verb.is_sasl() {
        // An attempt that cannot be right ends the connection, known or not: nobody executes it, so
        // nobody could take back what the connection was known for.
        if value_len > UNKNOWN_BODY_MAX {
            return Err(Refusal::end(Status::AuthError));
        }
    } else if value_len > limits.value_max {
        return Err(Refusal::skip(Status::TooLarge, header));
    }
    Ok(opcode)
}

/// The connection does not speak in packets any more: there is nobody to answer to.
#[cold]
fn out_of_step<'a>(used: usize) -> Parsed<'a> {
    Parsed::Refused { used, skip: 0, answer: b"", retract: false, close: true }
}

/// Extras, key and value of a body.
#[inline]
fn split<'a>(header: &Header, body: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let (extras, rest) = body.split_at_checked(usize::from(header.extras_len))?;
    let (key, value) = rest.split_at_checked(usize::from(header.key_len))?;
    Some((extras, key, value))
}

#[inline]
fn form<'a>(header: &Header, opcode: Opcode, key: &'a [u8]) -> super::Form<'a> {
    let key = if opcode.with_key { key } else { &[] };
    super::Form::Binary(Form { code: header.opcode, opcode, opaque: header.opaque, key })
}

/// What a packet of a checked shape asks for.
#[inline]
fn command<'a>(
    header: &Header,
    verb: Verb,
    extras: &[u8],
    key: &'a [u8],
    value: &'a [u8],
) -> Option<Command<'a>> {
    let compare = header.compare();
    Some(match verb {
        Verb::Get => Command::Get(Get::new(key)),
        Verb::GetAndTouch => {
            Command::Get(Get { touch: Some(expiry(word(extras)?)), ..Get::new(key) })
        }
        Verb::Set | Verb::Add | Verb::Replace => {
            let (flags, lifetime) = extras.split_first_chunk::<4>()?;
            let mode = match (verb, compare) {
                // As memcached: with a version to compare, all three are the same.
                (_, Some(_)) | (Verb::Set, None) => Mode::Set,
                (Verb::Add, None) => Mode::Add,
                (_, None) => Mode::Replace,
            };
            let flags = u32::from_be_bytes(*flags);
            let set = Set::new(key, value, flags, expiry(word(lifetime)?), mode);
            Command::Set(Set { compare, ..set })
        }
        Verb::Append | Verb::Prepend => {
            let mode = if verb == Verb::Append { Mode::Append } else { Mode::Prepend };
            Command::Set(Set { compare, ..Set::new(key, value, 0, Expiry::Default, mode) })
        }
        Verb::Delete => Command::Delete(Delete { compare, ..Delete::new(key) }),
        Verb::Increment | Verb::Decrement => count(key, verb, extras, compare)?,
        Verb::Touch => Command::Touch { key, expiry: expiry(word(extras)?) },
        Verb::Flush => {
            let when = if extras.is_empty() { 0 } else { word(extras)? };
            Command::Flush { at: (when != 0).then(|| expiry(when)) }
        }
        Verb::Stat if key == b"reset" => Command::ResetStats,
        Verb::Stat => Command::Stats(key),
        Verb::Verbosity => Command::Verbosity(word(extras)?),
        Verb::Version => Command::Version,
        Verb::Noop => Command::Noop,
        Verb::Quit => Command::Quit,
        // Taken care of before.
        Verb::Mechanisms | Verb::Authenticate | Verb::Step => return None,
    })
}

fn count<'a>(
    key: &'a [u8],
    verb: Verb,
    extras: &[u8],
    compare: Option<u64>,
) -> Option<Command<'a>> {
    let (delta, rest) = extras.split_first_chunk::<8>()?;
    let (first, lifetime) = rest.split_first_chunk::<8>()?;
    let initial = match word(lifetime)? {
        DO_NOT_CREATE => None,
        lifetime => Some((u64::from_be_bytes(*first), expiry(lifetime))),
    };
    let down = verb == Verb::Decrement;
    let count = Count::new(key, u64::from_be_bytes(*delta), down);
    Some(Command::Count(Count { initial, compare, ..count }))
}

/// Lifetimes have no sign here: the largest number is a moment in the year 2106.
#[inline]
fn expiry(seconds: u32) -> Expiry {
    Expiry::of_seconds(i64::from(seconds))
}

/// Four bytes as a number.
#[inline]
fn word(bytes: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(bytes).ok().map(u32::from_be_bytes)
}
