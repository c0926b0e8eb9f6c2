#!/bin/sh
# Measures the daemon beside memcached: both with one thread on one core, the load generator on the other,
# the same load in interleaved rounds, every answer checked. Only the ratios of a run mean something.
#
#   tests/bench/daemon.sh [ROUNDS [SECONDS]]
#
# It needs two processors, and Debian's memcached (or the one that $MEMCACHED names).
set -eu

rounds=${1:-5}
seconds=${2:-2}
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${HOLDFAST_BIN:-$root/build/stage/bin}
memcached=${MEMCACHED:-memcached}
work=$(mktemp -d)
theirs='' ours=''
stop() {
    for process in $theirs $ours; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

chmod 755 "$work"
mkdir -m 700 "$work/store"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
their_port=$(free_port)
our_port=$(free_port)
# 64 MiB would evict: the load has 100,000 values of 1 KB.
taskset -c 0 "$memcached" -u "$(id -un)" -l 127.0.0.1 -p "$their_port" -U 0 -t 1 -m 1024 -c 12000 &
theirs=$!
taskset -c 0 "$bin/holdfastd" -u "$(id -un)" -p "$our_port" -t 1 -c 12000 --store "$work/store" --max-bytes 1GiB \
    --http-listen 127.0.0.1:0 2>"$work/log" &
ours=$!
sleep 1
kill -0 "$ours" || { cat "$work/log"; exit 1; }

beside() { # beside WHAT OPTIONS...
    echo
    echo "$1"
    shift
    "$bin/holdfast" bench --compare "memcached=127.0.0.1:$their_port@$theirs" "holdfast=127.0.0.1:$our_port@$ours" \
        --rounds "$rounds" --duration "${seconds}s" --warm-up 300ms --cpu 1 --connections 50 "$@"
}
resident() { awk '/^RssAnon/ { print $2 " KiB" }' "/proc/$1/status"; }

echo "$("$bin/holdfastd" -V), $(git -C "$root" describe --always --dirty 2>/dev/null || echo 'no git'), $("$memcached" -V)"
echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(getconf _NPROCESSORS_ONLN) processors, $(uname -srm)"
echo "load before the start: $(cut -d' ' -f1-3 /proc/loadavg)"
beside "one request at a time" --protocol text --pipeline 1 --gets 90
beside "one request at a time, meta" --protocol meta --pipeline 1 --gets 90 --no-fill
beside "16 requests at a time" --protocol text --pipeline 16 --gets 90 --no-fill
beside "16 gets at a time" --protocol text --pipeline 16 --gets 100 --no-fill
beside "16 gets at a time, meta" --protocol meta --pipeline 16 --gets 100 --no-fill
beside "16 gets at a time, binary" --protocol binary --pipeline 16 --gets 100 --no-fill
beside "16 sets at a time" --protocol text --pipeline 16 --gets 0 --no-fill
beside "10,000 connections, 50 of them busy" --protocol text --pipeline 1 --gets 90 --no-fill --idle 9950
echo
echo "memory beside the data, anonymous, after all this: holdfastd $(resident "$ours"); memcached (its data included) $(resident "$theirs")"
