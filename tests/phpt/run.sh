#!/bin/sh
# Runs the extension's own tests (php-ext/tests/*.phpt) with PHP's test runner, against the extension as
# `make build` has built it: in build/php-ext, so that the results of a run do not land in the sources.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
php=$("${PHP_CONFIG:-php-config}" --php-binary)
cd "$root/build/php-ext"

# -n: whatever this machine's php.ini loads is no part of the test.
NO_INTERACTION=1 TEST_PHP_EXECUTABLE=$php exec "$php" -n run-tests.php -n -q --show-diff --set-timeout 120 \
    -d "extension=$root/php-ext/modules/holdfast.so" -d session.gc_probability=0 tests
