"""A small store of made-up runs whose summary can be had by hand, and the same computed from the numbers themselves."""

from pathlib import Path

import numpy as np

from models.data.dataset import Partition
from models.runs.result import Metric, RunRequest, RunResult, Seconds
from models.spec.inference import NUTS, Library, Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical
from models.spec.predictors import MLP, BoostedTrees
from models.spec.priors import Flat, Normal
from services.store.bundles import Record
from services.store.writer import writing
from tests.support.factories import PROVENANCE, STORED_AT, measured

N = {"train": 60, "validation": 20, "test": 20}
FINGERPRINT = "f" * 32


def net(name: str, widths=(4,), **inference) -> Learner:
    return Learner(
        name=name, predictor=MLP(widths=widths), likelihood=Categorical(), prior=Flat(), inference=Optimise(**inference)
    )


def bnn(name: str) -> Learner:
    return Learner(name=name, predictor=MLP(), likelihood=Categorical(), prior=Normal(), inference=NUTS())


TREES = Learner(name="boosted-trees", predictor=BoostedTrees(), inference=Library())


def request(learner: Learner, split: int = 0, seed: int = 0) -> RunRequest:
    return RunRequest(learner, Partition(index=split), seed, FINGERPRINT)


def log_scores(asked: RunRequest, level: float) -> np.ndarray:
    """(20,) log scores of the test rows: the run's own noise about a level, on rows that all learners share."""
    shared = np.random.default_rng(asked.partition.index).normal(scale=0.3, size=N["test"])
    own = np.random.default_rng([asked.seed, asked.partition.index, len(asked.learner.name)])
    return level + shared + own.normal(scale=0.1, size=N["test"])


def result(
    asked: RunRequest,
    level: float = -0.5,
    train_level: float = -0.3,
    curvature: float | list[float] | None = None,
    effective: tuple[float, str] | None = None,
    summary: dict[str, float] | None = None,
    warnings: tuple[str, ...] = (),
) -> RunResult:
    """A finished run that scores about `level` on test rows."""
    rows = log_scores(asked, level)
    correct = rows > level
    metrics = [Metric("train", "log_score", train_level, 0.02, N["train"])]
    for part in ("validation", "test"):
        error = rows.std(ddof=1) / np.sqrt(len(rows))
        metrics.append(Metric(part, "log_score", float(rows.mean()), float(error), N[part]))
    for part, n in N.items():
        metrics.append(Metric(part, "accuracy", float(correct.mean()), float(correct.std(ddof=1) / np.sqrt(n)), n))
        metrics.append(Metric(part, "calibration_error", 0.05, 0.02, n))
        metrics.append(Metric(part, "brier", 0.3, 0.02, n))
        metrics.append(Metric(part, "classwise_calibration_error", 0.02, 0.01, n))
    geometry = []
    for name in ("hessian_top_eigenvalue", "hessian_trace"):
        values = curvature if isinstance(curvature, list) else [] if curvature is None else [curvature]
        for i, value in enumerate(values):
            draw = i if isinstance(curvature, list) else -1
            geometry.append(measured(name, value, draw))
    if effective is not None:
        geometry.append(measured(effective[1], effective[0], standard_error=0.5))
    return RunResult(
        run_key=asked.run_key,
        status="finished",
        error=None,
        n_parameters=17,
        seconds=Seconds(2.0, 1.0, 0.5),
        device="cpu",
        metrics=tuple(metrics),
        geometry=tuple(geometry),
        pointwise={"row": np.arange(N["test"]), "log_score": rows, "correct": correct},
        summary=summary,
        warnings=warnings,
    )


def ended(asked: RunRequest, status: str, error: str) -> RunResult:
    """A run without numbers."""
    return RunResult(asked.run_key, status, error, n_parameters=0, seconds=Seconds(1.0, 0.0, 0.0), device="cpu")


def put_all(location: str | Path, runs: list[tuple[RunRequest, RunResult]]) -> list[str]:
    """Store the runs; returns their keys."""
    with writing(location) as writer:
        for asked, value in runs:
            writer.put(Record(asked, value, "made-up", "compare", PROVENANCE, STORED_AT, 0))
    return [asked.run_key for asked, _ in runs]
