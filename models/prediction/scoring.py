"""Scores of a predictive distribution on one part, each with its standard error over the part's rows.

A row's score is a draw from the population of rows, so a mean over n rows has the standard error sd / sqrt(n) (ddof 1).
Calibration errors are absolute values of means, not means: theirs comes from resampling rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from models.prediction.predictive import Predictive
from models.runs.result import Metric, PartName
from models.spec.settings import Task

BINS = 15
LEVELS = np.arange(1, 20) / 20
REPLICATES = 200

Scored = tuple[float, float]


def score(predictive: Predictive, y: np.ndarray, task: Task, part: PartName, seed: int = 0) -> tuple[Metric, ...]:
    """All scores of one part.

    Always `log_score`: mean log predictive density, nats per row, higher is better. A row of density zero makes it
    -inf, and that is what is reported (with standard error nan). Classes: `accuracy` (ties go to the lower code),
    `brier` (sum over classes of squared error, in [0, 2], mean over rows; Brier 1950), `calibration_error` (top label)
    and `classwise_calibration_error`. Real numbers and counts: `rmse`, `crps`, `calibration_error` (coverage).

    A predictive that is not finite where a score needs it gives that score the value nan; nothing is raised.

    Args:
        predictive: for the part's n rows, in the target's own units.
        y: (n,) codes, counts or real values, in the target's own units.
        task: decides which scores there are.
        part: named in the rows.
        seed: of the row bootstrap behind the standard errors of the calibration errors.

    Raises:
        ValueError: shapes or codes that do not fit each other, or a field that the task needs and is missing.
    """
    y = _checked(predictive, y, task)
    density = np.asarray(predictive.log_density, float)
    scores = {"log_score": mean_with_error(density) if np.all(density < np.inf) else (np.nan, np.nan)}
    if task == "classes":
        p = _probabilities(predictive, y)
        scores["accuracy"] = _if_finite(lambda: mean_with_error(_correct(p, y)), p)
        scores["brier"] = _if_finite(lambda: mean_with_error(np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)), p)
        scores["calibration_error"] = _if_finite(lambda: calibration_error(p, y, seed=seed), p)
        scores["classwise_calibration_error"] = _if_finite(lambda: classwise_calibration_error(p, y, seed=seed), p)
    else:
        mean, samples = _mean_and_samples(predictive, y)
        scores["rmse"] = _if_finite(lambda: root_mean_with_error((mean - y) ** 2), mean)
        scores["crps"] = _if_finite(lambda: mean_with_error(crps(samples, y)), samples)
        scores["calibration_error"] = _if_finite(lambda: coverage_error(samples, y, seed=seed), samples)
    return tuple(Metric(part, name, value, error, len(y)) for name, (value, error) in scores.items())


def pointwise(predictive: Predictive, y: np.ndarray, task: Task, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Row-level scores for paired comparison.

    `row` (n,) int64 as given, `log_score` (n,) in nats, and `correct` (n,) bool for classes, else `squared_error` (n,)
    of the predictive mean, in squared units of the target.

    Raises:
        ValueError: as `score`, or `rows` of another length than y.
    """
    y = _checked(predictive, y, task)
    if np.shape(rows) != y.shape:
        raise ValueError(f"rows: expected shape {y.shape}, received {np.shape(rows)}")
    table = {"row": np.asarray(rows, np.int64), "log_score": np.asarray(predictive.log_density, float)}
    if task == "classes":
        return table | {"correct": _correct(_probabilities(predictive, y), y)}
    return table | {"squared_error": (_mean_and_samples(predictive, y)[0] - y) ** 2}


def mean_with_error(values: np.ndarray) -> Scored:
    """Mean over n values and sd / sqrt(n); the error is nan for one value or where a value is infinite."""
    values = np.asarray(values, float)
    if len(values) < 2 or not np.all(np.isfinite(values)):
        return float(np.mean(values)), np.nan
    unit = magnitude(values)
    values = values / unit
    return float(unit * np.mean(values)), float(unit * (np.std(values, ddof=1) / np.sqrt(len(values))))


def magnitude(values: np.ndarray) -> float:
    """A power of two near the largest |value|: in units of it squares do not overflow, and no digit changes."""
    return float(2.0 ** np.clip(np.frexp(np.nanmax(np.abs(values)))[1], -1000, 1000))


def root_mean_with_error(squares: np.ndarray) -> Scored:
    """Root of the mean and its standard error by the delta method, se(mean) / (2 root); 0 where all squares are 0."""
    mean, error = mean_with_error(squares)
    root = float(np.sqrt(mean))
    return root, (error / (2 * root) if root else error)


