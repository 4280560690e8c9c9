"""The application on a real port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from services.api.settings import Limits, Serving, serving
from services.server.application import create_application
from services.server.process import server

QUICK = Limits(requests_per_second=1e6, burst=10**6)


def settings_of(folder: Path, **stated: Any) -> Serving:
    """A server's settings: the store, the ledger and the cache are in the folder."""
    places = {"store": str(folder / "store"), "cache": folder / "cache"}
    places["ledger"] = f"sqlite:///{folder / 'ledger.sqlite'}"
    return serving(**places | {"limits": QUICK, "authentication": False} | stated)


@contextmanager
def live(application: FastAPI) -> Iterator[str]:
    """Serve until the block ends; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = server(application)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def client_of(settings: Serving, **options: Any) -> Iterator[httpx.Client]:
    """A client of a server with these settings."""
    with live(create_application(settings)) as address, httpx.Client(base_url=address, **options) as client:
        yield client
