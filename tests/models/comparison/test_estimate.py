import numpy as np
import pytest
from scipy import stats

from models.comparison.estimate import Estimate, estimate
from tests.support.simulated import errors_of, least_squares_risk, least_squares_scores, random_splits, values_of

NAN = np.nan


def test_value_is_the_mean_over_seeds_then_splits():
    found = estimate(np.array([[1.0, 3.0], [5.0, NAN]]), np.full((2, 2), 0.1), 60, 20)
    assert found is not None
    assert found.value == 3.5
    assert (found.n_splits, found.n_seeds) == (2, 2)


def test_one_split_and_seed_has_the_row_level_error():
    found = estimate(np.array([[0.7]]), np.array([[0.05]]), 60, 20)
    assert found == Estimate(0.7, pytest.approx(0.05), 1, 1, 19.0)


def test_one_split_with_seeds_adds_their_spread_to_the_row_level_error():
    found = estimate(np.array([[1.0, 2.0, 3.0]]), np.full((1, 3), 0.3), 60, 20)
    assert found is not None
    assert found.standard_error == pytest.approx(np.sqrt(0.09 + 1 / 3))


def test_large_spread_over_splits_gives_the_nadeau_bengio_error_and_degrees():
    values = np.array([[1.0], [2.0], [4.0]])
    found = estimate(values, np.full((3, 1), 0.01), 60, 20)
    assert found is not None
    assert found.standard_error == pytest.approx(np.sqrt((1 / 3 + 20 / 60) * np.var(values, ddof=1)))
    assert found.degrees == 2


def test_lucky_agreement_of_splits_does_not_go_below_what_the_rows_imply():
    found = estimate(np.full((4, 1), 0.5), np.full((4, 1), 0.2), 60, 20)
    assert found is not None
    assert found.standard_error == pytest.approx(0.2 * np.sqrt(1 / 4 + 3 / 4 * 20 / 80))
    many = estimate(np.full((10_000, 1), 0.5), np.full((10_000, 1), 0.2), 60, 20)
    assert many is not None
    assert many.standard_error == pytest.approx(0.2 * np.sqrt(20 / 80), rel=1e-3)  # all 80 rows' error: no less


def test_floor_is_the_spread_of_the_mean_over_random_test_sets_of_a_fixed_fit():
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        losses = rng.normal(size=80)  # of one fit, on rows from the population
        means.append(np.mean([rng.choice(losses, 20, replace=False).mean() for _ in range(4)]))
    floor = np.sqrt((1 / 4 + 3 / 4 * 20 / 80) / 20)
    assert np.std(means) == pytest.approx(floor, rel=4 / np.sqrt(2 * 4000))


def test_failed_runs_and_splits_are_left_out():
    values = np.array([[1.0, NAN], [NAN, NAN], [2.0, 2.5]])
    errors = np.where(np.isnan(values), NAN, 0.1)
    assert estimate(values, errors, 60, 20) == estimate(values[[0, 2]], errors[[0, 2]], 60, 20)
    assert estimate(np.full((2, 2), NAN), np.full((2, 2), NAN), 60, 20) is None


def test_infinite_value_is_reported_without_an_error():
    found = estimate(np.array([[-np.inf], [-1.0]]), np.array([[NAN], [0.1]]), 60, 20)
    assert found is not None
    assert found.value == -np.inf
    assert np.isnan(found.standard_error)


def test_interval_of_an_exact_estimate_is_a_point():
    assert Estimate(1.0, 0.0, 3, 1, 2.0).interval() == (1.0, 1.0)


@pytest.mark.parametrize("n_splits", [1, 2, 3, 5, 10])
def test_interval_covers_the_known_risk_of_least_squares(n_splits):
    rng = np.random.default_rng(n_splits)
    covered = 0
    for _ in range(300):
        x = rng.normal(size=(200, 5))
        y = x.sum(axis=1) + rng.normal(size=200)
        rows = least_squares_scores(x, y, random_splits(200, n_splits, 120, 40, rng))[:, None]
        found = estimate(values_of(rows), errors_of(rows), 120, 40)
        assert found is not None
        low, high = found.interval()
        covered += low <= least_squares_risk(120, 5) <= high
    assert covered >= 0.9 * 300


@pytest.mark.parametrize(("n_splits", "training", "level"), [(2, 0, 0.05), (2, 2, 0.052), (2, 10, 0.08), (3, 4, 0.051)])
def test_few_splits_err_as_rarely_as_documented_when_training_varies(n_splits, training, level):
    # Nearly independent splits, whose values vary by 1 through their rows and by `training` times that through fitting.
    rng = np.random.default_rng(n_splits)
    errors = np.ones((n_splits, 1))
    wrong = 0
    for values in rng.normal(0, np.sqrt(1 + training), (4000, n_splits, 1)):
        found = estimate(values, errors, 10**9, 1000)
        assert found is not None
        low, high = found.interval()
        wrong += not low <= 0 <= high
    assert wrong <= stats.binom.ppf(0.999, 4000, level)


def test_interval_that_ignores_the_overlap_does_not_cover():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        x = rng.normal(size=(200, 5))
        y = x.sum(axis=1) + rng.normal(size=200)
        values = least_squares_scores(x, y, random_splits(200, 10, 120, 40, rng)).mean(axis=1)
        reach = stats.t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10)
        covered += abs(values.mean() - least_squares_risk(120, 5)) <= reach
    assert covered < 0.85 * 200


@pytest.mark.parametrize(
    ("values", "errors", "n_train", "n_test", "message"),
    [
        (np.zeros(3), np.zeros(3), 60, 20, r"shape \(splits, seeds\), received \(3,\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), 60, 20, r"received \(0, 2\)"),
        (np.zeros((2, 1)), np.zeros((1, 2)), 60, 20, r"expected shape \(2, 1\) as values, received \(1, 2\)"),
        (np.zeros((1, 1)), np.zeros((1, 1)), 0, 20, "received 0 and 20"),
        (np.zeros((1, 1)), np.zeros((1, 1)), 60, 1, "n_test >= 2, received 60 and 1"),
        (np.zeros((1, 1)), np.full((1, 1), -0.5), 60, 20, "received -0.5"),
        (np.zeros((1, 1)), np.full((1, 1), NAN), 60, 20, "finite values >= 0 for finished runs, received nan"),
    ],
)
def test_impossible_input_is_refused_with_what_was_received(values, errors, n_train, n_test, message):
    with pytest.raises(ValueError, match=message):
        estimate(values, errors, n_train, n_test)


@pytest.mark.parametrize("size", [1e-308, 1e-200, 1e200, 2e307])
def test_scores_of_any_size_have_an_error_in_proportion(size):
    values, errors = np.array([[-1.0, -2.0], [-4.0, -3.0], [-3.5, NAN]]), np.full((3, 2), 0.3)
    one, other = estimate(values, errors, 60, 20), estimate(size * values, size * errors, 60, 20)
    assert one is not None and other is not None
    np.testing.assert_allclose((other.value / size, other.standard_error / size), one[:2], rtol=1e-7)
    assert other.degrees == pytest.approx(one.degrees)
