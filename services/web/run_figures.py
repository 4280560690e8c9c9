"""Charts of single runs: how they were trained, whether their chains agree, and how the loss lies around them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import altair as alt
import numpy as np
import polars as pl
import xarray as xr

from models.diagnostics.chains import MIN_DRAWS
from services.comparison.chart_data import energy_rows, rank_rows, worst_mixing
from services.comparison.figures import ENERGIES, LOSSES, RANKS, energy_chart, loss_chart, rank_chart
from services.geometry.chart_data import PROFILES
from services.geometry.loss_figures import density_chart, slice_chart, surface_chart
from services.rendering.charts import CELL, INK, PALETTE, finished, inline, with_tips
from services.store.bundles import Bundle
from services.store.rows import split
from services.store.store import Store

TRACE_POINTS = 400
TRACES: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "quantity": pl.String,
    "chain": pl.String,
    "draw": pl.Int64,
    "value": pl.Float64,
    "diverging": pl.Boolean,
}


@dataclass(frozen=True)
class RunEvidence:
    """What is drawn of some runs, each under a name of its own in the column `learner`; frames may be empty.

    Attributes:
        losses: as `services.comparison.figures.LOSSES`.
        ranks: as `services.comparison.figures.RANKS`, of the quantity that mixes worst.
        energies: as `services.comparison.figures.ENERGIES`.
        traces: a row per chain × draw of that quantity, thinned.
        profiles: as `services.geometry.chart_data.PROFILES`, at the point estimate or the first draw measured.
    """

    losses: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=LOSSES))
    ranks: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=RANKS))
    energies: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=ENERGIES))
    traces: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=TRACES))
    profiles: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=PROFILES))


def run_evidence(store: Store, runs: Mapping[str, Bundle]) -> RunEvidence:
    """Read what there is to draw of some runs, by the name that each is to have.

    Raises:
        StoreError: the store cannot be read.
    """
    frames: dict[str, list] = {"losses": [], "ranks": [], "energies": [], "traces": []}
    for name, bundle in runs.items():
        curves = split(bundle.rows()).get("curves")
        if curves is not None:
            columns = {"step": "step", "train": "train_loss", "validation": "validation_loss"}
            frames["losses"].append(
                curves.select(learner=pl.lit(name), run=pl.lit(name), **{k: pl.col(v) for k, v in columns.items()})
            )
        posterior = bundle.posterior()
        if posterior is None or posterior["sample_stats"].sizes["draw"] < MIN_DRAWS:
            continue
        if worst := worst_mixing(posterior):
            frames["ranks"].append(_frame(RANKS, rank_rows(name, *worst)))
            frames["traces"].append(_traces(name, *worst, posterior))
        frames["energies"].append(_frame(ENERGIES, energy_rows(name, posterior)))
    names = {bundle.manifest.run_key: name for name, bundle in runs.items()}
    return RunEvidence(**{k: pl.concat(v) for k, v in frames.items() if v}, profiles=_profiles(store, names))


def run_figures(evidence: RunEvidence) -> dict[str, alt.TopLevelMixin]:
    """Every chart that there is evidence for, by name, in reading order."""
    names = tuple(dict.fromkeys((*evidence.losses["learner"], *evidence.profiles["learner"])))
    slices, surfaces, densities = (
        evidence.profiles.filter(pl.col("value").is_finite(), measure=measure)
        for measure in ("loss_slice", "loss_surface", "hessian_spectral_density")
    )
    drawn = {
        "losses": (evidence.losses, partial(loss_chart, evidence.losses, names)),
        "ranks": (evidence.ranks, partial(rank_chart, evidence.ranks)),
        "traces": (evidence.traces, partial(trace_chart, evidence.traces)),
        "energies": (evidence.energies, partial(energy_chart, evidence.energies)),
        "densities": (densities, partial(density_chart, densities, names)),
        "slices": (slices, partial(slice_chart, slices, names)),
        "surfaces": (surfaces, partial(surface_chart, surfaces)),
    }
    charts = {name: draw() for name, (frame, draw) in drawn.items() if not frame.is_empty()}
    for name in ("losses", "energies", "densities", "surfaces"):
        if name in charts and len(names) < 2:  # one panel, and all the room
            height = 2 * CELL if name == "surfaces" else 1.4 * CELL
            charts[name].spec.width, charts[name].spec.height = 2 * CELL, height
    return {name: finished(chart) for name, chart in charts.items()}


def trace_chart(frame: pl.DataFrame) -> alt.FacetChart:
    """The quantity that mixes worst over the draws, a line per chain and a panel per run; marks where it diverged."""
    frame = frame.with_columns(panel=pl.format("{}: {}", "learner", "quantity"))
    order = frame["panel"].unique(maintain_order=True).to_list()
    chains = frame["chain"].unique(maintain_order=True).to_list()
    colours = alt.Scale(domain=chains, range=[PALETTE[i % len(PALETTE)] for i in range(len(chains))])
    header = alt.Header(labelLimit=2 * CELL, labelFontWeight="bold")
    base = alt.Chart().encode(x=alt.X("draw:Q", title="draw", axis=alt.Axis(tickCount=5)))
    lines = with_tips(base, "chain:N", "draw:Q", "value:Q").mark_line(strokeWidth=1, opacity=0.75)
    lines = lines.encode(
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color("chain:N", title="chain", scale=colours),
    )
    diverged = (
        base.transform_filter("datum.diverging").mark_tick(color=INK, thickness=1.5, size=8).encode(y=alt.value(196))
    )
    return (
        alt.layer(lines, diverged, data=inline(frame.drop("quantity")))
        .properties(width=2 * CELL, height=CELL)
        .facet(alt.Facet("panel:N", title=None, sort=order, header=header), columns=2)
        .resolve_scale(x="independent", y="independent")
        .properties(
            title=alt.Title(
                "Traces of the worst-mixing quantity",
                subtitle="Chains that agree lie over each other; one that lies apart, or drifts, has not mixed. Marks "
                "at the foot: divergent transitions.",
            )
        )
    )


def _traces(name: str, quantity: str, draws: np.ndarray, posterior: xr.DataTree) -> pl.DataFrame:
    stats = posterior["sample_stats"]
    diverging = np.asarray(stats["diverging"], bool) if "diverging" in stats else np.zeros(draws.shape, bool)
    n = draws.shape[1]
    even = np.unique(np.linspace(0, n - 1, min(TRACE_POINTS, n)).round().astype(int))
    rows = [
        (name, quantity, str(chain + 1), int(i), float(draws[chain, i]), bool(diverging[chain, i]))
        for chain in range(len(draws))
        for i in np.union1d(even, np.flatnonzero(diverging[chain])[:TRACE_POINTS])
    ]
    return _frame(TRACES, rows)


def _profiles(store: Store, names: Mapping[str, str]) -> pl.DataFrame:
    """The curves of these runs, each measure by the first of its settings, at the first vector that has it."""
    found = store.collect(store.scan("profiles").filter(pl.col("run_key").is_in(list(names))))
    own = ["run_key", "measure"]
    first = found.sort(*own, "draw", "settings").unique(own, keep="first", maintain_order=True)
    shown = found.join(first.select(*own, "draw", "settings"), on=[*own, "draw", "settings"], how="semi")
    labelled = shown.unique([*own, "x", "y"]).with_columns(
        dataset=pl.lit(""), learner=pl.col("run_key").replace(names), run=pl.col("run_key").replace(names)
    )
    return labelled.sort("measure", "learner", "x", "y").select(*PROFILES)


def _frame(schema: Mapping[str, type[pl.DataType]], rows: Iterable[tuple]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(schema), orient="row")
