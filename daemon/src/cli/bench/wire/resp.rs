//! RESP2: GET, MGET, SET, AUTH and PING as Redis speaks them. Pure.

use super::{Answer, Item, Parsed, block, length, line, put_number};
use crate::cli::bench::limits::MAX_MULTI;
use crate::cli::bench::options::Login;
use crate::cli::bench::values::Values;

/// Errors that pass: out of memory, still loading, a script runs, a slot moves.
const PASSING: [&[u8]; 4] = [b"-OOM", b"-LOADING", b"-BUSY", b"-TRYAGAIN"];

pub(super) fn put_get(out: &mut Vec<u8>, values: &Values, keys: &[u64]) {
    put_array(out, keys.len() + 1);
    put_bulk(out, if keys.len() > 1 { b"MGET" } else { b"GET" });
    for &key in keys {
        put_key(out, values, key);
    }
}

pub(super) fn put_set(out: &mut Vec<u8>, values: &Values, (key, generation): (u64, u64), ttl: u32) {
    put_array(out, if ttl > 0 { 5 } else { 3 });
    put_bulk(out, b"SET");
    put_key(out, values, key);
    put_length(out, b'$', values.value_size());
    values.put_value(out, key, generation);
    out.extend_from_slice(b"\r\n");
    if ttl > 0 {
        put_bulk(out, b"EX");
        put_length(out, b'$', if ttl < 10 { 1 } else { ttl.ilog10() as usize + 1 });
        put_number(out, u64::from(ttl));
        out.extend_from_slice(b"\r\n");
    }
}

/// Without a name it is the password of the default user, which also old servers understand.
pub(super) fn put_login(out: &mut Vec<u8>, login: &Login) {
    put_array(out, if login.user.is_empty() { 2 } else { 3 });
    put_bulk(out, b"AUTH");
    if !login.user.is_empty() {
        put_bulk(out, login.user.as_bytes());
    }
    put_bulk(out, login.password.as_bytes());
}

fn put_array(out: &mut Vec<u8>, words: usize) {
    put_length(out, b'*', words);
}

fn put_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    put_number(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn put_key(out: &mut Vec<u8>, values: &Values, key: u64) {
    put_length(out, b'$', values.key_size());
    values.put_key(out, key);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn parse(bytes: &[u8], most: usize) -> Parsed<'_> {
    let Some((line, mut used)) = line(bytes)? else { return Ok(None) };
    let item = match line {
        b"+OK" => Item::Stored,
        b"+PONG" => Item::Alive(b""),
        b"$-1" => Item::Miss { key: None },
        [b'$', digits @ ..] => {
            let Some((data, end)) = block(bytes, used, length(digits, most)?)? else {
                return Ok(None);
            };
            used = end;
            Item::Value { key: None, data }
        }
        [b'*', digits @ ..] => Item::Array(length(digits, MAX_MULTI)?),
        [b'-', ..] => {
            let passing = PASSING.iter().any(|kind| line.starts_with(kind));
            Item::Refused { text: line, passing }
        }
        _ => return Err("a line that is no answer"),
    };
    Ok(Some(Answer { item, tag: None, used }))
}

#[cfg(test)]
mod tests {
    use super::super::Protocol::Resp;
    use super::super::tests::{cut_everywhere, not_an_answer};
    use super::*;

    #[test]
    fn answers_may_be_cut_anywhere() {
        cut_everywhere(Resp, b"$4\r\n\r\n$1\r\n", Item::Value { key: None, data: b"\r\n$1" });
        cut_everywhere(Resp, b"$0\r\n\r\n", Item::Value { key: None, data: b"" });
        cut_everywhere(Resp, b"$-1\r\n", Item::Miss { key: None });
        cut_everywhere(Resp, b"*2\r\n", Item::Array(2));
        cut_everywhere(Resp, b"+OK\r\n", Item::Stored);
        let text = b"-NOAUTH Authentication required.";
        let denied = Item::Refused { text, passing: false };
        cut_everywhere(Resp, b"-NOAUTH Authentication required.\r\n", denied);
        let text = b"-OOM command not allowed";
        cut_everywhere(
            Resp,
            b"-OOM command not allowed\r\n",
            Item::Refused { text, passing: true },
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [&b"$-2\r\n"[..], b"$x\r\n", b"$1025\r\n", b"*99999\r\n", b":1\r\n", b"END\r\n"]
        {
            not_an_answer(Resp, bad);
        }
        not_an_answer(Resp, b"$1\r\nab");
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let values = Values::new(3, 24);
        let mut out = Vec::new();
        put_get(&mut out, &values, &[1]);
        put_get(&mut out, &values, &[2, 3]);
        let expected =
            b"*2\r\n$3\r\nGET\r\n$3\r\nk01\r\n*3\r\n$4\r\nMGET\r\n$3\r\nk02\r\n$3\r\nk03\r\n";
        assert_eq!(out, expected);
        out.clear();
        put_set(&mut out, &values, (5, 1), 60);
        assert!(out.starts_with(b"*5\r\n$3\r\nSET\r\n$3\r\nk05\r\n$24\r\n\x05\0"));
        assert!(out.ends_with(b"\r\n$2\r\nEX\r\n$2\r\n60\r\n"));
    }
}
