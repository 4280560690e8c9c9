"""Traces: exact where the net allows it, otherwise an estimate with its standard error."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.landscape import Landscape
from models.geometry.operators.diagonal import exact_traces
from models.geometry.operators.krylov import Tridiagonal, begin, length, orthogonalise, random_direction, step
from models.geometry.operators.products import Operator, Product

PROBES_AT_ONCE = 10
MIN_PROBES = 30


class Trace(NamedTuple):
    """Trace, its standard error (0 where exact), and the products with A it took."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    n_products: Int[Array, ""]


def exact_trace(landscape: Landscape, theta: Float[Array, " p"]) -> Trace:
    """Trace of the mean loss's Hessian, in two passes for linear predictors and ReLU MLPs; see `layerwise`.

    Raises:
        ValueError: a net whose trace can only be estimated at a reasonable price.
    """
    found = exact_traces(landscape, theta, "hessian")
    return Trace(jnp.sum(found.layers) + found.own, jnp.zeros((), theta.dtype), jnp.zeros((), jnp.int32))


def estimate_trace(
    operator: Operator,
    key: PRNGKeyArray,
    *,
    relative_error: float = 0.02,
    deflation: int = 20,
    max_products: int = 200,
) -> Trace:
    """Estimate tr A by deflated Hutchinson probes: tr(Q' A Q) + mean of z' (I - QQ') A (I - QQ') z.

    Q is a Krylov basis of `deflation` vectors, which holds most of a net's spectrum (Chen and Hallman 2023; Hutch++ of
    Meyer et al. 2021 with Lanczos as its sketch); z is Rademacher. Given Q the estimate is unbiased, and its standard
    error is that of the probes' mean. Probes are added until it is at most `relative_error` |value| or the
    products are spent; at least `MIN_PROBES` are taken, since stopping on a chance small spread biases the error.
    With p <= max_products Q is the whole space and the trace is exact.
    """
    like = operator.like
    p = like.size
    product = operator.linearise()
    space_key, probe_key = jax.random.split(key)
    n_basis = p if p <= max_products else deflation
    space = krylov_space(product, like, space_key, n_basis)
    head = jnp.sum(space.alpha)
    if n_basis == p:
        return Trace(head, jnp.zeros_like(head), jnp.full((), p, jnp.int32))
    max_probes = max(MIN_PROBES, max_products - n_basis)

    def probe(i: Array) -> Array:
        z = jax.random.rademacher(jax.random.fold_in(probe_key, i), like.shape, like.dtype)
        z = orthogonalise(z, space.basis, n_basis)
        return z @ product(z)

    values, n = probe_until(
        lambda values, n: standard_error(values, n) <= relative_error * jnp.abs(head + jnp.sum(values) / n),
        probe,
        max_probes,
    )
    return Trace(head + jnp.sum(values) / n, standard_error(values, n), n_basis + n)


def krylov_space(product: Product, like: Float[Array, " p"], key: PRNGKeyArray, n_steps: int) -> Tridiagonal:
    """Lanczos's decomposition after `n_steps` steps from a random vector; the vector that would be next is dropped."""
    start_key, step_key = jax.random.split(key)
    empty = begin(jnp.zeros_like(like), n_steps)
    space = begin(random_direction(start_key, empty.basis, 0), n_steps)
    space = jax.lax.fori_loop(0, n_steps, lambda _, s: step(product, s, step_key), space)
    return space._replace(basis=space.basis.at[n_steps].set(0.0))


def standard_error(values: Float[Array, " m"], n: Int[Array, ""]) -> Float[Array, ""]:
    """Standard error of the mean of the first n values; the rest is zero."""
    apart = jnp.where(jnp.arange(values.size) < n, values - jnp.sum(values) / n, 0.0)
    return length(apart) / jnp.sqrt((n - 1.0) * n)


def probe_until(
    enough: Callable[[Array, Array], Array], probe: Callable[[Array], Array], max_probes: int
) -> tuple[Float[Array, "m ..."], Int[Array, ""]]:
    """Evaluate probe(0), probe(1), ... until `enough(values, n)`; at least `MIN_PROBES`, at most `max_probes`.

    Returns the values, zero beyond the n that were taken. A value that is not finite ends it.
    """

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, n = carry
        stop = jnp.minimum(jnp.where(n == 0, MIN_PROBES, n + PROBES_AT_ONCE), max_probes)
        return jax.lax.fori_loop(n, stop, lambda i, v: v.at[i].set(probe(i)), values), stop

    def wanting(carry: tuple[Array, Array]) -> Array:
        values, n = carry
        return (n == 0) | ((n < max_probes) & jnp.all(jnp.isfinite(values)) & ~enough(values, n))

    one = jax.eval_shape(probe, jax.ShapeDtypeStruct((), jnp.int32))
    start = (jnp.zeros((max_probes, *one.shape), one.dtype), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(wanting, more, start)
