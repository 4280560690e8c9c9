"""How far work is: runs by what became of them, what is running, the time left and what it cost so far."""

import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.work import Lost
from models.runs.events import Checkpoint, Event, Progress, Result

# The pace of the start, when programs are compiled, tells nothing.
EARLY_SECONDS, EARLY_SHARE, EARLY_RUNS = 2.0, 0.01, 10


class Cost(NamedTuple):
    """What the runs that ended took of their workers: hours of a core, and of a whole GPU."""

    cpu_hours: float = 0.0
    gpu_hours: float = 0.0


@dataclass
class Tally:
    """Counts a stream of events. Runs that are not among `runs`, and what comes after a run's end, change nothing.

    Attributes:
        gpus: share of a GPU that a run on a GPU occupies.
        ended: numbers of runs by status; those that lost their worker count as failed.
        running: the share of each running run that is done, by its key.
        divergences: of each run so far.
    """

    runs: Container[str]
    total: int
    gpus: float = 0.0
    clock: Callable[[], float] = time.monotonic
    ended: Counter[str] = field(default_factory=Counter)
    running: dict[str, float] = field(default_factory=dict)
    divergences: dict[str, int] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    _keys: set[str] = field(default_factory=set)
    _start: float = field(default=0.0, init=False)

    def __post_init__(self):
        self._start = self.clock()

    @property
    def done(self) -> int:
        """Runs that have ended."""
        return len(self._keys)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self._start

    def seconds_left(self) -> float | None:
        """By the pace so far; None at the very start, and until some runs or a hundredth of the work are done."""
        done = self.done + sum(self.running.values())
        share = done / max(1, self.total)
        early = self.seconds <= EARLY_SECONDS or is_early(done, self.total)
        return None if early else self.seconds * (1 - share) / share

    def consume(self, event: Event | Lost) -> bool:
        """Take in one event; returns whether it changed anything."""
        key = event.run_key
        if key in self._keys or key not in self.runs or isinstance(event, Checkpoint):
            return False
        if isinstance(event, Progress):
            self.running[key] = event.done / event.total if event.total else 0.0
            if n := int(event.facts.get("divergences", 0)):
                self.divergences[key] = n
            return True
        self._keys.add(key)
        self.running.pop(key, None)
        self.ended[_status(event)] += 1
        if isinstance(event, Result) and event.value is not None:
            self.cost = self._with(event.value)
        return True

    def _with(self, value: Any) -> Cost:
        hours = value.seconds.wall / 3600
        on_gpu = self.gpus if value.device and not value.device.lower().startswith("cpu") else 0.0
        return Cost(self.cost.cpu_hours + hours, self.cost.gpu_hours + hours * on_gpu)


def is_early(done: float, total: float) -> bool:
    """Whether so little is done that its pace tells nothing of the rest."""
    return done <= 0 or done < min(EARLY_RUNS, EARLY_SHARE * total)


def _status(event: Result | Lost) -> str:
    return "failed" if isinstance(event, Lost) else getattr(event.value, "status", "finished")
