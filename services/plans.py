"""From a sweep to its runs: every run with its key, what of them is stored, and fitting what is not."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cluster.executor import Executor
from cluster.resources import Resources
from models.build import model_of
from models.dataset import DataError, Dataset, Partition
from models.events import Event
from models.fit import program_key
from models.geometry.catalogue import Ask, parse_asks
from models.preparation import prepare
from models.result import RunRequest
from models.spec import BlackBox, Learner, SpecError, canonical_json, resolve
from services.datasets import load
from services.runner import Outcome, run
from services.store import Store, Writer
from services.sweeps import Sweep, parse_sweep
from services.varying import check_varied, variants

MEMBERS = {
    "run_key": pl.String,
    "dataset": pl.String,
    "fingerprint": pl.String,
    "learner": pl.String,
    "split": pl.Int64,
    "seed": pl.Int64,
    "varied": pl.String,
}


@dataclass(frozen=True)
class Part:
    """The runs of a sweep on one dataset.

    Attributes:
        learners: names, in the order in which they were asked for.
        requests: by run key.
        varied: by run key, the settings that were varied, by dotted path.
        notes: what was done to prepare the dataset, in plain words.
    """

    dataset: Dataset
    learners: tuple[str, ...]
    requests: Mapping[str, RunRequest]
    varied: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Every run that a sweep asks for, once, and the measures that it wants of them."""

    sweep: Sweep
    parts: tuple[Part, ...]
    asks: tuple[Ask, ...]

    @property
    def run_keys(self) -> list[str]:
        """Of all runs."""
        return [key for part in self.parts for key in part.requests]

    def words(self) -> dict[str, str]:
        """Each run in words, by its key."""
        return {
            key: ", ".join([*([part.dataset.name] if len(self.parts) > 1 else []), _words(request, part.varied[key])])
            for part in self.parts
            for key, request in part.requests.items()
        }

    def members(self) -> pl.DataFrame:
        """A row for each run, as the store keeps them. `varied` is canonical JSON."""
        rows = [
            (
                key,
                part.dataset.name,
                part.dataset.fingerprint,
                request.learner.name,
                request.partition.index,
                request.seed,
                canonical_json(part.varied[key]),
            )
            for part in self.parts
            for key, request in part.requests.items()
        ]
        return pl.DataFrame(rows, schema=MEMBERS, orient="row")


def _words(request: RunRequest, varied: Mapping[str, Any]) -> str:
    settings = [f"{path.rpartition('.')[2]} {json.dumps(value)}" for path, value in varied.items()]
    return ", ".join([request.learner.name, *settings, f"split {request.partition.index}", f"seed {request.seed}"])


def load_datasets(sweep: Sweep, cache: Path) -> list[Dataset]:
    """The datasets of a sweep, in its order.

    Raises:
        DataError: as `services.datasets.load` does.
    """
    return [load(each.data, cache=cache, target=each.target, task=each.task) for each in sweep.datasets]


def plan(sweep: Sweep, datasets: Sequence[Dataset]) -> Plan:
    """Cross datasets, learners, varied settings, splits and seeds.

    What would fail on every split is refused here, before anything is fitted.

    Args:
        sweep: what is asked for.
        datasets: those that the sweep names, in its order.

    Raises:
        SpecError: a learner that does not fit a dataset, settings that cannot be varied so, or an unknown measure.
        DataError: a dataset that cannot be split or prepared.
    """
    asks = parse_asks(sweep.measures)
    learners = [sweep.learners_for(has_shape=dataset.shape is not None) for dataset in datasets]
    check_varied([learner for each in learners for learner in each], sweep.vary)
    parts, planned = [], set()
    for dataset, mine in zip(datasets, learners, strict=True):
        part = _part(sweep, dataset, mine, planned)
        planned |= part.requests.keys()
        parts.append(part)
    return Plan(sweep, tuple(parts), asks)


