"""A sweep's geometry on a terminal: measures, which of them tells, effective numbers, barriers; and the audit."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.geometry.definition import Definition
from services.document import Estimate
from services.formatting import MISSING, format_estimate, format_number, format_probability, printable
from services.geometry.document import (
    AuditDocument,
    AuditRow,
    Barriers,
    BasinShare,
    Bounded,
    EffectiveCounts,
    GeometryDocument,
    MeasureSummary,
    Ranking,
    Typical,
)
from services.terminal import Cell, Column, print_section, stack

NAME_WIDTH = 36
# A matrix of more solutions than this is told by pairs of learners.
LARGEST_MATRIX = 8
RANKED = 12


def print_geometry(document: GeometryDocument, console: Console) -> None:
    """Print a sweep's geometry so that no line is wider than the console."""
    varied = f", varying {', '.join(path.rpartition('.')[2] for path in document.varied)}" if document.varied else ""
    runs = f"{document.n_runs:,} finished run{'' if document.n_runs == 1 else 's'}"
    console.print(Text(printable(f"{document.sweep}: {runs} on {', '.join(document.datasets)}{varied}"), "bold"))
    for dataset in document.datasets:
        _print_measures([m for m in document.measures if m.dataset == dataset], dataset, console)
        _print_rankings([r for r in document.rankings if r.dataset == dataset], dataset, console)
        _print_effective([e for e in document.effective if e.dataset == dataset], dataset, console)
        _print_typical([t for t in document.typical if t.dataset == dataset], dataset, console)
        _print_barriers([b for b in document.barriers if b.dataset == dataset], console)
        _print_basins([b for b in document.basins if b.dataset == dataset], dataset, console)
    print_section(console, "Verdict", [document.verdict], "bold")
    if document.warnings:
        print_section(console, "Warnings", document.warnings, "yellow", bullet="! ")
    if not document.measures:
        console.print()
        console.print(Text(f"Nothing is measured yet: basin measure {document.sweep}"))


def _show(
    title: str, columns: Sequence[Column], rows: Sequence[object], console: Console, notes: Iterable[str] = ()
) -> None:
    for table in stack(title, columns, rows, console, NAME_WIDTH):
        console.print()
        console.print(table)
    for note in notes:
        console.print(Padding(Text(printable(note), style="dim"), (0, 0, 0, 1)))


def named(measure: str, component: str, settings: str = "") -> str:
    """A measure with its component and the settings that tell it from its twins."""
    return measure + (f" [{component}]" if component else "") + (f", {settings}" if settings else "")


# --- measures ---------------------------------------------------------------------------------------------------------


def _print_measures(rows: Sequence[MeasureSummary], dataset: str, console: Console) -> None:
    if not rows:
        return
    twins = twins_of(rows)
    columns = [
        Column(Cell("measure", "learner"), lambda m: Cell(twins(m), printable(m.learner))),
        Column(Cell("median", "± numerical"), _median),
        Column(Cell("5 % to 95 %"), _range),
        Column(Cell("values"), lambda m: Cell(f"{m.n_values:,}", m.scope)),
        Column(Cell("moves when", "rescaled"), lambda m: Cell(MOVES[m.invariance])),
        Column(Cell("cost"), lambda m: Cell(format_number(m.n_products))),
    ]
    if any(m.n_unconverged or m.n_not_applicable or m.n_failed for m in rows):
        columns.append(Column(Cell("without", "value"), _without))
    reasons = dict.fromkeys(f"{m.measure}, {m.learner}: {r}" for m in rows for r in m.reasons)
    notes = [
        "Over runs, for posteriors over draws. Cost: curvature products and gradients for one value.",
        "Rescaling a ReLU net's layers leaves its function alone; a measure that moves tells of more than that.",
        *reasons,
    ]
    _show(f"Measures on {dataset}", columns, rows, console, notes)


MOVES = {"rescaling": "no", "permutation": "yes", "none": "yes"}


