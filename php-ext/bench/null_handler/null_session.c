/*
 * A save handler that stores nothing: it returns what was last written in this process, whatever
 * the id. PHP does the same work for it as for a real handler, so what a cycle costs with it is
 * what no handler can get below.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "php.h"
#include "ext/session/php_session.h"

static char *last_value;
static size_t last_len;

PS_FUNCS_UPDATE_TIMESTAMP(holdfast_null);

PS_OPEN_FUNC(holdfast_null)
{
	PS_SET_MOD_DATA(&last_value);
	return SUCCESS;
}

PS_CREATE_SID_FUNC(holdfast_null)
{
	return php_session_create_id(mod_data);
}

PS_VALIDATE_SID_FUNC(holdfast_null)
{
	return SUCCESS;
}

PS_READ_FUNC(holdfast_null)
{
	*val = last_len ? zend_string_init(last_value, last_len, 0) : ZSTR_EMPTY_ALLOC();
	return SUCCESS;
}

PS_GC_FUNC(holdfast_null)
{
	*nrdels = 0;
	return 0;
}

PS_WRITE_FUNC(holdfast_null)
{
	if (ZSTR_LEN(val) > last_len) {
		last_value = perealloc(last_value, ZSTR_LEN(val), 1);
	}
	last_len = ZSTR_LEN(val);
	memcpy(last_value, ZSTR_VAL(val), last_len);
	return SUCCESS;
}

PS_UPDATE_TIMESTAMP_FUNC(holdfast_null)
{
	return SUCCESS;
}

PS_DESTROY_FUNC(holdfast_null)
{
	last_len = 0;
	return SUCCESS;
}

PS_CLOSE_FUNC(holdfast_null)
{
	PS_SET_MOD_DATA(NULL);
	return SUCCESS;
}

static const ps_module ps_mod_holdfast_null = {
	PS_MOD_UPDATE_TIMESTAMP(holdfast_null)
};

static PHP_MINIT_FUNCTION(holdfast_null)
{
	php_session_register_module(&ps_mod_holdfast_null);
	return SUCCESS;
}

static const zend_module_dep holdfast_null_deps[] = {
	ZEND_MOD_REQUIRED("session")
	ZEND_MOD_END
};

zend_module_entry holdfast_null_module_entry = {
	STANDARD_MODULE_HEADER_EX,
	NULL,
	holdfast_null_deps,
	"holdfast_null",
	NULL,
	PHP_MINIT(holdfast_null),
	NULL,
	NULL,
	NULL,
	NULL,
	"0.1.0",
	STANDARD_MODULE_PROPERTIES
};

#ifdef COMPILE_DL_HOLDFAST_NULL
ZEND_GET_MODULE(holdfast_null)
#endif
