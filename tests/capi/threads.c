/* Eight threads share one handle and count together, with cas and with locks: no count is lost. */
#include "check.h"

#include <pthread.h>

#define THREADS 8
#define ROUNDS 500

static holdfast_store *store;

static void write_count(char *text, size_t size, holdfast_buffer *value, size_t *len)
{
    char old[32] = {0};
    memcpy(old, value->data ? (char *)value->data : "", value->len);
    *len = (size_t)snprintf(text, size, "%ld", strtol(old, NULL, 10) + 1);
}

static void *count_by_cas(void *unused)
{
    (void)unused;
    holdfast_buffer value = {0};
    for (int i = 0; i < ROUNDS;) {
        holdfast_item item = new_item();
        char text[32];
        size_t len;
        EXPECT(HOLDFAST_OK, holdfast_get(store, S("cas"), &value, &item));
        write_count(text, sizeof text, &value, &len);
        uint64_t version = 0;
        int result = holdfast_cas(store, S("cas"), text, len, 0, 0, item.version, &version);
        CHECK(version > item.version);
        if (result == HOLDFAST_OK)
            i++;
        else
            EXPECT(HOLDFAST_EXISTS, result);
    }
    holdfast_buffer_free(&value);
    return NULL;
}

static void *count_by_lock(void *cookie)
{
    holdfast_buffer value = {0};
    holdfast_wait wait = wait_for(-1, 0);
    for (int i = 0; i < ROUNDS; i++) {
        holdfast_lock lock = {0};
        char text[32];
        size_t len;
        EXPECT(HOLDFAST_OK, holdfast_session_open(store, S("lock"), (uint64_t)(uintptr_t)cookie,
                                                  &wait, &value, NULL, &lock, NULL));
        write_count(text, sizeof text, &value, &len);
        EXPECT(HOLDFAST_OK, holdfast_set(store, S("lock"), text, len, 0, 0, &lock, NULL));
        EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("lock"), &lock));
    }
    holdfast_buffer_free(&value);
    return NULL;
}

/* Each thread has a sentence of its own. */
static void *fails_apart(void *number)
{
    char words[32];
    snprintf(words, sizeof words, "ttl_ms is -%d;", 100 + (int)(uintptr_t)number);
    for (int i = 0; i < ROUNDS; i++) {
        EXPECT(HOLDFAST_E_INVALID,
               holdfast_touch(store, S("k"), -100 - (int64_t)(uintptr_t)number, NULL));
        said(words, __FILE__, __LINE__);
    }
    return NULL;
}

static void run_all(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    store = store_in(directory());
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("cas"), S("0"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("lock"), S("0"), 0, 0, NULL, NULL));
    run_all(count_by_cas);
    HOLDS(store, "cas", "4000");
    run_all(count_by_lock);
    HOLDS(store, "lock", "4000");
    run_all(fails_apart);
    CHECK(strcmp(holdfast_last_error(), "") == 0);
    holdfast_close(store);
    return 0;
}
