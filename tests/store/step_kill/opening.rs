//! Deaths while a store is made, opened, rebuilt, closed, given other limits or restored.
//!
//! Whoever comes next finds a store that is whole, or none, and never makes an empty one where
//! there was one. What it cannot show: a power cut in there (`power.rs` does, but for creation).

use std::os::unix::fs::FileExt;
use std::path::Path;

use holdfast::{ConfigChange, Options, Store, Stored, Ttl, fault};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{content, memory_dir, open};

use crate::scene::{KEY, LONG, Scene, healthy, see, set};

/// Dies before the n-th store of `work`; gives true while it does.
fn dies(path: &Path, n: u64, work: impl FnOnce(&Path)) -> bool {
    let child = process::fork(|| {
        fault::arm(n);
        work(path);
        fault::arm(u64::MAX);
    });
    match child.wait(LONG) {
        Ended::Signal(libc::SIGKILL) => true,
        Ended::Exit(0) => false,
        other => panic!("n = {n}: {other:?}"),
    }
}

#[test]
fn creation_can_die_before_each_of_its_stores() {
    let (_dir, scene) = Scene::new();
    let mut n = 0;
    loop {
        n += 1;
        let dir = memory_dir();
        let died = dies(dir.path(), n, |path| drop(open(path, &scene.options)));
        let store = open(dir.path(), &scene.options);
        set(&store, KEY, b"v", Ttl::Never);
        assert_eq!(see(&store), Some((b"v".to_vec(), 0)), "n = {n}");
        if !died {
            break;
        }
        // The words of the table of stripes are one like the other.
        n += if n > 60 { 7 } else { 0 };
    }
    println!("creation: {n} stores");
}

#[test]
fn a_rebuild_or_an_open_after_deaths_can_die_before_each_of_its_stores() {
    for remove in ["meta", "index", "nothing"] {
        let (_dir, mut scene) = Scene::new();
        let store = scene.store();
        for i in 0..60u32 {
            set(store, &i.to_le_bytes(), &content(i as u64, 500), Ttl::Never);
        }
        for i in 0..20u32 {
            store.delete(&i.to_le_bytes(), None, None).expect("delete");
        }
        set(store, KEY, &content(5, 70_000), Ttl::Never);
        let mut version = store.exists(KEY).expect("exists").expect("there").version;
        let mut n = 0;
        let mut died = true;
        while died {
            n += if n > 150 { 11 } else { 1 };
            scene.store = None;
            if remove == "nothing" {
                // Somebody died with a change under way.
                dies(&scene.path, 40 + n % 60, |path| {
                    let store = open(path, &scene.options);
                    set(&store, b"under way", &content(n, 200), Ttl::Never);
                });
            } else {
                std::fs::remove_file(scene.path.join(remove)).expect("a file to remove");
            }
            died = dies(&scene.path, n, |path| drop(open(path, &scene.options)));
            scene.store = Some(open(&scene.path, &scene.options));
            let store = scene.store();
            for i in 0..60u32 {
                let mut value = Vec::new();
                let there = store.get(&i.to_le_bytes(), &mut value).expect("get").is_some();
                assert_eq!(there, i >= 20, "{remove} removed, n = {n}, key {i}");
                assert!(!there || value == content(i as u64, 500));
            }
            assert_eq!(see(store), Some((content(5, 70_000), 0)), "{remove} removed, n = {n}");
            let Stored::Done(next) = store.set(b"number", b"", 0, Ttl::Never).expect("set") else {
                panic!()
            };
            assert!(next > version, "a version was issued twice");
            version = next;
        }
        println!("open with {remove} removed: {n} stores");
    }
}

