"""From a sweep to its runs: every run with its key, what of them is stored, and what lies before those that are not.

A sweep may have hundreds of thousands of runs: what is the same for all runs of a configuration is worked out once, and
the runs themselves are rows of a data frame.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from cluster.executor import WIDTH
from cluster.packing import Item
from cluster.resources import Resources
from models.data.dataset import DataError, Dataset, Partition, Split
from models.data.preparation import prepare
from models.fitting.dispatch import cost, program_key
from models.geometry.connectivity.paths import Paths
from models.joint.build import check_draws, model_of
from models.measuring.catalogue import Ask, parse_asks
from models.runs.result import RunRequest, requests_of
from models.spec.learner import Learner, resolve
from models.spec.predictors import BlackBox, Formula, Net
from models.spec.settings import SpecError, canonical_json
from services.datasets.registry import load
from services.errors import NotStoredError
from services.store.archive import DamagedError
from services.store.store import Store
from services.sweeps.definition import Sweep, check_size, parse_sweep
from services.sweeps.search_space import check_varied, variants

ONE_CPU = Resources()
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
class Configuration:
    """One learner under one choice of the varied settings, on one dataset: all of its splits and seeds are its runs.

    Attributes:
        learner: with its likelihood.
        varied: the settings that were varied, by dotted path.
        program: equal for configurations that share a compiled program.
        cost: of one run, in any one unit.
    """

    learner: Learner
    varied: Mapping[str, Any]
    dataset: Dataset
    program: str
    cost: float


@dataclass(frozen=True)
class Part:
    """What a sweep asks for on one dataset.

    Attributes:
        learners: names, in the order in which they were asked for.
        notes: what was done to prepare the dataset, in plain words.
    """

    dataset: Dataset
    learners: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Every run that a sweep asks for, once, and the measures and paths that it wants of them.

    Attributes:
        runs: a row for each run: run_key, configuration (its place in `configurations`), split, seed.
    """

    sweep: Sweep
    parts: tuple[Part, ...]
    configurations: tuple[Configuration, ...]
    runs: pl.DataFrame
    asks: tuple[Ask, ...]
    paths: Paths | None

    @property
    def run_keys(self) -> list[str]:
        """Of all runs."""
        return self.runs["run_key"].to_list()

    @property
    def datasets(self) -> dict[str, Dataset]:
        """By fingerprint."""
        return {part.dataset.fingerprint: part.dataset for part in self.parts}

    def missing(self, store: Store) -> pl.DataFrame:
        """Those of `runs` that the store lacks, or has as failed or stopped."""
        return self.runs.filter(~pl.col("run_key").is_in(list(store.stored(self.run_keys))))

    def requests(self, runs: pl.DataFrame | None = None) -> Iterator[RunRequest]:
        """The requests of some of `runs`, or of all; those of the most expensive configuration first."""
        partitions = [Partition(index=split) for split in range(self.sweep.n_splits)]
        by_cost = sorted(range(len(self.configurations)), key=lambda i: -self.configurations[i].cost)
        place = pl.DataFrame({"configuration": by_cost, "place": range(len(by_cost))}, schema_overrides=_PLACES)
        runs = self.runs if runs is None else runs
        for key, i, split, seed in (
            runs.join(place, on="configuration", maintain_order="left")
            .sort("place", maintain_order=True)
            .select("run_key", "configuration", "split", "seed")
            .iter_rows()
        ):
            configuration = self.configurations[i]
            request = RunRequest(configuration.learner, partitions[split], seed, configuration.dataset.fingerprint)
            vars(request)["run_key"] = key
            yield request

    def items(self, runs: pl.DataFrame, resources: Resources) -> Iterator[Item]:
        """Some of `runs` for an executor, the most expensive first; GLMs and black boxes take one CPU each."""
        by_learner = {id(c.learner): c for c in self.configurations}
        for request in self.requests(runs):
            configuration = by_learner[id(request.learner)]
            yield Item(
                request.run_key,
                request,
                configuration.program,
                request.fingerprint,
                configuration.cost,
                resources if isinstance(request.learner.predictor, Net) else ONE_CPU,
            )

    def words(self, runs: pl.DataFrame) -> Mapping[str, str]:
        """Each of some of `runs` in words, by its key; the words are made when they are asked for."""
        return _Words(self, runs)

    def members(self) -> pl.DataFrame:
        """A row for each run, as the store keeps them. `varied` is canonical JSON."""
        facts = [
            (i, c.dataset.name, c.dataset.fingerprint, c.learner.name, canonical_json(c.varied))
            for i, c in enumerate(self.configurations)
        ]
        schema = {"configuration": pl.UInt32} | {k: MEMBERS[k] for k in ("dataset", "fingerprint", "learner", "varied")}
        known = pl.DataFrame(facts, schema=schema, orient="row")
        return self.runs.join(known, on="configuration", maintain_order="left").select(
            pl.col(name).cast(dtype) for name, dtype in MEMBERS.items()
        )


