"""Log densities with known moments, each one function object so that programs are found again."""

import jax
import jax.numpy as jnp
import numpy as np


def gaussian(theta, data):
    """N(mean, inverse of precision), data = (mean, precision)."""
    mean, precision = data
    return -0.5 * (theta - mean) @ precision @ (theta - mean)


def funnel(theta, data):
    """Neal's funnel: v ~ N(0, 3^2), each x ~ N(0, e^v)."""
    del data
    v, x = theta[0], theta[1:]
    return -0.5 * jnp.square(v / 3.0) - 0.5 * jnp.sum(jnp.square(x)) * jnp.exp(-v) - 0.5 * len(x) * v


def correlated(p, condition, seed):
    """Mean and covariance of a Gaussian whose covariance has eigenvalues from 1 to `condition` in random directions."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(p, p)))
    covariance = (basis * np.geomspace(1.0, condition, p)) @ basis.T
    return rng.normal(size=p), covariance


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)
