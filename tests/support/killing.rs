//! What the kill test and its workers agree on: keys, values that prove themselves, and the events
//! by which a writer says what it is about to do and what it has done.
//!
//! An event is one `write` of 32 bytes to a pipe, so it is there whole or not at all, and what was
//! written before a SIGKILL is read after it.

use std::time::Duration;

use crate::content;

pub const WRITERS: u64 = 4;
pub const READERS: u64 = 2;
pub const KEYS: u64 = 40;
pub const SHARED: u64 = 3;

/// What a writer does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    Put = 1,
    Delete = 2,
    Touch = 3,
    /// Takes the key's session lock, writes with it, gives it back.
    LockedPut = 4,
    /// Adds one to a counter that all writers share, under its lock.
    Count = 5,
    /// Writes a value that soon expires, of which only wholeness is known.
    Fleeting = 6,
    /// Adds one to a number that all writers share, without a lock.
    Increment = 7,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Intent = 1,
    Done = 2,
    /// The store was full: nothing happened.
    Refused = 3,
}

#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub phase: Phase,
    pub act: Act,
    pub key: u64,
    pub counter: u64,
    /// On the monotonic clock, which all processes share.
    pub at_ns: u64,
}

impl Event {
    pub const BYTES: usize = 32;

    pub fn encode(&self) -> [u8; Event::BYTES] {
        let mut bytes = [0; Event::BYTES];
        bytes[0] = self.phase as u8;
        bytes[1] = self.act as u8;
        bytes[8..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.counter.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Event {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let phase = match bytes[0] {
            1 => Phase::Intent,
            2 => Phase::Done,
            3 => Phase::Refused,
            other => panic!("phase {other}"),
        };
        let act = match bytes[1] {
            1 => Act::Put,
            2 => Act::Delete,
            3 => Act::Touch,
            4 => Act::LockedPut,
            5 => Act::Count,
            6 => Act::Fleeting,
            7 => Act::Increment,
            other => panic!("act {other}"),
        };
        Event { phase, act, key: word(8), counter: word(16), at_ns: word(24) }
    }
}

pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_nanos() as u64
}

pub fn own_key(writer: u64, key: u64) -> Vec<u8> {
    format!("writer {writer} key {key}").into_bytes()
}

pub fn shared_key(key: u64) -> Vec<u8> {
    format!("shared {key}").into_bytes()
}

pub fn number_key(key: u64) -> Vec<u8> {
    format!("number {key}").into_bytes()
}

pub fn fleeting_key(key: u64) -> Vec<u8> {
    format!("fleeting {key}").into_bytes()
}

/// A value says whose it is and carries bytes that follow from that: mostly some KB, at times
/// large enough to fill whole segments.
pub fn value(key: &[u8], counter: u64) -> Vec<u8> {
    let tag = key.iter().fold(counter, |h, b| (h ^ *b as u64).wrapping_mul(0x100_0000_01b3));
    let len = match tag % 100 {
        0..90 => tag as usize / 100 % 4_000,
        90..98 => tag as usize / 100 % 30_000,
        _ => 70_000 + tag as usize / 100 % 200_000,
    };
    let mut value = counter.to_le_bytes().to_vec();
    value.extend(content(tag, len));
    value
}

/// The counter of a value, if it is whole and this key's.
pub fn counter_of(key: &[u8], bytes: &[u8]) -> Result<u64, String> {
    let shown = String::from_utf8_lossy(key);
    let Some(first) = bytes.get(..8) else {
        return Err(format!("{shown}: a value of {} bytes", bytes.len()));
    };
    let counter = u64::from_le_bytes(first.try_into().expect("8 bytes"));
    match bytes == value(key, counter) {
        true => Ok(counter),
        false => Err(format!("{shown}: not a value that was written (counter {counter:#x})")),
    }
}
