//! The text dialect: lines and what they come to, answers and how they look.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use super::*;
use crate::command::{Entry, Failure};
use crate::protocol::lines_tests::{Driver, ENTRY, FOUND, LIMITS, check, every_reply};

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";

fn table(rows: &[(&str, &[&str])]) {
    for (input, expected) in rows {
        check(input.as_bytes(), expected);
    }
}

#[test]
fn keys_come_one_by_one() {
    let more = "Value { versions: false, last: false }";
    let last = "Value { versions: false, last: true }";
    let versions = "Value { versions: true, last: true }";
    table(&[
        ("get k\r\n", &[&format!("get k value {last}")]),
        ("get k\n", &[&format!("get k value {last}")]),
        ("gets k\r\n", &[&format!("get k value {versions}")]),
        ("  get k\r\n", &[&format!("get k value {last}")]),
        (
            "get a  bc   d \r\nget e\n",
            &[
                &format!("get a value {more}"),
                &format!("get bc value {more}"),
                &format!("get d value {last}"),
                &format!("get e value {last}"),
            ],
        ),
        ("get a\rb\r\n", &[&format!("get a\rb value {last}")]),
        ("get a\r b\r\n", &[&format!("get a\r value {more}"), &format!("get b value {last}")]),
        ("gat 30 k\r\n", &[&format!("get k value touch=Some(In(30000)) {last}")]),
        ("gats  -1  k \n", &[&format!("get k value touch=Some(Past) {versions}")]),
        ("gat 0 k\r\n", &[&format!("get k value touch=Some(Default) {last}")]),
        ("get\r\n", &[BAD_FORMAT]),
        ("get  \r\n", &[BAD_FORMAT]),
        ("gat\r\n", &[BAD_FORMAT]),
        ("gat 0\r\n", &[BAD_FORMAT]),
        ("gat 0 \r\n", &[BAD_FORMAT]),
        ("gat  \r\n", &[BAD_FORMAT]),
        ("gat x a b\r\nquit\r\n", &[BAD_EXPTIME, "Quit Line { quiet: false }"]),
        ("gat 9223372036854775808 a\r\n", &[BAD_EXPTIME]),
        (&format!("gat {} a\r\n", "0".repeat(KEY_MAX + 1)), &[BAD_EXPTIME]),
        (&format!("gat {}\r\n", "0".repeat(KEY_MAX + 1)), &[BAD_EXPTIME]),
        (&format!("gat {} a", "0".repeat(KEY_MAX + 1)), &[BAD_EXPTIME]),
    ]);
}

#[test]
fn keys_have_a_maximum_and_lines_of_them_have_none() {
    let (good, bad) = ("k".repeat(KEY_MAX), "k".repeat(KEY_MAX + 1));
    let more = "Value { versions: false, last: false }";
    let last = "Value { versions: false, last: true }";
    check(format!("get {good}\r\n").as_bytes(), &[&format!("get {good} value {last}")]);
    check(format!("get {good}\n").as_bytes(), &[&format!("get {good} value {last}")]);
    let refused = format!("!{BAD_FORMAT}");
    let quit = "Quit Line { quiet: false }";
    check(format!("get {bad}\r\nquit\r\n").as_bytes(), &[&refused, quit]);
    check(
        format!("get a {bad} b c\r\nquit\r\n").as_bytes(),
        &[&format!("get a value {more}"), &refused, quit],
    );
    // Refused without the line's end, and passed over however long it is.
    let mut driver = Driver::run(format!("get {bad}").as_bytes());
    assert_eq!(driver.events, [refused.as_str()]);
    driver.feed(&vec![b'k'; 1 << 20]);
    driver.feed(b"\nquit\r\n");
    assert_eq!(driver.events, [refused.as_str(), quit]);
    // Many keys are no more than one of them at a time.
    let mut driver = Driver::run(b"gets");
    for _ in 0..10_000 {
        driver.feed(b" key");
    }
    driver.feed(b"\r\n");
    assert_eq!(driver.events.len(), 10_000);
    assert_eq!(driver.output, b"END\r\n");
}

