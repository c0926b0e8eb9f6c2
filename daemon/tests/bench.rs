//! `holdfast bench` against real servers and against servers that lie.
//!
//! memcached must be installed; what needs Redis is left out where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]

#[path = "bench/false_server.rs"]
mod false_server;
#[path = "bench/servers.rs"]
mod servers;

use false_server::{FalseServer, Lie};
use rustix::process::{Pid, Signal, kill_process};
use servers::{Server, bench, fails, holdfast, measured};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A load that is over in a moment.
const TINY: &str = "--keys 200 --value-size 100 --connections 5 --warm-up 20ms --requests 1000";

const MEMCACHED_DIALECTS: [&str; 3] = ["text", "meta", "binary"];

#[test]
fn every_dialect_of_memcached_answers_rightly_in_every_shape() {
    let server = Server::memcached(&[]);
    for dialect in MEMCACHED_DIALECTS {
        for shape in ["", "--pipeline 7", "--multi 4", "--multi 3 --pipeline 5 --threads 2"] {
            let line = format!("{} {TINY} --protocol {dialect} {shape}", server.address());
            let json = measured(&line);
            assert_eq!(json["requests"], 1000, "{line}");
            assert_eq!((&json["errors"], &json["misses"]), (&0.into(), &0.into()));
            let gets = json["latency_us"]["gets"]["count"].as_u64().unwrap();
            let sets = json["latency_us"]["sets"]["count"].as_u64().unwrap();
            let multi = json["load"]["multi"].as_u64().unwrap();
            assert!((850..950).contains(&gets) && gets + sets == 1000, "{gets} gets");
            assert_eq!(json["hits"].as_u64(), Some(gets * multi), "{line}");
        }
    }
    assert_eq!(server.stat("curr_items"), 200);
}

#[test]
fn a_port_is_as_good_as_a_socket() {
    let (server, port) = Server::memcached_on_a_port(&[]);
    let json = measured(&format!("here=127.0.0.1:{port}@{} {TINY}", server.pid()));
    assert_eq!((&json["name"], &json["requests"]), (&"here".into(), &1000.into()));
    assert!(json["server_version"].is_string());
    assert!(json["cpu"]["server_us_per_request"].is_number());
    assert!(json["cpu"]["generator_us_per_request"].as_f64().unwrap() > 0.0);
    fails(&format!("localhost.invalid:{port} {TINY}"), &["localhost.invalid"]);
    drop(server);
    fails(&format!("127.0.0.1:{port} {TINY}"), &["nobody listens"]);
}

#[test]
fn redis_answers_rightly_where_there_is_one() {
    let Some(server) = Server::redis(&[]) else { return };
    for shape in ["", "--pipeline 7", "--multi 4", "--multi 3 --pipeline 5 --ttl 1000"] {
        let json = measured(&format!("{} {TINY} --protocol resp {shape}", server.address()));
        assert_eq!((&json["requests"], &json["misses"]), (&1000.into(), &0.into()));
    }
    let ttl = server.ask("TTL k00000000000000000000007\r\n", ":");
    let seconds: u64 = ttl[0].strip_prefix(':').unwrap().parse().unwrap();
    assert!((900..=1000).contains(&seconds), "{ttl:?}");
    let (address, locked) = (server.address(), Server::redis(&["--requirepass", "right"]).unwrap());
    fails(&format!("{} {TINY}", address), &["does not speak text"]);
    let line = format!("{} {TINY} --protocol resp", locked.address());
    fails(&line, &["NOAUTH", "--password"]);
    fails(&format!("{line} --password wrong"), &["WRONGPASS"]);
    measured(&format!("{line} --password right"));
    measured(&format!("{line} --user default --password right"));
}

#[test]
fn lies_are_caught_and_told() {
    for (lie, says) in [
        (
            Lie::OtherKey,
            &["wrong answer", "expected the value of key k0", "came the value of key"][..],
        ),
        (Lie::FlippedBit, &["wrong answer", "wrong from byte 50 on"]),
        // Two values may have a byte in common where they are joined.
        (Lie::Torn, &["wrong answer", "wrong from byte 5"]),
        (Lie::Shorter, &["wrong answer", "99 bytes, where the value has 100"]),
        (Lie::OtherName, &["wrong answer", "came a value for key"]),
        (Lie::HalfAnswer, &["disconnected", "after", "unanswered"]),
        (Lie::Error, &["refused", "\"ERROR\"", "--protocol"]),
    ] {
        let server = FalseServer::start(lie);
        let line = format!("{} {TINY} --warm-up 0s --gets 100", server.address());
        fails(&line, says);
        fails(
            &format!("{line} --json"),
            &["of connection"].map(|part| match lie {
                Lie::HalfAnswer => "closed connection",
                _ => part,
            }),
        );
    }
}

