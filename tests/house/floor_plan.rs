//! The floor plan holds: rooms know only the rooms below them, in the library and in the daemon, and
//! `unsafe` lives in two of the library's.

use std::path::{Path, PathBuf};

/// A crate: where it is, its rooms by rank, those that join everything, and how it calls itself.
struct House {
    sources: &'static str,
    /// A room may name rooms of a lower rank only, so rooms of one rank are strangers.
    ranks: &'static [(&'static str, u32)],
    /// Files at the top that may name every room.
    roofs: &'static [&'static str],
    /// What an arrow to another room begins with.
    own_names: &'static [&'static str],
    least_files: usize,
}

const LIBRARY: House = House {
    sources: "../src",
    ranks: &[
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
    ],
    roofs: &["lib"],
    own_names: &["crate::"],
    least_files: 20,
};

const DAEMON: House = House {
    sources: "../daemon/src",
    ranks: &[
        ("command", 0),
        ("limits", 0),
        // What only knows the maxima, or nothing; `cli` is the other program, and knows nobody.
        ("auth", 1),
        ("cli", 1),
        ("metrics", 1),
        ("net", 1),
        ("profile", 1),
        ("protocol", 1),
        ("recency", 1),
        ("service", 1),
        ("sessions", 1),
        ("settings", 1),
        ("counters", 1),
        // It knows which variables are the process's own.
        ("config", 2),
        ("http", 2),
        ("stats", 2),
        ("execute", 3),
        ("log", 3),
        ("conversation", 4),
        ("server", 5),
    ],
    roofs: &["lib", "main", "bin"],
    own_names: &["crate::", "holdfastd::"],
    least_files: 80,
};

/// Rooms of the daemon that the store is hidden from, and who may know it: only what executes on it,
/// what tells its numbers, and what opens it.
const KNOW_THE_STORE: [&str; 7] =
    ["config", "execute", "metrics", "server", "sessions", "stats", "lib"];

impl House {
    fn rank(&self, room: &str) -> Option<u32> {
        let known = self.ranks.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank);
        known.or(self.roofs.contains(&room).then_some(u32::MAX))
    }

    fn each_source(&self, mut look: impl FnMut(&str, &str, &str)) {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.sources);
        let mut files = Vec::new();
        sources(&src, &mut files);
        assert!(files.len() > self.least_files, "the walk found only {} files", files.len());
        for file in files {
            let name = file.strip_prefix(&src).expect("below src").display().to_string();
            let room = name.split(['/', '.']).next().expect("a room").to_string();
            let text = std::fs::read_to_string(&file).expect("readable source");
            look(&room, &name, &text);
        }
    }

    /// Each arrow from one room to another: its file, its room, the other room, the line.
    fn each_arrow(&self, mut look: impl FnMut(&str, &str, &str, &str)) {
        self.each_source(|room, name, text| {
            for line in code(text) {
                for other in named(line, self.own_names) {
                    if other != room {
                        look(name, room, &other, line.trim());
                    }
                }
            }
        });
    }

    fn wrong_arrows(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.each_source(|room, name, _| {
            if self.rank(room).is_none() {
                wrong.push(format!("{name}: the room {room} has no rank"));
            }
        });
        self.each_arrow(|name, room, other, line| {
            let own = self.rank(room).unwrap_or(0);
            if self.rank(other).is_none_or(|other| other >= own) {
                wrong.push(format!("{name}: {line}"));
            }
        });
        wrong
    }
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

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The words behind each of these beginnings in a line, where it is a word's beginning.
fn named(line: &str, beginnings: &[&str]) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for beginning in beginnings {
        for (at, _) in line.match_indices(beginning) {
            if !line[..at].ends_with(is_word) {
                let behind = line[at + beginning.len()..].chars();
                found.push(behind.take_while(|c| is_word(*c)).collect());
            }
        }
    }
    found
}

#[test]
fn arrows_run_one_way() {
    for house in [LIBRARY, DAEMON] {
        let wrong = house.wrong_arrows();
        assert!(wrong.is_empty(), "these arrows run the wrong way:\n{}", wrong.join("\n"));
    }
}

/// The waist and its two ends: each may be read, and used elsewhere, without the rest of the daemon.
#[test]
fn the_ends_of_the_daemon_are_strangers() {
    let may = |room: &str, other: &str| match room {
        "command" => false,
        "net" | "auth" | "profile" | "recency" | "sessions" | "settings" => other == "limits",
        "protocol" => matches!(other, "command" | "limits"),
        "cli" | "metrics" => false,
        "conversation" => matches!(other, "command" | "execute" | "limits" | "net" | "protocol"),
        // Of a dialect it knows what is measured in requests, never how they look.
        "execute" => !matches!(other, "net" | "config" | "http" | "service" | "log"),
        _ => true,
    };
    let (mut seen, mut wrong) = (0, Vec::new());
    DAEMON.each_arrow(|name, room, other, line| {
        seen += 1;
        if !may(room, other) {
            wrong.push(format!("{name}: {line}"));
        }
    });
    assert!(seen > 80, "only {seen} arrows were found");
    assert!(wrong.is_empty(), "these know too much:\n{}", wrong.join("\n"));
}

#[test]
fn few_rooms_of_the_daemon_know_the_store() {
    let mut knowing = 0;
    DAEMON.each_source(|room, name, text| {
        for line in code(text).filter(|line| !named(line, &["holdfast::"]).is_empty()) {
            assert!(KNOW_THE_STORE.contains(&room), "{name}: {}", line.trim());
            knowing += 1;
        }
    });
    assert!(knowing > 10, "only {knowing} lines that name the library were found");
}

#[test]
fn unsafe_lives_in_two_rooms() {
    LIBRARY.each_source(|room, name, text| {
        if !matches!(room, "sys" | "ffi" | "lib") {
            assert_eq!(unsafe_line(text), None, "src/{name}");
        }
    });
    let daemon = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon");
    let mut files = Vec::new();
    sources(&daemon.join("src"), &mut files);
    sources(&daemon.join("tests"), &mut files);
    assert!(files.len() > DAEMON.least_files);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable source");
        assert_eq!(unsafe_line(&text), None, "{}", file.display());
    }
}

fn unsafe_line(text: &str) -> Option<&str> {
    code(text).find(|line| line.contains("unsafe "))
}
