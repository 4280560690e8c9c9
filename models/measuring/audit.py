"""What a measure makes of the symmetries of a net: does it move where the function does not?

The audit changes theta alone. It multiplies what feeds a hidden layer by alpha and divides what reads it by alpha (Dinh
et al. 2017, section 3), layer by layer, and permutes the units of all hidden layers. The function stays as it is, so
that a measure which moves tells of the parametrisation too. The prior's scales and the parameters before training stay
where they are: a measure that holds theta against either of them moves, as it should.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from models.geometry.connectivity.symmetries import hidden_layers, permute, rescale
from models.geometry.definition import Invariance, NotApplicableError, Point
from models.measuring.at_points import Curve, Found, measure
from models.measuring.catalogue import Ask

ALPHAS = (1e-4, 1e-2, 1e2, 1e4)
STANDARD_ERRORS = 4.0
# Relative differences that rounding is held to explain. In float32 a factor of 1e4 leaves three digits of a sum.
ROUNDING = {"float64": 1e-6, "float32": 1e-2}
APPLIES = (
    "Rescaling leaves the function alone where a positive factor passes through the activation: in ReLU nets, with or "
    "without max-pooling, not with tanh, GELU, SiLU or softplus. Permuting hidden units always does. Basin's nets have "
    "no normalisation layers, and measures are taken with dropout off, so nothing else interferes. Linear models have "
    "neither symmetry."
)


class Audited(NamedTuple):
    """One measure, or one component of it, before and after one transformation.

    Attributes:
        transformation: in words, such as "rescale layers.0 by 0.01" or "permute units".
        layer: that is rescaled, and `alpha` by what; None for permutations.
        before: the value at theta; None where there is none, and for profiles, whose columns are compared.
        moved: whether it differs by more than rounding and standard errors allow; None where a value is missing.
        declared: what the measure's definition says leaves it unchanged.
        agrees: whether the finding is as declared. A measure that is not declared invariant should be moved by some of
            the rescalings, or by the permutation, not by each. None where `moved` is None.
        reason: why it does not apply, or has no value; else None.
    """

    measure: str
    component: str
    transformation: str
    layer: str | None
    alpha: float | None
    before: float | None
    after: float | None
    moved: bool | None
    declared: Invariance
    agrees: bool | None
    status: Literal["compared", "unconverged", "not_applicable"]
    reason: str | None


class _Change(NamedTuple):
    name: str
    layer: str | None
    alpha: float | None


def audit(
    point: Point, asks: Sequence[Ask], alphas: Sequence[float] = ALPHAS, *, key: PRNGKeyArray
) -> tuple[Audited, ...]:
    """Take every measure at theta, and where the symmetries move it, with the same randomness.

    A value v that becomes v' has moved if |v' - v| > max(4 hypot(e, e'), r max(|v|, |v'|)), with their standard errors
    e and e', and r what rounding explains, `ROUNDING`, plus the `tolerance` that either value is known to, where the
    measure's settings have one. A profile has moved if any entry of any column has, held against the column's largest.

    A maximum that is searched for from random starts has no standard error: where a permutation moves it, ask for more
    starts.

    Under x64 all is computed in float64, whatever the point's precision. Enable it: factors of 1e-4 ruin float32.

    Args:
        point: where; its theta alone is changed.
        asks: the measures with their settings.
        alphas: factors of the rescalings.
        key: of the permutations.

    Returns:
        By measure, transformation and component. What does not apply is said in one row for each measure and symmetry.

    Raises:
        ValueError: a factor that is not positive.
    """
    if not all(alpha > 0 and math.isfinite(alpha) for alpha in alphas):
        raise ValueError(f"alphas: expected positive factors, received {tuple(alphas)}")
    precise = jnp.zeros(()).dtype
    point = jax.tree.map(lambda a: a.astype(precise) if jnp.issubdtype(a.dtype, jnp.floating) else a, point)
    changes, missing = _changes(point, alphas, key)
    points = [point, *(point._replace(theta=theta) for _, theta in changes)]
    rows: list[Audited] = []
    for ask in asks:
        before, *after = measure(points, ask) if changes else [()]
        of_measure = [
            row
            for (change, _), found in zip(changes, after, strict=True)
            for row in _compared(ask, change, before, found, ROUNDING[precise.name])
        ]
        of_measure += [_without(ask, _Change(name, None, None), "not_applicable", why) for name, why in missing.items()]
        rows += _judged(of_measure)
    return tuple(rows)


def _changes(
    point: Point, alphas: Sequence[float], key: PRNGKeyArray
) -> tuple[list[tuple[_Change, Array]], dict[str, str]]:
    """The changed parameter vectors, and the symmetries that this model does not have, with the reason."""
    try:
        layers = hidden_layers(point.landscape.model)
    except NotApplicableError as reason:
        return [], {"rescale": str(reason), "permute units": str(reason)}
    changes = [
        (_Change(f"rescale {layer.name} by {alpha:g}", layer.name, alpha), rescale(point.theta, layer, alpha))
        for layer in layers
        if layer.homogeneous
        for alpha in alphas
    ]
    theta = point.theta
    for i, layer in enumerate(layers):
        theta = permute(theta, layer, jax.random.permutation(jax.random.fold_in(key, i), len(layer.incoming)))
    missing = (
        {}
        if changes or not alphas
        else {"rescale": "rescaling needs ReLU: no other activation here lets a factor pass"}
    )
    return [*changes, (_Change("permute units", None, None), theta)], missing


def _compared(ask: Ask, change: _Change, before: Found, after: Found, rounding: float) -> list[Audited]:
    tolerance = rounding + 2 * getattr(ask.settings, "tolerance", 0.0)
    if isinstance(before, Curve) or isinstance(after, Curve):
        assert isinstance(before, Curve) and isinstance(after, Curve)
        columns = (before.x, before.y, before.value, after.x, after.y, after.value)
        if not all(np.isfinite(column).all() for column in columns if column is not None):
            return [_without(ask, change, "unconverged", "the profile has missing values")]
        moved = _differ(before.value, after.value, np.hypot(before.standard_error, after.standard_error), tolerance)
        for a, b in ((before.x, after.x), (before.y, after.y)):
            moved |= a is not None and b is not None and _differ(a, b, np.zeros_like(a), tolerance)
        return [_row(ask, change, "", None, None, moved)]
    rows = []
    for a, b in zip(before, after, strict=True):
        if a.value is None or b.value is None or a.standard_error is None or b.standard_error is None:
            status = "not_applicable" if a.status == "not_applicable" else "unconverged"
            where = "at theta" if a.value is None else "once transformed"
            reason = a.reason or b.reason or f"did not converge {where}"
            rows.append(_without(ask, change, status, reason, a.component)._replace(before=a.value, after=b.value))
        else:
            noise = math.hypot(a.standard_error, b.standard_error)
            moved = _differ(np.array([a.value]), np.array([b.value]), np.array([noise]), tolerance)
            rows.append(_row(ask, change, a.component, a.value, b.value, moved))
    return rows


def _differ(before: np.ndarray, after: np.ndarray, noise: np.ndarray, tolerance: float) -> bool:
    size = max(np.max(np.abs(before), initial=0.0), np.max(np.abs(after), initial=0.0))
    return bool(np.any(np.abs(after - before) > np.maximum(STANDARD_ERRORS * noise, tolerance * size)))


def _row(ask: Ask, change: _Change, component: str, before: float | None, after: float | None, moved: bool) -> Audited:
    declared = ask.definition.invariance
    return Audited(ask.measure, component, *change, before, after, moved, declared, None, "compared", None)


def _without(
    ask: Ask, change: _Change, status: Literal["unconverged", "not_applicable"], reason: str, component: str = ""
) -> Audited:
    declared = ask.definition.invariance
    return Audited(ask.measure, component, *change, None, None, None, declared, None, status, reason)


def _judged(rows: Sequence[Audited]) -> list[Audited]:
    """Hold the rows of one measure against what is declared of it."""
    somewhere = {alone: any(row.moved for row in rows if (row.alpha is None) == alone) for alone in (True, False)}

    def agrees(row: Audited) -> bool | None:
        if row.moved is None:
            return None
        permuted = row.alpha is None
        if row.declared == "rescaling" or (row.declared == "permutation" and permuted):
            return not row.moved
        return somewhere[permuted]

    return [row._replace(agrees=agrees(row)) for row in rows]
