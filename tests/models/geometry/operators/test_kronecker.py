"""Kronecker factors against dense twins, and where the Gauss-Newton matrix is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators.information import whiten
from models.geometry.operators.kronecker import Factors, kronecker_factors, log_det_shifted
from models.geometry.operators.products import GaussNewton
from models.joint.model import build
from models.predictors.convnet import ConvolutionalNet
from tests.support.landscapes import FAMILIES, SOME_FAMILIES, columns, jacobians, landscape_of

factors_of = jax.jit(kronecker_factors)


pytestmark = pytest.mark.usefixtures("float64")


def information(landscape, theta):
    """(n, k + m, k + m) the information in each row's outputs."""
    model = landscape.model
    eta, extra = model.predict(theta, landscape.x), model.extra(theta)
    k = model.family.n_outputs

    def column(t):
        return whiten(model.family, eta, extra, landscape.y, jnp.broadcast_to(t[:k], eta.shape), t[k:])

    root = np.asarray(jax.jit(jax.vmap(column))(jnp.eye(k + extra.size)))
    return np.einsum("anr,bnr->nab", root, root)


def dense_twin(landscape, theta):
    """A and B of each layer from dense Jacobians: those of the bias are the seeds' own."""
    model = landscape.model
    jacobian, inside = jacobians(landscape, theta), information(landscape, theta)
    net, a = model.unravel(theta[: model.n_weights]), np.asarray(landscape.x)
    layers = net.layers if hasattr(net, "layers") else (net.layer,)
    for layer, (_, entries) in zip(layers, model.layers.items(), strict=True):
        ones = np.hstack([a, np.ones((len(a), 1))])
        to_bias = jacobian[:, :, entries][:, :, -len(layer.bias) :]
        yield ones.T @ ones / len(a), np.einsum("nkc,nkl,nld->cd", to_bias, inside, to_bias) / len(a)
        a = np.asarray(net.activation(a @ layer.weight.T + layer.bias)) if len(layers) > 1 else a


@pytest.mark.parametrize("name", SOME_FAMILIES)
def test_factors_are_the_means_of_squared_inputs_and_seeds(name):
    landscape, theta = landscape_of(FAMILIES[name], n=7, widths=(5, 4), activation=jnp.tanh)
    found = factors_of(landscape, theta)
    for factors, (a, b) in zip(found.layers, dense_twin(landscape, theta), strict=True):
        np.testing.assert_allclose(factors.inputs.T @ factors.inputs, a, atol=1e-12 * a.max())
        np.testing.assert_allclose(factors.outputs.T @ factors.outputs, b, atol=1e-12 * abs(b).max())
    own = information(landscape, theta)[:, landscape.model.family.n_outputs :, landscape.model.family.n_outputs :]
    np.testing.assert_allclose(found.own, np.einsum("nmm->m", own) / 7, rtol=1e-12)


def test_one_layer_under_a_gaussian_is_exactly_a_kronecker_product():
    landscape, theta = landscape_of(FAMILIES["gaussian"], widths=())
    found = factors_of(landscape, theta)
    (factors,) = found.layers
    block = np.kron(factors.outputs.T @ factors.outputs, factors.inputs.T @ factors.inputs)
    dense = columns(GaussNewton(landscape, theta))
    np.testing.assert_allclose(block, dense[:-1, :-1], atol=1e-12 * dense.max())
    np.testing.assert_allclose(found.own, dense[-1:, -1], rtol=1e-12)


@pytest.mark.parametrize("n", [1, 256, 300, 513])
def test_every_row_counts_once_whatever_the_blocks(n):
    landscape, theta = landscape_of(FAMILIES["categorical"], n=n, widths=())
    (factors,) = factors_of(landscape, theta).layers
    x = np.hstack([np.asarray(landscape.x), np.ones((n, 1))])
    p = np.asarray(jax.nn.softmax(landscape.model.predict(theta, landscape.x)))
    b = np.diag(p.mean(axis=0)) - p.T @ p / n
    np.testing.assert_allclose(factors.inputs.T @ factors.inputs, x.T @ x / n, atol=1e-12)
    np.testing.assert_allclose(factors.outputs.T @ factors.outputs, b, atol=1e-12)


def test_the_log_determinant_is_the_dense_one_with_a_scale_for_each_input():
    rng = np.random.default_rng(0)
    u, v, s = rng.normal(size=(4, 4)), rng.normal(size=(3, 3)), rng.uniform(0.1, 2.0, 4)
    scales = np.tile(s, 3)
    product = np.kron(v.T @ v, u.T @ u)
    dense = np.linalg.slogdet(np.eye(12) + 50 * scales[:, None] * product * scales)[1]
    found = log_det_shifted(Factors(jnp.asarray(u), jnp.asarray(v)), jnp.asarray(s), 50)
    np.testing.assert_allclose(found, dense, rtol=1e-12)


def test_float32_roots_keep_small_eigenvalues_that_squares_would_lose():
    """Inputs of rank 10 among 40, in units that make n A large: rounding must not fill the 30 empty directions."""
    landscape, theta = landscape_of(FAMILIES["gaussian"], n=2000, d=40, widths=())
    rng = np.random.default_rng(0)
    x = 1e3 * rng.normal(size=(2000, 10)) @ rng.normal(size=(10, 40))
    x = x.astype(np.float32)
    values = []
    for dtype in (np.float64, np.float32):
        with jax.enable_x64(dtype == np.float64):
            rows = Landscape(landscape.model, jnp.asarray(x, dtype), jnp.asarray(landscape.y, dtype))
            (factors,) = factors_of(rows, jnp.asarray(theta, dtype)).layers
            values.append(float(log_det_shifted(factors, jnp.full(41, 0.1, dtype), 2000)))
            if dtype == np.float32:
                a = np.linalg.eigvalsh(np.asarray(factors.inputs.T @ factors.inputs))
                b = float(np.square(factors.outputs).item())
                squared = np.sum(np.log1p(20 * np.maximum(a, 0) * b))
    np.testing.assert_allclose(values[1], values[0], rtol=1e-3)
    assert abs(squared - values[0]) > 0.05 * values[0]


def test_memory_grows_with_the_rows_by_a_copy_of_the_inputs_alone():
    def scratch(n):
        landscape, theta = landscape_of(FAMILIES["categorical"], n=n, widths=(5,), activation=jnp.tanh)
        return factors_of.lower(landscape, theta).compile().memory_analysis().temp_size_in_bytes

    assert scratch(8192) - scratch(1024) <= (8192 - 1024) * 3 * 8


def test_other_nets_have_none():
    family = FAMILIES["categorical"]
    model = build(family, ConvolutionalNet, (4, 2), family.n_outputs, (2,), 3, 4, jax.nn.relu)
    landscape = Landscape(model, jnp.zeros((3, 8)), jnp.zeros(3, int))
    with pytest.raises(ValueError, match="mlp"):
        kronecker_factors(landscape, jnp.zeros(model.n_parameters))
