"""Traces, Frobenius norms and diagonals of curvature matrices of the mean loss, as measures."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array
from pydantic import Field

from models.geometry.definition import Definition, Estimate, NoSettings, Point
from models.geometry.operators.diagonal import Diagonal, estimate_diagonal, exact_diagonal, exact_traces
from models.geometry.operators.frobenius import Frobenius, frobenius_norm
from models.geometry.operators.layerwise import Matrix, has_exact_hessian
from models.geometry.operators.products import Hessian, Restricted
from models.geometry.operators.trace import Trace, estimate_trace, exact_trace
from models.spec.settings import MOST, Count, Positive, Settings


class Precision(Settings):
    """`relative_error` is the standard error asked for, relative to the value; what is exact ignores it.

    `max_products` is the budget of each number; up to that many parameters are summed exactly, by a product for each.
    """

    relative_error: Positive = 0.02
    max_products: Annotated[int, Field(ge=50, le=MOST)] = 200


class Probes(Settings):
    """`max_products` is the number of probes where the diagonal is not exact; up to that many parameters it is."""

    max_products: Count = 200


def _layers(point: Point, settings: Settings) -> tuple[str, ...]:
    del settings
    return tuple(point.landscape.model.layers)


def _blocks(point: Point) -> list[Restricted]:
    """The Hessian's diagonal block of each layer."""
    hessian = Hessian(point.landscape, point.theta)
    layers = point.landscape.model.layers.values()
    return [Restricted(hessian, jnp.arange(entries.start, entries.stop)) for entries in layers]


def _stacked(found: list[Trace] | list[Frobenius]) -> Estimate:
    values, errors, products = (jnp.stack([jnp.asarray(each[i]) for each in found]) for i in range(3))
    return Estimate(values, errors, jnp.sum(products))


def _keys(point: Point) -> Array:
    return jax.random.split(point.key, len(point.landscape.model.layers))


def _trace(point: Point, settings: Precision) -> Estimate:
    if has_exact_hessian(point.landscape.model):
        return Estimate(*exact_trace(point.landscape, point.theta))
    return Estimate(*estimate_trace(Hessian(point.landscape, point.theta), point.key, **settings.model_dump()))


def _trace_by_layer(point: Point, settings: Precision) -> Estimate:
    if has_exact_hessian(point.landscape.model):
        return Estimate(exact_traces(point.landscape, point.theta, "hessian").layers, 0.0, 0)
    blocks = zip(_blocks(point), _keys(point), strict=True)
    return _stacked([estimate_trace(block, key, **settings.model_dump()) for block, key in blocks])


def _exact_trace_of(matrix: Matrix) -> Callable[[Point, NoSettings], Estimate]:
    def compute(point: Point, settings: NoSettings) -> Estimate:
        del settings
        found = exact_traces(point.landscape, point.theta, matrix)
        return Estimate(jnp.sum(found.layers) + found.own, 0.0, 0)

    return compute


def _frobenius(point: Point, settings: Precision) -> Estimate:
    return Estimate(*frobenius_norm(Hessian(point.landscape, point.theta), point.key, **settings.model_dump()))


def _frobenius_by_layer(point: Point, settings: Precision) -> Estimate:
    blocks = zip(_blocks(point), _keys(point), strict=True)
    return _stacked([frobenius_norm(block, key, **settings.model_dump()) for block, key in blocks])


def _diagonal(point: Point, settings: Probes) -> Estimate:
    if has_exact_hessian(point.landscape.model):
        exact = exact_diagonal(point.landscape, point.theta, "hessian")
        return summary(Diagonal(exact, jnp.zeros_like(exact), 0))
    return summary(
        estimate_diagonal(Hessian(point.landscape, point.theta), point.key, n_products=settings.max_products)
    )


def summary(diagonal: Diagonal) -> Estimate:
    """Minimum, median, maximum and the share of negative entries, with errors that hold for noisy entries too.

    Noise moves no quantile by more than the largest error among the p entries, which is sqrt(2 log 2p) standard errors
    or less in expectation if normal; that stands as the quantiles' standard error. The share's is that of the entries
    within 1.96 standard errors of zero.
    """
    values, errors, n_products = diagonal
    quantiles = [jnp.min(values), jnp.median(values), jnp.max(values)]
    largest = jnp.sqrt(2.0 * jnp.log(2.0 * values.size)) * jnp.max(errors)
    undecided = jnp.mean(jnp.abs(values) < 1.96 * errors, dtype=values.dtype)
    share = jnp.where(jnp.isnan(quantiles[0]), jnp.nan, jnp.mean(values < 0, dtype=values.dtype))
    return Estimate(jnp.stack([*quantiles, share]), jnp.stack([largest] * 3 + [undecided]), n_products)


def _quantiles(point: Point, settings: Probes) -> tuple[str, ...]:
    del point, settings
    return ("min", "median", "max", "negative_share")


DEFINITIONS = (
    Definition(
        "hessian_trace",
        "curvature",
        "trace of the Hessian of the mean training loss, in nats; exact for linear predictors, MLPs and ReLU convnets",
        _trace,
        "permutation",
        "sharper",
        Precision,
    ),
    Definition(
        "hessian_trace_by_layer",
        "curvature",
        "trace of each layer's block of the Hessian of the mean training loss, in nats",
        _trace_by_layer,
        "permutation",
        "sharper",
        Precision,
        components=_layers,
    ),
    Definition(
        "ggn_trace",
        "curvature",
        "trace of the generalised Gauss-Newton (Fisher) matrix of the mean training loss, in nats; exact",
        _exact_trace_of("gauss-newton"),
        "permutation",
        "sharper",
    ),
    Definition(
        "fisher_trace",
        "curvature",
        "trace of the empirical Fisher matrix: mean over training rows of the squared norm of the gradient; exact",
        _exact_trace_of("empirical-fisher"),
        "permutation",
        "sharper",
    ),
    Definition(
        "hessian_frobenius",
        "curvature",
        "Frobenius norm of the Hessian of the mean training loss, in nats",
        _frobenius,
        "permutation",
        "sharper",
        Precision,
    ),
    Definition(
        "hessian_frobenius_by_layer",
        "curvature",
        "Frobenius norm of each layer's block of the Hessian of the mean training loss, in nats",
        _frobenius_by_layer,
        "permutation",
        "sharper",
        Precision,
        components=_layers,
    ),
    Definition(
        "hessian_diagonal",
        "curvature",
        "extremes and median of the diagonal of the Hessian of the mean training loss, in nats, and its negative share",
        _diagonal,
        "permutation",
        "neither",
        Probes,
        components=_quantiles,
    ),
)
