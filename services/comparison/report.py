"""The comparison as one HTML page that works offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from models.digits import format_ess, format_estimate, format_number, format_r_hat
from services.comparison.document import Comparison, Curvature, Document
from services.comparison.figures import Evidence, figures
from services.rendering import page
from services.rendering.formatting import METRIC_WORDS, format_p_value, format_seconds
from services.rendering.records import Estimate


def write_report(document: Document, evidence: Evidence, path: Path) -> None:
    """Write the page beside `path` and rename it.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    page.write_page(render_report(document, evidence), path)


def render_report(document: Document, evidence: Evidence) -> str:
    """The page as text."""
    charts = page.embedded(figures(document, evidence))
    return page.render_page("report.html", filters(), document=document, charts=charts)


def filters() -> dict[str, Callable[..., Any]]:
    """What the templates of a comparison ask for."""
    return {
        "estimate": _estimate,
        "seconds": format_seconds,
        "difference": _difference,
        "p_value": format_p_value,
        "r_hat": format_r_hat,
        "ess": format_ess,
        "metric": lambda name: METRIC_WORDS.get(name, name),
    }


def _estimate(estimate: Estimate | None) -> Markup:
    """Value with its error below; a curvature of posterior draws with its spread instead."""
    if isinstance(estimate, Curvature) and estimate.lower is not None and estimate.upper is not None:
        spread = f"[{format_number(estimate.lower)}, {format_number(estimate.upper)}]"
        return page.above(format_number(estimate.value), spread)
    return page.estimate(estimate)


def _difference(pair: Comparison) -> str:
    number, error = format_estimate(pair.difference, pair.standard_error)
    return page.minus(f"{number} ± {error}" if error else number)
