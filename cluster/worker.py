"""The Ray actor: runs packs and streams their events to the driver."""

from collections.abc import Iterator, Mapping, Sequence

import ray

from cluster.packing import Item
from cluster.streaming import GivenBack, Stream
from cluster.work import Arrays, Lost, Work
from models.runs.events import Event


class Worker:
    """Runs one pack at a time; keeps the last data object, so that the next pack finds it unpacked."""

    def __init__(self):
        self._ref: ray.ObjectRef | None = None
        self._data: object = None
        self._job: tuple[int, Stream] | None = None

    def ready(self) -> str:
        """The id of the machine that it is on, once the worker is up."""
        return ray.get_runtime_context().get_node_id()

    @ray.method(num_returns="streaming")
    def run(
        self,
        number: int,
        work: Work,
        items: Sequence[Item],
        data: Sequence[ray.ObjectRef],
        checkpoints: Mapping[str, Arrays],
    ) -> Iterator[list[Event | Lost | GivenBack]]:
        """Stream a pack's events; `data` is one reference, in a list so that Ray does not resolve it at each call."""
        (ref,) = data
        if ref != self._ref:
            self._ref = self._data = None  # frees the last one's memory first
            self._data = ray.get(ref)
            self._ref = ref
        stream = Stream(work, items, self._data, checkpoints)
        self._job = number, stream
        yield from stream

    @ray.method(concurrency_group="control")
    def give_back(self, number: int) -> list[str]:
        """Runs of the pack of this number that have not begun, and now will not."""
        if self._job is None or self._job[0] != number:
            return []
        return self._job[1].give_back()
