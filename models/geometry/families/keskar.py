"""The epsilon-sharpness of Keskar et al. (2017), over all parameters or in random subspaces."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from models.geometry.definition import Estimate, NotApplicableError, Point
from models.geometry.families.ascent import Rise, largest_rise
from models.spec.settings import MOST, Count, Positive, Settings

_DISCRETE = ("categorical", "bernoulli", "poisson", "negative-binomial")


class Keskar(Settings):
    """Settings of `keskar_sharpness`.

    Attributes:
        epsilon: size of the box; the paper's are 1e-3 and 5e-4.
        subspace: dimension of the random subspaces, 100 in the paper; None takes all parameters.
        draws: random subspaces that the mean is taken over.
        steps: evaluations of each ascent at most; `restarts` random starts at most, `tolerance` of convergence: see
            `ascent.largest_rise`.
    """

    epsilon: Positive = 1e-3
    subspace: Count | None = None
    draws: Annotated[int, Field(ge=2, le=MOST)] = 5
    steps: Count = 200
    restarts: Count = 40
    tolerance: Positive = 1e-5


def keskar_sharpness(point: Point, settings: Keskar) -> Estimate:
    """The largest relative rise of the mean loss f in a box about theta, in per cent.

    Keskar et al. (2017), section 2.2.2, metric 2.1:

        phi(epsilon, A) = 100 (max_{z in C} f(theta + A z) - f(theta)) / (1 + f(theta)),
        C = {z in R^m: |z_i| <= epsilon (|(A^+ theta)_i| + 1)}.

    A is the identity, or a p x m matrix of independent N(0, 1) entries (the paper says "randomly generated"); then the
    value is the mean of phi over `draws` matrices, with its standard error. The maximum is a lower bound, by projected
    ascent until two starts at least found it; the paper stops L-BFGS-B after 10 iterations. Memory: one matrix A at a
    time.

    Raises:
        NotApplicableError: a density, or a subspace no smaller than the whole space.
    """
    family, theta, m = point.landscape.model.family.name, point.theta, settings.subspace
    if family not in _DISCRETE:
        raise NotApplicableError(
            f"the loss of a {family} likelihood is that of a density and may lie below -1, so 1 + loss is no scale: "
            "take sharpness_linf, which has none"
        )
    if m is not None and m >= theta.size:
        raise NotApplicableError(
            f"a random subspace of {m} dimensions is no smaller than the space of {theta.size} parameters: "
            "set subspace lower, or to null for all of them"
        )
    loss = point.landscape.loss
    scale = 100 / (1 + loss(theta))

    def over(width: Float[Array, " k"], embed: Callable[[Array], Array], key: PRNGKeyArray) -> Rise:
        """The largest rise over |z_i| <= epsilon width_i, searched for in u = z / width."""
        return largest_rise(
            lambda u: loss(theta + embed(width * u)),
            width,
            key,
            radius=settings.epsilon,
            norm="linf",
            steps=settings.steps,
            restarts=settings.restarts,
            tolerance=settings.tolerance,
        )

    if m is None:
        found = over(jnp.abs(theta) + 1, lambda z: z, point.key)
        return Estimate(scale * found.value, scale * found.error, 1 + found.n_gradients)

    def of_draw(key: PRNGKeyArray) -> Rise:
        matrix_key, ascent_key = jax.random.split(key)
        a = jax.random.normal(matrix_key, (theta.size, m), theta.dtype)
        inverse = jnp.linalg.solve(a.T @ a, a.T @ theta)
        return over(jnp.abs(inverse) + 1, lambda z: a @ z, ascent_key)

    found = jax.lax.map(of_draw, jax.random.split(point.key, settings.draws))
    phi = scale * found.value
    error = jnp.std(phi, ddof=1) / settings.draws**0.5
    return Estimate(jnp.mean(phi), error, 1 + jnp.sum(found.n_gradients))
