//! Counters and sizes, for people and for the tools above.

use super::{attach, files, flush, growth};
use crate::arena::{Arena, Count, Timed, slot, word};
use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::key::HashKind;
use crate::limits::LINE;
use crate::log::{segment, space};
use crate::options::{Options, Sync};
use crate::sys::clock;
use crate::sys::map::Map;

/// A snapshot; sizes in bytes, times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; the C header explains each")]
pub struct Stats {
    pub keys: u64,
    pub live_bytes: u64,
    pub data_bytes: u64,
    pub max_bytes: u64,
    pub max_value_bytes: u64,
    pub index_bytes: u64,
    pub index_slots: u64,
    pub segment_bytes: u64,
    pub segments: u64,
    pub segments_free: u64,
    pub gets: u64,
    pub hits: u64,
    pub sets: u64,
    pub deletes: u64,
    pub touches: u64,
    pub expired: u64,
    pub refused_full: u64,
    pub damaged_reads: u64,
    pub lock_acquired: u64,
    pub lock_waited: u64,
    pub lock_timeouts: u64,
    pub lock_broken: u64,
    pub latch_stolen: u64,
    pub healed: u64,
    pub sync_rounds: u64,
    pub sync: Sync,
    pub sync_interval_ms: u64,
    pub hash: HashKind,
    pub format_major: u64,
    pub format_minor: u64,
    pub processes: u64,
    pub max_processes: u64,
    pub locks_held: u64,
    pub lock_waiters: u64,
    /// Since the last finished sync round; `u64::MAX` if there was none since the boot.
    pub last_sync_age_ms: u64,
    /// In memory only: a reboot loses everything.
    pub not_persistent: bool,
    /// This process asked for other options than the store has.
    pub options_differ: bool,
    /// 0 = for ever.
    pub default_ttl_ms: u64,
    /// 0 = no bound.
    pub max_ttl_ms: u64,
    /// Values are compressed where that saves space.
    pub compress: bool,
    /// On disk, all files together: less than their lengths where space was given back.
    pub disk_bytes: u64,
    /// Of records, by callers.
    pub written_bytes: u64,
    /// Of records, by the sweep, which moves what is alive: the price of giving space back.
    pub moved_bytes: u64,
    /// Emptied by the sweep.
    pub segments_emptied: u64,
    /// Old values that nobody reads are dropped when the store is full.
    pub evict: bool,
    /// Values dropped for that reason before they had expired.
    pub evicted: u64,
    pub meta_bytes: u64,
    /// Of `data_bytes` those that are in memory, whichever process brought them there.
    pub data_resident_bytes: u64,
    pub index_resident_bytes: u64,
    pub meta_resident_bytes: u64,
    /// How long those who did not get a session lock at once waited, whether they got it or not.
    pub lock_waits: Histogram,
    /// How long syncs took, those that failed included.
    pub syncs: Histogram,
}

/// What somebody who keeps a store open should look at now and then; cheap, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// This process asked for other options than the store has.
    pub options_differ: bool,
    /// A sync failed: every change is refused until the store is opened anew.
    pub sync_failed: bool,
    /// What lies at the store's path is what this process has open. If not, the directory was
    /// removed, moved or replaced: who opens it now sees other values, or none.
    pub in_place: bool,
}

pub(super) fn condition(arena: &Arena, asked: &Options) -> Condition {
    Condition {
        options_differ: asked.differs(&arena.config()),
        sync_failed: arena.check_sync().is_err(),
        in_place: files::lost(arena).is_none(),
    }
}

