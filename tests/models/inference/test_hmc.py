"""NUTS and HMC against targets whose moments are known."""

import functools

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.diagnostics.chains import bfmi
from models.inference import hmc, nuts
from models.inference.nuts import tree_stats
from models.joint import likelihoods
from models.joint.model import build, log_prior
from models.predictors.linear import LinearNet
from tests.support.targets import correlated, funnel, gaussian, keys

SAMPLERS = {
    "nuts": functools.partial(nuts.sample, max_tree_depth=8),
    "hmc": functools.partial(hmc.sample, num_steps=20),
}


@pytest.fixture(params=SAMPLERS)
def sample(request):
    return SAMPLERS[request.param]


def mcse(draws):
    """(q,) Monte Carlo standard errors of the means of (chain, draw, q)."""
    return az.mcse(az.from_dict({"posterior": {"x": draws}}), method="mean")["x"].values


def moments(theta, mean, covariance):
    """(chain, draw, p + p (p + 1) / 2) whitened draws, whose mean is 0, and their products less the mean of those."""
    white = (theta - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    i, j = np.tril_indices(len(mean))
    return np.concatenate([white, white[..., i] * white[..., j] - (i == j)], axis=2)


def test_a_correlated_gaussian_of_condition_number_100(sample):
    mean, covariance = correlated(5, 100.0, 1)
    data = (jnp.asarray(mean, jnp.float32), jnp.asarray(np.linalg.inv(covariance), jnp.float32))
    result = sample(gaussian, data, np.zeros((4, 5), np.float32), keys(4), warmup=500, draws=1000, chunk=250)
    theta = result.theta.astype(np.float64)
    assert np.all(np.abs(theta.mean((0, 1)) - mean) < 4 * mcse(theta))
    found = moments(theta, mean, covariance)
    errors = mcse(found)
    assert np.all(np.abs(found.mean((0, 1))) < 4 * errors)

    # KL is half the sum of squared errors of means and, to second order, of half those of the products: with s
    # effective draws 2 s KL is chi-square with 5 + 15 degrees of freedom, and 50 its 99.97 % quantile. The products mix
    # slower than the means: a trajectory of fixed length changes the energy little.
    ratio = np.linalg.solve(covariance, np.cov(theta.reshape(-1, 5).T))
    shift = theta.mean((0, 1)) - mean
    kl = 0.5 * (np.trace(ratio) - 5 - np.linalg.slogdet(ratio)[1] + shift @ np.linalg.solve(covariance, shift))
    assert kl < 50 / (2 * np.min(found.var((0, 1)) / errors**2))


def test_conjugate_linear_regression(sample):
    rng = np.random.default_rng(2)
    x, noise = rng.normal(size=(40, 2)), 0.5
    y = x @ np.array([1.0, -2.0]) + 0.7 + noise * rng.normal(size=40)
    model = build(likelihoods.gaussian(), LinearNet, 2, 1)

    def log_joint(theta, data):
        rows, target, scales = data
        known = jnp.append(theta, jnp.log(noise))
        return jnp.sum(model.log_likelihood(known, rows, target)) + log_prior(theta, scales)

    scales = np.array([1.0, 1.0, 2.0])
    with jax.enable_x64(True):
        data = (jnp.asarray(x), jnp.asarray(y), jnp.asarray(scales))
        result = sample(log_joint, data, np.zeros((4, 3)), keys(4), warmup=300, draws=750, chunk=250)
    design = np.column_stack([x, np.ones(40)])
    covariance = np.linalg.inv(design.T @ design / noise**2 + np.diag(1 / scales**2))
    mean = covariance @ design.T @ y / noise**2
    assert np.all(np.abs(result.theta.mean((0, 1)) - mean) < 4 * mcse(result.theta))
    found = moments(result.theta, mean, covariance)
    assert np.all(np.abs(found.mean((0, 1))) < 4 * mcse(found))
    assert result.stats["diverging"].sum() == 0
    assert not np.any(result.stats.get("reached_max_treedepth", False))


def test_errors_of_posterior_means_are_standard_normal_over_seeds(sample):
    mean, covariance = correlated(2, 10.0, 3)
    data = (jnp.asarray(mean, jnp.float32), jnp.asarray(np.linalg.inv(covariance), jnp.float32))
    z = []
    for seed in range(20):
        result = sample(gaussian, data, np.zeros((2, 2), np.float32), keys(2, seed), warmup=200, draws=400, chunk=200)
        theta = result.theta.astype(np.float64)
        # In the eigenbasis, where the two coordinates are independent.
        basis = np.linalg.eigh(covariance)[1]
        z.append((theta @ basis - mean @ basis).mean((0, 1)) / mcse(theta @ basis))
    # 0.01 % and 99.99 % quantiles of chi-square with 40 degrees of freedom.
    assert 13.4 < np.sum(np.square(z)) < 82.1


def test_the_funnel_is_noticed(sample):
    result = sample(funnel, None, np.zeros((4, 10), np.float32), keys(4), warmup=300, draws=300, chunk=100)
    assert result.stats["diverging"].sum() > 0 or bfmi(result.stats["energy"]).min() < 0.3


def cliff(theta, data):
    """N(0, 1) each, not a number beyond `data`."""
    return jnp.where(theta[0] > data, jnp.nan, -0.5 * jnp.sum(jnp.square(theta)))


def test_a_region_that_is_not_a_number_diverges_and_is_never_entered(sample):
    result = sample(cliff, jnp.float32(0.5), np.zeros((2, 2), np.float32), keys(2), warmup=100, draws=100, chunk=50)
    assert result.stats["diverging"].any()
    assert np.all(np.isfinite(result.theta))
    assert result.theta[..., 0].max() <= 0.5


def test_a_start_that_is_not_a_number_diverges_throughout(sample):
    result = sample(cliff, jnp.float32(0.5), np.ones((2, 2), np.float32), keys(2), warmup=20, draws=20, chunk=20)
    assert result.stats["diverging"].all()


def test_statistics_mean_what_their_names_say(sample):
    mean, covariance = correlated(3, 10.0, 4)
    data = (jnp.asarray(mean, jnp.float32), jnp.asarray(np.linalg.inv(covariance), jnp.float32))
    result = sample(gaussian, data, np.zeros((2, 3), np.float32), keys(2), warmup=100, draws=50, chunk=50)
    lp = [[gaussian(theta, data) for theta in chain] for chain in result.theta]
    np.testing.assert_allclose(result.stats["lp"], lp, rtol=1e-4, atol=1e-5)
    # Energy is potential plus a kinetic energy that is positive.
    assert np.all(result.stats["energy"] >= -result.stats["lp"] - 1e-4)
    assert np.all((result.stats["acceptance_rate"] >= 0) & (result.stats["acceptance_rate"] <= 1))
    assert np.all(result.stats["step_size"] == result.stats["step_size"][:, :1])


def test_hmc_takes_its_fixed_number_of_steps():
    data = (jnp.zeros(2), jnp.eye(2))
    result = hmc.sample(gaussian, data, np.zeros((1, 2), np.float32), keys(1), warmup=20, draws=10, num_steps=13)
    assert np.all(result.stats["n_steps"] == 13)


def test_tree_depth_is_that_of_the_doublings():
    n_steps = np.array([[1, 2, 3, 4, 7, 8, 14, 15]])
    stats = tree_stats(n_steps, 4)
    assert stats["tree_depth"].tolist() == [[1, 2, 2, 3, 3, 4, 4, 4]]
    assert stats["reached_max_treedepth"].tolist() == [[False] * 7 + [True]]


def test_a_tree_that_is_too_small_is_reported_as_saturated():
    mean, covariance = correlated(2, 1e4, 5)
    data = (jnp.asarray(mean, jnp.float32), jnp.asarray(np.linalg.inv(covariance), jnp.float32))
    result = nuts.sample(
        gaussian, data, np.zeros((1, 2), np.float32), keys(1), warmup=100, draws=100, max_tree_depth=2, chunk=100
    )
    assert result.stats["reached_max_treedepth"].mean() > 0.5
    assert result.stats["n_steps"].max() == 3
