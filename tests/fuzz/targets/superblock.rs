//! The file `super`: words of the fuzzer's choice in one or both copies, with checksums that hold. What is accepted is
//! a store of bounded sizes that takes a value and gives it back.
#![no_main]

use std::sync::LazyLock;

use holdfast_fuzz::room::*;

static ROOM: LazyLock<Room> = LazyLock::new(|| Room::new("super"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut copies = [superblock(), superblock()];
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let (which, at) = (input.below(3), input.below(0x1f8 / 8) * 8);
        let word = match input.byte() % 3 {
            // Sizes are powers of two, mostly.
            0 => 1 << (input.byte() % 64),
            1 => word_at(&copies[0], at) ^ 1 << (input.byte() % 64),
            _ => input.number(),
        };
        for (n, copy) in copies.iter_mut().enumerate() {
            if which != n {
                put_word(copy, at, word);
            }
        }
    }
    copies.iter_mut().for_each(|copy| seal(copy));
    // A process cannot map what is larger than its address space: such stores are refused, and take long.
    let huge =
        copies.iter().any(|copy| word_at(copy, 0x40) > 1 << 33 || word_at(copy, 0xb0) > 1 << 33);
    if huge {
        return;
    }
    let mut file = copies.concat();
    if input.byte() % 8 == 1 {
        file.truncate(input.below(8192));
    }
    ROOM.clear();
    ROOM.put("super", &file);
    ROOM.put("data", &[]);
    let Some(store) = ROOM.open() else { return };
    let stats = store.stats().expect("statistics");
    assert!(stats.max_bytes >= 1 << 20 && stats.segments * stats.segment_bytes <= stats.max_bytes);
    assert!((1..=16_384).contains(&stats.max_processes));
    look(&store, &|key, _| panic!("{} is in an empty store", key.escape_ascii()));
    change(&store);
});
