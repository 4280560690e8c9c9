"""From requests to stored runs: what is stored already is left out, the rest is packed, executed and kept."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cluster.executor import Executor, Lost, Work
from cluster.packing import Item
from cluster.resources import Resources
from models.dataset import Dataset
from models.events import Checkpoint, Event, Result
from models.fit import cost, fit, program_key
from models.result import RunRequest, RunResult, failure
from models.spec import Net
from services.bundles import Record
from services.provenance import provenance
from services.store import Writer

ONE_CPU = Resources()


@dataclass(frozen=True)
class Outcome:
    """What became of the requests.

    Attributes:
        fitted: runs fitted and stored by this call, diverged ones included.
        reused: runs found in the store.
        failed: reasons by run key; a later call tries these again.
    """

    fitted: int
    reused: int
    failed: Mapping[str, str]


def _ignore(event: Event) -> None: ...


def run(
    requests: Iterable[RunRequest],
    dataset: Dataset,
    writer: Writer,
    executor: Executor,
    on_event: Callable[[Event], None] = _ignore,
    *,
    sweep: str = "",
    resources: Resources = ONE_CPU,
    width: int = 16,
    n_workers: int = 1,
    work: Work = fit,
) -> Outcome:
    """Fit those of the requests that the store lacks, and store each result as it comes.

    Whatever ends this call early, an interrupt included, finished runs are kept, and unfinished ones go on from their
    last checkpoint at the next call.

    Args:
        requests: runs on `dataset`; each is fitted once, however often it is asked for.
        dataset: the data that all of them are about.
        writer: the store.
        executor: where the work is done.
        on_event: told of everything that happens; of a result after it is stored. A lost run is a failed result.
        sweep: the name that the runs are stored under.
        resources: what each net's run asks of a worker; formulas and black boxes take one CPU.
        width: the most runs that travel together.
        n_workers: how many workers share the work.
        work: what fits a pack, by the contract of `cluster.executor.Work`.

    Raises:
        StoreError: the store cannot be written to.
        ValueError: a request is about other data.
    """
    plan = {request.run_key: request for request in requests}
    if strange := [key for key, request in plan.items() if request.fingerprint != dataset.fingerprint]:
        raise ValueError(f"{len(strange)} of {len(plan)} requests are about other data than {dataset.name!r}")
    stored = writer.stored(plan)
    missing = {key: request for key, request in plan.items() if key not in stored}
    items = [
        Item(
            key,
            request,
            program_key(request, dataset),
            dataset.fingerprint,
            cost(request, dataset),
            resources if isinstance(request.learner.predictor, Net) else ONE_CPU,
        )
        for key, request in missing.items()
    ]
    checkpoints = {key: arrays for key in missing if (arrays := writer.load_checkpoint(key)) is not None}
    fitted, failed = 0, {}
    try:
        for event in executor.execute(items, work, {dataset.fingerprint: dataset}, checkpoints):
            if isinstance(event, Lost):
                event = Result(event.run_key, failure(event.run_key, event.reason))
            if isinstance(event, Checkpoint):
                writer.save_checkpoint(event.run_key, event.arrays)
            elif isinstance(event, Result):
                result: RunResult = event.value
                writer.put(Record(missing[event.run_key], result, dataset.name, sweep, provenance(), datetime.now(UTC)))
                if result.status == "failed":
                    failed[event.run_key] = result.error or "no reason was given"
                else:
                    fitted += 1
            on_event(event)
            writer.commit_if_due()
    finally:
        writer.commit()
    return Outcome(fitted, len(stored), failed)
