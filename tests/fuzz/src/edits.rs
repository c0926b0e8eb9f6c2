//! A store that has one of everything (the specimen of the tests), with words of the fuzzer's choice written into its
//! files, and checksums made right again where the input says so.

use crate::room::*;
use crate::specimen::{Maker, Wants};

/// The files of the specimen.
pub struct Specimen {
    pub room: Room,
    files: [(&'static str, Vec<u8>); 4],
    pub wants: Wants,
}

impl Specimen {
    pub fn new(name: &str) -> Specimen {
        let room = Room::new(name);
        room.put("super", &[superblock(), superblock()].concat());
        room.put("data", &[]);
        let store = room.open().expect("an empty store");
        let mut maker = Maker::new(Some(&store));
        maker.youth();
        maker.age();
        let wants = maker.wants();
        drop(store);
        let files = ["super", "data", "index", "meta"].map(|name| (name, room.read(name)));
        Specimen { room, files, wants }
    }

    /// Writes the files with the input's changes; gives `data` as it is then.
    pub fn edited(&self, input: &mut Input) -> Vec<u8> {
        let mut files = self.files.clone();
        for _ in 0..24 {
            if input.is_empty() {
                break;
            }
            edit(&mut files, input);
        }
        let [superblock, data, index, mut meta] = files.map(|(_, bytes)| bytes);
        self.room.put("super", &superblock);
        self.room.put("data", &data);
        self.room.put("index", &index);
        self.room.sign(&mut meta);
        self.room.put("meta", &meta);
        data
    }
}

/// Where the parts of `meta` are with eight processes: first byte, how many, bytes of each.
const PARTS: [(usize, usize, usize); 7] = {
    let (stripes, lanes) = (0x1000 + 8 * 256, 0x1000 + 8 * 256 + 256 * 64);
    let buckets = lanes + 9 * 64;
    let entries = buckets + 2048 * 64;
    let tickets = entries + 2048 * 7 * 128;
    let segments = tickets + 4096 * 64;
    [
        (0, 1, 0xa00),
        (0x1000, 8, 256),
        (stripes, 256, 64),
        (lanes, 3, 64),
        (buckets, 2048, 64),
        (tickets, 16, 64),
        (segments, 16, 64),
    ]
};

fn edit(files: &mut [(&'static str, Vec<u8>); 4], input: &mut Input) {
    let [_, (_, data), (_, index), (_, meta)] = files;
    let change = |bytes: &mut Vec<u8>, at: usize, input: &mut Input| {
        let old = word_at(bytes, at);
        let new = match input.byte() % 4 {
            0 => old ^ 1 << (input.byte() % 64),
            1 => old.wrapping_add(u64::from(input.byte())).wrapping_sub(128),
            _ => input.number(),
        };
        put_word(bytes, at, new);
    };
    match input.byte() % 10 {
        0 => {
            let at = input.below(data.len() / SEGMENT) * SEGMENT;
            change(data, at + 8 * (input.byte() as usize % 6), input);
            if input.byte() % 2 == 0 {
                seal_segment(data, at);
            }
        }
        1..4 => {
            // A word of a record, or of what lies where one could be.
            let at = input.below(data.len() / LINE) * LINE;
            change(data, at + 8 * (input.byte() as usize % 8), input);
            if input.byte() % 4 != 0 {
                seal_record(data, at);
            }
        }
        4 | 5 => {
            let at = input.below(index.len() / 8) * 8;
            let other = input.below(index.len() / 8) * 8;
            match input.byte() % 2 {
                0 => change(index, at, input),
                _ => {
                    let word = word_at(index, other);
                    put_word(index, at, word);
                }
            }
        }
        6 => {
            let (from, to) =
                (input.below(data.len() / 4096) * 4096, input.below(data.len() / 4096) * 4096);
            data.copy_within(from..from + 4096, to);
        }
        _ => {
            let (first, count, bytes) = PARTS[input.byte() as usize % PARTS.len()];
            let at = first + input.below(count) * bytes + input.below(bytes / 8) * 8;
            change(meta, at, input);
        }
    }
}
