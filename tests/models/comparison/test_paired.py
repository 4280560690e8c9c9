import numpy as np
import pytest
from scipy import stats

from models.comparison.paired import compare_pair
from tests.support.simulated import errors_of, random_feature_scores, random_splits, smooth_task, values_of

NAN = np.nan
LEVEL = 0.05


def most_alarms(n):
    """What a test that holds its level exceeds in one of a thousand simulations of n data sets."""
    return stats.binom.ppf(0.999, n, LEVEL)


def test_numbers_are_those_of_the_corrected_resampled_t_test():
    a, b = np.array([[0.9], [0.8], [0.95], [0.85]]), np.array([[0.8], [0.82], [0.85], [0.75]])
    found = compare_pair(a, b, np.zeros((4, 1)), 60, 20, 0.01)
    d = (a - b).ravel()
    error = np.sqrt((1 / 4 + 1 / 3) * d.var(ddof=1))
    assert found.difference == pytest.approx(d.mean())
    assert found.standard_error == pytest.approx(error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(d.mean() / error, 3))


def test_probabilities_are_those_of_draws_from_the_posterior():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.02, 0.03, (6, 1)), np.zeros((6, 1))
    found = compare_pair(a, b, np.full((6, 1), 0.001), 60, 20, 0.01)
    draws = found.difference + found.standard_error * rng.standard_t(found.degrees, 400_000)
    assert found.p_better == pytest.approx(np.mean(draws > 0.01), abs=0.004)
    assert found.p_worse == pytest.approx(np.mean(draws < -0.01), abs=0.004)
    assert found.p_better + found.p_equivalent + found.p_worse == pytest.approx(1)


def test_swapping_the_learners_mirrors_the_answer():
    rng = np.random.default_rng(1)
    a, b, errors = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), np.full((3, 2), 0.1)
    one, other = compare_pair(a, b, errors, 60, 20, 0.1), compare_pair(b, a, errors, 60, 20, 0.1)
    assert other.difference == -one.difference
    assert (other.p_better, other.p_worse) == pytest.approx((one.p_worse, one.p_better))
    assert other.p_value == one.p_value


def test_lower_error_is_better_where_lower_is_better():
    a, b = np.array([[1.0], [1.1], [1.0]]), np.array([[2.0], [2.1], [2.0]])
    found = compare_pair(a, b, np.full((3, 1), 0.01), 60, 20, 0.01, higher_is_better=False)
    assert found.difference == pytest.approx(-1)
    assert found.p_better > 0.99


def test_identical_learners_are_equivalent_for_certain():
    values = np.random.default_rng(2).normal(size=(3, 2))
    found = compare_pair(values, values, np.zeros((3, 2)), 60, 20, 0.01)
    assert (found.difference, found.standard_error, found.p_equivalent, found.p_value) == (0, 0, 1, 1)


def test_constant_difference_without_spread_over_rows_is_exact():
    found = compare_pair(np.full((3, 1), 0.5), np.zeros((3, 1)), np.zeros((3, 1)), 60, 20, 0.01)
    assert (found.difference, found.standard_error, found.p_better, found.p_value) == (0.5, 0, 1, 0)


def test_constant_difference_over_splits_keeps_the_doubt_of_the_rows():
    found = compare_pair(np.full((3, 1), 0.5), np.zeros((3, 1)), np.full((3, 1), 0.4), 60, 20, 0.01)
    assert found.standard_error == pytest.approx(0.4 * np.sqrt(1 / 3 + 2 / 3 / 4))
    assert found.p_value > 0.05


def test_one_split_uses_the_error_of_the_paired_rows():
    found = compare_pair(np.array([[0.5]]), np.array([[0.4]]), np.array([[0.05]]), 600, 200, 0.01)
    assert found.standard_error == pytest.approx(0.05)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(2), abs=0.002)


def test_only_runs_that_both_finished_are_paired():
    a, b = np.array([[1.0, NAN], [2.0, 3.0]]), np.array([[0.5, 9.0], [NAN, 1.0]])
    found = compare_pair(a, b, np.full((2, 2), 0.1), 60, 20, 0.01)
    assert found.difference == pytest.approx((0.5 + 2.0) / 2)
    assert compare_pair(a, np.full((2, 2), NAN), np.full((2, 2), 0.1), 60, 20, 0.01) is None