#[test]
fn the_same_server_without_a_lie_passes() {
    let server = FalseServer::start(Lie::None);
    let json = measured(&format!("{} {TINY} --warm-up 0s --gets 100 --idle 4", server.address()));
    assert_eq!((&json["requests"], &json["hits"]), (&1000.into(), &1000.into()));
    assert_eq!((server.accepted(), server.gets().len()), (9, 1000));
}

#[test]
fn a_refusal_that_passes_is_an_error_and_not_a_request() {
    let server = FalseServer::start(Lie::OutOfMemory);
    let output = bench(&format!("{} {TINY} --warm-up 0s --gets 100 --json", server.address()));
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["errors"], &json["requests"]), (&1.into(), &999.into()));
    assert_eq!(json["first_error"], "SERVER_ERROR out of memory");
}

#[test]
fn silence_ends_after_the_timeout() {
    let server = FalseServer::start(Lie::Silence);
    let start = Instant::now();
    let line = format!("{} {TINY} --warm-up 0s --gets 100 --timeout 300ms", server.address());
    fails(&line, &["no answer", "has waited", "\"get k0"]);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn other_servers_are_told_apart_before_the_load() {
    let server = Server::memcached(&[]);
    fails(&format!("{} --protocol resp", server.address()), &["does not speak resp", "ERROR"]);
    fails("unix:/nowhere/at/all", &["/nowhere/at/all", "no such socket"]);
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let closer = thread::spawn(move || drop(listener.accept().unwrap()));
    fails(&format!("unix:{}", dir.path().join("s").display()), &["closed", "does it speak text?"]);
    closer.join().unwrap();
}

#[test]
fn name_and_password_open_a_memcached_with_a_password_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    std::fs::write(&file, "anna:right\n").unwrap();
    let server = Server::memcached(&["-Y", file.to_str().unwrap()]);
    for dialect in ["text", "meta"] {
        let line = format!("{} {TINY} --protocol {dialect}", server.address());
        fails(&line, &["unauthenticated", "--user and --password"]);
        fails(&format!("{line} --user anna --password wrong"), &["name and password"]);
        measured(&format!("{line} --user anna --password right --idle 2"));
        let mut command = holdfast(&format!("{line} --user anna"));
        let output = command.env("HOLDFAST_BENCH_PASSWORD", "right").output().unwrap();
        assert!(output.status.success());
    }
}

#[test]
fn binary_logs_in_with_sasl_plain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 24 + 5 + 11];
        stream.read_exact(&mut request).unwrap();
        let refusal = *b"\x81\x21\0\0\0\0\0\x20\0\0\0\x0d\0\0\0\0\0\0\0\0\0\0\0\0Auth failure.";
        stream.write_all(&refusal).unwrap();
        request
    });
    let address = format!("unix:{}", path.display());
    let line = format!("{address} --protocol binary --user anna --password right");
    fails(&line, &["Auth failure", "name and password"]);
    let request = server.join().unwrap();
    assert_eq!(request[..2], [0x80, 0x21]);
    assert_eq!(request[24..], *b"PLAIN\0anna\0right");
}

#[test]
fn misses_are_errors_unless_they_are_allowed() {
    let server = Server::memcached(&[]);
    for dialect in MEMCACHED_DIALECTS {
        for multi in [1, 3] {
            let line = format!(
                "{} {TINY} --no-fill --gets 100 --multi {multi} --protocol {dialect}",
                server.address()
            );
            fails(&line, &["missing", "--allow-misses"]);
            let json = measured(&format!("{line} --allow-misses"));
            assert_eq!((&json["hits"], &json["misses"]), (&0.into(), &(1000 * multi).into()));
        }
    }
    measured(&format!("{} {TINY}", server.address()));
    measured(&format!("{} {TINY} --no-fill --gets 100", server.address()));
    let larger = format!("{} {TINY} --no-fill --gets 100 --value-size 101", server.address());
    fails(&larger, &["100 bytes, where the value has 101"]);
}

