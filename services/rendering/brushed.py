"""Runs as points in several panels: those that are brushed in one panel stand out in all."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from services.rendering.charts import CELL, colour, inline, log_where_positive, panel_title, shape, with_tips

PANELS = 3


def brushed_panels(frame: pl.DataFrame, names: Sequence[str], *, titled: bool) -> alt.ConcatChart:
    """Each measure against the generalisation gap, a point per run, a panel per measure.

    Args:
        frame: a row per learner × run × panel with `value` and `gap`; logarithmic where all values are positive.
        names: of all learners, for their colours and shapes.
        titled: whether the panel's words stand above it, a line each, or under its axis.
    """
    panels = frame["panel"].unique(maintain_order=True).to_list()
    columns = {panel: f"value{i}" for i, panel in enumerate(panels)}
    points = inline(
        frame.pivot("panel", index=["learner", "run", "gap"], values="value", aggregate_function="first")
        .rename(columns)
        .select("learner", "run", "gap", *columns.values())
    )
    # One interval for all panels: its ranges are over columns, and every panel has the columns of all.
    brush = alt.selection_interval(name="brush")
    charts = []
    for panel, column in columns.items():
        values = frame.filter(pl.col("panel") == panel)["value"]
        base = alt.Chart(points, title=panel_title(*panel.splitlines()) if titled else alt.Undefined)
        charts.append(
            with_tips(base, "learner:N", "run:N", f"{column}:Q", "gap:Q", **{column: "value"})
            .transform_filter(f"isValid(datum.{column})")
            .mark_point(filled=True, size=50)
            .encode(
                x=alt.X(
                    f"{column}:Q",
                    title=None if titled else panel,
                    scale=log_where_positive(values),
                    axis=alt.Axis(tickCount=4),
                ),
                y=alt.Y("gap:Q", title="gap (nats per row)", scale=alt.Scale(zero=False, nice=False, padding=10)),
                color=colour(names),
                shape=shape(names),
                opacity=alt.when(brush).then(alt.value(0.85)).otherwise(alt.value(0.1)),
            )
            .properties(width=CELL, height=CELL, name=f"{column}_view")
        )
    charts[0] = charts[0].add_params(brush)
    drawn = alt.concat(*charts, columns=PANELS).resolve_scale(y="shared")
    (shared,) = drawn.params  # pyright: ignore[reportGeneralTypeIssues] - the brush
    shared.views = [chart.name for chart in drawn.concat]
    return drawn
