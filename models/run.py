"""One run under way: what it is asked, its rows, its randomness, its clock and its voice."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from models.clock import Clock
from models.dataset import Split
from models.events import Checkpoint, Event, Progress
from models.result import RunRequest

Emit = Callable[[Event], None]


class Keys(NamedTuple):
    """Independent streams of randomness of one run."""

    init: PRNGKeyArray
    train: PRNGKeyArray
    sample: PRNGKeyArray
    predict: PRNGKeyArray
    measure: PRNGKeyArray


@dataclass
class Run:
    """A request on its way to a result. Its randomness comes from the seed and the partition and from nothing else.

    Learners on the same seed and partition share their streams, so that a comparison is paired by design.
    """

    request: RunRequest
    split: Split
    emit: Emit
    clock: Clock = field(default_factory=Clock)
    _said: float = field(default=0.0, init=False)

    @property
    def keys(self) -> Keys:
        """Streams by (seed, partition)."""
        key = jax.random.key(self.request.seed)
        for number in (self.request.partition.seed, self.request.partition.index):
            key = jax.random.fold_in(key, number)
        return Keys(*jax.random.split(key, len(Keys._fields)))

    @property
    def library_seed(self) -> int:
        """A 31-bit seed by (seed, partition), for libraries that take an integer."""
        partition = self.request.partition
        sequence = np.random.SeedSequence([self.request.seed, partition.seed, partition.index])
        return int(sequence.generate_state(1)[0] >> 1)

    def progress(self, phase: str, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        """Say how far a phase is, at most four times a second and at its end."""
        now = time.monotonic()
        if done >= total or now - self._said > 0.25:
            self._said = now
            self.emit(Progress(self.request.run_key, phase, done, total, facts or {}))

    def checkpoint(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Hand back what is needed to go on from here."""
        self.emit(Checkpoint(self.request.run_key, arrays))
