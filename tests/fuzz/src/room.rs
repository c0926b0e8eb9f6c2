//! Stores made of the fuzzer's bytes: a directory in memory, a superblock with a known secret, `data` files whose
//! checksums hold where the input says so, and everything that can be done with what comes of it.
//!
//! The secret's two words are equal, so that owners and keys have the same hash function and a table of a few hashes,
//! asked of an empty store, is enough to write records that the library finds again.

use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast::{Acquired, Clock, Entry, Options, Range, SCAN_DONE, Scan, Store, Ttl, Wait, Write};

pub const SEGMENT: usize = 64 << 10;
pub const LINE: usize = 64;
const SECRET: u64 = 0x5ec7_e75e_c7e7_5ec7;
pub const KEYS: [&[u8]; 8] =
    [b"a", b"bb", b"key", b"session 42", b"anna", &[0xff; 40], &[b'x'; 255], &[b'k'; 1024]];

/// A clock that stands still, so that a find can be played again.
struct Still;

impl Clock for Still {
    fn boot_ms(&self) -> u64 {
        60_000
    }

    fn wall_ms(&self) -> u64 {
        1_790_000_000_000
    }
}

pub fn options() -> Options {
    Options {
        create: true,
        thread: false,
        max_bytes: Some(1 << 20),
        max_value_bytes: Some(1 << 17),
        max_processes: Some(8),
        operation_timeout: Duration::from_millis(20),
        open_timeout: Duration::from_millis(200),
        compress: Some(true),
        clock: Some(Arc::new(Still)),
        ..Options::default()
    }
}

/// A private directory of this process; `run.py` says where, and removes it.
pub struct Room(PathBuf);

impl Room {
    pub fn new(name: &str) -> Room {
        let parent =
            std::env::var_os("HOLDFAST_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let room = Room(parent.join(format!("{name}-{}", std::process::id())));
        room.clear();
        room
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn clear(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
        std::fs::create_dir(&self.0).expect("a directory");
        std::fs::set_permissions(&self.0, PermissionsExt::from_mode(0o700)).expect("chmod");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("a file of the store")
    }

    /// Makes a file what it is to be, in place, and writes no more than what differs.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        let file =
            std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("a file of the store");
        file.set_permissions(PermissionsExt::from_mode(0o600)).expect("chmod");
        file.set_len(bytes.len() as u64).expect("its length");
        let mut is = vec![0; bytes.len()];
        file.read_exact_at(&mut is, 0).expect("read");
        for (i, (new, is)) in bytes.chunks(4096).zip(is.chunks(4096)).enumerate() {
            if new != is {
                file.write_all_at(new, i as u64 * 4096).expect("written");
            }
        }
    }

    /// Makes `meta` believe the files that are there.
    pub fn sign(&self, meta: &mut [u8]) {
        for (at, name) in [(0x30, "data"), (0x38, "index")] {
            let inode = std::fs::metadata(self.0.join(name)).map_or(0, |file| file.ino());
            meta[at..at + 8].copy_from_slice(&inode.to_le_bytes());
        }
    }

    /// Opens it, or has an error that says where.
    pub fn open(&self) -> Option<Store> {
        match Store::open(&self.0, &options()) {
            Ok(store) => Some(store),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(&*self.0.to_string_lossy()), "names no file: {text}");
                None
            }
        }
    }
}

/// The fuzzer's bytes; behind their end come zeros.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, n: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number, mostly small or near an end.
    pub fn number(&mut self) -> u64 {
        let (kind, n) = (self.byte(), u64::from(self.byte()));
        match kind % 8 {
            0 => u64::MAX - n,
            1 => (1 << 63) + n,
            2 => (1 << 48) - 1 - n,
            3 => self.word(),
            4 => (1 << 32) + n,
            _ => n,
        }
    }
}

pub fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

pub fn put_word(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

pub fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")))
}

/// One copy of `super`, as a store of these options would have it.
pub fn superblock() -> Vec<u8> {
    let mut copy = vec![0; 4096];
    copy[..8].copy_from_slice(b"holdfast");
    for (at, word) in [
        (0x08, 7),
        (0x10, 8),
        (0x18, 1 | 1 << 16),
        (0x30, 1 | 1 << 16),
        (0x38, 8),
        (0x40, 1 << 20),
        (0x48, 1 << 17),
        (0x60, 1000),
        (0x68, SEGMENT as u64),
        (0x70, 16),
        (0x78, 2),
        (0x88, SECRET),
        (0x90, SECRET),
        (0xa8, 1),
    ] {
        put_word(&mut copy, at, word);
    }
    seal(&mut copy);
    copy
}

/// Makes the checksum of a copy of `super` right.
pub fn seal(copy: &mut [u8]) {
    let sum = crc(&copy[..0x1f8]);
    put_word(copy, 0x1f8, u64::from(sum));
}

/// Makes the checksum of a segment's header right.
pub fn seal_segment(data: &mut [u8], start: usize) {
    let mut covered = data[start + 8..start + 48].to_vec();
    covered.extend([SECRET.to_le_bytes(), SECRET.to_le_bytes()].concat());
    put_word(data, start, u64::from(u32::from_le_bytes(*b"HFsg")) | u64::from(crc(&covered)) << 32);
}

