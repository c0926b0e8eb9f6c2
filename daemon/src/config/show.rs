//! The configuration as text: the effective one with its sources, and the example file. Both are made
//! from the table of options, and both are themselves configuration files.

use std::fmt::Write;

use super::Config;
use super::kind::Kind;
use super::option::{OPTIONS, Opt};

/// What `--check-config` prints: each option, its value, and who said so.
pub fn effective(config: &Config) -> String {
    let mut text = String::from("# holdfastd: what holds, and who said so\n");
    for option in OPTIONS.iter().filter(|option| !option.hidden) {
        let given = config.values.iter().find(|given| given.option.name == option.name);
        let (line, origin) = match given {
            Some(given) => (assignment(option, &given.text), given.origin.to_string()),
            None => (format!("# {}: {}", option.key(), option.unset), "default".into()),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line:<48} # {origin}");
    }
    for note in config.notes.iter().filter(|note| note.warning) {
        let _ = writeln!(text, "# warning: {}", note.text);
    }
    text
}

/// The example file: every option with its default and what it means.
pub fn example() -> String {
    let mut text = String::from(
        "# holdfastd's configuration, TOML. Every option is here, with its default; those that have none\n\
         # are commented out. The same names are flags (--max-bytes) and variables (HOLDFAST_MAX_BYTES).\n\
         # Sizes: 512KiB, 64MiB, 2GiB. Times: 250ms, 30s, 1h30m, 7days.\n\
         # `holdfastd --config FILE --check-config` checks a file and says what holds.\n",
    );
    let mut group = "";
    for option in OPTIONS.iter().filter(|option| !option.hidden) {
        if option.group != group {
            group = option.group;
            let _ = write!(text, "\n\n# ---- {group} ----\n");
        }
        let _ = writeln!(text, "\n{}", comment(option));
        let _ = match option.default {
            "" => writeln!(text, "#{}", assignment(option, option.example)),
            default => writeln!(text, "{}", assignment(option, default)),
        };
    }
    text
}

/// What an option does and allows, in lines of 100 columns.
fn comment(option: &Opt) -> String {
    let mut sentence =
        format!("{}{}", option.help, if option.help.ends_with('?') { "" } else { "." });
    if let Some(first) = sentence.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if !matches!(option.kind, Kind::Bool | Kind::Path | Kind::Addresses) {
        let _ = write!(sentence, " It must be {}.", option.kind.allowed());
    }
    if option.default.is_empty() {
        let _ = write!(sentence, " Without it: {}.", option.unset);
    }
    let mut lines = vec![String::from("#")];
    for word in sentence.split(' ') {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > 100) {
            lines.push(String::from("#"));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// A line of the file.
fn assignment(option: &Opt, text: &str) -> String {
    let bare = match option.kind {
        Kind::Bool => true,
        Kind::Number(..) | Kind::Port | Kind::Threads => text.parse::<i64>().is_ok(),
        _ => false,
    };
    let value = match bare {
        true if option.kind == Kind::Bool => {
            super::kind::boolean(text).unwrap_or_default().to_string()
        }
        true => text.to_string(),
        false => toml::Value::from(text).to_string(),
    };
    format!("{} = {value}", option.key())
}

/// What `-V` prints.
pub fn version_line() -> String {
    format!("holdfastd {} (as memcached 1.6.45)", env!("CARGO_PKG_VERSION"))
}

/// What `-i` prints.
pub fn license() -> String {
    format!("{}\n\n{}", version_line(), include_str!("../../../LICENSE"))
}
