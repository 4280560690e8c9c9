"""When a schedule fires: what is due is decided on once, and one occurrence at a time is claimed."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.engine import Connection

from services.errors import ScheduleError
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.ledger.tables import Clock, definitions, occurrences, schedules
from services.scheduling.cron import cron, next_time
from services.scheduling.occurrences import ACTIVE, Status, key, queue
from services.scheduling.schedules import Schedule, schedule_of, select_schedules

BATCH = 1000  # occurrences missed long ago that are noted in one transaction


class Claimant(NamedTuple):
    """A scheduler, as it claims.

    Attributes:
        holder: its name, unlike any other's.
        place_of: where alone a launch with these options can be seen; None: anywhere.
        lease_seconds: how long a claim holds unless it is renewed.
    """

    holder: str
    place_of: Callable[[RunOptions], str | None]
    lease_seconds: float


def may_fire(ledger: Ledger, now: datetime) -> list[str]:
    """Names of the schedules that have something due or waiting, as read without waiting for anybody."""
    waiting = select(occurrences.c.schedule).where(occurrences.c.status == "queued").distinct()
    columns = (schedules.c.name, schedules.c.cron, schedules.c.timezone, schedules.c.planned_through)
    timed = select(*columns).where(schedules.c.state == "active")
    with ledger.reading() as connection:
        names = set(connection.execute(waiting).scalars())
        rows = connection.execute(timed).all()
    for name, *when in rows:
        try:
            following = next_time(*when)
        except ScheduleError:  # a zone that was renamed, say: `fire` tells of it
            following = now
        if following is not None and following <= now:
            names.add(name)
    return sorted(names)


def fire(ledger: Ledger, name: str, now: datetime, claimant: Claimant) -> None:
    """Decide on what is due, and claim the occurrence that is to be launched, if any.

    All in one transaction, one scheduler at a time: one that is killed has done all of it, or nothing.

    Raises:
        ScheduleError: the schedule's expression or zone is no longer understood.
        LedgerError: the ledger cannot be used.
    """
    locked = select_schedules().where(schedules.c.name == name).with_for_update(of=schedules, skip_locked=True)
    with ledger.transaction() as connection:
        row = connection.execute(locked).one_or_none()
        if row is None:
            return
        schedule = schedule_of(row)
        if schedule.state == "active":
            _queue_due(connection, ledger, row, schedule, now)
        waiting = _thin_out(connection, schedule)
        if not waiting:
            return
        if not _has(connection, name, *ACTIVE):
            _claim(connection, waiting[0], claimant)
        elif schedule.overlap == "replace":
            reason = f"replaced by the one of {_words(schedule, waiting[0].planned)}"
            running = and_(occurrences.c.schedule == name, occurrences.c.status.in_(ACTIVE))
            connection.execute(update(occurrences).where(running).values(stop_requested=True, reason=reason))


def due_times(schedule: Schedule, now: datetime) -> list[datetime]:
    """The times up to `now` that are not decided on. Where very many were missed, the first of them alone."""
    found: list[datetime] = []
    times = cron(schedule.cron, schedule.timezone).after(schedule.planned_through)
    for time in takewhile(lambda time: time <= now, times):
        if len(found) >= BATCH and now - found[-1] > schedule.grace:
            break
        found.append(time)
    return found


def decide(schedule: Schedule, due: Sequence[datetime], now: datetime, *, busy: bool) -> dict[datetime, str]:
    """Why each time that is due is skipped; empty where it is not.

    Args:
        schedule: its grace, and whether it coalesces and lets occurrences overlap.
        due: ascending.
        now: what the wall clock says.
        busy: an earlier occurrence is waiting or running.
    """
    reasons: dict[datetime, str] = {}
    for time in due:
        if (late := now - time) > schedule.grace:
            late = timedelta(seconds=int(late.total_seconds()))
            reasons[time] = f"misfire: found {late} late, and the grace is {schedule.grace}"
        elif schedule.coalesce and time != due[-1]:
            reasons[time] = f"coalesced into the one of {_words(schedule, due[-1])}"
        elif schedule.overlap == "skip" and busy:
            reasons[time] = "overlap: an earlier one was not finished"
        else:
            reasons[time] = ""
            busy = True
    return reasons


def _queue_due(connection: Connection, ledger: Ledger, row: Row[Any], schedule: Schedule, now: datetime) -> None:
    if not (due := due_times(schedule, now)):
        return
    busy = _has(connection, schedule.name, "queued", *ACTIVE)
    queue(connection, ledger, row, decide(schedule, due, now, busy=busy), "cron")
    connection.execute(update(schedules).where(schedules.c.name == schedule.name).values(planned_through=due[-1]))


def _thin_out(connection: Connection, schedule: Schedule) -> Sequence[Row[Any]]:
    """What waits, the oldest first. Where one stands for all before it, those are skipped."""
    waits = and_(occurrences.c.schedule == schedule.name, occurrences.c.status == "queued")
    found = select(occurrences, definitions.c.options).join(definitions).where(waits).order_by(occurrences.c.planned)
    waiting = connection.execute(found).all()
    if len(waiting) < 2 or not (schedule.coalesce or schedule.overlap == "replace"):
        return waiting
    last = waiting[-1]
    word = "replaced by" if schedule.overlap == "replace" else "coalesced into"
    reason = f"{word} the one of {_words(schedule, last.planned)}"
    older = and_(waits, occurrences.c.planned < last.planned)
    connection.execute(update(occurrences).where(older).values(status="skipped", reason=reason, ended_at=Clock()))
    return [last]


def _claim(connection: Connection, occurrence: Row[Any], claimant: Claimant) -> None:
    claim = {
        "status": "claimed",
        "place": claimant.place_of(RunOptions.model_validate_json(occurrence.options)),
        "holder": claimant.holder,
        "lease_expires": Clock() + claimant.lease_seconds,
        "claimed_at": Clock(),
    }
    connection.execute(update(occurrences).where(key(occurrence)).values(**claim))


def _has(connection: Connection, name: str, *statuses: Status) -> bool:
    of_these = and_(occurrences.c.schedule == name, occurrences.c.status.in_(statuses))
    return bool(connection.execute(select(func.count()).where(of_these)).scalar_one())


def _words(schedule: Schedule, moment: datetime) -> str:
    return schedule.local(moment).isoformat(" ", "minutes")
