//! Segments: the unit in which space is taken and given back.
//!
//! A segment's row in `meta` says what it is now; its header in `data` says, after a power loss,
//! whether it is one at all. The checksummed part of the header is written once per incarnation,
//! before the first record; the magic word comes last and is zeroed first.
//!
//! ```text
//!  word 0   magic 32 | check of words 1-5 and the store's secret 32
//!  word 1   incarnation 32 | kind 8 | 0
//!  word 2   salt
//!  word 3   activation seq: a number drawn for it
//!  word 4   run: segments of a head, or head segment of a body
//!  word 5   store time of the activation, ms
//!  word 6, 7   reserved, 0
//! ```
//!
//! States: FREE -> ACTIVE(lane) -> SEALED -> SWEEPING(slot) -> DRAINED -> ZEROED -> FREE, and
//! FREE -> RUN(slot) -> SEALED with BODY rows behind it for a value that fills whole segments.
//! FREE(1) may have no disk space behind it: it was given back to the filesystem, or nobody knows.

use crate::arena::{Arena, segment, word};
use crate::key::KeyHash;
use crate::limits::LINE;

pub(crate) const FREE: u8 = 0;
pub(crate) const ACTIVE: u8 = 1;
pub(crate) const SEALED: u8 = 2;
pub(crate) const SWEEPING: u8 = 3;
pub(crate) const DRAINED: u8 = 4;
pub(crate) const ZEROED: u8 = 5;
pub(crate) const RUN: u8 = 6;
pub(crate) const BODY: u8 = 7;
const MAGIC: u32 = u32::from_le_bytes(*b"HFsg");
pub(super) const KIND_PLAIN: u8 = 1;
pub(super) const KIND_HEAD: u8 = 2;
pub(super) const KIND_BODY: u8 = 3;

/// A row's state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

impl State {
    pub(crate) fn new(kind: u8, arg: u32, incarnation: u32) -> State {
        State(kind as u64 | (arg as u64 & 0xff_ffff) << 8 | (incarnation as u64) << 32)
    }

    pub(crate) fn kind(self) -> u8 {
        self.0 as u8
    }

    /// Lane or process slot.
    pub(crate) fn arg(self) -> u32 {
        (self.0 >> 8) as u32 & 0xff_ffff
    }

    pub(crate) fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn to(self, kind: u8, arg: u32) -> State {
        State::new(kind, arg, self.incarnation())
    }
}

/// What a segment's header in `data` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) incarnation: u32,
    pub(crate) kind: u8,
    pub(crate) salt: u64,
    pub(crate) activation_seq: u64,
    pub(crate) run: u64,
    pub(crate) activated_ms: u64,
}

impl Header {
    /// Is it the first of a run, and of how many segments?
    pub(crate) fn head_of(&self) -> Option<u64> {
        (self.kind == KIND_HEAD).then_some(self.run)
    }

    pub(crate) fn body_of(&self) -> Option<u64> {
        (self.kind == KIND_BODY).then_some(self.run)
    }

    /// The header's line, its magic word first.
    pub(crate) fn words(&self, secret: &[u64; 2]) -> [u64; 8] {
        let mut words = [
            0,
            self.incarnation as u64 | (self.kind as u64) << 32,
            self.salt,
            self.activation_seq,
            self.run,
            self.activated_ms,
            0,
            0,
        ];
        words[0] = magic(&words, secret);
        words
    }

    /// What a header's line says; `None` if the magic does not match the rest.
    pub(crate) fn parse(line: &[u64; 8], secret: &[u64; 2]) -> Option<Header> {
        (line[0] == magic(line, secret)).then(|| Header::believed(line))
    }

    /// What a header's line says if it is believed; for a repair, which has other evidence.
    pub(crate) fn believed(line: &[u64; 8]) -> Header {
        Header {
            incarnation: line[1] as u32,
            kind: (line[1] >> 32) as u8,
            salt: line[2],
            activation_seq: line[3],
            run: line[4],
            activated_ms: line[5],
        }
    }

    /// The same as a plain segment, the head of a run of `count`, or a body of the run at `head`.
    pub(crate) fn plain(self) -> Header {
        Header { kind: KIND_PLAIN, run: 0, ..self }
    }

    pub(crate) fn as_head(self, count: u64) -> Header {
        Header { kind: KIND_HEAD, run: count, ..self }
    }

    pub(crate) fn as_body(self, head: u64) -> Header {
        Header { kind: KIND_BODY, run: head, ..self }
    }
}

fn magic(line: &[u64; 8], secret: &[u64; 2]) -> u64 {
    let mut bytes = [0; 56];
    let all = line[1..6].iter().chain(secret);
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(all) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    MAGIC as u64 | (crc_fast::crc32_iscsi(&bytes) as u64) << 32
}

