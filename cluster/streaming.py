"""A pack at work: its events as they come, and its runs that have not begun, which can be asked back."""

import logging
import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.packing import Item
from cluster.programs import drop_programs
from cluster.work import Arrays, Lost, Work, one_line
from models.runs.events import START, Event, LateError, Progress, Result, late

logger = logging.getLogger(__name__)

_LEAVING_SECONDS = 10.0  # for work that is given up: a process that ends while XLA compiles in a thread is aborted


@dataclass(frozen=True)
class GivenBack:
    """A run that its worker was asked for and has not computed: it is to be done elsewhere."""

    run_key: str


@dataclass(frozen=True)
class _End:
    reason: str


class Stream:
    """Runs `work` in a thread; iterating yields its events as they come, those at hand together.

    Each item ends in one `Result`, `Lost` or, once `give_back` was called, `GivenBack`; events of a run that has ended
    are dropped. If the iterator is given up, the thread ends at its next event, and is waited for a while.

    A run that says something more than `seconds` after it began gets a `LateError` for it.
    """

    def __init__(
        self,
        work: Work,
        items: Sequence[Item],
        data: Any,
        checkpoints: Mapping[str, Arrays],
        seconds: float = math.inf,
    ):
        self._work, self._items, self._data, self._checkpoints = work, items, data, checkpoints
        self._events: queue.SimpleQueue[Event | _End] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._not_begun = {item.run_key for item in items}
        self._seconds = seconds
        self._since: dict[str, float] = {}
        self._announces = False
        self._stopping = False
        self._given_up = False

    def give_back(self) -> list[str]:
        """Keys of the runs that have not begun, and now will not; none where the work does not say what it begins."""
        with self._lock:
            if not self._announces:
                return []
            self._stopping = True
            return list(self._not_begun)

    def __iter__(self) -> Iterator[list[Event | Lost | GivenBack]]:
        unfinished = {item.run_key for item in self._items}
        thread = threading.Thread(target=self._body, name="basin-work", daemon=True)
        thread.start()
        try:
            ended = False
            while not ended:
                batch: list[Event | Lost | GivenBack] = []
                for event in _at_hand(self._events):
                    if isinstance(event, _End):
                        ended = True
                        batch += [self._ending(i.run_key, event) for i in self._items if i.run_key in unfinished]
                    elif event.run_key in unfinished:
                        batch.append(event)
                        if isinstance(event, Result):
                            unfinished.remove(event.run_key)
                if batch:
                    yield batch
        finally:
            self._given_up = True
            thread.join(_LEAVING_SECONDS)

    def _ending(self, run_key: str, end: _End) -> Lost | GivenBack:
        return GivenBack(run_key) if self._stopping else Lost(run_key, end.reason, 1)

    def _body(self) -> None:
        reason = "its work ended without a result"
        try:
            drop_programs()
            self._work([item.payload for item in self._items], self._data, self._checkpoints, self._emit)
        except SystemExit:
            logger.debug("work ended early", exc_info=True)
        except Exception as error:  # whatever the work raises ends its own runs only
            logger.debug("work failed on %s", [item.run_key for item in self._items], exc_info=True)
            reason = one_line(error)
        finally:
            self._events.put(_End(reason))

    def _emit(self, event: Event) -> None:
        begins = isinstance(event, Progress) and event.phase == START
        with self._lock:
            if self._given_up or (begins and self._stopping):
                raise SystemExit  # passes through a work function's `except Exception`
            self._announces |= begins
            self._not_begun.discard(event.run_key)
        took = time.monotonic() - self._since.setdefault(event.run_key, time.monotonic())
        if took > self._seconds and not isinstance(event, Result):
            raise LateError(late(self._seconds))
        self._events.put(event)


def _at_hand[T](events: "queue.SimpleQueue[T]") -> Iterator[T]:
    """Wait for one event, then give those that have come meanwhile too."""
    yield events.get()
    while not events.empty():
        yield events.get()
