//! The structs of the C ABI, with their names in C.
//!
//! A struct that begins with `struct_size` may grow at its end in later versions.
#![allow(non_camel_case_types, reason = "these are the C names")]

use std::ffi::{c_char, c_int, c_void};

use super::boundary::Versioned;

/// An open store. Any number of threads may share one.
pub struct holdfast_store {
    pub(super) store: Box<dyn crate::backend::Backend>,
}

/// Memory for values that are read, owned by the caller, allocated and grown by the library.
///
/// Start with all zero (`holdfast_buffer b = {0}`), pass it to as many calls as you like, one at a
/// time, and give it to holdfast_buffer_free() at the end. The bytes at `data` are the caller's to
/// read and change until the next call with this buffer. `len` is the length of the value after
/// HOLDFAST_OK and 0 after anything else, so that a value of an earlier call is never mistaken for
/// this one's. `data` may be NULL when `len` is 0. No NUL is added after the value.
/// Never realloc() or free() `data`, and set none of the three fields by hand.
#[repr(C)]
pub struct holdfast_buffer {
    /// First byte of the value.
    pub data: *mut u8,
    /// Length of the value, bytes.
    pub len: usize,
    /// Bytes allocated.
    pub capacity: usize,
}

/// How to open a store; 0 in any field is the default. Set it up with holdfast_options_init().
///
/// The fields from `sync` to `max_ttl_ms`, `max_processes` and HOLDFAST_SIPHASH belong to the
/// *store*: its creator sets them. An opener that asks for something else than the store has is
/// not obeyed, and sees `options_differ` in the statistics; one that leaves them 0 takes what is
/// there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_options {
    /// sizeof(holdfast_options).
    pub struct_size: usize,
    /// HOLDFAST_CREATE and the other flags, or-ed.
    pub flags: u32,
    /// HOLDFAST_SYNC_...
    pub sync: u32,
    /// In HOLDFAST_SYNC_PERIODIC: milliseconds that a power loss may cost; default 1000.
    pub sync_interval_ms: u64,
    /// Cap of the data on disk, bytes; default 1 GiB. At least 8 times max_value_bytes.
    pub max_bytes: u64,
    /// Longest value, bytes; default 1 MiB, at most 64 MiB.
    pub max_value_bytes: u64,
    /// Lifetime of what is stored with HOLDFAST_TTL_DEFAULT, milliseconds; default: for ever.
    pub default_ttl_ms: i64,
    /// No lifetime is longer than this, milliseconds; default: no bound.
    pub max_ttl_ms: i64,
    /// How long an operation may wait for a process that is stopped in the middle of a write,
    /// milliseconds; default 5000.
    pub operation_timeout_ms: u64,
    /// How long holdfast_open() may wait for a process that creates or recovers the store,
    /// milliseconds; default 30000.
    pub open_timeout_ms: u64,
    /// How many processes may have the store open at once; default 512, at most 16384.
    pub max_processes: u32,
    /// 0.
    pub reserved: u32,
}

/// What is known of a value beside its bytes. Set `struct_size` before each call that fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_item {
    /// sizeof(holdfast_item).
    pub struct_size: usize,
    /// Changes with every write and never repeats, not even for a key that was deleted between.
    pub version: u64,
    /// Milliseconds left to live; -1 = for ever.
    pub ttl_ms: i64,
    /// Length of the value, bytes.
    pub value_len: u64,
    /// The 32 bits that the writer gave.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// Called by holdfast_owner_keys() with each key; the bytes are there for the time of the call.
/// Another result than 0 ends it. It may call this library, except holdfast_close() on the store.
/// It must return: no longjmp(), no C++ exception.
pub type holdfast_owned_key_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, key: *const c_void, key_len: usize) -> c_int>;

/// Called while a thread waits for a session lock: at least every 50 ms, and after a signal.
/// Non-zero ends the wait with HOLDFAST_STOPPED.
///
/// It runs on the waiting thread and holds nothing of the store, so it may call this library,
/// except holdfast_close() on the store and anything on the buffer that the waiting call was
/// given. It must return: longjmp(), a C++ exception or the cancellation of the thread would leave
/// a dead ticket in the queue of the lock and is undefined behaviour. Note what you want to do,
/// return 1, and do it after the call has returned.
pub type holdfast_stop_fn = Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>;

