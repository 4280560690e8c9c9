"""Prior scales weight by weight, and what a weight decay says as a prior."""

import numpy as np
import pytest

from models.joint import likelihoods
from models.joint.model import build
from models.joint.priors import decay_scales, flat_scales, normal_scales, null_centre
from models.predictors.mlp import ACTIVATIONS, MLPNet

# Weights 4 x 3, biases 4, weights 1 x 4, bias 1, log sigma.
MODEL = build(likelihoods.gaussian(), MLPNet, 3, 1, (4,), ACTIVATIONS["tanh"])


def test_fan_in_scaling_divides_weights_and_leaves_biases_and_extras():
    expected = [*[1.5 / np.sqrt(3)] * 12, *[0.7] * 4, *[1.5 / 2] * 4, 0.7, 1.0]
    np.testing.assert_allclose(normal_scales(MODEL, 1.5, 0.7, fan_in=True), expected)


def test_constant_scaling_is_the_same_for_all_weights():
    expected = [*[1.5] * 12, *[0.7] * 4, *[1.5] * 4, 0.7, 1.0]
    np.testing.assert_allclose(normal_scales(MODEL, 1.5, 0.7, fan_in=False), expected)


def test_a_decay_states_its_prior_over_weights_and_biases():
    np.testing.assert_allclose(decay_scales(MODEL, 0.02, 50), 1.0)


@pytest.mark.parametrize("scales", [flat_scales(MODEL), decay_scales(MODEL, 0.0, 50)])
def test_flat_and_no_decay_are_infinite_but_for_the_noise(scales):
    assert scales.shape == (22,)
    assert np.all(np.isinf(scales[:-1]))
    assert scales[-1] == 1.0


def test_the_centre_is_the_null_model_at_the_last_bias_and_the_extras():
    y = np.array([1.0, 2.0, 6.0])
    centre = null_centre(MODEL, y)
    np.testing.assert_allclose(centre, [*[0.0] * 20, 3.0, np.log(np.std(y))])
