//! A backup with bytes of the fuzzer's choice in its list of checksums and its `data`, restored: what is restored
//! opens, and every value is one that the backup has.
#![no_main]

use std::sync::LazyLock;

use holdfast::Store;
use holdfast_fuzz::edits::Specimen;
use holdfast_fuzz::room::*;

struct Base {
    copy: Room,
    restored: Room,
    files: [Vec<u8>; 3],
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let specimen = Specimen::new("backed-up");
    let (copy, restored) = (Room::new("backup"), Room::new("restored"));
    std::fs::remove_dir(copy.path()).expect("made by the backup");
    let store = specimen.room.open().expect("the specimen");
    store.backup(copy.path(), true, &mut |_, _| true).expect("a backup");
    let files = ["super", "data", "backup"].map(|name| copy.read(name));
    Base { copy, restored, files }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let base = &*BASE;
    let mut input = Input(bytes);
    let [superblock, mut data, mut list] = base.files.clone();
    let flags = input.byte();
    for _ in 0..12 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 => {
                let at = input.below(list.len() / 8) * 8;
                put_word(&mut list, at, input.number());
            }
            1 => {
                let at = input.below(list.len());
                list[at] ^= 1 << (input.byte() % 8);
            }
            2 => {
                let at = input.below(data.len() / LINE) * LINE;
                put_word(&mut data, at + 8 * (input.byte() as usize % 8), input.number());
                seal_record(&mut data, at);
            }
            _ => list.truncate(input.below(list.len()).max(64)),
        }
    }
    if flags & 1 != 0 {
        // The sums of the segments as they are now.
        for (n, segment) in data.chunks(SEGMENT).enumerate() {
            if let Some(place) = list.get_mut(56 + 4 * n..60 + 4 * n)
                && place != [0; 4]
            {
                place.copy_from_slice(&crc(segment).max(1).to_le_bytes());
            }
        }
    }
    if flags & 2 == 0 {
        let end = list.len() - 4;
        let sum = crc(&list[..end]);
        list[end..].copy_from_slice(&sum.to_le_bytes());
    }
    for (name, file) in [("super", &superblock), ("data", &data), ("backup", &list)] {
        base.copy.put(name, file);
    }
    let _ = std::fs::remove_dir_all(base.restored.path());
    if Store::restore(base.copy.path(), base.restored.path(), &mut |_, _| true).is_err() {
        return;
    }
    let truth = Truth::of(&data);
    let Some(store) = base.restored.open() else { return };
    look(&store, &|key, value| truth.check(key, value));
    change(&store);
});
