"""Log masses of counts that hold in float32 at any size: sums of small terms, none of which cancels.

Written out, log y! and y log mu are as large as y log y, and float32 leaves of their difference, a few nats, what it
leaves of 10^8. After Loader (2000), "Fast and accurate computation of binomial probabilities": with Stirling's
log Gamma(a + 1) = (a + 1/2) log a - a + log(2 pi) / 2 + s(a) and h(t) = t + exp(-t) - 1 >= 0,

    Poisson            log p = -log(2 pi y) / 2 - s(y) - y h(log(y / mu)),
    negative binomial  log p = -log(2 pi y) / 2 - log(1 + y / alpha) / 2 + s(y + alpha) - s(alpha) - s(y)
                               - y h(log(y / (N q))) - alpha h(log(alpha / (N (1 - q)))),

with N = y + alpha and q = mu / (alpha + mu). The last tends to the Poisson mass as alpha grows, and its slope in alpha
to 0.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

Rows = Float[Array, " n"]
Counts = Int[Array, " n"] | Float[Array, " n"]

# log 2 as 355 / 512, whose product with an exponent is exact, and the rest.
_LOG_2_HIGH = 0.693359375
_LOG_2_LOW = math.log(2.0) - _LOG_2_HIGH
_SMALL = 0.5
_LOG_ALPHA = (-20.0, 50.0)  # beyond e^50 it is a Poisson distribution in any precision


def bounded(log_alpha: Array) -> Array:
    """Log alpha within what float32 can compute with; beyond, the mass no longer changes."""
    return jnp.clip(log_alpha, *_LOG_ALPHA)


def poisson_log_mass(y: Counts, log_mean: Rows) -> Rows:
    """(n,) log of mu^y exp(-mu) / y!, in nats; y: (n,) counts, log_mean: (n,) log mu."""
    size, t = _against(y, log_mean)
    stirling = -0.5 * jnp.log(2.0 * jnp.pi * size) - _stirling_rest(size)
    return jnp.where(y == 0, -jnp.exp(log_mean), stirling - size * _excess(t))


def negative_binomial_log_mass(y: Counts, log_mean: Rows, log_alpha: Float[Array, ""]) -> Rows:
    """(n,) log mass of counts with mean mu and variance mu + mu^2 / alpha, in nats.

    y: (n,) counts, log_mean: (n,) log mu, log_alpha: () log of the dispersion alpha.
    """
    log_alpha = bounded(log_alpha)
    alpha = jnp.exp(log_alpha)
    size, t = _against(y, log_mean)
    q = jax.nn.sigmoid(log_mean - log_alpha)
    # u = (y - mu) / (alpha + mu), by whichever of y and mu is larger.
    above = -jnp.expm1(-jnp.maximum(t, 0.0)) * size / (alpha + jnp.exp(jnp.minimum(log_mean, jnp.log(size))))
    u = jnp.where(t > 0, above, jnp.expm1(jnp.minimum(t, 0.0)) * q)
    near = u > -_SMALL
    of_alpha = jnp.where(
        near, -jnp.log1p(jnp.where(near, u, 0.0)), jnp.logaddexp(log_alpha, log_mean) - jnp.log(alpha + size)
    )
    close = jnp.abs(t) < _SMALL
    of_count = jnp.where(close, jnp.log1p(jnp.expm1(jnp.where(close, t, 0.0)) * alpha / (alpha + size)), t + of_alpha)
    stirling = -0.5 * jnp.log(2.0 * jnp.pi * size) - 0.5 * jnp.log1p(size / alpha)
    stirling += _stirling_rest(size + alpha) - _stirling_rest(alpha) - _stirling_rest(size)
    positive = stirling - size * _excess(of_count) - alpha * _excess(of_alpha)
    # -alpha log(1 + mu / alpha), as what is of the order of its slopes: alpha q is half the harmonic mean.
    less = jnp.minimum(log_mean, log_alpha)
    # The slope of a sigmoid near 1 cancels, that of one near 0 does not.
    half_harmonic = jnp.exp(less) * (1.0 - jax.nn.sigmoid(2.0 * less - log_mean - log_alpha))
    none = -half_harmonic - alpha * _excess(jax.nn.softplus(log_mean - log_alpha))
    return jnp.where(y == 0, none, positive)


def _against(y: Counts, log_mean: Rows) -> tuple[Rows, Rows]:
    """The counts in the mean's precision, 1 for 0, and t = log(y / mu), right to some 1e-8 where y is near mu."""
    size = jnp.maximum(y, 1).astype(log_mean.dtype)
    left = jnp.where(y > 0, y - size.astype(y.dtype), 0).astype(log_mean.dtype)  # what float32 has no digits for
    mantissa, exponent = jnp.frexp(size)
    lower = mantissa < math.sqrt(0.5)
    mantissa = jnp.where(lower, 2.0 * mantissa, mantissa)
    exponent = (exponent - lower).astype(log_mean.dtype)
    t = (exponent * _LOG_2_HIGH - log_mean) + jnp.log(mantissa)
    return size, t + (exponent * _LOG_2_LOW + left / size)


def _excess(t: Rows) -> Rows:
    """h(t) = t + exp(-t) - 1 = t^2 / 2 - t^3 / 6 + ..., (n,)."""
    near = jnp.abs(t) < _SMALL
    s = jnp.where(near, t, 0.0)
    series = jnp.zeros_like(s)
    for k in range(12, 1, -1):
        series = (-1.0) ** k / math.factorial(k) + s * series
    return jnp.where(near, jnp.square(s) * series, t + jnp.expm1(-t))


def _stirling_rest(a: Array) -> Array:
    """s(a) = log Gamma(a + 1) - (a + 1/2) log a + a - log(2 pi) / 2; Abramowitz and Stegun (1964), 6.1.41."""
    large = a > 16.0
    low, high = jnp.where(large, 1.0, a), jnp.where(large, a, 16.0)
    direct = gammaln(low + 1.0) - (low + 0.5) * jnp.log(low) + low - 0.5 * math.log(2.0 * math.pi)
    inverse = 1.0 / jnp.square(high)
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / high
    return jnp.where(large, series, direct)
