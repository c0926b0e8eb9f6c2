/*
 * The save handler: PHP's nine callbacks, in the order in which a session meets them.
 *
 *   open -> create_sid or validate_sid -> read -> (gc) -> write or update_timestamp -> close
 *                                              \-> destroy -> close
 *
 * What holds throughout:
 *   - The session's lock is taken with the read and given back by close. The kernel gives it back
 *     when the process dies.
 *   - Nothing is written for a session that was not read to its end. A memory limit that strikes
 *     inside a read makes PHP write an empty session at the end of the request. Nor is what PHP
 *     could not pack to its end.
 *   - A callback that fails raises one warning that says why, and answers FAILURE. It never answers
 *     with an empty session because it could not look.
 *   - Ids never appear in a message; a hash of the key does, the same as in holdfast_locks().
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "php_holdfast.h"

#include <time.h>

#define CREATE_SID_ATTEMPTS 3
#define CALLER_DEPTH 8
#define MAX_LIFETIME_S INT64_C(3153600000) /* a hundred years: no sum of times overflows */

PS_FUNCS_UPDATE_TIMESTAMP(holdfast);

const ps_module ps_mod_holdfast = {
	PS_MOD_UPDATE_TIMESTAMP(holdfast)
};

/* Messages */

/* The upper half of the hash: the library may use the lower bits to choose a bucket. */
uint32_t php_holdfast_short_hash(uint64_t key_hash)
{
	return (uint32_t) (key_hash >> 32);
}

static void say(const php_holdfast_session *session, int severity, const char *format, ...)
{
	char message[PHP_HOLDFAST_MESSAGE_SIZE - 32];
	uint32_t id;
	va_list arguments;

	/* First the text: it may quote the library, and the next call may change that sentence. */
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);

	if (session->key.len) {
		id = php_holdfast_short_hash(
			holdfast_key_hash(session->store, session->key.bytes, session->key.len));
		snprintf(HOLDFAST_G(last_error), sizeof HOLDFAST_G(last_error),
			"session " PHP_HOLDFAST_SHORT_ID " %s", id, message);
	} else {
		strlcpy(HOLDFAST_G(last_error), message, sizeof HOLDFAST_G(last_error));
	}
	php_error_docref(NULL, severity, "%s", HOLDFAST_G(last_error));
}

static void explain_lock(
	const php_holdfast_session *session, int result, const holdfast_holder *holder)
{
	const char *reason = "the wait was ended by the time limit or a signal";
	char limit[96];

	if (result == HOLDFAST_HELD) {
		snprintf(limit, sizeof limit, "gave up after holdfast.lock_wait_ms = " ZEND_LONG_FMT,
			HOLDFAST_G(lock_wait_ms));
		reason = limit;
	} else if (result == HOLDFAST_CROWDED) {
		snprintf(limit, sizeof limit, "not queued, because of holdfast.max_waiters = "
			ZEND_LONG_FMT, HOLDFAST_G(max_waiters));
		reason = limit;
	}
	say(session, E_WARNING, "is held by process %llu for %llu ms now (%u waiting): %s",
		(unsigned long long) holder->pid, (unsigned long long) holder->age_ms,
		(unsigned) holder->waiters, reason);
}

static void explain_lost(php_holdfast_session *session)
{
	if (session->forks != php_holdfast_forks()) {
		say(session, E_WARNING, "was opened by the parent of this process, which alone may "
			"write it; nothing was written here");
	} else {
		say(session, E_WARNING, "was locked for longer than holdfast.lock_lease_ms and another "
			"request broke the lock; nothing more is written");
	}
	session->lock_lost = true;
}

/* Says why a call to the library did not do its work. Always FAILURE, for the caller to return. */
static zend_result fail(php_holdfast_session *session, const char *what, int result)
{
	if (result == HOLDFAST_LOST) {
		explain_lost(session);
	} else {
		say(session, E_WARNING, "could not be %s: %s", what, holdfast_last_error());
	}
	return FAILURE;
}

