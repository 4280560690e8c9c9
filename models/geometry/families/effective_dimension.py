"""The Laplace effective dimension: how many directions of theta the data decide, rather than the prior.

    d = tr G (G + P)^-1 = sum_i lambda_i / (lambda_i + 1),   lambda = eigenvalues of P^-1/2 G P^-1/2

(MacKay 1992, section 4). G is the generalised Gauss-Newton matrix of the SUM over rows (n times the mean loss's), P the
prior's precision. Flat parameters (P = 0) count 1 for each direction in which G is not zero, the limit of ever wider
priors.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.geometry.definition import Definition, Estimate, NotApplicableError, Point
from models.geometry.landscape import Landscape
from models.geometry.operators.krylov import length, new_basis, orthogonalise
from models.geometry.operators.products import Product, gauss_newton_factor
from models.geometry.operators.trace import probe_until, standard_error
from models.spec.settings import Count, Positive, Settings

CHECK_EVERY = 5
# Parameters up to which dense algebra is used.
DENSE_LIMIT = 1024
# Numbers of the factor that are held at once.
CHUNK = 2**22


class EffectiveDimension(NamedTuple):
    """Effective dimension, its standard error (0 where exact) and the products with G; NaN where unconverged."""

    value: Float[Array, ""] | float
    standard_error: Float[Array, ""] | float
    n_products: Int[Array, ""] | int


# --- exact, by dense algebra in float64 -------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="n_rows")
def _factor_rows(landscape: Landscape, theta: Array, start: Array, n_rows: int) -> Float[Array, "c r p"]:
    """The factor A's rows for `n_rows` rows of the data from `start`."""

    def of_row(x: Array, y: Array) -> Array:
        forward, backward = gauss_newton_factor(Landscape(landscape.model, x[None], y[None]), theta)
        size = jax.eval_shape(forward, theta).size
        return jax.vmap(lambda u: backward(u[None]))(jnp.eye(size, dtype=theta.dtype))

    x, y = (jax.lax.dynamic_slice_in_dim(a, start, n_rows) for a in (landscape.x, landscape.y))
    return jax.vmap(of_row)(x, y)


