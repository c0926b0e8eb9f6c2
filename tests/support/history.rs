//! What many clients did to one store, noted so that no death loses a line.
//!
//! Each client is a thread and has a page of memory that its process shares with the test. It
//! notes what it asks before it asks, and the answer after it came; both are plain stores, so what
//! was noted before a SIGKILL is there after it. The test gathers the pages into histories for
//! `linear`, which judges them; nothing is judged here.
//!
//! A value is noted by its [`Content`], not by its bytes: reading one back checks every byte of it,
//! so a torn value does not even get a content.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::killing::now_ns;
use crate::{content, process};

/// Of a piece, before its filling: a byte that no number has, its token, its length.
const PIECE_HEAD: usize = 13;
/// Of the string that fills them.
const FILLING: usize = 1 << 20;

/// What a value is: a number, pieces behind each other, or a number and pieces behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Content {
    pub flags: u32,
    number: Option<u64>,
    /// All tokens, in their order, in one word.
    pieces: u64,
    pub len: u64,
}

impl Content {
    pub fn number(number: u64, flags: u32) -> Content {
        let len = number.to_string().len() as u64;
        Content { flags, number: Some(number), pieces: 0, len }
    }

    /// The piece of this token and so many bytes; below the shortest one it is nothing at all.
    pub fn piece(token: u64, len: usize, flags: u32) -> Content {
        Content { flags, ..Content::default() }.then(token, len)
    }

    /// With another piece behind it.
    pub fn then(self, token: u64, len: usize) -> Content {
        match len {
            0..PIECE_HEAD => self,
            _ => Content {
                pieces: (self.pieces ^ token).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29),
                len: self.len + len as u64,
                ..self
            },
        }
    }

    /// What increments take it for.
    pub fn counts(self) -> Option<u64> {
        self.number.filter(|_| self.pieces == 0)
    }

    /// The content of these bytes; says what is wrong with them if no writer made them.
    pub fn of(bytes: &[u8], flags: u32) -> Result<Content, String> {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut found = Content { flags, ..Content::default() };
        if digits > 0 {
            let text = std::str::from_utf8(&bytes[..digits]).expect("digits");
            found = Content::number(text.parse().map_err(|_| "a number of many digits")?, flags);
        }
        let (all, mut rest) = (bytes.len(), &bytes[digits..]);
        while !rest.is_empty() {
            let at = all - rest.len();
            let wrong = || format!("a value of {all} bytes is not as written from byte {at} on");
            let head = rest.get(..PIECE_HEAD).filter(|head| head[0] == b'<').ok_or_else(wrong)?;
            let token = u64::from_le_bytes(head[1..9].try_into().expect("8 bytes"));
            let len = u32::from_le_bytes(head[9..].try_into().expect("4 bytes")) as usize;
            let body = rest.get(PIECE_HEAD..len).filter(|body| *body == filling(token, len));
            body.ok_or_else(wrong)?;
            found = found.then(token, len);
            rest = &rest[len..];
        }
        Ok(found)
    }
}

/// The bytes of a piece.
pub fn piece(token: u64, len: usize) -> Vec<u8> {
    if len < PIECE_HEAD {
        return Vec::new();
    }
    let mut bytes = vec![b'<'];
    bytes.extend_from_slice(&token.to_le_bytes());
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    bytes.extend_from_slice(filling(token, len));
    bytes
}

/// What fills a piece: a part of one long string, of which half can be compressed. To be made
/// before the first fork.
pub fn filling(token: u64, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let all = BYTES.get_or_init(|| {
        let mut all = content(1, FILLING);
        let text = b"what is written and written again ";
        for block in all.chunks_mut(4096).step_by(2) {
            block.iter_mut().zip(text.iter().cycle()).for_each(|(byte, letter)| *byte = *letter);
        }
        all
    });
    let from = token.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % (FILLING / 4);
    &all[from..from + len - PIECE_HEAD]
}

/// What a client can ask of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Exists,
    Set(Content),
    Add(Content),
    Replace(Content),
    Cas(Content, u64),
    Delete,
    DeleteVersion(u64),
    Touch,
    Increment {
        by: u64,
        initial: Option<u64>,
        flags: u32,
    },
    /// The token and the length of the piece.
    Append(u64, usize),
    Flush,
    /// With a lease others may break it.
    Lock {
        leased: bool,
    },
    Unlock,
    /// No verb: the holder died, and the lock is free.
    Release,
}

/// What it is told. A version of 0 is one that the answer does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done(u64),
    Exists(u64),
    Missing,
    /// The lock is no longer the client's.
    Lost,
    /// There was no room: nothing happened.
    Refused,
    Value(u64, Content),
    There {
        version: u64,
        flags: u32,
        len: u64,
    },
    Counted {
        value: u64,
        version: u64,
    },
    NotANumber(u64),
    /// The lock is the client's, with this fence.
    Held(u64),
    /// It is somebody else's.
    TimedOut,
    Unlocked(bool),
}

impl Answer {
    /// It tells of the state and changes nothing.
    pub fn changes_nothing(&self) -> bool {
        !matches!(
            self,
            Answer::Done(_) | Answer::Counted { .. } | Answer::Held(_) | Answer::Unlocked(_)
        )
    }
}

