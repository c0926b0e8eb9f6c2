"""Peers that ask and do not read what they get: what they cost, and what others notice of them.

It would catch answers that are made without a bound, a bound for each that is none for all together, memory that is
kept when they are gone, and a server that is busy with them alone. What it cannot show: the kernel's memory for
their sockets, which is as much as it likes. Called by `robust.py`.
"""

from __future__ import annotations

import os
import socket
import time

from load import QUIET_MS, Watch, open_many, room_for
from servers import Server, Skip, processes

DEAF = int(os.environ.get("HOLDFAST_ROBUST_DEAF", "200"))
MIB = 1 << 20


def never_read(kind: str) -> str:
    """Fifty that ask 5,000 times for 900 KB and read nothing: memory stays bounded, others are served."""
    with Server(kind, ["-c", "2048"]) as server:
        with server.connect() as connection:
            connection.sendall(b"set large 0 0 900000\r\n" + b"L" * 900_000 + b"\r\n")
            assert connection.recv(64) == b"STORED\r\n"
            connection.sendall(b"get large\r\n")
            left = 900_000 + len(b"VALUE large 0 900000\r\n\r\nEND\r\n")
            while left:
                left -= len(connection.recv(1 << 20))
        before = server.number_of("RssAnon")
        with Watch(server) as watch:
            peaks = [(_deaf_wave(server) - before) * 1024 for _ in range(3)]
        # What an allocator keeps for the next time is no leak; what comes on top of it each time is.
        assert peaks[2] - peaks[0] < 16 * MIB, f"grew by {[f'{peak / MIB:.1f} MiB' for peak in peaks]} with each wave"
        assert max(peaks) <= 50 * 1_100_000, f"grew by {max(peaks) / MIB:.1f} MiB: more than one answer for each connection"
        return f"grew by {max(peaks) / MIB:.1f} MiB; {watch.judge(QUIET_MS)}"


def _deaf_wave(server: Server) -> int:
    """Fifty of them come, ask and go; the most memory that the server had meanwhile, KiB."""
    descriptors = _descriptors(server)
    deaf, peak = open_many(server, 50), 0
    for connection in deaf:
        connection.setblocking(False)
        try:
            connection.send(b"get large\r\n" * 5000)
        except BlockingIOError:
            pass
    for _ in range(20):
        time.sleep(0.05)
        peak = max(peak, server.number_of("RssAnon"))
    for connection in deaf:
        connection.close()
    # The next fifty are not to be counted together with these.
    processes.wait_until(lambda: _descriptors(server) <= descriptors + 5, 20, "those who have gone are forgotten")
    return peak


def _descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def deaf_crowd(kind: str) -> str:
    """Hundreds that ask for more than they ever read cost 64 KiB each where values are small; where they are large, all
    together cost 64 MiB once those who stand still were ended. What the kernel holds for their sockets is not counted."""
    if kind != "holdfast":
        raise Skip("memcached does not say what it holds for its connections")
    found = []
    for length, requests in ((1000, 5000), (4000, 2000), (300_000, 30)):
        with Server(kind, ["-c", str(DEAF + 100), "-m", "1024"]) as server:
            with server.connect(60) as first:
                first.sendall(b"set large 0 0 %d\r\n" % length + b"L" * length + b"\r\n")
                assert first.recv(64) == b"STORED\r\n"
            before = server.number_of("RssAnon")
            deaf = [_deaf_one(server, b"get large\r\n" * requests) for _ in range(room_for(DEAF))]
            small, most, held, peak = length < 32_768, 0, 0, 0

            def settled() -> bool:
                nonlocal most, held, peak
                time.sleep(0.3)
                answer = _stats(server, "") + _stats(server, "conns")
                peak = max(peak, server.number_of("RssAnon") - before)
                held = next(int(line.split()[2]) for line in answer if line.startswith("STAT read_buf_bytes "))
                most = max(most, held)
                states = [line.split()[2] for line in answer if ":state " in line]
                return states.count("conn_mwrite") == len(states) - 1 and (small or held <= 64 * MIB)

            processes.wait_until(settled, 120, f"all of {len(deaf)} are stuck, with values of {length} bytes, and little is held")
            for connection in deaf:
                connection.close()
            each = peak * 1024 / len(deaf)
            # Four mebibytes are the process's own: tables and buffers that it has when it works.
            assert not small or peak * 1024 <= 64 * 1024 * len(deaf) + 4 * MIB, f"{each:.0f} bytes of memory for each, with values of {length} bytes"
            assert most <= 513 * MIB, f"{most} bytes were held for all together"
            found.append(f"of {length} bytes {each:.0f}, {held / MIB:.1f} MiB held for all")
    return f"{len(deaf)} that do not read: with values {'; '.join(found)}"


def _deaf_one(server: Server, requests: bytes) -> socket.socket:
    connection = socket.socket()
    # So that the requests are on the server's side of the wire before the kernel's own buffers are full.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    connection.setblocking(False)
    try:
        connection.send(requests)
    except BlockingIOError:
        pass
    return connection


def _stats(server: Server, group: str) -> list[str]:
    with server.connect(60) as connection:
        connection.sendall(f"stats {group}\r\n".encode())
        came = b""
        while not came.endswith(b"END\r\n"):
            came += connection.recv(65536)
    return came.decode().split("\r\n")


def flood_of_one_key(kind: str) -> str:
    """One client pipelines 200,000 gets of one key and reads none of the answers: writers of it do not wait."""
    with Server(kind) as server, server.connect() as deaf, server.connect() as writer:
        deaf.sendall(b"set hot 0 0 1000\r\n" + b"h" * 1000 + b"\r\n")
        assert deaf.recv(64) == b"STORED\r\n"
        deaf.setblocking(False)
        requests, sent, worst = b"get hot\r\n" * 20_000, 0, 0.0
        for number in range(200):
            try:
                sent += deaf.send(requests)
            except BlockingIOError:
                pass
            began = time.perf_counter()
            writer.sendall(b"set hot 0 0 1000\r\n" + b"%d" % (number % 10) * 1000 + b"\r\n")
            assert writer.recv(64) == b"STORED\r\n"
            worst = max(worst, time.perf_counter() - began)
            time.sleep(0.002)
    assert worst < QUIET_MS / 1000, f"a writer of the same key waited {worst * 1000:.0f} ms"
    return f"{sent // 9} requests sent, 200 writes beside them, worst {worst * 1000:.1f} ms"


TESTS = {"unread": never_read, "deaf": deaf_crowd, "hot-key": flood_of_one_key}
