//! Damaged bytes, full disks, wrong owners: a miss or a clear error, never a wrong value, a crash
//! or a hang.

use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast::{Entry, Error, Options, Range, SCAN_DONE, Scan, Store, Stored, Ttl, Write};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Mount, Rng, content, dir, memory_dir, open, seed, size, small};

const KEYS: u32 = 40;

fn options() -> Options {
    Options {
        create: true,
        thread: false,
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(100_000),
        max_processes: Some(8),
        operation_timeout: Duration::from_millis(300),
        open_timeout: Duration::from_secs(2),
        compress: Some(true),
        ..Options::default()
    }
}

/// One of many segments, and some that are compressed.
fn value(i: u32) -> Vec<u8> {
    let len = if i == 7 { 70_000 } else { 100 + i as usize * 37 };
    match i % 3 {
        0 => (0..).flat_map(|n| format!("{i}:{};", n % 17).into_bytes()).take(len).collect(),
        _ => content(i as u64, len),
    }
}

/// Everything that may be done with a store that may be damaged.
fn use_it(path: &Path) {
    let Ok(store) = Store::open(path, &options()) else { return };
    let mut read = Vec::new();
    for i in 0..KEYS + 5 {
        if let Ok(Some(_)) = store.get(&i.to_le_bytes(), &mut read) {
            assert!(i < KEYS && read == value(i), "a wrong value for key {i}");
        }
    }
    let (mut cursor, mut pages) = (0, 0);
    let page = Scan { limit: 13, values: true, ..Scan::default() };
    let mut right = |entry: &Entry| {
        let i = entry.key.try_into().map_or(KEYS, u32::from_le_bytes);
        assert!(i < KEYS && entry.value == Some(&value(i)), "a wrong value for {:?}", entry.key);
        ControlFlow::Continue(())
    };
    while cursor != SCAN_DONE && store.scan(&mut cursor, &page, &mut right).is_ok() {
        pages += 1;
        assert!(pages <= 600, "a scan without an end");
    }
    let _ = store.range(&Range { values: true, ..Range::default() }, &mut right);
    let keys: Vec<[u8; 4]> = (0..KEYS).map(u32::to_le_bytes).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let _ = store.get_many(&keys, &mut |i, found| {
        if let Ok(Some((_, bytes))) = found {
            assert!(*bytes == value(i as u32), "a wrong value for key {i} of many");
        }
    });
    for i in 12..15u32 {
        if let Ok(Some(item)) = store.exists(&i.to_le_bytes()) {
            assert!(item.value_len < 1 << 20, "{item:?}");
        }
        let appended = store.append(&i.to_le_bytes(), b"more", None, false);
        if let Ok(Stored::Done(_)) = appended
            && let Ok(Some(_)) = store.get(&i.to_le_bytes(), &mut read)
        {
            assert!(read == [&value(i)[..], b"more"].concat(), "appended to a wrong value");
        }
        let _ = store.increment(&i.to_le_bytes(), 1, None, &Write::default());
    }
    let _ = store.stats();
    for i in 0..6u32 {
        let _ = store.set(&(i | 1 << 20).to_le_bytes(), &content(1, 900), 0, Ttl::Millis(1));
        let _ = store.touch(&i.to_le_bytes(), Ttl::Never, None);
    }
    let _ = store.delete(&1u32.to_le_bytes(), None, None);
    let _ = store.expire(0);
}

/// Places to damage in a file: all where the structure is dense, some everywhere else.
fn places(name: &str, bytes: &[u8], rng: &mut Rng, most: usize) -> Vec<usize> {
    let dense: Vec<usize> = match name {
        "super" => (0..0xb0).chain(0x1f8..0x200).chain(4096..4096 + 0xb0).collect(),
        // Its first page, and whatever else is not zero.
        "meta" => (0..0x590).chain((0x1000..bytes.len()).filter(|i| bytes[*i] != 0)).collect(),
        "index" => (0..bytes.len()).filter(|i| bytes[i & !7..(i | 7) + 1] != [0; 8]).collect(),
        // Segment headers and what begins with a record's first word, by its line.
        _ => (0..16)
            .flat_map(|segment| segment * 65_536..segment * 65_536 + 256)
            .chain(64..8_000)
            .filter(|i| *i < bytes.len())
            .collect(),
    };
    let mut places: Vec<usize> = (0..most * 3 / 4).map(|_| *rng.pick(&dense)).collect();
    if dense.len() < most {
        places = dense;
    }
    places.extend((0..most / 4).map(|_| rng.below(bytes.len() as u64) as usize));
    places
}

