#!/usr/bin/env python3
"""Runs an installed holdfastd the way somebody does who has just installed it: a directory, a set, a get, a
short load by the installed holdfast, SIGTERM; and what was set is there for the next one.

    serve.py BIN_DIR
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


def start(programs: Path, place: Path) -> tuple[subprocess.Popen[str], int]:
    command = [programs / "holdfastd", "--store", place / "store", "-p", "-1", "--http-listen", "off", "--log-format", "json"]
    if os.geteuid() == 0:
        command += ["-u", "root"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    for line in server.stderr:
        if found := re.search(r"serving on [0-9.]+:(\d+)", line):
            return server, int(found.group(1))
    sys.exit(f"no server: exit code {server.wait(timeout=10)}")


def ask(port: int, request: bytes, end: bytes) -> bytes:
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        while not answer.endswith(end):
            part = client.recv(4096)
            assert part, f"the connection ended after {answer!r}"
            answer += part
    return answer


def stop(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    code = server.wait(timeout=20)
    assert code == 0, f"exit code {code}"


def main() -> None:
    programs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "store").mkdir(mode=0o700)
        server, port = start(programs, place)
        try:
            answer = ask(port, b"set greeting 0 0 5\r\nhello\r\n", b"\r\n")
            assert answer == b"STORED\r\n", answer
            load = [programs / "holdfast", "bench", f"127.0.0.1:{port}", "--keys", "10", "--requests", "200", "--warm-up", "0s"]
            subprocess.run(load, check=True, timeout=60)
            stop(server)
            server, port = start(programs, place)
            answer = ask(port, b"get greeting\r\n", b"END\r\n")
            assert answer == b"VALUE greeting 0 5\r\nhello\r\nEND\r\n", answer
            stop(server)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


if __name__ == "__main__":
    main()
