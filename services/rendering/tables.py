"""Tables and sections on a terminal that fit its width."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from services.rendering.formatting import (
    printable,
)


class Cell(NamedTuple):
    """An estimate, and below it in dim letters what qualifies it."""

    above: str
    below: str = ""


class Column(NamedTuple):
    """A heading in one or two lines and what stands under it."""

    heading: Cell
    cell: Callable[[Any], Cell]


def stack(
    title: str, columns: Sequence[Column], rows: Sequence[Any], console: Console, first_width: int = 24
) -> list[Table]:
    """Rows in as few tables as the console's width allows, each beginning with the first column."""
    unbounded = console.options.update(max_width=10_000)
    first, *rest = columns
    tables: list[Table] = []
    beside: list[Column] = []
    for column in rest:
        wider = _table(title, [first, *beside, column], rows, first_width)
        if beside and Measurement.get(console, unbounded, wider).maximum > console.width:
            tables.append(_table(title, [first, *beside], rows, first_width))
            beside, title = [], ""
        beside.append(column)
    return [*tables, _table(title, [first, *beside], rows, first_width)]


def _table(title: str, columns: Sequence[Column], rows: Sequence[Any], first_width: int) -> Table:
    table = Table(
        title=Text(printable(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for position, column in enumerate(columns):
        table.add_column(
            _lines(column.heading),
            justify="right" if position else "left",
            max_width=None if position else first_width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(_lines(column.cell(row)) for column in columns))
    return table


def _lines(cell: Cell) -> Text:
    return Text.assemble(cell.above, ("\n" + cell.below, "dim")) if cell.below else Text(cell.above)


def print_section(console: Console, heading: str, texts: Sequence[str], style: str, bullet: str = "") -> None:
    """Print texts beneath a heading, wrapped and indented."""
    console.print()
    console.print(Text(heading, style=style))
    for text in texts:
        grid = Table.grid()
        grid.add_column()
        grid.add_column()
        grid.add_row(Text(f" {bullet}", style=style), Text(printable(text)))
        console.print(grid)
