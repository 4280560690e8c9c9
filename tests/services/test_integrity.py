"""Each harm to a store is found, named, and told apart from the others."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import write_deltalake

from services.execution.rung_losses import RungLosses
from services.execution.status import attended, read_standing
from services.execution.tally import Tally
from services.integrity import NEW_LEDGER, NEXT_COMMAND, NO_SEAL, REBUILD, SAID_ANEW, START_OVER, check
from services.ledger import file
from services.ledger.database import Ledger, insert_new
from services.ledger.tables import definitions, digest_of
from services.store import bundles, commits, pairs, tables
from services.store.archive import DamagedError, object_name, pack_arrays
from services.store.objects import LEFTOVER_SECONDS, Storage
from services.store.rows import join, rows_of_result
from services.store.schemas import SCHEMAS
from services.store.sealed_json import SEAL
from services.store.store import Store
from services.store.writer import writing
from tests.support import factories
from tests.support.stores import cut, flip

RECORDS = [factories.record(factories.request(seed)) for seed in range(3)]
KEY = RECORDS[1].request.run_key
ROWS = factories.rows_of(RECORDS[1])
PAIR = pl.DataFrame(
    [dict.fromkeys(SCHEMAS["comparisons"]) | {"comparison_key": "pair", "sweep": "s", "p_value": 0.03}],
    schema=SCHEMAS["comparisons"],
)
MEMBERS = pl.DataFrame({"run_key": [record.request.run_key for record in RECORDS], "learner": "mlp-sgd"})


def harm_bundle(storage: Storage) -> None:
    flip(storage, "bundles", object_name(KEY))


def harm_measurement(storage: Storage) -> None:
    flip(storage, "measurements", object_name("m"))


def delete_table(storage: Storage) -> None:
    storage.remove_folder("tables", "curves")


def delete_bundle(storage: Storage) -> None:
    storage.remove("bundles", object_name(KEY))


def harm_comparison(storage: Storage) -> None:
    flip(storage, "comparisons", object_name("pair"))


def change_a_comparison(storage: Storage) -> None:
    rewrite(storage, "comparisons", p_value=pl.lit(0.04))


def delete_comparisons(storage: Storage) -> None:
    storage.remove_folder("tables", "comparisons")


def put_without_its_row(storage: Storage) -> None:
    pairs.write(storage, PAIR.with_columns(comparison_key=pl.lit("other")))


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
        writer.put_comparisons(PAIR)
        losses = RungLosses(writer, "s")
        losses.note(KEY, 4, 0.6931)
        losses.note(KEY, 12, float("inf"))
        losses.save()
        with attended(writer, "s", 3, 0, Tally({}, 3, 0.0)):
            pass
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
        (harm_comparison, "comparison damaged", "pair", REBUILD),
        (change_a_comparison, "rows changed", "comparisons: pair", REBUILD),
        (delete_comparisons, "table missing or damaged", "comparisons", REBUILD),
        (put_without_its_row, "not in the tables yet", "other", NEXT_COMMAND),
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


@pytest.mark.parametrize(
    ("end", "old", "new"),
    [(".rungs.json", b"0.6931", b"0.6932"), (".state.json", b'"runs": 3', b'"runs": 8'), (".rungs.json", b"{", b"[")],
)
def test_a_changed_digit_in_what_is_said_of_a_sweep_is_found(
    storage: Storage, end: str, old: bytes, new: bytes
) -> None:
    data = storage.read("sweeps", f"s{end}")
    assert old in data
    storage.replace("sweeps", f"s{end}", data.replace(old, new, 1))
    (problem,) = check(storage)
    assert (problem.kind, problem.remedy) == ("sweep damaged", SAID_ANEW)
    assert problem.name.endswith(f"sweeps/s{end}")
    store = Store(storage.location)
    assert not RungLosses(store, "s").has(KEY, 4) if end == ".rungs.json" else read_standing(store, "s") is None


def test_what_has_no_checksum_is_named_and_is_no_fault(storage: Storage) -> None:
    """As earlier versions wrote it; what they wrote that cannot be read is damaged all the same."""
    for end in (".rungs.json", ".state.json"):
        content = json.loads(storage.read("sweeps", f"s{end}"))
        del content[SEAL]
        storage.replace("sweeps", f"s{end}", json.dumps(content).encode())
    MEMBERS.write_parquet(buffer := io.BytesIO(), metadata={"basin.sweep": "{}"})
    storage.replace("sweeps", "s.parquet", buffer.getvalue())
    storage.remove("comparisons", object_name("pair"))
    problems = check(storage)
    assert len(problems) == 4
    assert all(problem.harmless and problem.remedy == NO_SEAL for problem in problems)
    store = Store(storage.location)
    assert RungLosses(store, "s").losses([RECORDS[1].request], 4) == {KEY: 0.6931}
    standing = read_standing(store, "s")
    assert standing is not None
    assert standing.runs == 3
    with writing(storage.location, rebuilding=True) as writer:  # which keeps what it cannot make again
        writer.rebuild()
    assert store.scan("comparisons").collect().equals(PAIR)
    storage.replace("sweeps", "s.rungs.json", b'{"sha257": "0", "a": {"4": 0.5}}')
    assert "sweep damaged" in {problem.kind for problem in check(storage)}


def test_a_damaged_ledger_is_found(storage: Storage) -> None:
    path = file.path_in(storage.location)
    ledger = Ledger(f"sqlite:///{path}")
    with ledger.transaction() as connection:
        kept = [{"sweep": f"{i:900}", "options": "{}"} for i in range(50)]
        insert_new(connection, definitions, [{"digest": digest_of(**row), **row} for row in kept])
    ledger.close()
    assert check(storage) == []
    data = path.read_bytes()
    assert b" 49" in data
    path.write_bytes(data.replace(b" 49", b" 48"))  # a digit of what is to run
    (problem,) = check(storage)
    assert problem.name.endswith("is not as it was written")
    path.write_bytes(data[: len(data) // 2])
    (problem,) = check(storage)
    assert (problem.kind, problem.remedy) == ("ledger damaged", NEW_LEDGER)
    assert str(path) in problem.name
    path.write_bytes(b"no database" * 99)
    (problem,) = check(storage)
    assert problem.kind == "ledger damaged"


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
