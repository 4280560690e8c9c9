"""Waiting for what other processes do."""

import time
from collections.abc import Callable

PATIENCE = 60.0


def wait_until(
    condition: Callable[[], object],
    patience: float = PATIENCE,
    every: float = 0.01,
    told: Callable[[], str] = lambda: "it never came to be",
) -> None:
    """Return when the condition holds, which is looked at every so many seconds; fail where it never does, as told."""
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, told()
        time.sleep(every)