pub(super) fn stats(arena: &Arena, asked: &Options) -> Result<Stats> {
    let (config, geometry) = (arena.config(), &arena.geometry);
    let (locks_held, lock_waiters) = crate::lock::census(arena);
    let (major, minor) = attach::format();
    let processes = (0..config.max_processes)
        .filter(|s| arena.meta.load(geometry.slot(*s) + slot::PID) != 0 && arena.peers.alive(*s))
        .count() as u64;
    let last_sync = arena.meta.load(word::LAST_SYNC_MS);
    let counted = |what| arena.counted(what);
    // Deaths between a change and its count leave these a little off, perhaps below zero.
    let about = |at| (arena.meta.load(at) as i64).max(0) as u64;
    let gone = flush::is_due(arena);
    Ok(Stats {
        keys: if gone { 0 } else { about(word::KEYS) },
        live_bytes: if gone { 0 } else { about(word::LIVE_LINES).saturating_mul(LINE) },
        data_bytes: arena.meta.load(word::DATA_BYTES),
        max_bytes: config.max_bytes,
        max_value_bytes: config.max_value_bytes,
        index_bytes: arena.meta.load(word::INDEX_BYTES),
        index_slots: growth::slots(arena),
        segment_bytes: geometry.segment_bytes,
        segments: geometry.segments,
        segments_free: space::free(arena),
        gets: counted(Count::Gets),
        hits: counted(Count::Hits),
        sets: counted(Count::Sets),
        deletes: counted(Count::Deletes),
        touches: counted(Count::Touches),
        expired: counted(Count::Expired),
        refused_full: counted(Count::RefusedFull),
        damaged_reads: counted(Count::DamagedReads),
        lock_acquired: counted(Count::LockAcquired),
        lock_waited: counted(Count::LockWaited),
        lock_timeouts: counted(Count::LockTimeouts),
        lock_broken: counted(Count::LockBroken),
        latch_stolen: counted(Count::LatchStolen),
        healed: counted(Count::Healed),
        sync_rounds: counted(Count::SyncRounds),
        sync: config.sync,
        sync_interval_ms: config.sync_interval_ms,
        hash: config.hash,
        format_major: major as u64,
        format_minor: minor as u64,
        processes,
        max_processes: config.max_processes as u64,
        locks_held,
        lock_waiters,
        last_sync_age_ms: match last_sync {
            0 => u64::MAX,
            at => clock::mono_ms().saturating_sub(at),
        },
        not_persistent: arena.dir.not_persistent(),
        options_differ: asked.differs(&config),
        default_ttl_ms: config.default_ttl_ms,
        max_ttl_ms: config.max_ttl_ms,
        compress: config.compress,
        disk_bytes: [&arena.data, &arena.index, &arena.meta].iter().map(|m| m.disk_bytes()).sum(),
        written_bytes: counted(Count::WrittenLines).saturating_mul(LINE),
        moved_bytes: counted(Count::MovedLines).saturating_mul(LINE),
        segments_emptied: counted(Count::Drained),
        evict: config.evict,
        evicted: counted(Count::Evicted),
        meta_bytes: arena.meta.usable(),
        data_resident_bytes: resident(arena, &arena.data, "data")?,
        index_resident_bytes: resident(arena, &arena.index, "index")?,
        meta_resident_bytes: resident(arena, &arena.meta, "meta")?,
        lock_waits: arena.times(Timed::LockWait),
        syncs: arena.times(Timed::SyncRound),
    })
}

fn resident(arena: &Arena, map: &Map, name: &str) -> Result<u64> {
    let asking =
        || format!("asking which pages of {} are in memory", arena.dir.join(name).display());
    map.resident().map_err(|e| Error::io(asking(), e))
}

/// Lets go of the memory of all segments that nobody appends to; gives about how many bytes of
/// `data` are no longer in memory.
pub(super) fn trim_memory(arena: &Arena) -> Result<u64> {
    let before = resident(arena, &arena.data, "data")?;
    // Those that are free may have been made ready for the next writes: they stay.
    let is_full = |which: &u64| {
        let kind = segment::state(arena, *which).kind();
        matches!(kind, segment::SEALED | segment::BODY | segment::DRAINED | segment::ZEROED)
    };
    let mut which = 0;
    while which < arena.geometry.segments {
        let end = (which..arena.geometry.segments).find(|s| !is_full(s));
        let end = end.unwrap_or(arena.geometry.segments);
        let (from, to) = (segment::start(arena, which), segment::start(arena, end));
        arena.data.let_go(from, to - from).map_err(|e| {
            Error::io(format!("letting go of pages of {}", arena.dir.join("data").display()), e)
        })?;
        which = end + 1;
    }
    Ok(before.saturating_sub(resident(arena, &arena.data, "data")?))
}

/// This process goes: its row no longer counts.
pub(super) fn detached(arena: &Arena) {
    let at = arena.geometry.slot(arena.peers.slot());
    arena.meta.store(at + slot::PID, 0);
}
