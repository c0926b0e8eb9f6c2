//! Start and stop from outside. What changes a whole process is done by one: this program starts
//! itself again in one of the roles at the end of the file, which are tests that are ignored otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfastd::config::{Format, Log, Note};
use holdfastd::log;
use holdfastd::metrics::{Numbers, Style, page};
use holdfastd::service::background::enter;
use holdfastd::service::signals::{self, Order};
use holdfastd::service::systemd::{self, Inherited};
use holdfastd::service::{Role, identity, limits};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// This program in a role.
fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Where a role finds what its test prepared.
const PLACE: &str = "SERVICE_TEST_PLACE";

fn place() -> String {
    std::env::var(PLACE).expect("a role is started by its test")
}

/// What a role wrote to standard error, when it ended well.
fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {text}", output.status);
    text
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whoever_starts_a_server_in_the_background_waits_until_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let output = role("role_background").env(PLACE, dir.path()).output().unwrap();
    told(&output);
    // The starter has ended, the server has said who it is before that, and goes on after it.
    let text = std::fs::read_to_string(dir.path().join("serving")).unwrap();
    let numbers: Vec<i32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers[0], numbers[1], "it leads a session of its own");
    until("the server lives on", || dir.path().join("later").exists());
}

#[test]
fn a_server_that_fails_in_the_background_is_a_failed_start_with_its_error() {
    let output = role("role_background").env(PLACE, "/dev/null/none").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("the store cannot be opened"), "{text}");
}

#[test]
fn a_fault_is_told_with_its_place_and_without_what_it_says() {
    let text = told(&role("role_panic").output().unwrap());
    let line = text.lines().find(|line| line.contains("a fault in this program")).unwrap();
    assert!(line.contains("\"thread\":\"the-thread\"") && line.contains("service.rs"), "{line}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn the_service_manager_is_told_and_its_watchdog_pinged_while_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let output = role("role_notify")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000")
        .output()
        .unwrap();
    told(&output);
    let mut messages = vec![];
    let mut buffer = [0; 512];
    while let Ok(count) = socket.recv(&mut buffer) {
        messages.push(String::from_utf8_lossy(&buffer[..count]).trim_end().to_string());
    }
    let at = |begins: &str| {
        let found = messages.iter().position(|message| message.starts_with(begins));
        found.unwrap_or_else(|| panic!("{begins} in {messages:?}"))
    };
    assert_eq!(messages[at("READY=1")], "READY=1\nSTATUS=serving");
    assert!(messages[at("RELOADING=1")].contains("\nMONOTONIC_USEC="));
    let pings = |range: &[String]| range.iter().filter(|message| *message == "WATCHDOG=1").count();
    let ill = at("STATUS=ill");
    assert!(pings(&messages[..ill]) >= 2, "{messages:?}");
    // One may have been under way.
    assert!(pings(&messages[ill..]) <= 1, "{messages:?}");
    assert_eq!(messages.last().map(String::as_str), Some("STOPPING=1\nSTATUS=stopping"));
}

#[test]
fn sockets_of_the_service_manager_keep_their_names_and_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(dir.path().join("s")).unwrap();
    let own = role("role_inherit");
    let start = |pid: &str, tcp: &TcpListener, unix: &UnixListener| {
        // The shell puts its own number into LISTEN_PID, as the service manager does after its fork.
        let script = format!(
            "LISTEN_PID={pid} LISTEN_FDS=2 LISTEN_FDNAMES=memcached:http exec \"$@\" 3<&0 4<&1 1>&2"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(own.get_program()).args(own.get_args());
        let handles: (OwnedFd, OwnedFd) =
            (tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into());
        command.stdin(Stdio::from(handles.0)).stdout(Stdio::from(handles.1));
        command.stderr(Stdio::piped());
        command.output().unwrap()
    };
    let text = told(&start("$$", &tcp, &unix));
    assert!(text.contains(&format!("memcached tcp {address}\nhttp unix\n")), "{text}");
    let text = told(&start("1", &tcp, &unix));
    assert!(!text.contains("memcached tcp"), "meant for another process: {text}");
}

