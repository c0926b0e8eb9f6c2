//! The program itself under what befalls a server: its store taken away, another process of the
//! same store stopped in the middle, nothing but numbers asked of it. Each test starts its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A private directory for a store, and a place beside it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).unwrap();
    (dir, store)
}

/// The program, serving.
struct Daemon {
    process: Child,
    /// What it serves on; none if it has no port.
    port: Option<SocketAddr>,
    admin: SocketAddr,
    log: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(store: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    command.args(["-u", "root", "-t", "1", "--log-format", "pretty"]);
    command.args(["--http-listen", "127.0.0.1:0", "--store"]).arg(store).args(flags);
    command.env_remove("HOLDFAST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Daemon {
    fn start(store: &Path, name: &str, flags: &[&str]) -> Daemon {
        let log = store.with_file_name(name);
        let file = std::fs::File::create(&log).unwrap();
        let mut process = command(store, flags).stderr(file).spawn().unwrap();
        let begun = Instant::now();
        loop {
            let told = std::fs::read_to_string(&log).unwrap();
            let line = told.lines().find(|line| line.contains("admin on ")).map(str::to_owned);
            if let Some(line) = line {
                let mut addresses = line.split([' ', ',']).filter_map(|word| word.parse().ok());
                let first = addresses.next().unwrap();
                let (port, admin) = match addresses.next() {
                    Some(admin) => (Some(first), admin),
                    None => (None, first),
                };
                return Daemon { process, port, admin, log };
            }
            assert!(process.try_wait().unwrap().is_none(), "{told}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{told}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.port.unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        BufReader::new(stream)
    }

    /// A page of the admin port, head and all.
    fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn ended(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < within, "{}", std::fs::read_to_string(&self.log).unwrap());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One line for one line (a set's block is part of it).
fn ask(client: &mut BufReader<TcpStream>, request: &str) -> String {
    client.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn numbers_alone_are_worth_a_server() {
    let (_dir, store) = place();
    let mut daemon = Daemon::start(&store, "log", &["-p", "0"]);
    assert_eq!(daemon.port, None);
    assert!(daemon.page("/metrics").contains("\nholdfast_store_keys 0\n"));
    daemon.signal(Signal::TERM);
    assert!(daemon.ended(Duration::from_secs(20)).success());
}

#[test]
fn a_store_that_is_taken_away_ends_the_server_and_one_that_comes_back_does_not() {
    let (_dir, store) = place();
    let away = store.with_file_name("away");
    let mut daemon = Daemon::start(&store, "log", &["-p", "-1"]);
    let ready = |daemon: &Daemon| daemon.page("/ready").starts_with("HTTP/1.1 200");
    assert!(ready(&daemon));
    std::fs::rename(&store, &away).unwrap();
    until("it says so", || !ready(&daemon));
    std::fs::rename(&away, &store).unwrap();
    until("it has recovered", || ready(&daemon));
    assert_eq!(ask(&mut daemon.connect(), "set a 0 0 1\r\n1\r\n"), "STORED");
    // Another takes its place: whoever opens the store now does not see what is written here.
    std::fs::rename(&store, &away).unwrap();
    std::fs::create_dir(&store).unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).unwrap();
    let other = Daemon::start(&store, "other", &["-p", "-1"]);
    let status = daemon.ended(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1));
    assert!(ready(&other));
}

#[test]
fn a_process_that_is_stopped_in_the_middle_of_a_write_does_not_stop_this_one() {
    let (_dir, store) = place();
    let stopped = Daemon::start(&store, "log", &["-p", "-1"]);
    let lively = Daemon::start(&store, "other", &["-p", "-1"]);
    let keys = || (0..400).map(|key| format!("set w{key} 0 0 1 noreply\r\n1\r\n"));
    let batch = keys().collect::<String>() + "mn\r\n";
    let mut busy = stopped.connect();
    let flood = thread::spawn({
        let batch = batch.clone();
        move || {
            // Until its server is gone.
            let mut line = String::new();
            while busy.get_mut().write_all(batch.as_bytes()).is_ok() {
                line.clear();
                if !busy.read_line(&mut line).is_ok_and(|count| count > 0) {
                    return;
                }
            }
        }
    });
    let (mut writer, mut reader) = (lively.connect(), lively.connect());
    assert_eq!(ask(&mut reader, "set mine 0 0 1\r\n1\r\n"), "STORED");
    for _ in 0..20 {
        stopped.signal(Signal::STOP);
        let begun = Instant::now();
        writer.get_mut().write_all(batch.as_bytes()).unwrap();
        // Beside the writer, who waits for what the stopped one holds.
        assert_eq!(ask(&mut reader, "mg mine\r\n"), "HD");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let mut line = String::new();
        while line.trim_end() != "MN" {
            line.clear();
            writer.read_line(&mut line).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        stopped.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(10));
    }
    drop(stopped);
    flood.join().unwrap();
}

#[test]
fn a_failed_start_says_why_once() {
    let (_dir, store) = place();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = command(&store, &["-p", "-1"]).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told.matches("others could read or forge sessions there").count(), 1, "{told}");
}
