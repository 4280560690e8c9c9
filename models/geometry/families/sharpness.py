"""How far the mean training loss rises about a parameter vector: in one step, at worst over a ball, and on average.

All perturb theta to theta + T u. Plain measures have T = I. Adaptive ones have T = diag |theta|, the elementwise
normalisation of Kwon et al. (2021, section 3) with biases included, and are computed in u throughout. They are then
invariant under rescaling of homogeneous layers, for the same key even in their random draws; a parameter that is 0 is
not perturbed. The plain ones are invariant under permutation of units alone; the random draws, under either, in
distribution.

The loss is the mean over all rows at once, where Andriushchenko et al. (2023) average over maxima of small batches.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.geometry.definition import Definition, Estimate, NotApplicableError, Point
from models.geometry.families.ascent import Norm, largest_rise
from models.geometry.families.keskar import Keskar, keskar_sharpness
from models.geometry.landscape import Landscape
from models.geometry.operators.trace import MIN_PROBES, probe_until, standard_error
from models.spec.settings import Count, Positive, Settings

Loss = Callable[[Array], Array]


class Step(Settings):
    """`rho` 0.05 is Foret et al.'s (2021, section 3.1); `normalise_logits`: see `normalised_loss`."""

    rho: Positive = 0.05
    normalise_logits: bool = False


class AdaptiveStep(Step):
    """`rho` 0.5 is Kwon et al.'s for CIFAR-10 (2021, section 5.1)."""

    rho: Positive = 0.5


class WorstL2(Step):
    """The radius `rho` as for SAM's step; `steps`, `restarts` and `tolerance`: see `ascent.largest_rise`."""

    steps: Count = 200
    restarts: Count = 40
    tolerance: Positive = 1e-5


class AdaptiveWorstL2(WorstL2):
    """`rho` as for the adaptive step."""

    rho: Positive = 0.5


class WorstLinf(WorstL2):
    """`rho` 1e-3 is the size of Keskar et al.'s (2017) box; Andriushchenko et al. (2023) take it for both kinds."""

    rho: Positive = 1e-3


class Average(Settings):
    """`rho` is a standard deviation, by default from the grids of Andriushchenko et al. (2023), as the adaptive 0.1.

    Attributes:
        relative_error: the standard error asked for, relative to the value.
        max_products: loss evaluations at most, but never fewer than `MIN_PROBES` pairs.
    """

    rho: Positive = 0.01
    normalise_logits: bool = False
    relative_error: Positive = 0.05
    max_products: Count = 400


class AdaptiveAverage(Average):
    """`rho` is the standard deviation relative to the weight."""

    rho: Positive = 0.1


def normalised_loss(landscape: Landscape) -> Loss:
    """Mean negative log-likelihood of standardised logits, in nats: it forgets the scale that each row's logits have.

    With K logits f(x), their mean m and their standard deviation s over classes (divisor K), p = softmax((f - m) / s).
    That is Andriushchenko et al. (2023, section 3), after Tsuzuku et al. (2020); the former's published code divides by
    the norm of f - m instead, which is sqrt(K) s. NaN where all logits of a row are equal.

    Raises:
        NotApplicableError: a likelihood without logits.
    """
    model, x, y = landscape.model, landscape.x, landscape.y
    family = model.family
    if family.name != "categorical" or family.probabilities is None:
        raise NotApplicableError(
            f"a {family.name} likelihood has no logits over classes: set normalise_logits to false, or fit the "
            "categorical likelihood"
        )
    probabilities = family.probabilities

    def loss(theta: Float[Array, " p"]) -> Float[Array, ""]:
        eta = model.predict(theta, x)
        n_classes = jax.eval_shape(probabilities, eta, model.extra(theta)).shape[1]
        logits = jnp.pad(eta, ((0, 0), (n_classes - eta.shape[1], 0)))  # the reference class's is 0
        standardised = (logits - jnp.mean(logits, axis=1, keepdims=True)) / jnp.std(logits, axis=1, keepdims=True)
        picked = jnp.take_along_axis(jax.nn.log_softmax(standardised), y[:, None], axis=1)
        return -jnp.mean(picked)

    return loss


def perturbed(point: Point, settings: Step | Average, *, adaptive: bool) -> Loss:
    """The map u -> L(theta + T u), of the plain loss or that of normalised logits.

    Raises:
        NotApplicableError: normalised logits where there are none.
    """
    loss = normalised_loss(point.landscape) if settings.normalise_logits else point.landscape.loss
    theta = point.theta
    return (lambda u: loss(theta + jnp.abs(theta) * u)) if adaptive else (lambda u: loss(theta + u))


