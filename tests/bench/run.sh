#!/bin/sh
# `make bench`: the store by itself, then the session cycle in PHP beside the files handler and a
# handler that does nothing. Both check every answer. Numbers depend on the machine: compare those
# of one run with each other. The result also goes to build/bench.txt.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
mkdir -p build
{
    printf '%s\n' "$(date -u +%Y-%m-%d), $(uname -sr), $(nproc) cores"
    sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1
    printf '\nStore: medians of interleaved rounds\n\n'
    "${CARGO:-cargo}" run --quiet --release -p holdfast-tests --bin store-bench
    printf '\nPHP: one session cycle\n\n'
    php-ext/bench/run.sh "$@"
} | tee build/bench.txt
