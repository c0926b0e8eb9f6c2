/*
 * Holdfast: a session store that many processes share, with no server between them.
 *
 * Generated from src/ffi; do not edit. MIT licence.
 *
 * CONTENTS
 *
 *   1. What a store is            6. What blocks, and for how long
 *   2. A first program            7. Threads
 *   3. Results and errors         8. Processes and fork
 *   4. Ownership                  9. Caveats learnt in the field
 *   5. Session locks             10. Versions of this interface
 *
 *
 * 1. WHAT A STORE IS
 *
 * A store is a directory. It maps keys (1 to 1024 bytes, any bytes) to values (0 bytes up to a
 * limit of the store, any bytes), each with 32 bits for its writer, a lifetime and a version that
 * changes with every write and never repeats. NUL has no meaning in keys and values: every length
 * is passed, and no terminator is added to what is read.
 *
 * Any number of processes on one kernel open the same directory at once, from containers too. None
 * of them is a server, none is special, and none must run for the others to work. A process may be
 * killed at any instruction: what it was told to be stored is stored, what it was doing is either
 * done or not, its locks are free, and nobody waits for it. Values survive the death of all
 * processes in every mode; what a power loss may cost is the sync mode's business:
 *
 *   HOLDFAST_SYNC_ALWAYS     nothing that was acknowledged
 *   HOLDFAST_SYNC_PERIODIC   the last sync_interval_ms (default one second) and the time of one
 *                            fdatasync
 *   HOLDFAST_SYNC_NONE       everything since the last holdfast_sync()
 *
 * A single write asks for the first whatever the mode by HOLDFAST_WRITE_SYNC, a touch or a delete by
 * a holdfast_sync() after it.
 *
 * With the first two nothing comes back that was deleted, expired or overwritten before the last
 * sync; with the third it may. In all of them a value that is returned is whole, has passed its
 * checksum, and belongs to the key asked for. In doubt a call fails; it never succeeds with nothing.
 *
 * The size of a store is bounded (max_bytes). Seven eighths of it may be alive; a store that is full
 * refuses new values with HOLDFAST_E_FULL, keeps what it has, and still takes new values of the
 * same size for old ones, and deletes. (One made with HOLDFAST_EVICT is a cache and drops old values
 * that nobody reads instead.) What has expired, or was replaced, is found and its space used again
 * without any call: in the background, and by a small share of the work of each write while little
 * is free.
 *
 *
 * 2. A FIRST PROGRAM
 *
 *     holdfast_options options;
 *     holdfast_options_init(&options);
 *     options.flags = HOLDFAST_CREATE;
 *
 *     holdfast_store *store;
 *     if (holdfast_open("/var/lib/myapp/sessions", &options, &store) != HOLDFAST_OK) {
 *         fprintf(stderr, "%s\n", holdfast_last_error());
 *         return 1;
 *     }
 *     holdfast_set(store, "greeting", 8, "hello", 5, 0, HOLDFAST_TTL_DEFAULT, NULL, NULL);
 *
 *     holdfast_buffer value = {0};
 *     if (holdfast_get(store, "greeting", 8, &value, NULL) == HOLDFAST_OK)
 *         fwrite(value.data, 1, value.len, stdout);
 *     holdfast_buffer_free(&value);
 *     holdfast_close(store);
 *
 * The directory must exist: install -d -m 0700 /var/lib/myapp/sessions. Link with -lholdfast, or
 * with libholdfast.a -lgcc_s -lpthread -ldl -lm. A complete program with a lock is
 * tests/examples/c/counter.c in the sources.
 *
 *
 * 3. RESULTS AND ERRORS
 *
 * Functions that can fail return an int: 0 (HOLDFAST_OK), a positive *outcome* (there is no such
 * key, somebody else has the lock: part of normal life, listed on each page), or a negative
 * *failure*. After a failure holdfast_last_error() has a sentence with the reason: path, limit,
 * errno, and where there is one the command that mends it. Show it to people, compare only the
 * numbers. Numbers are never reused; treat one that you do not know by its sign.
 *
 * Every function that takes a store or a pointer may return these, and the pages do not repeat it:
 *
 *   HOLDFAST_E_INVALID   a NULL where none is allowed, a pointer that is not aligned, a length or
 *                        a number that makes no sense, a struct_size that was not set
 *   HOLDFAST_E_PANIC     a defect in the library, caught at this boundary: nothing of the call
 *                        counts as done, and the process goes on. (Rust's panic hook runs first;
 *                        by default it prints a line to stderr. The library leaves it as it is.)
 *   and in a process that was forked since it opened the store, the failures of holdfast_open(),
 *   because its first call attaches it anew (see 8)
 *
 * and every one that reads or writes keys:
 *
 *   HOLDFAST_E_BUSY      see 6
 *   HOLDFAST_E_DAMAGED   bytes on the way to this key are not what was written. Other keys are
 *                        not affected; holdfast_set() and holdfast_delete() of this key repair it
 *   HOLDFAST_E_IO        the operating system refused something; the sentence has its reason
 *
 * An argument that is refused is refused before anything is done. Results are written through
 * pointers on HOLDFAST_OK, and for other outcomes only where the page says so.
 *
 *
 * 4. OWNERSHIP
 *
 * What you pass in (keys, values, options, addresses) stays yours: it is read during the call and
 * not kept. It must not change during the call.
 * What you get is written into memory of yours. Only holdfast_open() and holdfast_buffer hand out
 * memory of the library: give it back with holdfast_close() and holdfast_buffer_free(), never with
 * free(). A buffer is used again and again, so that reading allocates nothing once it has grown to
 * the size of your values. Strings that the library returns are static, except the one of
 * holdfast_last_error(), which lives until this thread's next call.
 * Structs that begin with struct_size: set it to sizeof before each call, also where the library
 * fills in the rest. It is how a program that was compiled long ago works with a library of today.
 *
 *
 * 5. SESSION LOCKS
 *
 * A session lock gives one owner at a time the right to work on a key; waiters are served in the
 * order in which they came. It needs no value to exist. It stops nobody who does not ask for it:
 * reads and writes without a lock pass. Writes, touches and deletes that are given the lock do
 * their work only while it is still held, and report HOLDFAST_LOST otherwise. This
 * closes the hole that every lock with a time limit has: an owner that slept too long cannot
 * overwrite the work of the next one.
 *
 * The owner is a process together with a cookie of its choice: one cookie per request, connection
 * or fibre, random or counted. The same cookie in the same process re-enters at once, through any
 * handle and from any thread; there is no counting, one release frees it. A lock ends when it is
 * released, when its process ends in whatever way (the kernel tells, at once), when the process
 * closes its last handle of the store, or when a waiter breaks its lease. It does not end with
 * the thread that took it.
 *
 * A value can have an owner, a name that many values carry ("user:42"): holdfast_end_owner() ends
 * them all in one step, and no lock taken before can bring them back.
 *
 *
 * 6. WHAT BLOCKS, AND FOR HOW LONG
 *
 *   reads           never wait for anybody, except after being overtaken several times in a row
 *                   by writers of the same key; then as writes
 *   writes          for another writer of the same part of the index, under a microsecond. In
 *                   HOLDFAST_SYNC_ALWAYS also for the disk. If the other writer is *stopped* in the
 *                   middle (SIGSTOP, debugger, frozen cgroup), up to operation_timeout_ms and then
 *                   HOLDFAST_E_BUSY; if it is dead, for about a millisecond
 *   scan, range     as reads; they pass over all keys at millions a second and hold up nobody
 *   session locks   as long as you say (timeout_ms), ended early by the stop callback
 *   open            for a process that creates or rebuilds the store, up to open_timeout_ms, and
 *                   for a rebuild of its own after a power loss, at the speed of the disk
 *   sync, close     for the disk, and so do changes of the options, flushes and the end of an owner
 *
 * A page fault on the store's files may wait for the disk at any time, like any memory.
 *
 *
 * 7. THREADS
 *
 * Any number of threads may use one handle at the same time, for everything but holdfast_close():
 * when that is called no other thread may be in a call with this handle or start one. A
 * holdfast_buffer, and every struct that a call writes to, belongs to one call at a time.
 * Nothing is bound to the thread that made it, except the sentence of holdfast_last_error().
 *
 * The library starts a thread in your process (named "holdfast", all signals blocked) at the first
 * write after a while: it syncs in periodic mode, reclaims what has expired and moves what is alive together. It ends when there
 * is nothing to do, at the latest with the last holdfast_close(), which waits for it.
 * HOLDFAST_NO_THREAD forbids it.
 *
 * No call is safe inside a signal handler, and none is a cancellation point that you can rely on:
 * do not cancel threads in calls.
 *
 *
 * 8. PROCESSES AND FORK
 *
 * A process attaches to a store once, however often it opens it: handles share the attachment, and
 * closing the last one ends it. There is nothing before the first open: no thread, no file, no
 * lock. A handle holds about six file descriptors, all close-on-exec.
 *
 * fork() is safe at any time, in programs with threads too. In the child the handles work: its
 * first call attaches the child in its own name, and may fail as holdfast_open() may. The child has
 * none of its parent's locks, and the death of the parent is seen by others although the child
 * lives. The child closes its copies of the handles like any others, or leaves them to its end.
 * A child made by vfork(), clone() or a raw system call without the handlers of pthread_atfork()
 * must not use the store before it calls exec.
 *
 * Open the store after the process has become what it stays: after daemonising (a loop that closes
 * "all" descriptors takes the store's too; that is noticed within a second, and costs the session
 * locks held), after setuid, after unshare.
 *
 *
 * 9. CAVEATS LEARNT IN THE FIELD
 *
 * - Only local filesystems: ext4, xfs, btrfs, f2fs, tmpfs, overlayfs on these. NFS, SMB, FUSE, 9p,
 *   virtiofs and what is not known are refused, because their shared mappings differ from machine
 *   to machine. HOLDFAST_FORCE_FILESYSTEM is for a filesystem that you know better. On a tmpfs a
 *   reboot loses everything, and the statistics say so.
 * - One kernel: a directory that is in use on another machine, or in another virtual machine by a
 *   shared disk, is refused. Containers of one machine may share it, whatever their PID, mount and
 *   user namespaces; a foreign *time* namespace is refused. Share the directory itself with them
 *   (a bind mount, a volume): a copy in each image layer is a different store.
 * - SIGBUS: the files are mapped. If somebody truncates one while it is in use (an editor, rsync
 *   --inplace, "> data"), or the medium fails to give a page, the next access kills the process
 *   with SIGBUS; no library can turn that into an error without taking over your signal handlers.
 *   A full disk does not: space is allocated before it is touched. Do not replace, restore or copy
 *   the files while a process has the store open: that is what holdfast_backup() is for.
 * - Deleting the directory under running processes: they go on with what they have mapped until
 *   they close it; a new open makes or finds another store.
 * - Owner and mode: a directory of your own with mode 0700, or of a group with mode 2770. One that
 *   lets others in is refused, and so is a symbolic link: whoever can write there is your user.
 * - Memory: mapped pages belong to the page cache. A container's limit is charged for the pages
 *   that it touches first, and the kernel takes them back under pressure: resident memory in
 *   process lists overstates the use. The statistics tell what is in memory, index and data apart,
 *   and holdfast_trim_memory() lets go of old data. Address space is reserved for max_bytes at open, so
 *   RLIMIT_AS ("ulimit -v") must leave room for it.
 * - Core dumps do not contain the store's mappings, but they do contain your buffers.
 * - Clocks: lifetimes run on a clock that only goes forward, also through a suspend. Setting the
 *   wall clock while processes run changes no lifetime.
 * - Error sentences contain paths, numbers and limits, never keys or values.
 * - dlclose() does nothing (the library is linked with -z nodelete): its fork handlers and its
 *   thread cannot be taken away.
 * - In a shared object that contains libholdfast.a, link with -Wl,--exclude-libs,libholdfast.a, so
 *   that two such objects in one process do not mix.
 *
 *
 * 10. VERSIONS OF THIS INTERFACE
 *
 * The shared library is libholdfast.so.0. Functions, parameters and numbers of this header stay as
 * they are as long as HOLDFAST_ABI_VERSION does; later versions add functions, and fields at the
 * end of structs that begin with struct_size. An older program's smaller struct is read and written
 * only as far as it goes. A newer program's larger one is accepted as long as the fields that this
 * library does not know are 0 (else HOLDFAST_E_UNSUPPORTED); where the library writes, it leaves
 * such fields as they were, so set them to 0 before. Fields named "reserved" must be 0.
 */