class ReliabilityCurve(NamedTuple):
    """Mean top-label confidence and accuracy, (bins,) each, nan in empty bins; `count` rows in each bin."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability_curve(probabilities: np.ndarray, y: np.ndarray, bins: int = BINS) -> ReliabilityCurve:
    """Accuracy against confidence max_k p_k, in equal-width bins ((b - 1) / bins, b / bins], 0 in the first.

    Args:
        probabilities: (n, K).
        y: (n,) class codes.
        bins: how many.
    """
    confidence = probabilities.max(axis=1)
    cell = _bin(confidence, bins)
    count = np.bincount(cell, minlength=bins)
    sums = [np.bincount(cell, weights=v, minlength=bins) for v in (confidence, _correct(probabilities, y))]
    mean = [np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums]
    return ReliabilityCurve(mean[0], mean[1], count)


def calibration_error(probabilities: np.ndarray, y: np.ndarray, bins: int = BINS, seed: int = 0) -> Scored:
    """Top-label expected calibration error, sum_b (n_b / n) |accuracy_b - confidence_b|, and its standard error.

    Bins have equal width and are closed on the right, ((b - 1) / bins, b / bins], so that a confidence on an edge
    belongs to the lower bin; 0 belongs to the first. Naeini, Cooper and Hauskrecht (2015); Guo et al. (2017).

    The estimate is biased upwards: sampling noise in each bin adds to its absolute value, by about
    sum_b sqrt(2 n_b v_b / pi) / n for a calibrated learner whose bins have residual variance v_b. So a learner cannot
    show 0, and only values from equally many rows may be compared. The standard error comes from a seeded bootstrap of
    rows.

    Args:
        probabilities: (n, K).
        y: (n,) class codes.
        bins: how many.
        seed: of the bootstrap.
    """
    confidence = probabilities.max(axis=1)
    residual = confidence - _correct(probabilities, y)
    n = len(y)
    cells = sparse.csr_array((residual, (np.arange(n), _bin(confidence, bins))), shape=(n, bins))
    return _sum_of_absolute_means(cells, n, seed)


def classwise_calibration_error(probabilities: np.ndarray, y: np.ndarray, bins: int = BINS, seed: int = 0) -> Scored:
    """Mean over the K classes of sum_b (n_kb / n) |frequency_kb - mean p_kb|, and its standard error.

    Kull et al. (2019). Bins, bias and bootstrap as in `calibration_error`.
    """
    n, n_classes = probabilities.shape
    residual = probabilities - np.eye(n_classes)[y]
    column = _bin(probabilities, bins) + bins * np.arange(n_classes)
    row = np.repeat(np.arange(n), n_classes)
    cells = sparse.csr_array((residual.ravel(), (row, column.ravel())), shape=(n, bins * n_classes))
    return _sum_of_absolute_means(cells / n_classes, n, seed)


def crps(samples: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of each row, (n,), in the target's units; lower is better.

    The fair form, unbiased for the score of the distribution the m samples come from (Ferro 2014; Zamo and Naveau
    2018): mean_i |x_i - y| - sum_{i<j} |x_i - x_j| / (m (m - 1)), the double sum by sorting in O(m log m) as
    sum_i (2 i - m - 1) x_(i). A single row may come out slightly negative.

    Args:
        samples: (n, m) draws from each row's predictive distribution.
        y: (n,).

    Raises:
        ValueError: fewer than two samples.
    """
    m = samples.shape[1]
    if m < 2:
        raise ValueError(f"the fair CRPS needs at least 2 samples for each row, received {m}")
    weight = 2.0 * np.arange(1, m + 1) - m - 1
    spread = np.sort(samples, axis=1) @ weight / (m * (m - 1))
    return np.mean(np.abs(samples - y[:, None]), axis=1) - spread


