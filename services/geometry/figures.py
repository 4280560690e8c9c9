"""Charts of a sweep's geometry on one dataset, as Altair charts on plain polars frames.

Every chart's title says what it shows, and its subtitle what to look for.
"""

from collections.abc import Sequence
from functools import partial

import altair as alt
import polars as pl

from models.digits import format_signed
from services.geometry.chart_data import GeometryEvidence
from services.geometry.document import EffectiveCounts, GeometryDocument, MeasureSummary, Ranking
from services.geometry.loss_figures import barrier_chart, density_chart, slice_chart, surface_chart
from services.geometry.words import named, ranked, twins_of
from services.rendering.brushed import brushed_panels
from services.rendering.charts import (
    CELL,
    INK,
    PALETTE,
    colour,
    finished,
    inline,
    log_where_positive,
    name_axis,
    panel_title,
    with_tips,
)
from services.store.rows import settings_text

MAX_POINTS = 300
# Measures that are held against the gap, that are ranked, and of which draws are held against optima.
BEST, RANKED, STRIPS = 6, 20, 6

KEY = ("measure", "component", "settings")
COUNTS = {
    "p_loo": "p_loo (posterior)",
    "effective_dimension": "effective dimension",
    "learning_coefficient": "2 x learning coefficient",
}
RAW = "raw parameters"


def geometry_figures(
    document: GeometryDocument, evidence: GeometryEvidence, dataset: str, names: Sequence[str] = ()
) -> dict[str, alt.TopLevelMixin]:
    """Every chart of one dataset that there is evidence for, by name, in reading order.

    Colours go by `names`, of learners, or else by those that the evidence has.
    """
    names = names or tuple(sorted({*evidence.values["learner"], *evidence.profiles["learner"]}))
    values = evidence.values.filter(dataset=dataset)
    rankings = ranked(row for row in document.rankings if row.dataset == dataset)
    slices, surfaces, densities = (
        evidence.profiles.filter(pl.col("value").is_finite(), dataset=dataset, measure=measure)
        for measure in ("loss_slice", "loss_surface", "hessian_spectral_density")
    )
    against = gap_frame(rankings[:BEST], values)
    # Only draws and optima of one net have a common measure; the document says which those are.
    pairs = [row for row in document.typical if row.dataset == dataset]
    compared = values.filter(pl.col("learner").is_in({name for row in pairs for name in (row.posterior, row.estimate)}))
    strips = strip_frame([row for row in document.measures if row.dataset == dataset], rankings, compared)
    counts = effective_frame([row for row in document.effective if row.dataset == dataset])
    matrices = [matrix for matrix in document.barriers if matrix.dataset == dataset]
    first = [matrix for matrix in matrices if matrix.split == min(m.split for m in matrices)]
    ranking = ranking_frame(rankings[:RANKED])
    drawn = {
        "ranking": (len(ranking), partial(ranking_chart, ranking)),
        "gaps": (len(against), partial(gap_chart, against, names)),
        "effective": (len(counts), partial(effective_chart, counts)),
        "draws": (len(strips), partial(strip_chart, strips, names)),
        "slices": (len(slices), partial(slice_chart, slices, names)),
        "surfaces": (len(surfaces), partial(surface_chart, surfaces)),
        "densities": (len(densities), partial(density_chart, densities, names)),
        "barriers": (len(first), partial(barrier_chart, first)),
    }
    return {name: finished(draw()) for name, (n, draw) in drawn.items() if n}


# --- does it tell which solution generalises? -------------------------------------------------------------------------


def ranking_frame(rankings: Sequence[Ranking]) -> pl.DataFrame:
    """A row per measure × criterion, tau or psi, with its interval."""
    told = twins_of(rankings)
    rows = [
        (
            named(row.measure, row.component, told(row)),
            row.larger,
            criterion,
            bounded.value,
            bounded.lower,
            bounded.upper,
        )
        for row in rankings
        for criterion, bounded in (("tau", row.tau), ("psi", row.psi))
        if bounded.value is not None
    ]
    text, number = pl.String, pl.Float64
    schema = {"measure": text, "larger is": text, "criterion": text, "value": number, "lower": number, "upper": number}
    return pl.DataFrame(rows, schema=schema, orient="row")


