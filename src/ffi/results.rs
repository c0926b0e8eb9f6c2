//! The numbers of the C ABI: results, flags, sync modes, lifetimes. Never changed, never reused.

/// The version of this interface. It stays as long as programs compiled against older headers work
/// unchanged. holdfast_abi_version() is that of the library loaded.
pub const HOLDFAST_ABI_VERSION: i32 = 1;

/// Done.
pub const HOLDFAST_OK: i32 = 0;
/// Outcome: there is no such key, or what was there has expired.
pub const HOLDFAST_MISSING: i32 = 1;
/// Outcome: add: the key is there; cas and delete_version: it has another version.
pub const HOLDFAST_EXISTS: i32 = 2;
/// Outcome: the time to wait is up and somebody else holds the lock.
pub const HOLDFAST_HELD: i32 = 3;
/// Outcome: a callback ended the wait, the scan or the page.
pub const HOLDFAST_STOPPED: i32 = 4;
/// Outcome: the lock passed is no longer held (its lease was broken): nothing was written.
pub const HOLDFAST_LOST: i32 = 5;
/// Outcome: max_waiters already wait for the lock.
pub const HOLDFAST_CROWDED: i32 = 6;

/// Outcome: increment, decrement: the value is not a number.
pub const HOLDFAST_NOT_A_NUMBER: i32 = 7;

/// Failure: an argument that no store could accept.
pub const HOLDFAST_E_INVALID: i32 = -1;
/// Failure: the value is longer than max_value_bytes of this store.
pub const HOLDFAST_E_TOO_LARGE: i32 = -2;
/// Failure: no room within max_bytes of this store. What is stored stays; deletes still work, and
/// what they give back is room again after a moment.
pub const HOLDFAST_E_FULL: i32 = -3;
/// Failure: the directory or the store in it does not exist (and HOLDFAST_CREATE was not given).
pub const HOLDFAST_E_NO_STORE: i32 = -4;
/// Failure: owner, group, mode, symbolic link, kind of filesystem, another kernel or another time
/// namespace forbid the use of this store.
pub const HOLDFAST_E_REFUSED: i32 = -5;
/// Failure: not a store, or one of a newer format.
pub const HOLDFAST_E_FORMAT: i32 = -6;
/// Failure: bytes that are not what was written, on the way to this key or in a file.
pub const HOLDFAST_E_DAMAGED: i32 = -7;
/// Failure: the operating system refused; the sentence has its reason.
pub const HOLDFAST_E_IO: i32 = -8;
/// Failure: an internal latch stayed held past operation_timeout_ms, because the process that
/// holds it is stopped (SIGSTOP, a debugger, a frozen cgroup). Try again once it runs.
pub const HOLDFAST_E_BUSY: i32 = -9;
/// Failure: no memory for something whose size follows from the call or from the store. (Without the
/// few kilobytes of constant size that a call may want, the process ends.)
pub const HOLDFAST_E_NO_MEMORY: i32 = -10;
/// Failure: the filesystem is full (ENOSPC, EDQUOT). What is stored is intact.
pub const HOLDFAST_E_NO_SPACE: i32 = -11;
/// Failure: a defect in the library. The process goes on; please report the sentence.
pub const HOLDFAST_E_PANIC: i32 = -12;
/// Failure: not to be had from this library, or asked for by the rules of a newer one.
pub const HOLDFAST_E_UNSUPPORTED: i32 = -13;
/// Failure: a table of fixed size is full: process slots, session locks, waiters.
pub const HOLDFAST_E_TOO_MANY: i32 = -14;
/// Failure: the filesystem is mounted read-only.
pub const HOLDFAST_E_READ_ONLY: i32 = -15;
/// Failure: an fsync failed: writes are refused until the store is reopened by everybody.
pub const HOLDFAST_E_SYNC: i32 = -16;

/// holdfast_options.flags: make the store in the directory if there is none. The directory itself
/// must exist.
pub const HOLDFAST_CREATE: u32 = 1;
/// holdfast_options.flags: this must be a group store: a directory of mode 2770, whose files get
/// mode 0660. Without the flag the mode of the directory decides.
pub const HOLDFAST_GROUP: u32 = 2;
/// holdfast_options.flags: open even on a filesystem that is not known to keep shared mappings
/// coherent. Wrong on any network filesystem.
pub const HOLDFAST_FORCE_FILESYSTEM: u32 = 4;
/// holdfast_options.flags: never start a thread in this process. The operation that finds a sync
/// due does it then, and nothing is synced while no operation comes.
pub const HOLDFAST_NO_THREAD: u32 = 8;
/// holdfast_options.flags: a new store hashes keys with SipHash-1-3: for keys from strangers.
pub const HOLDFAST_SIPHASH: u32 = 16;
/// holdfast_options.flags: a full new store drops old values that nobody reads, as a cache does,
/// instead of refusing new ones. Not for sessions that somebody still needs.
pub const HOLDFAST_EVICT: u32 = 64;
/// holdfast_options.flags: a new store compresses values (LZ4) of 512 bytes and more where that
/// saves at least an eighth: less disk and page cache for some time of the processor's. Lengths,
/// max_value_bytes too, are those of the values as you know them.
pub const HOLDFAST_COMPRESS: u32 = 32;

