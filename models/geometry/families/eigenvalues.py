"""Extreme eigenvalues of curvature matrices of the mean loss, as measures."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.definition import Definition, Estimate, Point
from models.geometry.landscape import Landscape
from models.geometry.operators.lanczos import bottom_eigenpairs, top_eigenpairs
from models.geometry.operators.products import EmpiricalFisher, GaussNewton, Hessian, Operator, Restricted
from models.spec.settings import Count, Positive, Settings

# Parameters up to which all eigenvalues are computed for a count.
DENSE_LIMIT = 1024


class Eigenvalue(Settings):
    """`tolerance` is the largest relative error of a converged eigenvalue, `max_products` the budget."""

    tolerance: Positive = 1e-3
    max_products: Count = 100


class Eigenvalues(Eigenvalue):
    """`k` eigenvalues, or all if there are fewer."""

    k: Count = 5


class NegativeEigenvalues(Settings):
    """Counts fewer than `k` negative eigenvalues; `max_products` is the budget where not all are computed."""

    k: Count = 10
    max_products: Count = 100


def _top(operator: Callable[[Landscape, Array], Operator]) -> Callable[[Point, Eigenvalue], Estimate]:
    def compute(point: Point, settings: Eigenvalue) -> Estimate:
        found = top_eigenpairs(operator(point.landscape, point.theta), point.key, **settings.model_dump())
        return Estimate(found.values[0], jnp.zeros_like(found.values[0]), found.n_products)

    return compute


def _largest(point: Point, settings: Eigenvalues) -> Estimate:
    found = top_eigenpairs(Hessian(point.landscape, point.theta), point.key, **settings.model_dump())
    return Estimate(found.values, jnp.zeros_like(found.values), found.n_products)


def _smallest(point: Point, settings: Eigenvalues) -> Estimate:
    found = bottom_eigenpairs(Hessian(point.landscape, point.theta), point.key, **settings.model_dump())
    return Estimate(found.values, jnp.zeros_like(found.values), found.n_products)


def _ranks(point: Point, settings: Eigenvalues) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(min(settings.k, point.theta.size)))


def _negative(point: Point, settings: NegativeEigenvalues) -> Estimate:
    """The number of eigenvalues below zero by more than rounding, some 32 eps |H|; nearer to it they count as zero.

    All eigenvalues are computed for at most `DENSE_LIMIT` parameters. Beyond, the k smallest are searched for until one
    is certified that is not negative; the count is NaN where none is, so if k or more are negative. Rescaling layers is
    a congruence of H, which leaves the signs alone (Sylvester), but moves small eigenvalues into the rounding and out.
    """
    hessian = Hessian(point.landscape, point.theta)
    if point.theta.size <= DENSE_LIMIT:
        count, n_products = negative_count(hessian), jnp.asarray(point.theta.size)
    else:
        # The sign is all that is asked for, and a relative error below 1 gives it.
        found = bottom_eigenpairs(hessian, point.key, tolerance=0.5, ceiling=0.0, **settings.model_dump())
        known = jnp.any(found.values >= 0)
        count = jnp.where(known, jnp.sum(found.values < 0).astype(point.theta.dtype), jnp.nan)
        n_products = found.n_products
    return Estimate(count, jnp.zeros_like(count), n_products)


def negative_count(operator: Operator) -> Float[Array, ""]:
    """The eigenvalues below -32 eps |A|, from the matrix itself: p products and O(p^2) memory; NaN if A has NaN."""
    like = operator.like
    matrix = jax.lax.map(operator.linearise(), jnp.eye(like.size, dtype=like.dtype))
    values = jnp.linalg.eigvalsh((matrix + matrix.T) / 2)
    rounding = 32 * jnp.finfo(like.dtype).eps * jnp.max(jnp.abs(values))
    count = jnp.sum(values < -rounding).astype(like.dtype)
    return jnp.where(jnp.all(jnp.isfinite(matrix)), count, jnp.nan)


def _by_layer(point: Point, settings: Eigenvalue) -> Estimate:
    """Each layer's diagonal block of H."""
    hessian = Hessian(point.landscape, point.theta)
    found = [
        top_eigenpairs(
            Restricted(hessian, jnp.arange(layer.start, layer.stop)),
            jax.random.fold_in(point.key, i),
            **settings.model_dump(),
        )
        for i, layer in enumerate(point.landscape.model.layers.values())
    ]
    values = jnp.stack([pairs.values[0] for pairs in found])
    return Estimate(values, jnp.zeros_like(values), sum(pairs.n_products for pairs in found))


def _layers(point: Point, settings: Settings) -> tuple[str, ...]:
    del settings
    return tuple(point.landscape.model.layers)


DEFINITIONS = (
    Definition(
        "hessian_top_eigenvalue",
        "curvature",
        "largest eigenvalue of the Hessian of the mean training loss, in nats",
        _top(Hessian),
        "permutation",
        "sharper",
        Eigenvalue,
    ),
    Definition(
        "hessian_eigenvalues",
        "curvature",
        "largest eigenvalues of the Hessian of the mean training loss, in nats, in descending order",
        _largest,
        "permutation",
        "sharper",
        Eigenvalues,
        _ranks,
    ),
    Definition(
        "hessian_bottom_eigenvalues",
        "curvature",
        "smallest eigenvalues of the Hessian of the mean training loss, in nats, in ascending order",
        _smallest,
        "permutation",
        "neither",
        Eigenvalues,
        _ranks,
    ),
    Definition(
        "hessian_negative_eigenvalues",
        "curvature",
        "number of negative eigenvalues of the Hessian of the mean training loss: 0 at a minimum, more at a saddle",
        _negative,
        "permutation",
        "neither",
        NegativeEigenvalues,
    ),
    Definition(
        "ggn_top_eigenvalue",
        "curvature",
        "largest eigenvalue of the generalised Gauss-Newton matrix of the mean training loss, in nats",
        _top(GaussNewton),
        "permutation",
        "sharper",
        Eigenvalue,
    ),
    Definition(
        "fisher_top_eigenvalue",
        "curvature",
        "largest eigenvalue of the empirical Fisher matrix of the training rows, their mean, in squared nats",
        _top(EmpiricalFisher),
        "permutation",
        "sharper",
        Eigenvalue,
    ),
    Definition(
        "hessian_top_eigenvalue_by_layer",
        "curvature",
        "largest eigenvalue of each layer's block of the Hessian of the mean training loss, in nats",
        _by_layer,
        "permutation",
        "sharper",
        Eigenvalue,
        _layers,
    ),
)
