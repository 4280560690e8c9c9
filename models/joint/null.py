"""Null models: the natural parameters of a target without any column, from which every learner starts.

Each function takes the (n,) targets of the training part, as the likelihood takes them, and returns (k,) eta and (m,)
of the likelihood's own parameters: those of largest likelihood, but where a comment says otherwise. Real targets come
standardised, so a Gaussian's are about (0, 0).
"""

import numpy as np

Null = tuple[np.ndarray, np.ndarray]

_NONE = np.zeros(0)
_LEAST_COUNT = 0.5  # rows of a class that training lacks, so that its logit is finite
_LEAST_SCALE = 1e-6
_STEPS = 200


def categorical(y: np.ndarray, n_classes: int, *, reference: bool) -> Null:
    """Log shares of the classes, less that of the first with `reference`, else less their mean."""
    logits = np.log(np.maximum(np.bincount(y, minlength=n_classes), _LEAST_COUNT))
    return (logits[1:] - logits[0], _NONE) if reference else (logits - logits.mean(), _NONE)


def bernoulli(y: np.ndarray) -> Null:
    """Log odds of class 1."""
    return categorical(y, 2, reference=True)


def gaussian(y: np.ndarray) -> Null:
    """Mean and log sd, which is at least what single precision tells from none."""
    return np.array([np.mean(y)]), np.array([np.log(max(float(np.std(y)), _LEAST_SCALE))])


def heteroscedastic_gaussian(y: np.ndarray) -> Null:
    """Mean and log sd, both natural parameters."""
    return np.concatenate(gaussian(y)), _NONE


def student_t(y: np.ndarray, degrees: float) -> Null:
    """Location and log scale by expectation maximisation (Lange, Little and Taylor 1989)."""
    location, square = float(np.median(y)), max(float(np.var(y)), _LEAST_SCALE**2)
    for _ in range(_STEPS):
        weights = (degrees + 1) / (degrees + (y - location) ** 2 / square)
        location = float(weights @ y / weights.sum())
        square = max(float(np.mean(weights * (y - location) ** 2)), _LEAST_SCALE**2)
    return np.array([location]), np.array([0.5 * np.log(square)])


def poisson(y: np.ndarray) -> Null:
    """Log mean."""
    return np.array([np.log(np.mean(y))]), _NONE


def negative_binomial(y: np.ndarray) -> Null:
    """Log mean, and log alpha by moments.

    alpha = m^2 / max(v - m, m sqrt(2 / n)): the excess v - m of the variance over a Poisson's, but at least its
    standard error, as the data cannot tell a smaller one from none.
    """
    mean = float(np.mean(y))
    excess = max(float(np.var(y)) - mean, mean * np.sqrt(2 / len(y)))
    return np.array([np.log(mean)]), np.array([2 * np.log(mean) - np.log(excess)])
