//! CPU profiles of the running server, in the protobuf format of pprof. One at a time, of a minute at
//! most; the admin port asks for them, and only where the server was started with `--profiling`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::limits::PROFILE_MAX_S;

/// What can go wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProfileError {
    /// Somebody else's is running.
    #[error("another profile is being taken")]
    Busy,
    /// Built without it.
    #[error("this server was built without profiles")]
    NotBuilt,
    /// The server ends.
    #[error("the server ends")]
    Ending,
    /// Too long, or no time at all.
    #[error("a profile takes 1 to {PROFILE_MAX_S} seconds")]
    Seconds,
    /// The profiler's own words.
    #[error("the profiler failed: {0}")]
    Failed(String),
}

static RUNNING: AtomicBool = AtomicBool::new(false);

/// Frees the profiler for the next one, however this one ends.
struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Release);
    }
}

/// Takes a profile of so many seconds; ends early when `ending` says so.
pub fn cpu(seconds: u64, ending: &dyn Fn() -> bool) -> Result<Vec<u8>, ProfileError> {
    if !(1..=PROFILE_MAX_S).contains(&seconds) {
        return Err(ProfileError::Seconds);
    }
    if RUNNING.swap(true, Ordering::Acquire) {
        return Err(ProfileError::Busy);
    }
    let _turn = Turn;
    take(Instant::now() + Duration::from_secs(seconds), ending)
}

#[cfg(feature = "profiling")]
fn take(until: Instant, ending: &dyn Fn() -> bool) -> Result<Vec<u8>, ProfileError> {
    use pprof::protos::Message;

    let failed = |error: pprof::Error| ProfileError::Failed(error.to_string());
    // Ninety-nine and not a hundred: in step with no timer. The list names libraries whose frames
    // cannot be unwound inside a signal handler without the risk of a deadlock.
    let profiler = pprof::ProfilerGuardBuilder::default()
        .frequency(99)
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(failed)?;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if ending() {
            return Err(ProfileError::Ending);
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    let profile = profiler.report().build().and_then(|report| report.pprof()).map_err(failed)?;
    profile.write_to_bytes().map_err(|error| ProfileError::Failed(error.to_string()))
}

#[cfg(not(feature = "profiling"))]
fn take(_until: Instant, _ending: &dyn Fn() -> bool) -> Result<Vec<u8>, ProfileError> {
    Err(ProfileError::NotBuilt)
}
