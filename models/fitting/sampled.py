"""Nets and linear predictors over a flat vector, sampled from optimised starts."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array

from models.fitting.optimised import data_of, program_of, rates_of
from models.fitting.summarise import Sampled, diverged, flat_draws, posterior_result
from models.inference import hmc, nuts
from models.inference.lock_step import Member, train
from models.inference.optimise import Data
from models.inference.sampling import Samples
from models.joint.model import Model, log_joint
from models.runs.result import RunResult
from models.runs.run import Run
from models.spec.inference import HMC, NUTS
from models.spec.predictors import Linear


def fit_sampled(run: Run) -> RunResult:
    """Sample the log joint by NUTS or HMC; each chain starts from an optimised member of its own.

    Raises:
        CheckpointError: the checkpoint is not of this run.
    """
    inference, model = _sampler(run), run.model
    try:
        samples = sample_chains(run, range(inference.chains))
    except StartError as error:
        return diverged(run, model.n_parameters, str(error), {})
    eta, extra = flat_draws(model, samples.theta)
    found = Sampled(
        family=model.family,
        eta=eta,
        extra=extra,
        parameters={"theta": samples.theta},
        stats=samples.stats,
        identified=isinstance(run.request.learner.predictor, Linear),
        n_parameters=model.n_parameters,
        theta=samples.theta,
        keep=inference.keep_draws,
    )
    return posterior_result(run, found)


class StartError(RuntimeError):
    """A chain has nowhere to start from."""


def sample_chains(run: Run, chains: Sequence[int]) -> Samples:
    """Sample some of a run's chains, with the bits that they have when all are sampled together.

    That is for nothing on a CPU, where chains run one by one. On an accelerator they advance in lock step, and a lane's
    bits may depend on how many there are: those of the other chains then run along idly, so nothing is gained there.

    Raises:
        StartError: an optimised start is not finite.
        CheckpointError: the checkpoint is not of these chains.
    """
    inference, model = _sampler(run), run.model
    if jax.default_backend() == "cpu":
        lanes, kept = list(chains), list(range(len(chains)))
    else:
        lanes, kept = [c if c in chains else chains[0] for c in range(inference.chains)], list(chains)
    data = data_of(run, run.prior_scales)
    if run.resume is None:
        starts = _optimised_starts(run, model, inference, data, lanes)
    else:
        starts = np.zeros((len(lanes), model.n_parameters), np.float32)
    if not np.all(np.isfinite(starts)):
        raise StartError("an optimised start was not finite: lower inference.init.learning_rate")
    settings = {
        "warmup": inference.warmup,
        "draws": inference.draws,
        "target_accept": inference.target_accept,
        "chunk": inference.chunk,
        "resume": run.resume,
        "on_chunk": _report_of(run),
    }
    arguments = (log_joint_of(model), (data.x, data.y, data.scales, data.centre), starts)
    keys = jax.random.split(run.keys.sample, inference.chains)[np.array(lanes)]
    with run.clock.computing():
        if isinstance(inference, NUTS):
            samples = nuts.sample(*arguments, keys, max_tree_depth=inference.max_tree_depth, **settings)
        else:
            samples = hmc.sample(*arguments, keys, num_steps=inference.steps, **settings)
    return samples if kept == list(range(len(lanes))) else samples.of(kept)


def _sampler(run: Run) -> NUTS | HMC:
    inference = run.request.learner.inference
    assert isinstance(inference, NUTS | HMC)
    return inference


def _report_of(run: Run) -> Callable[[int, int, Mapping[str, float], Mapping[str, np.ndarray]], None]:
    def report(done: int, total: int, facts: Mapping[str, float], checkpoint: Mapping[str, np.ndarray]) -> None:
        run.progress("draws", done, total, facts)
        if done < total:
            run.checkpoint(checkpoint)

    return report


def _optimised_starts(run: Run, model: Model, inference: NUTS | HMC, data: Data, chains: Sequence[int]) -> np.ndarray:
    """(chain, p) maxima of the log joint, one from each chain's own random start."""
    rates = rates_of(inference.init)
    starts, shuffles = (jax.random.split(key, inference.chains) for key in (run.keys.init, run.keys.train))
    members = [Member(run.start(starts[c]), shuffles[c], rates, data) for c in chains]
    done = [0] * len(chains)

    def report(i: int, epoch: int) -> None:
        done[i] = epoch
        run.progress("epochs", sum(done), len(chains) * inference.init.epochs)

    with run.clock.computing():
        fits = train(program_of(model, inference.init), members, inference.init.epochs, report)
        return np.stack([np.asarray(fit.theta) for fit in fits])


@functools.lru_cache(maxsize=64)
def log_joint_of(model: Model) -> Callable[[Array, tuple[Array, Array, Array, Array]], Array]:
    """`(theta, (x, y, scales, centre)) -> log joint`: one function for each model, so that programs are found again."""

    def log_density(theta: Array, data: tuple[Array, Array, Array, Array]) -> Array:
        x, y, scales, centre = data
        return log_joint(model, theta, scales, x, y, centre)

    return log_density
