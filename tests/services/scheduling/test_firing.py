"""What fires when: grace, coalescing, overlap, pauses, and clocks that jump."""

from datetime import timedelta

import pytest

from services.ledger.database import Ledger
from services.scheduling.firing import BATCH, Claimant, decide, due_times, fire, may_fire
from services.scheduling.leases import hold, note
from services.scheduling.occurrences import run_now
from services.scheduling.schedules import all_schedules, pause, remove, resume
from tests.support import scheduled
from tests.support.scheduled import at, outcomes, statuses

ME = Claimant("me", lambda _: None, 60.0)


def tick(ledger: Ledger, hours: float) -> None:
    for name in may_fire(ledger, at(hours)):
        fire(ledger, name, at(hours), ME)


def end(ledger: Ledger) -> None:
    """What runs ends well."""
    for held in hold(ledger, "me", "here", 60.0):
        assert note(ledger, "me", held, "succeeded", "")


# --- rules ------------------------------------------------------------------------------------------------------------

LATE = "misfire: found {} late, and the grace is 1:00:00"
INTO_5 = "coalesced into the one of 2026-01-05 05:00+00:00"
BUSY = "overlap: an earlier one was not finished"


@pytest.mark.parametrize(
    ("settings", "now", "busy", "expected"),
    [
        ({}, 1.0, False, {1: ""}),
        ({}, 5.5, False, {1: LATE.format("4:30:00"), 2: LATE.format("3:30:00"), 3: LATE.format("2:30:00")}
            | {4: LATE.format("1:30:00"), 5: ""}),
        ({"misfire_grace": timedelta(hours=3)}, 5.0, False, {1: "misfire: found 4:00:00 late, and the grace is 3:00:00"}
            | {2: INTO_5, 3: INTO_5, 4: INTO_5, 5: ""}),
        ({"misfire_grace": timedelta(days=1)}, 5.9, True, {1: INTO_5, 2: INTO_5, 3: INTO_5, 4: INTO_5, 5: BUSY}),
        ({"misfire_grace": timedelta(days=1), "coalesce": False}, 3.0, False, {1: "", 2: BUSY, 3: BUSY}),
        ({"misfire_grace": timedelta(days=1), "coalesce": False, "overlap": "queue"}, 3.0, True, {1: "", 2: "", 3: ""}),
        ({"overlap": "replace"}, 1.0, True, {1: ""}),
    ],
)  # fmt: skip
def test_what_is_due_is_skipped_for_these_reasons(settings, now, busy, expected):
    schedule = scheduled.schedule(**settings)
    found = decide(schedule, due_times(schedule, at(now)), at(now), busy=busy)
    assert found == {at(hours): reason for hours, reason in expected.items()}


def test_the_grace_is_inclusive():
    schedule = scheduled.schedule(misfire_grace=timedelta(minutes=10))
    assert decide(schedule, [at(1)], at(1, minutes=10), busy=False) == {at(1): ""}
    assert decide(schedule, [at(1)], at(1, minutes=10, seconds=1), busy=False)[at(1)].startswith("misfire")


# --- in the ledger ----------------------------------------------------------------------------------------------------


def test_nothing_fires_before_its_time_and_each_time_once(ledger: Ledger):
    scheduled.added(ledger)
    for hours in (0, 0.5, 0.99):
        assert may_fire(ledger, at(hours)) == []
    for hours in (1, 1, 1.5, 1.99):
        tick(ledger, hours)
    assert statuses(ledger) == [(1, "claimed")]
    end(ledger)
    tick(ledger, 2)
    assert statuses(ledger) == [(1, "succeeded"), (2, "claimed")]


def test_skip_lets_a_running_one_be(ledger: Ledger):
    scheduled.added(ledger)
    for hours in (1, 2, 3):
        tick(ledger, hours)
    assert outcomes(ledger) == [(1, "claimed", ""), (2, "skipped", BUSY), (3, "skipped", BUSY)]
    end(ledger)
    tick(ledger, 4)
    assert statuses(ledger)[-1] == (4, "claimed")


def test_queue_runs_one_after_another(ledger: Ledger):
    scheduled.added(ledger, overlap="queue", coalesce=False)
    for hours in (1, 2, 3):
        tick(ledger, hours)
    assert statuses(ledger) == [(1, "claimed"), (2, "queued"), (3, "queued")]
    end(ledger)
    tick(ledger, 3)
    assert statuses(ledger) == [(1, "succeeded"), (2, "claimed"), (3, "queued")]
    end(ledger)
    tick(ledger, 3)
    assert statuses(ledger) == [(1, "succeeded"), (2, "succeeded"), (3, "claimed")]


def test_a_queue_that_coalesces_keeps_the_latest_alone(ledger: Ledger):
    scheduled.added(ledger, overlap="queue")
    for hours in (1, 2, 3, 4):
        tick(ledger, hours)
    assert outcomes(ledger) == [
        (1, "claimed", ""),
        (2, "skipped", "coalesced into the one of 2026-01-05 03:00+00:00"),
        (3, "skipped", "coalesced into the one of 2026-01-05 04:00+00:00"),
        (4, "queued", ""),
    ]


