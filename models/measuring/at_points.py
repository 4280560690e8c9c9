"""Measures at many parameter vectors, and in what company each is computed."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.geometry.definition import Estimate, NotApplicableError, Point, Profile
from models.measuring.catalogue import Ask
from models.runs.result import MeasureStatus

# Vectors side by side on an accelerator. Fixed, and padded to, so that a measure's bits do not depend on its company.
WIDTH = 16


class Measured(NamedTuple):
    """A measure, or one component of it, at one point.

    Attributes:
        component: which part of the measure, such as a layer; empty for a scalar.
        value: None unless converged.
        standard_error: of a random estimate; 0 for values without chance, None unless converged.
        reason: why it is not applicable, else None.
        n_products: of the whole measure.
    """

    component: str
    value: float | None
    standard_error: float | None
    status: MeasureStatus
    reason: str | None
    n_products: int


class Curve(NamedTuple):
    """A profile at one point, as (g,) float64 columns; `y` is None for a curve."""

    x: np.ndarray
    y: np.ndarray | None
    value: np.ndarray
    standard_error: np.ndarray
    n_products: int


Found = tuple[Measured, ...] | Curve


@partial(jax.jit, static_argnames="ask")
def _one(point: Point, ask: Ask) -> Estimate | Profile:
    return ask.definition.compute(point, ask.settings)


@partial(jax.jit, static_argnames="ask")
def _many(points: Point, ask: Ask) -> Estimate | Profile:
    return jax.vmap(lambda point: ask.definition.compute(point, ask.settings))(points)


def measure(points: Sequence[Point], ask: Ask) -> list[Found]:
    """Take one measure at every point.

    The points' landscapes share a model and shapes. On a CPU they take turns in one compiled program; on an accelerator
    `WIDTH` of them run side by side, the last group padded with copies. What cannot be traced at a point, such as dense
    algebra, is computed there by itself. What is not applicable is said in one row.
    """
    traced = [ask.definition.traced(point, ask.settings) for point in points]
    if jax.default_backend() == "cpu":
        return [_alone(point, ask, by_program) for point, by_program in zip(points, traced, strict=True)]
    beside = iter(_side_by_side([point for point, by_program in zip(points, traced, strict=True) if by_program], ask))
    return [
        next(beside) if by_program else _alone(point, ask, by_program)
        for point, by_program in zip(points, traced, strict=True)
    ]


def _alone(point: Point, ask: Ask, by_program: bool) -> Found:
    try:
        raw = _one(_in_one_precision(point), ask) if by_program else ask.definition.compute(point, ask.settings)
    except NotApplicableError as reason:
        return _not_applicable(reason)
    return _found(point, ask, raw)


def _side_by_side(points: Sequence[Point], ask: Ask) -> list[Found]:
    found: list[Found] = []
    for start in range(0, len(points), WIDTH):
        group = [_in_one_precision(point) for point in points[start : start + WIDTH]]
        padded = group + [group[-1]] * (WIDTH - len(group))
        try:
            columns = jax.device_get(_many(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded), ask))
        except NotApplicableError as reason:  # where it is traced, that rests on what all points share
            return [_not_applicable(reason)] * len(points)
        found += [_found(p, ask, jax.tree.map(lambda c, i=i: c[i], columns)) for i, p in enumerate(group)]
    return found


def _in_one_precision(point: Point) -> Point:
    """The prior in the parameters' own precision, which is what is traced."""
    scales, centre = (jnp.asarray(a, point.theta.dtype) for a in (point.scales, point.centre))
    return point._replace(scales=scales, centre=centre)


def _not_applicable(reason: NotApplicableError) -> Found:
    return (Measured("", None, None, "not_applicable", str(reason), 0),)


def _found(point: Point, ask: Ask, raw: Estimate | Profile) -> Found:
    n_products = int(raw.n_products)
    if isinstance(raw, Profile):
        y = None if raw.y is None else np.asarray(raw.y, float)
        return Curve(
            np.asarray(raw.x, float), y, np.asarray(raw.value, float), np.asarray(raw.standard_error, float), n_products
        )
    names = ask.definition.components(point, ask.settings)
    values, errors = (np.broadcast_to(np.asarray(a, float), (len(names),)) for a in (raw.value, raw.standard_error))
    return tuple(_row(*row, n_products) for row in zip(names, values.tolist(), errors.tolist(), strict=True))


def _row(component: str, value: float, standard_error: float, n_products: int) -> Measured:
    if math.isfinite(value) and math.isfinite(standard_error):
        return Measured(component, value, standard_error, "converged", None, n_products)
    return Measured(component, None, None, "unconverged", None, n_products)
