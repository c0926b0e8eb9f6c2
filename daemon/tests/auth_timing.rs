//! Does the time of a refused attempt say whether the name is one of a user? Measured as dudect does
//! (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017): both kinds in random
//! order, the slowest tenth left out, Welch's t between the two, and 4.5 as the bound.
//!
//! It would catch a lookup of the name that comes first (CVE-2026-47783 of memcached was one; the test plants
//! it and has to see it), and a comparison that ends at the first byte that differs. Asked are the password
//! check itself and the whole attempt, with what counts failures. What it cannot show: differences smaller
//! than about a clock's step divided by the root of the attempts, what another processor or compiler
//! makes of the same code, and what a network would add. `HOLDFAST_AUTH_TIMING` attempts of both
//! kinds together, for each pair; 1,000,000 is the figure to reach on a machine that does nothing else.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

use std::hint::black_box;
use std::time::Instant;

use holdfastd::auth::{Attempt, Gate, Peer, Standing, Users};

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
    for _ in 0..attempts() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let kind = usize::try_from(seed >> 63).unwrap();
        // Copied, so that both kinds are read from the same place.
        let name: [u8; 6] = black_box(names[kind].try_into().unwrap());
        let begun = Instant::now();
        assert!(!black_box(attempt(&name, b"password of ?")));
        times[kind].push(begun.elapsed().as_nanos() as f64);
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let slowest = all[all.len() * 9 / 10];
    let [a, b] = times.map(|sample| Vec::from_iter(sample.into_iter().filter(|t| *t <= slowest)));
    welch(&a, &b)
}

fn attempts() -> usize {
    let asked = std::env::var("HOLDFAST_AUTH_TIMING").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(20_000)
}

/// The file's first and its last user, each against nobody.
#[test]
fn the_time_of_a_refusal_does_not_tell_users_from_others() {
    let file: String = (0..8).map(|n| format!("user-{n}:password of {n}\n")).collect();
    let users = Users::parse(file.as_bytes()).unwrap();
    let whole = |user: &[u8], password: &[u8]| {
        let (mut standing, who) = (Standing::unknown(), (user, password));
        let outcome = standing.attempt(&users, &Gate::new(), Peer::Local, who, Instant::now());
        outcome == Attempt::Welcome
    };
    println!("{} attempts for each pair", attempts());
    for known in [b"user-0", b"user-7"] {
        assert!(users.check(known, format!("password of {}", char::from(known[5])).as_bytes()));
        let t = measure(|user, password| users.check(user, password), [known, b"nobody"]);
        let t_whole = measure(whole, [known, b"nobody"]);
        println!("{}: t = {t:.2}; of the whole attempt {t_whole:.2}", known.escape_ascii());
        assert!(t.abs() < 4.5, "t = {t}");
        assert!(t_whole.abs() < 4.5, "t = {t_whole} of the whole attempt");
    }
    let hasty = |user: &[u8], password: &[u8]| user == b"user-0" && users.check(user, password);
    let t = measure(hasty, [b"user-0", b"nobody"]);
    println!("with a lookup of the name first: t = {t:.2}");
    assert!(t.abs() > 4.5, "t = {t}");
}
