//! memcached's text commands, as `doc/protocol.txt` of memcached 1.6 has them. Pure.

use super::{Answer, Item, Parsed, block, length, line, put_number};
use crate::cli::bench::options::Login;
use crate::cli::bench::values::Values;

pub(super) fn put_get(out: &mut Vec<u8>, values: &Values, keys: &[u64]) {
    out.extend_from_slice(b"get");
    for &key in keys {
        out.push(b' ');
        values.put_key(out, key);
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put_set(out: &mut Vec<u8>, values: &Values, (key, generation): (u64, u64), ttl: u32) {
    out.extend_from_slice(b"set ");
    values.put_key(out, key);
    out.extend_from_slice(b" 0 ");
    put_number(out, u64::from(ttl));
    out.push(b' ');
    put_number(out, values.value_size() as u64);
    out.extend_from_slice(b"\r\n");
    values.put_value(out, key, generation);
    out.extend_from_slice(b"\r\n");
}

/// memcached `-Y`: the first set of a connection carries name and password, whatever its key.
pub(super) fn put_login(out: &mut Vec<u8>, login: &Login) {
    out.extend_from_slice(b"set login 0 0 ");
    put_number(out, (login.user.len() + 1 + login.password.len()) as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(login.user.as_bytes());
    out.push(b' ');
    out.extend_from_slice(login.password.as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn parse(bytes: &[u8], most: usize) -> Parsed<'_> {
    let Some((line, used)) = line(bytes)? else { return Ok(None) };
    if let Some(words) = line.strip_prefix(b"VALUE ") {
        return value(bytes, words, used, most);
    }
    let item = match line {
        b"END" => Item::End,
        b"STORED" => Item::Stored,
        _ => common(line)?,
    };
    Ok(Some(Answer { item, tag: None, used }))
}

/// The answers that text and meta share.
pub(super) fn common(line: &[u8]) -> Result<Item<'_>, &'static str> {
    if let Some(version) = line.strip_prefix(b"VERSION ") {
        return Ok(Item::Alive(version));
    }
    if line.starts_with(b"SERVER_ERROR") {
        return Ok(Item::Refused { text: line, passing: true });
    }
    if line.starts_with(b"CLIENT_ERROR") || line == b"ERROR" || line.starts_with(b"ERROR ") {
        return Ok(Item::Refused { text: line, passing: false });
    }
    Err("a line that is no answer")
}

/// `VALUE key flags length [cas]`, and the value behind the line.
fn value<'a>(bytes: &'a [u8], words: &'a [u8], used: usize, most: usize) -> Parsed<'a> {
    let mut words = words.split(|&byte| byte == b' ');
    let key = words.next().filter(|key| !key.is_empty()).ok_or("a value without a key")?;
    words.next().ok_or("a value without flags")?;
    let length = length(words.next().ok_or("a value without a length")?, most)?;
    let Some((data, used)) = block(bytes, used, length)? else { return Ok(None) };
    Ok(Some(Answer { item: Item::Value { key: Some(key), data }, tag: None, used }))
}

#[cfg(test)]
mod tests {
    use super::super::Protocol::Text;
    use super::super::tests::{cut_everywhere, not_an_answer};
    use super::*;

    #[test]
    fn answers_may_be_cut_anywhere() {
        let value = Item::Value { key: Some(b"k1"), data: b"a\r\nEN" };
        cut_everywhere(Text, b"VALUE k1 0 5\r\na\r\nEN\r\n", value);
        cut_everywhere(Text, b"VALUE k1 7 5 99\r\na\r\nEN\r\n", value);
        cut_everywhere(Text, b"END\r\n", Item::End);
        cut_everywhere(Text, b"STORED\r\n", Item::Stored);
        cut_everywhere(Text, b"VERSION 1.6.18\r\n", Item::Alive(b"1.6.18"));
        let text = b"SERVER_ERROR out of memory";
        cut_everywhere(
            Text,
            b"SERVER_ERROR out of memory\r\n",
            Item::Refused { text, passing: true },
        );
        cut_everywhere(Text, b"ERROR\r\n", Item::Refused { text: b"ERROR", passing: false });
        let text = b"CLIENT_ERROR unauthenticated";
        cut_everywhere(
            Text,
            b"CLIENT_ERROR unauthenticated\r\n",
            Item::Refused { text, passing: false },
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            &b"VALUE k1 0 5\r\nabcdefg"[..],
            b"VALUE k1 0 1025\r\n",
            b"VALUE k1 0 -1\r\n",
            b"VALUE k1 0\r\n",
            b"VALUE  0 1\r\n",
            b"+OK\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\r\n",
        ] {
            not_an_answer(Text, bad);
        }
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let values = Values::new(3, 24);
        let mut out = Vec::new();
        put_get(&mut out, &values, &[1, 22]);
        assert_eq!(out, b"get k01 k22\r\n");
        out.clear();
        put_set(&mut out, &values, (5, 1), 60);
        assert_eq!(out[..19], *b"set k05 0 60 24\r\n\x05\0");
        assert_eq!((out.len(), &out[out.len() - 2..]), (17 + 24 + 2, &b"\r\n"[..]));
    }
}
