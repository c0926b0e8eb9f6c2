/* Holdfast */

#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of this interface, which is the same as long as a program compiled against an
 * older header works unchanged. `holdfast_abi_version()` is that of the library loaded.
 */
#define HOLDFAST_ABI_VERSION 1

/** The version of the library that this header came with. */
#define HOLDFAST_VERSION_STRING "0.1.0"

/** Done. */
#define HOLDFAST_OK 0

/** Outcome: there is no such key, or what was there has expired. */
#define HOLDFAST_MISSING 1

/** Outcome: add: the key is there; cas and delete_version: it has another version. */
#define HOLDFAST_EXISTS 2

/** Outcome: the time to wait is up and somebody else holds the lock. */
#define HOLDFAST_HELD 3

/** Outcome: the stop callback ended the wait. */
#define HOLDFAST_STOPPED 4

/** Outcome: the lock passed is no longer held (its lease was broken): nothing was written. */
#define HOLDFAST_LOST 5

/** Outcome: max_waiters already wait for the lock. */
#define HOLDFAST_CROWDED 6

/** Failure: an argument that no store could accept. */
#define HOLDFAST_E_INVALID (-1)

/** Failure: the value is longer than max_value_bytes of this store. */
#define HOLDFAST_E_TOO_LARGE (-2)

/** Failure: no room within max_bytes of this store. What is stored stays; deletes still work. */
#define HOLDFAST_E_FULL (-3)

/** Failure: the directory or the store in it does not exist (and HOLDFAST_CREATE was not given). */
#define HOLDFAST_E_NO_STORE (-4)

/**
 * Failure: owner, group, mode, symbolic link, kind of filesystem, another kernel or another time
 * namespace forbid the use of this store.
 */
#define HOLDFAST_E_REFUSED (-5)

/** Failure: not a store, or one of a newer format. */
#define HOLDFAST_E_FORMAT (-6)

/** Failure: bytes that are not what was written, on the way to this key or in a file. */
#define HOLDFAST_E_DAMAGED (-7)

/** Failure: the operating system refused; the sentence has its reason. */
#define HOLDFAST_E_IO (-8)

/**
 * Failure: an internal latch stayed held past operation_timeout_ms, because the process that
 * holds it is stopped (SIGSTOP, a debugger, a frozen cgroup). Try again once it runs.
 */
#define HOLDFAST_E_BUSY (-9)

/** Failure: no memory. */
#define HOLDFAST_E_NO_MEMORY (-10)

/** Failure: the filesystem is full (ENOSPC, EDQUOT). What is stored is intact. */
#define HOLDFAST_E_NO_SPACE (-11)

/** Failure: a defect in the library. The process goes on; please report the sentence. */
#define HOLDFAST_E_PANIC (-12)

/** Failure: not to be had from this library, or asked for by the rules of a newer one. */
#define HOLDFAST_E_UNSUPPORTED (-13)

/** Failure: a table of fixed size is full: process slots, session locks, waiters. */
#define HOLDFAST_E_TOO_MANY (-14)

/** Failure: the filesystem is mounted read-only. */
#define HOLDFAST_E_READ_ONLY (-15)

/** Failure: an fsync failed: writes are refused until the store is reopened by everybody. */
#define HOLDFAST_E_SYNC (-16)

/**
 * holdfast_options.flags: make the store in the directory if there is none. The directory itself
 * must exist.
 */
#define HOLDFAST_CREATE 1

/**
 * holdfast_options.flags: this must be a group store: a directory of mode 2770, whose files get
 * mode 0660. Without the flag the mode of the directory decides.
 */
#define HOLDFAST_GROUP 2

/**
 * holdfast_options.flags: open even on a filesystem that is not known to keep shared mappings
 * coherent. Wrong on any network filesystem.
 */
#define HOLDFAST_FORCE_FILESYSTEM 4

/**
 * holdfast_options.flags: never start a thread in this process. The operation that finds a sync
 * due does it then, and nothing is synced while no operation comes.
 */
#define HOLDFAST_NO_THREAD 8

