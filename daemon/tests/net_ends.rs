//! When a connection ends, and when none begins: deadlines, limits, faults, and the end of the whole.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]

mod toys;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use holdfastd::net::{Config, Listener, Loops, State};
use socket2::SockRef;
use toys::{Served, Toy, ask, big, config, local, read_answer, read_to_end, request, serve, until};

#[test]
fn a_fault_costs_the_connection_that_met_it_and_no_other() {
    let server = serve(config(1), Toy::default());
    let mut other = server.connect();
    ask(&mut other, b'e', b"here");
    let mut unlucky = server.connect();
    unlucky.write_all(&request(b'p', b"")).unwrap();
    assert_eq!(read_to_end(&mut unlucky).0, b"");
    assert_eq!(ask(&mut other, b'e', b"still here"), b"still here");
    assert_eq!(server.running.stats().panicked, 1);
    server.end();
}

#[test]
fn a_loop_that_has_ended_is_noticed() {
    let server = serve(config(2), Toy { rude: true, ..Toy::default() });
    let watch = server.running.watch();
    assert!(watch.is_well());
    let _client = server.connect();
    until("it is noticed", || !watch.is_well());
    server.running.stop();
    assert!(!server.running.joined());

    let server = serve(config(2), Toy::default());
    let watch = server.running.watch();
    ask(&mut server.connect(), b'c', b"");
    assert!(watch.is_well());
    server.end();
    assert!(!watch.is_well());
}

#[test]
fn tls_without_certificates_does_not_start() {
    let listener = Listener::tcp(local(), 16).unwrap().secured();
    let host = std::sync::Arc::new(Served(Default::default()));
    let error = Loops::start(config(1), vec![listener], host).unwrap_err();
    assert_eq!(error.to_string(), "a listener is to talk TLS, and there are no certificates");
}

#[test]
fn who_does_not_read_is_not_served_on_and_ends_after_a_while() {
    let write = Duration::from_millis(500);
    let server = serve(Config { write, ..config(1) }, Toy::default());
    let mut deaf = server.connect();
    let mut asked = Vec::new();
    for _ in 0..200 {
        asked.extend(big(1 << 20));
    }
    deaf.write_all(&asked).unwrap();
    until("it is stuck", || {
        server.running.watch().connections(1).first().is_some_and(|one| one.state == State::Writing)
    });
    let calls = server.toy.advances.load(SeqCst);
    let mut other = server.connect();
    let begun = Instant::now();
    ask(&mut other, b'e', b"others are served");
    assert!(begun.elapsed() < Duration::from_millis(200));
    assert!(server.toy.advances.load(SeqCst) <= calls + 1, "no further request of it runs");
    until("it is ended", || server.running.stats().current == 1);
    assert_eq!(server.running.stats().timed_out, 1);
    drop(deaf);
    server.end();
}

#[test]
fn who_reads_slowly_gets_everything() {
    let write = Duration::from_secs(2);
    // Who is still taking an answer is not idle, and is not when he has just taken the last of it.
    let idle = Some(Duration::from_secs(1));
    let server = serve(Config { write, idle, ..config(1) }, Toy::default());
    let mut slow = server.connect();
    slow.write_all(&big(20 << 20)).unwrap();
    let mut got = 0;
    let mut piece = vec![0; 512 << 10];
    // For longer than the deadline; but something goes in each part of it.
    while got < 4 + (20 << 20) {
        std::thread::sleep(Duration::from_millis(60));
        let read = slow.read(&mut piece).unwrap();
        assert!(read > 0, "ended after {got} bytes");
        got += read;
    }
    assert_eq!(got, 4 + (20 << 20));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask(&mut slow, b'e', b"well"), b"well");
    server.end();
}

#[test]
fn the_time_of_a_request_does_not_run_while_it_is_not_read() {
    let partial = Duration::from_secs(2);
    let server = serve(Config { partial, ..config(1) }, Toy::default());
    let mut slow = server.connect();
    let mut bytes = big(30 << 20);
    let behind = request(b'e', b"behind");
    bytes.extend(&behind[..6]);
    slow.write_all(&bytes).unwrap();
    let mut got = 0;
    let mut piece = vec![0; 512 << 10];
    while got < 4 + (30 << 20) {
        std::thread::sleep(Duration::from_millis(50));
        got += slow.read(&mut piece).unwrap();
    }
    slow.write_all(&behind[6..]).unwrap();
    assert_eq!(read_answer(&mut slow), b"behind");
    server.end();
}

