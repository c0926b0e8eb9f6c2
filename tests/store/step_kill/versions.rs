//! Two formats: what an older or a newer library leaves, at once or one after the other, and deaths
//! between them.
//!
//! A child's library is made one of another minor version, or of another layout of `meta`, so both
//! are this code. What it cannot show: what a real other version does differently beside that.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use holdfast::{ConfigChange, Error, Options, Store, Sync, Ttl, fault};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{content, memory_dir, open};

use crate::scene::{KEY, LONG, Scene, healthy, see, set};

/// The minor version of this library, and a layout of `meta` that it does not know.
const OURS: u16 = 1;
const OTHER_LAYOUT: u8 = 0x7e;
/// The one that this library knows.
const LAYOUT: u8 = 5;

/// Runs `work` in a process whose library is another one.
fn as_another(minor: u16, layout: u8, work: impl FnOnce()) {
    let child = process::fork(|| {
        fault::pretend(minor, layout);
        work();
    });
    assert_eq!(child.wait(LONG), Ended::Exit(0));
}

fn options() -> Options {
    let (_dir, scene) = Scene::new();
    Options { open_timeout: Duration::from_millis(300), ..scene.options.clone() }
}

fn word_of_super(path: &Path, at: u64) -> u64 {
    let (mut word, file) = ([0; 8], std::fs::File::open(path.join("super")).expect("super"));
    file.read_exact_at(&mut word, at).expect("a word");
    u64::from_le_bytes(word)
}

fn minor_of(path: &Path) -> u16 {
    (word_of_super(path, 0x18) >> 16) as u16
}

/// CRC-32/ISCSI, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ *byte as u32, |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78))
    })
}

