//! Text answers: replies to bytes. Called by the dialect with the form that its parser gave out; it
//! appends to the output and does nothing else.

use super::{Dump, Form};
use crate::command::{Entry, Failure, Found, Reply};
use crate::protocol::lines::{self, put_number};

/// The end of a line of keys, of statistics and of most listings.
pub const END: &[u8] = b"END\r\n";

/// Appends an answer. False says that it was not one for this key but for the whole line of keys.
pub fn encode(form: Form, reply: &Reply, out: &mut Vec<u8>) -> bool {
    match form {
        Form::Value { versions, last } => return value(versions, last, reply, out),
        Form::Line { quiet: true } => {}
        Form::Line { quiet: false } => line(reply, out),
        Form::Stats => stats(b"STAT ", reply, out),
        Form::Prefixes => stats(b"PREFIX ", reply, out),
        Form::Reset => match reply {
            Reply::Ok => out.extend_from_slice(b"RESET\r\n"),
            _ => line(reply, out),
        },
        Form::Shutdown => match reply {
            // The connection's end is the answer.
            Reply::Ok => {}
            Reply::Failed(Failure::Forbidden(_)) => {
                out.extend_from_slice(b"SERVER_ERROR: shutdown not enabled\r\n");
            }
            _ => line(reply, out),
        },
        Form::Dump(dump) => listing(dump, reply, out),
    }
    true
}

fn value(versions: bool, last: bool, reply: &Reply, out: &mut Vec<u8>) -> bool {
    match reply {
        Reply::Found(found) => item(versions, found, out),
        Reply::Missing => {}
        _ => {
            lines::encode_other(reply, out);
            return false;
        }
    }
    if last {
        out.extend_from_slice(END);
    }
    true
}

/// `VALUE <key> <flags> <bytes> [<version>]` and the block.
fn item(versions: bool, found: &Found, out: &mut Vec<u8>) {
    // The longest head: five words, three of them numbers.
    out.reserve(found.key.len() + found.value.len() + 64);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(found.key);
    out.push(b' ');
    put_number(found.flags, out);
    out.push(b' ');
    put_number(found.value.len(), out);
    if versions {
        out.push(b' ');
        put_number(found.version, out);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(found.value);
    out.extend_from_slice(b"\r\n");
}

fn line(reply: &Reply, out: &mut Vec<u8>) {
    let text: &[u8] = match reply {
        Reply::Stored { .. } => b"STORED\r\n",
        Reply::NotStored => b"NOT_STORED\r\n",
        Reply::Exists => b"EXISTS\r\n",
        Reply::Missing => b"NOT_FOUND\r\n",
        Reply::Deleted => b"DELETED\r\n",
        Reply::Touched => b"TOUCHED\r\n",
        Reply::Ok => b"OK\r\n",
        Reply::Counted { number, .. } => {
            put_number(*number, out);
            b"\r\n"
        }
        Reply::Version(version) => {
            out.extend_from_slice(b"VERSION ");
            out.extend_from_slice(version.as_bytes());
            b"\r\n"
        }
        _ => return lines::encode_other(reply, out),
    };
    out.extend_from_slice(text);
}

fn stats(word: &[u8], reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Stats(rows) => {
            for (name, value) in *rows {
                for part in [word, name.as_bytes(), b" ", value.as_bytes(), b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
            out.extend_from_slice(END);
        }
        // There is no group of this name.
        Reply::Missing => out.extend_from_slice(lines::UNKNOWN),
        _ => line(reply, out),
    }
}

fn listing(dump: Dump, reply: &Reply, out: &mut Vec<u8>) {
    match (reply, dump) {
        (Reply::Listed(entry), Dump::Facts { classes }) if wanted(classes, entry) => {
            facts(entry, out);
        }
        (Reply::Listed(entry), Dump::Requests { classes }) if wanted(classes, entry) => {
            request(entry, out);
        }
        (Reply::Listed(entry), Dump::Items) => line_of_item(entry, out),
        (Reply::Listed(_), _) => {}
        (Reply::ListEnd, Dump::Requests { .. }) => out.extend_from_slice(b"EN\r\n"),
        (Reply::ListEnd, _) => out.extend_from_slice(END),
        (Reply::Failed(Failure::Forbidden(_)), dump) => out.extend_from_slice(match dump {
            Dump::Facts { .. } => b"ERROR metadump not allowed\r\n",
            Dump::Requests { .. } => b"ERROR key dump not allowed\r\n",
            Dump::Items => b"CLIENT_ERROR stats cachedump not allowed\r\n",
        }),
        _ => line(reply, out),
    }
}

fn wanted(classes: Option<u64>, entry: &Entry) -> bool {
    let bit = 1_u64.checked_shl(u32::from(entry.class)).unwrap_or(0);
    classes.is_none_or(|classes| classes & bit != 0)
}

/// `key=<key> exp=<unix> la=<unix> cas=<version> fetch=<yes|no> cls=<class> size=<bytes>`
fn facts(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"key=");
    put_escaped(entry.key, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), out);
    out.extend_from_slice(b" exp=");
    match entry.expires_s {
        Some(moment) => put_number(moment, out),
        None => out.extend_from_slice(b"-1"),
    }
    out.extend_from_slice(b" la=");
    put_number(entry.seen_s, out);
    out.extend_from_slice(b" cas=");
    put_number(entry.version, out);
    out.extend_from_slice(if entry.read_before { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    put_number(entry.class, out);
    out.extend_from_slice(b" size=");
    put_number(entry.size, out);
    out.push(b'\n');
}

/// `mg <key>`; keys that cannot stand in a line go in base64.
fn request(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    if entry.key.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(entry.key);
    } else {
        lines::put_base64(entry.key, out);
        out.extend_from_slice(b" b");
    }
    out.extend_from_slice(b"\r\n");
}

/// `ITEM <key> [<bytes> b; <unix> s]`
fn line_of_item(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ITEM ");
    put_escaped(entry.key, is_plain, out);
    out.extend_from_slice(b" [");
    put_number(entry.size, out);
    out.extend_from_slice(b" b; ");
    put_number(entry.expires_s.unwrap_or(0), out);
    out.extend_from_slice(b" s]\r\n");
}

/// Can this byte of a key stand in a line as it is?
fn is_plain(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// Bytes that are not `plain` as `%` and two digits, so that no key can end a line or begin another.
fn put_escaped(key: &[u8], plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in key {
        if plain(*byte) {
            out.push(*byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}