#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of this interface. It stays as long as programs compiled against older headers work
 * unchanged. holdfast_abi_version() is that of the library loaded.
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

/** Outcome: a callback ended the wait, the scan or the page. */
#define HOLDFAST_STOPPED 4

/** Outcome: the lock passed is no longer held (its lease was broken): nothing was written. */
#define HOLDFAST_LOST 5

/** Outcome: max_waiters already wait for the lock. */
#define HOLDFAST_CROWDED 6

/** Outcome: increment, decrement: the value is not a number. */
#define HOLDFAST_NOT_A_NUMBER 7

/** Failure: an argument that no store could accept. */
#define HOLDFAST_E_INVALID (-1)

/** Failure: the value is longer than max_value_bytes of this store. */
#define HOLDFAST_E_TOO_LARGE (-2)

/**
 * Failure: no room within max_bytes of this store. What is stored stays; deletes still work, and
 * what they give back is room again after a moment.
 */
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

/**
 * Failure: no memory for something whose size follows from the call or from the store. (Without the
 * few kilobytes of constant size that a call may want, the process ends.)
 */
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

/** holdfast_options.flags: a new store hashes keys with SipHash-1-3: for keys from strangers. */
#define HOLDFAST_SIPHASH 16

/**
 * holdfast_options.flags: a full new store drops old values that nobody reads, as a cache does,
 * instead of refusing new ones. Not for sessions that somebody still needs.
 */
#define HOLDFAST_EVICT 64

/**
 * holdfast_options.flags: a new store compresses values (LZ4) of 512 bytes and more where that
 * saves at least an eighth: less disk and page cache for some time of the processor's. Lengths,
 * max_value_bytes too, are those of the values as you know them.
 */
#define HOLDFAST_COMPRESS 32

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

/** The cursor of a scan that has seen everything. (One that begins is 0.) */
#define HOLDFAST_SCAN_DONE UINT64_MAX

/** Flag of scan and range options: read the values too. */
#define HOLDFAST_VALUES 1

/** holdfast_range_options.flags: the last keys first. */
#define HOLDFAST_REVERSE 2

/** holdfast_range_options.flags: begin behind `from`, not with it. */
#define HOLDFAST_FROM_EXCLUDED 4

/** holdfast_range_options.flags: end with `to`, not before it. */
#define HOLDFAST_TO_INCLUDED 8

/**
 * A ttl_ms of holdfast_change: the end of the present value's life stays; where there is no value,
 * the store's default lifetime.
 */
#define HOLDFAST_TTL_KEEP (-2)

/** holdfast_write_options.expect: whatever is there. */
#define HOLDFAST_EXPECT_ANY 0

/** holdfast_write_options.expect: that there is no value, as holdfast_add() does. */
#define HOLDFAST_EXPECT_ABSENT 1

/** holdfast_write_options.expect: that there is a value, as holdfast_replace() does. */
#define HOLDFAST_EXPECT_PRESENT 2

/** holdfast_write_options.expect: that it has the version `expected`, as holdfast_cas() does. */
#define HOLDFAST_EXPECT_VERSION 3

/**
 * write_flags: on the disk when the call returns, whatever the sync mode of the store; one
 * fdatasync for all that wait.
 */
#define HOLDFAST_WRITE_SYNC 1

/** Returned by a holdfast_update_fn: what is there stays, or stays absent. */
#define HOLDFAST_UPDATE_KEEP 0

/** Returned by a holdfast_update_fn: there is the value in `change` from now on. */
#define HOLDFAST_UPDATE_WRITE 1

/** Returned by a holdfast_update_fn: there is no value from now on. */
#define HOLDFAST_UPDATE_DELETE 2

/** holdfast_care.flags of holdfast_repair(): only say what would be done. */
#define HOLDFAST_DRY_RUN 1

/** holdfast_care.flags of holdfast_backup(): read the copy back when it is done, and compare. */
#define HOLDFAST_READ_BACK 2

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
 * How holdfast_write() and its like work. All zero but `struct_size` = as holdfast_set() with the
 * store's default lifetime.
 */
typedef struct holdfast_write_options {
    /** sizeof(holdfast_write_options). */
    size_t struct_size;
    /** 32 bits of yours, given back by reads. */
    uint32_t flags;
    /** HOLDFAST_EXPECT_... */
    uint32_t expect;
    /** The version for HOLDFAST_EXPECT_VERSION, else 0. */
    uint64_t expected;
    /** Lifetime in milliseconds, HOLDFAST_TTL_DEFAULT or HOLDFAST_TTL_NEVER. */
    int64_t ttl_ms;
    /** NULL, or a lock of this key: nothing is written unless it is still held. */
    const struct holdfast_lock *lock;
    /** HOLDFAST_WRITE_SYNC or 0. */
    uint32_t write_flags;
    /** 0. */
    uint32_t reserved;
    /**
     * The name of the value's owner, see holdfast_end_owner(); NULL leaves a present value its
     * owner, and gives a new one none. Not for holdfast_increment() and holdfast_decrement().
     */
    const void *owner;
    /** 1 to 255 bytes, or 0 with NULL. */
    size_t owner_len;
} holdfast_write_options;

/**
 * What a holdfast_update_fn makes of a value. The library sets it up before each call: no value,
 * the flags that are there (else 0), HOLDFAST_TTL_KEEP.
 */
