/* Each verb on values, with each of its outcomes. */
#include "check.h"

static void sizes_and_bytes(holdfast_store *store)
{
    static unsigned char written[1 << 20];
    for (size_t i = 0; i < sizeof written; i++)
        written[i] = (unsigned char)(i * 31 + i / 255);
    const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 70000, sizeof written};
    holdfast_buffer value = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        /* Any bytes are a key, NUL among them. */
        char key[1024] = {0};
        size_t key_len = 1 + i * 146;
        holdfast_item item = new_item();
        uint64_t version = 0;
        EXPECT(HOLDFAST_OK, holdfast_set(store, key, key_len, written, sizes[i], 0xfedcba98u,
                                         HOLDFAST_TTL_NEVER, NULL, &version));
        EXPECT(HOLDFAST_OK, holdfast_get(store, key, key_len, &value, &item));
        CHECK(value.len == sizes[i] && item.value_len == sizes[i]);
        CHECK(value.len == 0 || memcmp(value.data, written, value.len) == 0);
        CHECK(item.version == version && version != 0);
        CHECK(item.flags == 0xfedcba98u && item.ttl_ms == HOLDFAST_TTL_NEVER);
        CHECK(item.struct_size == sizeof item && item.reserved == 0);
        EXPECT(HOLDFAST_OK, holdfast_delete(store, key, key_len, NULL));
    }
    holdfast_buffer_free(&value);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("empty"), NULL, 0, 0, 0, NULL, NULL));
    HOLDS(store, "empty", "");
    EXPECT_SAID(HOLDFAST_E_TOO_LARGE, "max_value_bytes",
                holdfast_set(store, S("k"), written, sizeof written + 1, 0, 0, NULL, NULL));
}

static void conditions(holdfast_store *store)
{
    uint64_t first = 0, second = 0, seen = 0;
    EXPECT(HOLDFAST_MISSING, holdfast_replace(store, S("a"), S("0"), 0, 0, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_cas(store, S("a"), S("0"), 0, 0, 1, &seen));
    EXPECT(HOLDFAST_MISSING, holdfast_touch(store, S("a"), 1000, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_delete(store, S("a"), NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_delete_version(store, S("a"), 1));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("a"), NULL));
    CHECK(seen == 0);

    EXPECT(HOLDFAST_OK, holdfast_add(store, S("a"), S("1"), 0, 0, &first));
    EXPECT(HOLDFAST_EXISTS, holdfast_add(store, S("a"), S("2"), 0, 0, &seen));
    CHECK(seen == first && first != 0);
    EXPECT(HOLDFAST_EXISTS, holdfast_add(store, S("a"), S("2"), 0, 0, NULL));
    HOLDS(store, "a", "1");

    EXPECT(HOLDFAST_OK, holdfast_cas(store, S("a"), S("3"), 0, 0, first, &second));
    CHECK(second > first);
    EXPECT(HOLDFAST_EXISTS, holdfast_cas(store, S("a"), S("4"), 0, 0, first, &seen));
    CHECK(seen == second);
    EXPECT(HOLDFAST_EXISTS, holdfast_cas(store, S("a"), S("4"), 0, 0, 0, NULL));
    EXPECT(HOLDFAST_OK, holdfast_replace(store, S("a"), S("5"), 0, 0, &second));
    HOLDS(store, "a", "5");

    EXPECT(HOLDFAST_EXISTS, holdfast_delete_version(store, S("a"), first));
    EXPECT(HOLDFAST_OK, holdfast_delete_version(store, S("a"), second));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("a"), NULL));
    EXPECT(HOLDFAST_OK, holdfast_add(store, S("a"), S("6"), 0, 0, &seen));
    CHECK(seen > second);
    EXPECT(HOLDFAST_OK, holdfast_delete(store, S("a"), NULL));
}

static void lifetimes(holdfast_store *store)
{
    holdfast_item item = new_item();
    holdfast_buffer value = {0};
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("t"), S("x"), 9, 60000, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("t"), &item));
    CHECK(item.ttl_ms > 50000 && item.ttl_ms <= 60000 && item.flags == 9 && item.value_len == 1);
    EXPECT(HOLDFAST_OK, holdfast_touch(store, S("t"), 600000, NULL));
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("t"), &item));
    CHECK(item.ttl_ms > 500000 && item.ttl_ms <= 600000);
    EXPECT(HOLDFAST_OK, holdfast_get_touch(store, S("t"), HOLDFAST_TTL_NEVER, &value, &item));
    CHECK(value.len == 1 && value.data[0] == 'x' && item.ttl_ms == HOLDFAST_TTL_NEVER);
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("t"), &item));
    CHECK(item.ttl_ms == HOLDFAST_TTL_NEVER);

    /* Shorter, then gone, for every verb. */
    EXPECT(HOLDFAST_OK, holdfast_get_touch(store, S("t"), 30, &value, NULL));
    sleep_ms(60);
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("t"), &value, &item));
    CHECK(value.len == 0);
    EXPECT(HOLDFAST_MISSING, holdfast_get_touch(store, S("t"), 1000, &value, &item));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("t"), NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_replace(store, S("t"), S("y"), 0, 0, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_touch(store, S("t"), 1000, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_delete(store, S("t"), NULL));
    EXPECT(HOLDFAST_OK, holdfast_add(store, S("t"), S("z"), 0, 0, NULL));
    HOLDS(store, "t", "z");
    holdfast_buffer_free(&value);
}

static void expiry(holdfast_store *store)
{
    uint64_t before = stats_of(store).expired, expired = 0, total = 0;
    for (int i = 0; i < 100; i++)
        EXPECT(HOLDFAST_OK, holdfast_set(store, &i, sizeof i, S("soon gone"), 0, 20, NULL, NULL));
    sleep_ms(60);
    /* The store's own thread may be faster: whoever drops them, each is counted once. */
    for (int round = 0; round < 50 && stats_of(store).expired < before + 100; round++) {
        EXPECT(HOLDFAST_OK, holdfast_expire(store, 0, &expired));
        total += expired;
    }
    CHECK(total <= 100);
    EXPECT(HOLDFAST_OK, holdfast_expire(store, 1, NULL));
    CHECK(stats_of(store).expired >= before + 100);
}

static void a_lock_that_is_zero_is_never_held(holdfast_store *store)
{
    holdfast_lock none = {0};
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("k"), S("v"), 0, 0, &none, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_touch(store, S("k"), 1000, &none));
    EXPECT(HOLDFAST_LOST, holdfast_delete(store, S("k"), &none));
    HOLDS(store, "k", "v");
}

int main(void)
{
    holdfast_store *store = store_in(directory());
    sizes_and_bytes(store);
    conditions(store);
    lifetimes(store);
    expiry(store);
    a_lock_that_is_zero_is_never_held(store);
    EXPECT(HOLDFAST_OK, holdfast_sync(store));
    holdfast_close(store);
    return 0;
}
