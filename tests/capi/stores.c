/* Stores as a whole: two in one process, one opened twice, closed and opened again; what an opening
 * refuses; options and statistics; the end of the room. */
#include "check.h"

#include <signal.h>
#include <sys/resource.h>

static int open_with(const char *path, uint32_t flags, holdfast_store **store)
{
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = flags;
    options.max_bytes = 16 << 20;
    return holdfast_open(path, &options, store);
}

static void two_stores(void)
{
    holdfast_store *a = store_in(directory()), *b = store_in(directory());
    EXPECT(HOLDFAST_OK, holdfast_set(a, S("k"), S("a"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(b, S("k"), NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(b, S("k"), S("b"), 0, 0, NULL, NULL));
    HOLDS(a, "k", "a");
    HOLDS(b, "k", "b");
    CHECK(holdfast_key_hash(a, S("k")) != holdfast_key_hash(b, S("k")));
    /* A lock in one is none in the other. */
    holdfast_wait wait = wait_for(0, 0);
    holdfast_lock lock_a = {0}, lock_b = {0};
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(a, S("k"), 1, &wait, &lock_a, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(b, S("k"), 2, &wait, &lock_b, NULL));
    CHECK(stats_of(a).locks_held == 1 && stats_of(b).locks_held == 1);
    holdfast_close(a);
    HOLDS(b, "k", "b");
    EXPECT(HOLDFAST_OK, holdfast_set(b, S("k"), S("c"), 0, 0, &lock_b, NULL));
    holdfast_close(b);
}

static void one_store_twice(void)
{
    const char *path = directory();
    holdfast_store *first = store_in(path), *second = store_in(path);
    CHECK(first != second);
    CHECK(stats_of(first).processes == 1);
    EXPECT(HOLDFAST_OK, holdfast_set(first, S("k"), S("v"), 0, 0, NULL, NULL));
    HOLDS(second, "k", "v");
    /* One process is one owner, whichever handle it uses. */
    holdfast_wait wait = wait_for(0, 0);
    holdfast_lock lock = {0}, again = {0};
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(first, S("k"), 1, &wait, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(second, S("k"), 1, &wait, &again, NULL));
    EXPECT(HOLDFAST_HELD, holdfast_lock_acquire(second, S("k"), 2, &wait, &again, NULL));
    holdfast_close(first);
    /* The lock outlives that handle, but not the last one. */
    EXPECT(HOLDFAST_OK, holdfast_set(second, S("k"), S("w"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_HELD, holdfast_lock_acquire(second, S("k"), 2, &wait, &again, NULL));
    holdfast_close(second);
    holdfast_store *third = store_in(path);
    HOLDS(third, "k", "w");
    EXPECT(HOLDFAST_LOST, holdfast_set(third, S("k"), S("x"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(third, S("k"), 2, &wait, &again, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(third, S("k"), &again));
    holdfast_close(third);
}

static void openings_that_are_refused(void)
{
    const char *path = directory();
    char other[128];
    holdfast_store *store = NULL;
    EXPECT_SAID(HOLDFAST_E_NO_STORE, path, open_with(path, 0, &store));
    snprintf(other, sizeof other, "%s/nothing", path);
    EXPECT_SAID(HOLDFAST_E_NO_STORE, "install -d", open_with(other, HOLDFAST_CREATE, &store));
    snprintf(other, sizeof other, "%s/link", path);
    CHECK(symlink(path, other) == 0);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "symbolic link", open_with(other, HOLDFAST_CREATE, &store));
    CHECK(remove(other) == 0);
    CHECK(chmod(path, 0755) == 0);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "chmod 0700", open_with(path, HOLDFAST_CREATE, &store));
    CHECK(chmod(path, 0700) == 0);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "2770",
                open_with(path, HOLDFAST_CREATE | HOLDFAST_GROUP, &store));
    snprintf(other, sizeof other, "file://%s", path);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "2770",
                open_with(other, HOLDFAST_CREATE | HOLDFAST_GROUP, &store));
    EXPECT_SAID(HOLDFAST_E_REFUSED, "filesystem",
                open_with("/proc/self/fd", HOLDFAST_CREATE, &store));
    CHECK(store == NULL);

    /* What is there is no store, and stays what it is. */
    snprintf(other, sizeof other, "%s/super", path);
    FILE *file = fopen(other, "w");
    CHECK(file != NULL && fputs("my diary\n", file) >= 0 && fclose(file) == 0);
    CHECK(chmod(other, 0600) == 0);
    EXPECT_SAID(HOLDFAST_E_FORMAT, "super", open_with(path, HOLDFAST_CREATE, &store));
    struct stat stat_of;
    CHECK(stat(other, &stat_of) == 0 && stat_of.st_size == 9);
}

static void a_group_store(void)
{
    const char *path = directory();
    char file[128];
    struct stat stat_of;
    CHECK(chmod(path, 02770) == 0);
    holdfast_store *store = NULL;
    EXPECT(HOLDFAST_OK, open_with(path, HOLDFAST_CREATE | HOLDFAST_GROUP, &store));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 0, 0, NULL, NULL));
    holdfast_close(store);
    snprintf(file, sizeof file, "file://%s", path);
    EXPECT(HOLDFAST_OK, open_with(file, HOLDFAST_GROUP, &store));
    HOLDS(store, "k", "v");
    holdfast_close(store);
    snprintf(file, sizeof file, "%s/data", path);
    CHECK(stat(file, &stat_of) == 0 && (stat_of.st_mode & 0777) == 0660);
}

static void options_and_statistics(void)
{
    const char *path = directory();
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE | HOLDFAST_SIPHASH | HOLDFAST_NO_THREAD;
    options.sync = HOLDFAST_SYNC_ALWAYS;
    options.sync_interval_ms = 250;
    options.max_bytes = 32 << 20;
    options.max_value_bytes = 2 << 20;
    options.default_ttl_ms = 40000;
    options.max_ttl_ms = 50000;
    options.max_processes = 7;
    options.operation_timeout_ms = 1000;
    options.open_timeout_ms = 2000;
    holdfast_store *store = NULL, *other = NULL;
    EXPECT(HOLDFAST_OK, holdfast_open(path, &options, &store));
    holdfast_stats stats = stats_of(store);
    CHECK(stats.sync == HOLDFAST_SYNC_ALWAYS && stats.sync_interval_ms == 250);
    CHECK(stats.max_bytes == 32 << 20 && stats.max_value_bytes == 2 << 20);
    CHECK(stats.default_ttl_ms == 40000 && stats.max_ttl_ms == 50000);
    CHECK(stats.max_processes == 7 && stats.processes == 1 && stats.format_major >= 1);
    CHECK(stats.segment_bytes > 0 && stats.segments * stats.segment_bytes <= stats.max_bytes);
    CHECK(stats.index_slots > 0 && stats.index_bytes > 0 && stats.options_differ == 0);
    CHECK(stats.struct_size == sizeof stats);
    CHECK(stats.meta_resident_bytes > 0 && stats.meta_resident_bytes <= stats.meta_bytes);
    CHECK(stats.data_resident_bytes <= stats.data_bytes);
    CHECK(stats.index_resident_bytes <= stats.index_bytes);

    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 0, HOLDFAST_TTL_DEFAULT, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("k"), &item));
    CHECK(item.ttl_ms > 30000 && item.ttl_ms <= 40000);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 0, HOLDFAST_TTL_NEVER, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("k"), &item));
    CHECK(item.ttl_ms > 40000 && item.ttl_ms <= 50000);
    holdfast_buffer value = {0};
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("k"), &value, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("no"), &value, NULL));
    EXPECT(HOLDFAST_OK, holdfast_touch(store, S("k"), 50000, NULL));
    EXPECT(HOLDFAST_OK, holdfast_delete(store, S("k"), NULL));
    stats = stats_of(store);
    CHECK(stats.gets == 2 && stats.hits == 1 && stats.sets == 2 && stats.deletes == 1);
    CHECK(stats.touches == 1 && stats.keys == 0 && stats.sync_rounds > 0);
    CHECK(stats.last_sync_age_ms < 60000);
    holdfast_buffer_free(&value);
    holdfast_close(store);

    /* The store keeps what its creator chose; another wish is noted. */
    EXPECT(HOLDFAST_OK, holdfast_open(path, NULL, &other));
    CHECK(stats_of(other).max_processes == 7 && stats_of(other).options_differ == 0);
    holdfast_close(other);
    holdfast_options_init(&options);
    options.sync = HOLDFAST_SYNC_NONE;
    EXPECT(HOLDFAST_OK, holdfast_open(path, &options, &other));
    CHECK(stats_of(other).sync == HOLDFAST_SYNC_ALWAYS && stats_of(other).options_differ == 1);
    holdfast_close(other);

    holdfast_store *plain = store_in(directory());
    stats = stats_of(plain);
    CHECK(stats.sync == HOLDFAST_SYNC_PERIODIC && stats.default_ttl_ms == HOLDFAST_TTL_NEVER);
    CHECK(stats.max_ttl_ms == HOLDFAST_TTL_NEVER && stats.not_persistent <= 1);
    holdfast_close(plain);
}

