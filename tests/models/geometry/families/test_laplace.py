"""Laplace evidences where they are exact, and against dense twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from models.geometry.connectivity.symmetries import hidden_layers, permute
from models.geometry.definition import Point
from models.geometry.families import laplace
from models.geometry.landscape import Landscape
from models.geometry.operators.kronecker import kronecker_factors
from models.geometry.operators.products import GaussNewton
from models.joint.model import build, log_joint
from models.joint.priors import decay_scales, flat_scales, normal_scales
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.predictors.convnet import ConvolutionalNet
from tests.support.landscapes import FAMILIES, columns, landscape_of, target

factors_of = jax.jit(kronecker_factors)
# The other families have their known answers and invariances below.
TWINS = (
    *("categorical-reference", "heteroscedastic-gaussian", "student-t"),
    *(pytest.param(name, marks=pytest.mark.soak) for name in ("poisson", "negative-binomial")),
)
STRUCTURES = ("full", "diagonal", "kronecker", "last_layer")
TRACED = ("diagonal", "kronecker")


pytestmark = pytest.mark.usefixtures("float64")


def point_of(landscape, theta, scales=None):
    if scales is None:
        scales = normal_scales(landscape.model, 1.3, 0.4, fan_in=True)
    return Point(landscape, theta, scales, jax.random.key(0))


def row(point, structure):
    ((found,),) = measure([point], ask(f"laplace_evidence_{structure}"))
    return found


def evidence(point, structure):
    found = row(point, structure)
    assert (found.component, found.status, found.standard_error) == ("", "converged", 0.0)
    return found.value


def dense(point):
    """N G, dense, by products."""
    return len(point.landscape.x) * columns(GaussNewton(point.landscape, point.theta))


def by_the_formula(point, matrix, entries=slice(None)):
    """Log joint + p/2 log 2 pi - 1/2 log det(n G + P) over some of the parameters, the rest fixed."""
    landscape, theta, scales = point.landscape, np.asarray(point.theta)[entries], np.asarray(point.scales)[entries]
    log_likelihood = np.sum(landscape.model.log_likelihood(point.theta, landscape.x, landscape.y))
    log_det = np.linalg.slogdet(matrix + np.diag(scales**-2.0))[1]
    log_prior = np.sum(norm.logpdf(theta, scale=scales))
    return log_likelihood + log_prior + 0.5 * theta.size * np.log(2 * np.pi) - 0.5 * log_det


@jax.jit
def on_grid(landscape, scales, grid):
    return jax.lax.map(lambda t: log_joint(landscape.model, t, scales, landscape.x, landscape.y), grid, batch_size=256)


def newtons_mode(landscape, theta, scales, frozen=0):
    """The mode of the log joint in all but the last `frozen` parameters."""
    free = jnp.arange(theta.size) < theta.size - frozen

    def cost(t):
        return -log_joint(landscape.model, t, jnp.asarray(scales), landscape.x, landscape.y)

    @jax.jit
    def step(t):
        hessian = jnp.where(free[:, None] & free, jax.hessian(cost)(t), jnp.eye(t.size))
        return t - jnp.linalg.solve(hessian, jnp.where(free, jax.grad(cost)(t), 0.0))

    for _ in range(20):
        theta = step(theta)
    return theta


# --- where it is known ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["full", "kronecker", "last_layer"])
def test_a_linear_regression_of_known_noise_has_its_conjugate_evidence(structure):
    landscape, theta = landscape_of(FAMILIES["gaussian"], widths=())
    scales = np.array([0.7, 0.7, 0.7, 2.5, np.inf])  # a flat log sigma is taken as known
    mode = newtons_mode(landscape, theta, scales, frozen=1)
    x = np.hstack([np.asarray(landscape.x), np.ones((20, 1))])
    covariance = np.exp(2 * float(theta[-1])) * np.eye(20) + (x * scales[:-1] ** 2) @ x.T
    exact = multivariate_normal.logpdf(np.asarray(landscape.y), cov=covariance)
    np.testing.assert_allclose(evidence(point_of(landscape, mode, scales), structure), exact, rtol=1e-12)


def test_orthogonal_inputs_make_the_diagonal_exact_too():
    landscape, theta = landscape_of(FAMILIES["gaussian"], n=20, widths=())
    q, _ = np.linalg.qr(np.hstack([np.ones((20, 1)), np.asarray(landscape.x)]))
    landscape = Landscape(landscape.model, jnp.asarray(5 * q[:, 1:]), landscape.y)
    point = point_of(landscape, theta)
    np.testing.assert_allclose(evidence(point, "diagonal"), evidence(point, "full"), rtol=1e-12)


def test_a_logistic_regressions_evidence_nears_that_of_a_grid_as_rows_grow():
    """Two weights, integrated on a grid; the error of Laplace's approximation is of order 1 / n."""
    errors = []
    for n in (50, 800):
        landscape, theta = landscape_of(FAMILIES["bernoulli"], n=n, d=1, widths=())
        scales = np.array([1.5, 0.8])
        point = point_of(landscape, newtons_mode(landscape, theta, scales), scales)
        spread = np.sqrt(np.diag(np.linalg.inv(dense(point) + np.diag(scales**-2))))
        axes = [m + 8 * s * np.linspace(-1, 1, 81) for m, s in zip(np.asarray(point.theta), spread, strict=True)]
        grid = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))
        logs = on_grid(landscape, jnp.asarray(scales), grid)
        cell = np.prod([axis[1] - axis[0] for axis in axes])
        exact = float(jax.scipy.special.logsumexp(logs)) + np.log(cell)
        errors.append(abs(evidence(point, "full") - exact))
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 5


