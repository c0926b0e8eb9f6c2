//! memcached's meta commands: `mg` and `ms`, and `mn` behind quiet reads. Pure.
//!
//! Reads ask for the key back (`k`), so that an answer is known to be that of its request.

use super::{Answer, Item, Parsed, block, length, line, put_number, text};
use crate::cli::bench::values::Values;

pub(super) fn put_get(out: &mut Vec<u8>, values: &Values, keys: &[u64]) {
    let quiet = keys.len() > 1;
    for &key in keys {
        out.extend_from_slice(b"mg ");
        values.put_key(out, key);
        out.extend_from_slice(if quiet { b" k v q\r\n" } else { b" k v\r\n" });
    }
    if quiet {
        out.extend_from_slice(b"mn\r\n");
    }
}

pub(super) fn put_set(out: &mut Vec<u8>, values: &Values, (key, generation): (u64, u64), ttl: u32) {
    out.extend_from_slice(b"ms ");
    values.put_key(out, key);
    out.push(b' ');
    put_number(out, values.value_size() as u64);
    out.extend_from_slice(b" T");
    put_number(out, u64::from(ttl));
    out.extend_from_slice(b"\r\n");
    values.put_value(out, key, generation);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn parse(bytes: &[u8], most: usize) -> Parsed<'_> {
    let Some((line, used)) = line(bytes)? else { return Ok(None) };
    if let Some(words) = line.strip_prefix(b"VA ") {
        return value(bytes, words, used, most);
    }
    let item = match line {
        b"MN" => Item::End,
        b"EN" => Item::Miss { key: None },
        // Some versions say the key of a miss as well, others do not.
        [b'E', b'N', b' ', flags @ ..] => {
            let mut flags = flags.split(|&byte| byte == b' ');
            Item::Miss { key: flags.find_map(|flag| flag.strip_prefix(b"k")) }
        }
        b"HD" => Item::Stored,
        // The name and password of a connection are set by a text command.
        b"STORED" => Item::Stored,
        _ => text::common(line)?,
    };
    Ok(Some(Answer { item, tag: None, used }))
}

/// `VA length flags*`, and the value behind the line; the key is the flag `k`.
fn value<'a>(bytes: &'a [u8], words: &'a [u8], used: usize, most: usize) -> Parsed<'a> {
    let mut words = words.split(|&byte| byte == b' ');
    let length = length(words.next().unwrap_or_default(), most)?;
    let key = words.find_map(|flag| flag.strip_prefix(b"k")).ok_or("a value without its key")?;
    let Some((data, used)) = block(bytes, used, length)? else { return Ok(None) };
    Ok(Some(Answer { item: Item::Value { key: Some(key), data }, tag: None, used }))
}

#[cfg(test)]
mod tests {
    use super::super::Protocol::Meta;
    use super::super::tests::{cut_everywhere, not_an_answer};
    use super::*;

    #[test]
    fn answers_may_be_cut_anywhere() {
        let value = Item::Value { key: Some(b"k1"), data: b"HD\r\n" };
        cut_everywhere(Meta, b"VA 4 kk1\r\nHD\r\n\r\n", value);
        cut_everywhere(Meta, b"VA 4 f0 kk1 W\r\nHD\r\n\r\n", value);
        cut_everywhere(Meta, b"EN\r\n", Item::Miss { key: None });
        cut_everywhere(Meta, b"EN kk1\r\n", Item::Miss { key: Some(b"k1") });
        cut_everywhere(Meta, b"MN\r\n", Item::End);
        cut_everywhere(Meta, b"HD\r\n", Item::Stored);
        cut_everywhere(Meta, b"ERROR\r\n", Item::Refused { text: b"ERROR", passing: false });
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in
            [&b"VA 4\r\nabcd\r\n"[..], b"VA x kk1\r\n", b"VA 2000 kk1\r\n", b"VALUE k 0 1\r\n"]
        {
            not_an_answer(Meta, bad);
        }
        not_an_answer(Meta, b"VA 1 kk1\r\nab");
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let values = Values::new(3, 24);
        let mut out = Vec::new();
        put_get(&mut out, &values, &[1]);
        put_get(&mut out, &values, &[2, 3]);
        assert_eq!(out, b"mg k01 k v\r\nmg k02 k v q\r\nmg k03 k v q\r\nmn\r\n");
        out.clear();
        put_set(&mut out, &values, (5, 1), 0);
        assert!(out.starts_with(b"ms k05 24 T0\r\n\x05\0") && out.ends_with(b"\r\n"));
    }
}
