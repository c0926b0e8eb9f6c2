//! The benchmarks run to their end at sizes that measure nothing: they check every answer that they
//! time, and a benchmark that nobody can start is noticed before it is needed.

use std::process::Command;

/// Runs it, expects success, and gives what it printed.
fn run(bench: &str, args: &[&str]) -> String {
    let done = Command::new(bench).args(args).output().expect("a benchmark");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    said
}

#[test]
fn beside_lmdb_measures_every_case() {
    let size = ["--keys", "3000", "--ops", "500", "--rounds", "2", "--millis", "30"];
    let said = run(env!("CARGO_BIN_EXE_store-beside"), &size);
    for case in [
        "index, bytes a key",
        "space over keys and values",
        "get, random keys",
        "set, random keys",
        "lock + get + set + unlock, random keys",
        "2 processes write",
        "rebuild after a power loss",
        "sync=always",
    ] {
        assert!(said.contains(case), "no line for {case}:\n{said}");
    }
}

#[test]
fn overwriting_at_a_steady_share_ends_with_every_value_there() {
    let said = run(
        env!("CARGO_BIN_EXE_store-space"),
        &["--memory", "--mib", "8", "--live", "50", "--turns", "2"],
    );
    assert!(said.contains("values are the last ones written"), "{said}");
}

#[test]
fn every_trace_is_played_against_every_cache() {
    let said = run(env!("CARGO_BIN_EXE_store-hits"), &["--objects", "9000", "--requests", "30000"]);
    let lines = |trace: &str| said.lines().filter(|line| line.starts_with(trace)).count();
    for trace in ["zipf 0.8 ", "zipf 0.99 ", "zipf 1.2 ", "zipf 0.99 + scan", "loop", "sessions"] {
        assert!(lines(trace) >= 4, "no line for {trace}:\n{said}");
    }
    assert!(!said.contains("NaN"), "nothing was counted:\n{said}");
}
