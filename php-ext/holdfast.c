/*
 * The module: what PHP needs to load the extension, the settings, the phpinfo() table, and the two
 * functions that show a store's counters and its locks. Nothing here opens a store while PHP starts.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "php_holdfast.h"
#include "php_ini.h"
#include "ext/standard/info.h"
#include "holdfast_arginfo.h"

#include <ctype.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/vfs.h>
#endif

#define MAX_LISTED_LOCKS 10000
#define YEAR_S 31536000
#define DAY_MS 86400000

ZEND_DECLARE_MODULE_GLOBALS(holdfast)

/* Settings */

typedef struct {
	zend_long least, most;
} allowed_range;

typedef struct {
	const char *word;
	zend_long value;
} allowed_word;

static const allowed_range range_wait_ms = {-1, DAY_MS};
static const allowed_range range_lease_ms = {0, (zend_long) DAY_MS * 30};
static const allowed_range range_log_ms = {0, DAY_MS};
static const allowed_range range_waiters = {0, 1000000};
static const allowed_range range_percent = {0, 90};
static const allowed_range range_lifetime_s = {0, YEAR_S};
static const allowed_range range_grace_s = {0, 3600};
static const allowed_range range_session_bytes = {0, 64 * 1024 * 1024};
static const allowed_range range_store_bytes = {0, ZEND_LONG_MAX};

static const allowed_word sync_words[] = {
	{"", HOLDFAST_SYNC_DEFAULT},
	{"none", HOLDFAST_SYNC_NONE},
	{"periodic", HOLDFAST_SYNC_PERIODIC},
	{"always", HOLDFAST_SYNC_ALWAYS},
	{NULL, 0},
};

#ifndef ZEND_INI_GET_ADDR /* PHP 8.1 */
# ifndef ZTS
#  define ZEND_INI_GET_BASE() ((char *) mh_arg2)
# else
#  define ZEND_INI_GET_BASE() ((char *) ts_resource(*((int *) mh_arg2)))
# endif
# define ZEND_INI_GET_ADDR() (ZEND_INI_GET_BASE() + (size_t) mh_arg1)
#endif

static zend_result refuse_setting(zend_ini_entry *entry, zend_string *value, const char *expected)
{
	php_error_docref(NULL, E_WARNING, "%s cannot be \"%s\": it must be %s. The value before stays",
		ZSTR_VAL(entry->name), ZSTR_VAL(value), expected);
	return FAILURE;
}

static zend_result refuse_outside(
	zend_ini_entry *entry, zend_string *value, const allowed_range *range, const char *kind)
{
	char expected[160];

	snprintf(expected, sizeof expected, "%s from " ZEND_LONG_FMT " to " ZEND_LONG_FMT,
		kind, range->least, range->most);
	return refuse_setting(entry, value, expected);
}

static ZEND_INI_MH(update_number)
{
	const allowed_range *range = mh_arg3;
	char *end;
	zend_long number;

	errno = 0;
	number = ZEND_STRTOL(ZSTR_VAL(new_value), &end, 10);
	if (ZSTR_LEN(new_value) == 0 || *end || errno
			|| number < range->least || number > range->most) {
		return refuse_outside(entry, new_value, range, "a whole number");
	}
	*(zend_long *) ZEND_INI_GET_ADDR() = number;
	return SUCCESS;
}

static bool parse_bytes(zend_string *value, zend_long *bytes)
{
#if PHP_VERSION_ID >= 80200
	zend_string *complaint = NULL;

	*bytes = zend_ini_parse_quantity(value, &complaint);
	if (complaint) {
		zend_string_release(complaint);
		return false;
	}
	return true;
#else
	*bytes = zend_atol(ZSTR_VAL(value), ZSTR_LEN(value));
	return ZSTR_LEN(value) > 0 && isdigit((unsigned char) ZSTR_VAL(value)[0]);
#endif
}

static ZEND_INI_MH(update_bytes)
{
	const allowed_range *range = mh_arg3;
	zend_long bytes;

	if (!parse_bytes(new_value, &bytes) || bytes < range->least || bytes > range->most) {
		return refuse_outside(entry, new_value, range, "bytes (K, M and G may follow),");
	}
	*(zend_long *) ZEND_INI_GET_ADDR() = bytes;
	return SUCCESS;
}

