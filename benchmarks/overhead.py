"""What one run costs beside its own work, against Ray Tune: many trivial runs on two workers.

Wall-clock from the call until the last result, Ray itself running already on both sides. `cold` starts the workers
within the measured time, as each call of Tune does; `warm` finds them alive. The driver's memory is that of this
process, which starts Ray, reads results and writes the store.
"""

import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer import run_peer
from benchmarks.process import resident_bytes
from benchmarks.table import Table, figure
from benchmarks.work import trivial
from cluster.executor import WIDTH, Executor, InProcessExecutor
from cluster.packing import Item
from cluster.ray_executor import RayExecutor
from cluster.resources import Resources
from cluster.work import Lost
from models.data.dataset import Dataset, Partition, sealed
from models.runs.events import Event, Result
from models.runs.result import RunRequest
from models.spec.inference import Optimise
from models.spec.learner import Learner, resolve
from models.spec.predictors import Linear
from services.execution.runner import OnEvent, run
from services.store.writer import writing

WORKERS = 2


def measure(runs: int = 10_000, part: int = 1000, trials: int = 30, repeats: int = 2) -> dict[str, Any]:
    """Milliseconds per run of Basin's parts, per trial of Ray Tune, and their ratios.

    All `runs` go through everything once; its parts are the best of some rounds with `part` of them.
    """
    dataset = _dataset()
    requests = _requests(dataset, runs)
    rounds = [_round(dataset, requests[:part], requests[:trials]) for _ in range(repeats)]
    found: dict[str, Any] = {"runs": runs, "part": part, "trials": trials, "workers": WORKERS, "width": WIDTH}
    found |= {name: min(r[name] for r in rounds) for name in rounds[0]} | _whole(dataset, requests)
    peer = run_peer("BASIN_TUNE_PYTHON", "tune_overhead.py", str(trials), str(WORKERS))
    if peer is None:
        return found | {"peer": "not measured: BASIN_TUNE_PYTHON names no interpreter with ray[tune]"}
    found |= peer
    for way in ("fresh", "reuse"):
        found[f"ratio_to_{way}"] = found[f"tune_{way}_ms"] / found["cold_ms"]
        found[f"ratio_to_{way}_at_trials"] = found[f"tune_{way}_ms"] / found["cold_trials_ms"]
    return found


def _whole(dataset: Dataset, requests: Sequence[RunRequest]) -> dict[str, Any]:
    """All at once, and the driver's memory before and after each tenth of the runs."""
    memory = [resident_bytes()]
    ends = itertools.count(1)

    def watch(event: Event | Lost) -> None:
        if isinstance(event, Result) and next(ends) % (len(requests) // 10) == 0:
            memory.append(resident_bytes())

    with RayExecutor(n_workers=WORKERS) as executor:
        milliseconds = _stored(requests, dataset, executor, watch)
    return {"cold_ms": milliseconds, "memory_bytes": memory}


def _round(dataset: Dataset, many: Sequence[RunRequest], few: Sequence[RunRequest]) -> dict[str, float]:
    with RayExecutor(n_workers=WORKERS) as executor:
        cold_trials = _stored(few, dataset, executor)
    with RayExecutor(n_workers=WORKERS, width=1) as executor:
        _executed(few, dataset, executor)  # starts the workers
        alone = _executed(many, dataset, executor)
    with RayExecutor(n_workers=WORKERS) as executor:
        return {
            "cold_trials_ms": cold_trials,
            "cold_part_ms": _stored(many, dataset, executor),
            "warm_ms": _stored(many, dataset, executor),
            "executor_ms": _executed(many, dataset, executor),
            "executor_alone_ms": alone,
            "store_ms": _stored(many, dataset, InProcessExecutor()),
        }


def tables(found: dict[str, Any]) -> list[Table]:
    """Basin's parts, then the peer."""
    n, part, few, each = f"{found['runs']:,}", f"{found['part']:,}", found["trials"], found["width"]
    rows = [
        (f"Basin, {n} runs, cold: packs of {each} at most, Ray, bundles and tables", "cold_ms", "", ""),
        (f"Basin, {part} runs, cold", "cold_part_ms", "", ""),
        (f"Basin, {few} runs, cold", "cold_trials_ms", "", ""),
        (f"Basin, {part} runs, warm", "warm_ms", "", ""),
        (f"of which Ray, packs of {each} at most, nothing stored", "executor_ms", "", ""),
        ("of which bundles and tables, no Ray", "store_ms", "", ""),
        ("Basin, Ray, every run a pack of its own, nothing stored", "executor_alone_ms", "", ""),
        (f"Ray Tune, {few} trials, an actor each", "tune_fresh_ms", "ratio_to_fresh", "ratio_to_fresh_at_trials"),
        (f"Ray Tune, {few} trials, actors reused", "tune_reuse_ms", "ratio_to_reuse", "ratio_to_reuse_at_trials"),
    ]
    header = ["what", "ms per run", f"Basin at {n} is faster by", f"Basin at {few} is faster by"]
    cells = [
        [what, figure(found.get(ms)), *(figure(found[k]) if k in found else "" for k in ratios)]
        for what, ms, *ratios in rows
    ]
    memory = found["memory_bytes"]
    steps = [found["runs"] * i // (len(memory) - 1) for i in range(len(memory))]
    held = [[f"{step:,}", figure(size / 2**20)] for step, size in zip(steps, memory, strict=True)]
    return [
        Table(f"Overhead per trivial run, {found['workers']} workers", header, cells),
        Table(f"The driver's memory during the {n} runs", ["runs stored", "MiB resident"], held),
    ]


def _dataset() -> Dataset:
    column = np.linspace(-1.0, 1.0, 20)
    return sealed(
        Dataset(
            name="overhead",
            task="real",
            numeric=column[:, None],
            names=("x",),
            factors={},
            shape=None,
            target=column,
            target_name="y",
            classes=(),
        )
    )


def _requests(dataset: Dataset, n: int) -> list[RunRequest]:
    linear = Learner(name="linear", predictor=Linear(), inference=Optimise(optimiser="sgd"))
    learner = resolve(linear, dataset.task, dataset.n_classes)
    return [RunRequest(learner, Partition(), seed, dataset.fingerprint) for seed in range(n)]


def _items(requests: Sequence[RunRequest]) -> list[Item]:
    return [Item(r.run_key, r, "program", r.fingerprint, 1.0, Resources()) for r in requests]


def _stored(
    requests: Sequence[RunRequest],
    dataset: Dataset,
    executor: Executor,
    on_event: OnEvent = lambda event: None,
) -> float:
    """Milliseconds per run through the runner, into a new store that is opened and closed within the time."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with writing(Path(folder) / "store") as writer:
            outcome = run(_items(requests), {dataset.fingerprint: dataset}, writer, executor, on_event, work=trivial)
        seconds = time.perf_counter() - start
    assert outcome.fitted == len(requests), f"{outcome.fitted} of {len(requests)} runs were stored: {outcome.failed}"
    return 1e3 * seconds / len(requests)


def _executed(requests: Sequence[RunRequest], dataset: Dataset, executor: Executor) -> float:
    """Milliseconds per run through the executor alone."""
    items = _items(requests)
    start = time.perf_counter()
    events = list(executor.execute(items, trivial, {dataset.fingerprint: dataset}, {}))
    seconds = time.perf_counter() - start
    n_results = sum(isinstance(event, Result) for event in events)
    assert n_results == len(items), f"{n_results} of {len(items)} runs came back"
    return 1e3 * seconds / len(items)
