//! What was counted: one tally per thread and phase, added up at the end. Pure.

use super::limits::MAX_LATENCY;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Latencies in nanoseconds, three digits exact.
type Latencies = Histogram<u64>;

/// Read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Set,
}

/// Counts of one thread, or of all.
#[derive(Clone)]
pub(super) struct Tally {
    gets: Latencies,
    sets: Latencies,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) refused: u64,
    pub(super) first_refusal: Option<String>,
    pub(super) not_started: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// When the last answer came, counted from the start of the phase.
    pub(super) elapsed: Duration,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            gets: latencies(),
            sets: latencies(),
            hits: 0,
            misses: 0,
            refused: 0,
            first_refusal: None,
            not_started: 0,
            bytes_received: 0,
            bytes_sent: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// A request was answered, and rightly, after so long.
    pub(super) fn answered(&mut self, kind: Kind, nanoseconds: u64) {
        match kind {
            Kind::Get => self.gets.saturating_record(nanoseconds),
            Kind::Set => self.sets.saturating_record(nanoseconds),
        }
    }

    /// The server did not do it this time. It is no answered request and has no latency.
    pub(super) fn refused(&mut self, text: impl FnOnce() -> String) {
        self.refused += 1;
        self.first_refusal.get_or_insert_with(text);
    }

    /// Adds what another thread counted.
    pub(super) fn add(&mut self, other: Self) {
        // Both have the same bounds, which is the only thing that adding could fail for.
        let _same = (self.gets.add(&other.gets), self.sets.add(&other.sets));
        self.hits += other.hits;
        self.misses += other.misses;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
        self.not_started += other.not_started;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// Requests that were answered rightly.
    pub(super) fn requests(&self) -> u64 {
        self.gets.len() + self.sets.len()
    }

    pub(super) fn gets(&self) -> Percentiles {
        percentiles(&self.gets)
    }

    pub(super) fn sets(&self) -> Percentiles {
        percentiles(&self.sets)
    }

    pub(super) fn all(&self) -> Percentiles {
        let mut all = self.gets.clone();
        let _same = all.add(&self.sets);
        percentiles(&all)
    }
}

fn latencies() -> Latencies {
    let most = u64::try_from(MAX_LATENCY.as_nanos()).unwrap_or(u64::MAX);
    // Only a highest latency below 2 or more than five digits would be refused; both are constants.
    Histogram::new_with_bounds(1, most, 3).unwrap_or_else(|error| unreachable!("{error}"))
}

fn percentiles(latencies: &Latencies) -> Percentiles {
    let at = |percent: f64| microseconds(latencies.value_at_percentile(percent));
    let max = microseconds(latencies.max());
    // A percentile is the upper edge of its class; none is more than the greatest that came.
    let [p50, p90, p99, p99_9] = [50.0, 90.0, 99.0, 99.9].map(|percent| at(percent).min(max));
    Percentiles { count: latencies.len(), p50, p90, p99, p99_9, max }
}

fn microseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 10.0).round() / 100.0
}

/// The middle of some numbers, of an even count the mean of the middle two; 0 of none.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.get(middle), numbers.len() % 2) {
        (None, _) => 0.0,
        (Some(&number), 1) => number,
        (Some(&upper), _) => (numbers.get(middle - 1).unwrap_or(&upper) + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut one = Tally::new();
        let mut two = Tally::new();
        for latency in 1..=1000u64 {
            let tally = if latency % 2 == 0 { &mut one } else { &mut two };
            tally.answered(Kind::Get, latency * 1000);
        }
        two.answered(Kind::Set, 5_000_000);
        one.add(two);
        let gets = one.gets();
        let near = |came: f64, expected: f64| (came - expected).abs() <= expected * 0.002;
        assert_eq!(gets.count, 1000);
        assert!(
            near(gets.p50, 500.0) && near(gets.p90, 900.0) && near(gets.p99, 990.0),
            "{gets:?}"
        );
        assert!(near(gets.p99_9, 999.0) && near(gets.max, 1000.0), "{gets:?}");
        assert_eq!((one.sets().count, one.requests()), (1, 1001));
        assert!(near(one.all().max, 5000.0) && near(one.all().p50, 501.0));
    }

    #[test]
    fn absurd_latencies_are_the_longest_and_nothing_is_zero() {
        let mut tally = Tally::new();
        tally.answered(Kind::Get, u64::MAX);
        assert!(tally.gets().max >= MAX_LATENCY.as_secs_f64() * 1e6 * 0.999);
        assert_eq!(Tally::new().all().count, 0);
        assert_eq!(Tally::new().all().p99, 0.0);
    }

    #[test]
    fn refusals_are_no_requests_and_the_first_is_kept() {
        let mut tally = Tally::new();
        tally.refused(|| "first".into());
        tally.refused(|| "second".into());
        assert_eq!((tally.refused, tally.requests()), (2, 0));
        let mut sum = Tally::new();
        sum.add(tally);
        assert_eq!(sum.first_refusal.as_deref(), Some("first"));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }
}
