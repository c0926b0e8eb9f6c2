//! What every process that has a store open shares, and its geometry: where each word lies.
//!
//! `meta` holds control words only. It is derived: a rebuild makes it anew from `data`. The rooms
//! above (`index`, `log`, `lock`) each own a part of it and never name each other.
//!
//! ```text
//! meta:  header page | process slots | stripes | lanes | lock buckets | tickets | segment table
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::histogram::{self, Histogram};
use crate::key::KeyHash;
use crate::limits::*;
use crate::options::{Config, Sync, Ttl};
use crate::sys::clock::Time;
use crate::sys::dir::Dir;
use crate::sys::disk::{Disk, Syncing};
use crate::sys::fault;
use crate::sys::map::Map;
use crate::sys::peers::Peers;

/// Words of the header page of `meta`, as byte offsets. Words written often have a line each.
pub(crate) mod word {
    pub(crate) const MAGIC: u64 = 0x000;
    pub(crate) const READY: u64 = 0x008;
    pub(crate) const BOOT_ID: u64 = 0x010; // two words
    pub(crate) const STORE_ID: u64 = 0x020; // two words
    pub(crate) const DATA_INODE: u64 = 0x030;
    pub(crate) const INDEX_INODE: u64 = 0x038;
    pub(crate) const CLEAN: u64 = 0x040;
    pub(crate) const ANCHOR: u64 = 0x048;
    pub(crate) const TIME_NAMESPACE: u64 = 0x050;
    pub(crate) const HOLD_RECLAIM_UNTIL: u64 = 0x058;
    pub(crate) const RECOVERY_HORIZON: u64 = 0x060;
    pub(crate) const SYNC_FAILED: u64 = 0x068;
    pub(crate) const DATA_BYTES: u64 = 0x070;
    pub(crate) const NEWEST_MS: u64 = 0x078;
    pub(crate) const NO_ROOM_UNTIL_MS: u64 = 0x080;
    pub(crate) const RECOVERY_HORIZON_SEQ: u64 = 0x088;
    pub(crate) const NEXT_SWEEP_MS: u64 = 0x090;
    pub(crate) const ROOM_LATCH: u64 = 0x098; // 32 bits
    /// Inode of the file `lock` that its processes hold; 0 = not noted.
    pub(crate) const LOCK_INODE: u64 = 0x0a0;
    /// Inode of `meta` itself: a copy put in its place is not what the others share.
    pub(crate) const META_INODE: u64 = 0x0a8;
    /// 1: the kernel was asked to remember `meta`'s inode, see `dir::remember`.
    pub(crate) const REMEMBERED: u64 = 0x0b0;
    pub(crate) const SEQ: u64 = 0x200;
    pub(crate) const ROUND_STARTED: u64 = 0x240;
    pub(crate) const ROUND_DONE: u64 = 0x280;
    pub(crate) const SYNC_LEADER: u64 = 0x2c0;
    pub(crate) const SYNC_FUTEX: u64 = 0x2c8; // 32 bits
    pub(crate) const LAST_SYNC_MS: u64 = 0x2d0;
    /// Writes that ever waited for the disk; the next three are its value when the last round
    /// began, how many that round had waiting, and how long it took.
    pub(crate) const SYNC_ARRIVED: u64 = 0x2d8;
    pub(crate) const SYNC_ARRIVED_THEN: u64 = 0x2e0;
    pub(crate) const SYNC_COVERED: u64 = 0x2e8;
    pub(crate) const SYNC_TOOK_NS: u64 = 0x2f0;
    pub(crate) const FLUSHER: u64 = 0x300;
    pub(crate) const FLUSHER_BEAT_MS: u64 = 0x308;
    pub(crate) const DIRTY: u64 = 0x340;
    pub(crate) const LIVE_LINES: u64 = 0x380;
    pub(crate) const KEYS: u64 = 0x3c0;
    pub(crate) const FREE_SEGMENTS: u64 = 0x400;
    pub(crate) const SWEEP_CURSOR: u64 = 0x440;
    pub(crate) const SLOT_HINT: u64 = 0x448;
    pub(crate) const FREE_HINT: u64 = 0x450;
    pub(crate) const TICKETS_HIGH: u64 = 0x480;
    /// The segment that is being emptied in steps, plus one.
    pub(crate) const VICTIM: u64 = 0x500;
    /// Nothing is worth emptying until then.
    pub(crate) const NO_VICTIM_UNTIL_MS: u64 = 0x508;
    /// 1 = what only shadows fills the log: the oldest segment is to go next.
    pub(crate) const AGE_PRESSURE: u64 = 0x510;
    /// Since when more is free than is needed; 0 = it is not.
    pub(crate) const PLENTY_SINCE_MS: u64 = 0x518;
    pub(crate) const SWEEP_LATCH: u64 = 0x520; // 32 bits
    /// As NO_ROOM_UNTIL_MS, for who was refused because too much is alive.
    pub(crate) const NO_LIFE_UNTIL_MS: u64 = 0x530;
    /// Lines that were alive then.
    pub(crate) const NO_ROOM_LIVE: u64 = 0x538;
    /// The largest EVICTED_UNTIL, in the low 48 bits; above it a count of changes.
    pub(crate) const EVICT_HORIZON: u64 = 0x528;
    /// Bytes of `index` with disk space behind every one of them.
    pub(crate) const INDEX_BYTES: u64 = 0x580;
    pub(crate) const GROWTH_LATCH: u64 = 0x588; // 32 bits

