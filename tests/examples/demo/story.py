#!/usr/bin/env python3
"""The demo: several PHP processes that share one Holdfast store, and a session that survives them all.

It starts PHP's built-in web server with eight worker processes, plays a short story against it like a
browser would, and prints each result. Then it serves the same pages until Ctrl-C. With --once it ends
after the story: exit code 0 when everything was as it must be, else 1.

Run it with `make run`, which builds what it needs first.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import processes  # noqa: E402  (found through the line above)

WORKERS = 8
VISITS = 64
REQUEST_SECONDS = 30
PREFERRED_PORTS = range(8088, 8098)
MOST_RESTARTS = 100
MOST_LOG_BYTES = 1_000_000


class StoryFailed(Exception):
    """A step did not come out as it must; says what was expected and what came."""

    def __init__(self, expected: str, came: str):
        super().__init__(f"expected {expected}; came {came}")
        self.expected, self.came = expected, came


class PhpServer:
    """PHP's built-in server on 127.0.0.1: one master, and workers that are its forked children."""

    def __init__(self, php: str, handler: str, store: Path, logs: Path, port: int):
        self.port = port
        self.php_log, self.server_log = logs / "php.log", logs / "server.log"
        self._master: subprocess.Popen[bytes] | None = None
        self._family: list[processes.Seen] = []
        settings = {
            "display_errors": "0",
            "log_errors": "1",
            "error_log": str(self.php_log),
            "session.save_handler": handler,
            "session.use_strict_mode": "1",
            "session.cookie_httponly": "1",
            "session.cookie_samesite": "Lax",
            # As Debian sets it: nothing here may depend on PHP's own garbage collection.
            "session.gc_probability": "0",
        }
        if handler == "holdfast":
            settings["extension"] = str(ROOT / "php-ext" / "modules" / "holdfast.so")
            settings["holdfast.store"] = str(store)
        else:
            settings["session.save_path"] = str(store)
        # -n: the demo is the same on every machine, whatever its php.ini holds.
        self._command = [php, "-n"]
        for name, value in settings.items():
            self._command += ["-d", f'{name}="{value}"' if "/" in value else f"{name}={value}"]
        self._command += ["-S", f"127.0.0.1:{port}", "-t", str(HERE / "site")]

    def start(self) -> None:
        environment = {**os.environ, "PHP_CLI_SERVER_WORKERS": str(WORKERS)}
        with open(self.server_log, "ab") as log:
            # Its own session: Ctrl-C in the terminal reaches this script, which then ends PHP in order.
            self._master = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True, cwd=HERE / "site",
            )
        processes.wait_until(self._answers_or_ended, 10, "PHP's web server answers")
        if self._master.poll() is not None:
            raise StoryFailed(
                "PHP's web server to start",
                f"its end with code {self._master.returncode}:\n{processes.tail(self.server_log)}",
            )
        processes.wait_until(lambda: len(self.see()) == WORKERS + 1, 10, f"{WORKERS} PHP workers run")

    def see(self) -> list[processes.Seen]:
        """The master and its workers. Remembered, so that workers are known after the master's death."""
        assert self._master is not None
        for process in processes.family(self._master.pid):
            if process not in self._family:
                self._family.append(process)
        self._family = [process for process in self._family if processes.is_alive(process)]
        return self._family

    def is_whole(self) -> bool:
        assert self._master is not None
        return self._master.poll() is None and len(self.see()) == WORKERS + 1

    def kill(self) -> int:
        """SIGKILL to every process at once; returns how many there were."""
        victims = self.see()
        killed = processes.send(victims, signal.SIGKILL)
        processes.wait_gone(victims)
        self._reap()
        return killed

    def trim_logs(self) -> None:
        """PHP's server logs every request: a demo that runs for days must not fill the disk."""
        for log in (self.php_log, self.server_log):
            if log.exists() and log.stat().st_size > MOST_LOG_BYTES:
                os.truncate(log, 0)

    def stop(self) -> None:
        if self._master is not None:
            processes.end(self.see(), signal.SIGINT)
            self._reap()

    def _reap(self) -> None:
        assert self._master is not None
        self._master.wait(timeout=5)
        self._family = []

    def _answers_or_ended(self) -> bool:
        assert self._master is not None
        if self._master.poll() is not None:
            return True
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            connection.request("GET", "/icon.svg")
            return connection.getresponse().status == 200
        except OSError:
            return False


