"""How runs are executed: the protocol, and the executor in this process, which is the plainly right twin."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self

import psutil

from cluster.packing import Item, Pack, Taker, Waiting
from cluster.resources import Resources
from cluster.streaming import GivenBack, Stream
from cluster.work import Arrays, Emit, Lost, Work
from models.runs.events import Event, Result

__all__ = ["WIDTH", "Arrays", "Emit", "Executor", "InProcessExecutor", "Lost", "Spent", "Work"]

WIDTH = 64  # runs of a pack at most


class Spent(NamedTuple):
    """What workers took, from when they were given a pack until they had done with it, whatever became of it."""

    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0

    def plus(self, resources: Resources, seconds: float) -> "Spent":
        """And a worker's time."""
        return Spent(self.cpu_seconds + seconds * resources.cpus, self.gpu_seconds + seconds * resources.gpus)


class Executor(Protocol):
    """Executes runs: one `Result` or `Lost` for each item, and the other events as they happen.

    Closing frees what it holds; leaving its `with` block closes it. Giving up an iterator early ends its work.
    """

    def execute(
        self, items: Iterable[Item], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all items, cut into packs as they go.

        Args:
            items: read as they are needed, about a thousand ahead; those of high cost should come first.
            work: what is done with a pack.
            data: by the key that items name. A value is looked up when it is first sent.
            checkpoints: by run key, for runs that go on. Looked up whenever a run is sent, and not kept.

        Raises:
            ValueError: a run key is that of another run, which has not ended, or an item's data is absent.
        """
        ...

    @property
    def spent(self) -> Spent:
        """What workers took so far, in all calls together."""
        ...

    def close(self) -> None:
        """Free what the executor holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class InProcessExecutor:
    """Runs packs one after the other in a thread of this process.

    Args:
        width: the most runs that travel together.
        seconds: that a run may take; one that takes longer ends the next time that it says something.
    """

    def __init__(self, width: int = WIDTH, seconds: float = math.inf):
        self._width = width
        self._seconds = seconds
        self._spent = Spent()

    def execute(
        self, items: Iterable[Item], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all items; see `Executor`."""
        waiting = Waiting(items, self._width)
        memory, last = psutil.virtual_memory().available, None
        waiting.fill()
        while kinds := waiting.kinds():
            pack = waiting.take(Taker(next(iter(kinds)), memory=memory, last=last), {})
            assert pack is not None, "some wait for such a worker"
            start = time.perf_counter()
            try:
                given = datum(data, pack), checkpoints_of(pack, checkpoints)
                for batch in Stream(work, pack.items, *given, self._seconds):
                    for event in batch:
                        assert not isinstance(event, GivenBack), "nobody asks for runs here"
                        if isinstance(event, Result | Lost):
                            waiting.end(event.run_key)
                        yield event
            finally:
                seconds = time.perf_counter() - start
                self._spent = self._spent.plus(pack.resources, seconds)
            waiting.speeds.note(pack.program, pack.cost, seconds)
            last = pack.program
            waiting.fill()

    @property
    def spent(self) -> Spent:
        """See `Executor`."""
        return self._spent

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def datum(data: Mapping[str, Any], pack: Pack) -> Any:
    """What a pack's runs need.

    Raises:
        ValueError: it was not given.
    """
    try:
        return data[pack.data]
    except KeyError:
        raise ValueError(f"run {pack.items[0].run_key!r} needs the data {pack.data!r}, which was not given") from None


def checkpoints_of(pack: Pack, checkpoints: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The checkpoints of a pack's own runs."""
    found = ((item.run_key, checkpoints.get(item.run_key)) for item in pack.items)
    return {run_key: arrays for run_key, arrays in found if arrays is not None}
