"""Charts of a comparison, as Altair charts on plain polars frames.

Every chart's title says what it shows, and its subtitle what to look for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import altair as alt
import numpy as np
import polars as pl
import polars.selectors as cs

from models.spec.settings import Task
from services.comparison.document import Document
from services.comparison.pairs import pair_chart, pair_frame
from services.rendering.brushed import brushed_panels
from services.rendering.charts import CELL, INK, PALETTE, colour, finished, inline, name_axis, panel, shape, with_tips

MAX_POINTS = 300

RELIABILITY: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "predicted": pl.Float64,
    "observed": pl.Float64,
    "standard_error": pl.Float64,
    "n": pl.Int64,
}
MEASURES: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "run": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "gap": pl.Float64,
}
LOSSES: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "run": pl.String,
    "step": pl.Int64,
    "train": pl.Float64,
    "validation": pl.Float64,
}
RANKS: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "quantity": pl.String,
    "chain": pl.Int64,
    "low": pl.Float64,
    "high": pl.Float64,
    "count": pl.Float64,
    "expected": pl.Float64,
}
ENERGIES: Mapping[str, type[pl.DataType]] = {
    "learner": pl.String,
    "kind": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "density": pl.Float64,
}

_MEASURE_WORDS = {
    "hessian_top_eigenvalue": "top Hessian eigenvalue",
    "hessian_trace": "Hessian trace",
    "effective_parameters": "effective number of parameters",
}


@dataclass(frozen=True)
class Evidence:
    """What the charts draw besides the document. Frames may be empty; their charts are then left out.

    Attributes:
        reliability: a row per learner × bin. Classes: mean top-label confidence (`predicted`) and share right
            (`observed`). Real and count targets: nominal and observed coverage of central predictive intervals.
        measures: a row per learner × run × measure; `gap` is train minus test log score of the run.
        losses: a row per learner × run × recorded step; mean negative log-likelihood in nats per row.
        ranks: a row per learner × chain × bin [`low`, `high`) of the relative rank in (0, 1) of the learner's
            worst-mixing quantity: how many draws fell there, and how many would if chains agreed.
        energies: a row per learner × kind × bin; kind "marginal" is the centred energy, "transition" its change
            from one draw to the next.
    """

    reliability: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=RELIABILITY))
    measures: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=MEASURES))
    losses: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=LOSSES))
    ranks: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=RANKS))
    energies: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=ENERGIES))


def figures(document: Document, evidence: Evidence, names: Sequence[str] = ()) -> dict[str, alt.TopLevelMixin]:
    """Every chart that there is evidence for, by name, in reading order.

    Colours go by `names`, of learners, or else by those of the document.
    """
    names = names or tuple(sorted(learner.name for learner in document.learners))
    drawn = {
        "scores": (scores := scores_frame(document), partial(score_chart, scores, names)),
        "pairs": (pairs := pair_frame(document), partial(pair_chart, pairs)),
        "reliability": (evidence.reliability, partial(reliability_chart, evidence.reliability, names, document.task)),
        "measures": (evidence.measures, partial(gap_chart, evidence.measures, names)),
        "losses": (evidence.losses, partial(loss_chart, evidence.losses, names)),
        "ranks": (evidence.ranks, partial(rank_chart, evidence.ranks)),
        "energies": (evidence.energies, partial(energy_chart, evidence.energies)),
    }
    return {name: finished(draw()) for name, (frame, draw) in drawn.items() if not frame.is_empty()}


def scores_frame(document: Document) -> pl.DataFrame:
    """Test log score of each learner that has one: learner, kind, value, standard_error, splits."""
    scored = [(each, each.parts.test.log_score) for each in document.learners]
    rows = [
        (each.name, each.kind, s.value, s.standard_error, str(each.splits)) for each, s in scored if s.value is not None
    ]
    schema = {
        "learner": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
        "standard_error": pl.Float64,
        "splits": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def score_chart(scores: pl.DataFrame, names: Sequence[str]) -> alt.TopLevelMixin:
    """Test log score of each learner with bars of one and two standard errors."""
    frame = scores.with_columns(
        (pl.col("value") + k * pl.col("standard_error")).alias(f"at{k:+d}") for k in (-2, -1, 1, 2)
    )
    base = alt.Chart(inline(frame)).encode(
        y=alt.Y("learner:N", sort=scores["learner"].to_list(), title=None, axis=name_axis()),
        color=colour(names, legend=False),
    )
    base = with_tips(base, "learner:N", "kind:N", "value:Q", "standard_error:Q", "splits:N")
    x = partial(alt.X, title="test log score (nats per row)", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    return alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(x=x("at-2:Q"), x2="at+2:Q"),
        base.mark_rule(strokeWidth=4).encode(x=x("at-1:Q"), x2="at+1:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=x("value:Q"), shape=shape(names, legend=False)),
    ).properties(
        width=560,
        height=alt.Step(28),
        title=alt.Title(
            "Test log score",
            subtitle="Further right is better. Bars: one and two standard errors; overlap proves nothing.",
        ),
    )


def reliability_chart(frame: pl.DataFrame, names: Sequence[str], task: Task) -> alt.FacetChart:
    """Observed frequency against predicted probability, or observed against nominal coverage, one panel per learner."""
    classes = task == "classes"
    frame = frame.with_columns(
        (pl.col("observed") - pl.col("standard_error")).clip(0, 1).alias("below"),
        (pl.col("observed") + pl.col("standard_error")).clip(0, 1).alias("above"),
    )
    predicted, observed = ("confidence", "share right") if classes else ("nominal coverage", "observed coverage")
    unit = alt.Scale(domain=[0, 1], nice=False)
    base = alt.Chart().encode(
        x=alt.X("predicted:Q", title=predicted, scale=unit, axis=alt.Axis(values=[0, 0.5, 1])),
        color=colour(names, legend=False),
    )
    base = with_tips(base, "learner:N", "predicted:Q", "observed:Q", "standard_error:Q", "n:Q")
    y = partial(alt.Y, title=observed, scale=unit, axis=alt.Axis(values=[0, 0.5, 1]))
    diagonal = (
        alt.Chart()
        .transform_aggregate(groupby=["learner"])
        .mark_rule(color=INK, strokeDash=[4, 3])
        .encode(x=alt.datum(0), x2=alt.datum(1), y=alt.datum(0), y2=alt.datum(1))
    )
    layers = (
        diagonal,
        base.mark_rule(strokeWidth=1.5).encode(y=y("below:Q"), y2="above:Q"),
        base.mark_line(point=alt.OverlayMarkDef(size=30)).encode(y=y("observed:Q")),
    )
    subtitle = (
        "On the dashed line is honest; below it the learner is too sure of itself. Bars: one standard error."
        if classes
        else "On the dashed line is honest; below it the intervals are too narrow. Bars: one standard error."
    )
    return (
        alt.layer(*layers, data=inline(frame))
        .properties(width=CELL, height=CELL)
        .facet(panel("learner", frame), columns=4)
        .properties(
            title=alt.Title("Reliability" if classes else "Coverage of predictive intervals", subtitle=subtitle)
        )
    )


def gap_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.ConcatChart:
    """Each measure against the generalisation gap, a point per run; logarithmic where all values are positive."""
    finite = frame.filter(pl.col("value").is_finite())
    words = pl.col("measure").replace(_MEASURE_WORDS).str.replace_all("_", " ", literal=True)
    return brushed_panels(finite.with_columns(panel=words), names, titled=False).properties(
        title=alt.Title(
            "Measure against generalisation gap",
            subtitle="If flatness helped here, points would rise to the right. One point per run; drag over some to "
            "pick them out in every panel.",
        )
    )


def loss_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.FacetChart:
    """Training and validation loss over steps, one panel per learner and a line per run, thinned to `MAX_POINTS`."""
    frame = thin(frame)
    losses = frame.select("train", "validation")
    positive = bool(
        losses.select(((cs.float() > 0) | cs.float().is_null() | cs.float().is_nan()).all()).row(0) == (True, True)
    )
    scale = alt.Scale(type="log") if positive else alt.Scale(type="linear", zero=False)
    chart = (
        alt.Chart(inline(frame))
        .transform_fold(["train", "validation"], as_=["part", "loss"])
        .transform_calculate(line="datum.run + datum.part")
        .mark_line(strokeWidth=1.5, opacity=0.8)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=4)),
            y=alt.Y("loss:Q", title="loss (nats per row)", scale=scale),
            color=colour(names, legend=False),
            strokeDash=alt.StrokeDash(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["train", "validation"], range=[[1, 0], [5, 3]]),
                legend=alt.Legend(symbolStrokeColor=INK, symbolStrokeWidth=1.5, symbolSize=300),
            ),
            detail="line:N",
        )
        .properties(width=CELL, height=140)
    )
    return (
        with_tips(chart, "learner:N", "run:N", "part:N", "step:Q", "loss:Q")
        .facet(panel("learner", frame), columns=4)
        .resolve_scale(x="independent")
        .properties(
            title=alt.Title(
                "Training curves",
                subtitle="Dashed climbing while solid falls is overfitting; lines end where patience did.",
            )
        )
    )


def rank_chart(frame: pl.DataFrame) -> alt.FacetChart:
    """Histogram of each chain's ranks among all draws (Vehtari et al. 2021, section 5), one panel per chain."""
    frame = frame.with_columns(
        pl.format("{}, chain {}", pl.col("learner"), pl.col("chain") + 1).alias("panel"),
    )
    base = alt.Chart()
    bars = base.mark_bar(color=PALETTE[0], opacity=0.75, binSpacing=0).encode(
        x=alt.X("low:Q", bin="binned", title="relative rank", axis=alt.Axis(values=[0, 0.5, 1])),
        x2="high:Q",
        y=alt.Y("count:Q", title="draws"),
    )
    bars = with_tips(bars, "learner:N", "quantity:N", "chain:Q", "count:Q", "expected:Q")
    even = base.mark_rule(color=PALETTE[5], strokeWidth=1.5).encode(y="mean(expected):Q")
    return (
        alt.layer(bars, even, data=inline(frame))
        .properties(width=CELL, height=90)
        .facet(panel("panel", frame), columns=4)
        .properties(
            title=alt.Title(
                "Rank plots of the worst-mixing quantity",
                subtitle="Bars level with the line: the chains agree. A slope or a hump: that chain sits elsewhere.",
            )
        )
    )