static ZEND_INI_MH(update_sync)
{
	const allowed_word *allowed;

	for (allowed = sync_words; allowed->word; allowed++) {
		if (strcmp(allowed->word, ZSTR_VAL(new_value)) == 0) {
			*(zend_long *) ZEND_INI_GET_ADDR() = allowed->value;
			return SUCCESS;
		}
	}
	return refuse_setting(entry, new_value, "none, periodic, always or empty");
}

static ZEND_INI_MH(update_lock_failure)
{
	bool readonly = zend_string_equals_literal(new_value, "readonly");

	if (!readonly && !zend_string_equals_literal(new_value, "fail")) {
		return refuse_setting(entry, new_value, "fail or readonly");
	}
	*(bool *) ZEND_INI_GET_ADDR() = readonly;
	return SUCCESS;
}

static ZEND_INI_MH(update_prefix)
{
	size_t i;

	for (i = 0; i < ZSTR_LEN(new_value); i++) {
		/* Blanks and control characters cannot be part of a key on memcached's wire. */
		if (!isgraph((unsigned char) ZSTR_VAL(new_value)[i])) {
			break;
		}
	}
	if (i < ZSTR_LEN(new_value) || ZSTR_LEN(new_value) > PHP_HOLDFAST_MAX_PREFIX) {
		return refuse_setting(entry, new_value, "up to 256 visible ASCII characters");
	}
	return OnUpdateString(entry, new_value, mh_arg1, mh_arg2, mh_arg3, stage);
}

#ifdef ZTS
# define SETTINGS_BASE ((void *) &holdfast_globals_id)
#else
# define SETTINGS_BASE ((void *) &holdfast_globals)
#endif
#define SETTING(name, initial, who, update, field, range) \
	PHP_INI_ENTRY3("holdfast." name, initial, who, update, \
		(void *) XtOffsetOf(zend_holdfast_globals, field), SETTINGS_BASE, (void *) (range))
#define SWITCH(name, initial, field) \
	STD_PHP_INI_BOOLEAN("holdfast." name, initial, PHP_INI_ALL, OnUpdateBool, field, \
		zend_holdfast_globals, holdfast_globals)

PHP_INI_BEGIN()
	SETTING("store", "", PHP_INI_PERDIR, OnUpdateString, store, NULL)
	SETTING("prefix", "memc.sess.key.", PHP_INI_ALL, update_prefix, prefix, NULL)
	SWITCH("lock", "1", lock)
	SETTING("lock_wait_ms", "60000", PHP_INI_ALL, update_number, lock_wait_ms, &range_wait_ms)
	SETTING("lock_lease_ms", "3600000", PHP_INI_ALL, update_number, lock_lease_ms, &range_lease_ms)
	SETTING("lock_failure", "fail", PHP_INI_ALL, update_lock_failure, lock_failure_readonly, NULL)
	SETTING("max_waiters", "0", PHP_INI_ALL, update_number, max_waiters, &range_waiters)
	SETTING("slow_lock_log_ms", "0", PHP_INI_ALL, update_number, slow_lock_log_ms, &range_log_ms)
	SWITCH("readonly", "0", readonly)
	SWITCH("early_refresh", "0", early_refresh)
	SETTING("touch_granularity_pct", "0", PHP_INI_ALL, update_number, touch_granularity_pct,
		&range_percent)
	SWITCH("skip_empty_new", "0", skip_empty_new)
	SETTING("first_lifetime_s", "0", PHP_INI_ALL, update_number, first_lifetime_s,
		&range_lifetime_s)
	SETTING("regenerate_grace_s", "0", PHP_INI_ALL, update_number, regenerate_grace_s,
		&range_grace_s)
	SETTING("max_session_bytes", "0", PHP_INI_ALL, update_bytes, max_session_bytes,
		&range_session_bytes)
	SETTING("max_bytes", "0", PHP_INI_SYSTEM, update_bytes, max_bytes, &range_store_bytes)
	SETTING("sync", "", PHP_INI_SYSTEM, update_sync, sync, NULL)
PHP_INI_END()

/* Module */

static PHP_GINIT_FUNCTION(holdfast)
{
#if defined(COMPILE_DL_HOLDFAST) && defined(ZTS)
	ZEND_TSRMLS_CACHE_UPDATE();
#endif
	memset(holdfast_globals, 0, sizeof *holdfast_globals);
}

static PHP_GSHUTDOWN_FUNCTION(holdfast)
{
	holdfast_buffer_free(&holdfast_globals->buffer);
	free(holdfast_globals->known_setting);
	free(holdfast_globals->known_save_path);
}