def one_step(point: Point, settings: Step, *, adaptive: bool) -> Estimate:
    """L(theta + T u) - L(theta) at u = rho g / |g|, g = T grad L(theta), in nats; 0 where g is 0.

    The ascent step of SAM (Foret et al. 2021, section 2, equation 2) and of ASAM (Kwon et al. 2021, section 4); it
    is no maximum and may be negative.
    """
    loss = perturbed(point, settings, adaptive=adaptive)
    base, g = jax.value_and_grad(loss)(jnp.zeros_like(point.theta))
    size = jnp.linalg.norm(g)
    rise = loss(settings.rho * g / jnp.where(size == 0, 1.0, size)) - base
    return Estimate(jnp.where(size == 0, 0.0, rise), jnp.zeros_like(base), 2)


def worst_case(point: Point, settings: WorstL2, *, adaptive: bool, norm: Norm) -> Estimate:
    """A lower bound of max_{|u| <= rho} L(theta + T u) - L(theta), in nats, by projected ascent from several starts.

    Foret et al. (2021, section 2), Kwon et al. (2021, definition 2) and Andriushchenko et al. (2023, section 3).
    The value is the best that was found, by two starts at least, exact to the ascent's tolerance if no start missed the
    highest maximum, and to the rounding of L. Its error tells how the starts' ends scatter: `restarts.spread`.
    """
    found = largest_rise(
        perturbed(point, settings, adaptive=adaptive),
        point.theta,
        point.key,
        radius=settings.rho,
        norm=norm,
        steps=settings.steps,
        restarts=settings.restarts,
        tolerance=settings.tolerance,
    )
    return Estimate(found.value, found.error, found.n_gradients)


def average_case(point: Point, settings: Average, *, adaptive: bool) -> Estimate:
    """E L(theta + T u) - L(theta) over u ~ N(0, rho^2 I), in nats, by antithetic pairs u, -u.

    Andriushchenko et al. (2023, section 3); about (rho^2 / 2) tr(T H T). The gradient cancels within a pair, so the
    standard error is that of the curvature. Pairs are added until it is at most `relative_error` |value| or
    the evaluations are spent.
    """
    loss = perturbed(point, settings, adaptive=adaptive)
    like = point.theta
    base = loss(jnp.zeros_like(like))

    def pair(i: Array) -> Array:
        u = settings.rho * jax.random.normal(jax.random.fold_in(point.key, i), like.shape, like.dtype)
        return (loss(u) + loss(-u)) / 2 - base

    values, n = probe_until(
        lambda values, n: standard_error(values, n) <= settings.relative_error * jnp.abs(jnp.sum(values) / n),
        pair,
        max(MIN_PROBES, (settings.max_products - 1) // 2),
    )
    return Estimate(jnp.sum(values) / n, standard_error(values, n), 1 + 2 * n)


def _both(
    name: str, about: str, compute: Callable[..., Estimate], plain: type[Settings], adaptive: type[Settings]
) -> tuple[Definition, Definition]:
    """A measure of the perturbations u and of their adaptive counterparts |theta| u."""
    return (
        Definition(
            f"sharpness_{name}",
            "sharpness",
            f"{about}, in nats",
            partial(compute, adaptive=False),
            "permutation",
            "sharper",
            plain,
        ),
        Definition(
            f"adaptive_sharpness_{name}",
            "sharpness",
            f"{about}, each parameter perturbed in proportion to its size, in nats",
            partial(compute, adaptive=True),
            "rescaling",
            "sharper",
            adaptive,
        ),
    )


DEFINITIONS = (
    *_both("sam", "rise of the mean training loss by SAM's one ascent step", one_step, Step, AdaptiveStep),
    *_both(
        "l2",
        "largest rise of the mean training loss found in an l2 ball",
        partial(worst_case, norm="l2"),
        WorstL2,
        AdaptiveWorstL2,
    ),
    *_both(
        "linf",
        "largest rise of the mean training loss found in an l-infinity ball",
        partial(worst_case, norm="linf"),
        WorstLinf,
        WorstLinf,
    ),
    *_both(
        "gaussian",
        "mean rise of the mean training loss under Gaussian perturbations",
        average_case,
        Average,
        AdaptiveAverage,
    ),
    Definition(
        "keskar_sharpness",
        "sharpness",
        "Keskar's epsilon-sharpness: largest rise found in a box, relative to 1 + loss, in per cent",
        keskar_sharpness,
        "permutation",
        "sharper",
        Keskar,
    ),
)
