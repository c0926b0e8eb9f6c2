//! Scans and ranges against what must come out, and while everything changes under them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::{Entry, Error, Item, Options, Page, Range, SCAN_DONE, Scan, Store, Stored, Ttl};
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{HandClock, Rng, content, dir, memory_dir, open, seed, size, small};

fn all(limit: u64) -> Scan<'static> {
    Scan { limit, ..Scan::default() }
}

/// A whole scan from a cursor, page by page; each entry goes to `see`. Gives the damaged records.
fn scan_from(store: &Store, mut cursor: u64, scan: &Scan, mut see: impl FnMut(&Entry)) -> u64 {
    let (mut damaged, mut pages) = (0, 0);
    while cursor != SCAN_DONE {
        let before = cursor;
        let mut given = 0;
        let page = store.scan(&mut cursor, scan, &mut |entry| {
            given += 1;
            see(entry);
            ControlFlow::Continue(())
        });
        let page = page.expect("scan");
        assert_eq!(page.given, given);
        assert!(page.given <= if scan.limit == 0 { 1000 } else { scan.limit });
        assert!(cursor > before, "a page without progress at {before:#x}");
        damaged += page.damaged;
        pages += 1;
        assert!(pages < 1_000_000, "a scan without an end");
    }
    damaged
}

fn keys_from(store: &Store, cursor: u64, scan: &Scan) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    scan_from(store, cursor, scan, |entry| keys.push(entry.key.to_vec()));
    keys
}

fn key(i: u64) -> Vec<u8> {
    format!("key {i}").into_bytes()
}

fn fill(store: &Store, count: u64) -> BTreeSet<Vec<u8>> {
    for i in 0..count {
        store.set(&key(i), &content(i, (i % 300) as usize), i as u32, Ttl::Never).expect("set");
    }
    (0..count).map(key).collect()
}

#[test]
fn each_key_is_given_once_whatever_the_size_of_the_pages() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    assert_eq!(keys_from(&store, 0, &all(0)).len(), 0);
    let mut stored = fill(&store, 5_000);
    // One that fills segments of its own.
    let large = content(9, 300_000);
    store.set(b"large", &large, 0, Ttl::Never).expect("set");
    stored.insert(b"large".to_vec());
    for limit in [1, 2, 7, 999, 0, 5_001, u64::MAX] {
        for values in [false, true] {
            let mut seen = BTreeSet::new();
            let damaged = scan_from(&store, 0, &Scan { limit, values, ..Scan::default() }, |e| {
                let is_large = e.key == b"large";
                let i: u64 = if is_large {
                    0
                } else {
                    std::str::from_utf8(&e.key[4..]).unwrap().parse().unwrap()
                };
                let value = if is_large { large.clone() } else { content(i, (i % 300) as usize) };
                assert_eq!(e.value, values.then_some(value.as_slice()));
                assert_eq!((e.item.value_len, e.item.flags), (value.len() as u64, i as u32));
                assert_eq!(Some(e.item), store.exists(e.key).expect("exists"));
                assert!(seen.insert(e.key.to_vec()), "given twice");
            });
            assert!(seen == stored && damaged == 0, "limit {limit}, values {values}");
        }
    }
}

