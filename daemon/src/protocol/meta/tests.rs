//! The meta dialect: requests and what they come to, answers and how they look.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use super::*;
use crate::command::{Entry, Found, Reply};
use crate::protocol::Codec;
use crate::protocol::lines_tests::{Driver, ENTRY, FOUND, LIMITS, check, every_reply};

const FORMAT: &str = "CLIENT_ERROR bad command line format";
const FLAG: &str = "CLIENT_ERROR invalid flag";
const TWICE: &str = "CLIENT_ERROR duplicate flag";
const TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const COUNT: &str = "CLIENT_ERROR invalid or duplicate flag";
const KEY: &str = "CLIENT_ERROR error decoding key";

fn table(rows: &[(&str, &[&str])]) {
    for (input, expected) in rows {
        check(input.as_bytes(), expected);
    }
}

#[test]
fn reads() {
    let long = format!("mg {}\r\n", "k".repeat(251));
    let opaque = |bytes| format!("mg k O{} v\r\n", "o".repeat(bytes));
    table(&[
        ("mg k\r\n", &["get k"]),
        ("mg k v\r\n", &["get k value"]),
        ("  mg  k   v \n", &["get k value"]),
        ("mg k s t c f l h k q O1 v u\r\n", &["get k value unseen"]),
        ("mg k T30 v\r\n", &["get k value touch=Some(In(30000))"]),
        ("mg k N0 E7\r\n", &["get k vivify=Some(Default) version=Some(7)"]),
        ("mg k R30\r\n", &["get k below=Some(30)"]),
        ("mg k R-5\r\n", &["get k below=Some(0)"]),
        ("mg k P1 Lx x I M D1 J1 C1 F1\r\n", &["get k"]),
        ("mg Zm9v b v\r\n", &["get foo value"]),
        ("mg Zm9v v b\r\n", &["get foo value"]),
        ("mg k b\r\n", &[KEY]),
        ("mg Zm9 b\r\n", &[KEY]),
        ("mg ==== b\r\n", &[KEY]),
        ("mg\r\n", &[FORMAT]),
        ("mg \r\n", &[FORMAT]),
        (&long, &[FORMAT]),
        ("mg k v v\r\n", &[TWICE]),
        ("mg k v \u{e9}\r\n", &[TWICE]),
        ("mg k S5\r\n", &[FLAG]),
        ("mg k 1\r\n", &[FLAG]),
        ("mg k \0\r\n", &[FLAG]),
        ("mg k T\r\n", &[TOKEN]),
        ("mg k N1x\r\n", &[TOKEN]),
        ("mg k R9223372036854775808\r\n", &[TOKEN]),
        (&opaque(32), &["get k value"]),
        (&opaque(33), &["CLIENT_ERROR opaque token too long"]),
        (
            "mg k a b c d e f g h i j k l m n o p q r s\r\n",
            &["CLIENT_ERROR options flags are too long"],
        ),
        ("mn\r\nmn foo\nmn\n", &["Noop", "Noop", "Noop"]),
        ("me k\r\n", &["describe k"]),
        ("me Zm9v b\r\n", &["describe foo"]),
        ("me k b\r\n", &[FORMAT]),
        ("me\r\n", &[FORMAT]),
        ("mx k\r\n", &["ERROR"]),
        ("mgg k\r\n", &["ERROR"]),
    ]);
}

