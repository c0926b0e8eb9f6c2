/* Going over all keys: pages, cursors, prefixes, filters, ranges, counting; what is refused. */
#include "check.h"

#define KEYS 2500

struct seen {
    holdfast_store *store;
    int times[KEYS];
    int count, stop_at, with_values, last, order;
};

static int number_of(const holdfast_entry *entry)
{
    char key[9] = {0};
    int number = -1;
    CHECK(entry->key_len == 8);
    memcpy(key, entry->key, 8);
    CHECK(sscanf(key, "key-%4d", &number) == 1 && number >= 0 && number < KEYS);
    return number;
}

static int look(void *context, const holdfast_entry *entry)
{
    struct seen *seen = context;
    int number = number_of(entry);
    CHECK(entry->struct_size == sizeof *entry && entry->item->struct_size == sizeof *entry->item);
    CHECK(entry->item->flags == (uint32_t)number && entry->item->version > 0);
    CHECK(entry->item->value_len == (uint64_t)(number % 50));
    CHECK(number % 2 ? entry->item->ttl_ms == HOLDFAST_TTL_NEVER
                     : entry->item->ttl_ms > 0 && entry->item->ttl_ms <= 60000);
    if (seen->with_values) {
        CHECK(entry->value != NULL && entry->value_len == (size_t)(number % 50));
        for (size_t i = 0; i < entry->value_len; i++)
            CHECK(((const char *)entry->value)[i] == 'a' + number % 26);
    } else {
        CHECK(entry->value == NULL && entry->value_len == 0);
    }
    if (seen->order)
        CHECK(seen->count == 0 || (number - seen->last) * seen->order > 0);
    seen->last = number;
    seen->times[number]++;
    return ++seen->count == seen->stop_at;
}

static holdfast_store *filled(void)
{
    holdfast_store *store = store_in(directory());
    for (int i = 0; i < KEYS; i++) {
        char key[16], value[64];
        snprintf(key, sizeof key, "key-%04d", i);
        memset(value, 'a' + i % 26, sizeof value);
        EXPECT(HOLDFAST_OK, holdfast_set(store, key, 8, value, i % 50, i,
                                         i % 2 ? HOLDFAST_TTL_NEVER : 60000, NULL, NULL));
    }
    return store;
}

static holdfast_scan_options scan_options(void)
{
    holdfast_scan_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static holdfast_range_options range_options(void)
{
    holdfast_range_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static void everything_once(holdfast_store *store)
{
    for (int with_values = 0; with_values < 2; with_values++) {
        struct seen seen = {.with_values = with_values};
        holdfast_scan_options options = scan_options();
        holdfast_page page = {sizeof page, 77, 77};
        options.limit = 300;
        options.flags = with_values ? HOLDFAST_VALUES : 0;
        uint64_t cursor = 0, given = 0, pages = 0;
        while (cursor != HOLDFAST_SCAN_DONE) {
            EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, &options, look, &seen, &page));
            CHECK(page.given <= 300 && page.damaged == 0);
            given += page.given;
            CHECK(++pages < 100);
        }
        CHECK(given == KEYS && pages >= KEYS / 300);
        for (int i = 0; i < KEYS; i++)
            CHECK(seen.times[i] == 1);
        /* At the end nothing more comes. */
        EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, NULL, look, &seen, &page));
        CHECK(page.given == 0 && cursor == HOLDFAST_SCAN_DONE);
    }
    struct seen seen = {0};
    uint64_t cursor = 0;
    EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, NULL, look, &seen, NULL));
    CHECK(seen.count == 1000 && cursor != HOLDFAST_SCAN_DONE);
}

static void stopped(holdfast_store *store)
{
    struct seen seen = {.stop_at = 7};
    uint64_t cursor = 0;
    EXPECT(HOLDFAST_STOPPED, holdfast_scan(store, &cursor, NULL, look, &seen, NULL));
    CHECK(seen.count == 7);
    while (cursor != HOLDFAST_SCAN_DONE)
        EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, NULL, look, &seen, NULL));
    for (int i = 0; i < KEYS; i++)
        CHECK(seen.times[i] == 1);
}

static int sevens(void *context, const holdfast_entry *entry)
{
    CHECK(*(int *)context == 42 && entry->value == NULL && entry->value_len == 0);
    return number_of(entry) % 7 == 0;
}

static void sifted(holdfast_store *store)
{
    int context = 42;
    struct seen seen = {.with_values = 1};
    holdfast_scan_options options = scan_options();
    options.prefix = "key-1";
    options.prefix_len = 5;
    options.limit = UINT64_MAX;
    options.flags = HOLDFAST_VALUES;
    options.filter = sevens;
    options.filter_context = &context;
    uint64_t cursor = 0, count = 0;
    EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, &options, look, &seen, NULL));
    CHECK(cursor == HOLDFAST_SCAN_DONE);
    for (int i = 0; i < KEYS; i++)
        CHECK(seen.times[i] == (i >= 1000 && i < 2000 && i % 7 == 0));
    EXPECT(HOLDFAST_OK, holdfast_count_keys(store, S("key-1"), &count));
    CHECK(count == 1000);
    EXPECT(HOLDFAST_OK, holdfast_count_keys(store, NULL, 0, &count));
    CHECK(count == KEYS);
}

