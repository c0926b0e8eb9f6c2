/* A child for which the store has no process slot left: each of its calls says so, not only the
 * first. (A child that counted as attached after one failure worked on without an identity.) */
#include "check.h"

static void finds_no_room(void *context)
{
    holdfast_store *full = context;
    holdfast_buffer value = {0};
    holdfast_lock lock = {0};
    holdfast_wait wait = wait_for(0, 0);
    for (int i = 0; i < 3; i++) {
        EXPECT_SAID(HOLDFAST_E_TOO_MANY, "max_processes", holdfast_get(full, S("k"), &value, NULL));
        EXPECT(HOLDFAST_E_TOO_MANY, holdfast_set(full, S("k"), S("child"), 0, 0, NULL, NULL));
        EXPECT(HOLDFAST_E_TOO_MANY, holdfast_lock_acquire(full, S("k"), 1, &wait, &lock, NULL));
    }
    holdfast_buffer_free(&value);
    holdfast_close(full);
}

int main(void)
{
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE;
    options.max_bytes = 16 << 20;
    options.max_processes = 1;
    holdfast_store *full = NULL;
    EXPECT(HOLDFAST_OK, holdfast_open(directory(), &options, &full));
    EXPECT(HOLDFAST_OK, holdfast_set(full, S("k"), S("parent"), 0, 0, NULL, NULL));
    must_end_well(in_child(finds_no_room, full));
    HOLDS(full, "k", "parent");
    holdfast_close(full);
    return 0;
}
