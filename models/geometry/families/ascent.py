"""The largest rise of a function over a ball: projected gradient ascent from several starts."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from optax.projections import projection_l2_ball, projection_linf_ball

from models.geometry.families.restarts import End, best_of

Norm = Literal["l2", "linf"]

# Armijo's constant; what the step is multiplied by where it was taken, and where it was refused; the longest step
# before projection, in units of the ball's reach; the evaluations after which an ascent's gain is judged.
SUFFICIENT = 1e-4
GROWTH, SHRINKAGE = 2.0, 0.25
LONGEST = 1e6
WINDOW = 20
# Random points among which each start is chosen.
ENTRANTS = 16


class Rise(NamedTuple):
    """The largest rise that was found, a lower bound of the maximum; NaN where it was not found again.

    Attributes:
        error: by how much the best of half as many starts would vary; see `restarts.spread`.
        n_gradients: evaluations of the function, most of them with its gradient.
    """

    value: Float[Array, ""]
    error: Float[Array, ""]
    n_gradients: Int[Array, ""]


class _Ascent(NamedTuple):
    """One ascent's state.

    Attributes:
        step: the next trial is this times the gradient away, before projection.
        n: evaluations so far.
        mark: the value when the present window began.
    """

    u: Float[Array, " m"]
    value: Float[Array, ""]
    gradient: Float[Array, " m"]
    step: Float[Array, ""]
    n: Int[Array, ""]
    mark: Float[Array, ""]
    converged: Bool[Array, ""]


def largest_rise(
    function: Callable[[Array], Array],
    like: Float[Array, " m"],
    key: PRNGKeyArray,
    *,
    radius: float | Float[Array, ""],
    norm: Norm,
    steps: int = 200,
    restarts: int = 40,
    tolerance: float = 1e-5,
) -> Rise:
    """Maximise f(u) - f(0) over |u| <= radius; `like` tells m and the dtype.

    One ascent starts at 0, so that its first direction is the gradient's; at most `restarts` others start apart from
    one another, until the best end has been found again (`restarts.best_of`). Such a start is the best of `ENTRANTS`
    random points of the sphere (l2) or corners of the box (linf), each after two steps across the ball, to the best
    point by the gradient alone: in a net few random points lead to the highest maximum, but most that do show it early.
    A step goes to P(u + t grad f(u)), where P is the Euclidean
    projection onto the ball; t doubles where f rises by Armijo's rule and is quartered otherwise (Bertsekas 1976). With
    a long t the step ends at radius grad f / |grad f| (l2; on a quadratic that is the power iteration) or at
    radius sign(grad f) (linf), the best point of the ball by the gradient alone.

    An ascent has converged when no point of the ball promises more than `tolerance` of the rise to first order:

        max_{|s| <= radius} grad f(u) . (s - u) <= tolerance (f(u) - f(0)),

    whose left side is the Frank-Wolfe gap (Jaggi 2013, section 2), or when gap and rise are both zero to working
    precision. At a summit with a kink, as those of piecewise-linear nets, no gradient is small; so an ascent has also
    converged when `WINDOW` evaluations together, which begin with a step across the ball and shorten it where it fails,
    raised f(u) by no more than `tolerance` (f(u) - f(0)). That certifies no summit: gradients that jump can hold the
    ascent up below it, each time elsewhere. The gap certifies a stationary point. That it is the highest rests on the
    starts that found it again, and is not certain. At the
    minimum of a quadratic, an eigenvalue lies within a share of about sqrt(tolerance) of 2 value / radius^2 in l2 (the
    residual bound of a Rayleigh quotient); the error is far smaller where the top eigenvalue stands alone.

    The value is the best converged rise. It is NaN where only one start found it, to `restarts.AGREEMENT` of it, where
    an ascent that did not converge within `steps` evaluations stands higher, and where f is not finite at an end.
    """
    if norm == "l2":
        project, dual, reach = projection_l2_ball, 2, radius
    else:
        project, dual, reach = projection_linf_ball, 1, radius * like.size**0.5
    evaluate = jax.value_and_grad(function)

    def step_of(length: float, gradient: Array) -> Array:
        """The step that brings u + step gradient as far as `length` times from the centre to the boundary."""
        size = jnp.linalg.norm(gradient)
        return length * reach / jnp.where(size > 0, size, 1.0)

    base = function(jnp.zeros_like(like))
    rounding = 4 * jnp.finfo(like.dtype).eps * (1 + jnp.abs(base))

    def settled(u: Array, value: Array, gradient: Array) -> Array:
        gap, rise = radius * jnp.linalg.norm(gradient, ord=dual) - gradient @ u, value - base
        return (gap <= tolerance * rise) | ((gap <= rounding) & (jnp.abs(rise) <= rounding))

    def across(gradient: Array) -> Array:
        """The point of the ball that is best by the gradient alone."""
        size = jnp.linalg.norm(gradient)
        best = jnp.sign(gradient) if norm == "linf" else gradient / jnp.where(size > 0, size, 1.0)
        return radius * best

    def entrant(k: PRNGKeyArray) -> tuple[Array, Array]:
        if norm == "linf":
            u = radius * jax.random.rademacher(k, like.shape, like.dtype)
        else:
            u = across(jax.random.normal(k, like.shape, like.dtype))
        for _ in range(2):
            gradient = evaluate(u)[1]
            u = jnp.where(jnp.any(gradient != 0), across(gradient), u)
        return u, function(u)

    def start(i: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, i), ENTRANTS)

        def better(j: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
            other = entrant(keys[j])
            return jax.tree.map(lambda new, old: jnp.where(other[1] > best[1], new, old), other, best)

        return jax.lax.fori_loop(1, ENTRANTS, better, entrant(keys[0]))[0]

    def advance(a: _Ascent) -> _Ascent:
        u = project(a.u + a.step * a.gradient, radius)
        value, gradient = evaluate(u)
        promised, there = a.gradient @ (u - a.u), gradient @ (u - a.u)
        # Where rounding hides the rise, the trapezoidal rule tells it from the gradients (Hager and Zhang 2005).
        hidden = jnp.abs(value - a.value) <= rounding
        risen = jnp.where(hidden, (promised + there) / 2, value - a.value) >= SUFFICIENT * promised
        step = jnp.minimum(a.step * GROWTH, step_of(LONGEST, gradient))
        taken = _Ascent(u, value, gradient, step, a.n, a.mark, settled(u, value, gradient))
        refused = a._replace(step=a.step * SHRINKAGE)
        return jax.tree.map(lambda x, y: jnp.where(risen, x, y), taken, refused)._replace(n=a.n + 1)

    def judge(a: _Ascent) -> _Ascent:
        ends = a.n % WINDOW == 0
        stalled = ends & (a.value - a.mark <= tolerance * (a.value - base))
        return a._replace(
            step=jnp.where(ends, step_of(1.0, a.gradient), a.step),
            mark=jnp.where(ends, a.value, a.mark),
            converged=a.converged | stalled,
        )

    def going(a: _Ascent) -> Array:
        return ~a.converged & (a.n < steps) & jnp.isfinite(a.value)

    def climb(i: Array) -> End:
        u = jax.lax.cond(i == 0, lambda: jnp.zeros_like(like), lambda: start(i))
        value, gradient = evaluate(u)
        one = jnp.ones((), jnp.int32)
        begun = _Ascent(u, value, gradient, step_of(1.0, gradient), one, value, settled(u, value, gradient))
        ended = jax.lax.while_loop(going, lambda a: judge(advance(a)), begun)
        return End(ended.value - base, ended.converged, ended.n + jnp.where(i == 0, 0, 3 * ENTRANTS))

    found = best_of(climb, restarts + 1, rounding)
    return Rise(jnp.maximum(found.value, 0.0), found.error, 1 + found.n)
