/* fork(): the child's handles work, in its own name; it never has its parent's locks, and never
 * keeps its dead parent "alive". */
#include "check.h"

#include <signal.h>
#include <pthread.h>

static holdfast_store *store;
/* The process of main(). */
static pid_t grandest;

static int acquire(const char *key, uint64_t cookie, int64_t timeout_ms, holdfast_lock *lock,
                   holdfast_holder *holder)
{
    holdfast_wait wait = wait_for(timeout_ms, 0);
    return holdfast_lock_acquire(store, key, strlen(key), cookie, &wait, lock, holder);
}

static void reads_and_writes(void *unused)
{
    (void)unused;
    HOLDS(store, "shared", "from the parent");
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("shared"), S("from the child"), 0, 0, NULL, NULL));
    CHECK(stats_of(store).processes == 2);
}

static void has_not_the_lock(void *context)
{
    holdfast_lock *parents = context, own = {0};
    holdfast_holder holder = new_holder();
    /* Not even with the parent's cookie. */
    EXPECT(HOLDFAST_HELD, acquire("l", parents->cookie, 0, &own, &holder));
    CHECK(holder.pid == (uint64_t)grandest);
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("l"), S("child"), 0, 0, parents, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_touch(store, S("l"), 1000, parents));
    EXPECT(HOLDFAST_LOST, holdfast_delete(store, S("l"), parents));
    EXPECT(HOLDFAST_LOST, holdfast_lock_renew(store, S("l"), parents, 0));
    holdfast_lock copy = *parents;
    EXPECT(HOLDFAST_LOST, holdfast_lock_release(store, S("l"), &copy));
    EXPECT(HOLDFAST_HELD, acquire("l", 1, 0, &own, NULL));
    holdfast_close(store);
}

static void never_uses_the_store(void *unused)
{
    (void)unused;
    holdfast_close(store);
}

static void parent_and_child(void)
{
    holdfast_lock lock = {0};
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("shared"), S("from the parent"), 0, 0, NULL, NULL));
    must_end_well(in_child(reads_and_writes, NULL));
    HOLDS(store, "shared", "from the child");

    EXPECT(HOLDFAST_OK, acquire("l", 1, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("l"), S("parent"), 0, 0, &lock, NULL));
    must_end_well(in_child(has_not_the_lock, &lock));
    must_end_well(in_child(never_uses_the_store, NULL));
    /* Neither took it away. */
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("l"), S("still"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("l"), &lock));
    HOLDS(store, "l", "still");
}

static void makes_a_grandchild(void *context)
{
    holdfast_lock own = {0};
    EXPECT(HOLDFAST_OK, acquire("child", 1, 0, &own, NULL));
    must_end_well(in_child(has_not_the_lock, context));
    /* A grandchild of one that has used the store, and one whose parent holds a lock. */
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("child"), S("x"), 0, 0, &own, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("child"), &own));
}

static void checks_the_grandparent(void *context)
{
    holdfast_lock *lock = context, own = {0};
    EXPECT(HOLDFAST_HELD, acquire("g", lock->cookie, 0, &own, NULL));
    EXPECT(HOLDFAST_LOST, holdfast_set(store, S("g"), S("x"), 0, 0, lock, NULL));
}

/* Forks before it has used the store itself. */
static void forks_at_once(void *context)
{
    must_end_well(in_child(checks_the_grandparent, context));
    checks_the_grandparent(context);
}

static void child_of_a_child(void)
{
    holdfast_lock lock = {0};
    EXPECT(HOLDFAST_OK, acquire("g", 5, 0, &lock, NULL));
    must_end_well(in_child(forks_at_once, &lock));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("g"), S("x"), 0, 0, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("g"), &lock));
}

struct pipes {
    int ready[2], release[2];
};

/* Takes a lock, makes a child that outlives it, and is killed. */
static void dies_with_a_lock(void *context)
{
    struct pipes *pipes = context;
    holdfast_lock lock = {0};
    EXPECT(HOLDFAST_OK, acquire("dead", 1, 0, &lock, NULL));
    pid_t orphan = fork();
    CHECK(orphan >= 0);
    if (orphan == 0) {
        char byte;
        close(pipes->release[1]);
        CHECK(read(pipes->release[0], &byte, 1) == 0);
        _exit(0);
    }
    CHECK(write(pipes->ready[1], "r", 1) == 1);
    for (;;)
        pause();
}

