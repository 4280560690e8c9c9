"""Runs into packs: those that share a program, their data and their resources travel to a worker together."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cluster.resources import Resources

PACK_SECONDS = 10.0  # what a pack should take: long beside the cost of sending it, short beside a sweep's tail
LOCK_STEP = (
    16  # runs that advance together on an accelerator: models.inference.lock_step.WIDTH, whose import would bring JAX
)
LOOK_AHEAD = 1024  # runs that wait at a time, of however many there are
_CONSIDERED = 64  # programs that are weighed against each other for one pack


@dataclass(frozen=True, slots=True)
class Item:
    """One run to execute.

    Attributes:
        payload: what the work function gets; executors do not look inside.
        program: what must be equal for two runs to share one compiled program.
        data: key of the data object that the run needs.
        cost: expected work in any one unit, more than 0; only its proportions count.
        resources: what the run asks of a worker.
        memory_bytes: what the run adds to its worker's memory while its pack is there, where that is known.
    """

    run_key: str
    payload: Any
    program: str
    data: str
    cost: float
    resources: Resources
    memory_bytes: int = 0


@dataclass(frozen=True)
class Pack:
    """One or more items that share program, data and resources."""

    items: tuple[Item, ...]

    @property
    def cost(self) -> float:
        """Sum of the items' costs."""
        return math.fsum(item.cost for item in self.items)

    @property
    def program(self) -> str:
        """What the items share."""
        return self.items[0].program

    @property
    def data(self) -> str:
        """Key of the data object that all items need."""
        return self.items[0].data

    @property
    def resources(self) -> Resources:
        """What all items ask of a worker."""
        return self.items[0].resources


class Speeds:
    """Seconds per unit of cost of each program, by the packs that were finished.

    A worker's first pack of a program includes compiling it, so a new figure is taken half-way on a logarithmic scale:
    a few packs later the first ones count for nothing.
    """

    def __init__(self):
        self._rates: dict[str, float] = {}

    def __getitem__(self, program: str) -> float | None:
        """Seconds per unit of cost; None where it was not measured."""
        return self._rates.get(program)

    def note(self, program: str, cost: float, seconds: float) -> None:
        """Runs of this cost took so long together."""
        if cost > 0 and seconds > 0:
            rate = seconds / cost
            self._rates[program] = math.sqrt(self._rates.get(program, rate) * rate)


@dataclass
class Taker:
    """A worker that asks for a pack.

    Attributes:
        share_of: how many such workers there are.
        memory: bytes that a pack may bring to it.
        last: program of its last pack, which it has compiled.
        node: the machine that it is on.
    """

    resources: Resources
    share_of: int = 1
    memory: float = math.inf
    last: str | None = None
    node: str = ""


@dataclass
class _Line:
    """Runs that wait for one kind of worker: by order of magnitude of their cost, then by program and data.

    Attributes:
        alone: runs that go on without company, and the machine that a worker died on of each.
    """

    alone: deque[tuple[Item, str]] = field(default_factory=deque)
    sizes: dict[int, dict[tuple[str, str], deque[Item]]] = field(default_factory=dict)
    cost: float = 0.0
    n: int = 0


