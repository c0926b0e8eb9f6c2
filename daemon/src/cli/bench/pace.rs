//! When requests start: as soon as a connection is free, or at a fixed rate. Pure.
//!
//! At a fixed rate each request has an intended start that does not depend on the answers, and its
//! latency counts from there: a server that stands still for a second delays all requests of that
//! second, not only the few that were under way. Called by the workers, one pace each.

use super::limits::LATE_STARTS;
use super::pick::whole;
use std::time::Duration;

/// Which requests of a phase have started and which may start; times in nanoseconds of the phase.
#[derive(Debug)]
pub(super) struct Pace {
    started: u64,
    left: u64,
    /// No request is due from here on.
    end: u64,
    /// Until here a request may start that was due before the end: the machine may have been late.
    late_end: u64,
    open: Option<Schedule>,
}

/// The intended starts: `first`, `first + interval`, and so on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    first: f64,
    interval: f64,
}

impl Schedule {
    /// The share of one of `threads` threads in a rate per second; they take turns.
    pub(super) fn new(rate: f64, thread: usize, threads: usize) -> Self {
        let all = 1e9 / rate;
        Self { first: all * thread as f64, interval: all * threads as f64 }
    }

    fn at(&self, number: u64) -> f64 {
        self.first + self.interval * number as f64
    }

    /// How many intended starts are before this time, or at it.
    fn until(&self, time: u64) -> u64 {
        let passed = time as f64 - self.first;
        if passed < 0.0 { 0 } else { whole(passed / self.interval) + 1 }
    }
}

impl Pace {
    /// Starts are allowed for so long.
    pub(super) fn lasting(length: Duration, open: Option<Schedule>) -> Self {
        let end = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let late = if open.is_some() { LATE_STARTS } else { Duration::ZERO };
        let late_end = u64::try_from((length + late).as_nanos()).unwrap_or(u64::MAX);
        Self { started: 0, left: u64::MAX, end, late_end, open }
    }

    /// So many starts are allowed.
    pub(super) fn counting(requests: u64, open: Option<Schedule>) -> Self {
        Self { started: 0, left: requests, end: u64::MAX, late_end: u64::MAX, open }
    }

    /// How many requests may start now, at most `most`.
    pub(super) fn due(&self, now: u64, most: usize) -> usize {
        if now >= self.late_end {
            return 0;
        }
        let now = now.min(self.end.saturating_sub(1));
        let due = match &self.open {
            None => self.left,
            Some(schedule) => schedule.until(now).saturating_sub(self.started).min(self.left),
        };
        usize::try_from(due).unwrap_or(usize::MAX).min(most)
    }

    /// Counts a start; its intended time where there is one.
    pub(super) fn start(&mut self) -> Option<u64> {
        let intended = self.open.map(|schedule| whole(schedule.at(self.started)));
        self.started += 1;
        self.left = self.left.saturating_sub(1);
        intended
    }

    /// Whether nothing will be due any more.
    pub(super) fn over(&self, now: u64) -> bool {
        self.left == 0 || now >= self.late_end || self.next().is_some_and(|next| next >= self.end)
    }

    /// The intended start of the next request.
    pub(super) fn next(&self) -> Option<u64> {
        self.open.map(|schedule| whole(schedule.at(self.started)))
    }

    /// No more starts; those that were due by `now` stay counted as not started.
    pub(super) fn stop(&mut self, now: u64) {
        self.end = self.end.min(now);
        self.late_end = self.end;
    }

    /// Requests whose time has come and which no connection was free for.
    pub(super) fn not_started(&self) -> u64 {
        let due = |schedule: Schedule| schedule.until(self.end.saturating_sub(1));
        match (self.open, self.end) {
            (None, _) | (_, u64::MAX) => 0,
            (Some(schedule), _) => due(schedule).saturating_sub(self.started),
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of the test's own")]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_starts_until_its_time_or_count_is_over() {
        let mut pace = Pace::counting(3, None);
        assert_eq!((pace.due(0, 2), pace.due(u64::MAX - 1, 9)), (2, 3));
        for _ in 0..3 {
            assert!(!pace.over(5));
            assert_eq!(pace.start(), None);
        }
        assert!(pace.over(5) && pace.due(5, 1) == 0);
        let mut pace = Pace::lasting(Duration::from_nanos(100), None);
        assert_eq!((pace.due(99, 7), pace.due(100, 7)), (7, 0));
        pace.stop(50);
        assert!(pace.over(50) && pace.not_started() == 0);
    }

    #[test]
    fn an_open_loop_starts_on_time_and_counts_from_there() {
        // Two threads at 2 per microsecond: the second starts at 500, 1500, 2500 ns.
        let schedule = Schedule::new(2e6, 1, 2);
        let mut pace = Pace::lasting(Duration::from_nanos(4000), Some(schedule));
        assert_eq!((pace.due(499, 9), pace.due(500, 9), pace.due(2600, 9)), (0, 1, 3));
        assert_eq!((pace.due(2600, 2), pace.next()), (2, Some(500)));
        assert_eq!((pace.start(), pace.start()), (Some(500), Some(1500)));
        assert_eq!((pace.due(2600, 9), pace.next()), (1, Some(2500)));
        assert!(!pace.over(3000));
        assert_eq!(pace.not_started(), 2);
        let late = 4000 + LATE_STARTS.as_nanos() as u64;
        assert_eq!((pace.due(late - 1, 9), pace.due(late, 9)), (2, 0), "due before the end");
        assert!(!pace.over(late - 1) && pace.over(late));
        assert_eq!((pace.start(), pace.start()), (Some(2500), Some(3500)));
        assert!(pace.over(3600), "the next would be at 4500");
        assert_eq!(pace.not_started(), 0);
    }

    #[test]
    fn a_stopped_open_loop_is_over_and_counts_what_was_due() {
        let mut pace = Pace::counting(1000, Some(Schedule::new(1e9, 0, 1)));
        assert_eq!(pace.due(9, 100), 10);
        pace.stop(10);
        assert!(pace.over(10) && pace.due(10, 100) == 0);
        assert_eq!(pace.not_started(), 10);
    }
}
