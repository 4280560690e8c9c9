"""A store whose tables stay open, against one that opens them each time."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.store import reader
from services.store.commits import Committer
from services.store.reader import Reader
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories


def assert_same(reading: Store, location: str | Path) -> None:
    plain = Store(location)
    for table in SCHEMAS:
        assert_frame_equal(reading.scan(table).collect(), plain.scan(table).collect(), check_row_order=False)
    assert_frame_equal(reading.runs().collect().sort("run_key"), plain.runs().collect().sort("run_key"))


@pytest.mark.parametrize("held", [0, 200_000])
def test_what_is_committed_is_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(reader, "HELD_RUNS", held)
    lost = factories.request(7)
    with writing(tmp_path) as writer:
        reading = Reader(tmp_path)
        assert_same(reading, tmp_path)
        versions = [reading.version("runs")]
        for seed in range(3):
            writer.put(factories.record(factories.request(seed)))
            writer.commit()
            versions.append(reading.version("runs"))
            assert_same(reading, tmp_path)
        for value in (factories.failed(lost), factories.failed(lost), factories.diverged(lost)):
            writer.put(factories.record(lost, value))
            writer.commit()
            assert_same(reading, tmp_path)
    assert len(set(versions)) == 4
    assert reading.version("metrics") == reading.version("metrics")


def test_rows_that_are_deleted_or_moved_to_other_files_are_seen(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        for seed in range(3):
            writer.put(factories.record(factories.request(seed)))
            writer.commit()
        reading = Reader(tmp_path)
        assert len(reading.runs().collect()) == 3
        committer = Committer(writer.storage)
        committer._tables["runs"].optimize.compact()
        assert_same(reading, tmp_path)
        committer.delete(factories.request(1).run_key)
        assert_same(reading, tmp_path)
    assert len(reading.runs().collect()) == 2


def test_an_unchanged_table_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(tmp_path) as writer:
        writer.put(factories.record(factories.request()))
    reading = Reader(tmp_path)
    first = reading.runs().collect()
    monkeypatch.setattr(reader.tables, "opened", lambda *_: pytest.fail("it was opened again"))
    assert_frame_equal(reading.runs().collect(), first)
    assert isinstance(reading.scan("runs"), pl.LazyFrame)


def test_a_store_on_a_server_is_read_alike(bucket: str) -> None:
    with writing(bucket) as writer:
        writer.put(factories.record(factories.request()))
    assert_same(Reader(bucket), bucket)
