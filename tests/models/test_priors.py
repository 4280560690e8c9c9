"""Prior scales weight by weight, and what a weight decay says as a prior."""

import numpy as np
import pytest

from models import likelihoods
from models.posterior import build
from models.predictors.mlp import ACTIVATIONS, MLPNet
from models.priors import decay_scales, flat_scales, normal_scales

# Weights 4 x 3, biases 4, weights 1 x 4, bias 1, log sigma.
MODEL = build(lambda key: MLPNet(3, 1, (4,), ACTIVATIONS["tanh"], key), likelihoods.gaussian())


def test_fan_in_scaling_divides_weights_and_leaves_biases_and_extras():
    expected = [*[1.5 / np.sqrt(3)] * 12, *[0.7] * 4, *[1.5 / 2] * 4, 0.7, 1.0]
    np.testing.assert_allclose(normal_scales(MODEL, 1.5, 0.7, fan_in=True), expected)


def test_constant_scaling_is_the_same_for_all_weights():
    expected = [*[1.5] * 12, *[0.7] * 4, *[1.5] * 4, 0.7, 1.0]
    np.testing.assert_allclose(normal_scales(MODEL, 1.5, 0.7, fan_in=False), expected)


def test_a_decay_states_its_prior_over_weights_and_biases_alone():
    scales = decay_scales(MODEL, 0.02, 50)
    np.testing.assert_allclose(scales[:-1], 1.0)
    assert scales[-1] == np.inf


@pytest.mark.parametrize("scales", [flat_scales(MODEL), decay_scales(MODEL, 0.0, 50)])
def test_flat_and_no_decay_are_infinite(scales):
    assert scales.shape == (22,)
    assert np.all(np.isinf(scales))
