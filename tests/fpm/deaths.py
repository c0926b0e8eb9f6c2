"""A worker or a request that dies in each part of a request, by each means that can meet it there.

By a signal: SIGKILL, SIGTERM, and php-fpm's request_terminate_timeout. For these the extension is built with
the library's fault points, so that the worker dies just before the n-th store to shared memory of the part,
and n goes from the first to the last of them: the part is hit for certain, not by chance. By PHP's own means
(exit, an uncaught error, a fatal error, the memory limit): in every place of a session's life where code
of the application runs.

Every death must leave the session as it was before or as it would be after, whole; the lock free at once for
the next request, in the same worker and in others; and nobody's place in the store taken.

HOLDFAST_FPM_DEATHS=20: of each pair of part and means.

What this cannot show: orders that weak memory allows; a death inside of the kernel.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import client
from servers import FFI, ROOT, Pool, Site, has_ffi, processes
from shared import PROMISE_MS, SCHEDULING_MARGIN_MS, Skipped

DEATHS = int(os.environ.get("HOLDFAST_FPM_DEATHS", "20"))
BOUND_MS = PROMISE_MS + SCHEDULING_MARGIN_MS
STUCK_MS = 2000
TERMINATE_SECONDS = 1
AT_ONCE = 20
EXPIRED_EACH = 3  # expired sessions that one sweep is to find
MANY = 1 << 40  # more stores than any part makes
PARTS = ("open", "read", "close", "gc", "destroy")
POOLS = [
    Pool("main", 4),
    Pool("victim", 1),
    Pool("limited", AT_ONCE, terminate_s=TERMINATE_SECONDS),
]


def site(handler: str) -> Site:
    if handler != "holdfast":
        return Site(handler, POOLS)
    if not has_ffi():
        raise Skipped("PHP's extension FFI, with which the pages reach the library's fault points, is not here")
    return Site(handler, POOLS, module=module_with_fault_points(), options=FFI)


# ---- by a signal, at each store to shared memory ------------------------------------------------------


def a_signal_in_each_part_of_a_request(site: Site) -> str:
    """SIGKILL and SIGTERM before the stores of each part, each in a worker that had nothing else to do."""
    only_holdfast(site)
    waits = Waits()
    report = []
    for part in PARTS:
        stores = stores_of(site, part)
        outcomes: set[int] = set()
        if part == "gc":
            leave_expired(site, 2 * EXPIRED_EACH * 2 * DEATHS)
        for number, n in itertools.product((signal.SIGKILL, signal.SIGTERM), spread(DEATHS, stores)):
            session, count = die_at(site, part, n, number)
            found = next_request(site, session, allowed(part, count), waits, f"{part}, store {n}")
            outcomes.add((found > count) - (found < count))
        # A sweep from the first to the last store sees both sides of the one that makes it valid.
        expected = {"close": {0, 1}, "destroy": {0, -1}}.get(part, {0})
        assert outcomes == expected or DEATHS < 10, f"{part}: only {outcomes} came out of {stores} stores"
        report.append(f"{part} {stores} stores")
    died_idle = locked_deaths(site, waits)
    nothing_is_taken(site)
    deaths = len(PARTS) * 2 * DEATHS + died_idle
    return f"{deaths} deaths ({', '.join(report)}), sessions old or new, {waits.judged()}"


def a_signal_while_waiting_for_the_lock(site: Site) -> str:
    """Before each store that puts a request in line, and then while it sleeps there: the one who has the
    lock keeps it and writes, the next one has it at once."""
    only_holdfast(site)
    waits = Waits()
    in_line = in_sleep = 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        registering = asleep = 0
        n = 1
        while registering + asleep < DEATHS or not asleep:
            session, count = a_session(site)
            holder = Holder(site, session)
            waiter = threading.Thread(target=die, args=(site, "victim", session, "read", n, number), daemon=True)
            waiter.start()
            processes.wait_until(lambda: not waiter.is_alive() or status(site)["lock_waiters"], 20, "the request waits or dies")
            if waiter.is_alive():
                asleep += 1
                processes.send(site.workers("victim"), number)
                waiter.join(10)
            else:
                registering += 1
            assert holder.release() == count + 1, "the one who had the lock did not write"
            next_request(site, session, {count + 1}, waits, f"waiting, store {n}")
            n = MANY if asleep else n + 1
        in_line, in_sleep = in_line + registering, in_sleep + asleep
    nothing_is_taken(site)
    return f"{in_line} deaths while getting in line, {in_sleep} while asleep there, {waits.judged()}"


def a_time_limit_in_each_part_of_a_request(site: Site) -> str:
    """request_terminate_timeout: workers stop before the n-th store until php-fpm ends them, many at once."""
    only_holdfast(site)
    waits = Waits()
    deaths = 0
    for part in (*PARTS, "locked"):
        stores = 1 if part == "locked" else stores_of(site, part)
        order = spread(DEATHS, stores)
        if part == "gc":
            leave_expired(site, 2 * EXPIRED_EACH * DEATHS)
        for batch in (order[i : i + AT_ONCE] for i in range(0, DEATHS, AT_ONCE)):
            sessions = [a_session(site) for _ in batch]
            requests = [client.get(death("limited", part, n, 0), session, keep=False) for (session, _), n in zip(sessions, batch)]
            answers = client.drive(site.port, [one(request) for request in requests], 30)
            # One that made fewer stores than the one that was counted before has lived.
            ended = [visited for visited, answer in zip(sessions, answers) if answer.status in (0, 502)]
            assert len(ended) > len(batch) // 2, f"{part}: requests were not ended: {answers}"
            for session, count in ended:
                next_request(site, session, allowed(part, count), waits, f"{part}, time limit")
            deaths += len(ended)
    nothing_is_taken(site)
    return f"{deaths} requests ended by php-fpm, {waits.judged()}"


def locked_deaths(site: Site, waits: Waits) -> int:
    """While the script runs and holds the lock: what it changed and did not write is not there."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        for _ in range(DEATHS):
            session, count = a_session(site)
            assert die(site, "victim", session, "locked", 0, number).status in (0, 502)
            next_request(site, session, {count}, waits, "locked")
    return 2 * DEATHS


