"""Rows of a table, written for people or for programs: as a table, JSON, CSV or Parquet."""

import io
from datetime import datetime
from typing import BinaryIO, Literal, get_args

import polars as pl
from rich.console import Console
from rich.table import Table

from models.digits import MISSING, format_number
from models.spelling import did_you_mean
from services.errors import QueryError
from services.rendering.formatting import printable

Format = Literal["table", "json", "csv", "parquet"]

_WIDEST = 40  # characters of a cell in a table for people


_FORMULA = r"^[=+\-@\t\r]"


def write(frame: pl.DataFrame, form: Format, out: BinaryIO, width: int = 120) -> None:
    """Write `frame` to a binary stream, as a table of `width` columns for people, JSON records, CSV or Parquet.

    JSON has no NaN and no infinity: they become null. CSV is as `for_csv` has it.

    Raises:
        QueryError: unknown format, or Parquet to a terminal.
    """
    if form == "table":
        out.write(_rendered(frame, width).encode())
    elif form == "json":
        out.write(f"{frame.write_json()}\n".encode())
    elif form == "csv":
        for_csv(frame.lazy()).collect().write_csv(out)
    elif form == "parquet":
        if out.isatty():
            raise QueryError("Parquet is binary: send it to a file, as in --format parquet > results.parquet")
        frame.write_parquet(out)
    else:
        known = get_args(Format)
        raise QueryError(f"no format {form!r}: {did_you_mean(form, known, f'there are {", ".join(known)}')}")


def for_csv(frame: pl.LazyFrame) -> pl.LazyFrame:
    """As CSV can have it: lists joined by "; ", an apostrophe before text that would be a formula to a spreadsheet."""
    lists = [name for name, dtype in frame.collect_schema().items() if isinstance(dtype, pl.List)]
    text = pl.col(pl.String)
    flat = frame.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join("; "))
    return flat.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep())


def _rendered(frame: pl.DataFrame, width: int) -> str:
    """As many columns as fit, and a line that says which do not."""
    cells = {name: [_cell(value) for value in frame[name]] for name in frame.columns}
    shown, used = [], 0
    for name, texts in cells.items():
        used += min(max(map(len, [name, *texts])), _WIDEST) + 2
        if shown and used > width:
            break
        shown.append(name)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in shown:
        table.add_column(
            name, justify="right" if frame.schema[name].is_numeric() else "left", no_wrap=True, max_width=_WIDEST
        )
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*row)
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False, markup=False, emoji=False)
    console.print(table)
    hidden = [name for name in cells if name not in shown]
    if hidden:
        console.print(f"not shown for want of room: {', '.join(hidden)} (choose columns by --select)")
    console.print(f"{len(frame)} row{'' if len(frame) == 1 else 's'}")
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, pl.Series):
        return printable("; ".join(map(str, value)))
    if isinstance(value, float):
        return format_number(value, 4) if abs(value) < float("inf") else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return printable(str(value))
