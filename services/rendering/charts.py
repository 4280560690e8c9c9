"""What all charts share: colours, shapes and inks, data and tooltips.

Colours are those of Okabe and Ito ("Color universal design", 2008) without black and yellow, which vanish on a dark and
on a light page; learners keep theirs in all charts of a document. Backgrounds are transparent and inks mid-grey, so
that a chart reads on either page.
"""

from collections.abc import Sequence

import altair as alt
import polars as pl
import polars.selectors as cs

from models.digits import MISSING, MOST, PLAIN_BELOW, PLAIN_FROM

# Altair's own way to show a chart in a notebook fetches Vega from the network, and without one shows nothing. A drawing
# needs neither that nor JavaScript. Who has chosen another way keeps it, before this import or after.
if alt.renderers.active == "default":
    alt.renderers.enable("svg")

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
SHAPES = ("circle", "square", "triangle-up", "diamond")
INK = "#767676"
# Width of a panel, and of most its height.
CELL = 200


def inline(frame: pl.DataFrame) -> alt.InlineData:
    """A frame within the chart, past Altair's row limit and type inference.

    JSON has no NaN, and five digits are more than a pixel shows.
    """
    finite = cs.by_name(frame.select(cs.float()).columns)
    frame = frame.with_columns(pl.when(finite.is_finite()).then(finite.round_sig_figs(5)).name.keep())
    return alt.InlineData(values=frame.to_dicts())


def colour(names: Sequence[str], legend: bool = True) -> alt.Color:
    """Each learner's colour, the same in all charts that are given the same names."""
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    return alt.Color("learner:N", scale=alt.Scale(domain=list(names), range=colours), **_legend(legend))


def shape(names: Sequence[str], legend: bool = True) -> alt.Shape:
    """Each learner's shape. Seven colours and four shapes have no common factor: 28 learners before a pair repeats."""
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    return alt.Shape("learner:N", scale=alt.Scale(domain=list(names), range=shapes), **_legend(legend))


def _legend(shown: bool) -> dict:
    return {"title": None} if shown else {"legend": None}


def panel(field_name: str, frame: pl.DataFrame) -> alt.Facet:
    """A panel for each value of a column, in the order of the frame."""
    order = frame[field_name].unique(maintain_order=True).to_list()
    return alt.Facet(
        f"{field_name}:N", title=None, sort=order, header=alt.Header(labelLimit=CELL, labelFontWeight="bold")
    )


def log_where_positive(values: pl.Series) -> alt.Scale:
    """A scale around the values, logarithmic where all of them are positive."""
    if bool((values > 0).all()):
        return alt.Scale(type="log", nice=False, padding=10)
    return alt.Scale(type="linear", zero=False, nice=False, padding=10)


def name_axis(limit: int = 230) -> alt.Axis:
    """An axis of names, cut where they are longer than so many pixels."""
    return alt.Axis(labelLimit=limit)


def panel_title(*lines: str) -> alt.Title:
    """A title above one of several panels, such as a facet's header."""
    return alt.Title(list(lines), fontSize=11, limit=CELL + 60, anchor="middle")


def as_told(value: str, plain: str | None = None, digits: int = MOST) -> str:
    """A Vega expression of a number as `format_short` tells it.

    Vega's own formats write 3.2e31 with 32 digits on an axis, and 12,345 as 1.235e+4 in a tooltip.

    Args:
        value: the expression of the number.
        plain: what it is where it needs no power of ten; None: its digits, thousands separated.
        digits: how many at most.
    """
    size = f"abs({value})"
    power = f"replace(format({value}, '.{digits - 1}~e'), 'e+', 'e')"
    return (
        f"({size} >= {PLAIN_BELOW:g} || ({size} > 0 && {size} < {PLAIN_FROM:g})) ? {power} "
        f": {plain or f"format({value}, ',.{digits}~r')"}"
    )


# Of a tick or a legend; names stay, and so does what a logarithmic axis leaves empty.
LABEL = (
    "!isNumber(datum.value) || datum.label == '' ? datum.label : datum.value == 0 ? '0' : "
    f"({as_told('datum.value', 'datum.label')})"
)


def numbers_legend() -> alt.Legend:
    """Of colours that stand for numbers."""
    return alt.Legend(labelExpr=LABEL)


def with_tips[C: alt.Chart](chart: C, *fields: str, **titles: str) -> C:
    """The chart with tooltips of columns, such as `learner:N` or `value:Q`, under their names or the titles given."""
    names = [field[:-2] for field in fields]
    numbers = {name for name, field in zip(names, fields, strict=True) if field.endswith(":Q")}
    told = {
        f"{name} told": f"isValid(datum['{name}']) ? {as_told(f"datum['{name}']")} : '{MISSING}'"
        for name in names
        if name in numbers
    }
    tooltips = [
        alt.Tooltip(
            f"{name} told:N" if name in numbers else f"{name}:N", title=titles.get(name, name.replace("_", " "))
        )
        for name in names
    ]
    return (chart.transform_calculate(**told) if told else chart).encode(tooltip=tooltips)


def finished(chart):
    """The chart with the fonts and inks of them all."""
    ink = {"labelColor": INK, "titleColor": INK}
    lines = {"domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.2}
    return (
        chart.configure(background="transparent", font="system-ui, sans-serif")
        .configure_axis(**ink, **lines, titleFontWeight="normal", labelExpr=LABEL)
        .configure_legend(**ink, orient="bottom", columns=5, symbolOpacity=1)
        .configure_header(**ink)
        .configure_title(color=INK, subtitleColor=INK, anchor="start")
        .configure_view(stroke=None)
    )
