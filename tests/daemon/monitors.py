"""What watches a memcached: Prometheus's memcached exporter, and collectd. Each is pointed at a server on which known
things were done, and has to show just those.

It would catch statistics that a monitor cannot read (the exporter then says `memcached_up 0`, whatever else works) or
that count something else than memcached's. Debian has no package of the exporter: it is run where `memcached_exporter`
is in the path, and skipped loudly where it is not; what it demands of a server (its versions 0.11 to 0.16,
pkg/exporter/exporter.go, and the statistics of its client grobie/gomemcache) is demanded here by `reading`, everywhere.
What that cannot show: a rule of the exporter that was misread. Called by `clients.py`, with a server of its own.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import servers
from servers import Server, Skip, processes, say

LIMIT_MIB, CONNECTIONS = 64, 300
UNPACKED = servers.ROOT / "build" / "wire-collectd"
Figures = dict[str, float]

# What is done, with its answers; behind it the counts that it comes to.
DONE = [
    ("set mon1 0 0 3\r\nabc\r\n", "STORED\r\n"), ("set mon2 0 0 1\r\n7\r\n", "STORED\r\n"), ("add mon3 0 0 1\r\n1\r\n", "STORED\r\n"),
    ("get mon1\r\n", "VALUE mon1 0 3\r\nabc\r\nEND\r\n"), ("get mon1\r\n", "VALUE mon1 0 3\r\nabc\r\nEND\r\n"), ("get none\r\n", "END\r\n"),
    ("incr mon2 1\r\n", "8\r\n"), ("incr none 1\r\n", "NOT_FOUND\r\n"), ("decr mon2 1\r\n", "7\r\n"), ("decr none 1\r\n", "NOT_FOUND\r\n"),
    ("touch mon1 1000\r\n", "TOUCHED\r\n"), ("touch none 1000\r\n", "NOT_FOUND\r\n"),
    ("cas mon1 0 0 1 18446744073709551615\r\nx\r\n", "EXISTS\r\n"), ("cas none 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n"),
    ("delete mon3\r\n", "DELETED\r\n"), ("delete none\r\n", "NOT_FOUND\r\n"), ("set mon4 0 0 2\r\nxy\r\n", "STORED\r\n"),
]
COMMANDS = {
    ("get", "hit"): 2, ("get", "miss"): 1, ("set", "hit"): 4, ("delete", "hit"): 1, ("delete", "miss"): 1, ("incr", "hit"): 1,
    ("incr", "miss"): 1, ("decr", "hit"): 1, ("decr", "miss"): 1, ("touch", "hit"): 1, ("touch", "miss"): 1, ("cas", "hit"): 0,
    ("cas", "miss"): 1, ("cas", "badval"): 1, ("flush", "hit"): 0,
}
ITEMS = 3


def busy_server(kind: str) -> Server:
    """A server on which the above was done. Its store has spaces in its name, which statistics show."""
    options = ["-m", str(LIMIT_MIB), "-c", str(CONNECTIONS)]
    if kind == "holdfast":
        options += ["--http-listen", f"127.0.0.1:{processes.free_port()}"]
    server = Server(kind, options)
    server.store = server.dir / "a store in three"
    return server


def play(server: Server) -> None:
    with server.connect() as connection:
        for sent, wanted in DONE:
            say(connection, sent, wanted)


def lines_of(connection: socket.socket, command: str) -> list[list[str]]:
    """An answer to `stats`, each line cut at single spaces, as the exporter's client cuts it."""
    connection.sendall(f"{command}\r\n".encode())
    came = b""
    while not came.endswith(b"\nEND\r\n") and came != b"END\r\n":
        more = connection.recv(65536)
        assert more, f"closed in the answer to {command!r}"
        came += more
    return [line.decode().split(" ") for line in came.split(b"\r\n")[:-2]]


