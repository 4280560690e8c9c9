"""Every pair of learners at a glance."""

from typing import Any

import altair as alt
import polars as pl

from services.comparison.document import Document
from services.rendering.charts import INK, PALETTE, inline, with_tips
from services.rendering.formatting import METRIC_WORDS

SIGNS = {"better": "▲", "worse": "▼", "equivalent": "=", "not shown": ""}
LARGEST = 24


def pair_frame(document: Document, metric: str = "log_score") -> pl.DataFrame:
    """A row per ordered pair of the best learners, the best first: what is shown of `learner` against `other`."""
    names = [learner.name for learner in document.learners][:LARGEST]
    rows = [
        (c.a, c.b, c.difference, c.p_better, c.p_equivalent, c.p_worse, c.outcome, SIGNS[c.outcome])
        for name in names
        for c in (pair.swapped() for pair in document.against(name, metric))
        if c.b in names and c.p_better is not None
    ]
    text, number = pl.String, pl.Float64
    schema = {"learner": text, "other": text, "difference": number, "better": number, "equivalent": number}
    return pl.DataFrame(rows, schema=schema | {"worse": number, "outcome": text, "sign": text}, orient="row")


def pair_chart(frame: pl.DataFrame, metric: str = "log_score") -> alt.TopLevelMixin:
    """The probability that the learner of a row is better than that of a column, with what is shown as a sign."""
    order = frame["learner"].unique(maintain_order=True).to_list()
    order_of: dict[str, Any] = {"sort": order, "title": None}
    plain: dict[str, Any] = {"ticks": False, "domain": False, "grid": False}
    base = alt.Chart(inline(frame)).encode(
        x=alt.X("other:N", axis=alt.Axis(labelLimit=110, labelAngle=-45, orient="top", **plain), **order_of),
        y=alt.Y("learner:N", axis=alt.Axis(labelLimit=150, **plain), **order_of),
    )
    told = ("learner:N", "other:N", "difference:Q", "better:Q", "equivalent:Q", "worse:Q", "outcome:N")
    base = with_tips(base, *told)
    # Orange, grey, blue: told apart by every kind of sight, and the sign says it without colour.
    scale = alt.Scale(domain=[0, 0.5, 1], range=[PALETTE[1], "#9AA0A6", PALETTE[0]], interpolate="rgb")
    cells = (
        base.mark_rect(stroke=INK, strokeOpacity=0.25)
        .encode(
            color=alt.Color("better:Q", title="probability of being better", scale=scale),
            opacity=alt.Opacity("sureness:Q", legend=None, scale=alt.Scale(domain=[0, 0.5], range=[0.25, 1])),
        )
        .transform_calculate(sureness="abs(datum.better - 0.5)")
    )
    signs = base.mark_text(fontSize=13, color="white", stroke="black", strokeWidth=0.4).encode(text="sign:N")
    return alt.layer(cells, signs).properties(
        width=560,
        height=alt.Step(28),
        title=alt.Title(
            f"Who beats whom: test {METRIC_WORDS.get(metric, metric)}",
            subtitle="Read along a row. ▲ better, ▼ worse, = practically equal; no sign: nothing is shown.",
        ),
        usermeta={"widest": 200 + 56 * len(order)},
    )
