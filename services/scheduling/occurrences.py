"""Occurrences: a schedule at one planned time, and what became of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Row, and_, func, null, select
from sqlalchemy.engine import Connection

from services.ledger.database import Ledger, insert_new
from services.ledger.tables import Clock, occurrences, schedules
from services.scheduling.schedules import select_schedules, state_of, unknown_schedule

Trigger = Literal["cron", "manual"]
Status = Literal["queued", "claimed", "launched", "running", "succeeded", "failed", "stopped", "lost", "skipped"]

ACTIVE: tuple[Status, ...] = ("claimed", "launched", "running")


class Occurrence(BaseModel):
    """What became of a schedule at one planned time.

    It is queued, claimed by a scheduler, launched (its process or job exists), running, and then succeeded, failed,
    stopped (by a person or its replacement) or lost (it ended and left no word). Or it is skipped.

    Attributes:
        trigger: `cron`, or `manual` where a person asked for it.
        reason: why it was skipped, failed, was stopped or lost.
        launch_id: names its launch for ever, so that it is never launched twice.
        claimed, ended: by the database's clock.
    """

    model_config = ConfigDict(frozen=True)

    schedule: str
    planned: datetime
    trigger: Trigger
    status: Status
    reason: str
    launch_id: str
    claimed: datetime | None
    ended: datetime | None


def run_now(ledger: Ledger, name: str, now: datetime) -> bool:
    """Ask for an occurrence at this second; it runs as soon as none of the schedule is running, paused or not.

    Returns False where that second has one already.

    Raises:
        ScheduleError: there is none of this name.
    """
    with ledger.transaction() as connection:
        row = connection.execute(
            select_schedules().where(schedules.c.name == name).with_for_update(of=schedules)
        ).one_or_none()
        if row is None or row.state == "removed":
            raise unknown_schedule(connection, name)
        return bool(queue(connection, ledger, row, {now.replace(microsecond=0): ""}, "manual"))


def history(ledger: Ledger, name: str | None = None, limit: int = 20) -> list[Occurrence]:
    """The last occurrences, the latest planned time first, of one schedule or all; removed ones have theirs still.

    Raises:
        ScheduleError: there was never one of this name.
    """
    found = select(occurrences).order_by(occurrences.c.planned.desc(), occurrences.c.schedule).limit(limit)
    with ledger.reading() as connection:
        if name is not None:
            if state_of(connection, name) is None:
                raise unknown_schedule(connection, name)
            found = found.where(occurrences.c.schedule == name)
        return [_occurrence(row) for row in connection.execute(found)]


def latest(ledger: Ledger) -> dict[str, Occurrence]:
    """The last occurrence of each schedule that has one.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    last = (
        select(occurrences.c.schedule, func.max(occurrences.c.planned).label("planned"))
        .group_by(occurrences.c.schedule)
        .subquery()
    )
    is_last = and_(occurrences.c.schedule == last.c.schedule, occurrences.c.planned == last.c.planned)
    with ledger.reading() as connection:
        return {row.schedule: _occurrence(row) for row in connection.execute(select(occurrences).join(last, is_last))}


def queue(
    connection: Connection, ledger: Ledger, schedule: Row[Any], planned: Mapping[datetime, str], trigger: Trigger
) -> int:
    """Put occurrences into the ledger: queued, or skipped where they have a reason. Returns how many are new.

    The primary key decides: a planned time that has an occurrence already keeps it.
    """
    return insert_new(
        connection,
        occurrences,
        (
            {
                "schedule": schedule.name,
                "planned": time,
                "definition": schedule.definition,
                "trigger": trigger,
                "status": "skipped" if reason else "queued",
                "reason": reason,
                "stop_requested": False,
                "launch_id": f"{schedule.name}-{time.astimezone(UTC):%Y%m%dT%H%M%SZ}-{ledger.identity[:8]}",
                "ended_at": Clock() if reason else null(),
            }
            for time, reason in planned.items()
        ),
    )


def key(occurrence: Row[Any]) -> ColumnElement[bool]:
    """The condition that picks one occurrence by its primary key."""
    return and_(occurrences.c.schedule == occurrence.schedule, occurrences.c.planned == occurrence.planned)


def _occurrence(row: Row[Any]) -> Occurrence:
    times = {"claimed": _moment(row.claimed_at), "ended": _moment(row.ended_at)}
    return Occurrence.model_validate({**row._mapping, **times})


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
