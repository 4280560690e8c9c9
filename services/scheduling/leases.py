"""Who is at work on which occurrence. A lease that is not renewed ends by the database's clock; another takes over."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, func, or_, select, update

from services.launching.options import RunOptions
from services.ledger.database import Ledger, insert_new
from services.ledger.tables import Clock, definitions, occurrences, schedulers, schedules
from services.scheduling.occurrences import ACTIVE, Status

SEEN_SECONDS = 60.0  # a scheduler that was not seen for so long is taken for gone
_FORGET_SECONDS = 86_400.0


class Held(NamedTuple):
    """An occurrence that this scheduler is to see through.

    Attributes:
        age_seconds: since it was claimed, by the database's clock.
    """

    schedule: str
    planned: datetime
    status: Status
    stop_requested: bool
    reason: str
    launch_id: str
    sweep: str
    options: RunOptions
    misfire_grace_seconds: int
    age_seconds: float


def hold(ledger: Ledger, holder: str, place: str, lease_seconds: float) -> list[Held]:
    """Renew the leases of a holder, take over those that have ended, and return all that it holds.

    Launches that can be seen at another place alone are left to the schedulers there.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    lease = occurrences.c.lease_expires
    # A clock that was put back leaves leases far in the future: those have ended, too.
    ended = or_(lease <= Clock(), lease > Clock() + 2 * lease_seconds)
    renewable = and_(occurrences.c.holder == holder, lease <= Clock() + lease_seconds / 2)
    seen = or_(occurrences.c.place.is_(None), occurrences.c.place == place)
    active = occurrences.c.status.in_(ACTIVE)
    found = (
        select(
            *(column for column in occurrences.c if column.name in Held._fields),
            definitions.c.sweep,
            definitions.c.options,
            schedules.c.misfire_grace_seconds,
            (Clock() - occurrences.c.claimed_at).label("age_seconds"),
        )
        .join(definitions, occurrences.c.definition == definitions.c.digest)
        .join(schedules, occurrences.c.schedule == schedules.c.name)
        .where(active, occurrences.c.holder == holder)
        .order_by(occurrences.c.planned)
    )
    with ledger.transaction() as connection:
        taken = update(occurrences).where(active, seen, or_(ended, renewable))
        connection.execute(taken.values(holder=holder, lease_expires=Clock() + lease_seconds))
        rows = connection.execute(found).all()
    return [Held(**{**row._mapping, "options": RunOptions.model_validate_json(row.options)}) for row in rows]


def note(ledger: Ledger, holder: str, held: Held, status: Status, reason: str) -> bool:
    """Note what became of an occurrence. Returns False where another has taken it over, and nothing is noted.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    mine = and_(
        occurrences.c.schedule == held.schedule,
        occurrences.c.planned == held.planned,
        occurrences.c.holder == holder,
        occurrences.c.status.in_(ACTIVE),
    )
    values: dict[str, Any] = {"status": status, "reason": reason}
    if status not in ACTIVE:
        values |= {"ended_at": Clock(), "lease_expires": None}
    with ledger.transaction() as connection:
        return bool(connection.execute(update(occurrences).where(mine).values(**values)).rowcount)


def abandon(ledger: Ledger, place: str, after_seconds: float) -> int:
    """Note as lost what can be seen at other places alone, where no scheduler has renewed its lease for so long.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    elsewhere = and_(
        occurrences.c.status.in_(ACTIVE),
        occurrences.c.place != place,
        occurrences.c.lease_expires < Clock() - after_seconds,
    )
    reason = "no scheduler has been at work for long where it was launched: " + occurrences.c.place
    lost = {"status": "lost", "reason": reason, "ended_at": Clock(), "lease_expires": None}
    with ledger.transaction() as connection:
        return connection.execute(update(occurrences).where(elsewhere).values(**lost)).rowcount


def release(ledger: Ledger, holder: str) -> None:
    """Let others take over at once what a holder holds: it ends.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    mine = and_(occurrences.c.holder == holder, occurrences.c.status.in_(ACTIVE))
    with ledger.transaction() as connection:
        connection.execute(update(occurrences).where(mine).values(lease_expires=0.0))
        connection.execute(delete(schedulers).where(schedulers.c.holder == holder))


def appear(ledger: Ledger, holder: str) -> None:
    """Say that this scheduler is at work.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with ledger.transaction() as connection:
        connection.execute(delete(schedulers).where(schedulers.c.seen_at < Clock() - _FORGET_SECONDS))
        if not insert_new(connection, schedulers, [{"holder": holder, "seen_at": Clock()}]):
            connection.execute(update(schedulers).where(schedulers.c.holder == holder).values(seen_at=Clock()))


def has_scheduler(ledger: Ledger) -> bool:
    """Whether a scheduler was at work on the ledger within the last minute.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    seen = select(func.count()).where(schedulers.c.seen_at > Clock() - SEEN_SECONDS)
    with ledger.reading() as connection:
        return bool(connection.execute(seen).scalar_one())
