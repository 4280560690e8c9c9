"""The scores that learners are compared by: which way is better, and how large a difference matters."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.prediction.scoring import mean_with_error, root_mean_with_error


class Criterion(NamedTuple):
    """How a score is compared.

    Attributes:
        name: the metric's name.
        rows: the pointwise column that it comes from.
        higher_is_better: its direction.
        rope: half-width of the region of practical equivalence: a smaller difference does not matter.
        relative: whether `rope` is a share of the better learner's score rather than in the score's units.
        unit: words to put after a difference.
    """

    name: str
    rows: str
    higher_is_better: bool
    rope: float
    relative: bool
    unit: str


CRITERIA: Mapping[str, Criterion] = {
    "log_score": Criterion("log_score", "log_score", True, 0.01, False, "nats per row"),
    "accuracy": Criterion("accuracy", "correct", True, 0.01, False, "in accuracy"),
    "rmse": Criterion("rmse", "squared_error", False, 0.01, True, "in RMSE"),
}


def criterion(metric: str) -> Criterion:
    """The criterion with this name.

    Raises:
        ValueError: a metric that has no row-level scores to pair.
    """
    if metric not in CRITERIA:
        raise ValueError(f"metric: expected one of {', '.join(CRITERIA)}, received {metric!r}")
    return CRITERIA[metric]


def default_rope(metric: str, a: float, b: float) -> float:
    """Half-width of the region of practical equivalence between two learners that score `a` and `b`.

    0.01 nats per row for the log score, 0.01 for accuracy, 1 % of the smaller of the two for the RMSE.
    """
    chosen = criterion(metric)
    if not chosen.relative:
        return chosen.rope
    return chosen.rope * (max(a, b) if chosen.higher_is_better else min(a, b))


def paired_row_error(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    """Standard error over rows of one run's score minus another's on the same test rows.

    Of a mean: sd(a_i - b_i) / sqrt(n). Of the RMSE by the delta method: with r the two roots,
    sd(a_i / (2 r_a) - b_i / (2 r_b)) / sqrt(n). nan where a row's score is infinite or there is one row.

    Args:
        a: (n,) pointwise column `criterion(metric).rows` of the first run.
        b: (n,) the same of the second, in the same order of rows.
        metric: a criterion's name.

    Raises:
        ValueError: columns of different length, or an unknown metric.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected two columns over the same rows, received shapes {a.shape} and {b.shape}")
    if not np.all(np.isfinite(a) & np.isfinite(b)):
        return np.nan
    if criterion(metric).name == "rmse":
        a, b = _linearised_root(a), _linearised_root(b)
    return mean_with_error(a - b)[1]


def _linearised_root(squares: np.ndarray) -> np.ndarray:
    root, _ = root_mean_with_error(squares)
    return squares / (2 * root) if root else squares