def test_a_scale_of_the_noise_costs_its_own_occam_factor():
    """Log sigma is orthogonal to the weights, with information 2 n: a factor of its own."""
    landscape, theta = landscape_of(FAMILIES["gaussian"])
    proper = normal_scales(landscape.model, 1.3, 0.4, fan_in=True)
    known = np.append(proper[:-1], np.inf)
    factor = -0.5 * float(theta[-1]) ** 2 - 0.5 * np.log1p(2 * 20)
    for structure in STRUCTURES:
        found = evidence(point_of(landscape, theta, proper), structure)
        np.testing.assert_allclose(found - evidence(point_of(landscape, theta, known), structure), factor, rtol=1e-9)


# --- against dense twins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
def test_structures_of_dense_twins_are_the_formula_with_their_part_of_it(name):
    landscape, theta = landscape_of(FAMILIES[name], n=12, activation=jnp.tanh)
    assert_all_but_kronecker(point_of(landscape, theta))


def assert_all_but_kronecker(point):
    whole, last = dense(point), slice(list(point.landscape.model.layers.values())[-1].start, None)
    for structure, matrix, entries in (
        ("full", whole, slice(None)),
        ("diagonal", np.diag(np.diag(whole)), slice(None)),
        ("last_layer", whole[last, last], last),
    ):
        expected = by_the_formula(point, matrix, entries)
        np.testing.assert_allclose(evidence(point, structure), expected, rtol=1e-10)


@pytest.mark.parametrize("name", TWINS)
def test_kronecker_factors_are_the_formula_with_their_dense_products(name):
    landscape, theta = landscape_of(FAMILIES[name], n=12, activation=jnp.tanh)
    point = point_of(landscape, theta)
    np.testing.assert_allclose(evidence(point, "kronecker"), by_the_formula(point, kronecker_twin(point)), rtol=1e-10)


def kronecker_twin(point):
    """N G of each layer's Kronecker product, dense, in the order of theta: weights, then biases."""
    model, n = point.landscape.model, len(point.landscape.x)
    found, twin = factors_of(point.landscape, point.theta), np.zeros((point.theta.size,) * 2)
    for factors, entries in zip(found.layers, model.layers.values(), strict=True):
        c, j = len(factors.outputs), len(factors.inputs)
        place = np.arange(c * j).reshape(c, j)
        order = np.concatenate([place[:, :-1].ravel(), place[:, -1]])
        block = np.kron(factors.outputs.T @ factors.outputs, factors.inputs.T @ factors.inputs)
        twin[entries, entries] = n * block[np.ix_(order, order)]
    own = range(model.n_weights, model.n_parameters)
    twin[own, own] = n * np.asarray(found.own)
    return twin


