dnl Holdfast sessions: links libholdfast, shared (found by pkg-config or in DIR) or static (one file to install).

PHP_ARG_WITH([holdfast],
  [for Holdfast sessions],
  [AS_HELP_STRING([--with-holdfast[=DIR]],
    [Include the Holdfast session save handler. DIR is the prefix of libholdfast,
     or a checkout of its source built with "cargo build --release";
     without DIR, pkg-config finds it])])

PHP_ARG_ENABLE([holdfast-static],
  [whether to link libholdfast statically],
  [AS_HELP_STRING([--enable-holdfast-static],
    [Put libholdfast.a into the extension, so that there is one file to install])],
  [no], [no])

if test "$PHP_HOLDFAST" != "no"; then
  dnl A prefix that was named is taken at its word: what pkg-config knows may be another version.
  if test "$PHP_HOLDFAST" = "yes"; then
    PKG_CHECK_MODULES([HOLDFAST], [holdfast >= 0.1])
    PHP_EVAL_INCLINE([$HOLDFAST_CFLAGS])
    holdfast_libdir=`$PKG_CONFIG --variable=libdir holdfast`
  else
    test -r "$PHP_HOLDFAST/include/holdfast.h" ||
      AC_MSG_ERROR([no include/holdfast.h under $PHP_HOLDFAST])
    PHP_ADD_INCLUDE([$PHP_HOLDFAST/include])
    for holdfast_libdir in "$PHP_HOLDFAST/$PHP_LIBDIR" "$PHP_HOLDFAST/lib" \
        "$PHP_HOLDFAST"/lib/*-linux-* "$PHP_HOLDFAST/target/release"; do
      if test -r "$holdfast_libdir/libholdfast.so" || test -r "$holdfast_libdir/libholdfast.a"; then
        break
      fi
    done
    HOLDFAST_LIBS="-L$holdfast_libdir -lholdfast"
  fi

  if test "$PHP_HOLDFAST_STATIC" != "no"; then
    test -r "$holdfast_libdir/libholdfast.a" ||
      AC_MSG_ERROR([no libholdfast.a in $holdfast_libdir; leave out --enable-holdfast-static, or install it])
    HOLDFAST_SHARED_LIBADD="$holdfast_libdir/libholdfast.a -Wl,--exclude-libs,ALL -lpthread -ldl -lm -lgcc_s"
  else
    PHP_EVAL_LIBLINE([$HOLDFAST_LIBS], [HOLDFAST_SHARED_LIBADD])
  fi

  dnl Apache's graceful restart would unload the module while the library's thread-local
  dnl destructors and its fork handlers still point into it.
  HOLDFAST_SHARED_LIBADD="$HOLDFAST_SHARED_LIBADD -Wl,-z,nodelete"
  PHP_SUBST([HOLDFAST_SHARED_LIBADD])

  PHP_NEW_EXTENSION([holdfast],
    [holdfast.c holdfast_session.c holdfast_store.c],
    [$ext_shared],, [-DZEND_ENABLE_STATIC_TSRMLS_CACHE=1 -Wall -Wextra -Wno-unused-parameter])
  PHP_ADD_EXTENSION_DEP([holdfast], [session])
fi