def ranking_chart(frame: pl.DataFrame) -> alt.TopLevelMixin:
    """Tau and psi of each measure with their intervals."""
    kinds = ["tau", "psi"]
    base = alt.Chart(inline(frame)).encode(
        y=alt.Y("measure:N", sort=frame["measure"].unique(maintain_order=True).to_list(), title=None, axis=name_axis()),
        yOffset=alt.YOffset("criterion:N", sort=kinds),
        color=alt.Color("criterion:N", title=None, scale=alt.Scale(domain=kinds, range=list(PALETTE[:2]))),
    )
    base = with_tips(base, "measure:N", "larger is:N", "criterion:N", "value:Q", "lower:Q", "upper:Q")
    x = partial(alt.X, title="rank correlation with the gap", scale=alt.Scale(domain=[-1, 1]))
    shapes = alt.Scale(domain=kinds, range=["circle", "diamond"])
    return alt.layer(
        alt.Chart(inline(pl.DataFrame({"none": [0.0]}))).mark_rule(color=INK, strokeDash=[4, 3]).encode(x="none:Q"),
        base.mark_rule(strokeWidth=2).encode(x=x("lower:Q"), x2="upper:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x("value:Q"), shape=alt.Shape("criterion:N", title=None, scale=shapes)
        ),
    ).properties(
        width=560,
        height=alt.Step(11),
        title=alt.Title(
            "Which measure tells who generalises",
            subtitle="Further from the dashed line is better, on either side; a bar across it shows nothing. Tau: over "
            "all runs. Psi: where one setting alone differs. Bars: 95 % over splits.",
        ),
    )


def gap_frame(rankings: Sequence[Ranking], values: pl.DataFrame) -> pl.DataFrame:
    """A row per run of each ranked measure, with its value (posteriors: the median over draws) and its gap."""
    told = twins_of(rankings)
    titles = [
        (*_key(row), f"{named(row.measure, row.component, told(row))}\ntau {_minus(format_signed(row.tau.value))}")
        for row in rankings
    ]
    wanted = pl.DataFrame(titles, schema=dict.fromkeys((*KEY, "title"), pl.String), orient="row")
    rows = values.filter(pl.col("gap").is_finite(), pl.col("value").is_finite())
    runs = rows.group_by("learner", "run", *KEY, maintain_order=True).agg(pl.col("value", "gap").median())
    joined = wanted.join(runs, on=KEY, maintain_order="left_right").drop(KEY)
    return joined.filter(_spread(MAX_POINTS).over("title"))


def _key(row: Ranking | MeasureSummary) -> tuple[str, str, str]:
    return row.measure, row.component, settings_text(row.settings)


def _spread(most: int) -> pl.Expr:
    """At most as many rows, evenly spaced."""
    n, i = pl.len(), pl.int_range(pl.len())
    return (n <= most) | ((i * most) // n != ((i - 1) * most) // n)


def gap_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.ConcatChart:
    """The measures that rank runs best against the gap, a point per run."""
    return brushed_panels(frame.rename({"title": "panel"}), names, titled=True).properties(
        title=alt.Title(
            "The measures that rank runs best, against the generalisation gap",
            subtitle="A rise or fall within one learner's colour says more than one between colours. One point per "
            "run, for posteriors the median over draws; tau is over deterministic nets on the same split. Drag over "
            "some to pick them out in every panel.",
        )
    )


# --- effective numbers, draws against optima --------------------------------------------------------------------------


def effective_frame(rows: Sequence[EffectiveCounts]) -> pl.DataFrame:
    """A row per learner × count that was measured, with one standard error either way."""
    found = []
    for row in rows:
        counted = [(words, getattr(row, name)) for name, words in COUNTS.items()]
        counted = [(words, each) for words, each in counted if each.value is not None and each.value > 0]
        if counted:
            found.append((row.learner, row.kind, RAW, float(row.n_parameters), None, None))
        for words, each in counted:
            error = each.standard_error or 0.0
            # A logarithmic axis has no room below zero.
            lower = max(each.value - error, each.value / 10)
            found.append((row.learner, row.kind, words, each.value, lower, each.value + error))
    text, number = pl.String, pl.Float64
    schema = {"learner": text, "kind": text, "count": text, "value": number, "lower": number, "upper": number}
    return pl.DataFrame(found, schema=schema, orient="row")


def effective_chart(frame: pl.DataFrame) -> alt.TopLevelMixin:
    """Effective numbers of parameters of each learner beside the raw one."""
    counts = [*COUNTS.values(), RAW]
    scale = alt.Scale(domain=counts, range=[*PALETTE[:3], PALETTE[6]])
    base = alt.Chart(inline(frame)).encode(
        y=alt.Y("learner:N", title=None, axis=name_axis()),
        color=alt.Color("count:N", title=None, scale=scale),
    )
    base = with_tips(base, "learner:N", "kind:N", "count:N", "value:Q", "lower:Q", "upper:Q")
    x = partial(alt.X, title="number of parameters", scale=alt.Scale(type="log", nice=False, padding=12))
    shapes = alt.Scale(domain=counts, range=["circle", "square", "triangle-up", "diamond"])
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=x("lower:Q"), x2="upper:Q"),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x("value:Q"), shape=alt.Shape("count:N", title=None, scale=shapes)
        ),
    ).properties(
        width=560,
        height=alt.Step(34),
        title=alt.Title(
            "Effective numbers of parameters",
            subtitle="How many directions the data decide, of how many there are. Bars: one standard error over splits "
            "and seeds.",
        ),
    )


