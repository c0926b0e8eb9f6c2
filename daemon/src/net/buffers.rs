//! The bytes of a connection that outlive its turn: what arrived and is not used yet, what is
//! answered and not sent yet. Both own memory only while they hold something. Called by
//! `connection` only; no I/O here.

use std::mem;

/// Bytes, used from the front; gives its memory back when it is empty.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    /// Everything before is used. Moved instead of the bytes: a pipeline that is used up in many
    /// small turns would be copied as often.
    at: usize,
}

/// Below this, copying what is left is cheaper than keeping a buffer that was made for more.
const WORTH_MOVING: usize = 16 << 10;

impl Rest {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Bytes of memory that are held.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Passes over `used` bytes.
    pub fn consume(&mut self, used: usize) {
        self.at += used.min(self.len());
        if self.is_empty() {
            *self = Rest::default();
        } else if self.bytes.capacity() > WORTH_MOVING && self.bytes.capacity() / 4 > self.len() {
            // Whoever takes an answer slowly, or not to its end, does not keep the memory of all
            // of it. Each byte is copied less often than once, all in all.
            self.compact();
        }
    }

    /// Appends a copy; the memory is at most double what is held then.
    pub fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.compact();
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes over what is behind `at` in `buffer`, which is left empty: the whole buffer if it is
    /// well filled, else a copy.
    pub fn append_from(&mut self, buffer: &mut Vec<u8>, at: usize) {
        let left = buffer.len().saturating_sub(at);
        if self.is_empty() && left >= WORTH_MOVING && left >= buffer.capacity() / 2 {
            *self = Rest { bytes: mem::take(buffer), at };
        } else {
            self.append(buffer.get(at..).unwrap_or_default());
            buffer.clear();
        }
    }

    /// The buffer itself, with room for at most as much again as is there and not beyond `wanted`
    /// in all, to be read into. What was declared is never allocated, only what arrives doubled.
    pub fn room(&mut self, wanted: usize) -> &mut Vec<u8> {
        self.compact();
        let len = self.bytes.len();
        let more = wanted.saturating_sub(len).min(len).max(1);
        if self.bytes.capacity() == len {
            self.bytes.reserve_exact(more);
        }
        &mut self.bytes
    }

    fn compact(&mut self) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
            if self.bytes.capacity() / 4 > self.bytes.len() {
                self.bytes.shrink_to_fit();
            }
        }
    }
}

/// What is in `buffer` behind `from`, moved when that is everything and much; `buffer` keeps what
/// is before.
pub(super) fn split(buffer: &mut Vec<u8>, from: usize) -> Rest {
    let mut tail = Rest::default();
    if from == 0 {
        tail.append_from(buffer, 0);
    } else {
        tail.append(buffer.get(from..).unwrap_or_default());
        buffer.truncate(from);
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_everything_is_used() {
        let mut rest = Rest::default();
        rest.append(&[7; 1000]);
        assert!(rest.held() >= 1000);
        rest.consume(400);
        assert_eq!(rest.as_slice(), &[7; 600]);
        rest.consume(10_000);
        assert!(rest.is_empty());
        assert_eq!(rest.held(), 0);
    }

    #[test]
    fn what_is_taken_slowly_does_not_keep_the_memory_of_all_of_it() {
        let mut buffer: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let all = buffer.clone();
        let mut rest = Rest::default();
        rest.append_from(&mut buffer, 0);
        for done in (0..all.len()).step_by(1000) {
            assert_eq!(rest.as_slice(), &all[done..]);
            assert!(rest.held() <= (4 * rest.len()).max(WORTH_MOVING), "{}", rest.len());
            rest.consume(1000);
        }
        assert_eq!(rest.held(), 0);
    }

    #[test]
    fn room_is_at_most_double_what_arrived_and_never_beyond_what_is_wanted() {
        let mut rest = Rest::default();
        rest.append(&[1; 10_000]);
        let wanted = 1 << 20;
        for _ in 0..20 {
            let had = rest.len();
            let buffer = rest.room(wanted);
            assert!(buffer.capacity() > buffer.len(), "there is room");
            assert!(buffer.capacity() <= 2 * had, "at most double");
            assert!(buffer.capacity() <= wanted);
            let free = buffer.capacity() - buffer.len();
            buffer.extend(vec![1; free]);
            if rest.len() == wanted {
                return;
            }
        }
        panic!("a megabyte needs more than 20 steps");
    }

    #[test]
    fn a_well_filled_buffer_is_moved_and_a_small_rest_copied() {
        let mut buffer = vec![3; 100_000];
        let address = buffer.as_ptr();
        let mut moved = Rest::default();
        moved.append_from(&mut buffer, 10_000);
        assert_eq!(moved.len(), 90_000);
        assert_eq!(moved.as_slice().as_ptr(), address.wrapping_add(10_000));
        assert_eq!(buffer.capacity(), 0);

        let mut buffer = vec![4; 100_000];
        let mut copied = Rest::default();
        copied.append_from(&mut buffer, 99_990);
        assert_eq!(copied.as_slice(), &[4; 10]);
        assert!(copied.held() < 100);
        assert_eq!((buffer.len(), buffer.capacity()), (0, 100_000));
    }

    #[test]
    fn a_split_keeps_the_front_and_the_order() {
        let mut buffer = b"now later".to_vec();
        let mut tail = split(&mut buffer, 4);
        assert_eq!((buffer.as_slice(), tail.as_slice()), (&b"now "[..], &b"later"[..]));
        tail.consume(1);
        tail.append(b"!");
        assert_eq!(tail.as_slice(), b"ater!");
        assert!(split(&mut buffer, 100).is_empty());
    }
}
