"""Training to a rung of successive halving, from where the run stands: later to be gone on with, or stopped."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from models.data.dataset import Dataset
from models.fitting.dispatch import Checkpoints, work_through
from models.fitting.halving import RungReached
from models.fitting.optimised import curves_of, train_to
from models.inference.optimise import State
from models.inference.state import to_arrays
from models.runs.result import RunRequest
from models.runs.run import Emit, Run


@dataclass(frozen=True)
class RungRequest:
    """A run that is to be trained up to this epoch of its schedule."""

    run: RunRequest
    epochs: int


def fit_to_rung(requests: Sequence[RungRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit) -> None:
    """Train a pack of stochastic-gradient runs to their rungs.

    For each of them it emits, by its run key, a `Checkpoint` to go on from and then one `Result`: a `RungReached`, or
    the `RunResult` of a failure. The schedule is that of the full length. `models.fitting.dispatch.fit` goes on from
    the checkpoint with the bits of a run that never paused. A checkpoint may be further than the rung: it is then
    left as it is, and
    what was reached at the rung is the same.
    """
    for epochs, group in groupby(sorted(requests, key=lambda r: r.epochs), key=lambda r: r.epochs):
        body = functools.partial(_to_rung, epochs)
        work_through([request.run for request in group], dataset, checkpoints, emit, body)


def _to_rung(epochs: int, runs: Sequence[Run]) -> list[RungReached]:
    states = train_to(runs, epochs)
    for run, state in zip(runs, states, strict=True):
        run.checkpoint(to_arrays(state))
    return [_reached(run, epochs, state) for run, state in zip(runs, states, strict=True)]


def _reached(run: Run, epochs: int, state: State) -> RungReached:
    done = int(state.epoch)
    return RungReached(
        run_key=run.request.run_key,
        epochs=epochs,
        curves=curves_of(state.curves, min(done, epochs)),
        diverged=bool(state.diverged) and done <= epochs,
        n_parameters=run.model.n_parameters,
        seconds=run.seconds,
        device=run.device,
    )
