"""Full-batch L-BFGS to convergence: the optimum of a convex log joint, to rounding."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from models.joint.model import Model, log_prior

LARGE = 1e3


class Optimum(NamedTuple):
    """Where L-BFGS stopped; `converged` says that the gradient's largest entry fell under the tolerance.

    Where its largest entry at the start is above `LARGE` the tolerance grows with it.
    """

    theta: Float[Array, " p"]
    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Array
    losses: Float[Array, " s"]


@functools.lru_cache(maxsize=64)
def minimiser(model: Model, *, max_steps: int, tolerance: float = 1e-9) -> Callable[..., Optimum]:
    """Build `minimise(theta, x, y, scales, weight_decay, centre) -> Optimum`, for float64 arguments.

    The objective is that of `models.inference.optimise` on the full batch:
    mean NLL - log p / n + w / 2 |weights - centre|^2.
    Limited-memory BFGS with a zoom line search (Nocedal and Wright 2006, algorithms 7.5 and 3.5), by optax.
    """
    solver = optax.lbfgs()

    def minimise(
        theta: Array, x: Array, y: Array, scales: Array, weight_decay: Array, centre: Array | float = 0.0
    ) -> Optimum:
        def objective(theta: Array) -> Array:
            decay = 0.5 * weight_decay * jnp.sum(jnp.square((theta - centre)[: model.n_weights]))
            return model.loss(theta, x, y) - log_prior(theta, scales, centre) / len(x) + decay

        value_and_grad = optax.value_and_grad_from_state(objective)

        # Counts of millions have gradients of millions, whose last digits are larger than the tolerance.
        first = jnp.max(jnp.abs(jax.grad(objective)(theta)))
        least = tolerance * jnp.where(jnp.isfinite(first), jnp.maximum(1.0, first / LARGE), 1.0)

        def goes_on(carry: tuple) -> Array:
            _, _, step, size, _ = carry
            return (step < max_steps) & (size > least)  # false for a gradient that is not a number

        def step(carry: tuple) -> tuple:
            theta, state, i, _, losses = carry
            value, gradient = value_and_grad(theta, state=state)
            updates, state = solver.update(gradient, state, theta, value=value, grad=gradient, value_fn=objective)
            theta = optax.apply_updates(theta, updates)
            size = jnp.max(jnp.abs(optax.tree.get(state, "grad")))
            return theta, state, i + 1, size, losses.at[i].set(value)

        losses = jnp.full(max_steps, jnp.nan, theta.dtype)
        start = (theta, solver.init(theta), jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, theta.dtype), losses)
        theta, _, steps, size, losses = jax.lax.while_loop(goes_on, step, start)
        value, gradient = jax.value_and_grad(objective)(theta)
        return Optimum(theta, value, jnp.linalg.norm(gradient), steps, size <= least, losses)

    return jax.jit(minimise)
