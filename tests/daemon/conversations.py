#!/usr/bin/env python3
"""Plays the conversations of `tests/wire/` to a real server, in every way in which their bytes can arrive.

    conversations.py [--against holdfast|memcached] [--only TEXT] [--file NAME] [--cuts N]

Each case is played whole; whole with a `version` (or noop) after each error, to see that the stream is in
step; glued into one send; twice in one send; byte by byte; and cut in two at every byte boundary. At a cut
the rest is sent only when the server has taken what was before it (the kernel tells how much of a unix
socket's bytes is still unread). The answers must be the same each time. A case ends with a probe, so that
an answer too many or a missing one is seen, unless it ends with the connection.

With --against memcached the same expectations are tried on memcached 1.6.18: that shows that they are right.
A case marked `memcached: differs (why)` must then differ: a mark that is not true any more is a failure.
"""

from __future__ import annotations

import argparse
import collections
import fcntl
import itertools
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import servers
import wirefile
from wirefile import Case, Line, Words

WIRE = servers.ROOT / "tests" / "wire"
PATIENCE = 3.0
# Large cases are cut at both ends and here and there between.
CUTS = 400
GLUED_BYTES = 32_000
TIOCOUTQ = 0x5411
players = ThreadPoolExecutor(8)
PROBES = {False: b"version\r\n", True: wirefile.packet("noop opaque=4242", Words(0))}
ERROR = re.compile(rb"^(ERROR|CLIENT_ERROR|SERVER_ERROR)|^.*\b(CLIENT|SERVER)_ERROR")
serials = itertools.count(int(time.time()) & 0xFFFF0)


class Mismatch(Exception):
    """What came is not what was expected."""


class Side:
    """One connection, with what was read and not yet expected."""

    def __init__(self, server: servers.Server, patience: float = PATIENCE):
        self.patience = patience
        self.socket = server.connect(patience)
        self.buffer = b""
        self.may: list[bytes] = []
        self.binary = False
        self.ended = False

    def send(self, data: bytes, pieces: list[int] = ()) -> None:
        """Sends the bytes, cut at these places, each piece when the one before was taken."""
        edges = [0, *pieces, len(data)]
        for begin, end in zip(edges, edges[1:]):
            if begin == end:
                continue
            if begin:
                self._wait_taken()
            try:
                self.socket.sendall(data[begin:end])
            except (BrokenPipeError, ConnectionResetError):
                # It closed already; whether it may is for the expectations to say.
                return

    def _wait_taken(self) -> None:
        deadline = time.monotonic() + 0.05
        while struct.unpack("i", fcntl.ioctl(self.socket, TIOCOUTQ, b"\0" * 4))[0] > 0:
            # A server that does not read now (it waits for us, or is done with us) reads later.
            if time.monotonic() > deadline:
                return
            os.sched_yield()

    def fill(self) -> bool:
        """Reads more; False at the end of the stream."""
        if self.ended:
            return False
        try:
            more = self.socket.recv(1 << 20)
        except TimeoutError:
            raise Mismatch(f"nothing came within {self.patience:g} s; unread: {_show(self.buffer)}") from None
        except ConnectionResetError:
            more = b""
        self.ended = not more
        self.buffer += more
        return bool(more)

    def _skip_what_may_come(self) -> None:
        while self.may:
            may = self.may[0]
            while len(self.buffer) < len(may) and may.startswith(self.buffer) and self.fill():
                pass
            if self.buffer.startswith(may):
                self.buffer = self.buffer[len(may):]
            self.may.pop(0)

    def take(self, count: int) -> bytes:
        self._skip_what_may_come()
        while len(self.buffer) < count:
            if not self.fill():
                raise Mismatch(f"the connection ended; before that came {_show(self.buffer)}")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def line(self) -> bytes:
        self._skip_what_may_come()
        while b"\n" not in self.buffer:
            if not self.fill():
                raise Mismatch(f"the connection ended in a line: {_show(self.buffer)}")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def exactly(self, wanted: bytes) -> None:
        """As many of the bytes as come must be right, so that a mismatch is seen before all are there."""
        self._skip_what_may_come()
        while len(self.buffer) < len(wanted) and wanted.startswith(self.buffer) and self.fill():
            pass
        if not self.buffer.startswith(wanted):
            raise Mismatch(f"wanted {_show(wanted)}\n came   {_show(self.buffer)}{' and the end' if self.ended else ''}")
        self.buffer = self.buffer[len(wanted):]

    def gone(self) -> bool:
        """Reads to the end; is there nothing but the end?"""
        while self.fill():
            pass
        self._skip_what_may_come()
        return not self.buffer

    def probe(self, may_be_closed: bool) -> None:
        """Asks for the version (or a noop): its answer, and nothing else, must come."""
        self.send(PROBES[self.binary])
        try:
            if self.binary:
                head = self.take(24)
                if head[1] != wirefile.OPS["noop"] or head[12:16] != (4242).to_bytes(4, "big"):
                    raise Mismatch(f"out of step: {_show(head)}")
            else:
                line = self.line()
                if not line.startswith(b"VERSION "):
                    raise Mismatch(f"out of step: {_show(line)}")
        except Mismatch:
            if may_be_closed and self.ended and not self.buffer:
                return
            raise
        if self.buffer:
            raise Mismatch(f"more than was asked for: {_show(self.buffer)}")

    def close(self) -> None:
        self.socket.close()