static PHP_MINIT_FUNCTION(holdfast)
{
	REGISTER_INI_ENTRIES();
	php_holdfast_stores_startup();

	/* Without the handler session_start() says that there is none; a crash would say less. */
	if (holdfast_abi_version() != HOLDFAST_ABI_VERSION) {
		zend_error(E_CORE_WARNING, "Holdfast: this extension was built for version %d of the "
			"libholdfast ABI, and the library loaded (%s) has version %d. Rebuild the extension",
			HOLDFAST_ABI_VERSION, holdfast_version(), holdfast_abi_version());
		return SUCCESS;
	}
	if (php_session_register_module(&ps_mod_holdfast) == -1) {
		zend_error(E_CORE_WARNING, "Holdfast: PHP has no room for another session save handler");
	}
	return SUCCESS;
}

static PHP_MSHUTDOWN_FUNCTION(holdfast)
{
	php_holdfast_stores_shutdown();
	UNREGISTER_INI_ENTRIES();
	return SUCCESS;
}

static const char *session_save_path(void)
{
	const char *save_path = zend_ini_string("session.save_path", strlen("session.save_path"), 0);

	return save_path ? save_path : "";
}

static const char *persistence_of(const char *address)
{
#ifdef __linux__
	struct statfs found;

	if (statfs(address, &found) == 0) {
		return found.f_type == TMPFS_MAGIC
			? "no: this is a tmpfs, and a reboot loses every session" : "yes";
	}
#endif
	return "not known";
}

static PHP_MINFO_FUNCTION(holdfast)
{
	char address[PHP_HOLDFAST_ADDRESS_SIZE], why[PHP_HOLDFAST_WHY_SIZE], number[32];
	zend_result located = php_holdfast_locate(session_save_path(), address, why, sizeof why);

	php_info_print_table_start();
	php_info_print_table_row(2, "Holdfast sessions", "enabled");
	php_info_print_table_row(2, "Extension version", PHP_HOLDFAST_VERSION);
	php_info_print_table_row(2, "Library version (headers)", HOLDFAST_VERSION_STRING);
	php_info_print_table_row(2, "Library version (loaded)", holdfast_version());
	snprintf(number, sizeof number, "%d", holdfast_abi_version());
	php_info_print_table_row(2, "Library ABI", number);
	php_info_print_table_row(2, "Store", located == SUCCESS ? address : why);
	if (located == SUCCESS) {
		php_info_print_table_row(2, "Persistent", persistence_of(address));
	}
	php_info_print_table_end();

	DISPLAY_INI_ENTRIES();
}

/* Functions */

#define COUNTER(name) {#name, XtOffsetOf(holdfast_stats, name)}

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
	COUNTER(keys), COUNTER(live_bytes), COUNTER(data_bytes), COUNTER(max_bytes),
	COUNTER(max_value_bytes), COUNTER(index_bytes), COUNTER(index_slots), COUNTER(segment_bytes),
	COUNTER(segments), COUNTER(segments_free), COUNTER(gets), COUNTER(hits), COUNTER(sets),
	COUNTER(deletes), COUNTER(touches), COUNTER(expired), COUNTER(refused_full),
	COUNTER(damaged_reads), COUNTER(lock_acquired), COUNTER(lock_waited), COUNTER(lock_timeouts),
	COUNTER(lock_broken), COUNTER(latch_stolen), COUNTER(healed), COUNTER(sync_rounds),
	COUNTER(sync_interval_ms), COUNTER(format_major), COUNTER(format_minor), COUNTER(processes),
	COUNTER(max_processes), COUNTER(locks_held), COUNTER(lock_waiters), COUNTER(last_sync_age_ms),
};

static const char *sync_word(uint64_t sync)
{
	const allowed_word *allowed;

	for (allowed = sync_words; allowed->word; allowed++) {
		if ((uint64_t) allowed->value == sync) {
			return allowed->word;
		}
	}
	return "unknown";
}

static void add_counters(zval *status, const holdfast_stats *stats)
{
	size_t i;

	for (i = 0; i < sizeof counters / sizeof *counters; i++) {
		uint64_t value = *(const uint64_t *) ((const char *) stats + counters[i].offset);

		add_assoc_long(status, counters[i].name, (zend_long) value);
	}
	add_assoc_string(status, "sync", sync_word(stats->sync));
	add_assoc_bool(status, "persistent", !stats->not_persistent);
	add_assoc_bool(status, "options_differ", stats->options_differ != 0);
}

