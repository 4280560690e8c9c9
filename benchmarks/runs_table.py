"""Rows of the table `runs` for a million runs: real learners' rows, multiplied by splits, seeds and sweeps."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import polars as pl

from models.data.dataset import Partition
from models.runs.result import RunRequest, RunResult, Seconds
from models.spec.learner import resolve
from services.provenance import provenance
from services.store.bundles import Record, manifest_of
from services.store.commits import Committer
from services.store.rows import run_rows
from services.store.schemas import SCHEMAS
from services.sweeps.learners import presets
from services.sweeps.search_space import variants

LEARNERS = ("mlp-sgd", "mlp-adam", "bnn-nuts", "linear-map", "boosted-trees")
DATASETS = {"digits": 10, "wine": 3, "breast-cancer": 2, "iris": 3}  # with their numbers of classes
RATES = tuple(np.geomspace(1e-4, 0.1, 10).round(6).tolist())
SWEEPS = 10
SPLITS = 20
FAILED_BEFORE, FAILED_ONLY, DIVERGED = 0.01, 0.001, 0.002  # shares of the runs
DISORDER = 2000  # places by which runs end in another order than that of their sweep
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(n_runs: int) -> pl.DataFrame:
    """Rows of so many runs, one sweep after the other, in an order in which they may have ended.

    Every hundredth run failed once before it was fitted, and every thousandth did nothing else.
    """
    rng = np.random.default_rng(0)
    runs = _runs(n_runs, rng)
    again = rng.random(n_runs) < FAILED_BEFORE
    before = _failed(runs.filter(pl.Series(again), pl.col("status") != "failed"))
    runs = pl.concat([runs.filter(pl.col("status") != "failed"), _failed(runs.filter(status="failed"))])
    runs = runs.with_columns(attempt=pl.col("run_key").is_in(before["run_key"].implode()).cast(pl.Int64))
    places = pl.concat([runs["place"], before["place"] - DISORDER])
    placed = pl.concat([runs, before]).with_columns(place=places + pl.Series(rng.uniform(0, DISORDER, len(places))))
    placed = placed.sort("place").with_columns(stored_at=START + pl.duration(milliseconds=100 * pl.col("place")))
    return placed.select(SCHEMAS["runs"].names()).cast(SCHEMAS["runs"])


def append(committer: Committer, rows: Mapping[str, pl.DataFrame], commits: int) -> None:
    """Append rows by table, in so many commits."""
    for i in range(commits):
        committer.look()
        committer.append({table: _share(each, i, commits) for table, each in rows.items()})


def _share(rows: pl.DataFrame, i: int, n: int) -> pl.DataFrame:
    start, end = (len(rows) * k // n for k in (i, i + 1))
    return rows[start:end]


def _runs(n: int, rng: np.random.Generator) -> pl.DataFrame:
    """One row for each run, with its `place` in the plans of all sweeps; none has failed yet, whatever its status."""
    configurations = _configurations()
    place = np.arange(n)
    sweep, within = np.divmod(place, -(-n // SWEEPS))
    configuration, repeat = np.divmod(within, -(-n // SWEEPS // len(configurations)))
    keys = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]
    wall = rng.lognormal(1.0, 1.0, n)
    shares = [1 - DIVERGED - FAILED_ONLY, DIVERGED, FAILED_ONLY]
    return configurations[configuration].with_columns(
        run_key=pl.Series(keys),
        bundle=pl.Series(keys),
        sweep=pl.format("sweep-{}", pl.Series(sweep)),
        split=pl.Series(repeat % SPLITS),
        seed=pl.Series(repeat // SPLITS),
        status=pl.Series(rng.choice(["finished", "diverged", "failed"], n, p=shares)),
        wall_seconds=pl.Series(wall),
        device_seconds=pl.Series(0.8 * wall),
        place=pl.Series(place, dtype=pl.Float64),
    )


def _failed(runs: pl.DataFrame) -> pl.DataFrame:
    zeros = {name: pl.lit(0.0) for name in ("wall_seconds", "compile_seconds", "device_seconds")}
    return runs.with_columns(
        status=pl.lit("failed"),
        error=pl.lit("its worker was lost three times: out of memory"),
        bundle=pl.format("{}.failed-0", "run_key"),
        n_parameters=pl.lit(0, pl.Int64),
        **zeros,
    )


def _configurations() -> pl.DataFrame:
    """A row for each dataset, learner and learning rate, as the store would write it."""
    vary = {f"{group}.learning_rate": RATES for group in ("inference", "inference.init", "predictor")}
    known = presets("standard")
    source, seconds = provenance(), Seconds(1.0, 0.4, 0.6)
    manifests = []
    for dataset, n_classes in DATASETS.items():
        fingerprint = hashlib.sha256(dataset.encode()).hexdigest()[:32]
        for variant in (v for name in LEARNERS for v in variants(known[name], vary)):
            request = RunRequest(resolve(variant.learner, "classes", n_classes), Partition(), 0, fingerprint)
            result = RunResult(request.run_key, "finished", None, n_parameters=3466, seconds=seconds, device="cpu")
            manifests.append(manifest_of(Record(request, result, dataset, "", source, START)))
    return run_rows(manifests)
