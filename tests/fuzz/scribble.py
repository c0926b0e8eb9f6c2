#!/usr/bin/env python3
"""Runs the test of the peer that scribbles (tests/store/scribble.rs) under the address sanitizer.

    tests/fuzz/scribble.py [SECONDS]      600 unless said otherwise

It would catch what the test alone cannot see: a read or write outside of private memory that happens to hit memory
which is there. What it cannot show: reads inside of the mapped files, all of which are allowed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from run import BUILD, HOST


def main() -> int:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "600"
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": "-Zsanitizer=address", "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
                   "CARGO_TARGET_DIR": str(BUILD / "scribble"), "HOLDFAST_SCRIBBLE_SECONDS": seconds}
    command = ["cargo", "test", "--target", HOST, "-p", "holdfast-tests", "--test", "scribble", "--", "--nocapture"]
    return subprocess.run(command, env=environment, cwd=Path(__file__).resolve().parents[2]).returncode


if __name__ == "__main__":
    sys.exit(main())