/// How to wait for a session lock. All zero but `struct_size` = only try, no lease.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_wait {
    /// sizeof(holdfast_wait).
    pub struct_size: usize,
    /// Milliseconds to wait at most; 0 = only try, -1 = as long as it takes.
    pub timeout_ms: i64,
    /// A waiter may take the lock from a holder that has not renewed it for this many
    /// milliseconds, although it is alive; 0 = never. (A dead holder's lock is free at once.)
    pub lease_ms: i64,
    /// Give up at once with HOLDFAST_CROWDED when this many wait already; 0 = no limit.
    pub max_waiters: u32,
    /// 0.
    pub reserved: u32,
    /// Asked while waiting; may be NULL.
    pub stop: holdfast_stop_fn,
    /// Passed to `stop`, otherwise untouched.
    pub stop_context: *mut c_void,
}

/// A session lock that this process holds, as far as it knows: each write with it checks.
///
/// Plain data, owned by the caller: it may be copied and needs no release of its own. `fence` 0 =
/// no lock. Another process, a child of fork() too, can do nothing with a copy.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct holdfast_lock {
    /// A number that is never issued twice; 0 = none.
    pub fence: u64,
    /// The owner's own choice, see holdfast_lock_acquire().
    pub cookie: u64,
    /// Where the library finds the lock again.
    pub place: u64,
    /// 0.
    pub reserved: u64,
}

/// Who has a lock, for messages. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_holder {
    /// sizeof(holdfast_holder).
    pub struct_size: usize,
    /// Process id in the holder's own PID namespace, which may not be yours: for messages only.
    pub pid: u64,
    /// Milliseconds since it took the lock.
    pub age_ms: u64,
    /// How many wait for it.
    pub waiters: u32,
    /// 0.
    pub reserved: u32,
}

/// A line of the list that holdfast_locks() makes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_lock_info {
    /// sizeof(holdfast_lock_info).
    pub struct_size: usize,
    /// holdfast_key_hash() of the key; the key itself is not kept.
    pub key_hash: u64,
    /// Process id of the holder in its own PID namespace, for messages only.
    pub pid: u64,
    /// Milliseconds since it took the lock.
    pub age_ms: u64,
    /// Its lease, milliseconds; 0 = none.
    pub lease_ms: i64,
    /// The fence of the lock.
    pub fence: u64,
    /// How many wait for it.
    pub waiters: u32,
    /// 1 = the holder can still run; 0 = it is dead, and whoever asks next has the lock.
    pub owner_alive: u32,
}

/// The options of a store, the same for all who have it open; and what to change of them, where 0
/// leaves a field as it is. Set `struct_size` before each call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_config {
    /// sizeof(holdfast_config).
    pub struct_size: usize,
    /// HOLDFAST_SYNC_NONE, HOLDFAST_SYNC_PERIODIC or HOLDFAST_SYNC_ALWAYS.
    pub sync: u32,
    /// How many processes may have the store open at once.
    pub max_processes: u32,
    /// In HOLDFAST_SYNC_PERIODIC: milliseconds that a power loss may cost; at most a day.
    pub sync_interval_ms: u64,
    /// Cap of the data on disk, bytes.
    pub max_bytes: u64,
    /// Longest value, bytes.
    pub max_value_bytes: u64,
    /// Lifetime of what is stored with HOLDFAST_TTL_DEFAULT, milliseconds; -1 = for ever.
    pub default_ttl_ms: i64,
    /// No lifetime is longer than this, milliseconds; -1 = no bound.
    pub max_ttl_ms: i64,
    /// The max_bytes that waits for the store to be closed by all; 0 = none waits. Read only.
    pub pending_max_bytes: u64,
    /// The max_processes that waits in the same way; 0 = none waits. Read only.
    pub pending_max_processes: u32,
    /// 1 = values are stored as they are, 2 = compressed where that makes them smaller.
    pub compress: u32,
    /// 1 = a full store refuses new values, 2 = it drops old ones that nobody reads.
    pub evict: u32,
    /// 0.
    pub reserved: u32,
}

/// A key and what is known of its value, as a scan or a range gives it. Made by the library, which
/// sets `struct_size`; all of it is valid until the callback returns. Key and value end where their
/// lengths say, not with a NUL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_entry {
    /// The size of the struct in the library that is loaded: later ones may have more fields.
    pub struct_size: usize,
    /// The key.
    pub key: *const c_void,
    /// Its length, bytes.
    pub key_len: usize,
    /// The value; NULL without HOLDFAST_VALUES.
    pub value: *const c_void,
    /// Bytes at `value`; 0 without HOLDFAST_VALUES.
    pub value_len: usize,
    /// Version, lifetime, length of the value, flags. Never NULL.
    pub item: *const holdfast_item,
}

