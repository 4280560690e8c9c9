"""What happens between PyMC's iterations: counting, progress, checkpoints of finished chains, noticing interrupts.

PyMC samples chains one after the other, each from a state of its own, and can do nothing with a part of them. But it
calls back after each iteration, and an interrupt ends the chain and not the sampling. So a chain that is not wanted
here ends after one iteration, and one that was sampled before is recorded from its checkpoint instead.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models.spec.inference import PyMC

Arrays = Mapping[str, np.ndarray]
Progress = Callable[[int, int, Mapping[str, float]], None]

CLOCKS = ("perf_counter_diff", "perf_counter_start", "process_time_diff")
_REPORT_EVERY = 0.2
_CHAINS, _POINTS, _STATS = "chains", "points/", "stats/"


class InterruptedChainError(Exception):
    """PyMC ends a chain at Ctrl-C and starts the next one; this goes through."""


class Watch:
    """PyMC's callback.

    Attributes:
        first_draw: `time.perf_counter` when the first iteration began.
    """

    def __init__(
        self,
        inference: PyMC,
        chains: Sequence[int],
        progress: Progress,
        resume: Arrays,
        on_chain: Callable[[Arrays], None] | None,
    ):
        self._warmup, self._draws = inference.warmup, inference.draws
        self._progress, self._on_chain = progress, on_chain
        self._wanted = frozenset(chains)
        self._known = {c: arrays for c, arrays in _by_chain(resume).items() if c in self._wanted}
        self._ahead = self._iterations(inference.chains)
        self._total = len(self._wanted) * (self._warmup + self._draws)
        self._done = self._divergences = 0
        self._points: list[Mapping[str, Any]] = []
        self._stats: list[Mapping[str, Any]] = []
        self._finished: dict[int, Arrays] = {}
        self._told = 0.0
        self.first_draw = 0.0

    def came_to_the_end(self) -> bool:
        """Whether no iteration is missing, once PyMC is done."""
        return next(self._ahead, None) is None

    @property
    def checkpoint(self) -> dict[str, np.ndarray]:
        """Of the finished chains: their numbers, and by name and chain the point and the statistics of each draw."""
        parts = list(self._finished.values())
        return {
            _CHAINS: np.array(list(self._finished)),
            **{name: np.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())},
        }

    def _iterations(self, chains: int) -> Iterator[tuple[int, int]]:
        """What PyMC should call back about, in turn; `_known` is looked at as late as can be."""
        for chain in range(chains):
            short = chain not in self._wanted or chain in self._known
            yield from ((chain, i) for i in range(1 if short else self._warmup + self._draws))

    def __call__(self, trace: Any, draw: Any) -> None:
        """Take note of one iteration, and end a chain that needs no other as an interrupt would."""
        try:
            ends = self._note(trace, draw)
        except KeyboardInterrupt:
            raise InterruptedChainError from None
        if ends:
            raise KeyboardInterrupt

    def _note(self, trace: Any, draw: Any) -> bool:
        """Whether the chain needs no other iteration, though PyMC would go on with it."""
        if draw.draw_idx == 0 and draw.chain in self._known and not self._fits(self._known[draw.chain], draw):
            del self._known[draw.chain]
        if next(self._ahead, None) != (draw.chain, draw.draw_idx):
            raise InterruptedChainError
        self.first_draw = self.first_draw or draw.stats[0]["perf_counter_start"]
        if draw.chain not in self._wanted:
            return True
        if draw.chain in self._known:
            self._record(trace, draw)
            return True
        self._done += 1
        if not draw.tuning:
            self._divergences += bool(draw.stats[0]["diverging"])
            self._points.append(draw.point)
            self._stats.append(_kept(draw.stats[0]))
        if len(self._points) == self._draws:
            self._finish(draw.chain)
        self._tell()
        return False

    def _fits(self, arrays: Arrays, draw: Any) -> bool:
        shapes = {name: array.shape for name, array in arrays.items()}
        expected = {_POINTS + name: (self._draws, *np.shape(value)) for name, value in draw.point.items()}
        return shapes == expected | {_STATS + name: (self._draws,) for name in _kept(draw.stats[0])}

    def _record(self, trace: Any, draw: Any) -> None:
        """Put a known chain into PyMC's trace; what is recorded as its warm-up is dropped at the end."""
        arrays, kept = self._known[draw.chain], list(_kept(draw.stats[0]))
        for _ in range(self._warmup - 1):
            trace.record(draw.point, draw.stats, in_warmup=True)
        for i in range(self._draws):
            point = {name: arrays[_POINTS + name][i] for name in draw.point}
            trace.record(point, [{name: arrays[_STATS + name][i] for name in kept}], in_warmup=False)
        self._finished[draw.chain] = arrays
        self._done += self._warmup + self._draws
        self._divergences += int(np.sum(arrays[_STATS + "diverging"]))
        self._tell()

    def _finish(self, chain: int) -> None:
        self._finished[chain] = {
            **{_POINTS + name: np.stack([p[name] for p in self._points]) for name in self._points[0]},
            **{_STATS + name: np.array([s[name] for s in self._stats]) for name in self._stats[0]},
        }
        self._points, self._stats = [], []
        if self._on_chain is not None and len(self._finished) < len(self._wanted):
            self._on_chain(self.checkpoint)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told > _REPORT_EVERY or self._done == self._total:
            self._told = now
            self._progress(self._done, self._total, {"divergences": self._divergences})


def _kept(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics that say something about a draw."""
    return {name: value for name, value in stats.items() if name not in CLOCKS and name != "warning"}


def _by_chain(checkpoint: Arrays) -> dict[int, Arrays]:
    """The arrays of each chain of a checkpoint; nothing where it is not one of ours."""
    if _CHAINS not in checkpoint:
        return {}
    named = {name: array for name, array in checkpoint.items() if name.startswith((_POINTS, _STATS))}
    return {int(c): {name: array[i] for name, array in named.items()} for i, c in enumerate(checkpoint[_CHAINS])}
