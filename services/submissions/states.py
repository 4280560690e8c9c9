"""How sweeps stand: by what was submitted, and by what the process at work says."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from services.execution.status import Standing, read_standing
from services.ledger.database import Ledger
from services.store.store import Store
from services.submissions.records import Submission, latest_of, names

SweepState = Literal[
    "accepted", "submitted", "running", "finished", "stopped", "interrupted", "failed", "broken off", "unknown"
]
_ENDED: dict[str, SweepState] = {"succeeded": "finished", "failed": "failed", "stopped": "stopped"}
_AT_ONCE = 16  # small objects, that object storage takes a while for each


class SweepStands(NamedTuple):
    """How a sweep stands.

    Attributes:
        state: `broken off` where its process went away; `unknown` where nobody ever said.
        reason: why it failed, was stopped, or waits.
        active: whether it will still change by itself.
        submission: the last one; None where it was not submitted to a server.
        standing: what its process said last; None where none ever did.
        alive: whether that process is at work.
    """

    name: str
    state: SweepState
    reason: str
    active: bool
    submission: Submission | None
    standing: Standing | None
    alive: bool


def known(store: Store, ledger: Ledger) -> list[str]:
    """Names of the sweeps that are stored or were submitted.

    Raises:
        StoreError, LedgerError: they cannot be read.
    """
    return sorted({*store.sweeps(), *names(ledger)})


def stands(store: Store, ledger: Ledger, name: str) -> SweepStands:
    """How a sweep stands now.

    Raises:
        StoreError, LedgerError: they cannot be read.
    """
    (now,) = all_stand(store, ledger, [name])
    return now


def all_stand(store: Store, ledger: Ledger, wanted: Sequence[str]) -> list[SweepStands]:
    """How several sweeps stand now.

    Raises:
        StoreError, LedgerError: they cannot be read.
    """
    submitted = latest_of(ledger, wanted)
    if store.storage.remote and len(wanted) > 1:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = list(pool.map(lambda name: read_standing(store, name), wanted))
    else:
        said = [read_standing(store, name) for name in wanted]
    return [_stands(name, submitted.get(name), standing) for name, standing in zip(wanted, said, strict=True)]


def _stands(name: str, submission: Submission | None, standing: Standing | None) -> SweepStands:
    alive = standing is not None and standing.alive
    pending = submission is not None and submission.active
    state, reason = _state(submission, standing, alive)
    return SweepStands(name, state, reason, alive or pending, submission, standing, alive)


def _state(submission: Submission | None, standing: Standing | None, alive: bool) -> tuple[SweepState, str]:
    if alive:
        return "running", ""
    if submission is not None and submission.active:
        return submission.state, submission.reason  # pyright: ignore[reportReturnType] - of the active ones
    # Whoever said something last knows: a job may fail before its sweep says anything.
    ended = None if submission is None else submission.ended
    if submission is not None and ended is not None and (standing is None or ended >= standing.started_at):
        return _ENDED[submission.state], submission.reason
    if standing is None:
        return "unknown", ""
    return "broken off" if standing.state == "running" else standing.state, standing.reason or ""
