#!/bin/sh
# Installs into a directory of its own and uses what is there as a stranger would: a C program found by
# pkg-config alone, shared and static; PHP with the installed module. Then uninstalls, and looks that
# everything is gone except the sessions.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
php_config=${PHP_CONFIG:-php-config}
php=$("$php_config" --php-binary)
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
passed=0
failed=0

check() { # check WHAT COMMAND...
    what=$1; shift
    if "$@" >"$there/output" 2>&1; then
        passed=$((passed + 1)); echo "ok    $what"
    else
        failed=$((failed + 1)); echo "FAIL  $what"; sed 's/^/      /' "$there/output"
    fi
}
make_quietly() { make -C "$root" --no-print-directory "$@" DESTDIR="$there/root" PREFIX=/opt/holdfast; }

check "make install" make_quietly install

# The tree is not at its final place, which is what pkg-config's sysroot is for.
export PKG_CONFIG_SYSROOT_DIR="$there/root"
export PKG_CONFIG_PATH="$there/root/opt/holdfast/lib/pkgconfig"
cat >"$there/program.c" <<'C'
#include <holdfast.h>
#include <string.h>
int main(void)
{
    return holdfast_abi_version() == HOLDFAST_ABI_VERSION && !strcmp(holdfast_version(), HOLDFAST_VERSION_STRING) ? 0 : 1;
}
C
lib=$there/root/opt/holdfast/lib
compile_shared() { cc -o "$there/shared" "$there/program.c" $(pkg-config --cflags --libs holdfast); }
compile_static() { cc -o "$there/static" "$there/program.c" $(pkg-config --cflags holdfast) "$lib/libholdfast.a" $(pkg-config --static --libs-only-l holdfast | sed 's/-lholdfast//'); }
needs_soname() { LC_ALL=C readelf -d "$there/shared" | grep -q 'NEEDED.*\[libholdfast\.so\.0\]'; }
check "a C program, shared, by pkg-config" compile_shared
check "it runs" env LD_LIBRARY_PATH="$lib" "$there/shared"
check "it asks for libholdfast.so.0" needs_soname
check "a C program, static, by pkg-config" compile_static
check "it runs alone" "$there/static"
check "pkg-config knows the version" pkg-config --exact-version="$("$root/packaging/version.sh")" holdfast

module=$there/root$("$php_config" --extension-dir)/holdfast.so
loads() { [ "$("$php" -n -d "extension=$module" -r 'echo phpversion("holdfast");')" = "$("$root/packaging/version.sh")" ]; }
keeps_handler() { [ "$("$php" -n -d "extension=$module" -r 'echo ini_get("session.save_handler");')" = files ]; }
check "PHP loads the installed module" loads
check "which leaves session.save_handler alone" keeps_handler
ini_switches_nothing() { ! grep -rhs '^[[:space:]]*session\.save_handler' "$there/root/etc"; }
check "and so does the installed ini file" ini_switches_nothing

sessions=$there/root/var/lib/holdfast/www-data
if [ -d "$sessions" ]; then
    mode_is_0700() { [ "$(stat -c %a "$sessions")" = 700 ]; }
    check "the directory for www-data is closed to others" mode_is_0700
fi
mkdir -p "$sessions" && echo kept >"$sessions/data"

check "make uninstall" make_quietly uninstall
only_sessions_left() { left=$(cd "$there/root" && find . ! -type d); echo "$left"; [ "$left" = ./var/lib/holdfast/www-data/data ]; }
check "only the sessions are left" only_sessions_left

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
