"""R-hat, effective sample size and Monte Carlo error of many quantities at once.

Vehtari, Gelman, Simpson, Carpenter and Buerkner, "Rank-normalization, folding, and localization: an improved R-hat"
(Bayesian Analysis 2021), with the autocovariances of all chains by FFT. The same numbers as those of ArviZ 1.3 with its
defaults (which has no R-hat for a single chain, where this has that of its halves), a quantity at a time there and in
blocks here: a net has as many quantities as weights.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

BLOCK = 64  # quantities at a time: 4 chains of 500 draws stay in the processor's cache
TAIL = (1 - 0.89, 0.89)  # the quantiles that ArviZ takes by default


class Convergence(NamedTuple):
    """Of each of q quantities, (q,) each.

    A quantity that is not finite throughout has R-hat infinity and no effective draws. One that never changes has NaN:
    there is nothing to estimate, and the caller knows whether that may be.

    Attributes:
        r_hat: the larger of the rank-normalised split R-hats of the draws and of their distances from the median.
        ess_bulk: effective sample size of the rank-normalised draws.
        ess_tail: the smaller effective sample size of the indicators of the 11 % and the 89 % quantile.
    """

    r_hat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def convergence(draws: np.ndarray) -> Convergence:
    """Judge draws (chain, draw, q) by the halves of each chain.

    Of an odd number of draws the middle one counts for the quantiles alone, since it is in neither half.
    """
    blocks = [_judge(draws[:, :, i : i + BLOCK]) for i in range(0, draws.shape[2], BLOCK)]
    return Convergence(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def r_hat(draws: np.ndarray, *, split: bool = True) -> np.ndarray:
    """(q,) rank-normalised R-hat of draws (chain, draw, q), bulk and folded; of whole chains without `split`."""
    values, finite, n_chains = _by_quantity(_split(draws) if split else draws)
    return np.where(finite, _rank_r_hat(values, n_chains)[0], np.inf)


def mcse_mean(draws: np.ndarray) -> np.ndarray:
    """(q,) Monte Carlo standard errors of the means of draws (chain, draw, q): sd / sqrt(ESS of the split draws).

    0 for a quantity that never changes, infinity for one that is not finite throughout.
    """
    draws = draws.astype(np.float64, copy=False)
    every, finite, _ = _by_quantity(draws)
    halves, _, n_halves = _by_quantity(_split(draws))
    ess = _ess(halves.reshape(len(halves), n_halves, -1))
    errors = np.std(every, axis=1, ddof=1) / np.sqrt(np.where(np.isnan(ess), 1.0, ess))
    return np.where(finite, errors, np.inf)


def _split(draws: np.ndarray) -> np.ndarray:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _by_quantity(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(chain, draw, q) as (q, chain * draw); which of them are finite (the others become 0); the number of chains."""
    values = np.moveaxis(draws, 2, 0).reshape(draws.shape[2], -1)
    finite = np.all(np.isfinite(values), axis=1)
    return np.where(finite[:, None], values, 0.0).astype(values.dtype), finite, len(draws)


def _judge(draws: np.ndarray) -> Convergence:
    values, finite, n_chains = _by_quantity(_split(draws))
    worst, z, ordered = _rank_r_hat(values, n_chains)
    if draws.shape[1] % 2:
        every, finite, _ = _by_quantity(draws)
        ordered = np.sort(every, axis=1)
    chains = (len(values), n_chains, -1)
    bulk = _ess(z.reshape(chains))
    low, high = (_ess((values <= _quantile(ordered, q)[:, None]).reshape(chains)) for q in TAIL)
    # The indicator of a quantile that is also the largest value never changes: the other tail speaks alone.
    tail = np.fmin(low, high)
    return Convergence(np.where(finite, worst, np.inf), np.where(finite, bulk, 0.0), np.where(finite, tail, 0.0))


