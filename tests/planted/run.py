#!/usr/bin/env python3
"""Plants bugs, one after the other, and looks whether the tests that watch over their place catch them.

    tests/planted/run.py [--list] [NAME...]

A bug is a patch in this directory. In front of it stand what it does (`Bug:`) and the command that has to fail
(`Caught by:`, with its environment), which is the cheapest one that is sure to. Each is planted in a copy of the
sources under build/planted, never in the sources themselves. A bug that is not caught, a patch that does not apply any
more, and a command that fails without it are failures: the last would catch anything.

What this cannot show: that the tests catch bugs that nobody thought of.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACE = ROOT / "build" / "planted"
SOURCES = PLACE / "sources"
LIMIT_S = 1200
# A command that could not be built says nothing about the bug.
NOT_BUILT = re.compile(r"^error(\[E\d+\])?: ", re.M)
TEST_FAILED = re.compile(r"test result: FAILED|^error: test failed|^\d+ passed, [1-9]\d* failed", re.M)


class Bug(NamedTuple):
    name: str
    what: str
    command: str
    patch: Path


class Played(NamedTuple):
    failed: bool
    built: bool
    output: str
    seconds: float


def bugs() -> list[Bug]:
    found = []
    for patch in sorted(HERE.glob("*.patch")):
        head = patch.read_text().split("\ndiff --git", 1)[0]
        fields = dict(re.findall(r"^(Bug|Caught by): (.*(?:\n  .*)*)", head, re.M))
        missing = {"Bug", "Caught by"} - set(fields)
        if missing:
            sys.exit(f"{patch.name}: the lines {', '.join(sorted(missing))} are missing in front of the patch")
        what, command = (" ".join(fields[name].split()) for name in ("Bug", "Caught by"))
        found.append(Bug(patch.stem, what, command, patch))
    return found


def lay_out() -> None:
    """A copy of the sources as they are; only what differs is written, so that little is built anew."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, check=True, capture_output=True).stdout
    names = {name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        source, copy = ROOT / name, SOURCES / name
        if not copy.is_file() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    for copy in SOURCES.rglob("*"):
        name = str(copy.relative_to(SOURCES))
        if copy.is_file() and name not in names and not name.startswith("build/"):
            copy.unlink()


def play(command: str) -> Played:
    words = shlex.split(command)
    settings = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, value = words.pop(0).split("=", 1)
        settings[name] = value
    environment = {**os.environ, "CARGO_TARGET_DIR": str(PLACE / "target"), **settings}
    began = time.monotonic()
    try:
        done = subprocess.run(
            words, cwd=SOURCES, env=environment, stdin=subprocess.DEVNULL, timeout=LIMIT_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        code, output = 1, f"{late.stdout or ''}\ntest result: FAILED: not done after {LIMIT_S} s"
    failed = code != 0 and TEST_FAILED.search(output) is not None
    return Played(failed, failed or not NOT_BUILT.search(output), output, time.monotonic() - began)


def apply(bug: Bug, *, back: bool) -> bool:
    # The sources move on around a bug; a line of context on each side tells its place.
    command = ["patch", "-p1", "--forward", "--silent", "--fuzz=2", "--no-backup-if-mismatch", "-r", "-"]
    command = [*[word for word in command if not (back and word == "--forward")], *(["-R"] if back else [])]
    return subprocess.run(command, cwd=SOURCES, stdin=bug.patch.open("rb"), capture_output=True).returncode == 0


def judge(bug: Bug) -> tuple[str, float]:
    """An empty word if it is caught, else why not."""
    if not apply(bug, back=False):
        lay_out()
        return "the patch does not apply any more", 0.0
    try:
        played = play(bug.command)
    finally:
        apply(bug, back=True)
        lay_out()
    (PLACE / f"{bug.name}.log").write_text(played.output)
    if not played.built:
        return f"does not build, see build/planted/{bug.name}.log", played.seconds
    return "" if played.failed else "NOT CAUGHT", played.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Plants bugs and looks whether they are caught")
    parser.add_argument("--list", action="store_true", help="only show them")
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    known = bugs()
    unknown = set(asked.names) - {bug.name for bug in known}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    chosen = [bug for bug in known if not asked.names or bug.name in asked.names]
    if asked.list:
        for bug in chosen:
            print(f"{bug.name}: {bug.what}\n    {bug.command}")
        return 0
    lay_out()
    passed = failed = 0
    healthy: dict[str, bool] = {}
    for bug in chosen:
        if bug.command not in healthy:
            without = play(bug.command)
            healthy[bug.command] = not without.failed and without.built
            (PLACE / "without.log").write_text(without.output)
        why, seconds = judge(bug) if healthy[bug.command] else ("its command fails without it, see build/planted/without.log", 0.0)
        failed, passed = failed + bool(why), passed + (not why)
        print(f"{'FAIL' if why else 'ok':<4} {bug.name:<32} {seconds:6.1f} s  {why or 'caught: ' + bug.what}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
