#!/usr/bin/env python3
"""Runs every test suite in order, prints the time of each, and says at the end how many tests passed,
failed and were skipped. `make test` calls it after it has seen to the tools.

A suite is a command. What it prints goes to build/test-logs/NAME.log, and to the terminal when the suite
fails. Nothing is forgiven: a suite that is missing, that takes too long, or that reports success without
having run a single test, has failed.

    tests/run.py [NAME...]      only these suites (the build always runs)
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "build" / "test-logs"
SHOWN_LINES = 80


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(self, other)))


class Suite(NamedTuple):
    name: str
    command: list[str]
    limit_s: int
    count: Callable[[str], Counts]


def count_cargo(output: str) -> Counts:
    lines = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", output, re.M)
    return _sum(Counts(*map(int, line)) for line in lines)


def count_phpt(output: str) -> Counts:
    def number(label: str) -> int:
        found = re.search(rf"^Tests {label}\s*:\s*(\d+)", output, re.M)
        return int(found.group(1)) if found else 0

    # A test that could not even run ("borked"), or that warned, is no success.
    return Counts(number("passed"), number("failed") + number("borked") + number("warned"), number("skipped"))


def count_closing_line(output: str) -> Counts:
    """`N passed, N failed[, N skipped]`, the last such line: what the suites of this project print."""
    lines = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", output, re.M)
    return Counts(*(int(number or 0) for number in lines[-1])) if lines else Counts()


def _sum(counts: object) -> Counts:
    total = Counts()
    for one in counts:  # type: ignore[attr-defined]
        total = total.plus(one)
    return total


SUITES = [
    Suite("build", ["make", "build"], 900, lambda _: Counts(passed=1)),
    Suite("cargo", ["cargo", "test", "--workspace", "--no-fail-fast"], 1200, count_cargo),
    Suite("stepkill", [
        "cargo", "test", "-p", "holdfast-tests", "--features", "faults",
        "--test", "step_kill", "--test", "panics", "--test", "power_steps",
    ], 900, count_cargo),
    Suite("orders", ["cargo", "test", "-p", "holdfast-orders", "--features", "orders"], 900, count_cargo),
    Suite("capi", ["tests/capi/run.sh"], 600, count_closing_line),
    Suite("phpt", ["build/php-ext/tests/run.sh"], 600, count_phpt),
    Suite("fpm", ["python3", "tests/fpm/run.py"], 900, count_closing_line),
    Suite("wire", ["python3", "tests/daemon/wire.py"], 300, count_closing_line),
    Suite("clients", ["python3", "tests/daemon/clients.py"], 400, count_closing_line),
    Suite("robust", ["python3", "tests/daemon/robust.py"], 400, count_closing_line),
    Suite("story", ["make", "run", "ONCE=1"], 300, lambda _: Counts(passed=1)),
    Suite("documents", ["python3", "tests/documents/run.py"], 300, count_closing_line),
    Suite("install", ["tests/install/run.sh"], 300, count_closing_line),
]


def run(suite: Suite) -> tuple[Counts, str, float]:
    """The counts, a reason when the suite failed, and the seconds it took."""
    log = LOGS / f"{suite.name}.log"
    began = time.monotonic()
    why = ""
    with open(log, "wb") as out:
        try:
            process = subprocess.Popen(
                suite.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            return Counts(failed=1), f"{suite.command[0]}: {error.strerror}", 0.0
        try:
            code = process.wait(timeout=suite.limit_s)
            why = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = f"not done after {suite.limit_s} s"
            end_group(process)
        except BaseException:
            end_group(process)
            raise
    took = time.monotonic() - began
    counts = suite.count(log.read_text(errors="replace"))
    if why and counts.failed == 0:
        # The count of what had passed until then stands; the failure itself counts as one.
        counts = Counts(max(0, counts.passed - (suite.count("") == Counts(passed=1))), 1, counts.skipped)
    elif not why and counts.failed:
        why = "reports failures, with exit code 0"
    elif not why and counts.passed == 0:
        counts, why = counts.plus(Counts(failed=1)), "no test was run"
    return counts, why, took


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the suite and what it started: first politely, so that it can end its own servers."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def show_end_of(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    if len(lines) > SHOWN_LINES:
        print(f"    ... {len(lines) - SHOWN_LINES} lines more in {log.relative_to(ROOT)}")
    for line in lines[-SHOWN_LINES:]:
        print(f"    {line}")


def main() -> int:
    known = {suite.name for suite in SUITES}
    wanted = set(sys.argv[1:])
    if wanted - known:
        sys.exit(f"no such suite: {', '.join(sorted(wanted - known))}; there are {', '.join(s.name for s in SUITES)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    # A kill of this script must end the suite as well: as an exception, it passes through run().
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    total = Counts()
    began = time.monotonic()
    for suite in SUITES:
        if wanted and suite.name not in wanted and suite.name != "build":
            continue
        counts, why, took = run(suite)
        total = total.plus(counts)
        skipped = f", {counts.skipped} skipped" if counts.skipped else ""
        verdict = "FAIL" if why else "ok"
        print(f"{suite.name:<9} {verdict:<4} {took:>7.1f} s   {counts.passed} passed, {counts.failed} failed{skipped}", flush=True)
        if why:
            print(f"    {why}")
            if (LOGS / f"{suite.name}.log").stat().st_size:
                show_end_of(LOGS / f"{suite.name}.log")
            if suite.name == "build":
                break  # every other suite would only say the same again
    print(f"all in {time.monotonic() - began:.0f} s")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 0 if total.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
