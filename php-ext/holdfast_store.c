/*
 * Where a request's store is, and the table of stores that this process has open.
 *
 * A store is opened by the first session that needs it, never while PHP starts: under php-fpm the
 * start runs as root, outside the pool's chroot, and in a process that forks all the workers. Once
 * open it serves every later request of the process and, under ZTS, every thread. The library
 * notices a fork by itself, so that a child may go on using the handle it inherited.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "php_holdfast.h"
#include "main/fopen_wrappers.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

/* Debian's session.save_path: world-writable, and meant for the files handler alone. */
#define DISTRIBUTION_SAVE_PATH "/var/lib/php/sessions"
#define DEFAULT_PARENT "/var/lib/holdfast"
#define NAME_SIZE 64

/* What the library allows a value without being asked; who sets larger sessions asks for more. */
#define DEFAULT_MAX_VALUE_BYTES (1024 * 1024)

static php_holdfast_open_store *open_stores;
static unsigned forks;
#ifdef ZTS
static MUTEX_T open_stores_mutex;
# define LOCK_TABLE() tsrm_mutex_lock(open_stores_mutex)
# define UNLOCK_TABLE() tsrm_mutex_unlock(open_stores_mutex)
#else
# define LOCK_TABLE()
# define UNLOCK_TABLE()
#endif

/* Counting forks tells a child from its parent without a getpid() in every request. */
static void count_fork(void)
{
	forks++;
}

unsigned php_holdfast_forks(void)
{
	return forks;
}

void php_holdfast_stores_startup(void)
{
	static bool watching_forks = false;

#ifdef ZTS
	open_stores_mutex = tsrm_mutex_alloc();
#endif
	/* Apache's graceful restart starts a module that was never unloaded a second time. */
	if (!watching_forks) {
		watching_forks = pthread_atfork(NULL, NULL, count_fork) == 0;
	}
}

void php_holdfast_stores_shutdown(void)
{
	pid_t self = getpid();

	while (open_stores) {
		php_holdfast_open_store *entry = open_stores;

		open_stores = entry->next;
		/* The end of a forked child is the kernel's business: the handle is its parent's. */
		if (entry->opener == self) {
			holdfast_close(entry->handle);
		}
		free(entry);
	}
#ifdef ZTS
	tsrm_mutex_free(open_stores_mutex);
#endif
}

static bool is_directory_name(const char *address)
{
	return strstr(address, "://") == NULL;
}

static void name_of_user(uid_t uid, char *name, size_t size)
{
	struct passwd entry, *found = NULL;
	char room[2048];

	if (getpwuid_r(uid, &entry, room, sizeof room, &found) == 0 && found) {
		strlcpy(name, found->pw_name, size);
	} else {
		snprintf(name, size, "%lu", (unsigned long) uid);
	}
}

static void name_of_group(gid_t gid, char *name, size_t size)
{
	struct group entry, *found = NULL;
	char room[4096];

	if (getgrgid_r(gid, &entry, room, sizeof room, &found) == 0 && found) {
		strlcpy(name, found->gr_name, size);
	} else {
		snprintf(name, size, "%lu", (unsigned long) gid);
	}
}

/* A save_path that nobody chose leads nowhere by itself, least of all to a shared directory. */
static bool is_chosen(const char *save_path)
{
	return save_path && *save_path && strcmp(save_path, DISTRIBUTION_SAVE_PATH) != 0;
}

zend_result php_holdfast_locate(const char *save_path, char *address, char *why, size_t why_size)
{
	char user[NAME_SIZE];
	const char *setting = HOLDFAST_G(store);
	const char *setting_name = "holdfast.store";

	if (!setting || !*setting) {
		setting_name = "session.save_path";
		setting = is_chosen(save_path) ? save_path : NULL;
	}
	if (!setting) {
		name_of_user(geteuid(), user, sizeof user);
		snprintf(address, PHP_HOLDFAST_ADDRESS_SIZE, DEFAULT_PARENT "/%s", user);
		return SUCCESS;
	}
	strlcpy(address, setting, PHP_HOLDFAST_ADDRESS_SIZE);
	/* php-fpm changes its directory for every script, so a relative name would be many stores. */
	if (is_directory_name(setting) && !IS_ABSOLUTE_PATH(setting, strlen(setting))) {
		snprintf(why, why_size, "%s is \"%s\": it must be a directory's full path, "
			"beginning with a slash", setting_name, setting);
		return FAILURE;
	}
	return SUCCESS;
}

