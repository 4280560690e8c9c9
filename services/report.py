"""The comparison as one HTML page that works offline: text, tables and charts, with all their JavaScript in the file.

Nothing in the page comes from elsewhere: its content security policy forbids any request and runs only the two scripts
whose hashes it names, so that a learner, a data set or a column with markup for a name can do no harm.
"""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.document import Comparison, Curvature, Document, Estimate
from services.figures import Evidence, figures
from services.files import written_aside
from services.formatting import (
    METRIC_WORDS,
    MISSING,
    format_estimate,
    format_number,
    format_p_value,
    format_probability,
    format_seconds,
)

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(document: Document, evidence: Evidence, path: Path) -> None:
    """Write the page beside `path` and rename it.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    page = render_report(document, evidence)
    with written_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def render_report(document: Document, evidence: Evidence) -> str:
    """The page as text."""
    library, script = _library(), (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "estimate": _estimate,
        "number": lambda value, digits=3: _minus(format_number(value, digits)),
        "seconds": format_seconds,
        "difference": _difference,
        "probability": format_probability,
        "p_value": format_p_value,
        "metric": lambda name: METRIC_WORDS.get(name, name),
    }
    return environment.get_template("report.html").render(
        document=document,
        charts=[_split_title(name, chart) for name, chart in figures(document, evidence).items()],
        library=Markup(library),
        script=Markup(script),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        hashes=[_csp_hash(library), _csp_hash(script)],
    )


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, which leaves `vegaEmbed` on the window."""
    return vl_convert.javascript_bundle(
        snippet="window.vegaEmbed = vegaEmbed;",
        vl_version=".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2]),
    )


def _split_title(name: str, chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart's title and subtitle as text of the page, which wraps and is read aloud, and its spec without them."""
    spec = chart.to_dict()
    title = spec.pop("title")
    spec.pop("$schema")
    return {"name": name, "title": title["text"], "subtitle": title["subtitle"], "spec": _script_json(spec)}


def _script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor open a comment or another script there."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _csp_hash(script: str) -> Markup:
    return Markup("'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'")


def _estimate(estimate: Estimate | None) -> Markup:
    """Value with its error below; a curvature of posterior draws with its spread instead."""
    if estimate is None:
        return Markup(MISSING)
    if isinstance(estimate, Curvature) and estimate.lower is not None and estimate.upper is not None:
        number = format_number(estimate.value)
        below = f"[{format_number(estimate.lower)}, {format_number(estimate.upper)}]"
    else:
        number, error = format_estimate(estimate.value, estimate.standard_error)
        below = f"± {error}" if error else ""
    return Markup("{} <small>{}</small>").format(_minus(number), _minus(below))


def _difference(pair: Comparison) -> str:
    number, error = format_estimate(pair.difference, pair.standard_error)
    return _minus(f"{number} ± {error}" if error else number)


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")
