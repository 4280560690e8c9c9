"""Frobenius norms: exact ones against dense matrices, estimates against their truth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.operators.frobenius import frobenius_norm
from models.geometry.operators.products import Hessian
from tests.support.landscapes import FAMILIES, Dense, dense_hessian, landscape_of, with_spectrum

norm = partial(jax.jit, static_argnames=("relative_error", "deflation", "max_products"))(frobenius_norm)


pytestmark = pytest.mark.usefixtures("float64")


def test_a_space_within_the_budget_is_summed_exactly():
    landscape, theta = landscape_of(FAMILIES["student-t"], activation=jnp.tanh)
    found = norm(Hessian(landscape, theta), jax.random.key(0))
    np.testing.assert_allclose(found.value, np.linalg.norm(dense_hessian(landscape, theta)), rtol=1e-12)
    assert (float(found.standard_error), int(found.n_products)) == (0.0, theta.size)


@pytest.mark.soak
@pytest.mark.parametrize("spectrum", [np.linspace(-1, 3, 250), np.geomspace(1e-3, 100, 250)], ids=["flat", "steep"])
def test_intervals_cover_the_truth_at_their_level(spectrum):
    """95 % intervals of 100 repeats cover in 88 or more; all of them would be too wide an error."""
    operator = with_spectrum(spectrum)
    repeats = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: frobenius_norm(operator, key, relative_error=1e-9, deflation=10, max_products=90), keys
        )
    )(jax.random.split(jax.random.key(4), 100))
    z = (np.asarray(repeats.value) - np.linalg.norm(spectrum)) / np.asarray(repeats.standard_error)
    assert np.sum(np.abs(z) < 1.96) >= 88
    assert 0.75 < np.std(z) < 1.35


def test_probes_stop_at_the_error_asked_for_or_at_the_budget():
    operator = with_spectrum(np.linspace(-1.0, 1.5, 300))
    close = norm(operator, jax.random.key(0), relative_error=0.01, deflation=5, max_products=250)
    assert close.standard_error <= 0.01 * close.value
    assert int(close.n_products) < 250
    spent = norm(operator, jax.random.key(0), relative_error=1e-6, deflation=5, max_products=100)
    assert int(spent.n_products) == 100


def test_deflation_removes_what_outlying_eigenvalues_add_to_the_error():
    operator = with_spectrum([1000.0, 500.0, -200.0, *np.linspace(0, 1, 297)])
    plain, deflated = (norm(operator, jax.random.key(1), relative_error=1e-9, deflation=d) for d in (1, 12))
    assert deflated.standard_error < 0.01 * plain.standard_error


@pytest.mark.parametrize("eigenvalues", [np.zeros(300), np.repeat([5.0, 0.0], 150)], ids=["zero", "repeated"])
def test_invariant_subspaces_do_no_harm(eigenvalues):
    found = norm(with_spectrum(eigenvalues), jax.random.key(0), relative_error=0.01)
    assert abs(found.value - np.linalg.norm(eigenvalues)) <= 4 * found.standard_error + 1e-9
    assert found.standard_error <= 0.01 * found.value


def test_nan_products_have_no_norm():
    for p in (40, 300):
        assert np.isnan(norm(Dense(jnp.full((p, p), jnp.nan)), jax.random.key(0), relative_error=0.01).value)
