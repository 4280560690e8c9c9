"""Ledgers, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ledger import Ledger
from tests import postgres


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
