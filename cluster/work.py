"""What workers are given to do, and how it can end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.runs.events import Event

Arrays = Mapping[str, np.ndarray]
Emit = Callable[[Event], None]
Work = Callable[[Sequence[Any], Any, Mapping[str, Arrays], Emit], None]
"""`work(payloads, data, checkpoints, emit)`: an importable function that emits exactly one `Result` for each payload.

`checkpoints` holds the last arrays of those runs that were interrupted, by run key. The data may be read-only.

Work that emits `models.runs.events.begun` for a run does so for every run, before it computes anything for it and
after it has emitted the results of all that it computed. It can be asked for the runs that it has not begun, and a
worker's
death is blamed on those alone that had begun.
"""


@dataclass(frozen=True)
class Lost:
    """A run that ended without a result of its own, after `attempts`; the reason is in plain words."""

    run_key: str
    reason: str
    attempts: int


def one_line(error: BaseException) -> str:
    """An exception's class and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