    /// Held by whoever changes `super`, 32 bits.
    pub(crate) const SUPER_LATCH: u64 = 0x600;
    /// Growth that waits for the next opener who is alone: 0 = none.
    pub(crate) const PENDING_MAX_BYTES: u64 = 0x608;
    pub(crate) const PENDING_MAX_PROCESSES: u64 = 0x610;
    /// What this flush and older ones took along was swept out of all segments.
    pub(crate) const FLUSH_SWEPT: u64 = 0x618;
    // One line that every operation reads and hardly anything writes: what `super` says of the
    // options in force and of flushes, see `store::state`.
    /// What has this number or an older one is gone.
    pub(crate) const FLUSH_SEQ: u64 = 0x640;
    /// When everything will be gone, unix ms; 0 = not planned; else see `store::flush`.
    pub(crate) const FLUSH_AT: u64 = 0x648;
    /// Sync mode 8 | compress 8 | evict 8.
    pub(crate) const MODES: u64 = 0x650;
    pub(crate) const SYNC_INTERVAL_MS: u64 = 0x658;
    pub(crate) const DEFAULT_TTL_MS: u64 = 0x660;
    pub(crate) const MAX_TTL_MS: u64 = 0x668;
    pub(crate) const MAX_VALUE_BYTES: u64 = 0x670;
    /// [`PINS`](crate::limits::PINS) times {owner's identity, first segment that is still needed}.
    pub(crate) const PINS: u64 = 0x700;
    /// How long session locks were waited for and rounds of sync took, by all processes: each a
    /// count for each bucket of a histogram, then the sum of the times, ns.
    pub(crate) const LOCK_WAITS: u64 = 0x800;
    pub(crate) const SYNC_TIMES: u64 = 0x900;
    pub(crate) const SLOTS: u64 = 0x1000;
}

const META_MAGIC: u64 = u64::from_le_bytes(*b"HFmeta\x05\x00");

/// The first word of `meta`: that it is one, and how it is laid out.
pub(crate) fn meta_magic() -> u64 {
    fault::magic(META_MAGIC)
}

/// Words of a process slot (256 bytes).
pub(crate) mod slot {
    pub(crate) const BYTES: u64 = 256;
    pub(crate) const EPOCH: u64 = 0;
    pub(crate) const PID: u64 = 8;
    pub(crate) const PID_NAMESPACE: u64 = 16;
    pub(crate) const ATTACHED_MS: u64 = 24;
    /// Above the epoch: somebody is about to claim it, and may have its byte before its last owner is
    /// healed. Never taken back, so that of several claimants none speaks for another.
    pub(crate) const CLAIMED: u64 = 32;
    /// The first of the counters, see [`super::Count`].
    pub(crate) const COUNTS: u64 = 64;
}

