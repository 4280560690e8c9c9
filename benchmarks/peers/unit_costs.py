"""Costs in units: the time of some work over that of a unit, taken just before and after it. Needs Python alone.

Time is the processor's, not the wall's, so that it counts less what other processes do in between; on one thread and an
idle machine the two agree.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

UNITS = 4


def costs(work: Callable[[Any], Any], unit: Callable[[], Any], inputs: Iterable[Any]) -> tuple[list[float], list[Any]]:
    """The cost of work(i) for each of the inputs, in the median of `UNITS` units before it and as many after; results.

    The caller has called both before, if their first call does more than later ones, such as to compile.
    """
    found, results = [], []
    for i in inputs:
        before = [_seconds(unit)[0] for _ in range(UNITS)]
        seconds, result = _seconds(lambda i=i: work(i))
        after = [_seconds(unit)[0] for _ in range(UNITS)]
        found.append(seconds / statistics.median(before + after))
        results.append(result)
    return found, results


def unit_seconds(unit: Callable[[], Any]) -> float:
    """The median of 20 units, in seconds."""
    return statistics.median(_seconds(unit)[0] for _ in range(20))


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result
