//! Where a value came from, and what is wrong with it. No text here shows more than names, values of
//! options and lines: none of them is a secret, because passwords are never options.

use std::fmt;
use std::path::PathBuf;

use super::option::Opt;

/// Where a value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the configuration file.
    File(PathBuf, usize),
    /// A line of a memcached.conf.
    MemcachedConf(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag, as it was written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) | Origin::MemcachedConf(path, line) => {
                write!(f, "{}:{line}", path.display())
            }
            Origin::Environment(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// A value that was said for an option.
#[derive(Debug, Clone)]
pub struct Given {
    /// Which.
    pub option: &'static Opt,
    /// As it was written.
    pub text: String,
    /// By whom.
    pub origin: Origin,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}{message}", if place.is_empty() { "" } else { ": " })]
pub struct Problem {
    /// Where.
    pub place: String,
    /// What, and what would be right.
    pub message: String,
}

impl Problem {
    /// A mistake at a place.
    pub fn new(place: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem { place: place.to_string(), message: message.into() }
    }
}

/// All mistakes that were found, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

/// Something that is no mistake, but that whoever reads the log may want to know. Collected while
/// there is no log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Is it to be seen without asking?
    pub warning: bool,
    /// One sentence.
    pub text: String,
}

impl Note {
    /// Worth a look.
    pub fn warning(text: impl Into<String>) -> Note {
        Note { warning: true, text: text.into() }
    }

    /// For those who ask for all.
    pub fn debug(text: impl Into<String>) -> Note {
        Note { warning: false, text: text.into() }
    }
}
