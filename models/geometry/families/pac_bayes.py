"""PAC-Bayes: how much Gaussian noise the weights bear, and a bound on the error of nets drawn around them.

Noise falls on the predictor's weights and biases alone, not on the likelihood's own parameters.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from models.geometry.definition import Definition, Estimate, Point
from models.geometry.families.certificate import Gaussian, certify, optimise_posterior
from models.geometry.families.margins import class_count, training_error
from models.geometry.landscape import Landscape
from models.spec.settings import MOST, Count, Positive, Settings, Share

# --- the flatness sigma -----------------------------------------------------------------------------------------------

# Sigma is sought between these powers of 2, relative to the weights' own size: from noise that rounding swallows.
LOWEST, HIGHEST = -50, 20
# Halvings of the bracket, to a factor of 2^(70 / 4096); interpolation does the rest.
HALVINGS = 12
# Half the window, in ln sigma, over which the slope for the standard error is taken.
WINDOW = 0.1


class Sigma(Settings):
    """The budget of a noise.

    Attributes:
        budget: the mean increase that is borne; a share of the rows for `error`, nats for `loss`.
        on: whether the training error or the training loss is held to it; None is the error for classes, else the loss.
        pairs: antithetic pairs of noise directions.
    """

    budget: Positive = 0.1
    on: Literal["error", "loss"] | None = None
    pairs: Annotated[int, Field(ge=2, le=MOST)] = 30


def _quantity(landscape: Landscape, on: str | None) -> Callable[[Array], Array]:
    classes = landscape.model.family.probabilities is not None
    if on == "loss" or (on is None and not classes):
        return landscape.loss
    return partial(training_error, landscape)


def _flatness(point: Point, settings: Sigma, scale: Float[Array, " p"], start: Float[Array, ""]) -> Estimate:
    """The sigma at which the mean increase under noise N(0, sigma^2 diag scale^2) meets the budget.

    The directions are the same at every sigma, so that the increase is a function, and bisection in ln sigma finds
    where it crosses the budget; if it does so more than once, one of these places. Increases are means over pairs +-u.
    The standard error is the delta method's: that of the increase over its slope in ln sigma. NaN where no noise within
    reach exceeds the budget, or where the increase does not grow at the crossing.

    Raises:
        NotApplicableError: errors of a target that is not classes.
    """
    landscape, theta, key = point.landscape, point.theta, point.key
    quantity = _quantity(landscape, settings.on)
    scale = scale.at[landscape.model.n_weights :].set(0.0)
    base = quantity(theta)

    def increase(log_sigma: Array) -> tuple[Array, Array]:
        def along(i: Array) -> Array:
            u = scale * jax.random.normal(jax.random.fold_in(key, i // 2), theta.shape, theta.dtype)
            return quantity(theta + jnp.where(i % 2 == 0, 1.0, -1.0) * jnp.exp(log_sigma) * u)

        values = jax.lax.map(along, jnp.arange(2 * settings.pairs)).reshape(-1, 2).mean(axis=1) - base
        return jnp.mean(values), jnp.std(values, ddof=1) / math.sqrt(settings.pairs)

    def halve(_: Array, ends: tuple[Array, ...]) -> tuple[Array, ...]:
        low, below, high, above = ends
        middle = 0.5 * (low + high)
        here, _ = increase(middle)
        borne = here <= settings.budget  # not so where it overflows
        return tuple(jnp.where(borne, jnp.stack([middle, here, high, above]), jnp.stack([low, below, middle, here])))

    lowest, highest = (jnp.log(start) + power * math.log(2.0) for power in (LOWEST, HIGHEST))
    far, _ = increase(highest)
    ends = (lowest, jnp.zeros_like(base), highest, far)
    low, below, high, above = jax.lax.fori_loop(0, HALVINGS, halve, ends)
    share = (settings.budget - below) / jnp.where(jnp.isfinite(above), above - below, jnp.inf)
    crossing = low + share * (high - low)
    around, spreads = jax.lax.map(increase, crossing + jnp.asarray([-WINDOW, 0.0, WINDOW], theta.dtype))
    slope = (around[2] - around[0]) / (2.0 * WINDOW)
    found = jnp.isfinite(base) & ~(far <= settings.budget) & (low > lowest) & (slope > 0.0)
    sigma = jnp.where(found, jnp.exp(crossing), jnp.nan)
    n_passes = 1 + 2 * settings.pairs * (HALVINGS + 4)
    return Estimate(sigma, sigma * spreads[1] / slope, n_passes)


def _sigma(point: Point, settings: Sigma) -> Estimate:
    """Neyshabur et al. (2017), on sharpness and PAC-Bayes; Jiang et al. (2020), equation 53, has 1 / sigma^2."""
    weights = point.theta[: point.landscape.model.n_weights]
    return _flatness(point, settings, jnp.ones_like(point.theta), jnp.sqrt(jnp.mean(jnp.square(weights))))


def _sigma_magnitude(point: Point, settings: Sigma) -> Estimate:
    """Jiang et al. (2020), equation 61, without their epsilon: it is what makes theirs move under rescaling."""
    return _flatness(point, settings, jnp.abs(point.theta), jnp.ones((), point.theta.dtype))


# --- the bound --------------------------------------------------------------------------------------------------------

# The posterior's standard deviations at the start, relative to the weights' root mean square.
START = 0.3


class Bound(Settings):
    """How the posterior is found, and how sure the bound is.

    Attributes:
        delta: the probability, over the training rows and the nets drawn, with which the bound may fail.
        steps: full-batch gradients of Adam, at `learning_rate` falling to zero along half a cosine.
        samples: nets drawn to estimate the posterior's training error.
    """

    delta: Share = 0.05
    steps: Count = 500
    learning_rate: Positive = 0.01
    samples: Count = 1000


def _bound(point: Point, settings: Bound) -> Estimate:
    """The certificate of a Gaussian around theta that is optimised on the training rows.

    The prior's mean is the fit's start, which knows no data, or else 0. What the rows' preparation took from them,
    means and scales of the inputs, is taken as given. The bound is on nets drawn from the Gaussian, not on the net at
    theta; its chance is inside it, and so its standard error is 0. It is vacuous where it is no better than guessing
    among K classes, 1 - 1 / K.
    """
    landscape, theta = point.landscape, point.theta
    guessing = 1.0 - 1.0 / class_count(landscape)
    prior_mean = jnp.zeros_like(theta) if point.initial is None else point.initial
    size = jnp.sqrt(jnp.mean(jnp.square(theta)))
    start = Gaussian(theta, jnp.full_like(theta, math.log(START)) + jnp.log(size))
    fit_key, draw_key = jax.random.split(point.key)
    q = optimise_posterior(
        landscape, start, prior_mean, fit_key, settings.steps, settings.learning_rate, settings.delta
    )
    found = certify(landscape, q, prior_mean, draw_key, samples=settings.samples, delta=settings.delta)
    vacuous = jnp.where(found.bound >= guessing, 1.0, 0.0)
    value = jnp.stack([found.bound, found.divergence, found.empirical, vacuous])
    return Estimate(jnp.where(jnp.isfinite(found.bound), value, jnp.nan), 0.0, settings.steps + settings.samples)


def _bound_parts(point: Point, settings: Bound) -> tuple[str, ...]:
    del point, settings
    return ("bound", "kl", "empirical_error", "vacuous")


DEFINITIONS = (
    Definition(
        "pac_bayes_sigma",
        "pac-bayes",
        "standard deviation of the weight noise that raises the training error or loss by a budget",
        _sigma,
        "permutation",
        "flatter",
        Sigma,
    ),
    Definition(
        "pac_bayes_sigma_magnitude",
        "pac-bayes",
        "as pac_bayes_sigma, for noise in proportion to each weight's magnitude",
        _sigma_magnitude,
        "rescaling",
        "flatter",
        Sigma,
    ),
    Definition(
        "pac_bayes_bound",
        "pac-bayes",
        "upper bound on the error of nets drawn around the weights; vacuous is 1 where it is no better than guessing",
        _bound,
        "none",
        "more complex",
        Bound,
        components=_bound_parts,
    ),
)