_PLACES = {"configuration": pl.UInt32, "place": pl.UInt32}
_RUNS = {"run_key": pl.String, "configuration": pl.UInt32, "split": pl.UInt32, "seed": pl.UInt32}


class _Words(Mapping[str, str]):
    def __init__(self, plan: Plan, runs: pl.DataFrame):
        self._plan = plan
        self._runs = runs
        self._rows = {key: row for row, key in enumerate(runs["run_key"])}

    def __getitem__(self, run_key: str) -> str:
        _, i, split, seed = self._runs.row(self._rows[run_key])
        configuration = self._plan.configurations[i]
        dataset = [configuration.dataset.name] if len(self._plan.parts) > 1 else []
        settings = [f"{path.rpartition('.')[2]} {json.dumps(v)}" for path, v in configuration.varied.items()]
        return ", ".join([*dataset, configuration.learner.name, *settings, f"split {split}", f"seed {seed}"])

    def __contains__(self, run_key: object) -> bool:
        return run_key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def named_apart(sweep: Sweep, store: Store) -> Sweep:
    """The sweep, under a name with a number if the store has one of its name on other data.

    Names that are made of files' names may be alike.
    """
    names = chain([sweep.name], (f"{sweep.name}-{i}" for i in count(2)))
    return sweep.model_copy(update={"name": next(name for name in names if _may_be_named(sweep, name, store))})


def _may_be_named(sweep: Sweep, name: str, store: Store) -> bool:
    try:
        stored = parse_sweep(json.loads(store.definition(name)))
    except (NotStoredError, DamagedError):  # it is written, or written anew
        return True
    return [each.data for each in stored.datasets] == [each.data for each in sweep.datasets]


def load_datasets(sweep: Sweep, cache: Path) -> list[Dataset]:
    """The datasets of a sweep, in its order.

    Raises:
        DataError: as `services.datasets.registry.load` does.
    """
    return [load(each.data, cache=cache, target=each.target, task=each.task, reading=each) for each in sweep.datasets]


def paths_of(sweep: Sweep) -> Paths | None:
    """How a sweep connects its solutions; None where it does not.

    Raises:
        SpecError: a setting that paths do not have or cannot take.
    """
    if isinstance(sweep.connections, bool):
        return Paths() if sweep.connections else None
    try:
        return Paths.model_validate(sweep.connections)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(["connections", *map(str, first["loc"])])
        raise SpecError(f"{path}: {first['msg']}; paths have the settings {', '.join(Paths.model_fields)}") from None


def plan(sweep: Sweep, datasets: Sequence[Dataset]) -> Plan:
    """Cross datasets, learners, varied settings, splits and seeds.

    What would fail on every split is refused here, before anything is fitted.

    Args:
        sweep: what is asked for.
        datasets: those that the sweep names, in its order.

    Raises:
        SpecError: more runs than are planned, a learner that does not fit a dataset, settings that cannot be varied
            so, or an unknown measure.
        DataError: a dataset that cannot be split or prepared.
    """
    asks, paths = parse_asks(sweep.measures or ()), paths_of(sweep)
    check_size(sweep, sweep.learners_for(has_shape=True))  # of one that an earlier Basin stored, too
    learners = [sweep.learners_for(has_shape=dataset.shape is not None) for dataset in datasets]
    check_varied([learner for each in learners for learner in each], sweep.vary)
    parts, configurations = [], []
    for dataset, mine in zip(datasets, learners, strict=True):
        first = prepare(dataset, Partition())
        parts.append(Part(dataset, tuple(learner.name for learner in mine), first.notes))
        configurations += _configurations(sweep, dataset, mine, first)
    return Plan(sweep, tuple(parts), tuple(configurations), _runs(sweep, configurations), asks, paths)


