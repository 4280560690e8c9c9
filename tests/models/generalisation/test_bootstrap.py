import numpy as np
import pytest

from models.generalisation.bootstrap import cluster_interval, independence_variance, variance

WIDE = (-np.inf, np.inf)


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_the_interval_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=12)
    found = cluster_interval(mean_of(values), 12, 0.0, WIDE, seed=0)
    reach = 2.201 * values.std(ddof=1) / np.sqrt(12)
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose([found.lower, found.upper], values.mean() + np.array([-reach, reach]), atol=0.12 * reach)


def test_intervals_of_a_mean_cover_it_at_their_nominal_rate():
    rng = np.random.default_rng(1)
    for n_splits in (5, 20):
        found = [cluster_interval(mean_of(rng.normal(size=n_splits)), n_splits, 0.0, WIDE, 0) for _ in range(200)]
        assert 176 <= sum(f.lower <= 0 <= f.upper for f in found) <= 199


def test_agreement_of_a_few_splits_is_not_certainty():
    found = cluster_interval(mean_of(np.ones(5)), 5, 0.04, (-1.0, 1.0), 0)
    assert (found.value, found.upper) == (1.0, 1.0)
    assert found.lower == pytest.approx(1 - 2.776445 * 0.2)


def test_a_strong_correlation_has_less_of_a_floor_unless_all_splits_agree():
    alike = 0.9 + 1e-4 * np.arange(10)
    assert variance(alike, 10, 0.04, 1 - 0.9**2) == pytest.approx(0.04 / 4 * 0.19)
    assert variance(np.ones(10), 10, 0.04, 0.0) == 0.04


def test_few_splits_have_a_value_and_no_interval():
    found = cluster_interval(mean_of(np.arange(4.0)), 4, 0.0, WIDE, 0)
    assert found.value == 1.5
    assert np.isnan(found.lower) and np.isnan(found.upper)
    assert found.reason == "an interval needs at least 5 splits, here are 4"


def test_the_variance_under_independence_is_kendalls_for_all_pairs():
    m = 7
    first, second = np.triu_indices(m, 1)
    found = independence_variance(first, second, np.full(first.size, 1 / first.size), m)
    assert found == pytest.approx(2 * (2 * m + 5) / (9 * m * (m - 1)))


def test_the_variance_under_independence_holds_for_any_pairs_and_weights():
    rng = np.random.default_rng(3)
    first, second, weights = np.array([0, 0, 1, 2, 4]), np.array([1, 2, 3, 3, 5]), np.array([0.4, 0.1, 0.2, 0.25, 0.05])
    a, b = rng.normal(size=(2, 40_000, 6))
    sums = (np.sign(a[:, first] - a[:, second]) * np.sign(b[:, first] - b[:, second])) @ weights
    assert sums.var() == pytest.approx(independence_variance(first, second, weights, 6), rel=0.03)
