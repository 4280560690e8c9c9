"""From parameters to a run's result: predictions, scores, diagnostics and geometry, the same for every kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models import cautions
from models.dataset import Part
from models.diagnostics import diagnose
from models.draws import PosteriorDraws, to_datatree
from models.evaluate import PARTS, evaluate, predict_parts
from models.geometry.landscape import Landscape
from models.geometry.measures import Accuracy, Point, measure
from models.likelihoods import Family
from models.posterior import Model
from models.predictive import Predictive, eta_of_draws
from models.result import Measure, PartName, RunResult, Seconds
from models.run import Run

# Posterior draws whose curvature is measured, evenly spaced over all chains.
MEASURED_DRAWS = 12
CURVATURE = ("hessian_top_eigenvalue", "hessian_trace")
ACCURACY = Accuracy(relative_error=0.05)


class Sampled(NamedTuple):
    """What a sampler found, ready to be judged.

    Attributes:
        eta: maps a part to (s, n, k) natural parameters, s draws chain after chain.
        extra: (s, m) the likelihood's own parameters.
        parameters: by name, (chain, draw, ...), for diagnostics.
        stats: (chain, draw) sampler statistics in ArviZ's names.
        identified: whether the parameters have a meaning of their own.
        labels: coordinates of the parameters' dimensions, as in `PosteriorDraws`.
        model, theta: the flat model and its (chain, draw, p) draws; None where there is no flat vector.
        keep: whether the draws of parameters are stored.
    """

    family: Family
    eta: Callable[[Part], Array | np.ndarray]
    extra: Array
    parameters: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]
    identified: bool
    n_parameters: int
    model: Model | None = None
    theta: np.ndarray | None = None
    keep: bool = True
    labels: Mapping[str, Mapping[str, np.ndarray]] = {}


def point_result(
    run: Run,
    model: Model,
    theta: Array,
    scales: np.ndarray,
    curves: Mapping[str, np.ndarray],
    warnings: tuple[str, ...] = (),
) -> RunResult:
    """Judge a point estimate: its predictions, its curvature, its effective dimension."""
    thetas = theta[None]
    parts = predict_parts(
        model.family, _eta_of(model, thetas), thetas[:, model.n_weights :], run.split, run.keys.predict
    )
    predictives: dict[PartName, Predictive] = {name: parts[name].predictive for name in PARTS}
    if reason := _not_finite(predictives):
        return diverged(run, model.n_parameters, reason, curves)
    names = CURVATURE if np.all(np.isinf(scales)) else (*CURVATURE, "effective_dimension")
    geometry = _measure(run, model, theta[None], [-1], names, scales)
    return _result(
        run,
        predictives,
        n_parameters=model.n_parameters,
        geometry=geometry,
        curves=curves,
        parameters={"theta": np.asarray(theta)},
        warnings=warnings + _unconverged(geometry),
    )


def posterior_result(run: Run, found: Sampled, warnings: tuple[str, ...] = ()) -> RunResult:
    """Judge a posterior: its mixture predictions, whether it can be believed, its curvature over draws, its p_loo."""
    chains, n_draws = found.stats["diverging"].shape
    parts = predict_parts(found.family, found.eta, found.extra, run.split, run.keys.predict)
    predictives: dict[PartName, Predictive] = {name: parts[name].predictive for name in PARTS}
    if reason := _not_finite(predictives):
        return diverged(run, found.n_parameters, reason, {})

    def by_chain(values: np.ndarray) -> np.ndarray:
        return values.reshape(chains, n_draws, *values.shape[1:])

    draws = PosteriorDraws(
        parameters=found.parameters,
        stats=found.stats,
        log_likelihood=by_chain(parts["train"].log_likelihood),
        predictions=by_chain(parts["test"].quantity),
        identified=found.identified,
        labels=found.labels,
    )
    test_rows, train_rows = run.split.test.rows, run.split.train.rows
    diagnosis = diagnose(draws, test_rows=test_rows)
    geometry: tuple[Measure, ...] = ()
    if "p_loo" in diagnosis.summary:
        s = diagnosis.summary
        geometry += (Measure(-1, "effective_parameters", s["p_loo"], s["p_loo_se"], True, 0, {"method": "p_loo"}),)
    if found.model is not None and found.theta is not None:
        total = chains * n_draws
        chosen = np.unique(np.linspace(0, total - 1, min(total, MEASURED_DRAWS)).astype(int))
        thetas = found.theta.reshape(total, -1)[chosen]
        geometry += _measure(run, found.model, thetas, chosen.tolist(), CURVATURE, None)
    return _result(
        run,
        predictives,
        n_parameters=found.n_parameters,
        geometry=geometry,
        diagnostics=diagnosis.rows,
        posterior=to_datatree(draws, train_rows=train_rows, test_rows=test_rows, keep_parameters=found.keep),
        summary=diagnosis.summary,
        warnings=(*warnings, *cautions.warnings(diagnosis.summary), *_unconverged(geometry)),
    )


def black_box_result(run: Run, predict: Callable[[Part], Predictive], n_parameters: int) -> RunResult:
    """Judge a black box: its predictions are all there is."""
    predictives: dict[PartName, Predictive] = {name: predict(getattr(run.split, name)) for name in PARTS}
    if reason := _not_finite(predictives):
        return diverged(run, n_parameters, reason, {})
    return _result(run, predictives, n_parameters=n_parameters)


def diverged(run: Run, n_parameters: int, reason: str, curves: Mapping[str, np.ndarray]) -> RunResult:
    """The row of a run that ended in numbers that are not finite."""
    return RunResult(
        run_key=run.request.run_key,
        status="diverged",
        error=reason,
        n_parameters=n_parameters,
        seconds=_seconds(run),
        device=_device(),
        curves=curves,
    )


def flat_draws(model: Model, theta: np.ndarray) -> tuple[Callable[[Part], Array], Array]:
    """`eta` and `extra` of a `Sampled` from (chain, draw, p) draws of the flat vector."""
    thetas = jnp.asarray(theta.reshape(-1, theta.shape[-1]))
    return _eta_of(model, thetas), thetas[:, model.n_weights :]


def _eta_of(model: Model, thetas: Array) -> Callable[[Part], Array]:
    return lambda part: eta_of_draws(model)(thetas, jnp.asarray(part.x, thetas.dtype))


def _measure(
    run: Run,
    model: Model,
    thetas: Array | np.ndarray,
    draws: Sequence[int],
    names: Sequence[str],
    scales: np.ndarray | None,
) -> tuple[Measure, ...]:
    """Measure the training loss at each of (t, p) parameter vectors."""
    part = run.split.train
    thetas = jnp.asarray(thetas)
    real = np.issubdtype(part.y.dtype, np.floating)
    rows = Landscape(model, jnp.asarray(part.x, thetas.dtype), jnp.asarray(part.y, thetas.dtype if real else jnp.int32))
    prior = np.full(model.n_parameters, np.inf) if scales is None else scales
    keys = jax.random.split(run.keys.measure, len(draws))
    points = [Point(rows, theta, prior, key) for theta, key in zip(thetas, keys, strict=True)]
    found: list[Measure] = []
    with run.clock.computing():
        for i, (draw, point) in enumerate(zip(draws, points, strict=True)):
            (measured,) = measure([point], names, ACCURACY)
            for name, m in measured.items():
                is_dimension = name == "effective_dimension"
                found.append(
                    Measure(
                        draw,
                        "effective_parameters" if is_dimension else name,
                        m.value,
                        m.standard_error,
                        m.converged,
                        m.n_products,
                        {"method": "laplace"} if is_dimension else {"part": "train", "reduction": "mean"},
                    )
                )
            run.progress("measures", i + 1, len(draws))
    return tuple(found)


def _result(run: Run, predictives: Mapping[PartName, Predictive], **fields: object) -> RunResult:
    evaluation = evaluate(predictives, run.split)
    return RunResult(
        run_key=run.request.run_key,
        status="finished",
        error=None,
        seconds=_seconds(run),
        device=_device(),
        metrics=evaluation.metrics,
        pointwise=evaluation.pointwise,
        predictions=evaluation.predictions,
        **fields,  # type: ignore[arg-type]
    )


def _not_finite(predictives: Mapping[PartName, Predictive]) -> str | None:
    """Why a run's predictions are no predictions; a density of zero (-inf) is one, if a bad one."""
    for name, predictive in predictives.items():
        if np.any(np.isnan(predictive.log_density)):
            return f"predictions on the {name} part are not numbers"
    return None


def _unconverged(geometry: Sequence[Measure]) -> tuple[str, ...]:
    """One warning for each measure that did not converge somewhere."""
    names = dict.fromkeys(m.measure for m in geometry if not m.converged)
    counts = {name: sum(m.measure == name and not m.converged for m in geometry) for name in names}
    return tuple(
        f"{name.replace('_', ' ')} did not converge"
        + (f" at {n} of the draws measured" if geometry[-1].draw >= 0 else "")
        for name, n in counts.items()
    )


def _seconds(run: Run) -> Seconds:
    return Seconds(run.clock.wall, run.clock.compile, run.clock.device)


def _device() -> str:
    return jax.devices()[0].device_kind
