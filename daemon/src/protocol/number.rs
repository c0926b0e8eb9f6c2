//! Decimal numbers as they stand in lines: 64 bits, checked, a whole word or nothing. It allocates
//! nothing and wraps never; both dialects of lines call it.
//!
//! What counts as a number is what memcached's `strtoul` and `strtol` let pass in a word of its own:
//! digits, leading zeros, one sign. No white space (it ends a word), no `0x`, no exponent.

/// Digits alone.
fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// A number of at least 0; `-0` is one.
pub fn unsigned(word: &[u8]) -> Option<u64> {
    match word {
        [b'+', rest @ ..] => digits(rest),
        [b'-', rest @ ..] => digits(rest).filter(|number| *number == 0),
        _ => digits(word),
    }
}

/// The same in 32 bits.
pub fn unsigned32(word: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(word)?).ok()
}

/// A number with a sign.
pub fn signed(word: &[u8]) -> Option<i64> {
    match word {
        [b'-', rest @ ..] => 0_i64.checked_sub_unsigned(digits(rest)?),
        _ => i64::try_from(unsigned(word)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_words_of_64_bits() {
        for (word, unsigned_is, signed_is) in [
            ("0", Some(0), Some(0)),
            ("007", Some(7), Some(7)),
            ("+1", Some(1), Some(1)),
            ("-0", Some(0), Some(0)),
            ("-1", None, Some(-1)),
            ("4294967296", Some(1 << 32), Some(1 << 32)),
            ("9223372036854775807", Some(i64::MAX as u64), Some(i64::MAX)),
            ("9223372036854775808", Some(1 << 63), None),
            ("-9223372036854775808", None, Some(i64::MIN)),
            ("-9223372036854775809", None, None),
            ("18446744073709551615", Some(u64::MAX), None),
            ("18446744073709551616", None, None),
            ("100000000000000000000", None, None),
            ("000000000000000000000000000012", Some(12), Some(12)),
            ("", None, None),
            ("+", None, None),
            ("-", None, None),
            ("+-1", None, None),
            ("--1", None, None),
            ("1x", None, None),
            ("x1", None, None),
            ("0x10", None, None),
            ("1e3", None, None),
            ("1 ", None, None),
            ("1\r", None, None),
        ] {
            assert_eq!(unsigned(word.as_bytes()), unsigned_is, "{word:?}");
            assert_eq!(signed(word.as_bytes()), signed_is, "{word:?}");
        }
        assert_eq!(unsigned32(b"4294967295"), Some(u32::MAX));
        assert_eq!(unsigned32(b"4294967296"), None);
    }
}
