//! Deadlines without a queue of timers: every tenth of a second a slice of the loop's connections is
//! looked at, each once a second when there are many. Called by `event_loop`.

use std::time::{Duration, Instant};

/// How often a slice is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Slices in which all connections are gone through, when there are many.
const SLICES: usize = 10;
/// So many are looked at every time: with few connections, deadlines are exact to a tick.
const AT_LEAST: usize = 256;

/// Where the sweep stands.
#[derive(Debug)]
pub(super) struct Sweep {
    place: usize,
    next: Instant,
}

impl Sweep {
    pub fn new(now: Instant) -> Sweep {
        Sweep { place: 0, next: now + TICK }
    }

    /// How long to sleep at most until the next slice.
    pub fn due_in(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// The places to look at now, of `places`; empty until it is time.
    pub fn slice(&mut self, now: Instant, places: usize) -> std::ops::Range<usize> {
        if now < self.next {
            return 0..0;
        }
        self.next = now + TICK;
        if self.place >= places {
            self.place = 0;
        }
        let from = self.place;
        self.place = places.min(from + AT_LEAST.max(places.div_ceil(SLICES)));
        from..self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(sweep: &mut Sweep, places: usize, count: u32) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut now = sweep.next;
        for _ in 0..count {
            seen.extend(sweep.slice(now, places));
            now += TICK;
        }
        seen
    }

    #[test]
    fn every_place_is_seen_within_a_second() {
        for places in [1, 255, 256, 257, 5000, 15_001] {
            let mut sweep = Sweep::new(Instant::now());
            let mut seen = ticks(&mut sweep, places, 10);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), places);
        }
    }

    #[test]
    fn a_slice_is_small_and_comes_only_when_it_is_time() {
        let now = Instant::now();
        let mut sweep = Sweep::new(now);
        assert!(sweep.slice(now, 15_000).is_empty());
        assert_eq!(sweep.slice(now + TICK, 15_000).len(), 1500);
        assert!(sweep.slice(now + TICK, 15_000).is_empty());
    }

    #[test]
    fn fewer_places_than_before_do_not_disturb_it() {
        let mut sweep = Sweep::new(Instant::now());
        ticks(&mut sweep, 15_000, 7);
        assert_eq!(ticks(&mut sweep, 10, 1), (0..10).collect::<Vec<_>>());
        assert!(ticks(&mut sweep, 0, 3).is_empty());
    }
}
