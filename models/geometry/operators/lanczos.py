"""The extreme eigenpairs of a symmetric operator, each eigenvalue in a bracket that is as narrow as was asked for.

By Lanczos in chains. The first chain is the Krylov space of a random vector. It may hold next to nothing of an
eigenvector, and holds one copy of a repeated eigenvalue. So once its k largest Ritz values have settled, a probe looks
for what was missed: the chain of another random vector, orthogonal to all that is spanned by then. Ritz values are
those of all chains together. A probe that finds something goes on, or gives way to the chain before, whichever promises
more, until all has settled again and the next probe starts.

A chain works on B, which is A within the orthogonal complement of the chains before it, V. After t steps, with b_i the
lengths that its vectors had before they were normalised and X the characteristic polynomial of its t x t matrix T:

    |X(B) r| = b_1 ... b_t,   hence   |<r, u>| <= b_1 ... b_t / X(m)

for every eigenvector u of B whose eigenvalue is at least m, where m is above those of T. The start r is uniform on the
sphere, which gives so small a component a probability: one minus that is the confidence in all of B lying below m (van
Dorsselaer, Hochstenbach and van der Vorst 2000). That bounds A too, for by Haynsworth's inertia formula A has as many
eigenvalues above M > m as V has Ritz values there, if

    s(M) = sum_i rho_i^2 / (M - theta_i) < M - m,   over V's Ritz values theta_i < M with their residuals rho_i.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.geometry.operators.krylov import length, new_basis, random_direction, split
from models.geometry.operators.products import Negative, Operator

# The largest probability, over the random starts, that an eigenvalue above a converged one's bracket was missed.
RISK = 0.01
# Steps that are taken in a small room first, whose memory is quickly cleared and whose matrices are quickly decomposed.
ROOM = 31
# Later on, steps between one decomposition and the next.
CHECK_EVERY = 4
# The share of M - m that s(M) may take when a probe starts. The m is a guess then: only products are at stake.
SETTLED = 0.25


class Eigenpairs(NamedTuple):
    """Eigenvalues from the extreme one inwards, with unit eigenvectors; both are NaN where unconverged.

    Attributes:
        residuals: |A y - theta y| of the pairs found, unconverged ones too. The angle of y to its eigenspace has a sine
            of at most this over the distance of theta to the other eigenvalues (Davis and Kahan 1970).
        n_products: products with A that were used.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k p"]
    residuals: Float[Array, " k"]
    converged: Bool[Array, " k"]
    n_products: Int[Array, ""]


class _Ritz(NamedTuple):
    """Ritz values in descending order, of which as many as there are basis vectors are real; vectors are columns.

    Attributes:
        noise: what rounding alone may move a Ritz value by: 8 eps |A|.
    """

    values: Float[Array, " m"]
    residuals: Float[Array, " m"]
    vectors: Float[Array, "m m"]
    noise: Float[Array, ""]


class _Search(NamedTuple):
    """What the loop knows beside the basis and the parked vector.

    Attributes:
        projected: Q A Q' for the `count` basis vectors that have been multiplied by A; the next one waits.
        ends: at the last vector of each chain, the length of what A made of it outside the span.
        begun: the current chain's first row.
        log_lengths: sum of log b_i over the current chain; infinite if its start was not random.
        before: Ritz values and residuals of V, the chains before; zeros before there are any.
        parked: the row that ended the chain before; the direction that A gave it outside the span is kept aside.
        certified: how many of the largest Ritz values have their bracket.
    """

    projected: Float[Array, "m m"]
    ends: Float[Array, " m"]
    count: Int[Array, ""]
    begun: Int[Array, ""]
    log_lengths: Float[Array, ""]
    before: tuple[Float[Array, " m"], Float[Array, " m"]]
    parked: Int[Array, ""]
    certified: Int[Array, ""]
    done: Bool[Array, ""]


def _ritz(projected: Float[Array, "m m"], ends: Float[Array, " m"], count: Int[Array, ""]) -> _Ritz:
    """A y - theta y is what A makes of the chains' last vectors outside the span, weighted by y's entries there."""
    m = len(projected)
    norm = jnp.max(jnp.sum(jnp.abs(projected), axis=0))
    # Of the matrix's own size: eigenvalues are found to rounding of the largest.
    filler = jnp.where(norm > 0, -2 * norm, -1.0)
    padded = projected + jnp.diag(jnp.where(jnp.arange(m) < count, 0.0, filler))

    values, vectors = jnp.linalg.eigh(padded)
    noise = 8 * jnp.finfo(values.dtype).eps * norm + jnp.finfo(values.dtype).tiny
    return _Ritz(values[::-1], (ends @ jnp.abs(vectors))[::-1], vectors[:, ::-1], noise)


def _upper(ritz: _Ritz, tolerance: float) -> Float[Array, " m"]:
    """The brackets' upper ends."""
    return ritz.values + tolerance * jnp.abs(ritz.values) + 2 * ritz.noise


