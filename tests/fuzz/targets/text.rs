//! Lines: the classic text dialect, with the meta dialect among it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    holdfast_fuzz::same_at_every_cut(holdfastd::protocol::Spoken::Lines, data);
});
