"""What brings accepted sweeps to a real cluster: once, whoever is killed, and again where the cluster lost them."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

import pytest
from sqlalchemy import update

from cluster.errors import ClusterError
from cluster.jobs import Jobs
from services.ledger.database import Ledger
from services.ledger.tables import submissions as table
from services.settings import settings
from services.submissions import records
from services.submissions.dispatcher import MAX_ATTEMPTS, QUEUED, WAITING, Dispatcher
from services.submissions.records import Submission
from tests.support import scheduled
from tests.support.head import Head

pytestmark = pytest.mark.slow

PATIENCE = 120.0
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the interpreter's place, what ends with the status that is written here, and notes that it began."""
    script = tmp_path / "python"
    wait = f"while [ ! -e {tmp_path}/status ]; do sleep 0.05; done"
    script.write_text(f'#!/bin/sh\necho "$BASIN_JOB" >> {tmp_path}/begun\n{wait}\nexit `cat {tmp_path}/status`\n')
    script.chmod(0o755)
    monkeypatch.setenv("BASIN_CLUSTER_PYTHON", str(script))
    settings.cache_clear()
    yield tmp_path / "status"
    settings.cache_clear()


def accepted(ledger: Ledger, name: str) -> Submission:
    return records.accept(ledger, scheduled.sweep(name), 3, "ada", NOW).submission


def dispatcher(ledger: Ledger, head: Head, tmp_path: Path) -> Dispatcher:
    return Dispatcher(ledger, str(tmp_path / "store"), lambda: Jobs(head.address))


def now(ledger: Ledger, name: str) -> Submission:
    found = records.latest(ledger, name)
    assert found is not None
    return found


def until(works: Dispatcher, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        with suppress(ClusterError):  # a busy machine; `run` goes on after it, too
            works.tick()
        time.sleep(0.05)


def test_an_accepted_sweep_is_handed_over_once_and_seen_to_its_end(ledger: Ledger, head: Head, told: Path):
    submission = accepted(ledger, "dispatcher-whole")
    works = dispatcher(ledger, head, told.parent)
    # Killed after it had submitted the job, and before it had noted that: the next one looks what there is.
    until(works, lambda: now(ledger, "dispatcher-whole").state != "accepted")
    with ledger.transaction() as connection:
        connection.execute(update(table).values(state="accepted"))
    until(dispatcher(ledger, head, told.parent), lambda: now(ledger, "dispatcher-whole").state == "running")
    told.write_text("0")
    until(works, lambda: not now(ledger, "dispatcher-whole").active)
    ended = now(ledger, "dispatcher-whole")
    assert (ended.state, ended.reason, ended.attempt) == ("succeeded", "", 1)
    assert (told.parent / "begun").read_text().split() == [submission.job_id]
    assert [job.id for job in Jobs(head.address).list("basin-dispatcher-whole-")] == [submission.job_id]


def test_one_that_fails_says_why_and_one_that_is_stopped_ends(ledger: Ledger, head: Head, told: Path):
    works = dispatcher(ledger, head, told.parent)
    accepted(ledger, "dispatcher-stopped")
    until(works, lambda: now(ledger, "dispatcher-stopped").state == "running")
    records.request_stop(ledger, "dispatcher-stopped")
    until(works, lambda: not now(ledger, "dispatcher-stopped").active)
    assert now(ledger, "dispatcher-stopped").state == "stopped"
    told.write_text("3")
    accepted(ledger, "dispatcher-failed")
    until(works, lambda: not now(ledger, "dispatcher-failed").active)
    failed = now(ledger, "dispatcher-failed")
    assert failed.state == "failed"
    assert "exit status 3" in failed.reason and "basin jobs logs" in failed.reason


def test_more_sweeps_than_may_be_at_work_wait_for_their_turn_the_oldest_first(ledger: Ledger, head: Head, told: Path):
    names = [f"dispatcher-turn-{i}" for i in range(3)]
    for i, name in enumerate(names):
        records.accept(ledger, scheduled.sweep(name), 3, "ada", NOW + timedelta(seconds=i))
    works = Dispatcher(ledger, str(told.parent / "store"), lambda: Jobs(head.address), at_once=1)
    until(works, lambda: now(ledger, names[0]).state == "running")
    assert [(now(ledger, name).state, now(ledger, name).reason) for name in names[1:]] == [("accepted", QUEUED)] * 2
    told.write_text("0")
    until(works, lambda: not now(ledger, names[1]).active)
    assert [now(ledger, name).state for name in names] == ["succeeded", "succeeded", "accepted"]
    assert len((told.parent / "begun").read_text().split()) == 2
    until(works, lambda: not records.active(ledger))


def test_what_is_asked_to_stop_before_it_is_handed_over_never_is(ledger: Ledger, head: Head, told: Path):
    accepted(ledger, "dispatcher-never")
    records.request_stop(ledger, "dispatcher-never")
    dispatcher(ledger, head, told.parent).tick()
    assert now(ledger, "dispatcher-never").state == "stopped"
    assert Jobs(head.address).list("basin-dispatcher-never-") == []


def test_a_cluster_that_is_away_delays_and_loses_nothing(ledger: Ledger, head: Head, told: Path):
    accepted(ledger, "dispatcher-away")
    addresses = chain(["http://127.0.0.1:1"], repeat(head.address))
    works = Dispatcher(ledger, str(told.parent / "store"), lambda: Jobs(next(addresses)))
    with pytest.raises(ClusterError):
        works.tick()
    waits = now(ledger, "dispatcher-away")
    assert (waits.state, waits.reason) == ("accepted", WAITING)
    told.write_text("0")
    until(works, lambda: not now(ledger, "dispatcher-away").active)
    assert now(ledger, "dispatcher-away").state == "succeeded"


def test_what_the_cluster_lost_is_submitted_again_but_not_for_ever(ledger: Ledger, head: Head, told: Path):
    lost = accepted(ledger, "dispatcher-lost")
    records.note(ledger, lost, "running", "", NOW)
    told.write_text("0")
    works = dispatcher(ledger, head, told.parent)
    until(works, lambda: not now(ledger, "dispatcher-lost").active)
    found = now(ledger, "dispatcher-lost")
    assert (found.state, found.attempt) == ("succeeded", 2)
    assert [job.id for job in Jobs(head.address).list("basin-dispatcher-lost-")] == [found.job_id]
    hopeless = accepted(ledger, "dispatcher-hopeless")
    records.note(ledger, hopeless, "running", "", NOW, attempt=MAX_ATTEMPTS)
    until(works, lambda: not now(ledger, "dispatcher-hopeless").active)
    assert now(ledger, "dispatcher-hopeless").state == "failed"


def test_a_sweep_that_cannot_be_handed_over_fails_and_holds_nothing_up(ledger: Ledger, head: Head, told: Path):
    sweep = scheduled.sweep("dispatcher-bad")
    (data,) = sweep.datasets
    gone = sweep.model_copy(update={"datasets": (data.model_copy(update={"data": "nothing.csv", "target": "y"}),)})
    records.accept(ledger, gone, 3, "ada", NOW)
    accepted(ledger, "dispatcher-good")
    told.write_text("0")
    until(dispatcher(ledger, head, told.parent), lambda: not records.active(ledger))
    assert now(ledger, "dispatcher-good").state == "succeeded"
    bad = now(ledger, "dispatcher-bad")
    assert bad.state == "failed" and "there is no such file here" in bad.reason