/// Words of a stripe (one line).
pub(crate) mod stripe {
    pub(crate) const BYTES: u64 = 64;
    pub(crate) const LATCH: u64 = 0; // 32 bits
    /// Where the stripe's part of the index is: offset in buckets 40 | code of its size 8 | 16 change count.
    pub(crate) const TABLE: u64 = 8;
    /// Redo: armed 1 | lane 7 bits above | slot's place in the index (bytes / 8) in the upper 48.
    pub(crate) const REDO: u64 = 16;
    pub(crate) const REDO_SLOT: u64 = 24;
    /// Where the record is, 40 bits | process slot of whoever armed it.
    pub(crate) const REDO_RECORD: u64 = 32;
    pub(crate) const REDO_SEQ: u64 = 40;
    /// Slots in use; each death in between a change and its count leaves it off by one.
    pub(crate) const USED: u64 = 48;
    /// Searches that went all the way, since the table was made.
    pub(crate) const LONG_WAYS: u64 = 56;
}

/// Words of a lane (one line).
pub(crate) mod lane {
    pub(crate) const BYTES: u64 = 64;
    pub(crate) const LATCH: u64 = 0; // 32 bits
    /// Absolute offset of the tail in `data`; 0 = the lane has no segment.
    pub(crate) const TAIL: u64 = 8;
}

/// Words of a segment's row in the table (one line).
pub(crate) mod segment {
    pub(crate) const BYTES: u64 = 64;
    pub(crate) const STATE: u64 = 0;
    pub(crate) const LIVE: u64 = 8;
    pub(crate) const NEXT_LOOK_MS: u64 = 16;
    pub(crate) const ROUND: u64 = 24;
    /// Segments of the run that starts here, or 0, 24 | 1 = what is in it was moved here 8 | lines in
    /// use when it was sealed 16 | lines up to which it has been emptied 16.
    pub(crate) const EXTENT: u64 = 32;
    pub(crate) const ACTIVATION_SEQ: u64 = 40;
    /// If something here waits for older segments to go: the oldest one when it was last walked. Once
    /// something was evicted: the last number issued before that; 0 if a rebuild found what may have been.
    pub(crate) const OLDEST_SEEN: u64 = 48;
    /// In a cache: the latest end of life among what was evicted or moved from it, unix ms; 0 = nothing
    /// was. After a rebuild, in any store: that of what lost against a copy of itself.
    pub(crate) const EVICTED_UNTIL: u64 = 56;
}

/// Words of the session lock table.
pub(crate) mod locks {
    /// A bucket: one line {latch, the first hash of each entry}. The entries lie elsewhere, so that
    /// all the latches are on a few pages.
    pub(crate) const BUCKET_BYTES: u64 = 64;
    pub(crate) const LATCH: u64 = 0; // 32 bits
    pub(crate) const NAMES: u64 = 8;
    pub(crate) const ENTRY_BYTES: u64 = 128;
    pub(crate) const SECOND_HASH: u64 = 0;
    pub(crate) const OWNER: u64 = 8;
    pub(crate) const COOKIE: u64 = 16;
    pub(crate) const FENCE: u64 = 24;
    pub(crate) const LEASE_MS: u64 = 32;
    pub(crate) const RENEWED: u64 = 40;
    pub(crate) const SINCE_MS: u64 = 48;
    pub(crate) const WAITERS: u64 = 56;
    pub(crate) const NEXT_TICKET: u64 = 64;
    pub(crate) const RESERVED_FOR: u64 = 72;
    pub(crate) const RESERVED_UNTIL_MS: u64 = 80;
    /// When somebody who polls was refused last (63 bits), and whether one of them has the lock now.
    pub(crate) const POLLED: u64 = 88;

    /// A waiter's ticket (one line).
    pub(crate) const TICKET_BYTES: u64 = 64;
    pub(crate) const TICKET_FUTEX: u64 = 0; // 32 bits
    pub(crate) const TICKET_OWNER: u64 = 8;
    pub(crate) const TICKET_ENTRY: u64 = 16;
    pub(crate) const TICKET_NUMBER: u64 = 24;
}

/// What is counted, per process slot; readers add the slots up.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Gets,
    Hits,
    Sets,
    Deletes,
    Touches,
    Expired,
    RefusedFull,
    DamagedReads,
    LockAcquired,
    LockWaited,
    LockTimeouts,
    LockBroken,
    LatchStolen,
    Healed,
    SyncRounds,
    WrittenLines,
    MovedLines,
    Evicted,
    Drained,
}