def test_zero_density_loses_for_certain_and_two_of_them_cannot_be_compared():
    good, bad = np.array([[-1.0], [-1.0]]), np.array([[-np.inf], [-1.0]])
    found = compare_pair(good, bad, np.array([[NAN], [0.1]]), 60, 20, 0.01)
    assert (found.difference, found.p_better, found.p_value) == (np.inf, 1, 0)
    assert compare_pair(bad, bad, np.array([[NAN], [0.1]]), 60, 20, 0.01) is None
    assert compare_pair(bad, bad[::-1], np.array([[NAN], [NAN]]), 60, 20, 0.01) is None


@pytest.mark.parametrize(("n_splits", "n_seeds"), [(2, 1), (2, 2), (3, 1), (5, 2), (10, 1)])
def test_the_same_learner_under_two_names_raises_no_more_alarms_than_the_level(n_splits, n_seeds):
    alarms = 0
    for dataset in range(50):
        rng = np.random.default_rng([dataset, n_splits, n_seeds])
        x, y = smooth_task(120, rng)
        splits = random_splits(120, n_splits, 72, 24, rng)
        a, b = (random_feature_scores(x, y, splits, n_seeds, 8, rng) for _ in range(2))
        alarms += compare_pair(values_of(a), values_of(b), errors_of(a - b), 72, 24, 0.01).p_value <= LEVEL
    assert alarms <= LEVEL * 50


@pytest.mark.parametrize("n_splits", [2, 3, 5, 10])
def test_equally_good_learners_that_differ_raise_no_more_alarms_than_the_level(n_splits):
    # One sees the first input only, the other the second: equal risk by symmetry, but any one data set favours one of
    # them on all its overlapping splits, which is what the naive t test takes for evidence.
    alarms = naive = 0
    n = 400
    for dataset in range(n):
        rng = np.random.default_rng([dataset, n_splits])
        x = rng.normal(size=(100, 2))
        y = x.sum(axis=1) + 0.3 * rng.normal(size=100)
        splits = random_splits(100, n_splits, 60, 20, rng)
        a, b = (
            np.stack([-((y[test] - x[test, k] * _slope(x[train, k], y[train])) ** 2) for train, test in splits])[
                :, None
            ]
            for k in range(2)
        )
        found = compare_pair(values_of(a), values_of(b), errors_of(a - b), 60, 20, 0.01)
        alarms += found.p_value <= LEVEL
        naive += stats.ttest_1samp(values_of(a - b).ravel(), 0).pvalue <= LEVEL
    assert alarms <= most_alarms(n)
    if n_splits == 10:
        assert naive > 2 * LEVEL * n


def test_a_better_learner_is_shown_to_be_better():
    shown = 0
    for dataset in range(30):
        rng = np.random.default_rng(dataset)
        x, y = smooth_task(300, rng)
        splits = random_splits(300, 5, 180, 60, rng)
        a = random_feature_scores(x, y, splits, 1, 40, rng)
        b = random_feature_scores(rng.normal(size=x.shape), y, splits, 1, 40, rng)  # unrelated inputs
        found = compare_pair(values_of(a), values_of(b), errors_of(a - b), 180, 60, 0.01)
        shown += found.p_value <= LEVEL and found.p_better > 0.95
    assert shown >= 25


def _slope(x, y):
    return x @ y / (x @ x)


def test_impossible_input_is_refused_with_what_was_received():
    values = np.zeros((2, 1))
    with pytest.raises(ValueError, match=r"one shape, received \(2, 1\) and \(3, 1\)"):
        compare_pair(values, np.zeros((3, 1)), values, 60, 20, 0.01)
    with pytest.raises(ValueError, match="rope: expected a number >= 0, received -1"):
        compare_pair(values, values, values, 60, 20, -1.0)
    with pytest.raises(ValueError, match=r"row_errors: expected shape \(2, 1\)"):
        compare_pair(values, values, np.zeros((2, 2)), 60, 20, 0.01)
