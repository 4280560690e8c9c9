"""Files of a sweep's rows, read back."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.errors import ServiceError
from services.exports.tables import export_tables
from services.store.queries import CONTEXT
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.sweeps import Member, put_sweep

ASKED = [factories.request(seed, split=seed % 2) for seed in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three finished runs, one that failed, and one of another sweep."""
    members = [Member(each, factories.result(each), varied={"inference.learning_rate": 0.1}) for each in ASKED[:3]]
    put_sweep(tmp_path / "store", "other", [Member(lost := factories.request(9), factories.result(lost))])
    return put_sweep(tmp_path / "store", "s", [*members, Member(ASKED[3], factories.failed(ASKED[3]))])


def test_parquet_holds_every_row_of_the_sweeps_runs_as_it_is(store: Store, tmp_path: Path) -> None:
    written = list(export_tables(store, "s", tmp_path / "new" / "tables", "parquet"))
    assert sorted(path.name for path in written) == sorted(f"{table}.parquet" for table in SCHEMAS)
    keys = [each.run_key for each in ASKED]
    for path in written:
        found, schema = pl.read_parquet(path), SCHEMAS[path.stem]
        kept = store.scan(path.stem)
        kept = kept.filter(sweep="s") if path.stem == "comparisons" else kept.filter(pl.col("run_key").is_in(keys))
        order = list(schema)[:2]
        assert_frame_equal(found.select(list(schema)).sort(order), kept.collect().sort(order), check_row_order=False)
        if path.stem not in ("runs", "comparisons"):
            assert set(CONTEXT) <= set(found.columns)
    runs = pl.read_parquet(tmp_path / "new" / "tables" / "runs.parquet")
    assert runs["varied"].to_list().count('{"inference.learning_rate": 0.1}') == 3
    assert sorted(runs["status"]) == ["failed", "finished", "finished", "finished"]


def test_csv_holds_the_same_numbers(store: Store, tmp_path: Path) -> None:
    list(export_tables(store, "s", tmp_path / "csv", "csv"))
    list(export_tables(store, "s", tmp_path / "parquet", "parquet"))
    for table in ("metrics", "curves", "geometry", "pointwise"):
        exact = pl.read_parquet(tmp_path / "parquet" / f"{table}.parquet")
        assert len(exact) > 0
        found = pl.read_csv(tmp_path / "csv" / f"{table}.csv", schema=exact.schema)
        assert_frame_equal(found, exact, check_exact=True)
    runs = pl.read_csv(tmp_path / "csv" / "runs.csv")
    assert runs.filter(status="finished")["warnings"].unique().to_list() == ["Vorsicht: β ≠ 0; "]


def test_no_text_of_an_export_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    with writing(tmp_path / "store") as writer:
        record = factories.record(factories.request(1))
        writer.put(dataclasses.replace(record, dataset="=cmd|' /C calc'!A0"))
        member = {"run_key": record.request.run_key, "varied": "{}"}
        writer.put_sweep("s", "{}", pl.DataFrame([member]))
    list(export_tables(Store(tmp_path / "store"), "s", tmp_path / "csv", "csv"))
    for table in ("runs", "metrics"):
        assert pl.read_csv(tmp_path / "csv" / f"{table}.csv")["dataset"].unique().to_list() == ["'=cmd|' /C calc'!A0"]


def test_an_export_takes_the_place_of_an_older_one(store: Store, tmp_path: Path) -> None:
    list(export_tables(store, "s", tmp_path / "t", "parquet"))
    with writing(tmp_path / "store") as writer:
        writer.put(factories.record(ASKED[3]))
    list(export_tables(Store(tmp_path / "store"), "s", tmp_path / "t", "parquet"))
    assert pl.read_parquet(tmp_path / "t" / "runs.parquet")["status"].to_list() == ["finished"] * 4
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == sorted(f"{table}.parquet" for table in SCHEMAS)


def test_a_folder_that_cannot_be_is_told_of(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match=r"cannot make the folder .*file"):
        list(export_tables(store, "s", tmp_path / "file", "csv"))
    with pytest.raises(ServiceError, match="no sweep 't'"):
        list(export_tables(store, "t", tmp_path / "t", "csv"))
    assert not (tmp_path / "t").exists()
