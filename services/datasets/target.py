"""The target: which task it poses, its codes or values, and which rows have one."""

from typing import NamedTuple

import numpy as np
import polars as pl

from models.data.dataset import LARGEST_COUNT, DataError, listed
from models.digits import format_short
from models.spec.settings import Task
from services.datasets.columns import Column, check_finite, rows_text, said, typed
from services.datasets.marks import sentinel_note
from services.datasets.reading import UNSTATED, Reading

MAX_CLASSES = 100
MAX_INFERRED_CLASSES = 20
MIN_CLASS_ROWS = 5
# Squares of smaller numbers are 0.
SMALLEST = 1e-150


class Target(NamedTuple):
    """The target of the rows that `keep` marks among all rows."""

    name: str
    task: Task
    values: np.ndarray
    classes: tuple[str, ...]
    keep: np.ndarray
    notes: tuple[str, ...]


def read_target(
    column: pl.Series, task: Task | None = None, reading: Reading = UNSTATED, *, typeless: bool = False
) -> Target:
    """Infer the task unless it is stated, and code the target.

    Text, true/false and categories are classes. Whole numbers (also when stored as floats) are classes when there are
    at most 20 different ones, no more than the root of the number of rows, and they do not thin out as counts do; else
    counts when none is negative; else real, as all other numbers are. Classes with fewer than 5 rows are dropped, and
    so are rows with an empty target. `reading` and `typeless` say how text is read (see `columns.typed`).

    Raises:
        DataError: NaN or infinity, one value only, more classes than the rows can tell apart, dates, or a stated task
            that the values cannot have.
    """
    found = typed(column, reading, typeless=typeless)
    name = found.name
    if found.kind in ("days", "unusable"):
        what = "dates" if found.kind == "days" else f"values of type {column.dtype}"
        raise DataError(f"target {name!r} holds {what}: turn them into numbers or classes first")
    notes = said([found])
    if found.kind != "text":
        _check_numbers(found)
        if note := sentinel_note(name, found.values.to_numpy()):
            notes.append(f"target {note}")
    present = found.values.is_not_null().to_numpy()
    if not present.any():
        raise DataError(f"target {name!r} is missing in every row: choose another column")
    if not present.all():
        notes.append(f"{(~present).sum()} rows without a target {name!r} were dropped; rows are numbered without them")
    values = found.values.drop_nulls()
    if values.n_unique() == 1:
        raise DataError(
            f"target {name!r} is {_labels(values, found.kind)[0]!r} in every row, one class or value only, "
            f"so there is nothing to learn: choose another column"
        )
    inferred, reason = _infer(found, values)
    if task is None:
        notes.append(f"task {inferred!r} inferred: {reason} (--task states another)")
    else:
        _check_possible(task, found, values)
        notes.append(f"task {task!r}, stated rather than inferred")
    task = task or inferred
    if task == "real" and np.ptp(values.to_numpy()) < SMALLEST:
        notes.append(f"target {name!r} varies by less than {SMALLEST:g}, so its squared errors vanish: multiply it")
    if task != "classes":
        dtype = np.int64 if task == "count" else np.float64
        return Target(name, task, values.to_numpy().astype(dtype), (), present, tuple(notes))
    codes, classes, frequent, more = _classes(found, values)
    keep = present.copy()
    keep[present] = frequent
    return Target(name, task, codes, classes, keep, (*notes, *more))


def _check_numbers(column: Column) -> None:
    check_finite(column, "target")
    nan = column.values.is_nan().fill_null(False).to_numpy()
    if nan.any():
        raise DataError(
            f"target {column.name!r} is NaN in {rows_text(nan)}: correct these cells, or remove the rows "
            f"(rows with an empty target are dropped)"
        )


