//! How much of a store could be given back.

use super::{Amount, Look, expiry_now, is_alive, is_named, look, source};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::limits::LINE;
use crate::log::Image;
use crate::log::record::TOMBSTONE;
use crate::log::segment::{self, BODY, FREE, RUN, ZEROED};

/// What is in the segments, and what a full compaction would give back of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reclaimable {
    /// Counted by a walk; otherwise estimated from counters, with `expired` and `tombstones` 0
    /// and `dead` without a number of records.
    pub exact: bool,
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Segments in use.
    pub segments_used: u64,
    /// Segments free.
    pub segments_free: u64,
    /// Current records that have not expired.
    pub live: Amount,
    /// Current records that have expired or were flushed.
    pub expired: Amount,
    /// Records of deletions; some of them are still needed.
    pub tombstones: Amount,
    /// Replaced, deleted or dropped records.
    pub dead: Amount,
    /// Segments in use by the share of their bytes that is live: up to 10 %, up to 20 %, ...
    pub by_share: [u64; 10],
    /// Bytes of whole segments that would be free if what is live were packed together.
    pub bytes: u64,
}

impl Reclaimable {
    fn segment(&mut self, live_bytes: u64) {
        self.segments_used += 1;
        let tenth = live_bytes.min(self.segment_bytes) * 10 / self.segment_bytes.max(1);
        self.by_share[tenth.min(9) as usize] += 1;
    }
}

pub(super) fn reclaimable(arena: &Arena, exact: bool) -> Result<Reclaimable> {
    let segment_bytes = arena.geometry.segment_bytes;
    let mut found = Reclaimable { exact, segment_bytes, ..Reclaimable::default() };
    // Values that fill whole segments give nothing back but themselves.
    let runs = match exact {
        true => walk(arena, &mut found)?,
        false => count(arena, &mut found),
    };
    let room = segment_bytes - LINE;
    let packed = found.live.bytes.saturating_sub(runs.live_bytes).div_ceil(room) + runs.segments;
    found.bytes = found.segments_used.saturating_sub(packed) * segment_bytes;
    Ok(found)
}

/// Of live values that fill segments.
#[derive(Default)]
struct Runs {
    segments: u64,
    live_bytes: u64,
}

fn count(arena: &Arena, found: &mut Reclaimable) -> Runs {
    let mut runs = Runs::default();
    for number in 0..arena.geometry.segments {
        if matches!(segment::state(arena, number).kind(), FREE | ZEROED) {
            found.segments_free += 1;
            continue;
        }
        let lines = (segment::live_hint(arena, number) as i64).max(0) as u64;
        let live = lines.saturating_mul(LINE);
        found.live.bytes = found.live.bytes.saturating_add(live);
        if live > found.segment_bytes {
            runs.live_bytes = runs.live_bytes.saturating_add(live);
            runs.segments += segment::run_length(arena, number);
        }
        found.segment(live);
    }
    let used = found.segments_used * (found.segment_bytes - LINE);
    found.dead.bytes = used.saturating_sub(found.live.bytes);
    runs
}

fn walk(arena: &Arena, found: &mut Reclaimable) -> Result<Runs> {
    let source = source(arena)?;
    let mut image = Image::new(&source)?;
    let mut runs = Runs::default();
    let now = arena.now_ms();
    for number in 0..source.segments {
        let seen = look(arena, &source, &mut image, number)
            .map_err(|e| Error::io(format!("reading {}", arena.dir.join("data").display()), e))?;
        let (header, end) = match seen {
            Look::Records { header, end, .. } => (header, end),
            Look::Free => {
                found.segments_free += 1;
                continue;
            }
            // Of no record; a part of a value is counted with its head, but takes its segment.
            Look::Part | Look::Blank | Look::Bad => {
                let part = matches!(segment::state(arena, number).kind(), BODY | RUN);
                found.segment(if part { found.segment_bytes } else { 0 });
                continue;
            }
        };
        let before = found.live.bytes;
        for seen in image.records(&header, end) {
            let header = &seen.header;
            let kind = if header.is(TOMBSTONE) {
                &mut found.tombstones
            } else if !is_named(arena, header.hash, seen.at) {
                &mut found.dead
            } else {
                match expiry_now(arena, seen.at, header.seq) {
                    Some(at) if !is_alive(arena, seen.at, header, at, now) => &mut found.expired,
                    _ => &mut found.live,
                }
            };
            kind.add(header);
            if header.is(crate::log::record::RUN) {
                break;
            }
        }
        let live = found.live.bytes - before;
        if let Some(count) = header.head_of().filter(|_| live > 0) {
            runs.segments += count;
            runs.live_bytes += live;
        }
        found.segment(live);
    }
    Ok(runs)
}