def _leakage(upper: Float[Array, " k"], values: Float[Array, " m"], residuals: Float[Array, " m"]) -> Array:
    """The sum s(M) of the module's docstring at each upper end M, (k,)."""
    gaps = upper[:, None] - values
    return jnp.sum(jnp.where(gaps > 0, residuals * (residuals / jnp.where(gaps > 0, gaps, 1.0)), 0.0), axis=1)


def _log_characteristic(projected: Float[Array, "m m"], chain: Bool[Array, " m"], at: Float[Array, ""]) -> Array:
    """Log det(at - T) of the chain's own matrix; NaN unless T < at."""
    within = chain[:, None] & chain[None, :]
    shifted = jnp.where(within, -projected, 0.0) + jnp.diag(jnp.where(chain, at, 1.0))
    return 2 * jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(shifted))))


def top_eigenpairs(
    operator: Operator,
    key: PRNGKeyArray,
    *,
    k: int = 1,
    tolerance: float = 1e-3,
    max_products: int = 100,
    floor: float = -jnp.inf,
) -> Eigenpairs:
    """Find the min(k, p) algebraically largest eigenvalues and their eigenvectors, in descending order.

    The i-th value has converged when the i-th largest eigenvalue lies between it and value + tolerance |value|, up to
    rounding of some 24 eps |A|: the lower end by Cauchy's interlacing, the upper end with a confidence of 1 - `RISK`
    over the random starts, for any A. Multiple eigenvalues are returned as often as they occur. What does not stand out
    of the rounding is returned as 0. The error of a value is about the square of its vector's, so take
    `residuals` for what is known of that. A NaN product ends the search unconverged.

    Memory: (min(p, max_products) + 2 ROOM) p numbers are reserved; more than ROOM p of them are used only by a search
    that takes more than ROOM products.

    Args:
        operator: the symmetric p x p matrix A.
        key: of the random starts.
        k: pairs to find.
        tolerance: largest relative width of a bracket.
        max_products: products with A at most.
        floor: the search is over once an eigenvalue is certified that is not above this.
    """
    like = operator.like
    p = like.size
    k = min(k, p)
    n_steps = min(p, max_products)
    product = operator.linearise()
    eps = jnp.finfo(like.dtype).eps

    def check(search: _Search) -> tuple[_Search, Array, Array]:
        """What is certified by now; whether a probe is to start, or the parked vector to be taken up again."""
        m, last = search.ends.size, search.count - 1
        ritz = _ritz(search.projected, search.ends, search.count)
        wanted = jnp.minimum(k, 1 + jnp.sum(_rounded(ritz)[:k] > floor))
        upper = _upper(ritz, tolerance)[:k]
        below = jax.lax.cummin(upper - _leakage(upper, *search.before))
        chain = (jnp.arange(m) >= search.begun) & (jnp.arange(m) < search.count)
        log_x = jax.vmap(lambda at: _log_characteristic(search.projected, chain, at))(below)
        log_seen = jnp.log(RISK) + 0.5 * jnp.log(jnp.pi / 2 / (p - search.begun))
        clear = (search.log_lengths - log_x <= log_seen) | (search.count >= p)
        certified = jnp.maximum(search.certified, jnp.sum(clear, dtype=jnp.int32))

        edge = search.projected[last, last] + 2 * search.ends[last]
        loud = _leakage(upper, ritz.values, ritz.residuals) > SETTLED * (upper - edge)
        loud &= jnp.arange(k) < wanted
        settled = (search.count >= wanted) & ~jnp.any(loud)
        exploring = (search.begun == 0) | (search.log_lengths == jnp.inf)
        above = ~jnp.isfinite(log_x[wanted - 1])
        leaks = search.ends * jnp.max(jnp.where(loud, jnp.abs(ritz.vectors[:, :k]), 0.0), axis=1)
        swap = (exploring | above) & (leaks[search.parked] > leaks[last])
        over = search.ends[last] == 0
        probe = (settled & (exploring | above)) | (over & ~swap)
        before = jax.tree.map(lambda new, old: jnp.where(probe, new, old), (ritz.values, ritz.residuals), search.before)
        done = search.done | (certified >= wanted)
        return search._replace(before=before, certified=certified, done=done), probe, swap

    def advance(carry: tuple[Array, Array, _Search]) -> tuple[Array, Array, _Search]:
        basis, parked, search = carry
        m, j = search.ends.size, search.count
        w, along = split(product(basis[j]), basis, j + 1)
        projected = search.projected.at[:, j].set(along[:m]).at[j].set(along[:m])
        size = length(w)
        over = (size <= 32 * eps * jnp.max(jnp.abs(projected))) | (j + 1 >= p)
        size = jnp.where(over, 0.0, size)
        w = w / jnp.where(size > 0, size, 1.0)
        search = search._replace(
            projected=projected,
            ends=search.ends.at[j - 1].multiply(jnp.where(j > search.begun, 0.0, 1.0)).at[j].set(size),
            log_lengths=search.log_lengths + jnp.log(size),
            count=j + 1,
            done=~jnp.isfinite(size) | (j + 1 >= n_steps),
        )
        due = over | search.done | (j < ROOM) | (j % CHECK_EVERY == 0)
        no = jnp.zeros((), bool)
        search, probe, swap = jax.lax.cond(due, check, lambda s: (s, no, no), search)
        leave = (probe | swap) & ~search.done

        def begin() -> Array:
            random = jax.random.normal(jax.random.fold_in(key, j + 1), w.shape, w.dtype)
            start = split(jnp.where(swap, parked, random), basis, j + 1)[0]
            return start / jnp.linalg.norm(start)

        row = jax.lax.cond(leave, begin, lambda: w)
        search = search._replace(
            begun=jnp.where(leave, j + 1, search.begun),
            ends=search.ends.at[search.parked].multiply(jnp.where(swap, 0.0, 1.0)),
            log_lengths=jnp.where(leave, jnp.where(swap, jnp.inf, 0.0), search.log_lengths),
            parked=jnp.where(leave, j, search.parked),
        )
        return basis.at[j + 1].set(row), jnp.where(leave, w, parked), search

    def finish(carry: tuple[Array, Array, _Search]) -> Eigenpairs:
        basis, _, search = carry
        ritz = _ritz(search.projected, search.ends, search.count)
        converged = jnp.arange(k) < jnp.minimum(search.certified, search.count)
        vectors = ritz.vectors[:, :k].T @ basis[: search.ends.size]
        return Eigenpairs(
            values=jnp.where(converged, _rounded(ritz)[:k], jnp.nan),
            vectors=jnp.where(converged[:, None], vectors, jnp.nan),
            residuals=ritz.residuals[:k] + ritz.noise,
            converged=converged,
            n_products=search.count,
        )

    def wanting(carry: tuple[Array, Array, _Search]) -> Array:
        return ~carry[2].done & (carry[2].count < carry[2].ends.size)

    small, large = max(k, min(n_steps, ROOM)), max(k, n_steps)
    carry = jax.lax.while_loop(wanting, advance, _start(like, key, small))
    if large == small:
        return finish(carry)

    def go_on() -> Eigenpairs:
        return finish(jax.lax.while_loop(wanting, advance, _enlarged(*carry, large)))

    return jax.lax.cond(carry[2].done, lambda: finish(carry), go_on)


