//! The configuration file, TOML: one line for each option, by its name. Gives what was said, with its
//! lines; what is allowed is not decided here. Called by the door of this room with the file's text.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Kind;
use super::option::{OPTIONS, Opt};
use super::origin::{Given, Origin, Problem};

/// What the file says, and what is wrong with it.
pub fn read(path: &Path, text: &str) -> (Vec<Given>, Vec<Problem>) {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let origin = |at: usize| Origin::File(path.to_path_buf(), line(at));
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            return (vec![], vec![Problem::new(origin(at), error.message().trim())]);
        }
    };
    let (mut given, mut problems) = (vec![], vec![]);
    for (key, value) in table.get_ref() {
        let origin = origin(key.span().start);
        let Some(option) = OPTIONS.iter().find(|option| option.key() == **key.get_ref()) else {
            problems.push(Problem::new(origin, unknown(key.get_ref())));
            continue;
        };
        match words(option, value) {
            Some(text) => given.push(Given { option, text, origin }),
            None => {
                let allowed = option.kind.allowed();
                let what = value.get_ref().type_str();
                let message = format!("{} is of type {what}; it must be {allowed}", option.key());
                problems.push(Problem::new(origin, message));
            }
        }
    }
    // The table is sorted by name; people read from the top.
    given.sort_by(|one, other| one.origin.cmp(&other.origin));
    problems.sort_by(|one, other| one.place.cmp(&other.place));
    (given, problems)
}

fn unknown(key: &str) -> String {
    let distance = |option: &&Opt| strsim::damerau_levenshtein(&option.key(), key);
    let nearest = OPTIONS.iter().filter(|option| !option.hidden).min_by_key(distance);
    match nearest.filter(|option| distance(option) <= 3) {
        Some(option) => format!("there is no option {key:?}; {} is near", option.key()),
        None => format!("there is no option {key:?}; holdfastd --help lists them"),
    }
}

/// A value as it would be written in a flag; `None` for types that no option has.
fn words(option: &Opt, value: &Spanned<DeValue>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(yes) if option.kind == Kind::Bool => Some(yes.to_string()),
        DeValue::Integer(number) if option.kind != Kind::Bool => {
            // 0o660 and 660 are the same mask.
            let octal = option.kind == Kind::Octal && number.radix() == 8;
            match number.radix() {
                10 => Some(number.as_str().replace('_', "")),
                _ if octal => Some(number.as_str().to_string()),
                radix => Some(u64::from_str_radix(number.as_str(), radix).ok()?.to_string()),
            }
        }
        DeValue::Float(number) if option.name == "tls-min-version" => {
            Some(number.as_str().to_string())
        }
        DeValue::Array(list) if option.many || option.kind == Kind::Names => {
            let words: Option<Vec<_>> = list.iter().map(|item| item.get_ref().as_str()).collect();
            Some(words?.join(","))
        }
        _ => None,
    }
}
