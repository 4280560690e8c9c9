"""Slices of the loss through a parameter vector, along filter-normalised random directions.

Li et al. (2018, "Visualizing the loss landscape of neural nets", section 4): a Gaussian direction d is scaled filter by
filter to the norm of theta's own,

    d_f <- d_f |theta_f| / |d_f|,

where a filter f is the incoming weights of one unit or channel: a row of a weight matrix. Biases, and here the
likelihood's own parameters too, stay where they are, as in the paper's code; so does a filter of zeros.

The Gaussian direction depends on a setting and on the shapes of the model, not on the run: all runs of one
architecture share it, so that their slices can be laid over each other. How a run numbers its hidden units is
arbitrary, and the loss does not depend on it; units are therefore numbered by the norms of their filters before the
direction meets them. The direction is as random as in the paper, and nets that differ by a permutation of units have
the same slice. So have nets that differ by a rescaled layer: its filters are rescaled, and with them the direction; its
biases are too, and the slice leaves them there.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from models.geometry.connectivity.symmetries import hidden_layers, permute
from models.geometry.definition import Definition, NotApplicableError, Point, Profile
from models.joint.model import Model
from models.spec.settings import MOST_POINTS, Positive, Settings

GridPoints = Annotated[int, Field(ge=2, le=MOST_POINTS)]


class Slice(Settings):
    """A grid of `points` values of alpha on [-radius, radius]; with an odd number, theta is among them.

    Attributes:
        direction_seed: of the Gaussian direction, which all runs of one architecture share.
    """

    radius: Positive = 1.0
    points: GridPoints = 41
    direction_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Surface(Slice):
    """The same grid on either axis."""

    points: GridPoints = 21


def filter_normalised(model: Model, theta: Float[Array, " p"], key: PRNGKeyArray) -> Float[Array, " p"]:
    """A Gaussian direction, each filter as long as theta's; zero in biases and in the likelihood's own parameters."""
    gaussian = jax.random.normal(key, theta.shape, theta.dtype)
    direction = jnp.zeros_like(theta)
    for leaf in model.leaves:
        if len(leaf.shape) == 2:
            own, drawn = (v[leaf.start : leaf.stop].reshape(leaf.shape) for v in (theta, gaussian))
            lengths = (jnp.linalg.norm(v, axis=1, keepdims=True) for v in (own, drawn))
            scale = jnp.divide(*lengths)
            direction = direction.at[leaf.start : leaf.stop].set((drawn * scale).reshape(-1))
    return direction


def renumbered(model: Model, theta: Float[Array, " p"]) -> Float[Array, " p"]:
    """The same function with each hidden layer's units in ascending order of their filters' norms."""
    try:
        layers = hidden_layers(model)
    except NotApplicableError:
        return theta
    for layer in layers:
        filters = theta[layer.incoming[:, :-1]]  # without biases, which the layer before does not rescale
        order = jnp.argsort(jnp.linalg.norm(filters, axis=1))
        theta = permute(theta, layer, order)
    return theta


def _grid(settings: Slice, like: Float[Array, " p"]) -> Float[Array, " g"]:
    """Evenly spaced, symmetric about 0 to the last bit."""
    n = settings.points
    return settings.radius * (2 * jnp.arange(n, dtype=like.dtype) - (n - 1)) / (n - 1)


def _directions(point: Point, settings: Slice) -> tuple[Array, Array, Array]:
    """Theta as renumbered, and its two directions."""
    model = point.landscape.model
    theta = renumbered(model, point.theta)
    key = jax.random.key(settings.direction_seed)
    first, second = (filter_normalised(model, theta, jax.random.fold_in(key, axis)) for axis in range(2))
    return theta, first, second


def loss_slice(point: Point, settings: Slice) -> Profile:
    """L(theta + alpha d) over a grid of alpha: mean training loss in nats."""
    theta, direction, _ = _directions(point, settings)
    x = _grid(settings, theta)
    value = jax.lax.map(lambda a: point.landscape.loss(theta + a * direction), x)
    return Profile(x, value, jnp.zeros_like(value), x.size)


def loss_surface(point: Point, settings: Surface) -> Profile:
    """L(theta + alpha d + beta e) over a grid of alpha (x) and beta (y), x outermost: mean training loss in nats.

    D is the direction of `loss_slice`, and e another draw; they are not orthogonalised (ibid.).
    """
    theta, first, second = _directions(point, settings)
    axis = _grid(settings, theta)
    x, y = (column.reshape(-1) for column in jnp.meshgrid(axis, axis, indexing="ij"))
    value = jax.lax.map(lambda at: point.landscape.loss(theta + at[0] * first + at[1] * second), (x, y))
    return Profile(x, value, jnp.zeros_like(value), x.size, y)


DEFINITIONS = (
    Definition(
        "loss_slice",
        "path",
        "mean training loss along a filter-normalised random direction, in nats",
        loss_slice,
        "rescaling",
        "neither",
        Slice,
    ),
    Definition(
        "loss_surface",
        "path",
        "mean training loss over the plane of two filter-normalised random directions, in nats",
        loss_surface,
        "rescaling",
        "neither",
        Surface,
    ),
)