def _infer(column: Column, values: pl.Series) -> tuple[Task, str]:
    if column.kind != "number":
        return "classes", "the target is text" if column.kind == "text" else "the target is true or false"
    if not _whole(values).all():
        return "real", "the target holds numbers that are not whole (or beyond 2^53)"
    distinct, n = values.n_unique(), len(values)
    few = distinct <= MAX_INFERRED_CLASSES and distinct**2 <= n
    if few and (how := _thins_out(values.to_numpy())):
        return "count", f"the target holds whole numbers from 0 up, {distinct} different ones in {n} rows, {how}"
    if few:
        return "classes", f"the target holds whole numbers, only {distinct} different ones in {n} rows"
    if values.max() > LARGEST_COUNT:  # pyright: ignore[reportOperatorIssue]
        return "real", f"the target holds whole numbers beyond {LARGEST_COUNT:,}, the largest count"
    if values.min() >= 0:  # pyright: ignore[reportOperatorIssue]
        return "count", f"the target holds whole numbers from 0 up, {distinct} different ones in {n} rows"
    return "real", f"the target holds whole numbers, {distinct} different ones, some negative"


def _whole(values: pl.Series) -> pl.Series:
    """Which floats are whole and small enough for every whole number up to them to be a float."""
    return (values == values.floor()) & (values.abs() <= 2**53)


def _thins_out(values: np.ndarray) -> str:
    """How whole numbers are distributed as counts rather than as the codes of classes, in words; "" where they are not.

    They are where there are four or more, none negative, and either some have too few rows for a class, or they are
    0, 1, 2, ... with the peak at 0 or 1, the last of them under a tenth as frequent. Frequencies may rise again after
    the peak by twice their Poisson error.
    """
    found, counts = np.unique(values, return_counts=True)
    if len(found) < 4 or found[0] < 0:
        return ""
    if counts.min() < MIN_CLASS_ROWS:
        return f"some with fewer than {MIN_CLASS_ROWS} rows, as counts have"
    peak = int(counts.argmax())
    tail = counts[peak:]
    falls = bool(np.all(np.diff(tail) <= 2 * np.sqrt(tail[:-1]))) and counts[-1] < counts[peak] / 10
    thins = peak <= 1 and falls and np.array_equal(found, np.arange(len(found)))
    return "the higher the rarer, as counts are" if thins else ""


def _check_possible(task: Task, column: Column, values: pl.Series) -> None:
    if task == "classes":
        return
    if column.kind == "text":
        example = values[0]
        raise DataError(
            f"target {column.name!r} holds text such as {example!r}, so its task cannot be {task!r}: use classes, or "
            f"state --types {column.name}=number if it is a number"
        )
    if task == "count" and not (counts := (values >= 0) & _whole(values)).all():
        example = values.filter(~counts)[0]
        raise DataError(
            f"target {column.name!r} holds {format_short(example)}, which is no count (whole, from 0 up): use task "
            "real or classes"
        )


def _classes(column: Column, values: pl.Series) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, list[str]]:
    """Codes and labels of the frequent classes, which of the values have one, and notes."""
    found, inverse, counts = np.unique(values.to_numpy(), return_inverse=True, return_counts=True)
    n = len(values)
    if len(found) > min(MAX_CLASSES, n / MIN_CLASS_ROWS):
        raise DataError(
            f"target {column.name!r} has {len(found)} different values in {n} rows, too many classes: at most "
            f"{MAX_CLASSES}, with {MIN_CLASS_ROWS} rows each, can be compared: merge classes, state another task "
            f"(--task real or count) or choose another column"
        )
    labels = _labels(found, column.kind)
    enough = counts >= MIN_CLASS_ROWS
    notes = []
    if not enough.all():
        rare = listed(label for label, kept in zip(labels, enough, strict=True) if not kept)
        notes.append(
            f"classes with fewer than {MIN_CLASS_ROWS} rows were dropped, {counts[~enough].sum()} rows in all: {rare}"
        )
    if enough.sum() < 2:
        raise DataError(
            f"target {column.name!r} has {int(enough.sum())} classes with at least {MIN_CLASS_ROWS} rows, needs two or "
            f"more: add rows or choose another column"
        )
    frequent = enough[inverse]
    codes = (np.cumsum(enough) - 1)[inverse[frequent]].astype(np.int64)
    return codes, tuple(label for label, kept in zip(labels, enough, strict=True) if kept), frequent, notes


def _labels(values: np.ndarray | pl.Series, kind: str) -> list[str]:
    if kind == "text":
        return [str(v) for v in values]
    if kind == "boolean":
        return ["true" if v else "false" for v in values]
    return [str(int(v)) if float(v).is_integer() else repr(float(v)) for v in values]
