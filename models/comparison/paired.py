"""Two learners on the same test rows, splits and seeds: how they differ, and how sure that is."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from models.comparison.estimate import estimate


class Paired(NamedTuple):
    """The difference a - b of two learners' scores.

    Attributes:
        difference: a - b, in the score's units, whichever way is better.
        standard_error: over rows x splits x seeds; nan where the difference is infinite.
        degrees: of freedom of its t distribution.
        p_better: probability that a predicts better than b by more than the rope.
        p_equivalent: probability that they differ by at most the rope.
        p_worse: probability that a predicts worse than b by more than the rope.
        p_value: two-sided, of no difference.
        n_splits: splits on which both learners have a score; all others have no say.
    """

    difference: float
    standard_error: float
    degrees: float
    p_better: float
    p_equivalent: float
    p_worse: float
    p_value: float
    n_splits: int


def compare_pair(
    a_values: np.ndarray,
    b_values: np.ndarray,
    paired_row_errors: np.ndarray,
    n_train: int,
    n_test: int,
    rope: float,
    higher_is_better: bool = True,
) -> Paired | None:
    """The corrected resampled t test, and its Bayesian twin, the correlated t test.

    The differences are those of runs with the same split and seed where both finished. Their mean d, standard error u
    and degrees k are those of `estimate`, with the paired rows' error as the floor. The p-value is that of t = d / u
    (Nadeau and Bengio 2003). The posterior of the true difference is d + u t_k (Benavoli, Corani, Demsar and Zaffalon
    2017, correlation n_test / (n_test + n_train)), cut at -rope and rope.

    With one split, u is the error over the test rows (and seeds) alone: the answer is about these fits, not about fits
    to other rows. Differences that are all the same without any spread over rows are exact: their u is 0.

    Where one learner's mean is infinitely worse (a zero predictive density), that is certain. Where both are, there is
    nothing to compare.

    Args:
        a_values: (J, S) of the first learner, nan where a run did not finish.
        b_values: (J, S) of the second.
        paired_row_errors: (J, S) standard errors of a - b over the test rows (see `criteria.paired_row_error`).
        n_train: rows that each fit learns from.
        n_test: rows of each test set.
        rope: half-width of the region of practical equivalence, in the score's units.
        higher_is_better: the score's direction.

    Returns:
        None where no pair of runs finished or both scores are infinite.

    Raises:
        ValueError: shapes that differ, a negative rope, and what `estimate` refuses.
    """
    a_values, b_values = np.asarray(a_values, float), np.asarray(b_values, float)
    if a_values.shape != b_values.shape:
        raise ValueError(f"expected values of one shape, received {a_values.shape} and {b_values.shape}")
    if not rope >= 0:
        raise ValueError(f"rope: expected a number >= 0, received {rope}")
    with np.errstate(invalid="ignore"):
        differences = a_values - b_values
    finished = ~np.isnan(a_values) & ~np.isnan(b_values)
    if np.isnan(differences[finished]).any():
        return None
    found = estimate(differences, paired_row_errors, n_train, n_test)
    if found is None or np.isnan(found.value):
        return None
    d, u = found.value, found.standard_error
    above, below, p_value = (d > rope, d < -rope, d == 0)
    if np.isfinite(d) and u > 0:
        posterior = stats.t(found.degrees, loc=d, scale=u)
        above, below = posterior.sf(rope), posterior.cdf(-rope)
        p_value = 2 * stats.t.sf(abs(d) / u, found.degrees)
    better, worse = (above, below) if higher_is_better else (below, above)
    within = max(0.0, 1.0 - float(above) - float(below))
    return Paired(d, u, found.degrees, float(better), within, float(worse), float(p_value), found.n_splits)