def twins_of(rows: Sequence[MeasureSummary] | Sequence[Ranking]) -> Callable[[MeasureSummary | Ranking], str]:
    """How to name a measure: with those settings alone in which it differs from another row of the same measure."""
    values: dict[tuple[str, str], set[str]] = {}
    for m in rows:
        for key, value in m.settings.items():
            values.setdefault((m.measure, key), set()).add(str(value))

    def name(m: MeasureSummary | Ranking) -> str:
        told = [f"{key} {value}" for key, value in m.settings.items() if len(values[m.measure, key]) > 1]
        return named(m.measure, m.component, ", ".join(told))

    return name


def _median(m: MeasureSummary) -> Cell:
    if m.standard_error:
        value, error = format_estimate(m.median, m.standard_error)
        return Cell(value, f"±{error}")
    return Cell(format_number(m.median, 4))


def _range(m: MeasureSummary) -> Cell:
    if m.n_values == 1:
        return Cell("")
    return Cell(f"{format_number(m.lower)} to {format_number(m.upper)}")


def _without(m: MeasureSummary) -> Cell:
    words = {"unconverged": m.n_unconverged, "not applicable": m.n_not_applicable, "failed": m.n_failed}
    said = [f"{n} {what}" for what, n in words.items() if n]
    return Cell(*said[:2]) if said else Cell("")


# --- does it tell which solution generalises? -------------------------------------------------------------------------


def _print_rankings(rows: Sequence[Ranking], dataset: str, console: Console) -> None:
    rows = [r for r in rows if r.tau.value is not None]
    if not rows:
        return
    twins = twins_of(rows)
    columns = [
        Column(Cell("measure", "larger is"), lambda r: Cell(twins(r), r.larger)),
        Column(Cell("tau", "95 % interval"), lambda r: bounded(r.tau)),
        Column(Cell("psi", "one setting varied"), lambda r: bounded(r.psi)),
        Column(Cell("information", "beyond settings"), lambda r: bounded(r.information)),
        Column(Cell("sign error", "at worst"), lambda r: bounded(r.sign_error)),
        Column(Cell("runs", "splits"), lambda r: Cell(f"{r.n_runs:,}", f"{r.n_splits:,}")),
    ]
    shown = rows[:RANKED]
    every = [b for r in shown for b in (r.tau, r.psi, r.information, r.sign_error)]
    reasons = dict.fromkeys(b.reason for b in every if b.reason)
    more = [f"{len(rows) - RANKED} more in --json."] if len(rows) > RANKED else []
    notes = [
        "Tau: Kendall's rank correlation with the gap (test minus train loss), over pairs of runs on one split.",
        "Psi: the same where one setting alone differs. Information: what is left once two settings are known.",
        "Sign error: share of pairs ordered wrongly in the worst pair of settings; 0.5 is guessing.",
        *more,
        *reasons,
    ]
    _show(f"Which measure tells who generalises, on {dataset}", columns, shown, console, notes)


def bounded(b: Bounded) -> Cell:
    """A statistic above its interval."""
    if b.value is None:
        return Cell(MISSING)
    interval = "" if b.lower is None or b.upper is None else f"{b.lower:+.2f} to {b.upper:+.2f}"
    return Cell(f"{b.value:+.2f}", interval)


# --- effective numbers, posteriors against optima ---------------------------------------------------------------------


def _print_effective(rows: Sequence[EffectiveCounts], dataset: str, console: Console) -> None:
    estimates = ("p_loo", "effective_dimension", "learning_coefficient")
    rows = [row for row in rows if any(getattr(row, name).value is not None for name in estimates)]
    if not rows:
        return
    columns = [
        Column(Cell("learner", "kind"), lambda row: Cell(printable(row.learner), row.kind)),
        Column(Cell("parameters"), lambda row: Cell(f"{row.n_parameters:,}")),
        Column(Cell("p_loo"), lambda row: _estimate(row.p_loo)),
        Column(Cell("effective", "dimension"), lambda row: _estimate(row.effective_dimension)),
        Column(Cell("2 x learning", "coefficient"), lambda row: _estimate(row.learning_coefficient)),
    ]
    note = "± over splits and seeds. p_loo is of posteriors, the others of single vectors."
    _show(f"Effective numbers of parameters on {dataset}", columns, rows, console, [note])


