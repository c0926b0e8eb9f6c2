/* Conditions in one call, computing the new value from the old one, several values at once. */
#include "check.h"

static holdfast_write_options new_options(void)
{
    holdfast_write_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static void conditions_in_one_call(holdfast_store *store)
{
    uint64_t first = 0, second = 0, seen = 0;
    holdfast_write_options how = new_options();
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("w"), S("0"), NULL, &first));
    how.expect = HOLDFAST_EXPECT_ABSENT;
    EXPECT(HOLDFAST_EXISTS, holdfast_write(store, S("w"), S("1"), &how, &seen));
    CHECK(seen == first && first != 0);
    how.expect = HOLDFAST_EXPECT_VERSION;
    how.expected = first;
    how.flags = 7;
    how.ttl_ms = 60000;
    how.write_flags = HOLDFAST_WRITE_SYNC;
    uint64_t rounds = stats_of(store).sync_rounds;
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("w"), S("2"), &how, &second));
    CHECK(stats_of(store).sync_rounds > rounds);
    EXPECT(HOLDFAST_EXISTS, holdfast_write(store, S("w"), S("3"), &how, &seen));
    CHECK(seen == second && second > first);
    EXPECT(HOLDFAST_MISSING, holdfast_write(store, S("nothing"), S("3"), &how, NULL));
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("w"), &item));
    CHECK(item.flags == 7 && item.ttl_ms > 50000 && item.ttl_ms <= 60000);
    how = new_options();
    how.expect = HOLDFAST_EXPECT_PRESENT;
    EXPECT(HOLDFAST_MISSING, holdfast_write(store, S("nothing"), S("3"), &how, NULL));
    holdfast_lock none = {0};
    how.lock = &none;
    EXPECT(HOLDFAST_LOST, holdfast_write(store, S("w"), S("4"), &how, NULL));
    HOLDS(store, "w", "2");
}

static void options_that_make_no_sense(holdfast_store *store)
{
    holdfast_write_options how = new_options();
    how.struct_size = 0;
    EXPECT_SAID(HOLDFAST_E_INVALID, "sizeof(holdfast_write_options)",
                holdfast_write(store, S("x"), S("1"), &how, NULL));
    how = new_options();
    how.expect = 9;
    EXPECT(HOLDFAST_E_UNSUPPORTED, holdfast_write(store, S("x"), S("1"), &how, NULL));
    how = new_options();
    how.write_flags = 2;
    EXPECT(HOLDFAST_E_UNSUPPORTED, holdfast_write(store, S("x"), S("1"), &how, NULL));
    EXPECT(HOLDFAST_E_UNSUPPORTED, holdfast_append(store, S("x"), S("1"), NULL, 2, NULL));
    how = new_options();
    how.expected = 1;
    EXPECT_SAID(HOLDFAST_E_INVALID, "HOLDFAST_EXPECT_VERSION",
                holdfast_write(store, S("x"), S("1"), &how, NULL));
    how = new_options();
    how.ttl_ms = HOLDFAST_TTL_KEEP;
    EXPECT(HOLDFAST_E_INVALID, holdfast_write(store, S("x"), S("1"), &how, NULL));
    how = new_options();
    how.reserved = 1;
    EXPECT(HOLDFAST_E_INVALID, holdfast_write(store, S("x"), S("1"), &how, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("x"), NULL));
}

