//! The same as `store/histories.rs` through the daemon: connections that ask anything of a few
//! keys, a process beside them that has the store open itself, and SIGKILL for the daemon in the
//! middle of it; then the whole history is judged.
//!
//! It would catch an answer that was sent before what it says was done, a request that is carried
//! out twice or after its server's death, answers in the wrong order, an option of a verb that one
//! dialect (text, meta, binary) drops, and two views of one store. It cannot show what needs a power cut, and leaves
//! session locks over the wire to `tests/daemon/clients.py`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use holdfast::Options;
use holdfast_tests::clients::{Client, Habits};
use holdfast_tests::history::{Notes, Op, filling};
use holdfast_tests::killing::now_ns;
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::wire::WireClient;
use holdfast_tests::{Rng, linear, memory_dir, open, seed, size};

const LINES: usize = 220;
const CLIENTS: usize = 16;
/// The first of those that are inside.
const INSIDE: usize = 8;
const STUCK: Duration = Duration::from_secs(60);

/// The daemon that was built with this test, or the one that is named.
fn program() -> Option<PathBuf> {
    if let Ok(named) = std::env::var("HOLDFASTD") {
        return Some(named.into());
    }
    let here = Path::new(env!("CARGO_BIN_EXE_holdfast-worker"));
    let targets = here.parent()?.parent()?;
    let built = |profile| {
        let path = targets.join(profile).join("holdfastd");
        let at: SystemTime = path.metadata().ok()?.modified().ok()?;
        Some((at, path))
    };
    ["debug", "release"].into_iter().filter_map(built).max().map(|(_, path)| path)
}

