"""Nothing tells a session's id or its data: no log, no message, no page about the state of things.

Sessions whose ids and data are canaries get into every kind of trouble that there is: locks that are held, lost
or waited for, sessions too large, stores that are full, damaged, missing or cannot be read, errors that become
exceptions with traces of whole arguments. Then all that was said is searched: the answers, the logs of PHP,
php-fpm and nginx, holdfastd's log at its most talkative, its pages and statistics.

What this cannot show: what a debugger, or an application that prints its own variables, tells.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import client
from servers import MODULE, ROOT, Pool, Site, find, processes, worker_user
from shared import Skipped

POOLS = [
    Pool("main", 6),
    Pool("small", 1, store="{dir}/small", settings=("php_admin_value[holdfast.max_bytes] = 8M",)),
    Pool("nowhere", 1, store="{dir}/no/where"),
    Pool("nofolder", 1, store="{dir}/fpm.conf"),
    Pool("relative", 1, store="store"),
]
TROUBLE = ("keep", "large", "limit", "exception", "fatal", "bad-id", "phpinfo")
IN_LINE = ("wait", "crowd", "snapshot")
# So many characters of a secret in a row are a sight of it.
PIECE = 12


def site(handler: str) -> Site:
    if handler != "holdfast":
        raise Skipped("other handlers promise nothing")
    return TalkativeSite(handler)


class TalkativeSite(Site):
    """A site whose php-fpm logs all it can, with secrets in its sessions."""

    def __init__(self, handler: str):
        super().__init__(handler, POOLS, level="debug")
        self.secrets = Secrets()
        (self.dir / "site" / "secret").write_text(self.secrets.data)
        (self.dir / "small").mkdir(mode=0o700)
        user = worker_user()
        if user:
            os.chown(self.dir / "small", user.pw_uid, user.pw_gid)


class Secrets:
    """What must not be seen, and all that was said."""

    def __init__(self) -> None:
        self.data = f"canary{secrets.token_hex(16)}"
        self.ids: list[str] = []
        self.said: dict[str, str] = {}

    def session(self, site: TalkativeSite) -> str:
        """A new session with the secret data in it."""
        answer = site.get("/say.php?what=keep")
        assert answer.status == 200, answer
        self.ids.append(answer.cookie().split("=")[1])
        self.hear("keep", answer.body)
        return answer.cookie()

    def hear(self, source: str, text: str) -> None:
        self.said[source] = self.said.get(source, "") + text + "\n"

    def found(self) -> list[str]:
        """Where one of them, or a good piece of it, stands."""
        pieces = {word[i : i + PIECE] for word in [self.data, *self.ids] for i in range(len(word) - PIECE + 1)}
        lines = []
        for source, text in self.said.items():
            # Words as long as a piece are few, and all pieces are made of these characters.
            words = set(re.findall(r"[0-9A-Za-z]{%d,}" % PIECE, text))
            if any(word[i : i + PIECE] in pieces for word in words for i in range(len(word) - PIECE + 1)):
                at = min(text.find(piece) for piece in pieces if piece in text)
                lines.append(f"{source}: ...{text[max(0, at - 200) : at + 80]!r}")
        return lines


# ---- the tests ----------------------------------------------------------------------------------------


def php_tells_no_secret(site: TalkativeSite) -> str:
    """Every kind of trouble: answers with display_errors and whole traces, and all logs."""
    for what in TROUBLE:
        say(site, what, site.secrets.session(site))
    for what in IN_LINE:
        in_line(site, what)
    broken_lease(site)
    full_store(site)
    for pool in ("nowhere", "nofolder", "relative"):
        say(site, "keep", site.secrets.session(site), pool)
    unreadable_files(site)
    damaged_record(site)
    return verdict(site, must_be_said=(
        "is held by process", "gave up after", "not queued", "to be read only", "was waited for", "broke the lock",
        "more than holdfast.max_session_bytes", "there is no directory", "is not a directory", "must be a directory's full path",
        "is full", "damaged", "ErrorException", "ended", "Input/output error"))


def holdfastd_tells_no_secret(site: TalkativeSite) -> str:
    """The daemon beside the workers: its log at trace, its statistics and its pages, while it is asked for sessions in
    good and in broken commands."""
    daemon = Daemon(site)
    try:
        site.secrets.session(site)
        key = f"memc.sess.key.{site.secrets.ids[-1]}".encode()
        for command in (b"get %s", b"gets %s extra", b"touch %s 100", b"mg %s v", b"get %s" + b"x" * 300, b"incr %s 1", b"set %s 0 0 5\r\nabcde",
                        b"set %s 0 0 99999999", b"%s", b"GET /%s HTTP/1.0", b"delete %s 0 0 0", b"cas %s 0 0 -1 x"):
            daemon.ask(command % key + b"\r\n")
        for command in (b"stats", b"stats items", b"stats slabs", b"stats settings", b"stats sizes", b"stats conns"):
            site.secrets.hear(f"holdfastd {command.decode()}", daemon.ask(command + b"\r\n"))
        for page in ("/", "/metrics", "/health", "/ready"):
            site.secrets.hear(f"holdfastd {page}", daemon.page(page))
        in_line(site, "wait")
    finally:
        daemon.stop()
    site.secrets.hear("holdfastd log", daemon.log.read_text(errors="replace"))
    return verdict(site, must_be_said=("cmd_get", "holdfast_locks_held", "alive", '"level":'))


def core_files_have_no_store(site: TalkativeSite) -> str:
    """No page of the store goes into a worker's core file; what the worker itself works on does."""
    say(site, "keep", site.secrets.session(site))
    pieces = 0
    for worker in site.workers("main"):
        smaps = Path(f"/proc/{worker.pid}/smaps").read_text()
        for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.M):
            if "/store/" in mapping:
                pieces += 1
                assert " dd" in mapping.split("VmFlags:")[1], f"would be in a core file: {mapping}"
    assert pieces, "no worker has the store mapped"
    return f"{pieces} mappings, none is dumped"


