#!/usr/bin/env python3
"""Real clients against a real server: what users of memcached have, with nothing of ours between.

    clients.py [--against holdfast|memcached] [NAME...]

memccapable, the tools of libmemcached and of memcached, php-memcached (class, sessions, and sessions shared
with the extension of this project), Python clients, the proxy nutcracker, and what `monitors.py` has. A client that is
not installed and cannot be is skipped, loudly and counted.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fpm
import monitors
import servers
from servers import Report, Server, Skip, processes, say

REQUESTS = int(os.environ.get("HOLDFAST_CLIENTS_REQUESTS", "50"))
VENV = servers.ROOT / "build" / "wire-venv"
PACKAGES = ["pymemcache", "python-binary-memcached", "meta-memcache"]
TOOL = Path("/usr/share/memcached/scripts/memcached-tool")


def program(name: str) -> str:
    path = servers.find(name)
    if not path:
        raise Skip(f"{name} is not installed ('make test' installs it)")
    return path


def run(command: list[str], seconds: float = 120, cwd: Path | None = None) -> str:
    """What the program says; an AssertionError with it when it fails."""
    done = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL, cwd=cwd)
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{said[-2000:]}")
    return said


def lines_ok(said: str) -> str:
    """Judges what the scripts of `php/` and `python/` print: every line ok, and `done` at the end."""
    lines = said.strip().splitlines()
    bad = [line for line in lines if not line.startswith("ok ") and line != "done"]
    if bad or not lines or lines[-1] != "done":
        raise AssertionError("\n".join(bad[:10]) or f"it ended early:\n{said[-500:]}")
    return f"{len(lines) - 1} checks"


def memccapable(server: Server) -> str:
    said = run([program("memccapable"), "-h", "127.0.0.1", "-p", str(server.port), "-t", "10"])
    passed = len(re.findall(r"\[pass\]", said))
    if passed != 54 or "All tests passed" not in said:
        raise AssertionError(f"{passed} of 54\n" + "\n".join(line for line in said.splitlines() if "[pass]" not in line))
    return "54 of 54"


def libmemcached_tools(server: Server) -> str:
    where = f"--servers=127.0.0.1:{server.port}"
    stats = run([program("memcstat"), where])
    for name in ("pid:", "curr_items:", "cmd_get:", "limit_maxbytes:"):
        assert name in stats, f"memcstat shows no {name}\n{stats[:500]}"
    keys = [f"dumped{number}" for number in range(300)]
    with server.connect() as connection:
        connection.sendall(b"".join(f"set {key} 0 0 1 noreply\r\n1\r\n".encode() for key in keys) + b"mn\r\n")
        assert connection.recv(64) == b"MN\r\n", "the keys were not stored"
    # It asks for `stats cachedump`, which in memcached shows keys only after its own threads have sorted them.
    dump = [program("memcdump"), where]
    processes.wait_until(lambda: set(keys) <= set(run(dump).split()), 5, "memcdump shows all keys")
    run([program("memcping"), where])
    exists = subprocess.run([program("memcexist"), where, "dumped1"], timeout=30, stdin=subprocess.DEVNULL)
    assert exists.returncode == 0, "memcexist does not find what is there"
    run([program("memcflush"), where])
    exists = subprocess.run([program("memcexist"), where, "dumped1"], timeout=30, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert exists.returncode != 0, "memcexist finds what was flushed"
    return "memcstat, memcdump, memcping, memcexist, memcflush"


def memcached_tool(server: Server) -> str:
    if not TOOL.exists() or not servers.find("perl"):
        raise Skip(f"{TOOL} is not there (package memcached)")
    tool = ["perl", str(TOOL), f"127.0.0.1:{server.port}"]
    with server.connect() as connection:
        connection.sendall(b"set tool.key 5 0 3\r\nabc\r\nmn\r\n")
        assert b"STORED" in connection.recv(64)
        time.sleep(0.05)
    shown = run([*tool, "display"])
    assert re.search(r"Item_Size +Max_age", shown) and re.search(r"^ +\d+ +\d+(\.\d+)?[KMB]*B? ", shown, re.M), f"display shows no class:\n{shown}"
    assert "curr_items" in run([*tool, "stats"]), "stats shows no curr_items"
    assert "item_size_max" in run([*tool, "settings"]), "settings shows no item_size_max"
    assert "key=tool.key " in run([*tool, "keys"]), "keys does not show the key"
    assert "add tool.key 5 " in run([*tool, "dump"]), "dump does not show the key"
    return "display, stats, settings, keys, dump"


def php(*options: str) -> list[str]:
    command = [program("php")]
    loaded = run([*command, "-m"]).split()
    if "memcached" not in loaded:
        raise Skip("PHP has no extension memcached (package php-memcached)")
    return [*command, *options]


def php_class(server: Server, dialect: str) -> str:
    return lines_ok(run([*php(), str(servers.HERE / "php" / "class.php"), "127.0.0.1", str(server.port), dialect]))


def php_sessions(server: Server, dialect: str) -> str:
    settings = ["-d", "session.save_handler=memcached", "-d", f"session.save_path=127.0.0.1:{server.port}", "-d",
                f"memcached.sess_binary_protocol={'1' if dialect == 'binary' else '0'}"]
    script = str(servers.HERE / "php" / "session.php")
    found = [lines_ok(run([*php(*settings, "-d", f"memcached.sess_locking={locking}"), script])) for locking in "10"]
    return f"{found[0]} with locks, {found[1]} without"


def python(server: Server, name: str) -> str:
    interpreter = VENV / "bin" / "python"
    if not interpreter.exists() and not _make_venv():
        raise Skip("no virtual environment can be made here")
    if subprocess.run([interpreter, "-c", f"import {MODULES[name]}"], capture_output=True, timeout=60).returncode:
        got = subprocess.run([interpreter, "-m", "pip", "install", "-q", name], capture_output=True, timeout=300, text=True)
        if got.returncode:
            raise Skip(f"pip cannot install {name}: {got.stderr.strip().splitlines()[-1:]}")
    script = servers.HERE / "python" / f"{name.replace('-', '_')}_checks.py"
    return lines_ok(run([str(interpreter), str(script), str(server.port)]))


MODULES = {"pymemcache": "pymemcache", "python-binary-memcached": "bmemcached", "meta-memcache": "meta_memcache"}


def _make_venv() -> bool:
    VENV.parent.mkdir(exist_ok=True)
    return subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, timeout=120).returncode == 0


NUTCRACKER = """pool:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  auto_eject_hosts: false
  servers:
   - 127.0.0.1:{one}:1
   - 127.0.0.1:{two}:1
