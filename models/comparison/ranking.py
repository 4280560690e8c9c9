"""All pairs of learners by one score, corrected for how many pairs there are."""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from models.comparison.criteria import criterion, default_rope
from models.comparison.paired import Paired, compare_pair

Outcome = Literal["better", "worse", "equivalent", "not shown"]


class Comparison(NamedTuple):
    """One pair of learners by one score; the numbers are those of `Paired`, for a - b.

    Attributes:
        n_splits: splits on which both learners have a score.
        p_adjusted: `p_value` after Holm's correction for all pairs.
        rope: half-width of the region of practical equivalence that was used.
        outcome: what is shown of a: "better", "worse", "equivalent" or "not shown" (see `compare_all`).
    """

    a: str
    b: str
    metric: str
    difference: float
    standard_error: float
    degrees: float
    p_better: float
    p_equivalent: float
    p_worse: float
    p_value: float
    n_splits: int
    p_adjusted: float
    rope: float
    outcome: Outcome

    @property
    def shown(self) -> bool:
        """Whether one of the two is shown to predict better."""
        return self.outcome in ("better", "worse")

    def swapped(self) -> "Comparison":
        """The same, said of b against a."""
        opposite: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
        return self._replace(
            a=self.b,
            b=self.a,
            difference=-self.difference,
            p_better=self.p_worse,
            p_worse=self.p_better,
            outcome=opposite.get(self.outcome, self.outcome),
        )


def compare_all(
    values: Mapping[str, np.ndarray],
    row_errors: Mapping[tuple[str, str], np.ndarray],
    n_train: int,
    n_test: int,
    metric: str,
    rope: float | None = None,
    level: float = 0.05,
) -> tuple[Comparison, ...]:
    """Every pair of learners, in the order of `values`.

    The outcome of a pair is

    * "equivalent" if the probability of a difference within the rope is at least 1 - level;
    * else "better" or "worse" if the Holm-adjusted p-value is at most `level`. That says which of the two predicts
      better, with at most the probability `level` of any false claim among all pairs; how likely the difference is to
      matter is `p_better` and `p_worse`;
    * else "not shown".

    A difference that is significant and surely too small to matter is thus equivalent. Equivalence is a posterior
    probability and is not corrected.

    Args:
        values: (J, S) of each learner, nan where a run did not finish.
        row_errors: (J, S) for each pair (a, b), a before b in `values`: see `criteria.paired_row_error`.
        n_train: rows that each fit learns from.
        n_test: rows of each test set.
        metric: a criterion's name, which gives direction and default rope.
        rope: in the score's units; None for `criteria.default_rope` of the two learners' means over their common runs.
        level: of the claims together.

    Returns:
        A row for each pair with a common finished run; the correction counts those.

    Raises:
        ValueError: a pair without row errors, a level outside (0, 1), and what `compare_pair` refuses.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, received {level}")
    better_up = criterion(metric).higher_is_better
    found: list[tuple[str, str, float, Paired]] = []
    for a, b in combinations(values, 2):
        if (a, b) not in row_errors:
            raise ValueError(f"row_errors: expected the pair {(a, b)}, received {sorted(row_errors)}")
        width = _rope(values[a], values[b], metric) if rope is None else rope
        paired = compare_pair(values[a], values[b], row_errors[a, b], n_train, n_test, width, better_up)
        if paired is not None:
            found.append((a, b, width, paired))
    adjusted = holm(np.array([paired.p_value for *_, paired in found]))
    return tuple(
        Comparison(a, b, metric, *paired, p, width, _outcome(paired, p, level, better_up))
        for (a, b, width, paired), p in zip(found, adjusted.tolist(), strict=True)
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Step-down adjusted p-values of m tests, max_{j <= i} min(1, (m - j + 1) p_(j)) (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


def _rope(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    return default_rope(metric, np.mean(a[both]), np.mean(b[both])) if both.any() else 0.0


def _outcome(paired: Paired, p_adjusted: float, level: float, higher_is_better: bool) -> Outcome:
    if paired.p_equivalent >= 1 - level:
        return "equivalent"
    if p_adjusted > level:
        return "not shown"
    return "better" if (paired.difference > 0) == higher_is_better else "worse"
