//! How long something took: counts in buckets, each of which ends at twice the end of the one
//! before.
//!
//! Pure: it measures nothing and keeps nothing. `arena` has the words of two histograms in `meta`
//! and asks here which of them to raise; `store` gives them to whoever asks for statistics.

use std::time::Duration;

use crate::limits::HISTOGRAM_BUCKETS;

/// How long something took, each time that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// The end of each bucket, and how many took at most so long but longer than the end before;
    /// the last has no end.
    pub buckets: [(Option<Duration>, u64); HISTOGRAM_BUCKETS],
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    /// From the counts of the buckets, when the first of them ends at `first`.
    pub(crate) fn new(first: Duration, counts: [u64; HISTOGRAM_BUCKETS], sum: Duration) -> Self {
        let mut end = first;
        let mut buckets = counts.map(|count| {
            let bucket = (Some(end), count);
            end = end.saturating_mul(2);
            bucket
        });
        if let Some((end, _)) = buckets.last_mut() {
            *end = None;
        }
        Histogram { buckets, sum }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| *count).fold(0, u64::wrapping_add)
    }
}

/// The number of the bucket of what took so long, when the first of them ends at `first`.
pub(crate) fn bucket_of(first: Duration, took: Duration) -> usize {
    // Begun lengths of the first bucket: one is in it, two in the second, up to four in the third.
    let lengths = nanos(took).div_ceil(nanos(first).max(1));
    let doublings = lengths.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
    doublings.min(HISTOGRAM_BUCKETS - 1)
}

/// In nanoseconds, of which a word holds some 500 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_that_ends_at_it_or_behind_it() {
        for first in [Duration::from_micros(64), Duration::from_millis(1)] {
            let ends = Histogram::new(first, [0; HISTOGRAM_BUCKETS], Duration::ZERO).buckets;
            assert_eq!(ends[0].0, Some(first));
            assert_eq!(ends[3].0, Some(8 * first));
            assert_eq!(ends[HISTOGRAM_BUCKETS - 1].0, None);
            let nano = Duration::from_nanos(1);
            for (bucket, end) in ends.iter().enumerate().filter_map(|(n, b)| Some((n, b.0?))) {
                assert_eq!(bucket_of(first, end - nano), bucket, "just below {end:?}");
                assert_eq!(bucket_of(first, end), bucket, "{end:?}");
                assert_eq!(bucket_of(first, end + nano), bucket + 1, "just above {end:?}");
            }
            assert_eq!(bucket_of(first, Duration::ZERO), 0);
            assert_eq!(bucket_of(first, Duration::MAX), HISTOGRAM_BUCKETS - 1);
        }
    }
}