def a_secret_that_is_told_is_found(site: TalkativeSite) -> str:
    """PHP itself writes the arguments of an application's own handler into traces: this test must see that."""
    told = Secrets()
    answer = site.get("/say.php?what=framework", told.session(site))
    told.hear("trace", answer.body)
    assert told.found(), f"the id in the trace was not found: {answer.body}"
    return "a trace with an id in it is noticed"


TESTS = [php_tells_no_secret, holdfastd_tells_no_secret, core_files_have_no_store, a_secret_that_is_told_is_found]


# ---- trouble ------------------------------------------------------------------------------------------


def say(site: TalkativeSite, what: str, session: str, pool: str = "main") -> str:
    answer = site.get(f"/{pool}/say.php?what={what}", session)
    assert answer.status in (200, 500), answer
    site.secrets.hear(f"{pool} {what}", answer.body)
    return answer.body


def verdict(site: TalkativeSite, must_be_said: tuple[str, ...]) -> str:
    heard = site.secrets
    for log in ("php.log", "fpm.log", "fpm.out", "nginx.log", "nginx.out"):
        heard.said[log] = (site.dir / log).read_text(errors="replace")
    everything = "\n".join(heard.said.values())
    unsaid = [words for words in must_be_said if words not in everything]
    assert not unsaid, f"the trouble did not come: nothing says {unsaid}"
    found = heard.found()
    assert not found, "\n".join(found)
    return f"{len(everything):,} characters from {len(heard.said)} sources, {len(heard.ids)} ids and {heard.data[:6]}... not in them"


class Holding:
    """Somebody who has the lock of the session."""

    def __init__(self, site: TalkativeSite, session: str):
        self._gate = site.dir / "site" / f"gate-{secrets.token_hex(4)}"
        request = client.get(f"/gated.php?gate={self._gate.name}", session)
        self._thread = threading.Thread(target=client.one, args=(site.port, request), daemon=True)
        self._thread.start()
        processes.wait_until(lambda: '"locks_held":0' not in site.get("/status.php").body, 20, "somebody has the lock")

    def end(self) -> None:
        self._gate.touch()
        self._thread.join(20)


def in_line(site: TalkativeSite, what: str) -> None:
    session = site.secrets.session(site)
    holding = Holding(site, session)
    second = threading.Thread(target=say, args=(site, "slow", session), daemon=True)
    second.start()
    processes.wait_until(lambda: '"lock_waiters":0' not in site.get("/status.php").body, 20, "somebody waits")
    say(site, what, session)
    holding.end()
    second.join(20)


