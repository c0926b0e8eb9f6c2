/* What a careless caller passes: NULL, absurd lengths and numbers, structs that were never set up,
 * of an older and of a newer header. Each comes back as a number with a sentence. */
#include "check.h"

#define INVALID(words, call) EXPECT_SAID(HOLDFAST_E_INVALID, words, call)

static const size_t ABSURD[] = {0, 1025, SIZE_MAX / 2, SIZE_MAX};
#define EACH_ABSURD_KEY_LENGTH(call)                                                              \
    do {                                                                                          \
        for (size_t i = 0; i < sizeof ABSURD / sizeof *ABSURD; i++) {                             \
            const size_t absurd = ABSURD[i];                                                      \
            INVALID("a key has 1 to 1024 bytes", call);                                           \
        }                                                                                         \
    } while (0)

static void names_and_versions(void)
{
    CHECK(holdfast_abi_version() == HOLDFAST_ABI_VERSION);
    CHECK(strcmp(holdfast_version(), HOLDFAST_VERSION_STRING) == 0);
    CHECK(strcmp(holdfast_last_error(), "") == 0);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_OK), "HOLDFAST_OK") == 0);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_CROWDED), "HOLDFAST_CROWDED") == 0);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_E_SYNC), "HOLDFAST_E_SYNC") == 0);
    for (int result = HOLDFAST_E_SYNC; result <= HOLDFAST_NOT_A_NUMBER; result++)
        CHECK(strcmp(holdfast_result_name(result), "HOLDFAST_UNKNOWN") != 0);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_E_SYNC - 1), "HOLDFAST_UNKNOWN") == 0);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_NOT_A_NUMBER + 1), "HOLDFAST_UNKNOWN") == 0);
}

static void opening(const char *path)
{
    holdfast_store *store = (holdfast_store *)&store;
    holdfast_options options;
    holdfast_options_init(NULL);
    holdfast_options_init(&options);
    CHECK(options.struct_size == sizeof options && options.flags == 0 && options.reserved == 0);

    INVALID("address is NULL", holdfast_open(NULL, &options, &store));
    INVALID("store is NULL", holdfast_open(path, &options, NULL));
    INVALID("address is empty", holdfast_open("", &options, &store));
    CHECK(store == NULL);
    static char endless[8192];
    memset(endless, 'x', sizeof endless - 1);
    INVALID("4096 bytes or more", holdfast_open(endless, &options, &store));
    EXPECT_SAID(HOLDFAST_E_UNSUPPORTED, "give a directory",
                holdfast_open("redis://cache", NULL, &store));
    EXPECT(HOLDFAST_E_NO_STORE, holdfast_open(path, NULL, &store));
    CHECK(store == NULL);

#define WITH(field, value, wanted, words)                                                         \
    do {                                                                                          \
        holdfast_options_init(&options);                                                          \
        options.flags = HOLDFAST_CREATE;                                                          \
        options.field = value;                                                                    \
        EXPECT_SAID(wanted, words, holdfast_open(path, &options, &store));                        \
    } while (0)
    WITH(flags, 1u << 31, HOLDFAST_E_UNSUPPORTED, "0x80000000");
    WITH(reserved, 1, HOLDFAST_E_INVALID, "reserved");
    WITH(sync, 4, HOLDFAST_E_INVALID, "options.sync is 4");
    WITH(max_bytes, 1, HOLDFAST_E_INVALID, "max_bytes is 1");
    WITH(max_bytes, UINT64_MAX, HOLDFAST_E_INVALID, "max_bytes");
    WITH(max_value_bytes, UINT64_MAX, HOLDFAST_E_INVALID, "max_value_bytes");
    WITH(default_ttl_ms, -2, HOLDFAST_E_INVALID, "default_ttl_ms is -2");
    WITH(max_ttl_ms, INT64_MIN, HOLDFAST_E_INVALID, "max_ttl_ms");
    WITH(max_processes, UINT32_MAX, HOLDFAST_E_INVALID, "max_processes");
    WITH(struct_size, 0, HOLDFAST_E_INVALID, "holdfast_options.struct_size is 0");
    WITH(struct_size, sizeof options - 1, HOLDFAST_E_INVALID, "sizeof(holdfast_options)");
    WITH(struct_size, SIZE_MAX, HOLDFAST_E_INVALID, "struct_size");
#undef WITH
    union {
        unsigned char bytes[sizeof(holdfast_options) + 8];
        holdfast_options options;
    } shifted;
    memset(&shifted, 0, sizeof shifted);
    INVALID("not aligned",
            holdfast_open(path, (holdfast_options *)(void *)(shifted.bytes + 1), &store));
}

