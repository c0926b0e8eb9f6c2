//! Histories made by hand, which the judge has to tell apart: each rule once kept and once broken.
//! A judge that accepts everything, or refuses what is right, fails here and nowhere else.

use crate::history::{Answer, Asked, Content, Op, Verb, piece};
use crate::linear::judge;

const EVER: u64 = u64::MAX;

fn a() -> Content {
    Content::piece(1, 40, 7)
}

fn b() -> Content {
    Content::piece(2, 40, 7)
}

/// Asked at `begin`, answered at `end`.
fn op(begin: u64, end: u64, verb: Verb, answer: Answer) -> Op {
    let asked = Asked { key: 0, verb, fence: 0 };
    Op { client: begin as usize, asked, answer: Some(answer), begin, end }
}

/// Asked at `begin`, by who was dead at `end`.
fn dead(begin: u64, end: u64, verb: Verb) -> Op {
    Op { answer: None, ..op(begin, end, verb, Answer::Missing) }
}

/// The same by who shows a lock.
fn with(fence: u64, op: Op) -> Op {
    Op { asked: Asked { fence, ..op.asked }, ..op }
}

fn set(begin: u64, end: u64, content: Content, version: u64) -> Op {
    op(begin, end, Verb::Set(content), Answer::Done(version))
}

fn get(begin: u64, end: u64, content: Content, version: u64) -> Op {
    op(begin, end, Verb::Get, Answer::Value(version, content))
}

fn miss(begin: u64, end: u64) -> Op {
    op(begin, end, Verb::Get, Answer::Missing)
}

fn add_one(begin: u64, end: u64, value: u64, version: u64) -> Op {
    let verb = Verb::Increment { by: 1, initial: Some(1), flags: 0 };
    op(begin, end, verb, Answer::Counted { value, version })
}

fn lock(begin: u64, end: u64, fence: u64, leased: bool) -> Op {
    op(begin, end, Verb::Lock { leased }, Answer::Held(fence))
}

fn unlock(begin: u64, end: u64, fence: u64, freed: bool) -> Op {
    with(fence, op(begin, end, Verb::Unlock, Answer::Unlocked(freed)))
}

#[track_caller]
fn right(ops: &[Op]) {
    judge(ops.to_vec(), false).unwrap_or_else(|why| panic!("{why}"));
}

#[track_caller]
fn wrong(ops: &[Op]) {
    assert!(judge(ops.to_vec(), false).is_err(), "this passed");
}

#[test]
fn a_read_beside_a_write_sees_what_was_before_it_or_after_it() {
    right(&[set(1, 2, a(), 5), set(3, 9, b(), 6), get(4, 5, a(), 5), get(6, 7, b(), 6)]);
    right(&[set(1, 2, a(), 5), set(3, 9, b(), 6), get(4, 7, b(), 6), get(5, 6, a(), 5)]);
    wrong(&[set(1, 2, a(), 5), set(3, 9, b(), 6), get(4, 5, b(), 6), get(6, 7, a(), 5)]);
}

#[test]
fn what_was_told_as_done_is_there() {
    wrong(&[set(1, 2, a(), 5), miss(3, 4)]);
    wrong(&[set(1, 2, a(), 5), set(3, 4, b(), 6), get(5, 6, a(), 5)]);
    wrong(&[set(1, 2, a(), 5), get(3, 4, b(), 5)]);
    wrong(&[get(1, 2, a(), 5)]);
    right(&[miss(1, 2), set(1, 3, a(), 5)]);
}

#[test]
fn what_has_no_answer_happened_once_or_never_and_before_its_end() {
    let seen = [set(1, 2, a(), 5), get(4, 5, a(), 5), get(8, 9, b(), 6)];
    let and = |op| [&seen[..], &[op]].concat();
    right(&and(dead(3, 8, Verb::Set(b()))));
    right(&and(dead(3, EVER, Verb::Set(b()))));
    // Its client was dead for certain when the old value was read for the last time.
    wrong(&and(dead(1, 3, Verb::Set(b()))));
    wrong(&seen);
    let once = [set(1, 2, a(), 5), dead(3, EVER, Verb::Set(b())), get(4, 5, b(), 6)];
    wrong(&[&once[..], &[get(6, 7, a(), 5)]].concat());
    let twice = [dead(3, EVER, Verb::Append(3, 20)), get(6, 7, a().then(3, 20).then(3, 20), 7)];
    wrong(&[&[set(1, 2, a(), 5)], &twice[..]].concat());
}