/// Called with each entry of a page, or, as a filter, asked whether it is wanted.
///
/// It runs on the calling thread, and nothing of the store is held meanwhile, so it may call this
/// library, on the same store too, except holdfast_close() on it. It must return: see
/// holdfast_stop_fn.
pub type holdfast_entry_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, entry: *const holdfast_entry) -> c_int>;

/// What a page of a scan gives. All zero but `struct_size` = a thousand keys without values.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_scan_options {
    /// sizeof(holdfast_scan_options).
    pub struct_size: usize,
    /// Only keys that begin with these bytes; the others are read, but not given.
    pub prefix: *const c_void,
    /// Length of `prefix`, bytes; 0 = all keys.
    pub prefix_len: usize,
    /// Entries in the page at most; 0 = 1000.
    pub limit: u64,
    /// HOLDFAST_VALUES or 0.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Only entries for which it returns other than 0; may be NULL. It is asked before the value
    /// is read, which an entry that is not wanted saves, and again after.
    pub filter: holdfast_entry_fn,
    /// Passed to `filter`, otherwise untouched.
    pub filter_context: *mut c_void,
}

/// What a page of a range gives. All zero but `struct_size` = the first thousand keys of all.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_range_options {
    /// sizeof(holdfast_range_options).
    pub struct_size: usize,
    /// Where it begins; NULL = with the first key.
    pub from: *const c_void,
    /// Length of `from`, bytes.
    pub from_len: usize,
    /// Where it ends, before this key unless HOLDFAST_TO_INCLUDED; NULL = with the last key.
    pub to: *const c_void,
    /// Length of `to`, bytes.
    pub to_len: usize,
    /// Of these only keys that begin with these bytes.
    pub prefix: *const c_void,
    /// Length of `prefix`, bytes; 0 = all.
    pub prefix_len: usize,
    /// Entries in the page at most; 0 = 1000, at most 10000.
    pub limit: u64,
    /// HOLDFAST_VALUES, HOLDFAST_REVERSE, HOLDFAST_FROM_EXCLUDED, HOLDFAST_TO_INCLUDED, or-ed.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// What a page came to. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_page {
    /// sizeof(holdfast_page).
    pub struct_size: usize,
    /// Entries given to the callback.
    pub given: u64,
    /// Records that are not what was written; they were passed over, and their keys cannot be told.
    pub damaged: u64,
}

/// Counters and sizes, over all processes. Set `struct_size` before the call.
///
/// The counters start at 0 when the store is created and again after a power loss; each may lag
/// by operations that are in flight.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_stats {
    /// sizeof(holdfast_stats).
    pub struct_size: usize,
    /// Keys stored, those that have expired but were not swept yet included.
    pub keys: u64,
    /// Bytes of records that are current.
    pub live_bytes: u64,
    /// Bytes of the file `data`.
    pub data_bytes: u64,
    /// Cap of the data, bytes.
    pub max_bytes: u64,
    /// Longest value, bytes.
    pub max_value_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Keys that the index has room for at most.
    pub index_slots: u64,
    /// Size of a segment, bytes: the unit in which space is taken and freed.
    pub segment_bytes: u64,
    /// Segments that max_bytes allows.
    pub segments: u64,
    /// Segments that are free.
    pub segments_free: u64,
    /// Reads.
    pub gets: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Values stored.
    pub sets: u64,
    /// Values deleted.
    pub deletes: u64,
    /// Lifetimes renewed.
    pub touches: u64,
    /// Values dropped because they had expired.
    pub expired: u64,
    /// Writes refused with HOLDFAST_E_FULL.
    pub refused_full: u64,
    /// Reads that met damaged bytes.
    pub damaged_reads: u64,
    /// Session locks taken.
    pub lock_acquired: u64,
    /// Of these and of those given up: how many had to wait.
    pub lock_waited: u64,
    /// Waits that ended with HOLDFAST_HELD.
    pub lock_timeouts: u64,
    /// Leases broken by a waiter.
    pub lock_broken: u64,
    /// Internal latches taken over from processes that died in an operation.
    pub latch_stolen: u64,
    /// Half-done operations of dead processes finished or dropped.
    pub healed: u64,
    /// Syncs of the data to the disk.
    pub sync_rounds: u64,
    /// HOLDFAST_SYNC_... of the store.
    pub sync: u64,
    /// See holdfast_options.
    pub sync_interval_ms: u64,
    /// Format of the files.
    pub format_major: u64,
    /// See format_major; a change here is compatible.
    pub format_minor: u64,
    /// Processes that have the store open now.
    pub processes: u64,
    /// How many may.
    pub max_processes: u64,
    /// Session locks held now.
    pub locks_held: u64,
    /// Threads that wait for session locks now.
    pub lock_waiters: u64,
    /// Milliseconds since the last finished sync; UINT64_MAX = none since the boot.
    pub last_sync_age_ms: u64,
    /// 1 = the store is on a tmpfs: a reboot loses everything.
    pub not_persistent: u64,
    /// 1 = this process asked for other options than the store has.
    pub options_differ: u64,
    /// Lifetime given by HOLDFAST_TTL_DEFAULT, milliseconds; -1 = for ever.
    pub default_ttl_ms: i64,
    /// Longest lifetime, milliseconds; -1 = no bound.
    pub max_ttl_ms: i64,
    /// 1 = values are compressed where that saves space, see HOLDFAST_COMPRESS.
    pub compress: u64,
    /// Bytes on disk of all files together: less than their lengths where space was given back.
    pub disk_bytes: u64,
    /// Bytes of records that callers wrote.
    pub written_bytes: u64,
    /// Bytes of records that were moved so that the space between them could be used again.
    pub moved_bytes: u64,
    /// Segments that were emptied and given back.
    pub segments_emptied: u64,
    /// 1 = a full store drops old values that nobody reads, see HOLDFAST_EVICT.
    pub evict: u64,
    /// Values dropped for that reason before they had expired.
    pub evicted: u64,
    /// Bytes of the control words (the file `meta`).
    pub meta_bytes: u64,
    /// Of data_bytes those that are in memory (the page cache), whichever process brought them
    /// there; of a large file a sample of its pages stands for all. See holdfast_trim_memory().
    pub data_resident_bytes: u64,
    /// The same of index_bytes.
    pub index_resident_bytes: u64,
    /// The same of meta_bytes.
    pub meta_resident_bytes: u64,
}