def _configurations(
    sweep: Sweep, dataset: Dataset, learners: Sequence[Learner], first: Split
) -> Iterator[Configuration]:
    for learner in learners:
        for variant in variants(learner, sweep.vary, sweep.drawn):
            fitting = _fitting(variant.learner, dataset, first)
            any_run = RunRequest(fitting, Partition(), 0, dataset.fingerprint)
            yield Configuration(fitting, variant.varied, dataset, program_key(any_run, dataset), cost(any_run, dataset))


def _runs(sweep: Sweep, configurations: Sequence[Configuration]) -> pl.DataFrame:
    partitions = [Partition(index=split) for split in range(sweep.n_splits)]
    frames = [
        pl.DataFrame(
            [
                (request.run_key, i, request.partition.index, request.seed)
                for request in requests_of(c.learner, c.dataset.fingerprint, partitions, range(sweep.n_seeds))
            ],
            schema=_RUNS,
            orient="row",
        )
        for i, c in enumerate(configurations)
    ]
    return pl.concat(frames).unique("run_key", keep="first", maintain_order=True)


def _fitting(learner: Learner, dataset: Dataset, first: Split) -> Learner:
    """The learner with its likelihood, once it is known that its model can be built on this dataset."""
    try:
        learner = resolve(learner, dataset.task, dataset.n_classes)
    except SpecError as error:
        raise SpecError(f"{dataset.name!r}: {error}") from None
    if isinstance(learner.predictor, BlackBox):
        return learner
    assert learner.likelihood is not None
    try:
        if isinstance(learner.predictor, Formula):
            _check_formula(learner, first)
        model = model_of(learner.predictor, learner.likelihood, dataset.n_classes, len(first.columns), dataset.shape)
        check_draws(learner, model)
    except SpecError as error:
        raise SpecError(f"{dataset.name!r}: learner {learner.name!r}: {error}") from None
    return learner


def _check_formula(learner: Learner, first: Split) -> None:
    from models.glm.stated import checked, checked_formula  # a second to import

    if learner.predictor == Formula():
        checked(learner)
    else:
        checked_formula(learner, first)


class Outlook(NamedTuple):
    """What a learner's runs on one dataset have before them.

    Attributes:
        programs: compiled programs that its missing runs need, each with how many of them need it.
        cost: of its missing runs, in the unit of `Configuration.cost`.
    """

    dataset: Dataset
    learner: Learner
    runs: int
    stored: int
    programs: Mapping[str, int]
    cost: float


def outlook(plan: Plan, missing: pl.DataFrame) -> list[Outlook]:
    """By dataset and learner, how many runs are planned and stored, and what is to be compiled for those missing."""
    counts = plan.runs.group_by("configuration").agg(
        pl.len().alias("runs"), pl.col("run_key").is_in(missing["run_key"].to_list()).sum().alias("missing")
    )
    by_learner: dict[tuple[str, str], list[tuple[Configuration, int, int]]] = {}
    for i, n, n_missing in counts.sort("configuration").iter_rows():
        configuration = plan.configurations[i]
        name = (configuration.dataset.fingerprint, configuration.learner.name)
        by_learner.setdefault(name, []).append((configuration, n, n_missing))
    return [
        Outlook(
            dataset=each[0][0].dataset,
            learner=each[0][0].learner,
            runs=sum(n for _, n, _ in each),
            stored=sum(n - n_missing for _, n, n_missing in each),
            programs=_total((c.program, n_missing) for c, _, n_missing in each if n_missing),
            cost=math.fsum(c.cost * n_missing for c, _, n_missing in each),
        )
        for each in by_learner.values()
    ]


def n_packs(outlooks: Iterable[Outlook]) -> int:
    """Packs that the missing runs travel in at the least; executors cut smaller ones by memory, speed and workers."""
    waiting = _total(((row.dataset.fingerprint, name), n) for row in outlooks for name, n in row.programs.items())
    return sum(math.ceil(n / WIDTH) for n in waiting.values())


def _total[K](counts: Iterable[tuple[K, int]]) -> Counter[K]:
    total: Counter[K] = Counter()
    for name, n in counts:
        total[name] += n
    return total


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
