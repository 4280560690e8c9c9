"""Hands accepted sweeps to the cluster, and notes what becomes of them. Several on one ledger share the work.

A job's id is that of its submission and attempt, and is submitted once for ever, so a dispatcher may be killed at any
moment: the next one looks where it stopped. A cluster that is away is waited for. Each job is a process of the
cluster's head, so not all of many sweeps are handed over at the same time: the others wait, and the oldest is next.
"""

import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ClusterError
from models.spec.settings import SpecError
from services.errors import LedgerError, ServiceError, StoreError
from services.execution.status import Standing, read_standing
from services.ledger.database import Ledger
from services.submissions.records import State, Submission, active, note
from services.sweeps.definition import parse_sweep

if TYPE_CHECKING:
    from cluster.jobs import Job, Jobs

MAX_ATTEMPTS = 5
RETRY_SECONDS = 2.0
WAITING = "waiting for the cluster, which cannot be used now"
QUEUED = "waiting for its turn: as many sweeps are at work as may be at the same time"


class Dispatcher:
    """Brings the accepted sweeps of a ledger to one cluster and store."""

    def __init__(
        self,
        ledger: Ledger,
        store: str,
        connect: "Callable[[], Jobs]",
        *,
        workers: int | None = None,
        at_once: int = 4,
        shared: Sequence[Path] = (),
        interval_seconds: float = 1.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Set it up; `run` begins.

        Args:
            ledger: where accepted sweeps are.
            store: where their runs are kept.
            connect: to the cluster's jobs; asked again after it failed.
            workers: of sweeps that do not say how many they want; None is as many as there are cores.
            at_once: sweeps of the ledger that are handed over at the same time.
            shared: folders that the cluster's machines have under the same path.
            interval_seconds: between two looks.
            say: is told what happens, a line at a time.
        """
        self._ledger, self._location = ledger, store
        self._connect, self._connected = connect, None
        self._workers, self._at_once, self._shared = workers, at_once, shared
        self._interval, self._say = interval_seconds, say
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Look after what is active until `stop` is set, whatever becomes of the ledger and the cluster in between."""
        while not stop.is_set():
            wait = self._interval
            try:
                self.tick()
                self._complain("")
            except LedgerError as error:
                self._complain(str(error))
                wait = RETRY_SECONDS
            except ClusterError as error:
                self._connected, wait = None, RETRY_SECONDS
                self._complain(str(error))
            stop.wait(wait)

    def tick(self) -> None:
        """Do what is to be done now for every active submission.

        Raises:
            LedgerError: the ledger cannot be used.
            ClusterError: the cluster cannot: what waits for it says so.
        """
        waiting: list[Submission] = []
        for each in active(self._ledger):
            if each.state == "accepted" and each.stop_requested:
                self._note(each, "stopped", "it was asked to end before it was submitted")
            else:
                waiting.append(each)
        if waiting:
            self._bring_on(waiting)

    def _bring_on(self, waiting: Sequence[Submission]) -> None:
        try:
            jobs = self._jobs()
        except ClusterError:
            for each in waiting:
                self._put_off(each, WAITING)
            raise
        troubles: list[ClusterError] = []
        handed_over = [each for each in waiting if each.state != "accepted"]
        accepted = [each for each in waiting if each.state == "accepted"]
        turns = max(0, self._at_once - len(handed_over))
        for each in accepted[turns:]:
            self._put_off(each, QUEUED)
        for each in (*handed_over, *accepted[:turns]):
            try:
                self._see_to(jobs, each, jobs.find(each.job_id))
            except ClusterError as error:  # one that the cluster refuses holds up no other
                self._put_off(each, WAITING)
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def _put_off(self, submission: Submission, reason: str) -> None:
        if submission.state == "accepted":
            self._note(submission, "accepted", reason)

    def _see_to(self, jobs: "Jobs", submission: Submission, job: "Job | None") -> None:
        if job is not None:
            self._follow(jobs, submission, job)
        elif submission.state == "accepted":
            self._hand_over(jobs, submission)
        else:
            self._lost(submission)

    def _hand_over(self, jobs: "Jobs", submission: Submission) -> None:
        from services.launching.sweep_job import submit, sweep_job  # seconds to import

        try:
            sweep = parse_sweep(json.loads(submission.definition))
            workers = self._workers if sweep.resources.workers is None else None
            job = sweep_job(sweep, self._location, workers=workers, shared=self._shared)
            submit(jobs, submission.job_id, job)
        except (SpecError, ServiceError, OSError) as error:
            self._note(submission, "failed", str(error))
        else:
            self._note(submission, "submitted", "")

    def _follow(self, jobs: "Jobs", submission: Submission, job: "Job") -> None:
        from services.launching.cluster import state_of

        if submission.stop_requested and not job.over:
            jobs.stop(job.id)
        state, reason = state_of(job, f"basin jobs logs {job.id} --address {jobs.address}")
        if state != "lost":
            self._note(submission, "submitted" if state == "pending" else state, reason)

    def _lost(self, submission: Submission) -> None:
        """The cluster knows nothing of its job: it was started anew, and the sweep goes on from what is stored."""
        standing = self._standing(submission)
        if standing is not None and standing.alive:
            return  # its process has not noticed yet
        if submission.stop_requested:
            self._note(submission, "stopped", "it was asked to end")
        elif submission.attempt >= MAX_ATTEMPTS:
            self._note(submission, "failed", f"the cluster lost its job {MAX_ATTEMPTS} times")
        else:
            reason = "the cluster lost its job, so it is submitted again"
            self._note(submission, "accepted", reason, attempt=submission.attempt + 1)

    def _standing(self, submission: Submission) -> Standing | None:
        from services.store.store import Store

        try:
            return read_standing(Store(self._location), submission.name)
        except StoreError:  # nothing was stored yet, or it is away, and the next attempt meets it
            return None

    def _jobs(self) -> "Jobs":
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _note(self, submission: Submission, state: State, reason: str, attempt: int | None = None) -> None:
        if (submission.state, submission.reason) == (state, reason):
            return
        if note(self._ledger, submission, state, reason, datetime.now(UTC), attempt=attempt):
            self._say(f"sweep {submission.name}: {state}{reason and f': {reason}'}")

    def _complain(self, message: str) -> None:
        """Say it once, until it is something else."""
        if message and message != self._trouble:
            self._say(message)
        self._trouble = message
