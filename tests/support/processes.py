"""Starting, watching and ending processes, for the demo and for the tests that run real servers.

Only processes that were started here, and their descendants, are ever signalled: by number, never by
name, and only while the number still belongs to the process that was seen (its start time is compared,
because the kernel hands numbers out again). Every wait has a limit.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """A process as it was seen: the number alone could belong to another one later."""

    pid: int
    start: int  # field 22 of /proc/PID/stat: clock ticks since boot


class TookTooLong(Exception):
    """A wait reached its limit; the message says what was waited for."""


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may hold spaces and parentheses itself.
    return text[text.rindex(")") + 2 :].split()


def see(pid: int) -> Seen | None:
    """The process with this number, or None when there is none (a zombie counts as none)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Seen(pid, int(fields[19]))


def is_alive(process: Seen) -> bool:
    return see(process.pid) == process


def children(pid: int) -> list[Seen]:
    """The living children of one process."""
    found: list[Seen] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            numbers = tasks.read_text().split()
        except OSError:
            continue
        found += [child for child in map(see, map(int, numbers)) if child]
    return found


def family(pid: int) -> list[Seen]:
    """The process and its children, the process first (servers here are one level deep)."""
    parent = see(pid)
    return ([parent] if parent else []) + children(pid)


def send(processes: Iterable[Seen], number: signal.Signals) -> int:
    """Signals those that are still the ones that were seen; returns how many."""
    sent = 0
    for process in processes:
        if is_alive(process):
            try:
                os.kill(process.pid, number)
                sent += 1
            except ProcessLookupError:
                pass
    return sent


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what}: not within {seconds:g} s")
        time.sleep(0.002)


def wait_gone(processes: Iterable[Seen], seconds: float = 5.0) -> None:
    processes = list(processes)
    wait_until(lambda: not any(map(is_alive, processes)), seconds, "processes that were killed are gone")


def end(processes: Iterable[Seen], polite: signal.Signals, seconds: float = 3.0) -> None:
    """Asks politely, then insists."""
    processes = list(processes)
    send(processes, polite)
    try:
        wait_gone(processes, seconds)
    except TookTooLong:
        send(processes, signal.SIGKILL)
        wait_gone(processes)


def free_port(preferred: Iterable[int] = ()) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on: one of the preferred, else any."""
    for port in [*preferred, 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no free port on 127.0.0.1")


def listens(port: int) -> bool:
    """Does somebody listen on this port of 127.0.0.1?"""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, or a word on why there are none."""
    try:
        found = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return f"({error})"
    return "\n".join(found) if found else "(empty)"
