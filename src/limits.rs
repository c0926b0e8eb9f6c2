//! Every maximum and alignment of the store, in one place, checked against each other.
//!
//! A loop, buffer or wait anywhere in the library is bounded by a number from this file.

/// The unit of space in `data`, bytes: records and segments start on it.
pub const LINE: u64 = 64;
/// Longest key, bytes.
pub const KEY_MAX: usize = 1024;
/// Longest name of an owner, bytes.
pub const OWNER_MAX: usize = 255;
/// Longest value that any store can be created for, bytes.
pub const VALUE_MAX: u64 = 64 << 20;
/// Value limit of a store that was created without one, bytes.
pub const VALUE_DEFAULT: u64 = 1 << 20;
/// A store that compresses tries it with values from this length on, bytes.
pub const COMPRESS_FROM: u64 = 512;
/// It keeps what it gets if that saves at least one part in so many.
pub const COMPRESS_SAVES: u64 = 8;
/// No LZ4 block becomes more than so many times its length.
pub const COMPRESS_RATIO_MAX: u64 = 255;
/// Smallest and largest cap of a store's data, bytes; the upper end is what a slot can address.
pub const MAX_BYTES_LOW: u64 = 1 << 20;
/// See [`MAX_BYTES_LOW`].
pub const MAX_BYTES_HIGH: u64 = 1 << 40;
/// Cap of a store that was created without one, bytes.
pub const MAX_BYTES_DEFAULT: u64 = 1 << 30;
/// A store is at least this many times its largest value.
pub const VALUES_IN_STORE: u64 = 8;
/// Most segments that a store can grow to: each has a row in `meta`.
pub const SEGMENTS_MAX: u64 = MAX_BYTES_HIGH / SEGMENT_HIGH;
/// Longest interval between two syncs in periodic mode, milliseconds.
pub const SYNC_INTERVAL_MAX_MS: u64 = 24 * 3600 * 1000;
/// How often a change looks again whether a flush is due before it takes that for busy.
pub const FLUSH_TRIES: u32 = 8;
/// Segment sizes, bytes: smaller in small stores, so that there are always enough to recycle.
pub const SEGMENT_LOW: u64 = 64 << 10;
/// See [`SEGMENT_LOW`].
pub const SEGMENT_HIGH: u64 = 1 << 20;
/// How many segments a store aims at before its segments grow.
pub const SEGMENTS_WANTED: u64 = 64;
/// Parts of the index with a latch each; the top eight bits of a key's hash choose.
pub const STRIPES: u64 = 256;
/// Slots in a bucket: one cache line.
pub const BUCKET_SLOTS: u64 = 8;
/// A key is in one of this many buckets, its home and others behind it, or nowhere.
pub const PROBE_BUCKETS: u64 = 12;
/// A table of more buckets is probed in widening steps, one that is smaller bucket by bucket.
pub const PROBE_NEXT: u64 = PROBE_BUCKETS * (PROBE_BUCKETS - 1) / 2;
/// The index's file grows by this many bytes, or by a share of its size when that is more.
pub const INDEX_STEP: u64 = 16 << 10;
/// See [`INDEX_STEP`].
pub const INDEX_SHARE: u64 = 64;
/// How often a write makes the index larger for one key before it gives up.
pub const GROWTH_TRIES: u64 = 8;
/// Places to append at; about one per core.
pub const LANES: u64 = 8;
/// Segments that only deletes and the sweep may take.
pub const RESERVE: u64 = 4;
/// All but one of so many parts of a store may be alive; with the last one the sweep works.
pub const LIVE_PARTS: u64 = 8;
/// A writer that helps to make room looks at this many lines of the log, at least.
pub const HELP_LINES: u64 = 64;
/// Attempts to take adjacent segments while others take some of them.
pub const RUN_TRIES: u32 = 8;
/// Segments that the maintenance thread makes ready ahead of need.
pub const PREPARE_AHEAD: usize = 2;
/// Processes that can be attached at once, unless the creator says otherwise.
pub const PROCESSES_DEFAULT: u32 = 512;
/// Most processes that a creator can ask for.
pub const PROCESSES_MAX: u32 = 16_384;
/// Buckets of the session lock table.
pub const LOCK_BUCKETS: u64 = 2048;
/// Locks in one bucket.
pub const LOCK_WAYS: u64 = 7;
/// Waiters for session locks, all locks together.
pub const TICKETS: u64 = 4096;
/// Buckets of a histogram: waits for session locks are told apart from 1 ms to 131 s, syncs from
/// 64 us to 8 s.
pub const HISTOGRAM_BUCKETS: usize = 19;
/// Longest lifetime that a record can carry, milliseconds (its word has 48 bits).
pub const TIME_MAX: u64 = (1 << 48) - 2;
/// How often a file is opened anew when another one took its name meanwhile.
pub const OPEN_TRIES: u32 = 64;
/// Reads without a latch before a read takes it.
pub const READ_RETRIES: u32 = 8;
/// How often what concerns a value and its owner is begun anew when one of them changed meanwhile.
pub const OWNER_TRIES: u32 = 64;
/// Keys whose memory a read of many asks for at once.
pub const READ_AHEAD: usize = 16;
/// Bytes of a record asked for ahead when its value is not wanted: its header and most keys.
pub const HEAD_BYTES: u64 = 2 * LINE;
/// Lines of a record that are asked for before they are written: more than this hides nothing.
pub const WRITE_AHEAD_LINES: u64 = 32;
/// How often a write that finds the store full makes room and tries again.
pub const ROOM_TRIES: u32 = 8;
/// Spins on a latch before its owner is probed.
pub const LATCH_SPINS: u32 = 100;
/// Version numbers skipped by every rebuild, so that none is issued twice.
pub const SEQ_STEP: u64 = 1 << 40;
/// Version numbers between a store and its backup, so that no number is issued by both.
pub const COPY_STEP: u64 = 1 << 48;
/// Backups and checks of one store at the same time.
pub const PINS: u64 = 4;
/// How often a backup that lost its hold on the log begins anew.
pub const BACKUP_TRIES: u32 = 3;
/// Findings that a check lists; it counts the others.
pub const FINDINGS: usize = 1000;
/// Records without a slot that a check remembers until it knows why; it counts the others.
pub const SUSPECTS: usize = 1 << 20;
/// Records that one bounded sweep looks at.
pub const SWEEP_RECORDS: u64 = 4096;
/// Entries in a page of a scan or range, unless the caller says otherwise.
pub const PAGE_DEFAULT: u64 = 1000;
/// Records that a page of a scan looks at, if that is more than the entries asked for.
pub const SCAN_LOOKS: u64 = 10_000;
/// Entries in a page of a range: they are kept in memory while the page is made.
pub const RANGE_MAX: u64 = 10_000;

const _: () = {
    assert!(SEGMENT_LOW.is_multiple_of(4096) && SEGMENT_HIGH.is_multiple_of(SEGMENT_LOW));
    assert!(MAX_BYTES_HIGH / LINE <= 1 << 34);
    assert!(VALUE_MAX < u32::MAX as u64);
    assert!(MAX_BYTES_LOW / SEGMENT_LOW >= 2 * RESERVE);
    assert!(PROCESSES_MAX < u16::MAX as u32);
    assert!(STRIPES == 256);
    assert!(PINS * 16 <= 64);
};