#[test]
fn a_body_that_is_thrown_away_has_no_more_time_than_one_that_is_kept() {
    let partial = Duration::from_millis(600);
    let server = serve(Config { partial, ..config(1) }, Toy::default());
    let mut steady = server.connect();
    let mut slow = server.connect();
    let bytes = request(b's', &[7; 40]);
    let begun = Instant::now();
    slow.write_all(&bytes[..8]).unwrap();
    for (round, byte) in bytes[8..].iter().enumerate() {
        // One request after the other, each well in its time, though always in the middle of one.
        let whole = request(b's', b"in time");
        let (before, behind) = whole.split_at(8);
        if round > 0 {
            steady.write_all(&request(b's', b"in time")[8..]).unwrap();
            assert_eq!(read_answer(&mut steady), b"skipped");
        }
        steady.write_all(before).unwrap();
        assert_eq!(behind.len(), 4);
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        if begun.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert_eq!(read_to_end(&mut slow).0, b"", "its time was over");
    assert_eq!(server.running.stats().timed_out, 1);
    server.end();
}

#[test]
fn deadlines_end_those_they_are_meant_for() {
    let server = serve(
        Config {
            partial: Duration::from_millis(400),
            unknown: Duration::from_millis(1000),
            ..config(2)
        },
        Toy { known: false, ..Toy::default() },
    );
    let begun = Instant::now();
    let mut partial = server.connect();
    partial.write_all(&request(b'e', b"cut")[..6]).unwrap();
    let mut unknown = server.connect();
    ask(&mut unknown, b'e', b"who am I");
    let mut known = server.connect();
    assert_eq!(ask(&mut known, b'k', b""), b"welcome");
    assert_eq!(read_to_end(&mut partial).0, b"");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(900), "{took:?}");
    while begun.elapsed() < Duration::from_millis(800) {
        // Who is not known gains nothing by being busy.
        ask(&mut unknown, b'e', b"let me stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read_to_end(&mut unknown).0, b"");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1000) && took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(ask(&mut known, b'e', b"I stay"), b"I stay");
    assert_eq!(server.running.stats().timed_out, 2);
    server.end();
}

#[test]
fn who_asks_nothing_is_ended_only_if_that_is_wanted() {
    let idle = Some(Duration::from_millis(400));
    let server = serve(Config { idle, ..config(1) }, Toy::default());
    let patient = serve(config(1), Toy::default());
    let mut kept = patient.connect();
    ask(&mut kept, b'e', b"here");
    let mut client = server.connect();
    let mut busy = server.connect();
    let begun = Instant::now();
    ask(&mut client, b'e', b"here");
    let mut ended = client.try_clone().unwrap();
    let waiting = std::thread::spawn(move || read_to_end(&mut ended).0);
    while !waiting.is_finished() {
        ask(&mut busy, b'e', b"busy");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(waiting.join().unwrap(), b"");
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(server.running.stats().current, 1);
    assert_eq!(ask(&mut kept, b'e', b"still"), b"still");
    server.end();
    patient.end();
}

#[test]
fn above_the_limit_one_is_told_and_let_go() {
    let refusal = Some(&b"ERROR Too many open connections\r\n"[..]);
    let server = serve(Config { max_connections: 3, refusal, ..config(2) }, Toy::default());
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, b'e', b"in");
    }
    for _ in 0..10 {
        let (answer, end) = read_to_end(&mut server.connect());
        assert_eq!(answer, b"ERROR Too many open connections\r\n");
        assert!(end.is_ok());
    }
    let stats = server.running.stats();
    assert_eq!((stats.current, stats.rejected, stats.total), (3, 10, 3));
    assert!(stats.accepting);
    drop(clients.pop());
    until("there is room", || server.running.stats().current == 2);
    assert_eq!(ask(&mut server.connect(), b'e', b"now"), b"now");
    server.end();
}

#[test]
fn above_the_limit_one_waits_until_another_ends() {
    let server = serve(Config { max_connections: 3, ..config(2) }, Toy::default());
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, b'e', b"in");
    }
    let mut waiting = server.connect();
    waiting.write_all(&request(b'e', b"me")).unwrap();
    until("nobody is accepted", || !server.running.stats().accepting);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.toy.greeted.load(SeqCst), 3);
    assert_eq!(server.running.stats().listen_disabled, 1);
    drop(clients.pop());
    assert_eq!(read_answer(&mut waiting), b"me");
    // Over and over: no wakeup is lost.
    for _ in 0..200 {
        let mut next = server.connect();
        next.write_all(&request(b'e', b"next")).unwrap();
        drop(std::mem::replace(&mut waiting, next));
        assert_eq!(read_answer(&mut waiting), b"next");
    }
    assert_eq!(server.running.stats().rejected, 0);
    server.end();
}

