"""Paths between two parameter vectors, and the barrier that the loss has on them.

The barrier of a path phi from a to b, with the mean loss L in nats, is

    max over t in [0, 1] of  L(phi(t)) - [(1 - t) L(a) + t L(b)],

which is at least 0, its value at the ends (Entezari et al. 2022, section 2, for the straight line; Frankle et al.
2020, section 2, subtract the ends' mean instead). Two vectors are linearly connected where it is about 0 on the line.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from models.geometry.connectivity.alignment import align
from models.geometry.definition import NotApplicableError
from models.geometry.landscape import Landscape
from models.runs.result import MeasureStatus
from models.spec.settings import MOST, MOST_POINTS, Positive, Settings

Loss = Callable[[Array], Array]
Vector = Float[Array, " p"]

# Points of the second, finer grid, over the two intervals next to the first one's largest value.
FINER = 21
# A curve's control point starts this share of the ends' distance off the line, which may be a saddle of the search.
OFF_LINE = 0.01
# Multiples of the golden ratio, modulo 1, are spread evenly however many are taken.
GOLDEN_RATIO = 0.5 * (1 + 5**0.5)


class Paths(Settings):
    """How two vectors are connected.

    Attributes:
        points: of the grid on [0, 1].
        bezier_steps: of Adam on a curve's control point, with one gradient each; 0 for no curve.
        learning_rate: Adam's first, in units of the root mean square difference of the ends' entries.
    """

    points: Annotated[int, Field(ge=3, le=MOST_POINTS)] = 25
    bezier_steps: Annotated[int, Field(ge=0, le=MOST)] = 200
    learning_rate: Positive = 0.05


class Barrier(NamedTuple):
    """The loss on a path.

    Attributes:
        value: the barrier in nats, from the grid and a finer one about its largest entry; NaN or infinite where a loss
            is.
        maximum: the largest loss on both grids.
        at: t at the barrier.
        losses: on the even grid.
        n_products: evaluations of the loss.
    """

    value: Float[Array, ""]
    maximum: Float[Array, ""]
    at: Float[Array, ""]
    losses: Float[Array, " points"]
    n_products: int


class Connection(NamedTuple):
    """One path between two vectors; see `Barrier`.

    Attributes:
        method: "linear"; "aligned", the line to the second net with its hidden units renumbered like the first's; or
            "bezier", a trained curve between the same ends, that is between the given ones where none are hidden.
        losses: (points,) in nats, float64; empty where not applicable.
        n_products: evaluations of the loss and of its gradient.
    """

    method: Literal["linear", "aligned", "bezier"]
    barrier: float | None
    maximum: float | None
    at: float | None
    losses: np.ndarray
    n_products: int
    status: MeasureStatus
    reason: str | None


def linear_barrier(loss: Loss, a: Vector, b: Vector, points: int) -> Barrier:
    """The barrier on the line phi(t) = (1 - t) a + t b."""
    return _barrier(lambda t: loss((1 - t) * a + t * b), a, points)


def bezier_barrier(loss: Loss, a: Vector, control: Vector, b: Vector, points: int) -> Barrier:
    """The barrier on a quadratic Bezier curve."""
    return _barrier(lambda t: loss(bezier(a, control, b, t)), a, points)


def _barrier(height: Callable[[Array], Array], like: Vector, points: int) -> Barrier:
    t = jnp.linspace(0.0, 1.0, points, dtype=like.dtype)
    losses = jax.lax.map(height, t)

    def excess(t: Array, losses_at: Array) -> Array:
        return losses_at - ((1 - t) * losses[0] + t * losses[-1])

    widths = jnp.linspace(-1.0, 1.0, FINER, dtype=like.dtype) / (points - 1)
    finer = jnp.clip(t[jnp.argmax(excess(t, losses))] + widths, 0.0, 1.0)
    t_all, losses_all = jnp.concatenate([t, finer]), jnp.concatenate([losses, jax.lax.map(height, finer)])
    over = excess(t_all, losses_all)
    highest = jnp.argmax(over)
    return Barrier(over[highest], jnp.max(losses_all), t_all[highest], losses, points + FINER)


def bezier(a: Vector, control: Vector, b: Vector, t: Float[Array, ""]) -> Vector:
    """(1 - t)^2 a + 2 t (1 - t) control + t^2 b; the line where the control point is half-way between the ends."""
    return jnp.square(1 - t) * a + 2 * t * (1 - t) * control + jnp.square(t) * b


def bezier_control(loss: Loss, a: Vector, b: Vector, key: PRNGKeyArray, steps: int, learning_rate: float) -> Vector:
    """The control point that makes E_{t ~ U(0, 1)} L(phi(t)) small (Garipov et al. 2018, sections 3.1 and 3.2).

    Adam with a cosine decay, from half-way between the ends and a little off the line. Step i takes one gradient, at
    t_i = u + i g modulo 1 with u uniform and g the golden ratio: each t_i is uniform, and successive ones are spread
    evenly. The learning rate and the start are relative to the distance of the ends.
    """
    start_key, t_key = jax.random.split(key)
    middle, spread = (a + b) / 2, jnp.sqrt(jnp.mean(jnp.square(b - a)))
    offset = jax.random.uniform(t_key, (), a.dtype)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def advance(i: Int[Array, ""], carry: tuple[Vector, optax.OptState]) -> tuple[Vector, optax.OptState]:
        u, state = carry
        t = (offset + i * GOLDEN_RATIO).astype(a.dtype) % 1
        gradient = jax.grad(lambda u: loss(bezier(a, middle + spread * u, b, t)))(u)
        update, state = optimiser.update(gradient, state)
        return cast(Array, optax.apply_updates(u, update)), state

    start = OFF_LINE * jax.random.normal(start_key, a.shape, a.dtype)
    u, _ = jax.lax.fori_loop(0, steps, advance, (start, optimiser.init(start)))
    return middle + spread * u


@partial(jax.jit, static_argnames="points")
def _line(landscape: Landscape, a: Vector, b: Vector, points: int) -> Barrier:
    return linear_barrier(landscape.loss, a, b, points)


@partial(jax.jit, static_argnames="settings")
def _curve(landscape: Landscape, a: Vector, b: Vector, key: PRNGKeyArray, settings: Paths) -> Barrier:
    control = bezier_control(landscape.loss, a, b, key, settings.bezier_steps, settings.learning_rate)
    found = bezier_barrier(landscape.loss, a, control, b, settings.points)
    return found._replace(n_products=found.n_products + settings.bezier_steps)


def connect(landscape: Landscape, a: Vector, b: Vector, key: PRNGKeyArray, settings: Paths) -> tuple[Connection, ...]:
    """Connect two vectors of one landscape by a line, by a line after alignment, and by a trained curve.

    Where the line's barrier is lower without, alignment leaves the units as they are. A curve's barrier bounds the
    smallest one of any curve from above: a large one may be the search's failure. Two programs serve all pairs of a
    model on data of equal shape.
    """
    align_key, curve_key = jax.random.split(key)
    line = _line(landscape, a, b, settings.points)
    found, end = [_connection("linear", line)], b
    try:
        near = jnp.asarray(align(landscape.model, b, a, align_key).theta)
        aligned = _line(landscape, a, near, settings.points)
        if line.value < aligned.value:  # nearer, and yet across more of a hill: units as they are match better
            aligned = line
        else:
            end = near
        found.append(_connection("aligned", aligned))
    except NotApplicableError as reason:
        found.append(Connection("aligned", None, None, None, np.empty(0), 0, "not_applicable", str(reason)))
    if settings.bezier_steps:
        found.append(_connection("bezier", _curve(landscape, a, end, curve_key, settings)))
    return tuple(found)


def _connection(method: Literal["linear", "aligned", "bezier"], found: Barrier) -> Connection:
    losses, n_products = np.asarray(found.losses, np.float64), int(found.n_products)
    barrier, maximum, at = float(found.value), float(found.maximum), float(found.at)
    if np.isfinite(barrier) and np.isfinite(maximum):
        return Connection(method, barrier, maximum, at, losses, n_products, "converged", None)
    return Connection(
        method, None, None, None, losses, n_products, "unconverged", "the loss is not finite everywhere on the path"
    )
