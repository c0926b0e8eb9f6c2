/* What concerns everything in a store: its options, and flushing it. */
#include "check.h"

static holdfast_config config_of(holdfast_store *store)
{
    holdfast_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    EXPECT(HOLDFAST_OK, holdfast_config_get(store, &config));
    return config;
}

static holdfast_config nothing(void)
{
    holdfast_config change;
    memset(&change, 0, sizeof change);
    change.struct_size = sizeof change;
    return change;
}

static void options(const char *path)
{
    holdfast_store *store = store_in(path);
    holdfast_config config = config_of(store);
    CHECK(config.sync == HOLDFAST_SYNC_PERIODIC && config.sync_interval_ms == 1000);
    CHECK(config.max_bytes == 16 << 20 && config.max_value_bytes == 1 << 20);
    CHECK(config.default_ttl_ms == -1 && config.max_ttl_ms == -1 && config.compress == 1);
    CHECK(config.pending_max_bytes == 0 && config.pending_max_processes == 0);

    holdfast_config change = nothing();
    EXPECT(HOLDFAST_OK, holdfast_config_set(store, &change, &change));
    CHECK(memcmp(&change, &config, sizeof config) == 0);
    EXPECT(HOLDFAST_OK, holdfast_config_set(store, &change, NULL));

    change = nothing();
    change.sync = HOLDFAST_SYNC_NONE;
    change.default_ttl_ms = 60000;
    change.compress = 2;
    change.max_value_bytes = 10;
    change.max_bytes = 32 << 20;
    EXPECT(HOLDFAST_OK, holdfast_config_set(store, &change, &config));
    CHECK(config.sync == HOLDFAST_SYNC_NONE && config.default_ttl_ms == 60000);
    CHECK(config.compress == 2);
    CHECK(config.max_bytes == 16 << 20 && config.pending_max_bytes == 32 << 20);
    EXPECT_SAID(HOLDFAST_E_TOO_LARGE, "10 bytes",
                holdfast_set(store, S("k"), S("eleven byte"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("v"), 0, 0, NULL, NULL));
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("k"), &item));
    CHECK(item.ttl_ms > 0 && item.ttl_ms <= 60000);

    change = nothing();
    change.max_bytes = 8 << 20;
    EXPECT_SAID(HOLDFAST_E_INVALID, "only grows", holdfast_config_set(store, &change, NULL));
    change = nothing();
    change.sync = 7;
    EXPECT_SAID(HOLDFAST_E_INVALID, "change.sync", holdfast_config_set(store, &change, NULL));
    change = nothing();
    change.default_ttl_ms = -2;
    EXPECT_SAID(HOLDFAST_E_INVALID, "default_ttl_ms", holdfast_config_set(store, &change, NULL));
    change = nothing();
    change.compress = 3;
    EXPECT_SAID(HOLDFAST_E_INVALID, "compress", holdfast_config_set(store, &change, NULL));
    change.struct_size = 8;
    EXPECT_SAID(HOLDFAST_E_INVALID, "sizeof", holdfast_config_set(store, &change, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_config_set(store, NULL, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_config_get(store, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_config_get(NULL, &config));
    holdfast_close(store);

    store = store_in(path);
    config = config_of(store);
    CHECK(config.max_bytes == 32 << 20 && config.pending_max_bytes == 0);
    change = nothing();
    change.default_ttl_ms = HOLDFAST_TTL_NEVER;
    EXPECT(HOLDFAST_OK, holdfast_config_set(store, &change, &config));
    CHECK(config.default_ttl_ms == -1);
    HOLDS(store, "k", "v");
    holdfast_close(store);
}

static void flush(const char *path)
{
    holdfast_store *store = store_in(path);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("a"), S("1"), 0, HOLDFAST_TTL_NEVER, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_flush(store, 0));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("a"), NULL));
    CHECK(stats_of(store).keys == 0);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("b"), S("2"), 0, HOLDFAST_TTL_NEVER, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_flush(store, 300));
    HOLDS(store, "b", "2");
    sleep_ms(350);
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("b"), NULL));
    EXPECT_SAID(HOLDFAST_E_INVALID, "delay_ms", holdfast_flush(store, -1));
    EXPECT(HOLDFAST_E_INVALID, holdfast_flush(NULL, 0));
    holdfast_close(store);
}

int main(void)
{
    options(directory());
    flush(directory());
    return 0;
}
