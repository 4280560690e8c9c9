"""Growing an orthonormal Krylov basis: what eigenvalues, traces and matrix functions share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.operators.products import Product

# Rows of the basis that one pass of the orthogonalisation reads: work then follows the filled part of the basis.
BLOCK = 16


def length(v: Float[Array, "*p"]) -> Float[Array, ""]:
    """The Euclidean length, also where the squares of v's entries underflow or overflow; NaN if any is not finite."""
    largest = jnp.max(jnp.abs(v))
    return largest * jnp.linalg.norm(v / jnp.where(largest > 0, largest, 1.0))


def new_basis(first: Float[Array, " p"], n_vectors: int) -> Float[Array, "b p"]:
    """Zero rows for at least `n_vectors` vectors, a whole number of blocks; row 0 is `first`."""
    rows = -(-n_vectors // BLOCK) * BLOCK
    return jnp.zeros((rows, first.size), first.dtype).at[0].set(first)


def split(
    w: Float[Array, " p"], basis: Float[Array, "b p"], count: Int[Array, ""] | int
) -> tuple[Float[Array, " p"], Float[Array, " b"]]:
    """W less its components along the first `count` rows of the basis, and these; rows beyond are zero.

    Gram-Schmidt against the last two rows, with which Lanczos's w has much in common, and then against all; and once
    more where that took more than half of the square, so that rounding weighs more in the rest ("twice is
    enough": Parlett 1998, section 6.9).
    """
    n_blocks = (count + BLOCK - 1) // BLOCK

    def against(start: Array | int, n: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        w, along = carry
        rows = jax.lax.dynamic_slice_in_dim(basis, start, n)
        part = rows @ w
        before = jax.lax.dynamic_slice_in_dim(along, start, n)
        return w - part @ rows, jax.lax.dynamic_update_slice_in_dim(along, before + part, start, 0)

    def sweep(carry: tuple[Array, Array], n_blocks: Array | int) -> tuple[Array, Array]:
        return jax.lax.fori_loop(0, n_blocks, lambda i, c: against(i * BLOCK, BLOCK, c), carry)

    near = against(jnp.maximum(count - 2, 0), 2, (w, jnp.zeros(len(basis), w.dtype)))
    once = sweep(near, n_blocks)
    again = length(once[0]) < 0.7 * length(near[0])
    return sweep(once, jnp.where(again, n_blocks, 0))


def orthogonalise(w: Float[Array, " p"], basis: Float[Array, "b p"], count: Int[Array, ""] | int) -> Float[Array, " p"]:
    """W less its components along the first `count` rows of the basis; see `split`."""
    return split(w, basis, count)[0]


def random_direction(key: PRNGKeyArray, basis: Float[Array, "b p"], count: Array | int) -> Float[Array, " p"]:
    """A uniformly random unit vector orthogonal to the first `count` rows of the basis."""
    w = orthogonalise(jax.random.normal(key, basis.shape[1:], basis.dtype), basis, count)
    return w / jnp.linalg.norm(w)


class Tridiagonal(NamedTuple):
    """Lanczos's decomposition of a symmetric A after `count` steps: Q A Q' = T for the first `count` rows Q of `basis`.

    Attributes:
        basis: orthonormal rows, with the next one at `count`; the rest is zero.
        alpha: (m,) T's diagonal.
        beta: (m,) beta[j] couples rows j and j + 1; 0 where an invariant subspace ended.
    """

    basis: Float[Array, "b p"]
    alpha: Float[Array, " m"]
    beta: Float[Array, " m"]
    count: Int[Array, ""]


def begin(first: Float[Array, " p"], n_steps: int) -> Tridiagonal:
    """The empty decomposition, from a unit vector, with room for `n_steps` steps."""
    zeros = jnp.zeros(n_steps, first.dtype)
    return Tridiagonal(new_basis(first, n_steps + 1), zeros, zeros, jnp.zeros((), jnp.int32))


def step(product: Product, state: Tridiagonal, key: PRNGKeyArray) -> Tridiagonal:
    """One step of Lanczos with full reorthogonalisation.

    Where A q lies in the span of the basis, that span is invariant and a random direction orthogonal to it starts the
    next one; so copies of a repeated eigenvalue are found one after the other.
    """
    basis, alpha, beta, j = state
    dimension = basis.shape[1]
    q = basis[j]
    w = product(q)
    alpha = alpha.at[j].set(q @ w)
    w = orthogonalise(w, basis, j + 1)
    size = length(w)
    scale = jnp.maximum(jnp.max(jnp.abs(alpha)), jnp.max(beta))
    ended = size <= 32 * jnp.finfo(w.dtype).eps * scale
    complete = j + 1 >= dimension
    w = jax.lax.cond(
        ended & ~complete,
        lambda: random_direction(jax.random.fold_in(key, j), basis, j + 1),
        lambda: w / jnp.where(size > 0, size, 1.0),
    )
    w = jnp.where(complete, 0.0, w)
    beta = beta.at[j].set(jnp.where(ended | complete, 0.0, size))
    return Tridiagonal(basis.at[j + 1].set(w), alpha, beta, j + 1)


def matrix(state: Tridiagonal, filler: Float[Array, ""]) -> Float[Array, "m m"]:
    """T as a dense matrix; the diagonal beyond `count` is `filler`, coupled to nothing."""
    m = state.alpha.size
    filled = jnp.arange(m) < state.count
    coupling = jnp.where(jnp.arange(m - 1) < state.count - 1, state.beta[:-1], 0.0)
    return jnp.diag(jnp.where(filled, state.alpha, filler)) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
