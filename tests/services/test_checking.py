"""Each harm to a store is found, named, and told apart from the others."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services import bundles, commits
from services.archive import object_name
from services.checking import NEXT_COMMAND, REBUILD, check
from services.rows import join, rows_of_result
from services.storage import LEFTOVER_SECONDS, Storage
from services.store import writing
from tests.services import factories
from tests.services.stores import flip

RECORDS = [factories.record(factories.request(seed)) for seed in range(3)]
KEY = RECORDS[1].request.run_key
ROWS = factories.rows_of(RECORDS[1])


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


def lose_rows(storage: Storage) -> None:
    committer = commits.Committer(storage)
    committer.delete(KEY)
    committer.append_missing({table: rows for table, rows in ROWS.items() if table != "curves"})


def put_without_rows(storage: Storage) -> None:
    record = factories.record(factories.request(9))
    bundles.write(storage, bundles.manifest_of(record), record.result, join(rows_of_result(record.result)))


def leave_a_checkpoint(storage: Storage) -> None:
    storage.replace("checkpoints", f"{KEY}.npz", b"")


@pytest.fixture
def storage(location: str) -> Storage:
    with writing(location) as writer:
        for record in RECORDS:
            writer.put(record)
        failed = factories.request(5)
        writer.put(factories.record(failed, factories.failed(failed)))
        writer.put_measurement(factories.measurement(run_key=KEY))
        writer.save_checkpoint("unfinished", {"a": np.zeros(1)})
    return Storage(location)


def test_nothing_is_wrong_with_a_whole_store(storage: Storage) -> None:
    assert check(storage) == []


@pytest.mark.parametrize(
    ("harm", "kind", "name", "remedy"),
    [
        (harm_bundle, "bundle damaged", KEY, REBUILD),
        (harm_measurement, "measurement damaged", "m", REBUILD),
        (delete_table, "table missing or damaged", "curves", REBUILD),
        (delete_bundle, "rows of nothing stored", KEY, REBUILD),
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
