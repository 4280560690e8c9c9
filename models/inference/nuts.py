"""The no-U-turn sampler (Hoffman and Gelman 2014; Betancourt 2017, appendix A) by NumPyro, diagonal mass matrix."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float, Key

from models.inference.hmc import hamiltonian_kernel
from models.inference.sampling import LogJoint, Samples
from models.inference.sampling import sample as run_chains


def sample(
    log_joint: LogJoint,
    data: Any,
    starts: Float[Array, "chain p"] | np.ndarray,
    keys: Key[Array, " chain"],
    *,
    warmup: int,
    draws: int,
    max_tree_depth: int = 10,
    target_accept: float = 0.8,
    chunk: int = 25,
    **how: Any,
) -> Samples:
    """Sample exp(log_joint(theta, data)) by trees of up to 2^max_tree_depth - 1 steps; `how` as for `sampling.sample`.

    The compiled program is found again for the same `log_joint` object, settings and shapes: pass the same function,
    not a new closure each time.
    """
    kernel = hamiltonian_kernel(
        log_joint, "NUTS", warmup=warmup, target_accept=target_accept, max_tree_depth=max_tree_depth
    )
    samples = run_chains(kernel, data, starts, keys, warmup=warmup, draws=draws, chunk=chunk, **how)
    return samples._replace(stats=samples.stats | tree_stats(samples.stats["n_steps"], max_tree_depth))


def tree_stats(n_steps: np.ndarray, max_tree_depth: int) -> dict[str, np.ndarray]:
    """Depth of each tree, and whether it grew as large as it may.

    A tree of n steps has depth floor(log2 n) + 1. As in Stan, a tree that made its U-turn with the very last doubling
    counts as having reached the maximum: the number of steps does not tell the two apart.
    """
    return {
        "tree_depth": np.floor(np.log2(n_steps)).astype(np.int64) + 1,
        "reached_max_treedepth": n_steps >= 2**max_tree_depth - 1,
    }
