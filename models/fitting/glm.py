"""GLMs by formula: sampled by PyMC on the model that Bambi builds."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from models.fitting.summarise import Sampled, diverged, flat_draws, posterior_result
from models.glm.fit import fit_formula, sample_chains
from models.glm.sampling import SamplingError
from models.joint.build import family_of
from models.runs.result import RunResult
from models.runs.run import Arrays, Run


def fit_glm_run(run: Run) -> RunResult:
    """Sample a GLM's posterior, in float64 throughout; a checkpoint follows each chain."""
    learner, split = run.request.learner, run.split
    assert learner.likelihood is not None
    family = family_of(learner.likelihood, split.n_classes)
    with jax.enable_x64(True):
        try:
            with run.clock.computing():
                compiled = run.clock.compile
                found = fit_formula(
                    learner,
                    split,
                    run.library_seed,
                    functools.partial(run.progress, "draws"),
                    resume=run.resume,
                    on_chain=run.checkpoint,
                )
                compiled = run.clock.compile - compiled
        except SamplingError as error:
            return diverged(run, 0, str(error), {})
        # PyMC's figure holds what its model took JAX, and that is counted already.
        run.clock.add_compile(max(0.0, found.compile_seconds - compiled))
        if found.theta is None:
            eta, extra = found.eta, jnp.asarray(found.extra)
        else:
            eta, extra = flat_draws(run.model, np.asarray(found.theta, np.float64))
        draws = found.posterior["posterior"].data_vars
        sampled = Sampled(
            family=family,
            eta=eta,
            extra=extra,
            parameters={str(name): values.to_numpy() for name, values in draws.items()},
            stats={str(name): values.to_numpy() for name, values in found.posterior["sample_stats"].data_vars.items()},
            identified=True,
            n_parameters=found.n_parameters,
            theta=found.theta,
            labels={str(name): {str(dim): v[dim].to_numpy() for dim in v.dims[2:]} for name, v in draws.items()},
        )
        return posterior_result(run, sampled, found.warnings, found.improper)


def sample_glm_chains(run: Run, chains: Sequence[int]) -> Arrays:
    """Sample some of a GLM's chains: the checkpoint that `fit_glm_run` resumes from, with them alone.

    Raises:
        SamplingError: PyMC could not start or go on.
    """
    learner, progress = run.request.learner, functools.partial(run.progress, "draws")
    how = {"resume": run.resume, "on_chain": run.checkpoint}
    with run.clock.computing():
        return sample_chains(learner, run.split, run.library_seed, progress, chains, **how)
