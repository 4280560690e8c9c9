"""Several writers at once on one store, on a folder and on S3: each run's rows are in each table once."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable

from services.store import commits, tables
from services.store.archive import object_name
from services.store.objects import Storage
from services.store.store import Store
from services.store.writer import writing
from tests.support import crashing, factories
from tests.support.crashing import ended_well, killed, start
from tests.support.stores import assert_holds_exactly, assert_whole

SEEDS = range(20)


def some_records(n: int) -> list:
    return [factories.record(factories.request(seed)) for seed in range(n)]


def test_who_comes_second_leaves_the_run_to_the_first(location: str) -> None:
    (record,) = some_records(1)
    with writing(location) as first, writing(location) as second:
        assert first.put(record)
        assert not second.put(record)
    assert_holds_exactly(location, [record])


def test_commits_of_two_writers_both_go_through(location: str) -> None:
    records = some_records(4)
    with writing(location) as first, writing(location) as second:
        for own, other in (records[:2], records[2:]):
            first.put(own)
            second.put(other)
            second.commit()
            first.commit()
    assert_holds_exactly(location, records)


def test_files_are_put_together_once_by_two_writers_that_know_the_same(location: str) -> None:
    records = some_records(3)
    for record in records:
        with writing(location) as writer:
            writer.put(record)
    with writing(location) as first, writing(location) as second:
        for each in (first, second):
            each._committer._tidy("runs")
    assert_holds_exactly(location, records)
    assert len(tables.files(Storage(location), tables.opened(Storage(location), "runs"))) == 1


def test_a_claim_to_put_files_together_is_one_writers_until_it_ends_or_is_old(location: str) -> None:
    storage, now = Storage(location), datetime(2026, 3, 1, 12, tzinfo=UTC)
    storage.make()
    with commits.claimed(storage, "runs", now) as first:
        later = now + commits.CLAIM_LASTS - timedelta(seconds=1)
        with commits.claimed(storage, "runs", later) as second, commits.claimed(storage, "metrics", later) as other:
            assert (first, second, other) == (True, False, True)
        with (
            commits.claimed(storage, "runs", now + commits.CLAIM_LASTS) as third,
            commits.claimed(storage, "runs", now + commits.CLAIM_LASTS) as fourth,
        ):
            assert (third, fourth) == (True, False)
    assert storage.names(commits.CLAIMS) == []


def test_what_is_deleted_while_files_are_put_together_stays_deleted(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = some_records(3)
    for record in records:
        with writing(location) as writer:
            writer.put(record)
    gone, also, _ = (record.request.run_key for record in records)
    storage = Storage(location)
    with writing(location) as first, writing(location) as second:
        second._committer.delete(gone)  # after the first one looked: what it puts together has these rows
        with monkeypatch.context() as patch:
            patch.setattr(DeltaTable, "update_incremental", lambda _: None)
            first._committer._tidy("metrics")
        second._committer._tidy("curves")
        first._committer.delete(also)  # by files of which there are no more
    storage.remove("bundles", object_name(gone))
    storage.remove("bundles", object_name(also))
    assert_holds_exactly(location, [records[2]])


def test_a_damaged_claim_holds_nobody_up(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for data in (b"", b"2026-13-01T00:00:00", b"\xff"):
        storage.replace(commits.CLAIMS, "runs.0", data)
        with commits.claimed(storage, "runs", datetime(2026, 3, 1, 12, tzinfo=UTC)) as alone:
            assert alone
        assert storage.names(commits.CLAIMS) == []


def append_for_it(location: str) -> None:
    """As a writer that opens the store and cannot know that the other is alive."""
    with writing(location):
        pass


def rebuild(location: str) -> None:
    with writing(location) as writer:
        writer.rebuild()


def compact(location: str) -> None:
    with writing(location) as writer:
        for delta in writer._committer._tables.values():
            delta.optimize.compact()


def append_and_compact(location: str) -> None:
    append_for_it(location)
    compact(location)


@pytest.mark.parametrize(
    ("location", "interference"),
    [
        ("local", append_for_it),
        ("local", rebuild),
        ("local", compact),
        ("local", append_and_compact),
        ("s3", append_and_compact),
    ],
    indirect=["location"],
)
def test_what_another_writer_does_before_a_commit_doubles_nothing(
    location: str, interference: Callable[[str], None]
) -> None:
    records = some_records(4)
    with writing(location) as writer:
        for record in records[:2]:
            writer.put(record)
        writer.commit()
        for record in records[2:]:
            writer.put(record)
        interference(location)
    assert_holds_exactly(location, records)


@pytest.mark.parametrize(
    ("location", "table"),
    [("local", "metrics"), ("local", "pointwise"), ("local", "runs"), ("s3", "pointwise")],
    indirect=["location"],
)
def test_what_another_writer_does_in_the_middle_of_a_commit_doubles_nothing(
    location: str, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    records = some_records(2)
    append = commits.Committer._append

    def interrupted(self, name, rows, known) -> None:
        if name == table:
            monkeypatch.setattr(commits.Committer, "_append", append)
            append_for_it(location)
        append(self, name, rows, known)

    with writing(location) as writer:
        for record in records:
            writer.put(record)
        monkeypatch.setattr(commits.Committer, "_append", interrupted)
    assert_holds_exactly(location, records)


def test_failures_of_one_run_by_two_writers_are_attempts_of_it(tmp_path: Path) -> None:
    request = factories.request()
    failure = factories.record(request, factories.failed(request))
    with writing(tmp_path) as first, writing(tmp_path) as second:
        assert first.put(failure)
        assert second.put(failure)
        assert first.put(factories.record(request))
        assert not second.put(failure)
    assert sorted(Store(tmp_path).scan("runs").select("status", "bundle").collect().rows()) == [
        ("failed", f"{request.run_key}.failed-0"),
        ("failed", f"{request.run_key}.failed-1"),
        ("finished", request.run_key),
    ]
    assert_whole(tmp_path)


def environment() -> dict[str, str]:
    """What leads a child to the server."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def test_it_does_not_matter_who_makes_the_store(location: str) -> None:
    children = [start(crashing.write_shared, location, environment(), range(3), i, 1) for i in range(3)]
    assert ended_well(*children)
    assert len(assert_whole(location)) >= 3


@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.soak)])
def test_writers_that_are_killed_and_come_again_lose_and_double_nothing(location: str, kills: int) -> None:
    rng = np.random.default_rng(0)
    children = [start(crashing.write_shared, location, environment(), SEEDS, i, 2) for i in range(3)]
    for order in range(3, 3 + kills):
        time.sleep(rng.uniform(0.05, 0.5))
        victim = int(rng.integers(3))
        killed(children[victim])
        children[victim] = start(crashing.write_shared, location, environment(), SEEDS, order, 2)
    assert ended_well(*children)
    with writing(location):  # what the last to be killed left
        pass
    stored = assert_whole(location)
    assert {factories.request(seed).run_key for seed in SEEDS} <= set(stored)
    assert Store(location).stored(stored) == {factories.request(seed).run_key for seed in SEEDS}
