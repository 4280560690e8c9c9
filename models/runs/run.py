"""One run under way: what it is asked, its rows, its randomness, its clock and its voice."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from models.data.dataset import Part, Split
from models.joint import build, priors
from models.joint.model import Model
from models.runs.clock import Clock
from models.runs.events import Checkpoint, Event, Progress
from models.runs.result import RunRequest, Seconds

Emit = Callable[[Event], None]
Arrays = Mapping[str, np.ndarray]

# A run that works for longer than this is worth a checkpoint each time it has.
CHECKPOINT_SECONDS = 5.0
SECONDS = "seconds"


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

    Attributes:
        key: whose events these are: the run's, unless something is measured at a stored run, or some of its chains
            are sampled on their own.
        resume: the last checkpoint of a run that was interrupted.
    """

    request: RunRequest
    split: Split
    emit: Emit
    key: str = ""
    resume: Arrays | None = None
    clock: Clock = field(default_factory=Clock)
    _said: float = field(default=0.0, init=False)
    _kept: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.key = self.key or self.request.run_key

    @property
    def model(self) -> Model:
        """The flat model: the same object for all runs of one program."""
        learner, split = self.request.learner, self.split
        assert learner.likelihood is not None
        shapes = (split.n_classes, len(split.columns), split.shape)
        return build.model_of(learner.predictor, learner.likelihood, *shapes)

    @property
    def prior_scales(self) -> np.ndarray:
        """(p,) standard deviations of the Gaussian prior that is stated, by prior or by weight decay."""
        return build.prior_scales(self.request.learner, self.model, len(self.split.train.y))

    @property
    def prior_centre(self) -> np.ndarray:
        """(p,) where the prior is centred and fits start: the null model of the training part."""
        return priors.null_centre(self.model, self.split.train.y)

    def start(self, key: PRNGKeyArray) -> Array:
        """(p,) a freshly drawn predictor about the null model.

        Under a log link its last weights are 0, so that it is the null model: drawn ones would multiply each mean by
        exp(N(0, 2)), which training has to undo before it learns anything, and never does to a per cent.
        """
        theta = self.model.init(key)
        if self.model.family.log_link:
            last = self.model.leaves[-2]
            theta = theta.at[last.start : last.stop].set(0.0)
        return theta + jnp.asarray(self.prior_centre, theta.dtype)

    @property
    def seconds(self) -> Seconds:
        """What the clock says now, and what the checkpoint says was spent before."""
        now = Seconds(self.clock.wall, self.clock.compile, self.clock.device)
        before = (self.resume or {}).get(SECONDS, np.zeros(len(now)))
        return Seconds(*(a + float(b) for a, b in zip(now, before, strict=True)))

    @property
    def device(self) -> str:
        """The kind of device that JAX computes on."""
        return jax.devices()[0].device_kind

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
            self.emit(Progress(self.key, phase, done, total, facts or {}))

    @property
    def checkpoint_due(self) -> bool:
        """Whether `CHECKPOINT_SECONDS` of work, compiling aside, went by since the start or the last checkpoint."""
        return self._worked - self._kept >= CHECKPOINT_SECONDS

    def checkpoint(self, arrays: Arrays) -> None:
        """Hand back what is needed to go on from here, with the seconds spent so far."""
        self._kept = self._worked
        self.emit(Checkpoint(self.key, {**arrays, SECONDS: np.array(self.seconds)}))

    @property
    def _worked(self) -> float:
        return self.clock.wall - self.clock.compile


def rows_of(part: Part, dtype: np.dtype | type) -> tuple[Array, Array]:
    """A part's design and target; real targets in `dtype`, codes and counts as integers."""
    real = np.issubdtype(part.y.dtype, np.floating)
    return jnp.asarray(part.x, dtype), jnp.asarray(part.y, dtype if real else jnp.int32)
