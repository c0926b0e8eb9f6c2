//! Unix sockets: their file, its mode, what is there already, and what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]

mod toys;

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use holdfastd::net::{ListenError, Listener, Loops};
use toys::{Served, Toy, ask, capricious, config, until};

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_unix_socket_is_served_and_its_file_goes_with_it() {
    let (directory, path) = place();
    let listener = Listener::unix(&path, 0o600, 16).unwrap();
    assert_eq!(listener.address(), path.to_str().unwrap());
    assert_eq!(listener.bound(), None);
    let host = Arc::new(Served(Arc::new(Toy::default())));
    let running = Loops::start(config(2), vec![listener], host).unwrap();
    for _ in 0..10 {
        let mut client = UnixStream::connect(&path).unwrap();
        assert_eq!(ask(&mut client, b'e', b"unix"), b"unix");
        assert_eq!(ask(&mut client, b'e', &[5; 300_000]), [5; 300_000]);
        let facts = running.watch().connections(10);
        assert!(facts.iter().all(|one| one.peer.is_none()));
    }
    running.stop();
    assert!(running.joined());
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask_and_nobody_sees_another() {
    // The umask is the whole process's: the other tests here ask for their modes in the same way.
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let (directory, path) = place();
    // Odd from before a listener is made until before it ends: whoever sees a socket then, and then
    // still, sees one that listens. The last phase ends the observer.
    let phase = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let observer = {
        let (directory, phase, open) =
            (directory.path().to_path_buf(), phase.clone(), open.clone());
        std::thread::spawn(move || {
            while phase.load(SeqCst) < 400 {
                let before = phase.load(SeqCst);
                for name in names(&directory) {
                    let path = directory.join(name);
                    let Ok(found) = fs::symlink_metadata(&path) else { continue };
                    let mode = found.permissions().mode() & 0o777;
                    if !found.file_type().is_socket() {
                        assert_eq!(mode, 0o700, "what is beside it is nobody else's");
                        continue;
                    }
                    assert_eq!(mode, 0o600, "a socket is never seen with another mode");
                    let entered = UnixStream::connect(&path);
                    let same = before % 2 == 1 && phase.load(SeqCst) == before;
                    assert!(entered.is_ok() || !same, "it is seen when it listens, not before");
                    if entered.is_ok() && same {
                        open.store(before, SeqCst);
                    }
                }
            }
        })
    };
    for _ in 0..200 {
        let now = phase.fetch_add(1, SeqCst) + 1;
        let listener = Listener::unix(&path, 0o600, 16).unwrap();
        assert_eq!(mode(&path), 0o600);
        until("the observer is in", || open.load(SeqCst) == now || observer.is_finished());
        phase.fetch_add(1, SeqCst);
        drop(listener);
        assert!(!path.exists());
    }
    observer.join().unwrap();
    for wanted in [0o660, 0o666, 0o700, 0o777] {
        let _listener = Listener::unix(&path, wanted, 16).unwrap();
        assert_eq!(mode(&path), wanted);
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _listener = Listener::unix(&path, 0o666, 16).unwrap();
    assert_eq!(mode(&path), 0o666);
    rustix::process::umask(before);
}

#[test]
fn a_socket_that_nobody_listens_on_is_taken_over() {
    let (directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let old = fs::symlink_metadata(&path).unwrap().ino();
    let listener = Listener::unix(&path, 0o600, 16).unwrap();
    assert_ne!(fs::symlink_metadata(&path).unwrap().ino(), old);
    UnixStream::connect(&path).unwrap();
    assert_eq!(names(directory.path()), ["socket"]);
    drop(listener);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_to_him() {
    let (directory, path) = place();
    let first = Listener::unix(&path, 0o600, 1).unwrap();
    let error = Listener::unix(&path, 0o600, 16).unwrap_err();
    assert_eq!(error.to_string(), format!("another process listens on {} already", path.display()));
    // Also when he is so busy that his queue is full.
    let _queue: Vec<_> = (0..8)
        .map_while(|_| {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&socket2::SockAddr::unix(&path).unwrap()).ok().map(|()| socket)
        })
        .collect();
    let error = Listener::unix(&path, 0o600, 16).unwrap_err();
    assert!(matches!(error, ListenError::Taken(_)), "{error}");
    assert_eq!(names(directory.path()), ["socket"]);
    drop(first);
    Listener::unix(&path, 0o600, 16).unwrap();
}

#[test]
fn what_is_not_a_socket_is_never_removed() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    let error = Listener::unix(&path, 0o600, 16).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} is there and is not a socket; it is left alone", path.display())
    );
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    // A link is not followed, wherever it leads.
    let other = directory.path().join("other");
    let _live = UnixListener::bind(&other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    let error = Listener::unix(&path, 0o600, 16).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket(_)), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Listener::unix(&path, 0o600, 16).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket(_)), "{error}");
    let mut left = names(directory.path());
    left.sort();
    assert_eq!(left, ["other", "socket"]);
}

