"""Kullback-Leibler divergences that PAC-Bayes bounds are made of, in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Below this |x| the series of `_excess` is nearer than the difference, whose terms cancel.
_SMALL = 0.1
_TERMS = 14


def inverse_binary_kl(q: Float[Array, ""] | float, bound: Float[Array, ""] | float) -> Float[Array, ""]:
    """The largest p in [q, 1] with kl(q || p) = q ln q/p + (1-q) ln (1-q)/(1-p) <= bound, approached from above.

    By bisection on p - q (Dziugaite and Roy 2017, appendix B, has Newton steps). NaN unless q and the bound are finite.
    """
    q = jnp.asarray(q)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        inside = _binary_kl(q, middle) <= bound
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    _, rise = jax.lax.fori_loop(0, 100, halve, (jnp.zeros_like(q), 1.0 - q))
    return jnp.where(jnp.isfinite(q + bound), jnp.minimum(q + rise, 1.0), jnp.nan)


def _binary_kl(q: Float[Array, ""], rise: Float[Array, ""]) -> Float[Array, ""]:
    """Binary kl(q || q + rise) for 0 <= q < 1 as a sum of terms that are not negative, so that none cancel."""
    up = jnp.where(q > 0, q * _excess(rise / jnp.where(q > 0, q, 1.0)), rise)
    return up + (1.0 - q) * _excess(-rise / (1.0 - q))


def _excess(x: Float[Array, ""]) -> Float[Array, ""]:
    """The positive x - ln(1 + x)."""
    small = jnp.where(jnp.abs(x) < _SMALL, x, 0.0)
    series = jnp.polyval(jnp.asarray([(-1.0) ** k / k for k in range(_TERMS, 1, -1)], x.dtype), small)
    return jnp.where(jnp.abs(x) < _SMALL, jnp.square(x) * series, x - jnp.log1p(x))


def gaussian_kl(
    shift: Float[Array, " p"], log_sd: Float[Array, " p"], prior_variance: Float[Array, ""]
) -> Float[Array, ""]:
    """KL(N(prior mean + shift, diag sd^2) || N(prior mean, prior_variance I)), summed over the parameters."""
    ratio = jnp.exp(2.0 * log_sd) / prior_variance
    return 0.5 * jnp.sum(jnp.square(shift) / prior_variance + ratio - 1.0 - jnp.log(ratio))