#[test]
fn a_damaged_byte_anywhere_gives_a_miss_or_an_error_but_no_wrong_value_crash_or_hang() {
    let mut rng = Rng::new(seed("damage"));
    let most = size("HOLDFAST_DAMAGE", 400) as usize;
    let dir = memory_dir();
    let store = open(dir.path(), &options());
    for i in 0..KEYS {
        assert!(matches!(
            store.set(&i.to_le_bytes(), &value(i), 0, Ttl::Never),
            Ok(Stored::Done(_))
        ));
    }
    drop(store);
    let names = ["super", "data", "index", "meta"];
    let read = |name: &&str| std::fs::read(dir.path().join(name)).unwrap();
    let files: Vec<Vec<u8>> = names.iter().map(read).collect();
    let restore = || {
        for (name, bytes) in names.iter().zip(&files) {
            let path = dir.path().join(name);
            // In place, so that the inodes stay and the derived files are believed.
            let file = match std::fs::File::options().write(true).open(&path) {
                Ok(file) => file,
                Err(e) => panic!("{name}: {e}"),
            };
            file.set_len(bytes.len() as u64).unwrap();
            file.write_all_at(bytes, 0).unwrap();
        }
        // A rebuild replaced the derived files: the restored ones are to be believed again, so
        // meta gets the inode of the index that is there now (see arena.rs).
        let meta = std::fs::File::options().write(true).open(dir.path().join("meta")).unwrap();
        let inode = std::fs::metadata(dir.path().join("index")).unwrap().ino();
        meta.write_all_at(&inode.to_le_bytes(), 0x38).unwrap();
    };
    let mut cases = 0;
    for (name, bytes) in names.iter().zip(&files) {
        for at in places(name, bytes, &mut rng, most) {
            let new = match rng.below(3) {
                0 => bytes[at] ^ 1 << rng.below(8),
                1 => 0,
                _ => 0xff,
            };
            if new == bytes[at] {
                continue;
            }
            restore();
            let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            file.write_all_at(&[new], at as u64).unwrap();
            let before = bytes[at];
            let ended = process::fork(|| use_it(dir.path())).wait(Duration::from_secs(10));
            assert_eq!(ended, Ended::Exit(0), "{name} at {at:#x}: {before:#04x} became {new:#04x}");
            cases += 1;
        }
    }
    println!("{cases} damaged bytes");
}

#[test]
fn a_truncated_file_gives_a_miss_or_an_error_but_no_crash() {
    for name in ["super", "data", "index", "meta"] {
        for tenth in 0..10u64 {
            let dir = memory_dir();
            let store = open(dir.path(), &options());
            for i in 0..KEYS {
                store.set(&i.to_le_bytes(), &value(i), 0, Ttl::Never).unwrap();
            }
            drop(store);
            let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_len(file.metadata().unwrap().len() * tenth / 10 + tenth % 3).unwrap();
            let ended = process::fork(|| use_it(dir.path())).wait(Duration::from_secs(10));
            assert_eq!(ended, Ended::Exit(0), "{name} cut to {tenth}/10");
        }
    }
}

