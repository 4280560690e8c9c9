"""Measures at a run's parameter vectors: with its fit, or later, at the vectors that were stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.data.dataset import Dataset
from models.data.preparation import prepare
from models.geometry.definition import Point
from models.geometry.landscape import Landscape
from models.inference.lock_step import WIDTH
from models.measuring.at_points import Curve, Found, Measured, measure
from models.measuring.catalogue import Ask
from models.runs.events import Result, begun
from models.runs.result import Measure, MeasuredProfile, Measurement, MeasureStatus, RunRequest, Seconds
from models.runs.run import Emit, Run, rows_of
from models.spec.inference import Optimise
from models.spec.settings import SCHEMA_VERSION, digest

# Posterior draws whose geometry is measured, evenly spaced over all chains.
MEASURED_DRAWS = 12


class Taken(NamedTuple):
    """What was measured, as rows."""

    geometry: tuple[Measure, ...]
    profiles: tuple[MeasuredProfile, ...]


def spaced(total: int, wanted: int = MEASURED_DRAWS) -> list[int]:
    """At most `wanted` evenly spaced draws of `total`, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).astype(int)).tolist()


def points_of(run: Run, thetas: Array | np.ndarray, draws: Sequence[int]) -> list[Point]:
    """The run's (t, p) parameter vectors on its training rows, each with randomness of its own.

    The vectors' precision is that of the fit. Its start is drawn again in it: from the same key another precision draws
    other numbers.
    """
    with jax.enable_x64(thetas.dtype == np.float64):
        thetas, scales, centre = jnp.asarray(thetas), run.prior_scales, run.prior_centre
        rows = Landscape(run.model, *rows_of(run.split.train, thetas.dtype))
        started = isinstance(run.request.learner.inference, Optimise)
        initial = run.start(run.keys.init) if started else None
        keys = [jax.random.fold_in(run.keys.measure, draw + 1) for draw in draws]
        return [Point(rows, theta, scales, key, initial, centre) for theta, key in zip(thetas, keys, strict=True)]


def take(run: Run, points: Sequence[Point], draws: Sequence[int], asks: Sequence[Ask]) -> Taken:
    """Measure a run's points, and say how far it is."""
    with run.clock.computing():
        (taken,) = _take([run], [points], [draws], asks)
    return taken


def _take(
    runs: Sequence[Run], points: Sequence[Sequence[Point]], draws: Sequence[Sequence[int]], asks: Sequence[Ask]
) -> list[Taken]:
    """Measure the points of runs that share a model; on an accelerator all of them side by side."""
    owners = [(i, draw, point) for i in range(len(runs)) for draw, point in zip(draws[i], points[i], strict=True)]
    at_once = 1 if jax.default_backend() == "cpu" else len(owners)
    geometry: list[list[Measure]] = [[] for _ in runs]
    profiles: list[list[MeasuredProfile]] = [[] for _ in runs]
    done = [0] * len(runs)
    for ask in asks:
        for group in batched(owners, at_once):
            found = _attempt([point for _, _, point in group], ask)
            for (i, draw, _), each in zip(group, found, strict=True):
                rows, curves = _rows(draw, ask, each)
                geometry[i] += rows
                profiles[i] += curves
                done[i] += 1
                runs[i].progress("measures", done[i], len(asks) * len(draws[i]))
    return [Taken(tuple(g), tuple(p)) for g, p in zip(geometry, profiles, strict=True)]


def _attempt(points: Sequence[Point], ask: Ask) -> Sequence[Found]:
    try:
        return measure(points, ask)
    except Exception as error:  # noqa: BLE001 - one measure's bug must not take the others down: it becomes a row
        first, *_ = str(error).strip().splitlines() or [""]
        return [(Measured("", None, None, "failed", f"{type(error).__name__}: {first}", 0),)] * len(points)


def _rows(draw: int, ask: Ask, found: Found) -> tuple[list[Measure], list[MeasuredProfile]]:
    settings = ask.settings.model_dump(mode="json")
    if isinstance(found, Curve):
        columns = (found.x, found.y, found.value, found.standard_error)
        whole = bool(np.all(np.isfinite(found.value)))
        # A row in `geometry` too, so that its cost and its status can be asked for like any other measure's.
        row = _row(draw, ask, "converged" if whole else "unconverged", None, found.n_products)
        return [row], [MeasuredProfile(draw, ask.measure, *columns, settings)]
    invariance = ask.definition.invariance
    return [
        Measure(
            draw,
            ask.measure,
            m.component,
            m.value,
            m.standard_error,
            m.status,
            m.reason,
            m.n_products,
            invariance,
            settings,
        )
        for m in found
    ], []


def _row(draw: int, ask: Ask, status: MeasureStatus, reason: str | None, n_products: int = 0) -> Measure:
    """A row without a value."""
    settings = ask.settings.model_dump(mode="json")
    return Measure(draw, ask.measure, "", None, None, status, reason, n_products, ask.definition.invariance, settings)


# --- at stored vectors ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasureRequest:
    """Measures at a stored run.

    Attributes:
        draws: numbers of the posterior draws, -1 for a point estimate.
        unable: why the run has no parameter vector to measure at, or None.
    """

    run: RunRequest
    draws: tuple[int, ...]
    asks: tuple[Ask, ...]
    unable: str | None = None

    @property
    def key(self) -> str:
        """Hash of the run, the draws, the measures and their settings."""
        asks = [{"measure": ask.measure, **ask.settings.model_dump(mode="json")} for ask in self.asks]
        return digest({"run": self.run.run_key, "draws": self.draws, "asks": asks, "schema_version": SCHEMA_VERSION})


def measure_runs(
    requests: Sequence[MeasureRequest],
    dataset: Dataset,
    vectors: Mapping[str, Mapping[str, np.ndarray]],
    emit: Emit,
) -> None:
    """Measure stored runs that share a model, and emit one `Result` of a `Measurement` for each request.

    `vectors` holds each request's (t, p) parameter vectors as `theta`, one for each of its draws, by the request's key.
    Numbers depend on the run, the draw and the measure's settings alone. What fails is a row with its reason.
    """
    for request in requests:
        if request.unable is not None:
            rows = tuple(_row(-1, ask, "not_applicable", request.unable) for ask in request.asks)
            emit(Result(request.key, Measurement(request.key, request.run.run_key, Seconds(0.0, 0.0, 0.0), "", rows)))
    able = [request for request in requests if request.unable is None]
    together = 1 if jax.default_backend() == "cpu" else WIDTH
    for group in batched(able, together):
        for request in group:
            emit(begun(request.key))
        runs = [Run(r.run, prepare(dataset, r.run.partition), emit, r.key) for r in group]
        thetas = [vectors[r.key]["theta"] for r in group]
        with jax.enable_x64(thetas[0].dtype == np.float64), runs[0].clock.computing():
            points = [points_of(run, theta, r.draws) for run, theta, r in zip(runs, thetas, group, strict=True)]
            found = _take(runs, points, [r.draws for r in group], group[0].asks)
        for run, request, taken in zip(runs, group, found, strict=True):
            emit(Result(request.key, Measurement(request.key, request.run.run_key, run.seconds, run.device, *taken)))
