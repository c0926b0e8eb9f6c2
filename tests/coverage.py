#!/usr/bin/env python3
"""Which regions of the engine no test ever enters, and why.

    tests/coverage.py [--report]      --report: once more, from the profiles of the last run

The engine and its tests are built with counters, in build/coverage/, and the suites run at the sizes of `make test`. The
counters are mapped to files, so those of a process that was killed count as well. A region is a piece of code that is
entered as a whole; it counts as covered if one instance of it was, in any crate, with any features.

It fails if less than FLOOR of the core is covered (src/ without its tests and without src/ffi, the C boundary), or if a
region of recovery, lock or validation (ROOMS) is not, for which tests/coverage/reasons.txt has no reason; a reason that
excuses nothing fails too. Needs llvm-profdata and llvm-cov that know the format of the compiler's profiles (Debian:
llvm-19). What it cannot show: that what is covered is right; and the counters of several processes lose a count now and
then, so a region whose count is the difference of two may be told wrongly.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "coverage"
TARGET = PLACE / "target"
REASONS = ROOT / "tests" / "coverage" / "reasons.txt"
FLOOR = 95.0
ROOMS = re.compile(r"src/(lock|index)/|src/store/(attach|alone|files|recover|stripe|owner)\.rs|src/log/(lane|record|segment|image)\.rs")
LONGEST_S = 3600
# All but what only measures, reads sources or waits for a daemon; with the counting of stores that some of them need.
TESTS = ("backend verbs locks openings times marks scan memory model kill histories power power_cases power_real power_steps "
         "processes traps space damage every_byte scribble owners growth care state faults panics step_kill").split()
COMMAND = ["cargo", "test", "-p", "libholdfast", "-p", "holdfast-tests", "--features", "holdfast-tests/faults", "--lib",
           *(f"--test={name}" for name in TESTS)]
# The programs of the C suite, with the shared library that was built for these tests.
SHARED = TARGET / "debug" / "deps"
FROM_C = [path.stem for path in sorted((ROOT / "tests" / "capi").glob("*.c")) if path.stem != "include_twice"]
LOG = PLACE / "tests.log"
CODE = 0
Region = tuple[int, int, int, int]


class Line(NamedTuple):
    """A line of the sources, known by what does not move: its file, its function, its text."""
    file: str
    function: str
    text: str


class Reason(NamedTuple):
    line: Line
    by_chance: bool
    number: int


def tool(name: str) -> str:
    versions = [f"{name}-{number}" for number in range(30, 18, -1)]
    found = next(filter(None, map(shutil.which, versions)), None)
    if not found:
        print(f"SKIPPED: there is no {name} of version 19 or newer (Debian: llvm-19)\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0",
            "RUSTC_WORKSPACE_WRAPPER": str(ROOT / "tests" / "coverage" / "rustc"),
            "LLVM_PROFILE_FILE": str(PLACE / "profiles" / "%m%c.profraw")}


def build() -> list[str]:
    """Gives the programs that have counters."""
    told = subprocess.run([*COMMAND, "--no-run", "--message-format=json"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
                          check=True, text=True).stdout
    messages = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return sorted({message["executable"] for message in messages if message.get("executable")} | {str(SHARED / "libholdfast.so")})


def run() -> tuple[int, int]:
    """Plays the tests; gives how many passed and failed."""
    began = time.monotonic()
    from_c = {"LIB": str(SHARED), "VALGRIND": "0"}
    suites = [([*COMMAND, "--no-fail-fast"], {}), (["tests/capi/run.sh", *FROM_C], from_c)]
    with open(LOG, "wb") as out:
        codes = [subprocess.run(command, cwd=ROOT, env={**environment(), **extra}, stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, timeout=LONGEST_S).returncode for command, extra in suites]
    said = re.findall(r"^(?:test result: \w+\. )?(\d+) passed[;,] (\d+) failed", LOG.read_text(errors="replace"), re.M)
    passed, failed = (sum(int(line[i]) for line in said) for i in (0, 1))
    if any(codes):
        failed = max(failed, 1)
        print(f"with counters {failed} tests failed, see {LOG}")
    print(f"the tests: {time.monotonic() - began:.0f} s", flush=True)
    return passed, failed


def counts(objects: list[str]) -> dict[str, dict[Region, int]]:
    """For each file the regions and how often each was entered, the instances together."""
    merged, regions = PLACE / "all.profdata", defaultdict(dict)
    profiles = [str(path) for path in (PLACE / "profiles").glob("*.profraw")]
    subprocess.run([tool("llvm-profdata"), "merge", "-sparse", *profiles, "-o", merged], check=True)
    for program in objects:
        told = subprocess.run([tool("llvm-cov"), "export", program, f"-instr-profile={merged}"], check=True,
                              stdout=subprocess.PIPE).stdout
        for function in json.loads(told)["data"][0]["functions"]:
            for *place, count, file, _, kind in function["regions"]:
                name = function["filenames"][file]
                if kind == CODE and name.startswith(f"{ROOT}/src/"):
                    known = regions[str(Path(name).relative_to(ROOT))]
                    known[tuple(place)] = known.get(tuple(place), 0) + count
    return regions


def without_tests(regions: dict[str, dict[Region, int]]) -> dict[str, dict[Region, int]]:
    kept = {}
    for name, known in sorted(regions.items()):
        tests = re.search(r"^#\[cfg\(test\)\]\nmod \w+ \{", (ROOT / name).read_text(), re.M)
        end = (ROOT / name).read_text()[:tests.start()].count("\n") if tests else sys.maxsize
        known = {place: count for place, count in known.items() if place[0] <= end}
        if known and not name.endswith("/tests.rs"):
            kept[name] = known
    return kept


def table(regions: dict[str, dict[Region, int]]) -> float:
    """Prints how much of each file is covered; gives the percentage of the core."""
    def line(name: str, files: list[str]) -> float:
        every = [count for file in files for count in regions[file].values()]
        share = 100 * sum(map(bool, every)) / max(1, len(every))
        print(f"{name:<28} {len(every):>6} {sum(map(bool, every)):>6} {share:>7.2f} %")
        return share
    print(f"{'':<28} {'regions':>6} {'covered':>6}")
    for name in regions:
        line(name, [name])
    line("src/ffi", [name for name in regions if name.startswith("src/ffi/")])
    line("recovery, lock, validation", [name for name in regions if ROOMS.match(name)])
    return line("the core", [name for name in regions if not name.startswith("src/ffi/")])


def reasons() -> list[Reason]:
    """Lines `file function: source line`, and below one or several of them, indented, the reason."""
    found: list[Reason] = []
    new = 0
    for number, line in enumerate(REASONS.read_text().splitlines(), 1):
        if line and not line.startswith((" ", "#")):
            where, _, text = line.partition(": ")
            found.append(Reason(Line(*where.split(" ", 1), text), False, number))
            new += 1
        elif line.startswith(" ") and new:
            by_chance = line.strip().startswith("By chance")
            found[-new:] = [excuse._replace(by_chance=by_chance) for excuse in found[-new:]]
            new = 0
    if new:
        sys.exit(f"{REASONS}: the last entry has no reason")
    return found


def lines_of(name: str) -> list[Line]:
    lines, function = [], "-"
    for text in (ROOT / name).read_text().splitlines():
        begun = re.search(r"\bfn (\w+)", text)
        function = begun.group(1) if begun and not text.lstrip().startswith("//") else function
        lines.append(Line(name, function, text.strip()))
    return lines


def uncovered(name: str, known: dict[Region, int]) -> dict[int, Line]:
    """The lines of a file where a region begins that no test enters. Not a mere `?`, which hands on the error of a call:
    where that arises is a region of its own."""
    source, lines = (ROOT / name).read_text().splitlines(), lines_of(name)
    def hands_on(place: Region) -> bool:
        return place[0] == place[2] and source[place[0] - 1][place[1] - 1:place[3] - 1] == "?"
    left = sorted(place for place, count in known.items() if not count and not hands_on(place))
    # What lies in another one is not told again.
    outer = [a for a in left if not any(a != b and b[:2] <= a[:2] and a[2:] <= b[2:] for b in left)]
    return {place[0]: lines[place[0] - 1] for place in outer}


def judge(regions: dict[str, dict[Region, int]]) -> int:
    """Lists what of the rooms is not covered; gives how much of it has no reason, and reasons without use."""
    excuses, used, bare = {excuse.line: excuse for excuse in reasons()}, set(), 0
    for name in filter(ROOMS.match, regions):
        for number, line in uncovered(name, regions[name]).items():
            excuse = excuses.get(line)
            used.add(line)
            bare += excuse is None
            why = f"reasons.txt:{excuse.number}" if excuse else "NO REASON"
            print(f"{name}:{number}, {line.function}: {line.text}  [{why}]")
    for line, excuse in excuses.items():
        if line not in (lines_of(line.file) if excuse.by_chance else used):
            print(f"reasons.txt:{excuse.number}: excuses nothing any more: {line.file} {line.function}: {line.text}")
            bare += 1
    return bare


def main() -> int:
    again = sys.argv[1:] == ["--report"]
    if sys.argv[1:] and not again:
        sys.exit(__doc__.split("\n\n")[1])
    kept = PLACE / "objects.json"
    passed = failed = 0
    if not again:
        tool("llvm-profdata"), tool("llvm-cov")
        PLACE.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(build()))
        # What build scripts and former runs have counted.
        shutil.rmtree(PLACE / "profiles", ignore_errors=True)
        passed, failed = run()
    regions = without_tests(counts(json.loads(kept.read_text())))
    share = table(regions)
    bare = judge(regions)
    if share < FLOOR:
        print(f"the core is covered less than {FLOOR} %")
    wrong = failed + bare + (share < FLOOR)
    print(f"{passed} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
