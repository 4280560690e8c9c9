import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services import bundles, store, tables
from services.errors import StoreError
from services.rows import rows_of
from services.schemas import RUN_TABLES, SCHEMAS
from services.store import Store, writing
from tests.services import crashing, factories

# A server that has imported everything forks each child at once; it has no threads, so forking is safe.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.services.crashing"])


def start(target: Callable, *args: object) -> multiprocessing.Process:
    child = CHILDREN.Process(target=target, args=args)
    child.start()
    return child


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.002)
    return path.read_text()


def assert_holds_exactly(path: Path, records: list[bundles.Record]) -> None:
    """Bundles and tables hold these runs, each once and complete."""
    found = Store(path)
    assert sorted(bundles.names(path / "bundles")) == sorted(r.name for r in records)
    for name in bundles.names(path / "bundles"):
        bundles.read(path / "bundles" / name).verify()
    for table in RUN_TABLES:
        expected = pl.concat(
            [r[table] for r in map(rows_of, records) if table in r] or [pl.DataFrame(schema=SCHEMAS[table])]
        )
        columns = [name for name, dtype in SCHEMAS[table].items() if not isinstance(dtype, pl.List)]
        assert_frame_equal(found.scan(table).collect().sort(columns), expected.sort(columns))
    for folder in (path, path / "bundles", path / "tables", path / "checkpoints"):
        assert list(folder.glob(".tmp-*")) == []


# --- storing ---------------------------------------------------------------------------------------------------------


def test_what_is_put_is_stored_once_and_complete(tmp_path: Path) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    diverged = factories.request(8)
    records.append(factories.record(diverged, factories.diverged(diverged)))
    with writing(tmp_path / "s") as writer:
        assert [writer.put(r) for r in records] == [True] * 4
        assert [writer.put(r) for r in records] == [False] * 4
    with writing(tmp_path / "s") as writer:
        assert [writer.put(r) for r in records] == [False] * 4
    assert_holds_exactly(tmp_path / "s", records)
    keys = [r.request.run_key for r in records]
    assert Store(tmp_path / "s").stored([*keys, "unknown"]) == set(keys)
    assert Store(tmp_path / "s").bundle(keys[0]).manifest.seed == 0


def test_a_new_store_has_every_table_with_its_schema(tmp_path: Path) -> None:
    with writing(tmp_path / "a" / "b"):
        pass
    for table, schema in SCHEMAS.items():
        assert Store(tmp_path / "a" / "b").scan(table).collect_schema() == schema


