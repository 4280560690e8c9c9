"""Charts of the loss around and between a sweep's solutions: slices, surfaces, eigenvalues, barriers."""

import json
from collections.abc import Sequence
from functools import partial
from typing import cast

import altair as alt
import numpy as np
import polars as pl
from contourpy import LineType, contour_generator

from services.geometry.document import Barriers
from services.rendering.charts import (
    CELL,
    as_told,
    colour,
    inline,
    log_where_positive,
    numbers_legend,
    panel,
    panel_title,
    with_tips,
)

CONTOURS = 8
# What a density falls to some bandwidths away from an eigenvalue says nothing.
FLOOR = 1e-6
# Solutions of a matrix of barriers: as many, and as many with numbers in it.
SOLUTIONS, TOLD = 48, 10


def slice_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.TopLevelMixin:
    """The loss along a filter-normalised direction, a line per run."""
    base = alt.Chart(inline(frame.drop("dataset", "measure", "y", "standard_error")))
    return (
        with_tips(base, "learner:N", "run:N", "x:Q", "value:Q")
        .mark_line(strokeWidth=1.5, opacity=0.8)
        .encode(
            x=alt.X("x:Q", title="distance along the direction, in filter norms", axis=alt.Axis(tickCount=9)),
            y=alt.Y("value:Q", title="training loss (nats per row)", scale=log_where_positive(frame["value"])),
            color=colour(names),
            detail="run:N",
        )
        .properties(
            width=560,
            height=260,
            title=alt.Title(
                "Loss along a random direction",
                subtitle="A wide valley is flat, whatever the scale of the layers: the direction is normalised filter "
                "by filter, and nets of one shape share it. At zero: the solution itself, for posteriors a draw.",
            ),
        )
    )


def surface_chart(frame: pl.DataFrame) -> alt.FacetChart:
    """The loss over the plane of two filter-normalised directions, a panel per learner; colours are logarithmic."""
    one = frame.filter(learner=frame["learner"][0])["x"].unique().to_numpy()  # of others alike, but for rounding
    half = 1.08 * np.ptp(one) / max(one.size - 1, 1) / 2  # a little more, or the page shines through between them
    positive = bool((frame["value"] > 0).all())
    colours = alt.Scale(type="log" if positive else "linear", scheme="viridis", reverse=True)
    scale, ticks = alt.Scale(nice=False, zero=False), alt.Axis(tickCount=3, grid=False)
    x = partial(alt.X, title="first direction", scale=scale, axis=ticks)
    y = partial(alt.Y, title="second direction", scale=scale, axis=ticks)
    heat = (
        with_tips(alt.Chart(), "learner:N", "x:Q", "y:Q", "value:Q")
        .transform_filter("!isValid(datum.line)")
        .transform_calculate(left=f"datum.x - {half}", right=f"datum.x + {half}")
        .transform_calculate(low=f"datum.y - {half}", high=f"datum.y + {half}")
        .mark_rect()
        .encode(
            x=x("left:Q"),
            x2="right:Q",
            y=y("low:Q"),
            y2="high:Q",
            color=alt.Color("value:Q", title="training loss (nats per row)", scale=colours, legend=numbers_legend()),
        )
    )
    contours = (
        alt.Chart()
        .transform_filter("isValid(datum.line)")
        .mark_line(color="white", strokeWidth=1, opacity=0.8)
        .encode(x=x("x:Q"), y=y("y:Q"), detail="line:N", order="place:Q")
    )
    points = inline(frame.select("learner", "x", "y", "value"))
    points.values += inline(contour_frame(frame)).values
    return (
        alt.layer(heat, contours, data=points)
        .properties(width=CELL, height=CELL)
        .facet(panel("learner", frame), columns=4)
        .properties(
            title=alt.Title(
                "Loss around one solution of each learner",
                subtitle="Round, widely spaced contours are a flat basin; narrow ones are sharp. Contours are evenly "
                "spaced in the logarithm of the loss; the solution is in the middle.",
            )
        )
    )


def contour_frame(surfaces: pl.DataFrame) -> pl.DataFrame:
    """Contours at levels that all surfaces share, evenly spaced in the logarithm of the loss where it is positive."""
    values = surfaces["value"].to_numpy()
    spaced = np.geomspace if (values > 0).all() else np.linspace
    levels = spaced(values.min(), values.max(), CONTOURS + 2)[1:-1]
    found = []
    for (learner,), part in surfaces.group_by("learner", maintain_order=True):
        xs, ys = (np.sort(part[axis].unique().to_numpy()) for axis in ("x", "y"))
        if len(part) != len(xs) * len(ys):
            continue  # a point has no number: the map shows it, and no contour is drawn
        heights = part.sort("y", "x")["value"].to_numpy().reshape(len(ys), len(xs))
        generator = contour_generator(xs, ys, heights, line_type=LineType.Separate)
        for level in levels:
            for i, line in enumerate(cast(list[np.ndarray], generator.lines(level))):
                for place, (x, y) in enumerate(line.tolist()):
                    found.append((learner, f"{level:.4g} {i}", place, x, y))
    text, number = pl.String, pl.Float64
    schema = {"learner": text, "line": text, "place": pl.Int64, "x": number, "y": number}
    return pl.DataFrame(found, schema=schema, orient="row")


