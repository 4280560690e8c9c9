"""Norms of the weights against their definitions written out."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import Point
from models.geometry.families.norms import DEFINITIONS, path_norm, weight_matrices
from models.geometry.landscape import Landscape
from models.joint.model import build
from models.measuring.at_points import measure
from models.measuring.catalogue import ask
from models.predictors.convnet import ConvolutionalNet
from tests.support.landscapes import FAMILIES, landscape_of

INVARIANT = {d.name for d in DEFINITIONS if d.invariance == "rescaling"}


pytestmark = pytest.mark.usefixtures("float64")


def point_of(landscape, theta, initial=None):
    return Point(landscape, theta, np.full(theta.size, np.inf), jax.random.key(0), initial)


def values(point, name, **settings):
    (found,) = measure([point], ask(name, **settings))
    assert all(m.status == "converged" and m.standard_error == 0.0 for m in found)
    return {m.component: m.value for m in found}


def value(point, name, **settings):
    return values(point, name, **settings)[""]


@functools.cache
def deep_case():
    return landscape_of(FAMILIES["categorical"], widths=(6, 5))


@functools.cache
def conv_case(shape=(8, 8, 1), channels=(3, 4), seed=0):
    model = build(FAMILIES["categorical"], ConvolutionalNet, shape, 3, channels, 3, 6, jax.nn.relu)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, int(np.prod(shape)))), rng.integers(0, 3, 5)
    theta = 0.5 * rng.normal(size=model.n_parameters)
    return Landscape(model, jnp.asarray(x), jnp.asarray(y)), jnp.asarray(theta)


def test_lengths_are_of_the_predictors_weights_alone():
    landscape, theta = landscape_of(FAMILIES["gaussian"])
    initial = theta + jnp.arange(theta.size)
    point = point_of(landscape, theta, initial)
    w = theta.size - 1  # log sigma is the likelihood's
    np.testing.assert_allclose(value(point, "l2_norm"), np.linalg.norm(theta[:w]))
    np.testing.assert_allclose(value(point, "distance_from_initialisation"), np.linalg.norm(np.arange(w)))


def test_without_a_start_there_is_no_distance_from_it():
    landscape, theta = landscape_of(FAMILIES["gaussian"])
    ((row,),) = measure([point_of(landscape, theta)], ask("distance_from_initialisation"))
    assert row.status == "not_applicable" and row.reason is not None and "l2_norm" in row.reason


@pytest.mark.parametrize("case", [deep_case, conv_case])
def test_spectral_measures_meet_singular_values(case):
    landscape, theta = case()
    point = point_of(landscape, theta)
    matrices = {k: np.asarray(w) for k, w in weight_matrices(landscape.model, theta).items()}
    assert list(matrices) == list(landscape.model.layers)
    top = {k: np.linalg.svd(w)[1][0] for k, w in matrices.items()}
    assert values(point, "spectral_norms") == pytest.approx(top, rel=1e-12)
    np.testing.assert_allclose(value(point, "log_spectral_norm_product"), np.log(np.prod(list(top.values()))))
    ranks = sum((np.linalg.svd(w)[1] ** 2).sum() / top[k] ** 2 for k, w in matrices.items())
    np.testing.assert_allclose(value(point, "stable_rank_sum"), ranks)
    spread = sum((np.sqrt((w**2).sum(axis=1)).sum() / top[k]) ** (2 / 3) for k, w in matrices.items())
    complexity = np.prod(list(top.values())) * spread**1.5
    np.testing.assert_allclose(value(point, "log_spectral_complexity"), np.log(complexity))


def test_the_path_norm_sums_over_every_path():
    landscape, theta = landscape_of(FAMILIES["categorical"], d=2, widths=(3, 2))
    layers = landscape.model.unravel(theta).layers
    weights, biases = [np.asarray(m.weight) for m in layers], [np.asarray(m.bias) for m in layers]
    total = 0.0
    for begin in range(4):  # 0: at an input; l: at the bias of layer l - 1
        sizes = [2, 3, 2, 3][begin:]
        for path in itertools.product(*map(range, sizes)):
            product = 1.0 if begin == 0 else biases[begin - 1][path[0]]
            for (a, b), w in zip(itertools.pairwise(path), weights[begin:], strict=True):
                product *= w[b, a]
            total += product**2
    np.testing.assert_allclose(value(point_of(landscape, theta), "path_norm"), np.sqrt(total))


def test_a_convnets_path_norm_is_that_of_its_largest_routing():
    """Max-pooling chooses one of two positions, per window and channel: try all choices."""
    landscape, theta = conv_case(shape=(4, 1), channels=(2,))
    net = landscape.model.unravel(theta)
    (block,) = net.blocks
    squares = [np.square(a) for a in (block.weight, block.bias)]
    tail = [(np.square(m.weight), np.square(m.bias)) for m in (net.hidden, net.output)]
    padded = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    at = np.stack([squares[0] @ padded[i : i + 3] + squares[1] for i in range(4)])  # (position, channel)

    def through(features):
        for weight, bias in tail:
            features = weight @ features + bias
        return features.sum()

    routed = [
        through(np.array([at[2 * window + pick, c] for (window, c), pick in zip(np.ndindex(2, 2), picks, strict=True)]))
        for picks in itertools.product((0, 1), repeat=4)
    ]
    assert max(routed) > 1.01 * min(routed)
    np.testing.assert_allclose(path_norm(landscape.model, theta), np.sqrt(max(routed)))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_fisher_rao_norm_is_the_empirical_fishers_quadratic_form(family):
    landscape, theta = landscape_of(FAMILIES[family])
    model = landscape.model
    rows = np.asarray(jax.jacrev(lambda t: model.log_likelihood(t, landscape.x, landscape.y))(theta))
    rows = rows[:, : model.n_weights]
    weights = np.asarray(theta)[: model.n_weights]
    np.testing.assert_allclose(
        value(point_of(landscape, theta), "fisher_rao_norm"),
        np.sqrt(weights @ (rows.T @ rows / len(rows)) @ weights),
        rtol=1e-10,
    )


@pytest.mark.parametrize("widths", [(), (5,), (5, 4, 3)])
def test_without_biases_the_fisher_rao_norm_follows_from_the_outputs_alone(widths):
    """Euler: a bias-free ReLU net of L layers is homogeneous of degree L in its weights."""
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=widths)
    model = landscape.model
    theta = jnp.where(model.is_bias, 0.0, theta)
    eta = model.predict(theta, landscape.x)
    slopes = jax.vmap(jax.grad(lambda e, y: model.family.log_density(e[None], theta[:0], y[None])[0]))(eta, landscape.y)
    euler = (len(widths) + 1) * np.sqrt(np.mean(np.sum(np.asarray(slopes * eta), axis=1) ** 2))
    np.testing.assert_allclose(value(point_of(landscape, theta), "fisher_rao_norm"), euler, rtol=1e-10)


@pytest.mark.parametrize("alpha", [1e-4, 1e4])
@pytest.mark.parametrize("case", [deep_case, conv_case])
def test_rescaling_a_layer_moves_what_is_not_said_to_be_invariant_and_nothing_else(case, alpha):
    landscape, theta = case()
    before = point_of(landscape, theta, jnp.zeros_like(theta))
    for layer in hidden_layers(landscape.model):
        after = before._replace(theta=rescale(theta, layer, alpha))
        for definition in DEFINITIONS:
            old, new = (np.array(list(values(p, definition.name).values())) for p in (before, after))
            moved = np.max(np.abs(new / old - 1))
            assert moved < 1e-8 if definition.name in INVARIANT else moved > 0.01, definition.name


def test_permuting_units_moves_nothing_but_the_distance_from_the_start():
    landscape, theta = deep_case()
    before = point_of(landscape, theta, jnp.arange(theta.size) / theta.size)
    after = before._replace(theta=permute(theta, hidden_layers(landscape.model)[0], np.array([2, 0, 1, 5, 3, 4])))
    for definition in DEFINITIONS:
        old, new = (np.array(list(values(p, definition.name).values())) for p in (before, after))
        moved = np.max(np.abs(new / old - 1))
        assert moved > 1e-3 if definition.invariance == "none" else moved < 1e-12, definition.name


def test_a_net_of_zeros_has_no_logarithms_of_norms():
    landscape, theta = landscape_of(FAMILIES["categorical"], widths=())
    zero = point_of(landscape, jnp.zeros_like(theta))
    assert value(zero, "l2_norm") == value(zero, "path_norm") == value(zero, "fisher_rao_norm") == 0.0
    for name in ("log_spectral_norm_product", "stable_rank_sum", "log_spectral_complexity"):
        ((row,),) = measure([zero], ask(name))
        assert row.status == "unconverged" and row.value is None
