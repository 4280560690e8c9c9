"""Chains that are broken or tell different stories. No quantity's R-hat alone can be trusted to notice."""

from collections.abc import Iterable

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import binom, rankdata

from models.diagnostics.convergence import BLOCK, r_hat
from models.diagnostics.draws import PosteriorDraws

MIN_DRAWS = 25
"""Draws per chain below which nothing is judged."""
DISAGREE = 1.1
"""R-hat above which two chains are said to disagree."""
MIN_MOVES = 0.05
"""A chain is stuck when in one of its halves fewer iterations change anything than chance makes of this share."""
MAX_REST = 0.05
"""A chain is stuck, too, where it rests in one place for a larger share of its iterations, for `MIN_DRAWS`, and for
longer than its other moves explain."""
STICKIER = 4.0
"""Odds of a move on average over those in the place where a healthy chain moves least: Metropolis steps into the tails
of a posterior are refused more often from its middle."""
IMPROBABLE = 2e-3
MAX_PEERS = 16
ALIKE = 0.99
"""Correlation of the steps of two chains, at some lag, from which one is a copy of the other; or of a chain's own."""
SAME = 1e-6
"""Interquartile ranges within which two draws are the same; a chain half of whose draws are another's is a copy."""
RESOLVED = 1e4 * float(np.finfo(np.float32).eps)
"""Standard deviation per magnitude from which draws in single precision do not meet by rounding."""


def chain_faults(draws: PosteriorDraws) -> dict[str, int]:
    """How many chains of continuous variables are broken, by the way of being broken.

    chains_not_finite: hold values that are not finite.
    chains_stuck: hardly move in one of their halves (`MIN_MOVES`), or rest for longer than they should (`MAX_REST`).
    chains_repeating: go through the same few draws again and again.
    chains_duplicated: have the draws of another chain, to rounding, late, turned round, or in another order.
    """
    n_chains = len(draws.stats["diverging"])
    parameters = [[values[c] for values in draws.parameters.values()] for c in range(n_chains)]
    finite = [
        all(np.all(np.isfinite(values)) for values in (*parameters[c], draws.predictions[c], draws.log_likelihood[c]))
        for c in range(n_chains)
    ]
    paths = _paths(draws.parameters.values(), np.array(finite))
    repeated = [any(_equal(parameters[c], parameters[other]) for other in range(c)) for c in range(n_chains)]
    if paths is not None:
        repeated = [
            known or any(_copies(paths[c], paths[other]) for other in range(c) if finite[c] and finite[other])
            for c, known in enumerate(repeated)
        ]
    return {
        "chains_not_finite": n_chains - sum(finite),
        "chains_stuck": sum(map(_stuck, parameters)),
        "chains_repeating": 0 if paths is None else sum(_repeats(path) for path in paths),
        "chains_duplicated": sum(repeated),
    }


def disagreeing(draws: np.ndarray) -> np.ndarray:
    """(chain,) of draws (chain, draw, q): whether a chain disagrees with at least half of the others.

    Two chains disagree when the rank-normalised R-hat of the two, not split into halves, exceeds `DISAGREE` for any
    of the q quantities. Of more than `MAX_PEERS` chains each is compared with that many, evenly spaced.
    """
    n_chains, n_draws, _ = draws.shape
    peers = np.unique(np.linspace(0, n_chains - 1, min(n_chains, MAX_PEERS)).astype(int))
    verdicts = np.zeros(n_chains, bool)
    for c in range(n_chains):
        others = draws[peers[peers != c]]
        if len(others):
            # (2, other, draw, q) -> (2, draw, other * q): one column per pair and quantity.
            pairs = np.stack([np.broadcast_to(draws[c], others.shape), others])
            columns = np.moveaxis(pairs, 1, 2).reshape(2, n_draws, -1)
            apart = r_hat(columns, split=False).reshape(len(others), -1) > DISAGREE
            verdicts[c] = np.mean(np.any(apart, axis=1)) >= 0.5
    return verdicts


def bfmi(energy: np.ndarray) -> np.ndarray:
    """(chain,) Bayesian fraction of missing information of energies (chain, draw): mean (E_t - E_{t-1})^2 / var E.

    Betancourt, "A conceptual introduction to Hamiltonian Monte Carlo" (2017), section 6.1. 0 where it cannot be had.
    """
    if energy.shape[1] < MIN_DRAWS:
        return np.zeros(len(energy))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        values = np.mean(np.square(np.diff(energy, axis=1)), axis=1) / np.var(energy, axis=1, ddof=1)
    return np.where(np.isfinite(values), values, 0.0)


