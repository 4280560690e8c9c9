"""One store, and the client over it: by its files, and by a server that runs in a thread."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn

from services.client import Basin
from services.ledger import Ledger
from services.serving import Limits, Serving
from services.tokens import create
from tests.services.client.stored_sweep import fill
from tests.services.waiting import wait_until


class Served(NamedTuple):
    """A server and its store."""

    url: str
    token: str
    store: Path


@contextmanager
def serving(settings: Serving) -> Iterator[str]:
    """A server of the real application on a port of its own; yields its URL."""
    from services.api.application import create_application

    app = create_application(settings)
    from services.api import schedules, sweeps  # TEMP
    for router in (sweeps.router, schedules.router):
        if not any(getattr(r, "path", "").startswith(router.prefix + "/{name}/stop") for r in app.routes): app.include_router(router)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def settings_of(store: Path, **changes) -> Serving:
    """Settings of a server that has a cluster by name, which never answers."""
    ledger = f"sqlite:///{store / 'ledger' / 'ledger.sqlite'}"
    limits = Limits(requests_per_second=1000.0, burst=1000)
    return Serving(
        **{"store": str(store), "cache": store.parent / "cache", "ledger": ledger, "limits": limits} | changes
    )


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = tmp_path_factory.mktemp("client") / "store"
    fill(store)
    settings = settings_of(store, dashboard="http://127.0.0.1:9")
    with closing(Ledger(settings.ledger, create=True)) as ledger:
        token = create(ledger, "tests", "admin", datetime.now(UTC)).secret
    with serving(settings) as url:
        yield Served(url, token, store)


@pytest.fixture(params=["local", "remote"])
def b(request: pytest.FixtureRequest, served: Served) -> Iterator[Basin]:
    """The client over the store, either way."""
    location = served.store if request.param == "local" else served.url
    with Basin(location, token=served.token) as basin:
        yield basin


@pytest.fixture
def both(served: Served) -> Iterator[tuple[Basin, Basin]]:
    """The client over the store, both ways."""
    with Basin(served.store) as local, Basin(served.url, token=served.token) as remote:
        yield local, remote
