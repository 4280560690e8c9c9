"""Diagonals of curvature matrices of the mean loss, and their sums over layers.

Exact without any products wherever `layerwise` gives the curvature of each layer, and for every net's J' M J, which is
the Hessian's diagonal too where eta is linear in each single weight, as in a convolutional ReLU net. Else by probes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.landscape import Landscape
from models.geometry.operators.layerwise import FORMS, Layer, Matrix, has_exact_hessian, row_layers, stack
from models.geometry.operators.products import Operator
from models.joint.model import Model

ROWS_AT_ONCE = 256
# Numbers that a block of rows may hold: fewer rows at once where each needs more.
CHUNK = 2**22


def _mean_over_rows(of_rows: Callable[[Array, Array, Array], Any], landscape: Landscape, numbers_per_row: int) -> Any:
    """The mean over rows of what `of_rows(x, y, keep)` sums over a block of rows, each weighted by `keep`."""
    n = len(landscape.x)
    n_blocks = -(-n // max(1, min(ROWS_AT_ONCE, CHUNK // numbers_per_row)))
    size = -(-n // n_blocks)

    def block(i: Array | int) -> Any:
        start = jnp.minimum(i * size, n - size)  # the last block is as long as the others, and overlaps
        x, y = (jax.lax.dynamic_slice_in_dim(a, start, size) for a in (landscape.x, landscape.y))
        return of_rows(x, y, (start + jnp.arange(size) >= i * size).astype(x.dtype))

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(block, 0))
    total = jax.lax.fori_loop(0, n_blocks, lambda i, t: jax.tree.map(jnp.add, t, block(i)), zeros)
    return jax.tree.map(lambda leaf: leaf / n, total)


def _mean_of_layers(
    landscape: Landscape,
    theta: Float[Array, " p"],
    matrix: Matrix,
    of_layer: Callable[[Array, Array], Any],
) -> tuple[list[Any], Float[Array, " m"]] | None:
    """The mean over rows of `of_layer(a, q)`, which sums over (rows, j) and (rows, c), for each layer of a stack."""
    model = landscape.model
    affine = stack(model.unravel(theta[: model.n_weights]))
    if affine is None:
        return None
    layers, activation = affine
    extra = model.extra(theta)
    bends = matrix == "hessian" and activation is not jax.nn.relu

    def of_row(x: Array, y: Array) -> tuple[list[Layer], Array]:
        def cost(eta: Array) -> Array:
            return -model.family.log_density(eta[None], extra, y[None])[0]

        return row_layers(layers, activation, cost, lambda eta: FORMS[matrix](model.family, eta, extra, y), bends, x)

    def of_rows(x: Array, y: Array, keep: Array) -> tuple[list[Any], Array]:
        parts, own = jax.vmap(of_row)(x, y)
        return [of_layer(part.inputs, keep[:, None] * part.curvature) for part in parts], keep @ own

    widest = max(len(layer.weight) for layer in layers)
    return _mean_over_rows(of_rows, landscape, widest * max(model.family.n_outputs, widest if bends else 1))


def _by_backward_passes(landscape: Landscape, theta: Float[Array, " p"], matrix: Matrix) -> Float[Array, " p"]:
    """The diagonal of the mean over rows of J' M J of any net: r backward passes a row."""
    model = landscape.model
    extra = model.extra(theta)

    def of_row(x: Array, y: Array) -> tuple[Array, Array]:
        eta, pull = jax.vjp(lambda w: model.unravel(w)(x), theta[: model.n_weights])
        seeds, weights, own = FORMS[matrix](model.family, eta, extra, y)
        rows = jax.vmap(lambda seed: pull(seed)[0])(seeds)
        return jnp.sum((weights @ rows) * rows, axis=0), own

    def of_rows(x: Array, y: Array, keep: Array) -> tuple[Array, Array]:
        return jax.tree.map(lambda a: keep @ a, jax.vmap(of_row)(x, y))

    return jnp.concatenate(_mean_over_rows(of_rows, landscape, model.n_parameters * model.family.n_outputs))


