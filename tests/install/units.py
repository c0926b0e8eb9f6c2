#!/usr/bin/env python3
"""The units under a systemd of their own: started, found by their socket, reloaded, killed, stopped while they serve.

    tests/install/units.py

A systemd is started as the first process of its own namespaces, in a root of its own where the machine's /usr can be
read and nothing of the machine can be written; its units are the ones that are installed, and nothing else.
It would catch a service that is never ready for systemd, an address that is not handed over, a hardening that the server
does not survive or that is not in force, a reload or a stop that ends otherwise than it should. What it cannot show:
the units beside a whole system (boot order, other services), another systemd than this machine's.
Needs root, systemd, and a kernel that lets them have namespaces and a control group; else it is skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "daemon"))
import servers  # noqa: E402
from servers import Report, Skip, processes, say  # noqa: E402

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = ROOT / "packaging" / "systemd"
STEP_SECONDS = 60.0

# What the first process of the namespaces does before it becomes systemd.
PREPARE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$R"
cd "$R"
mkdir -p usr etc/systemd/system etc/holdfast var/lib run tmp proc sys dev/shm opt/holdfast/bin root
mount --rbind /usr usr
mount -o remount,ro,bind usr
for name in bin sbin lib lib32 lib64 libx32; do [ -L /$name ] && cp -a /$name $name; done
cp -a /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d etc/
printf 'root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n' >etc/passwd
printf 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n' >etc/group
echo 0123456789abcdef0123456789abcdef >etc/machine-id
cp "$PROGRAM" opt/holdfast/bin/holdfastd
for unit in holdfast.service holdfast.socket; do sed 's|/usr/bin/holdfastd|/opt/holdfast/bin/holdfastd|' "$UNITS/$unit" >etc/systemd/system/$unit; done
printf '[Unit]\nDefaultDependencies=no\n' >etc/systemd/system/test.target
for target in sysinit basic sockets shutdown network multi-user; do printf '[Unit]\nDefaultDependencies=no\n' >etc/systemd/system/$target.target; done
printf 'store = "/var/lib/holdfast/shared"\nhttp_listen = "off"\n' >etc/holdfast/holdfast.toml
systemd-sysusers --root="$R" "$UNITS/sysusers.d/holdfast.conf"
systemd-tmpfiles --root="$R" --create "$UNITS/tmpfiles.d/holdfast.conf"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind /dev/null dev/console
python3 -c 'import fcntl, socket, struct
s = socket.socket()
fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))'
exec env -i PATH=/usr/sbin:/usr/bin container=test SYSTEMD_UNIT_PATH=/etc/systemd/system chroot "$R" /lib/systemd/systemd --system \
    --unit=test.target --log-target=console --show-status=no
"""


