#!/usr/bin/env python3
"""Holds the documents to the code: what they link to is there, what they tell to type works.

- every relative link and its heading exists;
- every `make TARGET` is a target of the Makefile;
- every `holdfast.NAME` setting and `holdfast_NAME` function named to PHP's users is known to the extension;
- the C program in README.md compiles, runs and prints what it should.

Needs what `make build` builds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / "build" / "stage"
DOCUMENTS = sorted(
    path for pattern in ("*.md", "src/*.md", "php-ext/*.md", "tests/*.md") for path in ROOT.glob(pattern)
)


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


def make_targets_exist() -> str:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text()
        # In code only: the prose may make sense.
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        for target in re.findall(r"\bmake ([a-z]+)", "\n".join(code)):
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
    files = {"holdfast.so", "holdfast.h", "holdfast.pc", "holdfast.ini", "holdfast.c", "holdfast.stub", "holdfast.phpt"}
    named: set[str] = set()
    for document in (ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "php-ext" / "README.md"):
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


TESTS = [links_lead_somewhere, make_targets_exist, settings_and_functions_exist, the_c_program_works]


def main() -> int:
    failed = 0
    for test in TESTS:
        try:
            print(f"PASS  {test.__name__}: {test()}")
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL  {test.__name__}: {error}")
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
