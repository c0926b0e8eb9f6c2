#!/bin/sh
# Builds the do-nothing handler in a temporary directory and runs cycle.php, with the options given,
# on it and on modules/holdfast.so (phpize, configure and make come first).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PHP=${PHP:-php}
PHP_CONFIG=${PHP_CONFIG:-php-config}
PHPIZE=$(printf '%s' "$PHP_CONFIG" | sed 's/php-config/phpize/')
HOLDFAST_SO=${HOLDFAST_SO:-$here/../modules/holdfast.so}
[ -r "$HOLDFAST_SO" ] || { echo "no $HOLDFAST_SO: build the extension first" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cp "$here/null_handler/config.m4" "$here/null_handler/null_session.c" "$work"
(
    cd "$work"
    { "$PHPIZE" && ./configure --with-php-config="$(command -v "$PHP_CONFIG")" && make; } >log 2>&1 ||
        { cat log >&2; exit 1; }
)
"$PHP" -n -d extension="$HOLDFAST_SO" -d extension="$work/modules/holdfast_null.so" \
    "$here/cycle.php" "$@"
