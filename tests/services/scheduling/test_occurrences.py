"""Occurrences: asked for by a person, and looked back at."""

import pytest

from services.errors import ScheduleError
from services.ledger.database import Ledger
from services.scheduling.firing import Claimant, fire
from services.scheduling.leases import hold, note
from services.scheduling.occurrences import history, latest, run_now
from services.scheduling.schedules import remove
from tests.support import scheduled
from tests.support.scheduled import at

ME = Claimant("me", lambda _: None, 60.0)


def test_one_that_is_asked_for_is_queued_and_once_a_second(ledger: Ledger):
    scheduled.added(ledger)
    assert run_now(ledger, "tiny", at(0.5, microseconds=400_000))
    assert not run_now(ledger, "tiny", at(0.5, microseconds=900_000))
    (found,) = history(ledger)
    assert (found.planned, found.trigger, found.status, found.claimed) == (at(0.5), "manual", "queued", None)


def test_launch_ids_tell_schedules_times_and_ledgers_apart(ledger: Ledger):
    for name in ("a", "b"):
        scheduled.added(ledger, name)
        for hours in (0.25, 0.5):
            run_now(ledger, name, at(hours))
    ids = {found.launch_id for found in history(ledger)}
    own = ledger.identity[:8]
    assert ids == {f"{name}-20260105T00{minutes}00Z-{own}" for name in ("a", "b") for minutes in (15, 30)}


def test_the_history_has_the_latest_first_and_tells_how_long_each_took(ledger: Ledger):
    scheduled.added(ledger, "a")
    scheduled.added(ledger, "b")
    fire(ledger, "a", at(1), ME)
    (held,) = hold(ledger, "me", "here", 60.0)
    scheduled.let_pass(ledger, 20.0)
    note(ledger, "me", held, "failed", "why")
    fire(ledger, "b", at(2), ME)
    assert [(o.schedule, o.planned) for o in history(ledger)] == [("b", at(2)), ("a", at(1)), ("b", at(1))]
    (failed,) = history(ledger, "a")
    assert (failed.status, failed.reason) == ("failed", "why")
    assert 20 <= (failed.ended - failed.claimed).total_seconds() < 25
    assert len(history(ledger, limit=2)) == 2
    assert {name: found.planned for name, found in latest(ledger).items()} == {"a": at(1), "b": at(2)}


def test_a_removed_schedule_has_a_history_and_an_unknown_one_has_none(ledger: Ledger):
    scheduled.added(ledger, "nightly")
    run_now(ledger, "nightly", at(0))
    remove(ledger, "nightly")
    assert [(o.status, o.reason) for o in history(ledger, "nightly")] == [("skipped", "the schedule was removed")]
    with pytest.raises(ScheduleError, match="no schedule 'x'"):
        history(ledger, "x")
    with pytest.raises(ScheduleError, match="no schedule 'nightly'"):
        run_now(ledger, "nightly", at(1))
