"""Workers that serve many requests, and workers that are replaced under load.

No request leaves anything behind in its worker: memory, descriptors and mappings are flat once the worker is
warm. php-fpm's graceful reload loses no session, and fails no more requests than it does with PHP's own handler.
A process that has used sessions ends without having lost a piece of memory, says valgrind. A session that is
touched at the moment of its expiry is not swept away.

HOLDFAST_FPM_SOAK=20000 requests, HOLDFAST_FPM_RELOADS=5, HOLDFAST_FPM_TOUCH_SECONDS=6.

What this cannot show: a leak of less than TOLERATED_BYTES in so many requests; leaks of PHP under threads.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import client
import traffic
from servers import FFI, HERE, MODULE, Pool, Site, find, has_ffi, processes
from shared import Skipped

REQUESTS = int(os.environ.get("HOLDFAST_FPM_SOAK", "20000"))
TOUCH_SECONDS = int(os.environ.get("HOLDFAST_FPM_TOUCH_SECONDS", "6"))
RELOADS = int(os.environ.get("HOLDFAST_FPM_RELOADS", "5"))
CROWD = 4
# One worker serves all that is weighed, so that its share of the requests is known.
POOLS = [Pool("main", 1), Pool("crowd", CROWD)]
ROUNDS = 8
# The library's own thread has an arena of 132 KiB in malloc, which it walks through before it begins again: the pages
# that it touches are at most those. The smallest piece that malloc gives takes 32 bytes: lost once in each request it
# is 300 kB from the first half of the rounds to the second, at the size of CI.
TOLERATED_BYTES = 160 * 1024
# A worker maps a piece of the store when it first meets it.
TOLERATED_STORE_MAPPINGS = 8
DRIVE_SECONDS = 3600
SECONDS_PER_RELOAD = 1.0


def site(handler: str) -> Site:
    return Site(handler, POOLS, options=FFI if has_ffi() else ())


class Weight(NamedTuple):
    """What a worker has: its own memory in bytes, open descriptors, mappings beside those of the store, and of it."""

    memory: int
    descriptors: int
    mappings: int
    of_store: int


def weigh(pid: int) -> Weight:
    # Anonymous pages alone: those of the store are shared, and belong to nobody.
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    anonymous = next(line for line in rollup.splitlines() if line.startswith("Anonymous:"))
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    of_store = sum("/store/" in line for line in maps)
    return Weight(int(anonymous.split()[1]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), len(maps) - of_store, of_store)


def visiting(path: str, session: str, times: int) -> client.Client:
    for _ in range(times):
        answer = yield client.get(path, session)
        assert answer.status == 200, answer
    return times


def soak(site: Site, path: str, requests: int) -> list[Weight]:
    """The weights of the worker: after a warm-up of a quarter of the requests, and after each round of the rest."""
    sessions = [site.new_session("/next.php") for _ in range(4)]

    def drive(count: int) -> None:
        clients = [visiting(path, session, count // len(sessions)) for session in sessions]
        client.drive(site.port, clients, DRIVE_SECONDS)

    drive(requests // 4)
    (worker,) = site.workers("main")
    weights = [weigh(worker.pid)]
    for _ in range(ROUNDS):
        drive(requests * 3 // 4 // ROUNDS)
        weights.append(weigh(worker.pid))
    return weights


def growth(line: list[Weight]) -> Weight:
    """By how much the least of the second half of the rounds is above the least of the first: what comes and goes
    is no growth."""
    half = (len(line) + 1) // 2
    return Weight(*(min(later) - min(before) for before, later in zip(zip(*line[:half]), zip(*line[half:]))))


# ---- the tests ----------------------------------------------------------------------------------------


def a_worker_stays_as_it_is(site: Site) -> str:
    """Every way through the handler, thousands of times: nothing grows."""
    began = time.monotonic()
    weights = soak(site, "/mix.php" if site.handler == "holdfast" else "/count.php", REQUESTS)
    took = time.monotonic() - began
    more, now = growth(weights), weights[-1]
    report = f"{more} more: {weights}"
    assert more.memory <= TOLERATED_BYTES, report
    assert more.descriptors <= 0 and more.mappings <= 0 and more.of_store <= TOLERATED_STORE_MAPPINGS, report
    return (f"{REQUESTS:,} requests, {REQUESTS / took:,.0f}/s; {more.memory:+,} bytes, now {now.memory / 1e6:.1f} MB, "
            f"{now.descriptors} descriptors, {now.mappings} mappings")


def a_leak_is_noticed(site: Site) -> str:
    """The smallest leak there is, 24 bytes in a request, and a descriptor now and then, do show."""
    if not has_ffi():
        raise Skipped("PHP's extension FFI, which the leaking page needs, is not here")
    more = growth(soak(site, "/leak.php", REQUESTS))
    assert more.memory > TOLERATED_BYTES and more.descriptors > 0, f"only {more} were lost, and that is tolerated"
    return f"{more.memory:,} bytes and {more.descriptors} descriptors"


def reloads_lose_nothing(site: Site) -> str:
    """Graceful reloads under full traffic: every acknowledged change is there, and php-fpm cuts off no more
    requests than it does with the files handler."""
    cut_off, acknowledged = reload_under_load(site)
    other = Site("files" if site.handler == "holdfast" else "holdfast", POOLS)
    try:
        other.start()
        cut_off_there, acknowledged_there = reload_under_load(other)
    finally:
        other.stop()
        other.remove()
    report = (f"{RELOADS} reloads, {acknowledged:,} acknowledged, 0 lost, {cut_off} cut off; with {other.handler}: "
              f"{acknowledged_there:,} and {cut_off_there}")
    # Chance decides how many requests a worker has taken and not begun when it is told to go.
    assert cut_off <= 2 * cut_off_there + RELOADS * len(site.workers()), report
    return report


def php(store: Path) -> list[str]:
    """PHP's command line with the store at that place."""
    return [
        find("php"), "-n", "-d", f"extension={MODULE}", "-d", "session.save_handler=holdfast", "-d", f"holdfast.store={store}",
        "-d", "session.use_cookies=0", "-d", "session.cache_limiter=",
    ]


