/* Counts how often it was run, exactly, however many of it run at the same time.
 *
 *     cc counter.c -lholdfast -o counter
 *     install -d -m 0700 /tmp/counts
 *     ./counter /tmp/counts
 *
 * Open, lock, read, change, write, unlock, close: the life of a session in a web request too.
 */
#include <holdfast.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every failure has a sentence: what, where, and often the command that mends it. */
static int failed(const char *doing)
{
    fprintf(stderr, "%s: %s\n", doing, holdfast_last_error());
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return EXIT_FAILURE;
    }

    /* A store is a directory. This makes the store, but not the directory, on the first run. */
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE;
    options.max_bytes = 64 << 20;
    holdfast_store *store;
    if (holdfast_open(argv[1], &options, &store) != HOLDFAST_OK)
        return failed("opening the store");

    /* Wait at most ten seconds for the lock. The lease lets others take it over if this program is
     * stopped (not killed: then it is free at once) for thirty seconds while it has it. */
    holdfast_wait wait = {0};
    wait.struct_size = sizeof wait;
    wait.timeout_ms = 10000;
    wait.lease_ms = 30000;

    /* The cookie tells the owners within this process apart; there is only one. */
    const uint64_t cookie = 1;
    const char key[] = "counter";
    const size_t key_len = strlen(key);

    /* Lock and read in one call. The buffer starts all zero and is filled by the library. */
    holdfast_buffer value = {0};
    holdfast_lock lock;
    holdfast_holder holder = {0};
    holder.struct_size = sizeof holder;
    long count = 0;
    switch (holdfast_session_open(store, key, key_len, cookie, &wait, &value, NULL, &lock, &holder)) {
    case HOLDFAST_OK: {
        /* Bytes with a length: there is no NUL at the end. */
        char text[32] = {0};
        memcpy(text, value.data, value.len < sizeof text - 1 ? value.len : sizeof text - 1);
        count = strtol(text, NULL, 10);
        break;
    }
    case HOLDFAST_MISSING:
        /* The first run: locked all the same, with nothing there yet. */
        break;
    case HOLDFAST_HELD:
        fprintf(stderr, "process %llu has had the counter for %llu ms\n",
                (unsigned long long)holder.pid, (unsigned long long)holder.age_ms);
        holdfast_close(store);
        return EXIT_FAILURE;
    default:
        return failed("opening the counter");
    }
    holdfast_buffer_free(&value);

    /* Passing the lock makes this the write of its owner or none: if somebody has taken the lock
     * over meanwhile, the result is HOLDFAST_LOST and the other's count stays. */
    char text[32];
    const int len = snprintf(text, sizeof text, "%ld", count + 1);
    const int result = holdfast_set(store, key, key_len, text, (size_t)len, 0, HOLDFAST_TTL_NEVER,
                                    &lock, NULL);
    if (result < 0)
        return failed("writing the counter");
    if (result == HOLDFAST_LOST)
        fprintf(stderr, "this program slept too long; somebody else counts now\n");
    else
        printf("%ld\n", count + 1);

    /* The next one in line is woken. Ending the process would do as well. */
    holdfast_lock_release(store, key, key_len, &lock);
    holdfast_close(store);
    return result == HOLDFAST_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
