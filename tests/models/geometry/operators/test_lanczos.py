"""Extreme eigenpairs against chosen spectra and dense Hessians."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators.lanczos import RISK, bottom_eigenpairs, top_eigenpairs
from models.geometry.operators.products import Hessian
from models.joint import likelihoods
from tests.support.landscapes import FAMILIES, Dense, dense_hessian, landscape_of, with_spectrum

GEOMETRIC = [100.0, 50.0, 25.0, 12.0, 6.0, 3.0, 1.5, 0.75]
SPECTRA = {
    "geometric": [*GEOMETRIC, *[0.01] * 52],
    "repeated": [100.0, 100.0, 50.0, 50.0, 25.0, 12.0, 6.0, *np.linspace(0, 1, 53)],
    "five-fold": [100.0] * 5 + [*np.linspace(0, 1, 55)],
    "six-fold": [100.0] * 6 + [*np.linspace(0, 1, 54)],
    "clustered": [100.0, 99.99, 99.98, 50.0, 25.0, *np.linspace(-3, 1, 55)],
    "indefinite": [*np.linspace(-200, 100, 60)],
    "negative": [*-np.linspace(1, 100, 60)],
    "rank-3": [5.0, 3.0, 1.0] + [0.0] * 57,
    "zero": [0.0] * 60,
    "identity": [5.0] * 60,
    "small": [3.0, 2.0, -1.0],
    "one": [3.0],
    "one-negative": [-3.0],
    "one-zero": [0.0],
}
STATIC = ("k", "tolerance", "max_products", "floor")
run = partial(jax.jit, static_argnames=STATIC)(top_eigenpairs)
run_bottom = partial(jax.jit, static_argnames=("k", "tolerance"))(bottom_eigenpairs)


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_largest_are_found_within_their_brackets(name, k, seed):
    truth = np.sort(SPECTRA[name])[::-1][:k]
    found = run(with_spectrum(SPECTRA[name], seed), jax.random.key(seed), k=k, tolerance=1e-5)
    assert found.values.shape == truth.shape
    assert np.all(found.converged)
    assert np.all(found.values <= truth + 1e-12)
    assert np.all(found.values + 1e-5 * np.abs(found.values) >= truth - 1e-12)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_vectors_are_orthonormal_and_have_the_residuals_that_are_claimed(name, k):
    operator = with_spectrum(SPECTRA[name])
    found = run(operator, jax.random.key(2), k=k, tolerance=1e-5)
    y = np.asarray(found.vectors)
    np.testing.assert_allclose(y @ y.T, np.eye(len(y)), atol=1e-12)
    residuals = np.linalg.norm(y @ operator.matrix - np.asarray(found.values)[:, None] * y, axis=1)
    assert np.all(residuals <= found.residuals + 1e-12)
    nearest = np.min(np.abs(np.asarray(found.values)[:, None] - np.asarray(SPECTRA[name])), axis=1)
    assert np.all(nearest <= found.residuals)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_in_float32_a_claimed_value_is_right(name, k):
    truth = np.sort(SPECTRA[name])[::-1][:k]
    found = run(with_spectrum(SPECTRA[name], dtype=np.float32), jax.random.key(3), k=k)
    claimed = np.asarray(found.converged)
    assert claimed[0]
    np.testing.assert_allclose(
        np.asarray(found.values)[claimed], truth[claimed], rtol=1e-3, atol=3e-5 * np.abs(truth[0])
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_the_smallest_are_the_largest_of_the_mirrored_spectrum(name):
    truth = np.sort(SPECTRA[name])[:3]
    operator = with_spectrum(SPECTRA[name])
    found = run_bottom(operator, jax.random.key(0), k=3, tolerance=1e-5)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.values, truth, rtol=1e-5, atol=1e-11)
    y = np.asarray(found.vectors)
    residuals = np.linalg.norm(y @ operator.matrix - np.asarray(found.values)[:, None] * y, axis=1)
    assert np.all(residuals <= found.residuals + 1e-12)


LARGE = 3000


def diagonal(top):
    """A diagonal operator of `LARGE` entries: far more than a search can exhaust."""
    rest = np.random.default_rng(0).uniform(-0.2, 1.0, LARGE - len(top))
    return Diagonal(jnp.asarray([*top, *rest]))


class Diagonal(eqx.Module):
    """A diagonal matrix as an operator."""

    entries: jax.Array

    @property
    def like(self):
        return self.entries

    def linearise(self):
        return lambda v: self.entries * v


@pytest.mark.parametrize(
    "top",
    [
        (100, 50, 25, 12, 6, 3),
        (100, 100, 100, 12, 12, 3),
        (100, 100, 100, 100, 100, 50),
        (100, 99.9, 99.8, 99.7, 99.6, 99.5),
        (100, 100, 99.99, 99.99, 50, 50),
        (6, 5, 4, 3, 3, 3),
    ],
    ids=str,
)
def test_multiple_and_clustered_eigenvalues_are_each_returned(top):
    """In a space that the budget cannot span, hence by the probes alone."""
    for seed in range(3):
        found = run(diagonal(top), jax.random.key(seed), k=5)
        assert np.all(found.converged)
        np.testing.assert_allclose(found.values, top[:5], rtol=1e-3)


@pytest.mark.parametrize("k", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_missed_eigenvalue_is_as_rare_as_is_said(k):
    """The start is made nearly blind to the largest eigenvalue, which lies just above its bracket if missed."""
    top, repeats = (2.0, 1.99), 300

    def values(key):
        return top_eigenpairs(diagonal(top), key, k=k).values

    found = np.asarray(jax.jit(lambda keys: jax.lax.map(values, keys))(jax.random.split(jax.random.key(0), repeats)))
    wrong = np.sum(np.any(found < np.asarray(top[:k]) * (1 - 1e-3), axis=1))
    assert np.all(np.isfinite(found))
    assert wrong <= RISK * repeats + 3 * np.sqrt(RISK * repeats)


def test_a_search_ends_below_its_floor():
    spectrum = [3.0, 2.0, *-np.linspace(5, 10, 60)]
    found = run(with_spectrum(spectrum), jax.random.key(0), k=10, tolerance=0.5, floor=0.0)
    assert np.all(found.converged[:3])
    np.testing.assert_allclose(found.values[:2], [3.0, 2.0], rtol=0.5)
    assert found.values[2] < 0
    assert int(found.n_products) < 40


def test_the_budget_ends_the_search_unconverged():
    found = run(with_spectrum(SPECTRA["indefinite"]), jax.random.key(0), tolerance=1e-10, max_products=7)
    assert int(found.n_products) == 7
    assert not found.converged[0]
    assert np.isnan(found.values[0])


def test_some_may_converge_while_others_do_not():
    found = run(with_spectrum([1000.0, *np.linspace(0, 1, 59)]), jax.random.key(0), k=5, max_products=8)
    assert found.converged[0]
    assert not found.converged[4]
    np.testing.assert_array_equal(np.isnan(found.values), ~np.asarray(found.converged))


def test_a_nan_loss_is_unconverged_at_once():
    found = run(Dense(jnp.full((60, 60), jnp.nan)), jax.random.key(0), k=2)
    assert not np.any(found.converged)
    assert np.all(np.isnan(found.values))
    assert np.all(np.isnan(found.vectors))
    assert int(found.n_products) == 1


@pytest.mark.parametrize("name", ["categorical", "heteroscedastic-gaussian", "student-t"])
def test_top_of_a_nets_hessian(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    truth = np.linalg.eigvalsh(dense_hessian(landscape, theta))[::-1][:3]
    found = run(Hessian(landscape, theta), jax.random.key(0), k=3)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.values, truth, rtol=1e-3)


def test_vmapped_searches_are_those_done_alone():
    spectra = [SPECTRA["geometric"], SPECTRA["indefinite"], SPECTRA["rank-3"], SPECTRA["repeated"]]
    matrices = jnp.stack([with_spectrum(s).matrix for s in spectra])
    keys = jax.random.split(jax.random.key(0), len(spectra))
    together = jax.jit(jax.vmap(lambda a, key: top_eigenpairs(Dense(a), key, k=2)))(matrices, keys)
    for i, key in enumerate(keys):
        alone = run(Dense(matrices[i]), key, k=2)
        np.testing.assert_allclose(together.values[i], alone.values, rtol=1e-9)
        assert int(together.n_products[i]) == int(alone.n_products)


def test_float32_net_of_many_inputs_meets_its_float64_twin():
    rng = np.random.default_rng(0)
    with jax.enable_x64(False):
        landscape, theta = landscape_of(likelihoods.categorical(3), n=200, d=60, widths=(20, 20))
        landscape = Landscape(landscape.model, jnp.asarray(rng.normal(size=(200, 60)), jnp.float32), landscape.y)
        theta = landscape.model.init(jax.random.key(1))
        assert theta.dtype == jnp.float32
        found = run(Hessian(landscape, theta), jax.random.key(0), k=5)
        assert found.values.dtype == jnp.float32
    wide = Landscape(landscape.model, landscape.x.astype(jnp.float64), landscape.y)
    truth = np.linalg.eigvalsh(dense_hessian(wide, theta.astype(jnp.float64)))[::-1][:5]
    assert np.all(found.converged)
    np.testing.assert_allclose(found.values, truth, rtol=1e-3)