# ---- by PHP's own means -------------------------------------------------------------------------------

BY_FRAMEWORK = [f"{when}-{call}" for call in ("open", "read", "gc", "write", "close") for when in ("before", "after")]
PLACES = [*BY_FRAMEWORK, "unpacking", "locked", "packing", "destructor", "shutdown", "warning-of-read", "warning-of-write"]
MEANS = ("exit", "throw", "fatal", "memory")


def a_request_that_ends_in_each_place(site: Site) -> str:
    """exit, an uncaught error, a fatal error and the memory limit, wherever PHP code runs: the worker lives
    on, and the next request of it, and of another one, has the lock and a whole session."""
    waits = Waits()
    kept = written = 0
    for place, how in itertools.product(PLACES, MEANS):
        for _ in range(DEATHS):
            session, count = a_session(site, "/victim/perish.php?place=none&how=exit")
            before = site.get("/victim/ping.php").body
            answer = site.get(f"/victim/perish.php?place={place}&how={how}", session)
            assert answer.status in (200, 500), f"{place}, {how}: {answer}"
            # Destructors and shutdown functions run after the answer.
            late = place in ("destructor", "shutdown")
            assert late or answer.body != str(count + 1), f"{place}, {how}: the request lived"
            found = next_request(site, session, expected(place, how, count), waits, f"{place}, {how}")
            kept, written = kept + (found == count), written + (found > count)
            again = site.get("/victim/next.php", session)
            count = found + 2 if found else 1
            assert again.status == 200 and again.body == f"{count} {before}", f"{place}, {how}: {again}"
    if site.handler == "holdfast":
        nothing_is_taken(site)
    deaths = len(PLACES) * len(MEANS) * DEATHS
    return f"{deaths} ends, {kept} sessions as before, {written} as after, {waits.judged()}"


def expected(place: str, how: str, count: int) -> set[int]:
    """As it was or as it would be. What PHP does itself: a session whose unpacking ends in a fatal error is
    destroyed, with any handler."""
    return {0} if (place, how) == ("unpacking", "fatal") else {count, count + 1}


TESTS = [
    a_signal_in_each_part_of_a_request,
    a_signal_while_waiting_for_the_lock,
    a_time_limit_in_each_part_of_a_request,
    a_request_that_ends_in_each_place,
]


# ---- what they share ----------------------------------------------------------------------------------


