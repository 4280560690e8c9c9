"""The log joint of a predictor, a likelihood and a prior, on one flat parameter vector.

theta = (predictor's weights in the order of its leaves, likelihood's own parameters). Point estimates, posterior draws
and GLMs share this vector, and so the same metrics and the same geometry.
"""

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from models.joint.likelihoods import Family

Theta = Float[Array, " p"]
Inputs = Float[Array, "n d"]


class Leaf(NamedTuple):
    """One array of the predictor and where it lies in theta, such as layers.0.weight."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Model:
    """A predictor and a family over a flat vector of p = n_weights + m parameters. Functions are pure.

    Nothing of the length of theta is made before it is asked for, so that a net of any size can be described.

    Attributes:
        init: key -> theta, float32 (float64 under x64).
        leaves: the predictor's arrays, in the order of theta.
    """

    family: Family
    init: Callable[[PRNGKeyArray], Array]
    unravel: Callable[[Array], Any]
    n_weights: int
    leaves: tuple[Leaf, ...]

    @cached_property
    def fan_in(self) -> np.ndarray:
        """(n_weights,) inputs that feed each weight's unit."""
        return self._by_leaf([math.prod(leaf.shape[1:]) for leaf in self.leaves], np.int64)

    @cached_property
    def is_bias(self) -> np.ndarray:
        """(n_weights,) which weights are biases."""
        return self._by_leaf([len(leaf.shape) == 1 for leaf in self.leaves], np.bool_)

    def _by_leaf(self, values: Sequence[int], dtype: type[np.generic]) -> np.ndarray:
        return np.repeat(np.asarray(values, dtype), [leaf.stop - leaf.start for leaf in self.leaves])

    @property
    def layers(self) -> Mapping[str, slice]:
        """The entries of theta of each layer, that is of a weight with its bias, in the order of theta."""
        bounds: dict[str, list[int]] = {}
        for leaf in self.leaves:
            bounds.setdefault(leaf.name.rpartition(".")[0], []).extend((leaf.start, leaf.stop))
        return {name: slice(min(ends), max(ends)) for name, ends in bounds.items()}

    @property
    def n_parameters(self) -> int:
        """Length p of theta."""
        return self.n_weights + len(self.family.extras)

    def extra(self, theta: Theta) -> Float[Array, " m"]:
        """The likelihood's own parameters."""
        return theta[self.n_weights :]

    def predict(self, theta: Theta, x: Inputs) -> Float[Array, "n k"]:
        """Natural parameters of n rows, dropout off."""
        return jax.vmap(self.unravel(theta[: self.n_weights]))(x)

    def predict_dropped(self, theta: Theta, x: Inputs, rate: Array, key: PRNGKeyArray) -> Float[Array, "n k"]:
        """Natural parameters of n rows with dropout at `rate`, a mask per row."""
        net = self.unravel(theta[: self.n_weights])
        return jax.vmap(lambda row, k: net(row, rate, k))(x, jax.random.split(key, len(x)))

    def log_likelihood(self, theta: Theta, x: Inputs, y: Array) -> Float[Array, " n"]:
        """Log p(y_i | x_i, theta) for each row, in nats."""
        return self.family.log_density(self.predict(theta, x), self.extra(theta), y)

    def loss(self, theta: Theta, x: Inputs, y: Array) -> Float[Array, ""]:
        """Mean negative log-likelihood over rows, in nats."""
        return -jnp.mean(self.log_likelihood(theta, x, y))


@functools.lru_cache(maxsize=256)
def build(family: Family, net: Callable[..., eqx.Module], *arguments: Hashable) -> Model:
    """Flatten the predictor that `net(*arguments, key)` makes, freshly initialised from a key.

    Equal arguments give the same object, so that compiled programs are found again.
    """

    def predictor(key: PRNGKeyArray) -> eqx.Module:
        return net(*arguments, key)

    # An abstract key: describing a net must not start a backend, for Ray forks after this.
    key = jax.eval_shape(lambda: jax.random.key(0))
    template = eqx.filter_eval_shape(predictor, key)
    arrays, static = eqx.partition(template, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    paths, tree = jax.tree_util.tree_flatten_with_path(arrays)
    leaves = [leaf for _, leaf in paths]
    sizes = [leaf.size for leaf in leaves]
    stops = np.cumsum(sizes).tolist()
    named = tuple(
        Leaf(jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape, stop - leaf.size, stop)
        for (path, leaf), stop in zip(paths, stops, strict=True)
    )

    def init(key: PRNGKeyArray) -> Array:
        weights, _ = ravel_pytree(eqx.filter(predictor(key), eqx.is_array))
        return jnp.concatenate([weights, jnp.zeros(len(family.extras), weights.dtype)])

    def unravel(weights: Array) -> Any:
        # `split` transposes to one concatenation; slices would transpose to a padded vector each, and their sum.
        parts = [part.reshape(leaf.shape) for part, leaf in zip(jax.lax.split(weights, sizes), leaves, strict=True)]
        return eqx.combine(jax.tree.unflatten(tree, parts), static)

    return Model(family, init, unravel, sum(sizes), named)


def log_prior(theta: Theta, scales: Theta, centre: Array | float = 0.0) -> Float[Array, ""]:
    """Sum of log N(theta_i; centre_i, scales_i^2); a parameter of infinite scale has a flat prior and adds nothing."""
    proper = jnp.isfinite(scales)
    s = jnp.where(proper, scales, 1.0)
    terms = -0.5 * jnp.square((theta - centre) / s) - jnp.log(s) - 0.5 * jnp.log(2.0 * jnp.pi)
    return jnp.sum(jnp.where(proper, terms, 0.0))


def log_joint(
    model: Model, theta: Theta, scales: Theta, x: Inputs, y: Array, centre: Array | float = 0.0
) -> Float[Array, ""]:
    """Log p(y | x, theta) + log p(theta): sums over rows and parameters, in nats."""
    return jnp.sum(model.log_likelihood(theta, x, y)) + log_prior(theta, scales, centre)