#[test]
fn pages_end_where_they_were_to_end() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    fill(&store, 3_000);
    let order = keys_from(&store, 0, &all(u64::MAX));
    let page = |cursor: &mut u64, limit, stop_at: u64| {
        let mut keys = Vec::new();
        let page = store.scan(cursor, &all(limit), &mut |entry| {
            keys.push(entry.key.to_vec());
            match keys.len() as u64 == stop_at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (keys, page.expect("scan"))
    };
    let mut cursor = 0;
    let (first, end) = page(&mut cursor, 100, 0);
    assert_eq!((first.as_slice(), end), (&order[..100], Page { given: 100, ..Page::default() }));
    let (second, end) = page(&mut cursor, 100, 37);
    assert_eq!(second, order[100..137], "it goes on behind the entry that it was stopped at");
    assert!(end.stopped && end.given == 37);
    let (third, _) = page(&mut cursor, 0, 0);
    assert_eq!(third, order[137..1137], "0 is a thousand");
    let (rest, _) = page(&mut cursor, u64::MAX, 0);
    assert_eq!((rest.as_slice(), cursor), (&order[1137..], SCAN_DONE));
    let (none, end) = page(&mut cursor, 10, 0);
    assert_eq!((none.len(), end, cursor), (0, Page::default(), SCAN_DONE));
}

#[test]
fn compressed_values_are_given_as_they_were_written() {
    let dir = memory_dir();
    let store = open(dir.path(), &Options { compress: Some(true), ..small() });
    let text = |i: u64| format!("{i} and so on; ").repeat(200).into_bytes();
    for i in 0..500 {
        store.set(&key(i), &text(i), i as u32, Ttl::Never).expect("set");
    }
    for values in [true, false] {
        let (mut seen, scan) = (0, Scan { values, ..Scan::default() });
        scan_from(&store, 0, &scan, |entry| {
            let text = text(entry.item.flags as u64);
            assert_eq!(entry.item.value_len, text.len() as u64);
            assert!(entry.value.is_none_or(|value| value == text));
            seen += 1;
        });
        assert_eq!(seen, 500);
    }
    assert!(store.stats().expect("stats").live_bytes < 500 * 1_000, "nothing was compressed");
}

/// With a filter that wants nothing a page ends all the same, soon.
#[test]
fn a_page_looks_at_a_bounded_number_of_records() {
    let dir = memory_dir();
    let store = open(dir.path(), &Options { max_bytes: Some(64 << 20), ..small() });
    fill(&store, 50_000);
    let asked = std::cell::Cell::new(0u64);
    let none = |_: &[u8], _: &Item| {
        asked.set(asked.get() + 1);
        false
    };
    let mut cursor = 0;
    let scan = Scan { filter: Some(&none), limit: 5, ..Scan::default() };
    let page = store.scan(&mut cursor, &scan, &mut |_| unreachable!()).expect("scan");
    assert_eq!(page.given, 0);
    assert!(cursor != 0 && cursor != SCAN_DONE);
    assert!((1_000..12_000).contains(&asked.get()), "{} records for a page of 5", asked.get());
    scan_from(&store, cursor, &scan, |_| unreachable!());
    assert_eq!(asked.get(), 50_000, "each is looked at once");
}

#[test]
fn prefix_and_filter_give_what_an_oracle_gives() {
    let mut rng = Rng::new(seed("scan filter"));
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let mut stored: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..4_000 {
        let key: Vec<u8> = (0..1 + rng.below(6)).map(|_| *rng.pick(b"ab\xff\0")).collect();
        let flags = rng.below(10) as u32;
        store.set(&key, b"value", flags, Ttl::Never).expect("set");
        stored.insert(key, flags);
    }
    for _ in 0..200 {
        let prefix: Vec<u8> = (0..rng.below(4)).map(|_| *rng.pick(b"ab\xff\0")).collect();
        let most = rng.below(11) as u32;
        let filter = |key: &[u8], item: &Item| item.flags < most && key.len() % 2 == 1;
        let filter = rng.one_in(2).then_some(&filter as &holdfast::Filter);
        let scan =
            Scan { prefix: &prefix, filter, limit: 1 + rng.below(900), values: rng.one_in(2) };
        let mut seen = BTreeSet::new();
        scan_from(&store, 0, &scan, |entry| {
            assert_eq!(entry.value, scan.values.then_some(&b"value"[..]));
            assert!(seen.insert(entry.key.to_vec()));
        });
        let wanted = |key: &[u8], flags: u32| {
            key.starts_with(&prefix) && filter.is_none_or(|_| flags < most && key.len() % 2 == 1)
        };
        let oracle: BTreeSet<Vec<u8>> =
            stored.iter().filter(|(k, f)| wanted(k, **f)).map(|(k, _)| k.clone()).collect();
        assert_eq!(seen, oracle, "{prefix:?}");
        if filter.is_none() {
            assert_eq!(store.count_keys(&prefix).expect("count"), oracle.len() as u64);
        }
    }
}

#[test]
fn ranges_give_what_a_sorted_oracle_gives() {
    let mut rng = Rng::new(seed("ranges"));
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let mut stored: BTreeMap<Vec<u8>, (u32, Vec<u8>)> = BTreeMap::new();
    let draw = |rng: &mut Rng, low: u64| -> Vec<u8> {
        (0..low + rng.below(6)).map(|_| *rng.pick(b"ab\xff\0")).collect()
    };
    for i in 0..3_000 {
        let key = draw(&mut rng, 1);
        let value = content(i, rng.below(50) as usize);
        store.set(&key, &value, i as u32, Ttl::Never).expect("set");
        stored.insert(key, (i as u32, value));
    }
    for _ in 0..100 {
        let (a, b, prefix) = (draw(&mut rng, 0), draw(&mut rng, 0), draw(&mut rng, 0));
        let prefix = if rng.one_in(3) { &prefix[..prefix.len().min(2)] } else { &[] };
        fn bound<'a>(rng: &mut Rng, key: &'a [u8]) -> Bound<&'a [u8]> {
            match rng.below(4) {
                0 => Bound::Unbounded,
                1 => Bound::Excluded(key),
                _ => Bound::Included(key),
            }
        }
        let (from, to) = (bound(&mut rng, &a), bound(&mut rng, &b));
        let (reverse, values) = (rng.one_in(2), rng.one_in(2));
        let mut oracle: Vec<&Vec<u8>> = stored
            .keys()
            .filter(|k| k.starts_with(prefix) && (from, to).contains(k.as_slice()))
            .collect();
        if reverse {
            oracle.reverse();
        }
        let limit = *rng.pick(&[1, 10, 100, 1_000, 10_000]).max(&(oracle.len() as u64 / 5));
        let (mut seen, mut next) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let behind = next.as_deref().map(Bound::Excluded);
            let (from, to) = match reverse {
                false => (behind.unwrap_or(from), to),
                true => (from, behind.unwrap_or(to)),
            };
            let range = Range { from, to, prefix, limit, reverse, values };
            let page = store.range(&range, &mut |entry| {
                let (flags, value) = &stored[entry.key];
                assert_eq!(entry.item.flags, *flags);
                assert_eq!(entry.value, values.then_some(value.as_slice()));
                seen.push(entry.key.to_vec());
                ControlFlow::Continue(())
            });
            let page = page.expect("range");
            assert!(page.given <= limit && page.damaged == 0 && !page.stopped);
            assert_eq!(page.next.is_some(), seen.len() < oracle.len());
            if page.next.is_none() {
                break;
            }
            assert_eq!((page.given, page.next.as_ref()), (limit, seen.last()));
            next = page.next;
        }
        assert!(seen.iter().eq(oracle.iter().copied()), "{from:?} {to:?} {prefix:?} {reverse}");
    }
}

