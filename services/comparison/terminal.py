"""The comparison on a terminal: one table, the paired comparison, the verdict, every warning, and notes on the data."""

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.digits import MISSING, format_ess, format_estimate, format_number, format_r_hat
from services.comparison.document import Comparison, Curvature, Document, LearnerResult
from services.rendering.formatting import METRIC_WORDS, format_p_value, format_probability, format_seconds, printable
from services.rendering.records import Estimate
from services.rendering.tables import Cell, Column, print_section, stack


def print_document(document: Document, console: Console) -> None:
    """Print the comparison so that no line is wider than the console.

    Columns that do not fit beside the others go to a further table below, each beginning with the learner.
    """
    for table in learner_tables(document, console):
        console.print(table)
        console.print()
    for note in _notes(document):
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 1)))
    for table in comparison_tables(document, console):
        console.print()
        console.print(table)
    print_section(console, "Verdict", [document.verdict], "bold")
    if document.warnings:
        print_section(console, "Warnings", document.warnings, "yellow", bullet="! ")
    if document.dataset.notes:
        print_section(console, "Data", document.dataset.notes, "dim", bullet="- ")
    console.print()
    runs = f"{document.fitted} run{'' if document.fitted == 1 else 's'}"
    console.print(Text(f"{runs} fitted by this command, {document.reused} reused from the store.", "dim"))


def learner_tables(document: Document, console: Console) -> list[Table]:
    """Learners by test log score, in as few tables as the console's width allows."""
    facts = document.dataset
    title = f"{facts.name}: {facts.rows:,} rows, target {facts.target} ({document.task}), best test log score first"
    return stack(title, _learner_columns(document), document.learners, console)


def comparison_tables(document: Document, console: Console) -> list[Table]:
    """Every other learner against the best one, by each metric that was compared."""
    if document.best is None:
        return []
    best = document.best.name
    on = [_COMMON_SPLITS] if any(c.n_splits < document.best.splits.asked for c in document.comparisons) else []
    tables = []
    for metric in document.compared_metrics:
        title = f"Test {METRIC_WORDS.get(metric, metric)} minus that of {best}, paired on the same rows and splits"
        if pairs := document.against(best, metric):
            tables += stack(title, [*_COMPARISON_COLUMNS, *on], pairs, console)
    return tables


def _learner_columns(document: Document) -> list[Column]:
    accuracy = document.task == "classes"
    columns = [
        Column(
            Cell("learner", "kind"),
            lambda row: Cell(printable(row.name), _standing(row)),
        ),
        Column(Cell("test log", "score"), lambda row: _estimate(row.parts.test.log_score)),
        Column(
            Cell("accuracy" if accuracy else "RMSE"),
            lambda row: _estimate(row.parts.test.accuracy if accuracy else row.parts.test.rmse),
        ),
        Column(Cell("calibr.", "error"), lambda row: _estimate(row.parts.test.calibration_error)),
        Column(Cell("gap"), lambda row: _estimate(row.gap)),
        Column(Cell("eff. par.", "/ raw"), _parameters),
        Column(Cell("Hessian", "top eig."), lambda row: _curvature(row.geometry.hessian_top_eigenvalue)),
        Column(Cell("Hessian", "trace"), lambda row: _curvature(row.geometry.hessian_trace)),
    ]
    if any(row.posterior for row in document.learners):
        columns.append(Column(Cell("R-hat", "ESS"), _posterior))
    return [*columns, Column(Cell("time"), lambda row: Cell(format_seconds(row.seconds)))]


def _standing(row: LearnerResult) -> str:
    if not row.runs.finished:
        return "no finished run"
    return f"{row.kind}, {row.splits}" if row.splits.partial else row.kind


def _estimate(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(MISSING)
    value, error = format_estimate(estimate.value, estimate.standard_error)
    return Cell(value, f"±{error}" if error else "")


def _parameters(row: LearnerResult) -> Cell:
    value, error = format_estimate(row.effective_parameters.value, row.effective_parameters.standard_error)
    raw = "" if row.n_parameters is None else f"/ {row.n_parameters:,}"
    return Cell(f"{value} ±{error}" if error else value, raw)


def _curvature(curvature: Curvature) -> Cell:
    if curvature.lower is None or curvature.upper is None:
        return _estimate(curvature)
    return Cell(format_number(curvature.value), f"[{format_number(curvature.lower)}, {format_number(curvature.upper)}]")


def _posterior(row: LearnerResult) -> Cell:
    if row.posterior is None:
        return Cell("")
    r_hat, ess = row.posterior.r_hat_max, row.posterior.ess_min
    return Cell(format_r_hat(r_hat), format_ess(ess))


def _notes(document: Document) -> list[str]:
    calibration = (
        "top-label expected calibration error"
        if document.task == "classes"
        else "mean |observed - nominal coverage| of predictive intervals"
    )
    notes = [
        "Test part; ± is the standard error over rows, splits and seeds. Log score in nats per row: higher is better.",
        f"Calibration error: {calibration}; 0 is honest. Gap: train minus test log score.",
        "Parameters: effective number (p_loo for posteriors, Laplace for point estimates) / how many there are.",
        "Hessian of the mean training loss at the estimate; posteriors: median over draws [5 %, 95 %]. Small is flat.",
    ]
    if any(row.posterior for row in document.learners):
        notes.append(
            "R-hat: the worst; above 1.01 chains disagree. ESS: lowest effective sample size; below 400 is thin."
        )
    if document.best is not None and document.comparisons:
        notes.append(
            "Below: the probability of being better, practically equal, worse, by t distributions with "
            f"{_degrees(document)} degrees of freedom; p after Holm. --json has every pair."
        )
    return notes


def _degrees(document: Document) -> str:
    """The fewest and the most of the pairs, in one number where these are the same."""
    found = sorted(pair.degrees for pair in document.comparisons if pair.degrees is not None)
    ends = [f"{degrees:.1f}" if degrees < 10 else f"{degrees:,.0f}" for degrees in found[:1] + found[-1:]]
    return " to ".join(dict.fromkeys(ends)) or "unknown"


def _difference(pair: Comparison) -> Cell:
    value, error = format_estimate(pair.difference, pair.standard_error)
    return Cell(f"{value} ± {error}" if error else value)


_COMPARISON_COLUMNS = (
    Column(Cell("learner"), lambda pair: Cell(printable(pair.a))),
    Column(Cell("difference ± se"), _difference),
    Column(Cell("better"), lambda pair: Cell(format_probability(pair.p_better))),
    Column(Cell("equal"), lambda pair: Cell(format_probability(pair.p_equivalent))),
    Column(Cell("worse"), lambda pair: Cell(format_probability(pair.p_worse))),
    Column(Cell("adj. p"), lambda pair: Cell(format_p_value(pair.p_adjusted))),
    Column(Cell("outcome"), lambda pair: Cell(pair.outcome)),
)


_COMMON_SPLITS = Column(Cell("common", "splits"), lambda pair: Cell(f"{pair.n_splits}"))
