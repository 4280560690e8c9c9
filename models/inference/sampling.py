"""What all Markov chain samplers share: one compiled program that advances a chain by a chunk, and can be resumed.

The data are arguments of the program and never constants in it, so splits of equal shape share it. The number of
iterations in a chunk is an argument too: a last, shorter chunk compiles nothing anew.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from models.inference.state import CheckpointError, from_arrays, to_arrays

LogJoint = Callable[[Array, Any], Array]
OnChunk = Callable[[int, int, dict[str, float], dict[str, np.ndarray]], None]


class Kernel(NamedTuple):
    """One Markov chain on a flat vector, as pure functions; the state is a pytree of plain arrays (keys as their data).

    Attributes:
        init: (theta (p,), data, key) -> state.
        step: (state, data) -> state after one iteration; warm-up ends by the state's own count of iterations.
        record: state -> (theta (p,), {name: scalar}), the draw and its statistics in ArviZ's names; `diverging`,
            `acceptance_rate` and `n_steps` are among them.
    """

    init: Callable[[Array, Any, Array], Any]
    step: Callable[[Any, Any], Any]
    record: Callable[[Any], tuple[Array, dict[str, Array]]]


class Samples(NamedTuple):
    """Draws after warm-up.

    Attributes:
        theta: (chain, draw, p).
        stats: sampler statistics (chain, draw) in ArviZ's names.
        checkpoint: the arrays to go on from: here there is nothing left to do. All but `done` lead with the chains.
    """

    theta: np.ndarray
    stats: dict[str, np.ndarray]
    checkpoint: dict[str, np.ndarray]

    def of(self, chains: list[int]) -> "Samples":
        """Some of the chains."""
        rest = {name: array if name == "done" else array[chains] for name, array in self.checkpoint.items()}
        return Samples(self.theta[chains], {name: values[chains] for name, values in self.stats.items()}, rest)


@functools.lru_cache(maxsize=64)
def program(kernel: Kernel, chunk: int, vectorise: bool) -> tuple[Callable, Callable]:
    """Compile `init(theta, data, key) -> state` and `advance(state, data, n) -> (state, rows)` with n <= chunk.

    `rows` are the n records, padded with zeros to `chunk`. With `vectorise` both take and return a leading chain axis.
    """

    def init(theta: Array, data: Any, key: Array) -> Any:
        return _strong(kernel.init(theta, data, key))

    def advance(state: Any, data: Any, n: Array) -> tuple[Any, Any]:
        record = jax.eval_shape(kernel.record, state)
        rows = jax.tree.map(lambda leaf: jnp.zeros((chunk, *leaf.shape), leaf.dtype), record)

        def body(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, rows = carry
            state = _strong(kernel.step(state, data))
            return state, jax.tree.map(lambda row, leaf: row.at[i].set(leaf), rows, kernel.record(state))

        return jax.lax.fori_loop(0, n, body, (state, rows))

    if vectorise:
        return jax.jit(jax.vmap(init, (0, None, 0))), jax.jit(jax.vmap(advance, (0, None, None)))
    return jax.jit(init), jax.jit(advance)


def sample(
    kernel: Kernel,
    data: Any,
    starts: Float[Array, "chain p"] | np.ndarray,
    keys: Key[Array, " chain"],
    *,
    warmup: int,
    draws: int,
    chunk: int,
    resume: Mapping[str, np.ndarray] | None = None,
    on_chunk: OnChunk | None = None,
    vectorise: bool | None = None,
) -> Samples:
    """Run one chain per start: all chains by `chunk` iterations in turn, `warmup` + `draws` iterations each.

    The dtype of `starts` is that of the whole run: float64 needs `jax.enable_x64(True)` around the call. Where chains
    run one by one, a chain's draws depend on its start, its key and the data alone: not on `chunk`, nor on the other
    chains, nor on a stop and resume in between. Under vmap the number of chains may change the last bits.

    `keys` are of JAX's default implementation, one per chain. `resume` is a checkpoint of the same run to go on from.
    `vectorise` advances the chains in lock step under vmap; None does so on accelerators only, as it brings nothing on
    a CPU. `on_chunk` is called after each chunk with iterations done and iterations in all (of all chains, with
    warm-up), facts (`divergences` after warm-up; `acceptance_rate` and `n_steps`, means of the last chunk) and a
    checkpoint, whose arrays are views that later chunks leave alone.

    Raises:
        ValueError: starts of a dtype that is not the session's float, or numbers of starts and keys that differ.
        CheckpointError: a checkpoint that is not of this run.
    """
    expected = jnp.result_type(float)
    if np.result_type(starts) != expected:
        raise ValueError(f"starts are {np.result_type(starts)}, expected {expected}: cast them or set jax.enable_x64")
    if len(keys) != len(starts):
        raise ValueError(f"{len(starts)} starts and {len(keys)} keys: expected one key per start")
    vectorise = jax.default_backend() != "cpu" if vectorise is None else vectorise
    init, advance = program(kernel, chunk, vectorise)
    if not vectorise:
        init, advance = _each_chain(init, (0, 2)), _each_chain(advance, (0,))

    data = jax.tree.map(jnp.asarray, data)
    chains, p = starts.shape
    total = warmup + draws
    state = jax.device_get(init(jnp.asarray(starts), data, keys))
    _, stats_spec = jax.eval_shape(kernel.record, jax.tree.map(lambda leaf: leaf[0], state))
    theta = np.empty((chains, draws, p), expected)
    stats = {name: np.empty((chains, draws), spec.dtype) for name, spec in stats_spec.items()}
    done = 0
    if resume is not None:
        done, state = _restore(resume, state, theta, stats, warmup)

    while done < total:
        n = min(chunk, total - done)
        state, (new_theta, new_stats) = jax.device_get(advance(state, data, np.int32(n)))
        kept, skip = max(done - warmup, 0), min(max(warmup - done, 0), n)
        done += n
        until = max(done - warmup, 0)
        theta[:, kept:until] = new_theta[:, skip:n]
        for name, values in stats.items():
            values[:, kept:until] = new_stats[name][:, skip:n]
        if on_chunk is not None:
            facts = {
                "divergences": float(np.sum(stats["diverging"][:, :until])),
                "acceptance_rate": float(np.mean(new_stats["acceptance_rate"][:, :n])),
                "n_steps": float(np.mean(new_stats["n_steps"][:, :n])),
            }
            on_chunk(chains * done, chains * total, facts, _checkpoint(done, state, theta, stats, until))
    return Samples(theta, stats, _checkpoint(done, state, theta, stats, draws))


def _strong(state: Any) -> Any:
    """Without weak types, so that a fresh state and an advanced one are the same to the compiler."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.result_type(leaf)), state)