def reading(server: Server) -> Figures:
    """What the exporter would show; an AssertionError where it would say that the server is down."""
    general: dict[str, str] = {}
    items: dict[int, dict[str, str]] = {}
    slabs: dict[int, dict[str, str]] = {}
    with server.connect() as connection:
        for line in lines_of(connection, "stats") + lines_of(connection, "stats slabs") + lines_of(connection, "stats items"):
            if len(line) != 3:
                continue
            name = line[1].split(":")
            if len(name) == 1:
                general[line[1]] = line[2]
            else:
                of = slabs if len(name) == 2 else items
                of.setdefault(int(name[-2]), {})[name[-1]] = line[2]
        settings: dict[str, str] = {}
        for line in lines_of(connection, "stats settings"):
            assert len(line) in (3, 4), f"stats settings has the line {' '.join(line)!r}: to the exporter the server is down"
            settings[line[1]] = line[2]
    shown = {f'memcached_version{{version="{general["version"]}"}}': 1.0}
    for family, name in GENERAL.items():
        shown[f"memcached_{family}"] = float(general[name])
    for name in ("rusage_user", "rusage_system"):
        seconds, micros = general[name].split(".")
        shown[f"memcached_process_{name.removeprefix('rusage_')}_cpu_seconds_total"] = float(seconds) + float(micros) / 1e6
    for command, status in COMMANDS:
        name = {"hit": f"{command}_hits", "miss": f"{command}_misses", "badval": "cas_badval"}[status]
        name = {"flush": "cmd_flush", "set": "cmd_set"}.get(command, name)
        shown[labelled("commands_total", command=command, status=status)] = float(general[name])
    # Its own arithmetic: memcached counts what came with a version under both names.
    shown[labelled("commands_total", command="set", status="hit")] -= sum(float(general[f"cas_{end}"]) for end in ("hits", "misses", "badval"))
    for number, of in items.items():
        shown[labelled("slab_current_items", slab=number)] = float(of["number"])
        shown[labelled("slab_items_age_seconds", slab=number)] = float(of["age"])
    for number, of in slabs.items():
        for family, name in {"chunk_size_bytes": "chunk_size", "current_chunks": "total_chunks", "chunks_used": "used_chunks"}.items():
            shown[labelled(f"slab_{family}", slab=number)] = float(of[name])
    shown["memcached_max_connections"] = float(settings["maxconns"])
    if settings["lru_crawler"] == "yes":
        assert settings["lru_maintainer_thread"] in ("yes", "no") and float(settings["lru_crawler_sleep"]) >= 0
    return {**shown, "memcached_up": 1.0}


GENERAL = {
    "uptime_seconds": "uptime", "time_seconds": "time", "current_bytes": "bytes", "limit_bytes": "limit_maxbytes", "current_items": "curr_items",
    "items_total": "total_items", "read_bytes_total": "bytes_read", "written_bytes_total": "bytes_written",
    "current_connections": "curr_connections", "connections_total": "total_connections", "connections_rejected_total": "rejected_connections",
    "connections_yielded_total": "conn_yields", "connections_listener_disabled_total": "listen_disabled_num", "items_evicted_total": "evictions",
    "items_reclaimed_total": "reclaimed", "lru_crawler_starts_total": "lru_crawler_starts", "direct_reclaims_total": "direct_reclaims",
    "malloced_bytes": "total_malloced", "accepting_connections": "accepting_conns",
}


def labelled(family: str, **labels: object) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"memcached_{family}{{{inside}}}"


def judge(shown: Figures) -> str:
    """Whether the figures are those of what was done."""
    assert shown.get("memcached_up") == 1, "memcached_up is not 1"
    wanted = {labelled("commands_total", command=command, status=status): count for (command, status), count in COMMANDS.items()}
    wanted |= {"memcached_current_items": ITEMS, "memcached_items_total": ITEMS + 1, "memcached_limit_bytes": LIMIT_MIB << 20,
               "memcached_max_connections": CONNECTIONS, "memcached_items_evicted_total": 0}
    # memcached counts an item anew when its number changes, or its lifetime: both are right.
    wrong = [f"{name} is {shown.get(name)} instead of {count}" for name, count in wanted.items() if shown.get(name) != count
             and not (name == "memcached_items_total" and count <= shown.get(name, 0) <= count + 2)]
    assert not wrong, "\n".join(wrong)
    in_classes = sum(count for name, count in shown.items() if name.startswith("memcached_slab_current_items{"))
    assert in_classes == ITEMS, f"{in_classes:g} items in all classes together"
    assert abs(shown["memcached_time_seconds"] - time.time()) < 5, "its clock is another one"
    assert any(name.startswith("memcached_version{") for name in shown), "no version"
    return f"{len(shown)} figures"


def page(url: str) -> Figures:
    """The figures of a page for Prometheus."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and not line.startswith("#"))}


def exporter_rules(kind: str) -> str:
    """By the exporter's rules; and the page that makes it unnecessary says the same."""
    with busy_server(kind) as server:
        play(server)
        shown = reading(server)
        found = judge(shown)
        if kind != "holdfast":
            return found
        own = page(f"http://{server.options[-1]}/metrics")
        judge(own)
        moves = ("uptime", "time", "read_bytes", "written_bytes", "connections", "cpu", "current_connections", "age", "malloced")
        still = {name: value for name, value in shown.items() if not any(move in name for move in moves)}
        differs = [f"{name} is {own.get(name)} on the page, {value} over the wire" for name, value in still.items() if own.get(name) != value]
        assert not differs, "\n".join(differs)
        return f"{found}, {len(still)} of them the same on its own page"