/// The salt of an incarnation: whoever knows two of its three sources can tell the third by it.
pub(crate) fn salt_of(
    hash: &KeyHash,
    secret: &[u64; 2],
    segment: u64,
    incarnation: u32,
    seq: u64,
) -> u64 {
    let mut name = [0; 24];
    for (chunk, word) in
        name.chunks_exact_mut(8).zip([segment, incarnation as u64, seq ^ secret[1]])
    {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    hash.second(&name)
}

pub(crate) fn start(arena: &Arena, segment: u64) -> u64 {
    segment * arena.geometry.segment_bytes
}

pub(crate) fn of(arena: &Arena, at: u64) -> u64 {
    at / arena.geometry.segment_bytes
}

/// Where records of this segment must end.
pub(crate) fn end(arena: &Arena, segment: u64) -> u64 {
    start(arena, segment + 1)
}

/// Asks the disk for a segment that is read in order next. By its middle: the first page may be in
/// memory for the sake of the header.
pub(crate) fn read_ahead(arena: &Arena, segment: u64) {
    let (from, len) = (start(arena, segment), arena.geometry.segment_bytes);
    if arena.data.is_cold(from + len / 2) {
        arena.data.read_ahead(from, len);
    }
}

pub(crate) fn state(arena: &Arena, segment: u64) -> State {
    State(arena.meta.load(arena.geometry.segment(segment) + segment::STATE))
}

/// Changes a state if it is still what it was.
pub(crate) fn change(arena: &Arena, segment: u64, from: State, to: State) -> bool {
    let at = arena.geometry.segment(segment) + segment::STATE;
    arena.meta.cas(at, from.0, to.0).is_ok()
}

/// The header of a segment that is one; `None` if the magic does not match the rest.
pub(crate) fn header(arena: &Arena, segment: u64) -> Option<Header> {
    let at = start(arena, segment);
    if !arena.data.contains(at, LINE) {
        return None;
    }
    Header::parse(&arena.data.line(at), &arena.secret)
}

/// Was its magic taken away on purpose, or never written? (Its taker died before the file grew.)
pub(crate) fn is_blank(arena: &Arena, segment: u64) -> bool {
    let at = start(arena, segment);
    !arena.data.contains(at, 8) || arena.data.load(at) == 0
}

/// The salt of a segment's records.
pub(crate) fn salt(arena: &Arena, segment: u64) -> u32 {
    arena.data.load(start(arena, segment) + 16) as u32
}

/// The incarnation that the bytes of a segment claim, valid or not: a new one must differ.
pub(crate) fn last_incarnation(arena: &Arena, segment: u64) -> u32 {
    let at = start(arena, segment) + 8;
    if arena.data.contains(at, 8) { arena.data.load(at) as u32 } else { 0 }
}

/// Lines of records that a segment can have.
pub(crate) fn capacity(arena: &Arena) -> u64 {
    arena.geometry.segment_bytes / LINE - 1
}

/// How many segments the run that starts here has, 1 for a plain segment; bounded by the store.
pub(crate) fn run_length(arena: &Arena, segment: u64) -> u64 {
    let extent = arena.meta.load(arena.geometry.segment(segment) + segment::EXTENT);
    (extent & 0xff_ffff).clamp(1, arena.geometry.segments - segment)
}

/// Does a value that fills whole segments start here?
pub(crate) fn is_run(arena: &Arena, segment: u64) -> bool {
    extent(arena, segment) & 0xff_ffff != 0
}

fn extent(arena: &Arena, segment: u64) -> u64 {
    arena.meta.load(arena.geometry.segment(segment) + segment::EXTENT)
}

/// Notes how far a segment goes: in segments if it is the head of a run, in lines if it is sealed.
/// Only for who holds the segment, as its lane or by its state.
pub(crate) fn set_extent(arena: &Arena, segment: u64, run: u64, lines: u64) {
    let moved = extent(arena, segment) & MOVED;
    let at = arena.geometry.segment(segment) + segment::EXTENT;
    arena.meta.store(at, run | moved | lines << 32);
}
pub(super) const MOVED: u64 = 1 << 24;

/// Is what is in it there because the sweep moved it?
pub(crate) fn has_moved(arena: &Arena, segment: u64) -> bool {
    extent(arena, segment) & MOVED != 0
}

/// Lines that were written, when it was sealed; all that fit if nobody noted it.
pub(crate) fn used_lines(arena: &Arena, segment: u64) -> u64 {
    match extent(arena, segment) >> 32 & 0xffff {
        0 => capacity(arena),
        used => used.min(capacity(arena)),
    }
}

/// Up to where it has been emptied, bytes into `data`; the place of its header if that was not begun.
pub(crate) fn swept_to(arena: &Arena, segment: u64) -> u64 {
    start(arena, segment) + (extent(arena, segment) >> 48) * LINE
}

/// Notes it, for who holds the segment by its state.
pub(crate) fn set_swept_to(arena: &Arena, segment: u64, at: u64) {
    let lines = at.saturating_sub(start(arena, segment)) / LINE;
    let rest = extent(arena, segment) & ((1 << 48) - 1);
    let row_at = arena.geometry.segment(segment) + segment::EXTENT;
    arena.meta.store(row_at, rest | (lines & 0xffff) << 48);
}

/// Where a record lies, an offset in `data`, and how many lines it has.
pub(crate) type Span = (u64, u64);

/// Live lines come and go; a hint that each sweep makes exact again.
pub(crate) fn account(arena: &Arena, comes: Option<Span>, goes: Option<Span>) {
    let mut change = 0u64;
    let mut add = |(at, amount): Span| {
        let segment = of(arena, at);
        if segment < arena.geometry.segments {
            arena.meta.add(arena.geometry.segment(segment) + segment::LIVE, amount);
        }
        change = change.wrapping_add(amount);
    };
    goes.into_iter().for_each(|(at, lines)| add((at, lines.wrapping_neg())));
    comes.into_iter().for_each(&mut add);
    // Most values are as long as the ones before them, and all writers share this word.
    if change != 0 {
        arena.meta.add(word::LIVE_LINES, change);
    }
}

/// Something in here ends earlier than the last sweep saw.
pub(crate) fn look_again(arena: &Arena, at: u64) {
    let segment = of(arena, at);
    if segment < arena.geometry.segments {
        arena.meta.store(arena.geometry.segment(segment) + segment::NEXT_LOOK_MS, 0);
    }
}

pub(crate) fn live_hint(arena: &Arena, segment: u64) -> u64 {
    arena.meta.load(arena.geometry.segment(segment) + segment::LIVE)
}

#[cfg(test)]
mod tests {
    use super::super::space::BARE;
    use super::*;

    /// The words were made by hand from the table above, the checksum bit by bit.
    #[test]
    fn a_header_lies_where_the_format_says_and_holds_with_its_own_secret_only() {
        let secret = [1, 2];
        let head = Header {
            incarnation: 3,
            kind: KIND_HEAD,
            salt: 0xa,
            activation_seq: 0xb,
            run: 0xc,
            activated_ms: 0xd,
        };
        let words = head.words(&secret);
        assert_eq!(words, [0x5124_993c_6773_4648, 3 | 2 << 32, 0xa, 0xb, 0xc, 0xd, 0, 0]);
        assert_eq!(Header::parse(&words, &secret), Some(head));
        assert!(
            Header::parse(&words, &[1, 3]).is_none() && Header::parse(&words, &[0, 2]).is_none()
        );
        for bit in 0..6 * 64 {
            let mut bad = words;
            bad[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Header::parse(&bad, &secret), None, "bit {bit}");
        }
        // Reserved: a later version may say something there.
        let mut later = words;
        later[6..].fill(u64::MAX);
        assert_eq!(Header::parse(&later, &secret), Some(head));
    }

    #[test]
    fn a_segment_is_plain_the_head_of_a_run_or_one_of_its_bodies() {
        let line = [0, 3, 0xa, 0xb, 0, 0xd, 0, 0];
        let plain = Header::believed(&line).plain();
        let (head, body) = (plain.as_head(4), plain.as_body(9));
        assert_eq!((plain.head_of(), plain.body_of(), plain.kind), (None, None, KIND_PLAIN));
        assert_eq!((head.head_of(), head.body_of(), head.kind), (Some(4), None, KIND_HEAD));
        assert_eq!((body.head_of(), body.body_of(), body.kind), (None, Some(9), KIND_BODY));
        assert_eq!((head.plain(), body.plain(), body.salt), (plain, plain, 0xa));
    }

    #[test]
    fn a_state_says_what_was_put_in() {
        let state = State::new(SEALED, 0x12_3456, 0x789a_bcde);
        assert_eq!(state.0, 0x789a_bcde_1234_5602);
        assert_eq!(
            (state.kind(), state.arg(), state.incarnation()),
            (SEALED, 0x12_3456, 0x789a_bcde)
        );
        assert_eq!(state.to(FREE, BARE).0, 0x789a_bcde_0000_0100);
        let full = State::new(RUN, u32::MAX, 0);
        assert_eq!(
            (full.arg(), full.incarnation()),
            (0xff_ffff, 0),
            "an argument stays in its place"
        );
    }
}
