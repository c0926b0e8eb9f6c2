//! The store's directory is taken away, moved or exchanged, or one of its files is, while it is in use.
//!
//! Whoever has it open says so within a second and a bit (at a session lock, at a beat of the thread,
//! at a sync that is due), and goes on if all is put back. A newcomer gets the store that the others
//! have, or another place's own, or an error within a second; never a second store behind the backs of
//! those who hold the first. It would catch a process that goes on writing where nobody reads, and a
//! newcomer that takes the living for dead. It cannot show what happens between two looks, and not
//! what a truncated file does to those who have it mapped: the kernel ends them by SIGBUS, which is
//! outside of what the library can promise inside of its host.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::{Acquired, Error, Options, Result, Store, Sync, Ttl, Wait};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{memory_dir, open};

use crate::stage::{From, KEY, KEYS, LONG, Stage, old, options, private_dir, value};

/// The library looks once a second; the rest is the machine's.
const SOON: Duration = Duration::from_millis(2500);

fn session(store: &Store) -> Result<()> {
    match store.lock(b"session", 1, &Wait::default())? {
        Acquired::Held(held) => store.unlock(b"session", &held).map(drop),
        other => panic!("{other:?}"),
    }
}

/// Until sessions are refused; it must say what and where.
fn refused_soon(store: &Store, path: &Path) {
    let begun = Instant::now();
    let error = loop {
        match session(store) {
            Ok(()) => assert!(begun.elapsed() < SOON, "it goes on where nobody looks"),
            Err(e) => break e,
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = error.to_string();
    assert!(matches!(error, Error::Refused { .. }), "{text}");
    assert!(text.contains(&path.display().to_string()) && text.contains("open it again"), "{text}");
    for outcome in [
        store.set(KEY, b"lost", 0, Ttl::Never).map(drop),
        store.get(KEY, &mut Vec::new()).map(drop),
        store.sync(),
    ] {
        assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    }
    assert!(!store.condition().expect("asked").in_place);
}

/// Makes processes that never had a store open, for those that have.
struct Nursery {
    ask: RefCell<File>,
    answers: RefCell<BufReader<File>>,
}

impl Nursery {
    fn new() -> Nursery {
        let ((asked, ask), (answers, answer)) = (process::pipe(), process::pipe());
        process::fork(|| {
            for path in BufReader::new(asked).lines().map_while(std::io::Result::ok) {
                let child = process::fork(|| visit(Path::new(&path), &answer));
                if child.wait(LONG) != Ended::Exit(0) {
                    process::write_raw(answer.as_raw_fd(), b"it did not end well\n");
                }
            }
        });
        Nursery { ask: RefCell::new(ask), answers: RefCell::new(BufReader::new(answers)) }
    }

    /// What a newcomer finds, or is told.
    fn newcomer(&self, path: &Path) -> String {
        let (begun, mut answer) = (Instant::now(), String::new());
        writeln!(self.ask.borrow_mut(), "{}", path.display()).expect("asked");
        self.answers.borrow_mut().read_line(&mut answer).expect("answered");
        assert!(begun.elapsed() < SOON, "it took {:?}: {answer}", begun.elapsed());
        answer.trim_end().to_owned()
    }

    fn finds(&self, path: &Path, what: &str) {
        assert_eq!(self.newcomer(path), what);
    }

    /// In words that name the place.
    fn is_refused(&self, path: &Path, says: &str) {
        let text = self.newcomer(path);
        assert!(text.contains(&path.display().to_string()) && text.contains(says), "{text}");
    }
}

const ALL: &str = "all that was there";
const OTHER: &str = "another value of the key";
const NOTHING: &str = "nothing of the key";

fn visit(path: &Path, answer: &File) {
    let found = match Store::open(path, &Options { open_timeout: LONG, ..options() }) {
        Ok(store) if has_all(&store) => ALL.to_owned(),
        Ok(store) if store.exists(KEY).expect("asked").is_some() => OTHER.to_owned(),
        Ok(_) => NOTHING.to_owned(),
        Err(e) => e.to_string(),
    };
    assert!(process::write_raw(answer.as_raw_fd(), format!("{found}\n").as_bytes()));
}

fn has_all(store: &Store) -> bool {
    let mut seen = Vec::new();
    let mut is = |key: &[u8], value: Vec<u8>| {
        store.get(key, &mut seen).expect("get").is_some() && seen == value
    };
    (0..KEYS).all(|i| is(&i.to_le_bytes(), value(i))) && is(KEY, old())
}

/// In a process of its own, because the library keeps what it has open for the whole process.
fn user(stage: &Stage, work: impl FnOnce(&Store, &Path, &Nursery)) {
    let nursery = Nursery::new();
    let child = process::fork(|| {
        let store = open(&stage.store(), &options());
        assert!(has_all(&store));
        work(&store, &stage.store(), &nursery);
    });
    assert_eq!(child.wait(LONG), Ended::Exit(0));
}

#[test]
fn a_directory_that_is_moved_is_missed_and_found_again() {
    let stage = Stage::made(From::Closed, Sync::None);
    user(&stage, |store, path, nursery| {
        let away = path.with_file_name("away");
        fs::rename(path, &away).expect("moved");
        // There it is the same store, with the same processes.
        nursery.finds(&away, ALL);
        refused_soon(store, path);
        nursery.is_refused(path, "does not exist");
        fs::rename(&away, path).expect("moved back");
        session(store).expect("it is where it was");
        assert!(has_all(store) && store.condition().expect("asked").in_place);
        nursery.finds(path, ALL);
    });
}

#[test]
fn a_directory_that_is_removed_is_not_written_to_for_long() {
    let stage = Stage::made(From::Closed, Sync::None);
    user(&stage, |store, path, nursery| {
        fs::remove_dir_all(path).expect("removed");
        refused_soon(store, path);
        nursery.is_refused(path, "does not exist");
        // Another store at the same place is not this one, for whoever had this one.
        private_dir(path);
        let fresh = open(path, &options());
        assert!(fresh.get(KEY, &mut Vec::new()).expect("get").is_none());
        fresh.set(KEY, b"new", 0, Ttl::Never).expect("set");
        refused_soon(store, path);
        let again = open(path, &options());
        assert!(again.get(KEY, &mut Vec::new()).expect("get").is_some());
        nursery.finds(path, OTHER);
    });
}

#[test]
fn a_directory_that_is_exchanged_for_another_store_is_noticed() {
    let (stage, other) = (Stage::made(From::Closed, Sync::None), Stage::new());
    drop(open(&other.store(), &options()));
    user(&stage, |store, path, nursery| {
        fs::rename(path, path.with_file_name("away")).expect("moved");
        fs::rename(other.store(), path).expect("put there");
        refused_soon(store, path);
        nursery.finds(path, NOTHING);
    });
}

#[test]
fn the_thread_notices_too_and_so_does_a_sync_that_is_due() {
    for thread in [true, false] {
        let stage = Stage::new();
        let child = process::fork(|| {
            let interval = Some(Duration::from_millis(50));
            let sync = Some(Sync::Periodic);
            let options = Options { thread, sync, sync_interval: interval, ..options() };
            let store = open(&stage.store(), &options);
            store.set(KEY, b"v", 0, Ttl::Never).expect("set");
            fs::rename(stage.store(), stage.beside("away")).expect("moved");
            let begun = Instant::now();
            while store.set(KEY, b"w", 0, Ttl::Never).is_ok() {
                assert!(begun.elapsed() < SOON, "thread={thread}: nobody noticed");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(child.wait(LONG), Ended::Exit(0));
    }
}

#[test]
fn a_file_that_is_removed_or_replaced_under_its_users_makes_no_second_store() {
    for name in ["data", "index", "meta", "lock"] {
        for replaced in [false, true] {
            let stage = Stage::made(From::Closed, Sync::None);
            println!("{name}, {}", if replaced { "replaced by a copy" } else { "removed" });
            user(&stage, |store, path, nursery| {
                let (file, aside) = (path.join(name), path.with_file_name("aside"));
                fs::rename(&file, &aside).expect("moved");
                if replaced {
                    fs::copy(&aside, &file).expect("copied");
                }
                // Before the users notice, and after.
                let says = match (name, replaced) {
                    ("data", false) => "is missing",
                    ("lock", _) => "is not the file",
                    _ => "end them",
                };
                nursery.is_refused(path, says);
                refused_soon(store, path);
                nursery.is_refused(path, says);
                fs::rename(&aside, &file).expect("put back");
                session(store).expect("it is where it was");
                assert!(has_all(store));
                nursery.finds(path, ALL);
            });
            // When all its users have ended as they should, nothing was lost either way.
            Nursery::new().finds(&stage.store(), ALL);
        }
    }
}

#[test]
fn a_child_of_a_fork_does_not_live_by_a_lock_file_that_nobody_else_has() {
    let stage = Stage::made(From::Closed, Sync::None);
    user(&stage, |store, path, _| {
        let (lock, aside) = (path.join("lock"), path.with_file_name("aside"));
        for replaced in [false, true] {
            fs::rename(&lock, &aside).expect("moved");
            if replaced {
                fs::copy(&aside, &lock).expect("copied");
            }
            let child = process::fork(|| {
                let refused = store.set(KEY, b"lost", 0, Ttl::Never);
                assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
            });
            assert_eq!(child.wait(LONG), Ended::Exit(0), "replaced={replaced}");
            assert!(replaced || !lock.exists(), "another one was made");
            fs::rename(&aside, &lock).expect("put back");
        }
        assert!(has_all(store));
    });
}

#[test]
fn a_lock_file_that_was_removed_does_not_matter_when_nobody_can_hold_it() {
    let nursery = Nursery::new();
    let stage = Stage::made(From::Closed, Sync::None);
    fs::remove_file(stage.store().join("lock")).expect("removed");
    nursery.finds(&stage.store(), ALL);
    // After deaths nobody can tell; the words say how to go on, and that works.
    let stage = Stage::made(From::Deaths, Sync::None);
    fs::remove_file(stage.store().join("lock")).expect("removed");
    nursery.is_refused(&stage.store(), "remove");
    fs::remove_file(stage.store().join("meta")).expect("removed");
    nursery.finds(&stage.store(), ALL);
}

#[test]
fn a_file_of_another_length_under_its_users_is_no_wrong_value_and_nothing_but_sigbus_to_them() {
    for name in ["super", "data", "index", "meta", "lock"] {
        for (what, len) in [("nothing", 0), ("half", 1), ("a byte more", 2)] {
            let stage = Stage::made(From::Closed, Sync::None);
            let child = process::fork(|| {
                let store = open(&stage.store(), &options());
                assert!(has_all(&store));
                let file = File::options().write(true).open(stage.store().join(name));
                let file = file.expect("opened");
                let now = file.metadata().expect("its length").len();
                file.set_len([0, now / 2, now + 1][len]).expect("set");
                let mut seen = Vec::new();
                for i in 0..KEYS {
                    if let Ok(Some(_)) = store.get(&i.to_le_bytes(), &mut seen) {
                        assert!(seen == value(i), "a wrong value of {i}");
                    }
                    let _ = store.set(&(i | 1 << 20).to_le_bytes(), b"more", 0, Ttl::Never);
                }
                let _ = (session(&store), store.sync(), store.stats(), store.compact());
            });
            let ended = child.wait(LONG);
            let shorter = len < 2 && !matches!(name, "super" | "lock");
            let by_the_kernel = ended == Ended::Signal(libc::SIGBUS) && shorter;
            assert!(ended == Ended::Exit(0) || by_the_kernel, "{name} with {what}: {ended:?}");
            let child = process::fork(|| {
                let Ok(store) = Store::open(stage.store(), &options()) else { return };
                let mut seen = Vec::new();
                for i in 0..KEYS {
                    if let Ok(Some(_)) = store.get(&i.to_le_bytes(), &mut seen) {
                        assert!(seen == value(i), "a wrong value of {i}");
                    }
                }
            });
            assert_eq!(child.wait(LONG), Ended::Exit(0), "a newcomer, {name} with {what}");
        }
    }
}

#[test]
fn rights_that_are_taken_away_stop_newcomers_only_and_are_named() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: this needs root, to become another user");
        return;
    }
    const NOBODY: u32 = 65_534;
    for name in ["", "super", "data", "index", "meta", "lock"] {
        let dir = memory_dir();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
        let child = process::fork(|| {
            // SAFETY: changes the user of this child alone.
            assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
            let nursery = Nursery::new();
            let store = open(dir.path(), &options());
            store.set(KEY, b"v", 0, Ttl::Never).expect("set");
            let (target, usual) = match name {
                "" => (dir.path().to_owned(), 0o700),
                file => (dir.path().join(file), 0o600),
            };
            let mode = |mode| fs::set_permissions(&target, fs::Permissions::from_mode(mode));
            mode(0).expect("chmod");
            nursery.is_refused(dir.path(), "permission denied");
            std::thread::sleep(Duration::from_millis(1100));
            session(&store).expect("who has it open goes on");
            store.set(KEY, b"w", 0, Ttl::Never).expect("set");
            mode(usual).expect("chmod");
            nursery.finds(dir.path(), OTHER);
        });
        assert_eq!(child.wait(LONG), Ended::Exit(0), "{name:?}");
    }
}
