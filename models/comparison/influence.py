"""Does a difference come from a row or two? Which they are, and what is left without them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.comparison.criteria import criterion, default_rope, paired_row_error
from models.comparison.paired import compare_pair
from models.digits import plus_minus

MOST_ROWS = 3
MIN_ROWS = 20
"""Test rows to each row that is said to decide: of fewer, one is no exception."""


class Decisive(NamedTuple):
    """A pair of learners whose difference comes from a row or two.

    Attributes:
        rows: numbers in the dataset, from 0; the one that weighs most first.
        share: of the sum over rows of what each adds to the difference, in absolute value.
        difference: a - b over all other rows, with its standard error.
    """

    a: str
    b: str
    metric: str
    rows: tuple[int, ...]
    share: float
    difference: float
    standard_error: float

    @property
    def rows_in_words(self) -> tuple[str, ...]:
        """Each row as people count: the first below the heading is row 1."""
        return tuple(f"row {row + 1}" for row in self.rows)


Runs = Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]
"""By split and seed, the row numbers of the test part and a learner's pointwise column there."""


def decisive_rows(a: str, b: str, of_a: Runs, of_b: Runs, n_train: int, metric: str) -> Decisive | None:
    """The rows that make more than half of a difference that matters; None where there are none.

    With d_ri the difference a - b of the pointwise scores of row r in run i of m with n_i test rows, the row adds
    c_r = sum_i d_ri / (m n_i) to the mean difference, the sum of which over rows it is. The fewest rows that hold
    more than half of sum |c_r| decide, if there are at most `MOST_ROWS` of them, `MIN_ROWS` test rows to each, and they
    add more than the region of practical equivalence. For the RMSE the scores are squared errors, of which the ratio
    of the roots with and without the rows has to leave that region.

    Args:
        a: the first learner.
        b: the second.
        of_a: the first one's rows. Runs that only one of the two has are left out.
        of_b: the second one's.
        n_train: rows that each fit learns from.
        metric: "log_score" or "rmse"; a share of right answers has no row that outweighs others.
    """
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        return None
    rows = np.concatenate([of_a[key][0] for key in common])
    pairs = [(of_a[key][1].astype(float), of_b[key][1].astype(float)) for key in common]
    with np.errstate(invalid="ignore"):
        adds = np.concatenate([(x - y) / (len(common) * x.size) for x, y in pairs])
    numbers, place = np.unique(rows, return_inverse=True)
    # A density of zero weighs more than any number; one of both learners says nothing of the two.
    by_row = np.bincount(place, np.nan_to_num(adds, nan=0.0, posinf=1e300, neginf=-1e300))
    weight = np.abs(by_row) / max(np.max(np.abs(by_row)), 1e-300)
    order = np.argsort(-weight, kind="stable")
    held = np.cumsum(weight[order]) / max(float(np.sum(weight)), 1e-300)
    k = int(np.argmax(held > 0.5)) + 1
    if not weight.any() or k > MOST_ROWS or MIN_ROWS * k > numbers.size:
        return None
    chosen = numbers[order[:k]]
    kept = [~np.isin(of_a[key][0], chosen) for key in common]
    whole = _values(pairs, metric)
    left = _values([(x[of], y[of]) for (x, y), of in zip(pairs, kept, strict=True)], metric)
    if whole is None or left is None:
        return None
    moved = _mean(whole[0] - whole[1], common) - _mean(left[0] - left[1], common)
    rope = default_rope(metric, *(float(np.mean(values)) for values in left))
    if not abs(moved) > rope:
        return None
    errors = [paired_row_error(x[of], y[of], metric) for (x, y), of in zip(pairs, kept, strict=True)]
    grid_a, grid_b, grid_errors = (_grid(values, common) for values in (*left, np.array(errors)))
    n_test = min(int(of.sum()) for of in kept)
    found = compare_pair(
        grid_a, grid_b, np.nan_to_num(grid_errors), n_train, n_test, rope, criterion(metric).higher_is_better
    )
    if found is None or not np.isfinite(found.standard_error):
        return None
    return Decisive(a, b, metric, tuple(chosen.tolist()), float(held[k - 1]), found.difference, found.standard_error)


def _values(pairs: list[tuple[np.ndarray, np.ndarray]], metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(m,) scores of both learners in each run; None where a run has no two rows."""
    if any(x.size < 2 for x, _ in pairs):
        return None
    means = np.array([[np.mean(x), np.mean(y)] for x, y in pairs])
    scores = np.sqrt(means) if metric == "rmse" else means
    return scores[:, 0], scores[:, 1]


def _grid(values: np.ndarray, keys: list[tuple[int, int]]) -> np.ndarray:
    splits, seeds = (sorted({key[axis] for key in keys}) for axis in (0, 1))
    grid = np.full((len(splits), len(seeds)), np.nan)
    for (split, seed), value in zip(keys, values, strict=True):
        grid[splits.index(split), seeds.index(seed)] = value
    return grid


def _mean(values: np.ndarray, keys: list[tuple[int, int]]) -> float:
    """Over seeds, then over splits."""
    return float(np.mean(np.nanmean(_grid(values, keys), axis=1)))


def influence_sentence(
    found: Decisive, all_rows: tuple[float, float], words: str, about: Mapping[int, str], others: int
) -> str:
    """Which rows make the difference, and what it is without them.

    Args:
        found: the rows.
        all_rows: the difference and its standard error over all rows.
        words: the score's name.
        about: what is known of a row besides, by its number from 0; it begins with the row's name.
        others: how many further pairs the same rows decide.
    """
    told = [about.get(row, name) for row, name in zip(found.rows, found.rows_in_words, strict=True)]
    one = len(told) == 1
    much = "nearly all" if found.share > 0.95 else "most"
    said = (
        f"{told[0]} and makes" if one and found.rows[0] in about else f"{'; '.join(told)} {'makes' if one else 'make'}"
    )
    return (
        f"{said} {much} of the difference of {found.a} from {found.b} in {words} ({plus_minus(*all_rows)}; without "
        f"{'this row' if one else 'these rows'} {plus_minus(found.difference, found.standard_error)})"
        + (f", and of the differences of {others} other pair{'' if others == 1 else 's'}" if others else "")
    )
