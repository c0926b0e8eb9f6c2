#!/bin/sh
# Runs the phpt tests against modules/holdfast.so (phpize, configure and make come first).
# Options are passed on to PHP's run-tests, e.g. -m for valgrind. Ends with 1 if a test fails.
cd "$(dirname "$0")/.." || exit 1
PHP=${PHP:-$(command -v php)}
[ -r run-tests.php ] || { echo "no run-tests.php here: run phpize first" >&2; exit 1; }

# The stores of this run are its own, so that two runs do not meet. Everybody may use the
# directory, because one test opens a store as another user.
TMPDIR=$(mktemp -d) && chmod 1777 "$TMPDIR" || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 1' INT TERM

# A process that ends while a store is open leaves a gigabyte mapped, most of it beyond the end of
# the file: to look for leaks in there takes valgrind for ever. Invalid reads and writes it finds.
export VALGRIND_OPTS="${VALGRIND_OPTS---leak-check=no}"

NO_INTERACTION=1 TEST_PHP_EXECUTABLE=$PHP TEST_PHP_SRCDIR=$(pwd) "$PHP" -n run-tests.php \
    -n -d extension_dir="$(pwd)/modules" -d extension=holdfast -q --show-diff "$@" tests