#[test]
fn writes() {
    let long = format!("ms {} 2\r\nab\r\nmn\r\n", "k".repeat(251));
    table(&[
        ("ms k 2\r\nab\r\n", &["Set k=ab Default"]),
        ("ms k 02 T30 F5 c k O1 q s\r\nab\r\n", &["Set k=ab flags=5 In(30000)"]),
        ("ms k 0\r\n\r\n", &["Set k= Default"]),
        ("ms Zm9v 2 b\r\nab\r\n", &["Set foo=ab Default"]),
        ("ms k 1 ME\r\na\r\n", &["Add k=a Default"]),
        ("ms k 1 ME C5\r\na\r\n", &["Add k=a Default"]),
        ("ms k 1 MR\r\na\r\n", &["Replace k=a Default"]),
        ("ms k 1 MR C5\r\na\r\n", &["Set k=a Default compare=Some(5)"]),
        ("ms k 1 MA\r\na\r\n", &["Append k=a Default"]),
        (
            "ms k 1 MP N60 C5\r\na\r\n",
            &["Prepend k=a Default compare=Some(5) vivify=Some(In(60000))"],
        ),
        ("ms k 1 MS N60\r\na\r\n", &["Set k=a Default"]),
        (
            "ms k 1 C5 I E9\r\na\r\n",
            &["Set k=a Default compare=Some(5) invalidate version=Some(9)"],
        ),
        ("ms k 1 I\r\na\r\n", &["Set k=a Default"]),
        // Refused with their values.
        (&long, &[FORMAT, "Noop"]),
        ("ms k 2 Z\r\nab\r\nmn\r\n", &[FLAG, "Noop"]),
        ("ms k 2 S2\r\nab\r\nmn\r\n", &[FLAG, "Noop"]),
        ("ms k 2 q q\r\nab\r\nmn\r\n", &[TWICE, "Noop"]),
        ("ms k 2 F4294967296\r\nab\r\nmn\r\n", &[FORMAT, "Noop"]),
        ("ms k 2 C-1\r\nab\r\nmn\r\n", &[TOKEN, "Noop"]),
        ("ms k 2 T9223372036854775808\r\nab\r\nmn\r\n", &[TOKEN, "Noop"]),
        ("ms k 2 Mx\r\nab\r\nmn\r\n", &["CLIENT_ERROR invalid mode for ms M token", "Noop"]),
        ("ms k 2 M\r\nab\r\nmn\r\n", &["CLIENT_ERROR invalid mode for ms M token", "Noop"]),
        ("ms k! 2 b\r\nab\r\nmn\r\n", &[KEY, "Noop"]),
        ("ms k 2 q\r\nabc\r\nmn\r\n", &["CLIENT_ERROR bad data chunk", "ERROR", "Noop"]),
        ("ms k 2\r\nabmd k\r\nmn\r\n", &["CLIENT_ERROR bad data chunk", "ERROR", "Noop"]),
        ("ms k 2\r\nab\r mn\r\nmn\r\n", &["CLIENT_ERROR bad data chunk", "ERROR", "Noop"]),
        // Nobody knows how long their values are.
        ("ms k\r\nmn\r\n", &[FORMAT, "<end>"]),
        ("ms\r\nmn\r\n", &[FORMAT, "<end>"]),
        ("ms k S2\r\nmn\r\n", &[FORMAT, "<end>"]),
        ("ms k -1\r\nmn\r\n", &[FORMAT, "<end>"]),
        ("ms k 4294967297\r\nmn\r\n", &[FORMAT, "<end>"]),
    ]);
    let large = format!("ms k 4097 q\r\n{}\r\nmn\r\n", "v".repeat(4097));
    let driver = Driver::run(large.as_bytes());
    assert_eq!(driver.events, ["SERVER_ERROR object too large for cache", "Noop"]);
}

#[test]
fn deletes_and_counts() {
    table(&[
        ("md k\r\n", &["delete k"]),
        (
            "md k I T30 C5 E6 x q k O1\r\n",
            &[
                "delete k compare=Some(5) invalidate expiry=Some(In(30000)) version=Some(6) only_value",
            ],
        ),
        ("md Zm9v b\r\n", &["delete foo"]),
        ("md k Z\r\n", &[FLAG]),
        ("md\r\n", &[FORMAT]),
        ("ma k\r\n", &["count k by 1"]),
        ("ma k MI D5\r\n", &["count k by 5"]),
        ("ma k M+\r\n", &["count k by 1"]),
        ("ma k M- C0\r\n", &["count k by 1 down"]),
        (
            "ma k MD N60 J7 C1 T5 E2\r\n",
            &["count k by 1 down initial=Some((7, In(60000))) expiry=Some(In(5000)) \
             compare=Some(1) version=Some(2)"],
        ),
        ("ma k J7\r\n", &["count k by 1"]),
        ("ma k MX\r\n", &["CLIENT_ERROR invalid mode for ma M token"]),
        ("ma k D-1\r\n", &[COUNT]),
        ("ma k J18446744073709551616\r\n", &[COUNT]),
        ("ma k q q\r\n", &[COUNT]),
        ("ma\r\n", &[FORMAT]),
    ]);
}

#[test]
fn a_plain_key_takes_no_memory() {
    let mut decoded = Vec::new();
    let parsed = parse(b"mg k v k O1\r\n", &mut decoded, &LIMITS, &mut false);
    assert!(matches!(parsed, Parsed::Request { used: 13, .. }));
    assert_eq!(decoded.capacity(), 0);
}

