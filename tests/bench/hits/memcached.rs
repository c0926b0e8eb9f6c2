//! The real memcached, started here on a socket in a directory of its own and ended with the value.
//! Requests go out in batches, so that the socket does not set the pace.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_tests::dir;
use holdfast_tests::measure::{is_signed, sign};

use crate::policy::Score;
use crate::trace::{Request, Trace};

/// Requests of one batch.
const BATCH: usize = 32;

pub struct Memcached {
    server: Child,
    to: UnixStream,
    from: BufReader<UnixStream>,
    _dir: tempfile::TempDir,
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Its version, if there is one on this machine.
pub fn version() -> Option<String> {
    let said = Command::new("memcached").arg("-V").output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

impl Memcached {
    pub fn start(mib: u64) -> Memcached {
        let dir = dir();
        let socket = dir.path().join("socket");
        let server = Command::new("memcached")
            .args(["-m", &mib.to_string(), "-t", "1", "-u", "root", "-s"])
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached");
        let begun = Instant::now();
        let to = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(e) if begun.elapsed() > Duration::from_secs(10) => panic!("memcached: {e}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        to.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit for answers");
        let from = BufReader::with_capacity(1 << 18, to.try_clone().expect("the other direction"));
        Memcached { server, to, from, _dir: dir }
    }

    /// The score, and the memory that its values took in the end, bytes. Without lifetimes: its
    /// clock cannot be moved.
    pub fn play(mut self, trace: &Trace) -> (Score, u64) {
        let (mut score, mut value, mut out) = (Score::default(), vec![7; 1 << 16], Vec::new());
        for batch in trace.requests.chunks(BATCH) {
            out.clear();
            for request in batch {
                write!(out, "get {}\r\n", request.id).expect("memory");
            }
            self.to.write_all(&out).expect("memcached reads");
            out.clear();
            for (n, request) in batch.iter().enumerate() {
                let found = self.answer(trace, request, &mut value);
                // Asked twice in a batch, an object would have been there the second time.
                let hit = found || batch[..n].iter().any(|before| before.id == request.id);
                score.add(request.counted, hit);
                if request.writes || !hit {
                    let len = trace.sizes.of(request.id);
                    sign(&mut value[..len], request.id as u64);
                    write!(out, "set {} 0 0 {len} noreply\r\n", request.id).expect("memory");
                    out.extend_from_slice(&value[..len]);
                    out.extend_from_slice(b"\r\n");
                }
            }
            self.to.write_all(&out).expect("memcached reads");
        }
        let bytes = self.bytes();
        (score, bytes)
    }

    /// Of the last lines of its slab statistics.
    fn bytes(&mut self) -> u64 {
        self.to.write_all(b"stats slabs\r\n").expect("memcached reads");
        let lines = self.from.by_ref().lines().map(|line| line.expect("statistics"));
        let lines: Vec<String> = lines.take_while(|line| line != "END").collect();
        let total = lines.iter().find_map(|line| line.strip_prefix("STAT total_malloced "));
        total.and_then(|bytes| bytes.parse().ok()).expect("how much memcached took")
    }

    /// `VALUE key flags length`, the value, `END`; or `END` alone.
    fn answer(&mut self, trace: &Trace, request: &Request, value: &mut [u8]) -> bool {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("an answer of memcached");
        if line == "END\r\n" {
            return false;
        }
        let len = trace.sizes.of(request.id);
        assert_eq!(line.trim_end(), format!("VALUE {} 0 {len}", request.id));
        let rest = &mut value[..len + b"\r\nEND\r\n".len()];
        self.from.read_exact(rest).expect("a value of memcached");
        assert!(is_signed(&rest[..len], request.id as u64, len), "object {}", request.id);
        assert!(rest.ends_with(b"\r\nEND\r\n"), "after object {}", request.id);
        true
    }
}
