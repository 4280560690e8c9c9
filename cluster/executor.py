"""How packs are executed: the protocol, and the executor in this process, which is the plainly right twin."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from cluster.packing import Item, Pack
from models.events import Event, Result

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
Emit = Callable[[Event], None]
Work = Callable[[Sequence[Any], Any, Mapping[str, Arrays], Emit], None]
"""`work(payloads, data, checkpoints, emit)`: an importable function that emits exactly one `Result` for each payload.

`checkpoints` holds the last arrays of those runs that were interrupted, by run key. The data may be read-only.
"""


@dataclass(frozen=True)
class Lost:
    """A run that ended without a result of its own, after `attempts`; the reason is in plain words."""

    run_key: str
    reason: str
    attempts: int


class Executor(Protocol):
    """Executes packs: one `Result` or `Lost` for each item, and the other events as they happen.

    Closing frees what it holds; leaving its `with` block closes it. Giving up an iterator early ends its work.
    """

    def execute(
        self, packs: Sequence[Pack], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all packs; `data` by its key and `checkpoints` by run key.

        Raises:
            ValueError: a run key occurs twice, or a pack's data is absent.
        """
        ...

    def close(self) -> None:
        """Free what the executor holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class InProcessExecutor:
    """Runs packs one after the other in a thread of this process."""

    def execute(
        self, packs: Sequence[Pack], work: Work, data: Mapping[str, Any], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[Event | Lost]:
        """Run all packs; see `Executor`."""
        check(packs, data)
        for pack in packs:
            for batch in stream(work, pack.items, data[pack.data], checkpoints_of(pack, checkpoints)):
                yield from batch

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check(packs: Sequence[Pack], data: Mapping[str, Any]) -> None:
    """Refuse packs that cannot be accounted for.

    Raises:
        ValueError: a run key occurs twice, or a pack's data is absent.
    """
    seen: set[str] = set()
    for item in (item for pack in packs for item in pack.items):
        if item.run_key in seen:
            raise ValueError(f"run {item.run_key!r} is planned twice: give each run to one pack only")
        if item.data not in data:
            raise ValueError(f"run {item.run_key!r} needs the data {item.data!r}, which was not given")
        seen.add(item.run_key)


def checkpoints_of(pack: Pack, checkpoints: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The checkpoints of a pack's own runs."""
    return {item.run_key: checkpoints[item.run_key] for item in pack.items if item.run_key in checkpoints}


@dataclass(frozen=True)
class _End:
    reason: str


def stream(
    work: Work, items: Sequence[Item], data: Any, checkpoints: Mapping[str, Arrays]
) -> Iterator[list[Event | Lost]]:
    """Run `work` in a thread and yield its events as they come, those at hand together.

    Each item ends in one `Result` or `Lost`; events of a run that has ended are dropped. If the iterator is given up,
    the thread ends at its next event.
    """
    events: queue.SimpleQueue[Event | _End] = queue.SimpleQueue()
    given_up = threading.Event()

    def emit(event: Event) -> None:
        if given_up.is_set():
            raise SystemExit  # passes through a work function's `except Exception`
        events.put(event)

    def body() -> None:
        reason = "its work ended without a result"
        try:
            work([item.payload for item in items], data, checkpoints, emit)
        except SystemExit:
            logger.debug("work ended early", exc_info=True)
        except Exception as error:  # whatever the work raises ends its own runs only
            logger.debug("work failed on %s", [item.run_key for item in items], exc_info=True)
            reason = one_line(error)
        finally:
            events.put(_End(reason))

    unfinished = {item.run_key for item in items}
    threading.Thread(target=body, name="basin-work", daemon=True).start()
    try:
        ended = False
        while not ended:
            batch: list[Event | Lost] = []
            for event in _at_hand(events):
                if isinstance(event, _End):
                    ended = True
                    batch += [Lost(i.run_key, event.reason, 1) for i in items if i.run_key in unfinished]
                elif event.run_key in unfinished:
                    batch.append(event)
                    if isinstance(event, Result):
                        unfinished.remove(event.run_key)
            if batch:
                yield batch
    finally:
        given_up.set()


def _at_hand[T](events: "queue.SimpleQueue[T]") -> Iterator[T]:
    """Wait for one event, then give those that have come meanwhile too."""
    yield events.get()
    while not events.empty():
        yield events.get()


def one_line(error: BaseException) -> str:
    """An exception's class and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