/* A program compiled against a newer header, whose struct has a field that is not known here. */
static void newer_callers(const char *path)
{
    struct {
        holdfast_options known;
        uint64_t added;
    } options;
    memset(&options, 0, sizeof options);
    options.known.struct_size = sizeof options;
    options.known.flags = HOLDFAST_CREATE;
    options.known.max_bytes = 16 << 20;
    holdfast_store *store = NULL;
    options.added = 1;
    EXPECT_SAID(HOLDFAST_E_UNSUPPORTED, "holdfast_options",
                holdfast_open(path, &options.known, &store));
    CHECK(store == NULL);
    options.added = 0;
    EXPECT(HOLDFAST_OK, holdfast_open(path, &options.known, &store));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 7, 0, NULL, NULL));

    struct {
        holdfast_item known;
        uint64_t added;
    } item;
    memset(&item, 0xee, sizeof item);
    item.known.struct_size = sizeof item;
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("k"), &item.known));
    CHECK(item.known.struct_size == sizeof item && item.known.flags == 7);
    CHECK(item.added == 0xeeeeeeeeeeeeeeeeu);

    struct {
        holdfast_wait known;
        uint64_t added;
    } wait;
    memset(&wait, 0, sizeof wait);
    wait.known.struct_size = sizeof wait;
    holdfast_lock lock = {0};
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("k"), 1, &wait.known, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("k"), &lock));
    wait.added = 1;
    EXPECT(HOLDFAST_E_UNSUPPORTED,
           holdfast_lock_acquire(store, S("k"), 1, &wait.known, &lock, NULL));

    struct {
        holdfast_lock_info known;
        uint64_t added;
    } list[4];
    memset(list, 0xee, sizeof list);
    list[0].known.struct_size = sizeof *list;
    wait.added = 0;
    size_t count = 99;
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("a"), 1, &wait.known, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("b"), 1, &wait.known, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_locks(store, &list[0].known, 4, &count));
    CHECK(count == 2);
    for (size_t i = 0; i < count; i++) {
        CHECK(list[i].known.struct_size == sizeof *list && list[i].known.fence != 0);
        CHECK(list[i].added == 0xeeeeeeeeeeeeeeeeu);
    }
    CHECK(list[2].known.struct_size == 0xeeeeeeeeeeeeeeeeu);
    holdfast_close(store);
}

