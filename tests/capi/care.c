/* Check, backup, restore, repair and the space that could be given back, as a C program does it. */
#include "check.h"

#include <fcntl.h>

static int progress_calls, findings, stop_at;

static int progress(void *context, uint64_t done, uint64_t total)
{
    CHECK(context == &findings && done <= total);
    return ++progress_calls == stop_at;
}

static void finding(void *context, const holdfast_finding *it)
{
    CHECK(context == &findings && it->struct_size == sizeof *it);
    CHECK(it->what[0] && it->consequence[0] && it->remedy[0]);
    CHECK(strcmp(it->file, "data") == 0 && it->segment >= 0 && it->offset % 64 == 0);
    findings++;
}

static holdfast_care new_care(uint32_t flags)
{
    holdfast_care care;
    memset(&care, 0, sizeof care);
    care.struct_size = sizeof care;
    care.flags = flags;
    care.progress = progress;
    care.finding = finding;
    care.context = &findings;
    progress_calls = findings = stop_at = 0;
    return care;
}

/* A struct of the library's that is to be filled. */
#define NEW(type, name)                                                                           \
    type name;                                                                                    \
    memset(&name, 0, sizeof name);                                                                \
    name.struct_size = sizeof name

static holdfast_store *open_at(const char *path)
{
    holdfast_store *store = NULL;
    EXPECT(HOLDFAST_OK, holdfast_open(path, NULL, &store));
    return store;
}

/* Changes one byte of the file in the middle of `text`. */
static void spoil(const char *directory, const char *text)
{
    char path[200];
    static char bytes[1 << 20];
    snprintf(path, sizeof path, "%s/data", directory);
    int file = open(path, O_RDWR);
    CHECK(file >= 0);
    ssize_t got = pread(file, bytes, sizeof bytes, 0);
    char *found = memmem(bytes, (size_t)got, text, strlen(text));
    CHECK(found != NULL && pwrite(file, "#", 1, found - bytes + 5) == 1);
    CHECK(close(file) == 0);
}

