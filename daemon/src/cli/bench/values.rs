//! Keys and values of the load: a value says which key it belongs to and which set wrote it.
//!
//! A key is `k` and its number in decimal, filled with zeros to the size asked for. A value is
//!
//! ```text
//! 0        8            16      24                          value size
//! | number | generation | seal  | bytes of the pool from a place that the seal names |
//! ```
//!
//! all little-endian; the seal is a hash of number, generation and size. The pool is the same in
//! every run, so that values of an earlier run are recognised, and does not compress. Thus every
//! byte of a value follows from its first sixteen, and one comparison finds a value of another key,
//! a mixture of two sets, or a single wrong bit. Pure; called by the requests and by the checks.

use super::pick::mix;
use std::fmt;

/// What stands before the pool's bytes.
const HEAD_BYTES: usize = 24;
/// A value that has no room for its head could not be checked.
pub(super) const MIN_VALUE_BYTES: usize = HEAD_BYTES;
/// In how many places of the pool a value can begin.
const POOL_PLACES: u64 = 1 << 16;

/// Makes and checks keys and values of one size.
pub(super) struct Values {
    key_size: usize,
    value_size: usize,
    zeros: Vec<u8>,
    pool: Vec<u8>,
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    Length { expected: usize, came: usize },
    OtherKey { number: u64, generation: u64 },
    Head,
    Byte { at: usize, generation: u64 },
}

/// The bytes that keys with the numbers below `keys` need at least.
pub(super) fn min_key_bytes(keys: u64) -> usize {
    let mut digits = 1;
    let mut rest = keys.saturating_sub(1) / 10;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    digits + 1
}

impl Values {
    pub(super) fn new(key_size: usize, value_size: usize) -> Self {
        let mut zeros = vec![b'0'; key_size];
        zeros[0] = b'k';
        let places = usize::try_from(POOL_PLACES).unwrap_or(usize::MAX);
        let words = (places + value_size).div_ceil(8);
        let pool = (0..words).flat_map(|word| mix(word as u64).to_le_bytes()).collect();
        Self { key_size, value_size, zeros, pool }
    }

    pub(super) fn key_size(&self) -> usize {
        self.key_size
    }

    pub(super) fn value_size(&self) -> usize {
        self.value_size
    }

    /// Appends the key with this number.
    pub(super) fn put_key(&self, out: &mut Vec<u8>, number: u64) {
        let start = out.len();
        out.extend_from_slice(&self.zeros);
        let mut rest = number;
        for digit in out[start + 1..].iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// The key with this number, for a message.
    pub(super) fn key(&self, number: u64) -> String {
        let mut key = Vec::with_capacity(self.key_size);
        self.put_key(&mut key, number);
        String::from_utf8_lossy(&key).into_owned()
    }

    /// The number of a key that the server named.
    pub(super) fn number(&self, key: &[u8]) -> Option<u64> {
        let (b'k', digits) = key.split_first()? else { return None };
        if key.len() != self.key_size {
            return None;
        }
        digits.iter().try_fold(0u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
    }

    /// Appends the value that set `generation` gives the key `number`.
    pub(super) fn put_value(&self, out: &mut Vec<u8>, number: u64, generation: u64) {
        let seal = self.seal(number, generation);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&seal.to_le_bytes());
        out.extend_from_slice(self.body(seal));
    }

    /// Whether this is a value that the key was given, whole.
    pub(super) fn check(&self, number: u64, value: &[u8]) -> Result<(), Mismatch> {
        let wrong_length = Mismatch::Length { expected: self.value_size, came: value.len() };
        let Some((head, body)) = value.split_first_chunk::<HEAD_BYTES>() else {
            return Err(wrong_length);
        };
        if value.len() != self.value_size {
            return Err(wrong_length);
        }
        let (of, generation, seal) = (word(head, 0), word(head, 8), word(head, 16));
        if seal != self.seal(of, generation) {
            return Err(Mismatch::Head);
        }
        if of != number {
            return Err(Mismatch::OtherKey { number: of, generation });
        }
        let expected = self.body(seal);
        if body == expected {
            return Ok(());
        }
        let same = body.iter().zip(expected).take_while(|(a, b)| a == b).count();
        Err(Mismatch::Byte { at: HEAD_BYTES + same, generation })
    }

    fn seal(&self, number: u64, generation: u64) -> u64 {
        mix(mix(mix(number) ^ generation) ^ self.value_size as u64)
    }

    /// The pool is as long as the last place and a whole value, so this is inside.
    fn body(&self, seal: u64) -> &[u8] {
        let place = (seal % POOL_PLACES) as usize;
        &self.pool[place..place + self.value_size - HEAD_BYTES]
    }
}

fn word(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, came } => {
                write!(f, "{came} bytes, where the value has {expected}")
            }
            Self::OtherKey { number, generation } => {
                write!(f, "the value of key {number}, set {generation}")
            }
            Self::Head => write!(f, "a value whose first bytes no set has written"),
            Self::Byte { at, generation } => {
                write!(f, "a value of set {generation} that is wrong from byte {at} on")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &Values, number: u64, generation: u64) -> Vec<u8> {
        let mut out = Vec::new();
        values.put_value(&mut out, number, generation);
        out
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for size in [24, 25, 200] {
            let values = Values::new(10, size);
            let good = value(&values, 7, 3);
            assert_eq!(good.len(), size);
            assert_eq!(values.check(7, &good), Ok(()));
            for bit in 0..size * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(values.check(7, &bad).is_err(), "bit {bit} of {size} bytes");
            }
        }
    }

    #[test]
    fn other_keys_mixtures_and_lengths_are_noticed() {
        let values = Values::new(10, 100);
        let (one, two) = (value(&values, 1, 5), value(&values, 1, 6));
        assert_eq!(
            values.check(2, &one),
            Err(Mismatch::OtherKey { number: 1, generation: 5 }),
            "a value of another key"
        );
        for cut in 1..100 {
            let torn = [&one[..cut], &two[cut..]].concat();
            let whole = torn == one || torn == two;
            assert_eq!(values.check(1, &torn).is_ok(), whole, "torn at {cut}");
        }
        for length in 0..100 {
            let came = values.check(1, &one[..length]);
            assert_eq!(came, Err(Mismatch::Length { expected: 100, came: length }));
        }
        assert!(Values::new(10, 99).check(1, &one).is_err());
    }

    #[test]
    fn keys_carry_their_number() {
        let values = Values::new(6, 24);
        for number in [0, 1, 9, 10, 99_999] {
            let key = values.key(number);
            assert_eq!((key.len(), values.number(key.as_bytes())), (6, Some(number)));
        }
        for other in ["", "k", "k0000", "k000000", "x00001", "k0000x"] {
            assert_eq!(values.number(other.as_bytes()), None, "{other}");
        }
        assert_eq!([1, 2, 10, 11, 100_000].map(min_key_bytes), [2, 2, 2, 3, 6]);
    }
}
