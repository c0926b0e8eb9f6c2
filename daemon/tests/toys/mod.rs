//! A toy service for the tests of the loops. A request is its length (4 bytes, of what follows), one
//! letter, and a body; an answer is its length and its body.
//!
//! `e` the body; `s` "skipped": the body is thrown away as it comes; `b` as many `x` as the body's number says; `c` "ok", when it is on the disk; `w`
//! waits so many milliseconds; `k` is known from here on; `q` "bye", and the end; `p` panics; `t` as
//! `e`, but its turn is over.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use holdfastd::net::{Advance, Config, Conversation, Host, Listener, Loops, Next, Running};

/// The service, and what it saw.
pub struct Toy {
    pub per_turn: u32,
    /// The greeting panics: a fault outside of all conversations.
    pub rude: bool,
    pub known: bool,
    pub commit_takes: Duration,
    pub commit_works: AtomicBool,
    pub commits: AtomicU64,
    pub committing: AtomicUsize,
    pub committing_most: AtomicUsize,
    pub ended: AtomicUsize,
    pub advances: AtomicUsize,
    pub greeted: AtomicUsize,
    /// Most hints that came at once.
    pub foreseen_most: AtomicUsize,
}

impl Default for Toy {
    fn default() -> Toy {
        Toy {
            per_turn: 1000,
            rude: false,
            known: true,
            commit_takes: Duration::ZERO,
            commit_works: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            committing: AtomicUsize::new(0),
            committing_most: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            advances: AtomicUsize::new(0),
            greeted: AtomicUsize::new(0),
            foreseen_most: AtomicUsize::new(0),
        }
    }
}

/// One connection's.
pub struct Talk {
    toy: Arc<Toy>,
    known: bool,
    closing: bool,
    /// What the loop was told to wait for.
    wanted: usize,
    /// Bytes that are thrown away, and requests that had some.
    skip: usize,
    skips: u64,
}

/// What the toy is a host through: tests keep the inside.
pub struct Served(pub Arc<Toy>);

impl Host for Served {
    type Talk = Talk;

    fn greet(&self, _listener: usize, _thread: usize, _peer: &str) -> Talk {
        self.0.greeted.fetch_add(1, SeqCst);
        assert!(!self.0.rude, "the toy is to be rude");
        let toy = self.0.clone();
        Talk { toy, known: self.0.known, closing: false, wanted: 1, skip: 0, skips: 0 }
    }

    fn foresee(&self, hints: &[&[u8]]) {
        self.0.foreseen_most.fetch_max(hints.len(), SeqCst);
    }

    fn commit(&self) -> bool {
        let now = self.0.committing.fetch_add(1, SeqCst) + 1;
        self.0.committing_most.fetch_max(now, SeqCst);
        std::thread::sleep(self.0.commit_takes);
        self.0.commits.fetch_add(1, SeqCst);
        self.0.committing.fetch_sub(1, SeqCst);
        self.0.commit_works.load(SeqCst)
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn answer(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
}

impl Conversation for Talk {
    type Hint<'a> = &'a [u8];

    fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Advance {
        self.toy.advances.fetch_add(1, SeqCst);
        assert!(input.len() >= self.wanted, "called without what it waits for");
        self.wanted = 0;
        let mut used = 0;
        let mut commit = None;
        let mut left = self.toy.per_turn;
        let next = loop {
            if self.closing {
                break Next::Close;
            }
            if left == 0 || out.len() >= 256 << 10 {
                break Next::Again;
            }
            left -= 1;
            if self.skip > 0 {
                let here = self.skip.min(input.len() - used);
                (self.skip, used) = (self.skip - here, used + here);
                match self.skip {
                    0 => answer(out, b"skipped"),
                    _ => break Next::Read { wanted: 1 },
                }
            }
            let rest = &input[used..];
            if let [_, _, _, _, b's', ..] = rest {
                (self.skip, self.skips) = (number(&rest[..4]) - 1, self.skips + 1);
                used += 5;
                continue;
            }
            let wanted = match rest.get(..4) {
                None => 4,
                Some(length) => 4 + number(length),
            };
            if rest.len() < wanted || wanted == 4 {
                self.wanted = wanted;
                break Next::Read { wanted };
            }
            used += wanted;
            let body = &rest[5..wanted];
            match rest[4] {
                b'e' => answer(out, body),
                b't' => {
                    answer(out, body);
                    left = 0;
                }
                b'b' => answer(out, &vec![b'x'; number(body)]),
                b'w' => {
                    std::thread::sleep(Duration::from_millis(number(body) as u64));
                    answer(out, b"waited");
                }
                b'k' => {
                    self.known = true;
                    answer(out, b"welcome");
                }
                b'c' => {
                    commit.get_or_insert(out.len());
                    answer(out, b"ok");
                }
                b'q' => {
                    answer(out, b"bye");
                    self.closing = true;
                }
                _ => panic!("the toy was asked to"),
            }
        };
        match commit {
            Some(from) => {
                self.wanted = 0;
                Advance { used, next: Next::Commit { from } }
            }
            None => Advance { used, next },
        }
    }

    fn hint<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        let (letter, body) = input.get(4..)?.split_first()?;
        assert!(*letter != b'p', "the toy was asked to");
        Some(body)
    }

    fn ended(&mut self) {
        self.toy.ended.fetch_add(1, SeqCst);
    }

    fn is_known(&self) -> bool {
        self.known
    }

    fn under_way(&self) -> Option<u64> {
        (self.skip > 0).then_some(self.skips)
    }
}

/// A request's bytes.
pub fn request(letter: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 1).unwrap().to_be_bytes().to_vec();
    bytes.push(letter);
    bytes.extend_from_slice(body);
    bytes
}

