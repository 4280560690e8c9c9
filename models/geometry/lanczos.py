"""The algebraically largest eigenvalues of a symmetric operator, each with a bound on its error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.geometry.krylov import Tridiagonal, begin, matrix, random_direction, step
from models.geometry.products import Operator

CHECK_EVERY = 5


class Eigenvalues(NamedTuple):
    """The k largest eigenvalues, in descending order; NaN where unconverged.

    Attributes:
        residuals: an eigenvalue of A lies within residuals[i] of the Ritz value behind values[i].
        lowest: the smallest Ritz value met on the way, and its residual: A has an eigenvalue within
            `lowest_residual` of it, hence a negative one if lowest + lowest_residual < 0, and none below is excluded.
        n_products: products with A that were used.
    """

    values: Float[Array, " k"]
    residuals: Float[Array, " k"]
    converged: Bool[Array, " k"]
    lowest: Float[Array, ""]
    lowest_residual: Float[Array, ""]
    n_products: Int[Array, ""]


class _Ritz(NamedTuple):
    """Ritz values in descending order with residual bounds, of which `count` are real; vectors are columns.

    Attributes:
        noise: what rounding alone may move a Ritz value by: 8 eps |T|.
    """

    values: Float[Array, " m"]
    residuals: Float[Array, " m"]
    vectors: Float[Array, "m m"]
    noise: Float[Array, ""]


class _Search(NamedTuple):
    """The loop's state: `locked` values (k,) are NaN before the first lock; `locked_residuals` (m,) is theirs."""

    krylov: Tridiagonal
    locked: Float[Array, " k"]
    locked_residuals: Float[Array, " m"]
    n_products: Int[Array, ""]
    done: Bool[Array, ""]


