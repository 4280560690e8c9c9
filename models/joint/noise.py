"""The spread of targets about a point estimate, where rows that it was not fitted to refute the fitted one.

**Log sigma.** It has no best value but 0 where a fit passes through its training rows: the log joint of n rows that are
met exactly is -n log sigma and a proper prior, so that with more columns than rows its maximum is at log sigma = -n,
whatever the rows. Draws of the posterior know better, and a point estimate learns it from the validation part: with r
its residuals and s(r) their scale about 0 (the root mean square for a Gaussian, the scale of largest likelihood for a
Student-t), sigma has the floor s(r) / 2. Where the maximum lies below it sigma is s(r).

**Log alpha.** The dispersion of counts may be too large for the same reason, and too small where training ended on the
way: from the null model's, near 1, to 10^6, that of counts known to 0.1 %, is further than a few hundred steps of Adam
lead. Where the validation part's log likelihood rises by more than `REFUTED` nats at its own best alpha, given the
predictions, alpha is that one. Twice the rise is a likelihood ratio of one degree of freedom.

Black boxes take both from the validation part always (`models.baselines.black_boxes`).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import optimize

from models.data.dataset import Part
from models.digits import format_number
from models.joint.counts import negative_binomial_log_mass
from models.joint.model import Model

LEAST_SHARE = 0.5  # of the scale of unseen residuals; an honest fit's is about 1
REFUTED = 4.5  # nats over all rows: three standard errors
_LOG_ALPHA = (-7.0, 30.0)
_MEANS = (1e-30, 1e30)
_LOG_MEANS = (-69.0, 69.0)


def unseen_spread(model: Model, theta: Array, part: Part) -> float:
    """Log sigma, on the standardised target, or log alpha of largest likelihood in a part about the predictions.

    It is finite where all rows are met exactly.
    """
    eta = _eta(model, theta, part)
    if "log_alpha" in model.family.extras:
        return likeliest_log_alpha(part.y, np.exp(np.clip(eta, *_LOG_MEANS)))
    assert model.family.null is not None
    residuals = part.y - eta
    return float(model.family.null(np.concatenate([residuals, -residuals]))[1][0])


def refuted_spread(model: Model, theta: Array, validation: Part) -> float | None:
    """The validation part's log sigma or log alpha where it refutes the estimate's, else None."""
    if not model.family.extras:
        return None
    fitted, unseen = float(model.extra(theta)[0]), unseen_spread(model, theta, validation)
    if "log_alpha" in model.family.extras:
        mean = np.exp(np.clip(_eta(model, theta, validation), *_LOG_MEANS))
        best, own = (count_log_mass(validation.y, mean, log_alpha).sum() for log_alpha in (unseen, fitted))
        return unseen if best - own > REFUTED else None
    return unseen if fitted < unseen + math.log(LEAST_SHARE) else None


def warning(model: Model, fitted: float, taken: float) -> str:
    """What is said where the log sigma or log alpha `taken` stands for the `fitted` one."""
    told = [format_number(math.exp(log_spread), 2) for log_spread in (fitted, taken)]
    if "log_alpha" in model.family.extras:
        return (
            f"rows of the validation part vary {'more' if taken < fitted else 'less'} about its predictions than its "
            f"dispersion alpha of {told[0]} says: {told[1]}, which suits them, is taken instead"
        )
    return (
        f"it passes (nearly) through its training rows, so that its noise scale would be {told[0]} standard deviations "
        f"of the target: {told[1]}, that of the validation part, is taken instead"
    )


def likeliest_log_alpha(y: np.ndarray, mean: np.ndarray) -> float:
    """Log alpha of largest negative binomial likelihood for n counts about their means."""

    def loss(log_alpha: float) -> float:
        return -float(np.mean(count_log_mass(y, mean, log_alpha)))

    return float(optimize.minimize_scalar(loss, bounds=_LOG_ALPHA, method="bounded").x)  # pyright: ignore[reportAttributeAccessIssue]


def count_log_mass(y: np.ndarray, mean: np.ndarray, log_alpha: float) -> np.ndarray:
    """(n,) negative binomial log masses in float64; SciPy's cancel where alpha is large."""
    with jax.enable_x64(True):
        log_mean = jnp.log(jnp.asarray(np.clip(mean, *_MEANS), jnp.float64))
        return np.asarray(negative_binomial_log_mass(jnp.asarray(y), log_mean, jnp.asarray(log_alpha, jnp.float64)))


def too_sure(y: np.ndarray, mean: np.ndarray, log_density: np.ndarray) -> str | None:
    """What is said of a stated Poisson likelihood where unseen counts vary more about its predictions.

    y, mean and log_density: (n,) counts of the validation part, their predicted means and log masses. A negative
    binomial about the same means is held against the prediction, by the likelihood ratio of `REFUTED`.
    """
    mean = np.clip(mean, *_MEANS)
    gain = count_log_mass(y, mean, likeliest_log_alpha(y, mean)).sum() - log_density.sum()
    if not gain > REFUTED:
        return None
    times = format_number(float(np.mean(np.square(y - mean) / mean)), 2)
    return (
        f"it is too sure of itself: squared residuals of the validation part are {times} times what its Poisson "
        "likelihood states: leave the likelihood out, for the default of counts, negative-binomial, learns how much "
        "they vary"
    )


def _eta(model: Model, theta: Array, part: Part) -> np.ndarray:
    return np.asarray(model.predict(theta, jnp.asarray(part.x, theta.dtype)), float)[:, 0]
