"""One column of a table: what its values are, and whether a learner may see it."""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from models.dataset import DataError
from services.ingest.reading import Reading

MISSING_MARKS = ("", "NA", "N/A", "n/a", "null", "NULL", "?")
MAX_LEVELS = 50
# Squares and sums of larger numbers overflow.
LARGEST = 1e150

Kind = Literal["number", "boolean", "days", "text", "unusable"]
_ISO = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")


class Column(NamedTuple):
    """A typed column: Float64 for numbers, booleans (0 and 1) and days; String for text; null where missing."""

    name: str
    values: pl.Series
    kind: Kind
    notes: tuple[str, ...] = ()


def typed(column: pl.Series, reading: Reading) -> Column:
    """Find out what a column holds, alike for every file format.

    Text is stripped, and `MISSING_MARKS` and those of the reading are missing. Text that is all numbers, all true/false
    or all ISO dates is read as that; a categorical dtype is believed. Dates become days since the earliest one.

    Raises:
        DataError: text in a column that is mostly numbers.
    """
    name, dtype = column.name, column.dtype
    if dtype == pl.Boolean:
        return Column(name, column.cast(pl.Float64), "boolean")
    if dtype.is_numeric() or dtype == pl.Null:
        return Column(name, column.cast(pl.Float64), "number")
    if dtype in (pl.Date, pl.Datetime):
        return _days(column)
    if dtype in (pl.Categorical, pl.Enum):
        return Column(name, _unmarked(column.cast(pl.String), reading), "text")
    if dtype == pl.String:
        return _typed_text(_unmarked(column, reading))
    return Column(name, column, "unusable")


def _unmarked(text: pl.Series, reading: Reading) -> pl.Series:
    """Stripped text with null for the marks of a missing value."""
    text = text.str.strip_chars()
    return text.set(text.is_in([*MISSING_MARKS, *reading.missing]), None)


def _typed_text(text: pl.Series) -> Column:
    name, present = text.name, text.is_not_null()
    if not present.any():
        return Column(name, text.cast(pl.Float64), "number")
    numbers = text.cast(pl.Float64, strict=False)
    unread = present & numbers.is_null()
    if not unread.any():
        return Column(name, numbers, "number")
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return Column(name, (lower == "true").cast(pl.Float64), "boolean")
    for layout in _ISO:
        times = text.str.to_datetime(layout, strict=False, time_unit="us")
        if times.is_not_null().sum() == present.sum():
            return _days(times)
    if unread.sum() < present.sum() / 2:
        found = ", ".join(repr(v) for v in text.filter(unread).unique(maintain_order=True).head(3))
        raise DataError(
            f"column {name!r} holds numbers, but text in {rows_text(unread.to_numpy())} ({found}): "
            f"write numbers there, leave the cells empty if they are missing, or remove the column"
        )
    return Column(name, text, "text")


def _days(times: pl.Series) -> Column:
    micros = times.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64)
    days = (micros - micros.min()) / 86_400e6 if micros.is_not_null().any() else micros
    note = f"{times.name!r}: dates were turned into days since the earliest, {times.min()}"
    return Column(times.name, days, "days", (note,))


def check_finite(column: Column, what: str = "column") -> None:
    """Refuse numbers that are infinite or too large to be squared.

    Raises:
        DataError: naming the column and the rows.
    """
    values = column.values.to_numpy()
    bad = np.abs(values) > LARGEST
    if bad.any():
        raise DataError(
            f"{what} {column.name!r} is infinite (or beyond {LARGEST:g}) in {rows_text(bad)}: "
            f"correct these cells, leave them empty if they are missing, or remove the rows"
        )


def why_dropped(column: Column, keep: np.ndarray) -> str | None:
    """Why no learner may see this column, or None. `keep` says which rows are used.

    A row number (rising by exactly 1) is looked for in all rows, as removed rows would hide it.
    """
    if column.kind == "unusable":
        return f"values of type {column.values.dtype} cannot be used"
    if column.kind == "number" and _is_row_number(column.values.to_numpy()):
        return "numbers the rows, which may leak their order"
    used = column.values.filter(keep).fill_nan(None) if column.kind != "text" else column.values.filter(keep)
    present = used.drop_nulls()
    if present.is_empty():
        return "all values are missing"
    distinct = present.n_unique()
    if distinct == 1 and not used.has_nulls():
        return "constant"
    if column.kind == "text" and distinct == len(present):
        return "all values differ, so it identifies rows and may leak"
    return None


def for_formulas_alone(name: str, values: np.ndarray) -> str | None:
    """What to say of text of so many levels that it may only be grouped by, in formulas; None of other text."""
    distinct = len({value for value in values if value is not None})
    if distinct <= min(MAX_LEVELS, len(values) / 2):
        return None
    return (
        f"column {name!r} is left to formulas, which may group by it: text with {distinct} levels "
        f"(at most {MAX_LEVELS}, and half as many as rows, can be learned from)"
    )


def _is_row_number(values: np.ndarray) -> bool:
    return len(values) > 2 and bool(np.all(np.diff(values) == 1)) and float(values[0]).is_integer()


def rows_text(mask: np.ndarray, most: int = 5) -> str:
    """The rows where the mask holds, in words, counted from 1 below the header."""
    rows = [str(r + 1) for r in np.flatnonzero(mask)]
    text = ", ".join(rows[:most]) + (f" and {len(rows) - most} more" if len(rows) > most else "")
    return f"{'row' if len(rows) == 1 else 'rows'} {text}"
