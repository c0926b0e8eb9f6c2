//! What the loops cost: memory of connections that do nothing, that do not read, that send slowly;
//! and what happens without descriptors. One test at a time: they measure the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]

mod toys;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use holdfastd::net::{Config, State};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use toys::{Toy, ask, big, config, read_answer, read_to_end, request, resident, serve, until};

/// Runs the test of this name in a process of its own, where nobody else's memory, descriptors and
/// processor time are measured with its own. True in the process that is to do the work.
fn alone(name: &str) -> bool {
    const MARK: &str = "HOLDFAST_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        return true;
    }
    let itself = std::env::current_exe().unwrap();
    let child = Command::new(itself).args([name, "--exact", "--nocapture"]).env(MARK, "1").output();
    let child = child.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    eprint!("{err}");
    assert!(child.status.success() && out.contains("1 passed"), "{out}");
    false
}

/// Connections that this process may hold both ends of.
fn at_most(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let possible = usize::try_from(limit).unwrap().saturating_sub(200) / 2;
    if possible < wanted {
        eprintln!("only {possible} of {wanted} connections: the limit of descriptors is {limit}");
    }
    possible.min(wanted)
}

#[test]
fn an_idle_connection_costs_less_than_a_kilobyte() {
    if !alone("an_idle_connection_costs_less_than_a_kilobyte") {
        return;
    }
    let server = serve(config(2), Toy::default());
    let count = at_most(2000);
    let body = vec![9; 20_000];
    // The first hundred pay for what is made once.
    let mut clients: Vec<TcpStream> = Vec::with_capacity(count + 100);
    for _ in 0..100 {
        clients.push(server.connect());
        ask(clients.last_mut().unwrap(), b'e', &body);
    }
    let before = resident();
    for _ in 0..count {
        let mut client = server.connect();
        // It had something to keep once: half a request, a big one, a big answer.
        let bytes = request(b'e', &body);
        client.write_all(&bytes[..10_000]).unwrap();
        client.write_all(&bytes[10_000..]).unwrap();
        read_answer(&mut client);
        clients.push(client);
    }
    let each = resident().saturating_sub(before) / count;
    eprintln!("{each} bytes for each of {count} idle connections");
    assert!(each < 1024, "{each} bytes");
    assert_eq!(server.running.stats().current as usize, count + 100);
    server.end();
}

#[test]
fn peers_that_do_not_read_cost_one_answer_each() {
    if !alone("peers_that_do_not_read_cost_one_answer_each") {
        return;
    }
    let server = serve(config(2), Toy::default());
    let mut quiet = server.connect();
    ask(&mut quiet, b'e', b"here");
    let before = resident();
    let mut deaf: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
    let mut asked = Vec::new();
    for _ in 0..1000 {
        asked.extend(big(900 << 10));
    }
    for client in &mut deaf {
        client.write_all(&asked).unwrap();
    }
    until("all are stuck", || {
        let facts = server.running.watch().connections(100);
        facts.iter().filter(|one| one.state == State::Writing).count() == 50
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let begun = Instant::now();
        ask(&mut quiet, b'e', b"others are served");
        slowest = slowest.max(begun.elapsed());
    }
    let each = resident().saturating_sub(before) / 50;
    eprintln!(
        "{} KiB for each of 50 that do not read; others wait {slowest:?} at most",
        each >> 10
    );
    assert!(each < (900 << 10) + (200 << 10), "{each} bytes");
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    drop(deaf);
    until("they are gone", || server.running.stats().current == 1);
    let after = resident().saturating_sub(before);
    assert!(after < 8 << 20, "{after} bytes stay");
    server.end();
}

#[test]
fn all_together_hold_no_more_than_they_may() {
    if !alone("all_together_hold_no_more_than_they_may") {
        return;
    }
    let held_max = 10 << 20;
    let held_high = 2 * held_max;
    let server = serve(Config { held_max, held_high, ..config(2) }, Toy::default());
    let mut quiet = server.connect();
    ask(&mut quiet, b'e', b"here");
    let mut most = 0;
    let mut kept: Vec<TcpStream> = Vec::new();
    let half_a_request = vec![1; 900_000];
    for _ in 0..60 {
        let mut deaf = server.connect();
        deaf.write_all(&big(4 << 20)).unwrap();
        let mut slow = server.connect();
        slow.write_all(&request(b'e', &[1; 1_000_000])[..5]).unwrap();
        // The loop may let it go in the middle of it.
        let _ = slow.write_all(&half_a_request);
        kept.extend([deaf, slow]);
        most = most.max(server.running.stats().held);
        ask(&mut quiet, b'e', b"others are served");
    }
    // Each loop may have looked at the sum a turn before the other added to it.
    assert!(most <= held_high as u64 + (10 << 20), "{most} bytes were held");
    until("it is less again", || server.running.stats().held <= held_max as u64);
    let stats = server.running.stats();
    assert!(stats.current < 60, "{} are left", stats.current);
    // One who is alone may have more than all together should.
    drop(kept);
    until("they are gone", || server.running.stats().current == 1);
    until("nothing is held", || server.running.stats().held == 0);
    quiet.write_all(&big(50 << 20)).unwrap();
    assert_eq!(read_answer(&mut quiet).len(), 50 << 20);
    server.end();
}

#[test]
fn a_request_costs_what_has_arrived_of_it_not_what_it_says() {
    if !alone("a_request_costs_what_has_arrived_of_it_not_what_it_says") {
        return;
    }
    let server = serve(config(2), Toy::default());
    let count = at_most(500);
    let mut quiet = server.connect();
    ask(&mut quiet, b'e', b"here");
    let before = resident();
    let mut slow: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    // Each says that a megabyte comes, and sends a thousand bytes of it, one piece at a time.
    let head = request(b'e', &vec![1; 1 << 20]);
    for piece in head[..1000].chunks(50) {
        for client in &mut slow {
            client.write_all(piece).unwrap();
        }
    }
    until("all has arrived", || server.running.stats().received >= 1000 * count as u64);
    let each = resident().saturating_sub(before) / count;
    eprintln!("{each} bytes for each of {count} that sent 1000 of a megabyte");
    // The connection, and at most double what arrived; the rest is the allocator's.
    assert!(each < 8 << 10, "{each} bytes");
    assert_eq!(ask(&mut quiet, b'e', b"others are served"), b"others are served");
    // A few bring everything, and get their answer.
    let after_ten = slow.split_off(count - 10);
    for mut client in after_ten {
        client.write_all(&head[1000..]).unwrap();
        assert_eq!(read_answer(&mut client).len(), 1 << 20);
    }
    server.end();
}

/// All descriptors that are left.
fn hold_all() -> Vec<File> {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
        assert!(held.len() < 5000);
    }
    held
}

