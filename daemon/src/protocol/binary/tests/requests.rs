//! Packets and the commands that they become, or how they are refused.

use super::*;

/// The command of a whole request, which must use all of its bytes.
fn asked(bytes: &[u8]) -> Command<'_> {
    match Binary::new().parse(bytes, &LIMITS) {
        Parsed::Request { used, command, .. } if used == bytes.len() => command,
        other => panic!("{other:?}"),
    }
}

/// The answer to a packet that is refused: bytes, how much is passed over, whether it is the end.
fn refusal(bytes: &[u8], limits: &Limits) -> (Vec<u8>, u64, bool) {
    match Binary::new().parse(bytes, limits) {
        Parsed::Answered { used: HEADER_LEN, skip, answer, close } => {
            let mut out = Vec::new();
            answer.write(&mut out);
            (out, skip, close)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_opcode_becomes_its_command() {
    let hour = Expiry::In(3_600_000);
    let lifetime = 3600_u32.to_be_bytes();
    let read = Command::Get(Get::new(b"k"));
    for opcode in [0x00, 0x09, 0x0c, 0x0d] {
        assert_eq!(asked(&bytes(opcode, b"", b"k", b"")), read);
    }
    let touched = Command::Get(Get { touch: Some(hour), ..Get::new(b"k") });
    for opcode in [0x1d, 0x1e, 0x23, 0x24] {
        assert_eq!(asked(&bytes(opcode, &lifetime, b"k", b"")), touched);
    }
    for (opcode, mode) in [
        (0x01, Mode::Set),
        (0x11, Mode::Set),
        (0x02, Mode::Add),
        (0x12, Mode::Add),
        (0x03, Mode::Replace),
        (0x13, Mode::Replace),
    ] {
        let packet = Packet::new(opcode, &storing(0xfedc_ba98, 3600), b"k", b"value");
        let set = Set::new(b"k", b"value", 0xfedc_ba98, hour, mode);
        assert_eq!(asked(&packet.bytes()), Command::Set(set));
        let compared = Set { compare: Some(7), mode: Mode::Set, ..set };
        assert_eq!(asked(&packet.cas(7).bytes()), Command::Set(compared));
    }
    for (opcode, mode) in
        [(0x0e, Mode::Append), (0x19, Mode::Append), (0x0f, Mode::Prepend), (0x1a, Mode::Prepend)]
    {
        let packet = Packet::new(opcode, b"", b"k", b"more");
        let set = Set::new(b"k", b"more", 0, Expiry::Default, mode);
        assert_eq!(asked(&packet.bytes()), Command::Set(set));
        let compared = Set { compare: Some(u64::MAX), ..set };
        assert_eq!(asked(&packet.cas(u64::MAX).bytes()), Command::Set(compared));
    }
    for opcode in [0x04, 0x14] {
        let packet = Packet::new(opcode, b"", b"k", b"");
        assert_eq!(asked(&packet.bytes()), Command::Delete(Delete::new(b"k")));
        let compared = Delete { compare: Some(9), ..Delete::new(b"k") };
        assert_eq!(asked(&packet.cas(9).bytes()), Command::Delete(compared));
    }
    assert_eq!(
        asked(&bytes(0x1c, &lifetime, b"k", b"")),
        Command::Touch { key: b"k", expiry: hour }
    );
    assert_eq!(asked(&bytes(0x1b, &2_u32.to_be_bytes(), b"", b"")), Command::Verbosity(2));
    for (opcode, command) in [
        (0x07, Command::Quit),
        (0x17, Command::Quit),
        (0x0a, Command::Noop),
        (0x0b, Command::Version),
        (0x08, Command::Flush { at: None }),
        (0x18, Command::Flush { at: None }),
        (0x10, Command::Stats(b"")),
    ] {
        assert_eq!(asked(&bytes(opcode, b"", b"", b"")), command);
    }
    assert_eq!(asked(&bytes(0x10, b"", b"settings", b"")), Command::Stats(b"settings"));
    assert_eq!(asked(&bytes(0x10, b"", b"reset", b"")), Command::ResetStats);
}

#[test]
fn counting_makes_what_is_missing_unless_told_not_to() {
    for (opcode, down) in [(0x05, false), (0x15, false), (0x06, true), (0x16, true)] {
        let count = Count::new(b"n", 3, down);
        for (lifetime, initial) in [
            (0, Some((7, Expiry::Default))),
            (60, Some((7, Expiry::In(60_000)))),
            (u32::MAX - 1, Some((7, Expiry::At(4_294_967_294_000)))),
            (u32::MAX, None),
        ] {
            let packet = Packet::new(opcode, &counting(3, 7, lifetime), b"n", b"");
            assert_eq!(asked(&packet.bytes()), Command::Count(Count { initial, ..count }));
            let compared = Count { initial, compare: Some(5), ..count };
            assert_eq!(asked(&packet.cas(5).bytes()), Command::Count(compared));
        }
    }
}

#[test]
fn lifetimes_have_no_sign_and_a_flush_may_name_its_moment() {
    for (seconds, expiry) in [
        (0, Expiry::Default),
        (1, Expiry::In(1000)),
        (2_592_000, Expiry::In(2_592_000_000)),
        (2_592_001, Expiry::At(2_592_001_000)),
        (u32::MAX, Expiry::At(4_294_967_295_000)),
    ] {
        let request = bytes(0x01, &storing(0, seconds), b"k", b"");
        let set = Set::new(b"k", b"", 0, expiry, Mode::Set);
        assert_eq!(asked(&request), Command::Set(set));
        let at = (seconds != 0).then_some(expiry);
        assert_eq!(asked(&bytes(0x08, &seconds.to_be_bytes(), b"", b"")), Command::Flush { at });
    }
}

#[test]
fn a_packet_of_another_shape_is_invalid_and_the_end() {
    let many = [0_u8; 21];
    for code in 0..=u8::MAX {
        let Some(opcode) = Opcode::of(code) else { continue };
        let mut shapes = 0;
        for extras in 0..=many.len() {
            for (key, value) in [(&b""[..], &b""[..]), (b"k", b""), (b"", b"v"), (b"k", b"v")] {
                let packet = bytes(code, &many[..extras], key, value);
                match Binary::new().parse(&packet, &LIMITS) {
                    Parsed::Answered { close: true, .. } => {
                        let invalid = error(code, 0x04, "Invalid arguments");
                        assert_eq!(refusal(&packet, &LIMITS), (invalid, 0, true));
                    }
                    Parsed::Request { used, .. } | Parsed::Answered { used, .. } => {
                        assert_eq!(used, packet.len());
                        shapes += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        let expected = match opcode.verb {
            Verb::Flush | Verb::Stat => 2,
            verb if verb.is_sasl() && verb != Verb::Mechanisms => 2,
            Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => 2,
            _ => 1,
        };
        assert_eq!(shapes, expected, "opcode {code:#x}");
    }
}

#[test]
fn a_key_has_250_bytes_at_most() {
    let key = [b'k'; KEY_MAX + 1];
    assert_eq!(asked(&bytes(0x00, b"", &key[1..], b"")), Command::Get(Get::new(&key[1..])));
    let invalid = error(0x00, 0x04, "Invalid arguments");
    assert_eq!(refusal(&bytes(0x00, b"", &key, b""), &LIMITS), (invalid, 0, true));
}

#[test]
fn lengths_that_contradict_each_other_are_the_end_at_once() {
    for (key_len, extras_len, body_len) in
        [(5, 0, 4), (0, 8, 7), (1, 8, 8), (u16::MAX, u8::MAX, 0), (u16::MAX, u8::MAX, 65_789)]
    {
        for opcode in [0x00, 0x01, 0x05, 0x0a, 0x21, 0x7f] {
            let mut packet = Packet::new(opcode, b"", b"", b"");
            packet.lengths = (key_len, extras_len, body_len);
            let invalid = error(opcode, 0x04, "Invalid arguments");
            assert_eq!(refusal(&packet.bytes(), &LIMITS), (invalid, 0, true));
        }
    }
}

#[test]
fn what_is_too_large_is_passed_over_without_waiting_for_it() {
    let skipped_max = u32::try_from(SKIPPED_BODY_MAX).unwrap();
    for (body_len, skip, close) in [
        (9 + 4097, 9 + 4097, false),
        (skipped_max, SKIPPED_BODY_MAX, false),
        (skipped_max + 1, 0, true),
        (u32::MAX, 0, true),
    ] {
        let mut packet = Packet::new(0x11, b"", b"", b"");
        packet.lengths = (1, 8, body_len);
        let large = error(0x11, 0x03, "Too large.");
        assert_eq!(refusal(&packet.bytes(), &LIMITS), (large, skip, close));
    }
    let largest = bytes(0x01, &storing(0, 0), b"k", &[b'v'; 4096]);
    assert!(matches!(asked(&largest), Command::Set(set) if set.value.len() == 4096));
}

#[test]
fn unknown_opcodes_are_passed_over_whole() {
    for code in (0..=u8::MAX).filter(|code| Opcode::of(*code).is_none()) {
        let unknown = error(code, 0x81, "Unknown command");
        let packet = bytes(code, b"four", b"key", b"value");
        assert_eq!(refusal(&packet, &LIMITS), (unknown, 12, false));
    }
    let known = (0..=u8::MAX).filter(|code| Opcode::of(*code).is_some()).count();
    assert_eq!(known, 0x25 - 1);
}

#[test]
fn what_is_not_a_request_is_the_end_without_a_word() {
    for first in (0..=u8::MAX).filter(|first| *first != REQUEST) {
        let input = [first, 0, 0];
        let parsed = Binary::new().parse(&input, &LIMITS);
        let end = Parsed::Refused { used: 3, skip: 0, answer: b"", retract: false, close: true };
        assert_eq!(parsed, end);
    }
}

#[test]
fn plain_says_name_and_password_and_everything_else_is_nobody() {
    let named = Command::Authenticate { user: b"ada", password: b"one" };
    for (mechanism, message) in [
        (&b"PLAIN"[..], &b"\0ada\0one"[..]),
        (b"plain", b"\0ada\0one"),
        (b"PLAIN", b"ada\0ada\0one"),
    ] {
        assert_eq!(asked(&attempt(0x21, mechanism, message)), named);
    }
    let nobody = Command::Authenticate { user: b"", password: b"" };
    for (mechanism, message) in [
        (&b"PLAIN"[..], &b"ada\0one"[..]),
        (b"PLAIN", b"ada"),
        (b"PLAIN", b"bob\0ada\0one"),
        (b"PLAIN", b"\0ada\0one\0"),
        (b"PLAIN", b"\0\0one"),
        (b"PLAIN", b"\0\0"),
        (b"CRAM-MD5", b"\0ada\0one"),
        (b"PLAI", b"\0ada\0one"),
        (b"CRAM-MD5", b""),
    ] {
        assert_eq!(asked(&attempt(0x21, mechanism, message)), nobody);
        assert_eq!(asked(&attempt(0x22, mechanism, message)), nobody);
    }
}

#[test]
fn a_step_is_taken_only_when_one_is_due_and_only_once() {
    let mut codec = Binary::new();
    let step = attempt(0x22, b"PLAIN", b"\0ada\0one");
    let named = Command::Authenticate { user: b"ada", password: b"one" };
    let nobody = Command::Authenticate { user: b"", password: b"" };
    let mut run = |bytes: &[u8]| match codec.parse(bytes, &LIMITS) {
        Parsed::Request { command, .. } => Ok(match command {
            Command::Authenticate { user: b"ada", .. } => named,
            Command::Authenticate { user: b"", .. } => nobody,
            other => panic!("{other:?}"),
        }),
        Parsed::Answered { answer, close: false, .. } => {
            let mut out = Vec::new();
            answer.write(&mut out);
            Err(out)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(run(&step), Ok(nobody));
    let proceed = response(0x21, 0x21, 0, [b"", b"", b""]);
    assert_eq!(run(&attempt(0x21, b"PLAIN", b"")), Err(proceed.clone()));
    let mechanisms = response(0x20, 0, 0, [b"", b"", b"PLAIN"]);
    assert_eq!(run(&bytes(0x20, b"", b"", b"")), Err(mechanisms));
    assert_eq!(run(&step), Ok(named));
    assert_eq!(run(&step), Ok(nobody));
    assert_eq!(run(&attempt(0x21, b"PLAIN", b"")), Err(proceed));
    assert_eq!(run(&attempt(0x21, b"PLAIN", b"\0x")), Ok(nobody));
    assert_eq!(run(&step), Ok(nobody));
}

#[test]
fn without_passwords_there_is_no_way_to_say_who_one_is() {
    let limits = Limits { passwords: false, ..LIMITS };
    for packet in [bytes(0x20, b"", b"", b""), attempt(0x21, b"PLAIN", b"\0a\0b")] {
        let unknown = error(packet[1], 0x81, "Unknown command");
        let body = (packet.len() - HEADER_LEN) as u64;
        assert_eq!(refusal(&packet, &limits), (unknown, body, false));
    }
}

#[test]
fn a_message_that_no_password_needs_is_refused_and_the_end() {
    let mut packet = Packet::new(0x21, b"", b"", b"");
    for body_len in [5 + 1025, 1 << 20, u32::MAX] {
        packet.lengths = (5, 0, body_len);
        let refused = error(0x21, 0x20, "Auth failure.");
        assert_eq!(refusal(&packet.bytes(), &LIMITS), (refused, 0, true));
    }
    let mut longest = b"\0ada\0".to_vec();
    longest.resize(1024, b'x');
    let request = attempt(0x21, b"PLAIN", &longest);
    assert!(matches!(asked(&request), Command::Authenticate { user: b"ada", .. }));
}
