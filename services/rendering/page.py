"""One HTML page that works offline: text, tables and charts, with all their JavaScript in the file.

Nothing in the page comes from elsewhere: its content security policy forbids any request and runs only the two scripts
whose hashes it names, so that a learner, a data set or a column with markup for a name can do no harm.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.digits import MISSING, format_estimate, format_number, format_short
from services.files import written_aside
from services.rendering.formatting import format_probability
from services.rendering.records import Estimate

TEMPLATES = Path(__file__).parent / "templates"


def write_page(page: str, path: Path) -> None:
    """Write the page beside `path` and rename it.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    with written_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def render_page(template: str, filters: Mapping[str, Any], **context: Any) -> str:
    """The page as text, from a template that extends page.html; `filters` stand beside those of every page."""
    code, script = library(), (TEMPLATES / "charts.js").read_text(encoding="utf-8")
    return (
        environment(filters)
        .get_template(template)
        .render(
            library=Markup(code),
            script=Markup(script),
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            hashes=[_csp_hash(code), _csp_hash(script)],
            **context,
        )
    )


def environment(filters: Mapping[str, Any], *folders: Path) -> Environment:
    """What renders the templates of all pages, and those of further folders."""
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "estimate": estimate,
        "number": number,
        "short": short,
        "probability": format_probability,
        **filters,
    }
    return made


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, which leaves `vegaEmbed` on the window."""
    return vl_convert.javascript_bundle(
        snippet="window.vegaEmbed = vegaEmbed;",
        vl_version=".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2]),
    )


def embedded(charts: Mapping[str, alt.TopLevelMixin]) -> list[dict[str, Any]]:
    """Charts as a page has them: title and subtitle as its text, which wraps and is read aloud; the spec without."""
    return [_split_title(name, chart) for name, chart in charts.items()]


def _split_title(name: str, chart: alt.TopLevelMixin) -> dict[str, Any]:
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


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, with a minus sign."""
    return minus(format_number(value, digits))


def short(value: float | None) -> str:
    """A number without trailing zeros, with a minus sign."""
    return minus(format_short(value))


def estimate(found: Estimate | None) -> Markup:
    """Value with its error below."""
    if found is None:
        return Markup(MISSING)
    value, error = format_estimate(found.value, found.standard_error)
    return above(value, f"± {error}" if error else "")


def above(value: str, below: str) -> Markup:
    """A number, and what qualifies it below in small letters."""
    return Markup("{} <small>{}</small>").format(minus(value), minus(below))


def minus(text: str) -> str:
    """A number with a minus sign for its hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")
