"""One sweep in a folder and on object storage, and the client over either: itself, and by a server in a thread."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import pytest

from services.client import Basin
from services.ledger.database import Ledger
from services.ledger.tokens import create
from services.server.application import create_application
from tests.support.live import live, settings_of
from tests.support.s3 import BUCKET
from tests.support.stored_sweep import fill


class Served(NamedTuple):
    """A server and its store."""

    url: str
    token: str
    store: str
    ledger: str


@pytest.fixture(scope="module", params=["folder", "s3"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose cluster never answers, so that what is submitted waits."""
    folder = tmp_path_factory.mktemp("client")
    store = str(folder / "store")
    with pytest.MonkeyPatch.context() as environment:
        if request.param == "s3":
            store = f"s3://{BUCKET}/{uuid4().hex}/store"
            for name, value in request.getfixturevalue("s3_server").environment.items():
                environment.setenv(name, value)
        settings = settings_of(folder, store=store, authentication=True, dashboard="http://127.0.0.1:9")
        fill(store)
        with closing(Ledger(settings.ledger, create=True)) as ledger:
            token = create(ledger, "tests", "admin", datetime.now(UTC)).secret
        with live(create_application(settings)) as url:
            yield Served(url, token, store, settings.ledger)


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
