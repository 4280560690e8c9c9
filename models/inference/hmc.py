"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps, and NumPyro's kernels on a flat vector.

Neal, "MCMC using Hamiltonian dynamics" (2011). The step size is adapted by dual averaging and a diagonal mass matrix in
Stan's windows during warm-up, both by NumPyro.
"""

import functools
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.infer.hmc import HMCState
from numpyro.infer.hmc import hmc as numpyro_hmc

from models.inference.sampling import Kernel, LogJoint, Samples
from models.inference.sampling import sample as run_chains


@functools.lru_cache(maxsize=64)
def hamiltonian_kernel(
    log_joint: LogJoint,
    algorithm: Literal["NUTS", "HMC"],
    *,
    warmup: int,
    target_accept: float,
    max_tree_depth: int = 10,
    num_steps: int | None = None,
) -> Kernel:
    """Wrap NumPyro's kernel for the potential -log_joint(theta, data); NUTS reads the depth, HMC the steps."""
    # NumPyro's pair shares settings that `start` leaves behind for `advance`: `init` has to be traced before `step`.
    start, advance = numpyro_hmc(potential_fn_gen=lambda data: lambda theta: -log_joint(theta, data), algo=algorithm)

    def init(theta: Array, data: Any, key: Array) -> HMCState:
        state = start(
            theta,
            warmup,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            num_steps=num_steps,
            trajectory_length=None,  # pyright: ignore[reportArgumentType]
            model_args=(data,),
            rng_key=key,
        )
        return _with_keys(state, jax.random.key_data)

    def step(state: HMCState, data: Any) -> HMCState:
        state = advance(_with_keys(state, jax.random.wrap_key_data), (data,))
        return _with_keys(state, jax.random.key_data)

    def record(state: HMCState) -> tuple[Array, dict[str, Array]]:
        return state.z, {
            "energy": state.energy,
            "diverging": state.diverging,
            "acceptance_rate": state.accept_prob,
            "n_steps": state.num_steps,
            "step_size": state.adapt_state.step_size,
            "lp": -state.potential_energy,
        }

    return Kernel(init, step, record)


def _with_keys(state: HMCState, change: Any) -> HMCState:
    adapt_state = state.adapt_state._replace(rng_key=change(state.adapt_state.rng_key))
    return state._replace(rng_key=change(state.rng_key), adapt_state=adapt_state)


def sample(
    log_joint: LogJoint,
    data: Any,
    starts: Float[Array, "chain p"] | np.ndarray,
    keys: Key[Array, " chain"],
    *,
    warmup: int,
    draws: int,
    num_steps: int,
    target_accept: float = 0.8,
    chunk: int = 25,
    **how: Any,
) -> Samples:
    """Sample exp(log_joint(theta, data)) with `num_steps` leapfrog steps per draw; `how` as for `sampling.sample`.

    The compiled program is found again for the same `log_joint` object, settings and shapes: pass the same function,
    not a new closure each time.
    """
    kernel = hamiltonian_kernel(log_joint, "HMC", warmup=warmup, target_accept=target_accept, num_steps=num_steps)
    return run_chains(kernel, data, starts, keys, warmup=warmup, draws=draws, chunk=chunk, **how)
