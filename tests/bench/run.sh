#!/bin/sh
# Measures, on this machine: the store's verbs (store.rs), scans and bytes a key (scan.rs), the store beside LMDB
# (beside.rs), its misses as a cache (hits/), one session cycle in PHP, side by side with a handler that does
# nothing and with PHP's own (php-ext/bench), and the daemon beside memcached (daemon.sh). All check every answer
# that they time.
#
# What it prints is also left in build/bench.txt, with what is needed to compare it with another machine's.
# A benchmark is no test: nothing fails because it is slow.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
php_config=${PHP_CONFIG:-php-config}
cd "$root"
mkdir -p build

facts() {
    echo "holdfast $(packaging/version.sh), $(git describe --always --dirty 2>/dev/null || echo 'no git'), $(date -u +%Y-%m-%d)"
    echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(getconf _NPROCESSORS_ONLN) processors, $(uname -srm)"
    echo "PHP $("$php_config" --version), $(rustc --version)"
    echo "load before the start: $(cut -d' ' -f1-3 /proc/loadavg)"
}

measure() {
    facts
    echo "
the store, from Rust"
    cargo run --quiet --release -p holdfast-tests --bin store-bench
    echo "
going over all keys"
    cargo run --quiet --release -p holdfast-tests --bin store-scan
    echo "
the store beside LMDB"
    cargo run --quiet --release -p holdfast-tests --bin store-beside
    echo "
the store as a cache"
    cargo run --quiet --release -p holdfast-tests --bin store-hits
    echo "
one session in PHP"
    PHP=$("$php_config" --php-binary) HOLDFAST_SO=$root/php-ext/modules/holdfast.so sh php-ext/bench/run.sh
    echo "
the daemon beside memcached"
    if command -v memcached >/dev/null 2>&1; then tests/bench/daemon.sh; else echo "SKIPPED: there is no memcached"; fi
}

# Not a pipe into tee: its exit code would hide a failure of the measurement.
fifo=$(mktemp -u)
mkfifo "$fifo"
trap 'rm -f "$fifo"' EXIT
tee build/bench.txt <"$fifo" &
measure >"$fifo" 2>&1
wait