/// What is timed. All processes share its words, so it has to be something that takes long itself.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    LockWait,
    SyncRound,
}

impl Timed {
    /// Where its histogram is, and the end of the first bucket.
    fn place(self) -> (u64, Duration) {
        match self {
            Timed::LockWait => (word::LOCK_WAITS, Duration::from_millis(1)),
            Timed::SyncRound => (word::SYNC_TIMES, Duration::from_micros(64)),
        }
    }
}

const HISTOGRAM_SUM: u64 = HISTOGRAM_BUCKETS as u64 * 8;

const _: () = {
    assert!(word::LOCK_WAITS + HISTOGRAM_SUM + 8 <= word::SYNC_TIMES);
    assert!(word::SYNC_TIMES + HISTOGRAM_SUM + 8 <= word::SLOTS);
};

/// Sizes that follow from the store's options. They change only while nobody has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) segment_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) lanes: u64,
    pub(crate) slots: u64,
}

impl Geometry {
    pub(crate) fn new(config: &Config, cores: u64) -> Geometry {
        let segment_bytes = (config.max_bytes / SEGMENTS_WANTED)
            .clamp(SEGMENT_LOW, SEGMENT_HIGH)
            .next_power_of_two()
            .min(SEGMENT_HIGH);
        let segments = config.max_bytes / segment_bytes;
        Geometry {
            segment_bytes,
            segments,
            lanes: cores.clamp(1, LANES).min(segments / 8).max(1),
            slots: config.max_processes as u64,
        }
    }

    /// The sizes of the same store with other limits: its segments stay, and become more.
    pub(crate) fn grown(&self, config: &Config, cores: u64) -> Geometry {
        let new = Geometry::new(config, cores);
        let segments = config.max_bytes / self.segment_bytes;
        Geometry {
            segment_bytes: self.segment_bytes,
            segments,
            lanes: cores.clamp(1, LANES).min(segments / 8).max(self.lanes),
            ..new
        }
    }

    /// Are these sizes that a store with such limits can have?
    pub(crate) fn is_sane(&self, config: &Config) -> bool {
        self.segment_bytes.is_power_of_two()
            && (SEGMENT_LOW..=SEGMENT_HIGH).contains(&self.segment_bytes)
            && (MAX_BYTES_LOW..=MAX_BYTES_HIGH).contains(&config.max_bytes)
            && self.segments == config.max_bytes / self.segment_bytes
            && self.segments <= SEGMENTS_MAX
            && (1..=PROCESSES_MAX as u64).contains(&self.slots)
            && self.slots == config.max_processes as u64
            && (1..=LANES).contains(&self.lanes)
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.segments * self.segment_bytes
    }

    /// Address space for the index: for a store full of the smallest records, twice.
    pub(crate) fn index_reserve(&self) -> u64 {
        (self.data_bytes() / 4).next_multiple_of(4096) + INDEX_STEP
    }

    pub(crate) fn stripe(&self, stripe: u64) -> u64 {
        word::SLOTS + self.slots * slot::BYTES + stripe * stripe::BYTES
    }

    pub(crate) fn lane(&self, lane: u64) -> u64 {
        self.stripe(STRIPES) + lane * lane::BYTES
    }

    /// The lane to which the sweep moves what is still alive.
    pub(crate) fn survivor_lane(&self) -> u64 {
        self.lanes
    }

    /// How many lanes there are, the survivors' included.
    pub(crate) fn all_lanes(&self) -> u64 {
        self.lanes + 1
    }

    pub(crate) fn lock_bucket(&self, bucket: u64) -> u64 {
        self.lane(LANES + 1) + bucket * locks::BUCKET_BYTES
    }

    /// An entry of the lock table; `place` is the bucket's number times the ways, plus the way.
    pub(crate) fn lock_entry(&self, place: u64) -> u64 {
        self.lock_bucket(LOCK_BUCKETS) + place * locks::ENTRY_BYTES
    }

    pub(crate) fn ticket(&self, ticket: u64) -> u64 {
        self.lock_entry(LOCK_BUCKETS * LOCK_WAYS) + ticket * locks::TICKET_BYTES
    }

    pub(crate) fn segment(&self, segment: u64) -> u64 {
        self.ticket(TICKETS) + segment * segment::BYTES
    }

