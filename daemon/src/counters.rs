//! What was done, counted: a block of counters for each loop, summed up when somebody asks.
//!
//! A block has one writer, the loop that it belongs to, so counting is a load and a store, with no
//! lock on the bus and no line of memory that two loops write. Readers see numbers that are each
//! right, and together a little apart. A reset keeps what was counted until then as a base that is
//! taken off, so it need not write to the blocks. Nothing here reads a clock or the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::Dialect;
use crate::limits::COUNTING_THREADS_MAX;

macro_rules! counts {
    ($($name:ident $text:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of memcached's statistics")]
        pub enum Count { $($name,)* }

        impl Count {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Count] = &[$(Count::$name,)*];

            /// As the statistics call it.
            pub fn name(self) -> &'static str {
                match self { $(Count::$name => $text,)* }
            }
        }
    };
}

counts! {
    CmdGet "cmd_get",
    CmdSet "cmd_set",
    CmdFlush "cmd_flush",
    CmdTouch "cmd_touch",
    CmdMeta "cmd_meta",
    GetHits "get_hits",
    GetMisses "get_misses",
    DeleteMisses "delete_misses",
    DeleteHits "delete_hits",
    IncrMisses "incr_misses",
    IncrHits "incr_hits",
    DecrMisses "decr_misses",
    DecrHits "decr_hits",
    CasMisses "cas_misses",
    CasHits "cas_hits",
    CasBadval "cas_badval",
    TouchHits "touch_hits",
    TouchMisses "touch_misses",
    StoreTooLarge "store_too_large",
    StoreNoMemory "store_no_memory",
    AuthCmds "auth_cmds",
    AuthErrors "auth_errors",
    TotalItems "total_items",
    BadRequests "bad_requests",
    LocksTaken "session_locks_taken",
    LocksDenied "session_locks_denied",
    LocksLost "session_locks_lost",
    Failures "failures",
}

const COUNTS: usize = Count::ALL.len();

/// Kinds of requests, for latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    Get,
    Set,
    Delete,
    Count,
    Touch,
    Other,
}

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Op; 6] = [Op::Get, Op::Set, Op::Delete, Op::Count, Op::Touch, Op::Other];

    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Set => "set",
            Op::Delete => "delete",
            Op::Count => "count",
            Op::Touch => "touch",
            Op::Other => "other",
        }
    }
}

/// Upper ends of the latency buckets: 256 ns, doubled with each; the last has no end.
pub const BUCKETS: usize = 24;
const FIRST_BUCKET_BITS: u32 = 8;

/// The end of a latency bucket; `None` for the last.
pub fn bucket_end(bucket: usize) -> Option<Duration> {
    let shift = u32::try_from(bucket).ok()?.checked_add(FIRST_BUCKET_BITS)?;
    (bucket + 1 < BUCKETS).then(|| Duration::from_nanos(1 << shift))
}

fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - (nanos.saturating_sub(1) >> FIRST_BUCKET_BITS).leading_zeros();
    usize::try_from(bits).map_or(BUCKETS - 1, |bits| bits.min(BUCKETS - 1))
}

/// Classes of sizes, which stand where memcached has slabs: class `n` has the records of up to
/// `64 << (n - 1)` bytes.
pub const CLASSES: usize = CLASS_LAST as usize + 1;
const CLASS_LAST: u8 = 23;

/// The class of a record of so many bytes, from 1 on.
pub fn class_of(bytes: u64) -> u8 {
    let bits = u64::BITS - (bytes.saturating_sub(1) >> 6).leading_zeros();
    u8::try_from(bits + 1).unwrap_or(u8::MAX).min(CLASS_LAST)
}

/// The size of the largest record of a class, bytes.
pub fn class_bytes(class: u8) -> u64 {
    64 << class.saturating_sub(1).min(40)
}

/// What is counted for each class of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of memcached's statistics")]
pub enum ClassCount {
    GetHits,
    CmdSet,
    IncrHits,
    DecrHits,
    CasHits,
    CasBadval,
}

const CLASS_COUNTS: usize = 6;

/// Latencies of one kind of requests in one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Requests that took as long as each bucket says (not summed up).
    pub buckets: [u64; BUCKETS],
    /// All of them together, nanoseconds.
    pub sum_nanos: u64,
}

impl Latency {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

struct Timing {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

/// The counters of one loop.
#[repr(align(128))]
pub struct Block {
    counts: [AtomicU64; COUNTS],
    classes: [[AtomicU64; CLASS_COUNTS]; CLASSES],
    timings: [[Timing; Op::ALL.len()]; Dialect::ALL.len()],
}

fn zero<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// One more (or so many); its loop alone writes.
#[inline]
fn raise(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Block {
    fn new() -> Block {
        let timing = || Timing { buckets: zero(), sum_nanos: AtomicU64::new(0) };
        Block {
            counts: zero(),
            classes: std::array::from_fn(|_| zero()),
            timings: std::array::from_fn(|_| std::array::from_fn(|_| timing())),
        }
    }

    /// One more.
    #[inline]
    pub fn count(&self, what: Count) {
        raise(&self.counts[what as usize], 1);
    }

    /// One more of a record of so many bytes.
    #[inline]
    pub fn count_class(&self, what: ClassCount, bytes: u64) {
        if let Some(class) = self.classes.get(usize::from(class_of(bytes))) {
            raise(&class[what as usize], 1);
        }
    }

    /// A request took so long.
    #[inline]
    pub fn took(&self, dialect: Dialect, op: Op, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let timing = &self.timings[dialect as usize][op as usize];
        if let Some(bucket) = timing.buckets.get(bucket_of(nanos)) {
            raise(bucket, 1);
        }
        raise(&timing.sum_nanos, nanos);
    }
}

/// A sum of all counters at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    counts: [u64; COUNTS],
    classes: [[u64; CLASS_COUNTS]; CLASSES],
    /// By dialect and kind of requests, in the order of their numbers. They outlive a reset: who
    /// collects them looks at differences.
    pub latencies: Box<[[Latency; Op::ALL.len()]; Dialect::ALL.len()]>,
}

impl Snapshot {
    fn zero() -> Snapshot {
        Snapshot {
            counts: [0; COUNTS],
            classes: [[0; CLASS_COUNTS]; CLASSES],
            latencies: Box::default(),
        }
    }

