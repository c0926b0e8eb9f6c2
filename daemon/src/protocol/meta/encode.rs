//! Meta answers: replies to bytes. Called by the protocol's door with the form that the parser gave
//! out; it appends to the output and does nothing else.

use super::{Form, Verb};
use crate::command::{Entry, Found, Reply};
use crate::protocol::lines::{self, Words, put_number};

/// What there is to tell for the flags that ask for something.
#[derive(Default)]
struct Facts {
    /// `s`
    size: Option<u64>,
    /// `t`; the inner `None` is for ever.
    ttl_s: Option<Option<u64>>,
    /// `c`
    version: Option<u64>,
    /// `f`
    flags: Option<u32>,
    /// `l`
    idle_s: Option<u64>,
    /// `h`
    read_before: Option<bool>,
}

/// Appends the bytes of an answer.
pub fn encode(form: &Form, reply: &Reply, out: &mut Vec<u8>) {
    let known = match form.verb {
        Verb::Get => get(form, reply, out),
        Verb::Set => set(form, reply, out),
        Verb::Delete => delete(form, reply, out),
        Verb::Count => count(form, reply, out),
        Verb::Describe => describe(form, reply, out),
        Verb::Noop => noop(reply, out),
    };
    if !known {
        lines::encode_other(reply, out);
    }
}

/// Gives false for an answer that is not one of this verb's; so do all below.
fn get(form: &Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    match reply {
        Reply::Found(found) => hit(form, found, out),
        Reply::Missing if form.quiet => {}
        Reply::Missing => status(form, b"EN", &Facts::default(), out),
        _ => return false,
    }
    true
}

fn hit(form: &Form, found: &Found, out: &mut Vec<u8>) {
    // Head, flags, block: nothing of it is longer than the request and some numbers.
    out.reserve(form.key.len() + form.flags.len() + found.value.len() + 160);
    if form.value {
        out.extend_from_slice(b"VA ");
        put_number(found.value.len(), out);
    } else {
        out.extend_from_slice(b"HD");
    }
    let facts = Facts {
        size: Some(found.size),
        ttl_s: Some(found.ttl_s),
        version: Some(found.version),
        flags: Some(found.flags),
        idle_s: Some(found.idle_s),
        read_before: Some(found.read_before),
    };
    put_flags(form, &facts, out);
    for (is_so, mark) in [(found.taken, b" Z"), (found.stale, b" X"), (found.won, b" W")] {
        if is_so {
            out.extend_from_slice(mark);
        }
    }
    out.extend_from_slice(b"\r\n");
    if form.value {
        out.extend_from_slice(found.value);
        out.extend_from_slice(b"\r\n");
    }
}

fn set(form: &Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    let code = match reply {
        Reply::Stored { .. } if form.quiet => return true,
        Reply::Stored { version, size } => {
            let facts = Facts { version: Some(*version), size: Some(*size), ..Facts::default() };
            status(form, b"HD", &facts, out);
            return true;
        }
        Reply::NotStored => b"NS",
        Reply::Exists => b"EX",
        Reply::Missing => b"NF",
        _ => return false,
    };
    // There is no version then, and memcached shows 0 for it.
    let facts = Facts { version: Some(0), size: Some(form.size), ..Facts::default() };
    status(form, code, &facts, out);
    true
}

fn delete(form: &Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    let code = match reply {
        Reply::Deleted if form.quiet => return true,
        Reply::Deleted => b"HD",
        Reply::Exists => b"EX",
        Reply::Missing => b"NF",
        Reply::NotStored => b"NS",
        _ => return false,
    };
    status(form, code, &Facts::default(), out);
    true
}

fn count(form: &Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    let code = match reply {
        Reply::Counted { .. } if form.quiet => return true,
        Reply::Counted { number, version, ttl_s } => {
            let facts = Facts { version: Some(*version), ttl_s: Some(*ttl_s), ..Facts::default() };
            counted(form, *number, &facts, out);
            return true;
        }
        Reply::Exists => b"EX",
        Reply::Missing => b"NF",
        Reply::NotStored => b"NS",
        _ => return false,
    };
    status(form, code, &Facts::default(), out);
    true
}

fn counted(form: &Form, number: u64, facts: &Facts, out: &mut Vec<u8>) {
    if !form.value {
        return status(form, b"HD", facts, out);
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    out.extend_from_slice(b"VA ");
    put_number(digits.len(), out);
    put_flags(form, facts, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(digits);
    out.extend_from_slice(b"\r\n");
}

fn describe(form: &Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    match reply {
        Reply::Described(entry) => description(form, entry, out),
        Reply::Missing => out.extend_from_slice(b"EN\r\n"),
        _ => return false,
    }
    true
}

/// `ME <key> exp=<seconds to live> la=<seconds ago> cas= fetch= cls= size=`
fn description(form: &Form, entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ME ");
    out.extend_from_slice(form.key);
    out.extend_from_slice(b" exp=");
    let now_s = entry.seen_s.saturating_add(entry.idle_s);
    match entry.expires_s {
        Some(moment) => put_number(moment.saturating_sub(now_s), out),
        None => out.extend_from_slice(b"-1"),
    }
    out.extend_from_slice(b" la=");
    put_number(entry.idle_s, out);
    out.extend_from_slice(b" cas=");
    put_number(entry.version, out);
    out.extend_from_slice(if entry.read_before { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    put_number(entry.class, out);
    out.extend_from_slice(b" size=");
    put_number(entry.size, out);
    out.extend_from_slice(b"\r\n");
}

fn noop(reply: &Reply, out: &mut Vec<u8>) -> bool {
    let known = *reply == Reply::Noop;
    if known {
        out.extend_from_slice(b"MN\r\n");
    }
    known
}

/// A code and the flags behind it.
fn status(form: &Form, code: &[u8], facts: &Facts, out: &mut Vec<u8>) {
    out.extend_from_slice(code);
    put_flags(form, facts, out);
    out.extend_from_slice(b"\r\n");
}

/// Flags in the order of the request: the opaque as it came, the key, and what is asked for and
/// known.
fn put_flags(form: &Form, facts: &Facts, out: &mut Vec<u8>) {
    for word in Words(form.flags) {
        let Some(letter) = word.first().copied() else { continue };
        let number = match letter {
            b'O' => {
                out.push(b' ');
                out.extend_from_slice(word);
                None
            }
            b'k' => {
                put_key(form, out);
                None
            }
            b't' if facts.ttl_s == Some(None) => {
                out.extend_from_slice(b" t-1");
                None
            }
            b't' => facts.ttl_s.flatten(),
            b's' => facts.size,
            b'c' => facts.version,
            b'f' => facts.flags.map(u64::from),
            b'l' => facts.idle_s,
            b'h' => facts.read_before.map(u64::from),
            _ => None,
        };
        if let Some(number) = number {
            out.extend_from_slice(&[b' ', letter]);
            put_number(number, out);
        }
    }
}

/// The key as the request wrote it; a `b` says so when that is base64.
fn put_key(form: &Form, out: &mut Vec<u8>) {
    out.extend_from_slice(b" k");
    out.extend_from_slice(form.key);
    if form.base64 {
        out.extend_from_slice(b" b");
    }
}