def spread(deaths: int, stores: int) -> list[int]:
    """That many store numbers, from the first to the last, evenly."""
    return [1 + i * (stores - 1) // max(1, deaths - 1) for i in range(deaths)]


class Waits:
    """How long next requests took. A lock that is not free costs seconds; a machine that is busy, a few times its share
    of them, some tenths."""

    def __init__(self) -> None:
        self._ms: list[float] = []

    def add(self, ms: float, what: str) -> None:
        assert ms < STUCK_MS, f"{what}: the next request took {ms:.0f} ms"
        self._ms.append(ms)

    def judged(self) -> str:
        ordered = sorted(self._ms)
        median, late, most = ordered[len(ordered) // 2], ordered[-1 - len(ordered) // 100], ordered[-1]
        report = f"next request p50 {median:.1f} ms, p99 {late:.1f} ms, max {most:.1f} ms"
        assert median < PROMISE_MS and late < BOUND_MS, f"{report}; bound {PROMISE_MS} + {SCHEDULING_MARGIN_MS} for scheduling"
        return report


def a_session(site: Site, path: str = "/next.php") -> tuple[str, int]:
    """A session that was written twice, so that it has a past: its cookie and its count."""
    answer = site.get(path)
    assert answer.status == 200, answer
    session = answer.cookie()
    answer = site.get(path, session)
    assert answer.status == 200, answer
    return session, int(answer.body.split()[0])


def next_request(site: Site, session: str, counts: set[int], waits: Waits, what: str) -> int:
    """Goes to another worker, finds a whole session, and adds one; returns the count that it found."""
    answer = site.get("/next.php", session)
    assert answer.status == 200, f"{what}: {answer}"
    waits.add(answer.seconds * 1000, what)
    found = int(answer.body.split()[0]) - 1
    assert found in counts, f"{what}: count {found} was found, not one of {sorted(counts)}"
    return found


def allowed(part: str, count: int) -> set[int]:
    return {"close": {count, count + 1}, "destroy": {count, 0}}.get(part, {count})


def only_holdfast(site: Site) -> None:
    if site.handler != "holdfast":
        raise Skipped("not asked of another handler, which has no fault points")


def death(pool: str, part: str, n: int, number: int) -> str:
    return f"/{pool}/die.php?part={part}&n={n}&signal={number}"


def die(site: Site, pool: str, session: str, part: str, n: int, number: int) -> client.Answer:
    return client.one(site.port, client.get(death(pool, part, n, number), session, keep=False))


def die_at(site: Site, part: str, n: int, number: int) -> tuple[str, int]:
    """Has a worker die there; returns the session that it was at, and the count before. How many stores a
    part makes depends on what is in the store: one that made fewer dies before its last."""
    for _ in range(20):
        session, count = a_session(site)
        answer = die(site, "victim", session, part, n, number)
        if answer.status in (0, 502):
            return session, count
        made = int(answer.body.split()[0]) if answer.status == 200 else 0
        assert 0 < made < n, f"{part}: the worker lived through store {n}: {answer}"
        n = made
        new_workers(site, "victim")
    raise AssertionError(f"{part}: the worker never died")


def one(request: bytes) -> client.Client:
    return (yield request)


def stores_of(site: Site, part: str) -> int:
    """How many stores to shared memory a part makes, in a worker that is as those that will die are."""
    if part == "gc":
        leave_expired(site, EXPIRED_EACH)
    new_workers(site, "victim")
    session, _ = a_session(site)
    answer = die(site, "victim", session, part, MANY, signal.SIGKILL)
    assert answer.status == 200, answer
    new_workers(site, "victim")
    stores = int(answer.body.split()[0])
    assert stores > 0, f"{part} makes no store to shared memory"
    return stores


def new_workers(site: Site, pool: str) -> None:
    """A worker that has opened the store would not open it again."""
    old = site.workers(pool)
    processes.send(old, signal.SIGKILL)
    processes.wait_gone(old)
    processes.wait_until(lambda: len(site.workers(pool)) == len(old), 10, "php-fpm replaces its workers")


def leave_expired(site: Site, count: int) -> None:
    answer = site.get(f"/expiring.php?count={count}", seconds=120)
    assert answer.status == 200, answer
    time.sleep(1.1)


def status(site: Site) -> dict[str, int]:
    return json.loads(site.get("/status.php").body)


def nothing_is_taken(site: Site) -> None:
    """No lock of the living, no one in line, and no more places of processes than there are processes."""
    found = status(site)
    workers = len(site.workers())
    assert found["locks_held"] == 0 and found["lock_waiters"] == 0, found
    assert found["processes"] <= workers, f"{found['processes']} processes in the store, {workers} workers"


class Holder(threading.Thread):
    """A request in the pool `main` that has the session's lock until release(), and then writes."""

    def __init__(self, site: Site, session: str):
        super().__init__(daemon=True)
        self._gate = site.dir / "site" / f"gate-{next(Holder.numbers)}"
        self._request = client.get(f"/gated.php?gate={self._gate.name}", session)
        self._site, self._answer = site, None
        self.start()
        processes.wait_until(lambda: status(site)["locks_held"], 20, "the holder has the lock")

    numbers = itertools.count()

    def run(self) -> None:
        self._answer = client.one(self._site.port, self._request, 60)

    def release(self) -> int:
        self._gate.touch()
        self.join(30)
        assert self._answer is not None and self._answer.status == 200, self._answer
        self._gate.unlink()
        return int(self._answer.body.split()[0])


def module_with_fault_points() -> Path:
    """The extension with a library that counts its stores: built here, because nobody installs it."""
    build = ROOT / "build" / "fpm"
    build.mkdir(parents=True, exist_ok=True)
    module = build / "holdfast.so"
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    run(["cargo", "build", "--quiet", "--package", "libholdfast", "--features", "faults"])
    includes = run([os.environ.get("PHP_CONFIG", "php-config"), "--includes"])
    # Nothing is hidden in it: the pages call its fault points.
    run(["cc", "-shared", "-fPIC", "-O1", "-g", "-DCOMPILE_DL_HOLDFAST", "-DZEND_ENABLE_STATIC_TSRMLS_CACHE=1",
         *shlex.split(includes), f"-I{ROOT}/include", *map(str, sorted((ROOT / "php-ext").glob("*.c"))),
         str(target / "debug" / "libholdfast.a"), "-lpthread", "-ldl", "-lm", "-lgcc_s", "-Wl,-z,nodelete", "-o", str(module)])
    return module


def run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stderr[-3000:]}"
    return done.stdout