#[test]
fn sizes_lifetimes_and_shares_are_what_was_asked_for() {
    let server = Server::memcached(&[]);
    let line = format!("{} {TINY} --key-size 9 --ttl 1000", server.address());
    let sets = measured(&format!("{line} --gets 0"));
    assert_eq!((&sets["latency_us"]["gets"]["count"], &sets["hits"]), (&0.into(), &0.into()));
    assert_eq!(sets["latency_us"]["sets"]["count"], 1000);
    let answer = server.ask("mg k00000007 t s k\r\n", "HD");
    assert_eq!(answer.len(), 1, "no key of nine bytes");
    assert!(answer[0].contains(" s100"), "{answer:?}");
    let seconds = answer[0].split(" t").nth(1).unwrap().split(' ').next().unwrap();
    assert!((900..=1000).contains(&seconds.parse::<u64>().unwrap()), "{answer:?}");
    let before = server.stat("cmd_get");
    measured(&format!("{line} --gets 100 --warm-up 100ms"));
    assert!(server.stat("cmd_get") - before > 1000, "no warm-up");
    let before = server.stat("cmd_set");
    measured(&format!("{line} --gets 100 --warm-up 0s"));
    assert_eq!(server.stat("cmd_set") - before, 200, "the fill sets each key once");
}

#[test]
fn the_seed_and_the_distribution_decide_the_keys() {
    let keys = |options: &str| {
        let server = FalseServer::start(Lie::None);
        let line = format!("{} {TINY} --warm-up 0s --gets 100 --connections 1", server.address());
        measured(&(line + options));
        server.gets()
    };
    let first = keys(" --seed 1");
    assert_eq!((first.len(), &first), (1000, &keys(" --seed 1")));
    assert_ne!(first, keys(" --seed 2"));
    let most_frequent = |keys: &[String]| {
        keys.iter().map(|key| keys.iter().filter(|other| *other == key).count()).max().unwrap()
    };
    assert!(most_frequent(&first) < 25);
    assert!(most_frequent(&keys(" --distribution zipf:1.2")) > 150);
}

#[test]
fn a_duration_and_a_rate_are_kept() {
    let server = Server::memcached(&[]);
    let load = "--keys 100 --warm-up 0s --connections 4";
    let json = measured(&format!("{} {load} --duration 300ms", server.address()));
    assert!((0.3..0.6).contains(&json["seconds"].as_f64().unwrap()), "{json}");
    let json =
        measured(&format!("{} {load} --rate 1000 --duration 500ms --threads 2", server.address()));
    assert_eq!((&json["requests"], &json["not_started"]), (&500.into(), &0.into()));
    let json = measured(&format!("{} {load} --rate 1000 --requests 300", server.address()));
    assert_eq!(json["requests"], 300);
    assert!((0.299..0.6).contains(&json["seconds"].as_f64().unwrap()), "{json}");
}

#[test]
fn at_a_fixed_rate_a_pause_delays_all_requests_of_its_time() {
    let load =
        "--keys 100 --value-size 100 --gets 100 --warm-up 0s --connections 1 --requests 1000";
    let server = FalseServer::start(Lie::Pause(400));
    let json = measured(&format!("{} {load} --rate 1000", server.address()));
    // 400 of 1000 requests should have started while it stood still: the slowest tenth of all
    // waited for three quarters of the pause or longer.
    let p90 = json["latency_us"]["all"]["p90"].as_f64().unwrap();
    assert!(p90 > 200_000.0, "{p90} us");
    let server = FalseServer::start(Lie::Pause(400));
    let json = measured(&format!("{} {load}", server.address()));
    let p90 = json["latency_us"]["all"]["p90"].as_f64().unwrap();
    assert!(p90 < 200_000.0, "one request alone waits in a closed loop: {p90} us");
}

#[test]
fn a_rate_that_the_server_cannot_keep_is_told() {
    let server = FalseServer::start(Lie::Pause(400));
    let load = "--keys 100 --gets 100 --warm-up 0s --connections 1 --duration 300ms --rate 1000";
    let json = measured(&format!("{} {load}", server.address()));
    let (done, not) = (json["requests"].as_u64().unwrap(), json["not_started"].as_u64().unwrap());
    assert!(done >= 100 && not > 0 && done + not == 300, "{done} and {not}");
}

