"""A sweep's geometry as one JSON document, what `basin geometry --json` writes and table and page are made from.

Numbers that are not finite are null, and a reason stands beside them.
"""

from typing import Any, Literal

from pydantic import Field

from services.provenance import Provenance
from services.rendering.records import Amount, Estimate, Number, Probability, Record

GEOMETRY_VERSION = 1


class MeasureSummary(Record):
    """One measure, or one component of it, at the runs of one learner on one dataset."""

    dataset: str
    learner: str
    kind: str
    measure: str
    component: str
    """Which part of the measure, such as a layer; empty for a scalar."""
    settings: dict[str, Any]
    scope: Literal["estimate", "draws"]
    """Whether it was taken at point estimates or at posterior draws."""
    family: str
    about: str
    invariance: Literal["rescaling", "permutation", "none"]
    """What leaves it unchanged: rescaling of homogeneous layers (and so permutation), permutation alone, or nothing."""
    larger: str
    """What a larger value stands for."""
    n_values: Amount
    n_unconverged: Amount
    n_not_applicable: Amount
    n_failed: Amount
    median: Number
    """Over runs and draws with a value."""
    lower: Number
    """5 % quantile of the same."""
    upper: Number
    """95 % quantile of the same."""
    standard_error: Number
    """Median numerical standard error of a single value; 0 where values are exact."""
    n_products: Number
    """Median number of curvature products and gradients that one value took."""
    reasons: tuple[str, ...] = ()
    """Why there is no value where it is not applicable or failed."""


class Bounded(Record):
    """A statistic with its 95 % interval over splits; where the bounds are null, `reason` says why."""

    value: Number
    """Without the bias that a maximum, a minimum or information has: the centre of the interval."""
    lower: Number
    upper: Number
    reason: str | None = None
    plug_in: Number = None
    """The statistic as it stands, with that bias; null for tau, which has none."""


class Ranking(Record):
    """Whether one measure tells which of the sweep's point estimates generalise, on one dataset."""

    dataset: str
    measure: str
    component: str
    settings: dict[str, Any]
    invariance: Literal["rescaling", "permutation", "none"]
    larger: str
    tau: Bounded
    """Kendall's tau with the generalisation gap (test minus train loss), over pairs of runs on the same split."""
    granulated: dict[str, Bounded]
    """Tau over pairs that differ in one setting alone, by setting."""
    psi: Bounded
    """Mean of `granulated`."""
    information: Bounded
    """What the measure tells of the gap's order beyond any two settings, from 0 to 1."""
    sign_error: Bounded
    """Share of pairs ordered wrongly in the worst environment; a half is guessing."""
    worst_environment: str | None
    n_runs: Amount
    n_splits: Amount
    sentence: str


class EffectiveCounts(Record):
    """Effective numbers of parameters of one learner on one dataset, side by side; each is null where not measured."""

    dataset: str
    learner: str
    kind: str
    n_parameters: Amount
    p_loo: Estimate
    effective_dimension: Estimate
    learning_coefficient: Estimate
    """Twice the local learning coefficient, which is the number of parameters of a regular model."""


class Typical(Record):
    """A measure over posterior draws against the same measure at point estimates of the same net."""

    dataset: str
    measure: str
    component: str
    settings: dict[str, Any]
    posterior: str
    estimate: str
    ratio: Number
    """Median over draws, over the median over point estimates."""
    lower: Number
    upper: Number
    sentence: str


class Barriers(Record):
    """Loss barriers between solutions on one split of one dataset, by one way of connecting them."""

    dataset: str
    split: Amount
    method: str
    labels: tuple[str, ...]
    """Of rows and columns: learner, seed, varied settings and, for posteriors, the draw."""
    learners: tuple[str, ...]
    barriers: tuple[tuple[Number, ...], ...]
    """In nats per row; 0 on the diagonal, null where it was not measured."""


class BasinShare(Record):
    """How many posterior draws lie in the basin of a learner's point estimates, by the straight ways to them."""

    dataset: str
    posterior: str
    estimate: str
    method: str
    threshold: float
    """Largest barrier, in nats per row, within one basin."""
    share: Probability
    standard_error: Number
    n_draws: Amount


class GeometryDocument(Record):
    """What a sweep's stored geometry says."""

    schema_version: Literal[1] = GEOMETRY_VERSION
    sweep: str
    datasets: tuple[str, ...]
    n_runs: Amount
    """Finished runs of the sweep."""
    varied: tuple[str, ...] = Field(default=())
    """Dotted paths of the settings that vary."""
    measures: tuple[MeasureSummary, ...]
    rankings: tuple[Ranking, ...]
    effective: tuple[EffectiveCounts, ...]
    typical: tuple[Typical, ...]
    barriers: tuple[Barriers, ...]
    basins: tuple[BasinShare, ...]
    verdict: str
    warnings: tuple[str, ...]
    provenance: Provenance


class AuditRow(Record):
    """A measure before and after a transformation that leaves the net's function alone."""

    dataset: str
    learner: str
    run_key: str
    measure: str
    component: str
    transformation: str
    """In words, such as "rescale layers.0 by 0.01" or "permute units"."""
    layer: str | None
    alpha: Number
    before: Number
    after: Number
    moved: bool | None
    """Whether it differs by more than rounding and standard errors allow; null where a value is missing."""
    declared: Literal["rescaling", "permutation", "none"]
    """What leaves the measure unchanged, by its definition."""
    agrees: bool | None
    """Whether the finding is as declared."""
    status: Literal["compared", "unconverged", "not_applicable"]
    reason: str | None


class AuditDocument(Record):
    """What the symmetries of nets move."""

    schema_version: Literal[1] = GEOMETRY_VERSION
    sweep: str
    applies: str
    """When the audit applies."""
    rows: tuple[AuditRow, ...]
