"""Every order of attempts to say who one is, with every kind of request between them: who is not known gets nothing.

For text with meta, and for binary with SASL, all orders of up to HOLDFAST_AUTH_ORDER (3) attempts are played to a server
with passwords: right ones, wrong ones, nobody's, quiet ones, SASL in two steps, steps that are not due, other mechanisms.
A model of a few lines says what each answer has to be. Each order is played three times: behind each attempt all other
requests, everything in one send; the attempts glued and the others behind the last; and one at a time. In the end
what was written by those who were not known must not be there, and what they tried to remove must be.
It would catch an order that leaves a connection known by mistake (CVE-2013-7239 of memcached was one), a request that is
let through because it is quiet, or because it came in one piece with the attempt. What it cannot show: guessing of
passwords (the throttle has its own tests in `daemon/src/auth`, and one here), and time, which `auth_timing` measures.
Each connection comes from an address of its own (127.0.0.0/8), else the throttle would end the test. Called by `wire.py`.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import wirefile
from servers import Report, Server

LONGEST = int(os.environ.get("HOLDFAST_AUTH_ORDER", "3"))
USERS = "anna:right\nbert:other\n"
MODES = ("between", "glued", "stepwise")
REFUSED = b"CLIENT_ERROR unauthenticated\r\n"
FAILED = b"CLIENT_ERROR authentication failure\r\n"


class Standing(NamedTuple):
    """What a connection is known for, and whether a message of SASL is due."""

    known: bool = False
    due: bool = False


class Exchange(NamedTuple):
    """What is sent, and the answers that have to come: none when it is quiet."""

    sent: bytes
    wanted: list[object]


class Text:
    """The classic dialect, where the first `set` is the attempt, and meta."""

    name = "text and meta"
    attempts = ("right", "wrong", "nobody", "right, quiet", "wrong, quiet", "meta", "cas", "add")

    def attempt(self, which: str, at: Standing, key: str) -> tuple[Exchange, Standing]:
        name, _, quiet = which.partition(", ")
        value = {"wrong": b"anna wrong", "nobody": b"carl right"}.get(name, b"anna right")
        if name == "meta":
            return Exchange(b"ms %b 10\r\n%b\r\n" % (key.encode(), value), [b"HD\r\n" if at.known else REFUSED]), at
        verb, version = {"cas": (b"cas", b" 1"), "add": (b"add", b"")}.get(name, (b"set", b""))
        sent = b"%b %b 0 0 10%b%b\r\n%b\r\n" % (verb, key.encode(), version, b" noreply" if quiet else b"", value)
        if verb != b"set":
            wanted: list[object] = [{b"cas": b"NOT_FOUND\r\n", b"add": b"STORED\r\n"}[verb] if at.known else REFUSED]
            return Exchange(sent, wanted), at
        right = name == "right"
        wanted = [] if quiet else [b"STORED\r\n" if at.known or right else FAILED]
        return Exchange(sent, wanted), Standing(at.known or right)

    def probes(self, at: Standing, key: str) -> Iterator[Exchange]:
        found = b"VALUE safe 0 4\r\nkept\r\nEND\r\n"
        for line, answer in {"get safe": found, "mg safe v": b"VA 4\r\nkept\r\n", "touch safe 0": b"TOUCHED\r\n", "mn": b"MN\r\n",
                             "verbosity 0": b"OK\r\n", "gat 0 safe": found}.items():
            yield Exchange(f"{line}\r\n".encode(), [answer if at.known else REFUSED])
        yield Exchange(f"ms {key} 2 T0\r\nhi\r\n".encode(), [b"HD\r\n" if at.known else REFUSED])
        if not at.known:
            for line in ("delete safe", "md safe", "flush_all", "flush_all noreply", "delete safe noreply", "md safe q", "ma count N0 J1 q",
                         "stats", "version", "lru_crawler metadump all", "stats settings", "shutdown"):
                yield Exchange(f"{line}\r\n".encode(), [] if line.endswith("noreply") else [REFUSED])

    def read(self, stream: socket.SocketIO, wanted: object) -> object:
        return stream.read(len(wanted)) if isinstance(wanted, bytes) else b""


class Binary:
    """The binary dialect with SASL."""

    name = "binary"
    attempts = ("right", "wrong", "nobody", "begun", "step right", "step wrong", "other mechanism", "mechanisms", "empty")
    sent = {
        "right": "sasl_auth key=PLAIN value=\\x00anna\\x00right", "wrong": "sasl_auth key=PLAIN value=\\x00anna\\x00wrong",
        "nobody": "sasl_auth key=PLAIN value=\\x00carl\\x00right", "begun": "sasl_auth key=PLAIN",
        "step right": "sasl_step key=PLAIN value=\\x00anna\\x00right", "step wrong": "sasl_step key=PLAIN value=\\x00anna\\x00wrong",
        "other mechanism": "sasl_auth key=CRAM-MD5 value=\\x00anna\\x00right", "mechanisms": "sasl_list", "empty": "sasl_auth key=PLAIN value=\\x00\\x00",
    }

    def __init__(self) -> None:
        self.opaque = 0

    def _ask(self, text: str, status: str | None) -> Exchange:
        self.opaque = (self.opaque + 1) % 2**32
        op = text.split()[0]
        sent = wirefile.packet(f"{text} opaque={self.opaque}", wirefile.Words(0))
        return Exchange(sent, [] if status is None else [(wirefile.OPS[op], wirefile.STATUS[status], self.opaque)])

    def attempt(self, which: str, at: Standing, key: str) -> tuple[Exchange, Standing]:
        if which == "mechanisms":
            return self._ask(self.sent[which], "ok"), at
        if which == "begun":
            return self._ask(self.sent[which], "auth_continue"), Standing(at.known, True)
        known = which == "right" or (which == "step right" and at.due)
        return self._ask(self.sent[which], "ok" if known else "auth_error"), Standing(known)

    def probes(self, at: Standing, key: str) -> Iterator[Exchange]:
        quiet = {f"setq key={key}q value=hi": None, "getkq key=nothing": None, "gatq key=nothing": None, "verbosity": "ok", "noop": "ok"}
        loud = {"get key=safe": "ok", "getq key=safe": "ok", "touch key=safe": "ok", "gat key=safe": "ok", f"set key={key} value=hi": "ok"}
        for text, status in {**loud, **quiet}.items():
            yield self._ask(text, status if at.known else "auth_error")
        yield self._ask("version", "ok")
        if not at.known:
            for text in ("delete key=safe", "deleteq key=safe", "flush", "flushq", f"incr key={key}", f"incrq key={key}", f"appendq key={key} value=x",
                         f"addq key={key} value=x", "replaceq key=safe value=x", "stat"):
                yield self._ask(text, "auth_error")

    def read(self, stream: socket.SocketIO, wanted: object) -> object:
        head = stream.read(24)
        if len(head) < 24:
            return head
        _, op, _, _, _, status, length, opaque, _ = struct.unpack(">BBHBBHIIQ", head)
        stream.read(length)
        return op, status, opaque


def conversation(dialect: Text | Binary, order: tuple[str, ...], mode: str, serial: str) -> tuple[list[Exchange], set[str], set[str]]:
    """What is sent and wanted; the keys that must not be written; those that must."""
    at, exchanges = Standing(), []
    keys: dict[bool, set[str]] = {False: set(), True: set()}
    for number, which in enumerate(order):
        name = f"{serial}a{number}"
        exchange, after = dialect.attempt(which, at, name)
        exchanges.append(exchange)
        if isinstance(dialect, Text) and which != "cas":
            keys[at.known].add(name)
        at = after
        if mode == "between" or number == len(order) - 1:
            name = f"{serial}p{number}"
            exchanges += dialect.probes(at, name)
            keys[at.known] |= {name, f"{name}q"} if isinstance(dialect, Binary) else {name}
    return exchanges, keys[False], keys[True]


def connect_from(server: Server, number: int) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.bind((f"127.{1 + number // 62500}.{1 + number // 250 % 250}.{1 + number % 250}", 0))
    connection.connect(("127.0.0.1", server.port))
    return connection


def play(server: Server, dialect: Text | Binary, exchanges: list[Exchange], stepwise: bool, number: int) -> None:
    with connect_from(server, number) as connection, connection.makefile("rb") as stream:
        if not stepwise:
            connection.sendall(b"".join(exchange.sent for exchange in exchanges))
        for exchange in exchanges:
            if stepwise:
                connection.sendall(exchange.sent)
            for wanted in exchange.wanted:
                came = dialect.read(stream, wanted)
                assert came == wanted, f"{exchange.sent[:80]!r} was answered with {came!r} instead of {wanted!r}"


def every_order(server: Server, dialect: Text | Binary, first: int) -> str:
    absent: set[str] = set()
    present: set[str] = set()
    played = asked = 0
    for length in range(1, LONGEST + 1):
        for order in itertools.product(dialect.attempts, repeat=length):
            for mode in MODES:
                exchanges, without, within = conversation(dialect, order, mode, f"{dialect.name[0]}{played:x}")
                try:
                    play(server, dialect, exchanges, mode == "stepwise", first + played)
                except (AssertionError, OSError) as error:
                    raise AssertionError(f"{' / '.join(order)} ({mode}): {type(error).__name__}: {error}") from None
                absent |= without
                present |= within
                played, asked = played + 1, asked + len(exchanges)
    with connect_from(server, 0) as admin, admin.makefile("rb") as stream:
        admin.sendall(b"set x 0 0 10\r\nbert other\r\n")
        assert stream.readline() == b"STORED\r\n"
        found = _those_there(admin, stream, sorted(absent | present | {"safe"}))
    assert not found & absent, f"written by somebody who was not known: {sorted(found & absent)[:5]}"
    assert found >= present | {"safe"}, f"not there: {sorted((present | {'safe'}) - found)[:5]}"
    return f"{played} conversations of up to {LONGEST} attempts, {asked} requests; {len(absent)} keys rightly not there, {len(present)} there"


def _those_there(admin: socket.socket, stream: socket.SocketIO, keys: list[str]) -> set[str]:
    found = set()
    for first in range(0, len(keys), 100):
        admin.sendall(b"".join(f"mg {key} k\r\n".encode() for key in keys[first:first + 100]) + b"mn\r\n")
        while (line := stream.readline()) != b"MN\r\n":
            assert line.startswith((b"EN", b"HD k")), f"answered {line!r}"
            if line.startswith(b"HD k"):
                found.add(line[4:].strip().decode())
    return found


def guessing(server: Server, number: int) -> str:
    """The sixth attempt has to wait, the right password too; from elsewhere nobody notices."""
    def say(connection: socket.socket, password: bytes) -> bytes:
        connection.sendall(b"set x 0 0 %d\r\nanna %b\r\n" % (5 + len(password), password))
        return connection.recv(100)

    with connect_from(server, number) as guesser, connect_from(server, number) as other, connect_from(server, number + 1) as elsewhere:
        assert [say(guesser, b"guess%d" % turn) for turn in range(5)] == [FAILED] * 5
        assert say(guesser, b"right") == FAILED, "the right password was taken at once behind five wrong ones"
        assert say(other, b"right") == FAILED, "a new connection from the same place did not have to wait"
        assert say(elsewhere, b"right") == b"STORED\r\n", "somebody else had to wait"
    return "five wrong, then a wait"


def play_all(report: Report) -> None:
    with Server("holdfast", ["-A"], users=USERS) as server:
        with connect_from(server, 0) as admin, admin.makefile("rb") as stream:
            admin.sendall(b"set x 0 0 10\r\nbert other\r\nset safe 0 0 4\r\nkept\r\n")
            assert [stream.readline(), stream.readline()] == [b"STORED\r\n"] * 2, "the key to be kept was not stored"
        for place, dialect in enumerate((Text(), Binary())):
            report.run(f"orders of attempts, {dialect.name}", every_order, server, dialect, 1 + 1_000_000 * place)
        report.run("guessing has to wait", guessing, server, 3_000_000)
