//! The log: records in segments, appended, read, walked. It knows no index and no locks.

mod image;
mod lane;
pub(crate) mod record;
mod run;
pub(crate) mod segment;
pub(crate) mod space;
mod walk;

pub(crate) use image::{Image, Seen, Source, Sum};
pub(crate) use lane::Lane;
pub(crate) use run::Run;
pub(crate) use walk::{Walk, Walked};

use crate::arena::Arena;
use crate::error::Result;
use crate::key::{Key, Kind};
use crate::limits::{KEY_MAX, LINE};
use crate::sys::map::Scratch;
use record::Header;

/// Reads a record's header and as much of a key as is expected behind it. `None` if that leads
/// outside the file. What arrives may be torn; the caller validates.
#[inline(always)]
pub(crate) fn read_header(
    arena: &Arena,
    at: u64,
    key_len: usize,
    scratch: &mut Scratch,
) -> Option<Header> {
    let len = LINE as usize + key_len;
    if !arena.data.contains(at, len as u64) {
        return None;
    }
    scratch.fill(&arena.data, at, len);
    Some(Header::decode(scratch.bytes()))
}

/// Is what was read a record of this key?
#[inline(always)]
pub(crate) fn is_of(header: &Header, scratch: &mut Scratch, key: &Key) -> bool {
    header.hash == key.hash
        && header.key_len as usize == key.bytes.len()
        && header.is(record::OWNER) == (key.kind == Kind::Owner)
        && is_key(scratch, key.bytes)
}

/// Reads a header with all names that it claims, if it is still the one that was read before (but
/// for the expiry, which touches change in place).
pub(crate) fn read_names(arena: &Arena, at: u64, header: &Header, scratch: &mut Scratch) -> bool {
    read_header(arena, at, header.names_len(), scratch)
        .is_some_and(|again| Header { expiry: again.expiry, ..*header } == again)
}

/// Does the key behind a header begin like this? Word by word, as it was copied: a vector load over words just
/// stored would wait until they have reached the cache, longer than the comparison takes.
#[inline]
fn is_key(scratch: &mut Scratch, key: &[u8]) -> bool {
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    let Some(found) = scratch.bytes()[LINE as usize..].get(..key.len()) else { return false };
    let (a, b) = (found.chunks_exact(8), key.chunks_exact(8));
    a.remainder() == b.remainder() && a.zip(b).all(|(a, b)| word(a) == word(b))
}

/// Reads a header with its own key, checked: `None` if it is not whole.
pub(crate) fn read_checked(arena: &Arena, at: u64, scratch: &mut Scratch) -> Option<Header> {
    let header = read_header(arena, at, 0, scratch)?;
    if !header.plausible(room_at(arena, at)) {
        return None;
    }
    let again = read_header(arena, at, header.names_len(), scratch)?;
    // Only the expiry may differ between the two: touches change it in place.
    let same = Header { expiry: again.expiry, ..header } == again;
    (same && again.checks(scratch.bytes())).then_some(again)
}

/// The hash of the key that a record has behind its header; `None` if the header says otherwise or
/// it leads outside the file. The caller keeps the record where it is.
#[inline]
pub(crate) fn hash_at(arena: &Arena, at: u64, scratch: &mut Scratch) -> Option<u64> {
    if !arena.data.contains(at, LINE) {
        return None;
    }
    let word = arena.data.load(at + record::KEY_LEN_AT);
    let (key_len, is_owner) = (word as u16 as usize, (word >> 16) as u8 & record::OWNER != 0);
    if !(1..=KEY_MAX).contains(&key_len) || !arena.data.contains(at + LINE, key_len as u64) {
        return None;
    }
    scratch.fill(&arena.data, at + LINE, key_len);
    let hash = match is_owner {
        true => arena.hash.second(scratch.bytes()),
        false => arena.hash.first(scratch.bytes()),
    };
    (hash == arena.data.load(at + record::HASH_AT)).then_some(hash)
}

/// Bytes between a place and the end of its segment.
pub(crate) fn room_at(arena: &Arena, at: u64) -> u64 {
    segment::end(arena, segment::of(arena, at)).saturating_sub(at)
}

/// Appends a record's value to `out`; false if it leads outside the file.
#[inline]
pub(crate) fn read_value(
    arena: &Arena,
    at: u64,
    header: &Header,
    out: &mut Vec<u8>,
) -> Result<bool> {
    if header.is(record::RUN) {
        return run::read_value(arena, at, header, out);
    }
    let from = at + record::value_offset(header.names_len());
    let len = header.value_len as usize;
    if !arena.data.contains(from, len as u64) {
        return Ok(false);
    }
    arena.data.append_to(from, len, out)?;
    Ok(true)
}

/// The eight bytes where a record's value begins, however many it has; `None` if they lie outside
/// the file.
pub(crate) fn first_word(arena: &Arena, at: u64, header: &Header) -> Option<u64> {
    let from = at + record::value_offset(header.names_len());
    arena.data.contains(from, 8).then(|| arena.data.load(from))
}

/// Is the record that was to be here whole: this number, both checksums?
pub(crate) fn is_whole(arena: &Arena, at: u64, seq: u64) -> Result<Option<Header>> {
    let segment = segment::of(arena, at);
    if !at.is_multiple_of(LINE) || segment >= arena.geometry.segments {
        return Ok(None);
    }
    let mut scratch = Scratch::new();
    let Some(header) = read_checked(arena, at, &mut scratch) else { return Ok(None) };
    if header.seq != seq || header.salt != segment::salt(arena, segment) {
        return Ok(None);
    }
    let mut value = Vec::new();
    let whole = read_value(arena, at, &header, &mut value)?
        && record::value_crc(&value) == header.value_crc;
    Ok(whole.then_some(header))
}
