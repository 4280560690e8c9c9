"""Parts of the pages of runs that are made from their bundles: scores, diagnostics, measures and charts."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from services.api.context import Context
from services.comparison.summary import faults_of_runs
from services.geometry.barriers import barrier_matrices
from services.geometry.loss_figures import barrier_chart
from services.rendering import page
from services.rendering.charts import finished
from services.store import bundles
from services.store.bundles import Bundle
from services.store.rows import split
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.web.rendering import environment, finite
from services.web.run_figures import run_evidence, run_figures
from services.web.runs import labels_of, row_of

PARTS = ("train", "validation", "test")
WORST = 8


def details_part(here: Context, run_key: str) -> str:
    """Scores, diagnostics, measures and charts of a run, from its bundle and the tables."""
    run = row_of(here.store, run_key)
    key = f"run details {run['bundle']} {_versions(here)}"
    return here.fragments.get(key, lambda: _details(here.store, run))


def pair_part(here: Context, a: str, b: str) -> str:
    """Scores and charts of two runs, in one set of axes."""
    runs = [row_of(here.store, key) for key in (a, b)]
    key = f"pair details {' '.join(run['bundle'] for run in runs)} {_versions(here)}"
    return here.fragments.get(key, lambda: _pair(here.store, runs))


def _versions(here: Context) -> str:
    return " ".join(here.store.version(table) for table in ("geometry", "profiles", "connections"))


def _details(store: Store, run: Mapping[str, Any]) -> str:
    bundle = bundles.read(store.storage, run["bundle"])
    rows = split(bundle.rows())
    charts = run_figures(run_evidence(store, {run["learner"]: bundle}))
    if matrices := barrier_matrices(store, run["sweep"], run["fingerprint"], run["split"]):
        charts["barriers"] = finished(barrier_chart(matrices))
    diagnostics = rows.get("diagnostics", pl.DataFrame(schema={"scope": pl.String}))
    return (
        environment()
        .get_template("run_details.html")
        .render(
            metrics=_metrics(rows),
            metric_parts=PARTS,
            diagnostics=_worst(diagnostics),
            judged=_judged(run),
            measures=_measures(store, run["run_key"]),
            charts=page.embedded(charts),
        )
    )


def _pair(store: Store, runs: list[dict[str, Any]]) -> str:
    labels = labels_of(runs)
    found: dict[str, Bundle] = {
        label: bundles.read(store.storage, run["bundle"]) for label, run in zip(labels, runs, strict=True)
    }
    metrics = [_metrics(split(bundle.rows())) for bundle in found.values()]
    return (
        environment()
        .get_template("pair_details.html")
        .render(
            labels=labels,
            scores=list(_side_by_side(*metrics)),
            charts=page.embedded(run_figures(run_evidence(store, found))),
        )
    )


def _metrics(rows: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """Value, error and number of rows, by metric and part."""
    found: dict[str, dict[str, Any]] = {}
    if "metrics" in rows:
        for row in rows["metrics"].iter_rows(named=True):
            found.setdefault(row["metric"], dict.fromkeys(PARTS))[row["part"]] = row
    return found


def _side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part in reversed(PARTS):
        for metric in a:
            one, other = a[metric][part], b.get(metric, {}).get(part)
            if one and other:
                difference = one["value"] - other["value"]
                yield {"metric": metric, "part": part, "a": one, "b": other, "difference": difference}


def _worst(diagnostics: pl.DataFrame) -> list[dict[str, Any]]:
    if diagnostics.is_empty():
        return []
    judged = diagnostics.filter(pl.col("scope") != "energy")
    return judged.sort(pl.col("r_hat").fill_nan(None), descending=True, nulls_last=True).head(WORST).to_dicts()


def _judged(run: Mapping[str, Any]) -> str:
    """The run's diagnostics in a sentence, by the verdict's own rule."""
    if run["n_draws"] is None:
        return "It has no posterior of its own."
    r_hat, ess = run["r_hat_max"], run["ess_min"]
    faults = faults_of_runs(pl.DataFrame([run], schema=SCHEMAS["runs"]))
    outcome = f"do not read its spread as uncertainty: {'; '.join(faults)}" if faults else "they passed every check"
    said = f"{run['n_chains']} chain{'' if run['n_chains'] == 1 else 's'} of {run['n_draws']} draws: {outcome}"
    judged = "predictions" if run["kind"] == "bayesian-net" else "parameters"  # a net's weights are not identified
    bounds = f"R-hat of {judged} at most {finite(r_hat, 4)}, ESS at least {finite(ess)}"
    return f"{said} ({bounds}, {run['divergences']} divergent transitions)."


def _measures(store: Store, run_key: str) -> list[dict[str, Any]]:
    """Each measure once: the median over the vectors that it was taken at."""
    found = store.collect(store.scan("geometry").filter(pl.col("run_key") == run_key))
    good = pl.col("value").filter(pl.col("status") == "converged")
    notes = pl.when(pl.col("status") != "converged").then(pl.coalesce("reason", pl.lit("it did not converge")))
    summed = found.group_by("measure", "component", "settings", maintain_order=True).agg(
        median=good.median(), n=good.len(), note=notes.drop_nulls().first()
    )
    return summed.sort("measure", "component", "settings").to_dicts()