def test_a_full_batch_is_committed_without_being_asked_and_in_one_commit(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        for seed in range(store.BATCH):
            assert Store(tmp_path).scan("runs").collect().is_empty()
            writer.put(factories.record(factories.request(seed)))
        assert len(Store(tmp_path).scan("runs").collect()) == store.BATCH
    for table in RUN_TABLES:
        assert tables.DeltaTable(tmp_path / "tables" / table).version() == 1


def test_runs_that_wait_are_committed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
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


def test_a_commit_that_broke_off_between_tables_is_completed_without_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    append = tables._append

    def interrupted(folder: Path, table: str, frame: pl.DataFrame) -> None:
        append(folder, table, frame)
        if table == "geometry":
            raise KeyboardInterrupt

    with writing(tmp_path) as writer:
        for record in records:
            writer.put(record)
        monkeypatch.setattr(tables, "_append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
        monkeypatch.undo()
    assert_holds_exactly(tmp_path, records)


@pytest.mark.parametrize("lost", RUN_TABLES)
def test_tables_are_rebuilt_from_the_bundles(tmp_path: Path, lost: str) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    failed = factories.request(9)
    records.append(factories.record(failed, factories.failed(failed)))
    with writing(tmp_path) as writer:
        for record in records:
            writer.put(record)
    shutil.rmtree(tmp_path / "tables" / lost)
    with writing(tmp_path) as writer:
        assert writer.rebuild() == 4
    assert_holds_exactly(tmp_path, records)


@pytest.mark.parametrize("mend", ["opening", "rebuilding"])
def test_a_damaged_bundle_is_set_aside_and_its_run_fitted_again(tmp_path: Path, mend: str) -> None:
    records = [factories.record(factories.request(seed)) for seed in range(3)]
    key = records[1].request.run_key
    with writing(tmp_path) as writer:
        for record in records:
            writer.put(record)
    (tmp_path / "bundles" / key / "params.npz").write_bytes(b"")
    if mend == "opening":  # as after a loss of power, before the commit
        shutil.rmtree(tmp_path / "tables")
    with writing(tmp_path) as writer:
        if mend == "rebuilding":
            assert writer.rebuild() == 2
        assert writer.set_aside == [key]
        assert (tmp_path / "damaged" / key / "run.json").exists()
        assert writer.stored(r.request.run_key for r in records) == {r.request.run_key for r in records} - {key}
        assert writer.put(records[1])
    assert_holds_exactly(tmp_path, records)


def test_rebuilding_keeps_comparisons(tmp_path: Path) -> None:
    row = dict.fromkeys(SCHEMAS["comparisons"]) | {"comparison_key": "k", "difference": 0.5}
    rows = pl.DataFrame([row], schema=SCHEMAS["comparisons"])
    with writing(tmp_path) as writer:
        writer.put_comparisons(rows)
        writer.put_comparisons(rows)
        writer.rebuild()
    assert_frame_equal(Store(tmp_path).scan("comparisons").collect(), rows)


def test_many_commits_are_compacted_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "COMPACT_EVERY", 5)
    monkeypatch.setattr(store, "BATCH", 1)
    records = [factories.record(factories.request(seed)) for seed in range(7)]
    with writing(tmp_path) as writer:
        for record in records:
            writer.put(record)
    assert len(tables.DeltaTable(tmp_path / "tables" / "runs").file_uris()) < 5
    assert_holds_exactly(tmp_path, records)


def test_checkpoints_come_back_until_the_run_is_stored(tmp_path: Path) -> None:
    record = factories.record(factories.request())
    key = record.request.run_key
    arrays = {"draws": np.arange(6.0).reshape(2, 3), "key": np.array([1, 2], np.uint32)}
    with writing(tmp_path) as writer:
        assert writer.load_checkpoint(key) is None
        writer.save_checkpoint(key, {"draws": np.zeros(1)})
        writer.save_checkpoint(key, arrays)
    with writing(tmp_path) as writer:
        found = writer.load_checkpoint(key)
        assert found is not None
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        writer.put(record)
        assert writer.load_checkpoint(key) is None
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_checkpoint_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.save_checkpoint("k", {"a": np.zeros(100)})
        path = tmp_path / "checkpoints" / "k.npz"
        path.write_bytes(path.read_bytes()[:200])
        assert writer.load_checkpoint("k") is None


# --- refusals --------------------------------------------------------------------------------------------------------


def refusal(path: Path, **options: float) -> str:
    with pytest.raises(StoreError) as fault, writing(path, **options):
        pass
    return str(fault.value)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (path := tmp_path / "s").write_text("")
    assert f"{path} is a file" in refusal(path)
    assert "cannot write" in refusal(path / "below")


def test_a_folder_of_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert "holds other files (thesis.tex)" in refusal(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_reading_where_there_is_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="`basin compare` makes one"):
        Store(tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 999}', "has schema version 999, and this Basin reads"),
        ("{}", "does not say a schema version"),
        ("[]", "does not say a schema version"),
        ("", "does not say a schema version"),
    ],
)
def test_a_store_of_another_version_is_refused_and_left_alone(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "store.json").write_text(text)
    assert message in refusal(tmp_path)
    with pytest.raises(StoreError, match=message):
        Store(tmp_path)
    assert not (tmp_path / "bundles").exists()
    assert (tmp_path / "store.json").read_text() == text


