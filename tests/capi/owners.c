/* Owners: given, shown, listed and ended. */
#include "check.h"

struct list {
    int count;
    int stop_after;
    char keys[64];
};

static int note(void *context, const void *key, size_t key_len)
{
    struct list *list = context;
    CHECK(strlen(list->keys) + key_len + 1 < sizeof list->keys);
    strncat(list->keys, key, key_len);
    return ++list->count == list->stop_after;
}

static holdfast_write_options of(const char *owner)
{
    holdfast_write_options how;
    memset(&how, 0, sizeof how);
    how.struct_size = sizeof how;
    how.owner = owner;
    how.owner_len = owner ? strlen(owner) : 0;
    return how;
}

static void given_shown_and_ended(holdfast_store *store)
{
    holdfast_buffer owner = {0};
    holdfast_write_options anna = of("anna");
    uint64_t version = 0, count = 9;
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("a"), S("1"), &anna, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("b"), S("2"), 7, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set_owner(store, S("b"), S("anna"), NULL, &version));
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_exists(store, S("b"), &item));
    CHECK(item.version == version && item.flags == 7);
    EXPECT(HOLDFAST_OK, holdfast_owner_of(store, S("b"), &owner));
    CHECK(owner.len == 4 && memcmp(owner.data, "anna", 4) == 0);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("c"), S("3"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_owner_of(store, S("c"), &owner));
    CHECK(owner.len == 0);
    EXPECT(HOLDFAST_MISSING, holdfast_set_owner(store, S("none"), S("anna"), NULL, NULL));

    struct list list = {0};
    EXPECT(HOLDFAST_OK, holdfast_owner_keys(store, S("anna"), note, &list, &count));
    CHECK(count == 2 && list.count == 2 && strchr(list.keys, 'a') && strchr(list.keys, 'b'));
    struct list one = {0};
    one.stop_after = 1;
    EXPECT(HOLDFAST_STOPPED, holdfast_owner_keys(store, S("anna"), note, &one, &count));
    CHECK(count == 1 && one.count == 1);

    /* Plain changes leave a value its owner. */
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("a"), S("changed"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_end_owner(store, S("anna")));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("a"), NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("b"), NULL));
    HOLDS(store, "c", "3");
    EXPECT(HOLDFAST_OK, holdfast_owner_keys(store, S("anna"), note, &list, &count));
    CHECK(count == 0);
    EXPECT(HOLDFAST_MISSING, holdfast_end_owner(store, S("nobody")));
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("a"), S("again"), &anna, NULL));
    HOLDS(store, "a", "again");
    holdfast_buffer_free(&owner);
}

static void a_lock_from_before_is_lost(holdfast_store *store)
{
    holdfast_wait wait = wait_for(0, 0);
    holdfast_lock before, after;
    holdfast_write_options how = of("bob");
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("s"), S("bob's"), &how, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("s"), 1, &wait, &before, NULL));
    EXPECT(HOLDFAST_OK, holdfast_end_owner(store, S("bob")));
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("s"), S("back"), 0, 0, &before, NULL));
    how.lock = &before;
    EXPECT(HOLDFAST_LOST, holdfast_write(store, S("s"), S("back"), &how, NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_exists(store, S("s"), NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("s"), &before));
    EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("s"), 1, &wait, &after, NULL));
    how.lock = &after;
    EXPECT(HOLDFAST_OK, holdfast_write(store, S("s"), S("new"), &how, NULL));
    HOLDS(store, "s", "new");
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("s"), &after));
}

static void refusals(holdfast_store *store)
{
    static char longest[256];
    holdfast_buffer owner = {0};
    holdfast_write_options how = of("x");
    how.owner_len = 0;
    EXPECT_SAID(HOLDFAST_E_INVALID, "1 to 255", holdfast_write(store, S("k"), S("v"), &how, NULL));
    how = of(NULL);
    how.owner_len = 1;
    EXPECT(HOLDFAST_E_INVALID, holdfast_write(store, S("k"), S("v"), &how, NULL));
    how = of("x");
    EXPECT_SAID(HOLDFAST_E_INVALID, "set_owner",
                holdfast_increment(store, S("n"), 1, NULL, &how, NULL, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_end_owner(store, longest, sizeof longest));
    EXPECT(HOLDFAST_E_INVALID, holdfast_end_owner(store, NULL, 3));
    EXPECT(HOLDFAST_E_INVALID, holdfast_end_owner(NULL, S("x")));
    EXPECT(HOLDFAST_E_INVALID, holdfast_owner_keys(store, S("x"), NULL, NULL, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_owner_of(store, S("k"), NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_owner_of(store, "", 0, &owner));
    EXPECT(HOLDFAST_E_INVALID, holdfast_set_owner(store, S("k"), "", 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_end_owner(store, longest, 255) == HOLDFAST_MISSING ? 0 : 1);
}

int main(void)
{
    holdfast_store *store = store_in(directory());
    given_shown_and_ended(store);
    a_lock_from_before_is_lost(store);
    refusals(store);
    holdfast_close(store);
    return 0;
}
