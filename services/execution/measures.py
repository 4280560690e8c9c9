"""Measures at stored runs, without fitting them again: what a sweep lacks is measured and kept."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from cluster.executor import Executor
from cluster.packing import Item
from cluster.resources import Resources
from cluster.work import Arrays, Lost, Work
from models.data.dataset import Dataset, Partition
from models.fitting.dispatch import program_key
from models.geometry.connectivity.paths import Paths
from models.measuring.at_runs import MEASURED_DRAWS, MeasureRequest, measure_runs, spaced
from models.measuring.catalogue import Ask, parse_asks
from models.measuring.paths import ConnectRequest, connect_runs
from models.runs.events import Event, Result
from models.runs.result import Measurement, RunRequest
from models.spec.learner import Learner
from models.spec.settings import canonical_json
from services.provenance import provenance
from services.store.bundles import Bundle
from services.store.measurements import MeasurementRecord
from services.store.rows import settings_text
from services.store.store import Store
from services.store.writer import Writer
from services.sweeps.definition import MEASURES, parse_sweep
from services.sweeps.plan import paths_of

ONE_CPU = Resources()


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        requests: what the store lacks.
        reused: numbers (run, draw, measure) that it has.
        unfinished: runs of the sweep that are not finished, and so cannot be measured; those stopped early, which
            nobody waits for, are not counted.
    """

    sweep: str
    requests: tuple[MeasureRequest, ...]
    reused: int
    unfinished: int


@dataclass(frozen=True)
class Outcome:
    """Requests answered by this call, and reasons by key where a worker was lost."""

    measured: int
    failed: Mapping[str, str]


def wanted(store: Store, sweep: str) -> tuple[tuple[Ask, ...], Paths | None]:
    """The measures that a stored sweep asks for itself, or else the standard ones, and its paths; None for no paths.

    Raises:
        StoreError: there is no such sweep.
        SpecError: its definition cannot be read any more.
    """
    definition = parse_sweep(json.loads(store.sweep(sweep)[0]), f"sweep {sweep!r}")
    return parse_asks(MEASURES if definition.measures is None else definition.measures), paths_of(definition)


def plan(store: Store, sweep: str, asks: Sequence[Ask], n_draws: int = MEASURED_DRAWS) -> Plan:
    """What of the measures is missing at the sweep's finished runs: at point estimates, and at `n_draws` of posteriors.

    Raises:
        StoreError: there is no such sweep.
    """
    _, members = store.sweep(sweep)
    runs = store.collect(store.runs().join(members.lazy().select("run_key").unique(), on="run_key", how="semi"))
    finished = runs.filter(status="finished").sort("learner", "split", "seed", "run_key")
    done: dict[str, set[tuple[int, str, str]]] = {}
    wanted = finished.lazy().select("run_key")
    measured = store.collect(store.measured().join(wanted, on="run_key", how="semi"))
    for key, draw, measure, settings in measured.iter_rows():
        done.setdefault(key, set()).add((draw, measure, settings))
    requests, reused = [], 0
    for row in finished.iter_rows(named=True):
        draws, unable = draws_of(row, n_draws)
        has = done.get(row["run_key"], set())
        missing = []
        for ask in asks:
            settings = settings_text(ask.settings.model_dump(mode="json"))
            n_there = sum((draw, ask.measure, settings) in has for draw in draws)
            reused += n_there
            if n_there < len(draws):
                missing.append(ask)
        if missing:
            requests.append(MeasureRequest(request_of(row), draws, tuple(missing), unable))
    n_settled = len(runs.filter(pl.col("status").is_in(["finished", "stopped"])))
    return Plan(sweep, tuple(requests), reused, members["run_key"].n_unique() - n_settled)


def draws_of(run: Mapping[str, Any], n_draws: int) -> tuple[tuple[int, ...], str | None]:
    """The draws of a run to measure at, -1 for its point estimate; and why it has no parameter vector, or None."""
    spec = json.loads(run["spec"])
    if run["kind"] == "baseline":
        return (-1,), f"{run['predictor']} is a black box: it has no parameter vector, and so no loss landscape"
    if run["n_draws"] is None:
        return (-1,), None
    if spec["predictor"].get("formula") is not None:
        return (-1,), "the terms of a stated formula are no flat vector: leave predictor.formula out for all columns"
    if not spec["inference"].get("keep_draws", True):
        return (-1,), "the draws were not kept: set inference.keep_draws to true and fit again"
    return tuple(spaced(run["n_chains"] * run["n_draws"], n_draws)), None


