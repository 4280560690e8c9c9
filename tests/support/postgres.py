"""A Postgres server of the tests' own, on a free port, where its binaries are installed."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL

PATIENCE = 60.0


class Server:
    """A server at work. It can be killed, and started again on the same data."""

    def __init__(self, binaries: Path, folder: Path, user: str | None):
        self._binaries, self._folder, self._user = binaries, folder, user
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        word = folder / "password"
        word.write_text(self._password)
        self._owned(word)
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "basin", "-A", "scram-sha-256", "--pwfile", word, "-N"],
            **self._as_user(),
            check=True,
            capture_output=True,
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._binaries / "postgres", "-D", self._folder / "data", "-p", str(self._port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"),
                ],
                **self._as_user(),
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._execute("select 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None and time.monotonic() < until, (self._folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it, and every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)
            self._process = None

    def new_url(self) -> str:
        """The URL of an empty schema, which is made faster than a database."""
        name = f"basin_{secrets.token_hex(8)}"
        self._execute(f"create schema {name}")
        return self._url("postgresql+psycopg", options=f"-csearch_path={name}")

    def _url(self, driver: str, **query: str) -> str:
        url = URL.create(driver, "basin", self._password, "127.0.0.1", self._port, "postgres", query)
        return url.render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        url = self._url("postgresql")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    def _as_user(self) -> dict:
        return {"user": self._user, "cwd": self._folder}

    def _owned(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user)


@contextmanager
def server() -> Iterator[Server]:
    """A server for as long as the block lasts; the test is skipped where there can be none."""
    binaries, user = _binaries(), _user()
    folder = Path(tempfile.mkdtemp(prefix="basin-postgres-"))  # where another user may go, unlike pytest's folders
    if user is not None:
        shutil.chown(folder, user)
    started = None
    try:
        started = Server(binaries, folder, user)
        yield started
    finally:
        if started is not None:
            started.stop()
        shutil.rmtree(folder)


def _binaries() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found := shutil.which("initdb"):
        installed.append(Path(found).resolve().parent)
    if not installed:
        pytest.skip("no Postgres is installed: `apt-get install postgresql` brings one")
    return installed[-1]


def _user() -> str | None:
    """Whose the server is: Postgres refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("Postgres refuses root, and there is no user postgres or nobody to start it as")
