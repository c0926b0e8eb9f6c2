"""A small HTTP client for many connections at once: one thread, one `select`, kept-alive connections.

A client is a generator: it yields a request and is sent the answer. That keeps each test's traffic
readable as a loop, and fast enough that PHP, not the test, is what is measured:

    def visits(session, times):
        for _ in range(times):
            answer = yield session.get("/count.php")
            assert answer.status == 200

An answer with status 0 means that the connection broke before the answer was whole: what the server
did with the request is then unknown, and the tests count it so.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Generator
from typing import Any, NamedTuple

Client = Generator[bytes, "Answer", Any]


class Answer(NamedTuple):
    status: int
    headers: str
    body: str
    seconds: float

    def cookie(self) -> str:
        for line in self.headers.splitlines():
            if line.lower().startswith("set-cookie: "):
                return line[12:].split(";")[0]
        raise AssertionError(f"no cookie in the answer {self}")


def get(path: str, cookie: str = "", keep: bool = True) -> bytes:
    """Without `keep` the connection ends with the answer. Where workers are killed this is needed:
    when one dies after its headers, nginx 1.22 sends those and no body, and on a kept connection
    nothing more, so that the client would wait until nginx closes it as idle."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Cookie: {cookie}"] * bool(cookie) + ["Connection: close"] * (not keep)
    return "\r\n".join([*lines, "", ""]).encode()


class _Connection:
    """One client with its connection: sends what the generator yields, feeds it what comes back."""

    def __init__(self, port: int, client: Client, selector: selectors.BaseSelector):
        self._port, self._client, self._selector = port, client, selector
        self._socket: socket.socket | None = None
        self._received = b""
        self._began = 0.0
        self.result: Any = None
        self.done = False
        self._advance(None)

    def _advance(self, answer: Answer | None) -> None:
        try:
            request = next(self._client) if answer is None else self._client.send(answer)
        except StopIteration as stop:
            self.result, self.done = stop.value, True
            self._close()
            return
        self._received = b""
        self._began = time.monotonic()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        try:
            self._socket.sendall(request)  # a few hundred bytes: they always fit the socket's buffer
        except OSError:
            pass  # the reading side sees the same, and reports it

    def readable(self) -> None:
        assert self._socket is not None
        try:
            piece = self._socket.recv(65536)
        except OSError:
            piece = b""
        self._received += piece
        if not piece:
            self._close()
            self._advance(Answer(0, "", "", time.monotonic() - self._began))
        else:
            self._take_answer()

    def _take_answer(self) -> None:
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._received[:head_end].decode("latin-1")
        lower = head.lower()
        body = _whole_body(lower, self._received[head_end + 4 :])
        if body is None:
            return
        status = int(head[9:12])
        if "\r\nconnection: close" in lower:
            self._close()
        self._advance(Answer(status, head, body.decode(), time.monotonic() - self._began))

    def _close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def _whole_body(head: str, received: bytes) -> bytes | None:
    """The body once it is there to its end, which its head must make known."""
    at = head.find("\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 :].split("\r\n", 1)[0])
        return received if len(received) >= length else None
    if "\r\ntransfer-encoding: chunked" not in head:
        raise AssertionError(f"an answer whose end is not known: {head}")
    body = b""
    while b"\r\n" in received:
        size, received = received.split(b"\r\n", 1)
        length = int(size, 16)
        if length == 0:
            return body
        body, received = body + received[:length], received[length + 2 :]
    return None


def drive(port: int, clients: list[Client], seconds: float, tick: Any = None) -> list[Any]:
    """Runs all clients to their end and returns what each returned. `tick` is called now and then,
    with the seconds since the start: a place to send signals from, in the middle of the traffic."""
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(port, client, selector) for client in clients]
        left = sum(not connection.done for connection in connections)
        while left:
            passed = time.monotonic() - began
            if passed > seconds:
                raise AssertionError(f"{left} of {len(clients)} clients were not done after {seconds:g} s")
            if tick is not None:
                tick(passed)
            for key, _ in selector.select(timeout=0.01):
                key.data.readable()
                left -= key.data.done
        return [connection.result for connection in connections]


def one(port: int, request: bytes, seconds: float = 30.0) -> Answer:
    def client() -> Client:
        return (yield request)

    return drive(port, [client()], seconds)[0]