#[test]
fn signals_are_orders() {
    let dir = tempfile::tempdir().unwrap();
    let mut child: Child = role("role_signals").env(PLACE, dir.path()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let orders = || std::fs::read_to_string(dir.path().join("orders")).unwrap_or_default();
    until("it listens", || orders() == "listening\n");
    let mut expected = orders();
    for (signal, order) in [
        (Signal::HUP, "Reload"),
        (Signal::HUP, "Reload"),
        (Signal::USR1, "Stop"),
        (Signal::HUP, "Reload"),
        (Signal::TERM, "StopNow"),
    ] {
        kill_process(pid, signal).unwrap();
        expected = format!("{expected}{order}\n");
        until(&expected, || orders() == expected);
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn root_is_given_up_for_good() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give up being root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    let text = told(&role("role_nobody").env(PLACE, dir.path()).output().unwrap());
    assert!(text.contains("gave up root"), "{text}");
}

#[test]
fn descriptors_are_raised_or_the_way_out_is_said() {
    let text = told(&role("role_descriptors").output().unwrap());
    assert!(text.contains("raised"), "{text}");
}

#[test]
fn the_log_changes_its_level_under_way_and_outlives_its_reader() {
    let output = role("role_log").output().unwrap();
    let text = told(&output);
    let lines: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let said: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["warned", "at info", "at debug after verbosity 1", "info again"], "{text}");
    assert_eq!(lines[1]["connections"], 3);
    assert_eq!(lines[1]["level"], "INFO");
}

/// Everything of packaging/systemd, as systemd itself reads it.
#[test]
fn the_units_are_good() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let there = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if !there("systemd-analyze") {
        eprintln!("SKIPPED: systemd-analyze is not installed, the units are not verified");
        return;
    }
    // The binary may not be installed where the units name it: a copy names one that is.
    let dir = tempfile::tempdir().unwrap();
    for name in ["holdfast.service", "holdfast@.service", "holdfast.socket"] {
        let text = std::fs::read_to_string(units.join(name)).unwrap();
        let text = text.replace("/usr/bin/holdfastd", "/bin/true");
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let drop_in = dir.path().join("holdfast.service.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::copy(units.join("daemon-only.conf"), drop_in.join("daemon-only.conf")).unwrap();
    std::fs::copy(dir.path().join("holdfast@.service"), dir.path().join("holdfast@one.service"))
        .unwrap();
    for name in ["holdfast.service", "holdfast@one.service", "holdfast.socket"] {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(dir.path().join(name))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<_> = text.lines().filter(|line| line.contains("holdfast")).collect();
        assert!(output.status.success() && ours.is_empty(), "{name}: {text}");
    }
}

/// Users and directories, made in an empty root.
#[test]
fn users_and_directories_are_made() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let root = tempfile::tempdir().unwrap();
    let run = |program: &str, conf: &str| {
        let option = format!("--root={}", root.path().display());
        Command::new(program).arg(option).arg(units.join(conf).canonicalize().unwrap()).output()
    };
    let is_root = rustix::process::geteuid().is_root();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    match run("systemd-sysusers", "sysusers.d/holdfast.conf") {
        Ok(output) if is_root => {
            told(&output);
            let users = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
            assert!(users.contains("holdfast:"), "{users}");
        }
        _ => eprintln!("SKIPPED: no systemd-sysusers, or not root: sysusers.d is not tried"),
    }
    match Command::new("systemd-tmpfiles").arg("--version").output() {
        Ok(_) if is_root => {
            let conf = units.join("tmpfiles.d/holdfast.conf").canonicalize().unwrap();
            let option = format!("--root={}", root.path().display());
            let output = Command::new("systemd-tmpfiles")
                .args(["--create", &option])
                .arg(conf)
                .output()
                .unwrap();
            told(&output);
            for (made, mode) in [("holdfast", 0o755), ("holdfast/shared", 0o2770)] {
                let made = std::fs::metadata(root.path().join("var/lib").join(made)).unwrap();
                assert_eq!(made.permissions().mode() & 0o7777, mode);
            }
        }
        _ => eprintln!("SKIPPED: no systemd-tmpfiles, or not root: tmpfiles.d is not tried"),
    }
}

#[test]
#[ignore = "a role"]
fn role_background() {
    let place = place();
    match enter(true).unwrap() {
        Role::Starter(code) => std::process::exit(code.into()),
        Role::Server(announcer) => {
            let pid = std::process::id();
            let session = rustix::process::getsid(None).unwrap().as_raw_nonzero();
            let file = Path::new(&place).join("serving");
            if std::fs::write(file, format!("{pid} {session}")).is_err() {
                eprintln!("the store cannot be opened");
                std::process::exit(1);
            }
            announcer.serving(true).unwrap();
            eprintln!("nobody hears this, and it is no error");
            std::thread::sleep(Duration::from_millis(300));
            std::fs::write(Path::new(&place).join("later"), "").unwrap();
            std::process::exit(0);
        }
    }
}

#[test]
#[ignore = "a role"]
fn role_notify() {
    systemd::ready("serving");
    systemd::reloading();
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let watchdog = systemd::watchdog(move || asked.load(Ordering::SeqCst)).expect("watched");
    std::thread::sleep(Duration::from_millis(300));
    well.store(false, Ordering::SeqCst);
    systemd::status("ill");
    std::thread::sleep(Duration::from_millis(300));
    drop(watchdog);
    systemd::stopping("stopping");
}

#[test]
#[ignore = "a role"]
fn role_inherit() {
    for socket in systemd::inherited().unwrap() {
        match socket {
            Inherited::Tcp(name, socket) => {
                eprintln!("{name} tcp {}", socket.local_addr().unwrap());
            }
            Inherited::Unix(name, _) => eprintln!("{name} unix"),
        }
    }
}

#[test]
#[ignore = "a role"]
fn role_signals() {
    let file = Path::new(&place()).join("orders");
    let (sender, ended) = crossbeam_channel::bounded(1);
    let mut text = String::from("listening\n");
    let orders = file.clone();
    let _listening = signals::listen(move |order| {
        text = format!("{text}{order:?}\n");
        std::fs::write(&orders, &text).unwrap();
        if order == Order::StopNow {
            sender.send(()).unwrap();
        }
    })
    .unwrap();
    std::fs::write(file, "listening\n").unwrap();
    ended.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
#[ignore = "a role"]
fn role_nobody() {
    let place = place();
    let secret = Path::new(&place).join("secret");
    assert!(std::fs::read(&secret).is_ok());
    let nobody = identity::choose(Some("nobody"), Path::new(&place)).unwrap().unwrap();
    nobody.assume().unwrap();
    assert!(!rustix::process::geteuid().is_root() && !rustix::process::getgid().is_root());
    assert!(!rustix::process::getgroups().unwrap().iter().any(|group| group.is_root()));
    assert!(std::fs::read(&secret).is_err(), "the directory is root's alone");
    limits::no_new_privileges();
    limits::core_files(false);
    assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    // What is kept from others is still there for ourselves.
    let metrics = page(&Numbers::default(), true, Style::Plain);
    assert!(metrics.contains("\nprocess_open_fds "), "{metrics}");
    eprintln!("gave up root");
}

#[test]
#[ignore = "a role"]
fn role_log() {
    let config = Log { level: "info", format: Format::Auto, filter: None };
    let levels = log::start(&config).unwrap();
    log::tell(&[Note::warning("warned"), Note::debug("not told")]);
    tracing::info!(target: "holdfastd::x", connections = 3, "at info");
    tracing::debug!(target: "holdfastd::x", "not at debug");
    levels.verbosity(1);
    tracing::debug!(target: "holdfastd::x", "at debug after verbosity 1");
    tracing::info!(target: "mio::poll", "other people's");
    levels.verbosity(0);
    tracing::info!(target: "holdfastd::x", "info again");
    assert!(log::start(&config).is_err(), "one log a process");
    // Nobody reads any more: writing fails, and nothing else does.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    rustix::stdio::dup2_stderr(&writer).unwrap();
    tracing::warn!("unheard");
}

#[test]
#[ignore = "a role"]
fn role_panic() {
    log::start(&Log { level: "info", format: Format::Json, filter: None }).unwrap();
    log::tell_panics();
    let run = || panic!("what it met: {}", "s3cret");
    let thread = std::thread::Builder::new().name("the-thread".into()).spawn(run).unwrap();
    assert!(thread.join().is_err());
}

#[test]
#[ignore = "a role"]
fn role_descriptors() {
    let few = Rlimit { current: Some(100), maximum: Some(1000) };
    setrlimit(Resource::Nofile, few).unwrap();
    limits::descriptors(10, 1).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, Some(100), "enough is enough");
    limits::descriptors(500, 2).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, Some(572));
    let nobody = identity::choose(Some("nobody"), Path::new("/")).unwrap();
    if let Some(nobody) = nobody {
        nobody.assume().unwrap();
    }
    let error = limits::descriptors(2000, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "2000 connections (-c) need 2068 open files, and this process may have 1000: raise \
         LimitNOFILE= of the unit or `ulimit -n`, or lower -c"
    );
    eprintln!("raised");
}
