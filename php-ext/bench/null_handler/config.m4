dnl The do-nothing handler that bench/cycle.php compares with. Never install it.

PHP_ARG_ENABLE([holdfast-null],
  [whether to build the do-nothing session handler],
  [AS_HELP_STRING([--enable-holdfast-null], [Build a session handler that does nothing])],
  [yes])

if test "$PHP_HOLDFAST_NULL" != "no"; then
  PHP_NEW_EXTENSION([holdfast_null], [null_session.c], [$ext_shared])
  PHP_ADD_EXTENSION_DEP([holdfast_null], [session])
fi
