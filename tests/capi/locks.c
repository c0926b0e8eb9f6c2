/* Session locks with each outcome, within one process: cookies tell its owners apart. */
#include "check.h"

#include <pthread.h>
#include <signal.h>

static holdfast_store *store;

static int acquire(const char *key, uint64_t cookie, int64_t timeout_ms, int64_t lease_ms,
                   holdfast_lock *lock, holdfast_holder *holder)
{
    holdfast_wait wait = wait_for(timeout_ms, lease_ms);
    return holdfast_lock_acquire(store, key, strlen(key), cookie, &wait, lock, holder);
}

static void one_owner(void)
{
    holdfast_lock mine = {0}, again = {0}, other = {1, 1, 1, 1};
    holdfast_holder holder = new_holder();
    EXPECT(HOLDFAST_OK, acquire("k", 1, 0, 0, &mine, &holder));
    CHECK(mine.fence != 0 && mine.cookie == 1 && mine.reserved == 0 && holder.pid == 0);
    EXPECT(HOLDFAST_OK, acquire("k", 1, 0, 0, &again, NULL));
    CHECK(memcmp(&mine, &again, sizeof mine) == 0);

    sleep_ms(20);
    int64_t started = now_ms();
    EXPECT(HOLDFAST_HELD, acquire("k", 2, 0, 0, &other, &holder));
    CHECK(now_ms() - started < 1000);
    CHECK(other.fence == 0 && other.cookie == 0);
    CHECK(holder.pid == (uint64_t)getpid() && holder.age_ms >= 10 && holder.age_ms < 60000);
    CHECK(holder.waiters == 0 && holder.struct_size == sizeof holder);
    started = now_ms();
    EXPECT(HOLDFAST_HELD, acquire("k", 2, 150, 0, &other, NULL));
    CHECK(now_ms() - started >= 150);

    /* One release frees it, however often it was entered. */
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("k"), &mine));
    CHECK(mine.fence == 0 && mine.cookie == 0 && mine.place == 0);
    EXPECT(HOLDFAST_LOST, holdfast_lock_release(store, S("k"), &again));
    CHECK(again.fence == 0);
    EXPECT(HOLDFAST_OK, acquire("k", 2, 0, 0, &other, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("k"), &other));
}

static void writes_with_a_lock(void)
{
    holdfast_lock lock = {0};
    uint64_t version = 0, untouched = 42;
    EXPECT(HOLDFAST_OK, acquire("w", 1, 0, 0, &lock, NULL));
    holdfast_lock stale = lock;
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("w"), S("1"), 0, 0, &lock, &version));
    EXPECT(HOLDFAST_OK, holdfast_touch(store, S("w"), 60000, &lock));
    /* Whoever does not ask for the lock is not stopped by it. */
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("w"), S("2"), 0, 0, NULL, NULL));
    /* The lock of one key is none of another. */
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("other"), S("x"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_delete(store, S("w"), &lock));
    EXPECT(HOLDFAST_MISSING, holdfast_delete(store, S("w"), &lock));
    EXPECT(HOLDFAST_MISSING, holdfast_touch(store, S("w"), 60000, &lock));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("w"), S("3"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("w"), &lock));
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("w"), S("4"), 0, 0, &stale, &untouched));
    EXPECT(HOLDFAST_LOST, holdfast_touch(store, S("w"), 60000, &stale));
    EXPECT(HOLDFAST_LOST, holdfast_delete(store, S("w"), &stale));
    EXPECT(HOLDFAST_LOST, holdfast_lock_renew(store, S("w"), &stale, 1000));
    CHECK(untouched == 42);
    /* The same cookie again is the same owner, but another lock. */
    EXPECT(HOLDFAST_OK, acquire("w", 1, 0, 0, &lock, NULL));
    CHECK(lock.fence > stale.fence);
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("w"), S("5"), 0, 0, &stale, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("w"), &lock));
    HOLDS(store, "w", "3");
}

