"""Work functions of benchmarks: nothing to do, or to sleep, so that the time is Basin's own."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.work import Arrays, Emit
from models.runs.events import Result, begun
from models.runs.result import Metric, RunRequest, RunResult, Seconds


def scored(request: RunRequest) -> RunResult:
    """The result of a run without work: one score."""
    return RunResult(
        run_key=request.run_key,
        status="finished",
        error=None,
        n_parameters=1,
        seconds=Seconds(0.0, 0.0, 0.0),
        device="cpu",
        metrics=(Metric("test", "log_score", 0.0, 0.0, 1),),
    )


def trivial(payloads: Sequence[RunRequest], data: Any, checkpoints: Mapping[str, Arrays], emit: Emit) -> None:
    """One score for each request, by the contract of `cluster.executor.Work`."""
    del data, checkpoints
    for request in payloads:
        emit(Result(request.run_key, scored(request)))


def sleep(payloads: Sequence[tuple[str, float]], data: Any, checkpoints: Mapping[str, Arrays], emit: Emit) -> None:
    """Sleep as long as each run asks for; its result is the process that did."""
    del data, checkpoints
    for run_key, seconds in payloads:
        emit(begun(run_key))
        time.sleep(seconds)
        emit(Result(run_key, os.getpid()))