/// How holdfast_write() and its like work. All zero but `struct_size` = as holdfast_set() with the
/// store's default lifetime.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_write_options {
    /// sizeof(holdfast_write_options).
    pub struct_size: usize,
    /// 32 bits of yours, given back by reads.
    pub flags: u32,
    /// HOLDFAST_EXPECT_...
    pub expect: u32,
    /// The version for HOLDFAST_EXPECT_VERSION, else 0.
    pub expected: u64,
    /// Lifetime in milliseconds, HOLDFAST_TTL_DEFAULT or HOLDFAST_TTL_NEVER.
    pub ttl_ms: i64,
    /// NULL, or a lock of this key: nothing is written unless it is still held.
    pub lock: *const holdfast_lock,
    /// HOLDFAST_WRITE_SYNC or 0.
    pub write_flags: u32,
    /// 0.
    pub reserved: u32,
    /// The name of the value's owner, see holdfast_end_owner(); NULL leaves a present value its
    /// owner, and gives a new one none. Not for holdfast_increment() and holdfast_decrement().
    pub owner: *const c_void,
    /// 1 to 255 bytes, or 0 with NULL.
    pub owner_len: usize,
}

impl Default for holdfast_write_options {
    fn default() -> Self {
        holdfast_write_options {
            struct_size: size_of::<Self>(),
            flags: 0,
            expect: 0,
            expected: 0,
            ttl_ms: 0,
            lock: std::ptr::null(),
            write_flags: 0,
            reserved: 0,
            owner: std::ptr::null(),
            owner_len: 0,
        }
    }
}

/// What a holdfast_update_fn makes of a value. The library sets it up before each call: no value,
/// the flags that are there (else 0), HOLDFAST_TTL_KEEP.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_change {
    /// sizeof(holdfast_change) in the library that is loaded.
    pub struct_size: usize,
    /// The new value; may be NULL when `value_len` is 0. Copied when the function returns.
    pub value: *const c_void,
    /// Its length, bytes.
    pub value_len: usize,
    /// Its lifetime as for holdfast_set(), or HOLDFAST_TTL_KEEP.
    pub ttl_ms: i64,
    /// 32 bits of yours.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// Computes what is to become of a value, for holdfast_update().
