"""The loss landscape of a model on fixed rows: what every geometric measure is computed from."""

import equinox as eqx
from jaxtyping import Array, Float

from models.joint.model import Model


class Landscape(eqx.Module):
    """L(theta) = (1/n) sum_i -log p(y_i | x_i, theta), in nats: the MEAN over rows, without the prior.

    The rows are leaves and the model is static, so programs that take a landscape are compiled once for all data of
    equal shape.

    Attributes:
        x: (n, d) inputs; `y`: (n,) targets, as the model's likelihood takes them.
    """

    model: Model = eqx.field(static=True)
    x: Float[Array, "n d"]
    y: Array

    def loss(self, theta: Float[Array, " p"]) -> Float[Array, ""]:
        """Mean negative log-likelihood over the rows, in nats; dropout is off."""
        return self.model.loss(theta, self.x, self.y)
