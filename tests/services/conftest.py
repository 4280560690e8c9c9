"""Where stores and ledgers are kept in tests: a folder and an S3 server over HTTP; SQLite and Postgres."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from services.ledger.database import Ledger
from services.settings import settings
from tests.support import postgres
from tests.support.s3 import BUCKET, S3Server


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """What a test says in the environment is forgotten with it: the settings are read once for a process."""
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server, one for all tests."""
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with the environment that leads to it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A location of its own on the server."""
    return f"s3://{BUCKET}/{uuid4().hex}/store"


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A location where nothing is yet, of each sort."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("bucket")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A Postgres server; tests that need it are skipped where there can be none."""
    with postgres.server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no ledger is yet."""
    if request.param == "postgres":
        return request.getfixturevalue("server").new_url()
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(url)
    yield opened
    opened.close()
