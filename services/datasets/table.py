"""From a data frame, or from an array with a target, to a dataset."""

import numpy as np
import polars as pl

from models.data.dataset import DataError, Dataset, listed, sealed
from models.spec.settings import Task
from models.spelling import did_you_mean
from services.datasets.columns import Column, check_finite, for_formulas_alone, said, settled, typed, why_dropped
from services.datasets.leaks import copies, related_rows, repeated_rows
from services.datasets.marks import sentinel_note
from services.datasets.reading import UNSTATED, Reading
from services.datasets.row_names import RowNames, judge_row_names
from services.datasets.target import Target, read_target

MIN_ROWS = 20
MAX_COLUMNS = 2000


def from_table(
    frame: pl.DataFrame, *, name: str, target: str, task: Task | None = None, reading: Reading = UNSTATED
) -> Dataset:
    """Type the columns, code the target, and drop what no learner may see; the notes say what was done and why.

    The last notes say how many columns are used, and why each of the others is not.

    Dropped are columns that are constant or all missing, that number, name or identify rows, that are a copy of the
    target (one to one for classes, a straight line for numbers). Text with more than 50 levels is left to formulas.

    Raises:
        DataError: target absent or unusable (see `read_target`), fewer than 20 rows, more than 2,000 columns, text
            among numbers, infinity, or no column left.
    """
    if frame.width < 2:
        raise DataError(f"{name!r} has one column only: a table needs a target and at least one column to learn from")
    if target not in frame.columns:
        raise DataError(absent_target(name, target, frame.columns))
    _check_types(name, frame.columns, reading)
    _check_width(name, frame.width - 1)
    _check_rows(name, frame.height, "")
    # As a CSV file is, whose numbers are text by nature.
    typeless = set(frame.dtypes) == {pl.String}
    reading = settled(reading, frame.get_columns())
    outcome = read_target(frame[target], task, reading, typeless=typeless)
    _check_rows(name, len(outcome.values), " with a target that can be used")
    columns = [typed(series, reading, typeless=typeless) for series in frame.drop(target)]
    notes = [*outcome.notes, *said(columns)]
    dropped: list[str] = []
    used: list[Column] = []
    for column in columns:
        if column.kind in ("number", "boolean", "days"):
            check_finite(column)
        dropping, warnings = _judge(column, outcome)
        notes += warnings
        if dropping is None:
            used.append(column)
        else:
            dropped.append(dropping)
    numeric = {column.name: _array(column, outcome.keep) for column in used if column.kind != "text"}
    factors = {column.name: _array(column, outcome.keep) for column in used if column.kind == "text"}
    left = {name: words for name, values in factors.items() if (words := for_formulas_alone(name, values))}
    groups = {name: factors.pop(name) for name in left}
    dropped += left.values()
    if not numeric and not factors:
        raise DataError(f"{name!r} has no column left to learn from: {'; '.join(dropped)}")
    notes += related_rows(columns, frame.height)
    repeated = repeated_rows(
        pl.DataFrame([c.values.filter(outcome.keep) for c in used if c.name not in groups]), outcome.values
    )
    notes += [repeated] if repeated else []
    share = f"{len(numeric) + len(factors)} of {frame.width - 1} columns used"
    notes += [share + (", but:" if dropped else ""), *dropped]
    levels = sum(len({v for v in values if v is not None}) - 1 for values in factors.values())
    gaps = sum(bool(np.isnan(values).any()) for values in numeric.values())
    gaps += sum(any(v is None for v in values) for values in factors.values())
    _check_width(name, len(numeric) + levels + gaps)
    return sealed(
        Dataset(
            name=name,
            task=outcome.task,
            numeric=np.column_stack(list(numeric.values())) if numeric else np.empty((len(outcome.values), 0)),
            names=tuple(numeric),
            factors=factors,
            groups=groups,
            shape=None,
            target=outcome.values,
            target_name=target,
            classes=outcome.classes,
            notes=tuple(notes),
        )
    )


