"""The Frobenius norm of a symmetric operator: exact for few parameters, otherwise an estimate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.operators.krylov import length, orthogonalise
from models.geometry.operators.products import Operator
from models.geometry.operators.trace import MIN_PROBES, krylov_space, probe_until, standard_error


class Frobenius(NamedTuple):
    """|A|_F, its standard error (0 where exact), and the products with A that it took."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    n_products: Int[Array, ""] | int


def frobenius_norm(
    operator: Operator,
    key: PRNGKeyArray,
    *,
    relative_error: float = 0.02,
    deflation: int = 20,
    max_products: int = 200,
) -> Frobenius:
    """|A|_F = sqrt(sum_ij A_ij^2); exact by p products where p <= max_products.

    Otherwise |A|_F^2 = |A Q|_F^2 + E |A (I - QQ') z|^2 with z Rademacher: Hutchinson's estimate of tr A^2, which takes
    one product for two. Q is a Krylov basis of `deflation` vectors; Lanczos's A Q = Q T + beta q e' gives the first
    term for nothing. The square is unbiased given Q; the norm's standard error is the square's over twice the norm
    (the delta method). Probes are added until that is at most `relative_error` of the norm or the products are spent.
    """
    product, like = operator.linearise(), operator.like
    p = like.size
    if p <= max_products:

        def column(i: Array, total: Array) -> Array:
            return jnp.hypot(total, length(product(jnp.zeros_like(like).at[i].set(1.0))))

        norm = jax.lax.fori_loop(0, p, column, jnp.zeros((), like.dtype))
        return Frobenius(norm, jnp.zeros_like(norm), p)

    space_key, probe_key = jax.random.split(key)
    space = krylov_space(product, like, space_key, deflation)
    # In units of the largest entry of T, whose square neither under- nor overflows.
    unit = jnp.maximum(jnp.max(jnp.abs(space.alpha)), jnp.max(space.beta))
    unit = jnp.where(unit > 0, unit, 1.0)
    couplings = jnp.square(space.beta / unit)
    head = jnp.sum(jnp.square(space.alpha / unit)) + 2.0 * jnp.sum(couplings) - couplings[-1]

    def probe(i: Array) -> Array:
        z = jax.random.rademacher(jax.random.fold_in(probe_key, i), like.shape, like.dtype)
        return jnp.sum(jnp.square(product(orthogonalise(z, space.basis, deflation)) / unit))

    def enough(values: Array, n: Array) -> Array:
        return standard_error(values, n) <= 2.0 * relative_error * (head + jnp.sum(values) / n)

    values, n = probe_until(enough, probe, max(MIN_PROBES, max_products - deflation))
    norm = jnp.sqrt(head + jnp.sum(values) / n)
    error = standard_error(values, n) / (2.0 * jnp.where(norm > 0, norm, 1.0))
    return Frobenius(unit * norm, unit * error, deflation + n)
