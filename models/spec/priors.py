"""Priors over the flat parameter vector."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.settings import Positive, Settings


class Normal(Settings):
    """Independent N(0, s^2) over weights.

    s = `scale` for constant scaling and `scale` / sqrt(fan-in) for fan-in; biases have `bias_scale`. The
    likelihood's own parameters (log sigma, log alpha) have the scale 1. All are centred at the null
    model (`models.joint.null`), the last biases at its natural parameters, so that eta is as free on counts of
    millions as on numbers about 0.
    """

    kind: Literal["normal"] = "normal"
    scale: Positive = 1.0
    scaling: Literal["fan-in", "constant"] = "fan-in"
    bias_scale: Positive = 1.0


class Flat(Settings):
    """No prior of its own: the weight decay, where there is one, is the prior N(0, 1 / (n * weight_decay))."""

    kind: Literal["flat"] = "flat"


Prior = Annotated[Normal | Flat, Field(discriminator="kind")]

# Weakly informative: eta's prior sd is 2.5 for an average standardised row, however many columns there are.
GLM_PRIOR = Normal(scale=2.5, scaling="fan-in", bias_scale=2.5)
