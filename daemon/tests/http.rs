//! The admin port over real sockets: what its pages say, what it refuses, and that nobody can make it
//! hang.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::{Acquired, Options, Store, Wait};
use holdfastd::http::{Reason, Server, Settings, Source};
use holdfastd::metrics::Numbers;
use parking_lot::Mutex;

#[derive(Clone, Default)]
struct Facts(Arc<Mutex<Vec<Reason>>>);

impl Source for Facts {
    fn numbers(&self) -> Numbers {
        Numbers::default()
    }

    fn ready(&self) -> Vec<Reason> {
        self.0.lock().clone()
    }
}

/// Of a store that others have open as well.
struct Shared(Store);

impl Source for Shared {
    fn numbers(&self) -> Numbers {
        Numbers { store: self.0.stats().ok(), ..Numbers::default() }
    }

    fn ready(&self) -> Vec<Reason> {
        Vec::new()
    }
}

fn start() -> (Server, Facts) {
    start_with(Settings { hosts: vec!["cache1.example".into()], profiling: true })
}

fn start_with(settings: Settings) -> (Server, Facts) {
    let facts = Facts::default();
    let server = Server::open("127.0.0.1:0".parse().unwrap(), settings, facts.clone()).unwrap();
    (server, facts)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes and reads until the end.
fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    split(&talk(address, request.as_bytes()))
}

fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_string(), body.to_string())
}

#[test]
fn metrics_come_in_the_format_that_is_accepted() {
    let (server, _) = start();
    let (status, head, text) = get(server.address(), "/metrics", "Accept: */*\r\n");
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(text.contains("\nholdfast_ready 1\n") && !text.contains("# EOF"));
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (_, head, text) = get(server.address(), "/metrics", accept);
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn a_wait_for_a_session_lock_is_on_the_next_page() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = Options { create: true, thread: false, ..Options::default() };
    let open = || Store::open(dir.path(), &options).unwrap();
    let (store, listen) = (open(), "127.0.0.1:0".parse().unwrap());
    let server = Server::open(listen, Settings::default(), Shared(open())).unwrap();
    let lock = |cookie, timeout| {
        let wait = Wait { timeout: Some(timeout), ..Wait::default() };
        matches!(store.lock(b"s", cookie, &wait).unwrap(), Acquired::Held(_))
    };
    assert!(lock(1, Duration::ZERO));
    let page = || get(server.address(), "/metrics", "").2;
    let before = page();
    assert!(before.contains("\nholdfast_lock_wait_seconds_count 0\n"), "{before}");
    assert!(before.contains("\nholdfast_locks_held 1\n"), "{before}");
    assert!(!lock(2, Duration::from_millis(20)));
    let after = page();
    assert!(after.contains("\n# TYPE holdfast_lock_wait_seconds histogram\n"), "{after}");
    for (end, count) in [("0.016", 0), ("131.072", 1), ("+Inf", 1)] {
        let line = format!("\nholdfast_lock_wait_seconds_bucket{{le=\"{end}\"}} {count}\n");
        assert!(after.contains(&line), "no {line} in {after}");
    }
    assert!(after.contains("\nholdfast_fsync_seconds_bucket{le=\"0.000064\"} "), "{after}");
}

#[test]
fn ready_tells_its_reasons_and_health_only_that_we_live() {
    let (server, facts) = start();
    assert_eq!(get(server.address(), "/ready", "").2, "{\"ready\":true,\"reasons\":[]}\n");
    facts.0.lock().push(Reason { code: "draining", text: "the server is stopping".into() });
    let (status, head, body) = get(server.address(), "/ready", "");
    assert_eq!(status, 503);
    assert!(head.contains("Content-Type: application/json\r\n"));
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["reasons"][0]["code"], "draining");
    assert_eq!(get(server.address(), "/health", "").0, 200);
    assert!(get(server.address(), "/metrics", "").2.contains("\nholdfast_ready 0\n"));
}

#[test]
fn pages_are_found_or_not() {
    let (server, _) = start();
    let (status, _, body) = get(server.address(), "/", "");
    assert_eq!(status, 200);
    assert!(body.contains("/metrics"), "{body}");
    assert_eq!(get(server.address(), "/nothing", "").0, 404);
    assert_eq!(get(server.address(), "/metrics/../health", "").0, 404);
    let head = talk(server.address(), b"HEAD /metrics HTTP/1.0\r\n\r\n");
    let (status, head, body) = split(&head);
    assert!(status == 200 && body.is_empty());
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert!(length.parse::<usize>().unwrap() > 1000);
}

