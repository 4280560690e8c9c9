"""What the pages say of schedules."""

import json
from datetime import datetime
from typing import Any

from services.ledger.database import Ledger
from services.scheduling import occurrences
from services.scheduling.leases import has_scheduler
from services.scheduling.schedules import Schedule, all_schedules

UPCOMING = 5
HISTORY = 100


def listing(ledger: Ledger, now: datetime) -> dict[str, Any]:
    """The schedules, each with when it fires next and what became of its last occurrence."""
    last = occurrences.latest(ledger)
    rows = [
        {
            **{name: getattr(each, name) for name in ("name", "cron", "timezone", "state")},
            "next": next(iter(_upcoming(each, now, 1)), None),
            "last": last.get(each.name),
        }
        for each in all_schedules(ledger)
    ]
    return {"schedules": rows, "at_work": has_scheduler(ledger)}


def facts(ledger: Ledger, name: str, now: datetime) -> dict[str, Any]:
    """One schedule, a removed one too, and its history.

    Raises:
        ScheduleError: there was never one of this name.
    """
    history = occurrences.history(ledger, name, HISTORY)
    (schedule,) = (each for each in all_schedules(ledger, removed=True) if each.name == name)
    definition = json.loads(schedule.sweep)
    return {
        "schedule": schedule,
        "upcoming": _upcoming(schedule, now, UPCOMING),
        "history": [{**each.model_dump(), "took": _took(each)} for each in history],
        "sweep": definition["name"],
        "definition": json.dumps(definition, indent=2, ensure_ascii=False),
    }


def _upcoming(schedule: Schedule, now: datetime, n: int) -> list[str]:
    """On the clocks of its zone; none where it is paused or removed."""
    if schedule.state != "active":
        return []
    return [f"{time:%a %Y-%m-%d %H:%M %Z}" for time in schedule.next_times(max(now, schedule.planned_through), n)]


def _took(occurrence: occurrences.Occurrence) -> float | None:
    if occurrence.claimed is None or occurrence.ended is None:
        return None
    return (occurrence.ended - occurrence.claimed).total_seconds()
