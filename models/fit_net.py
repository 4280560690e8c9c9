"""Nets and linear predictors over a flat vector: optimised, or sampled from optimised starts."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.assemble import Sampled, diverged, flat_draws, point_result, posterior_result
from models.inference import hmc, lbfgs, nuts
from models.inference.optimise import CURVES, Data, Fit, Rates, Trainer, trainer
from models.posterior import Model, log_joint
from models.priors import flat_scales
from models.result import RunResult
from models.run import Run, rows_of
from models.spec import HMC, NUTS, Cosine, Flat, Linear, Optimise, Plateau
from models.train import Member, train

FULL_BATCH = 2**31 - 1


def fit_optimised(runs: Sequence[Run]) -> list[RunResult]:
    """Optimise every run of a batch that shares one program."""
    inference = runs[0].request.learner.inference
    assert isinstance(inference, Optimise)
    if inference.optimiser == "lbfgs":
        with jax.enable_x64(True):
            return [_fit_convex(run) for run in runs]
    model = runs[0].model
    members = []
    for run in runs:
        assert isinstance(run.request.learner.inference, Optimise)
        data = data_of(run, _penalty_scales(run, model))
        rates = rates_of(run.request.learner.inference)
        members.append(Member(model.init(run.keys.init), run.keys.train, rates, data))
    with runs[0].clock.computing():
        fits = train(
            program_of(model, inference),
            members,
            inference.epochs,
            lambda i, epoch: runs[i].progress("epochs", epoch, inference.epochs),
        )
    return [_point(run, model, fit) for run, fit in zip(runs, fits, strict=True)]


def _point(run: Run, model: Model, fit: Fit) -> RunResult:
    epochs = int(fit.epochs)
    curves = {name: np.asarray(fit.curves[:epochs, i], float) for i, name in enumerate(CURVES)}
    curves["step"] = np.arange(1, epochs + 1)
    if bool(fit.diverged):
        remedy = "lower the learning rate"
        return diverged(run, model.n_parameters, f"the loss was no longer finite in epoch {epochs}: {remedy}", curves)
    return point_result(run, fit.theta, curves)


def _fit_convex(run: Run) -> RunResult:
    inference = run.request.learner.inference
    assert isinstance(inference, Optimise)
    model = run.model
    x, y = rows_of(run.split.train, np.float64)
    scales = jnp.asarray(_penalty_scales(run, model), jnp.float64)
    with run.clock.computing():
        minimise = lbfgs.minimiser(model, max_steps=inference.epochs)
        found = minimise(model.init(run.keys.init), x, y, scales, jnp.asarray(inference.weight_decay))
        steps = int(found.steps)
    losses = np.asarray(found.losses[:steps])
    curves = {"step": np.arange(1, steps + 1), "train_loss": losses}
    curves |= {name: np.full(steps, np.nan) for name in CURVES if name != "train_loss"}
    if not bool(jnp.all(jnp.isfinite(found.theta))):
        return diverged(run, model.n_parameters, "the loss was no longer finite: state a narrower prior", curves)
    warnings = ()
    if not bool(found.converged):
        size = float(found.gradient_norm)
        warnings = (f"L-BFGS stopped after {steps} steps with gradient norm {size:.1e}: not at the optimum",)
    return point_result(run, found.theta, curves, warnings)


def fit_sampled(run: Run, checkpoint: Mapping[str, np.ndarray] | None) -> RunResult:
    """Sample the log joint by NUTS or HMC; each chain starts from an optimised member of its own."""
    inference = run.request.learner.inference
    assert isinstance(inference, NUTS | HMC)
    model = run.model
    scales = run.prior_scales
    data = data_of(run, scales)
    if checkpoint is None:
        starts = _optimised_starts(run, model, inference, data)
    else:
        starts = np.zeros((inference.chains, model.n_parameters), np.float32)
    if not np.all(np.isfinite(starts)):
        return diverged(
            run, model.n_parameters, "an optimised start was not finite: lower inference.init.learning_rate", {}
        )
    settings = {
        "warmup": inference.warmup,
        "draws": inference.draws,
        "target_accept": inference.target_accept,
        "chunk": inference.chunk,
        "resume": checkpoint,
        "on_chunk": _report_of(run),
    }
    arguments = (log_joint_of(model), (data.x, data.y, data.scales), starts)
    keys = jax.random.split(run.keys.sample, inference.chains)
    with run.clock.computing():
        if isinstance(inference, NUTS):
            samples = nuts.sample(*arguments, keys, max_tree_depth=inference.max_tree_depth, **settings)
        else:
            samples = hmc.sample(*arguments, keys, num_steps=inference.steps, **settings)
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


def _report_of(run: Run) -> Callable[[int, int, Mapping[str, float], Mapping[str, np.ndarray]], None]:
    def report(done: int, total: int, facts: Mapping[str, float], checkpoint: Mapping[str, np.ndarray]) -> None:
        run.progress("draws", done, total, facts)
        if done < total:
            run.checkpoint(checkpoint)

    return report


def _optimised_starts(run: Run, model: Model, inference: NUTS | HMC, data: Data) -> np.ndarray:
    """(chain, p) maxima of the log joint, one from each chain's own random start."""
    rates = rates_of(inference.init)
    starts, shuffles = (jax.random.split(key, inference.chains) for key in (run.keys.init, run.keys.train))
    members = [Member(model.init(a), b, rates, data) for a, b in zip(starts, shuffles, strict=True)]
    done = [0] * inference.chains

    def report(i: int, epoch: int) -> None:
        done[i] = epoch
        run.progress("epochs", sum(done), inference.chains * inference.init.epochs)

    with run.clock.computing():
        fits = train(program_of(model, inference.init), members, inference.init.epochs, report)
        return np.stack([np.asarray(fit.theta) for fit in fits])


