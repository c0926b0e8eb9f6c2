//! Values that say whose they are: whoever reads one can tell, without an oracle, whether these are all the bytes
//! that were once written under this key, and which time it was.

use crate::content;

/// FNV-1a: tells keys apart, nothing more.
fn tag(key: &[u8], number: u64) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3);
    key.iter().fold(0xcbf2_9ce4_8422_2325 ^ number.rotate_left(32), step)
}

/// The value that a key has the `number`-th time, 8 bytes or more. With an odd number it compresses well.
pub fn signed(key: &[u8], number: u64, len: usize) -> Vec<u8> {
    let body = len.saturating_sub(8);
    let mut value = number.to_le_bytes().to_vec();
    match number % 2 {
        0 => value.extend(content(tag(key, number), body)),
        _ => {
            let pattern = content(tag(key, number) ^ (body as u64) << 20, 24);
            value.extend(pattern.iter().cycle().take(body));
        }
    }
    value
}

/// Which time it was; `None`: no such value was ever this key's.
pub fn signature(key: &[u8], value: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(value.get(..8)?.try_into().ok()?);
    (signed(key, number, value.len()) == value).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_more_less_or_other_and_another_key_are_noticed() {
        for number in 0..4 {
            let value = signed(b"key", number, 200);
            assert_eq!((value.len(), signature(b"key", &value)), (200, Some(number)));
            assert_eq!(signature(b"kez", &value), None);
            assert_eq!(signature(b"key", &value[..199]), None);
            assert_eq!(signature(b"key", &[&value[..], b"x"].concat()), None);
            for at in 0..200 {
                let mut other = value.clone();
                other[at] ^= 0x20;
                assert_eq!(signature(b"key", &other), None, "byte {at}");
            }
        }
    }
}