/// A request for `bytes` bytes.
pub fn big(bytes: u32) -> Vec<u8> {
    request(b'b', &bytes.to_be_bytes())
}

/// One answer.
pub fn read_answer(from: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    from.read_exact(&mut length).expect("an answer");
    let mut body = vec![0; number(&length)];
    from.read_exact(&mut body).expect("the whole answer");
    body
}

/// Asks and hears.
pub fn ask(stream: &mut (impl Read + Write), letter: u8, body: &[u8]) -> Vec<u8> {
    stream.write_all(&request(letter, body)).expect("to be heard");
    read_answer(stream)
}

pub fn local() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
}

/// Loops that run on one TCP port.
pub struct Server {
    pub running: Running,
    pub toy: Arc<Toy>,
    pub address: SocketAddr,
}

pub fn serve(config: Config, toy: Toy) -> Server {
    let listener = Listener::tcp(local(), 1024).unwrap();
    let address = listener.bound().unwrap();
    serve_on(config, toy, vec![listener], address)
}

pub fn serve_on(config: Config, toy: Toy, listeners: Vec<Listener>, address: SocketAddr) -> Server {
    let toy = Arc::new(toy);
    let running = Loops::start(config, listeners, Arc::new(Served(toy.clone()))).unwrap();
    Server { running, toy, address }
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Ends the loops; they have to end well.
    pub fn end(self) {
        self.running.stop();
        assert!(self.running.joined(), "no thread panicked");
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// One or two loops, as the tests want them: deadlines as by default.
pub fn config(threads: usize) -> Config {
    Config { threads, max_connections: 10_000, ..Config::default() }
}

/// Waits until it is so; panics when it takes too long.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How the connection ends from our side: with an end, or with a reset. Reads what still comes.
pub fn read_to_end(stream: &mut impl Read) -> (Vec<u8>, std::io::Result<usize>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    (bytes, end)
}

/// Bytes of this process that are in memory.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// A client that sends what it likes and reads when it likes; all of it by its number.
pub fn capricious(mut stream: socket2::Socket, mut seed: u64) {
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..12u32 {
        let mut bytes = Vec::new();
        let mut expected: Vec<Vec<u8>> = Vec::new();
        for _ in 0..=next(20) {
            let size = match next(4) {
                0 => next(3_000_000),
                1 => next(200_000),
                _ => next(300),
            };
            let size = u32::try_from(size).unwrap();
            match next(6) {
                0 => {
                    bytes.extend(big(size));
                    expected.push(vec![b'x'; size as usize]);
                }
                1 => {
                    bytes.extend(request(b'c', b""));
                    expected.push(b"ok".to_vec());
                }
                2 => {
                    bytes.extend(request(b't', &round.to_be_bytes()));
                    expected.push(round.to_be_bytes().to_vec());
                }
                _ => {
                    let body = vec![next(256) as u8; (size / 4) as usize];
                    bytes.extend(request(b'e', &body));
                    expected.push(body);
                }
            }
        }
        let mut writer = stream.try_clone().unwrap();
        let (piece, pause) = (1 + next(300_000) as usize, next(3));
        let writing = std::thread::spawn(move || {
            for piece in bytes.chunks(piece) {
                writer.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_millis(pause));
            }
        });
        for answer in expected {
            std::thread::sleep(Duration::from_millis(next(12).saturating_sub(8)));
            assert!(read_answer(&mut stream) == answer);
        }
        writing.join().unwrap();
    }
}
