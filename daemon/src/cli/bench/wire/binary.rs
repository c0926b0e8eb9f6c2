//! memcached's binary protocol. Pure.
//!
//! ```text
//! 0       1        2            4            5           6        8             12       16    24
//! | magic | opcode | key length | extras len | data type | status | body length | opaque | cas |
//! ```
//!
//! all big-endian; the body is extras, key, value. The opaque field comes back as it was sent: it
//! carries the number of the key, so that an answer is known to be that of its request.

use super::{Answer, Item, Parsed};
use crate::cli::bench::options::Login;
use crate::cli::bench::values::Values;

const HEADER_BYTES: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const GETKQ: u8 = 0x0d;
const SASL_AUTH: u8 = 0x21;

const NOT_FOUND: u16 = 0x01;
/// Out of memory, busy, temporary failure: the next request may be served.
const PASSING: [u16; 3] = [0x82, 0x85, 0x86];

/// What an answer may have besides its value: extras and the longest key there can be.
const MOST_BESIDES: usize = 255 + 65_535;

pub(super) fn put_get(out: &mut Vec<u8>, values: &Values, keys: &[u64]) {
    let opcode = if keys.len() > 1 { GETKQ } else { GET };
    for &key in keys {
        put_header(out, opcode, values.key_size(), 0, values.key_size(), tag(key));
        values.put_key(out, key);
    }
    if keys.len() > 1 {
        put_header(out, NOOP, 0, 0, 0, 0);
    }
}

pub(super) fn put_set(out: &mut Vec<u8>, values: &Values, (key, generation): (u64, u64), ttl: u32) {
    let body = 8 + values.key_size() + values.value_size();
    put_header(out, SET, values.key_size(), 8, body, tag(key));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&ttl.to_be_bytes());
    values.put_key(out, key);
    values.put_value(out, key, generation);
}

pub(super) fn put_version(out: &mut Vec<u8>) {
    put_header(out, VERSION, 0, 0, 0, 0);
}

/// SASL PLAIN (RFC 4616): no identity to act as, the name, the password.
pub(super) fn put_login(out: &mut Vec<u8>, login: &Login) {
    let mechanism = b"PLAIN";
    let body = mechanism.len() + 2 + login.user.len() + login.password.len();
    put_header(out, SASL_AUTH, mechanism.len(), 0, body, 0);
    out.extend_from_slice(mechanism);
    out.push(0);
    out.extend_from_slice(login.user.as_bytes());
    out.push(0);
    out.extend_from_slice(login.password.as_bytes());
}

