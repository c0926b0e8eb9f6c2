//! Repair of a store with words of the fuzzer's choice in it: a dry run, the repair, and what comes of it. A store
//! that was repaired opens, and a check finds no damage in its records.
#![no_main]

use std::sync::LazyLock;

use holdfast::{RepairOptions, Store};
use holdfast_fuzz::edits::Specimen;
use holdfast_fuzz::room::*;

static SPECIMEN: LazyLock<Specimen> = LazyLock::new(|| Specimen::new("repair"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let room = &SPECIMEN.room;
    let truth = Truth::of(&SPECIMEN.edited(&mut Input(bytes)));
    let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
    let _ = Store::repair(room.path(), &dry, &mut |_, _| true);
    let repaired = Store::repair(room.path(), &RepairOptions::default(), &mut |_, _| true);
    let opened = room.open();
    if let (Ok(repaired), Some(store)) = (&repaired, &opened) {
        assert!(repaired.complete);
        look(store, &|key, value| truth.check(key, value));
        change(store);
    }
    for file in std::fs::read_dir(room.path()).expect("the directory").flatten() {
        if file.file_name().to_string_lossy().starts_with("dropped") {
            let _ = std::fs::remove_file(file.path());
        }
    }
});
