"""The predictive distribution of one learner on one part: what scores are computed from."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from models.joint.likelihoods import Family
from models.joint.model import Model

N_SAMPLES = 256


class Predictive(NamedTuple):
    """Predictive distribution for n rows, in the target's own units.

    A posterior's is the equal mixture over its draws: p(y | x) = mean_s p(y | x, theta_s).

    Attributes:
        log_density: (n,) log predictive density or mass at the observed target, in nats.
        probabilities: (n, K) class probabilities; None unless the task is classes.
        mean: (n,) predictive mean; None for classes.
        samples: (n, m) draws from the predictive distribution; None for classes.
    """

    log_density: np.ndarray
    probabilities: np.ndarray | None = None
    mean: np.ndarray | None = None
    samples: np.ndarray | None = None


class DrawPredictions(NamedTuple):
    """A mixture predictive and what each of its s draws says of n rows.

    Attributes:
        log_likelihood: (s, n) log density of the observed target under each draw, in the target's own units.
        quantity: (s, n, c) what chains are compared by: class probabilities, or the mean with c = 1, standardised.
    """

    predictive: Predictive
    log_likelihood: np.ndarray
    quantity: np.ndarray


@functools.lru_cache(maxsize=64)
def eta_of_draws(model: Model) -> Callable[[Array, Array], Array]:
    """Build `(thetas (s, p), x (n, d)) -> (s, n, k)`: natural parameters, one draw at a time."""
    return jax.jit(lambda thetas, x: jax.lax.map(lambda theta: model.predict(theta, x), thetas))


@functools.lru_cache(maxsize=64)
def _mixture(family: Family) -> Callable[..., tuple]:
    def mixture(
        eta: Float[Array, "s n k"], extra: Float[Array, "s m"], y: Array, key: PRNGKeyArray
    ) -> tuple[Array, ...]:
        log_likelihood = jax.vmap(lambda e, a: family.log_density(e, a, y))(eta, extra)
        log_density = logsumexp(log_likelihood, axis=0) - jnp.log(len(eta)).astype(eta.dtype)
        if family.probabilities is not None:
            each = jax.vmap(family.probabilities)(eta, extra)
            return log_likelihood, log_density, each, jnp.mean(each, axis=0)
        mean, sample = family.mean, family.sample
        assert mean is not None
        assert sample is not None
        each = jax.vmap(mean)(eta, extra)
        chosen = jnp.arange(N_SAMPLES) * len(eta) // N_SAMPLES
        keys = jax.random.split(key, N_SAMPLES)
        samples = jax.lax.map(lambda a: sample(a[0], eta[a[1]], extra[a[1]]), (keys, chosen))
        return log_likelihood, log_density, each[..., None], jnp.mean(each, axis=0), samples.T

    return jax.jit(mixture)


def predict_draws(
    family: Family,
    eta: Array | np.ndarray,
    extra: Array,
    y: Array | np.ndarray,
    key: PRNGKeyArray,
    location: float,
    scale: float,
) -> DrawPredictions:
    """Mix s draws' predictions of n rows equally, and bring them to the target's own units.

    `eta` is (s, n, k) and `extra` (s, m) on the standardised target; a density in own units is the standardised one
    divided by `scale`. A predictive sample is taken from each of `N_SAMPLES` draws, evenly spaced over the s.
    """
    log_likelihood, log_density, each, *rest = (np.asarray(a, np.float64) for a in _mixture(family)(eta, extra, y, key))
    shift = np.log(scale)
    if family.probabilities is not None:
        # float32 rows sum to 1 only to rounding; scores expect exactly 1.
        probabilities = rest[0] / rest[0].sum(axis=1, keepdims=True)
        predictive = Predictive(log_density, probabilities=probabilities)
        return DrawPredictions(predictive, log_likelihood, each)
    mean, samples = rest
    predictive = Predictive(log_density - shift, mean=location + scale * mean, samples=location + scale * samples)
    return DrawPredictions(predictive, log_likelihood - shift, each)