static void memory_is_let_go_of(void)
{
    static char value[60000];
    holdfast_store *store = store_in(directory());
    for (int i = 0; i < 100; i++) {
        memset(value, i, sizeof value);
        EXPECT(HOLDFAST_OK, holdfast_set(store, &i, sizeof i, value, sizeof value, 0, 0, NULL, NULL));
    }
    EXPECT(HOLDFAST_OK, holdfast_sync(store));
    uint64_t bytes = UINT64_MAX, before = stats_of(store).data_resident_bytes;
    EXPECT(HOLDFAST_OK, holdfast_trim_memory(store, &bytes));
    CHECK(before > 5000000 && bytes <= before);
    CHECK(stats_of(store).not_persistent || bytes > 4000000);
    EXPECT(HOLDFAST_OK, holdfast_trim_memory(store, NULL));
    EXPECT_SAID(HOLDFAST_E_INVALID, "store", holdfast_trim_memory(NULL, &bytes));
    holdfast_buffer read = {0};
    for (int i = 0; i < 100; i++) {
        EXPECT(HOLDFAST_OK, holdfast_get(store, &i, sizeof i, &read, NULL));
        CHECK(read.len == sizeof value && read.data[0] == i && read.data[59999] == i);
    }
    holdfast_buffer_free(&read);
    holdfast_close(store);
}

