"""The affine predictor: eta = W x + b."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class LinearNet(eqx.Module):
    """eta = W x + b, started at zero: its log joint is concave, so the start does not matter to the optimum."""

    layer: eqx.nn.Linear

    def __init__(self, n_inputs: int, n_outputs: int, key: PRNGKeyArray):
        layer = eqx.nn.Linear(n_inputs, n_outputs, key=key)
        self.layer = jax.tree.map(jnp.zeros_like, layer)

    def __call__(
        self, x: Float[Array, " d"], rate: Float[Array, ""] | float = 0.0, key: PRNGKeyArray | None = None
    ) -> Float[Array, " k"]:
        """Natural parameters of one example; there are no hidden units to drop."""
        del rate, key
        return self.layer(x)
