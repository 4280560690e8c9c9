"""Matrices of any size: in float32, where the squares of numbers below 1e-19 or above 1e19 are lost."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.families.spectral_density import lanczos_quadrature, spectral_density
from models.geometry.operators.diagonal import estimate_diagonal
from models.geometry.operators.frobenius import frobenius_norm
from models.geometry.operators.lanczos import top_eigenpairs
from models.geometry.operators.trace import estimate_trace
from tests.support.landscapes import Dense, with_spectrum

SIZES = (1e-26, 1e-20, 1.0, 1e20, 1e26)
KEY = jax.random.key(0)
SPECTRUM = np.array([*np.geomspace(100.0, 1.0, 30), *np.linspace(-3.0, 1.0, 90)])


def of_size(size: float) -> Dense:
    with jax.enable_x64(True):
        matrix = np.asarray(with_spectrum(SPECTRUM).matrix)
    return Dense(jnp.asarray(size * matrix, jnp.float32))


@pytest.mark.parametrize("k", [1, 5])
def test_eigenvalues_are_those_of_numpy(k):
    find = jax.jit(partial(top_eigenpairs, k=k, max_products=100))
    for size in SIZES:
        found = find(of_size(size), KEY)
        assert np.all(found.converged)
        np.testing.assert_allclose(np.float64(found.values) / size, SPECTRUM[:k], rtol=1e-3)
        assert int(found.n_products) < 100


def test_traces_and_norms_have_errors_in_proportion():
    probes = {"relative_error": 1e-3, "max_products": 60}
    trace, norm = jax.jit(partial(estimate_trace, **probes)), jax.jit(partial(frobenius_norm, **probes))
    diagonal = jax.jit(partial(estimate_diagonal, n_products=20))
    for size in SIZES:
        operator, relative = of_size(size), []
        for found, truth in (
            (trace(operator, KEY), SPECTRUM.sum()),
            (norm(operator, KEY), np.linalg.norm(SPECTRUM)),
            (diagonal(operator, KEY), np.diag(np.float64(operator.matrix)) / size),
        ):
            value, error = np.float64(found[0]) / size, np.float64(found[1]) / size
            assert np.all(error > 0)
            assert np.all(np.abs(value - truth) < 5 * error)
            relative.append(float(np.mean(error)))
        if size == SIZES[0]:
            first = relative
        np.testing.assert_allclose(relative, first, rtol=1e-2)


def test_an_exact_norm_is_numpys():
    norm = jax.jit(frobenius_norm)
    for size in SIZES:
        np.testing.assert_allclose(np.float64(norm(of_size(size), KEY)[0]) / size, np.linalg.norm(SPECTRUM), rtol=1e-5)


def test_a_density_scales_with_its_matrix():
    density = jax.jit(lambda operator: spectral_density(lanczos_quadrature(operator, KEY, steps=20), 20))
    grid, values, errors = (np.float64(column) for column in density(of_size(1.0)))
    for size in SIZES:
        scaled = [np.float64(column) for column in density(of_size(size))]
        np.testing.assert_allclose(scaled[0] / size, grid, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(scaled[1] * size, values, rtol=2e-2, atol=1e-3 * values.max())
        np.testing.assert_allclose(scaled[2] * size, errors, rtol=5e-2, atol=1e-2 * errors.max())