/// holdfast_options.sync: what the store has; of a new store HOLDFAST_SYNC_PERIODIC.
pub const HOLDFAST_SYNC_DEFAULT: u32 = 0;
/// holdfast_options.sync: never on purpose. A power loss may lose all since the last sync.
pub const HOLDFAST_SYNC_NONE: u32 = 1;
/// holdfast_options.sync: in the background, at most sync_interval_ms after a write.
pub const HOLDFAST_SYNC_PERIODIC: u32 = 2;
/// holdfast_options.sync: before each write returns; one fdatasync for all that wait.
pub const HOLDFAST_SYNC_ALWAYS: u32 = 3;

/// A ttl_ms: the store's default lifetime.
pub const HOLDFAST_TTL_DEFAULT: i64 = 0;
/// A ttl_ms: until it is deleted (or for the store's maximum lifetime).
pub const HOLDFAST_TTL_NEVER: i64 = -1;

/// The cursor of a scan that has seen everything. (One that begins is 0.)
pub const HOLDFAST_SCAN_DONE: u64 = u64::MAX;
/// Flag of scan and range options: read the values too.
pub const HOLDFAST_VALUES: u32 = 1;
/// holdfast_range_options.flags: the last keys first.
pub const HOLDFAST_REVERSE: u32 = 2;
/// holdfast_range_options.flags: begin behind `from`, not with it.
pub const HOLDFAST_FROM_EXCLUDED: u32 = 4;
/// holdfast_range_options.flags: end with `to`, not before it.
pub const HOLDFAST_TO_INCLUDED: u32 = 8;

/// A ttl_ms of holdfast_change: the end of the present value's life stays; where there is no value,
/// the store's default lifetime.
pub const HOLDFAST_TTL_KEEP: i64 = -2;

/// holdfast_write_options.expect: whatever is there.
pub const HOLDFAST_EXPECT_ANY: u32 = 0;
/// holdfast_write_options.expect: that there is no value, as holdfast_add() does.
pub const HOLDFAST_EXPECT_ABSENT: u32 = 1;
/// holdfast_write_options.expect: that there is a value, as holdfast_replace() does.
pub const HOLDFAST_EXPECT_PRESENT: u32 = 2;
/// holdfast_write_options.expect: that it has the version `expected`, as holdfast_cas() does.
pub const HOLDFAST_EXPECT_VERSION: u32 = 3;

/// write_flags: on the disk when the call returns, whatever the sync mode of the store; one
/// fdatasync for all that wait.
pub const HOLDFAST_WRITE_SYNC: u32 = 1;

/// Returned by a holdfast_update_fn: what is there stays, or stays absent.
pub const HOLDFAST_UPDATE_KEEP: i32 = 0;
/// Returned by a holdfast_update_fn: there is the value in `change` from now on.
pub const HOLDFAST_UPDATE_WRITE: i32 = 1;
/// Returned by a holdfast_update_fn: there is no value from now on.
pub const HOLDFAST_UPDATE_DELETE: i32 = 2;

/// holdfast_care.flags of holdfast_repair(): only say what would be done.
pub const HOLDFAST_DRY_RUN: u32 = 1;
/// holdfast_care.flags of holdfast_backup(): read the copy back when it is done, and compare.
pub const HOLDFAST_READ_BACK: u32 = 2;

/// "HOLDFAST_E_FULL" for -3, and so on.
pub(super) fn name(result: i32) -> &'static std::ffi::CStr {
    match result {
        HOLDFAST_OK => c"HOLDFAST_OK",
        HOLDFAST_MISSING => c"HOLDFAST_MISSING",
        HOLDFAST_EXISTS => c"HOLDFAST_EXISTS",
        HOLDFAST_HELD => c"HOLDFAST_HELD",
        HOLDFAST_STOPPED => c"HOLDFAST_STOPPED",
        HOLDFAST_LOST => c"HOLDFAST_LOST",
        HOLDFAST_CROWDED => c"HOLDFAST_CROWDED",
        HOLDFAST_NOT_A_NUMBER => c"HOLDFAST_NOT_A_NUMBER",
        HOLDFAST_E_INVALID => c"HOLDFAST_E_INVALID",
        HOLDFAST_E_TOO_LARGE => c"HOLDFAST_E_TOO_LARGE",
        HOLDFAST_E_FULL => c"HOLDFAST_E_FULL",
        HOLDFAST_E_NO_STORE => c"HOLDFAST_E_NO_STORE",
        HOLDFAST_E_REFUSED => c"HOLDFAST_E_REFUSED",
        HOLDFAST_E_FORMAT => c"HOLDFAST_E_FORMAT",
        HOLDFAST_E_DAMAGED => c"HOLDFAST_E_DAMAGED",
        HOLDFAST_E_IO => c"HOLDFAST_E_IO",
        HOLDFAST_E_BUSY => c"HOLDFAST_E_BUSY",
        HOLDFAST_E_NO_MEMORY => c"HOLDFAST_E_NO_MEMORY",
        HOLDFAST_E_NO_SPACE => c"HOLDFAST_E_NO_SPACE",
        HOLDFAST_E_PANIC => c"HOLDFAST_E_PANIC",
        HOLDFAST_E_UNSUPPORTED => c"HOLDFAST_E_UNSUPPORTED",
        HOLDFAST_E_TOO_MANY => c"HOLDFAST_E_TOO_MANY",
        HOLDFAST_E_READ_ONLY => c"HOLDFAST_E_READ_ONLY",
        HOLDFAST_E_SYNC => c"HOLDFAST_E_SYNC",
        _ => c"HOLDFAST_UNKNOWN",
    }
}
