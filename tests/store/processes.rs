//! Session locks between processes: in other PID namespaces, forked, stopped, killed, many.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast::{
    Acquired, Counted, Error, Expect, Held, Options, Store, Stored, Sync, Ttl, Wait, Write,
};
use holdfast_tests::killing::now_ns;
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{dir, memory_dir, open, size, small};

const KEY: &str = "session";

/// A worker to talk with; killed when it is let go of.
struct Talker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Talker {
    fn spawn(mut command: Command) -> Talker {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a worker");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Talker { child, to, from }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        line.trim_end().to_string()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.to, "{line}").expect("a listener");
        self.hear()
    }

    fn signal(&self, signal: i32) {
        Pid(self.child.id() as i32).signal(signal);
    }

    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn worker(role: &str, path: &Path, rest: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-worker"));
    command.arg(role).arg(path).arg(KEY).args(rest);
    command
}

/// The same as process 1 of a PID namespace of its own.
fn worker_apart(role: &str, path: &Path, rest: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_holdfast-worker")]);
    command.arg(role).arg(path).arg(KEY).args(rest);
    command
}

fn take(store: &Store, timeout: Duration) -> Acquired {
    let wait = Wait { timeout: Some(timeout), ..Wait::default() };
    store.lock(KEY.as_bytes(), 1, &wait).expect("lock")
}

fn try_once(store: &Store) -> Option<Held> {
    match take(store, Duration::ZERO) {
        Acquired::Held(held) => Some(held),
        _ => None,
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn processes_with_the_same_number_in_two_pid_namespaces_do_not_free_each_others_locks() {
    let possible = Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no PID namespaces here (this needs root)");
        return;
    }
    let dir = dir();
    let store = open(dir.path(), &small());
    let waiters = |n: u64| until("the waiter", || store.stats().unwrap().lock_waiters == n);
    for _ in 0..5 {
        let mut holder = Talker::spawn(worker_apart("hold", dir.path(), &["0"]));
        assert!(holder.hear().starts_with("held"));
        let mut victim = Talker::spawn(worker_apart("wait", dir.path(), &[]));
        waiters(1);
        let mut second = Talker::spawn(worker_apart("wait", dir.path(), &[]));
        waiters(2);
        victim.kill();
        std::thread::sleep(Duration::from_millis(120));
        assert!(try_once(&store).is_none(), "a waiter's death freed the lock");
        assert!(holder.ask("put").starts_with("Done"), "its holder lost it");
        let killed = Instant::now();
        holder.kill();
        assert!(second.hear().starts_with("held"), "the holder's death did not free it");
        println!("taken {:?} after its holder's death", killed.elapsed());
        second.child.wait().unwrap();
    }
    assert!(try_once(&store).is_some());
}

#[test]
fn a_forked_child_never_has_its_parents_locks() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let held = try_once(&store).expect("free");
    let write = |held: &Held| {
        store.put(KEY.as_bytes(), b"v", 0, Ttl::Never, Expect::Any, Some(held)).expect("put")
    };
    let child = process::fork(|| {
        assert_eq!(write(&held), Stored::Lost);
        assert!(try_once(&store).is_none(), "the parent has it");
        assert!(!store.unlock(KEY.as_bytes(), &held).expect("unlock"));
        assert!(store.set(b"own", b"v", 0, Ttl::Never).is_ok());
    });
    assert_eq!(child.wait(Duration::from_secs(20)), Ended::Exit(0));
    assert!(matches!(write(&held), Stored::Done(_)), "the child's end took the parent's lock");
    // And the other way about: the child's end frees what was the child's.
    assert!(store.unlock(KEY.as_bytes(), &held).unwrap());
    let child = process::fork(|| {
        assert!(try_once(&store).is_some());
        process::die();
    });
    assert_eq!(child.wait(Duration::from_secs(20)), Ended::Signal(libc::SIGKILL));
    assert!(try_once(&store).is_some());
}

#[test]
fn a_child_for_which_there_is_no_slot_does_nothing_without_one() {
    let dir = dir();
    let store = open(dir.path(), &Options { max_processes: Some(1), ..small() });
    store.set(b"k", b"parent", 0, Ttl::Never).unwrap();
    let child = process::fork(|| {
        for _ in 0..3 {
            let refused = store.set(b"k", b"child", 0, Ttl::Never);
            assert!(matches!(refused, Err(Error::TooMany(_))), "{refused:?}");
        }
    });
    assert_eq!(child.wait(Duration::from_secs(20)), Ended::Exit(0));
    let mut value = Vec::new();
    assert!(store.get(b"k", &mut value).unwrap().is_some() && value == b"parent");
}

/// A lock that keeps a queue of its waiters is handed over, in the child, to a thread of the parent,
/// and one that a thread takes while it starts is never given back: children hung at their first
/// open, or when they waited for a thread of their own, for ever.
#[test]
fn a_child_can_open_a_store_whatever_the_parents_threads_were_doing_at_the_fork() {
    let (busy, dir) = (dir(), dir());
    drop(open(dir.path(), &small()));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(open(busy.path(), &small()));
                    (0..20).for_each(|_| std::thread::spawn(|| ()).join().expect("a thread"));
                }
            });
        }
        let ended: Vec<Ended> = (0..60)
            .map(|_| {
                let child = process::fork(|| {
                    let store = open(dir.path(), &small());
                    store.set(b"k", b"v", 0, Ttl::Never).expect("set");
                });
                child.wait(Duration::from_secs(5))
            })
            .collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(ended.iter().all(|ended| *ended == Ended::Exit(0)), "{ended:?}");
    });
}

