"""PSIS-LOO against the exact leave-one-out densities of a linear-Gaussian model."""

import numpy as np
import pytest
from scipy.stats import norm

from models.diagnostics.diagnose import diagnose
from models.diagnostics.loo import loo
from models.diagnostics.warnings import warnings
from tests.support.posteriors import healthy


def regression(seed, n=100, p=3, noise=1.0):
    """Design, target, and posterior mean and covariance under N(0, I), known noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    y = x @ rng.normal(size=p) + noise * rng.normal(size=n)

    def posterior(rows):
        covariance = np.linalg.inv(x[rows].T @ x[rows] / noise**2 + np.eye(p))
        return covariance @ x[rows].T @ y[rows] / noise**2, covariance

    def log_density(i, rows):
        mean, covariance = posterior(rows)
        return norm.logpdf(y[i], x[i] @ mean, np.sqrt(noise**2 + x[i] @ covariance @ x[i]))

    everything = np.arange(n)
    exact = np.array([log_density(i, np.delete(everything, i)) for i in everything])
    within = np.array([log_density(i, everything) for i in everything])
    mean, covariance = posterior(everything)
    return x, y, noise, mean, covariance, exact, within - exact


def test_agrees_with_exact_leave_one_out_within_monte_carlo_errors():
    x, y, noise, mean, covariance, exact, p_exact = regression(0)
    errors = []
    for seed in range(8):
        theta = np.random.default_rng(seed).multivariate_normal(mean, covariance, size=(4, 500))
        found = loo(norm.logpdf(y, theta @ x.T, noise))
        errors.append((found.elpd - exact.sum(), found.p - p_exact.sum()))
        assert np.all(found.pareto_k < found.good_k)
    errors = np.array(errors)
    # Eight repetitions: Student's t with 7 degrees of freedom, 99.9 % two-sided.
    assert np.all(np.abs(errors.mean(0)) < 5.41 * errors.std(0, ddof=1) / np.sqrt(8))
    # As many effective parameters as parameters, less what the prior holds.
    assert 2 < found.p < 4
    n = len(y)
    assert found.p_se == pytest.approx(np.sqrt(n * np.var(p_exact, ddof=1)), rel=0.1)
    assert found.elpd_se == pytest.approx(np.sqrt(n * np.var(exact, ddof=1)), rel=0.02)


def test_the_standard_error_of_p_loo_covers_data_sets():
    # Over data sets of one truth p_loo varies; the mean stated error is of the size of that variation.
    found = []
    for seed in range(40):
        *_, p_exact = regression(seed)
        found.append((p_exact.sum(), np.sqrt(100 * np.var(p_exact, ddof=1))))
    sums, stated = np.array(found).T
    assert 0.5 < sums.std(ddof=1) / stated.mean() < 2.0


def test_an_influential_row_shows_in_pareto_k_and_in_words():
    x, y, noise, mean, covariance, *_ = regression(0)
    x, y = np.vstack([x, 4 * np.ones(3)]), np.append(y, 0.0)
    theta = np.random.default_rng(0).multivariate_normal(mean, covariance, size=(4, 500))
    log_likelihood = norm.logpdf(y, theta @ x.T, noise)
    found = loo(log_likelihood)
    assert np.argmax(found.pareto_k) == 100
    assert found.pareto_k[100] > found.good_k
    diagnosis = diagnose(healthy(n_draws=500)._replace(log_likelihood=log_likelihood), test_rows=np.arange(5))
    assert diagnosis.summary["pareto_k_bad_share"] == pytest.approx(1 / 101)
    assert any("PSIS-LOO is unreliable for 1.0% of the training rows" in w for w in warnings(diagnosis.summary))
    worst = next(row for row in diagnosis.rows if row.quantity == "training rows (worst)")
    assert worst.pareto_k == found.pareto_k[100]


def test_what_is_not_finite_or_too_short_has_no_estimate():
    log_likelihood = -np.ones((4, 50, 3))
    log_likelihood[0, 0, 0] = -np.inf
    assert loo(log_likelihood) is None
    assert loo(-np.ones((4, 10, 3))) is None
    assert loo(log_likelihood[1:]) is not None
    diagnosis = diagnose(healthy(n_draws=50)._replace(log_likelihood=log_likelihood), test_rows=np.arange(5))
    assert "p_loo" not in diagnosis.summary
    assert any("PSIS-LOO could not be had" in text for text in warnings(diagnosis.summary))


def test_rows_told_with_certainty_leave_the_others_alone():
    x, y, noise, mean, covariance, *_ = regression(0)
    theta = np.random.default_rng(0).multivariate_normal(mean, covariance, size=(4, 500))
    log_likelihood = norm.logpdf(y, theta @ x.T, noise)
    certain = np.concatenate([log_likelihood, np.zeros((4, 500, 2)), np.full((4, 500, 1), -3.0)], axis=2)
    some, more = loo(log_likelihood), loo(certain)
    assert more.elpd == pytest.approx(some.elpd - 3, abs=1e-3)
    assert more.p == pytest.approx(some.p, abs=1e-3)
    assert more.pareto_k[-3:].tolist() == [0, 0, 0]


def test_a_chain_that_stood_still_shows_in_pareto_k():
    log_likelihood = -np.abs(np.random.default_rng(0).normal(size=(4, 100, 3)))
    log_likelihood[0, :, 1] = -9.0
    found = loo(log_likelihood)
    assert np.isinf(found.pareto_k[1])
    # Plain importance sampling: the harmonic mean of the likelihoods.
    harmonic = -np.log(np.mean(np.exp(-log_likelihood[:, :, 1])))
    only = loo(log_likelihood[:, :, [1, 1]])
    assert only.elpd == pytest.approx(2 * harmonic)
