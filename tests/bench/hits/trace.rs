//! What is asked for, and when: traces from seeds, so that each can be had again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use holdfast_tests::Rng;

/// One request. An object that is not found is set; so is one that the request changes.
#[derive(Clone, Copy)]
pub struct Request {
    pub id: u32,
    pub at_ms: u32,
    /// Is its miss a miss of the cache? Not while the cache fills, nor where nobody could hit.
    pub counted: bool,
    pub writes: bool,
}

/// How long objects are.
#[derive(Clone, Copy, PartialEq)]
pub enum Sizes {
    /// All alike, bytes.
    Same(usize),
    /// From the first to the second, each octave as often as any other.
    Mixed(usize, usize),
}

impl Sizes {
    pub fn name(self) -> &'static str {
        match self {
            Sizes::Same(_) => "1 KB",
            Sizes::Mixed(..) => "mix",
        }
    }

    /// Of the value of object `id`, bytes.
    pub fn of(self, id: u32) -> usize {
        match self {
            Sizes::Same(bytes) => bytes,
            Sizes::Mixed(low, high) => {
                let part = unit(&mut Rng::new(id as u64 | 1 << 40));
                (low as f64 * (high as f64 / low as f64).powf(part)) as usize
            }
        }
    }
}

pub struct Trace {
    pub name: String,
    pub sizes: Sizes,
    /// Ids are below this.
    pub ids: u32,
    /// Objects live so long, milliseconds; 0 = for ever.
    pub ttl_ms: u32,
    pub requests: Vec<Request>,
}

/// The caches fill during this part of a trace.
fn is_warm(n: usize, all: usize) -> bool {
    n >= all / 3
}

/// From 0 to 1, without 1.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Ranks 0 to `n` - 1, rank r about (r + 1)^-`a` as often as rank 0: rejection-inversion (Hörmann
/// and Derflinger 1996), which needs no table.
struct Zipf {
    n: f64,
    a: f64,
    low: f64,
    high: f64,
    squeeze: f64,
}

impl Zipf {
    fn new(n: u32, a: f64) -> Zipf {
        let mut zipf = Zipf { n: n as f64, a, low: 0.0, high: 0.0, squeeze: 0.0 };
        zipf.low = zipf.area(1.5) - 1.0;
        zipf.high = zipf.area(n as f64 + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.area(2.5) - 2f64.powf(-a));
        zipf
    }

    /// The integral of x^-a, but for a constant; `a` is never 1.
    fn area(&self, x: f64) -> f64 {
        (x.powf(1.0 - self.a) - 1.0) / (1.0 - self.a)
    }

    fn inverse(&self, area: f64) -> f64 {
        (1.0 + area * (1.0 - self.a)).powf(1.0 / (1.0 - self.a))
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        loop {
            let area = self.high + unit(rng) * (self.low - self.high);
            let x = self.inverse(area);
            let k = (x + 0.5).floor().clamp(1.0, self.n);
            if k - x <= self.squeeze || area >= self.area(k + 0.5) - k.powf(-self.a) {
                return k as u32 - 1;
            }
        }
    }
}

/// Some objects are asked for much more often than others.
pub fn zipf(a: f64, objects: u32, requests: usize, sizes: Sizes) -> Trace {
    let (zipf, mut rng) = (Zipf::new(objects, a), Rng::new(1));
    let requests = (0..requests)
        .map(|n| Request {
            id: zipf.draw(&mut rng),
            at_ms: 0,
            counted: is_warm(n, requests),
            writes: false,
        })
        .collect();
    Trace { name: format!("zipf {a}"), sizes, ids: objects, ttl_ms: 0, requests }
}

/// The same, and from the middle on, for a third of the time, every second request is for an object
/// that nobody asks for again: a crawler, a backup. Only the others count.
pub fn zipf_with_scan(a: f64, objects: u32, requests: usize, sizes: Sizes) -> Trace {
    let mut trace = zipf(a, objects, requests, sizes);
    trace.name += " + scan";
    for n in (requests / 2..requests / 6 * 5).step_by(2) {
        trace.requests[n].id = trace.ids;
        trace.requests[n].counted = false;
        trace.ids += 1;
    }
    trace
}

/// Everything once, in order, again and again.
pub fn looped(objects: u32, requests: usize, sizes: Sizes) -> Trace {
    let requests = (0..requests)
        .map(|n| Request {
            id: n as u32 % objects,
            at_ms: 0,
            counted: is_warm(n, requests) && n >= objects as usize,
            writes: false,
        })
        .collect();
    Trace { name: "loop".into(), sizes, ids: objects, ttl_ms: 0, requests }
}

/// Requests of a session, and the time between two, milliseconds.
const VISITS: u64 = 20;
const GAP_MS: f64 = 60_000.0;
/// How long it lives after its last request.
const SESSION_MS: u32 = 1_440_000;
/// One in so many of all sessions is in use at a time.
const AT_A_TIME: f64 = 25.0;

/// Logins arrive; each session is read and written about twenty times, then never again. Its first
/// request finds nothing, and does not count.
pub fn sessions(sessions: u32, sizes: Sizes) -> Trace {
    let mut rng = Rng::new(2);
    let mut wait = |mean: f64| (-(1.0 - unit(&mut rng)).ln() * mean) as u64;
    let between = VISITS as f64 * GAP_MS * AT_A_TIME / sessions as f64;
    let (mut due, mut requests, mut clock) = (BinaryHeap::new(), Vec::new(), 0);
    let mut lengths = Rng::new(3);
    for id in 0..sessions {
        clock += (wait(1000.0 * between) + 500) / 1000;
        let visits = 1 + lengths.below(2 * VISITS - 1);
        due.push(Reverse((clock, id, visits, true)));
        while due.peek().is_some_and(|Reverse(first)| first.0 <= clock || id == sessions - 1) {
            let Some(Reverse((at, id, left, is_first))) = due.pop() else { break };
            requests.push(Request { id, at_ms: at as u32, counted: !is_first, writes: true });
            if left > 1 {
                due.push(Reverse((at + wait(GAP_MS), id, left - 1, false)));
            }
        }
    }
    let all = requests.len();
    for (n, request) in requests.iter_mut().enumerate() {
        request.counted &= is_warm(n, all);
    }
    Trace { name: "sessions".into(), sizes, ids: sessions, ttl_ms: SESSION_MS, requests }
}
