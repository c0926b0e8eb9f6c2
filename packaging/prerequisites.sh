#!/bin/sh
# Checks what `make build`, `make run`, `make test`, `make bench` or `make coverage` needs before any work starts, and
# installs the Debian packages that are missing: it names them first, and asks when somebody is there
# to answer (a terminal on stdin, and no YES=1).
#
#   packaging/prerequisites.sh build|run|test|bench|coverage
#
# The presence of a tool decides, not the exit code of apt: an unrelated broken package on the machine,
# or a service that cannot start in a container, must not stop a build that has all it needs.
set -eu

goal=${1:?usage: prerequisites.sh build|run|test|bench|coverage}
here=$(cd "$(dirname "$0")/.." && pwd)
php_config=${PHP_CONFIG:-php-config}

# Debian keeps php-fpm and nginx here, which is not on the path of an ordinary user.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$@" >&2; }
die() { say "" "holdfast: $1"; shift; for line; do say "  $line"; done; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# ---- Rust first: it is the one thing that is not taken from Debian ----------------------------------

wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/Cargo.toml" 2>/dev/null | head -n 1)
wanted=${wanted:-1.89}
how="with rustup, see https://www.rust-lang.org/tools/install"

if ! has rustc || ! has cargo; then
    die "Rust $wanted or newer is needed, and neither rustc nor cargo was found." \
        "Install it:            $how" \
        "Then open a new shell, or:  . \"\$HOME/.cargo/env\"" \
        "Debian 12's own package rustc is too old for this."
fi

found=$(rustc --version 2>/dev/null | awk '{print $2}')
# Numbers before the first letter or dash only: 1.95.0-nightly counts as 1.95.0.
if ! printf '%s %s\n' "${found%%-*}" "$wanted" | awk '{
        split($1, a, "."); split($2, b, ".");
        for (i = 1; i <= 3; i++) { if (a[i] + 0 > b[i] + 0) exit 0; if (a[i] + 0 < b[i] + 0) exit 1 }
    }'; then
    case $(command -v rustc) in
    */.cargo/bin/*) die "Rust $wanted or newer is needed; this is ${found:-unknown}." "Update it:  rustup update stable" ;;
    *) die "Rust $wanted or newer is needed; $(command -v rustc) is ${found:-unknown}." "Install a current one beside it:  $how" ;;
    esac
fi

# ---- then the tools, each with the package that brings it -------------------------------------------

# The PHP that is here already decides which version is added to it; a PHP_CONFIG with a version in its
# name decides before that.
version=
if has "$php_config"; then
    version=$("$php_config" --version | cut -d. -f1,2)
elif [ -n "$(printf '%s' "$php_config" | sed -n 's/.*php-config\([0-9]\)/\1/p')" ]; then
    version=${php_config##*php-config}
elif has php; then
    version=$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;' 2>/dev/null || true)
fi
# A PHP that did not come from dpkg (built from source, Docker's official image) has no packages: parts
# of Debian's PHP beside it would be another PHP.
own_php=$(command -v "$php_config" || command -v php || true)
if [ -z "$own_php" ]; then
    php_packages=php$version
elif dpkg -S "$own_php" >/dev/null 2>&1 || dpkg -S "$(readlink -f "$own_php")" >/dev/null 2>&1; then
    php_packages=php$version
else
    php_packages=FOREIGN
fi
phpize=$(printf '%s' "$php_config" | sed 's/php-config/phpize/')

missing_tools=
missing_packages=
need() { # need "what a user calls it" package command-that-succeeds...
    what=$1; package=$2; shift 2
    "$@" >/dev/null 2>&1 && return 0
    missing_tools="$missing_tools${missing_tools:+, }$what"
    missing_packages="$missing_packages${missing_packages:+ }$package"
}
fpm_here() { has "php-fpm$version" || has php-fpm; }
php_memcached() { php -m | grep -qx memcached; }
llvm_cov() { for n in 30 29 28 27 26 25 24 23 22 21 20 19; do has llvm-cov-$n && return 0; done; return 1; }
compiles_c() { has cc && echo 'int main(void){return 0;}' | cc -x c -o /dev/null -; }

need_all() {
    missing_tools=
    missing_packages=
    need "a C compiler" "gcc libc6-dev" compiles_c
    need "pkg-config" pkg-config has pkg-config
    need "php (command line)" "$php_packages-cli" has php
    need "phpize" "$php_packages-dev" has "$phpize"
    need "php-config" "$php_packages-dev" has "$php_config"
    # Any that knows the format of this compiler's profiles; tests/coverage.py takes the newest.
    case $goal in coverage) need "llvm-cov 19 or newer" llvm-19 llvm_cov ;; esac
    case $goal in run | test) need "python3" python3 has python3 ;; esac
    if [ "$goal" = test ]; then
        need "php-fpm" "$php_packages-fpm" fpm_here
        need "nginx" nginx-light has nginx
        need "valgrind" valgrind has valgrind
        need "strace" strace has strace
        need "a C++ compiler" g++ has c++
        # Filesystems whose power is cut.
        need "mkfs.ext4" e2fsprogs has mkfs.ext4
        need "mkfs.xfs" xfsprogs has mkfs.xfs
        # What the daemon is compared with, and whose clients it must satisfy.
        need "memcached" memcached has memcached
        need "memccapable" libmemcached-tools has memccapable
        need "nutcracker" nutcracker has nutcracker
        need "PHP's extension memcached" "$php_packages-memcached" php_memcached
        need "python3 -m venv" python3-venv python3 -m venv --help
    fi
    # phpize and php-config come in one package: name it once.
    missing_packages=$(printf '%s\n' $missing_packages | awk '!seen[$0]++' | paste -sd ' ' -)
}

need_all
[ -n "$missing_tools" ] || exit 0

say "holdfast: 'make $goal' also needs: $missing_tools"
case $missing_packages in
*FOREIGN*) die "$own_php does not come from a Debian package." "Add what is missing the way this PHP was installed, then run 'make $goal' again." ;;
esac
if ! has apt-get; then
    die "there is no apt-get here." "Install these with the machine's own package manager, then run 'make $goal' again."
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! has sudo; then
        die "installing packages needs root, and there is no sudo. As root:" \
            "apt-get update && apt-get install --no-install-recommends $missing_packages"
    fi
    as_root=sudo
    [ -t 0 ] || as_root="sudo -n"
fi

say "holdfast: to be installed from Debian: $missing_packages"
case $missing_packages in
*fpm* | *nginx* | *memcached* | *nutcracker*) say "holdfast: (Debian starts the services of php-fpm, nginx, memcached and nutcracker; the tests use their own processes and neither need nor touch these)" ;;
esac

if [ -t 0 ] && [ "${YES:-}" != 1 ]; then
    printf 'Install them now? [Y/n] ' >&2
    read -r answer || answer=n
    case $answer in
    '' | y | Y | yes | Yes) ;;
    *) die "nothing was installed. By hand:" "${as_root:+sudo }apt-get install --no-install-recommends $missing_packages" ;;
    esac
fi

apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2; }
apt update || say "holdfast: apt-get update failed; going on with the package lists that are here"
apt install -y --no-install-recommends $missing_packages || say "holdfast: apt-get reported a failure; looking at what is there now"

need_all
if [ -n "$missing_tools" ]; then
    die "still missing: $missing_tools" "The output of apt-get above says why."
fi
