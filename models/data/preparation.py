"""From a dataset and a partition to the parts that learners see: everything is learned from the training part alone."""

import keyword
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from models.data.dataset import LARGEST_COUNT, DataError, Dataset, Part, Partition, Split, listed
from models.data.extrapolation import far_rows
from models.digits import format_short

PARTS = ("train", "validation", "test")


def prepare(dataset: Dataset, partition: Partition) -> Split:
    """Partition the rows, and turn each part into a design matrix and a target.

    The parts' sizes depend on the number of rows alone: round(n * test), round(n * validation) and the rest. Classes
    are stratified. The rows of a part stay in the dataset's order.

    Learned from the training part:

    - missing numbers become the median, missing levels the most frequent one, and a 0/1 column `NAME__missing` says so;
    - a table's column becomes (x - mean) / sd, with sd the root mean squared deviation;
    - images and sequences are centred value by value and divided by one scale, the sd over all centred training
      values, so that values that never change become exactly 0 and the shape is kept; they get no indicators;
    - a factor is treatment-coded by 0/1 columns `NAME__LEVEL`, neither centred nor scaled, as R and formulae code it.
      Its reference is the first level, in sorted order, that the training part has;
    - a real target becomes (y - location) / scale.

    The design has the same columns in all splits of one dataset, so that their runs can share a program: which columns
    exist follows from the levels and the missing cells of the whole dataset and from whether a number varies in it,
    never from the target. A column that the training part cannot inform (constant there, a level or a missing cell that
    it lacks) is 0 in all parts, and the notes say so; a level that it lacks reads as the reference. Only columns of a
    table that are constant in the whole dataset are left out. What formulas see besides is in `Part`.

    Raises:
        DataError: a count beyond `LARGEST_COUNT`, parts too small to train or to score on, a class that cannot be
            stratified, one class only in a part, a target that is constant in the training part, nothing left to learn
            from.
    """
    _check_counts(dataset)
    rows = _parts(dataset, partition)
    where = f"split {partition.index} of {dataset.name!r}"
    location, scale = _target_scale(dataset, rows[0], where)
    design = _table(dataset, rows[0]) if dataset.shape is None else _array(dataset, rows[0])
    if not design.columns:
        raise DataError(f"{dataset.name!r} has no column that varies, so there is nothing to learn from: add columns")

    def part(rows: np.ndarray) -> Part:
        y = dataset.target[rows]
        return Part(
            x=np.ascontiguousarray(design.x[rows]),
            y=(y - location) / scale if dataset.task == "real" else y.astype(np.int64),
            rows=rows,
            factors={name: values[rows] for name, values in design.factors.items()},
            numbers={name: values[rows] for name, values in design.numbers.items()},
        )

    return Split(
        task=dataset.task,
        n_classes=dataset.n_classes,
        columns=design.columns,
        shape=dataset.shape,
        train=part(rows[0]),
        validation=part(rows[1]),
        test=part(rows[2]),
        location=location,
        scale=scale,
        notes=(*_lone_classes(dataset, rows), *design.notes),
        far=far_rows(dataset, rows[0], rows[2]),
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _check_counts(dataset: Dataset) -> None:
    if dataset.task == "count" and np.max(dataset.target) > LARGEST_COUNT:
        row = int(np.argmax(dataset.target))
        raise DataError(
            f"the count of row {row + 1} of {dataset.name!r} is {int(dataset.target[row]):,}, and counts are at most "
            f"{LARGEST_COUNT:,}: state the task 'real', or count in thousands"
        )


def _parts(dataset: Dataset, partition: Partition) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted row numbers of the train, validation and test part."""
    n = dataset.n_rows
    n_test, n_validation = round(n * partition.test), round(n * partition.validation)
    sizes = (n - n_test - n_validation, n_validation, n_test)
    needed = max(2, dataset.n_classes)
    for name, size in zip(PARTS, sizes, strict=True):
        if size < needed:
            raise DataError(
                f"{dataset.name!r} has {n} rows, which leaves {max(size, 0)} for the {name} part; it needs at least "
                f"{needed}: use more rows, or other shares for validation and test"
            )
    seeds = np.random.SeedSequence((partition.seed, partition.index)).generate_state(2).tolist()
    labels = dataset.target if dataset.task == "classes" else None

    def cut(rows: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        stratify = None if labels is None else labels[rows]
        kept, taken = train_test_split(rows, test_size=size, random_state=seed, stratify=stratify)
        return np.asarray(kept), np.asarray(taken)

    if labels is not None:
        counts = np.bincount(labels, minlength=dataset.n_classes)
        if counts.min() < len(PARTS):
            rare = dataset.classes[int(counts.argmin())]
            raise DataError(
                f"class {rare!r} of {dataset.name!r} has {counts.min()} rows, too few to be in all three parts: "
                f"merge it with another class or remove it"
            )
    try:
        rest, test = cut(np.arange(n), n_test, seeds[0])
        train, validation = cut(rest, n_validation, seeds[1])
    except ValueError as error:
        raise DataError(
            f"{dataset.name!r} cannot be split with every class in every part ({error}): "
            f"merge or remove its rarest classes, or use smaller shares for validation and test"
        ) from None
    parts = (np.sort(train), np.sort(validation), np.sort(test))
    if labels is not None:
        _check_classes(dataset, parts, partition)
    return parts


def _check_classes(dataset: Dataset, parts: Sequence[np.ndarray], partition: Partition) -> None:
    where = f"split {partition.index} of {dataset.name!r}"
    absent = sorted(set(range(dataset.n_classes)) - set(dataset.target[parts[0]].tolist()))
    if absent:
        names = listed(dataset.classes[k] for k in absent)
        raise DataError(f"{where}: the training part lacks {names}: merge rare classes or use smaller other parts")
    for name, rows in zip(PARTS, parts, strict=True):
        found = np.unique(dataset.target[rows])
        if len(found) == 1:
            raise DataError(
                f"{where}: the {name} part has one class only ({dataset.classes[found[0]]!r}): "
                f"use more rows of the others, or a larger share for this part"
            )


def _lone_classes(dataset: Dataset, parts: Sequence[np.ndarray]) -> list[str]:
    """A note for each part in which a class has at most one row: what is said of that class rests on it."""
    notes = []
    for name, rows in zip(PARTS, parts, strict=True):
        counts = np.bincount(dataset.target[rows], minlength=dataset.n_classes) if dataset.classes else np.array([])
        few = [dataset.classes[k] for k in np.flatnonzero(counts <= 1)]
        if few:
            notes.append(f"{listed(few)}: one row or none in the {name} part, so errors for it are hardly measured")
    return notes


def _target_scale(dataset: Dataset, train: np.ndarray, where: str) -> tuple[float, float]:
    y = dataset.target[train]
    if dataset.task != "classes" and y.min() == y.max():
        raise DataError(
            f"{where}: the target {dataset.target_name!r} is {format_short(float(y[0]))} in all {len(y)} training "
            "rows, so there is nothing to learn: use more rows or another target"
        )
    return (float(y.mean()), float(_sd(y))) if dataset.task == "real" else (0.0, 1.0)


# --- columns ----------------------------------------------------------------------------------------------------------


class _Design(NamedTuple):
    """The prepared design of all rows, columns in order; the parts are its rows."""

    x: np.ndarray
    columns: tuple[str, ...]
    factors: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray]
    notes: list[str]


def _array(dataset: Dataset, train: np.ndarray) -> _Design:
    """Images and sequences: every value kept, centred one by one, one scale for all."""
    filled = _impute(dataset.numeric, train)
    centred = filled - filled[train].mean(axis=0)
    # A mean is rounded: what never changes in training must come out as exactly 0.
    centred[:, np.ptp(filled[train], axis=0) == 0] = 0.0
    scale = np.sqrt(np.mean(centred[train] ** 2))
    notes = []
    if np.isnan(dataset.numeric).any():
        notes.append("missing values were filled with the training part's median at their place, without indicators")
    columns = identifiers(dataset.names)
    if scale == 0:
        return _Design(centred[:, :0], (), {}, {}, notes)
    return _Design(centred / scale, columns, {}, {}, notes)


def _table(dataset: Dataset, train: np.ndarray) -> _Design:
    """Standardised numbers, then treatment-coded factors, then missing-value indicators."""
    levels = {name: sorted({v for v in values if v is not None}) for name, values in dataset.factors.items()}
    gaps = {name: np.isnan(dataset.numeric[:, j]) for j, name in enumerate(dataset.names)}
    gaps |= {name: np.array([v is None for v in values]) for name, values in dataset.factors.items()}
    with_gaps = [name for name, missing in gaps.items() if missing.any()]
    dummies = [(name, level) for name in levels for level in levels[name][1:]]
    names = iter(
        identifiers(
            [
                *dataset.names,
                *dataset.factors,
                *(f"{name}__{level}" for name, level in dummies),
                *(f"{name}__missing" for name in with_gaps),
                *dataset.groups,
            ]
        )
    )
    numeric_names = [next(names) for _ in dataset.names]
    factor_names = {name: next(names) for name in dataset.factors}
    design_names = [next(names) for _ in (*dummies, *with_gaps)]

    varies = np.array([_varies(column) for column in dataset.numeric.T], dtype=bool)
    filled = _impute(dataset.numeric, train)
    numbers, flat = _standardised(filled, train)
    factors = {name: _fill_levels(values, train) for name, values in dataset.factors.items()}
    groups = {name: _fill_levels(values, train) for name, values in dataset.groups.items()}
    trained = {name: sorted(set(values[train])) for name, values in factors.items()}
    indicators = [(factors[name] == level) & (level in trained[name][1:]) for name, level in dummies]
    indicators += [gaps[name] & (not gaps[name][train].all()) & gaps[name][train].any() for name in with_gaps]

    notes = []

    def note(affected: Iterable[str], text: str) -> None:
        affected = list(affected)
        if affected:
            notes.append(f"{listed(affected)}: {text}")

    note(
        with_gaps, "missing values were filled from the training part (median, most frequent level), with an indicator"
    )
    note(
        (name for name in with_gaps if not gaps[name][train].any()),
        "missing in the validation or test part only, so the indicator stays 0",
    )
    note((n for n, v in zip(dataset.names, varies, strict=True) if not v), "constant, so left out")
    note((n for n, v, f in zip(dataset.names, varies, flat, strict=True) if v and f), "constant in training, so 0")
    note((name for name in levels if len(levels[name]) < 2), "one level only, so left out")
    for name, known in levels.items():
        unseen = sorted(set(known) - set(dataset.factors[name][train]))
        note((f"{name}={level}" for level in unseen), "not in the training part, so read as the reference level")

    return _Design(
        x=np.column_stack([numbers[:, varies], *indicators]),
        columns=(*(n for n, v in zip(numeric_names, varies, strict=True) if v), *design_names),
        factors={factor_names[name]: values for name, values in factors.items()}
        | dict(zip(names, groups.values(), strict=True)),
        numbers={n: column for n, column, v in zip(numeric_names, filled.T, varies, strict=True) if v},
        notes=notes,
    )


def _varies(column: np.ndarray) -> bool:
    observed = column[~np.isnan(column)]
    return len(observed) > 0 and bool(observed.min() < observed.max())


def _impute(numeric: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Fill each column's gaps with its training median; with 0 where training has no value."""

    def median(column: np.ndarray) -> float:
        observed = column[~np.isnan(column)]
        return float(np.median(observed)) if len(observed) else 0.0

    return np.where(np.isnan(numeric), [median(column) for column in numeric[train].T], numeric)


def _standardised(filled: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x - mean) / sd by the training rows, and which columns do not vary there: these become 0."""
    sd = _sd(filled[train])
    flat = (np.ptp(filled[train], axis=0) == 0) | (sd == 0)
    return np.where(flat, 0.0, (filled - filled[train].mean(axis=0)) / np.where(flat, 1.0, sd)), flat


def _sd(values: np.ndarray) -> np.ndarray:
    """Root mean squared deviation of each column; brought to a range of 1 first where the squares would vanish."""
    sd, spread = values.std(axis=0), np.ptp(values, axis=0)
    vanishing = (sd < 1e-150) & (spread > 0)
    unit = np.where(vanishing, spread, 1.0)
    return np.where(vanishing, spread * (values / unit).std(axis=0), sd)


def _fill_levels(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Missing levels become the most frequent training level."""
    found, counts = np.unique([v for v in values[train] if v is not None], return_counts=True)
    frequent = str(found[counts.argmax()]) if len(found) else ""
    return np.array([frequent if v is None else v for v in values], dtype=object)


def identifiers(names: Iterable[str]) -> tuple[str, ...]:
    """Each name as a Python identifier that starts with a letter, made unique by a number where two would be alike."""
    result: dict[str, None] = {}
    for name in names:
        # Python compares identifiers in this normal form.
        normal = unicodedata.normalize("NFKC", name)
        plain = "".join(c if f"a{c}".isidentifier() else "_" for c in normal)
        plain = plain if plain[:1].isalpha() else f"x{plain}"
        plain = f"{plain}_" if keyword.iskeyword(plain) else plain
        unique, number = plain, 2
        while unique in result:
            unique, number = f"{plain}_{number}", number + 1
        result[unique] = None
    return tuple(result)
