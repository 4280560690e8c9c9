"""Made-up runs for tests of the store, with values that storage gets wrong: NaN, infinities, nulls, other scripts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import polars as pl

from models.data.dataset import Partition
from models.runs.result import Diagnostic, Measure, Measurement, Metric, RunRequest, RunResult, Seconds
from models.spec.inference import NUTS, Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical
from models.spec.predictors import MLP
from models.spec.priors import Flat, Normal
from services.provenance import Hardware, Provenance
from services.store.bundles import Record, manifest_of
from services.store.measurements import MeasurementRecord
from services.store.rows import rows_of_result, run_rows
from services.store.store import Store
from services.store.writer import writing

PROVENANCE = Provenance(
    git_commit="0123456789abcdef",
    git_dirty=False,
    python="3.13.0",
    platform="Linux-6-x86_64",
    versions={"jax": "0.11"},
    hardware=Hardware(cpu="Prozessor Ü™", cores=2, threads=4, memory_bytes=2**34),
)
STORED_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def request(seed: int = 0, *, bayesian: bool = False, split: int = 0) -> RunRequest:
    """A run of a net on the split of this index, optimised or sampled."""
    learner = Learner(
        name="bnn-nuts" if bayesian else "mlp-sgd",
        predictor=MLP(widths=(4,)),
        likelihood=Categorical(),
        prior=Normal() if bayesian else Flat(),
        inference=NUTS(chains=2, draws=6) if bayesian else Optimise(optimiser="sgd", learning_rate=0.1),
    )
    return RunRequest(learner=learner, partition=Partition(index=split), seed=seed, fingerprint="f" * 32)


def result(asked: RunRequest, n_rows: int = 3) -> RunResult:
    """What a finished run leaves. The numbers depend on the seed alone."""
    rng = np.random.default_rng(asked.seed)
    metrics = (Metric("train", "log_score", float("inf"), 0.0, 9), Metric("test", "accuracy", rng.random(), np.nan, 3))
    return RunResult(
        run_key=asked.run_key,
        status="finished",
        error=None,
        n_parameters=17,
        seconds=Seconds(wall=1.5, compile=np.nan, device=0.5),
        device="Gerät „0“",
        metrics=metrics,
        diagnostics=(Diagnostic("prediction", "p[0]", r_hat=1.01, divergences=3), Diagnostic("energy", "chain 0")),
        geometry=(
            measured("hessian_trace", np.float64(rng.random()), n_products=12, settings={"probes": 3, "α": 0.5}),
            measured("hessian_top_eigenvalue", None),
        ),
        curves={
            "step": np.arange(4),
            "train_loss": rng.random(4).astype(np.float32),
            "learning_rate": np.array([0.1, np.nan, -np.inf, 0.0]),
        },
        pointwise={
            "row": np.arange(n_rows),
            "log_score": rng.standard_normal(n_rows),
            "correct": np.arange(n_rows) > 1,
        },
        parameters={"theta": rng.standard_normal(5), "file": np.array(2.0), "Gewicht/α": np.eye(2, dtype=np.float32)},
        predictions={"y": np.arange(n_rows), "probabilities": rng.random((n_rows, 2))},
        warnings=("Vorsicht: β ≠ 0", ""),
    )


def measured(name: str, value: float | None, draw: int = -1, **fields: Any) -> Measure:
    """A measure's row; without a value it did not converge."""
    error = None if value is None else 0.0
    status = "unconverged" if value is None else "converged"
    row = Measure(draw, name, "", value, error, status, None, 5, "permutation", {})
    return row._replace(**fields)


def diverged(asked: RunRequest) -> RunResult:
    """A run that went to NaN: it has scores, and they are not numbers."""
    return RunResult(
        run_key=asked.run_key,
        status="diverged",
        error="loss became NaN at step 12",
        n_parameters=17,
        seconds=Seconds(0.1, 0.0, 0.1),
        device="cpu",
        metrics=(Metric("test", "accuracy", float("nan"), float("nan"), 3),),
    )


def failed(asked: RunRequest, error: str = "its worker was lost") -> RunResult:
    """A run that never came to an end."""
    nan = float("nan")
    return RunResult(asked.run_key, "failed", error, n_parameters=0, seconds=Seconds(nan, nan, nan), device="")


def sampled(asked: RunRequest) -> RunResult:
    """A finished run with a posterior: 2 chains of 6 draws."""
    rng = np.random.default_rng(asked.seed)
    posterior = az.from_dict(
        {
            "posterior": {"theta": rng.standard_normal((2, 6, 5))},
            "sample_stats": {"diverging": np.zeros((2, 6), bool), "energy": rng.standard_normal((2, 6))},
            "log_likelihood": {"y": rng.standard_normal((2, 6, 3))},
        }
    )
    return RunResult(
        run_key=asked.run_key,
        status="finished",
        error=None,
        n_parameters=5,
        seconds=Seconds(2.0, 1.0, 1.0),
        device="cpu",
        posterior=posterior,
        summary={"r_hat_max": np.inf, "ess_min": 4.0, "divergences": 0, "n_chains": 2, "n_draws": 6, "p_loo": np.nan},
    )


def record(asked: RunRequest, value: RunResult | None = None, attempt: int = 0) -> Record:
    """The run as the runner keeps it."""
    return Record(asked, value or result(asked), "Ziffern", "", PROVENANCE, STORED_AT, attempt)


def rows_of(kept: Record) -> dict[str, pl.DataFrame]:
    """The run's rows by table."""
    return rows_of_result(kept.result) | {"runs": run_rows([manifest_of(kept)])}


def measurement(run_key: str = "r", key: str = "m", value: float = 1.0) -> MeasurementRecord:
    """Two measures at a stored run."""
    rows = (measured("hessian_trace", value), measured("sharpness_l2", None))
    found = Measurement(key=key, run_key=run_key, geometry=rows, seconds=Seconds(1.0, 0.5, 0.0), device="cpu")
    return MeasurementRecord(found, "sweep", PROVENANCE, STORED_AT)


def five_runs(location: Path) -> Store:
    """A store of four runs that finished, and of one that failed at first and then diverged."""
    with writing(location) as writer:
        for seed in range(4):
            writer.put(record(request(seed, split=seed % 2)))
        lost = request(9)
        writer.put(record(lost, failed(lost)))
        writer.put(record(lost, diverged(lost)))
    return Store(location)