def strip_frame(measures: Sequence[MeasureSummary], rankings: Sequence[Ranking], values: pl.DataFrame) -> pl.DataFrame:
    """Values of the measures that were taken both at draws and at point estimates, at most `MAX_POINTS` of a learner.

    Whole measures come before their components, and those that rank runs best before others.
    """
    of = values.filter(pl.col("value").is_finite()).with_columns(at=_at())
    both = of.group_by(KEY, maintain_order=True).agg(pl.col("at").n_unique()).filter(pl.col("at") > 1).drop("at")
    place = {_key(row): i for i, row in enumerate(rankings)}
    chosen = sorted(both.iter_rows(), key=lambda key: (key[1] != "", place.get(key, len(place))))[:STRIPS]
    told = twins_of(measures)
    titles = {_key(row): named(row.measure, row.component, told(row)) for row in measures}
    titled = [(*key, titles[key]) for key in chosen]
    wanted = pl.DataFrame(titled, schema=dict.fromkeys((*KEY, "title"), pl.String), orient="row")
    rows = wanted.join(of, on=KEY, maintain_order="left_right")
    kept = rows.filter(_spread(MAX_POINTS // 2).over("title", "at", "learner"))
    return kept.select("title", "learner", "run", "draw", "at", "value")


def _at() -> pl.Expr:
    return pl.when(pl.col("draw") >= 0).then(pl.lit("posterior draw")).otherwise(pl.lit("point estimate"))


def strip_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.ConcatChart:
    """Measures over posterior draws against the same at point estimates, a stroke per vector, a panel per measure."""
    present = [name for name in names if name in set(frame["learner"])]
    panels = []
    for (title,), part in frame.group_by("title", maintain_order=True):
        base = alt.Chart(inline(part), title=panel_title(str(title)))
        encoded = base.encode(
            x=alt.X("value:Q", title=None, scale=log_where_positive(part["value"]), axis=alt.Axis(tickCount=4)),
            y=alt.Y("learner:N", title=None, sort=present, scale=alt.Scale(domain=present), axis=name_axis(110)),
            color=colour(names, legend=False),
        )
        encoded = with_tips(encoded, "learner:N", "run:N", "at:N", "draw:Q", "value:Q")
        median = base.mark_tick(color=INK, thickness=2, size=22).encode(
            x=alt.X("median(value):Q", title=None), y=alt.Y("learner:N", title=None)
        )
        strokes = encoded.mark_tick(thickness=1.5, size=14, opacity=0.6)
        panels.append(alt.layer(strokes, median).properties(width=CELL, height=max(90, 24 * len(present))))
    return alt.concat(*panels, columns=3).properties(
        title=alt.Title(
            "Draws of posteriors against optima",
            subtitle="Where a posterior's strokes lie apart from those of point estimates, its draws are not as flat "
            "as an optimum. A stroke per draw or point estimate; grey: the median.",
        )
    )


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")
