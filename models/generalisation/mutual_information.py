"""Does a measure tell more of the gap than the settings do? The conditional mutual information of their signs."""

from itertools import combinations
from typing import Literal

import numpy as np
from scipy.special import xlogy

from models.generalisation.bootstrap import Interval, cluster_interval, independence_variance, missing
from models.generalisation.sweep_runs import Runs, joint_codes, pairs_within, signs

# How empty cells of a table are taken where the bias of plug-in information is taken off.
Empty = Literal["as they are", "possible", "not"]
MAX_CONDITIONED = 2
_TAKEN: tuple[Empty, Empty] = ("possible", "not")
_AT_ONCE = 100_000  # values of U_S times replicates
_NOTHING_LEFT = 1e-9  # nats; what rounding leaves of an entropy that is 0


def conditional_mutual_information(runs: Runs, seed: int = 0) -> Interval:
    """The measure K of Jiang et al. (2020), section 2.2.3, from 0, where some settings explain all it tells, to 1.

    Over ordered pairs of runs on one split, V_mu and V_g are the signs of the differences of the measure and of the
    gap, and U_S the pair's values of the settings in S:

        K = min over |S| <= 2 of I(V_mu; V_g | U_S) / H(V_g | U_S),

    with counts pooled over splits as probabilities (plug-in). Ties are a third sign: a measure that orders no pair has
    K = 0. A set S that leaves no uncertainty in V_g is left out, for it leaves nothing to tell. K does not know the
    direction: a measure that orders all pairs the wrong way has K = 1.

    Bias: plug-in information is too large by about (cells - rows - columns + 1) / (2 n) and plug-in entropy too small
    by (columns - 1) / (2 n), for each value of U_S with n pairs in so many rows, columns and cells of its table that
    are not impossible (Miller 1955). Whether an empty cell is impossible is not known. K_a takes none to be, which is
    right where the measure tells little and far too low where it tells nearly all; K_b takes all empty ones to be. The
    corrected value goes from the one to the other as K does: c = K_a + c (K_b - K_a).

    Where a measure tells nearly all and few pairs are open, too few of those that it orders wrongly are seen, and
    intervals cover less often (docs/findings.md).

    Interval: `bootstrap.cluster_interval` from K_a down and from K_b up, cut at 0 and 1. Its floor is the variance of
    I / H without conditions under independence, v^2 / (2 log(2)^2) for a tau of variance v.

    Time and memory grow with the pairs of runs on one split.
    """
    if not runs.gap.size:
        return missing("no two runs share a split")
    if not runs.settings:
        return missing("no setting was varied: there is nothing to condition on")
    tables = [_tables(runs, names) for k in range(MAX_CONDITIONED + 1) for names in combinations(runs.settings, k)]
    value = _least_share(tables, np.ones((1, runs.n_splits)))
    if np.isnan(value[0]):
        return missing("the settings leave no uncertainty in which of two gaps is the larger")
    first, second = pairs_within(runs.split)
    variance = independence_variance(first, second, np.full(first.size, 1 / first.size), runs.gap.size)
    floor = variance**2 / (2 * np.log(2) ** 2)
    low, high = (float(_least_share(tables, np.ones((1, runs.n_splits)), empty)[0]) for empty in _TAKEN)
    corrected = low / (1 - high + low) if low > 0 else 0.0
    return cluster_interval(
        lambda w: _least_share(tables, w),
        runs.n_splits,
        floor,
        (0.0, 1.0),
        seed,
        corrected=corrected,
        between=(low, high),
    )


def _tables(runs: Runs, conditioned: tuple[str, ...]) -> np.ndarray:
    """(J, U, 3, 3) how many pairs have V_mu and V_g = -1, 0, 1 on each split, for each value of U_S that occurs.

    A pair and its reverse tell the same, so each is counted once, the smaller value of S first; between equal values
    it is counted by half in both orders.
    """
    zero = np.zeros_like(runs.split)
    code = joint_codes(zero, *(runs.settings[name] for name in conditioned))
    n_codes = int(code.max()) + 1
    found = []
    for j in range(runs.n_splits):
        of = np.flatnonzero(runs.split == j)
        i, k = np.triu_indices(of.size, 1)
        first, second = of[i], of[k]
        first, second = np.where(code[first] <= code[second], (first, second), (second, first))
        kind = 3 * signs(runs.measure, first, second) + signs(runs.gap, first, second) + 4
        found.append(np.unique((code[first] * n_codes + code[second]) * 9 + kind.astype(np.int64), return_counts=True))
    cells = np.unique(np.concatenate([ids // 9 for ids, _ in found]))
    tables = np.zeros((runs.n_splits, cells.size, 9))
    for table, (ids, counts) in zip(tables, found, strict=True):
        table[np.searchsorted(cells, ids // 9), ids % 9] = counts
    tables = tables.reshape(runs.n_splits, cells.size, 3, 3)
    equal = cells // n_codes == cells % n_codes
    tables[:, equal] = (tables[:, equal] + tables[:, equal, ::-1, ::-1]) / 2
    return tables


def _least_share(tables: list[np.ndarray], weights: np.ndarray, empty: Empty = "as they are") -> np.ndarray:
    """(R,) K for each row of the (R, J) multiplicities of splits; nan where no set leaves any uncertainty."""
    least = np.full(len(weights), np.inf)
    for table in tables:
        blocks = np.array_split(weights, -(-len(weights) * table.shape[1] // _AT_ONCE))
        shares = np.concatenate([_shares(np.tensordot(block, table, 1), empty) for block in blocks])
        least = np.fmin(least, shares)
    return np.where(np.isfinite(least), least, np.nan)


def _shares(counts: np.ndarray, empty: Empty) -> np.ndarray:
    """(R,) I(V_mu; V_g | U) / H(V_g | U) of (R, U, 3, 3) counts; nan where H is 0."""
    n = counts.sum(axis=(1, 2, 3))
    of_u, of_mu, of_g, of_all = (_spread(counts, axes) for axes in ((2, 3), (3,), (2,), ()))
    entropy, information = (of_u - of_g) / n, (of_all + of_u - of_mu - of_g) / n
    open_ones = entropy > _NOTHING_LEFT
    if empty != "as they are":
        there = counts > 0
        rows, columns, cells = (there.any(3).sum(2), there.any(2).sum(2), there.sum((2, 3)))
        cells = rows * columns if empty == "possible" else cells
        seen = cells > 0
        entropy = entropy + np.sum(columns - 1, axis=1, where=seen) / (2 * n)
        information = np.maximum(information - np.sum(cells - rows - columns + 1, axis=1, where=seen) / (2 * n), 0.0)
    return np.divide(information, entropy, out=np.full_like(n, np.nan), where=open_ones)


def _spread(counts: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(R,) sum of c log c over the counts c that are left when `axes` are summed out."""
    left = counts.sum(axis=axes).reshape(len(counts), -1)
    return np.sum(xlogy(left, left), axis=1)
