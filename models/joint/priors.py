"""Gaussian priors over the flat parameter vector, and the weight decay each one is.

They are centred at the null model, which is where fits start, too: all weights 0 but the last biases, which are its
natural parameters, and the likelihood's own parameters. So a prior says how far eta may be from what is known without
any column, whatever the target's size. The likelihood's own parameters (log sigma, log alpha) have the scale 1 under
every prior, for without one the noise scale of a perfect fit has no best value but 0.
"""

import numpy as np

from models.joint.model import Model


def normal_scales(model: Model, scale: float, bias_scale: float, *, fan_in: bool) -> np.ndarray:
    """(p,) prior standard deviations: scale / sqrt(fan-in) or scale for weights, bias_scale, 1 for extras."""
    weights = np.where(model.is_bias, bias_scale, scale / np.sqrt(model.fan_in) if fan_in else scale)
    return np.concatenate([weights, np.ones(len(model.family.extras))])


def flat_scales(model: Model) -> np.ndarray:
    """(p,) infinite standard deviations for weights: a flat, improper prior."""
    return np.concatenate([np.full(model.n_weights, np.inf), np.ones(len(model.family.extras))])


def decay_scales(model: Model, weight_decay: float, n_rows: int) -> np.ndarray:
    """(p,) prior standard deviations that a weight decay states.

    Minimising mean NLL + w / 2 |weights - centre|^2 over n rows maximises the log joint under N(centre, 1 / (n w)):
    s = 1 / sqrt(n w). The likelihood's own parameters are not decayed. A decay of 0 is flat.
    """
    if weight_decay == 0.0:
        return flat_scales(model)
    weights = np.full(model.n_weights, 1.0 / np.sqrt(n_rows * weight_decay))
    return np.concatenate([weights, np.ones(len(model.family.extras))])


def null_centre(model: Model, y: np.ndarray) -> np.ndarray:
    """(p,) the null model of targets y: its natural parameters as the last biases, and the likelihood's parameters."""
    assert model.family.null is not None
    eta, extra = model.family.null(y)
    centre = np.zeros(model.n_parameters)
    bias = model.leaves[-1]
    assert bias.shape == eta.shape, "the last leaf of a predictor is the bias of its outputs"
    centre[bias.start : bias.stop] = eta
    centre[model.n_weights :] = extra
    return centre