/// What is asked: of one key, by who has this fence (0 = shows no lock).
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub key: usize,
    pub verb: Verb,
    pub fence: u64,
}

/// One line of a history.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub client: usize,
    pub asked: Asked,
    /// `None`: the client or the server died; it happened at most once, and not after `end`.
    pub answer: Option<Answer>,
    /// On the monotonic clock, ns.
    pub begin: u64,
    pub end: u64,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "client {:2}  {:?}", self.client, self.asked.verb)?;
        if self.asked.fence != 0 {
            write!(f, " with the lock {}", self.asked.fence)?;
        }
        match self.answer {
            Some(answer) => write!(f, " -> {answer:?}"),
            None => write!(f, " -> no answer"),
        }
    }
}

struct Line {
    begin: UnsafeCell<u64>,
    asked: UnsafeCell<MaybeUninit<Asked>>,
    answer: UnsafeCell<MaybeUninit<Answer>>,
    /// 0 while there is no answer; stored last.
    end: AtomicU64,
}

/// The page of one client, see [`Notes`]. Only that client writes to it.
pub struct Page {
    count: AtomicU64,
    lines: [Line; Page::LINES],
}

// SAFETY: a line is written by the one client of its page, and read by the test only below `count`
// and, the answer, where `end` is set: both are stored behind what they vouch for.
unsafe impl Sync for Page {}

impl Page {
    pub const LINES: usize = 256;

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire) as usize
    }

    /// Has it room for what a client asks at once?
    pub fn has_room(&self) -> bool {
        self.count() + 8 <= Page::LINES
    }

    /// Notes what is about to be asked; gives the line for the answer.
    pub fn ask(&self, asked: Asked) -> usize {
        let at = self.count();
        let line = &self.lines[at];
        line.end.store(0, Ordering::Relaxed);
        // SAFETY: nobody reads this line before `count` says that it is there.
        unsafe {
            *line.begin.get() = now_ns();
            (*line.asked.get()).write(asked);
        }
        self.count.store(at as u64 + 1, Ordering::Release);
        at
    }

    pub fn answer(&self, at: usize, answer: Answer) {
        let line = &self.lines[at];
        // SAFETY: nobody reads the answer before `end` says that it is there.
        unsafe { (*line.answer.get()).write(answer) };
        line.end.store(now_ns(), Ordering::Release);
    }

    fn op(&self, client: usize, at: usize) -> Op {
        let line = &self.lines[at];
        let end = line.end.load(Ordering::Acquire);
        // SAFETY: the caller looked at `count`, and the answer is read only where `end` is set.
        // All is plain data without pointers, written by this same program.
        unsafe {
            let answer = (end != 0).then(|| (*line.answer.get()).assume_init());
            let asked = (*line.asked.get()).assume_init();
            Op { client, asked, answer, begin: *line.begin.get(), end }
        }
    }
}

/// The pages of all clients of a history, shared with the processes that are forked after it.
pub struct Notes(&'static [Page]);

impl Notes {
    pub fn new(clients: usize) -> Notes {
        let words = clients * size_of::<Page>() / 8;
        let memory = process::shared_words(words);
        // SAFETY: zeros are empty pages; the memory is as long as they are, aligned to a page of
        // the machine, never unmapped, and nothing else refers to it.
        Notes(unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), clients) })
    }

    pub fn page(&self, client: usize) -> &'static Page {
        &self.0[client]
    }

    pub fn clients(&self) -> usize {
        self.0.len()
    }

    /// Lines noted by all.
    pub fn count(&self) -> usize {
        self.0.iter().map(Page::count).sum()
    }

    /// For the next history; nobody writes any more.
    pub fn clear(&self) {
        self.0.iter().for_each(|page| page.count.store(0, Ordering::Relaxed));
    }

    /// All that one client did. `ended` are the moments, in order, at which a process that could
    /// have done it was known to be dead: what has no answer happened before the first of them
    /// that came after it was asked. A lock that was still held was free by then, too.
    pub fn gather(&self, client: usize, ended: &[u64]) -> Vec<Op> {
        let page = self.page(client);
        let until = |begin: u64| *ended.iter().find(|at| **at >= begin).unwrap_or(&u64::MAX);
        let mut ops: Vec<Op> = (0..page.count()).map(|at| page.op(client, at)).collect();
        let mut held: Vec<Asked> = Vec::new();
        for op in &mut ops {
            match (op.asked.verb, op.answer) {
                (_, None) => op.end = until(op.begin),
                (Verb::Lock { .. }, Some(Answer::Held(fence))) => {
                    held.push(Asked { verb: Verb::Release, fence, ..op.asked });
                }
                (Verb::Unlock, _) => held.retain(|held| held.key != op.asked.key),
                _ => {}
            }
        }
        let last = ops.last().map_or(0, |op| op.begin);
        let free = |asked| Op { client, asked, answer: None, begin: last, end: until(last) };
        ops.extend(held.into_iter().map(free));
        ops
    }
}
