"""Traces: the exact one against dense Hessians, the estimate's error against its truth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators.products import Hessian
from models.geometry.operators.trace import MIN_PROBES, estimate_trace, exact_trace, probe_until, standard_error
from models.joint import likelihoods
from tests.support.landscapes import FAMILIES, Dense, dense_hessian, landscape_of, with_spectrum

estimate = partial(jax.jit, static_argnames=("relative_error", "deflation", "max_products"))(estimate_trace)


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh], ids=["relu", "tanh"])
@pytest.mark.parametrize("name", ["categorical", "gaussian"])
def test_exact_trace_is_the_dense_one(name, activation):
    landscape, theta = landscape_of(FAMILIES[name], widths=(5, 4), activation=activation)
    found = jax.jit(exact_trace)(landscape, theta)
    np.testing.assert_allclose(found.value, np.trace(dense_hessian(landscape, theta)), rtol=1e-11)
    assert float(found.standard_error) == 0.0


def test_exact_trace_covers_rows_beyond_one_batch():
    landscape, theta = landscape_of(FAMILIES["categorical"], n=300)
    found = jax.jit(exact_trace)(landscape, theta)
    np.testing.assert_allclose(found.value, np.trace(dense_hessian(landscape, theta)), rtol=1e-11)


def test_exact_trace_keeps_its_precision_on_a_net_that_is_sure_in_float32():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=())
    sure = theta.at[9:].add(jnp.array([18.0, 0.0, 0.0]))
    wide = exact_trace(landscape, sure).value
    with jax.enable_x64(False):
        rows = Landscape(landscape.model, landscape.x.astype(jnp.float32), landscape.y.astype(jnp.int32))
        narrow = exact_trace(rows, sure.astype(jnp.float32)).value
    assert float(wide) < 1e-5
    np.testing.assert_allclose(np.float64(narrow), wide, rtol=1e-4)


def test_exact_trace_refuses_a_net_whose_trace_costs_too_much():
    landscape, theta = landscape_of(FAMILIES["bernoulli"], widths=(600, 600, 600), activation=jnp.tanh)
    with pytest.raises(ValueError, match="estimate_trace"):
        exact_trace(landscape, theta)


def test_a_space_smaller_than_the_budget_is_summed_exactly():
    landscape, theta = landscape_of(FAMILIES["student-t"], activation=jnp.tanh)
    found = estimate(Hessian(landscape, theta), jax.random.key(0), max_products=100)
    np.testing.assert_allclose(found.value, np.trace(dense_hessian(landscape, theta)), rtol=1e-10)
    assert float(found.standard_error) == 0.0
    assert int(found.n_products) == theta.size


@pytest.mark.parametrize("spectrum", [np.linspace(-1, 3, 150), np.geomspace(1e-3, 100, 150)], ids=["flat", "steep"])
def test_intervals_cover_the_truth_at_their_level(spectrum):
    """95 % intervals of 100 repeats cover in 88 or more; all of them would be too wide an error."""
    operator = with_spectrum(spectrum)
    repeats = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: estimate_trace(operator, key, relative_error=0.03, deflation=10, max_products=120), keys
        )
    )(jax.random.split(jax.random.key(4), 100))
    z = (np.asarray(repeats.value) - spectrum.sum()) / np.asarray(repeats.standard_error)
    assert np.sum(np.abs(z) < 1.96) >= 88
    assert 0.75 < np.std(z) < 1.35


def test_probes_stop_at_the_error_asked_for_or_at_the_budget():
    operator = with_spectrum(np.linspace(0.5, 1.5, 300))
    close = estimate(operator, jax.random.key(0), relative_error=0.01, deflation=5, max_products=250)
    assert close.standard_error <= 0.01 * close.value
    assert int(close.n_products) < 250
    spent = estimate(operator, jax.random.key(0), relative_error=1e-6, deflation=5, max_products=100)
    assert int(spent.n_products) == 100
    assert spent.standard_error > 1e-6 * spent.value


def test_deflation_removes_what_outlying_eigenvalues_add_to_the_error():
    operator = with_spectrum([1000.0, 500.0, 200.0, *np.linspace(0, 1, 297)])
    plain, deflated = (
        estimate(operator, jax.random.key(1), relative_error=1e-9, deflation=d, max_products=100) for d in (1, 12)
    )
    assert deflated.standard_error < 0.05 * plain.standard_error


def test_a_probes_variance_is_that_of_rademacher_vectors():
    """Var z'Az = 2 sum_{i != j} A_ij^2: here without deflation, by the loop that the estimate uses."""
    a = with_spectrum(np.linspace(-1, 2, 12)).matrix
    n = 4000

    def probe(i):
        z = jax.random.rademacher(jax.random.fold_in(jax.random.key(3), i), (12,), a.dtype)
        return z @ a @ z

    values, taken = jax.jit(lambda: probe_until(lambda _values, _n: jnp.zeros((), bool), probe, n))()
    variance = 2 * float(jnp.sum(a**2) - jnp.sum(jnp.diag(a) ** 2))
    assert int(taken) == n
    np.testing.assert_allclose(n * standard_error(values, taken) ** 2, variance, rtol=0.1)


def test_nan_products_end_the_estimate_at_once():
    found = estimate(Dense(jnp.full((300, 300), jnp.nan)), jax.random.key(0), deflation=4)
    assert np.isnan(found.value)
    assert int(found.n_products) <= 4 + MIN_PROBES


def test_gaussian_noise_is_part_of_the_trace():
    """At the least-squares solution with sigma^2 = mean squared residual, d2 L / d(log sigma)2 = 2."""
    landscape, _ = landscape_of(likelihoods.gaussian(), widths=())
    x = np.hstack([np.asarray(landscape.x), np.ones((20, 1))])
    y = np.asarray(landscape.y)
    w = np.linalg.lstsq(x, y)[0]
    variance = np.mean((y - x @ w) ** 2)
    best = jnp.asarray([*w, 0.5 * np.log(variance)])
    expected = np.trace(x.T @ x) / 20 / variance + 2.0
    np.testing.assert_allclose(exact_trace(landscape, best).value, expected, rtol=1e-10)
