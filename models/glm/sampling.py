"""PyMC's NUTS on a model that Bambi built, its log density compiled by JAX.

Compiling decides the cost of a GLM. For the softmax regression of scikit-learn's digits PyTensor's default (Numba)
takes tens of seconds the first time, its C code as many and a compiler; XLA takes about one, needs neither a compiler
nor a warm cache, and evaluates as fast.
"""

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import bambi as bmb
import jax
import numpy as np
import pymc as pm
import xarray as xr
from pytensor.compile.mode import Mode
from pytensor.configdefaults import config
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.jax.linker import JAXLinker

from models.glm.watch import CLOCKS, Arrays, InterruptedChainError, Progress, Watch
from models.spec.inference import PyMC

# PyTensor switches JAX to double precision for the whole process when it first compiles for it. We ask for it where we
# need it, and nets stay in single precision, so: let that happen now, and undo it.
_x64 = jax.config.jax_enable_x64
importlib.import_module("pytensor.link.jax.dispatch")
jax.config.update("jax_enable_x64", _x64)


class SamplingError(RuntimeError):
    """PyMC could not start or go on: a numerical failure, told in its words."""


class Sampled(NamedTuple):
    """What PyMC leaves, by chain and draw, and the seconds spent before the first draw and after.

    Attributes:
        posterior: draws under Bambi's names. `stats`: sampler statistics in ArviZ's names, without clock readings.
        checkpoint: the arrays to go on from: there is nothing left to do with these chains.
    """

    posterior: xr.Dataset
    stats: xr.Dataset
    checkpoint: Arrays
    compile_seconds: float
    sample_seconds: float


def sample(
    model: bmb.Model,
    inference: PyMC,
    seed: int,
    progress: Progress,
    *,
    chains: Sequence[int] | None = None,
    resume: Arrays | None = None,
    on_chain: Callable[[Arrays], None] | None = None,
) -> Sampled:
    """Draw from a built model's posterior, chains one after the other; equal seeds give equal bits.

    Chains start at the prior's centre plus uniform jitter on [-1, 1]; the mass matrix is diagonal and adapted. A
    chain's draws depend on the model, the settings and the seed alone: not on which other chains are sampled here.
    `progress(done, total, facts)` counts iterations of these chains, warm-up included, and the divergences after it.

    Args:
        model: as Bambi built it.
        inference: the settings, with the number of chains of the whole run.
        seed: of the whole run.
        progress: told now and then.
        chains: those to sample, in rising order; None is all.
        resume: a checkpoint, of these chains or of others too; a chain that is not in it, or not as it should be, is
            sampled.
        on_chain: told of a checkpoint of all chains so far, after each one that was sampled.

    Raises:
        SamplingError: no finite starting point, or a mass matrix that cannot be adapted.
        KeyboardInterrupt: also where PyMC would end the chain and go on with the next.
    """
    watch = Watch(inference, range(inference.chains) if chains is None else chains, progress, resume or {}, on_chain)
    start = time.perf_counter()
    try:
        # A trajectory that diverges may overflow: PyMC notices, and counts it.
        overflow = np.errstate(over="ignore", invalid="ignore")
        with jax.enable_x64(True), _quiet(), overflow, config.change_flags(mode="FAST_COMPILE"):
            draws = model.fit(
                draws=inference.draws,
                tune=inference.warmup,
                chains=inference.chains,
                cores=1,
                random_seed=seed,
                init="jitter+adapt_diag",
                nuts={"target_accept": inference.target_accept, "max_treedepth": inference.max_tree_depth},
                compile_kwargs={"mode": XLA},
                callback=watch,
                progressbar=False,
                quiet=True,
                compute_convergence_checks=False,
            )
    except InterruptedChainError:
        raise KeyboardInterrupt from None
    except pm.exceptions.SamplingError as error:
        raise SamplingError(f"PyMC: {error}") from error
    except ValueError as error:
        if "Mass matrix contains" not in str(error):
            raise
        raise SamplingError(f"PyMC: {error}") from error
    if not watch.came_to_the_end():
        raise KeyboardInterrupt
    end = time.perf_counter()
    posterior, stats = (draws[group].to_dataset().drop_attrs() for group in ("posterior", "sample_stats"))
    stats = stats.drop_vars(CLOCKS, errors="ignore")
    return Sampled(posterior, stats, watch.checkpoint, watch.first_draw - start, end - watch.first_draw)


class _NumPyOut(JAXLinker):
    """JAX's linker with NumPy outputs: PyMC's own arithmetic on JAX scalars costs five times the gradient."""

    def jit_compile(self, fn: Callable) -> Callable:
        compiled = super().jit_compile(fn)
        return lambda *inputs: tuple(map(np.asarray, compiled(*inputs)))


XLA = Mode(_NumPyOut(), RewriteDatabaseQuery(include=["fast_run", "jax"], exclude=["fusion"]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Bambi says which level of a Bernoulli target is a success; ours is always 1."""
    log = logging.getLogger("bambi")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
