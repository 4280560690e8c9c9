"""A server killed by SIGKILL under load: is every sweep that it had accepted still there, and does it end?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.service_load import NOBODY, Load, Submitted
from benchmarks.service_process import AWAY, Loading, Server, make_tokens
from services.ledger.database import Ledger, default_url
from services.submissions import records

SUBMITTERS = 5
SUBMIT_SECONDS = 0.5
PATIENCE = 1800.0  # seconds, for some twenty sweeps


@dataclass(frozen=True)
class Killed:
    """What became of the sweeps.

    Attributes:
        accepted: sweeps that were answered with 202 before the kill.
        lost: those of them that the next server does not know by their idempotency keys as the same submission.
        succeeded: those that ended well; None where there was no cluster.
        cut_off: requests that were not answered any more.
        seconds_to_start: of the next server.
    """

    accepted: int
    lost: int
    succeeded: int | None
    cut_off: int
    seconds_to_start: float


def measure(folder: Path, seconds: float, *, cluster: bool) -> Killed:
    """Kill a server under load, start another one on its store, and look.

    Raises:
        RuntimeError: there was nothing to lose, the server did not start, or the sweeps did not end.
    """
    folder.mkdir()
    store = folder / "store"
    secrets = make_tokens(store, "submit", SUBMITTERS)
    server = Server(store, AWAY)
    loading = Loading(Load(server.address, secrets, secrets, 60.0, 0.1, SUBMIT_SECONDS, "killed", None))
    try:
        while not accepted_by(store):
            time.sleep(0.01)
        time.sleep(seconds / 2)
    finally:
        server.kill()
    outcome = loading.outcome()
    cut_off = sum(each.status == NOBODY for each in (*outcome.reads, *outcome.submissions))
    again = Server(store, ["--workers", "1"] if cluster else AWAY)
    try:
        lost = sum(not _is_known(again.address, each) for each in outcome.accepted)
        succeeded = _succeeded(store, outcome.accepted) if cluster else None
    finally:
        again.stop()
    return Killed(len(outcome.accepted), lost, succeeded, cut_off, again.seconds_to_start)


def in_ledger(store: Path, accepted: Sequence[Submitted]) -> int:
    """How many of these are the submissions that the ledger has of their sweeps."""
    found = accepted_by(store)
    return sum(found.get(each.sweep["name"]) == each.submission for each in accepted)


def accepted_by(store: Path) -> dict[str, str]:
    """The submissions that a ledger has, by the sweeps' names."""
    ledger = Ledger(default_url(store, store))
    try:
        found = records.latest_of(ledger, records.names(ledger))
        return {name: each.id for name, each in found.items()}
    finally:
        ledger.close()


def _is_known(address: str, sent: Submitted) -> bool:
    """Whether the same request is answered with the same submission."""
    headers = {"Authorization": f"Bearer {sent.token}", "Idempotency-Key": sent.key}
    response = httpx.post(f"{address}/api/v1/sweeps", json=sent.sweep, headers=headers, timeout=60)
    return response.status_code == 202 and response.json()["submission"] == sent.submission


def _succeeded(store: Path, accepted: Sequence[Submitted]) -> int:
    """How many ended well, once all have ended."""
    wanted, until = [each.sweep["name"] for each in accepted], time.monotonic() + PATIENCE
    ledger = Ledger(default_url(store, store))
    try:
        while records.active(ledger):
            if time.monotonic() > until:
                raise RuntimeError(f"after {PATIENCE:.0f} s there are sweeps that have not ended")
            time.sleep(0.5)
        return sum(each.state == "succeeded" for each in records.latest_of(ledger, wanted).values())
    finally:
        ledger.close()
