"""From parameters to a run's result: predictions, scores, diagnostics and geometry, the same for every kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.data.dataset import Part, Split
from models.diagnostics import warnings as cautions
from models.diagnostics.diagnose import diagnose
from models.diagnostics.draws import PosteriorDraws, to_datatree
from models.joint import noise, propriety
from models.joint.likelihoods import Family
from models.joint.model import Model
from models.measuring.at_runs import points_of, spaced, take
from models.measuring.catalogue import Ask, ask
from models.prediction.evaluate import PARTS, evaluate, predict_parts
from models.prediction.predictive import Predictive, eta_of_draws
from models.runs.result import Measure, Metric, PartName, RunResult
from models.runs.run import Run

# What is measured with every fit; anything else can be measured later, at what was stored.
CURVATURE = (ask("hessian_top_eigenvalue"), ask("hessian_trace"))
DIMENSION = ask("effective_dimension")

EXACT = 1e-6
"""RMSE in standard deviations of the target, below which it is said to be predicted exactly."""


class Sampled(NamedTuple):
    """What a sampler found, ready to be judged.

    Attributes:
        eta: maps a part to (s, n, k) natural parameters, s draws chain after chain.
        extra: (s, m) the likelihood's own parameters.
        parameters: by name, (chain, draw, ...), for diagnostics.
        stats: (chain, draw) sampler statistics in ArviZ's names.
        identified: whether the parameters have a meaning of their own.
        labels: coordinates of the parameters' dimensions, as in `PosteriorDraws`.
        theta: (chain, draw, p) draws of the flat vector; None where there is none.
        keep: whether the draws of parameters are stored.
    """

    family: Family
    eta: Callable[[Part], Array | np.ndarray]
    extra: Array
    parameters: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]
    identified: bool
    n_parameters: int
    theta: np.ndarray | None = None
    keep: bool = True
    labels: Mapping[str, Mapping[str, np.ndarray]] = {}


def point_result(
    run: Run,
    theta: Array,
    curves: Mapping[str, np.ndarray],
    warnings: tuple[str, ...] = (),
    improper: str | None = None,
) -> RunResult:
    """Judge a point estimate: its predictions, its curvature, its effective dimension.

    `improper` says why there is no estimate without a proper prior, where there is none.
    """
    model, thetas = run.model, theta[None]
    parts = predict_parts(
        model.family, _eta_of(model, thetas), thetas[:, model.n_weights :], run.split, run.keys.predict
    )
    predictives: dict[PartName, Predictive] = {name: parts[name].predictive for name in PARTS}
    if reason := _not_finite(predictives):
        return diverged(run, model.n_parameters, reason, curves)
    asks = CURVATURE if np.all(np.isinf(run.prior_scales[: model.n_weights])) else (*CURVATURE, DIMENSION)
    geometry = _measure(run, thetas, [-1], asks)
    return _result(
        run,
        predictives,
        n_parameters=model.n_parameters,
        geometry=geometry,
        curves=curves,
        parameters={"theta": np.asarray(theta)},
        improper=improper,
        warnings=(*_improper(improper), *warnings, *_unconverged(geometry)),
    )


def posterior_result(
    run: Run, found: Sampled, warnings: tuple[str, ...] = (), improper: str | None = None
) -> RunResult:
    """Judge a posterior: its mixture predictions, whether it can be believed, its curvature over draws, its p_loo.

    One that is improper is not judged by its mixing, which says nothing then.
    """
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
        # A function of the predictions alone, hence unmoved by every symmetry of the parameters.
        geometry += (Measure(-1, "p_loo", "", s["p_loo"], s["p_loo_se"], "converged", None, 0, "rescaling", {}),)
    if found.theta is not None:
        chosen = spaced(chains * n_draws)
        geometry += _measure(run, found.theta.reshape(chains * n_draws, -1)[chosen], chosen, CURVATURE)
    return _result(
        run,
        predictives,
        n_parameters=found.n_parameters,
        geometry=geometry,
        diagnostics=diagnosis.rows,
        posterior=to_datatree(draws, train_rows=train_rows, test_rows=test_rows, keep_parameters=found.keep),
        summary=diagnosis.summary,
        improper=improper,
        warnings=(*(_improper(improper) or cautions.warnings(diagnosis.summary)), *warnings, *_unconverged(geometry)),
    )


def black_box_result(
    run: Run, predict: Callable[[Part], Predictive], n_parameters: int, warnings: tuple[str, ...] = ()
) -> RunResult:
    """Judge a black box: its predictions are all there is."""
    predictives: dict[PartName, Predictive] = {name: predict(getattr(run.split, name)) for name in PARTS}
    if reason := _not_finite(predictives):
        return diverged(run, n_parameters, reason, {})
    return _result(run, predictives, n_parameters=n_parameters, warnings=warnings)


def diverged(run: Run, n_parameters: int, reason: str, curves: Mapping[str, np.ndarray]) -> RunResult:
    """The row of a run that ended in numbers that are not finite."""
    return RunResult(
        run_key=run.request.run_key,
        status="diverged",
        error=reason,
        n_parameters=n_parameters,
        seconds=run.seconds,
        device=run.device,
        curves=curves,
    )


def flat_draws(model: Model, theta: np.ndarray) -> tuple[Callable[[Part], Array], Array]:
    """`eta` and `extra` of a `Sampled` from (chain, draw, p) draws of the flat vector."""
    thetas = jnp.asarray(theta.reshape(-1, theta.shape[-1]))
    return _eta_of(model, thetas), thetas[:, model.n_weights :]


def _eta_of(model: Model, thetas: Array) -> Callable[[Part], Array]:
    return lambda part: eta_of_draws(model)(thetas, jnp.asarray(part.x, thetas.dtype))


def _measure(run: Run, thetas: Array | np.ndarray, draws: Sequence[int], asks: Sequence[Ask]) -> tuple[Measure, ...]:
    return take(run, points_of(run, thetas, draws), draws, asks).geometry


def _result(
    run: Run, predictives: Mapping[PartName, Predictive], warnings: tuple[str, ...] = (), **fields: object
) -> RunResult:
    evaluation = evaluate(predictives, run.split)
    return RunResult(
        run_key=run.request.run_key,
        status="finished",
        error=None,
        seconds=run.seconds,
        device=run.device,
        metrics=evaluation.metrics,
        pointwise=evaluation.pointwise,
        predictions=evaluation.predictions,
        warnings=(*warnings, *_too_sure(run, predictives), *run.split.far, *_exact(evaluation.metrics, run.split)),
        **fields,  # type: ignore[arg-type]
    )


def _improper(cause: str | None) -> tuple[str, ...]:
    return () if cause is None else (f"{cause}: {propriety.REMEDY}",)


def _too_sure(run: Run, predictives: Mapping[PartName, Predictive]) -> Iterator[str]:
    """A Poisson likelihood has no spread that could grow with what the mean leaves out."""
    likelihood, unseen = run.request.learner.likelihood, predictives["validation"]
    if likelihood is None or likelihood.kind != "poisson" or unseen.mean is None:
        return
    if (said := noise.too_sure(run.split.validation.y, unseen.mean, unseen.log_density)) is not None:
        yield said


def _exact(metrics: Sequence[Metric], split: Split) -> Iterator[str]:
    """A target that is known to float32's last digits was computed from the columns, more likely than measured."""
    for metric in metrics:
        # Squared errors of a target of smaller scale vanish for another reason.
        judged = split.task == "real" and split.scale > 1e-140 and (metric.part, metric.metric) == ("test", "rmse")
        if judged and metric.value <= EXACT * split.scale:
            yield "predicts the target to within rounding: it is a function of the columns, so was it computed?"


def _not_finite(predictives: Mapping[PartName, Predictive]) -> str | None:
    """Why a run's predictions are no predictions; a density of zero (-inf) is one, if a bad one."""
    for name, predictive in predictives.items():
        if np.any(np.isnan(predictive.log_density)):
            return f"predictions on the {name} part are not numbers"
    return None


def _unconverged(geometry: Sequence[Measure]) -> tuple[str, ...]:
    """One warning for each measure that did not converge somewhere."""
    names = dict.fromkeys(m.measure for m in geometry if m.status != "converged")
    counts = {name: sum(m.measure == name and m.status != "converged" for m in geometry) for name in names}
    return tuple(
        f"{name.replace('_', ' ')} did not converge"
        + (f" at {n} of the draws measured" if geometry[-1].draw >= 0 else "")
        for name, n in counts.items()
    )
