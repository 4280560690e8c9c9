"""The tables of the ledger, their types, and the clock of its database.

    ledger        schema version, and the identity that tells this ledger from others
    definitions   what is run, by the digest of it: a settled sweep and the options of its command
    schedules     when, and which definition
    occurrences   one row for each schedule and planned time, whatever became of it
    schedulers    who was seen last at what time
    tokens        who may use the HTTP API, and for what
    submissions   sweeps that the HTTP API accepted, and what became of them
    requests      which submission answered a request that may be repeated, by its idempotency key

Change a table, and `VERSION` with it; one that is new is made in ledgers that lack it.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

VERSION = 1


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, in UTC whatever the database makes of time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """From UTC, which SQLite keeps without saying so."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class Clock(FunctionElement[float]):
    """Seconds since 1970 by the database's clock: leases need no agreement between the clocks of machines."""

    type = Double()
    inherit_cache = True


@compiles(Clock, "sqlite")
def _sqlite_clock(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Clock, "postgresql")
def _postgres_clock(*_: Any, **__: Any) -> str:
    return "cast(extract(epoch from clock_timestamp()) as double precision)"


def digest_of(sweep: str, options: str) -> str:
    """What tells a definition from others."""
    return hashlib.sha256(f"{sweep}\n{options}".encode()).hexdigest()[:32]


metadata = MetaData()

ledgers = Table("ledger", metadata, Column("version", Integer, primary_key=True), Column("identity", String(32)))

definitions = Table(
    "definitions",
    metadata,
    Column("digest", String(32), primary_key=True),
    Column("sweep", Text, nullable=False),
    Column("options", Text, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("overlap", String(16), nullable=False),
    Column("misfire_grace_seconds", Integer, nullable=False),
    Column("coalesce", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("definition", ForeignKey("definitions.digest"), nullable=False),
    Column("planned_through", UtcDateTime, nullable=False),  # later times are not decided on yet
)

occurrences = Table(
    "occurrences",
    metadata,
    Column("schedule", ForeignKey("schedules.name"), primary_key=True),
    Column("planned", UtcDateTime, primary_key=True),
    Column("definition", ForeignKey("definitions.digest"), nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column("launch_id", String(128), nullable=False),
    Column("place", Text),  # where alone the launch can be seen; null: anywhere
    Column("holder", String(128)),
    # Seconds by the database's clock.
    Column("lease_expires", Double),
    Column("claimed_at", Double),
    Column("ended_at", Double),
    Index("occurrences_by_status", "status"),
)

schedulers = Table(
    "schedulers", metadata, Column("holder", String(128), primary_key=True), Column("seen_at", Double, nullable=False)
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("last_four", String(4), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime),
    Column("revoked", UtcDateTime),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("active_name", String(64), unique=True),  # the name until it has ended: a sweep is at work once at a time
    Column("definition", Text, nullable=False),  # the settled sweep as canonical JSON
    Column("runs", Integer, nullable=False),
    Column("submitter", String(64), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False),
    Column("stop_requested", Boolean, nullable=False),
    Column("ended", UtcDateTime),
    Index("submissions_by_name", "name", "created"),
)

requests = Table(
    "requests",
    metadata,
    Column("submitter", String(64), primary_key=True),
    Column("idempotency_key", String(200), primary_key=True),
    Column("body_sha256", String(64), nullable=False),
    Column("submission", String(32), nullable=False),
)