def _show(data: bytes) -> str:
    return repr(data) if len(data) <= 200 else f"{data[:100]!r} ... {data[-60:]!r} ({len(data)} bytes)"


def expect(side: Side, line: Line, words: Words) -> bool:
    """Compares what comes with the line; was it an error that the server named?"""
    if line.binary:
        head = side.take(24)
        body = side.take(int.from_bytes(head[8:12], "big"))
        if why := wirefile.unlike(line.text, words, head, body):
            raise Mismatch(f"line {line.number}: {why}")
        return head[6:8] != b"\0\0"
    if line.act == "?":
        side.may.append(words.bytes_of(line.text))
        return False
    if line.act == "~":
        came = side.line().rstrip(b"\r")
        found = re.fullmatch(words.bytes_of(line.text, pattern=True), came)
        if not found:
            raise Mismatch(f"line {line.number}: {_show(came)} does not match {line.text}")
        words.captured.update(found.groupdict())
        return bool(ERROR.match(came))
    wanted = words.bytes_of(line.text)
    side.exactly(wanted)
    return bool(ERROR.match(wanted))


class Play:
    """One playing of one case."""

    def __init__(self, server: servers.Server, case: Case):
        self.server, self.case = server, case
        self.words = Words(next(serials) & 0xFFFFFFF)
        self.sides: dict[int, Side] = {}
        self.sent = 0

    def side(self, number: int) -> Side:
        if number not in self.sides:
            # What is known to differ need not be waited for.
            known = self.server.kind == "memcached" and self.case.differs
            self.sides[number] = Side(self.server, 0.5 if known else PATIENCE)
        return self.sides[number]

    def bytes_of(self, line: Line) -> bytes:
        return wirefile.packet(line.text, self.words) if line.binary else self.words.bytes_of(line.text)

    def run(self, cut: int = 0, bytewise: bool = False, probed: bool = False) -> int:
        """Step by step; the bytes sent on all connections are cut at byte `cut`, or at each. Returns their number."""
        try:
            for sending, lines in itertools.groupby(self.case.lines, lambda line: (line.act == ">", line.connection)):
                if sending[0]:
                    self._send(sending[1], list(lines), cut, bytewise)
                    continue
                for line in lines:
                    # In the middle of a case, a probe would come between a half-close and its answers.
                    if self._other(line) and probed and self.case.ending() in ("", "sync"):
                        self.side(line.connection).probe(may_be_closed=self.case.ending() == "sync")
            self._finish()
        finally:
            for side in self.sides.values():
                side.close()
        return self.sent

    def _send(self, number: int, lines: list[Line], cut: int, bytewise: bool) -> None:
        data = b"".join(map(self.bytes_of, lines))
        side = self.side(number)
        side.binary = lines[-1].binary
        here = cut - self.sent
        side.send(data, list(range(1, len(data))) if bytewise else [here] if 0 < here < len(data) else [])
        self.sent += len(data)

    def _other(self, line: Line) -> bool:
        """Any line that sends nothing. True after an error whose answer is complete here."""
        if line.act == "@":
            time.sleep(float(line.text.removeprefix("wait ")))
        elif line.act == "!":
            if line.text == "end":
                self.side(line.connection).socket.shutdown(socket.SHUT_WR)
            elif line.text == "gone" and not self.side(line.connection).gone():
                raise Mismatch(f"line {line.number}: instead of the end came {_show(self.side(line.connection).buffer)}")
        else:
            error = expect(self.side(line.connection), line, self.words)
            after = self.case.lines[self.case.lines.index(line) + 1:]
            return error and (not after or after[0].act == ">")
        return False

    def _finish(self) -> None:
        ending = self.case.ending()
        for side in self.sides.values():
            if ending in ("close", "end") and not side.gone():
                raise Mismatch(f"instead of the end came {_show(side.buffer)}")
            if ending in ("", "sync") and not side.ended:
                side.probe(may_be_closed=ending == "sync")

    def glued(self, times: int) -> None:
        """Everything in one send, `times` over, and only then the answers."""
        everything, plays = b"", []
        for _ in range(times):
            play = Play(self.server, self.case)
            plays.append(play)
            everything += b"".join(play.bytes_of(line) for line in self.case.lines if line.act == ">")
        side = self.side(1)
        side.binary = any(line.binary for line in self.case.lines)
        try:
            side.send(everything)
            if self.case.ending() == "end":
                side.socket.shutdown(socket.SHUT_WR)
            for play in plays:
                for line in self.case.lines:
                    if line.act in "<~?":
                        expect(side, line, play.words)
            self._finish()
        finally:
            side.close()