def exact_diagonal(landscape: Landscape, theta: Float[Array, " p"], matrix: Matrix) -> Float[Array, " p"]:
    """Diagonal of the Hessian, of the Gauss-Newton matrix or of the empirical Fisher matrix of the MEAN loss, exactly.

    The latter two are `products.GaussNewton` and `products.EmpiricalFisher`. Memory grows with the parameters; for a
    convnet with parameters x outputs.

    Raises:
        ValueError: the Hessian of a net without an exact one; see `has_exact_hessian`.
    """
    _require_exact(landscape.model, matrix)

    def of_layer(a: Float[Array, "n j"], q: Float[Array, "n c"]) -> tuple[Array, Array]:
        return q.T @ jnp.square(a), jnp.sum(q, axis=0)

    found = _mean_of_layers(landscape, theta, matrix, of_layer)
    return _by_backward_passes(landscape, theta, matrix) if found is None else ravel_pytree(found)[0]


class Traces(NamedTuple):
    """The sums of a diagonal over the parameters of each layer, and over the likelihood's own."""

    layers: Float[Array, " l"]
    own: Float[Array, ""]


def exact_traces(landscape: Landscape, theta: Float[Array, " p"], matrix: Matrix) -> Traces:
    """The sums of `exact_diagonal` over each of `model.layers` and over the extras, at a lower price.

    Raises:
        ValueError: as `exact_diagonal`.
    """
    _require_exact(landscape.model, matrix)

    def of_layer(a: Float[Array, "n j"], q: Float[Array, "n c"]) -> Float[Array, ""]:
        return (jnp.sum(jnp.square(a), axis=1) + 1.0) @ jnp.sum(q, axis=1)

    found = _mean_of_layers(landscape, theta, matrix, of_layer)
    if found is not None:
        return Traces(jnp.stack(found[0]), jnp.sum(found[1]))
    diagonal = _by_backward_passes(landscape, theta, matrix)
    layers = [jnp.sum(diagonal[entries]) for entries in landscape.model.layers.values()]
    return Traces(jnp.stack(layers), jnp.sum(landscape.model.extra(diagonal)))


def _require_exact(model: Model, matrix: Matrix) -> None:
    if matrix == "hessian" and not has_exact_hessian(model):
        raise ValueError(
            "the diagonal of this net's Hessian costs too much: estimate it by `estimate_trace` or `estimate_diagonal`"
        )


def gauss_newton_diagonal(landscape: Landscape, theta: Float[Array, " p"]) -> Float[Array, " p"]:
    """The diagonal of the Gauss-Newton matrix of the MEAN loss; see `exact_diagonal`."""
    return exact_diagonal(landscape, theta, "gauss-newton")


# --- by probes --------------------------------------------------------------------------------------------------------


class Diagonal(NamedTuple):
    """A diagonal, the standard error of each entry (0 where exact), and the products that it took."""

    value: Float[Array, " p"]
    standard_error: Float[Array, " p"]
    n_products: Int[Array, ""] | int


def estimate_diagonal(operator: Operator, key: PRNGKeyArray, *, n_products: int = 200) -> Diagonal:
    """The mean of z * (A z) over Rademacher z (Bekas et al. 2007); exact by p products where p <= n_products.

    An entry's variance is sum_{j != i} A_ij^2 over the number of probes. Memory: a few vectors.
    """
    product, like = operator.linearise(), operator.like
    p, zeros = like.size, jnp.zeros_like(like)
    if p <= n_products:
        found = jax.lax.map(lambda i: product(zeros.at[i].set(1.0))[i], jnp.arange(p))
        return Diagonal(found, zeros, p)

    def probe(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        """Welford's (1962) update of the mean, and of the root of the squared deviations: squares may underflow."""
        mean, spread = carry
        z = jax.random.rademacher(jax.random.fold_in(key, i), like.shape, like.dtype)
        off = z * product(z) - mean
        mean = mean + off / (i + 1)
        return mean, jnp.hypot(spread, jnp.abs(off) * jnp.sqrt(i / (i + 1)))

    mean, spread = jax.lax.fori_loop(0, n_products, probe, (zeros, zeros))
    return Diagonal(mean, spread / (n_products * max(n_products - 1, 1)) ** 0.5, n_products)
