"""The posterior's draws against point estimates: how many lie in an optimum's basin, and are they as flat?

Draws of one chain are not independent, and a net's chains seldom leave the basin that they started in. Standard errors
therefore rest on the chains as clusters (Liang and Zeger 1986): independent chains are the sample, whatever happens
within them. With few of them 1.96 standard errors would be too short an interval, so that each standard error here
is multiplied by t_{C-1; 0.975} / 1.96 for C chains: value +- 1.96 standard errors is an interval of 95 %. From a single
chain there is none, and it is NaN.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t

QUANTILE = 1.96


class Share(NamedTuple):
    """A share of the draws, and its standard error."""

    value: float
    standard_error: float


class Typical(NamedTuple):
    """A measure over posterior draws against its values at optima.

    Attributes:
        log_ratio: log(median_draws / median_optima); NaN unless both, and the median of each chain, are positive.
        standard_error: of `log_ratio`; NaN for one chain, or where an optimum among several is not positive.
        below: the share of draws whose value is less than `median_optima`, that is the optima's quantile among them.
    """

    median_draws: float
    median_optima: float
    log_ratio: float
    standard_error: float
    below: Share


def basin_share(barriers: np.ndarray, chains: np.ndarray, threshold: float) -> Share:
    """The share of draws whose barrier to a point estimate is at most `threshold`, in nats.

    Args:
        barriers: (s,) one for each draw.
        chains: (s,) the chain of each draw.
        threshold: what still counts as one basin.

    Returns:
        NaN where a barrier is: whether that draw is inside is not known.
    """
    if not np.all(np.isfinite(barriers)):
        return Share(np.nan, np.nan)
    return _share(np.asarray(barriers) <= threshold, np.asarray(chains))


def typical_against_optimum(draw_values: np.ndarray, chains: np.ndarray, optimum_values: np.ndarray) -> Typical:
    """Compare a measure over the draws, such as a sharpness, with its values at point estimates.

    The standard error is, in logarithms, that of the mean of the chains' own medians, and that of the mean of the
    optima where there are several: se^2 = se_chains^2 + se_optima^2. A single optimum is taken as it is.

    Args:
        draw_values: (s,) one for each draw.
        chains: (s,) the chain of each draw.
        optimum_values: (k,) one for each point estimate.

    Returns:
        NaN where a value is: a measure that did not converge has no rank among the others.
    """
    draws, chains, optima = np.asarray(draw_values, float), np.asarray(chains), np.asarray(optimum_values, float)
    if not (np.all(np.isfinite(draws)) and np.all(np.isfinite(optima))):
        return Typical(np.nan, np.nan, np.nan, np.nan, Share(np.nan, np.nan))
    of_draws, of_optima = float(np.median(draws)), float(np.median(optima))
    below = _share(draws < of_optima, chains)
    medians = np.array([np.median(draws[chains == chain]) for chain in np.unique(chains)])
    if of_optima <= 0 or np.any(medians <= 0):
        return Typical(of_draws, of_optima, np.nan, np.nan, below)
    if len(optima) == 1:
        error = _of_mean(np.log(medians))
    elif np.any(optima <= 0):
        error = np.nan
    else:
        error = float(np.hypot(_of_mean(np.log(medians)), _of_mean(np.log(optima))))
    return Typical(of_draws, of_optima, float(np.log(of_draws / of_optima)), error, below)


def _share(inside: np.ndarray, chains: np.ndarray) -> Share:
    """The share that is inside.

    Where all draws agree no spread is seen, and the error is that of C agreeing trials: the length of the exact
    interval of Clopper and Pearson (1934), 1 - 0.025^(1/C). It is never less than that of independent draws.
    """
    value = float(np.mean(inside))
    _, which = np.unique(chains, return_inverse=True)
    n_chains = int(which.max()) + 1
    if n_chains == 1:
        return Share(value, np.nan)
    if value in (0.0, 1.0):
        return Share(value, (1 - 0.025 ** (1 / n_chains)) / QUANTILE)
    residuals = np.bincount(which, inside - value)
    clustered = np.sqrt(n_chains / (n_chains - 1) * np.sum(np.square(residuals))) / inside.size * _widening(n_chains)
    independent = np.sqrt(value * (1 - value) / inside.size)
    return Share(value, float(max(clustered, independent)))


def _of_mean(values: np.ndarray) -> float:
    """Standard error of the mean of independent values."""
    if len(values) == 1:
        return np.nan
    return float(np.std(values, ddof=1) / np.sqrt(len(values)) * _widening(len(values)))


def _widening(n: int) -> float:
    return float(t.ppf(0.975, n - 1)) / QUANTILE