/// Changes a word of both copies of `super`, as another version might.
fn change_super(path: &Path, at: usize, value: u64) {
    let file = path.join("super");
    let mut bytes = std::fs::read(&file).expect("super");
    for copy in bytes.chunks_mut(4096) {
        copy[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let crc = crc(&copy[..0x1f8]);
        copy[0x1f8..0x1fc].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&file, bytes).expect("written");
}

/// Everything that writes `super` anew.
fn rewrite_super(path: &Path, options: &Options) {
    let store = open(path, options);
    let change = ConfigChange { sync: Some(Sync::Periodic), ..ConfigChange::default() };
    store.set_config(&change).expect("changed");
    store.flush(None).expect("flush");
    set(&store, KEY, b"v", Ttl::Never);
    drop(store);
    std::fs::remove_file(path.join("meta")).expect("meta");
    assert_eq!(see(&open(path, options)), Some((b"v".to_vec(), 0)));
}

const BEYOND: usize = 0xd0;
const COMPAT: usize = 0x20;

#[test]
fn what_a_newer_minor_version_wrote_stays_whatever_this_one_writes() {
    let (dir, options) = (memory_dir(), options());
    as_another(OURS + 1, LAYOUT, || set(&open(dir.path(), &options), KEY, b"new", Ttl::Never));
    assert_eq!(minor_of(dir.path()), OURS + 1);
    change_super(dir.path(), COMPAT, 5);
    change_super(dir.path(), BEYOND, 0x1234_5678);
    assert_eq!(see(&open(dir.path(), &options)), Some((b"new".to_vec(), 0)));
    rewrite_super(dir.path(), &options);
    let left = (minor_of(dir.path()), word_of_super(dir.path(), COMPAT as u64));
    assert_eq!(left, (OURS + 1, 5), "the newer version's number and features");
    assert_eq!(word_of_super(dir.path(), BEYOND as u64), 0x1234_5678, "what is not ours to know");
    let backup = memory_dir();
    let copied = open(dir.path(), &options).backup(backup.path(), false, &mut |_, _| true);
    copied.expect("backup");
    assert_eq!(minor_of(backup.path()), OURS + 1);
    assert_eq!(word_of_super(backup.path(), BEYOND as u64), 0x1234_5678);
}

#[test]
fn an_older_minor_version_is_opened_and_raised_and_still_opens() {
    let (dir, options) = (memory_dir(), options());
    as_another(OURS - 1, LAYOUT, || set(&open(dir.path(), &options), KEY, b"old", Ttl::Never));
    assert_eq!(minor_of(dir.path()), OURS - 1);
    assert_eq!(see(&open(dir.path(), &options)), Some((b"old".to_vec(), 0)));
    rewrite_super(dir.path(), &options);
    assert_eq!(minor_of(dir.path()), OURS);
    as_another(OURS - 1, LAYOUT, || rewrite_super(dir.path(), &options));
    assert_eq!(minor_of(dir.path()), OURS, "an older library makes it no older store");
}

#[test]
fn what_cannot_be_understood_is_refused_with_both_versions_named() {
    let features = |incompat, ro_compat: u64| [(0x28, incompat), (COMPAT, ro_compat << 32)];
    let newer_major = [(0x18, 2 | 7 << 16), (0x28, 0)];
    let cases = [(features(8, 0), "1.1", "0x8/0x0"), (features(0, 2), "1.1", "0x0/0x2")];
    for (changes, format, said) in cases.into_iter().chain([(newer_major, "2.7", "0x0/0x0")]) {
        let (dir, options) = (memory_dir(), options());
        set(&open(dir.path(), &options), KEY, b"v", Ttl::Never);
        let before = std::fs::read(dir.path().join("data")).expect("data");
        for (at, value) in changes {
            change_super(dir.path(), at, value);
        }
        let error = Store::open(dir.path(), &options).map(drop).expect_err("it is not understood");
        let text = error.to_string();
        assert!(matches!(error, Error::Format { .. }), "{text}");
        assert!(text.contains(format) && text.contains("knows format 1.1"), "{text}");
        assert!(text.contains(said), "{text}");
        assert_eq!(std::fs::read(dir.path().join("data")).expect("data"), before);
    }
}

/// Keeps a store open with another library until told otherwise.
fn hold_as_another(scene: &Scene, minor: u16, layout: u8, part: impl Fn(&Store)) {
    scene.beside(|| {
        fault::pretend(minor, layout);
        let store = open(&scene.path, &scene.options);
        part(&store);
        scene.reach(1);
        scene.wait_for(2);
        part(&store);
    });
    scene.wait_for(1);
}

#[test]
fn two_minor_versions_share_a_store_at_once() {
    let (_dir, mut scene) = Scene::new();
    scene.store = None;
    for minor in [OURS - 1, OURS + 1] {
        hold_as_another(&scene, minor, LAYOUT, |store| {
            let lived = see(store).map_or(0, |(value, _)| value.len());
            set(store, KEY, &content(7, lived + 100), Ttl::Never);
        });
        let store = open(&scene.path, &scene.options);
        let here = see(&store).expect("the other one's").0.len();
        set(&store, KEY, &content(7, here + 100), Ttl::Never);
        scene.reach(2);
        scene.end_beside(&|| format!("beside 1.{minor}"));
        assert_eq!(see(&store), Some((content(7, here + 200), 0)));
        healthy(&store, &|| "shared".into());
        store.delete(KEY, None, None).expect("delete");
    }
}

#[test]
fn a_store_in_use_by_another_layout_is_refused_with_both_named_and_then_taken_over() {
    let (_dir, mut scene) = Scene::new();
    scene.options.open_timeout = Duration::from_millis(300);
    scene.store = None;
    hold_as_another(&scene, OURS + 1, OTHER_LAYOUT, |store| set(store, KEY, b"theirs", Ttl::Never));
    let error = Store::open(&scene.path, &scene.options).map(drop).expect_err("it is in use");
    let text = error.to_string();
    assert!(matches!(error, Error::Refused { .. }), "{text}");
    assert!(text.contains("126") && text.contains("layout 5"), "{text}");
    scene.reach(2);
    scene.end_beside(&|| "the other".into());
    let store = open(&scene.path, &scene.options);
    assert_eq!(see(&store), Some((b"theirs".to_vec(), 0)));
    set(&store, KEY, b"ours", Ttl::Never);
    drop(store);
    as_another(OURS + 1, OTHER_LAYOUT, || {
        let store = open(&scene.path, &scene.options);
        assert_eq!(see(&store), Some((b"ours".to_vec(), 0)));
    });
}

/// The first opening by a newer library can die anywhere, and either library goes on from there.
#[test]
fn an_upgrade_can_die_before_each_of_its_stores() {
    let (_dir, mut scene) = Scene::new();
    let (mut n, mut died, mut deaths) = (0, true, 0);
    while died {
        n += if n > 120 { 1 + n / 8 } else { 1 };
        scene.store = None;
        let value = content(n, 20_000);
        let ends_well = n.is_multiple_of(2);
        let old = process::fork(|| {
            fault::pretend(OURS - 1, OTHER_LAYOUT);
            let store = open(&scene.path, &scene.options);
            set(&store, KEY, &value, Ttl::Never);
            set(&store, &n.to_le_bytes(), b"", Ttl::Never);
            match ends_well {
                true => drop(store),
                false => process::die(),
            }
        });
        let ended = old.wait(LONG);
        assert!(matches!(ended, Ended::Exit(0) | Ended::Signal(libc::SIGKILL)), "{ended:?}");
        let upgrade = process::fork(|| {
            fault::arm(n);
            let store = open(&scene.path, &scene.options);
            store.flush(Some(store.now_ms().expect("now") + 1_000_000)).expect("planned");
            fault::arm(u64::MAX);
        });
        died = upgrade.wait(LONG) == Ended::Signal(libc::SIGKILL);
        deaths += died as u64;
        if n % 3 == 0 {
            // Back to the old one, as if the upgrade had been called off.
            as_another(OURS - 1, OTHER_LAYOUT, || {
                let store = open(&scene.path, &scene.options);
                assert_eq!(see(&store), Some((value.clone(), 0)), "back after n = {n}");
            });
        }
        scene.store = Some(open(&scene.path, &scene.options));
        let store = scene.store();
        assert_eq!(see(store), Some((value, 0)), "n = {n}");
        assert!(store.exists(&n.to_le_bytes()).expect("exists").is_some(), "n = {n}");
        store.flush(Some(store.now_ms().expect("now") + 100_000_000)).expect("put off");
        healthy(store, &|| format!("upgrade: n = {n}"));
        assert!(minor_of(&scene.path) == OURS, "n = {n}");
    }
    println!("upgrade: {n} stores, {deaths} deaths");
    assert!(deaths > 50);
}