static void leases(void)
{
    holdfast_lock sleeper = {0}, next = {0};
    uint64_t broken = stats_of(store).lock_broken;
    EXPECT(HOLDFAST_OK, acquire("l", 1, 0, 100, &sleeper, NULL));
    int64_t started = now_ms();
    EXPECT(HOLDFAST_OK, acquire("l", 2, 5000, 0, &next, NULL));
    CHECK(now_ms() - started >= 100);
    CHECK(next.fence > sleeper.fence && stats_of(store).lock_broken == broken + 1);
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("l"), S("late"), 0, 0, &sleeper, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_lock_renew(store, S("l"), &sleeper, 1000));
    EXPECT(HOLDFAST_LOST, holdfast_lock_release(store, S("l"), &sleeper));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("l"), S("in time"), 0, 0, &next, NULL));
    HOLDS(store, "l", "in time");

    /* Renewed to none: nobody takes it any more. */
    EXPECT(HOLDFAST_OK, holdfast_lock_renew(store, S("l"), &next, 1));
    EXPECT(HOLDFAST_OK, holdfast_lock_renew(store, S("l"), &next, 0));
    EXPECT(HOLDFAST_HELD, acquire("l", 3, 100, 0, &sleeper, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("l"), &next));
}

struct asked {
    int times, stop_at;
    volatile sig_atomic_t *signalled;
};

static int asks(void *context)
{
    struct asked *asked = context;
    asked->times++;
    /* It may use the store, but for the buffer of the call that waits. */
    holdfast_buffer value = {0};
    EXPECT(HOLDFAST_MISSING, holdfast_get(store, S("nothing"), &value, NULL));
    holdfast_buffer_free(&value);
    if (asked->signalled && *asked->signalled)
        return 1;
    return asked->stop_at && asked->times >= asked->stop_at ? -1 : 0;
}

static volatile sig_atomic_t alarmed;

static void on_alarm(int signal)
{
    (void)signal;
    alarmed = 1;
}

static void stopping(void)
{
    holdfast_lock mine = {0}, other = {1, 1, 1, 1};
    holdfast_holder holder = new_holder();
    EXPECT(HOLDFAST_OK, acquire("s", 1, 0, 0, &mine, NULL));
    struct asked asked = {0, 3, NULL};
    holdfast_wait wait = wait_for(-1, 0);
    wait.stop = asks;
    wait.stop_context = &asked;
    EXPECT(HOLDFAST_STOPPED, holdfast_lock_acquire(store, S("s"), 2, &wait, &other, &holder));
    CHECK(asked.times == 3 && other.fence == 0 && holder.pid == (uint64_t)getpid());

    /* Asked at least every 50 ms, with room for a busy machine. */
    asked = (struct asked){0, 0, NULL};
    wait.timeout_ms = 1000;
    EXPECT(HOLDFAST_HELD, holdfast_lock_acquire(store, S("s"), 2, &wait, &other, &holder));
    CHECK(asked.times >= 10);

    /* A signal ends the sleep, and the callback sees what its handler noted. */
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    asked = (struct asked){0, 0, &alarmed};
    wait.timeout_ms = 30000;
    alarm(1);
    int64_t started = now_ms();
    EXPECT(HOLDFAST_STOPPED, holdfast_lock_acquire(store, S("s"), 2, &wait, &other, &holder));
    CHECK(now_ms() - started < 10000);
    CHECK(stats_of(store).lock_waiters == 0);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("s"), &mine));
}

static void *waits(void *context)
{
    holdfast_lock *lock = context;
    EXPECT(HOLDFAST_OK, acquire("c", 2, 30000, 0, lock, NULL));
    return NULL;
}

static void crowds(void)
{
    holdfast_lock mine = {0}, theirs = {0}, third = {1, 1, 1, 1};
    holdfast_holder holder = new_holder();
    EXPECT(HOLDFAST_OK, acquire("c", 1, 0, 0, &mine, NULL));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits, &theirs) == 0);
    while (stats_of(store).lock_waiters == 0)
        sleep_ms(1);
    holdfast_wait wait = wait_for(30000, 0);
    wait.max_waiters = 1;
    EXPECT(HOLDFAST_CROWDED, holdfast_lock_acquire(store, S("c"), 3, &wait, &third, &holder));
    CHECK(third.fence == 0 && holder.waiters == 1);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("c"), &mine));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(theirs.fence != 0);
    EXPECT(HOLDFAST_HELD, acquire("c", 3, 0, 0, &third, NULL));
    /* Any thread of the process may give it back. */
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("c"), &theirs));
}

