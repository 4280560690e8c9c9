"""The comparison as one JSON document: what `basin compare --json` writes and the table and the report are made from.

JSON has no NaN and no infinity. A number that is not finite (not applicable, not computed, not converged, or of a run
that diverged) is null, and the learner's `warnings` say which of these it is wherever it is not plain from the kind.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import field_validator

from models.spec.settings import Kind, Task
from services.provenance import Provenance
from services.rendering.records import Amount, Estimate, Number, Probability, Record

DOCUMENT_VERSION = 1


class Curvature(Estimate):
    """A property of the Hessian of the mean negative log-likelihood on the training part, in nats per row.

    Point estimates: at the estimate, with its numerical standard error. Posteriors: the median over draws.
    """

    lower: Number = None
    """5 % quantile over posterior draws; null for point estimates."""
    upper: Number = None
    """95 % quantile over posterior draws; null for point estimates."""


class EffectiveParameters(Estimate):
    """Effective number of parameters: the common currency across kinds of learners."""

    method: str | None = None
    """How it was computed: `p_loo` for posteriors, `laplace` (effective dimension) for point estimates."""


class Scores(Record):
    """Scores on one part, averaged over rows, splits and seeds. Null where the metric does not belong to the task."""

    log_score: Estimate
    """Mean log predictive density or mass of the observed target, in nats per row; higher is better."""
    accuracy: Estimate | None = None
    """Classes: share of rows whose most probable class is the right one."""
    rmse: Estimate | None = None
    """Real and count targets: root mean squared error of the predictive mean, in the target's units."""
    brier: Estimate | None = None
    """Classes: mean squared distance between predicted probabilities and the one-hot target; lower is better."""
    calibration_error: Estimate | None = None
    """Classes: top-label expected calibration error. Real and count targets: mean absolute difference between nominal
    and observed coverage of central predictive intervals. 0 is honest."""
    classwise_calibration_error: Estimate | None = None
    """Classes: expected calibration error of every class's probability, averaged over classes."""
    crps: Estimate | None = None
    """Real and count targets: continuous ranked probability score, in the target's units; lower is better."""


class Parts(Record):
    """Scores on each part of the splits."""

    train: Scores
    validation: Scores
    test: Scores


class Geometry(Record):
    """How curved the loss is where the learner sits. Null for learners without a differentiable loss."""

    hessian_top_eigenvalue: Curvature
    hessian_trace: Curvature


class Posterior(Record):
    """Whether the posterior draws can be believed: the worst over the learner's runs.

    For nets R-hat and ESS are those of the predictions, since weights are not identified.
    """

    r_hat_max: Number
    """Largest rank-normalised split R-hat; above 1.01 the chains disagree."""
    ess_min: Number
    """Smallest effective sample size, of bulk and tail."""
    divergences: Amount
    """Divergent transitions after warm-up, in all runs together."""
    n_chains: Amount
    n_draws: Amount
    """Draws after warm-up of each chain."""


class RunCounts(Record):
    """How the learner's runs ended."""

    finished: Amount
    diverged: Amount = 0
    stopped: Amount = 0
    """Stopped early: see docs/early_stopping.md."""
    failed: Amount = 0


class SplitCounts(Record):
    """On how many of the comparison's splits a learner can be judged."""

    finished: Amount
    """Splits on which all of its runs finished."""
    asked: Amount
    """Splits of the comparison."""

    @property
    def partial(self) -> bool:
        """Whether it is missing somewhere, so that its means are over other splits than those of the others."""
        return self.finished < self.asked

    def __str__(self) -> str:
        return f"{self.finished} of {self.asked} split{'' if self.asked == 1 else 's'}"


class LearnerResult(Record):
    """What is known about one learner on this dataset."""

    name: str
    kind: Kind
    parts: Parts
    gap: Estimate
    """Generalisation gap: train log score minus test log score, in nats per row; large is overfitting."""
    geometry: Geometry
    effective_parameters: EffectiveParameters
    n_parameters: Amount | None
    """Raw number of parameters; null for black boxes."""
    posterior: Posterior | None
    """Null for learners that have no posterior."""
    seconds: Number
    """Wall-clock seconds of all of the learner's runs together, whether fitted now or reused."""
    runs: RunCounts
    splits: SplitCounts
    """Where a split is missing, scores are means over those that did finish, and the learner ranks below those that
    finished on more."""
    improper: str | None = None
    """Why its posterior, or its estimate, does not exist without a proper prior; null where it does."""
    warnings: tuple[str, ...] = ()
    """Warnings about this learner, in plain words and without its name."""


