"""Runs executed and kept: each result is a bundle before anybody is told of it, each checkpoint is stored."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from cluster.executor import Executor
from cluster.packing import Item
from cluster.work import Lost, Work
from models.data.dataset import Dataset
from models.fitting.chains import ChainsRequest
from models.fitting.work import work
from models.runs.events import Checkpoint, Event, Progress, Result
from models.runs.result import RunRequest, RunResult, failure
from services.execution.chains import Spread
from services.provenance import provenance
from services.store.bundles import Record
from services.store.writer import Writer

OnEvent = Callable[[Event | Lost], None]


@dataclass(frozen=True)
class Outcome:
    """What became of the runs.

    Attributes:
        fitted: runs fitted and stored by this call, diverged ones included.
        reused: runs found in the store, those among them that another command stored meanwhile.
        failed: reasons by run key; a later call tries these again.
        stopped: runs that were stopped early, by this call or before.
    """

    fitted: int
    reused: int
    failed: Mapping[str, str]
    stopped: int = 0


def run(
    items: Iterable[Item],
    datasets: Mapping[str, Dataset],
    writer: Writer,
    executor: Executor,
    on_event: OnEvent = lambda event: None,
    *,
    sweep: str = "",
    work: Work = work,
    spread: Spread | None = None,
) -> Outcome:
    """Fit runs that the store lacks, and store each result as it comes.

    Whatever ends this call early, an interrupt included, finished runs are kept, and unfinished ones go on from their
    last checkpoint at the next call.

    Args:
        items: runs, whose payloads are requests; an iterator is read as workers become free.
        datasets: by fingerprint.
        writer: the store.
        executor: where the work is done.
        on_event: told of everything that happens; of a result after it is stored.
        sweep: the name that the runs are stored under.
        work: what fits a pack, by the contract of `cluster.executor.Work`.
        spread: what takes care of those items that are parts of runs.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    fitted, reused, failed = 0, 0, {}
    # Closed here, so that what fails at the last commit is told like any fault, not found by the garbage collector.
    with closing(execute(items, datasets, writer, executor, work)) as events:
        for item, event in events:
            if isinstance(item.payload, ChainsRequest):
                assert spread is not None
                if isinstance(event, Result):
                    spread.note(item.payload, event.value)
                elif isinstance(event, Progress):
                    on_event(spread.progress(item.payload, event))
                continue  # the run's own fit comes later; it meets again what a part was lost of
            if isinstance(event, Lost):
                event = Result(event.run_key, failure(event.run_key, event.reason))
            if isinstance(event, Result):
                result: RunResult = event.value
                kept = keep(result, item.payload, datasets, writer, sweep)
                if result.status == "failed":
                    failed[event.run_key] = result.error or "no reason was given"
                else:
                    fitted += kept
                    reused += not kept
            on_event(event)
    return Outcome(fitted, reused, failed)


def keep(result: RunResult, request: RunRequest, datasets: Mapping[str, Dataset], writer: Writer, sweep: str) -> bool:
    """Store a result. Returns False where another writer stored one of this run before.

    Raises:
        StoreError: the store cannot be written to.
    """
    dataset = datasets[request.fingerprint].name
    return writer.put(Record(request, result, dataset, sweep, provenance(), datetime.now(UTC)))


def execute(
    items: Iterable[Item], datasets: Mapping[str, Dataset], writer: Writer, executor: Executor, work: Work
) -> Generator[tuple[Item, Event | Lost]]:
    """Execute items from their stored checkpoints on, and store those that come; yields every event with its item.

    Rows wait in memory for one commit of many, and are committed at the end, however it comes.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    in_flight: dict[str, Item] = {}
    checkpoints = StoredCheckpoints(writer)

    def noted() -> Iterator[Item]:
        for item in items:
            in_flight[item.run_key] = item
            yield item

    try:
        for event in executor.execute(noted(), work, datasets, checkpoints):
            item = in_flight[event.run_key]
            if isinstance(event, Checkpoint):
                checkpoints.save(event)
            elif not isinstance(event, Progress):
                del in_flight[event.run_key]
            yield item, event
            writer.commit_if_due()
    finally:
        writer.commit()


class StoredCheckpoints(Mapping[str, Mapping[str, np.ndarray]]):
    """The store's checkpoints by key, each read when it is asked for. Those that cannot be read are absent."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._keys = writer.checkpoints()

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the run's last one.

        Raises:
            StoreError: the disk is full or not writable; the last checkpoint is still there.
        """
        self._writer.save_checkpoint(checkpoint.run_key, checkpoint.arrays)
        self._keys.add(checkpoint.run_key)

    def __getitem__(self, key: str) -> Mapping[str, np.ndarray]:
        arrays = self._writer.load_checkpoint(key) if key in self._keys else None
        if arrays is None:
            raise KeyError(key)
        return arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
