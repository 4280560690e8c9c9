"""The noise scale of a point estimate, which has no best value but 0 where a fit passes through its training rows.

The log joint of n rows that are met exactly is -n log sigma and a proper prior: with more columns than rows its maximum
is at log sigma = -n, whatever the rows. Draws of the posterior know better, and a point estimate learns it from rows
that it was not fitted to: with r the residuals of the validation part and s(r) their scale about 0 (the root mean
square for a Gaussian, the scale of largest likelihood for a Student-t), sigma has the floor s(r) / 2. Where the maximum
lies below it sigma is s(r), as it is for black boxes (`models.baselines.black_boxes`).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.data.dataset import Part
from models.digits import format_number
from models.joint.model import Model

LEAST_SHARE = 0.5  # of the scale of unseen residuals; an honest fit's is about 1


def unseen_log_scale(model: Model, theta: Array, part: Part) -> float:
    """Log of the scale of a part's residuals about 0, on the standardised target; finite where all are met exactly."""
    assert model.family.null is not None
    residuals = part.y - np.asarray(model.predict(theta, jnp.asarray(part.x, theta.dtype)), float)[:, 0]
    return float(model.family.null(np.concatenate([residuals, -residuals]))[1][0])


def floored_log_scale(model: Model, theta: Array, validation: Part) -> float | None:
    """Log sigma of the validation part where the estimate's is under the floor; None where it is not, or has none."""
    if "log_sigma" not in model.family.extras:
        return None
    unseen = unseen_log_scale(model, theta, validation)
    return unseen if float(model.extra(theta)[0]) < unseen + math.log(LEAST_SHARE) else None


def warning(fitted: float, taken: float) -> str:
    """What is said where log sigma `taken` stands for the `fitted` one."""
    told = [format_number(math.exp(log_sigma), 2) for log_sigma in (fitted, taken)]
    return (
        f"it passes (nearly) through its training rows, so that its noise scale would be {told[0]} standard deviations "
        f"of the target: {told[1]}, that of the validation part, is taken instead"
    )
