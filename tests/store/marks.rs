//! Marks and versions that writers give: what each verb does with them, and that they survive all
//! that moves a record: a shorter life, the sweep, a rebuild, a backup.

use holdfast::{
    Counted, Error, Expect, Item, Mark, Options, Scan, Store, Stored, Ttl, Update, Write,
};
use holdfast_tests::{HandClock, content, dir, memory_dir, open, plain, small};

const MARKS: [Mark; 4] = [Mark::None, Mark::Stale, Mark::Pending, Mark::StalePending];
/// A value that fills whole segments in a store of the tests' size.
const LARGE: usize = 200_000;

fn item(store: &Store, key: &[u8]) -> Item {
    store.exists(key).unwrap().expect("present")
}

/// Mark and version.
fn said(store: &Store, key: &[u8]) -> (Mark, u64) {
    let item = item(store, key);
    let read = store.get(key, &mut Vec::new()).unwrap().expect("present");
    assert_eq!((read.mark, read.version), (item.mark, item.version), "reads agree");
    (item.mark, item.version)
}

fn given(mark: Mark, version: u64) -> Write<'static> {
    Write { ttl: Ttl::Millis(600_000), mark, version: Some(version), ..Write::default() }
}

fn done(stored: holdfast::Result<Stored>) -> u64 {
    match stored {
        Ok(Stored::Done(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn is_invalid<T: std::fmt::Debug>(result: holdfast::Result<T>, about: &str) {
    match result {
        Err(Error::Invalid(text)) => assert!(text.contains(about), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_says_anew_what_the_value_is() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut before = done(store.set(b"k", b"v", 0, Ttl::Never));
    for mark in MARKS {
        let how = Write { mark, ..Write::default() };
        let version = done(store.write(b"k", b"v", &how));
        assert!(version > before, "without a version it is the next one");
        assert_eq!(said(&store, b"k"), (mark, version));
        before = version;
        assert_eq!(done(store.write(b"k", b"v", &given(mark, 7))), 7);
        assert_eq!(said(&store, b"k"), (mark, 7));
    }
    type Verb = fn(&Store) -> u64;
    let again: [(&str, Verb); 5] = [
        ("set", |s| done(s.set(b"k", b"5", 0, Ttl::Never))),
        ("cas", |s| done(s.cas(b"k", b"5", 0, Ttl::Never, 7))),
        ("update", |s| done(s.update(b"k", None, false, &mut |_| plain(b"5".to_vec(), 0, None)))),
        ("append", |s| done(s.append(b"k", b"5", None, false))),
        ("increment", |s| match s.increment(b"k", 1, None, &Write::default()) {
            Ok(Counted::Done { value: 2, version }) => version,
            other => panic!("{other:?}"),
        }),
    ];
    for (name, verb) in again {
        done(store.write(b"k", b"1", &given(Mark::StalePending, 7)));
        let version = verb(&store);
        assert_eq!(said(&store, b"k"), (Mark::None, version), "{name}");
        assert!(version > before, "{name} has the next version again, not {version}");
        before = version;
    }
    assert_eq!(done(store.update(b"k", None, false, &mut |_| Update::Keep)), before);
}

#[test]
fn conditions_are_about_the_version_that_is_shown() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let number = done(store.set(b"other", b"v", 0, Ttl::Never));
    for len in [10, LARGE] {
        let value = content(1, len);
        done(store.write(b"k", &value, &given(Mark::None, 7)));
        // The number that the record has by itself is no version of it.
        for wrong in [number + 1, number + 2, 6, 8] {
            let how = Write { expect: Expect::Version(wrong), ..Write::default() };
            assert_eq!(store.write(b"k", b"x", &how).unwrap(), Stored::Exists(7));
            assert_eq!(store.delete(b"k", Some(wrong), None).unwrap(), Stored::Exists(7));
            let counted = store.increment(b"k", 1, None, &how).unwrap();
            assert_eq!(counted, Counted::Exists(7));
        }
        assert_eq!(store.add(b"k", b"x", 0, Ttl::Never).unwrap(), Stored::Exists(7));
        let how = Write { expect: Expect::Version(7), ..given(Mark::Stale, 9) };
        assert_eq!(done(store.write(b"k", &value, &how)), 9);
        assert_eq!(store.write(b"k", &value, &how).unwrap(), Stored::Exists(9));
        assert!(done(store.delete(b"k", Some(9), None)) > number);
        assert!(store.exists(b"k").unwrap().is_none());
    }
    done(store.write(b"n", b"five", &given(Mark::None, 3)));
    let how = given(Mark::Pending, 4);
    assert_eq!(store.increment(b"n", 1, None, &how).unwrap(), Counted::NotANumber(3));
    assert_eq!(
        store.increment(b"m", 1, Some(1), &how).unwrap(),
        Counted::Done { value: 1, version: 4 }
    );
    assert_eq!(said(&store, b"m"), (Mark::Pending, 4));
    assert_eq!(
        store.increment(b"m", 1, None, &given(Mark::None, 4)).unwrap(),
        Counted::Done { value: 2, version: 4 }
    );
    assert_eq!(said(&store, b"m"), (Mark::None, 4));
}

#[test]
fn a_new_lifetime_leaves_mark_and_given_version_as_they_are() {
    for compress in [false, true] {
        let (dir, clock) = (dir(), HandClock::new());
        let options = Options { clock: Some(clock), compress: Some(compress), ..small() };
        let store = open(dir.path(), &options);
        let text: Vec<u8> = b"user|i:1;".iter().copied().cycle().take(LARGE).collect();
        for (value, mark) in
            [&b"v"[..], &content(1, 3_000), &content(2, LARGE), &text].into_iter().zip(MARKS)
        {
            done(store.write(b"k", value, &given(mark, 7)));
            let now = store.now_ms().unwrap();
            for ms in [900_000, 800_000, 1_000_000, 1_000] {
                assert_eq!(done(store.touch(b"k", Ttl::Millis(ms), None)), 7);
                assert_eq!(said(&store, b"k"), (mark, 7));
                assert_eq!(item(&store, b"k").expires_ms, now + ms);
            }
            let mut read = Vec::new();
            let shown = store.get_touch(b"k", Ttl::Millis(500), &mut read).unwrap().expect("there");
            assert!(read == value, "another value");
            assert_eq!((shown.mark, shown.version, shown.expires_ms), (mark, 7, now + 500));
            // One without: the mark stays, and the shorter life has a version of its own.
            let how = Write { mark, ttl: Ttl::Millis(5_000), ..Write::default() };
            let version = done(store.write(b"k", value, &how));
            assert_eq!(done(store.touch(b"k", Ttl::Millis(6_000), None)), version);
            let shorter = done(store.touch(b"k", Ttl::Millis(4_000), None));
            assert!(shorter > version);
            assert_eq!(said(&store, b"k"), (mark, shorter));
        }
    }
}

#[test]
fn an_owner_and_a_given_version_exclude_each_other() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let owned = Write { owner: Some(b"anna"), ttl: Ttl::Never, ..Write::default() };
    is_invalid(store.write(b"k", b"v", &Write { version: Some(7), ..owned }), "owner");
    assert!(store.exists(b"k").unwrap().is_none());
    for len in [10, LARGE] {
        let version = done(store.write(b"k", &content(1, len), &owned));
        is_invalid(store.write(b"k", b"v", &given(Mark::None, 7)), "owner");
        let update = |version| {
            let value = b"v".to_vec();
            let step = Update::Write { value, flags: 0, ttl: None, mark: Mark::Stale, version };
            store.update(b"k", None, false, &mut |_| step.clone())
        };
        is_invalid(update(Some(7)), "owner");
        assert_eq!(said(&store, b"k"), (Mark::None, version), "refused whole");
        // A condition that fails is told first.
        let how = Write { expect: Expect::Absent, ..given(Mark::None, 7) };
        assert_eq!(store.write(b"k", b"v", &how).unwrap(), Stored::Exists(version));
        // A mark goes with an owner.
        let version = done(update(None));
        assert_eq!(said(&store, b"k"), (Mark::Stale, version));
        assert_eq!(store.owner_of(b"k").unwrap().as_deref(), Some(&b"anna"[..]));
    }
    // A value that gets an owner has a new version, and keeps its mark.
    done(store.write(b"free", b"v", &given(Mark::Pending, 7)));
    let version = done(store.set_owner(b"free", b"anna", None));
    assert!(version > 7);
    assert_eq!(said(&store, b"free"), (Mark::Pending, version));
    // What was ended keeps nobody from giving versions.
    assert!(store.end_owner(b"anna").unwrap());
    assert_eq!(done(store.write(b"k", b"v", &given(Mark::None, 7))), 7);

    is_invalid(store.write(b"k", b"v", &given(Mark::None, 0)), "not be 0");
    let zero = Update::Write {
        value: b"v".to_vec(),
        flags: 0,
        ttl: None,
        mark: Mark::None,
        version: Some(0),
    };
    is_invalid(store.update(b"k", None, false, &mut |_| zero.clone()), "not be 0");
    is_invalid(store.increment(b"n", 1, Some(1), &given(Mark::None, 0)), "not be 0");
    assert_eq!(said(&store, b"k"), (Mark::None, 7));
}

/// Two values of one version are two values: a step that was computed of the first must not undo
/// the second.
#[test]
fn an_update_notices_another_value_of_the_same_version() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let (first, second) = (content(1, LARGE), content(2, LARGE));
    for deletes in [false, true] {
        done(store.write(b"k", &first, &given(Mark::None, 7)));
        let mut runs = 0;
        let updated = store.update(b"k", None, false, &mut |present| {
            runs += 1;
            if runs == 1 {
                // As somebody else would, who does not wait for a latch here either.
                done(store.write(b"k", &second, &given(Mark::None, 7)));
            }
            let (value, item) = present.expect("there");
            assert_eq!(item.version, 7);
            match deletes {
                true if runs > 1 => Update::Keep,
                true => Update::Delete,
                false => plain([value, b"!"].concat(), 0, None),
            }
        });
        assert!(matches!(updated, Ok(Stored::Done(_))), "{updated:?}");
        assert_eq!(runs, 2);
        let mut value = Vec::new();
        store.get(b"k", &mut value).unwrap().expect("it was not to be deleted");
        assert!(value[..LARGE] == second[..], "the second value was lost");
        assert_eq!(value.len(), if deletes { LARGE } else { LARGE + 1 });
    }
}

/// What must be there whatever happened: every mark, with and without a version, small and large.
fn fill(store: &Store) -> Vec<(Vec<u8>, Item)> {
    let mut kept = Vec::new();
    for n in 0..40u64 {
        let key = format!("kept {n}").into_bytes();
        let how = Write {
            flags: n as u32,
            mark: MARKS[n as usize % 4],
            version: (n % 8 < 4).then_some(1 + n / 8),
            ttl: Ttl::Never,
            ..Write::default()
        };
        let len = if n < 4 { LARGE } else { 900 };
        done(store.write(&key, &content(n, len), &how));
        kept.push((key.clone(), item(store, &key)));
    }
    kept
}

fn check(store: &Store, kept: &[(Vec<u8>, Item)]) {
    let mut value = Vec::new();
    for (n, (key, known)) in kept.iter().enumerate() {
        let item = store.get(key, &mut value).unwrap().expect("kept");
        assert!(value == content(n as u64, known.value_len as usize), "another value");
        assert_eq!((item, Some(item)), (*known, store.exists(key).unwrap()));
    }
    let mut seen = 0;
    let all = Scan { prefix: b"kept", limit: u64::MAX, values: true, ..Scan::default() };
    let mut visit = |entry: &holdfast::Entry| {
        seen += 1;
        let known = kept.iter().find(|(key, _)| key == entry.key).expect("known");
        assert_eq!(entry.item, known.1);
        std::ops::ControlFlow::Continue(())
    };
    store.scan(&mut 0, &all, &mut visit).unwrap();
    assert_eq!(seen, kept.len());
    let verified = store.verify(&mut |_, _| true).unwrap();
    assert!(verified.findings.is_empty(), "{:#?}", verified.findings);
}

#[test]
fn they_survive_the_sweep_a_rebuild_and_a_backup() {
    let (dir, places) = (memory_dir(), memory_dir());
    let options = Options { max_bytes: Some(16 << 20), ..small() };
    let store = open(dir.path(), &options);
    let kept = fill(&store);
    assert_eq!(kept.iter().filter(|(_, item)| item.version < 6).count(), 20);
    check(&store, &kept);
    // Everything is moved, more than once.
    for turn in 0..3 {
        for i in 0..6_000u32 {
            done(store.set(&(i % 100).to_be_bytes(), &content(i.into(), 3_000), 0, Ttl::Never));
        }
        store.compact().unwrap();
        check(&store, &kept);
        assert!(store.stats().unwrap().moved_bytes > 0, "nothing was moved in turn {turn}");
    }
    let (copy, restored) = (places.path().join("copy"), places.path().join("restored"));
    store.backup(&copy, true, &mut |_, _| true).unwrap();
    Store::restore(&copy, &restored, &mut |_, _| true).unwrap();
    drop(store);
    for path in [&copy, &restored] {
        check(&open(path, &Options::default()), &kept);
    }
    for derived in ["meta", "index"] {
        std::fs::remove_file(dir.path().join(derived)).unwrap();
        check(&open(dir.path(), &options), &kept);
    }
}