def cuts(length: int, most: int) -> list[int]:
    """Every boundary, or of a long conversation both ends and some between."""
    if length - 1 <= most:
        return list(range(1, length))
    most = max(20, most // 8) if length > 50_000 else most
    half = most // 2 - 8
    step = max(1, (length - 2 * half) // 16)
    return sorted({*range(1, half), *range(half, length - half, step), *range(length - half, length)})


def play_all_ways(server: servers.Server, case: Case, most: int) -> tuple[int, str]:
    """How many playings, and why one of them failed (with its way)."""
    def tried(way: tuple[str, Callable[[], object]]) -> str:
        try:
            way[1]()
        except (Mismatch, OSError) as error:
            return f"{way[0]}: {error}"
        return ""

    whole = Play(server, case)
    why = tried(("whole", whole.run))
    if why or case.whole_only:
        return 1, why
    length = whole.sent
    ways: list[tuple[str, Callable[[], object]]] = [("probed after errors", lambda: Play(server, case).run(probed=True))]
    # Who sends much without reading may wait for a server that waits for him.
    if case.glueable() and length <= GLUED_BYTES:
        ways.append(("glued", lambda: Play(server, case).glued(1)))
        if not case.ending():
            ways.append(("twice in one send", lambda: Play(server, case).glued(2)))
    if length <= GLUED_BYTES:
        ways.append(("byte by byte", lambda: Play(server, case).run(bytewise=True)))
    ways += [(f"cut at byte {at}", lambda at=at: Play(server, case).run(cut=at)) for at in cuts(length, most)]
    # Several at a time, because most of a playing is waiting for the other side.
    found = map(tried, ways) if case.alone else players.map(tried, ways)
    return 1 + len(ways), next(filter(None, list(found)), "")


class Hall:
    """The servers that the files ask for, each set of options once."""

    def __init__(self, kind: str):
        self.kind = kind
        self.running: dict[tuple[str, ...], servers.Server] = {}

    def server(self, file: wirefile.WireFile) -> servers.Server:
        wanted = (*file.options, file.users)
        if wanted not in self.running:
            self.running[wanted] = servers.Server(self.kind, file.options, users=file.users, tcp=False).start()
        return self.running[wanted]

    def close(self) -> None:
        for server in self.running.values():
            server.remove()


def judge(report: servers.Report, server: servers.Server, case: Case, most: int) -> int:
    """Plays one case and counts what it came to."""
    plays, why = play_all_ways(server, case, most)
    if not server.alive():
        report.fail(case.title, f"the server died\n{why}\n{server.said()}")
        raise SystemExit(report.close())
    differs = case.differs if server.kind == "memcached" else ""
    if differs and not why:
        report.fail(case.title, f"is marked `memcached: {differs}`, and does not differ")
    elif why and not differs:
        report.fail(case.title, why)
    elif differs:
        report.skip(case.title, differs)
    else:
        report.passed += 1
    return plays


def play_all(report: servers.Report, against: str, only: str = "", file_name: str = "", most: int = CUTS) -> None:
    """Plays all files, or those that are asked for."""
    hall = Hall(against)
    began, plays, counted = time.monotonic(), 0, collections.Counter()
    try:
        work = []
        for path in sorted(WIRE.glob("*.txt")):
            file = wirefile.read(path)
            chosen = [case for case in file.cases if only in case.name and file_name in file.name]
            counted[file.name] = len(chosen)
            work += [(hall.server(file), case) for case in chosen]
        # Those that wait go first and all at once, so that they wait together.
        slow = [(server, case) for server, case in work if any(line.act == "@" for line in case.lines)]
        with ThreadPoolExecutor(max(1, len(slow))) as waiting:
            plays += sum(waiting.map(lambda one: judge(report, *one, most), slow))
        for server, case in work:
            if (server, case) not in slow:
                plays += judge(report, server, case, most)
    finally:
        hall.close()
    print(f"{sum(counted.values())} cases in {len(counted)} files, played {plays} times to {against}"
          f" in {time.monotonic() - began:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="Plays tests/wire/*.txt to a real server")
    parser.add_argument("--against", choices=servers.KINDS, default="holdfast")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    parser.add_argument("--file", default="", help="only files with this in their name")
    parser.add_argument("--cuts", type=int, default=CUTS, help="at most so many cuts of one case")
    asked = parser.parse_args()
    if asked.against == "memcached" and not servers.find("memcached"):
        sys.exit("conversations: memcached was not found; 'make test' installs it")
    report = servers.Report()
    play_all(report, asked.against, asked.only, asked.file, asked.cuts)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
