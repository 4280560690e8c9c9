"""Numbers on charts, as they are drawn."""

import html
import re

import altair as alt
import polars as pl
import pytest
import vl_convert

from models.digits import format_short
from services.rendering.charts import as_told, finished, inline, log_where_positive, numbers_legend, with_tips

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
VALUES = [0.0, 1.0, -0.25, 12345.0, 999_990.0, 1e6, -3.2e31, 4.56789e300, 1e-12, 0.00012, 0.000098765, 5e-324, 100.0]


def texts(chart) -> list[str]:
    """The words of a drawn chart, with hyphens for minus signs."""
    drawn = vl_convert.vegalite_to_svg(chart.to_json(), vl_version=VEGA_LITE)
    return [html.unescape(t).replace("\N{MINUS SIGN}", "-") for t in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)]


def test_numbers_are_told_as_in_tables():
    base = alt.Chart(alt.InlineData(values=[{"i": i, "value": value} for i, value in enumerate(VALUES)]))
    chart = (
        base.transform_calculate(told=as_told("datum.value"))
        .mark_text()
        .encode(y=alt.Y("i:O", axis=None), text="told:N")
    )
    assert texts(finished(chart)) == [format_short(value) for value in VALUES]


@pytest.mark.parametrize(
    ("values", "some"),
    [
        ([-3.2e31, 0.0], {"-3e31", "0"}),
        ([1e-12, 3e31], {"1e-10", "1", "1e30"}),
        ([-2e-12, 2e-12], {"-1e-12", "0", "1e-12"}),
        ([-40_000.0, 500_000.0], {"0", "400,000"}),
        ([0.1, 0.3], {"0.1", "0.2", "0.3"}),
    ],
)
def test_axes_and_legends_have_short_numbers(values, some):
    frame = pl.DataFrame({"value": values, "name": ["a", "b"]})
    chart = (
        alt.Chart(inline(frame))
        .mark_point()
        .encode(
            x=alt.X("value:Q", scale=log_where_positive(frame["value"]), axis=alt.Axis(tickCount=4)),
            y="name:N",
            color=alt.Color("value:Q", legend=numbers_legend()),
        )
    )
    found = set(texts(finished(chart)))
    assert some <= found
    assert {"a", "b"} <= found
    assert max(map(len, found)) <= 8


def test_tooltips_tell_numbers_as_tables_do():
    chart = with_tips(
        alt.Chart(inline(pl.DataFrame({"learner": ["a"], "gap": [-3.2e31]}))), "learner:N", "gap:Q", gap="the gap"
    )
    drawn = vl_convert.vegalite_to_svg(finished(chart.mark_point()).to_json(), vl_version=VEGA_LITE)
    label = html.unescape(re.search(r'aria-label="([^"]*)" role="graphics-symbol"', drawn)[1])
    assert label.replace("\N{MINUS SIGN}", "-") == "learner: a; the gap: -3.2e31"