def broken_lease(site: TalkativeSite) -> None:
    """Both sides are told: the one who had the lock for too long, and who took it."""
    session = site.secrets.session(site)
    first = threading.Thread(target=say, args=(site, "lease", session), daemon=True)
    first.start()
    time.sleep(0.1)
    say(site, "keep", session)
    first.join(20)


def full_store(site: TalkativeSite) -> None:
    for _ in range(40):
        answer = site.get("/small/say.php?what=keep")
        session = answer.cookie()
        site.secrets.ids.append(session.split("=")[1])
        if "is full" in say(site, "quite-large", session, "small"):
            return
    raise AssertionError("the small store never filled up")


def unreadable_files(site: TalkativeSite) -> None:
    """Each opening of one of the store's files fails with EIO, once for each of them."""
    strace = find("strace")
    session = site.secrets.session(site)
    code = "session_id(getenv('CANARY')); var_dump(session_start(), holdfast_status());"
    command = [find("php"), "-n", "-d", f"extension={MODULE}", "-d", "session.save_handler=holdfast", "-d", "html_errors=0",
               "-d", f"holdfast.store={site.dir}/store", "-d", "session.use_cookies=0", "-d", "display_errors=1", "-r", code]
    environment = {**os.environ, "CANARY": session.split("=")[1]}
    user = worker_user()
    become = ["-u", user.pw_name] if user else []

    def trace(*options: str) -> str:
        with tempfile.NamedTemporaryFile("r") as log:
            done = subprocess.run([strace, *become, "-qq", "-o", log.name, *options, *command], env=environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            site.secrets.hear("php under strace", done.stdout + done.stderr)
            return log.read()

    opened = trace("-e", "trace=openat").splitlines()
    ours = [number for number, line in enumerate(opened, 1) if "/store" in line or re.search(r'\d+, "(data|super|lock|meta|index)', line)]
    assert ours, "the store's files were not opened"
    for number in ours:
        trace("-e", "trace=openat", "-e", f"inject=openat:error=EIO:when={number}")


def damaged_record(site: TalkativeSite) -> None:
    """One byte of the session's own data is changed on the disk."""
    session = site.secrets.session(site)
    changed = 0
    for path in (site.dir / "store").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        with open(path, "r+b") if path.is_file() else open(os.devnull, "r+b") as file:
            for place in re.finditer(site.secrets.data.encode(), content):
                file.seek(place.start() + 3)
                file.write(b"*")
                changed += 1
    assert changed, "the data is not in the store's files"
    say(site, "keep", session)


class Daemon:
    """A holdfastd on the site's store, that logs all it can."""

    def __init__(self, site: TalkativeSite):
        self.log = site.dir / "holdfastd.log"
        self._socket = str(site.dir / "holdfastd.sock")
        self._pages = processes.free_port()
        user = worker_user()
        command = [holdfastd(), "--store", str(site.dir / "store"), "-s", self._socket, "--http-listen", f"127.0.0.1:{self._pages}",
                   "-vv", *(["-u", user.pw_name] if user else [])]
        # Its socket is made by the user that it becomes.
        if user:
            os.chown(site.dir, user.pw_uid, user.pw_gid)
        with open(self.log, "ab") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            processes.wait_until(lambda: self._process.poll() is not None or os.path.exists(self._socket), 20, "holdfastd listens")
            self.ask(b"version\r\n")
        except BaseException:
            self.stop()
            raise AssertionError(f"holdfastd does not answer:\n{processes.tail(self.log)}") from None

    def ask(self, request: bytes) -> str:
        """What comes back until nothing has come for a moment. Some requests are answered by a closed connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.2)
            connection.connect(self._socket)
            answer = b""
            try:
                connection.sendall(request)
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:
                pass
            return answer.decode(errors="replace")

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._pages}{path}", timeout=10) as answer:
            return answer.read().decode()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def holdfastd() -> str:
    """The daemon under test: $HOLDFASTD, else the one that was built last."""
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    built = [path for path in [*target.glob("*/holdfastd"), ROOT / "build/stage/bin/holdfastd"] if path.is_file()]
    named = os.environ.get("HOLDFASTD")
    if not named and not built:
        raise Skipped("there is no holdfastd; 'make build' makes one, HOLDFASTD=path names one")
    return named or str(max(built, key=lambda path: path.stat().st_mtime))