static void numbers(holdfast_store *store)
{
    uint64_t number = 0, version = 0, seen = 0, ten = 10;
    EXPECT(HOLDFAST_MISSING, holdfast_increment(store, S("n"), 1, NULL, NULL, &number, &seen));
    CHECK(number == 0 && seen == 0);
    holdfast_write_options how = new_options();
    how.ttl_ms = 60000;
    how.flags = 3;
    EXPECT(HOLDFAST_OK, holdfast_increment(store, S("n"), 1, &ten, &how, &number, &version));
    CHECK(number == 10 && version != 0);
    EXPECT(HOLDFAST_OK, holdfast_increment(store, S("n"), 5, &ten, NULL, &number, &seen));
    CHECK(number == 15 && seen > version);
    EXPECT(HOLDFAST_OK, holdfast_decrement(store, S("n"), 6, NULL, NULL, NULL, NULL));
    HOLDS(store, "n", "9");
    EXPECT(HOLDFAST_OK, holdfast_decrement(store, S("n"), 60, NULL, NULL, &number, NULL));
    CHECK(number == 0);
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("n"), &item));
    CHECK(item.flags == 3 && item.ttl_ms > 50000);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("n"), S("nine"), 0, 0, NULL, &version));
    EXPECT(HOLDFAST_NOT_A_NUMBER, holdfast_increment(store, S("n"), 1, NULL, NULL, NULL, &seen));
    CHECK(seen == version);
    CHECK(strcmp(holdfast_result_name(HOLDFAST_NOT_A_NUMBER), "HOLDFAST_NOT_A_NUMBER") == 0);
    how = new_options();
    how.expect = HOLDFAST_EXPECT_VERSION;
    how.expected = version + 1;
    EXPECT(HOLDFAST_EXISTS, holdfast_decrement(store, S("n"), 1, NULL, &how, NULL, &seen));
    HOLDS(store, "n", "nine");
}