def _each_chain(function: Callable, mapped: tuple[int, ...]) -> Callable:
    """A compiled loop's plain twin of vmap over the leading axis of the `mapped` arguments; returns host arrays."""

    def looped(*args: Any) -> Any:
        results = []
        for c in range(len(jax.tree.leaves(args[0])[0])):
            one = (jax.tree.map(lambda leaf: leaf[c], a) if i in mapped else a for i, a in enumerate(args))  # noqa: B023
            results.append(jax.device_get(function(*one)))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *results)

    return looped


def _checkpoint(
    done: int, state: Any, theta: np.ndarray, stats: Mapping[str, np.ndarray], until: int
) -> dict[str, np.ndarray]:
    """Iterations done, the chains' states, and the draws after warm-up so far."""
    return {
        "done": np.array(done),
        "theta": theta[:, :until],
        **{f"stats/{name}": values[:, :until] for name, values in stats.items()},
        **to_arrays(state),
    }


def _restore(
    checkpoint: Mapping[str, np.ndarray],
    fresh: Any,
    theta: np.ndarray,
    stats: Mapping[str, np.ndarray],
    warmup: int,
) -> tuple[int, Any]:
    """Fill `theta` and `stats` with the checkpoint's draws; returns iterations done and the state."""
    state = from_arrays(checkpoint, fresh)
    done = int(checkpoint["done"])
    until = max(done - warmup, 0)
    if checkpoint["theta"].shape[1] != until or until > theta.shape[1]:
        raise CheckpointError("the checkpoint is not of this run (another warm-up or number of draws): start it afresh")
    theta[:, :until] = checkpoint["theta"]
    for name, values in stats.items():
        values[:, :until] = checkpoint[f"stats/{name}"]
    return done, state
