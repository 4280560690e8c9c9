"""Effective dimensions against dense eigenvalues and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.families.effective_dimension import (
    dense_gauss_newton,
    estimate_effective_dimension,
    exact_effective_dimension,
)
from models.geometry.landscape import Landscape
from models.geometry.operators.products import GaussNewton
from models.joint import likelihoods
from tests.support.landscapes import FAMILIES, columns, landscape_of

estimate = partial(jax.jit, static_argnames=("relative_error", "max_probes", "max_steps"))(estimate_effective_dimension)


pytestmark = pytest.mark.usefixtures("float64")


def of_gram(gram, scales):
    values = np.linalg.eigvalsh(scales[:, None] * gram * scales)
    return np.sum(values / (values + 1))


@pytest.mark.parametrize("name", ["categorical-reference", "heteroscedastic-gaussian", "negative-binomial"])
def test_the_dense_matrix_is_that_of_the_products(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    products = 20 * columns(GaussNewton(landscape, theta))
    np.testing.assert_allclose(dense_gauss_newton(landscape, theta), products, atol=1e-10)


def test_chunks_of_rows_sum_to_the_whole(monkeypatch):
    landscape, theta = landscape_of(FAMILIES["categorical"])
    whole = dense_gauss_newton(landscape, theta)
    monkeypatch.setattr("models.geometry.families.effective_dimension.CHUNK", 4 * theta.size * 6)
    np.testing.assert_allclose(dense_gauss_newton(landscape, theta), whole, atol=1e-12)


def test_ridge_regression_has_its_degrees_of_freedom():
    """Given sigma, d is the trace of the smoother X (X'X + sigma^2 / s^2)^-1 X', and log sigma adds a term."""
    landscape, theta = landscape_of(likelihoods.gaussian(), widths=())
    s, variance = 0.3, np.exp(2 * float(theta[-1]))
    x = np.hstack([np.asarray(landscape.x), np.ones((20, 1))])
    smoother = x @ np.linalg.solve(x.T @ x + variance / s**2 * np.eye(4), x.T)
    expected = np.trace(smoother) + 40 / (40 + 1 / s**2)
    found = exact_effective_dimension(landscape, theta, np.full(5, s))
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_flat_prior_counts_the_directions_that_the_data_decide(dtype):
    """Two equal columns and a constant column of zeros: rank 2 of 4 weights, with the bias 3, with log sigma 4."""
    with jax.enable_x64(dtype == np.float64):
        landscape, _ = landscape_of(likelihoods.gaussian(), n=200, d=4, widths=())
        x = np.random.default_rng(0).normal(size=(200, 4)) * [1, 1, 0, 10]
        x[:, 1] = x[:, 0]
        landscape = Landscape(landscape.model, jnp.asarray(x, dtype), jnp.asarray(landscape.y, dtype))
        found = exact_effective_dimension(landscape, jnp.full(6, 0.3, dtype), np.full(6, np.inf))
    assert found.value == 4.0


def test_a_partly_flat_prior_is_the_limit_of_wide_ones():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=())
    scales = np.full(12, 0.5)
    scales[[0, 5, 9]] = np.inf
    found = exact_effective_dimension(landscape, theta, scales).value
    wide = np.where(np.isfinite(scales), scales, 1e5)
    np.testing.assert_allclose(found, of_gram(dense_gauss_newton(landscape, theta), wide), rtol=1e-6)


@pytest.mark.soak
def test_estimates_cover_the_dense_value_at_their_level():
    landscape, theta = landscape_of(FAMILIES["categorical"], n=15, widths=(6, 5), activation=jnp.tanh)
    scales = jnp.full(theta.size, 0.7)
    exact = exact_effective_dimension(landscape, theta, np.asarray(scales)).value
    found = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: estimate_effective_dimension(landscape, theta, scales, key, relative_error=0.02), keys
        )
    )(jax.random.split(jax.random.key(0), 100))
    z = (np.asarray(found.value) - exact) / np.asarray(found.standard_error)
    assert np.sum(np.abs(z) < 1.96) >= 88
    assert 0.7 < np.std(z) < 1.35
    assert np.all(np.asarray(found.n_products) >= 30)


def test_float32_survives_large_eigenvalues():
    """Eigenvalues up to 1e8 beside those near 1, in float32, against the dense float64 value."""
    landscape, theta = landscape_of(FAMILIES["gaussian"], n=300, d=60, widths=())
    x = np.random.default_rng(0).normal(size=(300, 60)) @ np.diag(np.geomspace(1e-5, 3, 60))
    landscape = Landscape(landscape.model, jnp.asarray(x), landscape.y)
    theta = theta.at[-1].set(-2.0)
    exact = exact_effective_dimension(landscape, theta, np.full(62, 20.0)).value
    assert 30 < exact < 55
    with jax.enable_x64(False):
        rows = Landscape(landscape.model, jnp.asarray(x, jnp.float32), landscape.y.astype(jnp.float32))
        found = estimate(
            rows, theta.astype(jnp.float32), jnp.full(62, 20.0, jnp.float32), jax.random.key(0), relative_error=0.005
        )
        assert found.value.dtype == jnp.float32
    assert abs(float(found.value) - exact) < 3 * float(found.standard_error)
    assert float(found.standard_error) < 0.02 * exact


def test_a_flat_scale_of_the_noise_counts_one():
    landscape, theta = landscape_of(FAMILIES["gaussian"])
    scales = np.append(np.full(theta.size - 1, 0.7), np.inf)
    exact = exact_effective_dimension(landscape, theta, scales)
    found = estimate(landscape, theta, jnp.asarray(scales), jax.random.key(0))
    np.testing.assert_allclose(found.value, exact.value, atol=4 * float(found.standard_error))
    fixed = estimate(landscape, theta, jnp.asarray(np.append(scales[:-1], 1e-9)), jax.random.key(0))
    np.testing.assert_allclose(found.value - fixed.value, 1.0, atol=1e-6)


def test_flat_weights_and_too_few_steps_are_refused():
    landscape, theta = landscape_of(FAMILIES["categorical"], n=60, activation=jnp.tanh)
    flat = estimate(landscape, theta, jnp.full(theta.size, jnp.inf), jax.random.key(0))
    assert np.isnan(flat.value)
    short = estimate(landscape, theta, jnp.full(theta.size, 30.0), jax.random.key(0), max_steps=3)
    assert np.isnan(short.value)


def test_nan_parameters_are_refused_by_both():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    broken = theta.at[0].set(jnp.nan)
    assert np.isnan(exact_effective_dimension(landscape, broken, np.ones(theta.size)).value)
    assert np.isnan(estimate(landscape, broken, jnp.ones(theta.size), jax.random.key(0)).value)