def _judge(column: Column, outcome: Target) -> tuple[str | None, list[str]]:
    """Why a column is not used, or None; and what to be warned of where it is."""
    name = column.name
    rows = RowNames()
    if column.kind in ("number", "text"):
        rows = judge_row_names(name, column.values, outcome.keep, outcome.values, outcome.task == "classes")
    if rows.leak:
        return f"LEAK: column {name!r} was dropped: {rows.leak}", []
    reason = rows.dropped or why_dropped(column, outcome.keep)
    if reason:
        return f"column {name!r} was dropped: {reason}", []
    if copies(_array(column, outcome.keep), outcome):
        copy = f"is a copy of the target {outcome.name!r} and was dropped: check how it came about"
        return f"LEAK: column {name!r} {copy}", []
    warnings = [f"{name!r} {rows.warned}"] if rows.warned else []
    if column.kind == "number" and (question := sentinel_note(name, column.values.to_numpy())):
        warnings.append(question)
    return None, warnings


def from_array(
    x: np.ndarray, y: np.ndarray, *, name: str, target: str = "y", task: Task | None = None, shape: tuple[int, ...]
) -> Dataset:
    """Images or sequences: x is (n, *shape) or flattened, channels last; every value is kept in its place.

    Raises:
        DataError: an unusable target (see `read_target`), fewer than 20 rows, or infinity.
    """
    _check_rows(name, len(y), "")
    outcome = read_target(pl.Series(target, y), task)
    _check_rows(name, len(outcome.values), " with a target that can be used")
    flat = np.asarray(x, dtype=np.float64).reshape(len(y), -1)
    if np.isinf(flat).any():
        where = np.flatnonzero(np.isinf(flat).any(axis=1)) + 1
        raise DataError(f"x of {name!r} is infinite in examples {listed(map(str, where))}: correct or remove them")
    return sealed(
        Dataset(
            name=name,
            task=outcome.task,
            numeric=np.ascontiguousarray(flat[outcome.keep]),
            names=tuple("x" + "_".join(map(str, place)) for place in np.ndindex(*shape)),
            factors={},
            shape=shape,
            target=outcome.values,
            target_name=target,
            classes=outcome.classes,
            notes=outcome.notes,
        )
    )


def _check_types(name: str, columns: list[str], reading: Reading) -> None:
    for column in reading.types:
        if column not in columns:
            hint = did_you_mean(column, columns, f"there are {listed(columns)}")
            raise DataError(f"{name!r} has no column {column!r} whose type could be stated: {hint}")


def absent_target(name: str, target: str, columns: list[str]) -> str:
    """What to say where the target is no column: the nearest names, or the column at a position."""
    otherwise = f"its columns are {listed(columns, 10)}"
    if target.lstrip("-").isdigit() and -len(columns) <= int(target) < len(columns):
        otherwise = f"columns go by name, not by position; counted from 0, that one is {columns[int(target)]!r}"
    return f"{name!r} has no column {target!r} for a target: {did_you_mean(target, columns, otherwise)}"


def _array(column: Column, keep: np.ndarray) -> np.ndarray:
    kept = column.values.filter(keep)
    if column.kind == "text":
        return np.array(kept.to_list(), dtype=object)
    return kept.fill_null(np.nan).to_numpy().copy()


def _check_rows(name: str, n: int, which: str) -> None:
    if n < MIN_ROWS:
        rows = "one row" if n == 1 else f"{n} rows"
        raise DataError(f"{name!r} has {rows}{which}, too few to train, validate and test on: at least {MIN_ROWS}")


def _check_width(name: str, width: int) -> None:
    if width > MAX_COLUMNS:
        raise DataError(
            f"{name!r} has {width:,} columns to learn from (levels and gaps counted), at most {MAX_COLUMNS:,} can be "
            f"compared: keep the ones that matter"
        )
