"""What the charts of a sweep's geometry draw besides the document: single values, and some of the curves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from services.comparison.summary import CONVERGED
from services.geometry.summary import Rows
from services.store.store import Store

VALUES: Mapping[str, type[pl.DataType]] = {
    "dataset": pl.String,
    "learner": pl.String,
    "kind": pl.String,
    "run": pl.String,
    "measure": pl.String,
    "component": pl.String,
    "settings": pl.String,
    "draw": pl.Int64,
    "value": pl.Float64,
    "gap": pl.Float64,
}
PROFILES: Mapping[str, type[pl.DataType]] = {
    "dataset": pl.String,
    "learner": pl.String,
    "run": pl.String,
    "draw": pl.Int64,
    "measure": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "value": pl.Float64,
    "standard_error": pl.Float64,
}
# Curves of each learner on one dataset: slices are laid over each other, of the others one says enough.
CURVES: Mapping[str, int] = {"loss_slice": 6, "loss_surface": 1, "hessian_spectral_density": 1}


@dataclass(frozen=True)
class GeometryEvidence:
    """Frames of a sweep's stored geometry; they may be empty, and their charts are then left out.

    Attributes:
        values: a row per dataset × learner × run × draw (-1: the point estimate) × measure × component × settings (as
            JSON text) that converged; `gap` is test minus train loss of the run, null where there is none.
        profiles: a row per grid point of some curves of each learner, `CURVES` of each measure; `y` is null of curves.
    """

    values: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=VALUES))
    profiles: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=PROFILES))


def gather_evidence(store: Store, rows: Rows) -> GeometryEvidence:
    """Take the values from the rows of the sweep, and read what is drawn of its curves from the store."""
    labels = rows.runs.select("run_key", "dataset", "learner", "kind", run=_label(rows.runs))
    return GeometryEvidence(_values(rows, labels), _profiles(store, labels))


def _label(runs: pl.DataFrame) -> pl.Series:
    """Split, seed and varied settings, such as "split 0, seed 1, batch_size 16"."""
    return pl.Series(
        [
            ", ".join([f"split {split}", f"seed {seed}", *(f"{_last(k)} {v}" for k, v in json.loads(varied).items())])
            for split, seed, varied in runs.select("split", "seed", "varied").iter_rows()
        ],
        dtype=pl.String,
    )


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _values(rows: Rows, labels: pl.DataFrame) -> pl.DataFrame:
    found = rows.geometry.filter(CONVERGED & pl.col("value").is_not_null())
    labelled = found.select("run_key", "measure", "component", "settings", "draw", "value").join(labels, on="run_key")
    gaps = rows.gaps.select("run_key", "gap")
    return labelled.join(gaps, on="run_key", how="left", maintain_order="left").select(*VALUES)


def _profiles(store: Store, labels: pl.DataFrame) -> pl.DataFrame:
    """Of each learner the first runs, at the point estimate or the first draw, by the settings with most curves."""
    curves = store.scan("profiles").filter(pl.col("measure").is_in(list(CURVES))).join(labels.lazy(), on="run_key")
    keys, own = ["run_key", "measure", "settings", "draw"], ["dataset", "measure", "learner"]
    there = store.collect(curves.select(*own, "run", *(key for key in keys if key != "measure")).unique())
    amounts = there.group_by("dataset", "measure", "settings").len().sort("len", "settings", descending=[True, False])
    usual = amounts.unique(["dataset", "measure"], keep="first", maintain_order=True)
    alike = there.join(usual, on=["dataset", "measure", "settings"], how="semi")
    vectors = alike.filter(pl.col("draw") == pl.col("draw").min().over("measure", "run_key"))
    most = pl.col("measure").replace_strict(CURVES, return_dtype=pl.Int64)
    chosen = vectors.sort(*own, "run", "run_key").filter(pl.int_range(pl.len()).over(own) < most)
    points = curves.join(chosen.lazy(), on=keys, how="semi").unique([*keys, "x", "y"])
    return store.collect(points.sort(*own, "run", "x", "y").select(*PROFILES))
