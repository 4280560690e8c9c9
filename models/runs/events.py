"""What a fit says while it works: progress, checkpoints and, once for each run, a result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.digits import format_short


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of a phase ("epochs", "draws", ...), with facts such as divergences so far.

    The phase `START` has no units: see `begun`.
    """

    run_key: str
    phase: str
    done: int
    total: int
    facts: Mapping[str, float]


START = "start"


def begun(run_key: str) -> Progress:
    """Says that work on a run begins."""
    return Progress(run_key, START, 0, 1, {})


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to go on with a run after its worker is lost: named arrays, replacing the run's last ones."""

    run_key: str
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Result:
    """A run's end, good or bad. `value` is of `models.runs.result`; executors do not look inside."""

    run_key: str
    value: Any


Event = Progress | Checkpoint | Result


class LateError(Exception):
    """A run takes longer than it may; raised where it says something, and its message is the reason."""


def late(seconds: float) -> str:
    """Why a run was ended that took longer than these seconds."""
    return (
        f"it took more than {format_short(seconds / 3600)} hours, the most that a run may take here, and was ended: "
        "ask for less of it, or let BASIN_RUN_HOURS allow more"
    )