/// What a record's header says of lengths: the key's, the owner's and the value's.
pub fn lengths(data: &[u8], at: usize) -> (usize, usize, usize) {
    let word = word_at(data, at + 16);
    (word as usize & 0xffff, usize::from(data[at + 3]), (word >> 32) as usize)
}

/// The pieces of a value as it lies in the file; `None` if it is longer than that.
fn value(data: &[u8], at: usize) -> Option<Vec<u8>> {
    let (key_len, owner_len, mut left) = lengths(data, at);
    let is_run = data[at + 18] & 2 != 0;
    let mut place = at + LINE + (key_len + owner_len).next_multiple_of(8);
    let mut value = Vec::new();
    while left > 0 {
        let len = if is_run { left.min(SEGMENT - place % SEGMENT) } else { left };
        value.extend_from_slice(data.get(place..place + len)?);
        left -= len;
        place += len + LINE;
    }
    Some(value)
}

fn header_crc(data: &[u8], at: usize) -> Option<u32> {
    let (key_len, owner_len, _) = lengths(data, at);
    let mut covered = data.get(at..at + LINE + key_len + owner_len)?.to_vec();
    covered[32..36].fill(0);
    covered[40..48].fill(0);
    Some(crc(&covered))
}

/// Makes the checksums of a record right, as far as it lies in the file.
pub fn seal_record(data: &mut [u8], at: usize) {
    if at + LINE > data.len() {
        return;
    }
    if let Some(value) = value(data, at) {
        let sum = crc(&value).to_le_bytes();
        data[at + 36..at + 40].copy_from_slice(&sum);
    }
    if let Some(sum) = header_crc(data, at) {
        data[at + 32..at + 36].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Every value that a `data` file has under a key, current or not; a compressed one as its length.
pub struct Truth(Vec<(Vec<u8>, Result<Vec<u8>, u64>)>);

impl Truth {
    pub fn of(data: &[u8]) -> Truth {
        let mut all = Vec::new();
        for at in (0..data.len().saturating_sub(LINE)).step_by(LINE) {
            let (key_len, _, len) = lengths(data, at);
            let sums = word_at(data, at + 32);
            let plausible = (1..=1024).contains(&key_len) && len < data.len();
            if !plausible || header_crc(data, at) != Some(sums as u32) {
                continue;
            }
            let Some(value) = value(data, at).filter(|value| crc(value) == (sums >> 32) as u32)
            else {
                continue;
            };
            let key = data[at + LINE..at + LINE + key_len].to_vec();
            let is_packed = data[at + 18] & 4 != 0;
            all.push((key, if is_packed { Err(word_at(&value, 0)) } else { Ok(value) }));
        }
        Truth(all)
    }

    pub fn check(&self, key: &[u8], found: &[u8]) {
        let is = |value: &Result<Vec<u8>, u64>| match value {
            Ok(bytes) => bytes == found,
            Err(len) => *len == found.len() as u64,
        };
        let known = self.0.iter().any(|(other, value)| other == key && is(value));
        let written = found == b"written by the target" || found.ends_with(b"more");
        assert!(
            known || written,
            "{} has {} bytes that are in no record of it",
            key.escape_ascii(),
            found.len()
        );
    }
}

/// Everything that reads.
pub fn look(store: &Store, check: &dyn Fn(&[u8], &[u8])) {
    let mut value = Vec::new();
    for key in KEYS {
        if let Ok(Some(item)) = store.get(key, &mut value) {
            assert_eq!(item.value_len, value.len() as u64);
            check(key, &value);
        }
        let _ = (store.exists(key), store.owner_of(key));
    }
    let mut each = |entry: &Entry| {
        entry.value.into_iter().for_each(|value| check(entry.key, value));
        ControlFlow::Continue(())
    };
    let (mut cursor, mut pages) = (0, 0);
    while cursor != SCAN_DONE
        && store
            .scan(&mut cursor, &Scan { limit: 7, values: true, ..Scan::default() }, &mut each)
            .is_ok()
    {
        pages += 1;
        assert!(pages < 10_000, "a scan without an end");
    }
    let _ = store.range(&Range { values: true, ..Range::default() }, &mut each);
    let _ = store.owner_keys(b"anna", &mut |_| true);
    let _ = (store.stats(), store.condition(), store.locks(10), store.reclaimable(true));
    let _ = store.verify(&mut |_, _| true);
}

/// Everything that writes.
pub fn change(store: &Store) {
    for key in &KEYS[..3] {
        let _ = store.set(key, b"written by the target", 0, Ttl::Never);
    }
    let _ = store.write(KEYS[3], &[7; 20_000], &Write { owner: Some(b"anna"), ..Write::default() });
    let _ = store.append(KEYS[5], b"more", None, false);
    let _ = store.increment(KEYS[6], 1, None, &Write::default());
    let _ = store.touch(KEYS[4], Ttl::Millis(1000), None);
    let _ = store.delete(KEYS[3], None, None);
    if let Ok(Acquired::Held(held)) =
        store.lock(KEYS[7], 1, &Wait { timeout: Some(Duration::ZERO), ..Wait::default() })
    {
        let _ = store.unlock(KEYS[7], &held);
    }
    let _ = store.set_owner(KEYS[1], b"bert", None);
    let _ = store.end_owner(b"anna");
    let _ = (store.expire(0), store.compact(), store.sync());
}