#[test]
fn an_unanswered_operation_obeys_its_condition() {
    let add = dead(3, EVER, Verb::Add(b()));
    wrong(&[set(1, 2, a(), 5), add, get(8, 9, b(), 6)]);
    right(&[miss(1, 2), add, get(8, 9, b(), 6)]);
    let cas = |version| dead(3, EVER, Verb::Cas(b(), version));
    right(&[set(1, 2, a(), 5), cas(5), get(8, 9, b(), 6)]);
    wrong(&[set(1, 2, a(), 5), cas(4), get(8, 9, b(), 6)]);
    right(&[set(1, 2, a(), 5), dead(3, EVER, Verb::Delete), miss(4, 5)]);
    wrong(&[set(1, 2, a(), 5), dead(3, EVER, Verb::Delete), miss(4, 5), get(6, 7, a(), 5)]);
}

#[test]
fn no_increment_is_lost_or_done_twice() {
    right(&[add_one(1, 9, 2, 6), add_one(2, 8, 1, 5)]);
    wrong(&[add_one(1, 9, 1, 5), add_one(2, 8, 1, 6)]);
    wrong(&[add_one(1, 2, 1, 5), add_one(3, 4, 3, 6)]);
    let word = op(3, 4, Verb::Increment { by: 1, initial: None, flags: 0 }, Answer::NotANumber(5));
    right(&[set(1, 2, a(), 5), word]);
    wrong(&[set(1, 2, Content::number(7, 0), 5), word]);
}

#[test]
fn one_version_is_replaced_once() {
    let cas = |begin, end, new, version| op(begin, end, Verb::Cas(new, 5), Answer::Done(version));
    right(&[set(1, 2, a(), 5), cas(3, 4, b(), 6)]);
    wrong(&[set(1, 2, a(), 5), cas(3, 9, b(), 6), cas(4, 8, a(), 7)]);
    let refused = |version| op(5, 6, Verb::Cas(a(), 5), Answer::Exists(version));
    right(&[set(1, 2, a(), 5), set(3, 4, b(), 6), refused(6)]);
    wrong(&[set(1, 2, a(), 5), refused(5)]);
}

#[test]
fn versions_grow() {
    right(&[set(1, 9, a(), 6), set(2, 8, b(), 5), get(10, 11, a(), 6)]);
    wrong(&[set(1, 9, a(), 6), set(2, 8, b(), 5), get(10, 11, b(), 5)]);
    wrong(&[set(1, 2, a(), 6), set(3, 4, b(), 5)]);
    wrong(&[set(1, 2, a(), 6), op(3, 4, Verb::Delete, Answer::Done(7)), set(5, 6, b(), 7)]);
}

#[test]
fn add_wants_nothing_and_replace_something() {
    let add = |begin, end, version| op(begin, end, Verb::Add(b()), Answer::Done(version));
    let delete = |begin, end| op(begin, end, Verb::Delete, Answer::Done(6));
    wrong(&[set(1, 2, a(), 5), add(3, 4, 7)]);
    right(&[set(1, 2, a(), 5), add(3, 9, 7), delete(4, 8)]);
    wrong(&[set(1, 2, a(), 5), delete(3, 4), get(5, 6, a(), 5)]);
    let replace = |answer| op(3, 4, Verb::Replace(b()), answer);
    wrong(&[miss(1, 2), replace(Answer::Done(5))]);
    wrong(&[set(1, 2, a(), 5), replace(Answer::Missing)]);
    wrong(&[op(1, 2, Verb::Delete, Answer::Done(5))]);
}

#[test]
fn appends_come_in_one_order() {
    let append = |token| op(3, 9, Verb::Append(token, 20), Answer::Done(token));
    let (x, y) = (append(6), append(7));
    let read = |version, content| get(10, 11, content, version);
    right(&[set(1, 2, a(), 5), x, y, read(7, a().then(6, 20).then(7, 20))]);
    wrong(&[set(1, 2, a(), 5), x, y, read(7, a().then(7, 20).then(6, 20))]);
    wrong(&[set(1, 2, a(), 5), x, y, read(7, a().then(7, 20))]);
}

#[test]
fn a_touch_leaves_the_version_or_gives_a_newer_one() {
    let touch = |version| op(3, 4, Verb::Touch, Answer::Done(version));
    right(&[set(1, 2, a(), 5), touch(5), get(5, 6, a(), 5)]);
    right(&[set(1, 2, a(), 5), touch(6), get(5, 6, a(), 6)]);
    right(&[set(1, 2, a(), 5), dead(3, EVER, Verb::Touch), get(5, 6, a(), 6)]);
    wrong(&[set(1, 2, a(), 5), touch(6), get(5, 6, a(), 5)]);
    wrong(&[set(1, 2, a(), 5), touch(4)]);
    wrong(&[miss(1, 2), touch(5)]);
}

#[test]
fn versions_that_no_answer_names_are_still_versions() {
    right(&[set(1, 2, a(), 0), get(3, 4, a(), 5), get(5, 6, a(), 5)]);
    wrong(&[set(1, 2, a(), 0), get(3, 4, a(), 5), get(5, 6, a(), 6)]);
    wrong(&[set(1, 2, a(), 5), set(3, 4, b(), 0), get(5, 6, b(), 5)]);
}

