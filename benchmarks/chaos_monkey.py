"""A command on a cluster whose workers, nodes and driver are killed while it works.

What is killed, when and which of the possible victims is drawn beforehand, by a seed. "When" is counted in stored runs;
from then on a strike waits for the moment at which it matters, and is missed if the command ends before. All kills are
by SIGKILL, which nobody can prepare for.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from benchmarks.chaos_cluster import HEAD, Nodes, Worker
from benchmarks.chaos_stores import bundle_names, checkpoint_times, uncommitted

LOOK_SECONDS = 0.1
PATIENCE = 3600.0  # seconds for the longest sweep


class Kind(StrEnum):
    """What is killed, and the moment that matters."""

    SAMPLING = "a worker in mid-sampling, its checkpoint stored"
    WORKER = "a worker with a pack in hand"
    IDLE = "an idle worker"
    NODE = "a node with busy workers"
    COMMIT = "the driver between bundle and commit"
    DRIVER = "the driver while workers are busy"


@dataclass(frozen=True)
class Strike:
    """One thing to kill.

    Attributes:
        due: how many runs are stored when it may happen.
        pick: which of the possible victims, as a share of their number.
        pause: seconds until what was killed is replaced: a node by a new one, the driver by the same command.
    """

    kind: Kind
    due: int
    pick: float
    pause: float


@dataclass(frozen=True)
class Struck:
    """A strike that happened, after so many `seconds`; `packs` workers had a pack in hand, and lost it."""

    strike: Strike
    seconds: float
    stored: int
    packs: int


@dataclass
class Account:
    """What a command went through.

    Attributes:
        seconds: from its first start to its last end.
        worker_seconds: what all workers took of the processors.
        missed: strikes whose moment did not come.
    """

    seconds: float = 0.0
    worker_seconds: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    missed: list[Strike] = field(default_factory=list)

    def counts(self) -> Counter[Kind]:
        """How often each kind was struck."""
        return Counter(each.strike.kind for each in self.struck)


def draw_strikes(seed: int, n_runs: int, counts: Mapping[Kind, int]) -> list[Strike]:
    """So many strikes of each kind, in random order over the first three quarters of the runs.

    Those that need samplers at work come first of all, as the most expensive runs do.
    """
    rng = random.Random(seed)
    kinds = [kind for kind, n in counts.items() for _ in range(n)]
    rng.shuffle(kinds)
    kinds.sort(key=lambda kind: kind is not Kind.SAMPLING)
    early = counts.get(Kind.SAMPLING, 0)
    later = max(1, len(kinds) - early)
    dues = [0.0] * early + [0.75 * n_runs * (i + rng.random()) / later for i in range(len(kinds) - early)]
    return [Strike(kind, int(due), rng.random(), rng.uniform(0.5, 4.0)) for kind, due in zip(kinds, dues, strict=True)]


class Driver:
    """A command that can be killed and started again; what it says goes to files in `folder`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path):
        self._command, self._environment, self._folder = command, environment, folder
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @property
    def said(self) -> str:
        """What it said last on standard error."""
        return self._log("stderr").read_text(errors="replace")

    def start(self) -> None:
        """Start it, for the first time or again."""
        self._starts += 1
        with self._log("stdout").open("wb") as out, self._log("stderr").open("wb") as err:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=out, stderr=err, start_new_session=True
            )

    def status(self) -> int | None:
        """How it ended; None while it works, and while it lies dead."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}-{self._starts}"


class Monkey:
    """Carries out strikes on a cluster and the driver of a command that runs on it."""

    def __init__(self, nodes: Nodes, driver: Driver, store: Path, strikes: Sequence[Strike]):
        self.account = Account(missed=list(strikes))
        self._nodes, self._driver, self._store = nodes, driver, store
        self._start = time.monotonic()
        self._last_strike = time.time()
        self._repairs: list[tuple[float, Callable[[], object]]] = []
        self._cpu: dict[tuple[int, float], float] = {}

    def run(self) -> Account:
        """Start the driver, and strike until it has ended.

        Raises:
            RuntimeError: the driver ended by itself, and not well.
        """
        self._driver.start()
        while (status := self._driver.status()) is None:
            if time.monotonic() - self._start > PATIENCE:
                raise RuntimeError(f"the sweep did not end:\n{self._driver.said[-2000:]}")
            self._look()
            time.sleep(LOOK_SECONDS)
        self.account.seconds = time.monotonic() - self._start
        self.account.worker_seconds = sum(self._cpu.values())
        if status:
            raise RuntimeError(f"the driver ended with status {status}:\n{self._driver.said[-4000:]}")
        while self._repairs:
            self._repairs.pop()[1]()
        return self.account

    def _look(self) -> None:
        for repair in [repair for repair in self._repairs if repair[0] <= time.monotonic()]:
            self._repairs.remove(repair)
            repair[1]()
        workers = self._nodes.workers()
        self._note_cpu(workers)
        stored = len(bundle_names(self._store))
        for strike in self.account.missed:
            if strike.due <= stored and self._driver.alive and (packs := self._strike(strike, workers)) is not None:
                self.account.struck.append(Struck(strike, time.monotonic() - self._start, stored, packs))
                self.account.missed.remove(strike)
                self._last_strike = time.time()
                return

    def _note_cpu(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            with suppress(psutil.Error):
                times = worker.process.cpu_times()
                self._cpu[worker.process.pid, worker.process.create_time()] = times.user + times.system

    def _strike(self, strike: Strike, workers: Sequence[Worker]) -> int | None:
        """Strike if the moment is right. Returns how many packs that interrupts, or None."""
        busy = [worker for worker in workers if worker.busy]
        match strike.kind:
            case Kind.SAMPLING:
                # A run's checkpoint goes when it ends, and before the last strike there was another worker at it. So
                # as many new checkpoints as busy workers are one for each of them.
                n_sampling = sum(saved > self._last_strike for saved in checkpoint_times(self._store))
                return self._kill_worker(busy, strike) if n_sampling >= len(busy) else None
            case Kind.WORKER:
                return self._kill_worker(busy, strike)
            case Kind.IDLE:
                return self._kill_worker([worker for worker in workers if worker.idle], strike)
            case Kind.NODE:
                return self._lose_node(Counter(worker.node for worker in busy if worker.node != HEAD), strike)
            case Kind.COMMIT:
                return self._kill_driver(len(busy), strike) if uncommitted(self._store) else None
            case Kind.DRIVER:
                return self._kill_driver(len(busy), strike) if busy else None

    def _kill_worker(self, victims: Sequence[Worker], strike: Strike) -> int | None:
        if not victims:
            return None
        victim = _picked(victims, strike)
        try:
            victim.process.kill()
        except psutil.NoSuchProcess:
            return None
        return int(victim.busy)

    def _lose_node(self, busy: Mapping[str, int], strike: Strike) -> int | None:
        if not busy:
            return None
        node = _picked(sorted(busy), strike)
        self._nodes.lose(node)
        self._repairs.append((time.monotonic() + strike.pause, self._nodes.add))
        return busy[node]

    def _kill_driver(self, packs: int, strike: Strike) -> int | None:
        self._driver.kill()
        self._repairs.append((time.monotonic() + strike.pause, self._driver.start))
        if strike.kind is Kind.COMMIT and not uncommitted(self._store):
            return None  # it committed at the last moment: once more
        return packs


def _picked[T](victims: Sequence[T], strike: Strike) -> T:
    return victims[int(strike.pick * len(victims))]