static void the_end_of_the_room(void)
{
    static char value[60000];
    memset(value, 'x', sizeof value);
    holdfast_store *store = store_in(directory());
    int result = HOLDFAST_OK, stored = 0;
    for (; stored < 1000; stored++) {
        result = holdfast_set(store, &stored, sizeof stored, value, sizeof value, 0, 0, NULL, NULL);
        if (result != HOLDFAST_OK)
            break;
    }
    EXPECT_SAID(HOLDFAST_E_FULL, "full", result);
    CHECK(stored > 50 && stats_of(store).refused_full > 0);
    /* Everything is still there, and deleting works. */
    for (int i = 0; i < stored; i++)
        EXPECT(HOLDFAST_OK, holdfast_exists(store, &i, sizeof i, NULL));
    for (int i = 0; i < stored; i++)
        EXPECT(HOLDFAST_OK, holdfast_delete(store, &i, sizeof i, NULL));
    /* What was deleted is room again, at the latest after a moment. */
    result = HOLDFAST_E_FULL;
    for (int i = 0; i < 100 && result == HOLDFAST_E_FULL; i++) {
        result = holdfast_set(store, S("k"), value, sizeof value, 0, 0, NULL, NULL);
        if (result == HOLDFAST_E_FULL)
            sleep_ms(20);
    }
    EXPECT(HOLDFAST_OK, result);
    holdfast_close(store);
}

/* The operating system refuses: its reason is in the sentence. */
static void cannot_write(void *path)
{
    struct rlimit limit = {4096, 4096};
    holdfast_store *store = NULL;
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EXPECT_SAID(HOLDFAST_E_IO, "File too large", open_with(path, HOLDFAST_CREATE, &store));
    CHECK(store == NULL);
}

int main(void)
{
    two_stores();
    one_store_twice();
    openings_that_are_refused();
    const char *path = directory();
    must_end_well(in_child(cannot_write, (void *)(uintptr_t)path));
    holdfast_close(store_in(path));
    a_group_store();
    /* Removed between, so that the table of directories in check.h is large enough. */
    remove_directories();
    directories_made = 0;
    options_and_statistics();
    memory_is_let_go_of();
    the_end_of_the_room();
    return 0;
}
