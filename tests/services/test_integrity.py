"""Each harm to a store is found, named, and told apart from the others."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import write_deltalake

from services.integrity import NEXT_COMMAND, REBUILD, START_OVER, check
from services.store import bundles, commits, tables
from services.store.archive import DamagedError, object_name, pack_arrays
from services.store.objects import LEFTOVER_SECONDS, Storage
from services.store.rows import join, rows_of_result
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.stores import cut, flip

RECORDS = [factories.record(factories.request(seed)) for seed in range(3)]
KEY = RECORDS[1].request.run_key
ROWS = factories.rows_of(RECORDS[1])
MEMBERS = pl.DataFrame({"run_key": [record.request.run_key for record in RECORDS], "learner": "mlp-sgd"})


def harm_bundle(storage: Storage) -> None:
    flip(storage, "bundles", object_name(KEY))


def harm_measurement(storage: Storage) -> None:
    flip(storage, "measurements", object_name("m"))


def delete_table(storage: Storage) -> None:
    storage.remove_folder("tables", "curves")


def delete_bundle(storage: Storage) -> None:
    storage.remove("bundles", object_name(KEY))


def double_rows(storage: Storage) -> None:
    committer = commits.Committer(storage)
    committer.look()
    committer.append({"metrics": ROWS["metrics"]})


def change_every_value(storage: Storage) -> None:
    rewrite(storage, "metrics", value=pl.col("value") + 1.0)


def change_one_sign_of_zero(storage: Storage) -> None:
    of_one = pl.when(run_key=KEY, part="train").then(-0.0)
    rewrite(storage, "metrics", standard_error=of_one.otherwise("standard_error"))


def overwrite_statuses(storage: Storage) -> None:
    rewrite(storage, "runs", status=pl.when(bundle=KEY).then(pl.lit("failed")).otherwise("status"))


def damage_sweep(storage: Storage) -> None:
    flip(storage, "sweeps", "s.parquet")


def cut_sweep(storage: Storage) -> None:
    cut(storage, "sweeps", "s.parquet")


def cut_a_table(storage: Storage) -> None:
    (name,) = (name for name in storage.names("tables/curves") if name.endswith(".parquet"))
    cut(storage, "tables/curves", name)


def empty_a_table(storage: Storage) -> None:
    (name,) = (name for name in storage.names("tables/curves") if name.endswith(".parquet"))
    storage.replace("tables/curves", name, b"")


def lose_rows(storage: Storage) -> None:
    committer = commits.Committer(storage)
    committer.delete(KEY)
    committer.append_missing({table: rows for table, rows in ROWS.items() if table != "curves"})


def put_without_rows(storage: Storage) -> None:
    record = factories.record(factories.request(9))
    bundles.write(storage, bundles.manifest_of(record), record.result, join(rows_of_result(record.result)))


def leave_a_checkpoint(storage: Storage) -> None:
    storage.replace("checkpoints", f"{KEY}.npz", pack_arrays({}))


def rewrite(storage: Storage, table: str, **columns: pl.Expr) -> None:
    """Replace columns in the files of a table, as a hand or a bad disk might, without its log being told."""
    uri, _ = storage.table(table)
    rows = Store(storage.location).scan(table).collect()
    write_deltalake(uri, rows.with_columns(**columns), mode="overwrite")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    with writing(tmp_path) as writer:
        for record in RECORDS:
            writer.put(record)
        failed = factories.request(5)
        writer.put(factories.record(failed, factories.failed(failed)))
        writer.put_measurement(factories.measurement(run_key=KEY))
        writer.put_sweep("s", "{}", MEMBERS)
        writer.save_checkpoint("unfinished", {"a": np.zeros(1)})
    return Storage(tmp_path)


def test_nothing_is_wrong_with_a_whole_store(storage: Storage) -> None:
    assert check(storage) == []


@pytest.mark.parametrize(
    ("harm", "kind", "name", "remedy"),
    [
        (harm_bundle, "bundle damaged", KEY, REBUILD),
        (harm_measurement, "measurement damaged", "m", REBUILD),
        (delete_table, "table missing or damaged", "curves", REBUILD),
        (delete_bundle, "rows of nothing stored", KEY, REBUILD),
        (cut_a_table, "table missing or damaged", "curves", REBUILD),
        (empty_a_table, "table missing or damaged", "curves", REBUILD),
        (change_one_sign_of_zero, "rows changed", f"metrics: {KEY}", REBUILD),
        (overwrite_statuses, "rows changed", f"runs: {KEY}", REBUILD),
        (double_rows, "rows doubled", KEY, REBUILD),
        (lose_rows, "rows missing", KEY, REBUILD),
        (put_without_rows, "not in the tables yet", factories.request(9).run_key, NEXT_COMMAND),
        (leave_a_checkpoint, "leftover", f"checkpoints/{KEY}.npz", NEXT_COMMAND),
    ],
)
def test_what_is_wrong_is_found_and_its_remedy_helps(
    storage: Storage, harm: Callable[[Storage], None], kind: str, name: str, remedy: str
) -> None:
    harm(storage)
    (problem,) = check(storage)
    assert (problem.kind, problem.remedy) == (kind, remedy)
    assert problem.name.endswith(name)
    with writing(storage.location, rebuilding=remedy == REBUILD) as writer:
        if remedy == REBUILD:
            writer.rebuild()
    assert check(storage) == []


@pytest.mark.parametrize("harm", [damage_sweep, cut_sweep])
def test_a_damaged_sweep_is_found_and_written_anew(storage: Storage, harm: Callable[[Storage], None]) -> None:
    harm(storage)
    (problem,) = check(storage)
    assert problem.kind == "sweep damaged"
    assert problem.name.endswith("sweeps/s")
    with pytest.raises(DamagedError, match="sweep 's' is damaged"):
        Store(storage.location).sweep("s")
    with writing(storage.location) as writer:
        writer.put_sweep("s", "{}", MEMBERS)
    assert check(storage) == []


def test_a_damaged_checkpoint_is_found(storage: Storage) -> None:
    flip(storage, "checkpoints", "unfinished.npz")
    (problem,) = check(storage)
    assert (problem.kind, problem.remedy) == ("checkpoint damaged", START_OVER)
    assert problem.name.endswith("checkpoints/unfinished.npz")


def test_every_changed_value_is_found(storage: Storage) -> None:
    change_every_value(storage)
    assert [(problem.kind, problem.name) for problem in check(storage)] == [
        ("rows changed", f"metrics: {record.request.run_key}")
        for record in sorted(RECORDS, key=lambda record: record.request.run_key)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_that_changes_a_value_is_found(storage: Storage, seed: int) -> None:
    before, rng = contents(storage), np.random.default_rng(seed)
    files = [(t, name) for t in sorted(SCHEMAS) for name in storage.names(f"tables/{t}") if name.endswith(".parquet")]
    table, name = files[rng.integers(len(files))]
    data = bytearray(storage.read(f"tables/{table}", name))
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    storage.replace(f"tables/{table}", name, bytes(data))
    if contents(storage) != before:
        assert check(storage) != []


def contents(storage: Storage) -> dict[str, str | None]:
    """All tables as text; None for one that cannot be read."""
    found = {}
    for table in SCHEMAS:
        try:
            rows = tables.evaluate(storage, table, tables.scan(storage, table))
        except tables.TableError:
            found[table] = None
        else:
            found[table] = str([rows.schema, sorted(map(repr, rows.rows()))])
    return found


def test_half_written_files_are_found(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    (path := tmp_path / "tables" / "runs" / "_delta_log" / f"{7:020}.json#1").touch()
    assert check(Storage(tmp_path)) == []  # it may be a living writer's
    os.utime(path, times=(time.time() - LEFTOVER_SECONDS - 9,) * 2)
    (problem,) = check(Storage(tmp_path))
    assert (problem.kind, problem.name) == ("leftover", str(path))
    with writing(tmp_path):
        pass
    assert check(Storage(tmp_path)) == []
