//! Does the time of a refused attempt say whether the name is one of a user? Measured as dudect does
//! (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017): both kinds in random
//! order, the slowest measurements left out, Welch's t between the two.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

use std::hint::black_box;
use std::time::Instant;

use holdfastd::auth::Users;

/// Attempts of both kinds together.
const ATTEMPTS: usize = 100_000;

/// Welch's t of two samples.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, spread_a) = mean_and_spread(a);
    let (mean_b, spread_b) = mean_and_spread(b);
    (mean_a - mean_b) / (spread_a + spread_b).sqrt()
}

/// The mean, and the square of its standard error.
fn mean_and_spread(sample: &[f64]) -> (f64, f64) {
    let count = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / count;
    let squares: f64 = sample.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// The t between attempts under two names, with the same wrong password.
fn measure(mut attempt: impl FnMut(&[u8], &[u8]) -> bool, names: [&[u8]; 2]) -> f64 {
    let mut times: [Vec<f64>; 2] = Default::default();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..ATTEMPTS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let kind = usize::try_from(seed >> 63).unwrap();
        // Copied, so that both kinds are read from the same place.
        let name: [u8; 6] = black_box(names[kind].try_into().unwrap());
        let begun = Instant::now();
        assert!(!black_box(attempt(&name, b"not the password")));
        times[kind].push(begun.elapsed().as_nanos() as f64);
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let slowest = all[all.len() * 9 / 10];
    let [a, b] = times.map(|sample| Vec::from_iter(sample.into_iter().filter(|t| *t <= slowest)));
    welch(&a, &b)
}

#[test]
#[ignore = "a measurement: it wants a machine that does nothing else"]
fn the_time_of_a_refusal_does_not_tell_users_from_others() {
    let file: String = (0..8).map(|n| format!("user-{n}:password of {n}\n")).collect();
    let users = Users::parse(file.as_bytes()).unwrap();
    for known in [b"user-0", b"user-7"] {
        assert!(users.check(known, format!("password of {}", char::from(known[5])).as_bytes()));
        let t = measure(|user, password| users.check(user, password), [known, b"nobody"]);
        println!("{}: t = {t:.2}", known.escape_ascii());
        assert!(t.abs() < 4.5, "t = {t}");
    }
    // The measurement sees what it is to see: a lookup of the name that comes first.
    let hasty = |user: &[u8], password: &[u8]| user == b"user-0" && users.check(user, password);
    let t = measure(hasty, [b"user-0", b"nobody"]);
    println!("with a lookup of the name first: t = {t:.2}");
    assert!(t.abs() > 4.5, "t = {t}");
}
