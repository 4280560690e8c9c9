"""A store of many runs to be served: rows of the tables that pages and notebooks ask for, and one sweep in full.

The rows of `runs` are those of `benchmarks.runs_table`, with scores for each run; they have no bundles. The sweep
`STUDIED` is put run by run, so that it can be compared and ranked, and its runs opened.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks import runs_table
from models.data.dataset import Partition
from models.runs.result import Measure, Metric, RunRequest, RunResult, Seconds
from models.spec.learner import Learner, resolve
from models.spec.settings import canonical_json
from services.provenance import provenance
from services.store.bundles import Record
from services.store.commits import COMPACT_EVERY, Committer
from services.store.schemas import SCHEMAS
from services.store.tables import IS_FITTED
from services.store.writer import BATCH, Writer, writing
from services.sweeps.definition import parse_sweep
from services.sweeps.learners import presets
from services.sweeps.plan import MEMBERS

STUDIED = "flat-or-sharp"
LEARNERS = ("mlp-sgd", "mlp-adam", "linear-map")
RATES = (0.001, 0.003, 0.01, 0.03)
SPLITS = 5
SEEDS = 2
FINGERPRINT = "f" * 32
_PARTS = {"train": 1078, "validation": 359, "test": 360}
_MEASURES = ("hessian_trace", "hessian_top_eigenvalue", "l2_norm", "path_norm", "effective_dimension")


class Made(NamedTuple):
    """A store, and rows that have not been appended to it yet.

    Attributes:
        runs: how many are stored, each counted once.
        keys: of runs that have a bundle.
        later: for `Appending`, a commit's worth of each table a time.
    """

    runs: int
    keys: list[str]
    later: list[dict[str, pl.DataFrame]]


def make(path: Path, n_runs: int, n_later: int) -> Made:
    """Make the store with so many runs, and rows for so many more commits."""
    rows = runs_table.make(n_runs + n_later * BATCH)
    stored, rest = rows[: len(rows) - n_later * BATCH], rows[len(rows) - n_later * BATCH :]
    with writing(path) as writer:
        keys = list(_study(writer))
        for (name,), members in rows.group_by("sweep", maintain_order=True):
            writer.put_sweep(str(name), _definition(str(name)), _members(members))
        committer = Committer(writer.storage)
    runs_table.append(committer, {"runs": stored, "metrics": _metrics(stored)}, COMPACT_EVERY)
    later = [{"metrics": _metrics(each), "runs": each} for each in rest.iter_slices(BATCH)]
    return Made(stored["run_key"].n_unique() + len(keys), keys, later)


def _definition(name: str) -> str:
    document = {"name": name, "datasets": list(runs_table.DATASETS), "learners": list(runs_table.LEARNERS)}
    return canonical_json(parse_sweep(document | {"splits": runs_table.SPLITS, "measures": []}))


def _members(rows: pl.DataFrame) -> pl.DataFrame:
    varied = pl.concat_str(pl.lit('{"rate":'), pl.col("learning_rate").fill_null(0.0), pl.lit("}"))
    return rows.unique("run_key", maintain_order=True).select(
        varied.alias(name) if name == "varied" else pl.col(name).cast(dtype) for name, dtype in MEMBERS.items()
    )


def _metrics(rows: pl.DataFrame) -> pl.DataFrame:
    """Two scores of each fitted run on each part."""
    parts = pl.DataFrame({"part": list(_PARTS), "n": list(_PARTS.values())})
    scores = parts.join(pl.DataFrame({"metric": ["log_score", "accuracy"]}), how="cross")
    found = rows.filter(IS_FITTED).select("run_key").join(scores, how="cross")
    values = np.random.default_rng(len(found)).normal(-0.5, 0.1, len(found))
    found = found.with_columns(value=pl.Series(values), standard_error=pl.lit(0.02))
    return found.select(SCHEMAS["metrics"].names()).cast(SCHEMAS["metrics"])


def _study(writer: Writer) -> Iterator[str]:
    """Put the runs of the sweep that is there in full; yields their keys."""
    known, source, now = presets("quick"), provenance(), datetime.now(UTC)
    members = []
    for name in LEARNERS:
        for rate in RATES:
            inference = known[name].inference.model_copy(update={"learning_rate": rate})
            learner = resolve(known[name].model_copy(update={"inference": inference}), "classes", 10)
            for split in range(SPLITS):
                for seed in range(SEEDS):
                    request = RunRequest(learner, Partition(index=split), seed, FINGERPRINT)
                    writer.put(Record(request, _result(request, learner, rate), "digits", STUDIED, source, now))
                    members.append(
                        (request.run_key, "digits", FINGERPRINT, name, split, seed, json.dumps({"rate": rate}))
                    )
                    yield request.run_key
    document = {"name": STUDIED, "datasets": ["digits"], "learners": LEARNERS, "splits": SPLITS, "seeds": SEEDS}
    writer.put_sweep(STUDIED, canonical_json(parse_sweep(document)), pl.DataFrame(members, MEMBERS, orient="row"))


def _result(request: RunRequest, learner: Learner, rate: float) -> RunResult:
    """Scores on the same rows for all learners, and measures that follow the learning rate."""
    rng = np.random.default_rng([request.seed, request.partition.index, len(learner.name), round(1e4 * rate)])
    shared = np.random.default_rng(request.partition.index).normal(scale=0.3, size=_PARTS["test"])
    scores = np.minimum(shared + rng.normal(-0.5 - rate, 0.1, _PARTS["test"]), -1e-3)
    metrics = [
        Metric(part, metric, float(scores.mean()) if metric == "log_score" else 0.9, 0.02, n)  # pyright: ignore[reportArgumentType] - a part
        for part, n in _PARTS.items()
        for metric in ("log_score", "accuracy", "brier", "calibration_error", "classwise_calibration_error")
    ]
    geometry = [
        Measure(-1, name, "", float(rng.lognormal() / rate), 0.0, "converged", None, 10, "permutation", {})
        for name in _MEASURES
    ]
    return RunResult(
        request.run_key,
        "finished",
        None,
        n_parameters=3466,
        seconds=Seconds(1.0, 0.4, 0.6),
        device="cpu",
        metrics=tuple(metrics),
        geometry=tuple(geometry),
        curves={"step": np.arange(100), "train_loss": 1 / (1 + np.arange(100.0))},
        pointwise={"row": np.arange(_PARTS["test"]), "log_score": scores, "correct": scores > -0.7},
        parameters={"theta": rng.standard_normal(3466)},
    )
