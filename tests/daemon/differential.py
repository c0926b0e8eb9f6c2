#!/usr/bin/env python3
"""The same conversations with memcached 1.6.18 and with holdfastd, and no difference that is not named here.

    differential.py [--count N] [--seed N] [--left memcached --right holdfast]

A conversation is a few connections, one after the other, each of requests of one dialect, weighted towards
the edges: keys and lengths at their limits, numbers that are none, commands cut short, bodies too long. All
bytes of a connection are sent, its sending side is closed, and what comes back until the end is compared.
Before that, CAS tokens are replaced by the order in which they first appeared; versions and what only one
side can know (times, statistics) by a word.

A difference is made small first: requests are taken out as long as it stays. If a rule of RULES then says
why the two differ, it is counted under that name; if not, the test has failed and prints it.
"""

from __future__ import annotations

import argparse
import base64
import collections
import os
import random
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import servers
import wirefile

COUNT = int(os.environ.get("HOLDFAST_DIFFERENTIAL_COUNT", "2000"))
# The same conversations for every change; a long run takes another seed, such as the day.
SEED = int(os.environ.get("HOLDFAST_DIFFERENTIAL_SEED", "1"))
PATIENCE = 5.0
SHRINKS = 300


class Request(NamedTuple):
    """One request. `tokens` are keys whose CAS, as it is when the connection begins, stands in `data` as @0@..."""

    data: bytes
    tokens: tuple[bytes, ...] = ()


@dataclass
class Talk:
    """One connection of a conversation."""

    dialect: str
    requests: list[Request] = field(default_factory=list)


Conversation = list[Talk]