/* A page that shows the state of things must work above all when something is wrong: the reason is
 * an entry of the array, not a warning. */
PHP_FUNCTION(holdfast_status)
{
	char why[PHP_HOLDFAST_WHY_SIZE] = "";
	const php_holdfast_open_store *store;
	holdfast_stats stats;

	ZEND_PARSE_PARAMETERS_NONE();

	store = php_holdfast_find_store(session_save_path(), why, sizeof why);
	memset(&stats, 0, sizeof stats);
	stats.struct_size = sizeof stats;
	if (store && holdfast_stats_get(store->handle, &stats) != HOLDFAST_OK) {
		strlcpy(why, holdfast_last_error(), sizeof why);
		store = NULL;
	}

	array_init(return_value);
	add_assoc_string(return_value, "extension", PHP_HOLDFAST_VERSION);
	add_assoc_string(return_value, "library", holdfast_version());
	add_assoc_string(return_value, "error", why);
	add_assoc_string(return_value, "last_error", HOLDFAST_G(last_error));
	if (store) {
		add_assoc_string(return_value, "store", store->address);
		add_counters(return_value, &stats);
	}
}

static void add_lock(zval *locks, const holdfast_lock_info *info)
{
	zval lock;
	char id[16];

	snprintf(id, sizeof id, PHP_HOLDFAST_SHORT_ID, php_holdfast_short_hash(info->key_hash));
	array_init(&lock);
	add_assoc_string(&lock, "session", id);
	add_assoc_long(&lock, "pid", (zend_long) info->pid);
	add_assoc_long(&lock, "age_ms", (zend_long) info->age_ms);
	add_assoc_long(&lock, "lease_ms", (zend_long) info->lease_ms);
	add_assoc_long(&lock, "waiters", (zend_long) info->waiters);
	add_assoc_bool(&lock, "alive", info->owner_alive != 0);
	add_next_index_zval(locks, &lock);
}

PHP_FUNCTION(holdfast_locks)
{
	zend_long limit = 100;
	char why[PHP_HOLDFAST_WHY_SIZE] = "";
	const php_holdfast_open_store *store;
	holdfast_lock_info *infos;
	size_t count = 0, i;

	ZEND_PARSE_PARAMETERS_START(0, 1)
		Z_PARAM_OPTIONAL
		Z_PARAM_LONG(limit)
	ZEND_PARSE_PARAMETERS_END();

	if (limit < 1 || limit > MAX_LISTED_LOCKS) {
		zend_argument_value_error(1, "must be between 1 and %d", MAX_LISTED_LOCKS);
		RETURN_THROWS();
	}
	array_init(return_value);
	store = php_holdfast_find_store(session_save_path(), why, sizeof why);
	if (!store) {
		php_error_docref(NULL, E_WARNING, "%s", why);
		return;
	}

	infos = safe_emalloc((size_t) limit, sizeof *infos, 0);
	memset(infos, 0, (size_t) limit * sizeof *infos);
	for (i = 0; i < (size_t) limit; i++) {
		infos[i].struct_size = sizeof *infos;
	}
	if (holdfast_locks(store->handle, infos, (size_t) limit, &count) != HOLDFAST_OK) {
		php_error_docref(NULL, E_WARNING, "%s", holdfast_last_error());
		count = 0;
	}
	for (i = 0; i < count && i < (size_t) limit; i++) {
		add_lock(return_value, &infos[i]);
	}
	efree(infos);
}

static const zend_module_dep holdfast_deps[] = {
	ZEND_MOD_REQUIRED("session")
	ZEND_MOD_END
};

zend_module_entry holdfast_module_entry = {
	STANDARD_MODULE_HEADER_EX,
	NULL,
	holdfast_deps,
	"holdfast",
	ext_functions,
	PHP_MINIT(holdfast),
	PHP_MSHUTDOWN(holdfast),
	NULL, /* auto_start begins a session before any RINIT of ours, */
	NULL, /* and PHP ends one after our RSHUTDOWN: neither can be used */
	PHP_MINFO(holdfast),
	PHP_HOLDFAST_VERSION,
	PHP_MODULE_GLOBALS(holdfast),
	PHP_GINIT(holdfast),
	PHP_GSHUTDOWN(holdfast),
	NULL,
	STANDARD_MODULE_PROPERTIES_EX
};

#ifdef COMPILE_DL_HOLDFAST
# ifdef ZTS
ZEND_TSRMLS_CACHE_DEFINE()
# endif
ZEND_GET_MODULE(holdfast)
#endif
