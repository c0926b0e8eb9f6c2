//! Full disks, read-only ones, wrong owners, modes, links and kinds of files: a clear error, and what was stored stays.
//! Damaged bytes are in `every_byte.rs` and `scribble.rs`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast::{Error, Options, Store, Stored, Ttl};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Mount, content, dir, open, small};

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