/* Keys */

/* PHP lets ids through that its own files handler would refuse, so every callback must look. */
static bool is_valid_id(const zend_string *id)
{
	const char *c = ZSTR_VAL(id), *end = c + ZSTR_LEN(id);

	if (ZSTR_LEN(id) == 0 || ZSTR_LEN(id) > PHP_HOLDFAST_MAX_ID) {
		return false;
	}
	for (; c < end; c++) {
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z')
				|| *c == ',' || *c == '-')) {
			return false;
		}
	}
	return true;
}

static bool make_key(php_holdfast_key *key, const zend_string *id)
{
	size_t prefix_len = strlen(HOLDFAST_G(prefix));

	if (!is_valid_id(id)) {
		return false;
	}
	memcpy(key->bytes, HOLDFAST_G(prefix), prefix_len);
	memcpy(key->bytes + prefix_len, ZSTR_VAL(id), ZSTR_LEN(id));
	key->prefix_len = prefix_len;
	key->len = prefix_len + ZSTR_LEN(id);
	return true;
}

/* Compares the id only: a prefix changed in mid-session must not move the session. */
static bool is_key_of(const php_holdfast_key *key, const zend_string *id)
{
	return key->len == key->prefix_len + ZSTR_LEN(id) && key->len
		&& memcmp(key->bytes + key->prefix_len, ZSTR_VAL(id), ZSTR_LEN(id)) == 0;
}

static zend_result refuse_id(void)
{
	strlcpy(HOLDFAST_G(last_error), "the session id is not one that PHP makes: it has 1 to 256 "
		"characters, which are letters, digits, commas and minus signs",
		sizeof HOLDFAST_G(last_error));
	php_error_docref(NULL, E_WARNING, "%s", HOLDFAST_G(last_error));
	return FAILURE;
}

/* The open session */

static void forget_value(php_holdfast_session *session)
{
	if (session->value) {
		zend_string_release(session->value);
		session->value = NULL;
	}
}

static void know_value(php_holdfast_session *session, zend_string *value)
{
	forget_value(session);
	session->value = zend_string_copy(value);
}

static void begin(php_holdfast_session *session, holdfast_store *store)
{
	/* Unique among the threads of a process, which share one place in the lock table: the globals
	 * of two threads cannot overlap, and a thread has one session at a time. */
	uint64_t thread = (uint64_t) (uintptr_t) session >> 6;

	session->store = store;
	session->cookie = (thread << 22) | (++HOLDFAST_G(opened) & 0x3fffff);
	session->forks = php_holdfast_forks();
	session->read_state = PHP_HOLDFAST_UNREAD;
	session->read_only = HOLDFAST_G(readonly);
	session->is_new = session->retired = session->lock_lost = false;
	session->lock.fence = 0;
	session->key.len = 0;
	session->open = true;
}

static int release_lock(php_holdfast_session *session)
{
	int result = HOLDFAST_OK;

	if (session->lock.fence) {
		result = holdfast_lock_release(
			session->store, session->key.bytes, session->key.len, &session->lock);
		session->lock.fence = 0;
	}
	return result;
}

static const holdfast_lock *held_lock(const php_holdfast_session *session)
{
	return session->lock.fence ? &session->lock : NULL;
}

/* Makes `id` the session's key, which gives back the lock of the key before it. */
static zend_result take_key(php_holdfast_session *session, const zend_string *id)
{
	if (is_key_of(&session->key, id)) {
		return SUCCESS;
	}
	(void) release_lock(session);
	forget_value(session);
	session->key.len = 0;
	session->read_state = PHP_HOLDFAST_UNREAD;
	session->is_new = session->retired = session->lock_lost = false;
	return make_key(&session->key, id) ? SUCCESS : refuse_id();
}