def _estimate(estimate: Estimate) -> Cell:
    value, error = format_estimate(estimate.value, estimate.standard_error)
    return Cell(value, f"±{error}" if error else "")


def _print_typical(rows: Sequence[Typical], dataset: str, console: Console) -> None:
    rows = [row for row in rows if row.ratio is not None]
    if not rows:
        return
    columns = [
        Column(Cell("measure"), lambda t: Cell(named(t.measure, t.component))),
        Column(Cell("posterior", "against"), lambda t: Cell(printable(t.posterior), printable(t.estimate))),
        Column(Cell("ratio", "95 % interval"), _ratio),
    ]
    note = "Median over draws, over the median over point estimates of the same net; the interval is over chains."
    _show(f"The posterior's draws against optima on {dataset}", columns, rows, console, [note])


def _ratio(t: Typical) -> Cell:
    if t.lower is None or t.upper is None:
        return Cell(format_number(t.ratio))
    return Cell(format_number(t.ratio), f"{format_number(t.lower)} to {format_number(t.upper)}")


# --- barriers and basins ----------------------------------------------------------------------------------------------


def _print_barriers(rows: Sequence[Barriers], console: Console) -> None:
    for matrix in rows:
        title = f"Barriers on {matrix.dataset}, split {matrix.split}, {matrix.method} (nats per row)"
        if len(matrix.labels) <= LARGEST_MATRIX:
            numbers = [Column(Cell(f"{i + 1}"), _entry(i)) for i in range(len(matrix.labels))]
            first = Column(Cell("solution"), lambda row: Cell(row[0]))
            labels = (f"{i + 1} {printable(label)}" for i, label in enumerate(matrix.labels))
            _show(title, [first, *numbers], list(zip(labels, matrix.barriers, strict=True)), console)
    large = [matrix for matrix in rows if len(matrix.labels) > LARGEST_MATRIX]
    if large:
        columns = [
            Column(Cell("method", "split"), lambda row: Cell(row[0], f"split {row[1]}")),
            Column(Cell("between"), lambda row: Cell(printable(row[2][0]), printable(row[2][1]))),
            Column(Cell("median"), lambda row: Cell(format_number(row[3]))),
            Column(Cell("largest"), lambda row: Cell(format_number(row[4]))),
            Column(Cell("pairs"), lambda row: Cell(f"{row[5]:,}")),
        ]
        pairs = [pair for matrix in large for pair in _by_learners(matrix)]
        _show(f"Barriers on {large[0].dataset} (nats per row)", columns, pairs, console, ["Each pair: --json."])


def _entry(i: int) -> Callable[[tuple[str, Sequence[float | None]]], Cell]:
    return lambda row: Cell(format_number(row[1][i], 2))


def _by_learners(matrix: Barriers) -> list[tuple[str, int, tuple[str, str], float, float, int]]:
    """Median and largest barrier by pairs of learners."""
    found: dict[tuple[str, str], list[float]] = {}
    for i, row in enumerate(matrix.barriers):
        for j, value in enumerate(row[:i]):
            if value is not None:
                pair = (matrix.learners[j], matrix.learners[i])
                found.setdefault((min(pair), max(pair)), []).append(value)
    return [
        (matrix.method, matrix.split, pair, float(np.median(values)), max(values), len(values))
        for pair, values in found.items()
    ]


