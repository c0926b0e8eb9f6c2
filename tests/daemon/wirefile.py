"""Conversations as text: what is sent, what is expected, in a form that a person can read and write.

A file of `tests/wire/` begins with header lines and goes on with cases; each case has a connection (or
several) of its own and keys that nobody else uses. Nothing here opens a socket; `conversations.py` plays
what is read here.

    # a comment
    server: -I 2m                    options of the server that this file is played to
    users: anna:secret               lines of its password file
    == the name of a case
    memcached: differs (why)         memcached 1.6.18 is known to answer otherwise: with the reason
    modes: whole                     not cut and not glued (because it waits, or is about time)
    modes: alone                     one playing at a time (because all of them meet: flush_all, a fixed key)
    > set {a} 0 0 1\\r\\n1\\r\\n         bytes to send
    < STORED\\r\\n                     bytes that must come
    ~ VALUE {a} 0 1 (?P<cas>\\d+)     a line that must match; what it captures is {$cas} afterwards
    ? ERROR\\r\\n                      bytes that may come
    >b get key={a} opaque=7          a binary packet (see `packet`), and <b one that must come
    2> ...                           the same on the second connection
    @ wait 1.2                       seconds
    ! gone                           the server ends this connection here, and the case goes on
    ! close                          the server ends the connection here
    ! sync                           the connection is closed, or in step: nothing else
    ! end                            we send nothing more (half-close)
    ! partial                        we leave in the middle of a request

A line that ends in a backslash and a blank goes on in the next. In braces: `{a}` a key of 8 bytes, `{a:250}`
one of 250, `{b64 a}` its base64, `{"x"*1000}` repetition, `{now+5}` unix seconds, `{$cas}` what was
captured. Escapes: `\\r \\n \\t \\\\ \\xHH`.
"""

from __future__ import annotations

import base64
import re
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

OPS = {
    "get": 0x00, "set": 0x01, "add": 0x02, "replace": 0x03, "delete": 0x04, "incr": 0x05, "decr": 0x06, "quit": 0x07,
    "flush": 0x08, "getq": 0x09, "noop": 0x0A, "version": 0x0B, "getk": 0x0C, "getkq": 0x0D, "append": 0x0E,
    "prepend": 0x0F, "stat": 0x10, "setq": 0x11, "addq": 0x12, "replaceq": 0x13, "deleteq": 0x14, "incrq": 0x15,
    "decrq": 0x16, "quitq": 0x17, "flushq": 0x18, "appendq": 0x19, "prependq": 0x1A, "verbosity": 0x1B, "touch": 0x1C,
    "gat": 0x1D, "gatq": 0x1E, "sasl_list": 0x20, "sasl_auth": 0x21, "sasl_step": 0x22, "gatk": 0x23, "gatkq": 0x24,
}
STATUS = {
    "ok": 0, "missing": 1, "exists": 2, "too_large": 3, "invalid": 4, "not_stored": 5, "not_a_number": 6,
    "auth_error": 0x20, "auth_continue": 0x21, "unknown": 0x81, "no_memory": 0x82,
}
STORES = {"set", "setq", "add", "addq", "replace", "replaceq"}
COUNTS = {"incr", "incrq", "decr", "decrq"}
LIFETIMES = {"touch", "gat", "gatq", "gatk", "gatkq"}


@dataclass
class Line:
    """One line of a case: what it does (`>`, `<`, `~`, `?`, `@`, `!`), on which connection, and its text."""

    act: str
    binary: bool
    connection: int
    text: str
    number: int


@dataclass
class Case:
    """One conversation."""

    file: str
    name: str
    lines: list[Line] = field(default_factory=list)
    differs: str = ""
    whole_only: bool = False
    alone: bool = False

    @property
    def title(self) -> str:
        return f"{self.file}: {self.name}"

    def ending(self) -> str:
        """`close`, `sync`, `end`, `partial`, or nothing."""
        last = self.lines[-1]
        return last.text if last.act == "!" else ""

    def glueable(self) -> bool:
        """May everything be sent before anything is read?"""
        if self.whole_only or len({line.connection for line in self.lines}) > 1:
            return False
        inner = self.lines[:-1] if self.lines[-1].act == "!" else self.lines
        return not any(line.act in "@!" or "{$" in line.text for line in inner)


