"""Schedules: what is kept of them, and what a person does with them."""

import json
from datetime import timedelta

import pytest

from services.errors import ScheduleError
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.scheduling.schedules import add, all_schedules, define, pause, remove, resume
from services.sweeps.definition import parse_sweep
from tests.support import scheduled
from tests.support.scheduled import at


def test_a_schedule_comes_back_as_it_was_given(ledger: Ledger):
    options = RunOptions(store="s3://bucket/store", address="http://head:8265", workers=3, gpus=0.5)
    given = scheduled.schedule(
        cron=" 0  2 * * * ",
        timezone="Europe/Paris",
        overlap="queue",
        misfire_grace=timedelta(minutes=5),
        coalesce=False,
        options=options,
    )
    assert not add(ledger, given)
    assert all_schedules(ledger) == [given]
    assert (given.cron, given.grace, given.state) == ("0 2 * * *", timedelta(minutes=5), "active")
    assert parse_sweep(json.loads(given.sweep)) == scheduled.sweep()
    assert [f"{time:%d %H:%M %Z}" for time in given.next_times(at(0), 2)] == ["05 02:00 CET", "06 02:00 CET"]


def test_it_is_named_as_its_sweep_unless_it_is_given_a_name():
    options = RunOptions(store="/store")
    assert define(scheduled.sweep(), "0 2 * * *", options, at(0)).name == "tiny"
    assert define(scheduled.sweep(), "0 2 * * *", options, at(0), name="nightly").name == "nightly"


def test_added_again_it_is_replaced_and_begins_anew(ledger: Ledger):
    scheduled.added(ledger)
    pause(ledger, "tiny")
    assert add(ledger, scheduled.schedule(cron="30 * * * *", now=at(5)))
    (found,) = all_schedules(ledger)
    assert (found.cron, found.planned_through, found.state) == ("30 * * * *", at(5), "active")


def test_a_removed_one_is_gone_until_it_is_added_again(ledger: Ledger):
    scheduled.added(ledger)
    remove(ledger, "tiny")
    assert all_schedules(ledger) == []
    assert [schedule.state for schedule in all_schedules(ledger, removed=True)] == ["removed"]
    assert not add(ledger, scheduled.schedule())
    assert [schedule.state for schedule in all_schedules(ledger)] == ["active"]


def test_paused_it_stays_what_it_is_and_resumed_it_begins_now(ledger: Ledger):
    scheduled.added(ledger)
    pause(ledger, "tiny")
    assert [(s.state, s.planned_through) for s in all_schedules(ledger)] == [("paused", at(0))]
    resume(ledger, "tiny", at(7.5))
    assert [(s.state, s.planned_through) for s in all_schedules(ledger)] == [("active", at(7.5))]


def test_one_that_there_is_not_is_told_of_with_those_that_are_near(ledger: Ledger):
    scheduled.added(ledger, "nightly")
    scheduled.added(ledger, "gone")
    remove(ledger, "gone")
    with pytest.raises(ScheduleError, match="no schedule 'nihgtly': did you mean 'nightly'\\?"):
        pause(ledger, "nihgtly")
    with pytest.raises(ScheduleError, match="no schedule 'x': `basin schedule list` lists them"):
        resume(ledger, "x", at(0))
    with pytest.raises(ScheduleError, match="no schedule 'gone'"):
        remove(ledger, "gone")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cron": "0 25 * * *"}, "hour is '25'"),
        ({"timezone": "Paris"}, "did you mean 'Europe/Paris'"),
        ({"name": "../x"}, "schedule name '../x': expected letters"),
        ({"misfire_grace": timedelta(0)}, "misfire grace of 0:00:00: expected between 1 second and 31 days"),
        ({"misfire_grace": timedelta(days=32)}, "misfire grace of 32 days"),
        ({"options": RunOptions(store="/s", address="h:1", workers=0)}, "leave the address or workers out"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, expected):
    with pytest.raises(ScheduleError, match=expected):
        scheduled.schedule(**settings)