def _rank_r_hat(values: np.ndarray, n_chains: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R-hat (q,), rank-normalised values and sorted values (q, s) of values (q, s), chain after chain."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    z = np.empty(values.shape)
    np.put_along_axis(z, order, _normal_scores(ordered), axis=1)

    # In sorted order the distances from the median fall and then rise: two runs, which the stable sort merges.
    s = values.shape[1]
    median = (ordered[:, (s - 1) // 2] + ordered[:, s // 2])[:, None] / 2
    distances = np.abs(ordered - median)
    by_distance = np.argsort(distances, axis=1, kind="stable")
    scores = _normal_scores(np.take_along_axis(distances, by_distance, axis=1))
    folded = np.empty(values.shape)
    np.put_along_axis(folded, np.take_along_axis(order, by_distance, axis=1), scores, axis=1)

    chains = (len(values), n_chains, -1)
    worst = np.fmax(_r_hat(z.reshape(chains)), _r_hat(folded.reshape(chains)))
    return worst, z, ordered


def _normal_scores(ordered: np.ndarray) -> np.ndarray:
    """Normal quantiles of (rank - 3/8) / (s + 1/4) (Blom 1958) of rows in ascending order; ties share a mean rank."""
    s = ordered.shape[1]
    table = ndtri((np.arange(2, 2 * s + 1) / 2 - 3 / 8) / (s + 1 / 4))
    fresh = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=fresh[:, 1:])
    first = np.flatnonzero(fresh)
    ties = np.diff(first, append=fresh.size)
    return np.repeat(table[2 * (first % s) + ties - 1], ties).reshape(ordered.shape)


def _r_hat(x: np.ndarray) -> np.ndarray:
    """(q,) sqrt(((n - 1) / n W + B / n) / W) of (q, m, n); NaN where nothing varies, infinity where only means do."""
    n = x.shape[2]
    within = np.mean(np.var(x, axis=2, ddof=1), axis=1)
    between_over_n = np.var(np.mean(x, axis=2), axis=1, ddof=1)
    # A chain of equal values may leave a rounding error where its variance is 0.
    tiny = 1e-20
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt((n - 1) / n + between_over_n / within)
    return np.where(within > tiny, ratio, np.where(between_over_n > tiny, np.inf, np.nan))


def _ess(x: np.ndarray) -> np.ndarray:
    """(q,) effective sample sizes of (q, m, n) by Geyer's initial monotone sequence; NaN where nothing varies."""
    q, m, n = x.shape
    mean = np.mean(x, axis=2)
    # Padded by hand: NumPy's own padding takes longer than its transform.
    padded = np.zeros((q, m, 1 << (2 * n - 1).bit_length()))
    np.subtract(x, mean[:, :, None], out=padded[:, :, :n])
    spectrum = np.fft.rfft(padded, axis=2)
    power = np.mean(np.square(spectrum.real) + np.square(spectrum.imag), axis=1)
    autocovariance = np.fft.irfft(power, padded.shape[2], axis=1)[:, :n] / n
    within = autocovariance[:, :1] * n / (n - 1)
    total = autocovariance[:, :1] + (np.var(mean, axis=1, ddof=1)[:, None] if m > 1 else 0.0)
    varies = total[:, 0] > 1e-20 * np.maximum(np.square(np.max(np.abs(x), axis=(1, 2))), 1e-280)
    rho = 1.0 - (within - autocovariance) / np.where(varies[:, None], total, 1.0)
    rho[:, 0] = 1.0

    n_pairs = max((n - 1) // 2, 1)
    pairs = rho[:, : 2 * n_pairs].reshape(q, n_pairs, 2).sum(axis=2)
    # The sequence ends before the first pair that is not positive, and at the last one at the latest.
    ended = np.hstack([pairs[:, :-1] <= 0, np.ones((q, 1), bool)])
    length = np.argmax(ended, axis=1)
    kept = np.arange(n_pairs) < length[:, None]
    monotone = np.sum(np.where(kept, np.minimum.accumulate(pairs, axis=1), 0.0), axis=1)
    next_even = np.take_along_axis(rho[:, 0 : 2 * n_pairs : 2], length[:, None], axis=1)[:, 0]
    last = np.take_along_axis(pairs, length[:, None], axis=1)[:, 0]
    tau = -1.0 + 2.0 * monotone + np.where(last > 0, next_even, np.maximum(next_even, 0.0))
    size = m * n
    return np.where(varies, size / np.maximum(tau, 1.0 / np.log10(size)), np.nan)


def _quantile(ordered: np.ndarray, p: float) -> np.ndarray:
    """(q,) p-quantiles of sorted rows, linear between order statistics."""
    place = (ordered.shape[1] - 1) * p
    low = int(place)
    a, b = ordered[:, low], ordered[:, min(low + 1, ordered.shape[1] - 1)]
    return a + (place - low) * (b - a)