@dataclass
class WireFile:
    """One file: cases that are played to servers of the same options."""

    name: str
    options: list[str] = field(default_factory=list)
    users: str = ""
    cases: list[Case] = field(default_factory=list)


LINE = re.compile(r"^(\d*)([><~?@!])(b?) (.*)$")


def read(path: Path) -> WireFile:
    """Reads a file; a line that cannot be understood is an error with its number."""
    parsed = WireFile(path.name)
    case: Case | None = None
    continued = ""
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = continued + raw
        continued = ""
        if line.endswith(" \\"):
            continued = line[:-2]
        elif not line.strip() or line.startswith("#"):
            continue
        elif line.startswith("== "):
            case = Case(path.name, line[3:].strip())
            parsed.cases.append(case)
        elif not _option(parsed, case, line):
            found = LINE.match(line)
            if not found or case is None:
                raise ValueError(f"{path}:{number}: what is this? {line[:60]}")
            case.lines.append(Line(found[2], bool(found[3]), int(found[1] or 1), found[4], number))
    names = [case.name for case in parsed.cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice or not all(case.lines for case in parsed.cases):
        raise ValueError(f"{path}: a case without lines, or two of one name: {twice or ''}")
    return parsed


def _option(parsed: WireFile, case: Case | None, line: str) -> bool:
    name, colon, value = line.partition(": ")
    if not colon:
        return False
    if case is None and name == "server":
        parsed.options += value.split()
    elif case is None and name == "users":
        parsed.users += value + "\n"
    elif case is not None and name == "memcached" and value.startswith("differs ("):
        case.differs = value
    elif case is not None and line in ("modes: whole", "modes: alone"):
        case.whole_only |= line.endswith("whole")
        case.alone |= line.endswith("alone")
    else:
        return False
    return True


TOKEN = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)|\{([^{}]*)\}")
PLAIN = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\", "s": " "}


class Words:
    """What stands in braces, for one playing of one case."""

    def __init__(self, serial: int):
        self.serial = serial
        self.captured: dict[str, bytes] = {}

    def key(self, name: str, length: int = 8) -> bytes:
        """A key of exactly this length that no other playing uses (from 8 bytes on)."""
        whole = f"{name[:1]}{self.serial:07x}".encode()
        return (whole + b"k" * length)[:length]

    def bytes_of(self, text: str, pattern: bool = False) -> bytes:
        """The bytes of a line. For a pattern, escapes are the pattern's own and values are taken as they are."""

        def one(found: re.Match[str]) -> str:
            if found[3] is not None:
                try:
                    value = self._value(found[3]).decode("latin-1")
                except KeyError:
                    # In a pattern, {2,5} is a repetition.
                    return found[0]
                return re.escape(value) if pattern else value
            if pattern:
                return found[0]
            return chr(int(found[1], 16)) if found[1] else PLAIN[found[2]]

        return TOKEN.sub(one, text).encode("latin-1")

    def _value(self, word: str) -> bytes:
        if word.startswith("$"):
            return self.captured[word[1:]]
        if found := re.fullmatch(r"now([+-]\d+)?", word):
            return str(int(time.time()) + int(found[1] or 0)).encode()
        if found := re.fullmatch(r'"(.+)"\*(\d+)', word):
            return self.bytes_of(found[1]) * int(found[2])
        if found := re.fullmatch(r"b64 ([a-z]+)(?::(\d+))?", word):
            return base64.b64encode(self.key(found[1], int(found[2] or 8)))
        if found := re.fullmatch(r"([a-z]+)(?::(\d+))?", word):
            return self.key(found[1], int(found[2] or 8))
        raise KeyError(word)


