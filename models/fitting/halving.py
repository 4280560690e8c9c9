"""Early stopping of hopeless configurations by successive halving: who goes on, and what becomes of the others.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (2016); Li et al., "A
system for massively parallel hyperparameter tuning" (2020), algorithm 1. The rungs are those of their ASHA (algorithm
2), but a rung is decided when all of its bracket have reached it: asynchronous promotion depends on the order in which
results arrive, and so would the runs that a sweep ends with.

A configuration is a learner with its settings on one dataset. All of its runs, over splits and seeds, go on or stop
together, so that those of a survivor are exactly the runs that it would have had without early stopping.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field

from models.digits import format_short
from models.runs.result import RunRequest, RunResult, Seconds
from models.spec.inference import Optimise
from models.spec.settings import MOST, Count, Settings, canonical_json


class Halving(Settings):
    """Stop hopeless configurations early: at each rung the best part of a bracket goes on, the others stop."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    reduction: Annotated[int, Field(ge=2, le=MOST)] = 3
    """At each rung one configuration in this many goes on, rounded up; the next rung is this many times as far."""
    min_epochs: Count = 5
    """Epochs that every configuration gets before the first decision."""


class Bracket(NamedTuple):
    """What configurations must share to be held against each other."""

    fingerprint: str
    learner: str
    epochs: int


@dataclass(frozen=True)
class RungReached:
    """Where a run stands after so many epochs.

    Attributes:
        epochs: the rung. A run that diverged or lost patience before has fewer rows of curves.
        curves: as in `RunResult`, up to the rung.
        seconds: spent on the run in all.
    """

    run_key: str
    epochs: int
    curves: Mapping[str, np.ndarray]
    diverged: bool
    n_parameters: int
    seconds: Seconds
    device: str

    @property
    def loss(self) -> float:
        """The best validation loss up to the rung."""
        return loss_at(self.curves, self.epochs, diverged=self.diverged)


def takes_part(request: RunRequest, halving: Halving) -> bool:
    """Whether a run can be stopped early: it goes by epochs of stochastic gradients, and beyond the first rung."""
    inference = request.learner.inference
    return isinstance(inference, Optimise) and inference.optimiser != "lbfgs" and bool(rungs(halving, inference.epochs))


def bracket_of(request: RunRequest) -> Bracket:
    """The bracket of a run that takes part."""
    inference = request.learner.inference
    assert isinstance(inference, Optimise)
    return Bracket(request.fingerprint, request.learner.name, inference.epochs)


def configuration_of(request: RunRequest) -> str:
    """Equal for the runs of one configuration: all but split and seed."""
    return canonical_json({"learner": request.learner.model_dump(mode="json"), "data": request.fingerprint})


def rungs(halving: Halving, epochs: int) -> tuple[int, ...]:
    """Where runs of so many epochs are looked at: `min_epochs` times powers of `reduction`, below the full length."""
    found, rung = [], halving.min_epochs
    while rung < epochs:
        found.append(rung)
        rung *= halving.reduction
    return tuple(found)


def loss_at(curves: Mapping[str, np.ndarray], epochs: int, *, diverged: bool) -> float:
    """The best validation loss of a run's first `epochs`, from its curves up to there or further.

    Infinite for a run that diverged within these epochs, and for one that never had a loss.
    """
    losses = np.asarray(curves["validation_loss"], float)
    if diverged and len(losses) <= epochs:
        return math.inf
    return float(np.min(losses[:epochs], initial=math.inf, where=~np.isnan(losses[:epochs])))


def mean_loss(losses: Sequence[float]) -> float:
    """What a configuration is ranked by, whatever the order of its runs; infinite where a loss is, or there is none."""
    finite = bool(losses) and all(math.isfinite(loss) for loss in losses)
    return math.fsum(losses) / len(losses) if finite else math.inf


def decide(losses: Mapping[str, Sequence[float]], halving: Halving) -> frozenset[str]:
    """The configurations of a bracket that go on from a rung.

    They are ranked by the mean over their runs of the best validation loss so far, ties by their keys. The best one in
    `reduction` go on, rounded up, hence at least one.

    Args:
        losses: by configuration, those of its runs, in any order; infinite for a run that diverged or failed.
        halving: the settings.
    """
    ranked = sorted(losses, key=lambda key: (mean_loss(losses[key]), key))
    return frozenset(ranked[: math.ceil(len(ranked) / halving.reduction)])


def reason(loss: float, rung: int, epochs: int, n_kept: int, n: int) -> str:
    """Why a configuration of this mean loss was stopped at a rung where `n_kept` of `n` went on."""
    mean = f"{format_short(loss, 4)} on average,"
    said = mean if math.isfinite(loss) else "which was not finite in all of its runs,"
    return (
        f"stopped at epoch {rung} of {epochs}: its configuration's validation loss, {said} was not among the best "
        f"{n_kept} of {n}"
    )


def stopped(request: RunRequest, reached: RungReached, reason: str) -> RunResult:
    """The result of a run whose configuration was stopped: its curves up to there, and no score of any part."""
    if reached.diverged:
        reason += f"; this run had diverged in epoch {len(reached.curves['step'])}"
    return RunResult(
        run_key=request.run_key,
        status="stopped",
        error=reason,
        n_parameters=reached.n_parameters,
        seconds=reached.seconds,
        device=reached.device,
        curves=reached.curves,
    )