#[test]
fn the_last_to_leave_can_die_before_each_of_its_stores() {
    let (_dir, mut scene) = Scene::new();
    let (mut n, mut died) = (0, true);
    while died {
        n += 1;
        scene.store = None;
        let child = process::fork(|| {
            let store = open(&scene.path, &scene.options);
            set(&store, KEY, &content(n, 500), Ttl::Never);
            fault::arm(n);
            drop(store);
            fault::arm(u64::MAX);
        });
        let ended = child.wait(LONG);
        died = ended == Ended::Signal(libc::SIGKILL);
        assert!(died || ended == Ended::Exit(0), "n = {n}: {ended:?}");
        scene.store = Some(open(&scene.path, &scene.options));
        assert_eq!(see(scene.store()), Some((content(n, 500), 0)), "n = {n}");
        healthy(scene.store(), &|| format!("close: n = {n}"));
    }
    println!("clean close: {n} stores");
    assert!(n > 3);
}

#[test]
fn new_limits_can_come_into_force_in_spite_of_deaths() {
    let (_dir, mut scene) = Scene::new();
    set(scene.store(), KEY, &content(5, 70_000), Ttl::Never);
    let (mut n, mut died) = (0, true);
    while died {
        n += if n > 60 { 31 } else { 1 };
        let config = scene.store().config().expect("config");
        let max_bytes = Some(config.max_bytes + (1 << 20));
        let change = ConfigChange { max_bytes, ..ConfigChange::default() };
        scene.store().set_config(&change).expect("changed");
        scene.store = None;
        died = dies(&scene.path, n, |path| drop(open(path, &scene.options)));
        scene.store = Some(open(&scene.path, &scene.options));
        let config = scene.store().config().expect("config");
        let grown = (Some(config.max_bytes), config.pending_max_bytes);
        assert_eq!(grown, (max_bytes, 0), "n = {n}");
        assert_eq!(see(scene.store()), Some((content(5, 70_000), 0)), "n = {n}");
        healthy(scene.store(), &|| format!("new limits: n = {n}"));
    }
    println!("new limits: {n} stores");
}

#[test]
fn a_restore_can_die_before_each_of_its_stores() {
    let (dir, scene) = Scene::new();
    scene.old();
    let backup = memory_dir();
    scene.store().backup(backup.path(), true, &mut |_, _| true).expect("backup");
    let (mut n, mut died, mut whole) = (0, true, 0);
    while died {
        n += 1;
        let to = memory_dir();
        let place = to.path().join("restored");
        died = dies(&place, n, |place| {
            Store::restore(backup.path(), place, &mut |_, _| true).expect("restore");
        });
        let create = place.join("data").exists();
        match Store::open(&place, &Options { create, ..scene.options.clone() }) {
            Ok(store) => {
                whole += 1;
                assert!(see(&store) == see(scene.store()), "n = {n}: another value");
            }
            Err(e) => assert!(!place.join("super").exists(), "n = {n}: {e}"),
        }
    }
    println!("restore: {n} steps, {whole} complete");
    assert!(n > 3 && whole > 0);
    drop(dir);
}

/// Words of `meta`, see arena.rs.
const EVICT_HORIZON: u64 = 0x528;
const MODES: u64 = 0x650;

#[test]
fn nobody_takes_a_store_for_a_cache_before_all_its_segments_are_noted() {
    let (mut n, mut died) = (0, true);
    while died {
        n += 1;
        let (_dir, scene) = Scene::new();
        scene.old();
        let child = process::fork(|| {
            scene.store().exists(KEY).expect("exists");
            fault::arm(n);
            let change = ConfigChange { evict: Some(true), ..ConfigChange::default() };
            scene.store().set_config(&change).expect("changed");
            fault::arm(u64::MAX);
        });
        died = child.wait(LONG) == Ended::Signal(libc::SIGKILL);
        let word = |at| {
            let (mut word, meta) = ([0; 8], std::fs::File::open(scene.path.join("meta")));
            meta.expect("meta").read_exact_at(&mut word, at).expect("a word");
            u64::from_le_bytes(word)
        };
        let is_noted = || word(MODES) >> 16 & 1 == 0 || word(EVICT_HORIZON) << 16 != 0;
        assert!(is_noted(), "death before store {n}: it may evict what may come back");
        // Whoever changes `super` next finishes what the dead one began.
        scene.store().set_config(&ConfigChange::default()).expect("nothing changed");
        assert!(is_noted(), "death before store {n}, and after it was healed");
    }
    println!("becoming a cache: {n} stores");
}
