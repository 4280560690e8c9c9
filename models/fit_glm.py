"""GLMs by formula: sampled by PyMC on the model that Bambi builds."""

import jax
import numpy as np

from models.assemble import Sampled, diverged, flat_draws, posterior_result
from models.build import family_of, model_of
from models.glm.fit import fit_formula
from models.glm.sampling import SamplingError
from models.result import RunResult
from models.run import Run


def fit_glm_run(run: Run) -> RunResult:
    """Sample a GLM's posterior, in float64 throughout."""
    learner, split = run.request.learner, run.split
    assert learner.likelihood is not None
    with jax.enable_x64(True):
        try:
            with run.clock.computing():
                found = fit_formula(
                    learner, split, run.library_seed, lambda done, total, facts: run.progress("draws", done, total, facts)
                )
        except SamplingError as error:
            return diverged(run, 0, str(error), {})
        run.clock.add_compile(found.compile_seconds)
        model = None
        eta, extra = found.eta, found.extra
        if found.theta is not None:
            model = model_of(learner.predictor, learner.likelihood, split.n_classes, len(split.columns), split.shape)
            eta, extra = flat_draws(model, np.asarray(found.theta, np.float64))
        sampled = Sampled(
            family=family_of(learner.likelihood, split.n_classes),
            eta=eta,
            extra=extra,
            parameters={str(name): values.to_numpy() for name, values in found.posterior["posterior"].data_vars.items()},
            stats={str(name): values.to_numpy() for name, values in found.posterior["sample_stats"].data_vars.items()},
            identified=True,
            n_parameters=found.n_parameters,
            model=model,
            theta=found.theta,
        )
        return posterior_result(run, sampled, found.warnings)
