"""Clients that know what they were promised: writers with an oracle, and a reader that measures its waits.

A writer notes what it is about to write before it sends it, and what was acknowledged after the answer came.
Whatever happens to the server, each key must then hold what was acknowledged last, or what was on its way
after that: nothing older, nothing torn, nothing else. Called by `robust.py`.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import socket
import threading
import time

from servers import Server

BATCH = 16
KEYS = 64
# What a quiet client may wait beside the trouble, 99 of 100 times. The machine is shared, and this program takes
# one of its two cores (memcached itself came to 80 ms on a busy one): the figure is for a server that stalls, not for one
# that is a little slower. A quiet machine can be told to be stricter.
QUIET_MS = float(os.environ.get("HOLDFAST_ROBUST_QUIET_MS", "1000"))


def value_of(key: str, number: int, length: int) -> bytes:
    """A value that tells its number, and that cannot be half another one."""
    body = f"{number} {key} ".encode() + b"x" * length
    return body + hashlib.blake2b(body, digest_size=8).hexdigest().encode()


def number_in(key: str, value: bytes) -> int:
    """The number of a value; an AssertionError when it is torn or another key's."""
    body, digest = value[:-16], value[-16:]
    if hashlib.blake2b(body, digest_size=8).hexdigest().encode() != digest:
        raise AssertionError(f"a torn value of {len(value)} bytes under {key}")
    number, name, _ = body.split(b" ", 2)
    if name != key.encode():
        raise AssertionError(f"the value of another key under {key}")
    return int(number)


class Oracle:
    """For each key the numbers that it may hold: the last acknowledged one, and those on their way since.
    0 stands for: not there."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.pending: dict[str, list[int]] = {}
        self.writes = 0

    def intend(self, key: str, number: int) -> None:
        self.pending.setdefault(key, []).append(number)

    def acknowledge(self, key: str, number: int) -> None:
        waiting = self.pending.get(key, [])
        # What was sent before on the same connection was done before.
        del waiting[: waiting.index(number) + 1]
        self.acknowledged[key] = number
        self.writes += 1

    def may_hold(self, key: str) -> set[int]:
        return {self.acknowledged.get(key, 0), *self.pending.get(key, [])}

    def settle(self, key: str, number: int) -> None:
        """What was found is what is there now."""
        self.acknowledged[key] = number
        self.pending.pop(key, None)


class Writer(threading.Thread):
    """Sets and deletes its own keys in batches until told to stop or the server is gone."""

    def __init__(self, server: Server, name: str, oracle: Oracle, seed: int, largest: int = 3000):
        super().__init__(daemon=True)
        self.server, self.prefix, self.oracle, self.largest = server, name, oracle, largest
        self.chance = random.Random(seed)
        self.stopping = threading.Event()
        self.broke = ""
        self.number = max(oracle.acknowledged.values(), default=0) + 1_000_000

    def run(self) -> None:
        try:
            with self.server.connect(10) as connection:
                while not self.stopping.is_set():
                    self._batch(connection)
        except OSError as error:
            self.broke = f"{type(error).__name__}: {error}"
        except AssertionError as error:
            self.broke = f"wrong: {error}"

    def _batch(self, connection: socket.socket) -> None:
        asked: list[tuple[str, int]] = []
        sent = b""
        for _ in range(BATCH):
            key = f"{self.prefix}.{self.chance.randrange(KEYS)}"
            self.number += 1
            gone = self.chance.random() < 0.1
            number = 0 if gone else self.number
            self.oracle.intend(key, number)
            asked.append((key, number))
            if gone:
                sent += f"delete {key}\r\n".encode()
            else:
                value = value_of(key, number, self.chance.randrange(self.largest))
                sent += f"set {key} 0 0 {len(value)}\r\n".encode() + value + b"\r\n"
        connection.sendall(sent)
        stream = connection.makefile("rb")
        for key, number in asked:
            answer = stream.readline()
            if not answer.endswith(b"\r\n"):
                raise ConnectionResetError("closed in the middle of a batch")
            wanted = (b"STORED\r\n",) if number else (b"DELETED\r\n", b"NOT_FOUND\r\n")
            if answer not in wanted:
                raise AssertionError(f"a write was answered with {answer!r}")
            self.oracle.acknowledge(key, number)


def check(server: Server, oracles: list[Oracle]) -> int:
    """Reads every key and compares it with the oracles; the number of keys."""
    with server.connect(20) as connection:
        stream = connection.makefile("rb")
        keys = [(key, oracle) for oracle in oracles for key in {*oracle.acknowledged, *oracle.pending}]
        for key, oracle in keys:
            connection.sendall(f"get {key}\r\n".encode())
            line = stream.readline()
            number = 0
            if line.startswith(b"VALUE "):
                value = stream.read(int(line.split()[3]))
                stream.read(2)
                number = number_in(key, value)
                line = stream.readline()
            if line != b"END\r\n":
                raise AssertionError(f"a get was answered with {line!r}")
            if number not in oracle.may_hold(key):
                raise AssertionError(f"{key} holds number {number}; acknowledged or on their way: {sorted(oracle.may_hold(key))[:5]}")
            oracle.settle(key, number)
    return len(keys)


class Watch(threading.Thread):
    """One quiet client beside the trouble: a get every few milliseconds, and how long each took."""

    def __init__(self, server: Server, pause: float = 0.002):
        super().__init__(daemon=True)
        self.server, self.pause = server, pause
        self.waits: list[float] = []
        self.stopping = threading.Event()
        self.broke = ""

    def run(self) -> None:
        try:
            with self.server.connect(20) as connection:
                connection.sendall(b"set watched 0 0 5\r\nvalue\r\n")
                connection.recv(64)
                while not self.stopping.is_set():
                    began = time.perf_counter()
                    connection.sendall(b"get watched\r\n")
                    came = b""
                    while not came.endswith(b"END\r\n"):
                        more = connection.recv(4096)
                        if not more:
                            raise ConnectionResetError("closed")
                        came += more
                    self.waits.append(time.perf_counter() - began)
                    if came != b"VALUE watched 0 5\r\nvalue\r\nEND\r\n":
                        raise AssertionError(f"answered {came[:100]!r}")
                    time.sleep(self.pause)
        except (OSError, AssertionError) as error:
            self.broke = f"{type(error).__name__}: {error}"

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join(30)

    def at(self, share: float) -> float:
        """A quantile of the waits, milliseconds."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("inf")

    def judge(self, limit_ms: float) -> str:
        if self.broke or not self.waits:
            raise AssertionError(f"the quiet client beside it: {self.broke or 'no answer at all'}")
        if self.at(0.99) > limit_ms:
            raise AssertionError(f"the quiet client beside it waited {self.at(0.99):.1f} ms (99 of 100), more than {limit_ms:g} ms")
        return f"beside it p50 {self.at(0.5):.2f} ms, p99 {self.at(0.99):.2f} ms, worst {self.at(1):.1f} ms of {len(self.waits)}"


def open_many(server: Server, count: int) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connections.append(server.connect(20))
    return connections


def room_for(count: int) -> int:
    """How many connections of the wanted number this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(count, hard - 256)
