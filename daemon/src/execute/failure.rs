//! Failures of the store, as clients and the log learn of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::Error;

use super::{Client, Shared};
use crate::command::{Failure, Reply};
use crate::counters::Count;

/// What clients are told that may not do something.
pub(super) const NO_DUMP: &str = "metadump not allowed";
pub(super) const NO_FLUSH: &str = "flush_all not allowed";
pub(super) const NO_SHUTDOWN: &str = "shutdown not enabled";
pub(super) const NO_TEST: &str = "debugtime not enabled";
/// A failure of one kind is logged at most this often: a full disk fails every write.
const QUIET: Duration = Duration::from_secs(10);
/// Kinds of failures, by their codes, and one for those of later versions.
const KINDS: usize = 32;

fn kind(error: &Error) -> usize {
    usize::try_from(error.code().unsigned_abs()).map_or(0, |code| code % KINDS)
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::TooLarge { .. } => Failure::TooLarge,
        Error::Full(_) | Error::NoSpace(_) | Error::NoMemory(_) => Failure::Full,
        Error::Damaged(_) => Failure::Damaged,
        Error::Busy(_) | Error::TooMany(_) => Failure::Busy,
        Error::ReadOnly(_) | Error::SyncFailed(_) => Failure::NotWritable,
        // Keys and lifetimes were checked before: what is left is a version for a value with an owner.
        Error::Invalid(_) => Failure::Conflict("this value takes no version from outside"),
        _ => Failure::Internal,
    }
}

/// Failures on their way to the log, one of a kind in a while.
pub(super) struct Log {
    begun: Instant,
    /// Milliseconds since then when each kind may be logged again.
    quiet_until: [AtomicU64; KINDS],
}

impl Log {
    pub(super) fn new() -> Log {
        let quiet_until = std::array::from_fn(|_| AtomicU64::new(0));
        Log { begun: Instant::now(), quiet_until }
    }

    fn is_due(&self, kind: usize, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.begun).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let until = self.quiet_until[kind].load(Ordering::Relaxed);
        let next = since.saturating_add(QUIET.as_secs() * 1000);
        // One of those who come at the same time.
        since >= until
            && self.quiet_until[kind]
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Logs a failure and says what to tell the client. The store's sentences name no keys.
    #[cold]
    pub(super) fn failed(&self, error: &Error) -> Failure {
        let failure = failure(error);
        let is_ours = !matches!(failure, Failure::TooLarge | Failure::Conflict(_));
        if is_ours && self.is_due(kind(error), Instant::now()) {
            tracing::error!(code = error.code(), "a request failed: {error}");
        }
        failure
    }
}

impl Shared {
    #[cold]
    pub(super) fn failed(&self, client: &Client, error: &Error) -> Reply<'static> {
        let failure = self.log.failed(error);
        client.block.count(match failure {
            Failure::TooLarge => Count::StoreTooLarge,
            Failure::Full => Count::StoreNoMemory,
            _ => Count::Failures,
        });
        Reply::Failed(failure)
    }

    /// Nothing was written, because another owner has the session's lock now.
    #[cold]
    pub(super) fn lost(&self, client: &Client) -> Reply<'static> {
        client.block.count(Count::LocksLost);
        Reply::Failed(Failure::LockLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_logged_once_in_a_while() {
        let log = Log::new();
        let at = |s| log.begun + Duration::from_secs(s);
        assert!(log.is_due(3, at(0)) && !log.is_due(3, at(9)) && log.is_due(4, at(9)));
        assert!(log.is_due(3, at(10)) && !log.is_due(3, at(11)));
    }

    #[test]
    fn every_error_has_its_failure() {
        let text = String::new;
        assert_eq!(failure(&Error::Full(text())), Failure::Full);
        assert_eq!(failure(&Error::NoSpace(text())), Failure::Full);
        assert_eq!(failure(&Error::TooLarge { len: 2, max: 1 }), Failure::TooLarge);
        assert_eq!(failure(&Error::Damaged(text())), Failure::Damaged);
        assert_eq!(failure(&Error::ReadOnly(text())), Failure::NotWritable);
        assert_eq!(failure(&Error::SyncFailed(text())), Failure::NotWritable);
        assert_eq!(failure(&Error::Busy(text())), Failure::Busy);
        assert_eq!(failure(&Error::Panic(text())), Failure::Internal);
    }
}