/// The handlers that keep forks and opens apart are registered by the first open: a fork may begin
/// before them. Each turn is a process of its own, because a process has one first open.
/// A fork that comes while another thread closes a store: the child has the descriptors that the parent
/// gives up just then, and their locks as long as it lives, if it is not told of them.
#[test]
fn a_child_keeps_nothing_of_a_store_that_is_closed_at_its_fork() {
    let forks = size("HOLDFAST_CLOSING_FORKS", 150);
    // What the kernel copies between the descriptors and the end of a fork takes its time.
    let memory = vec![1u8; 128 << 20];
    let dir = memory_dir();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let (mut opens, mut longest) = (0u64, Duration::ZERO);
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = Instant::now();
                drop(open(dir.path(), &small()));
                (opens, longest) = (opens + 1, longest.max(begun.elapsed()));
            }
            (opens, longest)
        });
        let children: Vec<Pid> = (0..forks)
            .map(|_| {
                let child = process::fork(|| std::thread::sleep(Duration::from_secs(60)));
                std::thread::sleep(Duration::from_micros(200));
                child
            })
            .collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let (opens, longest) = opener.join().expect("every open succeeds");
        // While all of them live, it is nobody's.
        drop(open(dir.path(), &small()));
        for child in children {
            child.signal(libc::SIGKILL);
            child.wait(Duration::from_secs(10));
        }
        println!(
            "{forks} forks, {opens} opens, the longest {longest:?}; {} MB",
            memory.len() >> 20
        );
    });
}

#[test]
fn a_child_of_a_fork_during_the_first_open_can_open_a_store() {
    let turns = (0..60u64).map(|turn| (turn * 10).to_string());
    for how in turns.chain(vec!["inside".to_string(); 5]) {
        let dir = memory_dir();
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-forker"));
        let output = command.arg(dir.path()).arg(&how).output().expect("a forker");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{how}: {said}");
    }
}

