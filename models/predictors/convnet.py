"""The convolutional predictor, in one or two dimensions."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.predictors.mlp import drop, he_linear


class ConvLayer(eqx.Module):
    """A same-padded convolution with He weights, as `lax.conv_general_dilated` takes them: (out, in, *kernel)."""

    weight: Array
    bias: Array

    def __init__(self, n_inputs: int, n_outputs: int, kernel: tuple[int, ...], key: PRNGKeyArray):
        fan_in = n_inputs * math.prod(kernel)
        self.weight = jax.random.normal(key, (n_outputs, n_inputs, *kernel)) * jnp.sqrt(2.0 / fan_in)
        self.bias = jnp.zeros(n_outputs)

    def __call__(self, x: Float[Array, "c *space"]) -> Float[Array, "d *space"]:
        """Convolve one example, channel first."""
        ones = (1,) * (x.ndim - 1)
        y = jax.lax.conv_general_dilated(x[None], self.weight, window_strides=ones, padding="SAME")[0]
        return y + self.bias.reshape(-1, *ones)


def max_pool(x: Float[Array, "c *space"]) -> Float[Array, "c *half"]:
    """Maximum over windows of 2; a last odd row is its own window, and an axis of length 1 is left alone."""
    window = (1, *(min(2, s) for s in x.shape[1:]))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "SAME")


class ConvolutionalNet(eqx.Module):
    """[convolution, activation, max-pool by 2] x blocks, then one hidden layer and the output layer."""

    blocks: tuple[ConvLayer, ...]
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        n_outputs: int,
        channels: tuple[int, ...],
        kernel: int,
        width: int,
        activation: Callable[[Array], Array],
        key: PRNGKeyArray,
    ):
        *space, n_channels = shape
        keys = jax.random.split(key, len(channels) + 2)
        sizes = (n_channels, *channels)
        self.blocks = tuple(
            ConvLayer(a, b, (kernel,) * len(space), k)
            for a, b, k in zip(sizes[:-1], sizes[1:], keys[: len(channels)], strict=True)
        )
        pooled = [math.ceil(s / 2 ** len(channels)) for s in space]
        n_features = channels[-1] * math.prod(pooled)
        self.hidden = he_linear(n_features, width, keys[-2])
        self.output = he_linear(width, n_outputs, keys[-1])
        self.shape = shape
        self.activation = activation

    def __call__(
        self, x: Float[Array, " d"], rate: Float[Array, ""] | float = 0.0, key: PRNGKeyArray | None = None
    ) -> Float[Array, " k"]:
        """Natural parameters of one flattened example. A key switches dropout on, after the hidden layer."""
        h = jnp.moveaxis(x.reshape(self.shape), -1, 0)
        for block in self.blocks:
            h = max_pool(self.activation(block(h)))
        h = drop(self.activation(self.hidden(h.reshape(-1))), rate, key)
        return self.output(h)