static void sessions(void)
{
    holdfast_lock lock = {0}, other = {1, 1, 1, 1};
    holdfast_buffer value = {0};
    holdfast_item item = new_item();
    holdfast_holder holder = new_holder();
    holdfast_wait wait = wait_for(0, 0);
#define OPEN(cookie, lock)                                                                        \
    holdfast_session_open(store, S("session"), cookie, &wait, &value, &item, lock, &holder)
    EXPECT(HOLDFAST_MISSING, OPEN(1, &lock));
    CHECK(lock.fence != 0 && value.len == 0);
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("session"), S("data"), 5, 60000, &lock, NULL));
    EXPECT(HOLDFAST_OK, OPEN(1, &lock));
    CHECK(value.len == 4 && memcmp(value.data, "data", 4) == 0);
    CHECK(item.flags == 5 && item.ttl_ms > 0 && item.value_len == 4);
    EXPECT(HOLDFAST_HELD, OPEN(2, &other));
    CHECK(value.len == 0 && other.fence == 0 && holder.pid == (uint64_t)getpid());
    struct asked asked = {0, 2, NULL};
    wait = wait_for(-1, 0);
    wait.stop = asks;
    wait.stop_context = &asked;
    EXPECT(HOLDFAST_STOPPED, OPEN(2, &other));
    wait = wait_for(0, 0);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("session"), &lock));
    EXPECT(HOLDFAST_OK, OPEN(2, &other));
    CHECK(value.len == 4);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("session"), &other));
    /* Without the things that may be left out. */
    EXPECT(HOLDFAST_OK,
           holdfast_session_open(store, S("session"), 1, &wait, &value, NULL, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("session"), &lock));
    holdfast_buffer_free(&value);
#undef OPEN
}

static void lists(void)
{
    holdfast_lock a = {0}, b = {0};
    EXPECT(HOLDFAST_OK, acquire("first", 1, 0, 0, &a, NULL));
    EXPECT(HOLDFAST_OK, acquire("second", 1, 0, 7000, &b, NULL));
    holdfast_lock_info list[3];
    memset(list, 0, sizeof list);
    list[0].struct_size = sizeof *list;
    size_t count = 0;
    EXPECT(HOLDFAST_OK, holdfast_locks(store, list, 3, &count));
    CHECK(count == 2 && stats_of(store).locks_held == 2);
    uint64_t hash_a = holdfast_key_hash(store, S("first"));
    uint64_t hash_b = holdfast_key_hash(store, S("second"));
    CHECK(hash_a != hash_b);
    for (size_t i = 0; i < count; i++) {
        int is_a = list[i].key_hash == hash_a;
        CHECK(is_a || list[i].key_hash == hash_b);
        CHECK(list[i].fence == (is_a ? a.fence : b.fence));
        CHECK(list[i].lease_ms == (is_a ? 0 : 7000));
        CHECK(list[i].pid == (uint64_t)getpid() && list[i].owner_alive == 1);
        CHECK(list[i].struct_size == sizeof *list && list[i].waiters == 0);
    }
    CHECK(list[0].key_hash != list[1].key_hash);
    EXPECT(HOLDFAST_OK, holdfast_locks(store, list, 1, &count));
    CHECK(count == 1);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("first"), &a));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("second"), &b));
    EXPECT(HOLDFAST_OK, holdfast_locks(store, list, 3, &count));
    CHECK(count == 0);
}

static void a_full_table_says_so(void)
{
    int result = HOLDFAST_OK;
    holdfast_wait wait = wait_for(0, 0);
    int taken = 0;
    for (; taken < 20000 && result == HOLDFAST_OK; taken++) {
        holdfast_lock lock = {0};
        result = holdfast_lock_acquire(store, &taken, sizeof taken, 1, &wait, &lock, NULL);
    }
    EXPECT_SAID(HOLDFAST_E_TOO_MANY, "locks", result);
    CHECK(taken > 1000);
}

int main(void)
{
    store = store_in(directory());
    one_owner();
    writes_with_a_lock();
    leases();
    stopping();
    crowds();
    sessions();
    lists();
    a_full_table_says_so();
    holdfast_close(store);
    return 0;
}
