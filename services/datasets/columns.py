"""One column of a table: what its values are."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from models.data.dataset import DataError, listed
from services.datasets.codes import too_large, why_code
from services.datasets.dates import are_compact, look_like_dates, read_dates
from services.datasets.marks import mark_note, unmarked, unmarked_numbers
from services.datasets.numbers import Numbers, decimal_of, read_numbers
from services.datasets.reading import UNSTATED, Reading

MAX_LEVELS = 50
# Squares and sums of larger numbers overflow.
LARGEST = 1e150

Kind = Literal["number", "boolean", "days", "text", "unusable"]


class Column(NamedTuple):
    """A typed column: Float64 for numbers, booleans (0 and 1) and days; String for text; null where missing.

    `notes` say what was made of it, without its name, so that columns of one kind can share a sentence.
    """

    name: str
    values: pl.Series
    kind: Kind
    notes: tuple[str, ...] = ()


def said(columns: Sequence[Column]) -> list[str]:
    """The columns' notes, each with the names of the columns that it is of."""
    names: dict[str, list[str]] = {}
    for column in columns:
        for note in column.notes:
            names.setdefault(note, []).append(column.name)
    return [f"{listed(of)}: {note}" for note, of in names.items()]


def settled(reading: Reading, columns: list[pl.Series]) -> Reading:
    """The reading with the decimal mark that the table's text agrees on, unless one is stated."""
    if reading.decimal is not None:
        return reading
    text = [unmarked(column, reading.missing)[0] for column in columns if column.dtype == pl.String]
    return reading.model_copy(update={"decimal": decimal_of(text)})


def typed(column: pl.Series, reading: Reading = UNSTATED, *, typeless: bool = False) -> Column:
    """Find out what a column holds, alike for every file format, unless the reading states it.

    Text is stripped, and one list of marks is missing in all columns. Text that is all numbers, all true/false or all
    dates is read as that, however it is written; digits with a leading zero, and those that no float holds, stay text;
    so do stored digits of equal length, unless the table is `typeless`. A categorical dtype is believed. Dates become
    days since the earliest one.

    Raises:
        DataError: text in a column that is mostly numbers, or is stated to hold numbers or dates.
    """
    name, dtype, stated = column.name, column.dtype, reading.types.get(column.name)
    if dtype == pl.Boolean and stated in (None, "number"):
        return Column(name, column.cast(pl.Float64), "boolean")
    if dtype in (pl.Date, pl.Datetime) and stated in (None, "date"):
        return _days(column, ())
    if dtype.is_numeric() or dtype == pl.Null:
        return _typed_numbers(column, reading, stated)
    if dtype in (pl.Categorical, pl.Enum, pl.String, pl.Boolean, pl.Date, pl.Datetime):
        text, marks = unmarked(column.cast(pl.String), reading.missing)
        about = mark_note(marks)
        if stated == "text" or (stated is None and dtype != pl.String):
            return Column(name, text, "text", () if about is None else (about,))
        found = _stated_text(text, reading, stated) if stated else _typed_text(text, reading, typeless)
        return found._replace(notes=(about, *found.notes)) if about and found.kind == "text" else found
    return Column(name, column, "unusable")


def _typed_numbers(column: pl.Series, reading: Reading, stated: str | None) -> Column:
    name = column.name
    if stated == "text" or (stated is None and too_large(column)):
        note = "whole numbers beyond 2^53, which would be rounded, so read as text"
        values = unmarked(column.cast(pl.String), reading.missing)[0]
        return Column(name, values, "text", () if stated else (note,))
    if stated == "date":
        return _stated_text(column.cast(pl.String), reading, stated)
    words = _compact_words(column.cast(pl.String)) if column.dtype.is_integer() else ()
    return Column(name, unmarked_numbers(column.cast(pl.Float64), reading.missing), "number", words)


def _stated_text(text: pl.Series, reading: Reading, stated: str) -> Column:
    """Text that a person says is numbers or dates.

    Raises:
        DataError: it is not.
    """
    if stated == "date":
        dates = read_dates(text, compact=True)
        unread = text.is_not_null() if dates is None else dates.unread
        if dates is not None and not unread.any():
            return _days(dates.times, _date_words(dates.written, dates.doubt))
    else:
        numbers = read_numbers(text, reading.decimal)
        unread = numbers.unread
        if not unread.any():
            return Column(text.name, numbers.values, "number", _number_words(numbers, False))
    raise DataError(
        f"column {text.name!r} is stated to hold {stated}s, but {_examples(text, unread)} cannot be read as such: "
        f"correct these cells, leave them empty if they are missing, or state another type"
    )