/** holdfast_options.flags: a new store hashes its keys with SipHash-1-3, for keys from strangers. */
#define HOLDFAST_SIPHASH 16

/** holdfast_options.sync: what the store has; of a new store HOLDFAST_SYNC_PERIODIC. */
#define HOLDFAST_SYNC_DEFAULT 0

/** holdfast_options.sync: never on purpose. A power loss may lose all since the last sync. */
#define HOLDFAST_SYNC_NONE 1

/** holdfast_options.sync: in the background, at most sync_interval_ms after a write. */
#define HOLDFAST_SYNC_PERIODIC 2

/** holdfast_options.sync: before each write returns; one fdatasync for all that wait. */
#define HOLDFAST_SYNC_ALWAYS 3

/** A ttl_ms: the store's default lifetime. */
#define HOLDFAST_TTL_DEFAULT 0

/** A ttl_ms: until it is deleted (or for the store's maximum lifetime). */
#define HOLDFAST_TTL_NEVER (-1)

/** An open store. Any number of threads may share one. */
typedef struct holdfast_store holdfast_store;

/**
 * How to open a store; 0 in any field is the default. Set it up with holdfast_options_init().
 *
 * The fields from `sync` to `max_ttl_ms`, `max_processes` and HOLDFAST_SIPHASH belong to the
 * *store*: its creator sets them. An opener that asks for something else than the store has is
 * not obeyed, and sees `options_differ` in the statistics; one that leaves them 0 takes what is
 * there.
 */
typedef struct holdfast_options {
    /** sizeof(holdfast_options). */
    size_t struct_size;
    /** HOLDFAST_CREATE and the other flags, or-ed. */
    uint32_t flags;
    /** HOLDFAST_SYNC_... */
    uint32_t sync;
    /** In HOLDFAST_SYNC_PERIODIC: milliseconds that a power loss may cost; default 1000. */
    uint64_t sync_interval_ms;
    /** Cap of the data on disk, bytes; default 1 GiB. At least 8 times max_value_bytes. */
    uint64_t max_bytes;
    /** Longest value, bytes; default 1 MiB, at most 64 MiB. */
    uint64_t max_value_bytes;
    /** Lifetime of what is stored with HOLDFAST_TTL_DEFAULT, milliseconds; default: for ever. */
    int64_t default_ttl_ms;
    /** No lifetime is longer than this, milliseconds; default: no bound. */
    int64_t max_ttl_ms;
    /**
     * How long an operation may wait for a process that is stopped in the middle of a write,
     * milliseconds; default 5000.
     */
    uint64_t operation_timeout_ms;
    /**
     * How long holdfast_open() may wait for a process that creates or recovers the store,
     * milliseconds; default 30000.
     */
    uint64_t open_timeout_ms;
    /** How many processes may have the store open at once; default 512, at most 16384. */
    uint32_t max_processes;
    /** 0. */
    uint32_t reserved;
} holdfast_options;

/**
 * Memory for values that are read, owned by the caller, allocated and grown by the library.
 *
 * Start with all zero (`holdfast_buffer b = {0}`), pass it to as many calls as you like, one at a
 * time, and give it to holdfast_buffer_free() at the end. The bytes at `data` are the caller's to
 * read and change until the next call with this buffer. `len` is the length of the value after
 * HOLDFAST_OK and 0 after anything else, so that a value of an earlier call is never mistaken for
 * this one's. `data` may be NULL when `len` is 0. No NUL is added after the value.
 * Never realloc() or free() `data`, and set none of the three fields by hand.
 */
typedef struct holdfast_buffer {
    /** First byte of the value. */
    uint8_t *data;
    /** Length of the value, bytes. */
    size_t len;
    /** Bytes allocated. */
    size_t capacity;
} holdfast_buffer;

