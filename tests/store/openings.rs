//! Stores that must not be opened, or not from here: each is refused in words that say why, and opens as
//! it was when the reason is gone.
//!
//! It would catch a process that shares memory with another kernel's processes, or lives by a clock that
//! goes otherwise than theirs, and version numbers that begin anew. What it cannot show: real other
//! kernels and namespaces; the words of `meta` that tell them apart are changed by hand.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use holdfast::{ConfigChange, Error, HashKind, Options, RepairOptions, Store, Ttl, Write};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{memory_dir, open, small};

/// Bytes into `meta`, by FORMAT.md.
const BOOT_ID: u64 = 0x010;
const TIME_NAMESPACE: u64 = 0x050;
/// Bytes into `super`.
const SEQ_BASE: usize = 0x098;
const CRC_AT: usize = 0x1f8;
const LONG: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options { thread: false, ..small() }
}

fn holds_its_value(store: &Store) {
    let mut value = Vec::new();
    assert!(store.get(b"k", &mut value).unwrap().is_some() && value == b"v");
}

/// Flips bits of a word of `meta`, which those see who have it mapped.
fn flip(dir: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(dir.join("meta")).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    file.write_all_at(&word.map(|byte| !byte), at).unwrap();
}

/// A refusal that names the directory and says this.
fn is_refused<T>(outcome: holdfast::Result<T>, dir: &Path, says: &str) {
    let Err(Error::Refused { path, why }) = outcome else { panic!("no refusal for {says}") };
    assert!(path == dir && why.contains(says), "{}: {why}", path.display());
}

#[test]
fn another_kernel_or_time_is_refused_while_and_after_others_have_the_store_open() {
    let dir = memory_dir();
    let (mut opened, tell) = process::pipe();
    let holder = process::fork(|| {
        let store = open(dir.path(), &options());
        store.set(b"k", b"v", 0, Ttl::Never).unwrap();
        process::write_raw(std::os::fd::AsRawFd::as_raw_fd(&tell), b"!");
        // Its children find out too, before they do anything.
        for (at, says) in [(BOOT_ID, "another kernel"), (TIME_NAMESPACE, "another time namespace")]
        {
            flip(dir.path(), at);
            let child = process::fork(|| {
                is_refused(store.set(b"k", b"lost", 0, Ttl::Never), dir.path(), says)
            });
            assert_eq!(child.wait(LONG), Ended::Exit(0), "{says}");
            flip(dir.path(), at);
        }
        process::write_raw(std::os::fd::AsRawFd::as_raw_fd(&tell), b"!");
        std::thread::sleep(LONG);
    });
    // Ours is closed, so that the end of the holder, however it comes, ends the waiting.
    drop(tell);
    std::io::Read::read_exact(&mut opened, &mut [0; 2]).unwrap();
    for (at, says) in
        [(BOOT_ID, "is open on another kernel"), (TIME_NAMESPACE, "is open in another time")]
    {
        flip(dir.path(), at);
        is_refused(Store::open(dir.path(), &options()), dir.path(), says);
        flip(dir.path(), at);
    }
    holds_its_value(&open(dir.path(), &options()));
    holder.signal(libc::SIGKILL);
    assert_eq!(holder.wait(LONG), Ended::Signal(libc::SIGKILL));
    // What its dead users left is measured by their clock as well; of another boot it is made anew.
    flip(dir.path(), TIME_NAMESPACE);
    is_refused(
        Store::open(dir.path(), &options()),
        dir.path(),
        "was used in another time namespace",
    );
    flip(dir.path(), TIME_NAMESPACE);
    flip(dir.path(), BOOT_ID);
    holds_its_value(&open(dir.path(), &options()));
}

#[test]
fn what_is_not_to_be_created_is_not() {
    let dir = memory_dir();
    let asked = Options { create: false, ..options() };
    assert!(matches!(Store::open(dir.path(), &asked), Err(Error::NoStore { .. })));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "something was made");
    drop(open(dir.path(), &options()));
    drop(open(dir.path(), &asked));
    std::fs::remove_file(dir.path().join("super")).unwrap();
    let Err(Error::Damaged(why)) = Store::open(dir.path(), &asked) else { panic!("opened") };
    assert!(why.contains("super is missing"), "{why}");
}

