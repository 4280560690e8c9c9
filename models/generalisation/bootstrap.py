"""Intervals for statistics of repeated splits: whole splits are resampled.

A gap is what the test rows say minus what the training rows say. The rows that random splits of one dataset share are
now in one part and now in the other, so what they have in common cancels, and the splits' gaps are as good as
independent: in simulations on overlapping splits their correlation was at most 0.02. So no allowance for overlap is
made here, unlike in `estimate`, whose scores are of test rows alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

REPLICATES = 1000
MIN_SPLITS = 5
FLOOR = 0.25
"""Of the variance under independence, by which intervals of agreeing splits have a width."""


class Interval(NamedTuple):
    """A statistic with a 95 % interval; nan where they cannot be computed, and then `reason` says why.

    Attributes:
        value: the statistic as it stands ("plug-in").
        corrected: without the bias that a maximum, a minimum or information of few splits has.
    """

    value: float
    lower: float
    upper: float
    reason: str | None = None
    corrected: float = np.nan

    @property
    def told(self) -> float:
        """What every sentence, table and document says: `corrected`, and `value` where that is not to be had."""
        return self.value if np.isnan(self.corrected) else self.corrected


def missing(reason: str) -> Interval:
    """No value, and why."""
    return Interval(np.nan, np.nan, np.nan, reason)


def resample(n_splits: int, seed: int) -> np.ndarray:
    """(REPLICATES, J) how often each of J splits is drawn, with replacement."""
    return np.random.default_rng(seed).multinomial(n_splits, np.full(n_splits, 1 / n_splits), size=REPLICATES)


def cluster_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    n_splits: int,
    floor: float,
    bounds: tuple[float, float],
    seed: int,
    *,
    corrected: float = np.nan,
    between: tuple[float, float] | None = None,
) -> Interval:
    """A statistic and its interval, a - t_{J-1} u to b + t_{J-1} u, with splits as clusters, for runs on a split share
    its rows.

    u^2 is `variance`'s. Percentiles of the bootstrap would be far too narrow for the handful of splits that there are.
    The corrected value and the interval are cut at `bounds`.

    Args:
        statistic: (R, J) multiplicities of the splits -> (R,); nan where a replicate has nothing to go by.
        n_splits: J.
        floor: variance of the statistic under independence.
        bounds: of the statistic.
        seed: of the bootstrap.
        corrected: the statistic without its bias; nan where it has none, or that is not to be had.
        between: a and b, where more than one correction of the bias is in question; None: both are the corrected value.
    """
    value = float(statistic(np.ones((1, n_splits)))[0])
    told = float(np.clip(value if np.isnan(corrected) else corrected, *bounds))
    if n_splits < MIN_SPLITS:
        reason = f"an interval needs at least {MIN_SPLITS} splits, here are {n_splits}"
        return Interval(value, np.nan, np.nan, reason, told)
    replicates = statistic(resample(n_splits, seed))
    replicates = replicates[np.isfinite(replicates)]
    reach = stats.t.ppf(0.975, n_splits - 1) * np.sqrt(variance(replicates, n_splits, floor))
    a, b = (told, told) if between is None else between
    lower, upper = max(bounds[0], a - reach), min(bounds[1], b + reach)
    return Interval(value, float(lower), float(upper), None, told)


def variance(replicates: np.ndarray, n_splits: int, floor: float, left: float = 1.0) -> float:
    """That of a statistic: over a bootstrap of whole splits, times J / (J - 1), and at least `left` / 4 of `floor`.

    `floor` is the variance under independence, and `left` the share of it that the statistic's size leaves: that of tau
    is at most 1 - tau^2 times what it may be at 0 (Daniels and Kendall 1947). Where no replicate differs the floor is
    all that is known, and counts in full: a few splits that happen to agree are no certainty.
    """
    spread = float(np.var(replicates, ddof=1)) * n_splits / (n_splits - 1)
    return max(spread, FLOOR * left * floor) if spread > 1e-12 else floor


def independence_variance(first: np.ndarray, second: np.ndarray, weights: np.ndarray, n_runs: int) -> float:
    """Variance of sum_p w_p sign(a_i - a_k) sign(b_i - b_k) over pairs p = (i, k), were a and b independent.

    Each term has variance 1, and two terms that share one run have covariance 1/9 (Kendall 1938). With the weighted
    degree d_i, the sum of the weights of run i's pairs, that is 7/9 sum w^2 + 1/9 sum d^2; for all pairs of m runs with
    equal weights it is 2 (2 m + 5) / (9 m (m - 1)).
    """
    degrees = np.bincount(first, weights, n_runs) + np.bincount(second, weights, n_runs)
    return float(7 / 9 * np.sum(weights**2) + np.sum(degrees**2) / 9)
