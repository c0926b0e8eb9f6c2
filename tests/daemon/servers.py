"""Real servers for the tests of the daemon: `holdfastd`, and Debian's `memcached` as its oracle.

Each server listens on a unix socket and on a free port of 127.0.0.1 (memcached on one of the two, as it
has it), lives in a temporary directory of its own, and is ended by process number. Nothing of the system's
own memcached is used or touched. Called by every test of this directory; it judges nothing itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import processes  # noqa: E402

# An end by signal passes through every `with` and `finally`, so that no server stays behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

# Debian keeps servers where an ordinary user's path does not look.
SEARCH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
START_SECONDS = 20.0
STOP_SECONDS = 15.0
KINDS = ("holdfast", "memcached")


def find(name: str) -> str | None:
    """The path of a program, or None."""
    return shutil.which(name, path=SEARCH)


def holdfastd() -> str:
    """The daemon under test: $HOLDFASTD, else the one that was built last."""
    named = os.environ.get("HOLDFASTD")
    if named:
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in target.glob("*/holdfastd") if path.is_file()]
    if not built:
        sys.exit("tests of the daemon: there is no target/*/holdfastd; 'make build' makes one, HOLDFASTD=path names one")
    return str(max(built, key=lambda path: path.stat().st_mtime))


class Server:
    """One running server, and a store that outlives it until `remove`."""

    def __init__(self, kind: str, options: list[str] | None = None, *, users: str = "", tcp: bool = True,
                 store: Path | None = None, port: int = 0, nofile: int = 0):
        self.kind, self.options, self.users, self.tcp, self.nofile = kind, options or [], users, tcp, nofile
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-wire-"))
        self.dir.chmod(0o700)
        self.store = store or self.dir / "store"
        self.unix = str(self.dir / "s.sock")
        self.port = port or processes.free_port()
        self.log = self.dir / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        if users:
            password_file = self.dir / "users"
            password_file.touch(mode=0o600)
            password_file.write_text(users)

    def command(self) -> list[str]:
        auth = ["-Y", str(self.dir / "users")] if self.users else []
        if self.kind == "memcached":
            where = ["-l", "127.0.0.1", "-p", str(self.port)] if self.tcp else ["-s", self.unix, "-a", "0700"]
            user = ["-u", "root"] if os.geteuid() == 0 else []
            return [str(find("memcached")), *where, "-U", "0", "-t", "2", "-c", "2048", *user, *auth, *self.options]
        self.store.mkdir(mode=0o700, exist_ok=True)
        where = ["-l", "127.0.0.1", "-p", str(self.port)] if self.tcp else ["-s", self.unix, "-a", "0700"]
        # As root it becomes the owner of the store; that this is root itself has to be said.
        user = ["-u", "root"] if os.geteuid() == 0 and self.store.stat().st_uid == 0 else []
        return [holdfastd(), "--store", str(self.store), *where, *user, "--http-listen", "off", *auth, *self.options]

    def start(self) -> Server:
        """Starts it and waits until it answers."""
        limit = ["prlimit", f"--nofile={self.nofile}:{self.nofile}"] if self.nofile else []
        if not self.tcp and os.path.exists(self.unix) and self.kind == "memcached":
            os.unlink(self.unix)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [*limit, *self.command()], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")},
            )
        try:
            processes.wait_until(self._answers, START_SECONDS, f"{self.kind} answers")
        except processes.TookTooLong as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.said()}") from None
        return self

    def connect(self, seconds: float = 5.0) -> socket.socket:
        """A new connection, over the unix socket when there is no port."""
        family = socket.AF_INET if self.tcp else socket.AF_UNIX
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            if self.tcp:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.connect(("127.0.0.1", self.port))
            else:
                connection.connect(self.unix)
        except BaseException:
            connection.close()
            raise
        return connection

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise processes.TookTooLong(f"{self.kind} ended at once, exit code {self.process.returncode}")
        try:
            with self.connect(1.0) as probe:
                probe.sendall(b"version\r\n")
                return bool(probe.recv(64))
        except OSError:
            time.sleep(0.005)
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: nothing is said to anybody."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Sends the signal and waits for the end; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def stop(self) -> None:
        """The end, politely and then not."""
        if not self.alive():
            return
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self.kill()

    def said(self, lines: int = 15) -> str:
        return processes.tail(self.log, lines)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    def number_of(self, field: str) -> int:
        """A number of /proc/PID/status, such as VmRSS (KiB) or Threads."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field} in /proc/{self.pid}/status")


class Report:
    """Counts tests, prints one line for each, and the closing line that tests/run.py reads."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def ok(self, name: str, findings: str = "") -> None:
        self.passed += 1
        print(f"ok    {name}{': ' if findings else ''}{findings}", flush=True)

    def fail(self, name: str, why: str) -> None:
        self.failed += 1
        print(f"FAIL  {name}\n      " + why.replace("\n", "\n      "), flush=True)

    def skip(self, name: str, why: str) -> None:
        self.skipped += 1
        print(f"SKIP  {name}: {why}", flush=True)

    def run(self, name: str, test: object, *arguments: object) -> None:
        """Runs one test: a line of findings when it passed, Skip or any error when not."""
        began = time.monotonic()
        try:
            findings = test(*arguments)  # type: ignore[operator]
        except Skip as reason:
            self.skip(name, str(reason))
        except (AssertionError, OSError, processes.TookTooLong, subprocess.SubprocessError, ValueError) as error:
            self.fail(name, f"{type(error).__name__}: {error}")
        else:
            took = time.monotonic() - began
            self.ok(name, f"{findings or 'done'} ({took:.1f} s)")

    def close(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


class Skip(Exception):
    """A test that cannot be run here, with the reason."""


def say(connection: socket.socket, sent: str, wanted: str) -> None:
    """Sends a request, and has to be answered with just that."""
    connection.sendall(sent.encode())
    came = b""
    while len(came) < len(wanted):
        more = connection.recv(65536)
        assert more, f"closed behind {sent!r}, after {came!r}"
        came += more
    assert came == wanted.encode(), f"{sent!r} was answered with {came!r}"
