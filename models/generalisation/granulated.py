"""Does a measure order solutions as their gaps do when one setting at a time is varied? Granulated Kendall's tau."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.generalisation.bootstrap import Interval, cluster_interval, independence_variance, missing
from models.generalisation.sweep_runs import Runs, joint_codes, neighbours, signs


class Granulated(NamedTuple):
    """Tau with one setting varied, for each setting, and the mean over settings."""

    by_setting: Mapping[str, Interval]
    psi: Interval


class _Part(NamedTuple):
    """One setting's pairs with their weights in psi_i, and the sums over groups on each split."""

    first: np.ndarray
    second: np.ndarray
    weights: np.ndarray
    taus: np.ndarray
    groups: np.ndarray


def granulated(runs: Runs, seed: int = 0) -> Granulated:
    """Granulated tau of each varied setting, psi_i, and their mean Psi: Jiang et al. (2020), section 2.2.2.

    psi_i is the mean, over groups of runs on one split that agree in all settings but the i-th, of the group's tau-a.
    Runs that differ by their seed alone are not compared. A measure that only follows one setting has a large psi for
    that one, about 0 for the others, and so a small Psi, however large its tau over all runs.

    Intervals: `bootstrap.cluster_interval`, with the variance under independence as its floor.

    Args:
        runs: of one measure.
        seed: of the bootstrap.

    Returns:
        Each missing, with the reason, where there are no two runs to compare.
    """
    parts = {setting: _part(runs, setting) for setting in runs.settings}
    by_setting = {
        setting: missing(f"no two runs on one split differ in {setting} alone")
        if part is None
        else _interval(runs, [part], seed)
        for setting, part in parts.items()
    }
    usable = [part for part in parts.values() if part is not None]
    if usable:
        return Granulated(by_setting, _interval(runs, usable, seed))
    reason = "no two runs on one split differ in one setting alone" if parts else "no setting was varied"
    return Granulated(by_setting, missing(reason))


def _part(runs: Runs, setting: str) -> _Part | None:
    pairs = neighbours(runs, setting)
    if not pairs.first.size:
        return None
    cell = joint_codes(pairs.cell)
    shares = 1 / np.bincount(cell)[cell]
    concordance = signs(runs.measure, *pairs[:2]) * signs(runs.gap, *pairs[:2])
    split = runs.split[pairs.first]
    taus, groups = (np.bincount(split, w, runs.n_splits) for w in (concordance * shares, shares))
    return _Part(pairs.first, pairs.second, shares / shares.sum(), taus, groups)


def _interval(runs: Runs, parts: list[_Part], seed: int) -> Interval:
    """The mean of the parts' psi_i over the splits where at least one of them has a group."""
    present = np.any([part.groups > 0 for part in parts], axis=0)

    def psi(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a replicate without a group of some setting
            return np.mean([(weights @ p.taus[present]) / (weights @ p.groups[present]) for p in parts], axis=0)

    first, second = (np.concatenate([getattr(p, end) for p in parts]) for end in ("first", "second"))
    floor = independence_variance(first, second, np.concatenate([p.weights for p in parts]) / len(parts), len(runs.gap))
    return cluster_interval(psi, int(present.sum()), floor, (-1.0, 1.0), seed)