@functools.lru_cache(maxsize=64)
def log_joint_of(model: Model) -> Callable[[Array, tuple[Array, Array, Array]], Array]:
    """`(theta, (x, y, scales)) -> log joint`: one function for each model, so that programs are found again."""

    def log_density(theta: Array, data: tuple[Array, Array, Array]) -> Array:
        x, y, scales = data
        return log_joint(model, theta, scales, x, y)

    return log_density


def program_of(model: Model, inference: Optimise) -> Trainer:
    """The compiled training program that an `Optimise` asks for."""
    assert inference.optimiser != "lbfgs"
    return trainer(
        model,
        optimiser=inference.optimiser,
        schedule=inference.schedule.kind,
        epochs=inference.epochs,
        batch_size=inference.batch_size or FULL_BATCH,
        dropout=inference.dropout > 0,
    )


def rates_of(inference: Optimise) -> Rates:
    """The scalars of an `Optimise`."""
    rates = Rates(
        learning_rate=inference.learning_rate,
        momentum=inference.momentum,
        weight_decay=inference.weight_decay,
        dropout=inference.dropout,
        clip=inference.clip or np.inf,
        patience=inference.patience or 0,
    )
    match inference.schedule:
        case Cosine(warmup=warmup):
            return rates._replace(warmup=warmup)
        case Plateau(factor=factor, patience=patience):
            return rates._replace(factor=factor, plateau=patience)
        case _:
            return rates


def data_of(run: Run, scales: np.ndarray) -> Data:
    """Training and validation rows in float32, with the prior's scales."""
    train_rows, validation = (rows_of(part, np.float32) for part in (run.split.train, run.split.validation))
    return Data(*train_rows, *validation, jnp.asarray(scales, jnp.float32))


def _penalty_scales(run: Run, model: Model) -> np.ndarray:
    """The scales of the stated prior; flat under a weight decay, which enters the objective by itself."""
    if isinstance(run.request.learner.prior, Flat):
        return flat_scales(model)
    return run.prior_scales