def density_chart(frame: pl.DataFrame, names: Sequence[str]) -> alt.FacetChart:
    """The density of the Hessian's eigenvalues with its error, a panel per learner."""
    floor = FLOOR * float(frame["value"].max() or 1.0)  # pyright: ignore[reportArgumentType]
    error = 2 * pl.col("standard_error").fill_nan(0.0).fill_null(0.0)
    shown = frame.with_columns(
        line=pl.max_horizontal("value", pl.lit(floor)),
        lower=pl.max_horizontal(pl.col("value") - error, pl.lit(floor)),
        upper=pl.max_horizontal(pl.col("value") + error, pl.lit(floor)),
    )
    base = alt.Chart().encode(
        x=alt.X("x:Q", title="eigenvalue", axis=alt.Axis(tickCount=4)), color=colour(names, legend=False)
    )
    scale = alt.Scale(type="log", nice=False, domainMin=floor)
    y = partial(alt.Y, title="density", scale=scale, axis=alt.Axis(tickCount=5))
    band = base.mark_area(opacity=0.3).encode(y=y("lower:Q"), y2="upper:Q")
    line = base.mark_line(strokeWidth=1.5).encode(y=y("line:Q"))
    line = with_tips(line, "learner:N", "run:N", "x:Q", "value:Q", "standard_error:Q")
    data = inline(shown.select("learner", "run", "x", "value", "standard_error", "line", "lower", "upper"))
    return (
        alt.layer(band, line, data=data)
        .properties(width=CELL, height=150)
        .facet(panel("learner", shown), columns=4)
        .resolve_scale(x="independent")
        .properties(
            title=alt.Title(
                "Eigenvalues of the Hessian",
                subtitle="Almost all lie in the peak at zero; bumps far to the right are the sharp directions, and "
                "weight left of zero is a saddle. Logarithmic; the band is two standard errors.",
            )
        )
    )


def barrier_chart(matrices: Sequence[Barriers]) -> alt.ConcatChart:
    """Matrices of barriers of one split, a panel per way of connecting; colours go by roots: low ones differ."""
    highest = max((value or 0.0 for matrix in matrices for row in matrix.barriers for value in row), default=0.0)
    panels = [_matrix(matrix, highest) for matrix in matrices]
    return alt.concat(*panels, columns=3).properties(
        title=alt.Title(
            f"Barriers between solutions, split {matrices[0].split}",
            subtitle="How far the loss rises on a path from one to the other; near zero is one basin. Empty: not "
            "measured. Aligned: after the units of one net are renumbered like the other's.",
        )
    )


def _matrix(matrix: Barriers, highest: float) -> alt.LayerChart | alt.FacetChart:
    n = len(matrix.labels)
    kept = np.unique(np.linspace(0, n - 1, min(n, SOLUTIONS)).round().astype(int)).tolist()
    rows = [(i, j, matrix.barriers[a][b]) for i, a in enumerate(kept) for j, b in enumerate(kept)]
    frame = pl.DataFrame(rows, schema={"i": pl.Int64, "j": pl.Int64, "barrier": pl.Float64}, orient="row")
    labels, few = [matrix.labels[i] for i in kept], len(kept) <= TOLD
    if few:
        down, across = [f"{i + 1} {label}" for i, label in enumerate(labels)], [str(i + 1) for i in range(len(labels))]
    else:
        down = across = _first_of_each([matrix.learners[i] for i in kept])
    every = json.dumps(labels)
    base = (
        alt.Chart(inline(frame.filter(pl.col("barrier").is_not_null())), title=panel_title(matrix.method))
        .transform_calculate(one=f"{every}[datum.i]", other=f"{every}[datum.j]")
        .encode(x=alt.X("j:O", axis=_axis(across, 0 if few else -90)), y=alt.Y("i:O", axis=_axis(down, 0)))
    )
    colours = alt.Scale(type="sqrt", scheme="viridis", reverse=True, domainMin=0)
    cells = base.mark_rect().encode(
        color=alt.Color("barrier:Q", title="barrier (nats per row)", scale=colours, legend=numbers_legend())
    )
    cells = with_tips(cells, "one:N", "other:N", "barrier:Q")
    if not few:
        return alt.layer(cells).properties(width=CELL + 60, height=CELL + 60)
    ink = alt.condition(f"datum.barrier > {highest / 4}", alt.value("white"), alt.value("black"))
    told = base.transform_calculate(told=as_told("datum.barrier", digits=2))
    numbers = told.mark_text(fontSize=9).encode(text="told:N", color=ink)
    return alt.layer(cells, numbers).properties(width=CELL, height=CELL)


def _first_of_each(learners: Sequence[str]) -> list[str]:
    """Each learner where it begins, and nothing where it goes on."""
    return [name if i == 0 or learners[i - 1] != name else "" for i, name in enumerate(learners)]


def _axis(labels: Sequence[str], angle: int) -> alt.Axis:
    plain = {"ticks": False, "domain": False, "grid": False, "title": None, "labelLimit": 190, "labelAngle": angle}
    return alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", **plain)
