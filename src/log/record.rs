//! A record: one value under one key, or the statement that a key is gone. Pure bytes, no I/O.
//!
//! ```text
//!  word 0   lines 24 | owner length 8 | salt 32        stored last: it makes the record whole
//!  word 1   seq                       the record's number; never issued twice
//!  word 2   key length 16 | flags 8 | copy number 8 | value length 32
//!  word 3   hash of the key
//!  word 4   CRC of header and key 32 | CRC of the value 32
//!  word 5   expiry: unix ms 48 | check 16       changes in place, outside the CRC
//!  word 6   user flags 32 | shadows until 32 (unix s; 0 nothing, all ones for ever)
//!  word 7   with an owner: the number of the owner's record when this was written;
//!           with GIVEN: the version
//!  key and owner, padded to 8 bytes; value, padded to a line
//! ```
//!
//! The CRC of the header covers words 0-3, 6, 7, the value's CRC, the key and the owner. Key and
//! owner together are a record's *names*.

use crc_fast::crc32_iscsi;

use crate::limits::{KEY_MAX, LINE, OWNER_MAX, TIME_MAX, VALUE_MAX};

/// The key is gone.
pub(crate) const TOMBSTONE: u8 = 1;
/// The record fills a run of whole segments.
pub(crate) const RUN: u8 = 2;
/// The value is compressed; see `store/pack.rs`.
pub(crate) const COMPRESSED: u8 = 4;
/// What it shadows is only assumed: something may have been evicted before it was written.
pub(crate) const ASSUMES: u8 = 32;
/// The record is an owner's own, see `store/owner.rs`: its key is the owner's name.
pub(crate) const OWNER: u8 = 16;
/// Its writer marked the value: somebody is making the real one.
pub(crate) const PENDING: u8 = 8;
/// Its writer marked the value: it is out of date.
pub(crate) const STALE: u8 = 64;
/// Its writer gave the version, which else is the record's number. Not with an owner.
pub(crate) const GIVEN: u8 = 128;
/// What a writer said of a value beside its bytes: goes with it into another record.
pub(crate) const SAID: u8 = PENDING | STALE | GIVEN;

/// Where the key's length and the flags are in a record, bytes: the low 16 and 8 bits of that word.
pub(crate) const KEY_LEN_AT: u64 = 16;
/// Where the key's hash is in a record, bytes.
pub(crate) const HASH_AT: u64 = 24;
/// Where the expiry word is in a record, bytes.
pub(crate) const EXPIRY_AT: u64 = 40;

/// The expiry of a record that was deleted in place.
pub(crate) const ENDED_MS: u64 = 1;

/// Shadows something for ever.
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// A header as it was read or will be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    pub(crate) salt: u32,
    pub(crate) lines: u32,
    pub(crate) owner_len: u8,
    pub(crate) seq: u64,
    pub(crate) key_len: u16,
    pub(crate) flags: u8,
    pub(crate) copy: u8,
    pub(crate) value_len: u32,
    pub(crate) hash: u64,
    pub(crate) header_crc: u32,
    pub(crate) value_crc: u32,
    pub(crate) expiry: u64,
    pub(crate) user_flags: u32,
    pub(crate) shadows_until: u32,
    /// The number of the owner's record, or the version given: see [`Header::version`].
    pub(crate) word7: u64,
}

/// Bytes between the start of a record and its value.
#[inline]
pub(crate) fn value_offset(names_len: usize) -> u64 {
    LINE + (names_len as u64).next_multiple_of(8)
}

/// Lines that a record takes.
#[inline]
pub(crate) fn lines(names_len: usize, value_len: u64) -> u64 {
    (value_offset(names_len) + value_len).div_ceil(LINE)
}

/// The number of the next copy: never 0 again, which would not be a copy.
pub(crate) fn next_copy(copy: u8) -> u8 {
    copy.checked_add(1).unwrap_or(1)
}

/// The CRC that guards a value.
#[inline]
pub(crate) fn value_crc(value: &[u8]) -> u32 {
    crc32_iscsi(value)
}

