"""Tables of figures: as Markdown, and into the marked sections of a page, so that nobody types a figure by hand."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """A titled table of text; the first column is aligned left, the others right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def figure(value: float | None, unit: str = "") -> str:
    """Three significant digits with thousands separated; an en dash for what was not measured."""
    if value is None:
        return "–"
    digits = f"{float(f'{value:.3g}'):,.10f}".rstrip("0").rstrip(".")
    return f"{digits} {unit}".rstrip()


def markdown(table: Table) -> str:
    """The table in Markdown under its title."""
    rule = [":--", *["--:"] * (len(table.header) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (table.header, rule, *table.rows))
    return "\n".join([f"**{table.title}**", "", *lines])


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name:begin -->` and `<!-- name:end -->` in the page.

    Raises:
        ValueError: the page has no such section.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8")
    new, n = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", old, flags=re.DOTALL)
    if n != 1:
        raise ValueError(f"{page} has {n} sections {begin} … {end}: expected one")
    page.write_text(new, encoding="utf-8")