#[test]
fn a_full_disk_refuses_new_values_keeps_the_old_ones_and_lets_go_when_there_is_room() {
    let Some(mount) = Mount::new(5_000) else { return };
    let path = mount.path();
    let options = Options { max_bytes: Some(8 << 20), max_processes: Some(8), ..options() };
    let store = open(path, &options);
    let mut keys = 0u32;
    let refused = loop {
        match store.set(&keys.to_le_bytes(), &content(keys as u64, 3_000), 0, Ttl::Never) {
            Ok(_) => keys += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    println!("{keys} values before: {refused}");
    assert!(keys > 200);
    let whole = |from: u32| {
        let mut read = Vec::new();
        for i in from..keys {
            assert!(store.get(&i.to_le_bytes(), &mut read).unwrap().is_some(), "key {i} of {keys}");
            assert!(read == content(i as u64, 3_000));
        }
    };
    whole(0);
    for i in 0..keys / 2 {
        let deleted = store.delete(&i.to_le_bytes(), None, None);
        assert!(matches!(deleted, Ok(Stored::Done(_))), "delete {i} of {keys}: {deleted:?}");
    }
    whole(keys / 2);
    mount.remount("size=20000k");
    let fresh = store.set(b"fresh", b"v", 0, Ttl::Never);
    assert!(matches!(fresh, Ok(Stored::Done(_))), "{fresh:?}");
    // And a store that cannot even be made says so.
    let Some(mount) = Mount::new(500) else { return };
    let refused = Store::open(mount.path(), &options).err().expect("too small");
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    mount.remount("size=20000k");
    open(mount.path(), &options);
}

#[test]
fn a_read_only_filesystem_is_named() {
    let Some(mount) = Mount::new(20_000) else { return };
    drop(open(mount.path(), &options()));
    mount.remount("ro");
    let refused = Store::open(mount.path(), &options()).err().expect("read-only");
    assert!(matches!(refused, Error::ReadOnly(_)), "{refused}");
    assert!(refused.to_string().contains(&mount.path().display().to_string()), "{refused}");
}

/// Opens and expects an error that names the place and, where there is one, the mending command.
fn refused(path: &Path, named: &Path, mended_by: &str) {
    let error = match process::fork(|| {
        assert!(Store::open(path, &options()).is_err(), "opened");
    })
    .wait(Duration::from_secs(10))
    {
        Ended::Exit(0) => Store::open(path, &options()).err().expect("as in the child"),
        other => panic!("{}: {other:?}", named.display()),
    };
    let text = error.to_string();
    assert!(text.contains(&named.display().to_string()), "{text} does not name {named:?}");
    assert!(text.contains(mended_by), "{text} does not say {mended_by}");
}

#[test]
fn wrong_modes_links_and_kinds_of_files_are_refused_by_name() {
    let made = || {
        let dir = dir();
        open(dir.path(), &options()).set(b"k", b"v", 0, Ttl::Never).unwrap();
        dir
    };
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    for bad in [0o777, 0o755, 0o701, 0o770] {
        let dir = made();
        mode(dir.path(), bad);
        refused(dir.path(), dir.path(), "chmod 0700");
    }
    for name in ["super", "data", "index", "meta", "lock"] {
        let at = |dir: &tempfile::TempDir| dir.path().join(name);
        let dir = made();
        mode(&at(&dir), 0o666);
        refused(dir.path(), &at(&dir), "chmod 0600");
        let dir = made();
        std::fs::hard_link(at(&dir), dir.path().join("another name")).unwrap();
        refused(dir.path(), &at(&dir), "hard links");
        let dir = made();
        std::fs::rename(at(&dir), dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", at(&dir)).unwrap();
        refused(dir.path(), &at(&dir), "symbolic link");
        let dir = made();
        std::fs::remove_file(at(&dir)).unwrap();
        assert!(Command::new("mkfifo").arg(at(&dir)).status().unwrap().success());
        refused(dir.path(), &at(&dir), "not a plain file");
    }
    let dir = made();
    let link = dir.path().with_extension("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    refused(&link, &link, "symbolic link");
    std::fs::remove_file(&link).unwrap();
    let file = dir.path().join("data");
    refused(&file, &file, "not a directory");
    let nowhere = dir.path().join("nowhere");
    refused(&nowhere, &nowhere, "install -d -m 0700");
}

#[test]
fn another_users_store_is_refused_with_the_owner_to_set() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: this needs root");
        return;
    }
    let dir = dir();
    drop(open(dir.path(), &small()));
    let child = process::fork(|| {
        // SAFETY: changes the user of this child alone.
        assert_eq!(unsafe { libc::setuid(65_534) }, 0);
        let error = Store::open(dir.path(), &options()).err().expect("another's");
        let text = error.to_string();
        assert!(text.contains("permission denied") || text.contains("chown"), "{text}");
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
    });
    assert_eq!(child.wait(Duration::from_secs(10)), Ended::Exit(0));
}