static void reads(holdfast_store *store)
{
    holdfast_buffer value = {0};
    holdfast_item item = new_item();
    INVALID("store is NULL", holdfast_get(NULL, S("k"), &value, &item));
    INVALID("key is NULL", holdfast_get(store, NULL, 1, &value, &item));
    INVALID("buffer", holdfast_get(store, S("k"), NULL, &item));
    EACH_ABSURD_KEY_LENGTH(holdfast_get(store, "k", absurd, &value, &item));
    INVALID("store is NULL", holdfast_get_touch(NULL, S("k"), 0, &value, &item));
    INVALID("key is NULL", holdfast_get_touch(store, NULL, 1, 0, &value, &item));
    INVALID("buffer", holdfast_get_touch(store, S("k"), 0, NULL, &item));
    INVALID("ttl_ms is -2", holdfast_get_touch(store, S("k"), -2, &value, &item));
    EACH_ABSURD_KEY_LENGTH(holdfast_get_touch(store, "k", absurd, 0, &value, &item));
    INVALID("store is NULL", holdfast_exists(NULL, S("k"), &item));
    INVALID("key is NULL", holdfast_exists(store, NULL, 1, &item));
    EACH_ABSURD_KEY_LENGTH(holdfast_exists(store, "k", absurd, &item));
    item.struct_size = 0;
    INVALID("holdfast_item.struct_size", holdfast_get(store, S("k"), &value, &item));
    INVALID("holdfast_item.struct_size", holdfast_get_touch(store, S("k"), 0, &value, &item));
    INVALID("holdfast_item.struct_size", holdfast_exists(store, S("k"), &item));

    /* Buffers that the library never made. They are left as they are. */
    unsigned char mine[8];
    holdfast_buffer foreign[] = {{mine, 0, 0}, {NULL, 0, 8}, {mine, 9, 8}, {mine, 0, SIZE_MAX}};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        holdfast_buffer before = foreign[i];
        INVALID("starts as all zero", holdfast_get(store, S("k"), &foreign[i], NULL));
        holdfast_buffer_free(&foreign[i]);
        CHECK(memcmp(&before, &foreign[i], sizeof before) == 0);
    }
    holdfast_buffer_free(NULL);
    holdfast_buffer_free(&value);
    CHECK(value.data == NULL && value.len == 0 && value.capacity == 0);
}