/* Lifetimes. 0 means the store's default, as gc_maxlifetime = 0 names no time. */
static int64_t milliseconds(zend_long seconds)
{
	if (seconds <= 0) {
		return HOLDFAST_TTL_DEFAULT;
	}
	return (seconds < MAX_LIFETIME_S ? (int64_t) seconds : MAX_LIFETIME_S) * 1000;
}

/* open */

PS_OPEN_FUNC(holdfast)
{
	php_holdfast_session *session = &HOLDFAST_G(session);
	char why[PHP_HOLDFAST_WHY_SIZE];
	const php_holdfast_open_store *store =
		php_holdfast_find_store(save_path, HOLDFAST_CREATE, why, sizeof why);

	/* session_reset() opens an open session again: it goes on, with its lock. */
	if (session->open && PS_GET_MOD_DATA() && store && session->store == store->handle) {
		session->read_state = PHP_HOLDFAST_UNREAD;
		return SUCCESS;
	}
	if (session->open) {
		(void) ps_close_holdfast(mod_data);
	}
	if (!store) {
		PS_SET_MOD_DATA(NULL);
		strlcpy(HOLDFAST_G(last_error), why, sizeof HOLDFAST_G(last_error));
		php_error_docref(NULL, E_WARNING, "%s", why);
		return FAILURE;
	}
	begin(session, store->handle);
	PS_SET_MOD_DATA(session);
	return SUCCESS;
}

/* create_sid, validate_sid */

/* Leaves no record behind: PHP takes an id that validates for one that is in use. */
PS_CREATE_SID_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();
	php_holdfast_key key;
	int attempt;

	for (attempt = 0; attempt < CREATE_SID_ATTEMPTS; attempt++) {
		zend_string *id = php_session_create_id(mod_data);

		/* A store that cannot be asked makes the read fail, with the reason. */
		if (!session || !id || !make_key(&key, id)
				|| holdfast_exists(session->store, key.bytes, key.len, NULL) != HOLDFAST_OK) {
			return id;
		}
		zend_string_release(id);
	}
	return NULL;
}

/* Asks the store each time and remembers nothing: the read may find otherwise. */
PS_VALIDATE_SID_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();
	php_holdfast_key asked;

	if (!session || !make_key(&asked, key)) {
		return FAILURE;
	}
	/* A store that cannot be asked must not look like an id that does not exist, which would log
	 * the user out without a word: let the id pass, and the read say what is wrong. */
	return holdfast_exists(session->store, asked.bytes, asked.len, NULL) == HOLDFAST_MISSING
		? FAILURE : SUCCESS;
}

/* read */

/* Runs inside the library's wait, so it looks and does nothing else. */
static int should_stop(void *context)
{
#if PHP_VERSION_ID >= 80200
	return zend_atomic_bool_load_ex(&EG(vm_interrupt)) || zend_atomic_bool_load_ex(&EG(timed_out));
#else
	return EG(vm_interrupt) || EG(timed_out);
#endif
}

static holdfast_wait wait_of_settings(void)
{
	holdfast_wait wait;

	memset(&wait, 0, sizeof wait);
	wait.struct_size = sizeof wait;
	wait.timeout_ms = HOLDFAST_G(lock_wait_ms);
	wait.lease_ms = HOLDFAST_G(lock_lease_ms);
	wait.max_waiters = (uint32_t) HOLDFAST_G(max_waiters);
	wait.stop = should_stop;
	return wait;
}

static int open_record(php_holdfast_session *session, const holdfast_wait *wait,
	holdfast_item *item, holdfast_holder *holder)
{
	return holdfast_session_open(session->store, session->key.bytes, session->key.len,
		session->cookie, wait, &HOLDFAST_G(buffer), item, &session->lock, holder);
}

static int64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* As open_record(), and tells how long the wait was if that was long. The try before the wait finds
 * out who holds the lock, which nobody knows any more once it is ours. */
