//! The meta dialect: each line of the input becomes a meta request, so that no input is spent on other verbs.
#![no_main]

const VERBS: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn"];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [first, second, rest @ ..] = data else { return };
    let mut input = vec![*first, *second];
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        if let [verb, line @ ..] = line {
            input.extend_from_slice(VERBS[usize::from(*verb) % VERBS.len()]);
            input.extend_from_slice(line);
        }
    }
    holdfast_fuzz::same_at_every_cut(holdfastd::protocol::Spoken::Lines, &input);
});