///
/// `value`, `value_len` and `item` are what is there, for the time of the call; `item` is NULL if
/// there is nothing. It returns HOLDFAST_UPDATE_KEEP, HOLDFAST_UPDATE_WRITE with the new value in
/// `change`, or HOLDFAST_UPDATE_DELETE.
///
/// It must only compute, and quickly: it may be called more than once, and the writers of a 256th
/// of the keys wait for it. It must not call this library, which would wait for itself: noticed,
/// that is HOLDFAST_E_INVALID, else HOLDFAST_E_BUSY after the operation timeout. It must return:
/// longjmp(), a C++ exception or the cancellation of the thread would leave all those waiting, and
/// is undefined behaviour.
pub type holdfast_update_fn = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        value: *const c_void,
        value_len: usize,
        item: *const holdfast_item,
        change: *mut holdfast_change,
    ) -> c_int,
>;

/// A key for holdfast_get_many(). Never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_key {
    /// Its first byte.
    pub data: *const c_void,
    /// 1 to 1024 bytes.
    pub len: usize,
}

/// Called by holdfast_get_many() for each key, the `index`th of those asked for.
///
/// `result` is what holdfast_get() would have returned. On HOLDFAST_OK there are the value and what
/// is known of it, for the time of the call; else `value` and `item` are NULL. After a failure
/// holdfast_last_error() has its sentence. It may call this library, except holdfast_close() on the
/// store. It must return: no longjmp(), no C++ exception.
pub type holdfast_found_fn = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        index: usize,
        result: c_int,
        value: *const c_void,
        value_len: usize,
        item: *const holdfast_item,
    ),
>;

/// One write of several for holdfast_set_many(). Set all to zero first, then `struct_size`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_batch_item {
    /// sizeof(holdfast_batch_item).
    pub struct_size: usize,
    /// First byte of the key.
    pub key: *const c_void,
    /// 1 to 1024 bytes.
    pub key_len: usize,
    /// First byte of the value; may be NULL when `value_len` is 0.
    pub value: *const c_void,
    /// 0 to max_value_bytes of the store.
    pub value_len: usize,
    /// As for holdfast_write(); may be NULL, and the same for several items.
    pub options: *const holdfast_write_options,
    /// Written by the call: the version stored, or the one that is there.
    pub version: u64,
    /// Written by the call: HOLDFAST_OK, another outcome, or a failure.
    pub result: c_int,
    /// 0.
    pub reserved: u32,
}

/// Called during long work with the bytes that are done and that there are. Another result than 0
/// ends the work with HOLDFAST_STOPPED. It runs on the calling thread and may call this library,
/// except holdfast_close() on the store at work. It must return: no longjmp(), no C++ exception.
pub type holdfast_progress_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, done: u64, total: u64) -> c_int>;

/// Something that is not as it was written. It and its strings live until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_finding {
    /// sizeof(holdfast_finding) of the library.
    pub struct_size: usize,
    /// "super", "data", "index" or "meta".
    pub file: *const c_char,
    /// Where in it, bytes.
    pub offset: u64,
    /// In which segment of `data`; -1 = in none.
    pub segment: i64,
    /// What is wrong.
    pub what: *const c_char,
    /// What follows from it.
    pub consequence: *const c_char,
    /// What to do.
    pub remedy: *const c_char,
}

/// Called with each finding, of which at most 1000 are given. The rules of holdfast_progress_fn
/// hold, but for the result, which it has not.
pub type holdfast_finding_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, finding: *const holdfast_finding)>;

/// How to check, copy and mend a store. All zero but `struct_size` is fine, and so is NULL for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_care {
    /// sizeof(holdfast_care).
    pub struct_size: usize,
    /// HOLDFAST_DRY_RUN, HOLDFAST_READ_BACK, HOLDFAST_FORCE_FILESYSTEM (of a repair), or-ed.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Told how far the work is; may be NULL.
    pub progress: holdfast_progress_fn,
    /// Told what is wrong; may be NULL.
    pub finding: holdfast_finding_fn,
    /// Passed to both, otherwise untouched.
    pub context: *mut c_void,
}

/// What holdfast_verify() found. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_verified {
    /// sizeof(holdfast_verified).
    pub struct_size: usize,
    /// How much is wrong; 0 = the store is whole.
    pub findings: u64,
    /// 1 = every record was found to be current or to have a newer one. 0: that was not looked
    /// for, because writers needed the room that the check held back.
    pub reachability_checked: u64,
    /// Segments of the store.
    pub segments: u64,
    /// Those that hold nothing.
    pub segments_free: u64,
    /// Records in the log.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Those that can be read by their key.
    pub live: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Current ones whose lifetime is over, or that were flushed.
    pub expired: u64,
    /// Their bytes.
    pub expired_bytes: u64,
    /// Records that say that a key is gone.
    pub tombstones: u64,
    /// Their bytes.
    pub tombstone_bytes: u64,
    /// Replaced, deleted or dropped ones.
    pub dead: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Of the dead: those that do not hold. A power loss leaves such; no key leads to them.
    pub debris: u64,
    /// Slots of the index that are in use.
    pub keys: u64,
    /// What the counter in the statistics says of them, which deaths may leave a little off.
    pub keys_counted: u64,
    /// What the counter says of the bytes of current records.
    pub live_bytes_counted: u64,
}