#[test]
fn a_range_that_is_stopped_goes_on_behind_that_entry() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    fill(&store, 10);
    let mut seen = Vec::new();
    let mut take = |range: &Range, most: usize| {
        let before = seen.len();
        let page = store.range(range, &mut |entry| {
            seen.push(entry.key.to_vec());
            if seen.len() - before == most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        page.expect("range")
    };
    let first = take(&Range::default(), 3);
    assert!(first.stopped && first.given == 3 && first.next == Some(b"key 2".to_vec()));
    let from = Bound::Excluded(first.next.as_deref().expect("more"));
    let last = take(&Range { from, ..Range::default() }, 7);
    assert_eq!((last.stopped, last.next), (true, None), "stopped at the very last");
    assert_eq!(seen, (0..10).map(key).collect::<Vec<_>>());
    let too_large = Range { limit: 10_001, ..Range::default() };
    let refused = store.range(&too_large, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

#[test]
fn a_cursor_can_be_any_number() {
    let mut rng = Rng::new(seed("cursors"));
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    fill(&store, 2_000);
    let mut order: Vec<(u64, Vec<u8>)> =
        (0..2_000).map(|i| (store.key_hash(&key(i)).expect("hash"), key(i))).collect();
    order.sort();
    let edges = [0, 1, SCAN_DONE - 1, SCAN_DONE, 1 << 42, (1 << 42) - 1, 1 << 56, 0xff << 56];
    let near = order.iter().flat_map(|(hash, _)| [*hash - 1, *hash, *hash + 1]).step_by(97);
    let cursors: Vec<u64> = near.chain(edges).chain((0..500).map(|_| rng.next())).collect();
    for cursor in cursors {
        let wanted = order.iter().filter(|(hash, _)| *hash >= cursor).map(|(_, key)| key);
        let limit = 1 + rng.below(3_000);
        assert!(keys_from(&store, cursor, &all(limit)).iter().eq(wanted), "from {cursor:#x}");
    }
}

#[test]
fn an_old_cursor_goes_on_after_thousands_of_changes_a_new_open_and_a_rebuild() {
    let mut rng = Rng::new(seed("old cursors"));
    let dir = memory_dir();
    let path = dir.path();
    let mut store = open(path, &small());
    let stays = fill(&store, 2_000);
    let (mut cursor, mut seen, mut pages) = (0, Vec::new(), 0);
    while cursor != SCAN_DONE {
        let page = store.scan(&mut cursor, &all(150), &mut |entry| {
            seen.push(entry.key.to_vec());
            ControlFlow::Continue(())
        });
        page.expect("scan");
        pages += 1;
        for _ in 0..2_000 {
            let i = rng.below(4_000);
            let value = content(i, rng.below(400) as usize);
            if i < 2_000 || rng.one_in(2) {
                store.set(&key(i), &value, 1, Ttl::Never).expect("set");
            } else {
                store.delete(&key(i), None, None).expect("delete");
            }
        }
        if pages % 5 == 0 {
            drop(store);
            if pages % 10 == 0 {
                std::fs::remove_file(path.join("index")).expect("an index");
            }
            store = open(path, &small());
        }
    }
    assert!(pages > 10, "{pages} pages");
    let once: BTreeSet<Vec<u8>> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "some key was given twice");
    assert!(stays.is_subset(&once), "some key that was there all the time is missing");
}

#[test]
fn what_has_expired_or_was_deleted_or_flushed_is_not_given() {
    let dir = memory_dir();
    let clock = HandClock::new();
    let store = open(dir.path(), &Options { clock: Some(clock.clone()), ..small() });
    for i in 0..300 {
        let ttl = if i % 3 == 0 { Ttl::Millis(1_000) } else { Ttl::Millis(100_000) };
        store.set(&key(i), b"v", 0, ttl).expect("set");
    }
    for i in (1..300).step_by(3) {
        assert!(matches!(store.delete(&key(i), None, None), Ok(Stored::Done(_))));
    }
    assert_eq!(keys_from(&store, 0, &all(0)).len(), 200);
    clock.pass(1_000);
    for values in [true, false] {
        let scan = Scan { values, ..Scan::default() };
        let left: BTreeSet<Vec<u8>> = keys_from(&store, 0, &scan).into_iter().collect();
        assert_eq!(left, (2..300).step_by(3).map(key).collect());
        let mut ranged = 0;
        let range = Range { values, ..Range::default() };
        let page = store.range(&range, &mut |_| {
            ranged += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((page.expect("range").given, ranged), (100, 100));
    }
    store.flush(None).expect("flush");
    store.set(b"after the flush", b"", 0, Ttl::Never).expect("set");
    assert_eq!(keys_from(&store, 0, &all(0)), [b"after the flush"]);
    assert_eq!(store.count_keys(b"key").expect("count"), 0);
}

#[test]
fn damaged_records_are_counted_and_passed_over() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    fill(&store, 1_000);
    store.set(b"with a damaged value", &[b'V'; 500], 0, Ttl::Never).expect("set");
    store.set(b"with a damaged key", b"", 0, Ttl::Never).expect("set");
    let path = dir.path().join("data");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("data");
    let bytes = std::fs::read(&path).expect("data");
    for what in [&[b'V'; 400][..], b"damaged key"] {
        let at = bytes.windows(what.len()).position(|w| w == what).expect("stored");
        file.write_all_at(b"#", at as u64 + 3).expect("damage");
    }
    for limit in [1, 10, u64::MAX] {
        let mut seen = 0;
        let scan = |values| Scan { limit, values, ..Scan::default() };
        assert_eq!(scan_from(&store, 0, &scan(true), |_| seen += 1), 2, "both, once each");
        assert_eq!(seen, 1_000);
        assert_eq!(scan_from(&store, 0, &scan(false), |_| seen += 1), 1, "values are not read");
        assert_eq!(seen, 2_001);
    }
    for (values, damaged) in [(true, 2), (false, 1)] {
        let range = Range { limit: 10_000, values, ..Range::default() };
        let page = store.range(&range, &mut |_| ControlFlow::Continue(())).expect("range");
        assert_eq!((page.damaged, page.given), (damaged, 1_002 - damaged));
    }
}

#[test]
fn the_visitor_and_the_filter_may_use_the_store() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let stays = fill(&store, 500);
    let look = |key: &[u8], item: &Item| store.exists(key).expect("exists").as_ref() == Some(item);
    let mut seen = BTreeSet::new();
    let scan = Scan { filter: Some(&look), limit: 50, values: true, ..Scan::default() };
    scan_from(&store, 0, &scan, |entry| {
        assert!(seen.insert(entry.key.to_vec()));
        store.set(entry.key, b"written by the visitor", 5, Ttl::Never).expect("set");
        store.set(&[entry.key, b"'s child"].concat(), b"new", 0, Ttl::Millis(1)).expect("set");
        let inner = store.scan(&mut 0, &all(1), &mut |_| ControlFlow::Continue(()));
        assert_eq!(inner.expect("scan").given, 1);
        assert!(seen.len() < 100_000, "new keys feed the scan for ever");
        // Children of children are not wanted.
        if entry.key.len() > 20 {
            store.delete(entry.key, None, None).expect("delete");
        }
    });
    assert!(stays.is_subset(&seen));
}

/// Keys that agree in the upper 22 bits of their hashes, which is all that a slot tells of them:
/// `each` at a time, in the order of their hashes.
fn of_one_tag(store: &Store, each: usize) -> Vec<Vec<Vec<u8>>> {
    let mut tags: HashMap<u64, Vec<(u64, Vec<u8>)>> = HashMap::new();
    for i in 0..1_000_000 {
        let hash = store.key_hash(&key(i)).expect("hash");
        tags.entry(hash >> 42).or_default().push((hash, key(i)));
    }
    let crowded = tags.into_values().filter(|keys| keys.len() >= each).map(|mut keys| {
        keys.sort();
        keys.into_iter().take(each).map(|(_, key)| key).collect()
    });
    crowded.take(60).collect()
}

/// A key that takes the slot of another one while the scan is there takes no third one's turn.
#[test]
fn a_newcomer_in_a_slot_that_is_next_hides_nobody() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    let crowded = of_one_tag(&store, 4);
    assert!(crowded.len() > 20, "{} tags with four keys", crowded.len());
    for keys in crowded {
        let [a, b, c, d] = &keys[..] else { unreachable!() };
        for key in [a, b, c] {
            store.set(key, b"v", 0, Ttl::Never).expect("set");
        }
        let mut seen = Vec::new();
        scan_from(&store, 0, &all(u64::MAX), |entry| {
            if entry.key == a {
                store.delete(b, None, None).expect("delete");
                store.set(d, b"v", 0, Ttl::Never).expect("set");
            }
            seen.push(entry.key.to_vec());
        });
        assert!(seen == [a.clone(), c.clone()] || seen == [a.clone(), c.clone(), d.clone()]);
        for key in [a, c, d] {
            store.delete(key, None, None).expect("delete");
        }
    }
}

#[test]
fn a_damaged_index_that_names_a_record_twice_gives_it_once() {
    let dir = memory_dir();
    let store = open(dir.path(), &small());
    store.set(b"key", b"value", 0, Ttl::Never).expect("set");
    let path = dir.path().join("index");
    let index = std::fs::read(&path).expect("index");
    let at = index.chunks(8).position(|slot| slot != [0; 8]).expect("one slot is used");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("index");
    file.write_all_at(&index[at * 8..at * 8 + 8], (at as u64 ^ 1) * 8).expect("damage");
    for limit in [1, 10] {
        assert_eq!(keys_from(&store, 0, &all(limit)), [b"key"]);
    }
}

/// Who is in the play below.
struct Cast {
    /// Keys that are overwritten, but always there.
    stay: Vec<Vec<u8>>,
    /// Keys that are deleted and made again.
    come_and_go: Vec<Vec<u8>>,
}

/// A writer: runs until it is killed.
fn write_without_end(path: &Path, options: &Options, cast: &Cast, seed: u64) {
    let store = open(path, options);
    let mut rng = Rng::new(seed);
    loop {
        let len = if rng.one_in(200) { 90_000 } else { rng.below(2_000) as usize };
        let tag = rng.next() as u32;
        let value = content(tag as u64, len);
        let (stays, goes) = (rng.pick(&cast.stay).clone(), rng.pick(&cast.come_and_go).clone());
        let done = match rng.below(5) {
            0 | 1 => store.delete(&goes, None, None),
            2 => store.set(&goes, &value, tag, Ttl::Millis(50)),
            3 => store.touch(&stays, Ttl::Never, None),
            _ => store.set(&stays, &value, tag, Ttl::Never),
        };
        match done {
            Ok(_) | Err(Error::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Values are checked against their flags: a torn, mixed or foreign one would differ.
fn check(entry: &Entry, seen: &mut HashMap<Vec<u8>, u64>) {
    if let Some(value) = entry.value {
        assert!(value == content(entry.item.flags as u64, value.len()), "a torn value");
        assert_eq!(value.len() as u64, entry.item.value_len);
    }
    *seen.entry(entry.key.to_vec()).or_default() += 1;
}

/// Scans again and again while processes write and are killed.
fn play(name: &str, options: &Options, cast: impl Fn(&Store) -> Cast) {
    let mut rng = Rng::new(seed(name));
    let time = Duration::from_millis(size("HOLDFAST_SCAN_MS", 4_000));
    let dir = dir();
    let store = open(dir.path(), options);
    let cast = cast(&store);
    for key in &cast.stay {
        store.set(key, &content(7, 100), 7, Ttl::Never).expect("set");
    }
    let spawn = |rng: &mut Rng| {
        let seed = rng.next();
        process::fork(|| write_without_end(dir.path(), options, &cast, seed))
    };
    let mut writers: Vec<Pid> = (0..3).map(|_| spawn(&mut rng)).collect();
    let (begun, mut scans, mut kills) = (Instant::now(), 0, 0);
    while begun.elapsed() < time {
        let limit = *rng.pick(&[1, 2, 10, 100, u64::MAX]);
        let values = rng.one_in(2);
        let mut seen = HashMap::new();
        let damaged = if rng.one_in(6) {
            let range = Range { limit: 10_000, values, ..Range::default() };
            let page = store.range(&range, &mut |entry| {
                check(entry, &mut seen);
                ControlFlow::Continue(())
            });
            page.expect("range").damaged
        } else {
            let mut wait = rng.clone();
            scan_from(&store, 0, &Scan { limit, values, ..Scan::default() }, |entry| {
                check(entry, &mut seen);
                if wait.one_in(100) {
                    std::thread::sleep(Duration::from_micros(300));
                }
            })
        };
        assert_eq!(damaged, 0);
        for key in &cast.stay {
            assert_eq!(seen.get(key), Some(&1), "{key:?}, pages of {limit}");
        }
        assert!(seen.values().all(|times| *times == 1), "given twice, pages of {limit}");
        scans += 1;
        if rng.one_in(4) {
            let which = rng.below(writers.len() as u64) as usize;
            writers[which].signal(9);
            assert_eq!(writers[which].wait(Duration::from_secs(10)), Ended::Signal(9));
            writers[which] = spawn(&mut rng);
            kills += 1;
        }
    }
    for writer in writers {
        writer.signal(9);
        assert_eq!(writer.wait(Duration::from_secs(10)), Ended::Signal(9), "it ran to the end");
    }
    println!("{name}: {scans} scans, {kills} kills");
    assert!(scans > 20 && kills > 0);
}

#[test]
fn what_stays_is_given_exactly_once_while_others_write_and_die() {
    let options = Options { max_bytes: Some(8 << 20), ..small() };
    play("scan among writers", &options, |_| Cast {
        stay: (0..400).map(key).collect(),
        come_and_go: (400..800).map(key).collect(),
    });
}

/// The same with keys that only their records tell apart: they take each other's slots.
#[test]
fn keys_with_one_tag_are_told_apart_while_they_take_each_others_slots() {
    let options = Options { max_bytes: Some(8 << 20), ..small() };
    play("scan among keys of one tag", &options, |store| {
        let crowded = of_one_tag(store, 4);
        Cast {
            stay: crowded.iter().flat_map(|keys| keys[..2].to_vec()).collect(),
            come_and_go: crowded.iter().flat_map(|keys| keys[2..].to_vec()).collect(),
        }
    });
}

/// The index begins with room for a few thousand keys and is moved, stripe by stripe, again and
/// again, while scans go over it.
#[test]
fn what_stays_is_given_exactly_once_while_the_index_grows() {
    let mut rng = Rng::new(seed("scan and growth"));
    let count = size("HOLDFAST_SCAN_GROWTH", 200_000);
    let dir = memory_dir();
    let options = Options { max_bytes: Some(256 << 20), ..small() };
    let store = open(dir.path(), &options);
    let stays = 2_000;
    for i in 0..stays {
        store.set(&key(i), b"stays", 0, Ttl::Never).expect("set");
    }
    let before = store.stats().expect("stats").index_slots;
    // Two writers make keys of their own, from where the one before was killed.
    let spawn = |lane: u64| {
        process::fork(|| {
            let store = open(dir.path(), &options);
            for i in (stays + lane..count).step_by(2) {
                if store.exists(&key(i)).expect("exists").is_none() {
                    store.set(&key(i), b"new", 0, Ttl::Never).expect("set");
                }
            }
        })
    };
    let mut writers = [spawn(0), spawn(1)];
    let (mut scans, mut grown, mut slots, mut kills) = (0, 0, before, 0);
    let begun = Instant::now();
    while store.stats().expect("stats").keys < count && begun.elapsed().as_secs() < 100 {
        let limit = *rng.pick(&[10, 100, 1_000, u64::MAX]);
        let mut seen = vec![0u8; count as usize];
        let values = rng.one_in(3);
        let damaged = scan_from(&store, 0, &Scan { limit, values, ..Scan::default() }, |entry| {
            let i: u64 = std::str::from_utf8(&entry.key[4..]).unwrap().parse().unwrap();
            assert!(
                entry.value.is_none_or(|v| v == if i < stays { &b"stays"[..] } else { b"new" })
            );
            seen[i as usize] += 1;
        });
        assert_eq!(damaged, 0);
        let once = seen[..stays as usize].iter().all(|times| *times == 1);
        assert!(once, "a key that stays was given never or twice, pages of {limit}");
        assert!(seen.iter().all(|times| *times <= 1), "a new key was given twice");
        scans += 1;
        let now = store.stats().expect("stats").index_slots;
        grown += (now > slots) as u64;
        slots = now;
        if rng.one_in(4) && kills < 10 {
            let lane = rng.below(2) as usize;
            writers[lane].signal(9);
            match writers[lane].wait(Duration::from_secs(10)) {
                Ended::Signal(9) | Ended::Exit(0) => writers[lane] = spawn(lane as u64),
                other => panic!("{other:?}"),
            }
            kills += 1;
        }
    }
    for writer in writers {
        assert_eq!(writer.wait(Duration::from_secs(20)), Ended::Exit(0));
    }
    println!(
        "{scans} scans, {kills} kills, {before} slots grew to {slots} in {grown} of the scans"
    );
    assert!(scans > 3 && grown > 1 && slots > 10 * before);
    assert_eq!(store.count_keys(b"key ").expect("count"), count);
}
