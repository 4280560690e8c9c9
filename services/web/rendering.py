"""Pages as HTML: one environment for their templates."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from markupsafe import Markup

from models.digits import MISSING
from services.rendering import page
from services.rendering.formatting import format_seconds
from services.rendering.records import Estimate
from services.web import assets


@cache
def environment() -> Environment:
    """What renders the pages, and parts of them."""
    filters = {"moment": moment, "count": "{:,}".format, "finite": finite, "took": took, "scored": scored}
    made = page.environment(filters, Path(__file__).parent / "templates")
    made.globals |= {"asset": assets.url, "library": assets.LIBRARY}
    return made


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page."""
    signed_in = "basin_token" in request.cookies
    text = environment().get_template(template).render(path=request.url.path, signed_in=signed_in, **context)
    return HTMLResponse(text, status)


def moment(time: datetime | None) -> str:
    """A time as tables have it."""
    return MISSING if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def finite(value: float | None, digits: int = 3) -> str:
    """A number, or the sign of a missing one."""
    return MISSING if value is None or not math.isfinite(value) else page.number(value, digits)


def took(seconds: float | None) -> str:
    """Seconds, minutes or hours."""
    return MISSING if seconds is None or not math.isfinite(seconds) else format_seconds(seconds)


def scored(row: Mapping[str, Any] | None) -> Markup:
    """A row of `metrics`: its value with the error below."""
    if row is None or not math.isfinite(row["value"]):
        return Markup(MISSING)
    return page.estimate(Estimate(value=row["value"], standard_error=row["standard_error"]))
