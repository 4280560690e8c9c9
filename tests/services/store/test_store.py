"""One writer after the other, on a folder and on S3."""

import dataclasses
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from models.spec.settings import SCHEMA_VERSION
from services import integrity
from services.errors import StoreError
from services.store import bundles, commits
from services.store import writer as writer_module
from services.store.archive import object_name
from services.store.location import exists
from services.store.objects import Storage
from services.store.rows import join, rows_of_result
from services.store.schemas import RUN_TABLES, SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.stores import assert_holds_exactly, cut, flip


def version(location: str, table: str) -> int:
    uri, options = Storage(location).table(table)
    return DeltaTable(uri, storage_options=options).version()


def put_all(location: str | Path, records: list) -> None:
    with writing(location) as writer:
        for record in records:
            assert writer.put(record)


def test_what_is_put_is_stored_once_and_complete(location: str) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    diverged, sampled = factories.request(8), factories.request(9, bayesian=True)
    records.append(factories.record(diverged, factories.diverged(diverged)))
    records.append(factories.record(sampled, factories.sampled(sampled)))
    assert not exists(location)
    with writing(location) as writer:
        assert [writer.put(r) for r in records] == [True] * 5
        assert [writer.put(r) for r in records] == [False] * 5
    assert exists(location)
    with writing(location) as writer:
        assert [writer.put(r) for r in records] == [False] * 5
    assert_holds_exactly(location, records)
    keys = [r.request.run_key for r in records]
    assert Store(location).stored([*keys, "unknown"]) == set(keys)
    assert Store(location).bundle(keys[0]).manifest.seed == 0


def test_a_new_store_has_every_table_with_its_schema(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    for table, schema in SCHEMAS.items():
        assert Store(tmp_path).scan(table).collect_schema() == schema
    assert json.loads(Storage(tmp_path).read("", "store.json")) == {"schema_version": SCHEMA_VERSION}


@pytest.mark.parametrize("name", ["with blank", "ümlaut/#1"])
def test_a_store_may_be_in_a_folder_of_an_odd_name(tmp_path: Path, name: str) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(2)]
    for record in records:
        put_all(tmp_path / name, [record])
    assert_holds_exactly(tmp_path / name, records)


def test_a_full_batch_is_committed_without_being_asked_and_in_one_commit(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "BATCH", 3)
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", float("inf"))
    with writing(location) as writer:
        for seed in range(3):
            assert Store(location).scan("runs").collect().is_empty()
            writer.put(factories.record(factories.request(seed)))
        assert len(Store(location).scan("runs").collect()) == 3
    assert {version(location, table) for table in RUN_TABLES} == {1}


def test_runs_that_wait_are_committed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", 0.0)
    with writing(tmp_path) as writer:
        writer.put(factories.record(factories.request()))
        assert len(Store(tmp_path).scan("runs").collect()) == 1


def test_an_interrupt_keeps_every_run_that_was_put(tmp_path: Path) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]

    def put_and_interrupt() -> None:
        with writing(tmp_path) as writer:
            for record in records:
                writer.put(record)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_and_interrupt()
    assert_holds_exactly(tmp_path, records)


def test_a_failure_is_tried_again_and_a_later_success_replaces_it(tmp_path: Path) -> None:
    request = factories.request()
    failures = [factories.record(request, factories.failed(request, f"lost {n}"), attempt=n) for n in range(2)]
    success = factories.record(request, attempt=2)
    for record in (*failures, success):
        with writing(tmp_path) as writer:
            assert writer.stored([request.run_key]) == set()
            assert writer.put(dataclasses.replace(record, attempt=0))
    with writing(tmp_path) as writer:
        assert not writer.put(failures[0])
    assert_holds_exactly(tmp_path, [*failures, success])
    found = Store(tmp_path)
    assert found.stored([request.run_key]) == {request.run_key}
    assert found.runs().select("status", "attempt").collect().rows() == [("finished", 2)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("table", RUN_TABLES)
def test_a_commit_that_broke_off_between_tables_is_completed_without_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, moment: str
) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    append = commits.Committer._append

    def interrupted(self, name, rows, known) -> None:
        if moment == "after":
            append(self, name, rows, known)
        if name == table:
            raise KeyboardInterrupt
        if moment == "before":
            append(self, name, rows, known)

    with writing(tmp_path) as writer:
        for record in records:
            writer.put(record)
        monkeypatch.setattr(commits.Committer, "_append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
        monkeypatch.undo()
    assert_holds_exactly(tmp_path, records)


def test_many_commits_are_compacted_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMPACT_EVERY", 5)
    monkeypatch.setattr(writer_module, "BATCH", 1)
    records = [factories.record(factories.request(seed)) for seed in range(7)]
    put_all(tmp_path, records)
    assert len(DeltaTable(Storage(tmp_path).table("runs")[0]).file_uris()) < 5
    assert_holds_exactly(tmp_path, records)


def test_a_writer_whose_clock_is_wrong_leaves_the_log_and_the_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "COMPACT_EVERY", 5)
    monkeypatch.setattr(writer_module, "BATCH", 1)
    monkeypatch.setattr(Storage, "clock", lambda self: datetime.now(UTC) - timedelta(days=40))
    put_all(tmp_path, [factories.record(factories.request(seed)) for seed in range(12)])
    found = set(Storage(tmp_path).names("tables/runs/_delta_log"))
    assert {f"{version:020}.json" for version in range(13)} | {f"{9:020}.checkpoint.parquet"} <= found
    assert len(DeltaTable(Storage(tmp_path).table("runs")[0]).file_uris()) == 12


