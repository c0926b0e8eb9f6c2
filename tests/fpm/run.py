#!/usr/bin/env python3
"""Acceptance tests of the save handler under real php-fpm and nginx.

Each module below has its own site (pools of workers that share one store) and its tests: functions that
get the running site and return one line of findings. An AssertionError fails a test; Skipped says which
tool is not there. Sizes come from the environment (HOLDFAST_FPM_*, at the top of each module), so that a
long run is the same test with larger numbers; HOLDFAST_FPM_SEED (printed) plays random instants again.

    tests/fpm/run.py [--handler files] [MODULE or TEST...]

--handler files plays the same tests against PHP's own handler, for comparison.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import sys
import time
from collections.abc import Callable
from types import ModuleType

import deaths
import secrecy
import soak
import traffic
from servers import Site, processes
from shared import SEED, Skipped

MODULES = {"traffic": traffic, "deaths": deaths, "soak": soak, "secrecy": secrecy}
FAILURES = (AssertionError, OSError, http.client.HTTPException, processes.TookTooLong)


class Score:
    passed = failed = skipped = 0


def play(test: Callable[[Site], str], site: Site, score: Score) -> None:
    began = time.monotonic()
    try:
        findings, verdict = test(site), "PASS"
        score.passed += 1
    except Skipped as missing:
        findings, verdict = str(missing), "SKIPPED"
        score.skipped += 1
    except FAILURES as error:
        findings, verdict = f"{type(error).__name__}: {error}", "FAIL"
        score.failed += 1
    print(f"{verdict}  {time.monotonic() - began:5.1f} s  {test.__name__}: {findings}", flush=True)
    if verdict == "FAIL":
        print(site.logs(), flush=True)


def play_module(module: ModuleType, tests: list[Callable[[Site], str]], handler: str, score: Score) -> None:
    failed_before = score.failed
    try:
        site = module.site(handler)
    except Skipped as missing:
        print(f"SKIPPED  {module.__name__}: {missing}", flush=True)
        score.skipped += len(tests)
        return
    try:
        site.start()
        for test in tests:
            play(test, site, score)
    except FAILURES as error:
        score.failed += 1
        print(f"FAIL  the servers did not start: {error}\n{site.logs()}")
    finally:
        site.stop()
        if score.failed == failed_before:
            site.remove()
        else:
            print(f"logs are kept in {site.dir}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--handler", default="holdfast")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these modules or tests")
    options = parser.parse_args()
    known = set(MODULES) | {test.__name__ for module in MODULES.values() for test in module.TESTS}
    if set(options.names) - known:
        parser.error(f"no such test: {', '.join(sorted(set(options.names) - known))}")
    # A kill of this script must end its servers too: as an exception, it passes through `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    print(f"fpm: handler {options.handler}, seed {SEED}", flush=True)
    score = Score()
    for name, module in MODULES.items():
        asked = options.names or [name]
        tests = [test for test in module.TESTS if name in asked or test.__name__ in asked]
        if tests:
            play_module(module, tests, options.handler, score)
    print(f"{score.passed} passed, {score.failed} failed, {score.skipped} skipped")
    return 0 if score.failed == 0 and score.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
