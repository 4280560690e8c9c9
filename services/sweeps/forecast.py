"""What a sweep will take: hours and memory, from runs like its own that are stored, else by rule of thumb."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from models.data.dataset import Dataset, Partition
from models.fitting.dispatch import cost
from models.runs.result import RunRequest
from models.spec.inference import HMC, NUTS, PyMC
from models.spec.learner import Learner
from services.store.store import Store
from services.sweeps.plan import Outlook

# Seconds per unit of cost (a gradient of one row) on one core, for small models: right to a factor of ten, perhaps.
THUMB: Mapping[str, float] = {"deterministic": 1e-6, "bayesian-net": 2e-7, "glm": 5e-8, "baseline": 2e-5}
WORKER_BYTES = 0.7e9  # a worker with JAX, PyMC and scikit-learn loaded, before it has any data
MATCHED_RUNS = 2000


class Forecast(NamedTuple):
    """What a learner's missing runs on one dataset will take.

    Attributes:
        cpu_hours: of one worker at work on all of them, compiling aside.
        worker_bytes: memory of a worker that fits one of them.
        runs_like_it: stored runs of the same kind on the same data that this goes by; 0 is a rule of thumb.
    """

    cpu_hours: float
    worker_bytes: float
    runs_like_it: int


def forecast(outlooks: Iterable[Outlook], store: Store | None) -> list[Forecast]:
    """One for each outlook, by the stored runs' seconds per unit of cost, of the same kind and dataset."""
    outlooks = list(outlooks)
    paces = _paces(outlooks, store) if store is not None else {}
    found = []
    for each in outlooks:
        pace, n = paces.get((each.dataset.fingerprint, each.learner.kind), (THUMB[each.learner.kind], 0))
        found.append(Forecast(each.cost * pace / 3600, worker_bytes(each.learner, each.dataset), n))
    return found


def worker_bytes(learner: Learner, dataset: Dataset) -> float:
    """Memory of a worker that fits this learner: itself, the data and a split of them, the draws and their predictions.

    A rough bound for planning, in bytes; what a compiled program needs for itself is in the worker's own share.
    """
    columns = max(1, math.prod(dataset.shape or (len(dataset.names) + len(dataset.factors),)))
    data = 8.0 * dataset.n_rows * columns
    inference = learner.inference
    draws = inference.chains * inference.draws if isinstance(inference, NUTS | HMC | PyMC) else 1
    width = max(1, dataset.n_classes or 1)
    widths = getattr(learner.predictor, "widths", ())
    sizes = [columns, *widths, width]
    parameters = sum((a + 1) * b for a, b in pairwise(sizes))
    return WORKER_BYTES + 4 * data + 8.0 * draws * (3 * parameters + 2 * dataset.n_rows * width)


def _paces(outlooks: list[Outlook], store: Store) -> dict[tuple[str, str], tuple[float, int]]:
    datasets = {each.dataset.fingerprint: each.dataset for each in outlooks}
    runs = store.collect(
        store.scan("runs")
        .filter(pl.col("status") == "finished", pl.col("fingerprint").is_in(list(datasets)))
        .select(
            "fingerprint", "kind", "spec", "validation_share", "test_share", pl.col("wall_seconds", "compile_seconds")
        )
        .tail(MATCHED_RUNS)
    )
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in runs.iter_rows(named=True):
        learner = Learner.model_validate_json(row["spec"])
        request = RunRequest(learner, Partition(), 0, row["fingerprint"])
        took = max(0.0, row["wall_seconds"] - row["compile_seconds"])
        seconds.setdefault((row["fingerprint"], row["kind"]), []).append(
            (took, cost(request, datasets[row["fingerprint"]]))
        )
    return {key: (sum(t for t, _ in each) / sum(c for _, c in each), len(each)) for key, each in seconds.items()}