static int open_record_and_watch(php_holdfast_session *session, holdfast_wait *wait,
	holdfast_item *item, holdfast_holder *holder, int64_t *slow_ms)
{
	int64_t began = monotonic_ms(), waited;
	int64_t timeout_ms = wait->timeout_ms;
	holdfast_holder first;
	int result;

	wait->timeout_ms = 0;
	result = open_record(session, wait, item, holder);
	if (result != HOLDFAST_HELD || timeout_ms == 0) {
		return result;
	}
	first = *holder;
	wait->timeout_ms = timeout_ms;
	result = open_record(session, wait, item, holder);
	waited = monotonic_ms() - began;
	if ((result == HOLDFAST_OK || result == HOLDFAST_MISSING)
			&& waited >= HOLDFAST_G(slow_lock_log_ms)) {
		*slow_ms = waited;
		*holder = first;
	}
	return result;
}

static void explain_slow(
	const php_holdfast_session *session, const holdfast_holder *holder, int64_t slow_ms)
{
	say(session, E_NOTICE, "was waited for %lld ms; process %llu held it, for %llu ms when the "
		"wait began", (long long) slow_ms, (unsigned long long) holder->pid,
		(unsigned long long) holder->age_ms);
}

static int read_locked(php_holdfast_session *session, holdfast_item *item,
	holdfast_holder *holder, int64_t *slow_ms)
{
	holdfast_wait wait = wait_of_settings();

	if (HOLDFAST_G(slow_lock_log_ms) > 0) {
		return open_record_and_watch(session, &wait, item, holder, slow_ms);
	}
	return open_record(session, &wait, item, holder);
}

static int read_unlocked(php_holdfast_session *session, holdfast_item *item)
{
	return holdfast_get(session->store, session->key.bytes, session->key.len,
		&HOLDFAST_G(buffer), item);
}

static bool is_lock_refusal(int result)
{
	return result == HOLDFAST_HELD || result == HOLDFAST_CROWDED;
}

static int read_record(php_holdfast_session *session, holdfast_item *item,
	holdfast_holder *holder, int64_t *slow_ms)
{
	int result;

	if (session->read_only || !HOLDFAST_G(lock)) {
		return read_unlocked(session, item);
	}
	result = read_locked(session, item, holder, slow_ms);
	if (is_lock_refusal(result) && HOLDFAST_G(lock_failure_readonly)) {
		session->read_only = true;
		result = read_unlocked(session, item);
	}
	return result;
}

static bool is_too_large(size_t length)
{
	return HOLDFAST_G(max_session_bytes) > 0 && length > (size_t) HOLDFAST_G(max_session_bytes);
}

static zend_result refuse_size(php_holdfast_session *session, size_t length)
{
	say(session, E_WARNING, "has %zu bytes, more than holdfast.max_session_bytes = " ZEND_LONG_FMT,
		length, HOLDFAST_G(max_session_bytes));
	return FAILURE;
}

static int touch(php_holdfast_session *session, int64_t ttl_ms)
{
	int result = holdfast_touch(
		session->store, session->key.bytes, session->key.len, ttl_ms, held_lock(session));

	if (result == HOLDFAST_OK) {
		session->ttl_left_ms = ttl_ms;
	}
	return result;
}

/* Hands the value in the buffer to PHP. The memory limit may end the request in here. */
static void hand_over(php_holdfast_session *session, zend_string **val)
{
	const holdfast_buffer *buffer = &HOLDFAST_G(buffer);

	if (session->is_new || buffer->len == 0) {
		*val = ZSTR_EMPTY_ALLOC();
	} else {
		*val = zend_string_init((const char *) buffer->data, buffer->len, 0);
	}
	if (!session->is_new) {
		know_value(session, *val);
	}
}