static void both_ends(holdfast_store *store)
{
    uint64_t version = 0;
    EXPECT(HOLDFAST_MISSING, holdfast_append(store, S("e"), S("x"), NULL, 0, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_prepend(store, S("e"), S("x"), NULL, 0, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("e"), S("b"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_append(store, S("e"), S("c"), NULL, HOLDFAST_WRITE_SYNC, NULL));
    EXPECT(HOLDFAST_OK, holdfast_prepend(store, S("e"), S("a"), NULL, 0, &version));
    EXPECT(HOLDFAST_OK, holdfast_append(store, S("e"), NULL, 0, NULL, 0, NULL));
    HOLDS(store, "e", "abc");
    holdfast_lock none = {0};
    EXPECT(HOLDFAST_LOST, holdfast_append(store, S("e"), S("d"), &none, 0, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_prepend(store, S("e"), S("d"), &none, 0, NULL));
    static char much[1 << 20];
    EXPECT_SAID(HOLDFAST_E_TOO_LARGE, "max_value_bytes",
                holdfast_append(store, S("e"), much, sizeof much, NULL, 0, NULL));
    HOLDS(store, "e", "abc");
}

struct seen {
    holdfast_store *store;
    int calls;
    int answer;
    size_t value_len;
    int64_t ttl_ms;
    int calls_the_library;
    char room[64];
};

static int note(void *context, const void *value, size_t value_len, const holdfast_item *item,
                holdfast_change *change)
{
    struct seen *seen = context;
    seen->calls++;
    CHECK((item == NULL) == (value == NULL));
    CHECK(change->struct_size >= sizeof *change && change->value == NULL && change->value_len == 0);
    CHECK(change->ttl_ms == HOLDFAST_TTL_KEEP && change->flags == (item ? item->flags : 0));
    CHECK(item == NULL || (item->value_len == value_len && item->struct_size == sizeof *item));
    seen->value_len = value_len;
    seen->ttl_ms = item ? item->ttl_ms : 0;
    if (seen->calls_the_library)
        EXPECT_SAID(HOLDFAST_E_INVALID, "must only compute",
                    holdfast_set(seen->store, S("u"), S("x"), 0, 0, NULL, NULL));
    int len = snprintf(seen->room, sizeof seen->room, "%.*s+", (int)value_len,
                       value ? (const char *)value : "");
    change->value = seen->room;
    change->value_len = (size_t)len;
    return seen->answer;
}

static void computed(holdfast_store *store)
{
    struct seen seen = {.store = store, .answer = HOLDFAST_UPDATE_KEEP};
    uint64_t version = 0, next = 0;
    EXPECT(HOLDFAST_MISSING, holdfast_update(store, S("u"), NULL, 0, note, &seen, NULL));
    CHECK(seen.calls == 1);
    seen.answer = HOLDFAST_UPDATE_WRITE;
    EXPECT(HOLDFAST_OK, holdfast_update(store, S("u"), NULL, 0, note, &seen, &version));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("u"), S("+"), 8, 60000, NULL, &version));
    EXPECT(HOLDFAST_OK,
           holdfast_update(store, S("u"), NULL, HOLDFAST_WRITE_SYNC, note, &seen, &next));
    CHECK(next > version && seen.value_len == 1 && seen.ttl_ms > 50000);
    HOLDS(store, "u", "++");
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("u"), &item));
    CHECK(item.flags == 8 && item.ttl_ms > 50000 && item.version == next);
    seen.answer = HOLDFAST_UPDATE_KEEP;
    seen.calls_the_library = 1;
    EXPECT(HOLDFAST_OK, holdfast_update(store, S("u"), NULL, 0, note, &seen, &version));
    CHECK(version == next);
    seen.calls_the_library = 0;
    seen.answer = 17;
    EXPECT_SAID(HOLDFAST_E_INVALID, "17",
                holdfast_update(store, S("u"), NULL, 0, note, &seen, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_update(store, S("u"), NULL, 0, NULL, NULL, NULL));
    holdfast_lock none = {0};
    EXPECT(HOLDFAST_LOST, holdfast_update(store, S("u"), &none, 0, note, &seen, NULL));
    HOLDS(store, "u", "++");
    seen.answer = HOLDFAST_UPDATE_DELETE;
    EXPECT(HOLDFAST_OK, holdfast_update(store, S("u"), NULL, 0, note, &seen, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_update(store, S("u"), NULL, 0, note, &seen, NULL));
}

struct found {
    holdfast_store *store;
    size_t calls;
    int results[4];
    char values[4][8];
};

static void take(void *context, size_t index, int result, const void *value, size_t value_len,
                 const holdfast_item *item)
{
    struct found *found = context;
    CHECK(index == found->calls++ && index < 4);
    found->results[index] = result;
    CHECK((result == HOLDFAST_OK) == (item != NULL) && value_len < sizeof found->values[0]);
    if (item) {
        CHECK(item->value_len == value_len);
        memcpy(found->values[index], value, value_len);
    }
    /* Nothing is held here: the library may be called. */
    EXPECT(HOLDFAST_OK, holdfast_set(found->store, S("meanwhile"), S("x"), 0, 0, NULL, NULL));
}

static holdfast_batch_item new_batch_item(const char *key, const char *value)
{
    holdfast_batch_item item;
    memset(&item, 0, sizeof item);
    item.struct_size = sizeof item;
    item.key = key;
    item.key_len = strlen(key);
    item.value = value;
    item.value_len = strlen(value);
    return item;
}

static void several_at_once(holdfast_store *store)
{
    holdfast_write_options absent = new_options(), durable = new_options();
    absent.expect = HOLDFAST_EXPECT_ABSENT;
    durable.write_flags = HOLDFAST_WRITE_SYNC;
    durable.flags = 5;
    static char much[(1 << 20) + 1];
    holdfast_batch_item items[4] = {new_batch_item("m1", "one"), new_batch_item("m1", "again"),
                                    new_batch_item("m2", "two"), new_batch_item("m3", "three")};
    items[1].options = &absent;
    items[2].value = much;
    items[2].value_len = sizeof much;
    items[3].options = &durable;
    uint64_t rounds = stats_of(store).sync_rounds;
    EXPECT(HOLDFAST_OK, holdfast_set_many(store, items, 4));
    CHECK(strstr(holdfast_last_error(), "max_value_bytes") != NULL);
    CHECK(stats_of(store).sync_rounds > rounds);
    CHECK(items[0].result == HOLDFAST_OK && items[0].version != 0);
    CHECK(items[1].result == HOLDFAST_EXISTS && items[1].version == items[0].version);
    CHECK(items[2].result == HOLDFAST_E_TOO_LARGE && items[2].version == 0);
    CHECK(items[3].result == HOLDFAST_OK && items[3].version > items[0].version);

    holdfast_key keys[4] = {{S("m3")}, {S("m2")}, {S("m1")}, {S("m3")}};
    struct found found = {.store = store};
    EXPECT(HOLDFAST_OK, holdfast_get_many(store, keys, 4, take, &found));
    CHECK(found.calls == 4);
    CHECK(found.results[0] == HOLDFAST_OK && strcmp(found.values[0], "three") == 0);
    CHECK(found.results[1] == HOLDFAST_MISSING);
    CHECK(found.results[2] == HOLDFAST_OK && strcmp(found.values[2], "one") == 0);
    CHECK(strcmp(found.values[3], "three") == 0);

    /* Refused before anything is done. */
    items[3].key_len = 0;
    items[0].version = 0;
    EXPECT(HOLDFAST_E_INVALID, holdfast_set_many(store, items, 4));
    CHECK(items[0].version == 0);
    items[3].key_len = 2;
    items[3].struct_size = sizeof items[3] + 8;
    EXPECT(HOLDFAST_E_INVALID, holdfast_set_many(store, items, 4));
    EXPECT(HOLDFAST_E_INVALID, holdfast_set_many(store, NULL, 4));
    EXPECT(HOLDFAST_E_INVALID, holdfast_set_many(store, items, SIZE_MAX));
    EXPECT(HOLDFAST_OK, holdfast_set_many(store, NULL, 0));
    keys[1].len = 0;
    EXPECT(HOLDFAST_E_INVALID, holdfast_get_many(store, keys, 4, take, &found));
    EXPECT(HOLDFAST_E_INVALID, holdfast_get_many(store, keys, 1, NULL, &found));
    EXPECT(HOLDFAST_E_INVALID, holdfast_get_many(store, NULL, 1, take, &found));
    EXPECT(HOLDFAST_E_INVALID, holdfast_get_many(store, keys, SIZE_MAX / 8, take, &found));
    EXPECT(HOLDFAST_OK, holdfast_get_many(store, NULL, 0, take, &found));
    CHECK(found.calls == 4);
}

/* An array made by a program whose struct is larger than the library's. */
static void a_larger_struct_of_a_later_version(holdfast_store *store)
{
    struct later {
        holdfast_batch_item known;
        uint64_t unknown;
    } items[2];
    memset(items, 0, sizeof items);
    for (int i = 0; i < 2; i++) {
        items[i].known = new_batch_item(i ? "l1" : "l0", "value");
        items[i].known.struct_size = sizeof items[i];
    }
    EXPECT(HOLDFAST_OK, holdfast_set_many(store, &items[0].known, 2));
    CHECK(items[0].known.version != 0 && items[1].known.version > items[0].known.version);
    HOLDS(store, "l1", "value");
    items[1].unknown = 1;
    EXPECT(HOLDFAST_E_UNSUPPORTED, holdfast_set_many(store, &items[0].known, 2));
}

static void compressed(void)
{
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE | HOLDFAST_COMPRESS;
    options.max_bytes = 16 << 20;
    holdfast_store *store = NULL;
    EXPECT(HOLDFAST_OK, holdfast_open(directory(), &options, &store));
    static char text[1 << 20];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "session|a:1:{}"[i % 14];
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), text, sizeof text, 0, 0, NULL, NULL));
    holdfast_stats stats = stats_of(store);
    CHECK(stats.compress == 1 && stats.live_bytes < sizeof text / 10);
    holdfast_buffer value = {0};
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("k"), &value, &item));
    CHECK(value.len == sizeof text && item.value_len == sizeof text);
    CHECK(memcmp(value.data, text, sizeof text) == 0);
    holdfast_buffer_free(&value);
    holdfast_close(store);
}

int main(void)
{
    holdfast_store *store = store_in(directory());
    conditions_in_one_call(store);
    options_that_make_no_sense(store);
    numbers(store);
    both_ends(store);
    computed(store);
    several_at_once(store);
    a_larger_struct_of_a_later_version(store);
    holdfast_close(store);
    compressed();
    return 0;
}
