//! A `data` file whose segments and records are of the fuzzer's making, with checksums that hold: opened by a
//! rebuild, used, closed and opened again. Whatever is read under a key is in a record of that key.
#![no_main]

use std::sync::LazyLock;

use holdfast_fuzz::room::*;

struct Base {
    room: Room,
    superblock: Vec<u8>,
    hashes: Vec<u64>,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let room = Room::new("data");
    let superblock = [superblock(), superblock()].concat();
    room.put("super", &superblock);
    room.put("data", &[]);
    let store = room.open().expect("an empty store");
    let hashes = KEYS.map(|key| store.key_hash(key).expect("a key")).to_vec();
    Base { room, superblock, hashes }
});

/// The file under construction.
struct Builder<'a, 'b> {
    input: &'a mut Input<'b>,
    hashes: &'a [u64],
    data: Vec<u8>,
    segment: usize,
    at: usize,
}

impl Builder<'_, '_> {
    fn segment(&mut self) {
        let start = self.input.below(self.data.len() / SEGMENT) * SEGMENT;
        (self.segment, self.at) = (start, start + LINE);
        let kind = [1, 1, 2, 3][self.input.below(4)];
        let words = [
            u64::from(self.input.byte()) | kind << 32,
            self.salt(),
            self.input.number(),
            self.input.number(),
            self.input.number(),
        ];
        for (i, word) in words.into_iter().enumerate() {
            put_word(&mut self.data, start + 8 + i * 8, word);
        }
        seal_segment(&mut self.data, start);
    }

    fn salt(&self) -> u64 {
        0x1234_0000 + self.segment as u64
    }

    /// A record as the library would write it, but for one word that the input chooses.
    fn record(&mut self) {
        let input = &mut *self.input;
        let (n, lie) = (input.below(KEYS.len()), input.byte());
        let owner: &[u8] = if input.byte() % 4 == 0 { b"anna" } else { b"" };
        let len =
            [usize::from(input.byte()), 0, input.below(3000), input.below(100_000)][input.below(4)];
        let (flags, copy, number) =
            (u64::from(input.byte()), u64::from(input.byte() % 3), input.number());
        let at = self.at;
        let names = [KEYS[n], owner].concat();
        let lines = (LINE + names.len().next_multiple_of(8) + len).div_ceil(LINE) as u64;
        let mut words = [
            lines & 0xff_ffff
                | (owner.len() as u64) << 24
                | (0x1234_0000 + self.segment as u64) << 32,
            number,
            KEYS[n].len() as u64 | flags << 16 | copy << 24 | (len as u64) << 32,
            self.hashes[n],
            0,
            expiry([0, 1, 1_790_000_000_001, 1_800_000_000_000][input.below(4)], number),
            input.number(),
            input.number(),
        ];
        if lie % 4 == 0 {
            words[usize::from(lie / 4) % 8] = input.number();
        }
        let fill = input.byte();
        let end = (at + lines as usize * LINE).min(self.data.len());
        if at + LINE > self.data.len() {
            return;
        }
        for (i, word) in words.into_iter().enumerate() {
            put_word(&mut self.data, at + i * 8, word);
        }
        let names_end = (at + LINE + names.len()).min(self.data.len());
        self.data[at + LINE..names_end].copy_from_slice(&names[..names_end - at - LINE]);
        let body = (at + LINE + names.len().next_multiple_of(8)).min(end);
        // A value over several segments spares the header lines of the others.
        for (i, byte) in self.data[body..end].iter_mut().enumerate() {
            if (body + i) % SEGMENT >= LINE {
                *byte = fill.wrapping_add((i / 7) as u8);
            }
        }
        seal_record(&mut self.data, at);
        self.at = end.min(self.data.len());
    }

    fn step(&mut self) {
        match self.input.byte() % 12 {
            0 | 1 => self.segment(),
            2..8 => self.record(),
            8 => {
                let (at, word) = (self.input.below(self.data.len() / 8) * 8, self.input.number());
                put_word(&mut self.data, at, word);
            }
            9 => self.at = self.segment + self.input.below(SEGMENT / LINE) * LINE,
            10 => {
                let at = self.segment + self.input.below(SEGMENT);
                self.data[at] ^= 1 << (self.input.byte() % 8);
            }
            _ => seal_record(&mut self.data, self.at.saturating_sub(LINE)),
        }
    }
}

/// The expiry word with its check, as FORMAT.md has it.
fn expiry(ms: u64, seq: u64) -> u64 {
    let mixed = (ms ^ seq.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ms | (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 48 << 48
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let base = &*BASE;
    let mut input = Input(bytes);
    let segments = 1 + input.below(4);
    let data = vec![0; segments * SEGMENT];
    let mut builder =
        Builder { input: &mut input, hashes: &base.hashes, data, segment: 0, at: LINE };
    builder.segment();
    for _ in 0..200 {
        if builder.input.is_empty() {
            break;
        }
        builder.step();
    }
    let data = builder.data;
    base.room.clear();
    base.room.put("super", &base.superblock);
    base.room.put("data", &data);
    let truth = Truth::of(&data);
    let Some(store) = base.room.open() else { return };
    look(&store, &|key, value| truth.check(key, value));
    change(&store);
    drop(store);
    // Closed and believed.
    let now = Truth::of(&base.room.read("data"));
    let Some(store) = base.room.open() else { return };
    look(&store, &|key, value| now.check(key, value));
});