PS_READ_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();
	holdfast_item item = {sizeof item, 0, 0, 0, 0, 0};
	holdfast_holder holder = {sizeof holder, 0, 0, 0, 0};
	int64_t slow_ms = 0;
	int result;

	if (!session || take_key(session, key) == FAILURE) {
		return FAILURE;
	}
	forget_value(session);
	session->read_state = PHP_HOLDFAST_READING;
	session->lock_lost = false;
	session->forks = php_holdfast_forks();
	result = read_record(session, &item, &holder, &slow_ms);
	if (is_lock_refusal(result) || result == HOLDFAST_STOPPED) {
		explain_lock(session, result, &holder);
		return FAILURE;
	}
	if (result != HOLDFAST_OK && result != HOLDFAST_MISSING) {
		return fail(session, "read", result);
	}
	session->is_new = result == HOLDFAST_MISSING;
	session->retired = !session->is_new && item.flags == PHP_HOLDFAST_FLAGS_RETIRED;
	session->ttl_left_ms = item.ttl_ms;
	if (!session->is_new && is_too_large(HOLDFAST_G(buffer).len)) {
		return refuse_size(session, HOLDFAST_G(buffer).len);
	}
	hand_over(session, val);
	session->read_state = PHP_HOLDFAST_READ;
	if (HOLDFAST_G(early_refresh) && !session->is_new && !session->retired) {
		(void) touch(session, milliseconds(maxlifetime));
	}
	/* Last, because PHP code may handle the notice, and may close the session. */
	if (slow_ms > 0) {
		explain_slow(session, &holder, slow_ms);
	}
	return SUCCESS;
}

/* gc: a bounded sweep that counts. Space comes back without it, so it may be switched off. */

PS_GC_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();
	uint64_t expired = 0;
	int result;

	*nrdels = -1;
	if (!session) {
		return -1;
	}
	result = holdfast_expire(session->store, 0, &expired);
	if (result < 0) {
		(void) fail(session, "swept with the others", result);
		return -1;
	}
	*nrdels = (zend_long) expired;
	return *nrdels;
}

/* write, update_timestamp */

/* A handler object may write a session that it never read; like the files handler, lock it then. */
static zend_result lock_unread(php_holdfast_session *session)
{
	holdfast_wait wait = wait_of_settings();
	holdfast_holder holder = {sizeof holder, 0, 0, 0, 0};
	int result;

	if (session->read_only || !HOLDFAST_G(lock) || session->lock.fence) {
		return SUCCESS;
	}
	result = holdfast_lock_acquire(session->store, session->key.bytes, session->key.len,
		session->cookie, &wait, &session->lock, &holder);
	if (is_lock_refusal(result) || result == HOLDFAST_STOPPED) {
		explain_lock(session, result, &holder);
		return FAILURE;
	}
	return result == HOLDFAST_OK ? SUCCESS : fail(session, "locked", result);
}

static zend_result prepare_write(php_holdfast_session *session, zend_string *id)
{
	if (!session || take_key(session, id) == FAILURE) {
		return FAILURE;
	}
	if (session->read_state == PHP_HOLDFAST_READING) {
		say(session, E_WARNING, "was not read to its end, so what PHP would write now is not the "
			"session; the stored data stays as it is");
		return FAILURE;
	}
	/* An object of the session threw, or ended the request, while PHP packed it. PHP would write
	 * the values up to that one, which it cannot unpack: it destroys such a session at its next
	 * start. */
	if (EG(exception)) {
		say(session, E_WARNING, "was not packed to its end, because of what an object in it did; "
			"the stored data stays as it is");
		return FAILURE;
	}
	return session->read_state == PHP_HOLDFAST_UNREAD ? lock_unread(session) : SUCCESS;
}

/* A visitor who has been seen once, perhaps a robot, may be given less time. */
static int64_t lifetime_ms(const php_holdfast_session *session, zend_long maxlifetime)
{
	int64_t full = milliseconds(maxlifetime), first = milliseconds(HOLDFAST_G(first_lifetime_s));

	return session->is_new && first > 0 && (first < full || full <= 0) ? first : full;
}

