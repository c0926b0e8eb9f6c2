//! Packets that are cut, glued and damaged.

use super::*;

/// One request of every opcode and every kind of refusal that stays in step.
fn samples() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..=0x25_u8)
        .map(|code| match Opcode::of(code).map(|opcode| opcode.verb) {
            Some(Verb::Set | Verb::Add | Verb::Replace) => {
                bytes(code, &storing(1, 2), b"key", b"some value")
            }
            Some(Verb::Append | Verb::Prepend) => bytes(code, b"", b"key", b"some value"),
            Some(Verb::Increment | Verb::Decrement) => bytes(code, &counting(1, 2, 3), b"key", b""),
            Some(Verb::Touch | Verb::GetAndTouch) => bytes(code, b"\0\0\0\x09", b"key", b""),
            Some(Verb::Get | Verb::Delete | Verb::Stat) => bytes(code, b"", b"key", b""),
            Some(Verb::Flush | Verb::Verbosity) => bytes(code, b"\0\0\0\x09", b"", b""),
            Some(Verb::Authenticate | Verb::Step) => attempt(code, b"PLAIN", b"\0ada\0one"),
            _ => bytes(code, b"", b"", b""),
        })
        .collect();
    all.push(bytes(0x01, &storing(0, 0), b"key", &[b'v'; 4096]));
    all.push(bytes(0x01, &storing(0, 0), b"key", &[b'v'; 4097]));
    all.push(bytes(0x7f, b"abc", b"key", b"value"));
    all
}

/// Whatever the cut, the same comes out as of the whole, and never something that was not there.
#[test]
fn a_request_may_be_cut_anywhere() {
    for sample in samples() {
        let whole = format!("{:?}", Binary::new().parse(&sample, &LIMITS));
        for cut in 1..=sample.len() {
            let mut codec = Binary::new();
            match codec.parse(&sample[..cut], &LIMITS) {
                Parsed::Incomplete { wanted } => {
                    assert!(wanted > cut && wanted <= sample.len());
                    assert_eq!(format!("{:?}", codec.parse(&sample, &LIMITS)), whole);
                }
                early => assert_eq!(format!("{early:?}"), whole),
            }
        }
        let glued = [&sample[..], b"\x80\x01rest of another"].concat();
        assert_eq!(format!("{:?}", Binary::new().parse(&glued, &LIMITS)), whole);
    }
}

/// Random bytes, and packets with a few bytes changed: every call makes progress or says how much it
/// wants, which is more than there is and not more than a packet that is taken.
#[test]
fn hostile_bytes_are_answered_within_bounds() {
    let mut seed = 0x0bad_5eed_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let samples = samples();
    let largest = HEADER_LEN + 255 + KEY_MAX + 4096;
    for _ in 0..30_000 {
        let pick = usize::try_from(random()).unwrap() % samples.len();
        let mut input = samples[pick].clone();
        for _ in 0..random() % 4 {
            let place = usize::try_from(random()).unwrap() % input.len().min(40);
            input[place] = random().to_le_bytes()[0];
        }
        let mut codec = Binary::new();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let (used, skip) = match codec.parse(rest, &LIMITS) {
                Parsed::Incomplete { wanted } => {
                    assert!(wanted > rest.len() && wanted <= largest);
                    break;
                }
                Parsed::Request { used, .. } => (used, 0),
                Parsed::Answered { close: true, .. } | Parsed::Refused { close: true, .. } => break,
                Parsed::Answered { used, skip, .. } => (used, skip),
                other => panic!("{other:?}"),
            };
            assert!(used > 0 && used <= rest.len() && skip <= SKIPPED_BODY_MAX);
            rest = &rest[used..];
            rest = rest.get(usize::try_from(skip).unwrap()..).unwrap_or(&[]);
        }
    }
}