class Waiting:
    """Runs that wait for a worker; few of them at a time are read from their source.

    Runs of the highest cost go first, within a factor of two; among those, runs of the program that the worker has
    compiled already, and else of the one that has most runs waiting for each worker at it. All that may travel together
    and does not fit a pack stays for the next worker.

    Raises:
        ValueError: `width` is less than 1.
    """

    def __init__(self, items: Iterable[Item], width: int):
        if width < 1:
            raise ValueError(f"a pack needs room: width is {width}, expected at least 1")
        self.speeds = Speeds()
        self._source: Iterator[Item] = iter(items)
        self._width = width
        self._lines: dict[Resources, _Line] = {}
        self._unfinished: set[str] = set()

    def __len__(self) -> int:
        return sum(line.n for line in self._lines.values())

    def fill(self) -> None:
        """Read on until `LOOK_AHEAD` wait."""
        self.read(max(0, LOOK_AHEAD - len(self)))

    def read(self, n: int) -> bool:
        """Read on by `n` runs, or to the end of the source; whether there were any.

        Raises:
            ValueError: a run key is that of another run, which has not ended.
        """
        found = False
        for item in islice(self._source, n):
            if item.run_key in self._unfinished:
                raise ValueError(f"run {item.run_key!r} is planned twice: ask for each run once")
            self._unfinished.add(item.run_key)
            self._append(item)
            found = True
        return found

    def end(self, run_key: str) -> None:
        """A run has ended, one way or the other."""
        self._unfinished.discard(run_key)

    def put_back(self, items: Iterable[Item]) -> None:
        """Runs that were taken wait again, before others of their kind."""
        for item in items:
            self._append(item, left=True)

    def put_alone(self, item: Item, node: str) -> None:
        """A run that a worker may have died of on this machine waits again, and is to travel alone."""
        line = self._lines.setdefault(item.resources, _Line())
        line.alone.append((item, node))
        line.cost += item.cost
        line.n += 1

    def kinds(self) -> dict[Resources, int]:
        """How many runs wait for each kind of worker: those with a GPU first, then those with the most costly runs."""
        lines = [(resources, line) for resources, line in self._lines.items() if line.n]
        lines.sort(key=lambda each: (-each[0].gpus, -max(each[1].sizes, default=-math.inf)))
        return {resources: line.n for resources, line in lines}

    def take(self, taker: Taker, at_work: Mapping[str, int]) -> Pack | None:
        """The next pack for a worker, if there is one; `at_work` counts the workers at each program.

        A pack takes about `PACK_SECONDS` by the measured speed of its program, is at most the worker's fair share of
        all that waits for its like, and stays within the width and the memory. Of a program whose speed is not known
        yet a worker gets one run. On an accelerator whole lock-step groups travel.
        """
        line = self._lines.get(taker.resources)
        if line is None or not line.n:
            return None
        if line.alone:
            elsewhere = next((i for i, (_, node) in enumerate(line.alone) if node != taker.node), None)
            if elsewhere is not None or not line.sizes:
                at = elsewhere or 0
                item, _ = line.alone[at]
                del line.alone[at]
                return self._remove(line, [item])
        size = max(line.sizes)
        groups = line.sizes[size]
        key = self._choose(groups, taker.last, at_work)
        group = groups[key]
        items = [group.popleft() for _ in range(self._count(group, line, taker))]
        if not group:
            del groups[key]
            if not groups:
                del line.sizes[size]
        return self._remove(line, items)

    def _append(self, item: Item, left: bool = False) -> None:
        line = self._lines.setdefault(item.resources, _Line())
        groups = line.sizes.setdefault(math.frexp(item.cost)[1], {})
        group = groups.setdefault((item.program, item.data), deque())
        (group.appendleft if left else group.append)(item)
        line.cost += item.cost
        line.n += 1

    def _remove(self, line: _Line, items: list[Item]) -> Pack:
        pack = Pack(tuple(items))
        line.n -= len(items)
        line.cost = line.cost - pack.cost if line.n else 0.0  # no rounding is carried on for ever
        return pack

    def _choose(
        self, groups: dict[tuple[str, str], deque[Item]], last: str | None, at_work: Mapping[str, int]
    ) -> tuple[str, str]:
        considered = list(islice(groups, _CONSIDERED))
        return max(considered, key=lambda k: (k[0] == last, len(groups[k]) / (1 + at_work.get(k[0], 0))))

    def _count(self, group: deque[Item], line: _Line, taker: Taker) -> int:
        """How many of the group make the next pack."""
        step = LOCK_STEP if taker.resources.gpus else 1
        rate = self.speeds[group[0].program]
        cost_left = min(line.cost / taker.share_of, PACK_SECONDS / rate) * (1 + 1e-9) if rate else 0.0
        memory_left = taker.memory
        n = 0
        for item in islice(group, self._width):
            cost_left -= item.cost
            memory_left -= item.memory_bytes
            if n and (memory_left < 0 or (cost_left < 0 and n >= step)):
                break
            n += 1
        return n - n % step if n > step else n