static void writes(holdfast_store *store)
{
    INVALID("store is NULL", holdfast_set(NULL, S("k"), S("v"), 0, 0, NULL, NULL));
    INVALID("key is NULL", holdfast_set(store, NULL, 1, S("v"), 0, 0, NULL, NULL));
    INVALID("value is NULL", holdfast_set(store, S("k"), NULL, 1, 0, 0, NULL, NULL));
    INVALID("nothing is that long", holdfast_set(store, S("k"), "v", SIZE_MAX, 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_E_TOO_LARGE, holdfast_set(store, S("k"), "v", SIZE_MAX / 2, 0, 0, NULL, NULL));
    INVALID("ttl_ms is -2", holdfast_set(store, S("k"), S("v"), 0, -2, NULL, NULL));
    INVALID("ttl_ms", holdfast_set(store, S("k"), S("v"), 0, INT64_MIN, NULL, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_set(store, "k", absurd, S("v"), 0, 0, NULL, NULL));

    INVALID("store is NULL", holdfast_add(NULL, S("k"), S("v"), 0, 0, NULL));
    INVALID("key is NULL", holdfast_add(store, NULL, 1, S("v"), 0, 0, NULL));
    INVALID("value is NULL", holdfast_add(store, S("k"), NULL, 1, 0, 0, NULL));
    INVALID("ttl_ms is -2", holdfast_add(store, S("k"), S("v"), 0, -2, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_add(store, "k", absurd, S("v"), 0, 0, NULL));

    INVALID("store is NULL", holdfast_replace(NULL, S("k"), S("v"), 0, 0, NULL));
    INVALID("key is NULL", holdfast_replace(store, NULL, 1, S("v"), 0, 0, NULL));
    INVALID("value is NULL", holdfast_replace(store, S("k"), NULL, 1, 0, 0, NULL));
    INVALID("ttl_ms is -2", holdfast_replace(store, S("k"), S("v"), 0, -2, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_replace(store, "k", absurd, S("v"), 0, 0, NULL));

    INVALID("store is NULL", holdfast_cas(NULL, S("k"), S("v"), 0, 0, 1, NULL));
    INVALID("key is NULL", holdfast_cas(store, NULL, 1, S("v"), 0, 0, 1, NULL));
    INVALID("value is NULL", holdfast_cas(store, S("k"), NULL, 1, 0, 0, 1, NULL));
    INVALID("ttl_ms is -2", holdfast_cas(store, S("k"), S("v"), 0, -2, 1, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_cas(store, "k", absurd, S("v"), 0, 0, 1, NULL));

    INVALID("store is NULL", holdfast_touch(NULL, S("k"), 0, NULL));
    INVALID("key is NULL", holdfast_touch(store, NULL, 1, 0, NULL));
    INVALID("ttl_ms is -2", holdfast_touch(store, S("k"), -2, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_touch(store, "k", absurd, 0, NULL));

    INVALID("store is NULL", holdfast_delete(NULL, S("k"), NULL));
    INVALID("key is NULL", holdfast_delete(store, NULL, 1, NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_delete(store, "k", absurd, NULL));
    INVALID("store is NULL", holdfast_delete_version(NULL, S("k"), 1));
    INVALID("key is NULL", holdfast_delete_version(store, NULL, 1, 1));
    EACH_ABSURD_KEY_LENGTH(holdfast_delete_version(store, "k", absurd, 1));

    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("k"), NULL));
}

static void locks(holdfast_store *store)
{
    holdfast_lock lock = {0};
    holdfast_wait wait = wait_for(0, 0);
    holdfast_holder holder = new_holder();
    holdfast_buffer value = {0};
    holdfast_item item = new_item();
    INVALID("store is NULL", holdfast_lock_acquire(NULL, S("k"), 1, &wait, &lock, &holder));
    INVALID("key is NULL", holdfast_lock_acquire(store, NULL, 1, 1, &wait, &lock, &holder));
    INVALID("wait is NULL", holdfast_lock_acquire(store, S("k"), 1, NULL, &lock, &holder));
    INVALID("lock is NULL", holdfast_lock_acquire(store, S("k"), 1, &wait, NULL, &holder));
    EACH_ABSURD_KEY_LENGTH(holdfast_lock_acquire(store, "k", absurd, 1, &wait, &lock, &holder));
    INVALID("store is NULL",
            holdfast_session_open(NULL, S("k"), 1, &wait, &value, &item, &lock, &holder));
    INVALID("key is NULL",
            holdfast_session_open(store, NULL, 1, 1, &wait, &value, &item, &lock, &holder));
    INVALID("wait is NULL",
            holdfast_session_open(store, S("k"), 1, NULL, &value, &item, &lock, &holder));
    INVALID("buffer", holdfast_session_open(store, S("k"), 1, &wait, NULL, &item, &lock, &holder));
    INVALID("lock is NULL",
            holdfast_session_open(store, S("k"), 1, &wait, &value, &item, NULL, &holder));
    EACH_ABSURD_KEY_LENGTH(
        holdfast_session_open(store, "k", absurd, 1, &wait, &value, &item, &lock, &holder));

#define WITH(field, bad, words)                                                                   \
    do {                                                                                          \
        wait = wait_for(0, 0);                                                                    \
        wait.field = bad;                                                                         \
        INVALID(words, holdfast_lock_acquire(store, S("k"), 1, &wait, &lock, &holder));           \
        INVALID(words,                                                                            \
                holdfast_session_open(store, S("k"), 1, &wait, &value, &item, &lock, &holder));   \
    } while (0)
    WITH(timeout_ms, -2, "timeout_ms is -2");
    WITH(timeout_ms, INT64_MIN, "timeout_ms");
    WITH(lease_ms, -1, "lease_ms is -1");
    WITH(reserved, 1, "reserved");
    WITH(struct_size, 0, "holdfast_wait.struct_size");
    WITH(struct_size, sizeof wait - 8, "holdfast_wait.struct_size");
#undef WITH
    wait = wait_for(0, 0);
    holder.struct_size = 1;
    INVALID("holdfast_holder", holdfast_lock_acquire(store, S("k"), 1, &wait, &lock, &holder));
    INVALID("holdfast_holder",
            holdfast_session_open(store, S("k"), 1, &wait, &value, &item, &lock, &holder));
    item.struct_size = 1;
    INVALID("holdfast_item",
            holdfast_session_open(store, S("k"), 1, &wait, &value, &item, &lock, NULL));
    CHECK(stats_of(store).locks_held == 0);

    INVALID("store is NULL", holdfast_lock_renew(NULL, S("k"), &lock, 0));
    INVALID("key is NULL", holdfast_lock_renew(store, NULL, 1, &lock, 0));
    INVALID("lock is NULL", holdfast_lock_renew(store, S("k"), NULL, 0));
    INVALID("lease_ms is -5", holdfast_lock_renew(store, S("k"), &lock, -5));
    EACH_ABSURD_KEY_LENGTH(holdfast_lock_renew(store, "k", absurd, &lock, 0));
    INVALID("store is NULL", holdfast_lock_release(NULL, S("k"), &lock));
    INVALID("key is NULL", holdfast_lock_release(store, NULL, 1, &lock));
    INVALID("lock is NULL", holdfast_lock_release(store, S("k"), NULL));
    EACH_ABSURD_KEY_LENGTH(holdfast_lock_release(store, "k", absurd, &lock));

    /* A lock made of rubbish is a lock that is lost. */
    holdfast_lock rubbish = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("k"), S("v"), 0, 0, &rubbish, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_lock_renew(store, S("k"), &rubbish, 0));
    EXPECT(HOLDFAST_LOST, holdfast_lock_release(store, S("k"), &rubbish));
    CHECK(rubbish.fence == 0 && rubbish.place == 0);
}

static void lists(holdfast_store *store)
{
    holdfast_lock_info list[2];
    memset(list, 0, sizeof list);
    list[0].struct_size = sizeof *list;
    size_t count = 99;
    INVALID("store is NULL", holdfast_locks(NULL, list, 2, &count));
    INVALID("out is NULL", holdfast_locks(store, NULL, 2, &count));
    INVALID("count is NULL", holdfast_locks(store, list, 2, NULL));
    CHECK(count == 99);
    EXPECT(HOLDFAST_OK, holdfast_locks(store, NULL, 0, &count));
    CHECK(count == 0);
    EXPECT(HOLDFAST_OK, holdfast_locks(store, list, SIZE_MAX, &count));
    CHECK(count == 0);
    list[0].struct_size = 3;
    INVALID("struct_size", holdfast_locks(store, list, 2, &count));
    list[0].struct_size = sizeof *list + 1;
    INVALID("struct_size", holdfast_locks(store, list, 2, &count));

    CHECK(holdfast_key_hash(store, S("k")) != 0);
    CHECK(holdfast_key_hash(NULL, S("k")) == 0);
    said("store is NULL", __FILE__, __LINE__);
    CHECK(holdfast_key_hash(store, NULL, 1) == 0);
    CHECK(holdfast_key_hash(store, "k", SIZE_MAX) == 0);

    holdfast_stats stats;
    memset(&stats, 0, sizeof stats);
    INVALID("holdfast_stats.struct_size is 0", holdfast_stats_get(store, &stats));
    INVALID("out is NULL", holdfast_stats_get(store, NULL));
    INVALID("store is NULL", holdfast_stats_get(NULL, &stats));
    INVALID("store is NULL", holdfast_expire(NULL, 0, NULL));
    INVALID("store is NULL", holdfast_sync(NULL));
    holdfast_close(NULL);
}

int main(void)
{
    const char *path = directory();
    names_and_versions();
    opening(path);
    newer_callers(path);
    holdfast_store *store = store_in(path);
    EXPECT(HOLDFAST_OK, holdfast_delete(store, S("k"), NULL));
    reads(store);
    writes(store);
    locks(store);
    lists(store);
    holdfast_close(store);
    return 0;
}