@pytest.mark.parametrize("name", ["student-t"])
def test_a_convnet_has_all_but_kronecker_factors(name):
    family, rng = FAMILIES[name], np.random.default_rng(1)
    model = build(family, ConvolutionalNet, (4, 2), family.n_outputs, (2,), 3, 4, jnp.tanh)
    theta = jnp.asarray(0.5 * rng.normal(size=model.n_parameters))
    landscape = Landscape(model, jnp.asarray(rng.normal(size=(9, 8))), jnp.asarray(target(family, 9, rng)))
    point = point_of(landscape, theta)
    assert_all_but_kronecker(point)
    refused = row(point, "kronecker")
    assert refused.status == "not_applicable" and "laplace_evidence_diagonal" in refused.reason


# --- what leaves it alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
def test_permuting_units_changes_nothing(structure):
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=(5, 4))
    moved = theta
    for layer in hidden_layers(landscape.model):
        moved = permute(moved, layer, np.roll(np.arange(len(layer.incoming)), 2))
    assert not np.allclose(moved, theta)
    before, after = (evidence(point_of(landscape, t), structure) for t in (theta, moved))
    np.testing.assert_allclose(after, before, rtol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_float32_agrees_with_float64(structure):
    landscape, theta = landscape_of(FAMILIES["categorical"], n=300)
    scales = normal_scales(landscape.model, 30.0, 100.0, fan_in=True)
    expected = evidence(point_of(landscape, theta, scales), structure)
    with jax.enable_x64(False):
        rows = Landscape(landscape.model, jnp.asarray(landscape.x, jnp.float32), jnp.asarray(landscape.y, jnp.int32))
        found = evidence(point_of(rows, jnp.asarray(theta, jnp.float32), scales), structure)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# --- what has none ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_flat_prior_has_no_evidence_and_a_weight_decay_has(structure):
    landscape, theta = landscape_of(FAMILIES["student-t"])
    refused = row(point_of(landscape, theta, flat_scales(landscape.model)), structure)
    assert refused.status == "not_applicable" and "proper prior" in refused.reason
    evidence(point_of(landscape, theta, decay_scales(landscape.model, 0.01, 20)), structure)


def test_the_last_layer_needs_no_prior_below_it():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    scales = normal_scales(landscape.model, 1.0, 1.0, fan_in=True)
    first, *_ = landscape.model.layers.values()
    flat = scales.copy()
    flat[first] = np.inf
    assert evidence(point_of(landscape, theta, flat), "last_layer") == evidence(
        point_of(landscape, theta, scales), "last_layer"
    )


@pytest.mark.parametrize("structure", TRACED)
def test_a_flat_prior_within_a_trace_has_no_value(structure):
    landscape, theta = landscape_of(FAMILIES["categorical"])
    scales = np.append(np.inf, np.ones(theta.size - 1))
    asked = ask(f"laplace_evidence_{structure}")
    found = jax.jit(lambda point: asked.definition.compute(point, asked.settings))(
        point_of(landscape, theta, jnp.asarray(scales))
    )
    assert np.isnan(found.value)


def test_scales_that_differ_between_units_have_no_kronecker_factors():
    landscape, theta = landscape_of(FAMILIES["categorical"])
    scales = np.linspace(0.5, 1.0, theta.size)
    refused = row(point_of(landscape, theta, scales), "kronecker")
    assert refused.status == "not_applicable" and "units" in refused.reason
    asked = ask("laplace_evidence_kronecker")
    found = jax.jit(lambda point: asked.definition.compute(point, asked.settings))(
        point_of(landscape, theta, jnp.asarray(scales))
    )
    assert np.isnan(found.value)


def test_too_many_parameters_for_dense_algebra_are_told_of_the_others(monkeypatch):
    landscape, theta = landscape_of(FAMILIES["categorical"])
    monkeypatch.setattr(laplace, "DENSE_LIMIT", theta.size - 1)
    refused = row(point_of(landscape, theta), "full")
    assert refused.status == "not_applicable" and "laplace_evidence_kronecker" in refused.reason
    evidence(point_of(landscape, theta), "last_layer")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_parameters_that_are_not_numbers_have_no_value(structure):
    landscape, theta = landscape_of(FAMILIES["categorical"])
    assert row(point_of(landscape, theta.at[0].set(jnp.nan)), structure).status == "unconverged"
