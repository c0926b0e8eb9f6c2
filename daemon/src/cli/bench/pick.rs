//! Which key comes next: numbers drawn from a seed, uniformly or by Zipf's law. Pure.
//!
//! Zipf by rejection-inversion (W. Hörmann, G. Derflinger: "Rejection-inversion to generate
//! variates from monotone discrete distributions", ACM TOMACS 6(3), 1996): no table, whatever the
//! number of keys, and about one draw per number. Key 0 is the most frequent.

use super::options::Distribution;

/// A number of the range of `u64`, without its fraction; what is outside becomes its nearest end.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "this is the rule of `as`"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

/// A bijective scrambling of 64 bits: the finisher of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of numbers that follows from its seed.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// From 0 up to, not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `bound`, which is not 0; the bias of the multiplication is below 2^-34 for our bounds.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Picks the numbers of keys.
pub(super) enum Picker {
    Uniform { keys: u64 },
    Zipf(Zipf),
}

impl Picker {
    pub(super) fn new(distribution: Distribution, keys: u64) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform { keys },
            Distribution::Zipf(exponent) => Self::Zipf(Zipf::new(keys, exponent)),
        }
    }

    pub(super) fn pick(&self, dice: &mut Dice) -> u64 {
        match self {
            Self::Uniform { keys } => dice.below(*keys),
            Self::Zipf(zipf) => zipf.pick(dice),
        }
    }
}

/// Names follow the paper: H is the integral of the hat function x^-s.
pub(super) struct Zipf {
    keys: f64,
    exponent: f64,
    h_first: f64,
    h_last: f64,
    near: f64,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let keys = keys as f64;
        let h_first = hat_integral(1.5, exponent) - 1.0;
        let h_last = hat_integral(keys + 0.5, exponent);
        let second = hat_integral(2.5, exponent) - (-exponent * 2f64.ln()).exp();
        Self { keys, exponent, h_first, h_last, near: 2.0 - hat_inverse(second, exponent) }
    }

    fn pick(&self, dice: &mut Dice) -> u64 {
        // Each round accepts with more than half probability: 64 in vain do not happen, and
        // the most frequent key is then as good as any.
        for _ in 0..64 {
            let u = self.h_last + dice.fraction() * (self.h_first - self.h_last);
            let x = hat_inverse(u, self.exponent);
            let rank = x.round().clamp(1.0, self.keys);
            let hat = (-self.exponent * rank.ln()).exp();
            if rank - x <= self.near || u >= hat_integral(rank + 0.5, self.exponent) - hat {
                return whole(rank) - 1;
            }
        }
        0
    }
}

/// ∫ x^-s, as (x^(1-s) - 1) / (1-s), which stays exact where s is near 1.
fn hat_integral(x: f64, exponent: f64) -> f64 {
    let log = x.ln();
    let slope = (1.0 - exponent) * log;
    if slope.abs() < 1e-8 { log * (1.0 + slope / 2.0) } else { slope.exp_m1() / slope * log }
}

fn hat_inverse(area: f64, exponent: f64) -> f64 {
    let slope = ((1.0 - exponent) * area).max(-1.0);
    let log = if slope.abs() < 1e-8 { 1.0 - slope / 2.0 } else { slope.ln_1p() / slope };
    (log * area).exp()
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of the test's own")]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, keys: u64, draws: u64) -> Vec<f64> {
        let picker = Picker::new(distribution, keys);
        let mut dice = Dice::new(42);
        let mut counts = vec![0.0; keys as usize];
        for _ in 0..draws {
            counts[picker.pick(&mut dice) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn uniform_reaches_every_key_about_as_often() {
        let counts = counts(Distribution::Uniform, 10, 100_000);
        assert!(counts.iter().all(|&n| (9_000.0..11_000.0).contains(&n)), "{counts:?}");
    }

    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let counts = counts(Distribution::Zipf(exponent), 50, 200_000);
            let whole: f64 = (1..=50).map(|rank| f64::from(rank).powf(-exponent)).sum();
            for (rank, &came) in counts.iter().enumerate() {
                let expected = 200_000.0 * (rank as f64 + 1.0).powf(-exponent) / whole;
                let spread = 6.0 * expected.sqrt() + 3.0;
                assert!((came - expected).abs() < spread, "s {exponent} rank {rank}: {came}");
            }
        }
        assert_eq!(counts(Distribution::Zipf(2.0), 1, 10), [10.0]);
    }

    #[test]
    fn the_seed_is_the_sequence() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            [dice.next(), dice.next(), dice.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