#[test]
fn a_stopped_holder_is_fenced_after_its_lease_and_writes_nothing_when_it_goes_on() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut holder = Talker::spawn(worker("hold", dir.path(), &["300"]));
    assert!(holder.hear().starts_with("held"));
    assert!(holder.ask("put").starts_with("Done"));
    holder.signal(libc::SIGSTOP);
    let begun = Instant::now();
    let Acquired::Held(mine) = take(&store, Duration::from_secs(10)) else { panic!("not taken") };
    assert!(begun.elapsed() >= Duration::from_millis(290), "taken from the living too soon");
    let put = |value: &[u8]| {
        store.put(KEY.as_bytes(), value, 0, Ttl::Never, Expect::Any, Some(&mine)).unwrap()
    };
    assert!(matches!(put(b"mine"), Stored::Done(_)));
    holder.signal(libc::SIGCONT);
    assert_eq!(holder.ask("put"), "Lost");
    assert_eq!(holder.ask("unlock"), "false");
    let mut value = Vec::new();
    store.get(KEY.as_bytes(), &mut value).unwrap();
    assert_eq!(value, b"mine");
    assert!(matches!(put(b"still mine"), Stored::Done(_)));
}

#[test]
fn a_stopped_holder_without_a_lease_keeps_its_lock() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut holder = Talker::spawn(worker("hold", dir.path(), &["0"]));
    assert!(holder.hear().starts_with("held"));
    holder.signal(libc::SIGSTOP);
    assert!(matches!(take(&store, Duration::from_millis(400)), Acquired::TimedOut(_)));
    holder.signal(libc::SIGCONT);
    assert!(holder.ask("put").starts_with("Done"));
}

#[test]
fn many_processes_count_exactly_under_the_lock() {
    let (processes, times) = (size("HOLDFAST_COUNTERS", 64), size("HOLDFAST_COUNTS", 200));
    let dir = dir();
    let store = open(dir.path(), &small());
    let begun = Instant::now();
    let times_text = times.to_string();
    let all: Vec<Child> = (0..processes)
        .map(|_| worker("increment", dir.path(), &[&times_text]).spawn().expect("a worker"))
        .collect();
    for mut child in all {
        assert!(child.wait().unwrap().success());
    }
    let mut value = Vec::new();
    store.get(KEY.as_bytes(), &mut value).unwrap();
    assert_eq!(u64::from_le_bytes(value[..].try_into().unwrap()), processes * times);
    println!("{processes} processes x {times} increments in {:?}", begun.elapsed());
}

#[test]
fn the_dead_are_not_counted_as_holding_or_waiting() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let count = || (store.stats().unwrap().locks_held, store.stats().unwrap().lock_waiters);
    let mut holder = Talker::spawn(worker("hold", dir.path(), &["0"]));
    assert!(holder.hear().starts_with("held"));
    let mut waiter = Talker::spawn(worker("wait", dir.path(), &[]));
    until("the waiter", || count() == (1, 1));
    waiter.kill();
    until("the waiter's end", || count() == (1, 0));
    // Nobody asks for this key again, so nobody takes the lock over.
    holder.kill();
    until("the holder's end", || count() == (0, 0));
}

#[test]
fn a_hundred_waiters_in_as_many_processes_come_in_their_order() {
    let waiters = size("HOLDFAST_WAITERS", 110);
    let dir = dir();
    let store = open(dir.path(), &small());
    let held = try_once(&store).expect("free");
    let mut all: Vec<Talker> = Vec::new();
    for n in 1..=waiters {
        all.push(Talker::spawn(worker("wait", dir.path(), &[])));
        until("the waiter", || store.stats().unwrap().lock_waiters == n);
    }
    let begun = Instant::now();
    store.unlock(KEY.as_bytes(), &held).unwrap();
    let times: Vec<u64> = all
        .iter_mut()
        .map(|talker| talker.hear().strip_prefix("held ").expect("held").parse().expect("a time"))
        .collect();
    println!("{waiters} waiters served in {:?}", begun.elapsed());
    let overtaken = times.windows(2).filter(|w| w[0] > w[1]).count();
    assert_eq!(overtaken, 0, "overtaken by later ones");
}