#[test]
fn a_repair_of_what_is_not_there_says_so_and_makes_nothing() {
    let dir = memory_dir();
    let repair = || Store::repair(dir.path(), &RepairOptions::default(), &mut |_, _| true);
    assert!(matches!(repair(), Err(Error::NoStore { .. })));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "something was made");
    open(dir.path(), &options()).set(b"k", b"v", 0, Ttl::Never).unwrap();
    let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
    std::fs::rename(&data, &aside).unwrap();
    for meta in ["is there", "is not"] {
        let Err(Error::Damaged(why)) = repair() else { panic!("repaired without data") };
        assert!(why.contains("data is missing") && !data.exists(), "meta {meta}: {why}");
        let _ = std::fs::remove_file(dir.path().join("meta"));
    }
    std::fs::rename(&aside, &data).unwrap();
    assert!(repair().unwrap().complete);
    holds_its_value(&open(dir.path(), &options()));
}

/// It has the mappings of its parent, and the files at their paths are what newcomers use.
#[test]
fn a_child_of_a_fork_does_not_go_on_with_files_that_were_replaced() {
    let dir = memory_dir();
    let parent = process::fork(|| {
        let store = open(dir.path(), &options());
        store.set(b"k", b"v", 0, Ttl::Never).unwrap();
        for name in ["data", "index", "meta"] {
            let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            std::fs::copy(&aside, &path).unwrap();
            let child = process::fork(|| {
                is_refused(store.set(b"k", b"lost", 0, Ttl::Never), &path, "open it again")
            });
            assert_eq!(child.wait(LONG), Ended::Exit(0), "{name}");
            std::fs::rename(&aside, &path).unwrap();
        }
        let child = process::fork(|| holds_its_value(&store));
        assert_eq!(child.wait(LONG), Ended::Exit(0));
    });
    assert_eq!(parent.wait(LONG), Ended::Exit(0));
}

/// An overflow would give old numbers to new values, which the next rebuild would drop.
#[test]
fn a_store_whose_version_numbers_run_out_is_refused_and_not_begun_anew() {
    let dir = memory_dir();
    let store = open(dir.path(), &options());
    store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    drop(store);
    let path = dir.path().join("super");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[SEQ_BASE..SEQ_BASE + 8].copy_from_slice(&(u64::MAX - 1000).to_le_bytes());
    let crc = crc(&bytes[..CRC_AT]) as u64;
    bytes[CRC_AT..CRC_AT + 8].copy_from_slice(&crc.to_le_bytes());
    let copy = bytes[..4096].to_vec();
    bytes[4096..8192].copy_from_slice(&copy);
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&bytes, 0).unwrap();
    std::fs::remove_file(dir.path().join("meta")).unwrap();
    for _ in 0..2 {
        let Err(Error::Damaged(why)) = Store::open(dir.path(), &options()) else {
            panic!("opened")
        };
        assert!(why.contains("version numbers have run out"), "{why}");
    }
}

#[test]
fn a_store_with_the_keyed_hash_is_opened_and_rebuilt_with_it() {
    let dir = memory_dir();
    let keyed = Options { hash: Some(HashKind::Sip13), ..options() };
    let store = open(dir.path(), &keyed);
    let owned =
        |n: u32| Write { owner: n.is_multiple_of(3).then_some(&b"anna"[..]), ..Write::default() };
    for n in 0..2000u32 {
        store.write(&n.to_le_bytes(), &n.to_be_bytes(), &owned(n)).unwrap();
    }
    drop(store);
    // Who opens it need not know; from the log alone it is the same.
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_file(dir.path().join("index")).unwrap();
        }
        let store = open(dir.path(), &options());
        assert_eq!(store.config().unwrap().hash, HashKind::Sip13);
        let mut value = Vec::new();
        for n in 0..2000u32 {
            assert!(store.get(&n.to_le_bytes(), &mut value).unwrap().is_some(), "{n}, {rebuilt}");
            assert_eq!(value, n.to_be_bytes());
        }
        assert_eq!(store.owner_keys(b"anna", &mut |_| true).unwrap(), 667);
    }
}

#[test]
fn limits_that_wait_come_into_force_after_a_reboot_too() {
    let dir = memory_dir();
    let few = Options { max_bytes: Some(2 << 20), max_value_bytes: Some(1000), ..options() };
    let store = open(dir.path(), &few);
    store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    let more = ConfigChange { max_bytes: Some(9 << 20), ..ConfigChange::default() };
    assert_eq!(store.set_config(&more).unwrap().max_bytes, 2 << 20);
    drop(store);
    flip(dir.path(), BOOT_ID);
    let store = open(dir.path(), &Options { create: false, ..Options::default() });
    assert_eq!(store.config().unwrap().max_bytes, 9 << 20);
    holds_its_value(&store);
}

/// CRC-32C, bit by bit: the slow and obvious one.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ *byte as u32, |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78))
    })
}