def energy_chart(frame: pl.DataFrame) -> alt.FacetChart:
    """Marginal and transition energy (Betancourt 2017, section 6.3), one panel per learner."""
    kinds = alt.Scale(domain=["marginal", "transition"], range=[PALETTE[0], PALETTE[1]])
    dashes = alt.Scale(domain=["marginal", "transition"], range=[[1, 0], [5, 3]])
    chart = (
        alt.Chart(inline(frame))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("low:Q", title="energy, centred", axis=alt.Axis(tickCount=4)),
            y=alt.Y("density:Q", title="density"),
            color=alt.Color("kind:N", title=None, scale=kinds),
            strokeDash=alt.StrokeDash("kind:N", title=None, scale=dashes),
        )
        .properties(width=CELL, height=140)
    )
    return (
        with_tips(chart, "learner:N", "kind:N", "low:Q", "high:Q", "density:Q")
        .facet(panel("learner", frame), columns=4)
        .resolve_scale(x="independent", y="independent")
        .properties(
            title=alt.Title(
                "Energy plots",
                subtitle="The shapes should match; a transition much narrower than the marginal explores slowly.",
            )
        )
    )


def thin(losses: pl.DataFrame, points: int = MAX_POINTS) -> pl.DataFrame:
    """At most `points` steps of each learner's run, evenly spaced, the first and the last among them."""
    kept = []
    for _, curve in losses.group_by("learner", "run", maintain_order=True):
        curve = curve.sort("step")
        at = np.unique(np.linspace(0, curve.height - 1, min(points, curve.height)).round().astype(int))
        kept.append(curve[at])
    return pl.concat(kept) if kept else losses
