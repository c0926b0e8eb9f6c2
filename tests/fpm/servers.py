"""A php-fpm and an nginx of our own: in a temporary directory, on a free port, ended by process number.

Nothing of the system's php-fpm or nginx is used or touched: not their configuration, not their services.
Started as root, the workers run as an unprivileged user, as they do in earnest.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import client  # noqa: E402
import processes  # noqa: E402

MODULE = ROOT / "php-ext" / "modules" / "holdfast.so"
# Debian keeps servers where an ordinary user's path does not look.
SEARCH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"



class Pool(NamedTuple):
    """Addresses under /NAME/ go to this pool, all others to the first one."""

    name: str
    workers: int
    terminate_s: int = 0
    settings: tuple[str, ...] = ()  # lines of the pool's section
    store: str = "{dir}/store"


FPM_CONFIG = """
[global]
error_log = {dir}/fpm.log
log_level = {level}
daemonize = no
process_control_timeout = 10s
{pools}
"""

FPM_POOL = """
[{name}]
{user}
listen = {dir}/{name}.sock
listen.mode = 0666
listen.backlog = 1024
pm = static
pm.max_children = {workers}
request_terminate_timeout = {terminate}
catch_workers_output = yes
php_admin_value[error_log] = {dir}/php.log
php_admin_flag[log_errors] = on
php_flag[display_errors] = off
php_value[session.save_handler] = {handler}
php_admin_value[{where}] = {store}
php_admin_value[session.use_strict_mode] = 1
php_value[session.gc_probability] = 0
{settings}
"""

# proxy and fastcgi paths are all named, because the built-in ones belong to the system's nginx.
NGINX_CONFIG = """
{user}
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/tmp-body;
    fastcgi_temp_path {dir}/tmp-fastcgi;
    proxy_temp_path {dir}/tmp-proxy;
    scgi_temp_path {dir}/tmp-scgi;
    uwsgi_temp_path {dir}/tmp-uwsgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {dir}/site;
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param REQUEST_URI $request_uri;
        fastcgi_param SERVER_PROTOCOL $server_protocol;
        fastcgi_read_timeout 60s;
        location ~ \\.php$ {{ fastcgi_pass unix:{dir}/{first}.sock; }}
        # The first pattern that matches wins: ^~ keeps the one above away from these.
{locations}
    }}
}}
"""
LOCATION = "        location ^~ /{name}/ {{ fastcgi_pass unix:{dir}/{name}.sock; }}"


def find(*names: str) -> str:
    for name in names:
        path = shutil.which(name, path=SEARCH)
        if path:
            return path
    sys.exit(f"fpm tests: {' or '.join(names)} was not found; 'make test' installs it")


def php_version() -> str:
    config = os.environ.get("PHP_CONFIG", "php-config")
    answer = subprocess.run([config, "--version"], capture_output=True, text=True, check=True, timeout=10)
    return ".".join(answer.stdout.split(".")[:2])


# What pages need that call C functions; php-fpm reads no php.ini here.
FFI = ("extension=ffi", "ffi.enable=1")


def has_ffi() -> bool:
    check = [find("php"), "-n", "-d", "extension=ffi", "-r", 'exit(extension_loaded("FFI") ? 0 : 1);']
    return subprocess.run(check, capture_output=True, timeout=20).returncode == 0


class Site:
    """nginx in front of php-fpm pools that share one store. `level` is php-fpm's own log level."""

    def __init__(self, handler: str, pools: list[Pool], module: Path = MODULE,
                 options: tuple[str, ...] = (), level: str = "notice"):
        self.handler, self.pools, self._module, self._options = handler, pools, module, options
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-fpm-"))
        self.port = processes.free_port()
        self.php_log, self.fpm_log = self.dir / "php.log", self.dir / "fpm.log"
        self._fpm: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None
        self._lay_out(level)

    def _lay_out(self, level: str) -> None:
        user = worker_user()
        # The workers pass through this directory, but only what is theirs is readable to them.
        self.dir.chmod(0o711)
        shutil.copytree(HERE / "site", self.dir / "site")
        (self.dir / "store").mkdir(mode=0o700)
        self.php_log.touch()
        if user:
            os.chown(self.dir / "store", user.pw_uid, user.pw_gid)
            os.chown(self.php_log, user.pw_uid, user.pw_gid)
        # A clone below a home directory may be closed to the workers' user: they get a copy.
        for path in (self.dir / "site").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (self.dir / "site").chmod(0o755)

        group = _group_name(user.pw_gid) if user else ""
        common = {
            "dir": self.dir,
            "handler": self.handler,
            "where": "holdfast.store" if self.handler == "holdfast" else "session.save_path",
            "user": f"user = {user.pw_name}\ngroup = {group}" if user else "",
        }
        pools, locations = "", []
        for pool in self.pools:
            # Each pool serves the same pages, under its own path.
            (self.dir / "site" / pool.name).symlink_to(".")
            pools += FPM_POOL.format(name=pool.name, workers=pool.workers, terminate=f"{pool.terminate_s}s",
                                     settings="\n".join(pool.settings), store=pool.store.format(dir=self.dir),
                                     **common)
            locations.append(LOCATION.format(name=pool.name, dir=self.dir))
        (self.dir / "fpm.conf").write_text(FPM_CONFIG.format(dir=self.dir, level=level, pools=pools))
        (self.dir / "nginx.conf").write_text(NGINX_CONFIG.format(
            dir=self.dir, port=self.port, user=f"user {user.pw_name} {group};" if user else "",
            first=self.pools[0].name, locations="\n".join(locations)))

    def start(self) -> None:
        self.start_fpm()
        with open(self.dir / "nginx.out", "ab") as out:
            self._nginx = subprocess.Popen(
                [find("nginx"), "-p", str(self.dir), "-e", str(self.dir / "nginx.log"),
                 "-c", str(self.dir / "nginx.conf"), "-g", "daemon off;"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )
        processes.wait_until(self._answers, 15, "nginx and php-fpm answer")

    def start_fpm(self) -> None:
        # -n: the same on every machine, whatever its php.ini holds.
        command = [find(f"php-fpm{php_version()}", "php-fpm"), "-n", "-F", "-y", str(self.dir / "fpm.conf")]
        if self.handler == "holdfast":
            command += ["-d", f"extension={self._module}"]
        for option in self._options:
            command += ["-d", option]
        with open(self.dir / "fpm.out", "ab") as out:
            self._fpm = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        processes.wait_until(lambda: self._fpm_ended() or self._all_workers(), 15, "php-fpm has all its workers")
        if self._fpm_ended():
            raise AssertionError(f"php-fpm ended at once:\n{processes.tail(self.dir / 'fpm.out')}")

    def workers(self, pool: str = "") -> list[processes.Seen]:
        """The workers of all pools, or of one: php-fpm writes the pool's name into the command line."""
        assert self._fpm is not None
        mark = f"pool {pool}".encode()
        return [worker for worker in processes.children(self._fpm.pid) if mark in _command_line(worker.pid)]

    def kill_fpm(self) -> int:
        """SIGKILL to the master and every worker; returns how many there were."""
        assert self._fpm is not None
        victims = processes.family(self._fpm.pid)
        # Master first: it would replace the others. Its workers are known by now, and are ended too.
        killed = processes.send(victims, signal.SIGKILL)
        processes.wait_gone(victims)
        self._fpm.wait(timeout=5)
        return killed

    def reload_fpm(self) -> None:
        """The graceful reload that `systemctl reload php-fpm` asks for."""
        assert self._fpm is not None
        self._fpm.send_signal(signal.SIGUSR2)

    def stop(self) -> None:
        for server, polite in ((self._nginx, signal.SIGTERM), (self._fpm, signal.SIGTERM)):
            if server is not None and server.poll() is None:
                processes.end(processes.family(server.pid), polite)
                server.wait(timeout=5)

    def logs(self) -> str:
        names = ("php.log", "fpm.log", "nginx.log", "nginx.out")
        return "\n".join(f"--- {name}\n{processes.tail(self.dir / name)}" for name in names)

    def remove(self) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)

    # Requests, as the tests speak of them.

    def get(self, path: str, cookie: str = "", seconds: float = 30.0) -> client.Answer:
        return client.one(self.port, client.get(path, cookie), seconds)

    def new_session(self, path: str = "/count.php") -> str:
        """A visitor without a cookie asks for a page; the cookie that comes back is the session."""
        answer = self.get(path)
        if answer.status != 200:
            raise AssertionError(f"the first visit was answered with {answer}")
        return answer.cookie()

    def _fpm_ended(self) -> bool:
        return self._fpm is not None and self._fpm.poll() is not None

    def _all_workers(self) -> bool:
        return len(self.workers()) == sum(pool.workers for pool in self.pools)

    def _answers(self) -> bool:
        assert self._nginx is not None
        if self._nginx.poll() is not None:
            raise AssertionError(f"nginx ended at once:\n{processes.tail(self.dir / 'nginx.out')}")
        try:
            return self.get("/ping.php", seconds=2).status == 200
        except (OSError, AssertionError):
            time.sleep(0.05)
            return False


def worker_user() -> pwd.struct_passwd | None:
    """Who the workers are: an unprivileged user when the tests run as root, as in earnest."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("www-data" if _user_exists("www-data") else "nobody")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_name(gid: int) -> str:
    return grp.getgrgid(gid).gr_name
