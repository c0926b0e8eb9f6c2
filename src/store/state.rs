//! What the store is, changed while it is in use: its options and its flushes.
//!
//! `super` is the durable truth; words of `meta` are what everybody reads at each operation. Both
//! change here, in one function, under one latch: first `super`, then the words. Whoever takes the
//! latch, frees it of a dead owner or opens the store alone makes the words agree with `super`
//! first, so a death in between leaves the old or the new. This latch comes before those of stripes.

use super::superblock::Superblock;
use super::{files, sweep};
use crate::arena::{Arena, segment as row, word};
use crate::error::Result;
use crate::options::Config;
use crate::sys::latch;

/// The one who may change `super`.
pub(super) struct Sole<'a> {
    pub(super) arena: &'a Arena,
    /// What `super` says.
    now: Superblock,
    _latch: Unlatch<'a>,
}

impl<'a> Sole<'a> {
    /// Takes the latch. What a dead owner made durable counts, what it only began is dropped.
    pub(super) fn latch(arena: &'a Arena) -> Result<Sole<'a>> {
        let cell = arena.meta.cell(word::SUPER_LATCH);
        latch::acquire(cell, &arena.peers, arena.operation_timeout)
            .ok_or_else(|| arena.busy("the store's own description", latch::owner(cell)))?;
        let _latch = Unlatch(arena);
        Ok(Sole { arena, now: catch_up(arena)?, _latch })
    }

    pub(super) fn now(&self) -> &Superblock {
        &self.now
    }

    /// Changes `super`, durably, and what follows from it. A failure changes nothing, or all of
    /// it without the certainty that it outlives a power loss.
    pub(super) fn change(&mut self, edit: impl FnOnce(&mut Superblock)) -> Result<()> {
        let arena = self.arena;
        let mut new = self.now;
        edit(&mut new);
        let written = new.write(&arena.dir, &*arena.disk);
        // If only the last step failed it is there all the same.
        self.now = if written.is_ok() { new } else { read(arena)? };
        publish(arena, &self.now);
        written
    }
}

struct Unlatch<'a>(&'a Arena);

impl Drop for Unlatch<'_> {
    fn drop(&mut self) {
        latch::release(self.0.meta.cell(word::SUPER_LATCH));
    }
}

fn read(arena: &Arena) -> Result<Superblock> {
    Superblock::read(&arena.dir)?.ok_or_else(|| files::super_is_missing(&arena.dir))
}

/// Whatever came of the change that the last owner of the latch was making.
fn catch_up(arena: &Arena) -> Result<Superblock> {
    let superblock = read(arena)?;
    publish(arena, &superblock);
    Ok(superblock)
}

fn modes(config: &Config) -> u64 {
    config.sync as u64 | (config.compress as u64) << 8 | (config.evict as u64) << 16
}

/// Makes `meta` say what `super` says. Every step can be repeated.
pub(super) fn publish(arena: &Arena, superblock: &Superblock) {
    let config = &superblock.config;
    if config.evict && !arena.evicts() {
        // First: whoever reads that it is a cache may evict at once.
        sweep::begin_to_evict(arena);
    }
    for (word, value) in [
        (word::MAX_TTL_MS, config.max_ttl_ms),
        (word::DEFAULT_TTL_MS, config.default_ttl_ms),
        (word::MAX_VALUE_BYTES, config.max_value_bytes),
        (word::SYNC_INTERVAL_MS, config.sync_interval_ms),
        (word::MODES, modes(config)),
        (word::PENDING_MAX_BYTES, config.pending_max_bytes),
        (word::PENDING_MAX_PROCESSES, config.pending_max_processes as u64),
    ] {
        arena.meta.store(word, value);
    }
    if superblock.flush_seq > arena.meta.load(word::FLUSH_SEQ) {
        forget_what_was(arena);
        arena.meta.store(word::FLUSH_SEQ, superblock.flush_seq);
    }
    arena.meta.store(word::FLUSH_AT, superblock.flush_at_ms);
}

/// Everything is flushed: nothing is counted any more, every segment may come free, and nothing
/// that a power loss took away or brought back can matter. Nobody writes meanwhile.
fn forget_what_was(arena: &Arena) {
    for segment in 0..arena.geometry.segments {
        let at = arena.geometry.segment(segment);
        arena.meta.store(at + row::LIVE, 0);
        arena.meta.store(at + row::NEXT_LOOK_MS, 0);
    }
    for word in [
        word::KEYS,
        word::LIVE_LINES,
        word::RECOVERY_HORIZON,
        word::NEXT_SWEEP_MS,
        word::NO_ROOM_UNTIL_MS,
        word::NO_LIFE_UNTIL_MS,
        word::NO_VICTIM_UNTIL_MS,
    ] {
        arena.meta.store(word, 0);
    }
    arena.meta.store(word::DIRTY, 1);
}

/// The latch bears the number of a dead process's slot.
pub(super) fn heal(arena: &Arena, dead: impl Fn(u32) -> bool) -> Result<()> {
    let cell = arena.meta.cell(word::SUPER_LATCH);
    if latch::owner(cell).is_some_and(dead) {
        catch_up(arena)?;
        latch::release(cell);
    }
    Ok(())
}
