"""The symmetries of a net: permuting a hidden layer's units, and rescaling what feeds and what reads a unit.

Both leave the function alone; rescaling does so only through activations with f(a z) = a f(z) for a > 0, such as ReLU,
also with max-pooling after it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.geometry.definition import NotApplicableError
from models.joint.model import Model
from models.predictors.convnet import ConvolutionalNet
from models.predictors.mlp import MLPNet


class Hidden(NamedTuple):
    """A hidden layer's u units, by the positions in theta of the weights next to them.

    Attributes:
        incoming: (u, a) weights into each unit, its bias last.
        outgoing: (u, b) weights that read it.
        homogeneous: whether a positive factor passes through its activation.
    """

    name: str
    incoming: np.ndarray
    outgoing: np.ndarray
    homogeneous: bool


def hidden_layers(model: Model) -> tuple[Hidden, ...]:
    """The hidden layers, first to last.

    Raises:
        NotApplicableError: a predictor without hidden layers.
    """
    # Under a trace too, positions are concrete.
    with jax.ensure_compile_time_eval():
        net = model.unravel(jnp.arange(model.n_weights))
    match net:
        case MLPNet():
            names = [f"layers.{i}" for i in range(len(net.layers) - 1)]
            feeding = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in net.layers[:-1]]
            reading = [np.asarray(layer.weight).T for layer in net.layers[1:]]
        case ConvolutionalNet():
            names = [*(f"blocks.{i}" for i in range(len(net.blocks))), "hidden"]
            layers = [*net.blocks, net.hidden]
            feeding = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in layers]
            reading = [
                _of_channels(np.asarray(layer.weight), len(bias))
                for layer, (_, bias) in zip(layers[1:], feeding, strict=False)
            ]
            reading.append(np.asarray(net.output.weight).T)
        case _:
            raise NotApplicableError(
                "this predictor has no hidden units: permuting and rescaling them needs an mlp or a convnet"
            )
    homogeneous = net.activation is jax.nn.relu
    return tuple(
        Hidden(name, np.concatenate([weight, bias[:, None]], axis=1), reader, homogeneous)
        for name, (weight, bias), reader in zip(names, feeding, reading, strict=True)
    )


def _of_channels(weight: np.ndarray, n_channels: int) -> np.ndarray:
    """(channels, ...) the columns of a layer that read each channel; inputs are laid out channel last."""
    return weight.reshape(len(weight), -1, n_channels).transpose(2, 0, 1).reshape(n_channels, -1)


def permute(theta: Float[Array, " p"], layer: Hidden, order: Array | np.ndarray) -> Float[Array, " p"]:
    """Put unit order[i] in place i: the same function."""
    theta = theta.at[layer.incoming].set(theta[layer.incoming][order])
    return theta.at[layer.outgoing].set(theta[layer.outgoing][order])


def rescale(theta: Float[Array, " p"], layer: Hidden, alpha: Array | float) -> Float[Array, " p"]:
    """Multiply what feeds the units by alpha and divide what reads them by it: the same function where homogeneous."""
    return theta.at[layer.incoming].multiply(alpha).at[layer.outgoing].divide(alpha)
