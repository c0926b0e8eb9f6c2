//! `include/holdfast.h` is generated, committed, and never edited by hand: its diff is reviewed as
//! the change of the ABI that it is. `HOLDFAST_BLESS=1 cargo test --test header` writes it anew.

use std::path::{Path, PathBuf};

/// In the order of the manual.
const SOURCES: [&str; 12] = [
    "results", "types", "store", "values", "writes", "many", "scan", "owners", "locks", "state",
    "care", "info",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn generated() -> String {
    let root = root();
    let config = cbindgen::Config::from_file(root.join("include/cbindgen.toml")).expect("config");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root.join(format!("src/ffi/{name}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().expect("bindings").write(&mut text);
    tidy(&String::from_utf8(text).expect("UTF-8"))
}

/// What the generator has no setting for: a comment of one line takes one line, a negative number
/// is in parentheses, and the string with the version comes from Cargo.toml.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let indent = &line[..line.len() - line.trim_start().len()];
        if let [open, only, close, ..] = lines[at..]
            && (open.trim(), close.trim()) == ("/**", "*/")
        {
            let only = only.trim().trim_start_matches("* ");
            out += &format!("{indent}/** {only} */\n");
            at += 3;
            continue;
        }
        match line.strip_prefix("#define ").and_then(|rest| rest.split_once(" -")) {
            Some((name, number)) => out += &format!("#define {name} (-{number})\n"),
            None => out += &format!("{line}\n"),
        }
        if line.starts_with("#define HOLDFAST_ABI_VERSION") {
            out += "\n/** The version of the library that this header came with. */\n";
            out += &format!("#define HOLDFAST_VERSION_STRING \"{}\"\n", version());
        }
        at += 1;
    }
    out
}

fn version() -> String {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let line =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version");
    line.trim_matches('"').to_owned()
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = root().join("include/holdfast.h");
    let fresh = generated();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("writing include/holdfast.h");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(fresh.lines()).position(|(a, b)| a != b);
    assert!(
        committed == fresh,
        "include/holdfast.h differs from src/ffi (first in line {:?}); if the change is meant: \
         HOLDFAST_BLESS=1 cargo test -p holdfast-tests --test header, and review the diff",
        differs.map(|line| line + 1)
    );
}