/// What holdfast_backup() made. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_backed_up {
    /// sizeof(holdfast_backed_up).
    pub struct_size: usize,
    /// Everything up to this version is in it.
    pub version: u64,
    /// Store time of that moment, unix milliseconds.
    pub taken_ms: u64,
    /// Records copied, current or not.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Bytes written to the copy.
    pub bytes: u64,
    /// Current values that could not be read; the copy says that their keys are gone.
    pub damaged: u64,
    /// Segments that are not in the copy because their header is damaged: repair the store.
    pub segments_damaged: u64,
    /// How often it began anew because writers needed the room.
    pub restarts: u64,
}

/// What holdfast_restore() did. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_restored {
    /// sizeof(holdfast_restored).
    pub struct_size: usize,
    /// The version up to which the backup has everything.
    pub version: u64,
    /// Store time of that moment, unix milliseconds.
    pub taken_ms: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What holdfast_repair() did, or would do. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_repaired {
    /// sizeof(holdfast_repaired).
    pub struct_size: usize,
    /// How much was wrong.
    pub findings: u64,
    /// 1 = a copy of `super` was replaced by the other.
    pub super_rewritten: u64,
    /// Segments that got their header back.
    pub headers_mended: u64,
    /// Pieces of `data` that could not be read and were dropped.
    pub pieces_dropped: u64,
    /// Their bytes.
    pub bytes_dropped: u64,
    /// Of them: current values whose key is known, so that no older value takes their place.
    pub keys_deleted: u64,
    /// 1 = index and meta were made anew.
    pub rebuilt: u64,
    /// The file in the store's directory with what was dropped; empty = none.
    pub dropped_file: [c_char; 64],
}

/// What of a store could be given back. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct holdfast_space {
    /// sizeof(holdfast_space).
    pub struct_size: usize,
    /// Bytes of whole segments that would be free if what is live were packed together.
    pub bytes: u64,
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Segments in use.
    pub segments_used: u64,
    /// Segments free.
    pub segments_free: u64,
    /// Current records that have not expired; a quick look does not count records.
    pub live: u64,
    /// Their bytes; in a quick look with those that have expired.
    pub live_bytes: u64,
    /// Current records that have expired or were flushed; 0 in a quick look.
    pub expired: u64,
    /// Their bytes.
    pub expired_bytes: u64,
    /// Records that say that a key is gone, some of which are still needed; 0 in a quick look.
    pub tombstones: u64,
    /// Their bytes.
    pub tombstone_bytes: u64,
    /// Replaced, deleted or dropped records; 0 in a quick look.
    pub dead: u64,
    /// Their bytes; in a quick look all that is not live.
    pub dead_bytes: u64,
    /// Segments in use by the share of their bytes that is live: below 10 %, below 20 %, ...
    pub by_share: [u64; 10],
}

macro_rules! versioned {
    ($($name:ident: $first:literal),* $(,)?) => {$(
        // SAFETY: repr(C), begins with `struct_size: usize`, and all zero is a valid value.
        unsafe impl Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const FIRST_SIZE: usize = $first;
        }
        const _: () = {
            assert!(std::mem::offset_of!($name, struct_size) == 0);
            assert!(size_of::<$name>() >= $first, "a struct of the ABI never shrinks");
        };
    )*};
}

// The sizes in ABI 1 on 64-bit machines, the only ones that the store supports. They stay.
versioned! {
    holdfast_options: 80,
    holdfast_item: 40,
    holdfast_wait: 48,
    holdfast_holder: 32,
    holdfast_lock_info: 56,
    holdfast_scan_options: 56,
    holdfast_range_options: 72,
    holdfast_page: 24,
    holdfast_stats: 312,
    holdfast_config: 80,
    holdfast_write_options: 48,
    holdfast_batch_item: 64,
    holdfast_care: 40,
    holdfast_verified: 152,
    holdfast_backed_up: 72,
    holdfast_restored: 32,
    holdfast_repaired: 128,
    holdfast_space: 184,
}
