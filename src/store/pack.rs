//! Values as they lie in records: plain, or compressed when the store wants that and it pays.
//!
//! Compressed bytes begin with the length of the value, so that it is known without them:
//!
//! ```text
//!  8 bytes  length of the value
//!  rest     one LZ4 block
//! ```
//!
//! The record's checksum covers the stored bytes. They are checked before anything here looks at
//! them, and then not believed either: no length is allocated that the bytes could not come to.

use std::borrow::Cow;

use super::write::Mark;
use crate::error::{Error, Result};
use crate::limits::{COMPRESS_FROM, COMPRESS_RATIO_MAX, COMPRESS_SAVES, VALUE_MAX};
use crate::log::record::{self, COMPRESSED, GIVEN, SAID};

/// Bytes before the block.
const HEAD: usize = 8;

/// A value ready to be written: made before any latch is taken.
pub(super) struct Packed<'a> {
    bytes: Cow<'a, [u8]>,
    pub(super) crc: u32,
    /// For the record's header.
    pub(super) flags: u8,
    /// The version that its writer gave; 0 = none.
    pub(super) given: u64,
}

impl<'a> Packed<'a> {
    #[inline]
    pub(super) fn new(compress: bool, value: &'a [u8]) -> Packed<'a> {
        if is_tried(compress, value.len() as u64)
            && let Some(bytes) = compressed(value)
        {
            let crc = record::value_crc(&bytes);
            return Packed { bytes: Cow::Owned(bytes), crc, flags: COMPRESSED, given: 0 };
        }
        Packed { bytes: Cow::Borrowed(value), crc: record::value_crc(value), flags: 0, given: 0 }
    }

    /// The same, with what its writer says of it.
    #[inline]
    pub(super) fn said(mut self, mark: Mark, version: Option<u64>) -> Packed<'a> {
        self.flags |= mark.flags();
        if let Some(version) = version {
            self.flags |= GIVEN;
            self.given = version;
        }
        self
    }

    /// Stored bytes that go into another record as they are.
    pub(super) fn again(stored: &'a [u8], header: &record::Header) -> Packed<'a> {
        let flags = header.flags & (COMPRESSED | SAID);
        let given = if header.is(GIVEN) { header.word7 } else { 0 };
        Packed { bytes: Cow::Borrowed(stored), crc: header.value_crc, flags, given }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Does a value of this length take the time of a compression?
#[inline]
pub(super) fn is_tried(compress: bool, value_len: u64) -> bool {
    compress && value_len >= COMPRESS_FROM
}

/// The stored bytes of a value, if they are enough shorter. Without memory it stays as it is.
#[cold]
fn compressed(value: &[u8]) -> Option<Vec<u8>> {
    let most = HEAD + lz4_flex::block::get_maximum_output_size(value.len());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(most).ok()?;
    bytes.resize(most, 0);
    bytes[..HEAD].copy_from_slice(&(value.len() as u64).to_le_bytes());
    let len = HEAD + lz4_flex::block::compress_into(value, &mut bytes[HEAD..]).ok()?;
    bytes.truncate(len);
    (len as u64 + value.len() as u64 / COMPRESS_SAVES <= value.len() as u64).then_some(bytes)
}

/// The length that compressed bytes claim for their value, if so many can come of them.
pub(super) fn original_len(claimed: u64, stored_len: u64) -> Option<u64> {
    let most = VALUE_MAX.min(stored_len.saturating_mul(COMPRESS_RATIO_MAX));
    (stored_len > HEAD as u64 && claimed <= most).then_some(claimed)
}

/// Puts the value in the place of its compressed bytes; false if they are none.
#[cold]
pub(super) fn unpack(bytes: &mut Vec<u8>) -> Result<bool> {
    let stored = bytes.len();
    let claimed = bytes.first_chunk().map_or(u64::MAX, |head| u64::from_le_bytes(*head));
    let Some(original) = original_len(claimed, stored as u64) else { return Ok(false) };
    let original = original as usize;
    // In the caller's memory, which is used again: the block behind the value that it becomes.
    bytes.try_reserve(original).map_err(|_| Error::no_memory(original as u64))?;
    bytes.resize(original + stored, 0);
    bytes.copy_within(..stored, original);
    let (value, packed) = bytes.split_at_mut(original);
    let made = lz4_flex::block::decompress_into(&packed[HEAD..], value);
    bytes.truncate(original);
    Ok(made.is_ok_and(|made| made == original))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        (0..).flat_map(|n| format!("user|i:{};", n % 97).into_bytes()).take(len).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 1u64;
        let next = |_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 33) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn only_what_becomes_enough_shorter_is_compressed() {
        for (value, shorter) in [
            (text(511), false),
            (text(512), true),
            (text(1 << 20), true),
            (noise(5000), false),
            (Vec::new(), false),
        ] {
            let packed = Packed::new(true, &value);
            assert_eq!(packed.flags == COMPRESSED, shorter, "{} bytes", value.len());
            assert_eq!(packed.crc, record::value_crc(packed.bytes()));
            if !shorter {
                assert!(packed.bytes() == value);
                continue;
            }
            assert!(packed.bytes().len() * 8 <= value.len() * 7);
            let mut bytes = packed.bytes().to_vec();
            assert!(unpack(&mut bytes).unwrap() && bytes == value);
        }
        assert_eq!(Packed::new(false, &text(5000)).flags, 0, "not asked for");
    }

    #[test]
    fn bytes_that_lie_are_no_value_and_cost_no_memory() {
        let whole = Packed::new(true, &text(5000)).bytes().to_vec();
        for claim in [0u64, 1, 4999, 5001, VALUE_MAX, VALUE_MAX + 1, u64::MAX] {
            let mut lie = whole.clone();
            lie[..HEAD].copy_from_slice(&claim.to_le_bytes());
            assert!(!unpack(&mut lie).unwrap(), "{claim} bytes claimed");
            assert!(lie.capacity() < 1 << 20);
        }
        for len in 0..whole.len() {
            assert!(!unpack(&mut whole[..len].to_vec()).unwrap(), "cut to {len} bytes");
        }
        for at in HEAD..whole.len() {
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                // Some are values of that length, other ones; none leads outside.
                let _ = unpack(&mut bad).unwrap();
            }
        }
    }
}
