//! Index and meta that are believed, and the `data` under them, with words of the fuzzer's choice: opened as after the
//! death of all processes, used, closed, and opened once more by a rebuild.
#![no_main]

use std::sync::LazyLock;

use holdfast_fuzz::edits::Specimen;
use holdfast_fuzz::room::*;

static SPECIMEN: LazyLock<Specimen> = LazyLock::new(|| Specimen::new("derived"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let room = &SPECIMEN.room;
    let truth = Truth::of(&SPECIMEN.edited(&mut Input(bytes)));
    let Some(store) = room.open() else { return };
    let mut value = Vec::new();
    for key in SPECIMEN.wants.keys() {
        if let Ok(Some(_)) = store.get(key, &mut value) {
            truth.check(key, &value);
        }
    }
    look(&store, &|key, value| truth.check(key, value));
    change(&store);
    drop(store);
    if bytes.len() % 4 == 0 {
        let _ = std::fs::remove_file(room.path().join("meta"));
        let now = Truth::of(&room.read("data"));
        let Some(store) = room.open() else { return };
        look(&store, &|key, value| now.check(key, value));
    }
});