/* Whether there is a directory to keep a store in; if not, the command that makes one. */
static zend_result check_directory(const char *path, char *why, size_t why_size)
{
	struct stat found;
	char user[NAME_SIZE], group[NAME_SIZE];

	if (stat(path, &found) == 0) {
		if (S_ISDIR(found.st_mode)) {
			return SUCCESS;
		}
		snprintf(why, why_size, "%s is not a directory", path);
	} else if (errno == ENOENT) {
		name_of_user(geteuid(), user, sizeof user);
		name_of_group(getegid(), group, sizeof group);
		snprintf(why, why_size, "there is no directory %s. Make it once, as root: "
			"install -d -m 0700 -o %s -g %s %s", path, user, group, path);
	} else {
		snprintf(why, why_size, "cannot look into %s: %s", path, strerror(errno));
	}
	return FAILURE;
}

static zend_result check_open_basedir(const char *address, char *why, size_t why_size)
{
	if (PG(open_basedir) && *PG(open_basedir) && is_directory_name(address)
			&& php_check_open_basedir_ex(address, 0) != 0) {
		snprintf(why, why_size, "%s is outside open_basedir (%s)", address, PG(open_basedir));
		return FAILURE;
	}
	return SUCCESS;
}

static zend_result resolve(const char *address, char *resolved, char *why, size_t why_size)
{
	if (!is_directory_name(address)) {
		strlcpy(resolved, address, PHP_HOLDFAST_ADDRESS_SIZE);
		return SUCCESS;
	}
	if (check_directory(address, why, why_size) == FAILURE) {
		return FAILURE;
	}
	if (!VCWD_REALPATH(address, resolved)) {
		snprintf(why, why_size, "cannot resolve %s: %s", address, strerror(errno));
		return FAILURE;
	}
	return SUCCESS;
}

/* What a store is made with if we are the first to open it; an existing store keeps its own. */
static holdfast_options creation_options(void)
{
	holdfast_options options;

	holdfast_options_init(&options);
	options.flags = HOLDFAST_CREATE;
	options.sync = (uint32_t) HOLDFAST_G(sync);
	options.max_bytes = (uint64_t) HOLDFAST_G(max_bytes);
	if (HOLDFAST_G(max_session_bytes) > DEFAULT_MAX_VALUE_BYTES) {
		options.max_value_bytes = (uint64_t) HOLDFAST_G(max_session_bytes);
	}
	return options;
}

static php_holdfast_open_store *open_store(const char *address, char *why, size_t why_size)
{
	holdfast_options options = creation_options();
	holdfast_store *handle = NULL;
	php_holdfast_open_store *entry;
	size_t length = strlen(address);

	if (holdfast_open(address, &options, &handle) != HOLDFAST_OK) {
		strlcpy(why, holdfast_last_error(), why_size);
		return NULL;
	}
	entry = malloc(sizeof *entry + length);
	if (!entry) {
		holdfast_close(handle);
		strlcpy(why, "out of memory", why_size);
		return NULL;
	}
	entry->handle = handle;
	entry->opener = getpid();
	memcpy(entry->address, address, length + 1);
	entry->next = open_stores;
	open_stores = entry;
	return entry;
}

static php_holdfast_open_store *look_up(const char *address)
{
	php_holdfast_open_store *entry = open_stores;

	while (entry && strcmp(entry->address, address) != 0) {
		entry = entry->next;
	}
	return entry;
}

static void remember(const php_holdfast_open_store *store, const char *save_path)
{
	free(HOLDFAST_G(known_setting));
	free(HOLDFAST_G(known_save_path));
	HOLDFAST_G(known_setting) = strdup(HOLDFAST_G(store));
	HOLDFAST_G(known_save_path) = strdup(save_path);
	HOLDFAST_G(known_store) =
		HOLDFAST_G(known_setting) && HOLDFAST_G(known_save_path) ? store : NULL;
}

static bool is_known(const char *save_path)
{
	return HOLDFAST_G(known_store)
		&& strcmp(HOLDFAST_G(known_save_path), save_path) == 0
		&& strcmp(HOLDFAST_G(known_setting), HOLDFAST_G(store)) == 0;
}

const php_holdfast_open_store *php_holdfast_find_store(
	const char *save_path, char *why, size_t why_size)
{
	char address[PHP_HOLDFAST_ADDRESS_SIZE], resolved[PHP_HOLDFAST_ADDRESS_SIZE];
	const php_holdfast_open_store *store;

	if (is_known(save_path)) {
		store = HOLDFAST_G(known_store);
		return check_open_basedir(store->address, why, why_size) == SUCCESS ? store : NULL;
	}
	if (php_holdfast_locate(save_path, address, why, why_size) == FAILURE
			|| check_open_basedir(address, why, why_size) == FAILURE
			|| resolve(address, resolved, why, why_size) == FAILURE) {
		return NULL;
	}
	LOCK_TABLE();
	store = look_up(resolved);
	if (!store) {
		store = open_store(resolved, why, why_size);
	}
	UNLOCK_TABLE();
	if (store) {
		remember(store, save_path);
	}
	return store;
}
