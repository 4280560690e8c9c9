"""Curvature products against dense matrices, finite differences and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.landscape import Landscape
from models.geometry.operators.information import whiten
from models.geometry.operators.products import (
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    Negative,
    Restricted,
    gauss_newton_factor,
)
from models.joint import likelihoods
from tests.support.landscapes import (
    FAMILIES,
    SOME_FAMILIES,
    columns,
    dense_hessian,
    jacobians,
    landscape_of,
    with_spectrum,
)

pytestmark = pytest.mark.usefixtures("float64")


@jax.jit
def called(operator, vectors):
    """(p, p) the operator's matrix, a product at a time."""
    return jax.vmap(operator, out_axes=1)(vectors)


def expected_information(name, eta, extra, y):
    """(k + m, k + m) closed forms, one row."""
    if name.startswith("categorical"):
        p = np.exp(np.concatenate([[0.0] * (3 - len(eta)), eta]))
        p /= p.sum()
        return (np.diag(p) - np.outer(p, p))[3 - len(eta) :, 3 - len(eta) :]
    if name == "bernoulli":
        q = 1 / (1 + np.exp(-eta[0]))
        return np.array([[q * (1 - q)]])
    if name == "poisson":
        return np.array([[np.exp(eta[0])]])
    if name == "gaussian":
        return np.diag([np.exp(-2 * extra[0]), 2.0])
    if name == "heteroscedastic-gaussian":
        return np.diag([np.exp(-2 * eta[1]), 2.0])
    if name == "student-t":
        return np.diag([6 / 8 * np.exp(-2 * extra[0]), 10 / 8])
    alpha, mu = np.exp(extra[0]), np.exp(eta[0])
    family = likelihoods.negative_binomial()
    score = jax.grad(lambda a: family.log_density(jnp.asarray(eta)[None], a[None], jnp.asarray(y)[None])[0])(extra[0])
    return np.diag([alpha * mu / (alpha + mu), float(score) ** 2])