#[test]
fn a_lock_is_free_at_once_when_its_holder_is_killed() {
    let dir = dir();
    let store = open(dir.path(), &small());
    let mut times = Vec::new();
    for _ in 0..size("HOLDFAST_HOLDER_KILLS", 40) {
        let mut holder = Talker::spawn(worker("hold", dir.path(), &["0"]));
        assert!(holder.hear().starts_with("held"));
        let taken = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let Acquired::Held(held) = take(&store, Duration::from_secs(10)) else {
                    panic!("not taken")
                };
                (now_ns(), held)
            });
            until("the waiter", || store.stats().unwrap().lock_waiters == 1);
            let killed = now_ns();
            holder.kill();
            let (at, held) = waiter.join().unwrap();
            assert!(store.unlock(KEY.as_bytes(), &held).unwrap());
            Duration::from_nanos(at.saturating_sub(killed))
        });
        times.push(taken);
    }
    times.sort_unstable();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("lock taken after its holder's death: median {middle:?}, longest {last:?}");
    assert!(middle < Duration::from_millis(50) && last < Duration::from_millis(500));
}

/// Eight processes run `work` with their number at the same time.
fn eight(work: impl Fn(u64)) {
    let children: Vec<_> = (0..8).map(|me| process::fork(|| work(me))).collect();
    for child in children {
        assert_eq!(child.wait(Duration::from_secs(120)), Ended::Exit(0));
    }
}

#[test]
fn processes_count_exactly_without_a_lock() {
    let times = size("HOLDFAST_INCREMENTS", 5_000);
    let dir = dir();
    let store = open(dir.path(), &small());
    let begun = Instant::now();
    eight(|_| {
        for i in 0..times {
            let how = Write { ttl: Ttl::Millis(60_000 + i), ..Write::default() };
            let up = store.increment(b"n", 3, Some(3), &how).expect("increment");
            assert!(matches!(up, Counted::Done { .. }), "{up:?}");
            let down = store.decrement(b"n", 2, None, &how).expect("decrement");
            assert!(matches!(down, Counted::Done { .. }), "{down:?}");
        }
    });
    let mut value = Vec::new();
    store.get(b"n", &mut value).unwrap();
    assert_eq!(String::from_utf8(value).unwrap(), (8 * times).to_string());
    println!("8 processes x {times} up and down in {:?}", begun.elapsed());
}

/// Short at first, then of whole segments, where an append is computed without the latch; and the
/// same compressed.
#[test]
fn processes_append_to_one_value_and_no_byte_is_lost() {
    let times = size("HOLDFAST_APPENDS", 150);
    for (compress, piece) in [(false, 10), (false, 200), (true, 40)] {
        let dir = memory_dir();
        let options = Options {
            max_value_bytes: Some(1 << 20),
            sync: Some(Sync::None),
            compress: Some(compress),
            ..small()
        };
        let store = open(dir.path(), &options);
        store.set(b"log", b"", 0, Ttl::Never).unwrap();
        let begun = Instant::now();
        eight(|me| {
            for i in 0..times {
                let entry = format!("{me} {i} {};", "x".repeat(piece));
                let stored = match (me + i) % 2 {
                    0 => store.append(b"log", entry.as_bytes(), None, false),
                    _ => store.prepend(b"log", entry.as_bytes(), None, false),
                };
                assert!(matches!(stored, Ok(Stored::Done(_))), "{stored:?}");
            }
        });
        let mut value = Vec::new();
        store.get(b"log", &mut value).unwrap();
        let text = String::from_utf8(value).unwrap();
        let mut entries: Vec<&str> = text.split_terminator(';').collect();
        entries.sort_unstable();
        let mut expected: Vec<String> = (0..8)
            .flat_map(|me| (0..times).map(move |i| format!("{me} {i} {}", "x".repeat(piece))))
            .collect();
        expected.sort_unstable();
        assert!(entries == expected, "{} entries of {}", entries.len(), expected.len());
        println!("compressed {compress}: {} bytes in {:?}", text.len(), begun.elapsed());
    }
}
