"""A row that decides, against arithmetic on what is left without it."""

import numpy as np
import pytest
from scipy import stats

from models.comparison.influence import decisive_rows, influence_sentence

N, SPLITS = 40, 4


def runs(level, seed=0, spoilt=None, value=-1e6, rows=N):
    """(rows,) log scores on each of four splits, on rows that learners share, and one spoilt row."""
    found = {}
    for split in range(SPLITS):
        scores = level + np.random.default_rng([seed, split]).normal(scale=0.3, size=rows)
        if spoilt is not None:
            scores[spoilt] = value
        found[split, 0] = (np.arange(rows), scores)
    return found


def test_spoilt_row_is_found_and_the_rest_is_the_paired_difference_without_it():
    a, b = runs(-0.5, seed=1, spoilt=7), runs(-0.9, seed=2)
    found = decisive_rows("a", "b", a, b, 120, "log_score")
    assert found.rows == (7,)
    assert found.share > 0.99
    left = [np.delete(a[j, 0][1] - b[j, 0][1], 7) for j in range(SPLITS)]
    means = np.array([each.mean() for each in left])
    assert found.difference == pytest.approx(means.mean())
    corrected = np.sqrt((1 / SPLITS + (N - 1) / 120) * means.var(ddof=1))
    row_error = np.sqrt(np.mean([stats.sem(each) ** 2 for each in left]))
    share = (N - 1) / (120 + N - 1)
    assert found.standard_error == pytest.approx(max(corrected, row_error * np.sqrt(1 / 4 + 3 / 4 * share)))


def test_two_spoilt_rows_are_both_named():
    a, b = runs(-0.5, seed=1), runs(-0.9, seed=2)
    for split in range(SPLITS):
        a[split, 0][1][[3, 9]] = -1e4
    assert set(decisive_rows("a", "b", a, b, 120, "log_score").rows) == {3, 9}


def test_density_of_zero_in_one_row_decides():
    a, b = runs(-0.5, seed=1, spoilt=7, value=-np.inf), runs(-0.9, seed=2)
    found = decisive_rows("a", "b", a, b, 120, "log_score")
    assert found.rows == (7,)
    assert np.isfinite(found.difference)


def test_spoilt_square_decides_the_rmse():
    a, b = ({key: (rows, scores**2) for key, (rows, scores) in runs(-1.0, seed).items()} for seed in (1, 2))
    for split in range(SPLITS):
        a[split, 0][1][5] = 1e8
    found = decisive_rows("a", "b", a, b, 120, "rmse")
    assert found.rows == (5,)
    expected = np.mean(
        [np.sqrt(np.delete(a[j, 0][1], 5).mean()) - np.sqrt(np.delete(b[j, 0][1], 5).mean()) for j in range(SPLITS)]
    )
    assert found.difference == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_long_tails_decide_nothing(seed):
    """Differences with the tails of an exponential distribution, or of a t with three degrees of freedom."""
    rng = np.random.default_rng(seed)
    for tails in (rng.exponential(size=(SPLITS, N)), rng.standard_t(3, size=(SPLITS, N))):
        a = {(j, 0): (np.arange(N), tails[j]) for j in range(SPLITS)}
        b = {(j, 0): (np.arange(N), np.zeros(N)) for j in range(SPLITS)}
        assert decisive_rows("a", "b", a, b, 120, "log_score") is None


def test_difference_too_small_to_matter_and_few_rows_and_nothing_in_common_decide_nothing():
    a, b = runs(-0.5, seed=1), runs(-0.5, seed=1, spoilt=7, value=-0.51)
    assert decisive_rows("a", "b", a, b, 120, "log_score") is None
    few = runs(-0.5, seed=1, spoilt=2, rows=10), runs(-0.9, seed=2, rows=10)
    assert decisive_rows("a", "b", *few, 120, "log_score") is None
    assert decisive_rows("a", "b", {(0, 0): a[0, 0]}, {(1, 0): b[1, 0]}, 120, "log_score") is None


def test_sentence_numbers_rows_as_people_do():
    found = decisive_rows("a", "b", runs(-0.5, seed=1, spoilt=7), runs(-0.9, seed=2), 120, "log_score")
    text = influence_sentence(found, (-25000.0, 9000.0), "log score", {}, 2)
    assert text.startswith(
        "row 8 makes nearly all of the difference of a from b in log score (-25,000 ± 9,000; without this row 0.39"
    )
    assert text.endswith(", and of the differences of 2 other pairs")
