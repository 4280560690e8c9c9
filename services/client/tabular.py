"""What the client's objects show of themselves in a notebook: facts and tables as HTML, with every text escaped."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN = 20


def facts(title: str, rows: Mapping[str, Any]) -> str:
    """A title, and a line for each fact that there is."""
    lines = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<h4>{html.escape(title)}</h4><table>{lines}</table>"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of the first rows, and how many more there are."""
    head = "".join(f"<th>{html.escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows[:SHOWN])
    more = f"<p>and {len(rows) - SHOWN:,} more</p>" if len(rows) > SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def paragraphs(texts: Iterable[str]) -> str:
    """A list of sentences."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"<td style='text-align:left'>{html.escape(text)}</td>"
