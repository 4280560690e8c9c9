"""The Ray actor: runs packs and streams their events to the driver."""

import os
from collections.abc import Iterator, Mapping, Sequence

import ray

from cluster.executor import Arrays, Lost, Work, stream
from cluster.packing import Item
from models.events import Event


class Worker:
    """Runs one pack at a time; keeps the last data object, so that the next pack finds it unpacked."""

    def __init__(self):
        self._ref: ray.ObjectRef | None = None
        self._data: object = None

    def ready(self) -> int:
        """The process id, once the worker is up."""
        return os.getpid()

    @ray.method(num_returns="streaming")
    def run(
        self, work: Work, items: Sequence[Item], data: Sequence[ray.ObjectRef], checkpoints: Mapping[str, Arrays]
    ) -> Iterator[list[Event | Lost]]:
        """Stream a pack's events; `data` is one reference, in a list so that Ray does not resolve it at each call."""
        (ref,) = data
        if ref != self._ref:
            self._data = None  # frees the last one's memory first
            self._ref, self._data = ref, ray.get(ref)
        yield from stream(work, items, self._data, checkpoints)
