"""A sweep's geometry on a terminal: measures, which of them tells, effective numbers, barriers."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from models.digits import MISSING, format_estimate, format_number, format_short
from services.geometry.document import (
    Barriers,
    BasinShare,
    EffectiveCounts,
    GeometryDocument,
    MeasureSummary,
    Ranking,
    Typical,
)
from services.geometry.words import (
    MOVES,
    RANKING_NOTES,
    Between,
    Group,
    between_learners,
    bounded,
    by_measure,
    learner_and_component,
    named,
    ranked,
    shown_first,
    twins_of,
    without_value,
    worst_environments,
)
from services.rendering.formatting import format_probability, printable
from services.rendering.records import Estimate
from services.rendering.tables import Cell, Column, print_section, stack

NAME_WIDTH = 36
# Matrices of more solutions than this, or more matrices, are told by pairs of learners.
LARGEST_MATRIX = 8
MOST_MATRICES = 3
# Rows of a ranking.
AT_MOST = 12
# Columns below which what a measure cost is left out.
WIDE = 100


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
        _print_barriers([b for b in document.barriers if b.dataset == dataset], dataset, console)
        _print_basins([b for b in document.basins if b.dataset == dataset], dataset, console)
    print_section(console, "Verdict", [document.verdict], "bold")
    if document.warnings:
        print_section(console, "Warnings", document.warnings, "yellow", bullet="! ")
    if not document.measures:
        console.print()
        console.print(Text(f"Nothing is measured yet: basin measure {document.sweep}"))


def show(
    title: str, columns: Sequence[Column], rows: Sequence[object], console: Console, notes: Iterable[str] = ()
) -> None:
    """Print rows in as few tables as the width allows, and notes beneath."""
    for table in stack(title, columns, rows, console, NAME_WIDTH):
        console.print()
        console.print(table)
    for note in notes:
        console.print(Padding(Text(printable(note), style="dim"), (0, 0, 0, 1)))


# --- measures ---------------------------------------------------------------------------------------------------------


def _print_measures(rows: Sequence[MeasureSummary], dataset: str, console: Console) -> None:
    if not rows:
        return
    groups = by_measure(rows)
    notes = [
        "Over runs; for posteriors, over draws. ± is one value's numerical standard error.",
        "Moves: when the layers of a ReLU net are rescaled, which leaves its function alone.",
        *without_value(rows),
    ]
    if console.width >= WIDE:
        notes.insert(1, "Cost: curvature products and gradients that one value took.")
    if groups:
        columns = _WIDE_COLUMNS if console.width >= WIDE else _COLUMNS
        show(f"Measures on {dataset}", columns, [line for group in groups for line in _lines(group)], console, notes)
    else:
        print_section(console, f"Measures on {dataset}", notes[-len(without_value(rows)) :], "bold")


# A measure's name, or one of its rows beneath.
Line = Group | MeasureSummary


def _lines(group: Group) -> list[Line]:
    return [group, *group.rows]


def _name(line: Line) -> Cell:
    return Cell(line.name if isinstance(line, Group) else f"  {printable(learner_and_component(line))}")


def _number(tell: Callable[[MeasureSummary], str]) -> Callable[[Line], Cell]:
    return lambda line: Cell("" if isinstance(line, Group) else tell(line))


def _median(m: MeasureSummary) -> str:
    value, error = format_estimate(m.median, m.standard_error)
    return f"{value} ±{error}" if error else value


def _range(m: MeasureSummary) -> str:
    return "" if m.n_values == 1 else f"{format_number(m.lower)} to {format_number(m.upper)}"


_COLUMNS = (
    Column(Cell("measure"), _name),
    Column(Cell("median"), _number(_median)),
    Column(Cell("5 % to 95 %"), _number(_range)),
    Column(Cell("values"), _number(lambda m: f"{m.n_values:,}")),
    Column(Cell("moves"), lambda line: Cell(MOVES[line.rows[0].invariance] if isinstance(line, Group) else "")),
)
_WIDE_COLUMNS = (*_COLUMNS, Column(Cell("cost"), _number(lambda m: format_number(m.n_products, 2))))


# --- does it tell which solution generalises? -------------------------------------------------------------------------


def _print_rankings(rows: Sequence[Ranking], dataset: str, console: Console) -> None:
    rows = ranked(rows)
    if not rows:
        return
    told, shown = twins_of(rows), rows[:AT_MOST]
    columns = [
        Column(
            Cell("measure", "larger is"),
            lambda r: Cell(named(r.measure, r.component, told(r)), r.larger if r.larger != "neither" else ""),
        ),
        Column(Cell("tau", "95 % interval"), lambda r: Cell(*bounded(r.tau, signed=True))),
        Column(Cell("psi", "one varied"), lambda r: Cell(*bounded(r.psi, signed=True))),
        Column(Cell("information", "beyond two"), lambda r: Cell(*bounded(r.information))),
        Column(Cell("sign error", "at worst"), lambda r: Cell(*bounded(r.sign_error))),
        Column(Cell("runs", "splits"), lambda r: Cell(f"{r.n_runs:,}", f"{r.n_splits:,}")),
    ]
    notes = [
        *RANKING_NOTES,
        *worst_environments(shown),
        *_more(rows),
        *dict.fromkeys(b.reason for r in shown for b in (r.tau, r.psi, r.information, r.sign_error) if b.reason),
    ]
    show(f"Which measure tells who generalises, on {dataset}", columns, shown, console, notes)


def _more(rows: Sequence[object]) -> list[str]:
    return [f"{len(rows) - AT_MOST:,} more: --json."] if len(rows) > AT_MOST else []


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
    note = "± over splits and seeds. p_loo is of posteriors, the others of point estimates."
    show(f"Effective numbers of parameters on {dataset}", columns, rows, console, [note])


def _estimate(estimate: Estimate) -> Cell:
    value, error = format_estimate(estimate.value, estimate.standard_error)
    return Cell(value, f"±{error}" if error else "")


def _print_typical(rows: Sequence[Typical], dataset: str, console: Console) -> None:
    rows, told = shown_first(rows), twins_of(rows)
    if not rows:
        return
    columns = [
        Column(Cell("measure"), lambda t: Cell(named(t.measure, t.component, told(t)))),
        Column(Cell("draws of", "at optima of"), lambda t: Cell(printable(t.posterior), printable(t.estimate))),
        Column(Cell("ratio", "95 % interval"), _ratio),
    ]
    notes = [
        "Median over draws, over that over point estimates of the same net; the interval is over chains and estimates.",
        *_more(rows),
    ]
    show(f"Draws of posteriors against optima on {dataset}", columns, rows[:AT_MOST], console, notes)


def _ratio(t: Typical) -> Cell:
    if t.lower is None or t.upper is None:
        return Cell(format_number(t.ratio))
    return Cell(format_number(t.ratio), f"{format_number(t.lower)} to {format_number(t.upper)}")


# --- barriers and basins ----------------------------------------------------------------------------------------------


def _print_barriers(rows: Sequence[Barriers], dataset: str, console: Console) -> None:
    if len(rows) > MOST_MATRICES or any(len(matrix.labels) > LARGEST_MATRIX for matrix in rows):
        _print_between(rows, dataset, console)
        return
    for matrix in rows:
        numbers = [Column(Cell(f"{i + 1}"), _entry(i)) for i in range(len(matrix.labels))]
        first = Column(Cell("solution"), lambda row: Cell(row[0]))
        labels = (f"{i + 1} {printable(label)}" for i, label in enumerate(matrix.labels))
        title = f"Barriers on {dataset}, split {matrix.split}, {matrix.method} (nats per row)"
        show(title, [first, *numbers], list(zip(labels, matrix.barriers, strict=True)), console)


def _print_between(rows: Sequence[Barriers], dataset: str, console: Console) -> None:
    pairs = between_learners(rows)
    if not pairs:
        return
    columns = [
        Column(Cell("solutions of", "and of"), lambda pair: Cell(*map(printable, pair.learners))),
        *(Column(Cell(method, "largest"), _median_of(method)) for method in dict.fromkeys(m.method for m in rows)),
        Column(Cell("pairs"), lambda pair: Cell(f"{max(map(len, pair.barriers.values())):,}")),
    ]
    splits = len({m.split for m in rows})
    note = (
        "The highest that the loss on a path rises above the line between its ends' losses: median, below it the "
        f"largest, over {splits} split{'' if splits == 1 else 's'}. Each pair: --json."
    )
    show(f"Barriers on {dataset} (nats per row)", columns, pairs, console, [note])


def _median_of(method: str) -> Callable[[Between], Cell]:
    def cell(pair: Between) -> Cell:
        values = pair.barriers.get(method)
        return Cell(MISSING) if not values else Cell(format_number(median(values)), format_number(max(values)))

    return cell


def _entry(i: int) -> Callable[[tuple[str, Sequence[float | None]]], Cell]:
    return lambda row: Cell(format_number(row[1][i], 2))


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
    threshold = format_short(rows[0].threshold)
    note = f"In the basin: a barrier of at most {threshold} nats per row to some estimate (--threshold)."
    show(f"Draws in the basins of point estimates on {dataset}", columns, rows, console, [note])