"""


def nutcracker(server: Server) -> str:
    """Two servers behind the proxy: requests are spread, answers come back in order."""
    proxy = program("nutcracker")
    with Server(server.kind) as other:
        port, stats = processes.free_port(), processes.free_port()
        config = server.dir / "nutcracker.yml"
        config.write_text(NUTCRACKER.format(port=port, one=server.port, two=other.port))
        with open(server.dir / "nutcracker.log", "wb") as out:
            process = subprocess.Popen([proxy, "-c", str(config), "-a", "127.0.0.1", "-s", str(stats)], stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out)
        try:
            processes.wait_until(lambda: processes.listens(port), 10, "nutcracker listens")
            return _through(port)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _through(port: int) -> str:
    keys = [f"proxy{number}" for number in range(100)]
    exchanges = [(f"set {key} {number} 0 5\r\nvalue\r\n", "STORED\r\n") for number, key in enumerate(keys)]
    exchanges += [(f"get {key}\r\n", f"VALUE {key} {number} 5\r\nvalue\r\nEND\r\n") for number, key in enumerate(keys)]
    exchanges += [("append proxy1 0 0 1\r\n!\r\n", "STORED\r\n"), ("get proxy1\r\n", "VALUE proxy1 1 6\r\nvalue!\r\nEND\r\n"),
                  ("add proxy1 0 0 1\r\n1\r\n", "NOT_STORED\r\n"), ("set count 0 0 1\r\n5\r\n", "STORED\r\n"), ("incr count 3\r\n", "8\r\n"),
                  ("touch proxy2 100\r\n", "TOUCHED\r\n"), ("delete proxy2\r\n", "DELETED\r\n"), ("get proxy2\r\n", "END\r\n")]
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for sent, wanted in exchanges:
            say(connection, sent, wanted)
        connection.sendall(("get " + " ".join(keys) + "\r\n").encode())
        came = b""
        while not came.endswith(b"END\r\n"):
            came += connection.recv(65536)
        assert came.count(b"VALUE ") == 99, f"{came.count(b'VALUE ')} of 99 values over both servers"
    return f"{len(exchanges)} exchanges, one get of 100 keys"


def shared_server(kind: str) -> Server:
    """A server whose store the workers of php-fpm can open as well."""
    server = Server(kind)
    user = fpm.worker_user()
    server.dir.chmod(0o711)
    server.store.mkdir(mode=0o700)
    if user:
        os.chown(server.store, user.pw_uid, user.pw_gid)
    return server


def pools(kind: str) -> list[str]:
    if kind != "holdfast":
        return ["wire"]
    if not fpm.MODULE.exists():
        raise Skip("php-ext/modules/holdfast.so is not built ('make build')")
    return ["wire", "inside"]


def one_session_two_ways(kind: str, dialect: str) -> str:
    """Eight workers over the wire and eight inside count in one session; no count is lost."""
    php()
    asked = pools(kind)
    with shared_server(kind) as server, fpm.Fpm(f"127.0.0.1:{server.port}", server.store if len(asked) > 1 else None,
                                               dialect == "binary") as site:
        session, counts, lock = "shared" + secrets.token_hex(8), [], threading.Lock()

        def work(number: int) -> None:
            for _ in range(REQUESTS):
                answer = site.ask(asked[number % len(asked)], f"id={session}&count=1")
                with lock:
                    counts.append(answer)

        began = time.monotonic()
        with ThreadPoolExecutor(8 * len(asked)) as threads:
            list(threads.map(work, range(8 * len(asked))))
        took = time.monotonic() - began
        wanted = list(range(1, 8 * len(asked) * REQUESTS + 1))
        numbers = sorted(int(count) for count in counts if count.isdigit())
        assert numbers == wanted, f"{len(counts)} answers, {len(set(numbers))} different counts, {len(counts) - len(numbers)} refusals\n{site.said()}"
        for pool in asked:
            last = site.ask(pool, f"id={session}&read=1")
            assert last == str(len(wanted)), f"{pool} reads {last} instead of {len(wanted)}"
        return f"{len(wanted)} counts exact through {' and '.join(asked)}, {len(wanted) / took:.0f} a second"


def killed_holder(kind: str, dialect: str, waiter: str) -> str:
    """SIGKILL for the worker that holds the lock over the wire: the next one has it at once."""
    php()
    asked = pools(kind)
    if kind == "memcached":
        raise Skip("with memcached the lock of a dead worker stays until its time is over")
    times = []
    with shared_server(kind) as server, fpm.Fpm(f"127.0.0.1:{server.port}", server.store, dialect == "binary") as site:
        for turn in range(5):
            session, mark = f"killed{secrets.token_hex(8)}", site.marks / str(turn)
            assert site.ask("wire", f"id={session}&count=1") == "1"
            with ThreadPoolExecutor(2) as threads:
                before = {worker.pid for worker in site.workers("wire")}
                holder = threads.submit(site.ask, "wire", f"id={session}&hold=20&mark={mark}")
                processes.wait_until(mark.exists, 10, "a worker holds the session")
                waiting = threads.submit(site.ask, waiter, f"id={session}&count=1")
                time.sleep(0.15)
                assert not waiting.done(), "the second worker did not wait for the lock"
                victim = _holder(before, mark, site)
                killed_at = time.monotonic()
                processes.send([victim], signal.SIGKILL)
                answer = waiting.result(timeout=30)
                times.append(time.monotonic() - killed_at)
                assert answer == "2", f"the next worker answered {answer!r}\n{site.said()}"
                assert holder.result(timeout=30) == "", "the killed worker answered"
            processes.wait_until(lambda: len(site.workers("wire")) == fpm.WORKERS, 10, "the dead worker is replaced")
    assert sorted(times)[len(times) // 2] < 0.1, f"it took {[f'{one * 1000:.0f} ms' for one in times]}"
    return f"waited {max(times) * 1000:.0f} ms at most"


def _holder(before: set[int], mark: Path, site: fpm.Fpm) -> processes.Seen:
    pid = int(mark.read_text())
    assert pid in before, "the mark names no worker"
    return next(worker for worker in site.workers("wire") if worker.pid == pid)


TESTS = ["memccapable", "tools", "memcached-tool", "php-class-text", "php-class-binary", "php-sessions-text", "php-sessions-binary",
         "pymemcache", "python-binary-memcached", "meta-memcache", "nutcracker", *monitors.TESTS, "shared-binary", "shared-text", "killed-by-wire",
         "killed-by-inside"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Real clients against a real server")
    parser.add_argument("--against", choices=servers.KINDS, default="holdfast")
    parser.add_argument("names", nargs="*", choices=[*TESTS, []], metavar="NAME", help=", ".join(TESTS))
    asked = parser.parse_args()
    report, kind = Report(), asked.against

    def wanted(name: str) -> bool:
        return not asked.names or name in asked.names

    with Server(kind) as server:
        alone = {
            "memccapable": (memccapable, server), "tools": (libmemcached_tools, server), "memcached-tool": (memcached_tool, server),
            **{f"php-class-{dialect}": (php_class, server, dialect) for dialect in ("text", "binary")},
            **{f"php-sessions-{dialect}": (php_sessions, server, dialect) for dialect in ("text", "binary")},
            **{name: (python, server, name) for name in PACKAGES}, "nutcracker": (nutcracker, server),
        }
        for name, (test, *arguments) in alone.items():
            if wanted(name):
                report.run(name, test, *arguments)
    together = {
        **{name: (test, kind) for name, test in monitors.TESTS.items()},
        **{f"shared-{dialect}": (one_session_two_ways, kind, dialect) for dialect in ("binary", "text")},
        "killed-by-wire": (killed_holder, kind, "binary", "wire"), "killed-by-inside": (killed_holder, kind, "text", "inside"),
    }
    for name, (test, *arguments) in together.items():
        if wanted(name):
            report.run(name, test, *arguments)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