def test_replace_has_the_running_one_stopped_and_waits_for_its_end(ledger: Ledger):
    scheduled.added(ledger, overlap="replace")
    tick(ledger, 1)
    (running,) = hold(ledger, "me", "here", 60.0)
    assert not running.stop_requested
    tick(ledger, 2)
    tick(ledger, 3)
    (running,) = hold(ledger, "me", "here", 60.0)
    assert running.stop_requested
    assert statuses(ledger) == [(1, "claimed"), (2, "skipped"), (3, "queued")]
    assert note(ledger, "me", running, "stopped", running.reason)
    tick(ledger, 3)
    assert outcomes(ledger) == [
        (1, "stopped", "replaced by the one of 2026-01-05 03:00+00:00"),
        (2, "skipped", "replaced by the one of 2026-01-05 03:00+00:00"),
        (3, "claimed", ""),
    ]


def test_a_paused_schedule_fires_nothing_and_does_not_catch_up(ledger: Ledger):
    scheduled.added(ledger, overlap="queue", misfire_grace=timedelta(days=1))
    tick(ledger, 1)
    tick(ledger, 2)
    pause(ledger, "tiny")
    end(ledger)
    tick(ledger, 4)
    resume(ledger, "tiny", at(4.5))
    tick(ledger, 4.9)
    assert outcomes(ledger) == [(1, "succeeded", ""), (2, "skipped", "the schedule was paused")]
    tick(ledger, 5)
    assert statuses(ledger)[2:] == [(5, "claimed")]


def test_a_removed_schedule_fires_nothing_and_its_history_stays(ledger: Ledger):
    scheduled.added(ledger)
    tick(ledger, 1)
    remove(ledger, "tiny")
    end(ledger)
    tick(ledger, 9)
    assert statuses(ledger) == [(1, "succeeded")]
    scheduled.added(ledger, now=at(9.5))
    tick(ledger, 10)
    assert statuses(ledger) == [(1, "succeeded"), (10, "claimed")]


def test_a_clock_that_is_put_back_fires_nothing_twice(ledger: Ledger):
    scheduled.added(ledger)
    for hours in (1, 2, 3):
        tick(ledger, hours)
        end(ledger)
    for hours in (1, 2, 2.5, 3):
        tick(ledger, hours)
    resume(ledger, "tiny", at(0.5))  # even where someone makes it begin in the past
    for hours in (1, 2, 3):
        tick(ledger, hours)
    assert statuses(ledger) == [(1, "succeeded"), (2, "succeeded"), (3, "succeeded")]
    tick(ledger, 4)
    assert statuses(ledger)[3:] == [(4, "claimed")]


def test_a_clock_that_is_put_forward_is_a_misfire_beyond_the_grace(ledger: Ledger):
    scheduled.added(ledger, misfire_grace=timedelta(hours=2))
    tick(ledger, 1)
    end(ledger)
    tick(ledger, 9.5)
    assert statuses(ledger)[1:] == [*((hours, "skipped") for hours in range(2, 9)), (9, "claimed")]
    reasons = [reason.split()[0] for _, _, reason in outcomes(ledger)[1:-1]]
    assert reasons == ["misfire:"] * 6 + ["coalesced"]


def test_a_very_long_outage_is_noted_in_parts_and_ends_as_a_short_one_does(ledger: Ledger):
    scheduled.added(ledger, cron="* * * * *", coalesce=False, overlap="queue", misfire_grace=timedelta(minutes=3))
    n = 2 * BATCH + 500
    later = n / 60
    tick(ledger, later)
    assert len(statuses(ledger)) == BATCH
    assert {status for _, status in statuses(ledger)} == {"skipped"}
    tick(ledger, later)
    tick(ledger, later)
    found = statuses(ledger)
    assert len({hours for hours, _ in found}) == len(found) == n
    assert [status for _, status in found[-5:]] == ["skipped", "claimed", "queued", "queued", "queued"]
    assert may_fire(ledger, at(later)) == ["tiny"]  # for what waits


def test_one_that_is_asked_for_runs_even_on_a_paused_schedule_but_not_beside_another(ledger: Ledger):
    scheduled.added(ledger)
    pause(ledger, "tiny")
    assert run_now(ledger, "tiny", at(0.25))
    tick(ledger, 0.26)
    assert run_now(ledger, "tiny", at(0.3))
    tick(ledger, 0.31)
    assert statuses(ledger) == [(0.25, "claimed"), (0.3, "queued")]
    end(ledger)
    tick(ledger, 0.32)
    assert statuses(ledger) == [(0.25, "succeeded"), (0.3, "claimed")]


def test_the_next_time_that_is_listed_follows_what_is_decided_on(ledger: Ledger):
    scheduled.added(ledger)
    tick(ledger, 3.5)
    (schedule,) = all_schedules(ledger)
    assert schedule.planned_through == at(3)
    assert schedule.next_times(schedule.planned_through, 1) == [at(4)]
