#!/bin/sh
# Installs into a directory of its own and uses what is there as a stranger would: a C program found by
# pkg-config alone, shared and static; PHP with the installed module; the installed server, asked by a
# client and by the load generator. Then uninstalls, and looks that everything is gone except the
# sessions and a configuration that somebody changed.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
php_config=${PHP_CONFIG:-php-config}
php=$("$php_config" --php-binary)
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
passed=0
failed=0
skipped=0

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

bin=$there/root/opt/holdfast/bin
serves() { python3 "$root/tests/install/serve.py" "$bin"; }
check "the installed server serves, keeps what it was given, and ends" serves

units=$there/root/opt/holdfast/lib/systemd/system
names_what_is_installed() {
    for name in $(grep -ho '/opt/holdfast/[^ ]*' "$units"/holdfast*); do [ -e "$there/root$name" ] || { echo "$name"; return 1; }; done
    ! grep -r '/usr/bin/holdfastd\|/usr/share/doc' "$units"
}
check "the units name what is installed" names_what_is_installed
if command -v systemd-analyze >/dev/null 2>&1; then
    # It looks for the programs that units name, and those of this tree are not at their place.
    units_are_good() {
        mkdir -p "$there/units"
        for unit in "$units"/holdfast*; do
            sed "s|/opt/holdfast/bin|$bin|" "$unit" >"$there/units/$(basename "$unit" | sed 's/@/@one/')"
        done
        for unit in holdfast.service holdfast@one.service holdfast.socket; do
            SYSTEMD_UNIT_PATH="$there/units:" systemd-analyze verify --man=no --recursive-errors=no "$there/units/$unit" 2>&1 |
                grep holdfast && return 1
        done
        return 0
    }
    check "the installed units are good" units_are_good
else
    skipped=$((skipped + 1)); echo "SKIPPED: systemd-analyze is not installed, the units are not verified"
fi
# The same units under a systemd of their own, which prints and counts its own tests.
python3 "$root/tests/install/units.py" >"$there/systemd" 2>&1 || :
grep -v ' passed, ' "$there/systemd" || :
read -r more_passed more_failed more_skipped <<COUNTS
$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$there/systemd" | grep . || echo 0 1 0)
COUNTS
passed=$((passed + more_passed)); failed=$((failed + more_failed)); skipped=$((skipped + more_skipped))
config=$there/root/etc/holdfast/holdfast.toml
config_is_good() { "$bin/holdfastd" --config "$config" --check-config && "$bin/holdfastd" --config "$there/root/opt/holdfast/share/doc/holdfast/holdfast.toml" --check-config; }
check "the installed configurations are good" config_is_good
changed_config_stays() {
    echo 'conn_limit = 77' >>"$config" && cp "$config" "$there/changed"
    make_quietly install && cmp "$config" "$there/changed"
}
check "make install again, over a changed configuration" changed_config_stays

sessions=$there/root/var/lib/holdfast/www-data
if [ -d "$sessions" ]; then
    mode_is_0700() { [ "$(stat -c %a "$sessions")" = 700 ]; }
    check "the directory for www-data is closed to others" mode_is_0700
fi
mkdir -p "$sessions" && echo kept >"$sessions/data"

check "make uninstall" make_quietly uninstall
left() { (cd "$there/root" && find . ! -type d | sort); }
only_ours_left() { left; [ "$(left)" = "$(printf '%s\n' ./etc/holdfast/holdfast.toml ./var/lib/holdfast/www-data/data)" ]; }
check "only the sessions and the changed configuration are left" only_ours_left
# One that nobody changed goes with the rest.
rm "$config"
check "make install, once more" make_quietly install
check "make uninstall, once more" make_quietly uninstall
only_sessions_left() { left; [ "$(left)" = ./var/lib/holdfast/www-data/data ]; }
check "only the sessions are left" only_sessions_left

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