/// The expiry word for a moment (unix ms; 0 = never), bound to its record.
#[inline]
pub(crate) fn expiry_word(at_ms: u64, seq: u64) -> u64 {
    at_ms.min(TIME_MAX) | check(at_ms.min(TIME_MAX), seq) << 48
}

fn check(at_ms: u64, seq: u64) -> u64 {
    let mixed = (at_ms ^ seq.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 48
}

/// The moment that an expiry word names; `None` if it is damaged.
#[inline]
pub(crate) fn expiry_ms(word: u64, seq: u64) -> Option<u64> {
    let at = word & ((1 << 48) - 1);
    (word >> 48 == check(at, seq)).then_some(at)
}

/// Seconds of shadow up to a moment in milliseconds, `u64::MAX` = for ever.
pub(crate) fn shadow_of_moment(until_ms: u64) -> u32 {
    if until_ms == u64::MAX { FOR_EVER } else { shadow_of(until_ms.max(1)) }
}

/// Seconds of shadow that cover a moment in milliseconds (0 = never expires).
pub(crate) fn shadow_of(expiry_ms: u64) -> u32 {
    match expiry_ms {
        0 => FOR_EVER,
        ms => (ms.div_ceil(1000)).min(FOR_EVER as u64 - 1) as u32,
    }
}

impl Header {
    #[inline(always)]
    pub(crate) fn decode(bytes: &[u8]) -> Header {
        let word =
            |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        let (w0, w2, w4, w6) = (word(0), word(2), word(4), word(6));
        Header {
            salt: (w0 >> 32) as u32,
            lines: w0 as u32 & LINES_MASK,
            owner_len: (w0 >> 24) as u8,
            seq: word(1),
            key_len: w2 as u16,
            flags: (w2 >> 16) as u8,
            copy: (w2 >> 24) as u8,
            value_len: (w2 >> 32) as u32,
            hash: word(3),
            header_crc: w4 as u32,
            value_crc: (w4 >> 32) as u32,
            expiry: word(5),
            user_flags: w6 as u32,
            shadows_until: (w6 >> 32) as u32,
            word7: word(7),
        }
    }

    /// The word that makes the record whole.
    #[inline]
    pub(crate) fn first_word(&self) -> u64 {
        (self.lines & LINES_MASK) as u64 | (self.owner_len as u64) << 24 | (self.salt as u64) << 32
    }

    /// Bytes of key and owner.
    #[inline]
    pub(crate) fn names_len(&self) -> usize {
        self.key_len as usize + self.owner_len as usize
    }

    fn words(&self) -> [u64; 8] {
        [
            self.first_word(),
            self.seq,
            self.key_len as u64
                | (self.flags as u64) << 16
                | (self.copy as u64) << 24
                | (self.value_len as u64) << 32,
            self.hash,
            self.header_crc as u64 | (self.value_crc as u64) << 32,
            self.expiry,
            self.user_flags as u64 | (self.shadows_until as u64) << 32,
            self.word7,
        ]
    }

    /// Header and names as they go to the log, with their CRC; gives word 0 and the bytes after it.
    #[inline]
    pub(crate) fn encode<'a, const N: usize>(
        &mut self,
        names: &[u8],
        room: &'a mut [u8; N],
    ) -> (u64, &'a [u8]) {
        self.header_crc = 0;
        let expiry = std::mem::take(&mut self.expiry);
        let put = |room: &mut [u8; N], words: [u64; 8]| {
            for (i, w) in words.into_iter().enumerate() {
                room[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
            }
        };
        put(room, self.words());
        let end = LINE as usize + names.len();
        room[LINE as usize..end].copy_from_slice(names);
        self.header_crc = crc32_iscsi(&room[..end]);
        self.expiry = expiry;
        put(room, self.words());
        (self.first_word(), &room[8..end])
    }

    /// Is this header, read with its names behind it, what somebody once wrote? Clobbers the words
    /// that the CRC leaves out.
    #[inline]
    pub(crate) fn checks(&self, header_and_names: &mut [u8]) -> bool {
        header_and_names[32..36].fill(0);
        header_and_names[40..48].fill(0);
        crc32_iscsi(header_and_names) == self.header_crc
    }

    /// Are the lengths such that the record could lie in `room` bytes?
    #[inline]
    pub(crate) fn plausible(&self, room: u64) -> bool {
        let key_len = self.key_len as usize;
        (1..=KEY_MAX).contains(&key_len)
            && self.value_len as u64 <= VALUE_MAX
            && (self.flags & (OWNER | GIVEN) == 0 || self.owner_len == 0)
            && self.lines as u64 == lines(self.names_len(), self.value_len as u64)
            && (self.flags & RUN != 0 || self.lines as u64 * LINE <= room)
    }

    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The version that callers know: not what orders records.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        if self.is(GIVEN) { self.word7 } else { self.seq }
    }

    /// Is it a copy whose life was ended where it lies? Then it hides what it was copied from, whose
    /// life nobody knows any more.
    pub(crate) fn hides_its_source(&self) -> bool {
        self.copy != 0 && self.expires_ms() == Some(ENDED_MS)
    }

    /// When it expires, unix ms, 0 = never; `None` if the word is damaged.
    #[inline]
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        expiry_ms(self.expiry, self.seq)
    }
}

