//! The maintenance thread: started by the first change, gone when there is nothing left to do.
//!
//! In periodic mode it runs the sync rounds; in every mode it drops what has expired, frees
//! segments and makes the next ones ready. Each process that changed something has one while the
//! store is dirty, or has space to give back after a peak; one of them is elected by an advisory
//! word with a heartbeat and works, the others watch it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{files, sweep, sync};
use crate::arena::{Arena, word};
use crate::error::Result;
use crate::limits::{PREPARE_AHEAD, SWEEP_RECORDS};
use crate::log::space;
use crate::options::Sync;
use crate::sys::{clock, futex, thread, words};

/// Ticks with nothing to do before the thread ends.
const CLEAN_TICKS: u32 = 2;
/// How often the elected one looks for what has expired, ms.
const SWEEP_EVERY_MS: u64 = 1000;
/// In how many looks it has seen everything.
const SWEEP_PARTS: u64 = 60;

/// How often a sleeping thread looks whether the interval was changed.
const LOOK_AT_INTERVAL: Duration = Duration::from_secs(1);

/// Values of the word DIRTY.
const CLEAN: u64 = 0;
const DIRTY: u64 = 1;
/// A round is under way that covers all changes until it began. If its process dies in it the
/// store is still not clean, and somebody else sees that.
const SYNCING: u64 = 2;

/// This process's thread, if it runs, and how to talk to it.
pub(super) struct Flusher {
    wanted: bool,
    running: AtomicBool,
    stop: AtomicBool,
    /// 1 = wake up out of turn: segments are to be made ready, or it is time to stop.
    bell: words::Cell,
    handle: Mutex<Option<thread::Started>>,
    life_seen_ms: AtomicU64,
}

impl Flusher {
    /// `wanted`: may there be a thread at all?
    pub(super) fn new(wanted: bool) -> Flusher {
        Flusher {
            wanted,
            running: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            bell: words::Cell::new(0),
            handle: Mutex::new(None),
            life_seen_ms: AtomicU64::new(0),
        }
    }

    /// In a child: the parent's thread is not here.
    pub(super) fn forget(&self) {
        if let Some(mut handle) = self.handle.try_lock() {
            // Not a thread of this process: it can be neither joined nor detached.
            std::mem::forget(handle.take());
        }
        self.running.store(false, Ordering::Release);
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
        // Bounded, because a fork may have copied the lock while another thread had it.
        let handle = self.handle.try_lock_for(Duration::from_secs(1)).and_then(|mut h| h.take());
        if let Some(handle) = handle {
            handle.join();
        }
    }

