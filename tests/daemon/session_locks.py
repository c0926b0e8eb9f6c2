"""Session locks over the wire while the daemon is killed.

Clients count in a few sessions: lock, read, write one more, unlock, in text and in binary. The daemon dies by SIGKILL with
locks in its hands, again and again. It would catch a lock that outlives the daemon that held it, a lock that two have,
and a write that is done though its lock was lost: each makes two clients acknowledge the same count, or stops all.
What it cannot show: the order in which waiters are served, leases that run out, and processes inside that take the same
locks, which `clients.py` has. Called by `robust.py`.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time

import wirefile
from servers import Server, Skip, processes

KILLS = int(os.environ.get("HOLDFAST_ROBUST_LOCKS", "60"))
CLIENTS, SESSIONS = 6, 2
PREFIX = "memc.sess.key."


class Counter(threading.Thread):
    """Counts in sessions until told to stop; a connection that breaks is made anew."""

    def __init__(self, server: Server, number: int, seed: int):
        super().__init__(daemon=True)
        self.server, self.binary, self.chance = server, number % 2 == 1, random.Random(seed)
        self.stopping = threading.Event()
        # By session: what was acknowledged, and what has no answer.
        self.acknowledged: list[list[int]] = [[] for _ in range(SESSIONS)]
        self.unanswered = [0] * SESSIONS
        self.waited = 0.0
        self.wrong = ""

    def run(self) -> None:
        while not self.stopping.is_set() and not self.wrong:
            try:
                with self.server.connect(20) as connection, connection.makefile("rb") as stream:
                    while not self.stopping.is_set():
                        self._count(connection, stream)
            except OSError:
                time.sleep(0.002)
            except AssertionError as error:
                self.wrong = str(error)

    def _count(self, connection: socket.socket, stream: socket.SocketIO) -> None:
        session = self.chance.randrange(SESSIONS)
        lock, value = f"{PREFIX}lock.s{session}", f"{PREFIX}s{session}"
        began = time.monotonic()
        while self._ask(connection, stream, "add", lock, b"1") != "stored":
            if self.stopping.is_set():
                return
            time.sleep(0.001)
        self.waited = max(self.waited, time.monotonic() - began)
        count = int(self._ask(connection, stream, "get", value) or 0) + 1
        self.unanswered[session] += 1
        answer = self._ask(connection, stream, "set", value, str(count).encode())
        self.unanswered[session] -= 1
        assert answer == "stored", f"a write under its lock was answered with {answer!r}"
        self.acknowledged[session].append(count)
        answer = self._ask(connection, stream, "delete", lock)
        assert answer == "deleted", f"the lock of its holder was freed with {answer!r}"

    def _ask(self, connection: socket.socket, stream: socket.SocketIO, verb: str, key: str, value: bytes = b"") -> str:
        """`stored`, `deleted`, what was read, or what else it says; ConnectionResetError when it is gone."""
        if self.binary:
            lifetime = " exptime=600" if verb in ("add", "set") else ""
            text = f"{verb} key={key}{lifetime}" + (f" value={value.decode()}" if value else "")
            connection.sendall(wirefile.packet(text, wirefile.Words(0)))
            head = stream.read(24)
            body = stream.read(int.from_bytes(head[8:12], "big")) if len(head) == 24 else b""
            if len(head) < 24 or len(body) < int.from_bytes(head[8:12], "big"):
                raise ConnectionResetError
            status = int.from_bytes(head[6:8], "big")
            if verb == "get":
                return "" if status == 1 else body[4:].decode()
            return {"delete": "deleted"}.get(verb, "stored") if status == 0 else f"status {status:#x}"
        block = b" 0 600 %d\r\n%b" % (len(value), value) if value else b""
        connection.sendall(b"%b %b%b\r\n" % (verb.encode(), key.encode(), block))
        lines = [stream.readline()]
        while verb == "get" and lines[-1].endswith(b"\r\n") and lines[-1] != b"END\r\n":
            lines.append(stream.readline())
        if not lines[-1].endswith(b"\r\n"):
            raise ConnectionResetError
        if verb == "get":
            return lines[1].decode().strip() if len(lines) == 3 else ""
        return lines[0].decode().strip().lower()


def counts_under_kills(kind: str) -> str:
    """Each acknowledged count is another one, and the last count is that of all of them, whoever died in between."""
    if kind != "holdfast":
        raise Skip("in memcached a lock is a key, and gone when it is killed")
    seed = random.randrange(2**32)
    with Server(kind) as server:
        counters = [Counter(server, number, seed + number) for number in range(CLIENTS)]
        for counter in counters:
            counter.start()
        chance = random.Random(seed)
        for _ in range(KILLS):
            time.sleep(0.02 + chance.random() / 10)
            server.kill()
            server.start()
        before = sum(len(counts) for counter in counters for counts in counter.acknowledged)
        processes.wait_until(lambda: sum(len(counts) for counter in counters for counts in counter.acknowledged) > before + CLIENTS, 10,
                             "the locks of the last dead server are free")
        for counter in counters:
            counter.stopping.set()
        for counter in counters:
            counter.join(30)
            assert not counter.wrong, f"{counter.wrong} (seed {seed})"
        total = 0
        for session in range(SESSIONS):
            counts = sorted(count for counter in counters for count in counter.acknowledged[session])
            twice = sorted({one for one, other in zip(counts, counts[1:]) if one == other})
            assert not twice, f"acknowledged twice: {twice[:5]} (seed {seed})"
            unanswered = sum(counter.unanswered[session] for counter in counters)
            with server.connect() as connection:
                connection.sendall(f"get {PREFIX}s{session}\r\n".encode())
                last = int(connection.recv(200).split(b"\r\n")[1])
            assert len(counts) <= last <= len(counts) + unanswered, f"{last} after {len(counts)} counts and {unanswered} without an answer"
            total += len(counts)
    assert total > 2 * KILLS, f"only {total} counts: that is no load"
    return f"{KILLS} kills, {total} counts exact, in text and binary; longest wait for a lock {max(counter.waited for counter in counters) * 1000:.0f} ms"