def test_a_writer_that_waited_for_long_goes_on_where_the_log_is_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(14)]
    with writing(tmp_path) as waiting:
        waiting.put(records[0])
        waiting.commit()
        monkeypatch.setattr(writer_module, "BATCH", 1)
        put_all(tmp_path, records[1:13])
        for version in range(10):  # another cleaned up what is before the checkpoint
            for table in RUN_TABLES:
                Storage(tmp_path).remove(f"tables/{table}/_delta_log", f"{version:020}.json")
        monkeypatch.setattr(commits, "FRESH_SECONDS", -1.0)
        waiting.put(records[13])
    assert_holds_exactly(tmp_path, records)


def test_a_commit_is_flushed_to_the_disk_with_its_files_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[str] = set()
    with writing(tmp_path) as writer:
        writer.put(factories.record(factories.request(1)))
        before = {path for path in (tmp_path / "tables").rglob("*") if path.is_file()}
        fsync = os.fsync
        monkeypatch.setattr(
            os, "fsync", lambda fd: (flushed.add(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd))
        )
    new = {path for path in (tmp_path / "tables").rglob("*") if path.is_file()} - before
    assert len(new) == 12
    assert {str(place) for path in new for place in (path, path.parent)} <= flushed


def test_a_sweep_is_kept_as_it_was_asked_for_last(location: str) -> None:
    members = pl.DataFrame({"run_key": ["a", "b"]})
    with writing(location) as writer:
        writer.put_sweep("first", "{}", members.clear())
        writer.put_sweep("first", '{"n": 2}', members)
        writer.put_sweep("second", "{}", members)
        writer.storage.replace("sweeps", "first.state.json", b"{}")
    assert Store(location).sweeps() == ["first", "second"]
    definition, found = Store(location).sweep("first")
    assert definition == '{"n": 2}'
    assert_frame_equal(found, members)
    with pytest.raises(StoreError, match="did you mean 'first'"):
        Store(location).sweep("fist")


def test_checkpoints_come_back_until_the_run_is_stored(location: str) -> None:
    record = factories.record(factories.request())
    key = record.request.run_key
    arrays = {"draws": np.arange(6.0).reshape(2, 3), "key": np.array([1, 2], np.uint32)}
    with writing(location) as writer:
        assert writer.load_checkpoint(key) is None
        writer.save_checkpoint(key, {"draws": np.zeros(1)})
        writer.save_checkpoint(key, arrays)
    with writing(location) as writer:
        assert writer.checkpoints() == {key}
        found = writer.load_checkpoint(key)
        assert found is not None
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        writer.put(record)
        assert writer.checkpoints() == set()
        assert writer.load_checkpoint(key) is None
    assert Storage(location).names("checkpoints") == []


@pytest.mark.parametrize("harm", [flip, cut])
def test_a_checkpoint_that_is_damaged_is_as_none(tmp_path: Path, harm) -> None:
    with writing(tmp_path) as writer:
        writer.save_checkpoint("k", {"a": np.zeros(100)})
        harm(writer.storage, "checkpoints", "k.npz")
        assert writer.load_checkpoint("k") is None


def test_the_checkpoint_of_a_run_that_is_stored_goes_when_the_store_is_opened(tmp_path: Path) -> None:
    record = factories.record(factories.request())
    with writing(tmp_path) as late, writing(tmp_path) as quick:
        quick.put(record)
        late.save_checkpoint(record.request.run_key, {"a": np.zeros(1)})
    (problem,) = integrity.check(Storage(tmp_path))
    assert problem.kind == "leftover"
    with writing(tmp_path):
        pass
    assert_holds_exactly(tmp_path, [record])


# --- mending ---------------------------------------------------------------------------------------------------------


def some_runs() -> list:
    failed = factories.request(9)
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    return [*records, factories.record(failed, factories.failed(failed))]


@pytest.mark.parametrize("lost", [*RUN_TABLES, "measurements", "comparisons"])
def test_a_table_that_was_deleted_is_made_again_from_the_bundles(tmp_path: Path, lost: str) -> None:
    put_all(tmp_path, records := some_runs())
    Storage(tmp_path).remove_folder("tables", lost)
    assert [(p.kind, p.name) for p in integrity.check(Storage(tmp_path))] == [("table missing or damaged", lost)]
    for _ in range(2):  # nothing is made in its place meanwhile
        with (
            pytest.raises(StoreError, match=rf"{lost} is missing: `basin store rebuild` makes it again"),
            writing(tmp_path),
        ):
            pass
    with writing(tmp_path, rebuilding=True) as writer:
        assert writer.rebuild() == 4
    assert_holds_exactly(tmp_path, records)


