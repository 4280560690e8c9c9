"""Does a measure order solutions as their generalisation gaps do? Kendall's tau over repeated splits."""

from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from models.digits import format_signed
from models.generalisation.bootstrap import MIN_SPLITS, resample, variance

Larger = Literal["sharper", "flatter", "more complex", "simpler", "neither"]


class RankCorrelation(NamedTuple):
    """Kendall's tau within splits, with a 95 % interval.

    `lower` and `upper` are nan where there are fewer than `MIN_SPLITS` splits with two different runs; `tau` is nan too
    where there is none, or where the measure or the gap is the same for all runs of each split. `n_splits` counts such
    splits, `n_runs` their runs.
    """

    tau: float
    lower: float
    upper: float
    n_runs: int
    n_splits: int


def rank_correlation(
    measure: np.ndarray,
    gap: np.ndarray,
    split: np.ndarray,
    seed: int = 0,
) -> RankCorrelation:
    """Kendall's tau between a measure and the generalisation gap, over pairs of runs on the same split.

    tau = sum over such pairs of sign(measure_i - measure_k) sign(gap_i - gap_k), divided by their number: the tau-a of
    Kendall (1938), stratified. Runs on different splits are not compared, for their gaps differ by the luck of the
    rows.

    Interval: tau -+ t_{J-1} u, with u^2 from a bootstrap of whole splits (`bootstrap.variance`). The variance under
    independence is 2 (2 m + 5) / (9 m (m - 1)) for m runs on a split, and its floor takes 1 - tau^2 of that. That
    splits overlap needs no allowance where gaps are compared: see `bootstrap`. The runs' learners are taken as given:
    the answer is about these learners on this dataset.

    Args:
        measure: (n,), nan where it did not converge; such runs are left out.
        gap: (n,) test minus train loss, nan likewise.
        split: (n,) labels of the runs' splits.
        seed: of the bootstrap.

    Raises:
        ValueError: columns of different lengths.
    """
    measure, gap, split = np.asarray(measure, float), np.asarray(gap, float), np.asarray(split)
    if not measure.ndim == 1 or not measure.shape == gap.shape == split.shape:
        raise ValueError(f"expected three columns of one length, received {measure.shape}, {gap.shape}, {split.shape}")
    usable = np.isfinite(measure) & np.isfinite(gap)
    groups = [usable & (split == label) for label in np.unique(split[usable])]
    groups = [g for g in groups if g.sum() > 1]
    if not groups:
        return RankCorrelation(np.nan, np.nan, np.nan, 0, 0)

    runs = np.array([g.sum() for g in groups])
    pairs = runs * (runs - 1) / 2
    concordance = np.array([_concordance(measure[g], gap[g]) for g in groups])
    tau, n_splits, n_runs = float(concordance.sum() / pairs.sum()), len(groups), int(runs.sum())
    if any(all(np.ptp(column[g]) == 0 for g in groups) for column in (measure, gap)):
        return RankCorrelation(np.nan, np.nan, np.nan, n_runs, n_splits)
    if n_splits < MIN_SPLITS:
        return RankCorrelation(tau, np.nan, np.nan, n_runs, n_splits)

    weights = resample(n_splits, seed)
    independent = np.sum(pairs**2 * 2 * (2 * runs + 5) / (9 * runs * (runs - 1))) / pairs.sum() ** 2
    of_tau = variance(weights @ concordance / (weights @ pairs), n_splits, independent, 1 - tau**2)
    reach = float(stats.t.ppf(0.975, n_splits - 1) * np.sqrt(of_tau))
    return RankCorrelation(tau, max(-1.0, tau - reach), min(1.0, tau + reach), n_runs, n_splits)


def _concordance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(np.sign(a[:, None] - a) * np.sign(b[:, None] - b)) / 2)


def flatness_sentence(
    measure: str, found: RankCorrelation, larger: Larger = "sharper", target: str = "the generalisation gap"
) -> str:
    """Whether the measure tells here which solution generalises, in one sentence.

    Args:
        measure: its name in words, such as "the top Hessian eigenvalue".
        found: its rank correlation with the target.
        larger: what a larger value stands for.
        target: the loss or gap that it is held against, in words.
    """
    if np.isnan(found.tau) and found.n_splits:
        return (
            f"Whether {measure} tells which solution generalises cannot be said: it or {target} is the same for all "
            "runs of each split."
        )
    if np.isnan(found.lower):
        return (
            f"Whether {measure} tells which solution generalises cannot be said from {_count(found.n_runs, 'run')} on "
            f"{_count(found.n_splits, 'split')}: use at least {MIN_SPLITS} splits with two runs or more on each."
        )
    evidence = (
        f"Kendall's tau with {target} {format_signed(found.tau)}, 95 % interval {format_signed(found.lower)} to "
        f"{format_signed(found.upper)}, {found.n_runs} runs on {found.n_splits} splits"
    )
    solutions = "Solutions of larger value" if larger == "neither" else f"{larger.capitalize()} solutions"
    if found.lower > 0:
        return f"{solutions} generalise worse here, by {measure} ({evidence})."
    if found.upper < 0:
        return f"{solutions} generalise better here, by {measure} ({evidence})."
    return f"Whether {measure} tells here which solution generalises cannot be said ({evidence})."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
