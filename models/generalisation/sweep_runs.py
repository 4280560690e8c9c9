"""The runs of a sweep as columns, and the pairs of them that can be compared."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Runs(NamedTuple):
    """n usable runs of one measure.

    Attributes:
        measure: (n,) finite values.
        gap: (n,) what it is to predict: finite, larger is worse.
        gap_error: (n,) standard errors of the gaps, or None.
        split: (n,) numbers 0 ... J - 1 of the splits; every split has two runs or more.
        settings: (n,) codes 0, 1, ... of the values of each setting that varies.
        values: what the codes of each setting stand for.
    """

    measure: np.ndarray
    gap: np.ndarray
    gap_error: np.ndarray | None
    split: np.ndarray
    settings: Mapping[str, np.ndarray]
    values: Mapping[str, tuple[object, ...]]

    @property
    def n_splits(self) -> int:
        """J."""
        return int(self.split.max()) + 1 if self.split.size else 0


class Neighbours(NamedTuple):
    """Pairs of runs on one split that differ in one setting, and in no other.

    Attributes:
        first: (P,) the run with the smaller code; `second`: (P,) the other.
        cell: (P,) numbers of the groups of runs on one split that agree in all other settings.
        environment: (P,) numbers of the pairs of settings that are compared, which all splits share.
    """

    first: np.ndarray
    second: np.ndarray
    cell: np.ndarray
    environment: np.ndarray


def usable_runs(
    measure: np.ndarray,
    gap: np.ndarray,
    gap_error: np.ndarray | None,
    split: np.ndarray,
    settings: Mapping[str, np.ndarray],
) -> Runs:
    """Leave out runs whose measure or gap is not finite, then splits with one run, then settings that do not vary.

    Raises:
        ValueError: columns of different lengths.
    """
    measure, gap, split = np.asarray(measure, float), np.asarray(gap, float), np.asarray(split)
    columns = {"measure": measure, "gap": gap, "split": split, **{k: np.asarray(v) for k, v in settings.items()}}
    if gap_error is not None:
        columns["gap_error"] = np.asarray(gap_error, float)
    if bad := {name: column.shape for name, column in columns.items() if column.shape != (measure.size,)}:
        raise ValueError(f"expected columns of one length, {measure.size} as the measure; received {bad}")
    kept = np.isfinite(measure) & np.isfinite(gap)
    if gap_error is not None:
        kept &= np.isfinite(columns["gap_error"])
    codes, _ = _codes(split)
    kept &= np.bincount(codes, kept, len(measure) + 1)[codes] > 1
    coded = {name: _codes(columns[name][kept]) for name in settings}
    varied = {name: of for name, of in coded.items() if len(of[1]) > 1}
    return Runs(
        measure[kept],
        gap[kept],
        None if gap_error is None else columns["gap_error"][kept],
        _codes(split[kept])[0],
        {name: codes for name, (codes, _) in varied.items()},
        {name: values for name, (_, values) in varied.items()},
    )


def _codes(column: np.ndarray) -> tuple[np.ndarray, tuple[object, ...]]:
    """Numbers for the distinct values of a column, of any types; in their order where they have one. NaN is None."""
    values: list[Any] = [None if value != value else value for value in column.tolist()]
    try:
        distinct = sorted(set(values))
    except TypeError:
        distinct = list(dict.fromkeys(values))
    number = {value: i for i, value in enumerate(distinct)}
    return np.array([number[value] for value in values], np.int64), tuple(distinct)


def joint_codes(*columns: np.ndarray) -> np.ndarray:
    """(n,) numbers 0, 1, ... for the distinct rows of columns of codes."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def pairs_within(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of positions in the same group, as two columns; groups are codes."""
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if groups.size else []
    pairs = [np.stack(np.triu_indices(len(m), 1)) for m in members]
    first = [m[i] for m, (i, _) in zip(members, pairs, strict=True)]
    second = [m[k] for m, (_, k) in zip(members, pairs, strict=True)]
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *first]), np.concatenate([empty, *second])


def neighbours(runs: Runs, setting: str) -> Neighbours:
    """The pairs of runs on one split that differ in `setting` alone; seeds are no setting, so all seeds are paired."""
    code = runs.settings[setting]
    others = joint_codes(np.zeros_like(code), *(c for name, c in runs.settings.items() if name != setting))
    cell = joint_codes(runs.split, others)
    first, second = pairs_within(cell)
    first, second = np.where(code[first] <= code[second], (first, second), (second, first))
    differ = code[first] != code[second]
    first, second = first[differ], second[differ]
    environment = joint_codes(others[first], code[first], code[second]) if first.size else first
    return Neighbours(first, second, cell[first], environment)


def signs(column: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) -1, 0 or 1: sign(column_first - column_second)."""
    return np.sign(column[first] - column[second])
