//! The log: levels that can be changed while the server runs, in the form that suits who reads standard
//! error. It never sees keys, values or names of users; no other room chooses a form or a level.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Format, Log, Note};

/// How a panic is told.
const FAULT: &str = "a fault in this program; please report it";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// $HOLDFAST_LOG.
    #[error("HOLDFAST_LOG is {0:?}; it must be a level, or module=level pairs separated by commas")]
    Filter(String),
    /// A second start in one process.
    #[error("there is a log already")]
    Twice,
}

/// Changes the level of the running log.
#[derive(Clone)]
pub struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    configured: Log,
}

/// Starts the log, once in a process.
pub fn start(config: &Log) -> Result<Levels, LogError> {
    let (filter, handle) = reload::Layer::new(filter(config)?);
    let stderr = std::io::stderr();
    let file = rustix::fs::fstat(stderr.as_fd()).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let format = form(config.format, stream.as_deref(), file, stderr.is_terminal());
    Registry::default()
        .with(filter)
        .with(output(format))
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(Levels { filter: handle, configured: config.clone() })
}

/// Has faults of this program logged: where, and on which thread. What a panic says is not told,
/// because it may quote what it stumbled over: a key, a value.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        match panic.location() {
            Some(at) => tracing::error!(thread, file = at.file(), line = at.line(), "{FAULT}"),
            None => tracing::error!(thread, "{FAULT}"),
        }
    }));
}

/// Which form, given $JOURNAL_STREAM, device and inode of standard error, and whether that is a
/// terminal (systemd.exec(5): the variable says "device:inode" of the stream that journald reads).
fn form(asked: Format, stream: Option<&str>, file: Option<(u64, u64)>, terminal: bool) -> Format {
    let journal = stream.and_then(|text| text.split_once(':'));
    let journal = journal.and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    match asked {
        Format::Auto if journal.is_some() && journal == file => Format::Journald,
        Format::Auto if terminal => Format::Pretty,
        Format::Auto => Format::Json,
        asked => asked,
    }
}

fn output<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    // Whoever closes our standard error shall not make us panic: errors of writing stay untold.
    let lines = || fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        Format::Journald => match tracing_journald::layer() {
            Ok(layer) => layer.boxed(),
            Err(_) => lines().json().boxed(),
        },
        Format::Pretty => lines().with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json | Format::Auto => lines().json().flatten_event(true).boxed(),
    }
}

fn filter(config: &Log) -> Result<EnvFilter, LogError> {
    match &config.filter {
        Some(text) => EnvFilter::builder().parse(text).map_err(|_| LogError::Filter(text.clone())),
        None => Ok(of_level(config.level)),
    }
}

/// Our own lines at this level; those of crates below us only when they are warnings.
fn of_level(level: &str) -> EnvFilter {
    EnvFilter::new(match level {
        "error" => "error".into(),
        level => format!("warn,holdfastd={level}"),
    })
}

impl Levels {
    /// As the command `verbosity N` means it: 0 is what was configured, 1 debug, more is trace.
    pub fn verbosity(&self, level: u32) {
        let filter = match level {
            0 => filter(&self.configured).unwrap_or_else(|_| of_level(self.configured.level)),
            1 => of_level("debug"),
            _ => of_level("trace"),
        };
        self.swap(filter);
    }

    /// After a reload of the configuration. The form stays as it is.
    pub fn reload(&mut self, config: &Log) -> Result<(), LogError> {
        self.swap(filter(config)?);
        self.configured = config.clone();
        Ok(())
    }

    fn swap(&self, filter: EnvFilter) {
        // It fails only when the log is gone, and then nobody would read why.
        let _ = self.filter.reload(filter);
    }
}

/// What the configuration wanted to say before there was a log.
pub fn tell(notes: &[Note]) {
    for note in notes {
        match note.warning {
            true => tracing::warn!("{}", note.text),
            false => tracing::debug!("{}", note.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_decides_the_form() {
        let auto = |stream, terminal| form(Format::Auto, stream, Some((8, 42)), terminal);
        assert_eq!(auto(Some("8:42"), false), Format::Journald);
        assert_eq!(auto(Some("8:43"), false), Format::Json, "another stream: it was redirected");
        assert_eq!(auto(Some("8"), true), Format::Pretty);
        assert_eq!(auto(Some("-8:42"), false), Format::Json);
        assert_eq!(auto(None, true), Format::Pretty);
        assert_eq!(form(Format::Auto, None, None, false), Format::Json);
        assert_eq!(form(Format::Json, Some("8:42"), Some((8, 42)), true), Format::Json);
    }

    #[test]
    fn filters_are_checked_and_other_peoples_lines_are_few() {
        let log = |filter: Option<&str>| Log {
            level: "debug",
            format: Format::Auto,
            filter: filter.map(String::from),
        };
        let text = |log| filter(&log).map(|filter| filter.to_string());
        assert_eq!(text(log(None)).ok().as_deref(), Some("holdfastd=debug,warn"));
        assert_eq!(text(log(Some("trace"))).ok().as_deref(), Some("trace"));
        assert!(matches!(text(log(Some("a=b=c"))), Err(LogError::Filter(_))));
    }
}
