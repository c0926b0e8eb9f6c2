/* What the C tests share: checks that say where and why, and directories that go away. */
#ifndef CHECK_H
#define CHECK_H

#include <holdfast.h>

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* The result must be this one; a failure that comes instead shows its sentence. */
#define EXPECT(wanted, call) expect(wanted, call, #call, __FILE__, __LINE__)

/* A failure with a sentence that holds these words. */
#define EXPECT_SAID(wanted, words, call)                                                          \
    do {                                                                                          \
        EXPECT(wanted, call);                                                                     \
        said(words, __FILE__, __LINE__);                                                          \
    } while (0)

static inline void expect(int wanted, int result, const char *call, const char *file, int line)
{
    if (result == wanted)
        return;
    fprintf(stderr, "%s:%d: %s\n  gave %s, not %s%s%s\n", file, line, call,
            holdfast_result_name(result), holdfast_result_name(wanted), result < 0 ? ": " : "",
            result < 0 ? holdfast_last_error() : "");
    exit(1);
}

static inline void said(const char *words, const char *file, int line)
{
    if (strstr(holdfast_last_error(), words) == NULL) {
        fprintf(stderr, "%s:%d: the sentence lacks \"%s\": %s\n", file, line, words,
                holdfast_last_error());
        exit(1);
    }
}

/* A string literal as key or value: pointer and length, without the NUL. */
#define S(text) (text), (sizeof(text) - 1)

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

#define DIRECTORIES 8
static char directories[DIRECTORIES][128];
static int directories_made;
static pid_t directories_owner;

static inline int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

static inline void remove_directories(void)
{
    if (getpid() != directories_owner)
        return;
    for (int i = 0; i < directories_made; i++)
        nftw(directories[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new private directory, removed when the program ends. */
static inline const char *directory(void)
{
    if (directories_made == 0) {
        directories_owner = getpid();
        atexit(remove_directories);
    }
    CHECK(directories_made < DIRECTORIES);
    char *path = directories[directories_made++];
    /* The runner gives a directory that it removes, also after a program that did not end well. */
    const char *parent = getenv("TMPDIR");
    snprintf(path, sizeof directories[0], "%.90s/holdfast-capi-XXXXXX", parent ? parent : "/tmp");
    CHECK(mkdtemp(path) != NULL);
    return path;
}

/* A small store in a directory, made if there is none. */
static inline holdfast_store *store_in(const char *path)
{
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE;
    options.max_bytes = 16 << 20;
    holdfast_store *store = NULL;
    EXPECT(HOLDFAST_OK, holdfast_open(path, &options, &store));
    CHECK(store != NULL);
    return store;
}

static inline holdfast_item new_item(void)
{
    holdfast_item item;
    memset(&item, 0, sizeof item);
    item.struct_size = sizeof item;
    return item;
}

static inline holdfast_holder new_holder(void)
{
    holdfast_holder holder;
    memset(&holder, 0, sizeof holder);
    holder.struct_size = sizeof holder;
    return holder;
}

static inline holdfast_wait wait_for(int64_t timeout_ms, int64_t lease_ms)
{
    holdfast_wait wait;
    memset(&wait, 0, sizeof wait);
    wait.struct_size = sizeof wait;
    wait.timeout_ms = timeout_ms;
    wait.lease_ms = lease_ms;
    return wait;
}

static inline holdfast_stats stats_of(holdfast_store *store)
{
    holdfast_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    EXPECT(HOLDFAST_OK, holdfast_stats_get(store, &stats));
    return stats;
}

/* The value of a key must be this. */
#define HOLDS(store, key, text) holds(store, key, sizeof(key) - 1, text, sizeof(text) - 1, __LINE__)

static inline void holds(holdfast_store *store, const char *key, size_t key_len, const char *text,
                         size_t len, int line)
{
    holdfast_buffer value = {0};
    int result = holdfast_get(store, key, key_len, &value, NULL);
    if (result != HOLDFAST_OK || value.len != len || (len && memcmp(value.data, text, len))) {
        fprintf(stderr, "line %d: %s holds %s \"%.*s\", not \"%s\"\n", line, key,
                holdfast_result_name(result), (int)value.len,
                value.data ? (char *)value.data : "", text);
        exit(1);
    }
    holdfast_buffer_free(&value);
}

/* Runs a function in a child of fork; its checks count. */
static inline pid_t in_child(void (*run)(void *), void *context)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run(context);
        _exit(0);
    }
    return child;
}

static inline void must_end_well(pid_t child)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif
