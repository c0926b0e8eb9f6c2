#!/usr/bin/env python3
"""Holds the documents to the code: what they link to is there, what they tell to type works.

- every relative link and its heading exists;
- every `make TARGET` is a target of the Makefile;
- every `holdfast.NAME` setting and `holdfast_NAME` function named to PHP's users is known to the extension;
- the C program in README.md compiles, runs and prints what it should;
- every line of the log and every error that OPERATIONS.md explains is in the sources;
- every option of `holdfastd` and `holdfast bench` is in their help, every metric in a live scrape;
- every TOML block is a configuration, and php.ini's lines give PHP sessions over the wire;
- every block of commands that needs neither root nor make runs, in a scratch directory.

Needs what `make build` builds. The server listens on free ports of the loopback only.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / "build" / "stage"
DOCUMENTS = sorted(
    path for pattern in ("*.md", "src/*.md", "php-ext/*.md", "daemon/*.md", "tests/*.md") for path in ROOT.glob(pattern)
)
# Those that speak of the daemon; the others name options of other programs.
OF_DAEMON = [ROOT / name for name in ("README.md", "OPERATIONS.md", "SECURITY.md", "CHANGELOG.md", "daemon/PROTOCOL.md")]
START_LIMIT_S = 20
BLOCK_LIMIT_S = 60


class Skip(Exception):
    """What cannot be tried here, and why."""


def anchor(heading: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links_lead_somewhere() -> str:
    count = 0
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            count += 1
            name, _, fragment = link.partition("#")
            target = (document.parent / name).resolve() if name else document
            assert target.exists(), f"{document.name}: {link} leads nowhere"
            if fragment and target.suffix == ".md":
                headings = re.findall(r"^#+ +(.+)$", target.read_text(), re.M)
                assert fragment in map(anchor, headings), f"{document.name}: no heading for {link}"
    return f"{count} links in {len(DOCUMENTS)} documents"


def code_of(text: str) -> list[str]:
    """What stands in backquotes and in blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", prose) + re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.M | re.S)


def make_targets_exist() -> str:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text()
        # In code only: the prose may make sense.
        for target in re.findall(r"\bmake ([a-z]+)", "\n".join(code_of(text))):
            assert target in targets, f"{document.name} says 'make {target}', which is no target"
            named.add(target)
    return f"{len(named)} targets named"


def settings_and_functions_exist() -> str:
    php = subprocess.run(
        [os.environ.get("PHP_CONFIG", "php-config"), "--php-binary"], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
    script = 'echo implode(" ", array_keys(ini_get_all("holdfast"))), " ", implode(" ", get_extension_funcs("holdfast"));'
    command = [php, "-n", "-d", f"extension={ROOT}/php-ext/modules/holdfast.so", "-r", script]
    known = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split())
    files = {"so", "h", "pc", "ini", "c", "stub", "phpt", "toml", "conf", "service", "socket"}
    files = {f"holdfast.{ending}" for ending in files}
    named: set[str] = set()
    for document in (ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "OPERATIONS.md", ROOT / "php-ext" / "README.md"):
        text = document.read_text()
        names = set(re.findall(r"\bholdfast\.[a-z_]+\b", text)) - files | set(re.findall(r"\bholdfast_\w+(?=\(\))", text))
        for name in names:
            # The C functions are the header's, and checked by its own tests.
            if name not in known and not header_has(name):
                raise AssertionError(f"{document.name} names {name}, which the extension does not know")
        named |= names
    return f"{len(named)} named"


def header_has(name: str) -> bool:
    return re.search(rf"\b{name}\(", (ROOT / "include" / "holdfast.h").read_text()) is not None


def the_c_program_works() -> str:
    source = re.search(r"^```c\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert source, "README.md has no C program any more"
    environment = {**os.environ, "PKG_CONFIG_PATH": str(STAGE / "lib" / "pkgconfig"), "LD_LIBRARY_PATH": str(STAGE / "lib")}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "example.c").write_text(source.group(1))
        (place / "store").mkdir(mode=0o700)
        command = "cc -Wall -Wextra -Werror -o example example.c $(pkg-config --cflags --libs holdfast) && ./example store"
        ran = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and ran.stdout == "hello\n", f"exit {ran.returncode}: {ran.stdout}{ran.stderr}"
    return "prints hello"


