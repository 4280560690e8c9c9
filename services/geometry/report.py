"""A sweep's geometry as one HTML page that works offline."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from models.digits import format_estimate, format_number
from services.geometry import words
from services.geometry.chart_data import GeometryEvidence
from services.geometry.document import Bounded, GeometryDocument, MeasureSummary, Ranking, Typical
from services.geometry.figures import geometry_figures
from services.rendering import page

# Solutions of a matrix with its numbers in a table.
LARGEST_MATRIX = 12
# Rows of a table that stands open.
OPEN = 16


def write_geometry_report(document: GeometryDocument, evidence: GeometryEvidence, path: Path) -> None:
    """Write the page beside `path` and rename it.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    page.write_page(render_geometry_report(document, evidence), path)


def render_geometry_report(document: GeometryDocument, evidence: GeometryEvidence) -> str:
    """The page as text."""
    context = geometry_context([geometry_section(document, evidence, i) for i in range(len(document.datasets))])
    charts = any(section["charts"] for section in context["sections"])
    return page.render_page("geometry.html", filters(), document=document, charts=charts, **context)


def filters() -> dict[str, Callable[..., Any]]:
    """What the templates of a sweep's geometry ask for."""
    return {
        "bounded": _bounded,
        "signed": partial(_bounded, signed=True),
        "spread": _spread,
        "with_error": _with_error,
        "last": lambda path: path.rpartition(".")[2],
        "median": median,
        "moves": words.MOVES.__getitem__,
    }


def geometry_context(sections: list[dict[str, Any]]) -> dict[str, Any]:
    """What geometry_sections.html shows."""
    return {"sections": sections, "notes": words.RANKING_NOTES, "open_rows": OPEN}


def geometry_section(
    document: GeometryDocument, evidence: GeometryEvidence, i: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """What the page says of one dataset; `names` as `geometry_figures` has them."""
    dataset = document.datasets[i]

    def of(rows: Any) -> list[Any]:
        return [row for row in rows if row.dataset == dataset]

    rankings, measures, barriers = words.ranked(of(document.rankings)), of(document.measures), of(document.barriers)
    charts = geometry_figures(document, evidence, dataset, names)
    return {
        "dataset": dataset,
        "rankings": rankings,
        "name": _named(rankings),
        "reasons": list(
            dict.fromkeys(b.reason for r in rankings for b in (r.tau, r.psi, r.information, r.sign_error) if b.reason)
        ),
        "environments": any(row.worst_environment for row in rankings),
        "groups": words.by_measure(measures),
        "without": words.without_value(measures),
        "effective": [row for row in of(document.effective) if row.kind != "baseline"],
        "typical": words.shown_first(of(document.typical)),
        "compared": _named(of(document.typical)),
        "between": words.between_learners(barriers),
        "methods": list(dict.fromkeys(matrix.method for matrix in barriers)),
        "matrices": [matrix for matrix in barriers if len(matrix.labels) <= LARGEST_MATRIX],
        "basins": of(document.basins),
        "charts": page.embedded({f"{i}-{name}": chart for name, chart in charts.items()}),
    }


def _named(rows: list[Ranking] | list[Typical]) -> Any:
    told = words.twins_of(rows)
    return lambda row: words.named(row.measure, row.component, told(row))


def _bounded(found: Bounded, *, signed: bool = False) -> Markup:
    """A statistic with its interval below."""
    return page.above(*words.bounded(found, signed=signed))


def _spread(row: Any) -> str:
    """An interval or a range; empty where there is none."""
    if row.lower is None or row.upper is None or getattr(row, "n_values", 2) == 1:
        return ""
    return page.minus(f"{format_number(row.lower)} to {format_number(row.upper)}")


def _with_error(row: MeasureSummary) -> str:
    value, error = format_estimate(row.median, row.standard_error)
    return page.minus(f"{value} ± {error}" if error else value)
