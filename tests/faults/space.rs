//! A disk with no byte free, again and again: old values stay, deletes and ends of life work.
//!
//! On a tmpfs and on an ext4 of a few megabytes, which a file beside the store fills to the last block.
//! It would catch a write that damages what it was to replace, a delete that needs room, space that
//! does not come back, an opener that fails where it needs no room, and a store that does not recover.
//! It cannot show filesystems that allocate at other moments (btrfs), or quotas: those are among the
//! failing system calls.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use holdfast::{Error, Options, Store, Stored, Sync, Ttl};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Mount, Rng, open, seed, size};

use crate::memory::content;
use crate::stage::{LONG, options, private_dir};

fn larger_than_the_disk() -> Options {
    let max_value_bytes = Some(1 << 20);
    Options { max_bytes: Some(64 << 20), max_value_bytes, max_processes: Some(8), ..options() }
}

/// Until nothing goes in any more, byte by byte at the end.
fn fill_up(path: &Path) {
    let mut file = File::options().append(true).create(true).open(path).expect("a file beside it");
    for len in [64 << 10, 4096, 512, 1] {
        while file.write_all(&vec![0x55; len]).is_ok() {}
    }
    let _ = file.sync_all();
}

fn no_room(outcome: &holdfast::Result<Stored>) -> bool {
    matches!(outcome, Err(Error::NoSpace(_) | Error::Full(_)))
}

type Model = HashMap<u32, u64>;

fn value(tag: u64) -> Vec<u8> {
    content(tag, 200 + (tag % 7) as usize * 900)
}

fn all_there(store: &Store, model: &Model) {
    let mut seen = Vec::new();
    for (key, tag) in model {
        assert!(store.get(&key.to_le_bytes(), &mut seen).expect("get").is_some(), "key {key}");
        assert!(seen == value(*tag), "key {key}");
    }
}

/// Sets until it is refused, or so many times; gives how many were stored.
fn fill(store: &Store, model: &mut Model, tag: &mut u64, rng: &mut Rng, most: u64) -> u64 {
    let mut stored = 0;
    while stored < most {
        *tag += 1;
        let key = rng.below(12_000) as u32;
        let outcome = store.set(&key.to_le_bytes(), &value(*tag), 0, Ttl::Never);
        match &outcome {
            Ok(Stored::Done(_)) => drop(model.insert(key, *tag)),
            _ if no_room(&outcome) => return stored,
            other => panic!("{other:?}"),
        }
        stored += 1;
    }
    stored
}

/// More than any disk here has room for.
const ALL: u64 = 100_000;

fn again_and_again(mount: &Mount, turns: u64) {
    let at = |name: &str| mount.path().join(name);
    let (path, ballast, spare) = (at("s"), at("ballast"), at("spare"));
    private_dir(&path);
    let (mut model, mut tag, mut rng) = (Model::new(), 0, Rng::new(seed("space")));
    let store = open(&path, &larger_than_the_disk());
    let mut first = 0;
    for turn in 0..turns {
        // What the store gave back is there for others.
        std::fs::write(&spare, vec![0x55; 3 << 20]).expect("room for somebody else");
        let stored = fill(&store, &mut model, &mut tag, &mut rng, ALL);
        assert!(stored < ALL, "the disk is never full");
        first = if turn == 0 { stored } else { first };
        assert!(stored * 2 > first, "turn {turn}: {stored} after {first} at first");
        fill_up(&ballast);
        all_there(&store, &model);
        // A newcomer needs no room, after deaths neither.
        let child = process::fork(|| {
            let store = open(&path, &larger_than_the_disk());
            all_there(&store, &model);
            process::die();
        });
        assert_eq!(child.wait(LONG), Ended::Signal(libc::SIGKILL));
        let doomed: Vec<u32> = model.keys().copied().filter(|key| key % 3 != 0).collect();
        for key in doomed {
            delete(&store, &mut model, key);
        }
        for i in 0..50u32 {
            let _ = store.set(&(i | 1 << 20).to_le_bytes(), b"fleeting", 0, Ttl::Millis(1));
        }
        std::thread::sleep(Duration::from_millis(3));
        store.expire(0).expect("expired");
        store.sync().expect("synced");
        store.compact().expect("compacted");
        all_there(&store, &model);
        assert!(store.exists(&(1u32 << 20).to_le_bytes()).expect("asked").is_none());
        for file in [&ballast, &spare] {
            std::fs::remove_file(file).expect("removed");
        }
        let refilled = fill(&store, &mut model, &mut tag, &mut rng, first / 5);
        assert!(refilled == first / 5, "turn {turn}: {refilled} after {first} at first");
        all_there(&store, &model);
        let doomed: Vec<u32> = model.keys().copied().collect();
        doomed.into_iter().for_each(|key| delete(&store, &mut model, key));
        store.compact().expect("compacted");
    }
    let report = store.verify(&mut |_, _| true).expect("verify");
    assert!(report.complete && report.findings.is_empty(), "{report:#?}");
    println!("{turns} turns, {first} values the first time, {tag} in all");
}

fn delete(store: &Store, model: &mut Model, key: u32) {
    let gone = store.delete(&key.to_le_bytes(), None, None);
    assert!(matches!(gone, Ok(Stored::Done(_))), "delete of {key}: {gone:?}");
    model.remove(&key);
}

#[test]
fn a_full_disk_loses_nothing_however_often() {
    let turns = size("HOLDFAST_FAULTS_TURNS", 6);
    if let Some(mount) = Mount::new(10_000) {
        again_and_again(&mount, turns);
    }
    if let Some(mount) = Mount::ext4(20) {
        again_and_again(&mount, turns);
    }
}

#[test]
fn what_was_deleted_on_a_full_disk_makes_room_there() {
    let Some(mount) = Mount::new(6_000) else { return };
    let path = mount.path().join("s");
    private_dir(&path);
    let (mut model, mut tag, mut rng) = (Model::new(), 0, Rng::new(1));
    let store = open(&path, &larger_than_the_disk());
    fill(&store, &mut model, &mut tag, &mut rng, ALL);
    for key in model.keys().filter(|key| *key % 3 != 0) {
        store.delete(&key.to_le_bytes(), None, None).expect("deleted");
    }
    // Who found no room a moment ago is not asked to look again.
    std::thread::sleep(Duration::from_millis(110));
    let stored = fill(&store, &mut Model::new(), &mut tag, &mut rng, ALL);
    assert!(stored > 100, "{stored} values fit where two thirds of them were deleted");
}

#[test]
fn without_room_to_rebuild_the_store_says_so_and_waits() {
    let Some(mount) = Mount::new(6_000) else { return };
    let (path, ballast) = (mount.path().join("s"), mount.path().join("ballast"));
    private_dir(&path);
    let options = Options { sync: Some(Sync::Always), ..larger_than_the_disk() };
    open(&path, &options).set(b"k", b"v", 0, Ttl::Never).expect("set");
    std::fs::remove_file(path.join("meta")).expect("removed");
    fill_up(&ballast);
    for _ in 0..3 {
        let refused = Store::open(&path, &options).err().expect("no room");
        assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    }
    std::fs::remove_file(&ballast).expect("removed");
    assert!(open(&path, &options).get(b"k", &mut Vec::new()).expect("get").is_some());
}