def dense_gauss_newton(landscape: Landscape, theta: Float[Array, " p"]) -> np.ndarray:
    """(p, p) G of the SUM over rows, in float64 from a factor in theta's precision."""
    n, p = len(landscape.x), theta.size
    rows = min(n, max(1, CHUNK // (p * (landscape.model.family.n_outputs + 1))))
    gram = np.zeros((p, p))
    for start in range(0, n, rows):
        first = min(start, n - rows)  # the last chunk is as long as the others and overlaps
        factor = np.asarray(_factor_rows(landscape, theta, jnp.asarray(first), rows), np.float64)[start - first :]
        factor = factor.reshape(-1, p)
        gram += factor.T @ factor
    return gram


def exact_effective_dimension(
    landscape: Landscape, theta: Float[Array, " p"], scales: np.ndarray
) -> EffectiveDimension:
    """Dense eigendecomposition: O(p^2) memory, O(n k p^2 + p^3) time.

    With F the flat parameters and R the rest, d = rank G_FF + the effective dimension of the Schur complement
    G_RR - G_RF G_FF^+ G_FR under R's prior. The rank counts eigenvalues above (p eps64 + N eps^2) times the
    largest, for a factor of N rows in precision eps.
    """
    gram = dense_gauss_newton(landscape, theta)
    if not np.all(np.isfinite(gram)):
        return EffectiveDimension(np.nan, np.nan, 0)
    n_rows = len(landscape.x) * (landscape.model.family.n_outputs + 1)
    cutoff = theta.size * np.finfo(np.float64).eps + n_rows * float(jnp.finfo(theta.dtype).eps) ** 2
    flat = ~np.isfinite(scales)
    inside, rank = gram[np.ix_(~flat, ~flat)], 0
    if flat.any():
        values, vectors = np.linalg.eigh(gram[np.ix_(flat, flat)])
        kept = values > cutoff * max(values[-1], 0.0)
        rank = int(np.sum(kept))
        half = (vectors[:, kept] / np.sqrt(values[kept])).T @ gram[np.ix_(flat, ~flat)]
        inside = inside - half.T @ half
    s = scales[~flat]
    values = np.maximum(np.linalg.eigvalsh(s[:, None] * inside * s), 0.0)
    return EffectiveDimension(rank + float(np.sum(values / (1.0 + values))), 0.0, 0)


# --- by products alone ------------------------------------------------------------------------------------------------


class _Bidiagonal(NamedTuple):
    """Golub-Kahan: A V' = U' B with rows V of `basis`; B is upper bidiagonal, `rho` on its diagonal, `tau` above."""

    basis: Float[Array, "b p"]
    u: Array
    rho: Float[Array, " m"]
    tau: Float[Array, " m"]
    count: Int[Array, ""]


def _unit(w: Array, scale: Array) -> tuple[Array, Array]:
    """Direction and length of w; both zero where w is rounding error next to `scale`."""
    size = length(w)
    size = jnp.where(size <= 32 * jnp.finfo(w.dtype).eps * scale, 0.0, size)
    return w / jnp.where(size > 0, size, 1.0), size


def _extend(forward: Product, backward: Product, state: _Bidiagonal) -> _Bidiagonal:
    """One step; V is orthogonalised in full, which keeps U orthogonal too (Simon and Zha 2000)."""
    basis, u, rho, tau, j = state
    scale = jnp.maximum(jnp.max(rho), jnp.max(tau))
    u, size = _unit(forward(basis[j]) - jnp.where(j > 0, tau[j - 1], 0.0) * u, scale)
    w, coupling = _unit(orthogonalise(backward(u), basis, j + 1), jnp.maximum(scale, size))
    return _Bidiagonal(basis.at[j + 1].set(w), u, rho.at[j].set(size), tau.at[j].set(coupling), j + 1)


def _shrunk(rho: Float[Array, " m"], tau: Float[Array, " m"]) -> Float[Array, ""]:
    """The form e' (I - (I + B'B)^-1) e for the first unit vector e and bidiagonal B, by the QR factors of [B; I]."""
    m = rho.size
    b = jnp.pad(jnp.diag(rho), ((0, 0), (0, 1))) + jnp.pad(jnp.diag(tau), ((0, 0), (1, 0)))
    r = jnp.linalg.qr(jnp.concatenate([b, jnp.eye(m + 1, dtype=rho.dtype)]), mode="r")
    first = jnp.zeros(m + 1, rho.dtype).at[0].set(1.0)
    return 1.0 - jnp.sum(jnp.square(jax.scipy.linalg.solve_triangular(r, first, trans=1)))


def _bracket(state: _Bidiagonal) -> tuple[Array, Array]:
    """Lower and upper bound of v' f(A'A) v, f(x) = x / (1 + x), v the first basis vector.

    Gauss-Radau quadrature with a node at 0 (B with its last coupling kept) bounds it from below and Gauss quadrature
    (that coupling dropped) from above, f's derivatives alternating in sign (Golub and Meurant 2010, chapter 6).
    """
    last = state.count - 1
    lower, upper = _shrunk(state.rho, state.tau), _shrunk(state.rho, state.tau.at[last].set(0.0))
    return jnp.minimum(lower, upper), jnp.maximum(lower, upper)


def _quadratic_form(
    forward: Product, backward: Product, z: Float[Array, " p"], tolerance: float, max_steps: int
) -> Float[Array, "3"]:
    """The form z' f(A'A) z: the middle of its bracket, half the bracket's width, and the steps taken.

    Stops at a bracket of at most `tolerance` of its upper end; the middle is NaN if `max_steps` do not reach that.
    """
    squared = z @ z
    shape = jax.eval_shape(forward, z)
    empty = jnp.zeros(max_steps, z.dtype)
    state = _Bidiagonal(
        basis=new_basis(z / jnp.sqrt(squared), max_steps + 1),
        u=jnp.zeros(shape.shape, shape.dtype),
        rho=empty,
        tau=empty,
        count=jnp.zeros((), jnp.int32),
    )

    def wanting(carry: tuple[_Bidiagonal, Array, Array]) -> Array:
        state, lower, upper = carry
        return (state.count < max_steps) & (upper - lower > tolerance * upper)

    def advance(carry: tuple[_Bidiagonal, Array, Array]) -> tuple[_Bidiagonal, Array, Array]:
        n_steps = jnp.minimum(CHECK_EVERY, max_steps - carry[0].count)
        state = jax.lax.fori_loop(0, n_steps, lambda _, s: _extend(forward, backward, s), carry[0])
        return state, *_bracket(state)

    unknown = (jnp.zeros((), z.dtype), jnp.ones((), z.dtype))
    state, lower, upper = jax.lax.while_loop(wanting, advance, (state, *unknown))
    reached = upper - lower <= tolerance * upper
    middle = jnp.where(reached, 0.5 * squared * (lower + upper), jnp.nan)
    return jnp.stack([middle, 0.5 * squared * (upper - lower), state.count.astype(z.dtype)])


def estimate_effective_dimension(
    landscape: Landscape,
    theta: Float[Array, " p"],
    scales: Float[Array, " p"],
    key: PRNGKeyArray,
    *,
    relative_error: float = 0.02,
    max_probes: int = 60,
    max_steps: int = 100,
) -> EffectiveDimension:
    """Estimate d by Rademacher probes z' f(A'A) z, each bracketed by quadrature; O(max_steps p) memory.

    Golub-Kahan steps on the factor A keep singular values to eps |A|, so eigenvalues near 1 survive float32 next to
    huge ones, which Lanczos on A'A would drown in eps |A|^2. The standard error joins the spread of
    the probes with the mean half-width of their brackets, which is at most `relative_error` / 4 of the value.

    NaN where a bracket does not close within `max_steps`, and where a weight's prior is flat: its count is the rank of
    G, which rounding decides (see `exact_effective_dimension`). The likelihood's own parameters do not mix with the
    weights in G, so a flat one counts exactly 1 where the data inform it.
    """
    model = landscape.model
    proper = jnp.isfinite(scales)
    s = jnp.where(proper, scales, 0.0)
    forward, backward = gauss_newton_factor(landscape, theta)

    def scaled(v: Array) -> Array:
        return forward(s * v)

    def scaled_transpose(u: Array) -> Array:
        return s * backward(u)

    def probe(i: Array) -> Array:
        z = jax.random.rademacher(jax.random.fold_in(key, i), theta.shape, theta.dtype)
        return _quadratic_form(scaled, scaled_transpose, z, 0.5 * relative_error, max_steps)

    free = sum(
        (jnp.any(forward(jnp.zeros_like(theta).at[i].set(1.0)) != 0) & ~proper[i]).astype(theta.dtype)
        for i in range(model.n_weights, model.n_parameters)
    )

    def enough(values: Array, n: Array) -> Array:
        return standard_error(values[:, 0], n) <= relative_error * (free + jnp.sum(values[:, 0]) / n)

    values, n = probe_until(enough, probe, max_probes)
    middle, half, steps = jnp.sum(values, axis=0)
    weights_proper = jnp.all(proper[: model.n_weights])
    return EffectiveDimension(
        value=jnp.where(weights_proper, free + middle / n, jnp.nan),
        standard_error=jnp.hypot(standard_error(values[:, 0], n), half / n),
        n_products=steps.astype(jnp.int32),
    )


# --- as a measure -----------------------------------------------------------------------------------------------------


class Dimension(Settings):
    """`relative_error` is the standard error asked for, relative to the value; `max_steps` the budget of a probe."""

    relative_error: Positive = 0.05
    max_steps: Count = 100


def _measure(point: Point, settings: Dimension) -> Estimate:
    if not _is_large(point, settings):
        if not np.any(np.isfinite(point.scales[: point.landscape.model.n_weights])):
            raise NotApplicableError(
                "the effective dimension needs a proper prior or a weight decay: this prior is flat"
            )
        return Estimate(*exact_effective_dimension(point.landscape, point.theta, np.asarray(point.scales)))
    scales = jnp.asarray(point.scales, point.theta.dtype)
    return Estimate(
        *estimate_effective_dimension(point.landscape, point.theta, scales, point.key, **settings.model_dump())
    )


def _is_large(point: Point, settings: Dimension) -> bool:
    del settings
    return point.theta.size > DENSE_LIMIT


DEFINITIONS = (
    Definition(
        "effective_dimension",
        "bayesian",
        "Laplace effective number of parameters: directions that the data decide rather than the prior",
        _measure,
        "permutation",
        "more complex",
        Dimension,
        traced=_is_large,
    ),
)
