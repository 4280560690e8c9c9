"""How a sweep stands while it is carried out: a small JSON object in the store, kept fresh by the process at work.

Anybody who can read the store can read it, on this machine or another, and ask that process to stop.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal, get_args

import polars as pl
import psutil
from pydantic import ConfigDict, ValidationError

from models.runs.result import Status
from models.spec.settings import Settings
from services.errors import ServiceError, StoreError
from services.execution.interrupts import terminable
from services.execution.tally import Tally
from services.store.archive import DamagedError
from services.store.sealed_json import seal, unseal
from services.store.store import Store

BEAT_SECONDS = 2.0
SILENT_SECONDS = 60.0

STATE = ".state.json"

State = Literal["running", "finished", "stopped", "interrupted", "failed"]
Doing = Literal["fitting", "measuring"]


class Worksite(Settings):
    """The process at work.

    Attributes:
        started: seconds from the machine's start to its own, which tell it from a later process of the same number;
            a clock that is set anew does not move them.
        job: the id of the Ray job that it is the driver of, or None.
    """

    host: str
    process: int
    started: float
    job: str | None


class StandingFacts(Settings):
    """How a sweep stands, as its process says.

    Attributes:
        doing: what is done with the runs.
        runs: all of them; where they are measured, one for each draw of a run and group of measures that is asked for.
        reused: those that were stored before.
        ended: numbers of runs that ended since, by status.
        running: runs at work now.
        seconds: since the start; `seconds_left` by the pace so far.
        reason: why it failed, in plain words.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    state: State
    doing: Doing = "fitting"
    runs: int
    reused: int
    ended: Mapping[str, int]
    running: int
    seconds: float
    seconds_left: float | None
    cpu_hours: float
    gpu_hours: float
    started_at: datetime
    updated_at: datetime
    at: Worksite
    reason: str | None = None


class Standing(StandingFacts):
    """The same, from the store."""

    @property
    def alive(self) -> bool:
        """Whether that process still works on it: on another host, by whether it said so lately."""
        if self.state != "running":
            return False
        if self.at.host == socket.gethostname():
            started = _started(self.at.process)
            return started is not None and abs(started - self.at.started) < 1.5  # the clock is counted in whole seconds
        return (datetime.now(UTC) - self.updated_at).total_seconds() < SILENT_SECONDS


class StoppedError(ServiceError):
    """Work that ended because somebody asked for it."""


def read_standing(store: Store, name: str) -> Standing | None:
    """How a sweep stands, or stood last; None where that was never said, or cannot be read."""
    data = _read(store, name + STATE)
    try:
        return None if data is None else parse_standing(data, name + STATE)[0]
    except DamagedError:
        return None


def parse_standing(data: bytes, where: str) -> tuple[Standing, bool]:
    """What a process said of how a sweep stands, and whether it is sealed: that of earlier versions is not.

    Raises:
        DamagedError: it is not as it was written.
    """
    content, is_sealed = unseal(data, where)
    try:
        return Standing.model_validate(content), is_sealed
    except ValidationError as error:
        raise DamagedError(f"{where} is damaged: {error.errors()[0]['msg']}") from error


def counts_by_learner(store: Store, members: pl.DataFrame) -> pl.DataFrame:
    """What became of a sweep's runs: columns learner, runs, and one for each status; the rest is missing."""
    runs = members.lazy().join(
        store.runs().select("run_key", "status"), on="run_key", how="left", maintain_order="left"
    )
    counts = [(pl.col("status") == status).sum().alias(status) for status in get_args(Status)]
    return store.collect(runs.group_by("learner", maintain_order=True).agg(pl.len().alias("runs"), *counts))


def cpu_hours(store: Store, members: pl.DataFrame) -> float:
    """What the stored runs of a sweep took of their workers, whichever command and sweep fitted them."""
    wanted = members.lazy().select("run_key").unique()
    seconds = store.runs().join(wanted, on="run_key", how="semi").select(pl.col("wall_seconds").sum())
    return store.collect(seconds).item() / 3600


