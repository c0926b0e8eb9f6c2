#!/usr/bin/env python3
"""What the daemon bears: kills under load, crowds that say nothing, peers that never read, no descriptors left.

    robust.py [--against holdfast|memcached] [NAME...]

Each test is a function that returns one line of findings; an AssertionError fails it. Sizes come from the
environment, so that a long run is the same test with larger numbers:

    HOLDFAST_ROBUST_KILLS=100     HOLDFAST_ROBUST_KEYS=100000   HOLDFAST_ROBUST_IDLE=15000
    HOLDFAST_ROBUST_ACTIVE=500    HOLDFAST_ROBUST_SLOW=1000     HOLDFAST_ROBUST_QUIET_MS=1000
    HOLDFAST_ROBUST_DEAF=200      HOLDFAST_ROBUST_LOCKS=60      HOLDFAST_ROBUST_SEED=(random, printed)

--against memcached plays those that a cache without memory of its own can pass, for comparison.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import servers
import session_locks
import unread
from load import QUIET_MS, Oracle, Watch, Writer, check, open_many, room_for
from servers import Report, Server, Skip, processes

KILLS = int(os.environ.get("HOLDFAST_ROBUST_KILLS", "100"))
KEYS = int(os.environ.get("HOLDFAST_ROBUST_KEYS", "100000"))
IDLE = int(os.environ.get("HOLDFAST_ROBUST_IDLE", "15000"))
ACTIVE = int(os.environ.get("HOLDFAST_ROBUST_ACTIVE", "500"))
SLOW = int(os.environ.get("HOLDFAST_ROBUST_SLOW", "1000"))
SEED = int(os.environ.get("HOLDFAST_ROBUST_SEED", "0")) or secrets.randbelow(2**32)

WRITERS = 4
RESTART_SECONDS = 1.0
MIB = 1 << 20


def only_holdfast(kind: str) -> None:
    if kind != "holdfast":
        raise Skip("a memcached keeps nothing")


class Inside:
    """The process of `inside.py`, and its oracle."""

    def __init__(self, server: Server):
        # Cargo's tests build the program alone; `make build` lays the library out beside the installed name.
        places = [Path(servers.holdfastd()).parent / "libholdfast.so", servers.ROOT / "build/stage/lib/libholdfast.so.0"]
        library = next((path for path in places if path.exists()), None)
        if library is None:
            raise Skip(f"the library is not built: {places[-1]} is what 'make build' makes")
        self.errors = server.dir / "inside.err"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(servers.HERE / "inside.py"), str(library), str(server.store), "inside"],
                stdin=subprocess.PIPE, stdout=open(server.dir / "inside.out", "wb"), stderr=errors,
            )
        self.out = server.dir / "inside.out"

    def end(self) -> tuple[Oracle, float]:
        """What it wrote, and its longest write in milliseconds."""
        died = self.process.poll()
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(timeout=30)
        assert died is None and self.process.returncode == 0, f"the process inside ended: {processes.tail(self.errors)}"
        oracle, longest, last = Oracle(), 0.0, ("", 0)
        for line in self.out.read_text().splitlines():
            mark, *rest = line.split()
            if mark == ">":
                last = (rest[0], int(rest[1]))
                oracle.intend(*last)
            else:
                oracle.acknowledge(*last)
                longest = max(longest, float(rest[0]))
        return oracle, longest

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


def kills(kind: str) -> str:
    """SIGKILL under load, again and again: nothing acknowledged is lost, and it is back within a second."""
    only_holdfast(kind)
    starts, wrong = [], []
    oracles = [Oracle() for _ in range(WRITERS)]
    with Server(kind) as server:
        inside = Inside(server)
        try:
            for turn in range(KILLS):
                writers = [Writer(server, f"w{number}", oracle, SEED + turn * WRITERS + number) for number, oracle in enumerate(oracles)]
                for writer in writers:
                    writer.start()
                time.sleep(0.02 + (SEED + turn * 7919) % 97 / 1000)
                server.kill()
                for writer in writers:
                    writer.join(30)
                    wrong += [writer.broke] if writer.broke.startswith("wrong") else []
                assert not wrong, wrong[0]
                began = time.monotonic()
                server.start()
                starts.append(time.monotonic() - began)
                check(server, oracles)
        finally:
            if sys.exc_info()[0]:
                inside.kill()
        theirs, longest = inside.end()
        checked = check(server, [*oracles, theirs])
    acknowledged = sum(oracle.writes for oracle in oracles)
    assert acknowledged > KILLS * 10, f"only {acknowledged} writes were acknowledged: that is no load"
    assert theirs.writes > KILLS, f"only {theirs.writes} writes inside"
    middle = sorted(starts)[len(starts) // 2]
    assert middle < RESTART_SECONDS, f"a restart took {middle:.2f} s (the middle one of {KILLS})"
    assert max(starts) < 5 * RESTART_SECONDS, f"a restart took {max(starts):.2f} s"
    return (f"{KILLS} kills, {acknowledged} acknowledged writes, {theirs.writes} inside (longest {longest:.1f} ms), 0 lost of {checked} keys; "
            f"restart {middle * 1000:.0f} ms, worst {max(starts) * 1000:.0f} ms")


def restart_with_many_keys(kind: str) -> str:
    """After a SIGKILL with many keys the first answer comes within a second, and it is right."""
    only_holdfast(kind)
    with Server(kind) as server:
        with server.connect(60) as connection:
            for first in range(0, KEYS, 1000):
                batch = b"".join(b"set many.%d 0 0 %d noreply\r\n%b\r\n" % (n, len(str(n)), str(n).encode())
                                 for n in range(first, min(first + 1000, KEYS)))
                connection.sendall(batch + b"mn\r\n")
                assert connection.recv(64) == b"MN\r\n", "a noreply write was answered"
        server.kill()
        began = time.monotonic()
        server.start()
        took = time.monotonic() - began
        with server.connect() as connection:
            for n in range(0, KEYS, max(1, KEYS // 1000)):
                connection.sendall(b"get many.%d\r\n" % n)
                wanted = b"VALUE many.%d 0 %d\r\n%d\r\nEND\r\n" % (n, len(str(n)), n)
                came = connection.recv(4096)
                assert came == wanted, f"key {n}: {came[:100]!r}"
    assert took < RESTART_SECONDS, f"it took {took:.2f} s"
    return f"{KEYS} keys, first answer after {took * 1000:.0f} ms"


def idle_crowd(kind: str) -> str:
    """Thousands that say nothing, hundreds that ask: what the silent ones cost, and what the others wait."""
    wanted = room_for(IDLE + ACTIVE) - ACTIVE
    with Server(kind, ["-c", str(wanted + ACTIVE + 100)]) as server:
        with server.connect() as first:
            first.sendall(b"set crowd 0 0 100\r\n" + b"c" * 100 + b"\r\n")
            first.recv(64)
        active = open_many(server, ACTIVE)
        _round(active)
        before = server.number_of("RssAnon")
        idle = open_many(server, wanted)
        time.sleep(0.2)
        grown = (server.number_of("RssAnon") - before) * 1024
        with Watch(server) as watch:
            rounds, began = 0, time.monotonic()
            while time.monotonic() - began < 3:
                _round(active)
                rounds += 1
        for connection in idle[:: max(1, len(idle) // 200)]:
            connection.sendall(b"mn\r\n")
            assert connection.recv(16) == b"MN\r\n", "an idle connection was forgotten"
        for connection in [*idle, *active]:
            connection.close()
        each = grown / len(idle)
        assert each <= 2048, f"an idle connection costs {each:.0f} bytes"
        smaller = f" (the limit of descriptors allows no {IDLE})" if wanted < IDLE else ""
        return (f"{len(idle)} idle{smaller}, {each:.0f} bytes each; {ACTIVE} active, {rounds * ACTIVE / 3:.0f} gets a second; "
                + watch.judge(QUIET_MS))


def _round(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.sendall(b"get crowd\r\n")
    for connection in connections:
        came = b""
        while not came.endswith(b"END\r\n"):
            more = connection.recv(4096)
            assert more, "an active connection was closed"
            came += more
        assert came.startswith(b"VALUE crowd 0 100\r\n"), f"answered {came[:60]!r}"


def slow_senders(kind: str) -> str:
    """A thousand that send a byte now and then: others do not notice, memory stays bounded."""
    count = room_for(SLOW)
    request = b"set slow 0 0 1000\r\n" + b"s" * 1000
    with Server(kind, ["-c", str(count + 100)]) as server:
        before = server.number_of("RssAnon")
        slow = open_many(server, count)
        with Watch(server) as watch:
            for at in range(25):
                for connection in slow:
                    connection.send(request[at:at + 1])
                time.sleep(0.02)
        grown = (server.number_of("RssAnon") - before) * 1024
        for connection in slow:
            connection.close()
        assert grown / count < 24_576, f"{grown / count:.0f} bytes for each"
        return f"{count} in the middle of a request, {grown / count:.0f} bytes each; {watch.judge(QUIET_MS)}"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def no_descriptors(kind: str) -> str:
    """No descriptor left: those who are there are served, nothing spins, and it ends by itself."""
    with Server(kind, ["-c", "1000"]) as server:
        inside = open_many(server, 20)
        used = len(os.listdir(f"/proc/{server.pid}/fd"))
        limit = used + 40
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = []
        for _ in range(300):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))
            crowd.append(connection)
        time.sleep(0.5)
        began, cpu = time.monotonic(), cpu_seconds(server.pid)
        for connection in inside:
            connection.sendall(b"mn\r\n")
            assert connection.recv(16) == b"MN\r\n", "a connection that was there is not served"
        time.sleep(2)
        share = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - began)
        for connection in crowd:
            connection.close()
        began = time.monotonic()
        with server.connect(10) as connection:
            connection.sendall(b"version\r\n")
            assert connection.recv(64).startswith(b"VERSION"), "no answer after the crowd had gone"
        again = time.monotonic() - began
        for connection in inside:
            connection.close()
    assert share < 0.10, f"it takes {share:.0%} of a core while nothing can be accepted"
    assert again < 1.5, f"it accepts again after {again:.2f} s"
    return f"{limit} descriptors for 320 connections: {share:.1%} of a core, accepts again after {again * 1000:.0f} ms"


def graceful_stop(kind: str) -> str:
    """SIGTERM under load: exit code 0 within its time, and everything acknowledged is there afterwards."""
    only_holdfast(kind)
    slowest = 0.0
    oracles = [Oracle() for _ in range(WRITERS)]
    with Server(kind) as server:
        for turn in range(5):
            writers = [Writer(server, f"g{number}", oracle, SEED + turn * WRITERS + number) for number, oracle in enumerate(oracles)]
            for writer in writers:
                writer.start()
            time.sleep(0.2)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
            time.sleep(0.05)
            for writer in writers:
                writer.stopping.set()
            code = server.end(signal.SIGCONT, 20)
            slowest = max(slowest, time.monotonic() - began)
            for writer in writers:
                writer.join(20)
                assert not writer.broke.startswith("wrong"), writer.broke
            assert code == 0, f"exit code {code}\n{server.said()}"
            server.start()
            checked = check(server, oracles)
    assert slowest < 10, f"a stop took {slowest:.1f} s"
    return f"5 stops, slowest {slowest:.2f} s, {sum(oracle.writes for oracle in oracles)} acknowledged, {checked} keys right"


def reload(kind: str) -> str:
    """SIGHUP under load: nobody is disconnected, and a new password counts at once for who comes then."""
    def says(connection: socket.socket, password: bytes) -> bytes:
        proof = b"anna " + password
        connection.sendall(b"set x 0 0 %d\r\n%b\r\n" % (len(proof), proof))
        return connection.recv(128)

    with Server(kind, users="anna:first\n") as server:
        old = server.connect()
        assert says(old, b"first") == b"STORED\r\n", "the first password is refused"
        (server.dir / "users").write_text("anna:second\n")
        for _ in range(20):
            os.kill(server.pid, signal.SIGHUP)
            old.sendall(b"set kept 0 0 1\r\n1\r\n")
            assert old.recv(64) == b"STORED\r\n", "a reload disturbed who was there"
        pid = server.pid

        def changed() -> bool:
            with server.connect() as new:
                return says(new, b"second") == b"STORED\r\n"

        processes.wait_until(changed, 3, "the new password counts")
        with server.connect() as late:
            assert b"CLIENT_ERROR" in says(late, b"first"), "the old password still counts"
        assert server.alive() and server.pid == pid
        old.close()
    return "20 reloads, a password changed"


def churn(kind: str) -> str:
    """Connections that come and go, half of them with a reset: nothing stays behind."""
    with Server(kind) as server:
        for connection in open_many(server, 50):
            connection.close()
        time.sleep(0.2)
        descriptors, before = len(os.listdir(f"/proc/{server.pid}/fd")), server.number_of("RssAnon")
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 3:
            connection = server.connect()
            connection.send(b"set churn 0 0 100\r\nhalf" if count % 3 else b"version\r\n")
            if count % 2:
                # Closed with unread answers and no linger: the peer gets a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            count += 1
        processes.wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= descriptors, 5, "all descriptors are given back")
        grown = server.number_of("RssAnon") - before
        assert grown < 4096, f"{grown} KiB stayed behind"
        return f"{count / 3:.0f} connections a second, {grown} KiB more"


TESTS = {
    "kills": kills, "restart": restart_with_many_keys, "idle": idle_crowd, **unread.TESTS, "locks": session_locks.counts_under_kills, "slow": slow_senders,
    "descriptors": no_descriptors, "stop": graceful_stop, "reload": reload, "churn": churn,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="What the daemon bears")
    parser.add_argument("--against", choices=servers.KINDS, default="holdfast")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TESTS))
    asked = parser.parse_args()
    if set(asked.names) - set(TESTS):
        parser.error(f"there are {', '.join(TESTS)}")
    print(f"seed {SEED}")
    report = Report()
    for name, test in TESTS.items():
        if not asked.names or name in asked.names:
            report.run(name, test, asked.against)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
