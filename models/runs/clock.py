"""Where a run's seconds go: compiling, computing, the rest."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax.monitoring

_local = threading.local()
_COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    if event in _COMPILING:
        _local.compiled = getattr(_local, "compiled", 0.0) + duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


class Clock:
    """Seconds since it was made: `wall` in all, `compile` as JAX reports (this thread), `device` inside `computing`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._compiled = getattr(_local, "compiled", 0.0)
        self.device = 0.0
        self._other = 0.0

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def compile(self) -> float:
        """Seconds spent tracing and compiling since the start."""
        return getattr(_local, "compiled", 0.0) - self._compiled + self._other

    def add_compile(self, seconds: float) -> None:
        """Count seconds that another compiler reports."""
        self._other += seconds
        self.device -= seconds

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Count the block as device time, less what was compiled in it."""
        wall, compiled = self.wall, self.compile
        try:
            yield
        finally:
            self.device += (self.wall - wall) - (self.compile - compiled)