class TokenFinder(HTMLParser):
    """Finds what a browser would see of the page: the form's token, the name, the counter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = ""
        self.texts: dict[str, str] = {}
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "input" and attributes.get("name") == "token":
            self.token = attributes.get("value") or ""
        self._inside = attributes.get("id")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.setdefault(self._inside, data.strip())


class Visitor:
    """A browser as far as the story needs one: a cookie, a token, and the last page seen."""

    def __init__(self, port: int):
        self.port = port
        self.cookie = ""
        self.page = TokenFinder()

    def request(
        self, method: str, path: str, form: dict[str, str] | None = None, accept: str = "text/html"
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        headers = {"Accept": accept, **({"Cookie": self.cookie} if self.cookie else {})}
        body = None
        if form is not None:
            body = urlencode({"token": self.page.token, **form})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def open_page(self) -> None:
        answer = self.request("GET", "/")
        self._keep_cookie(answer)
        text = answer.read().decode()
        if answer.status != 200:
            raise StoryFailed("the page", f"status {answer.status}: {text.strip()[:200]}")
        self.page = TokenFinder()
        self.page.feed(text)

    def log_in(self, name: str) -> None:
        self.open_page()
        answer = self.request("POST", "/login.php", {"name": name})
        text = answer.read().decode()
        if answer.status != 303:
            raise StoryFailed("to be logged in (status 303)", f"status {answer.status}: {text.strip()[:200]}")
        self._keep_cookie(answer)
        self.open_page()

    def visit(self) -> dict[str, object]:
        answer = self.request("POST", "/visit.php", {}, accept="application/json")
        text = answer.read().decode()
        if answer.status != 200:
            raise StoryFailed("a counted visit", f"status {answer.status}: {text.strip()[:200]}")
        return json.loads(text)

    def hold_lock(self, seconds: int) -> http.client.HTTPResponse:
        """Returns as soon as PHP says that it holds the session's lock."""
        answer = self.request("POST", "/hold.php", {"seconds": str(seconds)})
        first_line = answer.readline().decode()
        if "holds" not in first_line:
            raise StoryFailed("a process that holds the lock", f"status {answer.status}: {first_line}")
        return answer

    def _keep_cookie(self, answer: http.client.HTTPResponse) -> None:
        for value in answer.headers.get_all("Set-Cookie") or []:
            if re.match(r"PHPSESSID=[^;]+", value):
                self.cookie = value.split(";")[0]


class Printer:
    """One line for each step: number, what, how it came out, how long it took."""

    def __init__(self) -> None:
        self._number = 0

    def step(self, what: str, result: str, seconds: float) -> None:
        self._number += 1
        print(f"  {self._number}  {what:<31} ok  {seconds * 1000:>6.0f} ms   {result}", flush=True)


def visit_in_parallel(visitor: Visitor, count: int) -> list[dict[str, object]]:
    """`count` visits, let go at the same moment; raises the first failure of any of them."""
    results: list[dict[str, object] | Exception] = [StoryFailed("an answer", "none")] * count
    gate = threading.Barrier(count)

    def one(place: int) -> None:
        try:
            gate.wait(timeout=10)
            results[place] = visitor.visit()
        except Exception as error:  # carried to the caller's thread, which raises it
            results[place] = error

    threads = [threading.Thread(target=one, args=(place,), daemon=True) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=REQUEST_SECONDS + 10)
    answers: list[dict[str, object]] = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        answers.append(result)
    return answers


def expect(condition: bool, expected: str, came: object) -> None:
    if not condition:
        raise StoryFailed(expected, str(came))


