"""Nets and linear predictors over a flat vector, optimised."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.digits import format_number
from models.fitting.summarise import diverged, point_result
from models.inference import lbfgs
from models.inference.lock_step import Member, advance, finish, start
from models.inference.optimise import CURVES, Data, Rates, State, Trainer, trainer
from models.inference.state import from_arrays, to_arrays
from models.joint import noise, propriety
from models.joint.model import Model
from models.joint.priors import flat_scales
from models.runs.result import RunResult
from models.runs.run import Run, rows_of
from models.spec.inference import Cosine, Optimise, Plateau
from models.spec.predictors import Linear
from models.spec.priors import Flat

FULL_BATCH = 2**31 - 1
# Of a spread that the validation part decides: the sd that holds it, rounds at most, and a change that is none.
HELD, ROUNDS, SETTLED = 1e-3, 30, 1e-2


def fit_optimised(runs: Sequence[Run]) -> list[RunResult]:
    """Optimise every run of a batch that shares one program, from its checkpoint where it has one.

    Raises:
        CheckpointError: a checkpoint is not of its run.
    """
    inference = _optimise(runs[0])
    if inference.optimiser == "lbfgs":
        with jax.enable_x64(True):
            return [_fit_convex(run) for run in runs]
    states = train_to(runs, inference.epochs)
    return [_point(run, state) for run, state in zip(runs, states, strict=True)]


def train_to(runs: Sequence[Run], limit: int) -> list[State]:
    """Train runs that share one program on to epoch `limit` of their schedule, from the checkpoints that they have.

    A run hands back a checkpoint now and then.

    Raises:
        CheckpointError: a checkpoint is not of its run.
    """
    program, members = program_of(runs[0].model, _optimise(runs[0])), [_member(run) for run in runs]
    states = [start(program, member) for member in members]
    states = [
        state if run.resume is None else from_arrays(run.resume, state) for run, state in zip(runs, states, strict=True)
    ]

    def report(i: int, epoch: int, state: Callable[[], State]) -> None:
        runs[i].progress("epochs", epoch, limit)
        if epoch < limit and runs[i].checkpoint_due:
            runs[i].checkpoint(to_arrays(state()))

    with runs[0].clock.computing():
        return advance(program, members, states, limit, report)


def _optimise(run: Run) -> Optimise:
    inference = run.request.learner.inference
    assert isinstance(inference, Optimise)
    return inference


def _member(run: Run) -> Member:
    data = data_of(run, _penalty_scales(run, run.model))
    return Member(run.start(run.keys.init), run.keys.train, rates_of(_optimise(run)), data)


def _point(run: Run, state: State) -> RunResult:
    model, inference = run.model, _optimise(run)
    fit = finish(program_of(model, inference), rates_of(inference), state)
    epochs = int(fit.epochs)
    curves = curves_of(fit.curves, epochs)
    if bool(fit.diverged):
        remedy = "lower the learning rate"
        return diverged(run, model.n_parameters, f"the loss was no longer finite in epoch {epochs}: {remedy}", curves)
    theta, warnings = fit.theta, ()
    if (spread := noise.refuted_spread(model, theta, run.split.validation)) is not None:
        warnings = (noise.warning(model, float(model.extra(theta)[0]), spread),)
        theta = theta.at[model.n_weights].set(spread)
    return point_result(run, theta, curves, warnings, _no_estimate(run))


def curves_of(curves: Array | np.ndarray, epochs: int) -> dict[str, np.ndarray]:
    """The first `epochs` rows of a `State`'s curves by name, in float64, and their `step`."""
    named = {name: np.asarray(curves[:epochs, i], float) for i, name in enumerate(CURVES)}
    return {**named, "step": np.arange(1, epochs + 1)}


def _fit_convex(run: Run) -> RunResult:
    inference, model = _optimise(run), run.model
    x, y = rows_of(run.split.train, np.float64)
    scales = jnp.asarray(_penalty_scales(run, model), jnp.float64)
    with run.clock.computing():
        minimise = lbfgs.minimiser(model, max_steps=inference.epochs)
        centre = jnp.asarray(run.prior_centre)
        decay = jnp.asarray(inference.weight_decay)
        found = minimise(run.start(run.keys.init), x, y, scales, decay, centre)
        warnings = ()
        if noise.refuted_spread(model, found.theta, run.split.validation) is not None:
            fitted = float(model.extra(found.theta)[0])
            found = _with_unseen_spread(run, lambda held, at: minimise(at, x, y, scales.at[-1].set(HELD), decay, held))
            warnings = (noise.warning(model, fitted, float(model.extra(found.theta)[0])),)
        steps = int(found.steps)
    losses = np.asarray(found.losses[:steps])
    curves = {"step": np.arange(1, steps + 1), "train_loss": losses}
    curves |= {name: np.full(steps, np.nan) for name in CURVES if name != "train_loss"}
    if not bool(jnp.all(jnp.isfinite(found.theta))):
        return diverged(run, model.n_parameters, "the loss was no longer finite: state a narrower prior", curves)
    if not bool(found.converged):
        size = format_number(float(found.gradient_norm), 2)
        warnings += (f"L-BFGS stopped after {steps} steps with gradient norm {size}: not at the optimum",)
    return point_result(run, found.theta, curves, warnings, _no_estimate(run))


def _with_unseen_spread(run: Run, minimise: Callable[[Array, Array], lbfgs.Optimum]) -> lbfgs.Optimum:
    """The weights of largest log joint given log sigma, at the log sigma that the validation part has under them.

    `minimise(centre, start)` holds log sigma at the centre's. Begun at the target's own scale, each weight held back as
    the noise asks for, the two settle in a few rounds. The same for log alpha.
    """
    model = run.model
    held = jnp.asarray(run.prior_centre)
    found = minimise(held, held)
    for _ in range(ROUNDS):
        spread = noise.unseen_spread(model, found.theta, run.split.validation)
        settled = abs(spread - float(held[-1])) < SETTLED
        held = held.at[-1].set(spread)
        found = minimise(held, found.theta.at[-1].set(spread))
        if settled:
            break
    return found


def _no_estimate(run: Run) -> str | None:
    """Why a linear predictor's loss has no lowest point."""
    learner, train = run.request.learner, run.split.train
    assert learner.likelihood is not None
    if not isinstance(learner.predictor, Linear) or np.any(np.isfinite(run.prior_scales[: run.model.n_weights])):
        return None
    return propriety.no_estimate(train.x, run.split.columns, train.y, learner.likelihood.kind)


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
    """Training and validation rows in float32, with the prior's scales and its centre."""
    train_rows, validation = (rows_of(part, np.float32) for part in (run.split.train, run.split.validation))
    return Data(*train_rows, *validation, *(jnp.asarray(a, jnp.float32) for a in (scales, run.prior_centre)))


def _penalty_scales(run: Run, model: Model) -> np.ndarray:
    """The scales of the stated prior; flat under a weight decay, which enters the objective by itself."""
    if isinstance(run.request.learner.prior, Flat):
        return flat_scales(model)
    return run.prior_scales
