"""One store, and the client over it: by its files, and by a server that runs in a thread."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from services.api.application import create_application
from services.client import Basin
from services.ledger import Ledger
from services.tokens import create
from tests.services.api.live import live, settings_of
from tests.services.client.stored_sweep import fill


class Served(NamedTuple):
    """A server and its store."""

    url: str
    token: str
    store: Path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose cluster never answers, so that what is submitted waits."""
    folder = tmp_path_factory.mktemp("client")
    settings = settings_of(folder, authentication=True, dashboard="http://127.0.0.1:9")
    fill(folder / "store")
    with closing(Ledger(settings.ledger, create=True)) as ledger:
        token = create(ledger, "tests", "admin", datetime.now(UTC)).secret
    with live(create_application(settings)) as url:
        yield Served(url, token, folder / "store")


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