    /// How often.
    pub fn get(&self, what: Count) -> u64 {
        self.counts[what as usize]
    }

    /// How often, of records of a class.
    pub fn get_class(&self, what: ClassCount, class: u8) -> u64 {
        self.classes.get(usize::from(class)).map_or(0, |counts| counts[what as usize])
    }

    /// Latencies of one kind of requests in one dialect.
    pub fn latency(&self, dialect: Dialect, op: Op) -> &Latency {
        &self.latencies[dialect as usize][op as usize]
    }

    fn add(&mut self, block: &Block) {
        fn sum(into: &mut [u64], from: &[AtomicU64]) {
            for (into, from) in into.iter_mut().zip(from) {
                *into = into.wrapping_add(from.load(Ordering::Relaxed));
            }
        }
        sum(&mut self.counts, &block.counts);
        for (into, from) in self.classes.iter_mut().zip(&block.classes) {
            sum(into, from);
        }
        let from = block.timings.iter().flatten();
        for (into, from) in self.latencies.iter_mut().flatten().zip(from) {
            sum(&mut into.buckets, &from.buckets);
            sum(std::slice::from_mut(&mut into.sum_nanos), std::slice::from_ref(&from.sum_nanos));
        }
    }

    fn take_off(&mut self, base: &Snapshot) {
        for (into, base) in self.counts.iter_mut().zip(&base.counts) {
            *into = into.wrapping_sub(*base);
        }
        for (into, base) in self.classes.iter_mut().flatten().zip(base.classes.iter().flatten()) {
            *into = into.wrapping_sub(*base);
        }
    }
}

/// The counters of a server.
pub struct Counters {
    blocks: Vec<Arc<Block>>,
    base: Mutex<Snapshot>,
}

impl Counters {
    /// For so many loops.
    pub fn new(threads: usize) -> Counters {
        let threads = threads.clamp(1, COUNTING_THREADS_MAX);
        Counters {
            blocks: std::iter::repeat_with(|| Arc::new(Block::new())).take(threads).collect(),
            base: Mutex::new(Snapshot::zero()),
        }
    }

    /// The block of a loop.
    pub fn block(&self, thread: usize) -> Arc<Block> {
        Arc::clone(&self.blocks[thread % self.blocks.len()])
    }

    fn sum(&self) -> Snapshot {
        let mut sum = Snapshot::zero();
        for block in &self.blocks {
            sum.add(block);
        }
        sum
    }

    /// What was counted since the last reset.
    pub fn snapshot(&self) -> Snapshot {
        let base = self.base.lock();
        let mut sum = self.sum();
        sum.take_off(&base);
        sum
    }

    /// Begins anew.
    pub fn reset(&self) {
        *self.base.lock() = self.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_summed_up_and_a_reset_begins_anew() {
        let counters = Counters::new(2);
        for thread in 0..2 {
            counters.block(thread).count(Count::GetHits);
            counters.block(thread).count_class(ClassCount::GetHits, 65);
            counters.block(thread).took(Dialect::Meta, Op::Set, Duration::from_nanos(300));
        }
        let sum = counters.snapshot();
        assert_eq!((sum.get(Count::GetHits), sum.get(Count::CmdGet)), (2, 0));
        assert_eq!(
            (sum.get_class(ClassCount::GetHits, 2), sum.get_class(ClassCount::CmdSet, 2)),
            (2, 0)
        );
        let latency = sum.latency(Dialect::Meta, Op::Set);
        assert_eq!((latency.count(), latency.buckets[1], latency.sum_nanos), (2, 2, 600));
        counters.reset();
        assert_eq!(counters.snapshot().get(Count::GetHits), 0);
        counters.block(0).count(Count::GetHits);
        assert_eq!(counters.snapshot().get(Count::GetHits), 1);
        assert_eq!(counters.snapshot().latency(Dialect::Meta, Op::Set).count(), 2);
    }

    #[test]
    fn a_time_is_in_the_bucket_that_ends_behind_it() {
        for nanos in [0, 1, 256, 257, 512, 513, 1 << 20, (1 << 20) + 1, u64::MAX] {
            let bucket = bucket_of(nanos);
            let end = |bucket| bucket_end(bucket).unwrap_or(Duration::MAX);
            let time = Duration::from_nanos(nanos);
            assert!(time <= end(bucket), "{nanos}");
            assert!(bucket == 0 || time > end(bucket - 1), "{nanos}");
        }
    }

    #[test]
    fn a_size_is_in_the_smallest_class_that_holds_it() {
        for bytes in [1, 64, 65, 128, 129, 1 << 20, (1 << 20) + 1, 64 << 20] {
            let class = class_of(bytes);
            assert!(bytes <= class_bytes(class), "{bytes}");
            assert!(class == 1 || bytes > class_bytes(class - 1), "{bytes}");
        }
        assert_eq!(class_of(u64::MAX), 23);
    }
}
