//! Where the records of a `data` file are, by FORMAT.md alone and by none of the library's code: for tests that damage
//! a byte and have to know whose it was.

use std::ops::Range;

const LINE: usize = 64;

/// A record as its header describes it.
#[derive(Debug, Clone)]
pub struct Record {
    pub at: usize,
    pub seq: u64,
    pub copy: u8,
    pub key: Vec<u8>,
    pub is_owner: bool,
    pub is_tombstone: bool,
    /// Header and names, and every piece of the value.
    pub pieces: Vec<Range<usize>>,
}

fn word(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
}

/// The records of a file in which nothing is damaged, in the order of the file.
pub fn records(data: &[u8], segment: usize) -> Vec<Record> {
    let mut found = Vec::new();
    for start in (0..data.len()).step_by(segment) {
        if data[start..start + 4] != *b"HFsg" || data[start + 12] == 3 {
            continue;
        }
        let salt = word(data, start + 16) as u32;
        let mut at = start + LINE;
        while at + LINE <= (start + segment).min(data.len()) {
            let first = word(data, at);
            let lines = first as usize & 0xff_ffff;
            if (first >> 32) as u32 != salt || lines == 0 {
                at += LINE;
                continue;
            }
            found.push(record(data, segment, at));
            at += lines * LINE;
        }
    }
    found
}

fn record(data: &[u8], segment: usize, at: usize) -> Record {
    let lengths = word(data, at + 16);
    let (key_len, flags) = (lengths as usize & 0xffff, (lengths >> 16) as u8);
    let names_len = key_len + data[at + 3] as usize;
    let names = at + LINE;
    let mut left = (lengths >> 32) as usize;
    let mut place = names + names_len.next_multiple_of(8);
    let mut pieces = Vec::new();
    pieces.push(at..names + names_len);
    // A run goes on behind the header line of each next segment.
    while left > 0 {
        let len = left.min(segment - place % segment);
        pieces.push(place..place + len);
        left -= len;
        place += len + LINE;
    }
    Record {
        at,
        seq: word(data, at + 8),
        copy: (lengths >> 24) as u8,
        key: data[names..names + key_len].to_vec(),
        is_owner: flags & 16 != 0,
        is_tombstone: flags & 1 != 0,
        pieces,
    }
}

/// Of the records of each key the one that counts.
pub fn current(records: &[Record]) -> impl Iterator<Item = &Record> {
    let newer = |a: &Record, b: &Record| {
        (a.seq, (a.copy.wrapping_sub(b.copy) as i8) > 0) > (b.seq, false) && a.at != b.at
    };
    records.iter().filter(move |one| {
        !records.iter().any(|other| {
            other.key == one.key && other.is_owner == one.is_owner && newer(other, one)
        })
    })
}