def pit_bounds(samples: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, (n,) each, of the cell that holds each row's probability integral transform.

    With m samples the cell is [#{x < y}, #{x <= y} + 1] / (m + 1). If y and the samples are exchangeable, a point
    uniform in it is exactly uniform on (0, 1), for continuous and discrete targets and any m. The empirical form of the
    non-randomised PIT of Czado, Gneiting and Held (2009).
    """
    m = samples.shape[1]
    below = np.sum(samples < y[:, None], axis=1)
    not_above = np.sum(samples <= y[:, None], axis=1)
    return below / (m + 1), (not_above + 1) / (m + 1)


def pit(samples: np.ndarray, y: np.ndarray, seed: int | None = None) -> np.ndarray:
    """Probability integral transform of each row, (n,), for rank plots.

    Without a seed the middle of each row's cell (see `pit_bounds`): right for real targets. For counts the middle is
    not uniform even for a calibrated learner, so pass a seed, which draws a uniform point in each cell.
    """
    lower, upper = pit_bounds(samples, y)
    share = 0.5 if seed is None else np.random.default_rng(seed).random(len(y))
    return lower + share * (upper - lower)


def coverage_error(samples: np.ndarray, y: np.ndarray, seed: int = 0) -> Scored:
    """Mean over the levels c = 0.05, ..., 0.95 of |coverage(c) - c|, and its standard error.

    coverage(c) is the share of rows whose probability integral transform lies in the central interval
    [(1 - c) / 2, (1 + c) / 2]. A row whose cell (see `pit_bounds`) is cut by an end counts with the share of the cell
    inside: the expectation over a randomised transform, without its noise, for real targets and counts alike.

    Biased upwards as all absolute errors are: for a calibrated learner it is about
    mean_c sqrt(2 c (1 - c) / (pi n)) = 0.32 / sqrt(n), so 0.016 at n = 400. The standard error comes from a seeded
    bootstrap of rows.
    """
    lower, upper = (bound[:, None] for bound in pit_bounds(samples, y))
    tail = (1 - LEVELS) / 2
    inside = np.clip(np.minimum(upper, 1 - tail) - np.maximum(lower, tail), 0, None) / (upper - lower)
    return _sum_of_absolute_means((inside - LEVELS) / len(LEVELS), len(y), seed)


def _sum_of_absolute_means(cells: np.ndarray | sparse.csr_array, n: int, seed: int) -> Scored:
    """sum_q |mean_i cells_iq| for (n, q) cells, and its standard deviation over resampled rows."""
    rng = np.random.default_rng(seed)
    by_cell = cells.T

    def statistic(weights: np.ndarray) -> float:
        return float(np.sum(np.abs(by_cell @ weights)) / n)

    replicates = [statistic(np.bincount(rng.integers(n, size=n), minlength=n).astype(float)) for _ in range(REPLICATES)]
    return statistic(np.ones(n)), float(np.std(replicates, ddof=1)) if n > 1 else np.nan


def _bin(values: np.ndarray, bins: int) -> np.ndarray:
    # Comparing with b / bins, not multiplying by bins, puts an edge's own float exactly on the edge.
    return np.searchsorted(np.arange(1, bins) / bins, values, side="left")


def _correct(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.argmax(probabilities, axis=1) == y


def _if_finite(scored: Callable[[], Scored], needed: np.ndarray) -> Scored:
    return scored() if np.all(np.isfinite(needed)) else (np.nan, np.nan)


def _checked(predictive: Predictive, y: np.ndarray, task: Task) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim != 1 or not len(y):
        raise ValueError(f"y: expected shape (n,) with n >= 1, received {y.shape}")
    if np.shape(predictive.log_density) != y.shape:
        raise ValueError(f"log_density: expected shape {y.shape} as y, received {np.shape(predictive.log_density)}")
    if task == "classes":
        if not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"y: expected integer class codes, received {y.dtype}")
    elif not np.all(np.isfinite(y)):
        raise ValueError(f"y: expected finite values, received {np.sum(~np.isfinite(y))} that are not")
    return y


def _probabilities(predictive: Predictive, y: np.ndarray) -> np.ndarray:
    if predictive.probabilities is None:
        raise ValueError("probabilities: expected (n, K) for classes, received None")
    p = np.asarray(predictive.probabilities, float)
    if p.ndim != 2 or len(p) != len(y):
        raise ValueError(f"probabilities: expected shape ({len(y)}, K), received {p.shape}")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"y: expected codes 0 to {p.shape[1] - 1}, received {y.min()} to {y.max()}")
    return p


def _mean_and_samples(predictive: Predictive, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if predictive.mean is None or predictive.samples is None:
        missing = "mean" if predictive.mean is None else "samples"
        raise ValueError(f"{missing}: expected an array for real numbers and counts, received None")
    mean, samples = np.asarray(predictive.mean, float), np.asarray(predictive.samples, float)
    if mean.shape != y.shape:
        raise ValueError(f"mean: expected shape {y.shape}, received {mean.shape}")
    if samples.ndim != 2 or len(samples) != len(y):
        raise ValueError(f"samples: expected shape ({len(y)}, m), received {samples.shape}")
    return mean, samples