fn answer(request: &str, reply: &Reply) -> String {
    let mut codec = Codec::Unknown;
    let mut decoded = Vec::new();
    let mut out = Vec::new();
    match codec.parse(request.as_bytes(), &mut decoded, &LIMITS) {
        Parsed::Request { form, .. } => codec.encode(&form, reply, &mut out),
        other => panic!("{request:?} came to {other:?}"),
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn answers_repeat_what_was_asked_in_its_order() {
    let found = FOUND;
    let entry = Entry { key: b"k", expires_s: Some(81), ..ENTRY };
    let hit = Reply::Found(found);
    let for_ever = Reply::Found(Found { ttl_s: None, ..found });
    let stub = Reply::Found(Found { value: b"", size: 0, won: true, ..found });
    let won = Reply::Found(Found { won: true, stale: true, ..found });
    let taken = Reply::Found(Found { taken: true, stale: true, ..found });
    let stored = Reply::Stored { version: 8, size: 12 };
    let counted = Reply::Counted { number: 120, version: 9, ttl_s: None };
    for (request, reply, expected) in [
        ("mg k\r\n", hit, "HD\r\n"),
        ("mg k v\r\n", hit, "VA 2\r\nab\r\n"),
        ("mg k q v\r\n", hit, "VA 2\r\nab\r\n"),
        ("mg k s v t c f l h k O1\r\n", hit, "VA 2 s2 t9 c77 f5 l3 h1 kk O1\r\nab\r\n"),
        ("mg k O1 k h t\r\n", for_ever, "HD O1 kk h1 t-1\r\n"),
        ("mg Zm9v b k\r\n", hit, "HD kZm9v b\r\n"),
        ("mg Zm9v k O1 b\r\n", hit, "HD kZm9v b O1\r\n"),
        ("mg k v N30 c\r\n", stub, "VA 0 c77 W\r\n\r\n"),
        ("mg k\r\n", won, "HD X W\r\n"),
        ("mg k s\r\n", taken, "HD s2 Z X\r\n"),
        ("mg k O1 v s t k\r\n", Reply::Missing, "EN O1 kk\r\n"),
        ("mg k O1 q\r\n", Reply::Missing, ""),
        ("mg k O1 q\r\n", Reply::WhoAreYou, "CLIENT_ERROR unauthenticated\r\n"),
        ("ms k 2 c s k O1\r\nab\r\n", stored, "HD c8 s12 kk O1\r\n"),
        ("ms k 2 q c\r\nab\r\n", stored, ""),
        ("ms k 2 q c s O1\r\nab\r\n", Reply::NotStored, "NS c0 s2 O1\r\n"),
        ("ms k 2 q\r\nab\r\n", Reply::Exists, "EX\r\n"),
        ("ms k 2 q\r\nab\r\n", Reply::Missing, "NF\r\n"),
        ("md k k O1 c\r\n", Reply::Deleted, "HD kk O1\r\n"),
        ("md k q\r\n", Reply::Deleted, ""),
        ("md k q O1\r\n", Reply::Missing, "NF O1\r\n"),
        ("md k\r\n", Reply::Exists, "EX\r\n"),
        ("ma k\r\n", counted, "HD\r\n"),
        ("ma k v c t k O1\r\n", counted, "VA 3 c9 t-1 kk O1\r\n120\r\n"),
        ("ma k v q\r\n", counted, ""),
        ("ma k q k c\r\n", Reply::Missing, "NF kk\r\n"),
        ("ma k q\r\n", Reply::Exists, "EX\r\n"),
        (
            "ma k q\r\n",
            Reply::NotANumber,
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        ("me k\r\n", Reply::Described(entry), "ME k exp=30 la=1 cas=7 fetch=yes cls=3 size=66\r\n"),
        ("me k\r\n", Reply::Missing, "EN\r\n"),
        ("mn\r\n", Reply::Noop, "MN\r\n"),
    ] {
        assert_eq!(answer(request, &reply), expected, "{request:?} {reply:?}");
    }
}

#[test]
fn every_verb_has_a_line_for_every_reply() {
    for request in [
        "mg k v k s t c f l h O1\r\n",
        "mg k q\r\n",
        "ms k 1 c k s O1\r\na\r\n",
        "ms k 1 q\r\na\r\n",
        "md k k O1\r\n",
        "ma k v k c t O1\r\n",
        "me k\r\n",
        "mn\r\n",
    ] {
        for reply in every_reply() {
            let line = answer(request, &reply);
            assert!(line.is_empty() || line.ends_with("\r\n"), "{request:?} {reply:?} {line:?}");
            let error = matches!(reply, Reply::Failed(_));
            assert!(!error || line.contains("_ERROR "), "{request:?} {reply:?} {line:?}");
        }
    }
}
