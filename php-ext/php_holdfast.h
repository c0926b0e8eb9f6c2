/*
 * Holdfast sessions for PHP: what the three files of this extension share.
 *
 *   holdfast.c          the module: settings, phpinfo(), the two functions
 *   holdfast_store.c    where the store is, and the process-wide table of open stores
 *   holdfast_session.c  the save handler: nine callbacks, in the order of a session's life
 *
 * The extension never reads PS(), whose layout differs between PHP versions, and never lets PHP
 * code or a PHP error run inside a call to libholdfast.
 */
#ifndef PHP_HOLDFAST_H
#define PHP_HOLDFAST_H

#include "php.h"
#include "ext/session/php_session.h"

#include <holdfast.h>

#define PHP_HOLDFAST_VERSION "0.1.0"

/* PHP gives ids of up to 256 characters; the library takes keys of up to 1024 bytes. */
#define PHP_HOLDFAST_MAX_ID 256
#define PHP_HOLDFAST_MAX_PREFIX 256
#define PHP_HOLDFAST_MAX_KEY (PHP_HOLDFAST_MAX_PREFIX + PHP_HOLDFAST_MAX_ID)

/* A read buffer above this size is given back at the end of the session instead of being kept. */
#define PHP_HOLDFAST_KEEP_BUFFER (1024 * 1024)

/* What stands in a warning or in holdfast_locks() instead of a session id: eight hex digits. */
#define PHP_HOLDFAST_SHORT_ID "%08x"

/*
 * The user flags of a record. Sessions carry 0, which is what php-memcached writes, so that a
 * session is the same whether it is reached in-process or over the wire. A session that
 * session_regenerate_id(true) leaves behind under holdfast.regenerate_grace_s carries this mark,
 * "HFgr", and can be read but no longer written.
 */
#define PHP_HOLDFAST_FLAGS_RETIRED 0x48466772u

typedef enum {
	PHP_HOLDFAST_UNREAD,
	PHP_HOLDFAST_READING, /* a read began; a memory limit may have ended it half way */
	PHP_HOLDFAST_READ
} php_holdfast_read_state;

/* A store that this process has open: one per directory, kept from request to request. */
typedef struct php_holdfast_open_store {
	struct php_holdfast_open_store *next;
	holdfast_store *handle;
	pid_t opener;
	char address[1]; /* resolved; as long as it needs to be */
} php_holdfast_open_store;

/* A session's name in the store: holdfast.prefix, then the id. */
typedef struct {
	size_t prefix_len, len; /* len 0: no key yet */
	char bytes[PHP_HOLDFAST_MAX_KEY];
} php_holdfast_key;

/* The one session that a thread has open; PHP's mod_data points here. */
typedef struct {
	holdfast_store *store;
	holdfast_lock lock;   /* fence 0: none was taken */
	zend_string *value;   /* what the store holds as far as we know; NULL: unknown or nothing */
	uint64_t cookie;      /* who we are to the lock table, from open to close */
	int64_t ttl_left_ms;  /* of the record; -1: it never expires */
	unsigned forks;       /* php_holdfast_forks() at the time of opening */
	php_holdfast_read_state read_state;
	bool open;
	bool read_only;       /* by holdfast.readonly, or a snapshot taken without the lock */
	bool is_new;          /* the read found no record */
	bool retired;         /* the record is on its way out: see PHP_HOLDFAST_FLAGS_RETIRED */
	bool lock_lost;       /* and the user has been told */
	php_holdfast_key key;
} php_holdfast_session;

ZEND_BEGIN_MODULE_GLOBALS(holdfast)
	/* Settings; their units are in their names, as in php.ini. */
	char *store;
	char *prefix;
	bool lock;
	bool readonly;
	bool lock_failure_readonly;
	bool early_refresh;
	bool skip_empty_new;
	zend_long lock_wait_ms;
	zend_long lock_lease_ms;
	zend_long max_waiters;
	zend_long slow_lock_log_ms;
	zend_long touch_granularity_pct;
	zend_long first_lifetime_s;
	zend_long regenerate_grace_s;
	zend_long max_session_bytes;
	zend_long max_bytes;
	zend_long sync; /* HOLDFAST_SYNC_* */

	php_holdfast_session session;
	holdfast_buffer buffer; /* values are read into this one, again and again */
	uint32_t opened;        /* sessions opened by this thread; part of the cookie */

	/* The last store looked up, so that a session_start() needs no system call to find it again. */
	const php_holdfast_open_store *known_store;
	char *known_setting, *known_save_path;

	char last_error[256];
ZEND_END_MODULE_GLOBALS(holdfast)

ZEND_EXTERN_MODULE_GLOBALS(holdfast)
#define HOLDFAST_G(v) ZEND_MODULE_GLOBALS_ACCESSOR(holdfast, v)

#if defined(ZTS) && defined(COMPILE_DL_HOLDFAST)
ZEND_TSRMLS_CACHE_EXTERN()
#endif

extern zend_module_entry holdfast_module_entry;
#define phpext_holdfast_ptr &holdfast_module_entry

/* holdfast_session.c */
extern const ps_module ps_mod_holdfast;
uint32_t php_holdfast_short_hash(uint64_t key_hash);

/* holdfast_store.c */
void php_holdfast_stores_startup(void);
void php_holdfast_stores_shutdown(void);
unsigned php_holdfast_forks(void);

/*
 * Where the settings and session.save_path lead to: a directory or an address with "://". FAILURE
 * leaves the reason in `why`. Does not ask whether anything is there.
 */
zend_result php_holdfast_locate(const char *save_path, char *address, char *why, size_t why_size);

/* The store for these settings, opened now if need be; NULL leaves the reason in `why`. */
const php_holdfast_open_store *php_holdfast_find_store(const char *save_path, char *why, size_t why_size);

/* Room for an address, and for a sentence about one. */
#define PHP_HOLDFAST_ADDRESS_SIZE MAXPATHLEN
#define PHP_HOLDFAST_WHY_SIZE (MAXPATHLEN + 512)

#endif
