"""The exact posterior of a linear regression with learned noise, by conjugacy and a quadrature over log sigma."""

import numpy as np
from scipy.special import logsumexp

from models.diagnostics.convergence import mcse_mean


def exact_posterior(x, y, scales):
    """Mean (p + 1,) and covariance (p + 1, p + 1) of (beta, log sigma).

    y ~ N(x beta, sigma^2), beta ~ N(0, diag scales^2), log sigma ~ N(0, 1). Given sigma, beta is Gaussian and the
    marginal likelihood is N(y; 0, sigma^2 I + x diag(scales^2) x'), so a grid over log sigma does the rest.
    """
    grid = np.linspace(-4.0, 2.0, 1201)
    weights, means, covariances = [], [], []
    for log_sigma in grid:
        precision = x.T @ x / np.exp(2 * log_sigma) + np.diag(scales**-2.0)
        covariance = np.linalg.inv(precision)
        marginal = np.exp(2 * log_sigma) * np.eye(len(y)) + (x * scales**2) @ x.T
        log_evidence = -0.5 * (np.linalg.slogdet(marginal)[1] + y @ np.linalg.solve(marginal, y))
        weights.append(log_evidence - 0.5 * log_sigma**2)
        means.append(np.append(covariance @ (x.T @ y) / np.exp(2 * log_sigma), log_sigma))
        covariances.append(np.pad(covariance, (0, 1)))
    weights, means = np.exp(np.array(weights) - logsumexp(weights)), np.array(means)
    assert max(weights[0], weights[-1]) < 1e-12, "the grid is too narrow"
    mean = weights @ means
    centred = means - mean
    return mean, np.tensordot(weights, covariances, 1) + (centred.T * weights) @ centred


def assert_draws_agree(theta, mean, covariance):
    """Means and covariances of draws (chain, draw, p) lie within 4 Monte Carlo standard errors of the exact ones."""
    centred = theta.astype(float) - mean
    i, j = np.triu_indices(len(mean))
    for draws, truth in ((centred, 0.0), (centred[..., i] * centred[..., j], covariance[i, j])):
        errors = mcse_mean(draws)
        np.testing.assert_array_less(np.abs(draws.mean(axis=(0, 1)) - truth), 4 * errors)
        size = np.sqrt(np.diag(covariance)) if draws is centred else np.sqrt(np.outer(*2 * [np.diag(covariance)]))[i, j]
        assert np.all(errors < 0.1 * size), "too few effective draws to say anything"