#[test]
fn a_key_that_cannot_be_read_ends_its_line() {
    for why in [Reply::Failed(Failure::Damaged), Reply::WhoAreYou] {
        let mut driver = Driver::new();
        driver.reply = why;
        driver.feed(b"get a b c d\r\nget e\r\n");
        assert_eq!(driver.events.len(), 2, "{:?}", driver.events);
        assert!(!driver.output.windows(3).any(|part| part == b"END"));
        assert_eq!(driver.output.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}

#[test]
fn values_are_stored() {
    let line = "Line { quiet: false }";
    let quiet = "Line { quiet: true }";
    table(&[
        ("set k 5 0 2\r\nab\r\n", &[&format!("Set k=ab flags=5 Default {line}")]),
        ("set k 0 0 0\r\n\r\n", &[&format!("Set k= Default {line}")]),
        ("set k 0 0 2\n\r\n\r\n", &[&format!("Set k=\r\n Default {line}")]),
        ("add k +1 60 02\r\nab\r\n", &[&format!("Add k=ab flags=1 In(60000) {line}")]),
        ("replace k 0 -5 1 noreply\r\na\r\n", &[&format!("Replace k=a Past {quiet}")]),
        ("append k 0 2592001 1\r\na\r\n", &[&format!("Append k=a At(2592001000) {line}")]),
        (
            "prepend k 4294967295 0 1\r\na\r\n",
            &[&format!("Prepend k=a flags=4294967295 Default {line}")],
        ),
        (
            "cas k 0 0 1 18446744073709551615\r\na\r\n",
            &[&format!("Set k=a Default compare=Some(18446744073709551615) {line}")],
        ),
        ("cas k 0 0 1 7 noreply\r\na\r\n", &[&format!("Set k=a Default compare=Some(7) {quiet}")]),
        ("set k 0 0 1 more words noreply\r\na\r\n", &[&format!("Set k=a Default {quiet}")]),
    ]);
}

#[test]
fn a_refused_value_is_thrown_away_with_its_line() {
    let quit = "Quit Line { quiet: false }";
    let too_large = "SERVER_ERROR object too large for cache";
    let bad_chunk = "CLIENT_ERROR bad data chunk";
    let long_key = format!("set {} 0 0 2\r\nab\r\nquit\r\n", "k".repeat(251));
    let large = format!("set k 0 0 4097\r\n{}\r\nquit\r\n", "v".repeat(4097));
    let large_quiet = large.replace("4097\r", "4097 noreply\r");
    table(&[
        (&long_key, &[BAD_FORMAT, quit]),
        ("set k 4294967296 0 2\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("set k -1 0 2\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("set k 0 1x 2\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("set k 0 9223372036854775808 2\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("set k 0 x 2 noreply\r\nab\r\nquit\r\n", &[quit]),
        ("cas k 0 0 2\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("cas k 0 0 2 x\r\nab\r\nquit\r\n", &[BAD_FORMAT, quit]),
        ("set k 0 0 2\r\nabc\r\nquit\r\n", &[bad_chunk, "ERROR", quit]),
        ("set k 0 0 2\r\nab\r\r\nquit\r\n", &[bad_chunk, "ERROR", quit]),
        ("set k 0 0 2\r\nabflush_all\r\nquit\r\n", &[bad_chunk, "ERROR", quit]),
        ("set k 0 0 2\r\nab\rxflush_all\r\nquit\r\n", &[bad_chunk, "ERROR", quit]),
        ("set k 0 0 2\r\nab\n\nquit\r\n", &[bad_chunk, quit]),
        ("set k 0 0 2 noreply\r\nabcd\r\nquit\r\n", &["ERROR", quit]),
        ("set k 0 0 -1\r\nquit\r\n", &[BAD_FORMAT, "<end>"]),
        ("set k 0 0 2147483646\r\nquit\r\n", &[BAD_FORMAT, "<end>"]),
        ("set k 0 0 4294967297\r\na\r\nquit\r\n", &[BAD_FORMAT, "<end>"]),
        ("set k 0 0\r\nquit\r\n", &[BAD_FORMAT, "<end>"]),
        ("set\r\nquit\r\n", &[BAD_FORMAT, "<end>"]),
    ]);
    // Not cut everywhere: they are long.
    assert_eq!(Driver::run(large.as_bytes()).events, [too_large, quit]);
    assert_eq!(Driver::run(large_quiet.as_bytes()).events, [quit]);
}

#[test]
fn a_value_is_waited_for_once() {
    let mut text = Text::new();
    let parsed = text.parse(b"set k 0 0 100\r\nab", &LIMITS);
    assert_eq!(parsed, Parsed::Incomplete { wanted: 15 + 100 + 2 });
}

#[test]
fn other_requests_are_lines() {
    let line = "Line { quiet: false }";
    let quiet = "Line { quiet: true }";
    let usage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
    table(&[
        ("delete k\r\n", &[&format!("delete k {line}")]),
        ("delete k 0\r\n", &[&format!("delete k {line}")]),
        ("delete k noreply\r\n", &[&format!("delete k {quiet}")]),
        ("delete k 0 noreply\r\n", &[&format!("delete k {quiet}")]),
        ("delete k 5\r\n", &[usage]),
        ("delete k 0 0\r\n", &[usage]),
        ("delete\r\n", &[BAD_FORMAT]),
        ("delete a b c d e\r\n", &["ERROR"]),
        ("touch k 10\r\n", &[&format!("touch k In(10000) {line}")]),
        ("touch k 10 noreply\r\n", &[&format!("touch k In(10000) {quiet}")]),
        ("touch k x\r\n", &[BAD_EXPTIME]),
        ("touch k noreply\r\n", &[]),
        ("touch k\r\n", &[BAD_FORMAT]),
        ("incr k 18446744073709551615\r\n", &[&format!("count k by 18446744073709551615 {line}")]),
        ("decr k 1 noreply\r\n", &[&format!("count k by 1 down {quiet}")]),
        ("incr k -1\r\n", &["CLIENT_ERROR invalid numeric delta argument"]),
        ("incr k 18446744073709551616\r\n", &["CLIENT_ERROR invalid numeric delta argument"]),
        ("incr k\r\n", &[BAD_FORMAT]),
        ("flush_all\r\n", &[&format!("Flush {{ at: None }} {line}")]),
        ("flush_all noreply\r\n", &[&format!("Flush {{ at: None }} {quiet}")]),
        ("flush_all 10 noreply\r\n", &[&format!("Flush {{ at: Some(In(10000)) }} {quiet}")]),
        ("flush_all -1\r\n", &[&format!("Flush {{ at: None }} {line}")]),
        ("flush_all x\r\n", &[BAD_EXPTIME]),
        ("version foo bar\r\n", &[&format!("Version {line}")]),
        ("version noreply\r\n", &[&format!("Version {line}")]),
        ("quit\r\n", &[&format!("Quit {line}")]),
        ("verbosity 1\r\n", &[&format!("Verbosity(1) {line}")]),
        ("verbosity 1 noreply\r\n", &[&format!("Verbosity(1) {quiet}")]),
        ("verbosity noreply\r\n", &[]),
        ("verbosity\r\n", &["ERROR"]),
        ("verbosity a b c\r\n", &["ERROR"]),
        ("\r\n", &[BAD_FORMAT]),
        ("a\n", &[BAD_FORMAT]),
        ("sett k 0 0 1\r\n", &["ERROR"]),
        ("SET k 0 0 1\r\n", &["ERROR"]),
    ]);
}

#[test]
fn knobs_are_checked_and_turn_nothing() {
    let tune = "Tune Line { quiet: false }";
    let class = "BADCLASS invalid class id";
    let small = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    let no_limit = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust";
    table(&[
        ("lru_crawler enable\r\n", &[tune]),
        ("lru_crawler crawl all\r\n", &[tune]),
        ("lru_crawler crawl 1,63\r\n", &[tune]),
        ("lru_crawler crawl 0\r\n", &[class]),
        ("lru_crawler crawl 1,,2\r\n", &[class]),
        ("lru_crawler tocrawl 5\r\n", &[tune]),
        ("lru_crawler tocrawl x\r\n", &[BAD_FORMAT]),
        ("lru_crawler sleep 1000000\r\n", &[tune]),
        ("lru_crawler sleep 1000001\r\n", &["CLIENT_ERROR sleep must be one second or less"]),
        ("lru_crawler\r\n", &["ERROR"]),
        ("slabs reassign -1 2\r\n", &[tune]),
        ("slabs reassign x 2\r\n", &[BAD_FORMAT]),
        ("slabs automove 2\r\n", &[tune]),
        ("slabs automove 3\r\n", &["ERROR"]),
        ("slabs automove ratio 0.8\r\n", &[tune]),
        ("slabs automove ratio nan\r\n", &["ERROR"]),
        ("slabs automove window 10\r\n", &[tune]),
        ("slabs\r\n", &["ERROR"]),
        ("lru mode flat\r\n", &[tune]),
        ("lru mode x\r\n", &["ERROR"]),
        ("lru temp_ttl -1\r\n", &[tune]),
        ("lru tune 10 25 0.1 2.0\r\n", &[tune]),
        ("lru tune 60 25 0.1 2.0\r\n", &["ERROR"]),
        ("cache_memlimit 4\r\n", &[small]),
        ("cache_memlimit 64\r\n", &[no_limit]),
        ("cache_memlimit\r\n", &["ERROR"]),
        ("watch fetchers\r\n", &["CLIENT_ERROR watch commands not allowed"]),
        ("refresh_certs\r\n", &["Reload Line { quiet: false }"]),
        ("extstore item_size 5\r\n", &["ERROR"]),
        ("shutdown\r\n", &["Shutdown { gracefully: false } Shutdown"]),
        ("shutdown graceful\r\n", &["Shutdown { gracefully: true } Shutdown"]),
        ("shutdown now\r\n", &["CLIENT_ERROR invalid shutdown mode"]),
        ("debugtime -5\r\n", &["MoveClock(-5) Line { quiet: false }"]),
        ("debugtime p\r\n", &["ERROR"]),
    ]);
    let limits = Limits { test_commands: false, ..LIMITS };
    let parsed = Text::new().parse(b"debugtime 5\r\n", &limits);
    assert_eq!(parsed, lines::refused(13, lines::UNKNOWN));
}

#[test]
fn statistics_and_listings() {
    let usage = "CLIENT_ERROR usage: stats detail on|off|dump";
    let all = "List(Listing { cursor: 0, left: None, class: None })";
    let items = "List(Listing { cursor: 0, left: Some(5), class: Some(3) }) Dump(Items)";
    table(&[
        ("stats\r\n", &["stats \"\" Stats"]),
        ("stats settings\r\n", &["stats \"settings\" Stats"]),
        ("stats reset\r\n", &["ResetStats Reset"]),
        ("stats detail on\r\n", &["stats \"detail on\" Line { quiet: false }"]),
        ("stats detail dump\r\n", &["stats \"detail dump\" Prefixes"]),
        ("stats detail\r\n", &[usage]),
        ("stats cachedump 3 5\r\n", &[items]),
        ("stats cachedump 3\r\n", &["CLIENT_ERROR bad command line"]),
        ("stats cachedump 3 x\r\n", &[BAD_FORMAT]),
        ("stats cachedump 64 0\r\n", &["CLIENT_ERROR Illegal slab id"]),
        ("lru_crawler metadump all\r\n", &[&format!("{all} Dump(Facts {{ classes: None }})")]),
        ("lru_crawler metadump hash\r\n", &[&format!("{all} Dump(Facts {{ classes: None }})")]),
        ("lru_crawler mgdump 1,3\r\n", &[&format!("{all} Dump(Requests {{ classes: Some(10) }})")]),
        ("lru_crawler metadump x\r\n", &["BADCLASS invalid class id"]),
        ("lru_crawler metadump\r\n", &["ERROR"]),
    ]);
}

#[test]
fn a_line_that_does_not_end_ends_the_connection() {
    let mut driver = Driver::run(&vec![b'a'; LINE_MAX]);
    assert!(!driver.closed);
    driver.feed(b"a");
    assert!(driver.closed && driver.events.is_empty());
    for verb in ["set ", "delete ", "mg ", "ms "] {
        let mut stream = verb.as_bytes().to_vec();
        stream.resize(LINE_MAX + 10, b'1');
        assert!(Driver::run(&stream).closed, "{verb}");
    }
}

fn encoded(form: Form, reply: &Reply) -> String {
    let mut out = Vec::new();
    Text::new().encode(&form, reply, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn answers_look_as_memcacheds() {
    let last = Form::Value { versions: false, last: true };
    let more = Form::Value { versions: true, last: false };
    let line = Form::Line { quiet: false };
    let facts = |classes| Form::Dump(Dump::Facts { classes });
    let requests = Form::Dump(Dump::Requests { classes: None });
    let rows = [("pid".to_string(), "1".to_string())];
    let forbidden = Reply::Failed(Failure::Forbidden("flush_all not allowed"));
    let counted = Reply::Counted { number: u64::MAX, version: 1, ttl_s: None };
    for (form, reply, expected) in [
        (last, Reply::Found(FOUND), "VALUE k 5 2\r\nab\r\nEND\r\n"),
        (more, Reply::Found(FOUND), "VALUE k 5 2 77\r\nab\r\n"),
        (last, Reply::Missing, "END\r\n"),
        (more, Reply::Missing, ""),
        (last, Reply::Failed(Failure::Damaged), "SERVER_ERROR the stored value is damaged\r\n"),
        (line, Reply::Stored { version: 1, size: 1 }, "STORED\r\n"),
        (line, Reply::NotStored, "NOT_STORED\r\n"),
        (line, Reply::Exists, "EXISTS\r\n"),
        (line, Reply::Missing, "NOT_FOUND\r\n"),
        (line, Reply::Deleted, "DELETED\r\n"),
        (line, Reply::Touched, "TOUCHED\r\n"),
        (line, Reply::Ok, "OK\r\n"),
        (line, counted, "18446744073709551615\r\n"),
        (
            line,
            Reply::NotANumber,
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (line, Reply::Version("1.6.45"), "VERSION 1.6.45\r\n"),
        (line, Reply::Welcome, "STORED\r\n"),
        (line, Reply::Unwelcome, "CLIENT_ERROR authentication failure\r\n"),
        (line, Reply::WhoAreYou, "CLIENT_ERROR unauthenticated\r\n"),
        (line, Reply::Bye, ""),
        (line, Reply::Failed(Failure::Full), "SERVER_ERROR out of memory storing object\r\n"),
        (line, Reply::Failed(Failure::TooLarge), "SERVER_ERROR object too large for cache\r\n"),
        (line, forbidden, "CLIENT_ERROR flush_all not allowed\r\n"),
        (Form::Line { quiet: true }, Reply::Failed(Failure::Full), ""),
        (Form::Shutdown, forbidden, "SERVER_ERROR: shutdown not enabled\r\n"),
        (Form::Reset, Reply::Ok, "RESET\r\n"),
        (Form::Stats, Reply::Stats(&rows), "STAT pid 1\r\nEND\r\n"),
        (Form::Stats, Reply::Stats(&[]), "END\r\n"),
        (Form::Stats, Reply::Missing, "ERROR\r\n"),
        (Form::Prefixes, Reply::Stats(&rows), "PREFIX pid 1\r\nEND\r\n"),
        (
            facts(None),
            Reply::Listed(ENTRY),
            "key=a%20b%0A exp=99 la=50 cas=7 fetch=yes cls=3 size=66\n",
        ),
        (facts(Some(1 << 2)), Reply::Listed(ENTRY), ""),
        (facts(None), Reply::ListEnd, "END\r\n"),
        (facts(None), forbidden, "ERROR metadump not allowed\r\n"),
        (requests, Reply::Listed(ENTRY), "mg YSBiCg== b\r\n"),
        (requests, Reply::Listed(Entry { key: b"ab", ..ENTRY }), "mg ab\r\n"),
        (requests, Reply::ListEnd, "EN\r\n"),
        (Form::Dump(Dump::Items), Reply::Listed(ENTRY), "ITEM a%20b%0A [66 b; 99 s]\r\n"),
        (Form::Dump(Dump::Items), Reply::ListEnd, "END\r\n"),
    ] {
        assert_eq!(encoded(form, &reply), expected, "{form:?} {reply:?}");
    }
}

#[test]
fn every_form_has_a_line_for_every_reply() {
    let forms = [
        Form::Value { versions: true, last: true },
        Form::Value { versions: false, last: false },
        Form::Line { quiet: false },
        Form::Line { quiet: true },
        Form::Stats,
        Form::Prefixes,
        Form::Reset,
        Form::Shutdown,
        Form::Dump(Dump::Facts { classes: Some(1) }),
        Form::Dump(Dump::Requests { classes: None }),
        Form::Dump(Dump::Items),
    ];
    for form in forms {
        for reply in every_reply() {
            let answer = encoded(form, &reply);
            assert!(answer.is_empty() || answer.ends_with('\n'), "{form:?} {reply:?} {answer:?}");
            let silent = form == Form::Line { quiet: true } || reply == Reply::Bye;
            assert!(!silent || answer.is_empty(), "{form:?} {reply:?} {answer:?}");
        }
    }
}