def exporter(kind: str) -> str:
    program = servers.find("memcached_exporter") or servers.find("prometheus-memcached-exporter")
    if not program:
        raise Skip("there is no memcached_exporter (Debian has no package of it)")
    with busy_server(kind) as server:
        play(server)
        port = processes.free_port()
        log = server.dir / "exporter.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([program, f"--memcached.address=127.0.0.1:{server.port}", f"--web.listen-address=127.0.0.1:{port}"],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            processes.wait_until(lambda: processes.listens(port), 10, "the exporter listens")
            found = judge(page(f"http://127.0.0.1:{port}/metrics"))
        finally:
            process.terminate()
            process.wait(timeout=10)
        said = log.read_text(errors="replace")
        assert not re.search(r"level=(error|warn)", said, re.I), f"the exporter complains:\n{said[-1000:]}"
        return found


COLLECTD = """Interval 1
Hostname "here"
FQDNLookup false
BaseDir "{dir}"
PIDFile "{dir}/collectd.pid"
PluginDir "{root}/usr/lib/collectd"
TypesDB "{root}/usr/share/collectd/types.db"
LoadPlugin csv
LoadPlugin memcached
<Plugin csv>
  DataDir "stdout"
</Plugin>
<Plugin memcached>
  <Instance "server">
    Host "127.0.0.1"
    Port "{port}"
  </Instance>
</Plugin>
"""
# collectd's names, and what was done.
COLLECTED = {
    "memcached_command-get": 3, "memcached_ops-hits": 2, "memcached_ops-misses": 1, "memcached_ops-incr_hits": 1, "memcached_ops-incr_misses": 1,
    "memcached_ops-decr_hits": 1, "memcached_ops-delete_hits": 1, "memcached_command-touch": 2, "memcached_command-flush": 0,
    "memcached_ops-evictions": 0, "memcached_items-current": ITEMS,
}


def unpacked_collectd() -> Path:
    """Where collectd is. Installed, it would be started as a service, so the package is only unpacked."""
    for root in (Path("/"), UNPACKED):
        if (root / "usr/sbin/collectd").exists() and (root / "usr/lib/collectd/memcached.so").exists():
            return root
    if not servers.find("apt-get") or not servers.find("dpkg-deb"):
        raise Skip("there is no collectd, and no apt-get to get it")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["apt-get", "download", "-q", "collectd-core"], cwd=UNPACKED, capture_output=True, timeout=120, text=True)
    packages = sorted(UNPACKED.glob("collectd-core_*.deb"))
    if got.returncode or not packages:
        raise Skip(f"apt-get cannot get collectd-core: {got.stderr.strip().splitlines()[-1:]}")
    subprocess.run(["dpkg-deb", "-x", str(packages[-1]), str(UNPACKED)], check=True, timeout=60)
    return UNPACKED


def collectd(kind: str) -> str:
    root = unpacked_collectd()
    with busy_server(kind) as server:
        play(server)
        config, out = server.dir / "collectd.conf", server.dir / "collectd.out"
        config.write_text(COLLECTD.format(dir=server.dir, root="" if root == Path("/") else root, port=server.port))
        with open(out, "wb") as written:
            process = subprocess.Popen([str(root / "usr/sbin/collectd"), "-f", "-C", str(config)], stdin=subprocess.DEVNULL, stdout=written,
                                       stderr=written, env={**os.environ, "LC_ALL": "C"})
        try:
            processes.wait_until(lambda: out.read_text(errors="replace").count("memcached_octets") >= 2, 20, "two rounds of collectd")
        finally:
            process.terminate()
            process.wait(timeout=20)
        said = out.read_text(errors="replace")
        came = {name: float(value) for name, value in re.findall(r"^PUTVAL here/memcached-server/(\S+) \S+ [\d.]+:([\d.]+)$", said, re.M)}
        wrong = [f"{name} is {came.get(name)} instead of {count}" for name, count in COLLECTED.items() if came.get(name) != count]
        assert not wrong, "\n".join([*wrong, said[-500:]])
        assert not re.search(r"error|fail|unexpected", said, re.I), f"collectd complains:\n{said[-1000:]}"
        return f"{len(came)} figures"


TESTS = {"exporter-rules": exporter_rules, "exporter": exporter, "collectd": collectd}
