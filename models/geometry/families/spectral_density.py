"""The density of the Hessian's eigenvalues, by stochastic Lanczos quadrature (Lin, Saad and Yang 2016, section 3.2).

Lanczos from a random unit vector v gives nodes theta_j and weights w_j, with v' f(A) v = sum_j w_j f(theta_j) for
smooth f, whose expectation is tr f(A) / p. With f a Gaussian around each point of a grid, that is the density,
broadened (Ghorbani et al. 2019, section 2).

The recurrence is Lanczos's own of three terms. What it loses in orthogonality shows as copies of Ritz values that share
one weight, which leaves the sums right (Knizhnerman 1996); so memory is a few vectors, whatever the number of steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from models.geometry.definition import Definition, Estimate, Point, Profile
from models.geometry.operators.krylov import length, matrix
from models.geometry.operators.products import Hessian, Operator, Product
from models.geometry.operators.trace import krylov_space
from models.spec.settings import Count, Settings

# The grid: points to a bandwidth, and bandwidths beyond the extreme Ritz values.
RESOLUTION = 2
MARGIN = 5
# Bandwidths below zero at which an eigenvalue counts half as negative: one that is zero counts 3e-5.
CLEARLY = 4.0


class Quadrature(NamedTuple):
    """Nodes and weights of `v` probes; the weights of each sum to 1.

    Attributes:
        bandwidth: what `steps` resolve: the range of all nodes / steps.
        variance: that of a mean over the probes, over the variance of f among the eigenvalues; 0 where exact.
    """

    nodes: Float[Array, "v m"]
    weights: Float[Array, "v m"]
    bandwidth: Float[Array, ""]
    variance: float
    n_products: int

    def mean(self, f: Callable[[Array], Array]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The mean of f(nodes), (..., v, m), over the eigenvalues, and its standard error.

        For v uniform on the sphere v' f(A) v has the variance 2 / (p + 2) times that of f among the eigenvalues, and
        the same quadrature tells the latter: far better known than the spread of a few probes.
        """
        values = f(self.nodes)
        first, second = (jnp.mean(jnp.sum(self.weights * values**k, axis=-1), axis=-1) for k in (1, 2))
        return first, jnp.sqrt(self.variance * jnp.maximum(second - jnp.square(first), 0.0))


def lanczos_quadrature(operator: Operator, key: PRNGKeyArray, *, steps: int = 100, probes: int = 5) -> Quadrature:
    """Quadratures of `probes` random vectors, `steps` products each; if p <= steps all eigenvalues, by p products."""
    product, like = operator.linearise(), operator.like
    p = like.size
    if p <= steps:
        space = krylov_space(product, like, key, p)
        nodes = jnp.linalg.eigvalsh(matrix(space, space.alpha[0]))[None]
        return Quadrature(nodes, jnp.full_like(nodes, 1.0 / p), _bandwidth(nodes, steps), 0.0, p)

    def of_probe(i: Array) -> tuple[Array, Array]:
        v = jax.random.normal(jax.random.fold_in(key, i), like.shape, like.dtype)
        return _gauss(*_three_terms(product, v / jnp.linalg.norm(v), steps))

    nodes, weights = jax.lax.map(of_probe, jnp.arange(probes))
    return Quadrature(nodes, weights, _bandwidth(nodes, steps), 2.0 / ((p + 2) * probes), steps * probes)


def _bandwidth(nodes: Float[Array, "v m"], steps: int) -> Float[Array, ""]:
    """The range over the steps: Gaussians that narrow are integrated to exp(-8) of their height."""
    spread, size = jnp.max(nodes) - jnp.min(nodes), jnp.max(jnp.abs(nodes))
    eps = jnp.finfo(nodes.dtype).eps
    return jnp.where(spread > 8 * eps * size, spread, jnp.where(size > 0, size, 1.0)) / steps


def _three_terms(
    product: Product, first: Float[Array, " p"], n_steps: int
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """The diagonal of Lanczos's matrix, and what couples each row to the next, 0 from where it came to an end."""

    def advance(j: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        q, before, alpha, beta = carry
        w = product(q) - beta[j - 1] * before  # the last entry, for the first step, is 0 still
        # What does not reach a vector is a filler within the spectrum, coupled to nothing.
        alpha = alpha.at[j].set(jnp.where(jnp.any(q != 0), q @ w, alpha[0]))
        w = w - (q @ w) * q
        size = length(w)
        scale = jnp.maximum(jnp.max(jnp.abs(alpha)), jnp.max(beta))
        size = jnp.where(size <= 32 * jnp.finfo(w.dtype).eps * scale, 0.0, size)
        w = jnp.where(size > 0, w / jnp.where(size > 0, size, 1.0), jnp.where(size == 0, 0.0, jnp.nan))
        return w, q, alpha, beta.at[j].set(size)

    zeros = jnp.zeros(n_steps, first.dtype)
    *_, alpha, beta = jax.lax.fori_loop(0, n_steps, advance, (first, jnp.zeros_like(first), zeros, zeros))
    return alpha, beta


def _gauss(alpha: Float[Array, " m"], beta: Float[Array, " m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Nodes and weights: eigenvalues, and squared first entries of eigenvectors (Golub and Welsch 1969)."""
    nodes, vectors = jnp.linalg.eigh(jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1))
    return nodes, jnp.square(vectors[0])


def spectral_density(quadrature: Quadrature, steps: int) -> tuple[Array, Array, Array]:
    """A grid, the density there of the eigenvalues convolved with N(0, bandwidth^2), and its standard error, (g,) each.

    The grid has half a bandwidth between points, from 5 below the smallest node to 5 above the largest; the
    trapezoid rule integrates the density over it to 1.
    """
    width = quadrature.bandwidth
    grid = jnp.min(quadrature.nodes) + width * (jnp.arange(RESOLUTION * (steps + 2 * MARGIN) + 1) / RESOLUTION - MARGIN)
    values, errors = quadrature.mean(
        lambda nodes: jnp.exp(-0.5 * jnp.square((grid[:, None, None] - nodes) / width)) / jnp.sqrt(2 * jnp.pi)
    )
    return grid, values / width, errors / width


# --- as measures ------------------------------------------------------------------------------------------------------


class Density(Settings):
    """`probes` random vectors of `steps` products each; the bandwidth is the spectrum's range / steps."""

    steps: Count = 100
    probes: Count = 5


def _quadrature(point: Point, settings: Density) -> Quadrature:
    return lanczos_quadrature(Hessian(point.landscape, point.theta), point.key, **settings.model_dump())


def _density(point: Point, settings: Density) -> Profile:
    quadrature = _quadrature(point, settings)
    grid, values, errors = spectral_density(quadrature, settings.steps)
    return Profile(grid, values, errors, quadrature.n_products)


def _negative_mass(point: Point, settings: Density) -> Estimate:
    quadrature = _quadrature(point, settings)
    share, error = quadrature.mean(lambda nodes: norm.cdf(-nodes / quadrature.bandwidth - CLEARLY))
    return Estimate(share, error, quadrature.n_products)


DEFINITIONS = (
    Definition(
        "hessian_spectral_density",
        "curvature",
        "density of the eigenvalues of the Hessian of the mean training loss, broadened by range / steps; per 1 / nat",
        _density,
        "permutation",
        "neither",
        Density,
    ),
    Definition(
        "hessian_negative_mass",
        "curvature",
        "share of the Hessian's eigenvalues that are negative by more than about 4 / steps of the spectrum's range",
        _negative_mass,
        "permutation",
        "neither",
        Density,
    ),
)
