"""The mean of a score over repeated random splits and seeds, with a standard error that knows that the splits overlap.

Everything else in the comparison is built on it: a paired comparison is the estimate of a difference.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from models.prediction.scoring import magnitude


class Estimate(NamedTuple):
    """A mean over splits and seeds.

    Attributes:
        value: in the score's units.
        standard_error: over rows x splits x seeds; nan where the value is infinite.
        n_splits: splits with a finished run.
        n_seeds: the most finished runs on one split.
        degrees: of freedom of the t distribution that (value - truth) / standard_error is referred to.
    """

    value: float
    standard_error: float
    n_splits: int
    n_seeds: int
    degrees: float

    def interval(self, probability: float = 0.95) -> tuple[float, float]:
        """The central t interval with this probability."""
        if self.standard_error == 0:
            return self.value, self.value
        reach = float(stats.t.ppf(0.5 + probability / 2, self.degrees)) * self.standard_error
        return self.value - reach, self.value + reach


def estimate(values: np.ndarray, row_errors: np.ndarray, n_train: int, n_test: int) -> Estimate | None:
    """Mean over seeds, then over splits, of a score, and its standard error for the score expected on new data.

    What is estimated is the expected score of the learner, trained on `n_train` new rows, on a new row. With v_j the
    mean over the seeds of split j = 1..J and f = n_test / (n_train + n_test), the variance is the larger of two:

    * (1 / J + n_test / n_train) s^2, with s^2 the sample variance of the v_j: the corrected resampled variance of
      Nadeau and Bengio (2003), which takes f for the correlation between splits.
    * The floor (1 / J + (1 - 1 / J) f) e^2 + w^2 / (J S): what remains were every fit the same. e^2 is the mean squared
      row-level standard error of one test set, w^2 the variance between seeds within splits. Two random test sets share
      the part n_test / N of their rows, so their means correlate by at most f, and the mean over J of them has the
      first term as its variance: e^2 for one split, and never below f e^2, the error that all the rows together would
      leave.

    The larger of the two is the floor plus (1 / J + n_test / n_train) times the excess of s^2 over its part due to
    rows, (1 - f) e^2, cut off at zero (for w = 0): variance components, truncated. With one split only the floor is
    left, and the variation between training sets is *not seen*.

    Degrees: J - 1 where the first is the larger, for it is Nadeau and Bengio's t test. Otherwise (J - 1) floor / first,
    at most n_test - 1: a small s^2 over few splits may be luck, so the floor is trusted only by as much as it is
    clearly the larger. Simulated with independent splits, a nominal 5 % test errs in at most 5.2 % for J >= 2 if
    training varies up to twice as much as rows do, and in at most 8 % for J = 2, 5.1 % for J >= 3 however much it
    varies.

    Args:
        values: (J, S), nan where a run did not finish. Infinite values are values.
        row_errors: (J, S), the standard error of each value over its n_test rows.
        n_train: rows that each fit learns from.
        n_test: rows that each value is a mean over, at least 2.

    Returns:
        None where no run finished.

    Raises:
        ValueError: shapes that differ or are not (J, S), impossible row numbers, row errors that are negative or
            missing.
    """
    values, row_errors = np.asarray(values, float), np.asarray(row_errors, float)
    _check(values, row_errors, n_train, n_test)
    kept = ~np.isnan(values).all(axis=1)
    values, row_errors = values[kept], row_errors[kept]
    finished = ~np.isnan(values)
    if not finished.any():
        return None
    n_splits, per_split = len(values), finished.sum(axis=1)
    if np.isinf(values).any():
        with np.errstate(invalid="ignore"):  # opposite infinities have no mean
            value = float(np.mean(values[finished]))
        return Estimate(value, np.nan, n_splits, int(per_split.max()), np.nan)

    unit = magnitude(np.array([values, row_errors]))
    values, row_errors = values / unit, row_errors / unit
    means = np.nanmean(values, axis=1)
    rows = np.mean(np.nanmean(np.where(finished, row_errors, np.nan) ** 2, axis=1))
    pairs_of_seeds = int(np.sum(per_split - 1))
    seeds = np.nansum((values - means[:, None]) ** 2) / pairs_of_seeds if pairs_of_seeds else 0.0
    share = n_test / (n_train + n_test)
    floor = (1 / n_splits + (1 - 1 / n_splits) * share) * rows + seeds * np.sum(1 / per_split) / n_splits**2
    variance, degrees = floor, n_test - 1.0
    if n_splits > 1:
        corrected = (1 / n_splits + n_test / n_train) * np.var(means, ddof=1)
        variance = max(floor, corrected)
        if corrected:
            degrees = max(n_splits - 1.0, min(degrees, (n_splits - 1) * variance / corrected))
    value, error = float(unit * np.mean(means)), float(unit * np.sqrt(variance))
    return Estimate(value, error, n_splits, int(per_split.max()), float(degrees))


def _check(values: np.ndarray, row_errors: np.ndarray, n_train: int, n_test: int) -> None:
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values: expected shape (splits, seeds), received {values.shape}")
    if row_errors.shape != values.shape:
        raise ValueError(f"row_errors: expected shape {values.shape} as values, received {row_errors.shape}")
    if n_train < 1 or n_test < 2:
        raise ValueError(f"expected n_train >= 1 and n_test >= 2, received {n_train} and {n_test}")
    errors = row_errors[np.isfinite(values)]
    if not np.all(np.isfinite(errors) & (errors >= 0)):
        bad = errors[~(np.isfinite(errors) & (errors >= 0))][0]
        raise ValueError(f"row_errors: expected finite values >= 0 for finished runs, received {bad}")
