"""Weight matching finds the permutation that was made, and never moves a net away."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.alignment import align
from models.geometry.connectivity.symmetries import hidden_layers, permute
from models.geometry.definition import NotApplicableError
from models.joint import likelihoods
from models.joint.model import build
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from models.predictors.mlp import MLPNet

KEY = jax.random.key(0)


pytestmark = pytest.mark.usefixtures("float64")


def mlp(*widths):
    return build(likelihoods.gaussian(), MLPNet, 6, 3, widths, jax.nn.relu)


def convnet():
    return build(likelihoods.gaussian(), ConvolutionalNet, (5, 6, 2), 3, (4, 5), 3, 7, jnp.tanh)


NETS = {"one": lambda: mlp(8), "three": lambda: mlp(8, 7, 6), "convnet": convnet}


def drawn(model, seed):
    return np.random.default_rng(seed).normal(size=model.n_parameters)


def shuffled(model, theta, seed):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(layer.incoming)) for layer in hidden_layers(model)]
    return reordered(model, theta, orders), orders


def reordered(model, theta, orders):
    theta = jnp.asarray(theta)
    for layer, order in zip(hidden_layers(model), orders, strict=True):
        theta = permute(theta, layer, np.asarray(order))
    return np.asarray(theta)


def distance(a, b):
    return float(np.sum(np.square(np.asarray(a) - np.asarray(b))))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_permutation_is_undone_exactly(net, seed):
    model = NETS[net]()
    theta = drawn(model, seed)
    other, planted = shuffled(model, theta, seed)
    assert distance(other, theta) > 1
    found = align(model, other, theta, KEY)
    np.testing.assert_array_equal(found.theta, theta)
    for order, made in zip(found.orders, planted, strict=True):
        np.testing.assert_array_equal(order, np.argsort(made))
    assert found.n_sweeps >= 2


@pytest.mark.parametrize("net", NETS)
def test_a_planted_permutation_is_found_under_noise(net):
    model = NETS[net]()
    theta = drawn(model, 0)
    other, planted = shuffled(model, theta + 0.1 * drawn(model, 1), 2)
    for order, made in zip(align(model, other, theta, KEY).orders, planted, strict=True):
        np.testing.assert_array_equal(order, np.argsort(made))


@pytest.mark.parametrize("widths", [(8, 8), (4,) * 6], ids=["two", "six"])
@pytest.mark.parametrize("noise", [0.0, 0.3], ids=["copy", "noisy"])
def test_a_planted_permutation_is_found_in_deep_nets_by_every_key(widths, noise):
    model = mlp(*widths)
    for seed in range(20):
        theta = drawn(model, seed)
        other, planted = shuffled(model, theta + noise * drawn(model, seed + 1000), seed)
        for order, made in zip(align(model, other, theta, jax.random.key(seed)).orders, planted, strict=True):
            np.testing.assert_array_equal(order, np.argsort(made))


@pytest.mark.parametrize("net", NETS)
def test_the_aligned_net_is_the_same_function_by_the_orders_given_and_nearer(net):
    model = NETS[net]()
    theta, reference = drawn(model, 0), drawn(model, 1)
    found = align(model, theta, reference, KEY)
    np.testing.assert_array_equal(found.theta, reordered(model, theta, found.orders))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(5, 60 if net == "convnet" else 6)))
    np.testing.assert_allclose(model.predict(jnp.asarray(found.theta), x), model.predict(jnp.asarray(theta), x))
    assert distance(found.theta, reference) < distance(theta, reference)


@pytest.mark.parametrize("seed", range(10))
def test_one_hidden_layer_is_aligned_as_well_as_by_brute_force(seed):
    model = mlp(4)
    theta, reference = drawn(model, seed), drawn(model, 100 + seed)
    found = distance(align(model, theta, reference, KEY).theta, reference)
    assert found == pytest.approx(min(distances(model, theta, reference)))


def distances(model, theta, reference):
    layers = hidden_layers(model)
    every = itertools.product(*(itertools.permutations(range(len(layer.incoming))) for layer in layers))
    return [distance(reordered(model, theta, orders), reference) for orders in every]


def test_two_layers_are_aligned_to_a_local_optimum_that_is_often_the_best():
    """No order of one layer alone is better; brute force finds a better pair of orders at times."""
    model = mlp(3, 3)
    best = 0
    for seed in range(8):
        theta, reference = drawn(model, seed), drawn(model, 100 + seed)
        found = align(model, theta, reference, KEY)
        reached = distance(found.theta, reference)
        for i in range(2):
            for order in itertools.permutations(range(3)):
                orders = [np.arange(3), np.arange(3)]
                orders[i] = np.array(order)
                assert reached <= distance(reordered(model, found.theta, orders), reference) + 1e-9
        least = min(distances(model, theta, reference))
        assert reached >= least - 1e-9
        best += reached == pytest.approx(least)
    assert best >= 4


def test_the_distance_never_grows_and_a_net_aligned_once_is_aligned():
    model = mlp(7, 7)
    for seed in range(20):
        theta, reference = drawn(model, seed), drawn(model, 100 + seed)
        key = jax.random.key(seed)
        found = align(model, theta, reference, key)
        assert distance(found.theta, reference) <= distance(theta, reference)
        again = align(model, found.theta, reference, key)
        np.testing.assert_array_equal(again.theta, found.theta)
        assert again.n_sweeps == 1


def test_ties_end_and_change_nothing():
    """Equal units may be put in any order; none is better."""
    model = mlp(5, 4)
    for theta in (np.zeros(model.n_parameters), np.ones(model.n_parameters)):
        found = align(model, theta, np.ones(model.n_parameters), KEY)
        assert found.n_sweeps == 1
        assert [order.tolist() for order in found.orders] == [[0, 1, 2, 3, 4], [0, 1, 2, 3]]


def test_the_likelihoods_own_parameters_stay_and_so_does_the_precision():
    model = mlp(5)
    theta = drawn(model, 0).astype(np.float32)
    found = align(model, jnp.asarray(theta), drawn(model, 1).astype(np.float32), KEY)
    assert found.theta.dtype == np.float32
    assert found.theta[-1] == theta[-1]
    np.testing.assert_array_equal(np.sort(found.theta), np.sort(theta))


def test_the_key_decides_all_chance():
    model = mlp(20, 20, 20)
    theta, reference = drawn(model, 0), drawn(model, 1)
    one, again, *others = (align(model, theta, reference, jax.random.key(seed)) for seed in (0, 0, *range(1, 9)))
    np.testing.assert_array_equal(one.theta, again.theta)
    assert any(not np.array_equal(one.theta, other.theta) for other in others)


def test_a_linear_predictor_has_nothing_to_align():
    model = build(likelihoods.categorical(3), LinearNet, 4, 3)
    with pytest.raises(NotApplicableError, match="no hidden units"):
        align(model, np.ones(model.n_parameters), np.ones(model.n_parameters), KEY)
