#!/usr/bin/env python3
"""Many threads on one store under the thread sanitizer: no report. What is suppressed has a reason, below.

    tests/orders/threads.py

Builds `threads.rs` (which says what its threads do) with Rust's nightly compiler, the only one that has the
sanitizer; without it, or without its runtime library, a line begins with SKIPPED. First a race on purpose has to
be reported. Sizes: HOLDFAST_TSAN_SECONDS (20), HOLDFAST_TSAN_THREADS (16).

What it cannot show: the standard library is not built with the sanitizer, so what that synchronises by itself is
not known to it (its mutexes would be reported without cause; neither the library nor the program uses them); more
stands at the top of `threads.rs`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"
PLACE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tsan"
PROGRAM = PLACE / TARGET / "debug" / "holdfast-threads"
# The standard library comes without the sanitizer, which the compiler would refuse to link otherwise.
FLAGS = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
# The last owner of an Arc passes a fence before it frees, and the sanitizer knows no fences. (The standard library
# has a load there instead, when it is built with the sanitizer.) Hides a race in what an Arc drops.
SUPPRESSED = ["race:^<alloc::sync::Arc<*>>::drop_slow"]
REPORT = re.compile(r"^WARNING: ThreadSanitizer", re.M)


def missing() -> str:
    """Why there is no sanitizer here, or nothing."""
    try:
        asked = subprocess.run(["rustc", "+nightly", "--print", "sysroot"], capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no rustc"
    if asked.returncode:
        return "there is no nightly compiler"
    libraries = Path(asked.stdout.strip()) / "lib" / "rustlib" / TARGET / "lib"
    return "" if list(libraries.glob("librustc*tsan.a")) else f"the nightly compiler has no sanitizer for {TARGET}"


def run(*arguments: str, limit_s: int) -> tuple[int, str]:
    suppressions = PLACE / "suppressions"
    suppressions.write_text("".join(f"{line}\n" for line in SUPPRESSED))
    options = f"halt_on_error=0 exitcode=66 history_size=4 suppressions={suppressions}"
    done = subprocess.run([PROGRAM, *arguments], env={**os.environ, "TSAN_OPTIONS": options}, timeout=limit_s,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def main() -> int:
    why = missing()
    if why:
        print(f"SKIPPED: {why}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    build = ["cargo", "+nightly", "build", "-p", "holdfast-orders", "--bin", "holdfast-threads", "--target", TARGET]
    environment = {**os.environ, "RUSTFLAGS": FLAGS, "CARGO_TARGET_DIR": str(PLACE)}
    if subprocess.run(build, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode:
        print("0 passed, 1 failed")
        return 1
    seconds = int(os.environ.get("HOLDFAST_TSAN_SECONDS", "20"))
    threads = os.environ.get("HOLDFAST_TSAN_THREADS", "16")
    _, output = run("race", limit_s=120)
    seen = bool(REPORT.search(output))
    print(f"{'ok' if seen else 'FAIL'}: a race on purpose is reported")
    code, output = run(str(seconds), threads, limit_s=10 * seconds + 600)
    reports = len(REPORT.findall(output))
    clean = code == 0 and not reports
    print(output if not clean else output.strip())
    print(f"{'ok' if clean else 'FAIL'}: {threads} threads, {seconds} s: {reports} reports, {len(SUPPRESSED)} suppression, ended with {code}")
    print(f"{seen + clean} passed, {2 - seen - clean} failed")
    return 0 if seen and clean else 1


if __name__ == "__main__":
    sys.exit(main())
