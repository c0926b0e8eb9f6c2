//! What the benchmarks share: arguments, keys, values that prove whose they are, medians, rounds.

use std::sync::OnceLock;
use std::time::Duration;

use crate::Rng;

/// What a benchmark was started with: names that begin with `--`, perhaps with a value behind.
pub struct Args(Vec<String>);

impl Args {
    pub fn of_process() -> Args {
        Args(std::env::args().skip(1).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|arg| arg == name)?;
        Some(self.0.get(at + 1).unwrap_or_else(|| panic!("{name} takes a value")))
    }

    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name).map_or(otherwise, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {text}"))
        })
    }
}

/// Key number `i`: 32 bytes without an order, as session ids are, in a few nanoseconds.
#[inline]
pub fn key(i: u64) -> [u8; 32] {
    let mut rng = Rng::new(i.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let mut key = [0; 32];
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&rng.next().to_le_bytes());
    }
    key
}

/// A value of key `i`: its first and its last eight bytes say whose it is.
#[inline]
pub fn sign(value: &mut [u8], i: u64) {
    let end = value.len() - 8;
    value[..8].copy_from_slice(&i.to_le_bytes());
    value[end..].copy_from_slice(&(!i).to_le_bytes());
}

/// Is this the whole value of key `i`, and has it this length?
#[inline]
pub fn is_signed(value: &[u8], i: u64, len: usize) -> bool {
    value.len() == len && value[..8] == i.to_le_bytes() && value[len - 8..] == (!i).to_le_bytes()
}

pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The time, from some beginning. With `--cpu` on the command line it is the processor time of this
/// process, all its threads, which can be compared on a machine that is busy with other things too.
pub fn now() -> Duration {
    static CPU: OnceLock<bool> = OnceLock::new();
    let clock = match CPU.get_or_init(|| Args::of_process().has("--cpu")) {
        true => libc::CLOCK_PROCESS_CPUTIME_ID,
        false => libc::CLOCK_MONOTONIC,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one value of ours.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0, "a clock that every Linux has");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds for each of `count` operations.
pub fn per_op(count: u64, work: impl FnOnce()) -> f64 {
    let begun = now();
    work();
    (now() - begun).as_nanos() as f64 / count as f64
}