/// Starts it on the store; it answers a little later.
#[expect(clippy::zombie_processes, reason = "its end is waited for by its number")]
fn start(program: &Path, place: &Path) -> Pid {
    let log = std::fs::File::options().create(true).append(true).open(place.join("log"));
    let log = log.expect("a log");
    let mut command = Command::new(program);
    // SAFETY: geteuid has no conditions.
    if unsafe { libc::geteuid() } == 0 {
        command.args(["-u", "root"]);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
    command
        .args(["--http-listen", "off", "--threads", "2", "-a", "0700", "-s"])
        .arg(place.join("socket"))
        .arg("--store")
        .arg(place.join("store"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log);
    // SAFETY: sets one attribute of the new process: it ends with this one.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    Pid(child.id() as i32)
}

fn store_of(place: &Path) -> holdfast::Store {
    let options =
        Options { create: true, max_bytes: Some(16 << 20), thread: false, ..Options::default() };
    open(&place.join("store"), &options)
}

struct Play<'a> {
    program: &'a Path,
    place: &'a Path,
    notes: &'a Notes,
    keys: Vec<String>,
    habits: Habits,
    rng: Rng,
    server: Pid,
    /// When each server, and the process inside, was known to be dead.
    servers_dead: Vec<u64>,
    inside_dead: u64,
    /// Answers in the binary dialect.
    packets: u64,
}

impl Play<'_> {
    fn play(&mut self) -> Vec<Op> {
        let (begun, over) = (Instant::now(), process::shared(1));
        let (breaks, packets) = (process::shared(INSIDE), process::shared(INSIDE));
        let (threads, seed) = (2 + self.rng.below(4) as usize, self.rng.next());
        let wire = process::fork(|| {
            self.live(0..threads, |number| {
                let socket = self.place.join("socket");
                let page = self.notes.page(number);
                let mut client =
                    WireClient::new(&socket, page, &self.keys, self.habits, (number, seed));
                let over = || over[0].load(Ordering::SeqCst) != 0;
                while page.has_room() && !over() && client.act(&over) {}
                breaks[number].store(client.breaks, Ordering::SeqCst);
                packets[number].store(client.packets, Ordering::SeqCst);
            });
        });
        let inside_threads = self.rng.below(3) as usize;
        let inside = process::fork(|| {
            let store = store_of(self.place);
            let keys: Vec<Vec<u8>> = self.keys.iter().map(|key| key.clone().into_bytes()).collect();
            self.live(INSIDE..INSIDE + inside_threads, |number| {
                let page = self.notes.page(number);
                let mut client = Client::new(&store, page, &keys, self.habits, (number, seed));
                while page.has_room() && over[0].load(Ordering::SeqCst) == 0 {
                    client.act();
                    // It leaves half of the lines to the others, who are slower.
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        });
        let mut kills: Vec<usize> =
            (0..1 + self.rng.below(2)).map(|_| self.rng.below(LINES as u64) as usize).collect();
        let dies_inside = self.rng.one_in(3).then(|| self.rng.below(LINES as u64) as usize);
        let mut inside_ended = None;
        while self.notes.count() < LINES && !self.notes_are_full(threads) {
            let count = self.notes.count();
            if let Some(at) = kills.iter().position(|kill| count >= *kill) {
                kills.swap_remove(at);
                self.restart();
            }
            if inside_ended.is_none() && dies_inside.is_some_and(|at| count >= at) {
                inside.signal(libc::SIGKILL);
                inside_ended = Some(inside.wait(STUCK));
                self.inside_dead = now_ns();
            }
            assert!(begun.elapsed() < STUCK, "stuck");
            assert_eq!(self.server.ended(), None, "the server ended");
            std::thread::sleep(Duration::from_micros(100));
        }
        over[0].store(1, Ordering::SeqCst);
        assert_eq!(wire.wait(STUCK), Ended::Exit(0), "the clients");
        // A server that is killed ends a connection, and one that waits to be taken; nothing else does.
        let most = 2 * self.servers_dead.len() as u64;
        assert!(breaks.iter().all(|it| it.load(Ordering::SeqCst) <= most), "a connection ended");
        self.packets = packets.iter().map(|it| it.load(Ordering::SeqCst)).sum();
        if inside_ended.is_none() {
            assert_eq!(inside.wait(STUCK), Ended::Exit(0), "the process inside");
            self.inside_dead = now_ns();
        }
        self.gather()
    }

    fn live(&self, clients: std::ops::Range<usize>, run: impl Fn(usize) + Sync) {
        std::thread::scope(|scope| {
            let run = &run;
            clients.for_each(|number| drop(scope.spawn(move || run(number))));
        });
    }

    fn notes_are_full(&self, threads: usize) -> bool {
        (0..threads).all(|client| !self.notes.page(client).has_room())
    }

    fn restart(&mut self) {
        self.server.signal(libc::SIGKILL);
        assert_eq!(self.server.wait(STUCK), Ended::Signal(libc::SIGKILL));
        self.servers_dead.push(now_ns());
        std::thread::sleep(Duration::from_micros(self.rng.below(4_000)));
        self.server = start(self.program, self.place);
    }

    /// What has no answer over the wire went to a server that died; what was asked when the last one
    /// was dead already, on a connection to it, went nowhere.
    fn gather(&self) -> Vec<Op> {
        let wire = (0..INSIDE).flat_map(|client| self.notes.gather(client, &self.servers_dead));
        let wire = wire.filter(|op| op.answer.is_some() || op.end != u64::MAX);
        let inside = INSIDE..CLIENTS;
        let inside = inside.flat_map(|client| self.notes.gather(client, &[self.inside_dead]));
        wire.chain(inside).collect()
    }
}

#[test]
fn one_order_explains_every_answer_of_the_daemon() {
    let Some(program) = program() else {
        println!(
            "SKIPPED: there is no holdfastd beside this test; cargo build -p holdfastd makes it"
        );
        return;
    };
    println!("{}", program.display());
    let seed = seed("daemon histories");
    let histories = size("HOLDFAST_DAEMON_HISTORIES", 200);
    let mut rng = Rng::new(seed);
    let (notes, dir) = (Notes::new(CLIENTS), memory_dir());
    filling(0, 13);
    std::fs::create_dir(dir.path().join("store")).expect("a directory");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(dir.path().join("store"), private).expect("chmod");
    assert_eq!(process::fork(|| drop(store_of(dir.path()))).wait(STUCK), Ended::Exit(0));
    let mut server = start(&program, dir.path());
    let (mut lines, mut wire_lines, mut kills, mut unanswered, mut packets) = (0, 0, 0, 0, 0);
    for number in 0..histories {
        notes.clear();
        let keys = (0..2 + rng.below(4)).map(|n| format!("history.{number}.{n}")).collect();
        let mut play = Play {
            program: &program,
            place: dir.path(),
            notes: &notes,
            keys,
            habits: Habits { longest: 60_000, flushes: rng.one_in(4), ..Habits::default() },
            rng: Rng::new(rng.next()),
            server,
            servers_dead: Vec::new(),
            inside_dead: 0,
            packets: 0,
        };
        let ops = play.play();
        server = play.server;
        kills += play.servers_dead.len();
        packets += play.packets;
        lines += ops.len();
        wire_lines += ops.iter().filter(|op| op.client < INSIDE).count();
        unanswered += ops.iter().filter(|op| op.answer.is_none()).count();
        for key in 0..play.keys.len() {
            let ops = ops.iter().filter(|op| op.asked.key == key).copied().collect();
            if let Err(why) = linear::judge(ops, false) {
                panic!("history {number} of seed {seed}, key {key}: {why}");
            }
        }
    }
    println!(
        "{histories} histories: {lines} operations, {wire_lines} of them over the wire, {packets} \
         answers in the binary dialect, {kills} servers killed, {unanswered} operations without an \
         answer"
    );
    server.signal(libc::SIGKILL);
    server.wait(STUCK);
    assert!(lines as u64 >= histories * 200, "histories too short to show anything");
    assert!(packets >= histories * 10, "too little of the binary dialect to show anything");
    assert!(kills as u64 >= histories / 2, "too few deaths to show anything");
}