def _fields(text: str) -> tuple[str, dict[str, str]]:
    op, *rest = text.split()
    return op, dict(part.split("=", 1) for part in rest)


def _number(text: str) -> int:
    return int(text, 0)


def packet(text: str, words: Words) -> bytes:
    """A binary request: `op key= value= flags= exptime= delta= initial= opaque= cas= ext=(hex)`, and to lie about
    them `magic= keylen= extlen= bodylen= type= vbucket=`."""
    op, given = _fields(text)
    known = {"key", "value", "flags", "exptime", "delta", "initial", "opaque", "cas", "ext", "magic", "keylen",
             "extlen", "bodylen", "type", "vbucket"}
    if set(given) - known:
        raise ValueError(f"unknown fields of a packet: {set(given) - known}")
    extras = b""
    exptime = _number(words.bytes_of(given.get("exptime", "0")).decode()) & 0xFFFFFFFF
    if "ext" in given:
        extras = bytes.fromhex(given["ext"])
    elif op in STORES:
        extras = struct.pack(">II", _number(given.get("flags", "0")), exptime)
    elif op in COUNTS:
        extras = struct.pack(">QQI", _number(given.get("delta", "1")), _number(given.get("initial", "0")), exptime)
    elif op in LIFETIMES or "exptime" in given:
        extras = struct.pack(">I", exptime)
    elif op == "verbosity":
        extras = struct.pack(">I", 0)
    key, value = words.bytes_of(given.get("key", "")), words.bytes_of(given.get("value", ""))
    body = extras + key + value
    head = struct.pack(
        ">BBHBBHIIQ",
        _number(given.get("magic", "0x80")),
        OPS[op] if op in OPS else int(op, 16),
        _number(given.get("keylen", str(len(key)))),
        _number(given.get("extlen", str(len(extras)))),
        _number(given.get("type", "0")),
        _number(given.get("vbucket", "0")),
        _number(given.get("bodylen", str(len(body)))),
        _number(given.get("opaque", "0")),
        _number(words.bytes_of(given.get("cas", "0")).decode()),
    )
    return head + body


def unlike(text: str, words: Words, head: bytes, body: bytes) -> str:
    """Why an answer is not the one that the line `<b op status= ...` describes; empty when it is. What an error
    says in words, and a CAS that is not named, may be anything; `cas=+name` captures one, `status=a|b` is either."""
    op, given = _fields(text)
    magic, opcode, key_length, ext_length, _, status, _, opaque, cas = struct.unpack(">BBHBBHIIQ", head)
    allowed = [STATUS[word] for word in given.get("status", "ok").split("|")]
    wanted = {"magic": 0x81, "op": OPS[op] if op in OPS else int(op, 16), "opaque": _number(given.get("opaque", "0")),
              "status": status if status in allowed else allowed[0]}
    seen = {"magic": magic, "op": opcode, "status": status, "opaque": opaque}
    if wanted != seen:
        return f"wanted {wanted}, came {seen}"
    if "cas" in given:
        if given["cas"].startswith("+"):
            words.captured[given["cas"][1:]] = str(cas).encode()
            if cas == 0:
                return "a CAS of 0"
        elif cas != _number(words.bytes_of(given["cas"]).decode()):
            return f"CAS {cas}"
    extras, key, value = body[:ext_length], body[ext_length:ext_length + key_length], body[ext_length + key_length:]
    if "flags" in given and extras != struct.pack(">I", _number(given["flags"])):
        return f"extras {extras.hex()}"
    if "number" in given and value != struct.pack(">Q", _number(given["number"])):
        return f"number {value.hex()}"
    if key != words.bytes_of(given.get("key", "")):
        return f"key of {len(key)} bytes: {key[:60]!r}"
    free = status != 0 or "number" in given or given.get("value") == "*"
    if not free and value != words.bytes_of(given.get("value", "")):
        return f"value of {len(value)} bytes: {value[:60]!r}"
    return ""