/// The processor time of this process in hundredths of a second (proc(5), utime and stime).
fn cpu_ticks(stat: &File) -> u64 {
    let mut bytes = [0; 1024];
    let length = stat.read_at(&mut bytes, 0).unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let behind_name = text.rsplit(')').next().unwrap();
    behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn without_descriptors(refusal: Option<&'static [u8]>) {
    // Opened while it can be.
    let stat = File::open("/proc/self/stat").unwrap();
    let server = serve(Config { refusal, ..config(2) }, Toy::default());
    let mut there = server.connect();
    ask(&mut there, b'e', b"here");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..limit }).unwrap();
    let sockets: Vec<Socket> =
        (0..3).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let held = hold_all();
    let connected = sockets.into_iter().map(|socket| {
        socket.connect(&server.address.into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        TcpStream::from(socket)
    });
    let mut waiting: Vec<TcpStream> = connected.collect();
    if refusal.is_none() {
        for client in &mut waiting {
            client.write_all(&request(b'e', b"me")).unwrap();
        }
    }
    until("it was tried", || server.running.stats().accept_failed > 0);
    until("it pauses", || server.running.stats().listen_disabled > 0);
    let ticks = cpu_ticks(&stat);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        assert_eq!(ask(&mut there, b'e', b"served"), b"served");
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = cpu_ticks(&stat) - ticks;
    assert!(used < 10, "no busy loop: {used}0 ms of 600 ms");
    if refusal.is_some() {
        for client in &mut waiting {
            let (answer, _) = read_to_end(client);
            assert_eq!(Some(&answer[..]), refusal, "told although there is no descriptor");
        }
        assert_eq!(server.running.stats().rejected, 3);
        drop(held);
    } else {
        let begun = Instant::now();
        drop(held);
        for client in &mut waiting {
            assert_eq!(read_answer(client), b"me");
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "it recovers by itself");
    }
    assert_eq!(ask(&mut server.connect(), b'e', b"again"), b"again");
    assert!(server.running.stats().accepting);
    setrlimit(Resource::Nofile, limit).unwrap();
    server.end();
}

#[test]
fn without_descriptors_those_who_come_wait_and_those_who_are_there_are_served() {
    if alone("without_descriptors_those_who_come_wait_and_those_who_are_there_are_served") {
        without_descriptors(None);
    }
}

#[test]
fn without_descriptors_those_who_come_can_be_told() {
    if alone("without_descriptors_those_who_come_can_be_told") {
        without_descriptors(Some(b"ERROR Too many open connections\r\n"));
    }
}