static zend_result put(php_holdfast_session *session, zend_string *val, zend_long maxlifetime)
{
	int result;

	if (session->read_only) {
		say(session, E_WARNING, "was opened without its lock, to be read only (holdfast.readonly "
			"or holdfast.lock_failure); the changes are not stored");
		return FAILURE;
	}
	if (session->retired) {
		say(session, E_WARNING, "has been replaced by session_regenerate_id() and can only be "
			"read until its time of grace ends; the changes are not stored");
		return FAILURE;
	}
	if (is_too_large(ZSTR_LEN(val))) {
		return refuse_size(session, ZSTR_LEN(val));
	}
	result = holdfast_set(session->store, session->key.bytes, session->key.len, ZSTR_VAL(val),
		ZSTR_LEN(val), 0, lifetime_ms(session, maxlifetime), held_lock(session), NULL);
	if (result != HOLDFAST_OK) {
		return fail(session, "written", result);
	}
	session->is_new = false;
	know_value(session, val);
	return SUCCESS;
}

static bool need_not_exist(const php_holdfast_session *session, const zend_string *val)
{
	return session->is_new && ZSTR_LEN(val) == 0
		&& (HOLDFAST_G(skip_empty_new) || session->read_only);
}

static bool is_fresh(const php_holdfast_session *session, int64_t ttl_ms)
{
	int64_t passed_ms = ttl_ms - session->ttl_left_ms;

	return HOLDFAST_G(touch_granularity_pct) > 0 && session->ttl_left_ms > 0 && passed_ms >= 0
		&& passed_ms / HOLDFAST_G(touch_granularity_pct) < ttl_ms / 100;
}

/* The data is what the store has: only its time is renewed. */
static zend_result refresh(php_holdfast_session *session, zend_string *val, zend_long maxlifetime)
{
	int64_t ttl_ms = milliseconds(maxlifetime);
	int result;

	if (session->retired || is_fresh(session, ttl_ms)) {
		return SUCCESS;
	}
	result = touch(session, ttl_ms);
	/* It expired while the request ran: it comes back, but not for one who only looks. */
	if (result == HOLDFAST_MISSING) {
		return session->read_only ? SUCCESS : put(session, val, maxlifetime);
	}
	/* Whoever has the lock now renews the time as well, and no data of ours is lost. */
	if (result == HOLDFAST_OK || result == HOLDFAST_LOST) {
		return SUCCESS;
	}
	return fail(session, "refreshed", result);
}

/* Through SessionHandler, as Symfony and Magento use it, PHP writes even what did not change. */
PS_WRITE_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();

	if (prepare_write(session, key) == FAILURE) {
		return FAILURE;
	}
	if (session->value && zend_string_equals(session->value, val)) {
		return refresh(session, val, maxlifetime);
	}
	return need_not_exist(session, val) ? SUCCESS : put(session, val, maxlifetime);
}

PS_UPDATE_TIMESTAMP_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();

	if (prepare_write(session, key) == FAILURE) {
		return FAILURE;
	}
	if (session->is_new) {
		return need_not_exist(session, val) ? SUCCESS : put(session, val, maxlifetime);
	}
	return refresh(session, val, maxlifetime);
}

/* destroy */

/* PHP does not say why it destroys; the function on the stack does. A handler object may stand
 * between it and us. */
static bool is_regenerating(void)
{
	const zend_execute_data *frame = EG(current_execute_data);
	int depth;

	for (depth = 0; frame && depth < CALLER_DEPTH; depth++, frame = frame->prev_execute_data) {
		const zend_function *function = frame->func;

		if (function && function->type == ZEND_INTERNAL_FUNCTION && !function->common.scope
				&& zend_string_equals_literal(
					function->common.function_name, "session_regenerate_id")) {
			return true;
		}
	}
	return false;
}

