"""What a finished run hands back: rows for the tables, arrays for the bundle."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np

from models.data.dataset import Partition
from models.spec.learner import Learner
from models.spec.settings import SCHEMA_VERSION, canonical_json, digest, digest_text

Status = Literal["finished", "diverged", "failed", "stopped"]
PartName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class RunRequest:
    """One learner (likelihood resolved), one partition of the dataset with this fingerprint, one seed."""

    learner: Learner
    partition: Partition
    seed: int
    fingerprint: str

    @cached_property
    def run_key(self) -> str:
        """Hash of the canonical spec, the partition, the seed, the data's fingerprint and the schema version."""
        return digest(
            {
                "learner": self.learner.model_dump(mode="json"),
                "partition": self.partition.model_dump(mode="json"),
                "seed": self.seed,
                "fingerprint": self.fingerprint,
                "schema_version": SCHEMA_VERSION,
            }
        )

    @property
    def spec_json(self) -> str:
        """The learner as canonical JSON."""
        return canonical_json(self.learner)


def requests_of(
    learner: Learner, fingerprint: str, partitions: Iterable[Partition], seeds: Iterable[int]
) -> Iterator[RunRequest]:
    """One request for each partition and seed, partitions outside, with their run keys known.

    The learner's part of the text that is hashed is made once: a sweep has thousands of runs of one learner.
    """
    marks = {"learner": learner.model_dump(mode="json"), "fingerprint": fingerprint, "schema_version": SCHEMA_VERSION}
    text = canonical_json(marks | {"partition": "@", "seed": 0}).removesuffix("0}")
    head, _, tail = text.rpartition('"@"')
    texts = [(partition, f"{head}{canonical_json(partition)}{tail}") for partition in partitions]
    for (partition, before), seed in product(texts, list(seeds)):
        request = RunRequest(learner, partition, seed, fingerprint)
        vars(request)["run_key"] = digest_text(f"{before}{seed}}}")
        yield request


class Metric(NamedTuple):
    """A score on a part; the standard error is over its n rows."""

    part: PartName
    metric: str
    value: float
    standard_error: float
    n: int


class Diagnostic(NamedTuple):
    """A posterior diagnostic of one quantity. None where it does not apply to the quantity.

    `scope` says of what: "parameter", "prediction" or "energy". Parameters of nets are not identified, so for nets the
    predictions' diagnostics count.
    """

    scope: Literal["parameter", "prediction", "energy"]
    quantity: str
    r_hat: float | None = None
    ess_bulk: float | None = None
    ess_tail: float | None = None
    mcse: float | None = None
    divergences: int | None = None
    bfmi: float | None = None
    treedepth_share: float | None = None
    pareto_k: float | None = None


MeasureStatus = Literal["converged", "unconverged", "not_applicable", "failed"]


class Measure(NamedTuple):
    """A geometric or complexity number at one parameter vector; `draw` is -1 for a point estimate.

    Attributes:
        component: which part of the measure, such as a layer; empty for a scalar.
        value: None unless converged.
        standard_error: 0 for exact values, None unless converged.
        reason: why there is no value where it is not applicable or failed, else None.
        n_products: curvature-vector products and gradients that it took.
        invariance: what leaves it unchanged, as in `models.geometry.definition.Definition`.
    """

    draw: int
    measure: str
    component: str
    value: float | None
    standard_error: float | None
    status: MeasureStatus
    reason: str | None
    n_products: int
    invariance: str
    settings: Mapping[str, Any]


class MeasuredProfile(NamedTuple):
    """A curve over x, or a surface over x and y, at one parameter vector: (g,) columns."""

    draw: int
    measure: str
    x: np.ndarray
    y: np.ndarray | None
    value: np.ndarray
    standard_error: np.ndarray
    settings: Mapping[str, Any]


class Connected(NamedTuple):
    """The loss along a path from a run's vector to that of another run.

    Attributes:
        barrier: maximum of the loss less the line between the ends' losses, in nats; None where not applicable.
        at: where on the path, in [0, 1].
        losses: at equally spaced places from 0 to 1.
    """

    draw: int
    other_run_key: str
    other_draw: int
    method: str
    barrier: float | None
    maximum: float | None
    at: float | None
    losses: tuple[float, ...]
    status: MeasureStatus
    reason: str | None
    n_products: int
    settings: Mapping[str, Any]


class Seconds(NamedTuple):
    """Wall clock in all, of which compiling, of which computing on the device."""

    wall: float
    compile: float
    device: float


@dataclass(frozen=True)
class RunResult:
    """Everything one run leaves.

    Attributes:
        curves: equally long arrays `step`, `train_loss`, `validation_loss`, `learning_rate`, `gradient_norm`.
        pointwise: arrays over test rows: `row`, `log_score`, and `correct` (classes) or `squared_error`.
        parameters: point estimates, by name; `theta` is the flat vector.
        predictions: test-part arrays for plots: `y`, and `probabilities` or `mean`, `lower`, `upper` (a 90 %
            interval) and `pit`.
        posterior: an xarray DataTree in ArviZ's layout, or None.
        summary: posterior summary `{r_hat_max, ess_min, divergences, n_chains, n_draws, ...}`, or None.
        improper: why the posterior, or the estimate, does not exist without a proper prior; None where it does.
    """

    run_key: str
    status: Status
    error: str | None
    n_parameters: int
    seconds: Seconds
    device: str
    metrics: tuple[Metric, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    geometry: tuple[Measure, ...] = ()
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    pointwise: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)
    posterior: Any = None
    summary: Mapping[str, float] | None = None
    improper: str | None = None
    warnings: tuple[str, ...] = ()


def failure(run_key: str, reason: str, device: str = "") -> RunResult:
    """The result of a run that could not be fitted."""
    return RunResult(run_key, "failed", reason, n_parameters=0, seconds=Seconds(0.0, 0.0, 0.0), device=device)


@dataclass(frozen=True)
class Measurement:
    """What was measured at a run that is stored.

    Attributes:
        key: a hash of the run and of everything that was asked.
    """

    key: str
    run_key: str
    seconds: Seconds
    device: str
    geometry: tuple[Measure, ...] = ()
    profiles: tuple[MeasuredProfile, ...] = ()
    connections: tuple[Connected, ...] = ()
