//! The binary dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    holdfast_fuzz::same_at_every_cut(holdfastd::protocol::Spoken::Binary, data);
});