    pub(crate) fn slot(&self, slot: u32) -> u64 {
        word::SLOTS + slot as u64 * slot::BYTES
    }

    pub(crate) fn meta_bytes(&self) -> u64 {
        self.segment(self.segments).next_multiple_of(4096)
    }
}

/// An attached store, as one process sees it.
pub(crate) struct Arena {
    pub(crate) dir: Dir,
    pub(crate) data: Map,
    pub(crate) index: Map,
    pub(crate) meta: Map,
    pub(crate) geometry: Geometry,
    /// The options as they were at the attach. What of them can change is asked of the functions
    /// below; what cannot is asked of this.
    pub(crate) fixed: Config,
    pub(crate) peers: Peers,
    pub(crate) time: Time,
    pub(crate) disk: Arc<dyn Disk>,
    /// How this process syncs `data`.
    pub(crate) syncing: Syncing,
    pub(crate) hash: KeyHash,
    pub(crate) secret: [u64; 2],
    pub(crate) operation_timeout: Duration,
    /// Store time minus boot time, milliseconds.
    pub(crate) anchor: AtomicU64,
    /// This process's slot in `meta`, as a byte offset.
    pub(crate) slot_at: AtomicU64,
    /// See [`Arena::identity`].
    pub(crate) identity: AtomicU64,
    /// This process began a segment, so the next ones may be made ready ahead of need.
    pub(crate) rolled: AtomicBool,
}

impl Arena {
    /// Store time: unix milliseconds that never jump while the machine runs. Of the 48 bits that a
    /// record has for a moment, whatever the anchor was damaged to, so that lifetimes can be added.
    #[inline]
    pub(crate) fn now_ms(&self) -> u64 {
        self.time.boot_ms().wrapping_add(self.anchor.load(Ordering::Relaxed)).min(TIME_MAX)
    }

    /// The options in force now, for all openers.
    pub(crate) fn config(&self) -> Config {
        Config {
            sync: self.sync_mode(),
            compress: self.compresses(),
            evict: self.evicts(),
            sync_interval_ms: self.sync_interval_ms(),
            max_value_bytes: self.max_value_bytes(),
            default_ttl_ms: self.meta.load(word::DEFAULT_TTL_MS),
            max_ttl_ms: self.meta.load(word::MAX_TTL_MS),
            pending_max_bytes: self.meta.load(word::PENDING_MAX_BYTES),
            pending_max_processes: self.meta.load(word::PENDING_MAX_PROCESSES) as u32,
            ..self.fixed
        }
    }

    /// See [`Sync`]; a damaged word counts as the strictest.
    #[inline]
    pub(crate) fn sync_mode(&self) -> Sync {
        Sync::from_number(self.meta.load(word::MODES) & 0xff).unwrap_or(Sync::Always)
    }

    /// Are values compressed when they are written?
    #[inline]
    pub(crate) fn compresses(&self) -> bool {
        self.meta.load(word::MODES) >> 8 & 0xff != 0
    }

    /// Are old values dropped when the store is full?
    #[inline]
    pub(crate) fn evicts(&self) -> bool {
        self.meta.load(word::MODES) >> 16 & 0xff != 0
    }

    pub(crate) fn sync_interval_ms(&self) -> u64 {
        self.meta.load(word::SYNC_INTERVAL_MS).clamp(1, SYNC_INTERVAL_MAX_MS)
    }

    #[inline]
    pub(crate) fn max_value_bytes(&self) -> u64 {
        self.meta.load(word::MAX_VALUE_BYTES).min(VALUE_MAX)
    }

    /// Milliseconds that a value given this lifetime lives; 0 = for ever.
    #[inline]
    pub(crate) fn lifetime_ms(&self, ttl: Ttl) -> u64 {
        let max = self.meta.load(word::MAX_TTL_MS);
        ttl.lifetime_ms(self.meta.load(word::DEFAULT_TTL_MS), max).min(TIME_MAX)
    }

    /// The next version or fence: never issued twice.
    #[inline]
    pub(crate) fn next_seq(&self) -> u64 {
        self.meta.add(word::SEQ, 1).wrapping_add(1)
    }