#[test]
fn in_a_cache_a_value_may_vanish_and_stays_away() {
    let cache = |ops: &[Op]| judge(ops.to_vec(), true);
    assert!(cache(&[set(1, 2, a(), 5), miss(3, 4)]).is_ok());
    assert!(cache(&[set(1, 2, a(), 5), get(3, 4, a(), 5), miss(5, 6)]).is_ok());
    assert!(cache(&[set(1, 2, a(), 5), miss(3, 4), get(5, 6, a(), 5)]).is_err());
    let add = op(3, 4, Verb::Add(b()), Answer::Done(6));
    assert!(cache(&[set(1, 2, a(), 5), add, get(5, 6, b(), 6)]).is_ok());
    assert!(cache(&[set(1, 2, a(), 5), set(3, 4, b(), 6), get(5, 6, a(), 5)]).is_err());
}

#[test]
fn a_flush_is_a_delete_of_whatever_is_there() {
    let flush = op(3, 9, Verb::Flush, Answer::Done(0));
    right(&[set(1, 2, a(), 5), flush, get(4, 5, a(), 5), miss(6, 7), miss(10, 11)]);
    wrong(&[set(1, 2, a(), 5), flush, get(10, 11, a(), 5)]);
    wrong(&[set(1, 2, a(), 5), flush, miss(4, 5), get(6, 7, a(), 5)]);
}

#[test]
fn a_lock_has_one_owner() {
    right(&[lock(1, 2, 10, false), unlock(3, 4, 10, true), lock(3, 6, 11, false)]);
    wrong(&[lock(1, 2, 10, false), lock(3, 4, 11, false), unlock(5, 6, 10, true)]);
    right(&[lock(1, 2, 10, true), lock(3, 4, 11, false), unlock(5, 6, 10, false)]);
    wrong(&[lock(1, 2, 10, true), lock(3, 4, 11, false), unlock(5, 6, 10, true)]);
    wrong(&[lock(1, 2, 10, false), unlock(3, 4, 10, false)]);
    let died = with(10, dead(2, 5, Verb::Release));
    right(&[lock(1, 2, 10, false), died, lock(3, 4, 11, false)]);
    wrong(&[lock(1, 2, 10, false), died, lock(6, 7, 9, false)]);
}

#[test]
fn who_lost_a_lock_writes_nothing() {
    let mine = with(10, set(5, 6, a(), 20));
    right(&[lock(1, 2, 10, true), mine]);
    right(&[lock(1, 2, 10, true), lock(3, 8, 11, false), mine]);
    wrong(&[lock(1, 2, 10, true), lock(3, 4, 11, false), mine]);
    let lost = with(10, op(5, 6, Verb::Set(a()), Answer::Lost));
    right(&[lock(1, 2, 10, true), lock(3, 4, 11, false), lost]);
    wrong(&[lock(1, 2, 10, false), lost]);
}

#[test]
fn a_store_that_had_no_room_did_nothing() {
    let refused = op(3, 4, Verb::Set(b()), Answer::Refused);
    right(&[set(1, 2, a(), 5), refused, get(5, 6, a(), 5)]);
    wrong(&[set(1, 2, a(), 5), refused, get(5, 6, b(), 6)]);
}

#[test]
fn a_violation_is_shown_without_what_has_no_part_in_it() {
    let mut ops = Vec::new();
    for at in 1..100 {
        ops.push(set(10 * at, 10 * at + 1, Content::piece(at, 50, 0), at));
        ops.push(get(10 * at + 2, 10 * at + 3, Content::piece(at, 50, 0), at));
    }
    let stale = op(505, 506, Verb::Get, Answer::Value(49, Content::piece(49, 50, 0)));
    ops.push(stale);
    let why = judge(ops, false).unwrap_err();
    assert!(why.contains("these 1 operations"), "{why}");
    assert!(why.contains("version: 50") && why.contains("Value(49"), "{why}");
}

#[test]
fn a_value_that_nobody_wrote_has_no_content() {
    let bytes = [b"12".to_vec(), piece(7, 500), piece(8, 13)].concat();
    let content = Content::number(12, 3).then(7, 500).then(8, 13);
    assert_eq!(Content::of(&bytes, 3), Ok(content));
    assert_eq!((content.len, content.counts()), (515, None));
    assert_eq!(Content::of(b"", 3), Ok(Content::piece(9, 0, 3)));
    for at in [3, 100, 501, 502, 510] {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        assert_ne!(Content::of(&torn, 3), Ok(content), "byte {at}");
    }
    assert!(Content::of(&bytes[..400], 3).is_err());
}