def _stuck(variables: list[np.ndarray]) -> bool:
    """Of one chain's variables (draw, ...).

    With m moves in n iterations, of which the longest rest is r, p = m / (n - r) is the chain's own acceptance, and q
    that of odds p / (1 - p) / `STICKIER`. Rests as long as r are improbable where m (1 - q)^(r - 1) < `IMPROBABLE`.
    """
    n = len(variables[0])
    if n < MIN_DRAWS:
        return False
    moved = np.zeros(n - 1, bool)
    for values in variables:
        moved |= np.any((values[1:] != values[:-1]).reshape(n - 1, -1), axis=1)
    rests = np.diff(np.flatnonzero(np.concatenate([[True], moved, [True]])))
    longest, moves, half = int(np.max(rests)), int(np.sum(moved)), n // 2
    if not moves:
        return True
    seldom = binom.cdf(min(np.sum(moved[:half]), np.sum(moved[-half:])), half, MIN_MOVES) < IMPROBABLE
    odds = moves / max(n - longest - moves, 0.5) / STICKIER
    expected = np.log(moves) - (longest - 1) * np.log1p(odds)
    return bool(seldom or (longest > max(MIN_DRAWS, MAX_REST * n) and expected < np.log(IMPROBABLE)))


def _paths(variables: Iterable[np.ndarray], finite: np.ndarray) -> np.ndarray | None:
    """(chain, draw) one number for each draw: a random direction in the variables that are resolved, each by its sd.

    Draws that agree in it agree. None where there are too few draws, or every variable is too coarse to tell.
    """
    rng = np.random.default_rng(0)
    paths: np.ndarray | float = 0.0
    for values in variables:
        flat = values.reshape(*values.shape[:2], -1)
        if flat.shape[1] < MIN_DRAWS or not finite.any():
            return None
        for i in range(0, flat.shape[2], BLOCK):
            block = flat[:, :, i : i + BLOCK].astype(np.float64)
            sd, size = block[finite].std(axis=(0, 1)), np.abs(block[finite]).max(axis=(0, 1))
            resolved = sd > RESOLVED * size
            with np.errstate(invalid="ignore", over="ignore"):
                paths = paths + block[:, :, resolved] @ (rng.normal(size=int(resolved.sum())) / sd[resolved])
    # Quartiles: a leap in a long tail must not make all other draws look the same.
    spread = float(np.subtract(*np.quantile(paths[finite], [0.75, 0.25]))) if isinstance(paths, np.ndarray) else 0.0
    return paths / spread if spread > 0 else None  # pyright: ignore[reportReturnType] - a spread is of an array


def _copies(path: np.ndarray, other: np.ndarray) -> bool:
    """Whether a chain's path is another's: by its steps at some lag, or by the places that both have been to."""
    ordered = np.sort(other)
    at = np.clip(np.searchsorted(ordered, path), 1, len(ordered) - 1)
    nearest = np.minimum(np.abs(path - ordered[at - 1]), np.abs(path - ordered[at]))
    return bool(np.mean(nearest < SAME) > 0.5 or np.max(np.abs(_correlations(path, other))) > ALIKE)


def _repeats(path: np.ndarray) -> bool:
    """Whether a chain that moves comes back to the same places, or the same steps, most of the time."""
    if not np.all(np.isfinite(path)):
        return False
    moves = int(np.sum(path[1:] != path[:-1]))
    n = len(path) - 1
    own = _correlations(path, path)[n : n + n // 2]  # at lags 1, 2, ...
    return bool(moves >= MIN_DRAWS and (np.unique(path).size < moves / 2 or np.max(own) > ALIKE))


def _correlations(path: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(2 n - 1,) rank correlations of the n steps of two paths at lags -(n - 1) to n - 1; 0 where it cannot be judged:
    where less than half overlaps, or hardly anything moves.

    Steps, because the positions of two chains that drift are correlated by chance; ranks, because a single leap
    outweighs all else.
    """
    steps = np.diff(path), np.diff(other)
    if min(np.count_nonzero(each) for each in steps) < MIN_DRAWS:
        return np.zeros(2 * len(path) - 3)
    a, b = (rankdata(each) - (len(each) + 1) / 2 for each in steps)
    n = len(a)
    product = fftconvolve(a, b[::-1])
    squares_a, squares_b = np.cumsum(np.square(a)), np.cumsum(np.square(b))
    lags = np.arange(1 - n, n)
    of_a = squares_a[np.minimum(n - 1, n - 1 + lags)] - np.where(lags > 0, squares_a[np.maximum(lags - 1, 0)], 0.0)
    of_b = squares_b[np.minimum(n - 1, n - 1 - lags)] - np.where(lags < 0, squares_b[np.maximum(-lags - 1, 0)], 0.0)
    scale = np.sqrt(np.maximum(of_a * of_b, 0.0))
    whole = np.sqrt(squares_a[-1] * squares_b[-1])
    judged = (np.abs(lags) <= n // 2) & (scale > 0.1 * whole)
    return np.divide(product, scale, out=np.zeros_like(product), where=judged)


def _equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))
