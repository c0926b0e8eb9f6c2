#!/usr/bin/env python3
"""Changes the engine's recovery, locks and validation, one operator or function at a time, and looks whether a test fails.

    tests/mutants/run.py [ARGUMENT...]      of cargo-mutants: --list, --file, --re, ...     HOLDFAST_MUTANTS=1

config.toml says what is changed, which tests have to notice, and what is left out, with the reason. A mutant that no test
notices shows a rule that could go unnoticed, or a line that is not needed; those are listed. It fails if fewer than
FLOOR in a hundred are noticed. All of them take a night; HOLDFAST_MUTANTS=N takes every N-th. Needs `cargo install
cargo-mutants`. What it cannot show: bugs that are more than one small change, and, as the tests play small sizes here,
that a mutant which nobody notices would not be noticed by the big ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACE = ROOT / "build" / "mutants"
FLOOR = 90.0
# A test that waits for ever has noticed; the tests of all suites together take a fraction of that.
LIMIT_S = 240
# Small: what such a change breaks is broken everywhere.
SIZES = {"MODEL_STEPS": 4000, "STEPS": 30, "COUNTERS": 16, "COUNTS": 50, "WAITERS": 40,
         "HOLDER_KILLS": 5, "INCREMENTS": 500, "APPENDS": 30, "OPENS": 100, "FLUSHES": 3, "KILLED_FLUSHES": 3, "ENDS": 2}


def outcomes(kind: str) -> list[str]:
    listed = PLACE / "mutants.out" / f"{kind}.txt"
    return listed.read_text().splitlines() if listed.exists() else []


def main() -> int:
    if not shutil.which("cargo-mutants"):
        print("SKIPPED: cargo-mutants is not installed (cargo install cargo-mutants)\n0 passed, 0 failed, 1 skipped")
        return 0
    sizes = {f"HOLDFAST_{name}": str(size) for name, size in SIZES.items()}
    environment = {**sizes, **os.environ, "CARGO_TERM_COLOR": "never"}
    PLACE.mkdir(parents=True, exist_ok=True)
    command = ["cargo", "mutants", "--config", str(HERE / "config.toml"), "--output", str(PLACE), "--timeout", str(LIMIT_S),
               "--colors", "never", "--sharding", "round-robin", "--shard", f"0/{os.environ.get('HOLDFAST_MUTANTS', '1')}",
               *sys.argv[1:]]
    code = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode
    if "--list" in sys.argv:
        return code
    caught, missed, late = outcomes("caught"), outcomes("missed"), outcomes("timeout")
    noticed = len(caught) + len(late)
    for mutant in missed:
        print(f"nobody notices: {mutant}")
    share = 100 * noticed / max(1, noticed + len(missed))
    print(f"{len(caught)} caught, {len(late)} never ended, {len(missed)} missed, {len(outcomes('unviable'))} do not build: {share:.1f} %")
    # 0: all noticed, 2: some missed, 3: some never ended; anything else: it could not be tried.
    bad = code not in (0, 2, 3) or share < FLOOR
    print(f"{int(not bad)} passed, {int(bad)} failed")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