def _ritz(state: Tridiagonal, locked: Float[Array, " k"], locked_residuals: Float[Array, " m"]) -> _Ritz:
    """Residuals |A y - theta y| = beta |y's last coordinate| (Parlett 1998, section 13.2) + what locking dropped."""
    norm = jnp.max(jnp.abs(state.alpha)) + 2 * jnp.max(state.beta)
    values, vectors = jnp.linalg.eigh(matrix(state, -2 * norm - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    last = state.count - 1
    noise = 8 * jnp.finfo(values.dtype).eps * norm
    n_locked = jnp.sum(jnp.isfinite(locked))
    unlocked = jnp.linalg.norm(jnp.where(jnp.arange(values.size)[:, None] < n_locked, 0.0, vectors), axis=0)
    dropped = locked_residuals @ jnp.abs(vectors) + jnp.linalg.norm(locked_residuals) * unlocked
    return _Ritz(values, state.beta[last] * jnp.abs(vectors[last]) + dropped + noise, vectors, noise)


def _zero(ritz: _Ritz) -> Bool[Array, " m"]:
    """Nothing but rounding: neither the value nor its residual stands out of the noise."""
    return (jnp.abs(ritz.values) <= 4 * ritz.noise) & (ritz.residuals <= 4 * ritz.noise)


def _converged(ritz: _Ritz, tolerance: float) -> Bool[Array, " m"]:
    return (ritz.residuals <= tolerance * jnp.abs(ritz.values)) | _zero(ritz)


def _lock(krylov: Tridiagonal, ritz: _Ritz, k: int, key: PRNGKeyArray) -> tuple[Tridiagonal, Float[Array, " m"]]:
    """Keep the first k Ritz vectors alone and go on from a random direction orthogonal to them."""
    m = krylov.alpha.size
    tall = ritz.vectors[:, :k].T @ krylov.basis[:m]
    basis = jnp.zeros_like(krylov.basis).at[:k].set(tall)
    basis = basis.at[k].set(random_direction(key, basis, k))
    alpha = jnp.zeros_like(krylov.alpha).at[:k].set(ritz.values[:k])
    locked = Tridiagonal(basis, alpha, jnp.zeros_like(krylov.beta), jnp.full((), k, jnp.int32))
    return locked, jnp.zeros_like(alpha).at[:k].set(ritz.residuals[:k] - ritz.noise)


def _nothing_above(ritz: _Ritz, k: int, tolerance: float) -> Bool[Array, ""]:
    """The best direction outside the first k is known well enough to lie below them."""
    smallest, value, residual = ritz.values[k - 1], ritz.values[k], ritz.residuals[k]
    below = value + residual <= smallest + tolerance * jnp.abs(smallest) + 2 * ritz.noise
    return below | (residual <= 0.1 * jnp.abs(smallest) + 2 * ritz.noise)


def top_eigenvalues(
    operator: Operator, key: PRNGKeyArray, *, k: int = 1, tolerance: float = 1e-3, max_products: int = 100
) -> Eigenvalues:
    """Find the min(k, p) algebraically largest eigenvalues by Lanczos with full reorthogonalisation.

    A pair (theta, y) has converged when |A y - theta y| <= tolerance |theta|, or when it is zero to working precision
    (and is then returned as 0). The residual bounds the distance to an eigenvalue; that it is the largest one rests on
    the random start, and with k = 1 the search may end on a lower member of a tight cluster. A NaN product ends the
    search unconverged.

    One Krylov space holds one copy of a repeated eigenvalue. So with k > 1 the k converged pairs are locked and a
    random direction orthogonal to them searches for any that were missed, until a search ends with nothing new
    or the products are spent. Memory: (min(p, max_products) + 1) p numbers.
    """
    like = operator.like
    p = like.size
    k, m = min(k, p), min(p, max_products)
    product = operator.linearise()
    start_key, step_key = jax.random.split(key)

    def advance(search: _Search) -> _Search:
        begun, used = search.krylov.count, search.n_products
        n_steps = jnp.minimum(jnp.minimum(CHECK_EVERY, m - begun), max_products - used)
        steps_key, lock_key = jax.random.split(jax.random.fold_in(step_key, used))
        krylov = jax.lax.fori_loop(0, n_steps, lambda _, s: step(product, s, steps_key), search.krylov)
        ritz = _ritz(krylov, search.locked, search.locked_residuals)
        found = (krylov.count >= k) & jnp.all(_converged(ritz, tolerance)[:k])
        spent = (n_steps < CHECK_EVERY) | ~jnp.all(jnp.isfinite(krylov.alpha))
        search = search._replace(krylov=krylov, n_products=used + n_steps, done=found | spent)
        if k == 1 or k == p:
            return search
        change = jnp.abs(ritz.values[:k] - search.locked)
        same = jnp.all(change <= tolerance * jnp.abs(search.locked) + 2 * ritz.noise)
        confirmed = same & (krylov.count > k) & _nothing_above(ritz, k, tolerance)
        search = search._replace(done=(found & ((krylov.count >= p) | confirmed)) | (spent & (same | ~found)))

        def lock() -> _Search:
            locked, residuals = _lock(krylov, ritz, k, lock_key)
            return search._replace(krylov=locked, locked=ritz.values[:k], locked_residuals=residuals)

        return jax.lax.cond(found & ~same & ~search.done, lock, lambda: search)

    empty = begin(jnp.zeros_like(like), m)
    search = _Search(
        krylov=begin(random_direction(start_key, empty.basis, 0), m),
        locked=jnp.full(k, jnp.nan, like.dtype),
        locked_residuals=empty.alpha,
        n_products=jnp.zeros((), jnp.int32),
        done=jnp.zeros((), bool),
    )
    search = jax.lax.while_loop(lambda s: ~s.done, advance, search)
    ritz = _ritz(search.krylov, search.locked, search.locked_residuals)
    converged = _converged(ritz, tolerance)[:k] & (jnp.arange(k) < search.krylov.count)
    values = jnp.where(_zero(ritz)[:k], 0.0, ritz.values[:k])
    last = search.krylov.count - 1  # values beyond it are fillers
    return Eigenvalues(
        values=jnp.where(converged, values, jnp.nan),
        residuals=ritz.residuals[:k],
        converged=converged,
        lowest=ritz.values[last],
        lowest_residual=ritz.residuals[last],
        n_products=search.n_products,
    )
