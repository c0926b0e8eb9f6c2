//! The command line: our long flags, made from the table of options, and memcached's letters. Gives
//! what was said in the order in which it was said; the last one wins. Called by the door of this
//! room, and for each line of a memcached.conf.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::kind::Kind;
use super::memcached::{FOREIGN, Foreign, Meant, translate};
use super::option::{OPTIONS, Opt};
use super::origin::{Given, Origin, Problem};

/// What is asked for instead of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `-h`.
    Help,
    /// `-V`.
    Version,
    /// `-i`.
    License,
    /// `--check-config`.
    Check,
}

/// What a command line says.
pub struct Flags {
    /// Values of options, notes, mistakes.
    pub meant: Meant,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--memcached-conf`.
    pub memcached_conf: Option<PathBuf>,
    /// What is asked for instead of a server.
    pub special: Option<Special>,
}

const VERBOSE: &str = "verbose";

thread_local! {
    /// Made once: it takes longer than what it is used for, and a memcached.conf is read line by line.
    static COMMAND: RefCell<Command> = RefCell::new(command());
}

const SPECIALS: [(&str, Option<char>, Special, &str); 4] = [
    ("help", Some('h'), Special::Help, "this help"),
    ("version", Some('V'), Special::Version, "the version"),
    ("license", Some('i'), Special::License, "the licence"),
    ("check-config", None, Special::Check, "print what would hold and who said so, and end"),
];

const FILES: [(&str, &str); 2] = [
    ("config", "configuration file; also $HOLDFAST_CONFIG"),
    ("memcached-conf", "flags from a file such as /etc/memcached.conf"),
];

/// Reads arguments, without the program's name. `place` stands for all flags where they come from a
/// file.
pub fn read(args: Vec<OsString>, place: Option<&Origin>) -> Result<Flags, Problem> {
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(args));
    let matches = matches.map_err(|error| refused(&error))?;
    let origin = |written: &str| place.cloned().unwrap_or(Origin::Flag(written.into()));
    let mut said: Vec<(usize, Meant)> = vec![];
    for option in OPTIONS {
        for (at, written, text) in mentions(&matches, option)? {
            let given = vec![Given { option, text, origin: origin(&written) }];
            said.push((at, Meant { given, ..Meant::default() }));
        }
    }
    for foreign in FOREIGN {
        let written = format!("-{}/--{}", foreign.letter, foreign.long);
        let mentions = valued(&matches, foreign.long)?;
        for (at, text) in mentions {
            said.push((at, translate(foreign.letter, &text, &origin(&written))));
        }
    }
    said.sort_by_key(|(at, _)| *at);
    let mut meant = Meant::default();
    for (_, part) in said {
        meant.given.extend(part.given);
        meant.notes.extend(part.notes);
        meant.problems.extend(part.problems);
    }
    let file = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let special = SPECIALS.iter().find(|(name, ..)| matches.get_flag(name)).map(|row| row.2);
    Ok(Flags { meant, config: file("config"), memcached_conf: file("memcached-conf"), special })
}

/// All mentions of an option: position, how it is written, value.
fn mentions(matches: &ArgMatches, option: &Opt) -> Result<Vec<(usize, String, String)>, Problem> {
    let written = match option.short {
        Some(letter) if option.kind != Kind::Bool => format!("-{letter}/--{}", option.name),
        _ => format!("--{}", option.name),
    };
    if option.name == VERBOSE {
        let times = counted(matches, option.name);
        return Ok(times.map(|(at, n)| (at, written, n.min(3).to_string())).into_iter().collect());
    }
    let values = valued(matches, option.name)?.into_iter();
    let mut found: Vec<_> = values.map(|(at, text)| (at, written.clone(), text)).collect();
    if let (Kind::Bool, Some(letter)) = (option.kind, option.short) {
        let letters = valued(matches, &letter_id(option))?.into_iter();
        found.extend(letters.map(|(at, text)| (at, format!("-{letter}"), text)));
    }
    Ok(found)
}

/// Positions and values of a flag that takes one.
fn valued(matches: &ArgMatches, id: &str) -> Result<Vec<(usize, String)>, Problem> {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<OsString>(id).into_iter().flatten();
    let text = |value: &OsString| {
        value.to_str().map(String::from).ok_or(Problem::new(format!("--{id}"), "is not UTF-8"))
    };
    indices.zip(values).map(|(at, value)| Ok((at, text(value)?))).collect()
}

/// The last position of a flag that takes no value, and how often it is there.
fn counted(matches: &ArgMatches, id: &str) -> Option<(usize, u8)> {
    let times = matches.get_count(id);
    (times > 0).then(|| (matches.indices_of(id).into_iter().flatten().last().unwrap_or(0), times))
}

/// A yes-or-no option and its letter are two arguments: only the long one takes a value.
fn letter_id(option: &Opt) -> String {
    format!("-{}", option.name)
}

/// The help, as `-h` shows it.
pub fn help() -> String {
    command().render_help().to_string()
}

fn refused(error: &clap::Error) -> Problem {
    // clap's first line says it all; usage and hints are in the help.
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let hint = lines.find(|line| line.starts_with("tip:")).map(|line| format!(" ({line})"));
    let message = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            format!("{first}{}; holdfastd --help lists the flags", hint.unwrap_or_default())
        }
        _ => first.to_string(),
    };
    Problem { place: String::new(), message }
}

fn command() -> Command {
    let mut command = Command::new("holdfastd")
        .about("A drop-in memcached that remembers")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .override_usage("holdfastd [FLAGS]")
        .term_width(100);
    for option in OPTIONS {
        command = add(command, option);
    }
    for foreign in FOREIGN {
        command = add_foreign(command, foreign);
    }
    for (name, help) in FILES {
        let path = clap::value_parser!(OsString);
        let arg = Arg::new(name).long(name).help(help).value_name("FILE").value_parser(path);
        command = command.arg(arg.help_heading("Configuration"));
    }
    for (name, short, _, help) in SPECIALS {
        let arg = Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
        let arg = match short {
            Some(short) => arg.short(short),
            None => arg,
        };
        command = command.arg(arg.help_heading("Configuration"));
    }
    command
}

fn add(command: Command, option: &'static Opt) -> Command {
    let told = match (option.default, option.unset) {
        ("false", _) => String::new(),
        ("", unset) => format!(" [else: {unset}]"),
        (default, _) => format!(" [default: {default}]"),
    };
    let arg = Arg::new(option.name)
        .long(option.name)
        .help(format!("{}{told}", option.help))
        .help_heading(option.group)
        .hide(option.hidden)
        .value_parser(clap::value_parser!(OsString));
    if option.name == VERBOSE {
        let arg = arg.value_parser(clap::value_parser!(u8));
        return command.arg(arg.short('v').num_args(0).action(ArgAction::Count));
    }
    if option.kind != Kind::Bool {
        let arg = match option.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        let arg = arg.action(ArgAction::Append).value_name(placeholder(option.kind));
        return command.arg(arg.allow_negative_numbers(option.kind == Kind::Port));
    }
    // `--evict` and `--evict=false` both; a letter takes no value, so that letters can be bundled.
    let letter = option
        .short
        .map(|short| without_value(Arg::new(letter_id(option)).short(short)).hide(true));
    let letter_told = option.short.map(|short| format!(" [-{short}]")).unwrap_or_default();
    command
        .arg(
            arg.help(format!("{}{told}{letter_told}", option.help))
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_name("true|false")
                .action(ArgAction::Append),
        )
        .args(letter)
}

/// A flag that may be there more than once, and stands for `true`.
fn without_value(arg: Arg) -> Arg {
    arg.num_args(0)
        .default_missing_value("true")
        .value_parser(clap::value_parser!(OsString))
        .action(ArgAction::Append)
}

fn add_foreign(command: Command, foreign: &'static Foreign) -> Command {
    let arg = Arg::new(foreign.long)
        .short(foreign.letter)
        .long(foreign.long)
        .help(foreign.help)
        .help_heading("As memcached says it");
    command.arg(match foreign.value {
        "" => without_value(arg),
        value => {
            let arg = arg.value_name(value).value_parser(clap::value_parser!(OsString));
            arg.action(ArgAction::Append)
        }
    })
}

fn placeholder(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true|false".into(),
        Kind::Number(..) | Kind::Threads => "N".into(),
        Kind::Port => "PORT".into(),
        Kind::Size(..) => "SIZE".into(),
        Kind::Span { .. } => "TIME".into(),
        Kind::Octal => "MASK".into(),
        Kind::Letter => "CHAR".into(),
        Kind::Path => "PATH".into(),
        Kind::Text(_) => "TEXT".into(),
        Kind::Choice(names) => names.join("|"),
        Kind::Addresses => "LIST".into(),
        Kind::Names => "NAMES".into(),
        Kind::AddressOrOff => "ADDRESS".into(),
    }
}