class Server:
    """A holdfastd in a directory of its own, on free ports, ended at the end."""

    def __init__(self, place: Path, *arguments: str, script: str | None = None) -> None:
        self.log = place / "server.log"
        command = ["sh", "-ec", script] if script else [str(STAGE / "bin" / "holdfastd"), *arguments]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=place, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + START_LIMIT_S
        while not (found := re.search(r"serving on ([0-9.]+:\d+)?.*admin on ([0-9.]+:\d+)", self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise AssertionError(f"no server: {self.log.read_text()}")
            time.sleep(0.05)
        self.address, self.admin = found.group(1), found.group(2)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, request: bytes, wanted: bytes) -> None:
        host, _, port = self.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(request)
            answer = client.recv(len(wanted), socket.MSG_WAITALL)
        assert answer == wanted, f"{answer!r}"

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    continue


def environment() -> dict[str, str]:
    """Free ports in place of the usual ones, and the installed programs before all others."""
    own = {"HOLDFAST_PORT": "-1", "HOLDFAST_HTTP_LISTEN": "127.0.0.1:0", "HOLDFAST_LOG_FORMAT": "json"}
    if os.geteuid() == 0:
        own["HOLDFAST_USER"] = "root"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**kept, **own, "PATH": f"{STAGE / 'bin'}:{os.environ['PATH']}"}


def options_exist() -> str:
    def help_of(*command: str) -> str:
        ran = subprocess.run([STAGE / "bin" / command[0], *command[1:]], capture_output=True, text=True, check=True, timeout=10)
        return ran.stdout

    of_server, of_bench = help_of("holdfastd", "--help"), help_of("holdfast", "bench", "--help")
    named: set[str] = set()
    for document in OF_DAEMON:
        for line in "\n".join(code_of(document.read_text())).splitlines():
            words = line.split()
            if not words or words[0] == "--" or (words[0] not in ("holdfast", "holdfastd") and not words[0].startswith("-")):
                continue
            text = of_bench if words[:2] == ["holdfast", "bench"] else of_server
            for word in words:
                option = re.match(r"(--[a-z][a-z-]+|-[A-Za-z](?=$|\b))", word)
                if option:
                    known = re.search(rf"(?<![\w-]){re.escape(option.group(1))}(?![\w-])", text)
                    assert known, f"{document.name}: `{line}` has {option.group(1)}, which the help does not"
                    named.add(option.group(1))
        for variable in re.findall(r"\bHOLDFAST_[A-Z_]+\b", document.read_text()):
            option = "--" + variable.removeprefix("HOLDFAST_").lower().replace("_", "-")
            assert option in of_server or header_has_macro(variable), f"{document.name}: {variable} is no option's"
    assert len(named) > 20, f"only {len(named)} were found"
    return f"{len(named)} named"


def header_has_macro(name: str) -> bool:
    return re.search(rf"\b{name}\b", (ROOT / "include" / "holdfast.h").read_text()) is not None


