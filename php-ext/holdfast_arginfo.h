/* This is a generated file, edit the .stub.php file instead.
 * Stub hash: 62bf8de67b0bc3e335e07abf7ad64f229f13a07d */

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_holdfast_status, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_holdfast_locks, 0, 0, IS_ARRAY, 0)
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, limit, IS_LONG, 0, "100")
ZEND_END_ARG_INFO()


ZEND_FUNCTION(holdfast_status);
ZEND_FUNCTION(holdfast_locks);


static const zend_function_entry ext_functions[] = {
	ZEND_FE(holdfast_status, arginfo_holdfast_status)
	ZEND_FE(holdfast_locks, arginfo_holdfast_locks)
	ZEND_FE_END
};
