"""In what circumstances does a measure fail? The sign error in the worst environment of a sweep."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from models.generalisation.bootstrap import Interval, cluster_interval, independence_variance, missing
from models.generalisation.sweep_runs import Runs, neighbours, signs

MIN_PAIRS = 12
HALVINGS = 200


class SignError(NamedTuple):
    """How often a measure orders two runs the wrong way: 0 never, 0.5 as a coin does, 1 always.

    Attributes:
        worst: the largest sign error of an environment.
        upper_decile: the 90th percentile over environments; `mean` their mean; nan where `worst` is missing.
        environment: which is the worst, in words; None where it is missing.
        n_environments: how many have the pairs that it takes.
    """

    worst: Interval
    upper_decile: float
    mean: float
    environment: str | None
    n_environments: int


def robust_sign_error(runs: Runs, seed: int = 0, falling: bool = False) -> SignError:
    """The sign error in the worst of all environments: Dziugaite et al. (2020), sections 4 and 5.

    An environment is a pair of settings that differ in one of them. Its sign error is the weighted mean of
    (1 - sign(mu_i - mu_k) sign(g_i - g_k)) / 2 over pairs of runs with these settings on the same split. A pair weighs
    as much as its gaps are told apart by the test rows, 2 Phi(|g_i - g_k| / hypot(e_i, e_k)) - 1 with the gaps'
    standard errors e: how much likelier than not their order is right. (The paper's own weight, by Hoeffding's
    inequality, needs errors between 0 and 1.) The gaps share their test rows, so this errs on the side of too little
    weight. Without standard errors all pairs weigh the same. As in the paper's code, an environment counts if its
    effective number of pairs, (sum w)^2 / sum w^2, is at least `MIN_PAIRS`.

    The largest of noisy errors is biased upwards. The corrected value is cross-fitted: the worst environment is chosen
    on a random half of the splits, and its error is taken on the other half; the mean over `HALVINGS` halvings. That is
    unbiased where all environments are equally bad, and somewhat low where a few are nearly as bad as the worst.

    Interval: `bootstrap.cluster_interval` about the corrected value, with the variance of the error of the environment
    that is the worst on all splits, cut at 0 and 1; the floor is its variance under independence.

    Args:
        runs: of one measure.
        seed: of the bootstrap.
        falling: whether a larger measure is to go with a smaller gap.
    """
    if not runs.settings:
        return no_sign_error("no setting was varied: there are no environments to compare")
    of = {name: neighbours(runs, name) for name in runs.settings}
    shifts = np.cumsum([0, *(pairs.environment.max(initial=-1) + 1 for pairs in of.values())])
    environment = np.concatenate([p.environment + s for p, s in zip(of.values(), shifts[:-1], strict=True)])
    first, second = (np.concatenate([getattr(p, end) for p in of.values()]) for end in ("first", "second"))
    concordance = signs(runs.measure, first, second) * signs(runs.gap, first, second)
    errors = (1 + concordance if falling else 1 - concordance) / 2
    weights = _weights(runs, first, second)

    n = int(shifts[-1])
    total, squares = np.bincount(environment, weights, n), np.bincount(environment, weights**2, n)
    enough = total**2 >= MIN_PAIRS * squares * (1 - 1e-12)
    enough &= squares > 0
    if not enough.any():
        return no_sign_error(
            f"no pair of settings that differ in one has {MIN_PAIRS} pairs of runs: use more seeds or splits"
        )

    place = runs.split[first] * n + environment
    wrong, weight = (
        np.bincount(place, w, runs.n_splits * n).reshape(runs.n_splits, n)[:, enough]
        for w in (weights * errors, weights)
    )
    present = weight.any(axis=1)
    by_environment = wrong.sum(axis=0) / weight.sum(axis=0)
    at = int(np.flatnonzero(enough)[np.argmax(by_environment)])
    mine = environment == at
    floor = independence_variance(first[mine], second[mine], weights[mine] / total[at], runs.gap.size) / 4

    worst = int(np.argmax(by_environment))

    def own_error(multiplicities: np.ndarray) -> np.ndarray:
        below = multiplicities @ weight[present, worst]
        return np.divide(
            multiplicities @ wrong[present, worst], below, out=np.full_like(below, np.nan), where=below > 0
        )

    corrected = _cross_fitted(wrong[present], weight[present], seed)
    return SignError(
        cluster_interval(own_error, int(present.sum()), floor, (0.0, 1.0), seed, corrected=corrected),
        float(np.quantile(by_environment, 0.9)),
        float(by_environment.mean()),
        _in_words(runs, int(first[mine][0]), int(second[mine][0])),
        int(enough.sum()),
    )


def _cross_fitted(wrong: np.ndarray, weight: np.ndarray, seed: int) -> float:
    """Mean error of the environment that is the worst on one half of the splits on the other, of (J, E) sums.

    nan where no half has what it takes.
    """
    rng, n_splits = np.random.default_rng(seed), len(wrong)
    half = np.zeros((HALVINGS, n_splits))
    for row in half:
        row[rng.permutation(n_splits)[: n_splits // 2]] = 1.0
    chosen = np.argmax(_shares(half @ wrong, half @ weight, -1.0), axis=1)
    other = 1.0 - half
    errors = _shares(other @ wrong, other @ weight, np.nan)[np.arange(HALVINGS), chosen]
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else np.nan


def _shares(wrong: np.ndarray, weight: np.ndarray, missing_share: float) -> np.ndarray:
    return np.divide(wrong, weight, out=np.full_like(wrong, missing_share), where=weight > 0)


def _weights(runs: Runs, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if runs.gap_error is None:
        return np.ones(first.size)
    difference = np.abs(runs.gap[first] - runs.gap[second])
    noise = np.hypot(runs.gap_error[first], runs.gap_error[second])
    exact = np.where(difference > 0, np.inf, 0.0)  # what no noise leaves of the ratio
    return 2 * ndtr(np.divide(difference, noise, out=exact, where=noise > 0)) - 1


def _in_words(runs: Runs, i: int, k: int) -> str:
    """The settings of two runs that differ in one."""
    of = {name: (runs.values[name][codes[i]], runs.values[name][codes[k]]) for name, codes in runs.settings.items()}
    varied = [f"{name} {a} against {b}" for name, (a, b) in of.items() if a != b]
    held = [f"{name} {a}" for name, (a, b) in of.items() if a == b]
    return "; ".join(varied) + (f", at {', '.join(held)}" if held else "")


def no_sign_error(reason: str) -> SignError:
    """No value, and why."""
    return SignError(missing(reason), np.nan, np.nan, None, 0)