def _part(sweep: Sweep, dataset: Dataset, learners: Sequence[Learner], planned: set[str]) -> Part:
    partitions = [Partition(index=split) for split in range(sweep.n_splits)]
    first = prepare(dataset, partitions[0])
    requests, varied = {}, {}
    for variant in (variant for learner in learners for variant in variants(learner, sweep.vary)):
        learner = _fitting(variant.learner, dataset, len(first.columns))
        for partition, seed in product(partitions, range(sweep.n_seeds)):
            request = RunRequest(learner, partition, seed, dataset.fingerprint)
            if (key := request.run_key) not in planned:
                requests[key], varied[key] = request, variant.varied
    return Part(dataset, tuple(learner.name for learner in learners), requests, varied, first.notes)


def _fitting(learner: Learner, dataset: Dataset, n_columns: int) -> Learner:
    """The learner with its likelihood, once it is known that its model can be built on this dataset."""
    try:
        learner = resolve(learner, dataset.task, dataset.n_classes)
    except SpecError as error:
        raise SpecError(f"{dataset.name!r}: {error}") from None
    if isinstance(learner.predictor, BlackBox):
        return learner
    assert learner.likelihood is not None
    try:
        model_of(learner.predictor, learner.likelihood, dataset.n_classes, n_columns, dataset.shape)  # pyright: ignore[reportArgumentType] - hashable
    except SpecError as error:
        raise SpecError(f"{dataset.name!r}: learner {learner.name!r}: {error}") from None
    return learner


class Outlook(NamedTuple):
    """What a learner's runs on one dataset have before them.

    Attributes:
        programs: compiled programs that its missing runs need.
    """

    dataset: str
    learner: str
    runs: int
    stored: int
    programs: frozenset[str]


def outlook(plan: Plan, stored: Iterable[str]) -> list[Outlook]:
    """By dataset and learner, how many runs are planned, stored and to be compiled for."""
    stored, found = set(stored), []
    for part in plan.parts:
        for name in part.learners:
            mine = {key: request for key, request in part.requests.items() if request.learner.name == name}
            missing = [request for key, request in mine.items() if key not in stored]
            programs = frozenset(program_key(request, part.dataset) for request in missing)
            found.append(Outlook(part.dataset.name, name, len(mine), len(mine) - len(missing), programs))
    return found


def carry_out(
    plan: Plan,
    writer: Writer,
    executor: Executor,
    on_event: Callable[[Event], None],
    *,
    n_workers: int,
    resources: Resources,
) -> Outcome:
    """Record what the sweep asks for, then fit the runs that the store lacks, one dataset after the other.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    name = plan.sweep.name
    writer.put_sweep(name, canonical_json(plan.sweep), plan.members())
    outcomes = [
        run(
            part.requests.values(),
            part.dataset,
            writer,
            executor,
            on_event,
            sweep=name,
            n_workers=n_workers,
            resources=resources,
        )
        for part in plan.parts
    ]
    return Outcome(
        sum(each.fitted for each in outcomes),
        sum(each.reused for each in outcomes),
        {key: reason for each in outcomes for key, reason in each.failed.items()},
    )


def standing(store: Store, members: pl.DataFrame) -> pl.DataFrame:
    """What became of a sweep's runs: columns learner, runs, finished, diverged and failed; the rest is missing."""
    runs = members.lazy().join(store.runs().select("run_key", "status"), on="run_key", how="left")
    counts = [(pl.col("status") == status).sum().alias(status) for status in ("finished", "diverged", "failed")]
    return runs.group_by("learner", maintain_order=True).agg(pl.len().alias("runs"), *counts).collect()


def datasets_of(store: Store, name: str, cache: Path) -> dict[str, Dataset]:
    """The datasets of a stored sweep, by fingerprint, read anew.

    Raises:
        StoreError: there is no such sweep.
        DataError: a dataset cannot be read any more, or it is not what it was when the sweep was run.
    """
    definition, members = store.sweep(name)
    sweep = parse_sweep(json.loads(definition), f"sweep {name!r}")
    found = {dataset.fingerprint: dataset for dataset in load_datasets(sweep, cache)}
    changed = members.filter(~pl.col("fingerprint").is_in(list(found)))["dataset"].unique(maintain_order=True)
    if len(changed):
        raise DataError(
            f"the data of sweep {name!r} changed since it was run: {', '.join(map(repr, changed))}; put them back as "
            "they were, or run the sweep again on the new ones"
        )
    return found