def test_a_table_that_was_deleted_is_said_to_need_rebuilding(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    shutil.rmtree(tmp_path / "tables" / "runs")
    with pytest.raises(StoreError, match="basin store rebuild"):
        Store(tmp_path).scan("runs")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_an_unwritable_folder_is_said_to_be_so(tmp_path: Path) -> None:
    temporary = Path(tempfile.gettempdir()).resolve()
    for folder in (tmp_path, *tmp_path.parents):
        if temporary in folder.parents:
            folder.chmod(0o755)
    (said := tmp_path / "said").touch()
    said.chmod(0o666)
    (path := tmp_path / "s").mkdir(mode=0o755)
    child = start(crashing.write_as_nobody, path, said)
    child.join()
    assert f"cannot write to the store in {path}: Permission denied" in said.read_text()
    assert list(path.iterdir()) == []


def test_a_second_writer_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    path, ready = tmp_path / "s", tmp_path / "ready"
    holder = start(crashing.hold, path, ready)
    pid = wait_for(ready)
    try:
        assert f"is being written by process {pid}" in refusal(path, patience_seconds=0.1)
        assert Store(path).stored([]) == set()
    finally:
        holder.kill()
        holder.join()
    with writing(path, patience_seconds=0.1):
        assert "is being written by process" in refusal(path, patience_seconds=0.1)


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow_leaves_no_half_written_run(tmp_path: Path) -> None:
    path, said = tmp_path / "s", tmp_path / "said"
    child = start(crashing.write_large_under_limit, path, said, 100_000)
    child.join()
    assert child.exitcode == 0
    large = factories.request(2)
    assert f"cannot keep run {large.run_key}" in said.read_text()
    records = [factories.record(factories.request(seed)) for seed in range(2)]
    assert_holds_exactly(path, records)
    records.append(factories.record(large, factories.result(large, n_rows=100_000)))
    with writing(path) as writer:
        writer.put(records[-1])
    assert_holds_exactly(path, records)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    (disk := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(filler: Path) -> None:
    """Let a file grow until the disk is full."""
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(filler.parent).free == 0


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount command")
def test_a_full_disk_is_said_to_be_full_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "s"
    records = [factories.record(factories.request(seed)) for seed in range(40)]
    put = []

    def put_all() -> None:
        with writing(path) as writer:
            for record in records[len(put) :]:
                writer.put(record)
                put.append(record)

    with writing(path):
        pass
    filler = small_disk / "filler"
    fill(filler)
    os.truncate(filler, filler.stat().st_size - 100_000)  # room for some bundles, and not for all
    with pytest.raises(StoreError, match="No space left"):
        put_all()
    assert 0 < len(put) < len(records)
    fill(filler)
    assert "No space left" in refusal(path)
    filler.unlink()
    with writing(path):
        pass
    assert_holds_exactly(path, put)
    put_all()
    assert_holds_exactly(path, records)


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "s", tmp_path / "acknowledged"
    acknowledged.touch()
    moments = np.random.default_rng(0).uniform(0.0, 0.25, size=24)
    for moment in moments:
        before = acknowledged.stat().st_size
        child = start(crashing.write_forever, path, acknowledged, 3)
        if moment > 0.05:  # the others die while they open the store
            deadline = time.monotonic() + 60
            while acknowledged.stat().st_size == before and child.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
        time.sleep(moment)
        child.kill()
        child.join()
        assert child.exitcode == -9
        seeds = [int(line) for line in acknowledged.read_text().splitlines()]
        assert len(seeds) == len(set(seeds))
        if not (path / "store.json").exists():
            assert not seeds
            continue
        visible = set(bundles.names(path / "bundles")) if (path / "bundles").exists() else set()
        assert {factories.request(seed).run_key for seed in seeds} <= visible
        for name in visible:
            bundles.read(path / "bundles" / name).verify()
    with writing(path):
        pass
    n_stored = len(list(bundles.names(path / "bundles")))
    assert n_stored >= len(seeds) >= 24
    assert_holds_exactly(path, [factories.record(factories.request(seed)) for seed in range(n_stored)])


def test_kills_at_every_call_to_the_disk_lose_and_double_nothing(tmp_path: Path) -> None:
    record = factories.record(factories.request())
    call, died = 0, True
    while died:
        call += 1
        path, acknowledged = tmp_path / str(call), tmp_path / f"acknowledged-{call}"
        child = start(crashing.write_until_call, path, acknowledged, call)
        child.join()
        assert child.exitcode in (0, -9)
        died = child.exitcode == -9
        with writing(path) as writer:
            stored = writer.stored([record.request.run_key])
            assert stored or not (acknowledged.exists() and acknowledged.read_text())
            assert writer.put(record) != bool(stored)
        assert_holds_exactly(path, [record])
        shutil.rmtree(path)
    assert call > 40


def test_the_version_is_written_once(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    assert json.loads((tmp_path / "store.json").read_text()) == {"schema_version": store.SCHEMA_VERSION}
