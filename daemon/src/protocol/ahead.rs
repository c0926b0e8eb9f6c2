//! A glance at a pipeline: the keys of requests that have arrived and are not parsed yet, so that
//! the memory that they will want can be asked for while others are served. It judges nothing and
//! changes nothing: a key that is none, or one that is passed over, costs only time. It stops at
//! whatever it does not know. Called by [`Codec::peek`](super::Codec::peek).

use memchr::{memchr, memchr2};

use super::binary;
use super::lines::{self, Line, Words};
use crate::limits::{AHEAD, KEY_MAX};

/// A key, and whether the request wants to read its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen<'a> {
    /// Whatever stands where a key does.
    pub key: &'a [u8],
    /// False: the value is replaced unread.
    pub reads: bool,
}

/// Keys, and how far they were looked for.
#[derive(Debug)]
pub struct Ahead<'a> {
    keys: [Seen<'a>; AHEAD],
    found: usize,
    max: usize,
    /// What was not looked at yet.
    rest: &'a [u8],
    bytes: usize,
}

impl<'a> Ahead<'a> {
    /// Up to so many keys, [`AHEAD`] at most, are looked for in `input`.
    pub fn new(input: &'a [u8], max: usize) -> Ahead<'a> {
        let keys = [Seen::default(); AHEAD];
        Ahead { keys, found: 0, max: max.min(AHEAD), rest: input, bytes: input.len() }
    }

    /// What was found.
    pub fn keys(&self) -> &[Seen<'a>] {
        self.keys.get(..self.found).unwrap_or_default()
    }

    /// How many bytes of the input were looked at: behind them another glance may find more.
    pub fn bytes(&self) -> usize {
        self.bytes - self.rest.len()
    }

    /// Is this the byte that comes next?
    pub(super) fn starts_with(&self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
    }

    fn is_full(&self) -> bool {
        self.found >= self.max
    }

    fn add(&mut self, key: &'a [u8], reads: bool) {
        let is_key = (1..=KEY_MAX).contains(&key.len());
        if let Some(free) = self.keys.get_mut(self.found).filter(|_| is_key) {
            *free = Seen { key, reads };
            self.found += 1;
        }
    }

    /// Looks at lines; `in_keys`: the first is a line of keys, and has begun before the input.
    pub(super) fn lines(&mut self, in_keys: bool) {
        let mut goes_on = !in_keys || self.line_of_keys();
        while goes_on && !self.is_full() {
            goes_on = match self.rest {
                [b'm', b'g', b' ', rest @ ..] => self.one_key(rest),
                [b'g', b'e', b't', b' ', rest @ ..] | [b'g', b'e', b't', b's', b' ', rest @ ..] => {
                    self.rest = rest;
                    self.line_of_keys()
                }
                [b'g', b'a', b't', b' ', rest @ ..] | [b'g', b'a', b't', b's', b' ', rest @ ..] => {
                    let lifetime = memchr2(b' ', b'\n', rest).unwrap_or(rest.len());
                    self.rest = rest.get(lifetime..).unwrap_or_default();
                    self.line_of_keys()
                }
                [b'm', b'n', b'\r', b'\n', rest @ ..] => {
                    self.rest = rest;
                    true
                }
                [b's', b'e', b't', b' ', ..] => self.with_block(4),
                [b'm', b's', b' ', ..] => self.with_block(2),
                _ => false,
            }
        }
    }

    /// The key behind a verb, and the rest of its line.
    fn one_key(&mut self, behind: &'a [u8]) -> bool {
        let Some(end) = memchr(b'\n', behind) else { return false };
        let (line, rest) = behind.split_at(end);
        let word = memchr(b' ', line).unwrap_or(line.len());
        let (key, _) = line.split_at(word);
        self.add(key.strip_suffix(b"\r").unwrap_or(key), true);
        self.rest = rest.get(1..).unwrap_or_default();
        true
    }

    /// Keys up to the end of their line; false if that is not there.
    fn line_of_keys(&mut self) -> bool {
        while !self.is_full() {
            let Some(end) = memchr2(b' ', b'\n', self.rest) else { return false };
            let (key, behind) = self.rest.split_at(end);
            self.add(key.strip_suffix(b"\r").unwrap_or(key), true);
            self.rest = behind.get(1..).unwrap_or_default();
            if behind.first() == Some(&b'\n') {
                return true;
            }
        }
        true
    }

    /// A line with a block of data behind it, whose length is the word of this number.
    fn with_block(&mut self, length: usize) -> bool {
        let Line::Whole { line, used } = lines::line(self.rest) else { return false };
        let mut words = Words(line).skip(1);
        let key = words.next().unwrap_or_default();
        let block = words.nth(length - 2).and_then(lines::length);
        let Some(block) = block.and_then(|block| usize::try_from(block).ok()) else { return false };
        self.add(key, false);
        self.rest =
            self.rest.get(used.saturating_add(block).saturating_add(2)..).unwrap_or_default();
        true
    }

    /// Looks at packets.
    pub(super) fn packets(&mut self) {
        while !self.is_full() {
            let Some((key, reads, whole)) = binary::glance(self.rest) else { return };
            self.add(key, reads);
            self.rest = self.rest.get(whole..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Codec, Spoken};

    fn seen(spoken: Spoken, input: &[u8]) -> (Vec<Seen<'_>>, usize) {
        let mut ahead = Ahead::new(input, AHEAD);
        Codec::new(spoken).peek(&mut ahead);
        (ahead.keys().to_vec(), ahead.bytes())
    }

    fn keys(spoken: Spoken, input: &[u8]) -> (Vec<&[u8]>, usize) {
        let (seen, bytes) = seen(spoken, input);
        (seen.iter().map(|seen| seen.key).collect(), bytes)
    }

    fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let byte = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        let body = byte(extras.len() + key.len() + value.len());
        let mut packet = vec![0; 24];
        (packet[0], packet[1], packet[3]) = (binary::REQUEST, opcode, byte(key.len()));
        (packet[4], packet[11]) = (byte(extras.len()), body);
        [&packet, extras, key, value].concat()
    }

    #[test]
    fn the_keys_of_a_pipeline_of_lines_are_seen() {
        let input = b"get a bb\r\ngats 5 c\r\nmg d v\r\nmn\r\nset e 0 0 9\r\nget x\r\n\r\n\r\n\
            ms f 2 T0\r\nhi\r\nmg g\r\ngets h\n";
        let (found, bytes) = keys(Spoken::Any, input);
        let expected: [&[u8]; 8] = [b"a", b"bb", b"c", b"d", b"e", b"f", b"g", b"h"];
        assert_eq!((found.as_slice(), bytes), (&expected[..], input.len()));
    }

    #[test]
    fn it_stops_at_what_it_does_not_know_and_at_what_is_not_there() {
        let (found, bytes) = keys(Spoken::Lines, b"get a\r\ndelete b\r\nget c\r\n");
        assert_eq!((found, bytes), (vec![&b"a"[..]], 7));
        let (found, bytes) = keys(Spoken::Lines, b"get a b");
        assert_eq!((found, bytes), (vec![&b"a"[..]], 6));
        assert_eq!(keys(Spoken::Lines, b"set a 0 0 x\r\n").0.len(), 0);
        assert_eq!(keys(Spoken::Binary, &packet(0x07, b"", b"", b"")).0.len(), 0);
    }

    #[test]
    fn a_long_pipeline_is_seen_in_pieces() {
        let input = b"get k\r\n".repeat(2 * AHEAD + 1);
        let (found, bytes) = keys(Spoken::Any, &input);
        assert_eq!((found.len(), bytes), (AHEAD, 7 * AHEAD));
        let mut ahead = Ahead::new(&input, 1);
        Codec::new(Spoken::Lines).peek(&mut ahead);
        assert_eq!(ahead.keys(), [Seen { key: b"k", reads: true }]);
    }

    #[test]
    fn the_keys_of_packets_are_seen() {
        let quiet = packet(0x0d, b"", b"one", b"");
        let set = packet(0x01, &[0; 8], b"two", b"value");
        let (noop, touch) = (packet(0x0a, b"", b"", b""), packet(0x1d, &[0; 4], b"three", b""));
        let input = [quiet, set, noop, touch].concat();
        let (found, bytes) = keys(Spoken::Any, &input);
        assert_eq!((found, bytes), (vec![&b"one"[..], b"two", b"three"], input.len()));
    }

    #[test]
    fn what_is_replaced_is_not_read() {
        let lines = b"set a 0 0 1\r\nx\r\nget b\r\nms c 1\r\nx\r\nmg d v\r\n";
        let set = packet(0x01, &[0; 8], b"a", b"value");
        let (get, add) = (packet(0x00, b"", b"b", b""), packet(0x02, &[0; 8], b"c", b"v"));
        let packets = [set, get, add, packet(0x0e, b"", b"d", b"v")].concat();
        for input in [&lines[..], &packets] {
            let reads: Vec<bool> = seen(Spoken::Any, input).0.iter().map(|s| s.reads).collect();
            assert_eq!(reads, [false, true, false, true]);
        }
    }

    #[test]
    fn every_cut_of_a_pipeline_is_survived() {
        let lines = b"get a bb\r\ngats 5 c\r\nmg d v\r\nset e 0 0 9\r\nget x\r\n\r\n\r\n".to_vec();
        for input in [lines, packet(0x01, &[0; 8], b"two", b"value")] {
            for end in 0..input.len() {
                for start in 0..end {
                    assert!(keys(Spoken::Any, &input[start..end]).1 <= end - start);
                }
            }
        }
    }
}
