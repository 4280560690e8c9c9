"""Small runs through `models.fitting.dispatch.fit`, the way executors ask for them."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.data.dataset import Dataset, Partition, sealed
from models.fitting.dispatch import fit
from models.runs.events import Event, Result
from models.runs.result import RunRequest, RunResult
from models.spec.learner import Learner, resolve


def table(task, n=60, d=3, n_classes=3, seed=0, scale=1.0, location=0.0) -> Dataset:
    """Columns x1 to xd that say something about a target of this task."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    signal = x @ np.linspace(1.0, -0.5, d)
    target = {
        "classes": lambda: np.argsort(np.argsort(signal + rng.standard_normal(n))) * n_classes // n,
        "real": lambda: location + scale * (signal + 0.5 * rng.standard_normal(n)),
        "count": lambda: rng.poisson(np.exp(0.5 * signal + 0.5)),
    }[task]()
    return sealed(
        Dataset(
            name=f"made-up-{task}",
            task=task,
            numeric=x,
            names=tuple(f"x{j}" for j in range(1, d + 1)),
            factors={},
            shape=None,
            target=target,
            target_name="y",
            classes=tuple("abcdefgh"[:n_classes]) if task == "classes" else (),
        )
    )


def request(learner: Learner, dataset: Dataset, seed: int = 0, split: int = 0, **shares: float) -> RunRequest:
    """A run of the learner, its likelihood resolved."""
    resolved = resolve(learner, dataset.task, dataset.n_classes)
    return RunRequest(resolved, Partition(index=split, **shares), seed, dataset.fingerprint)


def fit_all(requests: Sequence[RunRequest], dataset: Dataset, checkpoints: Mapping | None = None) -> list[RunResult]:
    """The results, in the order of the requests, each of which has exactly one."""
    events: list[Event] = []
    fit(requests, dataset, checkpoints or {}, events.append)
    results = [event for event in events if isinstance(event, Result)]
    assert sorted(r.run_key for r in results) == sorted(r.run_key for r in requests)
    by_key = {result.run_key: result.value for result in results}
    return [by_key[r.run_key] for r in requests]


def assert_same_bits(a: RunResult, b: RunResult) -> None:
    """Equal in every number but the seconds."""
    assert (a.run_key, a.status, a.error, a.metrics, a.geometry) == (
        b.run_key,
        b.status,
        b.error,
        b.metrics,
        b.geometry,
    )
    for name in ("curves", "pointwise", "parameters", "predictions"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


def assert_same_posterior(a: RunResult, b: RunResult) -> None:
    """Equal in every number but the seconds, draws and diagnostics among them."""
    assert_same_bits(a, b)
    assert (a.summary, a.diagnostics, a.warnings) == (b.summary, b.diagnostics, b.warnings)
    assert a.posterior.children.keys() == b.posterior.children.keys()
    for group in a.posterior.children:
        left, right = (each.posterior[group].to_dataset().drop_attrs() for each in (a, b))  # which say when it was made
        assert left.identical(right)
