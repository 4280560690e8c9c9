"""Intervals for statistics of repeated splits: whole splits are resampled, and their overlap is allowed for."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

REPLICATES = 1000
MIN_SPLITS = 5


class Interval(NamedTuple):
    """A statistic with a 95 % interval; nan where they cannot be computed, and then `reason` says why."""

    value: float
    lower: float
    upper: float
    reason: str | None = None


def missing(reason: str) -> Interval:
    """No value, and why."""
    return Interval(np.nan, np.nan, np.nan, reason)


def resample(n_splits: int, seed: int) -> np.ndarray:
    """(REPLICATES, J) how often each of J splits is drawn, with replacement."""
    return np.random.default_rng(seed).multinomial(n_splits, np.full(n_splits, 1 / n_splits), size=REPLICATES)


def overlap_factor(n_splits: int, n_train: int, n_test: int) -> float:
    """1 + J n_test / n_train: how much larger the variance of a mean over J random splits of the same rows is.

    Nadeau and Bengio (2003), section 3. It holds for any smooth statistic of the splits, for that is a mean of its
    influences to first order.
    """
    return 1 + n_splits * n_test / n_train


def cluster_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    n_splits: int,
    overlap: float,
    floor: float,
    bounds: tuple[float, float],
    seed: int,
) -> Interval:
    """A statistic and its interval, centre -+ t_{J-1} u, with splits as clusters, for runs on a split share its rows.

    With the bootstrap's mean b and variance s^2 of a statistic v, the centre is 2 v - b, which takes off the bias that
    maxima, minima and information have, and u^2 = overlap max(s^2 J / (J - 1), floor). Percentiles of the bootstrap
    would be far too narrow for the handful of splits that there are. The interval is cut at `bounds`, and widened to
    hold v where the bias is the larger.

    Args:
        statistic: (R, J) multiplicities of the splits -> (R,); nan where a replicate has nothing to go by.
        n_splits: J.
        overlap: see `overlap_factor`.
        floor: variance of the statistic under independence, so that a few splits that happen to agree are not taken for
            certainty.
        bounds: of the statistic.
        seed: of the bootstrap.
    """
    value = float(statistic(np.ones((1, n_splits)))[0])
    if n_splits < MIN_SPLITS:
        return Interval(value, np.nan, np.nan, f"an interval needs at least {MIN_SPLITS} splits, here are {n_splits}")
    replicates = statistic(resample(n_splits, seed))
    replicates = replicates[np.isfinite(replicates)]
    spread = np.var(replicates, ddof=1) * n_splits / (n_splits - 1)
    reach = stats.t.ppf(0.975, n_splits - 1) * np.sqrt(overlap * max(spread, floor))
    centre = 2 * value - np.mean(replicates)
    lower, upper = min(value, centre - reach), max(value, centre + reach)
    return Interval(value, float(max(bounds[0], lower)), float(min(bounds[1], upper)))


def independence_variance(first: np.ndarray, second: np.ndarray, weights: np.ndarray, n_runs: int) -> float:
    """Variance of sum_p w_p sign(a_i - a_k) sign(b_i - b_k) over pairs p = (i, k), were a and b independent.

    Each term has variance 1, and two terms that share one run have covariance 1/9 (Kendall 1938). With the weighted
    degree d_i, the sum of the weights of run i's pairs, that is 7/9 sum w^2 + 1/9 sum d^2; for all pairs of m runs with
    equal weights it is 2 (2 m + 5) / (9 m (m - 1)).
    """
    degrees = np.bincount(first, weights, n_runs) + np.bincount(second, weights, n_runs)
    return float(7 / 9 * np.sum(weights**2) + np.sum(degrees**2) / 9)
