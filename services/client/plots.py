"""Choosing one of several charts by its name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.client.errors import BasinError

if TYPE_CHECKING:
    import altair as alt


def chosen(figures: "Mapping[str, alt.TopLevelMixin]", name: str, what: str) -> "alt.TopLevelMixin":
    """The chart of this name.

    Raises:
        BasinError: there is none, for there is nothing to draw in it.
    """
    if name in figures:
        return figures[name]
    known = f"there are {', '.join(figures)}" if figures else "nothing is stored that could be drawn"
    raise BasinError("not_found", f"{what} has no chart {name!r}: {known}")
