//! What is read from the disk for one purpose makes no later write larger.
//!
//! Kernels keep what is read in order in memory in large pieces (XFS since Linux 5.18, ext4 since 6.16), and a
//! store through a mapping to one byte of a piece makes all of it go to the disk again. So whoever has read a cold
//! store in order, once, would pay for it with each touch of a session from then on.

use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::Path;

use holdfast::{Options, SCAN_DONE, Scan, Store, Sync, Ttl};
use holdfast_tests::{Rng, content, dir, open};

const KEYS: u64 = 20_000;
const TOUCHES: u64 = 50;
/// A page for each record that is touched, one more where it begins in another, and what the maintenance writes.
const MOST: u64 = TOUCHES * 2 * 4096 + (256 << 10);

fn options() -> Options {
    Options {
        create: true,
        max_bytes: Some(64 << 20),
        sync: Some(Sync::None),
        ..Options::default()
    }
}

fn key(i: u64) -> Vec<u8> {
    format!("session {i}").into_bytes()
}

/// Bytes that this process gave the system to write, counted as they are changed in memory.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}

/// As after a reboot: nothing of the files is in memory.
fn cool(path: &Path) {
    for name in ["data", "index", "meta"] {
        let Ok(file) = std::fs::File::open(path.join(name)) else { continue };
        file.sync_all().expect("sync");
        // SAFETY: plain system call on our own descriptor.
        let done =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(done, 0);
    }
}

fn scan_all(store: &Store) {
    let (mut cursor, mut seen) = (0, 0);
    while cursor != SCAN_DONE {
        let all = Scan { values: true, limit: u64::MAX, ..Scan::default() };
        let page = store.scan(&mut cursor, &all, &mut |_| ControlFlow::Continue(()));
        seen += page.expect("scan").given;
    }
    assert_eq!(seen, KEYS);
}

fn read_in_order(store: &Store) {
    let mut out = Vec::new();
    (0..KEYS).for_each(|i| assert!(store.get(&key(i), &mut out).expect("get").is_some()));
}

/// Touches some sessions; gives how many bytes that writes.
fn touch(store: &Store) -> u64 {
    let (before, mut rng) = (written(), Rng::new(7));
    for _ in 0..TOUCHES {
        store.touch(&key(rng.below(KEYS)), Ttl::Millis(7_200_000), None).expect("touch");
    }
    store.sync().expect("sync");
    written() - before
}

#[test]
fn a_touch_writes_a_page_however_the_store_was_read_before() {
    let all = dir();
    let path = all.path().join("store");
    std::fs::DirBuilder::new().create(&path).expect("a directory");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("chmod");
    let store = open(&path, &options());
    if store.stats().expect("stats").not_persistent {
        println!("SKIPPED: {} is in memory, nothing of it goes to a disk", path.display());
        return;
    }
    for i in 0..KEYS {
        store.set(&key(i), &content(i, 1_000), 0, Ttl::Millis(3_600_000)).expect("set");
    }
    store.sync().expect("sync");
    let mut bad = Vec::new();
    let mut judge = |what: &str, bytes: u64| {
        println!("{what}: {TOUCHES} touches write {} KiB", bytes >> 10);
        if bytes > MOST {
            bad.push(format!("{what}: {bytes}"));
        }
    };
    judge("just written", touch(&store));
    drop(store);
    type Way = (&'static str, fn(&Store, &Path));
    let ways: [Way; 7] = [
        ("nothing read", |_, _| {}),
        ("read in order", |store, _| read_in_order(store)),
        ("scanned", |store, _| scan_all(store)),
        ("looked over for what has expired", |store, _| {
            store.expire(u64::MAX).map(drop).expect("expire")
        }),
        ("compacted", |store, _| store.compact().map(drop).expect("compact")),
        ("checked", |store, _| store.verify(&mut |_, _| true).map(drop).expect("verify")),
        ("backed up", |store, to| {
            store.backup(to, true, &mut |_, _| true).expect("backup");
        }),
    ];
    for (what, way) in ways {
        cool(&path);
        let store = open(&path, &options());
        way(&store, &all.path().join("backup"));
        judge(what, touch(&store));
    }
    // As after a crash of the machine.
    cool(&path);
    std::fs::remove_file(path.join("meta")).expect("meta is gone");
    judge("rebuilt", touch(&open(&path, &options())));
    let restored = all.path().join("restored");
    Store::restore(all.path().join("backup"), &restored, &mut |_, _| true).expect("restore");
    judge("restored", touch(&open(&restored, &options())));
    assert!(bad.is_empty(), "more than {MOST} bytes: {bad:?}");
}
