"""The scheduler: fires what is due, launches it, and sees it through. Several on one ledger share the work."""

import functools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cluster.errors import ClusterError
from models.spec.settings import SpecError
from services.errors import LedgerError, ScheduleError, ServiceError
from services.launching.cluster import JobLauncher
from services.launching.launcher import Launcher, LaunchState
from services.launching.local import LocalLauncher
from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.scheduling import leases
from services.scheduling.firing import Claimant, fire, may_fire
from services.scheduling.leases import Held
from services.scheduling.occurrences import Status

LEASE_SECONDS = 60.0
ABANDONED_SECONDS = 3600.0  # without word of a launch
_APPEAR_SECONDS = leases.SEEN_SECONDS / 3


def utc_now() -> datetime:
    """What the wall clock says."""
    return datetime.now(UTC)


def make_scheduler(ledger: Ledger, cache: Path, say: Callable[[str], None]) -> "Scheduler":
    """The scheduler that launches on this machine, or by Ray jobs, as each schedule asks.

    Logs and exit statuses of what it launches here lie beside the ledger's file; for Postgres, in the cache's folder.
    """
    local = LocalLauncher((ledger.folder or cache / "ledger" / ledger.identity) / "launches")
    jobs_at = functools.cache(JobLauncher)

    def launcher_of(options: RunOptions) -> Launcher:
        return jobs_at(options.address) if options.address and "://" in options.address else local

    return Scheduler(ledger, launcher_of, local.place, say=say)


class Scheduler:
    """Fires the schedules of a ledger.

    Any number may be at work on one ledger: each occurrence is there once, by its primary key, and is launched under an
    id that is its own for ever. One that is killed is followed by another when its leases have ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        launcher_of: Callable[[RunOptions], Launcher],
        place: str,
        *,
        clock: Callable[[], datetime] = utc_now,
        interval_seconds: float = 1.0,
        lease_seconds: float = LEASE_SECONDS,
        retry_seconds: float = 30.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Set it up; `run` begins.

        Args:
            ledger: what it shares with other schedulers.
            launcher_of: who launches sweeps with these options.
            place: what this scheduler can see that others may not; see `Launcher.place`.
            clock: the wall clock, which decides what is due. Leases go by the database's, waiting by the monotonic one.
            interval_seconds: between two ticks.
            lease_seconds: how long after it was killed another takes over. The same for all on a ledger.
            retry_seconds: until a launcher that failed is asked again.
            say: is told what happens, a line at a time.
        """
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._ledger = ledger
        self._launcher_of = launcher_of
        self._place = place
        self._claimant = Claimant(self.holder, lambda options: launcher_of(options).place, lease_seconds)
        self._clock = clock
        self._interval = interval_seconds
        self._retry = retry_seconds
        self._say = say
        self._appear_at = 0.0  # by the monotonic clock, as all times here
        self._troubles: dict[Launcher | str, _Trouble] = {}
        self._complaints: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, whatever becomes of the ledger in between. What was launched goes on after that."""
        while not stop.is_set():
            try:
                self.tick(self._clock())
                self._complaints.pop("", None)
            except LedgerError as error:
                self._complain("", str(error))
            stop.wait(self._interval)
        try:
            leases.release(self._ledger, self.holder)
        except LedgerError as error:
            self._complain("", str(error))

    def tick(self, now: datetime) -> None:
        """Do what is to be done now: fire what is due, launch what is claimed, look after what runs.

        Raises:
            LedgerError: the ledger cannot be used; the next tick goes on where this one ended.
        """
        if time.monotonic() >= self._appear_at:
            leases.appear(self._ledger, self.holder)
            leases.abandon(self._ledger, self._place, ABANDONED_SECONDS)
            self._appear_at = time.monotonic() + _APPEAR_SECONDS
        for name in may_fire(self._ledger, now):
            try:
                fire(self._ledger, name, now, self._claimant)
            except ScheduleError as error:
                self._complain(name, f"{name}: {error}")
        for held in leases.hold(self._ledger, self.holder, self._place, self._claimant.lease_seconds):
            self._see_to(held)

    def _see_to(self, held: Held) -> None:
        launcher = self._launcher_of(held.options)
        trouble = self._troubles.get(launcher) or self._troubles.get(held.launch_id)
        if trouble is None or time.monotonic() >= trouble.retry_at:
            try:
                state = _bring_on(launcher, held)
            except (ServiceError, ClusterError, SpecError, OSError) as error:
                # A cluster that cannot be reached is so for all of its launches.
                trouble = self._put_off(launcher if isinstance(error, ClusterError) else held.launch_id, str(error))
            else:
                self._troubles.pop(launcher, None)
                self._troubles.pop(held.launch_id, None)
                self._note(held, *_status_of(held, state))
                return
        self._note(held, *_status_in(held, trouble))

    def _put_off(self, about: Launcher | str, message: str) -> "_Trouble":
        """Ask again after a while, so that what takes long to fail does not hold up everything else."""
        now = time.monotonic()
        known = self._troubles.get(about)
        trouble = _Trouble(message, known.since if known else now, now + self._retry)
        self._troubles[about] = trouble
        return trouble

    def _note(self, held: Held, status: Status, reason: str) -> None:
        if (status, reason) == (held.status, held.reason):
            return
        if leases.note(self._ledger, self.holder, held, status, reason):
            self._say(f"{held.schedule} of {held.planned:%Y-%m-%d %H:%M:%S} UTC: {status}{reason and f': {reason}'}")

    def _complain(self, about: str, message: str) -> None:
        """Say it once, until it is something else."""
        if self._complaints.get(about) != message:
            self._complaints[about] = message
            self._say(message)


class _Trouble(NamedTuple):
    """A launcher that failed, or does so for one launch; times by the monotonic clock."""

    message: str
    since: float
    retry_at: float


def _bring_on(launcher: Launcher, held: Held) -> LaunchState | None:
    """Launch it, or stop it, if that is to be done now. Returns how it stands; None where it is not launched."""
    state = launcher.state(held.launch_id)
    if held.status == "claimed" and state is None and not _too_late(held):
        launcher.launch(held.launch_id, held.sweep, held.options)
        return launcher.state(held.launch_id) or LaunchState("pending")
    if held.stop_requested and state and state.status in ("pending", "running"):
        launcher.stop(held.launch_id)
    return state


def _too_late(held: Held) -> bool:
    return held.stop_requested or held.age_seconds > held.misfire_grace_seconds


def _status_of(held: Held, state: LaunchState | None) -> tuple[Status, str]:
    if state is None and held.status == "claimed":
        return _never_launched(held, held.reason)
    if state is None:
        return "lost", "what launched it knows nothing of it any more"
    keeps_reason = held.stop_requested and state.status not in ("succeeded", "failed")
    return "launched" if state.status == "pending" else state.status, held.reason if keeps_reason else state.reason


def _status_in(held: Held, trouble: _Trouble) -> tuple[Status, str]:
    if held.status == "claimed" and _too_late(held):
        return _never_launched(held, trouble.message)
    if time.monotonic() > trouble.since + ABANDONED_SECONDS:
        return "lost", f"nothing is known of it any more: {trouble.message}"
    return held.status, held.reason if held.stop_requested else trouble.message


def _never_launched(held: Held, trouble: str) -> tuple[Status, str]:
    if held.stop_requested:
        return "stopped", held.reason
    if trouble:
        return "failed", f"not launched within the grace of {held.misfire_grace_seconds} s: {trouble}"
    return "skipped", f"misfire: not launched within {held.misfire_grace_seconds} s of being claimed"