@pytest.mark.parametrize(
    ("location", "harm"), [("local", "log"), ("local", "rows"), ("s3", "rows"), ("local", "all")], indirect=["location"]
)
def test_tables_that_are_damaged_are_made_again(location: str, harm: str) -> None:
    put_all(location, records := some_runs())
    storage = Storage(location)
    if harm == "log":
        storage.replace("tables/metrics/_delta_log", f"{0:020}.json", b"no JSON")
    elif harm == "rows":
        for name in storage.names("tables/metrics"):
            storage.remove("tables/metrics", name)
    else:
        storage.remove_folder("tables")
    problems = integrity.check(storage)
    assert {p.name for p in problems if p.kind == "table missing or damaged"} == (
        set(SCHEMAS) if harm == "all" else {"metrics"}
    )
    with writing(location, rebuilding=True) as writer:
        assert writer.rebuild() == 4
    assert_holds_exactly(location, records)


@pytest.mark.parametrize(("location", "harm"), [("local", flip), ("local", cut), ("s3", flip)], indirect=["location"])
def test_a_bundle_that_was_harmed_before_its_commit_is_set_aside_and_its_run_fitted_again(location: str, harm) -> None:
    records = some_runs()
    key = records[1].request.run_key
    with writing(location):
        pass
    for record in records:  # as a writer that is killed before its commit, in the middle of it for one table
        rows = join(rows_of_result(record.result))
        bundles.write(Storage(location), bundles.manifest_of(record), record.result, rows)
    commits.Committer(Storage(location)).append_missing({"metrics": factories.rows_of(records[1])["metrics"]})
    harm(Storage(location), "bundles", object_name(key))
    with writing(location) as writer:
        assert writer.set_aside == [key]
        assert Storage(location).names("damaged") == [object_name(key)]
        assert writer.stored(r.request.run_key for r in records) == {
            r.request.run_key for r in (records[0], records[2])
        }
        assert writer.put(records[1])
    assert_holds_exactly(location, records)


def test_a_bundle_that_was_harmed_later_is_found_and_its_run_fitted_again(location: str) -> None:
    put_all(location, records := some_runs())
    key = records[1].request.run_key
    flip(Storage(location), "bundles", object_name(key))
    with pytest.raises(StoreError, match="`basin store rebuild` sets it aside"):
        Store(location).bundle(key)
    (problem,) = integrity.check(Storage(location))
    assert (problem.kind, problem.name, problem.remedy) == ("bundle damaged", key, "basin store rebuild")
    with writing(location) as writer:
        assert writer.rebuild() == 3
        assert writer.set_aside == [key]
        assert writer.put(records[1])
    assert_holds_exactly(location, records)


def test_rebuilding_keeps_comparisons(tmp_path: Path) -> None:
    row = dict.fromkeys(SCHEMAS["comparisons"]) | {"comparison_key": "k", "difference": 0.5}
    rows = pl.DataFrame([row], schema=SCHEMAS["comparisons"])
    with writing(tmp_path) as writer:
        writer.put_comparisons(rows)
        writer.put_comparisons(rows)
        writer.rebuild()
    assert_frame_equal(Store(tmp_path).scan("comparisons").collect(), rows)


# --- refusals --------------------------------------------------------------------------------------------------------


def refusal(location: str | Path) -> str:
    with pytest.raises(StoreError) as fault, writing(location):
        pass
    return str(fault.value)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (path := tmp_path / "s").write_text("")
    assert f"{path} is a file" in refusal(path)
    assert "cannot write" in refusal(path / "below")


def test_a_place_of_other_things_is_no_store(location: str) -> None:
    other = Storage(location)
    other.make()
    other.create("", "thesis.tex", b"")
    assert "holds other files (thesis.tex)" in refusal(location)
    assert other.top() == {"thesis.tex"}


def test_reading_where_there_is_no_store_says_how_to_make_one(location: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="`basin compare` makes one"):
        Store(location)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("location", "text", "message"),
    [
        ("local", '{"schema_version": 999}', "has schema version 999, and this Basin reads"),
        ("s3", '{"schema_version": 999}', "has schema version 999, and this Basin reads"),
        ("local", "{}", "does not say a schema version"),
        ("local", "[]", "does not say a schema version"),
        ("local", "", "does not say a schema version"),
    ],
    indirect=["location"],
)
def test_a_store_of_another_version_is_refused_and_left_alone(location: str, text: str, message: str) -> None:
    other = Storage(location)
    other.make()
    other.create("", "store.json", text.encode())
    assert message in refusal(location)
    with pytest.raises(StoreError, match=message):
        Store(location)
    assert other.top() == {"store.json"}
    assert other.read("", "store.json") == text.encode()


def test_a_bucket_that_is_not_there_is_said_to_be_missing_by_who_reads_and_who_writes(s3) -> None:
    assert "The specified bucket does not exist" in refusal("s3://nobody/prefix")
    with pytest.raises(StoreError, match="The specified bucket does not exist"):
        Store("s3://nobody/prefix")