class Comparison(Record):
    """Learner `a` against learner `b`, paired on the same test rows and splits (see `models.comparison`)."""

    a: str
    b: str
    metric: str
    difference: Number
    """The metric of `a` minus that of `b`."""
    standard_error: Number
    """Corrected for the overlap of repeated splits."""
    degrees: Number = None
    """Degrees of freedom of the t distribution that the probabilities come from."""
    p_better: Probability
    """Probability that `a` is better than `b` by more than `rope`."""
    p_equivalent: Probability
    """Probability that they differ by no more than `rope`."""
    p_worse: Probability
    """Probability that `a` is worse than `b` by more than `rope`."""
    p_value: Probability = None
    """Two-sided p-value of no difference."""
    p_adjusted: Probability = None
    """`p_value` after Holm's correction for all pairs by this metric."""
    n_splits: Amount
    """Splits on which both have a score; all others have no say."""
    rope: Number = None
    """Half-width of the region of practical equivalence, in the metric's units."""
    outcome: Literal["better", "worse", "equivalent", "not shown"]
    """What is shown of `a`."""
    shown: bool
    """Whether one of the two is shown to predict better."""

    def swapped(self) -> "Comparison":
        """The same, said of `b` against `a`."""
        return self.model_copy(
            update={
                "a": self.b,
                "b": self.a,
                "difference": None if self.difference is None else -self.difference,
                "p_better": self.p_worse,
                "p_worse": self.p_better,
                "outcome": {"better": "worse", "worse": "better"}.get(self.outcome, self.outcome),
            }
        )


class DatasetFacts(Record):
    """The data that the learners were compared on."""

    name: str
    rows: Amount
    columns: Amount | None
    """Null where stored runs were compared without reading the data again."""
    target: str | None
    """Null likewise, unless the sweep states it."""
    classes: tuple[str, ...] = ()
    """Labels by code; empty unless the task is classes."""
    fingerprint: str
    """Hash of the values and their meaning."""
    notes: tuple[str, ...] = ()
    """What was done to the data on the way in, in plain words."""


class Invocation(Record):
    """The command that compared, and when."""

    created: str
    """Time of writing, ISO 8601 with its offset."""
    command: str
    budget: str
    splits: Amount
    seeds: Amount


class Document(Record):
    """One comparison. `learners` are sorted by test log score, the best first. Those without a score come last, and a
    learner that did not finish on all splits comes after those that finished on more, whatever its score.
    """

    schema_version: Literal[1] = DOCUMENT_VERSION
    dataset: DatasetFacts
    task: Task
    learners: tuple[LearnerResult, ...]
    comparisons: tuple[Comparison, ...]
    verdict: str
    warnings: tuple[str, ...]
    """Every warning of the comparison; one about a learner begins with its name."""
    fitted: Amount
    """Runs that this command fitted."""
    reused: Amount
    """Runs found in the store."""
    invocation: Invocation
    provenance: Provenance
    """Code, packages and hardware that wrote this document."""

    @field_validator("learners")
    @classmethod
    def _best_first(cls, learners: tuple[LearnerResult, ...]) -> tuple[LearnerResult, ...]:
        return tuple(sorted(learners, key=_rank))

    @property
    def best(self) -> LearnerResult | None:
        """The first of the learners, unless it has no test log score: None where no learner has one."""
        if not self.learners or self.learners[0].parts.test.log_score.value is None:
            return None
        return self.learners[0]

    def against(self, learner: str, metric: str) -> tuple[Comparison, ...]:
        """Every other learner against this one by `metric`, in the order of the learners."""
        said = {c.a: c for c in self.comparisons if (c.b, c.metric) == (learner, metric)}
        said |= {c.b: c.swapped() for c in self.comparisons if (c.a, c.metric) == (learner, metric)}
        return tuple(said[other.name] for other in self.learners if other.name in said)

    @property
    def compared_metrics(self) -> tuple[str, ...]:
        """Metrics that were compared, in order of appearance."""
        return tuple(dict.fromkeys(c.metric for c in self.comparisons))


def _rank(learner: LearnerResult) -> tuple[bool, float, float, str]:
    score = learner.parts.test.log_score.value
    share = learner.splits.finished / max(learner.splits.asked, 1)
    return (score is None, -share, 0.0 if score is None else -score, learner.name)


def gather_warnings(learners: Iterable[LearnerResult], others: Iterable[str] = ()) -> tuple[str, ...]:
    """A document's `warnings`: each after the names of the learners that have it, then those about the whole."""
    who: dict[str, list[str]] = {}
    for each in learners:
        for text in each.warnings:
            who.setdefault(text, []).append(each.name)
    return (*(f"{', '.join(names)}: {text}" for text, names in who.items()), *others)
