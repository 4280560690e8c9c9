"""Chains that are broken or tell different stories. No quantity's R-hat alone can be trusted to notice."""

import numpy as np

from models.convergence import r_hat
from models.draws import PosteriorDraws

MIN_DRAWS = 25
"""Draws per chain below which nothing is judged."""
DISAGREE = 1.1
"""R-hat above which two chains are said to disagree."""
MIN_MOVES = 0.05
"""A chain is stuck when in one of its halves a smaller share of iterations than this changes anything."""
MAX_PEERS = 16


def chain_faults(draws: PosteriorDraws) -> dict[str, int]:
    """How many chains hold values that are not finite, are stuck (see `MIN_MOVES`), or repeat another chain's draws."""
    n_chains = len(draws.stats["diverging"])
    parameters = [[values[c] for values in draws.parameters.values()] for c in range(n_chains)]
    not_finite = [
        not all(
            np.all(np.isfinite(values)) for values in (*parameters[c], draws.predictions[c], draws.log_likelihood[c])
        )
        for c in range(n_chains)
    ]
    duplicated = [any(_equal(parameters[c], parameters[other]) for other in range(c)) for c in range(n_chains)]
    return {
        "chains_not_finite": sum(not_finite),
        "chains_stuck": sum(map(_stuck, parameters)),
        "chains_duplicated": sum(duplicated),
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
    """Of one chain's variables (draw, ...)."""
    n = len(variables[0])
    if n < MIN_DRAWS:
        return False
    moved = np.zeros(n - 1, bool)
    for values in variables:
        moved |= np.any((values[1:] != values[:-1]).reshape(n - 1, -1), axis=1)
    return bool(min(np.mean(moved[: n // 2]), np.mean(moved[-(n // 2) :])) < MIN_MOVES)


def _equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))
