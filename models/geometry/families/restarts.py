"""A maximum that is searched for from independent starts, until the best one has been found again."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models.geometry.operators.krylov import length

# Ends are one maximum where they differ by no more than this share of the best.
AGREEMENT = 5e-3
# The search is over once the best was found so often, and the starts that would lead to what has not been found yet
# are expected to be no more than this share of all.
ENOUGH, UNSEEN = 3, 0.05
# What is found fewer times than this is not known to be a maximum.
REPEATS = 2


class End(NamedTuple):
    """Where one search ended, whether it had converged there, and the evaluations that it took."""

    value: Float[Array, ""]
    converged: Bool[Array, ""]
    n: Int[Array, ""]


class Best(NamedTuple):
    """The best end; NaN where it was found once, where a search that did not converge stands higher, or one is NaN.

    Attributes:
        error: see `spread`.
        n: evaluations of all searches.
    """

    value: Float[Array, ""]
    error: Float[Array, ""]
    n: Int[Array, ""]


class _Ends(NamedTuple):
    values: Float[Array, " s"]
    converged: Bool[Array, " s"]
    n_starts: Int[Array, ""]
    n: Int[Array, ""]


def best_of(search: Callable[[Array], End], starts: int, rounding: Float[Array, ""]) -> Best:
    """Search from starts 0, 1, ... one after the other, `starts` at most, until the best end repeats.

    That is, until the best was found `ENOUGH` times and, with w different ends of n starts, the share of starts that
    would lead to an end not found yet is expected to be at most `UNSEEN`: w (w + 1) / (n (n - 1)) (Boender and Rinnooy
    Kan 1987, "Bayesian stopping rules for multistart global optimization methods", theorem 2). A maximum that few
    starts lead to can be missed all the same.
    """

    def unsettled(ends: _Ends) -> Array:
        best, found, distinct, sound = _standing(ends, rounding)
        n = ends.n_starts
        settled = (found >= ENOUGH) & (distinct * (distinct + 1) <= UNSEEN * n * (n - 1)) & jnp.isfinite(best)
        return sound & ~settled & (n < starts)

    def another(ends: _Ends) -> _Ends:
        i, end = ends.n_starts, search(ends.n_starts)
        return _Ends(ends.values.at[i].set(end.value), ends.converged.at[i].set(end.converged), i + 1, ends.n + end.n)

    none = jnp.zeros((), jnp.int32)
    begun = _Ends(jnp.zeros(starts, rounding.dtype), jnp.zeros(starts, bool), none, none)
    ends = jax.lax.while_loop(unsettled, another, begun)
    best, found, _, sound = _standing(ends, rounding)
    higher = _taken(ends) & (ends.values > best + AGREEMENT * jnp.abs(best) + rounding)
    known = sound & (found >= REPEATS) & ~jnp.any(higher)
    return Best(jnp.where(known, best, jnp.nan), spread(ends.values, ends.n_starts), ends.n)


def spread(values: Float[Array, " s"], n: Int[Array, ""]) -> Float[Array, ""]:
    """Standard deviation of the best of half as many starts, drawn with replacement from the first n values.

    How far the best would lie from run to run, had the search been half as long. As the i-th largest of n, a value is
    the largest of m draws with probability ((n - i + 1) / n)^m - ((n - i) / n)^m.
    """
    ordered = jnp.sort(jnp.where(jnp.arange(values.size) < n, values, -jnp.inf), descending=True)
    above = jnp.arange(values.size)  # how many stand above each
    m = (n + 1) // 2
    at_or_below = (jnp.maximum(n - jnp.arange(values.size + 1), 0) / n) ** m
    weights = (at_or_below[:-1] - at_or_below[1:]).astype(values.dtype)
    lower = jnp.where(above < n, ordered - ordered[0], 0.0)
    return length(jnp.sqrt(weights) * (lower - jnp.sum(weights * lower)))


def _taken(ends: _Ends) -> Bool[Array, " s"]:
    return jnp.arange(ends.values.size) < ends.n_starts


def _standing(ends: _Ends, rounding: Array) -> tuple[Array, Array, Array, Array]:
    """The best converged end, how often it was found, how many different ends there are, and whether all are finite."""
    reached = _taken(ends) & ends.converged
    values = jnp.where(reached, ends.values, -jnp.inf)
    best = jnp.max(values)
    near = AGREEMENT * jnp.abs(best) + rounding
    ordered = jnp.sort(values, descending=True)
    apart = jnp.isfinite(ordered[1:]) & (ordered[:-1] - ordered[1:] > near)
    distinct = 1 + jnp.sum(apart)
    return best, jnp.sum(reached & (values >= best - near)), distinct, jnp.all(jnp.isfinite(ends.values))
