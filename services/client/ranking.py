"""A sweep's geometry as people handle it: which measure tells who generalises, as document, table and charts."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from services.client import tabular
from services.client.errors import BasinError
from services.client.plots import chosen
from services.geometry.document import Bounded, GeometryDocument
from services.geometry.document import Ranking as Row
from services.rendering.formatting import printable

if TYPE_CHECKING:
    import altair as alt

_BOUNDED = ("tau", "psi", "information", "sign_error")
_SIGNED = ("tau", "psi")
_TABLE = {
    **dict.fromkeys(("dataset", "measure", "component", "settings", "larger", "invariance"), pl.String),
    **{f"{name}{end}": pl.Float64 for name in _BOUNDED for end in ("", "_lower", "_upper")},
    **dict.fromkeys(("n_runs", "n_splits"), pl.Int64),
    "sentence": pl.String,
}


class Ranking:
    """Whether measures of the geometry tell which runs of a sweep generalise.

    Attributes:
        document: all that is said, as `basin geometry --json` writes it.
    """

    def __init__(self, document: GeometryDocument, draw: "Callable[[str], Mapping[str, alt.TopLevelMixin]]") -> None:
        self.document = document
        self._draw = draw

    def table(self) -> pl.DataFrame:
        """A row for each dataset and measure, the largest |tau| of a dataset first; null is what could not be had."""
        return pl.DataFrame([_row(each) for each in self._rows()], schema=_TABLE, orient="row")

    def figures(self, dataset: str | None = None) -> "Mapping[str, alt.TopLevelMixin]":
        """The charts of one dataset by name: ranking, gaps, effective, draws, slices, surfaces, densities, barriers.

        The sweep's first dataset, unless one is named.

        Raises:
            BasinError: the sweep has no such dataset, or its values cannot be read.
        """
        known = self.document.datasets
        if not known:
            raise BasinError(
                "not_found", f"sweep {self.document.sweep!r} has no finished run: there is nothing to draw"
            )
        if (dataset or known[0]) not in known:
            raise BasinError(
                "not_found", f"sweep {self.document.sweep!r} has no dataset {dataset!r}: it has {', '.join(known)}"
            )
        return self._draw(dataset or known[0])

    def plot(self, name: str = "ranking", dataset: str | None = None) -> "alt.TopLevelMixin":
        """One of `figures(dataset)`.

        Raises:
            BasinError: there is none of this name.
        """
        return chosen(self.figures(dataset), name, f"the geometry of {self.document.sweep!r}")

    def _rows(self) -> list[Row]:
        from services.geometry.words import ranked

        document = self.document
        return [
            row
            for dataset in document.datasets
            for row in ranked(each for each in document.rankings if each.dataset == dataset)
        ]

    def __repr__(self) -> str:
        document = self.document
        runs = f"{document.n_runs:,} finished run{'' if document.n_runs == 1 else 's'}"
        lines = [f"Geometry of {document.sweep}: {runs} on {', '.join(document.datasets)}"]
        lines += [
            f"  {row.dataset}, {_named(row)}: tau {_said('tau', row.tau)}" for row in self._rows()[: tabular.SHOWN]
        ]
        lines.append(document.verdict)
        lines += [f"! {text}" for text in document.warnings]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        headings = ("dataset", "measure", "larger is", "tau", "psi", "information", "worst sign error", "runs")
        rows = [
            (row.dataset, _named(row), row.larger, *(_said(name, getattr(row, name)) for name in _BOUNDED), row.n_runs)
            for row in self._rows()
        ]
        return (
            tabular.facts(f"{self.document.sweep}: {self.document.verdict}", {})
            + tabular.paragraphs(self.document.warnings)
            + tabular.table(headings, rows)
        )


def _row(row: Row) -> dict[str, object]:
    from services.store.rows import settings_text

    names = ("dataset", "measure", "component", "larger", "invariance", "n_runs", "n_splits", "sentence")
    found: dict[str, object] = {name: getattr(row, name) for name in names}
    for name in _BOUNDED:
        bounded: Bounded = getattr(row, name)
        found |= {name: bounded.value, f"{name}_lower": bounded.lower, f"{name}_upper": bounded.upper}
    return {**found, "settings": settings_text(row.settings)}


def _named(row: Row) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in row.settings.items())
    return row.measure + (f" [{row.component}]" if row.component else "") + (f" ({settings})" if settings else "")


def _said(name: str, found: Bounded) -> str:
    from services.geometry.words import bounded

    value, interval = bounded(found, signed=name in _SIGNED)
    return f"{value} [{interval.replace(' to ', ', ')}]" if interval else value
