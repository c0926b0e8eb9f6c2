//! Replies and the packets that they become.

use super::*;
use crate::command::{Failure, Found};

/// What a request of this opcode is told in answer to `reply`.
fn told(opcode: u8, reply: &Reply) -> Vec<u8> {
    let kind = Opcode::of(opcode).unwrap();
    let key: &[u8] = if kind.with_key { b"key" } else { b"" };
    let form = Form { code: opcode, opcode: kind, opaque: OPAQUE, key };
    let mut out = b"before".to_vec();
    Binary::new().encode(&form, reply, &mut out);
    out.strip_prefix(b"before").unwrap().to_vec()
}

fn found<'a>() -> Found<'a> {
    Found {
        key: b"key",
        value: b"value",
        size: 5,
        flags: 0x0102_0304,
        version: 77,
        ttl_s: None,
        read_before: false,
        idle_s: 0,
        won: false,
        stale: false,
        taken: false,
    }
}

#[test]
fn a_read_is_answered_with_flags_and_value_and_the_key_where_asked() {
    let flags = [1, 2, 3, 4];
    for opcode in [0x00, 0x09, 0x1d, 0x1e] {
        let packet = response(opcode, 0, 77, [&flags, b"", b"value"]);
        assert_eq!(told(opcode, &Reply::Found(found())), packet);
    }
    for opcode in [0x0c, 0x0d, 0x23, 0x24] {
        let packet = response(opcode, 0, 77, [&flags, b"key", b"value"]);
        assert_eq!(told(opcode, &Reply::Found(found())), packet);
    }
}

#[test]
fn a_miss_is_said_aloud_with_the_key_or_not_at_all() {
    for opcode in [0x00, 0x1d, 0x01, 0x11, 0x04, 0x14, 0x05, 0x15, 0x1c, 0x10] {
        assert_eq!(told(opcode, &Reply::Missing), error(opcode, 0x01, "Not found"));
    }
    for opcode in [0x0c, 0x23] {
        let packet = response(opcode, 0x01, 0, [b"", b"key", b""]);
        assert_eq!(told(opcode, &Reply::Missing), packet);
    }
    for opcode in [0x09, 0x0d, 0x1e, 0x24] {
        assert_eq!(told(opcode, &Reply::Missing), b"");
    }
    for opcode in [0x0e, 0x0f, 0x19, 0x1a] {
        assert_eq!(told(opcode, &Reply::Missing), error(opcode, 0x05, "Not stored."));
    }
}

#[test]
fn success_is_said_with_the_version_and_quiet_requests_hear_nothing_of_it() {
    let empty = |opcode, cas| response(opcode, 0, cas, [b"", b"", b""]);
    for (loud, quiet) in [(0x01, 0x11), (0x02, 0x12), (0x03, 0x13), (0x0e, 0x19), (0x0f, 0x1a)] {
        let stored = Reply::Stored { version: 9, size: 0 };
        assert_eq!(told(loud, &stored), empty(loud, 9));
        assert_eq!(told(quiet, &stored), b"");
    }
    for (loud, quiet, reply) in
        [(0x04, 0x14, Reply::Deleted), (0x08, 0x18, Reply::Ok), (0x07, 0x17, Reply::Bye)]
    {
        assert_eq!(told(loud, &reply), empty(loud, 0));
        assert_eq!(told(quiet, &reply), b"");
    }
    for (loud, quiet) in [(0x05, 0x15), (0x06, 0x16)] {
        let counted = Reply::Counted { number: 258, version: 3, ttl_s: None };
        let number = 258_u64.to_be_bytes();
        assert_eq!(told(loud, &counted), response(loud, 0, 3, [b"", b"", &number]));
        assert_eq!(told(quiet, &counted), b"");
    }
    for (opcode, reply) in [(0x1c, Reply::Touched), (0x0a, Reply::Noop), (0x1b, Reply::Ok)] {
        assert_eq!(told(opcode, &reply), empty(opcode, 0));
    }
    let version = response(0x0b, 0, 0, [b"", b"", b"1.6.45"]);
    assert_eq!(told(0x0b, &Reply::Version("1.6.45")), version);
    let welcome = response(0x21, 0, 0, [b"", b"", b"Authenticated"]);
    assert_eq!(told(0x21, &Reply::Welcome), welcome);
}

#[test]
fn what_is_demanded_and_not_so_has_the_status_of_its_verb_also_when_quiet() {
    let data = "Data exists for key.";
    for (opcode, status, words) in [
        (0x02, 0x02, data),
        (0x12, 0x02, data),
        (0x03, 0x01, "Not found"),
        (0x13, 0x01, "Not found"),
        (0x01, 0x05, "Not stored."),
        (0x0e, 0x05, "Not stored."),
        (0x1a, 0x05, "Not stored."),
    ] {
        assert_eq!(told(opcode, &Reply::NotStored), error(opcode, status, words));
        assert_eq!(told(opcode, &Reply::Exists), error(opcode, 0x02, data));
    }
    let words = "Non-numeric server-side value for incr or decr";
    assert_eq!(told(0x15, &Reply::NotANumber), error(0x15, 0x06, words));
    for reply in [Reply::Unwelcome, Reply::WhoAreYou] {
        assert_eq!(told(0x09, &reply), error(0x09, 0x20, "Auth failure."));
    }
}

#[test]
fn every_failure_is_said_also_to_the_quiet() {
    for (failure, status, words) in [
        (Failure::TooLarge, 0x03, "Too large."),
        (Failure::Full, 0x82, "Out of memory"),
        (Failure::Damaged, 0x84, "Internal error"),
        (Failure::Internal, 0x84, "Internal error"),
        (Failure::LockLost, 0x05, "Not stored."),
        (Failure::Busy, 0x85, "Busy"),
        (Failure::NotWritable, 0x86, "Temporary failure"),
        (Failure::Forbidden("not here"), 0x20, "not here"),
        (Failure::Conflict("not both"), 0x04, "not both"),
    ] {
        for opcode in [0x01, 0x11, 0x09] {
            assert_eq!(told(opcode, &Reply::Failed(failure)), error(opcode, status, words));
        }
    }
}

#[test]
fn statistics_are_packets_with_an_empty_one_at_their_end() {
    let stats = [("pid", "1"), ("", "lost"), ("empty", "")];
    let stats = stats.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let end = response(0x10, 0, 0, [b"", b"", b""]);
    let pid = response(0x10, 0, 0, [b"", b"pid", b"1"]);
    let empty = response(0x10, 0, 0, [b"", b"empty", b""]);
    assert_eq!(told(0x10, &Reply::Stats(&stats)), [pid, empty, end.clone()].concat());
    assert_eq!(told(0x10, &Reply::Stats(&[])), end);
    assert_eq!(told(0x10, &Reply::Ok), end);
}

#[test]
fn what_does_not_fit_a_header_is_an_internal_error() {
    let long = "n".repeat(65_536);
    let stats = [(long, String::new())];
    let end = response(0x10, 0, 0, [b"", b"", b""]);
    let internal = error(0x10, 0x84, "Internal error");
    assert_eq!(told(0x10, &Reply::Stats(&stats)), [internal, end].concat());
}
