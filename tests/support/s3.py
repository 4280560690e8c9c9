"""A real S3 server over HTTP: moto's, in a process of its own, so that it can be frozen and cut off.

It keeps its objects in memory, so it is never killed: `away` lets nothing through to it instead.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

BUCKET = "basin"


class S3Server:
    """The server, and a door before it that can be closed.

    Attributes:
        environment: how a client finds it.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3"], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self._door = _Door(self._port)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._door.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "basin",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        self.send("PUT", f"/{BUCKET}")

    def send(self, method: str, path: str, data: bytes = b"") -> bytes:
        """Send a request past the door, without credentials."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data=data or None, method=method)
        asked.add_header("Content-Type", "text/plain")
        with urllib.request.urlopen(asked) as answer:
            return answer.read()

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self.send("GET", f"/{BUCKET}/{key}")

    def put(self, key: str, data: bytes) -> None:
        """Put an object."""
        self.send("PUT", f"/{BUCKET}/{key}", data)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut all connections, and accept none."""
        self._door.close()
        try:
            yield
        finally:
            self._door.open()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server's process stands still: it accepts connections, and answers none."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Credentials are checked, and nobody has any."""
        self.send("POST", "/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self.send("POST", "/moto-api/reset-auth", b"inf")

    def stop(self) -> None:
        self._door.close()
        self._process.kill()
        self._process.wait()
        assert not psutil.pid_exists(self._process.pid)
        if self._process.stdout:
            self._process.stdout.close()


class _Door:
    """Hands bytes on to a port of this machine, and can be shut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._through: set[socket.socket] = set()
        self.open()

    def open(self) -> None:
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._through):
            _shut(end)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._hand_on, args=(source, sink), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        self._through.add(source)
        try:
            while some := source.recv(65536):
                sink.sendall(some)
        except OSError:
            pass
        finally:
            _shut(sink)
            self._through.discard(source)
            source.close()


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def serve() -> None:
    """Serve until killed, one request at a time: moto checks a condition and then puts, and S3 does both at once."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def in_turn(environ, start_response):
        with turn:
            return list(application(environ, start_response))

    class Silent(MotoRequestHandler):
        def log_request(self, *args) -> None: ...

    server = make_server("127.0.0.1", 0, in_turn, threaded=True, request_handler=Silent)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve()