class Machine:
    """The namespaces with a systemd in them."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise Skip("only root can have a systemd of its own")
        missing = [name for name in ("unshare", "nsenter", "systemctl", "systemd-sysusers", "systemd-tmpfiles") if not servers.find(name)]
        if missing or not SYSTEMD.exists():
            raise Skip(f"there is no {', '.join(missing) or SYSTEMD}")
        self.group = next((place / f"holdfast-units-{os.getpid()}" for place in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                           if (place / "cgroup.procs").exists() and (place / "cgroup.controllers").exists()), None)
        if self.group is None:
            raise Skip("there is no second hierarchy of control groups here")
        try:
            self.group.mkdir()
        except OSError as error:
            raise Skip(f"no control group can be made: {error}") from None
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-units-"))
        (self.dir / "root").mkdir()
        self.log = self.dir / "log"
        environment = {**os.environ, "R": str(self.dir / "root"), "UNITS": str(UNITS), "PROGRAM": servers.holdfastd(), "GROUP": str(self.group)}
        # In its control group before it gets a view of groups in which that one is the root.
        script = 'echo $$ >"$GROUP/cgroup.procs" && exec unshare --mount --pid --fork --uts --ipc --net --cgroup sh -c "$0"'
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(["sh", "-c", script, PREPARE], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            start_new_session=True)
        self.pid = 0
        try:
            processes.wait_until(self._is_up, STEP_SECONDS, "systemd runs")
        except processes.TookTooLong:
            said = processes.tail(self.log)
            self.end()
            raise Skip(f"systemd does not start here: {said}") from None

    def _is_up(self) -> bool:
        time.sleep(0.05)
        if self.process.poll() is not None:
            raise processes.TookTooLong("it ended")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return bool(self.pid) and "active" in self.systemctl("is-active", "test.target", check=False)

    def systemctl(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-r", "-w", "systemctl", *words], capture_output=True,
                              text=True, timeout=STEP_SECONDS, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"systemctl {' '.join(words)}: {done.stdout}{done.stderr}\n{processes.tail(self.log, 30)}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", "-p", name, "--value", unit)

    def main(self) -> Path:
        """The main process, as /proc inside has it."""
        return Path(f"/proc/{self.pid}/root/proc/{self.show('holdfast.service', 'MainPID')}")

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(STEP_SECONDS)
        connection.connect(f"/proc/{self.pid}/root/run/holdfast/memcached.sock")
        return connection

    def ask(self, sent: str, wanted: str) -> None:
        with self.connect() as connection:
            say(connection, sent, wanted)

    def end(self) -> None:
        """The first process of the namespaces ends all others in them."""
        if self.pid:
            os.kill(self.pid, 9)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        for group in sorted(self.group.rglob("*/"), reverse=True) if self.group else []:
            if group.is_dir():
                group.rmdir()
        if self.group:
            processes.wait_until(lambda: not (self.group / "cgroup.procs").read_text(), 5, "the control group is empty")
            self.group.rmdir()
        shutil.rmtree(self.dir, ignore_errors=True)


def found_by_its_socket(machine: Machine) -> str:
    """The first client starts the server; behind it everything is as the unit says."""
    machine.systemctl("start", "holdfast.socket")
    assert machine.show("holdfast.service", "ActiveState") == "inactive", "it runs before anybody came"
    machine.ask("set kept 0 0 1\r\n1\r\n", "STORED\r\n")
    processes.wait_until(lambda: machine.show("holdfast.service", "ActiveState") == "active", STEP_SECONDS, "the service is ready for systemd")
    return f"systemd says: {machine.show('holdfast.service', 'StatusText')!r}"


def hardened(machine: Machine) -> str:
    status = dict(line.split(":\t", 1) for line in (machine.main() / "status").read_text().splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split(), f"it runs as root: {status['Uid']}"
    wanted = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16, "CapBnd": "0" * 16}
    wrong = {name: status[name] for name, value in wanted.items() if status[name] != value}
    assert not wrong, f"not in force: {wrong}"
    places = "/ /dev /etc /etc/holdfast /opt/holdfast/bin /root /run /run/holdfast /sys /tmp /usr /var /var/lib /var/lib/holdfast /var/lib/holdfast/shared"
    user, group = status["Uid"].split()[0], status["Gid"].split()[0]
    tried = subprocess.run(
        ["nsenter", "-t", str(machine.pid), "-p", "-m", "-r", "-w", "nsenter", "-t", machine.show("holdfast.service", "MainPID"), "-m", "-r", "-w", "setpriv",
         f"--reuid={user}", f"--regid={group}", "--clear-groups", "sh", "-c",
         f"for place in {places}; do touch $place/tried 2>/dev/null && rm $place/tried && echo $place; done; :"],
        capture_output=True, text=True, timeout=STEP_SECONDS)
    writable = tried.stdout.split()
    assert writable == ["/run/holdfast", "/tmp", "/var/lib/holdfast/shared"], f"its user can write to {writable}: {tried.stderr[-300:]}"
    store = Path(f"/proc/{machine.pid}/root/var/lib/holdfast/shared")
    modes = {oct(path.stat().st_mode & 0o7777) for path in store.iterdir()}
    assert oct(store.stat().st_mode & 0o7777) == "0o2770" and modes == {"0o660"}, f"store {oct(store.stat().st_mode)}, files {modes}"
    return f"user {user}, no capabilities, writes to {', '.join(writable)}"


def reloaded(machine: Machine) -> str:
    before = machine.show("holdfast.service", "MainPID")
    with machine.connect() as connection:
        say(connection, "get kept\r\n", "VALUE kept 0 1\r\n1\r\nEND\r\n")
        machine.systemctl("reload", "holdfast.service")
        time.sleep(0.2)
        say(connection, "get kept\r\n", "VALUE kept 0 1\r\n1\r\nEND\r\n")
    assert machine.show("holdfast.service", "MainPID") == before, "a reload made another process"
    return "nobody was disconnected"


def restarted(machine: Machine) -> str:
    """Who connects while it restarts waits, and is served."""
    machine.systemctl("restart", "--no-block", "holdfast.service")
    for _ in range(20):
        machine.ask("get kept\r\n", "VALUE kept 0 1\r\n1\r\nEND\r\n")
    before = machine.show("holdfast.service", "MainPID")
    machine.systemctl("kill", "--signal=SIGKILL", "holdfast.service")
    machine.ask("get kept\r\n", "VALUE kept 0 1\r\n1\r\nEND\r\n")
    processes.wait_until(lambda: machine.show("holdfast.service", "MainPID") not in ("0", before), STEP_SECONDS, "it runs again after SIGKILL")
    return "20 connections over a restart, one over a SIGKILL"


def stopped(machine: Machine) -> str:
    """A stop lets the answer that is under way go out, and systemd finds nothing wrong with the end."""
    machine.systemctl("stop", "holdfast.socket", "holdfast.service", check=False)
    machine.systemctl("start", "holdfast.socket")
    with machine.connect() as busy, machine.connect() as idle:
        say(idle, "mn\r\n", "MN\r\n")
        busy.sendall(b"".join(b"set stop%d 0 0 1\r\n%d\r\n" % (n, n % 10) for n in range(5000)))
        began = time.monotonic()
        machine.systemctl("stop", "holdfast.service")
        took = time.monotonic() - began
        stream = busy.makefile("rb")
        acknowledged = 0
        while stream.readline() == b"STORED\r\n":
            acknowledged += 1
    result = {name: machine.show("holdfast.service", name) for name in ("Result", "ExecMainStatus", "ExecMainCode")}
    assert result == {"Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"}, f"{result}"
    assert took < 20, f"it took {took:.1f} s"
    for n in range(0, acknowledged, 97):
        machine.ask(f"get stop{n}\r\n", f"VALUE stop{n} 0 1\r\n{n % 10}\r\nEND\r\n")
    return f"after {took:.1f} s, {acknowledged} acknowledged writes are there"


def alone(machine: Machine) -> str:
    """Without the socket unit it listens itself."""
    machine.systemctl("stop", "holdfast.socket", "holdfast.service", check=False)
    machine.systemctl("start", "holdfast.service")
    assert machine.show("holdfast.service", "ActiveState") == "active"
    script = ("import socket; c = socket.create_connection(('127.0.0.1', 11211), 10); c.sendall(b'get kept\\r\\n'); "
              "import sys; sys.exit(c.recv(100) != b'VALUE kept 0 1\\r\\n1\\r\\nEND\\r\\n')")
    subprocess.run(["nsenter", "-t", str(machine.pid), "-n", sys.executable, "-c", script], check=True, timeout=STEP_SECONDS)
    return "127.0.0.1:11211"


def main() -> int:
    report = Report()
    try:
        machine = Machine()
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        report.skip("the units under systemd", str(reason))
        return report.close()
    try:
        for test in (found_by_its_socket, hardened, reloaded, restarted, stopped, alone):
            report.run(test.__name__.replace("_", " "), test, machine)
    finally:
        machine.end()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
