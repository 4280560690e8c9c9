"""What the report's charts draw: reliability, measures against gaps, losses, ranks and energies."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import xarray as xr
from scipy.stats import rankdata

from models.diagnostics.chains import MIN_DRAWS
from models.diagnostics.convergence import convergence
from models.prediction.scoring import reliability_curve
from models.spec.settings import Task
from services.comparison.figures import ENERGIES, LOSSES, MEASURES, RANKS, RELIABILITY, Evidence
from services.comparison.summary import CONVERGED, EFFECTIVE, Rows
from services.store.store import Store

RANK_BINS = 20
ENERGY_BINS = 40
MEASURE_NAMES = ("hessian_top_eigenvalue", "hessian_trace", "effective_parameters")


def gather(store: Store, rows: Rows, names: Sequence[str], task: Task, most: int | None = None) -> Evidence:
    """Read what the charts need: tables, predictions, and the first run's posterior of each learner.

    Predictions and losses are those of all runs, or of at most so many of each learner.
    """
    finished = rows.runs.filter(status="finished")
    labels = finished.select("run_key", "learner", run=_run_label())
    drawn = labels if most is None else labels.filter(pl.int_range(pl.len()).over("learner") < most)
    reliability, ranks, energies = [], [], []
    for name in names:
        keys = drawn.filter(learner=name)["run_key"].to_list()
        if not keys:
            continue
        reliability += list(_reliability(name, [store.bundle(key).predictions() for key in keys], task))
        posterior = store.bundle(keys[0]).posterior()
        if posterior is not None and posterior["sample_stats"].sizes["draw"] >= MIN_DRAWS:
            if worst := worst_mixing(posterior):
                ranks += list(rank_rows(name, *worst))
            energies += list(energy_rows(name, posterior))
    return Evidence(
        reliability=pl.DataFrame(reliability, schema=dict(RELIABILITY), orient="row"),
        measures=_measures(rows, labels),
        losses=_losses(store, drawn),
        ranks=pl.DataFrame(ranks, schema=dict(RANKS), orient="row"),
        energies=pl.DataFrame(energies, schema=dict(ENERGIES), orient="row"),
    )


def _run_label() -> pl.Expr:
    return pl.format("split {}, seed {}", "split", "seed")


def _reliability(name: str, predictions: Sequence[dict[str, np.ndarray]], task: Task) -> Iterator[tuple]:
    """Bins pooled over all runs; the error is that of a share of n rows."""
    if task == "classes":
        probabilities = np.concatenate([p["probabilities"] for p in predictions])
        curve = reliability_curve(probabilities, np.concatenate([p["y"] for p in predictions]))
        for predicted, observed, n in zip(*curve, strict=True):
            if n:
                yield name, predicted, observed, np.sqrt(observed * (1 - observed) / n), int(n)
        return
    u = np.concatenate([p["pit"] for p in predictions])
    for nominal in np.linspace(0.05, 0.95, 19):
        observed = float(np.mean(np.abs(u - 0.5) <= nominal / 2))
        yield name, nominal, observed, np.sqrt(observed * (1 - observed) / len(u)), len(u)


def _measures(rows: Rows, labels: pl.DataFrame) -> pl.DataFrame:
    """One value per run and measure, the median over draws, against the run's train minus test log score."""
    train, test = (
        rows.metrics.filter(metric="log_score", part=part).select("run_key", "value") for part in ("train", "test")
    )
    gaps = train.join(test, on="run_key", suffix="_test").select("run_key", gap=pl.col("value") - pl.col("value_test"))
    of = pl.col("measure").replace(dict.fromkeys(EFFECTIVE, "effective_parameters"))
    measured = rows.geometry.filter(CONVERGED).with_columns(measure=of).filter(pl.col("measure").is_in(MEASURE_NAMES))
    medians = measured.group_by("run_key", "measure", maintain_order=True).agg(pl.col("value").median())
    return medians.join(labels, on="run_key").join(gaps, on="run_key").select(*MEASURES)


def _losses(store: Store, labels: pl.DataFrame) -> pl.DataFrame:
    curves = store.scan("curves").join(labels.lazy(), on="run_key").sort("learner", "run", "step")
    named = curves.select("learner", "run", "step", train="train_loss", validation="validation_loss")
    return store.collect(named.select(*LOSSES))


def worst_mixing(posterior: xr.DataTree) -> tuple[str, np.ndarray] | None:
    """What mixes worst of a posterior, in words, and its (chains, draws); of nets a prediction. None if it is empty."""
    group = "predictions" if "predictions" in posterior.children else "posterior"
    best: tuple[float, str, np.ndarray] | None = None
    for values in posterior[group].data_vars.values():
        draws = np.asarray(values.transpose("chain", "draw", ...), float)
        flat = draws.reshape(*draws.shape[:2], -1)
        r_hat = np.nan_to_num(convergence(flat).r_hat, nan=0.0, posinf=np.inf)
        worst = int(np.argmax(r_hat))
        if best is None or r_hat[worst] > best[0]:
            best = (float(r_hat[worst]), _label(values, worst), flat[:, :, worst])
    return None if best is None else best[1:]


def rank_rows(name: str, quantity: str, draws: np.ndarray) -> Iterator[tuple]:
    """Histogram of each chain's ranks among all draws of a quantity: rows of `RANKS`.

    Vehtari et al. (2021), section 4.1: ties have their average rank.
    """
    ranks = rankdata(draws, axis=None).reshape(draws.shape) - 0.5
    edges = np.linspace(0.0, 1.0, RANK_BINS + 1)
    for chain, shares in enumerate(ranks / draws.size):
        counts, _ = np.histogram(shares, edges)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            yield name, quantity, chain, low, high, float(count), draws.shape[1] / RANK_BINS


def _label(values: xr.DataArray, position: int) -> str:
    """Such as `probability at test_row 12, class 3`."""
    dims = [d for d in values.dims if d not in ("chain", "draw")]
    if not dims:
        return str(values.name)
    index = np.unravel_index(position, [values.sizes[d] for d in dims])
    places = ", ".join(
        f"{d} {values[d].values[i] if d in values.coords else i}" for d, i in zip(dims, index, strict=True)
    )
    return f"{values.name} at {places}"


def energy_rows(name: str, posterior: xr.DataTree) -> Iterator[tuple]:
    """Densities of the centred energy and of its change from draw to draw (Betancourt 2017, section 6.1)."""
    energy = np.asarray(posterior["sample_stats"]["energy"], float)
    kinds = {"marginal": (energy - energy.mean()).ravel(), "transition": np.diff(energy, axis=1).ravel()}
    reach = max(np.abs(values).max() for values in kinds.values()) or 1.0
    if not np.isfinite(reach):
        return
    edges = np.linspace(-reach, reach, ENERGY_BINS + 1)
    for kind, values in kinds.items():
        densities, _ = np.histogram(values, edges, density=True)
        for low, high, density in zip(edges[:-1], edges[1:], densities, strict=True):
            yield name, kind, low, high, float(density)
