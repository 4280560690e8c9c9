"""Top eigenvalues against chosen spectra and dense Hessians."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import likelihoods
from models.geometry.lanczos import top_eigenvalues
from models.geometry.landscape import Landscape
from models.geometry.products import Hessian
from tests.models.geometry.cases import FAMILIES, Dense, dense_hessian, landscape_of, with_spectrum

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
    "zero": [0.0] * 20,
    "identity": [5.0] * 20,
    "small": [3.0, 2.0, -1.0],
    "one": [3.0],
    "one-negative": [-3.0],
    "one-zero": [0.0],
}
run = partial(jax.jit, static_argnames=("k", "tolerance", "max_products"))(top_eigenvalues)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_largest_are_found_within_their_bounds(name, k, seed):
    truth = np.sort(SPECTRA[name])[::-1][:k]
    found = run(with_spectrum(SPECTRA[name], seed), jax.random.key(seed), k=k, tolerance=1e-5)
    assert found.values.shape == truth.shape
    assert np.all(found.converged)
    if name == "clustered" and k == 1:  # one search may end inside the cluster, which is 2e-4 wide
        assert 99.98 - 1e-3 <= found.values[0] <= 100.0 + 1e-9
        assert np.min(np.abs(found.values[0] - np.asarray(SPECTRA[name]))) <= found.residuals[0]
        return
    np.testing.assert_allclose(found.values, truth, rtol=1e-5, atol=1e-12)
    assert np.all(np.abs(found.values - truth) <= found.residuals + 1e-12)


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
    assert int(found.n_products) <= 5


def test_the_lowest_ritz_value_proves_a_saddle():
    found = run(with_spectrum(SPECTRA["indefinite"]), jax.random.key(0))
    assert found.lowest + found.lowest_residual < 0
    assert found.lowest >= -200 - 1e-9
    positive = run(with_spectrum(SPECTRA["geometric"]), jax.random.key(0))
    assert positive.lowest > 0


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
    together = jax.jit(jax.vmap(lambda a, key: top_eigenvalues(Dense(a), key, k=2)))(matrices, keys)
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
    precise = run(Hessian(wide, theta.astype(jnp.float64)), jax.random.key(5), k=5, tolerance=1e-6, max_products=200)
    assert np.all(precise.converged)
    claimed = np.asarray(found.converged)
    assert claimed[0]
    np.testing.assert_allclose(
        np.asarray(found.values, np.float64)[claimed], np.asarray(precise.values)[claimed], rtol=1e-3
    )