def messages_exist() -> str:
    # A sentence goes over several lines of the source.
    join = re.compile(r"\\\n\s*")
    sources = [path for folder in ("daemon/src", "src") for path in (ROOT / folder).rglob("*.rs")]
    said = "\n".join(join.sub("", path.read_text()) for path in sources)
    count = 0
    for heading in ("What the log says", "Troubleshooting"):
        section = (ROOT / "OPERATIONS.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
        for cell in re.findall(r"^\| (.+?) \|", section, re.M):
            for message in [] if cell.startswith("PHP:") else re.findall(r"`([^`]+)`", cell):
                # Capital words and points stand for what differs; so do numbers and addresses.
                for piece in re.split(r": |\.\.\.|\b(?:ADDRESS|DIR|N|M)\b|[\d.:]{4,}", message):
                    words = piece.strip(" :")
                    if len(words) > 4:
                        assert words in said, f"OPERATIONS.md explains `{words}`, which nothing says"
                        count += 1
    assert count > 20, f"only {count} were found"
    return f"{count} pieces"


def metrics_exist() -> str:
    with tempfile.TemporaryDirectory() as name, Server(Path(name), "--store", f"{name}/store") as server:
        # What is told of syncs is told after the first one.
        server.ask(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        deadline = time.monotonic() + START_LIMIT_S
        families: set[str] = set()
        while "holdfast_last_sync_age_seconds" not in families and time.monotonic() < deadline:
            time.sleep(0.1)
            with urllib.request.urlopen(f"http://{server.admin}/metrics", timeout=10) as answer:
                families = set(re.findall(r"^# TYPE (\w+) ", answer.read().decode(), re.M))
    named: set[str] = set()
    for document in OF_DAEMON:
        for name in re.findall(r"\b((?:holdfast|memcached|process)_[a-z_]+[a-z])(?![\w(.*])", "\n".join(code_of(document.read_text()))):
            # The C program's names are the header's.
            if not header_has_macro(name):
                assert name in families, f"{document.name} names the metric {name}, which /metrics does not have"
                named.add(name)
    assert len(named) > 5, f"only {len(named)} were found"
    return f"{len(named)} named, {len(families)} there"


def configurations_are_good() -> str:
    count = 0
    for document in DOCUMENTS:
        for text in blocks(document, "toml"):
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "holdfast.toml"
                path.write_text(text)
                command = [STAGE / "bin" / "holdfastd", "--config", path, "--check-config"]
                ran = subprocess.run(command, capture_output=True, text=True, timeout=10)
            assert ran.returncode == 0, f"{document.name}: {ran.stderr}"
            count += 1
    assert count, "no document has a configuration any more"
    return f"{count} of them"


def commands_work() -> str:
    ran, left = 0, []
    for document in (ROOT / "README.md", ROOT / "OPERATIONS.md"):
        # Root's commands and make's: the install suite tries what those do.
        mine = [text for text in blocks(document, "sh") if not re.search(r"^(sudo|make)\b", text, re.M)]
        starts = [text for text in mine if re.search(r"^holdfastd (?!.*--check-config)", text, re.M)]
        assert len(starts) <= 1, f"{document.name} starts two servers"
        if not starts:
            assert not mine, f"{document.name} has commands, and no server to run them against"
            continue
        with tempfile.TemporaryDirectory() as name, Server(Path(name), script=starts[0]) as server:
            for text in mine:
                missing = [word for word in re.findall(r"^(\w+)", text, re.M) if not shutil.which(word, path=environment()["PATH"])]
                if text in starts or missing:
                    left += missing
                    continue
                text = text.replace("127.0.0.1:11211", server.address).replace("127.0.0.1:9150", server.admin)
                done = subprocess.run(
                    ["sh", "-ec", text], cwd=name, env=environment(), capture_output=True, text=True, timeout=BLOCK_LIMIT_S
                )
                assert done.returncode == 0, f"{document.name}: {text}\n{done.stdout}{done.stderr}"
                ran += 1
        assert server.process.returncode in (0, -signal.SIGTERM), f"the server ended with {server.process.returncode}"
        ran += 1
    assert ran > 1, "next to nothing was run"
    return f"{ran} blocks" + (f", not those with {', '.join(left)}, which is not here" if left else "")


def php_keeps_sessions_over_the_wire() -> str:
    php = subprocess.run(
        [os.environ.get("PHP_CONFIG", "php-config"), "--php-binary"], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
    modules = subprocess.run([php, "-m"], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    if "memcached" not in modules:
        raise Skip("PHP's extension memcached is not installed")
    lines = [text for text in blocks(ROOT / "README.md", "ini") if "memcached.sess_persistent" in text]
    assert len(lines) == 1, "README.md has no lines for php.ini any more"
    script = "session_id('of-the-documents'); session_start(); echo $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;"
    with tempfile.TemporaryDirectory() as name:
        path = f"{name}/memcached.sock"
        with Server(Path(name), "--store", f"{name}/store", "--listen", f"127.0.0.1,unix:{path}"):
            settings: list[str] = []
            for line in lines[0].replace("/run/holdfast/memcached.sock", path).splitlines():
                key, _, value = line.partition(" = ")
                settings += ["-d", f"{key}={value.strip(chr(34))}"]
            for count in ("1", "2", "3"):
                ran = subprocess.run([php, *settings, "-r", script], capture_output=True, text=True, timeout=30)
                assert ran.stdout == count and not ran.stderr, f"{ran.stdout}{ran.stderr}"
    return "counts"


TESTS = [
    links_lead_somewhere, make_targets_exist, settings_and_functions_exist, the_c_program_works, options_exist, messages_exist,
    metrics_exist, configurations_are_good, commands_work, php_keeps_sessions_over_the_wire,
]


def main() -> int:
    failed = skipped = 0
    for test in TESTS:
        try:
            print(f"PASS  {test.__name__}: {test()}")
        except Skip as why:
            skipped += 1
            print(f"SKIPPED  {test.__name__}: {why}")
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL  {test.__name__}: {error}")
    print(f"{len(TESTS) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
