"""The one dispatch: learners, partitions and seeds in; scores, diagnostics, geometry and draws out."""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import batched

import jax
import numpy as np

from models.dataset import DataError, Dataset, Partition, Split
from models.events import Result, begun
from models.fit_net import fit_optimised, fit_sampled
from models.preparation import prepare
from models.result import RunRequest, RunResult, failure
from models.run import Emit, Run
from models.spec import HMC, NUTS, BlackBox, Formula, Optimise, PyMC, SpecError, canonical_json
from models.train import WIDTH

Checkpoints = Mapping[str, Mapping[str, np.ndarray]]

# Settings that are arguments of the compiled program: runs that differ only in these share it.
TRACED = ("learning_rate", "momentum", "weight_decay", "clip", "patience")


def fit(requests: Sequence[RunRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit) -> None:
    """Fit a pack, and emit one `Result` of a `RunResult` for each request, with progress and checkpoints between.

    A run's numbers depend on its request and the dataset alone: not on the other requests, nor on where the run was
    cut off and resumed. Whatever befalls one run is that run's result (`diverged`, `failed`) and leaves the others
    unharmed.
    """

    @functools.lru_cache(maxsize=8)
    def split_of(partition: Partition) -> Split:
        return prepare(dataset, partition)

    for batch in _batches(requests, dataset):
        for request in batch:
            emit(begun(request.run_key))
        results = _fit_batch(batch, split_of, checkpoints, emit)  # pyright: ignore[reportArgumentType] - frozen, hence hashable
        for request, result in zip(batch, results, strict=True):
            emit(Result(request.run_key, result))


def program_key(request: RunRequest, dataset: Dataset) -> str:
    """Equal for runs that share one compiled program: all but seed, partition and the scalar settings `TRACED`."""
    learner = request.learner.model_dump(mode="json", exclude={"name"})
    inference = learner["inference"]
    for name in TRACED:
        inference.pop(name, None)
    inference["dropout"] = bool(inference.get("dropout"))
    shares = [request.partition.validation, request.partition.test]
    return canonical_json({"learner": learner, "data": dataset.fingerprint, "shares": shares})


def cost(request: RunRequest, dataset: Dataset) -> float:
    """Gradients of one row that a run takes, roughly: enough to start the long runs first."""
    inference, n = request.learner.inference, dataset.n_rows
    match inference:
        case Optimise():
            return float(inference.epochs * n)
        case NUTS():
            return float(inference.chains * (inference.warmup + inference.draws) * 2**inference.max_tree_depth * n)
        case HMC():
            return float(inference.chains * (inference.warmup + inference.draws) * inference.steps * n)
        case PyMC():
            return float(inference.chains * (inference.warmup + inference.draws) * 2**6 * n)
        case _:
            return 100.0 * n


def _batches(requests: Sequence[RunRequest], dataset: Dataset) -> list[list[RunRequest]]:
    """One run at a time on a CPU; on an accelerator as many optimised ones of a program as go in lock step."""
    if jax.default_backend() == "cpu":
        return [[request] for request in requests]
    batches: dict[str, list[RunRequest]] = {}
    for request in requests:
        together = isinstance(request.learner.inference, Optimise)
        batches.setdefault(program_key(request, dataset) if together else request.run_key, []).append(request)
    return [list(group) for batch in batches.values() for group in batched(batch, WIDTH)]


def _fit_batch(
    batch: Sequence[RunRequest], split_of: Callable[[Partition], Split], checkpoints: Checkpoints, emit: Emit
) -> list[RunResult]:
    try:
        runs = [Run(request, split_of(request.partition), emit) for request in batch]
        if isinstance(batch[0].learner.inference, Optimise):
            return fit_optimised(runs)
        return [_fit_one(run, checkpoints.get(run.request.run_key)) for run in runs]
    except Exception as error:  # noqa: BLE001 - one run's bug must not take a sweep down: it becomes that run's row
        if len(batch) > 1:  # one of them may be to blame: each by itself, then
            return [result for request in batch for result in _fit_batch([request], split_of, checkpoints, emit)]
        reason = str(error) if isinstance(error, DataError | SpecError) else _named(error)
        return [failure(batch[0].run_key, reason, jax.default_backend())]


def _named(error: Exception) -> str:
    """An exception's class and the first line of its message."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _fit_one(run: Run, checkpoint: Mapping[str, np.ndarray] | None) -> RunResult:
    predictor = run.request.learner.predictor
    # Imported where they are needed: PyMC takes seconds to import, and a bare GPU machine lacks it.
    if isinstance(predictor, BlackBox):
        from models.fit_baseline import fit_baseline_run

        return fit_baseline_run(run)
    if isinstance(predictor, Formula):
        from models.fit_glm import fit_glm_run

        return fit_glm_run(run)
    return fit_sampled(run, checkpoint)
