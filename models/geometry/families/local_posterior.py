"""Chains on a log density in the neighbourhood of one point, of which three numbers per draw are kept.

All chains run side by side in one compiled scan and adapt together. When they have made their draws they go on from
there with steps of half the size and twice as many of them, so that a mean that rests on the step can be told by the
second half of the trace. Nothing here knows of models: a density is a plain function of a (q,) position. Memory is a
few vectors of length q for each chain.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Position = Float[Array, " q"]
# position -> (log density up to a constant, the number that is traced); -inf where the density is 0
Density = Callable[[Array], tuple[Array, Array]]

TARGET_HMC = 0.8
TARGET_MALA = 0.574  # optimal for MALA (Roberts and Rosenthal 1998)
ASTRAY = 1000.0  # as in Stan
FIRST_STEP = 0.1  # where every adaptation begins, in units of the metric


class Draws(NamedTuple):
    """What chains leave at one step size.

    Attributes:
        values: (chains, draws) the traced number.
        distances: (chains, draws) squared distance from the start.
        virials: (chains, draws) q + (u - start) . grad log p(u), whose expectation under p is 0 where p falls off at
            infinity (Stein's identity of the field u - start). It is the rate at which Langevin dynamics would lengthen
            the squared distance, so that its mean is positive where the chains are held out of a part of the space.
    """

    values: Float[Array, "chains draws"]
    distances: Float[Array, "chains draws"]
    virials: Float[Array, "chains draws"]


class Trace(NamedTuple):
    """What chains leave after warm-up.

    Attributes:
        full: at the step size that warm-up found.
        half: at half of it, with two steps in place of each.
        divergences: (chains,) trajectories of both whose energy went astray, by more than `ASTRAY` or to NaN: the
            steps are too long for a part of the space, which the chain therefore does not enter.
        acceptance: mean acceptance probability at the full step.
        n_gradients: of all chains together, warm-up and half steps included.
    """

    full: Draws
    half: Draws
    divergences: Int[Array, " chains"]
    acceptance: Float[Array, ""]
    n_gradients: Int[Array, ""]


class _State(NamedTuple):
    """All chains' positions (chains, q), and what is known of the density there."""

    position: Array
    log_density: Array
    gradient: Array
    traced: Array


class _Step(NamedTuple):
    """Dual averaging of log step size (Hoffman and Gelman 2014, section 3.2.1)."""

    count: Array
    lack: Array
    log_step: Array
    log_average: Array


class _Spread(NamedTuple):
    """Running mean and sum of squared deviations of all chains' positions (Welford; Chan et al. 1983)."""

    count: Array
    mean: Array
    squares: Array


class _Phase(NamedTuple):
    """For each transition, (t,): is the step size adapted, the spread collected, the metric renewed afterwards?"""

    adapts: Bool[Array, " t"] | np.ndarray
    collects: Bool[Array, " t"] | np.ndarray
    renews: Bool[Array, " t"] | np.ndarray


def hamiltonian(
    density: Density,
    start: Position,
    key: PRNGKeyArray,
    *,
    chains: int,
    warmup: int,
    draws: int,
    max_leapfrog: int,
    target: float = TARGET_HMC,
) -> Trace:
    """Hamiltonian Monte Carlo from `start` (Neal 2011), exact but for the Monte Carlo error once the chains have mixed.

    A transition takes 1 to `max_leapfrog` leapfrog steps, uniformly at random; with 1 it is the Metropolis-adjusted
    Langevin algorithm (MALA). In warm-up the chains tune one step size to the acceptance `target`, and a diagonal
    metric to their joint variances, renewed in growing windows; both are fixed in the draws that count. As many draws
    again follow at half the step and with twice the leapfrog steps, which leaves the trajectories as long. A trajectory
    that ends where the density is 0 or NaN is rejected.
    """
    momentum_key, length_key = jax.random.split(key)
    halved = warmup + draws
    phase = _phases(warmup, 2 * draws)
    n_steps = jax.random.randint(length_key, (halved,), 1, max_leapfrog + 1)
    n_steps = jnp.concatenate([n_steps, 2 * n_steps[warmup:]])
    shares = jnp.where(jnp.arange(halved + draws) < halved, 1.0, 0.5).astype(start.dtype)

    def at(positions: Array) -> _State:
        (log_density, traced), gradient = jax.vmap(jax.value_and_grad(density, has_aux=True))(positions)
        return _State(positions, log_density, gradient, traced)

    def leapfrog(state: _State, momentum: Array, step: Array, metric: Array, n: Array) -> tuple[_State, Array]:
        def once(_: Array, carry: tuple[_State, Array]) -> tuple[_State, Array]:
            state, momentum = carry
            momentum = momentum + 0.5 * step * state.gradient
            state = at(state.position + step * metric * momentum)
            return state, momentum + 0.5 * step * state.gradient

        return jax.lax.fori_loop(0, n, once, (state, momentum))

    def transition(carry: tuple, each: tuple) -> tuple[tuple, tuple[Draws, Array, Array]]:
        state, step, spread, metric = carry
        (adapts, collects, renews), n, share, i = each
        noise_key, accept_key = jax.random.split(jax.random.fold_in(momentum_key, i))
        z = jax.random.normal(noise_key, state.position.shape, state.position.dtype)
        size = share * jnp.exp(jnp.where(adapts, step.log_step, step.log_average))
        proposal, momentum = leapfrog(state, z / jnp.sqrt(metric), size, metric, n)
        kinetic = 0.5 * jnp.sum(metric * jnp.square(momentum) - jnp.square(z), axis=1)
        gain = proposal.log_density - state.log_density - kinetic
        astray = ~(gain >= -ASTRAY)
        accept = jnp.where(jnp.isnan(gain), 0.0, jnp.exp(jnp.minimum(gain, 0.0)))
        taken = jax.random.uniform(accept_key, accept.shape, accept.dtype) < accept
        state = jax.tree.map(
            lambda new, old: jnp.where(jnp.expand_dims(taken, range(1, new.ndim)), new, old), proposal, state
        )

        step = _choose(adapts, _tuned(step, target - jnp.mean(accept)), step)
        spread = _choose(collects, _widened(spread, state.position), spread)
        metric = jnp.where(renews, _variances(spread), metric)
        step, spread = _choose(renews, (_fresh_step(start.dtype), _fresh_spread(start)), (step, spread))
        left = _left(state.traced, state.position - start, state.gradient)
        return (state, step, spread, metric), (left, astray, jnp.mean(accept))

    begin = at(jnp.broadcast_to(start, (chains, start.size)))
    carry = (begin, _fresh_step(start.dtype), _fresh_spread(start), jnp.ones_like(start))
    each = (jax.tree.map(jnp.asarray, phase), n_steps, shares, jnp.arange(halved + draws))
    _, (left, astray, accept) = jax.lax.scan(transition, carry, each)
    return Trace(
        *_by_step(jax.tree.map(lambda a: a[warmup:], left)),
        jnp.sum(astray[warmup:], axis=0),
        jnp.mean(accept[warmup:halved]),
        chains * (1 + jnp.sum(n_steps)),
    )


def langevin(
    drift: Callable[[Array, Array], Array],
    traced: Callable[[Array], Array],
    start: Position,
    key: PRNGKeyArray,
    *,
    chains: int,
    warmup: int,
    draws: int,
    step_size: float,
) -> Trace:
    """Stochastic gradient Langevin dynamics (Welling and Teh 2011) at a constant step size e.

        u <- u + e / 2 drift(u, key) + sqrt(e) N(0, I)

    `drift` is an unbiased estimate of the log density's gradient. Nothing is rejected: the chains' law is off by O(e)
    and by the drift's noise, which no standard error tells of. As many draws again follow at e / 2, two moves to each.
    """

    def drifts(u: Array, keys: Array) -> Array:
        return jax.vmap(drift)(u, keys)

    def move(u: Array, key: Array, size: Array) -> Array:
        keys = jax.random.split(key, 2 * chains)
        noise = jax.vmap(lambda k: jax.random.normal(k, start.shape, start.dtype))(keys[:chains])
        return u + 0.5 * size * drifts(u, keys[chains:]) + jnp.sqrt(size) * noise

    def draw(u: Array, each: tuple[Array, Array]) -> tuple[Array, Draws]:
        i, moves = each
        fresh = jax.random.fold_in(key, i)
        size = (step_size / moves).astype(start.dtype)
        u = jax.lax.fori_loop(0, moves, lambda k, u: move(u, jax.random.fold_in(fresh, k), size), u)
        virial = drifts(u, jax.random.split(jax.random.fold_in(fresh, moves), chains))
        return u, _left(jax.vmap(traced)(u), u - start, virial)

    u = jnp.broadcast_to(start, (chains, start.size))
    size = jnp.asarray(step_size, start.dtype)
    u = jax.lax.fori_loop(0, warmup, lambda i, u: move(u, jax.random.fold_in(key, i), size), u)
    moves = jnp.repeat(jnp.array([1, 2]), draws)
    _, left = jax.lax.scan(draw, u, (warmup + jnp.arange(2 * draws), moves))
    none = jnp.zeros(chains, jnp.int32)
    n_gradients = chains * (warmup + 5 * draws)  # three moves and two virials for each pair of draws
    return Trace(*_by_step(left), none, jnp.ones((), start.dtype), jnp.asarray(n_gradients))


def _left(traced: Array, apart: Array, gradient: Array) -> Draws:
    return Draws(traced, jnp.sum(jnp.square(apart), axis=1), apart.shape[1] + jnp.sum(apart * gradient, axis=1))


def _by_step(left: Draws) -> tuple[Draws, Draws]:
    """Draws (2 draws, chains) as those at the full step and those at half of it, (chains, draws) each."""
    full, half = (Draws(*columns) for columns in zip(*(jnp.split(a.T, 2, axis=1) for a in left), strict=True))
    return full, half


# --- adaptation -------------------------------------------------------------------------------------------------------


def _phases(warmup: int, draws: int) -> _Phase:
    """Step size alone, then windows that double, then step size alone; as in Stan, in shares of the warm-up."""
    t = np.arange(warmup + draws)
    ends = [round(share * warmup) for share in (0.1, 0.25, 0.45, 0.8)]
    return _Phase(t < warmup, (t >= ends[0]) & (t < ends[-1]), np.isin(t, [end - 1 for end in ends[1:]]))


def _choose[T](condition: Array, yes: T, no: T) -> T:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _fresh_step(dtype: np.dtype) -> _Step:
    first = jnp.log(jnp.asarray(FIRST_STEP, dtype))
    return _Step(jnp.zeros((), dtype), jnp.zeros((), dtype), first, first)


def _tuned(step: _Step, lack: Array) -> _Step:
    """Constants of Hoffman and Gelman: gamma 0.05, t0 10, kappa 0.75, shrinkage towards log(10 `FIRST_STEP`)."""
    t = step.count + 1.0
    mean_lack = step.lack + (lack - step.lack) / (t + 10.0)
    log_step = jnp.log(10.0 * FIRST_STEP) - jnp.sqrt(t) / 0.05 * mean_lack
    weight = t**-0.75
    return _Step(t, mean_lack, log_step, weight * log_step + (1.0 - weight) * step.log_average)


def _fresh_spread(like: Position) -> _Spread:
    return _Spread(jnp.zeros((), like.dtype), jnp.zeros_like(like), jnp.zeros_like(like))


def _widened(spread: _Spread, positions: Array) -> _Spread:
    count = spread.count + len(positions)
    apart = positions - spread.mean
    mean = spread.mean + jnp.sum(apart, axis=0) / count
    return _Spread(count, mean, spread.squares + jnp.sum(apart * (positions - mean), axis=0))


def _variances(spread: _Spread) -> Array:
    """Drawn a little towards 1e-3, as in Stan."""
    n = spread.count
    return (n / (n + 5.0)) * spread.squares / jnp.maximum(n - 1.0, 1.0) + 1e-3 * 5.0 / (n + 5.0)