def _start(like: Float[Array, " p"], key: PRNGKeyArray, m: int) -> tuple[Array, Array, _Search]:
    """Room for m steps from a random vector: the basis, no vector parked yet, and the search."""
    basis = new_basis(jnp.zeros_like(like), m + 1)
    basis = basis.at[0].set(random_direction(jax.random.fold_in(key, 0), basis, 0))
    zeros, nothing = jnp.zeros(m, like.dtype), jnp.zeros((), jnp.int32)
    search = _Search(
        projected=jnp.zeros((m, m), like.dtype),
        ends=zeros,
        count=nothing,
        begun=nothing,
        log_lengths=zeros[0],
        before=(zeros, zeros),
        parked=nothing,
        certified=nothing,
        done=jnp.zeros((), bool),
    )
    return basis, jnp.zeros_like(like), search


def _enlarged(basis: Array, parked: Array, search: _Search, m: int) -> tuple[Array, Array, _Search]:
    """The same state in room for m steps."""
    more = m - search.ends.size
    values, residuals = (jnp.pad(a, (0, more)) for a in search.before)
    search = search._replace(
        projected=jnp.pad(search.projected, (0, more)),
        ends=jnp.pad(search.ends, (0, more)),
        before=(values, residuals),
    )
    return new_basis(basis[0], m + 1).at[: len(basis)].set(basis), parked, search


def _rounded(ritz: _Ritz) -> Float[Array, " m"]:
    """The Ritz values, with 0 for those that do not stand out of the rounding."""
    return jnp.where(jnp.abs(ritz.values) <= 4 * ritz.noise, 0.0, ritz.values)


def bottom_eigenpairs(
    operator: Operator,
    key: PRNGKeyArray,
    *,
    k: int = 1,
    tolerance: float = 1e-3,
    max_products: int = 100,
    ceiling: float = jnp.inf,
) -> Eigenpairs:
    """Find the min(k, p) algebraically smallest, in ascending order; see `top_eigenpairs`, whose mirror image it is.

    The i-th smallest eigenvalue lies between value - tolerance |value| and value.
    """
    found = top_eigenpairs(Negative(operator), key, k=k, tolerance=tolerance, max_products=max_products, floor=-ceiling)
    return found._replace(values=-found.values)