/// The number of a key as a tag; numbers are below 2^32.
pub(in super::super) fn tag(key: u64) -> u32 {
    u32::try_from(key & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The lengths are bounded by the options: 250 bytes of key, 64 MiB of value.
fn put_header(out: &mut Vec<u8>, opcode: u8, key: usize, extras: u8, body: usize, tag: u32) {
    let mut header = [0; HEADER_BYTES];
    header[0] = REQUEST;
    header[1] = opcode;
    header[2..4].copy_from_slice(&u16::try_from(key).unwrap_or(u16::MAX).to_be_bytes());
    header[4] = extras;
    header[8..12].copy_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
    header[12..16].copy_from_slice(&tag.to_be_bytes());
    out.extend_from_slice(&header);
}

pub(super) fn parse(bytes: &[u8], most: usize) -> Parsed<'_> {
    if bytes.first().is_some_and(|&magic| magic != RESPONSE) {
        return Err("bytes that do not begin as a binary answer");
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [_, opcode, k0, k1, extras, _, s0, s1, b0, b1, b2, b3, t0, t1, t2, t3, ..] = *header;
    let key_bytes = usize::from(u16::from_be_bytes([k0, k1]));
    let status = u16::from_be_bytes([s0, s1]);
    let body_bytes = usize::try_from(u32::from_be_bytes([b0, b1, b2, b3])).unwrap_or(usize::MAX);
    let value_at = usize::from(extras) + key_bytes;
    if value_at > body_bytes {
        return Err("a body that is shorter than its key");
    }
    if body_bytes > most + MOST_BESIDES || (status == 0 && body_bytes - value_at > most) {
        return Err("a value that is longer than what was set");
    }
    let Some(body) = rest.get(..body_bytes) else { return Ok(None) };
    let key = body.get(usize::from(extras)..value_at).unwrap_or_default();
    let data = body.get(value_at..).unwrap_or_default();
    let item = item(opcode, status, key, data)?;
    let tag = Some(u32::from_be_bytes([t0, t1, t2, t3]));
    Ok(Some(Answer { item, tag, used: HEADER_BYTES + body_bytes }))
}

fn item<'a>(
    opcode: u8,
    status: u16,
    key: &'a [u8],
    data: &'a [u8],
) -> Result<Item<'a>, &'static str> {
    match (opcode, status) {
        (GET, 0) => Ok(Item::Value { key: None, data }),
        (GETKQ, 0) => Ok(Item::Value { key: Some(key), data }),
        (GET, NOT_FOUND) => Ok(Item::Miss { key: None }),
        (SET | SASL_AUTH, 0) => Ok(Item::Stored),
        (NOOP, 0) => Ok(Item::End),
        (VERSION, 0) => Ok(Item::Alive(data)),
        (_, 0) => Err("an answer to something that was not asked"),
        (_, status) => Ok(Item::Refused { text: data, passing: PASSING.contains(&status) }),
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of the test's own")]
mod tests {
    use super::super::Protocol::Binary;
    use super::super::tests::{cut_everywhere, not_an_answer};
    use super::*;

    fn response(opcode: u8, status: u16, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let body = extras.len() + key.len() + value.len();
        put_header(&mut out, opcode, key.len(), extras.len() as u8, body, 7);
        out[0] = RESPONSE;
        out[6..8].copy_from_slice(&status.to_be_bytes());
        [&out, extras, key, value].concat()
    }

    #[test]
    fn answers_may_be_cut_anywhere() {
        let hit = Item::Value { key: None, data: b"value" };
        cut_everywhere(Binary, &response(GET, 0, &[0; 4], b"", b"value"), hit);
        let named = Item::Value { key: Some(b"k1"), data: b"value" };
        cut_everywhere(Binary, &response(GETKQ, 0, &[0; 4], b"k1", b"value"), named);
        cut_everywhere(Binary, &response(GET, 1, b"", b"", b"Not found"), Item::Miss { key: None });
        cut_everywhere(Binary, &response(SET, 0, b"", b"", b""), Item::Stored);
        cut_everywhere(Binary, &response(NOOP, 0, b"", b"", b""), Item::End);
        let full = Item::Refused { text: b"Out of memory", passing: true };
        cut_everywhere(Binary, &response(SET, 0x82, b"", b"", b"Out of memory"), full);
        let denied = Item::Refused { text: b"Auth failure.", passing: false };
        cut_everywhere(Binary, &response(GET, 0x20, b"", b"", b"Auth failure."), denied);
        let stored = response(SET, 0, b"", b"", b"");
        assert_eq!(Binary.parse(&stored, 9).unwrap().unwrap().tag, Some(7));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        not_an_answer(Binary, b"V");
        not_an_answer(Binary, &response(GET, 0, &[0; 4], b"", &[0; 1025]));
        not_an_answer(Binary, &response(0x1c, 0, b"", b"", b""));
        let mut short = response(GET, 0, b"", b"key", b"");
        short[11] = 2;
        not_an_answer(Binary, &short);
        let mut huge = response(GET, 5, b"", b"", b"");
        huge[8] = 0xff;
        not_an_answer(Binary, &huge);
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let values = Values::new(3, 24);
        let mut out = Vec::new();
        put_get(&mut out, &values, &[9, 258]);
        assert_eq!(out[..24], *b"\x80\x0d\0\x03\0\0\0\0\0\0\0\x03\0\0\0\x09\0\0\0\0\0\0\0\0");
        assert_eq!(out[24..27], *b"k09");
        assert_eq!(out[39..43], [0, 0, 1, 2]);
        assert_eq!((out.len(), out[55]), (27 + 27 + 24, NOOP));
        out.clear();
        put_set(&mut out, &values, (5, 1), 60);
        assert_eq!(out[..12], *b"\x80\x01\0\x03\x08\0\0\0\0\0\0\x23");
        assert_eq!(out[24..35], *b"\0\0\0\0\0\0\0\x3ck05");
        assert_eq!(out.len(), 24 + 8 + 3 + 24);
    }
}