static void *kills_soon(void *child)
{
    sleep_ms(200);
    kill(*(pid_t *)child, SIGKILL);
    return NULL;
}

/* The one who waits gets it when the holder dies, although a child of the holder lives. */
static void the_death_of_the_holder(void)
{
    struct pipes pipes;
    char byte;
    CHECK(pipe(pipes.ready) == 0 && pipe(pipes.release) == 0);
    pid_t child = in_child(dies_with_a_lock, &pipes);
    CHECK(read(pipes.ready[0], &byte, 1) == 1);
    holdfast_lock lock = {0};
    holdfast_holder holder = new_holder();
    EXPECT(HOLDFAST_HELD, acquire("dead", 1, 0, &lock, &holder));
    CHECK(holder.pid == (uint64_t)child);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, kills_soon, &child) == 0);
    int64_t started = now_ms();
    EXPECT(HOLDFAST_OK, acquire("dead", 1, 30000, &lock, NULL));
    CHECK(now_ms() - started < 15000);
    CHECK(pthread_join(thread, NULL) == 0);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    close(pipes.release[1]);
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("dead"), &lock));
}

/* The child of the holder is the one who waits. */
static void waits_for_its_parent(void *context)
{
    struct pipes *pipes = context;
    holdfast_lock lock = {0};
    CHECK(write(pipes->ready[1], "r", 1) == 1);
    EXPECT(HOLDFAST_OK, acquire("parent", 1, 30000, &lock, NULL));
    EXPECT(HOLDFAST_OK, holdfast_set(store, S("parent"), S("child"), 0, 0, &lock, NULL));
    CHECK(write(pipes->release[1], "d", 1) == 1);
}

static void is_the_parent(void *context)
{
    struct pipes *pipes = context;
    holdfast_lock lock = {0};
    char byte;
    EXPECT(HOLDFAST_OK, acquire("parent", 1, 0, &lock, NULL));
    in_child(waits_for_its_parent, pipes);
    CHECK(read(pipes->ready[0], &byte, 1) == 1);
    sleep_ms(100);
    kill(getpid(), SIGKILL);
}

static void the_death_of_the_parent(void)
{
    struct pipes pipes;
    char byte;
    CHECK(pipe(pipes.ready) == 0 && pipe(pipes.release) == 0);
    pid_t parent = in_child(is_the_parent, &pipes);
    int status = 0;
    CHECK(waitpid(parent, &status, 0) == parent && WIFSIGNALED(status));
    CHECK(read(pipes.release[0], &byte, 1) == 1);
    HOLDS(store, "parent", "child");
}

/* fork() while other threads are in the middle of calls. */
static volatile int enough;

static void *writes_all_the_time(void *number)
{
    for (long i = 0; !enough; i++) {
        EXPECT(HOLDFAST_OK,
               holdfast_set(store, &number, sizeof number, &i, sizeof i, 0, 0, NULL, NULL));
        /* This is not about a full store. */
        if (i % 64 == 0)
            sleep_ms(1);
    }
    return NULL;
}

static void writes_a_little(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++)
        EXPECT(HOLDFAST_OK, holdfast_set(store, &i, sizeof i, S("child"), 0, 0, NULL, NULL));
    holdfast_store *other = store_in(directory());
    EXPECT(HOLDFAST_OK, holdfast_set(other, S("k"), S("v"), 0, 0, NULL, NULL));
    holdfast_close(other);
    remove_directories();
}

static void forks_among_threads(void)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, writes_all_the_time, (void *)(i + 1000)) == 0);
    for (int i = 0; i < 20; i++)
        must_end_well(in_child(writes_a_little, NULL));
    enough = 1;
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    /* A check that hangs is a check that fails. */
    alarm(300);
    grandest = getpid();
    store = store_in(directory());
    parent_and_child();
    holdfast_lock lock = {0};
    EXPECT(HOLDFAST_OK, acquire("l", 1, 0, &lock, NULL));
    must_end_well(in_child(makes_a_grandchild, &lock));
    EXPECT(HOLDFAST_OK, holdfast_lock_release(store, S("l"), &lock));
    child_of_a_child();
    the_death_of_the_holder();
    the_death_of_the_parent();
    forks_among_threads();
    holdfast_close(store);
    return 0;
}
