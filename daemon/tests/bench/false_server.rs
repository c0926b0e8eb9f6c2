//! A small text server that does what it is told to do wrong, and remembers what it was asked.
//!
//! One thread per connection, each until the other side closes; it listens on a unix socket in a
//! directory of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// What is wrong with the server, from its hundredth get on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The value of the key that was set before this one.
    OtherKey,
    /// One bit in the middle of a value.
    FlippedBit,
    /// The first half of the value and the second half of another.
    Torn,
    /// A value without its last byte, and a length that says so.
    Shorter,
    /// The key of another value before the right value.
    OtherName,
    /// Half an answer, and then the end of the connection.
    HalfAnswer,
    /// `ERROR` instead of an answer.
    Error,
    /// A refusal that passes.
    OutOfMemory,
    /// Nothing at all, while the connection stays open.
    Silence,
    /// A single pause of this many milliseconds.
    Pause(u64),
}

/// The server, its address, and what came.
pub struct FalseServer {
    dir: TempDir,
    state: Arc<State>,
}

struct State {
    lie: Lie,
    values: Mutex<HashMap<String, Vec<u8>>>,
    gets: Mutex<Vec<String>>,
    accepted: AtomicUsize,
}

impl FalseServer {
    pub fn start(lie: Lie) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let state = Arc::new(State {
            lie,
            values: Mutex::default(),
            gets: Mutex::default(),
            accepted: AtomicUsize::new(0),
        });
        let server = Self { dir, state: state.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = state.clone();
                state.accepted.fetch_add(1, Ordering::SeqCst);
                // The other side may be gone at any time: that ends this conversation only.
                thread::spawn(move || converse(&state, stream.unwrap()).ok());
            }
        });
        server
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.dir.path().join("s").display())
    }

    /// The keys of all gets, in the order in which they came.
    pub fn gets(&self) -> Vec<String> {
        self.state.gets.lock().unwrap().clone()
    }

    /// How many connections were ever made.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

fn converse(state: &State, mut stream: UnixStream) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["version"] => stream.write_all(b"VERSION 0.0.0\r\n")?,
            ["set", key, _, _, length] => {
                let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
                input.read_exact(&mut value)?;
                value.truncate(value.len() - 2);
                state.values.lock().unwrap().insert(key.to_owned(), value);
                stream.write_all(b"STORED\r\n")?;
            }
            ["get", key] => {
                let answer = answer(state, key);
                stream.write_all(&answer)?;
                if state.lie == Lie::HalfAnswer && !answer.ends_with(b"END\r\n") {
                    return Ok(());
                }
            }
            _ => stream.write_all(b"ERROR\r\n")?,
        }
        line.clear();
    }
    Ok(())
}

fn answer(state: &State, key: &str) -> Vec<u8> {
    let number = {
        let mut gets = state.gets.lock().unwrap();
        gets.push(key.to_owned());
        gets.len()
    };
    let values = state.values.lock().unwrap();
    let own = values[key].clone();
    let other = values.iter().find(|(name, _)| *name != key).unwrap();
    let said = |name: &str, value: &[u8]| {
        let line = format!("VALUE {name} 0 {}\r\n", value.len());
        [line.as_bytes(), value, b"\r\nEND\r\n"].concat()
    };
    let half = own.len() / 2;
    match state.lie {
        _ if number < 100 => said(key, &own),
        Lie::None => said(key, &own),
        Lie::OtherKey => said(key, other.1),
        Lie::FlippedBit => {
            let mut value = own;
            value[half] ^= 0x10;
            said(key, &value)
        }
        Lie::Torn => said(key, &[&own[..half], &other.1[half..]].concat()),
        Lie::Shorter => said(key, &own[..own.len() - 1]),
        Lie::OtherName => said(other.0, &own),
        Lie::HalfAnswer => said(key, &own)[..half].to_vec(),
        Lie::Error => b"ERROR\r\n".to_vec(),
        Lie::OutOfMemory if number == 100 => b"SERVER_ERROR out of memory\r\n".to_vec(),
        Lie::Silence => Vec::new(),
        Lie::Pause(milliseconds) if number == 100 => {
            thread::sleep(Duration::from_millis(milliseconds));
            said(key, &own)
        }
        Lie::OutOfMemory | Lie::Pause(_) => said(key, &own),
    }
}
