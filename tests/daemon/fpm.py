"""A php-fpm of our own with two pools on one store, and the smallest FastCGI client that can ask it.

The pool `wire` reaches its sessions through php-memcached and a server; the pool `inside` has the store open
itself, with the extension of this project. Called by `clients.py`; it knows nothing of what is tested.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import servers
from servers import processes

WORKERS = 8
MODULE = servers.ROOT / "php-ext" / "modules" / "holdfast.so"

CONFIG = """
[global]
error_log = {dir}/fpm.log
daemonize = no
"""

POOL = """
[{name}]
{user}
listen = {dir}/{name}.sock
listen.mode = 0666
pm = static
pm.max_children = {workers}
catch_workers_output = yes
php_admin_flag[display_errors] = off
php_admin_flag[log_errors] = on
php_admin_value[error_log] = {dir}/php.log
php_admin_value[session.use_cookies] = 0
php_admin_value[session.use_strict_mode] = 0
php_admin_value[session.gc_probability] = 0
"""


def worker_user() -> pwd.struct_passwd | None:
    """Who the workers are: an unprivileged user when the tests run as root, as in earnest."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("www-data")
    except KeyError:
        return pwd.getpwnam("nobody")


def fpm_binary() -> str | None:
    version = subprocess.run(["php", "-r", 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;'], capture_output=True,
                             text=True, timeout=20, check=True).stdout
    return servers.find(f"php-fpm{version}") or servers.find("php-fpm")


class Fpm:
    """The two pools; `inside` only when the extension was built and a store is given."""

    def __init__(self, address: str, store: Path | None, binary_dialect: bool = True):
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-wire-fpm-"))
        self.dir.chmod(0o711)
        self.process: subprocess.Popen[bytes] | None = None
        user = worker_user()
        shutil.copy(servers.HERE / "php" / "page.php", self.dir / "page.php")
        (self.dir / "page.php").chmod(0o644)
        self.marks = self.dir / "marks"
        self.marks.mkdir()
        if user:
            os.chown(self.marks, user.pw_uid, user.pw_gid)
        group = grp.getgrgid(user.pw_gid).gr_name if user else ""
        who = f"user = {user.pw_name}\ngroup = {group}" if user else ""
        wire = POOL.format(name="wire", dir=self.dir, user=who, workers=WORKERS)
        wire += "php_admin_value[session.save_handler] = memcached\n" f"php_admin_value[session.save_path] = {address}\n"
        wire += f"php_admin_value[memcached.sess_binary_protocol] = {'On' if binary_dialect else 'Off'}\n"
        wire += "php_admin_value[memcached.sess_lock_wait_min] = 1\nphp_admin_value[memcached.sess_lock_wait_max] = 20\n"
        wire += "php_admin_value[memcached.sess_lock_retries] = 5000\nphp_admin_value[memcached.sess_lock_expire] = 60\n"
        config = CONFIG.format(dir=self.dir) + wire
        if store:
            config += POOL.format(name="inside", dir=self.dir, user=who, workers=WORKERS)
            config += f"php_admin_value[session.save_handler] = holdfast\nphp_admin_value[holdfast.store] = {store}\n"
        self.pools = 2 if store else 1
        (self.dir / "fpm.conf").write_text(config)
        self.module = MODULE if store else None

    def __enter__(self) -> Fpm:
        extensions = ["igbinary", "msgpack", "memcached", *([str(self.module)] if self.module else [])]
        command = [str(fpm_binary()), "-n", "-F", "-R"][: 3 if os.geteuid() else 4]
        command += ["-y", str(self.dir / "fpm.conf")]
        for name in extensions:
            command += ["-d", f"extension={name}"]
        with open(self.dir / "out", "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            processes.wait_until(lambda: self._ended() or len(self.workers()) == self.pools * WORKERS, 20, "php-fpm has its workers")
            if self._ended():
                raise AssertionError(f"php-fpm ended at once:\n{self.said()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            processes.end(processes.family(self.process.pid), signal.SIGTERM)
            self.process.wait(timeout=5)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def workers(self, pool: str = "pool") -> list[processes.Seen]:
        assert self.process is not None
        return [child for child in processes.children(self.process.pid) if pool.encode() in _command_line(child.pid)]

    def said(self) -> str:
        return "\n".join(processes.tail(self.dir / name) for name in ("out", "fpm.log", "php.log"))

    def ask(self, pool: str, query: str, seconds: float = 60.0) -> str:
        """The body of page.php's answer; empty when the worker died before it answered."""
        parameters = {"SCRIPT_FILENAME": str(self.dir / "page.php"), "QUERY_STRING": query, "REQUEST_METHOD": "GET"}
        content = b"".join(_pair(name.encode(), value.encode()) for name, value in parameters.items())
        request = _record(1, struct.pack(">HB5x", 1, 0)) + _record(4, content) + _record(4, b"") + _record(5, b"")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self.dir / f"{pool}.sock"))
            connection.sendall(request)
            try:
                return _answer(connection)
            except ConnectionResetError:
                return ""


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _pair(name: bytes, value: bytes) -> bytes:
    return struct.pack(">II", len(name) | 1 << 31, len(value) | 1 << 31) + name + value


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def _answer(connection: socket.socket) -> str:
    out = b""
    stream = connection.makefile("rb")
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return ""
        _, kind, _, length, padding = struct.unpack(">BBHHBx", head)
        content = stream.read(length)
        stream.read(padding)
        if kind == 6:
            out += content
        elif kind == 3:
            return out.partition(b"\r\n\r\n")[2].decode(errors="replace")
