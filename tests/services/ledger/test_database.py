"""The ledger itself: made once, by many at once, and refused with what to do."""

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import make_url

from services.errors import LedgerError
from services.ledger.database import Ledger, default_url, insert_new
from services.ledger.tables import VERSION, Clock, definitions, ledgers, schedulers, schedules
from services.scheduling.schedules import all_schedules
from tests.support import scheduled


def identity_of(url: str) -> str:
    ledger = Ledger(url)
    ledger.close()
    return ledger.identity


def test_a_ledger_is_made_once_by_whoever_comes_first(url: str):
    with get_context("spawn").Pool(4) as pool:
        found = pool.map(identity_of, [url] * 8)
    assert len(set(found)) == 1
    assert identity_of(url) == found[0]


def test_what_one_commits_another_reads_at_once(url: str):
    first, second = Ledger(url), Ledger(url)
    scheduled.added(first)
    assert [schedule.name for schedule in all_schedules(second)] == ["tiny"]
    first.close()
    second.close()


def test_a_failed_transaction_leaves_nothing(ledger: Ledger):
    row = {"holder": "a", "seen_at": 0.0}

    def fail() -> None:
        with ledger.transaction() as connection:
            connection.execute(insert(schedulers).values(**row))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with ledger.transaction() as connection:
        assert insert_new(connection, schedulers, [row, row]) == 1
        assert insert_new(connection, schedulers, [row]) == 0


def test_moments_come_back_in_utc_and_the_clock_is_the_wall_clock(ledger: Ledger):
    elsewhere = datetime(2026, 7, 1, 2, 30, 0, 250_000, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    scheduled.added(ledger, now=elsewhere)
    with ledger.reading() as connection:
        stored = connection.execute(select(schedules.c.planned_through)).scalar_one()
        clock = connection.execute(select(Clock())).scalar_one()
    assert (stored, stored.tzinfo) == (elsewhere, UTC)
    assert abs(clock - datetime.now(UTC).timestamp()) < 5


def test_a_ledger_that_is_missing_is_made_only_where_that_was_asked_for(url: str):
    with pytest.raises(LedgerError, match=r"no ledger at .*: `basin schedule add` makes one"):
        Ledger(url, create=False)
    Ledger(url).close()
    Ledger(url, create=False).close()


def test_another_version_is_refused(url: str):
    ledger = Ledger(url)
    with ledger.transaction() as connection:
        connection.execute(update(ledgers).values(version=VERSION + 1))
    ledger.close()
    with pytest.raises(LedgerError, match=f"version {VERSION + 1}, and this Basin reads {VERSION}: .*--ledger"):
        Ledger(url)


def test_rows_that_others_point_to_cannot_go(ledger: Ledger):
    scheduled.added(ledger)
    with pytest.raises(LedgerError, match="cannot be used"), ledger.transaction() as connection:
        connection.execute(delete(definitions))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "not understood: expected sqlite:////whole/path/ledger.sqlite or postgresql\\+psycopg://"),
        ("mysql://host/x", "not understood"),
        ("nosuch://host/x", "not understood"),
        ("postgresql+psycopg2://u:secret@host/x", "not understood|'postgresql\\+psycopg2' is not known"),
        (
            "postgresql+psycopg://u:secret@127.0.0.1:1/x",
            "postgresql\\+psycopg://u:\\*{3}@127.0.0.1:1/x cannot be used",
        ),
        ("postgresql://u:secret@127.0.0.1:1/x", "postgresql\\+psycopg://u:\\*{3}@127.0.0.1:1/x cannot be used"),
        ("sqlite://", "must outlive its process"),
        ("sqlite:///:memory:", "must outlive its process"),
        ("sqlite:////proc/ledger/l.sqlite", "cannot make the ledger's folder /proc/ledger: .*BASIN_LEDGER"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, expected: str):
    with pytest.raises(LedgerError, match=expected) as refused:
        Ledger(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "l.sqlite").write_text("nothing of the kind " * 100)
    with pytest.raises(LedgerError, match=r"l\.sqlite cannot be used: file is not a database"):
        Ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")


def test_a_busy_ledger_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.ledger.database.BUSY_SECONDS", 0.05)
    path = tmp_path / "l.sqlite"
    ledger = Ledger(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(LedgerError, match=r"l\.sqlite cannot be used: database is locked"):
        scheduled.added(ledger)
    assert all_schedules(ledger) == []  # readers wait for nobody
    other.close()
    scheduled.added(ledger)
    ledger.close()


def test_the_default_is_in_the_stores_folder_or_else_in_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert default_url(Path("store"), Path("/cache")) == f"sqlite:///{tmp_path}/store/ledger/ledger.sqlite"
    assert make_url(default_url(Path("/a b?c=%20#d"), Path())).database == "/a b?c=%20#d/ledger/ledger.sqlite"
    assert default_url("s3://bucket/prefix", Path("/cache")) == "sqlite:////cache/ledger/ledger.sqlite"