def request_stop(store: Store, name: str) -> None:
    """Ask the process that works on a sweep to stop; it keeps what is finished."""
    store.storage.replace("sweeps", f"{name}.stop", b"")


def check_idle(store: Store, name: str) -> None:
    """Refuse to work on a sweep that another process works on.

    This process itself does not: what it said last may be what it could not take back on a full disk.

    Raises:
        ServiceError: one does.
    """
    now = read_standing(store, name)
    if now is not None and now.alive and (now.at.host, now.at.process) != (socket.gethostname(), os.getpid()):
        raise ServiceError(
            f"sweep {name!r} is being run by process {now.at.process} on {now.at.host}: `basin sweep status {name}` "
            f"shows how it stands, `basin sweep stop {name}` stops it"
        )


@contextmanager
def attended(store: Store, name: str, runs: int, reused: int, tally: Tally, doing: Doing = "fitting") -> Iterator[None]:
    """Say how the sweep stands for as long as the block runs, and interrupt it when that is asked for.

    Raises:
        StoppedError: that was asked for.
    """
    store.storage.remove("sweeps", f"{name}.stop")
    attendant = _Attendant(store, name, runs, reused, tally, doing)
    attendant.start()
    try:
        with terminable():
            yield
    except KeyboardInterrupt:
        attendant.end("stopped" if attendant.stop_seen else "interrupted")
        if not attendant.stop_seen:
            raise
        raise StoppedError(
            f"sweep {name!r} was stopped on request: finished runs are kept; `basin sweep resume {name}` goes on"
        ) from None
    except BaseException as error:
        attendant.end("failed", str(error))
        raise
    attendant.end("finished")


class _Attendant(threading.Thread):
    def __init__(self, store: Store, name: str, runs: int, reused: int, tally: Tally, doing: Doing):
        super().__init__(name="basin-standing", daemon=True)
        self.stop_seen = False
        self._store, self._name, self._runs, self._reused, self._tally = store, name, runs, reused, tally
        self._doing: Doing = doing
        self._started_at = datetime.now(UTC)
        self._ended = threading.Event()
        self._at = Worksite(
            host=socket.gethostname(),
            process=os.getpid(),
            started=_started(os.getpid()) or 0.0,
            job=os.environ.get("BASIN_JOB") or None,
        )
        self._say("running")

    def run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._say("running")
                if not self.stop_seen and _read(self._store, f"{self._name}.stop") is not None:
                    self._store.storage.remove("sweeps", f"{self._name}.stop")
                    self.stop_seen = True
                    # Wakes it from any wait; SIGINT may be ignored, by a process in the background.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            except StoreError:  # the runs themselves will meet it, and say so
                continue

    def end(self, state: State, reason: str | None = None) -> None:
        self._ended.set()
        self.join()
        with suppress(StoreError):  # an error that is under way tells more
            self._say(state, reason)

    def _say(self, state: State, reason: str | None = None) -> None:
        tally = self._tally
        standing = Standing(
            name=self._name,
            state=state,
            doing=self._doing,
            runs=self._runs,
            reused=self._reused,
            ended=dict(tally.ended),
            running=len(tally.running),
            seconds=tally.seconds,
            seconds_left=tally.seconds_left(),
            cpu_hours=tally.cost.cpu_hours,
            gpu_hours=tally.cost.gpu_hours,
            started_at=self._started_at,
            updated_at=datetime.now(UTC),
            at=self._at,
            reason=reason,
        )
        self._store.storage.replace("sweeps", self._name + STATE, seal(standing.model_dump(mode="json")))


def _read(store: Store, name: str) -> bytes | None:
    try:
        return store.storage.read("sweeps", name)
    except FileNotFoundError:
        return None


def _started(process: int) -> float | None:
    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        return found.create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None
