"""The fully connected predictor."""

from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


def he_linear(n_inputs: int, n_outputs: int, key: PRNGKeyArray) -> eqx.nn.Linear:
    """Linear layer with weights N(0, 2 / n_inputs) (He et al. 2015, section 2.2) and zero biases."""
    layer = eqx.nn.Linear(n_inputs, n_outputs, key=key)
    weight = jax.random.normal(key, layer.weight.shape, layer.weight.dtype) * jnp.sqrt(2.0 / n_inputs)
    return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (weight, jnp.zeros(n_outputs)))


def drop(h: Float[Array, "..."], rate: Float[Array, ""] | float, key: PRNGKeyArray | None) -> Float[Array, "..."]:
    """Inverted dropout: keep each unit with probability 1 - rate and divide by it; the identity without a key."""
    if key is None:
        return h
    keep = jax.random.bernoulli(key, 1.0 - rate, h.shape)
    return jnp.where(keep, h / (1.0 - rate), 0.0)


class MLPNet(eqx.Module):
    """h_l = activation(W_l h_{l-1} + b_l), eta = W_L h_{L-1} + b_L; dropout after each activation."""

    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        widths: tuple[int, ...],
        activation: Callable[[Array], Array],
        key: PRNGKeyArray,
    ):
        sizes = (n_inputs, *widths, n_outputs)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(he_linear(a, b, k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))
        self.activation = activation

    def __call__(
        self, x: Float[Array, " d"], rate: Float[Array, ""] | float = 0.0, key: PRNGKeyArray | None = None
    ) -> Float[Array, " k"]:
        """Natural parameters of one example. A key switches dropout on."""
        for i, layer in enumerate(self.layers[:-1]):
            x = drop(self.activation(layer(x)), rate, None if key is None else jax.random.fold_in(key, i))
        return self.layers[-1](x)