#[test]
fn a_name_that_was_bent_to_this_machine_is_refused() {
    let (server, _) = start();
    let ask = |host: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        split(&talk(server.address(), request.as_bytes())).0
    };
    assert_eq!(ask("evil.example:9150"), 421);
    for good in ["127.0.0.1:9150", "[::1]:9150", "localhost", "Cache1.Example"] {
        assert_eq!(ask(good), 200, "{good}");
    }
}

#[test]
fn profiles_are_for_those_who_asked_for_them_and_one_at_a_time() {
    let (closed, _) = start_with(Settings::default());
    assert_eq!(get(closed.address(), "/debug/pprof/profile?seconds=1", "").0, 404);
    let (server, _) = start();
    let address = server.address();
    for bad in ["0", "61", "x", "-1"] {
        let path = format!("/debug/pprof/profile?seconds={bad}");
        assert_eq!(get(address, &path, "").0, 400, "{bad}");
    }
    let first = std::thread::spawn(move || {
        let mut stream = connect(address);
        let request = b"GET /debug/pprof/profile?a=b&seconds=1 HTTP/1.0\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut bytes = vec![];
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(get(address, "/debug/pprof/profile?seconds=1", "").0, 409);
    assert_eq!(get(address, "/health", "").0, 200, "others are served meanwhile");
    // Something to see in it.
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        std::hint::black_box((0..1000_u64).sum::<u64>());
    }
    let bytes = first.join().unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // The first field of a profile is a sample type: number 1, of bytes.
    assert_eq!(bytes[end], 0x0a, "protobuf");
    let names = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    assert!(names(b"nanoseconds") && names(b"cpu"), "its table of strings");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (server, _) = start();
    let one = "GET /health HTTP/1.1\r\nHost: a.localhost\r\n\r\n";
    let two = "GET /nothing HTTP/1.1\r\nHost: a.localhost\r\n\r\n";
    let last = "GET /ready HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
    let text = talk(server.address(), format!("{one}{two}{one}{last}{one}").as_bytes());
    let statuses: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once("HTTP/1.1 ").map(|(_, rest)| &rest[..3]))
        .collect();
    assert_eq!(statuses, ["200", "404", "200", "200"], "{text}");
}

#[test]
fn a_head_may_come_byte_by_byte_and_its_sender_may_fall_silent_after_it() {
    let (server, _) = start();
    let mut stream = connect(server.address());
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("alive\n"), "{text}");
    let mut half = connect(server.address());
    half.write_all(b"GET /hea").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    half.read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "half a request has no answer");
}

#[test]
fn slow_heads_are_cut_off_and_their_places_are_free_again() {
    let (server, _) = start();
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nHo").unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    // All places are taken: this one waits, and is served when the others were cut off.
    assert_eq!(get(server.address(), "/health", "").0, 200);
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(9), "{waited:?}");
    for mut stream in slow {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
}

#[test]
fn idle_connections_make_way() {
    let (server, _) = start();
    let mut idle: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
    for stream in &mut idle {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(get(server.address(), "/health", "").0, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn what_is_not_for_this_port_is_refused_and_the_connection_ends() {
    let (server, _) = start();
    let refused = |bytes: &[u8]| {
        let (status, head, _) = split(&talk(server.address(), bytes));
        assert!(head.contains("Connection: close"), "{head}");
        status
    };
    let body = "x".repeat(1000);
    let post =
        format!("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{body}");
    assert_eq!(refused(post.as_bytes()), 405);
    let smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET";
    assert_eq!(refused(smuggled), 400);
    assert_eq!(refused(b"set a 0 0 5\r\nhello\r\n"), 400);
    assert_eq!(refused(b"\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 400);
    assert_eq!(refused(b"\x16\x03\x01\x02\x00\x01\x00"), 400, "TLS");
    let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(1 << 20));
    let mut stream = connect(server.address());
    // The server stops listening in the middle of it.
    let _ = stream.write_all(long.as_bytes());
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    assert_eq!(get(server.address(), "/health", "").0, 200);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (server, _) = start();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for i in 0..300 {
        let mut stream = connect(server.address());
        if i % 3 == 1 {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        if i % 3 == 2 {
            // Unread bytes make the end a reset.
            let _ = stream.write_all(b"\0");
        }
    }
    assert_eq!(get(server.address(), "/health", "").0, 200);
    let begun = Instant::now();
    // Tests beside this one have connections of their own.
    while open() > before + 60 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} of {before}", open());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_taken_port_is_an_error_only_for_who_asked_for_it() {
    let (server, facts) = start();
    let again =
        |asked| Server::open_if_free(server.address(), asked, Settings::default(), facts.clone());
    assert_eq!(again(true).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    assert!(again(false).unwrap().is_none());
}

#[test]
fn the_port_is_free_when_the_server_is_gone() {
    let (server, _) = start();
    let address = server.address();
    let idle = connect(address);
    drop(server);
    // No connection is taken any more.
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
}
