//! A sync that failed: nobody is ever told that what it was to cover is on the disk.
//!
//! The kernel forgets what it could not write: it counts the page as clean, and says yes to the next
//! sync. So one failure, told to one thread of one process, has to reach everybody, and everything
//! has to be written again before anything is promised. It would catch an acknowledgement by another
//! thread, process, mode, later call or opener. It cannot show a process that dies between the
//! kernel's answer and its own note of it, nor which pages a real kernel lost.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast::{Disk, Error, FileKind, Options, Store, Sync, Ttl};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{memory_dir, open};

use crate::stage::{KEY, LONG, options};

/// Fails syncs of its choice and notes the others, after `super` was made.
#[derive(Default)]
struct Failing {
    /// How many syncs are still to succeed before one fails; negative: none fails any more.
    left: Mutex<i64>,
    done: Mutex<Vec<FileKind>>,
}

impl Failing {
    fn new(left: i64) -> Arc<Failing> {
        Arc::new(Failing { left: Mutex::new(left), ..Failing::default() })
    }

    fn arm(&self, left: i64) {
        *self.left.lock().expect("no panic under it") = left;
        self.done.lock().expect("no panic under it").clear();
    }
}

impl Disk for Failing {
    fn sync(&self, kind: FileKind, _: &File) -> io::Result<()> {
        let mut left = self.left.lock().expect("no panic under it");
        *left -= 1;
        if *left == -1 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.done.lock().expect("no panic under it").push(kind);
        Ok(())
    }
}

fn on(disk: Arc<dyn Disk>, sync: Sync) -> Options {
    Options { disk: Some(disk), sync: Some(sync), ..options() }
}

