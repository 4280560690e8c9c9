"""Columns that are a copy of the target, rows that are copies of others, and rows that belong together."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from models.data.dataset import listed
from services.datasets.columns import Column
from services.datasets.row_names import is_group_name, is_time_name
from services.datasets.target import Target

# Of fewer levels each is a condition rather than a subject.
_LEAST_GROUPS = 5


def copies(values: np.ndarray, target: Target) -> bool:
    """Whether a column gives the target away: one to one with the classes, or on a straight line with the numbers.

    Judged on the rows where the column has a value, if these are at least half.
    """
    present = np.array([v is not None for v in values]) if values.dtype == object else ~np.isnan(values)
    if present.mean() < 0.5:
        return False
    y = target.values[present]
    found, codes = np.unique(values[present], return_inverse=True)
    if len(found) < 2 or len(np.unique(y)) < 2:
        return False
    if target.task == "classes":
        pairs = np.unique(codes * len(target.classes) + y)
        return len(pairs) == len(found) == len(np.unique(y))
    if values.dtype == object:
        return False
    return abs(_correlation(values[present], y.astype(float))) > 1 - 1e-12


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, of numbers of any size: each is centred and scaled before it is squared."""

    def unit(values: np.ndarray) -> np.ndarray:
        centred = values / np.abs(values).max()
        centred = centred - centred.mean()
        # What is left of a constant by rounding has no direction.
        largest = np.abs(centred).max()
        return centred / largest if largest > 1e-15 else np.zeros_like(centred)

    a, b = unit(x), unit(y)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm else 0.0


def repeated_rows(used: pl.DataFrame, target: np.ndarray) -> str | None:
    """How many rows repeat another one in every used column and the target, or None."""
    repeated = used.height - used.insert_column(0, pl.Series("", target)).n_unique()
    if not repeated:
        return None
    verb = "repeats another one" if repeated == 1 else "repeat another one"
    return (
        f"{repeated} of {used.height} rows {verb} in all used columns and the target: copies of a row fall into train "
        f"and test, so that whoever remembers rows scores too well; remove them if they are one observation"
    )


def related_rows(columns: Sequence[Column], n_rows: int) -> list[str]:
    """A sentence on columns that look like what rows share, and one on columns that look like a time."""

    def distinct(column: Column) -> int:
        return column.values.drop_nulls().n_unique()

    groups = [
        column.name
        for column in columns
        if column.kind in ("text", "number") and is_group_name(column.name) and not is_time_name(column.name)
        if _LEAST_GROUPS <= distinct(column) <= n_rows / 2
    ]
    times = [
        column.name
        for column in columns
        if column.kind == "days" or (column.kind == "number" and is_time_name(column.name) and distinct(column) > 2)
    ]
    notes = []
    if groups:
        notes.append(
            f"{listed(groups)} {'looks' if len(groups) == 1 else 'look'} like what several rows share: rows are split "
            f"at random, so scores are for subjects or groups that training has seen, and new ones may do worse"
        )
    if times:
        notes.append(
            f"{listed(times)} {'looks' if len(times) == 1 else 'look'} like a time: rows are split at random, so later "
            f"rows help to predict earlier ones, and the future may do worse"
        )
    return notes