int main(void)
{
    const char *path = directory();
    char copy[160], restored[160];
    snprintf(copy, sizeof copy, "%s/copy", directory());
    snprintf(restored, sizeof restored, "%s/restored", directory());
    const char text[] = "a text that is found again in the file of the store";
    holdfast_store *store = store_in(path);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("older"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S(text), 7, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("other"), S("whole"), 0, 0, NULL, NULL));

    /* A check of a whole store, with progress, without anything, and stopped. */
    holdfast_care care = new_care(0);
    NEW(holdfast_verified, checked);
    EXPECT(HOLDFAST_OK, holdfast_verify(store, &care, &checked));
    CHECK(checked.findings == 0 && checked.live == 2 && checked.dead == 1 && checked.keys == 2);
    CHECK(progress_calls > 1 && findings == 0 && checked.reachability_checked == 1);
    EXPECT(HOLDFAST_OK, holdfast_verify(store, NULL, NULL));
    stop_at = 1, progress_calls = 0;
    EXPECT(HOLDFAST_STOPPED, holdfast_verify(store, &care, &checked));
    care = new_care(HOLDFAST_DRY_RUN);
    EXPECT_SAID(HOLDFAST_E_INVALID, "care.flags", holdfast_verify(store, &care, NULL));

    NEW(holdfast_space, space);
    EXPECT(HOLDFAST_OK, holdfast_reclaimable(store, 1, &space));
    CHECK(space.live == 2 && space.dead == 1 && space.segments_used >= 1);
    EXPECT(HOLDFAST_OK, holdfast_reclaimable(store, 0, &space));
    CHECK(space.live == 0 && space.live_bytes > 0);

    /* A backup, and the same once more: it writes over nothing. */
    care = new_care(HOLDFAST_READ_BACK);
    NEW(holdfast_backed_up, made);
    EXPECT(HOLDFAST_OK, holdfast_backup(store, copy, &care, &made));
    CHECK(made.records == 3 && made.damaged == 0 && made.bytes > 0 && made.version > 0);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "not empty", holdfast_backup(store, copy, NULL, NULL));
    EXPECT_SAID(HOLDFAST_E_REFUSED, "inside", holdfast_backup(store, path, NULL, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_backup(store, NULL, NULL, NULL));
    stop_at = 1, progress_calls = 0;
    EXPECT(HOLDFAST_STOPPED, holdfast_backup(store, restored, &care, &made));
    CHECK(access(restored, F_OK) != 0);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("k"), S("after"), 0, 0, NULL, NULL));

    care = new_care(0);
    NEW(holdfast_restored, back);
    EXPECT(HOLDFAST_OK, holdfast_restore(copy, restored, &care, &back));
    CHECK(back.version == made.version && back.bytes == made.bytes && progress_calls > 0);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "not empty", holdfast_restore(copy, restored, NULL, NULL));
    EXPECT_SAID(HOLDFAST_E_NO_STORE, "no complete backup",
                holdfast_restore(path, "nowhere", NULL, NULL));
    holdfast_store *second = open_at(restored);
    HOLDS(second, "k", text);
    HOLDS(second, "other", "whole");

    /* Damage: found while the store is open, mended when it is not. */
    spoil(restored, text);
    care = new_care(0);
    EXPECT(HOLDFAST_OK, holdfast_verify(second, &care, &checked));
    CHECK(checked.findings == 1 && findings == 1);
    NEW(holdfast_repaired, repaired);
    EXPECT_SAID(HOLDFAST_E_REFUSED, "is open by process",
                holdfast_repair(restored, NULL, &repaired));
    holdfast_close(second);
    care = new_care(HOLDFAST_DRY_RUN);
    EXPECT(HOLDFAST_OK, holdfast_repair(restored, &care, &repaired));
    CHECK(repaired.findings == 1 && repaired.pieces_dropped == 1 && findings == 1);
    CHECK(repaired.dropped_file[0] == 0);
    care = new_care(0);
    EXPECT(HOLDFAST_OK, holdfast_repair(restored, &care, &repaired));
    CHECK(repaired.findings == 1 && repaired.keys_deleted == 1 && repaired.rebuilt == 1);
    CHECK(strncmp(repaired.dropped_file, "dropped-", 8) == 0);
    EXPECT(HOLDFAST_OK, holdfast_repair(restored, NULL, &repaired));
    CHECK(repaired.findings == 0 && repaired.rebuilt == 0 && repaired.dropped_file[0] == 0);
    second = open_at(restored);
    holdfast_buffer value = {0};
    EXPECT(HOLDFAST_MISSING, holdfast_get(second, S("k"), &value, NULL));
    HOLDS(second, "other", "whole");
    EXPECT(HOLDFAST_OK, holdfast_verify(second, NULL, &checked));
    CHECK(checked.findings == 0);

    /* What was overwritten again and again is no longer in use afterwards. */
    static char large[50000];
    for (int i = 0; i < 40; i++)
        EXPECT(HOLDFAST_OK, holdfast_set(second, S("k"), large, sizeof large, 0, 0, NULL, NULL));
    uint64_t given_back = 0;
    EXPECT(HOLDFAST_OK, holdfast_compact(second, &given_back));
    CHECK(given_back > 20 * sizeof large);
    EXPECT(HOLDFAST_OK, holdfast_compact(second, NULL));
    EXPECT(HOLDFAST_OK, holdfast_get(second, S("k"), &value, NULL));
    CHECK(value.len == sizeof large);
    HOLDS(second, "other", "whole");

    /* A struct of an older, smaller version is written as far as it goes. */
    checked.struct_size = 152;
    EXPECT(HOLDFAST_OK, holdfast_verify(second, NULL, &checked));
    checked.struct_size = 8;
    EXPECT_SAID(HOLDFAST_E_INVALID, "struct_size", holdfast_verify(second, NULL, &checked));
    holdfast_buffer_free(&value);
    holdfast_close(second);
    holdfast_close(store);
    EXPECT_SAID(HOLDFAST_E_NO_STORE, "", holdfast_repair("/nowhere", NULL, NULL));
    return 0;
}
