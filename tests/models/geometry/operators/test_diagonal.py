"""Diagonals of curvature matrices against dense twins, of every family and kind of net."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators import layerwise
from models.geometry.operators.diagonal import estimate_diagonal, exact_diagonal, exact_traces, gauss_newton_diagonal
from models.geometry.operators.layerwise import has_exact_hessian
from models.geometry.operators.products import EmpiricalFisher, GaussNewton
from models.joint.likelihoods import categorical, heteroscedastic_gaussian
from models.joint.model import build
from models.predictors.convnet import ConvolutionalNet
from tests.support.landscapes import (
    FAMILIES,
    SOME,
    SOME_FAMILIES,
    Dense,
    columns,
    dense_hessian,
    landscape_of,
    target,
    with_spectrum,
)

diagonal = jax.jit(exact_diagonal, static_argnums=2)
traces = jax.jit(exact_traces, static_argnums=2)
NETS = {
    "linear": ((), jax.nn.relu),
    "relu": ((5, 4), jax.nn.relu),
    "one tanh layer": ((5,), jnp.tanh),
    "tanh": ((5, 4), jnp.tanh),
    "deep softplus": ((5, 4, 6, 3), jax.nn.softplus),
}


pytestmark = pytest.mark.usefixtures("float64")


def convolutional(family, activation, shape=(5, 4, 2), n=20, channels=(3, 2)):
    rng = np.random.default_rng(1)
    model = build(family, ConvolutionalNet, shape, family.n_outputs, channels, 3, 4, activation)
    x = jnp.asarray(rng.normal(size=(n, int(np.prod(shape)))))
    theta = jnp.asarray(0.5 * rng.normal(size=model.n_parameters))
    return Landscape(model, x, jnp.asarray(target(family, n, rng))), theta


@pytest.mark.parametrize(
    ("name", "net"),
    [pytest.param(name, "one tanh layer", marks=[] if name in SOME else [pytest.mark.soak]) for name in FAMILIES]
    + [("heteroscedastic-gaussian", net) for net in NETS if net != "one tanh layer"],
)
def test_the_hessians_diagonal_is_the_dense_one(name, net):
    widths, activation = NETS[net]
    landscape, theta = landscape_of(FAMILIES[name], widths=widths, activation=activation)
    assert has_exact_hessian(landscape.model)
    expected = np.diag(dense_hessian(landscape, theta))
    np.testing.assert_allclose(diagonal(landscape, theta, "hessian"), expected, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("matrix", ["gauss-newton", "empirical-fisher"])
@pytest.mark.parametrize("name", SOME_FAMILIES)
def test_the_positive_matrices_diagonals_are_those_of_their_products(name, matrix):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    operator = {"gauss-newton": GaussNewton, "empirical-fisher": EmpiricalFisher}[matrix](landscape, theta)
    expected = np.diag(columns(operator))
    np.testing.assert_allclose(diagonal(landscape, theta, matrix), expected, atol=1e-12 * expected.max())


@pytest.mark.parametrize("shape", [(7, 2), (5, 4, 2)], ids=["one dimension", "two dimensions"])
@pytest.mark.parametrize("family", [categorical(3), heteroscedastic_gaussian()], ids=lambda f: f.name)
def test_shared_weights_of_a_convolutional_relu_net_are_exact(family, shape):
    landscape, theta = convolutional(family, jax.nn.relu, shape)
    expected = np.diag(dense_hessian(landscape, theta))
    np.testing.assert_allclose(diagonal(landscape, theta, "hessian"), expected, atol=1e-12 * abs(expected).max())


def test_a_smooth_convolutional_net_has_a_gauss_newton_diagonal_and_no_exact_hessian():
    landscape, theta = convolutional(FAMILIES["student-t"], jnp.tanh)
    expected = np.diag(columns(GaussNewton(landscape, theta)))
    np.testing.assert_allclose(gauss_newton_diagonal(landscape, theta), expected, atol=1e-12 * expected.max())
    assert not has_exact_hessian(landscape.model)
    for function in (exact_diagonal, exact_traces):
        with pytest.raises(ValueError, match="estimate"):
            function(landscape, theta, "hessian")


@pytest.mark.parametrize("n", [256, 300, 513])
def test_every_row_counts_once_whatever_the_blocks(n):
    landscape, theta = landscape_of(FAMILIES["gaussian"], n=n, activation=jnp.tanh)
    np.testing.assert_allclose(
        diagonal(landscape, theta, "hessian"), np.diag(dense_hessian(landscape, theta)), atol=1e-12
    )


@pytest.mark.parametrize("matrix", layerwise.FORMS)
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_traces_by_layer_and_the_likelihoods_own_add_up_the_diagonal(kind, matrix):
    family = FAMILIES["gaussian"]
    landscape, theta = landscape_of(family, widths=(5, 4)) if kind == "mlp" else convolutional(family, jax.nn.relu)
    whole = np.asarray(diagonal(landscape, theta, matrix))
    found = traces(landscape, theta, matrix)
    layers = landscape.model.layers.values()
    np.testing.assert_allclose(found.layers, [whole[entries].sum() for entries in layers], rtol=1e-12)
    np.testing.assert_allclose(found.own, whole[landscape.model.n_weights :].sum(), rtol=1e-12)


def test_a_wide_deep_smooth_net_is_left_to_estimates():
    wide, deep = (landscape_of(FAMILIES["bernoulli"], widths=w, activation=jnp.tanh)[0] for w in ((600,) * 3, (8,) * 6))
    assert not has_exact_hessian(wide.model)
    assert has_exact_hessian(deep.model)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_memory_does_not_grow_with_the_rows(kind):
    def scratch(n):
        family = FAMILIES["categorical"]
        make = landscape_of(family, n=n, activation=jnp.tanh) if kind == "mlp" else convolutional(family, jax.nn.relu)
        landscape = Landscape(make[0].model, jnp.zeros((n, make[0].x.shape[1])), jnp.zeros(n, int))
        compiled = diagonal.lower(landscape, make[1], "hessian").compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(8192) < 1.1 * scratch(1024)


@pytest.mark.soak
def test_intervals_of_the_estimates_entries_cover_the_truth_at_their_level():
    """A share over all entries, and 88 of 100 for nearly every one; all of them would be too wide an error."""
    operator = with_spectrum(np.linspace(-1, 3, 120))
    repeats = jax.jit(lambda keys: jax.lax.map(lambda k: estimate_diagonal(operator, k, n_products=60), keys))(
        jax.random.split(jax.random.key(0), 100)
    )
    z = (np.asarray(repeats.value) - np.diag(operator.matrix)) / np.asarray(repeats.standard_error)
    covered = np.sum(np.abs(z) < 1.96, axis=0)
    assert 0.93 < np.mean(covered) / 100 < 0.965
    assert np.mean(covered >= 88) > 0.95


def test_an_entrys_variance_is_that_of_its_row():
    a = with_spectrum(np.linspace(-1, 2, 300)).matrix
    n = 250
    found = jax.jit(partial(estimate_diagonal, n_products=n))(Dense(a), jax.random.key(3))
    expected = np.asarray(jnp.sum(a**2, axis=1) - jnp.diag(a) ** 2) / n
    np.testing.assert_allclose(np.mean(np.square(found.standard_error)), np.mean(expected), rtol=0.02)
    assert int(found.n_products) == n


def test_an_estimate_with_a_product_for_each_parameter_is_exact():
    landscape, theta = convolutional(categorical(3), jnp.tanh)
    operator = Dense(jnp.asarray(dense_hessian(landscape, theta)))
    found = estimate_diagonal(operator, jax.random.key(0), n_products=theta.size)
    np.testing.assert_allclose(found.value, np.diag(operator.matrix))
    assert not np.any(found.standard_error)
