//! What a server is to its system: a service of systemd's, a process in the background, a user, limits,
//! signals. Everything here is a step of the start or the stop that `main` takes one after the other;
//! nothing here knows of requests or of the store's contents.
//!
//! The order of a start is not free. The background comes first, while there is nothing to hand over;
//! then the log and the sockets that were inherited, while there is one thread. What only root may do
//! comes before root is given up: listening, the pid file, limits, locked memory. Core files are
//! settled after that, because a change of user undoes it. Only then is the store opened, as the user
//! whose files it makes; and when everything serves, starter and service manager are told.

pub mod background;
pub mod files;
pub mod identity;
pub mod limits;
pub mod signals;
pub mod systemd;

use std::io;
use std::path::PathBuf;

pub use background::{CHILD, Role};

/// What can go wrong. Each sentence says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A server runs already.
    #[error("{path} names process {pid}, which lives: is a server running already?", path = .0.display(), pid = .1)]
    Running(PathBuf, i32),
    /// A file could not be written.
    #[error("{path} cannot be written: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    /// No such user.
    #[error("there is no user {0:?} (-u)")]
    NoUser(String),
    /// Root, and nobody said as whom.
    #[error(
        "started as root, and {} {problem}: say with -u USER as whom to run (-u root stays root)",
        store.display()
    )]
    Root {
        /// The store's directory.
        store: PathBuf,
        /// What about it.
        problem: &'static str,
    },
    /// The user could not be changed.
    #[error("cannot become {user}: {error}")]
    Become {
        /// Whom.
        user: String,
        /// Why not.
        error: io::Error,
    },
    /// Too few file descriptors.
    #[error(
        "{connections} connections (-c) need {needed} open files, and this process may have {have}: \
         raise LimitNOFILE= of the unit or `ulimit -n`, or lower -c"
    )]
    Descriptors {
        /// What -c says.
        connections: usize,
        /// What that needs.
        needed: u64,
        /// What there is.
        have: u64,
    },
    /// Memory cannot be locked.
    #[error("cannot lock the memory (-k): {0}; raise LimitMEMLOCK= of the unit or `ulimit -l`")]
    Memory(io::Error),
    /// The background could not be entered.
    #[error("cannot run in the background: {0}")]
    Background(io::Error),
    /// What the service manager handed over is no use.
    #[error("the service manager's sockets cannot be used: {0}")]
    Sockets(io::Error),
    /// No signals.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
}