#[test]
fn threads_stay_on_their_cpu_or_say_that_they_cannot() {
    let server = Server::memcached(&[]);
    measured(&format!("{} {TINY} --cpu 0 --threads 2", server.address()));
    fails(&format!("{} {TINY} --cpu 1023", server.address()), &["--cpu 1023"]);
}

#[test]
fn many_connections_raise_the_limit_of_open_files_or_say_that_they_cannot() {
    let server = Server::memcached(&[]);
    let within = |limit: &str| {
        let binary = env!("CARGO_BIN_EXE_holdfast");
        let load = "--connections 200 --idle 200 --keys 500 --requests 2000 --warm-up 0s --json";
        let line = format!("{limit} && exec {binary} bench {} {load}", server.address());
        Command::new("bash").args(["-c", &line]).output().unwrap()
    };
    let before = server.stat("total_connections");
    let output = within("ulimit -Sn 100");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["requests"], &json["idle_closed"]), (&2000.into(), &0.into()));
    assert_eq!(server.stat("total_connections") - before, 401, "one of them is this question's");
    let output = within("ulimit -n 100");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("hard limit"), "{said}");
}

#[test]
fn idle_connections_that_the_server_closes_are_told() {
    // memcached lets no connection of a unix socket time out.
    let (_server, port) = Server::memcached_on_a_port(&["-o", "idle_timeout=1"]);
    let load = "--keys 50 --warm-up 0s --duration 4s --rate 2000 --connections 4 --idle 3";
    let json = measured(&format!("127.0.0.1:{port} {load}"));
    assert_eq!(json["idle_closed"], 3);
}

#[test]
fn a_comparison_measures_all_in_turn() {
    let (one, two) = (Server::memcached(&[]), Server::memcached(&[]));
    let line = format!(
        "--compare one={}@{} two={} {TINY} --rounds 3",
        one.address(),
        one.pid(),
        two.address()
    );
    let json = measured(&line);
    let servers = json["servers"].as_array().unwrap();
    assert_eq!((&json["rounds"], servers.len()), (&3.into(), 2));
    assert_eq!(servers[0]["ratio"]["requests_per_second"], 1.0);
    assert!(servers[1]["ratio"]["p50_us"].as_f64().unwrap() > 0.0);
    assert_eq!(servers[1]["rounds"].as_array().unwrap().len(), 3);
    assert!(servers[0]["median"]["server_us_per_request"].is_number());
    assert!(servers[1]["median"]["server_us_per_request"].is_null());
    assert_eq!(two.stat("curr_items"), 200);
    let table = String::from_utf8(bench(&line).stdout).unwrap();
    assert!(table.contains("medians of 3 rounds") && table.contains("ratios to one"), "{table}");
}

#[test]
fn interrupted_it_tells_what_it_has() {
    let server = Server::memcached(&[]);
    let line = format!("{} --keys 50 --warm-up 0s --duration 60s --json", server.address());
    let child = holdfast(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while server.stat("cmd_get") < 100 {
        assert!(Instant::now() < until, "the load did not start");
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["interrupted"], true);
    assert!(json["requests"].as_u64().unwrap() >= 100);
}

#[test]
fn people_get_a_table_and_nothing_else() {
    let server = Server::memcached(&[]);
    let output = bench(&format!("{} {TINY} --server-pid {}", server.address(), server.pid()));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    for part in ["text, 90 % gets, 200 keys", "server CPU", "generator CPU", "p99.9", "sets"] {
        assert!(table.contains(part), "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let refused = bench(&format!("{} --gets 200", server.address()));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--gets 200"));
}

#[test]
fn large_values_and_long_batches_pass_in_pieces() {
    let server = Server::memcached(&["-I", "4m", "-m", "256"]);
    let load = "--keys 20 --connections 4 --requests 60 --warm-up 0s --gets 50";
    for dialect in MEMCACHED_DIALECTS {
        let line = format!("{} {load} --protocol {dialect}", server.address());
        let json = measured(&format!("{line} --value-size 3000000"));
        assert_eq!((&json["requests"], &json["misses"]), (&60.into(), &0.into()));
        measured(&format!("{line} --value-size 60000 --pipeline 15 --multi 8"));
    }
}