/** What is known of a value beside its bytes. Set `struct_size` before each call that fills it. */
typedef struct holdfast_item {
    /** sizeof(holdfast_item). */
    size_t struct_size;
    /** Changes with every write and never repeats, not even for a key that was deleted between. */
    uint64_t version;
    /** Milliseconds left to live; -1 = for ever. */
    int64_t ttl_ms;
    /** Length of the value, bytes. */
    uint64_t value_len;
    /** The 32 bits that the writer gave. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
} holdfast_item;

/**
 * A session lock that this process holds, as far as it knows: each write with it checks.
 *
 * Plain data, owned by the caller: it may be copied and needs no release of its own. `fence` 0 =
 * no lock. Another process, a child of fork() too, can do nothing with a copy.
 */
typedef struct holdfast_lock {
    /** A number that is never issued twice; 0 = none. */
    uint64_t fence;
    /** The owner's own choice, see holdfast_lock_acquire(). */
    uint64_t cookie;
    /** Where the library finds the lock again. */
    uint64_t place;
    /** 0. */
    uint64_t reserved;
} holdfast_lock;

/**
 * Called while a thread waits for a session lock: at least every 50 ms, and after a signal.
 * Non-zero ends the wait with HOLDFAST_STOPPED.
 *
 * It runs on the waiting thread and holds nothing of the store, so it may call this library,
 * except holdfast_close() on the store and anything on the buffer that the waiting call was
 * given. It must return: longjmp(), a C++ exception or the cancellation of the thread would leave
 * a dead ticket in the queue of the lock and is undefined behaviour. Note what you want to do,
 * return 1, and do it after the call has returned.
 */
typedef int (*holdfast_stop_fn)(void *context);

/** How to wait for a session lock. All zero but `struct_size` = only try, no lease. */
typedef struct holdfast_wait {
    /** sizeof(holdfast_wait). */
    size_t struct_size;
    /** Milliseconds to wait at most; 0 = only try, -1 = as long as it takes. */
    int64_t timeout_ms;
    /**
     * A waiter may take the lock from a holder that has not renewed it for this many
     * milliseconds, although it is alive; 0 = never. (A dead holder's lock is free at once.)
     */
    int64_t lease_ms;
    /** Give up at once with HOLDFAST_CROWDED when this many wait already; 0 = no limit. */
    uint32_t max_waiters;
    /** 0. */
    uint32_t reserved;
    /** Asked while waiting; may be NULL. */
    holdfast_stop_fn stop;
    /** Passed to `stop`, otherwise untouched. */
    void *stop_context;
} holdfast_wait;

/** Who has a lock, for messages. Set `struct_size` before the call. */
typedef struct holdfast_holder {
    /** sizeof(holdfast_holder). */
    size_t struct_size;
    /** Process id in the holder's own PID namespace, which may not be yours: for messages only. */
    uint64_t pid;
    /** Milliseconds since it took the lock. */
    uint64_t age_ms;
    /** How many wait for it. */
    uint32_t waiters;
    /** 0. */
    uint32_t reserved;
} holdfast_holder;

/** A line of the list that holdfast_locks() makes. */
typedef struct holdfast_lock_info {
    /** sizeof(holdfast_lock_info). */
    size_t struct_size;
    /** holdfast_key_hash() of the key; the key itself is not kept. */
    uint64_t key_hash;
    /** Process id of the holder in its own PID namespace, for messages only. */
    uint64_t pid;
    /** Milliseconds since it took the lock. */
    uint64_t age_ms;
    /** Its lease, milliseconds; 0 = none. */
    int64_t lease_ms;
    /** The fence of the lock. */
    uint64_t fence;
    /** How many wait for it. */
    uint32_t waiters;
    /** 1 = the holder can still run; 0 = it is dead, and whoever asks next has the lock. */
    uint32_t owner_alive;
} holdfast_lock_info;

/**
 * Counters and sizes, over all processes. Set `struct_size` before the call.
 *
 * The counters start at 0 when the store is created and again after a power loss; each may lag
 * by operations that are in flight.
 */
typedef struct holdfast_stats {
    /** sizeof(holdfast_stats). */
    size_t struct_size;
    /** Keys stored, those that have expired but were not swept yet included. */
    uint64_t keys;
    /** Bytes of records that are current. */
    uint64_t live_bytes;
    /** Bytes of the file `data`. */
    uint64_t data_bytes;
    /** Cap of the data, bytes. */
    uint64_t max_bytes;
    /** Longest value, bytes. */
    uint64_t max_value_bytes;
    /** Bytes of the index. */
    uint64_t index_bytes;
    /** Keys that the index has room for at most. */
    uint64_t index_slots;
    /** Size of a segment, bytes: the unit in which space is taken and freed. */
    uint64_t segment_bytes;
    /** Segments that max_bytes allows. */
    uint64_t segments;
    /** Segments that are free. */
    uint64_t segments_free;
    /** Reads. */
    uint64_t gets;
    /** Reads that found a value. */
    uint64_t hits;
    /** Values stored. */
    uint64_t sets;
    /** Values deleted. */
    uint64_t deletes;
    /** Lifetimes renewed. */
    uint64_t touches;
    /** Values dropped because they had expired. */
    uint64_t expired;
    /** Writes refused with HOLDFAST_E_FULL. */
    uint64_t refused_full;
    /** Reads that met damaged bytes. */
    uint64_t damaged_reads;
    /** Session locks taken. */
    uint64_t lock_acquired;
    /** Of these and of those given up: how many had to wait. */
    uint64_t lock_waited;
    /** Waits that ended with HOLDFAST_HELD. */
    uint64_t lock_timeouts;
    /** Leases broken by a waiter. */
    uint64_t lock_broken;
    /** Internal latches taken over from processes that died in an operation. */
    uint64_t latch_stolen;
    /** Half-done operations of dead processes finished or dropped. */
    uint64_t healed;
    /** Syncs of the data to the disk. */
    uint64_t sync_rounds;
    /** HOLDFAST_SYNC_... of the store. */
    uint64_t sync;
    /** See holdfast_options. */
    uint64_t sync_interval_ms;
    /** Format of the files. */
    uint64_t format_major;
    /** See format_major; a change here is compatible. */
    uint64_t format_minor;
    /** Processes that have the store open now. */
    uint64_t processes;
    /** How many may. */
    uint64_t max_processes;
    /** Session locks held now. */
    uint64_t locks_held;
    /** Threads that wait for session locks now. */
    uint64_t lock_waiters;
    /** Milliseconds since the last finished sync; UINT64_MAX = none since the boot. */
    uint64_t last_sync_age_ms;
    /** 1 = the store is on a tmpfs: a reboot loses everything. */
    uint64_t not_persistent;
    /** 1 = this process asked for other options than the store has. */
    uint64_t options_differ;
    /** Lifetime given by HOLDFAST_TTL_DEFAULT, milliseconds; -1 = for ever. */
    int64_t default_ttl_ms;
    /** Longest lifetime, milliseconds; -1 = no bound. */
    int64_t max_ttl_ms;
} holdfast_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Sets `struct_size` and makes everything else 0, which is the default of each field.
 * NULL is allowed and does nothing. Never fails.
 */
void holdfast_options_init(struct holdfast_options *options);

/** Opens the store in the directory `address`. */
int holdfast_open(const char *address,
                  const struct holdfast_options *options,
                  struct holdfast_store **store);

/** Closes a handle. */
void holdfast_close(struct holdfast_store *store);

/** Frees the memory of a buffer and makes it all zero, ready to be used again. */
void holdfast_buffer_free(struct holdfast_buffer *buffer);

/** Drops expired values now. */
int holdfast_expire(struct holdfast_store *store, uint64_t max_records, uint64_t *expired);

/** Returns when everything that was acknowledged before is on the disk, whatever the sync mode. */
int holdfast_sync(struct holdfast_store *store);

/** Reads a value. */
int holdfast_get(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 struct holdfast_buffer *value,
                 struct holdfast_item *item);

/** Reads a value and gives it a new lifetime. */
int holdfast_get_touch(struct holdfast_store *store,
                       const void *key,
                       size_t key_len,
                       int64_t ttl_ms,
                       struct holdfast_buffer *value,
                       struct holdfast_item *item);

/** Looks whether there is a value, without reading it. */
int holdfast_exists(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    struct holdfast_item *item);

/** Stores a value, whatever was there. */
int holdfast_set(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 const struct holdfast_lock *lock,
                 uint64_t *version);

/** Stores a value if there is none. */
int holdfast_add(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 uint64_t *version);

/** Stores a value if there is one. */
int holdfast_replace(struct holdfast_store *store,
                     const void *key,
                     size_t key_len,
                     const void *value,
                     size_t value_len,
                     uint32_t flags,
                     int64_t ttl_ms,
                     uint64_t *version);

/** Stores a value if the present one has the version `expected`. */
int holdfast_cas(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 uint64_t expected,
                 uint64_t *version);

/** Gives a value a new lifetime. */
int holdfast_touch(struct holdfast_store *store,
                   const void *key,
                   size_t key_len,
                   int64_t ttl_ms,
                   const struct holdfast_lock *lock);

/** Deletes a value. */
int holdfast_delete(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    const struct holdfast_lock *lock);

/** Deletes a value if it has the version `expected`. */
int holdfast_delete_version(struct holdfast_store *store,
                            const void *key,
                            size_t key_len,
                            uint64_t expected);

/** Takes the session lock of a key. */
int holdfast_lock_acquire(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          uint64_t cookie,
                          const struct holdfast_wait *wait,
                          struct holdfast_lock *lock,
                          struct holdfast_holder *holder);

/** Starts the lease of a lock over. */
int holdfast_lock_renew(struct holdfast_store *store,
                        const void *key,
                        size_t key_len,
                        const struct holdfast_lock *lock,
                        int64_t lease_ms);

/** Gives a lock back. */
int holdfast_lock_release(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          struct holdfast_lock *lock);

/** Takes the session lock of a key and reads its value, in one call. */
int holdfast_session_open(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          uint64_t cookie,
                          const struct holdfast_wait *wait,
                          struct holdfast_buffer *value,
                          struct holdfast_item *item,
                          struct holdfast_lock *lock,
                          struct holdfast_holder *holder);

/** Lists session locks that are held. */
int holdfast_locks(struct holdfast_store *store,
                   struct holdfast_lock_info *out,
                   size_t capacity,
                   size_t *count);

/** The hash under which holdfast_locks() shows a key. */
uint64_t holdfast_key_hash(struct holdfast_store *store, const void *key, size_t key_len);

/**
 * The HOLDFAST_ABI_VERSION of the library that is loaded.
 *
 * A program compiled against an older header works with a newer library of the same number. One
 * that needs functions of a newer header finds out by the linker. Never blocks, never fails.
 */
int holdfast_abi_version(void);

/** The version of the library that is loaded, as "0.1.0". Static: never free it. */
const char *holdfast_version(void);

/**
 * The name of a result, as "HOLDFAST_E_FULL"; "HOLDFAST_UNKNOWN" for a number that this library
 * does not return. Static: never free it. For people; programs compare the numbers.
 */
const char *holdfast_result_name(int result);

/**
 * A sentence about the last failure (negative result) of a call by this thread: what, where, and
 * where possible the command that mends it. In UTF-8 but for paths, which are given as well as
 * UTF-8 can; without a newline; at most 2047 bytes.
 *
 * Never NULL; empty if nothing failed yet. Outcomes and successes leave it alone, so look at it
 * only after a negative result. The memory is the thread's own: valid until its next call of this
 * library, at most until the thread ends; never free it. Never blocks.
 */
const char *holdfast_last_error(void);

/**
 * Fills in counters and sizes of the store, over all processes.
 *
 * `out`: the caller's; set `out->struct_size` first. Written on HOLDFAST_OK only.
 * Results: HOLDFAST_OK; HOLDFAST_E_INVALID; after fork() those of holdfast_open().
 * It looks at each process slot and lock, some microseconds to a millisecond: for a status page,
 * not for each request. It does not wait for other processes.
 */
int holdfast_stats_get(struct holdfast_store *store, struct holdfast_stats *out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HOLDFAST_H */
