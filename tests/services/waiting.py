"""Waiting for what other processes do."""

import time
from collections.abc import Callable

PATIENCE = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; fail where it never does."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)
