//! The maintenance thread: started by the first change, gone when there is nothing left to do.
//!
//! In periodic mode it runs the sync rounds; in every mode it drops what has expired and frees
//! segments. Each process that changed something has one while the store is dirty; one of them is
//! elected by an advisory word with a heartbeat and works, the others watch it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Attachment, sweep, sync};
use crate::arena::{Arena, word};
use crate::error::Result;
use crate::limits::SWEEP_RECORDS;
use crate::sys::{clock, thread};

/// In the word DIRTY: 0 = all is on the disk, 1 = something is not, this = it is being synced.
const SYNCING: u64 = 2;
/// Ticks with nothing to do before the thread ends.
const CLEAN_TICKS: u32 = 2;

pub(super) struct Flusher {
    running: AtomicBool,
    life_seen_ms: AtomicU64,
}

impl Flusher {
    pub(super) fn new() -> Flusher {
        Flusher { running: AtomicBool::new(false), life_seen_ms: AtomicU64::new(0) }
    }

    /// In a child: the parent's thread is not here.
    pub(super) fn forget(&self) {
        self.running.store(false, Ordering::Release);
    }

    /// Once a second at most: is it time to look at our life byte?
    #[inline]
    pub(super) fn life_is_due(&self) -> bool {
        let now = clock::mono_ms();
        if now.wrapping_sub(self.life_seen_ms.load(Ordering::Relaxed)) < 1000 {
            return false;
        }
        self.life_seen_ms.store(now, Ordering::Relaxed);
        true
    }
}

/// Called after every change: somebody must carry it to the disk, and soon.
#[inline]
pub(super) fn changed(attached: &Arc<Attachment>) -> Result<()> {
    let meta = &attached.arena.meta;
    if meta.load(word::DIRTY) != 1 {
        meta.swap(word::DIRTY, 1);
    }
    if attached.thread {
        if !attached.flusher.running.load(Ordering::Acquire) {
            start(attached);
        }
        return Ok(());
    }
    due_without_thread(attached)
}

/// Threads are not wanted: the operation that finds a sync due does it.
#[cold]
fn due_without_thread(attached: &Attachment) -> Result<()> {
    let arena = &attached.arena;
    let last = arena.meta.load(word::LAST_SYNC_MS);
    let due = clock::mono_ms().saturating_sub(last) >= arena.config.sync_interval_ms;
    if attached.syncs_periodically() && due {
        arena.meta.swap(word::DIRTY, SYNCING);
        sync::round(arena)?;
        let _ = arena.meta.cas(word::DIRTY, SYNCING, 0);
        sweep::advance(arena);
    }
    Ok(())
}

#[cold]
fn start(attached: &Arc<Attachment>) {
    let flusher = &attached.flusher;
    if flusher.running.swap(true, Ordering::AcqRel) {
        return;
    }
    let weak = Arc::downgrade(attached);
    if thread::spawn_quiet("holdfast", move || run(&weak)).is_err() {
        // Tried again at the next change; the kernel writes back on its own in the meantime.
        flusher.running.store(false, Ordering::Release);
    }
}

fn run(weak: &Weak<Attachment>) {
    let mut clean = 0;
    loop {
        let interval = match weak.upgrade() {
            Some(attached) => attached.arena.config.sync_interval_ms.clamp(1, 60_000),
            None => return,
        };
        // Sliced, so that a closed store is let go of soon.
        let mut left = interval;
        while left > 0 {
            let slice = left.min(50);
            std::thread::sleep(Duration::from_millis(slice));
            left -= slice;
            if weak.strong_count() == 0 {
                return;
            }
        }
        let Some(attached) = weak.upgrade() else { return };
        clean = if tick(&attached) { 0 } else { clean + 1 };
        if clean >= CLEAN_TICKS {
            let arena = &attached.arena;
            let _ = arena.meta.cas(word::FLUSHER, arena.identity(), 0);
            attached.flusher.running.store(false, Ordering::SeqCst);
            std::sync::atomic::fence(Ordering::SeqCst);
            // A change may have come after the last look and have seen us running.
            if arena.meta.load(word::DIRTY) == 0
                || attached.flusher.running.swap(true, Ordering::SeqCst)
            {
                return;
            }
            clean = 0;
        }
    }
}

/// One look; true if there was or is something to do.
fn tick(attached: &Attachment) -> bool {
    let arena = &attached.arena;
    if arena.meta.load(word::DIRTY) == 0 {
        return false;
    }
    if !elected(arena) {
        return true;
    }
    arena.meta.swap(word::DIRTY, SYNCING);
    if attached.syncs_periodically() && sync::round(arena).is_err() {
        // Sticky in meta: every later write says so.
        arena.meta.store(word::DIRTY, 0);
        return false;
    }
    // A death before this leaves it for the next one elected.
    let _ = arena.meta.cas(word::DIRTY, SYNCING, 0);
    let _ = sweep::expire(arena, SWEEP_RECORDS);
    if sweep::advance(arena) && !attached.syncs_periodically() {
        let _ = sync::round(arena);
    }
    true
}

/// Is this process the one that works? It is if the last one is gone or has not been heard of.
fn elected(arena: &Arena) -> bool {
    let (me, now) = (arena.identity(), clock::mono_ms());
    let who = arena.meta.load(word::FLUSHER);
    if who != me {
        let heard = arena.meta.load(word::FLUSHER_BEAT_MS);
        let patience = 2 * arena.config.sync_interval_ms.min(60_000);
        let late = now.saturating_sub(heard) > patience;
        if who != 0 && !late && !arena.is_gone(who) {
            return false;
        }
        if arena.meta.cas(word::FLUSHER, who, me).is_err() {
            return false;
        }
    }
    arena.meta.store(word::FLUSHER_BEAT_MS, now);
    true
}
