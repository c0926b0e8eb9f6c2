#!/usr/bin/env bash
# Tests of the C ABI by C and C++ programs, against the release library: each alone, then under
# valgrind. Closing line: N passed, N failed; the exit status says the same.
#
#   LIB=DIR        where libholdfast.so and libholdfast.a are; otherwise they are built
#   VALGRIND=0     without valgrind
#   tests/capi/run.sh NAME...   only these programs
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

if [ -z "${LIB:-}" ]; then
    (cd "$root" && cargo build --release --quiet --package libholdfast)
    LIB=${CARGO_TARGET_DIR:-$root/target}/release
fi
LIB=$(cd "$LIB" && pwd)

valgrind=1
if [ "${VALGRIND:-1}" = 0 ]; then
    valgrind=0
    echo "WITHOUT VALGRIND, because VALGRIND=0: errors of memory and leaks are not looked for" >&2
elif ! command -v valgrind >/dev/null; then
    echo "valgrind is missing: install it, or set VALGRIND=0 to do without" >&2
    exit 1
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/tmp"
export TMPDIR=$out/tmp
# Programs ask for the library by its SONAME.
ln -s "$LIB/libholdfast.so" "$out/libholdfast.so.0"
ln -s "$LIB/libholdfast.so" "$out/libholdfast.so"

warnings="-Wall -Wextra -Werror -pedantic"
compile="gcc -std=c11 -D_GNU_SOURCE $warnings -g -O1 -I$root/include"
shared="-L$out -lholdfast -lpthread -Wl,-rpath,$out"
static="$LIB/libholdfast.a -lgcc_s -lpthread -ldl -lm"

passed=0
failed=0
check() { # NAME COMMAND...: runs it, prints one line, and all of its output if it fails
    local name=$1 started ended verdict
    shift
    started=$(date +%s%N)
    if "$@" >"$out/log" 2>&1; then
        verdict=PASS
        passed=$((passed + 1))
    else
        verdict="FAIL (status $?)"
        failed=$((failed + 1))
    fi
    ended=$(date +%s%N)
    printf '%-46s %6d ms  %s\n' "$name" $(((ended - started) / 1000000)) "$verdict"
    [ "$verdict" = PASS ] || sed 's/^/    /' "$out/log"
}

under_valgrind() { # PROGRAM
    local leaks=full
    # In the child of a fork, what its parent's other threads owned is lost by nature. The other
    # programs look for leaks in the same functions.
    case $(basename "$1") in fork*) leaks=no ;; esac
    timeout 300 valgrind --quiet --error-exitcode=9 --leak-check=$leaks "$1"
}

only_our_symbols() { # LIBRARY: exports every function of the header and nothing else
    local exported declared
    exported=$(nm -D --defined-only "$1" | awk '{print $3}' | sort)
    declared=$(gcc -E -P -I"$root/include" "$root/include/holdfast.h" |
        grep -o '\bholdfast_[a-z_]*(' | tr -d '(' | sort -u)
    diff <(echo "$declared") <(echo "$exported")
}

has_soname() {
    readelf -d "$LIB/libholdfast.so" | grep -F 'Library soname: [libholdfast.so.0]'
}

embeds_quietly() { # a plug-in that contains the static library exports nothing of it
    printf '#include <holdfast.h>\nint plug(void);\nint plug(void) { return %s; }\n' \
        'holdfast_abi_version()' >"$out/plug.c"
    gcc -std=c11 $warnings -I"$root/include" -shared -fPIC "$out/plug.c" -o "$out/plug.so" \
        $static -Wl,--exclude-libs,libholdfast.a
    [ "$(nm -D --defined-only "$out/plug.so" | awk '{print $3}')" = plug ]
}

exact_count() { # PROGRAM: 40 of it at the same time count to 40
    local store last
    store=$(mktemp -d "$out/store.XXXXXX")
    for _ in $(seq 40); do "$1" "$store" >>"$store.counts" & done
    wait
    last=$("$1" "$store")
    [ "$last" = 41 ] && [ "$(sort -n "$store.counts" | uniq | wc -l)" = 40 ]
}

refuses_with_a_sentence() {
    ! "$1" "$out/nothing" 2>"$out/sentence" && grep -q 'install -d' "$out/sentence"
}

programs=(values writes scan arguments buffers locks threads forks fork_without_slot stores damage state owners care)
if [ $# -gt 0 ]; then programs=("$@"); fi

for program in "${programs[@]}"; do
    check "compile $program" $compile "$here/$program.c" -o "$out/$program" $shared
    check "$program" timeout 120 "$out/$program"
    if [ $valgrind = 1 ]; then
        check "$program under valgrind" under_valgrind "$out/$program"
    fi
done

if [ $# -eq 0 ]; then
    check "compile include_twice (C11)" $compile "$here/include_twice.c" -o "$out/twice" $shared
    check "compile include_twice (C99)" gcc -std=c99 $warnings -I"$root/include" \
        -c "$here/include_twice.c" -o "$out/twice99.o"
    check "include_twice" "$out/twice"
    check "compile from_cplusplus (C++17)" g++ -std=c++17 $warnings -I"$root/include" \
        "$here/from_cplusplus.cc" -o "$out/from_cplusplus" $shared
    check "from_cplusplus" "$out/from_cplusplus"

    for program in values locks forks; do
        check "compile $program, static" $compile "$here/$program.c" -o "$out/$program-s" $static
        check "$program, static" timeout 120 "$out/$program-s"
    done

    example="$root/tests/examples/c/counter.c"
    check "compile the example" gcc -std=c11 $warnings -I"$root/include" "$example" \
        -o "$out/counter" $shared
    check "the example counts exactly" exact_count "$out/counter"
    check "the example says why not" refuses_with_a_sentence "$out/counter"

    check "only the header's functions are exported" only_our_symbols "$LIB/libholdfast.so"
    check "SONAME" has_soname
    check "a plug-in can embed the static library" embeds_quietly
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