    /// Counts in this process's slot.
    #[inline]
    pub(crate) fn count(&self, what: Count) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&self, what: Count, amount: u64) {
        let at = self.slot_at.load(Ordering::Relaxed) + slot::COUNTS + what as u64 * 8;
        self.meta.count(at, amount);
    }

    /// The sum over all slots, dead ones included.
    pub(crate) fn counted(&self, what: Count) -> u64 {
        (0..self.geometry.slots)
            .map(|s| self.meta.load(self.geometry.slot(s as u32) + slot::COUNTS + what as u64 * 8))
            .fold(0, u64::wrapping_add)
    }

    /// Counts something that took so long.
    #[cold]
    pub(crate) fn count_time(&self, what: Timed, took: Duration) {
        let (at, first) = what.place();
        self.meta.add(at + histogram::bucket_of(first, took) as u64 * 8, 1);
        self.meta.add(at + HISTOGRAM_SUM, histogram::nanos(took));
    }

    /// How long it took, each time that it was counted.
    pub(crate) fn times(&self, what: Timed) -> Histogram {
        let (at, first) = what.place();
        let counts = std::array::from_fn(|bucket| self.meta.load(at + bucket as u64 * 8));
        let sum = Duration::from_nanos(self.meta.load(at + HISTOGRAM_SUM));
        Histogram::new(first, counts, sum)
    }

    /// The error for a latch whose owner lives but does not let go.
    #[cold]
    pub(crate) fn busy(&self, what: &str, owner: Option<u32>) -> Error {
        let pid = owner
            .filter(|slot| (*slot as u64) < self.geometry.slots)
            .map(|slot| self.meta.load(self.geometry.slot(slot) + slot::PID));
        Error::Busy(match pid {
            Some(pid) => format!(
                "{what} has been held for {} ms by process {pid}, which is stopped; continue it \
                 (kill -CONT {pid}) or end it",
                self.operation_timeout.as_millis()
            ),
            None => format!("{what} stayed busy for {} ms", self.operation_timeout.as_millis()),
        })
    }

    /// This process as the owner of a session lock: its slot and the slot's epoch.
    #[inline]
    pub(crate) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Relaxed)
    }

    /// Becomes the owner of a process slot that was just claimed.
    pub(crate) fn begin_life(&self, number: u32) {
        let at = self.geometry.slot(number);
        let epoch = self.meta.add(at + slot::EPOCH, 1).wrapping_add(1);
        self.slot_at.store(at, Ordering::Release);
        self.identity.store((epoch << 16) | (number as u64 + 1), Ordering::Release);
    }

    /// Is something put off until the moment in this word, on the monotonic clock, for `most` ms at
    /// most? A moment further off than that comes from damage, and puts nothing off.
    pub(crate) fn is_put_off(&self, word: u64, now_ms: u64, most_ms: u64) -> bool {
        let left = self.meta.load(word).saturating_sub(now_ms);
        left > 0 && left <= most_ms
    }

    /// Has somebody its byte, or is about to take it, who has not healed what its last owner left?
    pub(crate) fn is_claimed(&self, number: u32) -> bool {
        let at = self.geometry.slot(number);
        self.meta.load(at + slot::CLAIMED) > self.meta.load(at + slot::EPOCH)
    }

    /// Is the process that once had this identity gone?
    pub(crate) fn is_gone(&self, identity: u64) -> bool {
        let Some(owner) = (identity & 0xffff).checked_sub(1) else { return true };
        owner >= self.geometry.slots
            || self.meta.load(self.geometry.slot(owner as u32) + slot::EPOCH) << 16
                != identity & !0xffff
            || !self.peers.alive(owner as u32)
    }

    /// The process id of an identity, for messages.
    pub(crate) fn pid_of(&self, identity: u64) -> u64 {
        match (identity & 0xffff).checked_sub(1) {
            Some(owner) if owner < self.geometry.slots => {
                self.meta.load(self.geometry.slot(owner as u32) + slot::PID)
            }
            _ => 0,
        }
    }

    /// Refused after a failed sync: nobody can tell what is on the disk.
    pub(crate) fn check_sync(&self) -> Result<()> {
        if self.meta.load(word::SYNC_FAILED) == 0 {
            return Ok(());
        }
        Err(Error::SyncFailed(format!(
            "{}: an earlier sync to disk failed, so writes are not known to be durable; look at \
             the kernel's log, then close all processes of this store and open it again",
            self.dir.join("data").display()
        )))
    }
}
