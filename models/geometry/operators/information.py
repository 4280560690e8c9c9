"""The Fisher information of a likelihood in its outputs, as a square root that is applied and never formed.

The outputs of a row are its natural parameters eta and the likelihood's own parameters (the extras). Location and scale
are orthogonal in every family here, so the information is block-diagonal between the two.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.joint.likelihoods import Family


def whiten(
    family: Family,
    eta: Float[Array, "n k"],
    extra: Float[Array, " m"],
    y: Float[Array, " n"] | Array,
    d_eta: Float[Array, "n k"],
    d_extra: Float[Array, " m"],
) -> Float[Array, "n r"]:
    """Map output tangents t_i to R_i t_i, where R_i' R_i = F_i = E[-d2 log p(y | eta_i, extra)]; linear in t.

    For categorical, Bernoulli and Poisson rows F is the Hessian of the negative log-likelihood itself, elsewhere its
    expectation under the model, and so positive semi-definite where the Hessian is not (Martens 2020, section 9.2). The
    negative binomial's information in log alpha has no closed form: the squared score of the observed target stands in.

    Raises:
        ValueError: a family without a formula here.
    """
    match family.name:
        case "categorical":
            assert family.probabilities is not None
            p = family.probabilities(eta, extra)
            t = jnp.pad(d_eta, ((0, 0), (p.shape[1] - eta.shape[1], 0)))
            return jnp.sqrt(p) * (t - jnp.sum(p * t, axis=1, keepdims=True))
        case "bernoulli":
            return jnp.sqrt(jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)) * d_eta
        case "poisson":
            return jnp.exp(0.5 * eta) * d_eta
        case "gaussian":
            return _location_scale(jnp.exp(-extra[0]), 1.0, 2.0, d_eta, d_extra)
        case "student-t":
            tail = _inverse_degrees(family, eta.dtype)
            location, scale = (1.0 + tail) / (1.0 + 3.0 * tail), 2.0 / (1.0 + 3.0 * tail)
            return _location_scale(jnp.exp(-extra[0]), location, scale, d_eta, d_extra)
        case "heteroscedastic-gaussian":
            return jnp.stack([jnp.exp(-eta[:, 1]) * d_eta[:, 0], jnp.sqrt(2.0) * d_eta[:, 1]], axis=1)
        case "negative-binomial":
            alpha, mu = jnp.exp(extra[0]), jnp.exp(eta)
            score = jax.jacfwd(lambda a: family.log_density(eta, a, y))(extra)
            return jnp.concatenate([jnp.sqrt(alpha * mu / (alpha + mu)) * d_eta, score * d_extra], axis=1)
        case name:
            raise ValueError(f"no Fisher information for the likelihood {name!r}: add its formula to `whiten`")


def _location_scale(
    precision: Array, location: Array | float, scale: Array | float, d_eta: Array, d_extra: Array
) -> Float[Array, "n 2"]:
    """Information `location` / sigma^2 in the location and `scale` in log sigma (Lange et al. 1989, appendix B)."""
    in_location = jnp.sqrt(location) * precision * d_eta
    in_scale = jnp.broadcast_to(jnp.sqrt(scale) * d_extra, d_eta.shape)
    return jnp.concatenate([in_location, in_scale], axis=1)


def _inverse_degrees(family: Family, dtype: jnp.dtype) -> Float[Array, ""]:
    """1 / nu, read off the density: -d2 log p / d eta2 at its mode is (nu + 1) / nu when sigma = 1."""

    def density(eta: Array) -> Array:
        return family.log_density(eta.reshape(1, 1), jnp.zeros(1, dtype), jnp.zeros(1, dtype))[0]

    return -jax.grad(jax.grad(density))(jnp.zeros((), dtype)) - 1.0
