//! The loops from outside, over real sockets, with a toy service: what goes in and out, in which
//! order, and with how many writes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]

mod toys;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use holdfastd::net::{Listener, State};
use socket2::SockRef;
use toys::{
    Toy, ask, big, capricious, config, connect, local, read_answer, read_to_end, request, serve,
    serve_on, until,
};

#[test]
fn a_pipeline_is_answered_in_order_with_one_write() {
    let server = serve(config(1), Toy::default());
    let mut client = server.connect();
    ask(&mut client, b'e', b"here");
    // A loop counts what it has sent when it has sent it, a moment after it is here.
    until("it is counted", || server.running.stats().sent == 8);
    let before = server.running.stats();
    let mut bytes = Vec::new();
    for number in 0..200u32 {
        bytes.extend(request(b'e', &number.to_be_bytes()));
    }
    client.write_all(&bytes).unwrap();
    for number in 0..200u32 {
        assert_eq!(read_answer(&mut client), number.to_be_bytes());
    }
    until("it is counted", || server.running.stats().sent == 8 + 200 * 8);
    let after = server.running.stats();
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(after.received - before.received, bytes.len() as u64);
    server.end();
}

#[test]
fn what_comes_together_is_foreseen_together_and_answered_to_each() {
    let server = serve(config(1), Toy::default());
    let mut busy = server.connect();
    let mut faulty = server.connect();
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for client in clients.iter_mut().chain([&mut faulty]) {
        ask(client, b'e', b"here");
    }
    for round in 0..3 {
        // While one request keeps the loop, all the others come.
        busy.write_all(&request(b'w', &[150])).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let body = |n: usize| vec![n as u8; [3, 4090, 4091, 4092, 9000, 30_000][(n + round) % 6]];
        for (n, client) in clients.iter_mut().enumerate() {
            let mut bytes = request(b'e', &body(n));
            if n % 2 == 0 {
                bytes.extend(request(b'e', b"one more"));
            }
            client.write_all(&bytes).unwrap();
        }
        if round == 1 {
            faulty.write_all(&request(b'p', b"")).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert!(read_answer(client) == body(n), "client {n} in round {round}");
            if n % 2 == 0 {
                assert_eq!(read_answer(client), b"one more");
            }
        }
        assert_eq!(read_answer(&mut busy), b"waited");
    }
    assert!(server.toy.foreseen_most.load(SeqCst) > 8);
    assert_eq!(read_to_end(&mut faulty).0, b"");
    assert_eq!(server.running.stats().panicked, 1);
    server.end();
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let server = serve(config(2), Toy::default());
    let mut bytes = request(b'e', b"first");
    bytes.extend(request(b'e', b""));
    bytes.extend(request(b'e', &[7; 300]));
    for cut in 1..bytes.len() {
        let mut client = server.connect();
        client.write_all(&bytes[..cut]).unwrap();
        if cut % 8 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        client.write_all(&bytes[cut..]).unwrap();
        assert_eq!(read_answer(&mut client), b"first");
        assert_eq!(read_answer(&mut client), b"");
        assert_eq!(read_answer(&mut client), [7; 300]);
    }
    let mut client = server.connect();
    for byte in &bytes {
        client.write_all(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(read_answer(&mut client), b"first");
    assert_eq!(read_answer(&mut client), b"");
    assert_eq!(read_answer(&mut client), [7; 300]);
    server.end();
}

#[test]
fn big_requests_and_big_answers_arrive_whole() {
    let server = serve(config(2), Toy::default());
    let mut client = server.connect();
    for size in [8 << 10, (64 << 10) - 5, 64 << 10, 100_000, 1 << 20, 5_000_001] {
        let body: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        let mut bytes = request(b'e', &body);
        bytes.extend(request(b'e', b"behind it"));
        let mut writer = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
        assert!(read_answer(&mut client) == body, "{size} bytes come back as they were");
        assert_eq!(read_answer(&mut client), b"behind it");
        writing.join().unwrap();
    }
    server.end();
}

#[test]
fn a_long_pipeline_lets_others_have_their_turn() {
    let server = serve(config(1), Toy { per_turn: 2, ..Toy::default() });
    let mut greedy = server.connect();
    let mut modest = server.connect();
    ask(&mut modest, b'e', b"here");
    let begun = Instant::now();
    let mut bytes = Vec::new();
    for _ in 0..300 {
        bytes.extend(request(b'w', &[2]));
    }
    greedy.write_all(&bytes).unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let asked = Instant::now();
        ask(&mut modest, b'e', b"me too");
        slowest = slowest.max(asked.elapsed());
    }
    let modest_took = begun.elapsed();
    for _ in 0..300 {
        assert_eq!(read_answer(&mut greedy), b"waited");
    }
    let greedy_took = begun.elapsed();
    assert!(greedy_took >= Duration::from_millis(600));
    assert!(modest_took < greedy_took / 2, "{modest_took:?} of {greedy_took:?}");
    // A turn of the other is 4 ms; the machine may be busy.
    assert!(slowest < Duration::from_millis(150), "{slowest:?}");
    assert!(server.running.stats().yielded >= 100);
    server.end();
}

#[test]
fn after_the_peers_end_what_is_due_is_answered_and_the_rest_is_not() {
    let server = serve(config(2), Toy { per_turn: 1, ..Toy::default() });
    let mut bytes = request(b'e', b"one");
    let first = bytes.len();
    bytes.extend(request(b'c', b"two"));
    let second = bytes.len();
    bytes.extend(request(b'e', b"three"));
    for cut in 0..=bytes.len() {
        let mut client = server.connect();
        client.write_all(&bytes[..cut]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (answers, end) = read_to_end(&mut client);
        let mut expected = Vec::new();
        for (whole, answer) in [
            (first, &b"\0\0\0\x03one"[..]),
            (second, b"\0\0\0\x02ok"),
            (bytes.len(), b"\0\0\0\x05three"),
        ] {
            if cut >= whole {
                expected.extend_from_slice(answer);
            }
        }
        assert_eq!(answers, expected, "cut at {cut}");
        assert!(end.is_ok(), "an end, not a reset");
    }
    assert_eq!(server.toy.ended.load(SeqCst), bytes.len() + 1);
    until("all are gone", || server.running.stats().current == 0);
    server.end();
}

#[test]
fn the_last_answer_arrives_although_the_peer_goes_on_sending() {
    let server = serve(config(1), Toy::default());
    for _ in 0..20 {
        let mut client = server.connect();
        let mut bytes = request(b'q', b"");
        bytes.extend(vec![0; 200_000]);
        client.write_all(&bytes).unwrap();
        let (answers, end) = read_to_end(&mut client);
        assert_eq!(answers, b"\0\0\0\x03bye");
        assert!(end.is_ok(), "an end, not a reset: {end:?}");
    }
    until("all are gone", || server.running.stats().current == 0);
    server.end();
}

#[test]
fn a_reset_at_any_point_is_quiet_and_costs_nothing() {
    let server = serve(config(2), Toy { commit_takes: Duration::from_millis(1), ..Toy::default() });
    let mut bytes = request(b'e', b"one");
    bytes.extend(request(b'c', b""));
    bytes.extend(big(3_000_000));
    bytes.extend(request(b'e', b"cut"));
    for cut in 0..=bytes.len() {
        let mut client = server.connect();
        client.write_all(&bytes[..cut]).unwrap();
        if cut % 3 == 0 {
            let mut some = [0; 5];
            let _ = (cut > 8).then(|| client.read(&mut some).unwrap());
        }
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("all are gone", || server.running.stats().current == 0);
    assert_eq!(ask(&mut server.connect(), b'e', b"still here"), b"still here");
    assert_eq!(server.running.stats().panicked, 0);
    server.end();
}

#[test]
fn an_answer_that_waits_for_the_disk_waits_and_what_was_before_it_does_not() {
    let takes = Duration::from_millis(300);
    let server = serve(config(1), Toy { commit_takes: takes, ..Toy::default() });
    let mut client = server.connect();
    ask(&mut client, b'e', b"here");
    let mut bytes = request(b'e', b"before");
    bytes.extend(request(b'c', b""));
    bytes.extend(request(b'e', b"after"));
    let begun = Instant::now();
    client.write_all(&bytes).unwrap();
    assert_eq!(read_answer(&mut client), b"before");
    assert!(begun.elapsed() < takes, "what was before goes out at once");
    until("it is seen to wait", || {
        server.running.watch().connections(1)[0].state == State::Committing
    });
    assert_eq!(read_answer(&mut client), b"ok");
    assert!(begun.elapsed() >= takes);
    assert_eq!(read_answer(&mut client), b"after");
    // A connection that waits for the disk runs nothing; others do.
    client.write_all(&request(b'c', b"")).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(&request(b'e', b"later")).unwrap();
    let asked = Instant::now();
    assert_eq!(ask(&mut server.connect(), b'e', b"other"), b"other");
    assert!(asked.elapsed() < Duration::from_millis(200));
    assert_eq!(read_answer(&mut client), b"ok");
    assert_eq!(read_answer(&mut client), b"later");
    server.end();
}

#[test]
fn one_commit_is_for_everybody_who_waits() {
    let takes = Duration::from_millis(200);
    let server = serve(config(2), Toy { commit_takes: takes, ..Toy::default() });
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, b'e', b"here");
    }
    // One by one, so that the loops park them in many rounds.
    for client in &mut clients {
        client.write_all(&request(b'c', b"")).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    for client in &mut clients {
        assert_eq!(read_answer(client), b"ok");
    }
    // The first asker starts one; whoever came meanwhile is in the second. On a busy machine there
    // are stragglers.
    let commits = server.toy.commits.load(SeqCst);
    assert!(commits <= 5, "60 connections, {commits} commits");
    assert_eq!(server.toy.committing_most.load(SeqCst), 1, "never two at once");
    assert_eq!(server.running.stats().commits, commits);
    server.end();
}

#[test]
fn if_the_disk_fails_nothing_is_said_and_the_connection_ends() {
    let server = serve(config(1), Toy::default());
    server.toy.commit_works.store(false, SeqCst);
    let mut client = server.connect();
    let mut bytes = request(b'e', b"before");
    bytes.extend(request(b'c', b""));
    bytes.extend(request(b'e', b"after"));
    client.write_all(&bytes).unwrap();
    let (answers, end) = read_to_end(&mut client);
    assert_eq!(answers, b"\0\0\0\x06before");
    assert!(end.is_ok());
    server.toy.commit_works.store(true, SeqCst);
    assert_eq!(ask(&mut server.connect(), b'c', b""), b"ok");
    server.end();
}

#[test]
fn whatever_the_traffic_nobody_is_forgotten() {
    let commit_takes = Duration::from_millis(2);
    let server = serve(config(2), Toy { per_turn: 3, commit_takes, ..Toy::default() });
    let clients: Vec<_> = (0..16)
        .map(|seed| {
            let stream = server.connect();
            std::thread::spawn(move || capricious(stream.into(), seed * 7919))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    until("nothing is held", || server.running.stats().held == 0);
    assert_eq!(server.running.stats().timed_out, 0);
    server.end();
}

#[test]
fn connections_are_spread_over_the_loops() {
    let server = serve(config(3), Toy::default());
    let mut clients: Vec<_> = (0..30).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, b'e', b"here");
    }
    let facts = server.running.watch().connections(100);
    for thread in 0..3 {
        assert_eq!(facts.iter().filter(|one| one.thread == thread).count(), 10);
    }
    // Those of one loop go; the next ones fill it up again.
    let gone: Vec<_> =
        facts.iter().filter(|one| one.thread == 1).filter_map(|one| one.peer).collect();
    clients.retain(|client| !gone.contains(&client.local_addr().unwrap()));
    until("they are gone", || server.running.stats().current == 20);
    for _ in 0..10 {
        let mut client = server.connect();
        ask(&mut client, b'e', b"here");
        clients.push(client);
    }
    let facts = server.running.watch().connections(100);
    assert_eq!(facts.iter().filter(|one| one.thread == 1).count(), 10);
    server.end();
}

#[test]
fn the_facts_of_the_connections_can_be_seen() {
    let first = Listener::tcp(local(), 16).unwrap();
    let second = Listener::tcp(local(), 16).unwrap().named("second");
    assert_eq!(second.name(), "second");
    let (one, two) = (first.bound().unwrap(), second.bound().unwrap());
    let server = serve_on(config(1), Toy::default(), vec![first, second], one);
    let mut quiet = server.connect();
    ask(&mut quiet, b'e', b"here");
    let mut half = connect(two);
    half.write_all(b"\0\0").unwrap();
    let watch = server.running.watch();
    until("both are seen", || {
        let facts = watch.connections(10);
        facts.len() == 2 && facts.iter().any(|one| one.state == State::Partial)
    });
    let facts = watch.connections(10);
    let of = |peer| facts.iter().find(|one| one.peer == Some(peer)).unwrap();
    let (quiet_facts, half_facts) =
        (of(quiet.local_addr().unwrap()), of(half.local_addr().unwrap()));
    assert_eq!((quiet_facts.listener, quiet_facts.state), (0, State::Reading));
    assert_eq!((half_facts.listener, half_facts.state), (1, State::Partial));
    assert_ne!(quiet_facts.number, half_facts.number);
    std::thread::sleep(Duration::from_millis(1100));
    ask(&mut quiet, b'e', b"again");
    let facts = watch.connections(10);
    let idle = |peer| facts.iter().find(|one| one.peer == Some(peer)).unwrap().idle_s;
    assert_eq!(idle(quiet.local_addr().unwrap()), 0);
    assert!(idle(half.local_addr().unwrap()) >= 1);
    assert_eq!(watch.connections(1).len(), 1, "no more than asked for");
    drop(half);
    until("it is not seen any more", || watch.connections(10).len() == 1);
    server.end();
}

#[test]
fn a_socket_that_was_given_is_served() {
    let given = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = given.local_addr().unwrap();
    let listener = Listener::inherited(OwnedFd::from(given)).unwrap();
    let server = serve_on(config(1), Toy::default(), vec![listener], address);
    assert_eq!(ask(&mut server.connect(), b'e', b"given"), b"given");
    server.end();
}
