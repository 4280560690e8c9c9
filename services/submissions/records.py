"""Sweeps that were accepted over the network: in the ledger before the answer, and there until they have ended.

What hands them to the cluster is `services.submissions.dispatcher`. A submission is accepted, submitted (its job
waits), running, and then succeeded, failed or stopped. Of one name, one at a time is active.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime
from itertools import batched
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, func, select, update
from sqlalchemy.engine import Connection

from models.spec.settings import canonical_json
from services.errors import ConflictError
from services.ledger.database import Ledger, insert_new
from services.ledger.tables import requests, submissions
from services.sweeps.definition import Sweep

State = Literal["accepted", "submitted", "running", "succeeded", "failed", "stopped"]
PREFIX = "basin-"  # of jobs' ids, as `basin jobs list` knows those of sweeps
ACTIVE: tuple[State, ...] = ("accepted", "submitted", "running")
_NAMES_AT_ONCE = 1000  # databases bound how many values one question may have


class Submission(BaseModel):
    """An accepted sweep.

    Attributes:
        name: of the sweep.
        definition: the settled sweep as canonical JSON.
        runs: that it asks for, at most: learners that do not suit a dataset are left out of it later.
        submitter: name of the token.
        reason: why it failed or was stopped, or is not at the cluster yet.
        attempt: number of its job; another follows where the cluster lost the last one.
        stop_requested: it ends as soon as it can.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    definition: str
    runs: int
    submitter: str
    created: datetime
    state: State
    reason: str
    attempt: int
    stop_requested: bool
    ended: datetime | None

    @property
    def job_id(self) -> str:
        """Of its job, for ever: a job of this id is never submitted twice."""
        return f"{PREFIX}{self.name}-{self.id[:12]}-{self.attempt}"

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE


class Key(NamedTuple):
    """What tells a repeated request from another one.

    Attributes:
        text: chosen by the submitter.
        body_sha256: of what the request asked for.
    """

    text: str
    body_sha256: str


class Accepted(NamedTuple):
    """The submission that answers a request, and whether it was made for it."""

    submission: Submission
    is_new: bool


def accept(ledger: Ledger, sweep: Sweep, runs: int, submitter: str, now: datetime, key: Key | None = None) -> Accepted:
    """Record a settled sweep: when this returns, it is run to its end, whatever is killed.

    The same sweep, where it is active already, is that submission.

    Raises:
        ConflictError: the submitter gave the key to another request, or another sweep of this name is active.
        LedgerError: the ledger cannot be used.
    """
    row: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "name": sweep.name,
        "active_name": sweep.name,
        "definition": canonical_json(sweep),
        "runs": runs,
        "submitter": submitter,
        "created": now,
        "state": "accepted",
        "reason": "",
        "attempt": 1,
        "stop_requested": False,
    }
    with ledger.transaction() as connection:
        if key is not None:
            asked = {"submitter": submitter, "idempotency_key": key.text, "body_sha256": key.body_sha256}
            if not insert_new(connection, requests, [asked | {"submission": row["id"]}]):
                before = _answer(connection, submitter, key)
                assert before is not None  # both rows are of one transaction
                return Accepted(before, is_new=False)
        while not insert_new(connection, submissions, [row]):
            other = _active(connection, sweep.name)
            if other is None:  # it has just ended
                continue
            if other.definition != row["definition"]:
                raise ConflictError(
                    f"sweep {sweep.name!r} is at work with another definition: stop it, wait for it, or name this one "
                    "otherwise"
                )
            if key is not None:
                mine = (requests.c.submitter == submitter) & (requests.c.idempotency_key == key.text)
                connection.execute(update(requests).where(mine).values(submission=other.id))
            return Accepted(other, is_new=False)
    return Accepted(Submission.model_validate(row | {"ended": None}), is_new=True)


def answered(ledger: Ledger, submitter: str, key: Key) -> Submission | None:
    """The submission that answered the same request before; None where there was none.

    Raises:
        ConflictError: the submitter gave the key to another request.
        LedgerError: the ledger cannot be used.
    """
    with ledger.reading() as connection:
        return _answer(connection, submitter, key)


def latest(ledger: Ledger, name: str) -> Submission | None:
    """The last submission of a sweep; None where there is none.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    return latest_of(ledger, [name]).get(name)


def latest_of(ledger: Ledger, wanted: Iterable[str]) -> dict[str, Submission]:
    """The last submission of each of these sweeps, by name; those that were never submitted are left out.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    last_first = (submissions.c.created.desc(), submissions.c.id)
    place = func.row_number().over(partition_by=submissions.c.name, order_by=last_first).label("place")
    found: dict[str, Submission] = {}
    with ledger.reading() as connection:
        for some in batched(wanted, _NAMES_AT_ONCE):
            placed = select(submissions, place).where(submissions.c.name.in_(some)).subquery()
            rows = connection.execute(select(placed).where(placed.c.place == 1))
            found |= {row.name: _submission(row) for row in rows}
    return found


def names(ledger: Ledger) -> set[str]:
    """Names of the sweeps that were ever submitted.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with ledger.reading() as connection:
        return set(connection.execute(select(submissions.c.name).distinct()).scalars())


def active(ledger: Ledger) -> list[Submission]:
    """The submissions that have not ended, the oldest first.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    found = select(submissions).where(submissions.c.active_name.is_not(None)).order_by(submissions.c.created)
    with ledger.reading() as connection:
        return [_submission(row) for row in connection.execute(found)]


def request_stop(ledger: Ledger, name: str) -> bool:
    """Let the active submission of a sweep end as soon as it can. Returns False where there is none.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with ledger.transaction() as connection:
        found = update(submissions).where(submissions.c.active_name == name).values(stop_requested=True)
        return bool(connection.execute(found).rowcount)


def note(
    ledger: Ledger, submission: Submission, state: State, reason: str, now: datetime, *, attempt: int | None = None
) -> bool:
    """Note how a submission stands. Returns False where another server has noted something since it was read.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    as_read = (
        (submissions.c.id == submission.id)
        & (submissions.c.state == submission.state)
        & (submissions.c.attempt == submission.attempt)
    )
    values: dict[str, Any] = {"state": state, "reason": reason, "attempt": attempt or submission.attempt}
    if state not in ACTIVE:
        values |= {"active_name": None, "ended": now}
    with ledger.transaction() as connection:
        return bool(connection.execute(update(submissions).where(as_read).values(**values)).rowcount)


def _answer(connection: Connection, submitter: str, key: Key) -> Submission | None:
    mine = (requests.c.submitter == submitter) & (requests.c.idempotency_key == key.text)
    found = select(submissions, requests.c.body_sha256).join(requests, requests.c.submission == submissions.c.id)
    row = connection.execute(found.where(mine)).one_or_none()
    if row is None:
        return None
    if row.body_sha256 != key.body_sha256:
        raise ConflictError(
            f"idempotency key {key.text!r} was sent with another sweep before: send each sweep with a key of its own"
        )
    return _submission(row)


def _active(connection: Connection, name: str) -> Submission | None:
    row = connection.execute(select(submissions).where(submissions.c.active_name == name)).one_or_none()
    return None if row is None else _submission(row)


def _submission(row: Row[Any]) -> Submission:
    fields = {name: value for name, value in row._mapping.items() if name in Submission.model_fields}
    return Submission.model_validate(fields)
