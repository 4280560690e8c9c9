"""Gaussian priors over the flat parameter vector, and the weight decay each one is."""

import numpy as np

from models.posterior import Model


def normal_scales(model: Model, scale: float, bias_scale: float, *, fan_in: bool) -> np.ndarray:
    """(p,) prior standard deviations: scale / sqrt(fan-in) or scale for weights, bias_scale, 1 for extras."""
    weights = np.where(model.is_bias, bias_scale, scale / np.sqrt(model.fan_in) if fan_in else scale)
    return np.concatenate([weights, np.ones(len(model.family.extras))])


def flat_scales(model: Model) -> np.ndarray:
    """(p,) infinite standard deviations: a flat, improper prior."""
    return np.full(model.n_parameters, np.inf)


def decay_scales(model: Model, weight_decay: float, n_rows: int) -> np.ndarray:
    """(p,) prior standard deviations that a weight decay states.

    Minimising mean NLL + w / 2 |weights|^2 over n rows maximises the log joint under N(0, 1 / (n w)):
    s = 1 / sqrt(n w).
    The likelihood's own parameters are not decayed: their prior is flat. A decay of 0 is flat throughout.
    """
    if weight_decay == 0.0:
        return flat_scales(model)
    weights = np.full(model.n_weights, 1.0 / np.sqrt(n_rows * weight_decay))
    return np.concatenate([weights, np.full(len(model.family.extras), np.inf)])