def play(server: PhpServer) -> None:
    printer = Printer()
    visitor = Visitor(server.port)

    began = time.monotonic()
    server.start()
    printer.step(f"start PHP, {WORKERS} workers", "one store, no server beside them", time.monotonic() - began)

    began = time.monotonic()
    visitor.log_in("Ada")
    expect(visitor.page.texts.get("user") == "Ada", "a page that greets Ada", visitor.page.texts)
    printer.step("log in", "as Ada", time.monotonic() - began)

    began = time.monotonic()
    answers = visit_in_parallel(visitor, VISITS)
    took = time.monotonic() - began
    counts = sorted(int(str(answer["visits"])) for answer in answers)
    expect(counts == list(range(1, VISITS + 1)), f"each number from 1 to {VISITS} once", counts)
    answered_by = len({answer["worker"] for answer in answers})
    printer.step(f"{VISITS} visits at once", f"each counted once: 1 to {VISITS}, by {answered_by} processes", took)

    holding = visitor.hold_lock(30)
    began = time.monotonic()
    killed = server.kill()
    printer.step("SIGKILL to every process", f"{killed} killed, one of them holding the session's lock", time.monotonic() - began)
    holding.close()

    began = time.monotonic()
    server.start()
    printer.step("start again", "new processes, same store", time.monotonic() - began)

    began = time.monotonic()
    visit = visitor.visit()
    took = time.monotonic() - began
    expect(visit["user"] == "Ada", "Ada to be still logged in", visit)
    expect(visit["visits"] == VISITS + 1, f"visit number {VISITS + 1}", visit)
    # The dead process left the lock behind: whoever comes next must get it at once, not after a timeout.
    expect(took < 1.0, "no wait for the lock that a dead process held", f"{took:.2f} s")
    printer.step("still logged in", f"as Ada, visit {visit['visits']}, no wait for the dead process's lock", took)

    times = []
    for _ in range(50):
        began = time.monotonic()
        visitor.visit()
        times.append(time.monotonic() - began)
    visitor.open_page()
    expected = str(VISITS + 1 + len(times))
    expect(visitor.page.texts.get("visits") == expected, f"a page that shows {expected} visits", visitor.page.texts)
    printer.step("50 more visits", f"all counted; half within {statistics.median(times) * 1000:.1f} ms, with PHP and HTTP", sum(times))


def serve(server: PhpServer) -> None:
    """Serves until Ctrl-C, and starts PHP again when somebody kills it: that is what the demo is for."""

    def tell() -> None:
        pids = " ".join(str(process.pid) for process in server.see())
        print(f"  kill them all:  kill -9 {pids}", flush=True)

    print(f"\nThe demo site:  http://127.0.0.1:{server.port}/     (Ctrl-C ends it; the sessions stay)")
    print("Log in there, then try to lose the session; PHP is started again by itself:")
    tell()
    for _ in range(MOST_RESTARTS):
        while server.is_whole():
            server.trim_logs()
            time.sleep(0.25)
        server.kill()
        server.start()
        print("\nPHP processes died; new ones run on the same store. Reload the page.")
        tell()
    raise StoryFailed("PHP to stay alive", f"{MOST_RESTARTS} deaths")


def php_binary() -> str:
    config = os.environ.get("PHP_CONFIG", "php-config")
    try:
        named = subprocess.run([config, "--php-binary"], capture_output=True, text=True, timeout=10).stdout.strip()
    except OSError:
        named = ""
    found = named or shutil.which("php")
    if not found:
        sys.exit("story.py: no php was found; 'make run' installs it")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--once", action="store_true", help="end after the story, with 0 or 1")
    parser.add_argument("--handler", default="holdfast", help="another save handler, for comparison: files")
    parser.add_argument("--store", type=Path, help="the store's directory (default build/demo-store)")
    options = parser.parse_args()

    # A kill of this script must end PHP too: as an exception, it passes through the `finally` below.
    def ended(*_: object) -> None:
        raise SystemExit(143)

    # Said outright: a shell that starts this in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)

    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    logs = Path(tempfile.mkdtemp(prefix="demo-logs-", dir=build))
    # The served demo keeps its store from run to run: whoever logged in yesterday still is. The story
    # alone, which tests use, begins with an empty one.
    store = options.store or (logs / "store" if options.once else build / "demo-store")
    store.mkdir(mode=0o700, exist_ok=True)

    php = php_binary()
    version = subprocess.run([php, "-n", "-r", "echo PHP_VERSION;"], capture_output=True, text=True, timeout=10).stdout
    server = PhpServer(php, options.handler, store, logs, processes.free_port(PREFERRED_PORTS))
    shown = store.relative_to(ROOT) if store.is_relative_to(ROOT) else store
    print(f"Holdfast demo: PHP {version} on 127.0.0.1:{server.port}, store {shown}\n")
    failed = True
    try:
        play(server)
        failed = False
        print("\nThe story came out as it must.")
        if not options.once:
            serve(server)
        return 0
    except KeyboardInterrupt:
        print("\nEnded. The sessions are still in the store.")
        return 0 if not failed else 130
    except (StoryFailed, processes.TookTooLong, OSError, http.client.HTTPException) as error:
        failed = True
        if isinstance(error, StoryFailed):
            print(f"\n  FAILED\n    expected: {error.expected}\n    came:     {error.came}")
        else:
            print(f"\n  FAILED: {type(error).__name__}: {error}")
        print(f"\nThe last lines of PHP's log ({server.php_log}):\n{processes.tail(server.php_log)}")
        return 1
    finally:
        server.stop()
        if not failed:
            shutil.rmtree(logs, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
