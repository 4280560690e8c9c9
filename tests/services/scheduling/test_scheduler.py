"""The scheduler's step, on launches whose fate the test decides; tests/acceptance/test_schedules.py has real ones."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from cluster.errors import ClusterError
from services.errors import ServiceError
from services.launching.launcher import LaunchState
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.ledger.tables import schedules
from services.scheduling.leases import has_scheduler
from services.scheduling.scheduler import Scheduler
from tests.support import postgres, scheduled
from tests.support.scheduled import at, let_pass, outcomes, statuses
from tests.support.waiting import wait_until

LEASE = 60.0


class Launches:
    """A launcher that starts nothing, and says of its launches what it is told to say."""

    place = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.states: dict[str, LaunchState] = {}
        self.stopped: list[str] = []
        self.fault: Exception | None = None
        self.silence: Exception | None = None

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        self.asked.append(launch_id)
        if self.fault:
            raise self.fault
        self.states.setdefault(launch_id, LaunchState("pending"))

    def state(self, launch_id: str) -> LaunchState | None:
        if self.silence:
            raise self.silence
        return self.states.get(launch_id)

    def stop(self, launch_id: str) -> None:
        self.stopped.append(launch_id)

    def all_are(self, status, reason: str = "") -> None:
        """Let all of them have this state."""
        self.states = dict.fromkeys(self.states, LaunchState(status, reason))


@pytest.fixture
def launches() -> Launches:
    return Launches()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(ledger: Ledger, launches: Launches, said: list[str]):
    """Makes schedulers on one ledger."""
    return lambda **settings: Scheduler(
        ledger, lambda _: launches, "here", lease_seconds=LEASE, say=said.append, **settings
    )


def test_an_occurrence_is_launched_runs_and_ends(make, ledger: Ledger, launches: Launches, said: list[str]):
    scheduled.added(ledger)
    scheduler = make()
    for hours, status in ((0.5, None), (1, "launched"), (1, "launched")):
        scheduler.tick(at(hours))
        assert statuses(ledger) == ([(1, status)] if status else [])
    launches.all_are("running")
    scheduler.tick(at(1.1))
    assert statuses(ledger) == [(1, "running")]
    launches.all_are("succeeded")
    scheduler.tick(at(1.2))
    scheduler.tick(at(1.3))
    assert statuses(ledger) == [(1, "succeeded")]
    assert len(launches.asked) == 1
    assert said == [f"tiny of 2026-01-05 01:00:00 UTC: {word}" for word in ("launched", "running", "succeeded")]


@pytest.mark.parametrize("status", ["failed", "stopped", "lost"])
def test_what_did_not_succeed_says_why(make, ledger: Ledger, launches: Launches, status: str):
    scheduled.added(ledger)
    scheduler = make()
    scheduler.tick(at(1))
    launches.all_are(status, "this is why")
    scheduler.tick(at(1.1))
    assert outcomes(ledger) == [(1, status, "this is why")]


def test_one_that_its_launcher_has_no_memory_of_is_lost(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger)
    scheduler = make()
    scheduler.tick(at(1))
    launches.states.clear()
    scheduler.tick(at(1.1))
    assert outcomes(ledger) == [(1, "lost", "what launched it knows nothing of it any more")]
    assert len(launches.asked) == 1


def test_several_schedulers_launch_each_occurrence_once(make, ledger: Ledger, launches: Launches):
    for name in ("a", "b", "c"):
        scheduled.added(ledger, name)
    schedulers = [make() for _ in range(3)]
    for hours in (1, 2, 3):
        for scheduler in schedulers:
            scheduler.tick(at(hours))
        launches.all_are("succeeded")
        for scheduler in schedulers:
            scheduler.tick(at(hours))
    assert len(launches.asked) == len(set(launches.asked)) == 9
    for name in ("a", "b", "c"):
        assert statuses(ledger, name) == [(hours, "succeeded") for hours in (1, 2, 3)]


class Killed(BaseException):
    """As SIGKILL: nothing that the scheduler does follows."""


@pytest.mark.parametrize("after_the_launch", [False, True])
def test_one_killed_at_the_launch_is_followed_by_another_that_launches_the_same(
    make, ledger: Ledger, launches: Launches, after_the_launch: bool
):
    scheduled.added(ledger)
    launch = launches.launch

    def die(*arguments) -> None:
        if after_the_launch:
            launch(*arguments)
        raise Killed

    launches.launch = die
    with pytest.raises(Killed):
        make().tick(at(1))
    launches.launch = launch
    assert statuses(ledger) == [(1, "claimed")]
    second = make()
    second.tick(at(1.01))
    assert statuses(ledger) == [(1, "claimed")]  # the lease is the first one's still
    let_pass(ledger, LEASE + 1)
    second.tick(at(1.02))
    assert statuses(ledger) == [(1, "launched")]
    assert len(launches.asked) == len(launches.states) == 1


def test_a_claim_that_nobody_launched_in_time_is_a_misfire(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger, misfire_grace=timedelta(minutes=10))
    launches.fault = Killed()
    with pytest.raises(Killed):
        make().tick(at(1))
    launches.fault = None
    let_pass(ledger, 660)
    make().tick(at(1.2))
    assert outcomes(ledger) == [(1, "skipped", "misfire: not launched within 600 s of being claimed")]
    assert len(launches.asked) == 1


def test_a_claim_that_was_launched_is_seen_through_however_late(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger, misfire_grace=timedelta(minutes=10))
    make().tick(at(1))
    launches.all_are("succeeded")
    let_pass(ledger, 86_400)
    make().tick(at(1.9))
    assert statuses(ledger) == [(1, "succeeded")]


def test_a_launcher_that_cannot_be_reached_is_asked_again_until_the_grace_is_over(
    make, ledger: Ledger, launches: Launches, said: list[str]
):
    scheduled.added(ledger, misfire_grace=timedelta(minutes=10))
    launches.fault = ServiceError("no answer from http://head:8265")
    patient, eager = make(), make(retry_seconds=0.0)
    patient.tick(at(1))
    patient.tick(at(1.01))
    assert len(launches.asked) == 1
    assert outcomes(ledger) == [(1, "claimed", "no answer from http://head:8265")]
    let_pass(ledger, LEASE + 1)
    eager.tick(at(1.02))
    eager.tick(at(1.03))
    assert len(launches.asked) == 3
    assert len(said) == 1
    let_pass(ledger, 600)
    eager.tick(at(1.2))
    assert outcomes(ledger) == [
        (1, "failed", "not launched within the grace of 600 s: no answer from http://head:8265")
    ]
    assert len(launches.asked) == 3


def test_a_cluster_that_is_gone_holds_up_its_schedules_no_longer_than_the_grace(make, ledger, launches, monkeypatch):
    """It answers nothing at all, so nobody knows whether anything was launched."""
    scheduled.added(ledger, "a", misfire_grace=timedelta(minutes=10))
    scheduled.added(ledger, "b", misfire_grace=timedelta(minutes=10))
    scheduler = make(retry_seconds=0.0)
    scheduler.tick(at(1))
    launches.all_are("running")
    scheduled.added(ledger, "c", misfire_grace=timedelta(minutes=10), now=at(1))
    launches.fault = launches.silence = ClusterError("nothing answers at http://head:8265")
    scheduler.tick(at(2))
    assert statuses(ledger, "a") == [(1, "launched"), (2, "skipped")]
    assert outcomes(ledger, "c") == [(2, "claimed", "nothing answers at http://head:8265")]
    let_pass(ledger, 660)
    scheduler.tick(at(2.1))
    assert statuses(ledger, "c") == [(2, "failed")]
    monkeypatch.setattr("services.scheduling.scheduler.ABANDONED_SECONDS", 0.0)
    scheduler.tick(at(2.2))
    for name in ("a", "b"):
        lost = "nothing is known of it any more: nothing answers at http://head:8265"
        assert outcomes(ledger, name)[0] == (1, "lost", lost)


def test_a_cluster_that_cannot_be_reached_is_asked_once_and_not_for_each_launch(make, ledger, launches):
    scheduled.added(ledger, "a")
    scheduled.added(ledger, "b")
    launches.fault = ClusterError("nothing answers at http://head:8265")
    scheduler = make()
    scheduler.tick(at(1))
    scheduler.tick(at(1.01))
    assert len(launches.asked) == 1
    launches.fault = None
    let_pass(ledger, LEASE + 1)
    make().tick(at(1.03))
    assert {name: statuses(ledger, name) for name in ("a", "b")} == {name: [(1, "launched")] for name in ("a", "b")}


def test_a_launcher_that_cannot_be_reached_holds_up_no_other_schedule(ledger: Ledger, launches: Launches):
    scheduled.added(ledger, "near")
    near = Launches()
    launches.fault = OSError("no route")
    scheduled.added(ledger, "far", options=RunOptions(store="/store", address="http://far"))
    scheduler = Scheduler(ledger, lambda options: launches if options.address else near, "here", lease_seconds=LEASE)
    scheduler.tick(at(1))
    assert outcomes(ledger, "far") == [(1, "claimed", "no route")]
    assert statuses(ledger, "near") == [(1, "launched")]


def test_one_that_is_to_be_replaced_is_stopped_and_followed(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger, overlap="replace")
    scheduler = make()
    scheduler.tick(at(1))
    launches.all_are("running")
    scheduler.tick(at(2))
    scheduler.tick(at(2))
    assert set(launches.stopped) == set(launches.asked)
    assert statuses(ledger) == [(1, "running"), (2, "queued")]
    launches.all_are("stopped", "it was asked to end")
    scheduler.tick(at(2.1))
    scheduler.tick(at(2.1))
    assert outcomes(ledger)[0] == (1, "stopped", "replaced by the one of 2026-01-05 02:00+00:00")
    assert statuses(ledger)[1] == (2, "launched")


def test_one_that_is_to_be_replaced_before_it_was_launched_never_is(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger, overlap="replace")
    launches.fault = ServiceError("not now")
    scheduler = make(retry_seconds=0.0)
    scheduler.tick(at(1))
    launches.fault = None
    scheduler.tick(at(2))
    scheduler.tick(at(2))
    assert outcomes(ledger)[0] == (1, "stopped", "replaced by the one of 2026-01-05 02:00+00:00")
    assert statuses(ledger)[1] == (2, "launched")
    assert list(launches.states) == launches.asked[1:]


def test_one_schedule_that_is_not_understood_any_more_is_told_of_once_and_holds_up_no_other(
    make, ledger: Ledger, launches: Launches, said: list[str]
):
    scheduled.added(ledger, "bad")
    scheduled.added(ledger, "good")
    with ledger.transaction() as connection:
        connection.execute(update(schedules).where(schedules.c.name == "bad").values(timezone="Mars/Olympus"))
    scheduler = make()
    scheduler.tick(at(1))
    scheduler.tick(at(1.1))
    assert statuses(ledger, "good") == [(1, "launched")]
    assert [line for line in said if line.startswith("bad: unknown time zone 'Mars/Olympus'")] == said[:1]


def test_it_runs_until_it_is_stopped_and_hands_over_what_it_holds(make, ledger: Ledger, launches: Launches):
    scheduled.added(ledger)
    stop = threading.Event()

    def clock():
        if launches.asked:
            stop.set()
        return at(1)

    first = make(clock=clock, interval_seconds=0.01)
    assert not has_scheduler(ledger)
    first.run(stop)
    assert not has_scheduler(ledger)
    launches.all_are("succeeded")
    make().tick(at(1.1))
    assert statuses(ledger) == [(1, "succeeded")]


def goes_on(ledger: Ledger, launches: Launches, take_away, give_back) -> None:
    """A scheduler whose ledger is taken away says so, and goes on when it is given back."""
    scheduled.added(ledger)
    said: list[str] = []
    stop, hours = threading.Event(), [0.5]
    scheduler = Scheduler(
        ledger, lambda _: launches, "here", clock=lambda: at(hours[0]), interval_seconds=0.01, say=said.append
    )
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: has_scheduler(ledger))
        take_away()
        hours[0] = 1.0
        wait_until(lambda: said)
        give_back()
        wait_until(lambda: launches.states)
    finally:
        stop.set()
        thread.join()
    assert "cannot be used" in said[0]
    assert statuses(ledger) == [(1, "launched")]
    assert len(launches.asked) == 1


def test_it_goes_on_when_postgres_was_down(server: postgres.Server, launches: Launches):
    ledger = Ledger(server.new_url())
    goes_on(ledger, launches, server.stop, server.start)
    ledger.close()


def test_it_goes_on_when_sqlite_was_busy(tmp_path: Path, launches: Launches, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.ledger.database.BUSY_SECONDS", 0.05)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None, timeout=60)
    goes_on(ledger, launches, lambda: other.execute("begin immediate"), lambda: other.execute("rollback"))
    other.close()
    ledger.close()
