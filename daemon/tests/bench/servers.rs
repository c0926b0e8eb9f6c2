//! Real servers for the tests, each in a directory of its own and ended with its value.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    /// A memcached on a unix socket. As root it wants to be told which user it is.
    pub fn memcached(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-t", "1", "-m", "32", "-s"]).arg(dir.path().join("s"));
        Self::start(dir, command.args(options), "s").expect("memcached must be installed")
    }

    /// A memcached on a free port of the loopback, and its port.
    pub fn memcached_on_a_port(options: &[&str]) -> (Self, u16) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ports");
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-t", "1", "-l", "127.0.0.1", "-p", "-1", "-U", "0"]);
        command.env("MEMCACHED_PORT_FILENAME", &file);
        let server =
            Self::start(dir, command.args(options), "ports").expect("memcached must be installed");
        let said = std::fs::read_to_string(file).unwrap();
        let port = said.lines().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap();
        (server, port.trim().parse().unwrap())
    }

    /// A Redis on a unix socket, where one is installed.
    pub fn redis(options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(dir.path().join("s")).arg("--dir").arg(dir.path());
        Self::start(dir, command.args(options), "s")
    }

    /// Starts it and waits until it has made the file that says that it listens.
    fn start(dir: TempDir, command: &mut Command, ready: &str) -> Option<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
        let server = Self { child, dir };
        let until = Instant::now() + Duration::from_secs(10);
        while !server.dir.path().join(ready).exists() {
            assert!(Instant::now() < until, "the server did not start");
            thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it something and returns the lines up to the last one of the answer.
    pub fn ask(&self, request: &str, last: &str) -> Vec<String> {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().starts_with(last) {
                break;
            }
        }
        lines
    }

    /// One of memcached's counters.
    pub fn stat(&self, name: &str) -> u64 {
        let start = format!("STAT {name} ");
        let lines = self.ask("stats\r\n", "END");
        lines.iter().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The command under test with these arguments, not started.
pub fn holdfast(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("bench").args(line.split_ascii_whitespace());
    command.env_remove("HOLDFAST_BENCH_PASSWORD");
    command
}

/// What the command says and how it ends.
pub fn bench(line: &str) -> Output {
    holdfast(line).output().unwrap()
}

/// The object that a run prints, which must be right.
#[track_caller]
pub fn measured(line: &str) -> serde_json::Value {
    let output = bench(&format!("{line} --json"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{line}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run must fail with 1, print no figures, and say all of this.
#[track_caller]
pub fn fails(line: &str, says: &[&str]) {
    let output = bench(line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    assert!(output.stdout.is_empty(), "{line} printed figures");
    for part in says {
        assert!(said.contains(part), "{line}: {said:?} does not say {part:?}");
    }
}