    fn ring(&self) {
        self.bell.store(1, Ordering::Release);
        futex::wake(&self.bell, 1);
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

fn is_periodic(arena: &Arena) -> bool {
    arena.sync_mode() == Sync::Periodic
}

/// Called after every change: somebody must carry it to the disk, and soon.
#[inline]
pub(super) fn changed(arena: &Arc<Arena>, flusher: &Arc<Flusher>) -> Result<()> {
    if arena.meta.load(word::DIRTY) != DIRTY {
        arena.meta.swap(word::DIRTY, DIRTY);
        // A thread that is about to end sees this, or that it has ended is seen below.
        words::fence(Ordering::SeqCst);
    }
    if !flusher.wanted {
        return due_without_thread(arena);
    }
    if !flusher.running.load(Ordering::Acquire) {
        start(arena, flusher);
    }
    // A segment was begun: the next ones are to be made ready, and perhaps room.
    if arena.rolled.load(Ordering::Relaxed) {
        arena.rolled.store(false, Ordering::Relaxed);
        flusher.ring();
    }
    Ok(())
}

/// Called once attached: what others left when they died must reach the disk even if nothing
/// happens here but reads.
pub(super) fn look_after(arena: &Arc<Arena>, flusher: &Arc<Flusher>) {
    if flusher.wanted && arena.meta.load(word::DIRTY) != CLEAN {
        start(arena, flusher);
    }
}

/// Threads are not wanted: the operation that finds a sync due does it.
#[cold]
fn due_without_thread(arena: &Arena) -> Result<()> {
    // In this order: then a moment that is yet to come is damage.
    let (last, now) = (arena.meta.load(word::LAST_SYNC_MS), clock::mono_ms());
    let due = last > now || now - last >= arena.sync_interval_ms();
    if is_periodic(arena) && due {
        files::look_around(arena);
        round(arena)?;
        sweep::advance(arena);
    }
    Ok(())
}

/// One round; the store is clean after it unless something changed meanwhile.
fn round(arena: &Arena) -> Result<()> {
    arena.meta.swap(word::DIRTY, SYNCING);
    sync::round(arena)?;
    let _ = arena.meta.cas(word::DIRTY, SYNCING, CLEAN);
    Ok(())
}

#[cold]
fn start(arena: &Arc<Arena>, flusher: &Arc<Flusher>) {
    // Held over the start, so that whoever stops it finds the handle.
    let Some(mut handle) = flusher.handle.try_lock() else { return };
    if flusher.stop.load(Ordering::Acquire) || flusher.running.swap(true, Ordering::AcqRel) {
        return;
    }
    let (arena, own) = (arena.clone(), flusher.clone());
    match thread::spawn_quiet(c"holdfast", move || run(&arena, &own)) {
        // The handle of one that ended before is dropped here.
        Ok(started) => *handle = Some(started),
        // Tried again at the next change; the kernel writes back on its own in the meantime.
        Err(_) => flusher.running.store(false, Ordering::Release),
    }
}

fn run(arena: &Arena, flusher: &Flusher) {
    let mut clean = 0;
    while clean < CLEAN_TICKS {
        if !sleep(arena, flusher) {
            return;
        }
        clean = if tick(arena, flusher) { 0 } else { clean + 1 };
        if clean < CLEAN_TICKS {
            continue;
        }
        let _ = arena.meta.cas(word::FLUSHER, arena.identity(), 0);
        flusher.running.store(false, Ordering::SeqCst);
        words::fence(Ordering::SeqCst);
        // A change may have come after the last look and have seen us running.
        if arena.meta.load(word::DIRTY) != CLEAN && !flusher.running.swap(true, Ordering::SeqCst) {
            clean = 0;
        }
    }
}

/// Until the next tick; false: it is time to end. The interval may change meanwhile.
fn sleep(arena: &Arena, flusher: &Flusher) -> bool {
    let begun = Instant::now();
    loop {
        if flusher.stop.load(Ordering::Acquire) {
            return false;
        }
        let interval = Duration::from_millis(arena.sync_interval_ms().min(60_000));
        let left = interval.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return true;
        }
        futex::wait(&flusher.bell, 0, left.min(LOOK_AT_INTERVAL));
        if flusher.bell.swap(0, Ordering::Acquire) == 1 && !flusher.stop.load(Ordering::Acquire) {
            space::prepare(arena, PREPARE_AHEAD);
            // A failed sync is sticky in meta, and every later write says so.
            let _ = sweep::tend(arena, || flusher.stop.load(Ordering::Acquire));
        }
    }
}

/// One look; true if there was or is something to do.
fn tick(arena: &Arena, flusher: &Flusher) -> bool {
    files::look_around(arena);
    if arena.meta.load(word::DIRTY) == CLEAN {
        // After a peak there may be something to give back, even if nothing happens any more.
        return elected(arena) && (sweep::tidy(arena).unwrap_or(false) || sweep::give_back(arena));
    }
    if !elected(arena) {
        return true;
    }
    if is_periodic(arena) {
        if round(arena).is_err() {
            // Sticky in meta: every later write says so, and nobody tries again.
            arena.meta.store(word::DIRTY, CLEAN);
            return false;
        }
    } else {
        arena.meta.swap(word::DIRTY, CLEAN);
    }
    let flushed = arena.meta.load(word::FLUSH_SEQ);
    if flushed > arena.meta.load(word::FLUSH_SWEPT) {
        // All of it, but the next round is not to be late.
        let until = clock::mono_ms() + arena.sync_interval_ms().min(1000) / 2;
        let stop = || flusher.stop.load(Ordering::Acquire) || clock::mono_ms() > until;
        if sweep::expire_until(arena, stop).is_ok() && !stop() {
            arena.meta.store(word::FLUSH_SWEPT, flushed);
        }
    } else if sweep_is_due(arena) {
        // All of it within a minute, in small steps.
        let keys = arena.meta.load(word::KEYS) as i64;
        let _ = sweep::expire(arena, SWEEP_RECORDS.max(keys.max(0) as u64 / SWEEP_PARTS));
    }
    let _ = sweep::tend(arena, || flusher.stop.load(Ordering::Acquire));
    let _ = sweep::tidy(arena);
    sweep::give_back(arena);
    if sweep::advance(arena) > 0 && !is_periodic(arena) {
        let _ = sync::round(arena);
    }
    true
}

/// Every now and then.
fn sweep_is_due(arena: &Arena) -> bool {
    let now = clock::mono_ms();
    if arena.is_put_off(word::NEXT_SWEEP_MS, now, SWEEP_EVERY_MS) {
        return false;
    }
    arena.meta.store(word::NEXT_SWEEP_MS, now + SWEEP_EVERY_MS);
    true
}

/// Is this process the one that works? It is if the last one is gone or has not been heard of.
fn elected(arena: &Arena) -> bool {
    let me = arena.identity();
    let who = arena.meta.load(word::FLUSHER);
    let heard = arena.meta.load(word::FLUSHER_BEAT_MS);
    // Read after what was heard: then a moment that is yet to come is damage.
    let now = clock::mono_ms();
    if who != me {
        let patience = 2 * arena.sync_interval_ms().min(60_000);
        let late = heard > now || now - heard > patience;
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
