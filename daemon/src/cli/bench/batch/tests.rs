//! Conversations with good servers and with servers that lie, cut at every byte.

use super::*;

fn rules(protocol: Protocol, allow_misses: bool) -> Rules {
    Rules { protocol, values: Values::new(4, 32), allow_misses }
}

fn value(rules: &Rules, key: u64, generation: u64) -> Vec<u8> {
    let mut value = Vec::new();
    rules.values.put_value(&mut value, key, generation);
    value
}

/// What a memcached says to a text get that finds this value under this key.
fn text(rules: &Rules, key: u64, value: &[u8]) -> Vec<u8> {
    let line = format!("VALUE {} 0 {}\r\n", rules.values.key(key), value.len());
    [line.as_bytes(), value, b"\r\n"].concat()
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Plays an answer to requests, in two pieces cut at `cut`, as a connection would.
fn play(
    rules: &Rules,
    requests: &[(Kind, &[u64])],
    answer: &[u8],
    cut: usize,
) -> Result<(Batch, Tally), Fault> {
    let (mut batch, mut tally) = (Batch::new(1), Tally::new());
    for (kind, keys) in requests {
        batch.add(*kind, keys.iter().copied(), None);
    }
    batch.sent(100);
    let used = batch.take_all(&answer[..cut], rules, &mut tally, 600)?;
    let rest = batch.take_all(&answer[used..], rules, &mut tally, 1100)?;
    assert!(used + rest == answer.len() || batch.waiting() > 0);
    Ok((batch, tally))
}

#[track_caller]
fn right(rules: &Rules, requests: &[(Kind, &[u64])], answer: &[u8], hits: u64, misses: u64) {
    for cut in 0..=answer.len() {
        let (batch, tally) = play(rules, requests, answer, cut).unwrap();
        assert_eq!(batch.waiting(), 0, "cut at {cut}");
        assert_eq!(
            (tally.requests(), tally.hits, tally.misses),
            (requests.len() as u64, hits, misses)
        );
    }
}

#[track_caller]
fn wrong(rules: &Rules, requests: &[(Kind, &[u64])], answer: &[u8], says: &[&str]) {
    for cut in 0..=answer.len() {
        let message = match play(rules, requests, answer, cut) {
            Err(fault) => fault.to_string(),
            Ok(_) => panic!("taken, cut at {cut}"),
        };
        for part in says {
            assert!(message.contains(part), "cut at {cut}: {message}");
        }
    }
}

#[test]
fn right_answers_are_counted_in_every_dialect_wherever_they_are_cut() {
    let text_rules = rules(Protocol::Text, false);
    let (one, two) = (value(&text_rules, 1, 9), value(&text_rules, 2, 0));
    let answer = [
        text(&text_rules, 1, &one),
        b"END\r\nSTORED\r\n".into(),
        text(&text_rules, 2, &two),
        b"END\r\n".into(),
    ];
    let requests: [(Kind, &[u64]); 3] = [(Kind::Get, &[1]), (Kind::Set, &[5]), (Kind::Get, &[2])];
    right(&text_rules, &requests, &answer.concat(), 2, 0);
    let both = [text(&text_rules, 1, &one), text(&text_rules, 2, &two), b"END\r\n".into()];
    right(&text_rules, &[(Kind::Get, &[1, 2])], &both.concat(), 2, 0);

    let meta = rules(Protocol::Meta, false);
    let va = |name: &str, value: &[u8]| {
        [format!("VA 32 k{name}\r\n").as_bytes(), value, b"\r\n"].concat()
    };
    let answer =
        [va("k001", &one), b"HD\r\n".into(), va("k001", &one), va("k002", &two), b"MN\r\n".into()];
    let requests: [(Kind, &[u64]); 3] =
        [(Kind::Get, &[1]), (Kind::Set, &[5]), (Kind::Get, &[1, 2])];
    right(&meta, &requests, &answer.concat(), 3, 0);

    let resp = rules(Protocol::Resp, false);
    let answer = [bulk(&one), b"+OK\r\n".into(), b"*2\r\n".into(), bulk(&one), bulk(&two)];
    right(&resp, &requests, &answer.concat(), 3, 0);
}

#[test]
fn misses_are_counted_only_when_they_are_allowed() {
    let strict = rules(Protocol::Text, false);
    let lenient = rules(Protocol::Text, true);
    let two = text(&strict, 2, &value(&strict, 2, 1));
    let middle = [two, b"END\r\n".into()].concat();
    right(&lenient, &[(Kind::Get, &[1, 2, 3])], &middle, 1, 2);
    wrong(&strict, &[(Kind::Get, &[1, 2, 3])], &middle, &["get k001 and 2 more keys", "key k001"]);
    wrong(&strict, &[(Kind::Get, &[7])], b"END\r\n", &["missing", "k007", "--allow-misses"]);
    right(&rules(Protocol::Resp, true), &[(Kind::Get, &[1, 2])], b"*2\r\n$-1\r\n$-1\r\n", 0, 2);
    right(&rules(Protocol::Meta, true), &[(Kind::Get, &[1])], b"EN\r\n", 0, 1);
    wrong(&rules(Protocol::Meta, false), &[(Kind::Get, &[1])], b"EN\r\n", &["k001"]);
    right(&rules(Protocol::Meta, true), &[(Kind::Get, &[1])], b"EN kk001\r\n", 0, 1);
    let other = b"EN kk002\r\n";
    wrong(&rules(Protocol::Meta, true), &[(Kind::Get, &[1])], other, &["a miss of key \"k002\""]);
}

#[test]
fn lies_are_noticed_and_name_the_request() {
    let rules_text = rules(Protocol::Text, false);
    let (one, two) = (value(&rules_text, 1, 9), value(&rules_text, 2, 0));
    let get: [(Kind, &[u64]); 1] = [(Kind::Get, &[1])];
    let swapped = [text(&rules_text, 1, &two), b"END\r\n".into()].concat();
    wrong(
        &rules_text,
        &get,
        &swapped,
        &["get k001", "request 1 of connection 1", "value of key 2, set 0"],
    );
    let other = [text(&rules_text, 2, &two), b"END\r\n".into()].concat();
    wrong(&rules_text, &get, &other, &["32 bytes for key k001", "a value for key \"k002\""]);
    let mut flipped = one.clone();
    flipped[30] ^= 4;
    let flipped = [text(&rules_text, 1, &flipped), b"END\r\n".into()].concat();
    wrong(&rules_text, &get, &flipped, &["wrong from byte 30 on"]);
    let short = [text(&rules_text, 1, &one[..31]), b"END\r\n".into()].concat();
    wrong(&rules_text, &get, &short, &["31 bytes, where the value has 32"]);
    let twice = [text(&rules_text, 1, &one), text(&rules_text, 1, &one)].concat();
    wrong(&rules_text, &get, &twice, &["the end of the values"]);
    wrong(&rules_text, &get, b"STORED\r\n", &["that it is stored"]);
    wrong(&rules_text, &[(Kind::Set, &[1])], b"END\r\n", &["set k001", "the end of the values"]);
    let more = [text(&rules_text, 1, &one), b"END\r\nX".into()].concat();
    wrong(&rules_text, &get, &more, &["nothing on connection 1", "\"X\""]);
    wrong(&rules(Protocol::Resp, false), &get, &bulk(&two), &["value of key 2"]);
    wrong(&rules(Protocol::Resp, false), &[(Kind::Get, &[1, 2])], b"*3\r\n", &["3 values"]);
    wrong(&rules(Protocol::Resp, false), &[(Kind::Get, &[1, 2])], &bulk(&one), &["the value"]);
}

#[test]
fn a_binary_answer_with_another_opaque_is_anothers() {
    let rules = rules(Protocol::Binary, false);
    let header = |opaque: u8| {
        let mut header = [0u8; 24];
        (header[0], header[1], header[15]) = (0x81, 0x01, opaque);
        header
    };
    right(&rules, &[(Kind::Set, &[5])], &header(5), 0, 0);
    wrong(&rules, &[(Kind::Set, &[5])], &header(6), &["opaque field 5", "one with 6"]);
}

#[test]
fn refusals_that_pass_are_errors_and_others_end_the_run() {
    let rules_text = rules(Protocol::Text, false);
    let one = text(&rules_text, 1, &value(&rules_text, 1, 0));
    let answer = [b"SERVER_ERROR out of memory\r\n".to_vec(), one, b"END\r\n".into()].concat();
    for cut in 0..=answer.len() {
        let requests: [(Kind, &[u64]); 2] = [(Kind::Set, &[3]), (Kind::Get, &[1])];
        let (batch, tally) = play(&rules_text, &requests, &answer, cut).unwrap();
        assert_eq!((batch.waiting(), tally.refused, tally.requests()), (0, 1, 1));
        assert_eq!(tally.first_refusal.as_deref(), Some("SERVER_ERROR out of memory"));
    }
    wrong(&rules_text, &[(Kind::Get, &[1])], b"ERROR\r\n", &["refused", "get k001", "--protocol"]);
    let noauth = b"-NOAUTH Authentication required.\r\n";
    wrong(&rules(Protocol::Resp, false), &[(Kind::Get, &[1])], noauth, &["NOAUTH", "--password"]);
    // Quiet reads go on to their end after one of them was refused, and count as refused once.
    let meta = rules(Protocol::Meta, false);
    let quiet = b"SERVER_ERROR out of memory\r\nSERVER_ERROR out of memory\r\nMN\r\n";
    let (batch, tally) = play(&meta, &[(Kind::Get, &[1, 2])], quiet, 3).unwrap();
    assert_eq!((batch.waiting(), tally.refused, tally.requests(), tally.misses), (0, 1, 0, 0));
}

#[test]
fn latency_counts_from_the_intended_start_where_there_is_one() {
    let rules = rules(Protocol::Text, false);
    let (mut batch, mut tally) = (Batch::new(1), Tally::new());
    batch.add(Kind::Set, std::iter::once(1), Some(1_000));
    batch.add(Kind::Set, std::iter::once(2), None);
    batch.sent(5_000);
    assert!(batch.take_all(b"STORED\r\nSTORED\r\n", &rules, &mut tally, 9_000).is_ok());
    assert_eq!((tally.sets().max, tally.sets().p50), (8.0, 4.0));
}
