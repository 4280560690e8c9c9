"""Spectral densities against dense spectra broadened by the same kernel."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from models.geometry.definition import Point
from models.geometry.families.spectral_density import lanczos_quadrature, spectral_density
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from tests.support.landscapes import FAMILIES, Dense, dense_hessian, landscape_of, with_spectrum

pytestmark = pytest.mark.usefixtures("float64")


@partial(jax.jit, static_argnames=("steps", "probes"))
def density(operator, key, steps, probes):
    return spectral_density(lanczos_quadrature(operator, key, steps=steps, probes=probes), steps)


def broadened(grid, eigenvalues, weights):
    """The kernel's width is two steps of the grid."""
    return norm.pdf(np.asarray(grid)[:, None], eigenvalues, 2 * (grid[1] - grid[0])) @ weights


def first_vector(key, p, dtype=jnp.float64):
    v = np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (p,), dtype), np.float64)
    return v / np.linalg.norm(v)


SPECTRA = {
    "bulk": np.linspace(-1, 3, 300),
    "outliers": np.concatenate([np.random.default_rng(0).exponential(size=297), [50.0, 30.0, -10.0]]),
    "rank-deficient": np.concatenate([np.zeros(250), np.linspace(1, 20, 50)]),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_one_probe_is_the_broadened_spectrum_that_its_vector_sees(name, dtype):
    """In float32 orthogonality is lost by then, and the density is right all the same."""
    operator = with_spectrum(SPECTRA[name], dtype=dtype)
    key = jax.random.key(0)
    grid, found, _ = density(operator, key, 100, 1)
    values, vectors = np.linalg.eigh(np.asarray(operator.matrix, np.float64))
    expected = broadened(grid, values, np.square(first_vector(key, 300, dtype) @ vectors))
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())


@pytest.mark.soak
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_cover_the_truth_at_their_level(name):
    """95 % intervals of 100 repeats cover in 88 or more, averaged over the points where there are eigenvalues."""
    operator = with_spectrum(SPECTRA[name])
    repeats = jax.jit(lambda keys: jax.lax.map(lambda k: density(operator, k, 60, 5), keys))(
        jax.random.split(jax.random.key(1), 100)
    )
    z, weight = [], []
    for grid, found, error in zip(*(np.asarray(a) for a in repeats), strict=True):
        expected = broadened(grid, SPECTRA[name], np.full(300, 1 / 300))
        z.append((found - expected) / error)
        weight.append(expected)
    z, weight = np.asarray(z), np.asarray(weight)
    assert 0.88 <= np.sum(weight * (np.abs(z) < 1.96)) / np.sum(weight) <= 0.985


@pytest.mark.parametrize("name", SPECTRA)
def test_the_density_integrates_to_one(name):
    grid, found, error = density(with_spectrum(SPECTRA[name]), jax.random.key(2), 60, 2)
    assert np.trapezoid(found, grid) == pytest.approx(1.0, abs=1e-5)
    assert np.all(np.asarray(found) >= 0)
    assert np.all(np.isfinite(error))


def test_a_spectrum_within_the_steps_is_exact():
    spectrum = np.repeat([-2.0, 0.0, 1.0, 7.0], [1, 10, 5, 2])
    grid, found, error = density(with_spectrum(spectrum), jax.random.key(0), 40, 2)
    np.testing.assert_allclose(found, broadened(grid, spectrum, np.full(18, 1 / 18)), atol=1e-9)
    assert not np.any(error)


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("p", [1, 200])
def test_a_single_eigenvalue_is_one_kernel(value, p):
    grid, found, error = density(Dense(value * jnp.eye(p)), jax.random.key(0), 20, 2)
    np.testing.assert_allclose(found, broadened(grid, [value], [1.0]), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(error, 0.0, atol=1e-7 * np.max(found))


def test_a_probe_more_costs_its_steps_and_narrows_the_error():
    operator = with_spectrum(SPECTRA["bulk"])
    errors = [float(jnp.mean(density(operator, jax.random.key(0), 60, probes)[2])) for probes in (2, 8)]
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)
    assert lanczos_quadrature(operator, jax.random.key(0), steps=60, probes=8).n_products == 480


def test_nan_products_have_no_density():
    for p in (1, 200):
        assert np.all(np.isnan(density(Dense(jnp.full((p, p), jnp.nan)), jax.random.key(0), 20, 2)[1]))


@pytest.fixture
def point():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=(8, 6), activation=jnp.tanh)
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(0))


def test_the_measure_is_a_curve_of_the_hessians_density(point):
    (curve,) = measure([point], ask("hessian_spectral_density", steps=200))
    values = np.linalg.eigvalsh(dense_hessian(point.landscape, point.theta))
    expected = broadened(curve.x, values, np.full(values.size, 1 / values.size))
    np.testing.assert_allclose(curve.value, expected, atol=1e-8 * expected.max())
    assert curve.y is None
    assert curve.n_products == point.theta.size


def test_the_negative_mass_counts_what_is_clearly_negative(point):
    values = np.linalg.eigvalsh(dense_hessian(point.landscape, point.theta))
    for steps in (60, 200):
        ((found,),) = measure([point], ask("hessian_negative_mass", steps=steps, probes=20))
        width = (values[-1] - values[0]) / steps
        truth = np.mean(norm.cdf(-values / width - 4.0))
        assert truth > 0.01
        assert abs(found.value - truth) <= 3 * found.standard_error + 1e-6
        assert (found.standard_error > 0) == (steps < values.size)
