"""L-BFGS against least squares in closed form, and where it stops."""

import jax.numpy as jnp
import numpy as np
import pytest

from models.inference.lbfgs import minimiser
from models.joint import likelihoods
from models.joint.model import build
from models.predictors.linear import LinearNet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.3 + 0.2 * RNG.normal(size=40)
DESIGN = np.column_stack([X, np.ones(40)])
MODEL = build(likelihoods.gaussian(), LinearNet, 3, 1)


pytestmark = pytest.mark.usefixtures("float64")


def minimise(scales, decay=0.0, max_steps=500, x=X, start=None):
    start = jnp.zeros(5) if start is None else start
    return minimiser(MODEL, max_steps=max_steps)(start, jnp.asarray(x), jnp.asarray(Y), scales, jnp.asarray(decay))


FLAT = jnp.full(5, jnp.inf)


def test_a_flat_prior_gives_least_squares():
    found = minimise(FLAT)
    beta, squares, *_ = np.linalg.lstsq(DESIGN, Y)
    assert bool(found.converged)
    np.testing.assert_allclose(found.theta[:4], beta, atol=1e-8)
    assert np.exp(2 * found.theta[4]) == pytest.approx(float(squares[0]) / 40, rel=1e-8)


def test_a_weight_decay_is_ridge_regression():
    """At the optimum the gradient of mean NLL + w / 2 |b|^2 over slopes and intercept is nil."""
    found = minimise(FLAT, decay=0.1)
    noise = np.exp(2 * float(found.theta[4]))
    ridge = np.linalg.solve(DESIGN.T @ DESIGN / noise / 40 + 0.1 * np.eye(4), DESIGN.T @ Y / noise / 40)
    np.testing.assert_allclose(found.theta[:4], ridge, atol=1e-7)


def test_a_prior_that_states_the_decay_gives_the_same_optimum():
    scales = jnp.asarray(np.append(np.full(4, 1 / np.sqrt(40 * 0.1)), np.inf))
    np.testing.assert_allclose(minimise(scales).theta, minimise(FLAT, decay=0.1).theta, atol=1e-7)


def test_losses_fall_and_are_recorded_up_to_the_last_step():
    found = minimise(FLAT)
    losses, steps = np.asarray(found.losses), int(found.steps)
    assert np.all(np.diff(losses[:steps]) <= 1e-12)
    assert np.all(np.isnan(losses[steps:]))
    assert found.loss <= losses[steps - 1]
    assert float(found.gradient_norm) < 1e-8


def test_out_of_steps_is_not_converged():
    found = minimise(FLAT, max_steps=2)
    assert (int(found.steps), bool(found.converged)) == (2, False)
    assert float(found.gradient_norm) > 1e-3


def test_numbers_that_are_not_finite_end_the_search_unconverged():
    found = minimise(FLAT, x=np.where(X > 2, np.nan, X))
    assert int(found.steps) < 5
    assert not bool(found.converged)


def test_counts_of_millions_converge():
    model = build(likelihoods.poisson(), LinearNet, 3, 1)
    y = RNG.poisson(np.exp(np.log(1e7) + X @ np.array([0.5, -0.3, 0.1])))
    start = jnp.array([0.0, 0.0, 0.0, np.log(y.mean())])
    found = minimiser(model, max_steps=500)(start, jnp.asarray(X), jnp.asarray(y), jnp.full(4, jnp.inf), jnp.zeros(()))
    assert bool(found.converged)
    score = DESIGN.T @ (y - np.exp(DESIGN @ np.asarray(found.theta)))
    np.testing.assert_array_less(np.abs(score), 1.0)  # of 40 rows of 10^7, each known to its root
