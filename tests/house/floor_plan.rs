//! The floor plan holds: rooms know only the rooms below them, `unsafe` lives in two of them.

use std::path::{Path, PathBuf};

/// Rooms by rank; a room may name rooms of a lower rank only, so rooms of one rank are strangers.
const RANKS: [(&str, u32); 15] = [
    ("error", 0),
    ("limits", 0),
    ("sys", 1),
    ("histogram", 1),
    ("key", 2),
    ("options", 3),
    ("arena", 4),
    ("index", 5),
    ("log", 5),
    ("lock", 5),
    ("reclaim", 5),
    ("store", 6),
    ("cluster", 6),
    ("backend", 7),
    ("ffi", 8),
];

fn rank(room: &str) -> Option<u32> {
    RANKS.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank)
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the source tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn each_source(mut look: impl FnMut(&str, &str, &str)) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 20, "the walk found only {} files", files.len());
    for file in files {
        let name = file.strip_prefix(&src).expect("below src").display().to_string();
        let room = name.split(['/', '.']).next().expect("a room").to_string();
        let text = std::fs::read_to_string(&file).expect("readable source");
        look(&room, &name, &text);
    }
}

#[test]
fn arrows_run_one_way() {
    let mut wrong = Vec::new();
    each_source(|room, name, text| {
        let Some(own) = rank(room).or((room == "lib").then_some(9)) else {
            wrong.push(format!("{name}: the room {room} has no rank"));
            return;
        };
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for at in line.match_indices("crate::").map(|(at, _)| at + 7) {
                let other: String =
                    line[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if other != room && rank(&other).is_none_or(|other| other >= own) {
                    wrong.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "these arrows run the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_lives_in_two_rooms() {
    each_source(|room, name, text| {
        if !matches!(room, "sys" | "ffi" | "lib") {
            let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
            for line in code {
                assert!(!line.contains("unsafe "), "{name}: {line}");
            }
        }
    });
}
