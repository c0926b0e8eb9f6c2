#!/usr/bin/env python3
"""The proof at its big sizes: what `make test` runs small, and what it does not run at all.

    tests/prove.py [--full] [--list] [NAME...]

The sizes without --full take some hours on two cores (75 minutes up to `robust`, beside other work), those with it a night. Each part is one of the tests with other
sizes, so what fails here is played again by the command that is printed, with the seed that is in its log. Logs and the
summary are in build/proof/. What a part skips for want of a tool is counted and shown: it is not proven.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "proof"
CARGO = ["cargo", "test", "-p", "holdfast-tests"]
FAULTS = [*CARGO, "--features", "faults"]
SHOWN = ["--", "--nocapture"]
LONGEST_S = 24 * 3600


class Part(NamedTuple):
    name: str
    promise: str
    command: list[str]
    hour: dict[str, str]
    full: dict[str, str]


PARTS = [
    Part("model", "the protocols keep their promises in every order of steps and deaths, and each rule is needed",
         ["cargo", "test", "-p", "holdfast-model", *SHOWN], {}, {"HOLDFAST_MODEL_SIZE": "2"}),
    Part("oracle", "every verb does what the oracle says, over reopens, rebuilds, deaths and clocks",
         [*FAULTS, "--test", "model", *SHOWN], {"HOLDFAST_MODEL_STEPS": "2000000"}, {"HOLDFAST_MODEL_STEPS": "100000000"}),
    Part("steps", "a death between any two stores to shared memory, and another in the healing, loses nothing and blocks nobody",
         [*FAULTS, "--test", "step_kill", *SHOWN], {"HOLDFAST_STEPS": "400"}, {"HOLDFAST_STEPS": "all"}),
    Part("kill", "an acknowledged write survives SIGKILL at any instant",
         [*CARGO, "--test", "kill", *SHOWN], {"HOLDFAST_KILLS": "5000"}, {"HOLDFAST_KILLS": "10000"}),
    Part("histories", "one order explains every answer, whoever is killed",
         [*FAULTS, "--test", "histories", *SHOWN], {"HOLDFAST_HISTORIES": "20000"}, {"HOLDFAST_HISTORIES": "100000"}),
    Part("power", "a power cut loses no more than the mode allows, and nothing that was gone comes back",
         [*CARGO, "--test", "power", "--test", "power_cases", *SHOWN], {"HOLDFAST_IMAGES": "400000"}, {"HOLDFAST_IMAGES": "10000000"}),
    Part("boundaries", "the same at every boundary, in openings too",
         [*FAULTS, "--test", "power_steps", *SHOWN], {"HOLDFAST_CUTS_EACH": "200"}, {"HOLDFAST_CUTS_EACH": "10000"}),
    Part("cuts", "the same on filesystems that are really shut down",
         [*CARGO, "--test", "power_real", *SHOWN], {"HOLDFAST_CUTS": "2000"}, {"HOLDFAST_CUTS": "10000"}),
    Part("faults", "any system call may fail, once or for good",
         [*CARGO, "--test", "faults", *SHOWN], {}, {"HOLDFAST_FAULTS": "all"}),
    Part("panics", "a panic at any step is a code",
         [*FAULTS, "--test", "panics", *SHOWN], {"HOLDFAST_FAULTS": "all"}, {"HOLDFAST_FAULTS": "all"}),
    Part("damage", "any damaged byte gives an error or a miss, never a wrong value, a crash or a hang",
         [*CARGO, "--test", "every_byte", *SHOWN], {"HOLDFAST_DAMAGE": "3000"}, {"HOLDFAST_DAMAGE": "all"}),
    Part("scribble", "a peer that writes at random into the mapping makes nobody crash or hang",
         [*CARGO, "--test", "scribble", *SHOWN], {"HOLDFAST_SCRIBBLE_SECONDS": "300"}, {"HOLDFAST_SCRIBBLE_SECONDS": "36000"}),
    Part("deaths", "a PHP worker may die in any part of a request, by any means",
         ["python3", "tests/fpm/run.py", "deaths"], {"HOLDFAST_FPM_DEATHS": "120"}, {"HOLDFAST_FPM_DEATHS": "1000"}),
    Part("soak", "PHP workers leave nothing behind, are replaced without loss, and count exactly",
         ["python3", "tests/fpm/run.py", "soak", "one_session_counts_exactly"],
         {"HOLDFAST_FPM_SOAK": "100000", "HOLDFAST_FPM_RELOADS": "30", "HOLDFAST_FPM_TOUCH_SECONDS": "30"},
         {"HOLDFAST_FPM_SOAK": "1000000", "HOLDFAST_FPM_RELOADS": "100", "HOLDFAST_FPM_TOUCH_SECONDS": "3600",
          "HOLDFAST_FPM_INCREMENTS": "10000"}),
    Part("robust", "the daemon loses nothing when it is killed, and is there again at once",
         ["python3", "tests/daemon/robust.py"], {"HOLDFAST_ROBUST_KILLS": "300", "HOLDFAST_ROBUST_KEYS": "1000000", "HOLDFAST_ROBUST_DEAF": "1000"},
         {"HOLDFAST_ROBUST_KILLS": "1000", "HOLDFAST_ROBUST_KEYS": "1000000", "HOLDFAST_ROBUST_DEAF": "1000"}),
    Part("timing", "the time of a refusal does not tell users from others", ["cargo", "test", "-p", "holdfastd", "--test", "auth_timing", *SHOWN],
         {"HOLDFAST_AUTH_TIMING": "1000000"}, {"HOLDFAST_AUTH_TIMING": "1000000"}),
    Part("wire", "every answer is memcached's, and who is not known gets nothing, in any order of attempts",
         ["python3", "tests/daemon/wire.py"], {"HOLDFAST_AUTH_ORDER": "3"}, {"HOLDFAST_AUTH_ORDER": "4", "HOLDFAST_DIFFERENTIAL_COUNT": "20000"}),
    Part("fuzz", "no input makes a parser panic, or means something else when it is cut elsewhere",
         ["python3", "tests/fuzz/run.py"], {"HOLDFAST_FUZZ_SECONDS": "60"}, {"HOLDFAST_FUZZ_SECONDS": "7200"}),
    Part("orders", "the real code in every order, as far as the language lets memory be weak, and in schedules by chance",
         ["cargo", "test", "-p", "holdfast-orders", "--features", "orders", *SHOWN],
         {"HOLDFAST_ORDERS_SCHEDULES": "5000"}, {"HOLDFAST_ORDERS_SCHEDULES": "36000", "HOLDFAST_ORDERS_DEEPER": "1"}),
    Part("tsan", "threads share nothing of the library's own memory without order",
         ["python3", "tests/orders/threads.py"], {"HOLDFAST_TSAN_SECONDS": "120"}, {"HOLDFAST_TSAN_SECONDS": "7200"}),
    Part("planted", "the tests catch the bugs that are planted for them",
         ["python3", "tests/planted/run.py"], {}, {}),
    Part("coverage", "no region of recovery, lock and validation is without a test, or it has a reason",
         ["python3", "tests/coverage.py"], {}, {}),
    Part("mutants", "a small change of recovery, lock or validation makes a test fail",
         ["python3", "tests/mutants/run.py"], {"HOLDFAST_MUTANTS": "40"}, {"HOLDFAST_MUTANTS": "1"}),
]


class Outcome(NamedTuple):
    passed: int
    failed: int
    skipped: int
    seconds: float


def run(part: Part, sizes: dict[str, str], log: Path) -> Outcome:
    began = time.monotonic()
    with open(log, "wb") as out:
        shown = " ".join([*(f"{name}={value}" for name, value in sizes.items()), *part.command])
        out.write(f"{shown}\n".encode())
        out.flush()
        try:
            code = subprocess.run(part.command, cwd=ROOT, env={**os.environ, **sizes}, stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=subprocess.STDOUT, timeout=LONGEST_S).returncode
        except subprocess.TimeoutExpired:
            code = 1
    text = log.read_text(errors="replace")
    lines = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; \d+ ignored", text, re.M) or \
        re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)[-1:] or [("1", "0")]
    passed, failed = (sum(int(line[i]) for line in lines) for i in (0, 1))
    if code and not failed:
        passed, failed = 0, 1
    return Outcome(passed, failed, len(re.findall(r"^SKIPPED", text, re.M)), time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the proof at its big sizes")
    parser.add_argument("--full", action="store_true", help="a night instead of some hours")
    parser.add_argument("--list", action="store_true", help="only show the parts")
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    unknown = set(asked.names) - {part.name for part in PARTS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in PARTS)}")
    chosen = [part for part in PARTS if not asked.names or part.name in asked.names]
    PLACE.mkdir(parents=True, exist_ok=True)
    summary = ["| part | promise | sizes | result | minutes |", "|---|---|---|---|---|"]
    total = Outcome(0, 0, 0, 0.0)
    for number, part in enumerate(chosen, 1):
        sizes = {**(part.full if asked.full else part.hour), **{n: v for n, v in os.environ.items() if n in part.hour}}
        shown = ", ".join(f"{name.removeprefix('HOLDFAST_')}={value}" for name, value in sizes.items()) or "-"
        if asked.list:
            print(f"{part.name:<10} {part.promise}\n           {shown}; {' '.join(part.command)}")
            continue
        print(f"[{number}/{len(chosen)}] {part.name}: {part.promise} ({shown})", flush=True)
        log = PLACE / f"{part.name}.log"
        done = run(part, sizes, log)
        verdict = f"{done.failed} FAILED, see {log.relative_to(ROOT)}" if done.failed else f"{done.passed} passed"
        skipped = f", {done.skipped} skipped" if done.skipped else ""
        print(f"    {verdict}{skipped}, {done.seconds / 60:.1f} min", flush=True)
        summary.append(f"| {part.name} | {part.promise} | {shown} | {verdict}{skipped} | {done.seconds / 60:.1f} |")
        total = Outcome(*(mine + theirs for mine, theirs in zip(total, done)))
    if asked.list:
        return 0
    (PLACE / "summary.md").write_text("\n".join(summary) + "\n")
    print("\n".join(summary))
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