def _typed_text(text: pl.Series, reading: Reading, typeless: bool) -> Column:
    name, present = text.name, text.is_not_null()
    if not present.any():
        return Column(name, text.cast(pl.Float64), "number")
    reason = why_code(text, typeless)
    if reason is not None:
        return Column(name, text, "text", (f"{reason}, so read as text (--types COLUMN=number overrides)",))
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return Column(name, (lower == "true").cast(pl.Float64), "boolean")
    dates = read_dates(text)
    if dates is not None:
        if not dates.unread.any():
            return _days(dates.times, _date_words(dates.written, dates.doubt))
        note = (
            f"looks like dates ({dates.written}), but {_examples(text, dates.unread)} cannot be read, "
            f"so read as text: write all of them as 2019-05-31"
        )
        return Column(name, text, "text", (note,))
    if look_like_dates(text).sum() * 2 > present.sum():
        note = "looks like dates or times that cannot be read, so read as text: write 2019-05-31, or a number"
        return Column(name, text, "text", (note,))
    numbers = read_numbers(text, reading.decimal)
    unread = int(numbers.unread.sum())
    if not unread:
        words = _number_words(numbers, not typeless)
        return Column(name, numbers.values, "number", (*words, *_compact_words(text)))
    if unread < present.sum() / 2:
        how = f" written with {numbers.written}" if numbers.written else ""
        raise DataError(
            f"column {name!r} holds numbers{how}, but text in {_examples(text, numbers.unread)}: write numbers alike "
            f"there, leave the cells empty or give --missing if they are missing, or state --types {name}=text"
        )
    if numbers.units:
        units = f"numbers with different units ({listed(unit or 'none' for unit in numbers.units)})"
        if text.n_unique() > MAX_LEVELS:
            raise DataError(f"column {name!r} holds {units}: write one unit, or state --types {name}=text")
        return Column(name, text, "text", (f"{units}, so read as text",))
    read = int(present.sum()) - unread
    note = f"numbers in {read} of {present.sum()} rows, but other text in the others, so all read as text"
    return Column(name, text, "text", (note,) if read else ())


def _number_words(numbers: Numbers, stored_as_text: bool) -> tuple[str, ...]:
    words = []
    if numbers.written:
        words.append(f"read as numbers, written with {numbers.written}")
    elif stored_as_text:
        words.append("text that holds numbers only was read as numbers")
    if numbers.doubt:
        words.append(numbers.doubt)
    return tuple(words)


def _compact_words(text: pl.Series) -> tuple[str, ...]:
    return ("looks like dates such as 20190531, but read as numbers: --types COLUMN=date",) if are_compact(text) else ()


def _date_words(written: str, doubt: str) -> tuple[str, ...]:
    return (f"read as dates, written {written}" + (f"; {doubt}" if doubt else ""),)


def _days(times: pl.Series, words: tuple[str, ...]) -> Column:
    micros = times.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64)
    days = (micros - micros.min()) / 86_400e6 if micros.is_not_null().any() else micros
    note = f"dates were turned into days since the earliest, {times.min()}"
    return Column(times.name, days, "days", (*words, note))


def _examples(text: pl.Series, where: pl.Series) -> str:
    found = ", ".join(repr(v) for v in text.filter(where).unique(maintain_order=True).head(3))
    return f"{rows_text(where.to_numpy())} ({found})"


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


def rows_text(mask: np.ndarray, most: int = 5) -> str:
    """The rows where the mask holds, in words, counted from 1 below the header."""
    rows = [str(r + 1) for r in np.flatnonzero(mask)]
    text = ", ".join(rows[:most]) + (f" and {len(rows) - most} more" if len(rows) > most else "")
    return f"{'row' if len(rows) == 1 else 'rows'} {text}"


def why_dropped(column: Column, keep: np.ndarray) -> str | None:
    """Why nothing can be learned from a column, or None. `keep` says which rows are used."""
    if column.kind == "unusable":
        return f"values of type {column.values.dtype} cannot be used"
    used = column.values.filter(keep).fill_nan(None) if column.kind != "text" else column.values.filter(keep)
    present = used.drop_nulls()
    if present.is_empty():
        return "all values are missing"
    distinct = present.n_unique()
    if distinct == 1 and not used.has_nulls():
        return "constant" if column.values.n_unique() == 1 else "constant in the rows that are used"
    if column.kind == "text" and distinct == len(present):
        if len(present) < len(used) / 2:
            return f"text in {len(present)} of {len(used)} rows only, and no two of them alike"
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