fn refused(outcome: holdfast::Result<impl std::fmt::Debug>) {
    match outcome {
        Err(Error::SyncFailed(why)) => assert!(why.contains("/data"), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
}

/// In which every file was written and synced anew.
fn everything(disk: &Failing) {
    let done = disk.done.lock().expect("no panic under it");
    for kind in [FileKind::Data, FileKind::Index, FileKind::Meta] {
        assert!(done.contains(&kind), "{kind:?} is not among {done:?}");
    }
}

fn note(path: &Path) -> u64 {
    let meta = std::fs::read(path.join("meta")).expect("meta");
    u64::from_le_bytes(meta[0x68..0x70].try_into().expect("eight bytes"))
}

#[test]
fn in_every_mode_and_process_a_failed_sync_is_an_error_for_good() {
    for mode in [Sync::Always, Sync::Periodic, Sync::None] {
        let (dir, disk) = (memory_dir(), Failing::new(100));
        let mut how = on(disk.clone(), mode);
        how.thread = mode == Sync::Periodic;
        how.sync_interval = Some(Duration::from_millis(10));
        let store = open(dir.path(), &how);
        store.set(b"before", b"v", 0, Ttl::Never).expect("set");
        disk.arm(0);
        let set = || store.set(KEY, b"v", 0, Ttl::Never);
        match mode {
            Sync::Always => refused(set()),
            Sync::None => refused(store.sync()),
            Sync::Periodic => {
                let _ = set();
                let begun = Instant::now();
                while !store.condition().expect("asked").sync_failed {
                    assert!(begun.elapsed() < LONG, "the thread did not sync");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        // The disk would say yes now.
        refused(store.sync());
        refused(set());
        refused(store.delete(b"before", None, None));
        refused(store.compact());
        let other = process::fork(|| {
            let store = open(dir.path(), &options());
            refused(store.set(KEY, b"w", 0, Ttl::Never));
            refused(store.sync());
            assert!(store.get(b"before", &mut Vec::new()).expect("reads go on").is_some());
        });
        assert_eq!(other.wait(LONG), Ended::Exit(0), "{mode:?}");
        drop(store);
        assert_eq!(note(dir.path()), 1, "a clean close would hide it");
        let disk = Failing::new(100);
        let store = open(dir.path(), &on(disk.clone(), mode));
        everything(&disk);
        store.set(KEY, b"w", 0, Ttl::Never).expect("once all is on the disk");
        store.sync().expect("synced");
    }
}

/// The first sync through one description is told of the lost page, but late; the second is told
/// nothing, and returns first.
#[derive(Default)]
struct Twice {
    armed: AtomicBool,
    calls: AtomicU64,
}

impl Disk for Twice {
    fn sync(&self, kind: FileKind, _: &File) -> io::Result<()> {
        if kind != FileKind::Data || !self.armed.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        // The other one comes if it can, and has time to be believed.
        let begun = Instant::now();
        while self.calls.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_millis(200)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        Err(io::Error::from_raw_os_error(libc::EIO))
    }
}

#[test]
fn of_two_syncs_at_once_neither_is_believed_when_one_fails() {
    let (dir, disk) = (memory_dir(), Arc::new(Twice::default()));
    let store = open(dir.path(), &on(disk.clone(), Sync::Always));
    disk.armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| store.set(b"first", b"v", 0, Ttl::Never));
        while disk.calls.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        // Depends on no leader for longer than a few milliseconds, and leads a round itself.
        let second = store.set(b"second", b"v", 0, Ttl::Never);
        refused(first.join().expect("no panic"));
        refused(second);
    });
}

/// Notes through which descriptor it was asked to sync.
#[derive(Default)]
struct Through(Mutex<i32>);

impl Disk for Through {
    fn sync(&self, kind: FileKind, file: &File) -> io::Result<()> {
        if kind == FileKind::Data {
            *self.0.lock().expect("no panic under it") = file.as_raw_fd();
        }
        Ok(())
    }
}

/// Do two descriptors of two processes stand for one open file? `None`: the kernel does not say.
fn one_description(a: (i32, i32), b: (i32, i32)) -> Option<bool> {
    const KCMP_FILE: i32 = 0;
    // SAFETY: numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, a.0, b.0, KCMP_FILE, a.1, b.1) } {
        -1 => None,
        order => Some(order == 0),
    }
}

#[test]
fn a_child_of_a_fork_syncs_through_a_description_of_its_own() {
    let (dir, disk) = (memory_dir(), Arc::new(Through::default()));
    let store = open(dir.path(), &on(disk.clone(), Sync::None));
    store.sync().expect("synced");
    let own = || *disk.0.lock().expect("no panic under it");
    let parent = (std::process::id() as i32, own());
    if one_description(parent, parent) != Some(true) {
        println!("SKIPPED: this kernel does not compare descriptors (kcmp)");
        return;
    }
    let apart = |from: (i32, i32)| {
        store.sync().expect("synced");
        let here = (std::process::id() as i32, own());
        assert_eq!(one_description(from, here), Some(false), "{from:?} and {here:?} are one");
        here
    };
    let child = process::fork(|| {
        let child = apart(parent);
        let grandchild = process::fork(|| {
            apart(parent);
            apart(child);
        });
        assert_eq!(grandchild.wait(LONG), Ended::Exit(0));
    });
    assert_eq!(child.wait(LONG), Ended::Exit(0));
}

#[test]
fn a_sync_that_fails_as_the_store_is_closed_is_made_good_by_the_next_opener() {
    // Data, index, meta, and meta again with the mark of a clean end.
    for nth in 0..4 {
        let (dir, disk) = (memory_dir(), Failing::new(100));
        let store = open(dir.path(), &on(disk.clone(), Sync::None));
        store.set(KEY, b"v", 0, Ttl::Never).expect("set");
        disk.arm(nth);
        drop(store);
        assert_eq!(note(dir.path()), 1, "sync {nth} of the close failed, and nobody is told");
        let disk = Failing::new(100);
        let store = open(dir.path(), &on(disk.clone(), Sync::None));
        everything(&disk);
        assert_eq!(note(dir.path()), 0);
        assert!(store.get(KEY, &mut Vec::new()).expect("read").is_some());
    }
}

#[test]
fn a_sync_that_fails_as_the_store_is_opened_is_made_good_by_the_next_opener() {
    let dir = memory_dir();
    drop(open(dir.path(), &options()));
    // The mark of a clean end could not be taken away: after a power loss it would be believed.
    let failing = Failing::new(0);
    let refused = Store::open(dir.path(), &on(failing, Sync::None)).err().expect("refused");
    assert!(refused.to_string().contains("meta"), "{refused}");
    let disk = Failing::new(100);
    let store = open(dir.path(), &on(disk.clone(), Sync::None));
    everything(&disk);
    drop(store);
}

#[test]
fn a_rebuild_does_not_forget_that_a_sync_failed() {
    let (dir, disk) = (memory_dir(), Failing::new(100));
    let store = open(dir.path(), &on(disk.clone(), Sync::None));
    store.set(KEY, b"v", 0, Ttl::Never).expect("set");
    disk.arm(0);
    refused(store.sync());
    drop(store);
    std::fs::remove_file(dir.path().join("index")).expect("removed");
    let disk = Failing::new(100);
    let store = open(dir.path(), &on(disk.clone(), Sync::None));
    let done = disk.done.lock().expect("no panic under it").clone();
    assert!(done.contains(&FileKind::Data), "{done:?}");
    assert!(store.get(KEY, &mut Vec::new()).expect("read").is_some());
}
