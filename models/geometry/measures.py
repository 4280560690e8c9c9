"""The measures at many parameter vectors: which there are, how each is computed, and in what company."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from models.geometry.effective_dimension import estimate_effective_dimension, exact_effective_dimension
from models.geometry.lanczos import top_eigenvalues
from models.geometry.landscape import Landscape
from models.geometry.products import Hessian
from models.geometry.trace import estimate_trace, exact_trace, piecewise_layers

# Vectors side by side on an accelerator. Fixed, and padded to, so that a measure's bits do not depend on its company.
WIDTH = 16
# Parameters up to which the effective dimension is computed by dense algebra.
DENSE_LIMIT = 1024


class Point(NamedTuple):
    """One parameter vector of one run.

    Attributes:
        scales: (p,) prior standard deviations, infinite where flat.
        key: the randomness of this point's estimates.
    """

    landscape: Landscape
    theta: Float[Array, " p"]
    scales: Float[Array, " p"] | np.ndarray
    key: PRNGKeyArray


class Measured(NamedTuple):
    """A measure at one point.

    Attributes:
        value: None where unconverged.
        standard_error: of a random estimate; 0 for values without chance, None where unconverged.
        n_products: curvature-vector products used; 0 for dense and two-pass computations.
    """

    value: float | None
    standard_error: float | None
    converged: bool
    n_products: int


class Accuracy(NamedTuple):
    """What is asked of the measures.

    Attributes:
        tolerance: largest relative residual of an eigenpair; an eigenvalue's relative error is no larger.
        relative_error: standard error asked of traces and effective dimensions, relative to the value.
        max_products: budget per measure and point; for the effective dimension, steps per probe.
    """

    tolerance: float = 1e-3
    relative_error: float = 0.02
    max_products: int = 100


STANDARD = Accuracy()


Row = tuple[Array | float, Array | float, Array | int]


def _top_eigenvalue(point: Point, accuracy: Accuracy) -> Row:
    found = top_eigenvalues(
        Hessian(point.landscape, point.theta),
        point.key,
        tolerance=accuracy.tolerance,
        max_products=accuracy.max_products,
    )
    return found.values[0], jnp.zeros_like(found.values[0]), found.n_products


def _trace(point: Point, accuracy: Accuracy) -> Row:
    model = point.landscape.model
    if piecewise_layers(model.unravel(point.theta[: model.n_weights])) is not None:
        return exact_trace(point.landscape, point.theta)
    return estimate_trace(
        Hessian(point.landscape, point.theta),
        point.key,
        relative_error=accuracy.relative_error,
        max_products=accuracy.max_products,
    )


def _effective_dimension(point: Point, accuracy: Accuracy) -> Row:
    return estimate_effective_dimension(
        point.landscape,
        point.theta,
        jnp.asarray(point.scales, point.theta.dtype),
        point.key,
        relative_error=accuracy.relative_error,
        max_steps=accuracy.max_products,
    )


# Each by its own name in the `geometry` table.
MEASURES: dict[str, Callable[[Point, Accuracy], Row]] = {
    "hessian_top_eigenvalue": _top_eigenvalue,
    "hessian_trace": _trace,
    "effective_dimension": _effective_dimension,
}


@partial(jax.jit, static_argnames=("name", "accuracy"))
def _one(point: Point, name: str, accuracy: Accuracy) -> Row:
    return MEASURES[name](point, accuracy)


@partial(jax.jit, static_argnames=("name", "accuracy"))
def _many(points: Point, name: str, accuracy: Accuracy) -> Row:
    return jax.vmap(lambda point: MEASURES[name](point, accuracy))(points)


def measure(
    points: Sequence[Point], names: Sequence[str] = tuple(MEASURES), accuracy: Accuracy = STANDARD
) -> list[dict[str, Measured]]:
    """Measure every point: one dictionary per point, by the measure's name.

    The points' landscapes share a model and shapes. On a CPU they take turns in one compiled program; on an accelerator
    `WIDTH` of them run side by side, the last group padded with copies. Effective dimensions of at most `DENSE_LIMIT`
    parameters are computed densely, so exactly.

    Raises:
        ValueError: an unknown measure.
    """
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"unknown measure {name!r}: choose from {', '.join(MEASURES)}")
    columns = {name: _column(points, name, accuracy) for name in names}
    return [{name: column[i] for name, column in columns.items()} for i in range(len(points))]


def _column(points: Sequence[Point], name: str, accuracy: Accuracy) -> list[Measured]:
    if name == "effective_dimension" and all(p.theta.size <= DENSE_LIMIT for p in points):
        exact = exact_effective_dimension
        return [_measured(exact(p.landscape, p.theta, np.asarray(p.scales))) for p in points]
    points = [p._replace(scales=jnp.asarray(p.scales, p.theta.dtype)) for p in points]
    if jax.default_backend() == "cpu":
        return [_measured(_one(p, name, accuracy)) for p in points]
    measured: list[Measured] = []
    for start in range(0, len(points), WIDTH):
        group = points[start : start + WIDTH]
        padded = group + [group[-1]] * (WIDTH - len(group))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)
        rows = [np.asarray(column).tolist() for column in _many(stacked, name, accuracy)]
        measured += [_measured(tuple(column[i] for column in rows)) for i in range(len(group))]
    return measured


def _measured(row: Row) -> Measured:
    value, standard_error, n_products = float(row[0]), float(row[1]), int(row[2])
    if not (math.isfinite(value) and math.isfinite(standard_error)):
        return Measured(None, None, False, n_products)
    return Measured(value, standard_error, True, n_products)