/// Room for an encoded header and names of the usual length, and of any.
pub(crate) const ENCODED: usize = 5 * LINE as usize;
pub(crate) const ENCODED_MAX: usize = LINE as usize + KEY_MAX + OWNER_MAX;
const LINES_MASK: u32 = 0xff_ffff;
const _: () = assert!(VALUE_MAX / LINE + ENCODED_MAX as u64 <= LINES_MASK as u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            salt: 7,
            lines: 3,
            seq: 99,
            key_len: 5,
            flags: TOMBSTONE,
            copy: 2,
            value_len: 70,
            hash: 0x1234_5678_9abc_def0,
            value_crc: 5,
            expiry: expiry_word(1_700_000_000_123, 99),
            user_flags: 0xffff_fff0,
            shadows_until: 12,
            ..Header::default()
        }
    }

    fn encoded(header: &mut Header, key: &[u8]) -> Vec<u8> {
        let mut room = [0; ENCODED_MAX];
        let (first, rest) = header.encode(key, &mut room);
        [&first.to_le_bytes(), rest].concat()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut header = sample();
        let mut bytes = encoded(&mut header, b"hello");
        let read = Header::decode(&bytes);
        assert_eq!(read, header);
        assert!(read.checks(&mut bytes) && read.plausible(192) && !read.plausible(191));
        assert_eq!(read.expires_ms(), Some(1_700_000_000_123));
    }

    #[test]
    fn an_owner_lies_behind_the_key_and_is_guarded_with_it() {
        let mut header = Header { owner_len: 4, word7: 77, flags: 0, ..sample() };
        let mut bytes = encoded(&mut header, b"helloanna");
        let read = Header::decode(&bytes);
        assert_eq!((read, read.names_len(), read.lines), (header, 9, 3));
        assert!(read.checks(&mut bytes) && read.plausible(192));
        assert!(!Header { flags: OWNER, ..read }.plausible(192), "an owner has no owner");
        assert!(!Header { flags: GIVEN, ..read }.plausible(192), "word 7 says one thing only");
        bytes[LINE as usize + 8] ^= 1;
        assert!(!read.checks(&mut bytes));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut header = sample();
        let bytes = encoded(&mut header, b"hello");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = Header::decode(&bad);
            let fine = read.checks(&mut bad) && read.expires_ms().is_some();
            assert!(!fine, "bit {bit} flipped and nobody noticed");
        }
    }

    #[test]
    fn an_expiry_belongs_to_its_record() {
        assert_eq!(expiry_ms(expiry_word(0, 5), 5), Some(0));
        assert_eq!(expiry_ms(expiry_word(1234, 5), 6), None);
        assert_eq!(shadow_of(0), FOR_EVER);
        assert_eq!(shadow_of(1001), 2);
    }

    fn words(bytes: &[u8]) -> Vec<u64> {
        let word = |w: &[u8]| u64::from_le_bytes(w.try_into().unwrap_or_default());
        bytes[..LINE as usize].chunks_exact(8).map(word).collect()
    }

    /// The words were made by hand from the table above, the checksums bit by bit: what is written
    /// today has to be read by whoever comes later, so nothing here may move or be computed otherwise.
    #[test]
    fn every_bit_lies_where_the_format_says() {
        let plain = [
            0x7_0000_0003,
            99,
            0x46_0201_0005,
            0x1234_5678_9abc_def0,
            0x5_6e00_2f51,
            0xb15a_018b_cfe5_687b,
            0xc_ffff_fff0,
            0,
        ];
        assert_eq!(words(&encoded(&mut sample(), b"hello")), plain);
        let mut owned = Header { owner_len: 4, word7: 77, flags: 0, ..sample() };
        let bytes = encoded(&mut owned, b"helloanna");
        let (first, names, crcs) = (0x7_0400_0003, 0x46_0200_0005, 0x5_b1dc_e985);
        let [_, seq, _, hash, _, expiry, flags, _] = plain;
        assert_eq!(words(&bytes), [first, seq, names, hash, crcs, expiry, flags, 77]);
        assert_eq!(&bytes[LINE as usize..], b"helloanna");
        assert_eq!(value_crc(b"123456789"), 0xe306_9283);
        assert_eq!((value_offset(8), value_offset(9), lines(8, 56), lines(8, 57)), (72, 80, 2, 3));
    }

    #[test]
    fn lengths_that_cannot_be_are_not_plausible() {
        let of = |key_len: usize, value_len: u64| Header {
            key_len: key_len as u16,
            value_len: value_len as u32,
            lines: lines(key_len, value_len) as u32,
            flags: RUN,
            ..Header::default()
        };
        assert!(of(1, 0).plausible(0) && of(KEY_MAX, VALUE_MAX).plausible(0));
        assert!(!of(0, 0).plausible(0) && !of(KEY_MAX + 1, 0).plausible(0));
        assert!(!of(1, VALUE_MAX + 1).plausible(0));
        let one_more = Header { lines: 4, ..of(1, 64) };
        assert!(of(1, 64).lines == 3 && !one_more.plausible(1 << 20));
        // Only a run goes on behind the room of one segment.
        assert!(!Header { flags: 0, ..of(1, 64) }.plausible(3 * LINE - 1));
        assert!(Header { flags: 0, ..of(1, 64) }.plausible(3 * LINE));
        assert!(Header { flags: PENDING, owner_len: 1, ..of(1, 1) }.plausible(2 * LINE));
    }

    #[test]
    fn moments_shadows_and_copies_stop_at_their_ends() {
        assert_eq!(expiry_ms(expiry_word(u64::MAX, 9), 9), Some(TIME_MAX));
        assert_eq!((shadow_of(1), shadow_of(1000)), (1, 1));
        assert_eq!(shadow_of(u64::MAX), FOR_EVER - 1);
        assert_eq!((shadow_of_moment(0), shadow_of_moment(u64::MAX)), (1, FOR_EVER));
        assert_eq!(shadow_of_moment(5000), 5);
        assert_eq!((next_copy(0), next_copy(254), next_copy(255)), (1, 255, 1));
    }

    #[test]
    fn a_header_says_whose_version_it_has_and_whether_it_hides_its_source() {
        let header = Header { word7: 5, flags: GIVEN | STALE, ..sample() };
        assert_eq!((header.version(), sample().version()), (5, 99));
        assert!(header.is(STALE | PENDING) && !header.is(TOMBSTONE | OWNER));
        let ended = Header { expiry: expiry_word(ENDED_MS, 99), ..sample() };
        assert!(ended.hides_its_source() && !sample().hides_its_source());
        assert!(!Header { copy: 0, ..ended }.hides_its_source());
    }
}
