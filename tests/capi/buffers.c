/* Who owns the memory of values that are read: it grows, is used again, is never lost, and shows
 * nothing of an earlier call. In the steady state nothing is allocated. */
#include "check.h"

/* Every allocation of the process passes here, those of the library too. */
static long allocations;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    *memory = __libc_memalign(alignment, size);
    return *memory == NULL ? 12 : 0;
}

static void reuse(holdfast_store *store)
{
    static char large[100000];
    memset(large, 'L', sizeof large);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("large"), large, sizeof large, 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("small"), S("small"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("empty"), NULL, 0, 0, 0, NULL, NULL));

    holdfast_buffer value = {0};
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("empty"), &value, NULL));
    CHECK(value.len == 0);
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &value, NULL));
    CHECK(value.len == 5 && value.capacity >= 5 && memcmp(value.data, "small", 5) == 0);
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("large"), &value, NULL));
    CHECK(value.len == sizeof large && memcmp(value.data, large, sizeof large) == 0);

    /* From here on it is large enough for everything, and stays where it is. */
    uint8_t *data = value.data;
    size_t capacity = value.capacity;
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &value, NULL));
    CHECK(value.data == data && value.capacity == capacity && value.len == 5);
    memset(value.data, '?', value.len);
    HOLDS(store, "small", "small");

    /* Nothing of an earlier value is shown when there is none. */
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("nothing"), &value, NULL));
    CHECK(value.data == data && value.capacity == capacity && value.len == 0);
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &value, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_get(store, "", 0, &value, NULL));
    CHECK(value.data == data && value.len == 0);
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &value, NULL));
    EXPECT(HOLDFAST_E_INVALID, holdfast_get(NULL, S("small"), &value, NULL));
    CHECK(value.data == data && value.len == 0);

    /* It outlives the store it was read from, and can be freed twice. */
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("large"), &value, NULL));
    holdfast_buffer_free(&value);
    CHECK(value.data == NULL && value.len == 0 && value.capacity == 0);
    holdfast_buffer_free(&value);
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &value, NULL));
    CHECK(value.len == 5);
    holdfast_buffer_free(&value);
}

static void session(holdfast_store *store, holdfast_buffer *value)
{
    holdfast_wait wait = wait_for(0, 0);
    holdfast_item item = new_item();
    holdfast_lock lock;
    EXPECT(HOLDFAST_OK,
           holdfast_session_open(store, S("large"), 1, &wait, value, &item, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_touch(store, S("large"), HOLDFAST_TTL_NEVER, &lock));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("small"), S("smell"), 0, 0, NULL, NULL));
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), value, &item));
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("nothing"), value, &item));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("large"), &lock));
}

static void the_steady_state_allocates_nothing(holdfast_store *store)
{
    holdfast_buffer value = {0};
    for (int i = 0; i < 10; i++)
        session(store, &value);
    long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    for (int i = 0; i < 1000; i++)
        session(store, &value);
    long more = __atomic_load_n(&allocations, __ATOMIC_RELAXED) - before;
    if (more != 0)
        fprintf(stderr, "%ld allocations in 1000 rounds\n", more);
    CHECK(more == 0);
    holdfast_buffer_free(&value);
}

int main(void)
{
    holdfast_options options;
    holdfast_options_init(&options);
    /* Without the store's own thread, whose allocations are not the caller's. */
    options.flags = HOLDFAST_CREATE | HOLDFAST_NO_THREAD;
    options.sync = HOLDFAST_SYNC_NONE;
    options.max_bytes = 16 << 20;
    holdfast_store *store;
    EXPECT(HOLDFAST_OK, holdfast_open(directory(), &options, &store));
    reuse(store);
    the_steady_state_allocates_nothing(store);

    holdfast_buffer kept = {0};
    EXPECT(HOLDFAST_OK, holdfast_get(store, S("small"), &kept, NULL));
    holdfast_close(store);
    CHECK(kept.len == 5 && memcmp(kept.data, "smell", 5) == 0);
    holdfast_buffer_free(&kept);
    return 0;
}