def request_of(run: Mapping[str, Any]) -> RunRequest:
    """What a row of `runs` was asked for."""
    partition = Partition(
        seed=run["split_seed"], index=run["split"], validation=run["validation_share"], test=run["test_share"]
    )
    return RunRequest(Learner.model_validate_json(run["spec"]), partition, run["seed"], run["fingerprint"])


def vectors(bundle: Bundle, draws: Sequence[int]) -> np.ndarray:
    """(t, p) flat parameter vectors of a stored run: its point estimate (draw -1), or draws of its posterior.

    Raises:
        DamagedError: the bundle is not as it was written.
    """
    if tuple(draws) == (-1,):
        return bundle.parameters()["theta"][None]
    posterior = bundle.posterior()
    assert posterior is not None, "a run with draws has a posterior"
    group = posterior["posterior"].to_dataset()
    if "theta" in group:
        flat = group["theta"].to_numpy()
    else:
        from models.glm.fit import flat_vectors  # PyMC takes seconds to import

        flat = flat_vectors(group)
    return flat.reshape(-1, flat.shape[-1])[list(draws)]


def words(request: MeasureRequest | ConnectRequest) -> str:
    """A request in words."""
    run = request.run
    what = "paths" if isinstance(request, ConnectRequest) else "measures"
    return f"{what} of {run.learner.name}, split {run.partition.index}, seed {run.seed}"


def measure(
    requests: Sequence[MeasureRequest | ConnectRequest],
    sweep: str,
    datasets: Mapping[str, Dataset],
    writer: Writer,
    executor: Executor,
    on_event: Callable[[Event | Lost], None],
    *,
    resources: Resources = ONE_CPU,
) -> Outcome:
    """Measure at stored runs, and keep each result as it comes. Whatever ends this early, what is measured is kept.

    Args:
        requests: what to measure, or which vectors to connect.
        sweep: the name under which it is asked for.
        datasets: by fingerprint.
        writer: the store.
        executor: where the work is done.
        on_event: told of everything that happens.
        resources: what each request asks of a worker.

    Raises:
        StoreError: the store cannot be written to, or a bundle is damaged.
    """
    measured, failed = 0, {}
    works: dict[type, Work] = {MeasureRequest: measure_runs, ConnectRequest: connect_runs}
    try:
        for kind, work in works.items():
            mine = {request.key: request for request in requests if isinstance(request, kind)}
            items = (_item(request, datasets[request.run.fingerprint], resources) for request in mine.values())
            for event in executor.execute(items, work, datasets, _Vectors(writer, mine)):
                if isinstance(event, Lost):
                    failed[event.run_key] = event.reason
                elif isinstance(event, Result):
                    found: Measurement = event.value
                    writer.put_measurement(MeasurementRecord(found, sweep, provenance(), datetime.now(UTC)))
                    measured += 1
                on_event(event)
                writer.commit_if_due()
    finally:
        writer.commit()
    return Outcome(measured, failed)


class _Vectors(Mapping[str, Arrays]):
    """The stored vectors of requests, by their keys, read when they are asked for."""

    def __init__(self, store: Store, requests: Mapping[str, MeasureRequest | ConnectRequest]):
        self._store, self._requests = store, requests

    def __getitem__(self, key: str) -> Arrays:
        request = self._requests[key]
        if isinstance(request, MeasureRequest):
            return {} if request.unable else {"theta": self._of(request.run.run_key, request.draws)}
        others = [self._of(run_key, [draw])[0] for run_key, draw in request.others]
        return {"theta": self._of(request.run.run_key, [request.draw])[0], "others": np.stack(others)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def _of(self, run_key: str, draws: Sequence[int]) -> np.ndarray:
        return vectors(self._store.bundle(run_key), draws)


def _item(request: MeasureRequest | ConnectRequest, dataset: Dataset, resources: Resources) -> Item:
    """Requests on one model for the same measures travel together."""
    if isinstance(request, ConnectRequest):
        settings = request.settings
        asked: Any = settings.model_dump(mode="json")
        cost = len(request.others) * (settings.bezier_steps + 3 * settings.points)
    else:
        asked = [[ask.measure, settings_text(ask.settings.model_dump(mode="json"))] for ask in request.asks]
        asked.append(request.unable)
        cost = len(request.draws) * len(request.asks)
    program = canonical_json({"program": program_key(request.run, dataset), "asked": asked})
    return Item(request.key, request, program, dataset.fingerprint, float(cost * dataset.n_rows), resources)