@pytest.mark.parametrize("name", FAMILIES)
def test_hessian_products_are_the_dense_hessian(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    operator = Hessian(landscape, theta)
    dense = dense_hessian(landscape, theta)
    np.testing.assert_allclose(called(operator, jnp.eye(theta.size)), dense, atol=1e-12)
    np.testing.assert_allclose(columns(operator), dense, atol=1e-12)


@pytest.mark.parametrize("name", SOME_FAMILIES)
def test_hessian_product_is_the_gradients_central_difference(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    v = jnp.asarray(np.random.default_rng(1).normal(size=theta.size))
    gradient, h = jax.jit(jax.grad(landscape.loss)), 1e-5
    difference = (gradient(theta + h * v) - gradient(theta - h * v)) / (2 * h)
    product = jax.jit(lambda operator: operator(v))(Hessian(landscape, theta))
    assert np.linalg.norm(product - difference) < 1e-7 * np.linalg.norm(product)


@pytest.mark.parametrize("name", FAMILIES)
def test_gauss_newton_products_are_the_dense_matrix(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    model = landscape.model
    eta, extra = np.asarray(model.predict(theta, landscape.x)), np.asarray(model.extra(theta))
    information = np.stack(
        [expected_information(name, e, extra, y) for e, y in zip(eta, np.asarray(landscape.y), strict=True)]
    )
    jacobian = jacobians(landscape, theta)
    dense = np.einsum("nap,nab,nbq->pq", jacobian, information, jacobian) / len(eta)
    np.testing.assert_allclose(columns(GaussNewton(landscape, theta)), dense, atol=1e-12)
    forward, backward = gauss_newton_factor(landscape, theta)
    factor = np.asarray(jax.jit(jax.vmap(forward))(jnp.eye(theta.size))).reshape(theta.size, -1).T
    np.testing.assert_allclose(factor.T @ factor, len(eta) * dense, atol=1e-11)
    u = jnp.asarray(np.random.default_rng(2).normal(size=jax.eval_shape(forward, theta).shape))
    np.testing.assert_allclose(backward(u), factor.T @ np.asarray(u).ravel(), atol=1e-11)


@pytest.mark.parametrize("name", FAMILIES)
def test_empirical_fisher_products_are_the_mean_outer_product_of_the_rows_gradients(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    model = landscape.model
    gradients = np.asarray(jax.jit(jax.jacrev(lambda t: -model.log_likelihood(t, landscape.x, landscape.y)))(theta))
    dense = gradients.T @ gradients / len(gradients)
    np.testing.assert_allclose(columns(EmpiricalFisher(landscape, theta)), dense, atol=1e-12)


@pytest.mark.parametrize("entries", [range(10, 20), [29, 0, 3], [2], range(30)], ids=str)
def test_restricted_products_are_the_block_of_the_matrix(entries):
    operator = with_spectrum(np.linspace(-1, 5, 30))
    entries = np.array(entries)
    block = Restricted(operator, jnp.asarray(entries))
    assert block.like.shape == entries.shape
    expected = np.asarray(operator.matrix)[np.ix_(entries, entries)]
    np.testing.assert_allclose(columns(block), expected, atol=1e-14)


@pytest.mark.parametrize("name", SOME_FAMILIES)
def test_a_layers_products_are_its_block_of_the_hessian(name):
    landscape, theta = landscape_of(FAMILIES[name], activation=jnp.tanh)
    layer = landscape.model.layers["layers.1"]
    block = Restricted(Hessian(landscape, theta), jnp.arange(layer.start, layer.stop))
    found = columns(block)
    np.testing.assert_allclose(found, dense_hessian(landscape, theta)[layer, layer], atol=1e-12)


def test_negative_products_have_the_other_sign():
    operator = with_spectrum(np.linspace(-1, 5, 30))
    np.testing.assert_array_equal(columns(Negative(operator)), -operator.matrix)


def test_restricted_operators_of_equal_shape_share_one_program():
    operator = with_spectrum(np.linspace(-1, 5, 30))
    traces = []

    @jax.jit
    def product(operator, v):
        traces.append(1)
        return operator.linearise()(v)

    one, two = (product(Restricted(operator, jnp.array(e)), jnp.ones(2)) for e in ([0, 1], [7, 3]))
    assert len(traces) == 1
    assert not np.allclose(one, two)


@pytest.mark.parametrize("name", ["gaussian", "heteroscedastic-gaussian", "student-t", "negative-binomial"])
def test_information_is_the_variance_of_the_score(name):
    """E[score score'] = F, by averaging over targets that the family itself draws."""
    family, n = FAMILIES[name], 50_000
    eta = jnp.tile(jnp.array([[0.4, -0.3]])[:, : family.n_outputs], (n, 1))
    extra = jnp.full(len(family.extras), 0.2)
    y = family.sample(jax.random.key(0), eta, extra)
    y = y.astype(int) if name == "negative-binomial" else y
    in_eta = jax.grad(lambda e: jnp.sum(family.log_density(e, extra, y)))(eta)
    in_extra = jax.jacfwd(lambda a: family.log_density(eta, a, y))(extra)
    scores = np.concatenate([in_eta, in_extra], axis=1)
    basis = np.eye(scores.shape[1])
    k = family.n_outputs
    roots = [whiten(family, eta, extra, y, jnp.tile(b[None, :k], (n, 1)), jnp.asarray(b[k:])) for b in basis]
    information = np.einsum("anr,bnr->ab", roots, roots) / n
    products = np.einsum("na,nb->nab", scores, scores)
    error = products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - information) < 4 * error + 1e-12)


def test_linear_regression_has_hessian_xx_over_n_sigma2():
    landscape, theta = landscape_of(likelihoods.gaussian(), widths=())
    x = np.hstack([np.asarray(landscape.x), np.ones((20, 1))])
    expected = x.T @ x / 20 * np.exp(-2 * float(theta[-1]))
    np.testing.assert_allclose(columns(Hessian(landscape, theta))[:-1, :-1], expected, atol=1e-13)


def test_softmax_regression_has_the_kronecker_hessian():
    landscape, theta = landscape_of(likelihoods.categorical(3), widths=())
    x = np.hstack([np.asarray(landscape.x), np.ones((20, 1))])
    p = np.asarray(jax.nn.softmax(landscape.model.predict(theta, landscape.x)))
    expected = sum(np.kron(np.diag(q) - np.outer(q, q), np.outer(row, row)) for q, row in zip(p, x, strict=True)) / len(
        x
    )
    # theta holds the (3, 3) weights and then the biases; the product has each class's bias behind its weights.
    order = np.concatenate([np.arange(12).reshape(3, 4)[:, :3].ravel(), np.arange(12).reshape(3, 4)[:, 3]])
    np.testing.assert_allclose(columns(Hessian(landscape, theta)), expected[np.ix_(order, order)], atol=1e-13)
    np.testing.assert_allclose(columns(GaussNewton(landscape, theta)), expected[np.ix_(order, order)], atol=1e-13)


def test_landscapes_of_equal_shape_share_one_program():
    first, theta = landscape_of(likelihoods.gaussian())
    second = Landscape(first.model, first.x + 1, first.y - 1)
    traces = []

    @jax.jit
    def product(operator, v):
        traces.append(1)
        return operator(v)

    one, two = (product(Hessian(land, theta), theta) for land in (first, second))
    assert len(traces) == 1
    assert not np.allclose(one, two)


def test_a_family_without_a_formula_is_named():
    family = likelihoods.Family("cauchy", 1, (), lambda eta, extra, y: -jnp.log1p(jnp.square(y - eta[:, 0])))
    landscape, theta = landscape_of(family)
    with pytest.raises(ValueError, match="'cauchy'"):
        GaussNewton(landscape, theta)(theta)