def reload_under_load(site: Site) -> tuple[int, int]:
    """How many requests had no answer, and how many had one."""
    sessions = [site.new_session() for _ in range(4)]
    reloads = 0
    seen: set[int] = set()
    next_reload = 0.3

    def tick(passed: float) -> None:
        nonlocal reloads, next_reload
        if reloads < RELOADS and passed > next_reload:
            seen.update(worker.pid for worker in site.workers())
            site.reload_fpm()
            reloads += 1
            next_reload = passed + SECONDS_PER_RELOAD

    clients = [
        traffic.incrementing(session, lambda _: reloads < RELOADS, "/crowd/count.php", may_break=True)
        for session in sessions for _ in range(4)
    ]
    results = client.drive(site.port, clients, DRIVE_SECONDS, tick)
    # The last reload may still be under way.
    processes.wait_until(lambda: not seen & {worker.pid for worker in site.workers()}, 20, "all workers are new")
    processes.wait_until(lambda: len(site.workers()) == CROWD + 1, 20, "the workers are there")
    counts = [traffic.check_counts(site, session, results[i * 4 : i * 4 + 4]) for i, session in enumerate(sessions)]
    return sum(unknown for _, unknown in counts), sum(acknowledged for acknowledged, _ in counts)


def a_process_ends_without_a_leak(site: Site) -> str:
    """Session cycles of each kind on the command line under valgrind: nothing is definitely lost, no invalid access."""
    if site.handler != "holdfast":
        raise Skipped("not asked of another handler")
    try:
        valgrind = find("valgrind")
    except SystemExit as missing:
        raise Skipped(str(missing)) from None
    store = site.dir / "valgrind-store"
    store.mkdir(mode=0o700)
    # PHP's own allocator would hide what is lost; unloaded modules would have no names.
    environment = {**os.environ, "USE_ZEND_ALLOC": "0", "ZEND_DONT_UNLOAD_MODULES": "1"}
    done = subprocess.run(
        [valgrind, "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--error-exitcode=9",
         "--num-callers=30", *php(store), str(HERE / "cycles.php")],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), f"{done.stdout[-500:]}\n{done.stderr[-6000:]}"
    return "definitely lost: 0 bytes"


def a_touched_session_is_not_swept(site: Site) -> str:
    """Sessions touched at the moment of their expiry, while two processes sweep: each is there afterwards."""
    if site.handler != "holdfast":
        raise Skipped("not asked of another handler")
    store = site.dir / "touch-store"
    store.mkdir(mode=0o700)
    roles = ["touch", "touch", "sweep", "sweep"]
    running = [
        subprocess.Popen([*php(store), str(HERE / "touch.php"), role, str(TOUCH_SECONDS)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, text=True)
        for role in roles
    ]
    said = [process.communicate(timeout=TOUCH_SECONDS + 60)[0] for process in running]
    assert not any(process.returncode for process in running) and said[2:] == ["", ""], said
    touches, gone, edge = (sum(int(line.split()[place]) for line in said[:2]) for place in range(3))
    report = f"{touches:,} touches, {edge:,} of them after the expiry, {gone} sessions gone"
    assert gone == 0 and edge > 0, report
    return report


TESTS = [a_worker_stays_as_it_is, a_leak_is_noticed, reloads_lose_nothing, a_process_ends_without_a_leak, a_touched_session_is_not_swept]