typedef struct holdfast_change {
    /** sizeof(holdfast_change) in the library that is loaded. */
    size_t struct_size;
    /** The new value; may be NULL when `value_len` is 0. Copied when the function returns. */
    const void *value;
    /** Its length, bytes. */
    size_t value_len;
    /** Its lifetime as for holdfast_set(), or HOLDFAST_TTL_KEEP. */
    int64_t ttl_ms;
    /** 32 bits of yours. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
} holdfast_change;

/**
 * Computes what is to become of a value, for holdfast_update().
 *
 * `value`, `value_len` and `item` are what is there, for the time of the call; `item` is NULL if
 * there is nothing. It returns HOLDFAST_UPDATE_KEEP, HOLDFAST_UPDATE_WRITE with the new value in
 * `change`, or HOLDFAST_UPDATE_DELETE.
 *
 * It must only compute, and quickly: it may be called more than once, and the writers of a 256th
 * of the keys wait for it. It must not call this library, which would wait for itself: noticed,
 * that is HOLDFAST_E_INVALID, else HOLDFAST_E_BUSY after the operation timeout. It must return:
 * longjmp(), a C++ exception or the cancellation of the thread would leave all those waiting, and
 * is undefined behaviour.
 */
typedef int (*holdfast_update_fn)(void *context,
                                  const void *value,
                                  size_t value_len,
                                  const struct holdfast_item *item,
                                  struct holdfast_change *change);

/** A key for holdfast_get_many(). Never grows. */
typedef struct holdfast_key {
    /** Its first byte. */
    const void *data;
    /** 1 to 1024 bytes. */
    size_t len;
} holdfast_key;

/**
 * Called by holdfast_get_many() for each key, the `index`th of those asked for.
 *
 * `result` is what holdfast_get() would have returned. On HOLDFAST_OK there are the value and what
 * is known of it, for the time of the call; else `value` and `item` are NULL. After a failure
 * holdfast_last_error() has its sentence. It may call this library, except holdfast_close() on the
 * store. It must return: no longjmp(), no C++ exception.
 */
typedef void (*holdfast_found_fn)(void *context,
                                  size_t index,
                                  int result,
                                  const void *value,
                                  size_t value_len,
                                  const struct holdfast_item *item);

/** One write of several for holdfast_set_many(). Set all to zero first, then `struct_size`. */
typedef struct holdfast_batch_item {
    /** sizeof(holdfast_batch_item). */
    size_t struct_size;
    /** First byte of the key. */
    const void *key;
    /** 1 to 1024 bytes. */
    size_t key_len;
    /** First byte of the value; may be NULL when `value_len` is 0. */
    const void *value;
    /** 0 to max_value_bytes of the store. */
    size_t value_len;
    /** As for holdfast_write(); may be NULL, and the same for several items. */
    const struct holdfast_write_options *options;
    /** Written by the call: the version stored, or the one that is there. */
    uint64_t version;
    /** Written by the call: HOLDFAST_OK, another outcome, or a failure. */
    int result;
    /** 0. */
    uint32_t reserved;
} holdfast_batch_item;

/**
 * A key and what is known of its value, as a scan or a range gives it. Made by the library, which
 * sets `struct_size`; all of it is valid until the callback returns. Key and value end where their
 * lengths say, not with a NUL.
 */
typedef struct holdfast_entry {
    /** The size of the struct in the library that is loaded: later ones may have more fields. */
    size_t struct_size;
    /** The key. */
    const void *key;
    /** Its length, bytes. */
    size_t key_len;
    /** The value; NULL without HOLDFAST_VALUES. */
    const void *value;
    /** Bytes at `value`; 0 without HOLDFAST_VALUES. */
    size_t value_len;
    /** Version, lifetime, length of the value, flags. Never NULL. */
    const struct holdfast_item *item;
} holdfast_entry;

/**
 * Called with each entry of a page, or, as a filter, asked whether it is wanted.
 *
 * It runs on the calling thread, and nothing of the store is held meanwhile, so it may call this
 * library, on the same store too, except holdfast_close() on it. It must return: see
 * holdfast_stop_fn.
 */
typedef int (*holdfast_entry_fn)(void *context, const struct holdfast_entry *entry);

/** What a page of a scan gives. All zero but `struct_size` = a thousand keys without values. */
typedef struct holdfast_scan_options {
    /** sizeof(holdfast_scan_options). */
    size_t struct_size;
    /** Only keys that begin with these bytes; the others are read, but not given. */
    const void *prefix;
    /** Length of `prefix`, bytes; 0 = all keys. */
    size_t prefix_len;
    /** Entries in the page at most; 0 = 1000. */
    uint64_t limit;
    /** HOLDFAST_VALUES or 0. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
    /**
     * Only entries for which it returns other than 0; may be NULL. It is asked before the value
     * is read, which an entry that is not wanted saves, and again after.
     */
    holdfast_entry_fn filter;
    /** Passed to `filter`, otherwise untouched. */
    void *filter_context;
} holdfast_scan_options;

/** What a page came to. Set `struct_size` before the call. */
typedef struct holdfast_page {
    /** sizeof(holdfast_page). */
    size_t struct_size;
    /** Entries given to the callback. */
    uint64_t given;
    /** Records that are not what was written; they were passed over, and their keys cannot be told. */
    uint64_t damaged;
} holdfast_page;

/** What a page of a range gives. All zero but `struct_size` = the first thousand keys of all. */
typedef struct holdfast_range_options {
    /** sizeof(holdfast_range_options). */
    size_t struct_size;
    /** Where it begins; NULL = with the first key. */
    const void *from;
    /** Length of `from`, bytes. */
    size_t from_len;
    /** Where it ends, before this key unless HOLDFAST_TO_INCLUDED; NULL = with the last key. */
    const void *to;
    /** Length of `to`, bytes. */
    size_t to_len;
    /** Of these only keys that begin with these bytes. */
    const void *prefix;
    /** Length of `prefix`, bytes; 0 = all. */
    size_t prefix_len;
    /** Entries in the page at most; 0 = 1000, at most 10000. */
    uint64_t limit;
    /** HOLDFAST_VALUES, HOLDFAST_REVERSE, HOLDFAST_FROM_EXCLUDED, HOLDFAST_TO_INCLUDED, or-ed. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
} holdfast_range_options;

/**
 * Called by holdfast_owner_keys() with each key; the bytes are there for the time of the call.
 * Another result than 0 ends it. It may call this library, except holdfast_close() on the store.
 * It must return: no longjmp(), no C++ exception.
 */
typedef int (*holdfast_owned_key_fn)(void *context, const void *key, size_t key_len);

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
 * The options of a store, the same for all who have it open; and what to change of them, where 0
 * leaves a field as it is. Set `struct_size` before each call.
 */
typedef struct holdfast_config {
    /** sizeof(holdfast_config). */
    size_t struct_size;
    /** HOLDFAST_SYNC_NONE, HOLDFAST_SYNC_PERIODIC or HOLDFAST_SYNC_ALWAYS. */
    uint32_t sync;
    /** How many processes may have the store open at once. */
    uint32_t max_processes;
    /** In HOLDFAST_SYNC_PERIODIC: milliseconds that a power loss may cost; at most a day. */
    uint64_t sync_interval_ms;
    /** Cap of the data on disk, bytes. */
    uint64_t max_bytes;
    /** Longest value, bytes. */
    uint64_t max_value_bytes;
    /** Lifetime of what is stored with HOLDFAST_TTL_DEFAULT, milliseconds; -1 = for ever. */
    int64_t default_ttl_ms;
    /** No lifetime is longer than this, milliseconds; -1 = no bound. */
    int64_t max_ttl_ms;
    /** The max_bytes that waits for the store to be closed by all; 0 = none waits. Read only. */
    uint64_t pending_max_bytes;
    /** The max_processes that waits in the same way; 0 = none waits. Read only. */
    uint32_t pending_max_processes;
    /** 1 = values are stored as they are, 2 = compressed where that makes them smaller. */
    uint32_t compress;
    /** 1 = a full store refuses new values, 2 = it drops old ones that nobody reads. */
    uint32_t evict;
    /** 0. */
    uint32_t reserved;
} holdfast_config;

/**
 * Called during long work with the bytes that are done and that there are. Another result than 0
 * ends the work with HOLDFAST_STOPPED. It runs on the calling thread and may call this library,
 * except holdfast_close() on the store at work. It must return: no longjmp(), no C++ exception.
 */
typedef int (*holdfast_progress_fn)(void *context, uint64_t done, uint64_t total);

/** Something that is not as it was written. It and its strings live until the callback returns. */
typedef struct holdfast_finding {
    /** sizeof(holdfast_finding) of the library. */
    size_t struct_size;
    /** "super", "data", "index" or "meta". */
    const char *file;
    /** Where in it, bytes. */
    uint64_t offset;
    /** In which segment of `data`; -1 = in none. */
    int64_t segment;
    /** What is wrong. */
    const char *what;
    /** What follows from it. */
    const char *consequence;
    /** What to do. */
    const char *remedy;
} holdfast_finding;

/**
 * Called with each finding, of which at most 1000 are given. The rules of holdfast_progress_fn
 * hold, but for the result, which it has not.
 */
typedef void (*holdfast_finding_fn)(void *context, const struct holdfast_finding *finding);

/** How to check, copy and mend a store. All zero but `struct_size` is fine, and so is NULL for it. */
typedef struct holdfast_care {
    /** sizeof(holdfast_care). */
    size_t struct_size;
    /** HOLDFAST_DRY_RUN, HOLDFAST_READ_BACK, HOLDFAST_FORCE_FILESYSTEM (of a repair), or-ed. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
    /** Told how far the work is; may be NULL. */
    holdfast_progress_fn progress;
    /** Told what is wrong; may be NULL. */
    holdfast_finding_fn finding;
    /** Passed to both, otherwise untouched. */
    void *context;
} holdfast_care;

/** What holdfast_verify() found. Set `struct_size` before the call. */
typedef struct holdfast_verified {
    /** sizeof(holdfast_verified). */
    size_t struct_size;
    /** How much is wrong; 0 = the store is whole. */
    uint64_t findings;
    /**
     * 1 = every record was found to be current or to have a newer one. 0: that was not looked
     * for, because writers needed the room that the check held back.
     */
    uint64_t reachability_checked;
    /** Segments of the store. */
    uint64_t segments;
    /** Those that hold nothing. */
    uint64_t segments_free;
    /** Records in the log. */
    uint64_t records;
    /** Their bytes. */
    uint64_t record_bytes;
    /** Those that can be read by their key. */
    uint64_t live;
    /** Their bytes. */
    uint64_t live_bytes;
    /** Current ones whose lifetime is over, or that were flushed. */
    uint64_t expired;
    /** Their bytes. */
    uint64_t expired_bytes;
    /** Records that say that a key is gone. */
    uint64_t tombstones;
    /** Their bytes. */
    uint64_t tombstone_bytes;
    /** Replaced, deleted or dropped ones. */
    uint64_t dead;
    /** Their bytes. */
    uint64_t dead_bytes;
    /** Of the dead: those that do not hold. A power loss leaves such; no key leads to them. */
    uint64_t debris;
    /** Slots of the index that are in use. */
    uint64_t keys;
    /** What the counter in the statistics says of them, which deaths may leave a little off. */
    uint64_t keys_counted;
    /** What the counter says of the bytes of current records. */
    uint64_t live_bytes_counted;
} holdfast_verified;

/** What holdfast_backup() made. Set `struct_size` before the call. */
typedef struct holdfast_backed_up {
    /** sizeof(holdfast_backed_up). */
    size_t struct_size;
    /** Everything up to this version is in it. */
    uint64_t version;
    /** Store time of that moment, unix milliseconds. */
    uint64_t taken_ms;
    /** Records copied, current or not. */
    uint64_t records;
    /** Their bytes. */
    uint64_t record_bytes;
    /** Bytes written to the copy. */
    uint64_t bytes;
    /** Current values that could not be read; the copy says that their keys are gone. */
    uint64_t damaged;
    /** Segments that are not in the copy because their header is damaged: repair the store. */
    uint64_t segments_damaged;
    /** How often it began anew because writers needed the room. */
    uint64_t restarts;
} holdfast_backed_up;

/** What holdfast_restore() did. Set `struct_size` before the call. */
typedef struct holdfast_restored {
    /** sizeof(holdfast_restored). */
    size_t struct_size;
    /** The version up to which the backup has everything. */
    uint64_t version;
    /** Store time of that moment, unix milliseconds. */
    uint64_t taken_ms;
    /** Bytes written. */
    uint64_t bytes;
} holdfast_restored;

/** What holdfast_repair() did, or would do. Set `struct_size` before the call. */
typedef struct holdfast_repaired {
    /** sizeof(holdfast_repaired). */
    size_t struct_size;
    /** How much was wrong. */
    uint64_t findings;
    /** 1 = a copy of `super` was replaced by the other. */
    uint64_t super_rewritten;
    /** Segments that got their header back. */
    uint64_t headers_mended;
    /** Pieces of `data` that could not be read and were dropped. */
    uint64_t pieces_dropped;
    /** Their bytes. */
    uint64_t bytes_dropped;
    /** Of them: current values whose key is known, so that no older value takes their place. */
    uint64_t keys_deleted;
    /** 1 = index and meta were made anew. */
    uint64_t rebuilt;
    /** The file in the store's directory with what was dropped; empty = none. */
    char dropped_file[64];
} holdfast_repaired;

/** What of a store could be given back. Set `struct_size` before the call. */
typedef struct holdfast_space {
    /** sizeof(holdfast_space). */
    size_t struct_size;
    /** Bytes of whole segments that would be free if what is live were packed together. */
    uint64_t bytes;
    /** Size of a segment, bytes. */
    uint64_t segment_bytes;
    /** Segments in use. */
    uint64_t segments_used;
    /** Segments free. */
    uint64_t segments_free;
    /** Current records that have not expired; a quick look does not count records. */
    uint64_t live;
    /** Their bytes; in a quick look with those that have expired. */
    uint64_t live_bytes;
    /** Current records that have expired or were flushed; 0 in a quick look. */
    uint64_t expired;
    /** Their bytes. */
    uint64_t expired_bytes;
    /** Records that say that a key is gone, some of which are still needed; 0 in a quick look. */
    uint64_t tombstones;
    /** Their bytes. */
    uint64_t tombstone_bytes;
    /** Replaced, deleted or dropped records; 0 in a quick look. */
    uint64_t dead;
    /** Their bytes; in a quick look all that is not live. */
    uint64_t dead_bytes;
    /** Segments in use by the share of their bytes that is live: below 10 %, below 20 %, ... */
    uint64_t by_share[10];
} holdfast_space;

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
    /** 1 = values are compressed where that saves space, see HOLDFAST_COMPRESS. */
    uint64_t compress;
    /** Bytes on disk of all files together: less than their lengths where space was given back. */
    uint64_t disk_bytes;
    /** Bytes of records that callers wrote. */
    uint64_t written_bytes;
    /** Bytes of records that were moved so that the space between them could be used again. */
    uint64_t moved_bytes;
    /** Segments that were emptied and given back. */
    uint64_t segments_emptied;
    /** 1 = a full store drops old values that nobody reads, see HOLDFAST_EVICT. */
    uint64_t evict;
    /** Values dropped for that reason before they had expired. */
    uint64_t evicted;
    /** Bytes of the control words (the file `meta`). */
    uint64_t meta_bytes;
    /**
     * Of data_bytes those that are in memory (the page cache), whichever process brought them
     * there; of a large file a sample of its pages stands for all. See holdfast_trim_memory().
     */
    uint64_t data_resident_bytes;
    /** The same of index_bytes. */
    uint64_t index_resident_bytes;
    /** The same of meta_bytes. */
    uint64_t meta_resident_bytes;
} holdfast_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Sets `struct_size` and makes everything else 0, which is the default of each field.
 * NULL is allowed and does nothing. Never fails, never blocks.
 */
void holdfast_options_init(struct holdfast_options *options);

/**
 * Opens the store in the directory `address`.
 *
 * Parameters
 * - `address`: path of the directory, absolute or relative to the present working directory (which
 *   may change later), or such a path after "file://"; a string of less than 4096 bytes. Not kept.
 * - `options`: NULL for the defaults. Not kept.
 * - `store`: where the handle goes; NULL is written there first, so that it is NULL after a
 *   failure.
 *
 * Opening a store that this process has open already, under whatever path, gives a handle of its
 * own on the same attachment; the options of the first opening stay in force then.
 *
 * Results
 * - HOLDFAST_OK.
 * - HOLDFAST_E_NO_STORE: the directory does not exist, or holds no store and HOLDFAST_CREATE was
 *   not given.
 * - HOLDFAST_E_REFUSED: owner, group, mode, a symbolic link, the filesystem, another kernel.
 * - HOLDFAST_E_FORMAT, HOLDFAST_E_DAMAGED: what is there is no store, is of a newer format, or is
 *   incomplete. It is left as it is: no empty store is ever made over an old one.
 * - HOLDFAST_E_BUSY: another process creates or rebuilds it for longer than open_timeout_ms.
 * - HOLDFAST_E_TOO_MANY: max_processes have it open, or this process has 256 stores open.
 * - HOLDFAST_E_NO_SPACE, HOLDFAST_E_READ_ONLY, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_IO.
 * - HOLDFAST_E_UNSUPPORTED: a flag or a field of a newer version, or an address with a scheme of
 *   which this version has no engine.
 *
 * The handle is the caller's until holdfast_close(). May block, see 6. Any thread; threads that
 * open at the same time do so one after the other.
 */
int holdfast_open(const char *address,
                  const struct holdfast_options *options,
                  struct holdfast_store **store);

/**
 * Closes a handle and frees it. NULL is allowed and does nothing.
 *
 * The last handle that this process has of a store ends the attachment: session locks that the
 * process still holds are free for others. If no other process has the store open, everything is
 * synced, so that the next start needs no rebuild even after a reboot. A process that ends without
 * this call loses nothing either; only that rebuild may be due.
 *
 * No thread may be in a call with this handle or use it afterwards. May block for the disk. In the
 * child of a fork it concerns the child alone. Reports nothing.
 */
void holdfast_close(struct holdfast_store *store);

/**
 * Frees the memory of a buffer and makes it all zero, ready to be used again.
 *
 * NULL and a buffer that is all zero are allowed. The buffer itself stays the caller's. Needs no
 * open store; never blocks. One that is plainly no buffer of the library is left alone.
 */
void holdfast_buffer_free(struct holdfast_buffer *buffer);

/**
 * Drops expired values now. Nobody has to call this: a process that writes does it in the
 * background, and a full store does it before it refuses anything. It is for who wants the number,
 * or the space at a certain time.
 *
 * Parameters
 * - `max_records`: look at about so many records and stop; 0 = 4096. Call again to go on.
 * - `expired`: how many were dropped; may be NULL.
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_BUSY; HOLDFAST_E_IO; HOLDFAST_E_SYNC.
 * May block as a write does. Any thread.
 */
int holdfast_expire(struct holdfast_store *store, uint64_t max_records, uint64_t *expired);

/**
 * Moves everything that is alive together, wherever something dead lies between, and gives all free
 * disk space back to the filesystem. Nobody has to call this: space comes back in the background and
 * before a write would be refused. It is for after a peak, or before a copy of the files.
 *
 * Parameters: `given_back`: bytes of the data that are no longer in use; may be NULL.
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_SYNC, HOLDFAST_E_IO; HOLDFAST_E_BUSY.
 * Takes as long as copying what is alive, and waits for the disk; others read and write meanwhile. A
 * process that dies in here leaves nothing undone that matters. Any thread.
 */
int holdfast_compact(struct holdfast_store *store,
                     uint64_t *given_back);

/**
 * Returns when everything that was acknowledged before, by any process, is on the disk. For
 * HOLDFAST_SYNC_NONE, or before something that must not be ahead of the store.
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_SYNC, HOLDFAST_E_IO: the disk failed, see HOLDFAST_E_SYNC.
 * Blocks for the disk; callers at the same time share one fdatasync. Any thread.
 */
int holdfast_sync(struct holdfast_store *store);

/**
 * Reads a value.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `value`: a buffer, see holdfast_buffer; grown if the value does not fit.
 * - `item`: version, lifetime, flags; NULL if not wanted. Leaving it out saves a look at the clock
 *   for values that have a lifetime.
 *
 * Results
 * - HOLDFAST_OK: the value is in `value`, the rest in `item`.
 * - HOLDFAST_MISSING: no such key, or it has expired. `value->len` is 0, `item` as before.
 * - HOLDFAST_E_DAMAGED, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_BUSY, HOLDFAST_E_IO. `value->len` is 0.
 *
 * Takes no lock and never waits in the ordinary case, see 6. Any thread, with a buffer of its own.
 */
int holdfast_get(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 struct holdfast_buffer *value,
                 struct holdfast_item *item);

/**
 * Reads a value and gives it a new lifetime: holdfast_get() and then holdfast_touch() without a
 * lock.
 *
 * Parameters: as for both. `item` has the version that was read and the lifetime given: a lifetime
 * that became shorter has also made a new version, see holdfast_touch(). A write of somebody else
 * between the two is touched and not undone.
 *
 * Results: those of both. HOLDFAST_OK: read and touched. HOLDFAST_MISSING: neither.
 * May block as a write does. Any thread, with a buffer of its own.
 */
int holdfast_get_touch(struct holdfast_store *store,
                       const void *key,
                       size_t key_len,
                       int64_t ttl_ms,
                       struct holdfast_buffer *value,
                       struct holdfast_item *item);

/**
 * Looks whether there is a value, without reading it.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `item`: version, lifetime, flags and length; NULL if not wanted.
 *
 * Results: HOLDFAST_OK, `item` is written; HOLDFAST_MISSING; HOLDFAST_E_DAMAGED, HOLDFAST_E_BUSY,
 * HOLDFAST_E_IO. Damage in the bytes of the value is only found by reading it.
 * Waits as holdfast_get() does. Any thread.
 */
int holdfast_exists(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    struct holdfast_item *item);

/**
 * Stores a value, whatever was there.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `value`, `value_len`: 0 to max_value_bytes of the store; `value` may be NULL when `value_len`
 *   is 0. An empty value is a value: it is found again.
 * - `flags`: 32 bits of yours, given back by reads.
 * - `ttl_ms`: lifetime in milliseconds, HOLDFAST_TTL_DEFAULT or HOLDFAST_TTL_NEVER. The store's
 *   max_ttl_ms shortens what is longer.
 * - `lock`: NULL, or a lock of this key: nothing is written unless it is still held. A lock that
 *   is all zero is never held.
 * - `version`: the version stored; may be NULL.
 *
 * Results
 * - HOLDFAST_OK: stored; `version` is written. In HOLDFAST_SYNC_ALWAYS it is on the disk.
 * - HOLDFAST_LOST: the lock is no longer held. Nothing was written.
 * - HOLDFAST_E_TOO_LARGE: longer than max_value_bytes.
 * - HOLDFAST_E_FULL: no room even after what has expired was dropped; HOLDFAST_E_NO_SPACE: the
 *   filesystem is full before max_bytes is reached. The old value stays.
 * - HOLDFAST_E_SYNC: the disk failed once; writes are refused until all have reopened the store.
 * - HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_READ_ONLY, HOLDFAST_E_NO_MEMORY.
 *
 * After HOLDFAST_E_SYNC or HOLDFAST_E_IO in HOLDFAST_SYNC_ALWAYS, others may see the new value
 * although nobody can say whether it survives a power loss. After any other failure nothing
 * changed. May block, see 6. Any thread.
 */
int holdfast_set(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 const struct holdfast_lock *lock,
                 uint64_t *version);

/**
 * Stores a value if there is none; what has expired counts as none.
 *
 * Parameters: as for holdfast_set().
 *
 * Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_EXISTS: there is a value,
 * `version` is the version that it has. The failures of holdfast_set(), and HOLDFAST_E_DAMAGED
 * when nobody can say whether there is one. May block as holdfast_set() does. Any thread. Of
 * several at the same time, exactly one succeeds.
 */
int holdfast_add(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 uint64_t *version);

/**
 * Stores a value if there is one already; what has expired counts as none.
 *
 * Parameters: as for holdfast_set().
 *
 * Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_MISSING: there is none to
 * replace. The failures of holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_set()
 * does. Any thread.
 */
int holdfast_replace(struct holdfast_store *store,
                     const void *key,
                     size_t key_len,
                     const void *value,
                     size_t value_len,
                     uint32_t flags,
                     int64_t ttl_ms,
                     uint64_t *version);

/**
 * Stores a value if the present one has the version `expected`: nobody wrote since it was read.
 *
 * Parameters: as for holdfast_set(); `expected` is the `version` of a holdfast_item or of an
 * earlier store. 0 is the version of nothing.
 *
 * Results: HOLDFAST_OK: stored, `version` is the new one. HOLDFAST_EXISTS: another version is
 * there, `version` is that one. HOLDFAST_MISSING: there is no value. The failures of
 * holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_set() does. Any thread.
 */
int holdfast_cas(struct holdfast_store *store,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 uint32_t flags,
                 int64_t ttl_ms,
                 uint64_t expected,
                 uint64_t *version);

/**
 * Gives a value a new lifetime, counted from now. Bytes, flags and, unless the lifetime becomes
 * shorter, the version stay.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `ttl_ms`: as for holdfast_set().
 * - `lock`: as for holdfast_set().
 *
 * Results: HOLDFAST_OK; HOLDFAST_MISSING: nothing there, nothing was made; HOLDFAST_LOST: the lock
 * is no longer held, nothing was changed. Longer lifetimes need no room; a shorter one may fail as
 * holdfast_set() may. HOLDFAST_E_DAMAGED, HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO. May
 * block as holdfast_set() does; about ten times cheaper. Any thread.
 */
int holdfast_touch(struct holdfast_store *store,
                   const void *key,
                   size_t key_len,
                   int64_t ttl_ms,
                   const struct holdfast_lock *lock);

/**
 * Deletes a value.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `lock`: as for holdfast_set(). Deleting does not release it.
 *
 * Results: HOLDFAST_OK: deleted; HOLDFAST_MISSING: there was none; HOLDFAST_LOST: the lock is no
 * longer held, nothing was deleted. It works in a full store, and deletes a damaged value too.
 * HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_SPACE.
 * May block as holdfast_set() does. Any thread.
 */
int holdfast_delete(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    const struct holdfast_lock *lock);

/**
 * Deletes a value if it has the version `expected`: nobody wrote since it was read.
 *
 * Parameters: `key`, `key_len`: 1 to 1024 bytes; `expected` as for holdfast_cas().
 *
 * Results: HOLDFAST_OK: deleted; HOLDFAST_MISSING: there was none; HOLDFAST_EXISTS: another
 * version is there and stays. Failures as for holdfast_delete(), and HOLDFAST_E_DAMAGED. May block
 * as holdfast_set() does. Any thread.
 */
int holdfast_delete_version(struct holdfast_store *store,
                            const void *key,
                            size_t key_len,
                            uint64_t expected);

/**
 * Stores a value as the options say: holdfast_set(), holdfast_add(), holdfast_replace() and
 * holdfast_cas() in one, and on the disk if asked.
 *
 * Parameters
 * - `key`, `key_len`, `value`, `value_len`: as for holdfast_set().
 * - `options`: see holdfast_write_options; NULL = as holdfast_set() with the default lifetime.
 * - `version`: the version stored, or the one that is there; may be NULL.
 *
 * Results
 * - HOLDFAST_OK: stored, `version` is the new one.
 * - HOLDFAST_EXISTS: HOLDFAST_EXPECT_ABSENT and there is a value, or HOLDFAST_EXPECT_VERSION and
 *   it has another version: `version` is that one.
 * - HOLDFAST_MISSING: one was expected and there is none.
 * - HOLDFAST_LOST: the lock is no longer held.
 * - The failures of holdfast_set(); HOLDFAST_E_DAMAGED when nobody can say whether there is one.
 *
 * May block as holdfast_set() does, with HOLDFAST_WRITE_SYNC for the disk. Any thread.
 */
int holdfast_write(struct holdfast_store *store,
                   const void *key,
                   size_t key_len,
                   const void *value,
                   size_t value_len,
                   const struct holdfast_write_options *options,
                   uint64_t *version);

/**
 * Adds to a number, as one step: of many at the same time none is lost. A number is a value of 1
 * to 20 decimal digits, up to UINT64_MAX; spaces behind it do not count. The sum wraps around
 * after UINT64_MAX. Flags and the end of its life stay.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `delta`: what to add.
 * - `initial`: a number to be stored, instead of adding, if there is no value; NULL = none is
 *   made.
 * - `options`: flags and lifetime for a number that is made; condition, lock and
 *   HOLDFAST_WRITE_SYNC. NULL = none of it.
 * - `number`: the number after it; may be NULL.
 * - `version`: the version stored, or the one that is there; may be NULL.
 *
 * Results: HOLDFAST_OK: `number` and `version` are written. HOLDFAST_NOT_A_NUMBER: the value is
 * none and stays, `version` is its version. HOLDFAST_MISSING: there is no value, and none was to
 * be made or it was expected. HOLDFAST_EXISTS, HOLDFAST_LOST: as for holdfast_write(). The failures
 * of holdfast_set(), and HOLDFAST_E_DAMAGED. May block as holdfast_write() does. Any thread.
 */
int holdfast_increment(struct holdfast_store *store,
                       const void *key,
                       size_t key_len,
                       uint64_t delta,
                       const uint64_t *initial,
                       const struct holdfast_write_options *options,
                       uint64_t *number,
                       uint64_t *version);

/**
 * Takes from a number, as one step; it stops at 0. Else as holdfast_increment(). (Unlike memcached
 * no spaces are left behind a number that became shorter.)
 */
int holdfast_decrement(struct holdfast_store *store,
                       const void *key,
                       size_t key_len,
                       uint64_t delta,
                       const uint64_t *initial,
                       const struct holdfast_write_options *options,
                       uint64_t *number,
                       uint64_t *version);

/**
 * Adds bytes at the end of a value, as one step. Flags and the end of its life stay.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `bytes`, `len`: what to add; `bytes` may be NULL when `len` is 0.
 * - `lock`: as for holdfast_set().
 * - `write_flags`: HOLDFAST_WRITE_SYNC or 0.
 * - `version`: the version stored; may be NULL.
 *
 * Results: HOLDFAST_OK; HOLDFAST_MISSING: there is no value, and none was made; HOLDFAST_LOST: the
 * lock is no longer held. HOLDFAST_E_TOO_LARGE: it would be longer than max_value_bytes; the other
 * failures of holdfast_set(), and HOLDFAST_E_DAMAGED. After each of these it is as it was. May
 * block as holdfast_write() does. Any thread.
 */
int holdfast_append(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    const void *bytes,
                    size_t len,
                    const struct holdfast_lock *lock,
                    uint32_t write_flags,
                    uint64_t *version);

/** Adds bytes at the beginning of a value; else as holdfast_append(). */
int holdfast_prepend(struct holdfast_store *store,
                     const void *key,
                     size_t key_len,
                     const void *bytes,
                     size_t len,
                     const struct holdfast_lock *lock,
                     uint32_t write_flags,
                     uint64_t *version);

/**
 * Reads a value, has a function compute what is to become of it, and does that, as one step:
 * nobody else's write comes between.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `lock`: as for holdfast_set().
 * - `write_flags`: HOLDFAST_WRITE_SYNC or 0.
 * - `compute`: see holdfast_update_fn for what it may do; `context` is passed to it, otherwise
 *   untouched.
 * - `version`: the version that is there afterwards (of a delete: its own); may be NULL.
 *
 * Results
 * - HOLDFAST_OK: kept, stored or deleted, as computed.
 * - HOLDFAST_MISSING: there was no value and is none.
 * - HOLDFAST_LOST: the lock is no longer held; nothing was changed.
 * - HOLDFAST_E_INVALID: the function returned none of HOLDFAST_UPDATE_..., or a value, a lifetime or
 *   a field that makes no sense, or it called the library; HOLDFAST_E_TOO_LARGE: its value is
 *   longer than max_value_bytes. Nothing was changed.
 * - HOLDFAST_E_BUSY: also when others change a large or compressed value again and again for
 *   operation_timeout_ms.
 * - The other failures of holdfast_set(), and HOLDFAST_E_DAMAGED.
 *
 * May block as holdfast_write() does. Any thread.
 */
int holdfast_update(struct holdfast_store *store,
                    const void *key,
                    size_t key_len,
                    const struct holdfast_lock *lock,
                    uint32_t write_flags,
                    holdfast_update_fn compute,
                    void *context,
                    uint64_t *version);

/**
 * Reads several values; faster than as many calls of holdfast_get() when they are not in the
 * processor's cache. Each is a read of its own: others may write between them.
 *
 * Parameters
 * - `keys`, `count`: an array of keys of 1 to 1024 bytes each; a key may be in it twice. `keys` may
 *   be NULL when `count` is 0.
 * - `found`: called once for each key, in their order, on this thread; see holdfast_found_fn.
 * - `context`: passed to `found`, otherwise untouched.
 *
 * Results: HOLDFAST_OK: `found` was called for each, whatever became of it. A failure means that
 * it was called for none. Waits as holdfast_get() does. Any thread.
 */
int holdfast_get_many(struct holdfast_store *store,
                      const struct holdfast_key *keys,
                      size_t count,
                      holdfast_found_fn found,
                      void *context);

/**
 * Stores several values, in their order. Each is a write of its own, which succeeds or fails for
 * itself: others may see some of them stored and some not yet. In HOLDFAST_SYNC_ALWAYS, or with
 * HOLDFAST_WRITE_SYNC in the options of any of them, one wait for the disk makes all of them
 * durable.
 *
 * Parameters
 * - `items`, `count`: an array; every `struct_size` is set, and the same. `items` may be NULL when
 *   `count` is 0. `result` and `version` of each are written: what holdfast_write() would have
 *   returned and written; of one that failed, `version` is 0. holdfast_last_error() has the
 *   sentence of the last one that failed.
 *
 * Results: HOLDFAST_OK: every item has its result. A failure means that nothing was done. May
 * block as holdfast_write() does. Any thread.
 */
int holdfast_set_many(struct holdfast_store *store,
                      struct holdfast_batch_item *items,
                      size_t count);

/**
 * Gives a page of all keys to a callback, in an order that says nothing, and moves the cursor
 * behind them: begin with 0 and call it until the cursor is HOLDFAST_SCAN_DONE.
 *
 * A key that is there from the beginning of a scan to its end is given exactly once, whatever is
 * written, deleted and reclaimed meanwhile, by whomever. One that comes or goes meanwhile may be
 * given or not. What is given is whole, has passed its checksum and belongs to its key; of a key
 * that is overwritten meanwhile it is one of its values. What has expired is not given.
 *
 * Parameters
 * - `cursor`: 0 at the beginning, HOLDFAST_SCAN_DONE at the end. Every number between is a place
 *   in the scan, for the life of the store, in any process; divided by 2^64 it is the share that
 *   is done. It is moved before each entry is given: after a failure the scan can go on with it.
 * - `options`: what is given, see holdfast_scan_options; NULL = keys without values, 1000 a page.
 * - `visit`, `context`: called with each entry; another result than 0 ends the page behind it.
 * - `page`: what the page came to; may be NULL.
 *
 * Results
 * - HOLDFAST_OK: the page is over; go on until the cursor is HOLDFAST_SCAN_DONE. A page ends after
 *   `limit` entries, or after looking at that many or 10000 records, so it may give nothing while
 *   more follow.
 * - HOLDFAST_STOPPED: `visit` ended it. The cursor is behind that entry.
 * - HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_DAMAGED (the index; damaged
 *   records are passed over and counted in `page`). `page` is not written.
 *
 * Waits as holdfast_get() does, and holds up nobody. A million keys take under a second, without
 * values a third of that. Each page looks at the slots of a 256th of the index, 0.1 ms in a store
 * of ten million keys, so pages of a hundred entries or more are cheaper an entry. Memory: 8 bytes
 * for each of these slots, and one value. Any thread.
 */
int holdfast_scan(struct holdfast_store *store,
                  uint64_t *cursor,
                  const struct holdfast_scan_options *options,
                  holdfast_entry_fn visit,
                  void *context,
                  struct holdfast_page *page);

/**
 * Gives a page of a range of keys to a callback, in the order of their bytes.
 *
 * The store keeps no order of keys: each page is one pass over *all* keys, however small the
 * range, some tenths of a second for a million of them. Take large pages of few ranges; to go over
 * everything take holdfast_scan().
 *
 * Parameters
 * - `options`: which keys, see holdfast_range_options; NULL = the first 1000 of all.
 * - `visit`, `context`: called with each entry; another result than 0 ends the page behind it.
 * - `next`: a buffer, see holdfast_buffer: the last key of the page if there are more, empty if
 *   not. The next page begins behind it: make it `from` with HOLDFAST_FROM_EXCLUDED or, with
 *   HOLDFAST_REVERSE, `to`. The same buffer may be passed again then. May be NULL.
 * - `page`: what the page came to; may be NULL.
 *
 * Results: HOLDFAST_OK; HOLDFAST_STOPPED: `visit` ended it, and `next` is that entry's key. The
 * failures of holdfast_scan(); then `next` is empty, and `page` is not written.
 *
 * For the keys of a page holds what holds for those of a scan. With HOLDFAST_VALUES each is read
 * after the pass, and a key that went meanwhile is left out. Waits as holdfast_get() does, and
 * holds up nobody. Memory: `limit` keys. Any thread.
 */
int holdfast_range(struct holdfast_store *store,
                   const struct holdfast_range_options *options,
                   holdfast_entry_fn visit,
                   void *context,
                   struct holdfast_buffer *next,
                   struct holdfast_page *page);

/**
 * Counts the keys that begin with some bytes, by one pass over all keys; a key that comes or goes
 * meanwhile is counted or not. (The statistics have the number of all keys at once.)
 *
 * Parameters: `prefix`, `prefix_len`: the bytes; NULL and 0 = every key. `count`: the number.
 *
 * Results: HOLDFAST_OK; the failures of holdfast_scan(). Damaged records are not counted. Waits
 * as holdfast_get() does, and holds up nobody. Any thread.
 */
int holdfast_count_keys(struct holdfast_store *store,
                        const void *prefix,
                        size_t prefix_len,
                        uint64_t *count);

/**
 * Gives a value that is there an owner, or another one. Bytes, flags and lifetime stay; the version
 * is new. (A value can be written with its owner at once: see holdfast_write_options.)
 *
 * Every other change of a value leaves it its owner; a value that is made where there was none
 * has none.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `owner`, `owner_len`: the name, 1 to 255 bytes, any bytes: "user:42". It is no key: a value
 *   under the same bytes is another thing.
 * - `lock`: as for holdfast_set().
 * - `version`: the version stored; may be NULL.
 *
 * Results: HOLDFAST_OK; HOLDFAST_MISSING: there is no value; HOLDFAST_LOST: the lock is no longer
 * held, or the owner was ended since it was taken. The failures of holdfast_set(). May block as
 * holdfast_set() does. Any thread.
 */
int holdfast_set_owner(struct holdfast_store *store,
                       const void *key,
                       size_t key_len,
                       const void *owner,
                       size_t owner_len,
                       const struct holdfast_lock *lock,
                       uint64_t *version);

/**
 * Reads the name of a value's owner.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes.
 * - `owner`: a buffer, see holdfast_buffer.
 *
 * Results: HOLDFAST_OK: the name is in `owner`; HOLDFAST_MISSING: there is no value, or it has no
 * owner. HOLDFAST_E_DAMAGED, HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY. May block as
 * holdfast_set() does, but not for the disk. Any thread, with a buffer of its own.
 */
int holdfast_owner_of(struct holdfast_store *store,
                      const void *key,
                      size_t key_len,
                      struct holdfast_buffer *owner);

/**
 * Gives the keys of all values of an owner to a callback.
 *
 * It looks at every record of the store, about a microsecond each: for a page that somebody asks
 * for, not for each request. A key that is there from the beginning of the call to its end is
 * given exactly once; one that comes or goes meanwhile may be given or not.
 *
 * Parameters
 * - `owner`, `owner_len`: 1 to 255 bytes.
 * - `each`, `context`: called with each key; another result than 0 ends it.
 * - `count`: how many were given; may be NULL.
 *
 * Results: HOLDFAST_OK: all were given, perhaps none; HOLDFAST_STOPPED: `each` ended it.
 * HOLDFAST_E_DAMAGED: a record cannot be read, so nobody knows whether it is one; those before it
 * were given. HOLDFAST_E_BUSY, HOLDFAST_E_IO. Takes no lock and holds nobody up. Any thread.
 */
int holdfast_owner_keys(struct holdfast_store *store,
                        const void *owner,
                        size_t owner_len,
                        holdfast_owned_key_fn each,
                        void *context,
                        uint64_t *count);

/**
 * Ends an owner: "log out everywhere". Every value that it has is gone for all processes, at once
 * and for good, in one step, however many they are.
 *
 * Whoever holds a session lock from before the end can no longer write to what was ended, nor
 * write anything for this owner: those writes report HOLDFAST_LOST. (A day after the end, or
 * max_ttl_ms if that is less, such a lock may count as any other.) What is written for the owner
 * by a request that began afterwards lives.
 *
 * Parameters: `owner`, `owner_len`: 1 to 255 bytes.
 *
 * Results
 * - HOLDFAST_OK: ended; on the disk whatever the mode.
 * - HOLDFAST_MISSING: the same, and nothing was known of this owner.
 * - HOLDFAST_E_FULL, HOLDFAST_E_NO_SPACE, HOLDFAST_E_SYNC, HOLDFAST_E_BUSY, HOLDFAST_E_IO: it may
 *   have been ended for those who look now, and need not survive a power loss. Call it again.
 *
 * It works in a full store. The space of the values comes back when it is needed, or when they
 * would have expired. Waits for the disk. Any thread. A process that dies in here has ended
 * everything or nothing.
 */
int holdfast_end_owner(struct holdfast_store *store, const void *owner, size_t owner_len);

/**
 * Takes the session lock of a key, waiting as `wait` says. See 5.
 *
 * Parameters
 * - `key`, `key_len`: 1 to 1024 bytes. There need not be a value.
 * - `cookie`: names the owner within this process. With the cookie that holds the lock already the
 *   call succeeds at once and gives the same lock; nothing is counted and the lease is not
 *   renewed.
 * - `wait`: how long, with which lease, and who may stop it. Not NULL, not kept.
 * - `lock`: where the lock goes; all zero is written for the other outcomes.
 * - `holder`: who has it, written for HOLDFAST_HELD, HOLDFAST_STOPPED and HOLDFAST_CROWDED; may be
 *   NULL.
 *
 * Results
 * - HOLDFAST_OK: it is yours; pass `lock` to the writes that it is to protect.
 * - HOLDFAST_HELD: timeout_ms is over. HOLDFAST_STOPPED: the callback said so. HOLDFAST_CROWDED:
 *   max_waiters wait already.
 * - HOLDFAST_E_TOO_MANY: the table of locks or of waiters is full. HOLDFAST_E_BUSY, HOLDFAST_E_IO,
 *   HOLDFAST_E_DAMAGED. You do not have the lock, and `lock` is as it was.
 *
 * Blocks up to timeout_ms, asleep in the kernel; wakes at once when the lock comes free or its
 * holder dies. Any thread; the lock is the process's, not the thread's.
 */
int holdfast_lock_acquire(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          uint64_t cookie,
                          const struct holdfast_wait *wait,
                          struct holdfast_lock *lock,
                          struct holdfast_holder *holder);

/**
 * Starts the lease of a lock over, for work that takes long.
 *
 * Parameters: the `key` and the `lock` as they were acquired; `lease_ms`: the new lease in
 * milliseconds, 0 = none.
 *
 * Results: HOLDFAST_OK; HOLDFAST_LOST: it is no longer held, and was not taken back.
 * HOLDFAST_E_BUSY. Does not wait in the ordinary case. Any thread of the process that has the
 * lock.
 */
int holdfast_lock_renew(struct holdfast_store *store,
                        const void *key,
                        size_t key_len,
                        const struct holdfast_lock *lock,
                        int64_t lease_ms);

/**
 * Gives a lock back: the first of those that wait is woken.
 *
 * Parameters: the `key` and the `lock` as they were acquired. `*lock` is made all zero, on
 * HOLDFAST_LOST too.
 *
 * Results: HOLDFAST_OK; HOLDFAST_LOST: it was lost before (lease broken, released already, or
 * taken by the parent of this process): somebody else may have it now, and keeps it.
 * HOLDFAST_E_BUSY: it is still held, and `*lock` is as it was. Does not wait in the ordinary case.
 * Any thread of the process that has the lock.
 */
int holdfast_lock_release(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          struct holdfast_lock *lock);

/**
 * Takes the session lock of a key and reads its value, in one call: the beginning of a request.
 *
 * Parameters: as for holdfast_lock_acquire() and holdfast_get(). The stop callback must leave
 * `value` alone.
 *
 * Results
 * - HOLDFAST_OK: locked; the value is in `value`, the rest in `item`.
 * - HOLDFAST_MISSING: locked; there is no value. `value->len` is 0, `item` as before.
 * - HOLDFAST_HELD, HOLDFAST_STOPPED, HOLDFAST_CROWDED: not locked; `lock` is all zero, `holder` is
 *   written, `value->len` is 0.
 * - The failures of both: not locked. A lock that was taken, or that the cookie had before, has
 *   been released, and `lock` is all zero then.
 *
 * Blocks as holdfast_lock_acquire() does. Any thread, with a buffer of its own.
 */
int holdfast_session_open(struct holdfast_store *store,
                          const void *key,
                          size_t key_len,
                          uint64_t cookie,
                          const struct holdfast_wait *wait,
                          struct holdfast_buffer *value,
                          struct holdfast_item *item,
                          struct holdfast_lock *lock,
                          struct holdfast_holder *holder);

/**
 * Lists session locks that are held, for people and for status pages.
 *
 * Parameters
 * - `out`, `capacity`: an array of the caller's and its number of elements. Set
 *   `out[0].struct_size`; the others are filled in. NULL is allowed when `capacity` is 0.
 * - `count`: how many were written. `capacity` of them: there may be more (`locks_held` in the
 *   statistics counts them).
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_BUSY. Nothing is written then. The list is not one moment:
 * locks come and go while it is made. It latches each part of the table for some nanoseconds; a
 * few microseconds to a millisecond in all. Any thread.
 */
int holdfast_locks(struct holdfast_store *store,
                   struct holdfast_lock_info *out,
                   size_t capacity,
                   size_t *count);

/**
 * The hash under which holdfast_locks() shows a key. Differs from store to store.
 *
 * Results: never 0 but after a failure, which holdfast_last_error() explains (a key of no valid
 * length, a NULL). Never blocks. Any thread.
 */
uint64_t holdfast_key_hash(struct holdfast_store *store, const void *key, size_t key_len);

/**
 * Reads the options of the store that are in force now.
 *
 * Parameters: `out`: the caller's, with `struct_size` set; the rest is written on HOLDFAST_OK.
 *
 * Results: HOLDFAST_OK. Never blocks. Any thread.
 */
int holdfast_config_get(struct holdfast_store *store, struct holdfast_config *out);

/**
 * Changes options of the store while it is in use, for all who have it open or will open it.
 *
 * Parameters
 * - `change`: what to change, with `struct_size` set; start with all else 0, which leaves each
 *   option as it is. The pending fields are not looked at: a max_bytes or max_processes that the
 *   store has now takes back one that waits.
 * - `out`: all options after the change, with `struct_size` set; may be NULL, and may be `change`.
 *
 * max_bytes can only grow. It and max_processes take force when the store is next opened by a
 * process that finds it open nowhere: until then they stand in the pending fields; that opening
 * takes as long as a rebuild after a power loss. All else is obeyed by every process at once;
 * the thread that syncs sees a new interval within a second. Values that are there keep their
 * lifetimes, and stay although they are longer than a new max_value_bytes.
 *
 * Results
 * - HOLDFAST_OK: changed, on the disk whatever the mode. If the mode is not HOLDFAST_SYNC_NONE
 *   now, everything acknowledged before is on the disk as well.
 * - HOLDFAST_E_INVALID: out of bounds, or less max_bytes than now; nothing was changed.
 * - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO: the file that says what the store is could not be
 *   replaced. HOLDFAST_E_SYNC, HOLDFAST_E_BUSY.
 *
 * Waits for the disk. Any thread; two changes at the same time come one after the other.
 */
int holdfast_config_set(struct holdfast_store *store,
                        const struct holdfast_config *change,
                        struct holdfast_config *out);

/**
 * Makes everything that was stored before vanish, at once or after a while. Session locks stay.
 *
 * Parameters: `delay_ms`: 0 = now; else milliseconds from now on, after which everything that is
 * there then vanishes. A later call replaces one that waits; 0 takes its place too.
 *
 * Results
 * - HOLDFAST_OK: done, or planned; on the disk whatever the mode.
 * - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO: the file that says so could not be replaced; nothing was
 *   flushed. HOLDFAST_E_SYNC; HOLDFAST_E_BUSY: another process is stopped in the middle of a write.
 *
 * What a write at the same time leaves is gone or there, and whole. Writers wait meanwhile, for
 * the disk; readers do not. A process that dies in here has flushed everything or nothing. The
 * space comes back by and by. Any thread.
 */
int holdfast_flush(struct holdfast_store *store, int64_t delay_ms);

/**
 * Looks at every byte of the store that can be checked, while others go on: both copies of
 * `super`, the header of each segment, each record with its value, each slot of the index, and
 * whether every current record can be found.
 *
 * What looks wrong is looked at again where nobody can change it, so that a healthy store has no
 * findings however busy it is. Nothing is changed; holdfast_repair() mends.
 *
 * Parameters
 * - `care`: progress and findings, see holdfast_care; NULL = neither. No flag is for this call.
 * - `out`: the numbers; may be NULL. Written for HOLDFAST_STOPPED too: what was seen until then.
 *
 * Results: HOLDFAST_OK: it came to the end, and `out->findings` says how much is wrong;
 * HOLDFAST_STOPPED: `progress` ended it; HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY.
 *
 * Takes as long as reading the store: about a second for a GB that is in memory. Holds up nobody:
 * it takes a latch only to look at a doubtful record a second time. Any thread.
 */
int holdfast_verify(struct holdfast_store *store,
                    const struct holdfast_care *care,
                    struct holdfast_verified *out);

/**
 * Copies the store, while others go on, to a directory that is empty or does not exist yet: as it
 * was at one moment. Every write that was acknowledged before the call is in it, and none that
 * began after that moment; one that was under way is in it whole, or not at all.
 *
 * The copy is a store: open it, or give it to holdfast_restore(). Its index is rebuilt when it is
 * opened. A copy that was cut off has no `super` and cannot be opened or restored. Values that
 * cannot be read are not in it and are counted.
 *
 * Two things change a value in place and may be in the copy although they came later: a lifetime
 * that is prolonged, and a delete that finds no room for its record.
 *
 * Parameters
 * - `to`: path of the directory, as the address of holdfast_open(). Its parent must exist; it
 *   gets the owner and mode of the store. Not inside the store. Any filesystem will do.
 * - `care`: progress, and HOLDFAST_READ_BACK; NULL = neither.
 * - `out`: what was made; may be NULL.
 *
 * Results
 * - HOLDFAST_OK: complete and on the disk.
 * - HOLDFAST_STOPPED: `progress` ended it. Nothing is left of it, as after every failure; `out` is
 *   not written.
 * - HOLDFAST_E_FULL: writers needed the room that it held back, several times in a row. Try again
 *   when fewer values are written, or create a larger store.
 * - HOLDFAST_E_REFUSED: the directory is not empty, not the caller's, or inside the store.
 * - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_TOO_MANY (4 backups and
 *   checks at a time), HOLDFAST_E_DAMAGED: what was read back is not what was written.
 *
 * Takes as long as copying the store. Writers are not held up; segments that come free wait until
 * they are copied, and a writer that finds none waits up to 300 ms for that. Any thread.
 */
int holdfast_backup(struct holdfast_store *store,
                    const char *to,
                    const struct holdfast_care *care,
                    struct holdfast_backed_up *out);

/**
 * Makes a store of a backup, in a directory that is empty or does not exist yet. The backup is
 * checked as it is copied, and left as it is; one that is damaged, or was opened as a store since,
 * is refused. It needs no open store.
 *
 * Parameters
 * - `from`: the directory of the backup; `to`: that of the new store. Paths as for
 *   holdfast_open(). `to` gets the owner and mode of `from`.
 * - `care`: progress; NULL = none. No flag is for this call.
 * - `out`: what was done; may be NULL.
 *
 * Results: HOLDFAST_OK: complete and on the disk; HOLDFAST_STOPPED: `progress` ended it;
 * HOLDFAST_E_DAMAGED; HOLDFAST_E_NO_STORE: `from` holds no complete backup; HOLDFAST_E_REFUSED:
 * `to` is not empty, or no place for a store; HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO. After all but the
 * first nothing is left of it, and `out` is not written.
 * Blocks for the disk. Any thread.
 */
int holdfast_restore(const char *from,
                     const char *to,
                     const struct holdfast_care *care,
                     struct holdfast_restored *out);

/**
 * Mends a store that nobody has open, and never touches what is whole in it.
 *
 * A damaged copy of `super` is replaced by the other. A segment whose header is damaged gets it
 * back from what its records say. A record that cannot be read is first written to a file
 * "dropped-<time>.bin" in the store's directory and then made harmless; as long as the index tells
 * which key led to it, no older value of that key comes back in its place. Then `index` and `meta`
 * are made anew. A store in which nothing is wrong is left alone. If the process dies in it, run
 * it again.
 *
 * Parameters
 * - `address`: the store's directory, as for holdfast_open().
 * - `care`: progress, findings, HOLDFAST_DRY_RUN, HOLDFAST_FORCE_FILESYSTEM; NULL = nothing of it.
 * - `out`: what was done, or with HOLDFAST_DRY_RUN would be; may be NULL.
 *
 * Results
 * - HOLDFAST_OK.
 * - HOLDFAST_STOPPED: `progress` ended it while it looked; nothing was changed, `out` not written.
 * - HOLDFAST_E_REFUSED: processes have it open; the sentence has their ids. Or as holdfast_open().
 * - HOLDFAST_E_FORMAT: both copies of `super` are damaged: put one back from a backup.
 * - HOLDFAST_E_DAMAGED: `data` is missing. HOLDFAST_E_NO_STORE, HOLDFAST_E_NO_SPACE (nothing was
 *   changed if it is the side file that finds none), HOLDFAST_E_IO.
 *
 * Takes as long as reading the store twice. While it works the store cannot be opened. Any thread.
 */
int holdfast_repair(const char *address,
                    const struct holdfast_care *care,
                    struct holdfast_repaired *out);

/**
 * Tells what a full compaction would give back.
 *
 * Parameters
 * - `exact`: 0 = from the counters, in microseconds: without what has expired, and as far off as
 *   the counters are; 1 = by a walk over the headers of all records, while others go on.
 * - `out`: the numbers.
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY. Waits for nobody. Any thread.
 */
int holdfast_reclaimable(struct holdfast_store *store, int exact, struct holdfast_space *out);

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
 * Reads counters and sizes of the store, over all processes.
 *
 * Parameters: `out`: the caller's, with `struct_size` set; the rest is written on HOLDFAST_OK.
 *
 * Results: HOLDFAST_OK. It asks after each process slot, counts the locks and samples which pages
 * are in memory, up to a few milliseconds in all: for a status page, not for each request. Waits for nobody. Any thread.
 */
int holdfast_stats_get(struct holdfast_store *store,
                       struct holdfast_stats *out);

/**
 * Lets go of the memory in which old values are kept: their pages leave this process, and, where
 * no other process has them mapped, the page cache too.
 *
 * Nothing is lost, and what is read later comes back from the page cache or the disk, at its
 * speed. So this is for a process that goes idle, or one that has just read everything, as
 * holdfast_scan() with values does. What was written since the last holdfast_sync() stays in the
 * page cache, and so does all of a store on a tmpfs. Index and control words stay, and so do the
 * segments that are written to.
 *
 * Parameters: `bytes`: about how many bytes of the data are no longer in memory; may be NULL. It
 * is 0 while other processes have the same pages mapped, although this one has let go of them.
 *
 * Results: HOLDFAST_OK; HOLDFAST_E_IO. It takes some 10 ms for each 100 MB that leave memory, and
 * holds up nobody. Any thread, also while others read and write.
 */
int holdfast_trim_memory(struct holdfast_store *store, uint64_t *bytes);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HOLDFAST_H */
