"""A comparison as people handle it: its document, tables and charts."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from models.digits import MISSING, format_estimate
from services.client import tabular
from services.client.plots import chosen
from services.comparison.document import Document, LearnerResult
from services.rendering.formatting import printable
from services.rendering.records import Estimate

if TYPE_CHECKING:
    import altair as alt

_SECOND = ("accuracy", "rmse")


class Comparison:
    """The learners of a sweep on one dataset, compared.

    Attributes:
        document: all that is said, as `basin compare --json` writes it.
    """

    def __init__(self, document: Document, draw: "Callable[[], Mapping[str, alt.TopLevelMixin]]") -> None:
        self.document = document
        self._draw = draw

    def table(self) -> pl.DataFrame:
        """A row for each learner, the best test log score first; null is what could not be had."""
        return pl.DataFrame([_row(each) for each in self.document.learners], schema=_TABLE, orient="row")

    def pairs(self) -> pl.DataFrame:
        """A row for each pair of learners and metric: the difference and what is shown by it."""
        rows = [pair.model_dump() for pair in self.document.comparisons]
        return pl.DataFrame(rows, schema=_PAIRS, orient="row")

    @cached_property
    def figures(self) -> "Mapping[str, alt.TopLevelMixin]":
        """Its charts by name: scores, reliability, measures, losses, ranks, energies, where there is something to draw.

        The first use reads curves, predictions and posteriors of its runs.

        Raises:
            BasinError: they cannot be read.
        """
        return self._draw()

    def plot(self, name: str = "scores") -> "alt.TopLevelMixin":
        """One of its `figures`.

        Raises:
            BasinError: there is none of this name.
        """
        from services.comparison.figures import Evidence, figures

        of_document = figures(self.document, Evidence())  # which needs nothing else to be read
        found = of_document if name in of_document else self.figures
        return chosen(found, name, f"the comparison on {self.document.dataset.name}")

    def __repr__(self) -> str:
        learners = self.document.learners
        width = max((len(each.name) for each in learners), default=0)
        lines = [f"Comparison of {_n(len(learners), 'learner')} on {self.document.dataset.name}"]
        lines += [
            f"  {each.name:{width}}  {_said(each.parts.test.log_score)}"
            + (f" ({each.splits})" if each.splits.partial else "")
            for each in learners
        ]
        lines.append(f"(test log score in nats per row) {self.document.verdict}")
        lines += [f"! {text}" for text in self.document.warnings]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        document = self.document
        second = next((name for name in _SECOND if any(getattr(e.parts.test, name) for e in document.learners)), None)
        headings = ("learner", "kind", "test log score", second or "", "calibration error", "gap", "runs")
        rows = [
            (
                each.name,
                each.kind,
                _said(each.parts.test.log_score),
                _said(getattr(each.parts.test, second)) if second else "",
                _said(each.parts.test.calibration_error),
                _said(each.gap),
                f"{each.runs.finished} finished" + _others(each) + (f": {each.splits}" if each.splits.partial else ""),
            )
            for each in document.learners
        ]
        return (
            tabular.facts(f"{document.dataset.name}: {document.verdict}", {})
            + tabular.paragraphs(document.warnings)
            + tabular.table(headings, rows)
        )


def _others(learner: LearnerResult) -> str:
    counts = learner.runs.model_dump(exclude={"finished"})
    return "".join(f", {n} {status}" for status, n in counts.items() if n)


def _said(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return MISSING
    number, error = format_estimate(estimate.value, estimate.standard_error)
    return f"{number} ± {error}" if error else number


_ESTIMATES: Mapping[str, Callable[[LearnerResult], Estimate | None]] = {
    "log_score": lambda each: each.parts.test.log_score,
    "accuracy": lambda each: each.parts.test.accuracy,
    "rmse": lambda each: each.parts.test.rmse,
    "brier": lambda each: each.parts.test.brier,
    "crps": lambda each: each.parts.test.crps,
    "calibration_error": lambda each: each.parts.test.calibration_error,
    "gap": lambda each: each.gap,
    "hessian_top_eigenvalue": lambda each: each.geometry.hessian_top_eigenvalue,
    "hessian_trace": lambda each: each.geometry.hessian_trace,
    "effective_parameters": lambda each: each.effective_parameters,
}
_TABLE = {
    "learner": pl.String,
    "kind": pl.String,
    **{key: pl.Float64 for name in _ESTIMATES for key in (name, f"{name}_error")},
    "n_parameters": pl.Int64,
    "r_hat_max": pl.Float64,
    "ess_min": pl.Float64,
    "divergences": pl.Int64,
    "seconds": pl.Float64,
    **dict.fromkeys(("finished", "diverged", "stopped", "failed", "splits_finished", "splits_asked"), pl.Int64),
    "warnings": pl.List(pl.String),
}
_PAIRS = {
    **dict.fromkeys(("a", "b", "metric"), pl.String),
    **dict.fromkeys(("difference", "standard_error", "degrees", "p_better", "p_equivalent", "p_worse"), pl.Float64),
    **dict.fromkeys(("p_value", "p_adjusted", "rope"), pl.Float64),
    "n_splits": pl.Int64,
    "outcome": pl.String,
    "shown": pl.Boolean,
}


def _row(learner: LearnerResult) -> dict[str, object]:
    found: dict[str, object] = {"learner": learner.name, "kind": learner.kind}
    for name, of in _ESTIMATES.items():
        estimate = of(learner)
        found[name] = estimate and estimate.value
        found[f"{name}_error"] = estimate and estimate.standard_error
    posterior = learner.posterior
    judged = {} if posterior is None else posterior.model_dump(include={"r_hat_max", "ess_min", "divergences"})
    return {
        **found,
        "n_parameters": learner.n_parameters,
        **dict.fromkeys(("r_hat_max", "ess_min", "divergences")),
        **judged,
        "seconds": learner.seconds,
        **learner.runs.model_dump(),
        "splits_finished": learner.splits.finished,
        "splits_asked": learner.splits.asked,
        "warnings": list(learner.warnings),
    }


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