#[test]
fn at_the_end_only_our_own_file_is_removed() {
    let (_directory, path) = place();
    let first = Listener::unix(&path, 0o600, 16).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Listener::unix(&path, 0o600, 16).unwrap();
    drop(first);
    UnixStream::connect(&path).unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn of_many_who_start_at_once_over_a_dead_socket_one_gets_it() {
    for _ in 0..50 {
        let (directory, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let start = Arc::new(std::sync::Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (path, start) = (path.clone(), start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    Listener::unix(&path, 0o600, 16)
                })
            })
            .collect();
        let listeners: Vec<_> =
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
        assert_eq!(listeners.len(), 1);
        UnixStream::connect(&path).unwrap();
        assert_eq!(names(directory.path()), ["socket"]);
    }
}

#[test]
fn a_path_that_is_too_long_and_a_directory_that_is_not_there_are_clear_errors() {
    let (directory, _) = place();
    let long = directory.path().join("x".repeat(200)).join("socket");
    fs::create_dir(long.parent().unwrap()).unwrap();
    let error = Listener::unix(&long, 0o600, 16).unwrap_err();
    assert!(matches!(error, ListenError::TooLong(_)), "{error}");
    assert_eq!(names(long.parent().unwrap()), [""; 0]);
    let nowhere = directory.path().join("nowhere/socket");
    let error = Listener::unix(&nowhere, 0o600, 16).unwrap_err().to_string();
    assert!(error.contains(nowhere.to_str().unwrap()) && error.contains("No such file"), "{error}");
}

#[test]
fn the_end_of_a_unix_peer_is_seen() {
    let (_directory, path) = place();
    let listener = Listener::unix(&path, 0o600, 16).unwrap();
    let toy = Arc::new(Toy::default());
    let running = Loops::start(config(1), vec![listener], Arc::new(Served(toy.clone()))).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    ask(&mut client, b'e', b"here");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let mut gone = UnixStream::connect(&path).unwrap();
    ask(&mut gone, b'e', b"here");
    drop(gone);
    until("both are gone", || running.stats().current == 0);
    assert_eq!(toy.ended.load(SeqCst), 2);
    running.stop();
    assert!(running.joined());
}

#[test]
fn whatever_the_traffic_nobody_is_forgotten_here_either() {
    let (_directory, path) = place();
    let listener = Listener::unix(&path, 0o600, 64).unwrap();
    let commit_takes = std::time::Duration::from_millis(2);
    let host = Arc::new(Served(Arc::new(Toy { per_turn: 3, commit_takes, ..Toy::default() })));
    let running = Loops::start(config(2), vec![listener], host).unwrap();
    let clients: Vec<_> = (0..16)
        .map(|seed| {
            let stream = UnixStream::connect(&path).unwrap();
            std::thread::spawn(move || capricious(OwnedFd::from(stream).into(), seed * 104_729))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    until("nothing is held", || running.stats().held == 0);
    assert_eq!(running.stats().timed_out, 0);
    running.stop();
    assert!(running.joined());
}
