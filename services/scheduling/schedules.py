"""Schedules: what is to be run, when, and what a person does with them. What fires them is
`services.scheduling.scheduler`.
"""

import re
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal

from sqlalchemy import Row, Select, and_, select, update
from sqlalchemy.engine import Connection

from models.spec.settings import Settings, canonical_json
from models.spelling import did_you_mean
from services.errors import ScheduleError
from services.launching.options import RunOptions
from services.ledger.database import Ledger, insert_new
from services.ledger.tables import Clock, definitions, digest_of, occurrences, schedules
from services.scheduling.cron import cron
from services.sweeps.definition import NAME, NAME_WORDS, Sweep

Overlap = Literal["skip", "queue", "replace"]
State = Literal["active", "paused", "removed"]

LONGEST_GRACE = timedelta(days=31)


class Schedule(Settings):
    """A sweep, and when it is run.

    Attributes:
        sweep: the settled sweep as canonical JSON.
        overlap: what becomes of an occurrence that comes due while an earlier one is not finished: skip it, queue it,
            or stop the earlier one and run it instead.
        misfire_grace_seconds: an occurrence that is found due later than this is skipped.
        coalesce: of several that are due at once, the latest alone is run.
        planned_through: times up to this one are decided on.
    """

    name: str
    cron: str
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    misfire_grace_seconds: int = 3600
    coalesce: bool = True
    state: State = "active"
    sweep: str
    options: RunOptions
    planned_through: datetime

    @property
    def grace(self) -> timedelta:
        """How late an occurrence may be."""
        return timedelta(seconds=self.misfire_grace_seconds)

    def next_times(self, after: datetime, n: int) -> list[datetime]:
        """The next `n` times later than a moment, in the schedule's zone.

        Raises:
            ScheduleError: the expression or the zone is wrong.
        """
        return [self.local(time) for time in islice(cron(self.cron, self.timezone).after(after), n)]

    def upcoming(self, now: datetime, n: int) -> list[datetime]:
        """The next `n` times that it fires, on its own clocks; none where it is paused or removed."""
        return self.next_times(max(now, self.planned_through), n) if self.state == "active" else []

    def local(self, moment: datetime) -> datetime:
        """A moment on the clocks of the schedule's zone."""
        return cron(self.cron, self.timezone).local(moment)


def define(
    sweep: Sweep,
    expression: str,
    options: RunOptions,
    now: datetime,
    *,
    name: str | None = None,
    timezone: str = "UTC",
    overlap: Overlap = "skip",
    misfire_grace: timedelta = timedelta(hours=1),
    coalesce: bool = True,
) -> Schedule:
    """A schedule of a settled sweep, named as the sweep unless it is given a name. Its first time is later than `now`.

    Raises:
        ScheduleError: a wrong expression, zone, name or grace, or options that contradict each other.
    """
    cron(expression, timezone)
    if not re.fullmatch(NAME, name := name or sweep.name):
        raise ScheduleError(f"schedule name {name!r}: {NAME_WORDS}")
    if not timedelta(seconds=1) <= misfire_grace <= LONGEST_GRACE:
        raise ScheduleError(
            f"misfire grace of {misfire_grace}: expected between 1 second and {LONGEST_GRACE.days} days"
        )
    workers = sweep.resources.workers if options.workers is None else options.workers
    if options.address and workers == 0:
        raise ScheduleError("no workers work in one process, so no cluster is asked: leave the address or workers out")
    return Schedule(
        name=name,
        cron=" ".join(expression.split()),
        timezone=timezone,
        overlap=overlap,
        misfire_grace_seconds=round(misfire_grace.total_seconds()),
        coalesce=coalesce,
        sweep=canonical_json(sweep),
        options=options,
        planned_through=now,
    )


def add(ledger: Ledger, schedule: Schedule) -> bool:
    """Put a schedule into the ledger. One of the same name is replaced, and keeps its history. Returns whether one was.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    row = schedule.model_dump(exclude={"sweep", "options"})
    with ledger.transaction() as connection:
        row["definition"] = _put_definition(connection, schedule)
        before = state_of(connection, schedule.name)
        if not insert_new(connection, schedules, [row]):
            connection.execute(update(schedules).where(schedules.c.name == schedule.name).values(**row))
    return before not in (None, "removed")


def all_schedules(ledger: Ledger, *, removed: bool = False) -> list[Schedule]:
    """The schedules of a ledger by name; those that were removed are left out unless asked for.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    found = select_schedules().order_by(schedules.c.name)
    if not removed:
        found = found.where(schedules.c.state != "removed")
    with ledger.reading() as connection:
        return [schedule_of(row) for row in connection.execute(found)]


def get(ledger: Ledger, name: str) -> Schedule:
    """The schedule of a name.

    Raises:
        ScheduleError: there is none of this name.
    """
    found = select_schedules().where(schedules.c.name == name, schedules.c.state != "removed")
    with ledger.reading() as connection:
        row = connection.execute(found).one_or_none()
        if row is None:
            raise unknown_schedule(connection, name)
        return schedule_of(row)


def pause(ledger: Ledger, name: str) -> None:
    """Let nothing of it fire until it is resumed. What waits is skipped, what runs goes on.

    Raises:
        ScheduleError: there is none of this name.
    """
    _set(ledger, name, state="paused", skipped="the schedule was paused")


def resume(ledger: Ledger, name: str, now: datetime) -> None:
    """Let it fire from now on. What would have been due before is not made up for.

    Raises:
        ScheduleError: there is none of this name.
    """
    _set(ledger, name, state="active", planned_through=now)


def remove(ledger: Ledger, name: str) -> None:
    """Let it never fire again. What waits is skipped, what runs goes on, and its history stays.

    Raises:
        ScheduleError: there is none of this name.
    """
    _set(ledger, name, state="removed", skipped="the schedule was removed")


def select_schedules() -> Select[Any]:
    """Schedules with their definitions."""
    return select(schedules, definitions.c.sweep, definitions.c.options).join(definitions)


def schedule_of(row: Row[Any]) -> Schedule:
    """The schedule of a row of `select_schedules`."""
    fields = {name: value for name, value in row._mapping.items() if name not in ("definition", "options")}
    return Schedule(**fields, options=RunOptions.model_validate_json(row.options))


def _put_definition(connection: Connection, schedule: Schedule) -> str:
    row = {"sweep": schedule.sweep, "options": canonical_json(schedule.options)}
    digest = digest_of(**row)
    insert_new(connection, definitions, [{"digest": digest, **row}])
    return digest


def _set(ledger: Ledger, name: str, skipped: str = "", **values: Any) -> None:
    known = and_(schedules.c.name == name, schedules.c.state != "removed")
    waiting = and_(occurrences.c.schedule == name, occurrences.c.status == "queued")
    with ledger.transaction() as connection:
        if not connection.execute(update(schedules).where(known).values(**values)).rowcount:
            raise unknown_schedule(connection, name)
        if skipped:
            ended = {"status": "skipped", "reason": skipped, "ended_at": Clock()}
            connection.execute(update(occurrences).where(waiting).values(**ended))


def state_of(connection: Connection, name: str) -> State | None:
    """Its state; None where there was never one of this name."""
    return connection.execute(select(schedules.c.state).where(schedules.c.name == name)).scalar_one_or_none()


def unknown_schedule(connection: Connection, name: str) -> ScheduleError:
    """That there is no such schedule, with those that are near."""
    names = list(connection.execute(select(schedules.c.name).where(schedules.c.state != "removed")).scalars())
    return ScheduleError(f"no schedule {name!r}: {did_you_mean(name, names, '`basin schedule list` lists them')}")
