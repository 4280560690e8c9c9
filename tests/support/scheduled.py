"""Schedules and times for tests, and a look at the ledger's rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.ledger.tables import Clock, occurrences
from services.scheduling.occurrences import history
from services.scheduling.schedules import Schedule, add, define
from services.sweeps.definition import Sweep, parse_sweep, settle

MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)
HOURLY = "0 * * * *"


def at(hours: float, **more: float) -> datetime:
    """So long after midnight."""
    return MIDNIGHT + timedelta(hours=hours, **more)


def sweep(name: str = "tiny") -> Sweep:
    """A settled sweep."""
    return settle(parse_sweep({"name": name, "datasets": ["iris"], "learners": ["svm"], "budget": "quick"}))


def schedule(name: str = "tiny", cron: str = HOURLY, now: datetime = MIDNIGHT, **settings: Any) -> Schedule:
    """An hourly schedule from midnight on."""
    options = settings.pop("options", RunOptions(store="/store"))
    return define(sweep(), cron, options, now, name=name, **settings)


def added(ledger: Ledger, name: str = "tiny", cron: str = HOURLY, now: datetime = MIDNIGHT, **settings: Any) -> None:
    """The same, put into a ledger."""
    add(ledger, schedule(name, cron, now, **settings))


def outcomes(ledger: Ledger, name: str = "tiny") -> list[tuple[float, str, str]]:
    """Hours since midnight, status and reason of every occurrence, the first one first."""
    found = reversed(history(ledger, name, limit=100_000))
    return [((each.planned - MIDNIGHT) / timedelta(hours=1), each.status, each.reason) for each in found]


def statuses(ledger: Ledger, name: str = "tiny") -> list[tuple[float, str]]:
    """The same without reasons."""
    return [(hours, status) for hours, status, _ in outcomes(ledger, name)]


def let_pass(ledger: Ledger, seconds: float) -> None:
    """Make all leases and claims so much older than they are."""
    earlier = {
        "lease_expires": occurrences.c.lease_expires - seconds,
        "claimed_at": occurrences.c.claimed_at - seconds,
    }
    with ledger.transaction() as connection:
        connection.execute(update(occurrences).values(**earlier))


def lease_left(ledger: Ledger) -> list[float]:
    """Seconds that each lease has left, by the database's clock."""
    with ledger.reading() as connection:
        rows = connection.execute(occurrences.select().add_columns(occurrences.c.lease_expires - Clock()))
        return [row[-1] for row in rows]