def _print_basins(rows: Sequence[BasinShare], dataset: str, console: Console) -> None:
    if not rows:
        return
    columns = [
        Column(Cell("posterior"), lambda b: Cell(printable(b.posterior))),
        Column(Cell("in a basin of"), lambda b: Cell(printable(b.estimate))),
        Column(Cell("path"), lambda b: Cell(b.method)),
        Column(Cell("share"), lambda b: Cell(format_probability(b.share))),
        Column(Cell("±"), lambda b: Cell(format_probability(b.standard_error))),
        Column(Cell("draws"), lambda b: Cell(f"{b.n_draws:,}")),
    ]
    note = f"In the basin: a barrier of at most {rows[0].threshold:g} nats per row to some estimate (--threshold)."
    _show(f"Draws in the basins of point estimates on {dataset}", columns, rows, console, [note])


# --- the catalogue ----------------------------------------------------------------------------------------------------


def print_catalogue(definitions: Iterable[Definition], console: Console) -> None:
    """Print every measure with what it is."""
    table = Table(
        "measure", "moves", "about", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    for d in definitions:
        table.add_row(Text(d.name), Text(MOVES[d.invariance]), Text(d.about, style="dim"))
    console.print(table)
    console.print()
    console.print(
        "Moves: when the layers of a ReLU net are rescaled, which leaves its function alone.\n"
        "Settings of one: basin measures NAME",
        highlight=False,
    )


def print_definition(definition: Definition, console: Console) -> None:
    """Print one measure with its settings and their defaults."""
    facts = {
        "measure": definition.name,
        "family": definition.family,
        "about": definition.about,
        "larger is": definition.larger,
        "left alone by": "nothing" if definition.invariance == "none" else definition.invariance,
    }
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text(value))
    defaults = definition.settings()
    for name in definition.settings.model_fields:
        grid.add_row(Text("setting", style="dim"), Text(f"{name}: {getattr(defaults, name)}"))
    console.print(grid)
    if definition.settings.model_fields:
        console.print()
        console.print(Text(" ".join((definition.settings.__doc__ or "").split()), style="dim"))


# --- the audit --------------------------------------------------------------------------------------------------------


def print_audit(document: AuditDocument, console: Console) -> None:
    """Print what rescaling and permuting move, a table for each learner."""
    for (dataset, learner), group in groupby(document.rows, key=lambda row: (row.dataset, row.learner)):
        rows = list(group)
        by_measure = [
            (key, list(mine)) for key, mine in groupby(rows, key=lambda row: named(row.measure, row.component))
        ]
        columns = [
            Column(Cell("measure"), lambda item: Cell(item[0])),
            Column(Cell("at the", "estimate"), lambda item: Cell(format_number(item[1][0].before, 4))),
            Column(Cell("rescaled", "largest change"), lambda item: _moved(item[1], rescaled=True)),
            Column(Cell("permuted"), lambda item: _moved(item[1], rescaled=False)),
            Column(Cell("as", "declared"), lambda item: Cell(_agreement(item[1]))),
        ]
        reasons = dict.fromkeys(f"{row.measure}: {row.reason}" for row in rows if row.reason)
        _show(f"Audit of {learner} on {dataset}", columns, by_measure, console, reasons)
    console.print()
    console.print(Text(document.applies, style="dim"))


def _moved(rows: Sequence[AuditRow], *, rescaled: bool) -> Cell:
    mine = [row for row in rows if row.moved is not None and (row.alpha is not None) == rescaled]
    if not mine:
        return Cell(MISSING)
    if not any(row.moved for row in mine):
        return Cell("stays")
    factors = [row.after / row.before for row in mine if row.moved and row.before and row.after is not None]
    worst = max(factors, key=lambda f: abs(np.log(f)) if f > 0 else np.inf, default=None)
    return Cell("moves", "" if worst is None else f"x {format_number(worst)}")


def _agreement(rows: Sequence[AuditRow]) -> str:
    found = [row.agrees for row in rows if row.agrees is not None]
    return MISSING if not found else "yes" if all(found) else "NO"