class Party:
    """One server of the two."""

    def __init__(self, kind: str):
        self.server = servers.Server(kind, tcp=False).start()
        self.kind = kind
        self.control = self.server.connect(PATIENCE)

    def token(self, key: bytes) -> int:
        self.control.sendall(b"gets " + key + b"\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            more = self.control.recv(1 << 20)
            if not more:
                raise AssertionError(f"{self.kind} closed a healthy connection")
            answer += more
        return int(answer.split(b"\r\n")[0].split()[4]) if answer.startswith(b"VALUE") else 0

    def bytes_of(self, request: Request) -> bytes:
        data = request.data
        for number, key in enumerate(request.tokens):
            token = self.token(key)
            data = data.replace(b"@%d@" % number, b"%d" % token).replace(b"@B%d@...." % number, token.to_bytes(8, "big"))
        return data

    def play(self, conversation: Conversation) -> list[bytes]:
        """What each connection got back."""
        answers = []
        for talk in conversation:
            data = b"".join(map(self.bytes_of, talk.requests))
            with self.server.connect(PATIENCE) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # closed already: what it said before that counts
                answers.append(_to_the_end(connection))
        return answers

    def clear(self, keys: list[bytes]) -> None:
        self.control.sendall(b"".join(b"delete " + key + b" noreply\r\n" for key in keys) + b"mn\r\n")
        if self.control.recv(64) != b"MN\r\n":
            raise AssertionError(f"{self.kind} does not delete in silence")


def _to_the_end(connection: socket.socket) -> bytes:
    answer = b""
    while True:
        try:
            more = connection.recv(1 << 18)
        except TimeoutError:
            return answer + b"<nothing more, and no end>"
        except ConnectionResetError:
            return answer
        if not more:
            return answer
        answer += more


# ---- what is sent ----------------------------------------------------------------------------------------------

NUMBERS = ["0", "1", "2", "9", "10", "99", "100", "4294967295", "18446744073709551615", "9223372036854775807", "5", "7"]
BAD_NUMBERS = ["-1", "abc", "1x", "18446744073709551616", "99999999999999999999999", "0x10", "", "1.5"]
EXPTIMES = ["0", "0", "0", "0", "100", "2592000", "-1", "2592001", "1000", "2147483647"]
VALUES = [b"", b"1", b"10", b"99", b"abc", b"18446744073709551615", b"0", b"5", b"x" * 100, b"a\r\nb", b"END\r\n", b"\x00\xff",
          b"007", b"-1", b"v" * 3000]
META_GET = ["v", "v", "v", "k", "f", "s", "t", "c", "q", "Oabc", "h", "T100", "T0", "N30", "N0", "R30", "T-1", "b", "v"]
META_SET = ["F5", "T100", "T0", "c", "k", "q", "Oabc", "ME", "MA", "MP", "MR", "MS", "MX", "T-1", "C@0@", "C1", "I", "b", "Fx", "Z"]
META_DELETE = ["q", "k", "Oabc", "I", "T30", "C@0@", "C1", "Z", "T30"]
META_COUNT = ["v", "v", "t", "c", "k", "q", "Oabc", "N100", "J13", "D5", "D18446744073709551615", "MD", "MI", "M+", "MX", "T100",
              "C@0@", "Dx", "N0", "J0"]


class Author:
    """Writes conversations from a seed."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)
        self.keys = [b"k%d.%x" % (number, seed & 0xFFFFFF) for number in range(3)]

    def conversation(self) -> Conversation:
        talks = []
        for _ in range(self.chance.randint(1, 3)):
            dialect = self.chance.choice(["text", "text", "meta", "meta", "binary"])
            make = {"text": self.text, "meta": self.meta, "binary": self.binary}[dialect]
            requests = [make() for _ in range(self.chance.randint(1, 10))]
            if dialect == "meta" and self.chance.random() < 0.5:
                requests = [self.text() if self.chance.random() < 0.3 else request for request in requests]
            talks.append(Talk(dialect, requests))
        return talks

    def key(self) -> bytes:
        roll = self.chance.random()
        if roll < 0.03:
            return self.chance.choice([b"K" * 250, b"K" * 249])
        return self.chance.choice(self.keys)

    def rare(self, good: list[str], bad: list[str], odds: float = 0.04) -> bytes:
        return self.chance.choice(bad if self.chance.random() < odds else good).encode()

    def text(self) -> Request:
        key, chance = self.key(), self.chance
        verb = chance.choice(["set"] * 5 + ["add", "replace", "append", "prepend", "cas", "cas"] + ["get"] * 4
                             + ["gets", "gat", "delete", "delete", "incr", "incr", "decr", "touch", "odd"])
        noreply = b" noreply" if chance.random() < 0.12 else b""
        if verb in ("set", "add", "replace", "append", "prepend", "cas"):
            value = chance.choice(VALUES)
            flags = self.rare(["0", "5", "4294967295", "2147483648"], ["x"], 0.01)
            line = b"%s %s %s %s %d" % (verb.encode(), key, flags, chance.choice(EXPTIMES).encode(), len(value))
            tokens: tuple[bytes, ...] = ()
            if verb == "cas":
                word = self.rare(["@0@", "@0@", "@0@", "1", "0"], ["abc"], 0.02)
                line, tokens = line + b" " + word, (key,) if b"@" in word else ()
            return Request(line + noreply + b"\r\n" + value + b"\r\n", tokens)
        if verb in ("get", "gets"):
            keys = [self.key() for _ in range(chance.choice([1, 1, 1, 2, 3]))]
            return Request(verb.encode() + b" " + b" ".join(keys) + b"\r\n")
        if verb == "gat":
            return Request(chance.choice([b"gat ", b"gats "]) + self.rare(EXPTIMES, ["x"]) + b" " + key + b"\r\n")
        if verb in ("incr", "decr"):
            return Request(b"%s %s %s%s\r\n" % (verb.encode(), key, self.rare(NUMBERS, BAD_NUMBERS), noreply))
        if verb == "touch":
            return Request(b"touch %s %s%s\r\n" % (key, self.rare(EXPTIMES, ["x"]), noreply))
        if verb == "delete":
            return Request(b"delete %s%s\r\n" % (key, noreply))
        return Request(self.odd(key))

    def odd(self, key: bytes) -> bytes:
        """What a broken or hostile client sends, as far as a memcached does not fall over it."""
        return self.chance.choice([
            b"\r\n", b"nothing\r\n", b"get\r\n", b"incr " + key + b"\r\n", b"touch " + key + b"\r\n",
            b"SET " + key + b" 0 0 1\r\n", b"  get   " + key + b"  \r\n", b"get " + key + b"\n", b"delete " + key + b" 0\r\n",
            b"delete " + key + b" 10\r\n", b"version\r\n", b"verbosity 0\r\n", b"mn\r\n",
            b"delete\r\n", b"decr " + key + b"\r\n", b"gats\r\n", b"set " + key + b" 0 0 3\r\nab\r\n\r\n",
        ])

    def meta(self) -> Request:
        key, chance = self.key(), self.chance
        verb = chance.choice(["mg"] * 5 + ["ms"] * 5 + ["md", "ma", "ma", "mn"])
        if verb == "mn":
            return Request(b"mn\r\n")
        pool = {"mg": META_GET, "ms": META_SET, "md": META_DELETE, "ma": META_COUNT}[verb]
        flags = chance.sample(pool, chance.choice([0, 1, 1, 2, 2, 3, 4]))
        if chance.random() > 0.03:
            letters: set[str] = set()
            flags = [flag for flag in flags if flag[0] not in letters and not letters.add(flag[0])]
        if "b" in flags:
            # 1.6.18 answers in base64 by how a key was stored, not by how it was asked for.
            flags = [flag for flag in flags if flag != "k"]
        tokens = (key,) if "C@0@" in flags else ()
        wire_key = base64.b64encode(key) if "b" in flags else key
        line = b" ".join([verb.encode(), wire_key])
        if verb == "ms":
            value = chance.choice(VALUES)
            line += b" %d" % len(value)
            return Request(b" ".join([line, *(flag.encode() for flag in flags)]) + b"\r\n" + value + b"\r\n", tokens)
        return Request(b" ".join([line, *(flag.encode() for flag in flags)]) + b"\r\n", tokens)

    def binary(self) -> Request:
        key, chance = self.key(), self.chance
        words = wirefile.Words(0)
        op = chance.choice(["set"] * 4 + ["get"] * 3 + ["getk", "getq", "getkq", "add", "replace", "delete", "incr", "decr", "append",
                           "prepend", "setq", "addq", "replaceq", "deleteq", "incrq", "appendq", "touch", "gat", "gatq", "noop", "gatk"])
        text = f"{op} opaque={chance.randint(0, 99)}"
        if op != "noop":
            text += f" key={key.decode()}"
        if op in wirefile.STORES | {"append", "prepend", "appendq"}:
            text += " value=" + "".join(f"\\x{byte:02x}" for byte in chance.choice(VALUES))
        if op in wirefile.STORES:
            text += f" flags={chance.choice([0, 5, 4294967295])} exptime={chance.choice(EXPTIMES)}"
        elif op in wirefile.COUNTS:
            text += (f" delta={chance.choice(['0', '1', '5', '18446744073709551615'])} initial={chance.choice(['0', '13'])}"
                     f" exptime={chance.choice(['0', '100', '0xffffffff'])}")
        elif op in wirefile.LIFETIMES:
            text += f" exptime={chance.choice(EXPTIMES)}"
        data = wirefile.packet(text, words)
        if op not in ("noop", "get", "getq", "getk", "getkq", "touch", "gat", "gatq", "gatk") and chance.random() < 0.25:
            return Request(data[:16] + b"@B0@...." + data[24:], (key,))
        return Request(data)


# ---- what comes back -------------------------------------------------------------------------------------------

class Tokens:
    """CAS tokens by the order of their first appearance in a conversation."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def name(self, token: int) -> bytes:
        # 0 means "none"; small numbers are a client's own.
        return b"cas0" if token == 0 else b"cas#%d" % self.seen.setdefault(token, len(self.seen) + 1)


def plain(answers: list[bytes], conversation: Conversation) -> list[list[bytes]]:
    """The answers as lists of lines, values and packets, without what two servers cannot have in common."""
    tokens = Tokens()
    return [_packets(answer, tokens) if talk.dialect == "binary" else _lines(answer, tokens)
            for answer, talk in zip(answers, conversation)]


def _lines(answer: bytes, tokens: Tokens) -> list[bytes]:
    found = []
    while answer:
        line, end, answer = answer.partition(b"\r\n")
        words = line.split(b" ")
        length = 0
        if words[0] == b"VALUE" and len(words) >= 4 and words[3].isdigit():
            length = int(words[3])
            if len(words) > 4 and words[4].isdigit():
                words[4] = tokens.name(int(words[4]))
        elif words[0] in (b"VA", b"HD", b"EX", b"NS", b"NF", b"EN"):
            if words[0] == b"VA" and len(words) > 1 and words[1].isdigit():
                length = int(words[1])
            words = [_flag(word, tokens) for word in words]
            # Newer versions say of a miss whose it was; 1.6.18 does not.
            words = words[:1] if words[0] in (b"EN", b"NF", b"NS", b"EX") else words
        elif words[0] == b"VERSION":
            words = words[:1]
        elif words[0] in (b"ERROR", b"CLIENT_ERROR"):
            # What an error says in words is for people, and changes with the version.
            words = [b"error"]
        found.append(b" ".join(words) + (b"" if end else b"<cut>"))
        if words[0] in (b"VALUE", b"VA"):
            found.append(b"=" + answer[:length])
            answer = answer[length + 2:]
    return found


def _flag(word: bytes, tokens: Tokens) -> bytes:
    if re.fullmatch(rb"c\d+", word):
        return tokens.name(int(word[1:]))
    # A few seconds can pass between the two: what is told is named by what was given.
    if re.fullmatch(rb"t\d+", word):
        left = int(word[1:])
        given = [given for given in (1, 30, 100, 1000, 2592000) if 0 <= given - left <= 8 and given - left < given]
        return b"t%d" % given[0] if given else b"t-far" if left > 2592000 else word
    return word


def _packets(answer: bytes, tokens: Tokens) -> list[bytes]:
    found = []
    while len(answer) >= 24:
        length = int.from_bytes(answer[8:12], "big")
        status, cas = answer[6:8], int.from_bytes(answer[16:24], "big")
        body = answer[24:24 + length]
        # What an error says in words is for people.
        shown = body if status == b"\0\0" or answer[1] in (0x0C, 0x0D) else b"(words)"
        if answer[1] == wirefile.OPS["touch"] and status == b"\0\0":
            # memcached adds flags and CAS, as if it had read the value; protocol_binary.h says there are none.
            found.append(b"touched " + answer[12:16])
            answer = answer[24 + length:]
            continue
        found.append(answer[:8] + answer[12:16] + (tokens.name(cas) if status == b"\0\0" else b"-") + b" " + shown)
        answer = answer[24 + length:]
    return found + ([answer] if answer else [])


# ---- what is known to differ ------------------------------------------------------------------------------------

class Rule(NamedTuple):
    """A difference that is meant: its name, why it is so, and how it is recognised in the shortest conversation."""

    name: str
    why: str
    fits: Callable[[list[bytes], list[list[bytes]], list[list[bytes]]], bool]


def _flat(sides: list[list[bytes]]) -> list[bytes]:
    return [item for side in sides for item in side]


def _without(pattern: bytes) -> Callable[[list[list[bytes]], list[list[bytes]]], bool]:
    """Are both sides the same without this?"""
    compiled = re.compile(pattern)

    def same(left: list[list[bytes]], right: list[list[bytes]]) -> bool:
        return [compiled.sub(b"", item) for item in _flat(left)] == [compiled.sub(b"", item) for item in _flat(right)]
    return same


def _some(pattern: bytes, requests: list[bytes]) -> bool:
    return any(re.search(pattern, request, re.S) for request in requests)


# Lines and packets that count: up may wrap around to fewer digits, too.
COUNTING = rb"^(incr|decr|ma) |^\x80[\x05\x06\x15\x16]"
# Whatever gives a new lifetime to what is there, or one that is over: lines, meta with T, packets.
LIFETIME = rb"^(touch|gats?|set|add|replace|cas) |^m[gsda] .* T|^\x80[\x01-\x03\x11-\x13\x1c-\x1e\x23\x24]"
TOUCH = rb"^(touch|gats?) |^m[ga] .* T|^\x80[\x1c-\x1e\x23\x24]"
STORE = rb"^(set|add|replace|append|prepend|cas|ms) [^\n]*\r\n"


def _padded(requests: list[bytes], left: list[list[bytes]], right: list[list[bytes]]) -> bool:
    """Only lengths and trailing spaces of values differ, and somebody counted."""
    def closed(sides: list[list[bytes]]) -> list[bytes]:
        return [re.sub(rb"^(VALUE \S+ \d+|VA) \d+|(?<= s)\d+", rb"\1", item).rstrip(b" ") for item in _flat(sides)]
    return _some(COUNTING, requests) and closed(left) == closed(right)


def _swallowed(requests: list[bytes], left: list[list[bytes]], right: list[list[bytes]]) -> bool:
    """The left has more errors than the right, behind a store that both refused, and nothing else differs."""
    more, fewer = _flat(left), _flat(right)
    rest = list(more)
    for item in fewer:
        if item not in rest:
            return False
        rest.remove(item)
    return _some(STORE, requests) and bool(rest) and set(rest) == {b"error"}


def _quiet_vivify(requests: list[bytes], left: list[list[bytes]], right: list[list[bytes]]) -> bool:
    """Somebody asked quietly for a number that was made for it; only the left tells him."""
    return _some(rb"^ma .* q\b.* N|^ma .* N\d+.* q\b", requests) and len(_flat(right)) < len(_flat(left))


RULES = [
    Rule("no-padding", "counting to fewer digits leaves spaces behind in memcached; here the number is the value", _padded),
    Rule("swallowed-body", "the body behind a line that is refused is never run as a command", _swallowed),
    Rule("whole-value-is-the-number", "memcached reads a number up to a NUL; here the whole value must be one",
         lambda requests, *_: _some(COUNTING, requests) and _some(rb"\x00\xff", requests)),
    Rule("no-padding-appended", "and what is appended to a number follows memcached's spaces there, the number itself here",
         lambda requests, *_: _some(COUNTING, requests) and _some(rb"^(ap|pre)pend |^ms .* M[AP]|^\x80[\x0e\x0f\x19\x1a]", requests)),
    Rule("version-before-number", "a token that does not fit is said before that there is no number",
         lambda requests, left, right: _some(rb"^ma .* C|^\x80[\x05\x06\x15\x16]", requests)
         and [b"EX" if item == b"error" else re.sub(rb"^(\x81.{5}\x00)\x06", b"\\1\x02", item, flags=re.S)
              for item in _flat(left)] == _flat(right)),
    Rule("twenty-digits", "memcached now and then takes 18446744073709551615 for no number (once in 10,000 conversations)",
         lambda requests, *_: _some(COUNTING, requests) and _some(rb"18446744073709551615", requests)),
    Rule("counting-makes-good", "a number that was marked stale and is counted is a new number here; in memcached it stays marked",
         lambda requests, *_: _some(rb"^m[ds] .* I\b", requests) and _some(COUNTING, requests)),
    Rule("version-of-touch", "a lifetime that becomes shorter makes a new version here, and what is over at once has none",
         lambda requests, left, right: _some(LIFETIME, requests) and _without(rb"cas(#\d+|0)")(left, right)),
    Rule("version-of-touch-compared", "and so a token from before does not fit any more behind a touch that shortened a lifetime",
         lambda requests, *_: _some(TOUCH, requests) and _some(rb"@B?0@", requests)),
    Rule("time-in-order", "t and R in front of T or N mean in memcached what was before, and behind them what is now; here order means nothing",
         lambda requests, left, right: _some(rb"^m[ga] (?=.* (t\b|R))(?=.* [TN])", requests)
         and _without(rb" t-?(\d+|far)| W\b| Z\b")(left, right)),
    Rule("last-time-counts", "of T and N for a key that is not there the last one counts in memcached; here T does",
         lambda requests, *_: _some(rb"^mg (?=.* T)(?=.* N\d)", requests)),
    Rule("base64-as-asked", "memcached tells a key in base64 when it was stored so; here when it is asked for so",
         lambda requests, left, right: _some(rb"^m[gsda] .* b\b", requests) and _without(rb" k\S+( b)?| t-?(\d+|far)")(left, right)),
    Rule("counting-is-no-read", "h tells in memcached also of counting and touching; here of reading only",
         lambda requests, left, right: _some(rb"^mg .* h\b", requests) and _without(rb" h[01]")(left, right)),
    Rule("compare-with-none", "C0 compares nothing in some modes of memcached's ms and with nothing in others; here it compares",
         lambda requests, *_: _some(rb"^ms .* (C0|C@0@)\b|^ms .* C@0@", requests)),
    Rule("quiet-vivify", "ma with q and N tells in memcached of a number that was made; here q hides every success", _quiet_vivify),
]


def judge(requests: list[bytes], left: list[list[bytes]], right: list[list[bytes]]) -> str:
    for rule in RULES:
        if rule.fits(requests, left, right):
            return rule.name
    return ""


# ---- playing both ------------------------------------------------------------------------------------------------

class Match:
    """Both servers, and what was found."""

    def __init__(self, left: str, right: str):
        self.parties = [Party(left), Party(right)]
        self.known: collections.Counter[str] = collections.Counter()

    def both(self, conversation: Conversation, keys: list[bytes]) -> tuple[list[list[bytes]], list[list[bytes]]]:
        sides = []
        for party in self.parties:
            party.clear(keys)
            sides.append(plain(party.play(conversation), conversation))
        return sides[0], sides[1]

    def smallest(self, conversation: Conversation, keys: list[bytes]) -> Conversation:
        """Takes requests out as long as a difference stays."""
        tries, changed = 0, True
        while changed and tries < SHRINKS:
            changed = False
            for talk in range(len(conversation) - 1, -1, -1):
                for at in range(len(conversation[talk].requests) - 1, -1, -1):
                    shorter = [Talk(one.dialect, [request for position, request in enumerate(one.requests)
                                                  if (index, position) != (talk, at)]) for index, one in enumerate(conversation)]
                    shorter = [one for one in shorter if one.requests]
                    tries += 1
                    left, right = self.both(shorter, keys)
                    if left != right:
                        conversation, changed = shorter, True
                        break
                if changed:
                    break
        return conversation

    def close(self) -> None:
        for party in self.parties:
            party.control.close()
            party.server.remove()


def show(conversation: Conversation, left: list[list[bytes]], right: list[list[bytes]], names: tuple[str, str]) -> str:
    lines = []
    for number, talk in enumerate(conversation):
        lines.append(f"connection {number + 1} ({talk.dialect}):")
        lines += [f"  > {request.data!r}" for request in talk.requests]
        for name, side in zip(names, (left, right)):
            lines.append(f"  {name:<9} < {side[number] if number < len(side) else None!r}")
    return "\n".join(lines)


def compare(report: servers.Report, count: int = COUNT, seed: int = SEED, names: tuple[str, str] = ("memcached", "holdfast"),
            go_on: bool = False) -> None:
    """Plays so many conversations to both; with `go_on` also behind the first difference that has no name."""
    if not servers.find("memcached"):
        report.skip("differential", "memcached is not installed")
        return
    match, played, began = Match(*names), 0, time.monotonic()
    try:
        for number in range(count):
            played += 1
            author = Author(seed + number)
            keys = [*author.keys, b"K" * 250, b"K" * 249]
            conversation = author.conversation()
            left, right = match.both(conversation, keys)
            if left == right:
                report.passed += 1
                continue
            small = match.smallest(conversation, keys)
            left, right = match.both(small, keys)
            rule = judge([request.data for talk in small for request in talk.requests], left, right)
            if rule:
                match.known[rule] += 1
                report.passed += 1
                continue
            report.fail(f"conversation of seed {seed + number}", show(small, left, right, names))
            if not go_on:
                break
    finally:
        match.close()
    print(f"seed {seed}: {played} conversations in {time.monotonic() - began:.1f} s; known differences: {dict(match.known) or 'none'}")
    for rule in RULES:
        if match.known[rule.name]:
            print(f"  {rule.name}: {rule.why}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares holdfastd with memcached, conversation by conversation")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--left", choices=servers.KINDS, default="memcached")
    parser.add_argument("--right", choices=servers.KINDS, default="holdfast")
    parser.add_argument("--all", action="store_true", help="go on behind the first unnamed difference")
    asked = parser.parse_args()
    report = servers.Report()
    compare(report, asked.count, asked.seed, (asked.left, asked.right), asked.all)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
