"""A full disk, a folder that may not be written to, a server that is away, and kill -9."""

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.errors import StoreError
from services.store import objects as storage_module
from services.store import tables
from services.store.archive import names
from services.store.location import exists
from services.store.objects import Storage
from services.store.store import Store
from services.store.writer import writing
from tests.support import crashing, factories
from tests.support.crashing import killed, start
from tests.support.s3 import S3Server
from tests.support.stores import assert_holds_exactly, bundle_of
from tests.support.waiting import wait_until


def some_records(n: int) -> list:
    return [factories.record(factories.request(seed)) for seed in range(n)]


# --- a disk that is full or may not be written to --------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_an_unwritable_folder_is_said_to_be_so(tmp_path: Path) -> None:
    temporary = Path(tempfile.gettempdir()).resolve()
    for folder in (tmp_path, *tmp_path.parents):
        if temporary in folder.parents:
            folder.chmod(0o755)
    (said := tmp_path / "said").touch()
    said.chmod(0o666)
    (path := tmp_path / "s").mkdir(mode=0o755)
    child = start(crashing.write_as_nobody, str(path), said)
    child.join()
    assert (
        f"cannot write to the store in {path}: Permission denied; free some space or make it writ" in said.read_text()
    )
    assert list(path.iterdir()) == []


def test_a_file_that_may_not_grow_leaves_no_half_written_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # which a folder has nothing to do with
    path, said = tmp_path / "s", tmp_path / "said"
    child = start(crashing.write_large_under_limit, str(path), said, 100_000)
    child.join()
    assert child.exitcode == 0
    assert f"cannot write to the store in {path}: File too large; free some space" in said.read_text()
    records = some_records(2)
    assert_holds_exactly(path, records)
    large = factories.request(2)
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
    path, records, put = small_disk / "s", some_records(40), []

    def put_all() -> None:
        with writing(path) as writer:
            for record in records[len(put) :]:
                writer.put(record)
                put.append(record)

    with writing(path):
        pass
    filler = small_disk / "filler"
    fill(filler)
    os.truncate(filler, filler.stat().st_size - 150_000)  # room for some bundles, and not for all
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        put_all()
    assert 0 < len(put) < len(records)
    fill(filler)
    with pytest.raises(StoreError, match="No space left"), writing(path):
        pass
    filler.unlink()
    with writing(path):
        pass
    assert_holds_exactly(path, put)
    put_all()
    assert_holds_exactly(path, records)


# --- a server that is away -------------------------------------------------------------------------------------------


def meanwhile(action: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("fault", ["away", "frozen"])
@pytest.mark.parametrize("moment", ["putting", "committing"])
def test_a_server_that_is_gone_for_a_while_costs_time_only(
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    moment: str,
) -> None:
    monkeypatch.setattr(storage_module, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(storage_module, "_REQUEST_TIMEOUT", "1s")
    records = some_records(4)

    with writing(bucket) as writer, caplog.at_level(logging.WARNING):
        for record in records[:2]:
            writer.put(record)
        with getattr(s3, fault)():
            actions = {"putting": lambda: [writer.put(record) for record in records[2:]], "committing": writer.commit}
            thread = meanwhile(actions[moment])
            wait_until(lambda: f"waiting for {bucket}" in caplog.text)
        thread.join(60)
        assert not thread.is_alive()
        for record in records[2:]:
            assert writer.put(record) == (moment == "committing")
    assert_holds_exactly(bucket, records)


def test_a_server_that_goes_at_any_moment_and_comes_back_costs_time_only(s3: S3Server, bucket: str) -> None:
    records = some_records(12)

    def put_all() -> None:
        with writing(bucket) as writer:
            for i, record in enumerate(records):
                writer.put(record)
                if i % 3 == 2:
                    writer.commit()

    thread = meanwhile(put_all)
    moments = np.random.default_rng(0).uniform(0.0, 0.3, size=(100, 2))
    for there, gone in moments:
        thread.join(there)
        if not thread.is_alive():
            break
        with s3.away():
            time.sleep(gone)
    thread.join(60)
    assert not thread.is_alive()
    assert_holds_exactly(bucket, records)


@pytest.mark.parametrize("wait", [lambda storage: tables.create(storage, ["runs"]), lambda s: tables.opened(s, "runs")])
def test_other_threads_go_on_while_a_server_is_waited_for(
    s3: S3Server, bucket: str, wait: Callable[[Storage], Any]
) -> None:
    ticks, over = [], threading.Event()

    def tick() -> None:
        while not over.wait(0.01):
            ticks.append(time.monotonic())

    storage = Storage(bucket, patience=3.0)
    with s3.away():
        thread = meanwhile(tick)
        with pytest.raises(StoreError):
            wait(storage)
        over.set()
        thread.join()
    assert ticks[-1] - ticks[0] > 2.0
    assert np.max(np.diff(ticks)) < 1.0


def test_a_server_that_stays_away_ends_the_command_and_loses_nothing(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "PATIENCE_SECONDS", 0.2)
    records = some_records(3)
    put = []

    def put_all() -> None:
        with writing(bucket) as writer:
            for record in records:
                if len(put) == 2:
                    away.enter_context(s3.away())
                writer.put(record)
                put.append(record)

    said = f"cannot .* the store in {bucket} at http.*start the server"
    with contextlib.ExitStack() as away, pytest.raises(StoreError, match=said):
        put_all()
    with writing(bucket) as writer:
        assert [writer.put(record) for record in records] == [False, False, True]
    assert_holds_exactly(bucket, records)


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "s", tmp_path / "acknowledged"
    acknowledged.touch()
    seeds: list[int] = []
    for moment in np.random.default_rng(0).uniform(0.0, 0.25, size=12):
        before = acknowledged.stat().st_size
        child = start(crashing.write_forever, str(path), acknowledged, 3)
        if moment > 0.05:  # the others die while they open the store
            wait_until(lambda size=before, child=child: acknowledged.stat().st_size > size or not child.is_alive())
        time.sleep(moment)
        killed(child)
        seeds = [int(line) for line in acknowledged.read_text().splitlines()]
        assert len(seeds) == len(set(seeds))
        if not exists(path):
            assert not seeds
            continue
        found = Store(path)
        for seed in seeds:
            assert bundle_of(found.storage, factories.record(factories.request(seed))).manifest.seed == seed
    with writing(path):
        pass
    n_stored = len(names(Store(path).storage, "bundles"))
    assert n_stored >= len(seeds) >= 12
    assert_holds_exactly(path, some_records(n_stored))


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_kills_before_a_change_lose_and_double_nothing(tmp_path: Path, every: int) -> None:
    (record,) = some_records(1)
    change, died = 1 - every, True
    while died:
        change += every
        path, acknowledged = tmp_path / str(change), tmp_path / f"acknowledged-{change}"
        child = start(crashing.write_until_change, str(path), acknowledged, change)
        child.join()
        assert child.exitcode in (0, -9)
        died = child.exitcode == -9
        with writing(path) as writer:
            stored = writer.stored([record.request.run_key])
            assert stored or not (acknowledged.exists() and acknowledged.read_text())
            assert writer.put(record) != bool(stored)
        assert_holds_exactly(path, [record])
        shutil.rmtree(path)
    assert change > 20
