//! The progress bar, when standard error is a terminal; else nothing. Called by the session.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long between two pictures.
const STEP: Duration = Duration::from_millis(50);

/// One phase on the terminal.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// When the length is a time and not a number of requests.
    start: Option<Instant>,
}

impl Progress {
    /// A phase of so many requests.
    pub(super) fn counting(what: &'static str, requests: u64) -> Self {
        Self { bar: bar(what, requests), start: None }
    }

    /// A phase of so much time.
    pub(super) fn lasting(what: &'static str, length: Duration) -> Self {
        let milliseconds = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self { bar: bar(what, milliseconds), start: Some(Instant::now()) }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// Shows how far it is and waits for the next picture.
    pub(super) fn show(&self, done: &AtomicU64) {
        let Some(bar) = &self.bar else { return };
        let done = done.load(Ordering::Relaxed);
        let passed = |start: &Instant| start.elapsed().as_millis();
        let position = self.start.as_ref().map(passed).map(u64::try_from);
        bar.set_position(position.and_then(Result::ok).unwrap_or(done));
        bar.set_message(format!("{done} requests"));
        thread::sleep(STEP);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, length: u64) -> Option<ProgressBar> {
    if !stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{prefix:8} {bar:40} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    Some(bar)
}