/* Leaves the session as it was last written, for a while, to requests that carry its old id. */
static int retire(php_holdfast_session *session, const holdfast_lock *lock)
{
	holdfast_item item = {sizeof item, 0, 0, 0, 0, 0};
	int64_t grace_ms = milliseconds(HOLDFAST_G(regenerate_grace_s));
	int result = read_unlocked(session, &item);

	if (result != HOLDFAST_OK || item.flags == PHP_HOLDFAST_FLAGS_RETIRED) {
		return result;
	}
	if (item.ttl_ms >= 0 && item.ttl_ms < grace_ms) {
		grace_ms = item.ttl_ms > 0 ? item.ttl_ms : 1;
	}
	return holdfast_set(session->store, session->key.bytes, session->key.len,
		HOLDFAST_G(buffer).data, HOLDFAST_G(buffer).len, PHP_HOLDFAST_FLAGS_RETIRED, grace_ms,
		lock, NULL);
}

/* A logout is a logout, whoever has the lock by now: a lost lock does not stop a delete. */
static int remove_record(php_holdfast_session *session)
{
	const php_holdfast_key *key = &session->key;
	const holdfast_lock *lock = held_lock(session);
	int result = HOLDFAST_LOST;

	if (HOLDFAST_G(regenerate_grace_s) > 0 && is_regenerating()) {
		result = retire(session, lock);
	} else if (lock) {
		result = holdfast_delete(session->store, key->bytes, key->len, lock);
	}
	return result == HOLDFAST_LOST
		? holdfast_delete(session->store, key->bytes, key->len, NULL) : result;
}

/* A handler object may destroy a session that is not the open one, which keeps its lock. */
static int remove_other(php_holdfast_session *session, const zend_string *id)
{
	php_holdfast_key other;

	if (!make_key(&other, id)) {
		return HOLDFAST_E_INVALID;
	}
	return holdfast_delete(session->store, other.bytes, other.len, NULL);
}

PS_DESTROY_FUNC(holdfast)
{
	php_holdfast_session *session = PS_GET_MOD_DATA();
	bool is_open_one = session && is_key_of(&session->key, key);
	int result;

	if (!session) {
		return FAILURE;
	}
	if (!is_valid_id(key)) {
		return refuse_id();
	}
	if (session->read_only) {
		say(session, E_WARNING, "was opened without its lock, to be read only (holdfast.readonly "
			"or holdfast.lock_failure), and is not destroyed");
		return FAILURE;
	}
	result = is_open_one ? remove_record(session) : remove_other(session, key);
	if (result != HOLDFAST_OK && result != HOLDFAST_MISSING) {
		return fail(session, "destroyed", result);
	}
	if (is_open_one) {
		forget_value(session);
		session->is_new = true;
	}
	return SUCCESS;
}

/* close */

static void trim_buffer(holdfast_buffer *buffer)
{
	if (buffer->capacity > PHP_HOLDFAST_KEEP_BUFFER) {
		holdfast_buffer_free(buffer);
	}
}

static int end(php_holdfast_session *session)
{
	int result = release_lock(session);

	forget_value(session);
	trim_buffer(&HOLDFAST_G(buffer));
	session->open = false;
	return result;
}

PS_CLOSE_FUNC(holdfast)
{
	php_holdfast_session *session = &HOLDFAST_G(session);

	PS_SET_MOD_DATA(NULL);
	/* A forked child that leaves its parent's session alone has nothing to be told. */
	if (session->open && end(session) == HOLDFAST_LOST && !session->lock_lost
			&& session->forks == php_holdfast_forks()) {
		explain_lost(session);
	}
	return SUCCESS;
}

/* A handler object may override close() and forget its parent's: then nobody closes but us, and
 * the next request must neither find the lock taken nor memory of this one. */
void php_holdfast_end_request(void)
{
	php_holdfast_session *session = &HOLDFAST_G(session);

	if (session->open) {
		(void) end(session);
	}
}
