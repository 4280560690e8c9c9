"""Permuted and rescaled nets are the same function."""

import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import NotApplicableError
from models.joint import likelihoods
from models.joint.model import build
from models.predictors.convnet import ConvolutionalNet
from models.predictors.linear import LinearNet
from models.predictors.mlp import ACTIVATIONS, MLPNet

pytestmark = pytest.mark.usefixtures("float64")


def mlp(activation):
    return build(likelihoods.gaussian(), MLPNet, 4, 3, (6, 5), ACTIVATIONS[activation]), 4


def images(activation):
    shape = (5, 6, 2)
    model = build(likelihoods.gaussian(), ConvolutionalNet, shape, 3, (3, 4), 3, 5, ACTIVATIONS[activation])
    return model, int(np.prod(shape))


def sequences(activation):
    model = build(likelihoods.gaussian(), ConvolutionalNet, (7, 2), 3, (3,), 3, 4, ACTIVATIONS[activation])
    return model, 14


NETS = {"mlp": mlp, "images": images, "sequences": sequences}


def drawn(net, activation="relu"):
    """A model, a random theta with biases and the likelihood's own parameter, and inputs."""
    model, d = NETS[net](activation)
    rng = np.random.default_rng(0)
    return model, jnp.asarray(rng.normal(size=model.n_parameters)), jnp.asarray(rng.normal(size=(6, d)))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_permuting_any_layers_units_leaves_the_function_alone(net, activation):
    model, theta, x = drawn(net, activation)
    for layer in hidden_layers(model):
        changed = permute(theta, layer, np.roll(np.arange(len(layer.incoming)), 1))
        assert not jnp.array_equal(changed, theta)
        np.testing.assert_array_equal(jnp.sort(changed), jnp.sort(theta))
        np.testing.assert_allclose(model.predict(changed, x), model.predict(theta, x), rtol=1e-10)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("alpha", [1e-4, 0.3, 1e4])
def test_rescaling_any_relu_layer_leaves_the_function_alone(net, alpha):
    model, theta, x = drawn(net)
    for layer in hidden_layers(model):
        assert layer.homogeneous
        changed = rescale(theta, layer, alpha)
        assert jnp.sum(changed != theta) == layer.incoming.size + layer.outgoing.size
        np.testing.assert_allclose(model.predict(changed, x), model.predict(theta, x), rtol=1e-9)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])
def test_other_activations_are_not_homogeneous(activation):
    model, theta, x = drawn("mlp", activation)
    for layer in hidden_layers(model):
        assert not layer.homogeneous
        assert not np.allclose(model.predict(rescale(theta, layer, 3.0), x), model.predict(theta, x), rtol=1e-3)


def test_a_permutation_puts_the_named_unit_in_its_place():
    model, theta, _ = drawn("mlp")
    layer, order = hidden_layers(model)[0], np.array([2, 0, 1, 5, 4, 3])
    before, after = (model.unravel(t[: model.n_weights]) for t in (theta, permute(theta, layer, order)))
    np.testing.assert_array_equal(after.layers[0].weight, before.layers[0].weight[order])
    np.testing.assert_array_equal(after.layers[0].bias, before.layers[0].bias[order])
    np.testing.assert_array_equal(after.layers[1].weight, before.layers[1].weight[:, order])
    np.testing.assert_array_equal(after.layers[1].bias, before.layers[1].bias)


@pytest.mark.parametrize("net", NETS)
def test_both_are_undone_by_their_inverses(net):
    model, theta, _ = drawn(net)
    for layer in hidden_layers(model):
        order = np.random.default_rng(1).permutation(len(layer.incoming))
        np.testing.assert_array_equal(permute(permute(theta, layer, order), layer, np.argsort(order)), theta)
        np.testing.assert_array_equal(rescale(rescale(theta, layer, 4.0), layer, 0.25), theta)


def test_the_layers_are_named_as_in_the_model():
    for net, names in (("mlp", ["layers.0", "layers.1"]), ("images", ["blocks.0", "blocks.1", "hidden"])):
        model, _, _ = drawn(net)
        assert [layer.name for layer in hidden_layers(model)] == names
        assert set(names) <= set(model.layers)


def test_a_linear_predictor_has_no_hidden_units():
    model = build(likelihoods.categorical(3), LinearNet, 4, 3)
    with pytest.raises(NotApplicableError, match="no hidden units"):
        hidden_layers(model)