#[test]
fn draining_answers_everything_that_was_asked() {
    let server = serve(
        config(2),
        Toy { per_turn: 4, commit_takes: Duration::from_millis(50), ..Toy::default() },
    );
    let mut idle: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let mut busy: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in idle.iter_mut().chain(&mut busy) {
        ask(client, b'e', b"here");
    }
    for client in &mut busy {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(request(b'e', b"asked"));
        }
        bytes.extend(request(b'c', b""));
        client.write_all(&bytes).unwrap();
    }
    // In the queue of the listener, or not even there.
    let mut late = server.connect();
    late.write_all(&request(b'e', b"late")).unwrap();
    assert!(server.running.drain(Duration::from_secs(10)), "all were finished in time");
    for client in &mut idle {
        let (answers, end) = read_to_end(client);
        assert!(answers.is_empty() && end.is_ok());
    }
    for client in &mut busy {
        for _ in 0..50 {
            assert_eq!(read_answer(client), b"asked");
        }
        assert_eq!(read_answer(client), b"ok");
        assert!(read_to_end(client).1.is_ok());
    }
    assert_eq!(read_answer(&mut late), b"late");
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
    assert_eq!(server.running.stats().current, 0);
    server.end();
}

#[test]
fn draining_ends_those_who_do_not_finish_in_time() {
    let server = serve(config(2), Toy::default());
    let mut half = server.connect();
    half.write_all(b"\0\0").unwrap();
    until("it is seen", || server.running.stats().received == 2);
    let begun = Instant::now();
    assert!(!server.running.drain(Duration::from_millis(300)));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_millis(900));
    assert_eq!(read_to_end(&mut half).0, b"");
    server.end();
}

#[test]
fn not_accepting_any_more_leaves_those_who_are_there() {
    let server = serve(config(2), Toy::default());
    let mut client = server.connect();
    ask(&mut client, b'e', b"here");
    server.running.stop_accepting();
    until("nobody listens", || TcpStream::connect(server.address).is_err());
    assert!(!server.running.stats().accepting);
    assert_eq!(ask(&mut client, b'e', b"still"), b"still");
    server.end();
}

#[test]
fn more_than_a_request_may_be_ends_the_connection() {
    let server = serve(Config { request_max: 1 << 20, ..config(1) }, Toy::default());
    let mut client = server.connect();
    client.write_all(&[0x7f, 0xff, 0xff, 0xff, b'e']).unwrap();
    assert_eq!(read_to_end(&mut client).0, b"");
    server.end();
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let server = serve(config(2), Toy::default());
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    ask(&mut server.connect(), b'e', b"warm");
    until("it is gone", || server.running.stats().current == 0);
    for round in 0..3000 {
        let mut client = server.connect();
        if round % 3 > 0 {
            ask(&mut client, b'e', b"short");
        }
        if round % 3 == 1 {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    until("all are gone", || server.running.stats().current == 0);
    let stats = server.running.stats();
    assert_eq!(stats.total, 3001);
    assert!(server.running.watch().connections(10).is_empty());
    // Other tests run beside this one; 3,000 that stayed would be seen.
    assert!(descriptors() < 1500);
    server.end();
}
