"""The one dispatch: learners, partitions and seeds in; scores, diagnostics, geometry and draws out."""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import batched
from typing import Any

import jax

from models.data.dataset import DataError, Dataset, Partition, Split
from models.data.preparation import prepare
from models.fitting.optimised import fit_optimised
from models.fitting.sampled import fit_sampled
from models.inference.lock_step import WIDTH
from models.inference.state import CheckpointError
from models.runs.events import LateError, Result, begun
from models.runs.result import RunRequest, RunResult, failure
from models.runs.run import Arrays, Emit, Run
from models.spec.inference import HMC, NUTS, Optimise, PyMC
from models.spec.predictors import BlackBox, Formula
from models.spec.settings import SpecError, canonical_json

Checkpoints = Mapping[str, Arrays]

# Settings that are arguments of the compiled program: runs that differ only in these share it.
TRACED = ("learning_rate", "momentum", "weight_decay", "clip", "patience")


def fit(requests: Sequence[RunRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit) -> None:
    """Fit a pack, and emit one `Result` of a `RunResult` for each request, with progress and checkpoints between.

    A run's numbers depend on its request and the dataset alone: not on the other requests, nor on where the run was
    cut off and resumed. Whatever befalls one run is that run's result (`diverged`, `failed`) and leaves the others
    unharmed. A checkpoint that is not of its run is passed over, and the run starts over.
    """
    work_through(requests, dataset, checkpoints, emit, _fit_runs)


def work_through(
    requests: Sequence[RunRequest],
    dataset: Dataset,
    checkpoints: Checkpoints,
    emit: Emit,
    body: Callable[[Sequence[Run]], Sequence[Any]],
) -> None:
    """Emit one `Result` for each request: what `body` makes of its run, or the `RunResult` of a failure.

    `body` gets runs that are to be worked on together: on an accelerator those of one program, else one.
    """

    @functools.lru_cache(maxsize=8)
    def split_of(partition: Partition) -> Split:
        return prepare(dataset, partition)

    for batch in _batches(requests, dataset):
        for request in batch:
            emit(begun(request.run_key))
        values = _work_on(batch, split_of, checkpoints, emit, body)  # pyright: ignore[reportArgumentType] - frozen, hence hashable
        for request, value in zip(batch, values, strict=True):
            emit(Result(request.run_key, value))


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


def _work_on(
    batch: Sequence[RunRequest],
    split_of: Callable[[Partition], Split],
    checkpoints: Checkpoints,
    emit: Emit,
    body: Callable[[Sequence[Run]], Sequence[Any]],
) -> Sequence[Any]:
    try:
        return body([Run(r, split_of(r.partition), emit, resume=checkpoints.get(r.run_key)) for r in batch])
    except Exception as error:  # noqa: BLE001 - one run's bug must not take a sweep down: it becomes that run's row
        if len(batch) > 1:  # one of them may be to blame: each by itself, then
            return [value for request in batch for value in _work_on([request], split_of, checkpoints, emit, body)]
        if isinstance(error, CheckpointError):
            return _work_on(batch, split_of, {}, emit, body)
        return [failure(batch[0].run_key, reason_of(error), jax.default_backend())]


def _fit_runs(runs: Sequence[Run]) -> list[RunResult]:
    if isinstance(runs[0].request.learner.inference, Optimise):
        return fit_optimised(runs)
    return [_fit_one(run) for run in runs]


def reason_of(error: Exception) -> str:
    """Why a run failed: the words of an error that speaks to people, else its class and the first line."""
    if isinstance(error, DataError | SpecError | LateError):
        return str(error)
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _fit_one(run: Run) -> RunResult:
    predictor = run.request.learner.predictor
    # Imported where they are needed: PyMC takes seconds to import, and a bare GPU machine lacks it.
    if isinstance(predictor, BlackBox):
        from models.fitting.black_box import fit_baseline_run

        return fit_baseline_run(run)
    if isinstance(predictor, Formula):
        from models.fitting.glm import fit_glm_run

        return fit_glm_run(run)
    return fit_sampled(run)
