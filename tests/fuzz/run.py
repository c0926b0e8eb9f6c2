#!/usr/bin/env python3
"""Builds the fuzz targets with the stable compiler and runs each for a time.

    tests/fuzz/run.py [--seconds N] [TARGET...]      HOLDFAST_FUZZ_SECONDS=60

What is found is left in build/fuzz/, with the corpus that grew; `build/fuzz/bin/TARGET FILE` plays a find again.
The flags are those that a fuzzer needs: counters at every edge, comparisons shown to it, and the address
sanitizer, which the stable compiler gives when it is told that it may.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "fuzz"
TARGETS = {"text": "lines", "meta": "meta", "binary": "binary", "users": "users", "config": "config",
           **{name: name for name in ("data", "superblock", "derived", "repair", "backup", "options")}}
HOST = "x86_64-unknown-linux-gnu" if os.uname().machine == "x86_64" else "aarch64-unknown-linux-gnu"
COVERAGE = ["passes=sancov-module", "llvm-args=-sanitizer-coverage-level=4", "llvm-args=-sanitizer-coverage-inline-8bit-counters",
            "llvm-args=-sanitizer-coverage-pc-table", "llvm-args=-sanitizer-coverage-trace-compares", "codegen-units=1"]


def build() -> Path:
    """The directory of the built targets. With --target, build scripts and macros are not instrumented."""
    flags = " ".join(["--cfg fuzzing -Zsanitizer=address", *(f"-C{flag}" for flag in COVERAGE)])
    target_dir = Path(os.environ.get("HOLDFAST_FUZZ_TARGET_DIR", BUILD / "target"))
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(target_dir)}
    command = ["cargo", "build", "--release", "--target", HOST, "--manifest-path", str(HERE / "Cargo.toml")]
    subprocess.run(command, env=environment, check=True)
    return target_dir / HOST / "release"


def run(binary: Path, target: str, seconds: int) -> tuple[bool, str]:
    """Whether it found nothing, and how much it tried."""
    corpus, finds = BUILD / target, BUILD / f"{target}-finds"
    for directory in (corpus, finds):
        directory.mkdir(parents=True, exist_ok=True)
    # A dialect without a `\\r` or a flag in its words would be found out letter by letter; seeds and lengths help.
    command = [str(binary), str(corpus), str(HERE / "seeds" / TARGETS[target]), f"-max_total_time={seconds}", "-max_len=4096",
               "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={finds}/", "-print_final_stats=1"]
    # Stores are made in memory where there is such a place.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as room:
        environment = {**os.environ, "HOLDFAST_FUZZ_DIR": room}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 300, env=environment)
    (BUILD / f"{target}.log").write_text(done.stderr)
    tried = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    return done.returncode == 0, f"{tried[1] if tried else '?'} inputs, {len(list(corpus.iterdir()))} kept"


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes the daemon's parsers and the library's files")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("HOLDFAST_FUZZ_SECONDS", "60")))
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked = parser.parse_args()
    if set(asked.targets) - set(TARGETS):
        parser.error(f"there are {', '.join(TARGETS)}")
    binaries, failed = build(), 0
    for target in asked.targets or TARGETS:
        well, tried = run(binaries / target, target, asked.seconds)
        failed += not well
        print(f"{target:<8} {'ok' if well else 'FOUND SOMETHING, see build/fuzz/' + target + '.log'}: {tried}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
