/* Bytes of a value that were changed behind the store's back: an error for that key, a write that
 * mends it, and a session that is not opened on it. */
#include "check.h"

#include <fcntl.h>

/* Changes one byte of the file in the middle of `text`. */
static void spoil(const char *directory, const char *text, size_t len)
{
    char path[128];
    static char bytes[1 << 20];
    snprintf(path, sizeof path, "%s/data", directory);
    int file = open(path, O_RDWR);
    CHECK(file >= 0);
    off_t at = 0;
    for (ssize_t got; (got = pread(file, bytes, sizeof bytes, at)) > (ssize_t)len;
         at += got - (ssize_t)len) {
        char *found = memmem(bytes, (size_t)got, text, len);
        if (found != NULL) {
            CHECK(pwrite(file, "#", 1, at + (found - bytes) + (off_t)len / 2) == 1);
            CHECK(close(file) == 0);
            return;
        }
    }
    CHECK(!"the value is in the file");
}

int main(void)
{
    const char *path = directory();
    holdfast_store *store = store_in(path);
    const char text[] = "a text that is found again in the file of the store";
    holdfast_buffer value = {0};
    holdfast_item item = new_item();
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S(text), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("other"), S("whole"), 0, 0, NULL, NULL));
    spoil(path, S(text));

    EXPECT_SAID(HOLDFAST_E_DAMAGED, "checksum", holdfast_get(store, S("k"), &value, &item));
    CHECK(value.len == 0 && item.version == 0);
    EXPECT(HOLDFAST_E_DAMAGED, holdfast_get_touch(store, S("k"), 0, &value, NULL));
    CHECK(value.len == 0 && stats_of(store).damaged_reads >= 2);
    HOLDS(store, "other", "whole");

    /* A session that cannot be read is not open: the lock is free, one held before too. */
    holdfast_wait wait = wait_for(0, 0);
    holdfast_lock lock = {1, 1, 1, 1};
    for (int held = 0; held < 2; held++) {
        if (held)
            EXPECT(HOLDFAST_OK, holdfast_lock_acquire(store, S("k"), 1, &wait, &lock, NULL));
        EXPECT(HOLDFAST_E_DAMAGED,
               holdfast_session_open(store, S("k"), 1, &wait, &value, &item, &lock, NULL));
        CHECK(lock.fence == 0 && value.len == 0);
        CHECK(stats_of(store).locks_held == 0);
    }

    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("mended"), 0, 0, NULL, NULL));
    HOLDS(store, "k", "mended");
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S(text), 0, 0, NULL, NULL));
    spoil(path, S(text));
    EXPECT(HOLDFAST_OK, holdfast_delete(store, S("k"), NULL));
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("k"), &value, NULL));
    holdfast_buffer_free(&value);
    holdfast_close(store);
    return 0;
}