static void ranges(holdfast_store *store)
{
    /* Page after page, forwards and back. */
    for (int reverse = 0; reverse < 2; reverse++) {
        struct seen seen = {.order = reverse ? -1 : 1, .with_values = 1};
        holdfast_range_options options = range_options();
        holdfast_buffer next = {0};
        holdfast_page page = {sizeof page, 0, 0};
        options.limit = 250;
        options.flags = HOLDFAST_VALUES | (reverse ? HOLDFAST_REVERSE : 0);
        do {
            EXPECT(HOLDFAST_OK, holdfast_range(store, &options, look, &seen, &next, &page));
            CHECK(page.given == 250 && page.damaged == 0);
            /* The next page begins with what this buffer holds. */
            if (reverse) {
                options.to = next.data;
                options.to_len = next.len;
            } else {
                options.from = next.data;
                options.from_len = next.len;
                options.flags |= HOLDFAST_FROM_EXCLUDED;
            }
        } while (next.len > 0);
        CHECK(seen.count == KEYS);
        holdfast_buffer_free(&next);
    }
    /* Where it begins and ends. */
    for (uint32_t flags = 0; flags < 16; flags += HOLDFAST_FROM_EXCLUDED) {
        struct seen seen = {.order = 1};
        holdfast_range_options options = range_options();
        options.from = "key-0010";
        options.to = "key-0020";
        options.from_len = options.to_len = 8;
        options.flags = flags;
        EXPECT(HOLDFAST_OK, holdfast_range(store, &options, look, &seen, NULL, NULL));
        CHECK(seen.times[10] == !(flags & HOLDFAST_FROM_EXCLUDED));
        CHECK(seen.times[20] == !!(flags & HOLDFAST_TO_INCLUDED));
        CHECK(seen.count == 9 + seen.times[10] + seen.times[20]);
    }
    struct seen seen = {.order = 1, .stop_at = 3};
    holdfast_range_options options = range_options();
    holdfast_buffer next = {0};
    options.prefix = "key-2";
    options.prefix_len = 5;
    EXPECT(HOLDFAST_STOPPED, holdfast_range(store, &options, look, &seen, &next, NULL));
    CHECK(seen.count == 3 && next.len == 8 && memcmp(next.data, "key-2002", 8) == 0);
    holdfast_buffer_free(&next);
}

static void refused(holdfast_store *store)
{
    uint64_t cursor = 5, count = 0;
    holdfast_scan_options scan = scan_options();
    holdfast_range_options range = range_options();
    holdfast_page page = {0};
    struct seen seen = {0};
    const int E = HOLDFAST_E_INVALID;
    EXPECT_SAID(E, "store", holdfast_scan(NULL, &cursor, &scan, look, &seen, NULL));
    EXPECT_SAID(E, "cursor", holdfast_scan(store, NULL, &scan, look, &seen, NULL));
    EXPECT_SAID(E, "visit", holdfast_scan(store, &cursor, &scan, NULL, &seen, NULL));
    EXPECT_SAID(E, "struct_size", holdfast_scan(store, &cursor, &scan, look, &seen, &page));
    scan.flags = HOLDFAST_REVERSE;
    EXPECT_SAID(E, "flags", holdfast_scan(store, &cursor, &scan, look, &seen, NULL));
    scan.flags = 0;
    scan.reserved = 1;
    EXPECT_SAID(E, "reserved", holdfast_scan(store, &cursor, &scan, look, &seen, NULL));
    scan.reserved = 0;
    scan.prefix_len = 3;
    EXPECT_SAID(E, "prefix", holdfast_scan(store, &cursor, &scan, look, &seen, NULL));
    EXPECT_SAID(E, "visit", holdfast_range(store, &range, NULL, &seen, NULL, NULL));
    range.limit = 10001;
    EXPECT_SAID(E, "10000", holdfast_range(store, &range, look, &seen, NULL, NULL));
    range.limit = 0;
    range.to_len = 1;
    EXPECT_SAID(E, "to", holdfast_range(store, &range, look, &seen, NULL, NULL));
    EXPECT_SAID(E, "count", holdfast_count_keys(store, NULL, 0, NULL));
    EXPECT_SAID(E, "prefix", holdfast_count_keys(store, NULL, 1, &count));
    CHECK(cursor == 5 && seen.count == 0);
}

static int delete_it(void *context, const holdfast_entry *entry)
{
    EXPECT(HOLDFAST_OK, holdfast_delete(context, entry->key, entry->key_len, NULL));
    return 0;
}

static void emptied_by_the_callback(holdfast_store *store)
{
    uint64_t cursor = 0, count = 1;
    while (cursor != HOLDFAST_SCAN_DONE)
        EXPECT(HOLDFAST_OK, holdfast_scan(store, &cursor, NULL, delete_it, store, NULL));
    EXPECT(HOLDFAST_OK, holdfast_count_keys(store, NULL, 0, &count));
    CHECK(count == 0);
}

int main(void)
{
    holdfast_store *store = filled();
    everything_once(store);
    stopped(store);
    sifted(store);
    ranges(store);
    refused(store);
    emptied_by_the_callback(store);
    holdfast_close(store);
    return 0;
}
